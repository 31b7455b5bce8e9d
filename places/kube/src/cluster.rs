//! The way to a cluster, and what its refusals mean.

use crate::requests::Requests;
use hyper::Request;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams, LogParams};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config, Resource};
use petctl_settings::KubePlace;
use petctl_ui::error::{Code, Error, Result};
use std::path::PathBuf;
use std::time::Duration;
use tower::util::MapRequestLayer;

/// How long the API server may take to let a connection be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most that is read of a line, in bytes.
const LINE_BYTES: i64 = 4_096;
/// How long it may take for one answer, watches aside.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A cluster that can be spoken to, and how it is called in messages.
#[derive(Clone)]
pub struct Cluster {
    /// Asks its API server.
    pub client: Client,
    /// `context aks-gpu, namespace ml`.
    pub shown: String,
    /// Where all objects are.
    pub namespace: String,
    /// What was asked of it.
    pub(crate) requests: Requests,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Objects of one kind, in the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The same one, and objects in another namespace of it.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Self {
        let here = format!("namespace {}", self.namespace);
        Self {
            shown: match self.shown.strip_suffix(&here) {
                Some(start) => format!("{start}namespace {namespace}"),
                None => format!("{}, namespace {namespace}", self.shown),
            },
            namespace: namespace.to_owned(),
            ..self.clone()
        }
    }

    /// The cluster of a place, and objects where its coordinator is; see [`Self::of_place`].
    ///
    /// # Errors
    /// [`Code::NoKubeconfig`].
    pub async fn of_coordinator(place: &KubePlace) -> Result<Self> {
        let cluster = Self::of_place(place).await?;
        Ok(cluster.in_namespace(place.coordinator_namespace()))
    }

    /// Events about an object; none where they can't be had: who may not read them is told less.
    pub(crate) async fn events(&self, object: &str) -> Vec<Event> {
        let api = self.api::<Event>();
        let params = ListParams::default().fields(&format!("involvedObject.name={object}"));
        match answered(&self.shown, api.list(&params)).await {
            Ok(listed) => listed.items,
            Err(error) => {
                tracing::debug!(code = error.code(), "can't read events");
                Vec::new()
            }
        }
    }

    /// The last line that a container has printed; empty where it can't be had.
    pub(crate) async fn last_line(&self, pod: &str, container: &str) -> String {
        let params = LogParams {
            container: Some(container.to_owned()),
            tail_lines: Some(1),
            limit_bytes: Some(LINE_BYTES),
            ..LogParams::default()
        };
        let api = self.api::<Pod>();
        let said = answered(&self.shown, api.logs(pod, &params)).await;
        said.unwrap_or_default()
    }

    /// Why a pod of the coordinator's is not ready, in a sentence.
    pub(crate) async fn why_not_ready(&self, pod: &Pod) -> String {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let events = self.events(name).await;
        let why = petctl_pods::of_pod(pod, &events).or_else(|| petctl_pods::end_of_pod(pod));
        why.map_or_else(|| "its pod starts".to_owned(), |reason| reason.message)
    }

