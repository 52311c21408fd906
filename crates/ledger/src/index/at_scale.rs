//! The index with more tasks than a disk at hand may hold: those of a ledger that `backstay bench ledger --keep` made, and
//! the same again and again behind them, each time half a year later. What the index finds is measured; no rows are read.
//!
//! ```text
//! BACKSTAY_SCALE_LEDGER=/var/tmp/bench BACKSTAY_SCALE_TIMES=10 \
//!     cargo test --release -p backstay-ledger --lib at_scale -- --ignored --nocapture
//! ```

use std::ops::Bound;
use std::path::PathBuf;
use std::time::Instant;

use domain::query::{
    Cell, Direction, Field as _, FieldKind, Filter, Order, Page, Pattern, Query, Read, TaskField, Test, Value,
};
use domain::task::{ResultCode, State};
use domain::tenant::Tenant;
use domain::{Scope, Timestamp, Uuid};
use rusqlite::Connection;

use super::rows::id;
use super::{Block, Codes, Index, Place, checkpoint, numbers, split};

type Tasks = Filter<TaskField>;

/// How often a question is asked, with other values each time.
const ASKED: usize = 50;
const PAGE: u32 = 100;

#[test]
#[ignore = "it needs a large ledger and much memory"]
fn questions_to_many_times_a_ledger() {
    let folder = PathBuf::from(std::env::var("BACKSTAY_SCALE_LEDGER").expect("BACKSTAY_SCALE_LEDGER names a folder"));
    let times: usize = std::env::var("BACKSTAY_SCALE_TIMES").map_or(10, |n| n.parse().expect("a number"));
    let ledger = Connection::open(folder.join("ledger.db")).expect("a ledger");
    let identity: String = ledger.query_row("SELECT identity FROM ledger", [], |r| r.get(0)).expect("its identity");
    let clock = Instant::now();
    let mut index: Index<TaskField> = checkpoint::load(&folder.join("ledger.index"), &identity)
        .expect("a sound checkpoint")
        .expect("a checkpoint, which is written when the ledger is closed");
    println!("{} tasks loaded in {:.1} s", index.len(), clock.elapsed().as_secs_f64());
    let clock = Instant::now();
    repeat(&mut index, times);
    println!("{} tasks after {:.0} s", index.len(), clock.elapsed().as_secs_f64());
    columns(&index);
    ask(&index);
    println!("{:.1} bytes a task, {} MB in all", index.bytes() as f64 / index.len() as f64, index.bytes() / 1_000_000);
    println!("resident: {} MB", resident() / 1000);
}

/// Puts all rows in again behind the last one, with all times later.
fn repeat(index: &mut Index<TaskField>, times: usize) {
    let last = index.blocks.iter().rposition(Option::is_some).expect("there are tasks");
    let last = id(last, index.blocks[last].as_ref().expect("it is there").len);
    let ids = index.between(0, last);
    let place = |field: TaskField| match index.place(field) {
        Place::Number(column) => column,
        _ => panic!("a time"),
    };
    let created = place(TaskField::CreatedAt);
    let later = index.number(*ids.last().expect("one"), created) - index.number(ids[0], created);
    let is_time: Vec<bool> = (0..index.numbers)
        .map(|column| {
            index
                .places
                .iter()
                .any(|(f, p)| f.kind() == FieldKind::Time && matches!(p, Place::Number(c) if *c == column))
        })
        .collect();
    index.loading = true;
    for n in 1..times {
        for from in &ids {
            let (number, row) = split(*from).expect("a row");
            let block = index.blocks[number].as_ref().expect("it is there");
            let codes: Vec<u32> = block.codes.iter().map(|column| column.get(row)).collect();
            let shift = |column: usize, value: i64| match value {
                numbers::ABSENT => numbers::ABSENT,
                value if is_time[column] => value + later * n as i64,
                value => value,
            };
            let values: Vec<i64> = (0..index.numbers).map(|c| shift(c, block.number(c, row))).collect();
            let (number, row) = split(from + last * n as i64).expect("a row");
            if number >= index.blocks.len() {
                index.blocks.resize_with(number + 1, || None);
            }
            let (rankings, count) = (&index.rankings, index.numbers);
            let new = || Box::new(Block::new(rankings.iter().map(|r| Codes::new(*r)).collect(), count));
            let block = index.blocks[number].get_or_insert_with(new);
            index.versions += 1;
            block.version = index.versions;
            block.set(row, &codes, &values);
        }
        while index.tidy(u64::MAX) {}
    }
    index.loading = false;
}

