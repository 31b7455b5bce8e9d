//! SAS tokens: what they allow, until when, and where a new one comes from.

use crate::error::{StorageError, StorageProblem};
use crate::secret::{self, Secret};
use crate::store::Need;
use azure_core::time::{OffsetDateTime, parse_rfc3339, to_rfc3339};
use petctl_spec::SecretRef;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a file is looked at for a new token.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A shared access signature: the query that is added to every address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SasToken {
    query: Secret,
    permissions: String,
    services: Option<String>,
    resource_types: Option<String>,
    resource: Option<String>,
    starts: Option<OffsetDateTime>,
    expires: Option<OffsetDateTime>,
}

impl SasToken {
    /// Reads a token as Azure hands it out, with or without its `?`, or a whole address that ends in one.
    ///
    /// # Errors
    /// [`StorageProblem::NoCredential`]: it is no SAS token. The message does not repeat it.
    pub fn read(text: &str) -> Result<Self, StorageError> {
        let query = text.trim().rsplit('?').next().unwrap_or_default();
        let pairs: Vec<(String, String)> = azure_core::http::Url::parse("http://sas/")
            .map(|mut url| {
                url.set_query(Some(query));
                let pairs = url.query_pairs();
                pairs
                    .map(|(k, v)| (k.into_owned(), v.into_owned()))
                    .collect()
            })
            .unwrap_or_default();
        let value = |name: &str| {
            let pair = pairs.iter().find(|(key, _)| key == name);
            pair.map(|(_, value)| value.clone())
                .filter(|v| !v.is_empty())
        };
        let unreadable = |why: &str| {
            StorageError::new(
                StorageProblem::NoCredential,
                format!("what was given as SAS token is none: {why}"),
            )
            .fix("a SAS token looks like `sv=…&se=…&sp=…&sig=…`; copy it whole")
        };
        if query.contains(char::is_whitespace) {
            return Err(unreadable("it has white space in it"));
        }
        if value("sig").is_none() {
            return Err(unreadable("it has no signature (sig=)"));
        }
        let time = |name: &str| match value(name) {
            None => Ok(None),
            Some(text) => match parse_time(&text) {
                Some(time) => Ok(Some(time)),
                None => Err(unreadable(&format!("its time {name}={text} can't be read"))),
            },
        };
        Ok(Self {
            permissions: value("sp").unwrap_or_default(),
            services: value("ss"),
            resource_types: value("srt"),
            resource: value("sr"),
            starts: time("st")?,
            expires: time("se")?,
            query: Secret::new(query),
        })
    }

    /// What it allows, as the letters of its `sp`, such as `rwdlac`. Empty where a policy of the container says it.
    #[must_use]
    pub fn permissions(&self) -> &str {
        &self.permissions
    }

    /// When it ends, in RFC 3339; `None` where a policy of the container says it.
    #[must_use]
    pub fn expires(&self) -> Option<String> {
        self.expires.as_ref().map(to_rfc3339)
    }

    /// Whether it is good now, and allows what is needed.
    ///
    /// # Errors
    /// [`StorageProblem::Expired`] with the time, [`StorageProblem::Denied`] with the missing permission.
    pub fn check(&self, needs: &[Need]) -> Result<(), StorageError> {
        self.check_time(OffsetDateTime::now_utc())?;
        needs.iter().try_for_each(|need| self.allows(*need))
    }

    /// The query itself, for the one place that sends it.
    pub(crate) fn query(&self) -> &str {
        self.query.expose()
    }

    pub(crate) fn check_time(&self, now: OffsetDateTime) -> Result<(), StorageError> {
        self.check_end(now)?;
        self.check_start(now)
    }

    /// Whether it is over at that time.
    pub(crate) fn check_end(&self, now: OffsetDateTime) -> Result<(), StorageError> {
        let Some(expires) = self.expires.filter(|expires| *expires <= now) else {
            return Ok(());
        };
        let at = to_rfc3339(&expires);
        let message = format!("the SAS ended at {at}");
        Err(StorageError::new(StorageProblem::Expired, message).fix(RENEW))
    }

    /// Whether it begins after that time.
    pub(crate) fn check_start(&self, now: OffsetDateTime) -> Result<(), StorageError> {
        let Some(starts) = self.starts.filter(|starts| *starts > now) else {
            return Ok(());
        };
        let at = to_rfc3339(&starts);
        let message = format!("the SAS is not valid before {at}");
        Err(StorageError::new(StorageProblem::Expired, message)
            .fix("wait, or make one without a start (st=); check this machine's clock"))
    }

