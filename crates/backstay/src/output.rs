//! What commands print: tables and lines for people, JSON for programs. Results go to standard output, everything else
//! to standard error. A reader that went away is an error that `main` takes for a quiet end, never a panic.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Result;
use comfy_table::{Attribute, Color, ColumnConstraint, ContentArrangement, Table, presets};
use domain::task::{ResultCode, State};
use domain::{Timestamp, Uuid};
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::format;

/// How to print, as the terminal and the options have it.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// For programs: JSON, as the API answers.
    pub(crate) json: bool,
    colours: bool,
    zone: TimeZone,
}

/// What a cell says beside its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
    Live,
    Faint,
}

impl Tone {
    fn paint(self, text: &str) -> String {
        let code = match self {
            Tone::Plain => return text.to_owned(),
            Tone::Good => 32,
            Tone::Warn => 33,
            Tone::Bad => 31,
            Tone::Live => 36,
            Tone::Faint => 2,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in this tone.
    pub(crate) fn toned(text: impl AsRef<str>, tone: Tone) -> Cell {
        Cell { text: format::clean_line(text.as_ref()), tone }
    }

    /// Fills the text up to this many columns, for lines that come one by one and cannot be a table.
    pub(crate) fn pad(&mut self, width: usize) {
        self.text = format!("{:width$}", self.text);
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::toned(text, Tone::Plain)
    }
}

impl Output {
    /// For this terminal.
    pub(crate) fn new(json: bool) -> Output {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Output { json, colours: wanted && io::stdout().is_terminal(), zone: TimeZone::system() }
    }

    /// A line for people, on standard output.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", text.as_ref())?;
        Ok(out.flush()?)
    }

    /// Parts of a line, each in its tone.
    pub(crate) fn coloured(&self, parts: &[Cell]) -> Result<()> {
        let parts: Vec<_> =
            parts.iter().map(|c| if self.colours { c.tone.paint(&c.text) } else { c.text.clone() }).collect();
        self.line(parts.join("  "))
    }

    /// The answer for programs.
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> Result<()> {
        self.line(serde_json::to_string_pretty(value)?)
    }

    /// One of many answers for programs: one line each.
    pub(crate) fn json_line<T: Serialize>(&self, value: &T) -> Result<()> {
        self.line(serde_json::to_string(value)?)
    }

    /// A remark for people, on standard error.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        // Whoever closed standard error does not want remarks.
        let _ = writeln!(io::stderr(), "{}", text.as_ref());
    }

    /// A table; in place of one without rows a remark.
    pub(crate) fn table(&self, header: &[&str], rows: Vec<Vec<Cell>>, nothing: &str) -> Result<()> {
        if rows.is_empty() {
            self.note(nothing);
            return Ok(());
        }
        let mut table = self.bare_table();
        table.set_header(header.iter().map(|h| self.cell(Cell::toned(h, Tone::Faint))));
        self.finish(table, rows)
    }

    /// Names and values of one thing; those without a value are left out.
    pub(crate) fn details(&self, rows: Vec<(&str, Option<Cell>)>) -> Result<()> {
        let rows = rows.into_iter().filter_map(|(name, value)| Some(vec![Cell::toned(name, Tone::Faint), value?]));
        self.finish(self.bare_table(), rows.collect())
    }

