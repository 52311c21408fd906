//! Secrets at rest: random ones are made here, and what must be read back is sealed under the server's key file.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::{fs, io};

use anyhow::{Context, anyhow, bail};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use domain::{Code, Error, Result};

const KEY_LEN: usize = 32;

/// Seals and opens secrets with AES-256-GCM; the nonce stands before the sealed text, all in base64.
pub struct Sealer {
    key: RandomizedNonceKey,
    derive: hmac::Key,
}

impl Sealer {
    /// The sealer with this key.
    ///
    /// # Errors
    /// When the key has not 32 bytes.
    pub fn new(key: &[u8]) -> anyhow::Result<Sealer> {
        let derive = hmac::Key::new(hmac::HMAC_SHA256, key);
        let key =
            RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| anyhow::anyhow!("the key has not 32 bytes"))?;
        Ok(Sealer { key, derive })
    }

    /// A key for authenticating texts of one purpose, the same after every restart.
    #[must_use]
    pub fn mac_key(&self, purpose: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&self.derive, purpose.as_bytes()).as_ref())
    }

    /// Seals bytes under a key of one purpose, the same after every restart; the nonce and what is sealed.
    ///
    /// # Errors
    /// `internal` when the system gives no randomness.
    pub fn seal_for(&self, purpose: &str, mut plain: Vec<u8>) -> Result<([u8; NONCE_LEN], Vec<u8>)> {
        let none = || Error::new(Code::Internal, "the system gives no randomness");
        let key = self.key_for(purpose).ok_or_else(none)?;
        let nonce = key.seal_in_place_append_tag(Aad::empty(), &mut plain).map_err(|_| none())?;
        Ok((*nonce.as_ref(), plain))
    }

    /// Opens what was sealed for this purpose; none for anything else.
    #[must_use]
    pub fn open_for(&self, purpose: &str, nonce: &[u8], mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.key_for(purpose)?.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?.len();
        sealed.truncate(plain);
        Some(sealed)
    }

    /// Many short-lived things are sealed, and their nonces are drawn: under a key of their own they cannot use up the one
    /// of what is kept for years.
    fn key_for(&self, purpose: &str) -> Option<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM, hmac::sign(&self.derive, purpose.as_bytes()).as_ref()).ok()
    }

    /// The sealer with the key in this file, which is made with mode 0600 if it is not there.
    ///
    /// # Errors
    /// When the file cannot be read or made, or holds no key.
    pub fn from_file(path: &Path) -> anyhow::Result<Sealer> {
        if !path.try_exists().with_context(|| format!("cannot read the server key {}", path.display()))? {
            write_private(path, &format!("{}\n", STANDARD.encode(random_bytes())))?;
        }
        Sealer::read(path)
    }

    /// The sealer with the key in this file.
    ///
    /// # Errors
    /// When the file cannot be read or holds no key.
    pub fn read(path: &Path) -> anyhow::Result<Sealer> {
        const HOW: &str = "restore it from a copy: without it the repository passwords in the ledger cannot be read";
        let place = path.display();
        let text = fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow!("the server key {place} is missing; {HOW}"),
            _ => anyhow!("cannot read the server key {place}: {error}"),
        })?;
        let Some(key) = STANDARD.decode(text.trim()).ok().filter(|k| k.len() == KEY_LEN) else {
            bail!("{place} holds no server key; {HOW}");
        };
        Sealer::new(&key)
    }

    /// Seals a text.
    ///
    /// # Errors
    /// `internal` when the system gives no randomness.
    pub fn seal(&self, plain: &str) -> Result<String> {
        let mut bytes = plain.as_bytes().to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::empty(), &mut bytes)
            .map_err(|_| Error::new(Code::Internal, "the system gives no randomness"))?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.extend(bytes);
        Ok(STANDARD.encode(sealed))
    }

    /// Opens a sealed text.
    ///
    /// # Errors
    /// `internal` when it was sealed under another key or is damaged.
    pub fn open(&self, sealed: &str) -> Result<String> {
        let wrong = || {
            Error::new(Code::Internal, "a stored secret cannot be opened")
                .hint("the server's key file is not the one under which it was sealed; restore the right one")
        };
        let bytes = STANDARD.decode(sealed).map_err(|_| wrong())?;
        let (nonce, text) = bytes.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
        let mut text = text.to_vec();
        let plain = self.key.open_in_place(nonce, Aad::empty(), &mut text).map_err(|_| wrong())?;
        String::from_utf8(plain.to_vec()).map_err(|_| wrong())
    }
}

/// A random secret of 256 bits that can stand in a header, URL or shell word.
#[must_use]
pub fn random_secret() -> String {
    URL_SAFE_NO_PAD.encode(random_bytes())
}

/// 256 random bits.
pub(crate) fn random_bytes() -> [u8; KEY_LEN] {
    let mut bytes = [0; KEY_LEN];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// Writes a file that only its owner can read; it appears whole or not at all, and is on disk afterwards.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        match path.parent().filter(|p| !p.as_os_str().is_empty()) {
            Some(folder) => fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_the_same_key_only() {
        let sealer = Sealer::new(&[7; 32]).expect("32 bytes");
        let sealed = sealer.seal("tape ünder the desk").expect("randomness");
        assert!(!sealed.contains("tape"));
        assert_ne!(sealed, sealer.seal("tape ünder the desk").expect("randomness"), "a nonce is never used twice");
        assert_eq!(sealer.open(&sealed).expect("the same key"), "tape ünder the desk");
        assert!(Sealer::new(&[8; 32]).expect("32 bytes").open(&sealed).is_err());
        assert!(sealer.open("AAAA").is_err());
    }

    #[test]
    fn what_is_sealed_for_one_purpose_opens_for_no_other() {
        let sealer = Sealer::new(&[7; 32]).expect("32 bytes");
        let (nonce, sealed) = sealer.seal_for("tokens", b"ada".to_vec()).expect("randomness");
        assert!(!sealed.windows(3).any(|w| w == b"ada"));
        assert_eq!(sealer.open_for("tokens", &nonce, sealed.clone()).as_deref(), Some(&b"ada"[..]));
        assert_eq!(sealer.open_for("links", &nonce, sealed.clone()), None);
        assert_eq!(sealer.open_for("tokens", &nonce[1..], sealed.clone()), None);
        let mut other = sealed;
        other[0] ^= 1;
        assert_eq!(sealer.open_for("tokens", &nonce, other), None);
    }
}
