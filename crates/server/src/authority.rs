//! Certificates of agents: signed by the server's authority when a machine joins and when one grows old, and read back from
//! the connections that they are shown on. A certificate alone opens nothing: it says which agent holds the key, and the
//! service compares that with the token.

use std::sync::Arc;

use domain::agent::CertificateDates;
use domain::{Code, Error, Result, Timestamp, Uuid};
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::tls::{VALID_BEFORE_DAYS, params};

/// How long an agent's certificate is valid from when it is made, in days. Agents renew theirs when two thirds are over.
const AGENT_DAYS: i64 = 90;
/// A request for a certificate is no longer than this, in bytes; ours have a tenth of it.
const MAX_REQUEST: usize = 8 * 1024;

/// A certificate that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// As PEM.
    pub pem: String,
    /// How long it is valid.
    pub dates: CertificateDates,
}

/// A certificate of our authority that a client showed, with the proof that it has the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The agent it was given to; none if it was given to something else.
    pub agent: Option<Uuid>,
    /// How long it is valid. It may be over: that is judged where there are words for it.
    pub dates: CertificateDates,
}

/// Signs certificates of agents.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(issuer: Issuer<'static, KeyPair>) -> Authority {
        Authority { issuer }
    }

    /// Signs a certificate for the key of this request, whose signature shows that the asker has it. Of what else the
    /// request wishes nothing is heeded.
    ///
    /// # Errors
    /// `invalid_field` for what is no request, or one for a key that we cannot use.
    pub fn sign(&self, request: &str, agent: Uuid, now: Timestamp) -> Result<Signed> {
        let wrong = |why: &dyn std::fmt::Display| {
            Error::invalid("csr", format!("'csr' is no request for a certificate: {why}"))
                .hint("send a PKCS #10 request as PEM, for an ECDSA key on P-256")
        };
        if request.len() > MAX_REQUEST {
            return Err(wrong(&format_args!("it is longer than {MAX_REQUEST} bytes")));
        }
        let asked = CertificateSigningRequestParams::from_pem(request).map_err(|e| wrong(&e))?;
        let internal =
            |e: &dyn std::fmt::Display| Error::new(Code::Internal, format!("a certificate cannot be signed: {e}"));
        let mut params = params(&agent.to_string(), now, VALID_BEFORE_DAYS, AGENT_DAYS).map_err(|e| internal(&e))?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&asked.public_key, &self.issuer).map_err(|e| internal(&e))?;
        let dates = dates(certificate.der()).ok_or_else(|| internal(&"it cannot be read back"))?;
        Ok(Signed { pem: certificate.pem(), dates })
    }
}

/// How long a certificate is valid, if it is one.
#[must_use]
pub fn dates(der: &[u8]) -> Option<CertificateDates> {
    dates_of(&X509Certificate::from_der(der).ok()?.1)
}

fn dates_of(certificate: &X509Certificate<'_>) -> Option<CertificateDates> {
    let validity = certificate.validity();
    Some(CertificateDates {
        issued_at: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
        expires_at: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
    })
}

impl ClientCertificate {
    /// What a certificate says that was verified.
    pub(crate) fn read(der: &CertificateDer<'_>) -> Option<ClientCertificate> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let dates = dates_of(&certificate)?;
        Some(ClientCertificate { agent: name.and_then(|name| Uuid::parse_str(name).ok()), dates })
    }
}

/// Takes certificates that have expired and those that are not valid yet, too, and is as strict as the verifier within in
/// everything else. So the agent whose certificate has expired is told in a sentence what to do, by the service, instead of a
/// connection that breaks; and one whose certificate this authority signed before the server's clock was set back stays.
#[derive(Debug)]
pub(crate) struct Patient(pub(crate) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Patient {
    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> std::result::Result<ClientCertVerified, rustls::Error> {
        match self.0.verify_client_cert(certificate, chain, now) {
            Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                self.0.verify_client_cert(certificate, chain, not_after)
            }
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
                self.0.verify_client_cert(certificate, chain, not_before)
            }
            other => other,
        }
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::CertificateParams;

    use super::*;
    use crate::tls::CertFiles;

    #[test]
    fn only_a_request_by_who_has_the_key_is_signed_and_only_for_the_agent() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let files = CertFiles::in_folder(folder.path());
        let now = Timestamp::now();
        files.serve(&["localhost".to_owned()], now).expect("certificates");
        let authority = files.authority().expect("an authority");
        let agent = Uuid::now_v7();

        let key = KeyPair::generate().expect("a key");
        // It wishes to be a server, which is not heeded.
        let wish = CertificateParams::new(vec!["backup.example".to_owned()]).expect("a name");
        let request = wish.serialize_request(&key).expect("a request").pem().expect("PEM");
        let signed = authority.sign(&request, agent, now).expect("signed");
        let days = signed.dates.issued_at.duration_until(signed.dates.expires_at).as_hours() / 24;
        assert_eq!(days, AGENT_DAYS + VALID_BEFORE_DAYS);
        let der = pem_of(&signed.pem);
        let read = ClientCertificate::read(&der).expect("a certificate");
        assert_eq!(read, ClientCertificate { agent: Some(agent), dates: signed.dates });
        let (_, parsed) = X509Certificate::from_der(&der).expect("a certificate");
        assert!(parsed.subject_alternative_name().expect("extensions").is_none());
        let usage = parsed.extended_key_usage().expect("extensions").expect("a usage").value;
        assert!(usage.client_auth && !usage.server_auth);

        let mut forged = pem_of(&request).to_vec();
        *forged.last_mut().expect("a signature") ^= 1;
        let forged = rcgen_pem(&forged);
        for wrong in [forged.as_str(), "", "-----BEGIN CERTIFICATE REQUEST-----", &"x".repeat(MAX_REQUEST + 1)] {
            let refused = authority.sign(wrong, agent, now).expect_err("no request");
            assert_eq!(refused.code, Code::InvalidField, "{}", refused.message);
        }
    }

    fn pem_of(pem: &str) -> CertificateDer<'static> {
        use rustls::pki_types::pem::PemObject;
        if pem.contains("REQUEST") {
            let der = rustls::pki_types::CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).expect("PEM");
            return CertificateDer::from(der.to_vec());
        }
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")
    }

    fn rcgen_pem(der: &[u8]) -> String {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
    }
}
