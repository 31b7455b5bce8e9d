//! The pages of docs/errors are those of the catalogue of codes, and the catalogue is the only place where a code is
//! spelled.

use petctl_codes::Code;
use petctl_test_docs::{files, product_sources, read, without_tests};
use std::collections::{BTreeMap, BTreeSet};

const PAGES: &str = "docs/errors";

/// Where codes are spelled.
const CATALOGUE: &str = "proto/codes/src/";

#[test]
fn codes_are_spelled_in_the_catalogue_only() {
    let sources = product_sources();
    assert!(sources.len() > 100, "only {} sources", sources.len());
    let mut found = Vec::new();
    for path in sources.iter().filter(|path| !path.starts_with(CATALOGUE)) {
        for (index, line) in without_tests(&read(path)).lines().enumerate() {
            let codes = literals(line).filter(|word| Code::parse(word).is_some());
            found.extend(codes.map(|code| format!("{path}:{}: {code}", index + 1)));
        }
    }
    assert!(
        found.is_empty(),
        "literals that spell a code: use petctl_codes::Code\n{}",
        found.join("\n")
    );
}

/// What to do about a file is decided by what the system said of it, in one place.
#[test]
fn nobody_guesses_at_why_a_file_can_not_be_used() {
    const ONE_PLACE: &str = "proto/text/src/obstacle.rs";
    // Guesses that were made before the cause was looked at.
    const GUESSES: [&str; 4] = [
        "writable for you",
        "readable for you",
        "right to write",
        "make room",
    ];
    let mut found = Vec::new();
    for path in product_sources().iter().filter(|path| *path != ONE_PLACE) {
        for (index, line) in without_tests(&read(path)).lines().enumerate() {
            if GUESSES
                .iter()
                .any(|guess| line.to_lowercase().contains(guess))
            {
                found.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    assert!(
        found.is_empty(),
        "fixes that do not look at the cause: use petctl_text::obstacle\n{}",
        found.join("\n")
    );
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

/// Words of capitals that are literals such as "CODE", or the start of one such as "CODE: sentence".
fn literals(line: &str) -> impl Iterator<Item = &str> {
    let is_comment = line.trim_start().starts_with("//");
    let starts = line.match_indices('"').filter(move |_| !is_comment);
    starts.filter_map(|(at, _)| {
        let rest = &line[at + 1..];
        let end =
            rest.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))?;
        let (word, after) = rest.split_at(end);
        (after.starts_with('"') || after.starts_with(": ")).then_some(word)
    })
}

#[test]
fn literals_are_found_in_lines() {
    let found = |line: &'static str| literals(line).collect::<Vec<_>>();
    assert_eq!(found(r#"bad("BAD_MESSAGE", "x")"#), ["BAD_MESSAGE"]);
    assert_eq!(found(r#"Status::internal("BUG_2: it broke")"#), ["BUG_2"]);
    assert_eq!(found(r#"["A_B", "CDE"]"#), ["A_B", "CDE"]);
    assert_eq!(found(r#"/// "NOT_THIS""#), Vec::<&str>::new());
    assert_eq!(found(r#""Not_This" "NOT THIS""#), Vec::<&str>::new());
}
