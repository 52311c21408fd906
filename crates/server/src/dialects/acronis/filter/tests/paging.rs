//! Going on with a cursor (section 6), and the horizon of a walk by the last change (section 12).

use domain::query::{ActivityField, Key, Value};

use super::*;

const NOW: &str = "2026-11-21T09:30:00Z";

/// The cursor of a question about tasks behind a row with this key.
fn after<F: Listed>(raw: &str, key: &[Option<Value>]) -> String {
    with_asker(66, NOW, |asker| {
        let asked = Asked::<F>::parse(&params::decode(raw)?, asker)?;
        Ok::<_, Failure>(asked.cursor(Key(key.to_vec()), asker))
    })
    .unwrap_or_else(|f| panic!("{raw}: {}", f.body()))
}

fn query(raw: &str) -> Query<TaskField> {
    ask::<TaskField>(raw).unwrap_or_else(|f| panic!("{raw}: {}", f.body())).query(&HashMap::new()).expect("fits")
}

fn seven() -> [Option<Value>; 1] {
    [Some(Value::Int(7))]
}

#[test]
fn a_cursor_holds_the_question() {
    // D35, D36
    let raw = "state=started&state=paused&resourceName=like(Server+(1))&tenantSubtreeId=67&allow_deleted=true\
               &order=desc(priority),startedByUser&limit=50&lod=tiny";
    let key = [Some(Value::Enum(3)), None, Some(Value::Int(7))];
    let cursor = after::<TaskField>(raw, &key);
    let (first, next) =
        (ask::<TaskField>(raw).expect("fine"), ask::<TaskField>(&format!("after={cursor}")).expect("fine"));
    assert_eq!((next.deleted, next.subtree, &next.want), (true, first.subtree, &Want::Rows(Lod::Tiny)));
    let (first, next) = (query(raw), query(&format!("after={cursor}")));
    assert_eq!((next.filter, next.order), (first.filter, first.order));
    assert_eq!(next.page, Page::After { key: Some(Key(key.to_vec())), limit: 50 });
}

#[test]
fn limit_and_lod_come_from_the_request_and_all_else_from_the_cursor() {
    // D35
    let cursor = after::<TaskField>("id=gt(1)&limit=50&lod=tiny", &seven());
    let asked = |more: &str| ask::<TaskField>(&format!("{more}after={cursor}")).expect("fine");
    let shown = |more: &str| (asked(more).want, query(&format!("{more}after={cursor}")).page.limit());
    assert_eq!(shown(""), (Want::Rows(Lod::Tiny), 50));
    assert_eq!(shown("limit=20&"), (Want::Rows(Lod::Tiny), 20));
    assert_eq!(shown("limit=20&lod=full&"), (Want::Rows(Lod::Full), 20));
    assert_eq!(shown("lod=count&").0, Want::Count(Vec::new()));
    // Repeated ones are ignored, whatever they say now.
    for more in ["id=gt(1)&", "id=5&state=paused&order=asc(state)&allow_deleted=true&", "id=x&order=x&allow_deleted=x&"]
    {
        let next = asked(more);
        assert!(!next.deleted);
        assert_eq!(next.query(&HashMap::new()), asked("").query(&HashMap::new()), "{more}");
    }
    let many = format!("{}after={cursor}", "id=1&".repeat(300));
    assert!(ask::<TaskField>(&many).is_ok(), "ignored values are not counted");
    for more in ["limit=0&", "lod=x&"] {
        assert!(ask::<TaskField>(&format!("{more}after={cursor}")).is_err(), "{more}");
    }
    assert_eq!(refusal(&format!("colour=x&after={cursor}"))["code"], "unknownParameter", "D16 holds everywhere");
}

#[test]
fn filters_are_kept_each_once_in_one_order() {
    // D36: normalised.
    let one = after::<TaskField>("state=paused&id=1&state=paused&id=ne(3)", &seven());
    assert_eq!(one, after::<TaskField>("id=ne(3)&state=paused&id=1", &seven()));
    assert_ne!(one, after::<TaskField>("id=ne(3)&state=paused&id=2", &seven()));
}

#[test]
fn cursors_of_others_are_refused() {
    // D36
    let tasks = after::<TaskField>("state=started", &seven());
    let activities = after::<ActivityField>("state=started", &seven());
    let code = |r: Result<Failure, ()>| r.map(|f| (f.body()["code"].clone(), f.body()["context"]["parameter"].clone()));
    let refused = Ok(("invalidCursor".into(), "after".into()));
    assert_eq!(code(ask::<ActivityField>(&format!("after={tasks}")).err().ok_or(())), refused, "another kind");
    assert_eq!(code(ask::<TaskField>(&format!("after={activities}")).err().ok_or(())), refused, "another kind");
    let other = ask_as::<TaskField>(67, NOW, &format!("after={tasks}"));
    assert_eq!(code(other.err().ok_or(())), refused, "another tenant");
    let later = ask_as::<TaskField>(66, "2027-01-01T00:00:00Z", &format!("after={tasks}"));
    assert!(later.is_ok(), "no expiry");
    for text in ["AQ", "x", "%00", "AQIXh0c2V0", "null", "0"] {
        assert_eq!(refusal(&format!("after={text}"))["code"], "invalidCursor", "{text}");
    }
}

#[test]
fn a_place_of_another_order_is_refused() {
    let wrong = [Some(Value::Text("x".into()))];
    for key in [&[][..], &[None], &wrong, &[Some(Value::Int(1)), Some(Value::Int(2))]] {
        let cursor = after::<TaskField>("", key);
        assert_eq!(refusal(&format!("after={cursor}"))["code"], "invalidCursor", "{key:?}");
    }
}

#[test]
fn a_walk_by_the_last_change_ends_at_the_horizon_of_its_first_page() {
    // 12, D72
    let until = |raw: &str| {
        Filter::<TaskField>::all().and(
            TaskField::UpdatedAt,
            Test::Range { from: Bound::Unbounded, to: Bound::Included(Value::Time(at(raw))) },
        )
    };
    for order in ["asc(updatedAt)", "desc(updatedAt)", "updatedAt,state"] {
        let raw = format!("order={order}");
        assert_eq!(Ok(query(&raw).filter), until(NOW), "{order}");
        let mut key = vec![Some(Value::Time(at("5"))), Some(Value::Int(7))];
        if order.contains("state") {
            key.insert(1, Some(Value::Enum(1)));
        }
        let cursor = after::<TaskField>(&raw, &key);
        let next = ask_as::<TaskField>(66, "2027-01-01T00:00:00Z", &format!("after={cursor}&limit=3")).expect("fine");
        let next = next.query(&HashMap::new()).expect("fits");
        assert_eq!(Ok(next.filter), until(NOW), "the first page's, also later");
        assert_eq!(next.page, Page::After { key: Some(Key(key)), limit: 3 });
    }
    for raw in ["", "order=asc(startedAt)", "order=state,updatedAt", "lod=count&order=updatedAt"] {
        assert_eq!(query(raw).filter, Filter::all(), "{raw}");
    }
}
