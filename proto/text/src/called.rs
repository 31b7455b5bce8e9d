//! What a person may call a shard: by its key, by `stage/key` as petctl prints it, by its number without the zeros before
//! it, or by how one of these begins.

/// How well a text names a shard; the larger the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// The name begins so.
    Begins,
    /// The key is that number, with zeros before it.
    Number,
    /// It is the name.
    Exact,
}

/// How a text names the shard `key` of a stage; `None`: it names another one.
#[must_use]
pub fn called(text: &str, stage: &str, key: &str) -> Option<Fit> {
    let in_stage = text
        .strip_prefix(stage)
        .and_then(|rest| rest.strip_prefix('/'));
    [Some(text), in_stage]
        .into_iter()
        .flatten()
        .filter_map(|text| fit(text, key))
        .max()
}

/// Of the shards that a text names, those that it names best.
#[must_use]
pub fn best<T>(named: Vec<T>, fit: impl Fn(&T) -> Option<Fit>) -> Vec<T> {
    let Some(best) = named.iter().filter_map(&fit).max() else {
        return Vec::new();
    };
    let mut named = named;
    named.retain(|one| fit(one) == Some(best));
    named
}

fn fit(text: &str, key: &str) -> Option<Fit> {
    if text == key {
        Some(Fit::Exact)
    } else if is_number(text) && is_number(key) && without_zeros(text) == without_zeros(key) {
        Some(Fit::Number)
    } else {
        key.starts_with(text).then_some(Fit::Begins)
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn without_zeros(number: &str) -> &str {
    number.trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_has_several_names() {
        let cases = [
            ("07", Some(Fit::Exact)),
            ("s/07", Some(Fit::Exact)),
            ("7", Some(Fit::Number)),
            ("s/007", Some(Fit::Number)),
            ("0", Some(Fit::Begins)),
            ("s/0", Some(Fit::Begins)),
            ("s/", Some(Fit::Begins)),
            ("", Some(Fit::Begins)),
            ("8", None),
            ("t/07", None),
            ("s", None),
            ("070", None),
        ];
        for (text, fit) in cases {
            assert_eq!(called(text, "s", "07"), fit, "{text}");
        }
        assert_eq!(called("s/a", "s", "s/a.xml"), Some(Fit::Begins));
        assert_eq!(called("0", "s", "000"), Some(Fit::Number));
    }

    #[test]
    fn the_best_are_kept() {
        let of = |text: &'static str| {
            let keys = vec!["7", "70", "07", "71"];
            best(keys, move |key| called(text, "s", key))
        };
        assert_eq!(of("7"), ["7"]);
        assert_eq!(of("007"), ["7", "07"]);
        assert_eq!(of("s/7"), ["7"]);
        assert_eq!(of("s/"), ["7", "70", "07", "71"]);
        assert!(of("x").is_empty());
    }
}
