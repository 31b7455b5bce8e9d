//! Reads a command line as argparse reads torchrun's: both spellings, abbreviations, `-r3`, `-mr 3`, `--flag=value`.
//! What follows the script is the script's and is not looked at.

use super::flags::{FLAGS, Flag, Takes};
use std::collections::BTreeMap;
use std::ffi::OsString;

/// What a command line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandLine {
    /// By the flag's name; a switch has an empty value. The last one counts.
    pub(crate) given: BTreeMap<&'static str, String>,
    pub(crate) help: bool,
    pub(crate) script: Option<OsString>,
    pub(crate) script_arguments: Vec<OsString>,
}

/// What an argument is, before it is known what stands around it.
enum Word<'a> {
    /// A flag, with the value that stands in the same argument.
    Flag(&'static Flag, Option<&'a str>),
    /// `-mr3`: a short switch and what follows it.
    Bundle(&'static Flag, &'a str),
    Help,
    /// Looks like a flag, and is none.
    Unknown,
    /// A value, or the script.
    Plain,
}

/// Reads it. The error says what is wrong.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine, String> {
    let mut line = CommandLine::default();
    let mut unknown = Vec::new();
    let mut rest = arguments.into_iter().peekable();
    while let Some(argument) = rest.next() {
        let text = argument.to_str();
        if text == Some("--") {
            line.script = rest.next();
            break;
        }
        // What is not UTF-8 is no flag: it can be a path.
        match text.map_or(Ok(Word::Plain), classify)? {
            Word::Help => line.help = true,
            Word::Unknown => unknown.push(argument.to_string_lossy().into_owned()),
            Word::Plain => {
                line.script = Some(argument);
                break;
            }
            Word::Bundle(first, others) => {
                let others = others.to_owned();
                let last = bundle(&mut line, first, &others)?;
                if let Some(flag) = last {
                    let value = next_value(&mut rest, flag)?;
                    line.given.insert(flag.name, value);
                }
            }
            Word::Flag(flag, explicit) => {
                let value = match (flag.takes, explicit) {
                    (Takes::Nothing, None) => String::new(),
                    (Takes::Nothing, Some(value)) => return Err(ignored(&shown(flag), value)),
                    (Takes::Value(_), Some(value)) => value.to_owned(),
                    (Takes::Value(_), None) => next_value(&mut rest, flag)?,
                };
                line.given.insert(flag.name, value);
            }
        }
        if line.help {
            return Ok(line);
        }
    }
    line.script_arguments = rest.collect();
    if line
        .script_arguments
        .first()
        .is_some_and(|next| next == "--")
    {
        // argparse takes the first `--` for its own, behind the script too.
        line.script_arguments.remove(0);
    }
    match unknown.as_slice() {
        [] => Ok(line),
        [one] => Err(format!("torchrun has no flag {one}")),
        several => Err(format!("torchrun has no flags {}", several.join(", "))),
    }
}

fn classify(argument: &str) -> Result<Word<'_>, String> {
    if !argument.starts_with('-') || argument == "-" {
        return Ok(Word::Plain);
    }
    let (name, explicit) = match argument.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (argument, None),
    };
    if let Some(long) = name.strip_prefix("--") {
        return long_flag(argument, long, explicit);
    }
    let mut characters = argument.trim_start_matches('-').chars();
    let (Some(first), others) = (characters.next(), characters.as_str()) else {
        return Ok(Word::Plain);
    };
    if first == 'h' {
        return Ok(Word::Help);
    }
    let Some(flag) = FLAGS.iter().find(|flag| flag.short == Some(first)) else {
        return Ok(unknown_or_plain(argument));
    };
    Ok(match (flag.takes, others.strip_prefix('=')) {
        (_, Some(value)) => Word::Flag(flag, Some(value)),
        _ if others.is_empty() => Word::Flag(flag, None),
        (Takes::Value(_), None) => Word::Flag(flag, Some(others)),
        (Takes::Nothing, None) => Word::Bundle(flag, others),
    })
}

