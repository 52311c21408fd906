//! The lists and their pages (contract, sections 3 to 6, D28 to D37), over a history of which all is known.

use std::collections::{BTreeSet, HashSet};

use axum::body::Body;
use axum::http::{Method, StatusCode};
use domain::query::{ActivityField, Direction, Field, Order, TaskField};
use domain::task::{State, Task, TaskSpec};
use domain::{Role, Timestamp, Uuid};
use ledger::Write;
use serde_json::{Value, json};
use server::Service;
use server::dialects::router;
use server::secrets::Sealer;
use tower::ServiceExt;

use crate::history::History;
use crate::shape::{API, as_refusal, refused};
use crate::world::{World, request};

/// A list that must be one.
pub(crate) async fn list(world: &World, auth: &str, path: &str) -> Value {
    let (status, headers, body) = world.get(&format!("{API}{path}"), auth).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    // D3
    assert_eq!(headers["content-type"], "application/json", "{path}");
    assert_eq!(headers["cache-control"], "no-store", "{path}");
    page(&body, path);
    body
}

/// What is true of every page (D30, D31, D33).
fn page(body: &Value, what: &str) {
    let members: BTreeSet<_> = body.as_object().expect("an object").keys().map(String::as_str).collect();
    let needed = BTreeSet::from(["items", "size", "timeStamp", "paging", "cursors"]);
    assert!(members.is_superset(&needed), "{what}: {members:?}");
    let more: Vec<_> = members.difference(&needed).collect();
    assert!(more.iter().all(|m| ["count", "groups", "groupsTruncated"].contains(m)), "{what}: {more:?}");
    let items = body["items"].as_array().expect("a list");
    if !members.contains("count") {
        assert_eq!(body["size"], items.len(), "{what}");
    }
    assert!(body["timeStamp"].as_str().is_some_and(|t| t.ends_with('Z') && t.parse::<Timestamp>().is_ok()), "{what}");
    assert_eq!(body["paging"], json!({ "cursors": body["cursors"] }), "{what}");
    let cursors = body["cursors"].as_object().expect("an object");
    match cursors.get("after") {
        None => assert!(cursors.is_empty(), "{what}: {cursors:?}"),
        Some(after) => {
            assert_eq!(cursors.len(), 1, "{what}: {cursors:?}");
            let after = after.as_str().expect("a text");
            // D36: base64url without padding, so that it needs no escape.
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            assert!(!after.is_empty() && after.len() <= 12 * 1024 && after.chars().all(plain), "{what}");
        }
    }
}

pub(crate) fn after(body: &Value) -> Option<&str> {
    body["cursors"]["after"].as_str()
}

pub(crate) fn ids(body: &Value) -> Vec<i64> {
    body["items"].as_array().expect("a list").iter().map(|i| i["id"].as_i64().expect("a number")).collect()
}

/// The ids of a whole walk with pages of this size; the query goes with the first request alone.
pub(crate) async fn walk(world: &World, auth: &str, path: &str, query: &str, limit: usize) -> Vec<i64> {
    let what = format!("{path}?{query} by {limit}");
    let (mut walked, mut cursors) = (Vec::new(), HashSet::new());
    let mut body = list(world, auth, &format!("{path}?limit={limit}&{query}")).await;
    loop {
        let met = ids(&body);
        walked.extend(&met);
        let Some(after) = after(&body).map(str::to_owned) else {
            assert!(met.len() <= limit && (!met.is_empty() || cursors.is_empty()), "{what}: the last page");
            return walked;
        };
        // D32: a page with a cursor is full, and the next one has something.
        assert_eq!(met.len(), limit, "{what}");
        assert!(cursors.insert(after.clone()), "{what}: the same cursor twice");
        assert!(cursors.len() <= 1000, "{what}: it does not end");
        // D35: what real clients send along.
        let with = ["", "&lod=tiny", &format!("&{query}")][cursors.len() % 3].to_owned();
        body = list(world, auth, &format!("{path}?limit={limit}&after={after}{with}")).await;
    }
}

/// The rows in an order, by the definition.
pub(crate) fn sorted<'a, F: Field>(
    rows: impl Iterator<Item = &'a F::Row>,
    terms: &[(F, Direction)],
) -> Vec<&'a F::Row> {
    let order = Order::by(terms.to_vec()).expect("an order");
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|a, b| order.compare(a, b));
    rows
}

