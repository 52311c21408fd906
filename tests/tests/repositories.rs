//! Repositories that are no folder of this machine, on real servers: a bucket that locks its objects (moto), restic's REST
//! protocol and a remote (rclone), and another machine (OpenSSH). And the day when Backstay is gone: the commands of
//! docs/guides/disaster-recovery.md, as they stand there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use acceptance::fleet::Agent;
use acceptance::machine::{Machine, Wish, result};
use acceptance::place::said;
use acceptance::tree::{But, assert_same, fill, within};
use acceptance::{Place, Said, Up, free_port, is_root, noise};
use api::PolicyChange;
use domain::task::ResultCode;
use nix::sys::signal::Signal;

/// The guide for the day when Backstay is gone.
const GUIDE: &str = include_str!("../../docs/guides/disaster-recovery.md");

/// A server that a test started.
struct Server {
    process: Child,
    /// What followed the words that said that it runs.
    said: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts a server and waits until it says that it runs.
    fn start(command: &mut Command, running: &str) -> Server {
        let text = format!("{command:?}");
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {text}: {e}; `cargo xtask test` installs what is needed"));
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let mut heard = Vec::new();
        let told = lines.by_ref().find_map(|line| {
            let told = line.split_once(running).map(|(_, rest)| rest.trim().to_owned());
            heard.push(line);
            told
        });
        // It would stop when nobody read what it says.
        std::thread::spawn(move || lines.for_each(drop));
        let said = told.unwrap_or_else(|| panic!("{text} ended: {heard:?}"));
        Server { process, said }
    }

    /// moto, whose buckets can lock objects.
    fn of_buckets(place: &Place) -> Server {
        let program = installed("bin/moto_server");
        let mut command = place.command(program);
        command.args(["-H", "127.0.0.1", "-p", "0"]).env("INITIAL_NO_AUTH_ACTION_COUNT", "1000");
        Server::start(&mut command, "Running on ")
    }

    /// restic's REST protocol, by rclone, for whoever knows the name and password.
    fn of_rest(place: &Place, folder: &Path) -> Server {
        let mut command = place.command("rclone");
        command.args(["serve", "restic", "--addr", "127.0.0.1:0"]).arg(folder);
        command.env("RCLONE_USER", "ops").env("RCLONE_PASS", "p@ss/word");
        let mut server = Server::start(&mut command, "Serving restic REST API on ");
        server.said = server.said.trim_matches(['[', ']']).to_owned();
        server
    }
}

/// What `cargo xtask test` installed.
fn installed(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/clients").join(name);
    assert!(path.exists(), "{} is not there: run `cargo xtask test` once", path.display());
    path
}

fn bucket(place: &Place, args: &[&str]) -> String {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/storage/bucket.py");
    let mut command = place.command(installed("bin/python"));
    said(command.arg(program).args(args)).good().out
}

/// A folder that is stored in a repository of this address.
async fn stored(place: &Place, up: &Up<'_>, source: &Path, name: &str, url: &str, secrets: &str) -> Machine {
    let added = add(place, name, url, secrets);
    assert!(added.err.contains("the first backup makes it"), "{added}");
    let machine = Machine::protect(up, source).await;
    store_in(up, &machine, name).await;
    machine
}

fn add(place: &Place, name: &str, url: &str, secrets: &str) -> Said {
    fs::write(place.path("secrets.env"), secrets).expect("secrets");
    let file = place.path("secrets.env").display().to_string();
    let added = place.cli(&["repository", "add", name, "--url", url, "--secrets-file", &file]).good();
    assert!(added.out.contains(name), "{added}");
    added
}

async fn store_in(up: &Up<'_>, machine: &Machine, name: &str) {
    let all = up.client().repositories(&api::client::ListQuery::new()).await.expect("repositories").items;
    let id = all.iter().find(|r| r.name == name).expect("the repository").id;
    let change = PolicyChange { repository: Some(id), ..PolicyChange::default() };
    up.client().change_policy(machine.policy, &change).await.expect("a change");
}

