//! Bodies as they came: pieces that are kept and sent again without being copied.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::convert::Infallible;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

/// What is smaller is copied, so that it does not hold the much larger buffer that it was read into.
const SMALL_BYTES: u64 = 64 * 1024;

/// An answer of the service.
pub(crate) type Answer = Response<Pieces>;

/// A body that came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) size: u64,
}

impl Received {
    /// All of it side by side.
    pub(crate) fn joined(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

/// Reads a body to its end.
pub(crate) async fn receive(mut body: Incoming) -> Result<Received, hyper::Error> {
    let mut received = Received::default();
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame?.into_data()
            && !piece.is_empty()
        {
            received.size += piece.len() as u64;
            received.pieces.push(piece);
        }
    }
    if (1..SMALL_BYTES).contains(&received.size) {
        received.pieces = vec![received.joined().into()];
    }
    Ok(received)
}

/// A body on its way out.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pieces: vec::IntoIter<Bytes>,
    left: u64,
}

impl Pieces {
    /// These bytes of what the pieces make together.
    pub(crate) fn cut<'a>(pieces: impl Iterator<Item = &'a Bytes>, range: Range<u64>) -> Self {
        let mut cut = Vec::new();
        let (mut at, mut left) = (0_u64, 0_u64);
        for piece in pieces {
            let end = at + piece.len() as u64;
            let within = |place: u64| usize::try_from(place.clamp(at, end) - at).unwrap_or(0);
            let part = piece.slice(within(range.start)..within(range.end));
            if !part.is_empty() {
                left += part.len() as u64;
                cut.push(part);
            }
            at = end;
        }
        Self {
            pieces: cut.into_iter(),
            left,
        }
    }
}

impl From<String> for Pieces {
    fn from(text: String) -> Self {
        let left = text.len() as u64;
        Self {
            pieces: vec![text.into()].into_iter(),
            left,
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.next();
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(range: Range<u64>) -> (String, u64) {
        let pieces = ["abc", "", "defg", "h"].map(Bytes::from);
        let cut = Pieces::cut(pieces.iter(), range);
        let left = cut.left;
        let bytes: Vec<Bytes> = cut.pieces.collect();
        (String::from_utf8(bytes.concat()).unwrap(), left)
    }

    #[test]
    fn a_range_is_cut_out_of_the_pieces_wherever_it_begins_and_ends() {
        let whole = "abcdefgh";
        for start in 0..=8 {
            for end in start..=9 {
                let wanted = &whole[start..end.min(8)];
                let expected = (wanted.to_owned(), wanted.len() as u64);
                assert_eq!(cut(start as u64..end as u64), expected, "{start}..{end}");
            }
        }
    }
}
