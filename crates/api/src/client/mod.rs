//! A client for the native API: one method for each operation, named as the operation is.

// long: a method for each operation, a few lines each

mod error;
mod events;
mod query;

use std::fmt::Display;
use std::time::Duration;

use domain::Uuid;
use reqwest::{Certificate, Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::{ApiError, Error, Result};
pub use events::Events;
pub use query::ListQuery;

use crate::{
    Activity, Agent, ApiClient, ApiClientWithSecret, Application, AuditEntry, Backup, ClientKey, ClientKeyFile,
    Enrolment, FileList, Health, Join, Joined, KeySet, List, Me, NewApiClient, NewEnrolment, NewNotificationChannel,
    NewPassword, NewPolicy, NewRepository, NewResource, NewTenant, NewToken, NewUser, NotificationChannel,
    NotificationChannelChange, NotificationChannelCreated, NotificationTest, Policy, PolicyChange, PolicyPreview,
    PolicyRun, Repository, RepositoryChange, RepositoryKey, RepositoryTest, Resource, ResourceChange, Restore,
    SigningKey, Task, TaskCounts, Tenant, TenantChange, TestRepository, Token, TokenCreated, User, UserWithPassword,
    Verify, Version,
};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take; listing the files of a backup asks the agent and may be slow.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a certificate may be, in bytes.
const MAX_AUTHORITY: usize = 64 * 1024;

/// A client for one server, as one caller. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: String,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client for the server at `base_url`, like `https://backup.example:8443`; an empty token asks as nobody, which
    /// is enough for `health` and `version`. With `ca_pem`, only certificates of that authority are trusted.
    ///
    /// # Errors
    /// [`Error::Setup`] when the address, the certificate or the token cannot be used.
    pub fn new(base_url: &str, token: &str, ca_pem: Option<&[u8]>) -> Result<Client> {
        let mut base = Url::parse(base_url.trim_end_matches('/'))
            .map_err(|e| Error::Setup(format!("'{base_url}' is no address of a server: {e}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(Error::Setup(format!(
                "'{base_url}' is no address of a server; it should look like https://backup.example:8443"
            )));
        }
        if token.chars().any(|c| !c.is_ascii_graphic()) {
            return Err(Error::Setup("the token holds characters that no token has".to_owned()));
        }
        base.set_query(None);
        base.set_fragment(None);
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("backstay/", env!("CARGO_PKG_VERSION")))
            // A redirect could carry the token elsewhere; this API never redirects.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = ca_pem {
            let certificates = Certificate::from_pem_bundle(pem)
                .map_err(|e| Error::Setup(format!("the CA certificate cannot be read: {}", error::root_cause(&e))))?;
            if certificates.is_empty() {
                return Err(Error::Setup("the CA file holds no certificate".to_owned()));
            }
            http = http.tls_certs_only(certificates);
        }
        let http = http.build().map_err(|e| Error::Setup(format!("cannot set up TLS: {}", error::root_cause(&e))))?;
        Ok(Client { http, base, token: token.to_owned() })
    }

    /// The address of the server.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Whether the server can work. Needs no token.
    pub async fn health(&self) -> Result<Health> {
        self.get(&["health"], &[]).await
    }

    /// Which server it is. Needs no token.
    pub async fn version(&self) -> Result<Version> {
        self.get(&["version"], &[]).await
    }

    /// Who is asking.
    pub async fn me(&self) -> Result<Me> {
        self.get(&["me"], &[]).await
    }

    /// Tasks that match.
    pub async fn tasks(&self, query: &ListQuery) -> Result<List<Task>> {
        self.get(&["tasks"], query.pairs()).await
    }

    /// One task, by its number or uuid.
    pub async fn task(&self, id: impl Display) -> Result<Task> {
        self.get(&["tasks", &id.to_string()], &[]).await
    }

    /// Asks for a task to be cancelled.
    pub async fn cancel_task(&self, id: impl Display) -> Result<Task> {
        self.send(Method::POST, &["tasks", &id.to_string(), "cancel"], &Nothing {}).await
    }

    /// How many tasks match, by the values of up to two fields.
    pub async fn task_counts(&self, query: &ListQuery, by: &[&str]) -> Result<TaskCounts> {
        let mut pairs = query.pairs().to_vec();
        pairs.push(("by".to_owned(), by.join(",")));
        self.get(&["tasks", "counts"], &pairs).await
    }

    /// The steps of a task.
    pub async fn task_activities(&self, id: impl Display, query: &ListQuery) -> Result<List<Activity>> {
        self.get(&["tasks", &id.to_string(), "activities"], query.pairs()).await
    }

    /// Tasks that match, as they change, from a revision on, or from now on. Reconnects by itself and goes on where it
    /// was; ends after an error that reconnecting does not cure.
    pub fn task_events(&self, query: &ListQuery, since: Option<i64>) -> Events {
        Events::new(self.clone(), query.pairs().to_vec(), since)
    }

    /// Activities that match.
    pub async fn activities(&self, query: &ListQuery) -> Result<List<Activity>> {
        self.get(&["activities"], query.pairs()).await
    }

    /// One activity, by its number or uuid.
    pub async fn activity(&self, id: impl Display) -> Result<Activity> {
        self.get(&["activities", &id.to_string()], &[]).await
    }

    /// Resources that match.
    pub async fn resources(&self, query: &ListQuery) -> Result<List<Resource>> {
        self.get(&["resources"], query.pairs()).await
    }

    /// One resource.
    pub async fn resource(&self, id: Uuid) -> Result<Resource> {
        self.get(&["resources", &id.to_string()], &[]).await
    }

    /// Registers a resource.
    pub async fn add_resource(&self, resource: &NewResource) -> Result<Resource> {
        self.send(Method::POST, &["resources"], resource).await
    }

    /// Changes a resource.
    pub async fn change_resource(&self, id: Uuid, change: &ResourceChange) -> Result<Resource> {
        self.send(Method::PATCH, &["resources", &id.to_string()], change).await
    }

    /// Deletes a resource; its backups stay.
    pub async fn delete_resource(&self, id: Uuid) -> Result<()> {
        self.delete(&["resources", &id.to_string()]).await
    }

    /// Policies that match.
    pub async fn policies(&self, query: &ListQuery) -> Result<List<Policy>> {
        self.get(&["policies"], query.pairs()).await
    }

    /// One policy.
    pub async fn policy(&self, id: Uuid) -> Result<Policy> {
        self.get(&["policies", &id.to_string()], &[]).await
    }

    /// Makes a policy.
    pub async fn create_policy(&self, policy: &NewPolicy) -> Result<Policy> {
        self.send(Method::POST, &["policies"], policy).await
    }

    /// Changes a policy.
    pub async fn change_policy(&self, id: Uuid, change: &PolicyChange) -> Result<Policy> {
        self.send(Method::PATCH, &["policies", &id.to_string()], change).await
    }

    /// What a policy will do: the next runs, and what retention would remove now.
    pub async fn policy_preview(&self, id: Uuid, resource: Option<Uuid>, count: Option<u32>) -> Result<PolicyPreview> {
        self.get(&["policies", &id.to_string(), "preview"], &previewed(resource, count)).await
    }

    /// What a policy would do if it were changed so.
    pub async fn preview_policy(
        &self,
        id: Uuid,
        change: &PolicyChange,
        resource: Option<Uuid>,
        count: Option<u32>,
    ) -> Result<PolicyPreview> {
        let path = ["policies", &id.to_string(), "preview"];
        self.read(self.request(Method::POST, &path, &previewed(resource, count))?.json(change)).await
    }

    /// Deletes a policy.
    pub async fn delete_policy(&self, id: Uuid) -> Result<()> {
        self.delete(&["policies", &id.to_string()]).await
    }

    /// Applications of policies to resources that match.
    pub async fn applications(&self, query: &ListQuery) -> Result<List<Application>> {
        self.get(&["applications"], query.pairs()).await
    }

    /// Applications of one policy.
    pub async fn policy_applications(&self, policy: Uuid, query: &ListQuery) -> Result<List<Application>> {
        self.get(&["policies", &policy.to_string(), "applications"], query.pairs()).await
    }

    /// Applies a policy to a resource; doing it again changes nothing.
    pub async fn apply_policy(&self, policy: Uuid, resource: Uuid) -> Result<Application> {
        let path = ["policies", &policy.to_string(), "applications", &resource.to_string()];
        self.send(Method::PUT, &path, &Nothing {}).await
    }

    /// Ends the application of a policy to a resource.
    pub async fn revoke_policy(&self, policy: Uuid, resource: Uuid) -> Result<()> {
        self.delete(&["policies", &policy.to_string(), "applications", &resource.to_string()]).await
    }

    /// Runs a policy now, for one resource or for all it is applied to; answers with the tasks it made.
    pub async fn run_policy(&self, policy: Uuid, resource: Option<Uuid>) -> Result<List<Task>> {
        self.send(Method::POST, &["policies", &policy.to_string(), "run"], &PolicyRun { resource }).await
    }

    /// Backups that match.
    pub async fn backups(&self, query: &ListQuery) -> Result<List<Backup>> {
        self.get(&["backups"], query.pairs()).await
    }

    /// One backup.
    pub async fn backup(&self, id: Uuid) -> Result<Backup> {
        self.get(&["backups", &id.to_string()], &[]).await
    }

    /// A folder of a backup: up to `limit` entries after the one named `after`.
    pub async fn backup_files(
        &self,
        id: Uuid,
        path: &str,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<FileList> {
        let mut pairs = vec![("path".to_owned(), path.to_owned())];
        pairs.extend(after.map(|a| ("after".to_owned(), a.to_owned())));
        pairs.extend(limit.map(|l| ("limit".to_owned(), l.to_string())));
        self.get(&["backups", &id.to_string(), "files"], &pairs).await
    }

    /// Restores a backup, or some paths of it; answers with the task.
    pub async fn restore(&self, backup: Uuid, restore: &Restore) -> Result<Task> {
        self.send(Method::POST, &["backups", &backup.to_string(), "restore"], restore).await
    }

    /// Verifies a backup, or some files of it; answers with the task.
    pub async fn verify_backup(&self, backup: Uuid, verify: &Verify) -> Result<Task> {
        self.send(Method::POST, &["backups", &backup.to_string(), "verify"], verify).await
    }

    /// Agents that match.
    pub async fn agents(&self, query: &ListQuery) -> Result<List<Agent>> {
        self.get(&["agents"], query.pairs()).await
    }

    /// Revokes an agent: it is let in no longer, until its machine joins anew.
    pub async fn revoke_agent(&self, id: Uuid) -> Result<Agent> {
        self.end(&["agents", &id.to_string()]).await
    }

    /// Lets a machine join; the token of its agent is in the answer, this once. Needs no token but that of the
    /// registration.
    pub async fn join(&self, join: &Join) -> Result<Joined> {
        self.send(Method::POST, &["agents", "join"], join).await
    }

    /// The one line with which machines install an agent and join; it holds a registration token.
    pub async fn enrol(&self, enrolment: &NewEnrolment) -> Result<Enrolment> {
        self.send(Method::POST, &["agents", "enrolments"], enrolment).await
    }

    /// Repositories that match.
    pub async fn repositories(&self, query: &ListQuery) -> Result<List<Repository>> {
        self.get(&["repositories"], query.pairs()).await
    }

    /// One repository.
    pub async fn repository(&self, id: Uuid) -> Result<Repository> {
        self.get(&["repositories", &id.to_string()], &[]).await
    }

    /// Adds a repository; the first backup makes it.
    pub async fn add_repository(&self, repository: &NewRepository) -> Result<Repository> {
        self.send(Method::POST, &["repositories"], repository).await
    }

    /// Changes a repository.
    pub async fn change_repository(&self, id: Uuid, change: &RepositoryChange) -> Result<Repository> {
        self.send(Method::PATCH, &["repositories", &id.to_string()], change).await
    }

    /// Forgets a repository that nothing uses.
    pub async fn remove_repository(&self, id: Uuid) -> Result<()> {
        self.delete(&["repositories", &id.to_string()]).await
    }

    /// Has an agent, this one or any, find out whether a backup would find its way to a repository.
    pub async fn test_repository(&self, id: Uuid, agent: Option<Uuid>) -> Result<RepositoryTest> {
        self.send(Method::POST, &["repositories", &id.to_string(), "test"], &TestRepository { agent }).await
    }

    /// What opens a repository without Backstay.
    pub async fn export_repository_key(&self, id: Uuid) -> Result<RepositoryKey> {
        self.send(Method::POST, &["repositories", &id.to_string(), "key"], &Nothing {}).await
    }

    /// Channels of notifications that match.
    pub async fn notification_channels(&self, query: &ListQuery) -> Result<List<NotificationChannel>> {
        self.get(&["notification-channels"], query.pairs()).await
    }

    /// One channel of notifications, and how far it is.
    pub async fn notification_channel(&self, id: Uuid) -> Result<NotificationChannel> {
        self.get(&["notification-channels", &id.to_string()], &[]).await
    }

    /// Makes a channel of notifications; the secret of a webhook is in the answer, this once.
    pub async fn create_notification_channel(
        &self,
        channel: &NewNotificationChannel,
    ) -> Result<NotificationChannelCreated> {
        self.send(Method::POST, &["notification-channels"], channel).await
    }

    /// Changes a channel of notifications.
    pub async fn change_notification_channel(
        &self,
        id: Uuid,
        change: &NotificationChannelChange,
    ) -> Result<NotificationChannel> {
        self.send(Method::PATCH, &["notification-channels", &id.to_string()], change).await
    }

    /// Removes a channel of notifications.
    pub async fn remove_notification_channel(&self, id: Uuid) -> Result<()> {
        self.delete(&["notification-channels", &id.to_string()]).await
    }

    /// Gives a webhook another secret; it is in the answer, this once.
    pub async fn rotate_notification_secret(&self, id: Uuid) -> Result<NotificationChannelCreated> {
        self.send(Method::POST, &["notification-channels", &id.to_string(), "secret"], &Nothing {}).await
    }

    /// Sends a message to a channel that says that it is a test.
    pub async fn test_notification_channel(&self, id: Uuid) -> Result<NotificationTest> {
        self.send(Method::POST, &["notification-channels", &id.to_string(), "test"], &Nothing {}).await
    }

    /// Tenants that match.
    pub async fn tenants(&self, query: &ListQuery) -> Result<List<Tenant>> {
        self.get(&["tenants"], query.pairs()).await
    }

    /// One tenant.
    pub async fn tenant(&self, id: Uuid) -> Result<Tenant> {
        self.get(&["tenants", &id.to_string()], &[]).await
    }

    /// Makes a tenant.
    pub async fn create_tenant(&self, tenant: &NewTenant) -> Result<Tenant> {
        self.send(Method::POST, &["tenants"], tenant).await
    }

    /// Changes a tenant.
    pub async fn change_tenant(&self, id: Uuid, change: &TenantChange) -> Result<Tenant> {
        self.send(Method::PATCH, &["tenants", &id.to_string()], change).await
    }

    /// Deletes a tenant that has nothing below it, no resources and no policies.
    pub async fn delete_tenant(&self, id: Uuid) -> Result<()> {
        self.delete(&["tenants", &id.to_string()]).await
    }

    /// API tokens that match.
    pub async fn tokens(&self, query: &ListQuery) -> Result<List<Token>> {
        self.get(&["tokens"], query.pairs()).await
    }

    /// Makes an API token; its secret is in the answer, this once.
    pub async fn create_token(&self, token: &NewToken) -> Result<TokenCreated> {
        self.send(Method::POST, &["tokens"], token).await
    }

    /// Revokes an API token.
    pub async fn revoke_token(&self, id: Uuid) -> Result<Token> {
        self.end(&["tokens", &id.to_string()]).await
    }

    /// People who match.
    pub async fn users(&self, query: &ListQuery) -> Result<List<User>> {
        self.get(&["users"], query.pairs()).await
    }

    /// One person.
    pub async fn user(&self, id: Uuid) -> Result<User> {
        self.get(&["users", &id.to_string()], &[]).await
    }

    /// Lets a person in; a password that was made is in the answer, this once.
    pub async fn create_user(&self, user: &NewUser) -> Result<UserWithPassword> {
        self.send(Method::POST, &["users"], user).await
    }

    /// Gives a person another password; one that was made is in the answer, this once.
    pub async fn set_password(&self, id: Uuid, password: &NewPassword) -> Result<UserWithPassword> {
        self.send(Method::POST, &["users", &id.to_string(), "password"], password).await
    }

    /// Revokes a person's access.
    pub async fn revoke_user(&self, id: Uuid) -> Result<User> {
        self.end(&["users", &id.to_string()]).await
    }

    /// Programs that match.
    pub async fn clients(&self, query: &ListQuery) -> Result<List<ApiClient>> {
        self.get(&["clients"], query.pairs()).await
    }

    /// One program.
    pub async fn client(&self, id: Uuid) -> Result<ApiClient> {
        self.get(&["clients", &id.to_string()], &[]).await
    }

    /// Lets a program in; its secret is in the answer, this once.
    pub async fn create_client(&self, client: &NewApiClient) -> Result<ApiClientWithSecret> {
        self.send(Method::POST, &["clients"], client).await
    }

    /// Gives a program another secret, which is in the answer, this once.
    pub async fn rotate_client_secret(&self, id: Uuid) -> Result<ApiClientWithSecret> {
        self.send(Method::POST, &["clients", &id.to_string(), "secret"], &Nothing {}).await
    }

    /// Revokes a program's access.
    pub async fn revoke_client(&self, id: Uuid) -> Result<ApiClient> {
        self.end(&["clients", &id.to_string()]).await
    }

    /// Keys under which a program signs.
    pub async fn client_keys(&self, client: Uuid, query: &ListQuery) -> Result<List<ClientKey>> {
        self.get(&["clients", &client.to_string(), "keys"], query.pairs()).await
    }

    /// Makes a key for a program; its private half is in the answer, this once.
    pub async fn create_client_key(&self, client: Uuid) -> Result<ClientKeyFile> {
        self.send(Method::POST, &["clients", &client.to_string(), "keys"], &Nothing {}).await
    }

    /// Revokes a key of a program, and with it what is signed under it.
    pub async fn revoke_client_key(&self, client: Uuid, key: Uuid) -> Result<ClientKey> {
        self.end(&["clients", &client.to_string(), "keys", &key.to_string()]).await
    }

    /// Keys under which access tokens are signed.
    pub async fn signing_keys(&self, query: &ListQuery) -> Result<List<SigningKey>> {
        self.get(&["signing-keys"], query.pairs()).await
    }

    /// Makes a key that signs from now on.
    pub async fn rotate_signing_key(&self) -> Result<SigningKey> {
        self.send(Method::POST, &["signing-keys"], &Nothing {}).await
    }

    /// Revokes a key, and with it what was signed under it.
    pub async fn revoke_signing_key(&self, id: Uuid) -> Result<SigningKey> {
        self.end(&["signing-keys", &id.to_string()]).await
    }

    /// The public keys with which access tokens can be checked. Needs no token.
    pub async fn jwks(&self) -> Result<KeySet> {
        let request = self.request_below(crate::KEYS_PATH, Method::GET, &[], &[])?;
        self.read(request).await
    }

    /// Who did what.
    pub async fn audit_log(&self, query: &ListQuery) -> Result<List<AuditEntry>> {
        self.get(&["audit"], query.pairs()).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(String, String)]) -> Result<T> {
        let request = self.request(Method::GET, path, query)?;
        self.read(request).await
    }

    async fn send<T: DeserializeOwned>(&self, method: Method, path: &[&str], body: &impl Serialize) -> Result<T> {
        let request = self.request(method, path, &[])?.json(body);
        self.read(request).await
    }

    /// Ends what stays readable; answers with it.
    async fn end<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T> {
        let request = self.request(Method::DELETE, path, &[])?;
        self.read(request).await
    }

    async fn delete(&self, path: &[&str]) -> Result<()> {
        let request = self.request(Method::DELETE, path, &[])?;
        self.answer(request.timeout(ANSWER_TIMEOUT)).await.map(drop)
    }

    fn request(&self, method: Method, path: &[&str], query: &[(String, String)]) -> Result<reqwest::RequestBuilder> {
        self.request_below(crate::BASE_PATH, method, path, query)
    }

    fn request_below(
        &self,
        base: &str,
        method: Method,
        path: &[&str],
        query: &[(String, String)],
    ) -> Result<reqwest::RequestBuilder> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Error::Setup(format!("'{}' is no address of a server", self.base)))?
            .pop_if_empty()
            .extend(base.split('/').filter(|part| !part.is_empty()))
            .extend(path);
        let mut request = self.http.request(method, url);
        if !query.is_empty() {
            request = request.query(query);
        }
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        Ok(request)
    }

    async fn read<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T> {
        let answer = self.answer(request.timeout(ANSWER_TIMEOUT)).await?;
        let body = answer.bytes().await.map_err(|e| self.transport(&e))?;
        serde_json::from_slice(&body).map_err(|e| Error::Answer {
            message: format!("the answer of {} is not what this program understands: {e}", self.base_url()),
        })
    }

    /// The answer, if it is a success.
    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response> {
        let answer = request.send().await.map_err(|e| self.transport(&e))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let body = answer.bytes().await.map_err(|e| self.transport(&e))?;
        Err(error::refusal(status, &body, self.base_url()))
    }

    fn transport(&self, e: &reqwest::Error) -> Error {
        error::transport(e, self.base_url())
    }
}

