//! What somebody may have meant who wrote a name that is not known.

/// The known name that is near enough to be meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (d, nearest) = known.into_iter().map(|k| (distance(name, k), k)).min()?;
    (d <= 2.max(nearest.len() / 3)).then_some(nearest)
}

/// How many letters must be put in, taken out or replaced to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    // A stranger chooses the word; beyond this length it is near to nothing anyway.
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_put_in_taken_out_and_replaced_are_counted() {
        assert_eq!((distance("kitten", "sitting"), distance("", "abc"), distance("abc", "")), (3, 3, 3));
        assert_eq!(nearest("stat", ["state", "result"]), Some("state"));
        assert_eq!(nearest("colour", ["state", "result"]), None);
    }
}
