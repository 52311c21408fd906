//! Writing: so many callers at once lead tasks through their lives, each step a commit of its own that is durable before
//! the next one begins; and how long lists take meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use domain::task::{
    Affinity, Event, Executor, LeaseToken, Outcome, OutcomeCode, Priority, Progress, Rules, Task, TaskId, TaskRef,
    TaskSpec,
};
use domain::{Moment, Scope, SignedDuration, Timestamp, Uuid};
use ledger::{Claim, Committed, Ledger, Write, Written};
use serde::Serialize;

use super::ask::{Ask, ask};
use super::clock::Spread;
use super::fsync::Disk;

/// The queue in which tasks of the benchmark wait, and nobody else's.
const QUEUE: &str = "bench";
/// Tasks that are written or taken at once in the part about batches.
pub(crate) const BATCH: usize = 64;
/// How often a caller reaches for a task before that is an error.
const REACHES: usize = 100;
/// Between two lists, or two writes to the disk, beside the writers: they shall be seen, and not hold anybody up.
const BETWEEN: Duration = Duration::from_millis(10);

/// How much is written.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many at once.
    pub callers: usize,
    /// At most so many tasks.
    pub tasks: u64,
    /// At most this long.
    pub time: Duration,
}

/// How writing went.
#[derive(Debug, Clone, Serialize)]
pub struct Writes {
    /// How many at once.
    pub callers: usize,
    /// Tasks that were enqueued, claimed, started and completed.
    pub tasks: u64,
    /// How long that took, in seconds.
    pub seconds: f64,
    /// Tasks a second.
    pub tasks_per_second: f64,
    /// Commits a second.
    pub commits_per_second: f64,
    /// Transactions that were made durable: fewer than commits where callers came together.
    pub transactions: u64,
    /// The steps.
    pub enqueue: Spread,
    /// To take one.
    pub claim: Spread,
    /// To say that it began.
    pub start: Spread,
    /// To say how it ended.
    pub complete: Spread,
    /// Any of them.
    pub write: Spread,
    /// A durable write of 4 KB to a file on the same disk, before and afterwards.
    pub fsync: Spread,
    /// The p99 of a write divided by that of the disk.
    pub p99_to_fsync: f64,
    /// The same on the disk while all callers write, one every 10 ms.
    pub fsync_beside: Spread,
    /// The p99 of a write divided by that.
    pub p99_to_fsync_beside: f64,
    /// Any of the steps, by one caller while nobody else writes.
    pub alone: Spread,
    /// The p99 of that divided by that of the disk.
    pub alone_p99_to_fsync: f64,
    /// Bytes of what a task is wished with, as JSON.
    pub spec_bytes: usize,
    /// Many at once.
    pub batches: Batches,
    /// Lists beside it.
    pub lists: Lists,
}

/// Writes of 64 tasks in a commit.
#[derive(Debug, Clone, Serialize)]
pub struct Batches {
    /// Tasks in a commit.
    pub size: usize,
    /// To enqueue so many in one commit.
    pub enqueue: Spread,
    /// Tasks a second that way, by one caller.
    pub enqueued_per_second: f64,
    /// To take so many in one commit.
    pub claim: Spread,
    /// Tasks a second that way, by one caller.
    pub claimed_per_second: f64,
}

/// How long lists take, one every 10 ms.
#[derive(Debug, Clone, Serialize)]
pub struct Lists {
    /// While nobody writes.
    pub idle: Spread,
    /// While all callers write.
    pub busy: Spread,
    /// The p99 of the second divided by that of the first.
    pub ratio_p99: f64,
    /// Tasks a second that were written meanwhile.
    pub tasks_per_second: f64,
}

/// Writes tasks like those that are there.
#[derive(Clone)]
pub(crate) struct Writer {
    ledger: Arc<dyn Ledger>,
    likes: Arc<Vec<TaskSpec>>,
    since: Timestamp,
    made: Arc<AtomicU64>,
}

