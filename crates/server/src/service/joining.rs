//! Machines that join: a registration token is exchanged for an agent's token, and the machine becomes a resource, or the
//! one again that it was before (contract for Yandex clients, Y51, Y64, Y67). The registration is complete when the agent
//! connects for the first time.

#[cfg(test)]
mod tests;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use domain::agent::Agent;
use domain::policy::Policy;
use domain::resource::{Registration, Resource, ResourceKind, Sources, check_instance_id};
use domain::tenant::{MAX_NAME, Tenant, check_name};
use domain::token::{Joins, Token, TokenKind};
use domain::{Actor, ActorKind, Caller, Code, Error, Result, Right, Role, Scope, SignedDuration, Uuid, if_found};
use ledger::{Expect, Stored, Write};
use serde_json::json;

use super::Service;
use super::agents::{ATTEMPTS, came_between};
use crate::authority::Signed;
use crate::secrets::random_secret;

/// How long a registration token is accepted.
const VALID: SignedDuration = SignedDuration::from_hours(24);
/// The families of systems that there is an agent for.
const SYSTEMS: [&str; 2] = ["linux", "macos"];

/// What an agent says of its machine when it asks to join.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joining {
    /// The host's name.
    pub name: String,
    /// Operating system and architecture.
    pub os: String,
    /// The family of its operating system: `linux`, `windows`, `macos`.
    pub system: String,
    /// The agent's version.
    pub version: String,
    /// The id by which the machine wishes to be known: that of its cloud, or the one it had before.
    pub instance_id: Option<String>,
    /// Whether the machine is a virtual one.
    pub virtual_machine: bool,
    /// A request for a certificate, as PEM.
    pub csr: Option<String>,
}

/// A machine that joined.
#[derive(Clone, PartialEq)]
pub struct Joined {
    /// The resource it is.
    pub resource: Resource,
    /// The token with which its agent connects; given out here and never again.
    pub agent_token: String,
    /// The certificate without which that token is not accepted; none if none was asked for.
    pub certificate: Option<Signed>,
}

impl std::fmt::Debug for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joined").field("resource", &self.resource).finish_non_exhaustive()
    }
}

impl Service {
    /// Makes a registration token, good for any number of machines for a day; its secret is given out here and never again.
    ///
    /// # Errors
    /// `forbidden` below operator, `not_found` for a tenant or policy out of scope, `foreign_policy` for one that does not
    /// fit machines of the tenant.
    pub async fn registration_token(&self, caller: &Caller, tenant: Uuid, joins: Joins) -> Result<(Token, String)> {
        let scope = caller.may(Right::Operate)?;
        let tenant = self.live_tenant(scope, tenant).await.map_err(|e| e.field("tenant"))?;
        for id in &joins.policies {
            self.check_joins(scope, &tenant, *id).await?;
        }
        let secret = Uuid::new_v4().to_string();
        let name = "machines that join".to_owned();
        // The role says nothing: a registration token is no way into any API.
        let token = self.new_token(tenant.id, TokenKind::Registration, name, Role::Viewer, &secret);
        let expires_at = token.created_at.checked_add(VALID).ok();
        let token = Token { expires_at, joins: Some(joins), ..token };
        Ok((self.create(caller, scope, token).await?, secret))
    }

    /// Refuses a policy that machines which join a tenant cannot get.
    ///
    /// # Errors
    /// As [`Service::registration_token`].
    pub async fn check_policy_for_machines(&self, caller: &Caller, tenant: Uuid, policy: Uuid) -> Result<()> {
        let scope = caller.may(Right::Operate)?;
        let tenant = self.ledger.get::<Tenant>(scope, tenant).await.map_err(|e| e.field("tenant"))?.value;
        self.check_joins(scope, &tenant, policy).await
    }

