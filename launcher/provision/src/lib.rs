//! Commands that make a place in Azure, and remove it: what is shown, asked and written down. What is made, and how, is
//! decided in `petctl-azure` and done by `petctl-arm`.

mod configure;
mod kubeconfig;
mod pool;
mod power;
mod record;
mod remove;
mod setup;
mod site;

pub use configure::{ConfigureArgs, job_name, run as configure};
pub use pool::scale_pool;
pub use power::{StartArgs, StopArgs, start, stop};
pub use remove::{DeleteResourcesArgs, run as delete_resources};
pub use setup::{Wish, set_up};
pub use site::{AzureArgs, Site, no_key_of_a_place, not_of_azure};

/// About how long something took.
fn shown(took: std::time::Duration) -> String {
    petctl_ui::terminal::duration(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}
