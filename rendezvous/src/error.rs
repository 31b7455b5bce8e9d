//! Why a coordinator can't start.

use crate::event_log::LogError;
use petctl_codes::Code;
use petctl_text::obstacle::Obstacle;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a coordinator can't start. Its text says what to do; [`StartError::code`] is stable.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder.
    #[error(transparent)]
    EventLog(#[from] LogError),
    /// Somebody listens there.
    #[error(
        "can't listen on {address}: another program does; stop it (`ss -ltnp 'sport = :{}'` names it), choose \
         another port, or leave the port out to have a free one chosen",
        address.port()
    )]
    PortInUse {
        /// Where.
        address: SocketAddr,
    },
    /// Somebody listens where probes are to be answered.
    #[error(
        "can't answer probes and show metrics on {address}: another program listens there; stop it (`ss -ltnp 'sport \
         = :{}'` names it), or choose another port with --http",
        address.port()
    )]
    HttpPortInUse {
        /// Where.
        address: SocketAddr,
    },
    /// The system does not let it listen there.
    #[error("can't listen on {address}; choose an address of this machine and a port above 1023")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// Others may read the token.
    #[error(
        "{path} may be read by others (mode {mode:04o}), so its token is no secret any more; delete the file to have \
         a new token made"
    )]
    TokenFileOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What is in the token file is no token.
    #[error(
        "{path} holds no token (one line of 16 to 1,024 visible characters is one); delete it to have one made"
    )]
    TokenFileBad {
        /// The file.
        path: PathBuf,
    },
    /// What is kept of its CA.
    #[error(
        "the CA in {path} can't be used: {why}; delete that folder to have a new one made, and give its ca.pem to all \
         who had the old one",
        path = path.display()
    )]
    Ca {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file beside the log.
    #[error(
        "can't {verb} {path}; {}",
        Obstacle::of(source).fix_writing("choose another state folder")
    )]
    File {
        /// "read" or "write".
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No certificate.
    #[error(
        "can't make a certificate ({0}); report this, with the names of this machine (`hostname -f`)"
    )]
    Certificate(String),
    /// Who starts the workers could not say whom they are to trust.
    #[error("{}", .0.message)]
    Untold(petctl_core::Refusal),
    /// No random numbers.
    #[error("the system gives no random numbers for a token ({0}); look at /dev/urandom")]
    Random(getrandom::Error),
    /// No thread.
    #[error("can't start the coordinator's thread; look at the limits on processes (`ulimit -u`)")]
    Thread {
        /// The system's reason.
        source: io::Error,
    },
}

impl StartError {
    /// Stable code, as docs/errors lists it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::EventLog(error) => error.code(),
            Self::PortInUse { .. } | Self::HttpPortInUse { .. } => Code::PortInUse,
            Self::Listen { .. } => Code::ListenFailed,
            Self::TokenFileOpen { .. } => Code::TokenFileOpen,
            Self::TokenFileBad { .. } => Code::TokenFileBad,
            Self::Ca { .. } => Code::CaBroken,
            Self::Certificate(_) => Code::Bug,
            Self::Untold(refusal) => refusal.code,
            Self::File { .. } => Code::StateFileFailed,
            Self::Random(_) => Code::NoRandomNumbers,
            Self::Thread { .. } => Code::NoThread,
        }
    }
}
