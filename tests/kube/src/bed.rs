//! The bed as tests see it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kubeconfig::{Access, Kubeconfig};
use crate::namespace::{Namespace, Security};
use crate::{Node, control, places, program};

/// A cluster that runs.
pub struct Bed {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    control: PathBuf,
    images: PathBuf,
    authority: PathBuf,
    folder: PathBuf,
    audit: PathBuf,
    server: String,
    nodes: Vec<String>,
    /// The bed goes when this is closed, which the kernel does when this process ends, however it ends. None where the
    /// bed is not this process's own.
    life: Option<ChildStdin>,
    /// The process that all others end with.
    supervisor: u32,
}

impl Bed {
    /// The bed of this process, brought up at the first call. Where the variable `PETCTL_TEST_BED` names the file of a
    /// bed that runs (`kubebed up`), it is that one.
    ///
    /// # Panics
    /// Where none can be brought up.
    pub fn get() -> &'static Self {
        static BED: OnceLock<Bed> = OnceLock::new();
        BED.get_or_init(|| {
            let bed = match std::env::var_os("PETCTL_TEST_BED") {
                Some(file) => Self::of_file(Path::new(&file)),
                None => Self::start(3),
            };
            bed.unwrap_or_else(|error| panic!("there is no test bed: {error}"))
        })
    }

    /// A bed of its own, with this many nodes, which goes when it is dropped.
    ///
    /// # Errors
    /// Why none can be brought up.
    pub fn start(nodes: usize) -> Result<Self, String> {
        let installed = places::installed()?;
        let mut serve = Command::new(program::kubebed()?);
        serve
            .args(["serve", "--nodes", &nodes.to_string()])
            .arg("--install")
            .arg(installed)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut serve = serve.spawn().map_err(|error| format!("kubebed: {error}"))?;
        let life = serve.stdin.take();
        let mut line = String::new();
        if let Some(said) = serve.stdout.take() {
            BufReader::new(said)
                .read_line(&mut line)
                .map_err(|error| format!("kubebed: {error}"))?;
        }
        // Reaps it, where this process lives on.
        thread::spawn(move || serve.wait());
        let ready = serde_json::from_str(&line)
            .map_err(|_| "kubebed ended before the bed was ready, and has said why".to_owned())?;
        Self::of(&ready, life)
    }

    fn of_file(file: &Path) -> Result<Self, String> {
        let failed = |error: String| format!("{}: {error}", file.display());
        let text = fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
        let ready = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let bed = Self::of(&ready, None)?;
        if bed.folder.is_dir() {
            return Ok(bed);
        }
        Err(failed("that bed is gone".to_owned()))
    }

    fn of(ready: &Value, life: Option<ChildStdin>) -> Result<Self, String> {
        let text = |name: &str| {
            let text = ready[name].as_str().map(str::to_owned);
            text.ok_or_else(|| format!("kubebed tells no {name}"))
        };
        let names = ready["nodes"].as_array().into_iter().flatten();
        Ok(Self {
            kubeconfig: text("kubeconfig")?.into(),
            kubectl: text("kubectl")?.into(),
            control: text("control")?.into(),
            images: text("images")?.into(),
            authority: text("authority")?.into(),
            folder: text("folder")?.into(),
            audit: text("audit")?.into(),
            server: text("server")?,
            nodes: names
                .filter_map(|name| Some(name.as_str()?.to_owned()))
                .collect(),
            life,
            supervisor: ready["pid"]
                .as_u64()
                .and_then(|pid| pid.try_into().ok())
                .unwrap_or(0),
        })
    }

    /// Ends it, and waits until nothing is left of it.
    ///
    /// # Panics
    /// Where it is not this process's own, or doesn't go.
    pub fn end(mut self) {
        assert!(self.life.take().is_some(), "the bed is another's");
        let until = Instant::now() + Duration::from_secs(60);
        while self.folder.exists() {
            assert!(
                Instant::now() < until,
                "{} is still there",
                self.folder.display()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The kubeconfig of the cluster's administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server's address on this machine: `https://127.0.0.1:…`.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The bed's folder; it goes with the bed. The logs of its programs are in `logs`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the API server was asked by ServiceAccounts, those of `kube-system` left out: a line of JSON (an event of
    /// `audit.k8s.io/v1`, level Metadata) at the end of each request, and one more at the start of a watch.
    #[must_use]
    pub fn audit_log(&self) -> &Path {
        &self.audit
    }

    /// The process that the bed ends with, however it ends.
    #[must_use]
    pub fn supervisor(&self) -> u32 {
        self.supervisor
    }

    /// The archive of one of the images that every node has: `debian`, `python` or `pause`. Others can be built on it:
    /// `buildah pull docker-archive:…`.
    #[must_use]
    pub fn image_archive(&self, name: &str) -> PathBuf {
        self.images.join(format!("{name}.tar"))
    }

    /// Runs kubectl as the cluster's administrator.
    ///
    /// # Errors
    /// What it says on standard error, if it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.kubectl_reading(arguments, "")
    }

    /// Runs kubectl as the cluster's administrator, with a text to read.
    ///
    /// # Errors
    /// What it says on standard error, if it fails.
    pub fn kubectl_reading(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.kubectl.display());
        let mut child = self
            .kubectl_command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let stdin = child.stdin.take();
        let output = thread::scope(|scope| {
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
            child.wait_with_output().map_err(failed)
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// kubectl as the cluster's administrator, to be run as the test likes.
    #[must_use]
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--cache-dir")
            .arg(self.folder.join("kubectl"));
        command
    }

    /// Makes an object, or changes it.
    ///
    /// # Errors
    /// What the API server says against it.
    pub fn apply(&self, object: &Value) -> Result<String, String> {
        self.kubectl_reading(&["apply", "-f", "-"], &object.to_string())
    }

    /// A new namespace, whose name begins with this, for pods that want nothing special.
    ///
    /// # Panics
    /// Where it can't be made.
    pub fn namespace(&'static self, name: &str) -> Namespace {
        self.namespace_of(name, Security::Restricted)
    }

    /// A new namespace, whose name begins with this.
    ///
    /// # Panics
    /// Where it can't be made.
    pub fn namespace_of(&'static self, name: &str, security: Security) -> Namespace {
        let name = format!("{name}-{}", self.fresh());
        let made = Namespace::make(self, name.clone(), security);
        made.unwrap_or_else(|error| panic!("namespace {name}: {error}"))
    }

    /// The kubeconfig of a new ServiceAccount of this namespace that may do what these rules say (those of a Role, as
    /// Kubernetes writes them), and nothing else. Its context is named after the namespace.
    ///
    /// # Panics
    /// Where it can't be made.
    pub fn user_kubeconfig(&self, namespace: &str, rules: &Value) -> PathBuf {
        let name = format!("user-{}", self.fresh());
        let made = self.make_user(namespace, &name, rules);
        made.unwrap_or_else(|error| panic!("a user of {namespace}: {error}"))
    }

    fn make_user(&self, namespace: &str, name: &str, rules: &Value) -> Result<PathBuf, String> {
        let metadata = json!({"name": name, "namespace": namespace});
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": metadata,
                "rules": rules,
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            },
        ]}))?;
        let token = self.kubectl(&[
            "--namespace",
            namespace,
            "create",
            "token",
            name,
            "--duration=24h",
        ])?;
        let config = Kubeconfig {
            server: self.server.clone(),
            authority: fs::read(&self.authority).map_err(|error| error.to_string())?,
            context: namespace.to_owned(),
            namespace: namespace.to_owned(),
            access: Access::Token(token.trim().to_owned()),
        };
        let path = self.folder.join(format!("{name}.kubeconfig"));
        fs::write(&path, config.text()).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&'static self) -> Vec<Node> {
        let names = self.nodes.iter();
        names.map(|name| Node { bed: self, name }).collect()
    }

    /// Kills the API server: who connects is refused from then on.
    ///
    /// # Panics
    /// Where it is stopped.
    pub fn stop_api(&self) {
        self.tell("stop-api");
    }

    /// Starts the API server again, at the same address, and waits until it answers.
    ///
    /// # Panics
    /// Where it runs, or doesn't come up.
    pub fn start_api(&self) {
        self.tell("start-api");
    }

    /// Freezes the API server: connections stay, new ones are made, and nothing is answered.
    ///
    /// # Panics
    /// Where it is stopped.
    pub fn freeze_api(&self) {
        self.tell("freeze-api");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// Where it is stopped.
    pub fn thaw_api(&self) {
        self.tell("thaw-api");
    }

    /// Has the cluster forget its history: a watch from before gets `410 Gone`. The API server restarts for it, so all
    /// connections break.
    ///
    /// # Panics
    /// Where the API server is stopped, or doesn't come up again.
    pub fn compact(&self) {
        self.tell("compact");
    }

    /// Has the cluster hold a node for lost when it was not heard of for so long, from now on.
    ///
    /// # Errors
    /// Why its controllers can't be started anew.
    pub fn node_grace(&self, seconds: u32) -> Result<(), String> {
        control::tell(&self.control, &format!("node-grace {seconds}")).map(drop)
    }

    /// Loads an image (a docker archive or an OCI archive, not compressed) into all nodes that are on.
    ///
    /// # Panics
    /// Where one of them doesn't take it.
    pub fn load_image(&self, archive: &Path) {
        let archive = std::path::absolute(archive).unwrap_or_else(|_| archive.to_owned());
        self.tell(&format!("load-image {}", archive.display()));
    }

    /// Lets pods reach a port of this machine's loopback; returns the address they are to use.
    ///
    /// # Panics
    /// Where the port is taken inside the bed.
    pub fn expose(&self, port: u16) -> String {
        let answer = self.tell(&format!("expose {port}"));
        answer["address"].as_str().unwrap_or_default().to_owned()
    }

    /// Tells the bed to do something, and returns its answer.
    pub(crate) fn tell(&self, command: &str) -> Value {
        match control::tell(&self.control, command) {
            Ok(answer) => answer,
            Err(error) => panic!("the test bed: {error}"),
        }
    }

    /// Asks until there is an answer.
    ///
    /// # Panics
    /// Where there is none in time: with what was waited for, and the state of the cluster.
    pub fn wait<T>(&self, what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
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
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Nodes, jobs and pods as they are, and what happened last.
    #[must_use]
    pub fn state(&self) -> String {
        let ask = |arguments: &[&str]| {
            let limited = [arguments, &["--request-timeout=5s"]].concat();
            self.kubectl(&limited).unwrap_or_else(|error| error)
        };
        let events = ask(&[
            "get",
            "events",
            "-A",
            "--sort-by=.metadata.creationTimestamp",
        ]);
        let events: Vec<&str> = events.lines().collect();
        let recent = events
            .get(events.len().saturating_sub(25)..)
            .unwrap_or_default();
        format!(
            "{}{}{}",
            ask(&["get", "nodes,jobs,pods", "-A", "-o", "wide"]),
            if recent.is_empty() { "" } else { "\n" },
            recent.join("\n")
        )
    }

    /// A name that is new in this bed, whoever else uses it.
    fn fresh(&self) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        format!("{}-{count}", std::process::id())
    }
}
