//! How machines come in: registration tokens, providers with their policies, and the line that installs an agent
//! (sections 12.1 and 12.4).

use std::path::PathBuf;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use domain::repository::Repository;
use domain::{Role, Scope, Uuid};
use ledger::{Expect, Write};
use serde_json::{Value, json};
use server::service::{Installer, Joining};

use super::world::{PUBLIC, World};

impl World {
    async fn with_repository(&self) {
        let now = self.service.moment().now;
        let repository = Repository::new(
            Uuid::now_v7(),
            Uuid::nil(),
            "local",
            "/repository",
            self.service.seal("tape under the desk").expect("randomness"),
            now,
        );
        let write = Write::Put(Box::new(repository.into()), Expect::New);
        self.ledger.commit(&Scope::everything(), self.service.moment(), vec![write]).await.expect("a commit");
    }

    /// What a new registration token of a folder is.
    async fn registration(&self, token: &str, folder: Uuid, kind: &str) -> Value {
        let body = json!({ "folderId": folder, "type": kind });
        let (status, body) = self.post("/backup/v1/resources:getInstanceRegistrationToken", token, body).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }
}

#[tokio::test]
async fn a_registration_token_is_a_uuid_for_a_day_and_many_machines() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Operator).await;
    let body = world.registration(&token, world.acme, "EXTERNAL_VM").await;
    let id = body["instanceRegistrationId"].as_str().expect("an id");
    assert_eq!(Uuid::parse_str(id).expect("a uuid").get_version_num(), 4);
    let until: domain::Timestamp = body["expiredAt"].as_str().expect("a time").parse().expect("a time");
    assert_eq!(until.duration_since(world.service.moment().now).as_hours(), 23);
    for n in 0..2 {
        let joining = Joining { name: format!("m{n}"), system: "linux".into(), ..Joining::default() };
        let joined = world.service.join(id, joining).await.expect("it joins").resource;
        assert_eq!((joined.tenant, joined.external), (world.acme, true));
    }
    let viewer = world.token(world.acme, Role::Viewer).await;
    let wish = json!({ "folderId": world.acme });
    let path = "/backup/v1/resources:getInstanceRegistrationToken";
    assert_eq!(world.post(path, &viewer, wish.clone()).await.0, StatusCode::FORBIDDEN);
    let stranger = world.token(world.globex, Role::Admin).await;
    assert_eq!(world.post(path, &stranger, wish).await.0, StatusCode::FORBIDDEN);
    assert_eq!(world.get("/backup/v1/providers", id).await.0, StatusCode::UNAUTHORIZED, "it is no bearer token");
}

