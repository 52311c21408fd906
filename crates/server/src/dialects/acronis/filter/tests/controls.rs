//! Parameters that are no filters: names, limits, levels of detail, groups, tenants, order.

use domain::query::{ActivityField, Direction};

use super::*;

#[test]
fn a_parameter_that_is_not_known_is_refused_with_the_one_that_was_meant() {
    // D16
    for (sent, meant) in [
        ("result_code", "resultCode"),
        ("tenant_id", "tenantId"),
        ("status", "state"),
        ("Limit", "limit"),
        ("resourceIds", "resourceId"),
        ("policy.name", "policyName"),
        ("allowDeleted", "allow_deleted"),
        ("created_at", "enqueuedAt"),
        ("group_by", "groupBy"),
        ("tags", "tag"),
    ] {
        let refused = refusal(&format!("{sent}=x"));
        assert_eq!(refused["code"], "unknownParameter");
        assert_eq!(refused["context"]["parameter"], sent);
        assert_eq!(refused["context"]["suggestion"], meant, "{sent}");
    }
    for sent in ["context.id", "before", "page", "foo", "xy", ""] {
        let refused = refusal(&format!("{sent}=x"));
        assert_eq!(
            (&refused["code"], &refused["context"]["suggestion"]),
            (&Json::from("unknownParameter"), &Json::Null)
        );
        assert!(refused["context"]["allowed"].as_array().is_some_and(|a| a.iter().any(|n| n == "completedAt")));
    }
    let failure = ask::<ActivityField>("enqueuedAt=1").expect_err("tasks only");
    assert_eq!(failure.body()["context"]["suggestion"], "createdAt");
    assert!(
        ask::<TaskField>("_=1605312000&_cache=&__=%zz").is_ok(),
        "names with an underscore before them are ignored"
    );
}

#[test]
fn the_list_only_goes_forward() {
    // D15
    assert_eq!(refusal("before=AQ")["code"], "unknownParameter");
}

#[test]
fn controls_are_given_once_and_nothing_is_empty() {
    // D17
    for raw in [
        "lod=tiny&lod=tiny",
        "limit=1&limit=1",
        "after=AQ&after=AQ",
        "allow_deleted=1&allow_deleted=1",
        "lod=count&groupBy=state&groupBy=type",
    ] {
        let refused = refusal(raw);
        assert_eq!(refused["code"], "invalidParameter", "{raw}");
        assert!(refused["message"].as_str().is_some_and(|m| m.contains("twice")), "{raw}");
    }
    for name in ["lod", "limit", "after", "allow_deleted", "order", "groupBy", "state", "resourceName", "tenantId"] {
        for raw in [format!("{name}="), name.to_owned()] {
            let refused = refusal(&raw);
            assert_eq!(
                (&refused["code"], &refused["context"]["parameter"]),
                (&"invalidParameter".into(), &name.into())
            );
        }
    }
    for (text, yes) in [("true", true), ("True", true), ("1", true), ("FALSE", false), ("false", false), ("0", false)] {
        assert_eq!(ask::<TaskField>(&format!("allow_deleted={text}")).map(|a| a.deleted).ok(), Some(yes), "{text}");
    }
    for text in ["yes", "t", "2", "on"] {
        assert_eq!(refusal(&format!("allow_deleted={text}"))["context"]["value"], text);
    }
    assert!(!ask::<TaskField>("").expect("fine").deleted, "the default");
}

#[test]
fn the_filters_have_at_most_200_values() {
    // D2
    let values = |n: usize| vec!["id=1"; n].join("&");
    let list = |n: usize| format!("id=or({})", vec!["1"; n].join(","));
    for raw in [values(200), list(200), format!("{}&{}&limit=10&order=id", values(100), list(100))] {
        assert!(ask::<TaskField>(&raw).is_ok());
    }
    for raw in [values(201), list(201), format!("{}&{}", values(100), list(101))] {
        let refused = refusal(&raw);
        assert_eq!(refused["code"], "invalidParameter");
        assert!(refused["message"].as_str().is_some_and(|m| m.contains("200")));
    }
    let machines: String = (0..200).map(|i| if i % 2 == 0 { "resourceType=machine&" } else { "type=a&" }).collect();
    assert!(ask::<TaskField>(&machines).is_ok(), "names that stand for several count once");
}

