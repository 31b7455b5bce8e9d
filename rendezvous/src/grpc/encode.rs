//! What workers are told, to the wire.

use crate::driver::Outgoing;
use crate::wire::detail_json;
use petctl_core::{
    Checkpoint, Config, Epoch, GpuShare, GroupStart, LeaseGrant, LeaseId, Refusal, ToWorker,
};
use petctl_proto::v1;
use petctl_proto::v1::attach_response::Message;

/// To a worker with which this version of the protocol is spoken: it is told nothing that came with a later one.
pub(super) fn outgoing(
    outgoing: Outgoing,
    config: &Config,
    protocol_version: u32,
) -> v1::AttachResponse {
    let (epoch, message) = match outgoing {
        Outgoing::Message { epoch, message } => {
            (epoch, self::message(message, config, protocol_version))
        }
        Outgoing::Assignment { epoch, assignment } => {
            let message = Message::Assignment(v1::Assignment {
                job_id: assignment.job.0,
                job: assignment.name,
                spec_json: assignment.spec_json.to_string(),
                rank: assignment.rank,
                world_size: assignment.world_size,
                lineage: assignment.lineage.0,
            });
            (epoch, Some(message))
        }
        Outgoing::Preflight {
            job,
            name,
            spec_json,
        } => {
            let message = Message::Preflight(v1::Preflight {
                job_id: job.0,
                job: name,
                spec_json: spec_json.to_string(),
            });
            (Epoch(0), Some(message))
        }
        Outgoing::Log(request) => (Epoch(0), Some(Message::LogRequest(request))),
    };
    v1::AttachResponse {
        epoch: epoch.0,
        message,
    }
}

fn message(message: ToWorker, config: &Config, protocol_version: u32) -> Option<Message> {
    Some(match message {
        ToWorker::Welcome { incarnation, kept } => Message::Welcome(v1::Welcome {
            incarnation: u64::from(incarnation),
            heartbeat_interval_ms: saturating(config.heartbeat_interval_ms),
            idle_heartbeat_interval_ms: saturating(config.idle_heartbeat_interval_ms),
            heartbeat_timeout_ms: saturating(config.heartbeat_timeout_ms),
            kept: ids(kept),
            protocol_version,
        }),
        ToWorker::HeartbeatAck(sequence) => Message::HeartbeatAck(v1::HeartbeatAck { sequence }),
        // The driver sends an assignment with its job file.
        ToWorker::Assignment { .. } => return None,
        ToWorker::EpochChange { rank, world_size } => {
            Message::EpochChange(v1::EpochChange { rank, world_size })
        }
        ToWorker::Leases(leases) => Message::Leases(v1::LeaseBatch {
            leases: leases.into_iter().map(lease).collect(),
        }),
        ToWorker::ResultAck(leases) => Message::ResultAck(v1::ResultAck {
            lease_ids: ids(leases),
        }),
        ToWorker::ResultRefusal { leases, refusal } => Message::ResultRefusal(v1::ResultRefusal {
            lease_ids: ids(leases),
            code: refusal.code.to_string(),
            message: refusal.message,
        }),
        ToWorker::Revocation {
            leases,
            refusal,
            only_if_queued,
        } => Message::Revocation(v1::Revocation {
            lease_ids: ids(leases),
            code: refusal.code.to_string(),
            message: refusal.message,
            only_if_queued,
        }),
        ToWorker::Drain(reason) => Message::Drain(v1::Drain { reason }),
        ToWorker::Release(Refusal { code, message }) => Message::Release(v1::Release {
            code: code.to_string(),
            message,
        }),
        ToWorker::Fenced(Refusal { code, message }) => Message::Fenced(v1::Fenced {
            code: code.to_string(),
            message,
        }),
        ToWorker::GroupPrepare {
            job,
            stage,
            epoch,
            checkpoints,
        } => Message::GroupPrepare(v1::GroupPrepare {
            job_id: job.0,
            stage,
            epoch: epoch.0,
            checkpoints: checkpoints.into_iter().map(checkpoint).collect(),
        }),
        ToWorker::GroupStart(start) => Message::GroupStart(group_start(*start)),
        ToWorker::GroupStop {
            job,
            stage,
            epoch,
            refusal,
            dump_stacks,
        } => Message::GroupStop(v1::GroupStop {
            job_id: job.0,
            stage,
            epoch: epoch.0,
            code: refusal.code.to_string(),
            message: refusal.message,
            dump_stacks,
        }),
        ToWorker::CheckpointAnswer {
            request,
            refusal,
            drop,
        } => {
            let (code, message) = refusal
                .map(|refusal| (refusal.code.to_string(), refusal.message))
                .unwrap_or_default();
            Message::CheckpointAnswer(v1::CheckpointAnswer {
                request_id: request,
                code,
                message,
                drop,
            })
        }
        // The driver sends it with its job file.
        ToWorker::Preflight(_) => return None,
    })
}

fn group_start(start: GroupStart) -> v1::GroupStart {
    v1::GroupStart {
        job_id: start.job.0,
        stage: start.stage,
        epoch: start.epoch.0,
        group_rank: start.group_rank,
        group_world_size: start.group_world_size,
        first_rank: start.first_rank,
        processes: start.processes,
        world_size: start.world_size,
        master_addr: start.master.address,
        master_port: u32::from(start.master.port),
        restart_count: start.restart_count,
        max_restarts: start.max_restarts,
        resume: start.resume.map(checkpoint),
    }
}

fn checkpoint(checkpoint: Checkpoint) -> v1::Checkpoint {
    v1::Checkpoint {
        step: checkpoint.step,
        path: checkpoint.path,
    }
}

fn lease(grant: LeaseGrant) -> v1::Lease {
    v1::Lease {
        lease_id: grant.lease.0,
        stage: grant.shard.stage,
        shard: grant.shard.index,
        key: grant.key,
        attempt: grant.attempt,
        fence: grant.fence,
        detail_json: detail_json(grant.detail.as_deref()),
        replaces_below: grant.replaces_below.0,
        gpus: grant.gpus.into_iter().map(gpu).collect(),
        speculative: grant.speculative,
        lineage: grant.lineage.0,
        content: grant.content.map_or_else(Vec::new, Vec::from),
        fresh: grant.fresh,
    }
}

fn gpu(share: GpuShare) -> v1::GpuShare {
    v1::GpuShare {
        device: share.device,
        milli: share.milli,
    }
}

fn ids(leases: Vec<LeaseId>) -> Vec<u64> {
    leases.into_iter().map(|lease| lease.0).collect()
}

fn saturating(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
