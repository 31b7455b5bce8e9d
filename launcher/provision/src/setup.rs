//! The part of `petctl setup` that makes the cluster and what it needs in Azure.

use crate::kubeconfig;
use crate::record::Record;
use crate::shown;
use crate::site::Site;
use petctl_arm::{Applied, Arm, Looked, Plan};
use petctl_azure::{Kind, Resource, Step, kubeconfig_of};
use petctl_job::Context;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::count;
use std::time::Duration;

/// What is wished for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// Say what would change, and change nothing.
    pub what_if: bool,
    /// Ask nobody.
    pub yes: bool,
    /// Use and change what others have made.
    pub adopt: bool,
}

/// Makes what is missing, changes what is other, and writes the kubeconfig. Whether there is a cluster to go on with.
///
/// # Errors
/// What Azure refuses, in the words of the user.
pub async fn set_up(context: &Context, site: &Site, wish: Wish) -> Result<bool> {
    let arm = site.arm(context).await?;
    let plan = Plan::new(&arm, &site.blueprint, wish.adopt)?;
    let looked = plan.look().await?;
    let changes = show(context, &looked);
    // What would fail in the middle fails before anything is changed.
    if let Some(refusal) = looked.iter().find_map(Looked::refusal) {
        return Err(refusal);
    }
    let has_cluster = looked
        .iter()
        .any(|one| one.resource.kind == Kind::Cluster && !matches!(one.step, Step::Make(_)));
    if wish.what_if {
        context.out.line(&match changes {
            0 => format!("{}: nothing would change in Azure", site.name),
            some => format!(
                "{}: {} in Azure; nothing was changed",
                site.name,
                count(
                    some,
                    "resource would be made or changed",
                    "resources would be made or changed"
                )
            ),
        });
        return Ok(has_cluster);
    }
    let record = Record::open(context, &site.blueprint.subscription, &site.name)?;
    if changes > 0 {
        let question = format!(
            "Make this so in subscription {}?",
            site.blueprint.subscription
        );
        context.confirm(wish.yes, &question)?;
        let note = |resource: &Resource| record.note(&resource.id);
        let say = |resource: &Resource, applied: &Applied, took: Duration| {
            let took = shown(took);
            match applied {
                Applied::Same => {}
                Applied::Made => context.out.say(&format!("{resource}: made ({took})")),
                Applied::Changed => context.out.say(&format!("{resource}: changed ({took})")),
                Applied::Waits(why) => context
                    .out
                    .say(&format!("{resource}: waits, is tried again: {why}")),
            }
        };
        plan.apply(&note, &say).await?;
    }
    write_kubeconfig(context, site, &arm).await?;
    context.out.line(&format!(
        "{}: all of it is there in Azure (resource group {}, {})",
        site.name,
        site.blueprint.group,
        count(looked.len() as u64, "resource", "resources")
    ));
    Ok(true)
}

/// One line for each resource; how many would change.
fn show(context: &Context, looked: &[Looked]) -> u64 {
    let mut changes = 0;
    for Looked { resource, step } in looked {
        let (mark, fields) = match step {
            Step::Same => ('=', String::new()),
            Step::Make(_) | Step::Later => ('+', String::new()),
            Step::Change(_, fields) => ('~', format!(": {}", fields.join(", "))),
            Step::Renew(why) => ('~', format!(": {}", why.join(", "))),
            Step::Replace(why) => ('!', format!(": {} can't be changed", why.join(", "))),
            Step::Foreign => ('!', ": petctl did not make it".to_owned()),
        };
        if mark != '=' {
            changes += 1;
        }
        context.out.line(&format!("{mark} {resource}{fields}"));
    }
    changes
}

async fn write_kubeconfig(context: &Context, site: &Site, arm: &Arm) -> Result<()> {
    let cluster = site
        .blueprint
        .cluster_id()
        .map_err(|why| Error::new(Code::BadPlace, why))?;
    let answer = arm
        .ask(
            &format!("{cluster}/listClusterUserCredential"),
            Kind::Cluster.api_version(),
            "format=exec",
        )
        .await?;
    let text = kubeconfig_of(&answer).ok_or_else(|| {
        Error::new(
            Code::AzureRefused,
            format!(
                "Azure gives no kubeconfig of cluster {}",
                site.blueprint.cluster_name
            ),
        )
        .fix("look at it: az aks get-credentials --help")
    })?;
    let written = kubeconfig::write(text, &site.kube)?;
    if let Some(path) = written {
        context.out.say(&format!("kubeconfig: {}", path.display()));
    }
    Ok(())
}
