//! What happens around the processes of one epoch, decided without any: a pure state machine.
//!
//! It is told what happened and when; it answers with what to do, and says when it wants to be asked again.

use std::time::{Duration, Instant};

use petctl_process::Drain;

/// Between two SIGKILLs to what does not die of them.
const KILL_AGAIN: Duration = Duration::from_secs(30);

/// What happened. Processes are named by their local rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// It has ended; it is not reaped yet.
    Exited { local: usize, success: bool },
    /// It could not be started.
    NotStarted { local: usize },
    /// The group shall end early.
    Stop(Stop),
    /// The stacks are written.
    Dumped,
    /// It printed something.
    OutputRead { local: usize },
    /// Its outputs are closed.
    OutputClosed { local: usize },
    /// Time passed.
    Tick,
}

/// How the group shall end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// SIGTERM, grace, SIGKILL.
    Asked,
    /// The same, with the stacks of all processes first.
    WithStacks,
    /// SIGKILL: nobody waits for it.
    Now,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Write the stacks of what runs, then answer with [`Input::Dumped`].
    DumpStacks,
    /// Ask its process group to stop.
    Terminate(usize),
    /// Send SIGKILL to its process group.
    Kill(usize),
    /// Reap it.
    Reap(usize),
    /// It exited 0 while the group runs.
    Succeeded(usize),
    /// It failed by itself, the first of the group.
    Failed(usize),
    /// Nothing is left: kill what hides elsewhere, and say so.
    Finish { succeeded: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    Alive,
    Draining(Drain),
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Dumping,
    Terminating { kill_at: Instant },
    Killed { again_at: Instant },
    Finished,
}

/// The state machine of one epoch's processes.
#[derive(Debug)]
pub(super) struct Supervisor {
    grace: Duration,
    phase: Phase,
    processes: Vec<(Process, Outputs)>,
    succeeded: usize,
    /// It was told to stop while processes ran: exiting 0 on SIGTERM is not to have finished.
    was_stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outputs {
    Open,
    Closed,
}

impl Supervisor {
    pub(super) fn new(processes: usize, grace: Duration) -> Self {
        Self {
            grace,
            phase: Phase::Running,
            processes: vec![(Process::Alive, Outputs::Open); processes],
            succeeded: 0,
            was_stopped: false,
        }
    }

    /// What to do now, in this order.
    pub(super) fn handle(&mut self, now: Instant, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Exited { local, success } => self.exited(now, local, success, &mut actions),
            Input::NotStarted { local } => self.not_started(now, local, &mut actions),
            Input::Stop(stop) => self.stop(now, stop, &mut actions),
            Input::Dumped => {
                if self.phase == Phase::Dumping {
                    self.terminate(now, &mut actions);
                }
            }
            Input::OutputRead { local } => {
                if let Some((Process::Draining(drain), _)) = self.processes.get_mut(local) {
                    drain.read(now);
                }
            }
            Input::OutputClosed { local } => {
                if let Some((process, outputs)) = self.processes.get_mut(local) {
                    *outputs = Outputs::Closed;
                    if matches!(process, Process::Draining(_)) {
                        *process = Process::Gone;
                    }
                }
            }
            Input::Tick => {}
        }
        self.tick(now, &mut actions);
        actions
    }

