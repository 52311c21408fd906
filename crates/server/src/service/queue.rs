//! Tasks as a durable queue: issuers create them, executors take them and report on them, over whatever API.

use std::time::Duration;

use domain::activity::{ActivityEvent, ActivityRef, ActivitySpec, ActivityView};
use domain::agent::{AGENT_QUEUE, is_agent_queue};
use domain::policy::{Application, Policy};
use domain::query::{Filter, RecordField, Value};
use domain::resource::Resource;
use domain::task::{Affinity, Event, Executor, LeaseToken, Named, State, Task, TaskRef, TaskSpec, kind};
use domain::tenant::TenantRef;
use domain::{Caller, Code, Error, Result, Right, Scope, Uuid, if_found};
use ledger::{Claim, Committed, Stored, Write, Written};
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Service;
use super::runs::{RUN_KEYS, Wish, backup_rules};
use crate::secrets::random_secret;

/// How many announcements a consumer may be behind before it simply looks.
const ANNOUNCED: usize = 256;

/// The type under which a backup policy stands on tasks that are no backups (contract for Acronis clients, D53).
pub(super) const MAINTENANCE: &str = "policy.protection.total";

/// Tells consumers that wait that there is something in a queue.
pub(super) struct Queues(broadcast::Sender<String>);

impl Default for Queues {
    fn default() -> Self {
        Queues(broadcast::Sender::new(ANNOUNCED))
    }
}

impl Queues {
    /// Announces the tasks of a commit that wait in a queue now.
    pub(super) fn announce(&self, committed: &Committed) {
        for written in &committed.written {
            if let Written::Task { task, changed: true } = written
                && task.state() == State::Enqueued
            {
                // Nobody waits, and that is fine.
                let _ = self.0.send(task.spec.queue.to_string());
            }
        }
    }
}

/// A wish to take tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// From these queues.
    pub queues: Vec<String>,
    /// Of these types; empty = any.
    pub types: Vec<String>,
    /// For this executor.
    pub executor: Executor,
    /// At most so many.
    pub max: usize,
    /// How long to wait for the first.
    pub wait: Duration,
}

impl Service {
    /// Creates a task, and tells whether it is new: the same wish with the same uuid again gives the task that exists.
    ///
    /// The issuer and, where it is left out, `started_by` follow from the caller. The names of a known resource and policy
    /// are filled in. A backup in the queue of our own agents becomes a run of the policy that protects the resource.
    ///
    /// # Errors
    /// `forbidden`, also for a tenant that the caller does not see; `invalid_field`; `already_exists` for a uuid of a
    /// different task; `state_conflict` while the former run of a backup is not done.
    pub async fn create_task(
        &self,
        caller: &Caller,
        tenant: Option<TenantRef>,
        mut spec: TaskSpec,
    ) -> Result<(Task, bool)> {
        let scope = caller.may(Right::Issue)?;
        let owner = match tenant {
            None => None,
            Some(wanted) => {
                let unseen =
                    || Error::new(Code::Forbidden, "the tenant is not in the caller's subtree").field("tenant");
                Some(self.find_tenant(caller, wanted).await?.ok_or_else(unseen)?.id)
            }
        };
        spec.tenant = owner.unwrap_or(caller.tenant());
        spec.issuer.id = caller.issuer_id().into();
        spec.started_by.get_or_insert_with(|| caller.name.as_str().into());
        // The same wish again means the same things, also if they have other names by now.
        if (spec.resource.is_some() || spec.policy.is_some())
            && let Some(before) = self.task_of(scope, spec.uuid).await?
        {
            fill_from(&mut spec.resource, before.spec.resource.as_ref());
            fill_from(&mut spec.policy, before.spec.policy.as_ref());
        }
        let resource = self.fill_resource(scope, &mut spec).await?;
        let policy = self.fill_policy(scope, &mut spec).await?;
        let ours = matches!(spec.kind.as_str(), kind::BACKUP | kind::RECOVERY | kind::FILE_RECOVERY);
        if ours && resource.is_none() {
            let field = if spec.resource.is_some() { "resource.id" } else { "resource" };
            return Err(Error::invalid(field, format!("a task of type '{}' needs a known resource", spec.kind))
                .hint("the id of a resource; `backstay resource list` shows them"));
        }
        if is_agent_queue(&spec.queue) {
            return match resource {
                Some(resource) if spec.kind == kind::BACKUP && spec.queue == AGENT_QUEUE => {
                    self.issue_backup(scope, owner, spec, &resource, policy.as_ref()).await
                }
                _ => Err(Error::invalid("queue", format!("the queue '{}' is for Backstay's own agents", spec.queue))
                    .hint("a task of type 'backup' can be created there; for a recovery there is the native API")),
            };
        }
        spec.validate()?;
        let writes = vec![Write::CreateTask(Box::new(spec))];
        let committed = self.ledger.commit(scope, self.moment(), writes).await?;
        self.deliver(&committed);
        created(committed)
    }

