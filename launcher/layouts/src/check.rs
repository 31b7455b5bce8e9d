//! A folder held against a layout. Every fault is found at once.

use super::json::{JsonFolder, files_below};
use super::model::{ExtraFlag, ExtraKind, FolderRule, UploadLayout, glob};
use super::wheel;
use petctl_ui::error::{Code, Error};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What a layout holds against a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file or folder, as a user finds it.
    pub file: String,
    /// Line and pointer in it; empty: all of it.
    pub place: String,
    pub what: String,
    pub fix: String,
}

impl Fault {
    pub fn error(&self) -> Error {
        let place = match self.place.as_str() {
            "" => String::new(),
            place => format!(":{place}"),
        };
        let text = format!("{}{place}: {}", self.file, self.what);
        Error::new(Code::LayoutMismatch, text).fix(self.fix.clone())
    }
}

/// Files and folders that came with flags.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// Scripts.
    pub scripts: Vec<PathBuf>,
    /// Folders of assets.
    pub asset_dirs: Vec<PathBuf>,
    /// Python wheels.
    pub wheels: Vec<PathBuf>,
}

impl Extras {
    fn of(&self, flag: ExtraFlag) -> &[PathBuf] {
        match flag {
            ExtraFlag::Script => &self.scripts,
            ExtraFlag::AssetDir => &self.asset_dirs,
            ExtraFlag::Wheel => &self.wheels,
        }
    }
}

/// What a check has found.
#[derive(Debug, Default)]
pub struct Checked {
    pub faults: Vec<Fault>,
    /// What flags add: local path, and name in the target.
    pub extras: Vec<(PathBuf, String)>,
}

/// Holds a folder and what comes with it against a layout.
pub fn check(layout: &UploadLayout, root: &Path, extras: &Extras) -> Checked {
    let mut checked = Checked::default();
    if !root.is_dir() {
        checked.fault(
            &root.display().to_string(),
            "it is no folder",
            "name the folder that the layout is for",
        );
        return checked;
    }
    checked.check_extras(layout, root, extras);
    let json = JsonFolder::new(root);
    // A file may be named by more than one rule.
    let mut files: BTreeMap<String, (Option<&str>, bool)> = BTreeMap::new();
    for rule in &layout.files {
        match fs::metadata(root.join(&rule.path)) {
            Ok(metadata) if metadata.is_file() => {
                if rule.json {
                    files.insert(
                        rule.path.clone(),
                        (rule.schema.as_deref(), rule.schema.is_some()),
                    );
                }
            }
            Ok(_) => checked.fault(&rule.path, "it is no file", "put a file there"),
            Err(_) if rule.required => {
                checked.fault(
                    &rule.path,
                    "it is missing",
                    "add it, or upload another folder",
                );
            }
            Err(_) => {}
        }
    }
    for rule in &layout.folders {
        for path in checked.check_folder(root, rule) {
            files.entry(path).or_insert((None, false));
        }
    }
    for (path, (schema, must)) in files {
        checked.faults.extend(json.check(&path, schema, must));
    }
    checked
}

impl Checked {
    fn fault(&mut self, file: &str, what: &str, fix: &str) {
        self.faults.push(Fault {
            file: file.to_owned(),
            place: String::new(),
            what: what.to_owned(),
            fix: fix.to_owned(),
        });
    }

    /// Checks a folder; answers which files in it are JSON.
    fn check_folder(&mut self, root: &Path, rule: &FolderRule) -> Vec<String> {
        let shown = format!("{}/", rule.path);
        match fs::metadata(root.join(&rule.path)) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                self.fault(&rule.path, "it is no folder", "put a folder there");
                return Vec::new();
            }
            Err(_) => {
                if rule.required {
                    self.fault(&shown, "it is missing", "add it, or upload another folder");
                }
                return Vec::new();
            }
        }
        let found = files_below(root, &rule.path);
        let fits = |pattern: &str| glob(pattern).ok();
        let any = fits(&rule.files).is_none_or(|glob| found.iter().any(|path| glob.is_match(path)));
        if !any && rule.required {
            let what = format!("no file in it fits {}", rule.files);
            self.fault(&shown, &what, "add one");
        }
        let Some(json) = rule.json.as_deref().and_then(fits) else {
            return Vec::new();
        };
        let found = found.into_iter().filter(|path| json.is_match(path));
        found.map(|path| format!("{}/{path}", rule.path)).collect()
    }

    fn check_extras(&mut self, layout: &UploadLayout, root: &Path, extras: &Extras) {
        let mut targets: BTreeMap<String, String> = BTreeMap::new();
        for flag in [ExtraFlag::Script, ExtraFlag::AssetDir, ExtraFlag::Wheel] {
            let given = extras.of(flag);
            let Some(rule) = layout.extras.get(&flag) else {
                for path in given {
                    let what = format!(
                        "the layout {} has no place for {}",
                        layout.name,
                        flag.as_str()
                    );
                    self.fault(
                        &path.display().to_string(),
                        &what,
                        "leave the flag out, or put it into the folder yourself",
                    );
                }
                continue;
            };
            if rule.required && given.is_empty() {
                let what = format!("the layout {} wants {}", layout.name, flag.as_str());
                self.fault(flag.as_str(), &what, "give it");
            }
            for path in given {
                let shown = path.display().to_string();
                let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                    self.fault(&shown, "it has no name that can be kept", "rename it");
                    continue;
                };
                if let Err((what, fix)) = check_extra(rule.kind, path) {
                    self.fault(&shown, &what, fix);
                    continue;
                }
                let target = format!("{}/{name}", rule.to);
                if root.join(&target).exists() {
                    let what = format!("{target} is in the folder already");
                    self.fault(
                        &shown,
                        &what,
                        "leave the flag out, or remove it from the folder",
                    );
                } else if let Some(other) = targets.insert(target.clone(), shown.clone()) {
                    let what = format!("it and {other} would both be {target}");
                    self.fault(&shown, &what, "rename one of them");
                } else {
                    self.extras.push((path.clone(), target));
                }
            }
        }
    }
}

