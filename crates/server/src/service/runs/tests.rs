//! The scheduler over a ledger in memory, at moments that are set by hand: what is made when, how many at a time, what
//! follows an end (contract for Yandex clients, Y99 to Y107).

// long: one world of machines and times for all of them.

use std::sync::Arc;

use domain::archive::Archive;
use domain::backup::Backup;
use domain::record::Record;
use domain::task::{Outcome, OutcomeCode, ResultCode};
use domain::tenant::Tenant;
use domain::token::TokenKind;
use domain::work::{BackupDone, ForgetWork, VerificationDone, Work};
use domain::{Role, Timestamp};
use ledger::{Ledger, MemoryLedger};
use serde_json::Value as Json;

use super::*;
use crate::secrets::Sealer;
use crate::service::{AgentHello, AgentIdentity, Assigned, Report, ReportEvent, Reported};

mod between;
mod preview;
mod verifying;
mod watched;

const POLICY: Uuid = Uuid::from_u128(0x90);
const REPOSITORY: Uuid = Uuid::from_u128(0x91);

/// Machines, each with an agent, under one policy.
struct World {
    service: Service,
    ledger: Arc<MemoryLedger>,
    /// The server as it is at the beginning; tests go on from here.
    start: Moment,
    agents: Vec<AgentIdentity>,
}

fn machine(n: usize) -> Uuid {
    Uuid::from_u128(0x100 + n as u128)
}

fn application(n: usize) -> Uuid {
    Uuid::from_u128(0x200 + n as u128)
}

fn sealer() -> Sealer {
    Sealer::new(&[7; 32]).expect("32 bytes")
}

/// A set of runs every three hours.
fn every_three_hours() -> Json {
    json!({"when": {"times": {"every": "daily", "step": {"count": 3, "unit": "hours"}}}})
}

fn sets(set: Json, members: Json) -> Json {
    let mut schedule = json!({"kind": "sets", "sets": [set]});
    schedule.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
    json!({"schedule": schedule})
}

impl World {
    async fn new(machines: usize, policy: Json) -> World {
        let ledger = Arc::new(MemoryLedger::new());
        let service = Service::new(ledger.clone(), sealer());
        let start = service.moment();
        let mut world = World { service, ledger, start, agents: Vec::new() };
        let now = start.now;
        let of = |id: Uuid, members: Json| {
            let mut record = json!({"id": id, "tenant": Uuid::nil(), "created_at": now, "updated_at": now});
            record.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
            record
        };
        world.put(Tenant::root("root", "UTC", now).into()).await;
        let sealed = sealer().seal("secret").expect("randomness");
        let repository = json!({"name": "local", "url": "/r", "sealed_password": sealed, "append_only": false});
        world.put(read::<domain::repository::Repository>(of(REPOSITORY, repository)).into()).await;
        let mut made = json!({"name": "Nightly", "kind": "backup", "enabled": true, "repository": REPOSITORY});
        made.as_object_mut().expect("an object").extend(policy.as_object().expect("an object").clone());
        world.put(read::<Policy>(of(POLICY, made)).into()).await;
        for n in 0..machines {
            world.join(n, &of).await;
        }
        world
    }

    async fn join(&mut self, n: usize, of: &impl Fn(Uuid, Json) -> Json) {
        let (by, all) = (Caller::server(), Scope::everything());
        let name = format!("agent {n}");
        let issued = self.service.issue(&by, &all, TokenKind::Agent, name.clone(), Role::Operator, None).await;
        let hello = AgentHello { name: name.clone(), ..AgentHello::default() };
        let connected = self.service.agent_connected(&issued.expect("a token").1, hello).await.expect("a valid token");
        let resource = json!({"instance_id": name, "kind": "bare_metal", "name": name, "agent": connected.agent.id(),
            "sources": {"paths": ["/home"]}, "enabled": true, "registration": "registered"});
        let resource: Resource = read(of(machine(n), resource));
        self.agents.push(connected.agent);
        self.put(resource.clone().into()).await;
        let app = json!({"policy": POLICY, "resource": machine(n)});
        let app: Application = read(of(application(n), app));
        let app = self.service.replanned(&app, &self.policy().await, &resource).await.expect("planned");
        self.put(app.into()).await;
    }

