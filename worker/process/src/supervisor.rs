//! What happens around one process, decided without any: a pure state machine.
//!
//! It is told what happened and when; it answers with what to do, and says when it wants to be asked again.

use std::time::{Duration, Instant};

use crate::Drain;

/// How long a process may take to die of SIGKILL before the slot gives it up (it hangs in the kernel).
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The process has ended, and nothing that it started is waited for.
    Exited,
    /// The process has ended well, and something that it started still runs, or still has its output open.
    ExitedLeaving,
    /// Nothing of that is left.
    NothingLeft,
    /// It shall end early.
    StopRequested(Stop),
    /// It printed something.
    OutputRead,
    /// Both of its outputs are closed.
    OutputClosed,
    /// Its processes use more memory than they may.
    MemoryExceeded,
    /// Time passed.
    Tick,
}

/// Why it shall end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// The coordinator took the lease back.
    Revoked,
    /// The worker leaves.
    Preempted,
    /// The lease is lost: nobody waits for the result, so there is no grace.
    Discarded,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send SIGTERM to the process group.
    Terminate,
    /// Send SIGKILL to the process group.
    Kill,
    /// Reap the process, and find and kill what it left behind.
    Reap,
    /// Stop watching.
    Finish(Cause),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// By itself.
    Exited,
    /// By itself, and something that it had started did not end within the grace.
    LeftRunning,
    /// It ran longer than its timeout.
    TimedOut,
    /// It used more memory than it may.
    MemoryExceeded,
    /// It was told to.
    Stopped(Stop),
    /// SIGKILL did not end it in 30 s.
    Unkillable,
}

/// The state machine of one process.
#[derive(Debug)]
pub struct Supervisor {
    grace: Duration,
    timeout_at: Option<Instant>,
    state: State,
    output_open: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Running,
    /// The process has ended; what it started may go on until then.
    Leaving {
        until: Instant,
    },
    Terminating {
        cause: Cause,
        kill_at: Instant,
    },
    Killed {
        cause: Cause,
        give_up_at: Instant,
    },
    Draining {
        cause: Cause,
        drain: Drain,
    },
    Finished,
}

impl Supervisor {
    /// For a process that started at `now`. A `timeout` of zero is none.
    pub fn new(now: Instant, timeout: Duration, grace: Duration) -> Self {
        let timeout_at = if timeout.is_zero() {
            None
        } else {
            now.checked_add(timeout)
        };
        Self {
            grace,
            timeout_at,
            state: State::Running,
            output_open: true,
        }
    }

