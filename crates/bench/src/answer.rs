//! What an answer says, in words that are the same for all APIs: the check that all answer the same question.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde_json::Value;

use crate::question::Holds;
use crate::yandex::Answered;

/// Which API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// The native one.
    Native,
    /// The Acronis dialect.
    Acronis,
    /// The Yandex dialect over gRPC.
    Grpc,
    /// The Yandex dialect over REST.
    Rest,
    /// The Clumio dialect.
    Clumio,
    /// The OpenStack dialect.
    OpenStack,
}

impl Api {
    /// All.
    pub const ALL: [Api; 6] = [Api::Native, Api::Acronis, Api::Grpc, Api::Rest, Api::Clumio, Api::OpenStack];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Api::Native => "native",
            Api::Acronis => "acronis",
            Api::Grpc => "yandex grpc",
            Api::Rest => "yandex rest",
            Api::Clumio => "clumio",
            Api::OpenStack => "openstack",
        }
    }
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) enum Body {
    Json(Bytes),
    Grpc(Answered),
}

impl Body {
    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        match self {
            Body::Json(bytes) => bytes.len(),
            Body::Grpc(answered) => answered.len(),
        }
    }
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// A line a row: an id, or a group with its count.
    pub(crate) rows: Vec<String>,
    /// Where to go on: a parameter with its value, or the token alone where it stands in a message.
    pub(crate) next: Option<String>,
    /// Whether rows were left out because there were too many.
    pub(crate) cut: bool,
}

/// Reads an answer.
pub(crate) fn read(api: Api, holds: Holds, body: &Body) -> Result<Answer> {
    match body {
        Body::Json(body) => read_json(api, holds, body),
        Body::Grpc(body) => Ok(Answer { rows: body.rows(), next: body.next().map(str::to_owned), cut: false }),
    }
}

fn read_json(api: Api, holds: Holds, body: &[u8]) -> Result<Answer> {
    let body: Value = serde_json::from_slice(body).context("the answer is no JSON")?;
    if holds == Holds::Made {
        // What is new has an id that nothing else has.
        let made = body["id"].as_str().context("the answer has no id")?;
        return Ok(Answer { rows: vec!["new".to_owned(); usize::from(!made.is_empty())], next: None, cut: false });
    }
    if holds == Holds::One {
        let id = if api == Api::OpenStack { &body["id"] } else { &body["uuid"] };
        return Ok(Answer { rows: vec![text(id).to_owned()], next: None, cut: false });
    }
    let list = match (holds, api) {
        (Holds::Counts, _) => "groups",
        (Holds::Tasks, Api::Rest) => "tasks",
        (Holds::Machines, Api::Rest) => "resources",
        (_, Api::OpenStack) => "tasks",
        (Holds::Tasks | Holds::Machines | Holds::Uuids | Holds::One | Holds::Made, _) => "items",
    };
    let next = match api {
        Api::Native => body["next"].as_str().map(|c| format!("cursor={c}")),
        Api::Acronis => body["paging"]["cursors"]["after"].as_str().map(|c| format!("after={c}")),
        Api::OpenStack => {
            body["next"].as_str().and_then(|n| n.split_once("marker=")).map(|(_, id)| format!("marker={id}"))
        }
        Api::Grpc | Api::Rest => body["nextPageToken"].as_str().map(|c| format!("pageToken={c}")),
        // Its pages have numbers, which the questions name.
        Api::Clumio => None,
    };
    let items = if api == Api::Clumio { &body["_embedded"] } else { &body };
    let Some(list) = items[list].as_array() else { bail!("the answer has no {list}: {}", shown(&body)) };
    let row = |item: &Value| match (holds, api) {
        (Holds::Counts, Api::Acronis) => {
            format!("{} {} {}", text(&item["tenant"]["uuid"]), text(&item["resultCode"]), item["count"])
        }
        (Holds::Counts, _) => {
            format!("{} {} {}", text(&item["values"]["tenant"]), text(&item["values"]["result"]), item["count"])
        }
        (Holds::Machines, Api::Rest) => text(&item["resourceId"]).to_owned(),
        (Holds::Uuids, Api::Native) => text(&item["uuid"]).to_owned(),
        // Numbers are text in JSON of protobuf.
        (Holds::Tasks | Holds::Machines | Holds::Uuids | Holds::One | Holds::Made, _) => {
            item["id"].as_str().map_or_else(|| item["id"].to_string(), str::to_owned)
        }
    };
    Ok(Answer { rows: list.iter().map(row).collect(), next, cut: body["groupsTruncated"] == true })
}

