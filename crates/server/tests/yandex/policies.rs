//! Policies through this dialect: written and read back, applied, run, taken away; and the operations that answer.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use domain::policy::{Retention, Schedule, Settings};
use domain::{Role, Uuid};
use serde_json::{Value, json};
use server::service::{NewPolicy, PolicyChange};

use super::estate::{Estate, MACHINE, hello, settings};

/// What an operation is about, in its type.
fn metadata(kind: &str, more: Value) -> Value {
    let mut metadata = json!({ "@type": format!("type.googleapis.com/yandex.cloud.backup.v1.{kind}") });
    metadata.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    metadata
}

fn empty() -> Value {
    json!({ "@type": "type.googleapis.com/google.protobuf.Empty" })
}

#[tokio::test]
async fn settings_come_back_as_they_were_written() {
    let estate = Estate::new().await;
    let made = estate.send(Method::POST, "/backup/v1/policies", estate.wish("nightly", settings())).await;
    let id = made["metadata"]["policyId"].as_str().expect("an id").to_owned();
    assert_eq!((&made["done"], &made["description"]), (&json!(true), &json!("create policy")));
    assert_eq!(made["metadata"], metadata("CreatePolicyMetadata", json!({ "policyId": id })));
    let policy = estate.get(&format!("/backup/v1/policies/{id}")).await;
    assert_eq!(policy["settings"], settings());
    assert_eq!((&policy["name"], &policy["folderId"]), (&json!("nightly"), &json!(estate.folder)));
    assert_eq!(policy["enabled"], true);
    let mut response = policy.clone();
    response["@type"] = json!("type.googleapis.com/yandex.cloud.backup.v1.Policy");
    assert_eq!(made["response"], response);
    assert_eq!(estate.operation(&made).await, made, "it can be asked for again");

    // What Terraform sends when nothing is said.
    let plain = json!({
        "compression": "NORMAL", "format": "AUTO", "multiVolumeSnapshottingEnabled": true, "silentModeEnabled": true,
        "fastBackupEnabled": true, "cbt": "DO_NOT_USE", "splitting": {"size": "9223372036854775807"},
        "reattempts": {"enabled": true, "interval": {"type": "MINUTES", "count": "5"}, "maxAttempts": "5"},
        "vmSnapshotReattempts": {"enabled": true, "interval": {"type": "MINUTES", "count": "5"}, "maxAttempts": "5"},
        "vss": {"enabled": true, "provider": "NATIVE"}, "performanceWindow": {}, "retention": {},
        "archive": {"name": "[Machine Name]-[Plan ID]-[Unique ID]a"},
        "scheduling": {
            "backupSets": [{"type": "TYPE_AUTO", "sinceLastExecTime": {"delay": {"type": "SECONDS", "count": "60"}}}],
            "enabled": true, "randMaxDelay": {"type": "MINUTES", "count": "30"}, "scheme": "ALWAYS_INCREMENTAL",
            "weeklyBackupDay": "MONDAY"
        }
    });
    let path = format!("/backup/v1/policies/{id}");
    let changed = estate.send(Method::PATCH, &path, json!({ "settings": plain })).await;
    assert_eq!(changed["metadata"], metadata("UpdatePolicyMetadata", json!({ "policyId": id })));
    let everything = domain::Scope::everything();
    let filter = domain::query::Filter::all();
    let record = estate.world.ledger.all::<domain::audit::AuditEntry>(&everything, filter).await.expect("the record");
    let entry = record.iter().find(|e| e.value.action == "UpdatePolicy").expect("it is on record");
    let compression = |when: &str| entry.value.detail[when]["settings"]["compression"].clone();
    assert_eq!((compression("before"), compression("after")), (json!("better"), Value::Null));
    let policy = estate.get(&path).await;
    assert_eq!(policy["settings"], plain, "the whole is replaced, and 60 seconds stay 60 seconds");
    assert_eq!(changed["response"]["updatedAt"], policy["updatedAt"], "the answer is the policy as it is stored");
    assert_eq!(estate.operation(&made).await, made, "an earlier answer stays as it was");
    let listed = estate.get(&format!("/backup/v1/policies?folderId={}", estate.folder)).await;
    assert_eq!(listed, json!({ "policies": [policy] }));

    let gone = estate.send(Method::DELETE, &path, Value::Null).await;
    assert_eq!((&gone["done"], &gone["response"]), (&json!(true), &empty()));
    assert_eq!(estate.refused(Method::GET, &path, Value::Null).await.0, 5);
    assert_eq!(estate.operation(&made).await, made, "operations outlive what they are about");
}