fn check_extra(kind: ExtraKind, path: &Path) -> Result<(), (String, &'static str)> {
    let metadata = fs::metadata(path)
        .map_err(|error| (format!("it can't be found: {error}"), "check the path"))?;
    match kind {
        ExtraKind::File if !metadata.is_file() => {
            Err(("it is no file".to_owned(), "name the file itself"))
        }
        ExtraKind::Folder if !metadata.is_dir() => {
            Err(("it is no folder".to_owned(), "name the folder itself"))
        }
        ExtraKind::File | ExtraKind::Folder => Ok(()),
        ExtraKind::Wheel => wheel::check(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const CONFIG: &str = "{\n  // how long\n  \"$schema\": \"./schemas/datacollector_config.schema.json\",\n  \"seconds\": 30,\n  \"cameras\": [{\"name\": \"front\"},],\n}\n";
    const SCHEMA: &str = r##"{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
        "required": ["seconds"], "properties": {"seconds": {"type": "integer", "minimum": 1},
        "cameras": {"items": {"$ref": "camera.schema.json"}}}}"##;
    const CAMERA: &str = r#"{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["name"]}"#;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn good() -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            folder
                .write("datacollector_config.jsonc", CONFIG)
                .write("schemas/datacollector_config.schema.json", SCHEMA)
                .write("schemas/camera.schema.json", CAMERA)
                .write("sim_config/town.json", "{\"seed\": 3}");
            folder
        }

        fn write(&self, name: &str, text: &str) -> &Self {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn remove(&self, name: &str) -> &Self {
            let path = self.0.path().join(name);
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
            self
        }

        fn faults(&self) -> Vec<String> {
            self.check(&Extras::default())
                .faults
                .iter()
                .map(shown)
                .collect()
        }

        fn check(&self, extras: &Extras) -> Checked {
            let layout = super::super::load("datagen").unwrap();
            check(&layout, self.0.path(), extras)
        }
    }

    fn shown(fault: &Fault) -> String {
        fault.error().to_string()
    }

    #[test]
    fn a_good_folder_has_no_faults() {
        assert_eq!(Folder::good().faults(), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_told_with_its_file_its_place_and_a_fix() {
        type Break = fn(&Folder) -> &Folder;
        let table: [(Break, &str); 14] = [
            (
                |f| f.remove("datacollector_config.jsonc"),
                "datacollector_config.jsonc: it is missing",
            ),
            (|f| f.remove("sim_config"), "sim_config/: it is missing"),
            (
                |f| f.remove("sim_config/town.json"),
                "sim_config/: no file in it fits **",
            ),
            (
                |f| f.write("sim_config/bad.json", "{\"a\": 1 \"b\": 2}"),
                "sim_config/bad.json:1:",
            ),
            (
                |f| f.write("sim_config/bad.json", "{\n'a': 1}"),
                "sim_config/bad.json:2:1: it is no JSON",
            ),
            (
                |f| f.write("sim_config/empty.json", " "),
                "sim_config/empty.json: it is empty",
            ),
            (
                |f| f.write("datacollector_config.jsonc", &CONFIG.replace("30", "0")),
                "datacollector_config.jsonc:4 /seconds: 0 is less than the minimum of 1",
            ),
            (
                |f| {
                    f.write(
                        "datacollector_config.jsonc",
                        &CONFIG.replace("\"name\"", "\"nam\""),
                    )
                },
                "datacollector_config.jsonc:5 /cameras/0: \"name\" is a required property",
            ),
            (
                |f| {
                    f.write(
                        "datacollector_config.jsonc",
                        &CONFIG.replace("./schemas", "../schemas"),
                    )
                },
                "datacollector_config.jsonc:3 /$schema: its schema ../schemas/datacollector_config.schema.json lies outside",
            ),
            (
                |f| {
                    f.write(
                        "datacollector_config.jsonc",
                        &CONFIG.replace("./schemas", "https://x"),
                    )
                },
                "is not in schemas/, and petctl fetches none",
            ),
            (
                |f| {
                    f.write(
                        "datacollector_config.jsonc",
                        &CONFIG.replace("config.schema", "other.schema"),
                    )
                },
                "is not there",
            ),
            (
                |f| {
                    f.write("schemas/camera.schema.json", "{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\", \"type\": 3}")
                },
                "schemas/camera.schema.json:1 /type: 3 is not valid",
            ),
            (
                |f| f.remove("schemas/camera.schema.json"),
                "camera.schema.json",
            ),
            (
                |f| f.write("sim_config/camera.json", "{}"),
                "sim_config/camera.json:1: \"name\" is a required property",
            ),
        ];
        for (index, (break_it, expected)) in table.into_iter().enumerate() {
            let folder = Folder::good();
            break_it(&folder);
            let faults = folder.faults();
            assert!(
                faults
                    .iter()
                    .any(|fault| fault.contains(expected) && fault.contains("fix:")),
                "{index}: {expected} is not in {faults:#?}"
            );
        }
    }

    #[test]
    fn without_a_named_schema_the_one_of_its_name_counts_and_a_config_needs_one() {
        let folder = Folder::good();
        folder.write("datacollector_config.jsonc", "{\"seconds\": -1}");
        assert_eq!(folder.faults().len(), 1);
        folder.remove("schemas/datacollector_config.schema.json");
        let faults = folder.faults();
        assert!(
            faults[0].contains("there is no schema for it"),
            "{faults:#?}"
        );
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let folder = Folder::good();
        folder
            .remove("sim_config")
            .write("schemas/a.json", "{")
            .write("datacollector_config.jsonc", "[]");
        let extras = Extras {
            scripts: vec![folder.0.path().join("none.py")],
            asset_dirs: vec![folder.0.path().join("datacollector_config.jsonc")],
            wheels: vec![folder.0.path().join("datacollector_config.jsonc")],
        };
        let faults = folder.check(&extras).faults;
        assert_eq!(faults.len(), 6, "{faults:#?}");
    }

    #[test]
    fn files_of_flags_get_their_places_and_wheels_are_looked_into() {
        let folder = Folder::good();
        let others = tempfile::tempdir().unwrap();
        let path = |name: &str| others.path().join(name);
        fs::write(path("drive.py"), "print(1)").unwrap();
        fs::create_dir(path("towns")).unwrap();
        let wheel = |name: &str, metadata: &str, text: &str| {
            let mut zip = zip::ZipWriter::new(fs::File::create(path(name)).unwrap());
            zip.start_file(metadata, zip::write::SimpleFileOptions::default())
                .unwrap();
            zip.write_all(text.as_bytes()).unwrap();
            zip.finish().unwrap();
            path(name)
        };
        let fields = "Metadata-Version: 2.1\nName: My.Sim\nVersion: 1.0\n";
        let good = wheel(
            "my_sim-1.0-py3-none-any.whl",
            "My_Sim-1.0.dist-info/METADATA",
            fields,
        );
        let extras = |wheels| Extras {
            scripts: vec![path("drive.py")],
            asset_dirs: vec![path("towns")],
            wheels,
        };
        let checked = folder.check(&extras(vec![good]));
        assert_eq!(checked.faults, []);
        let targets: Vec<&str> = checked
            .extras
            .iter()
            .map(|(_, name)| name.as_str())
            .collect();
        assert_eq!(
            targets,
            [
                "scripts/drive.py",
                "assets/towns",
                "wheels/my_sim-1.0-py3-none-any.whl"
            ]
        );

        for (bad, expected) in [
            (wheel("other.whl", "x", ""), "not named as a wheel"),
            (
                wheel("a-1-py3-none-any.whl", "b-1.dist-info/METADATA", fields),
                "no a-1.dist-info/METADATA",
            ),
            (
                wheel(
                    "a-2-py3-none-any.whl",
                    "a-2.dist-info/METADATA",
                    "Name: a\n",
                ),
                "no Version:",
            ),
        ] {
            let faults = folder.check(&extras(vec![bad])).faults;
            assert!(
                faults.len() == 1 && faults[0].what.contains(expected),
                "{faults:?}"
            );
        }
        fs::write(path("a-3-py3-none-any.whl"), "no zip").unwrap();
        let faults = folder
            .check(&extras(vec![path("a-3-py3-none-any.whl")]))
            .faults;
        assert!(faults[0].what.contains("no zip archive"), "{faults:?}");
    }
}
