//! The line that installs an agent, typed into a shell as it stands: the machine joins, is listed, and is backed up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use acceptance::machine::{Machine, manual_policy};
use acceptance::{Place, Up, until};
use api::client::ListQuery;
use domain::Uuid;
use domain::resource::Registration;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// The agent that the line started, by the number that the script wrote down. It ends with the test.
struct Installed(PathBuf);

impl Installed {
    fn pid(&self) -> Option<Pid> {
        fs::read_to_string(&self.0).ok()?.trim().parse().ok().map(Pid::from_raw)
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = kill(pid, Signal::SIGTERM);
        }
    }
}

/// A folder with a `sudo` that asks nobody: the test is no administrator, and installs nothing outside its place.
fn without_sudo(place: &Place) -> String {
    let folder = place.folder("bin");
    let sudo = folder.join("sudo");
    fs::write(&sudo, "#!/bin/sh\nexec \"$@\"\n").expect("a script");
    fs::set_permissions(&sudo, fs::Permissions::from_mode(0o755)).expect("a mode");
    format!("{}:{}", folder.display(), std::env::var("PATH").expect("a path"))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o7777
}

/// Types the line into a shell: the agent that runs then.
fn typed(place: &Place, line: &str) -> Installed {
    let data = place.path("agent");
    let installed = Installed(data.join("agent.pid"));
    let mut shell = place.command("sh");
    shell
        .args(["-c", line])
        .env("PATH", without_sudo(place))
        .env("BACKSTAY_BIN_DIR", place.path("local/bin"))
        .env("BACKSTAY_AGENT_DATA", &data)
        .env("BACKSTAY_NO_SERVICE", "1");
    let said = acceptance::place::said(&mut shell).good();
    assert!(said.out.contains("the agent is installed"), "{said}");
    assert!(installed.pid().is_some());
    assert_eq!((mode(&data), mode(&data.join("agent.json"))), (0o700, 0o600));
    installed
}

/// Gives the machine a folder, and backs it up once its policy is applied.
async fn backs_up(place: &Place, up: &Up<'_>, machine: Machine) {
    let client = up.client();
    // Not the whole machine, which is what it stands for.
    let folder = place.folder("files");
    fs::write(folder.join("file"), "text").expect("a file");
    machine.take_only(&client, &folder).await;
    until("the policy is applied", || async {
        let applied = client.policy_applications(machine.policy, &ListQuery::new()).await.ok()?;
        (!applied.items.is_empty()).then_some(())
    })
    .await;
    assert_eq!(machine.back_up(up).await.resource, machine.resource);
}

#[tokio::test]
async fn a_server_alone_prints_the_line_and_the_machine_joins() {
    let place = Place::new();
    let server = place.up().alone().reached_as_localhost().start();
    let client = server.client();
    let policy = manual_policy(&client).await;
    assert!(client.agents(&ListQuery::new()).await.expect("agents").items.is_empty());

    let line = place.cli(&["agent", "enroll", "--policy", "by hand"]).good().out;
    let _agent = typed(&place, &line);
    let resource = until("the machine is registered", || async {
        let machines = client.resources(&ListQuery::new()).await.ok()?.items;
        machines.into_iter().next().filter(|m| m.registration == Registration::Registered).map(|m| m.id)
    })
    .await;
    backs_up(&place, &server, Machine { resource, policy }).await;
}

#[tokio::test]
async fn the_line_of_the_cloud_makes_a_machine_that_is_backed_up() {
    let place = Place::new();
    let up = place.up().reached_as_localhost().start();
    let policy = manual_policy(&up.client()).await;

    let (http, admin) = (up.ready().http.clone(), up.ready().admin_token.clone());
    let wish = json!({
        "folderId": Uuid::nil(), "type": "AGENT_INSTALL_BASH_EXTERNAL_SERVER", "policyIds": [policy],
    });
    let asked = reqwest::Client::new()
        .post(format!("{http}/backup/v1/setup/getAgentInstallCommand"))
        .bearer_auth(&admin)
        .json(&wish);
    let answer: Value = asked.send().await.expect("an answer").json().await.expect("JSON");
    let line = answer["command"].as_str().unwrap_or_else(|| panic!("no line in {answer}")).to_owned();
    let _agent = typed(&place, &line);

    let list = format!("{http}/backup/v1/resources?folderId={}&type=EXTERNAL_SERVER", Uuid::nil());
    let machine = until("the machine is registered", || async {
        let asked = reqwest::Client::new().get(&list).bearer_auth(&admin);
        let answer: Value = asked.send().await.ok()?.json().await.ok()?;
        let machine = answer["resources"][0].clone();
        (machine["initStatus"] == "REGISTRED" && machine["online"] == true).then_some(machine)
    })
    .await;
    assert_eq!(machine["type"], "EXTERNAL_SERVER");
    let resource: Uuid = machine["resourceId"].as_str().expect("an id").parse().expect("an id");
    backs_up(&place, &up, Machine { resource, policy }).await;
}
