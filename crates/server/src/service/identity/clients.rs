//! Programs that ask for access tokens with an id and a secret.

use domain::identity::ApiClient;
use domain::query::{Query, RecordField, Slice};
use domain::{Actor, ActorKind, Caller, Result, Right, Role, Scope, Uuid};

use super::{Service, check_alive, check_within};
use crate::secrets::random_secret;

/// A program to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewClient {
    /// The tenant whose subtree is open to the program; the caller's own by default.
    pub tenant: Option<Uuid>,
    /// What it is for.
    pub name: String,
    /// What it may do; at most what the caller may.
    pub roles: Vec<Role>,
    /// The only executor it may act for when it takes tasks; none = any.
    pub executor: Option<String>,
}

impl Service {
    /// Lets a program in. Its secret stands in the answer and nowhere else.
    ///
    /// # Errors
    /// `forbidden` below admin or for a role above the caller's, `invalid_field`, `not_found` for a tenant out of scope,
    /// `unavailable` when too many secrets wait to be hashed.
    pub async fn create_client(&self, caller: &Caller, new: NewClient) -> Result<(ApiClient, String)> {
        let scope = caller.may(Right::Administer)?;
        check_within(caller, &new.roles)?;
        let tenant = self.owner(scope, new.tenant).await?;
        let now = self.moment().now;
        let mut client = ApiClient {
            id: Uuid::now_v7(),
            tenant: tenant.id,
            name: new.name,
            roles: new.roles,
            executor: new.executor,
            secret_hash: String::new(),
            created_at: now,
            updated_at: now,
            revoked_at: None,
        };
        client.validate()?;
        let secret = random_secret();
        client.secret_hash = self.identity.passwords.hash(secret.clone()).await?;
        Ok((self.create(caller, scope, client).await?, secret))
    }

    /// Programs that match; revoked ones too.
    ///
    /// # Errors
    /// `forbidden` below admin.
    pub async fn clients(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<ApiClient>> {
        let scope = caller.may(Right::Administer)?;
        Ok(self.ledger.list::<ApiClient>(scope, query).await?.map(|s| s.value))
    }

    /// One program. It may read its own record, whatever its roles are.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`.
    pub async fn client(&self, caller: &Caller, id: Uuid) -> Result<ApiClient> {
        let own = caller.actor == Actor { kind: ActorKind::Client, id };
        let everything = Scope::everything();
        let scope = if own { &everything } else { caller.may(Right::Administer)? };
        Ok(self.ledger.get::<ApiClient>(scope, id).await?.value)
    }

    /// Gives a program another secret. Access tokens that were granted for the old one live on to their end.
    ///
    /// # Errors
    /// `forbidden` below admin or for a program with a role above the caller's, `not_found`, `state_conflict` for one that
    /// is revoked, `unavailable` as for [`Service::create_client`].
    pub async fn rotate_client_secret(&self, caller: &Caller, id: Uuid) -> Result<(ApiClient, String)> {
        let scope = caller.may(Right::Administer)?;
        let check = |client: &ApiClient| {
            check_within(caller, &client.roles)?;
            check_alive("client", client.revoked_at.is_some())
        };
        // Also before the hash is made, which costs more than the look.
        check(&self.ledger.get::<ApiClient>(scope, id).await?.value)?;
        let secret = random_secret();
        let hash = self.identity.passwords.hash(secret.clone()).await?;
        let client = self.edit::<ApiClient>(caller, "rotate_secret", scope, id, |client| {
            check(client)?;
            client.secret_hash.clone_from(&hash);
            Ok(())
        });
        Ok((client.await?, secret))
    }

    /// Lets a program in no longer; access tokens end with it. Revoking again changes nothing.
    ///
    /// # Errors
    /// `forbidden` below admin or for a program with a role above the caller's, `not_found`.
    pub async fn revoke_client(&self, caller: &Caller, id: Uuid) -> Result<ApiClient> {
        let scope = caller.may(Right::Administer)?;
        let found = self.ledger.get::<ApiClient>(scope, id).await?.value;
        if found.revoked_at.is_some() {
            return Ok(found);
        }
        let now = self.moment().now;
        self.edit::<ApiClient>(caller, "revoke", scope, id, |client| {
            check_within(caller, &client.roles)?;
            client.revoked_at.get_or_insert(now);
            Ok(())
        })
        .await
    }
}
