//! Organizational units: every member, moves of resources, what cannot be deleted, pages.

use std::collections::HashSet;

use axum::http::Method;
use domain::backup::Backup;
use domain::query::{Filter, RecordField, Value as Asked};
use domain::resource::ResourceKind;
use domain::{Role, Scope, Uuid};
use serde_json::{Value, json};

use crate::governance::Place;
use crate::world::request;

const UNITS: &str = "/organizational-units";

fn link(href: &str, method: &str) -> Value {
    json!({ "href": href, "templated": false, "type": method })
}

fn path(unit: &Value) -> String {
    format!("{UNITS}/{}", unit["id"].as_str().expect("an id"))
}

#[tokio::test]
async fn a_unit_shows_all_its_members() {
    let place = Place::new().await;
    let acme = place.world.acme;
    let body = json!({ "name": "sales", "description": "", "parent_id": "", "entities": null, "users": [] });
    let made = place.post(UNITS, body).await;
    assert_eq!(made.status, 200);
    let made = made.ok();
    let path = path(&made);
    let shown = json!({
        "id": made["id"], "name": "sales", "description": "", "parent_id": acme, "children_count": 0,
        "descendant_ids": [], "user_count": 0, "users": [], "configured_datasource_types": [],
        "_etag": made["_etag"], "_embedded": null,
        "_links": { "_self": link(UNITS, "post"), "patch-organizational-unit": link(&path, "patch"),
            "delete-organizational-unit": link(&path, "delete") },
    });
    assert_eq!(made, shown, "without a task_id");
    let read = place.get(&path).await;
    assert_eq!(read.header("etag"), format!("\"{}\"", made["_etag"].as_str().expect("a tag")));
    let read = read.ok();
    assert_eq!(read["task_id"], Value::Null);
    assert_eq!(read["_links"]["_self"], link(&path, "get"));
    place.resource(made["id"].as_str().expect("an id").parse().expect("a uuid"), ResourceKind::BareMetal, "m").await;
    let above = place.get(&format!("{UNITS}/{acme}")).await.ok();
    assert_eq!((&above["children_count"], &above["descendant_ids"]), (&json!(1), &json!([made["id"]])));
    assert_eq!(above["_links"].get("delete-organizational-unit"), None);
    assert_eq!(place.get(&path).await.ok()["configured_datasource_types"], json!(["aws"]));
    let versioned = request(Method::GET, &path, &place.token).header("accept", "application/api.clumio.*=v1+json");
    let answer = place.world.send(versioned.body(axum::body::Body::empty()).expect("a request")).await;
    assert_eq!(answer.header("content-type"), "application/api.clumio.organizational-units=v1+json");
}

/// Apply, change, destroy as the Terraform provider does it.
#[tokio::test]
async fn a_life_as_terraform_leads_it() {
    let place = Place::new().await;
    let made = place.post(UNITS, json!({ "name": "tf", "description": "one", "parent_id": "" })).await.ok();
    let path = path(&made);
    let changed = place.ask(Method::PATCH, &path, json!({ "name": "tf two", "description": "two" })).await;
    assert_eq!(changed.status, 200);
    let changed = changed.ok();
    assert_eq!((&changed["name"], &changed["description"]), (&json!("tf two"), &json!("two")));
    assert_ne!(changed["_etag"], made["_etag"]);
    let left = place.ask(Method::PATCH, &path, json!({ "name": "", "description": null })).await.ok();
    assert_eq!((&left["name"], &left["description"]), (&json!("tf two"), &json!("two")));
    assert_eq!(left["_etag"], changed["_etag"], "nothing was changed");
    let same = place.ask(Method::PATCH, &path, json!({ "name": "tf two", "description": "two" })).await.ok();
    assert_eq!(same["_etag"], changed["_etag"], "nothing was changed");
    let cleared = place.ask(Method::PATCH, &path, json!({ "description": "" })).await.ok();
    assert_eq!(cleared["description"], "");
    let gone = place.ask(Method::DELETE, &format!("{path}?embed=read-task"), Value::Null).await;
    assert_eq!(gone.status, 202);
    let gone = gone.ok();
    assert_eq!(gone["_embedded"]["read-task"]["id"], gone["task_id"]);
    let task = place.task(&gone).await;
    assert_eq!((&task["type"], &task["category"]), (&json!("organizational_unit_delete"), &json!("management")));
    assert_eq!(task["primary_entity"], json!({ "id": made["id"], "type": "organizational_unit", "value": "tf two" }));
    assert_eq!(task["parent_entity"], Value::Null);
    assert!(
        task["_links"]["read-organizational-unit"]["href"]
            .as_str()
            .expect("a link")
            .ends_with(&place.world.acme.to_string())
    );
    assert_eq!(place.get(&path).await.refused(), (404, vec![4041]));
    // The name is free again.
    place.post(UNITS, json!({ "name": "tf two" })).await.ok();
}

