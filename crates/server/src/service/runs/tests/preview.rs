//! What a policy will do: the same as what it does then.

use domain::Code;

use super::*;
use crate::service::{PolicyChange, Previewed};

fn asked(count: usize) -> Previewed {
    Previewed { count, ..Previewed::default() }
}

#[tokio::test]
async fn the_next_runs_of_each_resource_are_those_that_come() {
    let delay = json!({"max_delay": {"count": 20, "unit": "minutes"}});
    let world = World::new(2, sets(every_three_hours(), delay)).await;
    let by = Caller::server();
    let preview = world.service.preview_policy(&by, POLICY, asked(3)).await.expect("a preview");
    assert_eq!(preview.applications.len(), 2);
    let one = Previewed { resource: Some(machine(0)), ..asked(3) };
    let first = world.service.preview_policy(&by, POLICY, one).await.expect("a preview").applications.remove(0);
    assert_eq!((first.resource.id, first.runs.len(), first.nothing_because), (machine(0), 3, None));
    for run in first.runs {
        assert_eq!(world.next().await, run.starts_at);
        let task = world.run().await;
        assert_eq!(task.spec.context["run_mode"], "scheduled");
        let work = world.claim_one(0).await;
        world.complete(0, &work, Outcome::of(OutcomeCode::Error)).await;
        world.turn(run.starts_at).await;
        // Only the first machine is played here. The other one's delay may be longer.
        if let Some(task) = world.app(1).await.last_task {
            world.service.cancel_task(&by, TaskRef::Uuid(task)).await.ok();
        }
    }
}

#[tokio::test]
async fn a_change_can_be_looked_at_before_it_is_made() {
    let world = World::new(1, keep(json!({"keep": {"max_count": 3}}), true)).await;
    for second in 1..=3 {
        world.run().await;
        world.complete(0, &world.claim_one(0).await, Outcome::of(OutcomeCode::Ok)).await;
        world.complete(0, &world.claim_one(0).await, made(second)).await;
    }
    let by = Caller::server();
    let before = *world.ledger().head().borrow();
    let change = PolicyChange {
        retention: Some(read(json!({"rules": [{"keep": {"max_count": 1}}]}))),
        schedule: Some(read(json!({"kind": "manual"}))),
        ..PolicyChange::default()
    };
    let wish = Previewed { change, ..asked(5) };
    let preview = world.service.preview_policy(&by, POLICY, wish).await.expect("a preview");
    let app = &preview.applications[0];
    assert_eq!((app.runs.len(), app.nothing_because), (0, Some("the policy runs only when somebody asks")));
    let fates: Vec<_> = app.backups.iter().map(|(b, v)| (b.snapshot.as_str(), v.stays())).collect();
    assert_eq!(fates, [("s3", true), ("s2", false), ("s1", false)]);
    assert_eq!(app.backups[1].1.against, ["it is not the newest one"]);
    // Nothing has changed.
    assert_eq!(*world.ledger().head().borrow(), before);
    let as_it_is = world.service.preview_policy(&by, POLICY, asked(1)).await.expect("a preview");
    assert!(as_it_is.applications[0].backups.iter().all(|(_, v)| v.stays()));
    assert_eq!(as_it_is.applications[0].runs.len(), 1);
}

#[tokio::test]
async fn nonsense_is_refused() {
    let world = World::new(1, sets(every_three_hours(), json!({}))).await;
    let by = Caller::server();
    let refused = async |wish| world.service.preview_policy(&by, POLICY, wish).await.expect_err("refused");
    for count in [0, 101] {
        assert_eq!(refused(asked(count)).await.field.as_deref(), Some("count"));
    }
    let elsewhere = refused(Previewed { resource: Some(machine(7)), ..asked(1) }).await;
    assert_eq!((elsewhere.code, elsewhere.field.as_deref()), (Code::NotFound, Some("resource")));
    let zone = json!({"kind": "daily", "at": "01:00", "time_zone": "Nowhere/Else"});
    let change = PolicyChange { schedule: Some(read(zone)), ..PolicyChange::default() };
    assert_eq!(refused(Previewed { change, ..asked(1) }).await.field.as_deref(), Some("schedule.time_zone"));
}

#[tokio::test]
async fn what_says_the_same_of_the_schedule_moves_no_run_and_what_says_more_is_on_record() {
    let world = World::new(1, json!({"schedule": {"kind": "interval", "every": "6h"}})).await;
    let by = Caller::server();
    let (before, next) = (world.policy().await, world.next().await);
    let mut change = PolicyChange {
        name: Some("By night".to_owned()),
        enabled: Some(before.enabled),
        schedule: Some(before.schedule.clone()),
        ..PolicyChange::default()
    };
    let wish = Previewed { change: change.clone(), ..asked(1) };
    let preview = world.service.preview_policy(&by, POLICY, wish).await.expect("a preview");
    assert_eq!(preview.applications[0].runs[0].at, next);
    world.service.change_policy(&by, POLICY, change.clone()).await.expect("changed");
    assert_eq!((world.next().await, world.policy().await.name.as_str()), (next, "By night"));

    let nowhere = Uuid::from_u128(0x99);
    change.repository = Some(nowhere);
    let refused = world.service.preview_policy(&by, POLICY, Previewed { change: change.clone(), ..asked(1) }).await;
    let refused = refused.expect_err("as the change would be");
    assert_eq!((refused.code, refused.field.as_deref()), (Code::NotFound, Some("repository")));
    let other =
        domain::repository::Repository::new(nowhere, Uuid::nil(), "other", "/o", String::new(), world.start.now);
    world.put(other.into()).await;
    world.service.change_policy(&by, POLICY, change).await.expect("changed");
    let entries = world.ledger().all::<domain::audit::AuditEntry>(&Scope::everything(), Filter::all()).await;
    let entries = entries.expect("entries");
    let entry = entries.iter().filter(|e| e.value.action == "policy.change").max_by_key(|e| e.rev).expect("an entry");
    assert_eq!(entry.value.detail["before"]["repository"], json!(REPOSITORY));
    assert_eq!(entry.value.detail["after"]["repository"], json!(nowhere));
}

#[tokio::test]
async fn a_preview_of_very_many_resources_wants_one_to_be_named() {
    let world = World::new(101, json!({"schedule": {"kind": "manual"}})).await;
    let by = Caller::server();
    let refused = world.service.preview_policy(&by, POLICY, asked(1)).await.expect_err("too many");
    assert_eq!((refused.code, refused.field.as_deref()), (Code::InvalidField, Some("resource")));
    let one = Previewed { resource: Some(machine(100)), ..asked(1) };
    assert_eq!(world.service.preview_policy(&by, POLICY, one).await.expect("a preview").applications.len(), 1);
}
