//! Every code that a user can meet has a page in docs/errors, and every page is of a code that there is.

use petctl_codes::Code;
use petctl_test_docs::{files, read};
use std::collections::{BTreeMap, BTreeSet};

/// Where codes are made.
const SOURCES: [&str; 9] = [
    "proto/codes/src",
    "proto/src",
    "proto/spec/src",
    "rendezvous/core/src",
    "rendezvous/src",
    "worker/src",
    "storage/src",
    "output/src",
    "launcher/src",
];

const PAGES: &str = "docs/errors";

/// Literals in capitals that are no codes. Names after `value_name =` need not be listed.
const NOT_CODES: [&str; 44] = [
    // Variables of the environment; those that start with one of NOT_CODE_PREFIXES need not be listed.
    "HOME",
    "IDENTITY_ENDPOINT",
    "NODE_OPTIONS",
    "NO_COLOR",
    "PATH",
    "RUST_LOG",
    "TERM",
    // Headings of tables.
    "COMMAND",
    "DONE",
    "HEARD",
    "HOST",
    "JOB",
    "KIND",
    "LEASES",
    "NEEDS",
    "NOTE",
    "SHARD",
    "STAGE",
    "STATE",
    "SUBMITTED",
    "VERDICT",
    // Words of messages.
    "GPU",
    // What `Error::code` would say of a job file without an error; there is none such.
    "JOB_FILE",
    // Variables that torchrun's contract names.
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "ROLE_NAME",
    "ROLE_RANK",
    "ROLE_WORLD_SIZE",
    // Values of torchrun's flags, as its help names them.
    "ADDRESS",
    "DIR",
    "METHOD",
    "MODE",
    "NAME",
    "PORT",
    "SECONDS",
    "WHICH",
    // Variables that torchrun reads, or its Python.
    "PYTHON_EXEC",
    "TMPDIR",
    "TORCH_ELASTIC_SHUTDOWN_TIMEOUT",
    "VIRTUAL_ENV",
];

/// Starts of literals that are no codes: variables of the environment, and signals.
const NOT_CODE_PREFIXES: [&str; 10] = [
    "AZURE_",
    "PETCTL_",
    "CUDA_",
    "XDG_",
    "CARGO_",
    "SIG",
    "TORCHELASTIC_",
    "TORCH_NCCL_",
    "MASTER_",
    "OMP_",
];

/// Codes that nobody can meet: nothing raises them, or what raises them never passes them on. Who makes one of them
/// come to light takes it off this list and writes its page.
const NEVER_MET: [&str; 6] = [
    // Answers of `Manifest::verify`, of which only the sentence is shown.
    "MANIFEST_BROKEN",
    "MANIFEST_FILE_DIFFERS",
    "MANIFEST_MISSING",
    "MANIFEST_UNREADABLE",
    "MANIFEST_VERSION",
    // The keys of a glob are never asked to be computed.
    "SHARDS_ARE_LISTED",
];

#[test]
fn every_code_has_a_page() {
    let pages = pages();
    let missing: Vec<String> = codes()
        .into_iter()
        .filter(|(code, _)| !pages.contains_key(code) && !NEVER_MET.contains(&code.as_str()))
        .map(|(code, place)| format!("{code} ({place})"))
        .collect();
    assert!(
        missing.is_empty(),
        "without a page in {PAGES}: {}\nWrite CODE.md and its line in {PAGES}/README.md. What is no code goes into \
         NOT_CODES of tests/docs/tests/errors.rs, with the reason.",
        missing.join(", ")
    );
}

#[test]
fn every_page_is_of_a_code_that_there_is() {
    let codes = codes();
    assert!(codes.len() > 90, "only {} codes were found", codes.len());
    for code in pages().keys() {
        assert!(
            codes.contains_key(code),
            "{PAGES}/{code}.md: no source has this code"
        );
        assert!(
            !NEVER_MET.contains(&code.as_str()),
            "{code} has a page: take it off NEVER_MET"
        );
    }
}

#[test]
fn what_is_never_met_is_still_there() {
    let codes = codes();
    for code in NEVER_MET {
        assert!(
            codes.contains_key(code),
            "{code} is gone from the sources: take it off NEVER_MET"
        );
    }
}

