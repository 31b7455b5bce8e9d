//! What is to be done so that a job has the pods that it wants. Pure.

use super::seen::{JobSeen, Made, PodSeen, here};
use petctl_core::Pool;
use std::collections::BTreeSet;

/// Something to do in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Make the job's Job with so many pods.
    Create(u32),
    /// Give it so many pods.
    Resize(u32),
    /// Take its pods away, or let it have them again.
    Suspend(bool),
    /// Go on with the pods that a coordinator of another release has made.
    Adopt,
    /// Remove it with its pods.
    Remove,
    /// Take a pod away, as a drained node does: what runs in it has its grace.
    Drain(String),
    /// Let go of a pod that has ended, or whose node is lost, so that another takes its place at once.
    Forget(String),
}

/// What is to be done for a job that has not ended. `made`: what its pods are to be made of.
pub(super) fn plan(
    pool: &Pool,
    made: &Made,
    job: Option<&JobSeen>,
    pods: &[PodSeen],
) -> Vec<Action> {
    // No more than what is wanted and finds something to do.
    let up = pool.wanted.min(pool.useful);
    let Some(job) = job else {
        let wants = !pool.suspended && !pool.cancelled && up > 0;
        return if wants {
            vec![Action::Create(up)]
        } else {
            Vec::new()
        };
    };
    if job.goes {
        return Vec::new();
    }
    if job.queue.is_some() {
        // Whether it may run is the queue's to say. What petctl suspends gives its quota back, and queues again.
        if pool.suspended {
            return vec![Action::Remove];
        }
    } else if pool.suspended != job.suspended && !job.over {
        return vec![Action::Suspend(pool.suspended)];
    }
    if pool.suspended || pool.cancelled {
        return Vec::new();
    }
    let differs = job.made.template != made.template;
    // Each release has other words for the same pods: those that are there go on, as long as they can come in.
    let adopted = differs && job.made.kept_by != made.kept_by && job.made.secret == made.secret;
    if job.over || differs && !adopted {
        // It is made anew when it is gone.
        return vec![Action::Remove];
    }
    let mut actions = Vec::new();
    actions.extend(adopted.then_some(Action::Adopt));
    if job.size < up {
        actions.push(Action::Resize(up));
    } else if job.size > pool.wanted {
        // The highest indexes go. A worker that has something in hand, or may get it, goes first by itself.
        let at_work = pool.workers.iter().filter(|w| w.member || w.drains);
        let at_work: BTreeSet<&str> = at_work.map(|w| w.name.as_str()).collect();
        let busy = |pod: &&PodSeen| !pod.ended && at_work.contains(pod.name.as_str());
        let last = pods.iter().filter(busy).map(|pod| pod.index + 1).max();
        let size = last.unwrap_or(0).max(pool.wanted).max(1);
        if size < job.size {
            actions.push(Action::Resize(size));
        }
    }
    let here = here(pool);
    let given_up = |pod: &PodSeen| !here.contains(pod.name.as_str());
    // Kubernetes makes another pod of an index only when the last one has ended, and the later the more of it failed.
    // That brake is right where pods end before they have joined. Where one was taken away the next comes at once; and
    // one on a lost node counts as ended as soon as the coordinator has given it up: nothing of it is committed then.
    let over = pods.iter().filter(|pod| {
        let ended = pod.ended && (pod.disrupted || pod.joined);
        pod.index < job.size && (ended || pod.node_lost && !pod.ended && given_up(pod))
    });
    actions.extend(over.map(|pod| Action::Forget(pod.name.clone())));
    let leave = pods.iter().filter(|pod| {
        pod.unhealthy && pod.index < job.size && !pod.ended && !pod.goes && !pod.node_lost
    });
    actions.extend(leave.map(|pod| Action::Drain(pod.name.clone())));
    actions
}

#[cfg(test)]
mod tests {
    use super::{Action, JobSeen, Made, PodSeen, Pool};
    use crate::keeper::fixtures::{self, worker};

