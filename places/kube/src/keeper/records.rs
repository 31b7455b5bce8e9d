//! The records of jobs in the cluster: where each job's workers are to run, and what clients are told.

use super::watched::Watched;
use super::{Keeper, RECORDS_EVERY, act};
use crate::cluster::{Cluster, answered};
use crate::manifests::record;
use crate::names::{CA_CONFIG, FIELD_MANAGER};
use crate::sharing::unkept;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use petctl_core::{Code, Refusal};
use petctl_rendezvous::metrics::KeeperNumbers;
use petctl_rendezvous::{Handle, PlaceKeeper};
use petctl_settings::KubePlace;
use serde_json::Value;
use std::collections::BTreeSet;

#[async_trait::async_trait]
impl PlaceKeeper for Keeper {
    async fn use_place(&self, job: &str, place_json: &str) -> Result<(), Refusal> {
        let bad = |why: String| Refusal::new(Code::BadPlace, why);
        let place: KubePlace = serde_json::from_str(place_json)
            .map_err(|error| bad(format!("the place can't be read: {error}")))?;
        place.check().map_err(bad)?;
        let mut namespaces = self.namespaces.iter();
        let cluster = namespaces.find(|cluster| cluster.namespace == place.namespace);
        let Some(cluster) = cluster else {
            return Err(bad(unkept(&self.names(), &place.namespace)));
        };
        self.leave_other(job, &cluster.namespace).await?;
        let object = record(job, &cluster.namespace, place_json);
        let failed = "the job's place can't be remembered";
        let applied = apply(cluster, &crate::names::of_job(job), &object, failed).await;
        applied.map_err(|mut refusal| {
            if refusal.code == Code::ClusterDenied {
                let given = "; `petctl setup` at that place gives the right";
                refusal.message.push_str(given);
            }
            refusal
        })?;
        self.changed.notify_one();
        Ok(())
    }

    fn numbers(&self) -> KeeperNumbers {
        let own = self.namespaces.first();
        KeeperNumbers {
            // All namespaces are asked through one.
            requests: own.map(|own| own.requests.so_far()).unwrap_or_default(),
            ..self.last().pods.clone()
        }
    }

    fn namespace_of(&self, job: &str) -> Option<String> {
        self.last().homes.get(job).cloned()
    }

    async fn trust(&self, ca: &str) -> Result<(), Refusal> {
        let object = crate::manifests::ca(&self.names(), ca);
        let Some(own) = self.namespaces.first() else {
            return Ok(());
        };
        apply(
            own,
            CA_CONFIG,
            &object,
            "the coordinator's CA can't be told",
        )
        .await
    }
}

/// Applies a ConfigMap; `failed` says what can't be done where the cluster refuses it.
async fn apply(cluster: &Cluster, name: &str, object: &Value, failed: &str) -> Result<(), Refusal> {
    let configs = cluster.api::<ConfigMap>();
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(object);
    let applied = answered(&cluster.shown, configs.patch(name, &params, &patch)).await;
    applied.map(|_| ()).map_err(|error| {
        Refusal::new(
            Code::parse(error.code()).unwrap_or(Code::ClusterRefused),
            format!("{failed}: {}", error.sentence()),
        )
    })
}

impl Keeper {
    /// What is left of a deleted job in another namespace is forgotten; one that is known stays where it is.
    async fn leave_other(&self, job: &str, namespace: &str) -> Result<(), Refusal> {
        let (home, runs) = {
            let last = self.last();
            (last.homes.get(job).cloned(), last.open.contains(job))
        };
        let mut namespaces = self.namespaces.iter();
        let Some(other) = namespaces.find(|other| Some(&other.namespace) == home.as_ref()) else {
            return Ok(());
        };
        if other.namespace == namespace {
            return Ok(());
        }
        if runs {
            let what = format!(
                "job `{job}` runs in namespace {}; cancel it there, or give this one another name",
                other.namespace
            );
            return Err(Refusal::new(Code::JobRunning, what));
        }
        let known = match self.handle.get() {
            Some(handle) => handle.job_names().await.unwrap_or_default(),
            None => BTreeSet::new(),
        };
        if known.contains(job) {
            let what = format!(
                "job `{job}` has ended in namespace {}; delete it there, or give this one another name",
                other.namespace
            );
            return Err(Refusal::new(Code::JobExists, what));
        }
        act::forget(other, job).await;
        Ok(())
    }
}

/// Removes the records of jobs that were deleted.
pub(super) async fn forget_records(handle: &Handle, watched: &[Watched]) {
    let Ok(known) = handle.job_names().await else {
        return;
    };
    let now = Timestamp::now().as_second();
    for watched in watched.iter().filter(|watched| watched.is_listed()) {
        for (name, record) in watched.records() {
            let made = record.metadata.creation_timestamp.as_ref();
            let age_s = made.map_or(0, |at| now - at.0.as_second());
            let is_old = u64::try_from(age_s).unwrap_or(0) > RECORDS_EVERY.as_secs();
            if !known.contains(&name) && is_old {
                act::forget(&watched.cluster, &name).await;
            }
        }
    }
}
