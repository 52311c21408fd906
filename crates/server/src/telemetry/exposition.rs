//! The two texts that metrics are written as. OpenMetrics is what the library writes and what Prometheus asks for; whoever
//! does not ask for it, like `curl` and `promtool check metrics`, gets the older text, in which a counter is described by
//! its whole name.

use std::fmt;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

use super::Telemetry;

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4.
    Text,
}

impl Exposition {
    /// The one that a header `Accept` asks for.
    #[must_use]
    pub fn wanted(accept: &str) -> Exposition {
        match accept.contains("application/openmetrics-text") {
            true => Exposition::OpenMetrics,
            false => Exposition::Text,
        }
    }

    /// Its media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Exposition::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Telemetry {
    /// What was counted, and what was gathered beside it.
    ///
    /// # Errors
    /// Never: writing to a text does not fail.
    pub(crate) fn print(&self, gathered: &Registry, exposition: Exposition) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, gathered)?;
        encode_eof(&mut text)?;
        Ok(match exposition {
            Exposition::OpenMetrics => text,
            Exposition::Text => older(&text),
        })
    }
}

/// OpenMetrics in the words of the older format: `# HELP x` of a counter tells of `x_total` there, and the last line has no
/// meaning. The type comes after the help, so each pair is looked at together.
fn older(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines().filter(|line| *line != "# EOF").peekable();
    while let Some(line) = lines.next() {
        let help = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '));
        let mut counter = |name: &str| lines.peek().is_some_and(|next| *next == format!("# TYPE {name} counter"));
        match help {
            Some((name, about)) if counter(name) => {
                out += &format!("# HELP {name}_total {about}\n# TYPE {name}_total counter\n");
                lines.next();
            }
            _ => {
                out += line;
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_their_whole_name() {
        let text = "# HELP a_b What.\n# TYPE a_b counter\na_b_total{x=\"# EOF\"} 1\n# HELP c Other.\n# TYPE c gauge\nc 2\n# EOF\n";
        let wanted = "# HELP a_b_total What.\n# TYPE a_b_total counter\na_b_total{x=\"# EOF\"} 1\n# HELP c Other.\n# TYPE c gauge\nc 2\n";
        assert_eq!(older(text), wanted);
    }

    #[test]
    fn prometheus_is_answered_in_the_format_it_asks_for() {
        let asked = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Exposition::wanted(asked), Exposition::OpenMetrics);
        assert_eq!(Exposition::wanted("*/*"), Exposition::Text);
    }
}
