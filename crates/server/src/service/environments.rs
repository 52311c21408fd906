//! Environments: an agent together with a repository that it stores in (contract for Clumio clients, D2). Nothing is kept
//! for them: there is one for the usual repository of each agent, and one for each repository that holds an archive of what
//! the agent reaches.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use domain::agent::Agent;
use domain::archive::Archive;
use domain::query::{Filter, Pattern, RecordField, Test, Value};
use domain::repository::Repository;
use domain::resource::Resource;
use domain::tenant::Tenant;
use domain::{Caller, Error, Result, Right, Scope, Uuid, if_found};

use super::{AT_ONCE, Service, named_id};

/// An agent together with a repository.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// Follows from the two.
    pub id: Uuid,
    /// The agent.
    pub agent: Agent,
    /// Whether it is connected now.
    pub online: bool,
    /// The repository.
    pub repository: Uuid,
    /// Its name.
    pub repository_name: String,
}

/// The id of the environment of these two.
#[must_use]
pub fn environment_id(agent: Uuid, repository: Uuid) -> Uuid {
    named_id(agent, repository.to_string().as_bytes())
}

/// All repositories with the places of their owners in the tree.
pub(super) struct Repositories(Vec<(Repository, String)>);

impl Repositories {
    /// Where an agent of a tenant in this place stores if nobody says otherwise: in the oldest repository of the nearest
    /// tenant that has one, itself or above it.
    pub(super) fn usual_of(&self, locator: &str) -> Option<&Repository> {
        let above = self.0.iter().filter(|(_, owner)| locator.starts_with(owner.as_str()));
        let nearest = above.max_by_key(|(r, owner)| (owner.len(), Reverse((r.created_at, r.id))));
        nearest.map(|(repository, _)| repository)
    }

    pub(super) fn name_of(&self, id: Uuid) -> Option<&str> {
        self.0.iter().find(|(r, _)| r.id == id).map(|(r, _)| r.name.as_str())
    }
}

