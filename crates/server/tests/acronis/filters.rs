//! What filters find, and counts by what was found (contract, section 4, D16 to D26, D39), against a history of which all is
//! known.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use domain::activity::ActivityView;
use domain::query::{ActivityField, TaskField};
use domain::task::{Priority, ResultCode, State, Task};
use domain::{Role, Timestamp, Uuid};
use serde_json::{Map, Value, json};

use crate::history::{GUID_TYPE, History, LOWER, UPPER};
use crate::reading::{after, ids, list, sorted, walk};
use crate::shape::{API, as_refusal, refused};

type Matches<R> = Box<dyn Fn(&R) -> bool>;

/// A question about tasks as it stands on the wire, and the rows that it means.
fn task(query: impl Into<String>, means: impl Fn(&Task) -> bool + 'static) -> (String, Matches<Task>) {
    (query.into(), Box::new(means))
}

/// The same about activities.
fn step(query: impl Into<String>, means: impl Fn(&ActivityView) -> bool + 'static) -> (String, Matches<ActivityView>) {
    (query.into(), Box::new(means))
}

fn task_questions(history: &History) -> Vec<(String, Matches<Task>)> {
    let resource = |t: &Task| t.spec.resource.clone().unwrap_or_default();
    let policy = |t: &Task| t.spec.policy.clone().unwrap_or_default();
    let by = |t: &Task| t.spec.started_by.clone().unwrap_or_default();
    let ended: Vec<Timestamp> = history.tasks.iter().filter_map(Task::completed_at).collect();
    let (from, to) = (ended[2], ended[ended.len() - 3]);
    let between = move |t: &Task| t.completed_at().is_some_and(|at| at > from && at < to);
    let (a, b) = (history.tasks[4].clone(), history.tasks[9].clone());
    let (uuid, other) = (a.spec.uuid, b.spec.uuid);
    let nanos = from.as_nanosecond();
    vec![
        task("", |_| true),
        // D26, in every spelling of the brackets; a plus sign is a space, and between digits and zone a plus sign.
        task(format!("completedAt=gt({from})&completedAt=lt({to})"), between),
        task(format!("completedAt=gt%28{from}%29&completedAt=lt%28{to}%29"), between),
        task(format!("completedAt=gt({})&completedAt=lt({to})", from.to_string().replace('Z', "+00:00")), between),
        task(format!("completedAt=gt({})&completedAt=lt({to})", from.to_string().replace('Z', "%2B00:00")), between),
        task(format!("completedAt=gt({nanos})&completedAt=lt({to})"), between),
        task(format!("completedAt=gt({nanos}ns)&completedAt=lt({to})"), between),
        task(format!("completedAt=range({from},{to})"), move |t| {
            t.completed_at().is_some_and(|at| at >= from && at < to)
        }),
        task(format!("completedAt={from}"), move |t| t.completed_at() == Some(from)),
        task("completedAt=gt(0001-01-01T00:00:00Z)", |t| t.completed_at().is_some()),
        task("completedAt=gt(2026-11-14T00:00:00Z)&completedAt=lt(2026-11-13T00:00:00Z)", |_| false),
        task("completedAt=isnull()", |t| t.completed_at().is_none()),
        task("startedAt=notnull()", |t| t.started_at().is_some()),
        task("assignedAt=isnull()", |t| t.assigned_at().is_none()),
        task(format!("enqueuedAt=le({})", a.status.enqueued_at), {
            let at = a.status.enqueued_at;
            move |t: &Task| t.status.enqueued_at <= at
        }),
        task(format!("updatedAt=ge({})", b.status.updated_at), {
            let at = b.status.updated_at;
            move |t: &Task| t.status.updated_at >= at
        }),
        // D20: what is no call is literal.
        task("resourceName=SRV-01+(copy)", move |t| resource(t).name == "SRV-01 (copy)"),
        task("resourceName=SRV-01%20%28copy%29", move |t| resource(t).name == "SRV-01 (copy)"),
        task("startedBy=client+x+(1)", move |t| by(t) == "client x (1)"),
        task("startedBy=eq(client x (1))".replace(' ', "+"), move |t| by(t) == "client x (1)"),
        // D21
        task("resourceName=like(srv)", move |t| resource(t).name.to_lowercase().contains("srv")),
        task("resourceName=like(B%C3%9CRO)", move |t| resource(t).name == "B\u{fc}ro_1"),
        task("resourceName=like(_)", move |t| resource(t).name.contains('_')),
        task("resourceName=like(%25)", move |t| resource(t).name.contains('%')),
        task("startedBy=hlike(NIGHT)&startedBy=tlike(A)", move |t| by(t).starts_with("Night") || by(t).ends_with('a')),
        task("startedBy=hlike(%C3%A9qui)", move |t| by(t) == "\u{c9}quipe"),
        task("policyName=like((eu))", move |t| policy(t).name == "nightly (EU)"),
        task(format!("resourceId={LOWER}"), move |t| resource(t).id.eq_ignore_ascii_case(LOWER)),
        task(format!("resourceId={UPPER}"), move |t| resource(t).id.eq_ignore_ascii_case(LOWER)),
        task(format!("resourceId=or(r-1,{UPPER})"), move |t| {
            resource(t).id == "r-1" || resource(t).id.eq_ignore_ascii_case(LOWER)
        }),
        task(format!("resourceId=ne({UPPER})"), move |t| {
            t.spec.resource.is_some() && !resource(t).id.eq_ignore_ascii_case(LOWER)
        }),
        task("resourceId=R-1", |_| false),
        task(format!("type={}", GUID_TYPE.to_lowercase()), |t| t.spec.kind == GUID_TYPE),
        // D22
        task("policyType=backup", move |t| policy(t).kind == "backup"),
        task("tag=nightly", |t| t.spec.tags.iter().any(|tag| tag == "nightly")),
        task("tag=a%2Bb", |t| t.spec.tags.iter().any(|tag| tag == "a+b")),
        task("tag=a+b", |t| t.spec.tags.iter().any(|tag| tag == "a b")),
        task("tag=caf%C3%A9", |t| t.spec.tags.iter().any(|tag| tag == "caf\u{e9}")),
        task("tag=ne(nightly)", |t| !t.spec.tags.is_empty() && t.spec.tags.iter().all(|tag| tag != "nightly")),
        task("tag=isnull()", |t| t.spec.tags.is_empty()),
        // D52, D54
        task("type=policy.apply", |t| t.spec.kind == "apply_policy"),
        task("type=apply_policy", |t| t.spec.kind == "apply_policy"),
        task("resourceType=machine", move |t| {
            ["machine", "compute_vm", "bare_metal"].contains(&resource(t).kind.as_str())
        }),
        task("resourceType=compute_vm", move |t| resource(t).kind == "compute_vm"),
        // 4.4, D23
        task("state=started&state=paused", |t| matches!(t.state(), State::Started | State::Paused)),
        task("state=or(started,paused)&state=started", |t| matches!(t.state(), State::Started | State::Paused)),
        task("state=ge(started)&state=ne(paused)", |t| matches!(t.state(), State::Started | State::Completed)),
        task("state=started&resultCode=ok", |_| false),
        task("resultCode=error&resultCode=abandoned&resultCode=timedout", |t| {
            t.result()
                .is_some_and(|r| matches!(r.code, ResultCode::Error | ResultCode::Abandoned | ResultCode::TimedOut))
        }),
        task("resultCode=gt(warning)", |t| t.result().is_some_and(|r| r.code > ResultCode::Warning)),
        task("priority=gt(normal)", |t| t.spec.priority > Priority::Normal),
        task("priority=belowNormal", |t| t.spec.priority == Priority::BelowNormal),
        task("queue=q-a&queue=agents", |t| t.spec.queue == "q-a" || t.spec.queue == "agents"),
        task("executorId=E-1", |t| t.executor().is_some_and(|e| e.id == "E-1")),
        task("affinityAgentId=e-1", |t| t.spec.affinity.agent.as_deref() == Some("e-1")),
        task("affinityClusterId=notnull()", |t| t.spec.affinity.cluster.is_some()),
        // D24
        task("workflowId=ne(7)", |t| t.spec.workflow_id == Some(8)),
        task("workflowId=isnull()", |t| t.spec.workflow_id.is_none()),
        task("id=ge(5)&id=lt(19)&id=ne(7)", |t| (5..19).contains(&t.id.0) && t.id.0 != 7),
        task("id=3&id=or(8,9)&id=3", |t| [3, 8, 9].contains(&t.id.0)),
        task(format!("uuid={}", uuid.to_string().to_uppercase()), move |t| t.spec.uuid == uuid),
        task(format!("uuid=or({uuid},{other})"), move |t| t.spec.uuid == uuid || t.spec.uuid == other),
        task("policyId=7A8B9C0D-1E2F-4A3B-9C4D-5E6F7A8B9C0D", move |t| policy(t).name == "nightly (EU)"),
        // D16: names that begin so are ignored.
        task("_=1605312000&state=enqueued&__x=%zz", |t| t.state() == State::Enqueued),
    ]
}

