//! Software written for OpenStack, against a real server with a real agent: the command lines `openstack` and `glance` and
//! the packages behind them as they are published (tests/clients/openstack).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use acceptance::place::said;
use acceptance::{Place, noise};
use api::{NewApiClient, NewTenant, NewUser, Restore};
use domain::task::{Event, Executor, LeaseToken, Outcome, OutcomeCode, Task, TaskRef, TaskSpec};
use domain::{Moment, Role, Scope, SignedDuration, Timestamp, Uuid};
use ledger::{Claim, Ledger, SqliteLedger, Write, Written};
use serde_json::{Value, json};
use server::config::DataFolder;

/// How many tasks there are to page through.
const TASKS: usize = 2500;
/// Their types.
const TYPES: [&str; 3] = ["backup", "import", "verification"];

/// What `cargo xtask test` installed.
fn python() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/clients/bin/python");
    assert!(path.exists(), "{} is not there: run `cargo xtask test` once", path.display());
    path
}

/// Tasks of every type and status in two tenants, the newest in the root one, made where nobody carries them out.
async fn make_tasks(place: &Place, tenants: [Uuid; 2]) {
    let ledger = SqliteLedger::open(&DataFolder::new(place.data()).ledger()).expect("the ledger");
    let (all, now) = (Scope::everything(), Timestamp::now());
    let moment = Moment { now, up_since: now };
    let commit = async |writes| ledger.commit(&all, moment, writes).await.expect("a commit").written;
    let spec = |n: usize| {
        let mut spec = TaskSpec::new(Uuid::now_v7(), TYPES[n % 3], "elsewhere", tenants[n % 2]);
        spec.rules.ack_timeout = SignedDuration::from_hours(24);
        Write::CreateTask(Box::new(spec))
    };
    commit((0..TASKS).map(spec).collect()).await;
    let claim = Claim {
        queues: vec!["elsewhere".to_owned()],
        types: Vec::new(),
        executor: Executor { id: "somebody".into(), ..Executor::default() },
        leases: (0..2000).map(|n| LeaseToken(format!("lease-{n}"))).collect(),
    };
    let mut claimed: Vec<Task> = Vec::new();
    for written in commit(vec![Write::Claim(claim)]).await {
        if let Written::Claimed(tasks) = written {
            claimed.extend(tasks);
        }
    }
    assert_eq!(claimed.len(), 2000);
    let lease = |task: &Task| task.lease().expect("it was handed out").clone();
    commit(claimed.iter().map(|t| Write::Task(TaskRef::Id(t.id), Event::Start { lease: lease(t) })).collect()).await;
    let end = |(n, task): (usize, &Task)| {
        let outcome = Outcome::of([OutcomeCode::Ok, OutcomeCode::Error, OutcomeCode::Warning][n % 3]);
        Write::Task(TaskRef::Id(task.id), Event::Complete { lease: lease(task), outcome, progress: None })
    };
    commit(claimed.iter().take(1500).enumerate().map(end).collect()).await;
    ledger.close().await.expect("closed");
}

#[tokio::test]
async fn the_vendors_programs_work_unchanged() {
    let place = Place::new();
    let images = place.folder("images");
    let local = noise(3, 2 << 20);
    fs::write(images.join("local.raw"), &local).expect("a file");
    fs::write(place.path("outside.raw"), "not to be read").expect("a file");
    symlink(place.path("outside.raw"), images.join("link.raw")).expect("a link");

    let up = place.start();
    let client = up.client();
    let tenant = NewTenant { name: "acme".into(), parent: None, description: String::new() };
    let acme = client.create_tenant(&tenant).await.expect("a tenant").id;
    let root = up.ready().tenant_id;
    let password = "tape under the desk";
    let (login, roles, tenant) = ("ada".to_owned(), vec![Role::Admin], Some(root));
    let user = NewUser { login, name: String::new(), roles, tenant, password: Some(password.into()) };
    client.create_user(&user).await.expect("a user");
    let mut programs = Vec::new();
    for (name, role) in [("nightly", Role::Admin), ("watcher", Role::Viewer)] {
        let new = NewApiClient { name: name.into(), roles: vec![role], tenant: Some(root), executor: None };
        let made = client.create_client(&new).await.expect("a client");
        programs.push(json!({ "id": made.client.id.simple().to_string(), "name": name, "secret": made.secret }));
    }
    let stopped = up.interrupt();
    assert_eq!(stopped.code, Some(0), "{stopped}");
    make_tasks(&place, [acme, root]).await;

    let folder = images.to_str().expect("a path in UTF-8");
    let up = place.up().also(&["--import-network", "127.0.0.0/8", "--import-folder", folder]).start();
    let probe = json!({
        "auth_url": format!("{}/identity/v3", up.ready().http),
        "project": root.simple().to_string(),
        "project_name": "root",
        "user": "ada",
        "password": password,
        "api_token": up.ready().admin_token,
        "client": programs[0],
        "viewer": programs[1],
        "tasks": TASKS,
        "types": TYPES,
        "images": images,
    });
    let mut clients = place.command(python());
    clients.env("PROBE", probe.to_string()).env("PYTHONDONTWRITEBYTECODE", "1");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/openstack/clients.py");
    let ran = said(clients.arg(program)).good();
    assert_eq!(ran.out.lines().filter(|l| l.ends_with(": ok")).count(), 10, "{ran}");

    // What was imported is written back as it was.
    let told = ran.out.lines().find_map(|l| serde_json::from_str::<Value>(l).ok()).expect("what was imported");
    let backup: Uuid = told["backup"].as_str().and_then(|id| id.parse().ok()).expect("a backup");
    let to = place.folder("back");
    let restore = Restore {
        to: to.to_str().expect("UTF-8").to_owned(),
        overwrite_device: false,
        paths: Vec::new(),
        resource: None,
    };
    let task = up.client().restore(backup, &restore).await.expect("a recovery");
    up.completed(task.id).await;
    let image: Vec<u8> = (0..=255).cycle().take(256 * 4096 * 3).collect();
    assert!(fs::read(to.join("disk.raw")).expect("the image") == image);
}
