use super::*;

fn range(start: u64, end: u64) -> ShardSource {
    ShardSource::Range { start, end }
}

#[test]
fn range_keys_are_padded_to_one_width() {
    let all = |source: &ShardSource| keys(source).unwrap().collect::<Vec<_>>();
    assert_eq!(all(&range(8, 11)), ["08", "09", "10"]);
    assert_eq!(all(&range(0, 1)), ["0"]);
    assert_eq!(all(&range(0, 10)).last().unwrap(), "9");
    assert_eq!(key_at(&range(0, 1_000_000), 41), Some("000041".into()));
    assert_eq!(key_at(&range(0, 10), 10), None);
    assert_eq!(
        key_at(&range(u64::MAX - 1, u64::MAX), 0),
        Some((u64::MAX - 1).to_string())
    );
}

#[test]
fn sources_without_shards_and_with_too_many_are_refused() {
    assert_eq!(keys(&range(5, 5)).unwrap_err(), ShardSourceError::Empty);
    assert_eq!(keys(&range(7, 5)).unwrap_err(), ShardSourceError::Empty);
    let error = keys(&range(0, 2_000_000)).unwrap_err();
    assert_eq!(error.code(), Code::TooManyShards);
    assert_eq!(
        error.to_string(),
        "2,000,000 shards are more than the 1,000,000 a job may have; split the job"
    );
    assert_eq!(
        keys(&ShardSource::Glob("*".into())).unwrap_err(),
        ShardSourceError::Listed
    );
    let dates = ShardSource::Dates {
        first: "x".into(),
        last: "2024-01-01".into(),
        step: "1d".into(),
    };
    assert_eq!(keys(&dates).unwrap_err().code(), Code::InvalidShardSource);
}

#[test]
fn a_key_by_index_is_the_key_in_order() {
    let dates = ShardSource::Dates {
        first: "2024-01-31".into(),
        last: "2024-12-31".into(),
        step: "1mo".into(),
    };
    let values = ShardSource::Values(vec!["b".into(), "a/c".into()]);
    for source in [range(95, 105), dates, values, matrix()] {
        let listed = keys(&source).unwrap();
        assert_eq!(Some(listed.count_all()), count(&source));
        assert_eq!(listed.size_hint().0, listed.clone().count());
        for (index, key) in listed.clone().enumerate() {
            let index = u64::try_from(index).unwrap();
            assert_eq!(listed.get(index), Some(key.clone()));
            assert_eq!(key_at(&source, index), Some(key));
        }
    }
}

fn matrix() -> ShardSource {
    let axis = |name: &str, source| Axis {
        name: name.into(),
        source,
    };
    let dates = ShardSource::Dates {
        first: "2024-01-31".into(),
        last: "2024-04-30".into(),
        step: "1mo".into(),
    };
    ShardSource::Matrix(vec![
        axis("date", dates),
        axis("place", ShardSource::Values(vec!["b".into(), "a/c".into()])),
        axis("seed", range(8, 11)),
    ])
}

#[test]
fn a_matrix_has_every_combination_the_last_axis_first() {
    let source = matrix();
    let keys = keys(&source).unwrap().collect::<Vec<_>>();
    assert_eq!(count(&source), Some(24));
    assert_eq!(keys.len(), 24);
    assert_eq!(keys[0], "date=2024-01-31/place=b/seed=08");
    assert_eq!(keys[1], "date=2024-01-31/place=b/seed=09");
    assert_eq!(keys[3], "date=2024-01-31/place=a/c/seed=08");
    assert_eq!(keys[23], "date=2024-04-30/place=a/c/seed=10");
    assert_eq!(key::check_keys(&keys), Ok(()));
    let last = params_at(&source, 23);
    let last = last
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>();
    assert_eq!(last, ["date=2024-04-30", "place=a/c", "seed=10"]);
    assert!(params_at(&range(0, 5), 3).is_empty());
}

#[test]
fn a_matrix_is_bounded_without_being_listed() {
    let axis = |name: &str| Axis {
        name: name.into(),
        source: range(0, 1_000_000_000),
    };
    let large = ShardSource::Matrix(vec![axis("a"), axis("b"), axis("c"), axis("d")]);
    assert_eq!(keys(&large).unwrap_err().code(), Code::TooManyShards);
    let nested = ShardSource::Matrix(vec![Axis {
        name: "a".into(),
        source: matrix(),
    }]);
    assert_eq!(keys(&nested).unwrap_err().code(), Code::InvalidShardSource);
    let empty = ShardSource::Matrix(Vec::new());
    assert_eq!(keys(&empty).unwrap_err(), ShardSourceError::Empty);
}

#[test]
fn inputs_are_those_of_the_manifest_or_the_file_itself() {
    let detail = ShardDetail {
        inputs: vec!["x".into(), "y".into()],
        ..ShardDetail::default()
    };
    let none = ShardDetail::default();
    let (glob, manifest) = (
        ShardSource::Glob("*".into()),
        ShardSource::Manifest("/m".into()),
    );
    assert_eq!(inputs_of(&glob, "a.xml", &none), ["a.xml"]);
    assert_eq!(inputs_of(&manifest, "k", &detail), ["x", "y"]);
    assert!(inputs_of(&manifest, "k", &none).is_empty());
    assert!(inputs_of(&range(0, 2), "1", &none).is_empty());
}

#[test]
fn globs_match_as_documented() {
    let deep = ShardGlob::new("**/*.xml").unwrap();
    assert!(deep.matches("a.xml") && deep.matches("x/y/a.xml") && !deep.matches("a.xmlx"));
    let flat = ShardGlob::new("*.{xml,json}").unwrap();
    assert!(flat.matches("a.json") && !flat.matches("x/a.json"));
    let deep = format!("{}a{}", "{x,".repeat(500), "}".repeat(500));
    let error = ShardGlob::new(&deep).unwrap_err().to_string();
    assert!(error.ends_with("it is too large or too deep"), "{error}");
    for bad in ["/abs/*.xml", "../*.xml", "a[", "{a", "a\\b"] {
        assert!(ShardGlob::new(bad).is_err(), "{bad}");
    }
}
