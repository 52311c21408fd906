//! The agent link: its messages, and what both sides must agree on beside them.

mod convert;
#[rustfmt::skip]
#[path = "generated/backstay.agent.v1.rs"]
#[expect(clippy::allow_attributes, reason = "generated")]
pub mod v1;

use std::fmt;

pub use convert::{Malformed, json_of, json_text, nanoseconds_of, time_of, uuid_of};

/// The largest message either side accepts: a payload lists up to a thousand paths of up to four kilobytes.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;

impl fmt::Debug for v1::Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Password and secrets are for nobody's log.
        f.debug_struct("Repository").field("url", &self.url).finish_non_exhaustive()
    }
}

impl From<v1::from_agent::Message> for v1::FromAgent {
    fn from(message: v1::from_agent::Message) -> Self {
        v1::FromAgent { message: Some(message) }
    }
}

impl From<v1::to_agent::Message> for v1::ToAgent {
    fn from(message: v1::to_agent::Message) -> Self {
        v1::ToAgent { message: Some(message) }
    }
}
