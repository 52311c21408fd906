//! Clocks that are set while the service runs, by hours, days and years, forward and back; and certificates whose time is over.
//! `libfaketime` tells the programs of a place the time; the test waits for what follows, never for time to pass.

use std::path::Path;

use acceptance::fleet::Agent;
use acceptance::machine::{Machine, Wish, result};
use acceptance::place::said;
use acceptance::restic::Restic;
use acceptance::{Place, Said, Up, add_endless, until};
use api::client::ListQuery;
use domain::policy::Schedule;
use domain::task::{ResultCode, State};
use domain::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

fn days(n: i32) -> SignedDuration {
    DAY * n
}

/// Sets the clock of a place, and waits until the server goes by it and has looked at everything since.
async fn set(up: &Up<'_>, ahead: SignedDuration) {
    up.place().set_clock(ahead);
    let url = format!("{}/api/v1/health", up.ready().http);
    until("the server goes by its clock", async || {
        let said = up.place().curl(&["--dump-header", "-", &url]).good();
        let date = said.out.lines().find_map(|line| line.strip_prefix("date: "))?.trim().to_owned();
        let date = Timestamp::strptime("%a, %d %b %Y %H:%M:%S %z", date.replace("GMT", "+0000")).expect("a date");
        (date.duration_until(up.place().now()).abs() < HOUR / 2).then_some(())
    })
    .await;
    // The next turn may have begun before; the one after it has not.
    turned(up, 2).await;
}

/// Waits until the scheduler has looked so many times more.
async fn turned(up: &Up<'_>, times: u64) {
    let before = turns(up);
    until("the scheduler has looked", async || (turns(up) >= before + times).then_some(())).await;
}

/// How often the scheduler has looked at everything.
fn turns(up: &Up<'_>) -> u64 {
    let (url, token) =
        (format!("{}/metrics", up.ready().http), format!("authorization: Bearer {}", up.ready().admin_token));
    let text = up.place().curl(&["--header", &token, &url]).good().out;
    let count = text.lines().find_map(|line| line.strip_prefix("backstay_scheduler_turn_seconds_count "));
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no turns in\n{text}"))
}

/// All tasks, the oldest first.
async fn tasks(up: &Up<'_>) -> Vec<api::Task> {
    up.client().tasks(&ListQuery::new().order("id").limit(1000)).await.expect("tasks").items
}

async fn of(up: &Up<'_>, machine: &Machine) -> Vec<api::Task> {
    let query = ListQuery::new().filter("policy", machine.policy).order("id");
    up.client().tasks(&query).await.expect("tasks").items
}

async fn next_run(up: &Up<'_>, machine: &Machine) -> Timestamp {
    let apps = up.client().policy_applications(machine.policy, &ListQuery::new()).await.expect("applications").items;
    apps[0].next_run_at.expect("it runs again")
}

/// Waits until a policy has so many runs, of which the last is a good one that was made by itself, and the one before tells of
/// so many that were missed.
async fn made_up_for(up: &Up<'_>, machine: &Machine, count: usize, missed: u64) {
    let all = until("the runs are made", async || Some(of(up, machine).await).filter(|all| all.len() == count)).await;
    let [.., told, run] = &all[..] else { panic!("two: {all:#?}") };
    let error = told.result.as_ref().and_then(|r| r.error.clone()).expect("a reason");
    assert_eq!((error.code.as_str(), error.context["count"].as_u64()), ("runMissed", Some(missed)), "{error:?}");
    assert!(error.message.contains("its clock was set"), "{}", error.message);
    assert_eq!(result(&up.completed(run.id).await), ResultCode::Ok);
}

fn doctor(place: &Place, data: &Path) -> Said {
    place.cli(&["doctor", "--min-free", "0", "--data", data.to_str().expect("UTF-8")])
}

#[track_caller]
fn says(said: &Said, state: &str, words: &str) {
    let found = said.out.lines().any(|line| line.starts_with(state) && line.contains(words));
    assert!(found, "no line '{state} .. {words}' in\n{said}");
}

