//! Cursors: the question and the place of a list, opaque to clients, signed, and kept nowhere (contract, section 6, D35 and
//! D36).
//!
//! A cursor is base64url without padding of: version, kind of rows, tenant of the token, flags, level of detail, limit,
//! upper bound, order, the last row's values in it, filters, and a tag over all of these. Texts end with a byte that no
//! UTF-8 has. A cursor is never longer than [`MAX`]: filters take fewer bytes here than in the query, which is at most
//! 8 KiB, and a text of the key takes at most three bytes a character.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::query::{Direction, Key, Value, nanos};
use domain::{Code, Error, Timestamp, Uuid};

use super::error::Failure;
use super::filter::{Asker, Question};
use super::names::Lod;
use super::params::AFTER;

/// The longest cursor, in characters (D36).
pub(super) const MAX: usize = 12 * 1024;

/// The format; cursors of another one are refused.
const VERSION: u8 = 1;
/// The length of the tag, in bytes (D36).
const TAG: usize = 16;
/// The end of a text; no byte of UTF-8 is this, and no character begins with it in three bytes.
const END: u8 = 0xff;

const DELETED: u8 = 1;
const BOUNDED: u8 = 2;

// What a value of the key is.
const ABSENT: u8 = 0;
const INT: u8 = 1;
const UUID: u8 = 2;
const TIME: u8 = 3;
const BOOL: u8 = 4;
const ENUM: u8 = 5;
const UTF8: u8 = 6;
const THREE_BYTES: u8 = 7;

/// What a cursor holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    /// Which rows, and in which order.
    pub(super) question: Question,
    /// How much of them is shown, unless the request says otherwise.
    pub(super) lod: Lod,
    /// The page size, unless the request says otherwise.
    pub(super) limit: u32,
    /// The place of the last row that was shown.
    pub(super) key: Key,
    /// Only rows that were changed up to here (12.3).
    pub(super) bound: Option<Timestamp>,
}