/// What each column takes, and the words in it.
fn columns(index: &Index<TaskField>) {
    let each = |bytes: usize| bytes as f64 / index.len() as f64;
    let of = |f: &dyn Fn(&Block) -> usize| each(index.blocks.iter().flatten().map(|block| f(block)).sum());
    println!("{:24} {:>12} {:>12}", "COLUMN", "BYTES A TASK", "OF WORDS");
    for (field, place) in &index.places {
        let (rows, words) = match place {
            Place::Code(c) => (of(&|block| block.codes[*c].bytes()), each(index.dictionaries[*c].bytes())),
            Place::Number(c) => (of(&|block| block.numbers[*c].bytes()), 0.0),
            Place::Id | Place::Elsewhere => continue,
        };
        println!("{:24} {rows:>12.2} {words:>12.2}", field.name());
    }
}

/// Values that tasks have, in turns.
struct Values<'i> {
    index: &'i Index<TaskField>,
    rows: Vec<i64>,
    turn: usize,
}

impl Values<'_> {
    fn row(&mut self) -> i64 {
        self.turn += 7919;
        self.rows[self.turn % self.rows.len()]
    }

    fn of(&mut self, field: TaskField) -> Value {
        loop {
            let row = self.row();
            let Place::Code(column) = self.index.place(field) else { panic!("a column of words") };
            let dictionary = &self.index.dictionaries[column];
            let value = dictionary.with(self.index.code(row, column), |read| match read {
                Read::Many(texts) => texts.first().map(|text| Value::Text(text.to_string())),
                read => read.single().map(Cell::to_value),
            });
            if let Some(value) = value {
                return value;
            }
        }
    }

    fn any_of(&mut self, field: TaskField, count: usize) -> Tasks {
        let patterns = (0..count).map(|_| Pattern::Is(self.of(field))).collect();
        Filter::all().and(field, Test::AnyOf(patterns)).expect("a filter")
    }

    /// The subtree at this depth that some task lies in, with more or less below it.
    fn scope(&mut self, depth: usize) -> Scope {
        let Value::Uuid(tenant) = self.of(TaskField::Tenant) else { panic!("a tenant") };
        let locator = self.locator(tenant);
        let end = locator.match_indices('/').map(|(at, _)| at + 1).take(depth + 1).last();
        let locator = locator[..end.unwrap_or(locator.len())].to_owned();
        Scope::subtree(&Tenant { id: tenant, locator, ..Tenant::root("any", "UTC", Timestamp::UNIX_EPOCH) })
    }

    fn locator(&self, tenant: Uuid) -> String {
        let found = self.index.tree.tenants().find(|(id, _)| **id == tenant);
        found.map(|(_, locator)| locator.clone()).expect("a tenant of the tree")
    }

    /// A time some hours before the last task.
    fn ago(&self, hours: i64) -> Value {
        let Place::Number(column) = self.index.place(TaskField::CreatedAt) else { panic!("a time") };
        let last = self.index.number(*self.rows.last().expect("one"), column);
        Value::Time(Timestamp::from_nanosecond(i128::from(last - hours * 3_600_000_000_000)).expect("a time"))
    }
}

