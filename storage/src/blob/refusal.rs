//! What Azure's refusals mean, and what to do about them.

use crate::blob::Tries;
use crate::blob::wire::{NoAnswer, NoAnswerKind};
use crate::error::{StorageError, StorageProblem};
use crate::sas::SasToken;
use crate::store::Need;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::time::{OffsetDateTime, parse_rfc7231};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// From this difference on Azure refuses signatures because of the clock, in seconds.
const CLOCK_SKEW_SECONDS: i64 = 15 * 60;
/// Most characters of what a service says that are repeated.
const MAX_SAID: usize = 300;

/// What was asked, to say it if it is refused.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// `write`, `read`, …: follows "can't".
    pub(crate) doing: &'static str,
    pub(crate) need: Need,
    /// Without a secret.
    pub(crate) address: String,
    pub(crate) container: Cow<'a, str>,
    pub(crate) account: Cow<'a, str>,
    pub(crate) host: String,
    /// The SAS, where there is one.
    pub(crate) sas: Option<Arc<SasToken>>,
    pub(crate) tries: Tries,
}

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Azure's error code; empty where there is none.
    pub(crate) code: String,
    said: String,
    /// How far the service's clock is ahead, in seconds.
    ahead: i64,
}

/// The answer in an error of the crate, where there was one.
pub(crate) fn answer(error: &azure_core::Error) -> Option<Answer> {
    let ErrorKind::HttpResponse {
        status,
        error_code,
        raw_response,
    } = error.kind()
    else {
        return None;
    };
    let headers = raw_response.as_ref().map(|raw| raw.headers().clone());
    let header = |name: &'static str| {
        let headers: Option<&Headers> = headers.as_ref();
        headers.and_then(|headers| headers.get_optional_string(&HeaderName::from_static(name)))
    };
    let body = raw_response
        .as_ref()
        .map(|raw| String::from_utf8_lossy(raw.body()).into_owned())
        .unwrap_or_default();
    let code = header("x-ms-error-code")
        .or_else(|| element(&body, "Code"))
        .or_else(|| error_code.clone())
        .unwrap_or_default();
    let ahead = header("date")
        .and_then(|text| parse_rfc7231(&text).ok())
        .map_or(0, |date| (date - OffsetDateTime::now_utc()).whole_seconds());
    Some(Answer {
        status: u16::from(*status),
        code,
        said: element(&body, "Message").unwrap_or_default(),
        ahead,
    })
}

/// The text of the first element of that name. The bodies are a few lines that Azure wrote; no parser is worth it.
fn element(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let line = text.lines().next().unwrap_or_default().trim();
    (!line.is_empty()).then(|| line.chars().take(MAX_SAID).collect())
}

/// Tells a failure so that a user knows what to do.
pub(crate) fn refusal(error: &azure_core::Error, asked: &Asked<'_>) -> StorageError {
    if let Some(ours) = find::<StorageError>(error) {
        return StorageError {
            problem: ours.problem,
            message: asked.cannot(&ours.message),
            fix: ours.fix.clone(),
            service_code: ours.service_code.clone(),
        };
    }
    if let Some(no_answer) = find::<NoAnswer>(error) {
        return asked.unreachable(no_answer);
    }
    if let Some(answer) = answer(error) {
        let mut told = asked.refused(&answer);
        told.service_code = answer.code;
        return told;
    }
    asked.error(StorageProblem::Unexpected, &error.to_string())
}

/// The cause of that type in the chain of an error.
fn find<T: std::error::Error + 'static>(error: &azure_core::Error) -> Option<&T> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

