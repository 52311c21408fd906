//! Reading all tasks quickly, for whoever makes something of every row: the two tables are walked side by side, each in
//! its own order, documents are passed over, and words are read once and kept.

use std::cell::{Cell, OnceCell};

use domain::query::{self, Read, TaskField};
use domain::task::{ResultCode, Standing, State};
use domain::{Result, Text, Timestamp, Uuid};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::{Sql, damaged};
use super::words::Db;
use crate::Rev;
use crate::index::Shown;

/// What is wished, as far as it can be asked for.
const TASKS: &str = "SELECT id, uuid, type, seeding, queue, priority, tenant, tags, workflow_id, issuer_id, started_by,
        policy, resource, affinity_agent, affinity_cluster, created_at, parent
    FROM tasks WHERE id > ? ORDER BY id LIMIT ?";
/// Where it is, as far as it can be asked for.
const STATUS: &str =
    "SELECT id, rev, state, cancel_requested, executor_id, enqueued_at, assigned_at, started_at, updated_at,
        completed_at, deleted_at, result_code
    FROM task_status WHERE id > ? ORDER BY id";

/// Reads tasks in the order of their numbers, and keeps words from one part to the next.
#[derive(Default)]
pub(super) struct Scanner {
    words: Vec<Option<Word>>,
    named: Vec<Option<[String; 3]>>,
}

/// A word; a list of tags is one, too, and is taken apart when it is asked for as such.
struct Word {
    text: String,
    tags: OnceCell<Vec<Text>>,
}

impl Scanner {
    /// At most `limit` tasks with numbers above `after`, in their order, with the revisions that changed them last; gives
    /// the last number, if there was one.
    ///
    /// # Errors
    /// Those of the file.
    pub(super) fn scan(
        &mut self,
        db: Db<'_>,
        after: i64,
        limit: usize,
        f: &mut dyn FnMut(i64, Rev, Shown<'_>),
    ) -> Result<Option<i64>> {
        let conn = db.conn;
        let (mut tasks, mut statuses) = (conn.prepare_cached(TASKS).sql()?, conn.prepare_cached(STATUS).sql()?);
        let (mut tasks, mut statuses) =
            (tasks.query(params![after, limit as i64]).sql()?, statuses.query([after]).sql()?);
        let (mut last, mut ahead) = (None, None);
        while let Some(row) = tasks.next().sql()? {
            let wish = Wish::of(row).sql()?;
            last = Some(wish.id);
            // Of two that belong together one is only missing after damage, which others look for.
            while ahead.as_ref().is_none_or(|status: &Status| status.id < wish.id) {
                match statuses.next().sql()? {
                    Some(row) => ahead = Some(Status::of(row).sql()?),
                    None => break,
                }
            }
            let Some(status) = ahead.take_if(|status| status.id == wish.id) else { continue };
            for id in wish.words.iter().chain([&status.executor]).flatten() {
                self.learn_word(conn, *id)?;
            }
            for id in [wish.policy, wish.resource, wish.parent].into_iter().flatten() {
                self.learn_named(conn, id)?;
            }
            let tenant = db.tenant(wish.tenant).optional().sql()?;
            let tenant = tenant.ok_or_else(|| damaged(format!("the tenant {} does not exist", wish.tenant)))?;
            // A word that is no list of tags is found while the row is shown.
            let wrong = Cell::new(false);
            let shown = Task { wish, status, tenant, scanner: self, wrong: &wrong };
            f(shown.wish.id, Rev(shown.status.rev), &|field| shown.read(field));
            if wrong.get() {
                return Err(damaged(format!("the task {} cannot be read", shown.wish.id)));
            }
        }
        if last.is_none() {
            // That was all.
            *self = Scanner::default();
        }
        Ok(last)
    }

    fn learn_word(&mut self, conn: &Connection, id: i64) -> Result<()> {
        let place = place(id)?;
        if self.words.get(place).is_some_and(Option::is_some) {
            return Ok(());
        }
        let mut statement = conn.prepare_cached("SELECT word FROM words WHERE id = ?").sql()?;
        let text = statement.query_row([id], |r| r.get(0)).optional().sql()?;
        let text = text.ok_or_else(|| damaged(format!("the word {id} does not exist")))?;
        if self.words.len() <= place {
            self.words.resize_with(place + 1, || None);
        }
        self.words[place] = Some(Word { text, tags: OnceCell::new() });
        Ok(())
    }

    fn learn_named(&mut self, conn: &Connection, id: i64) -> Result<()> {
        let place = place(id)?;
        if self.named.get(place).is_some_and(Option::is_some) {
            return Ok(());
        }
        let mut statement = conn.prepare_cached("SELECT ref, type, name FROM named WHERE id = ?").sql()?;
        let parts = statement.query_row([id], |r| Ok([r.get(0)?, r.get(1)?, r.get(2)?])).optional().sql()?;
        let parts = parts.ok_or_else(|| damaged(format!("the policy or resource {id} does not exist")))?;
        if self.named.len() <= place {
            self.named.resize_with(place + 1, || None);
        }
        self.named[place] = Some(parts);
        Ok(())
    }

    fn word(&self, id: Option<i64>) -> Option<&Word> {
        self.words.get(place(id?).ok()?)?.as_ref()
    }

    fn text(&self, id: Option<i64>) -> Read<'_> {
        self.word(id).map_or(Read::Absent, |word| Read::text(&word.text))
    }

    fn named(&self, id: Option<i64>, part: usize) -> Read<'_> {
        let named = id.and_then(|id| self.named.get(place(id).ok()?)?.as_ref());
        named.map_or(Read::Absent, |parts| Read::text(&parts[part]))
    }
}