    /// The resource that the task names, if there is one; its missing names are filled in.
    async fn fill_resource(&self, scope: &Scope, spec: &mut TaskSpec) -> Result<Option<Resource>> {
        let Some(named) = &mut spec.resource else { return Ok(None) };
        let Some(known) = self.known::<Resource>(scope, named).await? else { return Ok(None) };
        fill(named, known.kind.name(), &known.name);
        Ok(Some(known))
    }

    async fn fill_policy(&self, scope: &Scope, spec: &mut TaskSpec) -> Result<Option<Policy>> {
        let Some(named) = &mut spec.policy else { return Ok(None) };
        let Some(known) = self.known::<Policy>(scope, named).await? else { return Ok(None) };
        fill(named, policy_type(&known, &spec.kind), &known.name);
        Ok(Some(known))
    }

    async fn known<E: domain::record::Entity>(&self, scope: &Scope, named: &Named) -> Result<Option<E>> {
        let Ok(id) = Uuid::parse_str(&named.id) else { return Ok(None) };
        Ok(if_found(self.ledger.get::<E>(scope, id).await)?.map(|s| s.value))
    }

    /// Runs a backup for an issuer: what is read, by which agent, and where it goes is the policy's and the resource's to
    /// say, never the issuer's. `owner` is the tenant that the issuer named.
    async fn issue_backup(
        &self,
        scope: &Scope,
        owner: Option<Uuid>,
        spec: TaskSpec,
        resource: &Resource,
        policy: Option<&Policy>,
    ) -> Result<(Task, bool)> {
        check_backup(&spec, owner, resource)?;
        if let Some(before) = self.task_of(scope, spec.uuid).await? {
            return same_backup(before, &spec, resource);
        }
        let app = self.application_to_run(scope, &spec, resource, policy).await?;
        let wish = Wish {
            uuid: spec.uuid,
            priority: spec.priority,
            tags: spec.tags.clone(),
            context: spec.context.clone(),
            workflow_id: spec.workflow_id,
            issuer: spec.issuer.clone(),
            rules: spec.rules.clone(),
        };
        match self.run_for(scope, app.value.id, spec.started_by.clone(), wish).await {
            Ok(task) => Ok((task, true)),
            Err(e) => {
                // The run that is not done may be this one, asked for twice at the same time.
                let before = self.task_of(scope, spec.uuid).await?;
                before.map_or(Err(e), |before| same_backup(before, &spec, resource))
            }
        }
    }

    /// The policy that protects the resource, or the one of them that is named.
    async fn application_to_run(
        &self,
        scope: &Scope,
        spec: &TaskSpec,
        resource: &Resource,
        policy: Option<&Policy>,
    ) -> Result<Stored<Application>> {
        let filter = Filter::all().is(RecordField::Resource, Value::Uuid(resource.id))?;
        let mut applied: Vec<Stored<Application>> = self.ledger.all(scope, filter).await?;
        if let Some(named) = &spec.policy {
            applied.retain(|a| policy.is_some_and(|p| p.id == a.value.policy));
            if applied.is_empty() {
                let message = format!("the policy '{}' is not applied to the resource", named.id);
                return Err(Error::invalid("policy.id", message).hint("apply it first: `backstay policy apply`"));
            }
        }
        let several = applied.len() > 1;
        applied.pop().filter(|_| !several).ok_or_else(|| {
            let message = if several { "several policies protect it" } else { "no policy protects the resource" };
            Error::invalid("policy", message).hint("name the policy to run: {\"policy\": {\"id\": ..}}")
        })
    }

