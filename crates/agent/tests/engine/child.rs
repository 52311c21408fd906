//! The child process: how its events arrive, how it dies, and how it is stopped.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::Duration,
};

use agent::{
    child::{Child, Program},
    engine::{
        BackupSummary, EngineError, ErrorCode, Event, Job, Output, Progress, RawPath, Request, Step,
        fake::{Act, Script},
    },
};
use nix::unistd::Uid;

use crate::support::{Bench, PASSWORD, run_job};

fn scripted(acts: Vec<Act>) -> Request {
    let outcome = Ok(Output::Backup(BackupSummary::default()));
    let repository = agent::engine::RepositorySpec { url: "/nowhere".to_owned(), ..Bench::new().spec() };
    Request { fake: Some(Script { acts, outcome }), ..Request::new(repository, Job::ListSnapshots) }
}

async fn start(request: &Request) -> Child {
    Child::spawn(&run_job(), request).await.expect("a child")
}

async fn all_events(child: &mut Child) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(event) = child.next_event().await {
        events.push(event);
    }
    events
}

async fn crash(acts: Vec<Act>) -> EngineError {
    let error = start(&scripted(acts)).await.outcome().await.expect_err("a crash");
    assert_eq!((error.domain.as_str(), error.code), ("engine", ErrorCode::EngineCrashed));
    error
}

#[tokio::test]
async fn events_arrive_in_order_and_end_with_the_outcome() {
    let progress = Progress { bytes_done: 5, bytes_total: Some(9), ..Progress::default() };
    let mut child = start(&scripted(vec![
        Act::Step { step: Step::Scan },
        Act::Warn { message: "careful".to_owned() },
        Act::Progress(progress),
    ]))
    .await;
    let told = Progress { step: Some(Step::Scan), ..progress };
    assert_eq!(
        all_events(&mut child).await,
        [
            Event::StepStarted { step: Step::Scan },
            Event::Warning(agent::engine::Warning { path: None, message: "careful".to_owned() }),
            Event::Progress(told),
            Event::StepFinished { step: Step::Scan, progress: told },
            Event::Ended { warnings: 1, outcome: Box::new(Ok(Output::Backup(BackupSummary::default()))) },
        ]
    );
    assert_eq!(child.id(), None, "the process was collected");
}

#[tokio::test]
async fn a_child_that_dies_is_an_error_with_its_last_words() {
    let words = || Act::Complain { line: "something is wrong".to_owned() };
    let aborted = crash(vec![Act::Step { step: Step::Backup }, words(), Act::Abort]).await;
    assert_eq!(aborted.message, "the engine process was ended by signal 6 (SIGABRT)");
    assert_eq!((aborted.context["signal"].as_str(), aborted.context["stderr"].as_str()), ("6", "something is wrong"));

    let left = crash(vec![words(), Act::Exit { status: 7 }]).await;
    assert_eq!((left.context["status"].as_str(), left.context["stderr"].as_str()), ("7", "something is wrong"));

    let panicked = crash(vec![Act::Panic]).await;
    assert!(panicked.context["stderr"].contains("the script says so"), "{panicked:?}");
    assert_eq!(panicked.message, "the engine process ended with status 101 and without a result: the script says so");

    let line = "memory allocation of 33554432 bytes failed".to_owned();
    let starved = crash(vec![Act::Complain { line }, Act::Abort]).await;
    let message =
        "the engine process was ended by signal 6 (SIGABRT): out of memory, memory allocation of 33554432 bytes failed";
    assert_eq!(starved.message, message);
}

#[tokio::test]
async fn a_program_that_is_no_engine_is_an_error() {
    let program = Program { path: "/bin/echo".into(), args: vec!["hello".into()] };
    let mut child = Child::spawn(&program, &scripted(vec![])).await.expect("a child");
    let error = child.outcome().await.expect_err("no engine");
    assert_eq!((error.code, error.context["stderr"].as_str()), (ErrorCode::EngineCrashed, "hello"));

    assert!(Child::spawn(&Program::backstay("/no/such/program"), &scripted(vec![])).await.is_err());
}

