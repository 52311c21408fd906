//! Buckets. Requests are signed in their headers by the rules of the fourth version; each file is made under the condition
//! that it is not there, so that nothing that was stored is ever written over, and with a digest of its content, without
//! which buckets that lock objects take none.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use domain::Timestamp;
use reqwest::blocking::{Client, Response};
use reqwest::{Method, Url};

use super::pace::Paces;
use super::{Store, http_client, refusal, unreachable};
use crate::engine::{EngineError, ErrorCode};
use crate::hex::hex;

/// Where Amazon's buckets are.
const AMAZON: &str = ".amazonaws.com";

/// A folder of a bucket.
#[derive(Debug)]
pub(super) struct S3 {
    place: String,
    bucket: String,
    /// The address of the bucket with a slash at its end.
    base: String,
    /// The folder with a slash at its end; empty at the top.
    prefix: String,
    signer: Option<Signer>,
    client: Client,
    paces: Paces,
}

/// Who asks.
struct Signer {
    id: String,
    key: String,
    token: Option<String>,
    region: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.debug_struct("Signer").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Signer {
    /// The headers that prove who asks, of a request with these headers. The query of the address is in order and encoded.
    fn headers(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(&str, String)],
        payload: &[u8],
        now: Timestamp,
    ) -> Vec<(String, String)> {
        let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = &stamp[..8];
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let sum = hex(digest(&SHA256, payload).as_ref());
        let mut all: Vec<(String, String)> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        all.push(("x-amz-content-sha256".to_owned(), sum.clone()));
        all.push(("x-amz-date".to_owned(), stamp.clone()));
        all.extend(self.token.clone().map(|token| ("x-amz-security-token".to_owned(), token)));
        // The client says it by itself.
        let mut signed = all.clone();
        signed.push(("host".to_owned(), host));
        signed.sort();
        let names = signed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let query = url.query().unwrap_or_default();
        let request = format!("{method}\n{}\n{query}\n{lines}\n{names}\n{sum}", url.path());
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex(digest(&SHA256, request.as_bytes()).as_ref()));
        let mut key = format!("AWS4{}", self.key).into_bytes();
        for part in [day, &self.region, "s3", "aws4_request"] {
            key = mac(&key, part);
        }
        let signature = hex(&mac(&key, &text));
        let proof =
            format!("AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}", self.id);
        all.push(("authorization".to_owned(), proof));
        all
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// A text as a part of an address, encoded as the rules of signing want it; slashes stay where they part folders.
fn encoded(text: &str, slashes: bool) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            b'/' if slashes => encoded.push('/'),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

impl S3 {
    pub(super) fn new(
        place: String,
        endpoint: &str,
        bucket: String,
        prefix: &str,
        secrets: &BTreeMap<String, String>,
        paces: Paces,
    ) -> Result<S3, EngineError> {
        let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint));
        let secret = |name: &str| secrets.get(name).cloned();
        let region = secret("AWS_DEFAULT_REGION").unwrap_or_else(|| region_of(host).to_owned());
        // A name with dots is covered by no certificate.
        let base = match host.ends_with(AMAZON) && !bucket.contains('.') {
            true => format!("{scheme}://{bucket}.{host}/"),
            false => format!("{scheme}://{host}/{}/", encoded(&bucket, false)),
        };
        let signer = match (secret("AWS_ACCESS_KEY_ID"), secret("AWS_SECRET_ACCESS_KEY")) {
            (Some(id), Some(key)) => Some(Signer { id, key, token: secret("AWS_SESSION_TOKEN"), region }),
            (None, None) => None,
            _ => {
                let message = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together, and one of them is missing";
                return Err(EngineError::new(ErrorCode::InvalidJob, message).with("repository", &place));
            }
        };
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(S3 { place, bucket, base, prefix, signer, client: http_client(&paces)?, paces })
    }

    /// Sends a signed request about the object of this name; the answer if it is a success.
    fn object(&self, method: Method, name: &str, headers: &[(&str, String)], content: Bytes) -> io::Result<Response> {
        let key = encoded(&format!("{}{name}", self.prefix), true);
        self.ask(method, &format!("{}{key}", self.base), headers, content)
    }

    fn ask(&self, method: Method, url: &str, headers: &[(&str, String)], content: Bytes) -> io::Result<Response> {
        let url: Url =
            url.parse().map_err(|error| io::Error::other(format!("{} is no address: {error}", self.place)))?;
        let mut request = self.client.request(method.clone(), url.clone());
        match &self.signer {
            Some(signer) => {
                for (name, value) in signer.headers(&method, &url, headers, &content, Timestamp::now()) {
                    request = request.header(name, value);
                }
            }
            None => request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value)),
        }
        let response = request.body(self.paces.sent(content)).send().map_err(unreachable)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = String::from_utf8_lossy(&self.paces.received(response)?).into_owned();
        let code = element(&text, "Code").unwrap_or_default();
        let bucket = &self.bucket;
        Err(match code {
            "NoSuchBucket" => io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no bucket '{bucket}', or this key does not see it; make the bucket first"),
            ),
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken" => io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("the key is not accepted ({code}); check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
            ),
            "AccessDenied" => io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("the key may not do that in the bucket '{bucket}' (AccessDenied)"),
            ),
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
                let region = element(&text, "Region").unwrap_or("that of the bucket");
                io::Error::other(format!("the bucket '{bucket}' lies elsewhere; set AWS_DEFAULT_REGION to {region}"))
            }
            "XMinioStorageFull" | "QuotaExceeded" => {
                io::Error::new(io::ErrorKind::StorageFull, format!("the storage is full ({code})"))
            }
            "NotImplemented" => io::Error::new(io::ErrorKind::Unsupported, "the server does not know how to do that"),
            "" => refusal(status, ""),
            code => refusal(status, &format!("{code}, {}", element(&text, "Message").unwrap_or_default())),
        })
    }

    fn put(&self, name: &str, content: Bytes, unless_there: bool) -> io::Result<()> {
        let sum = BASE64_STANDARD.encode(digest(&SHA256, &content).as_ref());
        // Some servers look for the digest, some for what it was made with.
        let mut headers = vec![("x-amz-checksum-sha256", sum), ("x-amz-sdk-checksum-algorithm", "SHA256".to_owned())];
        if unless_there {
            headers.push(("if-none-match", "*".to_owned()));
        }
        self.object(Method::PUT, name, &headers, content).map(drop)
    }

    /// The objects whose names begin so, by the last part of their names.
    fn listed(&self, beginning: &str, at_most: Option<u32>) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        loop {
            // In the order of the names, as signing wants it.
            let mut query =
                next.map(|token| format!("continuation-token={}&", encoded(&token, false))).unwrap_or_default();
            query.push_str("list-type=2&");
            at_most.iter().for_each(|limit| query.push_str(&format!("max-keys={limit}&")));
            let prefix = encoded(&format!("{}{beginning}", self.prefix), false);
            let url = format!("{}?{query}prefix={prefix}", self.base);
            let text = self.paces.received(self.ask(Method::GET, &url, &[], Bytes::new())?)?;
            let text = String::from_utf8_lossy(&text);
            let odd = || io::Error::other("the list of objects makes no sense");
            if !text.contains("<ListBucketResult") {
                return Err(odd());
            }
            for object in text.split("<Contents>").skip(1) {
                let name = element(object, "Key").and_then(|key| key.rsplit('/').next()).ok_or_else(odd)?;
                let size = element(object, "Size").and_then(|size| size.parse().ok()).ok_or_else(odd)?;
                found.push((name.to_owned(), size));
            }
            next = match element(&text, "IsTruncated") {
                Some("true") if at_most.is_none() => {
                    Some(element(&text, "NextContinuationToken").ok_or_else(odd)?.replace("&amp;", "&"))
                }
                _ => return Ok(found),
            };
        }
    }
}