#[tokio::test]
async fn policies_of_others_are_shown_too() {
    let estate = Estate::new().await;
    let service = &estate.world.service;
    let new = |name: &str, schedule| NewPolicy {
        tenant: Some(estate.world.acme),
        name: name.into(),
        schedule,
        settings: Settings::default(),
        retention: Retention::default(),
        as_written: None,
        repository: None,
        enabled: true,
    };
    let daily: Schedule =
        serde_json::from_value(json!({ "kind": "daily", "at": "02:30", "time_zone": "UTC" })).expect("a schedule");
    let berlin: Schedule =
        serde_json::from_value(json!({ "kind": "daily", "at": "02:30", "time_zone": "Europe/Berlin" }))
            .expect("a schedule");
    let seconds: Schedule =
        serde_json::from_value(json!({ "kind": "daily", "at": "02:30:15", "time_zone": "UTC" })).expect("a schedule");
    let every: Schedule = serde_json::from_value(json!({ "kind": "interval", "every": "6h" })).expect("a schedule");
    let delay = |seconds: &str| json!({ "sinceLastExecTime": { "delay": { "type": "SECONDS", "count": seconds } }, "type": "TYPE_AUTO" });
    let at = json!({ "type": "TYPE_AUTO", "time": { "type": "DAILY", "repeatAt": [{ "hour": "2", "minute": "30" }], "runLater": true } });
    for (schedule, set, enabled) in [
        (daily, at, true),
        (berlin, delay("82800"), true),
        (seconds, delay("86400"), true),
        (every, delay("21600"), true),
        (Schedule::Manual {}, delay("86400"), false),
    ] {
        let policy = service.create_policy(&estate.world.root, new("ours", schedule)).await.expect("a policy");
        let shown = estate.get(&format!("/backup/v1/policies/{}", policy.id)).await;
        let scheduling = &shown["settings"]["scheduling"];
        assert_eq!(scheduling["backupSets"], json!([set]));
        assert_eq!(scheduling["enabled"].as_bool().unwrap_or(false), enabled);
        assert_eq!(shown["settings"]["splitting"], json!({ "size": "1099511627776" }));
    }
    let rules = serde_json::from_value(json!([{ "keep": { "max_count": u64::MAX } }])).expect("rules");
    let all = NewPolicy { retention: Retention { rules, before_backup: false }, ..new("all", Schedule::Manual {}) };
    let policy = service.create_policy(&estate.world.root, all).await.expect("a policy");
    let shown = estate.get(&format!("/backup/v1/policies/{}", policy.id)).await;
    assert_eq!(shown["settings"]["retention"]["rules"][0]["maxCount"], "9007199254740991", "as clients can count");
    // A schedule that was changed elsewhere shows; the rest stays as it was written.
    let id = estate.policy("theirs").await;
    let change = PolicyChange { schedule: Some(Schedule::Manual {}), ..PolicyChange::default() };
    service.change_policy(&estate.world.root, Uuid::parse_str(&id).expect("an id"), change).await.expect("changed");
    let shown = estate.get(&format!("/backup/v1/policies/{id}")).await["settings"].clone();
    assert_eq!(shown["scheduling"]["backupSets"], json!([delay("86400")]));
    assert_eq!((&shown["retention"], &shown["archive"]), (&settings()["retention"], &settings()["archive"]));
}

