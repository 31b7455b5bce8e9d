//! The command lines of the petctl before this one, as its README has them: `petctl --upload_storage --source_path …`.
//! They become today's; a secret that is typed works, and is warned about.

use petctl_provision::job_name;
use petctl_ui::error::{Code, Error, Result};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;

/// Commands that were there, with and without two dashes in front.
const COMMANDS: &[&str] = &[
    "configure",
    "setup",
    "upload_storage",
    "storage_secret",
    "docker_secret",
    "run_job",
    "check_status",
    "get_logs",
    "scale",
    "delete_resources",
];
/// Options whose values are secrets.
const SECRETS: &[&str] = &["--account_key", "--sas_token", "--password"];
/// How a secret is named today.
const SOURCES: &[&str] = &["env:", "file:"];

/// A command line of today.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Its words, the program's name included.
    pub(crate) words: Vec<OsString>,
    /// What has to be said of it.
    pub(crate) warnings: Vec<String>,
    /// Secrets that were typed, kept in memory as files for as long as this lives.
    secrets: Vec<File>,
}

/// Today's command line for one of the old ones; any other comes back as it is.
///
/// # Errors
/// Where an option has no value.
pub(crate) fn translated(words: impl Iterator<Item = OsString>) -> Result<Line> {
    let words: Vec<OsString> = words.collect();
    let text = |at: usize| words.get(at).and_then(|word| word.to_str());
    let command = text(1).map(|word| word.strip_prefix("--").unwrap_or(word));
    let Some(command) = command.filter(|command| COMMANDS.contains(command)) else {
        return Ok(Line {
            words,
            ..Line::default()
        });
    };
    let mut line = Line {
        words: words.iter().take(1).cloned().collect(),
        ..Line::default()
    };
    let mut rest = pairs(words.get(2..).unwrap_or_default());
    match command {
        "upload_storage" => line.upload(&mut rest)?,
        "run_job" => {
            line.words.push("run".into());
            if let Some(name) = taken(&mut rest, "--name")? {
                line.words.push(format!("{}.toml", job_name(&name)).into());
            }
        }
        "check_status" | "get_logs" | "scale" => {
            let now = match command {
                "check_status" => "status",
                "get_logs" => "logs",
                _ => "scale",
            };
            line.words.push(now.into());
            if let Some(name) = taken(&mut rest, "--name")? {
                line.words.push(job_name(&name).into());
            }
        }
        other => line.words.push(other.into()),
    }
    for (name, value) in rest {
        let is_secret = name.to_str().is_some_and(|name| SECRETS.contains(&name));
        line.words.push(name.clone());
        match value {
            Some(value) if is_secret => {
                let value = line.kept(&name.to_string_lossy(), &value)?;
                line.words.push(value);
            }
            Some(value) => line.words.push(value),
            None => {}
        }
    }
    Ok(line)
}

impl Line {
    fn upload(&mut self, rest: &mut Vec<(OsString, Option<OsString>)>) -> Result<()> {
        let source = taken(rest, "--source_path")?;
        let container = taken(rest, "--container_name")?;
        let account = taken(rest, "--account_name")?;
        let sas = taken(rest, "--sas_token")?;
        self.words.push("upload".into());
        self.words.extend(source.map(OsString::from));
        self.words
            .extend(container.map(|container| format!("az://{container}").into()));
        if let Some(account) = account {
            self.words.extend(["--account".into(), account.into()]);
        }
        if let Some(sas) = sas {
            let sas = self.kept("--sas_token", &sas.into())?;
            self.words.extend(["--sas-token".into(), sas]);
        }
        Ok(())
    }

    /// Where a secret is. One that was typed goes into memory, from where it is read like any other.
    fn kept(&mut self, option: &str, value: &OsString) -> Result<OsString> {
        let text = value.to_string_lossy();
        if text == "-" || SOURCES.iter().any(|source| text.starts_with(source)) {
            return Ok(value.clone());
        }
        let failed = |error: std::io::Error| {
            Error::new(Code::Bug, "the system gives no memory for a secret").because(&error)
        };
        let memory = rustix::fs::memfd_create("secret", rustix::fs::MemfdFlags::CLOEXEC)
            .map_err(|error| failed(error.into()))?;
        let mut file = File::from(memory);
        file.write_all(text.as_bytes()).map_err(failed)?;
        let path = format!("file:/proc/self/fd/{}", file.as_raw_fd());
        self.secrets.push(file);
        self.warnings.push(format!(
            "{option}: every user of this machine can read it there; write env:NAME or file:PATH instead"
        ));
        Ok(path.into())
    }
}

