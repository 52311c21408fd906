//! The world of one seed: a server that may die, agents, what they wrote into the repository, and the time. Each step is one
//! thing that happens, drawn from the seed.

use std::sync::{Arc, Mutex, PoisonError};

use domain::backup::Backup;
use domain::policy::{Application, Schedule, Settings};
use domain::query::{Filter, MAX_LIMIT, Query};
use domain::record::Record;
use domain::repository::Repository;
use domain::resource::{ResourceKind, Sources};
use domain::task::{ResultCode, State, TaskId, TaskRef};
use domain::tenant::Tenant;
use domain::token::TokenKind;
use domain::{Caller, Code, Error, Role, Scope, SignedDuration, Timestamp, Uuid};
use ledger::{Expect, Ledger, MemoryLedger, Write};
use serde_json::json;
use server::Service;
use server::scheduler::{self, History};
use server::secrets::Sealer;
use server::service::{NewPolicy, NewResource, PolicyChange, Report, Reported};

use crate::agent::{Agent, End, Snapshots};
use crate::invariants::{self, Sight};

/// The clock that everybody goes by.
type Time = Arc<Mutex<Timestamp>>;

pub(crate) struct World {
    random: Random,
    told: bool,
    time: Time,
    ledger: Arc<MemoryLedger>,
    service: Service,
    /// How many turns the scheduler took since the server started.
    turns: u32,
    agents: Vec<Agent>,
    applied: Vec<(Uuid, Uuid)>,
    policies: Vec<Uuid>,
    snapshots: Snapshots,
    sight: Sight,
    tally: Tally,
}

/// How often what happened.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    tasks: usize,
    good: usize,
    failed: usize,
    cancelled: usize,
    abandoned: usize,
    retried: usize,
    server_deaths: usize,
    agent_deaths: usize,
    lost_messages: usize,
    repeated_messages: usize,
    void_reports: usize,
    jumps: usize,
    removed: usize,
}

impl Tally {
    fn numbers(&mut self) -> [(&'static str, &mut usize); 13] {
        [
            ("tasks", &mut self.tasks),
            ("good", &mut self.good),
            ("failed", &mut self.failed),
            ("cancelled", &mut self.cancelled),
            ("abandoned", &mut self.abandoned),
            ("retried", &mut self.retried),
            ("server deaths", &mut self.server_deaths),
            ("agent deaths", &mut self.agent_deaths),
            ("lost messages", &mut self.lost_messages),
            ("repeated messages", &mut self.repeated_messages),
            ("void reports", &mut self.void_reports),
            ("jumps of the clock", &mut self.jumps),
            ("removed backups", &mut self.removed),
        ]
    }

    pub(crate) fn add(&mut self, mut other: Tally) {
        self.numbers().into_iter().zip(other.numbers()).for_each(|((_, mine), (_, more))| *mine += *more);
    }

    /// Fails where something never happened.
    pub(crate) fn saw_everything(mut self) {
        let never: Vec<_> = self.numbers().into_iter().filter(|(_, n)| **n == 0).map(|(name, _)| name).collect();
        assert!(never.is_empty(), "never happened: {never:?}");
    }
}

/// Random numbers that are the same for the same seed: SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        usize::try_from((u128::from(z) * n as u128) >> 64).expect("it is less than n")
    }

    fn percent(&mut self, n: usize) -> bool {
        self.below(100) < n
    }
}

fn sealer() -> Sealer {
    Sealer::new(&[7; 32]).expect("32 bytes")
}

fn service(ledger: &Arc<MemoryLedger>, time: &Time) -> Service {
    let time = time.clone();
    let clock = move || *time.lock().unwrap_or_else(PoisonError::into_inner);
    Service::new(ledger.clone(), sealer()).by_clock(clock)
}

/// What may come of a wish of a person, whose wishes are not all sensible.
fn expected<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(e) if matches!(e.code, Code::StateConflict | Code::AlreadyCompleted | Code::NotCancellable) => None,
        Err(e) => panic!("a wish was refused: {e:?}"),
    }
}

