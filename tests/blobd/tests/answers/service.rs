//! The two services, started once for all tests.

use petctl_azurite::{Azurite, AzuriteOptions};
use petctl_test_blobd::{Blobd, BlobdOptions};
use std::sync::OnceLock;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn azurite() -> &'static Azurite {
    static AZURITE: OnceLock<Azurite> = OnceLock::new();
    AZURITE.get_or_init(|| Azurite::start(AzuriteOptions::default()).unwrap())
}

/// Compares MD5s, as Azurite does.
pub(crate) fn blobd() -> &'static Blobd {
    static BLOBD: OnceLock<Blobd> = OnceLock::new();
    BLOBD.get_or_init(|| {
        let options = BlobdOptions {
            checks_md5: true,
            ..BlobdOptions::default()
        };
        Blobd::start_with(&options).unwrap()
    })
}

/// Good for both: they have the same account.
pub(crate) fn sas() -> &'static str {
    static SAS: OnceLock<String> = OnceLock::new();
    SAS.get_or_init(|| {
        assert_eq!(azurite().account(), blobd().account());
        azurite().sas("rwdlacup", HOUR)
    })
}

/// A name that nobody used.
pub(crate) fn fresh(kind: &str) -> String {
    format!("{kind}-{:016x}", fastrand::u64(..))
}
