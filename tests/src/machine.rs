//! A protected folder by the API: this machine as a resource, a manual policy for it, and what comes of running it.

use api::client::{Client, ListQuery};
use api::{Backup, NewPolicy, NewResource, Settings, Sources, Task};
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
    pub async fn protect(up: &Up<'_>, path: &std::path::Path) -> Machine {
        Machine::wished(up, path, Wish { name: "machine".to_owned(), ..Wish::default() }).await
    }

    /// Protects a path as wished.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn wished(up: &Up<'_>, path: &std::path::Path, wish: Wish) -> Machine {
        let client = up.client();
        let agent = match wish.agent {
            Some(agent) => agent,
            None => client.agents(&ListQuery::new()).await.expect("agents").items.first().expect("the local agent").id,
        };
        let path = path.to_str().expect("a path in UTF-8").to_owned();
        let new = NewResource {
            tenant: wish.tenant,
            instance_id: None,
            kind: wish.kind.unwrap_or(ResourceKind::BareMetal),
            name: wish.name.clone(),
            agent: Some(agent),
            sources: Sources { paths: vec![path], excludes: Vec::new() },
            metadata: serde_json::Value::Null,
        };
        let resource = client.add_resource(&new).await.expect("a resource").id;
        let new = NewPolicy {
            tenant: wish.tenant,
            name: wish.name,
            schedule: wish.schedule.unwrap_or(Schedule::Manual {}),
            retention: Default::default(),
            settings: wish.settings,
            repository: None,
            enabled: true,
        };
        let policy = client.create_policy(&new).await.expect("a policy").id;
        client.apply_policy(policy, resource).await.expect("an application");
        Machine { resource, policy }
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
