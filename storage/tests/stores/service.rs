//! One Azurite for all tests of this binary; each test takes a container of its own.

use petctl_azurite::{Azurite, AzuriteOptions};
use petctl_spec::{SecretRef, StorageAccess, StorageRoot};
use petctl_storage::{Patience, SharedStore, open, open_with};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn azurite() -> &'static Azurite {
    static AZURITE: OnceLock<Azurite> = OnceLock::new();
    AZURITE.get_or_init(|| Azurite::start(AzuriteOptions::default()).unwrap())
}

pub(crate) fn container(name: &str, prefix: &str) -> StorageRoot {
    StorageRoot::Container {
        container: name.to_owned(),
        prefix: prefix.to_owned(),
    }
}

/// A name that nobody used.
pub(crate) fn fresh(kind: &str) -> String {
    format!("{kind}-{:016x}", fastrand::u64(..))
}

/// A new container.
pub(crate) async fn new_store(kind: &str, prefix: &str) -> SharedStore {
    let store = open(&container(&fresh(kind), prefix), &azurite().access()).unwrap();
    assert!(store.create().await.unwrap());
    store
}

/// Retries that a test can wait for.
pub(crate) fn hasty() -> Patience {
    Patience {
        tries: 4,
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(50),
        total: Duration::from_secs(5),
        first_contact: Duration::from_secs(1),
        stall: Duration::from_millis(700),
    }
}

/// Access with a SAS that stands in a file.
pub(crate) fn with_sas(file: &Path, token: &str) -> StorageAccess {
    std::fs::write(file, token).unwrap();
    StorageAccess {
        sas_token: Some(SecretRef::File(file.display().to_string())),
        ..azurite().access()
    }
}

/// A store by way of another address, as a proxy has it.
pub(crate) fn store_at(endpoint: &str, root: &StorageRoot) -> SharedStore {
    let access = StorageAccess {
        endpoint: Some(endpoint.to_owned()),
        ..azurite().access()
    };
    open_with(root, &access, &hasty()).unwrap()
}
