//! A manifest: a file that lists a stage's shards, one JSON object per line.
//!
//! Reading is pure: the launcher hands over line after line, and asks at the end for the shards or for all that is
//! wrong, each fault with its line.

mod line;

pub use line::{LineProblem, MAX_INPUT_BYTES, MAX_INPUTS, MAX_LINE_BYTES, check_detail, read_line};

use crate::model::{JobSpec, MAX_SHARDS, ShardDetail, ShardSource, StageSpec};
use crate::shards::key::clashes;
use line::{problem, read_bytes};
use petctl_codes::Code;
use petctl_text::template::{Placeholder, Template};
use petctl_text::words::{nearest, shown, thousands};
use std::collections::BTreeSet;
use std::fmt;

/// Most faults that are kept; later ones are counted.
pub const MAX_FAULTS: usize = 50;

/// A fault with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// First line is 1; 0: the file as a whole.
    pub line: u64,
    /// What is wrong.
    pub problem: LineProblem,
}

/// All that is wrong with a manifest, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestErrors {
    name: String,
    code: Code,
    faults: Vec<Fault>,
    left_out: u64,
}

impl ManifestErrors {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The faults, at most [`MAX_FAULTS`]; never empty.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// How many more there are.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

impl std::error::Error for ManifestErrors {}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Fault { line, problem }) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            f.write_str(&self.name)?;
            if *line > 0 {
                write!(f, ":{line}")?;
            }
            write!(f, ": {}\n  fix: {}", problem.what, problem.fix)?;
        }
        if self.left_out > 0 {
            write!(f, "\n\n{} more errors are not shown", self.left_out)?;
        }
        Ok(())
    }
}

/// What a stage needs each line to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// The command has `{input}` or `{inputs}`.
    pub inputs: bool,
    /// The job has a place below which inputs are.
    pub has_input_root: bool,
    /// Parameters that the command has and the stage does not give.
    pub params: BTreeSet<String>,
}

impl Wants {
    /// What this stage of the job needs.
    #[must_use]
    pub fn of(spec: &JobSpec, stage: &StageSpec) -> Self {
        let template = Template::parse(&stage.command).ok();
        let placeholders = template.as_ref().map(Template::placeholders);
        let placeholders = placeholders.unwrap_or_default();
        let is_input = |placeholder: &&Placeholder| {
            matches!(placeholder, Placeholder::Input | Placeholder::Inputs)
        };
        let missing = |placeholder: &&Placeholder| {
            let Placeholder::Param(name) = placeholder else {
                return None;
            };
            (!stage.params.contains_key(name)).then(|| name.clone())
        };
        Self {
            inputs: placeholders.iter().any(is_input),
            has_input_root: spec.storage.input.is_some(),
            params: placeholders.iter().filter_map(missing).collect(),
        }
    }
}

/// The manifest of a stage, as the job file names it: an absolute path or `az://container/path`.
#[must_use]
pub fn address(stage: &StageSpec) -> Option<&str> {
    match stage.kind.source()? {
        ShardSource::Manifest(address) => Some(address),
        ShardSource::Glob(_)
        | ShardSource::Values(_)
        | ShardSource::Range { .. }
        | ShardSource::Dates { .. }
        | ShardSource::Matrix(_) => None,
    }
}

/// Reads a manifest line by line.
#[derive(Debug)]
pub struct Reader {
    name: String,
    wants: Wants,
    shards: Vec<(String, ShardDetail)>,
    /// Of each shard.
    lines: Vec<u64>,
    line: u64,
    faults: Vec<Fault>,
    left_out: u64,
    too_many: bool,
    said_no_root: bool,
}

impl Reader {
    /// Starts; `name` is what errors call the file.
    #[must_use]
    pub fn new(name: impl Into<String>, wants: Wants) -> Self {
        Self {
            name: name.into(),
            wants,
            shards: Vec::new(),
            lines: Vec::new(),
            line: 0,
            faults: Vec::new(),
            left_out: 0,
            too_many: false,
            said_no_root: false,
        }
    }

    /// Takes the next line, with or without its line break. Of a line longer than [`MAX_LINE_BYTES`] a start that is
    /// longer than that is enough.
    pub fn line(&mut self, bytes: &[u8]) {
        self.line += 1;
        let line = self.line;
        let bytes = match bytes {
            [0xef, 0xbb, 0xbf, rest @ ..] if line == 1 => rest,
            _ => bytes,
        };
        let bytes = bytes.trim_ascii();
        if bytes.is_empty() || self.too_many {
            return;
        }
        if self.shards.len() as u64 >= MAX_SHARDS {
            self.too_many = true;
            return;
        }
        match read_bytes(bytes) {
            Ok((key, detail)) => {
                self.check_wants(line, &detail);
                self.shards.push((key, detail));
                self.lines.push(line);
            }
            Err(problems) => {
                for problem in problems {
                    self.fault(line, problem);
                }
            }
        }
    }

