//! Installs petctl into a cluster: says what would change, asks nobody, changes it, and waits until it answers.

use crate::blobs;
use crate::cluster::{Cluster, answered, found};
use crate::gpu;
use crate::manifests::{self, Install, access_needed, installed};
use crate::names::{COORDINATOR, TOKEN_SECRET, selector};
use crate::objects::{self, Applying, Change, Difference, apply, remove};
use crate::sharing;
use crate::upgrade;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use petctl_settings::{GpuPlugin, KubePlace};
use petctl_ui::error::{Code, Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a coordinator may take to become ready: its image may have to be pulled, a disk to be attached.
const READY_TIMEOUT: Duration = Duration::from_secs(300);
/// Two looks at a coordinator that starts are this far apart.
const LOOK: Duration = Duration::from_millis(250);

/// An installation that was looked into.
#[derive(Debug)]
pub struct Setup {
    cluster: Cluster,
    objects: Vec<Value>,
    gone: Vec<objects::There>,
    /// What would become of each object.
    pub differences: Vec<Difference>,
    /// A new token is made, and the coordinator that is there has read another one at its start.
    new_token: bool,
    /// The coordinator is in this namespace.
    own: bool,
    /// The namespace is not there: objects in it can't be tried before it is made.
    pub new_namespace: bool,
    /// The petctl that is installed there; `None`: none is.
    pub installed: Option<upgrade::There>,
    /// What a person should know of it.
    pub notes: Vec<String>,
    /// The nodes' GPUs are offered by something that petctl has not installed, and leaves alone.
    pub gpus_by_others: bool,
}

/// What an installation may do beside what it does anyway.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Take fields over that others have set.
    pub force: bool,
    /// A coordinator that keeps pods in other namespaces stops that, where the place names none.
    pub no_others: bool,
    /// Set a newer petctl back to this one, where this one reads its state.
    pub downgrade: bool,
}

/// The objects as documents, for those who apply them themselves. The token is not among them: it has no place in a
/// repository.
#[must_use]
pub fn printed(place: &KubePlace, version: &str) -> Vec<Value> {
    let mut objects = installed(&Install {
        place,
        version,
        token: None,
        namespace: true,
        printed: true,
    });
    objects.extend(manifests::blobs::volumes(place));
    objects.extend(manifests::blobs::claims(place));
    if place.gpu.plugin == Some(GpuPlugin::DevicePlugin) {
        objects.extend(manifests::gpu::device_plugin(place));
    }
    objects
}

impl Setup {
    /// Looks what is there, and whether whoever asks may install; changes nothing. `token` is for a coordinator that has
    /// none yet.
    ///
    /// # Errors
    /// What stands in the way: all missing rights at once.
    pub async fn look(place: &KubePlace, (version, token): (&str, &str), how: How) -> Result<Self> {
        let place = &mut place.clone();
        let cluster = Cluster::of_place(place).await?;
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        let namespace = match found(&cluster.shown, namespaces.get(&place.namespace)).await {
            // Who may not look at namespaces may still work in one.
            Err(error) if error.is(Code::ClusterDenied) => None,
            Err(error) => return Err(error),
            Ok(namespace) => Some(namespace),
        };
        let new_namespace = matches!(&namespace, Some(None));
        let ends = namespace
            .flatten()
            .is_some_and(|n| n.metadata.deletion_timestamp.is_some());
        if ends {
            let what = format!(
                "namespace {} is being deleted ({})",
                place.namespace, cluster.shown
            );
            return Err(Error::new(Code::NamespaceEnding, what)
                .fix(format!(
                    "wait until it is gone (`kubectl get namespace`), or choose another one; where jobs ran in it, it is \
                     gone only when they are: kubectl -n {} delete jobs --all",
                    place.namespace
                )));
        }
        let mut needed = access_needed(place, new_namespace);
        needed.extend(blobs::access_needed(place));
        needed.extend(gpu::access_needed(place));
        check_access(&cluster, needed).await?;
        if !how.force {
            sharing::check(&cluster, place).await?;
        }
        let own = place.keeps_coordinator();
        let (known, there) = match own {
            true => {
                let secrets = cluster.api::<Secret>();
                let sets = cluster.api::<StatefulSet>();
                let secret = found(&cluster.shown, secrets.get(TOKEN_SECRET)).await?;
                let set = found(&cluster.shown, sets.get(COORDINATOR)).await?;
                (secret.is_some(), set)
            }
            false => (false, None),
        };
        let installed_there = there.as_ref().and_then(upgrade::There::of);
        if let Some(there) = &installed_there {
            there.check(version, how.downgrade, &cluster.shown)?;
        }
        if own && place.coordinator.namespaces.is_empty() && !how.no_others {
            place.coordinator.namespaces = there.as_ref().map(sharing::others).unwrap_or_default();
        }
        let volumes = ["get", "create", "patch"].map(|verb| (verb, "", "persistentvolumes"));
        let volumes = match manifests::blobs::made(place).is_empty() {
            true => Vec::new(),
            false => missing_access(&cluster, volumes.to_vec()).await?,
        };
        let looked = blobs::look(&cluster, place, (&volumes.join(", "), new_namespace)).await?;
        let gpus = gpu::look(&cluster, place).await?;
        let mut objects = installed(&Install {
            place,
            version,
            token: (!known).then_some(token),
            namespace: new_namespace,
            printed: false,
        });
        objects.extend(looked.objects.into_iter().chain(gpus.objects));
        let mut setup = Self {
            gpus_by_others: gpus.by_others.is_some(),
            notes: looked.notes.into_iter().chain(gpus.by_others).collect(),
            gone: gpus.gone,
            own,
            installed: installed_there,
            new_token: !known && there.is_some(),
            cluster,
            objects,
            differences: Vec::new(),
            new_namespace,
        };
        setup.differences = setup.apply_all(true, how.force).await?;
        Ok(setup)
    }

