//! The control plane: etcd, the API server, the controller manager and the scheduler, in a network of their own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::forward::Forward;
use crate::pki::Pki;

/// The API server's address in the bed's network.
pub(crate) const API: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 1)),
    6443,
);

/// Which requests the API server writes down: those of ServiceAccounts outside of the cluster's own namespace. A policy
/// can't name one ServiceAccount of every namespace.
const AUDITED: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, userGroups: ['system:serviceaccounts:kube-system']}
- {level: Metadata, userGroups: ['system:serviceaccounts']}
- {level: None}
";

/// A lost node shows in 8 seconds, where 40 and more are usual.
const NODE_GRACE_S: u32 = 8;

/// The control plane's processes. All are children of the thread that makes this, and end with it.
pub(crate) struct Plane {
    bed: PathBuf,
    tools: PathBuf,
    /// Keeps the network, which has no name.
    holder: Child,
    api: Option<Child>,
    manager: Option<Child>,
    others: Vec<Child>,
    /// The API server on the machine's own loopback; none while it is stopped.
    forward: Option<Forward>,
    /// Where that is.
    pub(crate) outside: SocketAddr,
}

impl Plane {
    /// Makes the network and the way into it; starts nothing in it yet.
    pub(crate) fn make(bed: &Path, tools: &Path) -> Result<Self, String> {
        let mut holder = bound(Command::new("unshare"));
        holder.args([
            "--net",
            "sh",
            "-ec",
            "ip link set lo up; echo 1 >/proc/sys/net/ipv4/ip_forward; echo made; exec sleep infinity",
        ]);
        let mut holder = holder
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("setpriv can't be started: {error}"))?;
        let mut line = String::new();
        if let Some(said) = holder.stdout.take() {
            drop(BufReader::new(said).read_line(&mut line));
        }
        if line.trim() != "made" {
            return Err("no network namespace could be made (unshare --net)".to_owned());
        }
        let forward = listen(holder.id())?;
        Ok(Self {
            bed: bed.to_owned(),
            tools: tools.to_owned(),
            holder,
            api: None,
            manager: None,
            others: Vec::new(),
            outside: forward.address,
            forward: Some(forward),
        })
    }

    /// A process in the control plane's network.
    pub(crate) fn holder(&self) -> u32 {
        self.holder.id()
    }

    /// The file that stands for the control plane's network.
    pub(crate) fn network(&self) -> PathBuf {
        network(self.holder.id())
    }

    /// Where the API server writes the requests down.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.bed.join("audit.log")
    }

    /// A program that will run in the control plane's network.
    pub(crate) fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        let mut net = std::ffi::OsString::from("--net=");
        net.push(self.network());
        command.arg(net).arg(program);
        command
    }

    /// Starts etcd.
    pub(crate) fn start_store(&mut self) -> Result<(), String> {
        let data = self.bed.join("etcd");
        let mut arguments = flags(&[
            ("name", "etcd"),
            ("listen-client-urls", "http://127.0.0.1:2379"),
            ("advertise-client-urls", "http://127.0.0.1:2379"),
            ("listen-peer-urls", "http://127.0.0.1:2380"),
            ("initial-advertise-peer-urls", "http://127.0.0.1:2380"),
            ("initial-cluster", "etcd=http://127.0.0.1:2380"),
            ("log-level", "warn"),
        ]);
        // The bed doesn't outlive the machine's memory, so nothing has to reach the disk.
        arguments.push("--unsafe-no-fsync".to_owned());
        arguments.push(format!("--data-dir={}", data.display()));
        let started = self.start("etcd", &arguments)?;
        self.others.push(started);
        Ok(())
    }

    /// Starts the API server, and lets the machine in again.
    pub(crate) fn start_api(&mut self, pki: &Pki) -> Result<(), String> {
        if self.api.is_some() {
            return Err("the API server runs".to_owned());
        }
        if self.forward.is_none() {
            let forward = Forward::inward(self.outside, &self.network(), API)
                .map_err(|error| format!("{}: {error}", self.outside))?;
            self.forward = Some(forward);
        }
        let file = |name: &str| pki.path(name).display().to_string();
        let policy = self.bed.join("audit-policy.yaml");
        fs::write(&policy, AUDITED).map_err(|error| format!("{}: {error}", policy.display()))?;
        let arguments = flags(&[
            ("etcd-servers", "http://127.0.0.1:2379"),
            ("bind-address", "0.0.0.0"),
            ("advertise-address", "10.77.0.1"),
            ("secure-port", "6443"),
            ("cert-dir", &self.bed.join("run").display().to_string()),
            ("tls-cert-file", &file("apiserver.crt")),
            ("tls-private-key-file", &file("apiserver.key")),
            ("client-ca-file", &file("ca.crt")),
            ("anonymous-auth", "false"),
            ("authorization-mode", "Node,RBAC"),
            ("enable-admission-plugins", "NodeRestriction"),
            ("service-account-key-file", &file("accounts.pub")),
            ("service-account-signing-key-file", &file("accounts.key")),
            ("service-account-issuer", "https://kubernetes.default.svc"),
            ("service-cluster-ip-range", "10.96.0.0/16"),
            ("allow-privileged", "true"),
            ("profiling", "false"),
            ("kubelet-certificate-authority", &file("ca.crt")),
            ("kubelet-client-certificate", &file("kubelets.crt")),
            ("kubelet-client-key", &file("kubelets.key")),
            ("kubelet-preferred-address-types", "InternalIP"),
            ("audit-policy-file", &policy.display().to_string()),
            ("audit-log-path", &self.audit_log().display().to_string()),
        ]);
        self.api = Some(self.start("kube-apiserver", &arguments)?);
        Ok(())
    }

    /// Starts the controller manager and the scheduler, which end if no API server answers them soon.
    pub(crate) fn start_controllers(&mut self, pki: &Pki) -> Result<(), String> {
        self.start_manager(pki, NODE_GRACE_S)?;
        let scheduler = self.controller(pki, "scheduler");
        let scheduler = self.start("kube-scheduler", &scheduler)?;
        self.others.push(scheduler);
        Ok(())
    }

    /// Starts the controller manager, or starts it anew: a node that was not heard of for so long is lost.
    pub(crate) fn start_manager(&mut self, pki: &Pki, node_grace_s: u32) -> Result<(), String> {
        if let Some(mut manager) = self.manager.take() {
            drop(manager.kill());
            drop(manager.wait());
        }
        let file = |name: &str| pki.path(name).display().to_string();
        let mut manager = self.controller(pki, "manager");
        manager.extend(flags(&[
            ("use-service-account-credentials", "true"),
            ("service-account-private-key-file", &file("accounts.key")),
            ("root-ca-file", &file("ca.crt")),
            ("cluster-signing-cert-file", &file("ca.crt")),
            ("cluster-signing-key-file", &file("ca.key")),
            ("client-ca-file", &file("ca.crt")),
            ("node-monitor-period", "1s"),
            ("node-monitor-grace-period", &format!("{node_grace_s}s")),
        ]));
        self.manager = Some(self.start("kube-controller-manager", &manager)?);
        Ok(())
    }

    /// What both of them are started with.
    fn controller(&self, pki: &Pki, name: &str) -> Vec<String> {
        let kubeconfig = pki.path(&format!("{name}.kubeconfig"));
        let kubeconfig = kubeconfig.display().to_string();
        flags(&[
            ("kubeconfig", &kubeconfig),
            ("authentication-kubeconfig", &kubeconfig),
            ("authorization-kubeconfig", &kubeconfig),
            ("authentication-skip-lookup", "true"),
            ("bind-address", "127.0.0.1"),
            ("cert-dir", &self.bed.join("run").display().to_string()),
            ("leader-elect", "false"),
            // As they are, they are throttled to what a large cluster bears: namespaces would take seconds.
            ("kube-api-qps", "300"),
            ("kube-api-burst", "600"),
        ])
    }

    /// Kills the API server, as a machine's end would; who connects is refused from then on.
    pub(crate) fn stop_api(&mut self) -> Result<(), String> {
        let mut api = self.api.take().ok_or("the API server is stopped")?;
        self.forward = None;
        drop(api.kill());
        drop(api.wait());
        Ok(())
    }

    /// Stops the API server in its tracks, or lets it go on: connections stay, and nobody answers.
    pub(crate) fn freeze_api(&self, freeze: bool) -> Result<(), String> {
        let api = self.api.as_ref().ok_or("the API server is stopped")?;
        let signal = if freeze { Signal::STOP } else { Signal::CONT };
        let pid = i32::try_from(api.id()).ok().and_then(Pid::from_raw);
        pid.map_or(Err(rustix::io::Errno::SRCH), |pid| {
            kill_process(pid, signal)
        })
        .map_err(|error| error.to_string())
    }

    /// Has etcd forget all that was before now.
    pub(crate) fn compact_store(&self) -> Result<(), String> {
        let etcdctl = |arguments: &[&str]| -> Result<String, String> {
            let mut command = self.inside(self.tools.join("etcdctl"));
            let output = command
                .args(["--endpoints=http://127.0.0.1:2379", "--command-timeout=10s"])
                .args(arguments)
                .output()
                .map_err(|error| error.to_string())?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let status = etcdctl(&["endpoint", "status", "--write-out=json"])?;
        let status: serde_json::Value =
            serde_json::from_str(&status).map_err(|error| error.to_string())?;
        let revision = status
            .pointer("/0/Status/header/revision")
            .and_then(serde_json::Value::as_i64)
            .ok_or("etcdctl tells no revision")?;
        etcdctl(&["compact", &revision.to_string()]).map(drop)
    }

    /// The programs that have ended though nobody stopped them.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let others = self.others.iter_mut().chain(self.api.as_mut());
        let children = others.chain(self.manager.as_mut());
        children
            .filter_map(|child| {
                let status = child.try_wait().ok().flatten()?;
                Some(format!("process {} ended: {status}", child.id()))
            })
            .collect()
    }

    /// Kills all of it.
    pub(crate) fn end(mut self) {
        self.forward = None;
        let mut children: Vec<Child> = self.others;
        children.extend(self.api);
        children.extend(self.manager);
        children.push(self.holder);
        for child in &mut children {
            drop(child.kill());
        }
        for mut child in children {
            drop(child.wait());
        }
    }

    fn start(&self, program: &str, arguments: &[String]) -> Result<Child, String> {
        let mut command = bound(self.inside(self.tools.join(program)));
        command.args(arguments).stdin(Stdio::null());
        log_into(&mut command, &self.bed, program)?;
        command
            .spawn()
            .map_err(|error| format!("{program} can't be started: {error}"))
    }
}

