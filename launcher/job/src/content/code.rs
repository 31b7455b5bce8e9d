//! The code files of a stage: what its command runs, beside the program that is installed.

use petctl_output::layout::OWN_FOLDER;
use petctl_spec::{JobSpec, ShardGlob, StageSpec};
use petctl_text::obstacle::Obstacle;
use petctl_ui::error::{Code, Error, Result};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use walkdir::WalkDir;

/// Files that count as code, at most.
const MAX_FILES: usize = 100_000;
/// Words of a command that are looked at, at most: a command may hold a whole script.
const MAX_WORDS: usize = 10_000;
/// Endings of programs that a shell's script may start.
const PROGRAMS: [&str; 12] = [
    "py", "sh", "bash", "pl", "rb", "js", "jl", "R", "lua", "m", "jar", "wasm",
];
/// Folders whose contents are nobody's code.
const NO_CODE: [&str; 3] = [".git", OWN_FOLDER, "__pycache__"];

/// Code files of each stage, relative to the job's folder: those that `[job] code` names, for all stages alike; else
/// those that the command names.
pub(super) fn files(spec: &JobSpec) -> Result<Vec<BTreeSet<PathBuf>>> {
    if spec.code.is_empty() {
        let setup = spec.setup.as_ref().map(|setup| setup.command.as_slice());
        let setup = named(&spec.folder, setup.unwrap_or_default());
        let of_stage = |stage: &StageSpec| {
            // It goes on from its checkpoints whatever became of its script.
            if stage.kind.training().is_some() {
                return BTreeSet::new();
            }
            let mut files = named(&spec.folder, &stage.command);
            files.extend(setup.iter().cloned());
            files
        };
        return Ok(spec.stages.iter().map(of_stage).collect());
    }
    let files = matching(spec)?;
    Ok(vec![files; spec.stages.len()])
}

/// Files inside the folder that a command names: as an argument, as a module of Python, or as a program in the text of a
/// shell's script. Other names in a script may be those of files that it writes.
fn named(folder: &str, command: &[String]) -> BTreeSet<PathBuf> {
    let is_break = |c: char| c.is_whitespace() || "\"'`;|&<>()=,".contains(c);
    let mut files = BTreeSet::new();
    let mut module = false;
    for argument in command {
        if module {
            files.extend(module_files(folder, argument));
        }
        module = argument == "-m";
        files.extend(inside(folder, argument));
        let mut in_script = false;
        let words = argument.split(is_break).filter(|word| !word.is_empty());
        for word in words.take(MAX_WORDS) {
            if in_script {
                files.extend(module_files(folder, word));
            }
            in_script = word == "-m" && word != argument;
            files.extend(inside(folder, word).filter(|path| is_program(path)));
        }
    }
    files
}

fn module_files(folder: &str, module: &str) -> impl Iterator<Item = PathBuf> {
    let path = module.replace('.', "/");
    let names = [format!("{path}.py"), format!("{path}/__main__.py")];
    names.into_iter().filter_map(|name| inside(folder, &name))
}

fn is_program(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| PROGRAMS.contains(&ending))
}

/// The path relative to the folder, where it is a file in it.
fn inside(folder: &str, word: &str) -> Option<PathBuf> {
    if word.contains(['\0', '\n']) || word.len() > 4_096 {
        return None;
    }
    let whole = petctl_spec::resolve_path(folder, word);
    let relative = Path::new(&whole).strip_prefix(folder).ok()?;
    let is_plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    (is_plain && Path::new(&whole).is_file()).then(|| relative.to_owned())
}

/// All files below the job's folder but its data, hidden ones, and virtual environments.
pub(super) fn all(spec: &JobSpec) -> Result<BTreeSet<PathBuf>> {
    let everything = JobSpec {
        code: vec!["**".to_owned()],
        ..spec.clone()
    };
    let mut files = matching(&everything)?;
    // Settings of editors and shells, secrets, installed programs: nobody means them.
    files.retain(|path| {
        let hidden = |part: Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
        !path.components().any(hidden)
    });
    let environments: Vec<PathBuf> = files
        .iter()
        .filter(|path| path.file_name().is_some_and(|name| name == "pyvenv.cfg"))
        .filter_map(|path| path.parent().map(Path::to_owned))
        .collect();
    files.retain(|path| {
        !environments
            .iter()
            .any(|environment| path.starts_with(environment))
    });
    Ok(files)
}

