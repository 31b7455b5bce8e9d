//! `petctl places`

use clap::Args;
use petctl_job::Context;
use petctl_report::model::{self, PlaceSettings};
use petctl_settings::{Backend, Entry, Places, Sets, Source};
use petctl_ui::arguments::Format;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{Table, show_table};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Shows where jobs can run.
///
/// Places are tables of petctl.toml, in the current folder or the nearest one above it, and of the user's file,
/// $XDG_CONFIG_HOME/petctl/petctl.toml. `local`, this machine, is always there. With a name: every key of that place,
/// its value, and where that comes from.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 all is well; 78 a file is wrong, or there is no such place.

Examples:
  petctl places
  petctl places gpu
  petctl places gpu --set place.gpu.namespace=test     what a run with that would use
  petctl places --file jobs/resim.toml -o json | jq -r .default")]
pub(crate) struct PlacesArgs {
    /// The place to show in full.
    #[arg(value_name = "NAME")]
    place: Option<String>,

    /// Look for petctl.toml from this job file's folder upwards, as a run of it does.
    #[arg(long, value_name = "JOB_FILE")]
    file: Option<PathBuf>,

    /// Override a key of a place, such as place.gpu.image=train:v7; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(context: &Context, args: &PlacesArgs) -> Result<Exit> {
    let sets = Sets::split(&args.set);
    if let Some(set) = sets.job.first() {
        let what = format!("--set {set}: that is no key of a place");
        return Err(
            Error::new(Code::Usage, what).fix("write it like --set place.gpu.image=train:v7")
        );
    }
    let file = args.file.as_deref().unwrap_or(Path::new(""));
    let start = file.parent().unwrap_or(Path::new(""));
    let places = Places::find(start, &sets.places, &|name| std::env::var(name).ok())?;
    match &args.place {
        Some(name) => show_one(context, args.output, places.get(name)?),
        None => {
            show_all(context, args.output, &places);
            // A default that is not there would stop a run.
            places.choose(None)?;
        }
    }
    Ok(Exit::Success)
}

fn show_all(context: &Context, format: Format, places: &Places) {
    let default = places.default();
    if format == Format::Json {
        return model::print(&context.out, model::Places::new(default, places.all()));
    }
    let mut table = Table::new(&["PLACE", "BACKEND", "WHERE", "DEFAULT", "DEFINED"]);
    for entry in places.all() {
        table.row(vec![
            entry.name.clone(),
            entry.backend.as_str().to_owned(),
            whereabouts(entry),
            match &default.why {
                _ if entry.name != default.name => "-".to_owned(),
                Source::Default => "yes: nothing names another".to_owned(),
                why @ (Source::Flag(_) | Source::Environment(_) | Source::File { .. }) => {
                    format!("yes: {why}")
                }
            },
            defined(entry),
        ]);
    }
    show_table(&context.out, &table);
}

fn show_one(context: &Context, format: Format, entry: &Entry) {
    let out = &context.out;
    let shown = PlaceSettings::from(entry);
    if format == Format::Json {
        return model::print(out, shown);
    }
    out.line(&format!(
        "{}: {} ({})",
        entry.name,
        whereabouts(entry),
        defined(entry)
    ));
    if shown.settings.is_empty() {
        return;
    }
    out.line("");
    let mut table = Table::new(&["  KEY", "VALUE", "SOURCE"]);
    for (setting, shown) in entry.settings.iter().zip(&shown.settings) {
        let value = match &shown.value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            value @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                toml(value)
            }
        };
        table.row(vec![
            format!("  {}", shown.key),
            value,
            setting.source.to_string(),
        ]);
    }
    show_table(out, &table);
}

fn whereabouts(entry: &Entry) -> String {
    match &entry.backend {
        Backend::Local => "this machine".to_owned(),
        Backend::Kube(kube) => {
            let context = kube.context.as_deref();
            let context = context.map_or("current context".to_owned(), |name| {
                format!("context {name}")
            });
            format!("{context}, namespace {}", kube.namespace)
        }
    }
}

fn defined(entry: &Entry) -> String {
    match &entry.defined {
        Source::Default => "always there".to_owned(),
        defined @ (Source::Flag(_) | Source::Environment(_) | Source::File { .. }) => {
            defined.to_string()
        }
    }
}

/// A value as it would stand in a file, on one line.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items = items.iter().map(toml);
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
        Value::Object(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Object(entries) => {
            let entries = entries.iter();
            let entries = entries.map(|(key, value)| format!("{key} = {}", toml(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}