    /// Whether nothing would change.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let mut all = self.differences.iter();
        all.all(|difference| difference.change == Change::Same)
    }

    /// The cluster and namespace, in words.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.cluster.shown
    }

    /// Makes it so.
    ///
    /// # Errors
    /// What the cluster says against an object. What was made before stays, and is named.
    pub async fn carry_out(&self, force: bool) -> Result<()> {
        self.apply_all(false, force).await?;
        if self.new_token {
            let pods = self.cluster.api::<Pod>();
            let pod = format!("{COORDINATOR}-0");
            let params = DeleteParams::default();
            found(&self.cluster.shown, pods.delete(&pod, &params)).await?;
        }
        Ok(())
    }

    async fn apply_all(&self, dry_run: bool, force: bool) -> Result<Vec<Difference>> {
        let mut differences = Vec::new();
        for object in &self.objects {
            let in_new_namespace = self.new_namespace && object["kind"] != "Namespace";
            if dry_run && (in_new_namespace || of_new_role(object, &differences)) {
                // The server can't try it: it is new with its namespace, or with what it binds, of which the server asks
                // whether whoever binds it has all of that.
                let kind = object["kind"].as_str().unwrap_or_default();
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                differences.push(Difference {
                    object: format!("{kind} {name}"),
                    change: Change::New,
                    fields: Vec::new(),
                });
                continue;
            }
            let difference = apply(&self.cluster, object, Applying { dry_run, force }).await;
            let difference = difference.map_err(|error| storage_is_fixed(error, &self.cluster));
            let difference = difference.map_err(|error| blobs::volume_is_fixed(error, object));
            let difference = difference.map_err(|error| made(error, dry_run, &differences))?;
            differences.push(difference);
        }
        for there in &self.gone {
            if !dry_run {
                let removed = remove(&self.cluster, there).await;
                removed.map_err(|error| made(error, dry_run, &differences))?;
            }
            differences.push(Difference {
                object: there.to_string(),
                change: Change::Gone,
                fields: Vec::new(),
            });
        }
        Ok(differences)
    }

    /// Waits until the coordinator of this version is ready, where it is in this namespace; `say` hears why it is not yet.
    ///
    /// # Errors
    /// Why it does not become ready.
    pub async fn wait(&self, mut say: impl FnMut(&str)) -> Result<()> {
        if !self.own {
            return Ok(());
        }
        let cluster = &self.cluster;
        let sets = cluster.api::<StatefulSet>();
        let pods = cluster.api::<Pod>();
        let start = Instant::now();
        let mut last = String::new();
        loop {
            let set = answered(&cluster.shown, sets.get(COORDINATOR)).await?;
            let status = set.status.as_ref();
            let seen = status.and_then(|s| s.observed_generation) == set.metadata.generation;
            let current = status.and_then(|s| s.update_revision.as_ref());
            let of_coordinator = ListParams::default().labels(&selector("coordinator"));
            let listed = answered(&cluster.shown, pods.list(&of_coordinator)).await?;
            let listed = listed.items;
            let is_new = |pod: &&Pod| {
                let labels = pod.metadata.labels.as_ref();
                let revision = labels.and_then(|l| l.get("controller-revision-hash"));
                let stays = pod.metadata.deletion_timestamp.is_none();
                seen && stays && revision.is_some() && revision == current
            };
            if listed
                .iter()
                .any(|pod| is_new(&pod) && petctl_pods::is_ready(pod))
            {
                return Ok(());
            }
            let why = match listed.first() {
                None => "its pod is not there yet".to_owned(),
                Some(pod) => cluster.why_not_ready(pod).await,
            };
            if why != last {
                say(&why);
                last.clone_from(&why);
            }
            if start.elapsed() > READY_TIMEOUT {
                let what = format!(
                    "the coordinator is not ready after {} s ({}): {why}",
                    READY_TIMEOUT.as_secs(),
                    cluster.shown
                );
                return Err(Error::new(Code::CoordinatorStarting, what).fix(format!(
                    "mend that and give the same command again; kubectl -n {} describe pod {COORDINATOR}-0 has more",
                    cluster.namespace
                )));
            }
            sleep(LOOK).await;
        }
    }
}

