//! petctl in a namespace of a test.

use super::image::{Petctl, petctl};
use super::job::open_folder;
use super::{Background, MINUTE, Pod, Ran};
use petctl_test_kube::{Bed, Namespace, Security};
use serde_json::{Value, json};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How jobs of a test read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// A folder of the nodes, which wants a namespace where everything is allowed.
    HostPath,
    /// A claim, which also the restricted rules let in.
    Claim,
}

/// A place `kube` in a folder with its `petctl.toml`, of which nobody else knows.
pub(crate) struct Installed {
    pub(crate) bed: &'static Bed,
    pub(crate) namespace: Namespace,
    folder: PathBuf,
    volumes: Vec<String>,
    petctl: Cell<&'static Petctl>,
}

impl Installed {
    /// petctl set up in a new namespace, whose name begins with this.
    #[track_caller]
    pub(crate) fn new(bed: &'static Bed, name: &str) -> Self {
        Self::with(bed, name, "")
    }

    /// The same with more lines of the place.
    #[track_caller]
    pub(crate) fn with(bed: &'static Bed, name: &str, place: &str) -> Self {
        let installed = Self::prepared(bed, name, Storage::HostPath, place);
        installed.ok(&["setup", "--on", "kube", "--yes"]);
        installed
    }

    /// The namespace, the folder and the volumes, without petctl in it.
    pub(crate) fn prepared(bed: &'static Bed, name: &str, storage: Storage, place: &str) -> Self {
        let security = match storage {
            Storage::HostPath => Security::Privileged,
            Storage::Claim => Security::Restricted,
        };
        let namespace = bed.namespace_of(name, security);
        // Not in the bed's own folder, into which only root sees.
        let folder = Path::new("/var/tmp").join(format!("petctl-{}", namespace.name()));
        let mut installed = Self {
            bed,
            namespace,
            folder,
            volumes: Vec::new(),
            petctl: Cell::new(petctl()),
        };
        for open in ["", "data", "data/notes", "data/out", "state"] {
            open_folder(&installed.folder.join(open));
        }
        for own in ["jobs", "home", "config", "said"] {
            fs::create_dir_all(installed.folder.join(own)).expect("a folder of the test");
        }
        installed.volume("state");
        let name = installed.namespace.name().to_owned();
        let data = installed.data().display().to_string();
        let volume = match storage {
            Storage::HostPath => format!("{{ path = \"{data}\", host_path = \"{data}\" }}"),
            Storage::Claim => {
                installed.volume("data");
                installed.claim("data");
                format!("{{ path = \"{data}\", claim = \"data\" }}")
            }
        };
        let volumes = if place.contains("volumes = ") {
            String::new()
        } else {
            format!("volumes = [{volume}]\n")
        };
        installed.write_place(&format!(
            "{volumes}coordinator = {{ storage = \"1GiB\", storage_class = \"{name}-state\" }}\n{}",
            place.replace("@DATA@", &volume)
        ));
        installed
    }

    /// Writes the place anew, with these lines beside those that all have.
    pub(crate) fn write_place(&self, lines: &str) {
        let text = format!(
            "default = \"kube\"\n\n[place.kube]\nbackend = \"kube\"\nnamespace = \"{}\"\n\
             image = \"petctl.local/python:1\"\npetctl_image = \"{}\"\npull_policy = \"Never\"\n\
             resources = {{ cpu = 1, memory = \"200MiB\" }}\nrequests = {{ cpu = 0.01, memory = \"20MiB\" }}\n{lines}",
            self.namespace.name(),
            self.petctl.get().image,
        );
        fs::write(self.folder.join("petctl.toml"), text).expect("a file of the test");
    }

    /// From now on commands are of this petctl, and the place names its image.
    pub(crate) fn use_petctl(&self, petctl: &'static Petctl) {
        let before = self.petctl.replace(petctl);
        self.edit_place(&before.image, &petctl.image);
    }

    /// Puts other text in the place of some that its `petctl.toml` has.
    pub(crate) fn edit_place(&self, from: &str, to: &str) {
        let text = self.place().replace(from, to);
        fs::write(self.folder.join("petctl.toml"), text).expect("a file of the test");
    }

    /// The text of its `petctl.toml`.
    pub(crate) fn place(&self) -> String {
        fs::read_to_string(self.folder.join("petctl.toml")).expect("it was written")
    }

