//! The command that runs one shard again by hand: in the job's folder, with a new folder for its outputs.

use petctl_attempt::{AttemptPaths, Request, ShardContext, paths};
use petctl_proto::v1::{Lease, ShardRow};
use petctl_spec::{
    JobSpec, Placeholder, Placeholders, SecretRef, ShardSource, StageSpec, StorageAccess,
    StorageRoot, Template,
};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::shell::quote;
use serde::Serialize;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

/// Stands on both sides of a shell's variable until words are quoted; nobody's path has it.
const MARK: char = '\u{e000}';
/// What a training process that is alone finds in its environment.
const ALONE: [(&str, &str); 8] = [
    ("RANK", "0"),
    ("LOCAL_RANK", "0"),
    ("WORLD_SIZE", "1"),
    ("LOCAL_WORLD_SIZE", "1"),
    ("GROUP_RANK", "0"),
    ("GROUP_WORLD_SIZE", "1"),
    ("MASTER_ADDR", "127.0.0.1"),
    ("MASTER_PORT", "29500"),
];

/// The command of one shard for a shell of this machine.
pub fn command(spec: &JobSpec, row: &ShardRow) -> Result<String> {
    let stage = usize::try_from(row.stage)
        .ok()
        .and_then(|stage| spec.stages.get(stage))
        .ok_or_else(|| {
            Error::new(
                Code::NoSuchShard,
                format!("the job has no stage {}", row.stage),
            )
        })?;
    let found = Found::of(spec, stage, row)?;
    let context = ShardContext {
        job: spec,
        stage,
        key: &row.key,
        index: row.shard,
        attempt: 1,
        paths: &found.paths,
    };
    let mut steps = vec![
        format!("cd {}", quote(&spec.folder)),
        "out=$(mktemp -d)".to_owned(),
    ];
    steps.extend(found.steps);
    let run = if stage.kind.training().is_some() {
        process(&context)?
    } else if stage.dispatch.serve.is_some() {
        serve(&context)?
    } else {
        let is_named = found.named.contains(&Placeholder::Shard);
        attempt(&context, is_named)?
    };
    steps.push(run);
    Ok(steps.join(" && "))
}

/// One attempt, as a worker starts it.
fn attempt(context: &ShardContext<'_>, is_named: bool) -> Result<String> {
    let output = variable("out");
    let file = context.has_file(is_named).then(|| variable("shard"));
    let own = context.own_params();
    let values = context.values(&output, file.as_deref(), &own);
    let variables = context.environment(output.as_ref(), file.as_ref().map(OsStr::new));
    let run = invocation(context.stage, variables, &values)?;
    if file.is_none() {
        return Ok(run);
    }
    let description = json(&context.describe(output.into(), &own))?;
    let description = shell_word(&description);
    Ok(format!(
        "shard=$(mktemp) && printf '%s\\n' {description} > \"$shard\" && {run}"
    ))
}

/// A warm process, which reads this one shard from stdin.
fn serve(context: &ShardContext<'_>) -> Result<String> {
    let own = context.own_params();
    let request = json(&Request {
        id: 1,
        shard: context.describe(variable("out").into(), &own),
    })?;
    let variables = context.environment_of_stage();
    let run = invocation(context.stage, variables, &context.values_of_stage())?;
    Ok(format!("printf '%s\\n' {} | {run}", shell_word(&request)))
}

/// One process of a training, alone in its group.
fn process(context: &ShardContext<'_>) -> Result<String> {
    // A process by hand must not write among the checkpoints of the job.
    let output = variable("out");
    let values = Placeholders {
        output: &output,
        key: context.key,
        attempt: context.attempt,
        checkpoints: Some(&output),
        ..context.values_of_stage()
    };
    let mut variables: Vec<(&str, OsString)> = vec![
        ("PETCTL_JOB", (&context.job.name).into()),
        ("PETCTL_STAGE", (&context.stage.name).into()),
        ("PETCTL_CHECKPOINT_DIR", (&output).into()),
    ];
    variables.extend(ALONE.map(|(name, value)| (name, value.into())));
    invocation(context.stage, variables, &values)
}

