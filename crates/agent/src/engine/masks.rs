//! Masks of names and paths: `*` and `?` within one element of a path, `**` across elements, whatever the case. A mask without
//! a separator is about the last element of a path, one with a separator about the whole of it (contract for Yandex clients,
//! Y90).

use std::{os::unix::ffi::OsStrExt, path::Path};

/// Several masks.
#[derive(Debug, Default)]
pub(super) struct MaskSet {
    /// About the last element.
    names: Vec<Vec<Token>>,
    /// About the whole path.
    paths: Vec<Vec<Token>>,
}

/// A part of a mask, or of what it is compared with: characters in lower case, and bytes that are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    Byte(u8),
    /// `?`: one character of an element.
    One,
    /// `*`: any number of them.
    Many,
    /// `**`: any number of characters and separators.
    All,
    /// The two after it may be left out together: `**/` is nothing, or anything up to a separator.
    Maybe,
}

const SEPARATOR: Token = Token::Char('/');

impl MaskSet {
    pub(super) fn new(masks: &[String]) -> Self {
        let mut set = Self::default();
        for mask in masks {
            let mask = mask.trim();
            // A separator at the end says that a folder is meant, which covers what is below it anyway.
            let mask = if mask.len() > 1 { mask.trim_end_matches(is_separator) } else { mask };
            if mask.is_empty() {
                continue;
            }
            let list = if mask.contains(is_separator) { &mut set.paths } else { &mut set.names };
            list.push(compile(mask));
        }
        set
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.paths.is_empty()
    }

    /// Whether one of them matches this very path; that a folder above it matches is for the caller to know.
    pub(super) fn matches(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default();
        let matching = |masks: &[Vec<Token>], text: &[u8]| {
            !masks.is_empty() && {
                let text = tokens(text);
                masks.iter().any(|mask| fits(mask, &text))
            }
        };
        matching(&self.names, name.as_bytes()) || matching(&self.paths, path.as_os_str().as_bytes())
    }
}

fn is_separator(c: char) -> bool {
    c == '/' || (cfg!(windows) && c == '\\')
}

fn compile(mask: &str) -> Vec<Token> {
    let mut compiled: Vec<Token> = Vec::new();
    let mut chars = mask.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '?' => compiled.push(Token::One),
            '*' if chars.peek() == Some(&'*') => {
                while chars.next_if_eq(&'*').is_some() {}
                let starts_element = compiled.last().is_none_or(|last| *last == SEPARATOR);
                if starts_element && chars.next_if(|c| is_separator(*c)).is_some() {
                    compiled.extend([Token::Maybe, Token::All, SEPARATOR]);
                } else {
                    compiled.push(Token::All);
                }
            }
            '*' => compiled.push(Token::Many),
            c if is_separator(c) => compiled.push(SEPARATOR),
            c => compiled.extend(c.to_lowercase().map(Token::Char)),
        }
    }
    compiled
}

fn tokens(text: &[u8]) -> Vec<Token> {
    let mut read = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_separator(c) {
                read.push(SEPARATOR);
            } else {
                read.extend(c.to_lowercase().map(Token::Char));
            }
        }
        read.extend(chunk.invalid().iter().map(|byte| Token::Byte(*byte)));
    }
    read
}

/// Walks through the text with all places in the mask that fit so far: the time is bounded by the product of both lengths,
/// however the stars lie.
fn fits(mask: &[Token], text: &[Token]) -> bool {
    let mut places = vec![false; mask.len() + 1];
    places[0] = true;
    open(mask, &mut places);
    let mut next = vec![false; mask.len() + 1];
    for token in text {
        next.fill(false);
        for place in (0..mask.len()).filter(|place| places[*place]) {
            match mask[place] {
                Token::One => next[place + 1] |= *token != SEPARATOR,
                Token::Many => next[place] |= *token != SEPARATOR,
                Token::All => next[place] = true,
                Token::Maybe => {}
                literal => next[place + 1] |= literal == *token,
            }
        }
        open(mask, &mut next);
        std::mem::swap(&mut places, &mut next);
        if !places.contains(&true) {
            return false;
        }
    }
    places[mask.len()]
}

/// Adds the places that are reached without a character: stars may stand for nothing.
fn open(mask: &[Token], places: &mut [bool]) {
    for place in 0..mask.len() {
        if places[place] {
            match mask[place] {
                Token::Many | Token::All => places[place + 1] = true,
                Token::Maybe => (places[place + 1], places[place + 3]) = (true, true),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn matches(mask: &str, path: &str) -> bool {
        MaskSet::new(&[mask.to_owned()]).matches(Path::new(path))
    }

    #[test]
    fn a_mask_without_a_separator_is_about_the_last_element() {
        assert!(matches("*.tmp", "/a/b/c.tmp") && matches("c.TMP", "/a/b/C.tmp"));
        assert!(!matches("*.tmp", "/a.tmp/b") && !matches("b", "/a/bb"));
        assert!(matches("f?le", "/file") && !matches("f?le", "/fle") && !matches("?", "/"));
        assert!(matches("Отчёт*", "/ОТЧЁТ за май"));
        // Nothing else is special.
        assert!(matches("[a]{b}!", "/x/[a]{b}!") && !matches("[ab]", "/a"));
    }

    #[test]
    fn a_mask_with_a_separator_is_about_the_whole_path() {
        assert!(matches("/home/*/x", "/home/me/x") && !matches("/home/*/x", "/home/me/too/x"));
        assert!(!matches("home/x", "/home/x") && !matches("/home", "/home/x"));
        assert!(matches("/home/", "/home") && matches("cache/", "/any/cache") && matches("/", "/"));
        assert!(matches("/home/**", "/home/a/b") && !matches("/home/**", "/homes/a"));
        assert!(matches("/a/**/b", "/a/b") && matches("/a/**/b", "/a/x/y/b") && !matches("/a/**/b", "/a/xb"));
        assert!(matches("**/b", "/a/b") && matches("**/a/b", "/x/a/b") && !matches("**/a/b", "/x/aa/b"));
        assert!(matches("/a/x**y", "/a/x/z/y") && matches("/a/***", "/a/b/c"));
    }

    #[test]
    fn blanks_around_a_mask_and_names_that_are_no_text_are_no_matter() {
        assert!(matches("  *.log ", "/a.log"));
        let odd = Path::new(OsStr::from_bytes(b"/caf\xe9.log"));
        let set = MaskSet::new(&["caf?.LOG".to_owned(), String::new(), "  ".to_owned()]);
        assert!(set.matches(odd) && !set.matches(Path::new("/caf.log")));
        assert!(MaskSet::new(&[" ".to_owned()]).is_empty());
    }

    #[test]
    fn many_stars_take_no_longer_than_they_must() {
        let mask = "*a".repeat(500);
        assert!(!matches(&mask, &format!("/{}", "a".repeat(250) + &"b".repeat(2000))));
    }
}
