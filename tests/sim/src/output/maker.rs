//! Who makes outputs, and whose outputs count for whom: as `petctl_commit::Maker` judges.

use super::{Files, Name, Place, place};
use crate::plan::Broken;
use petctl_core::LeaseGrant;
use petctl_spec::ContentDigest;

/// Who makes outputs, and what of others' counts for them.
#[derive(Clone, Debug)]
pub struct Maker {
    /// Where.
    pub place: Place,
    /// As its manifest names it.
    pub name: Name,
    /// As its folder is spelled: as its name, unless that is broken.
    pub spelled: Name,
    /// Which attempt it is in truth.
    pub writer: u64,
    /// What they are made of.
    pub content: Option<ContentDigest>,
    /// Outputs of its own lineage below this are of before.
    pub replaces_below: u64,
    /// Outputs of before are not adopted, whatever they are made of.
    pub fresh: bool,
    /// Others may still run.
    pub fence: bool,
    /// Nobody can have been at the shard before: it looks for nobody.
    pub first: bool,
}

/// What outputs that stand are to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As good as its own.
    Adopted,
    /// Of before: they give way.
    Earlier,
    /// Of a later attempt: this one gives up.
    Later,
    /// Not what their manifest says.
    Damaged,
}

impl Maker {
    /// As the grant says. `writer`: a number that no other attempt has.
    #[must_use]
    pub fn new(grant: &LeaseGrant, writer: u64, broken: Option<Broken>) -> Self {
        let name = Name {
            lineage: grant.lineage.0,
            lease: grant.lease.0,
        };
        // As every log counted that had nothing before.
        let counted = Name {
            lineage: 0,
            lease: name.lease & u64::from(u32::MAX),
        };
        Self {
            place: place(grant),
            name,
            spelled: if broken == Some(Broken::Lineage) {
                counted
            } else {
                name
            },
            writer,
            content: grant.content,
            replaces_below: grant.replaces_below.0,
            fresh: grant.fresh,
            fence: grant.fence && broken != Some(Broken::Fence),
            first: !grant.fence && grant.attempt == 1,
        }
    }

    pub(super) fn judge(&self, files: &Files, broken: Option<Broken>) -> Standing {
        let same = self.content == files.content;
        if files.name.lineage != self.name.lineage || files.name.lease < self.replaces_below {
            let by_content = broken != Some(Broken::Content);
            let adopts = (same && self.content.is_some() || !by_content) && !self.fresh;
            return if adopts {
                Standing::Adopted
            } else {
                Standing::Earlier
            };
        }
        if same {
            Standing::Adopted
        } else if files.name.lease < self.name.lease {
            Standing::Earlier
        } else {
            Standing::Later
        }
    }

    pub(super) fn may_restore(&self, files: &Files) -> bool {
        self.content.is_some() && !self.fresh && files.content == self.content
    }
}
