//! What an answer says, in words that are the same for both APIs: the check that both answer the same question.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::question::Holds;

/// Which API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// The native one.
    Native,
    /// The Acronis dialect.
    Acronis,
}

impl Api {
    /// Both.
    pub const ALL: [Api; 2] = [Api::Native, Api::Acronis];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Api::Native => "native",
            Api::Acronis => "acronis",
        }
    }
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// A line a row: a task's number, or a group with its count.
    pub(crate) rows: Vec<String>,
    /// Where to go on, as a parameter with its value.
    pub(crate) next: Option<String>,
    /// Whether rows were left out because there were too many.
    pub(crate) cut: bool,
}

/// Reads an answer.
pub(crate) fn read(api: Api, holds: Holds, body: &[u8]) -> Result<Answer> {
    let body: Value = serde_json::from_slice(body).context("the answer is no JSON")?;
    let (list, next) = match (holds, api) {
        (Holds::Counts, _) => ("groups", None),
        (_, Api::Native) => ("items", body["next"].as_str().map(|c| format!("cursor={c}"))),
        (_, Api::Acronis) => ("items", body["paging"]["cursors"]["after"].as_str().map(|c| format!("after={c}"))),
    };
    let Some(list) = body[list].as_array() else { bail!("the answer has no {list}: {}", shown(&body)) };
    let row = |item: &Value| match (holds, api) {
        (Holds::Counts, Api::Native) => {
            format!("{} {} {}", text(&item["values"]["tenant"]), text(&item["values"]["result"]), item["count"])
        }
        (Holds::Counts, Api::Acronis) => {
            format!("{} {} {}", text(&item["tenant"]["uuid"]), text(&item["resultCode"]), item["count"])
        }
        (Holds::Tasks | Holds::Walk, _) => item["id"].to_string(),
    };
    Ok(Answer { rows: list.iter().map(row).collect(), next, cut: body["groupsTruncated"] == true })
}

/// Says how two answers to the same question differ, if they do.
pub(crate) fn difference(native: &Answer, acronis: &Answer) -> Option<String> {
    let mut expected = native.rows.as_slice();
    if acronis.cut {
        expected = &expected[..expected.len().min(acronis.rows.len())];
    }
    if expected.len() != acronis.rows.len() {
        return Some(format!("native has {} rows, acronis {}", expected.len(), acronis.rows.len()));
    }
    let place = expected.iter().zip(&acronis.rows).position(|(a, b)| a != b)?;
    Some(format!("row {} is '{}' in native and '{}' in acronis", place + 1, expected[place], acronis.rows[place]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn shown(body: &Value) -> String {
    body.to_string().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(api: Api, body: &str) -> Answer {
        read(api, Holds::Tasks, body.as_bytes()).expect("readable")
    }

    #[test]
    fn both_are_read_alike() {
        let native = tasks(Api::Native, r#"{"items":[{"id":7},{"id":5}],"next":"xy"}"#);
        let body = r#"{"items":[{"id":7,"idString":"7"},{"id":5}],"size":2,"paging":{"cursors":{"after":"zz"}}}"#;
        let acronis = tasks(Api::Acronis, body);
        assert_eq!(difference(&native, &acronis), None);
        assert_eq!((native.next.as_deref(), acronis.next.as_deref()), (Some("cursor=xy"), Some("after=zz")));
        assert!(read(Api::Native, Holds::Tasks, br#"{"error":{}}"#).is_err());
    }

    #[test]
    fn differences_are_said() {
        let native = tasks(Api::Native, r#"{"items":[{"id":7},{"id":5}]}"#);
        let other = tasks(Api::Acronis, r#"{"items":[{"id":7},{"id":4}]}"#);
        assert_eq!(difference(&native, &other).as_deref(), Some("row 2 is '5' in native and '4' in acronis"));
        let fewer = tasks(Api::Acronis, r#"{"items":[{"id":7}]}"#);
        assert_eq!(difference(&native, &fewer).as_deref(), Some("native has 2 rows, acronis 1"));
    }

    #[test]
    fn groups_that_were_cut_are_compared_as_far_as_they_go() {
        let native =
            br#"{"groups":[{"values":{"tenant":"a","result":"ok"},"count":9},{"values":{"tenant":"b"},"count":1}]}"#;
        let acronis =
            br#"{"items":[],"groups":[{"tenant":{"uuid":"a"},"resultCode":"ok","count":9}],"groupsTruncated":true}"#;
        let read = |api, body| read(api, Holds::Counts, body).expect("readable");
        assert_eq!(difference(&read(Api::Native, native), &read(Api::Acronis, acronis)), None);
    }
}
