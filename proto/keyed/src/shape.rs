//! Checks one value against the shape of its key.

mod lists;

use crate::key::{Choice, Key, MAX_TEXT_BYTES, Shape};
use crate::report::{Place, Report};
use crate::secret;
use crate::section::within;
use crate::tree::{Node, Value};
use petctl_codes::Code;
use petctl_text::duration::{self, parse_percent_ppm};
use petctl_text::words::{is_name, nearest, shown, thousands};

/// The key that a value belongs to, and what messages call it.
pub(crate) struct Subject<'k> {
    pub(crate) path: String,
    pub(crate) title: String,
    pub(crate) key: &'k Key,
}

/// Reports what is wrong with the value; answers whether the parser may use it.
pub(crate) fn check(subject: &Subject<'_>, node: &Node, report: &mut Report<'_>) -> bool {
    match (&subject.key.shape, &node.value) {
        (Shape::Name, Value::Text(text)) => subject.check_name(text, node.place, report),
        (Shape::Text | Shape::Step, Value::Text(text)) => {
            let problem = if text.is_empty() {
                Some("is empty")
            } else {
                text_problem(text, MAX_TEXT_BYTES)
            };
            subject.check_text(problem, node.place, report)
        }
        (Shape::Duration { max_ms }, Value::Text(text)) => {
            subject.check_duration(text, *max_ms, node.place, report)
        }
        (Shape::Bytes { min, max }, Value::Text(text)) => match duration::parse_bytes(text) {
            Ok(bytes) => subject.check_range(i128::from(bytes), *min, *max, node.place, report),
            Err(why) => {
                let message = format!("{} is no size: {why}", subject.named(text));
                subject.report(
                    Code::JobFileValue,
                    node.place,
                    message,
                    "write it such as `64KiB`, `16MiB` or `1GiB`",
                    report,
                )
            }
        },
        (Shape::Integer { min, max } | Shape::Bytes { min, max }, Value::Integer(number)) => {
            subject.check_range(*number, *min, *max, node.place, report)
        }
        (Shape::Count { max, .. }, Value::Integer(number)) => {
            subject.check_range(*number, 1, u64::from(*max), node.place, report)
        }
        (Shape::Count { max, words }, Value::Text(text)) => {
            subject.check_count(*max, words, text, node.place, report)
        }
        (Shape::Thousandths { max }, Value::Integer(_) | Value::Float(_)) => {
            if thousandths(&node.value, *max).is_some() {
                return true;
            }
            let number = shown(&node.value.as_scalar().unwrap_or_default());
            let message = format!(
                "`{}`{} is {number}",
                subject.key.name,
                within(&subject.title)
            );
            let fix = format!(
                "use a number from 0 to {}",
                thousands(u128::from(*max / 1_000))
            );
            subject.report(Code::JobFileValue, node.place, message, fix, report)
        }
        (Shape::Share, Value::Integer(_) | Value::Float(_)) => {
            if share_ppm(&node.value).is_some() {
                return true;
            }
            let number = shown(&node.value.as_scalar().unwrap_or_default());
            let (name, title) = (subject.key.name, within(&subject.title));
            let message = format!("`{name}`{title} is {number}");
            let fix = "use a share from 0 to 1, such as 0.02 for 2 in 100";
            subject.report(Code::JobFileValue, node.place, message, fix, report)
        }
        (Shape::CountOrPercent { max }, Value::Integer(number)) => {
            subject.check_range(*number, 1, *max, node.place, report)
        }
        (Shape::CountOrPercent { .. }, Value::Text(text)) => {
            let Err(why) = parse_percent_ppm(text) else {
                return true;
            };
            let message = format!("{} is no percentage: {why}", subject.named(text));
            let fix = "write a number of shards such as `100`, or a percentage such as `\"80%\"`";
            subject.report(Code::JobFileValue, node.place, message, fix, report)
        }
        (Shape::Secret, Value::Text(text)) => subject.check_secret(text, node.place, report),
        (Shape::Matrix { .. }, Value::Table(_)) | (Shape::Switch, Value::Switch(_)) => true,
        (Shape::Choice(choices), Value::Text(text)) => {
            subject.check_choice(choices, text, node.place, report)
        }
        (Shape::Texts { max }, Value::List(items)) => {
            subject.check_texts(items, *max, node.place, report)
        }
        (Shape::ExitCodes, Value::List(items)) => subject.check_exit_codes(items, report),
        (Shape::Scalars(rule), Value::Table(table)) => {
            subject.check_scalars(*rule, table, node.place, report)
        }
        (Shape::Keys { .. }, Value::List(items)) => {
            subject.check_items(items, "a string", report, |value| {
                matches!(value, Value::Text(_) | Value::Integer(_))
            })
        }
        (Shape::Range, Value::List(items)) => {
            subject.check_pair(items, node.place, report, |value| {
                matches!(value, Value::Integer(_))
            })
        }
        (Shape::Dates, Value::List(items)) => {
            subject.check_pair(items, node.place, report, |value| {
                matches!(value, Value::Text(_) | Value::Date(_))
            })
        }
        (Shape::Table(_) | Shape::Named(_), Value::Table(_)) => true,
        (Shape::Tables { .. } | Shape::Items { .. }, Value::List(items)) => {
            subject.check_tables(items, node.place, report)
        }
        (_, _) => subject.report_type(node, report),
    }
}

