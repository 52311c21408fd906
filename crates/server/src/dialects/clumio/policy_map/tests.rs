//! What operations mean, and what policies of other APIs are shown as.

use std::collections::HashSet;

use domain::policy::{AsWritten, Policy, Retention, Schedule, Settings};
use domain::resource::ResourceKind;
use domain::{Timestamp, Uuid};
use serde_json::{Value, json};

use super::super::body::Body;
use super::super::failure::Failure;
use super::{Meaning, as_written, policy, read};
use crate::service::PolicyView;

fn body(operations: &Value) -> Body {
    Body::parse(json!({ "operations": operations }).to_string().as_bytes()).expect("a body")
}

fn meaning(operation: &Value) -> Meaning {
    let body = body(&json!([operation]));
    let meaning = read(&body.members());
    body.checked().expect("nothing is wrong");
    meaning
}

fn refused(operations: &Value) -> String {
    let body = body(operations);
    read(&body.members());
    let failure: Failure = body.checked().expect_err("something is wrong");
    format!("{failure:?}")
}

fn sla(keep: (&str, u64), rpo: &Value) -> Value {
    json!({ "retention_duration": { "unit": keep.0, "value": keep.1 }, "rpo_frequency": rpo })
}

fn operation(action: &str, slas: &Value, window: &Value) -> Value {
    json!({ "type": "aws_ebs_volume_backup", "action_setting": action, "slas": slas, "backup_window_tz": window,
        "timezone": "Europe/Berlin" })
}

fn whens(meaning: &Meaning) -> Vec<Value> {
    match &meaning.schedule {
        Schedule::Sets(sets) => sets.sets.iter().map(|set| json!(set.when)).collect(),
        Schedule::Manual {} => Vec::new(),
        other => panic!("{other:?}"),
    }
}

fn rpo(unit: &str, value: u64) -> Value {
    json!({ "unit": unit, "value": value })
}

#[test]
fn immediate_means_at_once_and_then_in_steps() {
    let made = meaning(&operation("immediate", &json!([sla(("days", 14), &rpo("hours", 4))]), &Value::Null));
    assert_eq!(whens(&made), [json!({"at_once": {}}), json!({"every": {"count": 4, "unit": "hours"}})]);
    let Schedule::Sets(sets) = &made.schedule else { panic!("{made:?}") };
    assert_eq!((sets.time_zone.as_deref(), sets.window), (Some("Europe/Berlin"), None));
    assert_eq!(made.schedule.validate(), Ok(()));
    let on_demand = json!([sla(("days", 14), &json!({ "unit": "on_demand" }))]);
    assert_eq!(whens(&meaning(&operation("immediate", &on_demand, &Value::Null))), [json!({"at_once": {}})]);
    let night = json!({ "start_time": "22:00", "end_time": "06:00" });
    assert_eq!(meaning(&operation("window", &on_demand, &night)).schedule, Schedule::Manual {});
}

#[test]
fn a_window_opens_closes_and_holds_the_steps_between() {
    let night = json!({ "start_time": "22:00", "end_time": "06:00" });
    let cases = [
        (rpo("days", 1), json!({"every": "daily", "from": "22:00:00"})),
        (rpo("days", 3), json!({"every": "daily", "from": "22:00:00", "step": {"count": 3, "unit": "days"}})),
        (
            rpo("hours", 4),
            json!({"every": "daily", "from": "22:00:00", "to": "05:59:00", "step": {"count": 4, "unit": "hours"}}),
        ),
        (
            json!({ "unit": "weekly", "value": 1, "offsets": [0, 3] }),
            json!({"every": "weekly", "from": "22:00:00", "weekdays": ["sunday", "wednesday"]}),
        ),
        (rpo("months", 1), json!({"every": "monthly", "from": "22:00:00"})),
        (rpo("years", 1), json!({"every": "monthly", "from": "22:00:00", "months": [1]})),
    ];
    for (rpo, times) in cases {
        let made = meaning(&operation("window", &json!([sla(("days", 14), &rpo)]), &night));
        assert_eq!(whens(&made), [json!({ "times": times })], "{rpo}");
        let Schedule::Sets(sets) = &made.schedule else { panic!("{made:?}") };
        assert_eq!(json!(sets.window), json!({"from": "22:00:00", "to": "06:00:00"}));
        assert_eq!(made.schedule.validate(), Ok(()));
    }
    // One that never closes is open the whole day, and stops nothing.
    let open = json!({ "start_time": "22:00", "end_time": "" });
    let made = meaning(&operation("window", &json!([sla(("days", 14), &rpo("hours", 6))]), &open));
    let times = json!({"every": "daily", "from": "22:00:00", "to": "21:59:00", "step": {"count": 6, "unit": "hours"}});
    assert_eq!(whens(&made), [json!({ "times": times })]);
    let Schedule::Sets(sets) = &made.schedule else { panic!("{made:?}") };
    assert_eq!(sets.window, None);
    let both = json!({ "unit": "weeks", "value": 2, "offsets": [1, 5] });
    let made = meaning(&operation("window", &json!([sla(("days", 14), &both)]), &night));
    assert_eq!(whens(&made).len(), 2, "each of the days in every second week");
}

