use petctl_proto::v1::attach_response::Message as Response;
use petctl_proto::v1::{
    Assignment, AttachResponse, AttemptResult, Drain, EpochChange, Fenced, HeartbeatAck, Lease,
    LeaseBatch, Outcome, Release, ResultAck, Revocation, Welcome,
};

use super::*;

const GRACE: Duration = Duration::from_secs(60);
const TIMEOUT_MS: u32 = 5_000;

/// A machine with a clock of its own, and what came of the last input.
pub(super) struct Play {
    pub(super) machine: Machine,
    start: Instant,
    pub(super) now: Instant,
    running: u32,
    pub(super) effects: Vec<Effect>,
}

impl Play {
    fn new(job: &str) -> Self {
        let identity = Identity {
            worker_id: "id-1".into(),
            name: "local-1".into(),
            host: "h".into(),
            pid: 1,
            job: job.into(),
            slots: 2,
            gpus: 0,
            cpu_milli: 0,
            memory_mib: 0,
            program_version: "0".into(),
            address: "h:1".into(),
            advertise: String::new(),
            processes: 0,
            node_rank: None,
            launcher: false,
        };
        let start = Instant::now();
        let machine = Machine::new(start, identity, GRACE, 7);
        Self {
            machine,
            start,
            now: start,
            running: 0,
            effects: Vec::new(),
        }
    }

    /// Attached and a member, in epoch 3.
    pub(super) fn member() -> Self {
        let mut play = Self::new("");
        play.input(Input::Tick);
        play.hello();
        play.welcome(&[]);
        play.told(Response::Assignment(Assignment {
            job_id: 9,
            ..Assignment::default()
        }));
        play
    }

    pub(super) fn at(&mut self, ms: u64) -> &mut Self {
        self.now = self.start + Duration::from_millis(ms);
        self
    }

    pub(super) fn input(&mut self, input: Input) -> &mut Self {
        self.effects = self.machine.handle(self.now, self.running, input);
        self
    }

    pub(super) fn told(&mut self, message: Response) -> &mut Self {
        self.input(Input::Received(AttachResponse {
            epoch: 3,
            message: Some(message),
        }))
    }

    pub(super) fn welcome(&mut self, kept: &[u64]) -> &mut Self {
        let kept = kept.to_vec();
        let welcome = Welcome {
            incarnation: 1,
            heartbeat_interval_ms: 1_000,
            heartbeat_timeout_ms: TIMEOUT_MS,
            idle_heartbeat_interval_ms: 3_000,
            kept,
        };
        self.told(Response::Welcome(welcome))
    }

    fn lease(&mut self, ids: &[u64]) -> &mut Self {
        let lease = |id: &u64| Lease {
            lease_id: *id,
            stage: 1,
            shard: 5,
            ..Lease::default()
        };
        self.told(Response::Leases(LeaseBatch {
            leases: ids.iter().map(lease).collect(),
        }))
    }

    fn committed(&mut self, ids: &[u64]) -> &mut Self {
        let result = |id: &u64| AttemptResult {
            lease_id: *id,
            outcome: Outcome::Committed.into(),
            ..AttemptResult::default()
        };
        self.input(Input::Ended(ids.iter().map(result).collect()))
    }

    fn acknowledged(&mut self, ids: &[u64]) -> &mut Self {
        self.told(Response::ResultAck(ResultAck {
            lease_ids: ids.to_vec(),
        }))
    }

    /// The Hello of the connection that has just been asked for.
    fn hello(&self) -> Hello {
        let connect = self.effects.iter().find_map(|effect| match effect {
            Effect::Connect(request) => request.message.clone(),
            _ => None,
        });
        match connect {
            Some(Request::Hello(hello)) => hello,
            other => panic!("no Hello: {other:?}, {:?}", self.effects),
        }
    }

    /// Waits for the next try to connect.
    pub(super) fn reconnect(&mut self) -> Hello {
        self.now = self.machine.deadline().unwrap();
        self.input(Input::Tick).hello()
    }

    pub(super) fn broken(&mut self) -> &mut Self {
        self.input(Input::Disconnected {
            cause: "cut".into(),
        })
    }

    pub(super) fn sent(&mut self) -> Option<Request> {
        self.machine
            .next_message(self.now, self.running, 0, None)
            .map(|request| request.message.unwrap())
    }