/// Backs a folder up twice and gets it back: by Backstay, and by `restic` with the exported key.
async fn there_and_back(place: &Place, up: &Up<'_>, machine: &Machine, source: &Path) {
    let first = machine.back_up(up).await;
    let second = machine.back_up(up).await;
    assert!(first.added > 5 << 20 && second.added < 64 << 10, "what is there is found again: {second:#?}");
    let ours = place.path("ours");
    let to = ours.display().to_string();
    let restored = place.cli(&["restore", &second.id.to_string(), "--to", &to]).good();
    assert!(restored.out.contains("done"), "{restored}");
    assert_same(source, &within(&ours, source), But::Nothing);

    let _ = place.cli(&["repository", "export-key", "far", "--file", "far.env"]).good();
    let tested = place.cli(&["repository", "test", "far"]).good();
    assert!(tested.out.contains("it opens"), "{tested}");
    let mode = fs::metadata(place.path("far.env")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let checked = restic(place, "restic check --read-data");
    assert!(checked.contains("no errors were found"), "{checked}");
    assert_eq!(restic(place, "restic --no-lock list locks").trim(), "", "a lock was left behind");
    restic(place, &format!("restic restore {} --target theirs", second.snapshot));
    assert_same(source, &within(&place.path("theirs"), source), But::WhatResticLeaves);
}

/// Nothing flows faster than the repository's limits allow, whatever the line would carry.
async fn keeps_to_limits(place: &Place, up: &Up<'_>, machine: &Machine, source: &Path) {
    let _ = place.cli(&["repository", "change", "far", "--upload-limit", "1M", "--download-limit", "4M"]).good();
    let shown = place.cli(&["repository", "show", "far"]).good();
    assert!(shown.out.contains("1.0 MiB a second") && shown.out.contains("4.0 MiB a second"), "{shown}");
    fs::write(source.join("more"), noise(11, 3 << 20)).expect("a file");
    let started = Instant::now();
    let backup = machine.back_up(up).await;
    let taken = started.elapsed();
    assert!(backup.added > 3 << 20 && taken > Duration::from_millis(2900), "{} bytes in {taken:?}", backup.added);

    let started = Instant::now();
    let to = place.path("limited").display().to_string();
    let _ = place.cli(&["restore", &backup.id.to_string(), "--to", &to]).good();
    let taken = started.elapsed();
    assert!(taken > Duration::from_millis(1900), "more than 8 MiB in {taken:?}");
    assert_same(source, &within(&place.path("limited"), source), But::Nothing);
    let _ = place.cli(&["repository", "change", "far", "--upload-limit", "0", "--download-limit", "0"]).good();
}

/// Runs a line with the exported key.
fn restic(place: &Place, line: &str) -> String {
    let said = sh(place, &format!(". ./far.env; {line}"));
    format!("{}{}", said.out, said.err)
}

/// Runs lines of a shell, which all succeed, with the program under test where a shell finds it.
fn sh(place: &Place, lines: &str) -> Said {
    let mut command = place.command("bash");
    let bin = acceptance::program().parent().expect("a folder").to_owned();
    let lines = format!("PATH=\"$PATH:{}\"\n{lines}", bin.display());
    said(command.args(["-euc", &lines]).env("RESTIC_CACHE_DIR", place.path("cache"))).good()
}

/// Runs the policy, which fails, and gives why. A test says the same without a backup.
async fn failure(place: &Place, up: &Up<'_>, machine: &Machine) -> (String, String) {
    let task = up.completed(machine.run(up).await.id).await;
    assert_eq!(result(&task), ResultCode::Error, "{task:#?}");
    let error = task.result.and_then(|r| r.error).expect("a reason");
    assert!(!error.message.contains('\n'), "{}", error.message);
    let tested = place.cli(&["--json", "repository", "test", "far"]).failed(1);
    let tested: serde_json::Value = serde_json::from_str(&tested.out).expect("JSON");
    assert_eq!((&tested["error"]["code"], &tested["found"]), (&error.code.as_str().into(), &false.into()), "{tested}");
    (error.code, error.message)
}

/// No file below a folder holds the text.
fn nowhere(folder: &Path, text: &str) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            nowhere(&path, text);
        } else if path.is_file() {
            let bytes = fs::read(&path).expect("a file");
            let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!found, "{} holds a secret", path.display());
        }
    }
}

