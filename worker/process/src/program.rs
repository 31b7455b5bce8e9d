//! Finds the file of a program, as a shell would.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::SpawnError;

/// Searched where no PATH is set.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// An absolute path to an executable file. A program with a `/` is relative to `folder`; others are searched in
/// `search_path`.
///
/// # Errors
/// [`SpawnError`]: there is none, or it can't be run.
pub fn resolve(
    program: &str,
    folder: &Path,
    search_path: Option<&OsStr>,
) -> Result<PathBuf, SpawnError> {
    let search_path = search_path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let not_found = || SpawnError::NotFound {
        program: program.to_owned(),
        search_path: search_path.to_string_lossy().into_owned(),
        folder: folder.to_owned(),
    };
    if program.is_empty() {
        return Err(not_found());
    }
    if program.contains('/') {
        let path = folder.join(program);
        return match judge(&path) {
            Found::Executable => Ok(path),
            Found::NotExecutable(why) => Err(SpawnError::NotExecutable { path, why }),
            Found::Nothing => Err(not_found()),
        };
    }
    let mut not_executable = None;
    for entry in std::env::split_paths(search_path) {
        let path = folder.join(entry).join(program);
        match judge(&path) {
            Found::Executable => return Ok(path),
            Found::NotExecutable(why) => {
                not_executable.get_or_insert(SpawnError::NotExecutable { path, why });
            }
            Found::Nothing => {}
        }
    }
    Err(not_executable.unwrap_or_else(not_found))
}

enum Found {
    Executable,
    NotExecutable(String),
    Nothing,
}

fn judge(path: &Path) -> Found {
    let Ok(metadata) = std::fs::metadata(path) else {
        return Found::Nothing;
    };
    if metadata.is_dir() {
        return Found::NotExecutable("it is a folder".to_owned());
    }
    if access(path, Access::EXEC_OK).is_err() {
        return Found::NotExecutable(format!(
            "it has no permission to run; try: chmod +x {}",
            path.display()
        ));
    }
    Found::Executable
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_codes::Code;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn script(path: &Path, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        script(&root.join("one/tool"), 0o644);
        script(&root.join("two/tool"), 0o755);
        script(&root.join("run.sh"), 0o755);
        let path = std::env::join_paths([root.join("one"), root.join("two")]).unwrap();

        assert_eq!(
            resolve("tool", root, Some(&path)).unwrap(),
            root.join("two/tool")
        );
        assert_eq!(
            resolve("./run.sh", root, None).unwrap(),
            root.join("./run.sh")
        );
        assert_eq!(
            resolve("/bin/sh", root, None).unwrap(),
            Path::new("/bin/sh")
        );
        assert!(resolve("sh", root, None).is_ok());

        let code = |program, path: Option<&OsStr>| resolve(program, root, path).unwrap_err().code();
        assert_eq!(code("one/tool", None), Code::CommandNotExecutable);
        assert_eq!(code("./one", None), Code::CommandNotExecutable);
        assert_eq!(
            code("tool", Some(root.join("one").as_os_str())),
            Code::CommandNotExecutable
        );
        assert_eq!(code("run.sh", Some(&path)), Code::CommandNotFound);
        assert_eq!(code("./none", None), Code::CommandNotFound);
        assert_eq!(code("", None), Code::CommandNotFound);
    }
}
