//! Every operation of the dialect against everybody and everything that it must refuse, after which nothing has changed, and
//! those that change something once as they are meant, after which the change tells by whom. One without a row fails the
//! test, so none can be forgotten.

use axum::body::Body;
use axum::http::{Method, Request};
use domain::{Right, Role, Uuid};
use serde_json::{Value, json};
use server::dialects::clumio;
use server::service::environment_id;

use crate::changes;
use crate::estate::{Estate, encoded, items};
use crate::governance::operation;
use crate::world::{Answer, World, request};

/// What the test must know of an operation.
struct Row {
    name: &'static str,
    /// What it needs beside a token.
    right: Option<Right>,
}

const UUID: &str = "0197c0de-dead-7000-8000-00000000beef";

const fn row(name: &'static str, right: Right) -> Row {
    Row { name, right: Some(right) }
}

/// The operations that need a token. `read-restored-file` needs none: its address is signed.
const ROWS: &[Row] = &[
    Row { name: "discovery", right: None },
    row("list-tasks", Right::View),
    row("read-task", Right::View),
    row("update-task", Right::Issue),
    row("list-aws-environments", Right::View),
    row("read-aws-environment", Right::View),
    row("list-aws-environment-tags", Right::View),
    row("read-aws-environment-tag", Right::View),
    row("list-aws-ebs-volumes", Right::View),
    row("read-aws-ebs-volume", Right::View),
    row("list-backup-aws-ebs-volumes", Right::View),
    row("read-backup-aws-ebs-volume", Right::View),
    row("create-backup-aws-ebs-volume", Right::Operate),
    row("restore-aws-ebs-volume", Right::Operate),
    row("list-backup-filesystems", Right::View),
    row("read-filesystem", Right::View),
    row("read-backup-filesystem-directory", Right::View),
    row("list-restored-files", Right::View),
    row("restore-files", Right::Operate),
    row("list-policy-definitions", Right::View),
    row("read-policy-definition", Right::View),
    row("create-policy-definition", Right::Edit),
    row("update-policy-definition", Right::Edit),
    row("delete-policy-definition", Right::Edit),
    row("set-policy-assignments", Right::Operate),
    row("list-organizational-units", Right::View),
    row("read-organizational-unit", Right::View),
    row("create-organizational-unit", Right::Administer),
    row("patch-organizational-unit", Right::Administer),
    row("delete-organizational-unit", Right::Administer),
];

/// The operations that anybody may call.
const OPEN: &[&str] = &["read-restored-file"];

/// What `acme` has.
struct Made {
    estate: Estate,
    volume: Uuid,
    environment: Uuid,
    tag: String,
    backup: Uuid,
    /// One that waits.
    task: String,
    policy: String,
    unit: String,
}

impl Made {
    async fn new() -> Made {
        let estate = Estate::new().await;
        let volume = estate.machine;
        let backup = estate.backup(volume, None, "2026-01-31T08:00:00Z").await;
        let environment = environment_id(estate.agent.agent.id(), estate.local);
        let id = |body: &Value| body["id"].as_str().expect("an id").to_owned();
        let tags = estate.get(&format!("/datasources/aws/environments/{environment}/tags")).await;
        let tag = id(&items(&tags)[0]);
        let asked = estate.post("/restores/aws/ebs-volumes", restore(backup, environment)).await.ok();
        let task = asked["task_id"].as_str().expect("a task").to_owned();
        let policy = id(&estate.post("/policies/definitions", policy("gold")).await.ok());
        let unit = id(&estate.post("/organizational-units", json!({ "name": "sales" })).await.ok());
        Made { estate, volume, environment, tag, backup, task, policy, unit }
    }

    fn world(&self) -> &World {
        &self.estate.world
    }

    /// The path of an operation with what is there.
    fn path(&self, path: &str) -> String {
        let mut filled = path.to_owned();
        for (variable, value) in [
            ("{task_id}", self.task.clone()),
            ("{environment_id}", self.environment.to_string()),
            ("{tag_id}", self.tag.clone()),
            ("{volume_id}", self.volume.to_string()),
            ("{backup_id}", self.backup.to_string()),
            ("{policy_id}", self.policy.clone()),
            ("{filesystem_id}", "1".to_owned()),
            ("{directory_id}", "root".to_owned()),
            ("{id}", self.unit.clone()),
        ] {
            filled = filled.replace(variable, &value);
        }
        assert!(!filled.contains('{'), "{path} has a variable without value");
        filled
    }

