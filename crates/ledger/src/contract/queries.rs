//! Questions: the cases that people rely on, written out. That every other question is answered as it is defined is for
//! the properties.

use domain::query::{ActivityField, Direction, Filter, Group, Order, Page, Pattern, Query, TaskField, Test, Value};
use domain::task::{Event, Named, Priority, State};
use domain::{Code, Result, Text};

use super::world::{World, all, everything, refusal};
use crate::Write;

async fn ids(w: &World, query: &Query<TaskField>) -> Result<Vec<i64>> {
    Ok(w.ledger.tasks(&everything(), query).await?.items.iter().map(|t| t.id.0).collect())
}

fn any(patterns: impl IntoIterator<Item = Pattern>) -> Test {
    Test::AnyOf(patterns.into_iter().collect())
}

fn text(s: &str) -> Value {
    Value::Text(s.to_owned())
}

/// Tasks with priorities 0, 1, 2, 0, 1, 2, 0 in this order.
async fn seven(w: &mut World) -> Result<()> {
    for n in 0..7 {
        let mut spec = w.spec("backup");
        spec.priority = [Priority::Low, Priority::BelowNormal, Priority::Normal][n % 3];
        w.create(spec).await?;
    }
    Ok(())
}

pub(super) async fn pages_by_place(w: &mut World) -> Result<()> {
    seven(w).await?;
    let order = Order::by(vec![(TaskField::Priority, Direction::Desc), (TaskField::Id, Direction::Asc)])?;
    let mut query = Query { filter: Filter::all(), order, page: Page::first(3), total: false };
    let mut pages = Vec::new();
    loop {
        let slice = w.ledger.tasks(&everything(), &query).await?;
        assert_eq!(slice.total, None, "nobody asked");
        pages.push(slice.items.iter().map(|t| t.id.0).collect::<Vec<_>>());
        // What comes in behind is seen, what comes in before is not, and nothing twice.
        w.plain().await?;
        let Some(key) = slice.next else { break };
        query.page = Page::After { key: Some(key), limit: 3 };
    }
    assert_eq!(pages, [vec![3, 6, 2], vec![5, 1, 4], vec![7]]);
    query.page = Page::first(10);
    assert_eq!(w.ledger.tasks(&everything(), &query).await?.next, None, "all of them fit");
    Ok(())
}

pub(super) async fn pages_by_number(w: &mut World) -> Result<()> {
    seven(w).await?;
    for (number, size, expected) in [(1, 3, vec![7, 6, 5]), (3, 3, vec![1]), (4, 3, vec![]), (u64::MAX, 1000, vec![])] {
        let page = Page::Number { number, size };
        let query = Query { page, ..Query::newest(Filter::all(), 1) };
        let slice = w.ledger.tasks(&everything(), &query).await?;
        assert_eq!(slice.items.iter().map(|t| t.id.0).collect::<Vec<_>>(), expected);
        assert_eq!(slice.total, Some(7));
        assert_eq!(slice.next.is_some(), number == 1);
    }
    Ok(())
}

pub(super) async fn absent_values_come_last(w: &mut World) -> Result<()> {
    for name in ["b", "", "a", ""] {
        let mut spec = w.spec("backup");
        spec.policy = Some(Named { id: "p".into(), kind: "".into(), name: name.into() });
        w.create(spec).await?;
    }
    for (direction, expected) in [(Direction::Asc, [3, 1, 2, 4]), (Direction::Desc, [1, 3, 4, 2])] {
        let order = Order::by(vec![(TaskField::PolicyName, direction)])?;
        let mut query = Query { order, ..all() };
        assert_eq!(ids(w, &query).await?, expected);
        // One by one, so that a place is once a name and once none.
        query.page = Page::first(1);
        let mut walk = Vec::new();
        loop {
            let slice = w.ledger.tasks(&everything(), &query).await?;
            walk.extend(slice.items.iter().map(|t| t.id.0));
            let Some(key) = slice.next else { break };
            query.page = Page::After { key: Some(key), limit: 1 };
        }
        assert_eq!(walk, expected);
    }
    let filter = |test| Ok(Query { filter: Filter::all().and(TaskField::PolicyName, test)?, ..all() });
    assert_eq!(ids(w, &filter(Test::Absent)?).await?, [2, 4], "empty text is none");
    assert_eq!(ids(w, &filter(Test::Present)?).await?, [1, 3]);
    assert_eq!(ids(w, &filter(Test::NoneOf(vec![Pattern::Is(text("a"))]))?).await?, [1], "absent values match only `absent`");
    assert_eq!(ids(w, &filter(any([Pattern::Contains(String::new())]))?).await?, [1, 3]);
    Ok(())
}

