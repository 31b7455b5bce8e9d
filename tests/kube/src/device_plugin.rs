//! A device plugin without devices: a node's kubelet holds it for one, gives its devices to containers and says how
//! they are.
//!
//! It runs in this process, beside the kubelet's socket: the folder is the same one outside of the node.

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::Pin;

use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::wildcard_enum_match_arm,
    reason = "generated code"
)]
mod v1beta1 {
    tonic::include_proto!("v1beta1");
}

use v1beta1::device_plugin_server::{DevicePlugin as Api, DevicePluginServer};
use v1beta1::registration_client::RegistrationClient;
use v1beta1::{
    AllocateRequest, AllocateResponse, ContainerAllocateResponse, Device, Empty,
    ListAndWatchResponse, RegisterRequest,
};

/// Devices of a node that are offered as long as this is there.
pub struct DevicePlugin {
    unhealthy: watch::Sender<BTreeSet<String>>,
    /// Whatever answers the kubelet ends with it.
    _runtime: Runtime,
}

impl DevicePlugin {
    /// Offers so many devices to the kubelet whose sockets are in this folder.
    pub(crate) fn start(sockets: &Path, resource: &str, count: usize) -> Result<Self, String> {
        let failed = |error: &dyn std::error::Error| format!("{error:?}");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| failed(&error))?;
        let (unhealthy, told) = watch::channel(BTreeSet::new());
        let devices = Devices {
            names: (0..count).map(|n| format!("d{n}")).collect(),
            unhealthy: told,
        };
        let socket = format!("{}.sock", resource.replace('/', "_"));
        runtime.block_on(async {
            let path = sockets.join(&socket);
            // One that was dropped leaves it behind.
            drop(std::fs::remove_file(&path));
            let listener = UnixListener::bind(&path).map_err(|error| failed(&error))?;
            let serving = Server::builder()
                .add_service(DevicePluginServer::new(devices))
                .serve_with_incoming(UnixListenerStream::new(listener));
            tokio::spawn(serving);
            let kubelet = format!("unix://{}", sockets.join("kubelet.sock").display());
            let kubelet = Endpoint::from_shared(kubelet).map_err(|error| failed(&error))?;
            let channel = kubelet.connect().await.map_err(|error| failed(&error))?;
            let request = RegisterRequest {
                version: "v1beta1".to_owned(),
                endpoint: socket,
                resource_name: resource.to_owned(),
            };
            let registered = RegistrationClient::new(channel).register(request).await;
            registered.map(drop).map_err(|error| failed(&error))
        })?;
        Ok(Self {
            unhealthy,
            _runtime: runtime,
        })
    }

    /// From now on these devices are unhealthy, and all others well.
    pub fn unhealthy(&self, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.unhealthy.send_replace(names);
    }
}

struct Devices {
    names: Vec<String>,
    unhealthy: watch::Receiver<BTreeSet<String>>,
}

fn listed(names: &[String], unhealthy: &BTreeSet<String>) -> ListAndWatchResponse {
    let of = |name: &String| Device {
        id: name.clone(),
        health: match unhealthy.contains(name) {
            true => "Unhealthy".to_owned(),
            false => "Healthy".to_owned(),
        },
    };
    ListAndWatchResponse {
        devices: names.iter().map(of).collect(),
    }
}

#[tonic::async_trait]
impl Api for Devices {
    async fn get_device_plugin_options(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }

    type ListAndWatchStream =
        Pin<Box<dyn Stream<Item = Result<ListAndWatchResponse, Status>> + Send>>;

    async fn list_and_watch(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let names = self.names.clone();
        let told = WatchStream::new(self.unhealthy.clone());
        let told = told.map(move |unhealthy| Ok(listed(&names, &unhealthy)));
        Ok(Response::new(Box::pin(told)))
    }

    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let containers = request.into_inner().container_requests.into_iter();
        let envs = |names: Vec<String>| [("TEST_DEVICES".to_owned(), names.join(","))].into();
        let containers = containers.map(|container| ContainerAllocateResponse {
            envs: envs(container.devices_ids),
        });
        Ok(Response::new(AllocateResponse {
            container_responses: containers.collect(),
        }))
    }
}
