//! The keys that the server fills into contexts (8.5).

use super::*;

fn context(spec: TaskSpec) -> Value {
    show(&enqueued(spec), Lod::Long)["context"].clone()
}

#[test]
fn a_backup_has_the_keys_that_dashboards_read() {
    // D55
    let expected = json!({
        "title": "Running backup of 'srv-01' by plan 'Nightly'", "IsProcessRoot": true, "runMode": "manual",
        "MachineName": "srv-01", "PlanName": "Nightly", "BackupPlanID": POLICY, "BackupPlanName": "Nightly",
        "ArchiveName": "srv-01 - Nightly", "UserName": "operator", "Persistent": {"ID": MACHINE, "Name": "srv-01"},
    });
    assert_eq!(context(backup()), expected);
    let mut done = expected;
    done["_runtime"] = json!({"bytesProcessed": 7_340_032, "bytesSaved": 1_048_576});
    assert_eq!(show(&failed_backup(), Lod::Long)["context"], done);
    assert_eq!(show_activity(&root_of(&failed_backup()), Lod::Long)["context"], done);
    let bare = TaskSpec { policy: None, resource: None, started_by: None, context: Value::Null.into(), ..backup() };
    assert_eq!(context(bare), json!({"title": "Running backup", "IsProcessRoot": true, "runMode": "scheduled"}));
}

#[test]
fn nothing_that_the_issuer_gave_is_overwritten() {
    // D55
    let given = json!({"title": "Mine", "IsProcessRoot": false, "runMode": "x", "run_mode": "y", "suite": "o365",
        "MachineName": null, "UserName": "someone", "isLegacy": true});
    let shown = context(TaskSpec { context: given.clone().into(), ..backup() });
    for (key, value) in given.as_object().expect("an object was given") {
        assert_eq!(shown[key], *value, "{key}");
    }
    assert_eq!(shown["PlanName"], "Nightly");
    for other in [json!("text"), json!([1]), json!(false)] {
        assert_eq!(context(TaskSpec { context: other.clone().into(), ..backup() }), other);
    }
}

#[test]
fn the_mode_of_a_run_is_the_schedulers_word_or_follows_from_who_started_it() {
    // D55
    let mode = |given: Value, by: Option<&str>| {
        let shown = context(TaskSpec { context: given.into(), started_by: by.map(Into::into), ..backup() });
        (shown["runMode"].as_str().map(str::to_owned), shown.get("run_mode").is_some())
    };
    assert_eq!(mode(json!({"run_mode": "scheduled"}), Some("operator")), (Some("scheduled".into()), false));
    assert_eq!(mode(json!({}), Some("operator")), (Some("manual".into()), false));
    assert_eq!(mode(Value::Null, None), (Some("scheduled".into()), false));
    assert_eq!(mode(json!({"run_mode": 5}), None), (Some("scheduled".into()), true));
}

#[test]
fn other_tasks_have_a_title_that_fits_them() {
    // D55
    let title = |kind: &str| {
        let shown = context(TaskSpec { kind: kind.into(), context: Value::Null.into(), ..backup() });
        assert_eq!((shown.get("BackupPlanName"), &shown["PlanName"]), (None, &json!("Nightly")));
        shown["title"].as_str().map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(title("recovery"), "Running recovery of 'srv-01'");
    assert_eq!(title("file_recovery"), "Running file recovery of 'srv-01'");
    assert_eq!(title("apply_policy"), "Applying plan 'Nightly' to 'srv-01'");
    assert_eq!(title("revoke_policy"), "Revoking plan 'Nightly' from 'srv-01'");
    assert_eq!(title("3B91AE0C-8D4B-4C52-9F0B-52F5D3A0E711"), "Running task of 'srv-01'");
}
