//! The table of operations (section 2): paths, methods, resources with their versions, and who may call. Routing,
//! discovery, versions and throttling are read from it.

use axum::http::Method as Verb;
use domain::Right;

/// What is versioned and throttled together, and what the vendor's discovery calls a resource.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) name: &'static str,
    /// The versions that are served, ascending.
    pub(super) versions: &'static [u32],
}

impl Resource {
    const fn new(name: &'static str, versions: &'static [u32]) -> Resource {
        Resource { name, versions }
    }

    /// The newest version.
    pub(super) fn latest(&self) -> u32 {
        self.versions.last().copied().unwrap_or(1)
    }
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Whoever shows a token.
    Token,
    /// Whoever has this right.
    Needs(Right),
    /// Anybody; the handler checks what the address itself says.
    Open,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Operation {
    /// The vendor's name of it.
    pub(super) name: &'static str,
    pub(super) resource: &'static Resource,
    pub(super) verb: Verb,
    /// The path, with variables in braces.
    pub(super) path: &'static str,
    pub(super) access: Access,
}

impl Operation {
    /// Whether the call has a body; one on any other is not looked at.
    pub(super) fn has_body(&self) -> bool {
        self.verb != Verb::GET && self.verb != Verb::DELETE
    }

    /// Whether discovery tells of it.
    pub(super) fn is_listed(&self) -> bool {
        self.resource.name != DISCOVERY.name && self.access != Access::Open
    }

