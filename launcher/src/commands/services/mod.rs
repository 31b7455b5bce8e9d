//! Commands that serve a job instead of asking about one: they run until they are told to stop.

pub(crate) mod guard;
pub(crate) mod rendezvous;
pub(crate) mod token;
pub(crate) mod torchrun;
pub(crate) mod worker;
