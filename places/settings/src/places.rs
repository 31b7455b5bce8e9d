//! All places that there are, and the one that is meant.

use crate::azure::AzurePlace;
use crate::error::{Result, SettingsError};
use crate::files::{self, File};
use crate::kube::KubePlace;
use crate::layer::{self, LOCAL, Layer};
use crate::sets::Override;
use crate::source::{Setting, Source};
use petctl_codes::Code;
use petctl_text::words::{nearest, shown};
use std::path::Path;

/// The variable of the environment that names the place of jobs.
pub const PLACE_VARIABLE: &str = "PETCTL_ON";
/// The flag that does.
const FLAG: &str = "--on";
/// Most names that a message lists.
const MAX_LISTED: usize = 20;

/// What carries a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// This machine.
    Local,
    /// A Kubernetes cluster.
    Kube(Box<KubePlace>),
}

impl Backend {
    /// As a file says it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Local => LOCAL,
            Self::Kube(_) => "kube",
        }
    }
}

/// A place.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Unique.
    pub name: String,
    /// What carries it.
    pub backend: Backend,
    /// What its cluster is made of in Azure; `None`: nothing is said of it.
    pub azure: Option<Box<AzurePlace>>,
    /// Where it is defined; [`Source::Default`] is `local`, which is nowhere.
    pub defined: Source,
    /// Every key with its value and where that comes from; nothing for `local`.
    pub settings: Vec<Setting>,
}

impl Entry {
    fn local() -> Self {
        Self {
            name: LOCAL.to_owned(),
            backend: Backend::Local,
            azure: None,
            defined: Source::Default,
            settings: Vec::new(),
        }
    }

    /// Where the value of a key comes from; `None`: it has no such key.
    #[must_use]
    pub fn source(&self, key: &str) -> Option<&Source> {
        let setting = self.settings.iter().find(|setting| setting.key == key);
        setting.map(|setting| &setting.source)
    }
}

/// The name of the place that is meant, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Of the place; it need not be there.
    pub name: String,
    /// Who says so.
    pub why: Source,
}

/// Every place that can be named here.
#[derive(Clone, Debug)]
pub struct Places {
    entries: Vec<Entry>,
    default: Chosen,
}

impl Places {
    /// Reads `petctl.toml` of a folder or of the nearest one above it, and the user's file.
    ///
    /// `start` is the folder of the job file, or the current one; `sets` stand above both files; `env` is the
    /// environment.
    ///
    /// # Errors
    /// Where a file can't be read or says something wrong, or an override names no place.
    pub fn find(
        start: &Path,
        sets: &[Override],
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let files = files::find(start, env)?;
        let named = env(PLACE_VARIABLE).filter(|name| !name.is_empty());
        Self::read(&files, sets, named)
    }

    fn read(files: &[File], sets: &[Override], named: Option<String>) -> Result<Self> {
        let sets = layer::pairs(sets)?;
        let mut layers = files
            .iter()
            .map(|file| Layer::read(file, &sets))
            .collect::<Result<Vec<_>>>()?;
        layer::apply(&mut layers, &sets)?;
        let mut entries = Vec::new();
        let mut default = named.map(|name| Chosen {
            name,
            why: Source::Environment(PLACE_VARIABLE),
        });
        for layer in layers {
            let said = layer.finish(&sets)?;
            default = default.or(said.default);
            // The nearer file wins, with all that it says.
            for entry in said.entries {
                if !entries.iter().any(|known: &Entry| known.name == entry.name) {
                    entries.push(entry);
                }
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.insert(0, Entry::local());
        let default = default.unwrap_or_else(|| Chosen {
            name: LOCAL.to_owned(),
            why: Source::Default,
        });
        Ok(Self { entries, default })
    }

    /// All of them: `local`, then the others by their names.
    #[must_use]
    pub fn all(&self) -> &[Entry] {
        &self.entries
    }

    /// The place of jobs for which no flag names one; it need not be there.
    #[must_use]
    pub fn default(&self) -> &Chosen {
        &self.default
    }

    /// The place of that name.
    ///
    /// # Errors
    /// Where there is none.
    pub fn get(&self, name: &str) -> Result<&Entry> {
        self.named(name, None)
    }

    /// The place that is meant: that of the flag `--on`, else of `PETCTL_ON`, of `petctl.toml`, of the user's file, else
    /// `local`.
    ///
    /// # Errors
    /// Where there is no place of that name.
    pub fn choose(&self, flag: Option<&str>) -> Result<(&Entry, Source)> {
        let Some(name) = flag else {
            let Chosen { name, why } = &self.default;
            return Ok((self.named(name, Some(why))?, why.clone()));
        };
        let why = Source::Flag(FLAG);
        Ok((self.named(name, Some(&why))?, why))
    }

    fn named(&self, name: &str, why: Option<&Source>) -> Result<&Entry> {
        let found = self.entries.iter().find(|entry| entry.name == name);
        found.ok_or_else(|| {
            let names = self.entries.iter().map(|entry| entry.name.as_str());
            no_such_place(name, why, names)
        })
    }
}

pub(crate) fn no_such_place<'a>(
    name: &str,
    why: Option<&Source>,
    names: impl Iterator<Item = &'a str> + Clone,
) -> SettingsError {
    let from = why
        .map(|why| format!(", which {why} names"))
        .unwrap_or_default();
    let message = format!("there is no place `{}`{from}", shown(name));
    let listed = names
        .clone()
        .take(MAX_LISTED)
        .map(|name| format!("`{name}`"));
    let listed = listed.collect::<Vec<_>>().join(", ");
    let places = format!(
        "places here: {listed}; a new one is a table [place.NAME] in {}",
        files::FILE_NAME
    );
    let fix = match nearest(name, names) {
        Some(near) => format!("did you mean `{near}`? {places}"),
        None => places,
    };
    SettingsError::new(Code::NoSuchPlace, message, fix)
}
