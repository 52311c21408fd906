//! The same tasks as rows of one table, and the same questions as SQL, as somebody would write them who knows the database:
//! what PostgreSQL and SQLite have in common. Values are bound, never written into the text.

use std::ops::Bound;

use domain::Scope;
use domain::query::{Direction, Field, Filter, Key, Order, Page, Pattern, Query, TaskField, Test, Value, nanos};
use domain::task::{Phase, Task, TaskRef};
use ledger::Rev;
use serde::Serialize;

use super::ask::Ask;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    Sqlite,
}

/// A value of a row, or one that is bound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Datum {
    Null,
    Int(i64),
    Text(String),
    Uuid(domain::Uuid),
    Bool(bool),
    /// The tags.
    Texts(Vec<String>),
    Json(String),
}

/// The columns of `tasks`, with their types in PostgreSQL.
pub(crate) const COLUMNS: &[(&str, &str)] = &[
    ("id", "bigint NOT NULL"),
    ("rev", "bigint NOT NULL"),
    ("uuid", "uuid NOT NULL"),
    ("type", "text NOT NULL"),
    ("queue", "text NOT NULL"),
    ("priority", "smallint NOT NULL"),
    ("state", "smallint NOT NULL"),
    ("result", "smallint"),
    ("seeding", "boolean NOT NULL"),
    ("tenant", "uuid NOT NULL"),
    ("issuer_id", "text"),
    ("started_by", "text"),
    ("policy_id", "text"),
    ("policy_type", "text"),
    ("policy_name", "text"),
    ("resource_id", "text"),
    ("resource_type", "text"),
    ("resource_name", "text"),
    ("executor_id", "text"),
    ("affinity_agent", "text"),
    ("affinity_cluster", "text"),
    ("workflow_id", "bigint"),
    ("tag", "text[]"),
    ("cancel_requested", "boolean NOT NULL"),
    ("created_at", "bigint NOT NULL"),
    ("enqueued_at", "bigint NOT NULL"),
    ("assigned_at", "bigint"),
    ("started_at", "bigint"),
    ("updated_at", "bigint NOT NULL"),
    ("completed_at", "bigint"),
    ("deleted_at", "bigint"),
    ("assign_count", "integer NOT NULL"),
    ("max_assign_count", "integer NOT NULL"),
    ("cancellable", "boolean NOT NULL"),
    ("heartbeat_interval", "bigint"),
    ("ack_timeout", "bigint NOT NULL"),
    ("lease", "text"),
    ("argument", "jsonb"),
    ("context", "jsonb"),
    ("progress", "jsonb"),
    ("blockers", "jsonb"),
    ("outcome", "jsonb"),
];

/// The indexes that somebody would make for these questions: name, and what of. The same for both databases but for names
/// and tags.
pub(crate) const INDEXES: &[(&str, &str)] = &[
    ("tasks_uuid", "(uuid)"),
    ("tasks_tenant", "(tenant, id DESC)"),
    ("tasks_tenant_completed", "(tenant, completed_at DESC NULLS LAST)"),
    ("tasks_tenant_enqueued", "(tenant, enqueued_at DESC)"),
    ("tasks_resource", "(resource_id, id DESC)"),
    ("tasks_result", "(result, completed_at)"),
    ("tasks_state", "(state, id DESC)"),
    ("tasks_state_result", "(state, result)"),
    ("tasks_type", "(type, id DESC)"),
    ("tasks_type_result", "(type, result, id DESC)"),
    ("tasks_completed", "(completed_at DESC NULLS LAST, id DESC)"),
    ("tasks_started", "(started_at DESC NULLS LAST, id DESC)"),
    ("tasks_updated", "(updated_at, id)"),
    ("tasks_priority", "(priority DESC, id DESC)"),
    ("tasks_rev", "(rev)"),
];

/// A task's row, in the order of [`COLUMNS`].
pub(crate) fn row(rev: Rev, task: &Task) -> Vec<Datum> {
    let mut row: Vec<Datum> = Vec::with_capacity(COLUMNS.len());
    for (name, _) in COLUMNS {
        let field = TaskField::ALL.iter().find(|f| f.name() == *name);
        row.push(match field {
            Some(TaskField::Tag) if task.spec.tags.is_empty() => Datum::Null,
            Some(TaskField::Tag) => Datum::Texts(task.spec.tags.iter().map(ToString::to_string).collect()),
            Some(field) => field.read(task).single().map_or(Datum::Null, |c| datum(&c.to_value())),
            None => rest(name, rev, task),
        });
    }
    row
}

