//! JSON with comments, checked against the schemas of its folder. Nothing is fetched from anywhere.

use super::check::Fault;
use jsonc_parser::ast::Value as Node;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use jsonschema::{Retrieve, Uri};
use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Largest JSON file that is checked, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Faults of one file that are listed.
const MAX_FAULTS: usize = 50;
/// Longest message of one fault, in characters.
const MAX_CHARS: usize = 300;
/// Addresses of files of the folder, as schemas refer to each other.
const BASE: &str = "petctl-layout:///";
/// Addresses of the drafts' own schemas start so.
const DRAFTS: [&str; 2] = ["http://json-schema.org/", "https://json-schema.org/"];

/// The JSON files of one folder.
pub(crate) struct JsonFolder<'a> {
    root: &'a Path,
    known: Known,
}

/// Schemas by address: that of their file, and their own `$id`.
#[derive(Clone, Debug, Default)]
struct Known {
    by_address: BTreeMap<String, Value>,
    /// Path of the file below the root, by `$id`.
    by_id: BTreeMap<String, String>,
}

/// A file that was read.
struct Document {
    text: String,
    value: Value,
}

impl<'a> JsonFolder<'a> {
    /// Gets to know the schemas in `schemas/`.
    pub(crate) fn new(root: &'a Path) -> Self {
        let mut known = Known::default();
        let entries = walkdir::WalkDir::new(root.join("schemas")).sort_by_file_name();
        for entry in entries.into_iter().flatten() {
            let Ok(below) = entry.path().strip_prefix(root) else {
                continue;
            };
            let Some(below) = below.to_str().filter(|name| name.ends_with(".json")) else {
                continue;
            };
            // What can't be read is told where it is checked.
            let Ok(document) = read(entry.path()) else {
                continue;
            };
            if let Some(id) = document.value.get("$id").and_then(Value::as_str) {
                let id = id.trim_end_matches('#').to_owned();
                known.by_address.insert(id.clone(), document.value.clone());
                known.by_id.insert(id, below.to_owned());
            }
            known
                .by_address
                .insert(format!("{BASE}{below}"), document.value);
        }
        Self { root, known }
    }

    /// Checks one file below the root. `fallback`: its schema where it names none. `must`: it needs one.
    pub(crate) fn check(&self, path: &str, fallback: Option<&str>, must: bool) -> Vec<Fault> {
        let fault = |place: &str, what: String, fix: &str| {
            vec![Fault {
                file: path.to_owned(),
                place: place.to_owned(),
                what,
                fix: fix.to_owned(),
            }]
        };
        let document = match read(&self.root.join(path)) {
            Ok(document) => document,
            Err((place, what)) => {
                return fault(
                    &place,
                    what,
                    "write it as JSON; // comments and trailing commas are allowed",
                );
            }
        };
        let named = document.value.get("$schema").and_then(Value::as_str);
        if let Some(address) =
            named.filter(|address| DRAFTS.iter().any(|draft| address.starts_with(draft)))
        {
            return self.check_schema(path, address, &document);
        }
        let schema = match named {
            Some(address) => match self.resolve(path, address) {
                Ok(schema) => Some(schema),
                Err(what) => {
                    return fault(
                        &place_of(&document.text, "/$schema"),
                        what,
                        "put the schema into schemas/ and name it by its relative path or its $id",
                    );
                }
            },
            None => self.by_name(path, fallback),
        };
        match schema {
            Some(schema) => self.validate(path, &document, &schema),
            None if must => fault(
                "",
                "there is no schema for it".to_owned(),
                &format!(
                    "add {}, or name one by \"$schema\"",
                    fallback.map_or_else(|| schema_name(path), str::to_owned)
                ),
            ),
            None => Vec::new(),
        }
    }

    /// A file that is a schema itself.
    fn check_schema(&self, path: &str, _draft: &str, document: &Document) -> Vec<Fault> {
        match self.validator(path, &document.value) {
            Ok(_) => Vec::new(),
            Err(error) => vec![fault_of(path, document, &error, "")],
        }
    }

    fn validate(&self, path: &str, document: &Document, schema: &str) -> Vec<Fault> {
        let Some(value) = self
            .known
            .by_address
            .get(&format!("{BASE}{schema}"))
            .cloned()
            .or_else(|| {
                // A schema outside of schemas/.
                read(&self.root.join(schema))
                    .ok()
                    .map(|document| document.value)
            })
        else {
            return vec![Fault {
                file: path.to_owned(),
                place: String::new(),
                what: format!("its schema {schema} can't be read"),
                fix: "write the schema as JSON".to_owned(),
            }];
        };
        let validator = match self.validator(schema, &value) {
            Ok(validator) => validator,
            Err(error) => {
                return vec![Fault {
                    file: path.to_owned(),
                    place: String::new(),
                    what: format!("its schema {schema} is none: {}", short(&error.to_string())),
                    fix: format!("mend {schema}"),
                }];
            }
        };
        let errors = validator.iter_errors(&document.value);
        errors
            .take(MAX_FAULTS)
            .map(|error| fault_of(path, document, &error, schema))
            .collect()
    }

