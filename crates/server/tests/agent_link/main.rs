//! Server and agent over a real connection: the usual way, and everything that can break on it.

mod around;
mod certificates;
mod live;
mod world;

use agent::AgentConfig;
use agent::engine::{self, BackupSummary, EngineError, ErrorCode, Event, InitSummary, Output, Progress, Step, Warning};
use domain::task::{ResultCode, State, TaskRef};
use domain::work::BackupDone;
use domain::{Code, Moment, Scope, SignedDuration, Uuid};
use ledger::{Ledger, Write};
use server::service::{ListFiles, RepositoryAccess, RepositoryTest};
use tokio_util::sync::CancellationToken;
use world::{Flow, World, limit};

fn saved(snapshot: &str) -> engine::Outcome {
    Ok(Output::Backup(BackupSummary {
        snapshot: snapshot.to_owned(),
        parent: Some("p".into()),
        files: 3,
        bytes: 100,
        bytes_added_packed: 10,
        ..BackupSummary::default()
    }))
}

fn half() -> Progress {
    Progress { step: Some(Step::Backup), bytes_done: 50, bytes_total: Some(100), ..Progress::default() }
}

/// A child that is in the middle of its work.
fn working() -> Vec<Event> {
    vec![Event::StepStarted { step: Step::Backup }, Event::Progress(half())]
}

fn finishing() -> Vec<Event> {
    vec![Event::StepFinished { step: Step::Backup, progress: half() }]
}

#[tokio::test]
async fn a_backup_goes_from_the_queue_to_a_record() {
    let world = World::new().await;
    let warning = Event::Warning(Warning { path: Some("/home/a".into()), message: "permission denied".into() });
    let begin = [Event::StepStarted { step: Step::Scan }];
    let scanned = Event::StepFinished { step: Step::Scan, progress: Progress::default() };
    let end = [vec![scanned], working(), vec![warning], finishing()].concat();
    world.play(1, &begin, &end, saved("abc"));
    let id = world.create(world.backup()).await;
    let agent = world.start_agent();

    let task = world.completed(id).await;
    let result = task.result().expect("it is over");
    assert_eq!(result.code, ResultCode::Warning);
    assert_eq!(
        result.warnings[0].message,
        "One entry was not backed up, or not as it should be; the payload lists them."
    );
    let done: BackupDone = serde_json::from_value(result.payload.clone().into_value()).expect("its payload");
    assert_eq!((done.unreadable_total, done.unreadable[0].path.as_str()), (1, "/home/a"));
    let progress = task.status.progress.as_ref().expect("progress");
    assert_eq!((progress.current, progress.total, progress.bytes_processed), (100, 100, 50));
    assert_eq!(world.steps().await, ["scan ok", "backup ok"]);

    let backups = world.backups().await;
    assert_eq!(backups.len(), 1);
    assert_eq!((backups[0].snapshot.as_str(), backups[0].size, backups[0].added), ("abc", 100, 10));
    let jobs = world.jobs();
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0]["type"], "backup");
    assert_eq!(
        (&jobs[0]["host"], &jobs[0]["paths"][0], &jobs[0]["excludes"][0]),
        (&"host".into(), &"/home".into(), &"*.tmp".into())
    );
    assert_eq!(jobs[0]["task"], task.spec.uuid.to_string());
    agent.stop().await;
}

#[tokio::test]
async fn the_first_backup_makes_the_repository_and_no_later_one_does() {
    let world = World::new().await;
    let missing = || Err(EngineError::new(ErrorCode::RepositoryMissing, "there is no repository at /repository"));
    world.play(1, &[], &[], missing());
    world.play(2, &[], &[], Ok(Output::Init(InitSummary { repository: "r".into(), created: true })));
    world.play(3, &[], &[], saved("abc"));
    world.play(4, &[], &[], missing());
    let agent = world.start_agent();
    let first = world.create(world.backup()).await;
    assert_eq!(world.completed(first).await.result().expect("it is over").code, ResultCode::Ok);

    let second = world.create(world.backup()).await;
    let task = world.completed(second).await;
    let error = task.result().and_then(|r| r.error.clone()).expect("a reason");
    assert_eq!((error.domain.as_str(), error.code.as_str()), ("engine", "repositoryMissing"));
    assert_eq!(error.message, "There is no repository at /repository.");
    let jobs: Vec<_> = world.jobs().iter().map(|j| j["type"].as_str().unwrap_or("?").to_owned()).collect();
    assert_eq!(jobs, ["backup", "init", "backup", "backup"]);
    agent.stop().await;
}

