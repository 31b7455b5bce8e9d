//! How records lie in the log: a checksum, then records one after another.

use petctl_core::Record;
use postcard::ser_flavors::Flavor;

/// Records of one value at most, so that a reader never decodes many to return few.
pub(super) const MAX_RECORDS: usize = 1_024;

const CHECKSUM_BYTES: usize = 4;

/// Encodes records into `value`, which is emptied first.
pub(super) fn encode(records: &[Record], value: &mut Vec<u8>) -> postcard::Result<()> {
    value.clear();
    value.extend_from_slice(&[0; CHECKSUM_BYTES]);
    for record in records {
        postcard::serialize_with_flavor(record, Appending(value))?;
    }
    seal(value);
    Ok(())
}

/// Decodes one record after another; each of them may turn out not to be one.
pub(super) fn decode(value: &[u8]) -> Result<impl Iterator<Item = Result<Record, String>>, String> {
    let mut rest = open(value)?;
    Ok(std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let taken = postcard::take_from_bytes(rest);
        rest = taken.as_ref().map_or(&[], |(_, rest)| rest);
        Some(
            taken
                .map(|(record, _)| record)
                .map_err(|error| format!("a record is not readable ({error})")),
        )
    }))
}

/// Puts the checksum of the rest into the first bytes.
pub(super) fn seal(value: &mut [u8]) {
    if let Some((checksum, contents)) = value.split_first_chunk_mut::<CHECKSUM_BYTES>() {
        *checksum = crc32fast::hash(contents).to_le_bytes();
    }
}

/// What was sealed, if it still is what it was.
pub(super) fn open(value: &[u8]) -> Result<&[u8], String> {
    let (checksum, contents) = value
        .split_first_chunk::<CHECKSUM_BYTES>()
        .ok_or("a value is cut short")?;
    if crc32fast::hash(contents).to_le_bytes() == *checksum {
        Ok(contents)
    } else {
        Err("a checksum is wrong".into())
    }
}

/// An empty value that can be appended to and sealed.
pub(super) fn unsealed() -> Vec<u8> {
    vec![0; CHECKSUM_BYTES]
}

/// Appends to a buffer that is used again.
struct Appending<'a>(&'a mut Vec<u8>);

impl Flavor for Appending<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
