//! Paths as text. Names on Unix are bytes; this text form carries any of them through JSON and back without loss, and
//! leaves ordinary paths as they are.
//!
//! The text is the path itself, with two exceptions: a backslash is written `\\`, and every byte that is not part of valid
//! UTF-8 is written `\xHH`. Reading is lenient: a backslash that starts neither of the two stands for itself, so a path
//! typed by hand nearly always means what it says.

use std::fmt::Write as _;

/// The text form of a path.
#[must_use]
pub fn text_of(path: &[u8]) -> String {
    write(path, "\\\\")
}

/// A path for people to read: bytes that are not UTF-8 as `\xHH`, a backslash as itself. There is no way back.
#[must_use]
pub fn shown(path: &[u8]) -> String {
    write(path, "\\")
}

fn write(path: &[u8], backslash: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for part in chunk.valid().split_inclusive('\\') {
            match part.strip_suffix('\\') {
                Some(before) => text.extend([before, backslash]),
                None => text.push_str(part),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The path behind its text form.
#[must_use]
pub fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match tail {
            [b'\\', after @ ..] => {
                bytes.push(b'\\');
                rest = after;
            }
            [b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(hex_value(*high) << 4 | hex_value(*low));
                rest = after;
            }
            _ => bytes.push(b'\\'),
        }
    }
    bytes
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives() {
        let every_byte: Vec<u8> = (1..=255).collect();
        for bytes in [&b"/plain/path"[..], "/ünïcode/日本".as_bytes(), b"a\\xff", b"a\\\\x", b"\\", &every_byte] {
            assert_eq!(bytes_of(&text_of(bytes)), bytes);
        }
    }

    #[test]
    fn ordinary_paths_look_like_themselves() {
        assert_eq!(text_of("/srv/data/é".as_bytes()), "/srv/data/é");
        assert_eq!(text_of(b"caf\xe9\\"), r"caf\xe9\\");
        assert_eq!(shown(b"caf\xe9\\"), r"caf\xe9\");
        // A single backslash typed by hand is taken as it is.
        assert_eq!(bytes_of(r"C:\data"), br"C:\data");
    }
}