    /// When to call [`Self::handle`] with [`Input::Tick`] at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Terminating { kill_at } => Some(kill_at),
            Phase::Killed { again_at } => Some(again_at),
            Phase::Running | Phase::Dumping | Phase::Finished => None,
        };
        let draining = self
            .processes
            .iter()
            .filter_map(|(process, _)| drained_at(*process));
        phase.into_iter().chain(draining).min()
    }

    /// Whether it has been told to stop, or stops by itself.
    pub(super) fn is_stopping(&self) -> bool {
        self.phase != Phase::Running
    }

    fn exited(&mut self, now: Instant, local: usize, success: bool, actions: &mut Vec<Action>) {
        let Some((process, outputs)) = self.processes.get_mut(local) else {
            return;
        };
        if *process != Process::Alive {
            return;
        }
        *process = match outputs {
            Outputs::Open => Process::Draining(Drain::new(now)),
            Outputs::Closed => Process::Gone,
        };
        // It is a zombie still, so the process group is its own: what it left behind there goes now.
        actions.extend([Action::Kill(local), Action::Reap(local)]);
        if success {
            self.succeeded += 1;
            actions.push(Action::Succeeded(local));
        } else if self.phase == Phase::Running {
            actions.push(Action::Failed(local));
            self.terminate(now, actions);
        }
    }

    fn not_started(&mut self, now: Instant, local: usize, actions: &mut Vec<Action>) {
        if let Some((process, outputs)) = self.processes.get_mut(local) {
            (*process, *outputs) = (Process::Gone, Outputs::Closed);
        }
        if self.phase == Phase::Running {
            actions.push(Action::Failed(local));
            self.terminate(now, actions);
        }
    }

    fn stop(&mut self, now: Instant, stop: Stop, actions: &mut Vec<Action>) {
        let any_alive = self.alive().next().is_some();
        self.was_stopped |= any_alive;
        match (self.phase, stop) {
            (Phase::Running | Phase::Dumping | Phase::Terminating { .. }, Stop::Now) => {
                self.kill(now, actions);
            }
            (Phase::Running, Stop::WithStacks) => {
                self.phase = Phase::Dumping;
                actions.push(Action::DumpStacks);
            }
            (Phase::Running, Stop::Asked) => self.terminate(now, actions),
            // What began first stands.
            (
                Phase::Dumping | Phase::Terminating { .. } | Phase::Killed { .. } | Phase::Finished,
                _,
            ) => {}
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Terminating { kill_at } if now >= kill_at => self.kill(now, actions),
            Phase::Killed { again_at } if now >= again_at => self.kill(now, actions),
            Phase::Running
            | Phase::Dumping
            | Phase::Terminating { .. }
            | Phase::Killed { .. }
            | Phase::Finished => {}
        }
        for (process, _) in &mut self.processes {
            if drained_at(*process).is_some_and(|at| now >= at) {
                *process = Process::Gone;
            }
        }
        let left = self
            .processes
            .iter()
            .any(|(process, _)| *process != Process::Gone);
        // While stacks are being written, its end is near.
        if !left && !matches!(self.phase, Phase::Dumping | Phase::Finished) {
            self.phase = Phase::Finished;
            actions.push(Action::Finish {
                succeeded: self.succeeded == self.processes.len() && !self.was_stopped,
            });
        }
    }

    fn terminate(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.phase = Phase::Terminating {
            kill_at: now + self.grace,
        };
        actions.extend(self.alive().map(Action::Terminate));
    }

    fn kill(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.phase = Phase::Killed {
            again_at: now + KILL_AGAIN,
        };
        actions.extend(self.alive().map(Action::Kill));
    }

    fn alive(&self) -> impl Iterator<Item = usize> {
        let alive = |(local, (process, _)): (usize, &(Process, Outputs))| {
            (*process == Process::Alive).then_some(local)
        };
        self.processes.iter().enumerate().filter_map(alive)
    }
}