    /// The cluster of a place, by its kubeconfig. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`Code::NoKubeconfig`].
    pub async fn of_place(place: &KubePlace) -> Result<Self> {
        let path = place.kubeconfig.as_ref().map(PathBuf::from);
        let (kubeconfig, from) = read(path)?;
        let context = place.context.clone();
        let context = context.or_else(|| kubeconfig.current_context.clone());
        let context = context.filter(|name| !name.is_empty()).ok_or_else(|| {
            Error::new(
                Code::NoKubeconfig,
                format!("{from} names no current context"),
            )
            .fix("name one: `context = \"…\"` in the place, or `kubectl config use-context NAME`")
        })?;
        if !kubeconfig
            .contexts
            .iter()
            .any(|known| known.name == context)
        {
            let names: Vec<&str> = kubeconfig
                .contexts
                .iter()
                .map(|c| c.name.as_str())
                .collect();
            let near = petctl_text::words::nearest(&context, names.iter().copied());
            let what = format!("{from} has no context `{context}`");
            let fix = match (near, names.is_empty()) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, true) => {
                    "it has none at all; get one from whoever runs the cluster".to_owned()
                }
                (None, false) => format!("it has: {}", names.join(", ")),
            };
            return Err(Error::new(Code::NoKubeconfig, what).fix(fix));
        }
        let user = kubeconfig
            .contexts
            .iter()
            .find(|known| known.name == context);
        let user = user.and_then(|known| known.context.as_ref()?.user.clone());
        let mut users = kubeconfig.auth_infos.iter();
        let login = users.find(|known| Some(&known.name) == user.as_ref());
        let login =
            login.and_then(|known| known.auth_info.as_ref()?.exec.as_ref()?.command.clone());
        let options = KubeConfigOptions {
            context: Some(context.clone()),
            ..KubeConfigOptions::default()
        };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.map_err(|error| {
            Error::new(Code::NoKubeconfig, format!("the context `{context}` of {from} can't be used"))
                .because(&error)
                .fix("`kubectl --context NAME get pods` shows whether it works there; mend the kubeconfig")
        })?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let shown = format!("context {context}, namespace {}", place.namespace);
        Self::connect(config, shown, place.namespace.clone(), login)
    }

    /// The cluster in which this process runs, as its service account.
    ///
    /// # Errors
    /// [`Code::NoKubeconfig`] where it runs in none.
    pub fn around(namespace: &str) -> Result<Self> {
        let config = Config::incluster().map_err(|error| {
            Error::new(Code::NoKubeconfig, "this process runs in no pod that may ask its cluster")
                .because(&error)
                .fix("`petctl setup --on NAME` installs a coordinator that may; leave --keep-pods out elsewhere")
        })?;
        let shown = format!("namespace {namespace}");
        Self::connect(config, shown, namespace.to_owned(), None)
    }

    /// `login`: the program by which the kubeconfig logs in, if it does; it is run here.
    fn connect(
        config: Config,
        shown: String,
        namespace: String,
        login: Option<String>,
    ) -> Result<Self> {
        let requests = Requests::default();
        let counting = requests.clone();
        let counted = MapRequestLayer::new(move |request: Request<Body>| {
            counting.count(&request);
            request
        });
        let builder = ClientBuilder::try_from(config).map_err(|error| {
            let error = explained(&error, &shown);
            match &login {
                Some(login) => error.because(
                    error_text(&format!("the kubeconfig logs in by the program `{login}`"))
                        .as_ref(),
                ),
                None => error,
            }
        })?;
        Ok(Self {
            client: builder.with_layer(&counted).build(),
            shown,
            namespace,
            requests,
        })
    }
}

fn read(path: Option<PathBuf>) -> Result<(Kubeconfig, String)> {
    let none = |what: String, error: &KubeconfigError| {
        Error::new(Code::NoKubeconfig, what)
            .because(error)
            .fix("set KUBECONFIG, or `kubeconfig = \"PATH\"` in the place; `az aks get-credentials` writes one")
    };
    match path {
        Some(path) => {
            let from = path.display().to_string();
            let read = Kubeconfig::read_from(&path);
            let read =
                read.map_err(|error| none(format!("can't read the kubeconfig {from}"), &error))?;
            Ok((read, from))
        }
        None => {
            let from = std::env::var("KUBECONFIG")
                .ok()
                .filter(|path| !path.is_empty());
            let from = from.unwrap_or_else(|| "~/.kube/config".to_owned());
            let read = Kubeconfig::read();
            let read =
                read.map_err(|error| none(format!("can't read the kubeconfig {from}"), &error))?;
            Ok((read, from))
        }
    }
}

