//! Policies are applied to resources and taken from them. Where an operation answers, both are tasks that the server carries
//! out itself, so that they show in the history, and no agent has to be there.

use std::collections::HashSet;

use domain::archive::Archive;
use domain::operation::{About, Idempotency, OperationKind};
use domain::policy::{Agenda, Application, Policy};
use domain::query::{Filter, Page, Pattern, Query, RecordField, TaskField, Test, Value};
use domain::record::RecordKind;
use domain::resource::{Registration, Resource};
use domain::task::{Event, Named, Outcome, OutcomeCode, State, Task, TaskError, TaskRef, TaskSpec, kind};
use domain::tenant::Tenant;
use domain::{Caller, Code, Error, Result, Right, Scope, Uuid, if_found};
use ledger::{Expect, Stored, Write};

use super::agents::{ATTEMPTS, came_between};
use super::operations::Change;
use super::runs::named_resource;
use super::server_tasks::{SERVER_QUEUE, carried_out, done, named_policy, server_task};
use super::{OperationView, Service};

/// An application with what is known of its policy, its resource and its runs.
#[derive(Debug, Clone, PartialEq)]
pub struct ApplicationView {
    /// The application.
    pub application: Application,
    /// The policy.
    pub policy: Policy,
    /// The resource.
    pub resource: Resource,
    /// Whether a backup of it is under way.
    pub running: bool,
}

