//! A shard's own report: the `result.json` that its command may leave in its output folder.
//!
//! One JSON object: `verdict` ("pass", "fail" or "skipped"; "pass" without it), `reasons` (a list of short texts)
//! and `numbers` (by name; a boolean counts as 0 or 1, `null` is left out). Other keys are the command's own and
//! are not looked at.

use petctl_codes::Code;
use petctl_text::{is_strange, shown};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Name of the file.
pub const FILE_NAME: &str = "result.json";
/// Largest `result.json` in bytes.
pub const MAX_RESULT_BYTES: usize = 1 << 20;
/// Most reasons.
pub const MAX_REASONS: usize = 16;
/// Longest reason in characters.
pub const MAX_REASON_CHARS: usize = 500;
/// Most numbers.
pub const MAX_NUMBERS: usize = 64;
/// Longest name of a number in characters.
pub const MAX_NUMBER_NAME: usize = 64;

/// What a shard says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardVerdict {
    /// It is as it should be.
    #[default]
    Pass,
    /// It ran, and what it found is not as it should be.
    Fail,
    /// There was nothing to do.
    Skipped,
}

/// A `result.json`, read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardReport {
    /// The verdict.
    pub verdict: ShardVerdict,
    /// Why, in short texts without control characters.
    pub reasons: Vec<String>,
    /// Finite numbers by name.
    pub numbers: BTreeMap<String, f64>,
}

/// Why a `result.json` can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// More than [`MAX_RESULT_BYTES`].
    #[error(
        "result.json has {0} bytes; it may have {MAX_RESULT_BYTES}: put what is large into a file of its own"
    )]
    TooLarge(u64),
    /// Not JSON.
    #[error("result.json:{line}:{column}: {why}")]
    NotJson {
        /// First line is 1.
        line: usize,
        /// First byte is 1.
        column: usize,
        /// What is wrong there.
        why: String,
    },
    /// JSON, but not what is agreed.
    #[error("result.json: {0}")]
    Invalid(String),
}

impl ResultError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::TooLarge(_) => Code::ResultTooLarge,
            Self::NotJson { .. } => Code::ResultNotJson,
            Self::Invalid(_) => Code::ResultInvalid,
        }
    }
}

/// Reads a `result.json`.
///
/// # Errors
/// [`ResultError`]: too large, not JSON (NaN and infinity are none), or not what is agreed.
pub fn parse_result(bytes: &[u8]) -> Result<ShardReport, ResultError> {
    if bytes.len() > MAX_RESULT_BYTES {
        return Err(ResultError::TooLarge(
            u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        ));
    }
    let value = serde_json::from_slice(bytes).map_err(|error| not_json(bytes, &error))?;
    let Value::Object(object) = value else {
        return Err(ResultError::Invalid(format!(
            "it is {}; it wants an object in {{ }}",
            kind(&value)
        )));
    };
    Ok(ShardReport {
        verdict: verdict(&object)?,
        reasons: reasons(&object)?,
        numbers: numbers(&object)?,
    })
}

fn verdict(object: &Map<String, Value>) -> Result<ShardVerdict, ResultError> {
    match object.get("verdict") {
        None | Some(Value::Null) => Ok(ShardVerdict::Pass),
        Some(Value::String(text)) => match text.as_str() {
            "pass" => Ok(ShardVerdict::Pass),
            "fail" => Ok(ShardVerdict::Fail),
            "skipped" => Ok(ShardVerdict::Skipped),
            other => Err(ResultError::Invalid(format!(
                "`verdict` is \"{}\"; it wants \"pass\", \"fail\" or \"skipped\"",
                shown(other)
            ))),
        },
        Some(other) => Err(ResultError::Invalid(format!(
            "`verdict` is {}; it wants a string",
            kind(other)
        ))),
    }
}

