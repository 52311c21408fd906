//! Server and agent as processes of their own: one of them goes away, moves or is killed, and nothing is lost or done twice.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use acceptance::fleet::Agent;
use acceptance::machine::{only_backup, result};
use acceptance::restic::Restic;
use acceptance::{LIMIT, Machine, Place, Up, add_endless, add_much, until};
use api::client::ListQuery;
use api::{PolicyChange, Settings};
use domain::Uuid;
use domain::policy::settings::{Command, When};
use domain::task::ResultCode;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

fn data(place: &Place) -> PathBuf {
    place.path("agent")
}

/// Waits until the agent is connected; its id.
async fn online(server: &Up<'_>) -> Uuid {
    until("the agent is connected", async || {
        let agents = server.client().agents(&ListQuery::new()).await.ok()?.items;
        agents.into_iter().find(|a| a.online).map(|a| a.id)
    })
    .await
}

/// The machine that joined, with much to back up.
async fn protected(place: &Place, server: &Up<'_>) -> Machine {
    let folder = place.folder("much");
    add_much(&folder);
    Machine::joined(server, &folder).await
}

/// The journal's files.
fn journal(place: &Place) -> Vec<String> {
    let files = fs::read_dir(data(place).join("journal")).into_iter().flatten().flatten().map(|file| file.path());
    // What is not in its place yet is not written yet; one that is removed just now is gone.
    files.filter(|f| f.extension().is_some_and(|e| e == "json")).filter_map(|f| fs::read_to_string(f).ok()).collect()
}

#[tokio::test]
async fn the_agent_comes_back_to_a_server_that_was_restarted_and_to_one_that_moved() {
    let place = Place::new();
    let builder = place.up().alone().reached_as_localhost();
    let server = builder.start();
    let mut agent = Agent::join(&place, &server, "agent").await;
    let id = online(&server).await;
    let listed = server.client().agents(&ListQuery::new()).await.expect("agents").items.remove(0);
    assert!(listed.certificate.is_some_and(|c| c.expires_at > c.issued_at), "{listed:?}");

    // By itself, at the same address.
    let _ = server.stop(Signal::SIGTERM).good();
    let server = builder.start();
    assert_eq!(online(&server).await, id);
    let second = place.cli(&["agent", "run", "--data", data(&place).to_str().expect("UTF-8")]).failed(1);
    assert!(second.err.contains("another agent runs in"), "{second}");
    let before = server.ready().tls.clone();
    let _ = server.stop(Signal::SIGTERM).good();

    // Told once, it is known from then on.
    let server = place.up().alone().reached_as_localhost().start();
    let after = server.ready().tls.clone();
    assert_ne!(before, after);
    agent.stop();
    agent.start_with(&["--server", &after]);
    assert_eq!(online(&server).await, id);
    agent.stop();
    until("the server knows that it is gone", async || {
        let listed = server.client().agents(&ListQuery::new()).await.ok()?.items;
        listed.iter().all(|agent| !agent.online).then_some(())
    })
    .await;
    agent.start();
    until("it is there again", async || {
        let kept = fs::read_to_string(data(&place).join("agent.json")).ok()?;
        (online(&server).await == id && kept.contains(&after)).then_some(())
    })
    .await;

    let doctor = || place.cli(&["doctor", "--min-free", "0", "--data", data(&place).to_str().expect("UTF-8")]);
    let good = doctor().good();
    for words in
        ["agent: it runs", "agent's certificate: valid", "server: 127.0.0.1 answers", "the server lets this agent in"]
    {
        assert!(good.out.contains(words), "no '{words}' in\n{good}");
    }
    assert_eq!(online(&server).await, id, "asking has cut nothing off");

    let name = server.client().agents(&ListQuery::new()).await.expect("agents").items.remove(0).name;
    let said = place.cli(&["agent", "revoke", &name]).good();
    assert!(said.out.contains("let in no longer"), "{said}");
    assert_eq!(agent.ended().code(), Some(1));
    let log = agent.said();
    assert!(log.contains("the agent was revoked") && log.contains("agent enroll"), "{log}");
    assert!(place.cli(&["agent", "list"]).good().out.contains("revoked"));
    let refused = doctor().failed(1);
    assert!(refused.out.contains("access: the agent is not let in any more"), "{refused}");
    let _ = server.stop(Signal::SIGTERM).good();
    let alone = doctor().failed(1);
    assert!(alone.out.contains("is not reached") && alone.out.contains("no agent runs in"), "{alone}");
}

