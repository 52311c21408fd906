//! Pages of lists: tokens that hold a place in a list, bound to the method and everything else that was asked for (Y39),
//! and how much fits into an answer (Y41, Y42).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::query::{Key, Page, Value};
use domain::{Timestamp, Uuid};
use prost::Message;
use prost_reflect::DynamicMessage;

use super::failure::Failure;

/// How many rows a page has where the caller does not say.
pub(super) const DEFAULT_SIZE: i64 = 100;
/// How large a page may get, in bytes; clients take 4 MiB.
const MAX_PAGE: usize = 3_500_000;
/// How large the answer of a list without pages may get, in bytes.
const MAX_WHOLE: usize = 4_000_000;

const VERSION: u8 = 1;
/// The check value: half of an HMAC-SHA256.
const CHECK: usize = 16;

/// What was asked for, without the page: a token is good for this question only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question([u8; 32]);

impl Question {
    /// The question of a request to the method with this full name.
    pub(super) fn of(method: &str, request: &DynamicMessage) -> Question {
        let mut rest = request.clone();
        for field in ["page_size", "page_token"] {
            rest.clear_field_by_name(field);
        }
        rest.take_unknown_fields().for_each(drop);
        let mut text = method.as_bytes().to_vec();
        text.push(0);
        // Fields are encoded in the order of their numbers, so equal questions have equal bytes.
        text.extend(rest.encode_to_vec());
        let mut sum = [0; 32];
        sum.copy_from_slice(digest(&SHA256, &text).as_ref());
        Question(sum)
    }
}

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    question: Question,
    size: i64,
    after: Option<Key>,
}

impl Asked {
    /// What a request asks for; none if it holds a token that is not of this question, or not ours.
    pub(super) fn read(key: &hmac::Key, method: &str, request: &DynamicMessage) -> Option<Asked> {
        let question = Question::of(method, request);
        let size = request.get_field_by_name("page_size").and_then(|v| v.as_i64()).unwrap_or_default();
        let token = request.get_field_by_name("page_token");
        let after = match token.as_ref().and_then(|v| v.as_str()).filter(|t| !t.is_empty()) {
            Some(token) => Some(decode(key, question, token)?),
            None => None,
        };
        Some(Asked { question, size, after })
    }

    /// The page as the ledger is asked for it, one row more than is shown: only that row says whether there is another
    /// page (Y40).
    pub(super) fn page(&self, default: i64) -> Page {
        let limit = u32::try_from(self.size(default) + 1).unwrap_or(u32::MAX);
        Page::After { key: self.after.clone(), limit }
    }

    fn size(&self, default: i64) -> i64 {
        if self.size == 0 { default } else { self.size }
    }

    /// The part of the rows that were found, which may be one more than are shown, and the token of the next page, empty
    /// if there is none. `place` is where a row stands in the list's order.
    pub(super) fn cut<M: Message>(
        &self,
        tokens: &hmac::Key,
        rows: Vec<M>,
        default: i64,
        place: impl Fn(usize) -> Key,
    ) -> Result<(Vec<M>, String), Failure> {
        let size = usize::try_from(self.size(default)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        // A row that is too large by itself is shown by itself.
        let fitting = rows.iter().take(size).enumerate().take_while(|(i, row)| {
            // The key of the field, and the length of its length.
            bytes += row.encoded_len() + 6;
            *i == 0 || bytes <= MAX_PAGE
        });
        let shown = fitting.count();
        let token = match shown.checked_sub(1).filter(|_| rows.len() > shown) {
            Some(last) => encode(tokens, self.question, &place(last))?,
            None => String::new(),
        };
        Ok((rows.into_iter().take(shown).collect(), token))
    }
}

/// Refuses an answer without pages that is too large, with a hint what to ask for instead (Y42).
///
/// # Errors
/// RESOURCE_EXHAUSTED.
pub(super) fn whole<M: Message>(answer: M, narrower: &str) -> Result<M, Failure> {
    if answer.encoded_len() > MAX_WHOLE {
        return Err(Failure::exhausted(
            "response size",
            format!("the list is too large for one answer of {MAX_WHOLE} bytes; {narrower}"),
        ));
    }
    Ok(answer)
}

fn sum(key: &hmac::Key, question: Question, place: &[u8]) -> [u8; CHECK] {
    let mut context = hmac::Context::with_key(key);
    context.update(&[VERSION]);
    context.update(&question.0);
    context.update(place);
    let mut sum = [0; CHECK];
    sum.copy_from_slice(&context.sign().as_ref()[..CHECK]);
    sum
}

fn encode(key: &hmac::Key, question: Question, place: &Key) -> Result<String, Failure> {
    let place = pack(place).ok_or_else(|| Failure::defect("a place in a list cannot be written"))?;
    let mut bytes = vec![VERSION];
    bytes.extend(sum(key, question, &place));
    bytes.extend(place);
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn decode(key: &hmac::Key, question: Question, token: &str) -> Option<Key> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (version, rest) = bytes.split_first()?;
    let (check, place) = rest.split_first_chunk::<CHECK>()?;
    let right = aws_lc_rs::constant_time::verify_slices_are_equal(check, &sum(key, question, place)).is_ok();
    (*version == VERSION && right).then(|| unpack(place)).flatten()
}

/// A place in few bytes: a token has at most 100 characters. Only what lists here are ordered by has a form.
fn pack(place: &Key) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for value in &place.0 {
        match value {
            None => bytes.push(b'0'),
            Some(Value::Int(n)) => {
                bytes.push(b'i');
                bytes.extend(n.to_be_bytes());
            }
            Some(Value::Uuid(id)) => {
                bytes.push(b'u');
                bytes.extend(id.as_bytes());
            }
            Some(Value::Time(time)) => {
                bytes.push(b't');
                bytes.extend(time.as_second().to_be_bytes());
                bytes.extend(time.subsec_nanosecond().to_be_bytes());
            }
            Some(_) => return None,
        }
    }
    Some(bytes)
}