    async fn task_of(&self, scope: &Scope, uuid: Uuid) -> Result<Option<Task>> {
        if_found(self.ledger.task(scope, TaskRef::Uuid(uuid)).await)
    }

    /// Takes tasks from queues for an executor, and waits for the first if there is none, but no longer than until `stop`.
    /// Each is handed out under a new lease, which every report on it must carry.
    ///
    /// # Errors
    /// `forbidden`, also for an executor that the caller may not act for; `invalid_field` for a queue of our own agents.
    pub async fn take(&self, caller: &Caller, take: Take, stop: &CancellationToken) -> Result<Vec<Task>> {
        let scope = caller.may(Right::Consume)?;
        if let Some(bound) = &caller.executor
            && *bound != take.executor.id
        {
            return Err(Error::new(Code::Forbidden, format!("the credential is bound to the executor '{bound}'"))
                .field("consumer.id"));
        }
        if let Some(queue) = take.queues.iter().find(|q| is_agent_queue(q)) {
            return Err(Error::invalid("queues", format!("the queue '{queue}' is for Backstay's own agents"))
                .hint("put your tasks into a queue of another name"));
        }
        let until = Instant::now() + take.wait;
        let mut announced = self.queues.0.subscribe();
        loop {
            let taken = self.try_take(scope, &take).await?;
            if !taken.is_empty() {
                return Ok(taken);
            }
            loop {
                // Only here it may be broken off: what was handed out must reach who asked for it.
                let heard = tokio::select! {
                    heard = announced.recv() => heard,
                    () = tokio::time::sleep_until(until) => return Ok(Vec::new()),
                    () = stop.cancelled() => return Ok(Vec::new()),
                };
                match heard {
                    Ok(queue) if !take.queues.contains(&queue) => {}
                    Err(broadcast::error::RecvError::Closed) => return Ok(Vec::new()),
                    // Something came, or so much that we lost count.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => break,
                }
            }
        }
    }

    async fn try_take(&self, scope: &Scope, take: &Take) -> Result<Vec<Task>> {
        let claim = Claim {
            queues: take.queues.clone(),
            types: take.types.clone(),
            executor: take.executor.clone(),
            leases: (0..take.max).map(|_| LeaseToken(random_secret())).collect(),
        };
        let committed = self.ledger.commit(scope, self.moment(), vec![Write::Claim(claim)]).await?;
        self.deliver(&committed);
        Ok(committed
            .written
            .into_iter()
            .find_map(|w| if let Written::Claimed(t) = w { Some(t) } else { None })
            .unwrap_or_default())
    }

    /// Lets an executor report on a task; the event carries its lease.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `lease_lost`, `state_conflict`, `already_completed`, `invalid_field`.
    pub async fn report_task(&self, caller: &Caller, task: TaskRef, event: Event) -> Result<Task> {
        let scope = caller.may(Right::Consume)?;
        let committed = self.hear(scope, self.moment(), vec![Write::Task(task, event)]).await?;
        self.deliver(&committed);
        committed.task().cloned().ok_or_else(|| Error::new(Code::Internal, "the task is not in the commit"))
    }

    /// Lets an executor begin a step of a task it has.
    ///
    /// # Errors
    /// Those of `report_task`.
    pub async fn create_activity(
        &self,
        caller: &Caller,
        task: TaskRef,
        lease: LeaseToken,
        spec: ActivitySpec,
        start: bool,
    ) -> Result<ActivityView> {
        let write = Write::CreateActivity { task, lease, spec: Box::new(spec), start };
        self.write_activity(caller, write).await
    }

    /// Lets an executor report on a step of a task it has.
    ///
    /// # Errors
    /// Those of `report_task`.
    pub async fn report_activity(
        &self,
        caller: &Caller,
        activity: ActivityRef,
        lease: LeaseToken,
        event: ActivityEvent,
    ) -> Result<ActivityView> {
        self.write_activity(caller, Write::Activity { activity, lease, event }).await
    }

