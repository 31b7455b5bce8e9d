//! Bytes as text.

/// Bytes as lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Bytes from their hex digits, where they are as many.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0_u8; N];
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{hex, unhex};

    #[test]
    fn bytes_come_back_from_their_digits_alone() {
        assert_eq!(unhex(&hex(&[0, 0x7f, 0xff])), Some([0, 0x7f, 0xff]));
        for other in ["", "00", "00112", "0011zz", "+1+2+3", "0011é"] {
            assert_eq!(unhex::<3>(other), None, "{other}");
        }
    }

    #[test]
    fn each_byte_is_two_digits() {
        assert_eq!(hex(&[]), "");
        assert_eq!(hex(&[0, 1, 0x7f, 0x80, 0xff]), "00017f80ff");
    }
}