/// The file that stands for the network of this process.
fn network(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

fn flags(flags: &[(&str, &str)]) -> Vec<String> {
    let flags = flags.iter();
    flags
        .map(|(name, value)| format!("--{name}={value}"))
        .collect()
}

/// Listens on a port of the machine's loopback below those that the kernel gives out, so that it is free again for the
/// API server when that has been stopped for a while.
fn listen(holder: u32) -> Result<Forward, String> {
    let start = 20_000 + u16::try_from(holder % 10_000).unwrap_or(0);
    let mut last = io::Error::other("no port is free");
    for port in start..start + 200 {
        match Forward::inward(([127, 0, 0, 1], port).into(), &network(holder), API) {
            Ok(forward) => return Ok(forward),
            Err(error) => last = error,
        }
    }
    Err(format!("no port of 127.0.0.1 could be had: {last}"))
}

/// The same command, but the kernel kills it as soon as the thread that starts it ends.
pub(crate) fn bound(command: Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound
        .args(["--pdeathsig", "KILL"])
        .arg(command.get_program())
        .args(command.get_args());
    bound
}

/// Has what a program says go to the end of its file in the bed's `logs`.
pub(crate) fn log_into(command: &mut Command, bed: &Path, name: &str) -> Result<(), String> {
    let path = bed.join("logs").join(format!("{name}.log"));
    let open = || -> io::Result<(File, File)> {
        let log = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok((log.try_clone()?, log))
    };
    let (out, err) = open().map_err(|error| format!("{}: {error}", path.display()))?;
    command.stdout(out).stderr(err);
    Ok(())
}