#[tokio::test]
async fn a_bucket_that_locks_objects_takes_backups_and_gives_them_back() {
    let place = Place::new();
    let source = place.folder("source");
    fill(&source);
    let server = Server::of_buckets(&place);
    let url = server.said.as_str();
    let made = bucket(&place, &["make", url, "locked"]);
    let (id, secret) = made.trim().split_once(' ').expect("a key");
    let up = place.start();
    let secrets = format!("AWS_ACCESS_KEY_ID={id}\nAWS_SECRET_ACCESS_KEY={secret}\n");
    let machine = stored(&place, &up, &source, "far", &format!("s3:{url}/locked/a/b"), &secrets).await;
    there_and_back(&place, &up, &machine, &source).await;
    keeps_to_limits(&place, &up, &machine, &source).await;
    let told = bucket(&place, &["tell", url, "locked", id, secret]);
    assert!(told.lines().count() > 5 && told.contains("a/b/config"), "{told}");
    for line in told.lines() {
        assert!(line.ends_with(" 1 COMPLIANCE"), "nothing is written over, and all is locked: {line}");
    }

    fs::write(place.path("secrets.env"), "AWS_SECRET_ACCESS_KEY=wrong-sesame\n").expect("secrets");
    let _ = place.cli(&["repository", "change", "far", "--secrets-file", "secrets.env"]).good();
    let (code, message) = failure(&place, &up, &machine).await;
    assert_eq!(code, "permissionDenied");
    assert!(message.contains("the key is not accepted (SignatureDoesNotMatch)"), "{message}");
    fs::write(place.path("secrets.env"), &secrets).expect("secrets");
    let missing = format!("s3:{url}/missing");
    let _ = place.cli(&["repository", "change", "far", "--url", &missing, "--secrets-file", "secrets.env"]).good();
    let (_, message) = failure(&place, &up, &machine).await;
    assert!(message.contains("there is no bucket 'missing'"), "{message}");
    drop(server);
    let (code, message) = failure(&place, &up, &machine).await;
    assert_eq!(code, "io");
    assert!(message.contains("cannot connect"), "{message}");

    for secret in [secret, "wrong-sesame"] {
        nowhere(&place.data(), secret);
        assert!(!up.out().contains(secret) && !up.err().contains(secret));
        for args in [["audit", "list"], ["repository", "list"], ["task", "list"], ["repository", "show"]] {
            let more: &[&str] = if args[1] == "show" { &["far"] } else { &[] };
            let shown = place.cli(&[&["--json"], args.as_slice(), more].concat()).good();
            assert!(!shown.out.contains(secret) && !shown.err.contains(secret), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_rest_server_takes_backups_and_gives_them_back() {
    let place = Place::new();
    let source = place.folder("source");
    fill(&source);
    let server = Server::of_rest(&place, &place.folder("far"));
    let up = place.start();
    let url = format!("rest:{}deep/er", server.said);
    let secrets = "RESTIC_REST_USERNAME=ops\nRESTIC_REST_PASSWORD='p@ss/word'\n";
    let machine = stored(&place, &up, &source, "far", &url, secrets).await;
    there_and_back(&place, &up, &machine, &source).await;
    keeps_to_limits(&place, &up, &machine, &source).await;

    // A job that was killed leaves its lock behind; the next one sees that its owner is gone, and removes it.
    let _ = place.cli(&["repository", "change", "far", "--upload-limit", "256K"]).good();
    fs::write(source.join("long"), noise(12, 20 << 20)).expect("a file");
    let task = machine.run(&up).await.id;
    let locks = || fs::read_dir(place.path("far/deep/er/locks")).into_iter().flatten().count();
    // A lock that is there may still be half written, and the server takes it back then. Who knows how much there is to read
    // holds it.
    up.task_until(task, "in its middle", |t| t.progress.as_ref().is_some_and(|p| p.bytes_total > 0)).await;
    up.job().await.send(Signal::SIGKILL);
    assert_eq!(result(&up.completed(task).await), ResultCode::Error);
    assert_eq!(locks(), 1);
    let _ = place.cli(&["repository", "change", "far", "--upload-limit", "0"]).good();
    let _ = machine.back_up(&up).await;
    assert_eq!(locks(), 0);
    let checked = restic(&place, "restic check");
    assert!(checked.contains("no errors were found"), "{checked}");

    fs::write(place.path("secrets.env"), "RESTIC_REST_PASSWORD=wrong\n").expect("secrets");
    let _ = place.cli(&["repository", "change", "far", "--secrets-file", "secrets.env"]).good();
    let (code, message) = failure(&place, &up, &machine).await;
    assert_eq!(code, "permissionDenied");
    assert!(message.contains("does not accept the name and password"), "{message}");
}

#[tokio::test]
async fn a_remote_of_rclone_takes_backups_and_gives_them_back() {
    let place = Place::new();
    let source = place.folder("source");
    fill(&source);
    let far = place.folder("far");
    let configured = place.folder("home/.config/rclone");
    let text = format!("[cold]\ntype = alias\nremote = {}\n", far.display());
    fs::write(configured.join("rclone.conf"), text).expect("a remote");
    let up = place.start();
    let machine = stored(&place, &up, &source, "far", "rclone:cold:backups", "").await;
    there_and_back(&place, &up, &machine, &source).await;
    keeps_to_limits(&place, &up, &machine, &source).await;
    let _ = place.cli(&["repository", "change", "far", "--url", "rclone:warm:backups"]).good();
    let (_, message) = failure(&place, &up, &machine).await;
    assert!(message.contains("before it served the remote") && message.contains("warm"), "{message}");
}

#[tokio::test]
async fn another_machine_takes_backups_over_ssh_and_gives_them_back() {
    let place = Place::new();
    let source = place.folder("source");
    fill(&source);
    let ssh = place.folder("ssh");
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o700)).expect("a mode");
    for name in ["host", "user"] {
        let mut keygen = place.command("ssh-keygen");
        let file = ssh.join(name);
        let _ = said(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file)).good();
    }
    fs::copy(ssh.join("user.pub"), ssh.join("authorized")).expect("a key that is let in");
    if is_root() {
        // The service makes it when it starts; without it a server of root's does not run.
        fs::create_dir_all("/run/sshd").expect("a folder of the server");
    }
    let port = free_port();
    let mut command = place.command("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f", "/dev/null", "-p", &port.to_string()]);
    for option in [
        "ListenAddress=127.0.0.1".to_owned(),
        format!("HostKey={}", ssh.join("host").display()),
        format!("AuthorizedKeysFile={}", ssh.join("authorized").display()),
        "PidFile=none".to_owned(),
        "StrictModes=no".to_owned(),
        "UsePAM=no".to_owned(),
        "PasswordAuthentication=no".to_owned(),
        "PermitRootLogin=yes".to_owned(),
        "Subsystem=sftp internal-sftp".to_owned(),
    ] {
        command.args(["-o", &option]);
    }
    let _server = Server::start(&mut command, "Server listening on ");
    // `ssh` looks for its configuration in the home that the system knows, which is nobody's business here.
    let host = fs::read_to_string(ssh.join("host.pub")).expect("a key");
    fs::write(ssh.join("known"), format!("[127.0.0.1]:{} {host}", port)).expect("a known host");
    let options = format!(
        "-F /dev/null -o IdentityFile={} -o IdentitiesOnly=yes -o UserKnownHostsFile={}",
        ssh.join("user").display(),
        ssh.join("known").display()
    );
    let script = format!("#!/bin/sh\nexec /usr/bin/ssh {options} \"$@\"\n");
    let program = place.folder("bin").join("ssh");
    fs::write(&program, script).expect("a script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");

    let up = place.start();
    let url = format!("sftp://127.0.0.1:{}/{}", port, place.path("far/deep").display());
    let machine = stored(&place, &up, &source, "far", &url, "").await;
    there_and_back(&place, &up, &machine, &source).await;
    keeps_to_limits(&place, &up, &machine, &source).await;
    fs::remove_file(ssh.join("authorized")).expect("gone");
    let (code, message) = failure(&place, &up, &machine).await;
    assert_eq!(code, "permissionDenied");
    assert!(message.contains("Permission denied"), "{message}");
}

