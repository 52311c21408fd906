//! The parameters of a query: read as forms, and written into links again.

use std::fmt::Write;

use crate::dialects::percent;

/// The parameters by name, in the order in which they came first; of one that came twice, the last value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Params(Vec<(String, String)>);

/// That a query has signs that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

impl Params {
    pub(super) fn read(query: &str) -> Result<Params, Unreadable> {
        let mut params = Params::default();
        for part in parts(query) {
            let (name, value) = part?;
            params.set(&name, value);
        }
        Ok(params)
    }

    /// Every value of one parameter, for those that may come several times.
    pub(super) fn all(query: &str, name: &str) -> Result<Vec<String>, Unreadable> {
        let parts = parts(query).collect::<Result<Vec<_>, _>>()?;
        Ok(parts.into_iter().filter(|(n, _)| n == name).map(|(_, value)| value).collect())
    }

    /// Each name with its value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The same parameters without this one.
    pub(super) fn without(mut self, name: &str) -> Params {
        self.0.retain(|(n, _)| n != name);
        self
    }

    /// The same parameters with this one behind them.
    pub(super) fn with(self, name: &str, value: &str) -> Params {
        let mut params = self.without(name);
        params.set(name, value.to_owned());
        params
    }

    /// A path with these parameters behind it.
    pub(super) fn link(&self, path: &str) -> String {
        let mut link = path.to_owned();
        for (i, (name, value)) in self.0.iter().enumerate() {
            link.push(if i == 0 { '?' } else { '&' });
            encode(&mut link, name);
            link.push('=');
            encode(&mut link, value);
        }
        link
    }

    fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

fn parts(query: &str) -> impl Iterator<Item = Result<(String, String), Unreadable>> {
    query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let decoded = |text| percent::form(text).ok_or(Unreadable);
        Ok((decoded(name)?, decoded(value)?))
    })
}

fn encode(link: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b' ' => link.push('+'),
            b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => link.push(char::from(b)),
            b => write!(link, "%{b:02X}").unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts_in_the_place_of_the_first() {
        let params = Params::read("b=1&a=%20x%2F&b=2&flag").expect("readable");
        assert_eq!((params.get("b"), params.get("a"), params.get("flag")), (Some("2"), Some(" x/"), Some("")));
        assert_eq!(params.link("/v2/tasks"), "/v2/tasks?b=2&a=+x%2F&flag=");
        assert_eq!(params.with("b", "3").without("flag").link(""), "?a=+x%2F&b=3");
        assert_eq!(Params::read("").expect("nothing").link("/v2/tasks"), "/v2/tasks");
    }

    #[test]
    fn what_is_no_text_is_told() {
        for wrong in ["a=%ff", "%ff=a", "a=%zz", "a=%2"] {
            assert_eq!(Params::read(wrong), Err(Unreadable), "{wrong}");
        }
    }
}
