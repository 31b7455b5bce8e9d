//! Which account is meant, where it is, and what opens it.

use crate::blob::SharedKey;
use crate::emulator;
use crate::error::{StorageError, StorageProblem};
use crate::identity;
use crate::sas::{SasSource, SasToken};
use crate::secret::{self, Secret};
use azure_core::credentials::TokenCredential;
use azure_core::http::Url;
use petctl_spec::StorageAccess;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Variables of the environment that hold secrets of storage. A worker takes them away from its children.
pub const SECRET_VARIABLES: [&str; 3] = [SAS_VARIABLE, KEY_VARIABLE, CONNECTION_VARIABLE];

const SAS_VARIABLE: &str = "AZURE_STORAGE_SAS_TOKEN";
const KEY_VARIABLE: &str = "AZURE_STORAGE_KEY";
const CONNECTION_VARIABLE: &str = "AZURE_STORAGE_CONNECTION_STRING";
const ACCOUNT_VARIABLE: &str = "AZURE_STORAGE_ACCOUNT";

/// An account that can be talked to.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    /// Of the blob service, without a `/` at its end and without a query.
    pub(crate) endpoint: Url,
    pub(crate) credential: Credential,
}

/// The name of the account that is meant, as far as anything names one. Nothing is opened.
#[must_use]
pub fn account(access: &StorageAccess) -> Option<String> {
    let variable = |name: &str| secret::variable(name).ok().flatten();
    let named = access.account.clone();
    named
        .or_else(|| variable(ACCOUNT_VARIABLE).map(|name| name.expose().to_owned()))
        .or_else(|| {
            let connection = ConnectionString::read(&variable(CONNECTION_VARIABLE)?).ok()?;
            connection.account()
        })
        .or_else(|| {
            let endpoint = read_endpoint(access.endpoint.as_deref()?).ok()?;
            account_of_endpoint(&endpoint)
        })
}

/// What opens it.
#[derive(Debug)]
pub(crate) enum Credential {
    Sas(Arc<SasSource>),
    Key(Arc<SharedKey>),
    Token(Arc<dyn TokenCredential>),
}

impl Account {
    /// Finds the account and the first credential that is there.
    pub(crate) fn find(access: &StorageAccess) -> Result<Self, StorageError> {
        let connection = match secret::variable(CONNECTION_VARIABLE)? {
            Some(text) => Some(ConnectionString::read(&text)?),
            None => None,
        };
        Self::resolve(access, connection.as_ref())
    }

    fn resolve(
        access: &StorageAccess,
        connection: Option<&ConnectionString>,
    ) -> Result<Self, StorageError> {
        let named = match &access.account {
            Some(name) => Some(name.clone()),
            None => secret::variable(ACCOUNT_VARIABLE)?.map(|name| name.expose().to_owned()),
        };
        // A connection string of another account is none of this one's.
        let connection = connection.filter(|connection| {
            let theirs = connection.account();
            named.is_none() || theirs.is_none() || named == theirs
        });
        let endpoint = match (
            &access.endpoint,
            connection.and_then(|c| c.endpoint.as_deref()),
        ) {
            (Some(text), _) => Some(read_endpoint(text)?),
            (None, Some(text)) => Some(read_endpoint(text)?),
            (None, None) => None,
        };
        let name = named
            .or_else(|| connection.and_then(ConnectionString::account))
            .or_else(|| endpoint.as_ref().and_then(account_of_endpoint))
            .ok_or_else(no_account)?;
        check_account(&name)?;
        let endpoint = match endpoint {
            Some(endpoint) => endpoint,
            None => read_endpoint(&connection.map_or_else(
                || format!("https://{name}.blob.core.windows.net"),
                |connection| connection.default_endpoint(&name),
            ))?,
        };
        let credential = find_credential(access, connection, &name, &endpoint)?;
        if let Credential::Token(_) = credential
            && endpoint.scheme() != "https"
        {
            return Err(StorageError::new(
                StorageProblem::NoCredential,
                format!(
                    "there is no SAS and no account key for {endpoint}, and an identity's token is not sent over \
                     plain http"
                ),
            )
            .fix(WAYS));
        }
        Ok(Self {
            name,
            endpoint,
            credential,
        })
    }
}

