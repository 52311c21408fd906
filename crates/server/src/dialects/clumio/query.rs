//! The query string, and what every list reads from it: page and embeds (sections 3, 5.1 and 5.3).

use domain::query::Page;

use super::failure::{Cause, Failure};
use crate::dialects::percent;

/// How many items a page has by default.
const DEFAULT_LIMIT: u32 = 100;

/// The parameters of a request, decoded, in their order. A value that cannot be decoded is none, which matters only to whoever
/// asks for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// The parameters in this query string.
    pub(super) fn read(query: &str) -> Params {
        let parts = query.split('&').filter(|p| !p.is_empty());
        let pairs = parts.filter_map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((percent::form(name)?, percent::form(value)))
        });
        Params(pairs.collect())
    }

    /// The first value of a parameter; an empty one is none.
    ///
    /// # Errors
    /// What is not percent-encoded UTF-8.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, Failure> {
        self.text(name, Cause::Query)
    }

    /// The filter.
    ///
    /// # Errors
    /// What is not percent-encoded UTF-8.
    pub(super) fn filter(&self) -> Result<Option<&str>, Failure> {
        self.text("filter", Cause::Filter)
    }

    fn text(&self, name: &str, cause: Cause) -> Result<Option<&str>, Failure> {
        match self.0.iter().find(|(n, _)| n == name) {
            Some((_, Some(value))) => Ok(Some(value.as_str()).filter(|v| !v.is_empty())),
            Some((_, None)) => {
                Err(Failure::new(cause, format!("{name}: the value is not percent-encoded UTF-8, like %C3%A4 for ä")))
            }
            None => Ok(None),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// What is none.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.get(name)? else { return Ok(None) };
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Failure::new(Cause::Query, format!("{name}: '{}' is no whole number", shortened(text))));
        }
        let most = if text.starts_with('-') { i64::MIN } else { i64::MAX };
        Ok(Some(text.parse().unwrap_or(most)))
    }

    /// The names in `embed`, separated by commas or repeated.
    pub(super) fn embeds(&self, name: &str) -> bool {
        let embeds = self.0.iter().filter(|(n, _)| n == "embed").filter_map(|(_, v)| v.as_deref());
        embeds.flat_map(|v| v.split(',')).any(|v| v.trim() == name)
    }

    /// Which page is asked for, of at most `most` items (D21).
    ///
    /// # Errors
    /// A limit that is no number or negative, a start that is no positive number.
    pub(super) fn paging(&self, most: u32) -> Result<Paging, Failure> {
        let limit = match self.number("limit")? {
            None | Some(0) => DEFAULT_LIMIT.min(most),
            Some(n) if n < 0 => {
                return Err(Failure::new(
                    Cause::Query,
                    format!("limit: {n} is negative; a whole number from 1 to {most}"),
                ));
            }
            Some(n) => u32::try_from(n).unwrap_or(most).min(most),
        };
        let given = self.get("start")?;
        let wrong = || {
            let given = shortened(given.unwrap_or_default());
            Failure::new(Cause::Query, format!("start: '{given}' is no page number; a whole number from 1"))
        };
        let start = match self.number("start").map_err(|_| wrong())? {
            None | Some(0) => 1,
            Some(n) => u64::try_from(n).map_err(|_| wrong())?,
        };
        Ok(Paging { limit, start })
    }

    /// Everything given beside `start`, once each, as the query of a link to another page.
    pub(super) fn link_to_page(&self, path: &str, start: u64) -> String {
        self.with(format!("{path}?start={start}"), "&")
    }

    /// The same for a list that has no pages.
    pub(super) fn link(&self, path: &str) -> String {
        self.with(path.to_owned(), "?")
    }

    fn with(&self, mut link: String, mut before: &str) -> String {
        let mut told = vec!["start"];
        for (name, value) in &self.0 {
            let Some(value) = value.as_deref().filter(|value| !value.is_empty()) else { continue };
            if !told.contains(&name.as_str()) || name == "embed" {
                told.push(name);
                link.push_str(&format!("{before}{}={}", encoded(name), encoded(value)));
                before = "&";
            }
        }
        link
    }
}

/// Which page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paging {
    /// At most so many items.
    pub(super) limit: u32,
    /// The number of the page, from 1.
    pub(super) start: u64,
}

impl Paging {
    /// The page as the ledger is asked for it. Its limit must be one that the ledger takes.
    pub(super) fn page(self) -> Page {
        Page::Number { number: self.start, size: self.limit }
    }

    /// How many items come before the page.
    pub(super) fn offset(self) -> u64 {
        (self.start - 1).saturating_mul(u64::from(self.limit))
    }

    /// The page of a list that is there as a whole.
    pub(super) fn of<T>(self, all: Vec<T>) -> Vec<T> {
        let before = usize::try_from(self.offset()).unwrap_or(usize::MAX);
        all.into_iter().skip(before).take(self.limit as usize).collect()
    }
}

/// A text as it may stand in a query or path.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A value for a message.
pub(super) fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST { text.to_owned() } else { text.chars().take(MOST).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::read(query)
    }

    #[test]
    fn pages_are_numbers_and_limits_are_cut() {
        let paging = |query| params(query).paging(1000).map(|p| (p.limit, p.start)).map_err(|f| f.cause());
        for query in ["", "limit=0&start=", "limit=&start=0", "limit=100&start=1", "start=01"] {
            assert_eq!(paging(query), Ok((100, 1)), "{query}");
        }
        assert_eq!(paging("limit=5000&start=3"), Ok((1000, 3)));
        assert_eq!(paging("limit=99999999999999999999&start=99999999999999999999").map(|p| p.0), Ok(1000));
        for query in ["limit=-1", "limit=x", "start=-1", "start=x", "start=1.5", "limit=%2B"] {
            assert_eq!(paging(query), Err(Cause::Query), "{query}");
        }
    }

    #[test]
    fn the_first_of_repeated_ones_counts_and_plus_is_a_space() {
        let params = params("a=1&a=2&b=x+y%20z&embed=one&embed=two,three&c");
        let get = |name| params.get(name).expect("it can be read");
        assert_eq!((get("a"), get("b"), get("c")), (Some("1"), Some("x y z"), None));
        assert!(params.embeds("one") && params.embeds("three") && !params.embeds("four"));
    }

    #[test]
    fn what_cannot_be_read_matters_only_to_whoever_asks_for_it() {
        let params = params("x=%ff&%ff=1&limit=%zz&filter=%ff&a=1");
        assert_eq!(params.get("a").map_err(|f| f.cause()), Ok(Some("1")));
        assert_eq!(params.paging(10).map(drop).map_err(|f| f.cause()), Err(Cause::Query));
        assert_eq!(params.filter().map_err(|f| f.cause()), Err(Cause::Filter));
        assert_eq!(params.link_to_page("/tasks", 2), "/tasks?start=2&a=1");
    }

    #[test]
    fn links_have_the_page_first_and_the_rest_as_given() {
        let params = params("limit=2&start=4&filter=%7B%22a%22:1%7D&filter=no&empty=");
        assert_eq!(params.link_to_page("/tasks", 5), "/tasks?start=5&limit=2&filter=%7B%22a%22%3A1%7D");
        assert_eq!(params.link("/policies"), "/policies?limit=2&filter=%7B%22a%22%3A1%7D");
    }
}