fn unpack(mut bytes: &[u8]) -> Option<Key> {
    let mut values = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        let (value, rest) = match kind {
            b'0' => (None, rest),
            b'i' => {
                let (n, rest) = rest.split_first_chunk::<8>()?;
                (Some(Value::Int(i64::from_be_bytes(*n))), rest)
            }
            b'u' => {
                let (id, rest) = rest.split_first_chunk::<16>()?;
                (Some(Value::Uuid(Uuid::from_bytes(*id))), rest)
            }
            b't' => {
                let (seconds, rest) = rest.split_first_chunk::<8>()?;
                let (nanos, rest) = rest.split_first_chunk::<4>()?;
                let time = Timestamp::new(i64::from_be_bytes(*seconds), i32::from_be_bytes(*nanos)).ok()?;
                (Some(Value::Time(time)), rest)
            }
            _ => return None,
        };
        values.push(value);
        bytes = rest;
    }
    Some(Key(values))
}

#[cfg(test)]
mod tests {
    use proto::yandex::cloud::backup::v1::{ListTasksRequest, Task};

    use super::super::methods;
    use super::*;

    const METHOD: &str = "yandex.cloud.backup.v1.ResourceService.ListTasks";

    fn key() -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[7; 32])
    }

    fn request(machine: &str, size: i64, token: &str) -> DynamicMessage {
        let request =
            ListTasksRequest { compute_instance_id: machine.into(), page_size: size, page_token: token.into() };
        let message = methods::message("yandex.cloud.backup.v1.ListTasksRequest").expect("described");
        DynamicMessage::decode(message, &*request.encode_to_vec()).expect("whole")
    }

    fn place(id: i64) -> Key {
        let time = "2026-09-01T02:00:02.125Z".parse().expect("a time");
        Key(vec![Some(Value::Time(time)), Some(Value::Uuid(Uuid::max())), Some(Value::Int(id))])
    }

    fn tasks(ids: std::ops::Range<i64>) -> Vec<Task> {
        ids.map(|id| Task { id, ..Default::default() }).collect()
    }

    #[test]
    fn a_token_goes_on_where_the_page_ended_whatever_the_size() {
        let asked = Asked::read(&key(), METHOD, &request("m", 2, "")).expect("no token");
        assert_eq!(asked.page(DEFAULT_SIZE), Page::After { key: None, limit: 3 });
        let (shown, token) = asked.cut(&key(), tasks(1..4), 100, |i| place(i as i64)).expect("cut");
        assert_eq!(shown.len(), 2);
        assert!(
            token.len() <= 100 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)),
            "{token}"
        );
        let next = Asked::read(&key(), METHOD, &request("m", 7, &token)).expect("our token");
        assert_eq!(next.page(DEFAULT_SIZE), Page::After { key: Some(place(1)), limit: 8 });
        let (shown, token) = next.cut(&key(), tasks(1..8), 100, |i| place(i as i64)).expect("cut");
        assert_eq!((shown.len(), &*token), (7, ""), "the last page has no token");
    }

    #[test]
    fn a_token_of_another_question_is_refused() {
        let asked = Asked::read(&key(), METHOD, &request("m", 2, "")).expect("no token");
        let (_, token) = asked.cut(&key(), tasks(1..4), 100, |i| place(i as i64)).expect("cut");
        assert_eq!(Asked::read(&key(), METHOD, &request("n", 2, &token)), None, "another filter");
        assert_eq!(Asked::read(&key(), "another", &request("m", 2, &token)), None, "another method");
        let foreign = hmac::Key::new(hmac::HMAC_SHA256, &[8; 32]);
        assert_eq!(Asked::read(&foreign, METHOD, &request("m", 2, &token)), None, "another server");
        for at in 0..token.len() {
            for other in ["A", "z", "_", ""] {
                let mut altered = token.clone();
                altered.replace_range(at..=at, other);
                if altered != token {
                    assert_eq!(Asked::read(&key(), METHOD, &request("m", 2, &altered)), None, "{altered}");
                }
            }
        }
    }

    #[test]
    fn a_page_is_cut_where_it_gets_too_large() {
        let asked = Asked::read(&key(), METHOD, &request("m", 3, "")).expect("no token");
        let large = |n: usize| Task { error: "x".repeat(n), ..Default::default() };
        let (shown, token) =
            asked.cut(&key(), vec![large(2_000_000), large(2_000_000)], 100, |i| place(i as i64)).expect("cut");
        assert_eq!((shown.len(), token.is_empty()), (1, false));
        let (shown, token) = asked.cut(&key(), vec![large(5_000_000)], 100, |i| place(i as i64)).expect("cut");
        assert_eq!((shown.len(), token.is_empty()), (1, true), "one is always shown");
        assert!(whole(large(3_999_000), "").is_ok());
        assert!(whole(large(4_000_001), "").is_err());
    }
}
