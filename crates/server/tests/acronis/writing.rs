//! What issuers do: create tasks, cancel them, answer blockers (contract, section 11, D43, D44, D64 to D67, D70).

use axum::body::Body;
use axum::http::{Method, StatusCode};
use domain::{Role, Uuid};
use serde_json::{Value, json};

use crate::shape::{API, as_refusal, refused};
use crate::world::{Answer, PASSWORD, TOKEN, World, bearer, request};

/// A world with a token for each part.
pub(crate) struct Desk {
    pub(crate) world: World,
    pub(crate) issuer: String,
    pub(crate) consumer: String,
    pub(crate) viewer: String,
}

impl Desk {
    pub(crate) async fn new() -> Desk {
        let world = World::new().await;
        let issuer = world.bearer(world.acme, Role::Issuer).await;
        let consumer = world.bearer(world.acme, Role::Consumer).await;
        let viewer = world.bearer(world.acme, Role::Viewer).await;
        Desk { world, issuer, consumer, viewer }
    }

    /// A task that is asked for.
    pub(crate) async fn post(&self, body: Value) -> Answer {
        self.world.post(&format!("{API}/tasks"), &self.issuer, body).await
    }

    /// A task that is made, as it is shown then.
    pub(crate) async fn create(&self, body: Value) -> Value {
        let (status, _, shown) = self.post(body).await;
        assert_eq!(status, StatusCode::CREATED, "{shown}");
        shown
    }