/// The stage's command with the stage's environment, and these variables on top.
fn invocation(
    stage: &StageSpec,
    variables: Vec<(&str, OsString)>,
    values: &Placeholders<'_>,
) -> Result<String> {
    let command = petctl_spec::render(&stage.command, values)
        .map_err(|error| Error::new(Code::Bug, "can't fill in the command").because(&error))?;
    let of_stage = stage
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let own = variables
        .iter()
        .map(|(name, value)| format!("{name}={}", value.to_string_lossy()));
    let words: Vec<String> = of_stage
        .chain(own)
        .chain(command)
        .map(|word| shell_word(&word))
        .collect();
    Ok(format!("env {}", words.join(" ")))
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::new(Code::Bug, "can't write the shard's file").because(&error))
}

/// What the command needs of its shard, as it is found on this machine.
struct Found {
    paths: AttemptPaths,
    /// What the command's words name.
    named: Vec<Placeholder>,
    /// What fetches it.
    steps: Vec<String>,
}

impl Found {
    fn of(spec: &JobSpec, stage: &StageSpec, row: &ShardRow) -> Result<Self> {
        let lease = Lease {
            stage: row.stage,
            shard: row.shard,
            key: row.key.clone(),
            attempt: 1,
            detail_json: row.detail_json.clone(),
            ..Lease::default()
        };
        let detail =
            paths::detail(&lease).map_err(|result| Error::new(Code::Bug, result.message))?;
        let reads_files = stage.kind.reads_files();
        let inputs = paths::input_names(&detail, &lease, reads_files);
        let named = match Template::parse(&stage.command) {
            Ok(template) => template.placeholders().into_iter().cloned().collect(),
            Err(_) => Vec::new(),
        };
        let mut found = Self {
            paths: AttemptPaths {
                detail,
                output_root: spec.storage.output.clone(),
                ..AttemptPaths::default()
            },
            named,
            steps: Vec::new(),
        };
        let access = access_flags(&spec.storage.access);
        match spec.storage.input_root() {
            None => {}
            Some(StorageRoot::Folder(folder)) => found.paths.input_root = Some(folder),
            Some(root) => {
                found.paths.input_root = Some(variable("in"));
                let wants_all = found.named.contains(&Placeholder::InputRoot);
                if wants_all || !inputs.is_empty() {
                    found.steps.push("in=$(mktemp -d)".to_owned());
                }
                if wants_all {
                    let from = quote(&root.to_string());
                    found
                        .steps
                        .push(format!("petctl download {from} \"$in\"{access}"));
                } else {
                    // Inputs of a manifest may be folders, and so may those of a glob with a slash at its end.
                    let only_files = match stage.kind.source() {
                        Some(ShardSource::Glob(pattern)) => !pattern.ends_with('/'),
                        Some(_) | None => false,
                    };
                    let steps = fetches(&root, &inputs, only_files, &access);
                    found.steps.extend(steps);
                }
            }
        }
        found.paths.inputs = paths::below(found.paths.input_root.as_deref(), &inputs);
        if spec.storage.output_root().is_blob() && found.named.contains(&Placeholder::OutputRoot) {
            found.paths.output_root = variable("root");
            found.steps.push(format!(
                "root=$(mktemp -d) && petctl download {} \"$root\"",
                quote(&spec.name)
            ));
        }
        Ok(found)
    }
}

