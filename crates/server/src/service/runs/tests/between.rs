//! Somebody else's commit between what a run reads and what it writes.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use super::*;

/// The end of something that never waits, as everything that a ledger in memory does.
fn at_once<T>(doing: impl Future<Output = T>) -> T {
    match pin!(doing).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

impl World {
    /// Lets this happen once, when the service next asks for the time: after it has read, and before it writes.
    fn meanwhile(&mut self, act: impl Fn(&dyn Ledger) + Send + Sync + 'static) {
        let ready = Arc::new(AtomicBool::new(false));
        let (ledger, fire) = (self.ledger.clone(), ready.clone());
        self.service = Service::new(self.ledger.clone(), sealer()).by_clock(move || {
            if fire.swap(false, Ordering::Relaxed) {
                act(&*ledger);
            }
            Timestamp::now()
        });
        ready.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn who_comes_between_neither_stops_the_runs_of_a_fleet_nor_makes_them_go_by_an_old_policy() {
    let mut world = World::new(12, json!({"schedule": {"kind": "manual"}})).await;
    let moment = world.start;
    world.meanwhile(move |ledger| {
        at_once(async {
            let all = Scope::everything();
            let apps = ledger.all::<Application>(&all, Filter::all()).await.expect("applications").into_iter();
            let mut writes: Vec<Write> =
                apps.map(|app| Write::Put(Box::new(app.value.into()), Expect::Rev(app.rev))).collect();
            let Stored { rev, mut value } = ledger.get::<Policy>(&all, POLICY).await.expect("the policy");
            value.settings.excludes = vec!["/home/tmp".to_owned()];
            writes.push(Write::Put(Box::new(value.into()), Expect::Rev(rev)));
            ledger.commit(&all, moment, writes).await.expect("a change of everything");
        });
    });
    let tasks = world.service.run_policy(&Caller::server(), POLICY, None).await.expect("runs");
    assert_eq!(tasks.len(), 12);
    for task in &tasks {
        let Ok(Work::Backup(work)) = Work::of(&task.spec) else { panic!("{task:?}") };
        assert_eq!(work.settings.excludes, ["/home/tmp"], "as the policy is when it begins");
    }
    let again = world.service.run_policy(&Caller::server(), POLICY, None).await.expect("nothing to do");
    assert!(again.is_empty(), "all are under way");
    let one = world.service.run_policy(&Caller::server(), POLICY, Some(machine(0))).await;
    assert_eq!(one.expect_err("it is under way").code, Code::StateConflict);
}
