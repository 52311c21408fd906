//! A small story told as a whole: what the ledger holds at its end, as people can read it.

use domain::Result;
use domain::activity::ActivitySpec;
use domain::task::{Event, Progress};

use super::records::resource;
use super::world::{World, seconds};
use crate::Expect;

/// A machine is backed up, in two attempts; a second task waits, and a third was cancelled.
async fn tell(w: &mut World) -> Result<()> {
    let machine = w.put(resource(w, w.acme.id, "m1"), Expect::New).await?.value;
    let mut spec = w.spec("backup");
    spec.resource = Some(domain::task::Named::ours(machine.id, "", &machine.name));
    spec.rules.max_assign_count = 2;
    spec.rules.heartbeat_interval = Some(seconds(30));
    spec.tags = vec!["night".into()];
    w.create(spec).await?;
    let (task, _) = w.start("a1").await?;
    w.pass(seconds(91));
    w.settle(task.id).await?;
    let (task, lease) = w.start("a2").await?;
    let step = ActivitySpec::new(w.id(), "read");
    w.step(task.id, &lease, step).await?;
    let progress = Progress { current: 40, total: 100, ..Default::default() };
    w.event(task.id, Event::Report { lease: lease.clone(), progress }).await?;
    w.pass(seconds(5));
    w.complete(task.id, &lease).await?;
    w.plain().await?;
    let unwanted = w.plain().await?;
    w.event(unwanted.id, Event::Cancel { by: "Jo".into() }).await?;
    w.plain().await?;
    w.hand_out("a1").await?;
    Ok(())
}

async fn print(mut w: World) {
    tell(&mut w).await.expect("the story goes through");
    insta::assert_snapshot!("small_story", w.dump().await);
}

#[tokio::test]
async fn in_memory() {
    print(World::in_memory().await).await;
}

#[tokio::test]
async fn in_file() {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    print(World::in_file(&dir.path().join("ledger.db")).await).await;
}