/// One command for each input, and one for each folder that they lie in.
fn fetches(root: &StorageRoot, inputs: &[String], only_files: bool, access: &str) -> Vec<String> {
    let folders: BTreeSet<&str> = inputs
        .iter()
        .filter_map(|name| Some(name.rsplit_once('/')?.0))
        .collect();
    let make = |folder: &&str| {
        format!(
            "mkdir -p {}",
            shell_word(&format!("{}/{folder}", variable("in")))
        )
    };
    let mut steps: Vec<String> = folders.iter().map(make).collect();
    steps.extend(inputs.iter().map(|name| {
        let to = shell_word(&format!("{}/{name}", variable("in")));
        let from = quote(&root.join(name).to_string());
        if only_files {
            format!("petctl storage cat {from}{access} > {to}")
        } else {
            format!("petctl download {from} {to}{access}")
        }
    }));
    steps
}

/// As flags of `petctl storage`; where secrets are, not what they are.
fn access_flags(access: &StorageAccess) -> String {
    let StorageAccess {
        account,
        endpoint,
        sas_token,
        account_key,
        client_id,
    } = access;
    let source = |secret: &SecretRef| match secret {
        SecretRef::Env(name) => format!("env:{name}"),
        SecretRef::File(path) => format!("file:{path}"),
    };
    let flags = [
        ("--account", account.clone()),
        ("--endpoint", endpoint.clone()),
        ("--sas-token", sas_token.as_ref().map(source)),
        ("--account-key", account_key.as_ref().map(source)),
        ("--client-id", client_id.clone()),
    ];
    let given = flags
        .into_iter()
        .filter_map(|(flag, value)| Some(format!(" {flag} {}", quote(&value?))));
    given.collect()
}

/// A variable of the shell within a word that is still to be quoted.
fn variable(name: &str) -> String {
    format!("{MARK}{name}{MARK}")
}