/// What cannot be asked for, but is part of a task all the same.
fn rest(name: &str, rev: Rev, task: &Task) -> Datum {
    let (spec, status) = (&*task.spec, &task.status);
    let span = |d: domain::SignedDuration| Datum::Int(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX));
    match name {
        "rev" => Datum::Int(rev.0),
        "assign_count" => Datum::Int(status.assign_count.into()),
        "max_assign_count" => Datum::Int(spec.rules.max_assign_count.into()),
        "cancellable" => Datum::Bool(spec.rules.cancellable),
        "heartbeat_interval" => spec.rules.heartbeat_interval.map_or(Datum::Null, span),
        "ack_timeout" => span(spec.rules.ack_timeout),
        "lease" => {
            let lease = match &status.phase {
                Phase::Completed(done) => done.lease.as_ref(),
                _ => task.lease(),
            };
            lease.map_or(Datum::Null, |l| Datum::Text(l.0.clone()))
        }
        "argument" => json(&spec.argument),
        "context" => json(&spec.context),
        "progress" => status.progress.as_ref().map_or(Datum::Null, json),
        "blockers" if !status.blockers.is_empty() => json(&status.blockers),
        "outcome" => task.result().map_or(Datum::Null, json),
        _ => Datum::Null,
    }
}

fn json(value: &impl Serialize) -> Datum {
    match serde_json::to_string(value) {
        Ok(text) if text != "null" => Datum::Json(text),
        _ => Datum::Null,
    }
}

fn datum(value: &Value) -> Datum {
    match value {
        Value::Int(n) | Value::Enum(n) => Datum::Int(*n),
        Value::Text(s) => Datum::Text(s.clone()),
        Value::Uuid(u) => Datum::Uuid(*u),
        Value::Time(t) => Datum::Int(nanos(*t)),
        Value::Bool(b) => Datum::Bool(*b),
    }
}

/// A statement and what is bound to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) values: Vec<Datum>,
}

/// A question in SQL.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sql {
    /// Rows of tasks, the id first, and how many there are in all where that is asked.
    Rows(Statement, Option<Statement>),
    /// Counts behind the values of their groups: so many of these.
    Groups(Statement, usize),
}

/// The question in this dialect.
pub(crate) fn sql(dialect: Dialect, ask: &Ask) -> Sql {
    let columns = COLUMNS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    match ask {
        Ask::Page(scope, Query { filter, order, page, total }) => {
            let count = (*total || matches!(page, Page::Number { .. })).then(|| {
                let rows = Builder::new(dialect, scope, filter);
                rows.statement("SELECT count(*)", "")
            });
            let mut rows = Builder::new(dialect, scope, filter);
            if let Page::After { key: Some(key), .. } = page {
                rows.behind(order, key);
            }
            let limit = rows.bind(Datum::Int(page.limit().into()));
            let offset = match page.offset() {
                0 => String::new(),
                n => format!(" OFFSET {}", rows.bind(Datum::Int(i64::try_from(n).unwrap_or(i64::MAX)))),
            };
            let end = format!("ORDER BY {} LIMIT {limit}{offset}", sorted(order));
            Sql::Rows(rows.statement(&format!("SELECT {columns}"), &end), count)
        }
        Ask::Counts(scope, filter, by) => {
            let by: Vec<_> = by.iter().map(|f| f.name()).collect();
            let names = by.join(", ");
            let (front, back) = match by.is_empty() {
                true => ("SELECT count(*)".to_owned(), String::new()),
                false => (format!("SELECT {names}, count(*)"), format!("GROUP BY {names}")),
            };
            Sql::Groups(Builder::new(dialect, scope, filter).statement(&front, &back), by.len())
        }
        Ask::Changes(since, limit) => {
            let mut rows = Builder::new(dialect, &Scope::everything(), &Filter::all());
            let since = rows.bind(Datum::Int(since.0));
            rows.conditions.push(format!("rev > {since}"));
            let limit = rows.bind(Datum::Int((*limit).into()));
            let end = format!("ORDER BY rev, updated_at LIMIT {limit}");
            Sql::Rows(rows.statement(&format!("SELECT {columns}"), &end), None)
        }
        Ask::One(task) => {
            let (field, value) = match task {
                TaskRef::Id(id) => ("id", Datum::Int(id.0)),
                TaskRef::Uuid(uuid) => ("uuid", Datum::Uuid(*uuid)),
            };
            let mut rows = Builder::new(dialect, &Scope::everything(), &Filter::all());
            let value = rows.bind(value);
            rows.conditions.push(format!("{field} = {value}"));
            Sql::Rows(rows.statement(&format!("SELECT {columns}"), ""), None)
        }
    }
}

