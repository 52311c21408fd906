//! A protected folder by the API: this machine as a resource, a manual policy for it, and what comes of running it.

use std::path::Path;

use api::client::{Client, ListQuery};
use api::{Backup, NewPolicy, NewResource, ResourceChange, Settings, Sources, Task};
use domain::Uuid;
use domain::policy::Schedule;
use domain::resource::ResourceKind;
use domain::task::ResultCode;

use crate::Up;

/// A folder that is protected by a policy that runs when it is asked to.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The resource.
    pub resource: Uuid,
    /// The policy.
    pub policy: Uuid,
}

/// How to protect a folder.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// The owner; the root by default.
    pub tenant: Option<Uuid>,
    /// The name of resource and policy.
    pub name: String,
    /// When it runs by itself; never by default.
    pub schedule: Option<Schedule>,
    /// What to take and to leave out.
    pub settings: Settings,
    /// The agent; the local one by default.
    pub agent: Option<Uuid>,
    /// What sort of thing it is; a machine by default.
    pub kind: Option<ResourceKind>,
}

impl Machine {
    /// Protects a path.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn protect(up: &Up<'_>, path: &Path) -> Machine {
        Machine::wished(up, path, Wish { name: "machine".to_owned(), ..Wish::default() }).await
    }

    /// Protects a path as wished.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn wished(up: &Up<'_>, path: &Path, wish: Wish) -> Machine {
        let client = up.client();
        let agent = match wish.agent {
            Some(agent) => agent,
            None => client.agents(&ListQuery::new()).await.expect("agents").items.first().expect("the local agent").id,
        };
        let new = NewResource {
            tenant: wish.tenant,
            instance_id: None,
            kind: wish.kind.unwrap_or(ResourceKind::BareMetal),
            name: wish.name.clone(),
            agent: Some(agent),
            sources: only(path),
            metadata: serde_json::Value::Null,
        };
        let resource = client.add_resource(&new).await.expect("a resource").id;
        let policy = policy(&client, wish).await;
        client.apply_policy(policy, resource).await.expect("an application");
        Machine { resource, policy }
    }

    /// Protects a folder of the machine that has joined by itself, and not the whole of it.
    ///
    /// # Panics
    /// When none has, or the server refuses.
    pub async fn joined(up: &Up<'_>, folder: &Path) -> Machine {
        let client = up.client();
        let resource =
            client.resources(&ListQuery::new()).await.expect("resources").items.first().expect("it joined").id;
        let machine = Machine { resource, policy: manual_policy(&client).await };
        machine.take_only(&client, folder).await;
        client.apply_policy(machine.policy, resource).await.expect("an application");
        machine
    }

    /// Has nothing but this folder backed up from now on.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn take_only(&self, client: &Client, folder: &Path) {
        let change = ResourceChange { sources: Some(only(folder)), ..Default::default() };
        client.change_resource(self.resource, &change).await.expect("changed");
    }

    /// Begins a backup.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn run(&self, up: &Up<'_>) -> Task {
        let mut tasks = up.client().run_policy(self.policy, Some(self.resource)).await.expect("a run").items;
        assert_eq!(tasks.len(), 1);
        tasks.remove(0)
    }

    /// Makes a backup that goes well.
    ///
    /// # Panics
    /// When it does not.
    pub async fn back_up(&self, up: &Up<'_>) -> Backup {
        let task = up.completed(self.run(up).await.id).await;
        assert_eq!(result(&task), ResultCode::Ok, "{:#?}", task.result);
        only_backup(&up.client(), task.id).await.expect("a good backup has a record")
    }
}

/// A policy by the name `by hand`, which runs when it is asked to.
///
/// # Panics
/// When the server refuses.
pub async fn manual_policy(client: &Client) -> Uuid {
    policy(client, Wish { name: "by hand".to_owned(), ..Wish::default() }).await
}

async fn policy(client: &Client, wish: Wish) -> Uuid {
    let new = NewPolicy {
        tenant: wish.tenant,
        name: wish.name,
        schedule: wish.schedule.unwrap_or(Schedule::Manual {}),
        retention: Default::default(),
        settings: wish.settings,
        repository: None,
        enabled: true,
    };
    client.create_policy(&new).await.expect("a policy").id
}

fn only(path: &Path) -> Sources {
    Sources { paths: vec![path.to_str().expect("a path in UTF-8").to_owned()], excludes: Vec::new() }
}

/// How a completed task ended.
///
/// # Panics
/// When it is not completed.
#[must_use]
pub fn result(task: &Task) -> ResultCode {
    task.result.as_ref().expect("a completed task has a result").code
}

/// The backup that a task made.
///
/// # Panics
/// When there is more than one.
pub async fn only_backup(client: &Client, task: i64) -> Option<Backup> {
    let mut backups = client.backups(&ListQuery::new().filter("task", task)).await.expect("backups").items;
    assert!(backups.len() <= 1, "task {task} has {} backups", backups.len());
    backups.pop()
}
