//! The recipes of the architecture are what the sources do: each list names every file, and no other.

use petctl_test_docs::{files, product_sources, read, without_tests};
use std::collections::BTreeSet;

const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";

/// One recipe: its name, the words that it is found by, and the files that it names.
struct Recipe {
    name: String,
    words: Vec<String>,
    listed: BTreeSet<String>,
}

#[test]
fn every_recipe_names_the_files_that_a_new_one_touches() {
    let recipes = recipes();
    let names: Vec<&str> = recipes.iter().map(|recipe| recipe.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "A command",
            "A command with an RPC",
            "An output",
            "An event",
            "A stage kind",
            "A storage kind",
            "A place"
        ]
    );
    let mut sources = product_sources();
    sources.extend(files("proto/petctl", ".proto"));
    let texts: Vec<(String, String)> = sources
        .into_iter()
        .map(|path| {
            let text = without_tests(&read(&path)).to_owned();
            (path, text)
        })
        .collect();
    for recipe in recipes {
        assert!(!recipe.words.is_empty(), "{}: no words", recipe.name);
        let found: BTreeSet<String> = texts
            .iter()
            .filter(|(_, text)| recipe.words.iter().any(|word| text.contains(word)))
            .map(|(path, _)| path.clone())
            .collect();
        assert_eq!(
            recipe.listed, found,
            "{ARCHITECTURE}: the recipe `{}` (left: what it lists; right: what the sources say)",
            recipe.name
        );
    }
}

fn recipes() -> Vec<Recipe> {
    let text = read(ARCHITECTURE);
    let (_, rest) = text
        .split_once("\n## Recipes\n")
        .expect("the architecture has recipes");
    let (section, _) = rest.split_once("\n## ").unwrap_or((rest, ""));
    let parts = section.split("\n### ").skip(1);
    parts.map(recipe).collect()
}

fn recipe(part: &str) -> Recipe {
    let (name, body) = part.split_once('\n').unwrap_or((part, ""));
    let (said, list) = body.split_once(":\n\n- ").unwrap_or((body, ""));
    let (_, words) = said.rsplit_once(" By ").unwrap_or(("", ""));
    let spans = |text: &str| -> Vec<String> {
        let quoted = text.split('`').skip(1).step_by(2);
        quoted.map(str::to_owned).collect()
    };
    Recipe {
        name: name.trim().to_owned(),
        words: spans(words),
        listed: spans(list).into_iter().collect(),
    }
}
