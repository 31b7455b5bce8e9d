//! Who is signed in: by Azure's command line, as a service principal, as the machine, as the pod, or by a code that is
//! typed into a browser.
//!
//! Sources: Microsoft identity platform, "OAuth 2.0 client credentials flow", "Certificate credentials", "Device
//! authorization grant flow"; the variables are those of Azure's own libraries.

mod certificate;
mod device;

use crate::client::{https, retries};
use crate::cloud::Cloud;
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, Transport};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertionCredential,
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use certificate::Certificate;
use device::Device;
use petctl_text::with_causes;
use petctl_ui::error::{Code, Error, Result};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long the sign-in may be silent.
const STALL: Duration = Duration::from_secs(30);

/// A way to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What `az login` has left.
    Cli,
    /// A service principal by its secret.
    Secret,
    /// A service principal by its certificate.
    Certificate,
    /// The identity of the machine.
    ManagedIdentity,
    /// The identity of the pod.
    WorkloadIdentity,
    /// A code, typed into a browser on any machine.
    DeviceCode,
}

impl Way {
    /// As a file says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Secret => "secret",
            Self::Certificate => "certificate",
            Self::ManagedIdentity => "managed-identity",
            Self::WorkloadIdentity => "workload-identity",
            Self::DeviceCode => "device-code",
        }
    }

    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Cli,
        Self::Secret,
        Self::Certificate,
        Self::ManagedIdentity,
        Self::WorkloadIdentity,
        Self::DeviceCode,
    ];
}

