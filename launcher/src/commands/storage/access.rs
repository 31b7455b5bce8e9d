//! Where data is and what opens it, as flags.

use clap::Args;
use petctl_spec::{SecretRef, StorageAccess};
use petctl_text::Secret;
use petctl_ui::error::{Code, Error, Result};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

/// Most bytes of a secret on stdin.
const MAX_BYTES: u64 = 64 * 1024;

/// How blob storage is reached. Values that may be a secret by mistake are held as one.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Storage")]
pub(crate) struct AccessArgs {
    /// Storage account [default: $AZURE_STORAGE_ACCOUNT].
    #[arg(long, value_name = "NAME")]
    account: Option<String>,

    /// Address of the blob service, where it is not Azure's own: http://127.0.0.1:10000/devstoreaccount1.
    #[arg(long, value_name = "URL")]
    endpoint: Option<Secret>,

    /// Where a SAS is: env:NAME, file:PATH (read again before it ends), or - for stdin. Never the SAS itself.
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true)]
    sas_token: Option<Secret>,

    /// Where the account's key is: env:NAME, file:PATH, or - for stdin. Never the key itself.
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true)]
    account_key: Option<Secret>,

    /// Client id of the managed or workload identity, where there is more than one.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
}

impl AccessArgs {
    /// The flags on top of what a job says.
    pub(crate) fn access(&self, job: Option<&StorageAccess>) -> Result<StorageAccess> {
        let mut access = job.cloned().unwrap_or_default();
        if self.account.is_some() {
            access.account.clone_from(&self.account);
        }
        if let Some(endpoint) = &self.endpoint {
            let endpoint = endpoint.expose();
            if endpoint.contains(['?', '@']) {
                return Err(on_command_line(
                    "--endpoint",
                    "takes an address without a SAS or password",
                ));
            }
            access.endpoint = Some(endpoint.to_owned());
        }
        // One that is given here counts more than the other one of the job.
        if self.sas_token.is_some() || self.account_key.is_some() {
            let read = |flag, given: &Option<Secret>| -> Result<Option<SecretRef>> {
                let given = given.as_ref();
                given.map(|given| source(flag, given.expose())).transpose()
            };
            access.sas_token = read("--sas-token", &self.sas_token)?;
            access.account_key = read("--account-key", &self.account_key)?;
        }
        if self.client_id.is_some() {
            access.client_id.clone_from(&self.client_id);
        }
        Ok(access)
    }
}

/// Where the secret is that a flag names.
pub(crate) fn source(flag: &str, text: &str) -> Result<SecretRef> {
    if text == "-" {
        return from_stdin(flag);
    }
    match text.split_once(':') {
        Some(("env", name)) if !name.is_empty() => Ok(SecretRef::Env(name.to_owned())),
        Some(("file", path)) if !path.is_empty() => Ok(SecretRef::File(path.to_owned())),
        // It is not repeated: it may be the secret.
        Some(_) | None => Err(on_command_line(
            flag,
            "takes a place, not the secret itself",
        )),
    }
}

fn on_command_line(flag: &str, what: &str) -> Error {
    Error::new(
        Code::SecretOnCommandLine,
        format!("{flag} {what}: every user of this machine can read command lines"),
    )
    .fix(
        "use env:NAME, file:PATH or -; where commands reach storage themselves, AZURE_STORAGE_SAS_TOKEN, \
         AZURE_STORAGE_KEY or AZURE_STORAGE_CONNECTION_STRING may be set; make a new secret if this was one",
    )
}

/// Keeps what stdin has in memory, as a file that this process alone can open.
fn from_stdin(flag: &str) -> Result<SecretRef> {
    static KEPT: OnceLock<File> = OnceLock::new();
    let failed = |error: &io::Error| {
        Error::new(
            Code::Usage,
            format!("can't read the secret of {flag} from stdin"),
        )
        .because(error)
    };
    if KEPT.get().is_some() {
        return Err(
            Error::new(Code::Usage, "only one secret can come from stdin")
                .fix("use env:NAME or file:PATH for the other one"),
        );
    }
    let mut text = Vec::new();
    let mut stdin = io::stdin().lock().take(MAX_BYTES);
    stdin
        .read_to_end(&mut text)
        .map_err(|error| failed(&error))?;
    let memory = rustix::fs::memfd_create("petctl-secret", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|error| failed(&error.into()))?;
    let mut file = File::from(memory);
    file.write_all(&text).map_err(|error| failed(&error))?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    KEPT.get_or_init(|| file);
    Ok(SecretRef::File(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(sas: Option<&str>, key: Option<&str>) -> AccessArgs {
        let redacted = |text: Option<&str>| text.map(Secret::new);
        AccessArgs {
            sas_token: redacted(sas),
            account_key: redacted(key),
            ..AccessArgs::default()
        }
    }

    #[test]
    fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
        for (sas, key) in [
            (Some("sv=2022-11-02&sig=hunter2"), None),
            (None, Some("aHVudGVyMg==")),
            (None, Some("env:")),
            (Some("file:"), None),
        ] {
            let given = args(sas, key);
            let error = given.access(None).unwrap_err();
            assert_eq!(error.code(), "SECRET_ON_COMMAND_LINE");
            let shown = format!("{error} {given:?}");
            assert!(
                !shown.contains("hunter2") && !shown.contains("aHVud"),
                "{shown}"
            );
            assert!(shown.contains("env:NAME, file:PATH or -"), "{shown}");
        }
    }

    #[test]
    fn flags_count_more_than_the_job() {
        let job = StorageAccess {
            account: Some("jobs".to_owned()),
            sas_token: Some(SecretRef::Env("A".to_owned())),
            ..StorageAccess::default()
        };
        let access = args(None, Some("file:key")).access(Some(&job)).unwrap();
        assert_eq!(access.account.as_deref(), Some("jobs"));
        assert_eq!(access.sas_token, None);
        assert_eq!(access.account_key, Some(SecretRef::File("key".to_owned())));
        assert_eq!(args(None, None).access(Some(&job)).unwrap(), job);
    }
}
