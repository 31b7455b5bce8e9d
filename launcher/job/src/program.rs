//! Whether a stage's program is there, as far as that can be told before it is started.

use petctl_spec::JobSpec;
use rustix::fs::{Access, access};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// One sentence for each stage whose program is not there now. An earlier stage may still make it, and workers
/// elsewhere may have it, so this stops nothing.
pub fn warnings(spec: &JobSpec) -> Vec<String> {
    let mut warnings = Vec::new();
    for stage in &spec.stages {
        let Some(program) = stage.command.first() else {
            continue;
        };
        if program.contains('{') {
            continue;
        }
        let path = stage
            .env
            .get("PATH")
            .map(OsString::from)
            .or_else(|| std::env::var_os("PATH"))
            .unwrap_or_default();
        if let Some(why) = missing(program, Path::new(&spec.folder), &path) {
            warnings.push(format!("stage `{}`: {why}", stage.name));
        }
    }
    warnings
}

fn missing(program: &str, folder: &Path, path: &OsString) -> Option<String> {
    if program.contains('/') {
        let file = folder.join(program);
        return match (file.is_file(), is_executable(&file)) {
            (true, true) => None,
            (true, false) => Some(format!(
                "{} is not executable here; chmod +x it",
                file.display()
            )),
            (false, _) => Some(format!("the program {} is not there", file.display())),
        };
    }
    let found = std::env::split_paths(path).any(|part| is_executable(&part.join(program)));
    if found {
        return None;
    }
    let here = folder.join(program);
    Some(if here.is_file() {
        format!(
            "the program `{program}` is not on the PATH; the one in the job's folder is called ./{program}"
        )
    } else {
        format!("the program `{program}` is not on the PATH of this machine")
    })
}

fn is_executable(path: &PathBuf) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_as_workers_do() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tool"), "").unwrap();
        let path = std::env::var_os("PATH").unwrap();
        let said = |program: &str| missing(program, folder.path(), &path).unwrap_or_default();
        assert_eq!(said("sh"), "");
        assert_eq!(said("/bin/sh"), "");
        assert!(said("./tool").contains("is not executable here"));
        assert!(said("tool").contains("is called ./tool"));
        assert!(said("no-such-program").contains("is not on the PATH"));
        assert!(said("./no-such-program").contains("is not there"));
    }
}
