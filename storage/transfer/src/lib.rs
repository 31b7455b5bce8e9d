//! Moving files between this machine and a store: single files by block, and whole trees.
//!
//! Everything can be killed at any moment and called again: what is there already is not moved twice. Uploads find the
//! blocks of an earlier attempt in the store, since a block's id is made of its bytes; downloads find them in
//! `<name>.petctl-part`, which ends with the list of those that are there.

mod download;
mod fetch;
mod filter;
mod journal;
mod local;
mod names;
mod outputs;
mod part;
mod ranged;
mod send;
mod tree;
mod tree_plan;
mod tuning;
mod upload;
mod walk;

pub use download::{Download, DownloadPlan, Item, Items, Wanted};
pub use fetch::{Fetched, check_file, fetch_file, pour};
pub use filter::{BadPattern, Filter};
pub use names::NameRules;
pub use outputs::{Outputs, committed_outputs};
pub use part::PART_ENDING;
pub use send::{Sent, send_file};
pub use tree::{Fault, TreeOutcome};
pub use tree_plan::{Planned, Transfer, TreePlan};
pub use tuning::{BLOCK_BYTES, NoProgress, Progress, Tuning};
pub use upload::{Upload, UploadPlan};