impl Store for S3 {
    fn place(&self) -> &str {
        &self.place
    }

    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.listed(&format!("{folder}/"), None)
    }

    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        // The question for the object alone cannot tell that there is no bucket.
        let listed = self.listed(name, Some(1))?;
        let last = name.rsplit('/').next().unwrap_or(name);
        Ok(listed.into_iter().find(|(found, _)| found == last).map(|(_, size)| size))
    }

    fn read(&self, name: &str, part: Option<(u32, u32)>) -> io::Result<Bytes> {
        let headers: Vec<_> = part.map(|(offset, length)| ("range", range(offset, length))).into_iter().collect();
        self.paces.received(self.object(Method::GET, name, &headers, Bytes::new())?)
    }

    fn create(&self, name: &str, content: Bytes) -> io::Result<()> {
        match self.put(name, content.clone(), true) {
            // A server that does not know the condition.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.put(name, content, false),
            other => other,
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.object(Method::DELETE, name, &[], Bytes::new()).map(drop)
    }
}

/// What a header asks for of a file.
pub(super) fn range(offset: u32, length: u32) -> String {
    let end = u64::from(offset) + u64::from(length).saturating_sub(1);
    format!("bytes={offset}-{end}")
}

/// The region that a host of Amazon's names; elsewhere any will do.
fn region_of(host: &str) -> &str {
    let named = host.strip_suffix(AMAZON).and_then(|host| host.rsplit(['.']).next());
    let named = named.map(|name| name.strip_prefix("s3-").unwrap_or(name));
    named.filter(|name| !name.is_empty() && *name != "s3").unwrap_or("us-east-1")
}

/// The text of the first element of this name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_amazon_names_its_region() {
        for (host, region) in [
            ("s3.eu-central-1.amazonaws.com", "eu-central-1"),
            ("s3-eu-west-1.amazonaws.com", "eu-west-1"),
            ("s3.amazonaws.com", "us-east-1"),
            ("minio.example", "us-east-1"),
        ] {
            assert_eq!(region_of(host), region, "{host}");
        }
    }

    #[test]
    fn requests_are_signed_as_the_rules_say() {
        // The example of the rules themselves.
        let signer = Signer {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
            region: "us-east-1".into(),
        };
        let url: Url = "https://examplebucket.s3.amazonaws.com/test.txt".parse().expect("an address");
        let now: Timestamp = "2013-05-24T00:00:00Z".parse().expect("a time");
        let headers = signer.headers(&Method::GET, &url, &[("range", range(0, 10))], b"", now);
        let (_, proof) = headers.last().expect("a proof");
        assert!(
            proof.ends_with("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
            "{proof}"
        );
        assert!(!format!("{signer:?}").contains("wJalr"));
    }

    #[test]
    fn half_a_key_is_told_before_anything_is_asked() {
        let secrets = BTreeMap::from([("AWS_ACCESS_KEY_ID".to_owned(), "tape".to_owned())]);
        let paces = Paces::new(Default::default());
        let s3 = S3::new("s3:http://localhost/b".into(), "http://localhost", "b".into(), "", &secrets, paces);
        let error = s3.expect_err("half a key");
        assert!(error.message.contains("AWS_SECRET_ACCESS_KEY") && !format!("{error:?}").contains("tape"), "{error:?}");
    }

    #[test]
    fn the_last_byte_of_a_part_is_counted_in() {
        assert_eq!(range(0, 1), "bytes=0-0");
        assert_eq!(range(u32::MAX, 2), format!("bytes={}-{}", u32::MAX, u64::from(u32::MAX) + 1));
    }
}