    async fn check_joins(&self, scope: &Scope, tenant: &Tenant, policy: Uuid) -> Result<()> {
        let found = self.ledger.get::<Policy>(scope, policy).await.map_err(|e| e.field("policies"))?.value;
        let owner = self.ledger.get::<Tenant>(&Scope::everything(), found.tenant).await?.value;
        if Scope::subtree(&owner).contains(&tenant.locator) {
            return Ok(());
        }
        let message = format!("the policy '{policy}' belongs to a tenant that '{}' is not below", tenant.name);
        Err(Error::new(Code::ForeignPolicy, message)
            .hint("take a policy of the tenant of the machines, or of one above it"))
    }

    /// Whom a registration token stands for: machines that join its tenant, which may do there what joining needs.
    ///
    /// # Errors
    /// `unauthenticated` when it is unknown, revoked or expired.
    pub async fn registrar(&self, secret: &str) -> Result<Caller> {
        let token = self.registration(secret).await?;
        let tenant = self.tenant_of_token(token.tenant).await?;
        Ok(registrar(&Scope::subtree(&tenant)))
    }

    async fn registration(&self, secret: &str) -> Result<Token> {
        // As people may have typed it.
        let secret = secret.trim().to_ascii_lowercase();
        self.token_of(&secret, TokenKind::Registration).await.map_err(|e| match e.code {
            Code::Unauthenticated => Error::new(e.code, "the registration token is not known, or no longer valid")
                .hint("such tokens are good for a day; ask for a new one"),
            _ => e,
        })
    }

    /// Lets a machine join: it becomes a resource that is registering, and its agent gets a token to connect with. A
    /// machine that names the id it had is the same resource again, and its former agent is cut off. One that is not
    /// supported becomes a resource whose registration failed.
    ///
    /// # Errors
    /// `unauthenticated`, `invalid_field`, `disabled` for a certificate of a server without TLS, `registration_failed` for a machine that is not supported, `state_conflict` while
    /// the agent of the resource is connected.
    pub async fn join(&self, secret: &str, joining: Joining) -> Result<Joined> {
        let token = self.registration(secret).await?;
        check_name("name", &joining.name)?;
        let tenant = self.tenant_of_token(token.tenant).await?;
        let scope = Scope::subtree(&tenant);
        let joins = token.joins.unwrap_or_default();
        let mut attempts = 0..ATTEMPTS;
        loop {
            match self.join_once(&scope, &joins, &joining).await {
                Err(e) if came_between(&e) && attempts.next().is_some() => {}
                other => return other,
            }
        }
    }

