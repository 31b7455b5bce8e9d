//! One bed: how it comes up, and what it does when told.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::forward::Forward;
use crate::instance::Instance;
use crate::machine::{self, Machine};
use crate::pki::Pki;
use crate::plane::Plane;

/// How long a bed may take to come up: a hundred times less on an idle machine.
const START: Duration = Duration::from_secs(300);

/// A bed that runs.
pub(crate) struct Bed {
    instance: Instance,
    installed: PathBuf,
    pki: Pki,
    plane: Plane,
    machines: Vec<Machine>,
    exposed: BTreeMap<u16, Forward>,
    started: Duration,
}

impl Bed {
    /// Brings one up. Every process of it is a child of this thread, and ends with it.
    pub(crate) fn start(installed: &Path, nodes: usize) -> Result<Self, String> {
        let begin = Instant::now();
        let instance = Instance::open()?;
        let folder = instance.folder.clone();
        let tools = installed.join("bin");
        machine::prepare(&folder)?;
        let mut plane = Plane::make(&folder, &tools)?;
        plane.start_store()?;
        let mut machines: Vec<Machine> = (1..=nodes).map(Machine::new).collect();
        let names: Vec<String> = machines.iter().map(|node| node.name.clone()).collect();
        let images = installed.join("containerd");
        let pki = thread::scope(|scope| {
            let furnished: Vec<_> = machines
                .iter()
                .map(|node| scope.spawn(|| node.furnish(&folder, &images)))
                .collect();
            let pki = Pki::make(&folder, &names, &format!("https://{}", plane.outside))?;
            // The slowest of all starts first.
            plane.start_api(&pki)?;
            for thread in furnished {
                thread
                    .join()
                    .unwrap_or_else(|_| Err("a thread ended".to_owned()))?;
            }
            Ok::<_, String>(pki)
        })?;
        for node in &mut machines {
            node.start(&plane, &folder, &tools)?;
        }
        let mut bed = Self {
            instance,
            installed: installed.to_owned(),
            pki,
            plane,
            machines,
            exposed: BTreeMap::new(),
            started: Duration::ZERO,
        };
        match bed.until_ready(begin) {
            Ok(()) => {
                bed.started = begin.elapsed();
                let ready = bed.describe().to_string();
                fs::write(folder.join("ready.json"), ready).map_err(|error| error.to_string())?;
                Ok(bed)
            }
            Err(error) => {
                let logs = bed.last_words();
                bed.end();
                Err(format!("{error}\n{logs}"))
            }
        }
    }

    /// What is printed when it is ready.
    pub(crate) fn describe(&self) -> Value {
        let folder = &self.instance.folder;
        let nodes: Vec<&str> = self
            .machines
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        json!({
            "id": self.instance.name(),
            "folder": folder,
            "pid": std::process::id(),
            "server": format!("https://{}", self.plane.outside),
            "kubeconfig": self.pki.path("admin.kubeconfig"),
            "authority": self.pki.path("ca.crt"),
            "kubectl": self.installed.join("bin/kubectl"),
            "images": self.installed.join("images"),
            "control": self.control(),
            "audit": self.plane.audit_log(),
            "nodes": nodes,
            "seconds": self.started.as_secs_f64(),
        })
    }

    /// The path of the socket that takes commands.
    pub(crate) fn control(&self) -> PathBuf {
        self.instance.folder.join("control")
    }

    /// Does what one line says.
    pub(crate) fn obey(&mut self, line: &str) -> Result<Value, String> {
        let mut words = line.splitn(2, ' ');
        let command = words.next().unwrap_or_default();
        let rest = words.next().unwrap_or_default().trim();
        let folder = self.instance.folder.clone();
        match command {
            "power-off" => {
                // A process that is killed closes its connections, of which a machine without power says nothing.
                self.node(rest)?.cable(&self.plane, false)?;
                self.machine(rest)?.kill(&folder)?;
            }
            "power-on" => {
                let tools = self.installed.join("bin");
                let node = self.machines.iter_mut().find(|node| node.name == rest);
                let node = node.ok_or_else(|| format!("there is no node {rest:?}"))?;
                node.start(&self.plane, &folder, &tools)?;
            }
            "cut" | "plug" => {
                self.node(rest)?.cable(&self.plane, command == "plug")?;
            }
            "stop-api" => self.plane.stop_api()?,
            "start-api" => {
                self.plane.start_api(&self.pki)?;
                self.until_answers(Instant::now() + START)?;
            }
            "freeze-api" | "thaw-api" => self.plane.freeze_api(command == "freeze-api")?,
            "node-grace" => {
                let seconds = rest.parse();
                let seconds = seconds.map_err(|error| format!("{rest:?}: {error}"))?;
                self.plane.start_manager(&self.pki, seconds)?;
            }
            "compact" => {
                // The API server's own memory reaches further back than etcd's, so it has to lose that too.
                self.plane.compact_store()?;
                self.plane.stop_api()?;
                self.plane.start_api(&self.pki)?;
                self.until_answers(Instant::now() + START)?;
            }
            "load-image" => return self.load(Path::new(rest)),
            "expose" => return self.expose(rest),
            "describe" => return Ok(self.describe()),
            _ => return Err(format!("no command {command:?}")),
        }
        Ok(Value::Null)
    }