#[test]
fn every_page_says_what_happened_why_and_what_to_do() {
    for (code, text) in pages() {
        let lines: Vec<&str> = text.lines().collect();
        let title = title(&code, &text);
        assert!(
            title.ends_with('.') && title.len() <= 110,
            "{code}: its title is one short sentence: {title}"
        );
        let headings: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        assert_eq!(
            headings,
            ["What happened", "Why", "What to do"],
            "headings of {code}.md"
        );
        for part in text.split("\n## ").skip(1) {
            let body = part.split_once('\n').map_or("", |(_, body)| body).trim();
            assert!(body.len() > 20, "{code}.md: an empty section");
        }
        assert!(
            lines.len() <= 30,
            "{code}.md has {} lines; a page is short",
            lines.len()
        );
        let long = lines.iter().find(|line| line.chars().count() > 120);
        assert_eq!(
            long, None,
            "{code}.md has a line of more than 120 characters"
        );
    }
}

#[test]
fn the_catalogue_and_the_pages_name_the_same_codes_sentences_and_exits() {
    let pages = pages();
    let known: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let paged: BTreeSet<&str> = pages.keys().map(String::as_str).collect();
    assert_eq!(known, paged);
    for code in Code::ALL {
        let page = &pages[code.as_str()];
        assert_eq!(
            title(code.as_str(), page),
            code.sentence(),
            "{}",
            code.page()
        );
        let number = code.exit().map(|exit| exit.number().to_string());
        assert_eq!(
            exit_number(page),
            number.as_deref(),
            "the line `Exit code: …` of {}",
            code.page()
        );
    }
}

#[test]
fn the_index_lists_every_page_once_with_its_title() {
    let mut listed: BTreeMap<String, String> = BTreeMap::new();
    for line in read(&format!("{PAGES}/README.md")).lines() {
        // | [CODE](CODE.md) | Sentence. |
        let Some((code, rest)) = line
            .strip_prefix("| [")
            .and_then(|rest| rest.split_once("]("))
        else {
            continue;
        };
        let (file, sentence) = rest
            .split_once(") | ")
            .expect("a row of the index has two cells");
        assert_eq!(file, format!("{code}.md"), "the link of {code}");
        let sentence = sentence.trim_end_matches(" |").to_owned();
        assert_eq!(
            listed.insert(code.to_owned(), sentence),
            None,
            "{code} is listed twice"
        );
    }
    let titles: BTreeMap<String, String> = pages()
        .iter()
        .map(|(code, text)| (code.clone(), title(code, text)))
        .collect();
    assert_eq!(listed, titles);
}

#[test]
fn pages_name_commands_and_options_that_there_are() {
    let commands: Vec<String> = files("launcher/src/commands", ".rs")
        .iter()
        .map(|path| read(path))
        .collect();
    let sources = commands.join("\n") + &read("launcher/src/cli.rs");
    let flags = read("launcher/src/torchrun/flags.rs");
    let mut fields: BTreeSet<&str> = sources
        .lines()
        .filter_map(|line| {
            line.trim()
                .trim_start_matches("pub(crate) ")
                .split_once(": ")
        })
        .map(|(name, _)| name)
        .collect();
    // torchrun's flags are a table of their own: each name stands on a line by itself.
    let torchruns: Vec<String> = flags
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","))
        .map(|name| name.replace('-', "_"))
        .collect();
    fields.extend(torchruns.iter().map(String::as_str));
    let (mut named, mut options) = (0, 0);
    for (code, page) in pages() {
        for span in page
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|span| is_command_line(span))
        {
            let mut words = span.split_whitespace();
            let command = words
                .nth(1)
                .filter(|word| span.starts_with("petctl ") && is_lower(word));
            if let Some(command) = command {
                let variant = format!("    {}{}(", command[..1].to_uppercase(), &command[1..]);
                assert!(
                    sources.contains(&variant),
                    "{code}.md: `{span}`: there is no such command"
                );
                named += 1;
            }
            for option in span
                .split_whitespace()
                .filter_map(|word| word.strip_prefix("--"))
            {
                let known = ["help", "version"].contains(&option)
                    || fields.contains(option.replace('-', "_").as_str());
                assert!(known, "{code}.md: `{span}`: there is no option --{option}");
                options += 1;
            }
        }
    }
    assert!(
        named > 60 && options > 60,
        "{named} commands and {options} options were found"
    );
}

