//! An agent as far as the server can tell: it takes work, carries it out in a few steps, and says each thing until it was
//! heard. What dies with it is what is not in the repository.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use domain::task::{LeaseToken, Outcome, OutcomeCode, Task, TaskError, TaskId};
use domain::work::{BackupDone, ForgetDone, Work};
use domain::{Timestamp, Uuid};
use serde_json::json;
use server::service::{AgentHello, Assigned, Command, Connected, Held, Report, ReportEvent};

/// The repository that all agents write to: the task of each snapshot.
pub(crate) type Snapshots = BTreeMap<String, Uuid>;

/// A piece of work in an agent's hands.
struct Job {
    task: Task,
    lease: LeaseToken,
    work: Work,
    /// How many steps it still takes.
    left: usize,
}

/// How work is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Good,
    Failed,
    Cancelled,
}

pub(crate) struct Agent {
    name: String,
    pub(crate) secret: String,
    pub(crate) line: Option<Connected>,
    jobs: Vec<Job>,
    /// What was not heard yet, in its order.
    said: VecDeque<Report>,
}

impl Agent {
    pub(crate) fn new(name: String, secret: String) -> Agent {
        Agent { name, secret, line: None, jobs: Vec::new(), said: VecDeque::new() }
    }

    /// It dies: what it had in its hands and had not said is gone.
    pub(crate) fn die(&mut self) {
        *self = Agent::new(std::mem::take(&mut self.name), std::mem::take(&mut self.secret));
    }

    pub(crate) fn hello(&self) -> AgentHello {
        let mut held: BTreeMap<&str, Held> = BTreeMap::new();
        for job in &self.jobs {
            held.insert(&job.lease.0, Held { task: job.task.id, lease: job.lease.clone() });
        }
        for report in &self.said {
            held.insert(&report.lease.0, Held { task: report.task, lease: report.lease.clone() });
        }
        AgentHello { name: self.name.clone(), running: held.into_values().collect(), ..AgentHello::default() }
    }

    /// Work arrives. What it has already is no new work.
    pub(crate) fn accept(&mut self, assigned: Assigned, steps: usize) {
        let lease = assigned.lease;
        let known = self.jobs.iter().any(|job| job.lease == lease) || self.said.iter().any(|said| said.lease == lease);
        if known {
            return;
        }
        let work = Work::of(&assigned.task.spec).expect("agents are given what they understand");
        self.say(assigned.task.id, &lease, ReportEvent::Started);
        self.jobs.push(Job { task: assigned.task, lease, work, left: steps });
    }

    /// The work under a lease is not its any more: it stops and says nothing more of it.
    pub(crate) fn void(&mut self, lease: &LeaseToken) {
        self.jobs.retain(|job| job.lease != *lease);
        self.said.retain(|report| report.lease != *lease);
    }

    /// Hears what the server tells it.
    pub(crate) fn hear(&mut self, now: Timestamp, snapshots: &mut Snapshots) {
        let mut heard = Vec::new();
        if let Some(line) = &mut self.line {
            while let Ok(command) = line.commands.try_recv() {
                heard.push(command);
            }
        }
        for command in heard {
            match command {
                Command::Void { lease, .. } => self.void(&lease),
                Command::Stop { lease, .. } => self.end_of(&lease, End::Cancelled, now, snapshots),
                _ => {}
            }
        }
    }

    /// One of its jobs comes a step further, and to its end in the last.
    pub(crate) fn work(&mut self, which: usize, end: End, now: Timestamp, snapshots: &mut Snapshots) -> bool {
        let Some(job) = self.jobs.get_mut(which) else { return false };
        if job.left > 0 {
            job.left -= 1;
            return true;
        }
        let lease = job.lease.clone();
        self.end_of(&lease, end, now, snapshots);
        true
    }

    /// It says of everything in its hands that it goes on.
    pub(crate) fn beat(&mut self) {
        let beats: Vec<_> = self.jobs.iter().map(|job| (job.task.id, job.lease.clone())).collect();
        beats.into_iter().for_each(|(task, lease)| self.say(task, &lease, ReportEvent::Heartbeat));
    }

    /// The work under a lease ends so, if it is at work on it.
    pub(crate) fn end_of(&mut self, lease: &LeaseToken, end: End, now: Timestamp, snapshots: &mut Snapshots) {
        let Some(at) = self.jobs.iter().position(|job| job.lease == *lease) else { return };
        let job = self.jobs.remove(at);
        let outcome = match end {
            End::Good => done(&job, now, snapshots),
            End::Cancelled => Outcome::of(OutcomeCode::Cancelled),
            End::Failed => {
                let error = TaskError { domain: "engine".into(), code: "io".into(), ..TaskError::server("io", "no") };
                Outcome { error: Some(error), ..Outcome::of(OutcomeCode::Error) }
            }
        };
        self.say(job.task.id, lease, ReportEvent::Completed { outcome, progress: None });
    }

    /// What it would say next.
    pub(crate) fn next(&self) -> Option<&Report> {
        self.said.front()
    }

    /// What it said was heard.
    pub(crate) fn heard(&mut self) {
        self.said.pop_front();
    }

    pub(crate) fn slots(&self) -> usize {
        let busy: BTreeSet<&str> =
            self.jobs.iter().map(|job| &*job.lease.0).chain(self.said.iter().map(|said| &*said.lease.0)).collect();
        2usize.saturating_sub(busy.len())
    }

    pub(crate) fn jobs(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.said.is_empty()
    }

    fn say(&mut self, task: TaskId, lease: &LeaseToken, event: ReportEvent) {
        self.said.push_back(Report { task, lease: lease.clone(), event });
    }
}

/// Carries work out.
fn done(job: &Job, now: Timestamp, snapshots: &mut Snapshots) -> Outcome {
    let payload = match &job.work {
        Work::Backup(_) => {
            // As the engine does it: a task that left a snapshot before has it reported.
            let uuid = job.task.spec.uuid;
            let found = snapshots.iter().find(|(_, task)| **task == uuid).map(|(snapshot, _)| snapshot.clone());
            let snapshot = found.unwrap_or_else(|| format!("{0}{0}", uuid.simple()));
            snapshots.insert(snapshot.clone(), uuid);
            json!(BackupDone { snapshot, created_at: now, ..BackupDone::default() })
        }
        Work::Forget(work) => {
            let gone = work.points.len() as u64;
            let there = work.points.iter().filter(|point| snapshots.remove(&point.snapshot).is_some()).count() as u64;
            json!(ForgetDone { removed: gone, missing: gone - there, ..ForgetDone::default() })
        }
        _ => serde_json::Value::Null,
    };
    Outcome { payload, ..Outcome::of(OutcomeCode::Ok) }
}