    fn allows(&self, need: Need) -> Result<(), StorageError> {
        let denied =
            |why: String, fix: &str| Err(StorageError::new(StorageProblem::Denied, why).fix(fix));
        if self.services.as_ref().is_some_and(|s| !s.contains('b')) {
            return denied(
                "the SAS is not for the blob service (ss= lacks b)".to_owned(),
                "make one for the blob service",
            );
        }
        let (doing, letters, kind) = match need {
            Need::Read => ("reading", "r", 'o'),
            Need::List => ("listing", "l", 'c'),
            Need::Write => ("writing", "wc", 'o'),
            Need::Delete => ("deleting", "d", 'o'),
            Need::Create => ("making a container", "wc", 'c'),
        };
        if let Some(types) = &self.resource_types
            && !types.contains(kind)
        {
            return denied(
                format!("the SAS is for resource types {types}; {doing} needs {kind}"),
                "make one with the resource types c and o (srt=co)",
            );
        }
        let one_blob = self.resource.as_deref() == Some("b");
        if (need == Need::Create && self.resource.is_some()) || (need == Need::List && one_blob) {
            return denied(
                format!(
                    "the SAS is for one {}; {doing} needs more",
                    if one_blob { "blob" } else { "container" }
                ),
                "use an account SAS, or the account's key",
            );
        }
        // Without `sp` the permissions are in a stored access policy, which only the service knows.
        if !self.permissions.is_empty() && !self.permissions.contains(|c| letters.contains(c)) {
            let wanted = match letters {
                "wc" => "w or c",
                one => one,
            };
            return denied(
                format!(
                    "the SAS has permissions {}; {doing} needs {wanted}",
                    self.permissions
                ),
                "make a SAS with this permission, or use the account's key",
            );
        }
        Ok(())
    }
}

const RENEW: &str = "make a new SAS and put it where the old one was; what is named with `file:PATH` is read again by itself";

/// `2026-11-21`, `2026-11-21T14:00Z` or RFC 3339, as Azure takes them.
fn parse_time(text: &str) -> Option<OffsetDateTime> {
    let whole = match (text.len(), text.strip_suffix('Z')) {
        (10, _) => format!("{text}T00:00:00Z"),
        (17, Some(minutes)) => format!("{minutes}:00Z"),
        _ => text.to_owned(),
    };
    parse_rfc3339(&whole).ok()
}

/// Where tokens come from: a file is read again when it changes, everything else once.
#[derive(Debug)]
pub(crate) struct SasSource {
    file: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    token: Arc<SasToken>,
    stamp: Option<Stamp>,
    looked: Instant,
}

/// What tells that a file was written again.
type Stamp = (i64, i64, u64, u64);

impl SasSource {
    /// Reads the first token.
    pub(crate) fn open(place: &SecretRef) -> Result<Self, StorageError> {
        let file = match place {
            SecretRef::Env(_) => None,
            SecretRef::File(path) => Some(PathBuf::from(path)),
        };
        let stamp = file.as_deref().and_then(stamp);
        let token = SasToken::read(secret::read(place, "SAS token")?.expose())?;
        Ok(Self::of(token, file, stamp))
    }

    /// A token that is never renewed.
    pub(crate) fn fixed(token: SasToken) -> Self {
        Self::of(token, None, None)
    }

    fn of(token: SasToken, file: Option<PathBuf>, stamp: Option<Stamp>) -> Self {
        let state = State {
            token: Arc::new(token),
            stamp,
            looked: Instant::now(),
        };
        Self {
            file,
            state: Mutex::new(state),
        }
    }

    /// The token to send now; one that is over is an error before anything is sent.
    pub(crate) fn current(&self) -> Result<Arc<SasToken>, StorageError> {
        let token = self.look(false);
        if token.check_time(OffsetDateTime::now_utc()).is_ok() {
            return Ok(token);
        }
        let token = self.look(true);
        token.check_time(OffsetDateTime::now_utc())?;
        Ok(token)
    }

    /// The token that was read last, good or not.
    pub(crate) fn last(&self) -> Arc<SasToken> {
        self.look(false)
    }

    /// After the service refused `used`: whether there is another one now.
    pub(crate) fn renewed(&self, used: &SasToken) -> bool {
        *self.look(true) != *used
    }

