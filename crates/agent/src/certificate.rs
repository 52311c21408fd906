//! The agent's own certificate: the key is made on the machine and never leaves it, the server signs. It lies in a file of
//! the data folder and is renewed over the link when two thirds of its life are over.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use domain::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};

use crate::durable::{self, Sync};

/// A key, and the request for a certificate of it.
pub struct CertificateRequest {
    key: KeyPair,
    csr: String,
}

/// A certificate with its key, as the file holds it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnCertificate {
    /// The certificate, as PEM.
    pub certificate: String,
    /// The key, as PEM.
    pub key: String,
    /// From when on it is valid.
    pub issued_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the key.
        f.debug_struct("OwnCertificate").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl CertificateRequest {
    /// A new key, and a request for it.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new() -> Result<CertificateRequest> {
        let key = KeyPair::generate().context("a key cannot be made")?;
        // Whose it is decides the server.
        let csr = CertificateParams::default().serialize_request(&key).and_then(|csr| csr.pem());
        Ok(CertificateRequest { key, csr: csr.context("a certificate cannot be asked for")? })
    }

    /// What is sent to the server: PKCS #10, as PEM.
    #[must_use]
    pub fn csr(&self) -> &str {
        &self.csr
    }

    /// The certificate that came back, with its key.
    #[must_use]
    pub fn answered(&self, certificate: String, issued_at: Timestamp, expires_at: Timestamp) -> OwnCertificate {
        OwnCertificate { certificate, key: self.key.serialize_pem(), issued_at, expires_at }
    }
}

impl OwnCertificate {
    /// What lies in this file; none where there is no such file.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read(file: &Path) -> Result<Option<OwnCertificate>> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", file.display())),
        };
        let read = serde_json::from_str(&text);
        read.map(Some).with_context(|| {
            format!("{} holds no certificate; let the machine join anew (`backstay agent join`)", file.display())
        })
    }

    /// Puts it into this file, which only its owner can read; on disk afterwards.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("a certificate cannot be written down")?;
        durable::write(file, &text, Sync::Now).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Whether it is time for a new one: two thirds of its life are over.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        let life = self.issued_at.duration_until(self.expires_at);
        let third = SignedDuration::from_secs(life.as_secs() / 3);
        now.duration_until(self.expires_at) <= third
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_after_two_thirds_and_lies_where_only_its_owner_reads() {
        let day = |n: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * n);
        let request = CertificateRequest::new().expect("a key");
        assert!(request.csr().starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        let own = request.answered("pem".to_owned(), day(0), day(90));
        assert!(!own.is_due(day(59)) && own.is_due(day(60)) && own.is_due(day(100)));
        let folder = tempfile::TempDir::new().expect("a folder");
        let file = folder.path().join("certificate.json");
        assert_eq!(OwnCertificate::read(&file).expect("nothing is no error"), None);
        own.write(&file).expect("written");
        assert_eq!(OwnCertificate::read(&file).expect("readable"), Some(own.clone()));
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).expect("it is there").permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{own:?}").contains("KEY"));
        fs::write(&file, "{}").expect("written");
        assert!(OwnCertificate::read(&file).expect_err("no certificate").to_string().contains("join anew"));
    }
}