fn sorted(order: &Order<TaskField>) -> String {
    let term = |(field, way): &(TaskField, Direction)| {
        let way = if *way == Direction::Desc { "DESC" } else { "ASC" };
        // Said only where it means something: an index that does not say so would not serve.
        let nulls = if is_nullable(*field) { " NULLS LAST" } else { "" };
        format!("{} {way}{nulls}", field.name())
    };
    order.terms().iter().map(term).collect::<Vec<_>>().join(", ")
}

/// Whether a column may have no value.
fn is_nullable(field: TaskField) -> bool {
    use TaskField as F;
    !matches!(
        field,
        F::Id
            | F::Uuid
            | F::Type
            | F::Queue
            | F::Priority
            | F::State
            | F::Seeding
            | F::Tenant
            | F::CancelRequested
            | F::CreatedAt
            | F::EnqueuedAt
            | F::UpdatedAt
    )
}

struct Builder {
    dialect: Dialect,
    conditions: Vec<String>,
    values: Vec<Datum>,
}

impl Builder {
    fn new(dialect: Dialect, scope: &Scope, filter: &Filter<TaskField>) -> Builder {
        let mut builder = Builder { dialect, conditions: Vec::new(), values: Vec::new() };
        if !scope.is_everything() {
            let ancestor = builder.bind(Datum::Uuid(scope.tenant()));
            let below = format!("tenant IN (SELECT descendant FROM tenant_closure WHERE ancestor = {ancestor})");
            builder.conditions.push(below);
        }
        for clause in filter.clauses() {
            let condition = builder.test(clause.field(), clause.test());
            builder.conditions.push(condition);
        }
        for choice in filter.choices() {
            let mut ways = vec!["FALSE".to_owned()];
            for way in choice.ways() {
                let tests = way.iter().map(|c| builder.test(c.field(), c.test()));
                let tests: Vec<_> = ["TRUE".to_owned()].into_iter().chain(tests).collect();
                ways.push(format!("({})", tests.join(" AND ")));
            }
            let not = if choice.wanted() { "" } else { "NOT " };
            builder.conditions.push(format!("(({}) IS {not}TRUE)", ways.join(" OR ")));
        }
        builder
    }

    fn bind(&mut self, value: Datum) -> String {
        self.values.push(value);
        match self.dialect {
            Dialect::Postgres => format!("${}", self.values.len()),
            Dialect::Sqlite => format!("?{}", self.values.len()),
        }
    }