    /// A body that is right; null where there is none.
    fn body(&self, name: &str) -> Value {
        match name {
            "update-task" => json!({ "status": "aborting" }),
            "create-backup-aws-ebs-volume" => json!({ "volume_id": self.volume, "settings": {} }),
            "restore-aws-ebs-volume" => restore(self.backup, self.environment),
            "restore-files" => {
                let file = json!({ "filesystem_id": "1", "path": "/letter.txt" });
                json!({ "source": { "backup_id": self.backup, "files": [file] }, "target": null })
            }
            "create-policy-definition" => {
                let mut body = policy("silver");
                body["organizational_unit_id"] = json!(self.world().acme);
                body
            }
            "update-policy-definition" => policy("silver"),
            "set-policy-assignments" => {
                let entity = json!({ "id": self.volume, "type": "aws_ebs_volume" });
                json!({ "items": [{ "action": "assign", "entity": entity, "policy_id": self.policy }] })
            }
            "create-organizational-unit" => json!({ "name": "support", "parent_id": self.world().acme }),
            "patch-organizational-unit" => json!({ "name": "support" }),
            _ => Value::Null,
        }
    }

    /// A call that must leave everything as it is.
    async fn harmless(&self, request: Request<Body>) -> Answer {
        let what = format!("{} {}", request.method(), request.uri());
        let before = changes::held(&*self.world().ledger).await;
        let answer = self.world().send(request).await;
        let after = changes::held(&*self.world().ledger).await;
        assert_eq!(after, before, "{what} answered with {} and changed something", answer.status);
        answer
    }

    async fn refused(&self, case: &Case, token: &str) -> (u16, Vec<u64>) {
        self.harmless(case.request(token)).await.refused()
    }
}

fn restore(backup: Uuid, environment: Uuid) -> Value {
    json!({ "source": { "backup_id": backup }, "target": { "environment_id": environment } })
}

fn policy(name: &str) -> Value {
    json!({ "name": name, "operations": [operation("aws_ebs_volume_backup")] })
}

struct Case {
    row: &'static Row,
    method: Method,
    /// As the table has it.
    route: &'static str,
    path: String,
    body: Value,
}

impl Case {
    /// The call as it is meant.
    fn request(&self, token: &str) -> Request<Body> {
        let body = if self.body.is_null() { Body::empty() } else { Body::from(self.body.to_string()) };
        request(self.method.clone(), &self.path, token).body(body).expect("a request")
    }

    fn has_body(&self) -> bool {
        matches!(self.method, Method::PUT | Method::POST | Method::PATCH)
    }
}

fn cases(made: &Made) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, method, route) in clumio::operations() {
        if OPEN.contains(&name) {
            continue;
        }
        let row = ROWS.iter().find(|r| r.name == name).unwrap_or_else(|| panic!("{name} has no row"));
        let method = method.parse().expect("a method");
        let mut path = made.path(route);
        if name == "list-restored-files" {
            // It is asked for one volume's or not at all.
            let filter = json!({ "asset_type": { "$eq": "aws_ebs_volume" }, "asset_id": { "$eq": made.volume } });
            path = format!("{path}?filter={}", encoded(&filter.to_string()));
        }
        let case = Case { row, method, route, path, body: made.body(name) };
        assert_eq!(case.has_body(), !case.body.is_null(), "say in `Made::body` what {name} is sent");
        cases.push(case);
    }
    cases
}

#[tokio::test]
async fn nobody_gets_in_without_a_token() {
    let made = Made::new().await;
    for case in cases(&made) {
        assert_eq!(made.refused(&case, "").await, (401, vec![4010]), "{}", case.row.name);
        assert_eq!(made.refused(&case, "unknown").await, (401, vec![4011]), "{}", case.row.name);
    }
}