/// A share from 0 to 1 in millionths; `None` outside of it. A little is not nothing.
pub(crate) fn share_ppm(value: &Value) -> Option<u32> {
    let number: f64 = value.as_scalar()?.parse().ok()?;
    if !(0.0..=1.0).contains(&number) {
        return None;
    }
    let ppm = (number * 1_000_000.0).round();
    let ppm = if number > 0.0 { ppm.max(1.0) } else { ppm };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to a million, as just checked"
    )]
    Some(ppm as u32)
}

/// A number in thousandths; `None` below 0 and above the bound.
pub(crate) fn thousandths(value: &Value, max: u32) -> Option<u32> {
    let number: f64 = value.as_scalar()?.parse().ok()?;
    // A little is not nothing.
    let milli = if number > 0.0 {
        (number * 1_000.0).round().max(1.0)
    } else {
        number
    };
    if !(0.0..=f64::from(max)).contains(&milli) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "in range, as just checked"
    )]
    Some(milli as u32)
}

/// What the shape wants, with its article.
fn wanted(shape: &Shape) -> &'static str {
    match shape {
        Shape::Name | Shape::Text | Shape::Choice(_) | Shape::Step => "a string",
        Shape::Secret => "a string: `env:NAME` or `file:PATH`",
        Shape::Duration { .. } => "a duration, which is a string",
        Shape::Bytes { .. } => "a size: an integer, or a string with a unit",
        Shape::Integer { .. } => "an integer",
        Shape::Count { .. } => "an integer, or a word",
        Shape::Share | Shape::Thousandths { .. } => "a number",
        Shape::CountOrPercent { .. } => "an integer, or a percentage, which is a string",
        Shape::Switch => "`true` or `false`",
        Shape::Texts { .. } => "a list of strings",
        Shape::ExitCodes => "a list of integers",
        Shape::Scalars(_) | Shape::Table(_) | Shape::Matrix { .. } => "a table",
        Shape::Keys { .. } => "a list of strings",
        Shape::Range => "a list of two integers",
        Shape::Dates => "a list of two dates",
        Shape::Tables { .. } | Shape::Items { .. } => "a list of tables",
        Shape::Named(_) => "tables by name",
    }
}

fn text_problem(text: &str, max_bytes: usize) -> Option<&'static str> {
    if text.len() > max_bytes {
        Some("is too long")
    } else if text.contains('\0') {
        Some("holds a NUL character")
    } else {
        None
    }
}