/// Says how a dialect's answer differs from the native one to the same question, if it does.
pub(crate) fn difference(native: &Answer, dialect: &Answer) -> Option<String> {
    let mut expected = native.rows.as_slice();
    if dialect.cut {
        expected = &expected[..expected.len().min(dialect.rows.len())];
    }
    if expected.len() != dialect.rows.len() {
        return Some(format!("native has {} rows, the dialect {}", expected.len(), dialect.rows.len()));
    }
    let place = expected.iter().zip(&dialect.rows).position(|(a, b)| a != b)?;
    Some(format!("row {} is '{}' in native and '{}' in the dialect", place + 1, expected[place], dialect.rows[place]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn shown(body: &Value) -> String {
    body.to_string().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use proto::yandex::cloud::backup::v1::{ListTasksResponse, Task};

    use super::*;

    fn tasks(api: Api, body: &str) -> Answer {
        read_json(api, Holds::Tasks, body.as_bytes()).expect("readable")
    }

    #[test]
    fn both_are_read_alike() {
        let native = tasks(Api::Native, r#"{"items":[{"id":7},{"id":5}],"next":"xy"}"#);
        let body = r#"{"items":[{"id":7,"idString":"7"},{"id":5}],"size":2,"paging":{"cursors":{"after":"zz"}}}"#;
        let acronis = tasks(Api::Acronis, body);
        assert_eq!(difference(&native, &acronis), None);
        assert_eq!((native.next.as_deref(), acronis.next.as_deref()), (Some("cursor=xy"), Some("after=zz")));
        assert!(read_json(Api::Native, Holds::Tasks, br#"{"error":{}}"#).is_err());
    }

    #[test]
    fn lists_of_protobuf_are_read_as_native_ones_are() {
        let native = tasks(Api::Native, r#"{"items":[{"id":7},{"id":5}],"next":"xy"}"#);
        let rest = tasks(Api::Rest, r#"{"tasks":[{"id":"7"},{"id":"5"}],"nextPageToken":"zz"}"#);
        assert_eq!((difference(&native, &rest), rest.next.as_deref()), (None, Some("pageToken=zz")));
        let listed = ListTasksResponse {
            tasks: [7, 5].map(|id| Task { id, ..Default::default() }).into(),
            next_page_token: "zz".to_owned(),
        };
        let grpc = read(Api::Grpc, Holds::Tasks, &Body::Grpc(Answered::Tasks(listed))).expect("readable");
        assert_eq!((difference(&native, &grpc), grpc.next.as_deref()), (None, Some("zz")));
        let machines = br#"{"resources":[{"resourceId":"a","computeInstanceId":"x"}]}"#;
        assert_eq!(read_json(Api::Rest, Holds::Machines, machines).expect("readable").rows, ["a"]);
    }

    #[test]
    fn differences_are_said() {
        let native = tasks(Api::Native, r#"{"items":[{"id":7},{"id":5}]}"#);
        let other = tasks(Api::Acronis, r#"{"items":[{"id":7},{"id":4}]}"#);
        assert_eq!(difference(&native, &other).as_deref(), Some("row 2 is '5' in native and '4' in the dialect"));
        let fewer = tasks(Api::Acronis, r#"{"items":[{"id":7}]}"#);
        assert_eq!(difference(&native, &fewer).as_deref(), Some("native has 2 rows, the dialect 1"));
    }

    #[test]
    fn groups_that_were_cut_are_compared_as_far_as_they_go() {
        let native =
            br#"{"groups":[{"values":{"tenant":"a","result":"ok"},"count":9},{"values":{"tenant":"b"},"count":1}]}"#;
        let acronis =
            br#"{"items":[],"groups":[{"tenant":{"uuid":"a"},"resultCode":"ok","count":9}],"groupsTruncated":true}"#;
        let read = |api, body| read_json(api, Holds::Counts, body).expect("readable");
        assert_eq!(difference(&read(Api::Native, native), &read(Api::Acronis, acronis)), None);
    }
}
