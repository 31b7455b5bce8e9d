//! The code of a job, where it does not lie on this machine: fetched from the coordinator before the job is begun.
//!
//! A job that brings its code runs its commands in a folder that bears the code's digest. What the coordinator says of
//! such a job waits until that folder is there; what it says of anything else does not.

use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use petctl_proto::v1::attach_response::Message;
use petctl_proto::v1::{AttachResponse, FetchCodeRequest};
use petctl_spec::parse_spec_json;
use petctl_text::hex;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use crate::agent::link::Target;

/// Times that an archive is asked for before the job is said to have no code here.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
/// What the coordinator says meanwhile, at most: it says little to a worker that has nothing to do yet.
const MAX_HELD: usize = 10_000;

/// Brings jobs' code.
#[derive(Debug)]
pub(super) struct Courier {
    /// Where code is unpacked; `None`: jobs' folders are those of this machine.
    folder: Option<PathBuf>,
    target: Target,
    /// In which commands run, instead of the job's own folder.
    instead: Option<PathBuf>,
    /// Answers with the digest of what could not be had.
    fetching: Option<JoinHandle<Option<String>>>,
    held: VecDeque<AttachResponse>,
    /// What could not be had is not asked for again before the next stream.
    failed: Option<String>,
}

impl Courier {
    pub(super) fn new(folder: Option<PathBuf>, instead: Option<PathBuf>, target: Target) -> Self {
        Self {
            folder,
            instead,
            target,
            fetching: None,
            held: VecDeque::new(),
            failed: None,
        }
    }

    /// What of this can be acted on now.
    pub(super) fn receive(&mut self, mut response: AttachResponse) -> Option<AttachResponse> {
        if let Some(folder) = &self.instead {
            run_in(folder, &mut response);
            return Some(response);
        }
        // Nothing depends on the order of these, and the worker lives by them.
        if matches!(response.message, Some(Message::HeartbeatAck(_))) {
            return Some(response);
        }
        if self.fetching.is_some() {
            if self.held.len() < MAX_HELD {
                self.held.push_back(response);
            }
            return None;
        }
        let Some(digest) = self.missing(&response) else {
            return Some(response);
        };
        let (target, folder) = (self.target.clone(), self.folder.clone().unwrap_or_default());
        self.fetching = Some(tokio::spawn(async move {
            for tried in 1..=TRIES {
                match fetch(&target, &folder, &digest).await {
                    Ok(()) => return None,
                    Err(error) => {
                        tracing::warn!(digest, tried, "can't fetch the job's code: {error}");
                    }
                }
                tokio::time::sleep(PAUSE * tried).await;
            }
            Some(digest)
        }));
        self.held.push_back(response);
        None
    }

    /// The stream is gone: what came on it counts no more.
    pub(super) fn forget(&mut self) {
        self.held.clear();
        self.failed = None;
    }

    /// Ends when the code is there, or can't be had; never, where none is fetched.
    pub(super) async fn fetched(&mut self) {
        match &mut self.fetching {
            Some(fetching) => {
                // Where it could not be had the job says so itself: its folder is missing.
                self.failed = fetching.await.unwrap_or_default();
            }
            None => std::future::pending().await,
        }
    }

    /// What waited for it.
    pub(super) fn take_held(&mut self) -> VecDeque<AttachResponse> {
        self.fetching = None;
        std::mem::take(&mut self.held)
    }

    /// The digest of code that a job needs and that is not here.
    fn missing(&self, response: &AttachResponse) -> Option<String> {
        let folder = self.folder.as_ref()?;
        let spec_json = match &response.message {
            Some(Message::Assignment(assignment)) => &assignment.spec_json,
            Some(Message::Preflight(preflight)) => &preflight.spec_json,
            Some(_) | None => return None,
        };
        let spec = parse_spec_json(spec_json).ok()?;
        let code = Path::new(&spec.folder);
        let digest = code.strip_prefix(folder).ok()?.to_str()?;
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        let wanted = is_digest && !code.is_dir() && self.failed.as_deref() != Some(digest);
        wanted.then(|| digest.to_owned())
    }
}

/// The job runs in this folder, wherever it was written.
fn run_in(folder: &Path, response: &mut AttachResponse) {
    let Some(Message::Assignment(assignment)) = &mut response.message else {
        return;
    };
    // One that can't be read is refused where it is used.
    if let Ok(mut spec) = parse_spec_json(&assignment.spec_json) {
        spec.folder = folder.to_string_lossy().into_owned();
        if let Ok(json) = serde_json::to_string(&spec) {
            assignment.spec_json = json;
        }
    }
}

/// Fetches an archive and unpacks it; the folder that bears its digest is whole.
async fn fetch(target: &Target, folder: &Path, digest: &str) -> Result<(), String> {
    let mut client = target.places().await?;
    let request = FetchCodeRequest {
        digest: digest.to_owned(),
    };
    let answer = client.fetch_code(target.request(request)).await;
    let mut parts = answer
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    fs::create_dir_all(folder).map_err(|error| cant("make", folder, &error))?;
    let new = folder.join(format!(".{digest}.{}", std::process::id()));
    let packed = new.with_extension("tar.gz");
    let mut file = fs::File::create(&packed).map_err(|error| cant("make", &packed, &error))?;
    let mut hash = Sha256::new();
    while let Some(part) = parts
        .message()
        .await
        .map_err(|status| status.message().to_owned())?
    {
        hash.update(&part.data);
        file.write_all(&part.data)
            .map_err(|error| cant("write", &packed, &error))?;
    }
    drop(file);
    let found = hex(&hash.finalize());
    let target = folder.join(digest);
    let unpacked = if found == digest {
        let (into, from) = (new.clone(), packed.clone());
        let unpacking = tokio::task::spawn_blocking(move || unpack(&from, &into));
        unpacking
            .await
            .map_err(|_| "unpacking panicked".to_owned())?
            .and_then(|()| fs::rename(&new, &target).map_err(|error| cant("make", &target, &error)))
    } else {
        Err(format!("its bytes have the digest {found}"))
    };
    let _gone = fs::remove_file(&packed);
    if unpacked.is_err() {
        let _gone = fs::remove_dir_all(&new);
    }
    unpacked
}

/// Unpacks an archive into a new folder, in which nobody may write then.
fn unpack(packed: &Path, folder: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| cant("unpack", packed, &error);
    let _leftover = fs::remove_dir_all(folder);
    fs::create_dir(folder).map_err(failed)?;
    let mut archive = tar::Archive::new(GzDecoder::new(fs::File::open(packed).map_err(failed)?));
    archive.set_preserve_permissions(true);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_dir()) {
            let path = entry.path().map_err(failed)?.display().to_string();
            return Err(format!("the archive holds {path}, which is no file"));
        }
        if !entry.unpack_in(folder).map_err(failed)? {
            return Err("the archive leads out of its folder".to_owned());
        }
    }
    seal(folder).map_err(failed)
}

/// Lets nobody write there any more, below first.
fn seal(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            seal(&entry.path())?;
        } else {
            let mode = entry.metadata()?.permissions().mode() & 0o555;
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))?;
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o555))
}

fn cant(verb: &str, path: &Path, error: &std::io::Error) -> String {
    format!("can't {verb} {}: {error}", path.display())
}
