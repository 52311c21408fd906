//! Machines: they join, are listed and looked at, and are taken out (sections 11.2 and 12.1).

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use domain::resource::ResourceKind;
use domain::token::Joins;
use domain::{Code, Error, Role, Uuid};
use serde_json::{Value, json};
use server::service::{AgentHello, Command, Connected, DirectoryEntry, DirectoryKind, Joined, Joining};

use super::world::{World, fields};

impl World {
    /// A machine of a tenant that joined, with an agent that was never there.
    pub(crate) async fn joined(&self, tenant: Uuid, wished: &str, joins: Joins) -> Joined {
        let (_, secret) = self.service.registration_token(&self.root, tenant, joins).await.expect("a token");
        let joining = Joining {
            name: wished.to_owned(),
            os: "Linux".into(),
            system: "linux".into(),
            version: "0.0.1".into(),
            instance_id: Some(wished.to_owned()),
            virtual_machine: true,
            csr: None,
        };
        self.service.join(&secret, joining).await.expect("it joins")
    }

    /// A machine of `acme` with its agent.
    pub(crate) async fn machine(&self, wished: &str) -> (Joined, Connected) {
        let joined = self.joined(self.acme, wished, Joins::default()).await;
        let connected = self.connected(&joined).await;
        (joined, connected)
    }

