//! Runs of policies, by hand or by schedule: one task each.

#[cfg(test)]
mod tests;

use domain::agent::{AGENT_QUEUE, GATED_QUEUE};
use domain::backup::Backup;
use domain::operation::{Idempotency, OperationKind};
use domain::plan::{self, Decision, Plan};
use domain::policy::{Application, Policy, Schedule, Settings};
use domain::query::{Filter, RecordField, Test, Value};
use domain::resource::{Registration, Resource};
use domain::task::{Affinity, Issuer, Named, Priority, Rules, State, Task, TaskRef, TaskSpec, kind};
use domain::work::BackupWork;
use domain::{Caller, Code, Document, Error, Moment, Result, Right, Scope, SignedDuration, Text, Uuid, if_found};
use ledger::{Expect, Stored, Write, Written};
use serde_json::json;

use super::applying::{change_of, registration_failed};
use super::zones::Planning;
use super::{OperationView, Service};

/// How often an agent reports on a task; three missed reports and the task is lost.
const HEARTBEAT: SignedDuration = SignedDuration::from_secs(10);
/// How long an agent may take to acknowledge a task: it must start a process first, also on a busy machine.
const ACK: SignedDuration = SignedDuration::from_secs(60);
/// How often a task of ours is handed out before it counts as abandoned.
const ATTEMPTS: u32 = 3;

/// How often somebody else may come between while a run is begun.
const ATTEMPTS_TO_BEGIN: usize = 10;

/// What a run does, in a sentence.
const TITLE: &str = "title";
/// Who began it: `manual` or `scheduled`.
const RUN_MODE: &str = "run_mode";
/// The mode of a run that a person began.
const MANUAL: &str = "manual";
/// Where clocks showed the times of its schedule; only with schedules of several sets.
const TIME_ZONE: &str = "time_zone";
/// The uuid of the first of several attempts; not on the first itself.
pub(super) const RETRY_OF: &str = "retry_of";
/// Which attempt it is, from 2.
const ATTEMPT: &str = "attempt";
/// The uuids of tasks that must be over before it starts.
const AFTER: &str = "after";

/// The uuid of the backup that a retention goes before.
pub(super) const BEFORE: &str = "before";

/// The members of a run's context that are ours.
pub(super) const RUN_KEYS: [&str; 6] = [TITLE, RUN_MODE, TIME_ZONE, RETRY_OF, ATTEMPT, AFTER];

/// The tasks that must be over before one starts.
pub(super) fn tasks_before(task: &Task) -> Vec<Uuid> {
    let before = task.spec.context.get(AFTER).and_then(serde_json::Value::as_array);
    before.into_iter().flatten().filter_map(|id| Uuid::parse_str(id.as_str()?).ok()).collect()
}

/// Who wants a run.
pub(super) enum By {
    /// The schedule.
    Schedule,
    /// A person or an issuer.
    Asker {
        /// Who, as shown.
        started_by: Option<Text>,
        /// What else is wished.
        wish: Option<Box<Wish>>,
    },
}

/// What an issuer may say of a run; the rest follows from policy and resource.
#[derive(Clone)]
pub(super) struct Wish {
    pub(super) uuid: Uuid,
    pub(super) priority: Priority,
    pub(super) tags: Vec<Text>,
    pub(super) context: Document,
    pub(super) workflow_id: Option<i64>,
    pub(super) issuer: Issuer,
    pub(super) rules: Rules,
}

