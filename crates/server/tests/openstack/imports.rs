//! Imports as they are asked for: what they may come from, and the task and the image that are made.

use domain::agent::AGENT_QUEUE;
use domain::import::{ImportRules, Network};
use domain::record::RecordKind;
use domain::repository::Repository;
use domain::resource::{Resource, ResourceKind, Sources};
use domain::task::{Event, Executor, LeaseToken, Outcome, OutcomeCode, Task, TaskRef};
use domain::work::Work;
use domain::{Role, Scope, Uuid};
use ledger::{Claim, Expect, Ledger, Write};
use serde_json::{Value, json};
use server::service::{Cloud, NewResource};

use crate::world::World;

/// A server with a repository, and with what the operator allows.
pub(crate) async fn world(rules: ImportRules) -> (World, String) {
    let world = World::with(|service| service.as_cloud(Cloud { imports: rules, ..Cloud::default() })).await;
    let now = world.service.moment().now;
    let repository = Repository::new(
        Uuid::now_v7(),
        Uuid::nil(),
        "local",
        "/repository",
        world.service.seal("secret").expect("sealed"),
        now,
    );
    world.commit(vec![Write::Put(Box::new(repository.into()), Expect::New)]).await;
    let token = world.token(world.acme, Role::Admin).await;
    (world, token)
}

fn import(input: Value) -> Value {
    json!({ "type": "import", "input": input })
}

#[tokio::test]
async fn an_import_is_a_task_and_an_image() {
    let (world, token) = world(ImportRules::default()).await;
    let input = json!({
        "import_from": "https://1.1.1.1/images/debian%2012.qcow2?signature=swordfish",
        "import_from_format": "qcow2",
        "image_properties": { "name": "debian", "disk_format": "qcow2" },
        "size": 12, "sha256": "A".repeat(64),
    });
    let answer = world.post("/image/v2/tasks", &token, json!({
        "type": "import", "input": input, "owner": "somebody", "status": "success", "id": Uuid::now_v7().to_string(),
    })).await;
    let made = answer.expect(201);
    let id: Uuid = made["id"].as_str().and_then(|id| id.parse().ok()).expect("a uuid");
    assert_eq!(answer.header("location"), format!("http://cloud.example.com:8774/image/v2/tasks/{id}"));
    assert_eq!((&made["status"], &made["owner"]), (&json!("pending"), &json!(world.acme.simple().to_string())));
    assert!(made["request_id"].as_str().is_some_and(|id| id.starts_with("req-")) && made["user_id"].is_string());
    let mut shown = input.clone();
    shown["import_from"] = json!("https://1.1.1.1/images/debian%2012.qcow2?...");
    assert_eq!(made["input"], shown, "without what may be secret");
    assert_eq!(world.get(&format!("/image/v2/tasks/{id}"), &token).await.expect(200), made);

    let task = world.ledger.task(&Scope::everything(), TaskRef::Uuid(id)).await.expect("the task");
    let Ok(Work::Import(work)) = Work::of(&task.spec) else { panic!("an import") };
    assert_eq!((work.name.as_str(), work.size, work.sha256), ("debian 12.qcow2", Some(12), Some("a".repeat(64))));
    assert!(!serde_json::to_string(&task.spec.argument).expect("JSON").contains("swordfish"));

    let image = made["image_id"].as_str().expect("an image");
    let shown = world.get(&format!("/v2/images/{image}"), &token).await.expect(200);
    assert_eq!(
        (&shown["name"], &shown["disk_format"], &shown["status"]),
        (&json!("debian"), &json!("qcow2"), &json!("importing"))
    );
    let list = world.get("/v2/images?name=debian", &token).await.expect(200);
    assert_eq!(list["images"], json!([shown]));
    assert_eq!(world.get("/v2/images?name=other", &token).await.expect(200)["images"], json!([]));
    let stranger = world.token(world.globex, Role::Admin).await;
    assert!(world.get(&format!("/v2/images/{image}"), &stranger).await.refused(404).contains(image));
}

