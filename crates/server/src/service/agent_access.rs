//! Who is let in as an agent: its token, and with it the certificate of the same agent once it has one. Certificates are
//! signed here, and agents are revoked.

use domain::agent::Agent;
use domain::record::Record;
use domain::token::{Token, TokenKind};
use domain::{Caller, Code, Error, Result, Right, Scope, Uuid, if_found};
use ledger::{Expect, Write};

use super::agents::{ATTEMPTS, came_between};
use super::tokens::hash_secret;
use super::{AgentIdentity, AgentView, Command, Service};
use crate::authority::{Authority, ClientCertificate, Signed};

pub(super) const TOKEN_HINT: &str = "start the agent with a valid agent token; an administrator can make one";
const JOIN_HINT: &str =
    "if this machine shall be backed up, let it join anew: `backstay agent enroll` prints the line for it";

impl Service {
    /// The same services, with an authority that signs certificates of agents.
    #[must_use]
    pub fn certifying(self, authority: Authority) -> Service {
        Service { authority: Some(authority), ..self }
    }

    /// The token with this secret, if it is an agent's, valid now, and comes with the certificate that it needs.
    ///
    /// # Errors
    /// `unauthenticated` otherwise. Whoever has the secret is told what is wrong.
    pub async fn agent_token(&self, secret: &str, shown: Option<ClientCertificate>) -> Result<Token> {
        let refused = |message: String, hint: &str| Err(Error::new(Code::Unauthenticated, message).hint(hint));
        let found = self.ledger.find::<Token>(&Scope::everything(), &hash_secret(secret)).await?;
        let Some(token) = found.map(|t| t.value).filter(|t| t.kind == TokenKind::Agent) else {
            return refused("the agent's token is not known".to_owned(), TOKEN_HINT);
        };
        let now = self.moment().now;
        if let Some(at) = token.revoked_at {
            let what = if token.resource.is_some() {
                "the agent was revoked, its resource was deleted, or its machine joined once more"
            } else {
                "the token was revoked"
            };
            return refused(format!("the agent is not let in any more: {what} ({})", second(at)), JOIN_HINT);
        }
        if !token.valid_at(now) {
            return refused("the agent's token has expired".to_owned(), TOKEN_HINT);
        }
        if let Some(certificate) = shown
            && certificate.dates.expires_at <= now
        {
            let message = format!("the agent's certificate expired at {}", second(certificate.dates.expires_at));
            return refused(message, JOIN_HINT);
        }
        match (token.certified, shown) {
            (None, None) => Ok(token),
            (Some(agent), Some(certificate)) if certificate.agent == Some(agent) => Ok(token),
            (Some(_), None) => refused("the agent's token came without its certificate".to_owned(), JOIN_HINT),
            // The first time that it shows the certificate it was given over the link.
            (None, Some(certificate)) if self.is_of(&token, certificate).await? => Ok(token),
            (_, Some(_)) => refused("the certificate is that of another agent than the token".to_owned(), JOIN_HINT),
        }
    }

    async fn is_of(&self, token: &Token, certificate: ClientCertificate) -> Result<bool> {
        let agent = self.ledger.find::<Agent>(&Scope::everything(), &token.id.to_string()).await?;
        Ok(agent.is_some_and(|agent| certificate.agent == Some(agent.value.id)))
    }

    /// From now on the token is not accepted without the certificate that came with it.
    pub(super) async fn bind(&self, token: &Token, agent: &Agent, shown: Option<ClientCertificate>) -> Result<()> {
        if shown.is_none() || token.certified.is_some() {
            return Ok(());
        }
        let certified = |token: &mut Token| {
            token.certified = Some(agent.id);
            Ok(())
        };
        self.edit::<Token>(&Caller::server(), "certify", &Scope::everything(), token.id, certified).await.map(|_| ())
    }

    /// Signs a certificate for an agent that is connected: its first, or the next.
    ///
    /// # Errors
    /// `unauthenticated` when its token is no longer valid, `disabled` on a server without an authority, `invalid_field`.
    pub async fn renew_certificate(&self, agent: &AgentIdentity, csr: &str) -> Result<Signed> {
        self.check_token(agent).await?;
        let signed = self.sign_certificate(csr, agent.id())?;
        let dates = signed.dates;
        let certified = |agent: &mut Agent| {
            agent.certificate = Some(dates);
            Ok(())
        };
        self.edit::<Agent>(&Caller::server(), "certify", &Scope::everything(), agent.id(), certified).await?;
        Ok(signed)
    }

    pub(super) fn sign_certificate(&self, csr: &str, agent: Uuid) -> Result<Signed> {
        let none = || Error::new(Code::Disabled, "this server signs no certificates");
        self.authority.as_ref().ok_or_else(none)?.sign(csr, agent, self.moment().now)
    }

    /// Revokes an agent: its session ends, and neither its token nor its certificate is accepted any more. Its tasks are
    /// given up when nothing is heard of them. Revoking it again changes nothing.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`.
    pub async fn revoke_agent(&self, caller: &Caller, id: Uuid) -> Result<AgentView> {
        let scope = caller.may(Right::Administer)?;
        let mut attempts = 0..ATTEMPTS;
        let agent = loop {
            let mut agent = self.ledger.get::<Agent>(scope, id).await?;
            if agent.value.revoked_at.is_some() {
                break agent.value;
            }
            let now = self.moment().now;
            agent.value.revoked_at = Some(now);
            let record: Record = agent.value.clone().into();
            let entry = self.audit(caller, "revoke", &record);
            let mut writes = vec![Write::Put(Box::new(record), Expect::Rev(agent.rev)), entry];
            if let Some(mut token) = if_found(self.ledger.get::<Token>(&Scope::everything(), agent.value.token).await)?
            {
                token.value.revoked_at.get_or_insert(now);
                writes.push(Write::Put(Box::new(token.value.into()), Expect::Rev(token.rev)));
            }
            match self.ledger.commit(scope, self.moment(), writes).await {
                Err(e) if came_between(&e) && attempts.next().is_some() => {}
                Err(e) => return Err(e),
                Ok(_) => break self.ledger.get::<Agent>(scope, id).await?.value,
            }
        };
        self.refuse(id, "the agent was revoked");
        Ok(AgentView { online: false, agent })
    }

    /// Ends the session of an agent that is let in no longer.
    pub(super) fn refuse(&self, agent: Uuid, why: &str) {
        self.hub.tell(agent, Command::Refused(Error::new(Code::Unauthenticated, why).hint(JOIN_HINT)));
    }
}

/// A time for people, to the second.
fn second(at: domain::Timestamp) -> String {
    domain::Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}
