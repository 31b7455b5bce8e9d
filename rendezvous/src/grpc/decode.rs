//! What workers say, from the wire. Nothing of it is trusted.

use super::bounds::{
    MAX_HELD, MAX_LINE_BYTES, MAX_LOG_TAIL_BYTES, MAX_MESSAGE_BYTES, MAX_NAME_BYTES, MAX_NUMBERS,
    MAX_REASONS, MAX_RESULTS,
};
use super::group;
use super::status::{bad, refused};
use petctl_codes::Code;
use petctl_core::{
    Adopted, AttemptReport, FromWorker, GpuShare, HeldLease, Hello, JobId, LeaseId, Lineage,
    Outcome, ShardId, Verdict, WorkerId,
};
use petctl_proto::{OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, common_protocol, v1};
use petctl_spec::{MAX_PROCESSES, MAX_SLOTS};
use tonic::Status;

/// Something a worker said after its Hello.
pub(super) enum Said {
    ToCore(FromWorker),
    Log(v1::LogChunk),
}

/// The version of the protocol that this worker and the coordinator both speak.
pub(super) fn protocol(hello: &v1::Hello) -> Result<u32, Status> {
    let newest = hello.protocol_version;
    let oldest = match hello.oldest_protocol_version {
        0 => newest,
        oldest => oldest,
    };
    let own = (OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION);
    common_protocol(own, (oldest, newest)).ok_or_else(|| {
        let older = if newest < OLDEST_PROTOCOL_VERSION {
            "the worker is older: give it the coordinator's petctl"
        } else {
            "the coordinator is older: upgrade it first (in a cluster: petctl setup --on NAME)"
        };
        let why = format!(
            "the worker (petctl {}) speaks {} of the protocol and the coordinator {}; {older}",
            clean(&hello.program_version),
            versions(oldest, newest),
            versions(own.0, own.1),
        );
        refused(Code::ProtocolMismatch, tonic::Code::FailedPrecondition, why)
    })
}

fn versions(oldest: u32, newest: u32) -> String {
    match oldest == newest {
        true => format!("version {newest}"),
        false => format!("versions {oldest} to {newest}"),
    }
}

pub(super) fn hello(hello: v1::Hello) -> Result<Hello, Status> {
    name("name", &hello.name)?;
    name("host", &hello.host)?;
    line("job", &hello.job)?;
    if !(1..=MAX_SLOTS).contains(&hello.slots) {
        return Err(bad(
            Code::BadMessage,
            format_args!("a worker has 1 to {MAX_SLOTS} slots, not {}", hello.slots),
        ));
    }
    at_most("held leases", hello.held.len(), MAX_HELD)?;
    Ok(Hello {
        worker: worker_id(&hello.worker_id)?,
        name: hello.name,
        host: hello.host,
        pid: hello.pid,
        job: hello.job,
        slots: hello.slots,
        gpus: hello.gpus,
        cpu_milli: hello.cpu_milli,
        memory_mib: hello.memory_mib,
        member_of: (hello.member_of != 0).then_some(JobId(hello.member_of)),
        held: hello.held.iter().map(held).collect(),
        leaving: hello.leaving,
        address: address(hello.address)?,
        processes: processes(hello.processes)?,
        node_rank: hello.node_rank,
        index: hello.index,
        group: hello.group.map(group::report).transpose()?,
        local_stages: hello.local_stages,
    })
}

/// Where it is not said, or makes no sense as a host, others are sent to the coordinator's own.
fn address(address: String) -> Result<String, Status> {
    if address.is_empty() {
        return Ok("127.0.0.1".to_owned());
    }
    name("address", &address)?;
    Ok(address)
}

fn processes(count: u32) -> Result<u32, Status> {
    if count > MAX_PROCESSES {
        return Err(bad(
            Code::BadMessage,
            format_args!("a worker starts at most {MAX_PROCESSES} processes, not {count}"),
        ));
    }
    Ok(count)
}

pub(super) fn said(message: v1::attach_request::Message) -> Result<Said, Status> {
    use v1::attach_request::Message;
    let said = match message {
        Message::Hello(_) => return Err(bad(Code::BadMessage, "a second Hello on one stream")),
        Message::Heartbeat(beat) => FromWorker::Heartbeat {
            sequence: beat.sequence,
            queued: beat.queued,
        },
        Message::Results(batch) => {
            at_most("results", batch.results.len(), MAX_RESULTS)?;
            FromWorker::Results(
                batch
                    .results
                    .into_iter()
                    .map(report)
                    .collect::<Result<_, _>>()?,
            )
        }
        Message::Leaving(leaving) => {
            line("reason", &leaving.reason)?;
            FromWorker::Leaving(leaving.reason)
        }
        Message::LogChunk(chunk) => return Ok(Said::Log(chunk)),
        Message::GroupReport(report) => FromWorker::Group(Box::new(group::report(report)?)),
        Message::MasterOffer(offer) => FromWorker::Master(group::offer(&offer)?),
        Message::CheckpointReport(report) => FromWorker::Checkpoint(group::checkpoint(report)?),
        Message::PreflightReport(report) => group::preflight(report)?,
        Message::GroupProgress(progress) => FromWorker::Progress(group::progress(progress)?),
    };
    Ok(Said::ToCore(said))
}

pub(super) fn numbers(numbers: Vec<v1::Number>) -> Result<Vec<(String, f64)>, Status> {
    at_most("numbers", numbers.len(), MAX_NUMBERS)?;
    numbers.into_iter().map(number).collect()
}