    fn bare_table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        // Only a terminal has a width to keep to; elsewhere a row is a line.
        let arrangement =
            if io::stdout().is_terminal() { ContentArrangement::Dynamic } else { ContentArrangement::Disabled };
        table.set_content_arrangement(arrangement);
        table
    }

    fn finish(&self, mut table: Table, rows: Vec<Vec<Cell>>) -> Result<()> {
        for row in rows {
            table.add_row(row.into_iter().map(|c| self.cell(c)).collect::<Vec<_>>());
        }
        let widths = table.column_max_content_widths();
        for (column, width) in table.column_iter_mut().zip(widths) {
            column.set_padding((0, 2));
            if width <= NEVER_BROKEN {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        self.line(table.trim_fmt())
    }

    fn cell(&self, Cell { text, tone }: Cell) -> comfy_table::Cell {
        let cell = comfy_table::Cell::new(text);
        if !self.colours {
            return cell;
        }
        match tone {
            Tone::Plain => cell,
            Tone::Good => cell.fg(Color::Green),
            Tone::Warn => cell.fg(Color::Yellow),
            Tone::Bad => cell.fg(Color::Red),
            Tone::Live => cell.fg(Color::Cyan),
            Tone::Faint => cell.add_attribute(Attribute::Dim),
        }
    }

    /// A time in a table.
    pub(crate) fn stamp(&self, t: Timestamp) -> String {
        format::stamp(t, &self.zone)
    }

    /// A time in a table that may be absent.
    pub(crate) fn stamp_or_dash(&self, t: Option<Timestamp>) -> String {
        t.map_or_else(|| "-".to_owned(), |t| self.stamp(t))
    }

    /// A time by itself.
    pub(crate) fn full_stamp(&self, t: Timestamp) -> String {
        format::full_stamp(t, &self.zone, Timestamp::now())
    }

    /// The wall clock's time of day now, for lines that come as things happen.
    pub(crate) fn clock(&self) -> String {
        Timestamp::now().to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string()
    }
}

/// Columns up to this width - times, ids, numbers - are never broken; on a narrow terminal the wider ones make room.
const NEVER_BROKEN: u16 = 20;

/// What a page of a list leaves out: how many there are, and how to see the others.
pub(crate) fn footer<T>(list: &api::List<T>, one: &str, many: &str) -> Option<String> {
    let total = list.total?;
    let all = format::counted(total, one, many);
    match (list.page, list.pages) {
        (Some(page), Some(pages)) if pages > 1 => {
            let next = if page < pages { format!("; --page {} for more", page + 1) } else { String::new() };
            Some(format!("page {page} of {pages}, {all}{next}"))
        }
        _ if list.items.is_empty() => None,
        _ => Some(all),
    }
}

/// The state of a task or activity, or how it ended.
pub(crate) fn state_cell(state: State, result: Option<&api::TaskResult>, cancel_requested: bool) -> Cell {
    match (state, result) {
        (State::Completed, Some(result)) => Cell::toned(result.code.name(), result_tone(result.code)),
        _ if cancel_requested => Cell::toned("cancelling", Tone::Warn),
        (State::Started | State::Assigned, _) => Cell::toned(state.name(), Tone::Live),
        (State::Paused, _) => Cell::toned(state.name(), Tone::Warn),
        (State::Enqueued | State::Completed, _) => Cell::from(state.name()),
    }
}

fn result_tone(code: ResultCode) -> Tone {
    match code {
        ResultCode::Ok => Tone::Good,
        ResultCode::Warning => Tone::Warn,
        ResultCode::Error | ResultCode::Abandoned | ResultCode::TimedOut => Tone::Bad,
        ResultCode::Cancelled => Tone::Faint,
    }
}

/// How much of an id is shown at least: with version 7 this is the time to the millisecond, so it rarely needs more.
const SHORT_ID: usize = 13;

/// The shortest beginnings of ids that tell these ids apart; commands take them back.
pub(crate) fn short_ids(ids: &[Uuid]) -> Vec<String> {
    let full: Vec<_> = ids.iter().map(Uuid::to_string).collect();
    let mut sorted: Vec<&str> = full.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let common = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let needed = sorted.windows(2).map(|pair| common(pair[0], pair[1]) + 1).max().unwrap_or(0).max(SHORT_ID);
    full.iter().map(|id| id[..needed.min(id.len())].trim_end_matches('-').to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shown_as_short_as_they_stay_apart() {
        let id = |text: &str| text.parse::<Uuid>().expect("a uuid");
        let a = id("0193a4b2-7c11-7000-8000-000000000001");
        let b = id("0193a4b2-7c11-7000-9000-000000000001");
        let c = id("1193a4b2-7c11-7000-9000-000000000001");
        assert_eq!(short_ids(&[a]), ["0193a4b2-7c11"]);
        assert_eq!(short_ids(&[a, c, a]), ["0193a4b2-7c11", "1193a4b2-7c11", "0193a4b2-7c11"]);
        assert_eq!(short_ids(&[b, a]), ["0193a4b2-7c11-7000-9", "0193a4b2-7c11-7000-8"]);
    }

    #[test]
    fn a_page_says_what_it_leaves_out() {
        let list = |items, page, pages, total| api::List { items, next: None, total, page, pages };
        let text = |list| footer(&list, "task", "tasks");
        assert_eq!(
            text(list(vec![1], Some(1), Some(3), Some(120))).as_deref(),
            Some("page 1 of 3, 120 tasks; --page 2 for more")
        );
        assert_eq!(text(list(vec![1], Some(3), Some(3), Some(120))).as_deref(), Some("page 3 of 3, 120 tasks"));
        assert_eq!(text(list(vec![1], Some(1), Some(1), Some(1))).as_deref(), Some("1 task"));
        assert_eq!(text(list(vec![], Some(1), Some(0), Some(0))), None);
    }
}