    async fn write_activity(&self, caller: &Caller, write: Write) -> Result<ActivityView> {
        let scope = caller.may(Right::Consume)?;
        let committed = self.hear(scope, self.moment(), vec![write]).await?;
        self.deliver(&committed);
        committed
            .written
            .into_iter()
            .find_map(|w| if let Written::Activity(view) = w { Some(*view) } else { None })
            .ok_or_else(|| Error::new(Code::Internal, "the activity is not in the commit"))
    }
}

/// How a policy's type stands on a task: that of a backup policy is kept for its backups, so that who asks for backups
/// finds the backup runs and nothing else.
pub(super) fn policy_type<'a>(policy: &'a Policy, task: &str) -> &'a str {
    if policy.kind == kind::BACKUP && task != kind::BACKUP { MAINTENANCE } else { &policy.kind }
}

/// Refuses what an issuer cannot say of a backup.
fn check_backup(spec: &TaskSpec, owner: Option<Uuid>, resource: &Resource) -> Result<()> {
    if !spec.argument.is_null() {
        return Err(Error::invalid("argument", "the argument of a backup follows from its policy")
            .hint("leave it out; or use a queue of your own executors"));
    }
    if owner.is_some_and(|id| id != resource.tenant) {
        return Err(Error::invalid("tenant", "a backup belongs to the tenant of its resource").hint("leave it out"));
    }
    if spec.affinity != Affinity::default() {
        return Err(
            Error::invalid("affinity", "which agent makes a backup follows from its resource").hint("leave it out")
        );
    }
    if !spec.context.is_null() && !spec.context.is_object() {
        return Err(Error::invalid("context", "the context of a backup is an object")
            .hint("put what you have to say into a member of it"));
    }
    Ok(())
}

/// The run that was asked for before, if it is the same wish again.
fn same_backup(before: Task, spec: &TaskSpec, resource: &Resource) -> Result<(Task, bool)> {
    let (old, new) = (&*before.spec, spec);
    let is = |named: &Option<Named>, id: Uuid| {
        named.as_ref().and_then(|n| Uuid::parse_str(&n.id).ok()).is_some_and(|i| i == id)
    };
    let policy = new.policy.as_ref().map(|n| Uuid::parse_str(&n.id).unwrap_or_default());
    // Where it waits is ours to say.
    let same = (&old.kind, old.priority, &old.tags) == (&new.kind, new.priority, &new.tags)
        && is_agent_queue(&old.queue)
        && (old.workflow_id, &old.started_by, &old.issuer) == (new.workflow_id, &new.started_by, &new.issuer)
        && is(&old.resource, resource.id)
        && policy.is_none_or(|id| is(&old.policy, id))
        && old.rules == backup_rules(&new.rules)
        && same_context(&old.context, &new.context);
    if same {
        return Ok((before, false));
    }
    let message = format!("a task with the uuid {} exists and differs", spec.uuid);
    Err(Error::new(Code::AlreadyExists, message).field("uuid"))
}

/// Whether a run's context is what would be made of this wish: its members, and ours beside them.
fn same_context(old: &serde_json::Value, wished: &serde_json::Value) -> bool {
    let Some(old) = old.as_object() else { return false };
    let none = serde_json::Map::new();
    let wished = wished.as_object().unwrap_or(&none);
    wished.iter().all(|(key, value)| old.get(key) == Some(value))
        && old.keys().all(|key| wished.contains_key(key) || RUN_KEYS.contains(&key.as_str()))
}

/// Fills what was left out from the same thing as it was named before.
fn fill_from(named: &mut Option<Named>, before: Option<&Named>) {
    if let (Some(named), Some(before)) = (named, before)
        && named.id == before.id
    {
        fill(named, &before.kind, &before.name);
    }
}

fn fill(named: &mut Named, kind: &str, name: &str) {
    if named.kind.is_empty() {
        named.kind = kind.into();
    }
    if named.name.is_empty() {
        named.name = name.into();
    }
}

fn created(committed: Committed) -> Result<(Task, bool)> {
    let task = committed.written.into_iter().find_map(|w| match w {
        Written::Task { task, changed } => Some((task, changed)),
        _ => None,
    });
    task.ok_or_else(|| Error::new(Code::Internal, "the new task is not in the commit"))
}