    /// What to do now, in this order.
    pub fn handle(&mut self, now: Instant, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Exited => self.exited(now, &mut actions),
            Input::ExitedLeaving => match self.state {
                State::Running => {
                    self.state = State::Leaving {
                        until: now + self.grace,
                    };
                }
                State::Leaving { .. }
                | State::Terminating { .. }
                | State::Killed { .. }
                | State::Draining { .. }
                | State::Finished => self.exited(now, &mut actions),
            },
            Input::NothingLeft => {
                if self.waits() {
                    self.end(now, Cause::Exited, &mut actions);
                }
            }
            Input::StopRequested(stop) => self.stop(now, stop, &mut actions),
            Input::MemoryExceeded => self.over_memory(now, &mut actions),
            Input::OutputRead => {
                if let State::Draining { drain, .. } = &mut self.state {
                    drain.read(now);
                }
            }
            Input::OutputClosed => {
                self.output_open = false;
                if let State::Draining { cause, .. } = self.state {
                    self.finish(cause, &mut actions);
                }
            }
            Input::Tick => {}
        }
        self.tick(now, &mut actions);
        actions
    }

    /// When to call [`Self::handle`] with [`Input::Tick`] at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Running => self.timeout_at,
            State::Leaving { until } => Some(until),
            State::Terminating { kill_at, .. } => Some(kill_at),
            State::Killed { give_up_at, .. } => Some(give_up_at),
            State::Draining { drain, .. } => Some(drain.ends_at()),
            State::Finished => None,
        }
    }

    /// Whether what the process has started is waited for.
    pub fn waits(&self) -> bool {
        matches!(self.state, State::Leaving { .. })
    }

    fn exited(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let cause = match self.state {
            State::Running => Cause::Exited,
            State::Terminating { cause, .. } | State::Killed { cause, .. } => cause,
            State::Leaving { .. } | State::Draining { .. } | State::Finished => return,
        };
        self.end(now, cause, actions);
    }

    fn end(&mut self, now: Instant, cause: Cause, actions: &mut Vec<Action>) {
        // The leader is a zombie still, so the group is its own: what it left behind goes now.
        actions.extend([Action::Kill, Action::Reap]);
        if self.output_open {
            self.state = State::Draining {
                cause,
                drain: Drain::new(now),
            };
        } else {
            self.finish(cause, actions);
        }
    }

    fn stop(&mut self, now: Instant, stop: Stop, actions: &mut Vec<Action>) {
        match self.state {
            State::Running if stop == Stop::Discarded => {
                self.kill(now, Cause::Stopped(stop), actions)
            }
            State::Running => self.terminate(now, Cause::Stopped(stop), actions),
            State::Terminating { .. } if stop == Stop::Discarded => {
                self.kill(now, Cause::Stopped(stop), actions)
            }
            // The process has had its time.
            State::Leaving { .. } => self.end(now, Cause::Stopped(stop), actions),
            // What began first stands: the process is on its way out.
            State::Terminating { .. }
            | State::Killed { .. }
            | State::Draining { .. }
            | State::Finished => {}
        }
    }

    /// No grace: what takes too much memory takes it from others.
    fn over_memory(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self.state {
            State::Running => self.kill(now, Cause::MemoryExceeded, actions),
            State::Terminating { cause, .. } => self.kill(now, cause, actions),
            State::Leaving { .. } => self.end(now, Cause::MemoryExceeded, actions),
            State::Killed { .. } | State::Draining { .. } | State::Finished => {}
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self.state {
            State::Running if self.timeout_at.is_some_and(|at| now >= at) => {
                self.terminate(now, Cause::TimedOut, actions);
            }
            State::Terminating { cause, kill_at } if now >= kill_at => {
                self.kill(now, cause, actions)
            }
            State::Killed { give_up_at, .. } if now >= give_up_at => {
                self.finish(Cause::Unkillable, actions)
            }
            State::Leaving { until } if now >= until => {
                self.end(now, Cause::LeftRunning, actions);
            }
            State::Draining { cause, drain } if now >= drain.ends_at() => {
                self.finish(cause, actions);
            }
            State::Running
            | State::Leaving { .. }
            | State::Terminating { .. }
            | State::Killed { .. }
            | State::Draining { .. }
            | State::Finished => {}
        }
    }

    fn terminate(&mut self, now: Instant, cause: Cause, actions: &mut Vec<Action>) {
        actions.push(Action::Terminate);
        self.state = State::Terminating {
            cause,
            kill_at: now + self.grace,
        };
    }

    fn kill(&mut self, now: Instant, cause: Cause, actions: &mut Vec<Action>) {
        actions.push(Action::Kill);
        self.state = State::Killed {
            cause,
            give_up_at: now + KILL_LIMIT,
        };
    }

    fn finish(&mut self, cause: Cause, actions: &mut Vec<Action>) {
        actions.push(Action::Finish(cause));
        self.state = State::Finished;
    }
}

#[cfg(test)]
mod tests {
    use super::Action::{Finish, Kill, Reap, Terminate};
    use super::Input::{
        Exited, ExitedLeaving, MemoryExceeded, NothingLeft, OutputClosed, OutputRead,
        StopRequested, Tick,
    };
    use super::*;

    /// Timeout after 1,000 ms, grace of 100 ms. Each step: time in ms, input, expected actions, next deadline in ms.
    fn play(steps: &[(u64, Input, &[Action], Option<u64>)]) {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut supervisor = Supervisor::new(start, ms(1_000), ms(100));
        assert_eq!(supervisor.deadline(), Some(start + ms(1_000)));
        for (at, input, expected, deadline) in steps {
            let actions = supervisor.handle(start + ms(*at), *input);
            assert_eq!(&actions, expected, "at {at} ms: {input:?}");
            assert_eq!(
                supervisor.deadline(),
                deadline.map(|at| start + ms(at)),
                "after {at} ms: {input:?}"
            );
        }
    }

    #[test]
    fn a_process_that_exits_finishes_when_its_outputs_are_closed() {
        let exited = Finish(Cause::Exited);
        play(&[
            (5, OutputClosed, &[], Some(1_000)),
            (6, Exited, &[Kill, Reap, exited], None),
            (9, Tick, &[], None),
        ]);
        play(&[
            (5, Exited, &[Kill, Reap], Some(205)),
            (6, OutputClosed, &[exited], None),
        ]);
    }

