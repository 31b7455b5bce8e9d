//! torchrun's flags, as a table: parsing, the environment's defaults and the help are read from it.

/// One flag.
#[derive(Debug)]
pub(crate) struct Flag {
    /// With `-`; it is known with `_` too.
    pub(crate) name: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) takes: Takes,
    /// Whether `PET_<NAME>` gives its default.
    pub(crate) from_environment: bool,
    pub(crate) group: Group,
    pub(crate) help: &'static str,
}

/// What stands behind a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    /// One value; its name in the help.
    Value(&'static str),
}

/// Where a flag stands in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Nodes,
    Rendezvous,
    Static,
    Script,
    Processes,
    Logs,
    NoMeaning,
}

impl Group {
    pub(crate) const ALL: [Self; 7] = [
        Self::Nodes,
        Self::Rendezvous,
        Self::Static,
        Self::Script,
        Self::Processes,
        Self::Logs,
        Self::NoMeaning,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Nodes => "Nodes and processes",
            Self::Rendezvous => "How nodes find one another",
            Self::Static => "Nodes with fixed ranks (--rdzv-backend static)",
            Self::Script => "The script",
            Self::Processes => "How its processes are treated",
            Self::Logs => "What they print",
            Self::NoMeaning => "Taken for torchrun's sake, without a meaning here",
        }
    }
}

impl Flag {
    /// `nproc_per_node`: the name in Python, and of the environment variable in small letters.
    pub(crate) fn dest(&self) -> String {
        self.name.replace('-', "_")
    }

    /// `PET_NPROC_PER_NODE`, where it counts.
    pub(crate) fn variable(&self) -> Option<String> {
        self.from_environment
            .then(|| format!("PET_{}", self.dest().to_ascii_uppercase()))
    }
}

const fn value(name: &'static str, value: &'static str, group: Group, help: &'static str) -> Flag {
    Flag {
        name,
        short: None,
        takes: Takes::Value(value),
        from_environment: true,
        group,
        help,
    }
}

const fn switch(name: &'static str, group: Group, help: &'static str) -> Flag {
    Flag {
        name,
        short: None,
        takes: Takes::Nothing,
        from_environment: true,
        group,
        help,
    }
}

impl Flag {
    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    const fn without_environment(mut self) -> Self {
        self.from_environment = false;
        self
    }
}

/// All of them, in the order of the help.
pub(crate) const FLAGS: &[Flag] = &[
    value(
        "nnodes",
        "N|MIN:MAX",
        Group::Nodes,
        "Number of nodes, or the fewest and the most [default: 1]",
    ),
    value(
        "nproc-per-node",
        "N|gpu|cpu|auto",
        Group::Nodes,
        "Processes on this node; auto: one per GPU, or per CPU without any [default: 1]",
    ),
    value(
        "max-restarts",
        "N",
        Group::Nodes,
        "Failures after which all processes are started again, counted for the whole job [default: 0]",
    ),
    switch(
        "standalone",
        Group::Rendezvous,
        "One node on its own; --rdzv-backend, --rdzv-endpoint and --rdzv-id do not count",
    ),
    value(
        "rdzv-backend",
        "c10d|static",
        Group::Rendezvous,
        "c10d: nodes meet at the endpoint; static: ranks are given [default: static]",
    ),
    value(
        "rdzv-endpoint",
        "HOST[:PORT]",
        Group::Rendezvous,
        "Where they meet; the coordinator is started on that host [default port: 29400]",
    ),
    value(
        "rdzv-id",
        "ID",
        Group::Rendezvous,
        "Nodes with the same id belong together [default: none]",
    ),
    value(
        "rdzv-conf",
        "K=V,...",
        Group::Rendezvous,
        "join_timeout, last_call_timeout (s), wanted (nodes), token_file",
    ),
    value(
        "local-addr",
        "ADDRESS",
        Group::Rendezvous,
        "How other nodes reach this one [default: the address that reaches the endpoint]",
    ),
    value(
        "node-rank",
        "N",
        Group::Static,
        "This node's rank; rank 0 starts the coordinator [default: 0]",
    ),
    value(
        "master-addr",
        "ADDRESS",
        Group::Static,
        "Address of the node of rank 0 [default: 127.0.0.1]",
    ),
    value(
        "master-port",
        "PORT",
        Group::Static,
        "The coordinator's port there; scripts get another, free one [default: 29500]",
    ),
    switch(
        "module",
        Group::Script,
        "The script is a Python module, as with `python -m`",
    )
    .short('m'),
    switch(
        "no-python",
        Group::Script,
        "The script is a program of its own: it is run without Python",
    ),
    switch(
        "run-path",
        Group::Script,
        "Run the script, an absolute path, by runpy.run_path",
    ),
    value(
        "role",
        "NAME",
        Group::Script,
        "ROLE_NAME of its processes [default: default]",
    ),
    value(
        "signals-to-handle",
        "SIG,...",
        Group::Processes,
        "Signals that are passed on before this ends [default: SIGTERM,SIGINT,SIGHUP,SIGQUIT]",
    ),
    value(
        "shutdown-timeout",
        "SECONDS",
        Group::Processes,
        "Between that and SIGKILL [default: $TORCH_ELASTIC_SHUTDOWN_TIMEOUT or 30]",
    ),
    switch(
        "virtual-local-rank",
        Group::Processes,
        "Each process sees one GPU, its own, and LOCAL_RANK=0",
    ),
    value(
        "numa-binding",
        "MODE",
        Group::Processes,
        "Bind processes to the CPUs near their GPU: node, socket, exclusive, core-complex",
    )
    .without_environment(),
    value(
        "log-dir",
        "DIR",
        Group::Logs,
        "Folder for logs and error files; /dev/null: none [default: a temporary one]",
    ),
    value(
        "redirects",
        "WHICH",
        Group::Logs,
        "To files: 1 stdout, 2 stderr, 3 both; or by local rank: 0:1,1:2 [default: 0]",
    )
    .short('r'),
    value(
        "tee",
        "WHICH",
        Group::Logs,
        "To files, and to the console with a prefix; as --redirects [default: 0]",
    )
    .short('t'),
    value(
        "local-ranks-filter",
        "RANK,...",
        Group::Logs,
        "Only these local ranks are seen on the console",
    ),
    value(
        "duplicate-stdout-filters",
        "WORD,...",
        Group::Logs,
        "Copy lines of tee'd stdout with one of these words to filtered_stdout.log",
    ),
    value(
        "duplicate-stderr-filters",
        "WORD,...",
        Group::Logs,
        "The same for stderr and filtered_stderr.log",
    ),
    value(
        "monitor-interval",
        "SECONDS",
        Group::NoMeaning,
        "Ends of processes are seen at once",
    ),
    value(
        "start-method",
        "METHOD",
        Group::NoMeaning,
        "spawn, fork or forkserver: only for Python functions",
    ),
    value(
        "event-log-handler",
        "NAME",
        Group::NoMeaning,
        "A plug-in of Python; only `null` and `console` are taken",
    ),
    value(
        "logs-specs",
        "NAME",
        Group::NoMeaning,
        "A plug-in of Python; only `default` is taken",
    )
    .without_environment(),
];