/// What an error of the API means for a person. `shown`: which cluster.
pub(crate) fn explained(error: &kube::Error, shown: &str) -> Error {
    if let kube::Error::Auth(error) = error {
        return not_logged_in(error, shown);
    }
    let kube::Error::Api(status) = error else {
        if says(error, "certificate") {
            let what = format!(
                "the API server's certificate is not one that the kubeconfig trusts ({shown})"
            );
            return Error::new(Code::ClusterUnreachable, what).because(error).fix(
                "get a new kubeconfig of that cluster (`certificate-authority-data` in it is another one's), or look \
                 whether something answers in its place",
            );
        }
        let what = format!("the API server does not answer ({shown})");
        return Error::new(Code::ClusterUnreachable, what)
            .because(error)
            .fix("check the kubeconfig's server, the network and the VPN: `kubectl cluster-info`");
    };
    let said = &status.message;
    let names_ending = said.contains("because it is being terminated");
    match status.code {
        401 => Error::new(
            Code::ClusterDenied,
            format!("the cluster does not know you any more ({shown})"),
        )
        .because(error_text(said).as_ref())
        .fix("log in again, or get a new token; `kubectl auth whoami` shows who you are"),
        403 if names_ending => Error::new(
            Code::NamespaceEnding,
            format!("the namespace is being deleted ({shown})"),
        )
        .fix("wait until it is gone (`kubectl get namespace`); where jobs ran in it, it is gone only when they are: `kubectl -n NAMESPACE delete jobs --all`"),
        403 => Error::new(
            Code::ClusterDenied,
            format!("the cluster does not allow it ({shown}): {said}"),
        )
        .fix(
            "ask whoever runs the cluster for that right in that namespace, or use another context",
        ),
        404 => Error::new(
            Code::NotInstalled,
            format!("it is not there ({shown}): {said}"),
        )
        .fix("install petctl there first: petctl setup --on NAME"),
        409 => Error::new(
            Code::ClusterConflict,
            format!("somebody else has changed it ({shown}): {said}"),
        )
        .fix("look who did (the managers are named); `petctl setup --force` takes the fields over"),
        429 | 500..=599 => Error::new(
            Code::ClusterUnreachable,
            format!("the API server can't answer now ({shown}): {said}"),
        )
        .fix("try again in a moment"),
        _ => Error::new(
            Code::ClusterRefused,
            format!("the cluster refuses it ({shown}): {said}"),
        )
        .fix("mend what it names in the place's settings: petctl places NAME"),
    }
}

/// Whether an error, or one behind it, speaks of something.
fn says(error: &(dyn std::error::Error + 'static), word: &str) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.to_string().contains(word) {
            return true;
        }
        next = error.source();
    }
    false
}

/// The credentials of the kubeconfig, or what makes them, don't do.
fn not_logged_in(error: &(dyn std::error::Error + 'static), shown: &str) -> Error {
    let what = format!("can't log in to the cluster ({shown})");
    Error::new(Code::ClusterDenied, what).because(error).fix(
        "log in again as your kubeconfig wants it (`az login`, `kubelogin`, a new token), and look with \
         `kubectl get pods`",
    )
}

fn error_text(said: &str) -> Box<dyn std::error::Error + 'static> {
    said.to_owned().into()
}

/// Whether an error says that something is not there.
pub(crate) fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Waits for an answer no longer than [`ANSWER_TIMEOUT`].
pub(crate) async fn answered<T>(
    shown: &str,
    asked: impl Future<Output = kube::Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(answer) => answer.map_err(|error| explained(&error, shown)),
        Err(_late) => Err(late(shown)),
    }
}

/// The same where there may be nothing.
pub(crate) async fn found<T>(
    shown: &str,
    asked: impl Future<Output = kube::Result<T>>,
) -> Result<Option<T>> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(answer)) => Ok(Some(answer)),
        Ok(Err(error)) if is_missing(&error) => Ok(None),
        Ok(Err(error)) => Err(explained(&error, shown)),
        Err(_late) => Err(late(shown)),
    }
}

fn late(shown: &str) -> Error {
    let what = format!(
        "the API server has not answered for {} s ({shown})",
        ANSWER_TIMEOUT.as_secs()
    );
    Error::new(Code::ClusterUnreachable, what)
        .fix("check the network and the VPN: `kubectl cluster-info`; then try again")
}
