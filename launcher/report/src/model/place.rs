//! Places: `petctl places`.

use petctl_settings as settings;
use petctl_settings::Chosen;
use petctl_text::secrets::masked;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// Where jobs can run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Places {
    /// The place of jobs for which no flag names one; it need not be there.
    pub default: String,
    /// Who says so.
    pub default_source: Source,
    /// All of them: `local`, then the others by their names.
    pub places: Vec<Place>,
}

/// A place.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Place {
    /// Its name.
    pub place: String,
    /// What carries it: `local`, `kube`.
    pub backend: String,
    /// Where it is defined; `local` is nowhere, and always there.
    pub defined: Source,
}

/// A place with all that is said of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PlaceSettings {
    /// Which.
    #[serde(flatten)]
    pub place: Place,
    /// Every key with its value; none of `local`.
    pub settings: Vec<Setting>,
}

/// A key of a place.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Setting {
    /// With its dots, such as `coordinator.storage`.
    pub key: String,
    /// As a file would have it; null: there is none.
    pub value: Value,
    /// Who says so.
    pub source: Source,
}

/// Who says something.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Source {
    /// What kind of source it is.
    pub kind: SourceKind,
    /// The flag, the variable or the file; null: nobody says it.
    pub name: Option<String>,
    /// The line of the file, the first is 1; null: it is no file.
    pub line: Option<u64>,
}

/// A kind of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// `petctl.toml`, or the user's file.
    File,
    /// Nobody.
    Default,
}

impl Places {
    /// All places, and which is the default.
    #[must_use]
    pub fn new(default: &Chosen, places: &[settings::Entry]) -> Self {
        Self {
            default: default.name.clone(),
            default_source: Source::from(&default.why),
            places: places.iter().map(Place::from).collect(),
        }
    }
}

impl From<&settings::Entry> for Place {
    fn from(entry: &settings::Entry) -> Self {
        Self {
            place: entry.name.clone(),
            backend: entry.backend.as_str().to_owned(),
            defined: Source::from(&entry.defined),
        }
    }
}

impl From<&settings::Entry> for PlaceSettings {
    fn from(entry: &settings::Entry) -> Self {
        Self {
            place: Place::from(entry),
            settings: entry.settings.iter().map(Setting::from).collect(),
        }
    }
}

impl From<&settings::Setting> for Setting {
    fn from(setting: &settings::Setting) -> Self {
        Self {
            key: setting.key.clone(),
            value: without_secrets(&setting.value),
            source: Source::from(&setting.source),
        }
    }
}

impl From<&settings::Source> for Source {
    fn from(source: &settings::Source) -> Self {
        let (kind, name, line) = match source {
            settings::Source::Flag(name) => (SourceKind::Flag, Some((*name).to_owned()), None),
            settings::Source::Environment(name) => {
                (SourceKind::Environment, Some((*name).to_owned()), None)
            }
            settings::Source::File { file, line } => {
                (SourceKind::File, Some(file.clone()), Some(*line as u64))
            }
            settings::Source::Default => (SourceKind::Default, None, None),
        };
        Self { kind, name, line }
    }
}

/// The environment of workers has no place for secrets, and some will put them there.
fn without_secrets(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(masked(text)),
        Value::Array(items) => items.iter().map(without_secrets).collect(),
        Value::Object(entries) => {
            let entries = entries.iter();
            Value::Object(
                entries
                    .map(|(key, value)| (key.clone(), without_secrets(value)))
                    .collect(),
            )
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