/// Files below the job's folder that fit one of the globs.
fn matching(spec: &JobSpec) -> Result<BTreeSet<PathBuf>> {
    let folder = Path::new(&spec.folder);
    let globs = spec
        .code
        .iter()
        .map(|pattern| {
            ShardGlob::below(pattern, "the job file's folder")
                .map_err(|error| wrong(pattern, &error.to_string()))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut hit = vec![false; globs.len()];
    let mut files = BTreeSet::new();
    let skip = [Some(&spec.storage.output), spec.storage.input.as_ref()];
    let walker = WalkDir::new(folder).follow_links(false).into_iter();
    let entries = walker.filter_entry(|entry| {
        let data = skip
            .iter()
            .flatten()
            .any(|path| entry.path() == Path::new(path));
        let own = entry.depth() > 0
            && entry.file_type().is_dir()
            && NO_CODE.iter().any(|name| entry.file_name() == *name);
        entry.depth() == 0 || !(data || own)
    });
    for entry in entries {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(folder).display().to_string();
            Error::new(Code::InputUnreadable, format!("can't read {path}"))
                .because(&error)
                .fix(Obstacle::behind(&error).fix_reading("narrow [job] code"))
        })?;
        let Ok(relative) = entry.path().strip_prefix(folder) else {
            continue;
        };
        let Some(text) = relative.to_str().filter(|_| entry.path().is_file()) else {
            continue;
        };
        let mut fits = false;
        for (glob, hit) in globs.iter().zip(&mut hit) {
            if glob.matches(text) {
                (*hit, fits) = (true, true);
            }
        }
        if fits && files.insert(relative.to_owned()) && files.len() > MAX_FILES {
            let what = format!(
                "[job] code names more than {MAX_FILES} files in {}",
                spec.folder
            );
            return Err(Error::new(Code::BadCode, what).fix("name the code only, not its data"));
        }
    }
    let mut missed = spec.code.iter().zip(&hit).filter(|(_, hit)| !**hit);
    if let Some((pattern, _)) = missed.next() {
        let what = format!("[job] code: no file in {} fits `{pattern}`", spec.folder);
        let fix = "patterns are relative to the job file's folder; write it like \"src/**/*.py\", or leave it out";
        return Err(Error::new(Code::BadCode, what).fix(fix));
    }
    Ok(files)
}

fn wrong(pattern: &str, why: &str) -> Error {
    Error::new(
        Code::BadCode,
        format!("[job] code: `{pattern}` is no pattern: {why}"),
    )
    .fix("write it like \"src/**/*.py\"; it is relative to the job file's folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_its_code_as_arguments_in_scripts_and_as_modules() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("sim/tools")).unwrap();
        for file in [
            "replay.py",
            "sim/core.py",
            "sim/tools/__main__.py",
            "run.sh",
            "a b.py",
            "other.py",
            "log",
        ] {
            std::fs::write(root.join(file), "").unwrap();
        }
        let root = root.to_str().unwrap();
        let files = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let files = named(root, &words).into_iter();
            files
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(files(&["python3", "replay.py", "{input}"]), ["replay.py"]);
        assert_eq!(
            files(&["sh", "-c", "set -e; python3 ./replay.py $0>x"]),
            ["replay.py"]
        );
        assert_eq!(files(&["python3", "-m", "sim.core"]), ["sim/core.py"]);
        assert_eq!(
            files(&["python3", "-m", "sim.tools"]),
            ["sim/tools/__main__.py"]
        );
        assert_eq!(
            files(&["./run.sh", "a b.py", "--config=other.py"]),
            ["a b.py", "other.py", "run.sh"]
        );
        assert_eq!(
            files(&[
                "sh",
                "-c",
                "python3 -m sim.core; ./run.sh; [ -e log ] && echo >> log"
            ]),
            ["run.sh", "sim/core.py"]
        );
        assert_eq!(files(&["/bin/sh", "../x", "sim"]), Vec::<String>::new());
    }
}