impl Wish {
    /// Nothing but the run.
    fn plain(caller: &Caller) -> Wish {
        Wish {
            uuid: Uuid::now_v7(),
            priority: Priority::Normal,
            tags: Vec::new(),
            context: Document::default(),
            workflow_id: None,
            issuer: Issuer { id: caller.issuer_id().into(), ..Issuer::default() },
            rules: Rules::default(),
        }
    }
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
            let made = self.run_for(scope, app.value.id, Some(caller.name.as_str().into()), Wish::plain(caller)).await;
            match made {
                // One that is under way, or that was taken away meanwhile, keeps no other one back.
                Err(e) if resource.is_none() && matches!(e.code, Code::StateConflict | Code::NotFound) => {}
                made => tasks.push(made?),
            }
        }
        Ok(tasks)
    }

    /// Runs a policy for one resource as somebody wishes. Where somebody else came between, as the scheduler does when it notes
    /// the end of the run before, everything is read again.
    ///
    /// # Errors
    /// `not_found` when it is applied no more, `state_conflict` while the former run is not done, and those of the ledger.
    pub(super) async fn run_for(&self, scope: &Scope, app: Uuid, started_by: Option<Text>, wish: Wish) -> Result<Task> {
        let mut attempts = 0..ATTEMPTS_TO_BEGIN;
        loop {
            let app = self.ledger.get::<Application>(scope, app).await?;
            let policy = self.ledger.get::<Policy>(scope, app.value.policy).await?.value;
            if let Some(open) = self.open_task(&app.value).await? {
                return Err(not_done(&open));
            }
            let wish = Some(Box::new(wish.clone()));
            match self.run_now(scope, app, &policy, started_by.clone(), wish).await {
                Err(e) if e.code == Code::RevisionConflict && attempts.next().is_some() => {}
                other => return other,
            }
        }
    }

    /// Makes a run that somebody asks for, whether or not another one is under way: it waits behind that one then.
    ///
    /// # Errors
    /// `revision_conflict` when somebody changed the application meanwhile, and those of the ledger.
    pub(super) async fn run_now(
        &self,
        scope: &Scope,
        app: Stored<Application>,
        policy: &Policy,
        started_by: Option<Text>,
        wish: Option<Box<Wish>>,
    ) -> Result<Task> {
        let resource = self.ledger.get::<Resource>(scope, app.value.resource).await?.value;
        let planning = self.planning(&app.value, policy, &resource, self.moment()).await?;
        let run = plan::asked(&app.value, policy, &planning.around());
        let by = By::Asker { started_by, wish };
        self.begin_run(scope, app, policy, &resource, &run, by, &planning, Vec::new()).await
    }

    /// Runs a policy for one resource now, answered with a handle. A run that somebody asked for before and that still waits
    /// is not doubled: the handle is about that one (contract for Yandex clients, Y82).
    ///
    /// # Errors
    /// `forbidden` below operator, `not_found`, `not_applied`, `processing`, `registration_failed`, `disabled`.
    pub async fn execute_policy_operation(
        &self,
        caller: &Caller,
        policy: Uuid,
        resource: Uuid,
        key: Option<Idempotency>,
    ) -> Result<OperationView> {
        let scope = caller.may(Right::Operate)?;
        let made = self.operate(caller, scope, key, || async {
            let policy = self.visible_policy(caller, policy).await?;
            let resource = self.live_resource(scope, resource).await?;
            let Some(app) = self.application(scope, policy.id, resource.id).await? else {
                let message = format!("the policy '{}' is not applied to '{}'", policy.name, resource.instance_id);
                return Err(Error::new(Code::NotApplied, message).hint("apply it first"));
            };
            check_ready(&policy, &resource)?;
            let mut change = change_of(OperationKind::ExecutePolicy, &policy, &resource);
            let waiting = self.waiting_runs(&app.value).await?.into_iter();
            let asked = waiting.filter(|t| t.spec.kind == kind::BACKUP && t.spec.context[RUN_MODE] == MANUAL).last();
            if let Some(asked) = asked {
                change.task = Some(asked.spec.uuid);
                return Ok(change);
            }
            let planning = self.planning(&app.value, &policy, &resource, self.moment()).await?;
            let run = plan::asked(&app.value, &policy, &planning.around());
            let wish = Wish::plain(caller);
            change.task = Some(wish.uuid);
            let by = By::Asker { started_by: Some(caller.name.as_str().into()), wish: Some(Box::new(wish)) };
            change.writes = self.run_writes(app, &policy, &resource, &run, by, &planning).await?;
            Ok(change)
        });
        made.await
    }

    /// Makes tasks for everything that is due. Takes no input: the way after a crash is the way of every day.
    ///
    /// # Errors
    /// Those of the ledger; what was done before one stays.
    pub async fn run_due_policies(&self) -> Result<()> {
        self.run_due_at(self.moment()).await
    }

    /// As `run_due_policies`, at this moment.
    pub(super) async fn run_due_at(&self, moment: Moment) -> Result<()> {
        let due = Filter::all().and(
            RecordField::NextRunAt,
            Test::Range { from: std::ops::Bound::Unbounded, to: std::ops::Bound::Included(Value::Time(moment.now)) },
        )?;
        for app in self.ledger.all::<Application>(&Scope::everything(), due).await? {
            if let Err(error) = self.run_due(app, moment).await {
                // One that is broken must not keep the others waiting.
                tracing::error!(error = %error, "a due policy could not be run");
            }
        }
        Ok(())
    }

    async fn run_due(&self, app: Stored<Application>, moment: Moment) -> Result<()> {
        let everything = Scope::everything();
        let policy = self.ledger.get::<Policy>(&everything, app.value.policy).await?.value;
        let resource = self.ledger.get::<Resource>(&everything, app.value.resource).await?.value;
        let planning = self.planning(&app.value, &policy, &resource, moment).await?;
        let plan = plan::plan(&app.value, &policy, &planning.around());
        let told = self.left_out(&plan, &app.value, &policy, &resource, &planning).await?;
        let Plan { decision, app: planned, .. } = plan;
        let planned = Stored { rev: app.rev, value: planned };
        let done = match decision {
            Decision::Run(run) => {
                let by = By::Schedule;
                self.begin_run(&everything, planned, &policy, &resource, &run, by, &planning, told).await.map(drop)
            }
            Decision::Wait | Decision::Pass if planned.value == app.value => Ok(()),
            Decision::Wait | Decision::Pass => {
                let put = Write::Put(Box::new(planned.value.into()), Expect::Rev(planned.rev));
                self.carry_out(moment, told.into_iter().chain([put]).collect()).await
            }
        };
        match done {
            // Somebody else changed it meanwhile; the next turn sees what they made of it.
            Err(e) if e.code == Code::RevisionConflict => Ok(()),
            other => other,
        }
    }

    pub(super) async fn carry_out(&self, moment: Moment, writes: Vec<Write>) -> Result<()> {
        let committed = self.ledger.commit(&Scope::everything(), moment, writes).await?;
        self.deliver(&committed);
        Ok(())
    }

    /// Records a run and when the next one is due, in one commit: a run is never lost and never made twice. `planned` is the
    /// application as the plan has it, and the revision that it was read at; `told` goes before it in the same commit.
    #[expect(clippy::too_many_arguments, reason = "everything that a run follows from")]
    async fn begin_run(
        &self,
        scope: &Scope,
        planned: Stored<Application>,
        policy: &Policy,
        resource: &Resource,
        run: &plan::Run,
        by: By,
        planning: &Planning,
        mut told: Vec<Write>,
    ) -> Result<Task> {
        let mut writes = self.run_writes(planned, policy, resource, run, by, planning).await?;
        told.append(&mut writes);
        let writes = told;
        let committed = self.ledger.commit(scope, planning.moment, writes).await?;
        self.deliver(&committed);
        let made = committed.written.into_iter().find_map(|w| match w {
            // A retention may go before it, and what tells of runs that were missed.
            Written::Task { task, .. } if task.spec.kind == kind::BACKUP && task.state() != State::Completed => {
                Some(task)
            }
            _ => None,
        });
        if let (Some(until), Some(task)) = (run.until, &made) {
            self.closings.note(until, task.spec.uuid);
        }
        made.ok_or_else(|| Error::new(Code::Internal, "the new task is not in the commit"))
    }

    /// What a run that begins writes: its task, what goes before it, and when the next one is due.
    async fn run_writes(
        &self,
        planned: Stored<Application>,
        policy: &Policy,
        resource: &Resource,
        run: &plan::Run,
        by: By,
        planning: &Planning,
    ) -> Result<Vec<Write>> {
        let Stored { rev, value: mut app } = planned;
        let scheduled = matches!(by, By::Schedule);
        let (mut before, kept) = self.retention_before(&app, policy, resource, &planning.zone, planning.moment).await?;
        let mut spec = self.backup_spec(&app, policy, resource, run, by, planning).await?;
        for retention in &mut before {
            retention.context[BEFORE] = json!(spec.uuid);
        }
        if !before.is_empty() {
            spec.queue = GATED_QUEUE.into();
            spec.context[AFTER] = before.iter().map(|task| json!(task.uuid)).collect();
        }
        plan::begin(&mut app, policy, run, spec.uuid, scheduled, &planning.around());
        let tasks = before.into_iter().chain([spec]).map(|spec| Write::CreateTask(Box::new(spec)));
        let mut writes: Vec<Write> = tasks.collect();
        writes.push(Write::Put(Box::new(app.into()), Expect::Rev(rev)));
        writes.extend(kept);
        Ok(writes)
    }

    pub(super) async fn backup_spec(
        &self,
        app: &Application,
        policy: &Policy,
        resource: &Resource,
        run: &plan::Run,
        by: By,
        planning: &Planning,
    ) -> Result<TaskSpec> {
        let of_sets = matches!(policy.schedule, Schedule::Sets(_));
        let first = self.archive(app).await?.is_empty();
        let mut spec = TaskSpec::new(Uuid::now_v7(), kind::BACKUP, AGENT_QUEUE, resource.tenant);
        let work = BackupWork {
            archive: app.archive_id(),
            repository: policy.repository,
            paths: resource.sources.paths.clone(),
            // The first one of an archive is full whatever the schedule says.
            full: run.full || first,
            volume: resource.is_volume(),
            settings: settings_for(policy, resource),
        };
        if of_sets || planning.open {
            // There may be a limit, and there may be a run before this one.
            spec.queue = GATED_QUEUE.into();
        }
        spec.argument = json!(work).into();
        // An archive may begin though there are backups in others.
        spec.seeding = self.has_no_backup(resource.id).await?;
        spec.policy = Some(Named::ours(policy.id, &policy.kind, &policy.name));
        spec.resource = Some(named_resource(resource));
        spec.affinity = Affinity::to(resource.agent);
        spec.rules = Rules { queue_timeout: run.queue_timeout, ..own_rules() };
        let title = format!("Running backup of '{}' by plan '{}'", resource.name, policy.name);
        let mut context = serde_json::Map::from_iter([(TITLE.to_owned(), title.into())]);
        let mode = match &by {
            By::Asker { started_by: Some(_), .. } => MANUAL,
            _ => "scheduled",
        };
        context.insert(RUN_MODE.to_owned(), mode.into());
        if of_sets {
            let zone = planning.zone.iana_name().unwrap_or("UTC");
            context.insert(TIME_ZONE.to_owned(), zone.into());
        }
        if let Some(attempt) = run.repeats {
            context.insert(RETRY_OF.to_owned(), json!(attempt.first));
            context.insert(ATTEMPT.to_owned(), attempt.number.into());
        }
        if let By::Asker { started_by, wish } = by {
            spec.started_by = started_by;
            if let Some(wish) = wish {
                spec.uuid = wish.uuid;
                spec.priority = wish.priority;
                spec.tags = wish.tags;
                spec.workflow_id = wish.workflow_id;
                spec.issuer = wish.issuer;
                spec.rules = backup_rules(&wish.rules);
                if let serde_json::Value::Object(theirs) = wish.context.into_value() {
                    context.extend(theirs);
                }
            }
        }
        spec.context = serde_json::Value::from(context).into();
        Ok(spec)
    }

    /// The recovery points of an application's archive, in the order in which they were written down.
    pub(super) async fn archive(&self, app: &Application) -> Result<Vec<Stored<Backup>>> {
        let filter = Filter::all()
            .is(RecordField::Archive, Value::Uuid(app.archive_id()))?
            .and(RecordField::EndedAt, Test::Absent)?;
        self.ledger.all::<Backup>(&Scope::everything(), filter).await
    }

    /// Of the tasks that must be over before a run, those that wait to be handed out.
    pub(super) async fn waiting_before(&self, run: &Task) -> Result<Vec<Task>> {
        let mut waiting = Vec::new();
        for before in tasks_before(run) {
            let before = if_found(self.ledger.task(&Scope::everything(), TaskRef::Uuid(before)).await)?;
            waiting.extend(before.filter(|t| t.spec.kind == kind::RETENTION && t.state() == State::Enqueued));
        }
        Ok(waiting)
    }

    /// The newest task of an application that is not done, if there is one.
    pub(super) async fn open_task(&self, app: &Application) -> Result<Option<Task>> {
        let noted = app.agenda.open.iter().rev().map(|run| run.task);
        let last = app.last_task.filter(|last| app.agenda.open.iter().all(|run| run.task != *last));
        for task in last.into_iter().chain(noted) {
            // It may have been purged long ago.
            let task = if_found(self.ledger.task(&Scope::everything(), TaskRef::Uuid(task)).await)?;
            if let Some(open) = task.filter(|t| t.state() != State::Completed) {
                return Ok(Some(open));
            }
        }
        Ok(None)
    }
}

