//! How jobs divide the workers that a place lets them have together.

/// Who goes first where there are not enough workers for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// All get their minimum in the order of submission, and the rest goes to whoever has the fewest.
    #[default]
    Fair,
    /// Jobs keep what they have; what is free goes to the one that was submitted first.
    InOrder,
}

/// What a job asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// With fewer workers it does nothing.
    pub min: u32,
    /// The number of its workers is a multiple of this.
    pub unit: u32,
    /// So many it would have if it were alone.
    pub demand: u32,
    /// So many it has.
    pub has: u32,
}

impl Claim {
    /// The most that it can use of these; 0 where they are too few for it.
    fn fitting(self, workers: u32) -> u32 {
        let unit = self.unit.max(1);
        let fits = workers.min(self.demand) / unit * unit;
        if fits < self.fewest() { 0 } else { fits }
    }

    /// Whether it has what it needs at least.
    fn runs(self) -> bool {
        self.has >= self.fewest()
    }

    fn fewest(self) -> u32 {
        let unit = self.unit.max(1);
        self.min.max(1).div_ceil(unit).saturating_mul(unit)
    }
}

/// How many of `most` workers each job may have. `claims` are in the order of submission.
///
/// A job that has its minimum never loses it. One whose minimum does not fit yet keeps those after it from
/// starting, so that its turn comes; one whose minimum can never fit holds up nobody. Beyond that a fair division is
/// max-min fair in steps of each job's unit: no job could have more without one that has no more than it having less.
#[must_use]
pub fn divide(most: u32, sharing: Sharing, claims: &[Claim]) -> Vec<u32> {
    let mut shares = vec![0; claims.len()];
    let mut free = most;
    let first = |claim: Claim| match sharing {
        Sharing::Fair => claim.fitting(claim.fewest()),
        Sharing::InOrder => claim.fitting(claim.has.max(claim.fewest())),
    };
    for (share, claim) in shares.iter_mut().zip(claims) {
        if claim.runs() {
            *share = claim.fitting(first(*claim).min(free));
            free -= *share;
        }
    }
    for (share, claim) in shares.iter_mut().zip(claims) {
        if claim.runs() || claim.demand == 0 || claim.fewest() > most {
            continue;
        }
        *share = match sharing {
            Sharing::Fair => claim.fitting(first(*claim).min(free)),
            Sharing::InOrder => claim.fitting(free),
        };
        free -= *share;
        if *share == 0 && claim.fitting(claim.demand) > 0 {
            break;
        }
    }
    match sharing {
        Sharing::Fair => pour(&mut shares, claims, free),
        Sharing::InOrder => top_up(&mut shares, claims, free),
    }
    shares
}

/// Gives what is free to those who run, one step at a time to whoever has the fewest.
fn pour(shares: &mut [u32], claims: &[Claim], mut free: u32) {
    let mut thirsty: std::collections::BTreeSet<(u32, usize)> = shares
        .iter()
        .enumerate()
        .filter(|(_, share)| **share > 0)
        .map(|(job, share)| (*share, job))
        .collect();
    while let Some((share, job)) = thirsty.pop_first() {
        let more = claims[job].fitting(share.saturating_add(claims[job].unit.max(1)));
        if more > share && more - share <= free {
            free -= more - share;
            shares[job] = more;
            thirsty.insert((more, job));
        }
    }
}

/// Gives what is free to those who run, in their order.
fn top_up(shares: &mut [u32], claims: &[Claim], mut free: u32) {
    for (share, claim) in shares.iter_mut().zip(claims) {
        if *share > 0 {
            let more = claim.fitting(share.saturating_add(free));
            free -= more.saturating_sub(*share);
            *share = more.max(*share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Claim, Sharing, divide};

    fn claim(min: u32, unit: u32, demand: u32, has: u32) -> Claim {
        Claim {
            min,
            unit,
            demand,
            has,
        }
    }

    /// Each line of the table: the way, how many there are, the claims, and the shares.
    #[test]
    fn shares_follow_the_table() {
        let table = include_str!("../../testdata/sharing.txt");
        let mut cases = 0;
        for line in table
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            let (given, expected) = line.split_once("->").unwrap();
            let mut words = given.split_whitespace();
            let sharing = match words.next().unwrap() {
                "fair" => Sharing::Fair,
                "in-order" => Sharing::InOrder,
                other => panic!("{other}"),
            };
            let most = words.next().unwrap().parse().unwrap();
            let claims: Vec<Claim> = words
                .map(|word| {
                    let n: Vec<u32> = word.split('/').map(|n| n.parse().unwrap()).collect();
                    claim(n[0], n[1], n[2], n[3])
                })
                .collect();
            let expected: Vec<u32> = expected
                .split_whitespace()
                .map(|n| n.parse().unwrap())
                .collect();
            assert_eq!(divide(most, sharing, &claims), expected, "{line}");
            cases += 1;
        }
        assert!(cases >= 20, "the table has {cases} cases");
    }

    /// Claims small enough that all of them can be tried together.
    fn few() -> Vec<Claim> {
        let mut all = Vec::new();
        for min in 1..=3 {
            for unit in 1..=2 {
                for demand in [0, 2, 5] {
                    all.extend([0, 2].map(|has| claim(min, unit, demand, has)));
                }
            }
        }
        all
    }

    #[test]
    fn whatever_is_claimed_the_shares_are_within_bounds_and_nothing_of_use_is_left() {
        let few = few();
        for first in &few {
            for second in &few {
                for third in &few {
                    let claims = [*first, *second, *third];
                    for most in [0, 3, 5, 8] {
                        for sharing in [Sharing::Fair, Sharing::InOrder] {
                            check(most, sharing, &claims);
                        }
                    }
                }
            }
        }
    }

    fn check(most: u32, sharing: Sharing, claims: &[Claim]) {
        let shares = divide(most, sharing, claims);
        let said = || format!("{most} {sharing:?} {claims:?}: {shares:?}");
        let given: u32 = shares.iter().sum();
        assert!(given <= most, "{}", said());
        let has: u32 = claims.iter().map(|claim| claim.has).sum();
        for (share, claim) in shares.iter().zip(claims) {
            assert!(
                *share <= claim.demand && share % claim.unit == 0,
                "{}",
                said()
            );
            assert!(*share == 0 || *share >= claim.min, "{}", said());
            let runs = claim.has >= claim.fewest() && claim.demand >= claim.fewest();
            assert!(
                !runs || has > most || *share >= claim.fewest(),
                "{}",
                said()
            );
            let more = claim.fitting(share + claim.unit);
            let uses = *share > 0 && more > *share;
            assert!(!uses || more - share > most - given, "{}", said());
            for (other, of) in shares.iter().zip(claims) {
                // Nobody was given a step while somebody had fewer who could have used it.
                let ahead = *other > of.fewest() && other - of.unit > *share;
                let unfair = uses && ahead && claim.unit <= of.unit;
                assert!(sharing == Sharing::InOrder || !unfair, "{}", said());
            }
        }
    }

    #[test]
    fn ten_thousand_workers_and_jobs_are_divided_in_no_time() {
        let claims = vec![claim(1, 1, 100, 0); 10_000];
        let shares = divide(10_000, Sharing::Fair, &claims);
        assert!(shares.iter().all(|share| *share == 1));
        let shares = divide(1_000_000, Sharing::Fair, &claims);
        assert!(shares.iter().all(|share| *share == 100));
    }
}
