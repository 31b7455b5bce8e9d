//! The kubeconfig of a cluster, put where the place looks for it, beside what is there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use petctl_settings::KubePlace;
use petctl_ui::error::{Code, Error, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The lists of a kubeconfig, whose entries have names.
const LISTS: [&str; 3] = ["clusters", "users", "contexts"];

/// Writes it (base64 of YAML) into the kubeconfig of the place. Where that has it already, nothing is written.
pub(crate) fn write(encoded: &str, place: &KubePlace) -> Result<Option<PathBuf>> {
    let no_sense = |error: &(dyn std::error::Error + 'static)| {
        Error::new(
            Code::AzureRefused,
            "the kubeconfig that Azure gives makes no sense",
        )
        .because(error)
    };
    let text = STANDARD.decode(encoded).map_err(|error| no_sense(&error))?;
    let text = String::from_utf8(text).map_err(|error| no_sense(&error))?;
    let new: Value = serde_saphyr::from_str(&text).map_err(|error| no_sense(&error))?;
    let path = path(place)?;
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Error::new(
            Code::NoKubeconfig,
            format!(
                "can't put the cluster into the kubeconfig {}",
                path.display()
            ),
        )
        .because(error)
        .fix("name another file: `kubeconfig` of the place")
    };
    let before: Value = match fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => Value::Null,
        Ok(text) => serde_saphyr::from_str(&text).map_err(|error| failed(&error))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Value::Null,
        Err(error) => return Err(failed(&error)),
    };
    let merged = merged(&before, &new, place.context.as_deref());
    if merged == before {
        return Ok(None);
    }
    let text = serde_saphyr::to_string(&merged).map_err(|error| failed(&error))?;
    put(&path, &text).map_err(|error| failed(&error))?;
    Ok(Some(path))
}

/// Where the place looks for it.
fn path(place: &KubePlace) -> Result<PathBuf> {
    if let Some(path) = &place.kubeconfig {
        return Ok(path.into());
    }
    let named = std::env::var_os("KUBECONFIG")
        .and_then(|all| std::env::split_paths(&all).find(|path| !path.as_os_str().is_empty()));
    if let Some(path) = named {
        return Ok(path);
    }
    let home = std::env::var_os("HOME").ok_or_else(|| {
        Error::new(
            Code::NoKubeconfig,
            "there is no home folder for a kubeconfig",
        )
        .fix("name a file: `kubeconfig` of the place")
    })?;
    Ok(Path::new(&home).join(".kube/config"))
}

/// What is there with the new cluster, user and context; those of the same names are replaced. `context`: what the place
/// calls it.
fn merged(before: &Value, new: &Value, context: Option<&str>) -> Value {
    let mut new = new.clone();
    let own = new
        .pointer("/contexts/0/name")
        .and_then(Value::as_str)
        .map(str::to_owned);
    if let (Some(context), Some(first)) = (context, new.pointer_mut("/contexts/0/name")) {
        *first = json!(context);
    }
    let named = context.map(str::to_owned).or(own);
    if !before.is_object() {
        if let Some(named) = named {
            new["current-context"] = json!(named);
        }
        return new;
    }
    let mut all = before.clone();
    for list in LISTS {
        let mut entries = before
            .get(list)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        for entry in new
            .get(list)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let same = |known: &Value| known.get("name") == entry.get("name");
            match entries.iter_mut().find(|known| same(known)) {
                Some(known) => *known = entry.clone(),
                None => entries.push(entry.clone()),
            }
        }
        all[list] = Value::Array(entries);
    }
    // A place without `context` means the current one, so that must be this cluster's.
    if context.is_none()
        && let Some(named) = named
    {
        all["current-context"] = json!(named);
    }
    all
}

/// Whole or not at all, and for nobody else's eyes.
fn put(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    petctl_output::write_whole(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn of(name: &str, server: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{ "name": name, "cluster": { "server": server } }],
            "users": [{ "name": format!("user-{name}"), "user": { "token": "t" } }],
            "contexts": [{ "name": name, "context": { "cluster": name, "user": format!("user-{name}") } }],
        })
    }

    #[test]
    fn a_cluster_stands_beside_the_others_and_takes_the_place_of_its_former_self() {
        let before = of("home", "https://home");
        let once = merged(&before, &of("avs", "https://old"), Some("gpu"));
        let twice = merged(&once, &of("avs", "https://new"), Some("gpu"));
        assert_eq!(
            twice["current-context"], "home",
            "a named context changes nobody's current one"
        );
        let names = |list: &str| -> Vec<String> {
            let entries = twice[list].as_array().unwrap();
            entries
                .iter()
                .map(|entry| entry["name"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(names("clusters"), ["home", "avs"]);
        assert_eq!(names("contexts"), ["home", "gpu"]);
        assert_eq!(twice["clusters"][1]["cluster"]["server"], "https://new");
        assert_eq!(
            merged(&twice, &of("avs", "https://new"), Some("gpu")),
            twice
        );
    }

    #[test]
    fn a_place_without_a_context_finds_its_cluster_by_the_current_one() {
        let alone = merged(&Value::Null, &of("avs", "https://a"), None);
        assert_eq!(alone["current-context"], "avs");
        let beside = merged(&of("home", "https://home"), &of("avs", "https://a"), None);
        assert_eq!(beside["current-context"], "avs");
    }

    #[test]
    fn it_is_written_for_its_owner_alone_and_only_where_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kube/config");
        let place = KubePlace {
            kubeconfig: Some(path.display().to_string()),
            context: Some("gpu".to_owned()),
            ..KubePlace::default()
        };
        let text = serde_saphyr::to_string(&of("avs", "https://a")).unwrap();
        let encoded = STANDARD.encode(text);
        assert_eq!(write(&encoded, &place).unwrap(), Some(path.clone()));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(write(&encoded, &place).unwrap(), None);
        assert!(write("%%%", &place).unwrap_err().is(Code::AzureRefused));
    }
}