#[tokio::test]
async fn the_first_activation_brings_policies_and_every_name_is_remembered() {
    let world = World::new().await;
    world.with_repository().await;
    let token = world.token(world.acme, Role::Operator).await;
    let list = format!("/backup/v1/providers?folderId={}", world.acme);
    assert_eq!(world.get(&list, &token).await.1["names"], json!(["backstay"]), "every folder is active");
    let wish = json!({ "folderId": world.acme });
    let (status, done) = world.post("/backup/v1/providers/some.name:activate", &token, wish.clone()).await;
    assert_eq!(
        (status, &done["done"], &done["description"]),
        (StatusCode::OK, &json!(true), &json!("activate provider"))
    );
    assert_eq!(done["metadata"]["@type"], "type.googleapis.com/yandex.cloud.backup.v1.ActivateProviderMetadata");
    assert_eq!(done["metadata"]["folderId"], json!(world.acme));
    for name in ["some.name", "backstay", "other"] {
        let (status, _) = world.post(&format!("/backup/v1/providers/{name}:activate"), &token, wish.clone()).await;
        assert_eq!(status, StatusCode::OK);
    }
    let (_, body) = world.get(&list, &token).await;
    assert_eq!((&body["names"], &body["folderId"]), (&json!(["backstay", "some.name", "other"]), &json!(world.acme)));

    let (_, body) = world.get(&format!("/backup/v1/policies?folderId={}", world.acme), &token).await;
    let policies = body["policies"].as_array().expect("policies");
    let names: Vec<_> = policies.iter().map(|p| p["name"].clone()).collect();
    assert_eq!(json!(names), json!(["Default daily", "Default weekly", "Default monthly"]));
    let scheduling = &policies[1]["settings"]["scheduling"];
    assert_eq!((&scheduling["scheme"], &scheduling["enabled"]), (&json!("ALWAYS_INCREMENTAL"), &json!(true)));
    assert_eq!(scheduling["randMaxDelay"], json!({ "type": "MINUTES", "count": "30" }));
    assert_eq!(scheduling["backupSets"][0]["time"]["type"], "WEEKLY");
    assert_eq!(scheduling["backupSets"][0]["time"]["weekdays"], json!(["MONDAY"]));
    assert_eq!(policies[0]["settings"]["retention"]["rules"][0]["maxCount"], "15");
    assert_eq!(
        world.post("/backup/v1/providers/a%20b:activate", &token, wish.clone()).await.0,
        StatusCode::BAD_REQUEST
    );

    let repeated = || {
        let request = Request::post("/backup/v1/providers/again:activate").header("idempotency-key", "once");
        let request = request.header("authorization", format!("Bearer {token}"));
        world.send(request.body(Body::from(wish.to_string())).expect("a request"))
    };
    let (first, second) = (repeated().await, repeated().await);
    assert_eq!((first.0, &first.2), (StatusCode::OK, &second.2), "the same call finds its operation");
}

#[tokio::test]
async fn policies_to_begin_with_do_what_they_show_and_names_are_never_too_many() {
    let world = World::new().await;
    world.with_repository().await;
    let token = world.token(world.acme, Role::Operator).await;
    let wish = json!({ "folderId": world.acme });
    for n in 0..=100 {
        let path = format!("/backup/v1/providers/p{n}:activate");
        assert_eq!(world.post(&path, &token, wish.clone()).await.0, StatusCode::OK, "{n}");
    }
    let (_, body) = world.get(&format!("/backup/v1/providers?folderId={}", world.acme), &token).await;
    let names = body["names"].as_array().expect("names");
    assert_eq!((names.len(), &names[0], &names[100]), (101, &json!("backstay"), &json!("p100")));
    let filter = domain::query::Filter::all();
    for policy in world.service.all_policies(&world.root, filter).await.expect("policies") {
        let retries = policy.settings.retries.map(|r| (r.attempts, r.interval.as_secs()));
        let freezing = policy.settings.snapshot_retries.map(|r| (r.attempts, r.interval.as_secs()));
        assert_eq!((retries, freezing), (Some((30, 30)), Some((3, 300))), "{}", policy.name);
    }
}

#[tokio::test]
async fn who_wants_no_policies_gets_none() {
    let world = World::new().await;
    world.with_repository().await;
    let token = world.token(world.acme, Role::Operator).await;
    let wish = json!({ "folderId": world.acme, "skipDefaultPolicy": true });
    assert_eq!(world.post("/backup/v1/providers/p:activate", &token, wish).await.0, StatusCode::OK);
    let (_, body) = world.get(&format!("/backup/v1/policies?folderId={}", world.acme), &token).await;
    assert_eq!(body.get("policies"), None);
}

#[tokio::test]
async fn a_registration_token_stands_in_for_a_bearer_token_on_two_calls() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Operator).await;
    let id = world.registration(&token, world.acme, "COMPUTE").await["instanceRegistrationId"].clone();
    let id = id.as_str().expect("an id");
    let wish = json!({ "folderId": world.acme, "instanceRegistrationId": id });
    let (status, done) = world.post("/backup/v1/providers/p:activate", "", wish).await;
    assert_eq!((status, &done["createdBy"]), (StatusCode::OK, &json!("registration")));
    let list = |folder: Uuid, id: &str| format!("/backup/v1/providers?folderId={folder}&instanceRegistrationId={id}");
    let (status, body) = world.get(&list(world.acme, id), "").await;
    assert_eq!((status, &body["names"]), (StatusCode::OK, &json!(["backstay", "p"])));
    for (folder, id) in [(world.globex, id), (world.acme, "nonsense"), (world.acme, "")] {
        assert_eq!(world.get(&list(folder, id), "").await.0, StatusCode::UNAUTHORIZED, "{id}");
    }
    let path = format!("/backup/v1/resources?folderId={}&instanceRegistrationId={id}", world.acme);
    assert_eq!(world.get(&path, "").await.0, StatusCode::UNAUTHORIZED, "on these two only");
}

