//! Every parameter and every body of the document with values of the documented shape, and with values that are almost of
//! it: whatever they are, the server answers, it has no defect, and a refusal of what was sent names the field.
//!
//! What is drawn follows from a seed: `BACKSTAY_ARBITRARY_SEED` draws other values, `BACKSTAY_ARBITRARY_ROUNDS` says how many
//! times each body is drawn and each list is asked.

use axum::body::Body;
use axum::http::{Method, Request};
use domain::{Role, Uuid};
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use crate::coverage::{case, document, operations};
use crate::dice::Dice;
use crate::world::{Protected, World};

/// Texts that something may stumble over: in length, in signs, or in what they mean somewhere.
const TEXTS: &[&str] = &[
    "",
    " ",
    "x",
    "-",
    "0",
    "-1",
    "1.5",
    "1e400",
    "NaN",
    "9223372036854775807",
    "9223372036854775808",
    "true",
    "null",
    "a,b",
    "a\\,b",
    "\\",
    ",",
    "%",
    "%zz",
    "\"",
    "'; --",
    "<b>",
    "{}",
    "[]",
    "${x}",
    "\u{0}",
    "\n",
    "\u{7f}",
    "\u{202e}x",
    "é",
    "ẞ",
    "İ",
    "\u{1f600}",
    "\u{fffd}",
    "\u{10ffff}",
    "/",
    "//",
    "/srv",
    "/srv/../etc",
    "srv",
    "C:\\",
    "\\\\host\\share",
    "~",
    ".",
    "..",
    "*",
    "**/[",
    "[!a",
    "{a,b",
    "?",
    "00000000-0000-0000-0000-000000000000",
    "0197C0DE-DEAD-7000-8000-00000000BEEF",
    "0197c0dedead70008000000000000000",
    "2026-11-23T04:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-11-23",
    "2026-11-23T04:00:00.123456789+14:00",
    "9999-12-31T23:59:59.999999999Z",
    "-009999-01-01T00:00:00Z",
    "+262142-12-31T00:00:00Z",
    "02:30",
    "24:00",
    "23:59:60",
    "2:3",
    "1h",
    "1h 30m",
    "-5m",
    "0s",
    "PT1H",
    "P1Y",
    "99999999999y",
    "1ns",
    "Europe/Berlin",
    "UTC",
    "Mars/Base",
    "../etc/passwd",
    "s3:https://s3.example/x",
    "sftp:",
    "rest:http://[",
    "file:///",
    "https://a:b@c/d",
    "rclone:",
    "a@b.example",
    "@",
    "created_at",
    "-created_at,id",
    "state,result",
    "secret",
];

/// Numbers at the ends of what fits somewhere.
const NUMBERS: &[f64] = &[0.0, 1.0, -1.0, 2.0, 7.0, 60.0, 1000.0, 1001.0, 4294967296.0, 1.5, -0.0, 1e300];

struct Arbitrary<'d> {
    document: &'d Value,
    dice: Dice,
    /// Ids of things that are there.
    ids: Vec<String>,
    /// A secret by which machines join.
    registration: &'d str,
}

