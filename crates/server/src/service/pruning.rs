//! Space is given back: what retention and deletions remove from a repository takes up space until its agent cleans up,
//! about once a day. First it marks what no recovery point needs; what has been marked for a day is removed.

use domain::agent::{AGENT_QUEUE, Agent};
use domain::query::Filter;
use domain::repository::{Pruning, Repository};
use domain::task::{Affinity, Priority, Rules, TaskSpec, kind};
use domain::work::{PruneDone, PruneWork};
use domain::{Code, Result, Scope, SignedDuration, Uuid, if_found};
use ledger::{Expect, Stored, Write};
use serde_json::json;

use super::Service;
use super::runs::own_rules;

/// How long after the first removal it is cleaned up: others follow, and backups of the same night.
const DELAY: SignedDuration = SignedDuration::from_hours(1);
/// When it is tried again where it could not be done: the repository was in use, or the agent away.
const AGAIN: SignedDuration = SignedDuration::from_hours(2);
/// When what was marked can be removed: agents leave it for a day.
const MARKED: SignedDuration = SignedDuration::from_hours(25);

impl Service {
    /// Notes that an agent removed something from a repository.
    pub(super) async fn removed_from(&self, repository: Uuid, agent: Uuid) -> Result<Option<Write>> {
        let found = if_found(self.ledger.get::<Repository>(&Scope::everything(), repository).await)?;
        let Some(Stored { rev, mut value }) = found.filter(|found| found.value.pruning.is_none()) else {
            return Ok(None);
        };
        value.pruning = self.moment().now.checked_add(DELAY).ok().map(|at| Pruning { at, agent });
        Ok(Some(Write::Put(Box::new(value.into()), Expect::Rev(rev))))
    }

    /// Notes what a clean-up did: where something is marked now, there is another one.
    pub(super) async fn pruned(&self, work: &PruneWork, done: &PruneDone) -> Result<Option<Write>> {
        let found = if_found(self.ledger.get::<Repository>(&Scope::everything(), work.repository).await)?;
        let Some(Stored { rev, mut value }) = found.filter(|_| !done.busy) else { return Ok(None) };
        let Some(pruning) = value.pruning.take() else { return Ok(None) };
        if done.marked > 0 {
            value.pruning = self.moment().now.checked_add(MARKED).ok().map(|at| Pruning { at, ..pruning });
        }
        Ok(Some(Write::Put(Box::new(value.into()), Expect::Rev(rev))))
    }

    /// Makes the tasks that clean up repositories where it is time.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn prune_due(&self) -> Result<()> {
        self.prune_due_at(self.moment()).await
    }

    /// As `prune_due`, at this moment.
    pub(super) async fn prune_due_at(&self, moment: domain::Moment) -> Result<()> {
        for Stored { rev, mut value } in self.ledger.all::<Repository>(&Scope::everything(), Filter::all()).await? {
            let due = value.pruning.filter(|pruning| pruning.at <= moment.now && !value.append_only);
            let Some(Pruning { agent, .. }) = due else { continue };
            let spec = self.pruning(&value, agent).await?;
            // If nothing comes of it, it is time again later.
            value.pruning = moment.now.checked_add(AGAIN).ok().map(|at| Pruning { at, agent });
            let writes = vec![Write::CreateTask(Box::new(spec)), Write::Put(Box::new(value.into()), Expect::Rev(rev))];
            match self.carry_out(moment, writes).await {
                // Somebody changed the repository; the next look sees what they made of it.
                Err(e) if e.code == Code::RevisionConflict => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// The task that cleans up a repository: for the agent that removed something, as long as it is there.
    async fn pruning(&self, repository: &Repository, agent: Uuid) -> Result<TaskSpec> {
        let known = if_found(self.ledger.get::<Agent>(&Scope::everything(), agent).await)?;
        let tenant = known.map_or(repository.tenant, |agent| agent.value.tenant);
        let mut spec = TaskSpec::new(Uuid::now_v7(), kind::PRUNE, AGENT_QUEUE, tenant);
        spec.argument = json!(PruneWork { repository: repository.id }).into();
        let title = format!("Giving back space in the repository '{}'", repository.name);
        spec.context = json!({ "title": title, "run_mode": "scheduled" }).into();
        spec.priority = Priority::Low;
        let agent = Some(agent).filter(|agent| self.hub.online(*agent));
        spec.affinity = Affinity::to(agent);
        spec.rules = Rules { queue_timeout: Some(AGAIN), ..own_rules() };
        Ok(spec)
    }
}