    /// The segments of its path.
    pub(super) fn segments(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter(|s| !s.is_empty())
    }
}

/// The resource of discovery.
pub(super) static DISCOVERY: Resource = Resource::new("*", &[1]);
static TASKS: Resource = Resource::new("tasks", &[1]);
static ENVIRONMENTS: Resource = Resource::new("aws-environments", &[1]);
static VOLUMES: Resource = Resource::new("aws-ebs-volumes", &[1]);
static BACKUPS: Resource = Resource::new("backup-aws-ebs-volumes", &[1, 2]);
static RESTORES: Resource = Resource::new("restored-aws-ebs-volumes", &[1, 2]);
static POLICIES: Resource = Resource::new("policy-definitions", &[1]);
static ASSIGNMENTS: Resource = Resource::new("policy-assignments", &[1]);
static UNITS: Resource = Resource::new("organizational-units", &[1, 2]);
static TAGS: Resource = Resource::new("aws-environment-tags", &[1]);
static FILESYSTEMS: Resource = Resource::new("backup-filesystems", &[1]);
static DIRECTORIES: Resource = Resource::new("backup-filesystem-directories", &[1]);
static FILES: Resource = Resource::new("restored-files", &[1]);

const VIEW: Access = Access::Needs(Right::View);
const OPERATE: Access = Access::Needs(Right::Operate);
const EDIT: Access = Access::Needs(Right::Edit);
const ADMINISTER: Access = Access::Needs(Right::Administer);

const fn op(
    name: &'static str,
    resource: &'static Resource,
    verb: Verb,
    path: &'static str,
    access: Access,
) -> Operation {
    Operation { name, resource, verb, path, access }
}

/// Every operation. One without a handler is not served and not told of.
pub(super) static OPERATIONS: &[Operation] = &[
    op("discovery", &DISCOVERY, Verb::GET, "/", Access::Token),
    op("list-tasks", &TASKS, Verb::GET, "/tasks", VIEW),
    op("read-task", &TASKS, Verb::GET, "/tasks/{task_id}", VIEW),
    op("update-task", &TASKS, Verb::PATCH, "/tasks/{task_id}", Access::Needs(Right::Issue)),
    op("list-aws-environments", &ENVIRONMENTS, Verb::GET, "/datasources/aws/environments", VIEW),
    op("read-aws-environment", &ENVIRONMENTS, Verb::GET, "/datasources/aws/environments/{environment_id}", VIEW),
    op("list-aws-environment-tags", &TAGS, Verb::GET, "/datasources/aws/environments/{environment_id}/tags", VIEW),
    op(
        "read-aws-environment-tag",
        &TAGS,
        Verb::GET,
        "/datasources/aws/environments/{environment_id}/tags/{tag_id}",
        VIEW,
    ),
    op("list-aws-ebs-volumes", &VOLUMES, Verb::GET, "/datasources/aws/ebs-volumes", VIEW),
    op("read-aws-ebs-volume", &VOLUMES, Verb::GET, "/datasources/aws/ebs-volumes/{volume_id}", VIEW),
    op("list-backup-aws-ebs-volumes", &BACKUPS, Verb::GET, "/backups/aws/ebs-volumes", VIEW),
    op("read-backup-aws-ebs-volume", &BACKUPS, Verb::GET, "/backups/aws/ebs-volumes/{backup_id}", VIEW),
    op("create-backup-aws-ebs-volume", &BACKUPS, Verb::POST, "/backups/aws/ebs-volumes", OPERATE),
    op("restore-aws-ebs-volume", &RESTORES, Verb::POST, "/restores/aws/ebs-volumes", OPERATE),
    op("list-policy-definitions", &POLICIES, Verb::GET, "/policies/definitions", VIEW),
    op("read-policy-definition", &POLICIES, Verb::GET, "/policies/definitions/{policy_id}", VIEW),
    op("create-policy-definition", &POLICIES, Verb::POST, "/policies/definitions", EDIT),
    op("update-policy-definition", &POLICIES, Verb::PUT, "/policies/definitions/{policy_id}", EDIT),
    op("delete-policy-definition", &POLICIES, Verb::DELETE, "/policies/definitions/{policy_id}", EDIT),
    op("set-policy-assignments", &ASSIGNMENTS, Verb::POST, "/policies/assignments", OPERATE),
    op("list-organizational-units", &UNITS, Verb::GET, "/organizational-units", VIEW),
    op("read-organizational-unit", &UNITS, Verb::GET, "/organizational-units/{id}", VIEW),
    op("create-organizational-unit", &UNITS, Verb::POST, "/organizational-units", ADMINISTER),
    op("patch-organizational-unit", &UNITS, Verb::PATCH, "/organizational-units/{id}", ADMINISTER),
    op("delete-organizational-unit", &UNITS, Verb::DELETE, "/organizational-units/{id}", ADMINISTER),
    op("list-backup-filesystems", &FILESYSTEMS, Verb::GET, "/backups/{backup_id}/filesystems", VIEW),
    op("read-filesystem", &FILESYSTEMS, Verb::GET, "/backups/{backup_id}/filesystems/{filesystem_id}", VIEW),
    op(
        "read-backup-filesystem-directory",
        &DIRECTORIES,
        Verb::GET,
        "/backups/{backup_id}/filesystems/{filesystem_id}/directories/{directory_id}/browse",
        VIEW,
    ),
    op("list-restored-files", &FILES, Verb::GET, "/restores/files", VIEW),
    op("restore-files", &FILES, Verb::POST, "/restores/files", OPERATE),
    op("read-restored-file", &FILES, Verb::GET, "/restores/files/{id}/_content", Access::Open),
];

/// The operation of this name.
pub(super) fn named(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|o| o.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_routes_are_each_there_once() {
        let names: HashSet<_> = OPERATIONS.iter().map(|o| o.name).collect();
        let routes: HashSet<_> = OPERATIONS.iter().map(|o| (&o.verb, o.path)).collect();
        assert_eq!((names.len(), routes.len()), (OPERATIONS.len(), OPERATIONS.len()));
    }

    #[test]
    fn versions_ascend_and_there_is_one() {
        for operation in OPERATIONS {
            let versions = operation.resource.versions;
            assert!(!versions.is_empty() && versions.is_sorted(), "{}", operation.resource.name);
        }
    }
}
