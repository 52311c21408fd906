//! Long values, stored in few bytes: JSON documents are compressed with a dictionary that ships with the program, and
//! lease tokens are stored as the bytes that they were made from.
//!
//! A document is stored as TEXT, plain JSON, when it is short or people shall be able to read it, and as a BLOB otherwise.
//! The first byte of the BLOB says how it was packed; what was packed once can be unpacked for ever, so a dictionary is
//! never changed: a better one gets the next number.

use std::cell::RefCell;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::task::LeaseToken;
use domain::{Code, Error, Result};
use rusqlite::types::{Value, ValueRef};
use serde::Serialize;
use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::zstd_safe::{CParameter, get_frame_content_size};

/// What documents of the first version were packed with: trained on arguments, contexts, progress and results as
/// Backstay writes them, with all names, ids and numbers replaced by random ones.
const DICTIONARY_1: &[u8] = include_bytes!("documents-1.zdict");
/// The first byte of a document that was packed with it.
const VERSION_1: u8 = 1;
/// Higher levels take four times as long for three per cent of the bytes.
const LEVEL: i32 = 3;
/// Every Zstandard frame begins with this, so it is not stored.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Shorter documents are left as they are.
const SHORT: usize = 48;
/// Longer documents are left as they are; a packed one that says it is longer is damaged.
const LONG: usize = 64 * 1024 * 1024;

static PACKER_1: LazyLock<EncoderDictionary<'static>> = LazyLock::new(|| EncoderDictionary::copy(DICTIONARY_1, LEVEL));
static UNPACKER_1: LazyLock<DecoderDictionary<'static>> = LazyLock::new(|| DecoderDictionary::copy(DICTIONARY_1));

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// A document as people can read it.
pub(super) fn plain(document: &impl Serialize) -> Result<Value> {
    serde_json::to_string(document).map(Value::Text).map_err(unprintable)
}

/// A document in few bytes.
pub(super) fn packed(document: &impl Serialize) -> Result<Value> {
    pack(serde_json::to_string(document).map_err(unprintable)?)
}

fn unprintable(e: impl std::fmt::Display) -> Error {
    Error::new(Code::Internal, format!("a value cannot be stored: {e}"))
}

/// JSON in few bytes.
pub(super) fn pack(json: String) -> Result<Value> {
    if !(SHORT..=LONG).contains(&json.len()) {
        return Ok(Value::Text(json));
    }
    let frame = COMPRESSOR.with_borrow_mut(|made| -> std::io::Result<Vec<u8>> {
        let compressor = match made {
            Some(compressor) => compressor,
            None => {
                let mut compressor = Compressor::with_prepared_dictionary(&PACKER_1)?;
                // The first byte says which it is.
                compressor.set_parameter(CParameter::DictIdFlag(false))?;
                made.insert(compressor)
            }
        };
        compressor.compress(json.as_bytes())
    });
    let mut frame = frame.map_err(unprintable)?;
    // The version takes the place of the last byte of the magic number.
    let unused = MAGIC.len() - 1;
    if !frame.starts_with(&MAGIC) || frame.len() - unused >= json.len() {
        return Ok(Value::Text(json));
    }
    frame[unused] = VERSION_1;
    frame.drain(..unused);
    Ok(Value::Blob(frame))
}

/// The JSON of a stored document, and nothing where there is none. The error says what is wrong with it.
pub(super) fn unpack<T>(stored: ValueRef<'_>, f: impl FnOnce(&str) -> std::result::Result<T, String>) -> Unpacked<T> {
    match stored {
        ValueRef::Null => Ok(None),
        ValueRef::Text(json) => f(std::str::from_utf8(json).map_err(|e| e.to_string())?).map(Some),
        ValueRef::Blob([VERSION_1, rest @ ..]) => {
            let json = inflate(rest)?;
            f(std::str::from_utf8(&json).map_err(|e| e.to_string())?).map(Some)
        }
        ValueRef::Blob(_) => Err("it is packed in a way that is not known".to_owned()),
        other => Err(format!("it is {:?}, and no document", other.data_type())),
    }
}

/// What a document was made into, if there is one.
pub(super) type Unpacked<T> = std::result::Result<Option<T>, String>;

fn inflate(rest: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let frame = [&MAGIC, rest].concat();
    let size = get_frame_content_size(&frame).ok().flatten().and_then(|n| usize::try_from(n).ok());
    let Some(size) = size.filter(|n| *n <= LONG) else { return Err("it cannot be unpacked".to_owned()) };
    DECOMPRESSOR.with_borrow_mut(|made| {
        let decompressor = match made {
            Some(decompressor) => decompressor,
            None => {
                let new = Decompressor::with_prepared_dictionary(&UNPACKER_1).map_err(|e| e.to_string())?;
                made.insert(new)
            }
        };
        decompressor.decompress(&frame, size).map_err(|e| format!("it cannot be unpacked: {e}"))
    })
}

