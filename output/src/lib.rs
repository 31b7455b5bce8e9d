//! What a job's output holds, and where: nothing here knows a network, a coordinator or a process.
//!
//! [`layout`] names every path below an output folder, [`manifest`] says what a committed shard holds and who made it,
//! [`logs`] writes and reads what attempts print, [`timestamp`] is the time as both carry it.

pub mod layout;
pub mod logs;
pub mod manifest;
pub mod timestamp;
