//! Commands around a backup: when they run, what their failure means, and with what priority.

use std::{fs, path::Path, process::Command as Program};

use agent::{
    child::Child,
    engine::{BackupJob, CommandsJob, Engine, EngineError, ErrorCode, Job, Output, RepositorySpec, Request, Step},
};
use domain::policy::settings::{Command, When};

use crate::support::{Bench, Heard, notices, run_job};

/// A command that runs a script of the shell in `bench`.
fn shell(bench: &Bench, when: When, script: &str) -> Command {
    Command {
        when,
        cmd: "sh".to_owned(),
        args: format!("-c '{script}' \"two words\""),
        workdir: bench.path("").display().to_string(),
        enabled: true,
        stop_on_error: true,
        wait: true,
    }
}

fn run(bench: &Bench, commands: Vec<Command>, when: &[When], no_commands: bool) -> (Result<(), EngineError>, Heard) {
    let heard = Heard::default();
    let job = Job::Commands(CommandsJob { commands, when: when.to_vec(), no_commands });
    // Nothing leads to this repository, and nothing has to.
    let repository = RepositorySpec { url: "rclone:nowhere:x".to_owned(), ..bench.spec() };
    (Request::new(repository, job).run(&heard.reporter()).map(drop), heard)
}

fn said(bench: &Bench, file: &str) -> String {
    fs::read_to_string(bench.path(file)).unwrap_or_default()
}

#[test]
fn commands_run_in_their_order_each_at_its_point() {
    let bench = Bench::new();
    fs::write(bench.source().join("a"), "a").expect("a file");
    let commands = vec![
        shell(&bench, When::PostData, "echo after >> log; cat source/a >> log"),
        shell(&bench, When::PreData, "echo $0 >> log"),
        Command { enabled: false, ..shell(&bench, When::PreData, "echo never >> log") },
        shell(&bench, When::PreData, "echo b > source/a"),
        shell(&bench, When::Post, "echo post >> log"),
    ];
    let (made, heard) = bench.backup(&BackupJob { commands: commands.clone(), ..bench.backup_job() });
    let made = made.expect("a backup");
    assert_eq!((made.failed_command, made.bytes), (None, 2), "it was read as the command left it");
    assert_eq!(said(&bench, "log"), "two words\nafter\nb\n");
    let steps = [Step::PreDataCommands, Step::Scan, Step::Backup, Step::Index, Step::PostDataCommands];
    assert_eq!(heard.steps(), steps);

    assert_eq!(run(&bench, commands, &[When::Pre, When::Post], false).0, Ok(()));
    assert_eq!(said(&bench, "log"), "two words\nafter\nb\npost\n");
}

#[test]
fn a_failed_command_stops_the_run_or_is_told() {
    let bench = Bench::new();
    let failing = shell(&bench, When::Pre, "echo why >&2; exit 3");
    let after = shell(&bench, When::Pre, "echo went on > log");
    let error = run(&bench, vec![failing.clone(), after.clone()], &[When::Pre], false).0.expect_err("it stops");
    assert_eq!((error.code, error.context["output"].as_str()), (ErrorCode::CommandFailed, "why"));
    assert_eq!(error.message, "the command 'sh' before the backup ended with exit status: 3");
    assert_eq!(said(&bench, "log"), "");

    let lenient = Command { stop_on_error: false, ..failing };
    let missing = Command { cmd: "/no/such".to_owned(), ..lenient.clone() };
    let unquoted = Command { args: "'".to_owned(), ..lenient.clone() };
    let (done, heard) = run(&bench, vec![lenient, missing, unquoted, after], &[When::Pre], false);
    assert_eq!((done, said(&bench, "log").as_str()), (Ok(()), "went on\n"));
    let told = notices(&heard);
    assert_eq!(told.iter().map(|(code, _)| code.as_str()).collect::<Vec<_>>(), ["commandFailed"; 3]);
    assert!(told[0].1.ends_with("it said: why") && told[1].1.contains("cannot be started"), "{told:?}");
}