fn activity_questions(history: &History) -> Vec<(String, Matches<ActivityView>)> {
    let first = history.activities.iter().find(|a| a.parent().is_some()).expect("a step").clone();
    let (id, root, made) = (first.task.id, first.parent(), first.activity.created_at);
    vec![
        step("", |_| true),
        step(format!("taskId={id}"), move |a| a.task.id == id),
        step(format!("parentActivityId={}", root.expect("it has one")), move |a| a.parent() == root),
        step("parentActivityId=isnull()", |a| a.activity.is_root()),
        step("sustainable=True", ActivityView::sustainable),
        step("sustainable=0&type=scan", |a| !a.sustainable() && a.kind() == "scan"),
        step(format!("createdAt=gt({made})"), move |a| a.activity.created_at > made),
        step("state=started", |a| a.state() == State::Started),
        step("state=assigned", |a| a.state() == State::Assigned),
        step("resultCode=ok&type=copy&type=scan", |a| {
            a.result().is_some_and(|r| r.code == ResultCode::Ok) && ["copy", "scan"].contains(&a.kind())
        }),
        step("tag=nightly", |a| a.tags().iter().any(|t| t == "nightly")),
        step("tag=step+1", |a| a.tags().iter().any(|t| t == "step 1")),
        // D47: of its task.
        step("policyType=backup&resourceType=machine", |a| {
            let kind = |n: &Option<domain::task::Named>| n.as_ref().map(|n| n.kind.clone()).unwrap_or_default();
            kind(&a.task.spec.policy) == "backup"
                && ["machine", "compute_vm", "bare_metal"].contains(&kind(&a.task.spec.resource).as_str())
        }),
        step("startedBy=like(AN)", |a| {
            a.task.spec.started_by.as_ref().is_some_and(|n| n.to_lowercase().contains("an"))
        }),
        step("workflowId=8&completedAt=notnull()", |a| {
            a.task.spec.workflow_id == Some(8) && a.completed_at().is_some()
        }),
        step(format!("resourceId={UPPER}&startedAt=notnull()"), |a| {
            a.task.spec.resource.as_ref().is_some_and(|r| r.id.eq_ignore_ascii_case(LOWER)) && a.started_at().is_some()
        }),
    ]
}

