//! `--signals-to-handle`.

/// Names and numbers as Linux has them; those that can't be caught are not here.
const SIGNALS: &[(&str, i32)] = &[
    ("SIGHUP", 1),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGUSR1", 10),
    ("SIGUSR2", 12),
    ("SIGALRM", 14),
    ("SIGTERM", 15),
    ("SIGXCPU", 24),
    ("SIGXFSZ", 25),
    ("SIGVTALRM", 26),
    ("SIGPROF", 27),
    ("SIGWINCH", 28),
    ("SIGIO", 29),
    ("SIGPWR", 30),
];

/// Reads `SIGTERM,SIGINT`.
pub(super) fn read(text: &str) -> Result<Vec<i32>, String> {
    let mut numbers = Vec::new();
    for name in text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let found = SIGNALS.iter().find(|(known, _)| *known == name);
        let Some((_, number)) = found else {
            let why = match name {
                "SIGKILL" | "SIGSTOP" => "can't be handled by any program",
                _ => "is no signal that can be handled",
            };
            return Err(format!(
                "--signals-to-handle: `{}` {why}; known are {}",
                petctl_ui::terminal::printable(name),
                names()
            ));
        };
        if !numbers.contains(number) {
            numbers.push(*number);
        }
    }
    Ok(numbers)
}

fn names() -> String {
    let names: Vec<&str> = SIGNALS.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// `SIGTERM`, where it is known.
pub(super) fn name(number: i32) -> Option<&'static str> {
    const OTHERS: &[(&str, i32)] = &[
        ("SIGILL", 4),
        ("SIGTRAP", 5),
        ("SIGABRT", 6),
        ("SIGBUS", 7),
        ("SIGFPE", 8),
        ("SIGKILL", 9),
        ("SIGSEGV", 11),
        ("SIGPIPE", 13),
        ("SIGSTOP", 19),
        ("SIGSYS", 31),
    ];
    let mut all = SIGNALS.iter().chain(OTHERS);
    all.find(|(_, known)| *known == number)
        .map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_name_and_those_that_cannot_be_handled_are_refused() {
        assert_eq!(read("SIGTERM, SIGUSR1,SIGTERM"), Ok(vec![15, 10]));
        assert_eq!(read(""), Ok(Vec::new()));
        assert!(read("SIGKILL").unwrap_err().contains("any program"));
        assert!(read("TERM").unwrap_err().contains("SIGTERM"));
        assert_eq!(name(11), Some("SIGSEGV"));
    }
}