#[tokio::test]
async fn applying_and_revoking_need_no_agent() {
    let estate = Estate::new().await;
    let policy = estate.policy("nightly").await;
    let pair = json!({ "policyId": policy, "computeInstanceId": MACHINE });
    let applied = estate.apply(&policy).await;
    assert_eq!((&applied["done"], &applied["response"]), (&json!(true), &empty()));
    assert_eq!(applied["metadata"], metadata("ApplyPolicyMetadata", pair.clone()));
    let path = format!("/backup/v1/applications?computeInstanceId={MACHINE}&showProcessing=true");
    let shown = estate.get(&path).await["applications"][0].clone();
    assert_eq!((&shown["policyId"], &shown["status"]), (&json!(policy), &json!("OK")));
    let again = estate.apply(&policy).await;
    assert_eq!(again["done"], true);
    for query in [format!("folderId={}", estate.folder), format!("policyId={policy}")] {
        let listed = estate.get(&format!("/backup/v1/applications?{query}")).await;
        assert_eq!(listed["applications"].as_array().map(Vec::len), Some(1), "{query}");
    }
    let both = format!("/backup/v1/policies?folderId={}&computeInstanceId={MACHINE}", estate.folder);
    assert_eq!(estate.get(&both).await["policies"][0]["id"], json!(policy));
    let revoked = estate.send(Method::POST, &format!("/backup/v1/policies/{policy}:revoke"), pair.clone()).await;
    assert_eq!((&revoked["done"], &revoked["metadata"]), (&json!(true), &metadata("RevokeMetadata", pair.clone())));
    assert_eq!(estate.get(&path).await, json!({}));
    let refused = estate.refused(Method::POST, &format!("/backup/v1/policies/{policy}:revoke"), pair).await;
    assert_eq!(refused.0, 5, "what is not applied is not found");
    // Deleting a policy takes it from everything.
    estate.apply(&policy).await;
    estate.send(Method::DELETE, &format!("/backup/v1/policies/{policy}"), Value::Null).await;
    assert_eq!(estate.get(&path).await, json!({}));
}

#[tokio::test]
async fn a_run_is_followed_to_its_end() {
    let estate = Estate::new().await;
    let policy = estate.policy("nightly").await;
    let pair = json!({ "policyId": policy, "computeInstanceId": MACHINE });
    let run = format!("/backup/v1/policies/{policy}:execute");
    let body = json!({ "computeInstanceId": MACHINE });
    assert_eq!(estate.refused(Method::POST, &run, body.clone()).await, (9, "NOT_APPLIED".to_owned()));
    estate.apply(&policy).await;
    let started = estate.execute(&policy).await;
    assert_eq!((&started["done"], &started["metadata"]), (&Value::Null, &metadata("ExecuteMetadata", pair.clone())));
    let waiting = estate.execute(&policy).await;
    assert_ne!(waiting["id"], started["id"], "another handle");
    let agent = estate.connect(hello()).await;
    let job = estate.next_job(&agent).await.expect("the run");
    assert!(estate.next_job(&agent).await.is_none(), "of the same run: one that waits is not doubled");
    let percent = |operation: &Value| operation["metadata"]["progressPercentage"].as_f64().unwrap_or_default();
    let mut seen = Vec::new();
    for current in [1, 5, 3, 9] {
        estate.progress(&job, current, 10).await;
        seen.push(percent(&estate.operation(&started).await));
    }
    assert_eq!(seen, [10.0, 50.0, 50.0, 90.0], "it never falls");
    let shown = estate.get(&format!("/backup/v1/applications?computeInstanceId={MACHINE}")).await;
    assert_eq!(shown["applications"][0]["status"], "RUNNING");
    let done = json!({ "snapshot": "ab", "created_at": "2026-09-01T02:00:00Z", "incremental": false, "size": 1,
                       "added": 1, "files": 1, "files_new": 1, "files_changed": 0 });
    estate.done(&job, done).await;
    for handle in [&started, &waiting] {
        let ended = estate.operation(handle).await;
        assert_eq!((&ended["done"], &ended["response"], percent(&ended)), (&json!(true), &empty(), 100.0));
        assert_eq!(ended["metadata"]["@type"], handle["metadata"]["@type"]);
    }
    let id = job.assigned.task.id;
    let handle = estate.get(&format!("/operations/task-{id}")).await;
    assert_eq!((&handle["id"], &handle["description"]), (&json!(format!("task-{id}")), &json!("backup task")));
    assert_eq!((&handle["done"], handle["metadata"]["computeInstanceId"].as_str()), (&json!(true), Some(MACHINE)));
    assert_eq!(estate.refused(Method::GET, "/operations/task-999999", Value::Null).await.0, 5);
}