const TASK_ORDERS: [(&str, TaskField); 11] = [
    ("id", TaskField::Id),
    ("uuid", TaskField::Uuid),
    ("type", TaskField::Type),
    ("priority", TaskField::Priority),
    ("startedByUser", TaskField::StartedBy),
    ("state", TaskField::State),
    ("enqueuedAt", TaskField::EnqueuedAt),
    ("assignedAt", TaskField::AssignedAt),
    ("startedAt", TaskField::StartedAt),
    ("updatedAt", TaskField::UpdatedAt),
    ("completedAt", TaskField::CompletedAt),
];

const ACTIVITY_ORDERS: [(&str, ActivityField); 9] = [
    ("id", ActivityField::Id),
    ("uuid", ActivityField::Uuid),
    ("type", ActivityField::Type),
    ("startedByUser", ActivityField::StartedBy),
    ("state", ActivityField::State),
    ("createdAt", ActivityField::CreatedAt),
    ("startedAt", ActivityField::StartedAt),
    ("updatedAt", ActivityField::UpdatedAt),
    ("completedAt", ActivityField::CompletedAt),
];

/// Orders of one field, each way, and of several: how they are asked for, and what they are (D27, D28).
fn orders<F: Field>(fields: &[(&str, F)]) -> Vec<(String, Vec<(F, Direction)>)> {
    let mut orders = vec![(String::new(), Vec::new())];
    for (name, field) in fields {
        orders.push((format!("order=asc({name})"), vec![(*field, Direction::Asc)]));
        orders.push((format!("order=desc({name})"), vec![(*field, Direction::Desc)]));
    }
    let of = |name: &str| fields.iter().find(|(n, _)| *n == name).expect("a field").1;
    let (kind, state, by, end) = (of("type"), of("state"), of("startedByUser"), of("completedAt"));
    use Direction::{Asc, Desc};
    orders.extend([
        ("order=asc(state),desc(type)".to_owned(), vec![(state, Asc), (kind, Desc)]),
        ("order=desc(type)&order=asc(state)".to_owned(), vec![(kind, Desc), (state, Asc)]),
        ("order=startedByUser".to_owned(), vec![(by, Asc)]),
        ("order=desc%28completedAt%29&order=type".to_owned(), vec![(end, Desc), (kind, Asc)]),
        (
            "order=type,desc(startedByUser)&order=asc(state),desc(id)".to_owned(),
            vec![(kind, Asc), (by, Desc), (state, Asc), (F::ID, Desc)],
        ),
    ]);
    orders
}

#[tokio::test]
async fn walks_meet_every_row_once_in_every_order() {
    let history = History::new().await;
    let world = &history.world;
    let tokens = [Uuid::nil(), world.acme, world.globex_west];
    let mut auths = Vec::new();
    for tenant in tokens {
        auths.push((tenant, world.bearer(tenant, Role::Viewer).await));
    }
    // Every page size in the default order, one in each other.
    let limits = |i: usize| if i == 0 { 1..=7 } else { i % 7 + 1..=i % 7 + 1 };
    for (i, (query, terms)) in orders(&TASK_ORDERS).into_iter().enumerate() {
        let (tenant, auth) = &auths[i % 3];
        let wanted: Vec<i64> = sorted(history.tasks_of(*tenant), &terms).iter().map(|t| t.id.0).collect();
        for limit in limits(i) {
            assert_eq!(walk(world, auth, "/tasks", &query, limit).await, wanted, "{query} by {limit}");
        }
    }
    for (i, (query, terms)) in orders(&ACTIVITY_ORDERS).into_iter().enumerate() {
        let (tenant, auth) = &auths[i % 3];
        let wanted: Vec<i64> = sorted(history.activities_of(*tenant), &terms).iter().map(|a| a.activity.id.0).collect();
        for limit in limits(i) {
            assert_eq!(walk(world, auth, "/activities", &query, limit).await, wanted, "{query} by {limit}");
        }
    }
    // D37: what is new comes before a walk in the default order, and so not into it.
    let auth = world.bearer(world.acme, Role::Viewer).await;
    let wanted: Vec<i64> = sorted::<TaskField>(history.tasks_of(world.acme), &[]).iter().map(|t| t.id.0).collect();
    let mut body = list(world, &auth, "/tasks?limit=3").await;
    let mut met = ids(&body);
    while let Some(after) = after(&body).map(str::to_owned) {
        let spec = TaskSpec::new(Uuid::now_v7(), "index", "q", world.acme);
        world.commit(vec![Write::CreateTask(Box::new(spec))]).await;
        body = list(world, &auth, &format!("/tasks?limit=3&after={after}")).await;
        met.extend(ids(&body));
    }
    assert_eq!(met, wanted);
}

