//! Every method, over REST and over gRPC, against everybody and everything that it must refuse, after which nothing has
//! changed, and those that change something once as they are meant, after which the change tells by whom. A method without
//! an entry fails the test, so none can be forgotten.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use domain::{Right, Role, Uuid};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value, json};
use server::dialects::yandex;
use server::service::{Command, Connected, NewClient};

use super::backups::backed_up;
use super::changes;
use super::estate::{Estate, MACHINE, hello, settings};

const UNAUTHENTICATED: i64 = 16;
const PERMISSION_DENIED: i64 = 7;
const NOT_FOUND: i64 = 5;
const INVALID_ARGUMENT: i64 = 3;

/// Who may call.
#[derive(Clone, Copy)]
enum Who {
    /// Anybody.
    Open,
    /// Whoever has a token.
    Known,
    /// Whoever has this right.
    Needs(Right),
}

/// What the test must know of a method.
struct Case {
    who: Who,
    /// A request for what `acme` has, its members by the names of the descriptors.
    request: Value,
    /// What another tenant is told: of folders that they are not his, of other things that there are none (Y9).
    stranger: i64,
    /// Whether it changes something.
    changes: bool,
}

/// What `acme` has.
struct Made {
    estate: Estate,
    agent: Connected,
    policy: String,
    /// One that is applied to nothing.
    spare: String,
    backup: String,
    archive: String,
    /// One that is not done.
    operation: String,
    client: Uuid,
    /// A token as the vendor's clients have it.
    token: String,
}

impl Made {
    async fn new() -> Made {
        let (estate, policy) = backed_up().await;
        let spare = estate.policy("spare").await;
        let backups = estate.get(&format!("/backup/v1/backups?computeInstanceId={MACHINE}")).await;
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let (backup, archive) = (text(&backups["backups"][0]["id"]), text(&backups["backups"][0]["archiveId"]));
        let agent = estate.connect(hello()).await;
        let operation = text(&estate.execute(&policy).await["id"]);
        let name = "terraform".to_owned();
        let new = NewClient { tenant: Some(estate.world.acme), name, roles: vec![Role::Viewer], executor: None };
        let client = estate.world.service.create_client(&estate.world.root, new).await.expect("a client").0.id;
        let key = json!({ "yandexPassportOauthToken": estate.token });
        let token = text(&estate.send(Method::POST, "/iam/v1/tokens", key).await["iamToken"]);
        Made { estate, agent, policy, spare, backup, archive, operation, client, token }
    }

