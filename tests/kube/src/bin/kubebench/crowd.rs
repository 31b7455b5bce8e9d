//! A worker for each pod that runs on a simulated node: it joins by what that pod was given, from a real node's network,
//! and then takes what it gets and does nothing.

use crate::kube::done;
use crate::options::Options;
use crate::place::Place;
use crate::running::{Running, Started};
use crate::server;
use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use petctl_test_kube::Bed;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Where the coordinator listens.
const PORT: u16 = 7370;

/// The workers; they end with this value.
pub(crate) struct Crowd {
    process: Child,
    pub(crate) running: Running,
    told: Arc<Mutex<Told>>,
}

/// What they tell.
#[derive(Debug, Default)]
struct Told {
    joined: BTreeSet<String>,
    /// Those that could not go on, and why.
    ended: Vec<String>,
}

impl Crowd {
    /// From now on every worker's pod that runs has one.
    pub(crate) fn start(options: &Options, place: &Place) -> Result<Self> {
        let program = options.crowd.as_deref();
        let program = program.context("--crowd PROGRAM is missing; benches/run passes it")?;
        let tokens = place.data().join("tokens");
        fs::create_dir_all(&tokens).context("make a folder of tokens")?;
        let get = |arguments: &[&str]| done(place.namespace.kubectl(arguments));
        let ca = place.data().join("ca.pem");
        let told = get(&[
            "get",
            "configmap",
            "petctl-ca",
            "-o",
            "jsonpath={.data.ca\\.pem}",
        ])?;
        fs::write(&ca, told).context("write a CA")?;
        let service = [
            "get",
            "service",
            "petctl-coordinator",
            "-o",
            "jsonpath={.spec.clusterIP}",
        ];
        let address = format!("https://{}:{PORT}", get(&service)?);
        let mut process = Command::new("nsenter")
            .arg(format!(
                "--net=/proc/{}/ns/net",
                server::of_node(place.bed)?
            ))
            .arg(program)
            .args(["--join-named", &address])
            .args([&tokens, &ca])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start simulated workers")?;
        let mut names = process.stdin.take().context("write to them")?;
        let lines = BufReader::new(process.stdout.take().context("read from them")?);
        let told = Arc::<Mutex<Told>>::default();
        let listening = Arc::clone(&told);
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                match line.split_once(' ') {
                    Some(("joined", name)) => drop(lock(&listening).joined.insert(name.to_owned())),
                    _ => lock(&listening).ended.push(line),
                }
            }
        });
        let (bed, namespace) = (place.bed, place.namespace.name().to_owned());
        let complaining = Arc::clone(&told);
        let label = "app.kubernetes.io/component=worker";
        let running = Running::watch(place, label, move |pod| {
            if let Err(error) = join(bed, &namespace, &tokens, &mut names, pod) {
                lock(&complaining)
                    .ended
                    .push(format!("{}: {error:#}", pod.name));
            }
        })?;
        Ok(Self {
            process,
            running,
            told,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether so many have joined; fails where one could not go on.
    pub(crate) fn have_joined(&mut self, count: usize) -> Result<Option<()>> {
        let ended = self
            .process
            .try_wait()
            .context("look after the simulated workers")?;
        ensure!(
            ended.is_none(),
            "WRONG: the simulated workers have ended: {ended:?}"
        );
        let told = lock(&self.told);
        ensure!(
            told.ended.is_empty(),
            "WRONG: {} simulated workers ended, the first: {:?}",
            told.ended.len(),
            told.ended.first()
        );
        Ok((told.joined.len() >= count).then_some(()))
    }

    /// Their names.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        lock(&self.told).joined.clone()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Has a pod's worker join. Its job's token is fetched once, from where the pod has it.
fn join(
    bed: &Bed,
    namespace: &str,
    tokens: &Path,
    names: &mut ChildStdin,
    pod: &Started,
) -> Result<()> {
    let token = tokens.join(&pod.job);
    if !token.exists() {
        fetch(bed, namespace, pod, &token)?;
    }
    writeln!(names, "{} {} {} {}", pod.job, pod.name, pod.index, pod.node).context("name a worker")
}

fn fetch(bed: &Bed, namespace: &str, pod: &Started, token: &PathBuf) -> Result<()> {
    let get = |arguments: &[&str]| -> Result<Value> {
        let own = ["--namespace", namespace, "get", "-o", "json"];
        let told = done(bed.kubectl(&[&own, arguments].concat()))?;
        serde_json::from_str(&told).context("read what kubectl prints")
    };
    let there = get(&["pod", &pod.name])?;
    let volumes = there.pointer("/spec/volumes").and_then(Value::as_array);
    let mut volumes = volumes.into_iter().flatten();
    let secret = volumes.find_map(|volume| {
        let own = volume["name"] == "token";
        own.then(|| volume.pointer("/secret/secretName")?.as_str())?
    });
    let secret = get(&["secret", secret.context("a worker's pod has a token")?])?;
    let text = secret.pointer("/data/token").and_then(Value::as_str);
    let text = STANDARD.decode(text.context("a Secret has a token")?)?;
    fs::write(token, text).context("write a token")
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