pub(super) async fn text_without_regard_to_case(w: &mut World) -> Result<()> {
    for name in ["Überraschung", "UBER", "straße 100%_", "İstanbul"] {
        let mut spec = w.spec("backup");
        spec.resource = Some(Named { id: "r".into(), kind: "".into(), name: name.into() });
        w.create(spec).await?;
    }
    let find = |pattern| Ok(Query { filter: Filter::all().and(TaskField::ResourceName, any([pattern]))?, ..all() });
    assert_eq!(ids(w, &find(Pattern::StartsWith("üBER".into()))?).await?, [1]);
    assert_eq!(ids(w, &find(Pattern::Contains("E 100%_".into()))?).await?, [3], "nothing is a wild card");
    assert_eq!(ids(w, &find(Pattern::Contains("%".into()))?).await?, [3]);
    assert_eq!(ids(w, &find(Pattern::EndsWith("BUL".into()))?).await?, [4]);
    assert_eq!(ids(w, &find(Pattern::Is(text("uber")))?).await?, Vec::<i64>::new(), "equal is equal");
    Ok(())
}

pub(super) async fn labels(w: &mut World) -> Result<()> {
    for tags in [vec!["a", "b"], vec![], vec!["b", "Cc"], vec!["\u{0}x", "\"q\\"]] {
        let mut spec = w.spec("backup");
        spec.tags = tags.into_iter().map(Text::from).collect();
        w.create(spec).await?;
    }
    let find = |test| Ok(Query { filter: Filter::all().and(TaskField::Tag, test)?, ..all() });
    assert_eq!(ids(w, &find(any([Pattern::Is(text("a")), Pattern::EndsWith("C".into())]))?).await?, [1, 3]);
    assert_eq!(ids(w, &find(Test::NoneOf(vec![Pattern::Is(text("a"))]))?).await?, [3, 4]);
    assert_eq!(ids(w, &find(any([Pattern::Is(text("\u{0}x"))]))?).await?, [4]);
    assert_eq!(ids(w, &find(any([Pattern::Is(text("\"q\\"))]))?).await?, [4]);
    assert_eq!(ids(w, &find(Test::Absent)?).await?, [2]);
    Ok(())
}

pub(super) async fn groups(w: &mut World) -> Result<()> {
    seven(w).await?;
    let task = w.plain().await?;
    w.event(task.id, Event::Cancel { by: "Jo".into() }).await?;
    let group = |values: &[Option<i64>], count| Group {
        values: values.iter().map(|v| v.map(Value::Enum)).collect(),
        count,
    };
    let filter = Filter::all();
    let everything = everything();
    let by = |fields: &'static [TaskField]| w.ledger.task_counts(&everything, &filter, fields);
    assert_eq!(by(&[]).await?, vec![group(&[], 8)]);
    let priorities = vec![group(&[Some(0)], 3), group(&[Some(2)], 3), group(&[Some(1)], 2)];
    assert_eq!(by(&[TaskField::Priority]).await?, priorities);
    let results = vec![group(&[None], 7), group(&[Some(3)], 1)];
    assert_eq!(by(&[TaskField::Result]).await?, results);
    let both = by(&[TaskField::State, TaskField::Priority]).await?;
    assert_eq!(both.last(), Some(&group(&[Some(State::Completed.ordinal()), Some(2)], 1)));
    Ok(())
}

pub(super) async fn groups_of_activities(w: &mut World) -> Result<()> {
    for _ in 0..2 {
        w.plain().await?;
        let (task, lease) = w.start("a1").await?;
        w.step(task.id, &lease, domain::activity::ActivitySpec::new(w.id(), "read")).await?;
        w.complete(task.id, &lease).await?;
    }
    let groups = w.ledger.activity_counts(&everything(), &Filter::all(), &[ActivityField::Type]).await?;
    let group = |kind: &str| Group { values: vec![Some(text(kind))], count: 2 };
    assert_eq!(groups, [group("backup"), group("read")], "a root has the type of its task");
    let scope = domain::Scope::subtree(&w.other.clone());
    let none = w.ledger.activity_counts(&scope, &Filter::all(), &[]).await?;
    assert_eq!(none, [Group { values: vec![], count: 0 }]);
    Ok(())
}

