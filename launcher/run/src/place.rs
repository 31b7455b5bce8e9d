//! A job that runs at a place which does not share this machine's files: what it must be for that, and what it brings.

use crate::local_stages::is_local;
use crate::mounts;
use petctl_client::Client;
use petctl_job::content::archive::{Archive, pack};
use petctl_job::home::{JobFolder, JobPlace, now_ms};
use petctl_job::{Context, PreparedJob};
use petctl_kube::Tunnel;
use petctl_output::layout::Layout;
use petctl_settings::{DEFAULT_USER, KubePlace};
use petctl_spec::StageKind;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::{bytes, count};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where workers in pods unpack code, each in a folder that bears its digest.
const CODE: &str = "/petctl/code";

/// A job made ready for a place.
pub struct Fitted {
    name: String,
    place: KubePlace,
    archive: Archive,
    /// Where its workers have its input's container mounted.
    mounted: Option<String>,
}

/// Where it would run and in what, and what it would bring.
impl std::fmt::Display for Fitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "on {}, namespace {}, in image {}, with its code: {}, {} packed",
            self.name,
            self.place.namespace,
            self.place.image.as_deref().unwrap_or_default(),
            count(self.archive.files as u64, "file", "files"),
            bytes(self.archive.data.len() as u64),
        )
    }
}

/// Looks whether a job can run at a place, and packs its code: from now on its commands run where that is unpacked.
///
/// # Errors
/// Where it names no image, reads or writes a folder that pods can't see, or has too much code.
pub fn fit(tunnel: &Tunnel, job: &mut PreparedJob) -> Result<Fitted> {
    let mut place = tunnel.place().clone();
    if let Some(image) = &job.spec.image {
        place.image = Some(image.clone());
    }
    if place.image.is_none() {
        let what = format!(
            "nothing says in which image the workers of `{}` run",
            job.spec.name
        );
        return Err(Error::new(Code::NoImage, what).fix(format!(
            "name one: `image = \"registry.example/name:tag\"` in [place.{}], or `image` in [job]",
            tunnel.name()
        )));
    }
    mounts::check_output(tunnel.name(), &place, &job.spec)?;
    let mounted = mounts::fill_in(&place, &mut job.spec);
    let folders = folders(job);
    for (path, what, written) in &folders {
        seen_there(tunnel, &place, path, what, *written)?;
    }
    let own = rustix::process::geteuid().as_raw();
    if own != 0 && place.user == DEFAULT_USER && folders.iter().any(|(_, _, written)| *written) {
        // Both write into one folder, and each removes what the other made.
        place.user = own;
    }
    let archive = pack(&job.spec)?;
    job.spec.folder = format!("{CODE}/{}", archive.digest);
    Ok(Fitted {
        name: tunnel.name().to_owned(),
        place,
        archive,
        mounted,
    })
}

/// Local folders that a job's workers read or write: the path, what it is, and whether they write there.
fn folders(job: &PreparedJob) -> Vec<(String, String, bool)> {
    let mut folders = Vec::new();
    let storage = &job.spec.storage;
    if let Some(input) = storage
        .input
        .as_ref()
        .filter(|_| storage.input_root().is_some_and(|root| !root.is_blob()))
    {
        folders.push((input.clone(), "the input".to_owned(), false));
    }
    if !storage.output_root().is_blob() {
        folders.push((storage.output.clone(), "the output".to_owned(), true));
    }
    for stage in &job.spec.stages {
        if let StageKind::Train(train) = &stage.kind
            && let Some(checkpoints) = &train.checkpoints
        {
            let what = format!("the checkpoints of stage `{}`", stage.name);
            folders.push((checkpoints.clone(), what, true));
        }
    }
    folders
}

/// Refuses a folder that is on this machine only.
fn seen_there(
    tunnel: &Tunnel,
    place: &KubePlace,
    path: &str,
    what: &str,
    written: bool,
) -> Result<()> {
    let mut volumes = place.volumes.iter();
    let volume = volumes.find(|volume| Path::new(path).starts_with(&volume.path));
    let name = tunnel.name();
    let fix = format!(
        "keep it in blob storage (az://CONTAINER/…), or mount what holds it: volumes = [{{ path = \"{}\", claim = \
         \"…\" }}] in [place.{name}]",
        Path::new(path)
            .parent()
            .unwrap_or(Path::new(path))
            .display()
    );
    match volume {
        Some(volume) if written && volume.read_only => {
            let what = format!(
                "{what} {path} lies in the volume {} of place `{name}`, which is read only",
                volume.path
            );
            Err(Error::new(Code::PathNotShared, what)
                .fix("let it be written, or choose another folder"))
        }
        Some(_) => Ok(()),
        None => {
            let what = format!(
                "{what} {path} is on this machine, and pods of place `{name}` don't see it"
            );
            Err(Error::new(Code::PathNotShared, what).fix(fix))
        }
    }
}

