//! Notifications as others receive them: webhooks, verified by the package of Standard Webhooks, and letters through an SMTP
//! server that wants TLS and a password. A receiver that refuses at first, and a server that is killed before it delivers.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use acceptance::machine::{Machine, result};
use acceptance::{Place, Up, until};
use domain::Timestamp;
use domain::task::ResultCode;
use serde_json::Value;
use server::tls::CertFiles;

/// The receiver, which ends with the test.
struct Receiver {
    process: Child,
    folder: PathBuf,
    /// The authority behind its certificate.
    ca: PathBuf,
    hooks: String,
    post: String,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the receiver got:\n{}", fs::read_to_string(self.folder.join("got.jsonl")).unwrap_or_default());
        }
    }
}

impl Receiver {
    fn start(place: &Place) -> Receiver {
        let folder = place.folder("receiver");
        let files = CertFiles::in_folder(&folder);
        files.serve(&["127.0.0.1".to_owned()], Timestamp::now()).expect("a certificate");
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = tests.with_file_name("target/clients/bin/python");
        assert!(python.exists(), "{} is not there: run `cargo xtask test` once", python.display());
        let mut command = place.command(python);
        let tls = ["server.pem", "server-key.pem"].map(|name| folder.join(name));
        command.arg(tests.join("clients/notifications/receiver.py")).arg(&folder).args(tls);
        let mut process = command.stderr(Stdio::piped()).spawn().expect("the receiver starts");
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let mut heard = Vec::new();
        let ports = lines.by_ref().find_map(|line| {
            let ports = line.strip_prefix("Running on ").and_then(|ports| ports.split_once(' '));
            let ports = ports.map(|(hooks, post)| (hooks.to_owned(), post.to_owned()));
            heard.push(line);
            ports
        });
        // It would stop when nobody read what it says.
        std::thread::spawn(move || lines.for_each(drop));
        let (hooks, post) = ports.unwrap_or_else(|| panic!("the receiver ended: {heard:?}"));
        let (hooks, post) = (format!("http://127.0.0.1:{hooks}/hook"), format!("smtp://127.0.0.1:{post}"));
        Receiver { process, folder, ca: files.ca, hooks, post }
    }

    fn got(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("got.jsonl")).unwrap_or_default();
        // What is being written now has no line break yet.
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|l| serde_json::from_str(l).expect("JSON"))
            .collect()
    }

    /// The webhooks that were refused, or taken.
    fn hooks(&self, refused: bool) -> Vec<Value> {
        let got = self.got();
        assert!(got.iter().all(|g| g.get("wrong").is_none()), "{got:#?}");
        got.into_iter().filter(|g| g["refused"] == refused).collect()
    }

    fn letters(&self) -> Vec<Value> {
        self.got().into_iter().filter(|g| g["mail"].is_string()).collect()
    }
}

fn server<'p>(place: &'p Place, receiver: &Receiver) -> Up<'p> {
    place.up().also(&["--notify-network", "127.0.0.1"]).trusting(&receiver.ca).start()
}

fn subjects(letters: &[Value]) -> Vec<&str> {
    letters.iter().map(|l| l["headers"]["subject"].as_str().expect("a subject")).collect()
}

