//! Backups that somebody asks for, beside what policies do: to a repository of their own choosing, and with an end of their
//! own. What has an end of its own goes when that has come, and no policy's retention governs it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use domain::agent::AGENT_QUEUE;
use domain::archive::Archive;
use domain::backup::Backup;
use domain::policy::calendar::Interval;
use domain::policy::{Application, Policy, Settings};
use domain::query::{Filter, MAX_LIMIT, Pattern, Query, RecordField, TaskField, Test, Value};
use domain::repository::Repository;
use domain::resource::Resource;
use domain::task::{Affinity, Named, Priority, State, Task, TaskSpec, kind};
use domain::tenant::Tenant;
use domain::work::{BackupWork, ForgetWork, MAX_POINTS, OwnTerms, Point, Work};
use domain::{Caller, Code, Error, Result, Right, Scope, Timestamp, Uuid, if_found};
use jiff::tz::TimeZone;
use ledger::{Stored, Write};
use serde_json::json;

use super::Service;
use super::asked::Asked;
use super::runs::{named_resource, own_rules, settings_for};

/// A backup that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupWish {
    /// Of what.
    pub resource: Uuid,
    /// The name of the repository; none = that of the resource's policy, or else the usual one of its agent.
    pub repository: Option<String>,
    /// How long it stays; none = as its policy says, or else until somebody deletes it.
    pub keep: Option<Interval>,
}

impl Service {
    /// Backs a resource up now, whatever policies do: a task for its agent, which need not be connected.
    ///
    /// # Errors
    /// `forbidden` below operator, `not_found` for the resource, `invalid_field` for the repository or the end, `disabled`
    /// for a resource that is deleted, disabled or without an agent.
    pub async fn back_up(&self, caller: &Caller, wish: BackupWish, asked: Asked) -> Result<Task> {
        let scope = caller.may(Right::Operate)?;
        let everything = Scope::everything();
        let resource = self.ledger.get::<Resource>(scope, wish.resource).await.map_err(|e| e.field("resource"))?.value;
        if let Some(why) = unusable(&resource) {
            let message = format!("'{}' cannot be backed up: {why}", resource.name);
            return Err(Error::new(Code::Disabled, message).field("resource"));
        }
        if let Some(keep) = wish.keep {
            keep.check("keep")?;
        }
        let applied = self.newest_application(&everything, resource.id).await?;
        let policy = applied.as_ref().map(|(_, policy)| policy);
        let repository = match &wish.repository {
            Some(name) => self.repository_named(name, resource.tenant).await?.id,
            None => match policy {
                Some(policy) => policy.repository,
                None => self.usual_repository_of(&resource).await?.id,
            },
        };
        let by_hand = policy.is_none_or(|policy| policy.repository != repository);
        let archive = match (&applied, by_hand) {
            (Some((app, _)), false) => app.archive_id(),
            _ => {
                let key = Archive::key_by_hand(repository, resource.id);
                let found = self.ledger.find::<Archive>(&everything, &key).await?;
                found.map_or_else(Uuid::now_v7, |archive| archive.value.id)
            }
        };
        let none = Settings { excludes: resource.sources.excludes.clone(), ..Settings::default() };
        let work = BackupWork {
            archive,
            repository,
            paths: resource.sources.paths.clone(),
            full: false,
            volume: resource.is_volume(),
            settings: policy.map_or(none, |policy| settings_for(policy, &resource)),
        };
        let mut spec = TaskSpec::new(Uuid::now_v7(), kind::BACKUP, AGENT_QUEUE, resource.tenant);
        spec.argument = json!(work).into();
        spec.argument[OwnTerms::MEMBER] = json!(OwnTerms { keep: wish.keep, apart: by_hand });
        spec.context = json!({ "title": format!("Backing up '{}'", resource.name), "run_mode": "manual" }).into();
        spec.seeding = self.has_no_backup(resource.id).await?;
        spec.policy = policy.map(|p| Named::ours(p.id, &p.kind, &p.name));
        spec.resource = Some(named_resource(&resource));
        spec.affinity = Affinity::to(resource.agent);
        spec.started_by = Some(caller.name.as_str().into());
        spec.issuer.id = caller.issuer_id().into();
        spec.rules = own_rules();
        asked.write_into(&mut spec);
        let entry = self.audit_entry(caller, "backup.run", resource.tenant, resource.id.to_string(), resource.name);
        let writes = vec![Write::CreateTask(Box::new(spec)), entry];
        let committed = self.ledger.commit(scope, self.moment(), writes).await?;
        self.deliver(&committed);
        committed.task().cloned().ok_or_else(|| Error::new(Code::Internal, "the new task is not in the commit"))
    }

    /// Whether there is no backup of a resource, whoever asked for one and wherever it would lie: the next one seeds.
    pub(super) async fn has_no_backup(&self, resource: Uuid) -> Result<bool> {
        let live =
            Filter::all().is(RecordField::Resource, Value::Uuid(resource))?.and(RecordField::EndedAt, Test::Absent)?;
        Ok(self.ledger.list::<Backup>(&Scope::everything(), &Query::newest(live, 1)).await?.items.is_empty())
    }