    fn case(&self, method: &str) -> Option<Case> {
        use Right::{Administer, Edit, Operate, View};
        use Who::{Known, Needs, Open};
        let Made { policy, spare, backup, archive, operation, client, .. } = self;
        let folder = &self.estate.folder;
        let read =
            |right, request: Value, stranger| Some(Case { who: Needs(right), request, stranger, changes: false });
        let write =
            |right, request: Value, stranger| Some(Case { who: Needs(right), request, stranger, changes: true });
        let (of_folder, of_machine) = (json!({ "folder_id": folder }), json!({ "compute_instance_id": MACHINE }));
        let of_policy = json!({ "policy_id": policy });
        let of_both = |policy: &str| json!({ "policy_id": policy, "compute_instance_id": MACHINE });
        let of_backup = json!({ "compute_instance_id": MACHINE, "backup_id": backup });
        match method {
            "ApiEndpointService.Get" => {
                Some(Case { who: Open, request: json!({ "api_endpoint_id": "iam" }), stranger: 0, changes: false })
            }
            "ApiEndpointService.List" => Some(Case { who: Open, request: json!({}), stranger: 0, changes: false }),
            "IamTokenService.Create" => {
                let request = json!({ "yandex_passport_oauth_token": self.estate.token });
                Some(Case { who: Open, request, stranger: 0, changes: false })
            }
            "IamTokenService.CreateForServiceAccount" => {
                write(Administer, json!({ "service_account_id": client }), NOT_FOUND)
            }
            "IamTokenService.Revoke" => Some(Case {
                who: Known,
                request: json!({ "iam_token": self.token }),
                stranger: NOT_FOUND,
                changes: true,
            }),
            "OperationService.Get" => read(View, json!({ "operation_id": operation }), NOT_FOUND),
            "OperationService.Cancel" => write(Edit, json!({ "operation_id": operation }), NOT_FOUND),
            "ResourceService.List" => read(View, of_folder, PERMISSION_DENIED),
            "ResourceService.Get" | "ResourceService.ListTasks" | "ResourceService.ListOperations" => {
                read(View, of_machine, NOT_FOUND)
            }
            "ResourceService.Delete" => {
                let resource = self.estate.resource;
                write(Edit, json!({ "compute_instance_id": MACHINE, "resource_id": resource }), NOT_FOUND)
            }
            "ResourceService.ListDirectory" => {
                let request = json!({ "folder_id": folder, "compute_instance_id": MACHINE, "path": "/srv" });
                read(Edit, request, PERMISSION_DENIED)
            }
            "ResourceService.CreateDirectory" => {
                let request = json!({ "folder_id": folder, "compute_instance_id": MACHINE, "path": "/srv/new" });
                write(Edit, request, PERMISSION_DENIED)
            }
            "ResourceService.GetInstanceRegistrationToken" => write(Operate, of_folder, PERMISSION_DENIED),
            "BackupService.ListArchives" | "BackupService.List" => read(View, of_folder, PERMISSION_DENIED),
            "BackupService.ListFiles" | "BackupService.Get" => {
                read(View, json!({ "folder_id": folder, "backup_id": backup }), PERMISSION_DENIED)
            }
            "BackupService.StartRecovery" => write(Edit, of_backup, NOT_FOUND),
            "BackupService.StartFilesRecovery" => {
                let mut request = of_backup;
                request["source_ids"] = json!(["p.L3Nydi9h"]);
                request["opts"] = json!({ "overwrite": "OVERWRITE_OLDER", "custom": { "path": "/tmp/back" } });
                write(Edit, request, NOT_FOUND)
            }
            "BackupService.Delete" => write(Edit, of_backup, NOT_FOUND),
            "BackupService.DeleteArchive" => {
                write(Edit, json!({ "archive_id": archive, "folder_id": folder }), PERMISSION_DENIED)
            }
            "PolicyService.List" | "PolicyService.ListApplications" => read(View, of_folder, PERMISSION_DENIED),
            "PolicyService.Create" => {
                let request = json!({ "folder_id": folder, "name": "weekly", "settings": settings() });
                write(Edit, request, PERMISSION_DENIED)
            }
            "PolicyService.Get" => read(View, of_policy, NOT_FOUND),
            "PolicyService.Update" => write(Edit, json!({ "policy_id": spare, "settings": settings() }), NOT_FOUND),
            "PolicyService.Delete" => write(Edit, json!({ "policy_id": spare }), NOT_FOUND),
            "PolicyService.Apply" => write(Operate, of_both(spare), NOT_FOUND),
            "PolicyService.Revoke" => write(Operate, of_both(policy), NOT_FOUND),
            "PolicyService.Execute" => write(Edit, of_both(policy), NOT_FOUND),
            "ProviderService.ListActivated" => read(View, of_folder, PERMISSION_DENIED),
            "ProviderService.Activate" => {
                write(Operate, json!({ "folder_id": folder, "name": "backstay" }), PERMISSION_DENIED)
            }
            "SetupService.GetAgentInstallCommand" => {
                let request = json!({ "folder_id": folder, "type": "AGENT_INSTALL_BASH_EXTERNAL_VM" });
                write(Operate, request, PERMISSION_DENIED)
            }
            _ => None,
        }
    }

