//! What torchrun was asked for: the command line and the `PET_*` environment, read into types and checked.

pub(crate) mod command_line;
mod conf;
pub(crate) mod dump;
mod flags;
pub(crate) mod help;
mod streams;

use command_line::{CommandLine, shown};
use conf::RendezvousConf;
use flags::{FLAGS, Flag};
use petctl_spec::{MAX_PROCESSES, MAX_WORKERS};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::Duration;
use streams::Streams;

/// Seconds between the first signal and SIGKILL, where nobody says another number.
const SHUTDOWN_TIMEOUT_S: u64 = 30;
/// No grace is longer: a day.
const MAX_SHUTDOWN_TIMEOUT_S: u64 = 86_400;

/// The flags' values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arguments {
    pub(super) min_nodes: u32,
    pub(super) max_nodes: u32,
    pub(super) processes: ProcessCount,
    pub(super) max_restarts: u32,
    pub(super) standalone: bool,
    pub(super) backend: Backend,
    pub(super) endpoint: String,
    pub(super) id: String,
    pub(super) conf: RendezvousConf,
    pub(super) local_addr: Option<String>,
    pub(super) node_rank: u32,
    pub(super) master_addr: String,
    pub(super) master_port: Option<u16>,
    pub(super) run_as: RunAs,
    pub(super) role: String,
    pub(super) signals: Vec<i32>,
    pub(super) shutdown_timeout: Duration,
    pub(super) virtual_local_rank: bool,
    pub(super) numa_binding: Option<NumaBinding>,
    pub(super) log_dir: Option<String>,
    pub(super) redirects: Streams,
    pub(super) tee: Streams,
    /// Empty: all of them.
    pub(super) console_ranks: BTreeSet<u32>,
    pub(super) stdout_filters: Vec<String>,
    pub(super) stderr_filters: Vec<String>,
    pub(super) script: OsString,
    pub(super) script_arguments: Vec<OsString>,
    /// What is taken and does nothing, one sentence each.
    pub(super) warnings: Vec<String>,
}

/// `--nproc-per-node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessCount {
    Number(u32),
    Cpu,
    Gpu,
    Auto,
}

/// `--rdzv-backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// Ranks are given.
    Static,
    /// Nodes meet at an endpoint.
    C10d,
}

/// How the script is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunAs {
    Script,
    Module,
    Program,
    RunPath,
}

/// `--numa-binding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumaBinding {
    Node,
    Socket,
    Exclusive,
    CoreComplex,
}

impl Arguments {
    /// Reads them. `variable` answers for the environment. The error says what is wrong.
    pub(super) fn read(
        line: CommandLine,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let script = line
            .script
            .ok_or("no script is named, and there is nothing to run without one")?;
        let values = Values {
            given: &line.given,
            variable: &variable,
        };
        let mut warnings = Vec::new();
        values.check_meaningless(&mut warnings)?;
        let (min_nodes, max_nodes) = nodes(&values.or("nnodes", "1:1"))?;
        let read = Self {
            min_nodes,
            max_nodes,
            processes: process_count(&values.or("nproc-per-node", "1"))?,
            max_restarts: values.number("max-restarts")?.unwrap_or(0),
            standalone: values.switch("standalone")?,
            backend: backend(&values.or("rdzv-backend", "static"))?,
            endpoint: values.or("rdzv-endpoint", "").trim().to_owned(),
            id: values.or("rdzv-id", "none"),
            conf: RendezvousConf::read(&values.or("rdzv-conf", ""), &mut warnings)?,
            local_addr: values.text("local-addr"),
            node_rank: values.number("node-rank")?.unwrap_or(0),
            master_addr: values.or("master-addr", "127.0.0.1"),
            master_port: values.number("master-port")?,
            run_as: run_as(&values)?,
            role: values.or("role", "default"),
            signals: super::signals::read(
                &values.or("signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT"),
            )?,
            shutdown_timeout: shutdown_timeout(&values)?,
            virtual_local_rank: values.switch("virtual-local-rank")?,
            numa_binding: values.text("numa-binding").map(numa_binding).transpose()?,
            log_dir: values.text("log-dir"),
            redirects: Streams::read("redirects", &values.or("redirects", "0"))?,
            tee: Streams::read("tee", &values.or("tee", "0"))?,
            console_ranks: ranks(&values.or("local-ranks-filter", ""))?,
            stdout_filters: words(&values.or("duplicate-stdout-filters", "")),
            stderr_filters: words(&values.or("duplicate-stderr-filters", "")),
            script,
            script_arguments: line.script_arguments,
            warnings,
        };
        read.check()
    }

