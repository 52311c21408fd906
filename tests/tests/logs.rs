//! The log as a program reads it: every line an object, requests and tasks by their ids, and no secret in any of them.

use std::fs;

use acceptance::Place;
use acceptance::machine::Machine;
use acceptance::restic::Restic;
use api::{NewApiClient, NewPassword, NewToken, NewUser};
use domain::Role;
use serde_json::Value;

#[tokio::test]
async fn requests_and_tasks_are_named_in_every_line_and_secrets_in_none() {
    let place = Place::new();
    let folder = place.folder("some");
    fs::write(folder.join("file"), "text").expect("a file");
    // Everything that our own parts say; the libraries below them keep to themselves.
    let filter = "info,server=trace,agent=trace,ledger=trace,backstay=trace,tower_http=trace,hyper=debug,reqwest=debug";
    let up = place.up().logging(filter).also(&["--log-format", "json"]).start();
    let client = up.client();
    let machine = Machine::protect(&up, &folder).await;
    let backup = machine.back_up(&up).await;

    // Every sort of secret that the API gives out or takes.
    let new = NewToken { name: "dashboard".into(), role: Role::Viewer, tenant: None, expires_at: None };
    let token = client.create_token(&new).await.expect("a token").secret;
    let person = "a-password-of-a-person";
    let new = NewUser {
        login: "jo".into(),
        name: String::new(),
        password: Some(person.into()),
        roles: vec![Role::Viewer],
        tenant: None,
    };
    let user = client.create_user(&new).await.expect("a user").user;
    let changed = "another-password-of-a-person";
    client.set_password(user.id, &NewPassword { password: Some(changed.into()) }).await.expect("changed");
    let new = NewApiClient { name: "reports".into(), roles: vec![Role::Viewer], tenant: None, executor: None };
    let program = client.create_client(&new).await.expect("a client");
    let form = format!("{}:{}", program.client.id, program.secret);
    let url = format!("{}/api/2/idp/token", up.ready().http);
    let said = place.curl(&["--user", &form, "--data", "grant_type=client_credentials", &url]).good();
    let access = said.json()["access_token"].as_str().expect("an access token").to_owned();

    // One request that is named by its caller, and one with a name that cannot stand in a log.
    let url = format!("{}/api/v1/tasks?token=not-to-be-logged", up.ready().http);
    let authorization = format!("authorization: Bearer {access}");
    for (sent, taken) in [("x-request-id: r-4711", true), ("x-request-id: {\"a\": 1}", false)] {
        let said = place.curl(&["--include", "--header", sent, "--header", &authorization, &url]).good();
        let answered = said.out.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("an id").to_owned();
        assert_eq!(answered == sent.trim_start_matches("x-request-id: "), taken, "{answered}");
    }

    let admin = up.ready().admin_token.clone();
    let agent = fs::read_to_string(place.data().join("keys/agent.token")).expect("the agent's token");
    let repository = Restic::of(&place).password().to_owned();
    let log = up.interrupt().good().err;
    for (what, secret) in [
        ("the admin's token", admin.as_str()),
        ("the agent's token", agent.trim()),
        ("a token", &token),
        ("an access token", &access),
        ("a password", person),
        ("a changed password", changed),
        ("a client's secret", &program.secret),
        ("the repository's password", &repository),
        ("a query", "not-to-be-logged"),
    ] {
        assert!(!secret.is_empty() && !log.contains(secret), "{what} is in the log");
    }
    // What the command itself says to people stands between the lines.
    let lines: Vec<Value> = log
        .lines()
        .filter(|line| *line != "stopping")
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let spans = |line: &Value| line["spans"].as_array().cloned().unwrap_or_default();
    let of_request = |line: &&Value| spans(line).iter().any(|span| span["request_id"] == "r-4711");
    assert!(lines.iter().filter(of_request).count() >= 1, "no line of the request: {log}");
    let task = backup.task.to_string();
    let ended = lines.iter().find(|line| line["message"] == "a task ended" && line["task"] == task.as_str());
    let ended = ended.unwrap_or_else(|| panic!("no line of the task's end: {log}"));
    assert_eq!((ended["kind"].as_str(), ended["result"].as_str()), (Some("backup"), Some("ok")));
    assert!(lines.iter().any(|line| line["message"] == "task begins" && line["task"] == backup.task));
}
