//! Azure Resource Manager, as petctl speaks with it: what a resource is called, how an operation that takes long goes
//! from its first answer to its end, and what a refusal means. Pure: whoever sends requests asks here what comes next.
//!
//! ```text
//! request ──▶ Answer ──▶ Operation::begun ──▶ Next::Ask(url) ──▶ Answer ──▶ Operation::answered ──▶ … ──▶ Next::Done
//!                              └──────────────▶ Next::Failed(Refused) ──▶ Trouble: whose fault, does it pass
//! ```
//!
//! What a place is made of is here too, as far as it is decided without asking anybody: sizes of machines ([`Size`]),
//! clusters and pools of nodes, and what a change of one means ([`Cluster`], [`NodePool`]), what has to be made before
//! what ([`Graph`]), and all of a place together ([`Blueprint`]).
//!
//! Sources: Azure Resource Manager RPC, "Async API reference" and "Common API details"; recordings of the service in
//! `tests/transcripts`, which the tests replay.

mod answer;
mod blueprint;
mod cluster;
mod graph;
mod id;
mod operation;
mod pool;
mod refused;
mod same;
mod sizes;

pub use answer::Answer;
pub use blueprint::{
    ADOPTED_TAG, Blueprint, Identity, Kind, Known, Resource, Step, TAG, is_same_right,
    kubeconfig_of,
};
pub use cluster::Cluster;
pub use graph::{Graph, GraphError};
pub use id::ResourceId;
pub use operation::{Method, Next, Operation};
pub use pool::{NodePool, Nodes, SPOT_TAINT};
pub use refused::{Detail, Refused, Trouble};
pub use same::Change;
pub use sizes::{Gpu, SIZES, SPOT_QUOTA, Size};
