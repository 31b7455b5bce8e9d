//! A layout as its TOML file says it.

use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Component, Path};

/// What a folder must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadLayout {
    /// Its name.
    pub name: String,
    /// One line on what it is for.
    #[serde(default)]
    pub about: String,
    /// Files that must or may be there.
    #[serde(default, rename = "file")]
    pub files: Vec<FileRule>,
    /// Folders that must or may be there.
    #[serde(default, rename = "folder")]
    pub folders: Vec<FolderRule>,
    /// Where files go that come with flags.
    #[serde(default)]
    pub extras: BTreeMap<ExtraFlag, ExtraRule>,
}

/// One file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRule {
    pub path: String,
    #[serde(default = "yes")]
    pub required: bool,
    /// It is JSON with comments.
    #[serde(default)]
    pub json: bool,
    /// The schema of a file that names none itself.
    pub schema: Option<String>,
}

/// One folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderRule {
    pub path: String,
    #[serde(default = "yes")]
    pub required: bool,
    /// At least one file in it fits this.
    #[serde(default = "anything")]
    pub files: String,
    /// What fits this is JSON with comments.
    pub json: Option<String>,
}

/// A flag that adds files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtraFlag {
    Script,
    AssetDir,
    Wheel,
}

impl ExtraFlag {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Script => "--script",
            Self::AssetDir => "--asset-dir",
            Self::Wheel => "--wheel",
        }
    }
}

/// Where the files of a flag go, and what they must be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraRule {
    pub kind: ExtraKind,
    /// Folder in the target.
    pub to: String,
    /// It must be given at least once.
    #[serde(default)]
    pub required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtraKind {
    File,
    Folder,
    Wheel,
}

impl UploadLayout {
    /// Says what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let files = self.files.iter().map(|rule| &rule.path);
        let schemas = self.files.iter().filter_map(|rule| rule.schema.as_ref());
        let folders = self.folders.iter().map(|rule| &rule.path);
        let targets = self.extras.values().map(|rule| &rule.to);
        for path in files.chain(schemas).chain(folders).chain(targets) {
            let inside = Path::new(path)
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            if path.is_empty() || !inside {
                return Err(format!("the path {path:?} leads out of the folder"));
            }
        }
        for rule in &self.folders {
            for pattern in std::iter::once(&rule.files).chain(&rule.json) {
                glob(pattern)?;
            }
        }
        Ok(())
    }
}

/// A pattern of paths below a folder.
pub(crate) fn glob(pattern: &str) -> Result<GlobMatcher, String> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| format!("{pattern:?} is no pattern: {}", error.kind()))
}

fn yes() -> bool {
    true
}

fn anything() -> String {
    "**".to_owned()
}