fn reasons(object: &Map<String, Value>) -> Result<Vec<String>, ResultError> {
    let items = match object.get("reasons") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(other) => {
            return Err(ResultError::Invalid(format!(
                "`reasons` is {}; it wants a list of strings",
                kind(other)
            )));
        }
    };
    if items.len() > MAX_REASONS {
        return Err(ResultError::Invalid(format!(
            "`reasons` has {} items; at most {MAX_REASONS}",
            items.len()
        )));
    }
    let reason = |(index, item): (usize, &Value)| {
        let Value::String(text) = item else {
            return Err(ResultError::Invalid(format!(
                "`reasons[{index}]` is {}; it wants a string",
                kind(item)
            )));
        };
        if text.chars().count() > MAX_REASON_CHARS {
            return Err(ResultError::Invalid(format!(
                "`reasons[{index}]` is longer than {MAX_REASON_CHARS} characters"
            )));
        }
        Ok(text
            .chars()
            .map(|c| if is_strange(c) { ' ' } else { c })
            .collect())
    };
    items.iter().enumerate().map(reason).collect()
}

fn numbers(object: &Map<String, Value>) -> Result<BTreeMap<String, f64>, ResultError> {
    let entries = match object.get("numbers") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(entries)) => entries,
        Some(other) => {
            return Err(ResultError::Invalid(format!(
                "`numbers` is {}; it wants an object in {{ }}",
                kind(other)
            )));
        }
    };
    if entries.len() > MAX_NUMBERS {
        return Err(ResultError::Invalid(format!(
            "`numbers` has {} entries; at most {MAX_NUMBERS}",
            entries.len()
        )));
    }
    let mut numbers = BTreeMap::new();
    for (name, value) in entries {
        if !is_number_name(name) {
            let why = "a name has a-z, 0-9 and `_`, a letter first, at most 64";
            return Err(ResultError::Invalid(format!(
                "`numbers` has `{}`; {why}",
                shown(name)
            )));
        }
        let number = match value {
            Value::Null => continue,
            Value::Bool(on) => f64::from(u8::from(*on)),
            Value::Number(number) => number
                .as_f64()
                .filter(|number| number.is_finite())
                .ok_or_else(|| {
                    ResultError::Invalid(format!("`numbers.{name}` is no finite number"))
                })?,
            Value::String(_) | Value::Array(_) | Value::Object(_) => {
                return Err(ResultError::Invalid(format!(
                    "`numbers.{name}` is {}; it wants a number",
                    kind(value)
                )));
            }
        };
        numbers.insert(name.clone(), number);
    }
    Ok(numbers)
}

fn is_number_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= MAX_NUMBER_NAME
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn not_json(bytes: &[u8], error: &serde_json::Error) -> ResultError {
    let (line, column) = (error.line(), error.column());
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return ResultError::NotJson {
            line: 1,
            column: 1,
            why: "the file is empty".into(),
        };
    }
    if let Some(word) = not_a_number(bytes, line, column) {
        let why = format!("{word} is not JSON; write null, or leave the number out");
        return ResultError::NotJson { line, column, why };
    }
    let text = error.to_string();
    let why = text.split(" at line ").next().unwrap_or_default();
    let why = if error.is_eof() {
        "the file ends in the middle".to_owned()
    } else {
        shown(why)
    };
    ResultError::NotJson { line, column, why }
}