    /// The shards in the order of their lines.
    ///
    /// # Errors
    /// [`ManifestErrors`]: everything that is wrong, at most [`MAX_FAULTS`].
    pub fn finish(mut self) -> Result<Vec<(String, ShardDetail)>, ManifestErrors> {
        let mut code = Code::ShardManifestInvalid;
        self.find_clashes();
        if self.too_many {
            code = Code::TooManyShards;
            let what = format!(
                "it has more shards than the {} a job may have",
                thousands(u128::from(MAX_SHARDS))
            );
            self.fault(0, problem(what, "split the job"));
        } else if self.shards.is_empty() && self.faults.is_empty() {
            code = Code::NoShards;
            let fix = "write one line for each shard, such as {\"key\": \"a\"}";
            self.fault(0, problem("it has no lines: the stage has no shards", fix));
        }
        if self.faults.is_empty() {
            return Ok(self.shards);
        }
        self.faults.sort_by_key(|fault| fault.line);
        Err(ManifestErrors {
            name: self.name,
            code,
            faults: self.faults,
            left_out: self.left_out,
        })
    }

    fn fault(&mut self, line: u64, problem: LineProblem) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault { line, problem });
        } else {
            self.left_out += 1;
        }
    }

    fn check_wants(&mut self, line: u64, detail: &ShardDetail) {
        if self.wants.inputs && detail.inputs.is_empty() {
            let what = "`inputs` is missing, and the command has `{input}`";
            let fix = "add such as \"inputs\": [\"a.xml\"], with names below [storage] `input`";
            self.fault(line, problem(what, fix));
        }
        if !detail.inputs.is_empty() && !self.wants.has_input_root && !self.said_no_root {
            self.said_no_root = true;
            let what = "`inputs` are names below [storage] `input`, and the job has none";
            self.fault(
                line,
                problem(what, "add such as `input = \"drives\"` to [storage]"),
            );
        }
        let missing = self.wants.params.iter();
        let missing = missing.filter(|name| !detail.params.contains_key(*name));
        let missing = missing.cloned().collect::<Vec<_>>();
        for name in missing {
            let what =
                format!("`params.{name}` is missing, and the command has `{{param.{name}}}`");
            let fix = match nearest(&name, detail.params.keys().map(String::as_str)) {
                Some(near) => format!("did you mean it by `{near}`?"),
                None => {
                    format!("add it, or `params = {{ {name} = 1 }}` to the stage for all lines")
                }
            };
            self.fault(line, problem(what, fix));
        }
    }

    fn find_clashes(&mut self) {
        let mut order = (0..self.shards.len()).collect::<Vec<_>>();
        // The sort is stable: of equal keys the first line stays first.
        order.sort_by(|a, b| self.shards[*a].0.cmp(&self.shards[*b].0));
        let sorted = order.iter().map(|at| self.shards[*at].0.as_str());
        let sorted = sorted.collect::<Vec<_>>();
        let found = clashes(&sorted)
            .map(|(key, other)| (order[key], order[other]))
            .map(|(key, other)| {
                let (name, line) = (shown(&self.shards[key].0), self.lines[other]);
                if self.shards[key].0 == self.shards[other].0 {
                    let what = format!("the key `{name}` is on line {line} already");
                    let fix = "give every shard a key of its own";
                    return (self.lines[key], problem(what, fix));
                }
                let other = shown(&self.shards[other].0);
                let what = format!(
                    "the folder of the key `{name}` would lie in that of `{other}`, on line {line}"
                );
                (
                    self.lines[key],
                    problem(what, "give one of them another name"),
                )
            })
            .collect::<Vec<_>>();
        for (line, problem) in found {
            self.fault(line, problem);
        }
    }
}

