//! A job file as text: a tree of values with their places, tables read key by key, and all that is wrong told at once.

pub(crate) mod errors;
mod overrides;
mod parse;
pub(crate) mod report;
pub(crate) mod section;
pub(crate) mod shape;
mod toml;
pub(crate) mod tree;

pub use errors::{JobFileError, JobFileErrors, Location};
pub use overrides::{MAX_OVERRIDES, Problem, set_key};
pub use parse::{MAX_JOB_FILE_BYTES, parse};
pub use report::{Kind, Place, Report};
pub use section::Section;
pub use toml::read_toml;
pub use tree::{Entry, Node, Table, Value};
