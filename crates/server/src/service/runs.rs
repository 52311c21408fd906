//! Runs of policies, by hand or by schedule: one task each.

use domain::agent::AGENT_QUEUE;
use domain::plan::{Decision, plan};
use domain::policy::{Application, Policy, Settings};
use domain::query::{Filter, RecordField, Test, Value};
use domain::resource::Resource;
use domain::task::{Affinity, Event, Issuer, Named, Priority, Rules, State, Task, TaskRef, TaskSpec, kind};
use domain::work::BackupWork;
use domain::{Caller, Code, Error, Result, Right, Scope, SignedDuration, Timestamp, Uuid, if_found};
use jiff::tz::TimeZone;
use ledger::{Expect, Stored, Write};
use serde_json::json;

use super::Service;

/// How often an agent reports on a task; three missed reports and the task is lost.
const HEARTBEAT: SignedDuration = SignedDuration::from_secs(10);
/// How long an agent may take to acknowledge a task: it must start a process first, also on a busy machine.
const ACK: SignedDuration = SignedDuration::from_secs(60);
/// How often a task of ours is handed out before it counts as abandoned.
const ATTEMPTS: u32 = 3;

/// The members that the context of every run has: what it does in a sentence, and who began it.
pub(super) const RUN_KEYS: [&str; 2] = ["title", "run_mode"];

/// Who wants a run, beside the schedule.
#[derive(Default)]
struct Run {
    started_by: Option<String>,
    wish: Option<Wish>,
}

/// What an issuer may say of a run; the rest follows from policy and resource.
pub(super) struct Wish {
    pub(super) uuid: Uuid,
    pub(super) priority: Priority,
    pub(super) tags: Vec<String>,
    pub(super) context: serde_json::Value,
    pub(super) workflow_id: Option<i64>,
    pub(super) issuer: Issuer,
    pub(super) rules: Rules,
}

impl Service {
    /// Runs a policy now, for one resource or for all it is applied to.
    ///
    /// # Errors
    /// `forbidden` below operator, `not_found` when it is applied to none, `state_conflict` while the former run of the
    /// one resource that was named is not done.
    pub async fn run_policy(&self, caller: &Caller, policy: Uuid, resource: Option<Uuid>) -> Result<Vec<Task>> {
        let scope = caller.may(Right::Operate)?;
        let policy = self.ledger.get::<Policy>(scope, policy).await?.value;
        let mut apps = self.applications_of(scope, policy.id).await?;
        if let Some(resource) = resource {
            apps.retain(|a| a.value.resource == resource);
        }
        if apps.is_empty() {
            return Err(Error::new(Code::NotFound, "the policy is applied to no such resource")
                .hint("apply it first: `backstay policy apply POLICY RESOURCE`"));
        }
        let mut tasks = Vec::new();
        for app in apps {
            if let Some(open) = self.open_task(scope, &app.value).await? {
                if resource.is_some() {
                    return Err(not_done(&open));
                }
                continue;
            }
            let started_by = Some(caller.name.clone());
            let next_run_at = app.value.next_run_at;
            let run = Run { started_by, wish: None };
            tasks.extend(self.start_run(scope, app, &policy, Decision::Run, run, next_run_at).await?);
        }
        Ok(tasks)
    }

    /// Runs a policy for one resource as an issuer wishes.
    pub(super) async fn run_for(
        &self,
        scope: &Scope,
        app: Stored<Application>,
        policy: &Policy,
        started_by: Option<String>,
        wish: Wish,
    ) -> Result<Task> {
        if let Some(open) = self.open_task(scope, &app.value).await? {
            return Err(not_done(&open));
        }
        let next_run_at = app.value.next_run_at;
        let run = Run { started_by, wish: Some(wish) };
        let task = self.start_run(scope, app, policy, Decision::Run, run, next_run_at).await?;
        task.ok_or_else(|| Error::new(Code::Internal, "the new task is not in the commit"))
    }

    /// Makes tasks for everything that is due. Takes no input: the way after a crash is the way of every day.
    ///
    /// # Errors
    /// Those of the ledger; what was done before one stays.
    pub async fn run_due_policies(&self) -> Result<()> {
        let everything = Scope::everything();
        let now = self.moment().now;
        let due = Filter::all().and(
            RecordField::NextRunAt,
            Test::Range { from: std::ops::Bound::Unbounded, to: std::ops::Bound::Included(Value::Time(now)) },
        )?;
        for app in self.ledger.all::<Application>(&everything, due).await? {
            if let Err(error) = self.run_due(&everything, app).await {
                // One that is broken must not keep the others waiting.
                tracing::error!(error = %error, "a due policy could not be run");
            }
        }
        Ok(())
    }