    fn pool(wanted: u32, workers: &[(&str, bool, bool)]) -> Pool {
        let all = workers.iter();
        let all = all.map(|(name, member, drains)| worker(name, *member, *drains));
        fixtures::pool(wanted, all.collect())
    }

    fn made(template: &str, kept_by: &str) -> Made {
        Made {
            template: template.to_owned(),
            kept_by: kept_by.to_owned(),
            secret: "petctl-us101-1".to_owned(),
        }
    }

    fn plan(pool: &Pool, template: &str, job: Option<&JobSeen>, pods: &[PodSeen]) -> Vec<Action> {
        super::plan(pool, &made(template, "now"), job, pods)
    }

    fn job(size: u32) -> JobSeen {
        JobSeen {
            size,
            made: made("t", "now"),
            ..JobSeen::default()
        }
    }

    fn pods(count: u32) -> Vec<PodSeen> {
        (0..count)
            .map(|index| PodSeen {
                name: format!("p-{index}"),
                index,
                runs: true,
                ..PodSeen::default()
            })
            .collect()
    }

    #[test]
    fn no_more_pods_are_made_than_find_something_to_do() {
        let mut few = pool(8, &[]);
        few.useful = 3;
        assert_eq!(plan(&few, "t", None, &[]), [Action::Create(3)]);
        // What is there and idle stays: it may be wanted the next moment.
        assert_eq!(plan(&few, "t", Some(&job(8)), &pods(8)), []);
        few.cancelled = true;
        assert_eq!(plan(&few, "t", None, &[]), []);
    }

    #[test]
    fn a_job_that_a_queue_holds_back_is_left_to_it() {
        let mut queued = job(2);
        queued.queue = Some("team-a".to_owned());
        queued.suspended = true;
        assert_eq!(plan(&pool(2, &[]), "t", Some(&queued), &[]), []);
        // It may ask for more meanwhile.
        assert_eq!(
            plan(&pool(3, &[]), "t", Some(&queued), &[]),
            [Action::Resize(3)]
        );
        let mut suspended = pool(2, &[]);
        suspended.suspended = true;
        for held in [true, false] {
            queued.suspended = held;
            assert_eq!(
                plan(&suspended, "t", Some(&queued), &[]),
                [Action::Remove],
                "{held}"
            );
        }
    }

    #[test]
    fn a_pool_that_grows_gets_its_pods_at_once() {
        assert_eq!(
            plan(&pool(64, &[]), "t", Some(&job(4)), &pods(4)),
            [Action::Resize(64)]
        );
    }

    #[test]
    fn pods_go_from_the_highest_index_on_and_only_when_their_workers_are_done() {
        let busy = pool(
            2,
            &[
                ("p-0", true, false),
                ("p-1", true, false),
                ("p-2", false, true),
                ("p-3", false, true),
            ],
        );
        assert_eq!(plan(&busy, "t", Some(&job(4)), &pods(4)), []);
        let lower = pool(
            2,
            &[
                ("p-0", true, false),
                ("p-1", true, false),
                ("p-2", false, true),
            ],
        );
        assert_eq!(
            plan(&lower, "t", Some(&job(4)), &pods(4)),
            [Action::Resize(3)]
        );
        let done = pool(2, &[("p-0", true, false), ("p-1", true, false)]);
        assert_eq!(
            plan(&done, "t", Some(&job(4)), &pods(4)),
            [Action::Resize(2)]
        );
        // One that waits outside, or has not come yet, has nothing to end.
        let waits = pool(2, &[("p-0", true, false), ("p-3", false, false)]);
        assert_eq!(
            plan(&waits, "t", Some(&job(4)), &pods(4)),
            [Action::Resize(2)]
        );
    }

    #[test]
    fn a_suspended_job_gives_its_pods_back() {
        let mut suspended = pool(4, &[("p-0", true, false)]);
        suspended.suspended = true;
        assert_eq!(
            plan(&suspended, "t", Some(&job(4)), &pods(4)),
            [Action::Suspend(true)]
        );
        assert_eq!(plan(&suspended, "t", None, &[]), []);
        let there = JobSeen {
            suspended: true,
            ..job(4)
        };
        assert_eq!(
            plan(&pool(4, &[]), "t", Some(&there), &[]),
            [Action::Suspend(false)]
        );
    }