/// The settings of a policy for one resource.
pub(super) fn settings_for(policy: &Policy, resource: &Resource) -> Settings {
    let excludes = policy.settings.excludes.iter().chain(&resource.sources.excludes).cloned().collect();
    Settings { excludes, ..policy.settings.clone() }
}

/// Refuses a run where policy or resource are not ready for one.
fn check_ready(policy: &Policy, resource: &Resource) -> Result<()> {
    match resource.registration {
        Registration::Registering => {
            let message = format!("the policy is still being applied to '{}'", resource.instance_id);
            return Err(Error::new(Code::Processing, message).hint("wait until the machine is registered"));
        }
        Registration::Failed => return Err(registration_failed(resource)),
        Registration::Registered | Registration::Deleted => {}
    }
    let (disabled, field) = match (policy.enabled, resource.enabled) {
        (false, _) => (format!("the policy '{}' is disabled", policy.name), "policy"),
        (_, false) => (format!("the resource '{}' is disabled", resource.instance_id), "resource"),
        _ => return Ok(()),
    };
    Err(Error::new(Code::Disabled, disabled).field(field).hint("enable it first"))
}

/// The refusal of a run while another one of the same policy and resource is not done.
pub(super) fn not_done(open: &Task) -> Error {
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
    Named::ours(resource.id, resource.kind.name(), &resource.name)
}
