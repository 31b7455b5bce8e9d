//! One line of a manifest: its members, and their bounds.

use crate::keys::{MAX_DURATION_MS, MAX_ENTRIES, MAX_TEXT_BYTES};
use crate::model::ShardDetail;
use crate::shards::key::check_key;
use petctl_text::words::{is_identifier, nearest, shown, thousands};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Longest line in bytes.
pub const MAX_LINE_BYTES: usize = 64 * 1024;
/// Most inputs of one shard.
pub const MAX_INPUTS: usize = 1_000;
/// Longest name of an input, in bytes.
pub const MAX_INPUT_BYTES: usize = 1_024;
/// Most bytes of inputs that a line may speak of: an EiB.
const MAX_SIZE: u64 = 1 << 60;
/// What a line may say.
const MEMBERS: [&str; 5] = ["key", "inputs", "params", "size", "expected_s"];

/// One thing that is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct LineProblem {
    /// What is wrong, without a full stop.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

/// Reads one line by itself.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_line(text: &str) -> Result<(String, ShardDetail), Vec<LineProblem>> {
    read_bytes(text.trim().as_bytes())
}

/// Checks what came over the network as a shard's detail.
///
/// # Errors
/// The first thing that breaks a bound.
pub fn check_detail(detail: &ShardDetail) -> Result<(), LineProblem> {
    let ShardDetail {
        inputs,
        params,
        size,
        expected_ms,
    } = detail;
    if inputs.len() > MAX_INPUTS {
        return Err(problem(
            format!("`inputs` has {} names", thousands(inputs.len() as u128)),
            format!("use at most {}", thousands(MAX_INPUTS as u128)),
        ));
    }
    inputs.iter().try_for_each(|input| check_input(input))?;
    if params.len() > MAX_ENTRIES {
        return Err(problem(
            format!("`params` has {} entries", params.len()),
            format!("use at most {MAX_ENTRIES}"),
        ));
    }
    params
        .iter()
        .try_for_each(|(name, value)| check_param(name, value))?;
    if size.is_some_and(|size| size > MAX_SIZE) {
        return Err(problem("`size` is too large", "write the size in bytes"));
    }
    if expected_ms.is_some_and(|expected_ms| expected_ms > MAX_DURATION_MS) {
        return Err(problem(
            "`expected_s` is more than 365 days",
            "write seconds",
        ));
    }
    Ok(())
}

pub(super) fn read_bytes(bytes: &[u8]) -> Result<(String, ShardDetail), Vec<LineProblem>> {
    if bytes.len() > MAX_LINE_BYTES {
        return Err(vec![problem(
            format!(
                "it is longer than {} bytes",
                thousands(MAX_LINE_BYTES as u128)
            ),
            "put what is long into a file, and name that in `params`",
        )]);
    }
    let fix = "write one JSON object per line, such as {\"key\": \"a\", \"params\": {\"v0\": 30}}";
    let members = serde_json::from_slice::<Members>(bytes).map_err(|error| {
        let what = if error.is_data() {
            "it is JSON, but no object".to_owned()
        } else {
            let text = error.to_string();
            let why = text.split(" at line ").next().unwrap_or_default();
            format!(
                "it is not JSON: {} at column {}",
                shown(why),
                error.column()
            )
        };
        vec![problem(what, fix)]
    })?;
    let mut line = Line::default();
    for (name, value) in members.0 {
        if !line.seen.insert(name.clone()) {
            let what = format!("`{}` is there twice", shown(&name));
            line.problems.push(problem(what, "take one of the two out"));
            continue;
        }
        line.take(&name, value);
    }
    if !line.seen.contains("key") {
        let what = "`key` is missing";
        line.problems
            .push(problem(what, "add such as \"key\": \"a\", no two the same"));
    }
    if line.problems.is_empty() {
        Ok((line.key, line.detail))
    } else {
        Err(line.problems)
    }
}

/// The members of an object in their order; a name may come twice.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A line as far as it has been read.
#[derive(Default)]
struct Line {
    key: String,
    detail: ShardDetail,
    seen: BTreeSet<String>,
    problems: Vec<LineProblem>,
}

