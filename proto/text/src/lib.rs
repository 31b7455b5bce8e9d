//! What job files and shards are written in: names, durations, sizes, shares and dates, commands with placeholders; and
//! how strange text, bytes, secrets and errors are shown to people, what stands in the way of a file, and what people call a
//! shard. Pure.

pub mod called;
mod causes;
pub mod dates;
pub mod duration;
mod hex;
pub mod obstacle;
pub mod secrets;
pub mod template;
pub mod words;

pub use causes::with_causes;
pub use duration::{format_duration_ms, parse_bytes, parse_duration_ms};
pub use hex::{hex, unhex};
pub use secrets::Secret;
pub use template::{
    MAX_RENDERED_BYTES, Placeholder, Placeholders, Template, TemplateError, render,
};
pub use words::{is_identifier, is_name, is_strange, shown};