/// The blocks of commands, without answers, in the section of the guide on beginning anew: for a folder, a bucket, and a
/// REST server.
fn blocks_of_beginning_anew() -> [String; 3] {
    let (_, text) = GUIDE.split_once("## Beginning anew with Backstay\n").expect("the section");
    let blocks: Vec<_> = text.split("```\n").skip(1).step_by(2).map(str::to_owned).collect();
    blocks.try_into().expect("three blocks")
}

#[tokio::test]
async fn a_new_server_takes_old_repositories_as_the_guide_says() {
    let place = Place::new();
    let source = place.folder("source");
    fill(&source);
    let buckets = Server::of_buckets(&place);
    let made = bucket(&place, &["make", &buckets.said, "plain"]);
    let (id, secret) = made.trim().split_once(' ').expect("a key");
    let rest = Server::of_rest(&place, &place.folder("rest"));
    let [in_folder, in_bucket, by_rest] = blocks_of_beginning_anew();
    // The other two tell only what is different.
    let password = in_folder.lines().find(|line| line.starts_with("printf")).expect("the password is written");
    let bucket_url = format!("s3:{}/plain/off-site", buckets.said);
    let rest_url = format!("rest:{}off-site/", rest.said);
    let in_bucket = format!("{password}\n{in_bucket}");
    let by_rest = format!("{password}\n{by_rest}")
        .replace("'..'", "'p@ss/word'")
        .replace("rest:https://backup.example/off-site/", &rest_url);
    let bucket_secrets = format!("AWS_ACCESS_KEY_ID={id}\nAWS_SECRET_ACCESS_KEY={secret}\n");
    let rest_secrets = "RESTIC_REST_USERNAME=ops\nRESTIC_REST_PASSWORD='p@ss/word'\n";
    let folder = place.path("folder").display().to_string();
    let places =
        [(folder, "", in_folder), (bucket_url, bucket_secrets.as_str(), in_bucket), (rest_url, rest_secrets, by_rest)];
    for (url, secrets, block) in places {
        let up = place.start();
        let machine = stored(&place, &up, &source, "off-site", &url, secrets).await;
        let before = machine.back_up(&up).await;
        let _ = place.cli(&["repository", "export-all", "--to", "keys"]).good();
        assert_eq!(up.stop(Signal::SIGTERM).code, Some(0));
        fs::remove_dir_all(place.data()).expect("the server's data is gone");

        let up = place.start();
        let _ = sh(&place, &format!(". keys/off-site.env\n{block}"));
        let machine = Machine::protect(&up, &source).await;
        store_in(&up, &machine, "off-site").await;
        let after = machine.back_up(&up).await;
        assert_eq!(after.files, before.files);
        assert!(after.added < 64 << 10, "what is there is found again: {after:#?}");
        assert_eq!(up.stop(Signal::SIGTERM).code, Some(0));
        fs::remove_dir_all(place.data()).expect("the server's data");
        fs::remove_dir_all(place.path("keys")).expect("the keys");
    }
}

