//! Percent signs in addresses, as every dialect reads them.

/// The text behind `%XX` and `+`, the way forms and queries are encoded; none if it is broken or no UTF-8.
pub(super) fn form(text: &str) -> Option<String> {
    decoded(text, true)
}

/// The text behind `%XX`, as in a path; none if it is broken or no UTF-8.
pub(super) fn path(text: &str) -> Option<String> {
    decoded(text, false)
}

fn decoded(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if plus_is_space => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}