#[test]
fn turned_off_commands_count_as_failed() {
    let bench = Bench::new();
    let command = shell(&bench, When::Pre, "echo ran > log");
    let error = run(&bench, vec![command.clone()], &[When::Pre], true).0.expect_err("it stops");
    assert!(error.message.contains("turned off"), "{error}");
    let (done, heard) = run(&bench, vec![Command { stop_on_error: false, ..command }], &[When::Pre], true);
    assert_eq!((done, notices(&heard).len(), said(&bench, "log").as_str()), (Ok(()), 1, ""));
}

#[test]
fn a_failure_before_reading_prevents_the_backup_and_one_after_it_does_not() {
    let bench = Bench::new();
    fs::write(bench.source().join("a"), "a").expect("a file");
    let count = || bench.engine().list_snapshots().expect("a list").snapshots.len();
    let with = |when| BackupJob { commands: vec![shell(&bench, when, "exit 1")], ..bench.backup_job() };
    let refused = bench.backup(&with(When::PreData)).0.expect_err("no backup");
    assert_eq!((refused.code, count()), (ErrorCode::CommandFailed, 0));
    let made = bench.backup(&with(When::PostData)).0.expect("a backup");
    let failed = made.failed_command.expect("the failure");
    assert_eq!((failed.code, count()), (ErrorCode::CommandFailed, 1));
}

#[test]
fn nobody_waits_for_a_command_that_is_not_to_be_watched() {
    let bench = Bench::new();
    for gate in ["gate", "done"] {
        assert!(Program::new("mkfifo").arg(bench.path(gate)).status().expect("mkfifo runs").success());
    }
    let command = shell(&bench, When::Pre, "read _ < gate; echo woken > done");
    // It would stand at the gate for ever.
    assert_eq!(run(&bench, vec![Command { wait: false, ..command }], &[When::Pre], false).0, Ok(()));
    fs::write(bench.path("gate"), "go\n").expect("it stands there");
    assert_eq!(fs::read_to_string(bench.path("done")).expect("it tells"), "woken\n");
}

#[tokio::test]
async fn a_stopped_job_takes_its_commands_along() {
    let bench = Bench::new();
    for gate in ["started", "never"] {
        assert!(Program::new("mkfifo").arg(bench.path(gate)).status().expect("mkfifo runs").success());
    }
    let command = shell(&bench, When::Pre, "echo $$ > started; read _ < never");
    let job = CommandsJob { commands: vec![command], when: vec![When::Pre], no_commands: false };
    let mut child = Child::spawn(&run_job(), &Request::new(bench.spec(), Job::Commands(job))).await.expect("a child");
    let pid = tokio::fs::read_to_string(bench.path("started")).await.expect("its id");
    assert_eq!(child.stop(std::time::Duration::from_secs(2)).await, None);
    let process = Path::new("/proc").join(pid.trim()).join("cmdline");
    // What has ended and is not collected yet has no command line.
    while fs::read(&process).is_ok_and(|words| !words.is_empty()) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_backup_in_the_background_steps_back() {
    let bench = Bench::new();
    fs::write(bench.source().join("a"), "a").expect("a file");
    // The tests may have stepped back themselves.
    let ours = Program::new("nice").output().expect("nice runs").stdout;
    let ours = String::from_utf8(ours).expect("a number");
    for (background, nice) in [(false, ours.trim()), (true, "19")] {
        // Whatever the backup starts has its priority.
        let command = shell(&bench, When::PreData, "nice > nice; ionice -p $$ > disk 2> errors || echo unknown > disk");
        let job = BackupJob { background, commands: vec![command], ..bench.backup_job() };
        let request = Request::new(bench.spec(), Job::Backup(job));
        let mut child = Child::spawn(&run_job(), &request).await.expect("a child");
        let outcome = child.outcome().await;
        assert!(matches!(outcome, Ok(Output::Backup(_))), "{outcome:?}");
        assert_eq!(said(&bench, "nice").trim(), nice);
        let disk = said(&bench, "disk");
        assert!(!background || disk.starts_with("idle") || disk.starts_with("unknown"), "{disk}");
    }
}
