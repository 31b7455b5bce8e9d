//! Shared access signatures, written by hand: what a test gives petctl should not come from petctl.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const VERSION: &str = "2020-04-08";

/// What a SAS of the whole account allows, and how long.
#[derive(Clone, Debug)]
pub struct Sas {
    /// Letters in the order that Azure wants: `rwdlacu`.
    pub permissions: &'static str,
    /// Seconds from now until its end; below 0: it is over.
    pub lifetime_s: i64,
    /// Seconds from now until its start.
    pub starts_s: i64,
}

impl Default for Sas {
    fn default() -> Self {
        Self {
            permissions: "rwdlacupt",
            lifetime_s: 24 * 3_600,
            starts_s: -3_600,
        }
    }
}

impl Sas {
    /// One that allows these, for a day.
    pub fn of(permissions: &'static str) -> Self {
        Self {
            permissions,
            ..Self::default()
        }
    }

    /// One that ends so many seconds from now.
    #[must_use]
    pub fn lasting(mut self, seconds: i64) -> Self {
        self.lifetime_s = seconds;
        self
    }

    pub(crate) fn sign(&self, account: &str, key: &str) -> String {
        let (start, end) = (time_of(self.starts_s), time_of(self.lifetime_s));
        let Self { permissions, .. } = self;
        let text =
            format!("{account}\n{permissions}\nb\nsco\n{start}\n{end}\n\nhttps,http\n{VERSION}\n");
        let key = STANDARD.decode(key).expect("a key in base64");
        let mut mac = <Hmac<Sha256>>::new_from_slice(&key).expect("any length will do");
        mac.update(text.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let escaped = |text: &str| {
            text.replace('+', "%2B")
                .replace('/', "%2F")
                .replace('=', "%3D")
                .replace(':', "%3A")
        };
        format!(
            "sv={VERSION}&ss=b&srt=sco&sp={permissions}&st={}&se={}&spr=https,http&sig={}",
            escaped(&start),
            escaped(&end),
            escaped(&signature)
        )
    }
}

/// The part of a SAS that nobody may see.
pub fn signature(sas: &str) -> &str {
    sas.rsplit_once("sig=")
        .map_or("", |(_, signature)| signature)
}

/// A key that no other account has.
pub(crate) fn new_key() -> String {
    let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(64)
        .collect();
    STANDARD.encode(bytes)
}

/// `2026-01-02T03:04:05Z`, so many seconds from now.
fn time_of(offset_s: i64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let now = i64::try_from(now.as_secs()).unwrap_or(0) + offset_s;
    let (days, seconds) = (now.div_euclid(86_400), now.rem_euclid(86_400));
    // Days to a date, by eras of 400 years that begin on the 1st of March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}