#[test]
fn a_page_has_from_1_to_1000_rows() {
    // D34
    let limit = |raw: &str| ask::<TaskField>(raw).map(|a| a.query(&HashMap::new()).expect("fits").page.limit()).ok();
    assert_eq!(limit(""), Some(1000));
    for n in [1, 10, 999, 1000] {
        assert_eq!(limit(&format!("limit={n}")), Some(n));
    }
    for text in ["0", "-1", "1001", "ten", "1.0", "0x10", "%2B5", "99999999999999999999", "+5", " 5"] {
        let refused = refusal(&format!("limit={text}"));
        assert_eq!(
            (&refused["code"], &refused["context"]["parameter"]),
            (&"invalidParameter".into(), &"limit".into()),
            "{text}"
        );
    }
}

#[test]
fn levels_of_detail_have_defaults() {
    // 4.1, D38
    let want = |raw: &str| ask::<TaskField>(raw).map(|a| a.want).ok();
    assert_eq!(want(""), Some(Want::Rows(Lod::Long)));
    for lod in Lod::ALL {
        assert_eq!(want(&format!("lod={}", lod.name())), Some(Want::Rows(lod)));
    }
    assert_eq!(want("lod=count"), Some(Want::Count(Vec::new())));
    let refused = refusal("lod=all");
    let allowed = serde_json::json!(["tiny", "short", "long", "full", "debug", "count"]);
    assert_eq!(refused["context"]["allowed"], allowed);
}

#[test]
fn one_object_takes_little() {
    // 4.1, D16, D17, D38
    let single = |raw: &str| params::decode(raw).and_then(|p| Single::parse(&p));
    assert_eq!(single("").ok(), Some(Single { lod: Lod::Full, deleted: false }));
    assert_eq!(single("lod=tiny&allow_deleted=True&_=1").ok(), Some(Single { lod: Lod::Tiny, deleted: true }));
    for raw in ["lod=count", "lod=", "lod=tiny&lod=tiny", "allow_deleted=x"] {
        assert_eq!(single(raw).expect_err(raw).body()["code"], "invalidParameter");
    }
    for raw in ["limit=1", "after=AQ", "state=paused", "order=id", "groupBy=state"] {
        assert_eq!(single(raw).expect_err(raw).body()["code"], "unknownParameter", "{raw}");
    }
    assert_eq!(single("allowdeleted=1").expect_err("misspelt").body()["context"]["suggestion"], "allow_deleted");
}

#[test]
fn rows_are_counted_by_one_or_two_keys() {
    // D39
    let want = |raw: &str| ask::<TaskField>(raw).map(|a| a.want).ok();
    for key in GroupKey::ALL {
        assert_eq!(want(&format!("lod=count&groupBy={}", key.name())), Some(Want::Count(vec![key])));
    }
    let names: Vec<_> = GroupKey::ALL.iter().map(|k| k.name()).collect();
    assert_eq!(names, ["tenant", "state", "resultCode", "type", "policyId", "resourceId"]);
    let two = Want::Count(vec![GroupKey::Tenant, GroupKey::ResultCode]);
    assert_eq!(want("groupBy=tenant,resultCode&lod=count"), Some(two.clone()));
    assert_eq!(want("groupBy=tenant%2CresultCode&lod=count"), Some(two));
    for raw in ["groupBy=queue", "groupBy=state,type,tenant", "groupBy=state,state", "groupBy=state,", "groupBy=State"]
    {
        assert_eq!(refusal(&format!("lod=count&{raw}"))["context"]["parameter"], "groupBy", "{raw}");
    }
    for raw in ["groupBy=state", "groupBy=state&lod=tiny"] {
        assert_eq!(refusal(raw)["code"], "invalidParameter", "{raw}: only with lod=count");
    }
    let fields = GroupKey::ALL.map(|k| (TaskField::group(k), ActivityField::group(k)));
    assert!(fields.iter().all(|(t, a)| domain::query::Field::name(*t) == domain::query::Field::name(*a)));
    // What is checked is then ignored.
    let asked = ask::<TaskField>("lod=count&limit=5&order=asc(updatedAt)").expect("fine");
    let query = asked.query(&HashMap::new()).expect("fits");
    assert_eq!((query.filter, query.page), (Filter::all(), Page::first(5)), "no horizon, no place");
    assert_eq!(refusal("lod=count&limit=0")["context"]["parameter"], "limit");
    assert_eq!(refusal("lod=count&order=queue")["context"]["parameter"], "order");
    assert_eq!(refusal("lod=count&after=AQ")["code"], "invalidCursor");
}

