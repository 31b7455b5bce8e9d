//! Orders about a training group, and what follows from them.

use petctl_codes::Code;
use petctl_group::{GroupOrder, Stop as GroupEnd};
use petctl_proto::v1::{CheckpointAnswer, GroupStart, GroupStop};

use crate::agent::machine::group::Begin;
use crate::agent::machine::orders::{kill_group, stop_group};
use crate::agent::machine::{Effect, Machine, Mode};

impl Machine {
    pub(super) fn group_started(&mut self, start: GroupStart, effects: &mut Vec<Effect>) {
        if start.job_id != self.member_of {
            tracing::warn!(
                epoch = start.epoch,
                "ordered to start a group of a job that this worker is no member of"
            );
            return;
        }
        if self.mode != Mode::Serving {
            // It takes part in nothing new; that is reported once nothing of an older epoch is left.
            self.group.ends(start.job_id, start.stage, start.epoch);
            return;
        }
        self.heartbeat_as_at_work();
        match self.group.begin(start) {
            Begin::Now(start) => effects.push(Effect::StartGroup(start)),
            Begin::AfterStop => stop_group(Code::StaleEpoch, "a newer epoch begins", effects),
            Begin::Known => {}
        }
    }

    pub(super) fn group_stopped(&mut self, stop: GroupStop, effects: &mut Vec<Effect>) {
        if !self.group.ends(stop.job_id, stop.stage, stop.epoch) {
            return;
        }
        effects.push(Effect::StopGroup(GroupOrder {
            stop: if stop.dump_stacks {
                GroupEnd::WithStacks
            } else {
                GroupEnd::Asked
            },
            code: stop.code,
            message: stop.message,
        }));
    }

    /// The old processes are gone.
    pub(super) fn begin_next(&mut self, start: GroupStart, effects: &mut Vec<Effect>) {
        if self.mode == Mode::Serving {
            effects.push(Effect::StartGroup(start));
        } else {
            self.group.decline(&start);
        }
    }

    pub(super) fn checkpoint(
        &mut self,
        request_id: u64,
        step: u64,
        path: String,
        effects: &mut Vec<Effect>,
    ) {
        if let Err((code, message)) = self.group.checkpoint(request_id, step, path) {
            effects.push(refused_checkpoint(request_id, code, message));
        }
    }

    /// Its epoch is over, or goes on elsewhere.
    pub(super) fn abandon_group(&mut self, why: &str, effects: &mut Vec<Effect>) {
        if self.group.is_alive() {
            kill_group(Code::StaleEpoch, why, effects);
        }
        for request_id in self.group.abandon() {
            effects.push(refused_checkpoint(request_id, Code::StaleEpoch, why));
        }
    }

    pub(super) fn checkpoint_answered(&mut self, ack: CheckpointAnswer, effects: &mut Vec<Effect>) {
        if self.group.acknowledge(ack.request_id) {
            effects.push(Effect::CheckpointAnswered {
                request_id: ack.request_id,
                code: ack.code,
                message: ack.message,
                drop: ack.drop,
            });
        }
    }
}

