//! Taking tasks from queues (contract, D68): who gets which, in which order, and when.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use domain::{Role, Uuid};
use serde_json::{Value, json};
use server::service::NewClient;

use crate::consuming::{plain, with};
use crate::shape::{API, as_refusal, refused};
use crate::world::{Answer, ClientKey, TOKEN, World, bearer};
use crate::writing::Desk;

fn ids(tasks: &[Value]) -> Vec<i64> {
    tasks.iter().map(|t| t["id"].as_i64().expect("a number")).collect()
}

#[tokio::test]
async fn tasks_are_taken_by_priority_and_then_by_age() {
    // D68
    let desk = Desk::new().await;
    let mut wanted = Vec::new();
    for (priority, place) in [
        ("normal", 4),
        ("low", 8),
        ("high", 1),
        ("normal", 5),
        ("aboveNormal", 3),
        ("belowNormal", 7),
        ("high", 2),
        ("normal", 6),
    ] {
        let id = desk.create(with(plain(), &json!({ "priority": priority }))).await["id"].as_i64().expect("a number");
        wanted.push((place, id));
    }
    wanted.sort_unstable();
    let wanted: Vec<i64> = wanted.into_iter().map(|(_, id)| id).collect();
    let wish = |max: i64| json!({ "queues": ["q"], "consumer": { "id": "e-1", "clusterId": "c-1" }, "max": max });
    let first = desk.take(wish(5)).await;
    assert_eq!(ids(&first), wanted[..5]);
    let mut leases = BTreeSet::new();
    for task in &first {
        assert_eq!((&task["state"], &task["assignCount"]), (&json!("assigned"), &json!(1)));
        assert_eq!(task["executor"], json!({ "id": "e-1", "clusterId": "c-1" }));
        // D69: opaque, up to 64 characters, new with each assignment.
        let lease = task["lease"].as_str().expect("a lease");
        assert!((1..=64).contains(&lease.len()) && lease.is_ascii() && leases.insert(lease.to_owned()));
        // All that is shown of it at level `full`.
        let mut shown = task.clone();
        shown.as_object_mut().expect("an object").remove("lease");
        assert_eq!(shown, desk.task(&task["id"]).await);
        assert_eq!(task["assignedAt"], task["updatedAt"]);
    }
    // One by default, then what is left of them.
    let one = desk.take(json!({ "queues": ["q"], "consumer": { "id": "e-2" } })).await;
    assert_eq!(ids(&one), wanted[5..6]);
    assert_eq!(one[0]["executor"], json!({ "id": "e-2", "clusterId": "" }));
    assert_eq!(ids(&desk.take(wish(100)).await), wanted[6..]);
    assert!(desk.take(wish(100)).await.is_empty());
    // Who looks at tasks does not see their leases.
    let (_, _, all) = desk.world.get(&format!("{API}/tasks?lod=debug"), &desk.viewer).await;
    assert!(leases.iter().all(|lease| !all.to_string().contains(lease)));
}

#[tokio::test]
async fn a_consumer_gets_what_it_asked_for_and_may_have() {
    // D68
    let desk = Desk::new().await;
    let world = &desk.world;
    let mut made = Vec::new();
    for more in [
        json!({ "queue": "a" }),
        json!({ "queue": "b", "type": "policy.apply" }),
        json!({ "queue": "a", "type": "scan", "affinity": { "agentId": "e-1" } }),
        json!({ "queue": "a", "affinity": { "clusterId": "c-1" } }),
        json!({ "queue": "a", "affinity": { "agentId": "e-1", "clusterId": "c-1" } }),
        json!({ "queue": "a", "tenant": { "uuid": world.acme_east } }),
    ] {
        made.push(desk.create(with(plain(), &more)).await["id"].as_i64().expect("a number"));
    }
    let east = world.bearer(world.acme_east, Role::Consumer).await;
    let root = world.bearer(Uuid::nil(), Role::Consumer).await;
    let globex = world.bearer(world.globex, Role::Consumer).await;
    for (auth, wish, wanted) in [
        (&desk.consumer, json!({ "queues": ["c"] }), &[][..]),
        (&desk.consumer, json!({ "queues": ["a"], "types": ["none"] }), &[]),
        (&globex, json!({ "queues": ["a", "b"], "consumer": { "id": "e-1", "clusterId": "c-1" } }), &[]),
        (&east, json!({ "queues": ["a", "b"] }), &[5]),
        // By either name (D52).
        (&root, json!({ "queues": ["a", "b"], "types": ["apply_policy"] }), &[1]),
        (&desk.consumer, json!({ "queues": ["a"], "types": ["scan"], "consumer": { "id": "E-1" } }), &[]),
        (&desk.consumer, json!({ "queues": ["a"], "types": ["scan"], "consumer": { "id": "e-1" } }), &[2]),
        (&desk.consumer, json!({ "queues": ["a", "b"] }), &[0]),
        (&desk.consumer, json!({ "queues": ["a", "b"], "consumer": { "id": "e-2", "clusterId": "c-1" } }), &[3]),
        (&desk.consumer, json!({ "queues": ["a", "b"], "consumer": { "id": "e-1" } }), &[]),
        (&desk.consumer, json!({ "queues": ["a", "b"], "consumer": { "id": "e-1", "clusterId": "c-1" } }), &[4]),
    ] {
        let what = wish.to_string();
        let wish = with(json!({ "consumer": { "id": "e-9" }, "max": 100, "wait": "0s" }), &wish);
        let (status, _, body) = world.post(&format!("{API}/tasks/assign"), auth, wish).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let wanted: Vec<i64> = wanted.iter().map(|i| made[*i]).collect();
        assert_eq!(ids(body["items"].as_array().expect("a list")), wanted, "{what}");
        assert_eq!(body["size"], wanted.len());
    }
}

