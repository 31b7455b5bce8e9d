//! One table of the job file, read by its part of the key table: unknown keys, missing keys and wrong types are
//! reported once, here; what the getters answer has the right type.

use crate::key::{self, Key, Presence, Shape};
use crate::report::{Place, Report};
use crate::shape;
use crate::tree::{Entry, Node, Table, Value};
use petctl_codes::Code;
use petctl_text::duration;
use petctl_text::words::{nearest, shown};
use std::collections::BTreeMap;

/// A table with the keys it may have.
pub struct Section<'a> {
    keys: &'static [Key],
    entries: BTreeMap<&'a str, &'a Node>,
    given: BTreeMap<&'a str, Place>,
    /// Of the table's header.
    pub place: Place,
    /// Dotted, without a dot at its end; empty for the whole file.
    pub path: String,
    /// For messages: `[workers]`, `[[stage]] "resim"`; empty for the whole file.
    pub title: String,
}

impl<'a> Section<'a> {
    /// Checks a table against its keys.
    pub fn open(
        keys: &'static [Key],
        table: &'a Table,
        place: Place,
        path: String,
        title: String,
        report: &mut Report<'_>,
    ) -> Self {
        let mut section = Self {
            keys,
            entries: BTreeMap::new(),
            given: BTreeMap::new(),
            place,
            path,
            title,
        };
        for (name, entry) in table {
            section.given.insert(name, entry.node.place);
            if section.accepts(name, entry, report) {
                section.entries.insert(name, &entry.node);
            }
        }
        for key in keys {
            if key.presence == Presence::Required && !table.contains_key(key.name) {
                section.report_missing(key, report);
            }
        }
        section
    }

    /// Whether the key stands there at all, be its value good or bad.
    #[must_use]
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Whether nothing stands there but this key, or nothing at all.
    #[must_use]
    pub fn has_only(&self, name: &str) -> bool {
        self.given.keys().all(|given| *given == name)
    }

    /// Where the key's value stands, be it good or bad; else where the table does.
    #[must_use]
    pub fn place_of(&self, name: &str) -> Place {
        self.given.get(name).copied().unwrap_or(self.place)
    }

