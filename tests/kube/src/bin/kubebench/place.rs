//! petctl, installed in a namespace of the bed.

use crate::kube;
use crate::time::{ASK, until, until_long};
use anyhow::{Context, Result, bail};
use petctl_test_kube::{Bed, Namespace, Security};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The image in which all commands run, of petctl and of bare Jobs.
pub(crate) const IMAGE: &str = "petctl.local/debian:1";

/// What each pod asks for, as little as can be asked for: cores are shared by all nodes.
pub(crate) const REQUESTS: (&str, &str) = ("1m", "4Mi");

/// A place `kube` in a folder with its `petctl.toml`, of which nobody else knows.
pub(crate) struct Place {
    pub(crate) bed: &'static Bed,
    pub(crate) namespace: Namespace,
    /// The name of petctl's image.
    pub(crate) image: String,
    petctl: PathBuf,
    folder: PathBuf,
}

impl Place {
    /// petctl set up in a new namespace; its state lies in a folder of this machine, so that it is at hand on each node.
    pub(crate) fn set_up(bed: &'static Bed, petctl: PathBuf, image: &str) -> Result<Self> {
        Self::set_up_with(bed, petctl, image, &[("kube", "")])
    }

    /// Another one, in a namespace of its own, whose `petctl.toml` has these places, each with these lines more. The
    /// first is called `kube`, and all of them are of one coordinator.
    pub(crate) fn another(&self, places: &[(&str, &str)]) -> Result<Self> {
        Self::set_up_with(self.bed, self.petctl.clone(), &self.image, places)
    }

    fn set_up_with(
        bed: &'static Bed,
        petctl: PathBuf,
        image: &str,
        places: &[(&str, &str)],
    ) -> Result<Self> {
        let namespace = bed.namespace_of("bench", Security::Privileged);
        let name = namespace.name().to_owned();
        let folder = Path::new("/var/tmp").join(format!("petctl-{name}"));
        let place = Self {
            bed,
            namespace,
            image: image.to_owned(),
            petctl,
            folder,
        };
        for open in ["", "data", "state"] {
            open_folder(&place.folder.join(open))?;
        }
        for own in ["jobs", "home", "config"] {
            fs::create_dir_all(place.folder.join(own)).context("make a folder")?;
        }
        kube::done(bed.apply(&json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": format!("{name}-state")},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": format!("{name}-state"),
                "hostPath": {"path": place.folder.join("state")},
            },
        })))?;
        let data = place.data().display().to_string();
        let mut text = "default = \"kube\"\n".to_owned();
        for (own, lines) in places {
            text.push_str(&format!(
                "\n[place.{own}]\nbackend = \"kube\"\nnamespace = \"{name}\"\n\
                 image = \"{IMAGE}\"\npetctl_image = \"{image}\"\npull_policy = \"Never\"\n\
                 requests = {{ cpu = 0.001, memory = \"4MiB\" }}\n\
                 volumes = [{{ path = \"{data}\", host_path = \"{data}\" }}]\n\
                 coordinator = {{ storage = \"1GiB\", storage_class = \"{name}-state\" }}\n{lines}"
            ));
        }
        fs::write(place.folder.join("petctl.toml"), text).context("write petctl.toml")?;
        place.ok(&["setup", "--on", "kube", "--yes"])?;
        Ok(place)
    }

    /// The folder in which jobs have theirs.
    pub(crate) fn jobs(&self) -> PathBuf {
        self.folder.join("jobs")
    }

    /// What commands in pods and this process see at the same path.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// petctl with these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(&self.petctl, arguments)
    }

    fn command_of(&self, petctl: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(petctl);
        command
            .args(arguments)
            .current_dir(self.jobs())
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.join("home"))
            .env("XDG_CONFIG_HOME", self.folder.join("config"))
            .env("PETCTL_HOME", self.folder.join("home/petctl"))
            .env("KUBECONFIG", self.bed.kubeconfig());
        command
    }

    /// What petctl prints; it must succeed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Result<String> {
        self.succeeds(self.command(arguments), arguments)
    }

    /// The same of the petctl of another place.
    pub(crate) fn ok_of(&self, other: &Self, arguments: &[&str]) -> Result<String> {
        self.succeeds(self.command_of(&other.petctl, arguments), arguments)
    }

    fn succeeds(&self, mut command: Command, arguments: &[&str]) -> Result<String> {
        let output = command.output().context("start petctl")?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "petctl {}: {}: {said}\n{}",
            arguments.join(" "),
            output.status,
            self.bed.state()
        )
    }

    /// The status of a job; none where petctl can't say it now.
    pub(crate) fn status(&self, job: &str) -> Result<Option<Value>> {
        // A coordinator that is away for the moment makes it fail; for how long it may, the caller knows.
        let output = self
            .command(&["status", job, "-o", "json"])
            .output()
            .context("start petctl")?;
        Ok(serde_json::from_slice(&output.stdout).ok())
    }

    /// Waits until a job has so many members, and all of them work; its status.
    pub(crate) fn until_members(&self, job: &str, count: usize) -> Result<Value> {
        let what = format!("{job} has {count} members");
        let status = until(&what, ASK, || {
            let status = self.status(job)?;
            Ok(status.filter(|status| members(status).len() == count && all_active(status)))
        });
        status.with_context(|| self.bed.state())
    }

    /// Cancels a job, and waits until nothing of its pods is left.
    pub(crate) fn end(&self, job: &str) -> Result<()> {
        self.ok(&["cancel", job])?;
        self.until_no_pods(job)
    }

    /// Takes away what a row has left that broke.
    pub(crate) fn clear(&self) {
        // The rows after it show whether it is gone.
        drop(self.ok(&["delete", "--all", "--on", "kube", "--yes"]));
        drop(
            self.namespace
                .kubectl(&["delete", "jobs", "--all", "--timeout=60s"]),
        );
    }

    /// Waits until nothing of a job's pods is left.
    pub(crate) fn until_no_pods(&self, job: &str) -> Result<()> {
        let label = format!("petctl.io/job={job}");
        until_long("the pods of a job are gone", ASK, || {
            let listed = self
                .namespace
                .kubectl(&["get", "jobs,pods", "-l", &label, "-o", "name"]);
            Ok(listed
                .is_ok_and(|listed| listed.trim().is_empty())
                .then_some(()))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What fails here fails because the cluster is stopped, and then the bed is about to go.
        let volume = format!("{}-state", self.namespace.name());
        let limited = ["--wait=false", "--request-timeout=10s"];
        let delete = [&["delete", "persistentvolume", &volume][..], &limited].concat();
        drop(self.bed.kubectl(&delete));
        // The coordinator goes with its namespace, and writes until then.
        drop(self.namespace.kubectl(&[
            "delete",
            "statefulsets,pods",
            "--all",
            "--now",
            "--timeout=30s",
        ]));
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// The workers that a status tells of.
pub(crate) fn members(status: &Value) -> &[Value] {
    let members = status.pointer("/workers/members").and_then(Value::as_array);
    members.map(Vec::as_slice).unwrap_or_default()
}

/// Whether all of them have their connections.
pub(crate) fn all_active(status: &Value) -> bool {
    members(status)
        .iter()
        .all(|member| member["state"] == "active")
}

/// A folder that everybody may write.
pub(crate) fn open_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))?;
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(path, open).with_context(|| format!("open {}", path.display()))
}
