//! Filters, orders and places as SQL. Each is an optimisation of its definition in `domain::query`, and is tested
//! against it. Values are only ever bound, never written into the text.

use std::ops::Bound;

use domain::Scope;
use domain::query::{
    self, ActivityField, Clause, Direction, Field, FieldKind, Filter, Key, Order, Pattern, RecordField, TaskField, Test,
};
use domain::record::RecordKind;
use rusqlite::types::Value;

use super::rows;

/// Where rows come from, and how their fields are called there.
pub(super) struct Source<F> {
    /// Tables, joined.
    pub(super) from: String,
    /// The expression of a field.
    pub(super) column: fn(F, &RecordKind) -> String,
    /// The kind of records, where rows are records; anything else otherwise.
    pub(super) kind: RecordKind,
}

/// Tasks.
pub(super) fn tasks() -> Source<TaskField> {
    Source { from: TASKS.to_owned(), column: |f, _| task_column(f).to_owned(), kind: RecordKind::Tenant }
}

/// Activities with their tasks.
pub(super) fn activities() -> Source<ActivityField> {
    let from = format!("{ACTIVITIES} JOIN {TASKS_OF_ACTIVITIES}");
    Source { from, column: |f, _| activity_column(f), kind: RecordKind::Tenant }
}

/// Records of a kind.
pub(super) fn records(kind: RecordKind) -> Source<RecordField> {
    Source { from: format!("{} r", rows::table(kind)), column: record_column, kind }
}

const TASKS: &str = "tasks t JOIN task_status s ON s.id = t.id";
const TASKS_OF_ACTIVITIES: &str = "tasks t ON t.id = a.task JOIN task_status s ON s.id = a.task";

/// The activities that are no roots.
pub(super) const STEPS: &str =
    "(SELECT id, uuid, task, 0 AS root, created_at, type, parent, sustainable, tags, state, executor_id,
        executor_cluster_id, started_at, completed_at, updated_at, result_code, detail FROM steps) a";

/// All activities. Both parts have their columns of the same types: only then are conditions looked at inside them.
const ACTIVITIES: &str =
    "(SELECT id, uuid, task, 0 AS root, created_at, type, parent, sustainable, tags, state, executor_id,
        executor_cluster_id, started_at, completed_at, updated_at, result_code, detail FROM steps
     UNION ALL
     SELECT root_id, CAST(root_uuid((SELECT uuid FROM tasks WHERE id = task_status.id)) AS BLOB), id, 1, root_at,
        CAST(NULL AS INTEGER), CAST(NULL AS INTEGER), CAST(NULL AS INTEGER), CAST(NULL AS INTEGER),
        CAST(NULL AS INTEGER), CAST(NULL AS INTEGER), CAST(NULL AS INTEGER), CAST(NULL AS INTEGER),
        CAST(NULL AS INTEGER), CAST(NULL AS INTEGER), CAST(NULL AS INTEGER), CAST(NULL AS BLOB)
     FROM task_status WHERE root_id IS NOT NULL) a";

/// `domain::task::Standing`: failure, pending, processing, success.
const STANDING: &str =
    "(CASE WHEN s.state < 2 THEN 1 WHEN s.state < 4 THEN 2 WHEN s.result_code IN (0, 2) THEN 3 ELSE 0 END)";

fn task_column(field: TaskField) -> &'static str {
    use TaskField as F;
    match field {
        F::Id => "t.id",
        F::Uuid => "t.uuid",
        F::Type => "(SELECT word FROM words WHERE id = t.type)",
        F::Queue => "(SELECT word FROM words WHERE id = t.queue)",
        F::Priority => "t.priority",
        F::State => "s.state",
        F::Result => "s.result_code",
        F::Standing => STANDING,
        F::Over => "(s.completed_at IS NOT NULL)",
        F::Seeding => "t.seeding",
        F::Tenant => "(SELECT id FROM tenants WHERE number = t.tenant)",
        F::IssuerId => "(SELECT word FROM words WHERE id = t.issuer_id)",
        F::StartedBy => "(SELECT word FROM words WHERE id = t.started_by)",
        F::PolicyId => "(SELECT ref FROM named WHERE id = t.policy)",
        F::PolicyType => "(SELECT nullif(type, '') FROM named WHERE id = t.policy)",
        F::PolicyName => "(SELECT nullif(name, '') FROM named WHERE id = t.policy)",
        F::ResourceId => "(SELECT ref FROM named WHERE id = t.resource)",
        F::ResourceType => "(SELECT nullif(type, '') FROM named WHERE id = t.resource)",
        F::ResourceName => "(SELECT nullif(name, '') FROM named WHERE id = t.resource)",
        F::ParentId => "(SELECT nullif(ref, '') FROM named WHERE id = t.parent)",
        F::ParentType => "(SELECT nullif(type, '') FROM named WHERE id = t.parent)",
        F::ParentValue => "(SELECT nullif(name, '') FROM named WHERE id = t.parent)",
        F::ExecutorId => "(SELECT word FROM words WHERE id = s.executor_id)",
        F::AffinityAgent => "(SELECT word FROM words WHERE id = t.affinity_agent)",
        F::AffinityCluster => "(SELECT word FROM words WHERE id = t.affinity_cluster)",
        F::WorkflowId => "t.workflow_id",
        F::Tag => "(SELECT word FROM words WHERE id = t.tags)",
        F::CancelRequested => "s.cancel_requested",
        F::CreatedAt => "t.created_at",
        F::EnqueuedAt => "s.enqueued_at",
        F::AssignedAt => "s.assigned_at",
        F::StartedAt => "s.started_at",
        F::UpdatedAt => "s.updated_at",
        F::CompletedAt => "s.completed_at",
        F::DeletedAt => "s.deleted_at",
    }
}