pub(super) async fn ids_in_any_letter_case(w: &mut World) -> Result<()> {
    let id = domain::Uuid::from_u128(0xabcd_ef00_1234_4abc_8def_0123_4567_89ab);
    let spellings = [id.to_string(), id.to_string().to_uppercase(), w.id().to_string()];
    for spelling in &spellings {
        let mut spec = w.spec("backup");
        spec.resource = Some(domain::task::Named { id: spelling.clone().into(), ..Default::default() });
        spec.tags = vec![spelling.clone().into()];
        w.create(spec).await?;
    }
    w.plain().await?;
    for field in [TaskField::ResourceId, TaskField::Tag] {
        let find = |test| Ok::<_, domain::Error>(Query { filter: Filter::all().and(field, test)?, ..all() });
        assert_eq!(ids(w, &find(Test::AnyOf(vec![Pattern::IsUuid(id)]))?).await?, [1, 2]);
        assert_eq!(ids(w, &find(Test::NoneOf(vec![Pattern::IsUuid(id)]))?).await?, [3], "absent values match neither");
        assert_eq!(ids(w, &find(Test::AnyOf(vec![Pattern::Is(text(&spellings[1]))]))?).await?, [2], "text is exact");
    }
    Ok(())
}

pub(super) async fn the_newest_of_each_resource(w: &mut World) -> Result<()> {
    let resources: Vec<domain::Uuid> = (0..100).map(|_| w.id()).collect();
    let named = |id: String| Some(domain::task::Named { id: id.into(), ..Default::default() });
    for round in 0..3 {
        for (n, id) in resources.iter().enumerate() {
            let mut spec = w.spec(if round < 2 { "backup" } else { "check" });
            // The letters' case does not matter, and a few have nothing.
            let id = if n == 7 && round == 1 { id.to_string().to_uppercase() } else { id.to_string() };
            spec.resource = if n % 10 == 9 { None } else { named(id) };
            w.create(spec).await?;
        }
    }
    let backups = Filter::all().is(TaskField::Type, text("backup"))?;
    let newest = w.ledger.newest_of_each(&everything(), &resources, &backups).await?;
    let found: Vec<i64> = newest.iter().map(|t| t.id.0).collect();
    let expected: Vec<i64> = (0..100).filter(|n| n % 10 != 9).map(|n| 100 + n + 1).rev().collect();
    assert_eq!(found, expected);
    let other = w.ledger.newest_of_each(&domain::Scope::subtree(&w.other), &resources, &backups).await?;
    assert_eq!(other, [], "only within the scope");
    assert_eq!(w.ledger.newest_of_each(&everything(), &[], &backups).await?, []);
    Ok(())
}

pub(super) async fn what_cannot_be_asked(w: &mut World) -> Result<()> {
    let many = vec![Value::Int(1); domain::query::MAX_VALUES];
    let mut filter = Filter::all();
    for _ in 0..10 {
        filter = filter.and(TaskField::Id, Test::NoneOf(many.iter().cloned().map(Pattern::Is).collect()))?;
    }
    let query = Query { filter: filter.clone(), ..all() };
    assert_eq!(ids(w, &query).await?, Vec::<i64>::new(), "ten thousand values are carried");
    let mut patterns = Filter::all();
    for _ in 0..10 {
        let hundreds = (0..1000).map(|n| Pattern::Contains(format!("{n}")));
        patterns = patterns.and(TaskField::Type, any(hundreds))?;
    }
    assert_eq!(ids(w, &Query { filter: patterns, ..all() }).await?, Vec::<i64>::new());
    let filter = filter.and(TaskField::Id, Test::Present)?;
    let refused = w.ledger.tasks(&everything(), &Query { filter: filter.clone(), ..all() }).await;
    assert_eq!(refusal(refused), Code::InvalidField);
    assert_eq!(refusal(w.ledger.task_counts(&everything(), &filter, &[]).await), Code::InvalidField);
    let by_tag = w.ledger.task_counts(&everything(), &Filter::all(), &[TaskField::Tag]).await;
    assert_eq!(refusal(by_tag), Code::InvalidField);

    let writes = (0..2).map(|_| Write::CreateTask(Box::new(w.spec("backup")))).collect();
    w.commit(writes).await?;
    let key = w.ledger.tasks(&everything(), &Query::newest(Filter::all(), 1)).await?.next;
    let order = Order::by(vec![(TaskField::Type, Direction::Asc)])?;
    let query = Query { order, page: Page::After { key, limit: 1 }, ..all() };
    assert_eq!(refusal(w.ledger.tasks(&everything(), &query).await), Code::InvalidCursor);
    Ok(())
}
