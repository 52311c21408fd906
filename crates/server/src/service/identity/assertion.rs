//! What a program signs to show who it is: a JWT under one of its keys, with the one algorithm PS256 (contract for Yandex
//! clients, Y19). Every refusal says why, since the programs of others only pass the text on.

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::identity::ClientKey;
use domain::{Code, Error, Result, Timestamp, Uuid};
use serde::Deserialize;

use super::client_keys::public_der;

/// The longest life that an assertion may give itself, in seconds.
const LONGEST: f64 = 3600.0;
/// How far clocks may differ, in seconds.
const SKEW: f64 = 60.0;

/// An assertion whose signature was not looked at yet.
pub(super) struct Assertion<'t> {
    header: Header,
    signed: &'t str,
    claims: Claims,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    /// Extensions that a reader must understand; there are none here.
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    aud: Option<Audience>,
    iat: Option<f64>,
    exp: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// The refusal of an assertion.
pub(super) fn refused(why: &str) -> Error {
    Error::new(Code::Unauthenticated, format!("the JWT is refused: {why}"))
}

impl Assertion<'_> {
    /// The assertion in a text.
    pub(super) fn read(jwt: &str) -> Result<Assertion<'_>> {
        let parts = || {
            let (signed, signature) = jwt.rsplit_once('.')?;
            let (header, claims) = signed.split_once('.')?;
            let header = serde_json::from_slice::<Header>(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
            let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
            Some((header, claims, signed, URL_SAFE_NO_PAD.decode(signature).ok()?))
        };
        let (header, claims, signed, signature) = parts().ok_or_else(|| refused("it is not readable"))?;
        if header.alg != "PS256" {
            return Err(refused("its algorithm (alg) is not PS256"));
        }
        if header.typ.as_deref().is_some_and(|t| t != "JWT") {
            return Err(refused("its type (typ) is not JWT"));
        }
        if header.crit.is_some() {
            return Err(refused("it has critical header members (crit)"));
        }
        let claims = serde_json::from_slice(&claims).map_err(|_| refused("its claims are not readable"))?;
        Ok(Assertion { header, signed, claims, signature })
    }

    /// Under which key it was signed, as it says.
    pub(super) fn kid(&self) -> &str {
        self.header.kid.as_deref().unwrap_or_default()
    }

    /// Whether it was signed under this key, is meant for one of these audiences, and is valid now.
    pub(super) fn verify(&self, key: &ClientKey, audiences: &[String], now: Timestamp) -> Result<()> {
        let public = public_der(&key.public_key)
            .ok_or_else(|| Error::new(Code::LedgerDamaged, format!("the key '{}' cannot be read", key.id)))?;
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, public)
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| refused("its signature is wrong"))?;
        let claims = &self.claims;
        if claims.iss.as_deref().and_then(|iss| Uuid::try_parse(iss).ok()) != Some(key.client) {
            return Err(refused("its issuer (iss) is not the service account of its key"));
        }
        let given: &[String] = match &claims.aud {
            Some(Audience::One(one)) => std::slice::from_ref(one),
            Some(Audience::Many(many)) => many,
            None => &[],
        };
        if !given.iter().any(|aud| audiences.contains(aud)) {
            return Err(refused(&format!("its audience (aud) is none of {}", audiences.join(", "))));
        }
        let (Some(iat), Some(exp)) = (claims.iat, claims.exp) else {
            return Err(refused("it has no times (iat, exp)"));
        };
        let now = now.as_second() as f64;
        if exp - iat > LONGEST {
            return Err(refused("it lives for more than an hour (exp - iat)"));
        }
        if iat > now + SKEW {
            return Err(refused("it was issued in the future (iat); check the clock"));
        }
        if exp < now - SKEW {
            return Err(refused("it has expired (exp)"));
        }
        Ok(())
    }
}
