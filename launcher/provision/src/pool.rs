//! The part of `petctl scale` that moves the bounds of a pool of nodes.

use crate::site::Site;
use petctl_arm::{Applied, Plan};
use petctl_azure::{Kind, Nodes, Resource, Step};
use petctl_job::Context;
use petctl_ui::error::{Code, Error, Result};
use std::time::Duration;

/// Lets a pool of the place have so many nodes at most; the autoscaler makes as many as pods ask for. Without a name: the
/// first.
///
/// # Errors
/// What Azure refuses, or a pool that the place does not have.
pub async fn scale_pool(
    context: &Context,
    site: &Site,
    pool: Option<&str>,
    nodes: u32,
    dry_run: bool,
) -> Result<()> {
    let mut blueprint = site.blueprint.clone();
    let names: Vec<String> = blueprint
        .pools
        .iter()
        .map(|pool| pool.name.clone())
        .collect();
    let named = |name: &str| pool.is_none_or(|pool| pool == name);
    let Some(found) = blueprint.pools.iter_mut().find(|pool| named(&pool.name)) else {
        let what = match pool {
            Some(pool) => format!("place `{}` has no pool `{pool}`", site.name),
            None => format!("place `{}` has no pool for workers", site.name),
        };
        return Err(Error::new(Code::BadPlace, what).fix(if names.is_empty() {
            "name one in `azure.pools` of the place, then petctl setup".to_owned()
        } else {
            format!("it has: {}", names.join(", "))
        }));
    };
    let Nodes::Between(min, before) = found.nodes else {
        return Err(Error::new(
            Code::Bug,
            "a pool for workers is not scaled by Azure",
        ));
    };
    found.nodes = Nodes::Between(min.min(nodes), nodes);
    let name = found.name.clone();
    let arm = site.arm(context).await?;
    let plan = Plan::new(&arm, &blueprint, true)?.only(Kind::Pool, &name);
    let looked = plan.look().await?;
    let step = looked.first().map(|one| &one.step);
    match step {
        Some(Step::Same) => {
            let min = min.min(nodes);
            context.out.line(&format!(
                "node pool {name}: has {min} to {nodes} nodes already"
            ));
        }
        Some(Step::Change(..)) if dry_run => {
            context.out.line(&format!(
                "node pool {name}: would have at most {nodes} nodes"
            ));
        }
        Some(Step::Change(..)) => {
            let note = |_: &Resource| Ok(());
            let say = |_: &Resource, _: &Applied, _: Duration| ();
            plan.apply(&note, &say).await?;
            context
                .out
                .line(&format!("node pool {name}: at most {nodes} nodes"));
        }
        Some(_) | None => {
            let what = format!("node pool {name} is not there as the place says it");
            return Err(Error::new(Code::AzureRefused, what)
                .fix(format!("petctl setup --on {} makes it so", site.name)));
        }
    }
    if nodes != before && !dry_run {
        context.out.say(&format!(
            "petctl.toml says max = {before} for pool {name}: change it there too, or the next setup sets it back"
        ));
    }
    Ok(())
}