    async fn join_once(&self, scope: &Scope, joins: &Joins, joining: &Joining) -> Result<Joined> {
        let former = self.former(scope, joining.instance_id.as_deref()).await?;
        let instance_id = match (&former, &joining.instance_id) {
            (Place::Own(former), _) => former.value.instance_id.clone(),
            (Place::Free, Some(wished)) => wished.clone(),
            (Place::Free | Place::Taken, _) => issued_id(),
        };
        let found = if joining.virtual_machine { ResourceKind::ComputeVm } else { ResourceKind::BareMetal };
        let moment = self.moment();
        let supported = SYSTEMS.contains(&joining.system.as_str());
        let short = |text: &str| text.chars().take(MAX_NAME).collect::<String>();
        let mut details = json!({ "step": "join", "os": short(&joining.os), "agent_version": short(&joining.version) });
        if !supported {
            details["reason"] = json!(format!("there is no agent for the system '{}'", short(&joining.system)));
        }
        let resource = Resource {
            id: Uuid::now_v7(),
            tenant: scope.tenant(),
            instance_id,
            kind: joins.kind.unwrap_or(found),
            name: joining.name.clone(),
            agent: None,
            sources: Sources::default(),
            enabled: true,
            active: true,
            external: joins.external,
            live_recovery: false,
            registration: if supported { Registration::Registering } else { Registration::Failed },
            registration_details: details,
            last_backup_at: None,
            metadata: serde_json::Value::Null,
            created_at: moment.now,
            updated_at: moment.now,
            deleted_at: None,
        };
        let secret = format!("bsa_{}", random_secret());
        let mut writes = Vec::new();
        // As the vendor names these events.
        let mut event = "InitResource";
        let resource = match former {
            Place::Own(Stored { rev, value: former }) => {
                if former.deleted_at.is_none() {
                    event = "UpdateResource";
                }
                let again = Resource {
                    metadata: former.metadata.clone(),
                    agent: former.agent,
                    ..resource.in_place_of(&former)
                };
                let again = match former.deleted_at {
                    Some(_) => again,
                    // What people said of it stays, unless it was taken out meanwhile.
                    None => Resource {
                        name: former.name,
                        sources: former.sources,
                        enabled: former.enabled,
                        live_recovery: former.live_recovery,
                        ..again
                    },
                };
                writes.push(Write::Put(Box::new(again.clone().into()), Expect::Rev(rev)));
                again
            }
            Place::Free | Place::Taken => {
                writes.push(Write::Put(Box::new(resource.clone().into()), Expect::New));
                resource
            }
        };
        let name = format!("agent of {}", resource.instance_id);
        let former = if supported { self.former_agent(&resource).await? } else { None };
        // The record of the agent whose place is taken stays; a new one gets this id when it connects.
        let agent = former.as_ref().map_or_else(Uuid::now_v7, |(agent, _)| agent.value.id);
        let certificate = joining.csr.as_deref().map(|csr| self.sign_certificate(csr, agent)).transpose()?;
        let token = Token {
            joins: Some(joins.clone()),
            resource: Some(resource.id),
            certified: certificate.as_ref().map(|_| agent),
            ..self.new_token(resource.tenant, TokenKind::Agent, name, Role::Operator, &secret)
        };
        if supported {
            writes.extend(former.into_iter().flat_map(|former| self.taking_over(former, &token, certificate.as_ref())));
            writes.push(Write::Put(Box::new(token.into()), Expect::New));
        }
        let (tenant, object, name) = (resource.tenant, resource.id.to_string(), resource.name.clone());
        writes.push(self.audit_entry(&registrar(scope), event, tenant, object, name));
        self.ledger.commit(scope, moment, writes).await?;
        if supported {
            return Ok(Joined { resource, agent_token: secret, certificate });
        }
        self.registration_settled(&resource).await?;
        let reason = resource.registration_details["reason"].as_str().unwrap_or_default().to_owned();
        Err(Error::new(Code::RegistrationFailed, reason).hint(format!("it runs on: {}", SYSTEMS.join(", "))))
    }

    /// The resource that a machine was before, if it may be that one again.
    async fn former(&self, scope: &Scope, wished: Option<&str>) -> Result<Place> {
        let Some(wished) = wished.filter(|id| check_instance_id(id).is_ok()) else { return Ok(Place::Taken) };
        let Some(found) = self.ledger.find::<Resource>(&Scope::everything(), wished).await? else {
            return Ok(Place::Free);
        };
        if found.value.tenant != scope.tenant() {
            return Ok(Place::Taken);
        }
        if found.value.agent.is_some_and(|agent| self.hub.online(agent)) {
            let message = format!("the agent of '{wished}' is connected, so no other can take its place");
            return Err(Error::new(Code::StateConflict, message)
                .hint("stop that agent first; two machines with one id must have ids of their own"));
        }
        Ok(Place::Own(found))
    }

    /// The resource's own agent of before, and its token.
    async fn former_agent(&self, resource: &Resource) -> Result<Option<(Stored<Agent>, Stored<Token>)>> {
        let everything = Scope::everything();
        let Some(agent) = resource.agent else { return Ok(None) };
        let Some(agent) = if_found(self.ledger.get::<Agent>(&everything, agent).await)? else { return Ok(None) };
        let token = if_found(self.ledger.get::<Token>(&everything, agent.value.token).await)?;
        Ok(token.filter(|t| t.value.resource == Some(resource.id)).map(|token| (agent, token)))
    }

