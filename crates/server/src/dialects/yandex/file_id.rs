//! Ids of files inside a recovery point: they carry the path itself, so that no state is needed to find it (Y59).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What every id begins with, so that another form can come later.
const PREFIX: &str = "p.";

/// The id of a path.
pub(super) fn encode(path: &[u8]) -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(path))
}

/// The path behind an id; none if the id is malformed. Whether there is such a path is another question.
pub(super) fn decode(id: &str) -> Option<Vec<u8>> {
    let path = URL_SAFE_NO_PAD.decode(id.strip_prefix(PREFIX)?).ok()?;
    (!path.is_empty() && !path.contains(&0)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_path() {
        for path in [&b"/"[..], b"/home/a b", b"/\xff\xfe/x", b"C:\\Users", "/käse".as_bytes()] {
            let id = encode(path);
            assert_eq!(decode(&id).as_deref(), Some(path));
            assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)), "{id}");
        }
        assert_eq!(encode(b"/etc"), "p.L2V0Yw");
    }

    #[test]
    fn what_is_malformed_is_no_id() {
        for id in ["", "p", "p.", "L2V0Yw", "p.L2V0Yw==", "p.L2V0Yx", "p.!", "p.AA", "q.L2V0Yw"] {
            assert_eq!(decode(id), None, "{id}");
        }
    }
}