    /// The key with its dots.
    #[must_use]
    pub fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// A value of the right type, if there is one.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&'a Node> {
        debug_assert!(
            key::find(self.keys, name).is_some(),
            "`{name}` is in the key table"
        );
        self.entries.get(name).copied()
    }

    /// A string, if there is one.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a str> {
        let Some(Value::Text(text)) = self.node(name).map(|node| &node.value) else {
            return None;
        };
        Some(text)
    }

    /// A whole number: the one that is given, or the default of the key table.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<u64> {
        match self.node(name).map(|node| &node.value) {
            Some(Value::Integer(number)) => u64::try_from(*number).ok(),
            Some(_) => None,
            None => self.default(name).and_then(|text| text.parse().ok()),
        }
    }

    /// A whole number of 32 bits.
    #[must_use]
    pub fn integer_u32(&self, name: &str) -> Option<u32> {
        self.integer(name)
            .and_then(|number| u32::try_from(number).ok())
    }

    /// A duration in ms: the one that is given, or the default of the key table.
    #[must_use]
    pub fn duration_ms(&self, name: &str) -> Option<u64> {
        let text = self.text(name).or_else(|| self.default_text(name))?;
        duration::parse_duration_ms(text).ok()
    }

    /// A size in bytes: the one that is given, or the default of the key table.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<u64> {
        if let Some(Value::Integer(number)) = self.node(name).map(|node| &node.value) {
            return u64::try_from(*number).ok();
        }
        let text = self.text(name).or_else(|| self.default_text(name))?;
        text.parse()
            .ok()
            .or_else(|| duration::parse_bytes(text).ok())
    }

    /// A string or a whole number as text: the one that is given, or the default of the key table.
    #[must_use]
    pub fn scalar(&self, name: &str) -> Option<String> {
        match self.node(name) {
            Some(node) => node.value.as_scalar(),
            None => self.default_text(name).map(str::to_owned),
        }
    }

    /// A number in thousandths: the one that is given, or 0.
    #[must_use]
    pub fn thousandths(&self, name: &str) -> u32 {
        self.node(name)
            .and_then(|node| shape::thousandths(&node.value, u32::MAX))
            .unwrap_or(0)
    }

    /// Whether a switch is on: the one that is given, or the default of the key table.
    #[must_use]
    pub fn switch(&self, name: &str) -> bool {
        match self.node(name).map(|node| &node.value) {
            Some(Value::Switch(on)) => *on,
            Some(_) => false,
            None => self.default(name) == Some("true"),
        }
    }

    /// A share from 0 to 1, in millionths; 0 where there is none.
    #[must_use]
    pub fn share_ppm(&self, name: &str) -> u32 {
        self.node(name)
            .and_then(|node| shape::share_ppm(&node.value))
            .unwrap_or(0)
    }

    /// Exit codes in their order, each once.
    #[must_use]
    pub fn exit_codes(&self, name: &str) -> Vec<u8> {
        let code = |node: &Node| {
            let Value::Integer(code) = node.value else {
                return None;
            };
            u8::try_from(code).ok()
        };
        let mut codes = self.list(name).iter().filter_map(code).collect::<Vec<_>>();
        codes.sort_unstable();
        codes.dedup();
        codes
    }

    /// The items of a list; empty where there is none.
    #[must_use]
    pub fn list(&self, name: &str) -> &'a [Node] {
        let Some(Value::List(items)) = self.node(name).map(|node| &node.value) else {
            return &[];
        };
        items
    }

    /// The strings of a list, with their places.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<(&'a str, Place)> {
        let text = |node: &'a Node| {
            let Value::Text(text) = &node.value else {
                return None;
            };
            Some((text.as_str(), node.place))
        };
        self.list(name).iter().filter_map(text).collect()
    }

    /// The entries of a table of scalars, as text; empty where there is none.
    #[must_use]
    pub fn scalars(&self, name: &str) -> BTreeMap<String, String> {
        let Some(Value::Table(table)) = self.node(name).map(|node| &node.value) else {
            return BTreeMap::new();
        };
        let text =
            |(name, entry): (&String, &Entry)| Some((name.clone(), entry.node.value.as_scalar()?));
        table.iter().filter_map(text).collect()
    }

    /// A table below this one, opened.
    pub fn table(&self, name: &str, title: String, report: &mut Report<'_>) -> Option<Section<'a>> {
        let Some(Key {
            shape: Shape::Table(keys),
            ..
        }) = key::find(self.keys, name)
        else {
            return None;
        };
        let node = self.node(name)?;
        let Value::Table(table) = &node.value else {
            return None;
        };
        Some(Section::open(
            keys,
            table,
            node.place,
            self.path_of(name),
            title,
            report,
        ))
    }

    /// A table below this one, opened; where it is not given, all its keys have their defaults.
    pub fn table_or_empty(
        &self,
        name: &str,
        title: String,
        report: &mut Report<'_>,
    ) -> Option<Section<'a>> {
        static EMPTY: Table = Table::new();
        let Some(Key {
            shape: Shape::Table(keys),
            ..
        }) = key::find(self.keys, name)
        else {
            return None;
        };
        let open = self.table(name, title.clone(), report);
        Some(open.unwrap_or_else(|| {
            Section::open(keys, &EMPTY, self.place, self.path_of(name), title, report)
        }))
    }

    fn accepts(&self, name: &str, entry: &Entry, report: &mut Report<'_>) -> bool {
        let Some(key) = key::find(self.keys, name) else {
            self.report_unknown(name, entry, report);
            return false;
        };
        let subject = shape::Subject {
            path: self.path_of(name),
            title: self.title.clone(),
            key,
        };
        shape::check(&subject, &entry.node, report)
    }

    fn report_unknown(&self, name: &str, entry: &Entry, report: &mut Report<'_>) {
        if report.is_full() {
            return report.leave_out(1);
        }
        let message = format!("unknown key `{}`{}", shown(name), within(&self.title));
        let fix = if let Some(near) = nearest(name, self.keys.iter().map(|key| key.name)) {
            format!("did you mean `{near}`?")
        } else if let Some(home) = home_of(report.kind().root, name) {
            format!("`{name}` is a key of {home}")
        } else {
            let known = self.keys.iter().map(|key| key.name);
            format!("known keys here: {}", known.collect::<Vec<_>>().join(", "))
        };
        report.add(
            Code::JobFileUnknownKey,
            entry.key,
            join(&self.path, name),
            message,
            fix,
        );
    }

    fn report_missing(&self, key: &Key, report: &mut Report<'_>) {
        let (message, fix) = match key.shape.header(key.name).zip(key.shape.keys()) {
            Some((header, keys)) => {
                let needed = keys
                    .iter()
                    .filter(|inner| inner.presence == Presence::Required);
                let needed = needed
                    .map(|inner| format!("`{}`", inner.name))
                    .collect::<Vec<_>>();
                (
                    format!("there is no {header}"),
                    format!("add {header} with {}", listed(&needed)),
                )
            }
            None => (
                format!("`{}` is missing{}", key.name, within(&self.title)),
                format!("add a line such as `{} = {}`", key.name, key.example),
            ),
        };
        report.add(
            Code::JobFileMissing,
            self.place,
            self.path_of(key.name),
            message,
            fix,
        );
    }

    fn default(&self, name: &str) -> Option<&'static str> {
        match key::find(self.keys, name)?.presence {
            Presence::Default(text) => Some(text),
            Presence::Required | Presence::Optional => None,
        }
    }

    fn default_text(&self, name: &str) -> Option<&'static str> {
        self.default(name).map(|text| text.trim_matches('"'))
    }
}

/// ` in [workers]`; nothing for the whole file.
pub(crate) fn within(title: &str) -> String {
    if title.is_empty() {
        String::new()
    } else {
        format!(" in {title}")
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// `a`, `a and b`, `a, b and c`.
fn listed(words: &[String]) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

/// The table that has a key of this name, for keys that stand in the wrong one.
fn home_of(root: &[Key], name: &str) -> Option<String> {
    if key::find(root, name).is_some() {
        return Some("the file itself, not of a table".into());
    }
    let home = root.iter().find(|table| {
        table
            .shape
            .keys()
            .is_some_and(|keys| key::find(keys, name).is_some())
    })?;
    home.shape.header(home.name)
}