fn activity_column(field: ActivityField) -> String {
    use ActivityField as F;
    let shown = |of_root: &str, of_step: &str| format!("CASE a.root WHEN 1 THEN {of_root} ELSE a.{of_step} END");
    let word = |column: String| format!("(SELECT word FROM words WHERE id = {column})");
    match field {
        F::Id => "a.id".to_owned(),
        F::Uuid => "a.uuid".to_owned(),
        F::TaskId => "a.task".to_owned(),
        F::Parent => "a.parent".to_owned(),
        F::Root => "a.root".to_owned(),
        F::CreatedAt => "a.created_at".to_owned(),
        F::Type => word(shown("t.type", "type")),
        F::State => shown("s.state", "state"),
        F::Result => shown("s.result_code", "result_code"),
        F::Sustainable => {
            shown("(SELECT coalesce(word ->> '$.sustainable', 0) FROM words WHERE id = t.rules)", "sustainable")
        }
        F::Tag => word(shown("t.tags", "tags")),
        F::StartedAt => shown("s.started_at", "started_at"),
        F::UpdatedAt => shown("s.updated_at", "updated_at"),
        F::CompletedAt => shown("s.completed_at", "completed_at"),
        F::Tenant
        | F::StartedBy
        | F::PolicyId
        | F::PolicyType
        | F::PolicyName
        | F::ResourceId
        | F::ResourceType
        | F::ResourceName
        | F::WorkflowId
        | F::DeletedAt => field.of_task().map_or("NULL", task_column).to_owned(),
    }
}

fn record_column(field: RecordField, kind: &RecordKind) -> String {
    use RecordField as F;
    match field {
        F::Id | F::Tenant | F::CreatedAt | F::UpdatedAt => format!("r.{}", field.name()),
        own if kind.own_fields().contains(&own) => format!("r.{}", own.name()),
        _ => "NULL".to_owned(),
    }
}

/// Columns that every row has a value in.
const NEVER_NULL: &[&str] = &[
    "t.id",
    "t.uuid",
    "t.priority",
    "t.seeding",
    "t.created_at",
    "s.state",
    "s.enqueued_at",
    "s.updated_at",
    "s.cancel_requested",
    STANDING,
    "(s.completed_at IS NOT NULL)",
    "a.id",
    "a.uuid",
    "a.task",
    "a.root",
    "a.created_at",
    "r.id",
    "r.tenant",
    "r.created_at",
    "r.updated_at",
];

