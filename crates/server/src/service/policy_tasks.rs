//! Policies that are changed and deleted by tasks, and how they stand. The server carries such tasks out itself, in the
//! commit that makes the change; while one of them is not done, the policy is locked.

use std::collections::{HashMap, HashSet};

use domain::policy::{Application, Policy};
use domain::query::{Filter, Pattern, Query, RecordField, TaskField, Test, Value};
use domain::record::RecordKind;
use domain::repository::Repository;
use domain::resource::{Resource, ResourceKind};
use domain::task::{State, Task, kind};
use domain::{Caller, Code, Error, Result, Right, Scope, Timestamp, Uuid};
use ledger::Write;

use super::asked::Asked;
use super::environments::any_of;
use super::server_tasks::{SERVER_QUEUE, named_policy, server_task, told_by, untold};
use super::{AT_ONCE, PolicyChange, Service};

/// How often a commit is tried anew when somebody else came between.
const ATTEMPTS: usize = 10;

/// What a policy is locked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyLock {
    /// It is being changed.
    Updating,
    /// It is being deleted.
    Deleting,
}

/// A policy with what follows from its applications.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyView {
    /// The policy.
    pub policy: Policy,
    /// What it is locked for.
    pub lock: Option<PolicyLock>,
    /// When it runs next for anything.
    pub next_run_at: Option<Timestamp>,
    /// When it last ran for anything.
    pub last_run_at: Option<Timestamp>,
    /// The kinds of what it is applied to.
    pub kinds: HashSet<ResourceKind>,
    /// The name of the repository where its backups go.
    pub repository: String,
}