#[tokio::test]
async fn filters_find_what_they_say() {
    let history = History::new().await;
    let world = &history.world;
    for tenant in [Uuid::nil(), world.acme] {
        let auth = world.bearer(tenant, Role::Viewer).await;
        for (query, means) in task_questions(&history) {
            let rows: Vec<i64> = sorted::<TaskField>(history.tasks_of(tenant), &[])
                .iter()
                .filter(|t| means(t))
                .map(|t| t.id.0)
                .collect();
            assert_eq!(ids(&list(world, &auth, &format!("/tasks?{query}")).await), rows, "{query}");
            assert_eq!(walk(world, &auth, "/tasks", &query, 11).await, rows, "{query}");
            counted(&list(world, &auth, &format!("/tasks?{query}&lod=count")).await, rows.len(), &query);
        }
        for (query, means) in activity_questions(&history) {
            let rows = sorted::<ActivityField>(history.activities_of(tenant), &[]);
            let rows: Vec<i64> = rows.iter().filter(|a| means(a)).map(|a| a.activity.id.0).collect();
            assert_eq!(ids(&list(world, &auth, &format!("/activities?{query}")).await), rows, "{query}");
            assert_eq!(walk(world, &auth, "/activities", &query, 11).await, rows, "{query}");
            counted(&list(world, &auth, &format!("/activities?{query}&lod=count")).await, rows.len(), &query);
        }
    }
}

