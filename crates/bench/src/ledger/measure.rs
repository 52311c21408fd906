//! Asking: each kind of question for a limited time, everything anew and then once more, and the same questions to those
//! who are compared.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use domain::query::{Page, Query};
use ledger::Ledger;
use serde::Serialize;

use super::ask::{Answer, Answered, Ask, Oracle, ask};
use super::clock::{Cost, Spread};
use super::queries::{PAGE, Pages, Shape};
use super::side::Side;

/// How long each kind of question is asked.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// At most so many questions.
    pub repetitions: usize,
    /// At most this long, but never less than a few questions.
    pub time: Duration,
}

/// Questions that are asked however long they take.
const AT_LEAST: usize = 3;

/// How one kind of question was answered.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// The question.
    pub query: String,
    /// Whose tasks: `all`, or those of a `middle` or `leaf` tenant.
    pub whose: String,
    /// Rows of an answer, on the average.
    pub rows: f64,
    /// How many there are in all, in the median, where that was asked.
    pub total: Option<u64>,
    /// Time of questions that were not asked before.
    pub wall: Spread,
    /// What the processors did for them.
    pub cpu: Spread,
    /// Time of the same questions asked again at once.
    pub again: Spread,
    /// Rows a second, by one caller.
    pub rows_per_second: f64,
    /// PostgreSQL's time for the same questions.
    pub postgres: Option<Spread>,
    /// SQLite's time for the same questions.
    pub sqlite: Option<Spread>,
    /// PostgreSQL's time at p50 divided by ours.
    pub ratio_postgres: Option<f64>,
    /// SQLite's time at p50 divided by ours.
    pub ratio_sqlite: Option<f64>,
}

/// A question that was asked.
struct Asked {
    ask: Ask,
    answer: Answer,
    fresh: Cost,
    again: Option<Cost>,
}

/// A kind of question, asked.
pub(crate) struct Run {
    name: String,
    whose: &'static str,
    asked: Vec<Asked>,
}

/// Asks a kind of question; two kinds come out where the page in the middle is read, too.
pub(crate) async fn run(ledger: &dyn Ledger, shape: &Shape, effort: Effort) -> Result<Vec<Run>> {
    let run = |name: &str, asked| Run { name: name.to_owned(), whose: shape.whose, asked };
    let named = || format!("'{}' of {}", shape.name, shape.whose);
    // Whatever is read for the first time is read here; the question is one that comes last.
    if let Some(last) = shape.variants.last() {
        ask(ledger, last).await.with_context(named)?;
    }
    let first = match shape.pages {
        Pages::Walk => walk(ledger, &shape.variants, effort).await,
        Pages::AsIs | Pages::FirstAndMiddle => again_and_again(ledger, &shape.variants, effort).await,
    };
    let first = first.with_context(named)?;
    if shape.pages != Pages::FirstAndMiddle {
        return Ok(vec![run(&shape.name, first)]);
    }
    let middles: Vec<_> = first.iter().enumerate().filter_map(|(n, asked)| middle(asked, n)).collect();
    let mut runs = vec![run(&format!("{}: page 1", shape.name), first)];
    if !middles.is_empty() {
        let middle = again_and_again(ledger, &middles, effort).await.with_context(named)?;
        runs.push(run(&format!("{}: page N/2", shape.name), middle));
    }
    Ok(runs)
}

/// The same question for the page in the middle, where there is more than one page. Where there are many, it is another one
/// of those in the middle each time.
fn middle(asked: &Asked, n: usize) -> Option<Ask> {
    let (Ask::Page(scope, query), Some(total)) = (&asked.ask, asked.answer.total) else { return None };
    let pages = total.div_ceil(u64::from(PAGE));
    let page = Page::Number { number: pages / 2 + 1 + n as u64 % (pages / 16).max(1), size: PAGE };
    (pages > 1).then(|| Ask::Page(scope.clone(), Query { page, ..query.clone() }))
}

async fn again_and_again(ledger: &dyn Ledger, variants: &[Ask], effort: Effort) -> Result<Vec<Asked>> {
    let mut asked = Vec::new();
    let clock = Instant::now();
    for variant in variants.iter().cycle().take(effort.repetitions.max(1)) {
        if asked.len() >= AT_LEAST && clock.elapsed() > effort.time {
            break;
        }
        asked.push(twice(ledger, variant, effort).await?);
    }
    Ok(asked)
}

