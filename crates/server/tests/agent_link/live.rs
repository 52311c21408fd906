//! Questions about an agent's machine, asked while somebody waits: over a real connection, on real folders.

use std::fs;

use domain::{Code, Uuid};
use server::service::{DirectoryEntry, DirectoryKind};

use crate::world::{Agent, World, limit};

/// A connected agent and its id.
async fn connected(world: &World) -> (Agent, Uuid) {
    let agent = world.start_agent();
    (agent, world.online_agent().await)
}

#[tokio::test]
async fn a_folder_of_the_machine_is_listed_as_it_is_now() {
    let world = World::new().await;
    let (agent, id) = connected(&world).await;
    let folder = world.path("listed");
    fs::create_dir_all(folder.join("folder")).expect("a folder");
    fs::write(folder.join("file"), "seven b").expect("a file");
    std::os::unix::fs::symlink("folder", folder.join("to folder")).expect("a link");
    std::os::unix::fs::symlink("nowhere", folder.join("to nothing")).expect("a link");
    let list = |path: String| world.service.hub().list_directory(id, path);

    let text = folder.display().to_string();
    let listed = limit("an answer", list(text.clone())).await.expect("a list");
    let entry =
        |name: &str, kind, size| DirectoryEntry { name: name.to_owned(), path: format!("{text}/{name}"), kind, size };
    assert_eq!(
        listed,
        [
            entry("file", DirectoryKind::File, 7),
            entry("folder", DirectoryKind::Directory, 0),
            entry("to folder", DirectoryKind::Directory, 0),
            entry("to nothing", DirectoryKind::File, 0),
        ]
    );
    let places = limit("an answer", list(String::new())).await.expect("a list");
    assert!(places.iter().any(|p| p.path == "/" && p.kind == DirectoryKind::Volume), "{places:?}");
    assert!(places.iter().all(|p| p.name == p.path && !p.path.starts_with("/proc")), "{places:?}");

    let refused = async |path: String| limit("an answer", list(path)).await.expect_err("refused").code;
    assert_eq!(refused(format!("{text}/gone")).await, Code::NotFound);
    assert_eq!(refused(format!("{text}/file")).await, Code::PathUnusable);
    assert_eq!(refused("folder".to_owned()).await, Code::InvalidField);
    agent.stop().await;
}

#[tokio::test]
async fn a_folder_of_the_machine_is_made_once() {
    let world = World::new().await;
    let (agent, id) = connected(&world).await;
    fs::write(world.path("file"), "").expect("a file");
    let make = async |name: &str| {
        let path = world.path(name).display().to_string();
        limit("an answer", world.service.hub().create_directory(id, path)).await
    };

    assert_eq!(make("new").await, Ok(()));
    assert!(world.path("new").is_dir());
    assert_eq!(make("new").await, Ok(()), "it is there, as was wished");
    assert_eq!(make("file").await.expect_err("refused").code, Code::PathUnusable);
    assert_eq!(make("no/parent").await.expect_err("refused").code, Code::NotFound);
    agent.stop().await;
    let offline = make("later").await.expect_err("refused").code;
    assert_eq!((offline, world.path("later").exists()), (Code::AgentOffline, false));
}

#[tokio::test]
async fn the_server_learns_what_the_agent_knows_of_its_machine() {
    let world = World::new().await;
    let (agent, id) = connected(&world).await;
    let record = world.agent(id).await;
    assert_eq!((record.system.as_str(), record.rescue), (std::env::consts::OS, false));
    agent.stop().await;
}
