//! What outputs are made of in truth, beside the digests by which the product tells it.

use super::Oracle;
use super::outputs::OutputOracle;
use crate::output::{Name, Output};
use petctl_core::{LeaseGrant, ShardId};
use petctl_spec::{ContentDigest, ShardContent, StageContent};
use std::collections::BTreeMap;

/// What a shard is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    stage: StageContent,
    shard: ShardContent,
    /// The outputs that it needs, by the keys of their shards.
    needs: Vec<Vec<(String, Option<Name>)>>,
}

/// By the digests that were given out.
pub type Truths = BTreeMap<ContentDigest, Truth>;

impl Oracle {
    /// Notes what shards are made of whose leases are given out.
    ///
    /// # Errors
    /// If one digest stands for two things.
    pub fn grants(&mut self, grants: &[LeaseGrant], at: &mut OutputOracle) -> Result<(), String> {
        for grant in grants {
            self.latest.insert(grant.shard, grant.lease);
            let Some(content) = grant.content else {
                continue;
            };
            let truth = self.truth(grant.shard)?;
            let known = at.truths.entry(content).or_insert_with(|| truth.clone());
            if *known != truth {
                return Err(format!(
                    "{:?} has the content of something else: {truth:?} and {known:?}",
                    grant.shard
                ));
            }
        }
        Ok(())
    }

    /// What is recorded as done is made of what its job says, whoever made it.
    pub(super) fn made_of_the_same(
        &self,
        shard: ShardId,
        output: &Output,
        truths: &Truths,
    ) -> Result<(), String> {
        let place = self.place(shard)?;
        let Some(files) = output.stands(&place) else {
            return Ok(());
        };
        let Some(content) = files.content else {
            let own = files.name.lineage == self.lineage;
            return if own && files.name.lease >= self.first_lease.0 {
                Ok(())
            } else {
                Err(format!(
                    "{shard:?}: outputs of before, by {:?}, of which nobody knows what they are made of",
                    files.name
                ))
            };
        };
        let truth = self.truth(shard)?;
        match truths.get(&content) {
            Some(known) if *known == truth => Ok(()),
            known => Err(format!(
                "{shard:?}: the outputs of {:?} are made of something else: {known:?}, not {truth:?}",
                files.name
            )),
        }
    }

    /// The job is told to have ended: all that it has done is there, whole, and made of what it says.
    ///
    /// # Errors
    /// What is not.
    pub fn all_made_of_the_same(&self, output: &Output, truths: &Truths) -> Result<(), String> {
        self.outputs(output)?;
        for shard in self.committed.keys() {
            if self.has_output && !self.excused.contains(&self.place(*shard)?) {
                self.made_of_the_same(*shard, output, truths)?;
            }
        }
        Ok(())
    }

    fn truth(&self, shard: ShardId) -> Result<Truth, String> {
        let at = shard.stage as usize;
        let spec = self.spec.as_ref().and_then(|spec| spec.stages.get(at));
        let (spec, work) = spec.zip(self.work.get(at)).ok_or("a shard without a job")?;
        let own = work.contents.shards.get(shard.index as usize);
        let needs = spec.needs.iter().map(|need| {
            let of = |index: u32| {
                let shard = ShardId {
                    stage: need.stage,
                    index,
                };
                let key = self.place(shard).map_or_else(|_| String::new(), |p| p.1);
                (key, self.committed.get(&shard).copied())
            };
            if need.per_shard {
                return vec![of(shard.index)];
            }
            let count = self.keys.get(need.stage as usize).map_or(0, Vec::len);
            let all = (0..u32::try_from(count).unwrap_or(0)).map(of);
            all.filter(|(_, name)| name.is_some()).collect()
        });
        Ok(Truth {
            stage: work.contents.stage,
            shard: own.copied().unwrap_or_default(),
            needs: needs.collect(),
        })
    }
}
