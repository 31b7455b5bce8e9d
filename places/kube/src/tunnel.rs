//! The way to a cluster's coordinator: through the API server, with nothing but a kubeconfig.
//!
//! A tunnel is bound to one pod, and dies with it, with the API server's connection, or when some proxy between forgets
//! it. So the pod is looked up anew for every connection, and whoever uses one is ready to open the next.

use crate::cluster::{Cluster, answered, found};
use crate::names::{
    CA_CONFIG, CA_KEY, COORDINATOR, NAMESPACES_KEY, PORT, TOKEN_KEY, TOKEN_SECRET, selector,
};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::ListParams;
use petctl_settings::KubePlace;
use petctl_text::Secret as Token;
use petctl_tls::{Stream, TlsError, Trust};
use petctl_ui::error::{Code, Error, Result};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// A coordinator behind an API server.
#[derive(Clone)]
pub struct Tunnel {
    name: Arc<str>,
    place: Arc<KubePlace>,
    cluster: Arc<Mutex<Option<Cluster>>>,
    /// The coordinator's CA, as it was told last.
    trust: Arc<Mutex<Option<Trust>>>,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Tunnel {
    /// To the coordinator of this place. Nothing is opened yet.
    #[must_use]
    pub fn new(name: &str, place: &KubePlace) -> Self {
        Self {
            name: name.into(),
            place: Arc::new(place.clone()),
            cluster: Arc::default(),
            trust: Arc::default(),
        }
    }

    /// The name of its place.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its place.
    #[must_use]
    pub fn place(&self) -> &KubePlace {
        &self.place
    }

    /// How people call the coordinator: `gpu (namespace ml)`.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{} (namespace {})", self.name, self.place.namespace)
    }

