//! Repositories: where backups lie, and what opens the way there. The server never opens one itself: it seals what is
//! secret under its key file and hands it to the agent that runs a task, or to an administrator who keeps it for the day
//! when there is no server any more.

use std::collections::{BTreeMap, HashMap};

use domain::agent::Agent;
use domain::query::{Query, RecordField, Slice};
use domain::record::RecordKind;
use domain::repository::{Limits, Location, Repository, check_secret};
use domain::tenant::{Tenant, check_name};
use domain::{Caller, Code, Error, Result, Right, Scope, Uuid};
use ledger::{Expect, Stored, Write};
use serde_json::json;

use super::{RepositoryAccess, RepositoryTest, Service, stamped};
use crate::secrets::random_secret;

/// The name of the repository in the server's own data folder.
pub const LOCAL_REPOSITORY: &str = "local";

/// A repository that is asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct NewRepository {
    /// The owner, whose policies and those below it may store there; the caller's own tenant by default.
    pub tenant: Option<Uuid>,
    /// The name, unique on the server.
    pub name: String,
    /// Where it is, as restic writes it.
    pub url: String,
    /// The password of a repository that is there already; a new one gets a random one.
    pub password: Option<String>,
    /// What else opens the way there.
    pub secrets: BTreeMap<String, String>,
    /// How fast data may flow.
    pub limits: Limits,
}

/// A change of a repository; what is absent stays.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RepositoryChange {
    /// The name.
    pub name: Option<String>,
    /// Where it is now, with everything in it.
    pub url: Option<String>,
    /// Secrets that change, or go where there is no value.
    pub secrets: BTreeMap<String, Option<String>>,
    /// How fast data may flow there, in bytes a second; 0 = no limit.
    pub upload_limit: Option<u64>,
    /// How fast data may flow from there, in bytes a second; 0 = no limit.
    pub download_limit: Option<u64>,
}

/// What opens a repository without Backstay.
pub struct RepositoryKey {
    /// The repository.
    pub repository: Repository,
    /// What an agent would get.
    pub access: RepositoryAccess,
}