/// Times of the steps of many tasks.
#[derive(Default)]
struct Steps {
    enqueue: Vec<Duration>,
    claim: Vec<Duration>,
    start: Vec<Duration>,
    complete: Vec<Duration>,
}

impl Steps {
    fn all(&self) -> impl Iterator<Item = Duration> {
        [&self.enqueue, &self.claim, &self.start, &self.complete].into_iter().flatten().copied()
    }
}

impl Writer {
    /// One that writes tasks like these.
    pub(crate) async fn like(ledger: Arc<dyn Ledger>, tasks: impl IntoIterator<Item = TaskRef>) -> Result<Writer> {
        let mut likes = Vec::new();
        for task in tasks {
            likes.push((*ledger.task(&Scope::everything(), task).await.map_err(plain)?.spec).clone());
        }
        anyhow::ensure!(!likes.is_empty(), "the ledger has no tasks");
        Ok(Writer { ledger, likes: Arc::new(likes), since: Timestamp::now(), made: Arc::default() })
    }

    /// Bytes of what a task is wished with, as JSON, on the average.
    pub(crate) fn spec_bytes(&self) -> usize {
        let named = |n: &Option<domain::task::Named>| n.as_ref().map_or(0, |n| serde_json::json!(n).to_string().len());
        let bytes = self.likes.iter().map(|s| {
            let words = s.kind.len() + s.queue.len() + s.tags.iter().map(|t| t.len() + 3).sum::<usize>() + 36 * 2 + 120;
            s.argument.to_string().len() + s.context.to_string().len() + named(&s.policy) + named(&s.resource) + words
        });
        bytes.sum::<usize>() / self.likes.len()
    }

    /// All of it: the load, batches, and lists beside the load.
    pub(crate) async fn measure(
        &self,
        load: Load,
        lists: Vec<Ask>,
        folder: &Path,
        transactions: &(dyn Fn() -> u64 + Sync),
    ) -> Result<Writes> {
        let mut disk = Disk::beside(folder)?.writes()?;
        let before = transactions();
        let (steps, seconds) = self.load(load, Arc::default()).await?;
        let transactions = transactions() - before;
        disk.extend(Disk::beside(folder)?.writes()?);
        let tasks = steps.complete.len() as u64;
        let (write, fsync) = (Spread::of(steps.all()), Spread::of(disk));
        let fsync_beside = self.disk_beside(load, folder).await?;
        let one = Load { callers: 1, tasks: load.tasks.min(1000), time: load.time / 4 };
        let alone = Spread::of(self.load(one, Arc::default()).await?.0.all());
        let batches = self.batches(load).await?;
        Ok(Writes {
            callers: load.callers,
            tasks,
            seconds,
            tasks_per_second: tasks as f64 / seconds,
            commits_per_second: write.count as f64 / seconds,
            transactions,
            p99_to_fsync: write.p99_ms / fsync.p99_ms.max(1e-9),
            p99_to_fsync_beside: write.p99_ms / fsync_beside.p99_ms.max(1e-9),
            fsync_beside,
            alone_p99_to_fsync: alone.p99_ms / fsync.p99_ms.max(1e-9),
            alone,
            write,
            fsync,
            spec_bytes: self.spec_bytes(),
            batches,
            lists: self.beside(load, lists).await?,
            enqueue: Spread::of(steps.enqueue),
            claim: Spread::of(steps.claim),
            start: Spread::of(steps.start),
            complete: Spread::of(steps.complete),
        })
    }

    /// All callers at once, until enough was written, the time is over or it is called off.
    async fn load(&self, load: Load, off: Arc<AtomicBool>) -> Result<(Steps, f64)> {
        let clock = Instant::now();
        let begun = Arc::new(AtomicU64::new(0));
        let mut callers = tokio::task::JoinSet::new();
        for number in 0..load.callers {
            let (writer, begun, off) = (self.clone(), begun.clone(), off.clone());
            callers.spawn(async move {
                let mut steps = Steps::default();
                while begun.fetch_add(1, Ordering::Relaxed) < load.tasks
                    && clock.elapsed() < load.time
                    && !off.load(Ordering::Relaxed)
                {
                    writer.life(number, &mut steps).await?;
                }
                anyhow::Ok(steps)
            });
        }
        let mut all = Steps::default();
        while let Some(steps) = callers.join_next().await {
            let steps = steps??;
            all.enqueue.extend(steps.enqueue);
            all.claim.extend(steps.claim);
            all.start.extend(steps.start);
            all.complete.extend(steps.complete);
        }
        Ok((all, clock.elapsed().as_secs_f64().max(1e-9)))
    }

