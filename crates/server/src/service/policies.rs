//! Policies, and their application to resources.

use domain::policy::{Agenda, Application, Policy, Retention, Schedule, Settings};
use domain::query::{Filter, Query, RecordField, Slice, Value};
use domain::record::RecordKind;
use domain::repository::Repository;
use domain::resource::Resource;
use domain::task::kind;
use domain::tenant::{Tenant, check_name};
use domain::{Caller, Code, Error, Result, Right, Scope, Uuid};
use ledger::{Stored, Write};

use super::Service;
use super::zones::check_schedule;

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
    /// Where backups go; the only repository there is by default.
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
}

impl Service {
    /// Policies that match.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn policies(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<Policy>> {
        Ok(self.ledger.list::<Policy>(caller.may(Right::View)?, query).await?.map(|s| s.value))
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
        let scope = caller.may(Right::Edit)?;
        check_name("name", &new.name)?;
        check_schedule(&new.schedule)?;
        new.retention.validate()?;
        let tenant = new.tenant.unwrap_or(scope.tenant());
        let tenant = self.ledger.get::<Tenant>(scope, tenant).await.map_err(|e| e.field("tenant"))?.value.id;
        let repository = match new.repository {
            Some(id) => id,
            None => self.only_repository(scope).await?,
        };
        if !self.usable_repositories(scope).await?.contains(&repository) {
            return Err(Error::not_found("repository", repository).field("repository"));
        }
        let moment = self.moment();
        let policy = Policy {
            id: Uuid::now_v7(),
            tenant,
            name: new.name,
            kind: kind::BACKUP.to_owned(),
            enabled: new.enabled,
            schedule: new.schedule,
            settings: new.settings,
            retention: new.retention,
            repository,
            created_at: moment.now,
            updated_at: moment.now,
        };
        self.create(caller, scope, policy).await
    }

    /// Changes a policy; when it next runs is decided anew for every resource it is applied to.
    ///
    /// # Errors
    /// `forbidden` below editor, `not_found`, `invalid_field`.
    pub async fn change_policy(&self, caller: &Caller, id: Uuid, change: PolicyChange) -> Result<Policy> {
        let scope = caller.may(Right::Edit)?;
        if let Some(name) = &change.name {
            check_name("name", name)?;
        }
        if let Some(schedule) = &change.schedule {
            check_schedule(schedule)?;
        }
        if let Some(retention) = &change.retention {
            retention.validate()?;
        }
        let policy = self
            .edit::<Policy>(caller, "change", scope, id, |p| {
                let PolicyChange { name, enabled, schedule, settings, retention } = change.clone();
                p.name = name.unwrap_or_else(|| p.name.clone());
                p.enabled = enabled.unwrap_or(p.enabled);
                p.schedule = schedule.unwrap_or_else(|| p.schedule.clone());
                p.settings = settings.unwrap_or_else(|| p.settings.clone());
                p.retention = retention.unwrap_or_else(|| p.retention.clone());
                Ok(())
            })
            .await?;
        if change.enabled.is_some() || change.schedule.is_some() {
            for app in self.applications_of(scope, id).await? {
                let resource = self.ledger.get::<Resource>(scope, app.value.resource).await?.value;
                let planned = self.replanned(&app.value, &policy, &resource).await?;
                self.note::<Application>(scope, app.value.id, |a| {
                    a.next_run_at = planned.next_run_at;
                    a.agenda.due = planned.agenda.due;
                    a.agenda.repeat = planned.agenda.repeat;
                    Ok(())
                })
                .await?;
            }
        }
        self.nudge();
        Ok(policy)
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

    /// Applies a policy to a resource; applying it again changes nothing.
    ///
    /// # Errors
    /// `forbidden` below operator, `not_found`.
    pub async fn apply_policy(&self, caller: &Caller, policy: Uuid, resource: Uuid) -> Result<Application> {
        let scope = caller.may(Right::Operate)?;
        let policy = self.ledger.get::<Policy>(scope, policy).await.map_err(|e| e.field("policy"))?.value;
        let resource = self.ledger.get::<Resource>(scope, resource).await.map_err(|e| e.field("resource"))?.value;
        if let Some(found) = self.application(scope, policy.id, resource.id).await? {
            return Ok(found.value);
        }
        let moment = self.moment();
        let app = Application {
            id: Uuid::now_v7(),
            tenant: resource.tenant,
            policy: policy.id,
            resource: resource.id,
            next_run_at: None,
            last_run_at: None,
            last_task: None,
            agenda: Agenda::default(),
            created_at: moment.now,
            updated_at: moment.now,
        };
        let app = self.replanned(&app, &policy, &resource).await?;
        let app = self.create(caller, scope, app).await?;
        self.nudge();
        Ok(app)
    }

    /// Takes a policy from a resource; its backups stay.
    ///
    /// # Errors
    /// `forbidden` below operator, `not_found` when it is not applied.
    pub async fn revoke_policy(&self, caller: &Caller, policy: Uuid, resource: Uuid) -> Result<()> {
        let scope = caller.may(Right::Operate)?;
        let Some(app) = self.application(scope, policy, resource).await? else {
            return Err(Error::new(Code::NotFound, "the policy is not applied to this resource"));
        };
        let entry = self.audit(caller, "delete", &app.value.clone().into());
        let writes = vec![Write::Remove(RecordKind::Application, app.value.id), entry];
        self.ledger.commit(scope, self.moment(), writes).await?;
        Ok(())
    }

    async fn application(&self, scope: &Scope, policy: Uuid, resource: Uuid) -> Result<Option<Stored<Application>>> {
        Ok(self.applications_of(scope, policy).await?.into_iter().find(|a| a.value.resource == resource))
    }

    pub(super) async fn applications_of(&self, scope: &Scope, policy: Uuid) -> Result<Vec<Stored<Application>>> {
        self.ledger.all::<Application>(scope, Filter::all().is(RecordField::Policy, Value::Uuid(policy))?).await
    }

    async fn only_repository(&self, scope: &Scope) -> Result<Uuid> {
        match self.usable_repositories(scope).await?.as_slice() {
            [only] => Ok(*only),
            [] => Err(Error::missing("repository").hint("there is no repository that you could use; create one first")),
            _ => Err(Error::missing("repository").hint("there are several; name the one where backups go")),
        }
    }

    /// The repositories of the scope, and those of the tenants above it: what an owner sets up serves everyone below.
    async fn usable_repositories(&self, scope: &Scope) -> Result<Vec<Uuid>> {
        let everything = Scope::everything();
        let mut usable = Vec::new();
        for repository in self.ledger.all::<Repository>(&everything, Filter::all()).await? {
            let owner = self.ledger.get::<Tenant>(&everything, repository.value.tenant).await?.value;
            if scope.contains(&owner.locator) || Scope::subtree(&owner).contains(scope.locator()) {
                usable.push(repository.value.id);
            }
        }
        Ok(usable)
    }
}
