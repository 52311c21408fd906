//! The server's own certificate authority and its certificate: made on first start, renewed while the server runs. Who
//! connects may show a certificate of the same authority; only agents have one (`authority`).

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result};
use domain::agent::CertificateDates;
use domain::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::authority::{self, Authority};
use crate::secrets::write_private;
use crate::service::Since;
use crate::telemetry::Telemetry;

/// How long the authority is valid.
const CA_DAYS: i64 = 3650;
/// How long a server certificate is valid, in days.
const CERT_DAYS: i64 = 397;
/// A certificate with less time left than this is renewed, in days.
const RENEW_BEFORE_DAYS: i64 = 97;
/// So long before it was made a certificate is valid already, in days: clocks of other machines run behind.
pub(crate) const VALID_BEFORE_DAYS: i64 = 7;
/// The same for the authority, which cannot be made anew when the server's clock is set back.
const CA_VALID_BEFORE_DAYS: i64 = 365;
/// How often a running server looks whether it is time; it looks also when its clock was set.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

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

    /// Makes what is missing, renews what is old or does not name these hosts, and gives what to serve TLS with.
    ///
    /// # Errors
    /// When files cannot be read, written or understood.
    pub fn serve(&self, hosts: &[String], now: Timestamp) -> Result<Arc<Certificates>> {
        if !self.ca.exists() || !self.ca_key.exists() {
            self.make_ca(now)?;
        }
        if !self.is_fresh(hosts, now) {
            self.make_cert(hosts, now)?;
        }
        let current = RwLock::new(self.certified()?);
        Ok(Arc::new(Certificates { files: self.clone(), hosts: hosts.to_vec(), current }))
    }

    /// The authority, for signing.
    ///
    /// # Errors
    /// When its files cannot be read or understood.
    pub fn authority(&self) -> Result<Authority> {
        Ok(Authority::new(self.issuer()?))
    }

    /// From when until when the authority and the server's certificate are valid; none where there is no such file.
    ///
    /// # Errors
    /// When a file holds no certificate.
    pub fn dates(&self) -> Result<[Option<CertificateDates>; 2]> {
        let of = |path: &Path| if path.exists() { read_dates(path).map(Some) } else { Ok(None) };
        Ok([of(&self.ca)?, of(&self.cert)?])
    }

    /// The server's certificate with its key, from the files.
    fn certified(&self) -> Result<Arc<CertifiedKey>> {
        let chain = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("{} holds no certificate", self.cert.display()))?;
        let key =
            PrivateKeyDer::from_pem_file(&self.key).with_context(|| format!("{} holds no key", self.key.display()))?;
        let certified = CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider());
        Ok(Arc::new(certified.context("the server's certificate and key do not fit each other")?))
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>> {
        let ca_key = KeyPair::from_pem(&fs::read_to_string(&self.ca_key)?)
            .with_context(|| format!("{} holds no key", self.ca_key.display()))?;
        Issuer::from_ca_cert_pem(&fs::read_to_string(&self.ca)?, ca_key)
            .with_context(|| format!("{} holds no certificate", self.ca.display()))
    }

    /// Tells metrics until when each certificate is valid.
    ///
    /// # Errors
    /// As [`CertFiles::dates`].
    pub(crate) fn tell(&self, telemetry: &Telemetry) -> Result<()> {
        for (which, dates) in ["authority", "server"].into_iter().zip(self.dates()?) {
            dates.into_iter().for_each(|dates| telemetry.certificate(which, dates.expires_at));
        }
        Ok(())
    }

    fn make_ca(&self, now: Timestamp) -> Result<()> {
        let key = KeyPair::generate()?;
        let mut params = params("Backstay certificate authority", now, CA_VALID_BEFORE_DAYS, CA_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert = params.self_signed(&key)?;
        write_private(&self.ca_key, &key.serialize_pem())?;
        // Everything that was signed by a former authority is void with it.
        let _ = fs::remove_file(&self.cert);
        write_private(&self.ca, &cert.pem())
    }

    fn make_cert(&self, hosts: &[String], now: Timestamp) -> Result<()> {
        let issuer = self.issuer()?;
        let key = KeyPair::generate()?;
        let mut params = params("Backstay server", now, VALID_BEFORE_DAYS, CERT_DAYS)?;
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
        let left = SignedDuration::from_hours(24 * RENEW_BEFORE_DAYS);
        let young = read_dates(&self.cert).is_ok_and(|v| v.issued_at <= now && now.duration_until(v.expires_at) > left);
        young && self.key.exists() && fs::read_to_string(self.names()).is_ok_and(|n| n == hosts.join("\n"))
    }
}

fn read_dates(path: &Path) -> Result<CertificateDates> {
    let read = CertificateDer::from_pem_file(path).ok().and_then(|der| authority::dates(&der));
    read.with_context(|| format!("{} holds no certificate", path.display()))
}

/// What TLS is served with: the server's certificate as it is now.
#[derive(Debug)]
pub struct Certificates {
    files: CertFiles,
    hosts: Vec<String>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificates {
    /// The configuration of a listener, which shows the certificate that is the current one at each connection, and asks for
    /// one of the same authority without demanding it.
    ///
    /// # Errors
    /// When the authority's certificate cannot be used.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<rustls::ServerConfig>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(&self.files.ca);
        roots.add(ca.with_context(|| format!("{} holds no certificate", self.files.ca.display()))?)?;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .context("the authority's certificate cannot be used")?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("the crypto provider has no TLS versions")?
            .with_client_cert_verifier(Arc::new(authority::Patient(clients)))
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Renews the certificate if it is time, and says whether it was. Connections that exist go on.
    ///
    /// # Errors
    /// When files cannot be read or written; the certificate that there was is used on.
    pub fn renew(&self, now: Timestamp) -> Result<bool> {
        if self.files.is_fresh(&self.hosts, now) {
            return Ok(false);
        }
        self.files.make_cert(&self.hosts, now)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = self.files.certified()?;
        Ok(true)
    }
}

/// Renews the server's certificate in time, for as long as the server runs.
pub(crate) async fn keep_fresh(
    certificates: Arc<Certificates>,
    telemetry: Arc<Telemetry>,
    mut clock: watch::Receiver<Since>,
    stop: CancellationToken,
) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            Ok(()) = clock.changed() => {}
            () = stop.cancelled() => return,
        }
        let (certificates, telemetry) = (certificates.clone(), telemetry.clone());
        let renew = move || {
            let renewed = certificates.renew(Timestamp::now())?;
            if renewed { certificates.files.tell(&telemetry).map(|()| true) } else { Ok(false) }
        };
        match tokio::task::spawn_blocking(renew).await {
            Ok(Ok(true)) => tracing::info!("the server's certificate was renewed"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                tracing::error!(error = format!("{error:#}"), "the server's certificate cannot be renewed")
            }
            Err(error) => tracing::error!(%error, "renewing the server's certificate ended in a fault"),
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
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

/// What a certificate says whatever it is for: of this name, valid from so many days ago for so many days from now.
pub(crate) fn params(name: &str, now: Timestamp, before: i64, days: i64) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "Backstay");
    let date = |after: i64| -> Result<_> {
        let date = now.checked_add(SignedDuration::from_hours(24 * after))?.to_zoned(jiff::tz::TimeZone::UTC).date();
        Ok(rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs()))
    };
    params.not_before = date(-before)?;
    params.not_after = date(days)?;
    Ok(params)
}