#[tokio::test]
async fn a_role_without_the_right_is_refused() {
    let made = Made::new().await;
    for role in Role::ALL {
        let token = made.world().token(made.world().acme, *role).await;
        for case in cases(&made) {
            if case.row.right.is_some_and(|right| !role.rights().contains(&right)) {
                assert_eq!(made.refused(&case, &token).await, (403, vec![4030]), "{role}: {}", case.row.name);
            }
        }
    }
}

#[tokio::test]
async fn what_another_tenant_has_is_not_there() {
    let made = Made::new().await;
    let world = made.world();
    let token = world.token(world.globex, Role::Admin).await;
    let ids = [made.volume, made.environment, made.backup, world.acme].map(|id| id.to_string());
    let secrets = ids.iter().chain([&made.policy, &made.unit]);
    for case in cases(&made) {
        let name = case.row.name;
        let answer = made.harmless(case.request(&token)).await;
        if case.route.contains('{') {
            assert_eq!(answer.refused(), (404, vec![4041]), "{name}");
        } else if case.has_body() {
            assert_eq!(answer.refused(), (400, vec![4003]), "{name}: {}", answer.messages());
        } else {
            let mut shown = answer.ok();
            // What was asked for is repeated.
            shown.as_object_mut().expect("an object").retain(|key, _| key != "_links" && key != "filter_applied");
            let shown = shown.to_string();
            for secret in secrets.clone() {
                assert!(!shown.contains(secret), "{name} shows what is another tenant's: {shown}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let made = Made::new().await;
    let token = &made.estate.token;
    for Case { method, route, .. } in cases(&made) {
        if !route.contains('{') || matches!(method, Method::PUT | Method::POST | Method::PATCH) {
            continue;
        }
        for id in [UUID, "no-id"] {
            let path: Vec<_> = route.split('/').map(|part| if part.starts_with('{') { id } else { part }).collect();
            let path = path.join("/").replace(&format!("/tasks/{UUID}"), "/tasks/999999");
            let asked = request(method.clone(), &path, token).body(Body::empty()).expect("a request");
            assert_eq!(made.harmless(asked).await.refused(), (404, vec![4041]), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn broken_bodies_are_refused_whatever_their_type() {
    let made = Made::new().await;
    let token = &made.estate.token;
    for Case { method, path, row, .. } in cases(&made).iter().filter(|case| case.has_body()) {
        for content in ["application/json", "text/plain; charset=utf-8", ""] {
            for body in ["", "{", "[]", "\"x\"", "{}"] {
                // It asks for nothing, and changes nothing.
                if (row.name, body) == ("patch-organizational-unit", "{}") {
                    continue;
                }
                let mut asked = request(method.clone(), path, token);
                if !content.is_empty() {
                    asked = asked.header("content-type", content);
                }
                let answer = made.harmless(asked.body(Body::from(body)).expect("a request")).await;
                let (status, codes) = answer.refused();
                assert_eq!(status, 400, "{method} {path} {body}: {codes:?}");
                if body != "{}" {
                    assert_eq!(codes, [4002], "{method} {path} {body}");
                }
            }
        }
        let large = request(method.clone(), path, token).body(Body::from(vec![b' '; 1024 * 1024 + 1]));
        let answer = made.harmless(large.expect("a request")).await;
        assert_eq!(answer.refused(), (413, vec![4130]), "{method} {path}");
    }
}

#[tokio::test]
async fn what_is_changed_tells_by_whom() {
    let names: Vec<_> = clumio::operations().into_iter().filter(|(_, method, _)| *method != "GET").collect();
    for (name, ..) in names {
        let made = Made::new().await;
        let world = made.world();
        let case = cases(&made).into_iter().find(|case| case.row.name == name).expect("a case");
        let by = world.service.authenticate(&made.estate.token).await.expect("it was let in");
        let before = changes::held(&*world.ledger).await;
        world.send(case.request(&made.estate.token)).await.ok();
        let after = changes::held(&*world.ledger).await;
        assert_ne!(before, after, "{name} changed nothing");
        changes::told(&before, &after, &by, name);
    }
}
