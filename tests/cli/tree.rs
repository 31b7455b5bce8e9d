//! Every command there is, as the program's own help lists them.

use crate::harness::Harness;
use std::collections::BTreeMap;

/// Help texts by command, in words: `storage ls`. The program itself, which has no words, is not among them.
pub(crate) fn helps(harness: &Harness) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut wanted = subcommands(&help(harness, ""));
    while let Some(command) = wanted.pop() {
        let text = help(harness, &command);
        let below = subcommands(&text).into_iter();
        wanted.extend(below.map(|name| format!("{command} {name}")));
        found.insert(command, text);
    }
    found
}

fn help(harness: &Harness, command: &str) -> String {
    let output = harness.run(&format!("{command} --help"));
    assert!(output.status.success(), "petctl {command} --help");
    String::from_utf8(output.stdout).unwrap()
}

/// Names below `Commands:`; lines that go on with a description are indented more.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = lines.take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Options that a help text lists, without their hyphens.
pub(crate) fn options(help: &str) -> impl Iterator<Item = &str> {
    let lines = help
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'));
    lines
        .flat_map(|line| line.split([' ', ',', '=', '[']))
        .filter_map(|word| word.strip_prefix("--"))
}
