//! Tokens of workers: good for one job, made of the coordinator's own token, and kept nowhere.

use hmac::{Hmac, KeyInit as _, Mac as _};
use petctl_text::{Secret, hex};
use sha2::{Digest as _, Sha256};

/// How they begin.
const PREFIX: &str = "petctl-worker.";
/// What is signed, before the job's name: nothing else that the token may sign one day is mistaken for it.
const PURPOSE: &[u8] = b"petctl worker of job ";
/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// The token by which workers serve this job and do nothing else: `petctl-worker.JOB.` and a signature with the
/// coordinator's token. Another token of the coordinator makes it worthless.
#[must_use]
pub fn worker_token(token: &Secret, job: &str) -> Secret {
    let signed = mac(token, job).finalize().into_bytes();
    Secret::new(format!("{PREFIX}{job}.{}", hex(&signed)))
}

/// The job that a worker's token names; `None` for other tokens. It says nothing of whether the token is right.
#[must_use]
pub fn job_of_token(token: &Secret) -> Option<&str> {
    parts(token.expose().as_bytes()).map(|(job, _)| job)
}

/// Whether this was made by [`worker_token`] from this token. The job is in it.
pub(crate) fn verified<'t>(token: &Secret, shown: &'t [u8]) -> Option<&'t str> {
    let (job, signature) = parts(shown)?;
    let signature = unhex(signature)?;
    // Takes as long for a nearly right one as for a wrong one.
    mac(token, job).verify_slice(&signature).ok()?;
    Some(job)
}

/// Whether somebody means to show a worker's token.
pub(crate) fn is_one(shown: &[u8]) -> bool {
    shown.starts_with(PREFIX.as_bytes())
}

fn parts(shown: &[u8]) -> Option<(&str, &str)> {
    let rest = std::str::from_utf8(shown).ok()?.strip_prefix(PREFIX)?;
    rest.rsplit_once('.')
}

fn mac(token: &Secret, job: &str) -> Hmac<Sha256> {
    // A key that is shorter than a block is filled up with zeros, as HMAC has it.
    let mut key = [0; BLOCK];
    let digest = Sha256::digest(token.expose().as_bytes());
    for (byte, from) in key.iter_mut().zip(digest) {
        *byte = from;
    }
    let mut mac = Hmac::<Sha256>::new(&key.into());
    mac.update(PURPOSE);
    mac.update(job.as_bytes());
    mac
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes = text.as_bytes().chunks(2);
    bytes
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workers_token_opens_its_job_and_no_other() {
        let token = Secret::new("a-coordinators-token-0123456789");
        let made = worker_token(&token, "us101");
        assert_eq!(job_of_token(&made), Some("us101"));
        assert_eq!(verified(&token, made.expose().as_bytes()), Some("us101"));
        let other = made.expose().replace("us101", "us102");
        let short = &made.expose()[..made.expose().len() - 2];
        let cut = format!("{short}0g");
        for wrong in [
            &*other,
            short,
            &cut,
            "petctl-worker.us101.",
            "petctl-worker.us101",
        ] {
            assert_eq!(verified(&token, wrong.as_bytes()), None, "{wrong}");
            assert!(is_one(wrong.as_bytes()));
        }
        let older = Secret::new("the-token-before-0123456789");
        assert_eq!(verified(&older, made.expose().as_bytes()), None);
        assert_eq!(job_of_token(&token), None);
    }
}