/// A word as a shell reads it, with the values of its variables.
fn shell_word(word: &str) -> String {
    if !word.contains(MARK) {
        return quote(word);
    }
    let parts = word
        .split(MARK)
        .enumerate()
        .map(|(index, part)| match part {
            name if index % 2 == 1 => format!("\"${name}\""),
            "" => String::new(),
            text => quote(text),
        });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(text: &str) -> JobSpec {
        let folder = std::env::temp_dir();
        petctl_spec::parse(text, "job.toml", folder.to_str().unwrap(), &[]).unwrap()
    }

    fn row(key: &str, detail: &str) -> ShardRow {
        ShardRow {
            key: key.into(),
            detail_json: detail.into(),
            ..ShardRow::default()
        }
    }

    fn printed(command: &str) -> (String, String) {
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("{command}; echo $out")])
            .output()
            .unwrap();
        assert!(output.stderr.is_empty(), "{output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        let (words, out) = printed.trim_end().rsplit_once('|').unwrap();
        std::fs::remove_dir(out).unwrap();
        (words.to_owned(), out.to_owned())
    }

    #[test]
    fn the_command_survives_a_shell() {
        let spec = spec(
            r#"
            [job]
            name = "j"
            [storage]
            output = "out"
            [[stage]]
            name = "s"
            kind = "shards"
            shards = { values = ["it's here"] }
            command = ["printf", "%s|", "{key}", "{output}/x", "--n={param.n}", "$HOME"]
            env = { GREETING = "good day" }
            params = { n = "a b" }
        "#,
        );
        let command = command(&spec, &row("it's here", "")).unwrap();
        assert!(
            command.contains("env 'GREETING=good day' PETCTL_JOB=j "),
            "{command}"
        );
        let (words, out) = printed(&command);
        assert_eq!(words, format!("it's here|{out}/x|--n=a b|$HOME"));
    }

    #[test]
    fn a_shard_of_a_manifest_has_its_inputs_and_parameters_and_a_file_that_says_so() {
        let spec = spec(
            r#"
            [job]
            name = "j"
            [storage]
            input = "/in"
            output = "out"
            [[stage]]
            name = "s"
            kind = "shards"
            shards = { manifest = "shards.jsonl" }
            command = ["sh", "-c", 'printf "%s|" "$0" "$@"; cat "$PETCTL_SHARD_FILE" | tr -d "\n"; printf "|"', "{inputs}", "{param.seed}"]
        "#,
        );
        let detail = r#"{"inputs": ["a b", "c"], "params": {"seed": "7"}}"#;
        let (words, out) = printed(&command(&spec, &row("k", detail)).unwrap());
        let (arguments, file) = words.split_once("|7|").unwrap();
        assert_eq!(arguments, "/in/a b|/in/c");
        let file: serde_json::Value = serde_json::from_str(file).unwrap();
        assert_eq!(file["inputs"], json!(["/in/a b", "/in/c"]));
        assert_eq!(file["params"], json!({ "seed": "7" }));
        assert_eq!(file["output"], json!(out));
    }

    #[test]
    fn a_warm_process_is_told_of_its_shard_on_stdin_only() {
        let spec = spec(
            r#"
            [job]
            name = "j"
            [storage]
            output = "out"
            [[stage]]
            name = "s"
            kind = "shards"
            shards = { values = ["k"] }
            command = ["server"]
            serve = true
        "#,
        );
        let command = command(&spec, &row("k", "")).unwrap();
        let (_, command) = command.split_once("out=$(mktemp -d) && ").unwrap();
        assert_eq!(
            command,
            "printf '%s\\n' '{\"id\":1,\"job\":\"j\",\"stage\":\"s\",\"key\":\"k\",\"index\":0,\"attempt\":1,\"input\":null,\
             \"inputs\":[],\"output\":\"'\"$out\"'\",\"params\":{},\"size\":null}' | \
             env PETCTL_JOB=j PETCTL_STAGE=s PETCTL_SERVE=1 server"
        );
    }

    #[test]
    fn a_shard_with_nothing_of_its_own_has_no_file() {
        let spec = spec(
            r#"
            [job]
            name = "j"
            [storage]
            output = "out"
            [[stage]]
            name = "s"
            kind = "shards"
            shards = { manifest = "shards.jsonl" }
            command = ["run", "{key}"]
        "#,
        );
        for detail in ["", r#"{"expected_ms": 5}"#] {
            let command = command(&spec, &row("k", detail)).unwrap();
            assert!(
                command.ends_with(
                    "out=$(mktemp -d) && env PETCTL_JOB=j PETCTL_STAGE=s PETCTL_SHARD_KEY=k \
                     PETCTL_SHARD_INDEX=0 PETCTL_ATTEMPT=1 PETCTL_OUTPUT=\"$out\" run k"
                ),
                "{command}"
            );
        }
    }

    #[test]
    fn inputs_in_a_container_are_fetched_first_and_no_secret_is_shown() {
        let spec = spec(
            r#"
            [job]
            name = "j"
            [storage]
            input = "az://raw/us101"
            output = "out"
            account = "acme"
            sas_token = "env:RAW_SAS"
            [[stage]]
            name = "s"
            kind = "shards"
            shards = { glob = "**/*.xml" }
            command = ["replay", "{input}"]
        "#,
        );
        let command = command(&spec, &row("a/b c.xml", "")).unwrap();
        let fetch = "in=$(mktemp -d) && mkdir -p \"$in\"/a && petctl storage cat 'az://raw/us101/a/b c.xml' \
                     --account acme --sas-token env:RAW_SAS > \"$in\"'/a/b c.xml' && env ";
        assert!(command.contains(fetch), "{command}");
        assert!(
            command.ends_with(" replay \"$in\"'/a/b c.xml'"),
            "{command}"
        );
        let mut of_folders = spec;
        of_folders.stages[0].kind =
            petctl_spec::StageKind::Shards(ShardSource::Glob("a/*/".into()));
        let command = super::command(&of_folders, &row("a/bag", "")).unwrap();
        let fetch = "mkdir -p \"$in\"/a && petctl download az://raw/us101/a/bag \"$in\"/a/bag --account acme";
        assert!(command.contains(fetch), "{command}");
    }
}