    async fn put(&self, record: Record) {
        let write = Write::Put(Box::new(record), Expect::New);
        self.ledger.commit(&Scope::everything(), self.start, vec![write]).await.expect("a new record");
    }

    fn ledger(&self) -> &dyn Ledger {
        &*self.ledger
    }

    async fn policy(&self) -> Policy {
        self.ledger().get::<Policy>(&Scope::everything(), POLICY).await.expect("the policy").value
    }

    async fn app(&self, n: usize) -> Application {
        self.ledger().get::<Application>(&Scope::everything(), application(n)).await.expect("the application").value
    }

    /// The server starts anew over the same ledger.
    fn restart(&mut self) {
        self.service = Service::new(self.ledger.clone(), sealer());
    }

    /// When the first machine is backed up next.
    async fn next(&self) -> Timestamp {
        self.app(0).await.next_run_at.expect("it runs again")
    }

    /// The scheduler looks at this time.
    async fn turn(&self, now: Timestamp) {
        let moment = self.start.at(now);
        self.service.note_ends_at(moment).await.expect("noted");
        self.service.close_windows_at(moment).await.expect("closed");
        self.service.run_due_at(moment).await.expect("run");
    }

    /// What is due next is run; the newest task of the first machine.
    async fn run(&self) -> Task {
        self.turn(self.next().await).await;
        self.last(0).await
    }

    async fn last(&self, n: usize) -> Task {
        self.task(self.app(n).await.last_task.expect("a task")).await
    }

    async fn task(&self, uuid: Uuid) -> Task {
        self.ledger.task(&Scope::everything(), TaskRef::Uuid(uuid)).await.expect("the task")
    }

    async fn tasks(&self, kind: &str) -> Vec<Task> {
        use domain::query::{Query, TaskField};
        let filter = Filter::all().is(TaskField::Type, Value::Text(kind.to_owned())).expect("a clause");
        let mut tasks =
            self.ledger.tasks(&Scope::everything(), &Query::newest(filter, 100)).await.expect("tasks").items;
        tasks.reverse();
        tasks
    }

    async fn claim(&self, n: usize) -> Vec<Assigned> {
        self.service.claim(&self.agents[n], 4).await.expect("a claim")
    }

    async fn claim_one(&self, n: usize) -> Assigned {
        let mut claimed = self.claim(n).await;
        assert_eq!(claimed.len(), 1);
        claimed.remove(0)
    }

    async fn complete(&self, n: usize, work: &Assigned, outcome: Outcome) {
        for event in [ReportEvent::Started, ReportEvent::Completed { outcome, progress: None }] {
            let report = Report { task: work.task.id, lease: work.lease.clone(), event };
            let reported = self.service.report(&self.agents[n], report).await;
            assert_eq!(reported, Ok(Reported::Durable { cancel_requested: false }));
        }
    }

    /// The next backup of the first machine is made, with data that was read at this second.
    async fn back_up(&self, second: i64) {
        self.run().await;
        let work = self.claim_one(0).await;
        self.complete(0, &work, made(second)).await;
    }

    async fn backups(&self) -> Vec<Backup> {
        let found = self.ledger().all::<Backup>(&Scope::everything(), Filter::all()).await.expect("backups");
        let mut found: Vec<Backup> = found.into_iter().map(|s| s.value).collect();
        found.sort_by_key(|b| b.created_at);
        found
    }

    async fn snapshots(&self) -> Vec<String> {
        self.backups().await.into_iter().map(|b| b.snapshot).collect()
    }

    async fn fail(&self, n: usize) {
        let work = self.claim_one(n).await;
        self.complete(n, &work, Outcome::of(OutcomeCode::Error)).await;
    }
}

fn read<T: serde::de::DeserializeOwned>(record: Json) -> T {
    serde_json::from_value(record).expect("readable")
}

/// A good backup of data that was read at this second; its snapshot is named after it.
fn made(second: i64) -> Outcome {
    let created_at = Timestamp::from_second(second).expect("a time");
    let done = BackupDone { snapshot: format!("s{second}"), created_at, incremental: true, ..BackupDone::default() };
    Outcome { payload: json!(done), ..Outcome::of(OutcomeCode::Ok) }
}

fn full(task: &Task) -> bool {
    match Work::of(&task.spec) {
        Ok(Work::Backup(work)) => work.full,
        other => panic!("{other:?}"),
    }
}

