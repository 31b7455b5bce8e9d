//! Why a coordinator is not trusted, or TLS is not spoken.

use jiff::Timestamp;
use petctl_codes::Code;
use std::path::PathBuf;

/// Why no connection with TLS came about. Its text says what is wrong, [`TlsError::fix`] what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The file with the CA.
    #[error("can't read the coordinator's CA from {path}: {why}", path = path.display())]
    CaFile {
        /// Where it should be.
        path: PathBuf,
        /// What the system says, or that it holds none.
        why: String,
    },
    /// A text that was to be a CA is none.
    #[error("what was given as the coordinator's CA holds no certificate")]
    NoCa,
    /// Whoever answers has a certificate that another CA has signed, or for another name.
    #[error("its certificate is not of the CA that was given")]
    NotItsCa,
    /// Its certificate does not hold yet.
    #[error("its certificate holds from {from} on, and the clock here says {now}")]
    NotYet {
        /// From when on it holds.
        from: Timestamp,
        /// Now, as this machine has it.
        now: Timestamp,
    },
    /// Its certificate does not hold any more.
    #[error("its certificate held until {until}, and the clock here says {now}")]
    Over {
        /// Until when it held.
        until: Timestamp,
        /// Now, as this machine has it.
        now: Timestamp,
    },
    /// Whoever answers speaks no TLS.
    #[error("it speaks no TLS")]
    PlainText,
    /// Something of TLS itself.
    #[error("the other side and this one don't agree on TLS ({0})")]
    Other(String),
}

impl TlsError {
    /// Stable code, as docs/errors lists it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::CaFile { .. } | Self::NoCa => Code::CaFile,
            Self::NotItsCa | Self::Other(_) => Code::CaMismatch,
            Self::NotYet { .. } | Self::Over { .. } => Code::CertificateTime,
            Self::PlainText => Code::NoTls,
        }
    }

    /// What to do.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::CaFile { .. } | Self::NoCa => {
                "copy tls/ca.pem from the coordinator's state folder, and name the copy by --ca-file"
            }
            Self::NotItsCa | Self::Other(_) => {
                "copy tls/ca.pem again from the state folder of the coordinator that you mean; if it is the right one, \
                 somebody else answers at this address"
            }
            Self::NotYet { .. } | Self::Over { .. } => {
                "compare the clocks of both machines (`date -u`), and set the wrong one; a coordinator renews its \
                 certificate by itself"
            }
            Self::PlainText => {
                "start the coordinator with --tls; or, where nobody else can read the network, write http:// and leave \
                 --ca-file out"
            }
        }
    }
}
