//! The server's own certificate authority and certificate, made on first start and renewed in time.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use domain::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::secrets::write_private;

/// How long the authority is valid.
const CA_DAYS: i64 = 3650;
/// How long a server certificate is valid, in days.
const CERT_DAYS: i64 = 397;
/// A certificate older than this is renewed on start, in days.
const RENEW_AFTER_DAYS: i64 = 300;

/// Where the certificate files lie.
#[derive(Debug, Clone)]
pub struct CertFiles {
    /// The authority's certificate; clients trust it.
    pub ca: PathBuf,
    ca_key: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl CertFiles {
    /// The files in a folder.
    #[must_use]
    pub fn in_folder(folder: &Path) -> CertFiles {
        CertFiles {
            ca: folder.join("ca.pem"),
            ca_key: folder.join("ca-key.pem"),
            cert: folder.join("server.pem"),
            key: folder.join("server-key.pem"),
        }
    }

    /// Makes what is missing, renews what is old or does not name these hosts, and gives the TLS configuration.
    ///
    /// # Errors
    /// When files cannot be read, written or understood.
    pub fn server_config(&self, hosts: &[String], now: Timestamp) -> Result<Arc<rustls::ServerConfig>> {
        if !self.ca.exists() || !self.ca_key.exists() {
            self.make_ca(now)?;
        }
        if !self.is_fresh(hosts, now) {
            self.make_cert(hosts, now)?;
        }
        let chain = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("{} holds no certificate", self.cert.display()))?;
        let key =
            PrivateKeyDer::from_pem_file(&self.key).with_context(|| format!("{} holds no key", self.key.display()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("the crypto provider has no TLS versions")?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .context("the server's certificate and key do not fit each other")?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn make_ca(&self, now: Timestamp) -> Result<()> {
        let key = KeyPair::generate()?;
        let mut params = params("Backstay certificate authority", now, CA_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert = params.self_signed(&key)?;
        write_private(&self.ca_key, &key.serialize_pem())?;
        // Everything that was signed by a former authority is void with it.
        let _ = fs::remove_file(&self.cert);
        write_private(&self.ca, &cert.pem())
    }

    fn make_cert(&self, hosts: &[String], now: Timestamp) -> Result<()> {
        let ca_key = KeyPair::from_pem(&fs::read_to_string(&self.ca_key)?)
            .with_context(|| format!("{} holds no key", self.ca_key.display()))?;
        let issuer = Issuer::from_ca_cert_pem(&fs::read_to_string(&self.ca)?, ca_key)
            .with_context(|| format!("{} holds no certificate", self.ca.display()))?;
        let key = KeyPair::generate()?;
        let mut params = params("Backstay server", now, CERT_DAYS)?;
        params.subject_alt_names = CertificateParams::new(hosts.to_vec())?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(&key, &issuer)?;
        write_private(&self.key, &key.serialize_pem())?;
        write_private(&self.cert, &cert.pem())?;
        write_private(&self.names(), &hosts.join("\n"))
    }

    /// The names in the certificate are kept beside it, so that nothing has to be parsed back.
    fn names(&self) -> PathBuf {
        self.cert.with_extension("names")
    }

    fn is_fresh(&self, hosts: &[String], now: Timestamp) -> bool {
        let made = fs::metadata(&self.cert).and_then(|m| m.modified()).ok().and_then(|t| Timestamp::try_from(t).ok());
        let young = made.is_some_and(|t| t <= now && now.duration_since(t).as_hours() < RENEW_AFTER_DAYS * 24);
        young && self.key.exists() && fs::read_to_string(self.names()).is_ok_and(|n| n == hosts.join("\n"))
    }
}

/// The SHA-256 of the first certificate in a PEM text, in hexadecimal: by which whoever connects knows the authority.
///
/// # Errors
/// When there is none.
pub fn fingerprint(pem: &str) -> Result<String> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).context("the text holds no certificate")?;
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate);
    Ok(sum.as_ref().iter().map(|b| format!("{b:02x}")).collect())
}

/// The names under which a server that listens on this address is reached from this machine.
#[must_use]
pub fn host_names(listen: IpAddr, host: &str) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    for name in [host.to_owned(), listen.to_string()] {
        if !name.is_empty() && !listen_anywhere(&name) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn listen_anywhere(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

fn params(name: &str, now: Timestamp, days: i64) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "Backstay");
    // A day back, for machines whose clock is a little behind.
    let date = |after: i64| -> Result<_> {
        let date = now.checked_add(SignedDuration::from_hours(24 * after))?.to_zoned(jiff::tz::TimeZone::UTC).date();
        Ok(rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs()))
    };
    params.not_before = date(-1)?;
    params.not_after = date(days)?;
    Ok(params)
}
