//! The rule of D23 and D24, as it stands in the contract and once more as the filter that is made of it: both must find
//! the same tasks.

use proptest::prelude::*;

use super::*;
use domain::Text;

/// A value as it is sent, and its part in the rule.
#[derive(Debug, Clone)]
enum Part {
    Positive(Check),
    Negative(Check),
    Range(Check),
    Null(bool),
}

/// Whether a value of a row is as it should be. Values are texts or numbers here, as a client would see them.
#[derive(Debug, Clone)]
enum Check {
    Is(Vec<String>),
    Contains(String),
    Begins(String),
    Ends(String),
    Between(i64, i64),
}

/// What a row has in a field: nothing, texts, or a number.
#[derive(Debug, Clone)]
enum Has {
    Texts(Vec<String>),
    Number(Option<i64>),
}

impl Check {
    fn holds(&self, text: &str) -> bool {
        let (low, wanted) = (text.to_lowercase(), |s: &String| s.to_lowercase());
        match self {
            Check::Is(texts) => texts.iter().any(|t| t == text),
            Check::Contains(s) => low.contains(&wanted(s)),
            Check::Begins(s) => low.starts_with(&wanted(s)),
            Check::Ends(s) => low.ends_with(&wanted(s)),
            Check::Between(..) => false,
        }
    }

    fn holds_number(&self, number: i64) -> bool {
        match self {
            Check::Is(texts) => texts.contains(&number.to_string()),
            Check::Between(from, to) => (*from..=*to).contains(&number),
            _ => false,
        }
    }
}

/// "A row matches when (no positive is given, or one holds) and every negative and every range holds"; an absent value
/// satisfies no comparison, only `isnull()` finds it.
fn matches(has: &Has, parts: &[Part]) -> bool {
    let absent = match has {
        Has::Texts(texts) => texts.is_empty(),
        Has::Number(number) => number.is_none(),
    };
    if let [Part::Null(null)] = parts {
        return *null == absent;
    }
    if absent {
        return parts.is_empty();
    }
    let holds = |check: &Check| match has {
        Has::Texts(texts) => texts.iter().any(|t| check.holds(t)),
        Has::Number(number) => number.is_some_and(|n| check.holds_number(n)),
    };
    let positives: Vec<&Check> =
        parts.iter().filter_map(|p| if let Part::Positive(c) = p { Some(c) } else { None }).collect();
    (positives.is_empty() || positives.into_iter().any(holds))
        && parts.iter().all(|part| match part {
            Part::Positive(_) | Part::Null(_) => true,
            Part::Negative(check) => !holds(check),
            Part::Range(check) => holds(check),
        })
}

/// How a field is read from a task.
type Get = fn(&Task) -> Has;

/// The fields that are tried, each with what a task has in it.
const FIELDS: [(&str, Get); 7] = [
    ("id", |t| Has::Number(Some(t.id.0))),
    ("workflowId", |t| Has::Number(t.spec.workflow_id)),
    ("queue", |t| Has::Texts(vec![t.spec.queue.to_string()])),
    ("startedBy", |t| Has::Texts(t.spec.started_by.iter().map(Text::to_string).collect())),
    ("tag", |t| Has::Texts(t.spec.tags.iter().map(Text::to_string).collect())),
    ("priority", |t| Has::Number(Some(t.spec.priority.ordinal()))),
    ("completedAt", |t| Has::Number(t.completed_at().map(|c| c.as_second()))),
];

fn tasks() -> impl Strategy<Value = Vec<Task>> {
    let word = || prop::option::of("[ABab]{1,2}");
    let row = (
        word(),
        prop::collection::vec("[ab]", 0..3),
        prop::option::of(0..4i64),
        0..5usize,
        prop::option::of(0..4i64),
        "[ab]{1,2}",
    );
    prop::collection::vec(row, 1..12).prop_map(|rows| {
        let mut tasks = Vec::new();
        for (id, (started_by, tags, workflow, priority, end, queue)) in (0..).zip(rows) {
            let task = task(id, |s| {
                s.started_by = started_by.map(Text::from);
                s.tags = tags.into_iter().map(Text::from).collect();
                s.workflow_id = workflow;
                s.priority = Priority::ALL[priority];
                s.queue = queue.into();
            });
            tasks.push(match end {
                Some(second) => completed(task, at(&second.to_string()), ResultCode::Ok),
                None => task,
            });
        }
        tasks
    })
}