#[test]
fn several_levels_are_several_generations() {
    let slas = json!([
        sla(("days", 14), &rpo("days", 1)),
        sla(("months", 3), &rpo("weeks", 1)),
        sla(("years", 7), &rpo("months", 1)),
    ]);
    let made = meaning(&operation("immediate", &slas, &Value::Null));
    let age = |count, unit: &str| json!({ "max_age": { "count": count, "unit": unit } });
    assert_eq!(
        json!(made.retention),
        json!({ "rules": [
            { "keep": age(14, "days") },
            { "keep": age(3, "months"), "first_of": { "count": 1, "unit": "weeks" } },
            { "keep": age(84, "months"), "first_of": { "count": 1, "unit": "months" } },
        ] })
    );
    assert_eq!(whens(&made).len(), 4, "at once, and each in its steps");
    assert_eq!(made.retention.validate(), Ok(()));
}

#[test]
fn without_a_retention_backups_stay_for_ever() {
    let kept = |slas: Value| meaning(&operation("immediate", &slas, &Value::Null)).retention;
    let for_ever = |rpo: &Value| json!({ "retention_duration": null, "rpo_frequency": rpo });
    assert_eq!(kept(json!([for_ever(&rpo("days", 1))])), Retention::default());
    assert_eq!(kept(json!([{ "rpo_frequency": rpo("days", 1) }])), Retention::default());
    let all = json!([for_ever(&rpo("days", 1)), sla(("months", 3), &rpo("weeks", 1))]);
    assert_eq!(kept(all), Retention::default(), "nothing is left to the others");
    // Only the coarser ones: the first of each month, however old.
    let months = kept(json!([sla(("days", 14), &rpo("days", 1)), for_ever(&rpo("months", 1))]));
    assert_eq!(months.validate(), Ok(()));
    assert_eq!(months.rules.len(), 2);
    assert_eq!(json!(months.rules[1].first_of), json!({ "count": 1, "unit": "months" }));
    assert_eq!(months.end_of(Timestamp::UNIX_EPOCH, &jiff::tz::TimeZone::UTC), None);
}

