//! Members and strangers that say what can't be.

use super::{Crew, all_alive, number};
use crate::wire::{allowed, talk};
use petctl_proto::PROTOCOL_VERSION;
use petctl_proto::v1::attach_request::Message as Said;
use petctl_proto::v1::attach_response::Message as Heard;
use petctl_proto::v1::worker_service_client::WorkerServiceClient;
use petctl_proto::v1::{
    AttachRequest, CheckpointReport, GroupPhase, GroupProgress, GroupReport, Heartbeat, Hello,
    MasterOffer, PreflightReport, RankFailure, RankProgress,
};
use petctl_test_it::{Training, World};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

fn hello(name: &str, job: &str) -> Hello {
    Hello {
        protocol_version: PROTOCOL_VERSION,
        program_version: "0".to_owned(),
        worker_id: format!("{:032x}", 0xfa1_5e00_u64 + name.len() as u64),
        name: name.to_owned(),
        host: "elsewhere".to_owned(),
        pid: 1,
        job: job.to_owned(),
        slots: 1,
        address: "127.0.0.1".to_owned(),
        processes: 1,
        ..Hello::default()
    }
}

fn failure(rank: u32, age_ms: u64) -> RankFailure {
    RankFailure {
        rank,
        pid: u32::MAX,
        exit_code: Some(i32::MIN),
        signal: u32::MAX,
        code: "RANK_FAILED".to_owned(),
        message: format!("a failure of {age_ms} ms ago"),
        age_ms,
        ..RankFailure::default()
    }
}

/// A member of the group whose clock is off: its first process "failed" before there were any.
async fn member_with_a_clock_that_is_off(
    address: String,
    token: String,
    job: &'static str,
) -> Result<(), Status> {
    let channel = Endpoint::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let (sender, messages) = mpsc::channel(16);
    let say = async |epoch: u64, message: Said| {
        let message = Some(message);
        let _gone = sender.send(AttachRequest { epoch, message }).await;
    };
    say(0, Said::Hello(hello("late-clock", job))).await;
    let mut service = WorkerServiceClient::new(channel);
    let mut stream = service
        .attach(allowed(ReceiverStream::new(messages), &token))
        .await?
        .into_inner();
    let mut beat = tokio::time::interval(Duration::from_millis(200));
    let (mut sequence, mut epoch, mut starts) = (0, 0, 0);
    loop {
        let heard = tokio::select! {
            _ = beat.tick() => {
                sequence += 1;
                say(epoch, Said::Heartbeat(Heartbeat { sequence, running: 0, queued: 0 })).await;
                continue;
            }
            heard = stream.message() => heard?,
        };
        let Some(heard) = heard else { return Ok(()) };
        epoch = heard.epoch.max(epoch);
        match heard.message {
            Some(Heard::GroupPrepare(prepare)) => {
                let offer = MasterOffer {
                    job_id: prepare.job_id,
                    epoch: prepare.epoch,
                    port: 29_500,
                    resume_step: None,
                };
                say(prepare.epoch, Said::MasterOffer(offer)).await;
            }
            Some(Heard::GroupStart(start)) => {
                starts += 1;
                let report = |phase: GroupPhase, failures: Vec<RankFailure>, exited: u32| {
                    Said::GroupReport(GroupReport {
                        job_id: start.job_id,
                        stage: start.stage,
                        epoch: start.epoch,
                        phase: phase.into(),
                        failures,
                        exited,
                        processes: start.processes,
                    })
                };
                say(start.epoch, report(GroupPhase::Running, Vec::new(), 0)).await;
                if starts == 1 {
                    let failures = vec![failure(start.first_rank, u64::MAX)];
                    say(
                        start.epoch,
                        report(GroupPhase::Failing, failures.clone(), 0),
                    )
                    .await;
                    say(start.epoch, report(GroupPhase::Stopped, failures, 0)).await;
                } else {
                    say(
                        start.epoch,
                        report(GroupPhase::Succeeded, Vec::new(), start.processes),
                    )
                    .await;
                }
            }
            Some(Heard::Release(_) | Heard::Drain(_)) => return Ok(()),
            Some(_) | None => {}
        }
    }
}

