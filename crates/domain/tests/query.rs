//! What filters, orders and keys mean, as properties.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use domain::query::*;
use domain::task::*;
use domain::{Timestamp, Uuid};
use proptest::prelude::*;

prop_compose! {
    fn tasks()(rows in prop::collection::vec((any::<u8>(), 0..4i64, "[ABab]{0,3}", any::<bool>()), 1..20)) -> Vec<Task> {
        rows.into_iter().zip(1..).map(|((seed, when, name, run), id)| {
            let mut spec = TaskSpec::new(Uuid::from_u128(u128::from(seed) << 64 | id as u128), "backup", "q", Uuid::nil());
            spec.priority = Priority::ALL[usize::from(seed) % 5];
            spec.started_by = (!name.is_empty()).then_some(name.into());
            spec.tags = vec!["even".into(), "odd".into()].split_off(usize::from(seed) % 3);
            let now = Timestamp::from_second(when).unwrap();
            let moment = domain::Moment { now, up_since: now };
            let task = Task::create(TaskId(id), Arc::new(spec), now).unwrap();
            let claim = Event::Claim { executor: Executor::default(), lease: LeaseToken("l".into()) };
            if run { task.apply(claim, moment).unwrap().task } else { task }
        }).collect()
    }
}

fn orders() -> impl Strategy<Value = Order<TaskField>> {
    let fields =
        [TaskField::Priority, TaskField::StartedBy, TaskField::AssignedAt, TaskField::CreatedAt, TaskField::Id];
    let directions = prop::collection::vec(prop::sample::select(Direction::ALL), 5);
    (prop::sample::subsequence(fields.to_vec(), 0..=4).prop_shuffle(), directions)
        .prop_map(|(fields, directions)| Order::by(fields.into_iter().zip(directions).collect()).unwrap())
}

proptest! {
    #[test]
    fn every_order_is_total_and_keys_mean_places(tasks in tasks(), order in orders()) {
        let mut sorted = tasks.clone();
        sorted.sort_by(|a, b| order.compare(a, b));
        for pair in sorted.windows(2) {
            prop_assert_eq!(order.compare(&pair[0], &pair[1]), Ordering::Less, "ties end on the id");
            prop_assert_eq!(order.compare(&pair[1], &pair[0]), Ordering::Greater);
        }
        for (i, place) in sorted.iter().enumerate() {
            let key = order.key(place);
            prop_assert!(order.admits(&key));
            let text = serde_json::to_string(&key).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Key>(&text).unwrap(), &key, "a key survives being written down");
            for (j, row) in sorted.iter().enumerate() {
                prop_assert_eq!(order.compare_to_key(row, &key), j.cmp(&i));
            }
        }
    }

    #[test]
    fn absent_values_match_only_absent_and_come_last(tasks in tasks(), descending: bool) {
        let f = TaskField::StartedBy;
        let text = |s: &str| Value::Text(s.to_owned());
        let positive = [
            Test::AnyOf(vec![Pattern::Contains(String::new())]),
            Test::NoneOf(vec![Pattern::Is(text("nobody"))]),
            Test::Range { from: Bound::Included(text("")), to: Bound::Unbounded },
            Test::Present,
        ];
        for task in &tasks {
            let absent = Clause::new(f, Test::Absent).unwrap().matches(task);
            prop_assert_eq!(absent, task.spec.started_by.is_none());
            for test in &positive {
                prop_assert_eq!(Clause::new(f, test.clone()).unwrap().matches(task), !absent);
            }
        }
        let order = Order::by(vec![(f, Direction::ALL[usize::from(descending)])]).unwrap();
        let mut sorted = tasks;
        sorted.sort_by(|a, b| order.compare(a, b));
        let first_absent = sorted.iter().position(|t| t.spec.started_by.is_none()).unwrap_or(sorted.len());
        prop_assert!(sorted[first_absent..].iter().all(|t| t.spec.started_by.is_none()));
    }

    #[test]
    fn any_of_and_none_of_divide_those_who_have_a_value(tasks in tasks(), wanted in prop::collection::vec(0..5i64, 1..4)) {
        let values: Vec<_> = wanted.iter().map(|n| Value::Enum(*n)).collect();
        let any = Filter::all().and(TaskField::Priority, Test::AnyOf(values.iter().cloned().map(Pattern::Is).collect())).unwrap();
        let none = Filter::all().and(TaskField::Priority, Test::NoneOf(values.into_iter().map(Pattern::Is).collect())).unwrap();
        for task in &tasks {
            prop_assert_ne!(any.matches(task), none.matches(task));
            prop_assert_eq!(any.matches(task), wanted.contains(&task.spec.priority.ordinal()));
        }
    }
}

#[test]
fn one_tag_of_several_is_enough_and_one_is_too_many() {
    let mut spec = TaskSpec::new(Uuid::nil(), "backup", "q", Uuid::nil());
    spec.tags = vec!["nightly".into(), "berlin".into()];
    let task = Task::create(TaskId(1), Arc::new(spec), Timestamp::UNIX_EPOCH).unwrap();
    let matches = |test| Clause::new(TaskField::Tag, test).unwrap().matches(&task);
    let text = |s: &str| Value::Text(s.to_owned());
    assert!(matches(Test::AnyOf(vec![Pattern::Is(text("berlin")), Pattern::Is(text("paris"))])));
    assert!(matches(Test::AnyOf(vec![Pattern::Contains("LIN".into())])), "parts are found without regard to case");
    assert!(!matches(Test::AnyOf(vec![Pattern::Is(text("Berlin"))])), "equality is exact");
    assert!(!matches(Test::NoneOf(vec![Pattern::Is(text("berlin"))])));
    assert!(matches(Test::NoneOf(vec![Pattern::Is(text("paris"))])));
}

#[test]
fn questions_that_make_no_sense_cannot_be_built() {
    let time = |s| Value::Time(Timestamp::from_second(s).unwrap());
    let refused = |field, test| assert!(Clause::<TaskField>::new(field, test).is_err());
    refused(TaskField::State, Test::AnyOf(vec![Pattern::Is(Value::Text("started".into()))]));
    refused(TaskField::State, Test::AnyOf(vec![Pattern::Is(Value::Enum(5))]));
    refused(TaskField::CreatedAt, Test::AnyOf(vec![Pattern::Contains("2026".into())]));
    refused(TaskField::CreatedAt, Test::Range { from: Bound::Unbounded, to: Bound::Unbounded });
    refused(TaskField::CreatedAt, Test::Range { from: Bound::Included(time(2)), to: Bound::Excluded(time(1)) });
    refused(TaskField::Tag, Test::Range { from: Bound::Included(Value::Text("a".into())), to: Bound::Unbounded });
    refused(TaskField::Type, Test::AnyOf(vec![]));
    assert!(Order::by(vec![(TaskField::Tag, Direction::Asc)]).is_err());
    assert!(Order::by(vec![(TaskField::Id, Direction::Asc), (TaskField::Id, Direction::Desc)]).is_err());
}
