//! Azure Resource Manager, as petctl speaks with it: what a resource is called, how an operation that takes long goes
//! from its first answer to its end, and what a refusal means. Pure: whoever sends requests asks here what comes next.
//!
//! ```text
//! request ──▶ Answer ──▶ Operation::begun ──▶ Next::Ask(url) ──▶ Answer ──▶ Operation::answered ──▶ … ──▶ Next::Done
//!                              └──────────────▶ Next::Failed(Refused) ──▶ Trouble: whose fault, does it pass
//! ```
//!
//! Sources: Azure Resource Manager RPC, "Async API reference" and "Common API details"; recordings of the service in
//! `tests/transcripts`, which the tests replay.

mod answer;
mod id;
mod operation;
mod refused;

pub use answer::Answer;
pub use id::ResourceId;
pub use operation::{Method, Next, Operation};
pub use refused::{Detail, Refused, Trouble};
