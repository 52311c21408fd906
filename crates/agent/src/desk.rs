//! What the agent has in its hands: its tasks, and the reports that the server has not acknowledged yet, in their order.
//! It outlives sessions. Runners lay reports on it, the link takes them from it; neither waits for the other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::agent::v1::report::Event;
use proto::agent::v1::{Ack, Assign, Heartbeat, Held, Report, ack};
use tokio::sync::{Notify, watch};

use crate::journal::{Journal, Unreported};

/// What a runner is told to do. When the sender is gone, its lease is void: stop, and report nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Carry the task out.
    Work,
    /// Stop, and report that it was cancelled.
    Cancel,
    /// Stop, and give the task back: the agent ends.
    Leave,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    papers: Mutex<Papers>,
    changed: Notify,
    journal: Journal,
}

#[derive(Debug, Default)]
struct Papers {
    /// By lease.
    tasks: HashMap<String, Task>,
    /// Not acknowledged yet, oldest first.
    reports: VecDeque<Report>,
    /// How many of them, from the front, were sent in the present session.
    sent: usize,
    last_seq: u64,
    connected: bool,
    leaving: bool,
    /// Nothing is taken down or told any more.
    closed: bool,
}

#[derive(Debug)]
struct Task {
    id: i64,
    orders: watch::Sender<Order>,
    /// Its last report is written; only the acknowledgement is missing.
    over: bool,
}