    /// One task after another: the caller enqueues one, takes whichever is first, and carries that out.
    async fn life(&self, caller: usize, steps: &mut Steps) -> Result<()> {
        let clock = Instant::now();
        self.commit(vec![Write::CreateTask(Box::new(self.spec()))]).await?;
        steps.enqueue.push(clock.elapsed());
        let clock = Instant::now();
        let (task, lease) = self.claim_one(caller).await?;
        steps.claim.push(clock.elapsed());
        let task = TaskRef::Id(task);
        let clock = Instant::now();
        self.commit(vec![Write::Task(task, Event::Start { lease: lease.clone() })]).await?;
        steps.start.push(clock.elapsed());
        let clock = Instant::now();
        self.commit(vec![Write::Task(task, complete(lease))]).await?;
        steps.complete.push(clock.elapsed());
        Ok(())
    }

    /// Tasks in commits of many, enqueued and taken by one caller.
    async fn batches(&self, load: Load) -> Result<Batches> {
        let rounds = usize::try_from(load.tasks).unwrap_or(usize::MAX).div_ceil(BATCH).clamp(1, 200);
        let (mut enqueue, mut claim) = (Vec::new(), Vec::new());
        let all = Instant::now();
        while enqueue.is_empty() || (enqueue.len() < rounds && all.elapsed() < load.time / 2) {
            let writes = (0..BATCH).map(|_| Write::CreateTask(Box::new(self.spec()))).collect();
            let clock = Instant::now();
            self.commit(writes).await?;
            enqueue.push(clock.elapsed());
        }
        let mut claimed = Vec::new();
        for _ in 0..enqueue.len() {
            let clock = Instant::now();
            let some = self.claim(0, BATCH).await?;
            claim.push(clock.elapsed());
            anyhow::ensure!(some.len() == BATCH, "{} tasks were handed out where {BATCH} wait", some.len());
            claimed.extend(some);
        }
        // Nothing is left behind.
        for some in claimed.chunks(BATCH) {
            let end = |(task, lease): &(TaskId, LeaseToken)| Write::Task(TaskRef::Id(*task), complete(lease.clone()));
            self.commit(some.iter().map(end).collect()).await?;
        }
        let rate = |times: &[Duration]| {
            let busy: Duration = times.iter().sum();
            (times.len() * BATCH) as f64 / busy.as_secs_f64().max(1e-9)
        };
        Ok(Batches {
            size: BATCH,
            enqueued_per_second: rate(&enqueue),
            claimed_per_second: rate(&claim),
            enqueue: Spread::of(enqueue),
            claim: Spread::of(claim),
        })
    }

    /// Small writes to the disk while all callers write.
    async fn disk_beside(&self, load: Load, folder: &Path) -> Result<Spread> {
        let off = Arc::new(AtomicBool::new(false));
        let writing = async {
            let written = self.load(Load { time: load.time / 4, ..load }, Arc::default()).await;
            off.store(true, Ordering::Relaxed);
            written
        };
        let looking = async {
            let (mut disk, mut times, mut ticks) = (Disk::beside(folder)?, Vec::new(), every(BETWEEN));
            while times.is_empty() || !off.load(Ordering::Relaxed) {
                ticks.tick().await;
                let write = move || disk.write().map(|time| (disk, time));
                let (back, time) = tokio::task::spawn_blocking(write).await??;
                disk = back;
                times.push(time);
            }
            anyhow::Ok(times)
        };
        let (written, times) = tokio::join!(writing, looking);
        written?;
        Ok(Spread::of(times?))
    }

