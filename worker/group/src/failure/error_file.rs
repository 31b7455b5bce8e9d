//! torchelastic's error file: what a script's exception was, and when.
//!
//! `{"message": {"message": "Type: text", "extraInfo": {"py_callstack": "…", "timestamp": "<seconds>"}}}`, or with a
//! plain string as `message`. It is written by whatever the user runs, so nothing in it is believed unchecked.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use petctl_text::words::one_line;
use serde_json::Value;

/// Most bytes of it that are read; a callstack is seldom a tenth of that.
const MAX_BYTES: u64 = 64 * 1024;

/// `O_NONBLOCK`, as the standard library wants it.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// What was in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorFile {
    /// One line.
    pub(crate) message: String,
    /// When the exception was raised, by the clock of this machine.
    pub(crate) at: Option<SystemTime>,
}

/// Reads the file; `None` where there is none, or nothing in it.
pub(crate) fn read(path: &Path) -> Option<ErrorFile> {
    let file = open_at_once(path).ok()?;
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let bytes = metadata.len();
    let written = metadata.modified().ok();
    if bytes == 0 {
        return None;
    }
    if bytes > MAX_BYTES {
        return Some(unreadable(format!(
            "its error file has {bytes} bytes, more than the 64 KiB that are read"
        )));
    }
    let mut text = Vec::new();
    if let Err(error) = file.take(MAX_BYTES).read_to_end(&mut text) {
        return Some(unreadable(format!("its error file can't be read: {error}")));
    }
    let mut read = parse(&text);
    read.at = read
        .at
        .map(|stamp| written.map_or(stamp, |written| finer(stamp, written)));
    Some(read)
}

/// PyTorch stamps whole seconds, in which one rank's exception and those that followed from it in others look alike.
/// Within the stamped second, the writing of the file tells them apart.
fn finer(stamp: SystemTime, written: SystemTime) -> SystemTime {
    match written.duration_since(stamp) {
        Ok(later) if later < Duration::from_secs(1) => written,
        Ok(_) | Err(_) => stamp,
    }
}

/// Opens what a script has written, without waiting for anybody where it is a pipe.
pub(crate) fn open_at_once(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).custom_flags(NONBLOCK);
    options.open(path)
}

fn parse(text: &[u8]) -> ErrorFile {
    let Ok(whole) = serde_json::from_slice::<Value>(text) else {
        return unreadable("its error file is not JSON".to_owned());
    };
    let outer = whole.get("message").unwrap_or(&Value::Null);
    let (message, extra) = match outer {
        Value::String(message) => (Some(message.as_str()), None),
        Value::Object(fields) => (
            fields.get("message").and_then(Value::as_str),
            fields.get("extraInfo"),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => (None, None),
    };
    let Some(message) = message else {
        return unreadable("its error file has no message".to_owned());
    };
    let at = extra
        .and_then(|extra| extra.get("timestamp"))
        .and_then(seconds);
    ErrorFile {
        message: one_line(message),
        at,
    }
}

/// Seconds since 1970, as a number or a string of one.
fn seconds(value: &Value) -> Option<SystemTime> {
    let seconds = match value {
        Value::String(text) => text.trim().parse().ok()?,
        Value::Number(number) => number.as_f64()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    UNIX_EPOCH.checked_add(since)
}

fn unreadable(message: String) -> ErrorFile {
    ErrorFile { message, at: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_the_stamped_second_the_files_own_time_counts() {
        let second = UNIX_EPOCH + Duration::from_secs(1_795_244_400);
        let later = |ms| second + Duration::from_millis(ms);
        assert_eq!(finer(second, later(250)), later(250));
        assert_eq!(finer(second, later(1_000)), second);
        assert_eq!(finer(later(5_000), second), later(5_000));
    }

    #[test]
    fn torchs_file_gives_its_exception_and_its_time() {
        let text = br#"{"message": {"message": "ValueError: bad\nvalue", "extraInfo":
            {"py_callstack": "Traceback", "timestamp": "1795244400"}}}"#;
        let file = parse(text);
        assert_eq!(file.message, "ValueError: bad");
        assert_eq!(
            file.at,
            Some(UNIX_EPOCH + Duration::from_secs(1_795_244_400))
        );
        let number = br#"{"message": {"message": "x", "extraInfo": {"timestamp": 1.5}}}"#;
        assert_eq!(
            parse(number).at,
            Some(UNIX_EPOCH + Duration::from_millis(1_500))
        );
    }

    #[test]
    fn a_message_may_be_a_plain_string() {
        let file = parse(br#"{"message": "out of data"}"#);
        assert_eq!((file.message.as_str(), file.at), ("out of data", None));
    }

    #[test]
    fn broken_files_say_what_is_wrong_with_them() {
        let cases: [(&[u8], &str); 6] = [
            (b"{\"message\"", "its error file is not JSON"),
            (b"\xff\xfe", "its error file is not JSON"),
            (b"[]", "its error file has no message"),
            (b"{}", "its error file has no message"),
            (b"{\"message\": 7}", "its error file has no message"),
            (
                b"{\"message\": {\"message\": []}}",
                "its error file has no message",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).message, expected);
        }
        for time in ["\"-5\"", "\"NaN\"", "1e300", "[]", "\"soon\""] {
            let text = format!(
                r#"{{"message": {{"message": "m", "extraInfo": {{"timestamp": {time}}}}}}}"#
            );
            assert_eq!(parse(text.as_bytes()).at, None, "{time}");
        }
    }

    #[test]
    fn a_huge_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("error.json");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 30).unwrap();
        let message = read(&path).unwrap().message;
        assert!(
            message.contains("1073741824 bytes") && message.contains("64 KiB"),
            "{message}"
        );
        assert_eq!(read(&folder.path().join("none")), None);
        assert_eq!(read(folder.path()), None);
    }
}
