//! Volumes as one API knows them: what is protected and can be restored as a set of files or as a device, a machine's whole
//! set of sources among them (contract for Clumio clients, D3). What is shown beside the resource is looked up for many at
//! once, and only as far as it is asked for.

use std::collections::{HashMap, HashSet};
use std::ops::Bound;

use domain::agent::Agent;
use domain::archive::Archive;
use domain::backup::Backup;
use domain::policy::{Application, Policy};
use domain::query::{
    Direction, Filter, MAX_LIMIT, Order, Page, Pattern, Query, RecordField, Slice, TaskField, Test, Value,
};
use domain::resource::{Resource, ResourceKind};
use domain::task::{ResultCode, Task, kind};
use domain::{Caller, Error, Result, Right, Scope, SignedDuration, Timestamp, Uuid};

use super::environments::{any_of, environment_id};
use super::resource_views::of_resources;
use super::{AT_ONCE, Service};

/// How many pages of tasks are looked through for all together, before those that are left are asked for one by one.
const PAGES: usize = 4;

/// The kinds of resources that are no volumes.
const OTHERS: [ResourceKind; 2] = [ResourceKind::Mailbox, ResourceKind::Image];

/// What is to be known beside the resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Around {
    /// Where it is stored.
    pub place: bool,
    /// Its newest backup.
    pub newest: bool,
    /// Its policy.
    pub policy: bool,
    /// How its newest backup of so many days went.
    pub runs: Option<u32>,
    /// When it last went well and wrong.
    pub last_runs: bool,
}

impl Around {
    /// All there is; without a number of days, nothing of how backups went lately.
    #[must_use]
    pub fn all(days: Option<u32>) -> Around {
        Around { place: true, newest: true, policy: true, runs: days, last_runs: true }
    }
}

/// Where a volume is stored, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredIn {
    /// The environment: its agent with the repository.
    pub environment: Uuid,
    /// The repository.
    pub repository: Uuid,
    /// Its name.
    pub repository_name: String,
}

/// How the newest backup went that has ended and was not cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Went {
    /// There was none.
    Nowhere,
    /// Well.
    Well,
    /// With warnings.
    Partly,
    /// Wrong.
    Wrong,
}

/// A volume with what was asked for beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct VolumeView {
    /// The resource.
    pub resource: Resource,
    /// Where it is stored; none without an agent.
    pub stored_in: Option<StoredIn>,
    /// Its newest backup.
    pub newest: Option<Backup>,
    /// The policy that was applied to it last.
    pub policy: Option<Policy>,
    /// How its newest backup went; none if nobody asked.
    pub went: Option<Went>,
    /// When the last backup by a policy began that went well.
    pub last_good: Option<Timestamp>,
    /// When the last backup by a policy began that went wrong.
    pub last_bad: Option<Timestamp>,
}