#[tokio::test]
async fn a_cancelled_task_stops_its_child() {
    let world = World::new().await;
    world.make_fifo("gate");
    world.play(1, &working(), &[], saved("never"));
    let agent = world.start_agent();
    let id = world.create(world.backup()).await;
    world.task_when(id, "there is progress", |t| t.status.progress.is_some()).await;
    world.cancel(id).await;
    let task = world.completed(id).await;
    assert_eq!(task.result().expect("it is over").code, ResultCode::Cancelled);
    assert_eq!(task.status.progress.as_ref().expect("progress").current, 50);
    assert_eq!(world.steps().await, ["backup cancelled"]);
    assert!(world.backups().await.is_empty());
    agent.stop().await;
}

#[tokio::test]
async fn a_child_that_crashes_fails_its_task_and_not_the_agent() {
    let world = World::new().await;
    world.play(1, &working(), &[], saved("never"));
    std::fs::write(world.path("end.1"), "").expect("it can be written");
    std::fs::write(world.path("crash"), "").expect("it can be written");
    let agent = world.start_agent();
    let id = world.create(world.backup()).await;
    let task = world.completed(id).await;
    let error = task.result().and_then(|r| r.error.clone()).expect("a reason");
    assert_eq!((error.code.as_str(), error.context["signal"].as_str()), ("engineCrashed", Some("9")));
    assert!(error.message.contains("SIGKILL"), "{}", error.message);
    assert_eq!(world.steps().await, ["backup error"]);
    agent.stop().await;
}

#[tokio::test]
async fn reports_that_a_cut_kept_back_are_sent_again() {
    let world = World::new().await;
    world.make_fifo("gate");
    world.make_fifo("ended");
    world.play(1, &working(), &finishing(), saved("abc"));
    let agent = world.start_agent();
    let id = world.create(world.backup()).await;
    world.task_when(id, "there is progress", |t| t.status.progress.is_some()).await;

    world.line.set(Flow::Cut);
    world.open_gate().await;
    world.child_ended().await;
    assert_eq!(
        world.ledger.task(&Scope::everything(), TaskRef::Id(id)).await.expect("the task").state(),
        State::Started
    );
    world.line.set(Flow::Open);

    assert_eq!(world.completed(id).await.result().expect("it is over").code, ResultCode::Ok);
    assert_eq!(world.steps().await, ["backup ok"]);
    assert_eq!((world.backups().await.len(), world.jobs().len()), (1, 1));
    agent.stop().await;
}

#[tokio::test]
async fn a_lost_acknowledgement_makes_nothing_twice() {
    let world = World::new().await;
    world.make_fifo("gate");
    world.play(1, &working(), &finishing(), saved("abc"));
    world.play(2, &[], &[], saved("def"));
    let agent = world.start_agent();
    let first = world.create(world.backup()).await;
    world.task_when(first, "there is progress", |t| t.status.progress.is_some()).await;
    world.line.set(Flow::AgentIsDeaf);
    world.open_gate().await;
    world.completed(first).await;
    world.line.set(Flow::Cut);
    world.line.set(Flow::Open);

    // The agent's only slot is free again.
    let second = world.create(world.backup()).await;
    world.open_gate().await;
    world.completed(second).await;
    let snapshots: Vec<_> = world.backups().await.into_iter().map(|b| b.snapshot).collect();
    assert_eq!(snapshots, ["abc", "def"]);
    assert_eq!(world.jobs().len(), 2);
    agent.stop().await;
}

#[tokio::test]
async fn work_outlives_a_restart_of_the_server() {
    let mut world = World::new().await;
    world.make_fifo("gate");
    world.play(1, &working(), &finishing(), saved("abc"));
    let agent = world.start_agent();
    let id = world.create(world.backup()).await;
    world.task_when(id, "there is progress", |t| t.status.progress.is_some()).await;
    world.stop_server().await;
    world.open_gate().await;
    world.start_server().await;
    assert_eq!(world.completed(id).await.result().expect("it is over").code, ResultCode::Ok);
    assert_eq!(world.task_when(id, "", |_| true).await.status.assign_count, 1);
    assert_eq!((world.backups().await.len(), world.jobs().len()), (1, 1));
    agent.stop().await;
    world.stop_server().await;
}