impl Arbitrary<'_> {
    /// Once in so many times.
    fn once_in(&mut self, n: usize) -> bool {
        self.dice.roll(n) == 0
    }

    fn text(&mut self) -> String {
        match self.dice.roll(12) {
            0 => "x".repeat(self.dice.roll(70_000)),
            1 => (0..self.dice.roll(5)).map(|_| self.dice.pick(TEXTS)).collect(),
            2 | 3 => self.dice.pick(&self.ids.iter().map(String::as_str).collect::<Vec<_>>()).to_owned(),
            _ => self.dice.pick(TEXTS).to_owned(),
        }
    }

    fn number(&mut self) -> Value {
        match self.dice.roll(6) {
            0 => json!(i64::MAX),
            1 => json!(i64::MIN),
            2 => json!(u64::MAX),
            3 => json!(self.dice.roll(100)),
            _ => {
                let number = self.dice.pick(NUMBERS);
                if number.fract() == 0.0 && number.abs() < 1e15 { json!(number as i64) } else { json!(number) }
            }
        }
    }

    /// Anything.
    fn any(&mut self, depth: usize) -> Value {
        match self.dice.roll(if depth == 0 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.once_in(2)),
            2 => self.number(),
            3 | 4 => json!(self.text()),
            5 => (0..self.dice.roll(4)).map(|_| self.any(depth - 1)).collect(),
            6 => (0..self.dice.roll(4)).map(|_| (self.text(), self.any(depth - 1))).collect::<Map<_, _>>().into(),
            // Deeper than anybody goes.
            _ => (0..self.dice.roll(400))
                .fold(json!(1), |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) }),
        }
    }

    /// A value for a schema: mostly one that fits.
    fn value(&mut self, schema: &Value) -> Value {
        if self.once_in(50) {
            return self.any(2);
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let schema = self.document.pointer(&reference[1..]).expect("the reference leads somewhere");
            return self.value(schema);
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let mut whole = Map::new();
            for part in parts {
                if let Value::Object(members) = self.value(part) {
                    whole.extend(members);
                }
            }
            return whole.into();
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let choice = self.dice.roll(choices.len());
            return self.value(&choices[choice]);
        }
        if let Some(names) = schema["enum"].as_array() {
            return names[self.dice.roll(names.len())].clone();
        }
        match schema["type"].as_str() {
            Some("object") => self.object(schema),
            Some("array") => {
                let many = if self.once_in(30) { 300 } else { self.dice.roll(4) };
                (0..many).map(|_| self.value(&schema["items"])).collect()
            }
            Some("integer" | "number") if self.once_in(2) => json!(self.dice.roll(40)),
            Some("integer" | "number") => self.number(),
            Some("boolean") => json!(self.once_in(2)),
            Some("string") if schema["format"] == "uuid" && !self.once_in(4) => {
                let id = self.dice.roll(self.ids.len());
                json!(self.ids[id])
            }
            Some("string") if schema["example"].is_string() && self.once_in(2) => schema["example"].clone(),
            Some("string") => json!(self.text()),
            _ => self.any(3),
        }
    }

    fn object(&mut self, schema: &Value) -> Value {
        let mut members = Map::new();
        // Few at once go wrong together with the others.
        let sparse = if self.once_in(2) { 2 } else { 8 };
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            if if required.contains(&json!(name)) { !self.once_in(50) } else { self.once_in(sparse) } {
                let value = self.value(schema);
                // Without a right one nothing else is looked at.
                let value = if name == "registration_token" { json!(self.registration) } else { value };
                members.insert(name.clone(), value);
            }
        }
        if schema["additionalProperties"].is_object() || self.once_in(60) {
            let (name, more) = (self.text(), &schema["additionalProperties"]);
            members.insert(name, self.value(more));
        }
        members.into()
    }

    /// A value for a parameter, as it stands in an address.
    fn parameter(&mut self, schema: &Value) -> String {
        let plain = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match schema["type"].as_str() {
            _ if self.once_in(3) => self.text(),
            Some("array") => {
                let many = if self.once_in(30) { 1200 } else { 1 + self.dice.roll(3) };
                (0..many).map(|_| plain(self.value(&schema["items"]))).collect::<Vec<_>>().join(",")
            }
            _ => plain(self.value(schema)),
        }
    }
}

fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~,".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn chosen(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

fn seed() -> u64 {
    chosen("BACKSTAY_ARBITRARY_SEED", 20261123)
}

fn rounds(usual: u64) -> u64 {
    chosen("BACKSTAY_ARBITRARY_ROUNDS", usual)
}

/// Who asks: somebody who may do everything, where there is something.
struct Asker {
    world: World,
    made: Protected,
    token: String,
}

impl Asker {
    async fn new() -> Asker {
        let world = World::new().await;
        let made = world.protected().await;
        let token = world.token(Uuid::nil(), Role::Admin).await;
        Asker { world, made, token }
    }

    /// What is drawn in this round of an operation.
    fn arbitrary<'d>(&'d self, document: &'d Value, operation: &str, round: u64) -> Arbitrary<'d> {
        let made = &self.made;
        let things =
            [&made.resource, &made.policy, &made.repository, &made.backup, &made.agent, &made.user, &made.client];
        let ids =
            things.map(Clone::clone).into_iter().chain([self.world.acme, self.world.globex].map(|id| id.to_string()));
        let of_name = operation.bytes().fold(7, |sum: u64, b| sum.wrapping_mul(31).wrapping_add(b.into()));
        let seed = seed().wrapping_mul(1_000_003).wrapping_add(of_name).wrapping_mul(1_000_003).wrapping_add(round);
        Arbitrary { document, dice: Dice::new(seed), ids: ids.collect(), registration: &made.registration }
    }

    /// The path of an operation with what is there.
    fn path(&self, operation: &str, path: &str) -> String {
        let case = case(operation, &self.world, &self.made).expect("an entry");
        let fill = |path: String, value: &String| {
            let (before, rest) = path.split_once('{').expect("a place");
            format!("{before}{value}{}", rest.split_once('}').expect("its end").1)
        };
        format!("{}{}", api::BASE_PATH, case.path.iter().fold(path.to_owned(), fill))
    }

