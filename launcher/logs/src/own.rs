//! The log of a worker itself.

use petctl_client::View;
use petctl_job::Context;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

/// Distance of two looks at the file.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes read at a time.
const PIECE_BYTES: u64 = 256 * 1024;

pub(super) async fn run(
    context: &Context,
    view: &View,
    worker: &str,
    follow: bool,
) -> Result<Exit> {
    let Some(folder) = &view.folder else {
        return Err(Error::new(
            Code::NoLog,
            format!("worker `{worker}` runs elsewhere, and its own log with it"),
        )
        .fix("read it on its machine: `petctl worker` writes it to stderr"));
    };
    let name = worker.replace('/', "_");
    let path = folder.workers().join(format!("{name}.log"));
    let unreadable = |error: &std::io::Error| {
        let workers = names(&folder.workers());
        let known = if workers.is_empty() {
            "no worker was started yet".to_owned()
        } else {
            format!("its workers are {workers}")
        };
        Error::new(
            Code::NoLog,
            format!("job `{}` has no log of a worker `{worker}`", view.job),
        )
        .because(error)
        .fix(known)
    };
    let mut file = File::open(&path).map_err(|error| unreadable(&error))?;
    let mut offset = 0;
    loop {
        file.seek(SeekFrom::Start(offset))
            .map_err(|error| unreadable(&error))?;
        let mut piece = Vec::new();
        let read = (&mut file)
            .take(PIECE_BYTES)
            .read_to_end(&mut piece)
            .map_err(|error| unreadable(&error))?;
        offset += read as u64;
        context.out.data(&piece);
        if context.out.is_closed() || (read == 0 && (!follow || !folder.is_live())) {
            return Ok(Exit::Success);
        }
        if read == 0 {
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn names(folder: &std::path::Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_suffix(".log")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    names.join(", ")
}