    fn calls(&self) -> Vec<Call<'_>> {
        let mut calls = Vec::new();
        for (name, routes) in yandex::methods() {
            let (service, method) = name.rsplit_once('.').expect("a service");
            let local = format!("{}.{method}", service.rsplit('.').next().unwrap_or_default());
            let case = self.case(&local).unwrap_or_else(|| panic!("{local} has no entry"));
            calls.push(Call { made: self, name, routes, case });
        }
        assert!(calls.len() > 30, "{} methods", calls.len());
        calls
    }
}

struct Call<'m> {
    made: &'m Made,
    /// The full name of the method.
    name: &'static str,
    routes: Vec<(&'static str, String)>,
    case: Case,
}

impl Call<'_> {
    /// The codes that are answered in each way in which it can be called; 0 where it was done. It must leave everything as
    /// it is if it was not.
    async fn answers(&self, token: &str) -> Vec<i64> {
        let mut codes = Vec::new();
        for (verb, path) in &self.routes {
            codes.push(self.code(self.rest(verb, path, token)).await);
        }
        codes.push(self.grpc(token, &self.message()).await);
        codes
    }

    /// The call over REST.
    fn rest(&self, verb: &str, path: &str, token: &str) -> Request<Body> {
        let Value::Object(mut members) = self.case.request.clone() else { panic!("a message") };
        let mut path = path.to_owned();
        if let Some(other) = self.other(&path) {
            members = other;
        }
        members.retain(|name, value| {
            let variable = format!("{{{name}}}");
            let free = !path.contains(&variable);
            path = path.replace(&variable, value.as_str().unwrap_or_default());
            free
        });
        assert!(!path.contains('{'), "{}: {path} has a variable without value", self.name);
        let request = Request::builder().method(verb);
        let request = match token.is_empty() {
            true => request,
            false => request.header("authorization", format!("Bearer {token}")),
        };
        if matches!(verb, "POST" | "PATCH") {
            return request.uri(path).body(Body::from(Value::Object(members).to_string())).expect("a request");
        }
        let query: Vec<_> =
            members.iter().map(|(name, value)| format!("{name}={}", value.as_str().expect("text"))).collect();
        request.uri(format!("{path}?{}", query.join("&"))).body(Body::empty()).expect("a request")
    }

    /// What is asked on a path with one thing, where the request asks for a folder.
    fn other(&self, path: &str) -> Option<serde_json::Map<String, Value>> {
        let things = [("compute_instance_id", MACHINE), ("policy_id", &self.made.policy)];
        let (name, id) = things
            .into_iter()
            .find(|(name, _)| path.contains(&format!("{{{name}}}")) && self.case.request.get(name).is_none())?;
        json!({ name: id }).as_object().cloned()
    }

    /// The message, as gRPC has it.
    fn message(&self) -> Vec<u8> {
        let pool = DescriptorPool::decode(proto::yandex::DESCRIPTORS).expect("descriptors");
        let (service, method) = self.name.rsplit_once('.').expect("a service");
        let service = pool.get_service_by_name(service).expect("it is described");
        let input = service.methods().find(|m| m.name() == method).expect("it is described").input();
        DynamicMessage::deserialize(input, &self.case.request)
            .unwrap_or_else(|e| panic!("{}: {e}", self.name))
            .encode_to_vec()
    }

    async fn code(&self, request: Request<Body>) -> i64 {
        let what = format!("{} {}", request.method(), request.uri());
        let before = changes::held(&*self.made.estate.world.ledger).await;
        let (status, _, body) = self.made.estate.world.send(request).await;
        if status.is_success() {
            return 0;
        }
        let after = changes::held(&*self.made.estate.world.ledger).await;
        assert_eq!(after, before, "{what} answered with {body} and changed something");
        body["code"].as_i64().unwrap_or_else(|| panic!("{what}: {body}"))
    }

    async fn grpc(&self, token: &str, message: &[u8]) -> i64 {
        let (service, method) = self.name.rsplit_once('.').expect("a service");
        let before = changes::held(&*self.made.estate.world.ledger).await;
        match self.made.estate.world.grpc(&format!("/{service}/{method}"), token, message).await {
            Ok(_) => 0,
            Err((status, _)) => {
                let after = changes::held(&*self.made.estate.world.ledger).await;
                assert_eq!(after, before, "{} answered with {} and changed something", self.name, status.message);
                i64::from(status.code)
            }
        }
    }

    fn all(&self, code: i64) -> Vec<i64> {
        vec![code; self.routes.len() + 1]
    }
}