#[tokio::test]
async fn what_may_be_secret_is_not_kept() {
    let (world, token) = world(ImportRules::default()).await;
    let input = json!({
        "import_from": "https://1.1.1.1/x?signature=swordfish#swordfish",
        "password": "swordfish",
        "image_properties": { "name": "x", "password": "swordfish", "min_disk": { "a": "swordfish" } },
    });
    let made = world.post("/v2/tasks", &token, import(input)).await.expect(201);
    let shown = json!({ "import_from": "https://1.1.1.1/x?...", "image_properties": { "name": "x" } });
    assert_eq!(made["input"], shown);
    let id: Uuid = made["id"].as_str().and_then(|id| id.parse().ok()).expect("a uuid");
    let task = world.ledger.task(&Scope::everything(), TaskRef::Uuid(id)).await.expect("the task");
    assert!(!format!("{:?}", task.spec).contains("swordfish"));
}

/// The id of the image of a new import, and its task.
async fn imported(world: &World, token: &str, name: &str) -> (Uuid, Task) {
    let input = json!({ "import_from": "https://1.1.1.1/x", "image_properties": { "name": name } });
    let made = world.post("/v2/tasks", token, import(input)).await.expect(201);
    let uuid = |name: &str| made[name].as_str().and_then(|id| id.parse::<Uuid>().ok()).expect("a uuid");
    let task = world.ledger.task(&Scope::everything(), TaskRef::Uuid(uuid("id"))).await.expect("the task");
    (uuid("image_id"), task)
}

/// The image has its data, so many bytes.
async fn arrive(world: &World, image: Uuid, size: u64) {
    let ledger: &dyn Ledger = &*world.ledger;
    let found = ledger.get::<Resource>(&Scope::everything(), image).await.expect("the image");
    let mut resource = found.value;
    resource.last_backup_at = Some(resource.created_at);
    resource.metadata = json!({ "size": size, "sha256": "a".repeat(64), "disk_format": "qcow2" });
    world.commit(vec![Write::Put(Box::new(resource.into()), Expect::Rev(found.rev))]).await;
}

