//! Speaks with Azure's control plane.
//!
//! ```text
//! SignIn ──▶ Arm ──▶ Plan::look ──▶ steps ──▶ Plan::apply      (a place comes to be)
//!                 └▶ Removal::look ──▶ doomed ──▶ Removal::carry_out   (and goes)
//! ```
//!
//! What a resource should be, and what is to be done about one that is there, is decided in `petctl-azure`, without a
//! request; here is who sends, waits and tries again. Nothing is believed but what the service answers: whoever was
//! killed in the middle looks, and goes on.

mod apply;
mod client;
mod cloud;
mod error;
mod place;
mod power;
mod remove;
mod sign_in;

pub use apply::{Applied, Looked, Plan};
pub use client::{Arm, Pace};
pub use cloud::Cloud;
pub use place::{account, blueprint, check, cloud};
pub use power::{Power, power, set_power};
pub use remove::Removal;
pub use sign_in::{Account, SignIn, Way};
