//! Agents take tasks: from their queue in its order, and what waits for more than an agent as soon as it may start.
//!
//! Backups of schedules with several sets wait in a queue of their own, from which nothing is claimed in its order: a
//! backup starts when its policy has a place for it, when no other one of its machine and policy is under way, and when
//! the retention before it is over. That is judged here, over what the ledger says at that moment, by one agent after the
//! other: so a limit holds whoever asks at the same time, and nothing has to be remembered over a restart.

use domain::agent::{AGENT_QUEUE, GATED_QUEUE};
use domain::policy::Policy;
use domain::query::{Direction, Filter, MAX_LIMIT, Order, Page, Pattern, Query, TaskField, Test, Value};
use domain::task::{Event, State, Task, TaskRef, kind};
use domain::token::Token;
use domain::{Code, Error, Result, Scope, Uuid, if_found};
use ledger::{Claim, Write, Written};

use super::{AgentIdentity, Assigned};
use crate::service::agent_access::TOKEN_HINT;
use crate::service::runs::tasks_before;
use crate::service::{Command, Service};

/// What goes before backups that wait at the gate.
const URGENT: [&str; 2] = [kind::RECOVERY, kind::FILE_RECOVERY];

impl Service {
    /// Hands out up to `slots` tasks.
    ///
    /// # Errors
    /// `unauthenticated` when the agent's token is no longer valid, and those of the ledger.
    pub async fn claim(&self, agent: &AgentIdentity, slots: usize) -> Result<Vec<Assigned>> {
        self.check_token(agent).await?;
        let mut assigned = Vec::new();
        if slots > 0 && self.count(&agent.scope, &waiting_at_the_gate()?).await? > 0 {
            self.claim_in_order(agent, &URGENT, slots, &mut assigned).await?;
            self.claim_gated(agent, slots, &mut assigned).await?;
        }
        self.claim_in_order(agent, kind::ALL, slots, &mut assigned).await?;
        for Assigned { task, .. } in &assigned {
            tracing::info!(task = %task.id, uuid = %task.spec.uuid, kind = task.spec.kind.as_str(), agent_id = %agent.id, "a task is handed out");
        }
        Ok(assigned)
    }

    /// Refuses an agent whose token is no longer valid.
    pub(in crate::service) async fn check_token(&self, agent: &AgentIdentity) -> Result<()> {
        match self.ledger.get::<Token>(&Scope::everything(), agent.token).await {
            Ok(token) if token.value.valid_at(self.moment().now) => Ok(()),
            Err(e) if e.code != Code::NotFound => Err(e),
            _ => Err(Error::new(Code::Unauthenticated, "the agent's token is no longer valid").hint(TOKEN_HINT)),
        }
    }

    async fn claim_in_order(
        &self,
        agent: &AgentIdentity,
        types: &[&str],
        slots: usize,
        assigned: &mut Vec<Assigned>,
    ) -> Result<()> {
        // A task that cannot be carried out is completed at once and leaves its slot to another.
        while assigned.len() < slots {
            let claim = Claim {
                queues: vec![AGENT_QUEUE.to_owned()],
                types: types.iter().map(|&k| k.to_owned()).collect(),
                executor: agent.executor(),
                leases: (assigned.len()..slots).map(|_| agent.new_lease()).collect(),
            };
            let committed = self.ledger.commit(&agent.scope, self.moment(), vec![Write::Claim(claim)]).await?;
            self.deliver(&committed);
            let claimed: Vec<Task> = committed
                .written
                .into_iter()
                .flat_map(|w| if let Written::Claimed(tasks) = w { tasks } else { Vec::new() })
                .collect();
            if claimed.is_empty() {
                break;
            }
            for task in claimed {
                assigned.extend(self.assigned(agent, task).await?);
            }
        }
        Ok(())
    }

