//! Imports as they are asked for: what they may come from, and the task and the image that are made.

use domain::import::{ImportRules, Network};
use domain::record::RecordKind;
use domain::repository::Repository;
use domain::task::TaskRef;
use domain::work::Work;
use domain::{Role, Scope, Uuid};
use ledger::{Expect, Write};
use serde_json::{Value, json};
use server::service::Cloud;

use crate::world::World;

/// A server with a repository, and with what the operator allows.
async fn world(rules: ImportRules) -> (World, String) {
    let world = World::with(|service| service.as_cloud(Cloud { imports: rules, ..Cloud::default() })).await;
    let now = world.service.moment().now;
    let repository = Repository {
        id: Uuid::now_v7(),
        tenant: Uuid::nil(),
        name: "local".into(),
        url: "/repository".into(),
        sealed_password: world.service.seal("secret").expect("sealed"),
        append_only: false,
        pruning: None,
        created_at: now,
        updated_at: now,
    };
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
    }
    for from in ["file:///etc/passwd", "file://localhost/etc/passwd"] {
        assert!(refused(from).await.contains("File based imports are not allowed"), "{from}");
    }
    for from in ["ftp://example.com/x", "swift://x/y"] {
        assert!(refused(from).await.contains("supported are http and https"), "{from}");
    }
    assert!(refused("http://ada:secret@1.1.1.1/x").await.contains("password"));
    assert!(refused("nonsense").await.contains("Invalid location"));
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
    for from in ["http://10.0.0.1/x", "file:///srv/images/../x", "file:///srv/images/%2e%2e/x", "file:///srv/x"] {
        world.post("/v2/tasks", &token, import(json!({ "import_from": from }))).await.refused(400);
    }
}
