//! Policies are applied to resources and taken from them. Where an operation answers, both are tasks that the server carries
//! out itself, so that they show in the history, and no agent has to be there.

use std::collections::HashSet;

use domain::archive::Archive;
use domain::operation::{About, Idempotency, OperationKind};
use domain::policy::{Agenda, Application, Policy};
use domain::query::{Filter, Page, Pattern, Query, RecordField, TaskField, Test, Value};
use domain::record::RecordKind;
use domain::resource::{Registration, Resource};
use domain::task::{
    Event, Executor, LeaseToken, Named, Outcome, OutcomeCode, State, Task, TaskError, TaskRef, TaskSpec, kind,
};
use domain::tenant::Tenant;
use domain::{Caller, Code, Error, Result, Right, Scope, Uuid, if_found};
use ledger::{Expect, Write};
use serde_json::json;

use super::operations::Change;
use super::queue::MAINTENANCE;
use super::runs::named_resource;
use super::{OperationView, Service};

/// The queue of what the server does itself; nobody takes from it.
pub(super) const SERVER_QUEUE: &str = "server";
/// The server as an executor.
const SERVER: &str = "server";

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
            let resource = self.live_resource(scope, resource).await.map_err(|e| e.field("resource"))?;
            if let Some(found) = self.application(scope, policy.id, resource.id).await? {
                return Ok(found.value);
            }
            let app = self.new_application(&policy, &resource).await?;
            let mut writes = vec![Write::Put(Box::new(app.clone().into()), Expect::New)];
            writes.push(self.audit(caller, "create", &app.clone().into()));
            match self.ledger.commit(scope, self.moment(), writes).await {
                // Somebody else applied it just now.
                Err(e) if e.code == Code::AlreadyExists => {}
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
                let resource = self.live_resource(scope, resource).await?;
                let mut change = change_of(OperationKind::ApplyPolicy, &policy, &resource);
                if resource.registration == Registration::Failed {
                    return Err(registration_failed(&resource));
                }
                if self.application(scope, policy.id, resource.id).await?.is_none() {
                    let (_, task, writes) = self.application_writes(caller, &policy, &resource).await?;
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
    /// `forbidden` below operator, `not_found` when it is not applied.
    pub async fn revoke_policy(&self, caller: &Caller, policy: Uuid, resource: Uuid) -> Result<()> {
        let scope = caller.may(Right::Operate)?;
        let app = self.applied(scope, policy, resource).await?;
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
            let policy = self.ledger.get::<Policy>(&Scope::everything(), policy).await?.value;
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
        let resource = self.ledger.get::<Resource>(scope, id).await?.value;
        if resource.deleted_at.is_some() {
            return Err(Error::not_found("resource", id));
        }
        Ok(resource)
    }

    /// A policy that the caller may apply: of its own subtree, or of a tenant above that it can see.
    async fn applicable_policy(&self, caller: &Caller, id: Uuid) -> Result<Policy> {
        let policy = self.visible_policy(caller, id).await?;
        if if_found(self.ledger.get::<Policy>(caller.may(Right::Operate)?, id).await)?.is_none() {
            // Apply and Revoke need their level on both tenants.
            return Err(Error::new(
                Code::Forbidden,
                format!("the policy '{id}' belongs to a tenant above the caller's"),
            )
            .hint("ask an administrator of that tenant"));
        }
        Ok(policy)
    }

    async fn applied(&self, scope: &Scope, policy: Uuid, resource: Uuid) -> Result<Application> {
        match self.application(scope, policy, resource).await? {
            Some(app) => Ok(app.value),
            None => Err(Error::new(Code::NotFound, "the policy is not applied to this resource")),
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
        let spec = server_task(caller, kind::APPLY_POLICY, policy, resource);
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
        let spec = server_task(caller, kind::REVOKE_POLICY, policy, &resource);
        let uuid = spec.uuid;
        writes.push(Write::CreateTask(Box::new(spec)));
        writes.extend(carried_out(uuid, Outcome::of(OutcomeCode::Ok)));
        Ok((uuid, writes))
    }

    /// What an application takes with it when it goes: the runs that wait.
    pub(super) async fn taking_away(&self, caller: &Caller, app: &Application) -> Result<Vec<Write>> {
        let cancel = |task: Task| Write::Task(TaskRef::Id(task.id), Event::Cancel { by: caller.name.clone() });
        let waiting = self.waiting_runs(app).await?.into_iter().map(cancel);
        Ok(std::iter::once(Write::Remove(RecordKind::Application, app.id)).chain(waiting).collect())
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

    /// Ends the tasks that waited for a machine to be registered: done where it is, and undone where that failed.
    ///
    /// # Errors
    /// Those of the ledger.
    pub(super) async fn registration_settled(&self, resource: &Resource) -> Result<()> {
        let everything = Scope::everything();
        let filter = Filter::all().is(RecordField::Resource, Value::Uuid(resource.id))?;
        for app in self.ledger.all::<Application>(&everything, filter).await? {
            let waiting = self.waiting_runs(&app.value).await?;
            // Where it was applied together with others, no task waits.
            let task = waiting.into_iter().find(|t| t.spec.kind == kind::APPLY_POLICY);
            let policy = self.ledger.get::<Policy>(&everything, app.value.policy).await?.value;
            let mut writes = Vec::new();
            if resource.registration == Registration::Failed {
                let error =
                    TaskError::server(Code::RegistrationFailed.name(), "The registration of the machine failed.");
                let outcome = Outcome { error: Some(error), ..Outcome::of(OutcomeCode::Error) };
                writes.extend(task.into_iter().flat_map(|task| carried_out(task.spec.uuid, outcome.clone())));
                writes.push(Write::Remove(RecordKind::Application, app.value.id));
            } else {
                let done = Outcome::of(OutcomeCode::Ok);
                writes.extend(task.into_iter().flat_map(|task| carried_out(task.spec.uuid, done.clone())));
                let planned = self.replanned(&app.value, &policy, resource).await?;
                writes.push(Write::Put(Box::new(planned.into()), Expect::Rev(app.rev)));
            }
            let committed = self.ledger.commit(&everything, self.moment(), writes).await?;
            self.deliver(&committed);
        }
        self.nudge();
        Ok(())
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

/// A task that the server carries out itself.
fn server_task(caller: &Caller, kind: &str, policy: &Policy, resource: &Resource) -> TaskSpec {
    let mut spec = TaskSpec::new(Uuid::now_v7(), kind, SERVER_QUEUE, resource.tenant);
    spec.policy = Some(Named { id: policy.id.to_string(), kind: MAINTENANCE.to_owned(), name: policy.name.clone() });
    spec.resource = Some(named_resource(resource));
    let doing = if kind == kind::APPLY_POLICY { "Applying" } else { "Revoking" };
    spec.context = json!({
        "title": format!("{doing} plan '{}' for '{}'", policy.name, resource.name),
        "run_mode": "manual",
    });
    spec.started_by = Some(caller.name.clone());
    spec.issuer.id = caller.issuer_id();
    spec
}

/// What happens to a task of the server's from its queue to its end.
pub(super) fn carried_out(task: Uuid, outcome: Outcome) -> [Write; 3] {
    let task = TaskRef::Uuid(task);
    let lease = || LeaseToken(format!("{SERVER}.{}", Uuid::now_v7()));
    let (executor, lease) = (Executor { id: SERVER.to_owned(), cluster_id: String::new() }, lease());
    [
        Write::Task(task, Event::Claim { executor, lease: lease.clone() }),
        Write::Task(task, Event::Start { lease: lease.clone() }),
        Write::Task(task, Event::Complete { lease, outcome, progress: None }),
    ]
}
