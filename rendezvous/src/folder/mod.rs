//! The state folder: what lies beside the log.
//!
//! ```text
//! lock            held while a coordinator or an offline reader is there; the coordinator's pid
//! coordinator.redb  the log
//! coordinator.redb.format-N  what it was in an older format, before it was brought to this one: the way back
//! token           mode 0600
//! tls/ca.pem      its CA: whoever calls it with TLS is given a copy
//! tls/ca.key      mode 0600
//! port            where the last coordinator listened
//! endpoint.json   where the living one listens
//! code/DIGEST     archives of jobs' code
//! ```

mod authority;
mod code;
mod endpoint;
mod lock;
mod token;

pub(crate) use self::authority::authority_of;
pub use self::authority::ca_path;
pub(crate) use self::code::{CodeFolder, NewArchive, NotKept, is_digest};
pub use self::endpoint::{Endpoint, read_endpoint};
pub(crate) use self::endpoint::{publish, remember_port, remembered_port, withdraw};
pub(crate) use self::lock::FolderLock;
pub(crate) use self::token::token_of;
pub use self::token::{random_token, read_token};
