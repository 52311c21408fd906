//! `backstay up` as a user starts and stops it: what it leaves on disk, who may read that, and that a restart goes on
//! where it was.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use acceptance::machine::{Machine, only_backup, result};
use acceptance::restic::Restic;
use acceptance::{LIMIT, Place, Ready, add_endless, add_much};
use api::client::ListQuery;
use domain::Uuid;
use domain::task::{ResultCode, State};
use nix::sys::signal::Signal;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o7777
}

fn much(place: &Place) -> PathBuf {
    let folder = place.folder("much");
    add_much(&folder);
    folder
}

#[tokio::test]
async fn the_data_folder_and_its_keys_are_closed_to_others() {
    let place = Place::new();
    let up = place.start();
    assert_eq!(mode(&place.data()), 0o700);
    assert_eq!(mode(&place.data().join("keys")), 0o700);
    let keys: Vec<_> =
        fs::read_dir(place.data().join("keys")).expect("keys").map(|e| e.expect("a key").path()).collect();
    assert!(keys.len() >= 6, "{keys:?}");
    for key in keys {
        assert_eq!(mode(&key), 0o600, "{}", key.display());
    }
    assert_eq!(mode(&place.data().join("connection.json")), 0o600);
    assert_eq!(mode(&place.ready_file()), 0o600);
    let said = up.interrupt().good();
    assert!(said.err.contains("stopping"), "{said}");
}

#[tokio::test]
async fn the_ready_file_is_all_a_program_needs() {
    let place = Place::new();
    let up = place.start();
    let Ready { http, tls, ca_file, admin_token, tenant_id } = up.ready().clone();
    assert_eq!(tenant_id, Uuid::nil());
    assert!(http.starts_with("http://127.0.0.1:") && !http.ends_with(":0"), "{http}");
    let ca = fs::read(&ca_file).expect("the authority");
    for (url, ca) in [(&http, None), (&tls, Some(ca.as_slice()))] {
        let client = api::client::Client::new(url, &admin_token, ca).expect("a client");
        assert_eq!(client.me().await.expect("an answer").tenant, tenant_id);
    }
    let _ = up.interrupt().good();
    assert!(!place.ready_file().exists(), "it no longer answers, and the file no longer says so");
    assert!(!place.data().join("connection.json").exists());
    let _ = place.cli(&["task", "list"]).failed(8);
}

#[tokio::test]
async fn a_second_up_says_who_holds_the_folder() {
    let place = Place::new();
    let up = place.start();
    let second = place.up().start_in_vain().failed(1);
    let Ready { http, tls, .. } = up.ready();
    for part in [format!("process {}", up.pid()), http.clone(), tls.clone()] {
        assert!(second.err.contains(&part), "'{part}' is missing: {second}");
    }
    assert!(up.client().me().await.is_ok(), "the first one goes on");
    assert!(place.ready_file().exists(), "and its ready-file is still there");
}

#[tokio::test]
async fn what_cannot_be_protected_is_named_before_anything_is_made() {
    let place = Place::new();
    let said = place.up().protect(&place.path("nowhere")).start_in_vain().failed(1);
    assert!(said.err.contains("nowhere") && said.err.contains("No such file"), "{said}");
    assert!(!place.data().exists());
}

#[tokio::test]
async fn an_address_in_use_is_named_and_a_stale_ready_file_goes() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let place = Place::new();
    // Left behind by a server that was killed.
    fs::write(place.ready_file(), "{}").expect("a file");
    let said = place.up().listen(address).start_in_vain().failed(1);
    assert!(said.err.contains(&address.to_string()), "{said}");
    assert!(!place.ready_file().exists(), "whoever waits for the file would take this server for ready");
}