    fn sent_results(&mut self) -> Vec<AttemptResult> {
        match self.sent() {
            Some(Request::Results(batch)) => batch.results,
            other => panic!("no results: {other:?}"),
        }
    }

    fn renewed_until(&self) -> Option<u64> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Renew(until) => Some(u64::try_from((*until - self.start).as_millis()).unwrap()),
            _ => None,
        })
    }

    /// Leases (`None`: all) that are killed without a report.
    fn discarded(&self) -> Option<Option<Vec<u64>>> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Stop { wanted, order } if order.stop == Stop::Discarded => {
                Some(wanted.clone().map(|leases| leases.into_iter().collect()))
            }
            _ => None,
        })
    }

    pub(super) fn finished(&self) -> Option<&Result<Ended, WorkerError>> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Finish(how) => Some(how),
            _ => None,
        })
    }
}

#[test]
fn results_are_kept_until_acknowledged_and_sent_again_on_a_new_stream() {
    let mut play = Play::member();
    play.lease(&[1, 2, 3]).committed(&[1, 2]);
    assert_eq!(play.sent_results().len(), 2);
    assert_eq!(play.sent(), None, "once per stream");
    play.acknowledged(&[1]).committed(&[3]).broken();
    let hello = play.reconnect();
    assert_eq!(
        hello
            .held
            .iter()
            .map(|held| held.lease_id)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    assert_eq!(hello.member_of, 9);
    play.welcome(&[2, 3]);
    let again: Vec<_> = play
        .sent_results()
        .iter()
        .map(|result| result.lease_id)
        .collect();
    assert_eq!(again, [2, 3]);
    play.acknowledged(&[2, 3]).broken();
    assert_eq!(play.reconnect().held, []);
}

#[test]
fn leases_that_are_not_kept_are_lost_with_their_results() {
    let mut play = Play::member();
    play.lease(&[1, 2, 3]).committed(&[1]).broken();
    play.reconnect();
    play.welcome(&[2]);
    assert_eq!(play.discarded(), Some(Some(vec![1, 3])));
    let stop = play
        .effects
        .iter()
        .position(|effect| matches!(effect, Effect::Stop { .. }));
    let renew = play
        .effects
        .iter()
        .position(|effect| matches!(effect, Effect::Renew(_)));
    assert!(stop < renew, "stopped before the rest may commit");
    assert_eq!(play.sent(), None);
    play.committed(&[3]);
    assert_eq!(play.sent(), None, "a result of a lost lease is of no use");
    play.committed(&[2]);
    assert_eq!(play.sent_results()[0].lease_id, 2);
}

#[test]
fn a_lease_that_comes_twice_runs_once() {
    let mut play = Play::member();
    play.lease(&[1, 1]);
    assert!(matches!(&play.effects[..], [Effect::Enqueue(leases)] if leases.len() == 1));
    play.lease(&[1]);
    assert!(play.effects.is_empty(), "{:?}", play.effects);
}

#[test]
fn leases_stand_from_when_the_acknowledged_heartbeat_was_sent() {
    let mut play = Play::member();
    play.lease(&[1]).at(1_000).input(Input::Tick);
    assert!(matches!(
        play.sent(),
        Some(Request::Heartbeat(Heartbeat { sequence: 1, .. }))
    ));
    play.at(2_000).input(Input::Tick);
    assert!(matches!(
        play.sent(),
        Some(Request::Heartbeat(Heartbeat { sequence: 2, .. }))
    ));
    play.at(2_900)
        .told(Response::HeartbeatAck(HeartbeatAck { sequence: 1 }));
    assert_eq!(
        play.renewed_until(),
        Some(6_000),
        "not from when the answer came"
    );
    play.told(Response::HeartbeatAck(HeartbeatAck { sequence: 1 }));
    assert_eq!(play.renewed_until(), None);
    play.told(Response::HeartbeatAck(HeartbeatAck { sequence: 77 }));
    assert_eq!(
        play.renewed_until(),
        None,
        "one that was never sent renews nothing"
    );
}

#[test]
fn an_idle_worker_sends_fewer_heartbeats_and_one_at_once_when_it_gets_work() {
    let mut play = Play::member();
    play.at(1_000).input(Input::Tick);
    assert!(matches!(play.sent(), Some(Request::Heartbeat(_))));
    play.at(3_900).input(Input::Tick);
    assert_eq!(play.sent(), None, "it holds nothing");
    play.lease(&[1]);
    assert!(
        matches!(play.sent(), Some(Request::Heartbeat(_))),
        "the last is old"
    );
    play.at(4_800).input(Input::Tick);
    assert_eq!(play.sent(), None);
    play.at(4_900).input(Input::Tick);
    assert!(
        matches!(play.sent(), Some(Request::Heartbeat(_))),
        "at work, as often as told"
    );
}

#[test]
fn a_silent_coordinator_is_left_and_looked_for_again() {
    let mut play = Play::member();
    play.lease(&[1]).at(4_999).input(Input::Tick);
    assert!(play.effects.is_empty(), "{:?}", play.effects);
    play.at(5_000).input(Input::Tick);
    assert!(
        matches!(&play.effects[..], [Effect::Disconnect]),
        "{:?}",
        play.effects
    );
    assert_eq!(play.reconnect().held.len(), 1);
}

#[test]
fn a_worker_waits_for_a_coordinator_as_long_as_something_runs() {
    let mut play = Play::member();
    play.lease(&[1]).broken();
    play.running = 1;
    let ten_minutes = play.start + Duration::from_secs(600);
    while play.now < ten_minutes {
        play.now = play.machine.deadline().unwrap();
        play.input(Input::Tick);
        assert!(play.finished().is_none());
        if play
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Connect(_)))
        {
            play.broken();
        }
    }
    play.running = 0;
    let idle_since = play.now;
    while play.finished().is_none() {
        play.now = play.machine.deadline().unwrap();
        play.input(Input::Tick);
        if play
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Connect(_)))
        {
            play.broken();
        }
    }
    assert!(matches!(
        play.finished(),
        Some(Err(WorkerError::CoordinatorLost { .. }))
    ));
    let waited = play.now - idle_since;
    assert!(
        waited <= GRACE + Duration::from_secs(3) && waited >= GRACE - Duration::from_secs(3),
        "{waited:?}"
    );
}