/// A number without rows (D39).
fn counted(body: &Value, rows: usize, what: &str) {
    let members: BTreeSet<_> = body.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(["items", "size", "count", "timeStamp", "paging", "cursors"]), "{what}");
    assert_eq!((&body["items"], &body["cursors"]), (&json!([]), &json!({})), "{what}");
    assert_eq!((body["size"].as_u64(), body["count"].as_u64()), (Some(rows as u64), Some(rows as u64)), "{what}");
}

#[tokio::test]
async fn filters_that_cannot_be_read_are_named() {
    let history = History::new().await;
    let world = &history.world;
    let auth = world.bearer(world.acme, Role::Viewer).await;
    for (query, code, parameter, suggestion) in [
        // D16, as seen in the wild
        ("tenant_id=1", "unknownParameter", "tenant_id", Some("tenantId")),
        ("result_code=error", "unknownParameter", "result_code", Some("resultCode")),
        ("createdAt=gt(1605312000)", "unknownParameter", "createdAt", Some("enqueuedAt")),
        ("context.id=1", "unknownParameter", "context.id", None),
        ("state=running", "invalidParameter", "state", None),
        ("state=Started", "invalidParameter", "state", None),
        ("state=like(s)", "invalidParameter", "state", None),
        ("priority=below_normal", "invalidParameter", "priority", None),
        ("id=x", "invalidParameter", "id", None),
        ("id=or(1,)", "invalidParameter", "id", None),
        ("uuid=1", "invalidParameter", "uuid", None),
        ("completedAt=yesterday", "invalidParameter", "completedAt", None),
        ("completedAt=gt()", "invalidParameter", "completedAt", None),
        ("completedAt=or(1,2)", "invalidParameter", "completedAt", None),
        ("type=gt(a)", "invalidParameter", "type", None),
        ("workflowId=isnull()&workflowId=7", "invalidParameter", "workflowId", None),
        ("state=isnull()", "invalidParameter", "state", None),
        ("lod=all", "invalidParameter", "lod", None),
        ("limit=10&limit=10", "invalidParameter", "limit", None),
        ("order=asc(queue)", "invalidParameter", "order", None),
        ("order=up(id)", "invalidParameter", "order", None),
        ("order=id,uuid,type,state,priority", "invalidParameter", "order", None),
        ("order=id&order=desc(id)", "invalidParameter", "order", None),
        ("allow_deleted=yes", "invalidParameter", "allow_deleted", None),
        ("groupBy=state", "invalidParameter", "groupBy", None),
        ("lod=count&groupBy=queue", "invalidParameter", "groupBy", None),
        ("lod=count&groupBy=state,type,tenant", "invalidParameter", "groupBy", None),
        ("lod=count&limit=0", "invalidParameter", "limit", None),
        ("lod=count&order=asc(queue)", "invalidParameter", "order", None),
        ("lod=count&after=x", "invalidCursor", "after", None),
    ] {
        let answer = world.get(&format!("{API}/tasks?{query}"), &auth).await;
        assert_eq!(refused(&answer, query), as_refusal(400, code), "{query}");
        let context = &answer.2["context"];
        assert_eq!(context["parameter"], parameter, "{query}");
        assert_eq!(context["suggestion"].as_str(), suggestion, "{query}");
    }
    let long = format!("{API}/tasks?resourceName={}", "x".repeat(257));
    assert_eq!(refused(&world.get(&long, &auth).await, "D21"), as_refusal(400, "invalidParameter"));
}

/// How many rows have each combination of values, as groups that must come: largest first.
fn groups<'a, R: 'a>(rows: impl Iterator<Item = &'a R>, key: impl Fn(&R) -> Map<String, Value>) -> Vec<Value> {
    let mut counts: BTreeMap<String, (Map<String, Value>, u64)> = BTreeMap::new();
    for row in rows {
        let key = key(row);
        counts.entry(Value::Object(key.clone()).to_string()).or_insert((key, 0)).1 += 1;
    }
    let mut groups: Vec<_> = counts.into_values().collect();
    groups.sort_by_key(|(_, count)| Reverse(*count));
    let shown = |(mut key, count): (Map<String, Value>, u64)| {
        key.insert("count".to_owned(), json!(count));
        Value::Object(key)
    };
    groups.into_iter().map(shown).collect()
}