impl Subject<'_> {
    /// Reports; answers `false`, for the caller to hand on.
    pub(crate) fn report(
        &self,
        code: Code,
        place: Place,
        message: impl Into<String>,
        fix: impl Into<String>,
        report: &mut Report<'_>,
    ) -> bool {
        report.add(code, place, self.path.clone(), message, fix);
        false
    }

    fn report_type(&self, node: &Node, report: &mut Report<'_>) -> bool {
        let (name, wanted) = (self.key.name, wanted(&self.key.shape));
        let found = node.value.kind();
        let message = format!(
            "`{name}`{} is {found}; it wants {wanted}",
            within(&self.title)
        );
        let fix = match self
            .key
            .shape
            .header(name)
            .filter(|_| self.title.is_empty())
        {
            Some(header) => format!("write {header} on a line of its own"),
            None => format!("write it such as `{name} = {}`", self.key.example),
        };
        self.report(Code::JobFileType, node.place, message, fix, report)
    }

    /// `` `name` in [table], `value`, ``: how messages about a value begin.
    fn named(&self, value: &str) -> String {
        format!(
            "`{}`{}: `{}`",
            self.key.name,
            within(&self.title),
            shown(value)
        )
    }

    fn check_text(&self, problem: Option<&str>, place: Place, report: &mut Report<'_>) -> bool {
        let Some(problem) = problem else { return true };
        let message = format!("`{}`{} {problem}", self.key.name, within(&self.title));
        let fix = format!(
            "write it such as `{} = {}`",
            self.key.name, self.key.example
        );
        self.report(Code::JobFileValue, place, message, fix, report)
    }

    fn check_name(&self, text: &str, place: Place, report: &mut Report<'_>) -> bool {
        if is_name(text) {
            return true;
        }
        let message = format!("{} is no name", self.named(text));
        let fix = "use 1 to 63 characters of a-z, 0-9 and `-`, a letter first";
        self.report(Code::JobFileValue, place, message, fix, report)
    }

    fn check_duration(
        &self,
        text: &str,
        max_ms: u64,
        place: Place,
        report: &mut Report<'_>,
    ) -> bool {
        let (message, fix) = match duration::parse_duration_ms(text) {
            Ok(ms) if ms <= max_ms => return true,
            Ok(_) => (
                format!("{} is too long", self.named(text)),
                format!("use at most \"{}\"", duration::format_duration_ms(max_ms)),
            ),
            Err(why) => (
                format!("{} is no duration: {why}", self.named(text)),
                "write whole numbers with d, h, m, s or ms, such as \"500ms\", \"30s\" or \"1h30m\"".to_owned(),
            ),
        };
        self.report(Code::JobFileValue, place, message, fix, report)
    }

    fn check_range(
        &self,
        number: i128,
        min: u64,
        max: u64,
        place: Place,
        report: &mut Report<'_>,
    ) -> bool {
        if number >= i128::from(min) && number <= i128::from(max) {
            return true;
        }
        let (name, title) = (self.key.name, within(&self.title));
        let number = if number == i128::MAX || number == i128::MIN {
            "out of range".to_owned()
        } else {
            number.to_string()
        };
        let message = format!("`{name}`{title} is {number}");
        let fix = if max == u64::MAX {
            format!("use {min} or more")
        } else {
            format!("use a number from {min} to {max}")
        };
        self.report(Code::JobFileValue, place, message, fix, report)
    }

    fn check_count(
        &self,
        max: u32,
        words: &[Choice],
        text: &str,
        place: Place,
        report: &mut Report<'_>,
    ) -> bool {
        if words.iter().any(|word| word.value == text) {
            return true;
        }
        let message = format!("{} is no value of it", self.named(text));
        let words = words.iter().map(|word| format!("`\"{}\"`", word.value));
        let words = words.collect::<Vec<_>>().join(", ");
        let fix = format!("write a number from 1 to {max}, or one of {words}");
        self.report(Code::JobFileValue, place, message, fix, report)
    }

    fn check_choice(
        &self,
        choices: &[Choice],
        text: &str,
        place: Place,
        report: &mut Report<'_>,
    ) -> bool {
        if choices.iter().any(|choice| choice.value == text) {
            return true;
        }
        let message = format!("{} is no value of it", self.named(text));
        let known = choices.iter().map(|choice| choice.value);
        let fix = nearest(text, known.clone()).map_or_else(
            || {
                let known = known.map(|value| format!("`{value}`"));
                format!("write {}", known.collect::<Vec<_>>().join(" or "))
            },
            |near| format!("did you mean `{near}`?"),
        );
        self.report(Code::JobFileValue, place, message, fix, report)
    }

    fn check_secret(&self, text: &str, place: Place, report: &mut Report<'_>) -> bool {
        let Err((what, fix)) = secret::parse_secret(text, "/") else {
            return true;
        };
        let message = format!("`{}`{} {what}", self.key.name, within(&self.title));
        self.report(Code::JobFileValue, place, message, fix, report)
    }
}