#[test]
fn a_drained_worker_finishes_and_says_goodbye_when_all_is_acknowledged() {
    let mut play = Play::member();
    play.lease(&[1, 2]).told(Response::Drain(Drain {
        reason: "smaller".into(),
    }));
    let Some(Effect::Withdraw { wanted: None, with }) = play.effects.pop() else {
        panic!("{:?}", play.effects)
    };
    assert_eq!(with.outcome(), Outcome::Returned);
    play.input(Input::Withdrawn {
        lease_ids: vec![2],
        with,
    });
    let returned = play.sent_results().remove(0);
    assert_eq!(
        (returned.lease_id, returned.stage, returned.shard),
        (2, 1, 5)
    );
    play.lease(&[3]);
    assert_eq!(
        play.sent_results()[0].outcome(),
        Outcome::Returned,
        "nothing new is started"
    );
    play.acknowledged(&[2, 3]);
    assert_eq!(play.sent(), None, "one still runs");
    play.committed(&[1]);
    assert_eq!(play.sent_results().len(), 1);
    assert_eq!(play.sent(), None);
    play.acknowledged(&[1]);
    assert_eq!(
        play.sent(),
        Some(Request::Leaving(Leaving {
            reason: "smaller".into()
        }))
    );
    play.input(Input::Tick);
    assert!(
        matches!(play.effects[..], [Effect::CloseSending]),
        "{:?}",
        play.effects
    );
    play.broken();
    assert!(matches!(play.finished(), Some(Ok(Ended::Drained { reason })) if reason == "smaller"));
}

