//! What was meant by a command line that petctl can't read: the command, flag or value that is near what was typed.

use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use petctl_text::words::nearest;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::num::ParseIntError;

/// What other programs call petctl's commands.
pub const OTHER_WORDS: &[(&str, &str)] = &[
    ("submit", "run"),
    ("apply", "run"),
    ("kill", "cancel"),
    ("abort", "cancel"),
    ("rm", "delete"),
    ("remove", "delete"),
    ("ls", "list"),
    ("ps", "list"),
    ("jobs", "list"),
    ("show", "status"),
    ("watch", "status"),
    ("describe", "explain"),
    ("why", "explain"),
    ("pause", "suspend"),
    ("continue", "resume"),
    ("check", "validate"),
    ("lint", "validate"),
    ("get", "download"),
    ("fetch", "download"),
    ("pull", "download"),
    ("push", "upload"),
    ("put", "upload"),
    ("send", "upload"),
    ("results", "report"),
    ("coordinator", "rendezvous"),
];

/// The same for `petctl storage`.
pub const OTHER_STORAGE_WORDS: &[(&str, &str)] = &[
    ("list", "ls"),
    ("dir", "ls"),
    ("get", "cat"),
    ("show", "cat"),
    ("delete", "rm"),
    ("remove", "rm"),
    ("mkdir", "create"),
    ("mb", "create"),
    ("emulator", "serve"),
];

/// Adds what was most likely meant, where somebody can tell.
pub fn with_hint(mut error: Error, mut program: Command, arguments: &[OsString]) -> Error {
    program.build();
    let command = meant(&program, arguments);
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "clap may get more kinds; it says all there is of those"
    )]
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            if let Some(word) = text(&error, ContextKind::InvalidSubcommand) {
                hint_command(&mut error, command, &word);
            }
        }
        ErrorKind::UnknownArgument => {
            if let Some(flag) = text(&error, ContextKind::InvalidArg) {
                hint_flag(&mut error, &program, command, &flag);
            }
        }
        ErrorKind::InvalidValue => hint_value(&mut error),
        ErrorKind::ValueValidation => hint_number(&mut error),
        _ => {}
    }
    error
}

/// Prints it as every error of petctl looks: with its code.
pub fn print(error: &Error) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    let plain = std::env::var_os("NO_COLOR").is_some()
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
        || !stderr.is_terminal();
    let rendered = error.render();
    let text = if plain {
        rendered.to_string()
    } else {
        rendered.ansi().to_string()
    };
    let text = petctl_text::secrets::masked(&text.replacen("error:", "error[USAGE]:", 1));
    stderr.write_all(text.as_bytes())
}

/// The command that the arguments lead to, as far as they do.
fn meant<'c>(program: &'c Command, arguments: &[OsString]) -> &'c Command {
    let mut command = program;
    for argument in arguments.iter().skip(1) {
        let word = argument.to_str().unwrap_or_default();
        if let Some(inner) = command.find_subcommand(word) {
            command = inner;
        }
    }
    command
}

fn hint_command(error: &mut Error, command: &Command, word: &str) {
    let named = |(other, meant): &(&str, &str)| {
        let same = other.replace('_', "-") == word.to_ascii_lowercase().replace('_', "-");
        same.then(|| (*meant).to_owned())
    };
    let others = if command.get_name() == "storage" {
        OTHER_STORAGE_WORDS
    } else {
        OTHER_WORDS
    };
    let known: Vec<&str> = command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
        .map(Command::get_name)
        .collect();
    let near = others
        .iter()
        .find_map(named)
        .or_else(|| nearest(word, known).map(str::to_owned));
    if let Some(near) = near {
        let near = ContextValue::Strings(vec![near]);
        error.insert(ContextKind::SuggestedSubcommand, near);
    } else if word == "help" {
        let tip = "`petctl --help` has all commands, `petctl COMMAND --help` has one";
        suggest(error, tip.to_owned());
    }
}

fn hint_flag(error: &mut Error, program: &Command, command: &Command, flag: &str) {
    let Some(word) = flag.strip_prefix("--") else {
        return;
    };
    let near = nearest(word, flags(command));
    let others: Vec<String> = program
        .get_subcommands()
        .filter(|other| !other.is_hide_set() && flags(other).any(|known| known == word))
        .map(|other| format!("`petctl {}`", other.get_name()))
        .collect();
    let suggested = error.get(ContextKind::SuggestedArg).is_some();
    // What is spelled as a flag of others is no slip of the hand, however clap finds it to look.
    if suggested && (near.is_some() || others.is_empty()) {
        return;
    }
    if let Some(near) = near {
        error.insert(ContextKind::Suggested, ContextValue::None);
        error.insert(
            ContextKind::SuggestedArg,
            ContextValue::String(format!("--{near}")),
        );
        return;
    }
    if !others.is_empty() {
        if suggested {
            error.remove(ContextKind::SuggestedArg);
            let usage = command.clone().render_usage();
            error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
        }
        suggest(
            error,
            format!("'{flag}' is a flag of {}", others.join(", ")),
        );
    }
}

fn hint_value(error: &mut Error) {
    let word = text(error, ContextKind::InvalidValue);
    let known = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(known)) => known.clone(),
        _ => return,
    };
    let near = word.and_then(|word| {
        let near = nearest(&word, known.iter().map(String::as_str));
        near.map(str::to_owned)
    });
    if let Some(near) = near {
        error.insert(ContextKind::SuggestedValue, ContextValue::String(near));
    }
}

/// The reader of numbers says what it stumbled over, not what it wants.
fn hint_number(error: &mut Error) {
    let source = std::error::Error::source(error);
    if source.is_some_and(|source| source.is::<ParseIntError>()) {
        let flag = text(error, ContextKind::InvalidArg).unwrap_or_default();
        suggest(error, format!("'{flag}' takes a whole number"));
    }
}

/// The long flags of a command that people may know of.
pub fn flags(command: &Command) -> impl Iterator<Item = &str> {
    command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
        .filter_map(clap::Arg::get_long)
}

fn suggest(error: &mut Error, tip: String) {
    let tip = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
    error.insert(ContextKind::Suggested, tip);
}

fn text(error: &Error, kind: ContextKind) -> Option<String> {
    let Some(ContextValue::String(text)) = error.get(kind) else {
        return None;
    };
    Some(text.clone())
}