    fn validator(
        &self,
        path: &str,
        schema: &Value,
    ) -> Result<jsonschema::Validator, jsonschema::ValidationError<'static>> {
        jsonschema::options()
            .with_base_uri(format!("{BASE}{path}"))
            .with_retriever(self.known.clone())
            .build(schema)
    }

    /// The path of the schema that a file names, below the root.
    fn resolve(&self, path: &str, address: &str) -> Result<String, String> {
        let bare = address.trim_end_matches('#');
        if let Some(path) = self.known.by_id.get(bare) {
            return Ok(path.clone());
        }
        if bare.contains("://") {
            return Err(format!(
                "its schema {bare} is not in schemas/, and petctl fetches none"
            ));
        }
        let parent = Path::new(path).parent().unwrap_or(Path::new(""));
        let Some(below) = inside(&parent.join(bare)) else {
            return Err(format!("its schema {bare} lies outside of the folder"));
        };
        if self.root.join(&below).is_file() {
            Ok(below)
        } else {
            Err(format!("its schema {bare} is not there"))
        }
    }

    fn by_name(&self, path: &str, fallback: Option<&str>) -> Option<String> {
        let by_name = schema_name(path);
        let candidates = fallback
            .into_iter()
            .chain(std::iter::once(by_name.as_str()));
        candidates
            .filter(|schema| self.root.join(schema).is_file())
            .map(str::to_owned)
            .next()
    }
}

impl Retrieve for Known {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn StdError + Send + Sync>> {
        let address = uri.as_str().trim_end_matches('#');
        match self.by_address.get(address) {
            Some(value) => Ok(value.clone()),
            None => Err(format!(
                "it refers to {}, which is not in schemas/",
                address.strip_prefix(BASE).unwrap_or(address)
            )
            .into()),
        }
    }
}

/// `schemas/NAME.schema.json` for `…/NAME.json` or `…/NAME.jsonc`.
fn schema_name(path: &str) -> String {
    let name = Path::new(path).file_stem().unwrap_or_default();
    format!("schemas/{}.schema.json", name.to_string_lossy())
}

/// The path without `.` and `..`; `None` where it leads out.
fn inside(path: &Path) -> Option<String> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !clean.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    clean.to_str().map(str::to_owned)
}

/// Reads a file; where and why it can't be read.
fn read(path: &Path) -> Result<Document, (String, String)> {
    let bytes = petctl_output::manifest::read_bounded(path, MAX_BYTES)
        .map_err(|error| (String::new(), format!("it can't be read: {error}")))?;
    let text =
        String::from_utf8(bytes).map_err(|_| (String::new(), "it is not UTF-8 text".to_owned()))?;
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    // Some editors put a mark before the text.
    let bare = text.trim_start_matches('\u{feff}');
    if bare.trim().is_empty() {
        return Err((String::new(), "it is empty".to_owned()));
    }
    let parsed = parse_to_ast(bare, &CollectOptions::default(), &options).map_err(|error| {
        let place = format!("{}:{}", error.line_display(), error.column_display());
        (place, format!("it is no JSON: {}", error.kind()))
    })?;
    let value = parsed.value.map_or(Value::Null, Value::from);
    Ok(Document {
        text: bare.to_owned(),
        value,
    })
}

fn fault_of(
    path: &str,
    document: &Document,
    error: &jsonschema::ValidationError<'_>,
    schema: &str,
) -> Fault {
    let pointer = error.instance_path().as_str().to_owned();
    let rule = error.schema_path().as_str().to_owned();
    let fix = if schema.is_empty() {
        "mend the schema there".to_owned()
    } else {
        format!("{schema}#{rule} says what it must be")
    };
    Fault {
        file: path.to_owned(),
        place: place_of(&document.text, &pointer),
        what: short(&error.to_string()),
        fix,
    }
}

fn short(text: &str) -> String {
    if text.chars().count() <= MAX_CHARS {
        return text.to_owned();
    }
    let cut: String = text.chars().take(MAX_CHARS).collect();
    format!("{cut}…")
}

/// `12 /vehicles/3/name`: the line and the pointer.
fn place_of(text: &str, pointer: &str) -> String {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &ParseOptions::default());
    let line = parsed
        .ok()
        .and_then(|parsed| parsed.value)
        .and_then(|root| start_of(&root, pointer))
        .map(|start| 1 + text.get(..start).unwrap_or_default().matches('\n').count());
    match (line, pointer) {
        (Some(line), "") => line.to_string(),
        (Some(line), pointer) => format!("{line} {pointer}"),
        (None, pointer) => pointer.to_owned(),
    }
}

fn start_of(root: &Node<'_>, pointer: &str) -> Option<usize> {
    let mut node = root;
    let mut start = root.start();
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        if let Some(object) = node.as_object() {
            let property = object
                .properties
                .iter()
                .find(|property| property.name.as_str() == token)?;
            start = property.start();
            node = &property.value;
        } else {
            let index: usize = token.parse().ok()?;
            node = node.as_array()?.elements.get(index)?;
            start = node.start();
        }
    }
    Some(start)
}

/// Files below a folder that fit a pattern, with `/` between their parts.
pub(crate) fn files_below(root: &Path, folder: &str) -> Vec<String> {
    walkdir::WalkDir::new(root.join(folder))
        .sort_by_file_name()
        .into_iter()
        .flatten()
        .filter(|entry| fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file()))
        .filter_map(|entry| {
            let below = entry.path().strip_prefix(root.join(folder)).ok()?;
            below.to_str().map(str::to_owned)
        })
        .collect()
}