fn find_credential(
    access: &StorageAccess,
    connection: Option<&ConnectionString>,
    account: &str,
    endpoint: &Url,
) -> Result<Credential, StorageError> {
    let key = |key: &Secret| SharedKey::new(account, key.expose()).map(Arc::new);
    if let Some(place) = &access.sas_token {
        return Ok(Credential::Sas(Arc::new(SasSource::open(place)?)));
    }
    if let Some(place) = &access.account_key {
        return Ok(Credential::Key(key(&secret::read(place, "account key")?)?));
    }
    if let Some(text) = secret::variable(SAS_VARIABLE)? {
        let token = SasToken::read(text.expose())?;
        return Ok(Credential::Sas(Arc::new(SasSource::fixed(token))));
    }
    if let Some(text) = secret::variable(KEY_VARIABLE)? {
        return Ok(Credential::Key(key(&text)?));
    }
    if let Some(connection) = connection {
        if let Some(sas) = &connection.sas {
            let token = SasToken::read(sas.expose())?;
            return Ok(Credential::Sas(Arc::new(SasSource::fixed(token))));
        }
        if let Some(text) = &connection.key {
            return Ok(Credential::Key(key(text)?));
        }
    }
    // The emulator's key is published, and opens nothing but an emulator.
    if account == emulator::ACCOUNT && is_loopback(endpoint) {
        return Ok(Credential::Key(key(&Secret::new(emulator::KEY))?));
    }
    Ok(Credential::Token(identity::find(
        access.client_id.as_deref(),
    )?))
}

const WAYS: &str = "name one in [storage]: `sas_token` or `account_key` with `env:NAME` or `file:PATH`; or set \
                    AZURE_STORAGE_SAS_TOKEN, AZURE_STORAGE_KEY or AZURE_STORAGE_CONNECTION_STRING";

fn no_account() -> StorageError {
    StorageError::new(
        StorageProblem::NoCredential,
        "no storage account is named, so `az://…` leads nowhere",
    )
    .fix("set `account` in [storage], or the environment variable AZURE_STORAGE_ACCOUNT")
}

fn check_account(name: &str) -> Result<(), StorageError> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if (3..=24).contains(&name.len()) && name.bytes().all(good) {
        return Ok(());
    }
    let shown: String = name.chars().take(40).collect();
    Err(StorageError::new(
        StorageProblem::BadName,
        format!("{shown:?} can't be the name of a storage account"),
    )
    .fix("names of accounts have 3 to 24 of a-z and 0-9"))
}