impl Line {
    fn take(&mut self, name: &str, value: Value) {
        let taken = match name {
            "key" => read_key(&value).map(|key| self.key = key),
            "inputs" => read_inputs(value).map(|inputs| self.detail.inputs = inputs),
            "params" => self.take_params(value),
            "size" => read_size(&value).map(|size| self.detail.size = Some(size)),
            "expected_s" => {
                read_expected_ms(&value).map(|expected| self.detail.expected_ms = Some(expected))
            }
            _ => {
                let fix = nearest(name, MEMBERS).map_or_else(
                    || format!("a line may have {}", MEMBERS.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                Err(problem(format!("unknown member `{}`", shown(name)), fix))
            }
        };
        self.problems.extend(taken.err());
    }

    fn take_params(&mut self, value: Value) -> Result<(), LineProblem> {
        let Value::Object(entries) = value else {
            return Err(of_type("params", &value, "an object"));
        };
        if entries.len() > MAX_ENTRIES {
            return Err(problem(
                format!("`params` has {} entries", entries.len()),
                format!("use at most {MAX_ENTRIES}"),
            ));
        }
        let mut params = BTreeMap::new();
        for (name, value) in entries {
            match read_param(&name, value) {
                Ok(text) => drop(params.insert(name, text)),
                Err(problem) => self.problems.push(problem),
            }
        }
        self.detail.params = params;
        Ok(())
    }
}

fn read_key(value: &Value) -> Result<String, LineProblem> {
    // A number is a key as it is written, as in `values` of a job file.
    let key = match value {
        Value::String(key) => key.clone(),
        Value::Number(number) if number.is_u64() => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            return Err(of_type("key", value, "a text"));
        }
    };
    check_key(&key).map_err(|why| {
        let fix = "a key is the path of a folder, such as \"a\" or \"north/12\"";
        problem(format!("`key`: `{}`: {why}", shown(&key)), fix)
    })?;
    Ok(key)
}

fn read_inputs(value: Value) -> Result<Vec<String>, LineProblem> {
    let items = match value {
        Value::String(input) => vec![Value::String(input)],
        Value::Array(items) => items,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(of_type("inputs", &value, "a text or a list of texts"));
        }
    };
    if items.len() > MAX_INPUTS {
        return Err(problem(
            format!("`inputs` has {} names", thousands(items.len() as u128)),
            format!("use at most {}", thousands(MAX_INPUTS as u128)),
        ));
    }
    let mut inputs = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let Value::String(input) = item else {
            return Err(of_type(&format!("inputs[{index}]"), &item, "a text"));
        };
        check_input(&input)?;
        inputs.push(input);
    }
    Ok(inputs)
}

/// A name of an input must lead to something below the input root.
fn check_input(input: &str) -> Result<(), LineProblem> {
    let why = if input.is_empty() {
        "is empty"
    } else if input.len() > MAX_INPUT_BYTES {
        "is too long"
    } else if input.starts_with('/') {
        "starts with `/`; names are relative to [storage] `input`"
    } else if input.contains("://") {
        "is an address; names are relative to [storage] `input`"
    } else if input.chars().any(char::is_control) {
        "has a control character"
    } else if input.contains('\\') {
        "has a `\\`; folders are separated by `/`"
    } else if input.split('/').any(|part| part == "..") {
        "has the part `..`, which leads out of [storage] `input`"
    } else if input.split('/').any(|part| part.is_empty() || part == ".") {
        "has an empty part or a `.`"
    } else {
        return Ok(());
    };
    Err(problem(
        format!("`inputs`: `{}` {why}", shown(input)),
        "write the file's path below [storage] `input`, such as \"2024/a.xml\"",
    ))
}

fn read_param(name: &str, value: Value) -> Result<String, LineProblem> {
    let text = match value {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        Value::Bool(on) => on.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            let name = format!("params.{}", shown(name));
            return Err(of_type(&name, &value, "a text, a number or a boolean"));
        }
    };
    check_param(name, &text)?;
    Ok(text)
}

fn check_param(name: &str, value: &str) -> Result<(), LineProblem> {
    if !is_identifier(name) {
        return Err(problem(
            format!("`params.{}` is no name of a parameter", shown(name)),
            "use letters, digits and `_`, no digit first, at most 128",
        ));
    }
    if value.len() > MAX_TEXT_BYTES || value.contains('\0') {
        return Err(problem(
            format!("`params.{name}` is too long or holds a NUL character"),
            format!(
                "use at most {} bytes; put long texts into a file",
                thousands(MAX_TEXT_BYTES as u128)
            ),
        ));
    }
    Ok(())
}

fn read_size(value: &Value) -> Result<u64, LineProblem> {
    let Value::Number(number) = value else {
        return Err(of_type("size", value, "a whole number of bytes"));
    };
    let size = number.as_u64().filter(|size| *size <= MAX_SIZE);
    size.ok_or_else(|| {
        problem(
            format!("`size` is {}", shown(&number.to_string())),
            "write a whole number of bytes, 0 or more; or leave it out",
        )
    })
}

fn read_expected_ms(value: &Value) -> Result<u64, LineProblem> {
    let Value::Number(number) = value else {
        return Err(of_type("expected_s", value, "a number of seconds"));
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "a year of milliseconds has 35 bits"
    )]
    let most = MAX_DURATION_MS as f64;
    let expected_ms = number.as_f64().map(|seconds| (seconds * 1_000.0).ceil());
    let expected_ms = expected_ms.filter(|ms| (0.0..=most).contains(ms));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to a year, as just checked"
    )]
    expected_ms.map(|ms| ms as u64).ok_or_else(|| {
        problem(
            format!("`expected_s` is {}", shown(&number.to_string())),
            "write seconds, from 0 to those of 365 days; or leave it out",
        )
    })
}

fn of_type(name: &str, value: &Value, wanted: &str) -> LineProblem {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    problem(
        format!("`{name}` is {found}; it wants {wanted}"),
        "write it such as {\"key\": \"a\", \"inputs\": [\"a.xml\"], \"params\": {\"v0\": 30}, \"size\": 1024, \"expected_s\": 12.5}",
    )
}

pub(super) fn problem(what: impl Into<String>, fix: impl Into<String>) -> LineProblem {
    LineProblem {
        what: what.into(),
        fix: fix.into(),
    }
}