async fn twice(ledger: &dyn Ledger, question: &Ask, effort: Effort) -> Result<Asked> {
    let Answered { answer, cost: fresh } = ask(ledger, question).await?;
    // What takes long is not asked more than necessary.
    let again = if fresh.wall < effort.time / 10 { Some(ask(ledger, question).await?.cost) } else { None };
    Ok(Asked { ask: question.clone(), answer, fresh, again })
}

/// Pages one after the other; at the end of one list the next one begins.
async fn walk(ledger: &dyn Ledger, variants: &[Ask], effort: Effort) -> Result<Vec<Asked>> {
    let mut asked: Vec<Asked> = Vec::new();
    let clock = Instant::now();
    let mut starts = variants.iter().cycle();
    let mut from: Option<&Ask> = None;
    while asked.len() < effort.repetitions.max(1) && (asked.len() < AT_LEAST || clock.elapsed() < effort.time) {
        let key = asked.last().and_then(|a| a.answer.next.clone());
        let ask = match (from, key) {
            (Some(Ask::Page(scope, query)), Some(key)) => {
                let page = Page::After { key: Some(key), limit: PAGE };
                Ask::Page(scope.clone(), Query { page, ..query.clone() })
            }
            _ => {
                from = starts.next();
                let Some(start) = from else { break };
                start.clone()
            }
        };
        asked.push(twice(ledger, &ask, effort).await?);
    }
    Ok(asked)
}

impl Run {
    /// Compares every answer with what it must be by definition.
    pub(crate) fn check(&self, oracle: &Oracle, findings: &mut Vec<String>) {
        for asked in &self.asked {
            let right = oracle.ask(&asked.ask);
            let next = matches!(asked.ask, Ask::Page(..)) && right.next != asked.answer.next;
            let how = right.difference(&asked.answer).or_else(|| next.then(|| "another next page".to_owned()));
            self.find(&asked.ask, how, "by definition", findings);
        }
    }

    /// Asks somebody else the same, for as long, and compares the answers.
    pub(crate) async fn replay(&self, side: &mut Side, effort: Effort, findings: &mut Vec<String>) -> Result<Spread> {
        let mut times = Vec::new();
        if let Some(last) = self.asked.last()
            && let Err(waited) = side.ask(&last.ask).await.with_context(|| format!("'{}'", self.name))?
        {
            return Ok(Spread::of([waited]));
        }
        let clock = Instant::now();
        for asked in &self.asked {
            if times.len() >= AT_LEAST && clock.elapsed() > effort.time {
                break;
            }
            let Answered { answer, cost } =
                match side.ask(&asked.ask).await.with_context(|| format!("'{}'", self.name))? {
                    Ok(answered) => answered,
                    Err(waited) => {
                        times.push(waited);
                        break;
                    }
                };
            times.push(cost.wall);
            self.find(&asked.ask, answer.difference(&asked.answer), side.name(), findings);
        }
        Ok(Spread::of(times))
    }

    fn find(&self, ask: &Ask, how: Option<String>, by: &str, findings: &mut Vec<String>) {
        // One of a kind says enough.
        let named = format!("'{}' of {}: {by}", self.name, self.whose);
        if let Some(how) = how
            && !findings.iter().any(|f| f.starts_with(&named))
        {
            findings.push(format!("{named} {how} from the ledger; asked: {}", shown(ask)));
        }
    }

    /// What came out.
    pub(crate) fn line(&self) -> Line {
        let rows: usize = self.asked.iter().map(|a| a.answer.rows()).sum();
        let busy: Duration = self.asked.iter().map(|a| a.fresh.wall).sum();
        let mut totals: Vec<_> = self.asked.iter().filter_map(|a| a.answer.total).collect();
        totals.sort_unstable();
        Line {
            query: self.name.clone(),
            whose: self.whose.to_owned(),
            rows: rows as f64 / self.asked.len().max(1) as f64,
            total: totals.get(totals.len() / 2).copied(),
            wall: Spread::of(self.asked.iter().map(|a| a.fresh.wall)),
            cpu: Spread::of(self.asked.iter().map(|a| a.fresh.cpu)),
            again: Spread::of(self.asked.iter().filter_map(|a| Some(a.again?.wall))),
            rows_per_second: rows as f64 / busy.as_secs_f64().max(1e-9),
            postgres: None,
            sqlite: None,
            ratio_postgres: None,
            ratio_sqlite: None,
        }
    }
}

fn shown(ask: &Ask) -> String {
    let text = match ask {
        Ask::Page(scope, Query { filter, order, page, .. }) => {
            format!("below {}, {filter:?}, {:?}, {page:?}", scope.locator(), order.terms())
        }
        other => format!("{other:?}"),
    };
    text.chars().take(600).collect()
}