    /// Lists while nobody writes, and while all write.
    async fn beside(&self, load: Load, lists: Vec<Ask>) -> Result<Lists> {
        let time = load.time / 2;
        let idle = Spread::of(self.read(&lists, time).await?);
        let off = Arc::new(AtomicBool::new(false));
        let reading = async {
            let times = self.read(&lists, time).await;
            off.store(true, Ordering::Relaxed);
            times
        };
        let endless = Load { tasks: u64::MAX, time: Duration::MAX, ..load };
        let (busy, written) = tokio::join!(reading, self.load(endless, off.clone()));
        let (busy, (steps, seconds)) = (Spread::of(busy?), written?);
        Ok(Lists {
            idle,
            ratio_p99: busy.p99_ms / idle.p99_ms.max(1e-9),
            busy,
            tasks_per_second: steps.complete.len() as f64 / seconds,
        })
    }

    async fn read(&self, lists: &[Ask], time: Duration) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        let mut ticks = every(BETWEEN);
        let clock = Instant::now();
        for list in lists.iter().cycle() {
            ticks.tick().await;
            // Each of them at least once.
            if times.len() >= lists.len() && clock.elapsed() > time {
                break;
            }
            times.push(ask(&*self.ledger, list).await?.cost.wall);
        }
        Ok(times)
    }

    fn spec(&self) -> TaskSpec {
        let n = self.made.fetch_add(1, Ordering::Relaxed);
        let like = &self.likes[usize::try_from(n).unwrap_or_default() % self.likes.len()];
        TaskSpec {
            uuid: Uuid::now_v7(),
            queue: QUEUE.into(),
            priority: Priority::Normal,
            affinity: Affinity::default(),
            // Nothing runs out while we measure.
            rules: Rules {
                cancellable: true,
                max_assign_count: 3,
                heartbeat_interval: Some(SignedDuration::from_hours(1)),
                ack_timeout: SignedDuration::from_hours(1),
                ..Rules::default()
            },
            ..like.clone()
        }
    }

    /// Takes whichever task is first. One waits for each caller, but others may reach for it at the same moment.
    async fn claim_one(&self, caller: usize) -> Result<(TaskId, LeaseToken)> {
        for _ in 0..REACHES {
            if let Some(claimed) = self.claim(caller, 1).await?.pop() {
                return Ok(claimed);
            }
        }
        bail!("no task was handed out in {REACHES} attempts, though one waits");
    }

    async fn claim(&self, caller: usize, most: usize) -> Result<Vec<(TaskId, LeaseToken)>> {
        let leases: Vec<_> = (0..most).map(|_| LeaseToken(Uuid::new_v4().simple().to_string())).collect();
        let claim = Claim {
            queues: vec![QUEUE.to_owned()],
            types: Vec::new(),
            executor: Executor { id: format!("bench-{caller}").into(), cluster_id: "".into() },
            leases,
        };
        let committed = self.commit(vec![Write::Claim(claim)]).await?;
        let Some(Written::Claimed(tasks)) = committed.written.into_iter().next() else {
            bail!("a claim was answered with something else")
        };
        let lease = |t: &Task| t.lease().cloned().context("a task was handed out without a lease");
        tasks.iter().map(|t| Ok((t.id, lease(t)?))).collect()
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Committed> {
        let moment = Moment { now: Timestamp::now(), up_since: self.since };
        self.ledger.commit(&Scope::everything(), moment, writes).await.map_err(plain)
    }
}

fn every(time: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(time);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

fn complete(lease: LeaseToken) -> Event {
    let progress = Progress {
        current: 100,
        total: 100,
        bytes_processed: 7_340_032_000,
        bytes_total: 7_340_032_000,
        bytes_saved: 319_131_826,
        files_processed: 104_857,
        files_total: 104_857,
        ..Progress::default()
    };
    Event::Complete { lease, outcome: Outcome::of(OutcomeCode::Ok), progress: Some(progress) }
}

fn plain(error: domain::Error) -> anyhow::Error {
    anyhow::anyhow!(error.message)
}
