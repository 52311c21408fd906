//! Policies, and their application to resources.

use domain::operation::{About, Idempotency, OperationKind};
use domain::policy::{Application, AsWritten, Policy, Retention, Schedule, Settings};
use domain::query::{Filter, Query, RecordField, Slice, Value};
use domain::record::RecordKind;
use domain::repository::Repository;
use domain::resource::Resource;
use domain::task::kind;
use domain::tenant::{Tenant, check_name};
use domain::{Caller, Code, Error, Result, Right, Scope, Uuid, if_found};
use ledger::{Expect, Stored, Write};
use serde_json::json;

use super::operations::Change;
use super::zones::check_schedule;
use super::{OperationView, Service, stamped};

/// A policy that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPolicy {
    /// The owner; the caller's own tenant by default.
    pub tenant: Option<Uuid>,
    /// The name people know.
    pub name: String,
    /// When it runs.
    pub schedule: Schedule,
    /// How it runs.
    pub settings: Settings,
    /// Which of its backups stay.
    pub retention: Retention,
    /// The API's own words for it, to be given back as they came.
    pub as_written: Option<String>,
    /// Where backups go; by default the oldest repository of the nearest tenant that has one, the owner or above it.
    pub repository: Option<Uuid>,
    /// Whether it runs by itself.
    pub enabled: bool,
}

/// A change of a policy; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicyChange {
    /// The name people know.
    pub name: Option<String>,
    /// Whether it runs by itself.
    pub enabled: Option<bool>,
    /// When it runs.
    pub schedule: Option<Schedule>,
    /// How it runs.
    pub settings: Option<Settings>,
    /// Which of its backups stay.
    pub retention: Option<Retention>,
    /// The API's own words for it.
    pub as_written: Option<String>,
    /// Where backups go from now on.
    pub repository: Option<Uuid>,
}

impl PolicyChange {
    /// Makes the change of a policy.
    pub(super) fn make(self, policy: &mut Policy) {
        let PolicyChange { name, enabled, schedule, settings, retention, as_written: written, repository } = self;
        repository.into_iter().for_each(|repository| policy.repository = repository);
        name.into_iter().for_each(|name| policy.name = name);
        enabled.into_iter().for_each(|enabled| policy.enabled = enabled);
        schedule.into_iter().for_each(|schedule| policy.schedule = schedule);
        settings.into_iter().for_each(|settings| policy.settings = settings);
        retention.into_iter().for_each(|retention| policy.retention = retention);
        if written.is_some() {
            policy.as_written = as_written(written, &policy.schedule, &policy.retention);
        }
    }
}

/// Whether a change moves the runs to come.
pub(super) fn moves_runs(before: &Policy, after: &Policy) -> bool {
    (before.enabled, &before.schedule) != (after.enabled, &after.schedule)
}

/// Refuses a change that makes no sense.
pub(super) fn check_change(change: &PolicyChange) -> Result<()> {
    change.name.as_ref().map_or(Ok(()), |name| check_name("name", name))?;
    change.schedule.as_ref().map_or(Ok(()), check_schedule)?;
    change.settings.as_ref().map_or(Ok(()), Settings::validate)?;
    change.retention.as_ref().map_or(Ok(()), Retention::validate)
}