#[test]
fn tenants_are_asked_for_by_uuid_or_number() {
    // D18
    let uuid = |n: u128| Uuid::from_u128(n);
    let tasks: Vec<Task> = (1..5).map(|id| task(id, |s| s.tenant = uuid(id.unsigned_abs().into()))).collect();
    let known = HashMap::from([(101, uuid(1)), (102, uuid(2))]);
    let found = |raw: &str| -> Vec<i64> {
        let asked = ask::<TaskField>(raw).unwrap_or_else(|f| panic!("{raw}: {}", f.body()));
        let filter = asked.query(&known).expect("fits").filter;
        tasks.iter().filter(|t| filter.matches(t)).map(|t| t.id.0).collect()
    };
    let three = uuid(3).to_string().to_uppercase();
    assert_eq!(found("tenantId=101"), [1]);
    assert_eq!(found("tenantId=101&tenantId=102"), [1, 2], "D23: any of");
    assert_eq!(found(&format!("tenantId=or(102,{three})")), [2, 3]);
    assert_eq!(found(&format!("tenantId=ne({three})&tenantId=ne(101)")), [2, 4]);
    assert_eq!(found("tenantId=999"), [0; 0], "one that is not seen matches nothing");
    assert_eq!(found("tenantId=999&tenantId=102"), [2]);
    assert_eq!(found("tenantId=ne(999)"), [1, 2, 3, 4]);
    assert_eq!(found("tenantId=99999999999999999999"), [0; 0]);
    let asked = ask::<TaskField>(&format!("tenantId=or(101,{three})&tenantId=ne(102)")).expect("fine");
    assert_eq!(asked.numbers().collect::<Vec<_>>(), [101, 102]);
    let subtree = |raw: &str| ask::<TaskField>(raw).map(|a| a.subtree).ok().flatten();
    assert_eq!(subtree("tenantSubtreeId=67"), Some(TenantRef::Number(67)));
    assert_eq!(subtree(&format!("tenantSubtreeId=eq({three})")), Some(TenantRef::Id(uuid(3))));
    assert_eq!(subtree("tenantSubtreeId=67&tenantSubtreeId=eq(67)"), Some(TenantRef::Number(67)), "a duplicate");
    for raw in [
        "tenantId=x",
        "tenantId=-1",
        "tenantId=gt(1)",
        "tenantId=isnull()",
        "tenantSubtreeId=67&tenantSubtreeId=68",
        "tenantSubtreeId=or(1,2)",
        "tenantSubtreeId=ne(1)",
        "tenantSubtreeId=root",
    ] {
        assert_eq!(refusal(raw)["code"], "invalidParameter", "{raw}");
    }
}

fn terms(raw: &str) -> Vec<(TaskField, Direction)> {
    let asked = ask::<TaskField>(raw).unwrap_or_else(|f| panic!("{raw}: {}", f.body()));
    asked.query(&HashMap::new()).expect("fits").order.terms().to_vec()
}

