//! What workers say of training groups, from the wire. Nothing of it is trusted.

use super::bounds::{MAX_LOG_TAIL_BYTES, MAX_MESSAGE_BYTES};
use super::decode::{at_most, line, text};
use super::status::bad;
use petctl_codes::Code;
use petctl_core::{
    CheckpointReport, Epoch, FromWorker, GroupPhase, GroupProgress, GroupReport, JobId,
    MasterOffer, RankFailure, RankProgress,
};
use petctl_proto::v1;
use petctl_spec::MAX_PROCESSES;
use tonic::Status;

pub(super) fn report(report: v1::GroupReport) -> Result<GroupReport, Status> {
    at_most(
        "failures",
        report.failures.len(),
        usize::try_from(MAX_PROCESSES).unwrap_or(usize::MAX),
    )?;
    Ok(GroupReport {
        job: JobId(report.job_id),
        stage: report.stage,
        epoch: Epoch(report.epoch),
        phase: phase(report.phase)?,
        failures: report
            .failures
            .into_iter()
            .map(failure)
            .collect::<Result<_, _>>()?,
        exited: report.exited,
        processes: report.processes,
    })
}

fn phase(value: i32) -> Result<GroupPhase, Status> {
    match v1::GroupPhase::try_from(value) {
        Ok(v1::GroupPhase::Running) => Ok(GroupPhase::Running),
        Ok(v1::GroupPhase::Failing) => Ok(GroupPhase::Failing),
        Ok(v1::GroupPhase::Stopped) => Ok(GroupPhase::Stopped),
        Ok(v1::GroupPhase::Succeeded) => Ok(GroupPhase::Succeeded),
        Ok(v1::GroupPhase::Unspecified) | Err(_) => Err(bad(
            Code::BadMessage,
            format_args!("a training group can't be in phase {value}"),
        )),
    }
}

fn failure(failure: v1::RankFailure) -> Result<RankFailure, Status> {
    line("code", &failure.code)?;
    text("message", &failure.message, MAX_MESSAGE_BYTES)?;
    text("log tail", &failure.log_tail, MAX_LOG_TAIL_BYTES)?;
    Ok(RankFailure {
        rank: failure.rank,
        local_rank: failure.local_rank,
        pid: failure.pid,
        exit_code: failure.exit_code,
        signal: failure.signal,
        code: failure.code,
        message: failure.message,
        age_ms: failure.age_ms,
        log_tail: failure.log_tail,
    })
}

pub(super) fn offer(offer: &v1::MasterOffer) -> Result<MasterOffer, Status> {
    let port = u16::try_from(offer.port).ok().filter(|port| *port != 0);
    Ok(MasterOffer {
        job: JobId(offer.job_id),
        epoch: Epoch(offer.epoch),
        port: port.ok_or_else(|| {
            bad(
                Code::BadMessage,
                format_args!("{} is no TCP port", offer.port),
            )
        })?,
        resume_step: offer.resume_step,
    })
}

pub(super) fn checkpoint(report: v1::CheckpointReport) -> Result<CheckpointReport, Status> {
    line("checkpoint's path", &report.path)?;
    Ok(CheckpointReport {
        request: report.request_id,
        job: JobId(report.job_id),
        stage: report.stage,
        epoch: Epoch(report.epoch),
        step: report.step,
        path: report.path,
    })
}

pub(super) fn preflight(report: v1::PreflightReport) -> Result<FromWorker, Status> {
    line("code", &report.code)?;
    text("message", &report.message, MAX_MESSAGE_BYTES)?;
    Ok(FromWorker::Preflight {
        job: JobId(report.job_id),
        failure: (!report.code.is_empty()).then_some((report.code, report.message)),
    })
}

pub(super) fn progress(progress: v1::GroupProgress) -> Result<GroupProgress, Status> {
    at_most(
        "ranks",
        progress.ranks.len(),
        usize::try_from(MAX_PROCESSES).unwrap_or(usize::MAX),
    )?;
    let rank = |rank: v1::RankProgress| RankProgress {
        rank: rank.rank,
        step: rank.step,
        // A worker may say anything.
        step_time_ms: Some(rank.step_time_ms)
            .filter(|ms| ms.is_finite() && *ms > 0.0)
            .unwrap_or_default(),
    };
    Ok(GroupProgress {
        job: JobId(progress.job_id),
        epoch: Epoch(progress.epoch),
        quiet_ms: progress.quiet_ms,
        ranks: progress.ranks.into_iter().map(rank).collect(),
    })
}
