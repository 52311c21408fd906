//! The domain of Backstay, pure: what tasks, activities, policies, resources and backups are, how they may
//! change, and how they are asked for. No clock, randomness, I/O or async: time and ids are arguments.

pub mod activity;
pub mod agent;
pub mod archive;
pub mod audit;
pub mod backup;
pub mod caller;
pub mod channel;
mod document;
pub mod error;
pub mod foresee;
pub mod identity;
pub mod import;
pub mod operation;
pub mod path;
pub mod plan;
pub mod policy;
pub mod query;
pub mod record;
pub mod repository;
pub mod resource;
pub mod restored_file;
mod shared;
pub mod task;
pub mod tenant;
pub mod token;
pub mod work;

pub use caller::{Actor, ActorKind, Caller, Right, Role, Scope};
pub use document::Document;
pub use error::{Code, Error, Result, if_found};
pub use jiff::{SignedDuration, Timestamp};
pub use shared::Shared;
/// What many tasks say - types, queues, names, ids: shared instead of copied, and without memory of its own up to 23 bytes.
pub use smol_str::SmolStr as Text;
pub use uuid::Uuid;

/// The moment at which something happens, as the server sees it.
///
/// `up_since` is when this server started or its clock was set: acknowledgement and heartbeat timers count from there, so
/// that neither a restart nor a clock that is set abandons work that is still running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The time now, UTC.
    pub now: Timestamp,
    /// When the server started or its clock was set, whichever was later, UTC; never later than `now` in practice.
    pub up_since: Timestamp,
}

impl Moment {
    /// The same server at another time.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Moment {
        Moment { now, ..self }
    }
}

/// Serialises a duration the way people write it, like `1h 30m`; it is read back in this and in ISO 8601 form.
pub(crate) fn friendly_duration<S, D>(duration: D, s: S) -> Result<S::Ok, S::Error>
where
    S: serde::Serializer,
    D: Into<FriendlyDuration>,
{
    serde::Serialize::serialize(&duration.into().0.map(|d| format!("{d:#}")), s)
}

/// A duration that is there or not, for [`friendly_duration`].
pub(crate) struct FriendlyDuration(Option<SignedDuration>);

impl From<&SignedDuration> for FriendlyDuration {
    fn from(d: &SignedDuration) -> Self {
        FriendlyDuration(Some(*d))
    }
}

impl From<&Option<SignedDuration>> for FriendlyDuration {
    fn from(d: &Option<SignedDuration>) -> Self {
        FriendlyDuration(*d)
    }
}

/// Serialises an enum of unit variants by its `name()`, and reads it back with `parse()`.
macro_rules! serde_by_name {
    ($t:ty) => {
        impl serde::Serialize for $t {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.name())
            }
        }
        impl<'de> serde::Deserialize<'de> for $t {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(d)?;
                <$t>::parse(&text).ok_or_else(|| {
                    let names: Vec<_> = <$t>::ALL.iter().map(|v| v.name()).collect();
                    serde::de::Error::custom(format!("'{text}' is none of: {}", names.join(", ")))
                })
            }
        }
    };
}

/// Declares an enum of unit variants whose names on the wire and ordinals are part of the contract.
macro_rules! named_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// All values, in order of their ordinals.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The names of all values, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// The canonical name.
            #[must_use]
            pub fn name(self) -> &'static str {
                Self::NAMES[self as usize]
            }

            /// The value of this canonical name, if there is one.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::NAMES.iter().position(|n| *n == text).map(|i| Self::ALL[i])
            }

            /// The place in the order, as it is stored and sorted.
            #[must_use]
            pub fn ordinal(self) -> i64 {
                self as i64
            }

            /// The value with this ordinal, if there is one.
            #[must_use]
            pub fn from_ordinal(n: i64) -> Option<Self> {
                usize::try_from(n).ok().and_then(|i| Self::ALL.get(i).copied())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        crate::serde_by_name!($name);
    };
}

pub(crate) use {named_enum, serde_by_name};