#[tokio::test]
async fn a_clock_that_is_set_loses_no_work_and_makes_no_run_twice() {
    let place = Place::new();
    place.set_clock(SignedDuration::ZERO);
    let (source, much) = (place.folder("source"), place.folder("much"));
    std::fs::write(source.join("file"), "text").expect("a file");
    let _ = add_endless(&much);
    let up = place.start();
    let client = up.client();
    let long = Machine::wished(&up, &much, Wish { name: "long".into(), ..Wish::default() }).await;
    let long = long.run(&up).await.id;
    up.task_until(long, "in its middle", |task| task.progress.is_some()).await;
    let job = up.job().await;
    let goes_on = async || {
        let task = client.task(long).await.expect("the task");
        assert_eq!((task.state, task.assign_count), (State::Started, 1), "{task:#?}");
        assert!(job.runs(), "nobody has ended what works on it");
    };
    let wish = |name: &str, schedule| Wish { name: name.into(), schedule: Some(schedule), ..Wish::default() };
    let hourly = Machine::wished(&up, &source, wish("hourly", Schedule::Interval { every: HOUR })).await;
    // Half a day from now, so that its time does not come while the test runs.
    let at = (place.now() + DAY / 2).strftime("%H:%M").to_string();
    let schedule = serde_json::from_value(serde_json::json!({"kind": "daily", "at": at, "time_zone": "UTC"}));
    let daily = Machine::wished(&up, &source, wish("daily", schedule.expect("a schedule"))).await;
    let by_hand = Machine::wished(&up, &source, Wish { name: "by hand".into(), ..Wish::default() }).await;

    set(&up, days(2)).await;
    made_up_for(&up, &hourly, 2, 47).await;
    made_up_for(&up, &daily, 2, 1).await;
    goes_on().await;
    let third = next_run(&up, &daily).await;
    by_hand.back_up(&up).await;

    // Back to where it was, an hour more, and two days.
    for ahead in [SignedDuration::ZERO, -HOUR, days(-2)] {
        set(&up, ahead).await;
        assert_eq!((of(&up, &hourly).await.len(), of(&up, &daily).await.len()), (2, 2), "{ahead:#}");
        let next = next_run(&up, &hourly).await;
        assert!(next <= place.now() + HOUR, "an interval is no longer than it is: {next}, now {}", place.now());
        assert_eq!(next_run(&up, &daily).await, third, "times that were dealt with do not come again");
        goes_on().await;
        let before = tasks(&up).await;
        by_hand.back_up(&up).await;
        let after = tasks(&up).await;
        let newest = before.iter().map(|task| task.updated_at).max();
        let mut changed = after.iter().filter(|task| task.id != long && !before.contains(task));
        assert!(changed.all(|task| Some(task.updated_at) > newest), "stamps go forward: {after:#?}");
    }

    // Forward over the same time once more.
    set(&up, days(2)).await;
    made_up_for(&up, &hourly, 4, 95).await;
    assert_eq!(of(&up, &daily).await.len(), 2, "no run is made twice for one time");
    goes_on().await;
    let all = tasks(&up).await;
    assert!(
        all.iter().map(|task| task.id).eq(1..=all.len() as i64),
        "numbers are in their order, and none is left out"
    );
    assert!(all.iter().all(|task| task.assign_count <= 1), "{all:#?}");

    client.cancel_task(long).await.expect("a cancellation");
    assert_eq!(result(&up.completed(long).await), ResultCode::Cancelled);
    job.gone().await;
    by_hand.back_up(&up).await;
    says(&doctor(&place, &place.data()).good(), "good", "clock: ");
    let mut elsewhere = place.command(acceptance::program());
    elsewhere.args(["doctor", "--min-free", "0", "--data"]).arg(place.data()).env_remove("LD_PRELOAD");
    says(&said(&mut elsewhere).failed(1), "bad", "clock: this machine has");
    let data = place.data();
    let sound = place.cli(&["ledger", "check", "--data", data.to_str().expect("UTF-8")]).good();
    assert!(sound.out.contains("is sound"), "{sound}");
    let _ = up.interrupt().good();
    let restic = Restic::of(&place);
    restic.check();
    let snapshots = restic.snapshots_by_task();
    assert!(snapshots.len() == 8 && snapshots.values().all(|n| *n == 1), "{snapshots:?}");
}

#[tokio::test]
async fn tokens_go_by_the_clock_and_one_of_a_clock_that_was_wrong_is_not_accepted_for_ever() {
    let place = Place::new();
    place.set_clock(SignedDuration::ZERO);
    let up = place.up().alone().start();
    let made = place.cli(&["client", "create", "--json", "--role", "viewer", "program"]).good().json();
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let user = format!("{}:{}", text(&made["client"]["id"]), text(&made["secret"]));
    let url = format!("{}/api/2/idp/token", up.ready().http);
    let grant = || {
        let granted = place.curl(&["--user", &user, "--data", "grant_type=client_credentials", &url]).good().json();
        text(&granted["access_token"])
    };
    let accepted = async |token: &str| up.client_as(token).me().await.is_ok();
    let first = grant();
    assert!(accepted(&first).await);
    set(&up, -HOUR).await;
    assert!(accepted(&first).await, "it is good for as long as it says");
    let early = grant();
    set(&up, days(2)).await;
    assert!(!accepted(&first).await && !accepted(&early).await, "its time is over");
    let late = grant();
    assert!(accepted(&late).await);
    set(&up, SignedDuration::ZERO).await;
    assert!(!accepted(&late).await, "it would be good for two days more");
    assert!(accepted(&first).await && accepted(&grant()).await);
    // Those that were made for good stay.
    assert!(accepted(&up.ready().admin_token).await);
}