/// Of a shard's result.json.
pub(super) fn reasons(reasons: Vec<String>) -> Result<Vec<String>, Status> {
    at_most("reasons", reasons.len(), MAX_REASONS)?;
    for reason in &reasons {
        text("reason", reason, MAX_LINE_BYTES)?;
    }
    Ok(reasons)
}

fn report(result: v1::AttemptResult) -> Result<AttemptReport, Status> {
    line("code", &result.code)?;
    text("message", &result.message, MAX_MESSAGE_BYTES)?;
    text("log tail", &result.log_tail, MAX_LOG_TAIL_BYTES)?;
    Ok(AttemptReport {
        lease: LeaseId(result.lease_id),
        shard: ShardId {
            stage: result.stage,
            index: result.shard,
        },
        outcome: outcome(result.outcome)?,
        duration_ms: result.duration_ms,
        exit_code: result.exit_code,
        signal: result.signal,
        verdict: verdict(result.verdict)?,
        reasons: reasons(result.reasons)?,
        numbers: numbers(result.numbers)?,
        files: result.output_files,
        bytes: result.output_bytes,
        manifest: manifest(&result.manifest_sha256)?,
        adopted: (result.committed_lease_id != 0).then_some(Adopted {
            lineage: Lineage(result.committed_lineage),
            lease: LeaseId(result.committed_lease_id),
        }),
        code: result.code,
        message: result.message,
        log_tail: result.log_tail,
    })
}

fn held(held: &v1::HeldLease) -> HeldLease {
    HeldLease {
        lineage: Lineage(held.lineage),
        lease: LeaseId(held.lease_id),
        shard: ShardId {
            stage: held.stage,
            index: held.shard,
        },
        attempt: held.attempt,
        gpus: held.gpus.iter().map(gpu).collect(),
    }
}

fn gpu(share: &v1::GpuShare) -> GpuShare {
    GpuShare {
        device: share.device,
        milli: share.milli,
    }
}

fn worker_id(text: &str) -> Result<WorkerId, Status> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = digits
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten();
    number.filter(|id| *id != 0).map(WorkerId).ok_or_else(|| {
        bad(
            Code::BadMessage,
            "a worker's id is 32 hex digits, not all 0",
        )
    })
}

fn outcome(value: i32) -> Result<Outcome, Status> {
    match v1::Outcome::try_from(value) {
        Ok(v1::Outcome::Committed) => Ok(Outcome::Committed),
        Ok(v1::Outcome::Failed) => Ok(Outcome::Failed),
        Ok(v1::Outcome::TimedOut) => Ok(Outcome::TimedOut),
        Ok(v1::Outcome::Infrastructure) => Ok(Outcome::Infrastructure),
        Ok(v1::Outcome::Preempted) => Ok(Outcome::Preempted),
        Ok(v1::Outcome::Revoked) => Ok(Outcome::Revoked),
        Ok(v1::Outcome::Returned) => Ok(Outcome::Returned),
        Ok(v1::Outcome::Unspecified) | Err(_) => Err(bad(
            Code::BadMessage,
            format_args!("an attempt can't end with outcome {value}"),
        )),
    }
}

pub(super) fn verdict(value: i32) -> Result<Verdict, Status> {
    match v1::Verdict::try_from(value) {
        Ok(v1::Verdict::Unspecified) => Ok(Verdict::None),
        Ok(v1::Verdict::Pass) => Ok(Verdict::Pass),
        Ok(v1::Verdict::Fail) => Ok(Verdict::Fail),
        Ok(v1::Verdict::Skipped) => Ok(Verdict::Skipped),
        Err(_) => Err(bad(
            Code::BadMessage,
            format_args!("there is no verdict {value}"),
        )),
    }
}

fn number(number: v1::Number) -> Result<(String, f64), Status> {
    text("name of a number", &number.name, MAX_LINE_BYTES)?;
    if !number.value.is_finite() {
        return Err(bad(
            Code::BadMessage,
            format_args!("the number `{}` is not finite", clean(&number.name)),
        ));
    }
    Ok((number.name, number.value))
}

fn manifest(hash: &[u8]) -> Result<Option<Box<[u8; 32]>>, Status> {
    if hash.is_empty() {
        return Ok(None);
    }
    let hash = <[u8; 32]>::try_from(hash)
        .map_err(|_| bad(Code::BadMessage, "a manifest's SHA-256 has 32 bytes"))?;
    Ok(Some(Box::new(hash)))
}

fn name(what: &str, value: &str) -> Result<(), Status> {
    if value.is_empty() || value.len() > MAX_NAME_BYTES || value.chars().any(char::is_control) {
        let why = format_args!(
            "a worker's {what} has 1 to {MAX_NAME_BYTES} bytes and no control characters"
        );
        return Err(bad(Code::BadMessage, why));
    }
    Ok(())
}

/// One line of bounded length, as clients and workers name things.
pub(super) fn line(what: &str, value: &str) -> Result<(), Status> {
    if value.chars().any(char::is_control) {
        return Err(bad(
            Code::BadMessage,
            format_args!("the {what} has control characters"),
        ));
    }
    text(what, value, MAX_LINE_BYTES)
}

pub(super) fn text(what: &str, value: &str, max_bytes: usize) -> Result<(), Status> {
    if value.len() > max_bytes {
        return Err(bad(
            Code::BadMessage,
            format_args!("the {what} is longer than {max_bytes} bytes"),
        ));
    }
    Ok(())
}

pub(super) fn at_most(what: &str, count: usize, max: usize) -> Result<(), Status> {
    if count > max {
        return Err(bad(
            Code::BadMessage,
            format_args!("{count} {what} are more than the {max} that one message may have"),
        ));
    }
    Ok(())
}

/// A stranger's text in a message of ours.
fn clean(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).take(80).collect()
}
