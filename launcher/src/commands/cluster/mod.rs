//! Commands that install petctl into a cluster, and take it away.

pub(crate) mod gpu;
pub(crate) mod install_program;
pub(crate) mod secrets;
pub(crate) mod setup;
pub(crate) mod uninstall;

use clap::Args;
use petctl_client::ConnectArgs;
use petctl_client::{Target, Unnamed, here};
use petctl_job::Context;
use petctl_kube::Tunnel;
use petctl_provision::no_key_of_a_place;
use petctl_settings::{Entry, Places, Sets};
use petctl_ui::error::{Code, Error, Result};

/// Which cluster is meant.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The place, as `petctl places` lists them [default: the settings' own].
    #[arg(long, value_name = "PLACE")]
    on: Option<String>,

    /// Override a key of a place, such as place.gpu.namespace=ml; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl PlaceArgs {
    /// What the files say of the place that is meant.
    fn entry(&self) -> Result<Entry> {
        let sets = Sets::split(&self.set);
        let env = |name: &str| std::env::var(name).ok();
        let places = Places::find(&here(), &sets.places, &env)?;
        let (entry, _) = places.choose(self.on.as_deref())?;
        Ok(entry.clone())
    }

    /// The cluster that is meant: by `--on`, or as the settings' default.
    fn tunnel(&self) -> Result<Tunnel> {
        let args = ConnectArgs {
            on: self.on.clone(),
            ..ConnectArgs::default()
        };
        let sets = Sets::split(&self.set);
        if let Some(other) = sets.job.first() {
            return Err(no_key_of_a_place(other));
        }
        match Target::find(&args, &here(), &sets.places, Unnamed::Default)? {
            Some(Target::Place(tunnel)) => Ok(tunnel),
            Some(Target::Remote { .. } | Target::Local(_)) | None => {
                let what = "this machine needs no setup: `local` is always there";
                Err(Error::new(Code::Usage, what).fix(
                    "name a place on a cluster: --on NAME; `petctl places` lists those that there are",
                ))
            }
        }
    }
}

/// Objects as documents of YAML.
fn print_yaml(context: &Context, objects: &[serde_json::Value]) -> Result<()> {
    for object in objects {
        let yaml = serde_saphyr::to_string(object).map_err(|error| {
            Error::new(Code::Bug, "can't write an object as YAML").because(&error)
        })?;
        context.out.line("---");
        context.out.line(yaml.trim_end());
    }
    Ok(())
}