#[tokio::test]
async fn what_waits_or_runs_is_cancelled() {
    let estate = Estate::new().await;
    let policy = estate.policy("nightly").await;
    estate.apply(&policy).await;
    let cancel = |operation: &Value| format!("/operations/{}:cancel", operation["id"].as_str().expect("an id"));
    let waiting = estate.execute(&policy).await;
    let cancelled = estate.send(Method::POST, &cancel(&waiting), Value::Null).await;
    assert_eq!((&cancelled["done"], &cancelled["error"]["code"]), (&json!(true), &json!(1)));
    assert_eq!(estate.get(&cancel(&waiting)).await, cancelled, "again is harmless, also by GET");
    let agent = estate.connect(hello()).await;
    let running = estate.execute(&policy).await;
    let job = estate.next_job(&agent).await.expect("the run");
    let asked = estate.get(&format!("/operations/task-{}:cancel", job.assigned.task.id)).await;
    assert_eq!((&asked["done"], &asked["error"]), (&Value::Null, &Value::Null), "the agent has not stopped yet");
    let event = server::service::ReportEvent::Completed {
        outcome: domain::task::Outcome::of(domain::task::OutcomeCode::Cancelled),
        progress: None,
    };
    estate.report(&job, event).await;
    let ended = estate.operation(&running).await;
    assert_eq!((&ended["done"], &ended["error"]["code"]), (&json!(true), &json!(1)));
    // A run that fails says so in the operation, not in the call.
    let failing = estate.execute(&policy).await;
    let job = estate.next_job(&agent).await.expect("the run");
    estate.failed(&job, "repositoryMissing", "There is no repository.").await;
    let ended = estate.operation(&failing).await;
    assert_eq!(ended["error"], json!({ "code": 14, "message": "There is no repository." }));
    for (code, wanted) in [
        ("invalidJob", 3),
        ("pathNotInBackup", 5),
        ("snapshotNotFound", 5),
        ("permissionDenied", 7),
        ("noSpace", 8),
        ("wrongPassword", 9),
        ("io", 14),
        ("repositoryDamaged", 13),
        ("anything", 13),
    ] {
        let failing = estate.execute(&policy).await;
        let job = estate.next_job(&agent).await.expect("the run");
        estate.failed(&job, code, "It failed.").await;
        assert_eq!(estate.operation(&failing).await["error"]["code"], wanted, "{code}");
    }
}

#[tokio::test]
async fn what_was_handed_out_and_has_not_begun_is_cancelled_at_once() {
    let estate = Estate::new().await;
    let policy = estate.policy("nightly").await;
    estate.apply(&policy).await;
    let agent = estate.connect(hello()).await;
    let started = estate.execute(&policy).await;
    let given = estate.world.service.claim(&agent.agent, 1).await.expect("a claim").remove(0);
    let cancel = format!("/operations/{}:cancel", started["id"].as_str().expect("an id"));
    let cancelled = estate.send(Method::POST, &cancel, Value::Null).await;
    assert_eq!((&cancelled["done"], &cancelled["error"]["code"]), (&json!(true), &json!(1)));
    let (task, lease) = (given.task.id, given.lease);
    let report = server::service::Report { task, lease, event: server::service::ReportEvent::Started };
    let reported = estate.world.service.report(&agent.agent, report).await.expect("an answer");
    assert!(matches!(reported, server::service::Reported::Void), "it must not begin: {reported:?}");
    assert_eq!(estate.get(&cancel).await, cancelled, "again is harmless");
}

