//! What the parameters of a request mean, decision by decision; `rule.rs` tests the rule of D23 as a property.

mod controls;
mod paging;
mod rule;

use std::sync::Arc;

use domain::query::{Filter, TaskField};
use domain::task::{
    Affinity, Completion, Executor, Named, Phase, Priority, ResultCode, Task, TaskId, TaskResult, TaskSpec,
};
use serde_json::Value as Json;

use super::*;

/// A question of somebody of the tenant 66, put at 2026-11-21T09:30:00Z.
fn ask<F: Listed>(raw: &str) -> Result<Asked<F>, Failure> {
    ask_as(66, "2026-11-21T09:30:00Z", raw)
}

fn ask_as<F: Listed>(tenant: u128, horizon: &str, raw: &str) -> Result<Asked<F>, Failure> {
    with_asker(tenant, horizon, |asker| Asked::parse(&params::decode(raw)?, asker))
}

fn with_asker<T>(tenant: u128, horizon: &str, f: impl FnOnce(&Asker<'_>) -> T) -> T {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"a key of the server");
    f(&Asker { tenant: Uuid::from_u128(tenant), key: &key, horizon: at(horizon) })
}

fn at(text: &str) -> Timestamp {
    super::super::time::parse(text).expect("a time")
}

/// The body of the refusal of a question about tasks.
fn refusal(raw: &str) -> Json {
    match ask::<TaskField>(raw) {
        Ok(asked) => panic!("{raw} is not refused: {asked:?}"),
        Err(failure) => failure.body(),
    }
}

fn filter(raw: &str) -> Filter<TaskField> {
    let asked = ask::<TaskField>(raw).unwrap_or_else(|f| panic!("{raw}: {}", f.body()));
    asked.query(&HashMap::new()).expect("fits").filter
}

/// The ids of the tasks that a query finds.
fn found(tasks: &[Task], raw: &str) -> Vec<i64> {
    let filter = filter(raw);
    tasks.iter().filter(|t| filter.matches(t)).map(|t| t.id.0).collect()
}

fn task(id: i64, change: impl FnOnce(&mut TaskSpec)) -> Task {
    let mut spec = TaskSpec::new(Uuid::from_u128(id.unsigned_abs().into()), "backup", "agents", Uuid::from_u128(66));
    change(&mut spec);
    Task::create(TaskId(id), Arc::new(spec), at("1000")).expect("a plain task is allowed")
}

fn completed(mut task: Task, at: Timestamp, code: ResultCode) -> Task {
    let result = TaskResult { code, error: None, warnings: Vec::new(), payload: Json::Null.into() };
    task.status.phase = Phase::Completed(Box::new(Completion {
        executor: Some(Executor { id: "agent".into(), ..Executor::default() }),
        assigned_at: None,
        started_at: None,
        lease: None,
        completed_at: at,
        result,
    }));
    task
}

fn named(id: &str, kind: &str, name: &str) -> Option<Named> {
    Some(Named { id: id.into(), kind: kind.into(), name: name.into() })
}

/// Names and types of the table in 4.2, and whether rows can be without: T = tasks, A = activities.
const TABLE: [(&str, &str, &str, bool); 31] = [
    ("id", "TA", "integer", false),
    ("workflowId", "TA", "integer", true),
    ("taskId", "A", "integer", false),
    ("parentActivityId", "A", "integer", true),
    ("uuid", "TA", "uuid", false),
    ("type", "TA", "string", false),
    ("policyId", "TA", "string", true),
    ("policyType", "TA", "string", true),
    ("policyName", "TA", "like", true),
    ("resourceId", "TA", "string", true),
    ("resourceType", "TA", "string", true),
    ("resourceName", "TA", "like", true),
    ("startedBy", "TA", "like", true),
    ("tag", "TA", "string", true),
    ("queue", "T", "string", false),
    ("executorId", "T", "string", true),
    ("affinityAgentId", "T", "string", true),
    ("affinityClusterId", "T", "string", true),
    ("priority", "T", "priority", false),
    ("state", "TA", "state", false),
    ("resultCode", "TA", "code", true),
    ("enqueuedAt", "T", "time", false),
    ("assignedAt", "T", "time", true),
    ("createdAt", "A", "time", false),
    ("startedAt", "TA", "time", true),
    ("updatedAt", "TA", "time", false),
    ("completedAt", "TA", "time", true),
    ("sustainable", "A", "boolean", false),
    ("tenantId", "TA", "tenant", false),
    ("tenantSubtreeId", "TA", "subtree", false),
    ("deletedAt", "", "time", true),
];

#[test]
fn every_filter_is_on_its_lists_and_has_its_functions() {
    // 4.2, D19; a known function on a type that lacks it is refused: D20.
    let functions = ["eq", "ne", "or", "lt", "le", "gt", "ge", "range", "like", "hlike", "tlike"];
    for (name, on, form, optional) in TABLE {
        let (value, has) = match form {
            "integer" => ("42", "eq ne or lt le gt ge"),
            "uuid" => ("7a8b9c0d-1e2f-4a3b-9c4d-5e6f7a8b9c0d", "eq ne or"),
            "string" => ("abc", "eq ne or"),
            "like" => ("abc", "eq ne or like hlike tlike"),
            "priority" => ("belowNormal", "eq ne or lt le gt ge"),
            "state" => ("paused", "eq ne or lt le gt ge"),
            "code" => ("timedout", "eq ne or lt le gt ge"),
            "time" => ("1605312000", "eq ne lt le gt ge range"),
            "boolean" => ("True", "eq ne or"),
            "tenant" => ("67", "eq ne or"),
            _ => ("67", "eq"),
        };
        let has: Vec<&str> = has.split(' ').collect();
        for (list, ok) in
            [("T", accepts::<TaskField> as fn(&str) -> bool), ("A", accepts::<domain::query::ActivityField>)]
        {
            let here = on.contains(list);
            assert_eq!(ok(&format!("{name}={value}")), here, "{name} on {list}");
            for function in functions {
                let argument = if function == "range" { format!("{value},{value}") } else { value.to_owned() };
                let fits = here && has.contains(&function);
                assert_eq!(ok(&format!("{name}={function}({argument})")), fits, "{name}={function}(..) on {list}");
            }
            for function in ["isnull()", "notnull()"] {
                assert_eq!(ok(&format!("{name}={function}")), here && optional, "{name}={function} on {list}");
            }
        }
    }
}

fn accepts<F: Listed>(raw: &str) -> bool {
    ask::<F>(raw).is_ok()
}

#[test]
fn cursors_name_filters_and_orders_by_their_places() {
    // D36: valid across restarts, so across versions too. New names come last; then this test grows.
    fn names<F: Listed>() -> (String, String) {
        let filters: Vec<&str> = F::FILTERS.iter().map(|f| f.name).collect();
        let orders: Vec<&str> = F::ORDERS.iter().map(|(name, _)| *name).collect();
        (filters.join(" "), orders.join(" "))
    }
    let (filters, orders) = names::<TaskField>();
    assert_eq!(
        filters,
        "id workflowId uuid type policyId policyType policyName resourceId resourceType resourceName startedBy tag queue \
         executorId affinityAgentId affinityClusterId priority state resultCode enqueuedAt assignedAt startedAt updatedAt \
         completedAt tenantId tenantSubtreeId"
    );
    assert_eq!(
        orders,
        "id uuid type priority startedByUser state enqueuedAt assignedAt startedAt updatedAt completedAt"
    );
    let (filters, orders) = names::<domain::query::ActivityField>();
    assert_eq!(
        filters,
        "id workflowId taskId parentActivityId uuid type policyId policyType policyName resourceId resourceType resourceName \
         startedBy tag state resultCode createdAt startedAt updatedAt completedAt sustainable tenantId tenantSubtreeId"
    );
    assert_eq!(orders, "id uuid type startedByUser state createdAt startedAt updatedAt completedAt");
}

#[test]
fn only_what_reads_as_a_call_to_its_end_is_one() {
    // D20
    let names = ["Server (1)", "like(", "like)", "like(a) b", "x(a)", "LIKE(a)", "(a)", "eq(a)", "a(b)(c)", "ne(x"];
    let tasks: Vec<Task> =
        (1..).zip(names).map(|(id, name)| task(id, |s| s.resource = named("r", "volume", name))).collect();
    for (id, name) in (1..).zip(names).filter(|(_, name)| *name != "eq(a)") {
        let encoded = name.replace(' ', "+");
        assert_eq!(found(&tasks, &format!("resourceName={encoded}")), [id], "{name}");
        assert_eq!(found(&tasks, &format!("resourceName=eq({encoded})")), [id], "eq quotes {name}");
    }
    assert_eq!(found(&tasks, "resourceName=eq(eq(a))"), [8]);
    assert_eq!(found(&tasks, "resourceName=eq(a)"), [0; 0], "a call");
    assert_eq!(found(&tasks, "resourceName=or(Server (1),x(a))"), [1, 5], "the argument ends with the last bracket");
    assert_eq!(found(&tasks, "resourceName=like(a)(c)"), [0; 0], "looks for 'a)(c'");
    assert_eq!(found(&tasks, "resourceName=tlike(b)(c))"), [9]);
    let refused = refusal("queue=like(a)");
    assert_eq!(refused["code"], "invalidParameter");
    assert_eq!(refused["context"]["parameter"], "queue");
    assert_eq!(refused["context"]["allowed"], serde_json::json!(["eq", "ne", "or"]));
}

#[test]
fn the_argument_of_or_is_cut_at_every_comma() {
    // D20
    let tasks =
        [task(1, |s| s.resource = named("r", "volume", "a,b")), task(2, |s| s.resource = named("r", "volume", "a"))];
    assert_eq!(found(&tasks, "resourceName=or(a,b)"), [2]);
    assert_eq!(found(&tasks, "resourceName=a,b&resourceName=a"), [1, 2], "a repeated parameter is any of");
    for raw in [
        "resourceName=or(a,)",
        "resourceName=or()",
        "resourceName=or(,a)",
        "resourceName=eq()",
        "startedBy=like()",
        "id=gt()",
    ] {
        assert_eq!(refusal(raw)["code"], "invalidParameter", "{raw}: an empty value (D17)");
    }
}

#[test]
fn parts_of_names_are_found_in_any_case_and_nothing_in_them_is_special() {
    // D21
    let names = ["Сервер-01", "100% full", "a_b", "axb", "srv"];
    let tasks: Vec<Task> = (1..).zip(names).map(|(id, name)| task(id, |s| s.started_by = Some(name.into()))).collect();
    assert_eq!(found(&tasks, "startedBy=like(СЕРВЕР)"), [1]);
    assert_eq!(found(&tasks, "startedBy=hlike(сЕР)"), [1]);
    assert_eq!(found(&tasks, "startedBy=hlike(вер)"), [0; 0]);
    assert_eq!(found(&tasks, "startedBy=tlike(ER-01)"), [0; 0], "other letters");
    assert_eq!(found(&tasks, "startedBy=tlike(ЕР-01)"), [1]);
    assert_eq!(found(&tasks, "startedBy=like(%25)"), [2]);
    assert_eq!(found(&tasks, "startedBy=like(_)"), [3]);
    assert_eq!(found(&tasks, "startedBy=SRV"), [0; 0], "equality is exact");
    assert_eq!(
        found(&tasks, "startedBy=like(srv)&startedBy=like(AXB)"),
        [4, 5],
        "D23: repeated likes are alternatives"
    );
}

#[test]
fn guids_are_equal_in_any_case_on_every_text() {
    // D21
    type Set = fn(&mut TaskSpec, &str);
    let (lower, upper) = ("3b91ae0c-8d4b-4c52-9f0b-52f5d3a0e711", "3B91AE0C-8D4B-4C52-9F0B-52F5D3A0E711");
    let rows = [upper, lower, "3b91", "other"];
    let make = |change: Set| -> Vec<Task> { (1..).zip(rows).map(|(id, text)| task(id, |s| change(s, text))).collect() };
    let fields: [(&str, Set); 12] = [
        ("type", |s, v| s.kind = v.into()),
        ("policyId", |s, v| s.policy = named(v, "t", "n")),
        ("policyType", |s, v| s.policy = named("i", v, "n")),
        ("policyName", |s, v| s.policy = named("i", "t", v)),
        ("resourceId", |s, v| s.resource = named(v, "t", "n")),
        ("resourceType", |s, v| s.resource = named("i", v, "n")),
        ("resourceName", |s, v| s.resource = named("i", "t", v)),
        ("startedBy", |s, v| s.started_by = Some(v.into())),
        ("tag", |s, v| s.tags = vec!["x".into(), v.into()]),
        ("queue", |s, v| s.queue = v.into()),
        ("affinityAgentId", |s, v| s.affinity = Affinity { agent: Some(v.into()), cluster: None }),
        ("affinityClusterId", |s, v| s.affinity = Affinity { agent: None, cluster: Some(v.into()) }),
    ];
    for (name, change) in fields {
        let tasks = make(change);
        for guid in [lower, upper] {
            assert_eq!(found(&tasks, &format!("{name}={guid}")), [1, 2], "{name}");
            assert_eq!(found(&tasks, &format!("{name}=eq({guid})")), [1, 2], "{name}");
            assert_eq!(found(&tasks, &format!("{name}=or(other,{guid})")), [1, 2, 4], "{name}");
            assert_eq!(found(&tasks, &format!("{name}=ne({guid})")), [3, 4], "{name}");
        }
        assert_eq!(found(&tasks, &format!("{name}=3B91")), [0; 0], "{name}: all else is exact");
    }
    let executor = |id: i64, executor: &str| {
        let mut task = completed(task(id, |_| {}), at("5"), ResultCode::Ok);
        if let Phase::Completed(end) = &mut task.status.phase {
            end.executor = Some(Executor { id: executor.into(), ..Executor::default() });
        }
        task
    };
    assert_eq!(
        found(&[executor(1, lower), executor(2, upper), executor(3, "x")], &format!("executorId={upper}")),
        [1, 2]
    );
}

#[test]
fn a_value_has_at_most_256_bytes() {
    // D21
    let (fits, over) = ("й".repeat(128), format!("{}a", "й".repeat(128)));
    for call in ["{}", "eq({})", "ne({})", "or(a,{})", "like({})", "hlike({})", "tlike({})"] {
        assert!(ask::<TaskField>(&format!("resourceName={}", call.replace("{}", &fits))).is_ok(), "{call}");
        let refused = refusal(&format!("resourceName={}", call.replace("{}", &over)));
        assert!(refused["message"].as_str().is_some_and(|m| m.contains("256 bytes")), "{refused}");
        assert_eq!(refused["context"]["parameter"], "resourceName");
    }
    assert!(ask::<TaskField>(&format!("tag=or({fits},{fits})")).is_ok(), "each of several");
}

#[test]
fn a_tag_is_one_of_many() {
    // D22
    let tags = |tags: &[&str]| tags.iter().map(|t| (*t).into()).collect();
    let tasks = [
        task(1, |s| s.tags = tags(&["a", "b"])),
        task(2, |s| s.tags = tags(&["b"])),
        task(3, |s| s.tags = tags(&["c"])),
        task(4, |_| {}),
    ];
    assert_eq!(found(&tasks, "tag=b"), [1, 2]);
    assert_eq!(found(&tasks, "tag=a&tag=c"), [1, 3]);
    assert_eq!(found(&tasks, "tag=ne(a)"), [2, 3], "D24: one without tags has nothing to compare");
    assert_eq!(found(&tasks, "tag=isnull()"), [4]);
    assert_eq!(found(&tasks, "tag=notnull()"), [1, 2, 3]);
}

#[test]
fn types_are_found_by_the_vendors_names_and_by_ours() {
    // D52
    let tasks =
        [task(1, |s| s.kind = "apply_policy".into()), task(2, |s| s.kind = "revoke_policy".into()), task(3, |_| {})];
    assert_eq!(found(&tasks, "type=policy.apply"), [1]);
    assert_eq!(found(&tasks, "type=apply_policy"), [1]);
    assert_eq!(found(&tasks, "type=or(policy.revoke,backup)"), [2, 3]);
    assert_eq!(found(&tasks, "type=ne(policy.apply)"), [2, 3]);
    // D22, D54
    let kinds = ["machine", "compute_vm", "bare_metal", "volume"];
    let tasks: Vec<Task> =
        (1..).zip(kinds).map(|(id, kind)| task(id, |s| s.resource = named("r", kind, "n"))).collect();
    assert_eq!(found(&tasks, "resourceType=machine"), [1, 2, 3]);
    assert_eq!(found(&tasks, "resourceType=compute_vm"), [2]);
    assert_eq!(found(&tasks, "resourceType=or(bare_metal,volume)"), [3, 4]);
    assert_eq!(found(&tasks, "resourceType=ne(machine)"), [4]);
    assert_eq!(found(&tasks, "resourceType=ne(compute_vm)"), [1, 3, 4]);
}

#[test]
fn enums_have_an_order() {
    // D19
    let tasks: Vec<Task> = (1..).zip(Priority::ALL).map(|(id, p)| task(id, |s| s.priority = *p)).collect();
    assert_eq!(found(&tasks, "priority=belowNormal"), [2]);
    assert_eq!(found(&tasks, "priority=gt(belowNormal)"), [3, 4, 5]);
    assert_eq!(found(&tasks, "priority=le(belowNormal)"), [1, 2]);
    assert_eq!(found(&tasks, "priority=ge(belowNormal)&priority=lt(high)"), [2, 3, 4]);
    for raw in ["priority=below_normal", "priority=HIGH", "state=running", "resultCode=timedOut", "state=or(paused,x)"]
    {
        let refused = refusal(raw);
        assert_eq!(refused["code"], "invalidParameter", "{raw}");
        assert!(refused["context"]["allowed"].is_array(), "{raw}");
    }
}

#[test]
fn numbers_and_uuids_are_read_strictly() {
    // D19
    let tasks: Vec<Task> = (1..5).map(|id| task(id, |s| s.workflow_id = (id > 2).then_some(id * 10))).collect();
    assert_eq!(found(&tasks, "id=or(1,3)&id=4"), [1, 3, 4]);
    assert_eq!(found(&tasks, "id=gt(1)&id=le(3)"), [2, 3]);
    assert_eq!(found(&tasks, "workflowId=ne(30)"), [4], "D24");
    assert_eq!(found(&tasks, "workflowId=ge(-5)"), [3, 4]);
    assert_eq!(found(&tasks, "uuid=00000000-0000-0000-0000-000000000002"), [2]);
    assert_eq!(found(&[task(10, |_| {})], "uuid=00000000-0000-0000-0000-00000000000A"), [10], "any letter case");
    for raw in
        ["id=x", "id=1.5", "id=or(1, 2)", "id=99999999999999999999", "uuid=7", "uuid=00000000000000000000000000000002"]
    {
        let refused = refusal(raw);
        assert_eq!(refused["context"]["parameter"], raw.split('=').next().unwrap_or_default(), "{raw}");
        assert!(refused["context"]["value"].is_string(), "{raw}");
    }
}

#[test]
fn a_contradiction_finds_nothing_and_is_no_error() {
    // D23
    let tasks: Vec<Task> = (1..5).map(|id| completed(task(id, |_| {}), at(&id.to_string()), ResultCode::Ok)).collect();
    for raw in [
        "id=gt(3)&id=lt(2)",
        "id=2&id=ne(2)",
        "completedAt=gt(3)&completedAt=lt(2)",
        "completedAt=range(4,1)",
        "completedAt=range(2,2)",
        "priority=lt(low)",
        "state=ge(completed)&state=lt(paused)",
    ] {
        assert_eq!(found(&tasks, raw), [0; 0], "{raw}");
    }
    assert_eq!(found(&tasks, "id=3&id=3&id=or(3,3)&id=ne(1)&id=ne(1)"), [3], "duplicates are harmless");
}

#[test]
fn what_is_absent_satisfies_only_isnull() {
    // D24
    let tasks = [completed(task(1, |_| {}), at("7"), ResultCode::Error), task(2, |_| {})];
    assert_eq!(found(&tasks, "resultCode=ne(ok)"), [1]);
    assert_eq!(found(&tasks, "completedAt=ne(5)"), [1]);
    assert_eq!(found(&tasks, "completedAt=lt(9)"), [1]);
    assert_eq!(found(&tasks, "completedAt=isnull()"), [2]);
    assert_eq!(found(&tasks, "completedAt=notnull()"), [1]);
    assert_eq!(found(&tasks, "completedAt=isnull()&completedAt=isnull()"), [2], "D23: a duplicate");
    for raw in [
        "completedAt=isnull()&completedAt=gt(1)",
        "completedAt=notnull()&completedAt=isnull()",
        "completedAt=isnull(x)",
        "policyName=a&policyName=notnull()",
        "state=isnull()",
        "id=notnull()",
    ] {
        assert_eq!(refusal(raw)["code"], "invalidParameter", "{raw}");
    }
}

#[test]
fn times_are_compared_to_the_nanosecond_and_put_together_by_and() {
    // 4.5, D26
    let times = ["1605312000", "1605312000000000001ns", "1605312001"];
    let tasks: Vec<Task> =
        (1..).zip(times).map(|(id, time)| completed(task(id, |_| {}), at(time), ResultCode::Ok)).collect();
    assert_eq!(found(&tasks, "completedAt=2020-11-14T00:00:00Z"), [1]);
    assert_eq!(found(&tasks, "completedAt=gt(2020-11-14T00:00:00Z)"), [2, 3]);
    assert_eq!(found(&tasks, "completedAt=gt%282020-11-14T00%3A00%3A00Z%29"), [2, 3], "as Python encodes it");
    assert_eq!(found(&tasks, "completedAt=gt(2020-11-14T02:00:00+02:00)"), [2, 3], "an unescaped plus is a space");
    assert_eq!(found(&tasks, "completedAt=gt(1605312000)&completedAt=lt(1605312001)"), [2]);
    assert_eq!(found(&tasks, "completedAt=range(1605312000,1605312001)"), [1, 2], "from, included, to, excluded");
    assert_eq!(found(&tasks, "completedAt=1605312000&completedAt=eq(1605312001)"), [0; 0]);
    assert_eq!(found(&tasks, "completedAt=ne(1605312000)&completedAt=ne(1605312001)"), [2]);
    assert_eq!(found(&tasks, "completedAt=gt(0001-01-01T00:00:00Z)"), [1, 2, 3], "D25: has a value");
    assert_eq!(found(&tasks, "completedAt=le(9999-12-31T23:59:59Z)"), [1, 2, 3]);
    let range = "completedAt=range(Sat, 14 Nov 2020 00:00:00 GMT,Saturday, 14-Nov-20 00:00:01 GMT)";
    assert_eq!(found(&tasks, range), [1, 2], "commas inside of times");
    for raw in ["completedAt=range(1)", "completedAt=range(1,2,3)", "completedAt=range(,)", "completedAt=range(1,)"] {
        assert_eq!(refusal(raw)["code"], "invalidParameter", "{raw}");
    }
    for call in ["range({},2)", "range(1,{})", "gt({})", "{}"] {
        let raw = format!("completedAt={}", call.replace("{}", &"0".repeat(257)));
        assert_eq!(refusal(&raw)["code"], "invalidParameter", "D21: longer than any value");
    }
    let refused = refusal("startedAt=yesterday");
    assert_eq!(refused["message"], "startedAt: 'yesterday' is in none of the known time formats.");
    assert_eq!(refused["context"]["value"], "yesterday");
    assert!(refused["context"]["hint"].as_str().is_some_and(|h| h.contains("RFC 3339")), "names the formats");
}
