//! Checks lists and tables of scalars against the shape of their key.

use super::{Subject, text_problem};
use crate::key::{MAX_COMMAND_BYTES, MAX_ENTRIES, MAX_TEXT_BYTES, NameRule, RESERVED_ENV, Shape};
use crate::report::{Place, Report};
use crate::section::within;
use crate::tree::{Node, Table, Value};
use petctl_codes::Code;
use petctl_text::words::{is_identifier, shown, thousands};

impl Subject<'_> {
    pub(super) fn check_texts(
        &self,
        items: &[Node],
        max: usize,
        place: Place,
        report: &mut Report<'_>,
    ) -> bool {
        let (name, title) = (self.key.name, within(&self.title));
        if items.len() > max {
            let message = format!(
                "`{name}`{title} has {} items",
                thousands(items.len() as u128)
            );
            return self.report(
                Code::JobFileValue,
                place,
                message,
                format!("use at most {max}"),
                report,
            );
        }
        if !self.check_items(items, "a string", report, |value| {
            matches!(value, Value::Text(_))
        }) {
            return false;
        }
        let mut total = 0;
        for (index, item) in items.iter().enumerate() {
            let Value::Text(text) = &item.value else {
                continue;
            };
            total += text.len();
            if text.contains('\0') {
                let message = format!("`{name}[{index}]`{title} holds a NUL character");
                return self.report(
                    Code::JobFileValue,
                    item.place,
                    message,
                    "take it out",
                    report,
                );
            }
        }
        if total > MAX_COMMAND_BYTES {
            let message = format!("`{name}`{title} has {} bytes", thousands(total as u128));
            let fix = format!(
                "use at most {}; put long texts into a file",
                thousands(MAX_COMMAND_BYTES as u128)
            );
            return self.report(Code::JobFileValue, place, message, fix, report);
        }
        true
    }

    pub(super) fn check_exit_codes(&self, items: &[Node], report: &mut Report<'_>) -> bool {
        if !self.check_items(items, "an integer", report, |value| {
            matches!(value, Value::Integer(_))
        }) {
            return false;
        }
        let mut all = true;
        for (index, item) in items.iter().enumerate() {
            let Value::Integer(code) = item.value else {
                continue;
            };
            if (1..=255).contains(&code) {
                continue;
            }
            let name = self.key.name;
            let message = format!("`{name}[{index}]`{} is {code}", within(&self.title));
            let fix = if code == 0 {
                "take it out; 0 is success, which always stands"
            } else {
                "an exit code is a number from 1 to 255"
            };
            all = self.report(Code::JobFileValue, item.place, message, fix, report);
        }
        all
    }

    pub(super) fn check_items(
        &self,
        items: &[Node],
        wanted: &str,
        report: &mut Report<'_>,
        good: impl Fn(&Value) -> bool,
    ) -> bool {
        let mut all = true;
        for (index, item) in items
            .iter()
            .enumerate()
            .filter(|(_, item)| !good(&item.value))
        {
            let name = self.key.name;
            let message = format!(
                "`{name}[{index}]`{} is {}; it wants {wanted}",
                within(&self.title),
                item.value.kind()
            );
            let fix = match item.value.as_scalar() {
                Some(text) if wanted == "a string" => format!("write \"{}\"", shown(&text)),
                _ => format!("write it such as `{name} = {}`", self.key.example),
            };
            all = self.report(Code::JobFileType, item.place, message, fix, report);
        }
        all
    }

    pub(super) fn check_pair(
        &self,
        items: &[Node],
        place: Place,
        report: &mut Report<'_>,
        good: impl Fn(&Value) -> bool,
    ) -> bool {
        let (name, title) = (self.key.name, within(&self.title));
        let fix = format!("write it such as `{name} = {}`", self.key.example);
        if items.len() != 2 {
            let message = format!(
                "`{name}`{title} has {} items; it wants the first and the last",
                items.len()
            );
            return self.report(Code::JobFileValue, place, message, fix, report);
        }
        let mut all = true;
        let wanted = if matches!(self.key.shape, Shape::Range) {
            "an integer"
        } else {
            "a date"
        };
        for (index, item) in items
            .iter()
            .enumerate()
            .filter(|(_, item)| !good(&item.value))
        {
            let message = format!(
                "`{name}[{index}]`{title} is {}; it wants {wanted}",
                item.value.kind()
            );
            all = self.report(Code::JobFileType, item.place, message, fix.clone(), report);
        }
        all
    }

    pub(super) fn check_tables(
        &self,
        items: &[Node],
        place: Place,
        report: &mut Report<'_>,
    ) -> bool {
        if let Shape::Items { max, .. } = self.key.shape
            && items.len() > max
        {
            let message = format!(
                "`{}`{} has {} items",
                self.key.name,
                within(&self.title),
                thousands(items.len() as u128)
            );
            let fix = format!("use at most {max}");
            return self.report(Code::JobFileValue, place, message, fix, report);
        }
        let mut all = true;
        for (index, item) in items
            .iter()
            .enumerate()
            .filter(|(_, item)| !matches!(item.value, Value::Table(_)))
        {
            let name = self.key.name;
            let message = format!(
                "`{name}[{index}]` is {}; it wants a table",
                item.value.kind()
            );
            all = self.report(
                Code::JobFileType,
                item.place,
                message,
                if matches!(self.key.shape, Shape::Items { .. }) {
                    format!("write it such as `{name} = {}`", self.key.example)
                } else {
                    format!("write [[{name}]] in double brackets")
                },
                report,
            );
        }
        all
    }

    pub(super) fn check_scalars(
        &self,
        rule: NameRule,
        table: &Table,
        place: Place,
        report: &mut Report<'_>,
    ) -> bool {
        let title = within(&self.title);
        if table.len() > MAX_ENTRIES {
            let message = format!(
                "`{}`{title} has {} entries",
                self.key.name,
                thousands(table.len() as u128)
            );
            return self.report(
                Code::JobFileValue,
                place,
                message,
                format!("use at most {MAX_ENTRIES}"),
                report,
            );
        }
        let mut all = true;
        for (name, entry) in table {
            let texts = matches!(rule, NameRule::Folders { .. } | NameRule::Foreign);
            if texts && !matches!(entry.node.value, Value::Text(_)) {
                let message = format!(
                    "`{}.{}`{title} is {}; it wants a string",
                    self.key.name,
                    shown(name),
                    entry.node.value.kind()
                );
                let fix = format!(
                    "write it such as `{} = {}`",
                    self.key.name, self.key.example
                );
                all = self.report(Code::JobFileType, entry.node.place, message, fix, report);
                continue;
            }
            let path = format!("{}.{name}", self.path);
            let whole = format!("`{}.{}`{title}", self.key.name, shown(name));
            let problem = scalar_name_problem(rule, name)
                .map(|(what, fix)| (Code::JobFileValue, entry.key, what, fix));
            let problem = problem
                .or_else(|| scalar_problem(&entry.node))
                .or_else(|| folder_problem(rule, &entry.node));
            if let Some((code, place, what, fix)) = problem {
                report.add(code, place, path, format!("{whole} {what}"), fix);
                all = false;
            }
        }
        all
    }
}