#[tokio::test]
async fn resources_move_with_their_backups() {
    let place = Place::new().await;
    let acme = place.world.acme;
    let volume = place.resource(acme, ResourceKind::Volume, "vol-1").await;
    let policy = place.policy("gold", "aws_ebs_volume_backup").await;
    place.assign(&policy, &volume, "aws_ebs_volume").await.ok();
    let entity = json!({ "primary_entity": { "id": volume.id, "type": "aws_ebs_volume" }, "parent_entity": null });
    let made = place.post(&format!("{UNITS}?embed=read-task"), json!({ "name": "sales", "entities": [entity] })).await;
    assert_eq!(made.status, 202);
    let made = made.ok();
    assert_eq!(place.task(&made).await["type"], "organizational_unit_create");
    assert_eq!(made["_embedded"]["read-task"]["id"], made["task_id"]);
    let of =
        async || place.world.service.resource(&place.world.root, volume.id).await.expect("it is there").resource.tenant;
    assert_eq!(of().await.to_string(), made["id"].as_str().expect("an id"));
    assert_eq!(place.applied(&volume).await, [policy], "a policy of the unit above goes on");
    let read = place.get(&format!("{}?embed=read-task", path(&made))).await.ok();
    assert_eq!(read["task_id"], made["task_id"]);
    assert_eq!(read["_embedded"]["read-task"]["id"], made["task_id"]);
    assert_eq!(read["_links"]["read-task"]["type"], "get");
    // Nothing that holds something is deleted, and back it goes.
    assert_eq!(place.ask(Method::DELETE, &path(&made), Value::Null).await.refused(), (412, vec![4122]));
    let changed =
        place.ask(Method::PATCH, &path(&made), json!({ "entities": { "add": [], "remove": [entity] } })).await;
    assert_eq!(changed.status, 202);
    assert_eq!(place.task(&changed.ok()).await["type"], "organizational_unit_update");
    assert_eq!(of().await, acme);
    let filter = Filter::all().is(RecordField::Tenant, Asked::Uuid(acme)).expect("a clause");
    let backups = place.world.ledger.all::<Backup>(&Scope::everything(), filter).await.expect("backups");
    assert!(backups.is_empty(), "there was none");
    place.ask(Method::DELETE, &path(&made), Value::Null).await.ok();
}

#[tokio::test]
async fn what_cannot_be_moved_is_told_one_by_one_and_nothing_is_changed() {
    let place = Place::new().await;
    let (acme, globex) = (place.world.acme, place.world.globex);
    let volume = place.resource(acme, ResourceKind::Volume, "vol-1").await;
    let foreign = place.resource(globex, ResourceKind::Volume, "foreign").await;
    let entity = |id: Uuid, kind: &str| json!({ "primary_entity": { "id": id, "type": kind } });
    let entities = json!([entity(volume.id, "microsoft365_mailbox"), entity(foreign.id, "aws_ebs_volume")]);
    let refused = place.post(UNITS, json!({ "name": "sales", "entities": entities })).await;
    assert_eq!(refused.refused(), (400, vec![4003, 4003]));
    let told = refused.messages();
    assert!(
        told.contains("entities[0].primary_entity.type") && told.contains("entities[1].primary_entity.id"),
        "{told}"
    );
    assert_eq!(place.all(UNITS).await, [acme.to_string()], "no unit was made");
    assert!(told.contains("'vol-1' is no microsoft365_mailbox; its type is 'aws_ebs_volume'"), "{told}");
    let below = place.post(UNITS, json!({ "name": "sales" })).await.ok();
    let not_in = json!({ "entities": { "remove": [entity(volume.id, "aws_ebs_volume")] } });
    assert_eq!(place.ask(Method::PATCH, &path(&below), not_in).await.refused(), (400, vec![4003]));
    // A policy of the unit below does not reach the one above.
    let add = json!({ "entities": { "add": [entity(volume.id, "aws_ebs_volume")] } });
    place.ask(Method::PATCH, &path(&below), add).await.ok();
    let body = json!({ "name": "own", "operations": [crate::governance::operation("aws_ebs_volume_backup")],
        "organizational_unit_id": below["id"] });
    let own = place.post("/policies/definitions", body).await.ok();
    place.assign(own["id"].as_str().expect("an id"), &volume, "aws_ebs_volume").await.ok();
    let out = json!({ "entities": { "remove": [entity(volume.id, "aws_ebs_volume")] } });
    let refused = place.ask(Method::PATCH, &path(&below), out).await;
    assert_eq!(refused.refused(), (400, vec![4003]));
    assert!(refused.messages().contains("entities.remove[0]"), "{}", refused.messages());
}