/// A world whose server hands out a small program.
async fn handing_out(program: PathBuf) -> World {
    let installer = Installer::new(program, "certificate".into(), "ab12".into());
    World::with(|service| service.handing_out(installer)).await
}

#[tokio::test]
async fn the_line_that_installs_an_agent_names_the_digest_of_what_it_fetches() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let program = folder.path().join("program");
    std::fs::write(&program, "the agent").expect("a file");
    let world = handing_out(program).await;
    let token = world.token(world.acme, Role::Operator).await;
    let ask = |kind: &str, policies: Value| {
        let wish = json!({ "folderId": world.acme, "type": kind, "policyIds": policies });
        let (world, token) = (&world, &token);
        async move { world.post("/backup/v1/setup/getAgentInstallCommand", token, wish).await }
    };
    let (status, body) = ask("AGENT_INSTALL_BASH_EXTERNAL_SERVER", json!([])).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let line = body["command"].as_str().expect("a line");
    let routes = server::installer::router(world.service.clone());
    let fetch = |path: String| {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let routes = routes.clone();
        async move {
            let response = tower::ServiceExt::oneshot(routes, request).await.expect("it answers");
            assert_eq!(response.status(), StatusCode::OK);
            axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body")
        }
    };
    let script = fetch("/install/agent.sh".into()).await;
    for part in [
        format!("https://{PUBLIC}/install/agent.sh"),
        server::service::hash_secret(std::str::from_utf8(&script).expect("text")),
        "--ca-fingerprint=ab12".into(),
        "--instance-registration-token=".into(),
        format!("--server='https://{PUBLIC}'"),
    ] {
        assert!(line.contains(&part), "'{part}' is missing: {line}");
    }
    assert!(line.contains("sudo sh") && !line.contains('\n'), "{line}");
    let script = String::from_utf8(script.to_vec()).expect("text");
    assert!(script.contains(&server::service::hash_secret("the agent")), "{script}");
    assert_eq!(fetch(Installer::program_path()).await, "the agent");
    assert_eq!(fetch("/install/ca.pem".into()).await, "certificate");

    let (status, body) = ask("AGENT_INSTALL_POWERSHELL_EXTERNAL_VM", json!([])).await;
    assert_eq!(
        (status, &body["details"][0]["violations"][0]["type"]),
        (StatusCode::BAD_REQUEST, &json!("NO_INSTALLER"))
    );
    let (status, _) = ask("AGENT_INSTALL_BASH_EXTERNAL_VM", json!([Uuid::max()])).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(ask("AGENT_INSTALL_COMMAND_TYPE_UNSPECIFIED", json!([])).await.0, StatusCode::BAD_REQUEST);

    world.with_repository().await;
    let branch = world.tenant_below(world.acme, "branch").await;
    let admin = world.token(world.acme, Role::Admin).await;
    let wish = json!({ "folderId": branch, "name": "theirs", "settings": super::estate::settings() });
    let (_, made) = world.post("/backup/v1/policies", &admin, wish).await;
    let (status, body) = ask("AGENT_INSTALL_BASH_EXTERNAL_VM", json!([made["metadata"]["policyId"]])).await;
    let unmet = &body["details"][0]["violations"][0];
    assert_eq!((status, &unmet["type"]), (StatusCode::BAD_REQUEST, &json!("FOREIGN_POLICY")), "{body}");
    assert_eq!(unmet["subject"], made["metadata"]["policyId"]);
}