fn long_flag<'a>(
    argument: &'a str,
    long: &str,
    explicit: Option<&'a str>,
) -> Result<Word<'a>, String> {
    let exact = FLAGS
        .iter()
        .find(|flag| flag.name == long || flag.dest() == long);
    if let Some(flag) = exact {
        return Ok(Word::Flag(flag, explicit));
    }
    if long == "help" {
        return Ok(Word::Help);
    }
    let candidates: Vec<&'static Flag> = FLAGS
        .iter()
        .filter(|flag| flag.name.starts_with(long) || flag.dest().starts_with(long))
        .collect();
    let help = "help".starts_with(long);
    match candidates.as_slice() {
        [] if help => Ok(Word::Help),
        [] => Ok(unknown_or_plain(argument)),
        [flag] if !help => Ok(Word::Flag(flag, explicit)),
        several => {
            let mut could: Vec<String> = several.iter().map(|flag| shown(flag)).collect();
            if help {
                could.push("--help".to_owned());
            }
            Err(format!(
                "--{long} is ambiguous: it could be {}",
                could.join(", ")
            ))
        }
    }
}

/// argparse takes negative numbers and what has a space for values.
fn unknown_or_plain(argument: &str) -> Word<'_> {
    if is_negative_number(argument) || argument.contains(' ') {
        Word::Plain
    } else {
        Word::Unknown
    }
}

fn is_negative_number(argument: &str) -> bool {
    let Some(number) = argument.strip_prefix('-') else {
        return false;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match number.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction) && !fraction.is_empty(),
        None => digits(number) && !number.is_empty(),
    }
}

/// `-mr3` or `-mt 3`: switches, the last of them perhaps with a value, which is still to come if a flag is returned.
fn bundle(
    line: &mut CommandLine,
    first: &'static Flag,
    others: &str,
) -> Result<Option<&'static Flag>, String> {
    line.given.insert(first.name, String::new());
    let mut before = first;
    let mut characters = others.chars();
    while let Some(character) = characters.next() {
        let found = FLAGS.iter().find(|flag| flag.short == Some(character));
        let Some(flag) = found else {
            let left = format!("{character}{}", characters.as_str());
            return Err(ignored(&shown(before), &left));
        };
        let left = characters.as_str();
        match flag.takes {
            Takes::Nothing => {
                line.given.insert(flag.name, String::new());
            }
            Takes::Value(_) if left.is_empty() => return Ok(Some(flag)),
            Takes::Value(_) => {
                let value = left.strip_prefix('=').unwrap_or(left);
                line.given.insert(flag.name, value.to_owned());
                return Ok(None);
            }
        }
        before = flag;
    }
    Ok(None)
}

fn next_value(
    rest: &mut std::iter::Peekable<impl Iterator<Item = OsString>>,
    flag: &Flag,
) -> Result<String, String> {
    let missing = || Err(format!("{} needs a value", shown(flag)));
    let Some(next) = rest.peek() else {
        return missing();
    };
    let Some(text) = next.to_str() else {
        return Err(format!("the value of {} is not UTF-8 text", shown(flag)));
    };
    if text == "--" || !matches!(classify(text)?, Word::Plain) {
        return missing();
    }
    let value = text.to_owned();
    rest.next();
    Ok(value)
}

/// As torchrun's messages name a flag.
pub(crate) fn shown(flag: &Flag) -> String {
    match flag.short {
        Some(short) => format!("-{short}/--{}", flag.name),
        None => format!("--{}", flag.name),
    }
}