fn read_endpoint(text: &str) -> Result<Url, StorageError> {
    let refuse = |why: &str| {
        // Whoever pasted a SAS with it must not find it in a log.
        let shown: String = text.split('?').next().unwrap_or_default().to_owned();
        StorageError::new(
            StorageProblem::BadName,
            format!("{shown:?} can't be the address of a blob service: {why}"),
        )
        .fix("it looks like https://ACCOUNT.blob.core.windows.net or http://127.0.0.1:10000/devstoreaccount1")
    };
    let mut url = Url::parse(text.trim()).map_err(|error| refuse(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refuse("it is no http or https address"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse(
            "it has a `?` or `#`; a SAS belongs into `sas_token`",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it has a user's name or a password in it"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// `http://host/ACCOUNT` of an emulator, or `https://ACCOUNT.blob.…`.
fn account_of_endpoint(endpoint: &Url) -> Option<String> {
    let path = endpoint.path().trim_matches('/');
    if !path.is_empty() {
        return Some(path.to_owned());
    }
    let (name, rest) = endpoint.host_str()?.split_once('.')?;
    rest.starts_with("blob.").then(|| name.to_owned())
}

/// Whether the address is this machine itself.
pub(crate) fn is_loopback(endpoint: &Url) -> bool {
    let host = endpoint.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// What `AZURE_STORAGE_CONNECTION_STRING` says.
#[derive(Debug, Default)]
struct ConnectionString {
    account: Option<String>,
    key: Option<Secret>,
    sas: Option<Secret>,
    endpoint: Option<String>,
    protocol: Option<String>,
    suffix: Option<String>,
}

impl ConnectionString {
    fn read(text: &Secret) -> Result<Self, StorageError> {
        let mut parts = BTreeMap::new();
        for part in text
            .expose()
            .split(';')
            .filter(|part| !part.trim().is_empty())
        {
            let Some((name, value)) = part.split_once('=') else {
                return Err(StorageError::new(
                    StorageProblem::NoCredential,
                    format!("{CONNECTION_VARIABLE} can't be read: a part of it has no `=`"),
                )
                .fix("copy it whole; it looks like `AccountName=…;AccountKey=…`"));
            };
            parts.insert(name.trim().to_lowercase(), value.trim().to_owned());
        }
        let mut take = |name: &str| parts.remove(name).filter(|value| !value.is_empty());
        if take("usedevelopmentstorage").is_some_and(|value| value == "true") {
            return Ok(Self {
                account: Some(emulator::ACCOUNT.to_owned()),
                key: Some(Secret::new(emulator::KEY)),
                endpoint: Some(format!("http://127.0.0.1:10000/{}", emulator::ACCOUNT)),
                ..Self::default()
            });
        }
        Ok(Self {
            account: take("accountname"),
            key: take("accountkey").map(Secret::new),
            sas: take("sharedaccesssignature").map(Secret::new),
            endpoint: take("blobendpoint"),
            protocol: take("defaultendpointsprotocol"),
            suffix: take("endpointsuffix"),
        })
    }

    /// Whose it is, where that can be told.
    fn account(&self) -> Option<String> {
        let endpoint = || read_endpoint(self.endpoint.as_deref()?).ok();
        let of_endpoint = || account_of_endpoint(&endpoint()?);
        self.account.clone().or_else(of_endpoint)
    }

    fn default_endpoint(&self, account: &str) -> String {
        let protocol = self.protocol.as_deref().unwrap_or("https");
        let suffix = self.suffix.as_deref().unwrap_or("core.windows.net");
        format!("{protocol}://{account}.blob.{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_spec::SecretRef;

    fn emulator() -> StorageAccess {
        StorageAccess {
            account: Some(emulator::ACCOUNT.to_owned()),
            endpoint: Some("http://127.0.0.1:10000/devstoreaccount1/".to_owned()),
            ..StorageAccess::default()
        }
    }

    fn connection(text: &str) -> ConnectionString {
        ConnectionString::read(&Secret::new(text)).unwrap()
    }

    #[test]
    fn the_emulator_on_this_machine_needs_no_credential_of_its_own() {
        let account = Account::resolve(&emulator(), None).unwrap();
        assert!(matches!(account.credential, Credential::Key(_)));
        assert_eq!(
            account.endpoint.as_str(),
            "http://127.0.0.1:10000/devstoreaccount1"
        );
    }

    #[test]
    fn a_token_is_not_sent_over_plain_http() {
        let access = StorageAccess {
            endpoint: Some("http://blobs.example:10000/devstoreaccount1".to_owned()),
            ..emulator()
        };
        let error = Account::resolve(&access, None).unwrap_err();
        assert_eq!(error.code().as_str(), "STORAGE_NO_CREDENTIAL");
        assert!(error.message.contains("plain http"), "{error}");
    }

    #[test]
    fn a_connection_string_names_account_key_and_place() {
        let text = "DefaultEndpointsProtocol=https;AccountName=drives;AccountKey=aGVsbG8=;EndpointSuffix=core.cn";
        let account = Account::resolve(&StorageAccess::default(), Some(&connection(text))).unwrap();
        assert_eq!(account.endpoint.as_str(), "https://drives.blob.core.cn/");
        assert_eq!(account.name, "drives");
        assert!(matches!(account.credential, Credential::Key(_)));
        assert!(!format!("{account:?} {:?}", connection(text)).contains("aGVsbG8"));
        let account = Account::resolve(
            &StorageAccess::default(),
            Some(&connection("UseDevelopmentStorage=true")),
        )
        .unwrap();
        assert_eq!(account.name, emulator::ACCOUNT);
    }

    #[test]
    fn a_connection_string_opens_its_own_account_at_another_address_but_no_other_account() {
        let connection = connection("AccountName=drives;AccountKey=aGVsbG8=");
        let there = |account: &str| StorageAccess {
            account: Some(account.to_owned()),
            endpoint: Some("http://blobs.example:10000/drives".to_owned()),
            ..StorageAccess::default()
        };
        let account = Account::resolve(&there("drives"), Some(&connection)).unwrap();
        assert!(matches!(account.credential, Credential::Key(_)));
        assert_eq!(account.endpoint.host_str(), Some("blobs.example"));
        let error = Account::resolve(&there("others"), Some(&connection)).unwrap_err();
        assert_eq!(error.code().as_str(), "STORAGE_NO_CREDENTIAL");
    }

    #[test]
    fn a_sas_of_the_job_file_comes_before_everything_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sas");
        std::fs::write(&path, "sp=r&se=2999-01-01&sig=secret").unwrap();
        let access = StorageAccess {
            sas_token: Some(SecretRef::File(path.display().to_string())),
            ..emulator()
        };
        let account = Account::resolve(&access, None).unwrap();
        assert!(matches!(account.credential, Credential::Sas(_)));
        assert!(!format!("{account:?}").contains("secret"), "{account:?}");
    }

    #[test]
    fn addresses_and_names_that_can_not_be_are_refused() {
        for (account, endpoint) in [
            (Some("Drives"), None),
            (Some("ab"), None),
            (Some("drives"), Some("ftp://x")),
            (Some("drives"), Some("https://x/?sig=hunter2")),
            (Some("drives"), Some("nonsense")),
        ] {
            let access = StorageAccess {
                account: account.map(str::to_owned),
                endpoint: endpoint.map(str::to_owned),
                ..StorageAccess::default()
            };
            let error = Account::resolve(&access, None).unwrap_err();
            assert_eq!(error.code().as_str(), "STORAGE_BAD_NAME", "{error}");
            assert!(!error.message.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_key_that_is_no_base64_is_not_repeated() {
        let error = SharedKey::new("drives", "hunter2!").unwrap_err();
        assert_eq!(error.code().as_str(), "STORAGE_NO_CREDENTIAL");
        assert!(!error.message.contains("hunter2"));
    }
}
