//! What no text does, and how much may be said.

use crate::{DESIGN, PIPELINE, SMALL, TRAINING};
use petctl_spec::parse;

/// A small generator with a seed, so that a failure can be had again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).map_or(0, |number| number % bound.max(1))
    }
}

#[test]
fn no_text_makes_the_parser_panic() {
    let words = [
        "[",
        "]",
        "{",
        "}",
        "=",
        "\"",
        "'",
        "\n",
        ".",
        ",",
        "#",
        "-1",
        "99999999999999999999",
        "nan",
        "\u{0}",
        "é",
        "[[stage]]",
        "{input}",
        "shards",
        "needs",
        "range",
        "2024-01-01",
        "\\u0000",
        "\r\n",
        "true",
        "\"\"\"",
        "0x",
        "values",
        "[5, 5]",
        "matrix",
        "az://raw/x",
        "manifest",
        "env:X",
        "{ a = [1] }",
        "0.5",
    ];
    let mut random = Random(42);
    let (mut good, mut bad) = (0, 0);
    for case in 0..5_000 {
        let base = [DESIGN, SMALL, petctl_spec::EXAMPLE, TRAINING, PIPELINE][case % 5];
        let mut text = base.chars().collect::<Vec<_>>();
        for _ in 0..=random.below(4) {
            let at = random.below(text.len());
            match random.below(3) {
                0 => drop(text.drain(at..(at + random.below(12)).min(text.len()))),
                1 => drop(text.splice(at..at, words[random.below(words.len())].chars())),
                _ => {
                    let from = random.below(text.len());
                    let piece = text[from..(from + random.below(30)).min(text.len())].to_vec();
                    text.splice(at..at, piece);
                }
            }
        }
        let text = text.into_iter().collect::<String>();
        let word = words[random.below(words.len())];
        let overrides = [(
            format!("stage.{}.{word}", ["resim", "a", word][case % 3]),
            word.to_owned(),
        )];
        let overrides = if case % 7 == 0 { &overrides[..] } else { &[] };
        match parse(&text, "job.toml", "/jobs", overrides) {
            Ok(spec) => {
                assert_eq!(
                    spec.check(),
                    Ok(()),
                    "case {case}: what the parser takes, the check takes: {text}"
                );
                good += 1;
            }
            Err(errors) => {
                assert!(
                    !errors.errors().is_empty() && !errors.to_string().is_empty(),
                    "case {case}"
                );
                assert!(
                    !errors.to_string().contains("does not know why"),
                    "case {case}: unexplained: {text}"
                );
                bad += 1;
            }
        }
    }
    assert!(
        good > 100 && bad > 100,
        "{good} good, {bad} bad: the cases are of both kinds"
    );
}

#[test]
fn errors_are_bounded_and_their_rest_is_counted() {
    let text = (0..5_000)
        .map(|n| format!("key{n} = 1\n"))
        .collect::<String>();
    let errors = parse(&text, "job.toml", "/jobs", &[]).unwrap_err();
    // There is no [job], no [storage] and no [[stage]] either.
    assert_eq!((errors.errors().len(), errors.left_out()), (50, 4_953));
    assert!(
        errors
            .to_string()
            .ends_with("4953 more errors are not shown")
    );
}

#[test]
fn a_job_file_has_a_largest_size() {
    let text = "#".repeat(petctl_spec::MAX_JOB_FILE_BYTES + 1);
    let message = parse(&text, "job.toml", "/jobs", &[])
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("job.toml: the job file has 16,777,217 bytes"),
        "{message}"
    );
}

#[test]
fn errors_are_data_too() {
    let errors = parse("[job]\nname = 5\n", "job.toml", "/jobs", &[]).unwrap_err();
    let json = serde_json::to_value(&errors).unwrap();
    let error = json["errors"]
        .as_array()
        .unwrap()
        .iter()
        .find(|error| error["key"] == "job.name")
        .unwrap();
    assert_eq!(error["code"], "JOB_FILE_TYPE");
    assert_eq!(
        (
            error["location"]["line"].as_u64(),
            error["location"]["column"].as_u64()
        ),
        (Some(2), Some(8))
    );
    assert_eq!(error["location"]["text"], "name = 5");
}