    #[test]
    fn what_it_leaves_is_waited_for_and_killed_after_the_grace() {
        let exited = Finish(Cause::Exited);
        play(&[
            (5, ExitedLeaving, &[], Some(105)),
            (50, NothingLeft, &[Kill, Reap], Some(250)),
            (51, OutputClosed, &[exited], None),
            (52, NothingLeft, &[], None),
        ]);
        play(&[
            (5, ExitedLeaving, &[], Some(105)),
            (6, OutputClosed, &[], Some(105)),
            (105, Tick, &[Kill, Reap, Finish(Cause::LeftRunning)], None),
        ]);
        play(&[
            (5, ExitedLeaving, &[], Some(105)),
            (6, OutputClosed, &[], Some(105)),
            (
                7,
                StopRequested(Stop::Preempted),
                &[Kill, Reap, Finish(Cause::Stopped(Stop::Preempted))],
                None,
            ),
        ]);
        // One that was told to stop has ended for that reason.
        play(&[
            (1, StopRequested(Stop::Revoked), &[Terminate], Some(101)),
            (2, OutputClosed, &[], Some(101)),
            (
                3,
                ExitedLeaving,
                &[Kill, Reap, Finish(Cause::Stopped(Stop::Revoked))],
                None,
            ),
        ]);
    }

    #[test]
    fn outputs_held_open_by_others_are_not_waited_for_without_end() {
        let exited = Finish(Cause::Exited);
        play(&[
            (0, Exited, &[Kill, Reap], Some(200)),
            (150, OutputRead, &[], Some(350)),
            (349, Tick, &[], Some(350)),
            (350, Tick, &[exited], None),
        ]);
        play(&[
            (0, Exited, &[Kill, Reap], Some(200)),
            (1_950, OutputRead, &[], Some(2_000)),
            (2_000, OutputRead, &[exited], None),
        ]);
    }

    #[test]
    fn a_timeout_terminates_then_kills() {
        let timed_out = Finish(Cause::TimedOut);
        play(&[
            (999, Tick, &[], Some(1_000)),
            (1_000, Tick, &[Terminate], Some(1_100)),
            (1_100, Tick, &[Kill], Some(31_100)),
            (1_101, OutputClosed, &[], Some(31_100)),
            (1_102, Exited, &[Kill, Reap, timed_out], None),
        ]);
        // One that heeds SIGTERM has timed out all the same.
        play(&[
            (1_000, Tick, &[Terminate], Some(1_100)),
            (1_001, OutputClosed, &[], Some(1_100)),
            (1_002, Exited, &[Kill, Reap, timed_out], None),
        ]);
    }

    #[test]
    fn a_stop_gives_grace_and_a_discard_none() {
        for stop in [Stop::Revoked, Stop::Preempted] {
            play(&[
                (1, StopRequested(stop), &[Terminate], Some(101)),
                (2, StopRequested(Stop::Preempted), &[], Some(101)),
                (101, Tick, &[Kill], Some(30_101)),
                (102, Exited, &[Kill, Reap], Some(302)),
                (103, OutputClosed, &[Finish(Cause::Stopped(stop))], None),
            ]);
        }
        let discarded = Finish(Cause::Stopped(Stop::Discarded));
        play(&[
            (1, StopRequested(Stop::Discarded), &[Kill], Some(30_001)),
            (2, Exited, &[Kill, Reap], Some(202)),
            (3, OutputClosed, &[discarded], None),
        ]);
        play(&[
            (1, StopRequested(Stop::Preempted), &[Terminate], Some(101)),
            (2, StopRequested(Stop::Discarded), &[Kill], Some(30_002)),
            (3, OutputClosed, &[], Some(30_002)),
            (3, Exited, &[Kill, Reap, discarded], None),
        ]);
    }

    #[test]
    fn a_process_over_its_memory_is_killed_without_grace() {
        let over = Finish(Cause::MemoryExceeded);
        play(&[
            (5, MemoryExceeded, &[Kill], Some(30_005)),
            (6, MemoryExceeded, &[], Some(30_005)),
            (7, OutputClosed, &[], Some(30_005)),
            (8, Exited, &[Kill, Reap, over], None),
        ]);
        // One that is on its way out already ends for the first reason, only sooner.
        play(&[
            (1, StopRequested(Stop::Revoked), &[Terminate], Some(101)),
            (2, MemoryExceeded, &[Kill], Some(30_002)),
            (3, OutputClosed, &[], Some(30_002)),
            (
                4,
                Exited,
                &[Kill, Reap, Finish(Cause::Stopped(Stop::Revoked))],
                None,
            ),
        ]);
    }

    #[test]
    fn a_process_that_does_not_die_is_given_up() {
        play(&[
            (1, StopRequested(Stop::Discarded), &[Kill], Some(30_001)),
            (30_001, Tick, &[Finish(Cause::Unkillable)], None),
            (30_002, Exited, &[], None),
        ]);
    }
}