fn points(task: &Task) -> Vec<String> {
    let work: ForgetWork = read(task.spec.argument.clone().into_value());
    work.points.into_iter().map(|p| p.snapshot).collect()
}

#[tokio::test]
async fn the_first_backup_of_an_archive_is_full_and_says_its_zone() {
    let world = World::new(1, sets(every_three_hours(), json!({"scheme": "always_incremental"}))).await;
    let first = world.run().await;
    assert!(first.spec.seeding && full(&first));
    assert_eq!(first.spec.context["time_zone"], "UTC");
    assert_eq!((&first.spec.context["run_mode"], &first.spec.started_by), (&json!("scheduled"), &None));
    let work = world.claim_one(0).await;
    world.complete(0, &work, made(1)).await;
    let second = world.run().await;
    assert!(!second.spec.seeding && !full(&second));
    assert_ne!(first.id, second.id);
}

#[tokio::test]
async fn the_zone_is_the_tenants_and_may_be_the_machines() {
    let world = World::new(1, sets(every_three_hours(), json!({}))).await;
    let everything = Scope::everything();
    let set = |zone: Option<&str>| {
        let zone = zone.map(str::to_owned);
        world.service.note::<Tenant>(&everything, Uuid::nil(), move |t| {
            t.schedule_time_zone.clone_from(&zone);
            Ok(())
        })
    };
    let resource = world.ledger().get::<Resource>(&everything, machine(0)).await.expect("the machine").value;
    let zone = async || {
        let zone = world.service.zone_of(&world.policy().await, &resource).await.expect("a zone");
        zone.iana_name().map(str::to_owned)
    };
    set(Some("Europe/Berlin")).await.expect("the tenant");
    assert_eq!(zone().await.as_deref(), Some("Europe/Berlin"));
    set(Some("agent")).await.expect("the tenant");
    assert_eq!(zone().await.as_deref(), Some("UTC"), "it has not said where it is");
    let agent = resource.agent.expect("an agent");
    let told = world.service.note::<domain::agent::Agent>(&everything, agent, |a| {
        a.time_zone = Some("Asia/Tokyo".to_owned());
        Ok(())
    });
    told.await.expect("the agent");
    assert_eq!(zone().await.as_deref(), Some("Asia/Tokyo"));
}

#[tokio::test]
async fn a_delay_is_the_same_whenever_it_is_asked_for() {
    let delay = json!({"max_delay": {"count": 60, "unit": "minutes"}});
    let mut world = World::new(3, sets(every_three_hours(), delay)).await;
    let mut before = Vec::new();
    for n in 0..3 {
        before.push(world.app(n).await.next_run_at);
    }
    world.restart();
    let policy = world.policy().await;
    for (n, before) in before.into_iter().enumerate() {
        let resource = world.ledger().get::<Resource>(&Scope::everything(), machine(n)).await.expect("it").value;
        let again = world.service.replanned(&world.app(n).await, &policy, &resource).await.expect("planned");
        assert_eq!(again.next_run_at, before);
    }
}

#[tokio::test]
async fn a_run_over_a_first_is_skipped_and_the_history_says_so_once() {
    for policy in [sets(every_three_hours(), json!({})), json!({"schedule": {"kind": "interval", "every": "3h"}})] {
        let mut world = World::new(1, policy).await;
        let first = world.run().await;
        let at = world.next().await;
        world.turn(at).await;
        world.restart();
        world.turn(at).await;
        let [_, skipped] = &world.tasks(kind::BACKUP).await[..] else { panic!("one run and one that was skipped") };
        let (code, error) = left_out(skipped);
        assert_eq!(
            (code, error.domain.as_str(), error.code.as_str()),
            (ResultCode::Cancelled, "Scheduler", "runSkipped")
        );
        assert!(error.message.contains(&format!("task {}, the run before", first.id)), "{}", error.message);
        assert_eq!(error.context, json!({"count": 1, "first": at, "last": at, "task": first.id.0}));
        assert_eq!(skipped.spec.policy.as_ref().map(|p| p.id.clone()), Some(POLICY.to_string().into()));
        assert_eq!(skipped.spec.resource.as_ref().map(|r| r.id.clone()), Some(machine(0).to_string().into()));
        assert_eq!((world.app(0).await.agenda.skipped, world.last(0).await.id), (1, first.id));
        assert!(world.next().await > at);
        // Nobody is given it, and the run that goes on decides how the machine stands.
        let work = world.claim_one(0).await;
        assert_eq!(work.task.id, first.id);
        world.complete(0, &work, Outcome::of(OutcomeCode::Error)).await;
        let resource = world.ledger().get::<Resource>(&Scope::everything(), machine(0)).await.expect("it").value;
        let view = world.service.resource_view(&Caller::server(), resource).await.expect("a view");
        assert_eq!(view.status, domain::resource::ResourceStatus::Failed);
    }
}

