//! Every code that a user can meet, once: its name, its sentence, and how petctl ends by it.
//!
//! `docs/errors` has a page for each; a test holds the pages to this catalogue. What comes over the wire or out of a
//! log may be of another version of petctl, so codes that were received are kept as text and asked for by
//! [`Code::parse`].

mod catalogue;
mod exit;

pub use catalogue::Code;
pub use exit::Exit;
