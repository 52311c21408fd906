//! JSON that is carried along and rarely looked into: what an executor needs to know, what it produced. It stays as it
//! was written down until somebody looks, so that a list of a thousand tasks does not take each of them apart and put
//! it together again.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Shared;

/// A JSON value; null stands for none. Clones share it until one is changed.
#[derive(Clone, Default)]
pub struct Document(Option<Shared<Parts>>);

/// At least one of the two is there, and both say the same.
#[derive(Clone)]
struct Parts {
    written: Option<Box<RawValue>>,
    value: OnceLock<Value>,
}

impl Parts {
    fn value(&self) -> &Value {
        self.value.get_or_init(|| self.written.as_deref().map_or(Value::Null, parsed))
    }
}

/// Two that were written alike are equal without a look.
impl PartialEq for Parts {
    fn eq(&self, other: &Parts) -> bool {
        let alike = match (&self.written, &other.written) {
            (Some(a), Some(b)) => a.get() == b.get(),
            _ => false,
        };
        alike || self.value() == other.value()
    }
}

/// The value that a text stands for. A text that cannot be held, for one because of a number beyond all that are, is shown
/// as it is.
fn parsed(json: &RawValue) -> Value {
    let mut reader = serde_json::Deserializer::from_str(json.get());
    // Whoever wrote it down was not limited either.
    reader.disable_recursion_limit();
    Value::deserialize(&mut reader).unwrap_or_else(|_| Value::String(json.get().to_owned()))
}

impl Document {
    /// A document as it was written down before. It is taken apart by the first who looks into it.
    #[must_use]
    pub fn written(json: Box<RawValue>) -> Document {
        match json.get() {
            "null" => Document::default(),
            _ => Document(Some(Shared::new(Parts { written: Some(json), value: OnceLock::new() }))),
        }
    }

    /// [`written`](Self::written), for members of structures that are read from JSON.
    ///
    /// # Errors
    /// When there is no JSON value.
    pub fn as_written<'de, D: Deserializer<'de>>(from: D) -> Result<Document, D::Error> {
        Box::<RawValue>::deserialize(from).map(Document::written)
    }

    /// Whether there is none; told without looking into it.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0.as_ref().is_none_or(|parts| parts.written.is_none() && parts.value().is_null())
    }

    /// What it holds.
    #[must_use]
    pub fn into_value(mut self) -> Value {
        std::mem::take(&mut *self)
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Document {
        match value {
            Value::Null => Document::default(),
            value => Document(Some(Shared::new(Parts { written: None, value: value.into() }))),
        }
    }
}

impl Deref for Document {
    type Target = Value;

    fn deref(&self) -> &Value {
        self.0.as_ref().map_or(&Value::Null, |parts| parts.value())
    }
}

impl DerefMut for Document {
    fn deref_mut(&mut self) -> &mut Value {
        let none = || Shared::new(Parts { written: None, value: Value::Null.into() });
        let parts = &mut **self.0.get_or_insert_with(none);
        parts.value();
        parts.written = None;
        parts.value.get_mut().expect("it was made above")
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Document) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => a == b,
            _ => self.is_null() && other.is_null(),
        }
    }
}

impl PartialEq<Value> for Document {
    fn eq(&self, other: &Value) -> bool {
        **self == *other
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// What was written down goes out as it stands, which `serde_json` alone understands.
impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_ref().and_then(|parts| parts.written.as_ref()) {
            Some(json) => json.serialize(serializer),
            None => (**self).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Document, D::Error> {
        Value::deserialize(from).map(Document::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(json: &str) -> Document {
        Document::written(RawValue::from_string(json.to_owned()).expect("JSON"))
    }

    #[test]
    fn it_is_what_was_written_and_what_it_says() {
        let text = r#"{"b":[1,2.50,"x"],"a":null}"#;
        let document = written(text);
        assert_eq!(serde_json::to_string(&document).expect("JSON"), text);
        assert_eq!(document, json!({"a": null, "b": [1, 2.5, "x"]}));
        assert_eq!(document["b"][2], "x");
        assert_eq!(serde_json::to_string(&document).expect("JSON"), text, "looking changes nothing");
        assert_eq!(serde_json::to_value(&document).expect("a value"), *document);
        assert_eq!(document, Document::from(document.clone().into_value()));
        assert_eq!(written(text), document);
        assert_ne!(written("[]"), document);
    }

    #[test]
    fn null_is_none_however_it_came() {
        let mut nothing = Document::from(json!([1]));
        *nothing = Value::Null;
        for none in [Document::default(), written("null"), Document::from(Value::Null), nothing] {
            assert!(none.is_null());
            assert_eq!(none, Document::default());
            assert_eq!(
                (&none["anything"], serde_json::to_string(&none).expect("JSON").as_str()),
                (&Value::Null, "null")
            );
            assert_eq!(none.into_value(), Value::Null);
        }
        assert!(!written("0").is_null() && !Document::from(json!(false)).is_null());
    }

    #[test]
    fn a_change_is_seen_by_nobody_else_and_written_down() {
        let one = written(r#"{"a":1}"#);
        let mut other = one.clone();
        other["b"] = json!(2);
        assert_eq!(
            (&one, serde_json::to_string(&other).expect("JSON")),
            (&written(r#"{"a":1}"#), r#"{"a":1,"b":2}"#.into())
        );
        let mut none = Document::default();
        none["a"] = json!(1);
        assert_eq!(none, one);
        assert_eq!(other.into_value(), json!({"a": 1, "b": 2}));
    }

    #[test]
    fn what_no_machine_holds_is_shown_as_it_is() {
        assert_eq!(written("[1e999]"), json!("[1e999]"));
        let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
        assert_eq!(serde_json::to_string(&*written(&deep)).expect("JSON"), deep);
    }
}
