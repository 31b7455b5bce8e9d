//! What events say to programs: everything by the name that it has everywhere else.

use crate::jobs;
use crate::shards::harness::Harness;
use petctl_core::{
    Event, Failure, FailureKind, JobId, LeaseId, Master, Millis, Record, ShardId, State,
};
use serde_json::{Value, json};

const JOB: JobId = JobId(1);
const SHARD: ShardId = ShardId { stage: 1, index: 2 };

fn fields(state: &State, event: Event) -> Value {
    let record = Record {
        sequence: 1,
        at: Millis(0),
        event,
    };
    state.describe(&record).fields
}

fn second_attempt() -> Event {
    Event::SecondAttemptEnded {
        job: JOB,
        shard: SHARD,
        won: true,
    }
}

#[test]
fn a_shard_has_its_stages_name_its_key_and_its_number() {
    let harness = Harness::new(jobs::chain(3));
    let state = harness.state();
    let place = json!({ "stage": "b", "shard": "2", "index": 2 });
    assert_eq!(
        fields(state, second_attempt()),
        json!({ "job": "job", "job_id": 1, "stage": "b", "shard": "2", "index": 2, "won": true })
    );
    let unreachable = Event::ShardsUnreachable {
        job: JOB,
        shards: vec![SHARD],
    };
    assert_eq!(fields(state, unreachable)["shards"], json!([place]));
}

#[test]
fn a_worker_has_its_name() {
    let mut harness = Harness::new(jobs::chain(3));
    harness.join("w", 1);
    let failed = |worker| Event::AttemptFailed {
        job: JOB,
        shard: SHARD,
        lease: LeaseId(7),
        worker,
        kind: FailureKind::Failed,
        failure: Box::new(Failure::default()),
        quarantined: false,
    };
    let known = fields(harness.state(), failed(0));
    assert_eq!(known["worker"], "w", "{known}");
    let unknown = fields(harness.state(), failed(1));
    assert_eq!(unknown["worker"], Value::Null, "{unknown}");
}

#[test]
fn what_a_deleted_job_called_it_is_null() {
    assert_eq!(
        fields(&State::default(), second_attempt()),
        json!({ "job": null, "job_id": 1, "stage": null, "shard": null, "index": 2, "won": true })
    );
}

#[test]
fn sizes_and_rank_0_are_called_as_in_the_status() {
    let harness = Harness::new(jobs::chain(1));
    let scaled = Event::PoolScaled {
        job: JOB,
        min: 1,
        max: 4,
        wanted: 2,
    };
    assert_eq!(
        fields(harness.state(), scaled),
        json!({ "job": "job", "job_id": 1, "min": 1, "max": 4, "wanted": 2 })
    );
    let started = Event::GroupStarted {
        job: JOB,
        stage: 0,
        epoch: petctl_core::Epoch(1),
        world_size: 1,
        master: Master {
            address: "10.0.0.1".to_owned(),
            port: 29_500,
        },
        resume_step: None,
    };
    let master = &fields(harness.state(), started)["master"];
    assert_eq!(*master, json!({ "address": "10.0.0.1", "port": 29_500 }));
}
