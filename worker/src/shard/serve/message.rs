//! What a warm process says.

use serde::Deserialize;

use crate::shard::serve::lines::MAX_LINE;

/// Longest message of a failed shard, in characters.
const MAX_MESSAGE_CHARS: usize = 500;

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// It takes shards from now on.
    Ready,
    /// It is done with a shard.
    Done { id: u64 },
    /// The shard has failed.
    Failed {
        id: u64,
        message: String,
        retry: bool,
    },
}

#[derive(Deserialize)]
struct Line {
    ready: Option<bool>,
    id: Option<u64>,
    ok: Option<bool>,
    #[serde(default)]
    message: String,
    #[serde(default = "yes")]
    retry: bool,
}

fn yes() -> bool {
    true
}

/// Reads a line behind its mark.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(super) fn parse(text: &[u8]) -> Result<Message, String> {
    if text.len() > MAX_LINE {
        return Err(format!("is longer than {} KiB", MAX_LINE / 1024));
    }
    let shown = || shown(&String::from_utf8_lossy(text), 100);
    let line: Line = serde_json::from_slice(text)
        .map_err(|error| format!("can't be read ({error}): {}", shown()))?;
    match (line.ready, line.id, line.ok) {
        (Some(true), None, None) => Ok(Message::Ready),
        (None, Some(id), Some(true)) => Ok(Message::Done { id }),
        (None, Some(id), Some(false)) => Ok(Message::Failed {
            id,
            message: self::shown(&line.message, MAX_MESSAGE_CHARS),
            retry: line.retry,
        }),
        (_, _, _) => Err(format!("is neither ready nor an answer: {}", shown())),
    }
}

/// One line of bounded length.
fn shown(text: &str, most: usize) -> String {
    let words: Vec<_> = text
        .split(|character: char| character.is_whitespace() || character.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let failed = |message: &str, retry| Message::Failed {
            id: 3,
            message: message.to_owned(),
            retry,
        };
        let cases = [
            (r#"{"ready": true}"#, Message::Ready),
            (r#"{"ready": true, "version": 7}"#, Message::Ready),
            (r#"{"id": 3, "ok": true}"#, Message::Done { id: 3 }),
            (r#"{"id": 3, "ok": false}"#, failed("", true)),
            (
                r#"{"id": 3, "ok": false, "message": "a\n  b", "retry": false}"#,
                failed("a b", false),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_says_why() {
        for text in [
            "",
            "ready",
            "{}",
            "[1]",
            r#"{"ready": false}"#,
            r#"{"id": 3}"#,
            r#"{"id": "3", "ok": true}"#,
            r#"{"ready": true, "id": 3, "ok": true}"#,
            "\u{7f}\u{1b}[0m",
        ] {
            let why = parse(text.as_bytes()).unwrap_err();
            assert!(!why.chars().any(char::is_control), "{why:?}");
        }
        let long = parse(&vec![b'x'; MAX_LINE + 1]).unwrap_err();
        assert_eq!(long, "is longer than 64 KiB");
        let cut = parse(&vec![b'x'; 1_000]).unwrap_err();
        assert!(cut.len() < 300, "{cut}");
    }
}
