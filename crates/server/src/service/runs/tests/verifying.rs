//! Verifications of a sample: after a backup as its policy wants it, and by hand.

use domain::Code;
use domain::work::{Sample, Sampled, VerificationWork};

use super::*;
use crate::service::{Previewed, VerificationWish};

fn work(task: &Task) -> VerificationWork {
    match Work::of(&task.spec) {
        Ok(Work::Verification(work)) => work,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_policy_may_want_a_restore_test_of_some_files() {
    let mut policy = sets(every_three_hours(), json!({}));
    policy["settings"] = json!({"verify": true, "verify_files": 5});
    let world = World::new(1, policy).await;
    let archive = async || {
        let archive = world.backups().await.remove(0).archive;
        world.ledger().get::<Archive>(&Scope::everything(), archive).await.expect("it").value
    };
    let damaged = |damaged_total, sampled: Option<Sampled>| {
        let code = if damaged_total > 0 { OutcomeCode::Error } else { OutcomeCode::Ok };
        Outcome {
            payload: json!(VerificationDone { damaged_total, sampled, ..Default::default() }),
            ..Outcome::of(code)
        }
    };
    let mut seeds = Vec::new();
    for (second, found) in [(1, 1), (2, 0)] {
        world.back_up(second).await;
        let verification = world.claim_one(0).await;
        let sample = work(&verification.task).sample.expect("a sample");
        assert_eq!(sample.files, 5);
        seeds.push(sample.seed);
        let sampled = Some(Sampled { sample, of: 30, picked: Vec::new() });
        world.complete(0, &verification, damaged(found, sampled)).await;
        assert!(archive().await.damaged, "a sample that is whole says nothing of the rest");
    }
    assert_ne!(seeds[0], seeds[1], "each time others");
}

#[tokio::test]
async fn all_data_is_verified_when_it_is_time_again_and_a_sample_otherwise() {
    let mut policy = sets(every_three_hours(), json!({}));
    let monthly = json!({"count": 30, "unit": "days"});
    policy["settings"] = json!({"verify": true, "verify_files": 2, "verify_all_every": monthly});
    let world = World::new(1, policy).await;
    let by = Caller::server();
    let due = async || {
        let asked = Previewed { count: 1, ..Previewed::default() };
        world.service.preview_policy(&by, POLICY, asked).await.expect("a preview").applications[0].verifies_all_from
    };
    let files = |task: &Task| work(task).sample.map_or(0, |sample| sample.files);
    let read = |sampled: bool| {
        let sample = Sample { files: 2, seed: 7 };
        let sampled = sampled.then(|| Sampled { sample, of: 30, picked: Vec::new() });
        Outcome { payload: json!(VerificationDone { sampled, ..Default::default() }), ..Outcome::of(OutcomeCode::Ok) }
    };
    let day = |n: i64| n * 24 * 60 * 60;
    // One that is not read to its end is made up for with the next backup.
    for (at, end) in [(1, Outcome::of(OutcomeCode::Error)), (2, read(false))] {
        world.back_up(day(at)).await;
        let all = world.claim_one(0).await;
        assert_eq!(files(&all.task), 0, "none was read yet");
        if at == 2 {
            world.back_up(day(at) + 1).await;
            let beside = world.claim_one(0).await;
            assert_eq!(files(&beside.task), 2, "all is being read");
            world.complete(0, &beside, read(true)).await;
        }
        world.complete(0, &all, end).await;
    }
    for (at, picked) in [(31, 2), (32, 0), (33, 2), (61, 2), (62, 0)] {
        world.back_up(day(at)).await;
        let verification = world.claim_one(0).await;
        assert_eq!(files(&verification.task), picked, "day {at}");
        world.complete(0, &verification, read(picked > 0)).await;
    }
    let on = |n| Timestamp::from_second(day(n)).ok();
    let archive = world.backups().await.remove(0).archive;
    let archive = world.ledger().get::<Archive>(&Scope::everything(), archive).await.expect("it").value;
    assert_eq!(archive.all_verified, on(62));
    // The time of these backups is long ago, so it is time again.
    assert!(due().await.is_some_and(|from| from >= world.start.now));
}

#[tokio::test]
async fn a_backup_is_verified_when_somebody_asks() {
    let world = World::new(1, sets(every_three_hours(), json!({}))).await;
    world.back_up(1).await;
    let (by, backup) = (Caller::server(), world.backups().await.remove(0));
    let all = world.service.verify_backup(&by, backup.id, VerificationWish::default()).await.expect("a task");
    assert_eq!((work(&all).snapshot, work(&all).sample), (backup.snapshot.clone(), None));
    let wish = VerificationWish { files: 3, seed: Some(7) };
    let some = world.service.verify_backup(&by, backup.id, wish).await.expect("a task");
    assert_eq!(work(&some).sample, Some(Sample { files: 3, seed: 7 }));
    assert_eq!(world.claim(0).await.len(), 2, "the machine of the resource does it");
    let refused = async |files, seed| {
        let error = world.service.verify_backup(&by, backup.id, VerificationWish { files, seed }).await;
        let error = error.expect_err("refused");
        (error.code, error.field)
    };
    assert_eq!(refused(1001, None).await, (Code::InvalidField, Some("files".to_owned())));
    assert_eq!(refused(0, Some(1)).await, (Code::InvalidField, Some("seed".to_owned())));
    assert_eq!(refused(1, Some(1 << 53)).await, (Code::InvalidField, Some("seed".to_owned())));
}