/// A lease token in few bytes: what stands for bytes, in lower-case hexadecimal digits or in base64 for addresses, is
/// stored as a letter for the way of writing and the bytes; everything else as it is.
pub(super) fn lease(token: &LeaseToken) -> Value {
    let LeaseToken(text) = token;
    if let Some(bytes) = hex_bytes(text) {
        return Value::Blob([b"h", &*bytes].concat());
    }
    match URL_SAFE_NO_PAD.decode(text) {
        Ok(bytes) if text.len() > 2 => Value::Blob([b"b", &*bytes].concat()),
        _ => Value::Text(text.clone()),
    }
}

/// The token that was stored so.
pub(super) fn token(stored: ValueRef<'_>) -> Unpacked<LeaseToken> {
    let text = match stored {
        ValueRef::Null => return Ok(None),
        ValueRef::Text(text) => std::str::from_utf8(text).map_err(|e| e.to_string())?.to_owned(),
        ValueRef::Blob([b'h', bytes @ ..]) => bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect(),
        ValueRef::Blob([b'b', bytes @ ..]) => URL_SAFE_NO_PAD.encode(bytes),
        other => return Err(format!("it is {:?}, and no token", other.data_type())),
    };
    Ok(Some(LeaseToken(text)))
}

fn digit(n: u8) -> char {
    char::from(b"0123456789abcdef"[usize::from(n)])
}

fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(stored: &Value) -> Unpacked<String> {
        unpack(stored.into(), |json| Ok(json.to_owned()))
    }

    #[test]
    fn documents_come_back_as_they_were() {
        let long = format!(r#"{{"progress":{{"current":100,"total":100,"bytes_processed":{}}}}}"#, u64::MAX);
        let noise: String = (0..100_u32).map(|n| char::from_u32(n * 7919 % 50_000 + 33).unwrap_or('x')).collect();
        for json in ["{}".to_owned(), long.clone(), format!("\"{noise}\""), format!("\"{}\"", "ab".repeat(500_000))] {
            let stored = pack(json.clone()).expect("packed");
            assert_eq!(back(&stored), Ok(Some(json)), "{stored:?}");
        }
        assert_eq!(back(&Value::Null), Ok(None));
        let Ok(Value::Blob(packed)) = pack(long.clone()) else { panic!("it is long enough") };
        assert!(packed.len() < long.len() * 2 / 3, "{} of {}", packed.len(), long.len());
    }

    #[test]
    fn what_was_packed_once_can_be_unpacked_for_ever() {
        let json = r#"{"progress":{"current":7,"total":100,"bytes_processed":1234567,"bytes_total":7654321}}"#;
        let of_old = include_bytes!("document-1.packed");
        assert_eq!(back(&Value::Blob(of_old.to_vec())), Ok(Some(json.to_owned())));
    }

    #[test]
    fn damage_is_said_and_not_guessed() {
        let Ok(Value::Blob(sound)) = pack(format!("[{}1]", "12,".repeat(100))) else { panic!("it is long enough") };
        let mut other = sound.clone();
        other[0] = 9;
        for blob in [Vec::new(), vec![VERSION_1], sound[..sound.len() / 2].to_vec(), other] {
            assert!(back(&Value::Blob(blob.clone())).is_err(), "{blob:?}");
        }
        assert!(back(&Value::Integer(3)).is_err());
    }

    #[test]
    fn tokens_come_back_as_they_were() {
        let hex = "0123456789abcdef".repeat(2);
        for (text, bytes) in [
            (&*hex, 17),
            ("ABCDEF", 5),
            ("l", 1),
            ("", 1),
            ("abc", 3),
            ("s3cret_-s3cret_-s3cret_-s3cret_-s3cret_-s3c", 43),
            ("s3cret_-s3cret_-s3cret_-s3cret_-s3cret_-s3c0", 34),
            ("Ünicode", 8),
        ] {
            let of = LeaseToken(text.to_owned());
            let stored = lease(&of);
            assert_eq!(token((&stored).into()), Ok(Some(of)));
            let length = match &stored {
                Value::Blob(b) => b.len(),
                Value::Text(t) => t.len(),
                _ => 0,
            };
            assert!(length <= bytes.max(text.len()), "{stored:?}");
        }
    }
}