fn scalar_name_problem(rule: NameRule, name: &str) -> Option<(String, String)> {
    let what = match rule {
        NameRule::Environment => "is no name of an environment variable",
        NameRule::Parameter => "is no name of a parameter",
        NameRule::Foreign => return None,
        NameRule::Folders { check, .. } => return check(name),
    };
    if !is_identifier(name) {
        return Some((
            what.into(),
            "use letters, digits and `_`, no digit first, at most 128".into(),
        ));
    }
    if matches!(rule, NameRule::Environment) && name.starts_with(RESERVED_ENV) {
        return Some((
            "is a name that petctl keeps for itself".into(),
            "use a name that does not start with `PETCTL_`".into(),
        ));
    }
    None
}

/// Where a container is mounted is the same on every worker, wherever the job file lies.
fn folder_problem(rule: NameRule, node: &Node) -> Option<(Code, Place, String, String)> {
    let Value::Text(text) = &node.value else {
        return None;
    };
    let good = text.starts_with('/') && !text.chars().any(char::is_control);
    if !matches!(rule, NameRule::Folders { .. }) || good {
        return None;
    }
    let what = format!("is `{}`, which is no absolute path", shown(text));
    let fix = "write the folder where every worker has the container, such as \"/mnt/raw\"";
    Some((Code::JobFileValue, node.place, what, fix.into()))
}

fn scalar_problem(node: &Node) -> Option<(Code, Place, String, String)> {
    let Some(text) = node.value.as_scalar() else {
        let what = format!(
            "is {}; it wants a string, a number or a boolean",
            node.value.kind()
        );
        return Some((
            Code::JobFileType,
            node.place,
            what,
            "write it such as \"30\" or 30".into(),
        ));
    };
    if matches!(&node.value, Value::Float(float) if float.contains("nan") || float.contains("inf"))
    {
        let what = format!("is {text}, which is no finite number");
        return Some((
            Code::JobFileValue,
            node.place,
            what,
            "write a finite number, or a string".into(),
        ));
    }
    if matches!(node.value, Value::Integer(number) if i64::try_from(number).is_err()) {
        return Some((
            Code::JobFileValue,
            node.place,
            "does not fit in 64 bits".into(),
            "write it as a string".into(),
        ));
    }
    let problem = text_problem(&text, MAX_TEXT_BYTES)?;
    let fix = format!(
        "use at most {} bytes without NUL; put long texts into a file",
        thousands(MAX_TEXT_BYTES as u128)
    );
    Some((Code::JobFileValue, node.place, problem.to_owned(), fix))
}
