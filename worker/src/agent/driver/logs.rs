//! Pieces of logs that the coordinator asks for.

use petctl_output::layout::Layout;
use petctl_output::logs::LogReader;
use petctl_proto::v1::{LogChunk, LogRequest};

use crate::agent::driver::Driver;
use crate::agent::machine::Input;

/// Most bytes of a log in one message.
const MAX_LOG_CHUNK: u32 = 1024 * 1024;

impl Driver {
    pub(super) fn read_log(&self, request: LogRequest, may_grow: bool) {
        let source = match &self.job {
            Some(Ok(job)) => {
                let index = usize::try_from(request.stage).unwrap_or(usize::MAX);
                job.spec
                    .stages
                    .get(index)
                    .map(|stage| (job.committer.layout().clone(), stage.name.clone()))
            }
            Some(Err(_)) | None => None,
        };
        let answer = self.local.clone();
        tokio::task::spawn_blocking(move || {
            let _ = answer.send(Input::LogRead(read_log(source, &request, may_grow)));
        });
    }
}

fn read_log(source: Option<(Layout, String)>, request: &LogRequest, may_grow: bool) -> LogChunk {
    let path =
        source.and_then(|(layout, stage)| layout.find_log(&stage, &request.key, request.lease_id));
    let most = usize::try_from(request.max_bytes.clamp(1, MAX_LOG_CHUNK)).unwrap_or(1);
    let piece = path.and_then(|path| LogReader::new(path).read(request.offset, most).ok());
    let (data, next_offset) = piece.map_or((Vec::new(), request.offset), |piece| {
        (piece.data, piece.next_offset)
    });
    LogChunk {
        request_id: request.request_id,
        end: data.is_empty() && !may_grow,
        data,
        next_offset,
    }
}