    /// Reads the file if it changed. One that can't be read just now, or is half written, leaves the old token.
    fn look(&self, at_once: bool) -> Arc<SasToken> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &self.file else {
            return state.token.clone();
        };
        if !at_once && state.looked.elapsed() < LOOK_EVERY {
            return state.token.clone();
        }
        state.looked = Instant::now();
        let now = stamp(file);
        if now.is_some() && (now != state.stamp || at_once) {
            let read =
                secret::read_file(file, "SAS token").and_then(|s| SasToken::read(s.expose()));
            match read {
                Ok(token) => {
                    state.token = Arc::new(token);
                    state.stamp = now;
                }
                Err(error) => {
                    tracing::debug!(%error, file = %file.display(), "keeping the SAS of before");
                }
            }
        }
        state.token.clone()
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let known = fs::metadata(file).ok()?;
    Some((known.mtime(), known.mtime_nsec(), known.size(), known.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> SasToken {
        SasToken::read(text).unwrap()
    }

    #[test]
    fn a_token_is_read_however_it_was_copied() {
        for text in [
            "sv=2024-11-04&sp=rl&se=2999-01-01&sig=a%2Bb%3D",
            "?sv=2024-11-04&sp=rl&se=2999-01-01T00:00Z&sig=a%2Bb%3D\n",
            "https://acc.blob.core.windows.net/raw?sv=2024-11-04&sp=rl&se=2999-01-01T00:00:00Z&sig=a%2Bb%3D",
        ] {
            let token = token(text);
            assert_eq!(token.permissions(), "rl", "{text}");
            assert_eq!(token.expires().unwrap(), "2999-01-01T00:00:00Z", "{text}");
            assert!(token.query().starts_with("sv=2024"), "{text}");
            assert!(!format!("{token:?}").contains("a%2Bb"), "{token:?}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_repeated() {
        for text in ["", "hunter2", "sv=1&sp=r", "sig=hunter2&se=tomorrow"] {
            let error = SasToken::read(text).unwrap_err();
            assert_eq!(error.code().as_str(), "STORAGE_NO_CREDENTIAL");
            assert!(!error.message.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_missing_permission_is_named() {
        let said = |text: &str, need| token(text).check(&[need]).unwrap_err().message;
        assert_eq!(
            said("sp=rl&sr=c&sig=x", Need::Write),
            "the SAS has permissions rl; writing needs w or c"
        );
        assert_eq!(
            said("sp=rw&sr=c&sig=x", Need::Delete),
            "the SAS has permissions rw; deleting needs d"
        );
        assert_eq!(
            said("sp=rl&ss=bf&srt=c&sig=x", Need::Read),
            "the SAS is for resource types c; reading needs o"
        );
        assert_eq!(
            said("sp=rwl&sr=c&sig=x", Need::Create),
            "the SAS is for one container; making a container needs more"
        );
        assert!(said("sp=rl&ss=f&srt=co&sig=x", Need::Read).contains("blob service"));
        token("sp=c&sr=c&sig=x").check(&[Need::Write]).unwrap();
        token("si=policy&sr=c&sig=x").check(&[Need::Write]).unwrap();
    }

    #[test]
    fn a_token_that_is_over_or_not_valid_yet_says_when() {
        let error = token("sp=r&se=2020-01-01&sig=x").check(&[]).unwrap_err();
        assert_eq!(error.code().as_str(), "STORAGE_EXPIRED");
        assert_eq!(error.message, "the SAS ended at 2020-01-01T00:00:00Z");
        let error = token("sp=r&st=2999-01-01&sig=x").check(&[]).unwrap_err();
        assert!(error.message.contains("not valid before 2999"), "{error}");
    }

    #[test]
    fn a_file_with_a_new_token_is_read_when_the_old_one_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sas");
        fs::write(&path, "sp=r&se=2999-01-01&sig=one").unwrap();
        let source = SasSource::open(&SecretRef::File(path.display().to_string())).unwrap();
        let first = source.current().unwrap();
        assert!(!source.renewed(&first), "nothing was written");
        fs::write(&path, "not a token").unwrap();
        assert!(!source.renewed(&first), "half of a token is none");
        fs::write(&path, "sp=r&se=2999-01-01&sig=two").unwrap();
        assert!(source.renewed(&first));
        assert!(source.current().unwrap().query().ends_with("two"));
    }
}