    /// A task as it is now.
    pub(crate) async fn task(&self, id: &Value) -> Value {
        let (status, _, body) = self.world.get(&format!("{API}/tasks/{id}"), &self.viewer).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    /// A call of an issuer on a task.
    pub(crate) async fn decide(&self, id: &Value, call: &str, body: Value) -> Answer {
        self.world.put(&format!("{API}/tasks/{id}/{call}"), &self.issuer, body).await
    }

    /// What a consumer takes, as much as there is of it.
    pub(crate) async fn take(&self, wish: Value) -> Vec<Value> {
        let (status, _, body) = self.world.post(&format!("{API}/tasks/assign"), &self.consumer, wish).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let items = body["items"].as_array().expect("a list").clone();
        assert_eq!(body, json!({ "items": items, "size": items.len() }));
        items
    }

    /// The next task of a queue.
    pub(crate) async fn take_one(&self, queue: &str) -> Value {
        let mut taken = self.take(json!({ "queues": [queue], "consumer": { "id": "e-1" } })).await;
        taken.pop().expect("a task waits")
    }

    /// A report under a lease: `tasks/1/started`, `activities/2/progress`.
    pub(crate) async fn report(&self, lease: &Value, place: &str, body: Value) -> Answer {
        let method = if place == "activities" { Method::POST } else { Method::PUT };
        let request = request(method, &format!("{API}/{place}"), &self.consumer);
        let request = request.header("task-lease", lease.as_str().expect("a lease"));
        let request = match body.is_null() {
            true => request.body(Body::empty()),
            false => request.header("content-type", "application/json").body(Body::from(body.to_string())),
        };
        self.world.send(request.expect("a request")).await
    }

    /// A report that is taken.
    pub(crate) async fn reported(&self, lease: &Value, place: &str, body: Value) -> Value {
        let (status, _, shown) = self.report(lease, place, body).await;
        assert_eq!(
            status,
            if place == "activities" { StatusCode::CREATED } else { StatusCode::OK },
            "{place}: {shown}"
        );
        shown
    }

    /// A new task of a queue in an executor's hands, begun: its id and its lease.
    pub(crate) async fn begun(&self, mut wish: Value) -> (Value, Value) {
        let queue = wish["queue"].as_str().expect("a queue").to_owned();
        if wish.get("ackTimeout").is_none() {
            // No test depends on how fast the machine is.
            wish["ackTimeout"] = json!("1h");
        }
        self.create(wish).await;
        let taken = self.take_one(&queue).await;
        let (id, lease) = (taken["id"].clone(), taken["lease"].clone());
        self.reported(&lease, &format!("tasks/{id}/started"), Value::Null).await;
        (id, lease)
    }
}

#[tokio::test]
async fn a_task_is_created_with_all_that_an_issuer_may_say() {
    // D67, 8.2
    let desk = Desk::new().await;
    let uuid = Uuid::now_v7();
    let wish = json!({
        "uuid": uuid.to_string().to_uppercase(),
        "type": "policy.apply",
        "queue": "q",
        "priority": "aboveNormal",
        "tenant": { "uuid": desk.world.acme_east },
        "affinity": { "agentId": "e-1", "clusterId": "c-1" },
        "policy": { "id": "p-1", "type": "backup", "name": "Nightly" },
        "resource": { "id": "r-1", "type": "machine", "name": "srv-01" },
        "startedByUser": "cinema",
        "workflowId": "7",
        "tags": ["a", "b"],
        "context": { "title": "as sent", "n": null },
        "argument": ["any", { "json": 1 }],
        "cancellable": true,
        "sustainable": true,
        "maxAssignCount": 3,
        "heartBeatInterval": "90s",
        "ackTimeout": "1.5m",
        "queueTimeout": "0s",
        "execTimeout": "1h25m43s",
        "lifeTime": "48h",
    });
    let (status, headers, shown) = desk.post(wish.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{shown}");
    let place = headers["location"].to_str().expect("text").to_owned();
    assert_eq!(place, format!("{API}/tasks/{}", shown["id"]));
    for name in [
        "type",
        "queue",
        "priority",
        "affinity",
        "policy",
        "resource",
        "startedByUser",
        "tags",
        "argument",
        "cancellable",
        "sustainable",
        "maxAssignCount",
        "execTimeout",
        "lifeTime",
    ] {
        assert_eq!(shown[name], if name == "lifeTime" { json!("48h") } else { wish[name].clone() }, "{name}");
    }
    assert_eq!((&shown["uuid"], &shown["workflowId"]), (&json!(uuid), &json!(7)));
    // D41
    assert_eq!((&shown["heartBeatInterval"], &shown["ackTimeout"]), (&json!("1m30s"), &json!("1m30s")));
    assert_eq!(shown.get("queueTimeout"), None);
    assert_eq!(shown["tenant"]["uuid"], json!(desk.world.acme_east));
    assert_eq!((&shown["context"]["title"], &shown["context"]["n"]), (&json!("as sent"), &Value::Null));
    // What the server makes of it.
    assert_eq!((&shown["state"], &shown["assignCount"]), (&json!("enqueued"), &json!(0)));
    assert_eq!((&shown["cancelRequested"], shown.get("executor")), (&json!(false), None));
    assert_eq!(shown["enqueuedAt"], shown["updatedAt"]);
    let (_, _, read) = desk.world.get(&place, &desk.viewer).await;
    assert_eq!(read, shown);
    // D42, D67: what is left out.
    let shown = desk.create(json!({ "type": "index", "queue": "q" })).await;
    for (name, value) in [
        ("priority", json!("normal")),
        ("cancellable", json!(false)),
        ("sustainable", json!(false)),
        ("maxAssignCount", json!(1)),
        ("ackTimeout", json!("5s")),
        ("issuer", json!({ "id": "", "clusterId": "" })),
    ] {
        assert_eq!(shown[name], value, "{name}");
    }
    assert_eq!(shown["tenant"]["uuid"], json!(desk.world.acme));
    let own = Uuid::parse_str(shown["uuid"].as_str().expect("a uuid")).expect("a uuid");
    assert_eq!(own.get_version_num(), 7);
    for name in ["heartBeatInterval", "queueTimeout", "execTimeout", "lifeTime", "affinity", "policy", "resource"] {
        assert_eq!(shown.get(name), None, "{name}");
    }
}

#[tokio::test]
async fn the_same_wish_again_is_the_same_task_and_another_one_is_refused() {
    // D67
    let desk = Desk::new().await;
    let wish = json!({
        "uuid": Uuid::now_v7(), "type": "index", "queue": "q", "tags": ["a"], "context": { "a": [1] },
        "heartBeatInterval": "60s",
    });
    let first = desk.create(wish.clone()).await;
    let (status, headers, again) = desk.post(wish.clone()).await;
    assert_eq!((status, &again), (StatusCode::OK, &first));
    assert_eq!(headers["location"], format!("{API}/tasks/{}", first["id"]));
    // In other words.
    let mut same = wish.clone();
    same["uuid"] = json!(wish["uuid"].as_str().expect("text").to_uppercase());
    same["heartBeatInterval"] = json!("1m");
    same["priority"] = json!("normal");
    same["tenant"] = json!({ "uuid": desk.world.acme });
    assert_eq!(desk.post(same).await.0, StatusCode::OK);
    for (name, value) in [
        ("type", json!("scan")),
        ("queue", json!("q2")),
        ("priority", json!("high")),
        ("tags", json!([])),
        ("context", json!({ "a": [1, 2] })),
        ("argument", json!(0)),
        ("heartBeatInterval", json!("61s")),
        ("maxAssignCount", json!(2)),
        ("startedByUser", json!("cinema")),
        ("tenant", json!({ "uuid": desk.world.acme_east })),
        ("resource", json!({ "id": "r-1" })),
    ] {
        let mut other = wish.clone();
        other[name] = value;
        let answer = desk.post(other).await;
        assert_eq!(refused(&answer, name), as_refusal(409, "alreadyExists"), "{name}");
        assert_eq!(answer.2["context"]["parameter"], "uuid", "{name}");
    }
    // Also when it is long over.
    desk.decide(&first["id"], "cancel", Value::Null).await;
    let (status, _, again) = desk.post(wish.clone()).await;
    assert_eq!((status, &again["id"], &again["state"]), (StatusCode::OK, &first["id"], &json!("completed")));
    // Somebody else's wish is another one, and of a stranger nothing is told.
    let other = desk.world.access(desk.world.acme, &[Role::Issuer]).await;
    let answer = desk.world.post(&format!("{API}/tasks"), &other, wish.clone()).await;
    assert_eq!(refused(&answer, "another issuer"), as_refusal(409, "alreadyExists"));
    let stranger = desk.world.bearer(desk.world.globex, Role::Issuer).await;
    let answer = desk.world.post(&format!("{API}/tasks"), &stranger, wish).await;
    assert_eq!(refused(&answer, "a stranger"), as_refusal(409, "alreadyExists"));
    assert!(!answer.2.to_string().contains("acme"));
}

#[tokio::test]
async fn a_body_says_only_what_an_issuer_may_say() {
    // Section 11, D70
    let desk = Desk::new().await;
    let right = json!({ "type": "index", "queue": "q" });
    for made in [
        "id",
        "idString",
        "state",
        "issuer",
        "executor",
        "progress",
        "result",
        "blockers",
        "cancelRequested",
        "assignCount",
        "enqueuedAt",
        "assignedAt",
        "startedAt",
        "completedAt",
        "updatedAt",
        "deletedAt",
    ] {
        let mut body = right.clone();
        body[made] = json!(1);
        let answer = desk.post(body).await;
        assert_eq!(refused(&answer, made), as_refusal(400, "readOnlyField"), "{made}");
        assert_eq!(answer.2["context"]["parameter"], made);
    }
    let long = |n: usize| "x".repeat(n);
    let big = json!({ "a": "x".repeat(256 * 1024) });
    for (name, value, code, parameter) in [
        ("queu", json!("q"), "invalidBody", "queu"),
        ("heartbeatInterval", json!("10s"), "invalidBody", "heartbeatInterval"),
        ("tenant", json!({ "uuid": desk.world.acme, "name": "acme" }), "readOnlyField", "tenant.name"),
        ("tenant", json!({ "uuid": desk.world.acme, "id": 2 }), "invalidParameter", "tenant"),
        ("tenant", json!({}), "invalidParameter", "tenant"),
        ("tenant", json!("acme"), "invalidBody", "tenant"),
        ("type", json!(""), "invalidParameter", "type"),
        ("type", json!(null), "invalidBody", "type"),
        ("type", json!(long(65)), "invalidParameter", "type"),
        ("queue", json!(long(65)), "invalidParameter", "queue"),
        ("queue", json!(7), "invalidBody", "queue"),
        ("uuid", json!("1"), "invalidParameter", "uuid"),
        ("priority", json!("urgent"), "invalidParameter", "priority"),
        ("priority", json!("below_normal"), "invalidParameter", "priority"),
        ("startedByUser", json!(long(257)), "invalidParameter", "startedByUser"),
        ("resource", json!({ "name": "srv-01" }), "invalidBody", "resource.id"),
        ("resource", json!({ "id": long(65) }), "invalidParameter", "resource.id"),
        ("policy", json!({ "id": "p", "name": long(257) }), "invalidParameter", "policy.name"),
        ("policy", json!({ "id": "p", "kind": "backup" }), "invalidBody", "policy.kind"),
        ("affinity", json!({ "agentId": long(65) }), "invalidParameter", "affinity.agentId"),
        ("tags", json!([long(65)]), "invalidParameter", "tags"),
        ("tags", json!(vec!["t"; 33]), "invalidParameter", "tags"),
        ("tags", json!("t"), "invalidBody", "tags"),
        ("workflowId", json!(1.5), "invalidBody", "workflowId"),
        ("context", big.clone(), "invalidParameter", "context"),
        ("argument", big, "invalidParameter", "argument"),
        ("maxAssignCount", json!(0), "invalidParameter", "maxAssignCount"),
        ("maxAssignCount", json!(1001), "invalidParameter", "maxAssignCount"),
        ("cancellable", json!(true), "invalidParameter", "cancellable"),
        ("cancellable", json!("true"), "invalidBody", "cancellable"),
        ("ackTimeout", json!("-1s"), "invalidParameter", "ackTimeout"),
        ("lifeTime", json!("1 day"), "invalidParameter", "lifeTime"),
        ("execTimeout", json!(5), "invalidBody", "execTimeout"),
    ] {
        let mut body = right.clone();
        body[name] = value;
        let shown = body.to_string();
        let what: String = shown.chars().take(100).collect();
        let answer = desk.post(body).await;
        assert_eq!(refused(&answer, &what), as_refusal(400, code), "{what}");
        assert_eq!(answer.2["context"]["parameter"], parameter, "{what}: {}", answer.2);
    }
    for missing in ["type", "queue"] {
        let mut body = right.clone();
        body.as_object_mut().expect("an object").remove(missing);
        let answer = desk.post(body).await;
        assert_eq!(refused(&answer, missing), as_refusal(400, "invalidBody"));
        assert_eq!(answer.2["context"]["parameter"], missing);
    }
    // Up to the limits it is taken.
    let most = json!({
        "type": long(64), "queue": long(64), "startedByUser": long(256), "tags": vec![long(64); 32],
        "resource": { "id": long(64), "type": long(64), "name": long(256) }, "maxAssignCount": 1000,
        "context": { "a": "x".repeat(256 * 1024 - 8) }, "argument": "x".repeat(256 * 1024 - 2),
    });
    desk.create(most).await;
    // Nothing of what was refused was made.
    let (_, _, all) = desk.world.get(&format!("{API}/tasks?lod=count"), &desk.viewer).await;
    assert_eq!(all["count"], 1);
}

#[tokio::test]
async fn a_task_belongs_to_a_tenant_that_the_token_sees() {
    // D12, D67
    let desk = Desk::new().await;
    let Desk { world, .. } = &desk;
    let (acme, east) = (world.tenant(world.acme).await, world.tenant(world.acme_east).await);
    let globex = world.tenant(world.globex).await;
    for (named, owner) in [
        (json!({ "uuid": acme.id }), &acme),
        (json!({ "id": acme.number }), &acme),
        (json!({ "id": acme.number.to_string() }), &acme),
        (json!({ "uuid": east.id.to_string().to_uppercase() }), &east),
        (json!({ "id": east.number }), &east),
    ] {
        let shown = desk.create(json!({ "type": "index", "queue": "q", "tenant": named })).await;
        let wanted = json!({
            "id": owner.number.to_string(), "uuid": owner.id, "name": owner.name, "locator": owner.locator,
        });
        assert_eq!(shown["tenant"], wanted);
    }
    // One that is not seen and one that is not there are the same.
    for named in [
        json!({ "uuid": globex.id }),
        json!({ "id": globex.number }),
        json!({ "uuid": Uuid::nil() }),
        json!({ "id": 1 }),
        json!({ "uuid": Uuid::from_u128(7) }),
        json!({ "id": 4711 }),
    ] {
        let answer = desk.post(json!({ "type": "index", "queue": "q", "tenant": named })).await;
        assert_eq!(refused(&answer, "a foreign tenant"), as_refusal(403, "forbidden"), "{named}");
        assert_eq!(answer.2["context"]["parameter"], "tenant", "{named}");
    }
}

#[tokio::test]
async fn the_issuer_and_who_began_it_follow_from_the_token() {
    // D43, D44
    let desk = Desk::new().await;
    let Desk { world, .. } = &desk;
    let client = world.client(world.acme, &[Role::Issuer]).await;
    world.user(world.acme, "ops@example.com", &[Role::Operator]).await;
    let by_password = [("grant_type", "password"), ("username", "ops@example.com"), ("password", PASSWORD)];
    let access = async |auth: &str, parameters: &[(&str, &str)]| {
        let (_, _, body) = world.form(TOKEN, auth, parameters).await;
        bearer(body["access_token"].as_str().expect("a token"))
    };
    let of_client = access(&client.basic(), &[("grant_type", "client_credentials")]).await;
    let of_user = access("", &by_password).await;
    for (auth, issuer, by) in [
        (&desk.issuer, String::new(), "issuer of acme"),
        (&of_client, client.id.to_string(), "nightly reports"),
        (&of_user, String::new(), "ops@example.com"),
    ] {
        let wish = json!({ "type": "index", "queue": "q" });
        let (status, _, shown) = world.post(&format!("{API}/tasks"), auth, wish).await;
        assert_eq!(status, StatusCode::CREATED, "{shown}");
        assert_eq!(shown["issuer"], json!({ "id": issuer, "clusterId": "" }));
        assert_eq!(shown["startedByUser"], by);
        let wish = json!({ "type": "index", "queue": "q", "startedByUser": "cinema" });
        let (_, _, shown) = world.post(&format!("{API}/tasks"), auth, wish).await;
        assert_eq!((&shown["issuer"]["id"], &shown["startedByUser"]), (&json!(issuer), &json!("cinema")));
    }
}

#[tokio::test]
async fn cancelling_ends_what_waits_and_asks_what_runs() {
    // D65
    let desk = Desk::new().await;
    // Cancellable or not.
    for more in [json!({}), json!({ "cancellable": true, "heartBeatInterval": "1h" })] {
        let mut wish = json!({ "type": "index", "queue": "q" });
        wish.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let id = desk.create(wish).await["id"].clone();
        let (status, _, shown) = desk.decide(&id, "cancel", Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{shown}");
        let members: Vec<&str> = shown.as_object().expect("an object").keys().map(String::as_str).collect();
        // D69
        let wanted = ["assignCount", "blockers", "cancelRequested", "id", "idString", "state", "updatedAt"];
        assert_eq!(members, wanted);
        assert_eq!((&shown["id"], &shown["state"]), (&id, &json!("completed")));
        let task = desk.task(&id).await;
        let error = &task["result"]["error"];
        assert_eq!(task["result"]["code"], "cancelled");
        // D58: who, what, and when by `completedAt`.
        assert_eq!((&error["domain"], &error["code"]), (&json!("TaskManager"), &json!("cancelRequested")));
        assert!(error["message"].as_str().is_some_and(|m| m.contains("issuer of acme")), "{error}");
        // The answer may have been lost.
        let (status, _, again) = desk.decide(&id, "cancel", json!({})).await;
        assert_eq!((status, again), (StatusCode::OK, shown));
        assert_eq!(desk.task(&id).await, task);
        assert!(desk.take(json!({ "queues": ["q"], "consumer": { "id": "e" } })).await.is_empty());
    }
    // A running one that allows it: its executor is told in every answer, and says what really happened.
    let wish = json!({ "type": "index", "queue": "q", "cancellable": true, "heartBeatInterval": "1h" });
    for (code, last) in [("cancelled", 200), ("ok", 409)] {
        let (id, lease) = desk.begun(wish.clone()).await;
        let before = desk.reported(&lease, &format!("tasks/{id}/heartbeat"), Value::Null).await;
        assert_eq!(before["cancelRequested"], false);
        let (status, _, shown) = desk.decide(&id, "cancel", Value::Null).await;
        assert_eq!(
            (status, &shown["state"], &shown["cancelRequested"]),
            (StatusCode::OK, &json!("started"), &json!(true))
        );
        let (status, _, again) = desk.decide(&id, "cancel", Value::Null).await;
        assert_eq!((status, &again["updatedAt"]), (StatusCode::OK, &shown["updatedAt"]), "repeating changes nothing");
        for (call, body) in [("heartbeat", Value::Null), ("progress", json!({ "total": 2 })), ("paused", json!({}))] {
            let shown = desk.reported(&lease, &format!("tasks/{id}/{call}"), body).await;
            assert_eq!(shown["cancelRequested"], true, "{call}");
        }
        let done = json!({ "result": { "code": code } });
        desk.reported(&lease, &format!("tasks/{id}/completed"), done).await;
        let task = desk.task(&id).await;
        assert_eq!((&task["result"]["code"], &task["cancelRequested"]), (&json!(code), &json!(true)));
        // What came too late is told.
        let answer = desk.decide(&id, "cancel", Value::Null).await;
        assert_eq!(answer.0.as_u16(), last, "{}", answer.2);
        if last == 409 {
            assert_eq!(refused(&answer, "too late"), as_refusal(409, "alreadyCompleted"));
        }
    }
    // One that does not, from when it is handed out.
    desk.create(json!({ "type": "index", "queue": "q2", "ackTimeout": "1h" })).await;
    let taken = desk.take_one("q2").await;
    let (id, lease) = (&taken["id"], &taken["lease"]);
    assert_eq!(refused(&desk.decide(id, "cancel", Value::Null).await, "assigned"), as_refusal(409, "notCancellable"));
    desk.reported(lease, &format!("tasks/{id}/started"), Value::Null).await;
    assert_eq!(refused(&desk.decide(id, "cancel", Value::Null).await, "started"), as_refusal(409, "notCancellable"));
    assert_eq!(desk.task(id).await["cancelRequested"], false);
    desk.reported(lease, &format!("tasks/{id}/completed"), json!({ "result": { "code": "ok" } })).await;
    assert_eq!(refused(&desk.decide(id, "cancel", Value::Null).await, "done"), as_refusal(409, "alreadyCompleted"));
}

#[tokio::test]
async fn a_blocker_is_asked_answered_and_read() {
    // D64, 8.4
    let desk = Desk::new().await;
    let (id, lease) = desk.begun(json!({ "type": "index", "queue": "q" })).await;
    let step = desk.reported(&lease, "activities", json!({ "taskId": id, "type": "copy", "state": "started" })).await;
    let uuid = Uuid::now_v7();
    let blockers = json!({ "blockers": [
        {
            "uuid": uuid.to_string().to_uppercase(),
            "activityId": step["idString"],
            "issue": { "key": "no.space", "context": { "free": 0 } },
            "possibleSolutions": [{ "key": "retry" }, { "key": "ignore", "context": { "until": "morning" } }],
        },
        { "issue": { "key": "say.something" } },
    ] });
    let shown = desk.reported(&lease, &format!("tasks/{id}/paused"), blockers.clone()).await;
    assert_eq!(shown["state"], "paused");
    let task = desk.task(&id).await;
    assert_eq!(task["blockers"], shown["blockers"]);
    let (first, second) = (&task["blockers"][0], &task["blockers"][1]);
    let wanted = json!({
        "id": 1, "uuid": uuid, "taskId": id, "activityId": step["id"], "tenant": task["tenant"],
        "issue": { "key": "no.space", "context": { "free": 0 } },
        "possibleSolutions": [{ "key": "retry" }, { "key": "ignore", "context": { "until": "morning" } }],
    });
    assert_eq!(*first, wanted);
    assert_eq!((&second["id"], second.get("possibleSolutions"), second.get("activityId")), (&json!(2), None, None));
    // The same report again asks nothing twice.
    let first_only = json!({ "blockers": [blockers["blockers"][0]] });
    let again = desk.reported(&lease, &format!("tasks/{id}/paused"), first_only).await;
    assert_eq!(again["blockers"].as_array().map(Vec::len), Some(2));
    // What is no answer.
    let solve =
        async |blocker: &str, body: Value| desk.decide(&id, &format!("blockers/{blocker}/solution"), body).await;
    let answer = solve("1", json!({ "key": "shout" })).await;
    assert_eq!(refused(&answer, "none of those"), as_refusal(400, "invalidParameter"));
    assert_eq!(answer.2["context"]["parameter"], "key");
    for (blocker, body, status, code) in [
        ("1", json!({}), 400, "invalidBody"),
        ("1", json!({ "key": "" }), 400, "invalidParameter"),
        ("1", json!({ "key": "retry", "uuid": uuid }), 400, "invalidBody"),
        ("0", json!({ "key": "retry" }), 404, "notFound"),
        ("3", json!({ "key": "retry" }), 404, "notFound"),
        (&Uuid::now_v7().to_string(), json!({ "key": "retry" }), 404, "notFound"),
    ] {
        assert_eq!(refused(&solve(blocker, body).await, blocker), as_refusal(status, code), "{blocker}");
    }
    // By uuid; the same again; another one.
    let by_uuid = uuid.to_string().to_uppercase();
    let retry = json!({ "key": "retry", "context": { "by": "cinema" } });
    let (status, _, shown) = solve(&by_uuid, retry.clone()).await;
    assert_eq!((status, &shown["blockers"][0]["solution"]), (StatusCode::OK, &retry));
    assert_eq!(solve("1", retry.clone()).await.0, StatusCode::OK);
    assert_eq!(refused(&solve("1", json!({ "key": "ignore" })).await, "another"), as_refusal(409, "stateConflict"));
    // Where nothing is offered, anything may be answered.
    assert_eq!(solve("2", json!({ "key": "something" })).await.0, StatusCode::OK);
    // The consumer reads it in the answer to its next report, and goes on.
    let shown = desk.reported(&lease, &format!("tasks/{id}/heartbeat"), Value::Null).await;
    assert_eq!((&shown["state"], &shown["blockers"][0]["solution"]), (&json!("paused"), &retry));
    let shown = desk.reported(&lease, &format!("tasks/{id}/resumed"), Value::Null).await;
    assert_eq!((&shown["state"], shown["blockers"].as_array().map(Vec::len)), (&json!("started"), Some(2)));
    // Listed until the end, and not behind it.
    desk.reported(&lease, &format!("tasks/{id}/completed"), json!({ "result": { "code": "ok" } })).await;
    assert_eq!(desk.task(&id).await.get("blockers"), None);
    let late = solve("1", retry).await;
    assert_eq!(refused(&late, "too late"), as_refusal(409, "alreadyCompleted"));
}