fn ignored(flag: &str, value: &str) -> String {
    format!("{flag} takes no value, and was given `{value}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<CommandLine, String> {
        read(text.split_whitespace().map(OsString::from))
    }

    fn given(text: &str) -> Vec<(&'static str, String)> {
        line(text).unwrap().given.into_iter().collect()
    }

    #[test]
    fn both_spellings_and_both_ways_to_give_a_value() {
        let wanted = vec![("nproc-per-node", "2".to_owned())];
        for text in [
            "--nproc-per-node 2 s.py",
            "--nproc_per_node 2 s.py",
            "--nproc-per-node=2 s.py",
            "--nproc_per_node=2 s.py",
            "--nproc=2 s.py",
            "--np 2 s.py",
        ] {
            assert_eq!(given(text), wanted, "{text}");
        }
    }

    #[test]
    fn short_flags_stand_alone_with_their_value_and_in_bundles() {
        assert_eq!(given("-r 3 s.py"), vec![("redirects", "3".to_owned())]);
        assert_eq!(given("-r3 s.py"), vec![("redirects", "3".to_owned())]);
        assert_eq!(given("-r=3 s.py"), vec![("redirects", "3".to_owned())]);
        let wanted = vec![("module", String::new()), ("tee", "3".to_owned())];
        assert_eq!(given("-mt 3 s"), wanted);
        assert_eq!(given("-mt3 s"), wanted);
        assert_eq!(given("-m -t 3 s"), wanted);
        assert!(
            line("-mx s")
                .unwrap_err()
                .contains("-m/--module takes no value")
        );
    }

    #[test]
    fn an_abbreviation_is_taken_if_only_one_flag_begins_so() {
        assert_eq!(given("--redirect=3 s"), vec![("redirects", "3".to_owned())]);
        assert_eq!(given("--stand s"), vec![("standalone", String::new())]);
        assert_eq!(
            line("--rdzv x s").unwrap_err(),
            "--rdzv is ambiguous: it could be --rdzv-backend, --rdzv-endpoint, --rdzv-id, --rdzv-conf"
        );
        assert!(
            line("--log /x s")
                .unwrap_err()
                .contains("--log-dir, --logs-specs")
        );
        assert!(line("--he s").unwrap().help);
        assert!(line("-h").unwrap().help);
    }

    #[test]
    fn what_follows_the_script_is_the_scripts() {
        let line = line("--nnodes 1 train.py --nnodes 9 --rdzv --help -x -- y").unwrap();
        assert_eq!(line.script.unwrap(), "train.py");
        assert_eq!(
            line.script_arguments,
            ["--nnodes", "9", "--rdzv", "--help", "-x", "--", "y"]
        );
        assert_eq!(line.given["nnodes"], "1");
        assert!(!line.help);
    }

    #[test]
    fn the_first_double_dash_is_no_argument_of_the_script() {
        let before = line("-- -strange.py a").unwrap();
        assert_eq!(before.script.unwrap(), "-strange.py");
        assert_eq!(before.script_arguments, ["a"]);
        let behind = line("s.py -- --a --").unwrap();
        assert_eq!(behind.script_arguments, ["--a", "--"]);
    }

    #[test]
    fn unknown_flags_are_all_named_and_values_may_be_negative_numbers() {
        let error = line("--foo --bar=1 -x s.py").unwrap_err();
        assert_eq!(error, "torchrun has no flags --foo, --bar=1, -x");
        assert_eq!(
            given("--node-rank -1 s"),
            vec![("node-rank", "-1".to_owned())]
        );
        assert!(
            line("--rdzv-id -x s")
                .unwrap_err()
                .contains("needs a value")
        );
        assert!(line("--rdzv-id").unwrap_err().contains("needs a value"));
        assert!(
            line("--rdzv-id --standalone s")
                .unwrap_err()
                .contains("needs a value")
        );
        assert!(
            line("--standalone=1 s")
                .unwrap_err()
                .contains("takes no value")
        );
        assert!(
            line("--nproc-per_node=1 s")
                .unwrap_err()
                .contains("no flag")
        );
    }

    #[test]
    fn no_script_is_seen() {
        assert_eq!(line("--nnodes 1").unwrap().script, None);
        assert_eq!(line("").unwrap(), CommandLine::default());
    }
}
