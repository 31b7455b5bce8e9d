use super::*;
use crate::command_line;
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn arguments(text: &str) -> Arguments {
    let line = command_line::read(text.split_whitespace().map(OsString::from)).unwrap();
    Arguments::read(line, |_| None).unwrap()
}

fn of(text: &str, count: u32) -> Vec<ExternalProcess> {
    processes(&arguments(text), OsStr::new("py"), count, &[], &[]).unwrap()
}

fn words(process: &ExternalProcess) -> Vec<&str> {
    let all = std::iter::once(&process.program).chain(&process.arguments);
    all.map(|word| word.to_str().unwrap()).collect()
}

#[test]
fn the_command_is_torchruns() {
    let first = |text| of(text, 1).remove(0);
    assert_eq!(words(&first("s.py -a")), ["py", "-u", "s.py", "-a"]);
    assert_eq!(
        words(&first("-m pkg.mod -a")),
        ["py", "-u", "-m", "pkg.mod", "-a"]
    );
    assert_eq!(words(&first("--no-python ./prog -a")), ["./prog", "-a"]);
    let run_path = first("--run-path /s.py -a");
    assert_eq!(words(&run_path)[4..], ["/s.py", "-a"]);
}

#[test]
fn local_ranks_are_filled_into_arguments() {
    let both = of(
        "s.py --out=${local_rank} $local_rank $local_ranks $$x $ ${rank}",
        2,
    );
    let wanted = [
        "py",
        "-u",
        "s.py",
        "--out=1",
        "1",
        "$local_ranks",
        "$x",
        "$",
        "${rank}",
    ];
    assert_eq!(words(&both[1]), wanted);
}

#[test]
fn streams_go_where_redirects_tee_and_filter_say() {
    let streams = |text, rank: usize| {
        let all = of(text, 2);
        (all[rank].stdout, all[rank].stderr)
    };
    use ExternalStream::{Discard, File, FileAndConsole, Inherit};
    assert_eq!(streams("s", 0), (Inherit, Inherit));
    assert_eq!(streams("-r 1 s", 0), (File, Inherit));
    assert_eq!(streams("-t 3 s", 1), (FileAndConsole, FileAndConsole));
    assert_eq!(streams("-r 3 -t 1:2 s", 1), (File, FileAndConsole));
    assert_eq!(streams("-t 3 --local-ranks-filter 0 s", 1), (File, File));
    assert_eq!(streams("--local-ranks-filter 0 s", 1), (Discard, Discard));
    assert_eq!(streams("--local-ranks-filter 0 s", 0), (Inherit, Inherit));
    assert_eq!(streams("-r 3 --log-dir /dev/null s", 0), (Inherit, Inherit));
}

#[test]
fn a_virtual_local_rank_is_the_first_on_a_gpu_of_its_own() {
    let arguments = arguments("--virtual-local-rank s");
    let environment = [("CUDA_VISIBLE_DEVICES".into(), "4, 6".into())];
    let given = |count| processes(&arguments, OsStr::new("py"), count, &environment, &[]);
    let second = given(2).unwrap().remove(1).overrides;
    assert_eq!(second[0], ("LOCAL_RANK".into(), "0".into()));
    assert_eq!(second[1], ("CUDA_VISIBLE_DEVICES".into(), "6".into()));
    assert!(given(3).unwrap_err().contains("local rank 2"));
}

#[test]
fn cpus_are_bound_by_taskset() {
    let bound = processes(
        &arguments("s.py"),
        OsStr::new("py"),
        1,
        &[],
        &[Some("0-3".to_owned())],
    )
    .unwrap();
    assert_eq!(
        words(&bound[0]),
        ["taskset", "-c", "0-3", "py", "-u", "s.py"]
    );
}

#[test]
fn the_interpreter_is_the_one_that_belongs_to_this_torchrun() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        file
    };
    let on_path = make("path/python");
    let of_venv = make("venv/bin/python3");
    let beside = make("bin/python3");
    let mut around = Surroundings {
        path: folder.path().join("path").into(),
        ..Surroundings::default()
    };
    assert_eq!(interpreter(&around), on_path);
    around.virtual_env = Some(folder.path().join("venv"));
    assert_eq!(interpreter(&around), of_venv);
    around.called = Some(folder.path().join("bin/torchrun"));
    assert_eq!(interpreter(&around), beside);
    around.python_exec = Some("pypy".into());
    assert_eq!(interpreter(&around), "pypy");
    assert_eq!(interpreter(&Surroundings::default()), "python3");
}
