//! Kinds of work beside plain backups: what agents are given for them, and what the ledger keeps of their ends.

use domain::archive::Archive;
use domain::backup::{Filesystem, Root};
use domain::query::{RecordField, Value};
use domain::task::Priority;
use domain::work::{
    ForgetDone, ForgetWork, IndexingDone, IndexingWork, Point, PruneDone, PruneWork, VerificationDone, VerificationWork,
};

use super::*;

const ARCHIVE: Uuid = Uuid::from_u128(3);

impl World {
    /// Carries out a backup with this argument and payload.
    async fn backed_up(&self, agent: &AgentIdentity, work: BackupWork, code: OutcomeCode, done: BackupDone) -> Backup {
        let before = self.backups().await.len();
        self.create(TaskSpec { argument: json!(work).into(), ..self.backup() }).await;
        let on = self.claim_one(agent).await;
        self.report(agent, &on, ReportEvent::Started).await.expect("started");
        assert_eq!(self.report(agent, &on, completed(code, json!(done))).await, Ok(DURABLE));
        let mut made = self.backups().await;
        assert_eq!(made.len(), before + 1);
        made.sort_by_key(|backup| backup.id);
        made.pop().expect("the newest")
    }

    fn work(&self) -> BackupWork {
        serde_json::from_value(self.backup().argument.into_value()).expect("a backup's argument")
    }

    fn forget(&self, kind: &str, points: Vec<Point>) -> TaskSpec {
        let argument = json!(ForgetWork { repository: self.repository, archive: ARCHIVE, points, reasons: Vec::new() });
        TaskSpec { argument: argument.into(), kind: kind.into(), ..self.backup() }
    }

    async fn put(&self, record: impl Into<domain::record::Record>) {
        let write = Write::Put(Box::new(record.into()), Expect::New);
        self.ledger.commit(&Scope::everything(), self.service.moment(), vec![write]).await.expect("it is new");
    }
}

fn points(assigned: &Assigned) -> Vec<String> {
    let work: ForgetWork = serde_json::from_value(assigned.argument.clone()).expect("readable");
    work.points.into_iter().map(|point| point.snapshot).collect()
}

fn point(backup: &Backup) -> Point {
    Point { backup: backup.id, snapshot: backup.snapshot.clone(), because: Vec::new() }
}

#[tokio::test]
async fn a_backup_says_what_it_read_and_what_it_cost() {
    let world = World::new().await;
    let Connected { agent, .. } = world.connect(&[]).await;
    let root = Root { path: "/".into(), size: 1000, free: 400, system: true, ..Root::default() };
    let work = BackupWork { paths: Vec::new(), full: true, ..world.work() };
    let done = BackupDone { roots: vec![root.clone()], ..done("a") };
    let made = world.backed_up(&agent, work, OutcomeCode::Ok, done).await;
    assert_eq!((made.size, made.added, made.added_raw, made.changed), (100, 10, 30, 40));
    assert_eq!((made.paths, made.roots), (vec!["/".to_owned()], vec![root]));
    // What was read anew builds on nothing, whatever was there.
    assert_eq!(made.kind, BackupKind::Full);
}

#[tokio::test]
async fn a_backup_that_was_made_counts_though_a_command_after_it_failed() {
    let world = World::new().await;
    let Connected { agent, .. } = world.connect(&[]).await;
    let made = world.backed_up(&agent, world.work(), OutcomeCode::Error, done("a")).await;
    let task = world.task(TaskId(made.task)).await;
    assert_eq!(task.result().map(|r| r.code), Some(ResultCode::Error));
}

