//! Cursors: a place in a list, opaque to clients. One holds its version, a checksum over the place and the question it
//! belongs to, and the place; so a damaged cursor, or one of another question, is refused and never misread.

use std::hash::{Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::query::{Field, Filter, Key, Order};
use domain::{Code, Error, Result};

const VERSION: u8 = 1;

/// The cursor of a place.
pub(super) fn encode<F: Field>(list: &str, filter: &Filter<F>, order: &Order<F>, key: &Key) -> Result<String> {
    let place = serde_json::to_vec(key)
        .map_err(|e| Error::new(Code::Internal, format!("a place in a list cannot be written: {e}")))?;
    let mut bytes = vec![VERSION];
    bytes.extend(checksum(list, filter, order, &place).to_be_bytes());
    bytes.extend(place);
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The place of a cursor.
///
/// # Errors
/// `invalid_cursor` when it is damaged, of another version, or belongs to another question.
pub(super) fn decode<F: Field>(list: &str, filter: &Filter<F>, order: &Order<F>, cursor: &str) -> Result<Key> {
    let place = || {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (sum, place) = rest.split_first_chunk::<8>()?;
        if *version != VERSION || u64::from_be_bytes(*sum) != checksum(list, filter, order, place) {
            return None;
        }
        serde_json::from_slice::<Key>(place).ok().filter(|key| order.admits(key))
    };
    place().ok_or_else(|| {
        Error::new(Code::InvalidCursor, "the cursor is damaged, or belongs to another filter or order")
            .field("cursor")
            .hint("give it back unchanged with the same filter and order, or start again without it")
    })
}

fn checksum<F: Field>(list: &str, filter: &Filter<F>, order: &Order<F>, place: &[u8]) -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    (list, filter, order, place).hash(&mut hash);
    hash.finish()
}

/// FNV-1a. The standard library's hasher may change with the compiler, and cursors outlive a server's update.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::query::{Direction, TaskField, Value};

    fn question() -> (Filter<TaskField>, Order<TaskField>, Key) {
        let filter = Filter::all().is(TaskField::Queue, Value::Text("agents".into())).expect("fits");
        let order = Order::by(vec![(TaskField::CompletedAt, Direction::Desc)]).expect("sortable");
        let time = "2026-11-21T09:30:00.000000001Z".parse().expect("a time");
        (filter, order, Key(vec![Some(Value::Time(time)), Some(Value::Int(7))]))
    }

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let (filter, order, key) = question();
        for key in [key, Key(vec![None, Some(Value::Int(i64::MAX))])] {
            let cursor = encode("tasks", &filter, &order, &key).expect("writes");
            assert_eq!(decode("tasks", &filter, &order, &cursor), Ok(key));
        }
    }

    #[test]
    fn a_cursor_of_another_question_is_refused() {
        let (filter, order, key) = question();
        let cursor = encode("tasks", &filter, &order, &key).expect("writes");
        let refused = |r: Result<Key>| assert_eq!(r.expect_err("refused").code, Code::InvalidCursor);
        refused(decode("activities", &filter, &order, &cursor));
        refused(decode("tasks", &Filter::all(), &order, &cursor));
        refused(decode("tasks", &filter, &Order::newest(), &cursor));
    }

    #[test]
    fn a_damaged_cursor_is_refused() {
        let (filter, order, key) = question();
        let cursor = encode("tasks", &filter, &order, &key).expect("writes");
        for at in 0..cursor.len() {
            for other in ["A", "z", "_", "", "=", "é"] {
                let mut damaged = cursor.clone();
                damaged.replace_range(at..=at, other);
                if damaged != cursor {
                    assert_eq!(
                        decode("tasks", &filter, &order, &damaged).map_err(|e| e.code),
                        Err(Code::InvalidCursor)
                    );
                }
            }
        }
        for text in ["", "AQ", "not a cursor", "💥"] {
            assert_eq!(decode("tasks", &filter, &order, text).map_err(|e| e.code), Err(Code::InvalidCursor));
        }
    }
}