fn is_command_line(span: &str) -> bool {
    span.starts_with("petctl ") || span.starts_with("--")
}

fn is_lower(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// Pages by code.
fn pages() -> BTreeMap<String, String> {
    let names = files(PAGES, ".md");
    let code = |path: &str| path[PAGES.len() + 1..].trim_end_matches(".md").to_owned();
    names
        .iter()
        .map(|path| (code(path), read(path)))
        .filter(|(code, _)| code != "README")
        .collect()
}

fn title(code: &str, text: &str) -> String {
    let start = format!("# {code}: ");
    let first = text.lines().next().unwrap_or_default();
    let title = first.strip_prefix(&start);
    title
        .unwrap_or_else(|| panic!("{code}.md starts with `{first}`, not with `{start}`"))
        .to_owned()
}

/// The first number behind `Exit code:`.
fn exit_number(page: &str) -> Option<&str> {
    let said = page
        .lines()
        .find_map(|line| line.strip_prefix("Exit code: "))?;
    said.split(|c: char| !c.is_ascii_digit()).next()
}

/// Codes in the sources, each with one place where it stands.
fn codes() -> BTreeMap<String, String> {
    let mut codes = BTreeMap::new();
    let mut read_files = BTreeSet::new();
    for folder in SOURCES {
        for path in files(folder, ".rs") {
            if path.ends_with("/tests.rs")
                || path.contains("/tests/")
                || !read_files.insert(path.clone())
            {
                continue;
            }
            for (number, line) in without_tests(&read(&path)).lines().enumerate() {
                for code in literals(line).filter(|code| !is_no_code(code)) {
                    codes
                        .entry(code.to_owned())
                        .or_insert_with(|| format!("{path}:{}", number + 1));
                }
            }
        }
    }
    codes
}

/// Test modules stand at the end of their files.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text)
}

/// Literals such as "CODE", and the codes of those such as "CODE: sentence".
fn literals(line: &str) -> impl Iterator<Item = &str> {
    let is_comment = line.trim_start().starts_with("//");
    let starts = line.match_indices('"').filter(move |_| !is_comment);
    starts.filter_map(|(at, _)| {
        let before = &line[..at];
        let rest = &line[at + 1..];
        let end =
            rest.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))?;
        let (code, after) = rest.split_at(end);
        let closed = after.starts_with('"') || after.starts_with(": ");
        (closed && is_shaped(code) && !before.trim_end().ends_with("value_name =")).then_some(code)
    })
}

/// Words of capitals and digits, joined by single underscores; of three characters or more.
fn is_shaped(code: &str) -> bool {
    let is_word = |word: &str| !word.is_empty();
    code.len() >= 3
        && code.starts_with(|c: char| c.is_ascii_uppercase())
        && code.split('_').all(is_word)
}

fn is_no_code(code: &str) -> bool {
    NOT_CODES.contains(&code)
        || NOT_CODE_PREFIXES
            .iter()
            .any(|prefix| code.starts_with(prefix))
}

#[test]
fn literals_are_told_from_codes() {
    let found = |line: &'static str| literals(line).collect::<Vec<_>>();
    assert_eq!(found(r#"bad("BAD_MESSAGE", "x")"#), ["BAD_MESSAGE"]);
    assert_eq!(found(r#"Status::internal("BUG_2: it broke")"#), ["BUG_2"]);
    assert_eq!(found(r#"["A_B", "CDE"]"#), ["A_B", "CDE"]);
    for line in [
        r#"/// "NOT_THIS""#,
        r#"#[arg(value_name = "FILE")]"#,
        r#""Not_This" "NOT THIS" "_NOT" "NOT_" "NOT__THIS" "GB""#,
    ] {
        assert_eq!(found(line), Vec::<&str>::new(), "{line}");
    }
}
