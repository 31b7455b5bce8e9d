//! Command lines that the pages of docs/errors name.

use crate::harness::Harness;
use crate::tree;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[test]
fn pages_name_commands_and_options_that_there_are() {
    let harness = Harness::new();
    let helps = tree::helps(&harness);
    let (mut commands, mut options) = (0, 0);
    for (page, text) in pages() {
        for span in text.split('`').skip(1).step_by(2) {
            let Some(line) = Line::parse(span) else {
                continue;
            };
            let named = line.command(&helps);
            assert!(
                named.is_some() || line.words.is_empty(),
                "{page}: `{span}`: there is no such command"
            );
            commands += named.iter().count();
            let asked: Vec<&str> = match named {
                Some(command) => vec![command],
                None => helps.keys().map(String::as_str).chain([""]).collect(),
            };
            for option in line.options {
                assert!(
                    takes(&harness, &helps, &asked, option),
                    "{page}: `{span}`: there is no option --{option}"
                );
                options += 1;
            }
        }
    }
    assert!(
        commands > 60 && options > 60,
        "{commands} commands and {options} options were found"
    );
}

/// Whether one of these commands has this option. Help texts hide some, so where none lists it, the program is asked.
fn takes(
    harness: &Harness,
    helps: &BTreeMap<String, String>,
    commands: &[&str],
    option: &str,
) -> bool {
    let listed = commands.iter().filter_map(|command| helps.get(*command));
    let mut listed = listed.flat_map(|help| tree::options(help));
    // torchrun's help hides nothing, and its command line is not clap's.
    let mut own = commands.iter().filter(|command| **command != "torchrun");
    listed.any(|known| known == option)
        || own.any(|command| {
            let asked = harness.run(&format!("{command} --{option} --help"));
            !String::from_utf8_lossy(&asked.stderr).contains("unexpected argument")
        })
}

/// A command line of petctl in a text, or some options of one.
struct Line<'a> {
    /// What can be names of commands: words of small letters, up to the first that is something else.
    words: Vec<&'a str>,
    /// Without their hyphens.
    options: Vec<&'a str>,
}

impl<'a> Line<'a> {
    fn parse(span: &'a str) -> Option<Self> {
        let rest = span.strip_prefix("petctl ");
        if rest.is_none() && !span.starts_with("--") {
            return None;
        }
        let is_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
        let words = rest.unwrap_or_default().split_whitespace();
        let options = span
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("--"));
        Some(Self {
            words: words.take_while(is_name).collect(),
            options: options.collect(),
        })
    }

    /// The longest name of a command that it starts with.
    fn command<'t>(&self, helps: &'t BTreeMap<String, String>) -> Option<&'t str> {
        let starts = (1..=self.words.len())
            .rev()
            .map(|count| self.words[..count].join(" "));
        let mut known = starts.filter_map(|start| helps.get_key_value(&start));
        known.next().map(|(name, _)| name.as_str())
    }
}

/// Names and texts of the pages.
fn pages() -> Vec<(String, String)> {
    let folder = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../docs/errors");
    let entries = fs::read_dir(folder).unwrap().flatten();
    let pages: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(pages.len() > 90, "only {} pages", pages.len());
    pages
}
