//! What petctl says of its own command line where it can't read it.

use crate::cli::Cli;
use clap::{CommandFactory, Parser};
use petctl_ui::mistyped::*;
use std::ffi::OsString;

fn said(line: &str) -> String {
    let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    let error = Cli::try_parse_from(&arguments).unwrap_err();
    with_hint(error, Cli::command(), &arguments)
        .render()
        .to_string()
}

/// Swaps, drops, doubles and replaces one letter after the other.
fn slips(word: &str) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    let mut all = Vec::new();
    for at in 0..letters.len() {
        let mut dropped = letters.clone();
        dropped.remove(at);
        let mut doubled = letters.clone();
        doubled.insert(at, letters[at]);
        let mut other = letters.clone();
        other[at] = 'q';
        all.extend([dropped, doubled, other]);
        if at + 1 < letters.len() {
            let mut swapped = letters.clone();
            swapped.swap(at, at + 1);
            all.push(swapped);
        }
    }
    all.into_iter().map(String::from_iter).collect()
}

#[test]
fn every_command_is_found_by_any_slip_of_one_letter() {
    let is_one_letter_off = |known: &str, slip: &str| {
        let is_without = |long: &str, short: &str| {
            long.len() == short.len() + 1
                && (0..long.len()).any(|at| {
                    let (before, after) = long.split_at(at);
                    short.strip_prefix(before) == Some(&after[1..])
                })
        };
        is_without(slip, known) || is_without(known, slip)
    };
    let mut program = Cli::command();
    program.build();
    let names: Vec<String> = program
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect();
    for name in &names {
        for slip in slips(name).iter().filter(|slip| !names.contains(slip)) {
            let said = said(&format!("petctl {slip}"));
            assert!(
                said.contains("a similar subcommand exists"),
                "{slip}: {said}"
            );
            // Another word may be as near.
            let other = OTHER_WORDS.iter().any(|(other, _)| other == slip)
                || names
                    .iter()
                    .any(|known| known != name && is_one_letter_off(known, slip));
            let near = names
                .iter()
                .any(|known| said.contains(&format!("'{known}'")));
            assert!(
                near && (other || said.contains(&format!("'{name}'"))),
                "{slip}: {said}"
            );
        }
    }
}

#[test]
fn what_others_call_it_is_understood() {
    let mut program = Cli::command();
    program.build();
    for (other, meant) in OTHER_WORDS {
        assert!(program.find_subcommand(meant).is_some(), "{meant}");
        let said = said(&format!("petctl {other} x"));
        assert!(
            said.contains(&format!("exists: '{meant}'")),
            "{other}: {said}"
        );
    }
    for (other, meant) in OTHER_STORAGE_WORDS {
        let said = said(&format!("petctl storage {other} x"));
        assert!(
            said.contains(&format!("exists: '{meant}'")),
            "{other}: {said}"
        );
    }
}

#[test]
fn every_flag_is_found_by_a_slip_and_in_other_commands() {
    let mut program = Cli::command();
    program.build();
    for command in program.get_subcommands().filter(|c| !c.is_hide_set()) {
        let name = command.get_name();
        let known: Vec<&str> = flags(command).collect();
        for flag in known
            .iter()
            .filter(|flag| name != "torchrun" && flag.len() > 3)
        {
            let slip = &flag[..flag.len() - 1];
            if known.contains(&slip) {
                continue;
            }
            let arguments: Vec<OsString> = ["petctl", name, &format!("--{slip}")]
                .map(OsString::from)
                .to_vec();
            let Err(error) = Cli::try_parse_from(&arguments) else {
                panic!("{name} --{slip}");
            };
            if error.kind() != clap::error::ErrorKind::UnknownArgument {
                continue;
            }
            let said = with_hint(error, Cli::command(), &arguments)
                .render()
                .to_string();
            assert!(
                said.contains("a similar argument exists"),
                "{name} --{slip}: {said}"
            );
        }
    }
    let said = said("petctl status x --failed");
    assert!(
        said.contains("'--failed' is a flag of `petctl logs`, `petctl report`"),
        "{said}"
    );
}

#[test]
fn a_value_that_is_near_is_named() {
    assert!(said("petctl report x -o jsno").contains("'json'"));
    assert!(said("petctl completions bsh").contains("'bash'"));
    let said = said("petctl run job.toml --workers many");
    assert!(
        said.contains("'--workers <N>' takes a whole number"),
        "{said}"
    );
}
