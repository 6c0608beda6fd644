//! How values are written in the list.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// May this byte stand in a value as it is written?
pub(super) fn is_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)
}

/// Does this byte stand for itself?
fn is_plain(byte: u8) -> bool {
    is_octet(byte) && byte != b'%'
}

/// How many bytes [`encode`] writes.
pub(super) fn encoded_len(value: &str) -> usize {
    let bytes = value.bytes().map(|byte| match is_plain(byte) {
        true => 1,
        false => 3,
    });
    bytes.sum()
}

/// Writes `value` as it stands in the list.
pub(super) fn encode(value: &str, to: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in value.bytes() {
        match is_plain(byte) {
            true => to.write_char(char::from(byte))?,
            false => write!(to, "%{byte:02X}")?,
        }
    }
    Ok(())
}

/// Reads a value as it stood in the list. A `%` that no two hexadecimal digits follow stands for itself; what
/// is no UTF-8 becomes U+FFFD.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let encoded = match (byte, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match encoded {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    // At most 15.
    char::from(digit).to_digit(16).map(|value| value as u8)
}