    /// A volume in a folder of the test, for claims of a class that nobody else names.
    fn volume(&mut self, what: &str) {
        let name = format!("{}-{what}", self.namespace.name());
        let made = self.bed.apply(&json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": name,
                "hostPath": {"path": self.folder.join(what)},
            },
        }));
        made.unwrap_or_else(|error| panic!("volume {name}: {error}"));
        self.volumes.push(name);
    }

    fn claim(&self, what: &str) {
        let made = self.namespace.apply(&json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": what},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": format!("{}-{what}", self.namespace.name()),
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }));
        made.unwrap_or_else(|error| panic!("claim {what}: {error}"));
    }

    /// The test's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What commands in pods and the test see at the same path.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// petctl with these arguments, to be run as the test likes.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.petctl.get().program);
        command
            .args(arguments)
            .current_dir(self.folder.join("jobs"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.join("home"))
            .env("XDG_CONFIG_HOME", self.folder.join("config"))
            .env("PETCTL_HOME", self.folder.join("home/petctl"))
            .env("KUBECONFIG", self.bed.kubeconfig());
        command
    }

    /// Starts petctl.
    pub(crate) fn start(&self, arguments: &[&str]) -> Background {
        self.start_command(&mut self.command(arguments))
    }

    /// Starts a command of [`Self::command`].
    pub(crate) fn start_command(&self, command: &mut Command) -> Background {
        Background::start(command, &self.folder.join("said"))
    }

    /// Runs petctl to its end.
    #[track_caller]
    pub(crate) fn petctl(&self, arguments: &[&str]) -> Ran {
        self.start(arguments).ends_within(MINUTE + MINUTE)
    }

    /// Runs petctl, which must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> Ran {
        let ran = self.petctl(arguments);
        assert_eq!(ran.code, Some(0), "{ran}\n{}", self.state());
        ran
    }

    /// Runs petctl with `-o json`, whatever its exit code says.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.petctl(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
    }

    /// petctl of somebody who may reach the coordinator and look at nothing else, run to its end.
    #[track_caller]
    pub(crate) fn as_client(&self, arguments: &[&str]) -> Ran {
        let rules = json!([
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] },
            { "apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"] },
            { "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["petctl-token"], "verbs": ["get"] },
            { "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["petctl-ca"], "verbs": ["get"] },
        ]);
        let config = self.bed.user_kubeconfig(self.namespace.name(), &rules);
        let mut command = self.command(arguments);
        command.env("KUBECONFIG", config);
        self.start_command(&mut command).ends_within(MINUTE)
    }

    /// The rows of a job's report.
    #[track_caller]
    pub(crate) fn rows(&self, job: &str) -> Vec<Value> {
        let report = self.json(&["report", job]);
        let rows = report["rows"].as_array();
        rows.unwrap_or_else(|| panic!("no rows: {report}")).clone()
    }

    /// All shards are done at the first attempt, and nothing of them failed.
    #[track_caller]
    pub(crate) fn all_done_at_once(&self, job: &str, shards: usize) {
        self.all_done(job, shards);
        for row in self.rows(job) {
            assert_eq!(row["attempts"], 1, "{row}");
        }
    }

    /// All shards are done, and no failure is counted of any; being taken away from a pod is none.
    #[track_caller]
    pub(crate) fn all_done(&self, job: &str, shards: usize) {
        let rows = self.rows(job);
        assert_eq!(rows.len(), shards, "{rows:?}");
        for row in rows {
            assert_eq!(row["state"], "done", "{row}");
            for kind in ["failed", "timed_out", "worker_lost", "infrastructure"] {
                assert_eq!(row["failures"][kind], 0, "{kind}: {row}");
            }
        }
    }

    /// The events of a job of this kind.
    #[track_caller]
    pub(crate) fn events(&self, job: &str, kind: &str) -> Vec<Value> {
        let ran = self.ok(&["events", job, "-o", "json"]);
        let all = ran.stdout.lines().map(serde_json::from_str::<Value>);
        all.map(|event| event.expect("a line of JSON"))
            .filter(|event| event["kind"] == kind)
            .collect()
    }

    /// Why a job waits: codes and messages.
    #[track_caller]
    pub(crate) fn waiting(&self, job: &str) -> Vec<(String, String)> {
        let status = self.json(&["status", job]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let reasons = status["waiting"].as_array().into_iter().flatten();
        reasons
            .map(|reason| (text(&reason["code"]), text(&reason["message"])))
            .collect()
    }

    /// Waits until a job waits for this reason; the message.
    #[track_caller]
    pub(crate) fn until_waits(&self, job: &str, code: &str) -> String {
        let mut last = Vec::new();
        let deadline = Instant::now() + MINUTE;
        while Instant::now() < deadline {
            last = self.waiting(job);
            if let Some((_, message)) = last.iter().find(|(known, _)| known == code) {
                return message.clone();
            }
            sleep(Duration::from_millis(300));
        }
        panic!(
            "{job} does not wait with {code}, but: {last:?}\n{}",
            self.state()
        );
    }

    /// The pods of a job's workers, as they are.
    pub(crate) fn pods(&self, job: &str) -> Vec<Pod> {
        self.pods_of(&format!("petctl.io/job={job}"))
    }

    /// The coordinator's pod.
    pub(crate) fn coordinator(&self) -> Option<Pod> {
        let label = "app.kubernetes.io/component=coordinator";
        self.pods_of(label).into_iter().find(|pod| !pod.goes)
    }

    /// All pods with a label, at one moment.
    pub(crate) fn pods_of(&self, label: &str) -> Vec<Pod> {
        let listed = self
            .namespace
            .kubectl(&["get", "pods", "-l", label, "-o", "json"]);
        let listed: Value = listed
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let items = listed["items"].as_array().into_iter().flatten();
        let mut pods: Vec<Pod> = items.map(Pod::of).collect();
        pods.sort_by_key(|pod| (pod.index, pod.name.clone()));
        pods
    }

    /// Waits until so many pods of a job run, and none beside them is there.
    #[track_caller]
    pub(crate) fn until_pods(&self, job: &str, count: usize) -> Vec<Pod> {
        self.wait(&format!("{job} has {count} pods, and they run"), || {
            let pods = self.pods(job);
            (pods.len() == count && pods.iter().all(Pod::runs)).then_some(pods)
        })
    }

    /// The Jobs and ConfigMaps of jobs: none where nothing was made, or nothing is left.
    #[track_caller]
    pub(crate) fn objects_of_jobs(&self) -> String {
        let all = [
            "get",
            "jobs,configmaps",
            "-l",
            "petctl.io/job",
            "-o",
            "name",
        ];
        let listed = self.namespace.kubectl(&all);
        listed.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until nothing is left of a job's pods.
    #[track_caller]
    pub(crate) fn until_no_pods(&self, job: &str) {
        self.until_no_pods_within(job, MINUTE);
    }

    /// The same after the API server was away. Kubernetes' own garbage collector, which takes the pods of a Job that is
    /// gone, pauses for up to a minute between two tries to watch (client-go's reflector: 30 s, up to doubled at random).
    #[track_caller]
    pub(crate) fn until_no_pods_after_outage(&self, job: &str) {
        self.until_no_pods_within(job, MINUTE * 3);
    }

    #[track_caller]
    fn until_no_pods_within(&self, job: &str, limit: Duration) {
        let what = format!("the pods of {job} and their Job are gone");
        self.wait_within(&what, limit, || {
            let all = ["get", "jobs,pods", "-l"];
            let label = format!("petctl.io/job={job}");
            let listed = [&all[..], &[&label, "-o", "name"]].concat();
            (self.namespace.kubectl(&listed).ok()?.trim().is_empty()).then_some(())
        });
    }

    /// Waits until the job has so many members.
    #[track_caller]
    pub(crate) fn until_members(&self, job: &str, count: usize) -> Vec<Value> {
        self.wait(&format!("{job} has {count} workers"), || {
            let status = self.json(&["status", job]);
            let members = status["workers"]["members"].as_array()?.clone();
            (members.len() == count).then_some(members)
        })
    }

    /// Asks until there is an answer.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, ask: impl FnMut() -> Option<T>) -> T {
        self.wait_within(what, MINUTE, ask)
    }

    /// Asks until there is an answer, no longer than this.
    #[track_caller]
    pub(crate) fn wait_within<T>(
        &self,
        what: &str,
        limit: Duration,
        mut ask: impl FnMut() -> Option<T>,
    ) -> T {
        let until = Instant::now() + limit;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(
                Instant::now() < until,
                "not within {} s: {what}\n{}",
                limit.as_secs_f32(),
                self.state()
            );
            sleep(Duration::from_millis(100));
        }
    }

    /// What a person would look at when something goes wrong.
    pub(crate) fn state(&self) -> String {
        let ask = |arguments: &[&str]| {
            let limited = [arguments, &["--request-timeout=5s"]].concat();
            self.namespace
                .kubectl(&limited)
                .unwrap_or_else(|error| error)
        };
        let events = ask(&["get", "events", "--sort-by=.metadata.creationTimestamp"]);
        let events: Vec<&str> = events.lines().collect();
        format!(
            "{}{}\n--- events\n{}\n--- the coordinator's log\n{}\n--- before\n{}",
            self.bed
                .kubectl(&["get", "nodes", "--request-timeout=5s"])
                .unwrap_or_else(|error| error),
            ask(&["get", "statefulsets,jobs,pods,pvc", "-o", "wide"]),
            events
                .get(events.len().saturating_sub(25)..)
                .unwrap_or_default()
                .join("\n"),
            ask(&["logs", "petctl-coordinator-0", "--tail=60"]),
            ask(&["logs", "petctl-coordinator-0", "--previous", "--tail=20"]),
        )
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        // What fails here fails because the cluster is stopped, and then the bed is about to go.
        for volume in &self.volumes {
            drop(self.bed.kubectl(&[
                "delete",
                "persistentvolume",
                volume,
                "--wait=false",
                "--request-timeout=10s",
            ]));
        }
        // Pods write there until they are gone, which nobody waits for for long.
        for _ in 0..10 {
            if fs::remove_dir_all(&self.folder).is_ok() {
                break;
            }
            sleep(Duration::from_millis(200));
        }
    }
}
