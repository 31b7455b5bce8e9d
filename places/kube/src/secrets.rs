//! Secrets that a place names: what opens a storage account, and what a registry of images wants.

use crate::cluster::Cluster;
use crate::names::labels;
use crate::objects::{Applying, Difference, apply};
use k8s_openapi::ByteString;
use petctl_settings::KubePlace;
use petctl_text::Secret;
use petctl_ui::error::{Code, Error, Result};
use serde_json::{Value, json};

/// Keys of a Secret by which the Blob CSI driver opens a container (`nodeStageSecretRef` of its documentation).
pub(crate) const ACCOUNT_NAME: &str = "azurestorageaccountname";
/// The account's key.
pub(crate) const ACCOUNT_KEY: &str = "azurestorageaccountkey";
/// A SAS, without its `?`.
pub(crate) const ACCOUNT_SAS: &str = "azurestorageaccountsastoken";
/// The one key of a Secret by which images are pulled.
const DOCKER_CONFIG: &str = ".dockerconfigjson";
/// What Docker's own registry is called in there.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// What opens a storage account.
#[derive(Clone, Debug)]
pub enum Opener {
    /// Its key.
    Key(Secret),
    /// A SAS, without its `?`.
    Sas(Secret),
}

/// A Secret with what opens a storage account: under the names of the Blob CSI driver for volumes, and under those of
/// the environment for workers that fetch and send by themselves.
///
/// # Errors
/// [`Code::Usage`]: the name of the account is none.
pub fn storage_secret(
    place: &KubePlace,
    name: &str,
    account: &str,
    opener: &Opener,
) -> Result<Value> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !(3..=24).contains(&account.len()) || !account.chars().all(good) {
        let what = "--account-name is no name of a storage account";
        return Err(Error::new(Code::Usage, what).fix(
            "it has 3 to 24 lower-case letters and digits: NAME of NAME.blob.core.windows.net",
        ));
    }
    let (csi, variable, text) = match opener {
        Opener::Key(key) => (ACCOUNT_KEY, "AZURE_STORAGE_KEY", key),
        Opener::Sas(sas) => (ACCOUNT_SAS, "AZURE_STORAGE_SAS_TOKEN", sas),
    };
    let text = text.expose();
    let data = [
        (ACCOUNT_NAME, account),
        (csi, text),
        ("AZURE_STORAGE_ACCOUNT", account),
        (variable, text),
    ];
    object(place, name, "Opaque", &data)
}

/// A Secret by which images are pulled from a registry.
///
/// # Errors
/// [`Code::Usage`], [`Code::SecretOnCommandLine`]: the registry's address is none.
pub fn registry_secret(
    place: &KubePlace,
    name: &str,
    (server, username): (&str, &str),
    password: &Secret,
) -> Result<Value> {
    if server.contains('@') {
        let what = "--server has an `@`: an address with a password can be read by every user of this machine";
        return Err(Error::new(Code::SecretOnCommandLine, what)
            .fix("write the registry's host alone, and the password as env:NAME, file:PATH or -"));
    }
    let blank = |text: &str| text.is_empty() || text.contains(char::is_whitespace);
    if blank(server) || username.is_empty() {
        let what = "--server and --username can't be empty";
        return Err(Error::new(Code::Usage, what).fix("write such as --server registry.example"));
    }
    let server = match server.trim_end_matches('/') {
        "docker.io" | "index.docker.io" | "https://index.docker.io/v1" => DOCKER_HUB,
        _ => server,
    };
    let password = password.expose();
    let auth = base64(format!("{username}:{password}").as_bytes());
    let config = json!({ "auths": { server: {
        "username": username, "password": password, "auth": auth,
    } } });
    let config = config.to_string();
    let data = [(DOCKER_CONFIG, config.as_str())];
    object(place, name, "kubernetes.io/dockerconfigjson", &data)
}

/// Values stand in `data`: what is left out at the next time goes away there, and would stay with `stringData`.
fn object(place: &KubePlace, name: &str, kind: &str, data: &[(&str, &str)]) -> Result<Value> {
    let namespace = &place.namespace;
    petctl_settings::check_object_name(name)
        .map_err(|(what, fix)| Error::new(Code::Usage, format!("--name {what}")).fix(fix))?;
    let values = data.iter();
    let values = values.map(|(key, text)| ((*key).to_owned(), base64(text.as_bytes())));
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name, "namespace": namespace, "labels": labels("secret") },
        "type": kind,
        "data": values.collect::<serde_json::Map<String, Value>>(),
    }))
}

fn base64(bytes: &[u8]) -> Value {
    serde_json::to_value(ByteString(bytes.to_vec())).unwrap_or_default()
}

/// A Secret as it may be printed: with the names of its keys in the place of their values.
#[must_use]
pub fn without_values(secret: &Value) -> Value {
    let mut shown = secret.clone();
    let data = shown.as_object_mut().and_then(|map| map.remove("data"));
    let keys = data.as_ref().and_then(Value::as_object);
    let keys = keys.into_iter().flat_map(|map| map.keys());
    let placeholders = keys.map(|key| (key.clone(), json!(format!("<{key}>"))));
    shown["stringData"] = placeholders
        .collect::<serde_json::Map<String, Value>>()
        .into();
    shown
}