    /// What fits to nothing else.
    fn check(mut self) -> Result<Self, String> {
        if self.standalone && self.min_nodes == 1 {
            self.max_nodes = 1;
        }
        if self.standalone && self.min_nodes > 1 {
            return Err(format!(
                "--standalone is for one node, and --nnodes says {}:{}",
                self.min_nodes, self.max_nodes
            ));
        }
        if self.meets_statically() && self.min_nodes != self.max_nodes {
            return Err(format!(
                "--nnodes {}:{} may change, which needs --rdzv-backend c10d and --rdzv-endpoint HOST:PORT",
                self.min_nodes, self.max_nodes
            ));
        }
        if self.meets_statically() && self.node_rank >= self.max_nodes {
            return Err(format!(
                "--node-rank {} is too large: {} nodes have the ranks 0 to {}",
                self.node_rank,
                self.max_nodes,
                self.max_nodes.saturating_sub(1)
            ));
        }
        if self.backend == Backend::C10d && self.max_nodes > 1 && self.endpoint.is_empty() {
            return Err(
                "--rdzv-backend c10d with several nodes needs --rdzv-endpoint HOST:PORT, the same on all of them"
                    .to_owned(),
            );
        }
        if self.node_rank != 0 && self.backend == Backend::C10d && !self.standalone {
            self.warnings.push(
                "--node-rank only counts with --rdzv-backend static; it is left aside".to_owned(),
            );
        }
        if let Some(wanted) = self.conf.wanted
            && !(self.min_nodes..=self.max_nodes).contains(&wanted)
        {
            return Err(format!(
                "`wanted` of --rdzv-conf is {wanted}, which is not between {} and {} of --nnodes",
                self.min_nodes, self.max_nodes
            ));
        }
        Ok(self)
    }

    /// Ranks are given, and several nodes or an address are named.
    fn meets_statically(&self) -> bool {
        self.backend == Backend::Static && !self.standalone
    }
}

/// Where a value comes from: the command line, else the environment.
struct Values<'a, F> {
    given: &'a std::collections::BTreeMap<&'static str, String>,
    variable: F,
}

impl<F: Fn(&str) -> Option<String>> Values<'_, F> {
    /// `None`: neither has it, or the environment's is empty.
    fn text(&self, name: &str) -> Option<String> {
        if let Some(value) = self.given.get(name) {
            return Some(value.clone());
        }
        let variable = flag(name)?.variable()?;
        (self.variable)(&variable).filter(|value| !value.is_empty())
    }

    fn or(&self, name: &str, default: &str) -> String {
        self.text(name).unwrap_or_else(|| default.to_owned())
    }

    fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>, String> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let number = text.trim().parse().map_err(|_| {
            let what = if text.trim().parse::<i128>().is_ok() {
                "is out of range"
            } else {
                "is no whole number"
            };
            format!("{} of {} {what}", quoted(&text), self.source(name))
        });
        number.map(Some)
    }

    /// On where it is given, or where its variable is a number other than 0.
    fn switch(&self, name: &str) -> Result<bool, String> {
        if self.given.contains_key(name) {
            return Ok(true);
        }
        match self.text(name) {
            None => Ok(false),
            Some(text) => text.trim().parse::<i64>().map(|on| on != 0).map_err(|_| {
                format!(
                    "{} of {} is neither 0 nor 1",
                    quoted(&text),
                    self.source(name)
                )
            }),
        }
    }

    /// How a message names where a value came from.
    fn source(&self, name: &str) -> String {
        let Some(flag) = flag(name) else {
            return format!("--{name}");
        };
        match flag.variable() {
            Some(variable) if !self.given.contains_key(name) => variable,
            _ => shown(flag),
        }
    }

    /// Flags of Python's insides.
    fn check_meaningless(&self, warnings: &mut Vec<String>) -> Result<(), String> {
        if let Some(text) = self.text("monitor-interval") {
            let seconds = text.trim().parse::<f64>();
            if !seconds.is_ok_and(|seconds| seconds.is_finite()) {
                let source = self.source("monitor-interval");
                return Err(format!("{} of {source} is no number", quoted(&text)));
            }
        }
        if let Some(text) = self.text("start-method")
            && !["spawn", "fork", "forkserver"].contains(&text.as_str())
        {
            let source = self.source("start-method");
            return Err(format!(
                "{} of {source} is none of spawn, fork and forkserver",
                quoted(&text)
            ));
        }
        if let Some(text) = self.text("event-log-handler")
            && !["null", "console", "dynamic_rendezvous"].contains(&text.as_str())
        {
            warnings.push(format!(
                "--event-log-handler {} is a plug-in of Python and is left aside; `petctl events` shows events",
                quoted(&text)
            ));
        }
        if let Some(text) = self.text("logs-specs")
            && text != "default"
        {
            return Err(format!(
                "--logs-specs {} is a plug-in of Python, which is not there here; use --log-dir, --redirects and --tee",
                quoted(&text)
            ));
        }
        Ok(())
    }
}

