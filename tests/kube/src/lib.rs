//! A real Kubernetes for tests: its own programs, and nodes that are namespaces of this machine with a container
//! runtime each. [`Bed::get`] brings one up for the test process, and it goes with the process.
//!
//! Wants root, and what `tests/kube/install` makes. What is in it, and what is not:
//!
//! - API server, controller manager, scheduler, etcd, and three nodes `n1` to `n3`, each with a kubelet and a kube-proxy.
//!   RBAC, Node authorisation and Pod Security admission are on, anonymous requests are refused.
//! - The images `petctl.local/debian:1` (a shell), `petctl.local/python:1` and `petctl.local/pause:1` are on every node,
//!   and [`Bed::load_image`] brings more; there is no registry, so nothing can be pulled.
//! - Services work by their addresses; names are not resolved. Pods reach nothing outside but what [`Bed::expose`] names.
//! - Every node reports all of the machine's cores and memory: keep requests small.
//! - A lost node shows as such 8 seconds later.

mod bed;
pub mod control;
mod device_plugin;
pub mod kubeconfig;
mod namespace;
mod node;
pub mod places;
mod program;

pub use bed::Bed;
pub use device_plugin::DevicePlugin;
pub use namespace::{Namespace, Security};
pub use node::Node;
