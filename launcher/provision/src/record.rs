//! What was made for a place, written down before it is made: whoever is killed in between finds it again.

use petctl_azure::ResourceId;
use petctl_job::Context;
use petctl_job::home::{make_private, read_bounded, state_error, write_json};
use petctl_ui::error::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Version of the file.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    /// Ids of resources.
    made: BTreeSet<String>,
}

/// The record of a place.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    made: Mutex<BTreeSet<String>>,
}

impl Record {
    pub(crate) fn open(context: &Context, subscription: &str, place: &str) -> Result<Self> {
        let folder = context.home()?.root().join("azure");
        make_private(&folder).map_err(|error| state_error(&folder, "make", &error))?;
        let path = folder.join(format!(
            "{}-{place}.json",
            subscription.to_ascii_lowercase()
        ));
        let bytes = read_bounded(&path).map_err(|error| state_error(&path, "read", &error))?;
        let made = match bytes {
            None => BTreeSet::new(),
            Some(bytes) => {
                let written: Written =
                    serde_json::from_slice(&bytes).map_err(|error| no_sense(&path, &error))?;
                if written.version != VERSION {
                    let what = format!("{} is of another petctl", path.display());
                    return Err(
                        Error::new(Code::StateFolder, what).fix("use the petctl that wrote it")
                    );
                }
                written.made
            }
        };
        Ok(Self {
            path,
            made: Mutex::new(made),
        })
    }

    pub(crate) fn ids(&self) -> BTreeSet<ResourceId> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.iter().filter_map(|id| ResourceId::parse(id)).collect()
    }

    /// Writes an id down.
    pub(crate) fn note(&self, id: &ResourceId) -> Result<()> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.insert(id.as_str().to_owned()) {
            self.write(&made)?;
        }
        Ok(())
    }

    /// Forgets ids of what is gone; without any left, the file goes.
    pub(crate) fn forget(&self, ids: &[ResourceId]) -> Result<()> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|known| {
            let known = ResourceId::parse(known);
            !known.is_some_and(|known| ids.iter().any(|id| known.is_within(id)))
        });
        if !made.is_empty() {
            return self.write(&made);
        }
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(state_error(&self.path, "delete", &error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn write(&self, made: &BTreeSet<String>) -> Result<()> {
        let written = Written {
            version: VERSION,
            made: made.clone(),
        };
        write_json(&self.path, &written).map_err(|error| state_error(&self.path, "write", &error))
    }
}

/// The record is there, and is none that this petctl wrote.
fn no_sense(path: &Path, error: &serde_json::Error) -> Error {
    let what = format!("{} is no record of what was made", path.display());
    Error::new(Code::StateFolder, what)
        .because(error)
        .fix("put it aside: what petctl made is found by its tags all the same")
}