    pub(crate) async fn connected(&self, joined: &Joined) -> Connected {
        let hello = AgentHello {
            name: "host".into(),
            system: "linux".into(),
            version: "0.0.1".into(),
            ..AgentHello::default()
        };
        self.service.agent_connected(&joined.agent_token, hello).await.expect("a valid token")
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> (StatusCode, Value) {
        let (status, _, body) = self.rest(Method::GET, path, token, Value::Null).await;
        (status, body)
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> (StatusCode, Value) {
        let (status, _, body) = self.rest(Method::POST, path, token, body).await;
        (status, body)
    }
}

/// The ids of the machines in an answer.
fn ids(body: &Value) -> Vec<String> {
    let machines = body["resources"].as_array().cloned().unwrap_or_default();
    machines.iter().map(|m| m["computeInstanceId"].as_str().unwrap_or_default().to_owned()).collect()
}

fn external(kind: ResourceKind) -> Joins {
    Joins { kind: Some(kind), external: true, policies: Vec::new() }
}

#[tokio::test]
async fn a_machine_is_shown_as_it_stands() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    let joined = world.joined(world.acme, "db-1", external(ResourceKind::BareMetal)).await;
    let (status, body) = world.get("/backup/v1/resources/db-1", &token).await;
    let machine = &body["resource"];
    assert_eq!(
        (status, &machine["initStatus"], &machine["type"]),
        (StatusCode::OK, &json!("REGISTERING"), &json!("EXTERNAL_SERVER"))
    );
    let details: Value = serde_json::from_str(machine["metadata"].as_str().expect("text")).expect("JSON");
    assert_eq!((&details["step"], &details["agent_version"]), (&json!("join"), &json!("0.0.1")));
    assert_eq!((&machine["tenantInfo"], &machine["agentInfo"]), (&Value::Null, &Value::Null));

    let connected = world.connected(&joined).await;
    let path = format!("/backup/v1/resources/{}?includeTenantInfo=true", joined.resource.id);
    let (_, body) = world.get(&path, &token).await;
    let machine = &body["resource"];
    assert_eq!(machine["computeInstanceId"], "db-1", "known by its other id too");
    assert_eq!(
        (&machine["initStatus"], &machine["online"], &machine["isActive"]),
        (&json!("REGISTRED"), &json!(true), &json!(true))
    );
    assert_eq!((&machine["status"], &machine["statusDetails"]), (&json!("OTHER"), &json!("no_policies_applied")));
    assert_eq!((&machine["metadata"], &machine["tenantInfo"]["folderId"]), (&json!("null"), &json!(world.acme)));
    assert_eq!(machine["agentInfo"]["currentVersion"], "0.0.1");
    world.service.agent_gone(&connected.agent, connected.session).await.expect("noted");
    let (_, body) = world.get("/backup/v1/resources/db-1", &token).await;
    assert_eq!(body["resource"].get("online"), None, "false is left out");
}

#[tokio::test]
async fn a_folder_lists_its_own_machines_by_type_and_in_pages() {
    let world = World::new().await;
    let token = world.token(Uuid::nil(), Role::Viewer).await;
    let below = world.tenant_below(world.acme, "branch").await;
    world.joined(below, "below", Joins::default()).await;
    for n in 1..=5 {
        world.joined(world.acme, &format!("vm-{n}"), Joins::default()).await;
    }
    world.joined(world.acme, "ext", external(ResourceKind::ComputeVm)).await;
    let list = format!("/backup/v1/resources?folderId={}", world.acme);
    let (_, body) = world.get(&list, &token).await;
    assert_eq!(ids(&body), ["vm-1", "vm-2", "vm-3", "vm-4", "vm-5", "ext"]);
    assert_eq!(body.get("nextPageToken"), None);
    let (_, body) = world.get(&format!("{list}&type=EXTERNAL_VM&pageSize=1"), &token).await;
    assert_eq!((ids(&body), body.get("nextPageToken")), (vec!["ext".to_owned()], None), "one page for the last row");
    let (_, body) = world.get(&format!("{list}&type=BMS"), &token).await;
    assert!(ids(&body).is_empty());

    let (mut seen, mut page) = (Vec::new(), String::new());
    loop {
        let (status, body) = world.get(&format!("{list}&type=COMPUTE&pageSize=2&pageToken={page}"), &token).await;
        assert_eq!(status, StatusCode::OK);
        seen.extend(ids(&body));
        if seen.len() == 2 {
            // What comes in between is found at its place, and moves nothing.
            world.joined(world.acme, "vm-6", Joins::default()).await;
        }
        page = body["nextPageToken"].as_str().unwrap_or_default().to_owned();
        if page.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["vm-1", "vm-2", "vm-3", "vm-4", "vm-5", "vm-6"]);
    for wrong in ["pageSize=1001", "pageSize=-1", "pageToken=x", "type=9"] {
        assert_eq!(world.get(&format!("{list}&{wrong}"), &token).await.0, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn who_sees_nothing_is_told_nothing() {
    let world = World::new().await;
    let (joined, _connected) = world.machine("db-1").await;
    let stranger = world.token(world.globex, Role::Admin).await;
    let viewer = world.token(world.acme, Role::Viewer).await;
    let (acme, id) = (world.acme, joined.resource.id);
    for path in ["db-1", "none", "db-1/tasks", "db-1/operations"] {
        let (status, body) = world.get(&format!("/backup/v1/resources/{path}"), &stranger).await;
        assert_eq!((status, &body["code"]), (StatusCode::NOT_FOUND, &json!(5)), "{path}");
    }
    let foreign = world.get(&format!("/backup/v1/resources?folderId={acme}"), &stranger).await;
    let none = world.get(&format!("/backup/v1/resources?folderId={}", Uuid::max()), &stranger).await;
    assert_eq!((foreign.0, &foreign.1["message"]), (StatusCode::FORBIDDEN, &none.1["message"]));
    let delete = |path: String, token: String| {
        let world = &world;
        async move { world.rest(Method::DELETE, &path, &token, Value::Null).await.0 }
    };
    let right = format!("/backup/v1/resources/db-1?resourceId={id}");
    assert_eq!(delete(right.clone(), viewer.clone()).await, StatusCode::FORBIDDEN);
    assert_eq!(delete(right, stranger).await, StatusCode::NOT_FOUND);
    let admin = world.token(world.acme, Role::Editor).await;
    for wrong in [format!("db-1?resourceId={}", Uuid::max()), format!("none?resourceId={id}")] {
        assert_eq!(delete(format!("/backup/v1/resources/{wrong}"), admin.clone()).await, StatusCode::NOT_FOUND);
    }
    assert_eq!(delete("/backup/v1/resources/db-1".into(), admin).await, StatusCode::BAD_REQUEST);
    let look = format!("/backup/v1/resources/db-1/directory?folderId={acme}");
    assert_eq!(world.get(&look, &viewer).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_machine_is_taken_out_and_comes_back() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Editor).await;
    let (joined, connected) = world.machine("db-1").await;
    world.service.agent_gone(&connected.agent, connected.session).await.expect("noted");
    let path = format!("/backup/v1/resources/db-1?resourceId={}", joined.resource.id);
    let (status, _, done) = world.rest(Method::DELETE, &path, &token, Value::Null).await;
    assert_eq!(
        (status, &done["done"], &done["description"]),
        (StatusCode::OK, &json!(true), &json!("delete resource"))
    );
    assert_eq!(done["metadata"]["@type"], "type.googleapis.com/yandex.cloud.backup.v1.DeleteResourceMetadata");
    assert_eq!(done["metadata"]["computeInstanceId"], "db-1");
    assert_eq!(done["response"]["@type"], "type.googleapis.com/google.protobuf.Empty");

    let delete = |key: &'static str| {
        let request = Request::delete(&path).header("authorization", format!("Bearer {token}"));
        world.send(request.header("idempotency-key", key).body(Body::empty()).expect("a request"))
    };
    assert_eq!(delete("once").await.0, StatusCode::NOT_FOUND, "another call");

    let (_, body) = world.get("/backup/v1/resources/db-1", &token).await;
    let machine = &body["resource"];
    assert_eq!(machine["initStatus"], "DELETED");
    for flag in ["online", "enabled", "isActive"] {
        assert_eq!(machine.get(flag), None, "{flag} is false, and left out");
    }
    let (_, body) = world.get(&format!("/backup/v1/resources?folderId={}", world.acme), &token).await;
    assert!(ids(&body).is_empty());
    assert_eq!(world.rest(Method::DELETE, &path, &token, Value::Null).await.0, StatusCode::NOT_FOUND);
    let (_, body) = world.get("/backup/v1/resources/db-1/operations", &token).await;
    assert_eq!(body["operations"][0]["id"], done["id"], "the past stays");
    assert_eq!(world.get("/backup/v1/resources/db-1/tasks", &token).await.0, StatusCode::OK);

    let again = world.joined(world.acme, "db-1", Joins::default()).await;
    assert_eq!(again.resource.id, joined.resource.id);
    let (first, second) = (delete("once").await, delete("once").await);
    assert_eq!((first.0, &first.2), (StatusCode::OK, &second.2), "the same call finds its operation");
    world.joined(world.acme, "db-1", Joins::default()).await;
    let (_, body) = world.get(&format!("/backup/v1/resources?folderId={}", world.acme), &token).await;
    assert_eq!(ids(&body), ["db-1"]);
}

/// Answers one question about the machine, as an agent does.
async fn answer(connected: &mut Connected, entries: Result<Vec<DirectoryEntry>, Error>) -> String {
    loop {
        match connected.commands.recv().await.expect("the session goes on") {
            Command::ListDirectory { path, answer } => {
                answer.send(entries).expect("somebody waits");
                return path;
            }
            Command::CreateDirectory { path, answer } => {
                answer.send(entries.map(|_| ())).expect("somebody waits");
                return path;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn folders_of_a_machine_are_looked_at_live() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Editor).await;
    let (_, mut connected) = world.machine("db-1").await;
    let path = |path: &str| format!("/backup/v1/resources/db-1/directory?folderId={}&path={path}", world.acme);
    let (srv, top) = (path("/srv"), path(""));
    let entry = |name: &str, kind, size| DirectoryEntry { name: name.into(), path: name.into(), kind, size };
    let entries = vec![
        entry("b.txt", DirectoryKind::File, 7),
        entry("z", DirectoryKind::Directory, 0),
        entry("a", DirectoryKind::Directory, 0),
    ];
    let (asked, (status, body)) = tokio::join!(answer(&mut connected, Ok(entries)), world.get(&srv, &token));
    assert_eq!((asked.as_str(), status), ("/srv", StatusCode::OK));
    assert_eq!(
        body["items"],
        json!([
            { "name": "a", "type": "DIRECTORY", "fileType": "DIRECTORY" },
            { "name": "z", "type": "DIRECTORY", "fileType": "DIRECTORY" },
            { "name": "b.txt", "type": "FILE", "fileType": "FILE", "size": "7" },
        ])
    );
    let volumes = vec![entry("/", DirectoryKind::Volume, 0)];
    let (asked, (_, body)) = tokio::join!(answer(&mut connected, Ok(volumes)), world.get(&top, &token));
    assert_eq!(
        (asked.as_str(), &body["items"]),
        ("", &json!([{ "name": "/", "type": "VOLUME", "fileType": "DIRECTORY" }]))
    );
    for (code, wanted) in [(Code::NotFound, 5), (Code::PathUnusable, 9), (Code::BodyTooLarge, 8)] {
        let refused = Err(Error::new(code, "so it is"));
        let (_, (_, body)) = tokio::join!(answer(&mut connected, refused), world.get(&srv, &token));
        assert_eq!(body["code"], wanted, "{code:?}");
    }
    for wrong in ["srv", "/srv/../etc", "C:\\"] {
        let (status, body) = world.get(&path(wrong), &token).await;
        assert_eq!((status, &body["code"]), (StatusCode::BAD_REQUEST, &json!(3)), "{wrong}: {body}");
    }
    let other = format!("/backup/v1/resources/db-1/directory?folderId={}", Uuid::nil());
    let root = world.token(Uuid::nil(), Role::Editor).await;
    assert_eq!(world.get(&other, &root).await.0, StatusCode::NOT_FOUND, "it lives in another folder");
}

#[tokio::test]
async fn an_agent_that_is_away_is_told_from_one_that_is_silent() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Editor).await;
    let (_, connected) = world.machine("db-1").await;
    let path = format!("/backup/v1/resources/db-1/directory?folderId={}", world.acme);
    world.service.hub().wait_for_answers(std::time::Duration::ZERO);
    let (status, body) = world.get(&path, &token).await;
    assert_eq!((status, &body["code"]), (StatusCode::GATEWAY_TIMEOUT, &json!(4)));
    world.service.agent_gone(&connected.agent, connected.session).await.expect("noted");
    let (status, body) = world.get(&path, &token).await;
    assert_eq!((status, &body["code"]), (StatusCode::BAD_REQUEST, &json!(9)));
    let violation = &body["details"][0]["violations"][0];
    assert_eq!((&violation["type"], &violation["subject"]), (&json!("AGENT_OFFLINE"), &json!("db-1")));
}

#[tokio::test]
async fn a_directory_is_made_at_once() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Editor).await;
    let (_, mut connected) = world.machine("db-1").await;
    let path = "/backup/v1/resources/db-1:createDirectory";
    let wish = |path: &str| json!({ "folderId": world.acme, "path": path });
    let (asked, (status, done)) =
        tokio::join!(answer(&mut connected, Ok(Vec::new())), world.post(path, &token, wish("/srv/new")));
    assert_eq!((asked.as_str(), status, &done["done"]), ("/srv/new", StatusCode::OK, &json!(true)));
    assert_eq!(done["metadata"]["@type"], "type.googleapis.com/yandex.cloud.backup.v1.CreateDirectoryMetadata");
    assert_eq!(
        (&done["metadata"]["computeInstanceId"], &done["metadata"]["path"]),
        (&json!("db-1"), &json!("/srv/new"))
    );
    let refused = Err(Error::new(Code::PathUnusable, "a file stands there"));
    let (_, (status, body)) =
        tokio::join!(answer(&mut connected, refused), world.post(path, &token, wish("/srv/file")));
    assert_eq!((status, &body["code"]), (StatusCode::BAD_REQUEST, &json!(9)));
    let forbidden = ['\\', ':', '*', '?', '"', '\'', '<', '>', '|'].map(|c| format!("/srv/a{c}b"));
    for wrong in forbidden.iter().map(String::as_str).chain(["new", ""]) {
        let (status, body) = world.post(path, &token, wish(wrong)).await;
        assert_eq!((status, fields(&body)), (StatusCode::BAD_REQUEST, vec!["path".to_owned()]), "{wrong}");
    }
    let (_, body) = world.get("/backup/v1/resources/db-1/operations", &token).await;
    assert_eq!(body["operations"].as_array().map(Vec::len), Some(1), "what failed made none");
}