/// The cursor of a place in a list of this kind.
pub(super) fn encode(place: &Place, kind: u8, asker: &Asker<'_>) -> String {
    let Place { question, lod, limit, key, bound } = place;
    let mut bytes = vec![VERSION, kind];
    bytes.extend(asker.tenant.as_bytes());
    let flags = if question.deleted { DELETED } else { 0 } | if bound.is_some() { BOUNDED } else { 0 };
    bytes.extend([flags, *lod as u8]);
    bytes.extend(limit.to_be_bytes());
    bytes.extend(bound.iter().flat_map(|time| nanos(*time).to_be_bytes()));
    bytes.extend(question.order.iter().map(|(place, direction)| place << 1 | u8::from(*direction == Direction::Desc)));
    bytes.push(END);
    for value in &key.0 {
        write(&mut bytes, value.as_ref());
    }
    bytes.push(END);
    for (place, text) in &question.filters {
        bytes.push(*place);
        bytes.extend(text.as_bytes());
        bytes.push(END);
    }
    let tag = hmac::sign(asker.key, &bytes);
    bytes.extend(&tag.as_ref()[..TAG]);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The place of a cursor.
///
/// # Errors
/// `invalid_cursor` when it is damaged, of another version, of another kind of rows, or of another tenant's token.
pub(super) fn decode(text: &str, kind: u8, asker: &Asker<'_>) -> Result<Place, Failure> {
    let place = || {
        let bytes = URL_SAFE_NO_PAD.decode(Some(text).filter(|t| t.len() <= MAX)?).ok()?;
        let (signed, tag) = bytes.split_last_chunk::<TAG>()?;
        let wanted = hmac::sign(asker.key, signed);
        constant_time::verify_slices_are_equal(tag, &wanted.as_ref()[..TAG]).ok()?;
        let mut read = Reader(signed);
        let ours = read.byte()? == VERSION && read.byte()? == kind && read.take()? == *asker.tenant.as_bytes();
        if ours { read.place() } else { None }
    };
    place().ok_or_else(refused)
}

/// The refusal of a cursor. Why is not said: whoever has it did not write it.
pub(super) fn refused() -> Failure {
    let error = Error::new(Code::InvalidCursor, "the cursor is damaged, or belongs to another list or tenant")
        .field(AFTER)
        .hint("give it back unchanged, or start again without it");
    Failure::from(error).with("parameter", AFTER)
}

/// A value of the key: what it is, and it.
fn write(bytes: &mut Vec<u8>, value: Option<&Value>) {
    let (form, number) = match value {
        None => return bytes.push(ABSENT),
        Some(Value::Int(n)) => (INT, *n),
        Some(Value::Time(time)) => (TIME, nanos(*time)),
        Some(Value::Bool(yes)) => (BOOL, i64::from(*yes)),
        Some(Value::Enum(n)) => (ENUM, *n),
        Some(Value::Uuid(uuid)) => {
            bytes.push(UUID);
            return bytes.extend(uuid.as_bytes());
        }
        Some(Value::Text(text)) => {
            if text.len() <= 3 * text.chars().count() {
                bytes.push(UTF8);
                bytes.extend(text.as_bytes());
            } else {
                bytes.push(THREE_BYTES);
                bytes.extend(text.chars().flat_map(|c| u32::from(c).to_be_bytes().into_iter().skip(1)));
            }
            return bytes.push(END);
        }
    };
    bytes.push(form);
    bytes.extend(number.to_be_bytes());
}

/// What is left to read of a cursor whose tag is right. Only another version of the server could have written what does
/// not fit, and that is refused like damage.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn place(&mut self) -> Option<Place> {
        let flags = self.byte()?;
        let lod = *Lod::ALL.get(usize::from(self.byte()?))?;
        let limit = u32::from_be_bytes(self.take()?);
        let bound = if flags & BOUNDED == 0 { None } else { Some(self.time()?) };
        let direction = |term: &u8| if term & 1 == 0 { Direction::Asc } else { Direction::Desc };
        let order = self.until_end()?.iter().map(|term| (term >> 1, direction(term))).collect();
        let mut key = Vec::new();
        loop {
            match self.byte()? {
                END => break,
                form => key.push(self.value(form)?),
            }
        }
        let mut filters = Vec::new();
        while !self.0.is_empty() {
            filters.push((self.byte()?, String::from_utf8(self.until_end()?.to_vec()).ok()?));
        }
        let question = Question { filters, order, deleted: flags & DELETED != 0 };
        Some(Place { question, lod, limit, key: Key(key), bound })
    }

    fn value(&mut self, form: u8) -> Option<Option<Value>> {
        Some(Some(match form {
            ABSENT => return Some(None),
            INT => Value::Int(self.number()?),
            UUID => Value::Uuid(Uuid::from_bytes(self.take()?)),
            TIME => Value::Time(self.time()?),
            BOOL => Value::Bool(self.number()? != 0),
            ENUM => Value::Enum(self.number()?),
            UTF8 => Value::Text(String::from_utf8(self.until_end()?.to_vec()).ok()?),
            THREE_BYTES => {
                let mut text = String::new();
                // The second and third byte of a character may be like the end; the first is at most 0x10.
                loop {
                    match self.byte()? {
                        END => break,
                        high => {
                            let [middle, low] = self.take()?;
                            text.push(char::from_u32(u32::from_be_bytes([0, high, middle, low]))?);
                        }
                    }
                }
                Value::Text(text)
            }
            _ => return None,
        }))
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn time(&mut self) -> Option<Timestamp> {
        Timestamp::from_nanosecond(i128::from(self.number()?)).ok()
    }

    /// What stands before the end of a text.
    fn until_end(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == END)?;
        let (text, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use domain::query::TaskField;
    use proptest::prelude::*;

    use super::super::filter::{Asked, Listed};
    use super::super::params;
    use super::*;

    fn with_asker<T>(f: impl FnOnce(&Asker<'_>) -> T) -> T {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"a key of the server");
        f(&Asker { tenant: Uuid::from_u128(66), key: &key, horizon: Timestamp::UNIX_EPOCH })
    }

    fn place() -> Place {
        Place {
            question: Question {
                filters: vec![(3, "gt(2026-11-14T00:00:00Z)".to_owned()), (17, "started".to_owned())],
                order: vec![(9, Direction::Desc), (4, Direction::Asc)],
                deleted: true,
            },
            lod: Lod::Short,
            limit: 10,
            key: Key(vec![
                Some(Value::Time(Timestamp::MIN)),
                None,
                Some(Value::Text("\u{10ffff}\u{ff}\u{1f600}".to_owned())),
                Some(Value::Text(String::new())),
                Some(Value::Uuid(Uuid::max())),
                Some(Value::Bool(true)),
                Some(Value::Enum(4)),
                Some(Value::Int(i64::MIN)),
            ]),
            bound: Some(Timestamp::from_nanosecond(417).expect("near 1970")),
        }
    }

    /// Whether a cursor is refused as it should be.
    fn is_refused(result: Result<Place, Failure>) -> bool {
        result.is_err_and(|f| f.body()["code"] == "invalidCursor")
    }

    #[test]
    fn a_cursor_is_base64url_without_padding_and_comes_back_as_it_was() {
        // D36
        let mut place = place();
        // What is stored reaches from 1677 to 2262.
        place.key.0[0] = Some(Value::Time(Timestamp::from_nanosecond(i64::MIN.into()).expect("in range")));
        with_asker(|asker| {
            let text = encode(&place, b't', asker);
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            assert_eq!(decode(&text, b't', asker).ok(), Some(place));
        });
    }

    #[test]
    fn a_cursor_with_any_character_changed_is_refused() {
        // D36
        with_asker(|asker| {
            let text = encode(&place(), b't', asker);
            for at in 0..text.len() {
                for other in ["A", "B", "z", "_", "-", "9", "", "=", "AA", "\u{e9}"] {
                    let mut damaged = text.clone();
                    damaged.replace_range(at..=at, other);
                    if damaged != text {
                        assert!(is_refused(decode(&damaged, b't', asker)), "{at} {other}");
                    }
                }
                assert!(is_refused(decode(&text[..at], b't', asker)), "cut at {at}");
            }
            let long = "A".repeat(MAX + 1);
            for other in ["", "AQ", "=", "\u{1f4a5}", &format!("{text}A"), &format!("{text}="), &long] {
                assert!(is_refused(decode(other, b't', asker)));
            }
        });
    }

    #[test]
    fn a_cursor_belongs_to_a_kind_a_tenant_a_key_and_a_version() {
        // D36
        with_asker(|asker| {
            let text = encode(&place(), b't', asker);
            assert!(is_refused(decode(&text, b'a', asker)));
            let other = Asker { tenant: Uuid::from_u128(67), ..*asker };
            assert!(is_refused(decode(&text, b't', &other)));
            let key = hmac::Key::new(hmac::HMAC_SHA256, b"another key");
            assert!(is_refused(decode(&text, b't', &Asker { key: &key, ..*asker })));
            let mut bytes = URL_SAFE_NO_PAD.decode(&text).expect("ours");
            let end = bytes.len() - TAG;
            bytes[0] = VERSION + 1;
            let tag = hmac::sign(asker.key, &bytes[..end]);
            bytes[end..].copy_from_slice(&tag.as_ref()[..TAG]);
            assert!(is_refused(decode(&URL_SAFE_NO_PAD.encode(bytes), b't', asker)));
        });
    }

    #[test]
    fn a_cursor_has_at_most_12_kib_for_every_query_that_is_read() {
        // D36, D2: the fullest query, and a row with the longest texts there can be: 64 and 256 characters.
        let orders = ["startedByUser,type", "startedByUser,type,uuid,state", "updatedAt,type,startedByUser,uuid"];
        let starts = ["tag=or(", "id=1&type=or(", "resourceName=or("];
        for (order, start) in orders.iter().flat_map(|o| starts.map(|s| (o, s))) {
            let mut raw = format!("order={order}&{start}");
            // Values of 256 bytes, as many as there is room for, and a shorter one.
            let value = "\u{1f600}".repeat(64);
            raw.push_str(&vec![value.as_str(); (params::MAX_QUERY - raw.len() - 3) / 257].join(","));
            raw.extend([",", &"a".repeat(params::MAX_QUERY - raw.len() - 2), ")"]);
            assert_eq!(raw.len(), params::MAX_QUERY);
            with_asker(|asker| {
                let ask = |raw: &str| params::decode(raw).and_then(|p| Asked::<TaskField>::parse(&p, asker));
                let asked = ask(&raw).unwrap_or_else(|f| panic!("{}", f.body()));
                let of = |field: &str| match field {
                    "type" => Value::Text("\u{10ffff}".repeat(64)),
                    "startedByUser" => Value::Text("\u{10ffff}".repeat(256)),
                    "uuid" => Value::Uuid(Uuid::max()),
                    "state" => Value::Enum(4),
                    _ => Value::Time(Timestamp::UNIX_EPOCH),
                };
                let key = order.split(',').map(|f| Some(of(f))).chain([Some(Value::Int(i64::MAX))]);
                let key = Key(key.collect());
                let cursor = asked.cursor(key.clone(), asker);
                assert!(cursor.len() <= MAX, "{} characters for {order}", cursor.len());
                assert_eq!(decode(&cursor, TaskField::KIND, asker).map(|p| p.key).ok(), Some(key));
                assert!(ask(&format!("{raw}&after={cursor}")).is_ok(), "and goes back beside the query");
            });
        }
    }

    fn values() -> impl Strategy<Value = Option<Value>> {
        prop::option::of(prop_oneof![
            any::<i64>().prop_map(Value::Int),
            any::<i64>().prop_map(Value::Enum),
            any::<bool>().prop_map(Value::Bool),
            any::<u128>().prop_map(|n| Value::Uuid(Uuid::from_u128(n))),
            any::<i64>().prop_map(|n| Value::Time(Timestamp::from_nanosecond(n.into()).expect("in range"))),
            any::<String>().prop_map(Value::Text),
        ])
    }

    proptest! {
        #[test]
        fn every_place_comes_back_as_it_was(
            filters in prop::collection::vec((any::<u8>(), any::<String>()), 0..5),
            order in prop::collection::vec((0..100u8, prop::sample::select(Direction::ALL)), 0..5),
            (deleted, lod, limit) in (any::<bool>(), prop::sample::select(&Lod::ALL[..]), any::<u32>()),
            key in prop::collection::vec(values(), 0..6),
            bound in prop::option::of(any::<i64>()),
        ) {
            let bound = bound.map(|n| Timestamp::from_nanosecond(n.into()).expect("in range"));
            let place = Place { question: Question { filters, order, deleted }, lod, limit, key: Key(key), bound };
            with_asker(|asker| {
                prop_assert_eq!(decode(&encode(&place, b'a', asker), b'a', asker).ok(), Some(place));
                Ok(())
            })?;
        }

        #[test]
        fn no_text_makes_it_panic(text in "[A-Za-z0-9_=\\-]{0,80}|\\PC{0,20}") {
            prop_assert!(with_asker(|asker| is_refused(decode(&text, b't', asker))));
        }
    }
}
