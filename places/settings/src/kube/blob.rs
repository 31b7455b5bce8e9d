//! A blob container that is mounted in workers.

use serde::{Deserialize, Serialize};

/// A container, and how the Blob CSI driver mounts it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Blob {
    /// The storage account.
    pub account: String,
    /// The container in it.
    pub container: String,
    /// The Secret that opens it; `None`: an identity does, or nothing has to.
    pub secret: Option<String>,
    /// Client id of the workload identity that opens it.
    pub identity: Option<String>,
    /// How it is spoken to.
    pub protocol: BlobProtocol,
    /// Options of the mount, behind those that it always has.
    pub mount_options: Vec<String>,
    /// A claim that is there and has the container; `None`: `petctl setup` makes one.
    pub claim: Option<String>,
}

/// How a container is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobProtocol {
    /// By blobfuse2.
    #[default]
    Fuse2,
    /// By NFS 3, for accounts that have it.
    Nfs,
}

impl BlobProtocol {
    /// As the driver writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fuse2 => "fuse2",
            Self::Nfs => "nfs",
        }
    }
}

impl Blob {
    /// The claim by which pods mount it.
    #[must_use]
    pub fn claim_name(&self) -> String {
        // Accounts have no `-` in their names, so no two containers share a claim.
        let made = || format!("petctl-{}-{}", self.account, self.container);
        self.claim.clone().unwrap_or_else(made)
    }

    /// Whether both are one container.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.account == other.account && self.container == other.container
    }
}