/// How a run ended that never began.
fn left_out(task: &Task) -> (ResultCode, domain::task::TaskError) {
    let result = task.result().expect("it is over");
    assert_eq!(task.started_at(), None);
    (result.code, result.error.clone().expect("a reason"))
}

#[tokio::test]
async fn a_run_waits_an_hour_for_its_machine_or_without_limit() {
    let world = World::new(1, sets(every_three_hours(), json!({}))).await;
    let task = world.run().await;
    assert_eq!(task.spec.rules.queue_timeout, Some(SignedDuration::from_hours(1)));
    // The time runs out: the log shows the miss, and the next one comes.
    let late = task.created_at + SignedDuration::from_secs(3601);
    let committed = world.ledger.commit(&Scope::everything(), world.start.at(late), vec![Write::Settle(task.id)]).await;
    world.service.deliver(&committed.expect("settled"));
    assert_eq!(world.last(0).await.result().map(|r| r.code), Some(ResultCode::TimedOut));
    let next = world.run().await;
    assert_ne!(next.id, task.id);

    let mut set = every_three_hours();
    set["run_later"] = true.into();
    let world = World::new(1, sets(set, json!({}))).await;
    assert_eq!(world.run().await.spec.rules.queue_timeout, None);
}

#[tokio::test]
async fn what_was_due_while_the_server_was_down_runs_with_run_later_only_and_the_rest_is_told_once() {
    for run_later in [true, false] {
        let mut set = every_three_hours();
        set["run_later"] = run_later.into();
        let mut world = World::new(1, sets(set, json!({}))).await;
        let first = world.next().await;
        let now = first + SignedDuration::from_hours(13);
        let moment = Moment { now, up_since: now };
        world.service.run_due_at(moment).await.expect("a look");
        // It fell again, and nothing is told twice.
        world.restart();
        world.service.run_due_at(moment).await.expect("another look");
        let tasks = world.tasks(kind::BACKUP).await;
        assert_eq!(tasks.len(), 1 + usize::from(run_later), "one run at most, and one that tells of the others");
        let missed = 5 - u64::from(run_later);
        let last = first + SignedDuration::from_hours(if run_later { 9 } else { 12 });
        let (code, error) = left_out(&tasks[0]);
        assert_eq!((code, error.code.as_str()), (ResultCode::TimedOut, "runMissed"), "it counts as failed");
        assert_eq!(error.context, json!({"count": missed, "first": first, "last": last}));
        assert!(error.message.starts_with(&format!("{missed} runs, due from ")), "{}", error.message);
        assert!(error.message.contains("missed: the server was not running."), "{}", error.message);
        assert_eq!(error.message.contains("makes up for it"), run_later, "{}", error.message);
        assert_eq!(world.app(0).await.agenda.skipped, missed);
        assert!(world.next().await > now);
        if run_later {
            let last_task = world.last(0).await;
            assert_eq!((last_task.id, last_task.state()), (tasks[1].id, State::Enqueued));
        }
    }
}

#[tokio::test]
async fn one_run_that_is_made_up_for_late_was_not_missed() {
    let world = World::new(1, json!({"schedule": {"kind": "interval", "every": "3h"}})).await;
    let now = world.next().await + SignedDuration::from_hours(1);
    world.service.run_due_at(Moment { now, up_since: now }).await.expect("a look");
    let [run] = &world.tasks(kind::BACKUP).await[..] else { panic!("the run alone") };
    assert_eq!(run.state(), State::Enqueued);
}

