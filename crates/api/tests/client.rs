//! The client against the document: each operation has a method of its name, which sends what the document says.
#![cfg(feature = "client")]

use std::collections::BTreeMap;
use std::future::Future;

use api::client::{Client, Error, ListQuery};
use api::{
    Join, NewApiClient, NewEnrolment, NewNotificationChannel, NewPassword, NewPolicy, NewRepository, NewResource,
    NewTenant, NewToken, NewUser, NotificationChannelChange, NotificationTarget, PolicyChange, RepositoryChange,
    ResourceChange, Restore, Sources, TenantChange, Verify,
};
use domain::policy::Schedule;
use domain::resource::ResourceKind;
use domain::{Code, Role, Uuid};
use futures::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TOKEN: &str = "bst_swordfish";

/// A server that answers each connection with one of these texts, and tells what it was asked.
struct Fake {
    client: Client,
    asked: tokio::task::JoinHandle<Vec<String>>,
}

async fn fake(answers: Vec<String>) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let asked = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            asked.push(read_request(&mut stream).await);
            stream.write_all(answer.as_bytes()).await.expect("writes");
        }
        asked
    });
    Fake { client: Client::new(&format!("http://{address}/"), TOKEN, None).expect("a client"), asked }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).await.expect("reads");
        assert!(n > 0, "the request broke off");
        bytes.extend_from_slice(&buffer[..n]);
    }
}

fn answer(status: &str, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n{body}")
}

fn refusal() -> String {
    let body = r#"{"error":{"code":"not_found","message":"there is no such thing","request_id":"r-1"}}"#;
    answer("404 Not Found", "application/json", body)
}

/// The request line of one call, whose refusal the client understands.
async fn asked_by<F: Future<Output = Result<T, Error>>, T>(call: impl FnOnce(Client) -> F) -> String {
    let fake = fake(vec![refusal()]).await;
    let error = call(fake.client).await.err().expect("refused");
    assert!(error.is(Code::NotFound), "{error}");
    let request = fake.asked.await.expect("asked").remove(0);
    assert!(request.to_lowercase().contains(&format!("authorization: bearer {TOKEN}")), "{request}");
    let line = request.lines().next().expect("a line").trim_end_matches(" HTTP/1.1").to_owned();
    // Only requests with a body say what it is.
    let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    assert_eq!(request.to_lowercase().contains("content-type: application/json"), !body.is_empty(), "{request}");
    line
}

#[tokio::test]
async fn every_operation_has_a_method_that_asks_as_documented() {
    let (a, b) = (Uuid::from_u128(0xa), Uuid::from_u128(0xb));
    let mut asked: BTreeMap<&str, String> = BTreeMap::new();
    macro_rules! ask {
        ($($method:ident($($argument:expr),*);)+) => {
            $(asked.insert(stringify!($method), asked_by(|c| async move { c.$method($($argument),*).await }).await);)+
        };
    }
    let all = ListQuery::new();
    let all = &all;
    let resource = &NewResource {
        name: "web".into(),
        kind: ResourceKind::BareMetal,
        tenant: None,
        instance_id: None,
        agent: None,
        sources: Sources::default(),
        metadata: Value::Null,
    };
    let policy = &NewPolicy {
        name: "by hand".into(),
        schedule: Schedule::Manual {},
        tenant: None,
        retention: Default::default(),
        settings: api::Settings::default(),
        repository: None,
        enabled: true,
    };
    let repository = &NewRepository {
        name: "cold".into(),
        url: "/srv/cold".into(),
        tenant: None,
        secrets: BTreeMap::new(),
        password: None,
        upload_limit: 0,
        download_limit: 0,
    };
    let channel = &NewNotificationChannel {
        name: "ops".into(),
        tenant: None,
        enabled: true,
        target: NotificationTarget::Webhook { url: "https://hooks.example/".into() },
        events: domain::channel::Event::ALL.to_vec(),
        digest: None,
    };
    let restore = &Restore { to: "/tmp/back".into(), overwrite_device: false, paths: Vec::new(), resource: None };
    let tenant = &NewTenant { name: "branch".into(), parent: None, description: String::new() };
    let token = &NewToken { name: "ci".into(), role: Role::Viewer, tenant: None, expires_at: None };
    let roles = || vec![Role::Viewer];
    let user = &NewUser { login: "ops".into(), name: String::new(), roles: roles(), tenant: None, password: None };
    let program = &NewApiClient { name: "reports".into(), roles: roles(), tenant: None, executor: None };
    let join = &Join {
        registration_token: "t".into(),
        name: "srv".into(),
        os: String::new(),
        system: "linux".into(),
        version: String::new(),
        instance_id: None,
        virtual_machine: false,
        csr: None,
    };
    ask! {
        health(); version(); me();
        tasks(all); task(7); cancel_task(7); task_counts(all, &["state"]); task_activities(7, all);
        activities(all); activity(7);
        resources(all); resource(a); add_resource(resource); change_resource(a, &ResourceChange::default());
        delete_resource(a);
        policies(all); policy(a); create_policy(policy); policy_preview(a, None, None);
        preview_policy(a, &PolicyChange::default(), None, None); change_policy(a, &PolicyChange::default()); delete_policy(a);
        applications(all); policy_applications(a, all); apply_policy(a, b); revoke_policy(a, b); run_policy(a, Some(b));
        backups(all); backup(a); backup_files(a, "/srv", None, None); restore(a, restore);
         verify_backup(a, &Verify::default());
        agents(all); revoke_agent(a); join(join); enrol(&NewEnrolment::default()); repositories(all); repository(a);
        add_repository(repository); change_repository(a, &RepositoryChange::default()); remove_repository(a);
        test_repository(a, Some(a)); export_repository_key(a);
        notification_channels(all); notification_channel(a); create_notification_channel(channel);
        change_notification_channel(a, &NotificationChannelChange::default()); remove_notification_channel(a);
        rotate_notification_secret(a); test_notification_channel(a);
        tenants(all); tenant(a); create_tenant(tenant); change_tenant(a, &TenantChange::default()); delete_tenant(a); tokens(all); create_token(token); revoke_token(a);
        users(all); user(a); create_user(user); set_password(a, &NewPassword::default()); revoke_user(a);
        clients(all); client(a); create_client(program); rotate_client_secret(a); revoke_client(a);
        client_keys(a, all); create_client_key(a); revoke_client_key(a, b);
        signing_keys(all); rotate_signing_key(); revoke_signing_key(a); jwks(); audit_log(all);
    }
    let events = asked_by(|c| async move { c.task_events(all, None).next().await.expect("an answer") }).await;
    asked.insert("task_events", events);

    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(document).expect("reads")).expect("JSON");
    let mut documented = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let number = path.starts_with("/tasks") || path.starts_with("/activities");
            let path = path.replace("{id}", &if number { "7".into() } else { a.to_string() });
            let path = path.replace("{resource}", &b.to_string()).replace("{key}", &b.to_string());
            let id = operation["operationId"].as_str().expect("an id");
            let base = operation["servers"][0]["url"].as_str().or(document["servers"][0]["url"].as_str());
            let base = base.expect("a server").trim_end_matches('/');
            documented.insert(id, format!("{} {base}{path}", method.to_uppercase()));
        }
    }
    let without_query: BTreeMap<&str, String> =
        asked.iter().map(|(id, line)| (*id, line.split('?').next().unwrap_or_default().to_owned())).collect();
    assert_eq!(without_query, documented, "each operation of docs/openapi.json needs a method, and an entry here");
    assert!(asked["backup_files"].ends_with("?path=%2Fsrv") && asked["task_counts"].ends_with("?by=state"));
}