/// Numbers are given out from 1 on without gaps, so that a list can be addressed by them; far more than there can be are a
/// sign of damage, and not of a need for memory.
fn place(id: i64) -> Result<usize> {
    usize::try_from(id)
        .ok()
        .filter(|place| *place < 1 << 32)
        .ok_or_else(|| damaged(format!("{id} is no number of a word")))
}

/// A task while it is shown.
struct Task<'s> {
    wish: Wish,
    status: Status,
    tenant: Uuid,
    scanner: &'s Scanner,
    wrong: &'s Cell<bool>,
}

impl Task<'_> {
    fn read(&self, field: TaskField) -> Read<'_> {
        use TaskField as F;
        use query::Cell;
        let Task { wish, status, scanner, .. } = self;
        let [kind, queue, tags, issuer, started_by, agent, cluster] = wish.words;
        match field {
            F::Id => Read::One(Cell::Int(wish.id)),
            F::Uuid => Read::One(Cell::Uuid(wish.uuid)),
            F::Type => scanner.text(kind),
            F::Queue => scanner.text(queue),
            F::Priority => Read::One(Cell::Enum(wish.priority)),
            F::State => Read::One(Cell::Enum(status.state)),
            F::Result => Read::opt(status.result.map(Cell::Enum)),
            F::Standing => Read::opt(status.standing().map(|s| Cell::Enum(s.ordinal()))),
            F::Over => Read::One(Cell::Bool(status.completed_at.is_some())),
            F::Seeding => Read::One(Cell::Bool(wish.seeding)),
            F::Tenant => Read::One(Cell::Uuid(self.tenant)),
            F::IssuerId => scanner.text(issuer),
            F::StartedBy => scanner.text(started_by),
            F::PolicyId => scanner.named(wish.policy, 0),
            F::PolicyType => scanner.named(wish.policy, 1),
            F::PolicyName => scanner.named(wish.policy, 2),
            F::ResourceId => scanner.named(wish.resource, 0),
            F::ResourceType => scanner.named(wish.resource, 1),
            F::ResourceName => scanner.named(wish.resource, 2),
            F::ParentId => scanner.named(wish.parent, 0),
            F::ParentType => scanner.named(wish.parent, 1),
            F::ParentValue => scanner.named(wish.parent, 2),
            F::ExecutorId => scanner.text(status.executor),
            F::AffinityAgent => scanner.text(agent),
            F::AffinityCluster => scanner.text(cluster),
            F::WorkflowId => Read::opt(wish.workflow_id.map(Cell::Int)),
            F::Tag => {
                let Some(word) = scanner.word(tags) else { return Read::Absent };
                let list = word.tags.get_or_init(|| serde_json::from_str(&word.text).unwrap_or_default());
                self.wrong.set(self.wrong.get() || list.is_empty());
                if list.is_empty() { Read::Absent } else { Read::Many(list) }
            }
            F::CancelRequested => Read::One(Cell::Bool(status.cancel_requested)),
            F::CreatedAt => time(Some(wish.created_at)),
            F::EnqueuedAt => time(Some(status.enqueued_at)),
            F::AssignedAt => time(status.assigned_at),
            F::StartedAt => time(status.started_at),
            F::UpdatedAt => time(Some(status.updated_at)),
            F::CompletedAt => time(status.completed_at),
            F::DeletedAt => time(status.deleted_at),
        }
    }
}

/// All 64-bit numbers of nanoseconds are times.
fn time(nanos: Option<i64>) -> Read<'static> {
    Read::time(nanos.and_then(|n| Timestamp::from_nanosecond(n.into()).ok()))
}

struct Wish {
    id: i64,
    uuid: Uuid,
    seeding: bool,
    priority: i64,
    tenant: i64,
    workflow_id: Option<i64>,
    policy: Option<i64>,
    resource: Option<i64>,
    parent: Option<i64>,
    created_at: i64,
    /// Type, queue, tags, issuer, starter, agent and group of agents.
    words: [Option<i64>; 7],
}

impl Wish {
    fn of(row: &Row<'_>) -> rusqlite::Result<Wish> {
        let uuid = match row.get_ref(1)? {
            ValueRef::Blob(bytes) => Uuid::from_slice(bytes).unwrap_or_default(),
            _ => Uuid::nil(),
        };
        Ok(Wish {
            id: row.get(0)?,
            uuid,
            seeding: row.get(3)?,
            priority: row.get(5)?,
            tenant: row.get(6)?,
            workflow_id: row.get(8)?,
            policy: row.get(11)?,
            resource: row.get(12)?,
            created_at: row.get(15)?,
            parent: row.get(16)?,
            words: [row.get(2)?, row.get(4)?, row.get(7)?, row.get(9)?, row.get(10)?, row.get(13)?, row.get(14)?],
        })
    }
}

struct Status {
    id: i64,
    rev: i64,
    state: i64,
    cancel_requested: bool,
    executor: Option<i64>,
    enqueued_at: i64,
    assigned_at: Option<i64>,
    started_at: Option<i64>,
    updated_at: i64,
    completed_at: Option<i64>,
    deleted_at: Option<i64>,
    result: Option<i64>,
}

impl Status {
    fn standing(&self) -> Option<Standing> {
        let state = State::from_ordinal(self.state)?;
        Some(Standing::of(state, self.result.and_then(ResultCode::from_ordinal)))
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<Status> {
        Ok(Status {
            id: row.get(0)?,
            rev: row.get(1)?,
            state: row.get(2)?,
            cancel_requested: row.get(3)?,
            executor: row.get(4)?,
            enqueued_at: row.get(5)?,
            assigned_at: row.get(6)?,
            started_at: row.get(7)?,
            updated_at: row.get(8)?,
            completed_at: row.get(9)?,
            deleted_at: row.get(10)?,
            result: row.get(11)?,
        })
    }
}