impl Service {
    /// The resources that are volumes, by name.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn volumes(&self, caller: &Caller, filter: Filter<RecordField>, page: Page) -> Result<Slice<Resource>> {
        let order = Order::by(vec![(RecordField::Name, Direction::Asc)])?;
        let query = Query { filter: volumes_of(filter)?, order, page, total: true };
        Ok(self.ledger.list::<Resource>(caller.may(Right::View)?, &query).await?.map(|s| s.value))
    }

    /// All resources that are volumes and match, by name.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn all_volumes(&self, caller: &Caller, filter: Filter<RecordField>) -> Result<Vec<Resource>> {
        let found = self.ledger.all::<Resource>(caller.may(Right::View)?, volumes_of(filter)?).await?;
        let mut found: Vec<Resource> = found.into_iter().map(|s| s.value).collect();
        found.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(found)
    }

    /// One volume, also a deleted one.
    ///
    /// # Errors
    /// `not_found`, also for resources that are none.
    pub async fn volume(&self, caller: &Caller, id: Uuid, around: Around) -> Result<VolumeView> {
        let resource = self.ledger.get::<Resource>(caller.may(Right::View)?, id).await?.value;
        let none = || Error::not_found("volume", id);
        if OTHERS.contains(&resource.kind) {
            return Err(none());
        }
        self.volume_views(caller, vec![resource], around).await?.pop().ok_or_else(none)
    }

    /// These volumes with what is asked for, in their order.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn volume_views(
        &self,
        caller: &Caller,
        resources: Vec<Resource>,
        around: Around,
    ) -> Result<Vec<VolumeView>> {
        let scope = caller.may(Right::View)?;
        let mut views: Vec<VolumeView> = resources.into_iter().map(VolumeView::plain).collect();
        if around.place || around.newest {
            self.find_places(&mut views, around.newest).await?;
        }
        if around.policy {
            self.find_policies(&mut views).await?;
        }
        for part in views.chunks_mut(AT_ONCE) {
            if let Some(days) = around.runs {
                self.find_runs(scope, part, days).await?;
            }
            if around.last_runs {
                self.find_last_runs(scope, part).await?;
            }
        }
        Ok(views)
    }

    async fn find_places(&self, views: &mut [VolumeView], newest: bool) -> Result<()> {
        let everything = Scope::everything();
        let agents: HashMap<Uuid, Agent> =
            self.by_id(&everything, views.iter().filter_map(|v| v.resource.agent)).await?;
        let locators = self.locators(agents.values().map(|a| a.tenant)).await?;
        let repositories = self.repositories_and_owners().await?;
        let mut stored: HashMap<Uuid, HashSet<Uuid>> = HashMap::new();
        for part in views.chunks(AT_ONCE) {
            let ids = part.iter().filter(|v| v.resource.last_backup_at.is_some()).map(|v| v.resource.id);
            let ids: Vec<Uuid> = ids.collect();
            if ids.is_empty() || newest {
                continue;
            }
            let filter = Filter::all().and(RecordField::Resource, any_of(ids.into_iter()))?;
            let filter = filter.and(RecordField::EndedAt, Test::Absent)?;
            for archive in self.ledger.all::<Archive>(&everything, filter).await? {
                stored.entry(archive.value.resource).or_default().insert(archive.value.repository);
            }
        }
        for view in views {
            let resource = &view.resource;
            let mut repository = None;
            if resource.last_backup_at.is_some() {
                match stored.get(&resource.id) {
                    // An archive knows where its newest backup lies.
                    Some(known) if known.len() == 1 && !newest => repository = known.iter().next().copied(),
                    _ => {
                        view.newest = self.newest_backup_of(resource.id).await?;
                        repository = view.newest.as_ref().map(|b| b.repository);
                    }
                }
            }
            let Some(agent) = resource.agent.and_then(|id| agents.get(&id)) else { continue };
            let locator = locators.get(&agent.tenant).map_or("", String::as_str);
            let usual = || repositories.usual_of(locator).map(|r| r.id);
            let Some(repository) = repository.or_else(usual) else { continue };
            let name = repositories.name_of(repository).unwrap_or_default().to_owned();
            let environment = environment_id(agent.id, repository);
            view.stored_in = Some(StoredIn { environment, repository, repository_name: name });
        }
        Ok(())
    }

    async fn newest_backup_of(&self, resource: Uuid) -> Result<Option<Backup>> {
        let filter =
            Filter::all().is(RecordField::Resource, Value::Uuid(resource))?.and(RecordField::EndedAt, Test::Absent)?;
        let order = Order::by(vec![(RecordField::CreatedAt, Direction::Desc)])?;
        let query = Query { filter, order, page: Page::first(1), total: false };
        Ok(self.ledger.list::<Backup>(&Scope::everything(), &query).await?.items.pop().map(|b| b.value))
    }

    /// Of several policies the one that was applied last.
    async fn find_policies(&self, views: &mut [VolumeView]) -> Result<()> {
        let everything = Scope::everything();
        let mut applied: HashMap<Uuid, Vec<Application>> = HashMap::new();
        for part in views.chunks(AT_ONCE) {
            let filter = Filter::all().and(RecordField::Resource, any_of(part.iter().map(|v| v.resource.id)))?;
            for app in self.ledger.all::<Application>(&everything, filter).await? {
                applied.entry(app.value.resource).or_default().push(app.value);
            }
        }
        let policies: HashMap<Uuid, Policy> =
            self.by_id(&everything, applied.values().flatten().map(|a| a.policy)).await?;
        for view in views {
            let applied = applied.remove(&view.resource.id).unwrap_or_default();
            let backups = applied.iter().filter_map(|app| {
                let policy = policies.get(&app.policy).filter(|p| p.kind == kind::BACKUP)?;
                Some(((app.created_at, app.id), policy))
            });
            view.policy = backups.max_by_key(|(applied, _)| *applied).map(|(_, policy)| policy.clone());
        }
        Ok(())
    }

    async fn find_runs(&self, scope: &Scope, views: &mut [VolumeView], days: u32) -> Result<()> {
        let since = self.moment().now.checked_sub(SignedDuration::from_hours(24 * i64::from(days)));
        let from = Bound::Included(Value::Time(since.unwrap_or(Timestamp::MIN)));
        let filter = backups_that(Test::NoneOf(codes(&[ResultCode::Cancelled])))?
            .and(TaskField::CompletedAt, Test::Range { from, to: Bound::Unbounded })?;
        let newest = self.newest_of(scope, views, &filter).await?;
        for view in views {
            let code = newest.get(&view.resource.id).and_then(|task| task.result()).map(|r| r.code);
            view.went = Some(match code {
                None => Went::Nowhere,
                Some(ResultCode::Ok) => Went::Well,
                Some(ResultCode::Warning) => Went::Partly,
                Some(_) => Went::Wrong,
            });
        }
        Ok(())
    }

    async fn find_last_runs(&self, scope: &Scope, views: &mut [VolumeView]) -> Result<()> {
        let by_policy =
            |results: &[ResultCode]| backups_that(Test::AnyOf(codes(results)))?.and(TaskField::PolicyId, Test::Present);
        let good = self.newest_of(scope, views, &by_policy(&[ResultCode::Ok, ResultCode::Warning])?).await?;
        let bad = [ResultCode::Error, ResultCode::Abandoned, ResultCode::TimedOut];
        let bad = self.newest_of(scope, views, &by_policy(&bad)?).await?;
        let began = |tasks: &HashMap<Uuid, Task>, id| tasks.get(&id).map(|t| t.started_at().unwrap_or(t.created_at));
        for view in views {
            view.last_good = began(&good, view.resource.id);
            view.last_bad = began(&bad, view.resource.id);
        }
        Ok(())
    }

    /// The newest task of each that matches.
    async fn newest_of(
        &self,
        scope: &Scope,
        views: &[VolumeView],
        filter: &Filter<TaskField>,
    ) -> Result<HashMap<Uuid, Task>> {
        let mut missing: HashSet<Uuid> = views.iter().map(|v| v.resource.id).collect();
        let mut newest: HashMap<Uuid, Task> = HashMap::new();
        let of = |ids: &[Uuid]| -> Result<Filter<TaskField>> {
            let clauses = of_resources(ids)?.clauses().iter().chain(filter.clauses()).cloned().collect();
            Ok(Filter::of(clauses))
        };
        let all: Vec<Uuid> = missing.iter().copied().collect();
        if all.is_empty() {
            return Ok(newest);
        }
        let limit = u32::try_from(all.len() * 2).unwrap_or(MAX_LIMIT).clamp(1, MAX_LIMIT);
        let mut query = Query::newest(of(&all)?, limit);
        let mut more = true;
        for _ in 0..PAGES {
            let slice = self.ledger.tasks(scope, &query).await?;
            for task in slice.items {
                let of = task.spec.resource.as_ref().and_then(|named| Uuid::parse_str(&named.id).ok());
                if let Some(id) = of.filter(|id| missing.remove(id)) {
                    newest.insert(id, task);
                }
            }
            more = slice.next.is_some() && !missing.is_empty();
            if !more {
                break;
            }
            query.page = Page::After { key: slice.next, limit };
        }
        if more {
            for id in missing {
                let found = self.ledger.tasks(scope, &Query::newest(of(&[id])?, 1)).await?.items.pop();
                newest.extend(found.map(|task| (id, task)));
            }
        }
        Ok(newest)
    }
}

impl VolumeView {
    fn plain(resource: Resource) -> VolumeView {
        VolumeView {
            resource,
            stored_in: None,
            newest: None,
            policy: None,
            went: None,
            last_good: None,
            last_bad: None,
        }
    }
}

/// Only what is a volume.
fn volumes_of(filter: Filter<RecordField>) -> Result<Filter<RecordField>> {
    let others = OTHERS.map(|kind| Pattern::Is(Value::Text(kind.name().to_owned()))).to_vec();
    filter.and(RecordField::Kind, Test::NoneOf(others))
}

fn codes(codes: &[ResultCode]) -> Vec<Pattern> {
    codes.iter().map(|code| Pattern::Is(Value::Enum(code.ordinal()))).collect()
}

/// Backups that ended so.
fn backups_that(ended: Test) -> Result<Filter<TaskField>> {
    Filter::all().is(TaskField::Type, Value::Text(kind::BACKUP.to_owned()))?.and(TaskField::Result, ended)
}