/// Whether it binds a role that is not there yet.
fn of_new_role(object: &Value, before: &[Difference]) -> bool {
    let role = object.pointer("/roleRef/name").and_then(Value::as_str);
    role.is_some_and(|role| {
        let role = format!("Role {role}");
        before
            .iter()
            .any(|difference| difference.object == role && difference.change == Change::New)
    })
}

/// A StatefulSet keeps the claims that it was made with.
fn storage_is_fixed(error: Error, cluster: &Cluster) -> Error {
    let about_claims = !error.is(Code::ClusterConflict)
        && error.blocks().iter().any(|block| {
            block.text.contains("volumeClaimTemplates")
                || block.text.contains("updates to statefulset spec")
        });
    if !about_claims {
        return error;
    }
    let what = format!(
        "the storage of the coordinator that is there can't be changed ({}): it keeps the claim it was made with",
        cluster.shown
    );
    Error::new(Code::ClusterRefused, what).fix(
        "take `coordinator.storage` back as it was; or, if the state of its jobs may go: petctl uninstall, then setup",
    )
}

/// An installation that stops half way says what it has made.
fn made(error: Error, dry_run: bool, differences: &[Difference]) -> Error {
    let made: Vec<&str> = differences
        .iter()
        .filter(|difference| difference.change != Change::Same)
        .map(|difference| difference.object.as_str())
        .collect();
    if dry_run || made.is_empty() {
        return error;
    }
    let text: Box<dyn std::error::Error> =
        format!("made before that, and still there: {}", made.join(", ")).into();
    error.because(text.as_ref())
}

/// Verb, group and resource.
type Right = (&'static str, &'static str, &'static str);

/// Resources that belong to no namespace.
const OF_NO_NAMESPACE: [&str; 2] = ["namespaces", "persistentvolumes"];

/// Asks for every right that the installation needs.
async fn check_access(cluster: &Cluster, needed: Vec<Right>) -> Result<()> {
    let missing = missing_access(cluster, needed).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!(
        "you may not install petctl there ({}); missing: {}",
        cluster.shown,
        missing.join(", ")
    );
    Err(Error::new(Code::ClusterDenied, what).fix(
        "let somebody with the role `admin` of that namespace run it, or give them the output of `petctl setup --print`",
    ))
}

/// Those of the rights that whoever asks lacks, in words.
async fn missing_access(cluster: &Cluster, needed: Vec<Right>) -> Result<Vec<String>> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let asked = needed.into_iter().map(|(verb, group, resource)| {
        let (resource_name, subresource) = match resource.split_once('/') {
            Some((resource, sub)) => (resource, Some(sub.to_owned())),
            None => (resource, None),
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some(group.to_owned()),
                    namespace: (!OF_NO_NAMESPACE.contains(&resource))
                        .then(|| cluster.namespace.clone()),
                    resource: Some(resource_name.to_owned()),
                    subresource,
                    verb: Some(verb.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let reviews = reviews.clone();
        async move {
            let params = PostParams::default();
            let answer = answered(&cluster.shown, reviews.create(&params, &review)).await;
            let allowed = answer?.status.is_some_and(|status| status.allowed);
            Ok::<_, Error>((!allowed).then(|| match group {
                "" => (resource.to_owned(), verb),
                group => (format!("{resource}.{group}"), verb),
            }))
        }
    });
    let answers = futures::future::try_join_all(asked).await?;
    let mut verbs: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (resource, verb) in answers.into_iter().flatten() {
        let verbs = verbs.entry(resource).or_default();
        if !verbs.contains(&verb) {
            verbs.push(verb);
        }
    }
    let missing = verbs.iter();
    let missing = missing.map(|(resource, verbs)| format!("{} {resource}", verbs.join("/")));
    Ok(missing.collect())
}
