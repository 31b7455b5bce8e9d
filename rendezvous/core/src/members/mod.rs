//! Workers, and the pools that they are members of.

pub(crate) mod arrival;
pub(crate) mod claims;
pub(crate) mod local_stages;
pub(crate) mod losses;
pub(crate) mod membership;
pub(crate) mod place;
pub(crate) mod pool;
pub(crate) mod preflight;
pub(crate) mod sharing;