impl Asked<'_> {
    /// For a body that outlives the call.
    pub(crate) fn owned(self) -> Asked<'static> {
        Asked {
            container: Cow::Owned(self.container.into_owned()),
            account: Cow::Owned(self.account.into_owned()),
            doing: self.doing,
            need: self.need,
            address: self.address,
            host: self.host,
            sas: self.sas,
            tries: self.tries,
        }
    }

    fn cannot(&self, why: &str) -> String {
        format!("can't {} {}: {why}", self.doing, self.address)
    }

    fn error(&self, problem: StorageProblem, why: &str) -> StorageError {
        StorageError::new(problem, self.cannot(why))
    }

    fn unreachable(&self, no_answer: &NoAnswer) -> StorageError {
        let (host, why) = (&self.host, &no_answer.why);
        let (what, fix) = match no_answer.kind {
            NoAnswerKind::NoSuchHost => (
                format!("the host {host} is not known"),
                "check the account's name and `endpoint` in [storage], and this machine's DNS",
            ),
            NoAnswerKind::NoConnection => (
                format!("nobody answers at {host}"),
                "check that the service runs there, and what is between: firewall, proxy, VPN",
            ),
            NoAnswerKind::Tls => (
                format!("TLS with {host} failed"),
                "check this machine's certificates and clock, and that the service speaks https",
            ),
            NoAnswerKind::Stalled => (
                format!("{host} fell silent"),
                "check the network; then run it again",
            ),
            NoAnswerKind::Broken => (
                format!("the connection to {host} broke"),
                "check the network; then run it again",
            ),
            NoAnswerKind::Foreign => (
                format!("what answers for {host} is not Azure Storage"),
                "check what is between: a proxy, a login page of the network, or another service at that address",
            ),
        };
        self.error(
            StorageProblem::Unavailable,
            &format!("{what}{} ({why})", self.after_tries()),
        )
        .fix(fix)
    }

    fn after_tries(&self) -> String {
        match self.tries.0.load(Ordering::Relaxed) {
            0 | 1 => String::new(),
            tries => format!(" through {tries} tries"),
        }
    }

    fn refused(&self, answer: &Answer) -> StorageError {
        use StorageProblem as P;
        let status = answer.status;
        let (container, account) = (&self.container, &self.account);
        let because = if answer.code.is_empty() {
            format!("the service answered {status}")
        } else {
            format!("the service answered {status} {}", answer.code)
        };
        let error = |problem, why: &str| self.error(problem, why);
        match (answer.code.as_str(), status) {
            ("ContainerNotFound", _) => {
                error(P::NotFound, &format!("the container {container} is not there"))
                    .fix(format!("make it with `petctl storage create az://{container}`, or check the name"))
            }
            ("ContainerBeingDeleted" | "ContainerBeingDisabled", _) => error(
                P::Unavailable,
                &format!("the container {container} is being deleted"),
            )
            .fix("Azure takes half a minute or more for that; then try again"),
            ("AuthenticationFailed" | "AuthorizationFailure" | "InvalidAuthenticationInfo", _) => {
                self.not_authenticated(answer)
            }
            (
                "AuthorizationPermissionMismatch"
                | "AuthorizationServiceMismatch"
                | "AuthorizationResourceTypeMismatch"
                | "InsufficientAccountPermissions",
                _,
            ) => self.not_permitted(answer),
            ("AuthorizationProtocolMismatch", _) => {
                error(P::Denied, "the SAS is for https only").fix("use the account's https address")
            }
            ("AuthorizationSourceIPMismatch", _) => {
                error(P::Denied, "the SAS is not for this machine's address")
                    .fix("make one for this address (sip=), or for all")
            }
            ("KeyBasedAuthenticationNotPermitted", _) => {
                error(P::Denied, &format!("the account {account} does not allow keys"))
                    .fix("log in with `az login`, or use a managed identity or a user delegation SAS")
            }
            ("AccountIsDisabled", _) => {
                error(P::Denied, &format!("the account {account} is disabled"))
                    .fix("look at the account and its subscription in the Azure portal")
            }
            ("NoAuthenticationInformation" | "PublicAccessNotPermitted", _) | (_, 401) => {
                error(P::Denied, &because).fix("give a SAS, an account key, or log in with `az login`")
            }
            (
                "InvalidResourceName" | "InvalidUri" | "OutOfRangeInput" | "InvalidInput",
                400 | 404,
            ) => error(P::BadName, &format!("Azure does not take this name ({})", answer.code))
                .fix("rename it: at most 1,024 characters, no part that ends with a dot, no control characters"),
            ("Md5Mismatch" | "Crc64Mismatch", _) => self.corrupt(),
            // What Azurite calls it.
            ("InvalidOperation", 400) if answer.said.contains("contentMD5") => self.corrupt(),
            ("InvalidRange", _) | (_, 416) => error(P::Changed, "it is shorter than it was"),
            ("ConditionNotMet" | "TargetConditionNotMet", _) | (_, 412) => {
                error(P::Changed, "it was changed by somebody else in the meantime")
            }
            ("LeaseIdMissing" | "LeaseIdMismatchWithBlobOperation" | "LeaseIdMismatchWithContainerOperation", _) => {
                error(P::Blocked, "somebody holds an Azure lease on it")
                    .fix("break the lease, or wait until it ends: `az storage blob lease break`")
            }
            ("BlobImmutableDueToPolicy" | "BlobImmutableDueToLegalHold", _) => {
                error(P::Blocked, "a policy of the container forbids to change it")
            }
            ("SnapshotsPresent", _) => error(P::Blocked, "it has snapshots, which would be lost with it")
                .fix("delete them first, if nobody needs them"),
            ("BlobArchived", _) => error(P::Blocked, "it is archived")
                .fix("bring it back first, which takes hours: `az storage blob set-tier --tier Cool`"),
            ("BlobBeingRehydrated", _) => error(P::Blocked, "it is on its way back from the archive")
                .fix("that takes hours; then give the same command again"),
            ("BlobUsesCustomerSpecifiedEncryption", _) => {
                error(P::Blocked, "it is encrypted with a key of its owner's, which petctl does not have")
            }
            ("InvalidBlobType", _) => {
                let error = error(P::Blocked, "it is a page or append blob, not a block blob");
                match self.need {
                    Need::Read | Need::List => error,
                    Need::Write | Need::Create | Need::Delete => {
                        error.fix("delete it, or write under another name")
                    }
                }
            }
            (code, _) if code.contains("Quota") || code.contains("Capacity") => self.full(&because),
            (_, 507) => self.full(&because),
            (_, 404) => error(P::NotFound, "it is not there"),
            (_, 403) => error(P::Denied, &because).fix("look at the account's access rules and the credential's rights"),
            (_, 408 | 429 | 500 | 502 | 503 | 504) => error(
                P::Unavailable,
                &format!("{because}{}", self.after_tries()),
            )
            .fix("the service is busy or ailing; try again later, with fewer connections at once"),
            _ if answer.said.is_empty() => error(P::Unexpected, &because),
            _ => error(P::Unexpected, &format!("{because}: {}", answer.said)),
        }
    }

    fn corrupt(&self) -> StorageError {
        self.error(
            StorageProblem::Corrupt,
            "what arrived is not what was sent (MD5)",
        )
        .fix("run it again; if it happens often, check this machine's memory and network")
    }

    fn full(&self, because: &str) -> StorageError {
        self.error(
            StorageProblem::Full,
            &format!("the account is full ({because})"),
        )
        .fix("delete what nobody needs, or ask for a larger quota")
    }

    /// The signature is not accepted: over, of another key, or the clock is wrong.
    fn not_authenticated(&self, answer: &Answer) -> StorageError {
        let minutes = answer.ahead / 60;
        if let Some(sas) = &self.sas {
            // By the service's clock, which is the one that counts; its date has whole seconds.
            let theirs =
                OffsetDateTime::now_utc() + azure_core::time::Duration::seconds(answer.ahead);
            let slack = azure_core::time::Duration::seconds(2);
            let timely = sas
                .check_end(theirs + slack)
                .and_then(|()| sas.check_start(theirs - slack));
            if let Err(mut untimely) = timely {
                untimely.message = self.cannot(&untimely.message);
                return untimely;
            }
            return self
                .error(
                    StorageProblem::Denied,
                    &format!(
                        "the account {} does not accept the SAS ({})",
                        self.account, answer.code
                    ),
                )
                .fix(
                    "it is cut short, of another account, made with a key that has been changed, or the network is \
                     not allowed in the account's firewall; make a new one",
                );
        }
        if answer.ahead.abs() > CLOCK_SKEW_SECONDS {
            let way = if answer.ahead > 0 {
                "behind"
            } else {
                "ahead of"
            };
            return self
                .error(
                    StorageProblem::Denied,
                    &format!(
                        "this machine's clock is {} min {way} Azure's",
                        minutes.abs()
                    ),
                )
                .fix("set the clock; Azure refuses signatures that are more than 15 min off");
        }
        self.error(
            StorageProblem::Denied,
            &format!(
                "the account {} does not accept the key or the login ({})",
                self.account, answer.code
            ),
        )
        .fix(
            "check that the key is this account's, whole, and not changed since, and that the account's firewall \
             allows this network",
        )
    }

    /// The signature is good, but it does not allow this.
    fn not_permitted(&self, answer: &Answer) -> StorageError {
        if let Some(sas) = &self.sas {
            if let Err(mut lacking) = sas.check(&[self.need]) {
                lacking.message = self.cannot(&lacking.message);
                return lacking;
            }
            return self
                .error(
                    StorageProblem::Denied,
                    &format!(
                        "the SAS has permissions {}, which is not enough here ({})",
                        sas.permissions(),
                        answer.code
                    ),
                )
                .fix("replacing what is there needs w; listing needs l; deleting needs d");
        }
        let role = match self.need {
            Need::Read | Need::List => "Storage Blob Data Reader",
            Need::Write | Need::Delete | Need::Create => "Storage Blob Data Contributor",
        };
        self.error(
            StorageProblem::Denied,
            &format!(
                "this login may not do that in the account {} ({})",
                self.account, answer.code
            ),
        )
        .fix(format!(
            "give it the role {role:?} on the account or the container"
        ))
    }
}
