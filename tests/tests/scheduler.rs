//! Policies that run by themselves. Nobody waits for a clock here: while the server is down, the ledger is told that a run
//! was due, as it is after a night without power.

use std::fs;

use acceptance::machine::{Machine, Wish, result};
use acceptance::{Place, until};
use api::client::ListQuery;
use domain::agent::{AGENT_QUEUE, Agent};
use domain::policy::{Application, Schedule};
use domain::query::Filter;
use domain::record::Record;
use domain::task::{ResultCode, State};
use domain::{Moment, Scope, SignedDuration, Timestamp, Uuid};
use ledger::{Expect, Ledger, SqliteLedger, Write};
use server::config::DataFolder;

const HOURLY: Schedule = Schedule::Interval { every: SignedDuration::from_hours(1) };

fn now() -> Moment {
    let now = Timestamp::now();
    Moment { now, up_since: now }
}

/// Opens the ledger of a place whose server is down.
fn ledger(place: &Place) -> SqliteLedger {
    SqliteLedger::open(&DataFolder::new(place.data()).ledger()).expect("the ledger")
}

async fn put(ledger: &SqliteLedger, record: impl Into<Record>, expect: Expect) {
    let writes = vec![Write::Put(Box::new(record.into()), expect)];
    ledger.commit(&Scope::everything(), now(), writes).await.expect("a commit");
}

/// Makes every application due: its run was missed this long ago.
async fn make_due(place: &Place, missed: SignedDuration) {
    let ledger = ledger(place);
    let all: &dyn Ledger = &ledger;
    for mut app in all.all::<Application>(&Scope::everything(), Filter::all()).await.expect("applications") {
        app.value.next_run_at = Some(Timestamp::now() - missed);
        put(&ledger, app.value, Expect::Rev(app.rev)).await;
    }
    ledger.close().await.expect("closed");
}

fn wish(schedule: Schedule) -> Wish {
    Wish { name: "hourly".to_owned(), schedule: Some(schedule), ..Wish::default() }
}

#[tokio::test]
async fn runs_that_were_missed_are_made_up_for_once() {
    let place = Place::new();
    let source = place.folder("source");
    fs::write(source.join("file"), "text").expect("a file");
    let up = place.start();
    let machine = Machine::wished(&up, &source, wish(HOURLY)).await;
    let _ = up.interrupt().good();
    make_due(&place, SignedDuration::from_mins(5 * 60 + 30)).await;

    let started = Timestamp::now();
    let up = place.start();
    let client = up.client();
    let tasks = async || client.tasks(&ListQuery::new().order("id")).await.expect("tasks").items;
    let both = async || Some(tasks().await).filter(|tasks| tasks.len() == 2);
    let both = until("two tasks are made", both).await;
    let [missed, run] = &both[..] else { panic!("two") };
    let task = up.completed(run.id).await;
    // The last of them is made up for, and the others are told of.
    assert_eq!(result(missed), ResultCode::TimedOut, "{missed:#?}");
    let error = missed.result.as_ref().and_then(|r| r.error.clone()).expect("a reason");
    assert_eq!((error.domain.as_str(), error.code.as_str()), ("Scheduler", "runMissed"));
    assert_eq!(error.context["count"], 5, "{error:?}");
    assert_eq!(result(&task), ResultCode::Ok, "{task:#?}");
    assert_eq!(task.started_by, None, "nobody asked for it");
    assert_eq!(task.context["run_mode"], "scheduled");
    // Six were due; the next one is an hour after this one.
    let apps = client.policy_applications(machine.policy, &ListQuery::new()).await.expect("applications").items;
    assert_eq!((apps.len(), apps[0].last_task), (1, Some(task.uuid)));
    let next = apps[0].next_run_at.expect("it runs again");
    assert!(next > started + SignedDuration::from_mins(59) && next < started + SignedDuration::from_mins(65), "{next}");
    let _ = up.interrupt().good();

    // What is not due does not run: the reconciler has looked before anything else is answered a second time.
    let up = place.start();
    Machine::wished(&up, &source, Wish { name: "another".to_owned(), ..Wish::default() }).await.back_up(&up).await;
    let query = ListQuery::new().filter("policy", machine.policy).total();
    assert_eq!(up.client().tasks(&query).await.expect("tasks").total, Some(2));
}

#[tokio::test]
async fn a_run_that_is_due_while_the_former_is_open_is_recorded_as_skipped() {
    let place = Place::new();
    let source = place.folder("source");
    let up = place.start();
    let _ = up.interrupt().good();
    // An agent that is registered and never there, so that its tasks stay open.
    let away = Agent {
        id: Uuid::now_v7(),
        tenant: Uuid::nil(),
        cluster_id: String::new(),
        name: "away".to_owned(),
        os: String::new(),
        system: String::new(),
        time_zone: None,
        rescue: false,
        version: String::new(),
        restore_roots: Vec::new(),
        queues: vec![AGENT_QUEUE.to_owned()],
        last_seen_at: None,
        token: Uuid::now_v7(),
        certificate: None,
        revoked_at: None,
        created_at: Timestamp::now(),
        updated_at: Timestamp::now(),
    };
    let opened = ledger(&place);
    put(&opened, away.clone(), Expect::New).await;
    opened.close().await.expect("closed");

    let up = place.start();
    let machine = Machine::wished(&up, &source, Wish { agent: Some(away.id), ..wish(HOURLY) }).await;
    let former = machine.run(&up).await;
    let _ = up.interrupt().good();
    make_due(&place, SignedDuration::from_mins(1)).await;

    let up = place.start();
    let client = up.client();
    let second = async || {
        client.tasks(&ListQuery::new().order("-id")).await.expect("tasks").items.into_iter().find(|t| t.id != former.id)
    };
    let skipped = up.completed(until("the run is recorded", second).await.id).await;
    assert_eq!(result(&skipped), ResultCode::Cancelled, "{skipped:#?}");
    let error = skipped.result.as_ref().and_then(|r| r.error.clone()).expect("a reason");
    assert_eq!(error.code, "runSkipped");
    assert!(error.message.contains(&format!("task {}, the run before", former.id)), "{}", error.message);
    assert_eq!(client.task(former.id).await.expect("the former").state, State::Enqueued, "it waits on");
    let app =
        client.policy_applications(machine.policy, &ListQuery::new()).await.expect("applications").items.remove(0);
    assert_eq!(app.last_task, Some(former.uuid), "the open one is still the last");
    assert!(app.next_run_at.is_some_and(|t| t > Timestamp::now()));
    // By hand it is refused, with the way out.
    let refused = client.run_policy(machine.policy, Some(machine.resource)).await.expect_err("one is open");
    assert!(refused.is(domain::Code::StateConflict) && refused.api().is_some_and(|e| e.hint.is_some()), "{refused:?}");
    let waited = place.cli(&["task", "wait", &former.id.to_string(), "--timeout", "1s"]).failed(5);
    assert!(waited.err.contains("is over") || waited.err.contains("not completed"), "{waited}");
    // What waits is cancelled at once, without the agent.
    let cancelled = client.cancel_task(former.id).await.expect("a cancellation");
    assert_eq!((cancelled.state, result(&cancelled)), (State::Completed, ResultCode::Cancelled));
    assert_eq!(client.tasks(&ListQuery::new().total()).await.expect("tasks").total, Some(2), "once is enough");
}
