//! Operations: the handles that calls which change something answer with. A handle is written in the commit that makes
//! the change; it is done at once, or ends as its task does. A call that is repeated with its key finds the first one's.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

use domain::operation::{About, Ended, IDEMPOTENT_FOR, Idempotency, Operation, OperationKind};
use domain::query::{Filter, Query, RecordField, Slice, Test, Value};
use domain::record::{Record, RecordKind};
use domain::task::{ResultCode, State, Task, TaskId, TaskRef};
use domain::{Caller, Code, Error, Result, Right, Scope, Timestamp, Uuid, if_found};
use ledger::{Expect, Stored, Write, Written};

use super::Service;

/// How often a commit is tried anew when somebody else came between.
const ATTEMPTS: usize = 10;

/// An operation, and the task that does it as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationView {
    /// The operation.
    pub operation: Operation,
    /// Its task; none where it was done in the call, or where the task is no longer kept.
    pub task: Option<Task>,
    /// How far it is, in percent; it never falls.
    pub percent: f64,
}

/// What a call changes, to be written together with its handle.
pub(super) struct Change {
    pub(super) kind: OperationKind,
    /// The owner of what is changed.
    pub(super) tenant: Uuid,
    pub(super) about: About,
    /// The task that does it; none = it is done with the commit.
    pub(super) task: Option<Uuid>,
    /// The policy as the call leaves it, where that is the answer.
    pub(super) policy: Option<domain::policy::Policy>,
    /// What the audit shall name.
    pub(super) object: (Uuid, String),
    /// What the audit shall say of it; null = nothing more.
    pub(super) detail: serde_json::Value,
    pub(super) writes: Vec<Write>,
}

impl Change {
    pub(super) fn new(kind: OperationKind, tenant: Uuid, about: About, object: (Uuid, String)) -> Change {
        let detail = serde_json::Value::Null;
        Change { kind, tenant, about, task: None, policy: None, object, detail, writes: Vec::new() }
    }
}

/// The right that a call of this kind needs, and that cancelling it needs.
#[must_use]
pub fn right_of(kind: OperationKind) -> Right {
    match kind {
        OperationKind::ApplyPolicy | OperationKind::RevokePolicy | OperationKind::ActivateProvider => Right::Operate,
        _ => Right::Edit,
    }
}

