//! Carries out what was decided.

use super::plan::Action;
use super::seen::Made;
use super::shown::Shown;
use crate::cluster::{Cluster, answered, found};
use crate::manifests::{Access, Workers, secret, workers};
use crate::names::{FIELD_MANAGER, KEPT_BY, TEMPLATE, of_job};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use petctl_core::Pool;
use petctl_rendezvous::Handle;
use petctl_settings::KubePlace;
use petctl_ui::error::{Code, Error, Result};
use serde_json::{Value, json};

pub(super) struct Acting<'a> {
    cluster: &'a Cluster,
    service: &'a str,
    release: &'a str,
    handle: &'a Handle,
}

impl<'a> Acting<'a> {
    /// `service`: the coordinator's address, `release`: the coordinator's own.
    pub(super) fn new(
        cluster: &'a Cluster,
        (service, release): (&'a str, &'a str),
        handle: &'a Handle,
    ) -> Self {
        Self {
            cluster,
            service,
            release,
            handle,
        }
    }

    /// Where it acts.
    pub(super) fn cluster(&self) -> &Cluster {
        self.cluster
    }

    /// What the pods of a job are made of.
    pub(super) fn workers<'p>(
        &self,
        pool: &'p Pool,
        place: &'p KubePlace,
        image: &'p str,
        owner: &'p str,
    ) -> Workers<'p>
    where
        'a: 'p,
    {
        Workers {
            job: &pool.name,
            place,
            image,
            slots: pool.slots,
            gpus: pool.gpus,
            grace_ms: pool.grace_ms,
            coordinator: self.service,
            secret: self.access(&pool.name).secret_name(&pool.name, owner),
            tls: self.handle.ca().is_some(),
            owner,
            release: self.release,
        }
    }

    /// By what the workers of a job come in.
    fn access(&self, job: &str) -> Access {
        Access {
            token: self.handle.worker_token(job),
            ca: self.handle.ca().map(str::to_owned),
        }
    }

    /// Makes the Secret that the pods of a job name. What is there already is the same: its name says what is in it.
    async fn make_secret(&self, how: &Workers<'_>) -> Result<()> {
        let access = self.access(how.job);
        let object = secret(how.job, &self.cluster.namespace, how.owner, &access);
        let secret: Secret = serde_json::from_value(object)
            .map_err(|error| Error::new(Code::Bug, "a Secret that is none").because(&error))?;
        let secrets = self.cluster.api::<Secret>();
        let params = as_petctl();
        match answered(&self.cluster.shown, secrets.create(&params, &secret)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is(Code::ClusterConflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// By what pods of another make are told.
    pub(super) fn made_of(how: &Workers<'_>) -> Made {
        let job = workers(how, 1, false);
        let annotation = |name: &str| {
            let all = job.pointer("/metadata/annotations");
            let text = all.and_then(|all| all.get(name)).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        Made {
            template: annotation(TEMPLATE),
            kept_by: annotation(KEPT_BY),
            secret: how.secret.clone(),
        }
    }

    pub(super) async fn carry_out(&self, how: &Workers<'_>, action: &Action) -> Result<()> {
        let jobs = self.cluster.api::<Job>();
        let name = of_job(how.job);
        let shown = &self.cluster.shown;
        let merge = |change: Value| self.merge(&name, change);
        match action {
            Action::Create(count) => {
                self.make_secret(how).await?;
                let object = workers(how, *count, false);
                let job: Job = serde_json::from_value(object)
                    .map_err(|error| Error::new(Code::Bug, "a Job that is none").because(&error))?;
                match answered(shown, jobs.create(&as_petctl(), &job)).await {
                    Ok(_) => Ok(()),
                    // It is there already, and will be seen.
                    Err(error) if error.is(Code::ClusterConflict) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            // Nothing but these two: the template never changes, and queues of the cluster have added to it.
            Action::Resize(count) => {
                merge(json!({ "spec": { "parallelism": count, "completions": count } })).await
            }
            Action::Adopt => {
                let made = Self::made_of(how);
                let annotations = json!({ TEMPLATE: made.template, KEPT_BY: made.kept_by });
                merge(json!({ "metadata": { "annotations": annotations } })).await
            }
            Action::Suspend(suspend) => merge(json!({ "spec": { "suspend": suspend } })).await,
            Action::Remove => {
                let params = DeleteParams::background();
                found(shown, jobs.delete(&name, &params)).await.map(|_| ())
            }
            Action::Drain(pod) => {
                let pods = self.cluster.api::<Pod>();
                let params = DeleteParams::default();
                found(shown, pods.delete(pod, &params)).await.map(|_| ())
            }
            Action::Forget(pod) => self.forget_pod(pod).await,
        }
    }

    async fn merge(&self, job: &str, change: Value) -> Result<()> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(change);
        let jobs = self.cluster.api::<Job>();
        let changed = answered(&self.cluster.shown, jobs.patch(job, &params, &patch));
        changed.await.map(|_| ())
    }

    /// Writes on the Job of a job how that stands. Nothing depends on it.
    pub(super) async fn show(&self, job: &str, shown: &Shown) {
        if let Err(error) = self.merge(&of_job(job), shown.change()).await {
            let code = error.code();
            tracing::debug!(job, code, "how it stands can't be written on its Job");
        }
    }

    /// The Job holds on to a pod by a finalizer, until it has counted it and made another one, and a node that is gone
    /// never says that its pods have ended.
    async fn forget_pod(&self, name: &str) -> Result<()> {
        let pods = self.cluster.api::<Pod>();
        let released = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        let as_petctl = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        if found(&self.cluster.shown, pods.patch(name, &as_petctl, &released))
            .await?
            .is_none()
        {
            return Ok(());
        }
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        found(&self.cluster.shown, pods.delete(name, &params))
            .await
            .map(|_| ())
    }

    /// Removes the Job of a job that wants no pods any more.
    pub(super) async fn remove(&self, job: &str) {
        let jobs = self.cluster.api::<Job>();
        let (name, params) = (of_job(job), DeleteParams::background());
        match found(&self.cluster.shown, jobs.delete(&name, &params)).await {
            Ok(_) => tracing::info!(job, "its pods are not needed any more"),
            Err(error) => tracing::warn!(job, code = error.code(), "its pods can't be removed"),
        }
    }
}

/// Removes the record of a job, and what belongs to it.
pub(super) async fn forget(cluster: &Cluster, job: &str) {
    let records = cluster.api::<ConfigMap>();
    let (name, params) = (of_job(job), DeleteParams::background());
    let removed = found(&cluster.shown, records.delete(&name, &params)).await;
    if let Err(error) = removed {
        tracing::warn!(job, code = error.code(), "its record can't be removed");
    }
}

fn as_petctl() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}