#[tokio::test]
async fn what_is_asked_of_the_queue_is_checked() {
    // D68
    let desk = Desk::new().await;
    let right = json!({ "queues": ["q"], "consumer": { "id": "e-1" } });
    let long = "x".repeat(65);
    for (name, value, code, parameter) in [
        ("queues", Value::Null, "invalidBody", "queues"),
        ("queues", json!([]), "invalidParameter", "queues"),
        ("queues", json!([""]), "invalidParameter", "queues[0]"),
        ("queues", json!("q"), "invalidBody", "queues"),
        ("queues", json!(["q", "agents"]), "invalidParameter", "queues"),
        ("types", json!([]), "invalidParameter", "types"),
        ("types", json!([1]), "invalidBody", "types[0]"),
        ("consumer", Value::Null, "invalidBody", "consumer"),
        ("consumer", json!({}), "invalidBody", "consumer.id"),
        ("consumer", json!({ "id": "" }), "invalidParameter", "consumer.id"),
        ("consumer", json!({ "id": long }), "invalidParameter", "consumer.id"),
        ("consumer", json!({ "id": "e", "clusterId": long }), "invalidParameter", "consumer.clusterId"),
        ("consumer", json!({ "id": "e", "name": "x" }), "invalidBody", "consumer.name"),
        ("max", json!(0), "invalidParameter", "max"),
        ("max", json!(101), "invalidParameter", "max"),
        ("max", json!("1"), "invalidBody", "max"),
        ("wait", json!("61s"), "invalidParameter", "wait"),
        ("wait", json!("-1s"), "invalidParameter", "wait"),
        ("wait", json!(5), "invalidBody", "wait"),
        ("limit", json!(1), "invalidBody", "limit"),
    ] {
        let mut body = right.clone();
        body[name] = value;
        let what = body.to_string();
        let answer = desk.world.post(&format!("{API}/tasks/assign"), &desk.consumer, body).await;
        assert_eq!(refused(&answer, &what), as_refusal(400, code), "{what}");
        assert_eq!(answer.2["context"]["parameter"], parameter, "{what}: {}", answer.2);
    }
}

