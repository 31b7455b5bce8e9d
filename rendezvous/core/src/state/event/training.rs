//! What events about training groups say.

use super::Event;
use super::describe::{Names, Shown, shown};
use crate::view::wording::count;
use serde_json::json;

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others are of other groups"
)]
pub(super) fn show(event: &Event, names: &Names<'_>) -> Option<Shown> {
    match event {
        Event::GroupStarted {
            job: _,
            stage,
            epoch,
            world_size,
            master,
            resume_step,
        } => {
            let from = resume_step.map_or_else(
                || "from the start".to_owned(),
                |step| format!("from the checkpoint of step {step}"),
            );
            let (name, ranks) = (
                names.stage_name(*stage),
                count(*world_size as usize, "rank"),
            );
            let fields = json!({
                "stage": names.stage(*stage),
                "epoch": epoch.0,
                "world_size": world_size,
                "master": { "address": master.address, "port": master.port },
                "resume_step": resume_step,
            });
            shown(
                format!("{name}: epoch {epoch} starts {ranks}, {from}"),
                fields,
            )
        }
        Event::GroupFailed {
            job: _,
            stage,
            cause,
            restarts_used,
            lost_used,
        } => {
            let fields = json!({
                "stage": names.stage(*stage),
                "epoch": cause.epoch.0,
                "rank": cause.rank,
                "local_rank": cause.local_rank,
                "worker": cause.worker,
                "host": cause.host,
                "code": cause.code,
                "message": cause.message,
                "log_tail": cause.log_tail,
                "exit_code": cause.exit_code,
                "signal": (cause.signal > 0).then_some(cause.signal),
                "others": cause.others,
                "charged": cause.charged.as_str(),
                "restarts_used": restarts_used,
                "lost_used": lost_used,
            });
            shown(
                format!("{}: {}", names.stage_name(*stage), cause.describe()),
                fields,
            )
        }
        Event::GroupStopping {
            job: _,
            stage,
            epoch,
            code,
            message,
        } => {
            let fields = json!({
                "stage": names.stage(*stage),
                "epoch": epoch.0,
                "code": code,
                "message": message,
            });
            let name = names.stage_name(*stage);
            shown(format!("{name}: epoch {epoch} stops: {message}"), fields)
        }
        Event::CheckpointCommitted {
            job: _,
            stage,
            epoch,
            step,
            path,
        } => {
            let fields = json!({
                "stage": names.stage(*stage),
                "epoch": epoch.0,
                "step": step,
                "path": path,
            });
            let name = names.stage_name(*stage);
            shown(
                format!("{name}: checkpoint of step {step} complete: {path}"),
                fields,
            )
        }
        _ => None,
    }
}
