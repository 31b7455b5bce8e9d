//! The machine against a coordinator and a clock that the tests play.

mod leases;
mod leaving;

use petctl_proto::v1::attach_request::Message as Request;
use petctl_proto::v1::attach_response::Message as Response;
use petctl_proto::v1::{
    Assignment, AttachResponse, AttemptResult, Drain, EpochChange, Fenced, Heartbeat, HeartbeatAck,
    Hello, Lease, LeaseBatch, Leaving, Outcome, Release, ResultAck, Revocation, Welcome,
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
            index: None,
            local_stages: false,
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
        play.inbound(Response::Assignment(Assignment {
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

    pub(super) fn inbound(&mut self, message: Response) -> &mut Self {
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
            ..Welcome::default()
        };
        self.inbound(Response::Welcome(welcome))
    }

    fn lease(&mut self, ids: &[u64]) -> &mut Self {
        let lease = |id: &u64| Lease {
            lease_id: *id,
            stage: 1,
            shard: 5,
            ..Lease::default()
        };
        self.inbound(Response::Leases(LeaseBatch {
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
        self.inbound(Response::ResultAck(ResultAck {
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
        .inbound(Response::Revocation(Revocation {
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
