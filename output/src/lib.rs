//! What a job's output holds, and where: nothing here knows a network, a coordinator or a process.
//!
//! [`layout`] names every path below an output folder and every blob below an output root, [`manifest`] says what a
//! committed shard holds and who made it ([`shape`]: what is no file of it), [`owner`] whose results an output holds, [`result`] what a shard says of
//! itself. [`logs`] writes and reads what attempts print, [`names`] says which names a store can't hold, [`folders`] makes folders that others take away, [`timestamp`] is the time as manifests and logs carry it,
//! [`write_whole()`] how a small file is written.

pub mod folders;
pub mod layout;
pub mod logs;
pub mod manifest;
pub mod names;
pub mod note;
pub mod owner;
pub mod record;
pub mod result;
pub mod run;
pub mod shape;
pub mod timestamp;
mod whole;

pub use whole::{write_whole, write_whole_unsynced};