impl Service {
    /// The applications that match, with policy, resource and runs, oldest first.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn application_views(
        &self,
        caller: &Caller,
        filter: Filter<RecordField>,
    ) -> Result<Vec<ApplicationView>> {
        let scope = caller.may(Right::View)?;
        let everything = Scope::everything();
        let mut applications = self.ledger.all::<Application>(scope, filter).await?;
        applications.sort_by_key(|a| (a.value.created_at, a.value.id));
        let policies = self.by_id::<Policy>(&everything, applications.iter().map(|a| a.value.policy)).await?;
        let resources = self.by_id::<Resource>(&everything, applications.iter().map(|a| a.value.resource)).await?;
        let running = self.running_backups(scope).await?;
        let view = |application: Application| {
            let (policy, resource) = (policies.get(&application.policy)?, resources.get(&application.resource)?);
            let running = running.contains(&(application.policy, application.resource));
            Some(ApplicationView { application, policy: policy.clone(), resource: resource.clone(), running })
        };
        Ok(applications.into_iter().filter_map(|a| view(a.value)).collect())
    }

    /// The policies and resources of backups that are under way: as many as agents have hands.
    async fn running_backups(&self, scope: &Scope) -> Result<HashSet<(Uuid, Uuid)>> {
        let states = [State::Started, State::Paused].map(|s| Pattern::Is(Value::Enum(s.ordinal())));
        let filter = Filter::all()
            .is(TaskField::Type, Value::Text(kind::BACKUP.to_owned()))?
            .and(TaskField::State, Test::AnyOf(states.to_vec()))?;
        let mut query = Query::newest(filter, domain::query::MAX_LIMIT);
        let mut running = HashSet::new();
        loop {
            let slice = self.ledger.tasks(scope, &query).await?;
            let id = |named: &Option<Named>| named.as_ref().and_then(|n| Uuid::parse_str(&n.id).ok());
            running.extend(slice.items.iter().filter_map(|t| Some((id(&t.spec.policy)?, id(&t.spec.resource)?))));
            match slice.next {
                Some(key) => query.page = Page::After { key: Some(key), limit: domain::query::MAX_LIMIT },
                None => return Ok(running),
            }
        }
    }

    /// The policies that are applied to a resource, also those of tenants above the caller's.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn policies_of(&self, caller: &Caller, resource: Uuid) -> Result<Vec<Policy>> {
        let filter = Filter::all().is(RecordField::Resource, Value::Uuid(resource))?;
        let applications = self.ledger.all::<Application>(caller.may(Right::View)?, filter).await?;
        let found = self.by_id::<Policy>(&Scope::everything(), applications.iter().map(|a| a.value.policy)).await?;
        Ok(found.into_values().collect())
    }

    /// Applies a policy to a resource; applying it again changes nothing.
    ///
    /// # Errors
    /// `forbidden` below operator, `not_found`, `foreign_policy`.
    pub async fn apply_policy(&self, caller: &Caller, policy: Uuid, resource: Uuid) -> Result<Application> {
        let scope = caller.may(Right::Operate)?;
        loop {
            let policy = self.ledger.get::<Policy>(scope, policy).await.map_err(|e| e.field("policy"))?.value;
            let resource = self.live_stored(scope, resource).await.map_err(|e| e.field("resource"))?;
            if let Some(found) = self.application(scope, policy.id, resource.value.id).await? {
                return Ok(found.value);
            }
            let app = self.new_application(&policy, &resource.value).await?;
            let mut writes = vec![Write::Put(Box::new(app.clone().into()), Expect::New)];
            writes.push(self.audit(caller, "create", &app.clone().into()));
            writes.extend(still_registering(resource));
            match self.ledger.commit(scope, self.moment(), writes).await {
                // Somebody else applied it just now, or the machine is registered by now.
                Err(e) if matches!(e.code, Code::AlreadyExists | Code::RevisionConflict) => {}
                Err(e) => return Err(e),
                Ok(committed) => {
                    self.deliver(&committed);
                    self.nudge();
                    return Ok(self.ledger.get::<Application>(scope, app.id).await?.value);
                }
            }
        }
    }

    /// As `apply_policy`, answered with a handle.
    ///
    /// # Errors
    /// As `apply_policy`; `registration_failed`.
    pub async fn apply_policy_operation(
        &self,
        caller: &Caller,
        policy: Uuid,
        resource: Uuid,
        key: Option<Idempotency>,
    ) -> Result<OperationView> {
        let scope = caller.may(Right::Operate)?;
        let made = self
            .operate(caller, scope, key, || async {
                let policy = self.applicable_policy(caller, policy).await?;
                let stored = self.live_stored(scope, resource).await?;
                let resource = &stored.value;
                let mut change = change_of(OperationKind::ApplyPolicy, &policy, resource);
                if resource.registration == Registration::Failed {
                    return Err(registration_failed(resource));
                }
                if self.application(scope, policy.id, resource.id).await?.is_none() {
                    let (_, task, mut writes) = self.application_writes(caller, &policy, resource).await?;
                    writes.extend(still_registering(stored));
                    (change.task, change.writes) = (Some(task), writes);
                }
                Ok(change)
            })
            .await?;
        self.nudge();
        Ok(made)
    }

    /// Takes a policy from a resource; its backups stay, a backup that runs ends, those that wait are cancelled.
    ///
    /// # Errors
    /// `forbidden` below operator and for a policy of a tenant above the caller's, `not_found` when it is not applied.
    pub async fn revoke_policy(&self, caller: &Caller, policy: Uuid, resource: Uuid) -> Result<()> {
        let scope = caller.may(Right::Operate)?;
        let app = self.applied(scope, policy, resource).await?;
        self.applicable_policy(caller, policy).await?;
        let mut writes = self.taking_away(caller, &app).await?;
        writes.push(self.audit(caller, "delete", &app.into()));
        let committed = self.ledger.commit(scope, self.moment(), writes).await?;
        self.deliver(&committed);
        Ok(())
    }

    /// As `revoke_policy`, answered with a handle.
    ///
    /// # Errors
    /// As `revoke_policy`.
    pub async fn revoke_policy_operation(
        &self,
        caller: &Caller,
        policy: Uuid,
        resource: Uuid,
        key: Option<Idempotency>,
    ) -> Result<OperationView> {
        let scope = caller.may(Right::Operate)?;
        let made = self.operate(caller, scope, key, || async {
            let app = self.applied(scope, policy, resource).await?;
            let policy = self.applicable_policy(caller, policy).await?;
            let resource = self.ledger.get::<Resource>(scope, resource).await?.value;
            let mut change = change_of(OperationKind::RevokePolicy, &policy, &resource);
            let (task, writes) = self.revocation(caller, &policy, &app).await?;
            (change.task, change.writes) = (Some(task), writes);
            Ok(change)
        });
        made.await
    }

    /// A resource that takes part.
    pub(super) async fn live_resource(&self, scope: &Scope, id: Uuid) -> Result<Resource> {
        Ok(self.live_stored(scope, id).await?.value)
    }

    /// As `live_resource`, with the revision it was read at.
    async fn live_stored(&self, scope: &Scope, id: Uuid) -> Result<Stored<Resource>> {
        let resource = self.ledger.get::<Resource>(scope, id).await?;
        if resource.value.deleted_at.is_some() {
            return Err(Error::not_found("resource", id));
        }
        Ok(resource)
    }

    /// A policy that the caller may apply: of its own subtree, or of a tenant above that it can see.
    async fn applicable_policy(&self, caller: &Caller, id: Uuid) -> Result<Policy> {
        let policy = self.visible_policy(caller, id).await?;
        if if_found(self.ledger.get::<Policy>(caller.may(Right::Operate)?, id).await)?.is_none() {
            // Apply and Revoke need their level on both tenants.
            return Err(self.not_own_policy(id).await?);
        }
        Ok(policy)
    }

    /// Why a policy that was seen just now is not in the caller's scope: it belongs to a tenant above, unless somebody
    /// deleted it in between.
    pub(super) async fn not_own_policy(&self, id: Uuid) -> Result<Error> {
        let message = format!("the policy '{id}' belongs to a tenant above the caller's");
        self.ledger.get::<Policy>(&Scope::everything(), id).await?;
        Ok(Error::new(Code::Forbidden, message).hint("ask an administrator of that tenant"))
    }

    async fn applied(&self, scope: &Scope, policy: Uuid, resource: Uuid) -> Result<Application> {
        match self.application(scope, policy, resource).await? {
            Some(app) => Ok(app.value),
            None => {
                let message = format!("the policy '{policy}' is not applied to the resource '{resource}'");
                Err(Error::new(Code::NotFound, message))
            }
        }
    }

    /// What applying writes: the application, and a task that is done with it unless the machine is still registering.
    async fn application_writes(
        &self,
        caller: &Caller,
        policy: &Policy,
        resource: &Resource,
    ) -> Result<(Application, Uuid, Vec<Write>)> {
        let app = self.new_application(policy, resource).await?;
        let spec = task_of(caller, kind::APPLY_POLICY, policy, resource);
        let uuid = spec.uuid;
        let mut writes = vec![Write::Put(Box::new(app.clone().into()), Expect::New), Write::CreateTask(Box::new(spec))];
        if resource.registration == Registration::Registered {
            writes.extend(carried_out(uuid, Outcome::of(OutcomeCode::Ok)));
        }
        Ok((app, uuid, writes))
    }

    /// A policy applied to a resource that it fits; not stored yet.
    pub(super) async fn new_application(&self, policy: &Policy, resource: &Resource) -> Result<Application> {
        self.check_fits(policy, resource).await?;
        let now = self.moment().now;
        let everything = Scope::everything();
        let archive = self.ledger.find::<Archive>(&everything, &Archive::key_of(policy.id, resource.id)).await?;
        let app = Application {
            id: Uuid::now_v7(),
            tenant: resource.tenant,
            policy: policy.id,
            resource: resource.id,
            archive: archive.map(|a| a.value.id),
            next_run_at: None,
            last_run_at: None,
            last_task: None,
            agenda: Agenda::default(),
            created_at: now,
            updated_at: now,
        };
        self.replanned(&app, policy, resource).await
    }

    /// What taking a policy away writes, and the task that says so.
    pub(super) async fn revocation(
        &self,
        caller: &Caller,
        policy: &Policy,
        app: &Application,
    ) -> Result<(Uuid, Vec<Write>)> {
        let resource = self.ledger.get::<Resource>(&Scope::everything(), app.resource).await?.value;
        let mut writes = self.taking_away(caller, app).await?;
        let spec = task_of(caller, kind::REVOKE_POLICY, policy, &resource);
        let uuid = spec.uuid;
        writes.extend(done(spec));
        Ok((uuid, writes))
    }

    /// What an application takes with it when it goes: the runs that wait, with what goes before each.
    pub(super) async fn taking_away(&self, caller: &Caller, app: &Application) -> Result<Vec<Write>> {
        let waiting = self.waiting_runs(app).await?;
        let mut ending = Vec::new();
        for run in &waiting {
            ending.extend(self.waiting_before(run).await?);
        }
        ending.extend(waiting);
        let cancel = |task: Task| Write::Task(TaskRef::Id(task.id), Event::Cancel { by: caller.name.clone() });
        let gone = Write::Remove(RecordKind::Application, app.id);
        Ok(std::iter::once(gone).chain(ending.into_iter().map(cancel)).collect())
    }

    /// The application that goes when a task is cancelled: that of a task of applying which waits for its machine.
    pub(super) async fn undone_with(&self, task: &Task) -> Result<Option<Write>> {
        if task.spec.kind != kind::APPLY_POLICY || task.state() != State::Enqueued || task.spec.queue != SERVER_QUEUE {
            return Ok(None);
        }
        let id = |named: &Option<Named>| named.as_ref().and_then(|n| Uuid::parse_str(&n.id).ok());
        let (Some(policy), Some(resource)) = (id(&task.spec.policy), id(&task.spec.resource)) else { return Ok(None) };
        let app = self.application(&Scope::everything(), policy, resource).await?;
        Ok(app.map(|app| Write::Remove(RecordKind::Application, app.value.id)))
    }

    /// The backups of an application that wait in the queue, and the tasks that apply it.
    pub(super) async fn waiting_runs(&self, app: &Application) -> Result<Vec<Task>> {
        let of = |id: Uuid| Test::AnyOf(vec![Pattern::IsUuid(id)]);
        let types = [kind::BACKUP, kind::APPLY_POLICY].map(|k| Pattern::Is(Value::Text(k.to_owned())));
        let filter = Filter::all()
            .and(TaskField::ResourceId, of(app.resource))?
            .and(TaskField::PolicyId, of(app.policy))?
            .and(TaskField::Type, Test::AnyOf(types.to_vec()))?
            .is(TaskField::State, Value::Enum(State::Enqueued.ordinal()))?;
        Ok(self.ledger.tasks(&Scope::everything(), &Query::newest(filter, domain::query::MAX_LIMIT)).await?.items)
    }

    /// Follows the end of a machine's registration: the tasks that waited for it are done where it went well, and undone
    /// where it failed; what was applied to it before runs again from now on.
    ///
    /// # Errors
    /// Those of the ledger.
    pub(super) async fn registration_settled(&self, resource: &Resource) -> Result<()> {
        let everything = Scope::everything();
        let filter = Filter::all().is(RecordField::Resource, Value::Uuid(resource.id))?;
        for app in self.ledger.all::<Application>(&everything, filter).await? {
            let mut attempts = 0..ATTEMPTS;
            loop {
                let app = if_found(self.ledger.get::<Application>(&everything, app.value.id).await)?;
                let Some(app) = app else { break };
                let writes = self.settling(app, resource).await?;
                match self.ledger.commit(&everything, self.moment(), writes).await {
                    // Somebody changed the policy meanwhile, or cancelled the task.
                    Err(e) if (came_between(&e) || e.code == Code::AlreadyCompleted) && attempts.next().is_some() => {}
                    other => {
                        self.deliver(&other?);
                        break;
                    }
                }
            }
        }
        self.nudge();
        Ok(())
    }

    /// What the end of a machine's registration writes for something that is applied to it.
    async fn settling(&self, app: Stored<Application>, resource: &Resource) -> Result<Vec<Write>> {
        let Stored { rev, value: app } = app;
        let waiting = self.waiting_runs(&app).await?.into_iter();
        let applying: Vec<Uuid> = waiting.filter(|t| t.spec.kind == kind::APPLY_POLICY).map(|t| t.spec.uuid).collect();
        let failed = resource.registration == Registration::Failed;
        let outcome = if failed {
            let error = TaskError::server(Code::RegistrationFailed.name(), "The registration of the machine failed.");
            Outcome { error: Some(error), ..Outcome::of(OutcomeCode::Error) }
        } else {
            Outcome::of(OutcomeCode::Ok)
        };
        let mut writes: Vec<Write> = applying.iter().flat_map(|task| carried_out(*task, outcome.clone())).collect();
        if !failed {
            let policy = self.ledger.get::<Policy>(&Scope::everything(), app.policy).await?.value;
            let planned = self.replanned(&app, &policy, resource).await?;
            writes.push(Write::Put(Box::new(planned.into()), Expect::Rev(rev)));
        } else if !applying.is_empty() {
            writes.push(Write::Remove(RecordKind::Application, app.id));
        }
        Ok(writes)
    }

    /// Refuses a policy for a resource that is not of the policy's tenant or below (contract for Yandex clients, Y81).
    pub(super) async fn check_fits(&self, policy: &Policy, resource: &Resource) -> Result<()> {
        let everything = Scope::everything();
        let owner = self.ledger.get::<Tenant>(&everything, policy.tenant).await?.value;
        let tenant = self.ledger.get::<Tenant>(&everything, resource.tenant).await?.value;
        if Scope::subtree(&owner).contains(&tenant.locator) {
            return Ok(());
        }
        Err(Error::new(Code::ForeignPolicy, format!("the policy '{}' does not fit '{}'", policy.name, resource.name))
            .hint("use a policy of the resource's tenant or of one above it"))
    }
}