fn drained_at(process: Process) -> Option<Instant> {
    match process {
        Process::Draining(drain) => Some(drain.ends_at()),
        Process::Alive | Process::Gone => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Action::{DumpStacks, Failed, Finish, Kill, Reap, Succeeded, Terminate};
    use super::Input::{Dumped, NotStarted, OutputClosed, OutputRead, Tick};
    use super::*;

    fn exit(local: usize, success: bool) -> Input {
        Input::Exited { local, success }
    }

    fn closed(local: usize) -> Input {
        OutputClosed { local }
    }

    /// Two processes, grace of 100 ms. Each step: time in ms, input, expected actions, next deadline in ms.
    fn play(steps: &[(u64, Input, &[Action], Option<u64>)]) {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut supervisor = Supervisor::new(2, ms(100));
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
    fn a_group_succeeds_when_its_last_process_has_exited_0() {
        play(&[
            (1, closed(0), &[], None),
            (2, exit(0, true), &[Kill(0), Reap(0), Succeeded(0)], None),
            (
                5,
                exit(1, true),
                &[Kill(1), Reap(1), Succeeded(1)],
                Some(205),
            ),
            (6, closed(1), &[Finish { succeeded: true }], None),
            (9, Tick, &[], None),
        ]);
    }

    #[test]
    fn one_failure_stops_the_others_and_theirs_are_not_their_own() {
        play(&[
            (1, closed(0), &[], None),
            (1, closed(1), &[], None),
            (
                2,
                exit(1, false),
                &[Kill(1), Reap(1), Failed(1), Terminate(0)],
                Some(102),
            ),
            (
                3,
                exit(0, false),
                &[Kill(0), Reap(0), Finish { succeeded: false }],
                None,
            ),
        ]);
    }

    #[test]
    fn what_ignores_sigterm_is_killed_after_the_grace() {
        play(&[
            (1, closed(0), &[], None),
            (1, closed(1), &[], None),
            (
                2,
                Input::Stop(Stop::Asked),
                &[Terminate(0), Terminate(1)],
                Some(102),
            ),
            (3, Input::Stop(Stop::Asked), &[], Some(102)),
            (4, exit(0, false), &[Kill(0), Reap(0)], Some(102)),
            (102, Tick, &[Kill(1)], Some(30_102)),
            (30_102, Tick, &[Kill(1)], Some(60_102)),
            (
                30_103,
                exit(1, false),
                &[Kill(1), Reap(1), Finish { succeeded: false }],
                None,
            ),
        ]);
    }

    #[test]
    fn stacks_are_written_before_the_first_signal() {
        play(&[
            (1, closed(0), &[], None),
            (1, closed(1), &[], None),
            (2, Input::Stop(Stop::WithStacks), &[DumpStacks], None),
            (50, Dumped, &[Terminate(0), Terminate(1)], Some(150)),
            (
                51,
                Input::Stop(Stop::Now),
                &[Kill(0), Kill(1)],
                Some(30_051),
            ),
        ]);
    }

    #[test]
    fn one_that_can_not_be_started_stops_those_that_were() {
        play(&[
            (1, closed(0), &[], None),
            (
                2,
                NotStarted { local: 1 },
                &[Failed(1), Terminate(0)],
                Some(102),
            ),
            (
                3,
                exit(0, false),
                &[Kill(0), Reap(0), Finish { succeeded: false }],
                None,
            ),
        ]);
    }

    #[test]
    fn outputs_held_open_by_others_are_not_waited_for_without_end() {
        play(&[
            (
                0,
                exit(0, true),
                &[Kill(0), Reap(0), Succeeded(0)],
                Some(200),
            ),
            (100, OutputRead { local: 0 }, &[], Some(300)),
            (
                100,
                exit(1, true),
                &[Kill(1), Reap(1), Succeeded(1)],
                Some(300),
            ),
            (300, Tick, &[Finish { succeeded: true }], None),
        ]);
    }

    #[test]
    fn exiting_0_on_sigterm_is_no_success() {
        play(&[
            (1, closed(0), &[], None),
            (1, closed(1), &[], None),
            (
                2,
                Input::Stop(Stop::Asked),
                &[Terminate(0), Terminate(1)],
                Some(102),
            ),
            (
                3,
                exit(0, true),
                &[Kill(0), Reap(0), Succeeded(0)],
                Some(102),
            ),
            (
                4,
                exit(1, true),
                &[Kill(1), Reap(1), Succeeded(1), Finish { succeeded: false }],
                None,
            ),
        ]);
    }
}