/// What is known of who should be signed in.
#[derive(Clone, Default)]
pub struct Account {
    /// The way; `None`: the first for which everything is there.
    pub way: Option<Way>,
    /// The directory; `None`: `AZURE_TENANT_ID`, or the one of the command line's login.
    pub tenant: Option<String>,
    /// The program, or the identity; `None`: `AZURE_CLIENT_ID`.
    pub client_id: Option<String>,
    /// Its secret; `None`: `AZURE_CLIENT_SECRET`.
    pub client_secret: Option<String>,
    /// The subscription, for the command line's login.
    pub subscription: Option<String>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("way", &self.way)
            .field("tenant", &self.tenant)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// Somebody who is signed in, or will be at the first request.
#[derive(Clone, Debug)]
pub struct SignIn {
    credential: Arc<dyn TokenCredential>,
    way: Way,
    shown: String,
}

/// What the environment and the place have said together.
struct Found {
    tenant: Option<String>,
    client_id: Option<String>,
    secret: Option<String>,
    certificate: Option<PathBuf>,
    token_file: Option<PathBuf>,
    on_azure: bool,
    subscription: Option<String>,
}

impl Found {
    fn new(account: &Account, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        Self {
            tenant: account.tenant.clone().or_else(|| env("AZURE_TENANT_ID")),
            client_id: account.client_id.clone().or_else(|| env("AZURE_CLIENT_ID")),
            secret: account
                .client_secret
                .clone()
                .or_else(|| env("AZURE_CLIENT_SECRET")),
            certificate: env("AZURE_CLIENT_CERTIFICATE_PATH").map(PathBuf::from),
            token_file: env("AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from),
            on_azure: env("IDENTITY_ENDPOINT").is_some(),
            subscription: account.subscription.clone(),
        }
    }

    /// The first way for which everything is there.
    fn way(&self) -> Way {
        let is_program = self.tenant.is_some() && self.client_id.is_some();
        if is_program && self.secret.is_some() {
            Way::Secret
        } else if is_program && self.certificate.is_some() {
            Way::Certificate
        } else if self.token_file.is_some() {
            Way::WorkloadIdentity
        } else if self.on_azure {
            Way::ManagedIdentity
        } else {
            Way::Cli
        }
    }
}

impl SignIn {
    /// Finds out how; nobody is asked yet. `say` is told what a person has to do for a code.
    ///
    /// # Errors
    /// Where something that the way takes is missing.
    pub fn find(
        cloud: &Cloud,
        account: &Account,
        env: &dyn Fn(&str) -> Option<String>,
        say: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self> {
        https("authority", &cloud.authority)?;
        let found = Found::new(account, env);
        let way = account.way.unwrap_or_else(|| found.way());
        let need = |value: &Option<String>, what: &str, variable: &str| {
            value.clone().ok_or_else(|| missing(way, what, variable))
        };
        let options = options(cloud)?;
        let (credential, shown): (azure_core::Result<Arc<dyn TokenCredential>>, String) = match way
        {
            Way::Cli => {
                let options = AzureCliCredentialOptions {
                    tenant_id: found.tenant.clone(),
                    // A tenant and a subscription at once are refused by the command line.
                    subscription: found
                        .subscription
                        .clone()
                        .filter(|_| found.tenant.is_none()),
                    ..AzureCliCredentialOptions::default()
                };
                let made = AzureCliCredential::new(Some(options));
                (made.map(|made| made as _), "az login".to_owned())
            }
            Way::Secret => {
                let tenant = need(&found.tenant, "the tenant", "AZURE_TENANT_ID")?;
                let client_id = need(&found.client_id, "the client id", "AZURE_CLIENT_ID")?;
                let secret = need(&found.secret, "the secret", "AZURE_CLIENT_SECRET")?;
                let shown = format!("the secret of service principal {client_id}");
                let options = ClientSecretCredentialOptions {
                    client_options: options,
                };
                let secret = Secret::new(secret);
                let made = ClientSecretCredential::new(&tenant, client_id, secret, Some(options));
                (made.map(|made| made as _), shown)
            }
            Way::Certificate => {
                let tenant = need(&found.tenant, "the tenant", "AZURE_TENANT_ID")?;
                let client_id = need(&found.client_id, "the client id", "AZURE_CLIENT_ID")?;
                let path = found.certificate.as_deref().ok_or_else(|| {
                    missing(way, "the certificate", "AZURE_CLIENT_CERTIFICATE_PATH")
                })?;
                let audience = format!("{}/{tenant}/oauth2/v2.0/token", cloud.authority);
                let certificate = Certificate::read(path, &client_id, &audience)?;
                let shown = format!("the certificate of service principal {client_id}");
                let options = ClientAssertionCredentialOptions {
                    client_options: options,
                };
                let made =
                    ClientAssertionCredential::new(tenant, client_id, certificate, Some(options));
                (made.map(|made| made as _), shown)
            }
            Way::ManagedIdentity => {
                let shown = found.client_id.as_deref().map_or_else(
                    || "the managed identity of this machine".to_owned(),
                    |id| format!("the managed identity {id}"),
                );
                let made = ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                    user_assigned_id: found.client_id.map(UserAssignedId::ClientId),
                    client_options: options,
                }));
                (made.map(|made| made as _), shown)
            }
            Way::WorkloadIdentity => {
                let client_id = need(&found.client_id, "the client id", "AZURE_CLIENT_ID")?;
                let tenant = need(&found.tenant, "the tenant", "AZURE_TENANT_ID")?;
                let shown = format!("the workload identity {client_id} of this pod");
                let made =
                    WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                        credential_options: ClientAssertionCredentialOptions {
                            client_options: options,
                        },
                        client_id: Some(client_id),
                        tenant_id: Some(tenant),
                        token_file_path: found.token_file,
                    }));
                (made.map(|made| made as _), shown)
            }
            Way::DeviceCode => {
                let tenant = found.tenant.as_deref().unwrap_or("organizations");
                let device = Device::new(cloud, tenant, found.client_id, options, say)?;
                (
                    Ok(Arc::new(device) as _),
                    "a code that is typed into a browser".to_owned(),
                )
            }
        };
        let credential = credential.map_err(|error| {
            Error::new(
                Code::AzureSignIn,
                format!("can't sign in to Azure by {shown}"),
            )
            .because(&error)
            .fix("look at the tenant and the client id; or use another way: `sign_in` of the place")
        })?;
        Ok(Self {
            credential,
            way,
            shown,
        })
    }

    pub(crate) fn credential(&self) -> Arc<dyn TokenCredential> {
        self.credential.clone()
    }

    /// The way that was taken.
    #[must_use]
    pub fn way(&self) -> Way {
        self.way
    }

    /// Who that is, in words.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Why nobody is signed in, where that is why a request failed.
    pub(crate) fn refusal(error: &azure_core::Error) -> Option<Error> {
        if !matches!(error.kind(), ErrorKind::Credential) {
            return None;
        }
        let text = with_causes(error);
        let why = Why(reason(&text));
        // The library keeps no more of a request that nobody answered.
        if text.contains("retry policy expired") {
            let error = Error::new(Code::AzureUnreachable, "Azure's sign-in does not answer");
            return Some(error.because(&why).fix(
                "look at the network, and at HTTPS_PROXY and NO_PROXY where a proxy is needed; then give the command again",
            ));
        }
        let error = Error::new(Code::AzureSignIn, "nobody is signed in to Azure").because(&why);
        Some(error.fix(advice(&text)))
    }
}

