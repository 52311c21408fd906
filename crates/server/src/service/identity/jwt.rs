//! Signed tokens in the compact form of RFC 7515, with the one algorithm that is used here: ES256. What a token says of
//! itself chooses only the key; another algorithm, type or header member is refused before anything else is looked at.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{Code, Error, Result, Uuid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The longest token that is made or read, in bytes.
pub(super) const MAX_LEN: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Algorithm {
    #[serde(rename = "ES256")]
    Es256,
}

/// What a token is for; one is never taken for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Type {
    /// Opens the APIs (RFC 9068).
    #[serde(rename = "at+jwt")]
    Access,
    /// Tells the client who signed in, and opens nothing.
    #[serde(rename = "JWT")]
    Identity,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: Algorithm,
    typ: Type,
    kid: Uuid,
}

/// The token with these claims.
pub(super) fn sign(key: &EcdsaKeyPair, kid: Uuid, typ: Type, claims: &impl Serialize) -> Result<String> {
    let unprintable = |e| Error::new(Code::Internal, format!("a claim cannot be written: {e}"));
    let header = serde_json::to_vec(&Header { alg: Algorithm::Es256, typ, kid }).map_err(unprintable)?;
    let claims = serde_json::to_vec(claims).map_err(unprintable)?;
    let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = key.sign(&SystemRandom::new(), token.as_bytes());
    let signature = signature.map_err(|_| Error::new(Code::Internal, "a token cannot be signed"))?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    if token.len() > MAX_LEN {
        return Err(Error::new(Code::Internal, "the claims of a token are too long"));
    }
    Ok(token)
}

/// A token whose signature was not looked at yet.
pub(super) struct Unverified<'t> {
    /// What it is for, as it says.
    pub(super) typ: Type,
    /// Under which key it was signed, as it says.
    pub(super) kid: Uuid,
    signed: &'t str,
    claims: &'t str,
    signature: Vec<u8>,
}

impl Unverified<'_> {
    /// The token, if it has the form of one of ours.
    pub(super) fn read(token: &str) -> Option<Unverified<'_>> {
        if token.len() > MAX_LEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some(Unverified { typ: header.typ, kid: header.kid, signed, claims, signature })
    }

    /// The claims, if the signature is right.
    pub(super) fn verify<C: DeserializeOwned>(&self, key: &ParsedPublicKey) -> Option<C> {
        key.verify_sig(self.signed.as_bytes(), &self.signature).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(self.claims).ok()?).ok()
    }
}
