//! What people do with Backstay, request by request.

use domain::Role;
use serde_json::json;

use crate::talk::Talk;
use crate::world::World;

#[tokio::test]
async fn protecting_a_machine() {
    let world = World::new().await;
    let agent = world.agent().await;
    let mut talk = world.talk(Role::Admin).await;
    talk.get("/me").await;
    talk.get("/agents").await;
    let new =
        json!({ "name": "web-1", "kind": "bare_metal", "sources": { "paths": ["/var/www"], "excludes": ["*.tmp"] } });
    let resource = talk.post("/resources", new).await.body["id"].as_str().expect("an id").to_owned();
    let new =
        json!({ "name": "nightly", "schedule": { "kind": "daily", "at": "02:30", "time_zone": "Europe/Berlin" } });
    let policy = talk.post("/policies", new).await.body["id"].as_str().expect("an id").to_owned();
    talk.put(&format!("/policies/{policy}/applications/{resource}")).await;
    talk.post(&format!("/policies/{policy}/run"), json!({ "resource": resource })).await;
    let work = world.claim(&agent).await;
    world.carry_out(&agent, &work).await;
    talk.get("/tasks/1").await;
    talk.get("/tasks/1/activities?order=id").await;
    talk.get("/tasks/counts?by=state,result").await;
    talk.get(&format!("/resources/{resource}")).await;
    insta::assert_snapshot!(talk.text());
}

#[tokio::test]
async fn getting_files_back() {
    let world = World::new().await;
    let made = world.protected().await;
    let mut talk = world.talk(Role::Operator).await;
    let backup = &made.backup;
    talk.get("/backups?resource=web-1&kind=full&total=true").await;
    talk.get(&format!("/backups/{backup}/files?path=/var/www")).await;
    talk.get(&format!("/backups/{backup}/files?path=/var/www&after=index.html")).await;
    let wish = json!({ "to": "/tmp/back", "paths": ["/var/www/index.html"] });
    let task = talk.post(&format!("/backups/{backup}/restore"), wish).await.body["id"].to_string();
    talk.post(&format!("/tasks/{task}/cancel"), json!({})).await;
    talk.post(&format!("/tasks/{task}/cancel"), json!({})).await;
    insta::assert_snapshot!(talk.text());
}

#[tokio::test]
async fn changing_and_removing() {
    let world = World::new().await;
    let made = world.protected().await;
    let mut talk = world.talk(Role::Admin).await;
    let (resource, policy) = (&made.resource, &made.policy);
    talk.patch(&format!("/resources/{resource}"), json!({ "name": "web-one", "metadata": { "tags": ["front"] } }))
        .await;
    talk.patch(&format!("/policies/{policy}"), json!({ "schedule": { "kind": "interval", "every": "6h" } })).await;
    talk.get(&format!("/policies/{policy}/applications")).await;
    talk.delete(&format!("/policies/{policy}")).await;
    talk.delete(&format!("/policies/{policy}/applications/{resource}")).await;
    talk.delete(&format!("/policies/{policy}")).await;
    talk.delete(&format!("/resources/{resource}")).await;
    talk.get(&format!("/resources/{resource}")).await;
    // The past stays, under the name it had.
    talk.get("/tasks/counts?resource=web-1").await;
    talk.get(&format!("/backups/{}", made.backup)).await;
    insta::assert_snapshot!(talk.text());
}

#[tokio::test]
async fn letting_somebody_in_and_out_again() {
    let world = World::new().await;
    let mut talk = world.talk(Role::Admin).await;
    let tenant =
        talk.post("/tenants", json!({ "name": "branch" })).await.body["id"].as_str().expect("an id").to_owned();
    let new = json!({ "name": "night shift", "role": "viewer", "tenant": tenant });
    let made = talk.post("/tokens", new).await.body;
    let secret = made["secret"].as_str().expect("a secret");
    let mut guest = Talk::new(world.router.clone(), secret);
    guest.get("/me").await;
    guest.get("/tenants").await;
    guest.post("/tenants", json!({ "name": "mine" })).await;
    talk.delete(&format!("/tokens/{}", made["token"]["id"].as_str().expect("an id"))).await;
    guest.get("/me").await;
    insta::assert_snapshot!(format!("ADMINISTRATOR\n\n{}GUEST\n\n{}", talk.text(), guest.text()));
}