#[test]
fn a_member_whose_clock_is_off_by_ages_fails_within_its_epoch() {
    let world = World::new();
    let training = Training::new("clock", 2, 2).with("max_restarts = 1");
    let mut crew = Crew::start(&world, &training, &["honest"]);
    let (address, token) = (crew.coordinator.address(), crew.coordinator.token());
    let liar = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(member_with_a_clock_that_is_off(address, token, "clock"))
    });
    let status = crew.training_when("a second round", |training| {
        training["restarts_used"] == 1 && training["phase"] == "running"
    });
    let cause = &status["causes"][0];
    let started = crew.ask().events_of("clock", "group_started");
    assert_eq!(started.len(), 2, "{started:#?}");
    let at_ms = number(&cause["at_ms"]);
    assert!(
        (started[0].at_ms..=started[1].at_ms).contains(&at_ms),
        "{cause} is not between {started:#?}"
    );
    assert!(
        crew.coordinator.runs(),
        "{}",
        crew.coordinator.process().stderr()
    );
    crew.end();
    liar.join().unwrap().unwrap();
    world.finish();
}

/// What a stranger says after its Hello; the coordinator may end its stream, and nothing else.
fn nonsense(epoch: u64) -> Vec<Said> {
    let checkpoint = |step: u64, path: String| {
        Said::CheckpointReport(CheckpointReport {
            request_id: u64::MAX,
            job_id: 1,
            stage: 0,
            epoch,
            step,
            path,
        })
    };
    let report = |phase: i32, failures: Vec<RankFailure>| {
        Said::GroupReport(GroupReport {
            job_id: 1,
            stage: 0,
            epoch,
            phase,
            failures,
            exited: u32::MAX,
            processes: 1,
        })
    };
    let offer = |port: u32| {
        Said::MasterOffer(MasterOffer {
            job_id: 1,
            epoch,
            port,
            resume_step: Some(u64::MAX),
        })
    };
    let ranks = |count: u32| {
        Said::GroupProgress(GroupProgress {
            job_id: 1,
            epoch,
            quiet_ms: u64::MAX,
            ranks: (0..count)
                .map(|rank| RankProgress {
                    rank,
                    step: u64::MAX,
                    step_time_ms: f64::INFINITY,
                })
                .collect(),
        })
    };
    vec![
        checkpoint(u64::MAX, "/stranger".to_owned()),
        checkpoint(9, "relative/../path".to_owned()),
        checkpoint(9, String::new()),
        checkpoint(9, format!("/{}", "p".repeat(1 << 20))),
        checkpoint(9, "/a\nb".to_owned()),
        report(GroupPhase::Failing.into(), vec![failure(0, 0)]),
        report(GroupPhase::Stopped.into(), Vec::new()),
        report(GroupPhase::Succeeded.into(), Vec::new()),
        report(77, Vec::new()),
        report(
            GroupPhase::Failing.into(),
            (0..20_000).map(|rank| failure(rank, 1)).collect(),
        ),
        offer(0),
        offer(70_000),
        offer(1),
        ranks(1),
        ranks(200_000),
        Said::PreflightReport(PreflightReport {
            job_id: u64::MAX,
            code: "C".repeat(100_000),
            message: "m".repeat(100_000),
        }),
    ]
}

#[test]
fn a_stranger_can_not_stop_start_or_mislead_a_group() {
    let world = World::new();
    let training = Training::new("strangers", 1, 1).with("max_restarts = 0");
    let mut crew = Crew::start(&world, &training, &["honest"]);
    let group = world.group_after(0, 1);
    crew.save(&group, 3);
    let token = crew.coordinator.token();
    talk(&crew.coordinator, async |channel| {
        for epoch in [0, group.epoch, group.epoch + 1, u64::MAX] {
            // Of no job, and of this one: a spare at most.
            for job in ["no-such-job", "strangers"] {
                for said in nonsense(epoch) {
                    stranger(&channel, job, epoch, said, &token).await;
                }
            }
        }
    });
    assert!(
        crew.coordinator.runs(),
        "{}",
        crew.coordinator.process().stderr()
    );
    assert!(all_alive(&group), "the group was stopped");
    let status = crew.training();
    assert_eq!(status["checkpoints"][0]["step"], 3, "{status}");
    assert_eq!(
        (&status["phase"], number(&status["restarts_used"])),
        (&"running".into(), 0),
        "{status}"
    );
    // It listens to its own members still.
    crew.save(&group, 4);
    crew.end();
    assert_eq!(world.ranks().len(), 1);
    world.finish();
}

/// Says Hello and one thing more, then hangs up and reads what is answered.
async fn stranger(channel: &Channel, job: &str, epoch: u64, said: Said, token: &str) {
    let messages =
        [(0, Said::Hello(hello("stranger", job))), (epoch, said)].map(|(epoch, message)| {
            AttachRequest {
                epoch,
                message: Some(message),
            }
        });
    let mut workers = WorkerServiceClient::new(channel.clone());
    let messages = tokio_stream::iter(messages);
    if let Ok(answer) = workers.attach(allowed(messages, token)).await {
        let mut answers = answer.into_inner();
        // To the end of the stream, whichever it is.
        while let Some(Ok(_)) = answers.next().await {}
    }
}