#[tokio::test]
async fn what_a_tenant_above_applied_is_not_for_those_below_to_take_away() {
    let estate = Estate::new().await;
    let root = estate.world.token(Uuid::nil(), Role::Admin).await;
    let mut wish = estate.wish("for all", settings());
    wish["folderId"] = json!(Uuid::nil());
    let (_, _, made) = estate.world.rest(Method::POST, "/backup/v1/policies", &root, wish).await;
    let policy = made["metadata"]["policyId"].as_str().expect("an id").to_owned();
    let pair = json!({ "computeInstanceId": MACHINE });
    let path = |verb: &str| format!("/backup/v1/policies/{policy}:{verb}");
    let refused = async |verb: &str| estate.refused(Method::POST, &path(verb), pair.clone()).await.0;
    assert_eq!(refused("revoke").await, 5, "it is not applied");
    let (status, _, body) = estate.world.rest(Method::POST, &path("apply"), &root, pair.clone()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!((refused("revoke").await, refused("apply").await), (7, 7));
    let (status, ..) = estate.world.rest(Method::POST, &path("revoke"), &root, pair.clone()).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_too_much_is_refused_under_its_own_name() {
    let estate = Estate::new().await;
    let mut wish = settings();
    let many = |one: &Value, n: usize| json!(vec![one.clone(); n]);
    wish["scheduling"]["backupSets"] = many(&wish["scheduling"]["backupSets"][0], 101);
    wish["scheduling"]["backupSets"][0]["time"]["repeatAt"] = many(&json!({ "hour": "1" }), 1441);
    wish["retention"]["rules"] = many(&wish["retention"]["rules"][0], 101);
    let blank = json!({ "cmd": "  ", "enabled": true, "type": "PRE_COMMAND" });
    wish["prePostCommands"] = many(&blank, 1);
    let refused = async |wish: &Value| {
        let wish = estate.wish("much", wish.clone());
        super::world::fields(&estate.world.post("/backup/v1/policies", &estate.token, wish).await.1)
    };
    let mut fields = refused(&wish).await;
    fields.sort();
    assert_eq!(
        fields,
        [
            "settings.pre_post_commands[0].cmd",
            "settings.retention.rules",
            "settings.scheduling.backup_sets",
            "settings.scheduling.backup_sets[0].time.repeat_at",
        ]
    );
    let mut wish = settings();
    wish["prePostCommands"] = many(&wish["prePostCommands"][0], 101);
    assert_eq!(refused(&wish).await, ["settings.pre_post_commands"]);
    // The same class twice says no more than once.
    let mut wish = settings();
    wish["retention"]["rules"][1]["backupSet"] = many(&json!("DAILY"), 9);
    estate.send(Method::POST, "/backup/v1/policies", estate.wish("twice", wish)).await;
}

#[tokio::test]
async fn a_refusal_names_what_stands_in_the_way() {
    let estate = Estate::new().await;
    let policy = estate.policy("nightly").await;
    estate.apply(&policy).await;
    let id = Uuid::parse_str(&policy).expect("an id");
    let change = PolicyChange { enabled: Some(false), ..PolicyChange::default() };
    estate.world.service.change_policy(&estate.world.root, id, change).await.expect("changed");
    let path = format!("/backup/v1/policies/{policy}:execute");
    let (_, body) = estate.world.post(&path, &estate.token, json!({ "computeInstanceId": MACHINE })).await;
    let violation = &body["details"][0]["violations"][0];
    assert_eq!((&violation["type"], &violation["subject"]), (&json!("DISABLED"), &json!(policy)));
}

#[tokio::test]
async fn a_run_that_a_person_began_elsewhere_is_that_persons() {
    let estate = Estate::new().await;
    let policy = estate.policy("nightly").await;
    estate.apply(&policy).await;
    let person = estate.world.service.authenticate(&estate.token).await.expect("a caller");
    let id = Uuid::parse_str(&policy).expect("an id");
    let task = estate.world.service.run_policy(&person, id, None).await.expect("a run").remove(0);
    let handle = estate.get(&format!("/operations/task-{}", task.id)).await;
    assert_eq!(handle["createdBy"], json!(person.name));
}

#[tokio::test]
async fn a_repeated_call_with_its_key_runs_once() {
    let estate = Estate::new().await;
    let policy = estate.policy("nightly").await;
    estate.apply(&policy).await;
    let call = async |path: String, key: &str, body: Value| {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {}", estate.token))
            .header("idempotency-key", key)
            .body(Body::from(body.to_string()));
        let (status, _, body) = estate.world.send(request.expect("a request")).await;
        (status, body)
    };
    let body = json!({ "computeInstanceId": MACHINE });
    let path = format!("/backup/v1/policies/{policy}:execute");
    let (first, second) = tokio::join!(call(path.clone(), "k1", body.clone()), call(path.clone(), "k1", body.clone()));
    assert_eq!((first.0, &first.1["id"]), (StatusCode::OK, &second.1["id"]));
    let (_, third) = call(path.clone(), "k1", body.clone()).await;
    assert_eq!(third["id"], first.1["id"]);
    let (_, other) = call(path.clone(), "k2", body).await;
    assert_ne!(other["id"], first.1["id"]);
    let (status, refused) = call(path, "k1", json!({ "computeInstanceId": "another" })).await;
    assert_eq!((status, &refused["code"]), (StatusCode::BAD_REQUEST, &json!(3)));
    assert_eq!(super::world::fields(&refused), ["idempotency-key"]);
    // A repeated delete finds its operation, and not that there is nothing.
    let delete = async || {
        let request = Request::delete(format!("/backup/v1/policies/{policy}"))
            .header("authorization", format!("Bearer {}", estate.token))
            .header("idempotency-key", "k3")
            .body(Body::empty());
        estate.world.send(request.expect("a request")).await
    };
    let (first, second) = tokio::join!(delete(), delete());
    let third = delete().await;
    assert_eq!((first.0, &first.2), (StatusCode::OK, &second.2), "at the same time");
    assert_eq!(first.2, third.2, "and afterwards");
}

#[tokio::test]
async fn every_call_knows_its_levels_and_what_is_not_there() {
    let estate = Estate::new().await;
    let policy = estate.policy("nightly").await;
    estate.apply(&policy).await;
    let unknown = Uuid::now_v7().to_string();
    let foreign = estate.world.token(estate.world.globex, Role::Admin).await;
    let pair = json!({ "computeInstanceId": MACHINE });
    // The call, its body, and the role that is just too low.
    let calls = |policy: &str| {
        let base = format!("/backup/v1/policies/{policy}");
        vec![
            (Method::GET, base.clone(), Value::Null, Role::Issuer),
            (Method::PATCH, base.clone(), json!({ "settings": settings() }), Role::Operator),
            (Method::DELETE, base.clone(), Value::Null, Role::Operator),
            (Method::POST, format!("{base}:apply"), pair.clone(), Role::Viewer),
            (Method::POST, format!("{base}:revoke"), pair.clone(), Role::Viewer),
            (Method::POST, format!("{base}:execute"), pair.clone(), Role::Operator),
            (Method::GET, format!("{base}/applications"), Value::Null, Role::Issuer),
        ]
    };
    for (method, path, body, too_low) in calls(&policy) {
        let token = estate.world.token(estate.world.acme, too_low).await;
        let code =
            async |token: &str| estate.world.rest(method.clone(), &path, token, body.clone()).await.2["code"].clone();
        assert_eq!(code(&token).await, 7, "{method} {path} as {too_low}");
        assert_eq!(code(&foreign).await, 5, "{method} {path} from another tenant");
        assert_eq!(code("").await, 16, "{method} {path} without a token");
    }
    for id in [unknown.as_str(), "no-uuid"] {
        for (method, path, body, _) in calls(id) {
            assert_eq!(estate.refused(method.clone(), &path, body).await.0, 5, "{method} {path}");
        }
    }
    let none = json!({ "computeInstanceId": "nobody" });
    for verb in ["apply", "revoke", "execute"] {
        let path = format!("/backup/v1/policies/{policy}:{verb}");
        assert_eq!(estate.refused(Method::POST, &path, none.clone()).await.0, 5, "{verb}");
    }
    for folder in [estate.world.globex.to_string(), unknown] {
        let path = format!("/backup/v1/policies?folderId={folder}");
        assert_eq!(estate.refused(Method::GET, &path, Value::Null).await.0, 7, "a folder of others and none are alike");
        let mut wish = estate.wish("x", settings());
        wish["folderId"] = json!(folder);
        assert_eq!(estate.refused(Method::POST, "/backup/v1/policies", wish).await.0, 7);
    }
}
