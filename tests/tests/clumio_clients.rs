//! Software written for Clumio, against a real server with a real backup: clients that behave as the vendor's SDKs and the
//! public scripts over them (tests/clients/clumio).

use std::fs;
use std::path::Path;

use acceptance::machine::Machine;
use acceptance::place::said;
use acceptance::{Place, add_endless, add_much};
use api::client::ListQuery;
use serde_json::json;

#[tokio::test]
async fn clients_find_wait_for_and_abort_tasks() {
    let place = Place::new();
    let data = place.folder("data");
    fs::write(data.join("letter"), "Dear all\n").expect("a file");
    let up = place.up().protect(&data).reached_as_localhost().start();
    let client = up.client();
    let resource = client.resources(&ListQuery::new()).await.expect("resources").items.remove(0).id;
    let policy = client.policies(&ListQuery::new()).await.expect("policies").items.remove(0).id;
    let machine = Machine { resource, policy };
    machine.back_up(&up).await;
    add_much(&data);
    let _ = add_endless(&data);
    let before = place.packs();
    let running = machine.run(&up).await.id;
    up.job_in_the_middle(before).await;

    let ready = up.ready();
    let (_, port) = ready.tls.rsplit_once(':').expect("an address with a port");
    let port: u16 = port.parse().expect("a number");
    let probe = json!({"port": port, "ca": ready.ca_file, "token": ready.admin_token, "running": running.to_string()});
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/clumio");
    let mut python = place.command("python3");
    python.env("PROBE", probe.to_string()).env("PYTHONDONTWRITEBYTECODE", "1").arg(programs.join("clients.py"));
    let ran = said(&mut python).good();
    assert_eq!(ran.out.lines().filter(|l| l.ends_with(": ok")).count(), 7, "{ran}");
}
