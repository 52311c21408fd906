//! Keys of repositories and checks of what lies in them, where not everything goes well.

use std::fs;

use acceptance::machine::Machine;
use acceptance::place::said;
use acceptance::{Place, program};
use api::NewToken;
use domain::Role;

#[tokio::test]
async fn a_refused_export_leaves_nothing_that_stands_in_the_way_of_the_next() {
    let place = Place::new();
    let up = place.start();
    let new = NewToken { name: "editor".into(), role: Role::Editor, tenant: None, expires_at: None };
    let editor = up.client().create_token(&new).await.expect("a token").secret;
    let args = ["repository", "export-key", "local", "--file", "local.env"];
    let mut refused = place.command(program());
    refused.args(args).env("BACKSTAY_TOKEN", editor).env("BACKSTAY_SERVER", &up.ready().http);
    let refused = said(&mut refused).failed(7);
    assert!(!place.path("local.env").exists(), "{refused}");
    let _ = place.cli(&args).good();
    assert!(fs::read_to_string(place.path("local.env")).expect("a file").contains("RESTIC_PASSWORD"));
    // What is there is somebody's, and stays.
    let _ = place.cli(&args).failed(1);
    assert!(place.path("local.env").exists());
}

#[tokio::test]
async fn a_check_names_what_it_cannot_read_and_goes_on() {
    let place = Place::new();
    let folder = place.folder("some");
    fs::write(folder.join("file"), "text").expect("a file");
    let up = place.start();
    let machine = Machine::protect(&up, &folder).await;
    let backup = machine.back_up(&up).await;
    let checked = place.cli(&["repository", "check", "local", "--wait"]).good();
    assert!(checked.out.contains("done"), "{checked}");
    up.client().delete_resource(machine.resource).await.expect("deleted");
    let left = place.cli(&["repository", "check", "local", "--wait"]).good();
    assert!(left.err.contains(&format!("backup {} of", backup.id)) && left.err.contains("is not checked"), "{left}");
}