#[tokio::test]
async fn of_two_agents_that_make_a_repository_at_once_one_makes_it_and_both_store_in_it() {
    let place = Place::new();
    let buckets = Server::of_buckets(&place);
    let made = bucket(&place, &["make", &buckets.said, "shared"]);
    let (id, secret) = made.trim().split_once(' ').expect("a key");
    let secrets = format!("AWS_ACCESS_KEY_ID={id}\nAWS_SECRET_ACCESS_KEY={secret}\n");
    let up = place.up().alone().reached_as_localhost().start();
    let _ = add(&place, "far", &format!("s3:{}/shared/both", buckets.said), &secrets);
    let agents = [Agent::join(&place, &up, "one").await, Agent::join(&place, &up, "two").await];
    let mut machines = Vec::new();
    for agent in &agents {
        let source = place.folder(&format!("source of {}", agent.id));
        fs::write(source.join("file"), agent.id.to_string()).expect("a file");
        let wish = Wish { name: agent.id.to_string(), agent: Some(agent.id), ..Wish::default() };
        let machine = Machine::wished(&up, &source, wish).await;
        store_in(&up, &machine, "far").await;
        machines.push(machine);
    }
    let backups = futures::future::join_all(machines.iter().map(|machine| machine.back_up(&up))).await;
    let _ = place.cli(&["repository", "export-key", "far", "--file", "far.env"]).good();
    let checked = restic(&place, "restic check --read-data");
    assert!(checked.contains("no errors were found"), "{checked}");
    let listed = restic(&place, "restic snapshots");
    assert!(backups.iter().all(|backup| listed.contains(&backup.snapshot[..8])), "{listed}");
}

/// The commands of a section of the guide.
fn commands(section: &str) -> String {
    let (_, text) = GUIDE.split_once(&format!("## {section}\n")).expect("the section");
    let text = text.split("\n## ").next().unwrap_or_default();
    let commands: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    assert!(!commands.is_empty(), "the section '{section}' has no commands");
    commands.join("\n")
}

#[tokio::test]
async fn the_guide_for_the_day_when_backstay_is_gone_is_true() {
    let place = Place::new();
    let source = place.folder("source");
    fill(&source);
    let up = place.start();
    let far = place.path("far").display().to_string();
    let _ = place.cli(&["repository", "add", "off-site", "--url", &far]).good();
    let machine = Machine::protect(&up, &source).await;
    store_in(&up, &machine, "off-site").await;
    let backup = machine.back_up(&up).await;

    let kept = sh(&place, &commands("Before: keep the keys"));
    assert!(kept.out.contains("keys/off-site.env") && kept.out.contains("keys/local.env"), "{kept}");
    assert_eq!(up.stop(Signal::SIGTERM).code, Some(0));
    fs::remove_dir_all(place.data()).expect("the server's data is gone");

    let said = sh(&place, &commands("After: get everything back"));
    assert!(said.out.contains("no errors were found") && said.out.contains(&backup.snapshot[..8]), "{said}");
    assert_same(&source, &within(&place.path("restored"), &source), But::WhatResticLeaves);
}