fn flag(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

fn quoted(text: &str) -> String {
    format!("`{}`", petctl_ui::terminal::printable(text))
}

fn nodes(text: &str) -> Result<(u32, u32), String> {
    let bad = |why: &str| Err(format!("--nnodes {} {why}", quoted(text)));
    let (min, max) = text.split_once(':').unwrap_or((text, text));
    let (Ok(min), Ok(max)) = (min.trim().parse::<u32>(), max.trim().parse::<u32>()) else {
        return bad("is neither a number of nodes nor MIN:MAX");
    };
    if min == 0 {
        return bad("is less than one node");
    }
    if min > max {
        return bad("has a minimum above its maximum");
    }
    if max > MAX_WORKERS {
        return bad(&format!(
            "is more than the {MAX_WORKERS} nodes a group can have"
        ));
    }
    Ok((min, max))
}

fn process_count(text: &str) -> Result<ProcessCount, String> {
    match text.trim() {
        "cpu" => Ok(ProcessCount::Cpu),
        "gpu" => Ok(ProcessCount::Gpu),
        "auto" => Ok(ProcessCount::Auto),
        "xpu" => Err(
            "--nproc-per-node xpu: devices of this kind can't be counted here; give their number"
                .to_owned(),
        ),
        number => match number.parse() {
            Ok(number) if (1..=MAX_PROCESSES).contains(&number) => Ok(ProcessCount::Number(number)),
            _ => Err(format!(
                "--nproc-per-node {} is neither a number from 1 to {MAX_PROCESSES} nor gpu, cpu or auto",
                quoted(text)
            )),
        },
    }
}

fn backend(text: &str) -> Result<Backend, String> {
    match text {
        "static" => Ok(Backend::Static),
        "c10d" => Ok(Backend::C10d),
        "etcd" | "etcd-v2" => Err(format!(
            "--rdzv-backend {text} needs an etcd, which has no use here; say --rdzv-backend c10d, with \
             --rdzv-endpoint HOST:PORT of one of the nodes"
        )),
        other => Err(format!(
            "--rdzv-backend {} is neither c10d nor static",
            quoted(other)
        )),
    }
}

fn run_as<F: Fn(&str) -> Option<String>>(values: &Values<'_, F>) -> Result<RunAs, String> {
    let module = values.switch("module")?;
    let program = values.switch("no-python")?;
    if values.switch("run-path")? {
        return Ok(RunAs::RunPath);
    }
    match (module, program) {
        (true, true) => Err("--module and --no-python can't both be".to_owned()),
        (true, false) => Ok(RunAs::Module),
        (false, true) => Ok(RunAs::Program),
        (false, false) => Ok(RunAs::Script),
    }
}

fn shutdown_timeout<F: Fn(&str) -> Option<String>>(
    values: &Values<'_, F>,
) -> Result<Duration, String> {
    let variable = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT";
    let seconds = match values.number("shutdown-timeout")? {
        Some(seconds) => seconds,
        None => match (values.variable)(variable).filter(|text| !text.is_empty()) {
            Some(text) => text
                .trim()
                .parse()
                .map_err(|_| format!("{} of {variable} is no number of seconds", quoted(&text)))?,
            None => SHUTDOWN_TIMEOUT_S,
        },
    };
    if seconds > MAX_SHUTDOWN_TIMEOUT_S {
        return Err(format!(
            "a shutdown timeout of {seconds} s is more than a day"
        ));
    }
    Ok(Duration::from_secs(seconds))
}

fn numa_binding(text: String) -> Result<NumaBinding, String> {
    match text.as_str() {
        "node" => Ok(NumaBinding::Node),
        "socket" => Ok(NumaBinding::Socket),
        "exclusive" => Ok(NumaBinding::Exclusive),
        "core-complex" => Ok(NumaBinding::CoreComplex),
        _ => Err(format!(
            "--numa-binding {} is none of node, socket, exclusive and core-complex",
            quoted(&text)
        )),
    }
}

fn ranks(text: &str) -> Result<BTreeSet<u32>, String> {
    if text.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rank = |part: &str| part.trim().parse().ok();
    text.split(',')
        .map(rank)
        .collect::<Option<_>>()
        .ok_or_else(|| {
            format!(
                "--local-ranks-filter {} is no list of local ranks such as 0,1,2",
                quoted(text)
            )
        })
}

/// Words between commas; two commas are one in a word.
fn words(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut words = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let doubled = character == ',' && characters.next_if_eq(&',').is_some();
        match words.last_mut() {
            Some(word) if character != ',' || doubled => word.push(character),
            _ => words.push(String::new()),
        }
    }
    words
}

#[cfg(test)]
mod tests;
