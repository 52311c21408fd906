//! `backstay doctor` on machines in good order and in several states of disorder.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use acceptance::Place;
use acceptance::place::Said;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn doctor(place: &Place, more: &[&str]) -> Said {
    let data = place.data();
    let args = ["doctor", "--data", data.to_str().expect("UTF-8")];
    place.cli(&[&args[..], more].concat())
}

#[track_caller]
fn says(said: &Said, state: &str, words: &str) {
    let found = said.out.lines().any(|line| line.starts_with(state) && line.contains(words));
    assert!(found, "no line '{state} .. {words}' in\n{said}");
}

#[test]
fn a_server_in_good_order_and_what_is_said_when_it_is_not() {
    let place = Place::new();
    let nothing = place.cli(&["doctor", "--data", place.root().to_str().expect("UTF-8")]).failed(6);
    assert!(nothing.err.contains("no data folder"), "{nothing}");

    let up = place.start();
    let good = doctor(&place, &["--min-free", "0"]).good();
    for words in
        ["permissions: ", "server: 127.0.0.1 answers", "clock: ", "agents: 1 connected", "authority: valid until"]
    {
        says(&good, "good", words);
    }
    let full = doctor(&place, &["--min-free", "100000000"]).failed(1);
    says(&full, "bad", "disk: ");
    let _ = up.stop(Signal::SIGTERM).good();

    let stopped = doctor(&place, &["--min-free", "0", "--json"]).failed(1);
    let answer: Value = serde_json::from_str(&stopped.out).expect("JSON");
    let findings = answer["findings"].as_array().expect("a list");
    let of = |subject: &str| findings.iter().find(|f| f["subject"] == subject).unwrap_or_else(|| panic!("{answer:#}"));
    assert_eq!((&of("server")["state"], &of("ledger")["state"]), (&json!("bad"), &json!("good")));
    assert!(of("server")["advice"].as_str().expect("advice").contains("systemctl start"));
    // Asking has changed nothing.
    let up = place.start();
    let _ = up.stop(Signal::SIGTERM).good();

    let key = place.data().join("keys/server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("a mode");
    fs::write(place.data().join("keys/server.pem"), "no certificate").expect("written");
    fs::write(place.data().join("ledger.db"), vec![7; 100_000]).expect("written");
    let broken = doctor(&place, &["--min-free", "0"]).failed(1);
    says(&broken, "bad", "server.key has mode 0644");
    says(&broken, "bad", "server.pem holds no certificate");
    says(&broken, "bad", "ledger: ");
}

#[test]
fn a_server_that_listens_everywhere_is_in_good_order_too() {
    let place = Place::new();
    let up = place.up().listen_tls(([0, 0, 0, 0], 0).into()).start();
    assert!(up.ready().tls.starts_with("https://127.0.0.1:"), "an address to connect to: {}", up.ready().tls);
    says(&doctor(&place, &["--min-free", "0"]).good(), "good", "server: 127.0.0.1 answers");
    let _ = up.stop(Signal::SIGTERM).good();
}