impl Service {
    /// All policies that the caller sees, as they stand, by name.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn policy_views(&self, caller: &Caller) -> Result<Vec<PolicyView>> {
        let mut policies = self.all_policies(caller, Filter::all()).await?;
        policies.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        self.views_of(caller, policies, Filter::all()).await
    }

    /// One of them.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn policy_view(&self, caller: &Caller, id: Uuid) -> Result<PolicyView> {
        let policy = self.policy(caller, id).await?;
        let of_policy = Filter::all().is(RecordField::Policy, Value::Uuid(id))?;
        let views = self.views_of(caller, vec![policy], of_policy).await?;
        views.into_iter().next().ok_or_else(|| Error::not_found("policy", id))
    }

    /// Those of these policies that the caller sees.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn policy_views_by_id(&self, caller: &Caller, ids: HashSet<Uuid>) -> Result<HashMap<Uuid, PolicyView>> {
        let mut found = HashMap::new();
        let seen = self.by_id::<Policy>(caller.may(Right::View)?, ids).await?;
        let seen: Vec<Policy> = seen.into_values().collect();
        for part in seen.chunks(AT_ONCE) {
            let of_them = Filter::all().and(RecordField::Policy, any_of(part.iter().map(|policy| policy.id)))?;
            let views = self.views_of(caller, part.to_vec(), of_them).await?;
            found.extend(views.into_iter().map(|view| (view.policy.id, view)));
        }
        Ok(found)
    }

    async fn views_of(
        &self,
        caller: &Caller,
        policies: Vec<Policy>,
        of_them: Filter<RecordField>,
    ) -> Result<Vec<PolicyView>> {
        let scope = caller.may(Right::View)?;
        let everything = Scope::everything();
        let applications = self.ledger.all::<Application>(scope, of_them).await?;
        let resources = self.by_id::<Resource>(scope, applications.iter().map(|a| a.value.resource)).await?;
        let repositories = self.by_id::<Repository>(&everything, policies.iter().map(|p| p.repository)).await?;
        let mut locks = self.policy_locks().await?;
        let mut applied: HashMap<Uuid, Vec<Application>> = HashMap::new();
        for application in applications {
            applied.entry(application.value.policy).or_default().push(application.value);
        }
        let view = |policy: Policy| {
            let applied = applied.remove(&policy.id).unwrap_or_default();
            PolicyView {
                lock: locks.remove(&policy.id),
                next_run_at: applied.iter().filter_map(|a| a.next_run_at).min(),
                last_run_at: applied.iter().filter_map(|a| a.last_run_at).max(),
                kinds: applied.iter().filter_map(|a| resources.get(&a.resource)).map(|r| r.kind).collect(),
                repository: repositories.get(&policy.repository).map(|r| r.name.clone()).unwrap_or_default(),
                policy,
            }
        };
        Ok(policies.into_iter().map(view).collect())
    }

    /// The policies that a task is about which changes or deletes them and is not done.
    async fn policy_locks(&self) -> Result<HashMap<Uuid, PolicyLock>> {
        let types = [kind::POLICY_UPDATE, kind::POLICY_DELETE].map(|k| Pattern::Is(Value::Text(k.to_owned())));
        let filter = Filter::all()
            .and(TaskField::State, Test::NoneOf(vec![Pattern::Is(Value::Enum(State::Completed.ordinal()))]))?
            .and(TaskField::Type, Test::AnyOf(types.to_vec()))?
            .is(TaskField::Queue, Value::Text(SERVER_QUEUE.to_owned()))?;
        let open = self.ledger.tasks(&Scope::everything(), &Query::newest(filter, domain::query::MAX_LIMIT)).await?;
        let lock = |task: Task| {
            let policy = Uuid::parse_str(&task.spec.policy.as_ref()?.id).ok()?;
            let deletes = task.spec.kind == kind::POLICY_DELETE;
            Some((policy, if deletes { PolicyLock::Deleting } else { PolicyLock::Updating }))
        };
        Ok(open.items.into_iter().filter_map(lock).collect())
    }

    async fn check_unlocked(&self, policy: Uuid) -> Result<()> {
        let what = match self.policy_locks().await?.get(&policy) {
            None => return Ok(()),
            Some(PolicyLock::Updating) => "changed",
            Some(PolicyLock::Deleting) => "deleted",
        };
        Err(Error::new(Code::Processing, format!("the policy '{policy}' is being {what}")).hint("wait for its task"))
    }

    /// As `change_policy`, told by a task.
    ///
    /// # Errors
    /// As `change_policy`; `processing` while another such task is not done.
    pub async fn change_policy_by_task(
        &self,
        caller: &Caller,
        id: Uuid,
        change: &PolicyChange,
        asked: &Asked,
    ) -> Result<(Policy, Task)> {
        let scope = caller.may(Right::Edit)?;
        let mut attempts = 0..ATTEMPTS;
        loop {
            self.policy(caller, id).await?;
            self.check_unlocked(id).await?;
            let (_, policy, mut writes) = self.changed_policy(scope, id, change).await?;
            writes.push(self.audit(caller, "change", &policy.clone().into()));
            writes.extend(policy_task(caller, kind::POLICY_UPDATE, "Changing", &policy, asked));
            match self.ledger.commit(scope, self.moment(), writes).await {
                Err(e) if e.code == Code::RevisionConflict && attempts.next().is_some() => {}
                Err(e) => return Err(e),
                Ok(committed) => {
                    let task = self.told(&committed).ok_or_else(untold)?;
                    return Ok((super::stamped(committed)?, task));
                }
            }
        }
    }

    /// Deletes a policy and takes it from whatever it is applied to, told by a task; its backups stay.
    ///
    /// # Errors
    /// `forbidden` below editor, `not_found`, `processing` while another such task is not done.
    pub async fn delete_policy_by_task(&self, caller: &Caller, id: Uuid, asked: &Asked) -> Result<Task> {
        let scope = caller.may(Right::Edit)?;
        let mut attempts = 0..ATTEMPTS;
        loop {
            let policy = self.policy(caller, id).await?;
            self.check_unlocked(id).await?;
            let mut writes = Vec::new();
            for app in self.applications_of(&Scope::everything(), id).await? {
                writes.extend(self.taking_away(caller, &app.value).await?);
            }
            writes.push(Write::Remove(RecordKind::Policy, id));
            writes.push(self.audit(caller, "delete", &policy.clone().into()));
            writes.extend(policy_task(caller, kind::POLICY_DELETE, "Deleting", &policy, asked));
            match self.ledger.commit(scope, self.moment(), writes).await {
                Err(e) if super::operations::overtaken(e.code) && attempts.next().is_some() => {}
                Err(e) => return Err(e),
                Ok(committed) => return self.told(&committed).ok_or_else(untold),
            }
        }
    }

    /// Where backups of a tenant's policies go if nobody says otherwise: the oldest repository of the nearest tenant that
    /// has one, itself or above it.
    ///
    /// # Errors
    /// `missing_field` where there is none.
    pub async fn usual_repository(&self, caller: &Caller, tenant: Option<Uuid>) -> Result<Uuid> {
        let tenant = self.live_tenant(caller.scope(), tenant.unwrap_or(caller.tenant())).await?;
        self.usual_repository_at(&tenant.locator).await
    }

    /// The same for a tenant in this place.
    pub(super) async fn usual_repository_at(&self, locator: &str) -> Result<Uuid> {
        let repositories = self.repositories_and_owners().await?;
        repositories.usual_of(locator).map(|repository| repository.id).ok_or_else(|| {
            Error::missing("repository").hint("there is no repository that you could use; create one first")
        })
    }

    /// The repository of this name, if policies of the tenant, by default the caller's own, can store there.
    ///
    /// # Errors
    /// `not_found`, with the field `tenant` where there is none such.
    pub async fn usable_repository(&self, caller: &Caller, tenant: Option<Uuid>, name: &str) -> Result<Uuid> {
        let scope = caller.may(Right::View)?;
        let tenant = self.live_tenant(scope, tenant.unwrap_or(caller.tenant())).await.map_err(|e| e.field("tenant"))?;
        match self.ledger.find::<Repository>(&Scope::everything(), name).await? {
            Some(found) if self.serves(&found.value, &tenant).await? => Ok(found.value.id),
            _ => Err(Error::not_found("repository", name)),
        }
    }
}

/// The task about a policy, done with the commit that makes it.
fn policy_task(
    caller: &Caller,
    kind: &str,
    doing: &str,
    policy: &Policy,
    asked: &Asked,
) -> impl Iterator<Item = Write> {
    let mut spec = server_task(caller, kind, policy.tenant, &format!("{doing} plan '{}'", policy.name));
    spec.policy = Some(named_policy(policy));
    told_by(spec, asked)
}
