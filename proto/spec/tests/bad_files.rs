//! Every way in which a job file can be bad, with the whole message that a user sees.
//!
//! The cases are data: `testdata/bad/*.txt`. Each has a title (`## title`), directives (`--set key=value`; `alone`,
//! which leaves away the good tables that are put behind the case), the job file, `----`, and what is printed: the
//! codes, then the message. PETCTL_BLESS=1 writes the latter anew.

use petctl_spec::{JobFileErrors, JobSpec, parse};
use std::fmt::Write as _;
use std::path::Path;

struct Case {
    title: String,
    directives: Vec<String>,
    text: String,
    expected: String,
}

fn read_cases(text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for part in text
        .split("\n## ")
        .map(|part| part.strip_prefix("## ").unwrap_or(part))
    {
        let (title, rest) = part.split_once('\n').expect("a title stands on a line");
        let (input, expected) = rest.split_once("----\n").expect("a case has ----");
        let directive = |line: &&str| line.starts_with("--set ") || *line == "alone";
        let directives = input
            .lines()
            .take_while(directive)
            .map(str::to_owned)
            .collect::<Vec<_>>();
        let text = input
            .lines()
            .skip(directives.len())
            .fold(String::new(), |text, line| text + line + "\n");
        cases.push(Case {
            title: title.into(),
            directives,
            text,
            expected: expected.trim_end().into(),
        });
    }
    cases
}

fn run(case: &Case) -> Result<JobSpec, JobFileErrors> {
    let mut text = case.text.clone();
    if !case.directives.iter().any(|directive| directive == "alone") {
        for (header, table) in [
            ("[job]", "[job]\nname = \"good\"\n"),
            ("[storage]", "[storage]\ninput = \"in\"\noutput = \"out\"\n"),
            (
                "[[stage]]",
                "[[stage]]\nname = \"good\"\nkind = \"once\"\ncommand = [\"true\"]\n",
            ),
        ] {
            if !text.contains(header) {
                text.push_str(table);
            }
        }
    }
    let sets = case
        .directives
        .iter()
        .filter_map(|directive| directive.strip_prefix("--set "));
    let overrides = sets
        .map(|set| set.split_once('=').expect("an override has ="))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect::<Vec<_>>();
    parse(&text, "job.toml", "/jobs", &overrides)
}

fn print(result: &Result<JobSpec, JobFileErrors>) -> String {
    match result {
        Ok(spec) => format!("GOOD\n{spec:?}"),
        Err(errors) => {
            let codes = errors
                .errors()
                .iter()
                .map(|error| error.code.as_str())
                .collect::<Vec<_>>();
            format!("{}\n{errors}", codes.join(" "))
        }
    }
}

#[test]
fn every_bad_job_file_has_its_message() {
    let folder = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("testdata/bad");
    let mut files = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>();
    files.sort();
    assert!(files.len() >= 6, "the cases are there");
    let mut wrong = String::new();
    for file in files {
        let mut blessed = Vec::new();
        for case in read_cases(&std::fs::read_to_string(&file).unwrap()) {
            let printed = print(&run(&case));
            assert!(
                !printed.starts_with("GOOD"),
                "{}: {} is taken for good",
                file.display(),
                case.title
            );
            if printed != case.expected {
                let _ = writeln!(
                    wrong,
                    "\n## {}\nexpected:\n{}\nfound:\n{printed}",
                    case.title, case.expected
                );
            }
            let directives = case
                .directives
                .iter()
                .fold(String::new(), |all, line| all + line + "\n");
            blessed.push(format!(
                "## {}\n{directives}{}----\n{printed}",
                case.title, case.text
            ));
        }
        if std::env::var_os("PETCTL_BLESS").is_some() {
            std::fs::write(&file, blessed.join("\n")).unwrap();
            wrong.clear();
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong}\nwrite them anew with: PETCTL_BLESS=1 cargo test -p petctl-spec"
    );
}