pub(super) fn registration_failed(resource: &Resource) -> Error {
    Error::new(Code::RegistrationFailed, format!("the registration of '{}' failed", resource.name))
        .hint("see its metadata for the reason")
}

/// Guards what is written for a machine that is still registering: when that ends in between, the tasks that wait for it
/// were looked at already.
fn still_registering(resource: Stored<Resource>) -> Option<Write> {
    let Stored { rev, value } = resource;
    (value.registration == Registration::Registering).then(|| Write::Put(Box::new(value.into()), Expect::Rev(rev)))
}

/// A change that is about a policy and a resource.
pub(super) fn change_of(kind: OperationKind, policy: &Policy, resource: &Resource) -> Change {
    let about = About {
        policy: Some(policy.id),
        resource: Some(resource.id),
        instance_id: resource.instance_id.clone(),
        ..About::default()
    };
    Change::new(kind, resource.tenant, about, (policy.id, policy.name.clone()))
}

/// The task that applies a policy or takes it back.
fn task_of(caller: &Caller, kind: &str, policy: &Policy, resource: &Resource) -> TaskSpec {
    let doing = if kind == kind::APPLY_POLICY { "Applying" } else { "Revoking" };
    let title = format!("{doing} plan '{}' for '{}'", policy.name, resource.name);
    let mut spec = server_task(caller, kind, resource.tenant, &title);
    spec.policy = Some(named_policy(policy));
    spec.resource = Some(named_resource(resource));
    spec
}
