//! Starts one process on the fast path, watches it, and leaves nothing of it behind.
//!
//! Spawning goes through `std::process::Command` in the way that keeps it on `posix_spawn`: no `pre_exec`, and the
//! program as an absolute path, so that std needs no search of its own. The process leads a group of its own. Its end
//! is seen through a pidfd; at that moment it is a zombie that still owns the group's id, so the group can be killed
//! without hitting a stranger, and then it is reaped. What moved to another session is found as a re-parented child
//! of this process ([`strays`]). What it may use of the memory is held or watched by [`MemoryHold`]. What is done
//! when is decided by the pure [`supervisor`].

mod drain;
mod ending;
mod environment;
mod memory;
mod program;
mod spawn;
pub mod strays;
pub mod supervisor;
mod switch;
mod watch;

pub use self::drain::Drain;
pub use self::ending::killed_by;
pub use self::environment::inherited;
pub use self::memory::{Excess, MemoryHold};
pub use self::program::resolve;
pub use self::spawn::{Launch, Outputs, SpawnError, spawn, spawn_reader};
pub use self::switch::{StopOrder, StopSwitch};
pub use self::watch::{Terms, Watched, timespec, watch};
