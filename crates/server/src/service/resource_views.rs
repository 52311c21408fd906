//! How resources stand: what follows from their tasks, policies and agents. A page of them is looked up together, so that
//! a list costs a few questions and not a few for each row.

use std::collections::{HashMap, HashSet};

use domain::agent::Agent;
use domain::policy::Application;
use domain::query::{Clause, Filter, Pattern, RecordField, TaskField, Test, Value};
use domain::resource::{Registration, Resource, ResourceStatus};
use domain::task::{NotRun, ResultCode, State, Task, kind};
use domain::{Result, Scope, Timestamp, Uuid};

use super::Service;
use super::hub::Hub;

/// How many resources are looked up together.
const TOGETHER: usize = 500;

/// The tasks that say what goes on with a resource, whatever else does.
const MOVES_DATA: [&str; 3] = [kind::BACKUP, kind::RECOVERY, kind::FILE_RECOVERY];

/// A resource with what is derived from its tasks, policies and agent.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceView {
    /// The resource.
    pub resource: Resource,
    /// What is going on with it.
    pub status: ResourceStatus,
    /// What there is to say of that: why the last backup or the registration failed, or which work goes on.
    pub status_details: Option<String>,
    /// How far the running task is, in percent.
    pub status_progress: Option<u8>,
    /// When a policy backs it up next.
    pub next_backup_at: Option<Timestamp>,
    /// Whether a policy is applied to it.
    pub applied: bool,
    /// Whether its agent is connected.
    pub online: bool,
    /// The agent that reaches it.
    pub agent: Option<Agent>,
}

/// What was found about some resources.
#[derive(Default)]
struct Facts {
    applications: HashMap<Uuid, Vec<Application>>,
    open: HashMap<Uuid, Task>,
    last_backup: HashMap<Uuid, Task>,
    agents: HashMap<Uuid, Agent>,
}

impl Service {
    /// How a resource stands.
    pub(super) async fn view(&self, scope: &Scope, resource: Resource) -> Result<ResourceView> {
        let mut facts = Facts::default();
        self.gather(scope, std::slice::from_ref(&resource), &mut facts).await?;
        Ok(facts.view(resource, &self.hub))
    }

    /// How each of these resources stands, in their order.
    pub(super) async fn views(&self, scope: &Scope, resources: Vec<Resource>) -> Result<Vec<ResourceView>> {
        let mut facts = Facts::default();
        for part in resources.chunks(TOGETHER) {
            self.gather(scope, part, &mut facts).await?;
        }
        Ok(resources.into_iter().map(|r| facts.view(r, &self.hub)).collect())
    }

    async fn gather(&self, scope: &Scope, resources: &[Resource], facts: &mut Facts) -> Result<()> {
        let present: Vec<&Resource> = resources.iter().filter(|r| r.deleted_at.is_none()).collect();
        if present.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = present.iter().map(|r| r.id).collect();
        let filter = Filter::all().and(RecordField::Resource, any_of(ids.iter().copied()))?;
        for application in self.ledger.all::<Application>(scope, filter).await? {
            facts.applications.entry(application.value.resource).or_default().push(application.value);
        }
        let agents: HashSet<Uuid> = present.iter().filter_map(|r| r.agent).collect();
        if !agents.is_empty() {
            // An agent may belong to a tenant above those whose machines it reaches.
            let filter = Filter::all().and(RecordField::Id, any_of(agents.into_iter()))?;
            let found = self.ledger.all::<Agent>(&Scope::everything(), filter).await?;
            facts.agents.extend(found.into_iter().map(|a| (a.value.id, a.value)));
        }
        let any = |kinds: &[&str]| kinds.iter().map(|kind| Pattern::Is(Value::Text((*kind).to_owned()))).collect();
        let under_way = Test::NoneOf(vec![Pattern::Is(Value::Enum(State::Completed.ordinal()))]);
        let under_way = Filter::all().and(TaskField::State, under_way)?;
        // What moves data says more of a resource than anything else.
        let moving = under_way.clone().and(TaskField::Type, Test::AnyOf(any(&MOVES_DATA)))?;
        self.newest_each(scope, &ids, &moving, &mut facts.open).await?;
        let mut resting: Vec<Uuid> = ids.into_iter().filter(|id| !facts.open.contains_key(id)).collect();
        self.newest_each(scope, &resting, &under_way, &mut facts.open).await?;
        resting.retain(|id| !facts.open.contains_key(id));
        let backups = Filter::all().and(TaskField::Type, Test::AnyOf(any(&[kind::BACKUP])))?;
        // That a run was skipped says nothing of how the one went that it gave way to.
        let skipped = Clause::new(TaskField::Tag, Test::AnyOf(any(&[NotRun::Skipped.name()])))?;
        let backups = backups.and_none_of(vec![vec![skipped]]);
        self.newest_each(scope, &resting, &backups, &mut facts.last_backup).await
    }

