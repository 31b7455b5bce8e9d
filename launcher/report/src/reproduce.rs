//! The command that runs one shard again by hand: in the job's folder, with a new folder for its outputs.

use petctl_proto::v1::ShardRow;
use petctl_spec::{
    JobSpec, Placeholder, Placeholders, SecretRef, ShardDetail, ShardSource, StageKind, StageSpec,
    StorageAccess, StorageRoot, Template, shards,
};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::shell::quote;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Stands on both sides of a shell's variable until words are quoted; nobody's path has it.
const MARK: char = '\u{e000}';
/// What a training process that is alone finds in its environment.
const ALONE: [&str; 8] = [
    "RANK=0",
    "LOCAL_RANK=0",
    "WORLD_SIZE=1",
    "LOCAL_WORLD_SIZE=1",
    "GROUP_RANK=0",
    "GROUP_WORLD_SIZE=1",
    "MASTER_ADDR=127.0.0.1",
    "MASTER_PORT=29500",
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
    let shard = Shard::of(spec, stage, row);
    let trains = matches!(stage.kind, StageKind::Train(_));
    let output = variable("out");
    let shard_file = variable("shard");
    let values = Placeholders {
        input: None,
        inputs: &shard.inputs,
        shard: Some(&shard_file),
        input_root: shard.input_root.as_deref(),
        output: &output,
        output_root: &shard.output_root,
        key: &row.key,
        index: u64::from(row.shard),
        attempt: 1,
        job: &spec.name,
        stage: &stage.name,
        params: &stage.params,
        shard_params: Some(&shard.params),
        // A process by hand must not write among the checkpoints of the job.
        checkpoints: trains.then_some(&output),
    };
    let words = petctl_spec::render(&stage.command, &values)
        .map_err(|error| Error::new(Code::Bug, "can't fill in the command").because(&error))?;
    let mut steps = vec![
        format!("cd {}", quote(&spec.folder)),
        "out=$(mktemp -d)".to_owned(),
    ];
    steps.extend(shard.steps);
    let description = json!({
        "id": 1,
        "job": spec.name,
        "stage": stage.name,
        "key": row.key,
        "index": row.shard,
        "attempt": 1,
        "input": shard.inputs.first(),
        "inputs": shard.inputs,
        "output": output,
        "params": stage.params.iter().chain(&shard.params).collect::<BTreeMap<_, _>>(),
        "size": shard.size,
    });
    let description = shell_word(&description.to_string());
    if shard.has_file {
        steps.push(format!(
            "shard=$(mktemp) && printf '%s\\n' {description} > \"$shard\""
        ));
    }
    let mut variables = environment(spec, stage, row);
    if let (Some(input), false) = (shard.inputs.first(), trains) {
        variables.push(format!("PETCTL_INPUT={input}"));
    }
    if shard.has_file {
        variables.push(format!("PETCTL_SHARD_FILE={shard_file}"));
    }
    let serves = stage.dispatch.serve.is_some();
    variables.extend(serves.then(|| "PETCTL_SERVE=1".to_owned()));
    let words: Vec<String> = variables
        .iter()
        .chain(&words)
        .map(|word| shell_word(word))
        .collect();
    let run = format!("env {}", words.join(" "));
    steps.push(if serves {
        // A warm process reads its shards from stdin.
        format!("printf '%s\\n' {description} | {run}")
    } else {
        run
    });
    Ok(steps.join(" && "))
}

/// What the command needs of its shard, as it is found on this machine.
#[derive(Default)]
struct Shard {
    inputs: Vec<String>,
    input_root: Option<String>,
    output_root: String,
    params: BTreeMap<String, String>,
    size: Option<u64>,
    has_file: bool,
    /// What fetches it.
    steps: Vec<String>,
}

impl Shard {
    fn of(spec: &JobSpec, stage: &StageSpec, row: &ShardRow) -> Self {
        let detail: ShardDetail = serde_json::from_str(&row.detail_json).unwrap_or_default();
        let named = Template::parse(&stage.command).ok();
        let named = named
            .as_ref()
            .map(Template::placeholders)
            .unwrap_or_default();
        let mut shard = Self {
            output_root: spec.storage.output.clone(),
            size: detail.size,
            ..Self::default()
        };
        let mut inputs = Vec::new();
        if let StageKind::Shards(source) = &stage.kind {
            shard.params = shards::own_params(source, u64::from(row.shard), &detail);
            inputs = shards::inputs_of(source, &row.key, &detail);
            shard.has_file = !shard.params.is_empty()
                || !detail.is_empty()
                || matches!(source, ShardSource::Manifest(_))
                || named.contains(&&Placeholder::Shard);
        }
        let access = access_flags(&spec.storage.access);
        match spec.storage.input_root() {
            None => {}
            Some(StorageRoot::Folder(folder)) => {
                let path = |name: &String| format!("{}/{name}", folder.trim_end_matches('/'));
                shard.inputs = inputs.iter().map(path).collect();
                shard.input_root = Some(folder);
            }
            Some(root @ StorageRoot::Container { .. }) => {
                shard.input_root = Some(variable("in"));
                let wants_all = named.contains(&&Placeholder::InputRoot);
                if wants_all || !inputs.is_empty() {
                    shard.steps.push("in=$(mktemp -d)".to_owned());
                }
                if wants_all {
                    let from = quote(&root.to_string());
                    shard
                        .steps
                        .push(format!("petctl download {from} \"$in\"{access}"));
                }
                shard.inputs = inputs
                    .iter()
                    .map(|name| format!("{}/{name}", variable("in")))
                    .collect();
                if !wants_all {
                    shard.steps.extend(fetches(&root, &inputs, &access));
                }
            }
        }
        if spec.storage.output_root().is_blob() && named.contains(&&Placeholder::OutputRoot) {
            shard.output_root = variable("root");
            shard.steps.push(format!(
                "root=$(mktemp -d) && petctl download {} \"$root\"",
                quote(&spec.name)
            ));
        }
        shard
    }
}

/// One command for each input, and one for each folder that they lie in.
fn fetches(root: &StorageRoot, inputs: &[String], access: &str) -> Vec<String> {
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
        format!(
            "petctl storage cat {}{access} > {to}",
            quote(&root.join(name).to_string())
        )
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

/// What a worker's command finds in its environment beyond that of the worker, as this is a first attempt.
fn environment(spec: &JobSpec, stage: &StageSpec, row: &ShardRow) -> Vec<String> {
    let own = stage
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let mut variables: Vec<String> = own.collect();
    variables.extend([
        format!("PETCTL_JOB={}", spec.name),
        format!("PETCTL_STAGE={}", stage.name),
    ]);
    if let StageKind::Train(_) = stage.kind {
        variables.push(format!("PETCTL_CHECKPOINT_DIR={}", variable("out")));
        variables.extend(ALONE.map(str::to_owned));
        return variables;
    }
    variables.extend([
        format!("PETCTL_SHARD_KEY={}", row.key),
        format!("PETCTL_SHARD_INDEX={}", row.shard),
        "PETCTL_ATTEMPT=1".to_owned(),
        format!("PETCTL_OUTPUT={}", variable("out")),
    ]);
    variables
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
    }
}