fn ask(index: &Index<TaskField>) {
    use Direction::{Asc, Desc};
    use TaskField as F;
    let last = id(index.blocks.len(), 0);
    let rows: Vec<i64> = (1..=100_000).map(|n| n * (last / 100_001)).filter(|id| live(index, *id)).collect();
    let mut values = Values { index, rows, turn: 0 };
    let everything = Scope::everything();
    let state = |state: State| Filter::all().is(F::State, Value::Enum(state.ordinal())).expect("a filter");
    let failed = |from: Value| {
        let codes = [ResultCode::Error, ResultCode::Abandoned, ResultCode::TimedOut];
        let codes = codes.iter().map(|c| Pattern::Is(Value::Enum(c.ordinal()))).collect();
        let since = Test::Range { from: Bound::Included(from), to: Bound::Unbounded };
        let failed = Filter::all().and(F::Result, Test::AnyOf(codes)).expect("a filter");
        failed.and(F::CompletedAt, since).expect("a filter")
    };
    let both = |a: Tasks, b: &Tasks| Filter::of([a.clauses(), b.clauses()].concat());
    let by = |field, way| Order::by(vec![(field, way)]).expect("an order");
    println!("{:44} {:>10} {:>10} {:>10}", "QUESTION", "P50 ms", "MAX ms", "TOTAL");
    // BACKSTAY_SCALE_ONLY names a part of the questions that are asked.
    let only = std::env::var("BACKSTAY_SCALE_ONLY").unwrap_or_default();
    let mut list = |name: &str, order: &Order<F>, filter: &mut dyn FnMut(&mut Values<'_>) -> (Scope, Tasks)| {
        if !name.contains(&only) {
            return;
        }
        for middle in [false, true] {
            let (mut spent, mut found) = (Vec::new(), 0);
            for _ in 0..ASKED {
                let (scope, filter) = filter(&mut values);
                let number = if middle { (found / u64::from(PAGE) / 2).max(1) } else { 1 };
                let page = Page::Number { number, size: PAGE };
                let query = Query { filter, order: order.clone(), page, total: true };
                let clock = Instant::now();
                let answer = index.find(&scope, &query, &|_| Ok(None)).expect("an answer").expect("of the index");
                spent.push(clock.elapsed().as_secs_f64() * 1000.0);
                found = answer.total.unwrap_or_default();
            }
            show(&format!("{name}, page {}", if middle { "N/2" } else { "1" }), spent, found);
        }
    };
    let newest = Order::newest();
    list("newest", &newest, &mut |_| (everything.clone(), Filter::all()));
    list("newest of a large tenant", &newest, &mut |v| (v.scope(2), Filter::all()));
    list("newest of a small tenant", &newest, &mut |v| (v.scope(5), Filter::all()));
    list("of one resource", &newest, &mut |v| (everything.clone(), v.any_of(F::ResourceId, 1)));
    list("failed since a day", &newest, &mut |v| (everything.clone(), failed(v.ago(24))));
    list("failed since 30 days", &newest, &mut |v| (everything.clone(), failed(v.ago(24 * 30))));
    list("type in 4, state", &newest, &mut |v| {
        (everything.clone(), both(v.any_of(F::Type, 4), &state(State::Completed)))
    });
    list("tag in 3, result", &newest, &mut |v| {
        let tags = v.any_of(F::Tag, 3);
        (everything.clone(), both(tags, &v.any_of(F::Result, 1)))
    });
    list("name contains, state", &newest, &mut |v| {
        let Value::Text(name) = v.of(F::ResourceName) else { panic!("a name") };
        let part: String = name.chars().take(4).collect();
        let contains = Test::AnyOf(vec![Pattern::Contains(part)]);
        let named = Filter::all().and(F::ResourceName, contains).expect("a filter");
        (everything.clone(), both(named, &state(State::Completed)))
    });
    for (field, way) in [(F::CompletedAt, Desc), (F::StartedAt, Desc), (F::UpdatedAt, Asc), (F::Priority, Desc)] {
        let name = format!("by {}, type in 2", field.name());
        list(&name, &by(field, way), &mut |v| (everything.clone(), v.any_of(F::Type, 2)));
    }
    list("by type, failed since 30 days", &by(F::Type, Asc), &mut |v| (everything.clone(), failed(v.ago(24 * 30))));
    list("by state, type in 4", &by(F::State, Asc), &mut |v| (everything.clone(), v.any_of(F::Type, 4)));

    let mut counts = |name: &str, by: &[F], filter: &mut dyn FnMut(&mut Values<'_>) -> (Scope, Tasks)| {
        if !format!("counts by {name}").contains(&only) {
            return;
        }
        let (mut spent, mut groups) = (Vec::new(), 0);
        for _ in 0..ASKED {
            let (scope, filter) = filter(&mut values);
            let clock = Instant::now();
            let answer = index.counts(&scope, &filter, by, &|_| Ok(None)).expect("an answer").expect("of the index");
            spent.push(clock.elapsed().as_secs_f64() * 1000.0);
            groups = answer.len() as u64;
        }
        show(&format!("counts by {name}"), spent, groups);
    };
    counts("state", &[F::State], &mut |_| (everything.clone(), Filter::all()));
    counts("state of a large tenant", &[F::State], &mut |v| (v.scope(2), Filter::all()));
    counts("state, result", &[F::State, F::Result], &mut |_| (everything.clone(), Filter::all()));
    counts("state, result; type in 4", &[F::State, F::Result], &mut |v| (everything.clone(), v.any_of(F::Type, 4)));
    counts("tenant, failed since a day", &[F::Tenant], &mut |v| (everything.clone(), failed(v.ago(24))));
    counts("tenant, failed since 30 days", &[F::Tenant], &mut |v| (everything.clone(), failed(v.ago(24 * 30))));
}

fn live(index: &Index<TaskField>, id: i64) -> bool {
    split(id).is_some_and(|(number, row)| {
        index.blocks.get(number).and_then(Option::as_ref).is_some_and(|block| block.live.has(row))
    })
}

fn show(name: &str, mut spent: Vec<f64>, total: u64) {
    spent.sort_by(f64::total_cmp);
    let (median, most) = (spent[spent.len() / 2], spent[spent.len() - 1]);
    println!("{name:44} {median:>10.3} {most:>10.3} {total:>10}");
}

/// Kibibytes of memory that the process holds.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}