    /// When backups go, as far as that is fixed: by an end of their own, or by the retention of their policy.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn ends_of(&self, backups: &[Backup]) -> Result<HashMap<Uuid, Timestamp>> {
        let policies: HashMap<Uuid, Policy> =
            self.by_id(&Scope::everything(), backups.iter().filter_map(|b| b.policy)).await?;
        let end = |backup: &Backup| {
            let by_policy = || policies.get(&backup.policy?)?.retention.end_of(backup.created_at, &TimeZone::UTC);
            Some((backup.id, backup.expires_at.or_else(by_policy)?))
        };
        Ok(backups.iter().filter_map(end).collect())
    }

    /// What backups are of, also where it went to another owner since.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn instances_of(&self, backups: &[Backup]) -> Result<HashMap<Uuid, Resource>> {
        self.by_id(&Scope::everything(), backups.iter().map(|b| b.resource)).await
    }

    /// The policy that was applied to a resource last, with its application.
    async fn newest_application(&self, scope: &Scope, resource: Uuid) -> Result<Option<(Application, Policy)>> {
        let filter = Filter::all().is(RecordField::Resource, Value::Uuid(resource))?;
        let mut applied: Vec<Application> =
            self.ledger.all::<Application>(scope, filter).await?.into_iter().map(|a| a.value).collect();
        applied.sort_by_key(|app| (app.created_at, app.id));
        while let Some(app) = applied.pop() {
            let policy = if_found(self.ledger.get::<Policy>(scope, app.policy).await)?;
            if let Some(policy) = policy.filter(|policy| policy.value.kind == kind::BACKUP) {
                return Ok(Some((app, policy.value)));
            }
        }
        Ok(None)
    }

    /// The repository of this name, if what belongs to the tenant may be stored there.
    async fn repository_named(&self, name: &str, tenant: Uuid) -> Result<Repository> {
        let tenant = self.ledger.get::<Tenant>(&Scope::everything(), tenant).await?.value;
        match self.ledger.find::<Repository>(&Scope::everything(), name).await? {
            Some(found) if self.serves(&found.value, &tenant).await? => Ok(found.value),
            _ => Err(Error::invalid("repository", format!("there is no repository '{name}' for this resource"))
                .hint("the name of one of its owner's or of a tenant above, as `backstay repository list` shows it")),
        }
    }

    async fn usual_repository_of(&self, resource: &Resource) -> Result<Repository> {
        let none = || Error::missing("repository").hint("the agent has no repository to store in; create one first");
        let agent = resource.agent.ok_or_else(none)?;
        let agent = self.ledger.get::<domain::agent::Agent>(&Scope::everything(), agent).await?.value;
        let places = self.repositories_and_owners().await?;
        places.usual_of(self.locator_of(agent.tenant).await?.as_str()).cloned().ok_or_else(none)
    }

    /// Makes tasks that remove the backups whose own end has come, as far as none is under way and nobody needs them.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn expire_backups(&self) -> Result<()> {
        let everything = Scope::everything();
        let to = Bound::Included(Value::Time(self.moment().now));
        let over = Filter::all()
            .and(RecordField::ExpiresAt, Test::Range { from: Bound::Unbounded, to })?
            .and(RecordField::EndedAt, Test::Absent)?;
        let mut over = self.ledger.all::<Backup>(&everything, over).await?;
        if over.is_empty() {
            return Ok(());
        }
        let needed = self.points_in_use().await?;
        let going = self.points_going().await?;
        over.retain(|b| !needed.contains(&b.value.id) && !going.contains(&b.value.id));
        // One task for each archive in each repository: its agent reaches that.
        let mut groups: BTreeMap<(Uuid, Uuid), Vec<Backup>> = BTreeMap::new();
        for Stored { value: backup, .. } in over {
            groups.entry((backup.repository, backup.archive)).or_default().push(backup);
        }
        let resources: HashMap<Uuid, Resource> =
            self.by_id(&everything, groups.values().flatten().map(|b| b.resource)).await?;
        for ((repository, archive), backups) in groups {
            let point = |b: &Backup| Point { backup: b.id, snapshot: b.snapshot.clone(), because: Vec::new() };
            let points: Vec<Point> = backups.iter().take(MAX_POINTS).map(point).collect();
            let Some(one) = backups.first() else { continue };
            let resource = resources.get(&one.resource);
            let mut spec = TaskSpec::new(Uuid::now_v7(), kind::RETENTION, AGENT_QUEUE, one.tenant);
            spec.argument = json!(ForgetWork { repository, archive, points, reasons: Vec::new() }).into();
            let title = format!("Removing backups of '{}' whose time is over", one.resource_name);
            spec.context = json!({ "title": title, "run_mode": "scheduled" }).into();
            spec.priority = Priority::BelowNormal;
            let named = || Named::ours(one.resource, "", &one.resource_name);
            spec.resource = Some(resource.map_or_else(named, named_resource));
            let agent = resource.and_then(|r| r.agent);
            spec.affinity = Affinity::to(agent);
            spec.rules = own_rules();
            self.carry_out(self.moment(), vec![Write::CreateTask(Box::new(spec))]).await?;
        }
        Ok(())
    }

    /// The recovery points that tasks which are not done remove.
    async fn points_going(&self) -> Result<std::collections::HashSet<Uuid>> {
        let filter = Filter::all()
            .is(TaskField::Type, Value::Text(kind::RETENTION.to_owned()))?
            .and(TaskField::State, Test::NoneOf(vec![Pattern::Is(Value::Enum(State::Completed.ordinal()))]))?;
        let open = self.ledger.tasks(&Scope::everything(), &Query::newest(filter, MAX_LIMIT)).await?.items;
        let points = |task: &Task| match Work::of(&task.spec) {
            Ok(Work::Forget(work)) => work.points.into_iter().map(|point| point.backup).collect(),
            _ => Vec::new(),
        };
        Ok(open.iter().flat_map(points).collect())
    }
}

/// Why a resource cannot be backed up, if it cannot.
fn unusable(resource: &Resource) -> Option<&'static str> {
    match resource {
        r if r.deleted_at.is_some() => Some("it was deleted"),
        r if r.agent.is_none() => Some("no agent reaches it"),
        r if !r.enabled => Some("it is disabled"),
        _ => None,
    }
}