#[tokio::test]
async fn a_limit_of_runs_at_one_time_holds_over_all_machines() {
    let mut world = World::new(5, sets(every_three_hours(), json!({"max_parallel": 2}))).await;
    world.turn(world.next().await).await;
    assert_eq!(world.tasks(kind::BACKUP).await.len(), 5, "all are made, and wait");
    // They ask at the same time.
    let (a, b, c, d, e) = tokio::join!(world.claim(0), world.claim(1), world.claim(2), world.claim(3), world.claim(4));
    let mut given: Vec<(usize, Assigned)> =
        [a, b, c, d, e].into_iter().enumerate().flat_map(|(n, c)| c.into_iter().map(move |w| (n, w))).collect();
    assert_eq!(given.len(), 2);
    // It holds over a restart as well.
    world.restart();
    for n in 0..5 {
        assert!(world.claim(n).await.is_empty());
    }
    let (done, work) = given.remove(0);
    world.complete(done, &work, made(1)).await;
    let mut more = 0;
    for n in 0..5 {
        more += world.claim(n).await.len();
    }
    assert_eq!(more, 1, "one ended, one begins");

    // Without a limit nobody waits any more.
    let everything = Scope::everything();
    let free = world.service.note::<Policy>(&everything, POLICY, |p| {
        if let Schedule::Sets(sets) = &mut p.schedule {
            sets.max_parallel = 0;
        }
        Ok(())
    });
    free.await.expect("the policy");
    let mut rest = 0;
    for n in 0..5 {
        rest += world.claim(n).await.len();
    }
    assert_eq!(rest, 2);
}

#[tokio::test]
async fn runs_by_hand_count_for_the_limit_and_one_machine_runs_one_at_a_time() {
    let world = World::new(2, sets(every_three_hours(), json!({"max_parallel": 1}))).await;
    world.run().await;
    let work = world.claim_one(0).await;
    let policy = world.policy().await;
    let all = Scope::everything();
    let app = async |n| world.ledger().get::<Application>(&all, application(n)).await.expect("the application");
    // On the same machine it is queued behind the one that runs.
    let behind = world.service.run_now(&all, app(0).await, &policy, Some("me".into()), None).await.expect("a run");
    let other = world.service.run_now(&all, app(1).await, &policy, Some("me".into()), None).await.expect("a run");
    assert_eq!((&behind.spec.context["run_mode"], behind.spec.rules.queue_timeout), (&json!("manual"), None));
    assert!(world.claim(0).await.is_empty() && world.claim(1).await.is_empty());
    world.complete(0, &work, made(1)).await;
    assert_eq!(world.claim_one(0).await.task.id, behind.id);
    assert!(world.claim(1).await.is_empty());
    assert_eq!(world.task(other.spec.uuid).await.state(), State::Enqueued);
}

#[tokio::test]
async fn a_scheduled_run_that_fails_is_made_anew_and_names_the_first() {
    let again = json!({"again": {"interval": {"count": 10, "unit": "minutes"}, "attempts": 2}});
    let world = World::new(1, sets(every_three_hours(), again)).await;
    let first = world.run().await;
    world.fail(0).await;
    world.turn(first.created_at).await;
    let second = world.run().await;
    assert_ne!(second.id, first.id);
    assert_eq!((&second.spec.context[RETRY_OF], &second.spec.context[ATTEMPT]), (&json!(first.spec.uuid), &json!(2)));
    world.fail(0).await;
    world.turn(second.created_at).await;
    let third = world.run().await;
    assert_eq!((&third.spec.context[RETRY_OF], &third.spec.context[ATTEMPT]), (&json!(first.spec.uuid), &json!(3)));
    world.fail(0).await;
    world.turn(third.created_at).await;
    let next = world.run().await;
    assert_eq!(next.spec.context.get(RETRY_OF), None, "no more attempts: this is the next moment");

    // By hand nothing is repeated.
    let work = world.claim_one(0).await;
    world.complete(0, &work, made(1)).await;
    world.turn(next.created_at).await;
    let due = world.next().await;
    let policy = world.policy().await;
    let app = world.ledger().get::<Application>(&Scope::everything(), application(0)).await.expect("it");
    world.service.run_now(&Scope::everything(), app, &policy, Some("me".into()), None).await.expect("a run");
    world.fail(0).await;
    world.turn(next.created_at).await;
    assert_eq!(world.next().await, due);
}