/// Options with their values: `--name value`, `--name=value`, or alone.
fn pairs(words: &[OsString]) -> Vec<(OsString, Option<OsString>)> {
    let is_option = |word: &OsString| word.to_string_lossy().starts_with("--");
    let mut pairs: Vec<(OsString, Option<OsString>)> = Vec::new();
    for word in words {
        let text = word.to_string_lossy();
        if is_option(word)
            && let Some((name, value)) = text.split_once('=')
        {
            pairs.push((name.into(), Some(value.into())));
        } else if is_option(word) {
            pairs.push((word.clone(), None));
        } else {
            match pairs.last_mut() {
                Some((name, value @ None)) if is_option(name) => *value = Some(word.clone()),
                Some(_) | None => pairs.push((word.clone(), None)),
            }
        }
    }
    pairs
}

/// Takes an option out, with its value.
fn taken(rest: &mut Vec<(OsString, Option<OsString>)>, name: &str) -> Result<Option<String>> {
    let Some(at) = rest.iter().position(|(known, _)| known == name) else {
        return Ok(None);
    };
    let (_, value) = rest.remove(at);
    let value = value.ok_or_else(|| {
        Error::new(Code::Usage, format!("{name} has no value")).fix(format!("write {name} VALUE"))
    })?;
    Ok(Some(value.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> (String, usize) {
        let words = line.split_whitespace().map(OsString::from);
        let line = translated(words).unwrap();
        let words: Vec<String> = line
            .words
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        (words.join(" "), line.warnings.len())
    }

    #[test]
    fn old_command_lines_become_those_of_today() {
        for (old, now) in [
            (
                "petctl --configure --name test_job --min_size 1 --max_size 5",
                "petctl configure --name test_job --min_size 1 --max_size 5",
            ),
            (
                "petctl setup --dns_prefix azure-pytorch-elastic --rg petctl-rg",
                "petctl setup --dns_prefix azure-pytorch-elastic --rg petctl-rg",
            ),
            (
                "petctl upload_storage --source_path data --account_name acc --container_name raw --sas_token env:SAS",
                "petctl upload data az://raw --account acc --sas-token env:SAS",
            ),
            (
                "petctl --upload_storage --source_path=data --container_name=raw",
                "petctl upload data az://raw",
            ),
            (
                "petctl --run_job --name test_job",
                "petctl run test-job.toml",
            ),
            (
                "petctl check_status --name test_job",
                "petctl status test-job",
            ),
            ("petctl get_logs", "petctl logs"),
            (
                "petctl scale --name test_job --new_node_count 4",
                "petctl scale test-job --new_node_count 4",
            ),
            ("petctl --delete_resources", "petctl delete_resources"),
            (
                "petctl upload data az://raw --delete",
                "petctl upload data az://raw --delete",
            ),
            (
                "petctl scale resim --workers 8 --dry-run",
                "petctl scale resim --workers 8 --dry-run",
            ),
            ("petctl", "petctl"),
            ("petctl --help", "petctl --help"),
        ] {
            assert_eq!(of(old), (now.to_owned(), 0), "{old}");
        }
    }

    #[test]
    fn a_secret_that_is_typed_is_read_from_memory_and_warned_about() {
        let words =
            "petctl upload_storage --source_path d --container_name c --sas_token sv=1&sig=s";
        let line = translated(words.split_whitespace().map(OsString::from)).unwrap();
        let last = line.words.last().unwrap().to_string_lossy().into_owned();
        let path = last.strip_prefix("file:").unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "sv=1&sig=s");
        assert_eq!(line.warnings.len(), 1);
        let shown = format!("{:?}", line.words);
        assert!(!shown.contains("sig="), "{shown}");
        assert_eq!(
            of("petctl docker_secret --server s --username u --password p").1,
            1
        );
        assert_eq!(
            of("petctl storage_secret --account_name a --account_key -").1,
            0
        );
    }

    #[test]
    fn an_option_without_its_value_is_named() {
        let words = "petctl upload_storage --source_path";
        let refused = translated(words.split_whitespace().map(OsString::from)).unwrap_err();
        assert!(refused.sentence().contains("--source_path"));
    }
}
