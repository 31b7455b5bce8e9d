//! An event's fields for programs. Ids that people see are texts as people see them; a job's keys and its commands'
//! environment stay out.

use super::{Event, Failure, LeaveReason, MemberRecord};
use crate::{ShardId, WorkerId};
use serde_json::{Value, json};

impl Event {
    /// Its fields, as one JSON object.
    #[must_use]
    pub fn fields(&self) -> Value {
        match self {
            Self::CoordinatorStarted { incarnation } => json!({ "incarnation": incarnation }),
            Self::JobSubmitted {
                job,
                spec,
                fingerprint,
                work,
                first_lease,
                replaces,
            } => json!({
                "job": job.0,
                "name": spec.name,
                "fingerprint": hex(fingerprint),
                "stages": spec.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>(),
                "listed_shards": work.iter().map(|stage| stage.keys.len()).sum::<usize>(),
                "reused": work.iter().flat_map(|stage| &stage.carried).map(|run| u64::from(run.count)).sum::<u64>(),
                "first_lease": first_lease.to_string(),
                "replaces": replaces.map(|job| job.0),
                "min": spec.workers.min,
                "max": spec.workers.max,
                "workers": spec.workers.wanted,
                "output": spec.storage.output,
            }),
            Self::SecondAttemptEnded { job, shard, won } => json!({
                "job": job.0,
                "stage": shard.stage,
                "shard": shard.index,
                "won": won,
            }),
            Self::JobReopened { job } | Self::JobDeleted { job } | Self::JobResumed { job } => {
                json!({ "job": job.0 })
            }
            Self::JobRetuned { job, spec } => json!({
                "job": job.0,
                "min": spec.workers.min,
                "max": spec.workers.max,
                "workers": spec.workers.wanted,
            }),
            Self::PoolScaled {
                job,
                min,
                max,
                wanted,
            } => {
                json!({ "job": job.0, "min": min, "max": max, "workers": wanted })
            }
            Self::EpochFormed {
                job,
                epoch,
                joined,
                left: gone,
            } => json!({
                "job": job.0,
                "epoch": epoch.0,
                "joined": joined.iter().map(member).collect::<Vec<_>>(),
                "left": left(gone),
            }),
            Self::QuorumLost { job, left: gone } => json!({ "job": job.0, "left": left(gone) }),
            Self::ShardCommitted {
                job,
                shard: id,
                lease,
                worker,
                duration_ms,
                files,
                bytes,
                verdict,
                reasons,
                numbers,
                manifest,
            } => json!({
                "job": job.0,
                "stage": id.stage,
                "shard": id.index,
                "lease": lease.to_string(),
                "worker": worker,
                "duration_ms": duration_ms,
                "files": files,
                "bytes": bytes,
                "verdict": verdict.as_str(),
                "reasons": reasons,
                "numbers": numbers.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<serde_json::Map<_, _>>(),
                "manifest_sha256": manifest.as_ref().map(|hash| hex(hash.as_slice())),
            }),
            Self::AttemptFailed {
                job,
                shard: id,
                lease,
                worker,
                kind,
                failure,
                quarantined,
            } => {
                let Failure {
                    duration_ms,
                    exit_code,
                    signal,
                    code,
                    message,
                    log_tail,
                } = failure.as_ref();
                json!({
                    "job": job.0,
                    "stage": id.stage,
                    "shard": id.index,
                    "lease": lease.to_string(),
                    "worker": worker,
                    "failure": kind.as_str(),
                    "duration_ms": duration_ms,
                    "exit_code": exit_code,
                    "signal": signal,
                    "code": code,
                    "message": message,
                    "log_tail": log_tail,
                    "quarantined": quarantined,
                })
            }
            Self::ShardsUnreachable { job, shards } => json!({
                "job": job.0,
                "count": shards.len(),
                "shards": shards.iter().take(MAX_LISTED).map(shard).collect::<Vec<_>>(),
            }),
            Self::JobCancelled { job, reason } => json!({ "job": job.0, "reason": reason }),
            Self::JobSuspended { job, reason } => json!({ "job": job.0, "reason": reason }),
            Self::StageStarted { job, stage } | Self::StageDeadlinePassed { job, stage } => {
                json!({ "job": job.0, "stage": stage })
            }
            Self::GroupStarted {
                job,
                stage,
                epoch,
                world_size,
                master,
                resume_step,
            } => json!({
                "job": job.0,
                "stage": stage,
                "epoch": epoch.0,
                "world_size": world_size,
                "master_addr": master.address,
                "master_port": master.port,
                "resume_step": resume_step,
            }),
            Self::GroupFailed {
                job,
                stage,
                cause,
                restarts_used,
                lost_used,
            } => json!({
                "job": job.0,
                "stage": stage,
                "epoch": cause.epoch.0,
                "rank": cause.rank,
                "local_rank": cause.local_rank,
                "worker": cause.worker,
                "host": cause.host,
                "code": cause.code,
                "message": cause.message,
                "log_tail": cause.log_tail,
                "exit_code": cause.exit_code,
                "signal": cause.signal,
                "others": cause.others,
                "charged": cause.charged.as_str(),
                "restarts_used": restarts_used,
                "lost_used": lost_used,
            }),
            Self::GroupStopping {
                job,
                stage,
                epoch,
                code,
                message,
            } => json!({
                "job": job.0,
                "stage": stage,
                "epoch": epoch.0,
                "code": code,
                "message": message,
            }),
            Self::CheckpointCommitted {
                job,
                stage,
                epoch,
                step,
                path,
            } => json!({
                "job": job.0,
                "stage": stage,
                "epoch": epoch.0,
                "step": step,
                "path": path,
            }),
            Self::JobEnded { job, end } => json!({ "job": job.0, "end": end.as_str() }),
        }
    }
}

/// Shards listed in one event; `count` has them all.
const MAX_LISTED: usize = 1_000;

fn shard(shard: &ShardId) -> Value {
    json!({ "stage": shard.stage, "shard": shard.index })
}

fn member(member: &MemberRecord) -> Value {
    json!({
        "worker": member.worker.to_string(),
        "name": member.name,
        "host": member.host,
        "address": member.address,
        "processes": member.processes,
    })
}

fn left(left: &[(WorkerId, LeaveReason)]) -> Vec<Value> {
    left.iter()
        .map(|(worker, reason)| json!({ "worker": worker.to_string(), "reason": reason.as_str() }))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