    #[test]
    fn what_makes_no_pods_any_more_or_other_ones_is_made_anew() {
        let over = JobSeen {
            over: true,
            ..job(4)
        };
        assert_eq!(plan(&pool(4, &[]), "t", Some(&over), &[]), [Action::Remove]);
        assert_eq!(
            plan(&pool(4, &[]), "other", Some(&job(4)), &[]),
            [Action::Remove]
        );
        let goes = JobSeen {
            goes: true,
            ..job(4)
        };
        assert_eq!(plan(&pool(4, &[]), "t", Some(&goes), &[]), []);
    }

    #[test]
    fn pods_that_another_release_made_go_on_as_long_as_they_can_come_in() {
        let kept_by = |release: &str| JobSeen {
            made: made("t of then", release),
            ..job(4)
        };
        let before = kept_by("before");
        assert_eq!(
            plan(&pool(4, &[]), "t", Some(&before), &[]),
            [Action::Adopt]
        );
        // The first ones did not say.
        let unsaid = kept_by("");
        assert_eq!(
            plan(&pool(6, &[]), "t", Some(&unsaid), &[]),
            [Action::Adopt, Action::Resize(6)]
        );
        let now = kept_by("now");
        assert_eq!(plan(&pool(4, &[]), "t", Some(&now), &[]), [Action::Remove]);
        let mut shut_out = before;
        shut_out.made.secret = "petctl-us101-2".to_owned();
        assert_eq!(
            plan(&pool(4, &[]), "t", Some(&shut_out), &[]),
            [Action::Remove]
        );
    }

    #[test]
    fn a_pod_that_was_taken_away_makes_room_at_once_and_one_that_crashed_does_not() {
        let both = pool(2, &[("p-0", true, false)]);
        let mut there = pods(2);
        there[1].ended = true;
        assert_eq!(plan(&both, "t", Some(&job(2)), &there), []);
        there[1].disrupted = true;
        assert_eq!(
            plan(&both, "t", Some(&job(2)), &there),
            [Action::Forget("p-1".to_owned())]
        );
        (there[1].disrupted, there[1].joined) = (false, true);
        assert_eq!(
            plan(&both, "t", Some(&job(2)), &there),
            [Action::Forget("p-1".to_owned())]
        );
        // Nobody takes the place of one that is not wanted any more.
        there[1].index = 2;
        assert_eq!(plan(&both, "t", Some(&job(2)), &there), []);
    }

    #[test]
    fn a_pod_with_an_unhealthy_gpu_is_taken_away_once_and_another_takes_its_place() {
        let both = pool(2, &[("p-0", true, false), ("p-1", true, false)]);
        let mut there = pods(2);
        there[1].unhealthy = true;
        let drain = [Action::Drain("p-1".to_owned())];
        assert_eq!(plan(&both, "t", Some(&job(2)), &there), drain);
        there[1].goes = true;
        assert_eq!(plan(&both, "t", Some(&job(2)), &there), []);
        (there[1].unhealthy, there[1].disrupted, there[1].ended) = (false, true, true);
        let forget = [Action::Forget("p-1".to_owned())];
        assert_eq!(plan(&both, "t", Some(&job(2)), &there), forget);
        // A node that is lost tells nothing of its GPUs.
        let mut there = pods(2);
        (there[0].unhealthy, there[0].node_lost) = (true, true);
        assert_eq!(plan(&both, "t", Some(&job(2)), &there), []);
    }

    #[test]
    fn a_pod_of_a_lost_node_is_forgotten_when_its_worker_is_given_up() {
        let mut there = pods(2);
        there[1].node_lost = true;
        let known = pool(2, &[("p-0", true, false), ("p-1", true, false)]);
        assert_eq!(plan(&known, "t", Some(&job(2)), &there), []);
        let given_up = pool(2, &[("p-0", true, false)]);
        assert_eq!(
            plan(&given_up, "t", Some(&job(2)), &there),
            [Action::Forget("p-1".to_owned())]
        );
    }
}
