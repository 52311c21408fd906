//! What a vendor's API says of a task it asks for, beside what is to be done: who issued it, and the request as it came. It
//! stands in the task for people and for that API, and nothing is ever done because of it.

use domain::task::TaskSpec;
use serde_json::Value;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// The API; empty = the caller itself.
    pub issuer: String,
    /// The program that asked, as it says of itself; empty = unknown.
    pub client: String,
    /// The request as it came.
    pub request: Value,
}

/// The member of an argument in which the request stands, apart from what agents go by.
const REQUEST: &str = "request";
/// The member of a context in which the program stands.
const CLIENT: &str = "client";

impl Asked {
    /// Writes it into the task.
    pub(super) fn write_into(self, spec: &mut TaskSpec) {
        if !self.issuer.is_empty() {
            spec.issuer.id = self.issuer.into();
        }
        if let (Value::Object(argument), false) = (&mut *spec.argument, self.request.is_null()) {
            argument.insert(REQUEST.to_owned(), self.request);
        }
        if let (Value::Object(context), false) = (&mut *spec.context, self.client.is_empty()) {
            context.insert(CLIENT.to_owned(), self.client.into());
        }
    }

    /// The request of a task.
    #[must_use]
    pub fn request_of(spec: &TaskSpec) -> Option<&Value> {
        spec.argument.get(REQUEST)
    }
}
