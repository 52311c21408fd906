//! Keys with which programs show who they are by signing, so that the server knows no secret of theirs. The private key is
//! given out when it is made and kept nowhere.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::identity::{ApiClient, ClientKey};
use domain::query::{Query, RecordField, Slice, Value};
use domain::{Caller, Code, Error, Result, Right, Uuid};

use super::{Service, check_alive, check_within};

/// A key pair as text.
struct Pair {
    private: String,
    public: String,
}

impl Service {
    /// Makes a key for a program. The private key (PKCS#8, PEM) stands in the answer and nowhere else.
    ///
    /// # Errors
    /// `forbidden` below admin or for a program with a role above the caller's, `not_found`, `state_conflict` for one that
    /// is revoked.
    pub async fn create_client_key(&self, caller: &Caller, client: Uuid) -> Result<(ClientKey, String)> {
        let scope = caller.may(Right::Administer)?;
        let client = self.ledger.get::<ApiClient>(scope, client).await?.value;
        check_within(caller, &client.roles)?;
        check_alive("client", client.revoked_at.is_some())?;
        let failed = |_| Error::new(Code::Internal, "the system gives no new key");
        // It takes a while to find the primes.
        let pair = tokio::task::spawn_blocking(generate).await.map_err(|_| failed(()))?.map_err(|()| failed(()))?;
        let now = self.moment().now;
        let key = ClientKey {
            id: Uuid::now_v7(),
            tenant: client.tenant,
            client: client.id,
            public_key: pair.public,
            created_at: now,
            updated_at: now,
            revoked_at: None,
        };
        Ok((self.create(caller, scope, key).await?, pair.private))
    }

    /// The keys of a program that match; revoked ones too.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found` for the program.
    pub async fn client_keys(
        &self,
        caller: &Caller,
        client: Uuid,
        query: &Query<RecordField>,
    ) -> Result<Slice<ClientKey>> {
        let scope = caller.may(Right::Administer)?;
        self.ledger.get::<ApiClient>(scope, client).await?;
        let mut query = query.clone();
        query.filter = query.filter.is(RecordField::Actor, Value::Uuid(client))?;
        Ok(self.ledger.list::<ClientKey>(scope, &query).await?.map(|s| s.value))
    }

    /// Revokes a key of a program: nothing that was signed under it is accepted any more. Tokens that were given for it
    /// before live on to their end. Revoking again changes nothing.
    ///
    /// # Errors
    /// `forbidden` below admin or for a program with a role above the caller's, `not_found`.
    pub async fn revoke_client_key(&self, caller: &Caller, client: Uuid, id: Uuid) -> Result<ClientKey> {
        let scope = caller.may(Right::Administer)?;
        let owner = self.ledger.get::<ApiClient>(scope, client).await?.value;
        let found = self.ledger.get::<ClientKey>(scope, id).await?.value;
        if found.client != client {
            return Err(Error::not_found("key", id));
        }
        if found.revoked_at.is_some() {
            return Ok(found);
        }
        check_within(caller, &owner.roles)?;
        let now = self.moment().now;
        self.edit::<ClientKey>(caller, "revoke", scope, id, |key| {
            key.revoked_at.get_or_insert(now);
            Ok(())
        })
        .await
    }
}

fn generate() -> Result<Pair, ()> {
    let pair = KeyPair::generate(KeySize::Rsa2048).map_err(drop)?;
    let private: Pkcs8V1Der<'_> = pair.as_der().map_err(drop)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(drop)?;
    Ok(Pair { private: pem("PRIVATE KEY", private.as_ref()), public: pem("PUBLIC KEY", public.as_ref()) })
}

/// The text form of a key (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for (i, c) in body.chars().enumerate() {
        if i > 0 && i % 64 == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

/// The bytes of a public key in text form.
pub(super) fn public_der(pem: &str) -> Option<Vec<u8>> {
    let body = pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
    STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()
}
