//! Python wheels.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Most bytes of a wheel's METADATA that are read.
const MAX_BYTES: u64 = 1024 * 1024;

/// Says what is wrong with a wheel, and what to do.
pub(crate) fn check(path: &Path) -> Result<(), (String, &'static str)> {
    const BUILD: &str = "build it anew: python3 -m build --wheel";
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let parts = name
        .strip_suffix(".whl")
        .map(|stem| stem.split('-').collect::<Vec<_>>());
    let Some((distribution, version)) = parts.as_deref().and_then(named) else {
        return Err((
            "it is not named as a wheel: NAME-VERSION-PYTHON-ABI-PLATFORM.whl".to_owned(),
            "give the file its wheel's name; pip refuses others",
        ));
    };
    let file = File::open(path)
        .map_err(|error| (format!("it can't be read: {error}"), "make it readable"))?;
    let mut archive = zip::ZipArchive::new(file)
        .map_err(|error| (format!("it is no zip archive: {error}"), BUILD))?;
    let wanted = format!("{}-{version}", normal(distribution));
    let metadata = archive
        .file_names()
        .filter_map(Result::ok)
        .find_map(|name| {
            let folder = name.strip_suffix(".dist-info/METADATA")?;
            let (distribution, version) = folder.rsplit_once('-')?;
            (format!("{}-{version}", normal(distribution)) == wanted).then(|| name.to_string())
        });
    let Some(metadata) = metadata else {
        return Err((
            format!("it has no {distribution}-{version}.dist-info/METADATA"),
            BUILD,
        ));
    };
    let mut text = String::new();
    let entry = archive
        .by_name(&metadata)
        .map_err(|error| (format!("its METADATA can't be read: {error}"), BUILD))?;
    entry
        .take(MAX_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| (format!("its METADATA can't be read: {error}"), BUILD))?;
    for field in ["Name:", "Version:"] {
        if !text.lines().any(|line| line.starts_with(field)) {
            return Err((format!("its METADATA has no {field}"), BUILD));
        }
    }
    Ok(())
}

/// Name and version of a wheel from the parts of its file's name.
fn named<'a>(parts: &[&'a str]) -> Option<(&'a str, &'a str)> {
    let good = matches!(parts.len(), 5 | 6) && parts.iter().all(|part| !part.is_empty());
    match parts {
        [name, version, ..] if good => Some((name, version)),
        _ => None,
    }
}

/// Names of distributions are the same with `-`, `_` and `.`, in any letter case.
fn normal(name: &str) -> String {
    name.to_lowercase().replace(['-', '.'], "_")
}