    /// Takes what may start of what waits at the gate: the most urgent first, then the oldest.
    async fn claim_gated(&self, agent: &AgentIdentity, slots: usize, assigned: &mut Vec<Assigned>) -> Result<()> {
        // One after the other: between judging and handing out, nobody else may hand out.
        let _turn = self.gate.lock().await;
        let order = Order::by(vec![(TaskField::Priority, Direction::Desc), (TaskField::Id, Direction::Asc)])?;
        let mine = Test::AnyOf(vec![Pattern::Is(Value::Text(agent.id.to_string()))]);
        for bound in [mine, Test::Absent] {
            let filter = waiting_at_the_gate()?.and(TaskField::AffinityAgent, bound)?;
            let mut query = Query { filter, order: order.clone(), page: Page::first(MAX_LIMIT), total: false };
            loop {
                let slice = self.ledger.tasks(&agent.scope, &query).await?;
                for task in &slice.items {
                    if assigned.len() >= slots {
                        return Ok(());
                    }
                    if task.spec.affinity.admits(&agent.executor()) && self.may_start(task).await? {
                        assigned.extend(self.claim_this(agent, task).await?);
                    }
                }
                let Some(key) = slice.next else { break };
                query.page = Page::After { key: Some(key), limit: MAX_LIMIT };
            }
        }
        Ok(())
    }

    async fn claim_this(&self, agent: &AgentIdentity, task: &Task) -> Result<Option<Assigned>> {
        let event = Event::Claim { executor: agent.executor(), lease: agent.new_lease() };
        let write = Write::Task(TaskRef::Id(task.id), event);
        let committed = match self.ledger.commit(&agent.scope, self.moment(), vec![write]).await {
            // Cancelled, or over its time in the queue.
            Err(e) if matches!(e.code, Code::AlreadyCompleted | Code::StateConflict | Code::NotFound) => {
                return Ok(None);
            }
            other => other?,
        };
        self.deliver(&committed);
        match committed.task() {
            Some(task) => self.assigned(agent, task.clone()).await,
            None => Ok(None),
        }
    }

    /// Whether a backup at the gate may start now.
    async fn may_start(&self, task: &Task) -> Result<bool> {
        let everything = Scope::everything();
        for before in tasks_before(task) {
            let before = if_found(self.ledger.task(&everything, TaskRef::Uuid(before)).await)?;
            if before.is_some_and(|t| t.state() != State::Completed) {
                return Ok(false);
            }
        }
        let Some(policy) = &task.spec.policy else { return Ok(true) };
        let under_way = under_way(&policy.id)?;
        if let Some(resource) = &task.spec.resource {
            let same = under_way.clone().is(TaskField::ResourceId, Value::Text(resource.id.to_string()))?;
            if self.count(&everything, &same).await? > 0 {
                return Ok(false);
            }
        }
        let Ok(id) = Uuid::parse_str(&policy.id) else { return Ok(true) };
        let policy = if_found(self.ledger.get::<Policy>(&everything, id).await)?;
        let most = policy.map_or(0, |p| p.value.schedule.max_parallel());
        Ok(most == 0 || self.count(&everything, &under_way).await? < u64::from(most))
    }

    async fn count(&self, scope: &Scope, filter: &Filter<TaskField>) -> Result<u64> {
        let groups = self.ledger.task_counts(scope, filter, &[]).await?;
        Ok(groups.iter().map(|g| g.count).sum())
    }

    /// Tells the agents for which something waits at the gate to look again.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn wake_for_the_gate(&self) -> Result<()> {
        let by = [TaskField::AffinityAgent];
        for group in self.ledger.task_counts(&Scope::everything(), &waiting_at_the_gate()?, &by).await? {
            match group.values.into_iter().next().flatten() {
                Some(Value::Text(agent)) => {
                    if let Ok(agent) = Uuid::parse_str(&agent) {
                        self.hub.tell(agent, Command::Wake);
                    }
                }
                _ => self.hub.wake_all(),
            }
        }
        Ok(())
    }
}

fn waiting_at_the_gate() -> Result<Filter<TaskField>> {
    Filter::all()
        .is(TaskField::Queue, Value::Text(GATED_QUEUE.to_owned()))?
        .is(TaskField::State, Value::Enum(State::Enqueued.ordinal()))
}

/// The backups of a policy that our agents have in their hands.
fn under_way(policy: &str) -> Result<Filter<TaskField>> {
    let text = |text: &str| Pattern::Is(Value::Text(text.to_owned()));
    let states = [State::Assigned, State::Started, State::Paused];
    let states = states.iter().map(|s| Pattern::Is(Value::Enum(s.ordinal()))).collect();
    Filter::all()
        .is(TaskField::PolicyId, Value::Text(policy.to_owned()))?
        .is(TaskField::Type, Value::Text(kind::BACKUP.to_owned()))?
        .and(TaskField::Queue, Test::AnyOf(vec![text(AGENT_QUEUE), text(GATED_QUEUE)]))?
        .and(TaskField::State, Test::AnyOf(states))
}