#[tokio::test]
async fn a_run_after_the_last_begins_at_once_and_then_after_each_end_also_over_a_restart() {
    let set = json!({"when": {"after_last": {"count": 2, "unit": "hours"}}});
    let mut world = World::new(1, sets(set, json!({}))).await;
    let first = world.run().await;
    assert_eq!(world.app(0).await.next_run_at, None, "its end is not known");
    world.fail(0).await;
    let ended = world.last(0).await.completed_at().expect("it is over");
    // Nobody heard of the end before the server stopped.
    world.restart();
    world.service.look_for_ends().await.expect("a look");
    assert_eq!(world.next().await, ended + SignedDuration::from_hours(2));
    assert!(world.app(0).await.agenda.open.is_empty());
    assert_ne!(world.run().await.id, first.id);
}

fn keep(rule: Json, before: bool) -> Json {
    let mut policy = sets(every_three_hours(), json!({}));
    policy["retention"] = json!({"rules": [rule], "before_backup": before});
    policy
}

#[tokio::test]
async fn after_a_good_backup_what_the_rules_let_go_is_removed() {
    let world = World::new(1, keep(json!({"keep": {"max_count": 2}}), false)).await;
    for second in 1..=3 {
        world.back_up(second).await;
        let retention = world.claim_one(0).await;
        assert_eq!(
            (retention.task.spec.kind.as_str(), retention.task.spec.priority),
            (kind::RETENTION, Priority::BelowNormal)
        );
        let gone: Vec<String> = if second == 3 { vec!["s1".into()] } else { vec![] };
        assert_eq!(points(&retention.task), gone);
        if second == 3 {
            assert_eq!(world.snapshots().await, ["s1", "s2", "s3"], "it is there until it is removed");
        }
        world.complete(0, &retention, Outcome::of(OutcomeCode::Ok)).await;
    }
    assert_eq!(world.snapshots().await, ["s2", "s3"]);
    // The task tells of what went, and why.
    let told = world.tasks(kind::RETENTION).await.pop().and_then(|t| Some(t.result()?.payload.clone()));
    let told: domain::work::ForgetDone = read(told.expect("a payload").into_value());
    assert_eq!(told.gone.len(), 1);
    assert_eq!(told.gone[0].because, ["it is not one of the newest 2 ones"]);
    let because: Vec<_> = world.backups().await.into_iter().map(|b| b.kept_because.join("; ")).collect();
    assert_eq!(because, ["it is one of the newest 2 ones", "it is the newest; it is one of the newest 2 ones"]);
}

#[tokio::test]
async fn a_retention_that_fails_forgets_nothing_and_the_next_one_tries_again() {
    let world = World::new(1, keep(json!({"keep": {"max_count": 1}}), false)).await;
    world.back_up(1).await;
    world.complete(0, &world.claim_one(0).await, Outcome::of(OutcomeCode::Ok)).await;
    world.back_up(2).await;
    let failing = world.claim_one(0).await;
    assert_eq!(points(&failing.task), ["s1"]);
    world.complete(0, &failing, Outcome::of(OutcomeCode::Error)).await;
    assert_eq!(world.snapshots().await, ["s1", "s2"]);
    world.back_up(3).await;
    let again = world.claim_one(0).await;
    assert_eq!(points(&again.task), ["s1", "s2"]);
    world.complete(0, &again, Outcome::of(OutcomeCode::Ok)).await;
    assert_eq!(world.snapshots().await, ["s3"], "the newest always stays");
}

#[tokio::test]
async fn a_failed_backup_and_a_policy_without_rules_remove_nothing() {
    let world = World::new(1, keep(json!({"keep": {"max_count": 1}}), false)).await;
    world.run().await;
    world.fail(0).await;
    assert!(world.tasks(kind::RETENTION).await.is_empty());
    let world = World::new(1, sets(every_three_hours(), json!({}))).await;
    world.back_up(1).await;
    assert!(world.tasks(kind::RETENTION).await.is_empty());
}

