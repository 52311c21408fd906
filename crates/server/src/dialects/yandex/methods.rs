//! The table of methods, read from the descriptors: what each takes and answers, the level that it needs (Y25), whether it
//! makes an operation and of which types, and where REST finds it (section 2, Y13, Y14).

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::http::Method as Verb;
use domain::Right;
use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, MessageDescriptor, MethodDescriptor};

use super::routes::Route;

/// The descriptors of the API with those of what its `Any` fields hold.
pub(super) fn pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(proto::yandex::DESCRIPTORS)
            .expect("the generated descriptors are whole; a test reads them")
    });
    &POOL
}

/// A message of the API by its full name.
pub(super) fn message(name: &str) -> Option<MessageDescriptor> {
    pool().get_message_by_name(name)
}

/// An option that one of the vendor's or Google's files declares.
pub(super) fn extension(name: &str) -> ExtensionDescriptor {
    pool().get_extension_by_name(name).expect("the generated descriptors declare their options; a test reads them")
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody, without a token.
    Open,
    /// Whoever has this right on the tenant in question (Y25).
    Needs(Right),
    /// As `Needs`; a token of a registration stands in for a bearer token (Y26).
    NeedsOrRegistration(Right),
    /// Whoever shows a token; what is needed depends on the thing that is asked for.
    Token,
}

/// One rpc.
#[derive(Debug)]
pub(super) struct Method {
    /// Its full name with dots, like `yandex.cloud.backup.v1.PolicyService.Apply`.
    pub(super) name: String,
    /// The full name of its service.
    pub(super) service: String,
    pub(super) input: MessageDescriptor,
    pub(super) output: MessageDescriptor,
    pub(super) access: Access,
    /// For the rpcs that make an operation: the full names of the types of its metadata and response.
    pub(super) operation: Option<OperationTypes>,
    /// Where REST finds it.
    pub(super) routes: Vec<Route>,
}

/// What an operation that a method makes holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OperationTypes {
    pub(super) metadata: String,
    pub(super) response: String,
}

impl Method {
    /// The path of gRPC.
    pub(super) fn path(&self) -> String {
        format!("/{}/{}", self.service, self.short())
    }

    /// The name within its service.
    pub(super) fn short(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }

    /// Service and name without their package, like `PolicyService.Apply`.
    fn local(&self) -> String {
        local(&self.name)
    }
}

fn local(full: &str) -> String {
    let mut parts: Vec<_> = full.rsplitn(3, '.').take(2).collect();
    parts.reverse();
    parts.join(".")
}

/// All methods of all services in the descriptors.
pub(super) fn all() -> &'static [Method] {
    static METHODS: LazyLock<Vec<Method>> =
        LazyLock::new(|| pool().services().flat_map(|s| s.methods().map(|m| read(&m)).collect::<Vec<_>>()).collect());
    &METHODS
}

/// The method of this gRPC path.
pub(super) fn at(path: &str) -> Option<&'static Method> {
    static BY_PATH: LazyLock<HashMap<String, &'static Method>> =
        LazyLock::new(|| all().iter().map(|m| (m.path(), m)).collect());
    BY_PATH.get(path).copied()
}

fn read(method: &MethodDescriptor) -> Method {
    let options = method.options();
    let mut routes = Vec::new();
    let http = extension("google.api.http");
    if options.has_extension(&http)
        && let Some(rule) = options.get_extension(&http).as_message()
    {
        routes.extend(declared(rule));
    }
    let name = method.full_name().to_owned();
    let more = EXTRA.iter().filter(|(of, ..)| *of == local(&name));
    routes.extend(more.map(|(_, verb, path)| Route::new(verb.clone(), path)));
    let annotated = extension("yandex.cloud.api.operation");
    let operation = options.has_extension(&annotated).then(|| {
        let types = options.get_extension(&annotated);
        let full = |field: &str| {
            let named = types.as_message().and_then(|m| text(m, field)).unwrap_or_default();
            if named.contains('.') { named } else { format!("{}.{named}", method.parent_service().package_name()) }
        };
        OperationTypes { metadata: full("metadata"), response: full("response") }
    });
    let service = method.parent_service().full_name().to_owned();
    let mut method = Method {
        name,
        service,
        input: method.input(),
        output: method.output(),
        access: Access::Token,
        operation,
        routes,
    };
    method.access = access(&method.local());
    method
}

/// The route that an option declares.
fn declared(rule: &DynamicMessage) -> Option<Route> {
    let verbs = [("get", Verb::GET), ("post", Verb::POST), ("delete", Verb::DELETE), ("patch", Verb::PATCH)];
    verbs.into_iter().find_map(|(field, verb)| {
        let path = text(rule, field).filter(|p| !p.is_empty())?;
        Some(Route::new(verb, &path))
    })
}