#[tokio::test]
async fn every_method_refuses_whom_it_must() {
    let made = Made::new().await;
    let world = &made.estate.world;
    let mut tokens = Vec::new();
    for role in Role::ALL {
        tokens.push((*role, world.token(world.acme, *role).await));
    }
    let stranger = world.token(world.globex, Role::Admin).await;
    for call in made.calls() {
        let name = call.name;
        if let Who::Open = call.case.who {
            continue; // Another secret than a right one is refused in `iam`.
        }
        for token in ["", "unknown", "t1.x.y", "a.b.c"] {
            assert_eq!(call.answers(token).await, call.all(UNAUTHENTICATED), "{name} with '{token}'");
        }
        if let Who::Needs(right) = call.case.who {
            for (role, token) in tokens.iter().filter(|(role, _)| !role.rights().contains(&right)) {
                assert_eq!(call.answers(token).await, call.all(PERMISSION_DENIED), "{name} as {role}");
            }
        }
        let told = |(_, path): &(_, String)| if call.other(path).is_some() { NOT_FOUND } else { call.case.stranger };
        let told: Vec<_> = call.routes.iter().map(told).chain([call.case.stranger]).collect();
        assert_eq!(call.answers(&stranger).await, told, "{name} of another tenant");
    }
}

#[tokio::test]
async fn every_method_refuses_what_it_cannot_read() {
    let made = Made::new().await;
    for call in made.calls() {
        let name = call.name;
        for (verb, path) in call.routes.iter().filter(|(verb, _)| matches!(*verb, "POST" | "PATCH")) {
            for text in ["{", "[]", "3", "\u{7f}", "\"text\"", &" ".repeat(4 * 1024 * 1024 + 1)] {
                let (mut parts, _) = call.rest(verb, path, &made.estate.token).into_parts();
                parts.headers.remove("content-length");
                let code = call.code(Request::from_parts(parts, Body::from(text.to_owned()))).await;
                assert_eq!(code, INVALID_ARGUMENT, "{name} with a body of {} bytes", text.len());
            }
        }
        for bytes in [&[0x0a, 0x05, b'x'][..], &[0x0a, 0x01, 0xff], &[0x07], &vec![0; 4 * 1024 * 1024 + 1]] {
            let code = call.grpc(&made.estate.token, bytes).await;
            assert_eq!(code, INVALID_ARGUMENT, "{name} with a message of {} bytes", bytes.len());
        }
    }
}

/// Answers what is asked about the machine, as its agent does.
fn answering(agent: Connected) {
    let mut commands = agent.commands;
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            if let Command::CreateDirectory { answer, .. } = command {
                answer.send(Ok(())).expect("somebody waits");
            }
        }
    });
}

#[tokio::test]
async fn what_is_changed_tells_by_whom() {
    for (name, _) in yandex::methods() {
        let made = Made::new().await;
        let call = made.calls().into_iter().find(|call| call.name == name).expect("a case");
        if !call.case.changes {
            continue;
        }
        let (verb, path) = &call.routes[0];
        let request = call.rest(verb, path, &made.estate.token);
        let world = made.estate.world;
        answering(made.agent);
        let by = world.service.authenticate(&made.estate.token).await.expect("it was let in");
        let before = changes::held(&*world.ledger).await;
        let (status, _, body) = world.send(request).await;
        let after = changes::held(&*world.ledger).await;
        assert_eq!(status, StatusCode::OK, "{name}: {body}");
        assert_ne!(before, after, "{name} changed nothing");
        changes::told(&before, &after, &by, name);
    }
}