#[tokio::test]
async fn before_a_backup_retention_goes_first_and_its_failure_is_a_warning() {
    let world = World::new(1, keep(json!({"keep": {"max_count": 1}}), true)).await;
    for (second, code, result) in [
        (1, OutcomeCode::Ok, ResultCode::Ok),
        (2, OutcomeCode::Ok, ResultCode::Ok),
        (3, OutcomeCode::Error, ResultCode::Warning),
    ] {
        let backup = world.run().await;
        let retention = world.claim_one(0).await;
        assert_eq!(retention.task.spec.kind, kind::RETENTION, "the backup waits for it");
        assert!(retention.task.id < backup.id);
        world.complete(0, &retention, Outcome::of(code)).await;
        let work = world.claim_one(0).await;
        assert_eq!(work.task.id, backup.id);
        world.complete(0, &work, made(second)).await;
        let done = world.task(backup.spec.uuid).await;
        assert_eq!(
            done.result().map(|r| (r.code, r.warnings.len())),
            Some((result, usize::from(result == ResultCode::Warning)))
        );
    }
    // Before the third, the first was to go: its retention failed. Nothing goes after a backup.
    assert_eq!(world.snapshots().await, ["s1", "s2", "s3"]);
    world.run().await;
    assert_eq!(points(&world.claim_one(0).await.task), ["s1", "s2"]);
}

/// Two backups, and a third that waits behind the retention which is to remove the first.
async fn two_and_one_that_waits() -> (World, Task) {
    let world = World::new(1, keep(json!({"keep": {"max_count": 1}}), true)).await;
    for second in 1..=2 {
        world.run().await;
        world.complete(0, &world.claim_one(0).await, Outcome::of(OutcomeCode::Ok)).await;
        world.complete(0, &world.claim_one(0).await, made(second)).await;
    }
    let backup = world.run().await;
    assert_eq!(world.tasks(kind::RETENTION).await.last().map(points), Some(vec!["s1".to_owned()]));
    (world, backup)
}

#[tokio::test]
async fn without_the_backup_nothing_is_removed_before_it() {
    let by = Caller::server();
    let ended = async |world: &World| {
        let last = world.tasks(kind::RETENTION).await.pop().expect("the retention");
        last.result().map(|r| r.code)
    };
    // Revoked: both end in one commit.
    let (world, _) = two_and_one_that_waits().await;
    world.service.revoke_policy(&by, POLICY, machine(0)).await.expect("revoked");
    assert_eq!(ended(&world).await, Some(ResultCode::Cancelled));
    assert_eq!((world.claim(0).await.len(), world.snapshots().await.len()), (0, 2));
    // Cancelled, and the end was heard of.
    let (world, backup) = two_and_one_that_waits().await;
    world.service.cancel_task(&by, TaskRef::Id(backup.id)).await.expect("it waits");
    world.turn(backup.created_at).await;
    assert_eq!(ended(&world).await, Some(ResultCode::Cancelled));
    assert_eq!((world.claim(0).await.len(), world.snapshots().await.len()), (0, 2));
    // The agent asks before that.
    let (world, backup) = two_and_one_that_waits().await;
    world.service.cancel_task(&by, TaskRef::Id(backup.id)).await.expect("it waits");
    assert!(world.claim(0).await.is_empty());
    assert_eq!((ended(&world).await, world.snapshots().await.len()), (Some(ResultCode::Ok), 2));
}

#[tokio::test]
async fn a_retention_that_waited_goes_by_the_rules_of_now() {
    let (world, backup) = two_and_one_that_waits().await;
    let rules = json!({"rules": [{"keep": {"max_count": 9}}], "before_backup": true});
    let change = crate::service::PolicyChange { retention: Some(read(rules)), ..Default::default() };
    world.service.change_policy(&Caller::server(), POLICY, change).await.expect("changed");
    assert!(world.claim(0).await.is_empty(), "what was to go stays by now");
    let work = world.claim_one(0).await;
    assert_eq!(work.task.id, backup.id);
    world.complete(0, &work, made(3)).await;
    assert_eq!(world.snapshots().await, ["s1", "s2", "s3"]);
    assert_eq!(world.task(backup.spec.uuid).await.result().map(|r| r.code), Some(ResultCode::Ok));
}

#[tokio::test]
async fn a_machine_that_is_switched_off_shows_no_run_to_come() {
    let world = World::new(1, json!({"schedule": {"kind": "interval", "every": "6h"}})).await;
    assert!(world.app(0).await.next_run_at.is_some());
    let by = Caller::server();
    for enabled in [false, true] {
        let change = crate::service::ResourceChange { enabled: Some(enabled), ..Default::default() };
        world.service.change_resource(&by, machine(0), change).await.expect("changed");
        assert_eq!(world.app(0).await.next_run_at.is_some(), enabled);
    }
    // The first backup of an archive is full, whatever the schedule.
    let first = world.run().await;
    assert!(first.spec.seeding && full(&first));
    world.complete(0, &world.claim_one(0).await, made(1)).await;
    assert!(!full(&world.run().await));
}