    /// What is to be written for a new token to take the place of the one that the agent had. The agent's record stays the
    /// same, and so do the tasks that wait for it.
    fn taking_over(
        &self,
        (agent, mut token): (Stored<Agent>, Stored<Token>),
        new: &Token,
        certificate: Option<&Signed>,
    ) -> [Write; 2] {
        token.value.revoked_at.get_or_insert(self.moment().now);
        let certificate = certificate.map(|signed| signed.dates);
        let agent_now = Agent { token: new.id, certificate, revoked_at: None, ..agent.value };
        [
            Write::Put(Box::new(token.value.into()), Expect::Rev(token.rev)),
            Write::Put(Box::new(agent_now.into()), Expect::Rev(agent.rev)),
        ]
    }

    /// Completes the registration of the machine that joined and whose agent connects now for the first time.
    pub(super) async fn complete_registration(&self, token: &Token, agent: &Agent) -> Result<()> {
        let Some(id) = token.resource else { return Ok(()) };
        let everything = Scope::everything();
        let mut attempts = 0..ATTEMPTS;
        let (tenant, policies) = loop {
            let Some(found) = if_found(self.ledger.get::<Resource>(&everything, id).await)? else { return Ok(()) };
            let Stored { rev, value: resource } = found;
            if resource.registration != Registration::Registering {
                return Ok(());
            }
            let tenant = self.ledger.get::<Tenant>(&everything, resource.tenant).await?.value;
            let registered = Resource {
                agent: Some(agent.id),
                registration: Registration::Registered,
                registration_details: serde_json::Value::Null,
                ..resource
            };
            let by = registrar(&Scope::subtree(&tenant));
            let entry = self.audit_entry(&by, "RegisterResource", tenant.id, id.to_string(), registered.name.clone());
            let writes = vec![Write::Put(Box::new(registered.clone().into()), Expect::Rev(rev)), entry];
            match self.ledger.commit(&everything, self.moment(), writes).await {
                Err(e) if came_between(&e) && attempts.next().is_some() => {}
                Err(e) => return Err(e),
                Ok(_) => {
                    // Policies that were applied to it before.
                    self.registration_settled(&registered).await?;
                    break (tenant, token.joins.clone().unwrap_or_default().policies);
                }
            }
        };
        let by = Caller::server();
        for policy in policies {
            // A policy that was deleted meanwhile must not keep the machine out.
            if let Err(error) = self.apply_policy(&by, policy, id).await {
                tracing::warn!(%policy, resource = %id, tenant = tenant.name, %error, "a policy was not applied to a machine that joined");
            }
        }
        Ok(())
    }
}

/// What there is under the id that a machine wishes to have.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and not for long")]
enum Place {
    /// Nothing.
    Free,
    /// Another machine, or the wish is none: it gets another id.
    Taken,
    /// The resource that it was before.
    Own(Stored<Resource>),
}

/// Machines that join a tenant, as the one who asks.
fn registrar(scope: &Scope) -> Caller {
    let actor = Actor { kind: ActorKind::Server, id: Uuid::nil() };
    Caller::new("registration".to_owned(), actor, vec![Role::Operator], scope.clone())
}

/// An id for a machine that has none: 20 characters, as long as those that clouds give.
pub(super) fn issued_id() -> String {
    const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let random = SystemRandom::new();
    let mut id = "bst".to_owned();
    let mut byte = [0];
    while id.len() < 20 {
        random.fill(&mut byte).expect("the operating system gives randomness");
        // 252 is the largest multiple of 36 in a byte; what lies above would favour the first letters.
        if byte[0] < 252 {
            id.push(char::from(LETTERS[usize::from(byte[0] % 36)]));
        }
    }
    id
}
