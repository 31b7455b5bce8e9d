//! The service asked from outside, by a client made by hand.

mod client;
mod clusters;
mod groups;
mod recordings;
mod resources;
mod sign_in;