impl Service {
    /// The environments that the caller sees, of one agent or of all, by the names of agent and repository. One is seen if
    /// the agent is, or something that it reaches.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn environments(&self, caller: &Caller, agent: Option<Uuid>) -> Result<Vec<Environment>> {
        let scope = caller.may(Right::View)?;
        let agents = match agent {
            Some(agent) => self.visible_agent(scope, agent).await?.into_iter().collect(),
            None => self.visible_agents(scope).await?,
        };
        let repositories = self.repositories_and_owners().await?;
        let locators = self.locators(agents.iter().map(|a| a.tenant)).await?;
        let mut pairs: HashSet<(Uuid, Uuid)> = HashSet::new();
        let mut usual: HashSet<Uuid> = HashSet::new();
        for agent in &agents {
            let locator = locators.get(&agent.tenant).map_or("", String::as_str);
            if let Some(repository) = repositories.usual_of(locator) {
                pairs.insert((agent.id, repository.id));
                usual.insert(repository.id);
            }
        }
        pairs.extend(self.pairs_of_archives(&agents, &usual, agent.is_some()).await?);
        let mut found: Vec<Environment> = Vec::with_capacity(pairs.len());
        let agents: HashMap<Uuid, Agent> = agents.into_iter().map(|a| (a.id, a)).collect();
        for (agent, repository) in pairs {
            let (Some(agent), Some(name)) = (agents.get(&agent), repositories.name_of(repository)) else { continue };
            found.push(Environment {
                id: environment_id(agent.id, repository),
                online: self.hub.online(agent.id),
                agent: agent.clone(),
                repository,
                repository_name: name.to_owned(),
            });
        }
        found.sort_by(|a, b| (&a.agent.name, &a.repository_name, a.id).cmp(&(&b.agent.name, &b.repository_name, b.id)));
        Ok(found)
    }

    /// One environment.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn environment(&self, caller: &Caller, id: Uuid) -> Result<Environment> {
        let found = self.environments(caller, None).await?.into_iter().find(|e| e.id == id);
        found.ok_or_else(|| Error::not_found("environment", id))
    }

    /// The names of all repositories: who sees a backup may know where it lies, whoever owns that place.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn repository_names(&self) -> Result<HashMap<Uuid, String>> {
        let found = self.ledger.all::<Repository>(&Scope::everything(), Filter::all()).await?;
        Ok(found.into_iter().map(|r| (r.value.id, r.value.name)).collect())
    }

    /// The agents that the caller sees, or sees something of that they reach.
    async fn visible_agents(&self, scope: &Scope) -> Result<Vec<Agent>> {
        let mut agents: Vec<Agent> =
            self.ledger.all::<Agent>(scope, Filter::all()).await?.into_iter().map(|a| a.value).collect();
        if !scope.is_everything() {
            let known: HashSet<Uuid> = agents.iter().map(|a| a.id).collect();
            let reached = Filter::all().and(RecordField::Agent, Test::Present)?;
            let resources = self.ledger.all::<Resource>(scope, reached).await?;
            let more = resources.iter().filter_map(|r| r.value.agent).filter(|a| !known.contains(a));
            agents.extend(self.by_id::<Agent>(&Scope::everything(), more).await?.into_values());
        }
        Ok(agents)
    }

    async fn visible_agent(&self, scope: &Scope, id: Uuid) -> Result<Option<Agent>> {
        if let Some(agent) = if_found(self.ledger.get::<Agent>(scope, id).await)? {
            return Ok(Some(agent.value));
        }
        let reached = Filter::all().is(RecordField::Agent, Value::Uuid(id))?;
        if self.ledger.list::<Resource>(scope, &domain::query::Query::newest(reached, 1)).await?.items.is_empty() {
            return Ok(None);
        }
        Ok(if_found(self.ledger.get::<Agent>(&Scope::everything(), id).await)?.map(|a| a.value))
    }

    /// Which agents reach what has archives, and where those lie. Of all agents, archives in the one repository that all
    /// use anyway are not looked at: that pair is there already.
    async fn pairs_of_archives(
        &self,
        agents: &[Agent],
        usual: &HashSet<Uuid>,
        of_one: bool,
    ) -> Result<HashSet<(Uuid, Uuid)>> {
        let everything = Scope::everything();
        let ids: HashSet<Uuid> = agents.iter().map(|a| a.id).collect();
        let mut archives: Vec<Archive> = Vec::new();
        let mut reached: HashMap<Uuid, Uuid> = HashMap::new();
        if of_one {
            let Some(agent) = agents.first() else { return Ok(HashSet::new()) };
            let filter = Filter::all().is(RecordField::Agent, Value::Uuid(agent.id))?;
            let resources = self.ledger.all::<Resource>(&everything, filter).await?;
            reached.extend(resources.iter().map(|r| (r.value.id, agent.id)));
            let resources: Vec<Uuid> = reached.keys().copied().collect();
            for some in resources.chunks(AT_ONCE) {
                let filter = Filter::all().and(RecordField::Resource, any_of(some.iter().copied()))?;
                let filter = filter.and(RecordField::EndedAt, Test::Absent)?;
                archives.extend(self.ledger.all::<Archive>(&everything, filter).await?.into_iter().map(|a| a.value));
            }
        } else {
            let mut filter = Filter::all().and(RecordField::EndedAt, Test::Absent)?;
            if let (1, Some(only)) = (usual.len(), usual.iter().next()) {
                filter = filter.and(RecordField::Repository, Test::NoneOf(vec![Pattern::Is(Value::Uuid(*only))]))?;
            }
            archives.extend(self.ledger.all::<Archive>(&everything, filter).await?.into_iter().map(|a| a.value));
            let resources = self.by_id::<Resource>(&everything, archives.iter().map(|a| a.resource)).await?;
            reached.extend(resources.into_iter().filter_map(|(id, r)| Some((id, r.agent?))));
        }
        let pairs = archives.iter().filter_map(|a| Some((*reached.get(&a.resource)?, a.repository)));
        Ok(pairs.filter(|(agent, _)| ids.contains(agent)).collect())
    }

    pub(super) async fn repositories_and_owners(&self) -> Result<Repositories> {
        let found = self.ledger.all::<Repository>(&Scope::everything(), Filter::all()).await?;
        let mut locators = self.locators(found.iter().map(|r| r.value.tenant)).await?;
        let found = found.into_iter().map(|r| r.value);
        let with_owner = found.filter_map(|r| Some((locators.get_mut(&r.tenant)?.clone(), r)));
        Ok(Repositories(with_owner.map(|(owner, repository)| (repository, owner)).collect()))
    }

    pub(super) async fn locator_of(&self, tenant: Uuid) -> Result<String> {
        Ok(self.ledger.get::<Tenant>(&Scope::everything(), tenant).await?.value.locator)
    }

    pub(super) async fn locators(&self, tenants: impl Iterator<Item = Uuid>) -> Result<HashMap<Uuid, String>> {
        let found = self.by_id::<Tenant>(&Scope::everything(), tenants).await?;
        Ok(found.into_iter().map(|(id, tenant)| (id, tenant.locator)).collect())
    }
}

pub(super) fn any_of(ids: impl Iterator<Item = Uuid>) -> Test {
    Test::AnyOf(ids.map(|id| Pattern::Is(Value::Uuid(id))).collect())
}