#[test]
fn what_is_shown_of_others_can_be_sent() {
    for schedule in [
        json!({"kind": "manual"}),
        json!({"kind": "daily", "at": "02:30", "time_zone": "UTC"}),
        json!({"kind": "interval", "every": "6h"}),
        json!({"kind": "sets", "sets": [{"when": {"times": {"every": "monthly", "from": "01:00:00"}}}]}),
        json!({"kind": "sets", "window": {"from": "10:00:00", "to": "10:00:30"}, "sets": [
            {"when": {"times": {"every": "weekly", "weekdays": ["monday"], "at": ["10:00:00"]}}},
        ]}),
    ] {
        let shown = policy(&view(serde_json::from_value(schedule.clone()).expect("a schedule"), Retention::default()));
        let body = body(&shown["operations"]);
        read(&body.members());
        assert_eq!(body.checked().map_err(|f| format!("{f:?}")), Ok(()), "{schedule}: {shown}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let good = sla(("days", 14), &rpo("days", 1));
    let cases = [
        (json!([{ "type": "aws_rds_backup", "action_setting": "immediate" }]), "operations[0].type"),
        (json!([operation("soon", &json!([good]), &Value::Null)]), "operations[0].action_setting"),
        (
            json!([operation("window", &json!([sla(("days", 0), &rpo("days", 1))]), &Value::Null)]),
            "retention_duration.value",
        ),
        (
            json!([operation("window", &json!([sla(("hours", 1), &rpo("days", 1))]), &Value::Null)]),
            "retention_duration.unit",
        ),
        (
            json!([operation("window", &json!([{ "retention_duration": rpo("days", 1) }]), &Value::Null)]),
            "slas[0].rpo_frequency",
        ),
        (
            json!([operation("window", &json!([good]), &json!({ "start_time": "25:00" }))]),
            "backup_window_tz.start_time",
        ),
        (json!([operation("window", &json!([good]), &Value::Null)]), "operations[0].backup_window_tz"),
        (
            json!([operation("window", &json!([good]), &json!({ "start_time": "", "end_time": "" }))]),
            "operations[0].backup_window_tz",
        ),
        (
            json!([operation("window", &json!([good]), &json!({ "start_time": "10:00", "end_time": "10:00" }))]),
            "backup_window_tz.end_time",
        ),
        (
            json!([operation("immediate", &json!([good]), &json!({ "start_time": "10:00", "end_time": "10:00" }))]),
            "backup_window_tz.end_time",
        ),
        (
            json!([{ "type": "machine_backup", "action_setting": "window", "timezone": "Mars/Base" }]),
            "operations[0].timezone",
        ),
        (
            json!([{ "type": "machine_backup", "action_setting": "window", "advanced_settings":
                { "aws_ebs_volume_backup": { "backup_tier": "cold" } } }]),
            "advanced_settings.aws_ebs_volume_backup.backup_tier",
        ),
    ];
    for (operations, member) in cases {
        let told = refused(&operations);
        assert!(told.contains(member) && told.contains("Member"), "{member}: {told}");
    }
    let analysis = json!([{ "type": "machine_backup", "action_setting": "window", "advanced_settings":
        { "aws_ebs_volume_backup": { "ransomware_analysis": true } } }]);
    assert!(refused(&analysis).contains("Refused"));
}

fn view(schedule: Schedule, retention: Retention) -> PolicyView {
    let policy = Policy {
        id: Uuid::from_u128(1),
        tenant: Uuid::nil(),
        name: "Nightly".into(),
        kind: "backup".into(),
        enabled: true,
        schedule,
        settings: Settings::default(),
        retention,
        as_written: None,
        repository: Uuid::from_u128(2),
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    };
    let kinds = HashSet::new();
    PolicyView { policy, lock: None, next_run_at: None, last_run_at: None, kinds, repository: "local".into() }
}

#[test]
fn operations_come_back_as_they_were_sent() {
    let sent = json!({
        "name": "gold", "timezone": "",
        "operations": [{ "type": "machine_backup", "action_setting": "immediate", "timezone": "",
            "slas": [{ "retention_duration": rpo("days", 7), "rpo_frequency": rpo("days", 1) }], "beyond": [1] }],
    });
    let body = Body::parse(sent.to_string().as_bytes()).expect("a body");
    let made = read(&body.members());
    let mut view = view(made.schedule.clone(), made.retention.clone());
    let (schedule, retention) = (made.schedule, made.retention);
    view.policy.as_written = Some(AsWritten { text: as_written(body.raw()), schedule, retention });
    let shown = policy(&view);
    assert_eq!(
        shown["operations"][0],
        json!({ "type": "machine_backup", "action_setting": "immediate", "timezone": "", "beyond": [1],
            "slas": [{ "retention_duration": rpo("days", 7),
                "rpo_frequency": { "unit": "days", "value": 1, "offsets": null } }],
            "advanced_settings": null, "backup_aws_region": null, "backup_window": null, "backup_window_tz": null,
            "next_start_time": null, "previous_start_time": null })
    );
    assert_eq!(shown["timezone"], "UTC");
    // Somebody changed what it means: then the words are not his any more.
    view.policy.schedule = Schedule::Manual {};
    let shown = policy(&view);
    assert_eq!(shown["operations"][0]["slas"][0]["rpo_frequency"]["unit"], "on_demand");
}

#[test]
fn policies_of_others_are_shown_as_one_operation() {
    let daily: Schedule =
        serde_json::from_value(json!({"kind": "daily", "at": "02:30", "time_zone": "Europe/Berlin"})).expect("one");
    let keep = json!({"rules": [{"keep": {"max_age": {"count": 4, "unit": "weeks"}}}]});
    let mut of_others = view(daily, serde_json::from_value(keep).expect("one"));
    of_others.kinds.insert(ResourceKind::Mailbox);
    let shown = policy(&of_others);
    assert_eq!(shown["timezone"], "Europe/Berlin");
    assert_eq!(
        shown["operations"],
        json!([{ "type": "microsoft365_mailbox_backup", "action_setting": "window", "timezone": "Europe/Berlin",
            "slas": [{ "retention_duration": { "unit": "days", "value": 28 },
                "rpo_frequency": { "unit": "days", "value": 1, "offsets": null } }],
            "backup_window_tz": { "start_time": "02:30", "end_time": "" }, "backup_window": null,
            "backup_aws_region": "local", "advanced_settings": null, "next_start_time": null,
            "previous_start_time": null }])
    );
    let frequency = |schedule: Value| {
        let schedule = serde_json::from_value(schedule).expect("a schedule");
        let shown = policy(&view(schedule, Retention::default()));
        let sla = &shown["operations"][0]["slas"][0];
        assert_eq!(sla["retention_duration"], Value::Null);
        (sla["rpo_frequency"]["unit"].clone(), sla["rpo_frequency"]["value"].clone())
    };
    assert_eq!(frequency(json!({"kind": "interval", "every": "36h"})), (json!("hours"), json!(36)));
    assert_eq!(frequency(json!({"kind": "interval", "every": "48h"})), (json!("days"), json!(2)));
    assert_eq!(frequency(json!({"kind": "manual"})), (json!("on_demand"), Value::Null));
    let sets = json!({"kind": "sets", "sets": [
        {"when": {"times": {"every": "monthly", "from": "01:00:00"}}},
        {"when": {"times": {"every": "weekly", "weekdays": ["monday"], "at": ["01:00:00"]}}},
    ]});
    assert_eq!(frequency(sets), (json!("weeks"), json!(1)));
}