#[tokio::test]
async fn a_refusal_and_a_stranger_are_told_apart() {
    let fake =
        fake(vec![refusal(), answer("502 Bad Gateway", "text/html", "<html>"), answer("200 OK", "text/html", "hi")]);
    let fake = fake.await;
    let error = fake.client.task("a/../b?c").await.expect_err("refused");
    let api = error.api().expect("a refusal");
    assert_eq!((api.status, api.code.as_str(), api.request_id.as_str()), (404, "not_found", "r-1"));
    for _ in 0..2 {
        assert!(matches!(fake.client.me().await, Err(Error::Answer { .. })));
    }
    let asked = fake.asked.await.expect("asked");
    assert!(
        asked[0].starts_with("GET /api/v1/tasks/a%2F..%2Fb%3Fc HTTP"),
        "a name never leaves its place: {}",
        asked[0]
    );
    let error = fake.client.me().await.expect_err("nobody listens any more").to_string();
    assert!(error.starts_with("nothing listens at http://127.0.0.1:"), "{error}");
    assert!(!format!("{:?}", fake.client).contains("swordfish"));
}

#[tokio::test]
async fn a_stream_goes_on_where_it_broke() {
    let task = |id: i64| {
        let time = "2026-11-21T09:30:00Z";
        format!(
            r#"{{"id":{id},"uuid":"{}","type":"backup","state":"enqueued","cancel_requested":false,"tenant":"{}","queue":"q","priority":"normal","tags":[],"seeding":false,"rules":{{"cancellable":false,"sustainable":false,"max_assign_count":1,"ack_timeout":"5s"}},"assign_count":0,"created_at":"{time}","enqueued_at":"{time}","updated_at":"{time}","a field of tomorrow":1}}"#,
            Uuid::nil(),
            Uuid::nil()
        )
    };
    let event =
        |rev: i64, id: i64| format!("event: task\nid: {rev}\ndata: {{\"revision\":{rev},\"task\":{}}}\n\n", task(id));
    let stream = |body: String| answer("200 OK", "text/event-stream", &body);
    let first = format!("event: ready\nid: 4\ndata: {{}}\n\n{}: torn{}", event(5, 1), &event(6, 2)[..40]);
    let fake = fake(vec![stream(first), stream(format!(": hi\n\n{}id: 9\n\n", event(6, 2))), refusal()]).await;
    let mut events = fake.client.task_events(&ListQuery::new().filter("state", "enqueued"), None);
    let mut told = Vec::new();
    let error = loop {
        match events.next().await.expect("more") {
            Ok(event) => told.push((event.revision, event.task.id)),
            Err(error) => break error,
        }
    };
    assert_eq!(told, [(5, 1), (6, 2)]);
    assert!(error.is(Code::NotFound), "a refusal ends it");
    assert!(events.next().await.is_none());
    let asked = fake.asked.await.expect("asked");
    let lines: Vec<_> = asked.iter().map(|r| r.lines().next().unwrap_or_default()).collect();
    assert_eq!(
        lines,
        [
            "GET /api/v1/tasks/events?state=enqueued HTTP/1.1",
            "GET /api/v1/tasks/events?state=enqueued&since=5 HTTP/1.1",
            "GET /api/v1/tasks/events?state=enqueued&since=9 HTTP/1.1",
        ]
    );
}

#[test]
fn what_cannot_work_is_said_at_once() {
    for address in ["", "backup.example", "ftp://backup.example", "https://"] {
        assert!(matches!(Client::new(address, "", None), Err(Error::Setup(_))), "{address}");
    }
    assert!(matches!(Client::new("https://a", "two words", None), Err(Error::Setup(_))));
    assert!(matches!(Client::new("https://a", "", Some(b"no certificate")), Err(Error::Setup(_))));
}
