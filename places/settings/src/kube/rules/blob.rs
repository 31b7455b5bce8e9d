//! What blob containers that are mounted must be.

use super::{Rules, Way, names};
use crate::kube::{Blob, BlobProtocol, KubePlace, VolumeSource};
use petctl_keyed::MAX_TEXT_BYTES;
use petctl_text::words::shown;

/// Characters of a client id: a UUID.
const CLIENT_ID_CHARS: usize = 36;

impl Rules {
    pub(super) fn blob(&mut self, at: &Way, blob: &Blob) {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let account = &blob.account;
        if !(3..=24).contains(&account.len()) || !account.chars().all(good) {
            let what = format!(
                "is `{}`, which is no name of a storage account",
                shown(account)
            );
            let fix = "use its 3 to 24 lower-case letters and digits";
            self.add(&at.key("account"), what, fix);
        }
        let container = &blob.container;
        let named = (3..=63).contains(&container.len())
            && !container.contains("--")
            && names::label(container).is_ok();
        if !named {
            let what = format!("is `{}`, which is no name of a container", shown(container));
            let fix =
                "use 3 to 63 characters of a-z, 0-9 and single `-`, a letter or digit at both ends";
            self.add(&at.key("container"), what, fix);
        }
        self.object_option(&at.key("secret"), blob.secret.as_deref());
        self.object_option(&at.key("claim"), blob.claim.as_deref());
        self.identity(&at.key("identity"), blob.identity.as_deref());
        self.opened_once(at, blob);
        if self.few(&at.key("mount_options"), blob.mount_options.len()) {
            for (index, option) in blob.mount_options.iter().enumerate() {
                self.mount_option(&at.key("mount_options").index(index), option);
            }
        }
    }

    fn identity(&mut self, at: &Way, id: Option<&str>) {
        let good = |c: char| c.is_ascii_hexdigit() || c == '-';
        if id.is_some_and(|id| id.len() != CLIENT_ID_CHARS || !id.chars().all(good)) {
            let fix =
                "write the client id of the managed identity: 36 characters of 0-9, a-f and `-`";
            self.add(at, "is no client id", fix);
        }
    }

    /// A claim that is there has its own way in, NFS needs none, and two are one too many.
    fn opened_once(&mut self, at: &Way, blob: &Blob) {
        let given = [
            ("secret", blob.secret.is_some()),
            ("identity", blob.identity.is_some()),
        ];
        let mut given = given.into_iter().filter(|(_, given)| *given);
        let (first, second) = (given.next(), given.next());
        if let Some((key, _)) = second {
            let fix = "keep one of `secret` and `identity`";
            self.add(
                &at.key(key),
                "stands beside `secret`: one of them opens the container",
                fix,
            );
        }
        let Some((key, _)) = first else { return };
        if blob.claim.is_some() {
            let what = "stands beside `claim`, whose volume says itself what opens it";
            self.add(&at.key(key), what, format!("take `{key}` out"));
        } else if blob.protocol == BlobProtocol::Nfs {
            let what = "stands beside `protocol = \"nfs\"`, which opens nothing by secrets: the account's network rules do";
            self.add(&at.key(key), what, format!("take `{key}` out"));
        }
    }

    fn mount_option(&mut self, at: &Way, option: &str) {
        let good =
            (1..=MAX_TEXT_BYTES).contains(&option.len()) && !option.chars().any(char::is_control);
        if !good {
            self.add(
                at,
                "is empty or holds control characters",
                "write it such as \"--cache-size-mb=1000\"",
            );
        }
        let lower = option.to_ascii_lowercase();
        if ["account-key", "sas-token", "sig="]
            .iter()
            .any(|word| lower.contains(word))
        {
            let fix =
                "put it into a Secret, with `petctl storage-secret`, and name that as `secret`";
            self.add(
                at,
                "holds a secret, and everybody who may see volumes could read it",
                fix,
            );
        }
    }

    /// One container has one volume, whose options can't differ from path to path.
    pub(super) fn blob_again(&mut self, at: &Way, kube: &KubePlace, index: usize) {
        let blob = |index: usize| match &kube.volumes.get(index)?.source {
            VolumeSource::Blob(blob) => Some(blob),
            VolumeSource::Claim(_)
            | VolumeSource::HostPath(_)
            | VolumeSource::Secret(_)
            | VolumeSource::ConfigMap(_)
            | VolumeSource::Memory(_) => None,
        };
        let Some(own) = blob(index) else { return };
        let other = (0..index).filter_map(blob).find(|other| other.is_same(own));
        if other.is_some_and(|other| other != own) {
            let fix = "mount it with the same `secret`, `identity`, `protocol`, `mount_options` and `claim` everywhere";
            self.add(
                &at.key("blob"),
                "is a container that is mounted in another manner above",
                fix,
            );
        }
    }
}