#[tokio::test]
async fn an_agent_comes_back_to_a_server_whose_clock_was_set_back_and_one_that_died_is_noticed() {
    let place = Place::new();
    place.set_clock(SignedDuration::ZERO);
    let server = place.up().alone().reached_as_localhost().start();
    // It gets a certificate of a time that comes once more.
    set(&server, days(60)).await;
    let mut agent = Agent::join(&place, &server, "agent").await;
    let much = place.folder("much");
    let _ = add_endless(&much);
    let wish = Wish { name: "long".into(), agent: Some(agent.id), ..Wish::default() };
    let machine = Machine::wished(&server, &much, wish).await;
    let task = machine.run(&server).await.id;
    server.task_until(task, "begun", |task| task.state == State::Started).await;

    set(&server, SignedDuration::ZERO).await;
    let client = server.client();
    let there = client.task(task).await.expect("the task");
    assert_eq!((there.state, there.assign_count), (State::Started, 1), "{there:#?}");
    agent.kill9();
    agent.start();
    server.task_until(task, "begun anew", |t| t.state == State::Started && t.assign_count == 2).await;

    // It dies and does not come back. Half a minute goes by in steps, each less than what counts as a clock that was set.
    agent.kill9();
    set(&server, days(-2)).await;
    let mut step = 0;
    while client.task(task).await.expect("the task").state == State::Started {
        step += 1;
        assert!(step < 20, "for two days nobody would notice");
        place.set_clock(days(-2) + SignedDuration::from_secs(4 * step));
        turned(&server, 1).await;
    }
    assert_eq!(client.task(task).await.expect("the task").state, State::Enqueued, "the next one takes it");
}

#[tokio::test]
async fn certificates_whose_time_is_over_are_renewed_or_refused_in_clear_words() {
    let place = Place::new();
    place.set_clock(SignedDuration::ZERO);
    let builder = place.up().alone().reached_as_localhost();
    let server = builder.start();
    let mut agent = Agent::join(&place, &server, "agent").await;
    let abroad = Place::new();
    abroad.set_clock(SignedDuration::ZERO);
    let mut traveller = Agent::join(&abroad, &server, "traveller").await;
    let (id, ready) = (agent.id, server.ready().clone());
    let ca = ready.ca_file.to_str().expect("UTF-8").to_owned();
    // From a place, over TLS: by its clock, and by this server's certificate.
    let ask = |from: &Place, url: &str| from.curl(&["--fail", "--cacert", &ca, &format!("{url}/api/v1/health")]);

    // Machines whose clocks are not the server's: neither is let near, and both say why.
    traveller.kill9();
    let cases = [(days(500), "expired", "has expired"), (days(-30), "not valid yet", "is not valid yet")];
    for (ahead, words, sentence) in cases {
        abroad.set_clock(ahead);
        let args = ["--server", &ready.tls, "--token", &ready.admin_token, "--ca-file", &ca, "task", "list"];
        let refused = abroad.cli(&args).failed(8);
        assert!(refused.err.contains(words) && refused.err.contains("compare the clocks"), "{refused}");
        let seen = doctor(&abroad, &traveller.data()).failed(1);
        says(&seen, "bad", &format!("tls: the server's certificate {sentence}"));
        traveller.start();
        until("the agent says why it is not connected", async || {
            let said = traveller.said();
            (said.contains(words) && said.contains("compare the clocks")).then_some(())
        })
        .await;
        traveller.kill9();
    }

    // The server runs on over the end of its certificate, and renews it. A machine was off for as long.
    agent.kill9();
    set(&server, days(400)).await;
    until("the certificate is renewed", async || (ask(&place, &ready.tls).code == Some(0)).then_some(())).await;
    agent.start();
    assert_eq!(agent.ended().code(), Some(1));
    let log = agent.said();
    assert!(log.contains("the agent's certificate expired at") && log.contains("agent enroll"), "{log}");
    let refused = doctor(&place, &agent.data()).failed(1);
    says(&refused, "bad", "agent's certificate: expired at");
    says(&refused, "bad", "access: the agent's certificate expired at");
    let agent = Agent::join(&place, &server, "agent").await;
    assert_eq!(agent.id, id, "it is the same again");

    // It is off when its certificate ends, and renews it when it starts.
    let _ = server.stop(Signal::SIGTERM).good();
    place.set_clock(days(900));
    says(&doctor(&place, &place.data()).failed(1), "bad", "server's certificate in its folder: expired at");
    let server = builder.start();
    assert_eq!(ask(&place, &ready.tls).code, Some(0));
    // All of that was a mistake: the certificate is of a time to come.
    set(&server, SignedDuration::ZERO).await;
    until("the certificate is made anew", async || (ask(&place, &ready.tls).code == Some(0)).then_some(())).await;
}