#[tokio::test]
async fn counts_by_any_two_keys_are_those_of_the_rows() {
    // D39
    let history = History::new().await;
    let world = &history.world;
    let auth = world.bearer(Uuid::nil(), Role::Viewer).await;
    let of_task = |task: &Task, name: &str, own: [Value; 3]| {
        let tenant = history.tenants.iter().find(|t| t.id == task.spec.tenant).expect("a tenant");
        let id = |n: &Option<domain::task::Named>| n.as_ref().map_or(Value::Null, |n| json!(n.id));
        let [kind, state, result] = own;
        match name {
            "tenant" => json!({
                "id": tenant.number.to_string(), "uuid": tenant.id, "name": tenant.name, "locator": tenant.locator,
            }),
            "policyId" => id(&task.spec.policy),
            "resourceId" => id(&task.spec.resource),
            "type" => kind,
            "state" => state,
            _ => result,
        }
    };
    let kind = |kind: &str| json!(if kind == "apply_policy" { "policy.apply" } else { kind });
    let code = |result: Option<&domain::task::TaskResult>| result.map_or(Value::Null, |r| json!(r.code.name()));
    let keyed = |by: &str, value: &dyn Fn(&str) -> Value| -> Map<String, Value> {
        by.split(',').map(|name| (name.to_owned(), value(name))).filter(|(_, value)| !value.is_null()).collect()
    };
    let names = ["tenant", "state", "resultCode", "type", "policyId", "resourceId"];
    let pairs = names.iter().flat_map(|a| names.iter().filter(move |b| *b != a).map(move |b| format!("{a},{b}")));
    for by in names.into_iter().map(str::to_owned).chain(pairs) {
        for (path, wanted) in [
            (
                "/tasks",
                groups(history.tasks_of(Uuid::nil()), |t| {
                    let own = || [kind(&t.spec.kind), json!(t.state().name()), code(t.result())];
                    keyed(&by, &|name| of_task(t, name, own()))
                }),
            ),
            (
                "/activities",
                groups(history.activities_of(Uuid::nil()), |a| {
                    let own = || [kind(a.kind()), json!(a.state().name()), code(a.result())];
                    keyed(&by, &|name| of_task(&a.task, name, own()))
                }),
            ),
        ] {
            // The limit and the order are checked and do nothing.
            let body = list(world, &auth, &format!("{path}?lod=count&groupBy={by}&limit=1&order=asc(state)")).await;
            let got = body["groups"].as_array().expect("groups").clone();
            let total: u64 = got.iter().map(|g| g["count"].as_u64().expect("a number")).sum();
            assert_eq!((body["count"].as_u64(), body["size"].as_u64()), (Some(total), Some(total)), "{path} by {by}");
            let sizes = |groups: &[Value]| groups.iter().map(|g| g["count"].clone()).collect::<Vec<_>>();
            assert_eq!(sizes(&got), sizes(&wanted), "{path} by {by}: largest first");
            let set = |groups: &[Value]| groups.iter().map(Value::to_string).collect::<BTreeSet<_>>();
            assert_eq!(set(&got), set(&wanted), "{path} by {by}");
            // The same again gives the same order.
            let again = list(world, &auth, &format!("{path}?groupBy={by}&lod=count")).await;
            assert_eq!(again["groups"], body["groups"], "{path} by {by}");
        }
    }
    // The failure view of section 16, in numbers.
    let query =
        "/activities?lod=count&groupBy=tenant,resultCode&resultCode=error&resultCode=abandoned&resultCode=timedout";
    let body = list(world, &auth, query).await;
    let failed = |a: &&ActivityView| {
        let codes = [ResultCode::Error, ResultCode::Abandoned, ResultCode::TimedOut];
        a.result().is_some_and(|r| codes.contains(&r.code))
    };
    assert_eq!(body["count"], history.activities_of(Uuid::nil()).filter(failed).count());
    // A cursor's question is counted whole.
    let first = list(world, &auth, "/tasks?state=completed&limit=2").await;
    let body = list(world, &auth, &format!("/tasks?lod=count&after={}", after(&first).expect("more"))).await;
    let completed = history.tasks_of(Uuid::nil()).filter(|t| t.state() == State::Completed).count();
    counted(&body, completed, "with a cursor");
}