#[tokio::test]
async fn lists_show_what_the_token_sees_and_deleted_rows_to_those_who_ask() {
    let history = History::new().await;
    let world = &history.world;
    for tenant in [Uuid::nil(), world.acme, world.acme_east, world.globex, world.globex_west] {
        for role in [Role::Viewer, Role::Operator, Role::Admin] {
            // D12, D28
            let auth = world.bearer(tenant, role).await;
            let wanted: Vec<i64> = sorted::<TaskField>(history.tasks_of(tenant), &[]).iter().map(|t| t.id.0).collect();
            assert_eq!(ids(&list(world, &auth, "/tasks").await), wanted);
            let wanted: Vec<i64> =
                sorted::<ActivityField>(history.activities_of(tenant), &[]).iter().map(|a| a.activity.id.0).collect();
            assert_eq!(ids(&list(world, &auth, "/activities").await), wanted);
        }
    }
    let auth = world.bearer(Uuid::nil(), Role::Viewer).await;
    let seen = history.tasks_of(Uuid::nil()).count();
    assert!(seen < history.tasks.len(), "some are deleted");
    for yes in ["true", "True", "TRUE", "1"] {
        let body = list(world, &auth, &format!("/tasks?allow_deleted={yes}")).await;
        assert_eq!(body["size"], history.tasks.len());
        let marked = body["items"].as_array().expect("a list").iter().filter(|t| t["deletedAt"].is_string()).count();
        assert_eq!(marked, history.tasks.len() - seen);
        let body = list(world, &auth, &format!("/activities?allow_deleted={yes}")).await;
        assert_eq!(body["size"], history.activities.len());
    }
    for no in ["false", "False", "0"] {
        assert_eq!(list(world, &auth, &format!("/tasks?allow_deleted={no}")).await["size"], seen);
    }
    // A walk goes on as it began (D35), whatever is repeated.
    let whole: Vec<i64> = history.tasks.iter().rev().map(|t| t.id.0).collect();
    assert_eq!(walk(world, &auth, "/tasks", "allow_deleted=1", 4).await, whole);
    let body = list(world, &auth, "/tasks?allow_deleted=1&limit=4").await;
    let next = after(&body).expect("more");
    let rest = list(world, &auth, &format!("/tasks?allow_deleted=0&limit=1000&after={next}")).await;
    assert_eq!(ids(&rest), whole[4..]);
}

