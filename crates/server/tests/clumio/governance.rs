//! What policies, assignments and organizational units need around them.

use axum::body::Body;
use axum::http::Method;
use domain::repository::Repository;
use domain::resource::{Resource, ResourceKind, Sources};
use domain::{Role, Uuid};
use ledger::{Expect, Write};
use serde_json::{Value, json};
use server::service::NewResource;

use crate::world::{Answer, World, request};

/// A world with a repository, and a token for `acme`.
pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) token: String,
}

impl Place {
    pub(crate) async fn new() -> Place {
        let world = World::new().await;
        repository(&world, Uuid::nil(), "local").await;
        let token = world.token(world.acme, Role::Admin).await;
        Place { world, token }
    }

    /// A call as the Terraform provider sends it: as plain text, with "" for what is not set.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        let asked = request(method, path, &self.token).header("content-type", "text/plain; charset=utf-8");
        let asked = asked.header("x-clumio-organizationalunit-context", "");
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.world.send(asked.body(body).expect("a request")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, body).await
    }

    /// The ids of all items of a list, page after page, as the SDKs go through it.
    pub(crate) async fn all(&self, first: &str) -> Vec<String> {
        let (mut path, mut ids) = (first.to_owned(), Vec::new());
        loop {
            let page = self.get(&path).await.ok();
            let items = page["_embedded"]["items"].as_array().expect("items");
            ids.extend(items.iter().map(|i| i["id"].as_str().expect("an id").to_owned()));
            match page["_links"]["_next"]["href"].as_str() {
                Some(next) => next.clone_into(&mut path),
                None => return ids,
            }
        }
    }

    /// The task that an answer names, once it is over.
    pub(crate) async fn task(&self, answer: &Value) -> Value {
        let id = answer["task_id"].as_str().expect("a task's id");
        let task = self.get(&format!("/tasks/{id}?wait=10")).await.ok();
        assert_eq!(task["status"], "completed", "{task}");
        assert_eq!(task["is_abortable"], false);
        task
    }

    pub(crate) async fn resource(&self, tenant: Uuid, kind: ResourceKind, name: &str) -> Resource {
        let new = NewResource {
            tenant: Some(tenant),
            instance_id: Some(name.to_owned()),
            kind,
            name: name.to_owned(),
            agent: None,
            sources: Sources::default(),
            metadata: Value::Null,
        };
        self.world.service.add_resource(&self.world.root, new).await.expect("a resource").resource
    }

    /// A policy as SDKs make it; its id.
    pub(crate) async fn policy(&self, name: &str, kind: &str) -> String {
        let body = json!({ "name": name, "operations": [operation(kind)] });
        let made = self.post("/policies/definitions", body).await.ok();
        made["id"].as_str().expect("an id").to_owned()
    }

    pub(crate) async fn assign(&self, policy: &str, resource: &Resource, entity: &str) -> Answer {
        let entity = json!({ "id": resource.id, "type": entity });
        let item = json!({ "action": "assign", "entity": entity, "policy_id": policy });
        self.post("/policies/assignments", json!({ "items": [item] })).await
    }

    /// The policies that are applied to a resource.
    pub(crate) async fn applied(&self, resource: &Resource) -> Vec<String> {
        let found = self.world.service.policies_of(&self.world.root, resource.id).await.expect("policies");
        found.into_iter().map(|p| p.id.to_string()).collect()
    }
}

pub(crate) async fn repository(world: &World, tenant: Uuid, name: &str) -> Uuid {
    let (id, now) = (Uuid::now_v7(), world.service.moment().now);
    let record = json!({ "id": id, "tenant": tenant, "name": name, "url": "/r", "sealed_password": "x",
        "append_only": false, "created_at": now, "updated_at": now });
    let repository: Repository = serde_json::from_value(record).expect("a repository");
    world.commit(vec![Write::Put(Box::new(repository.into()), Expect::New)]).await;
    id
}

/// An operation as the Terraform provider sends it: null for every block that is not set.
pub(crate) fn operation(kind: &str) -> Value {
    json!({
        "action_setting": "window", "advanced_settings": null, "backup_aws_region": null, "backup_window": null,
        "backup_window_tz": { "start_time": "01:00", "end_time": "05:00" }, "timezone": null, "type": kind,
        "slas": [{
            "retention_duration": { "unit": "days", "value": 14 },
            "rpo_frequency": { "unit": "days", "value": 1, "offsets": null },
        }],
    })
}
