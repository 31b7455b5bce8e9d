//! One file of settings, and what stands above it for one run.

use crate::error::{Result, SettingsError};
use crate::files::File;
use crate::keys::{KIND, KUBE, ROOT};
use crate::places::{Backend, Chosen, Entry, no_such_place};
use crate::read::{read_azure_of, read_kube};
use crate::sets::Override;
use crate::source::{Setting, Source, settings};
use petctl_codes::Code;
use petctl_keyed::MAX_OVERRIDES;
use petctl_keyed::{Entry as Node, Place, Report, Section, Table, Value, read_toml, set_key};
use petctl_text::words::{is_name, shown};
use std::iter;

/// The place that is always there.
pub(crate) const LOCAL: &str = "local";
/// Longest override in bytes.
const MAX_OVERRIDE_BYTES: usize = 16 * 1024;
/// Most places that one file may define.
const MAX_PLACES: usize = 64;

/// Overrides as pairs; one that is none is refused.
pub(crate) fn pairs(sets: &[Override]) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for Override { path, value } in sets {
        let form = "write `--set place.NAME.KEY=VALUE`, such as `--set place.gpu.namespace=ml`";
        let wrong = |what: &str| {
            let message = format!("--set {}: {what}", shown(path));
            Err(SettingsError::new(Code::Usage, message, form))
        };
        let Some(value) = value else {
            return wrong("there is no KEY=VALUE in it");
        };
        let parts = path.split('.').collect::<Vec<_>>();
        if parts.len() < 3 || parts.iter().any(|part| part.is_empty()) {
            return wrong("it names no key of a place");
        }
        if pairs.len() >= MAX_OVERRIDES || path.len() + value.len() > MAX_OVERRIDE_BYTES {
            return wrong("too many overrides, or too long a one");
        }
        pairs.push((path.clone(), value.clone()));
    }
    Ok(pairs)
}

/// A file while it is read.
pub(crate) struct Layer<'a> {
    file: &'a File,
    report: Report<'a>,
    root: Table,
}

/// What a file says.
pub(crate) struct Said {
    pub(crate) default: Option<Chosen>,
    pub(crate) entries: Vec<Entry>,
}

impl<'a> Layer<'a> {
    pub(crate) fn read(file: &'a File, sets: &[(String, String)]) -> Result<Self> {
        let mut report = Report::new(&file.text, &KIND);
        match read_toml(&file.text, &mut report) {
            Some(root) => Ok(Self { file, report, root }),
            None => Err(wrong(report, file, sets).unwrap_or_else(|| {
                let message = format!("{} can't be read, and petctl does not know why", file.shown);
                SettingsError::new(
                    Code::BadPlace,
                    message,
                    "report this as a bug, with the file",
                )
            })),
        }
    }