impl Service {
    /// Repositories that match.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn repositories(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<Repository>> {
        Ok(self.ledger.list::<Repository>(caller.may(Right::View)?, query).await?.map(|s| s.value))
    }

    /// One repository.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn repository(&self, caller: &Caller, id: Uuid) -> Result<Repository> {
        Ok(self.ledger.get::<Repository>(caller.may(Right::View)?, id).await?.value)
    }

    /// Adds a repository. Nothing is made or looked for yet: the first backup does that, and `test_repository` before it.
    ///
    /// # Errors
    /// `forbidden` below admin, `invalid_field`, `not_found` for the tenant, `already_exists` for the name.
    pub async fn add_repository(&self, caller: &Caller, new: NewRepository) -> Result<Repository> {
        let scope = caller.may(Right::Administer)?;
        check_name("name", &new.name)?;
        check_local(&new.name, "name")?;
        let location = Location::parse(&new.url)?;
        location.check_secrets(new.secrets.iter())?;
        new.limits.check(&location)?;
        if let Some(password) = &new.password {
            check_secret("password", password)?;
        }
        let tenant = self.owner(scope, new.tenant).await?;
        let now = self.moment().now;
        let mut sealed_secrets = BTreeMap::new();
        for (name, value) in &new.secrets {
            sealed_secrets.insert(name.clone(), self.seal(value)?);
        }
        let password = self.seal(&new.password.unwrap_or_else(random_secret))?;
        let repository = Repository {
            sealed_secrets,
            limits: new.limits,
            ..Repository::new(Uuid::now_v7(), tenant.id, new.name, new.url, password, now)
        };
        self.create(caller, scope, repository).await
    }

    /// Changes the name of a repository, where it is reached, how fast, or its secrets; what lies in it stays as it is. Its password
    /// stays too: it is in the repository.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`, `invalid_field`, `already_exists` for the name.
    pub async fn change_repository(&self, caller: &Caller, id: Uuid, change: RepositoryChange) -> Result<Repository> {
        let scope = caller.may(Right::Administer)?;
        let RepositoryChange { name, url, secrets, upload_limit, download_limit } = change;
        if let Some(name) = &name {
            check_name("name", name)?;
        }
        let mut sealed = BTreeMap::new();
        for (name, value) in &secrets {
            sealed.insert(name.clone(), value.as_ref().map(|value| self.seal(value)).transpose()?);
        }
        loop {
            let Stored { rev, value: mut repository } = self.ledger.get::<Repository>(scope, id).await?;
            if name.as_ref().is_some_and(|name| *name != repository.name) {
                check_local(&repository.name, "name")?;
                check_local(name.as_deref().unwrap_or_default(), "name")?;
            }
            if url.as_ref().is_some_and(|url| *url != repository.url) {
                check_local(&repository.name, "url")?;
            }
            let location = Location::parse(url.as_ref().unwrap_or(&repository.url))?;
            location.check_secrets(secrets.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))))?;
            for (name, value) in &sealed {
                match value {
                    Some(value) => repository.sealed_secrets.insert(name.clone(), value.clone()),
                    None => repository.sealed_secrets.remove(name),
                };
            }
            let mut limits = repository.limits;
            limits.upload = upload_limit.unwrap_or(limits.upload);
            limits.download = download_limit.unwrap_or(limits.download);
            limits.check(&location)?;
            // What meant something for another kind of place is not kept.
            repository.sealed_secrets.retain(|name, _| location.secrets().contains(&name.as_str()));
            let shown = |r: &Repository| json!({ "name": r.name, "url": r.shown_url(), "limits": r.limits });
            let before = shown(&repository);
            repository.name = name.clone().unwrap_or(repository.name);
            repository.url = url.clone().unwrap_or(repository.url);
            repository.limits = limits;
            let after = shown(&repository);
            // Which secrets were touched, never what they are.
            let detail = json!({ "before": before, "after": after, "secrets": secrets.keys().collect::<Vec<_>>() });
            let (tenant, object) = (repository.tenant, repository.name.clone());
            let entry =
                self.audit_entry_of(caller, "repository.change", tenant, repository.id.to_string(), object, detail);
            let writes = vec![Write::Put(Box::new(repository.into()), Expect::Rev(rev)), entry];
            match self.ledger.commit(scope, self.moment(), writes).await {
                Err(e) if e.code == Code::RevisionConflict => {}
                Err(e) => return Err(e),
                Ok(committed) => return stamped(committed),
            }
        }
    }

    /// Has an agent find out whether a backup would find its way to a repository, without changing anything there: this one, or
    /// any that is connected. The answer is its words.
    ///
    /// # Errors
    /// `forbidden` below operator, `not_found`, also for an agent that may not store there, `agent_offline`, `agent_silent`.
    pub async fn test_repository(
        &self,
        caller: &Caller,
        id: Uuid,
        agent: Option<Uuid>,
    ) -> Result<(Agent, RepositoryTest)> {
        let scope = caller.may(Right::Operate)?;
        let repository = self.ledger.get::<Repository>(scope, id).await?.value;
        let agent = match agent {
            Some(id) => {
                let agent = self.ledger.get::<Agent>(scope, id).await.map_err(|e| e.field("agent"))?.value;
                let owner = self.ledger.get::<Tenant>(&Scope::everything(), agent.tenant).await?.value;
                // What opens the repository goes to nobody else.
                if !self.serves(&repository, &owner).await? {
                    return Err(Error::not_found("agent", id).field("agent"));
                }
                agent
            }
            None => self.any_agent(repository.tenant).await?.ok_or_else(|| {
                Error::new(Code::AgentOffline, format!("no agent that may store in '{}' is connected", repository.name))
                    .hint("see `backstay agent list`; start an agent and try again")
            })?,
        };
        let test = self.hub.test_repository(agent.id, self.opened(&repository)?).await?;
        Ok((agent, test))
    }

    /// Forgets a repository that no policy stores in and no recovery point lies in. What is at its place stays there; only
    /// its password is gone.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`, `in_use`.
    pub async fn remove_repository(&self, caller: &Caller, id: Uuid) -> Result<()> {
        let scope = caller.may(Right::Administer)?;
        let repository = self.ledger.get::<Repository>(scope, id).await?.value;
        if repository.name == LOCAL_REPOSITORY {
            let message = format!("'{LOCAL_REPOSITORY}' is the repository in the server's own data folder");
            return Err(Error::new(Code::InUse, message).hint("it stays; let policies store elsewhere"));
        }
        let entry = self.audit(caller, "delete", &repository.into());
        self.ledger.commit(scope, self.moment(), vec![Write::Remove(RecordKind::Repository, id), entry]).await?;
        Ok(())
    }

    /// Gives out what opens a repository without Backstay. Who asked is on record before it is given.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`.
    pub async fn export_repository_key(&self, caller: &Caller, id: Uuid) -> Result<RepositoryKey> {
        let scope = caller.may(Right::Administer)?;
        let repository = self.ledger.get::<Repository>(scope, id).await?.value;
        let access = self.opened(&repository)?;
        let entry = self.audit(caller, "export_key", &repository.clone().into());
        self.ledger.commit(scope, self.moment(), vec![entry]).await?;
        Ok(RepositoryKey { repository, access })
    }

    /// Where repositories are, without anything secret. Who sees a backup may know where it lies, whoever owns that place.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn locations(&self, ids: impl IntoIterator<Item = Uuid>) -> Result<HashMap<Uuid, String>> {
        let found = self.by_id::<Repository>(&Scope::everything(), ids).await?;
        Ok(found.into_iter().map(|(id, repository)| (id, repository.shown_url())).collect())
    }

    /// What an agent needs to open a repository. It may belong to a tenant above the one whose backups lie in it.
    pub(super) async fn access(&self, repository: Uuid) -> Result<RepositoryAccess> {
        self.opened(&self.ledger.get::<Repository>(&Scope::everything(), repository).await?.value)
    }

    fn opened(&self, repository: &Repository) -> Result<RepositoryAccess> {
        let mut secrets = BTreeMap::new();
        for (name, sealed) in &repository.sealed_secrets {
            secrets.insert(name.clone(), self.sealer.open(sealed)?);
        }
        let password = self.sealer.open(&repository.sealed_password)?;
        Ok(RepositoryAccess { url: repository.url.clone(), password, secrets, limits: repository.limits })
    }
}

/// The server finds the repository of its own data folder by its name, and says where it is on each start.
fn check_local(name: &str, field: &str) -> Result<()> {
    if name == LOCAL_REPOSITORY {
        let message = format!("'{LOCAL_REPOSITORY}' is the repository in the server's own data folder");
        return Err(Error::invalid(field, message).hint("give another name, or leave it as it is"));
    }
    Ok(())
}
