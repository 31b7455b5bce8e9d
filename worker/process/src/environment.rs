//! What processes inherit of this one's environment.

use std::collections::BTreeMap;
use std::ffi::OsString;

use petctl_spec::{SecretRef, StorageAccess};

/// Variables that hold secrets of the storage.
const STORAGE_SECRETS: [&str; 3] = [
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
];

/// What children inherit of this process's environment.
pub fn inherited(access: &StorageAccess) -> BTreeMap<OsString, OsString> {
    without_own(std::env::vars_os(), access)
}

/// Everything but petctl's own settings, tokens among them, and the secrets of the storage.
fn without_own(
    variables: impl Iterator<Item = (OsString, OsString)>,
    access: &StorageAccess,
) -> BTreeMap<OsString, OsString> {
    let named: Vec<&str> = [&access.sas_token, &access.account_key]
        .into_iter()
        .flatten()
        .filter_map(|secret| match secret {
            SecretRef::Env(name) => Some(name.as_str()),
            SecretRef::File(_) => None,
        })
        .collect();
    let is_secret = |name: &OsString| {
        STORAGE_SECRETS
            .iter()
            .chain(&named)
            .any(|secret| name == secret)
    };
    variables
        .filter(|(name, _)| !name.as_encoded_bytes().starts_with(b"PETCTL_") && !is_secret(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_inherit_no_setting_no_token_and_no_secret_of_the_storage() {
        let variables = [
            ("PATH", "/bin"),
            ("PETCTL_TOKEN", "secret"),
            ("PETCTL_HOME", "/x"),
            ("MY_PETCTL_X", "1"),
            ("AZURE_STORAGE_KEY", "secret"),
            ("AZURE_STORAGE_SAS_TOKEN", "secret"),
            ("AZURE_STORAGE_CONNECTION_STRING", "secret"),
            ("AZURE_STORAGE_ACCOUNT", "name"),
            ("MY_SAS", "secret"),
            ("MY_KEY", "secret"),
        ];
        let access = StorageAccess {
            sas_token: Some(SecretRef::Env("MY_SAS".to_owned())),
            account_key: Some(SecretRef::Env("MY_KEY".to_owned())),
            ..StorageAccess::default()
        };
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        let inherited = without_own(variables, &access);
        let names: Vec<_> = inherited
            .keys()
            .map(|name| name.to_str().unwrap())
            .collect();
        assert_eq!(names, ["AZURE_STORAGE_ACCOUNT", "MY_PETCTL_X", "PATH"]);
    }
}
