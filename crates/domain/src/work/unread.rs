//! What could not be read or written back, as payloads list it.

use serde::{Deserialize, Serialize};

/// How many paths a payload lists; the total says how many there were.
pub const MAX_LISTED: usize = 1000;

/// How many bytes of text such a list has at most: whole paths may be as long as the system takes, and longer in their text
/// form, and the list stands in a message and in a row of the ledger.
const MAX_LISTED_TEXT: usize = 1024 * 1024;

/// A path that could not be read, or not be written back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// Which; empty where it is not about one path.
    pub path: String,
    /// Why.
    pub message: String,
}

impl Unread {
    /// Adds it to the list of a payload, if it fits there still.
    pub fn note(self, listed: &mut Vec<Unread>) {
        let length = |unread: &Unread| unread.path.len() + unread.message.len();
        let text = || listed.iter().map(length).sum::<usize>() + length(&self);
        if listed.len() < MAX_LISTED && text() <= MAX_LISTED_TEXT {
            listed.push(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_paths_takes_no_more_text_than_it_should() {
        let unread = |path: String| Unread { path, message: "it is gone".to_owned() };
        let (mut short, mut long) = (Vec::new(), Vec::new());
        for n in 0..2 * MAX_LISTED {
            unread(format!("/{n}")).note(&mut short);
            unread("/".repeat(4096)).note(&mut long);
        }
        assert_eq!(short.len(), MAX_LISTED);
        assert_eq!((long.len(), long[0].path.len()), (MAX_LISTED_TEXT / (4096 + 10), 4096), "each path is whole");
    }
}