impl Service {
    /// One operation.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn operation(&self, caller: &Caller, id: Uuid) -> Result<OperationView> {
        let scope = caller.may(Right::View)?;
        let operation = self.ledger.get::<Operation>(scope, id).await?.value;
        self.operation_view(operation).await
    }

    /// Operations that match.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn operations(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<OperationView>> {
        let slice = self.ledger.list::<Operation>(caller.may(Right::View)?, query).await?;
        let mut items = Vec::with_capacity(slice.items.len());
        for stored in slice.items {
            items.push(self.operation_view(stored.value).await?);
        }
        Ok(Slice { items, next: slice.next, total: slice.total })
    }

    /// The operation of a call that was made before with this key, as it is now.
    ///
    /// # Errors
    /// `invalid_field` about `idempotency-key` when the key stood for another request.
    pub async fn repeated(&self, key: &Idempotency) -> Result<Option<OperationView>> {
        // The key names the credential, so whoever knows it sees its own.
        let found = self.ledger.find::<Operation>(&Scope::everything(), &key.key).await?;
        let Some(found) = found.filter(|o| counts(&o.value, self.moment().now)) else { return Ok(None) };
        if found.value.idempotency.as_ref().is_some_and(|i| i.request != key.request) {
            return Err(Error::invalid(
                "idempotency-key",
                "the key was used for another request before; take a new one",
            ));
        }
        self.operation_view(found.value).await.map(Some)
    }

    /// Cancels what an operation does, as far as it is not done; an operation that is done stays as it is.
    ///
    /// # Errors
    /// `not_found`, `forbidden` without the right that the call needed, `not_cancellable`.
    pub async fn cancel_operation(&self, caller: &Caller, id: Uuid) -> Result<OperationView> {
        let found = self.operation(caller, id).await?;
        caller.may(right_of(found.operation.kind))?;
        let Some(task) = found.task.as_ref().filter(|t| t.state() != State::Completed) else { return Ok(found) };
        match self.cancel_task(caller, TaskRef::Id(task.id)).await {
            // It ended just now.
            Err(e) if e.code == Code::AlreadyCompleted => {}
            other => drop(other?),
        }
        self.operation(caller, id).await
    }

    /// Makes a change together with its handle, again from the start when somebody came between. `plan` reads what is there
    /// and says what is to be written.
    ///
    /// # Errors
    /// Those of `plan` and of the ledger.
    pub(super) async fn operate<F: Future<Output = Result<Change>>>(
        &self,
        caller: &Caller,
        scope: &Scope,
        key: Option<Idempotency>,
        plan: impl Fn() -> F,
    ) -> Result<OperationView> {
        let mut attempts = 0..ATTEMPTS;
        loop {
            let change = match plan().await {
                Ok(change) => change,
                // The same call at the same time may have changed what this one found.
                Err(e) => {
                    return match &key {
                        Some(key) => self.repeated(key).await?.ok_or(e),
                        None => Err(e),
                    };
                }
            };
            match self.operate_once(caller, scope, key.clone(), change).await {
                Err(e) if overtaken(e.code) && attempts.next().is_some() => {
                    // The same call at the same time, on another connection.
                    if let Some(key) = &key
                        && let Some(first) = self.repeated(key).await?
                    {
                        return Ok(first);
                    }
                }
                other => return other,
            }
        }
    }

    async fn operate_once(
        &self,
        caller: &Caller,
        scope: &Scope,
        key: Option<Idempotency>,
        change: Change,
    ) -> Result<OperationView> {
        let Change { kind, tenant, about, task, policy, object: (object, name), detail, mut writes } = change;
        let moment = self.moment();
        if let Some(key) = &key
            && let Some(Stored { rev, mut value }) =
                self.ledger.find::<Operation>(&Scope::everything(), &key.key).await?
            && !counts(&value, moment.now)
        {
            // Its time is over, and the key is free again.
            value.idempotency = None;
            writes.insert(0, Write::Put(Box::new(value.into()), Expect::Rev(rev)));
        }
        let ended = match (task, policy) {
            (Some(_), _) => None,
            (None, Some(policy)) => Some(Ended::Policy(Box::new(policy))),
            (None, None) => Some(Ended::Done),
        };
        let id = Uuid::now_v7();
        let operation = Operation {
            id,
            tenant,
            kind,
            created_by: created_by(caller),
            about,
            task,
            ended,
            idempotency: key,
            created_at: moment.now,
            updated_at: moment.now,
        };
        writes.push(Write::Put(Box::new(operation.into()), Expect::New));
        writes.push(self.audit_entry_of(caller, kind.event(), tenant, object.to_string(), name, detail));
        let committed = self.ledger.commit(scope, moment, writes).await?;
        self.deliver(&committed);
        let made = committed.written.into_iter().find_map(|written| match written {
            Written::Record(stored) => match stored.value {
                Record::Operation(operation) if operation.id == id => Some(operation),
                _ => None,
            },
            _ => None,
        });
        let made = made.ok_or_else(|| Error::new(Code::Internal, "the new operation is not in the commit"))?;
        self.operation_view(made).await
    }

    /// Removes operations that were done before this time and whose task is not kept any more; one that goes on is kept
    /// (contract for Yandex clients, Y33).
    ///
    /// # Errors
    /// Those of the ledger.
    pub(crate) async fn clean_operations(&self, done_before: Timestamp) -> Result<()> {
        let everything = Scope::everything();
        let to = Bound::Excluded(Value::Time(done_before));
        let old = Filter::all().and(RecordField::CreatedAt, Test::Range { from: Bound::Unbounded, to })?;
        for Stored { value: operation, .. } in self.ledger.all::<Operation>(&everything, old).await? {
            if let Some(task) = operation.task
                && if_found(self.ledger.task(&everything, TaskRef::Uuid(task)).await)?.is_some()
            {
                continue;
            }
            let gone = vec![Write::Remove(RecordKind::Operation, operation.id)];
            self.ledger.commit(&everything, self.moment(), gone).await?;
        }
        Ok(())
    }

    async fn operation_view(&self, operation: Operation) -> Result<OperationView> {
        let mut task = match operation.task.filter(|_| operation.ended.is_none()) {
            Some(task) => if_found(self.ledger.task(&Scope::everything(), TaskRef::Uuid(task)).await)?,
            None => None,
        };
        if let Some(task) = &mut task {
            self.progress.show(task);
        }
        let percent = task.as_ref().map_or(100.0, |task| self.percent_of(task));
        Ok(OperationView { operation, task, percent })
    }

    /// How far a task is, in percent. What was shown once does not fall when the task is begun anew.
    #[must_use]
    pub fn percent_of(&self, task: &Task) -> f64 {
        let ended = task.result().map(|r| r.code);
        if matches!(ended, Some(ResultCode::Ok | ResultCode::Warning)) {
            self.shown.forget(task.id);
            return 100.0;
        }
        let now = task
            .status
            .progress
            .as_ref()
            .filter(|p| p.total > 0)
            .map_or(0.0, |p| (p.current as f64 * 100.0 / p.total as f64).clamp(0.0, 100.0));
        self.shown.at_least(task.id, now)
    }
}

/// How far tasks were shown to be, while somebody follows them.
#[derive(Default)]
pub(super) struct Shown(Mutex<HashMap<TaskId, f64>>);

/// How many tasks are followed at once; beyond that, the oldest are forgotten.
const FOLLOWED: usize = 10_000;

impl Shown {
    fn at_least(&self, task: TaskId, percent: f64) -> f64 {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.len() >= FOLLOWED
            && let Some(oldest) = shown.keys().min().copied()
        {
            shown.remove(&oldest);
        }
        let most = shown.entry(task).or_insert(0.0);
        *most = most.max(percent);
        *most
    }

    fn forget(&self, task: TaskId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
    }
}

/// Whether what was planned no longer fits what is there: a record was changed, or a task that was to be cancelled has
/// ended or begun.
pub(super) fn overtaken(code: Code) -> bool {
    use Code::{AlreadyCompleted, AlreadyExists, NotCancellable, RevisionConflict};
    matches!(code, RevisionConflict | AlreadyExists | AlreadyCompleted | NotCancellable)
}

/// Whether a repeated call finds this operation.
fn counts(operation: &Operation, now: Timestamp) -> bool {
    operation.created_at.checked_add(IDEMPOTENT_FOR).is_ok_and(|end| now < end)
}

/// The id of whoever asks, as operations name it.
pub(super) fn created_by(caller: &Caller) -> String {
    match caller.actor.kind {
        domain::ActorKind::Server => caller.name.clone(),
        _ => caller.actor.id.to_string(),
    }
}