#[tokio::test]
async fn a_run_that_failed_is_not_verified() {
    let mut policy = sets(every_three_hours(), json!({}));
    policy["settings"] = json!({"verify": true});
    let world = World::new(1, policy).await;
    world.run().await;
    let work = world.claim_one(0).await;
    let failed = Outcome { payload: made(1).payload, ..Outcome::of(OutcomeCode::Error) };
    world.complete(0, &work, failed).await;
    assert_eq!((world.backups().await.len(), world.tasks(kind::VERIFICATION).await.len()), (1, 0));
}

#[tokio::test]
async fn a_point_that_is_written_back_just_now_stays() {
    let world = World::new(1, keep(json!({"keep": {"max_count": 1}}), false)).await;
    world.back_up(1).await;
    world.complete(0, &world.claim_one(0).await, Outcome::of(OutcomeCode::Ok)).await;
    let first = world.backups().await.remove(0);
    let mut recovery = TaskSpec::new(Uuid::now_v7(), kind::RECOVERY, "elsewhere", Uuid::nil());
    recovery.argument = json!({"backup": first.id, "repository": REPOSITORY, "snapshot": "s1", "to": "/x"}).into();
    let write = Write::CreateTask(Box::new(recovery));
    world.ledger.commit(&Scope::everything(), world.start, vec![write]).await.expect("a task");
    world.back_up(2).await;
    assert!(points(&world.claim_one(0).await.task).is_empty());
    assert_eq!(world.backups().await[0].kept_because, ["a task that is not done needs it"]);
}

#[tokio::test]
async fn a_good_backup_is_verified_where_the_policy_wants_it() {
    let mut policy = sets(every_three_hours(), json!({}));
    policy["settings"] = json!({"verify": true});
    let world = World::new(1, policy).await;
    world.back_up(1).await;
    let verification = world.claim_one(0).await;
    let backup = world.backups().await.remove(0);
    match Work::of(&verification.task.spec) {
        Ok(Work::Verification(work)) => assert_eq!((work.backup, &work.snapshot), (backup.id, &backup.snapshot)),
        other => panic!("{other:?}"),
    }
    let archive = async || world.ledger().get::<Archive>(&Scope::everything(), backup.archive).await.expect("it").value;
    assert!(!archive().await.damaged);
    let damage = Outcome {
        payload: json!(VerificationDone { damaged_total: 1, ..VerificationDone::default() }),
        ..Outcome::of(OutcomeCode::Error)
    };
    world.complete(0, &verification, damage).await;
    assert!(archive().await.damaged);
}

#[tokio::test]
async fn what_is_not_over_when_its_window_closes_is_stopped() {
    let until = |start: Timestamp, hours| start.checked_add(SignedDuration::from_hours(hours)).expect("a time");
    let set = json!({"when": {"times": {"every": "daily", "from": "01:00:00"}}, "run_later": true});
    let window = json!({"window": {"from": "01:00:00", "to": "05:00:00"}});
    let mut world = World::new(1, sets(set, window)).await;
    let opened = world.next().await;
    let waits = world.run().await;
    assert_eq!(waits.state(), State::Enqueued);
    world.turn(until(opened, 4)).await;
    let stopped = world.task(waits.spec.uuid).await;
    let (code, error) = left_out(&stopped);
    assert_eq!((code, error.code.as_str()), (ResultCode::TimedOut, "runMissed"), "it never began");

    let opened = world.next().await;
    let runs = world.run().await;
    let work = world.claim_one(0).await;
    let started = Report { task: work.task.id, lease: work.lease.clone(), event: ReportEvent::Started };
    world.service.report(&world.agents[0], started).await.expect("reported");
    // A server that starts anew finds it again.
    world.restart();
    world.service.look_for_ends().await.expect("looked");
    world.turn(until(opened, 3)).await;
    assert!(!world.task(runs.spec.uuid).await.status.cancel_requested, "the window is open");
    world.turn(until(opened, 4)).await;
    assert!(world.task(runs.spec.uuid).await.status.cancel_requested);
}