#[tokio::test]
async fn tenants_are_filtered_by_uuid_and_number_and_invisible_ones_match_nothing() {
    // D18
    let history = History::new().await;
    let world = &history.world;
    let number = |id: Uuid| history.tenants.iter().find(|t| t.id == id).expect("a tenant").number;
    let (acme, east, globex, west) = (world.acme, world.acme_east, world.globex, world.globex_west);
    let root = Uuid::nil();
    let (own, below): (&[Uuid], &[Uuid]) = (&[acme], &[acme, east]);
    for (token, query, wanted) in [
        (root, format!("tenantId={acme}"), own),
        (root, format!("tenantId={}", acme.to_string().to_uppercase()), own),
        (root, format!("tenantId={}", number(acme)), own),
        (root, format!("tenantId=eq({acme})"), own),
        (root, format!("tenantId={acme}&tenantId={}", number(east)), below),
        (root, format!("tenantId=or({},{east})", number(acme)), below),
        (root, format!("tenantId=ne({globex})&tenantId=ne({})", number(west)), below),
        (root, format!("tenantId=or({acme},{globex})&tenantId=ne({globex})"), own),
        (root, format!("tenantSubtreeId={acme}"), below),
        (root, format!("tenantSubtreeId={}", number(acme)), below),
        (root, format!("tenantSubtreeId={root}"), &[acme, east, globex, west]),
        (root, format!("tenantSubtreeId={acme}&tenantId={acme}"), own),
        (root, format!("tenantSubtreeId={acme}&tenantId={globex}"), &[]),
        (root, "tenantId=4711".to_owned(), &[]),
        (root, "tenantSubtreeId=4711".to_owned(), &[]),
        (root, format!("tenantId=or(4711,{acme})"), own),
        (root, format!("tenantSubtreeId={}", Uuid::from_u128(7)), &[]),
        // Of another, and of the one above.
        (acme, format!("tenantId={globex}"), &[]),
        (acme, format!("tenantId={}", number(globex)), &[]),
        (acme, format!("tenantId=or({globex},{acme})"), own),
        (acme, format!("tenantId=ne({globex})"), below),
        (acme, format!("tenantId=ne({})", number(globex)), below),
        (acme, format!("tenantSubtreeId={globex}"), &[]),
        (acme, format!("tenantSubtreeId={}", number(globex)), &[]),
        (acme, format!("tenantSubtreeId={root}"), &[]),
        (east, format!("tenantSubtreeId={acme}"), &[]),
        (east, format!("tenantId={acme}"), &[]),
    ] {
        let auth = world.bearer(token, Role::Viewer).await;
        let rows: Vec<i64> = sorted::<TaskField>(history.tasks_of(token), &[])
            .iter()
            .filter(|t| wanted.contains(&t.spec.tenant))
            .map(|t| t.id.0)
            .collect();
        assert_eq!(rows.is_empty(), wanted.is_empty());
        assert_eq!(ids(&list(world, &auth, &format!("/tasks?{query}")).await), rows, "{query}");
        assert_eq!(walk(world, &auth, "/tasks", &query, 3).await, rows, "{query}");
        counted(&list(world, &auth, &format!("/tasks?{query}&lod=count")).await, rows.len(), &query);
        let steps = history.activities_of(token).filter(|a| wanted.contains(&a.task.spec.tenant)).count();
        assert_eq!(list(world, &auth, &format!("/activities?{query}")).await["size"], steps, "{query}");
        let groups = list(world, &auth, &format!("/tasks?{query}&lod=count&groupBy=tenant")).await;
        assert_eq!(groups["groups"].as_array().map(Vec::len), Some(wanted.len()), "{query}");
    }
    let auth = world.bearer(root, Role::Viewer).await;
    for query in [
        "tenantId=acme",
        "tenantId=-1",
        "tenantId=gt(1)",
        "tenantId=isnull()",
        "tenantSubtreeId=ne(1)",
        "tenantSubtreeId=1&tenantSubtreeId=2",
    ] {
        let answer = world.get(&format!("{API}/tasks?{query}"), &auth).await;
        assert_eq!(refused(&answer, query), as_refusal(400, "invalidParameter"), "{query}");
    }
}
