//! The API from outside: by HTTP/1.1 and HTTP/2 over TLS with our own authority and in the clear on the loopback; and two
//! tenants who do not know of each other.

use std::fs;
use std::path::PathBuf;

use acceptance::machine::{Machine, Wish};
use acceptance::{LIMIT, Place, Up};
use api::client::{Client, ListQuery};
use api::{NewTenant, NewToken, Restore};
use domain::{Code, Role, Timestamp, Uuid};
use futures::StreamExt;
use server::tls::CertFiles;

/// Asks with curl; gives the version of HTTP, the status and the body.
fn get(place: &Place, url: &str, token: &str, args: &[&str]) -> (String, String, serde_json::Value) {
    let authorization = format!("authorization: Bearer {token}");
    let mut all = vec!["--write-out", "\n%{http_version} %{http_code}", "--header", &authorization];
    all.extend(args);
    all.push(url);
    let said = place.curl(&all).good();
    let (body, last) = said.out.trim_end().rsplit_once('\n').expect("a last line");
    let (version, status) = last.split_once(' ').expect("version and status");
    (version.to_owned(), status.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn one_tls_port_speaks_http_1_and_http_2_under_our_own_authority() {
    let place = Place::new();
    let up = place.start();
    let ready = up.ready().clone();
    let ca = ready.ca_file.to_str().expect("UTF-8").to_owned();
    let port = ready.tls.rsplit(':').next().expect("a port");
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("https://{host}:{port}/api/v1/me");
        for (wish, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let (spoken, status, body) = get(&place, &url, &ready.admin_token, &["--cacert", &ca, wish]);
            assert_eq!((spoken.as_str(), status.as_str()), (version, "200"), "{body}");
            assert_eq!(body["roles"][0], "admin");
        }
    }
    // In the clear, where only this machine hears it.
    let (spoken, status, _) = get(&place, &format!("{}/api/v1/me", ready.http), &ready.admin_token, &[]);
    assert_eq!((spoken.as_str(), status.as_str()), ("1.1", "200"));
    let (spoken, _, _) =
        get(&place, &format!("{}/api/v1/me", ready.http), &ready.admin_token, &["--http2-prior-knowledge"]);
    assert_eq!(spoken, "2");
}

#[tokio::test]
async fn another_authority_is_not_trusted_and_no_token_no_answer() {
    let place = Place::new();
    let up = place.start();
    let ready = up.ready().clone();
    let other = place.folder("other");
    CertFiles::in_folder(&other).serve(&["localhost".to_owned()], Timestamp::now()).expect("an authority");
    let pem = fs::read(other.join("ca.pem")).expect("its certificate");
    let stranger = Client::new(&ready.tls, &ready.admin_token, Some(&pem)).expect("a client");
    let refused = stranger.me().await.expect_err("another authority");
    assert!(refused.to_string().contains("is not trusted"), "{refused}");
    let ca = other.join("ca.pem").display().to_string();
    let said = place.curl(&["--cacert", &ca, &format!("{}/api/v1/health", ready.tls)]).failed(60);
    assert!(said.err.contains("certificate"), "{said}");
    let args = ["--server", &ready.tls, "--token", &ready.admin_token, "--ca-file", &ca, "task", "list"];
    let said = place.cli(&args).failed(8);
    assert!(said.err.contains("is not trusted"), "{said}");

    let (_, status, body) = get(&place, &format!("{}/api/v1/tasks", ready.http), "bst_guessed", &[]);
    assert_eq!((status.as_str(), &body["error"]["code"]), ("401", &"unauthenticated".into()), "{body}");
    // An agent's token is for the agent link alone.
    let agent = fs::read_to_string(place.data().join("keys/agent.token")).expect("the agent's token");
    let (_, status, _) = get(&place, &format!("{}/api/v1/tasks", ready.http), agent.trim(), &[]);
    assert_eq!(status, "401");
}

#[tokio::test]
async fn changes_are_told_again_from_any_revision_on() {
    let place = Place::new();
    let up = place.start();
    let source = place.folder("source");
    let machine = Machine::protect(&up, &source).await;
    let tasks = [machine.back_up(&up).await.task, machine.back_up(&up).await.task];
    let told = async |since: i64| {
        let mut events = up.client().task_events(&ListQuery::new(), Some(since));
        let next = tokio::time::timeout(LIMIT, events.next()).await.expect("in time");
        let event = next.expect("the stream goes on").expect("an event");
        (event.revision, event.task.id)
    };
    // Of each task the latest state, in the order of the changes.
    let (first, id) = told(0).await;
    assert_eq!(id, tasks[0]);
    let (second, id) = told(first).await;
    assert_eq!(id, tasks[1]);
    assert!(second > first);
    // Over a restart the numbers go on.
    let _ = up.interrupt().good();
    let up = place.start();
    let mut events = up.client().task_events(&ListQuery::new(), Some(second));
    let third = machine.run(&up).await.id;
    let event =
        tokio::time::timeout(LIMIT, events.next()).await.expect("in time").expect("a stream").expect("an event");
    assert_eq!(event.task.id, third, "nothing is told twice");
    assert!(event.revision > second);
}

/// A tenant with a protected folder, and clients for its people.
struct Customer {
    tenant: Uuid,
    machine: Machine,
    source: PathBuf,
    admin: Client,
    operator: Client,
    viewer: Client,
}

impl Customer {
    async fn new(up: &Up<'_>, name: &str) -> Customer {
        let root = up.client();
        let new = NewTenant { name: name.to_owned(), parent: None, description: String::new() };
        let tenant = root.create_tenant(&new).await.expect("a tenant").id;
        let source = up.place().folder(name);
        fs::write(source.join(name), name).expect("a file");
        let wish = Wish { tenant: Some(tenant), name: name.to_owned(), ..Wish::default() };
        let machine = Machine::wished(up, &source, wish).await;
        let client = async |role| {
            let token = NewToken { name: format!("{name} {role}"), role, tenant: Some(tenant), expires_at: None };
            up.client_as(&root.create_token(&token).await.expect("a token").secret)
        };
        let (admin, operator, viewer) =
            (client(Role::Admin).await, client(Role::Operator).await, client(Role::Viewer).await);
        Customer { tenant, machine, source, admin, operator, viewer }
    }
}

#[tokio::test]
async fn two_tenants_do_not_know_of_each_other() {
    let place = Place::new();
    let up = place.start();
    let (acme, globex) = (Customer::new(&up, "acme").await, Customer::new(&up, "globex").await);
    // Globex listens from before anything happens.
    let mut heard = globex.admin.task_events(&ListQuery::new(), Some(0));

    // Acme's operator backs up and restores.
    let task = acme.operator.run_policy(acme.machine.policy, None).await.expect("a run").items.remove(0);
    assert_eq!(task.tenant, acme.tenant);
    up.completed(task.id).await;
    let all = ListQuery::new().total();
    let backup = acme.viewer.backups(&all).await.expect("backups").items.remove(0);
    let target = place.path("restored");
    let restore = Restore {
        to: target.to_str().expect("UTF-8").to_owned(),
        overwrite_device: false,
        paths: Vec::new(),
        resource: None,
    };
    let denied = acme.viewer.restore(backup.id, &restore).await.expect_err("a viewer only sees");
    assert!(denied.is(Code::Forbidden), "{denied:?}");
    let denied = acme.viewer.cancel_task(task.id).await.expect_err("a viewer only sees");
    assert!(denied.is(Code::Forbidden), "{denied:?}");
    let restored = acme.operator.restore(backup.id, &restore).await.expect("a restore");
    up.completed(restored.id).await;
    let file = acceptance::tree::within(&target, &acme.source.join("acme"));
    assert_eq!(fs::read_to_string(file).expect("the file"), "acme");

    // For globex none of it exists, to the last count.
    let other = &globex.admin;
    macro_rules! assert_unknown {
        ($($ask:expr),+ $(,)?) => {$(
            let refused = $ask.await.expect_err(stringify!($ask));
            assert!(refused.is(Code::NotFound), "{}: {refused:?}", stringify!($ask));
        )+};
    }
    assert_unknown!(
        other.task(task.id),
        other.task(task.uuid),
        other.cancel_task(task.id),
        other.task_activities(task.id, &all),
        other.resource(acme.machine.resource),
        other.delete_resource(acme.machine.resource),
        other.policy(acme.machine.policy),
        other.run_policy(acme.machine.policy, None),
        other.apply_policy(acme.machine.policy, globex.machine.resource),
        other.apply_policy(globex.machine.policy, acme.machine.resource),
        other.backup(backup.id),
        other.backup_files(backup.id, "/", None, None),
        other.restore(backup.id, &restore),
        other.tenant(acme.tenant),
        other.tenant(Uuid::nil()),
    );
    let counts = async |client: &Client| {
        [
            client.tasks(&all).await.expect("tasks").total,
            client.activities(&all).await.expect("activities").total,
            client.backups(&all).await.expect("backups").total,
            client.resources(&all).await.expect("resources").total,
            client.policies(&all).await.expect("policies").total,
            client.applications(&all).await.expect("applications").total,
            client.tenants(&all).await.expect("tenants").total,
            client.tokens(&all).await.expect("tokens").total,
            client.agents(&all).await.expect("agents").total,
            client.repositories(&all).await.expect("repositories").total,
        ]
    };
    assert_eq!(counts(other).await, [0, 0, 0, 1, 1, 1, 1, 3, 0, 0].map(Some));
    assert_eq!(counts(&acme.admin).await[..4], [Some(2), Some(8), Some(1), Some(1)]);
    assert_eq!(other.task_counts(&ListQuery::new(), &["state"]).await.expect("counts").total, 0);
    // Tokens cannot be made for what is not one's own.
    let token = NewToken { name: "x".to_owned(), role: Role::Viewer, tenant: Some(acme.tenant), expires_at: None };
    assert_unknown!(other.create_token(&token));

    // The first thing that globex hears of is its own.
    let own = globex.operator.run_policy(globex.machine.policy, None).await.expect("a run").items.remove(0);
    let first = tokio::time::timeout(LIMIT, heard.next()).await.expect("in time").expect("an event").expect("a task");
    assert_eq!(first.task.id, own.id);
    // And above both everything is seen.
    let both = up.client().tasks(&all).await.expect("tasks");
    assert_eq!(both.total, Some(3));
    up.completed(own.id).await;
}