    /// What has ended though nobody ended it.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let mut ended = self.plane.ended();
        let nodes = self.machines.iter_mut().filter_map(|node| {
            node.ended()
                .then(|| format!("the first process of {} ended", node.name))
        });
        ended.extend(nodes);
        ended
    }

    /// Takes all of it down, and returns when nothing is left.
    pub(crate) fn end(mut self) {
        for node in &mut self.machines {
            drop(node.kill_soon());
        }
        self.exposed.clear();
        self.plane.end();
        self.instance.close();
    }

    fn node(&self, name: &str) -> Result<&Machine, String> {
        let mut machines = self.machines.iter();
        machines
            .find(|node| node.name == name)
            .ok_or_else(|| format!("there is no node {name:?}"))
    }

    fn machine(&mut self, name: &str) -> Result<&mut Machine, String> {
        let mut machines = self.machines.iter_mut();
        machines
            .find(|node| node.name == name)
            .ok_or_else(|| format!("there is no node {name:?}"))
    }

    /// Loads an image into all nodes that are on, at once.
    fn load(&self, image: &Path) -> Result<Value, String> {
        if !image.is_file() {
            return Err(format!("{}: no such file", image.display()));
        }
        thread::scope(|scope| {
            let loads: Vec<_> = self
                .machines
                .iter()
                .filter_map(|node| Some((node.name.clone(), node.loader(image)?)))
                .map(|(name, mut loader)| (name, scope.spawn(move || machine::run(&mut loader))))
                .collect();
            let mut loaded = Vec::new();
            for (name, load) in loads {
                load.join()
                    .unwrap_or_else(|_| Err("a thread ended".to_owned()))?;
                loaded.push(name);
            }
            Ok(json!({"nodes": loaded}))
        })
    }

    /// Gives pods a way to a port of the machine's loopback: the same port of the control plane's address.
    fn expose(&mut self, port: &str) -> Result<Value, String> {
        let number: u16 = port
            .parse()
            .map_err(|error| format!("{port:?} is no port: {error}"))?;
        let inside: SocketAddr = ([10, 77, 0, 1], number).into();
        if !self.exposed.contains_key(&number) {
            let outside = ([127, 0, 0, 1], number).into();
            let forward = Forward::outward(&self.plane.network(), inside, outside)
                .map_err(|error| format!("port {number}: {error}"))?;
            self.exposed.insert(number, forward);
        }
        Ok(json!({"address": inside.to_string()}))
    }

    fn until_ready(&mut self, begin: Instant) -> Result<(), String> {
        let until = begin + START;
        self.until_answers(until)?;
        fs::write(self.instance.folder.join("api-ready"), "").map_err(|error| error.to_string())?;
        self.plane.start_controllers(&self.pki)?;
        loop {
            let seen = self.kubectl(&[
                "get",
                "nodes,serviceaccounts",
                "--namespace=default",
                "--output=json",
            ]);
            let wanted = self.machines.len();
            if seen.as_deref().is_ok_and(|seen| ready(seen, wanted)) {
                return Ok(());
            }
            self.alive(until, "the nodes are not ready")?;
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn until_answers(&mut self, until: Instant) -> Result<(), String> {
        while self.kubectl(&["get", "--raw=/readyz"]).is_err() {
            self.alive(until, "the API server doesn't answer")?;
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn alive(&mut self, until: Instant, what: &str) -> Result<(), String> {
        let ended = self.ended();
        if ended.is_empty() && Instant::now() < until {
            return Ok(());
        }
        Err(format!("{what}; {}", ended.join(", ")))
    }

    fn kubectl(&self, arguments: &[&str]) -> io::Result<String> {
        let output = Command::new(self.installed.join("bin/kubectl"))
            .arg("--kubeconfig")
            .arg(self.pki.path("admin.kubeconfig"))
            .arg("--cache-dir")
            .arg(self.instance.folder.join("kubectl"))
            .arg("--request-timeout=5s")
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The last lines of every log: the folder is gone when somebody could look.
    fn last_words(&self) -> String {
        let logs = fs::read_dir(self.instance.folder.join("logs"));
        let mut text = String::new();
        for log in logs.into_iter().flatten().flatten() {
            let said = fs::read_to_string(log.path()).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            text.push_str(&format!("--- {}\n", log.file_name().display()));
            for line in lines.iter().skip(lines.len().saturating_sub(5)) {
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }
}

/// Whether this many nodes are ready, and the default namespace can take pods.
fn ready(seen: &str, wanted: usize) -> bool {
    let seen: Value = serde_json::from_str(seen).unwrap_or_default();
    let items = seen["items"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let account = items
        .iter()
        .any(|item| item["kind"] == "ServiceAccount" && item["metadata"]["name"] == "default");
    let nodes = items.iter().filter(|item| {
        let conditions = item["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        item["kind"] == "Node"
            && conditions
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    });
    account && nodes.count() == wanted
}