    async fn run_due(&self, scope: &Scope, app: Stored<Application>) -> Result<()> {
        let policy = self.ledger.get::<Policy>(scope, app.value.policy).await?.value;
        let resource = self.ledger.get::<Resource>(scope, app.value.resource).await?.value;
        let zone = time_zone(policy.schedule.time_zone())?;
        let open = self.open_task(scope, &app.value).await?;
        let plan = plan(&app.value, &policy, open.is_some(), self.moment().now, &zone);
        let decision = if resource.enabled { plan.decision } else { Decision::Wait };
        match self.start_run(scope, app, &policy, decision, Run::default(), plan.next_run_at).await {
            // Somebody else changed it meanwhile; the next turn sees what they made of it.
            Err(e) if e.code == Code::RevisionConflict => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Records a run and when the next one is due, in one commit: a run is never lost and never made twice.
    async fn start_run(
        &self,
        scope: &Scope,
        app: Stored<Application>,
        policy: &Policy,
        decision: Decision,
        run: Run,
        next_run_at: Option<Timestamp>,
    ) -> Result<Option<Task>> {
        let moment = self.moment();
        let mut writes = Vec::new();
        let mut changed = Application { next_run_at, ..app.value.clone() };
        if decision != Decision::Wait {
            let resource = self.ledger.get::<Resource>(scope, app.value.resource).await?.value;
            let spec = self.backup_spec(&app.value, policy, &resource, run);
            let uuid = spec.uuid;
            writes.push(Write::CreateTask(Box::new(spec)));
            if decision == Decision::Skip {
                let reason = "The run was due, but the former run of this policy for this resource was not done.";
                writes.push(Write::Task(TaskRef::Uuid(uuid), Event::Skip { reason: reason.to_owned() }));
            } else {
                changed.last_run_at = Some(moment.now);
                changed.last_task = Some(uuid);
            }
        }
        writes.push(Write::Put(Box::new(changed.into()), Expect::Rev(app.rev)));
        let committed = self.ledger.commit(scope, moment, writes).await?;
        self.deliver(&committed);
        Ok(committed.task().cloned())
    }

    fn backup_spec(&self, app: &Application, policy: &Policy, resource: &Resource, run: Run) -> TaskSpec {
        let Run { started_by, wish } = run;
        let mut spec = TaskSpec::new(Uuid::now_v7(), kind::BACKUP, AGENT_QUEUE, resource.tenant);
        let work = BackupWork {
            archive: app.id,
            repository: policy.repository,
            paths: resource.sources.paths.clone(),
            full: false,
            settings: Settings {
                excludes: policy.settings.excludes.iter().chain(&resource.sources.excludes).cloned().collect(),
                ..policy.settings.clone()
            },
        };
        spec.argument = json!(work);
        spec.seeding = resource.last_backup_at.is_none();
        spec.policy = Some(Named { id: policy.id.to_string(), kind: policy.kind.clone(), name: policy.name.clone() });
        spec.resource = Some(named_resource(resource));
        let title = format!("Running backup of '{}' by plan '{}'", resource.name, policy.name);
        let mode = if started_by.is_some() { "manual" } else { "scheduled" };
        spec.context = json!({ RUN_KEYS[0]: title, RUN_KEYS[1]: mode });
        spec.started_by = started_by;
        spec.affinity = Affinity { agent: resource.agent.map(|a| a.to_string()), cluster: None };
        spec.rules = own_rules();
        if let Some(wish) = wish {
            spec.uuid = wish.uuid;
            spec.priority = wish.priority;
            spec.tags = wish.tags;
            spec.workflow_id = wish.workflow_id;
            spec.issuer = wish.issuer;
            spec.rules = backup_rules(&wish.rules);
            if let (Some(ours), serde_json::Value::Object(theirs)) = (spec.context.as_object_mut(), wish.context) {
                ours.extend(theirs);
            }
        }
        spec
    }

    async fn open_task(&self, scope: &Scope, app: &Application) -> Result<Option<Task>> {
        let Some(last) = app.last_task else { return Ok(None) };
        // It may have been purged long ago.
        let task = if_found(self.ledger.task(scope, TaskRef::Uuid(last)).await)?;
        Ok(task.filter(|t| t.state() != State::Completed))
    }

    /// When a policy that is applied now runs next.
    pub(super) fn next_run(&self, policy: &Policy) -> Result<Option<Timestamp>> {
        let zone = time_zone(policy.schedule.time_zone())?;
        Ok(if policy.enabled { policy.schedule.next_after(self.moment().now, &zone) } else { None })
    }
}

fn not_done(open: &Task) -> Error {
    Error::new(Code::StateConflict, format!("task {} of this policy and resource is not done", open.id))
        .hint("wait for it or cancel it first")
}

/// The rules of a backup of which an issuer wants these: what is left out is ours to say.
pub(super) fn backup_rules(wish: &Rules) -> Rules {
    let (ours, unset) = (own_rules(), Rules::default());
    let given = |wish: SignedDuration, unset: SignedDuration| Some(wish).filter(|w| *w != unset);
    Rules {
        cancellable: ours.cancellable,
        sustainable: wish.sustainable || ours.sustainable,
        max_assign_count: Some(wish.max_assign_count)
            .filter(|n| *n != unset.max_assign_count)
            .unwrap_or(ours.max_assign_count),
        heartbeat_interval: wish.heartbeat_interval.or(ours.heartbeat_interval),
        ack_timeout: given(wish.ack_timeout, unset.ack_timeout).unwrap_or(ours.ack_timeout),
        queue_timeout: wish.queue_timeout.or(ours.queue_timeout),
        exec_timeout: wish.exec_timeout.or(ours.exec_timeout),
        life_time: wish.life_time.or(ours.life_time),
    }
}

/// The rules of tasks that our own agents carry out.
pub(super) fn own_rules() -> Rules {
    Rules {
        cancellable: true,
        max_assign_count: ATTEMPTS,
        heartbeat_interval: Some(HEARTBEAT),
        ack_timeout: ACK,
        ..Rules::default()
    }
}

pub(super) fn named_resource(resource: &Resource) -> Named {
    Named { id: resource.id.to_string(), kind: resource.kind.name().to_owned(), name: resource.name.clone() }
}

/// The time zone of this name.
pub(super) fn time_zone(name: &str) -> Result<TimeZone> {
    TimeZone::get(name).map_err(|_| {
        Error::invalid("schedule.time_zone", format!("there is no time zone '{name}'"))
            .hint("an IANA name, like Europe/Berlin or UTC")
    })
}