impl Service {
    /// Policies that match.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn policies(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<Policy>> {
        Ok(self.ledger.list::<Policy>(caller.may(Right::View)?, query).await?.map(|s| s.value))
    }

    /// All policies that match, oldest first.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn all_policies(&self, caller: &Caller, filter: Filter<RecordField>) -> Result<Vec<Policy>> {
        let found = self.ledger.all::<Policy>(caller.may(Right::View)?, filter).await?;
        Ok(found.into_iter().map(|s| s.value).collect())
    }

    /// One policy.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn policy(&self, caller: &Caller, id: Uuid) -> Result<Policy> {
        Ok(self.ledger.get::<Policy>(caller.may(Right::View)?, id).await?.value)
    }

    /// Makes a policy.
    ///
    /// # Errors
    /// `forbidden` below editor, `invalid_field`, `not_found` for a tenant or repository.
    pub async fn create_policy(&self, caller: &Caller, new: NewPolicy) -> Result<Policy> {
        let policy = self.new_policy(caller, new).await?;
        self.create(caller, caller.may(Right::Edit)?, policy).await
    }

    /// As `create_policy`, answered with a handle.
    ///
    /// # Errors
    /// As `create_policy`.
    pub async fn create_policy_operation(
        &self,
        caller: &Caller,
        new: NewPolicy,
        key: Option<Idempotency>,
    ) -> Result<OperationView> {
        let made = self.operate(caller, caller.may(Right::Edit)?, key, || async {
            let policy = self.new_policy(caller, new.clone()).await?;
            let mut change = policy_change(OperationKind::CreatePolicy, &policy);
            change.writes.push(Write::Put(Box::new(policy.clone().into()), Expect::New));
            change.policy = Some(policy);
            Ok(change)
        });
        made.await
    }

    /// The policy that a wish makes; it is not stored yet.
    pub(super) async fn new_policy(&self, caller: &Caller, new: NewPolicy) -> Result<Policy> {
        let scope = caller.may(Right::Edit)?;
        check_name("name", &new.name)?;
        check_schedule(&new.schedule)?;
        new.settings.validate()?;
        new.retention.validate()?;
        let tenant = new.tenant.unwrap_or(scope.tenant());
        let tenant = self.live_tenant(scope, tenant).await.map_err(|e| e.field("tenant"))?;
        let repository = match new.repository {
            Some(id) => id,
            None => self.usual_repository_at(&tenant.locator).await?,
        };
        self.check_repository(repository, &tenant).await?;
        let moment = self.moment();
        Ok(Policy {
            id: Uuid::now_v7(),
            tenant: tenant.id,
            name: new.name,
            kind: kind::BACKUP.to_owned(),
            enabled: new.enabled,
            as_written: as_written(new.as_written, &new.schedule, &new.retention),
            schedule: new.schedule,
            settings: new.settings,
            retention: new.retention,
            repository,
            created_at: moment.now,
            updated_at: moment.now,
        })
    }

    /// Changes a policy; when it next runs is decided anew for every resource it is applied to.
    ///
    /// # Errors
    /// `forbidden` below editor, `not_found`, `invalid_field`.
    pub async fn change_policy(&self, caller: &Caller, id: Uuid, change: PolicyChange) -> Result<Policy> {
        let scope = caller.may(Right::Edit)?;
        loop {
            let (before, policy, mut writes) = self.changed_policy(scope, id, &change).await?;
            let (tenant, object, name) = (policy.tenant, id.to_string(), policy.name.clone());
            let detail = before_and_after(&before, &policy);
            writes.push(self.audit_entry_of(caller, "policy.change", tenant, object, name, detail));
            match self.ledger.commit(scope, self.moment(), writes).await {
                Err(e) if e.code == Code::RevisionConflict => {}
                Err(e) => return Err(e),
                Ok(committed) => {
                    self.nudge();
                    return stamped(committed);
                }
            }
        }
    }

    /// As `change_policy`, answered with a handle.
    ///
    /// # Errors
    /// As `change_policy`; `forbidden` also for a policy of a tenant above the caller's.
    pub async fn change_policy_operation(
        &self,
        caller: &Caller,
        id: Uuid,
        change: PolicyChange,
        key: Option<Idempotency>,
    ) -> Result<OperationView> {
        self.check_own_policy(caller, id).await?;
        let scope = caller.may(Right::Edit)?;
        let made = self
            .operate(caller, scope, key, || async {
                let (before, policy, writes) = self.changed_policy(scope, id, &change).await?;
                let mut done = policy_change(OperationKind::UpdatePolicy, &policy);
                done.detail = before_and_after(&before, &policy);
                done.writes = writes;
                done.policy = Some(policy);
                Ok(done)
            })
            .await?;
        self.nudge();
        Ok(made)
    }

    /// The policy before and after a change, and what is written with it: first the policy, then when it runs next for each
    /// resource.
    pub(super) async fn changed_policy(
        &self,
        scope: &Scope,
        id: Uuid,
        change: &PolicyChange,
    ) -> Result<(Policy, Policy, Vec<Write>)> {
        check_change(change)?;
        let Stored { rev, value: mut policy } = self.ledger.get::<Policy>(scope, id).await?;
        let before = policy.clone();
        self.check_new_repository(change, &policy).await?;
        change.clone().make(&mut policy);
        policy.updated_at = self.moment().now;
        let mut writes = vec![Write::Put(Box::new(policy.clone().into()), Expect::Rev(rev))];
        if moves_runs(&before, &policy) {
            let everything = Scope::everything();
            for app in self.applications_of(&everything, id).await? {
                let resource = self.ledger.get::<Resource>(&everything, app.value.resource).await?.value;
                let planned = self.replanned(&app.value, &policy, &resource).await?;
                writes.push(Write::Put(Box::new(planned.into()), Expect::Rev(app.rev)));
            }
        }
        Ok((before, policy, writes))
    }

    /// Finds out anew when a policy runs next, for everything it is applied to.
    pub(super) async fn replan(&self, policy: &Policy) -> Result<()> {
        let everything = Scope::everything();
        for app in self.applications_of(&everything, policy.id).await? {
            let resource = self.ledger.get::<Resource>(&everything, app.value.resource).await?.value;
            self.replan_one(app.value, policy, &resource).await?;
        }
        Ok(())
    }

    /// Finds out anew when policies run next for a resource.
    pub(super) async fn replan_resource(&self, resource: &Resource) -> Result<()> {
        let everything = Scope::everything();
        let filter = Filter::all().is(RecordField::Resource, Value::Uuid(resource.id))?;
        for app in self.ledger.all::<Application>(&everything, filter).await? {
            let policy = self.ledger.get::<Policy>(&everything, app.value.policy).await?.value;
            self.replan_one(app.value, &policy, resource).await?;
        }
        self.nudge();
        Ok(())
    }

    async fn replan_one(&self, app: Application, policy: &Policy, resource: &Resource) -> Result<()> {
        let planned = self.replanned(&app, policy, resource).await?;
        let everything = Scope::everything();
        let noted = self.note::<Application>(&everything, app.id, |a| {
            a.next_run_at = planned.next_run_at;
            a.agenda.due = planned.agenda.due;
            a.agenda.repeat = planned.agenda.repeat;
            Ok(())
        });
        // It may have been taken away meanwhile.
        if_found(noted.await).map(drop)
    }

    /// Deletes a policy and takes it from whatever it is applied to; its backups stay (contract for Yandex clients, Y79).
    ///
    /// # Errors
    /// `forbidden` below editor and for a policy of a tenant above the caller's, `not_found`.
    pub async fn delete_policy_operation(
        &self,
        caller: &Caller,
        id: Uuid,
        key: Option<Idempotency>,
    ) -> Result<OperationView> {
        self.check_own_policy(caller, id).await?;
        let scope = caller.may(Right::Edit)?;
        let made = self.operate(caller, scope, key, || async {
            let policy = self.ledger.get::<Policy>(scope, id).await?.value;
            let mut change = policy_change(OperationKind::DeletePolicy, &policy);
            for app in self.applications_of(&Scope::everything(), id).await? {
                let (_, writes) = self.revocation(caller, &policy, &app.value).await?;
                change.writes.extend(writes);
            }
            change.writes.push(Write::Remove(RecordKind::Policy, id));
            Ok(change)
        });
        made.await
    }

    /// Refuses to change a policy that the caller can see only because it is applied to something of the caller's.
    async fn check_own_policy(&self, caller: &Caller, id: Uuid) -> Result<()> {
        let found = self.visible_policy(caller, id).await?;
        caller.may(Right::Edit)?;
        match self.ledger.get::<Policy>(caller.may(Right::View)?, found.id).await {
            Err(e) if e.code == Code::NotFound => Err(self.not_own_policy(id).await?),
            other => other.map(drop),
        }
    }

    /// A policy of the caller's subtree, or of a tenant above it that is applied to a resource in the subtree (contract
    /// for Yandex clients, Y81).
    ///
    /// # Errors
    /// `not_found`.
    pub async fn visible_policy(&self, caller: &Caller, id: Uuid) -> Result<Policy> {
        let scope = caller.may(Right::View)?;
        match self.ledger.get::<Policy>(scope, id).await {
            Err(e) if e.code == Code::NotFound && !self.applications_of(scope, id).await?.is_empty() => {
                Ok(self.ledger.get::<Policy>(&Scope::everything(), id).await?.value)
            }
            other => Ok(other?.value),
        }
    }

    /// Deletes a policy that is applied to nothing.
    ///
    /// # Errors
    /// `forbidden` below editor, `not_found`, `in_use`.
    pub async fn delete_policy(&self, caller: &Caller, id: Uuid) -> Result<()> {
        let scope = caller.may(Right::Edit)?;
        let policy = self.ledger.get::<Policy>(scope, id).await?.value;
        let applied = self.applications_of(scope, id).await?.len();
        if applied > 0 {
            return Err(Error::new(Code::InUse, format!("the policy is applied to {applied} resources"))
                .hint("revoke it from them first"));
        }
        let entry = self.audit(caller, "delete", &policy.into());
        self.ledger.commit(scope, self.moment(), vec![Write::Remove(RecordKind::Policy, id), entry]).await?;
        Ok(())
    }

    /// Which policies are applied to which resources.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn applications(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<Application>> {
        Ok(self.ledger.list::<Application>(caller.may(Right::View)?, query).await?.map(|s| s.value))
    }

    pub(super) async fn application(
        &self,
        scope: &Scope,
        policy: Uuid,
        resource: Uuid,
    ) -> Result<Option<Stored<Application>>> {
        Ok(self.applications_of(scope, policy).await?.into_iter().find(|a| a.value.resource == resource))
    }

    pub(super) async fn applications_of(&self, scope: &Scope, policy: Uuid) -> Result<Vec<Stored<Application>>> {
        self.ledger.all::<Application>(scope, Filter::all().is(RecordField::Policy, Value::Uuid(policy))?).await
    }

    /// Refuses a change of this policy to a repository that it may not store in.
    pub(super) async fn check_new_repository(&self, change: &PolicyChange, policy: &Policy) -> Result<()> {
        let Some(repository) = change.repository.filter(|id| *id != policy.repository) else { return Ok(()) };
        let owner = self.ledger.get::<Tenant>(&Scope::everything(), policy.tenant).await?.value;
        self.check_repository(repository, &owner).await
    }

    /// Refuses a repository that a tenant's policies may not store in. Whoever asks: its password goes to that tenant's agents.
    async fn check_repository(&self, id: Uuid, tenant: &Tenant) -> Result<()> {
        let found = if_found(self.ledger.get::<Repository>(&Scope::everything(), id).await)?;
        match found {
            Some(repository) if self.serves(&repository.value, tenant).await? => Ok(()),
            _ => Err(Error::not_found("repository", id).field("repository")),
        }
    }

    /// Whether what belongs to a tenant may be stored in a repository: what an owner sets up serves everyone below.
    pub(super) async fn serves(&self, repository: &Repository, tenant: &Tenant) -> Result<bool> {
        let owner = self.ledger.get::<Tenant>(&Scope::everything(), repository.tenant).await?.value;
        Ok(Scope::subtree(&owner).contains(&tenant.locator))
    }
}

fn as_written(text: Option<String>, schedule: &Schedule, retention: &Retention) -> Option<AsWritten> {
    text.map(|text| AsWritten { text, schedule: schedule.clone(), retention: retention.clone() })
}

/// What the audit keeps of a change (contract for Yandex clients, Y78).
fn before_and_after(before: &Policy, after: &Policy) -> serde_json::Value {
    let of = |p: &Policy| {
        json!({
            "name": p.name,
            "enabled": p.enabled,
            "schedule": p.schedule,
            "settings": p.settings,
            "retention": p.retention,
            "repository": p.repository,
        })
    };
    json!({ "before": of(before), "after": of(after) })
}

/// A change that is about a policy alone.
fn policy_change(kind: OperationKind, policy: &Policy) -> Change {
    let about = About { policy: Some(policy.id), ..About::default() };
    Change::new(kind, policy.tenant, about, (policy.id, policy.name.clone()))
}
