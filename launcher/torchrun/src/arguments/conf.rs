//! `--rdzv-conf`: settings of the rendezvous.

use petctl_ui::terminal::printable;
use std::path::PathBuf;
use std::time::Duration;

/// How long a group may take to come together.
const JOIN_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a group that has its fewest nodes waits for the others that are wanted.
const LAST_CALL: Duration = Duration::from_secs(2);
/// Longest of all times.
const MAX_SECONDS: u64 = 30 * 86_400;

/// What torchrun's backends know, and has no meaning here.
const MEANINGLESS: &[&str] = &[
    "backend",
    "cacert",
    "ca_cert",
    "cert",
    "etcd_prefix",
    "heartbeat_timeout",
    "keep_alive_interval",
    "keep_alive_max_attempt",
    "key",
    "protocol",
    "rank",
    "read_timeout",
    "ssl_cert",
    "ssl_cert_key",
    "store_type",
    "use_libuv",
];

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RendezvousConf {
    pub(crate) join_timeout: Duration,
    pub(crate) last_call: Duration,
    /// Nodes to wait for.
    pub(crate) wanted: Option<u32>,
    pub(crate) token_file: Option<PathBuf>,
    /// Whether this node starts the coordinator; found out where `None`.
    pub(crate) is_host: Option<bool>,
}

impl Default for RendezvousConf {
    fn default() -> Self {
        Self {
            join_timeout: JOIN_TIMEOUT,
            last_call: LAST_CALL,
            wanted: None,
            token_file: None,
            is_host: None,
        }
    }
}

impl RendezvousConf {
    /// Reads `key=value,key=value`, perhaps in quotes that a scheduler has left around it.
    pub(crate) fn read(text: &str, warnings: &mut Vec<String>) -> Result<Self, String> {
        let mut conf = Self::default();
        let text = unquoted(text.trim());
        if text.is_empty() {
            return Ok(conf);
        }
        for pair in text.split(',') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (unquoted(key.trim()), unquoted(value.trim()));
            if key.is_empty() || value.is_empty() {
                return Err(format!(
                    "--rdzv-conf `{}` is not of the form KEY=VALUE,KEY=VALUE",
                    printable(text)
                ));
            }
            conf.set(key, value, warnings)?;
        }
        Ok(conf)
    }

    fn set(&mut self, key: &str, value: &str, warnings: &mut Vec<String>) -> Result<(), String> {
        match key {
            "join_timeout" | "timeout" => self.join_timeout = seconds(key, value)?,
            "last_call_timeout" => self.last_call = seconds(key, value)?,
            // How long a closed rendezvous may take to go: here it goes at once.
            "close_timeout" => drop(seconds(key, value)?),
            "wanted" => self.wanted = Some(value.parse().map_err(|_| bad(key, value))?),
            "token_file" => self.token_file = Some(PathBuf::from(value)),
            "is_host" => {
                self.is_host = Some(match value.to_ascii_lowercase().as_str() {
                    "1" | "true" | "t" | "yes" | "y" => true,
                    "0" | "false" | "f" | "no" | "n" => false,
                    _ => return Err(bad(key, value)),
                });
            }
            _ if MEANINGLESS.contains(&key) => {}
            _ => warnings.push(format!(
                "--rdzv-conf: `{}` is not known and left aside",
                printable(key)
            )),
        }
        Ok(())
    }
}

fn seconds(key: &str, value: &str) -> Result<Duration, String> {
    match value.parse() {
        Ok(seconds) if seconds <= MAX_SECONDS => Ok(Duration::from_secs(seconds)),
        _ => Err(bad(key, value)),
    }
}

fn bad(key: &str, value: &str) -> String {
    format!("--rdzv-conf: `{}` is no value for {key}", printable(value))
}

fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = text
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner.trim();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RendezvousConf, String> {
        RendezvousConf::read(text, &mut Vec::new())
    }

    #[test]
    fn quotes_around_the_whole_or_a_value_do_not_count() {
        let wanted = RendezvousConf {
            join_timeout: Duration::from_secs(60),
            last_call: Duration::from_secs(5),
            ..RendezvousConf::default()
        };
        for text in [
            "join_timeout=60,last_call_timeout=5",
            "\"join_timeout=60,last_call_timeout=5\"",
            "'timeout=60, last_call_timeout=\"5\"'",
        ] {
            assert_eq!(read(text), Ok(wanted.clone()), "{text}");
        }
        assert_eq!(read(""), Ok(RendezvousConf::default()));
    }

    #[test]
    fn what_is_wrong_is_said_and_what_is_unknown_is_warned_of() {
        for bad in [
            "=1",
            "a",
            "a=",
            "timeout=x",
            "is_host=perhaps",
            "wanted=-1",
            "timeout=1,,",
        ] {
            assert!(read(bad).unwrap_err().starts_with("--rdzv-conf"), "{bad}");
        }
        let mut warnings = Vec::new();
        RendezvousConf::read("read_timeout=60,colour=blue", &mut warnings).unwrap();
        assert_eq!(
            warnings,
            ["--rdzv-conf: `colour` is not known and left aside"]
        );
    }
}
