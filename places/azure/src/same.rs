//! What is there beside what is wanted: the same in other words, or to be changed.

use serde_json::Value;

/// Whether two values are the same to the service: numbers whatever their form, words in any letter case.
pub(crate) fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::String(one), Value::String(other)) => one.eq_ignore_ascii_case(other),
        (Value::Object(one), Value::Object(other)) => other
            .iter()
            .all(|(name, value)| one.get(name).is_some_and(|one| is_same(one, value))),
        // Nothing and an empty list are one.
        (Value::Null, Value::Array(list)) | (Value::Array(list), Value::Null) => list.is_empty(),
        (Value::Null, Value::Bool(false)) | (Value::Bool(false), Value::Null) => true,
        _ => one == other,
    }
}

/// What has to be done about a resource that is there.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Nothing.
    None,
    /// PUT this.
    Put(Value),
    /// It can't become what is wanted: it has to be removed and made anew, because of these.
    Replace(Vec<String>),
}

/// Puts what is wanted over what is there; the rest stays.
pub(crate) fn lay_over(is: &mut Value, wanted: &Value) {
    match (is, wanted) {
        (Value::Object(is), Value::Object(wanted)) => {
            for (name, value) in wanted {
                lay_over(is.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (is, wanted) => *is = wanted.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_same;
    use serde_json::json;

    #[test]
    fn numbers_letter_case_and_what_is_not_said_make_no_difference() {
        for (there, wanted) in [
            (json!(-1.0), json!(-1)),
            (json!("Spot"), json!("spot")),
            (
                json!({"enabled": true, "issuerURL": "https://…"}),
                json!({"enabled": true}),
            ),
            (json!(null), json!([])),
            (json!(null), json!(false)),
        ] {
            assert!(is_same(&there, &wanted), "{there} {wanted}");
        }
        for (there, wanted) in [
            (json!(1), json!(2)),
            (json!("1"), json!(1)),
            (json!({"enabled": false}), json!({"enabled": true})),
            (json!({}), json!({"enabled": true})),
            (json!(null), json!(true)),
        ] {
            assert!(!is_same(&there, &wanted), "{there} {wanted}");
        }
    }
}
