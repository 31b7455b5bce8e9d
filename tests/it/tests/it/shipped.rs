//! The program as it is shipped.

use petctl_test_it::petctl;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Largest program that is shipped.
const MAX_BYTES: u64 = 55_000_000;

#[track_caller]
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_is_small_says_the_same_version_and_its_line_tables_lie_beside_it() {
    let root = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../..");
    let folder = tempfile::tempdir().unwrap();
    let build = root.join("docker/build");
    let printed = said(
        Command::new(build)
            .arg("--from")
            .arg(petctl())
            .arg(folder.path()),
    );
    let (shipped, debug) = (
        folder.path().join("petctl"),
        folder.path().join("petctl.debug"),
    );
    assert!(printed.contains(shipped.to_str().unwrap()), "{printed}");
    let bytes = fs::metadata(&shipped).unwrap().len();
    assert!(bytes < MAX_BYTES, "{bytes} bytes");
    assert_eq!(
        said(Command::new(&shipped).arg("--version")),
        said(Command::new(petctl()).arg("--version")),
    );

    // What is not in it is found from it, as gdb and backtraces find it.
    let sections = said(Command::new("objdump").arg("-h").arg(&shipped));
    assert!(!sections.contains(".debug_line"), "{sections}");
    let symbols = said(Command::new("nm").arg("-C").arg(&debug));
    let main = symbols.lines().find(|line| line.ends_with(" petctl::main"));
    let address = main.and_then(|line| line.split(' ').next()).unwrap();
    let line = said(
        Command::new("addr2line")
            .arg("-e")
            .arg(&shipped)
            .arg(address),
    );
    assert!(line.contains("launcher/src/"), "{line}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