#[tokio::test]
async fn what_a_child_started_goes_with_it_when_it_dies() {
    let script = "sleep 1000 >/dev/null 2>&1 & echo $!; kill -KILL $$";
    let program = Program { path: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
    let mut child = Child::spawn(&program, &scripted(vec![])).await.expect("a child");
    let error = child.outcome().await.expect_err("no engine");
    assert!(error.message.contains("ran out of memory"), "it cannot say so itself: {}", error.message);
    let started = error.context["stderr"].clone();
    // Gone, or dead and not collected by whoever inherited it.
    while fs::read_to_string(format!("/proc/{started}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_job_is_stopped_without_an_outcome() {
    let mut child = start(&scripted(vec![Act::Step { step: Step::Backup }, Act::Hang])).await;
    assert_eq!(child.next_event().await, Some(Event::StepStarted { step: Step::Backup }));
    assert_eq!(child.stop(Duration::from_secs(4)).await, None);
    assert_eq!(child.next_event().await, None);
    assert_eq!(child.id(), None, "the process was collected");
}

#[tokio::test]
async fn a_job_that_had_ended_keeps_its_outcome_when_stopped() {
    let mut child = start(&scripted(vec![Act::Step { step: Step::Backup }])).await;
    // All is told once the process is gone, and nothing of it was read yet.
    let pid = child.id().expect("a process");
    while !fs::read_to_string(format!("/proc/{pid}/stat")).expect("not collected").contains(") Z ") {
        tokio::task::yield_now().await;
    }
    assert_eq!(child.stop(Duration::from_secs(4)).await, Some(Ok(Output::Backup(BackupSummary::default()))));
}

#[tokio::test]
async fn a_child_that_ignores_the_request_is_killed() {
    let script = r#"trap '' TERM; echo '{"event":"stepStarted","step":"backup"}'; exec tail -f /dev/null"#;
    let program = Program { path: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
    let mut child = Child::spawn(&program, &scripted(vec![])).await.expect("a child");
    assert!(child.next_event().await.is_some());
    assert_eq!(child.stop(Duration::from_millis(50)).await, None);
    assert_eq!(child.id(), None, "the process was collected");
}

#[tokio::test]
async fn the_password_is_not_for_all_to_see() {
    let mut child = start(&scripted(vec![Act::Step { step: Step::Backup }, Act::Hang])).await;
    child.next_event().await.expect("it runs");
    let pid = child.id().expect("a process");
    for file in ["cmdline", "environ"] {
        match fs::read(format!("/proc/{pid}/{file}")) {
            Ok(bytes) => {
                assert!(!String::from_utf8_lossy(&bytes).contains(PASSWORD), "the password stands in {file}");
            }
            // The system may keep this one even from the process's own user.
            Err(e) => assert!(file == "environ" && e.kind() == ErrorKind::PermissionDenied, "{file}: {e}"),
        }
    }
    child.stop(Duration::from_secs(4)).await;
}

#[test]
fn a_child_ends_when_its_parent_is_gone() {
    let mut process =
        Command::new(run_job().path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a child");
    let mut stdin = process.stdin.take().expect("a pipe");
    let job = serde_json::to_string(&scripted(vec![Act::Step { step: Step::Backup }, Act::Hang])).expect("JSON");
    writeln!(stdin, "{job}").expect("a job");
    let mut line = String::new();
    BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut line).expect("an event");
    assert!(line.contains("stepStarted"), "{line}");
    // What the system does for a parent that was killed.
    drop(stdin);
    assert_eq!(process.wait().expect("an end").code(), Some(3));
}

#[tokio::test]
async fn unreadable_files_are_warnings_and_the_rest_is_backed_up() {
    let bench = Bench::new();
    fs::write(bench.source().join("open"), "open").expect("a file");
    fs::write(bench.source().join("secret"), "secret").expect("a file");
    fs::create_dir(bench.source().join("closed")).expect("a directory");
    fs::write(bench.source().join("closed/in it"), "hidden").expect("a file");
    let mut program = run_job();
    // Root may read everything, so the child becomes someone else, who needs a way to all he works with.
    if Uid::effective().is_root() {
        let copy = bench.path("run_job");
        // By another process: a program that is open for writing here, and in whatever is just being started, does not start.
        let copied = Command::new("cp").arg(&program.path).arg(&copy).status();
        assert!(copied.is_ok_and(|status| status.success()), "a copy of the program");
        let root = bench.source();
        fs::set_permissions(root.parent().expect("a parent"), fs::Permissions::from_mode(0o755)).expect("a mode");
        let owner = Command::new("chown").args(["-R", "65534:65534"]).arg(bench.path("repository")).status();
        assert!(owner.expect("chown").success());
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let args = nobody.iter().map(Into::into).chain([copy.into_os_string()]).collect();
        program = Program { path: "setpriv".into(), args };
    }
    fs::set_permissions(bench.source().join("secret"), fs::Permissions::from_mode(0o000)).expect("a mode");
    fs::set_permissions(bench.source().join("closed"), fs::Permissions::from_mode(0o000)).expect("a mode");

    let request = Request::new(bench.spec(), Job::Backup(bench.backup_job()));
    let mut child = Child::spawn(&program, &request).await.expect("a child");
    let mut events = all_events(&mut child).await;
    let Some(Event::Ended { warnings: 2, outcome }) = events.pop() else {
        panic!("two warnings and an end, not {events:?}");
    };
    let Ok(Output::Backup(summary)) = *outcome else {
        panic!("a backup, not {outcome:?}");
    };
    assert_eq!((summary.files, summary.bytes), (1, 4));
    let warned: Vec<_> = events
        .into_iter()
        .filter_map(|event| match event {
            Event::Warning(warning) => {
                assert!(warning.message.contains("cannot be read: Permission denied"), "{warning:?}");
                warning.path
            }
            _ => None,
        })
        .collect();
    // Files are read by several threads: in any order.
    for name in ["secret", "closed"] {
        assert!(warned.contains(&RawPath::from(bench.source().join(name))), "{warned:?}");
    }
    fs::set_permissions(bench.source().join("closed"), fs::Permissions::from_mode(0o700)).expect("a mode");
    bench.restic_check();
}