/// Reads a whole manifest.
///
/// # Errors
/// As [`Reader::finish`].
pub fn read(
    name: &str,
    text: &[u8],
    wants: Wants,
) -> Result<Vec<(String, ShardDetail)>, ManifestErrors> {
    let mut reader = Reader::new(name, wants);
    for line in text.split(|byte| *byte == b'\n') {
        reader.line(line);
    }
    reader.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str, wants: Wants) -> Vec<String> {
        let errors = read("shards.jsonl", text.as_bytes(), wants).unwrap_err();
        let faults = errors.faults().iter();
        faults
            .map(|fault| format!("{}: {}", fault.line, fault.problem.what))
            .collect()
    }

    #[test]
    fn a_manifest_is_read_line_by_line() {
        let text = "\u{feff}{\"key\": \"a\", \"inputs\": \"x/a.xml\", \"size\": 5, \"expected_s\": 1.5}\r\n\n\
                    {\"key\": 7, \"inputs\": [\"b\", \"c\"], \"params\": {\"v0\": 30.5, \"fast\": true, \"n\": \"x y\"}}\n";
        let wants = Wants {
            inputs: true,
            has_input_root: true,
            params: BTreeSet::new(),
        };
        let shards = read("m", text.as_bytes(), wants).unwrap();
        let (a, b) = (&shards[0], &shards[1]);
        assert_eq!((a.0.as_str(), b.0.as_str()), ("a", "7"));
        assert_eq!(a.1.inputs, ["x/a.xml"]);
        assert_eq!((a.1.size, a.1.expected_ms), (Some(5), Some(1_500)));
        assert_eq!(b.1.inputs, ["b", "c"]);
        let params = b.1.params.iter();
        let params = params.map(|(name, value)| format!("{name}={value}"));
        assert_eq!(
            params.collect::<Vec<_>>(),
            ["fast=true", "n=x y", "v0=30.5"]
        );
        assert!(
            shards
                .iter()
                .all(|(_, detail)| check_detail(detail).is_ok())
        );
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_with_its_line() {
        let text = r#"{"key": "a"}
{"key": "b", "size": -1}
{"key": "a"}
{"inputs": []}
{"key": "c", "input": "x", "expected_s": -0.5}
{"key": "a/b"}
not json
["a"]
{"key": "../x", "inputs": ["ok", "../../etc/passwd"], "params": {"v-0": 1, "x": null}}
{"key": "d", "expected_s": 1e999}
{"key": "e", "key": "f", "size": 1.5}
{"key": "g", "inputs": [1]}
{"key": "h"
"#;
        assert_eq!(
            faults(text, Wants::default()),
            [
                "2: `size` is -1",
                "3: the key `a` is on line 1 already",
                "4: `key` is missing",
                "5: unknown member `input`",
                "5: `expected_s` is -0.5",
                "6: the folder of the key `a/b` would lie in that of `a`, on line 1",
                "7: it is not JSON: expected ident at column 2",
                "8: it is JSON, but no object",
                "9: `key`: `../x`: it has the part `..`, which leads to another folder",
                "9: `inputs`: `../../etc/passwd` has the part `..`, which leads out of [storage] `input`",
                "9: `params.v-0` is no name of a parameter",
                "9: `params.x` is null; it wants a text, a number or a boolean",
                "10: it is not JSON: number out of range at column 32",
                "11: `key` is there twice",
                "11: `size` is 1.5",
                "12: `inputs[0]` is a number; it wants a text",
                "13: it is not JSON: EOF while parsing an object at column 11",
            ]
        );
        let errors = read("m.jsonl", text.as_bytes(), Wants::default()).unwrap_err();
        assert_eq!(errors.code(), Code::ShardManifestInvalid);
        let printed = errors.to_string();
        let first = "m.jsonl:2: `size` is -1\n  fix: write a whole number of bytes, 0 or more; or leave it out\n\nm.jsonl:3:";
        assert!(printed.starts_with(first), "{printed}");
    }

    #[test]
    fn a_line_must_have_what_the_command_names() {
        let wants = Wants {
            inputs: true,
            has_input_root: true,
            params: BTreeSet::from(["speed".to_owned()]),
        };
        let text = "{\"key\": \"a\", \"params\": {\"sped\": 1}}\n{\"key\": \"b\", \"inputs\": \"x\", \"params\": {\"speed\": 1}}";
        assert_eq!(
            faults(text, wants),
            [
                "1: `inputs` is missing, and the command has `{input}`",
                "1: `params.speed` is missing, and the command has `{param.speed}`"
            ]
        );
        let text = "{\"key\": \"a\", \"inputs\": \"x\"}\n{\"key\": \"b\", \"inputs\": \"x\"}";
        assert_eq!(
            faults(text, Wants::default()),
            ["1: `inputs` are names below [storage] `input`, and the job has none"]
        );
    }

    #[test]
    fn a_manifest_is_bounded_and_never_empty() {
        let long = format!("{{\"key\": \"{}\"}}", "x".repeat(MAX_LINE_BYTES));
        let long = faults(&long, Wants::default());
        assert_eq!(long, ["1: it is longer than 65,536 bytes"]);
        assert_eq!(
            faults("\n \n", Wants::default()),
            ["0: it has no lines: the stage has no shards"]
        );
        let empty = read("m", b"", Wants::default()).unwrap_err();
        assert_eq!(empty.code(), Code::NoShards);
        let many = "{}\n".repeat(1_000);
        let errors = read("m", many.as_bytes(), Wants::default()).unwrap_err();
        assert_eq!((errors.faults().len(), errors.left_out()), (50, 950));
        let mut reader = Reader::new("m", Wants::default());
        for n in 0..=MAX_SHARDS {
            reader.line(format!("{{\"key\":{n}}}").as_bytes());
        }
        assert_eq!(reader.finish().unwrap_err().code(), Code::TooManyShards);
    }
}
