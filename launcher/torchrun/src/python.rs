//! What each local rank runs: the interpreter, the arguments, the environment, the streams.

use super::arguments::{Arguments, RunAs};
use petctl_worker::{ExternalProcess, ExternalStream};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Runs a file as `runpy` does, with its exceptions recorded where PyTorch is there to do so.
const RUN_PATH: &str = "\
import runpy, sys
sys.argv = sys.argv[1:]
def main():
    runpy.run_path(sys.argv[0], run_name='__main__')
try:
    from torch.distributed.elastic.multiprocessing.errors import record
except ImportError:
    pass
else:
    main = record(main)
main()";

/// Where an interpreter is looked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    /// `PYTHON_EXEC`.
    pub(super) python_exec: Option<OsString>,
    /// How this program was called; counts where it was called `torchrun`.
    pub(super) called: Option<PathBuf>,
    /// `VIRTUAL_ENV`.
    pub(super) virtual_env: Option<PathBuf>,
    pub(super) path: OsString,
}

/// The Python that torchrun would be running on: the one it was installed with.
pub(super) fn interpreter(around: &Surroundings) -> OsString {
    if let Some(program) = around.python_exec.as_ref().filter(|name| !name.is_empty()) {
        return program.clone();
    }
    let beside = around.called.as_deref().and_then(Path::parent);
    let virtual_env = around.virtual_env.as_ref().map(|folder| folder.join("bin"));
    let on_path: Vec<PathBuf> = std::env::split_paths(&around.path).collect();
    let folders = beside.into_iter().chain(virtual_env.as_deref());
    for folder in folders.chain(on_path.iter().map(PathBuf::as_path)) {
        for name in ["python3", "python"] {
            let file = folder.join(name);
            if is_program(&file) {
                return file.into_os_string();
            }
        }
    }
    "python3".into()
}

/// Where a name on the PATH is; the path itself where it is one. `None`: nowhere.
pub(super) fn find_called(called: &OsStr, path: &OsStr) -> Option<PathBuf> {
    if called.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(called));
    }
    std::env::split_paths(path)
        .map(|folder| folder.join(called))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Program and arguments, before a rank's number is put in.
pub(super) fn command(arguments: &Arguments, python: &OsStr) -> (OsString, Vec<OsString>) {
    let script = arguments.script.clone();
    let first: Vec<OsString> = match arguments.run_as {
        RunAs::Program => return (script, arguments.script_arguments.clone()),
        RunAs::Script => vec!["-u".into(), script],
        RunAs::Module => vec!["-u".into(), "-m".into(), script],
        RunAs::RunPath => vec!["-u".into(), "-c".into(), RUN_PATH.into(), script],
    };
    let all = first
        .into_iter()
        .chain(arguments.script_arguments.iter().cloned());
    (python.to_owned(), all.collect())
}

/// One process per local rank.
pub(super) fn processes(
    arguments: &Arguments,
    python: &OsStr,
    count: u32,
    environment: &[(OsString, OsString)],
    bindings: &[Option<String>],
) -> Result<Vec<ExternalProcess>, String> {
    let (program, template) = command(arguments, python);
    // No file: nothing to redirect to.
    let with_files = arguments.log_dir.as_deref() != Some("/dev/null");
    (0..count)
        .map(|local_rank| {
            let arguments_of_rank = template
                .iter()
                .map(|argument| substitute(argument, local_rank));
            let (program, arguments_of_rank) = match bindings.get(local_rank as usize) {
                Some(Some(cpus)) => {
                    let before = ["-c".into(), cpus.into(), program.clone()];
                    let all = before.into_iter().chain(arguments_of_rank);
                    ("taskset".into(), all.collect())
                }
                Some(None) | None => (program.clone(), arguments_of_rank.collect()),
            };
            let redirect = arguments.redirects.of(local_rank);
            let tee = arguments.tee.of(local_rank);
            let shown =
                arguments.console_ranks.is_empty() || arguments.console_ranks.contains(&local_rank);
            Ok(ExternalProcess {
                program,
                arguments: arguments_of_rank,
                environment: environment.to_vec(),
                overrides: overrides(arguments, local_rank, environment)?,
                stdout: stream(redirect.stdout, tee.stdout, shown, with_files),
                stderr: stream(redirect.stderr, tee.stderr, shown, with_files),
            })
        })
        .collect()
}

fn stream(redirect: bool, tee: bool, shown: bool, with_files: bool) -> ExternalStream {
    match (with_files && (redirect || tee), tee && shown) {
        (true, true) => ExternalStream::FileAndConsole,
        (true, false) => ExternalStream::File,
        (false, _) if shown => ExternalStream::Inherit,
        (false, _) => ExternalStream::Discard,
    }
}

/// A virtual local rank sees one GPU, and is the first there.
fn overrides(
    arguments: &Arguments,
    local_rank: u32,
    environment: &[(OsString, OsString)],
) -> Result<Vec<(OsString, OsString)>, String> {
    if !arguments.virtual_local_rank {
        return Ok(Vec::new());
    }
    let visible = environment
        .iter()
        .find(|(name, _)| name == "CUDA_VISIBLE_DEVICES")
        .map(|(_, value)| value.to_string_lossy().into_owned());
    let device = match visible {
        None => local_rank.to_string(),
        Some(list) => {
            let device = list.split(',').nth(local_rank as usize);
            device.map(|device| device.trim().to_owned()).ok_or_else(|| {
                format!(
                    "--virtual-local-rank: local rank {local_rank} has no GPU of its own: CUDA_VISIBLE_DEVICES is {}",
                    petctl_ui::terminal::printable(&list)
                )
            })?
        }
    };
    Ok(vec![
        ("LOCAL_RANK".into(), "0".into()),
        ("CUDA_VISIBLE_DEVICES".into(), device.into()),
    ])
}

/// torchrun fills `${local_rank}` into the script's arguments, and takes `$$` for `$`.
fn substitute(argument: &OsStr, local_rank: u32) -> OsString {
    let bytes = argument.as_bytes();
    if !bytes.contains(&b'$') {
        return argument.to_owned();
    }
    let number = local_rank.to_string();
    let mut text = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        if byte != b'$' {
            text.push(byte);
            rest = after;
        } else if let Some(after) = after.strip_prefix(b"$") {
            text.push(b'$');
            rest = after;
        } else if let Some(after) = after.strip_prefix(b"{local_rank}") {
            text.extend_from_slice(number.as_bytes());
            rest = after;
        } else if let Some(after) = after
            .strip_prefix(b"local_rank")
            .filter(|after| !after.first().is_some_and(is_name))
        {
            text.extend_from_slice(number.as_bytes());
            rest = after;
        } else {
            text.push(byte);
            rest = after;
        }
    }
    OsString::from_vec(text)
}

#[cfg(test)]
mod tests;