impl World {
    pub(crate) async fn new(seed: u64, told: bool) -> World {
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5eed);
        // In the year are the nights in which clocks are set.
        let start = Timestamp::from_second(1_767_225_600 + random.below(365 * 24 * 3600) as i64).expect("a time");
        let time: Time = Arc::new(Mutex::new(start));
        let ledger = Arc::new(MemoryLedger::new());
        let service = service(&ledger, &time);
        let zone = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"][random.below(4)];
        let repository = Repository::new(
            Uuid::from_u128(1),
            Uuid::nil(),
            "local",
            "/repository",
            sealer().seal("tape under the desk").expect("randomness"),
            start,
        );
        let records: [Record; 2] = [Tenant::root("root", zone, start).into(), repository.into()];
        let writes = records.into_iter().map(|record| Write::Put(Box::new(record), Expect::New)).collect();
        ledger.commit(&Scope::everything(), service.moment(), writes).await.expect("an empty ledger");
        let mut world = World {
            random,
            told,
            time,
            ledger,
            service,
            turns: 0,
            agents: Vec::new(),
            applied: Vec::new(),
            policies: Vec::new(),
            snapshots: Snapshots::new(),
            sight: Sight::default(),
            tally: Tally::default(),
        };
        world.populate(zone).await;
        world
    }

    async fn populate(&mut self, zone: &str) {
        let by = Caller::server();
        for n in 0..1 + self.random.below(2) {
            let policy = self.new_policy(n, zone);
            self.policies.push(self.service.create_policy(&by, policy).await.expect("a policy").id);
        }
        for n in 0..1 + self.random.below(3) {
            let name = format!("agent {n}");
            let issued = self
                .service
                .issue(&by, &Scope::everything(), TokenKind::Agent, name.clone(), Role::Operator, None)
                .await;
            let mut agent = Agent::new(name, issued.expect("a token").1);
            let line = self.service.agent_connected(&agent.secret, agent.hello()).await.expect("a valid token");
            let id = line.agent.id();
            agent.line = Some(line);
            self.agents.push(agent);
            for m in 0..1 + self.random.below(2) {
                let machine = NewResource {
                    tenant: None,
                    instance_id: Some(format!("machine-{n}-{m}")),
                    kind: ResourceKind::BareMetal,
                    name: format!("machine {n} {m}"),
                    agent: Some(id),
                    sources: Sources { paths: vec!["/home".into()], excludes: Vec::new() },
                    metadata: serde_json::Value::Null,
                };
                let machine = self.service.add_resource(&by, machine).await.expect("a machine").resource.id;
                for policy in self.policies.clone() {
                    self.service.apply_policy(&by, policy, machine).await.expect("applied");
                    self.applied.push((policy, machine));
                }
            }
        }
    }

    fn new_policy(&mut self, n: usize, zone: &str) -> NewPolicy {
        let sets = |set: serde_json::Value| {
            serde_json::from_value(json!({ "kind": "sets", "sets": [set] })).expect("a schedule")
        };
        let schedule = match self.random.below(4) {
            0 => Schedule::Interval { every: SignedDuration::from_mins(1 + self.random.below(180) as i64) },
            1 => Schedule::Daily { at: "02:30".parse().expect("a time"), time_zone: zone.to_owned() },
            2 => sets(json!({ "when": { "times": { "every": "daily", "step": { "count": 3, "unit": "hours" } } } })),
            _ => Schedule::Manual {},
        };
        let retention = match self.random.below(3) {
            0 => serde_json::Value::Null,
            n => json!({ "rules": [{ "keep": { "max_count": 1 + self.random.below(2) } }], "before_backup": n == 1 }),
        };
        let retention = if retention.is_null() {
            Default::default()
        } else {
            serde_json::from_value(retention).expect("a retention")
        };
        NewPolicy {
            tenant: None,
            name: format!("policy {n}"),
            schedule,
            settings: Settings::default(),
            retention,
            as_written: None,
            repository: None,
            enabled: true,
        }
    }

    fn now(&self) -> Timestamp {
        *self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_clock(&mut self, now: Timestamp) {
        *self.time.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.told {
            eprintln!("{} {}", self.now(), what());
        }
    }

    /// Something happens, and the invariants hold.
    pub(crate) async fn step(&mut self) {
        match self.random.below(100) {
            0..20 => self.time_passes().await,
            20..30 => self.somebody_runs().await,
            30..34 => self.somebody_cancels().await,
            34..36 => self.somebody_changes_a_policy().await,
            36..38 => self.the_server_dies(),
            38..41 => self.an_agent_dies(),
            41..43 => self.the_clock_jumps().await,
            43..46 => self.a_line_breaks().await,
            46..60 => self.an_agent_connects().await,
            60..72 => self.an_agent_asks_for_work().await,
            72..86 => self.an_agent_works(),
            _ => self.an_agent_speaks().await,
        }
        self.look().await;
    }

    /// Nothing is lost any more, and time is given until everything is over.
    pub(crate) async fn put_right(&mut self) {
        self.tell(|| "everything is put right".to_owned());
        // No new runs, or there is never an end.
        for policy in self.policies.clone() {
            let off = PolicyChange { enabled: Some(false), ..PolicyChange::default() };
            self.service.change_policy(&Caller::server(), policy, off).await.expect("a change");
        }
        for _ in 0..1000 {
            for n in 0..self.agents.len() {
                self.connect(n).await;
                self.claim(n, false).await;
                while self.agents[n].jobs() > 0 {
                    let now = self.now();
                    self.agents[n].hear(now, &mut self.snapshots);
                    self.agents[n].work(0, End::Good, now, &mut self.snapshots);
                }
                while self.agents[n].next().is_some() {
                    self.speak(n, Fate::Heard).await;
                }
            }
            self.advance(SignedDuration::from_secs(5)).await;
            self.look().await;
            let over = self.sight.tasks.values().all(|task| task.state() == State::Completed);
            if over && self.agents.iter().all(Agent::is_idle) {
                // The ends are noted by the turn that follows them.
                self.turn().await;
                self.look().await;
                return invariants::all_is_over(&self.sight);
            }
        }
        invariants::all_is_over(&self.sight);
        panic!("agents are not idle");
    }

    pub(crate) fn tally(mut self) -> Tally {
        for task in self.sight.tasks.values() {
            self.tally.tasks += 1;
            self.tally.retried += usize::from(task.status.assign_count > 1);
            match task.result().map(|r| r.code) {
                Some(ResultCode::Ok | ResultCode::Warning) => self.tally.good += 1,
                Some(ResultCode::Error | ResultCode::TimedOut) => self.tally.failed += 1,
                Some(ResultCode::Cancelled) => self.tally.cancelled += 1,
                Some(ResultCode::Abandoned) => self.tally.abandoned += 1,
                None => {}
            }
        }
        self.tally
    }

    async fn look(&mut self) {
        let (all, ledger) = (Scope::everything(), &*self.ledger as &dyn Ledger);
        let tasks = ledger.tasks(&all, &Query::newest(Filter::all(), MAX_LIMIT)).await.expect("tasks");
        assert!(tasks.next.is_none(), "more tasks than are looked at");
        let backups = ledger.all::<Backup>(&all, Filter::all()).await.expect("backups");
        let applications = ledger.all::<Application>(&all, Filter::all()).await.expect("applications");
        let sight = Sight {
            tasks: tasks.items.into_iter().map(|task| (task.id, task)).collect(),
            backups: backups.into_iter().map(|stored| (stored.value.id, stored.value)).collect(),
            applications: applications.into_iter().map(|stored| stored.value).collect(),
            acknowledged: std::mem::take(&mut self.sight.acknowledged),
            snapshots: self.snapshots.clone(),
        };
        invariants::hold(&self.sight, &sight);
        self.tally.removed += self.sight.backups.keys().filter(|id| !sight.backups.contains_key(id)).count();
        self.sight = sight;
    }

    async fn turn(&mut self) {
        scheduler::turn(&self.service, History::default(), self.turns).await;
        self.turns += 1;
    }

    async fn advance(&mut self, by: SignedDuration) {
        self.set_clock(self.now() + by);
        self.turn().await;
    }

    async fn time_passes(&mut self) {
        let idle = self.agents.iter().all(Agent::is_idle);
        let seconds = match self.random.below(10) {
            // Hours go by only where nobody has to give a sign of life meanwhile.
            0..3 if idle => 600 + self.random.below(6 * 3600),
            0..6 => 1 + self.random.below(40),
            _ => 1 + self.random.below(8),
        };
        self.tell(|| format!("{seconds} s pass"));
        self.advance(SignedDuration::from_secs(seconds as i64)).await;
    }

    async fn the_clock_jumps(&mut self) {
        let hours = 1 + self.random.below(48) as i64;
        let by = SignedDuration::from_hours(if self.random.percent(50) { hours } else { -hours });
        self.tell(|| format!("the clock jumps by {by:#}"));
        self.tally.jumps += 1;
        self.advance(by).await;
    }

    fn the_server_dies(&mut self) {
        self.tell(|| "the server dies".to_owned());
        self.tally.server_deaths += 1;
        self.service = service(&self.ledger, &self.time);
        self.turns = 0;
        self.agents.iter_mut().for_each(|agent| agent.line = None);
    }

    fn an_agent_dies(&mut self) {
        let n = self.random.below(self.agents.len());
        self.tell(|| format!("agent {n} dies"));
        self.tally.agent_deaths += 1;
        self.agents[n].die();
    }

    async fn a_line_breaks(&mut self) {
        let n = self.random.below(self.agents.len());
        let noticed = self.random.percent(50);
        self.tell(|| format!("the line of agent {n} breaks; the server notices: {noticed}"));
        if let Some(line) = self.agents[n].line.take().filter(|_| noticed) {
            self.service.agent_gone(&line.agent, line.session).await.expect("noted");
        }
    }

    async fn an_agent_connects(&mut self) {
        let n = self.random.below(self.agents.len());
        if self.agents[n].line.is_none() {
            self.connect(n).await;
        }
    }

    async fn connect(&mut self, n: usize) {
        if self.agents[n].line.is_some() {
            return;
        }
        let steps = self.random.below(4);
        let agent = &mut self.agents[n];
        let mut line = self.service.agent_connected(&agent.secret, agent.hello()).await.expect("a valid token");
        line.void.iter().for_each(|lease| agent.void(lease));
        std::mem::take(&mut line.again).into_iter().for_each(|assigned| agent.accept(assigned, steps));
        agent.line = Some(line);
        self.tell(|| format!("agent {n} connects"));
    }

    async fn an_agent_asks_for_work(&mut self) {
        let n = self.random.below(self.agents.len());
        let lost = self.random.percent(10);
        self.claim(n, lost).await;
    }

    async fn claim(&mut self, n: usize, lost: bool) {
        let slots = self.agents[n].slots();
        let Some(line) = &self.agents[n].line else { return };
        let assigned = self.service.claim(&line.agent, slots).await.expect("a claim");
        let ids: Vec<_> = assigned.iter().map(|assigned| assigned.task.id.0).collect();
        if ids.is_empty() {
            return;
        }
        self.tell(|| format!("agent {n} is given {ids:?}; lost on the way: {lost}"));
        if lost {
            self.tally.lost_messages += 1;
            self.agents[n].line = None;
            return;
        }
        for assigned in assigned {
            let steps = self.random.below(4);
            self.agents[n].accept(assigned, steps);
        }
    }

    fn an_agent_works(&mut self) {
        let n = self.random.below(self.agents.len());
        let now = self.now();
        let end = if self.random.percent(85) { End::Good } else { End::Failed };
        let which = self.random.below(2);
        let beats = self.random.percent(30);
        let agent = &mut self.agents[n];
        agent.hear(now, &mut self.snapshots);
        if beats {
            agent.beat();
        }
        if agent.work(which, end, now, &mut self.snapshots) {
            self.tell(|| format!("agent {n} works on its job {which}"));
        }
    }

    async fn an_agent_speaks(&mut self) {
        let n = self.random.below(self.agents.len());
        for _ in 0..1 + self.random.below(4) {
            let fate = match self.random.below(20) {
                0 => Fate::Lost,
                1 => Fate::AnswerLost,
                _ => Fate::Heard,
            };
            self.speak(n, fate).await;
        }
    }

    async fn speak(&mut self, n: usize, fate: Fate) {
        let (Some(line), Some(report)) = (&self.agents[n].line, self.agents[n].next()) else { return };
        let report: Report = report.clone();
        if fate == Fate::Lost {
            self.tell(|| format!("agent {n} says {} of {}, which is lost", name(&report), report.task));
            self.tally.lost_messages += 1;
            self.agents[n].line = None;
            return;
        }
        let reported = self.service.report(&line.agent, report.clone()).await.expect("a report that fits");
        self.tell(|| format!("agent {n} says {} of {}: {reported:?}", name(&report), report.task));
        if fate == Fate::AnswerLost {
            self.tally.repeated_messages += 1;
            self.agents[n].line = None;
            return;
        }
        let now = self.now();
        self.agents[n].heard();
        match reported {
            Reported::Void => {
                self.tally.void_reports += 1;
                self.agents[n].void(&report.lease);
            }
            Reported::Durable { cancel_requested: true } => {
                self.agents[n].end_of(&report.lease, End::Cancelled, now, &mut self.snapshots);
            }
            Reported::Durable { .. } => {}
        }
    }

    async fn somebody_runs(&mut self) {
        let (policy, machine) = self.applied[self.random.below(self.applied.len())];
        let made = expected(self.service.run_policy(&Caller::server(), policy, Some(machine)).await);
        // Where the answer is lost, nobody was told.
        if let Some(tasks) = made.filter(|_| self.random.percent(90)) {
            self.tell(|| format!("somebody runs {:?}", tasks.iter().map(|task| task.id.0).collect::<Vec<_>>()));
            self.sight.acknowledged.extend(tasks.iter().map(|task| task.id));
        }
    }

    async fn somebody_cancels(&mut self) {
        let tasks: Vec<TaskId> = self.sight.tasks.keys().copied().collect();
        if tasks.is_empty() {
            return;
        }
        let id = tasks[self.random.below(tasks.len())];
        self.tell(|| format!("somebody cancels {id}"));
        expected(self.service.cancel_task(&Caller::server(), TaskRef::Id(id)).await);
    }

    async fn somebody_changes_a_policy(&mut self) {
        let policy = self.policies[self.random.below(self.policies.len())];
        let enabled = Some(self.random.percent(70));
        let every = SignedDuration::from_mins(1 + self.random.below(180) as i64);
        let schedule = self.random.percent(30).then_some(Schedule::Interval { every });
        self.tell(|| format!("a policy is changed: enabled {enabled:?}, {schedule:?}"));
        let change = PolicyChange { enabled, schedule, ..PolicyChange::default() };
        self.service.change_policy(&Caller::server(), policy, change).await.expect("a change");
    }
}

/// What becomes of something that is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Heard,
    Lost,
    AnswerLost,
}

fn name(report: &Report) -> &'static str {
    use server::service::ReportEvent as E;
    match report.event {
        E::Started => "that it started",
        E::Heartbeat => "that it goes on",
        E::Completed { .. } => "the end",
        _ => "something",
    }
}
