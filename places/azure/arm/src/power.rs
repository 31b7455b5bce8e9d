//! A cluster that is stopped costs nothing but its disks, and keeps all that it knows.
//!
//! Source: `managedClusters/stop` and `managedClusters/start`, api-version 2026-05-01.

use crate::apply::ended;
use crate::client::Arm;
use petctl_azure::{Blueprint, Kind, ResourceId};
use petctl_ui::error::{Code, Error, Result};
use serde_json::Value;

/// Whether a cluster runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Its nodes are there, or come when they are asked for.
    Running,
    /// It has no nodes, and no API server.
    Stopped,
}

/// Whether the place's cluster runs; `None`: it is not there.
///
/// # Errors
/// Where the service does not answer or refuses.
pub async fn power(arm: &Arm, blueprint: &Blueprint) -> Result<Option<Power>> {
    let there = arm
        .get(&id(blueprint)?, Kind::Cluster.api_version())
        .await?;
    Ok(there.map(|there| {
        let code = there.pointer("/properties/powerState/code");
        match code.and_then(Value::as_str) {
            Some(code) if code.eq_ignore_ascii_case("stopped") => Power::Stopped,
            Some(_) | None => Power::Running,
        }
    }))
}

/// Stops it or starts it, and waits until that is done.
///
/// # Errors
/// As [`power`].
pub async fn set_power(arm: &Arm, blueprint: &Blueprint, to: Power) -> Result<()> {
    let (word, tried) = match to {
        Power::Running => ("start", "can't start"),
        Power::Stopped => ("stop", "can't stop"),
    };
    let path = format!("{}/{word}", id(blueprint)?);
    let done = arm.post(&path, Kind::Cluster.api_version()).await?;
    ended(&format!("{tried} cluster {}", blueprint.cluster_name), done)
}

fn id(blueprint: &Blueprint) -> Result<ResourceId> {
    blueprint
        .cluster_id()
        .map_err(|why| Error::new(Code::BadPlace, why).fix("change it in petctl.toml"))
}