#[tokio::test]
async fn a_bound_client_acts_for_its_executor_alone() {
    // D11
    let desk = Desk::new().await;
    let world = &desk.world;
    let new = NewClient {
        tenant: Some(world.acme),
        name: "worker".into(),
        roles: vec![Role::Consumer],
        executor: Some("worker-7".into()),
    };
    let (client, secret) = world.service.create_client(&world.root, new).await.expect("a client");
    let key = ClientKey { id: client.id, secret };
    let (_, _, body) = world.form(TOKEN, &key.basic(), &[("grant_type", "client_credentials")]).await;
    let auth = bearer(body["access_token"].as_str().expect("a token"));
    desk.create(plain()).await;
    for other in ["worker-8", "Worker-7", "e-1"] {
        let wish = json!({ "queues": ["q"], "consumer": { "id": other } });
        let answer = world.post(&format!("{API}/tasks/assign"), &auth, wish).await;
        assert_eq!(refused(&answer, other), as_refusal(403, "forbidden"), "{other}");
        assert_eq!(answer.2["context"]["parameter"], "consumer.id");
    }
    let wish = json!({ "queues": ["q"], "consumer": { "id": "worker-7", "clusterId": "c" } });
    let (status, _, body) = world.post(&format!("{API}/tasks/assign"), &auth, wish).await;
    assert_eq!((status, &body["size"]), (StatusCode::OK, &json!(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_task_goes_to_two_consumers() {
    // D68
    let world = Arc::new(World::on_disk().await);
    let issuer = world.bearer(world.acme, Role::Issuer).await;
    let consumer = world.bearer(world.acme, Role::Consumer).await;
    let made = Arc::new(std::sync::Mutex::new(0));
    let mut running = tokio::task::JoinSet::new();
    for i in 0..4 {
        let (world, issuer, made) = (world.clone(), issuer.clone(), made.clone());
        running.spawn(async move {
            for _ in 0..20 {
                let wish = json!({ "type": "index", "queue": format!("q-{}", i % 2) });
                let (status, ..) = world.post(&format!("{API}/tasks"), &issuer, wish).await;
                assert_eq!(status, StatusCode::CREATED);
                *made.lock().expect("nobody panics with it") += 1;
            }
            Vec::new()
        });
    }
    for i in 0..16 {
        let (world, consumer, made) = (world.clone(), consumer.clone(), made.clone());
        running.spawn(async move {
            let mut taken = Vec::new();
            loop {
                let all_made = *made.lock().expect("nobody panics with it") == 80;
                let wish = json!({
                    "queues": ["q-0", "q-1"], "consumer": { "id": format!("e-{i}") }, "max": i % 3 + 1, "wait": "20ms",
                });
                let (status, _, body) = world.post(&format!("{API}/tasks/assign"), &consumer, wish).await;
                assert_eq!(status, StatusCode::OK, "{body}");
                let items = body["items"].as_array().expect("a list");
                taken.extend(items.iter().map(|t| (t["id"].as_i64(), t["lease"].as_str().map(str::to_owned))));
                // What comes after the last was made is not missed.
                if items.is_empty() && all_made {
                    return taken;
                }
            }
        });
    }
    let taken: Vec<_> = running.join_all().await.into_iter().flatten().collect();
    let tasks: BTreeSet<_> = taken.iter().map(|(id, _)| *id).collect();
    let leases: BTreeSet<_> = taken.iter().map(|(_, lease)| lease.clone()).collect();
    assert_eq!((taken.len(), tasks.len(), leases.len()), (80, 80, 80));
}

/// Lets a call that must wait come as far as it comes; it is not done then.
async fn waits<F: Future<Output = Answer> + Unpin>(call: &mut F) {
    for _ in 0..50 {
        tokio::select! {
            biased;
            (_, _, body) = &mut *call => panic!("it did not wait: {body}"),
            () = tokio::task::yield_now() => {}
        }
    }
}

#[tokio::test]
async fn a_consumer_that_waits_is_woken() {
    // D68
    let desk = Desk::new().await;
    let path = format!("{API}/tasks/assign");
    let wish = || json!({ "queues": ["q", "r"], "consumer": { "id": "e-1" }, "wait": "60s" });
    let got = |(status, _, body): Answer| {
        assert_eq!(status, StatusCode::OK, "{body}");
        body["items"].as_array().expect("a list").iter().map(|t| t["id"].clone()).collect::<Vec<_>>()
    };
    // By a new task; one of another queue is none.
    let mut waiting = Box::pin(desk.world.post(&path, &desk.consumer, wish()));
    waits(&mut waiting).await;
    desk.create(json!({ "type": "index", "queue": "other" })).await;
    waits(&mut waiting).await;
    let id = desk.create(plain()).await["id"].clone();
    assert_eq!(got(waiting.await), [id]);
    // By one that comes back.
    let (id, lease) = desk.begun(json!({ "type": "index", "queue": "r", "maxAssignCount": 2 })).await;
    let mut waiting = Box::pin(desk.world.post(&path, &desk.consumer, wish()));
    waits(&mut waiting).await;
    desk.reported(&lease, &format!("tasks/{id}/abandoned"), Value::Null).await;
    assert_eq!(got(waiting.await), [id]);
    // By one that came back because its time was over, which the scheduler finds.
    let wish_of = json!({ "type": "index", "queue": "q", "maxAssignCount": 2, "ackTimeout": "1ns" });
    let id = desk.create(wish_of).await["id"].clone();
    let taken = desk.take_one("q").await;
    assert_eq!(taken["id"], id);
    let mut waiting = Box::pin(desk.world.post(&path, &desk.consumer, wish()));
    waits(&mut waiting).await;
    desk.world.service.settle_due().await.expect("settled");
    assert_eq!(got(waiting.await), [id]);
    // All that wait look; one of them gets it.
    let mut first = Box::pin(desk.world.post(&path, &desk.consumer, wish()));
    let mut second = Box::pin(desk.world.post(&path, &desk.consumer, wish()));
    waits(&mut first).await;
    waits(&mut second).await;
    let id = desk.create(plain()).await["id"].clone();
    let (winner, mut other) = tokio::select! {
        winner = &mut first => (winner, second),
        winner = &mut second => (winner, first),
    };
    assert_eq!(got(winner), [id]);
    waits(&mut other).await;
    // And when the server stops, nobody is kept.
    desk.world.shutdown.cancel();
    assert_eq!(got(other.await), Vec::<Value>::new());
    assert_eq!(got(desk.world.post(&path, &desk.consumer, wish()).await), Vec::<Value>::new());
}
