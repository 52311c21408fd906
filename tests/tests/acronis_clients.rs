//! Software written for the Acronis Task Manager API, against a real server with real backups in it: clients as they are
//! seen in the wild (tests/clients/acronis), the package pyacronis among them, and the worker of docs/guides/task-queue.md.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use acceptance::machine::Wish;
use acceptance::place::said;
use acceptance::{Machine, Place, Up, free_port, until};
use api::Task;
use api::client::ListQuery;
use domain::task::{ResultCode, State};
use serde_json::{Value, json};

/// The project's folder.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the project").to_owned()
}

/// Python with the packages of tests/clients/acronis/requirements.txt, as `cargo xtask test` installs it.
fn python() -> PathBuf {
    let python = project().join("target/clients/bin/python");
    assert!(python.is_file(), "{} is not there: run `cargo xtask test` once", python.display());
    python
}

/// A program's id and secret.
struct Client {
    id: String,
    secret: String,
}

impl Client {
    fn new(place: &Place, args: &[&str]) -> Client {
        let made = place.cli(&[&["client", "create", "--json"], args].concat()).good().json();
        let text = |v: &Value| v.as_str().expect("text").to_owned();
        Client { id: text(&made["client"]["id"]), secret: text(&made["secret"]) }
    }

    fn token(&self, up: &Up<'_>) -> String {
        let url = format!("{}/api/2/idp/token", up.ready().http);
        let user = format!("{}:{}", self.id, self.secret);
        let granted =
            up.place().curl(&["--user", &user, "--data", "grant_type=client_credentials", &url]).good().json();
        granted["access_token"].as_str().unwrap_or_else(|| panic!("no token: {granted}")).to_owned()
    }
}

/// Calls the task API.
struct Caller<'a> {
    up: &'a Up<'a>,
    token: String,
}

impl Caller<'_> {
    fn call(&self, method: &str, path: &str, lease: &str, body: &Value) -> Value {
        let url = format!("{}/api/task_manager/v2{path}", self.up.ready().http);
        let (token, lease) = (format!("Authorization: Bearer {}", self.token), format!("Task-Lease: {lease}"));
        let mut args = vec!["--fail-with-body", "--request", method, "--header", &token, "--header", &lease];
        let body = body.to_string();
        if body != "null" {
            args.extend(["--header", "Content-Type: application/json", "--data", &body]);
        }
        args.push(&url);
        self.up.place().curl(&args).good().json()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", path, "", body)
    }
}

fn environment(command: &mut Command, up: &Up<'_>, client: &Client) {
    command.env("BACKSTAY_URL", &up.ready().http).env("CLIENT_ID", &client.id).env("CLIENT_SECRET", &client.secret);
}

async fn all_tasks(up: &Up<'_>) -> Vec<Task> {
    up.client().tasks(&ListQuery::new().limit(1000)).await.expect("tasks").items
}