/// What Python's json module writes for numbers that JSON does not have.
fn not_a_number(bytes: &[u8], line: usize, column: usize) -> Option<&'static str> {
    let line = bytes
        .split(|byte| *byte == b'\n')
        .nth(line.checked_sub(1)?)?;
    // The error stands at the word's first letter, or behind a minus.
    let start = column.saturating_sub(2);
    let near = line.get(start..line.len().min(start + 11))?;
    ["-Infinity", "Infinity", "NaN"].into_iter().find(|word| {
        (0..3).any(|skip| {
            near.get(skip..)
                .is_some_and(|rest| rest.starts_with(word.as_bytes()))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        let error = parse_result(text.as_bytes()).unwrap_err();
        format!("{}: {error}", error.code())
    }

    #[test]
    fn a_good_result_is_read() {
        let text = r#"{"verdict": "fail", "reasons": ["too\nclose"], "extra": [1],
            "numbers": {"min_ttc_s": 0.5, "collided": true, "n": 12, "gone": null}}"#;
        let report = parse_result(text.as_bytes()).unwrap();
        assert_eq!(report.verdict, ShardVerdict::Fail);
        assert_eq!(report.reasons, ["too close"]);
        let numbers = report.numbers.into_iter().collect::<Vec<_>>();
        assert_eq!(
            numbers,
            [
                ("collided".into(), 1.0),
                ("min_ttc_s".into(), 0.5),
                ("n".into(), 12.0)
            ]
        );
        assert_eq!(parse_result(b"{}").unwrap(), ShardReport::default());
    }

    #[test]
    fn what_is_no_json_is_named_with_its_place() {
        for (text, expected) in [
            ("", "RESULT_NOT_JSON: result.json:1:1: the file is empty"),
            (
                "{\n \"a\": NaN}",
                "RESULT_NOT_JSON: result.json:2:7: NaN is not JSON; write null, or leave the number out",
            ),
            (
                "[Infinity]",
                "RESULT_NOT_JSON: result.json:1:2: Infinity is not JSON; write null, or leave the number out",
            ),
            (
                "[-Infinity]",
                "RESULT_NOT_JSON: result.json:1:3: -Infinity is not JSON; write null, or leave the number out",
            ),
            (
                "{\"a\": ",
                "RESULT_NOT_JSON: result.json:1:6: the file ends in the middle",
            ),
            (
                "{'a': 1}",
                "RESULT_NOT_JSON: result.json:1:2: key must be a string",
            ),
            (
                "{} {}",
                "RESULT_NOT_JSON: result.json:1:4: trailing characters",
            ),
            (
                "{\"numbers\": {\"a\": 1e999}}",
                "RESULT_NOT_JSON: result.json:1:23: number out of range",
            ),
        ] {
            assert_eq!(message(text), expected, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(message(&deep).starts_with("RESULT_NOT_JSON: result.json:1:128: recursion limit"));
        assert!(matches!(
            parse_result(b"{\"a\": \"\xff\"}"),
            Err(ResultError::NotJson { .. })
        ));
        assert!(matches!(
            parse_result(b"\x00\xfe"),
            Err(ResultError::NotJson { .. })
        ));
    }

    #[test]
    fn what_is_not_as_agreed_is_refused() {
        for (text, expected) in [
            ("[]", "it is a list; it wants an object in { }"),
            (
                "{\"verdict\": \"ok\"}",
                "`verdict` is \"ok\"; it wants \"pass\", \"fail\" or \"skipped\"",
            ),
            (
                "{\"verdict\": true}",
                "`verdict` is a boolean; it wants a string",
            ),
            (
                "{\"reasons\": \"x\"}",
                "`reasons` is a string; it wants a list of strings",
            ),
            (
                "{\"reasons\": [1]}",
                "`reasons[0]` is a number; it wants a string",
            ),
            (
                "{\"numbers\": []}",
                "`numbers` is a list; it wants an object in { }",
            ),
            (
                "{\"numbers\": {\"A\": 1}}",
                "`numbers` has `A`; a name has a-z, 0-9 and `_`, a letter first, at most 64",
            ),
            (
                "{\"numbers\": {\"a\": \"1\"}}",
                "`numbers.a` is a string; it wants a number",
            ),
        ] {
            assert_eq!(
                message(text),
                format!("RESULT_INVALID: result.json: {expected}"),
                "{text}"
            );
        }
        let many = vec!["\"r\""; 17].join(",");
        assert!(
            message(&format!("{{\"reasons\": [{many}]}}"))
                .ends_with("`reasons` has 17 items; at most 16")
        );
        let long = "x".repeat(501);
        assert!(
            message(&format!("{{\"reasons\": [\"{long}\"]}}"))
                .ends_with("is longer than 500 characters")
        );
        let many = (0..65)
            .map(|n| format!("\"n{n}\": 1"))
            .collect::<Vec<_>>()
            .join(",");
        assert!(
            message(&format!("{{\"numbers\": {{{many}}}}}"))
                .ends_with("`numbers` has 65 entries; at most 64")
        );
    }

    #[test]
    fn a_result_has_a_largest_size() {
        let error = parse_result(&vec![b' '; MAX_RESULT_BYTES + 1]).unwrap_err();
        assert_eq!(error.code(), Code::ResultTooLarge);
    }
}