/// A value for a field, as it is sent and as the rule sees it.
fn value(field: &'static str) -> BoxedStrategy<(String, Part)> {
    let numeric = matches!(field, "id" | "workflowId" | "priority" | "completedAt");
    let time = field == "completedAt";
    let shown = move |n: i64| {
        if field == "priority" { super::super::super::names::PRIORITIES[n as usize].to_owned() } else { n.to_string() }
    };
    let optional = matches!(field, "workflowId" | "startedBy" | "tag" | "completedAt");
    let null =
        any::<bool>().prop_map(|null| (if null { "isnull()" } else { "notnull()" }.to_owned(), Part::Null(null)));
    let words = if numeric {
        (0..4i64).prop_map(move |n| (shown(n), n.to_string())).boxed()
    } else {
        "[ABab]{1,2}".prop_map(|w| (w.clone(), w)).boxed()
    };
    let list = prop::collection::vec(words.clone(), 1..3);
    // Equal times are ranges of one moment (D26).
    let equal = (words.clone(), any::<bool>()).prop_map(move |((sent, seen), bare)| {
        let part = if time {
            let n = seen.parse().expect("a number");
            Part::Range(Check::Between(n, n))
        } else {
            Part::Positive(Check::Is(vec![seen]))
        };
        (if bare { sent } else { format!("eq({sent})") }, part)
    });
    let differs = words.prop_map(|(sent, seen)| (format!("ne({sent})"), Part::Negative(Check::Is(vec![seen]))));
    let any_of = list.prop_map(|list| {
        let (sent, seen): (Vec<_>, Vec<_>) = list.into_iter().unzip();
        (format!("or({})", sent.join(",")), Part::Positive(Check::Is(seen)))
    });
    let like = ("[ABab]{1,2}", 0..3usize).prop_map(|(s, which)| match which {
        0 => (format!("like({s})"), Part::Positive(Check::Contains(s))),
        1 => (format!("hlike({s})"), Part::Positive(Check::Begins(s))),
        _ => (format!("tlike({s})"), Part::Positive(Check::Ends(s))),
    });
    let range = (0..4i64, 0..4usize).prop_map(move |(n, which)| {
        let (name, from, to) =
            [("lt", i64::MIN, n - 1), ("le", i64::MIN, n), ("gt", n + 1, i64::MAX), ("ge", n, i64::MAX)][which];
        (format!("{name}({})", shown(n)), Part::Range(Check::Between(from, to)))
    });
    let span = (0..4i64, 0..4i64).prop_map(|(a, b)| (format!("range({a},{b})"), Part::Range(Check::Between(a, b - 1))));
    let mut all = vec![equal.boxed(), differs.boxed()];
    if optional {
        all.push(null.boxed());
    }
    match field {
        "startedBy" => all.extend([any_of.boxed(), like.boxed()]),
        "completedAt" => all.extend([range.boxed(), span.boxed()]),
        _ if numeric => all.extend([any_of.boxed(), range.boxed()]),
        _ => all.push(any_of.boxed()),
    }
    prop::strategy::Union::new(all).boxed()
}

fn question() -> impl Strategy<Value = Vec<(usize, Vec<(String, Part)>)>> {
    let values: Vec<_> = FIELDS.iter().map(|(name, _)| prop::collection::vec(value(name), 1..4)).collect();
    prop::sample::subsequence((0..FIELDS.len()).collect::<Vec<_>>(), 1..4)
        .prop_flat_map(move |fields| fields.into_iter().map(|i| (Just(i), values[i].clone())).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_filter_finds_what_the_rule_says(tasks in tasks(), question in question()) {
        // D23, D24, D26
        let pairs = question.iter().flat_map(|(i, values)| values.iter().map(|(sent, _)| format!("{}={sent}", FIELDS[*i].0)));
        let raw = pairs.collect::<Vec<_>>().join("&");
        // isnull() and notnull() are a field's only value; the same twice is one.
        let allowed = question.iter().all(|(_, values)| {
            values.iter().all(|(_, p)| !matches!(p, Part::Null(_))) || values.iter().all(|(sent, _)| *sent == values[0].0)
        });
        match ask::<TaskField>(&raw) {
            Err(failure) => prop_assert!(!allowed, "{raw}: {}", failure.body()),
            Ok(asked) => {
                prop_assert!(allowed, "{raw}");
                let filter = asked.query(&HashMap::new()).expect("fits").filter;
                for task in &tasks {
                    let rule = question.iter().all(|(i, values)| {
                        let mut parts: Vec<Part> = values.iter().map(|(_, part)| part.clone()).collect();
                        if matches!(parts[0], Part::Null(_)) {
                            parts.truncate(1);
                        }
                        matches(&FIELDS[*i].1(task), &parts)
                    });
                    prop_assert_eq!(filter.matches(task), rule, "{} on {:?}", raw, task);
                }
            }
        }
    }

    #[test]
    fn any_values_make_a_filter_or_a_clear_refusal(
        pairs in prop::collection::vec((0..26usize, "[a-z]{0,6}\\(?[a-zA-Z0-9:., %+\\-]{0,20}\\)?|\\PC{0,12}"), 0..6)
    ) {
        let encode = |text: &str| text.bytes().map(|b| format!("%{b:02x}")).collect::<String>();
        let pairs = pairs.iter().map(|(i, text)| format!("{}={}", TaskField::FILTERS[*i].name, encode(text)));
        let raw = pairs.collect::<Vec<_>>().join("&");
        match ask::<TaskField>(&raw) {
            Ok(asked) => prop_assert!(asked.query(&HashMap::new()).is_ok()),
            Err(failure) => {
                let body = failure.body();
                prop_assert!(body["context"]["parameter"].is_string(), "{body}");
                prop_assert!(body["message"].as_str().is_some_and(|m| m.len() > 10), "{body}");
            }
        }
    }
}
