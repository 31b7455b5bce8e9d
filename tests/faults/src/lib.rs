//! A proxy that stands between petctl and a blob service, and makes the way there as bad as it is told to.
//!
//! What happens to a request is said by rules (these requests, this fault, so often) or drawn from a weather. A rule
//! that did not come to its end fails the test that made it: a fault that never happened shows nothing.

mod exchange;
mod fault;
mod http;
mod proxy;
mod rules;
mod weather;

pub use fault::Fault;
pub use proxy::{Proxy, Seen};
pub use rules::Matching;
pub use weather::Weather;