/// How the rows of a scope are found.
pub(super) enum Reach<'a> {
    /// All there are.
    Everything,
    /// Those of one tenant, along its index: what is newest need not be sorted.
    One(Value),
    /// Those of several tenants, gathered from each and sorted.
    Gathered(&'a Scope),
    /// Those of several tenants, as they come along in the order or in a time that is asked for; the others are passed
    /// over.
    Passed(&'a Scope),
}

/// Parts of a statement, and what is bound to them.
pub(super) struct Builder<F> {
    source: Source<F>,
    conditions: Vec<String>,
    params: Vec<Value>,
    /// Fields that the rows have a value in because the filter asks for one.
    present: Vec<F>,
}

impl<F: Field> Builder<F> {
    /// All rows within the scope. The tenant is asked for first: nothing outside it is ever counted.
    pub(super) fn within(scope: &Scope, source: Source<F>) -> Builder<F> {
        Builder::by(if scope.is_everything() { Reach::Everything } else { Reach::Gathered(scope) }, source)
    }

    /// All rows within reach.
    pub(super) fn by(reach: Reach<'_>, source: Source<F>) -> Builder<F> {
        let mut builder = Builder { source, conditions: Vec::new(), params: Vec::new(), present: Vec::new() };
        // Tasks, with activities and without, have the number of their tenant; records have its id.
        let tenant = if builder.source.from.contains("tasks t ") { ("t.tenant", "number") } else { ("r.tenant", "id") };
        let condition = match reach {
            Reach::Everything => return builder,
            Reach::One(id) if tenant.1 == "id" => format!("{} = {}", tenant.0, builder.bind(id)),
            Reach::One(id) => format!("{} = (SELECT number FROM tenants WHERE id = {})", tenant.0, builder.bind(id)),
            Reach::Gathered(scope) => builder.in_scope(scope, tenant),
            // The plus keeps the index of tenants from being used.
            Reach::Passed(scope) => format!("+{}", builder.in_scope(scope, tenant)),
        };
        builder.conditions.push(condition);
        builder
    }

    /// The condition that a tenant lies within the scope.
    fn in_scope(&mut self, scope: &Scope, (column, key): (&str, &str)) -> String {
        let (from, to) = locators(scope);
        let (from, to) = (self.bind(Value::Text(from)), self.bind(Value::Text(to)));
        format!("{column} IN (SELECT {key} FROM tenants WHERE locator >= {from} AND locator < {to})")
    }

    /// Only rows that match.
    pub(super) fn matching(mut self, filter: &Filter<F>) -> Self {
        for clause in filter.clauses() {
            let condition = self.clause(clause);
            self.conditions.push(condition);
            if *clause.test() != Test::Absent {
                self.present.push(clause.field());
            }
        }
        for choice in filter.choices() {
            let way = |b: &mut Self, way: &Vec<Clause<F>>| all(way.iter().map(|clause| b.clause(clause)).collect());
            let ways = any(choice.ways().iter().map(|w| way(&mut self, w)).collect());
            // Of an absent value a test may be unknown, and then the way is not open.
            self.conditions.push(if choice.wanted() { ways } else { format!("({ways}) IS NOT TRUE") });
        }
        self
    }

    fn clause(&mut self, clause: &Clause<F>) -> String {
        let column = self.column(clause.field());
        self.test(&column, clause.field().kind() == FieldKind::Texts, clause.test())
    }

    /// Only rows behind this place.
    pub(super) fn behind(mut self, order: &Order<F>, key: &Key) -> Self {
        let mut ways = Vec::new();
        let mut equal = Vec::new();
        for ((field, direction), value) in order.terms().iter().zip(&key.0) {
            let column = self.column(*field);
            let Some(value) = value else {
                // Absent values are last, so nothing of this field is behind them.
                equal.push(format!("{column} IS NULL"));
                continue;
            };
            let value = self.bind(stored(&column, value));
            let sign = if *direction == Direction::Desc { '<' } else { '>' };
            let never_absent = NEVER_NULL.contains(&column.as_str()) || self.present.contains(field);
            if ways.is_empty() && equal.is_empty() && never_absent {
                // One range, so that an index is entered at the place and not read from its beginning. Of two ranges of
                // one column SQLite takes the first.
                self.conditions.insert(0, format!("{column} {sign}= {value}"));
            }
            // The plus keeps these from being answered one by one through indexes: then all of them would be sorted.
            let behind = if never_absent {
                format!("+{column} {sign} {value}")
            } else {
                format!("(+{column} {sign} {value} OR +{column} IS NULL)")
            };
            ways.push(all(equal.iter().cloned().chain([behind]).collect()));
            equal.push(format!("+{column} = {value}"));
        }
        self.conditions.push(any(ways));
        self
    }

    /// `FROM ... WHERE ...`
    pub(super) fn rows(&self) -> String {
        format!("FROM {} WHERE {}", self.source.from, all(self.conditions.clone()))
    }

    /// `ORDER BY ...`
    pub(super) fn sorted(&self, order: &Order<F>) -> String {
        let term = |(field, direction): &(F, Direction)| {
            let direction = if *direction == Direction::Desc { "DESC" } else { "ASC" };
            // An index that ends with the id gives the order as it is; where absent ids would come asks SQLite to sort.
            let absent = if *field == F::ID { "" } else { " NULLS LAST" };
            format!("{} {direction}{absent}", self.column(*field))
        };
        // Behind the id nothing differs any more.
        let until_id = order.terms().iter().position(|(f, _)| *f == F::ID).map_or(order.terms().len(), |i| i + 1);
        let terms: Vec<_> = order.terms()[..until_id].iter().map(term).collect();
        format!("ORDER BY {}", terms.join(", "))
    }

    /// The expression of a field.
    pub(super) fn column(&self, field: F) -> String {
        (self.source.column)(field, &self.source.kind)
    }

    /// A place in the text for a value.
    pub(super) fn bind(&mut self, value: Value) -> String {
        self.params.push(value);
        format!("?{}", self.params.len())
    }

    /// What is bound, in its order.
    pub(super) fn params(&self) -> &[Value] {
        &self.params
    }

    fn test(&mut self, column: &str, several: bool, test: &Test) -> String {
        match test {
            Test::Present => format!("{column} IS NOT NULL"),
            Test::Absent => format!("{column} IS NULL"),
            Test::AnyOf(patterns) if several => {
                let one = self.any_of("j.value", patterns);
                format!("EXISTS (SELECT 1 FROM json_each({column}) j WHERE {one})")
            }
            Test::AnyOf(patterns) => self.any_of(column, patterns),
            Test::NoneOf(patterns) if several => {
                let one = self.any_of("j.value", patterns);
                format!("({column} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM json_each({column}) j WHERE {one}))")
            }
            // Of an absent value every pattern is unknown, so it passes neither this nor its opposite.
            Test::NoneOf(patterns) => format!("NOT {}", self.any_of(column, patterns)),
            Test::Range { from, to } => {
                let mut bounds = Vec::new();
                match from {
                    Bound::Included(v) => bounds.push(format!("{column} >= {}", self.bind(stored(column, v)))),
                    Bound::Excluded(v) => bounds.push(format!("{column} > {}", self.bind(stored(column, v)))),
                    Bound::Unbounded => {}
                }
                match to {
                    Bound::Included(v) => bounds.push(format!("{column} <= {}", self.bind(stored(column, v)))),
                    Bound::Excluded(v) => bounds.push(format!("{column} < {}", self.bind(stored(column, v)))),
                    Bound::Unbounded => {}
                }
                all(bounds)
            }
        }
    }

    fn any_of(&mut self, column: &str, patterns: &[Pattern]) -> String {
        let mut equal = Vec::new();
        let mut ways = Vec::new();
        for pattern in patterns {
            let (function, part) = match pattern {
                Pattern::Is(value) => {
                    equal.push(self.bind(stored(column, value)));
                    continue;
                }
                Pattern::IsUuid(id) => {
                    let id = self.bind(rows::uuid(*id));
                    ways.push(format!("({column} = {id} COLLATE NOCASE)"));
                    continue;
                }
                Pattern::Same(part) => ("folded_is", part),
                Pattern::Contains(part) => ("folded_contains", part),
                Pattern::StartsWith(part) => ("folded_starts", part),
                Pattern::EndsWith(part) => ("folded_ends", part),
            };
            let part = self.bind(Value::Text(part.clone()));
            // Whole numbers are taken as their digits.
            ways.push(format!("{function}(CAST({column} AS TEXT), {part})"));
        }
        if !equal.is_empty() {
            ways.push(format!("({column} IN ({}))", equal.join(", ")));
        }
        any(ways)
    }
}

/// A value as the column has it: tasks and activities have their own uuids as bytes, everything else has uuids as text.
fn stored(column: &str, value: &query::Value) -> Value {
    match value {
        query::Value::Uuid(id) if column.ends_with(".uuid") => rows::uuid_bytes(*id),
        other => rows::value(other),
    }
}

/// The range of locators in a scope: all that begin like its own. The character behind `/` is `0`.
pub(super) fn locators(scope: &Scope) -> (String, String) {
    let from = scope.locator().to_owned();
    let to = format!("{}0", from.trim_end_matches('/'));
    (from, to)
}

fn all(conditions: Vec<String>) -> String {
    join(conditions, " AND ").unwrap_or_else(|| "TRUE".to_owned())
}

fn any(conditions: Vec<String>) -> String {
    join(conditions, " OR ").unwrap_or_else(|| "FALSE".to_owned())
}

/// Joins in halves: SQLite refuses expressions that are nested a thousand deep, which a plain list would be.
fn join(mut conditions: Vec<String>, with: &str) -> Option<String> {
    if conditions.len() <= 1 {
        return conditions.pop();
    }
    let half = conditions.split_off(conditions.len() / 2);
    Some(format!("({}{with}{})", join(conditions, with)?, join(half, with)?))
}