#[tokio::test]
async fn a_backup_whose_end_nobody_heard_of_is_reported_after_a_crash_and_not_made_again() {
    let place = Place::new();
    let builder = place.up().alone().reached_as_localhost();
    let server = builder.start();
    let mut agent = Agent::join(&place, &server, "agent").await;
    online(&server).await;
    let machine = protected(&place, &server).await;
    // Held at a gate, so that it is not done before the server is gone.
    let gate = place.path("gate");
    mkfifo(&gate, Mode::S_IRUSR | Mode::S_IWUSR).expect("a fifo");
    let held = Command {
        when: When::PreData,
        cmd: "cat".to_owned(),
        args: gate.display().to_string(),
        workdir: String::new(),
        enabled: true,
        stop_on_error: true,
        wait: true,
    };
    let settings = Settings { commands: vec![held], ..Settings::default() };
    let change = PolicyChange { settings: Some(settings), ..PolicyChange::default() };
    server.client().change_policy(machine.policy, &change).await.expect("changed");
    let task = machine.run(&server).await;
    let opened = tokio::task::spawn_blocking(move || File::options().write(true).open(gate));
    let opened = tokio::time::timeout(LIMIT, opened).await.expect("it comes to the gate").expect("no panic");
    server.kill9();
    drop(opened.expect("the gate opens"));
    until("it is over", async || journal(&place).iter().any(|page| page.contains("\"reports\"")).then_some(())).await;
    agent.kill9();

    let server = builder.start();
    agent.start();
    let done = server.completed(task.id).await;
    assert_eq!((result(&done), done.assign_count), (ResultCode::Ok, 1), "{done:#?}");
    assert_eq!(only_backup(&server.client(), task.id).await.expect("a backup").files, 10);
    until("the journal is empty", async || journal(&place).is_empty().then_some(())).await;
    let restic = Restic::of(&place);
    restic.check();
    assert_eq!(restic.snapshots_by_task().into_iter().collect::<Vec<_>>(), [(task.uuid.to_string(), 1)]);
}

#[tokio::test]
async fn a_job_that_survived_its_agent_is_ended_before_its_task_is_done_again() {
    let place = Place::new();
    let server = place.up().alone().reached_as_localhost().start();
    let mut agent = Agent::join(&place, &server, "agent").await;
    online(&server).await;
    let machine = protected(&place, &server).await;
    let endless = add_endless(&place.path("much"));
    let task = machine.run(&server).await;
    let job = agent.job_in_the_middle().await;
    // Stopped, it does not notice that its agent is gone. Somebody of ours is in its group: one that is stopped and has nobody
    // left to wake it is hung up by the kernel.
    let group = i32::try_from(job.group).expect("a number of a group");
    let mut companion = place.command("cat").stdin(Stdio::piped()).process_group(group).spawn().expect("a process");
    job.send(Signal::SIGSTOP);
    until("it is written down", async || journal(&place).iter().any(|page| page.contains("\"child\"")).then_some(()))
        .await;
    agent.kill9();
    assert!(job.runs());

    fs::remove_file(endless).expect("a file");
    agent.start();
    let done = server.completed(task.id).await;
    assert!(!job.runs());
    let _ = companion.kill();
    let _ = companion.wait();
    assert_eq!((result(&done), done.assign_count), (ResultCode::Ok, 2), "{done:#?}");
    let restic = Restic::of(&place);
    restic.check();
    assert_eq!(restic.snapshots_by_task().into_iter().collect::<Vec<_>>(), [(task.uuid.to_string(), 1)]);
}