    /// The status of an answer, and the field that it complains about; or what is wrong with it.
    async fn ask(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<(u16, Option<String>), String> {
        let request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {}", self.token));
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        let answer = self.world.router.clone().oneshot(request.expect("a request")).await.expect("an answer");
        let status = answer.status().as_u16();
        // A stream of events goes on for ever.
        if status < 400 {
            return Ok((status, None));
        }
        let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
        let text = String::from_utf8_lossy(&bytes);
        let error =
            serde_json::from_slice::<api::ErrorBody>(&bytes).map_err(|e| format!("{e} in {status} {text}"))?.error;
        // Of what is no object at all there is no field.
        let names = status != 400 || error.field.is_some() || error.code == "invalid_body";
        if status >= 500 || error.message.is_empty() || !names {
            return Err(format!("{status} {text}"));
        }
        Ok((status, error.field))
    }
}

#[tokio::test]
async fn every_body_is_taken_or_refused_by_the_name_of_a_field() {
    let document = document();
    let asker = Asker::new().await;
    let mut wrong = Vec::new();
    let (mut tries, mut taken) = (0, 0);
    for (path, method, id, operation) in operations(&document) {
        let Some(schema) = operation.pointer("/requestBody/content/application~1json/schema") else { continue };
        let method: Method = method.to_uppercase().parse().expect("a method");
        let path = asker.path(id, path);
        // Passwords and secrets are hashed, which takes its time.
        let rounds = rounds(if matches!(id, "create_user" | "create_client" | "set_password") { 30 } else { 100 });
        let mut fits = 0;
        for round in 0..rounds {
            let body = asker.arbitrary(&document, id, round).value(schema);
            match asker.ask(&method, &path, Some(&body)).await {
                Ok((400, Some(field))) if !stands_in(&field, &document, schema, &body) => {
                    wrong.push(format!("{id} in round {round}: there is no '{field}' in {body:.2000}"));
                }
                Ok((status, _)) => fits += u64::from(status < 300),
                Err(answer) => wrong.push(format!("{id} in round {round}: {answer:.2000} to {body:.2000}")),
            }
        }
        (tries, taken) = (tries + rounds, taken + fits);
    }
    assert!(taken * 10 > tries, "of {tries} bodies only {taken} were right: they are not like what is documented");
    // What was taken can be shown.
    for (path, method, id, operation) in operations(&document) {
        if method == "get" && operation["parameters"].to_string().contains(".cursor") {
            let path = format!("{}?limit=1000", asker.path(id, path));
            let answer = asker.ask(&Method::GET, &path, None).await;
            if !matches!(answer, Ok((200, _))) {
                wrong.push(format!("{path}: {answer:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "with the seed {}:\n{}", seed(), wrong.join("\n"));
}

/// Whether a field is one of the schema, or one of the body that the schema does not have.
fn stands_in(field: &str, document: &Value, schema: &Value, body: &Value) -> bool {
    let schema = schema["$ref"].as_str().map_or(Some(schema), |r| document.pointer(&r[1..])).expect("a schema");
    let known = schema["properties"].as_object().expect("properties");
    let members = body.as_object().into_iter().flat_map(Map::keys);
    let first = |name: &String| {
        field.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    known.keys().chain(members).any(first)
}

#[tokio::test]
async fn every_parameter_is_taken_or_refused_by_its_name() {
    let document = document();
    let asker = Asker::new().await;
    let mut wrong = Vec::new();
    let (mut tries, mut taken) = (0, 0);
    for (path, method, id, operation) in operations(&document) {
        let parameters: Vec<&Value> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|p| p["$ref"].as_str().map_or(Some(p), |r| document.pointer(&r[1..])).expect("a parameter"))
            .filter(|p| p["in"] == "query")
            .collect();
        if parameters.is_empty() {
            continue;
        }
        let method: Method = method.to_uppercase().parse().expect("a method");
        let path = asker.path(id, path);
        let (mut fits, rounds) = (0, rounds(2) * parameters.len() as u64);
        for round in 0..rounds {
            let mut arbitrary = asker.arbitrary(&document, id, round);
            // Each in its turn, and some beside it.
            let mut asked = vec![parameters[round as usize % parameters.len()]];
            while arbitrary.once_in(3) {
                asked.push(arbitrary.dice.pick(&parameters));
            }
            let name = |p: &Value| p["name"].as_str().expect("a name").to_owned();
            let query: Vec<_> =
                asked.iter().map(|p| format!("{}={}", name(p), encoded(&arbitrary.parameter(&p["schema"])))).collect();
            let query = query.join("&");
            let Ok(uri) = format!("{path}?{query}").parse::<axum::http::Uri>() else { continue };
            match asker.ask(&method, &uri.to_string(), None).await {
                Ok((_, Some(field))) if field != "query" && asked.iter().all(|p| name(p) != field) => {
                    wrong.push(format!("{id} in round {round}: '{field}' is not in {query:.2000}"));
                }
                Ok((status, _)) => fits += u64::from(status == 200),
                Err(answer) => wrong.push(format!("{id} in round {round}: {answer:.2000} to {query:.2000}")),
            }
        }
        (tries, taken) = (tries + rounds, taken + fits);
    }
    assert!(taken * 10 > tries, "of {tries} questions only {taken} were right: they are not like what is documented");
    assert!(wrong.is_empty(), "with the seed {}:\n{}", seed(), wrong.join("\n"));
}
