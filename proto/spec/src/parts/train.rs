//! What only a `train` stage says, and what it can't say.

use crate::model::{Grow, Processes, TrainSpec};
use crate::parts::storage::read_folder;
use petctl_codes::Code;
use petctl_keyed::{Report, Section};

/// Keys of training groups alone.
const TRAIN_KEYS: [&str; 8] = [
    "processes_per_worker",
    "max_restarts",
    "restart_window",
    "grow",
    "progress_timeout",
    "checkpoints",
    "keep_checkpoints",
    "exclude_after",
];

/// Keys of shards that a training group has no use for, and what it has instead.
const SHARD_KEYS: [(&str, &str); 16] = [
    ("shards", "take `shards` out, or write `kind = \"shards\"`"),
    (
        "retries",
        "use `max_restarts`: how often the group is started again",
    ),
    (
        "timeout",
        "use `deadline` for the whole stage, or `progress_timeout` to find a group that hangs",
    ),
    (
        "backoff",
        "take `backoff` out; a group is started again at once",
    ),
    ("cpus", "take `cpus` out; a group runs on every worker"),
    ("memory", "take `memory` out; a group runs on every worker"),
    ("serve", "take `serve` out, or write `kind = \"shards\"`"),
    (
        "start_timeout",
        "take `start_timeout` out, or write `kind = \"shards\"`",
    ),
    (
        "speculative",
        "take `speculative` out, or write `kind = \"shards\"`",
    ),
    (
        "gpus",
        "use `gpus` of [workers]: a group has all GPUs of its workers",
    ),
    (
        "run_mode",
        "take `run_mode` out; a group runs on the workers",
    ),
    (
        "retry_on",
        "use `max_restarts`: how often the group is started again",
    ),
    (
        "skip_on",
        "take `skip_on` out, or write `kind = \"shards\"`",
    ),
    (
        "allow_failed",
        "take `allow_failed` out, or write `kind = \"shards\"`",
    ),
    ("min_done", "take `min_done` out: a group is done or not"),
    (
        "run_after_skip",
        "take `run_after_skip` out, or write `kind = \"shards\"`",
    ),
];

/// Keys that make sense only where there are many shards.
const MANY_KEYS: [&str; 5] = [
    "serve",
    "start_timeout",
    "speculative",
    "allow_failed",
    "run_after_skip",
];

/// Budgets of shards' failures that a training group does not have.
const SHARD_BUDGETS: [(&str, &str); 4] = [
    ("failed", "use `max_restarts` of the stage"),
    (
        "timed_out",
        "take `timed_out` out; a training stage has no `timeout`",
    ),
    (
        "infrastructure",
        "take it out; such failures count in `max_restarts`",
    ),
    ("preempted", "take it out; departures cost nothing"),
];

impl TrainSpec {
    /// The absolute folder of the checkpoints of the stage of this name, below this output folder unless it has its own.
    #[must_use]
    pub fn checkpoint_folder(&self, output: &str, stage: &str) -> String {
        self.checkpoints.clone().unwrap_or_else(|| {
            let output = output.trim_end_matches('/');
            format!("{output}/{stage}/checkpoints")
        })
    }
}

/// Reports keys that do not fit the stage's kind.
pub(crate) fn check_keys(section: &Section<'_>, report: &mut Report<'_>) {
    match section.text("kind") {
        Some("train") => {
            for (key, fix) in SHARD_KEYS {
                misfit(section, key, fix, report);
            }
        }
        Some(kind) => {
            let many = MANY_KEYS.into_iter().filter(|key| section.is_given(key));
            for key in many.filter(|_| kind == "once") {
                let message = format!(
                    "`{key}` in {} is for many shards, and this stage is `kind = \"once\"`",
                    section.title
                );
                let fix = format!("take `{key}` out, or write `kind = \"shards\"`");
                let place = section.place_of(key);
                report.add(
                    Code::JobFileValue,
                    place,
                    section.path_of(key),
                    message,
                    fix,
                );
            }
            for key in TRAIN_KEYS.into_iter().filter(|key| section.is_given(key)) {
                let message = format!(
                    "`{key}` in {} is for training, and this stage is `kind = \"{kind}\"`",
                    section.title
                );
                let fix = format!("take `{key}` out, or write `kind = \"train\"`");
                let place = section.place_of(key);
                report.add(
                    Code::JobFileValue,
                    place,
                    section.path_of(key),
                    message,
                    fix,
                );
            }
        }
        None => {}
    }
}

/// Reports budgets that do not fit a training stage.
pub(crate) fn check_budgets(budgets: &Section<'_>, report: &mut Report<'_>) {
    for (key, fix) in SHARD_BUDGETS {
        misfit(budgets, key, fix, report);
    }
}

fn misfit(section: &Section<'_>, key: &str, fix: &str, report: &mut Report<'_>) {
    if section.node(key).is_none() {
        return;
    }
    let message = format!(
        "`{key}` in {} is for shards, and this stage is `kind = \"train\"`",
        section.title
    );
    report.add(
        Code::JobFileValue,
        section.place_of(key),
        section.path_of(key),
        message,
        fix,
    );
}

/// Reads a training stage; `None` where something of it can't be used, which is reported.
pub(crate) fn read_train(
    section: &Section<'_>,
    workers: Option<&Section<'_>>,
    folder: &str,
    report: &mut Report<'_>,
) -> Option<TrainSpec> {
    let restart_window_ms = section.duration_ms("restart_window");
    if restart_window_ms == Some(0) {
        let message = format!(
            "`restart_window` in {} is 0s: a group would always have all its restarts",
            section.title
        );
        report.add(
            Code::JobFileValue,
            section.place_of("restart_window"),
            section.path_of("restart_window"),
            message,
            "use a longer one; \"365d\" is as good as never",
        );
    }
    let checkpoints = match read_folder(section, "checkpoints", folder, report) {
        None => None,
        Some(None) => return None,
        Some(Some(path)) => Some(path),
    };
    Some(TrainSpec {
        processes: read_processes(section, workers, report)?,
        max_restarts: section.integer_u32("max_restarts")?,
        restart_window_ms: restart_window_ms?,
        grow: if section.text("grow") == Some("now") {
            Grow::Now
        } else {
            Grow::Checkpoint
        },
        progress_timeout_ms: section.duration_ms("progress_timeout")?,
        keep_checkpoints: section.integer_u32("keep_checkpoints")?,
        exclude_after: section.integer_u32("exclude_after")?,
        checkpoints,
    })
}

fn read_processes(
    section: &Section<'_>,
    workers: Option<&Section<'_>>,
    report: &mut Report<'_>,
) -> Option<Processes> {
    let key = "processes_per_worker";
    Some(match section.scalar(key)?.as_str() {
        "cpu" => Processes::Cpu,
        "auto" => Processes::Auto,
        "gpu" => {
            let gpus = workers.and_then(|workers| workers.integer_u32("gpus"));
            if gpus.unwrap_or(0) == 0 {
                let message = format!(
                    "`{key}` in {} is \"gpu\", but [workers] has no `gpus`",
                    section.title
                );
                report.add(
                    Code::JobFileValue,
                    section.place_of(key),
                    section.path_of(key),
                    message,
                    "add such as `gpus = 4` to [workers], or write \"auto\"",
                );
            }
            Processes::Gpu
        }
        number => Processes::Number(number.parse().ok()?),
    })
}
