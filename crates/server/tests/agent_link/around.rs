//! What an agent does around a job, and with kinds of jobs beside plain backups, as the server sees it.

use agent::engine::{self, BackupSummary, EngineError, ErrorCode, Event, ForgetSummary, Output, Step, VerifySummary};
use domain::Uuid;
use domain::policy::Settings;
use domain::policy::settings::{Command, When};
use domain::task::{ResultCode, TaskSpec, kind};
use domain::work::{BackupWork, ForgetDone, ForgetWork, Point, Unread, VerificationDone, VerificationWork};
use serde_json::json;

use crate::world::World;

fn saved() -> engine::Outcome {
    Ok(Output::Backup(BackupSummary { snapshot: "abc".into(), ..BackupSummary::default() }))
}

fn command(when: When) -> Command {
    Command {
        when,
        cmd: "true".into(),
        args: String::new(),
        workdir: String::new(),
        enabled: true,
        stop_on_error: true,
        wait: true,
    }
}

/// A backup with these settings.
fn backup(world: &World, settings: Settings) -> TaskSpec {
    let spec = world.backup();
    let work: BackupWork = serde_json::from_value(spec.argument.clone().into_value()).expect("a backup's argument");
    TaskSpec { argument: json!(BackupWork { settings, ..work }).into(), ..spec }
}

/// What the jobs were that children were given: their types, and the points of the run of commands.
fn jobs(world: &World) -> Vec<String> {
    let name = |job: serde_json::Value| match job["when"].as_array() {
        Some(when) => when.iter().map(|w| w.as_str().unwrap_or("?")).collect::<Vec<_>>().join("+"),
        None => job["type"].as_str().unwrap_or("?").to_owned(),
    };
    world.jobs().into_iter().map(name).collect()
}

fn failed(code: ErrorCode) -> engine::Outcome {
    Err(EngineError::new(code, "it went wrong"))
}

#[tokio::test]
async fn commands_come_before_and_after_and_a_notice_makes_a_warning() {
    let world = World::new().await;
    world.play(1, &[], &[], Ok(Output::Commands));
    let notice = Event::Notice { code: "notFrozen".into(), message: "/home was read as it is".into() };
    world.play(2, &[], &[notice], saved());
    world.play(3, &[], &[], Ok(Output::Commands));
    let commands = vec![command(When::Pre), command(When::PreData), command(When::Post)];
    let id = world.create(backup(&world, Settings { commands, ..Settings::default() })).await;
    let agent = world.start_agent();
    let task = world.completed(id).await;
    let result = task.result().expect("it is over");
    assert_eq!((result.code, result.warnings[0].code.as_str()), (ResultCode::Warning, "notFrozen"));
    assert_eq!(result.warnings[0].message, "/home was read as it is.");
    assert_eq!(jobs(&world), ["pre", "backup", "post"]);
    // The job itself is given what is to be run in its midst, and nothing else.
    assert_eq!(world.jobs()[1]["commands"].as_array().map(Vec::len), Some(1));
    agent.stop().await;
}

#[tokio::test]
async fn what_was_begun_is_ended_also_when_the_work_fails() {
    let world = World::new().await;
    let held = [Event::StepStarted { step: Step::PreDataCommands }];
    world.play(1, &held, &[], failed(ErrorCode::NoSpace));
    world.play(2, &[], &[], Ok(Output::Commands));
    let commands = vec![command(When::PreData), command(When::PostData), command(When::Post)];
    let id = world.create(backup(&world, Settings { commands, ..Settings::default() })).await;
    let agent = world.start_agent();
    let task = world.completed(id).await;
    assert_eq!(task.result().map(|r| r.code), Some(ResultCode::Error));
    assert_eq!(jobs(&world), ["backup", "post_data+post"]);
    agent.stop().await;
}

#[tokio::test]
async fn a_failed_command_at_the_end_fails_the_run_and_not_the_backup() {
    let world = World::new().await;
    world.play(1, &[], &[], saved());
    world.play(2, &[], &[], failed(ErrorCode::CommandFailed));
    let id =
        world.create(backup(&world, Settings { commands: vec![command(When::Post)], ..Settings::default() })).await;
    let agent = world.start_agent();
    let task = world.completed(id).await;
    let result = task.result().expect("it is over");
    assert_eq!(result.error.as_ref().map(|e| e.code.as_str()), Some("commandFailed"));
    assert_eq!((result.code, world.backups().await.len()), (ResultCode::Error, 1));
    agent.stop().await;
}

#[tokio::test]
async fn a_command_that_fails_first_prevents_the_work_and_not_the_end() {
    let world = World::new().await;
    world.play(1, &[], &[], failed(ErrorCode::CommandFailed));
    world.play(2, &[], &[], Ok(Output::Commands));
    let commands = vec![command(When::Pre), command(When::Post)];
    let id = world.create(backup(&world, Settings { commands, ..Settings::default() })).await;
    let agent = world.start_agent();
    assert_eq!(world.completed(id).await.result().map(|r| r.code), Some(ResultCode::Error));
    assert_eq!((jobs(&world), world.backups().await.len()), (vec!["pre".to_owned(), "post".to_owned()], 0));
    agent.stop().await;
}

#[tokio::test]
async fn backups_are_verified_and_forgotten_by_tasks_of_their_own() {
    let world = World::new().await;
    world.play(1, &[], &[], saved());
    let damaged = vec![Unread { path: "/home/a".into(), message: "damaged".into() }];
    let found = VerifySummary { files: 3, bytes: 100, damaged, damaged_total: 1, sampled: None };
    world.play(2, &[], &[], Ok(Output::Verify(found)));
    world.play(3, &[], &[], Ok(Output::Forget(ForgetSummary { removed: 1, missing: 0 })));
    let id = world.create(world.backup()).await;
    let agent = world.start_agent();
    world.completed(id).await;
    let backup = world.backups().await.remove(0);

    let work =
        VerificationWork { backup: backup.id, repository: backup.repository, snapshot: "abc".into(), sample: None };
    let spec = TaskSpec {
        kind: kind::VERIFICATION.into(),
        argument: json!(work).into(),
        uuid: Uuid::now_v7(),
        ..world.backup()
    };
    let id = world.create(spec).await;
    let task = world.completed(id).await;
    let result = task.result().expect("it is over");
    assert_eq!(
        (result.code, result.error.as_ref().map(|e| e.code.as_str())),
        (ResultCode::Error, Some("repositoryDamaged"))
    );
    let done: VerificationDone = serde_json::from_value(result.payload.clone().into_value()).expect("its payload");
    assert_eq!((done.damaged_total, done.damaged[0].path.as_str()), (1, "/home/a"));

    let points = vec![Point { backup: backup.id, snapshot: "abc".into(), because: Vec::new() }];
    let work = ForgetWork { repository: backup.repository, archive: backup.archive, points, reasons: Vec::new() };
    let spec = TaskSpec { kind: kind::BACKUP_DELETION.into(), argument: json!(work).into(), ..world.backup() };
    let id = world.create(spec).await;
    let task = world.completed(id).await;
    let result = task.result().expect("it is over");
    let done: ForgetDone = serde_json::from_value(result.payload.clone().into_value()).expect("its payload");
    assert_eq!((result.code, done), (ResultCode::Ok, ForgetDone { removed: 1, ..ForgetDone::default() }));
    assert_eq!(jobs(&world), ["backup", "verify", "forget"]);
    assert_eq!(world.jobs()[2]["snapshots"], json!(["abc"]));
    agent.stop().await;
}
