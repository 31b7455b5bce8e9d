//! Asks about jobs and hands them over: to a coordinator that runs ([`Client`], found again by its [`Target`]), or to
//! the state that one has left ([`OfflineJob`]). A [`View`] is a job either way.

mod client;
mod connect;
mod offline;
mod place;
mod refusal;
mod statuses;
mod submit;
mod target;
mod token;
mod view;

pub use client::{Bearer, Client, Service, ShardQuery};
pub use connect::ConnectArgs;
pub use offline::{OfflineJob, plan_new};
pub use refusal::{is_away, is_lost, refusal, stopped};
pub use statuses::{Heard, Statuses};
pub use submit::{Look, Submit, seen, submit};
pub use target::{Target, Unnamed, here};
pub use token::read_secret;
pub use view::{Source, View, check_stage};
