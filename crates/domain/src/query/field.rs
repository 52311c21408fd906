//! What a field is: its name, the type of its values, and how it is read from a row.

use std::fmt::Debug;
use std::hash::Hash;

use super::{Read, Value};
use crate::error::{Error, Result};
use crate::{Timestamp, Uuid};

/// The type of a field's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Whole numbers.
    Int,
    /// Text.
    Text,
    /// Several texts in one row.
    Texts,
    /// Uuids.
    Uuid,
    /// Times.
    Time,
    /// Yes or no.
    Bool,
    /// Names out of a list, in its order.
    Enum(&'static [&'static str]),
}

impl FieldKind {
    /// Whether the value is of this type.
    #[must_use]
    pub fn admits(self, value: &Value) -> bool {
        match (self, value) {
            (FieldKind::Int, Value::Int(_))
            | (FieldKind::Text | FieldKind::Texts, Value::Text(_))
            | (FieldKind::Uuid, Value::Uuid(_))
            | (FieldKind::Time, Value::Time(_))
            | (FieldKind::Bool, Value::Bool(_)) => true,
            (FieldKind::Enum(names), Value::Enum(n)) => usize::try_from(*n).is_ok_and(|n| n < names.len()),
            _ => false,
        }
    }

    /// Reads a value of this type from plain text, the way the native API writes it.
    ///
    /// # Errors
    /// `invalid_field` about `field`, saying what would be right.
    pub fn parse(self, field: &str, text: &str) -> Result<Value> {
        let wrong = |hint: String| Error::invalid(field, format!("'{text}' is no value for '{field}'")).hint(hint);
        match self {
            FieldKind::Int => text.parse().map(Value::Int).map_err(|_| wrong("a whole number, like 42".into())),
            FieldKind::Text | FieldKind::Texts => Ok(Value::Text(text.to_owned())),
            FieldKind::Uuid => Uuid::parse_str(text)
                .map(Value::Uuid)
                .map_err(|_| wrong("a uuid, like 7a8b9c0d-1e2f-4a3b-9c4d-5e6f7a8b9c0d".into())),
            FieldKind::Time => text
                .parse::<Timestamp>()
                .map(Value::Time)
                .map_err(|_| wrong("a time, like 2026-11-21T09:30:00Z".into())),
            FieldKind::Bool => match text {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(wrong("true or false".into())),
            },
            FieldKind::Enum(names) => names
                .iter()
                .position(|n| *n == text)
                .map(|i| Value::Enum(i as i64))
                .ok_or_else(|| wrong(format!("one of: {}", names.join(", ")))),
        }
    }
}

/// A field of a row type.
pub trait Field: Copy + Eq + Hash + Debug + Send + Sync + 'static {
    /// What the fields are read from.
    type Row: Clone + Send + Sync + 'static;

    /// Every field.
    const ALL: &'static [Self];
    /// The field in which all rows differ; every order ends with it.
    const ID: Self;

    /// The canonical name.
    fn name(self) -> &'static str;

    /// The type of its values.
    fn kind(self) -> FieldKind;

    /// What the row has in it.
    fn read(self, row: &Self::Row) -> Read<'_>;

    /// The field of this name.
    ///
    /// # Errors
    /// `unknown_field`, with the nearest name as a hint.
    fn parse(name: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|f| f.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|f| f.name()).collect();
            Error::new(crate::Code::UnknownField, format!("there is no field '{name}'"))
                .field(name)
                .hint(format!("one of: {}", names.join(", ")))
        })
    }

    /// Whether a row may come to have something else in it than it had when it was made.
    fn changes(self) -> bool {
        true
    }

    /// Whether rows can be ordered by it.
    fn sortable(self) -> bool {
        self.kind() != FieldKind::Texts
    }
}

/// Declares the fields of a row type: name and value type; `ALL`, `ID`, `name` and `kind` follow.
macro_rules! fields {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal: $kind:expr,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            const EVERY: &'static [$name] = &[$($name::$variant),+];

            fn about(self) -> (&'static str, $crate::query::FieldKind) {
                match self { $($name::$variant => ($text, $kind)),+ }
            }
        }
    };
}
pub(super) use fields;