#[tokio::test]
async fn a_backup_that_shall_be_verified_is_followed_by_a_verification() {
    let world = World::new().await;
    let Connected { agent, .. } = world.connect(&[]).await;
    let now = world.service.moment().now;
    world
        .put(Archive {
            id: ARCHIVE,
            tenant: Uuid::nil(),
            name: "archive".into(),
            resource: world.resource,
            resource_name: "host".into(),
            policy: Uuid::from_u128(9),
            policy_name: "policy".into(),
            repository: world.repository,
            damaged: false,
            all_verified: None,
            last_seen_at: now,
            created_at: now,
            updated_at: now,
            deleted_at: None,
        })
        .await;
    let settings = Settings { verify: true, ..Settings::default() };
    let work = BackupWork { settings, ..world.work() };
    let made = world.backed_up(&agent, work, OutcomeCode::Ok, done("a")).await;

    for damaged_total in [2, 0] {
        let on = world.claim_one(&agent).await;
        let spec = &on.task.spec;
        assert_eq!((spec.kind.as_str(), spec.priority), (kind::VERIFICATION, Priority::BelowNormal));
        assert_eq!(spec.affinity.agent, Some(agent.id().to_string().into()));
        let argument: VerificationWork = serde_json::from_value(on.argument.clone()).expect("readable");
        assert_eq!((argument.backup, argument.snapshot.as_str()), (made.id, "a"));

        world.report(&agent, &on, ReportEvent::Started).await.expect("started");
        let found = VerificationDone { files: 3, bytes: 100, damaged_total, ..VerificationDone::default() };
        let code = if damaged_total > 0 { OutcomeCode::Error } else { OutcomeCode::Ok };
        assert_eq!(world.report(&agent, &on, completed(code, json!(found))).await, Ok(DURABLE));
        let ledger: &dyn Ledger = &*world.ledger;
        let archive = ledger.get::<Archive>(&Scope::everything(), ARCHIVE).await.expect("the archive").value;
        assert_eq!(archive.damaged, damaged_total > 0);
        world.create(TaskSpec { uuid: Uuid::now_v7(), ..(*on.task.spec).clone() }).await;
    }
}

#[tokio::test]
async fn a_volume_is_looked_into_when_it_is_there() {
    let world = World::new().await;
    let Connected { agent, .. } = world.connect(&[]).await;
    let work = || BackupWork { paths: vec!["/dev/vdb".into()], volume: true, ..world.work() };
    let filesystem = |files, failure: &str| Filesystem {
        path: "/p1".into(),
        kind: "xfs".into(),
        files,
        failure: failure.into(),
        ..Filesystem::default()
    };
    let found = |filesystem| json!(IndexingDone { filesystems: vec![filesystem] });
    let unreadable = "xfs cannot be read here";
    let cases = [
        (OutcomeCode::Ok, found(filesystem(Some(3), "")), None, true, ""),
        (OutcomeCode::Warning, found(filesystem(None, unreadable)), None, false, unreadable),
        (OutcomeCode::Ok, json!(IndexingDone::default()), None, false, "there is no file system on the volume"),
        (OutcomeCode::Error, Json::Null, Some("No disk."), false, "No disk."),
    ];
    for (code, payload, error, browsable, reason) in cases {
        let made = world.backed_up(&agent, work(), OutcomeCode::Ok, done("a")).await;
        assert_eq!((made.browsable, made.browsing_failed.as_str()), (false, "the volume has not been indexed yet"));
        let on = world.claim_one(&agent).await;
        assert_eq!((on.task.spec.kind.as_str(), on.task.spec.rules.cancellable), (kind::INDEXING, false));
        assert_eq!(on.task.spec.resource, world.backup().resource);
        let argument: IndexingWork = serde_json::from_value(on.argument.clone()).expect("readable");
        assert_eq!((argument.backup, argument.snapshot.as_str()), (made.id, "a"));

        world.report(&agent, &on, ReportEvent::Started).await.expect("started");
        let error = error.map(|message| TaskError::server("x", message));
        let outcome = Outcome { payload, error, ..Outcome::of(code) };
        let event = ReportEvent::Completed { outcome, progress: None };
        assert_eq!(world.report(&agent, &on, event).await, Ok(DURABLE));
        let made = world.backups().await.into_iter().find(|backup| backup.id == made.id).expect("the backup");
        assert_eq!((made.browsable, made.browsing_failed.as_str()), (browsable, reason));
    }
}

#[tokio::test]
async fn an_archive_is_forgotten_as_it_stands_when_the_work_begins() {
    let world = World::new().await;
    let Connected { agent, .. } = world.connect(&[]).await;
    for snapshot in ["a", "b"] {
        world.backed_up(&agent, world.work(), OutcomeCode::Ok, done(snapshot)).await;
    }
    let other = BackupWork { archive: Uuid::from_u128(4), ..world.work() };
    world.backed_up(&agent, other, OutcomeCode::Ok, done("other")).await;
    world.create(world.forget(kind::ARCHIVE_DELETION, Vec::new())).await;
    assert_eq!(points(&world.claim_one(&agent).await), ["a", "b"]);
}