fn text(message: &DynamicMessage, field: &str) -> Option<String> {
    message.get_field_by_name(field)?.as_str().map(str::to_owned)
}

/// Routes beside those of the descriptors (Y13, Y14).
const EXTRA: &[(&str, Verb, &str)] = &[
    ("OperationService.Cancel", Verb::POST, "/operations/{operation_id}:cancel"),
    ("ResourceService.ListOperations", Verb::GET, "/backup/v1/resources/{compute_instance_id}/operations"),
    ("ResourceService.ListDirectory", Verb::GET, "/backup/v1/resources/{compute_instance_id}/directory"),
    ("ResourceService.CreateDirectory", Verb::POST, "/backup/v1/resources/{compute_instance_id}:createDirectory"),
    ("ResourceService.GetInstanceRegistrationToken", Verb::POST, "/backup/v1/resources:getInstanceRegistrationToken"),
    ("BackupService.ListArchives", Verb::GET, "/backup/v1/archives"),
    ("BackupService.DeleteArchive", Verb::DELETE, "/backup/v1/archives/{archive_id}"),
    ("BackupService.DeleteArchive", Verb::DELETE, "/backup/v1/archives"),
    ("BackupService.StartFilesRecovery", Verb::POST, "/backup/v1/backups/{backup_id}:startFilesRecovery"),
    ("PolicyService.ListApplications", Verb::GET, "/backup/v1/applications"),
];

/// The level that each method needs (section 2).
fn access(method: &str) -> Access {
    match method {
        "ResourceService.List"
        | "ResourceService.Get"
        | "ResourceService.ListTasks"
        | "ResourceService.ListOperations"
        | "BackupService.ListArchives"
        | "BackupService.List"
        | "BackupService.ListFiles"
        | "BackupService.Get"
        | "PolicyService.List"
        | "PolicyService.Get"
        | "PolicyService.ListApplications"
        | "OperationService.Get" => Access::Needs(READ),
        "ProviderService.ListActivated" => Access::NeedsOrRegistration(READ),
        "ResourceService.GetInstanceRegistrationToken"
        | "PolicyService.Apply"
        | "PolicyService.Revoke"
        | "SetupService.GetAgentInstallCommand" => Access::Needs(USE),
        "ProviderService.Activate" => Access::NeedsOrRegistration(USE),
        "ResourceService.Delete"
        | "ResourceService.ListDirectory"
        | "ResourceService.CreateDirectory"
        | "BackupService.StartRecovery"
        | "BackupService.StartFilesRecovery"
        | "BackupService.Delete"
        | "BackupService.DeleteArchive"
        | "PolicyService.Create"
        | "PolicyService.Update"
        | "PolicyService.Delete"
        | "PolicyService.Execute" => Access::Needs(EDIT),
        "IamTokenService.CreateForServiceAccount" => Access::Needs(Right::Administer),
        "IamTokenService.Create" | "ApiEndpointService.Get" | "ApiEndpointService.List" => Access::Open,
        // Cancel needs the level of what made the operation; who revokes his own token needs none.
        _ => Access::Token,
    }
}

/// Level `read`: backup.viewer.
const READ: Right = Right::View;
/// Level `use`: backup.user.
const USE: Right = Right::Operate;
/// Level `edit`: backup.editor.
const EDIT: Right = Right::Edit;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_the_contract() {
        let of_backup = all().iter().filter(|m| m.service.starts_with("yandex.cloud.backup.v1."));
        assert_eq!((of_backup.clone().count(), all().len()), (28, 35));
        assert_eq!(of_backup.clone().filter(|m| m.operation.is_some()).count(), 13, "those that make operations");
        for method in of_backup {
            assert!(!matches!(method.access, Access::Open | Access::Token), "{} has no level", method.name);
            assert_eq!(method.operation.is_some(), method.output.full_name() == "yandex.cloud.operation.Operation");
        }
        let open: Vec<_> = all().iter().filter(|m| m.access == Access::Open).map(Method::local).collect();
        assert_eq!(open, ["ApiEndpointService.Get", "ApiEndpointService.List", "IamTokenService.Create"]);
    }

    #[test]
    fn every_method_can_be_reached_over_rest() {
        for method in all() {
            assert!(!method.routes.is_empty(), "{} has no route", method.name);
            for route in &method.routes {
                for name in route.variables() {
                    assert!(method.input.get_field_by_name(name).is_some(), "{}: no field {name}", method.name);
                }
            }
        }
        let known = |local: &str| all().iter().any(|m| m.local() == local);
        for (of, ..) in EXTRA {
            assert!(known(of), "{of} is no method");
        }
    }

    #[test]
    fn operations_hold_types_that_are_described() {
        for types in all().iter().filter_map(|m| m.operation.as_ref()) {
            for name in [&types.metadata, &types.response] {
                assert!(message(name).is_some(), "{name} is not described");
            }
        }
    }
}
