//! For how many pods there is room, where jobs share a number of them. Pure.

use super::seen::JobSeen;
use k8s_openapi::api::core::v1::Pod;
use petctl_core::{Claim, Code, Pool, Reason, Sharing, divide};
use std::sync::Arc;

/// What a job gets where not all get what they want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// So many it may have, once others have given back what is beyond theirs.
    pub(super) at_most: u32,
    /// So many it may have now.
    now: u32,
    /// So many there may be, of all jobs.
    most: u32,
    /// Other jobs that have some.
    others: usize,
}

/// Pods that take up room.
pub(super) fn living(pods: &[Arc<Pod>]) -> u32 {
    let living = pods
        .iter()
        .filter(|pod| !petctl_pods::has_ended(pod))
        .count();
    u32::try_from(living).unwrap_or(u32::MAX)
}

/// What a job asks for, and has.
pub(super) fn claim(pool: &Pool, job: Option<&JobSeen>, pods: &[Arc<Pod>]) -> Claim {
    let wants = !pool.suspended && !pool.cancelled;
    Claim {
        min: pool.min,
        unit: pool.unit,
        demand: if wants {
            pool.wanted.min(pool.useful)
        } else {
            0
        },
        has: living(pods).max(job.map_or(0, JobSeen::makes)),
    }
}

/// The room for each job, in their order; `None` where all get what they want. `others`: pods of jobs that have ended.
pub(super) fn rooms(
    (most, sharing): (u32, Sharing),
    others: u32,
    claims: &[Claim],
) -> Vec<Option<Room>> {
    let sum = |of: fn(&Claim) -> u32| {
        let all = claims.iter().map(|claim| u64::from(of(claim)));
        all.sum::<u64>() + u64::from(others)
    };
    if sum(|claim| claim.demand.max(claim.has)) <= u64::from(most) {
        return vec![None; claims.len()];
    }
    let there = sum(|claim| claim.has);
    let shares = divide(most, sharing, claims);
    let having = claims.iter().filter(|claim| claim.has > 0).count();
    // What others have not given back yet can't be given to anybody.
    let mut free = u64::from(most).saturating_sub(there);
    let rooms = claims.iter().zip(shares).map(|(claim, share)| {
        let more = free.min(u64::from(share.saturating_sub(claim.has)));
        free -= more;
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        Some(Room {
            at_most: share,
            now: share.min(claim.has.saturating_add(more)),
            most,
            others: having - usize::from(claim.has > 0),
        })
    });
    rooms.collect()
}

impl Room {
    /// What a job wants of what it may have.
    pub(super) fn within(&self, pool: &Pool) -> Pool {
        Pool {
            wanted: pool.wanted.min(self.now),
            ..pool.clone()
        }
    }

    /// Why it has fewer than it wants.
    pub(super) fn why(&self, pool: &Pool) -> Option<Reason> {
        let wanted = pool.wanted.min(pool.useful);
        if self.at_most >= wanted || pool.suspended || pool.cancelled {
            return None;
        }
        let (most, share) = (self.most, self.at_most);
        let message = if pool.min > most {
            let min = pool.min;
            format!(
                "at least {min} workers are needed, and jobs may have {most} pods here (coordinator.max_pods)"
            )
        } else {
            let with = match self.others {
                0 => "jobs before it".to_owned(),
                1 => "1 other job".to_owned(),
                n => format!("{n} other jobs"),
            };
            let of = format!("the {most} pods that jobs may have here (coordinator.max_pods)");
            format!("{share} of {wanted} workers: it shares {of} with {with}")
        };
        Some(Reason::new(Code::PodsShared, message))
    }
}

#[cfg(test)]
mod tests {
    use super::{Claim, Code, Room, Sharing, rooms};
    use crate::keeper::fixtures;

    fn asking(claims: &[(u32, u32)]) -> Vec<Claim> {
        let claims = claims.iter().map(|(demand, has)| Claim {
            min: 1,
            unit: 1,
            demand: *demand,
            has: *has,
        });
        claims.collect()
    }

    fn numbers(rooms: &[Option<Room>]) -> Vec<Option<(u32, u32)>> {
        let all = rooms.iter();
        all.map(|room| room.map(|room| (room.at_most, room.now)))
            .collect()
    }

    #[test]
    fn where_all_get_what_they_want_nothing_is_said() {
        let alone = rooms((4, Sharing::Fair), 0, &asking(&[(4, 2)]));
        assert_eq!(alone, [None]);
        assert_eq!(
            rooms((4, Sharing::Fair), 0, &asking(&[(2, 2), (2, 0)])),
            [None; 2]
        );
    }

    #[test]
    fn a_job_gets_its_share_as_others_give_back_what_is_beyond_theirs() {
        let shared = |has: &[(u32, u32)]| numbers(&rooms((4, Sharing::Fair), 0, &asking(has)));
        assert_eq!(shared(&[(4, 4), (4, 0)]), [Some((2, 2)), Some((2, 0))]);
        assert_eq!(shared(&[(4, 3), (4, 0)]), [Some((2, 2)), Some((2, 1))]);
        assert_eq!(shared(&[(4, 2), (4, 1)]), [Some((2, 2)), Some((2, 2))]);
        // Pods of a job that has ended are there until they are gone.
        let ended = rooms((4, Sharing::Fair), 3, &asking(&[(4, 0)]));
        assert_eq!(numbers(&ended), [Some((4, 1))]);
    }

    #[test]
    fn who_has_fewer_than_wanted_is_told_why() {
        let shared = rooms((4, Sharing::Fair), 0, &asking(&[(4, 4), (4, 0)]));
        let pool = fixtures::pool(4, Vec::new());
        let why = shared[1].unwrap().why(&pool).unwrap();
        assert_eq!(why.code, Code::PodsShared.as_str());
        let told = "2 of 4 workers: it shares the 4 pods that jobs may have here (coordinator.max_pods) with 1 other job";
        assert_eq!(why.message, told);
        let mut large = fixtures::pool(6, Vec::new());
        large.min = 6;
        let told =
            "at least 6 workers are needed, and jobs may have 4 pods here (coordinator.max_pods)";
        assert_eq!(shared[1].unwrap().why(&large).unwrap().message, told);
        assert_eq!(shared[1].unwrap().why(&fixtures::pool(2, Vec::new())), None);
    }
}