/// What to do about a sign-in that was refused. The numbers are Entra's.
fn advice(text: &str) -> &'static str {
    const KNOWN: &[(&str, &str)] = &[
        (
            "AADSTS7000215",
            "the secret is not that of the client id: set AZURE_CLIENT_SECRET to its value, not to its id",
        ),
        (
            "AADSTS7000222",
            "the secret is over: make a new one: az ad app credential reset --id CLIENT_ID",
        ),
        (
            "AADSTS700016",
            "the client id is not known in that tenant: look at AZURE_CLIENT_ID and AZURE_TENANT_ID",
        ),
        (
            "AADSTS90002",
            "there is no such tenant: look at `tenant` of the place and at AZURE_TENANT_ID",
        ),
        (
            "AADSTS700024",
            "the clock of this machine is wrong, or the token in AZURE_FEDERATED_TOKEN_FILE is old",
        ),
        (
            "AADSTS700027",
            "the certificate is not known to the service principal: add its public half there",
        ),
        (
            "AADSTS70021",
            "no federated credential of the identity has that issuer and that service account",
        ),
        (
            "AADSTS50076",
            "the tenant asks for a second factor: az login --tenant TENANT",
        ),
        (
            "az login",
            "run az login; in scripts set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
        ),
        (
            "not found on PATH",
            "install Azure's command line and run az login; or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; or sign_in = \"device-code\" in the place",
        ),
    ];
    let found = KNOWN.iter().find(|(mark, _)| text.contains(mark));
    found.map_or(
        "run az login; in scripts set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; without either: \
         sign_in = \"device-code\" in the place",
        |(_, advice)| advice,
    )
}

/// What the library says of a sign-in, without what it says of itself.
fn reason(text: &str) -> String {
    let said = text.split("\nTo troubleshoot").next().unwrap_or(text);
    let said = said.replace(
        "non-transport error occurred which will not be retried: ",
        "",
    );
    said.trim().to_owned()
}

/// Why a sign-in was refused.
#[derive(Debug)]
struct Why(String);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Why {}

fn missing(way: Way, what: &str, variable: &str) -> Error {
    Error::new(
        Code::AzureSignIn,
        format!(
            "can't sign in to Azure by `{}`: {what} is missing",
            way.as_str()
        ),
    )
    .fix(format!(
        "set {variable}, or take another way: `sign_in` of the place"
    ))
}

fn options(cloud: &Cloud) -> Result<ClientOptions> {
    Ok(ClientOptions {
        transport: Some(Transport::new(petctl_storage::connections(STALL)?)),
        cloud: Some(Arc::new(cloud.configuration())),
        retry: retries(2),
        ..ClientOptions::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn find(account: &Account, env: &[(&str, &str)]) -> Result<SignIn> {
        let env: BTreeMap<&str, &str> = env.iter().copied().collect();
        let env = |name: &str| env.get(name).map(|&value| value.to_owned());
        SignIn::find(&Cloud::default(), account, &env, |_| ())
    }

    #[test]
    fn the_first_way_for_which_everything_is_there_is_taken_and_named() {
        let program = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c-1")];
        let secret = [&program[..], &[("AZURE_CLIENT_SECRET", "s-1")]].concat();
        let machine = [("IDENTITY_ENDPOINT", "http://localhost:1/")];
        for (env, way, shown) in [
            (&[][..], Way::Cli, "az login"),
            (
                &secret[..],
                Way::Secret,
                "the secret of service principal c-1",
            ),
            (&program[..], Way::Cli, "az login"),
            (
                &machine[..],
                Way::ManagedIdentity,
                "the managed identity of this machine",
            ),
            (
                &[("AZURE_CLIENT_ID", ""), ("AZURE_CLIENT_SECRET", "")][..],
                Way::Cli,
                "az login",
            ),
        ] {
            let found = find(&Account::default(), env).unwrap();
            assert_eq!((found.way(), found.shown()), (way, shown));
            assert!(!format!("{found:?}").contains("s-1"));
        }
    }

    #[test]
    fn what_a_way_misses_is_named_with_its_variable() {
        for (way, env, variable) in [
            (Way::Secret, &[][..], "AZURE_TENANT_ID"),
            (
                Way::Secret,
                &[("AZURE_TENANT_ID", "t")][..],
                "AZURE_CLIENT_ID",
            ),
            (Way::WorkloadIdentity, &[][..], "AZURE_CLIENT_ID"),
            (
                Way::Certificate,
                &[("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c")][..],
                "AZURE_CLIENT_CERTIFICATE_PATH",
            ),
        ] {
            let account = Account {
                way: Some(way),
                ..Account::default()
            };
            let error = find(&account, env).unwrap_err();
            assert!(error.is(Code::AzureSignIn));
            let text = format!("{error:?}");
            assert!(text.contains(variable), "{way:?}: {text}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let account = Account {
            client_secret: Some("s-1".to_owned()),
            ..Account::default()
        };
        assert!(!format!("{account:?}").contains("s-1"));
    }
}