    fn statement(self, front: &str, end: &str) -> Statement {
        let conditions = match self.conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", self.conditions.join(" AND ")),
        };
        let text = format!("{front} FROM tasks{conditions} {end}");
        Statement { text: text.trim_end().to_owned(), values: self.values }
    }

    /// Rows behind a place. Orders with a place in them go one way in all their fields and have no absent values.
    fn behind(&mut self, order: &Order<TaskField>, key: &Key) {
        let names: Vec<_> = order.terms().iter().map(|(f, _)| f.name()).collect();
        let places: Vec<_> = key.0.iter().map(|v| self.bind(v.as_ref().map_or(Datum::Null, datum))).collect();
        let sign = if order.terms()[0].1 == Direction::Desc { '<' } else { '>' };
        self.conditions.push(format!("({}) {sign} ({})", names.join(", "), places.join(", ")));
    }

    fn test(&mut self, field: TaskField, test: &Test) -> String {
        let name = field.name();
        match test {
            Test::Present => format!("{name} IS NOT NULL"),
            Test::Absent => format!("{name} IS NULL"),
            Test::AnyOf(patterns) if field == TaskField::Tag => {
                let tags = self.each(patterns);
                match self.dialect {
                    Dialect::Postgres => format!("tag && ARRAY[{tags}]::text[]"),
                    Dialect::Sqlite => format!("id IN (SELECT task FROM task_tags WHERE tag IN ({tags}))"),
                }
            }
            Test::AnyOf(patterns) => self.any_of(name, patterns),
            Test::NoneOf(patterns) => format!("NOT {}", self.any_of(name, patterns)),
            Test::Range { from, to } => {
                let mut bounds = Vec::new();
                for (bound, with, without) in [(from, ">=", ">"), (to, "<=", "<")] {
                    match bound {
                        Bound::Included(v) => bounds.push(format!("{name} {with} {}", self.bind(datum(v)))),
                        Bound::Excluded(v) => bounds.push(format!("{name} {without} {}", self.bind(datum(v)))),
                        Bound::Unbounded => {}
                    }
                }
                bounds.join(" AND ")
            }
        }
    }

    fn any_of(&mut self, name: &str, patterns: &[Pattern]) -> String {
        if let [Pattern::Contains(part) | Pattern::StartsWith(part) | Pattern::EndsWith(part)] = patterns {
            let (before, behind) = match &patterns[0] {
                Pattern::StartsWith(_) => ("", "%"),
                Pattern::EndsWith(_) => ("%", ""),
                _ => ("%", "%"),
            };
            let escaped = part.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            let like = self.bind(Datum::Text(format!("{before}{escaped}{behind}")));
            return match self.dialect {
                Dialect::Postgres => format!("{name} ILIKE {like}"),
                Dialect::Sqlite => format!("{name} LIKE {like} ESCAPE '\\'"),
            };
        }
        if let [_] = patterns {
            return format!("{name} = {}", self.each(patterns));
        }
        format!("{name} IN ({})", self.each(patterns))
    }

    fn each(&mut self, patterns: &[Pattern]) -> String {
        let value = |p: &Pattern| match p {
            Pattern::Is(v) => datum(v),
            // Made-up ids are all in small letters.
            Pattern::IsUuid(id) => Datum::Text(id.to_string()),
            Pattern::Same(s) | Pattern::Contains(s) | Pattern::StartsWith(s) | Pattern::EndsWith(s) => {
                Datum::Text(s.clone())
            }
        };
        patterns.iter().map(|p| self.bind(value(p))).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use domain::query::Page;

    use super::super::pool::{behind, both, contains, failed};
    use super::*;

    #[test]
    fn a_question_is_said_in_both_dialects() {
        let query = Query {
            filter: both(failed(), &contains("a_b")),
            order: Order::by(vec![(TaskField::CompletedAt, Direction::Desc)]).expect("an order"),
            page: Page::Number { number: 3, size: 50 },
            total: false,
        };
        let ask = Ask::Page(Scope::everything(), query);
        let Sql::Rows(rows, Some(count)) = sql(Dialect::Postgres, &ask) else { panic!("rows with a total") };
        let filter = "FROM tasks WHERE result IN ($1, $2, $3) AND resource_name ILIKE $4";
        assert_eq!(count.text, format!("SELECT count(*) {filter}"));
        let end = "ORDER BY completed_at DESC NULLS LAST, id DESC LIMIT $5 OFFSET $6";
        assert!(rows.text.ends_with(&format!("{filter} {end}")), "{}", rows.text);
        assert_eq!(rows.values[3..], [Datum::Text("%a\\_b%".to_owned()), Datum::Int(50), Datum::Int(100)]);
        let Sql::Rows(rows, _) = sql(Dialect::Sqlite, &ask) else { panic!("rows") };
        assert!(rows.text.contains("resource_name LIKE ?4 ESCAPE '\\'"), "{}", rows.text);
    }

    #[test]
    fn counts_and_places_are_said() {
        let ask = Ask::Counts(Scope::everything(), behind(domain::task::TaskId(7)), vec![TaskField::State]);
        let Sql::Groups(counts, 1) = sql(Dialect::Sqlite, &ask) else { panic!("groups of one field") };
        assert_eq!(counts.text, "SELECT state, count(*) FROM tasks WHERE id > ?1 GROUP BY state");
        let page = Page::After { key: Some(Key(vec![Some(Value::Int(9))])), limit: 10 };
        let query = Query { filter: Filter::all(), order: Order::newest(), page, total: false };
        let Sql::Rows(rows, None) = sql(Dialect::Postgres, &Ask::Page(Scope::everything(), query)) else {
            panic!("rows without a total")
        };
        assert!(rows.text.ends_with("FROM tasks WHERE (id) < ($1) ORDER BY id DESC LIMIT $2"), "{}", rows.text);
    }
}
