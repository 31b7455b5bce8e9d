//! The job that the nodes of a run submit: the same text on each of them, so that the first makes it and the others
//! find it. What is run, and with which folders, each node knows for itself.

use super::arguments::Arguments;
use petctl_spec::{
    Budgets, Grow, JobSpec, Processes, StageKind, StageSpec, StorageSpec, TrainSpec, WorkersSpec,
};
use petctl_text::Secret;
use petctl_ui::error::{Code, Error, Result};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The only stage.
const STAGE: &str = "train";
/// Longest part of an id that is kept in the job's name.
const MAX_NAME: usize = 40;
/// A group that ran this long has its restarts back.
const RESTART_WINDOW_MS: u64 = 3_600_000;
/// A lost node costs no restart; this only ends what loses one node after the other.
const MAX_LOST_NODES: u32 = 1_000;

/// The job of a run, with its fingerprint.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) spec: JobSpec,
    pub(super) fingerprint: [u8; 32],
}

impl Job {
    pub(super) fn of(arguments: &Arguments, run_id: &str, wanted: u32) -> Result<Self> {
        let spec = JobSpec {
            name: name(run_id),
            folder: "/".to_owned(),
            image: None,
            code: Vec::new(),
            setup: None,
            workers: WorkersSpec {
                min: arguments.min_nodes,
                max: arguments.max_nodes,
                wanted,
                unit: 1,
                slots: 1,
                gpus: 0,
                spares: 0,
                settle_timeout_ms: millis(arguments.conf.last_call),
                preflight: None,
            },
            storage: StorageSpec {
                input: None,
                // Nothing is written there: each node has a folder of its own.
                output: "/nonexistent/petctl-torchrun".to_owned(),
                ..StorageSpec::default()
            },
            stages: vec![stage(arguments)],
        };
        // Nodes that disagree about these do not belong together.
        let agreed = format!(
            "nnodes={}:{} max_restarts={}",
            arguments.min_nodes, arguments.max_nodes, arguments.max_restarts
        );
        let canonical = petctl_spec::canonical_json(&spec).map_err(|error| {
            Error::new(Code::Bug, "can't write the job as JSON").because(&error)
        })?;
        let fingerprint = Sha256::new()
            .chain_update(canonical)
            .chain_update([0])
            .chain_update(agreed)
            .finalize()
            .into();
        Ok(Self { spec, fingerprint })
    }
}

fn stage(arguments: &Arguments) -> StageSpec {
    StageSpec {
        name: STAGE.to_owned(),
        kind: StageKind::Train(TrainSpec {
            // Each node says how many it has.
            processes: Processes::Number(1),
            max_restarts: arguments.max_restarts,
            restart_window_ms: RESTART_WINDOW_MS,
            grow: Grow::Now,
            progress_timeout_ms: 0,
            keep_checkpoints: 3,
            exclude_after: 0,
            checkpoints: None,
        }),
        needs: Vec::new(),
        command: vec!["torchrun".to_owned()],
        env: BTreeMap::new(),
        params: BTreeMap::new(),
        timeout_ms: 0,
        grace_ms: millis(arguments.shutdown_timeout),
        budgets: Budgets {
            failed: arguments.max_restarts,
            timed_out: 0,
            worker_lost: MAX_LOST_NODES,
            infrastructure: MAX_LOST_NODES,
            preempted: MAX_LOST_NODES,
        },
        backoff_ms: 0,
        log_bytes: 16 * 1024 * 1024,
        cpu_milli: 0,
        memory_mib: 0,
        deadline_ms: 0,
        dispatch: petctl_spec::DispatchSpec::default(),
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A job's name for a run's id: the id itself as far as a name may hold it, and a hash where it may not.
pub(super) fn name(run_id: &str) -> String {
    let kept: String = run_id
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                '-'
            }
        })
        .take(MAX_NAME)
        .collect();
    let kept = kept.trim_matches('-');
    if kept == run_id {
        return format!("torchrun-{kept}");
    }
    let digest = Sha256::digest(run_id.as_bytes());
    let hash = petctl_text::hex(digest.get(..4).unwrap_or_default());
    if kept.is_empty() {
        format!("torchrun-{hash}")
    } else {
        format!("torchrun-{kept}-{hash}")
    }
}

/// The token of a run for which nobody gave one. Whoever knows the id has it: no secret, as torchrun has none.
pub(super) fn derived_token(run_id: &str) -> Secret {
    let mut digest = Sha256::new();
    digest.update(b"petctl torchrun\0");
    digest.update(run_id.as_bytes());
    Secret::new(petctl_text::hex(&digest.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line;
    use std::ffi::OsString;

    fn job(text: &str) -> Job {
        let line = command_line::read(text.split_whitespace().map(OsString::from)).unwrap();
        let arguments = Arguments::read(line, |_| None).unwrap();
        Job::of(&arguments, &arguments.id, arguments.max_nodes).unwrap()
    }

    #[test]
    fn names_are_those_of_jobs_and_differ_where_ids_do() {
        assert_eq!(name("run1"), "torchrun-run1");
        let ids = [
            "Run1",
            "run-1-",
            "a b",
            "",
            "-",
            "ü",
            &"x".repeat(200),
            &"x".repeat(201),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for id in ids {
            let name = name(id);
            assert!(name.len() <= 63, "{name}");
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
            assert!(seen.insert(name));
        }
    }

    #[test]
    fn nodes_that_agree_submit_the_same_job() {
        let c10d = "--nnodes 1:4 --rdzv-backend c10d --rdzv-endpoint h --rdzv-id a";
        let one = job(&format!("{c10d} --nproc-per-node 2 a.py"));
        let other = job(&format!("{c10d} -r 3 --shutdown-timeout 5 b.py --x"));
        assert_eq!(one.fingerprint, other.fingerprint);
        let more = job(&format!("{c10d} --max-restarts 1 a.py"));
        assert_ne!(one.fingerprint, more.fingerprint);
        let wider = job("--nnodes 1:5 --rdzv-backend c10d --rdzv-endpoint h --rdzv-id a a.py");
        assert_ne!(one.fingerprint, wider.fingerprint);
    }
}