#[test]
fn a_worker_that_is_told_to_leave_says_so_first_and_stops_what_runs() {
    let mut play = Play::member();
    play.machine.set_process_grace(Duration::from_secs(2));
    play.lease(&[1]).input(Input::Leave {
        reason: "SIGTERM".into(),
    });
    let stops = |effect: &Effect| matches!(effect, Effect::Stop { wanted: None, order } if order.stop == Stop::Preempted);
    assert!(play.effects.iter().any(stops), "{:?}", play.effects);
    assert!(matches!(play.sent(), Some(Request::Leaving(_))));
    play.broken();
    assert!(play.reconnect().leaving, "a new stream hears of it too");
    play.welcome(&[1]);
    assert!(matches!(play.sent(), Some(Request::Leaving(_))));
    play.committed(&[1]);
    assert_eq!(play.sent_results().len(), 1);
    play.acknowledged(&[1]);
    assert!(
        matches!(play.effects[..], [Effect::CloseSending]),
        "{:?}",
        play.effects
    );

    let mut play = Play::member();
    play.machine.set_process_grace(Duration::from_secs(2));
    play.lease(&[1]).input(Input::Leave {
        reason: "SIGTERM".into(),
    });
    play.at(7_000).input(Input::Tick);
    assert!(
        matches!(play.finished(), Some(Ok(Ended::Left))),
        "not for ever: {:?}",
        play.effects
    );
}

#[test]
fn a_fenced_worker_comes_back_as_another_with_nothing() {
    let mut play = Play::member();
    play.lease(&[1, 2]).committed(&[1]);
    play.told(Response::Fenced(Fenced {
        code: "SILENT".into(),
        message: "silent for 5 s".into(),
    }));
    assert_eq!(play.discarded(), Some(None));
    assert!(
        play.effects
            .iter()
            .any(|effect| matches!(effect, Effect::Invalidate))
    );
    assert!(
        play.effects
            .iter()
            .any(|effect| matches!(effect, Effect::Rename))
    );
    play.input(Input::Renamed {
        worker_id: "id-2".into(),
    });
    let hello = play.reconnect();
    assert_eq!(
        (hello.worker_id.as_str(), hello.held.len(), hello.member_of),
        ("id-2", 0, 0)
    );
}

#[test]
fn a_released_worker_ends_only_if_it_serves_one_job() {
    let release = || {
        Response::Release(Release {
            code: "JOB_ENDED".into(),
            message: "done".into(),
        })
    };
    let mut play = Play::member();
    play.told(release());
    assert!(
        play.effects
            .iter()
            .any(|effect| matches!(effect, Effect::Forget))
    );
    play.lease(&[1]);
    assert_eq!(play.sent_results()[0].code, "NOT_A_MEMBER");

    let mut play = Play::new("only");
    play.input(Input::Tick);
    play.welcome(&[]).told(release()).broken();
    assert!(
        matches!(play.finished(), Some(Ok(Ended::Released { code, .. })) if code == "JOB_ENDED")
    );
}

#[test]
fn leases_of_an_older_epoch_go_back() {
    let mut play = Play::member();
    play.input(Input::Received(AttachResponse {
        epoch: 4,
        message: Some(Response::EpochChange(EpochChange {
            rank: 0,
            world_size: 1,
        })),
    }));
    play.lease(&[1]);
    let result = play.sent_results().remove(0);
    assert_eq!(
        (result.outcome(), result.code.as_str()),
        (Outcome::Returned, "STALE_EPOCH")
    );
}

#[test]
fn results_gather_into_bounded_messages() {
    let mut play = Play::member();
    let ids: Vec<u64> = (1..=2_000).collect();
    play.lease(&ids).committed(&ids);
    let mut sizes = Vec::new();
    while play.machine.has_message(play.now) {
        sizes.push(play.sent_results().len());
    }
    assert_eq!(sizes, [512, 512, 512, 464]);
}

#[test]
fn nonsense_from_a_coordinator_is_survived() {
    let mut play = Play::new("");
    play.input(Input::Tick).lease(&[1]);
    assert!(
        matches!(play.effects[..], [Effect::Disconnect]),
        "{:?}",
        play.effects
    );
    let mut play = Play::member();
    play.welcome(&[]);
    assert!(
        matches!(play.effects[..], [Effect::Disconnect]),
        "{:?}",
        play.effects
    );
    let mut play = Play::member();
    play.input(Input::Received(AttachResponse {
        epoch: 0,
        message: None,
    }));
    play.acknowledged(&[77])
        .told(Response::Revocation(Revocation {
            lease_ids: vec![5],
            ..Revocation::default()
        }));
    let many: Vec<u64> = (0..70_000).collect();
    play.lease(&many);
    assert!(
        !play
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Enqueue(_)))
    );
    assert_eq!(play.sent_results()[0].code, "TOO_MANY_LEASES");
}