/// The certificate, as PEM, of the authority that a server says is its own. Nobody has checked that it is: compare its
/// digest before it is trusted.
///
/// # Errors
/// When there is no such server, or it has none.
pub async fn untrusted_authority(base_url: &str) -> Result<String> {
    let named = Client::new(base_url, "", None)?;
    let http = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .tls_danger_accept_invalid_certs(true)
        .build()
        .map_err(|e| Error::Setup(format!("cannot set up TLS: {}", error::root_cause(&e))))?;
    let client = Client { http, ..named };
    let request = client.request_below(crate::CA_PATH, Method::GET, &[], &[])?;
    let mut answer = client.answer(request.timeout(ANSWER_TIMEOUT)).await?;
    let mut pem = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|e| client.transport(&e))? {
        pem.extend_from_slice(&part);
        if pem.len() > MAX_AUTHORITY {
            return Err(Error::Answer { message: format!("{base_url} sent something that is no certificate") });
        }
    }
    String::from_utf8(pem)
        .map_err(|_| Error::Answer { message: format!("{base_url} sent something that is no certificate") })
}

/// The body of a request that has nothing to say.
#[derive(Serialize)]
struct Nothing {}

/// What a preview is asked for.
fn previewed(resource: Option<Uuid>, count: Option<u32>) -> Vec<(String, String)> {
    let resource = resource.map(|r| ("resource".to_owned(), r.to_string()));
    let count = count.map(|c| ("count".to_owned(), c.to_string()));
    resource.into_iter().chain(count).collect()
}