#[tokio::test]
async fn the_first_backup_is_shown_and_the_token_once() {
    let place = Place::new();
    let folder = place.folder("some");
    fs::write(folder.join("file"), "text").expect("a file");
    let up = place.up().protect(&folder).start();
    let token = up.ready().admin_token.clone();
    let first = up.out();
    assert_eq!(first.matches(&token).count(), 1, "{first}");
    assert!(first.contains("done") && first.contains("backstay restore"), "{first}");
    let _ = up.interrupt().good();

    let up = place.up().protect(&folder).start();
    assert_eq!(up.ready().admin_token, token, "the token stays");
    let second = up.interrupt().good();
    assert!(!second.out.contains(&token) && !second.err.contains(&token), "{second}");
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let place = Place::new();
    let folder = place.folder("some");
    fs::write(folder.join("file"), "text").expect("a file");
    let up = place.up().protect(&folder).start();
    let client = up.client();
    let all = ListQuery::new;
    let before = (
        client.agents(&all()).await.expect("agents").items,
        client.resources(&all()).await.expect("resources").items,
        client.policies(&all()).await.expect("policies").items,
        client.applications(&all()).await.expect("applications").items,
        client.tasks(&all()).await.expect("tasks").items,
        client.activities(&all()).await.expect("activities").items,
        client.backups(&all()).await.expect("backups").items,
        client.tokens(&all()).await.expect("tokens").items,
    );
    assert_eq!((before.0.len(), before.1.len(), before.4.len(), before.6.len()), (1, 1, 1, 1));
    assert_eq!(before.1[0].sources.paths, [folder.to_str().expect("UTF-8")]);
    let _ = up.stop(Signal::SIGTERM).good();

    let up = place.up().protect(&folder).start();
    let client = up.client();
    let agents = client.agents(&all()).await.expect("agents").items;
    let ids = |agents: &[api::Agent]| agents.iter().map(|a| (a.id, a.name.clone(), a.created_at)).collect::<Vec<_>>();
    assert_eq!(ids(&agents), ids(&before.0), "the agent is the same");
    assert_eq!(client.resources(&all()).await.expect("resources").items, before.1);
    assert_eq!(client.policies(&all()).await.expect("policies").items, before.2);
    assert_eq!(client.applications(&all()).await.expect("applications").items, before.3);
    assert_eq!(client.tasks(&all()).await.expect("tasks").items, before.4, "what was protected is not run again");
    assert_eq!(client.activities(&all()).await.expect("activities").items, before.5);
    assert_eq!(client.backups(&all()).await.expect("backups").items, before.6);
    assert_eq!(client.tokens(&all()).await.expect("tokens").items, before.7);
    // Another folder is something new: it is added to the machine and backed up at once.
    let _ = up.interrupt().good();
    let other = place.folder("other");
    let up = place.up().protect(&other).start();
    let client = up.client();
    let resources = client.resources(&all()).await.expect("resources").items;
    assert_eq!((resources.len(), resources[0].sources.paths.len()), (1, 2));
    assert_eq!(client.backups(&all()).await.expect("backups").items.len(), 2);
}

#[tokio::test]
async fn ctrl_c_in_the_middle_of_a_backup_gives_it_back_and_the_next_start_finishes_it() {
    let place = Place::new();
    let much = much(&place);
    let endless = add_endless(&much);
    let up = place.up().protect(&much).start_early();
    let task = up.client().tasks(&ListQuery::new()).await.expect("tasks").items.remove(0).id;
    let job = up.job_in_the_middle(0).await;
    assert_ne!(job.group, up.pid(), "Ctrl-C would end the job before anybody could give it back");
    let said = up.interrupt().good();
    assert!(!said.err.contains("warning"), "{said}");
    job.gone().await;
    fs::remove_file(endless).expect("a file");

    let up = place.up().protect(&much).start();
    let task = up.client().task(task).await.expect("the same task");
    assert_eq!((task.state, result(&task)), (State::Completed, ResultCode::Ok), "{task:#?}");
    assert_eq!(up.client().tasks(&ListQuery::new().total()).await.expect("tasks").total, Some(1), "no other was made");
    assert_eq!(only_backup(&up.client(), task.id).await.expect("a backup").files, 10);
    assert!(up.out().contains("done"), "the start shows how it ended: {}", up.out());
    Restic::of(&place).check();
}

#[tokio::test]
async fn sigterm_in_the_middle_of_a_backup_is_as_good_as_ctrl_c() {
    let place = Place::new();
    let much = much(&place);
    let endless = add_endless(&much);
    let up = place.start();
    let machine = Machine::protect(&up, &much).await;
    let task = machine.run(&up).await.id;
    up.job_in_the_middle(0).await;
    let _ = up.stop(Signal::SIGTERM).good();
    fs::remove_file(endless).expect("a file");

    let up = place.start();
    assert_eq!(result(&up.completed(task).await), ResultCode::Ok);
    let sound = place.cli(&["ledger", "check"]).good();
    assert!(sound.out.contains("sound"), "{sound}");
}