impl Fitted {
    /// Looks for what the place names in the cluster: pods would wait for it.
    ///
    /// # Errors
    /// What is not there, or is of no use.
    pub async fn check(&self, tunnel: &Tunnel) -> Result<()> {
        petctl_kube::check_named(tunnel, &self.place).await
    }

    /// The output's folder was made here, and is written by the workers' user too.
    fn share_output(&self, job: &PreparedJob) -> Result<()> {
        let root = job.spec.storage.output_root();
        let Some(output) = root.folder().map(Path::new) else {
            return Ok(());
        };
        let user = self.place.user;
        let refused = |path: &Path, cause: Option<&std::io::Error>| {
            let what = format!(
                "the workers run as user {user} and may not write into {}",
                path.display()
            );
            let error = Error::new(Code::OutputUnwritable, what).fix(
                "name the user to whom it belongs, `user = …` in the place, or give it to that user: chown",
            );
            match cause {
                Some(cause) => error.because(cause),
                None => error,
            }
        };
        let layout = Layout::new(output);
        let below = std::fs::read_dir(layout.state()).into_iter().flatten();
        let below = below.flatten().map(|entry| entry.path());
        let mut folders = vec![output.to_owned(), layout.state()];
        folders.extend(below.filter(|path| path.is_dir()));
        if job.spec.stages.iter().any(is_local) {
            // A worker of this machine would make them for itself.
            let shared = [
                layout.all_attempts(),
                layout.all_logs(),
                layout.all_earlier(),
            ];
            let of_stages = job.spec.stages.iter().flat_map(|stage| {
                let logs = layout.all_logs().join(&stage.name);
                [output.join(&stage.name), layout.attempts(&stage.name), logs]
            });
            for folder in shared.into_iter().chain(of_stages) {
                std::fs::create_dir_all(&folder).map_err(|error| refused(&folder, Some(&error)))?;
                folders.push(folder);
            }
        }
        for folder in folders {
            let Ok(known) = std::fs::metadata(&folder) else {
                continue;
            };
            let writes = known.uid() == user || known.mode() & 0o002 != 0;
            if writes {
                continue;
            }
            if !rustix::process::geteuid().is_root() {
                return Err(refused(&folder, None));
            }
            let given = std::os::unix::fs::chown(&folder, Some(user), None);
            given.map_err(|error| refused(&folder, Some(&error)))?;
        }
        Ok(())
    }

    /// Tells the coordinator where the job's workers run, and sends it their code.
    ///
    /// # Errors
    /// Where it can't be told.
    pub(crate) async fn bring(
        self,
        context: &Context,
        client: &mut Client,
        job: &PreparedJob,
    ) -> Result<()> {
        let place = as_json(&self.place)?;
        self.share_output(job)?;
        let Archive {
            digest,
            data,
            files,
        } = self.archive;
        let say = |size| {
            context.out.say(&format!(
                "sends the code: {}, {} packed",
                count(files as u64, "file", "files"),
                bytes(size)
            ));
        };
        if let (Some(path), Some(input)) = (&self.mounted, &job.spec.storage.input) {
            let out = &context.out;
            out.say(&format!(
                "workers read {input} where it is mounted, at {path}"
            ));
        }
        client.send_code(&digest, data, say).await?;
        // Last: the record of a job that nobody submits does not stay for long.
        client.use_place(&job.spec.name, place).await?;
        Ok(())
    }
}

/// The place as another petctl reads it, an older one too.
fn as_json(place: &KubePlace) -> Result<String> {
    let json = place.to_json();
    json.map(|json| json.to_string())
        .map_err(|error| Error::new(Code::Bug, "can't write the place as JSON").because(&error))
}

/// Notes where the job runs, so that later commands find it by its name.
///
/// # Errors
/// Where petctl's folder can't be written.
pub(crate) fn remember(folder: &JobFolder, tunnel: &Tunnel, job: &PreparedJob) -> Result<()> {
    let settings = as_json(tunnel.place())?;
    let mut resume = format!(
        "petctl run {}",
        petctl_ui::shell::quote(&job.file.path.display().to_string())
    );
    for set in &job.file.set {
        resume.push_str(&format!(" --set {}", petctl_ui::shell::quote(set)));
    }
    resume.push_str(&format!(" --on {}", tunnel.name()));
    let mut here = job.spec.clone();
    if let Some(folder) = job.file.path.parent() {
        here.folder = folder.display().to_string();
    }
    folder.write_place(&JobPlace {
        version: JobPlace::VERSION,
        job: job.spec.name.clone(),
        place: tunnel.name().to_owned(),
        settings,
        resume,
        spec: Some(here),
        started_at_ms: now_ms(),
    })
}
