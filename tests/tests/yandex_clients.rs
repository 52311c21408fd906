//! Software written for Yandex Cloud Backup, against a real server with real files: the vendor's packages for Python and
//! Node as they are published, a client that knows only what reflection says, and `curl` (tests/clients/yandex).

use std::fs;
use std::path::{Path, PathBuf};

use acceptance::place::said;
use acceptance::{Machine, Place, Up, noise};
use api::client::ListQuery;
use serde_json::{Value, json};

/// The folder of the programs.
fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/yandex")
}

/// What `cargo xtask test` installed for them.
fn installed(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/clients").join(name);
    assert!(path.exists(), "{} is not there: run `cargo xtask test` once", path.display());
    path
}

/// A server that protects a folder, and what programs need to know of it.
struct Cloud<'p> {
    up: Up<'p>,
    endpoint: String,
    iam_token: String,
    instance: String,
    /// What `up` protects the folder with.
    policy: String,
}

impl<'p> Cloud<'p> {
    /// A server whose first backup is done.
    async fn start(place: &'p Place, data: &Path) -> Cloud<'p> {
        let up = place.up().protect(data).reached_as_localhost().start();
        let client = up.client();
        let resource = client.resources(&ListQuery::new()).await.expect("resources").items.remove(0);
        let policy = client.policies(&ListQuery::new()).await.expect("policies").items.remove(0);
        // Under its name, because clients connect to what they are told here.
        let (_, port) = up.ready().tls.rsplit_once(':').expect("an address with a port");
        let endpoint = format!("localhost:{port}");
        let mut cloud = Cloud {
            up,
            endpoint,
            iam_token: String::new(),
            instance: resource.instance_id,
            policy: policy.id.to_string(),
        };
        let key = json!({"yandexPassportOauthToken": cloud.up.ready().admin_token});
        let made = cloud.rest("POST", "/iam/v1/tokens", &key, 200);
        cloud.iam_token = made["iamToken"].as_str().expect("a token").to_owned();
        cloud
    }

    /// A second backup, so that lists have a second page.
    async fn back_up_again(&self) {
        let resource = self.up.client().resources(&ListQuery::new()).await.expect("resources").items.remove(0).id;
        let machine = Machine { resource, policy: self.policy.parse().expect("an id") };
        machine.back_up(&self.up).await;
    }

    fn folder(&self) -> String {
        self.up.ready().tenant_id.to_string()
    }

    /// What programs are told, in their environment.
    fn probe(&self) -> Value {
        json!({
            "endpoint": self.endpoint,
            "ca": self.up.ready().ca_file,
            "api_key": self.up.ready().admin_token,
            "iam_token": self.iam_token,
            "folder": self.folder(),
            "instance": self.instance,
            "policy": self.policy,
        })
    }

    /// A call over REST with `curl`: it is answered with this status.
    #[track_caller]
    fn rest(&self, method: &str, path: &str, body: &Value, status: u16) -> Value {
        let (url, token) =
            (format!("https://{}{path}", self.endpoint), format!("Authorization: Bearer {}", self.iam_token));
        let ca = self.up.ready().ca_file.to_str().expect("a path in UTF-8");
        let mut args = vec!["--cacert", ca, "--request", method, "--write-out", "\n%{http_code}"];
        if !self.iam_token.is_empty() {
            args.extend(["--header", &token]);
        }
        let body = body.to_string();
        if body != "null" {
            args.extend(["--data", &body]);
        }
        args.push(&url);
        let answer = self.up.place().curl(&args).good();
        let (text, code) = answer.out.rsplit_once('\n').expect("a status");
        assert_eq!(code, status.to_string(), "{method} {path}: {text}");
        serde_json::from_str(text).unwrap_or_else(|e| panic!("{method} {path}: no JSON ({e}): {text}"))
    }
}

#[tokio::test]
async fn the_vendors_package_for_python_works_unchanged() {
    let place = Place::new();
    let data = place.folder("data");
    fs::create_dir_all(data.join("sub/deeper")).expect("folders");
    fs::write(data.join("letter"), "Dear all\n").expect("a file");
    fs::write(data.join("sub/b\u{fc}cher, alt.txt"), "Moby Dick\n").expect("a file");
    fs::write(data.join("sub/deeper/noise"), noise(1, 3 << 20)).expect("a file");
    let cloud = Cloud::start(&place, &data).await;
    cloud.back_up_again().await;
    let key = place.path("key.json");
    for args in
        [&["client", "create", "sdk", "--role", "admin"][..], &["client", "key", "create", "sdk", "--file", "key.json"]]
    {
        assert_eq!(place.cli(args).code, Some(0), "{args:?}");
    }

    let mut probe = cloud.probe();
    probe["key_file"] = json!(key);
    probe["data"] = json!(data);
    probe["back"] = json!(place.folder("back"));
    let mut python = place.command(installed("bin/python"));
    python.env("PROBE", probe.to_string()).env("PYTHONDONTWRITEBYTECODE", "1").arg(programs().join("clients.py"));
    let ran = said(&mut python).good();
    assert_eq!(ran.out.lines().filter(|l| l.ends_with(": ok")).count(), 16, "{ran}");
}

#[tokio::test]
async fn the_vendors_package_for_node_works_unchanged() {
    let place = Place::new();
    let data = place.folder("data");
    fs::write(data.join("letter"), "Dear all\n").expect("a file");
    let cloud = Cloud::start(&place, &data).await;
    cloud.back_up_again().await;
    let mut node = place.command(installed("bin/node"));
    node.env("PROBE", cloud.probe().to_string()).env("NODE_PATH", installed("node_modules"));
    let ran = said(node.arg(programs().join("client.js"))).good();
    assert_eq!(ran.out, "2 tasks, 2 backups\n", "{ran}");
}

#[tokio::test]
async fn rest_answers_as_the_vendors_gateway_does() {
    let place = Place::new();
    let data = place.folder("data");
    fs::write(data.join("letter"), "Dear all\n").expect("a file");
    let cloud = Cloud::start(&place, &data).await;
    let (folder, instance, none) = (cloud.folder(), cloud.instance.clone(), Value::Null);

    // Names in both spellings, numbers as text, what is empty left out.
    let camel = cloud.rest("GET", &format!("/backup/v1/resources?folderId={folder}&pageSize=1"), &none, 200);
    let snake = cloud.rest("GET", &format!("/backup/v1/resources?folder_id={folder}&page_size=1&x=y"), &none, 200);
    assert_eq!(camel, snake);
    let machine = &camel["resources"][0];
    assert_eq!((&machine["computeInstanceId"], &machine["initStatus"]), (&json!(instance), &json!("REGISTRED")));
    assert_eq!(machine.get("statusProgress"), None, "{machine}");
    let tasks = cloud.rest("GET", &format!("/backup/v1/resources/{instance}/tasks?pageSize=1"), &none, 200);
    let task = &tasks["tasks"][0];
    assert!(task["id"].is_string() && task["progress"]["total"].is_string(), "{task}");
    assert_eq!((&task["status"], &task["resultCode"]), (&json!("COMPLETED"), &json!("OK")), "{task}");
    assert!(task["completedAt"].as_str().is_some_and(|t| t.ends_with('Z')), "{task}");

    // Refusals have the body of a status, with what is wrong and the request's id.
    let refused = cloud.rest("GET", "/backup/v1/resources", &none, 400);
    assert_eq!(refused["code"], json!(3));
    assert_eq!(refused["message"], json!("Request validation error: folder_id: Field is required"));
    let detail = &refused["details"][0];
    assert_eq!(detail["@type"], json!("type.googleapis.com/google.rpc.BadRequest"), "{refused}");
    assert_eq!(detail["fieldViolations"][0]["field"], json!("folder_id"), "{refused}");
    assert!(refused["details"][1]["requestId"].is_string(), "{refused}");
    assert_eq!(cloud.rest("GET", "/backup/v1/policies/unknown", &none, 404)["code"], json!(5));
    assert_eq!(cloud.rest("PUT", "/backup/v1/policies/unknown", &none, 404)["code"], json!(5));

    // A policy with everything in it is answered as it was sent; number or name, text or number.
    let text = fs::read_to_string(programs().join("policy.json")).expect("a policy");
    let mut body: Value = serde_json::from_str(&text).expect("JSON");
    body["folderId"] = json!(folder);
    let made = cloud.rest("POST", "/backup/v1/policies", &body, 200);
    assert_eq!(made["done"], json!(true), "{made}");
    assert_eq!(made["metadata"]["@type"], json!("type.googleapis.com/yandex.cloud.backup.v1.CreatePolicyMetadata"));
    let policy = made["metadata"]["policyId"].as_str().expect("an id").to_owned();
    let path = format!("/backup/v1/policies/{policy}");
    let mut expected = body["settings"].clone();
    // An empty list is not told from none.
    expected["fileFilters"] = json!({"exclusionMasks": ["*.tmp"]});
    assert_eq!(made["response"]["@type"], json!("type.googleapis.com/yandex.cloud.backup.v1.Policy"));
    assert_eq!(made["response"]["settings"], expected);
    let mut other = body["settings"].clone();
    other["compression"] = json!(2);
    other["reattempts"]["max_attempts"] = json!(5);
    other["reattempts"].as_object_mut().expect("an object").remove("maxAttempts");
    other["unknown"] = json!({});
    other["prePostCommands"] = json!([]);
    expected.as_object_mut().expect("an object").remove("prePostCommands");
    let changed = cloud.rest("PATCH", &path, &json!({"settings": other}), 200);
    assert_eq!(changed["response"]["settings"], expected);
    assert_eq!(cloud.rest("GET", &path, &none, 200)["settings"], expected);

    // Verbs behind a colon, and operations as they go on.
    let on = json!({"computeInstanceId": instance});
    let applied = cloud.rest("POST", &format!("{path}:apply"), &on, 200);
    assert_eq!(applied["response"], json!({"@type": "type.googleapis.com/google.protobuf.Empty"}), "{applied}");
    let run = cloud.rest("POST", &format!("{path}:execute"), &json!({"compute_instance_id": instance}), 200);
    assert_eq!(run["description"], json!("execute policy"));
    assert_eq!(run["metadata"]["@type"], json!("type.googleapis.com/yandex.cloud.backup.v1.ExecuteMetadata"));
    assert_eq!(run["metadata"]["computeInstanceId"], json!(instance));
    let operation = format!("/operations/{}", run["id"].as_str().expect("an id"));
    let done = acceptance::until("the run is done", async || {
        let now = cloud.rest("GET", &operation, &none, 200);
        (now["done"] == json!(true)).then_some(now)
    })
    .await;
    assert_eq!(done["response"], json!({"@type": "type.googleapis.com/google.protobuf.Empty"}), "{done}");
    assert_eq!(done["metadata"]["progressPercentage"].as_f64(), Some(100.0), "{done}");
    for verb in ["GET", "POST"] {
        assert_eq!(cloud.rest(verb, &format!("{operation}:cancel"), &none, 200), done, "it is over");
    }

    // What the vendor has over gRPC alone has a route here.
    let backups = cloud.rest("GET", &format!("/backup/v1/backups?computeInstanceId={instance}"), &none, 200);
    let backup = backups["backups"][0]["id"].as_str().expect("an id").to_owned();
    let files = cloud.rest("GET", &format!("/backup/v1/backups/{backup}/files?folderId={folder}"), &none, 200);
    assert_eq!(files["files"][0]["fullPath"], json!(data), "{files}");
    let source = json!({
        "computeInstanceId": instance, "sourceIds": [files["files"][0]["id"]],
        "opts": {"custom": {"path": place.path("back")}},
    });
    let started = cloud.rest("POST", &format!("/backup/v1/backups/{backup}:startFilesRecovery"), &source, 200);
    let operation = format!("/operations/{}", started["id"].as_str().expect("an id"));
    acceptance::until("the files are back", async || {
        (cloud.rest("GET", &operation, &none, 200)["done"] == json!(true)).then_some(())
    })
    .await;
    assert_eq!(fs::read_to_string(place.path("back/letter")).expect("a file"), "Dear all\n");
    for route in [
        format!("/backup/v1/resources/{instance}/operations"),
        format!("/backup/v1/resources/{instance}/directory?folderId={folder}&path=/"),
        format!("/backup/v1/backups/{instance}/archives"),
        format!("/backup/v1/archives?folderId={folder}"),
        format!("/backup/v1/applications?folderId={folder}"),
        format!("{path}/applications"),
        format!("/backup/v1/providers?folderId={folder}"),
        "/endpoints".to_owned(),
    ] {
        assert_ne!(cloud.rest("GET", &route, &none, 200), json!({}), "{route}");
    }

    // Taken away, it is unknown; and so is a token that was revoked.
    assert_eq!(cloud.rest("DELETE", &path, &none, 200)["done"], json!(true));
    assert_eq!(cloud.rest("GET", &path, &none, 404)["code"], json!(5));
    cloud.rest("POST", "/iam/v1/tokens:revoke", &json!({"iamToken": cloud.iam_token}), 200);
    assert_eq!(cloud.rest("GET", &path, &none, 401)["code"], json!(16));
}
