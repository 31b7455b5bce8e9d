//! What a worker finds out before it speaks to anyone.

use petctl_spec::{MAX_PROCESSES, MAX_SLOTS};

use crate::options::{Options, WorkerError};
use petctl_text::hex;

/// Refuses settings that can't be.
pub(super) fn check(options: &Options) -> Result<(), WorkerError> {
    let bad = |what: String, fix| Err(WorkerError::BadOption { what, fix });
    if options.slots == 0 || options.slots > MAX_SLOTS {
        return bad(
            format!("a worker can't have {} slots", options.slots),
            "choose 1 to 1,024",
        );
    }
    if options.name.is_empty()
        || options.name.len() > 253
        || options.name.chars().any(char::is_control)
    {
        return bad(
            format!("a worker can't be named {:?}", options.name),
            "choose a name like local-1",
        );
    }
    if let Some(external) = &options.external_command
        && (external.processes.is_empty() || external.processes.len() > MAX_PROCESSES as usize)
    {
        return bad(
            format!(
                "a worker can't start {} processes",
                external.processes.len()
            ),
            "choose 1 to 1,024",
        );
    }
    match &options.worker_id {
        Some(id) if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) => bad(
            format!("a worker's id can't be {id:?}"),
            "use 32 hex digits, or leave it out",
        ),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn own_cpu_milli() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cpus)
        .unwrap_or(u32::MAX)
        .saturating_mul(1_000)
}

pub(super) fn own_memory_mib() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)) / (1024 * 1024)
}

pub(super) fn random_id() -> Result<String, WorkerError> {
    Ok(hex(&random_bytes::<16>()?))
}

pub(super) fn random_bytes<const N: usize>() -> Result<[u8; N], WorkerError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| WorkerError::System {
        verb: "get random numbers",
        source: std::io::Error::other(error),
    })?;
    Ok(bytes)
}