#[tokio::test]
async fn only_recovery_points_of_the_archive_and_of_the_owner_are_forgotten() {
    let world = World::new().await;
    let Connected { agent, .. } = world.connect(&[]).await;
    let mine = world.backed_up(&agent, world.work(), OutcomeCode::Ok, done("mine")).await;
    let elsewhere = BackupWork { archive: Uuid::from_u128(4), ..world.work() };
    let elsewhere = world.backed_up(&agent, elsewhere, OutcomeCode::Ok, done("elsewhere")).await;
    let gone = Point { backup: Uuid::from_u128(99), snapshot: "gone".into(), because: Vec::new() };
    // The record knows which snapshot it is; the argument may have come from anywhere.
    let renamed = Point { snapshot: "somebody else's".into(), ..point(&mine) };
    world.create(world.forget(kind::RETENTION, vec![renamed, point(&elsewhere), gone])).await;
    assert_eq!(points(&world.claim_one(&agent).await), ["mine"]);

    world.create(world.forget(kind::BACKUP_DELETION, Vec::new())).await;
    assert_eq!(points(&world.claim_one(&agent).await), [""; 0], "nothing was named, so nothing goes");
    let ledger: &dyn Ledger = &*world.ledger;
    let filter = Filter::all().is(RecordField::Archive, Value::Uuid(ARCHIVE)).expect("a field of backups");
    assert_eq!(ledger.all::<Backup>(&Scope::everything(), filter).await.expect("backups").len(), 1);
}

#[tokio::test]
async fn the_space_of_what_was_removed_is_given_back_later() {
    let world = World::new().await;
    let Connected { agent, .. } = world.connect(&[]).await;
    let removal = async |removed, missing| {
        world.create(world.forget(kind::RETENTION, Vec::new())).await;
        let on = world.claim_one(&agent).await;
        world.report(&agent, &on, ReportEvent::Started).await.expect("started");
        let done = json!(ForgetDone { removed, missing, ..ForgetDone::default() });
        assert_eq!(world.report(&agent, &on, completed(OutcomeCode::Ok, done)).await, Ok(DURABLE));
    };
    let pruning = async || {
        let ledger: &dyn Ledger = &*world.ledger;
        let found = ledger.get::<domain::repository::Repository>(&Scope::everything(), world.repository).await;
        found.expect("the repository").value.pruning
    };
    removal(3, 3).await;
    assert_eq!(pruning().await, None, "nothing was there any more");
    removal(3, 1).await;
    let due = pruning().await.expect("something is to be given back");
    assert_eq!(due.agent, agent.id());
    let at = |time: domain::Timestamp| world.service.moment().at(time);
    world.service.prune_due_at(at(due.at - domain::SignedDuration::from_secs(1))).await.expect("a look");
    assert!(world.service.claim(&agent, 1).await.expect("a look").is_empty(), "not yet");

    for (done, next) in [
        (PruneDone { busy: true, ..PruneDone::default() }, true),
        (PruneDone { marked: 9, ..PruneDone::default() }, true),
        (PruneDone { freed: 9, ..PruneDone::default() }, false),
    ] {
        let due = pruning().await.expect("it is planned");
        world.service.prune_due_at(at(due.at)).await.expect("a look");
        let later = pruning().await.expect("another look if nothing comes of it");
        assert!(later.at > due.at);
        world.service.prune_due_at(at(due.at)).await.expect("a look");
        let on = world.claim_one(&agent).await;
        assert_eq!(on.argument, json!(PruneWork { repository: world.repository }));
        assert!(world.service.claim(&agent, 1).await.expect("a look").is_empty(), "once");
        world.report(&agent, &on, ReportEvent::Started).await.expect("started");
        assert_eq!(world.report(&agent, &on, completed(OutcomeCode::Ok, json!(done))).await, Ok(DURABLE));
        assert_eq!(pruning().await.is_some(), next, "{done:?}");
    }
}