#[tokio::test]
async fn clients_written_for_the_vendor_work_unchanged() {
    let place = Place::new();
    let source = place.folder("data");
    fs::write(source.join("letter"), "Dear all\n").expect("a file");
    let up = place.start();
    let customer = place.cli(&["tenant", "create", "Customer A", "--json"]).good().json();
    let customer = customer["id"].as_str().expect("an id").to_owned();
    let machine = Machine::protect(&up, &source).await;
    for _ in 0..12 {
        machine.back_up(&up).await;
    }
    let gone = place.folder("gone");
    let broken = Machine::wished(&up, &gone, Wish { name: "broken".into(), ..Wish::default() }).await;
    fs::remove_dir(&gone).expect("it was empty");
    let failed = broken.run(&up).await.id;
    up.completed(failed).await;

    let issuer = Client::new(&place, &["everything", "--role", "admin"]);
    let outside = Caller { up: &up, token: issuer.token(&up) };
    let new = |queue: &str, tenant: &str| json!({"type": "files", "queue": queue, "tenant": {"uuid": tenant}, "ackTimeout": "1h"});
    let root = up.ready().tenant_id.to_string();
    outside.post("/tasks", &new("fails", &root));
    outside.post("/tasks", &new("runs", &root));
    let of_customer = outside.post("/tasks", &new("waits", &customer))["id"].clone();
    let take = |queue: &str| {
        let wish = json!({"queues": [queue], "consumer": {"id": "worker-1"}});
        let task = outside.post("/tasks/assign", &wish)["items"][0].clone();
        let lease = task["lease"].as_str().expect("a lease").to_owned();
        let path = format!("/tasks/{}", task["id"]);
        outside.call("PUT", &format!("{path}/started"), &lease, &Value::Null);
        (task["id"].clone(), path, lease)
    };
    let (_, path, lease) = take("fails");
    // Without a word on why: people still get a sentence.
    outside.call("PUT", &format!("{path}/completed"), &lease, &json!({"result": {"code": "error"}}));
    let (running, path, lease) = take("runs");
    outside.call("PUT", &format!("{path}/progress"), &lease, &json!({"current": 40, "total": 100}));

    let tasks = all_tasks(&up).await;
    let count = |f: &dyn Fn(&Task) -> bool| tasks.iter().filter(|t| f(t)).count();
    let backup = |t: &Task| t.queue == "agents";
    let activities = up.client().activities(&ListQuery::new().limit(1000)).await.expect("activities").items;
    let bytes: u64 =
        tasks.iter().filter(|t| backup(t)).filter_map(|t| Some(t.progress.as_ref()?.bytes_processed)).sum();
    let probe = json!({
        "tenant": root,
        "customer": customer,
        "resource": machine.resource,
        "backups": count(&backup),
        "of_resource": count(&|t| t.resource.as_ref().is_some_and(|r| r.id == machine.resource.to_string())),
        "completed_tasks": count(&|t| t.state == State::Completed),
        "completed_activities": activities.iter().filter(|a| a.state == State::Completed).count(),
        "started": count(&|t| t.started_at.is_some()),
        "failed": [failed],
        "failed_outside": 1,
        "running": [running],
        "of_customer": [of_customer],
        "bytes": bytes,
    });
    assert_eq!((probe["backups"].as_u64(), probe["completed_tasks"].as_u64()), (Some(13), Some(14)), "{probe}");

    let mut password = place.command(acceptance::program());
    password.args(["user", "create", "ops@example.com", "--role", "admin", "--json"]);
    let user = said(&mut password).good().json();
    let reader = Client::new(&place, &["reports", "--role", "viewer"]);
    let mut scripts = place.command(python());
    environment(&mut scripts, &up, &reader);
    scripts.env("LOGIN", "ops@example.com").env("PASSWORD", user["password"].as_str().expect("a password"));
    scripts.env("PROBE", probe.to_string()).arg(project().join("tests/clients/acronis/clients.py"));
    let ran = said(&mut scripts).good();
    assert_eq!(ran.out.lines().filter(|l| l.ends_with(": ok")).count(), 14, "{ran}");

    let mut shell = place.command("bash");
    environment(&mut shell, &up, &reader);
    shell.env("LOGIN", "ops@example.com").env("PASSWORD", user["password"].as_str().expect("a password"));
    let ran = said(shell.arg(project().join("tests/clients/acronis/examples.sh"))).good();
    let pages = |n: usize| n.div_ceil(10);
    let expected = format!("14\ntasks {}\nactivities {}\n", pages(tasks.len()), pages(activities.len()));
    assert_eq!(ran.out, expected, "{ran}");
}

/// The worker of the guide, as it stands there.
fn worker(up: &Up<'_>, client: &Client) -> Child {
    let mut command = up.place().command("python3");
    environment(&mut command, up, client);
    command.arg(project().join("docs/guides/queue-worker.py")).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("python3 can be started")
}

#[tokio::test]
async fn the_worker_of_the_guide_survives_kill_9_of_itself_and_of_the_server() {
    const PARTS: usize = 60;
    let place = Place::new();
    let listen = ([127, 0, 0, 1], free_port()).into();
    let up = place.up().listen(listen).start();
    let shop = Client::new(&place, &["shop", "--role", "issuer"]);
    let hand = Client::new(&place, &["worker", "--role", "consumer", "--executor", "worker-1"]);
    let folder = place.path("parts");
    let ids: Vec<i64> = {
        let shop = Caller { up: &up, token: shop.token(&up) };
        let wish = |n: usize| {
            json!({
                "type": "files", "queue": "files", "heartBeatInterval": "1s", "maxAssignCount": 100, "cancellable": true,
                "argument": {"folder": folder.join(n.to_string()), "parts": PARTS, "pause": 0.02},
            })
        };
        (0..3).map(|n| shop.post("/tasks", &wish(n))["id"].as_i64().expect("an id")).collect()
    };
    let written = |n: usize| fs::read_dir(folder.join(n.to_string())).map_or(0, Iterator::count);

    let mut first = worker(&up, &hand);
    until("the first task is in the middle", || async { (written(0) > PARTS / 4).then_some(()) }).await;
    first.kill().expect("it runs");
    first.wait().expect("it was ours");
    let second = worker(&up, &hand);
    until("the second task is in the middle", || async { (written(1) > PARTS / 4).then_some(()) }).await;
    up.kill9();
    let up = place.up().listen(listen).start();
    for id in &ids {
        let done = up.completed(*id).await;
        assert_eq!(done.result.as_ref().map(|r| r.code), Some(ResultCode::Ok), "{done:#?}");
    }
    let mut second = second;
    second.kill().expect("it runs");
    second.wait().expect("it was ours");
    for n in 0..ids.len() {
        assert_eq!(written(n), PARTS, "every part of task {n} is there, and no half one");
    }
    let tasks = all_tasks(&up).await;
    let attempts: u32 = tasks.iter().map(|t| t.assign_count).sum();
    assert!(attempts > 3, "the kill of the worker cost an attempt: {tasks:#?}");
    assert!(place.cli(&["ledger", "check"]).good().out.contains("sound"));
}