fn refused_checkpoint(request_id: u64, code: Code, message: &str) -> Effect {
    Effect::CheckpointAnswered {
        request_id,
        code: code.to_string(),
        message: message.to_owned(),
        drop: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use petctl_proto::v1::attach_request::Message as Request;
    use petctl_proto::v1::attach_response::Message as Response;
    use petctl_proto::v1::{Fenced, GroupPhase, GroupReport, RankFailure};

    use super::*;
    use crate::agent::machine::tests::Play;
    use crate::agent::machine::{GroupInput, Input};
    use crate::options::WorkerError;
    use petctl_group::{Failure, Note};

    fn order(epoch: u64) -> Response {
        Response::GroupStart(GroupStart {
            job_id: 9,
            epoch,
            processes: 2,
            ..GroupStart::default()
        })
    }

    fn ended(epoch: u64, succeeded: bool) -> Input {
        Input::Group(GroupInput::Note(Note::Ended {
            epoch,
            succeeded,
            failures: Vec::new(),
        }))
    }

    fn checkpoint(request_id: u64) -> Input {
        Input::Checkpoint {
            request_id,
            step: 100 + request_id,
            path: "/x".to_owned(),
        }
    }

    impl Play {
        fn training() -> Self {
            let mut play = Self::member();
            play.inbound(order(3));
            assert!(play.starts(3));
            assert_eq!(play.sent_report().phase(), GroupPhase::Running);
            play
        }

        fn starts(&self, epoch: u64) -> bool {
            let is_it = |effect: &Effect| matches!(effect, Effect::StartGroup(start) if start.epoch == epoch);
            self.effects.iter().any(is_it)
        }

        fn stops(&self) -> Vec<(GroupEnd, &str)> {
            let mut stops = Vec::new();
            for effect in &self.effects {
                if let Effect::StopGroup(order) = effect {
                    stops.push((order.stop, order.code.as_str()));
                }
            }
            stops
        }

        fn sent_report(&mut self) -> GroupReport {
            match self.sent() {
                Some(Request::GroupReport(report)) => report,
                other => panic!("no report: {other:?}"),
            }
        }
    }

    #[test]
    fn a_second_order_starts_nothing_and_says_how_it_is() {
        let mut play = Play::training();
        play.inbound(order(3));
        assert!(!play.starts(3));
        assert_eq!(play.sent_report().phase(), GroupPhase::Running);
        play.inbound(order(2));
        assert!(!play.starts(2) && play.stops().is_empty());
        assert_eq!(play.sent(), None);
    }

    #[test]
    fn an_order_that_waited_for_a_worker_that_stood_still_starts_nothing() {
        let mut play = Play::member();
        let timeout = play.machine.heartbeat_timeout;
        play.now += timeout;
        play.inbound(order(3));
        assert!(!play.starts(3));
        assert!(
            play.effects
                .iter()
                .any(|effect| matches!(effect, Effect::Disconnect))
        );
        play.reconnect();
        play.welcome(&[]).inbound(order(3));
        assert!(play.starts(3));
    }

    #[test]
    fn a_newer_epoch_begins_when_the_older_one_is_gone() {
        let mut play = Play::training();
        play.inbound(order(4));
        assert_eq!(play.stops(), [(GroupEnd::Asked, "STALE_EPOCH")]);
        assert!(!play.starts(4));
        play.input(ended(3, false));
        assert!(play.starts(4));
        let report = play.sent_report();
        assert_eq!((report.epoch, report.phase()), (4, GroupPhase::Running));
    }

    #[test]
    fn checkpoints_are_said_before_the_end_of_their_epoch_and_again_until_acknowledged() {
        let mut play = Play::training();
        play.input(checkpoint(1))
            .input(checkpoint(2))
            .input(ended(3, true));
        let step = |play: &mut Play| match play.sent() {
            Some(Request::CheckpointReport(report)) => report.step,
            other => panic!("no checkpoint: {other:?}"),
        };
        assert_eq!((step(&mut play), step(&mut play)), (101, 102));
        assert_eq!(play.sent_report().phase(), GroupPhase::Succeeded);
        let ack = CheckpointAnswer {
            request_id: 1,
            ..CheckpointAnswer::default()
        };
        play.inbound(Response::CheckpointAnswer(ack));
        assert!(
            matches!(&play.effects[..], [Effect::CheckpointAnswered { request_id: 1, code, .. }] if code.is_empty())
        );
        play.broken();
        let hello = play.reconnect();
        assert_eq!(hello.group.unwrap().phase(), GroupPhase::Succeeded);
        play.welcome(&[]);
        assert_eq!(step(&mut play), 102);
    }

    #[test]
    fn a_checkpoint_that_belongs_to_no_epoch_or_is_one_too_many_is_refused() {
        let refused = |play: &Play| match &play.effects[..] {
            [Effect::CheckpointAnswered { code, .. }] => code.clone(),
            other => panic!("{other:?}"),
        };
        let mut play = Play::member();
        play.input(checkpoint(1));
        assert_eq!(refused(&play), "STALE_EPOCH");
        let mut play = Play::training();
        for request_id in 0..256 {
            play.input(checkpoint(request_id));
            assert!(play.effects.is_empty());
        }
        play.input(checkpoint(256));
        assert_eq!(refused(&play), "CHECKPOINT_REFUSED");
    }

    #[test]
    fn a_failures_age_is_counted_to_when_it_is_said() {
        let mut play = Play::training();
        let failure = Failure {
            at: play.now,
            what: RankFailure::default(),
        };
        play.at(700)
            .input(Input::Group(GroupInput::Note(Note::Failing {
                epoch: 3,
                failure: Box::new(failure),
            })));
        let report = play.sent_report();
        assert_eq!(
            (report.phase(), report.failures[0].age_ms),
            (GroupPhase::Failing, 700)
        );
    }

    #[test]
    fn a_fenced_workers_group_is_killed_and_spoken_of_until_it_is_gone() {
        let mut play = Play::training();
        play.input(checkpoint(1));
        play.inbound(Response::Fenced(Fenced {
            code: "WORKER_SILENT".into(),
            message: "silent".into(),
        }));
        assert_eq!(play.stops(), [(GroupEnd::Now, "STALE_EPOCH")]);
        let answered = |effect: &Effect| matches!(effect, Effect::CheckpointAnswered { code, .. } if code == "STALE_EPOCH");
        assert!(play.effects.iter().any(answered), "{:?}", play.effects);
        let hello = play.reconnect();
        assert_eq!(hello.member_of, 0);
        assert_eq!(hello.group.unwrap().phase(), GroupPhase::Running);
        play.welcome(&[]).input(ended(3, false));
        assert_eq!(play.sent_report().phase(), GroupPhase::Stopped);
    }

    #[test]
    fn a_worker_on_its_way_out_starts_nothing_and_answers_at_once() {
        let mut play = Play::member();
        play.input(Input::Leave {
            reason: "SIGTERM".into(),
        });
        assert!(matches!(play.sent(), Some(Request::Leaving(_))));
        play.inbound(order(4));
        assert!(!play.starts(4));
        let report = play.sent_report();
        assert_eq!((report.epoch, report.phase()), (4, GroupPhase::Stopped));
    }

    #[test]
    fn a_group_without_a_coordinator_goes_on_only_as_long_as_the_workers_patience() {
        let mut play = Play::training();
        play.at(1_000).broken();
        let cut = play.now;
        let mut stops: Vec<Instant> = Vec::new();
        while play.now < cut + Duration::from_secs(200) {
            play.now = play.machine.deadline().unwrap();
            play.input(Input::Tick);
            if !play.stops().is_empty() {
                stops.push(play.now);
            }
            assert!(play.finished().is_none(), "not while it runs");
            if play
                .effects
                .iter()
                .any(|effect| matches!(effect, Effect::Connect(_)))
            {
                play.broken();
            }
        }
        let waited: Vec<_> = stops.iter().map(|stop| (*stop - cut).as_secs()).collect();
        assert_eq!(waited, [60], "once, after the grace");
        play.input(ended(3, false));
        assert!(matches!(
            play.finished(),
            Some(Err(WorkerError::CoordinatorLost { .. }))
        ));
    }
}
