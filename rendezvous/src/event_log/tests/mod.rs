//! What a log promises: nothing acknowledged is lost, and nothing damaged is taken for whole.

mod crash;
mod damage;
mod log;
mod shape;
mod upgrade;

use super::{EventLog, RedbLog};
use petctl_core::{
    Details, EndState, Event, JobId, LeaseId, Lineage, Millis, Record, ShardId, StageWork, State,
    Verdict,
};
use petctl_spec::{JobSpec, ShardDetail};
use std::path::Path;

const SHARDS: u32 = 5_000;

/// A log of one job: its submission, then a commit of one shard per record.
fn record(sequence: u64) -> Record {
    let event = match sequence {
        1 => Event::CoordinatorStarted {
            lineage: Lineage(1),
            incarnation: 1,
            starts: 1,
        },
        2 => Event::JobSubmitted {
            job: JobId(1),
            spec: Box::new(spec()),
            fingerprint: [7; 32],
            work: vec![work()],
            first_lease: LeaseId(0),
            replaces: None,
            follows: false,
        },
        _ => Event::ShardCommitted {
            job: JobId(1),
            shard: ShardId {
                stage: 0,
                index: u32::try_from(sequence - 3).unwrap(),
            },
            lease: LeaseId(sequence),
            foreign: None,
            worker: 0,
            duration_ms: sequence * 10,
            files: 2,
            bytes: 1_000,
            verdict: Verdict::Pass,
            reasons: vec!["no collision".to_owned()],
            numbers: vec![("min_ttc_s".to_owned(), 1.5)],
            manifest: Some(Box::new([9; 32])),
        },
    };
    Record {
        sequence,
        at: Millis(1_000 + sequence),
        event,
    }
}

/// All that a submission may say of a stage.
fn work() -> StageWork {
    StageWork {
        keys: (0..SHARDS)
            .map(|shard| format!("drives/{shard:06}.xml"))
            .collect(),
        details: Details(
            (0..SHARDS)
                .map(|shard| ShardDetail {
                    inputs: vec![format!("drives/{shard:06}.bag")],
                    expected_ms: (shard % 2 == 0).then_some(1_000),
                    ..ShardDetail::default()
                })
                .collect(),
        ),
        expected_ms: vec![1_000; SHARDS as usize],
        ..StageWork::default()
    }
}

fn records(range: std::ops::RangeInclusive<u64>) -> Vec<Record> {
    range.map(record).collect()
}

fn state_of(newest: u64) -> State {
    let mut state = State::default();
    for record in records(1..=newest) {
        state.apply(&record);
    }
    state
}

fn bytes_of(state: &State) -> Vec<u8> {
    postcard::to_allocvec(state).unwrap()
}

/// Opens and loads, and checks that the state is that of these records and of no others.
#[track_caller]
fn assert_holds(dir: &Path, newest: u64) -> RedbLog {
    let mut log = RedbLog::open(dir, "test").unwrap();
    let loaded = log.load().unwrap();
    assert_eq!(loaded.state.sequence, newest);
    assert_eq!(loaded.next_sequence, newest + 1);
    assert!(
        bytes_of(&loaded.state) == bytes_of(&state_of(newest)),
        "the state differs"
    );
    log
}

fn end() -> Event {
    Event::JobEnded {
        job: JobId(1),
        end: EndState::Succeeded,
    }
}

/// A job whose keys are listed.
pub(crate) fn spec() -> JobSpec {
    serde_json::from_value(serde_json::json!({
        "name": "us101",
        "folder": "/jobs",
        "workers": { "min": 1, "max": 8, "wanted": 8, "unit": 1, "slots": 1, "gpus": 0,
            "spares": 0, "settle_timeout_ms": 30_000, "preflight": null },
        "storage": { "input": "/in", "output": "/out" },
        "stages": [{
            "name": "resim",
            "kind": { "shards": { "glob": "**/*.xml" } },
            "needs": [],
            "command": ["true"],
            "env": {},
            "params": {},
            "timeout_ms": 0,
            "grace_ms": 1_000,
            "budgets": { "failed": 1, "timed_out": 1, "worker_lost": 1, "infrastructure": 1, "preempted": 1 },
            "backoff_ms": 100,
            "log_bytes": 1_000_000,
            "cpu_milli": 0,
            "memory_mib": 0,
            "deadline_ms": 0,
        }],
    }))
    .unwrap()
}
