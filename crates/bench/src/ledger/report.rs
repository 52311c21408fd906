//! What came out, as tables for people and as JSON for programs.

use serde::Serialize;

use super::clock::Spread;
use super::figures::Figures;
use super::measure::Line;
use super::rivals::Rival;
use super::side::Loaded;
use super::writes::Writes;
use crate::generate::Manifest;

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct LedgerReport {
    /// The program's version.
    pub version: String,
    /// Whether it was built for speed.
    pub optimised: bool,
    /// The machine's processor, where the system says it.
    pub processor: Option<String>,
    /// Processors that the program may use.
    pub processors: usize,
    /// The machine's memory in bytes.
    pub memory: Option<u64>,
    /// The ledger.
    pub ledger: Manifest,
    /// The questions.
    pub queries: Vec<Line>,
    /// The same questions to a smaller ledger, with others beside it.
    pub side: Option<SideReport>,
    /// The writes.
    pub writes: Option<Writes>,
    /// Others' task queues.
    pub rivals: Vec<Rival>,
    /// Sizes and times of the ledger as a whole.
    pub figures: Figures,
    /// Answers that were wrong; none when all is well.
    pub findings: Vec<String>,
}

/// The questions side by side.
#[derive(Debug, Clone, Serialize)]
pub struct SideReport {
    /// The ledger.
    pub ledger: Manifest,
    /// Who was asked beside it.
    pub loaded: Vec<Loaded>,
    /// The questions; none where those of the report itself are meant.
    pub queries: Vec<Line>,
}

/// A table.
#[derive(Debug, Clone)]
pub struct Table {
    /// What it is about.
    pub title: String,
    /// The names of its columns.
    pub header: Vec<&'static str>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

const QUERIES: [&str; 11] =
    ["QUERY", "OF", "TOTAL", "ROWS", "N", "P50 ms", "P99 ms", "MAX ms", "CPU P50", "CPU MAX", "AGAIN"];

impl LedgerReport {
    /// Everything as tables.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let mut tables = Vec::new();
        if !self.queries.is_empty() {
            tables.push(queries(format!("Questions to {} tasks", self.ledger.tasks), &self.queries));
        }
        if let Some(side) = &self.side {
            if !side.queries.is_empty() {
                tables.push(queries(format!("Questions to {} tasks", side.ledger.tasks), &side.queries));
            }
            tables.push(loaded(&side.loaded));
        }
        if let Some(writes) = &self.writes {
            tables.push(self::writes(writes));
            tables.push(beside(writes));
        }
        if !self.rivals.is_empty() {
            tables.push(rivals(&self.rivals, self.writes.as_ref()));
        }
        tables.push(figures(&self.figures));
        tables
    }
}

fn queries(title: String, lines: &[Line]) -> Table {
    let (postgres, sqlite) = (lines.iter().any(|l| l.postgres.is_some()), lines.iter().any(|l| l.sqlite.is_some()));
    let mut header = QUERIES.to_vec();
    header.extend(if postgres { &["PG P50", "PG P99", "x PG"][..] } else { &[] });
    header.extend(if sqlite { &["SQLITE P50", "SQLITE P99", "x SQLITE"][..] } else { &[] });
    let row = |line: &Line| {
        let mut row = vec![
            line.query.clone(),
            line.whose.clone(),
            line.total.map_or_else(String::new, |t| t.to_string()),
            format!("{:.0}", line.rows),
            line.wall.count.to_string(),
            ms(line.wall.p50_ms),
            ms(line.wall.p99_ms),
            ms(line.wall.max_ms),
            ms(line.cpu.p50_ms),
            ms(line.cpu.max_ms),
            if line.again.count == 0 { String::new() } else { ms(line.again.p50_ms) },
        ];
        let mut side = |spread: Option<Spread>, ratio: Option<f64>| {
            row.push(spread.map_or_else(String::new, |s| ms(s.p50_ms)));
            row.push(spread.map_or_else(String::new, |s| ms(s.p99_ms)));
            row.push(ratio.map_or_else(String::new, times));
        };
        if postgres {
            side(line.postgres, line.ratio_postgres);
        }
        if sqlite {
            side(line.sqlite, line.ratio_sqlite);
        }
        row
    };
    Table { title, header, rows: lines.iter().map(row).collect() }
}

fn loaded(loaded: &[Loaded]) -> Table {
    let row = |l: &Loaded| {
        let each = l.bytes as f64 / l.tasks.max(1) as f64;
        let (seconds, each) = (format!("{:.1}", l.seconds), format!("{each:.0}"));
        vec![l.name.clone(), l.version.clone(), l.tasks.to_string(), seconds, (l.bytes / 1_000_000).to_string(), each]
    };
    Table {
        title: "Loaded".to_owned(),
        header: vec!["WHO", "VERSION", "TASKS", "SECONDS", "MB", "BYTES A TASK"],
        rows: loaded.iter().map(row).collect(),
    }
}