#[tokio::test]
async fn a_cursor_says_all_that_is_left_out() {
    // D35, D36
    let history = History::new().await;
    let world = &history.world;
    let auth = world.bearer(world.acme, Role::Viewer).await;
    let wanted = |filter: fn(&Task) -> bool| -> Vec<i64> {
        let rows = history.tasks_of(world.acme).filter(|t| filter(t));
        sorted(rows, &[(TaskField::Type, Direction::Asc)]).iter().map(|t| t.id.0).collect()
    };
    let completed = wanted(|t| t.state() == State::Completed);
    assert!(completed.len() > 8, "{completed:?}");
    let first = list(world, &auth, "/tasks?limit=2&lod=tiny&order=asc(type)&state=completed").await;
    assert_eq!(ids(&first), completed[..2]);
    let cursor = after(&first).expect("more").to_owned();
    let tiny = ["id", "idString", "result", "state", "type", "updatedAt", "uuid"];
    let members = |body: &Value| -> Vec<String> {
        body["items"][0].as_object().expect("an item").keys().cloned().collect::<BTreeSet<_>>().into_iter().collect()
    };
    // Alone: everything is as before.
    let alone = list(world, &auth, &format!("/tasks?after={cursor}")).await;
    assert_eq!((ids(&alone), members(&alone)), (completed[2..4].to_vec(), tiny.map(str::to_owned).to_vec()));
    // The limit and the level are the request's, and stay.
    let more = list(world, &auth, &format!("/tasks?after={cursor}&limit=3&lod=full")).await;
    assert_eq!(ids(&more), completed[2..5]);
    assert!(members(&more).contains(&"maxAssignCount".to_owned()));
    let then = list(world, &auth, &format!("/tasks?after={}", after(&more).expect("more"))).await;
    assert_eq!(ids(&then), completed[5..8]);
    assert!(members(&then).contains(&"maxAssignCount".to_owned()));
    // Filters and orders beside it are not looked at, other ones neither; their names are.
    for with in ["&state=completed&order=asc(type)", "&state=enqueued&order=desc(id)&allow_deleted=true", "&tag=none"] {
        let body = list(world, &auth, &format!("/tasks?limit=2&after={cursor}{with}")).await;
        assert_eq!(ids(&body), completed[2..4], "{with}");
    }
    for (query, code) in [
        (format!("after={cursor}&result_code=ok"), "unknownParameter"),
        (format!("after={cursor}&limit=0"), "invalidParameter"),
        (format!("after={cursor}&after={cursor}"), "invalidParameter"),
        (format!("after={cursor}A"), "invalidCursor"),
        (format!("after={}", &cursor[1..]), "invalidCursor"),
        ("after=null".to_owned(), "invalidCursor"),
        ("after=".to_owned(), "invalidParameter"),
        // D15: forward only.
        (format!("before={cursor}"), "unknownParameter"),
    ] {
        let answer = world.get(&format!("{API}/tasks?{query}"), &auth).await;
        assert_eq!(refused(&answer, &query), as_refusal(400, code), "{query}");
    }
    // Of another kind of rows, and of another tenant's token: also one above, which sees more.
    let answer = world.get(&format!("{API}/activities?after={cursor}"), &auth).await;
    assert_eq!(refused(&answer, "another list"), as_refusal(400, "invalidCursor"));
    for tenant in [world.acme_east, world.globex, Uuid::nil()] {
        let other = world.bearer(tenant, Role::Admin).await;
        let answer = world.get(&format!("{API}/tasks?after={cursor}"), &other).await;
        assert_eq!(refused(&answer, "another tenant"), as_refusal(400, "invalidCursor"));
        assert_eq!(answer.2["context"]["parameter"], "after");
    }
    // A new token of the same tenant goes on, at the other base, and after a restart.
    let again = world.bearer(world.acme, Role::Operator).await;
    assert_eq!(ids(&list(world, &again, &format!("/tasks?after={cursor}")).await), completed[2..4]);
    let (_, _, body) = world.get(&format!("/bc{API}/tasks?after={cursor}"), &again).await;
    assert_eq!(ids(&body), completed[2..4]);
    let service = Service::new(world.ledger.clone(), Sealer::new(&[7; 32]).expect("32 bytes"));
    let restarted = router(service.into(), world.shutdown.clone());
    let asked = request(Method::GET, &format!("{API}/tasks?after={cursor}"), &again).body(Body::empty());
    let response = restarted.oneshot(asked.expect("a request")).await.expect("the router always answers");
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    assert_eq!(ids(&serde_json::from_slice(&body).expect("JSON")), completed[2..4]);
    // The server with another key does not know it.
    let service = Service::new(world.ledger.clone(), Sealer::new(&[8; 32]).expect("32 bytes"));
    let stranger = router(service.into(), world.shutdown.clone());
    let asked = request(Method::GET, &format!("{API}/tasks?after={cursor}"), &again).body(Body::empty());
    let response = stranger.oneshot(asked.expect("a request")).await.expect("the router always answers");
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_page_has_a_thousand_rows_unless_it_is_told_otherwise() {
    // D34
    let world = World::on_disk().await;
    let specs = (0..1003).map(|i| {
        let mut spec = TaskSpec::new(Uuid::now_v7(), "index", "q", world.acme);
        let id = format!("r-{i:04}");
        spec.resource = Some(domain::task::Named { id: id.into(), kind: "".into(), name: "".into() });
        Write::CreateTask(Box::new(spec))
    });
    world.commit(specs.collect()).await;
    let auth = world.bearer(world.acme, Role::Viewer).await;
    for query in ["?lod=tiny", "?lod=tiny&limit=1000"] {
        let first = list(&world, &auth, &format!("/tasks{query}")).await;
        assert_eq!((first["size"].as_u64(), ids(&first)[0], ids(&first)[999]), (Some(1000), 1003, 4));
        let rest = list(&world, &auth, &format!("/tasks?after={}", after(&first).expect("more"))).await;
        assert_eq!((ids(&rest), after(&rest)), (vec![3, 2, 1], None));
    }
    // D32: as many rows as the limit, and nothing behind them.
    let exact = list(&world, &auth, "/tasks?lod=tiny&limit=3&id=le(3)").await;
    assert_eq!((ids(&exact), after(&exact)), (vec![3, 2, 1], None));
    let none = list(&world, &auth, "/tasks?id=gt(2000)").await;
    assert_eq!((ids(&none), after(&none)), (vec![], None));
    // D39: a thousand groups, and word of the rest.
    let counted = list(&world, &auth, "/tasks?lod=count&groupBy=resourceId").await;
    assert_eq!((counted["count"].as_u64(), counted["groups"].as_array().map(Vec::len)), (Some(1003), Some(1000)));
    assert_eq!(counted["groupsTruncated"], true);
    assert_eq!(counted["groups"][0], json!({ "resourceId": "r-0000", "count": 1 }));
    let counted = list(&world, &auth, "/tasks?lod=count&groupBy=resourceId&id=gt(3)").await;
    assert_eq!((counted["groups"].as_array().map(Vec::len), counted.get("groupsTruncated")), (Some(1000), None));
}

#[tokio::test]
async fn the_time_stamp_is_the_horizon_and_bounds_a_walk_by_the_last_change() {
    // D33, D72
    let history = History::new().await;
    let world = &history.world;
    let auth = world.bearer(Uuid::nil(), Role::Viewer).await;
    let time = |value: &Value| value.as_str().and_then(|t| t.parse::<Timestamp>().ok()).expect("a time");
    let newest = history.tasks.iter().map(|t| t.status.updated_at).max().expect("tasks");
    let mut body = list(world, &auth, "/tasks?order=asc(updatedAt)&allow_deleted=true&limit=5").await;
    assert!(time(&body["timeStamp"]) >= newest);
    let horizon = time(&body["timeStamp"]);
    let mut met = ids(&body);
    // A row that changes while it lies ahead is left to the next walk, and so is a new one.
    let last = sorted(history.tasks.iter(), &[(TaskField::UpdatedAt, Direction::Desc)])[0];
    let waiting = sorted(history.tasks.iter(), &[(TaskField::UpdatedAt, Direction::Asc)])
        .into_iter()
        .rfind(|t| t.state() == State::Enqueued && !met.contains(&t.id.0))
        .expect("one waits");
    assert_ne!(last.id, waiting.id);
    let cancel = domain::task::Event::Cancel { by: "cinema".into() };
    let spec = TaskSpec::new(Uuid::now_v7(), "index", "q", world.acme);
    let task = domain::task::TaskRef::Id(waiting.id);
    world.commit(vec![Write::Task(task, cancel), Write::CreateTask(Box::new(spec))]).await;
    while let Some(next) = after(&body).map(str::to_owned) {
        body = list(world, &auth, &format!("/tasks?limit=5&after={next}")).await;
        assert!(time(&body["timeStamp"]) > horizon);
        met.extend(ids(&body));
    }
    let mut wanted: Vec<i64> =
        sorted(history.tasks.iter(), &[(TaskField::UpdatedAt, Direction::Asc)]).iter().map(|t| t.id.0).collect();
    wanted.retain(|id| *id != waiting.id.0);
    assert_eq!(met, wanted);
    let next =
        list(world, &auth, &format!("/tasks?updatedAt=gt({horizon})&order=asc(updatedAt)&allow_deleted=1")).await;
    assert_eq!(ids(&next), [waiting.id.0, history.tasks.len() as i64 + 1]);
}
