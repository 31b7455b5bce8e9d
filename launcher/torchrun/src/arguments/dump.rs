//! What was understood of a command line, as JSON, for tests that compare it with torchrun's own parser.

use super::{Arguments, Backend, NumaBinding, ProcessCount, RunAs};
use serde_json::{Value, json};

pub(crate) fn json(arguments: &Arguments) -> Value {
    json!({
        "nnodes": format!("{}:{}", arguments.min_nodes, arguments.max_nodes),
        "nproc_per_node": match arguments.processes {
            ProcessCount::Number(number) => number.to_string(),
            ProcessCount::Cpu => "cpu".to_owned(),
            ProcessCount::Gpu => "gpu".to_owned(),
            ProcessCount::Auto => "auto".to_owned(),
        },
        "rdzv_backend": match arguments.backend {
            Backend::Static => "static",
            Backend::C10d => "c10d",
        },
        "rdzv_endpoint": arguments.endpoint,
        "rdzv_id": arguments.id,
        "standalone": arguments.standalone,
        "max_restarts": arguments.max_restarts,
        "role": arguments.role,
        "run_as": match arguments.run_as {
            RunAs::Script => "script",
            RunAs::Module => "module",
            RunAs::Program => "no_python",
            RunAs::RunPath => "run_path",
        },
        "log_dir": arguments.log_dir,
        "redirects": format!("{:?}", arguments.redirects),
        "tee": format!("{:?}", arguments.tee),
        "local_ranks_filter": arguments.console_ranks,
        "duplicate_stdout_filters": arguments.stdout_filters,
        "duplicate_stderr_filters": arguments.stderr_filters,
        "node_rank": arguments.node_rank,
        "master_addr": arguments.master_addr,
        "master_port": arguments.master_port,
        "local_addr": arguments.local_addr,
        "numa_binding": arguments.numa_binding.map(|binding| match binding {
            NumaBinding::Node => "node",
            NumaBinding::Socket => "socket",
            NumaBinding::Exclusive => "exclusive",
            NumaBinding::CoreComplex => "core-complex",
        }),
        "signals_to_handle": arguments.signals,
        "shutdown_timeout": arguments.shutdown_timeout.as_secs(),
        "virtual_local_rank": arguments.virtual_local_rank,
        "training_script": arguments.script.to_string_lossy(),
        "training_script_args": arguments
            .script_arguments
            .iter()
            .map(|argument| argument.to_string_lossy())
            .collect::<Vec<_>>(),
        "warnings": arguments.warnings,
    })
}