    /// Adds the newest task of each resource that passes, as it is this moment.
    async fn newest_each(
        &self,
        scope: &Scope,
        resources: &[Uuid],
        filter: &Filter<TaskField>,
        found: &mut HashMap<Uuid, Task>,
    ) -> Result<()> {
        if resources.is_empty() {
            return Ok(());
        }
        for mut task in self.ledger.newest_of_each(scope, resources, filter).await? {
            self.progress.show(&mut task);
            found.extend(resource_of(&task).map(|resource| (resource, task)));
        }
        Ok(())
    }
}

impl Facts {
    fn view(&self, resource: Resource, hub: &Hub) -> ResourceView {
        let applications = self.applications.get(&resource.id).map(Vec::as_slice).unwrap_or_default();
        let open = self.open.get(&resource.id);
        let failure = self.last_backup.get(&resource.id).and_then(failure);
        let (status, status_details) = match (open.map(|t| t.spec.kind.as_str()), resource.registration) {
            (_, Registration::Deleted) => (ResourceStatus::Idle, None),
            (Some(kind::BACKUP), _) => (ResourceStatus::BackingUp, None),
            (Some(kind::RECOVERY | kind::FILE_RECOVERY), _) => (ResourceStatus::Recovering, None),
            (Some(other), _) => (ResourceStatus::Other, Some(other.to_owned())),
            (None, Registration::Failed) => {
                let reason = resource.registration_details.get("reason").and_then(|r| r.as_str());
                (ResourceStatus::Failed, reason.map(str::to_owned))
            }
            (None, _) => match failure {
                Some(reason) => (ResourceStatus::Failed, Some(reason)),
                None => (ResourceStatus::Idle, None),
            },
        };
        ResourceView {
            status,
            status_details,
            status_progress: open.and_then(percent),
            next_backup_at: applications.iter().filter_map(|a| a.next_run_at).min(),
            applied: !applications.is_empty(),
            online: resource.deleted_at.is_none() && resource.agent.is_some_and(|a| hub.online(a)),
            agent: resource.agent.and_then(|a| self.agents.get(&a)).cloned(),
            resource,
        }
    }
}

/// The tasks of these resources.
pub(super) fn of_resources(ids: &[Uuid]) -> Result<Filter<TaskField>> {
    Filter::all().and(TaskField::ResourceId, Test::AnyOf(ids.iter().copied().map(Pattern::IsUuid).collect()))
}

fn any_of(ids: impl Iterator<Item = Uuid>) -> Test {
    Test::AnyOf(ids.map(|id| Pattern::Is(Value::Uuid(id))).collect())
}

fn resource_of(task: &Task) -> Option<Uuid> {
    task.spec.resource.as_ref().and_then(|named| Uuid::parse_str(&named.id).ok())
}

fn percent(task: &Task) -> Option<u8> {
    let p = task.status.progress.as_ref().filter(|p| p.total > 0)?;
    u8::try_from(p.current.saturating_mul(100) / p.total).ok()
}

/// Why a task failed, if it did.
fn failure(task: &Task) -> Option<String> {
    let result = task.result()?;
    let failed = matches!(result.code, ResultCode::Error | ResultCode::Abandoned | ResultCode::TimedOut);
    failed.then(|| result.error.as_ref().map_or_else(|| result.code.name().to_owned(), |e| e.message.clone()))
}