    fn place(&mut self, name: &str) -> Option<&mut Table> {
        let Value::Table(places) = &mut self.root.get_mut("place")?.node.value else {
            return None;
        };
        if let Value::Table(table) = &mut places.get_mut(name)?.node.value {
            Some(table)
        } else {
            None
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> + Clone {
        let places = match self.root.get("place").map(|entry| &entry.node.value) {
            Some(Value::Table(places)) => Some(places),
            _ => None,
        };
        places
            .into_iter()
            .flat_map(|places| places.keys())
            .map(String::as_str)
    }

    /// Checks it all.
    pub(crate) fn finish(mut self, sets: &[(String, String)]) -> Result<Said> {
        let said = self.said();
        wrong(self.report, self.file, sets).map_or(Ok(said), Err)
    }

    fn said(&mut self) -> Said {
        let Self { file, report, root } = self;
        let top = Section::open(
            ROOT,
            root,
            Place::Whole,
            String::new(),
            String::new(),
            report,
        );
        let mut said = Said {
            default: None,
            entries: Vec::new(),
        };
        if let Some(name) = top.text("default") {
            let why = source(file, report, top.place_of("default"));
            let name = name.to_owned();
            said.default = Some(Chosen { name, why });
        }
        let Some(Value::Table(places)) = top.node("place").map(|node| &node.value) else {
            return said;
        };
        if places.len() > MAX_PLACES {
            let message = format!("there are {} places", places.len());
            let fix = format!("use at most {MAX_PLACES}");
            report.add(Code::BadPlace, top.place_of("place"), "place", message, fix);
            return said;
        }
        for (name, node) in places {
            said.entries.extend(read_place(file, name, node, report));
        }
        said
    }
}

fn read_place(file: &File, name: &str, node: &Node, report: &mut Report<'_>) -> Option<Entry> {
    let path = format!("place.{name}");
    let mut refuse = |message: String, fix: &str| {
        report.add(Code::BadPlace, node.key, path.as_str(), message, fix);
    };
    if name == LOCAL {
        refuse(
            format!("`{LOCAL}` is this machine, and can't be another place"),
            "give the place another name",
        );
        return None;
    }
    if !is_name(name) || name.ends_with('-') {
        let fix =
            "use 1 to 63 characters of a-z, 0-9 and `-`, a letter first and no `-` at the end";
        refuse(format!("`{}` is no name of a place", shown(name)), fix);
        return None;
    }
    let Value::Table(table) = &node.node.value else {
        let found = node.node.value.kind();
        let fix = format!("write [place.{name}] on a line of its own, and its keys below");
        refuse(format!("`place.{name}` is {found}; it wants a table"), &fix);
        return None;
    };
    let title = format!("[{path}]");
    let section = Section::open(KUBE, table, node.key, path, title, report);
    let kube = read_kube(&section, table, &file.folder, report)?;
    let azure = read_azure_of(&section, report).map(Box::new);
    let where_from = |place: Place| source(file, report, place);
    let mut settings = settings(KUBE, Some(table), "", &where_from);
    fill_in(&mut settings, &kube);
    match &azure {
        None => settings.retain(|setting| !setting.key.starts_with("azure.")),
        Some(azure) => {
            let named = settings
                .iter_mut()
                .filter(|setting| setting.key == "azure.dns_prefix");
            for setting in named {
                setting.value = azure.dns_prefix.clone().into();
            }
        }
    }
    Some(Entry {
        name: name.to_owned(),
        defined: source(file, report, node.key),
        backend: Backend::Kube(Box::new(kube)),
        azure,
        settings,
    })
}

/// Defaults that no table of keys can hold, because they follow from something else.
fn fill_in(settings: &mut [Setting], kube: &crate::kube::KubePlace) {
    let of = |settings: &[Setting], key: &str| {
        let setting = settings.iter().find(|setting| setting.key == key);
        setting
            .map(|setting| setting.value.clone())
            .unwrap_or_default()
    };
    let cpu = of(settings, "resources.cpu");
    let memory = of(settings, "resources.memory");
    let made = matches!(
        kube.coordinator.state,
        crate::kube::StateStorage::New { .. }
    );
    for setting in settings
        .iter_mut()
        .filter(|setting| setting.source == Source::Default)
    {
        match setting.key.as_str() {
            "petctl_image" => setting.value = kube.petctl_image.clone().into(),
            "gpu.image" => setting.value = kube.gpu.image.clone().into(),
            "gpu.operator_version" => setting.value = kube.gpu.operator_version.clone().into(),
            "requests.cpu" => setting.value = cpu.clone(),
            "requests.memory" => setting.value = memory.clone(),
            "coordinator.storage" if !made => setting.value = serde_json::Value::Null,
            _ => {}
        }
    }
    for setting in settings
        .iter_mut()
        .filter(|setting| setting.key == "kubeconfig")
    {
        setting.value = kube.kubeconfig.clone().into();
    }
}

/// Puts overrides where their places are defined: in the first of the files.
pub(crate) fn apply(layers: &mut [Layer<'_>], sets: &[(String, String)]) -> Result<()> {
    for (index, (path, value)) in sets.iter().enumerate() {
        let parts = path.split('.').collect::<Vec<_>>();
        let [_, name, rest @ ..] = parts.as_slice() else {
            continue;
        };
        if *name == LOCAL {
            let message = format!("--set {}: `{LOCAL}` has no keys", shown(path));
            let fix = "what a job gets on this machine, its job file says";
            return Err(SettingsError::new(Code::BadPlace, message, fix));
        }
        let at = layers
            .iter_mut()
            .position(|layer| layer.place(name).is_some());
        let Some(layer) = at.and_then(|at| layers.get_mut(at)) else {
            let names = layers.iter().flat_map(Layer::names);
            let why = Source::Flag("--set");
            return Err(no_such_place(
                name,
                Some(&why),
                iter::once(LOCAL).chain(names),
            ));
        };
        let Some(table) = layer.place(name) else {
            continue;
        };
        if let Err((code, what, fix)) = set_key(table, KUBE, rest, value, index) {
            layer
                .report
                .add(code, Place::Option(index), path.as_str(), what, fix);
        }
    }
    Ok(())
}

fn wrong(report: Report<'_>, file: &File, sets: &[(String, String)]) -> Option<SettingsError> {
    let errors = report.finish(&file.shown, sets)?;
    Some(SettingsError::File(Box::new(errors)))
}

fn source(file: &File, report: &Report<'_>, place: Place) -> Source {
    match place {
        Place::Option(_) => Source::Flag("--set"),
        Place::Whole | Place::Text { .. } => Source::File {
            file: file.shown.clone(),
            line: report.line(place).unwrap_or(1),
        },
    }
}