fn names(page: &Value) -> Vec<&str> {
    page["images"].as_array().expect("images").iter().map(|i| i["name"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn an_import_that_brought_no_image_leaves_none() {
    let (world, token) = world(ImportRules::default()).await;
    let (cancelled, task) = imported(&world, &token, "debian").await;
    world.service.cancel_task(&world.root, TaskRef::Id(task.id)).await.expect("cancelled");
    world.service.note_ends().await.expect("noted");
    world.get(&format!("/v2/images/{cancelled}"), &token).await.refused(404);

    // One that fails in work, of which nobody heard, as after a crash.
    let (failed, task) = imported(&world, &token, "debian").await;
    let lease = LeaseToken(Uuid::now_v7().to_string());
    let claim = Claim {
        queues: vec![AGENT_QUEUE.into()],
        types: Vec::new(),
        executor: Executor { id: "e-1".into(), ..Executor::default() },
        leases: vec![lease.clone()],
    };
    world.commit(vec![Write::Claim(claim)]).await;
    world.commit(vec![Write::Task(TaskRef::Id(task.id), Event::Start { lease: lease.clone() })]).await;
    let (waiting, _) = imported(&world, &token, "ubuntu").await;
    world.service.look_for_ends().await.expect("a look");
    assert_eq!(world.get(&format!("/v2/images/{failed}"), &token).await.expect(200)["status"], json!("importing"));
    let outcome = Outcome::of(OutcomeCode::Error);
    world.commit(vec![Write::Task(TaskRef::Id(task.id), Event::Complete { lease, outcome, progress: None })]).await;
    world.service.look_for_ends().await.expect("a look");
    world.get(&format!("/v2/images/{failed}"), &token).await.refused(404);

    let left = world.get("/v2/images", &token).await.expect(200);
    assert_eq!((names(&left), &left["images"][0]["id"]), (vec!["ubuntu"], &json!(waiting.to_string())));
    // The tasks still say what became of them.
    let tasks = world.get("/v2/tasks?status=failure", &token).await.expect(200);
    assert_eq!(tasks["tasks"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn lists_of_images_answer_what_they_are_asked() {
    let (world, token) = world(ImportRules::default()).await;
    let mut ids = Vec::new();
    for (i, name) in ["cirros", "a, b", "fedora", "debian", "ubuntu"].into_iter().enumerate() {
        let (id, _) = imported(&world, &token, name).await;
        if i % 2 == 0 {
            arrive(&world, id, 10 * (i as u64 + 1)).await;
        }
        ids.push(id);
    }
    let list = async |query: &str| world.get(&format!("/v2/images{query}"), &token).await.expect(200);
    let all = ["ubuntu", "debian", "fedora", "a, b", "cirros"];
    let active = ["ubuntu", "fedora", "cirros"];
    let acme = world.acme.simple();
    let two = format!("?id=in:{},{},x", ids[0], ids[4]);
    for (query, expected) in [
        ("", &all[..]),
        ("?visibility=all", &all),
        ("?visibility=private&os_hidden=False&protected=false&member_status=all", &all),
        ("?visibility=public", &[]),
        ("?status=active", &active),
        ("?status=importing", &["debian", "a, b"]),
        ("?status=in:active,killed", &active),
        ("?status=killed", &[]),
        ("?name=in:%22a,%20b%22,cirros", &["a, b", "cirros"]),
        (&two, &["ubuntu", "cirros"]),
        ("?id=x", &[]),
        (&format!("?owner={acme}"), &all),
        (&format!("?owner={}", world.globex.simple()), &[]),
        ("?size_min=11", &["ubuntu", "fedora"]),
        ("?size_min=10&size_max=30", &["fedora", "cirros"]),
        ("?disk_format=qcow2", &active),
        ("?container_format=bare", &all),
        ("?container_format=docker", &[]),
        ("?tag=x", &[]),
        ("?created_at=lt:2001-01-01T00:00:00", &[]),
        ("?updated_at=gte:2001-01-01T00:00:00", &all),
        ("?sort=name:asc", &["a, b", "cirros", "debian", "fedora", "ubuntu"]),
        ("?sort_key=name", &["ubuntu", "fedora", "debian", "cirros", "a, b"]),
        ("?sort_key=container_format&sort_key=name&sort_dir=asc", &["a, b", "cirros", "debian", "fedora", "ubuntu"]),
        ("?sort_dir=asc", &["cirros", "a, b", "fedora", "debian", "ubuntu"]),
        ("?limit=0", &[]),
    ] {
        assert_eq!(names(&list(query).await), expected, "{query}");
    }
    for query in ["?status=active&limit=1", "?sort=name:desc&status=active&limit=2", "?limit=2&status=active"] {
        let (mut seen, mut path) = (Vec::new(), format!("/v2/images{query}"));
        loop {
            let page = world.get(&path, &token).await.expect(200);
            seen.extend(names(&page).into_iter().map(str::to_owned));
            match page["next"].as_str() {
                Some(next) => path = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, active, "{query}");
    }
}

#[tokio::test]
async fn what_lists_of_images_cannot_answer_is_refused_by_name() {
    let (world, token) = world(ImportRules::default()).await;
    for (query, told) in [
        ("colour=red", "'colour'"),
        ("status=gone", "Invalid status value: gone"),
        ("visibility=none", "visibility"),
        ("protected=perhaps", "protected"),
        ("size_min=-1", "size_min"),
        ("created_at=yesterday", "created_at"),
        ("sort=size:asc", "Invalid sort key: size"),
        ("sort_key=bogus", "Invalid sort key: bogus"),
        ("sort_dir=up", "Invalid sort direction: up"),
        ("sort=name:asc&sort_key=name", "cannot be combined"),
        ("sort_key=name&sort_dir=asc&sort_dir=asc", "Number of sort dirs"),
    ] {
        let message = world.get(&format!("/v2/images?{query}"), &token).await.refused(400);
        assert!(message.contains(told), "{query}: {message}");
    }
    let new = NewResource {
        tenant: Some(world.acme),
        instance_id: None,
        kind: ResourceKind::BareMetal,
        name: "host".into(),
        agent: None,
        sources: Sources::default(),
        metadata: Value::Null,
    };
    let machine = world.service.add_resource(&world.root, new).await.expect("a machine").resource.id;
    for marker in [machine, Uuid::from_u128(5)] {
        let message = world.get(&format!("/v2/images?marker={marker}"), &token).await.refused(400);
        assert_eq!(message, format!("Image with the given id {marker} was not found"));
    }
}

#[tokio::test]
async fn images_fit_their_schema() {
    let (world, token) = world(ImportRules::default()).await;
    let (waiting, _) = imported(&world, &token, "a").await;
    let (there, _) = imported(&world, &token, "b").await;
    arrive(&world, there, 7).await;
    let schema = world.get("/v2/schemas/image", &token).await.expect(200);
    for id in [waiting, there] {
        let image = world.get(&format!("/v2/images/{id}"), &token).await.expect(200);
        for (name, value) in image.as_object().expect("an image") {
            let kind = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "integer",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            let wanted = &schema["properties"][name]["type"];
            let fits = *wanted == kind || wanted.as_array().is_some_and(|kinds| kinds.contains(&json!(kind)));
            assert!(fits, "{name}: {value} against {wanted}");
        }
    }
}

#[tokio::test]
async fn what_is_internal_is_refused_unless_it_is_allowed() {
    let (world, token) = world(ImportRules::default()).await;
    let refused =
        async |from: &str| world.post("/v2/tasks", &token, import(json!({ "import_from": from }))).await.refused(400);
    for from in [
        "http://127.0.0.1:9280/x",
        "http://localhost/x",
        "https://[::1]/x",
        "http://10.0.0.1/",
        "http://0x7f.1/x",
        "http://2130706433/",
        "http://169.254.169.254/latest",
        "http://[::ffff:127.0.0.1]/",
        "http://0/",
    ] {
        let message = refused(from).await;
        assert!(message.contains("does not pass filtering"), "{from}: {message}");
        assert!(from.contains("localhost") || message.contains(" is an internal address."), "{message}");
    }
    for from in ["file:///etc/passwd", "file://localhost/etc/passwd"] {
        assert!(refused(from).await.contains("File based imports are not allowed"), "{from}");
    }
    for from in ["ftp://example.com/x", "swift://x/y"] {
        assert!(refused(from).await.contains("supported are http and https"), "{from}");
    }
    assert!(refused("http://ada:secret@1.1.1.1/x").await.contains("password"));
    for from in ["nonsense", "http:///x", "https:x"] {
        let message = refused(from).await;
        assert!(message.contains("Invalid location") && message.contains("Give an address like"), "{message}");
    }
    let message = refused(&format!("https://1.1.1.1/{}", "x".repeat(300))).await;
    assert!(message.contains("'image_properties.name'"), "{message}");
    for (input, named) in [
        (json!({ "import_from": "https://1.1.1.1/x", "size": "x" }), "'size' must be a whole number of bytes"),
        (json!({ "import_from": "https://1.1.1.1/x", "image_properties": { "name": 3 } }), "'image_properties.name'"),
        (json!({ "import_from": "https://1.1.1.1/x", "sha256": "12" }), "It has 64 hexadecimal digits."),
    ] {
        let message = world.post("/v2/tasks", &token, import(input)).await.refused(400);
        assert!(message.contains(named), "{message}");
    }
    for input in [
        json!({ "import_from": "https://1.1.1.1/x", "sha256": "12" }),
        json!({ "import_from": "https://1.1.1.1/x", "size": -1 }),
        json!({ "import_from": "https://1.1.1.1/x", "image_properties": { "name": "" } }),
        json!({ "import_from": "https://1.1.1.1/x", "image_properties": [] }),
        json!({ "import_from": 3 }),
    ] {
        world.post("/v2/tasks", &token, import(input)).await.refused(400);
    }
    // Nothing was made of all this.
    let none = world.get("/v2/tasks?type=import", &token).await.expect(200);
    assert_eq!(none["tasks"], json!([]));
    let query = domain::query::Query::newest(domain::query::Filter::all(), 1);
    let images = world.ledger.records(&Scope::everything(), RecordKind::Resource, &query).await.expect("a list");
    assert!(images.items.is_empty());
}

#[tokio::test]
async fn the_operator_allows_networks_and_folders() {
    let networks = vec![Network::parse("127.0.0.0/8").expect("a network")];
    let (world, token) = world(ImportRules { networks, roots: vec!["/srv/images".into()] }).await;
    for from in ["http://127.0.0.1:1/x", "file:///srv/images/a.raw"] {
        let made = world.post("/v2/tasks", &token, import(json!({ "import_from": from }))).await.expect(201);
        assert_eq!(made["input"]["import_from"], json!(from));
    }
    let elsewhere =
        world.post("/v2/tasks", &token, import(json!({ "import_from": "file:///etc/x" }))).await.refused(400);
    assert!(elsewhere.contains("lies in no folder that the operator allows"), "{elsewhere}");
    for from in [
        "http://10.0.0.1/x",
        "file:///srv/images",
        "file:///srv/images/",
        "file:///srv/images/../x",
        "file:///srv/images/%2e%2e/x",
        "file:///srv/x",
    ] {
        world.post("/v2/tasks", &token, import(json!({ "import_from": from }))).await.refused(400);
    }
}
