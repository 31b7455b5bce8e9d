use super::*;
use crate::command_line;
use std::collections::BTreeMap;

fn read_with(text: &str, environment: &[(&str, &str)]) -> Result<Arguments, String> {
    let environment: BTreeMap<String, String> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let line = command_line::read(text.split_whitespace().map(OsString::from))?;
    Arguments::read(line, |name| environment.get(name).cloned())
}

fn read(text: &str) -> Result<Arguments, String> {
    read_with(text, &[])
}

#[test]
fn the_defaults_are_torchruns() {
    let read = read("s.py").unwrap();
    assert_eq!((read.min_nodes, read.max_nodes), (1, 1));
    assert_eq!(read.processes, ProcessCount::Number(1));
    assert_eq!(read.backend, Backend::Static);
    assert_eq!(read.id, "none");
    assert_eq!(read.role, "default");
    assert_eq!(read.max_restarts, 0);
    assert_eq!(read.master_addr, "127.0.0.1");
    assert_eq!(read.master_port, None);
    assert_eq!(read.signals, [15, 2, 1, 3]);
    assert_eq!(read.shutdown_timeout, Duration::from_secs(30));
    assert_eq!(read.run_as, RunAs::Script);
    assert!(read.warnings.is_empty());
}

#[test]
fn the_environment_gives_defaults_and_the_command_line_wins() {
    let environment = [
        ("PET_NNODES", "2:4"),
        ("PET_NPROC_PER_NODE", "8"),
        ("PET_RDZV_BACKEND", "c10d"),
        ("PET_RDZV_ENDPOINT", "head:29500"),
        ("PET_MAX_RESTARTS", "3"),
        ("PET_MODULE", "1"),
        ("PET_NO_PYTHON", "0"),
        ("PET_DUPLICATE_STDOUT_FILTERS", "a,,b,c"),
        ("PET_STANDALONE", ""),
    ];
    let read = read_with("--nproc-per-node 2 s", &environment).unwrap();
    assert_eq!((read.min_nodes, read.max_nodes), (2, 4));
    assert_eq!(read.processes, ProcessCount::Number(2));
    assert_eq!(read.endpoint, "head:29500");
    assert_eq!(read.max_restarts, 3);
    assert_eq!(read.run_as, RunAs::Module);
    assert_eq!(read.stdout_filters, ["a,b", "c"]);
    assert!(!read.standalone);
}

#[test]
fn a_wrong_variable_is_named() {
    let error = read_with("s", &[("PET_MAX_RESTARTS", "many")]).unwrap_err();
    assert_eq!(error, "`many` of PET_MAX_RESTARTS is no whole number");
    let error = read_with("s", &[("PET_STANDALONE", "yes")]).unwrap_err();
    assert_eq!(error, "`yes` of PET_STANDALONE is neither 0 nor 1");
    let error = read_with("s", &[("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "x")]).unwrap_err();
    assert!(error.contains("TORCH_ELASTIC_SHUTDOWN_TIMEOUT"));
}

#[test]
fn the_shutdown_timeout_has_a_variable_of_its_own() {
    let environment = [("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "7")];
    let seconds = |text| {
        read_with(text, &environment)
            .unwrap()
            .shutdown_timeout
            .as_secs()
    };
    assert_eq!(seconds("s"), 7);
    assert_eq!(seconds("--shutdown-timeout 9 s"), 9);
}

#[test]
fn two_flags_have_no_variable() {
    let environment = [("PET_LOGS_SPECS", "mine"), ("PET_NUMA_BINDING", "nowhere")];
    assert!(read_with("s", &environment).is_ok());
}

#[test]
fn what_can_not_be_is_refused() {
    for (text, said) in [
        ("", "no script"),
        ("--nnodes 0 s", "less than one"),
        ("--nnodes 3:2 s", "above its maximum"),
        ("--nnodes 1:2:3 s", "neither a number"),
        ("--nnodes 99999 s", "more than"),
        ("--nnodes 1:2 s", "c10d"),
        ("--nnodes 2 --node-rank 2 s", "0 to 1"),
        ("--nnodes 2 --rdzv-backend c10d s", "--rdzv-endpoint"),
        ("--standalone --nnodes 2 s", "one node"),
        ("--nproc-per-node 0 s", "gpu, cpu or auto"),
        ("--nproc-per-node xpu s", "their number"),
        ("--max-restarts -1 s", "out of range"),
        ("--master-port 70000 s", "out of range"),
        ("--rdzv-backend etcd s", "c10d"),
        ("--rdzv-backend zoo s", "neither"),
        ("-m --no-python s", "both"),
        ("--start-method thread s", "forkserver"),
        ("--monitor-interval fast s", "no number"),
        ("--numa-binding all s", "core-complex"),
        ("--logs-specs mine s", "plug-in"),
        ("--local-ranks-filter 0,x s", "0,1,2"),
        ("--shutdown-timeout 100000 s", "a day"),
        ("--redirects 5 s", "--redirects"),
        (
            "--nnodes 1:4 --rdzv-backend c10d --rdzv-endpoint h --rdzv-conf wanted=5 s",
            "wanted",
        ),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn a_node_alone_is_one_node() {
    let read = read("--standalone --nnodes 1:4 s").unwrap();
    assert_eq!((read.min_nodes, read.max_nodes), (1, 1));
}

#[test]
fn what_does_nothing_is_warned_of() {
    let read =
        read("--rdzv-backend c10d --rdzv-endpoint h --node-rank 1 --event-log-handler mine s")
            .unwrap();
    assert_eq!(read.warnings.len(), 2, "{:?}", read.warnings);
}