fn writes(writes: &Writes) -> Table {
    let steps = [
        ("enqueue", &writes.enqueue),
        ("claim", &writes.claim),
        ("start", &writes.start),
        ("complete", &writes.complete),
        ("any of them", &writes.write),
        ("enqueue 64 in one", &writes.batches.enqueue),
        ("claim 64 in one", &writes.batches.claim),
        ("any of them, one caller", &writes.alone),
        ("4 KB to the disk", &writes.fsync),
        ("4 KB beside the writers", &writes.fsync_beside),
    ];
    Table {
        title: format!(
            "Writes by {} callers: {} tasks in {:.1} s, {:.0} tasks/s, {:.0} commits/s in {} transactions",
            writes.callers,
            writes.tasks,
            writes.seconds,
            writes.tasks_per_second,
            writes.commits_per_second,
            writes.transactions
        ),
        header: SPREAD.to_vec(),
        rows: steps.iter().map(|(name, spread)| spread_row(name, spread)).collect(),
    }
}

fn beside(writes: &Writes) -> Table {
    let lists = &writes.lists;
    Table {
        title: format!(
            "Lists beside {:.0} tasks/s: p99 {} of idle; p99 of a write {} of the disk's, {} of that beside them, {} by \
             one caller; 64 at once {:.0} enqueued/s, {:.0} claimed/s",
            lists.tasks_per_second,
            times(lists.ratio_p99),
            times(writes.p99_to_fsync),
            times(writes.p99_to_fsync_beside),
            times(writes.alone_p99_to_fsync),
            writes.batches.enqueued_per_second,
            writes.batches.claimed_per_second
        ),
        header: SPREAD.to_vec(),
        rows: vec![spread_row("list, idle", &lists.idle), spread_row("list beside writers", &lists.busy)],
    }
}

const SPREAD: [&str; 5] = ["WHAT", "N", "P50 ms", "P99 ms", "MAX ms"];

fn spread_row(name: &str, spread: &Spread) -> Vec<String> {
    vec![name.to_owned(), spread.count.to_string(), ms(spread.p50_ms), ms(spread.p99_ms), ms(spread.max_ms)]
}

fn rivals(rivals: &[Rival], ours: Option<&Writes>) -> Table {
    let mut rows = Vec::new();
    if let Some(ours) = ours {
        let own = ["backstay", env!("CARGO_PKG_VERSION")].map(str::to_owned);
        let (seconds, rate) = (format!("{:.1}", ours.seconds), format!("{:.0}", ours.tasks_per_second));
        rows.push(own.into_iter().chain([ours.tasks.to_string(), seconds, rate, String::new()]).collect());
    }
    for r in rivals {
        let (seconds, rate) = (format!("{:.1}", r.seconds), format!("{:.0}", r.tasks_per_second));
        rows.push(vec![r.rival.clone(), r.version.clone(), r.tasks.to_string(), seconds, rate, times(r.ratio)]);
    }
    Table {
        title: "Task queues under the same load".to_owned(),
        header: vec!["WHO", "VERSION", "TASKS", "SECONDS", "TASKS/S", "OURS"],
        rows,
    }
}

fn figures(figures: &Figures) -> Table {
    let mb = |b: u64| if b < 10_000_000 { format!("{} KB", b / 1000) } else { format!("{} MB", b / 1_000_000) };
    let seconds = |s: Option<f64>| s.map(|s| format!("{s:.2} s"));
    let rows = [
        ("tasks", Some(figures.tasks.to_string())),
        ("file", Some(mb(figures.file_bytes))),
        ("bytes a task on disk", Some(format!("{:.0}", figures.file_bytes_per_task))),
        ("resident before opening", figures.resident_before.map(mb)),
        ("resident after the questions", figures.resident_after.map(mb)),
        ("index", figures.index_bytes.map(mb)),
        ("bytes a task in memory", figures.index_bytes_per_task.map(|b| format!("{b:.0}"))),
        ("restart to the first list", seconds(figures.restart_seconds)),
        ("the same without a checkpoint", seconds(figures.rebuild_seconds)),
        ("checkpoint", figures.checkpoint_bytes.map(mb)),
    ];
    let rows = rows.into_iter().filter_map(|(name, value)| Some(vec![name.to_owned(), value?])).collect();
    Table { title: "The ledger as a whole".to_owned(), header: vec!["WHAT", "HOW MUCH"], rows }
}

/// Milliseconds with as many digits as say something.
fn ms(ms: f64) -> String {
    match ms {
        _ if ms >= 100.0 => format!("{ms:.0}"),
        _ if ms >= 10.0 => format!("{ms:.1}"),
        _ if ms >= 1.0 => format!("{ms:.2}"),
        _ => format!("{ms:.3}"),
    }
}

fn times(ratio: f64) -> String {
    if ratio >= 10.0 { format!("{ratio:.0}x") } else { format!("{ratio:.2}x") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_say_something() {
        assert_eq!([0.0123, 1.234, 12.34, 123.4].map(ms), ["0.012", "1.23", "12.3", "123"]);
        assert_eq!([0.5, 51.2].map(times), ["0.50x", "51x"]);
    }
}
