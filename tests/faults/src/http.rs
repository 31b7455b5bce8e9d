//! As much of HTTP/1.1 as a proxy between two well-behaved programs needs.

use std::io::{self, BufRead, Read, Write};
use std::thread::sleep;
use std::time::Duration;

/// Bytes that are passed on at a time.
pub(crate) const PIECE: usize = 64 * 1_024;
const MOST_HEAD: usize = 64 * 1_024;

/// Start line and headers.
#[derive(Debug)]
pub(crate) struct Head {
    text: String,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// So many bytes.
    Bytes(u64),
    /// In chunks, each with its length.
    Chunks,
}

/// The next one; `None` where the other side has ended in good order.
pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            return if bytes.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        if bytes.len() > MOST_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Some(Head { text }))
}

impl Head {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    pub(crate) fn method(&self) -> &str {
        self.text.split(' ').next().unwrap_or_default()
    }

    /// Path and query of a request.
    pub(crate) fn target(&self) -> &str {
        self.text.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// What follows this head of an answer to a request of that method.
    pub(crate) fn body_of(&self, method: &str) -> Length {
        let status: u16 = self.target().parse().unwrap_or(0);
        if method == "HEAD" || matches!(status, 100..200 | 204 | 304) {
            return Length::Bytes(0);
        }
        let coding = self.header("transfer-encoding").unwrap_or_default();
        if coding.eq_ignore_ascii_case("chunked") {
            return Length::Chunks;
        }
        Length::Bytes(self.length().unwrap_or(0))
    }

    /// Whether the connection ends with this message.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.text.lines().skip(1);
        lines.find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// What happens in the middle of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Middle {
    /// It ends there.
    Break,
    /// It stops for so long.
    Stall(Duration),
}

/// Passes a body on, rests after each piece, and does in its middle what it is told to. The middle of chunks is that of
/// the first one, as nobody knows how many will come.
pub(crate) fn relay(
    from: &mut impl BufRead,
    to: &mut impl Write,
    body: Length,
    mut middle: Option<Middle>,
    rest: Option<Duration>,
) -> io::Result<()> {
    if let Length::Bytes(bytes) = body {
        return relay_part(from, to, bytes, middle, rest).map(|_| ());
    }
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        to.write_all(line.as_bytes())?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
        let broken = relay_part(from, to, size + 2, middle.take(), rest)?;
        if broken || size == 0 {
            return Ok(());
        }
    }
}

/// Whether it was broken off.
fn relay_part(
    from: &mut impl Read,
    to: &mut impl Write,
    bytes: u64,
    middle: Option<Middle>,
    rest: Option<Duration>,
) -> io::Result<bool> {
    let half = middle.map_or(0, |_| bytes / 2);
    relay_bytes(from, to, half, rest)?;
    match middle {
        Some(Middle::Break) => return Ok(true),
        Some(Middle::Stall(pause)) => sleep(pause),
        None => {}
    }
    relay_bytes(from, to, bytes - half, rest)?;
    Ok(false)
}

fn relay_bytes(
    from: &mut impl Read,
    to: &mut impl Write,
    bytes: u64,
    rest: Option<Duration>,
) -> io::Result<()> {
    let mut left = bytes;
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
        let read = from.read(&mut piece[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&piece[..read])?;
        left -= read as u64;
        if let Some(rest) = rest {
            sleep(rest);
        }
    }
    Ok(())
}