#[tokio::test]
async fn names_users_groups_and_tags_of_states_are_checked() {
    let place = Place::new().await;
    let acme = place.world.acme;
    let made = place.post(UNITS, json!({ "name": "sales" })).await.ok();
    let taken = place.post(UNITS, json!({ "name": "sales" })).await;
    assert_eq!(taken.refused(), (409, vec![4090]));
    assert!(taken.messages().starts_with("name: there is an organizational unit 'sales'"), "{}", taken.messages());
    place.post(UNITS, json!({ "name": "sales", "parent_id": made["id"] })).await.ok();
    let other = place.post(UNITS, json!({ "name": "other" })).await.ok();
    assert_eq!(place.ask(Method::PATCH, &path(&other), json!({ "name": "sales" })).await.refused(), (409, vec![4090]));
    let users = json!({ "name": "x", "users": [{ "user_id": "7", "role_id": "1" }] });
    assert_eq!(place.post(UNITS, users).await.refused(), (400, vec![4005]));
    let users = json!({ "users": { "add": [], "remove": [] } });
    place.ask(Method::PATCH, &path(&other), users).await.ok();
    let users = json!({ "users": { "add": [{ "user_id": "7" }] } });
    assert_eq!(place.ask(Method::PATCH, &path(&other), users).await.refused(), (400, vec![4005]));
    let groups = json!({ "protection_groups": { "add": ["g"] } });
    let refused = place.ask(Method::PATCH, &path(&other), groups).await.refused();
    assert_eq!(refused.0, 400);
    let elsewhere = json!({ "name": "x", "parent_id": place.world.globex });
    let refused = place.post(UNITS, elsewhere).await;
    assert_eq!(refused.refused(), (400, vec![4003]));
    assert_eq!(refused.messages(), "parent_id: no such organizational unit");
    assert_eq!(place.post(UNITS, json!({ "name": "x".repeat(256) })).await.refused(), (400, vec![4003]));
    for (method, body) in [(Method::PATCH, json!({ "description": "x" })), (Method::DELETE, Value::Null)] {
        let asked = request(method, &path(&other), &place.token).header("if-match", "\"17\"");
        let asked = asked.body(axum::body::Body::from(body.to_string())).expect("a request");
        assert_eq!(place.world.send(asked).await.refused(), (412, vec![4123]));
    }
    let tag = format!("\"{}\"", place.get(&path(&other)).await.ok()["_etag"].as_str().expect("a tag"));
    let asked = request(Method::DELETE, &path(&other), &place.token).header("if-match", tag);
    let asked = asked.body(axum::body::Body::empty()).expect("a request");
    assert_eq!(place.world.send(asked).await.status, 202);
    // Units with others below them, and the caller's own.
    for unit in [path(&made), format!("{UNITS}/{acme}")] {
        let refused = place.ask(Method::DELETE, &unit, Value::Null).await;
        assert_eq!(refused.refused(), (412, vec![4122]), "{unit}");
        assert!(!refused.messages().contains("tenant"), "{}", refused.messages());
    }
    let root = place.world.token(Uuid::nil(), Role::Admin).await;
    let global = format!("{UNITS}/{}", Uuid::nil());
    assert_eq!(place.world.call(Method::DELETE, &global, &root, Value::Null).await.refused(), (412, vec![4122]));
    assert_eq!(place.world.get(&global, &root).await.ok()["parent_id"], Value::Null);
}

#[tokio::test]
async fn pages_are_disjoint_and_complete_and_filters_hold() {
    let place = Place::new().await;
    let acme = place.world.acme;
    let mut made = vec![acme.to_string()];
    let mut parents = vec![acme];
    for n in 0..25 {
        let parent = parents[n % parents.len()];
        let id = place.world.tenant_below(parent, &format!("Unit {n}")).await;
        made.push(id.to_string());
        if n % 4 == 0 {
            parents.push(id);
        }
    }
    let whole = place.get(&format!("{UNITS}?limit=10000")).await.ok();
    assert_eq!((&whole["limit"], &whole["current_count"]), (&json!(10000), &json!(26)), "R19");
    let in_one: Vec<String> = whole["_embedded"]["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|unit| {
            assert_eq!(unit["users"], json!([]), "R19");
            unit["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    assert_eq!(in_one.iter().collect::<HashSet<_>>(), made.iter().collect::<HashSet<_>>());
    for limit in [1, 3, 7, 26, 100] {
        assert_eq!(place.all(&format!("{UNITS}?limit={limit}")).await, in_one, "{limit}");
    }
    let mut seen = HashSet::new();
    for unit in whole["_embedded"]["items"].as_array().expect("items") {
        let parent = unit["parent_id"].as_str().expect("a parent");
        assert!(unit["id"] == acme.to_string() || seen.contains(parent), "parents first: {unit}");
        seen.insert(unit["id"].as_str().expect("an id"));
    }
    let filtered = async |filter: &str| place.all(&format!("{UNITS}?limit=5&filter={filter}")).await.len();
    assert_eq!(filtered("%7B%22name%22:%7B%22$contains%22:%22UNIT+2%22%7D%7D").await, 6);
    assert_eq!(filtered(&format!("%7B%22id%22:%7B%22$in%22:[%22{acme}%22]%7D%7D")).await, 1);
    let below = filtered(&format!("%7B%22parent_id%22:%7B%22$eq%22:%22{acme}%22%7D%7D")).await;
    let above = place.get(&format!("{UNITS}/{acme}")).await.ok();
    assert_eq!(json!(below), above["children_count"]);
    assert_eq!(above["descendant_ids"].as_array().expect("ids").len(), 25);
}