impl Desk {
    /// An empty one. What leaves it is forgotten by the journal too.
    pub(crate) fn new(journal: Journal) -> Desk {
        Desk { journal, ..Desk::default() }
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Lays down what a former process of the agent could not report any more.
    pub(crate) fn left_over(&self, Unreported { task, lease, events }: Unreported) {
        let mut papers = self.lock();
        let (orders, _) = watch::channel(Order::Work);
        papers.tasks.insert(lease.clone(), Task { id: task, orders, over: true });
        for event in events {
            papers.lay(task, &lease, event);
        }
    }

    /// What the server has not acknowledged of a task, without signs of life and progress.
    pub(crate) fn unacknowledged(&self, lease: &str) -> Vec<Report> {
        let passing =
            |event: &Event| matches!(event, Event::Heartbeat(_) | Event::Progress(_) | Event::ActivityProgress(_));
        let papers = self.lock();
        let of_lease = papers.reports.iter().filter(|r| r.lease == lease);
        of_lease.filter(|r| r.event.as_ref().is_some_and(|event| !passing(event))).cloned().collect()
    }

    /// Takes a task. Nothing if it is there already: the server repeats what may not have arrived.
    pub(crate) fn take_on(&self, assign: &Assign) -> Option<watch::Receiver<Order>> {
        let mut papers = self.lock();
        if papers.tasks.contains_key(&assign.lease) {
            return None;
        }
        let (orders, receiver) = watch::channel(if papers.leaving { Order::Leave } else { Order::Work });
        papers.tasks.insert(assign.lease.clone(), Task { id: assign.task, orders, over: false });
        Some(receiver)
    }

    /// Lays a report on the desk, unless its lease is void. Of progress only the newest waits, and a heartbeat is left
    /// out where anything else is waiting to be said of the task. Says whether the lease holds.
    pub(crate) fn report(&self, lease: &str, event: Event) -> bool {
        let mut papers = self.lock();
        let Papers { tasks, reports, sent, .. } = &mut *papers;
        let Some(task) = tasks.get_mut(lease) else { return false };
        task.over |= matches!(event, Event::Completed(_) | Event::Abandoned(_));
        let id = task.id;
        let unsent = *sent..reports.len();
        if matches!(event, Event::Heartbeat(_)) && reports.range(unsent.clone()).any(|r| r.lease == lease) {
            return true;
        }
        let superseded = |r: &Report| r.lease == lease && r.event.as_ref().is_some_and(|old| supersedes(&event, old));
        if let Some(old) = unsent.into_iter().find(|i| superseded(&reports[*i])) {
            reports.remove(old);
        }
        papers.lay(id, lease, event);
        drop(papers);
        self.changed.notify_waiters();
        true
    }

    /// A new session begins: what was not acknowledged will be sent again. Gives the tasks for Hello.
    pub(crate) fn begin_session(&self) -> Vec<Held> {
        let mut papers = self.lock();
        let Papers { tasks, reports, sent, .. } = &mut *papers;
        *sent = 0;
        // Signs of life are of the past, and of progress only the newest is of interest.
        let mut newest: Vec<Report> = Vec::with_capacity(reports.len());
        for report in reports.drain(..) {
            if let Some(event) = report.event.as_ref().filter(|e| !matches!(e, Event::Heartbeat(_))) {
                newest
                    .retain(|r| r.lease != report.lease || !r.event.as_ref().is_some_and(|old| supersedes(event, old)));
                newest.push(report);
            }
        }
        reports.extend(newest);
        tasks.iter().map(|(lease, t)| Held { task: t.id, lease: lease.clone() }).collect()
    }

    /// The server knows us. Each task gives a sign of life, so that its answer tells whether somebody cancelled it while
    /// we were away.
    pub(crate) fn welcomed(&self) {
        self.lock().connected = true;
        let leases: Vec<String> =
            self.lock().tasks.iter().filter(|(_, t)| !t.over).map(|(lease, _)| lease.clone()).collect();
        for lease in leases {
            self.report(&lease, Event::Heartbeat(Heartbeat {}));
        }
    }

    /// The session is over.
    pub(crate) fn disconnected(&self) {
        self.lock().connected = false;
        self.changed.notify_waiters();
    }

    /// Whether every task is given back.
    pub(crate) fn is_leaving(&self) -> bool {
        self.lock().leaving
    }

    /// Waits until there is a report to send, or it is to be said that the agent leaves.
    pub(crate) async fn unsent(&self, said_leaving: bool) {
        self.wait(|papers| papers.sent < papers.reports.len() || (papers.leaving && !said_leaving)).await;
    }

    /// The next report to send.
    pub(crate) fn next(&self) -> Option<Report> {
        let mut papers = self.lock();
        let report = papers.reports.get(papers.sent).cloned()?;
        papers.sent += 1;
        Some(report)
    }

    /// The server's answer to a report.
    pub(crate) fn acknowledged(&self, ack: &Ack) {
        let mut papers = self.lock();
        let Some(place) = papers.reports.iter().position(|r| r.seq == ack.seq) else { return };
        let Some(report) = papers.reports.remove(place) else { return };
        if place < papers.sent {
            papers.sent -= 1;
        }
        let last = matches!(report.event, Some(Event::Completed(_) | Event::Abandoned(_)));
        let over = last || ack.status() == ack::Status::LeaseLost;
        match ack.status() {
            ack::Status::LeaseLost => {
                tracing::warn!(task = report.task, "the task is no longer this agent's; its work is stopped");
                papers.forget(&report.lease);
            }
            ack::Status::Refused | ack::Status::Unspecified => {
                let (task, code, message) = (report.task, &ack.code, &ack.message);
                tracing::warn!(task, code, message, "the server refused a report");
            }
            ack::Status::Ok => {}
        }
        if last {
            papers.forget(&report.lease);
        } else if ack.cancel_requested {
            papers.order(&report.lease, Order::Cancel);
        }
        drop(papers);
        if over {
            self.journal.forget(report.task, &report.lease);
        }
        self.changed.notify_waiters();
    }

    /// Somebody wants the task cancelled.
    pub(crate) fn cancel(&self, lease: &str) {
        self.lock().order(lease, Order::Cancel);
    }

    /// The lease is void: its work stops, and nothing more is said of it.
    pub(crate) fn void(&self, lease: &str) {
        if let Some(task) = self.lock().forget(lease) {
            self.journal.forget(task, lease);
        }
        self.changed.notify_waiters();
    }

    /// Every lease is void to this process. What the journal holds, the next one reports.
    pub(crate) fn void_all(&self) {
        let mut papers = self.lock();
        let (last_seq, leaving) = (papers.last_seq, papers.leaving);
        *papers = Papers { last_seq, leaving, closed: true, ..Papers::default() };
        drop(papers);
        self.changed.notify_waiters();
    }

    /// Work that ended is of no more use to anybody.
    pub(crate) fn forget(&self, task: i64, lease: &str) {
        if !self.lock().closed {
            self.journal.forget(task, lease);
        }
    }

    /// Every task is given back, and the ones that still come too.
    pub(crate) fn leave(&self) {
        let mut papers = self.lock();
        papers.leaving = true;
        for task in papers.tasks.values() {
            task.order(Order::Leave);
        }
        drop(papers);
        self.changed.notify_waiters();
    }

    /// Waits until nothing runs, and the server knows it or cannot be told.
    pub(crate) async fn clear(&self) {
        self.wait(|p| p.tasks.values().all(|t| t.over) && (p.tasks.is_empty() || !p.connected)).await;
    }

    async fn wait(&self, ready: impl Fn(&Papers) -> bool) {
        loop {
            // Made before the look, so that a change between the two is not missed.
            let changed = self.changed.notified();
            if ready(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Papers> {
        // Every change is whole before anything in it could panic.
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Papers {
    fn order(&self, lease: &str, order: Order) {
        if let Some(task) = self.tasks.get(lease) {
            task.order(order);
        }
    }

    fn lay(&mut self, task: i64, lease: &str, event: Event) {
        self.last_seq += 1;
        self.reports.push_back(Report { seq: self.last_seq, task, lease: lease.to_owned(), event: Some(event) });
    }

    /// Drops a task and its reports, and gives its number. Its runner, if it still runs, finds its orders gone.
    fn forget(&mut self, lease: &str) -> Option<i64> {
        let task = self.tasks.remove(lease);
        self.sent -= self.reports.range(..self.sent).filter(|r| r.lease == lease).count();
        self.reports.retain(|r| r.lease != lease);
        task.map(|task| task.id)
    }
}

impl Task {
    fn order(&self, order: Order) {
        // The first order stands: a task that is being cancelled is not given back.
        self.orders.send_if_modified(|current| {
            let fresh = *current == Order::Work;
            if fresh {
                *current = order;
            }
            fresh
        });
    }
}

/// Whether the newer report makes the older one superfluous.
fn supersedes(newer: &Event, older: &Event) -> bool {
    match (newer, older) {
        (Event::Progress(_), Event::Progress(_)) => true,
        (Event::ActivityProgress(a), Event::ActivityProgress(b)) => a.uuid == b.uuid,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proto::agent::v1::{ActivityProgress, Completed, Progress, Started};

    use super::*;

    const LEASE: &str = "a.1";

    fn desk() -> (Desk, watch::Receiver<Order>) {
        let desk = Desk::default();
        let orders = desk.take_on(&Assign { task: 7, lease: LEASE.into(), ..Default::default() }).expect("a new task");
        (desk, orders)
    }

    fn progress(current: i64) -> Event {
        Event::Progress(Progress { current, ..Default::default() })
    }

    fn sent(desk: &Desk) -> Vec<Report> {
        std::iter::from_fn(|| desk.next()).collect()
    }

    fn ok(seq: u64) -> Ack {
        Ack { seq, status: ack::Status::Ok.into(), ..Default::default() }
    }

    #[test]
    fn what_was_not_acknowledged_is_sent_again_in_order() {
        let (desk, _orders) = desk();
        desk.report(LEASE, Event::Started(Started {}));
        let step = |uuid: &str| Event::ActivityProgress(ActivityProgress { uuid: uuid.into(), progress: None });
        desk.report(LEASE, step("x"));
        desk.report(LEASE, step("y"));
        desk.report(LEASE, Event::Completed(Completed::default()));
        let first = sent(&desk);
        assert_eq!(first.len(), 4);
        desk.acknowledged(&ok(first[0].seq));
        desk.disconnected();
        assert_eq!(desk.begin_session(), [Held { task: 7, lease: LEASE.into() }]);
        assert_eq!(sent(&desk), first[1..]);
        for report in &first[1..] {
            desk.acknowledged(&ok(report.seq));
        }
        assert!(desk.begin_session().is_empty(), "the end is acknowledged, the task is gone");
    }

    #[test]
    fn only_the_newest_progress_waits_and_heartbeats_do_not_pile_up() {
        let (desk, _orders) = desk();
        desk.report(LEASE, Event::Heartbeat(Heartbeat {}));
        desk.report(LEASE, Event::Heartbeat(Heartbeat {}));
        desk.report(LEASE, progress(1));
        desk.report(LEASE, progress(2));
        let events: Vec<_> = sent(&desk).into_iter().filter_map(|r| r.event).collect();
        assert_eq!(events, [Event::Heartbeat(Heartbeat {}), progress(2)]);
        desk.report(LEASE, progress(3));
        desk.begin_session();
        let events: Vec<_> = sent(&desk).into_iter().filter_map(|r| r.event).collect();
        assert_eq!(events, [progress(3)], "after a cut the old signs of life are of no use");
    }

    #[test]
    fn a_void_lease_takes_its_reports_along_and_no_new_ones() {
        let (desk, orders) = desk();
        desk.report(LEASE, Event::Started(Started {}));
        let started = desk.next().expect("a report");
        desk.report(LEASE, progress(1));
        desk.acknowledged(&Ack { seq: started.seq, status: ack::Status::LeaseLost.into(), ..Default::default() });
        desk.report(LEASE, progress(2));
        assert_eq!(desk.next(), None);
        assert!(orders.has_changed().is_err(), "the runner finds its orders gone");
    }

    #[test]
    fn the_first_order_stands() {
        let (desk, orders) = desk();
        desk.cancel(LEASE);
        desk.leave();
        assert_eq!(*orders.borrow(), Order::Cancel);
        let late = desk.take_on(&Assign { task: 8, lease: "a.2".into(), ..Default::default() }).expect("a new task");
        assert_eq!(*late.borrow(), Order::Leave);
        assert!(desk.take_on(&Assign { task: 8, lease: "a.2".into(), ..Default::default() }).is_none());
    }
}