#[tokio::test]
async fn failure_and_recovery_reach_webhooks_and_mailboxes_through_refusals_and_a_kill() {
    let place = Place::new();
    let receiver = Receiver::start(&place);
    let up = server(&place, &receiver);

    // Somewhere inside is not where notifications may go, unless the operator allows it.
    let inside = place.cli(&["notify", "add", "inside", "--webhook", "http://10.0.0.1/hook"]).failed(1);
    assert!(inside.err.contains("10.0.0.1 is an internal address"), "{inside}");
    let added = place.cli(&["notify", "add", "hook", "--webhook", &receiver.hooks, "--json"]).good().json();
    let secret = added["secret"].as_str().expect("a secret");
    fs::write(receiver.folder.join("secret"), secret).expect("the secret");
    let password = place.path("password");
    fs::write(&password, "wrong\n").expect("a password");
    let password = password.display().to_string();
    let from = ["--from", "backstay@example.com", "--event", "failure", "--event", "recovery"];
    let sign_in = ["--smtp", &receiver.post, "--user", "backstay", "--password-file", &password];
    let to = ["notify", "add", "mail", "--email", "ada@example.com", "--email", "bob@example.com"];
    let _ = place.cli(&[&to[..], &from, &sign_in].concat()).good();
    let refused = place.cli(&["notify", "test", "mail"]).failed(1);
    assert!(refused.err.contains("535"), "{refused}");
    fs::write(place.path("password"), "tape\n").expect("a password");
    let _ = place.cli(&["notify", "change", "mail", "--password-file", &password]).good();
    for name in ["hook", "mail"] {
        let _ = place.cli(&["notify", "test", name]).good();
        let shown = place.cli(&["notify", "show", name, "--json"]).good().out;
        assert!(!shown.contains("tape") && !shown.contains("whsec_"), "{shown}");
    }
    assert_eq!(receiver.hooks(false)[0]["hook"]["type"], "test");
    assert_eq!(subjects(&receiver.letters()), ["[backstay] test of the channel mail"]);

    // A backup fails. The mailboxes hear of it; the webhook refuses, and the server dies.
    let folder = place.folder("documents");
    fs::write(folder.join("letter"), "text").expect("a file");
    let machine = Machine::protect(&up, &folder).await;
    machine.back_up(&up).await;
    fs::write(receiver.folder.join("refuse"), "").expect("a mark");
    fs::remove_dir_all(&folder).expect("gone");
    let failed = up.completed(machine.run(&up).await.id).await;
    assert_eq!(result(&failed), ResultCode::Error);
    until("a letter came", async || (receiver.letters().len() == 2).then_some(())).await;
    let shown = until("the webhook was tried", async || {
        let shown = place.cli(&["notify", "show", "hook", "--json"]).good().json();
        (shown["status"]["tries"].as_u64() > Some(0)).then_some(shown)
    })
    .await;
    let error = shown["status"]["error"].as_str().expect("why");
    assert!(error.ends_with("answers 500 Internal Server Error"), "{error}");
    assert_eq!(shown["status"]["waiting"], 1);
    // A letter whose arrival is not noted yet would be sent once more.
    until("the server knows that the letter came", async || {
        let shown = place.cli(&["notify", "show", "mail", "--json"]).good().json();
        (shown["status"]["waiting"] == 0).then_some(())
    })
    .await;
    up.kill9();
    fs::remove_file(receiver.folder.join("refuse")).expect("a mark");

    let up = server(&place, &receiver);
    let told = until("the webhook took it", async || receiver.hooks(false).into_iter().nth(1)).await;
    let tried = &receiver.hooks(true)[0];
    assert_eq!((&told["id"], &told["hook"]), (&tried["id"], &tried["hook"]), "the same message");
    let hook = &told["hook"];
    assert_eq!((&hook["type"], &hook["data"]["task"]["id"]), (&"task.failed".into(), &failed.id.into()));
    assert_eq!(hook["data"]["task"]["resource"]["name"], "machine");
    assert!(!hook["data"]["result"]["error"]["message"].as_str().expect("a reason").is_empty(), "{hook}");

    // It goes well again, and each is told once of everything.
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("letter"), "text").expect("a file");
    machine.back_up(&up).await;
    machine.back_up(&up).await;
    until("both heard", async || {
        let all = place.cli(&["notify", "list", "--json"]).good().json();
        let quiet = |c: &Value| c["status"]["waiting"] == 0 && c["status"]["tries"] == 0;
        let heard = receiver.letters().len() >= 3 && receiver.hooks(false).len() >= 3;
        (heard && all["items"].as_array().expect("items").iter().all(quiet)).then_some(())
    })
    .await;
    let types: Vec<_> = receiver.hooks(false).into_iter().map(|h| h["hook"]["type"].clone()).collect();
    assert_eq!(types, ["test", "task.failed", "task.recovered"]);
    let letters = receiver.letters();
    assert_eq!(
        subjects(&letters),
        [
            "[backstay] test of the channel mail",
            "[backstay] failed: backup of machine (policy machine)",
            "[backstay] recovered: backup of machine (policy machine)",
        ]
    );
    let letter = &letters[1];
    assert_eq!(letter["to"], serde_json::json!(["ada@example.com", "bob@example.com"]));
    assert_eq!((&letter["tls"], &letter["headers"]["auto-submitted"]), (&true.into(), &"auto-generated".into()));
    assert!(letter["headers"]["message-id"].is_string() && letter["headers"]["date"].is_string(), "{letter}");
    assert!(letter["mail"].as_str().expect("text").contains(&format!("backstay task show {}", failed.id)), "{letter}");

    let removed = place.cli(&["notify", "remove", "mail"]).good();
    assert!(removed.out.contains("the channel 'mail' is gone"), "{removed}");
    let audit = place.cli(&["audit", "list", "--json"]).good().out;
    for action in ["channel.create", "channel.change", "channel.test", "channel.delete"] {
        assert!(audit.contains(&format!("\"{action}\"")), "{action} in {audit}");
    }
    assert!(!audit.contains("tape"), "{audit}");
    let _ = up.interrupt().good();
}