#[test]
fn an_order_is_a_sequence_of_terms() {
    // D27
    use Direction::{Asc, Desc};
    use TaskField as F;
    assert_eq!(terms("order=desc(startedAt)"), [(F::StartedAt, Desc), (F::Id, Desc)]);
    assert_eq!(terms("order=priority"), [(F::Priority, Asc), (F::Id, Asc)], "a bare field is asc");
    let both = [(F::Priority, Desc), (F::StartedBy, Asc), (F::Id, Asc)];
    assert_eq!(terms("order=desc(priority),asc(startedByUser)"), both);
    assert_eq!(terms("order=desc(priority)&order=startedByUser"), both);
    let four = "order=asc(uuid),desc(type)&order=state,completedAt";
    assert_eq!(terms(four).len(), 5, "the id is added and not counted");
    for raw in [
        "order=asc(uuid),type,state,completedAt,startedAt",
        "order=id,desc(id)",
        "order=id&order=id",
        "order=up(id)",
        "order=asc(id",
        "order=asc()",
        "order=id,",
        "order=-id",
        "order=ASC(id)",
        "order=asc(colour)",
    ] {
        let refused = refusal(raw);
        assert_eq!(
            (&refused["code"], &refused["context"]["parameter"]),
            (&"invalidParameter".into(), &"order".into()),
            "{raw}"
        );
    }
}

#[test]
fn only_some_fields_can_be_ordered_by() {
    // Section 5.
    let tasks = "id uuid type priority startedByUser state enqueuedAt assignedAt startedAt updatedAt completedAt";
    let activities = "id uuid type startedByUser state createdAt startedAt updatedAt completedAt";
    let others = "tenant tenantId resourceId resourceName resourceType policyId policyName resultCode queue startedBy deletedAt tag";
    for name in tasks.split(' ').chain(activities.split(' ')).chain(others.split(' ')) {
        for raw in [format!("order={name}"), format!("order=desc({name})")] {
            assert_eq!(ask::<TaskField>(&raw).is_ok(), tasks.split(' ').any(|n| n == name), "{raw} of tasks");
            let ok = activities.split(' ').any(|n| n == name);
            assert_eq!(ask::<ActivityField>(&raw).is_ok(), ok, "{raw} of activities");
        }
    }
    let refused = refusal("order=desc(queue)");
    assert_eq!(refused["context"]["allowed"], tasks.split(' ').collect::<Json>());
    assert_eq!(refused["context"]["suggestion"], Json::Null);
    assert_eq!(refusal("order=asc(createdAt)")["context"]["suggestion"], "enqueuedAt");
    assert_eq!(refusal("order=asc(startedBy)")["context"]["suggestion"], "startedByUser");
    assert_eq!(refusal("order=asc(updated_at)")["context"]["suggestion"], "updatedAt");
}

#[test]
fn every_order_ends_with_the_id() {
    // D28
    use Direction::{Asc, Desc};
    use TaskField as F;
    assert_eq!(terms(""), [(F::Id, Desc)], "newest first");
    assert_eq!(terms("order=asc(state),desc(type)"), [(F::State, Asc), (F::Type, Desc), (F::Id, Desc)]);
    assert_eq!(terms("order=desc(id),asc(state)"), [(F::Id, Desc), (F::State, Asc)]);
}

#[test]
fn absent_values_come_last_and_enums_by_their_places() {
    // D29
    let mut tasks: Vec<Task> = (1..).zip(Priority::ALL).map(|(id, p)| task(id, |s| s.priority = *p)).collect();
    tasks[1] = completed(tasks[1].clone(), at("9"), ResultCode::Ok);
    tasks[3] = completed(tasks[3].clone(), at("7"), ResultCode::Ok);
    let sorted = |raw: &str| -> Vec<i64> {
        let order = ask::<TaskField>(raw).expect("fine").query(&HashMap::new()).expect("fits").order;
        let mut tasks = tasks.clone();
        tasks.sort_by(|a, b| order.compare(a, b));
        tasks.iter().map(|t| t.id.0).collect()
    };
    assert_eq!(sorted("order=asc(completedAt)"), [4, 2, 1, 3, 5]);
    assert_eq!(sorted("order=desc(completedAt)"), [2, 4, 5, 3, 1]);
    assert_eq!(sorted("order=desc(priority)"), [5, 4, 3, 2, 1], "high first");
    assert_eq!(sorted("order=desc(state)"), [4, 2, 5, 3, 1]);
}