/// Makes a Secret, or changes the one that is there; where, and what becomes of it.
///
/// # Errors
/// What the cluster says against it.
pub async fn apply_secret(
    place: &KubePlace,
    secret: &Value,
    dry_run: bool,
    force: bool,
) -> Result<(String, Difference)> {
    let cluster = Cluster::of_place(place).await?;
    let applied = apply(&cluster, secret, Applying { dry_run, force }).await;
    let difference = applied.map_err(|error| {
        if !error.is(Code::NotInstalled) {
            return error;
        }
        let what = format!(
            "namespace {} is not there ({})",
            place.namespace, cluster.shown
        );
        Error::new(Code::NotInstalled, what).fix(
            "make it: petctl setup --on NAME, or kubectl create namespace; then give this again",
        )
    })?;
    Ok((cluster.shown, difference))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIDDEN: &str = "aHVudGVyMmh1bnRlcjI=";

    fn place() -> KubePlace {
        KubePlace {
            namespace: "ml".to_owned(),
            ..KubePlace::default()
        }
    }

    fn plain(secret: &Value) -> Vec<(String, String)> {
        let data = secret["data"].as_object().unwrap();
        let text = |value: &Value| {
            let bytes: ByteString = serde_json::from_value(value.clone()).unwrap();
            String::from_utf8(bytes.0).unwrap()
        };
        data.iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect()
    }

    #[test]
    fn a_storage_secret_has_the_keys_of_the_driver_and_of_the_environment() {
        let cases = [
            (
                Opener::Key(Secret::new(HIDDEN)),
                ACCOUNT_KEY,
                "AZURE_STORAGE_KEY",
            ),
            (
                Opener::Sas(Secret::new("sv=1&sig=x")),
                ACCOUNT_SAS,
                "AZURE_STORAGE_SAS_TOKEN",
            ),
        ];
        for (opener, csi, variable) in cases {
            let secret = storage_secret(&place(), "blob", "myaccount", &opener).unwrap();
            let (Opener::Key(text) | Opener::Sas(text)) = &opener;
            let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
            let mut expected = vec![
                pair("AZURE_STORAGE_ACCOUNT", "myaccount"),
                pair(variable, text.expose()),
                pair(csi, text.expose()),
                pair(ACCOUNT_NAME, "myaccount"),
            ];
            let mut found = plain(&secret);
            expected.sort();
            found.sort();
            assert_eq!(found, expected);
            assert_eq!(secret["type"], "Opaque");
            assert_eq!(secret["metadata"]["namespace"], "ml");
            assert_eq!(secret["metadata"]["labels"]["petctl.io/managed"], "true");
        }
    }

    #[test]
    fn a_registry_secret_is_what_kubelets_read() {
        for (server, known) in [
            ("registry.example:5000", "registry.example:5000"),
            ("docker.io", DOCKER_HUB),
        ] {
            let password = Secret::new("pass:word");
            let secret = registry_secret(&place(), "pull", (server, "me"), &password).unwrap();
            assert_eq!(secret["type"], "kubernetes.io/dockerconfigjson");
            let (key, config) = plain(&secret).remove(0);
            assert_eq!(key, DOCKER_CONFIG);
            let config: Value = serde_json::from_str(&config).unwrap();
            let login =
                json!({ "username": "me", "password": "pass:word", "auth": "bWU6cGFzczp3b3Jk" });
            assert_eq!(config, json!({ "auths": { known: login } }));
        }
    }

    #[test]
    fn what_is_printed_of_a_secret_has_no_value_in_it() {
        let opener = Opener::Key(Secret::new(HIDDEN));
        let secret = storage_secret(&place(), "blob", "myaccount", &opener).unwrap();
        let encoded = secret["data"][ACCOUNT_KEY].as_str().unwrap().to_owned();
        let shown = without_values(&secret).to_string();
        assert!(
            !shown.contains(HIDDEN) && !shown.contains(&encoded),
            "{shown}"
        );
        assert!(shown.contains("<azurestorageaccountkey>"), "{shown}");
        assert!(!format!("{opener:?}").contains(HIDDEN));
    }

    #[test]
    fn names_and_addresses_that_are_none_are_refused_and_a_password_in_one_is_not_repeated() {
        let key = Opener::Key(Secret::new(HIDDEN));
        for account in ["", "ab", "My", "my-account", &"a".repeat(25)] {
            let error = storage_secret(&place(), "blob", account, &key).unwrap_err();
            assert_eq!(error.code(), "USAGE", "{account}");
        }
        let error = storage_secret(&place(), "Blob", "myaccount", &key).unwrap_err();
        assert_eq!(error.code(), "USAGE");
        let server = ("https://me:hunter2@registry.example", "me");
        let error = registry_secret(&place(), "pull", server, &Secret::new("x")).unwrap_err();
        assert_eq!(error.code(), "SECRET_ON_COMMAND_LINE");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        for (server, user) in [("", "me"), ("a b", "me"), ("registry.example", "")] {
            let error = registry_secret(&place(), "pull", (server, user), &Secret::new("x"));
            assert_eq!(error.unwrap_err().code(), "USAGE");
        }
    }
}
