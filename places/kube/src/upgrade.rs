//! Whether this petctl may be installed over the one that is there. Pure.

use crate::names::{STATE_FORMAT, VERSION};
use k8s_openapi::api::apps::v1::StatefulSet;
use petctl_rendezvous::event_log::{FORMAT_VERSION, OLDEST_FORMAT};
use petctl_ui::error::{Code, Error, Result};
use semver::Version;

/// What is installed, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct There {
    /// Version and commit of petctl.
    pub release: String,
    /// The format of the coordinator's state; `None`: it is of a release that did not say.
    state_format: Option<u64>,
}

impl There {
    /// What the coordinator's StatefulSet says; `None`: petctl has not made it.
    pub(crate) fn of(set: &StatefulSet) -> Option<Self> {
        let annotations = set.metadata.annotations.as_ref()?;
        let format = annotations.get(STATE_FORMAT);
        Some(Self {
            release: annotations.get(VERSION)?.clone(),
            state_format: format.and_then(|format| format.parse().ok()),
        })
    }

    /// Refuses to set it back to `release`: always where that one can't read the state, and without `downgrade`.
    ///
    /// # Errors
    /// [`Code::ClusterNewer`], with the way back.
    pub(crate) fn check(&self, release: &str, downgrade: bool, shown: &str) -> Result<()> {
        let format = self.state_format.unwrap_or(OLDEST_FORMAT);
        if format > FORMAT_VERSION {
            let what = format!(
                "petctl {} is installed there ({shown}), and its state has format {format}; this is petctl {release}, \
                 which reads formats {OLDEST_FORMAT} to {FORMAT_VERSION}",
                self.release
            );
            return Err(Error::new(Code::ClusterNewer, what).fix(
                "use that petctl; or go back to the state of before the upgrade, of which a copy lies beside it: \
                 docs/kubernetes.md has the steps",
            ));
        }
        let version = |release: &str| Version::parse(release.split(' ').next().unwrap_or_default());
        let (Ok(there), Ok(own)) = (version(&self.release), version(release)) else {
            return Ok(());
        };
        if there <= own || downgrade {
            return Ok(());
        }
        let what = format!(
            "petctl {} is installed there ({shown}), and this is petctl {release}, which is older",
            self.release
        );
        Err(Error::new(Code::ClusterNewer, what).fix(
            "use that petctl; or set it back to this one, which reads the same state: --downgrade",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(release: &str, format: Option<u64>, own: &str, downgrade: bool) -> String {
        let there = There {
            release: release.to_owned(),
            state_format: format,
        };
        match there.check(own, downgrade, "namespace petctl") {
            Ok(()) => "goes".to_owned(),
            Err(error) => {
                assert!(error.is(Code::ClusterNewer));
                error.to_string()
            }
        }
    }

    #[test]
    fn a_newer_petctl_is_installed_over_an_older_one_and_not_the_other_way_round() {
        let own = Some(FORMAT_VERSION);
        let goes = [
            ("0.1.0 (aaa)", None, "0.1.0 (bbb)"),
            ("0.1.0 (aaa)", None, "0.2.0"),
            ("0.1.0 (aaa)", own, "0.1.0 (bbb)"),
            ("0.9.9", own, "0.10.0"),
            ("1.0.0-rc.1", own, "1.0.0"),
            ("something else", own, "0.1.0"),
        ];
        for (there, format, own) in goes {
            assert_eq!(said(there, format, own, false), "goes", "{there} {own}");
        }
        for (there, own) in [("0.2.0 (aaa)", "0.1.0 (bbb)"), ("0.10.0", "0.9.9")] {
            let refused = said(there, Some(FORMAT_VERSION), own, false);
            assert!(refused.contains("--downgrade"), "{refused}");
            assert_eq!(said(there, Some(FORMAT_VERSION), own, true), "goes");
        }
        for downgrade in [false, true] {
            let refused = said("0.2.0", Some(FORMAT_VERSION + 1), "0.1.0", downgrade);
            assert!(refused.contains("state of before the upgrade"), "{refused}");
        }
    }
}