/// Waits until the journal says that a task is over, or what else is wished.
async fn journaled(world: &World, what: &str) {
    limit(what, async {
        loop {
            let files = std::fs::read_dir(world.path("journal")).into_iter().flatten().flatten().map(|f| f.path());
            let files = files.filter(|f| f.extension().is_some_and(|e| e == "json"));
            if files.filter_map(|f| std::fs::read_to_string(f).ok()).any(|page| page.contains(what)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_over_when_the_agent_crashed_is_reported_by_the_next_one() {
    let world = World::new().await;
    world.make_fifo("gate");
    world.play(1, &working(), &finishing(), saved("abc"));
    let agent = world.start_agent();
    let id = world.create(world.backup()).await;
    world.task_when(id, "there is progress", |t| t.status.progress.is_some()).await;
    world.line.set(Flow::Cut);
    world.open_gate().await;
    journaled(&world, "\"reports\"").await;
    agent.running.abort();
    assert!(agent.running.await.expect_err("it crashed").is_cancelled());
    world.line.set(Flow::Open);

    let agent = world.start_agent();
    assert_eq!(world.completed(id).await.result().expect("it is over").code, ResultCode::Ok);
    assert_eq!(world.task_when(id, "", |_| true).await.status.assign_count, 1);
    assert_eq!(world.steps().await, ["backup ok"], "the step was not acknowledged either");
    assert_eq!((world.backups().await.len(), world.jobs().len()), (1, 1));
    agent.stop().await;
    assert_eq!(std::fs::read_dir(world.path("journal")).expect("a folder").count(), 0, "nothing is left to report");
}

#[tokio::test]
async fn what_was_not_over_when_the_agent_crashed_is_done_again_without_what_is_left_of_it() {
    let world = World::new().await;
    world.make_fifo("gate");
    world.play(1, &working(), &[], saved("never"));
    world.play(2, &working(), &finishing(), saved("abc"));
    let agent = world.start_agent();
    let id = world.create(world.backup()).await;
    world.task_when(id, "there is progress", |t| t.status.progress.is_some()).await;
    journaled(&world, "\"child\"").await;
    agent.running.abort();
    assert!(agent.running.await.expect_err("it crashed").is_cancelled());

    let agent = world.start_agent();
    // The first child may be at the gate until the new agent has ended it, and would take what is for the second.
    world.begun(2).await;
    world.open_gate().await;
    let task = world.completed(id).await;
    assert_eq!((task.result().map(|r| r.code), task.status.assign_count), (Some(ResultCode::Ok), 2));
    agent.stop().await;
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_costs_no_task_and_is_told() {
    let world = World::new().await;
    std::fs::write(world.path("journal"), "no folder").expect("written");
    world.play(1, &working(), &finishing(), saved("abc"));
    let agent = world.start_agent();
    let id = world.create(world.backup()).await;
    let task = world.completed(id).await;
    let result = task.result().expect("it is over");
    assert_eq!((result.code, result.warnings.len()), (ResultCode::Warning, 1));
    let warning = &result.warnings[0];
    assert_eq!((warning.domain.as_str(), warning.code.as_str()), ("agent", "journalUnwritable"));
    assert!(warning.message.contains(world.path("journal").to_str().expect("UTF-8")), "{}", warning.message);
    assert_eq!(world.backups().await.len(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_ends_gives_its_task_back_and_the_next_one_does_it() {
    let world = World::new().await;
    world.make_fifo("gate");
    world.play(1, &working(), &[], saved("never"));
    world.play(2, &working(), &finishing(), saved("abc"));
    let agent = world.start_agent();
    let id = world.create(world.backup()).await;
    world.task_when(id, "there is progress", |t| t.status.progress.is_some()).await;
    agent.stop().await;
    let task = world.task_when(id, "", |_| true).await;
    assert_eq!((task.state(), task.status.assign_count), (State::Enqueued, 1));

    let agent = world.start_agent();
    world.open_gate().await;
    assert_eq!(world.completed(id).await.result().expect("it is over").code, ResultCode::Ok);
    assert_eq!(world.steps().await, ["backup abandoned", "backup ok"]);
    agent.stop().await;
}

#[tokio::test]
async fn work_under_a_void_lease_is_stopped_and_done_anew() {
    let world = World::new().await;
    world.make_fifo("gate");
    // One report, so that none comes after the lease is void but before the gate.
    world.play(1, &[Event::Progress(half())], &finishing(), saved("never"));
    world.play(2, &working(), &finishing(), saved("abc"));
    let agent = world.start_agent();
    let id = world.create(world.backup()).await;
    let task = world.task_when(id, "there is progress", |t| t.status.progress.is_some()).await;
    let old = task.lease().cloned();

    // Nobody tells the agent; it finds out by its next report.
    let moment = world.service.moment();
    let later = Moment { now: moment.now + SignedDuration::from_hours(2), ..moment };
    let settled = world.ledger.commit(&Scope::everything(), later, vec![Write::Settle(id)]).await;
    assert_eq!(settled.expect("a commit").task().expect("the task").state(), State::Enqueued);
    world.open_gate().await;
    world.task_when(id, "it is started anew", |t| t.state() == State::Started && t.lease() != old.as_ref()).await;
    world.open_gate().await;
    assert_eq!(world.completed(id).await.status.assign_count, 2);
    let snapshots: Vec<_> = world.backups().await.into_iter().map(|b| b.snapshot).collect();
    assert_eq!(snapshots, ["abc"]);
    agent.stop().await;
}

#[tokio::test]
async fn a_folder_of_a_backup_is_listed_by_the_agent() {
    let world = World::new().await;
    let entry = engine::FileEntry {
        name: "a".into(),
        path: "/home/a".into(),
        kind: engine::FileKind::Directory,
        size: 0,
        mtime_ns: Some(1_000_000_000),
        mode: Some(0o755),
        uid: None,
        gid: None,
        user: None,
        group: None,
        link_target: None,
    };
    // A task tells which agent there is.
    world.play(1, &[], &[], saved("abc"));
    world.play(2, &[], &[], Ok(Output::Files(engine::FileList { entries: vec![entry], more: true })));
    world.play(3, &[], &[], Err(EngineError::new(ErrorCode::PathNotInBackup, "there is no /x in the snapshot")));
    world.play(4, &[], &[], Ok(Output::Reach(engine::ReachSummary { found: true })));
    world.play(5, &[], &[], Err(EngineError::new(ErrorCode::WrongPassword, "it does not open")));
    let agent = world.start_agent();
    let id = world.create(world.backup()).await;
    let executor = world.completed(id).await.executor().cloned();
    let executor = Uuid::parse_str(&executor.expect("somebody did it").id).expect("an agent's id");

    let ask = |path: &str| ListFiles {
        repository: RepositoryAccess {
            url: "/repository".into(),
            password: "p".into(),
            secrets: Default::default(),
            limits: Default::default(),
        },
        snapshot: "abc".into(),
        path: path.into(),
        after: None,
        limit: 1,
    };
    let listed = limit("an answer", world.service.hub().list_files(executor, ask("/home"))).await.expect("a list");
    assert!(listed.more);
    let entry = &listed.entries[0];
    assert_eq!((entry.name.as_str(), entry.kind.as_str(), entry.mode), ("a", "dir", Some(0o755)));
    assert_eq!(entry.modified_at.map(|t| t.as_second()), Some(1));
    let error =
        limit("an answer", world.service.hub().list_files(executor, ask("/x"))).await.expect_err("no such folder");
    assert_eq!((error.code, error.message.as_str()), (Code::NotFound, "there is no /x in the snapshot"));
    let test = || world.service.hub().test_repository(executor, ask("").repository);
    assert_eq!(limit("an answer", test()).await, Ok(RepositoryTest { found: true, error: None }));
    let refused = limit("an answer", test()).await.expect("an answer").error.expect("a reason");
    assert_eq!((refused.code.as_str(), refused.message.as_str()), ("wrongPassword", "it does not open"));
    let jobs: Vec<_> = world.jobs().iter().map(|j| j["type"].as_str().unwrap_or("?").to_owned()).collect();
    assert_eq!(jobs, ["backup", "listFiles", "listFiles", "reach", "reach"]);
    agent.stop().await;
}

#[tokio::test]
async fn a_wrong_token_ends_the_agent_with_a_word_on_what_to_do() {
    let mut world = World::new().await;
    world.secret = "bsa_wrong".into();
    let error = world.start_agent().ended().await.expect_err("nobody knows it");
    let words = format!("{error:#}");
    assert!(words.contains("refused this agent") && words.contains("valid agent token"), "{words}");
    assert!(!words.contains("bsa_wrong"));
    assert!(!format!("{:?}", world.config()).contains("bsa_wrong"));
}

#[tokio::test]
async fn the_link_works_over_tls_with_the_servers_own_authority() {
    let world = World::new().await;
    world.play(1, &[], &[], saved("abc"));
    let files = server::tls::CertFiles::in_folder(world.folder.path());
    let certificates = files.serve(&["127.0.0.1".to_owned()], world.service.moment().now).expect("certificates");
    let config = certificates.server_config().expect("a configuration");
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = tcp.local_addr().expect("an address").port();
    let listener = server::listen::TlsListener::new(tcp, config).expect("a listener");
    let router = server::agents::router(world.service.clone(), CancellationToken::new());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });

    let pem = std::fs::read_to_string(&files.ca).expect("the authority's certificate");
    let config = AgentConfig { url: format!("https://127.0.0.1:{port}"), ca_pem: Some(pem), ..world.config() };
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(agent::run(config.clone(), shutdown.clone()));
    let id = world.create(world.backup()).await;
    assert_eq!(world.completed(id).await.result().expect("it is over").code, ResultCode::Ok);
    shutdown.cancel();
    limit("the agent ends", running).await.expect("no panic").expect("it ends well");

    let bare = AgentConfig { ca_pem: None, ..config };
    let error = agent::run(bare, CancellationToken::new()).await.expect_err("whom should it trust");
    assert!(error.to_string().contains("authority"), "{error}");
    serving.abort();
}