#[tokio::test]
async fn on_a_terminal_a_bar_shows_how_far_it_is() {
    let place = Place::new();
    let up = place.start();
    let source = place.folder("source");
    let _ = add_endless(&source);
    let machine = Machine::protect(&up, &source).await;
    let task = machine.run(&up).await.id;
    let waited = place.cli(&["task", "wait", &task.to_string(), "--timeout", "1s"]);
    assert_eq!(waited.code, Some(5), "{waited}");
    let watch = format!("{} task watch {task}", acceptance::program().display());
    let mut terminal = place.command("script");
    terminal.args(["-qec", &watch, "/dev/null"]).env("TERM", "xterm").stdout(Stdio::piped());
    let mut terminal = terminal.spawn().expect("a terminal");
    let mut screen = BufReader::new(terminal.stdout.take().expect("piped"));
    let (sender, parts) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut part = Vec::new();
        // A bar is drawn anew over the last one.
        while screen.read_until(b'\r', &mut part).is_ok_and(|n| n > 0) {
            if sender.send(String::from_utf8_lossy(&std::mem::take(&mut part)).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut seen = String::new();
    let parts_of_it = ["[>", " % ", " of 1.0 TiB", "iB/s", " left"];
    let limit = Instant::now() + LIMIT;
    while !parts_of_it.iter().all(|part| seen.contains(part)) {
        let part = parts.recv_timeout(LIMIT);
        seen.push_str(&part.unwrap_or_else(|e| panic!("no bar was drawn ({e}): {seen:?}")));
        // The spinner turns on for ever.
        assert!(Instant::now() < limit, "no bar was drawn: {seen:?}");
    }
    up.client().cancel_task(task).await.expect("taken");
    seen.extend(parts.iter());
    assert_eq!(terminal.wait().expect("its end").code(), Some(4), "{seen}");
    assert!(seen.contains("cancelled after"), "{seen}");
}

#[tokio::test]
async fn the_data_folder_is_not_backed_up_into_itself() {
    let place = Place::new();
    fs::write(place.path("mine"), "text").expect("a file");
    // All of the place, which holds the data folder.
    let up = place.up().protect(place.root()).start();
    let backup = up.client().backups(&ListQuery::new()).await.expect("backups").items.remove(0);
    let root = place.root().to_str().expect("UTF-8");
    let files = up.client().backup_files(backup.id, root, None, None).await.expect("files").items;
    let names: Vec<_> = files.iter().map(|f| f.name.as_str()).collect();
    assert!(names.contains(&"mine") && !names.contains(&"backstay-data"), "{names:?}");
}

#[tokio::test]
async fn the_repository_password_is_where_nobody_looks() {
    let place = Place::new();
    let up = place.start();
    let password = Restic::of(&place).password().to_owned();
    let source = place.folder("source");
    fs::write(source.join("file"), "text").expect("a file");
    let machine = Machine::protect(&up, &source).await;
    machine.back_up(&up).await;
    let _ = add_endless(&source);
    let task = machine.run(&up).await.id;
    for pid in [up.job().await.pid, up.pid()] {
        for file in ["cmdline", "environ"] {
            match fs::read(format!("/proc/{pid}/{file}")) {
                Ok(bytes) => assert!(!String::from_utf8_lossy(&bytes).contains(&password), "it stands in {file}"),
                // The system may keep this one even from the process's own user.
                Err(e) => assert!(file == "environ" && e.kind() == ErrorKind::PermissionDenied, "{file}: {e}"),
            }
        }
    }
    up.client().cancel_task(task).await.expect("taken");
    up.completed(task).await;
    let shown = [
        place.cli(&["repository", "list", "--json"]).good().out,
        place.cli(&["task", "show", &task.to_string(), "--json"]).good().out,
        place.cli(&["ledger", "dump"]).good().out,
        up.out(),
        up.err(),
    ];
    assert!(shown.iter().all(|text| !text.contains(&password)), "it is shown");
    // Nor are tokens kept, only their hashes.
    let tokens =
        ["keys/admin.token", "keys/agent.token"].map(|f| fs::read_to_string(place.data().join(f)).expect("a token"));
    for file in ["ledger.db", "ledger.db-wal"] {
        let bytes = fs::read(place.data().join(file)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(&password), "it stands in {file}");
        assert!(tokens.iter().all(|t| !text.contains(t.trim())), "a token stands in {file}");
    }
}