    /// The namespaces in which the coordinator keeps pods, as it tells them; none where it is of a petctl that told none.
    ///
    /// # Errors
    /// Where the cluster does not answer.
    pub async fn namespaces(&self) -> Result<Vec<String>> {
        let cluster = self.cluster().await?;
        let told = self.told(&cluster).await?;
        let names = told.and_then(|mut told| told.remove(NAMESPACES_KEY));
        Ok(names
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// What the coordinator tells all who look.
    async fn told(&self, cluster: &Cluster) -> Result<Option<BTreeMap<String, String>>> {
        let configs = cluster.api::<ConfigMap>();
        let asked = found(&cluster.shown, configs.get(CA_CONFIG)).await;
        Ok(self.or_again(asked).await?.and_then(|config| config.data))
    }

    /// The coordinator's token.
    ///
    /// # Errors
    /// Where petctl is not installed there, or you may not read its Secret.
    pub async fn token(&self) -> Result<Token> {
        let cluster = self.cluster().await?;
        let secrets = cluster.api::<Secret>();
        let asked = found(&cluster.shown, secrets.get(TOKEN_SECRET)).await;
        let secret = self.or_again(asked).await?;
        let data = secret.and_then(|secret| secret.data?.remove(TOKEN_KEY));
        let text = data.and_then(|data| String::from_utf8(data.0).ok());
        match text {
            Some(text) => Ok(Token::new(text.trim())),
            None => Err(self.not_installed(&cluster)),
        }
    }

    /// A connection to the coordinator, with TLS from end to end: the API server and the node pass on what they can't
    /// read.
    ///
    /// # Errors
    /// Why there is none: the cluster does not answer, petctl is not installed, its pod is not ready, and why; or
    /// whoever answers is not the coordinator.
    pub async fn dial(&self) -> Result<Stream<DuplexStream>> {
        let mut again = true;
        loop {
            let opened = self.open().await;
            let stream = self.or_again(opened).await?;
            let trust = self.trust().await?;
            let secured = trust.secure(stream).await;
            let error = match secured {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            // A coordinator that lost its state has another CA since, and has told so before it answered.
            *self.trust.lock().await = None;
            let known = error
                .get_ref()
                .and_then(|held| held.downcast_ref::<TlsError>());
            match known {
                Some(TlsError::NotItsCa) if again => again = false,
                Some(known) => return Err(self.untrusted(known)),
                None => {
                    let cluster = self.cluster().await?;
                    return Err(self.starting(&cluster, &format!("the connection broke: {error}")));
                }
            }
        }
    }

    /// Whom to trust, as the coordinator tells it in the cluster.
    async fn trust(&self) -> Result<Trust> {
        let mut trust = self.trust.lock().await;
        if let Some(trust) = &*trust {
            return Ok(trust.clone());
        }
        let cluster = self.cluster().await?;
        let told = self.told(&cluster).await?;
        let Some(text) = told.and_then(|mut told| told.remove(CA_KEY)) else {
            let what = format!(
                "the coordinator has not told its CA (ConfigMap {CA_CONFIG}, {}): it starts, or is of a petctl that \
                 spoke no TLS",
                cluster.shown
            );
            return Err(Error::new(Code::CoordinatorStarting, what).fix(format!(
                "bring it to this version: petctl setup --on {}",
                self.name
            )));
        };
        let told = Trust::pem(&text).map_err(|error| self.untrusted(&error))?;
        *trust = Some(told.clone());
        Ok(told)
    }

    fn untrusted(&self, error: &TlsError) -> Error {
        let what = format!(
            "the coordinator of {} is not trusted: {error}",
            self.shown()
        );
        let fix = match error {
            TlsError::NotYet { .. } | TlsError::Over { .. } => error.fix().to_owned(),
            TlsError::CaFile { .. }
            | TlsError::NoCa
            | TlsError::NotItsCa
            | TlsError::PlainText
            | TlsError::Other(_) => format!(
                "bring what is installed to this version: petctl setup --on {}; it starts its pod anew: kubectl -n {} \
                 delete pod {COORDINATOR}-0",
                self.name,
                self.place.coordinator_namespace()
            ),
        };
        Error::new(error.code(), what).fix(fix)
    }

    async fn open(&self) -> Result<DuplexStream> {
        let cluster = self.cluster().await?;
        let pods = cluster.api::<Pod>();
        let params = ListParams::default().labels(&selector("coordinator"));
        let listed = answered(&cluster.shown, pods.list(&params)).await?;
        let pods_there = || {
            listed
                .items
                .iter()
                .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        };
        // One that is not said to be ready may answer all the same: its node was out of sight for a moment.
        let ready = pods_there().find(|pod| petctl_pods::is_ready(pod));
        let ready = ready.or_else(|| pods_there().find(|pod| petctl_pods::runs(pod)));
        let lost = ready.is_some_and(petctl_pods::node_is_lost);
        let Some(name) = ready.and_then(|pod| pod.metadata.name.clone()) else {
            return Err(self.not_ready(&cluster, listed.items).await);
        };
        let forward = answered(&cluster.shown, pods.portforward(&name, &[PORT])).await;
        let mut forward = match forward {
            Err(_) if lost => return Err(self.not_ready(&cluster, listed.items).await),
            forward => forward?,
        };
        forward.take_stream(PORT).ok_or_else(|| {
            Error::new(
                Code::Bug,
                "a port-forward without the port that was asked for",
            )
        })
    }

    /// A port of this machine's loopback behind which the coordinator answers, for a process that knows no clusters. It
    /// is open as long as the returned task lives.
    ///
    /// # Errors
    /// Where the system gives no port.
    pub async fn listen(&self) -> Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
        let failed = |error: std::io::Error| {
            Error::new(Code::ListenFailed, "can't listen on loopback").because(&error)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let tunnel = self.clone();
        let serving = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let tunnel = tunnel.clone();
                tokio::spawn(async move {
                    // Whoever connected tries again, and says what it missed.
                    if let Ok(mut far) = tunnel.dial().await {
                        let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        Ok((address, serving))
    }

    /// The same cluster, and objects where the place's workers are.
    pub(crate) async fn of_workers(&self) -> Result<Cluster> {
        let cluster = self.cluster().await?;
        Ok(cluster.in_namespace(&self.place.namespace))
    }

    /// The cluster, connected once. Credentials that a plugin gave for a while end the life of a client.
    async fn cluster(&self) -> Result<Cluster> {
        let mut cluster = self.cluster.lock().await;
        if let Some(cluster) = &*cluster {
            return Ok(cluster.clone());
        }
        let connected = Cluster::of_coordinator(&self.place).await?;
        *cluster = Some(connected.clone());
        Ok(connected)
    }

    /// Forgets a client whose credentials are over, so that the next call makes a new one.
    async fn or_again<T>(&self, answer: Result<T>) -> Result<T> {
        if let Err(error) = &answer
            && error.is(Code::ClusterDenied)
        {
            *self.cluster.lock().await = None;
        }
        answer
    }

    fn not_installed(&self, cluster: &Cluster) -> Error {
        let what = format!("petctl is not installed in the cluster ({})", cluster.shown);
        Error::new(Code::NotInstalled, what)
            .fix(format!("install it: petctl setup --on {}", self.name))
    }

    /// Why no pod of the coordinator is ready.
    async fn not_ready(&self, cluster: &Cluster, pods: Vec<Pod>) -> Error {
        let Some(pod) = pods.first() else {
            let sets = cluster.api::<StatefulSet>();
            return match found(&cluster.shown, sets.get(COORDINATOR)).await {
                Ok(None) => self.not_installed(cluster),
                Ok(Some(_)) => self.starting(cluster, "its pod is not there yet"),
                Err(error) => error,
            };
        };
        let why = cluster.why_not_ready(pod).await;
        if petctl_pods::node_is_lost(pod) {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            let what = format!(
                "the coordinator can't be reached ({}): {why}",
                cluster.shown
            );
            return Error::new(Code::CoordinatorStarting, what).fix(format!(
                "its workers go on meanwhile; if node {} does not come back: petctl setup --on {} --move",
                node.unwrap_or("NODE"),
                self.name
            ));
        }
        self.starting(cluster, &why)
    }

    fn starting(&self, cluster: &Cluster, why: &str) -> Error {
        let what = format!("the coordinator is not ready ({}): {why}", cluster.shown);
        Error::new(Code::CoordinatorStarting, what).fix(format!(
            "wait, or look: kubectl -n {} describe pod {COORDINATOR}-0",
            cluster.namespace
        ))
    }
}
