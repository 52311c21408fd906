//! Imports of images: an agent fetches one from an address or a file, and stores it as a recovery point of a resource that
//! is made with the task. Whether an address may be reached is asked here, and again by the agent when it connects.

use std::net::IpAddr;
use std::time::Duration;

use domain::agent::AGENT_QUEUE;
use domain::import::ImportRules;
use domain::resource::{Registration, Resource, ResourceKind, Sources};
use domain::task::{Affinity, Issuer, Task, TaskSpec, kind};
use domain::tenant::check_name;
use domain::work::ImportWork;
use domain::{Caller, Code, Error, Result, Right, Uuid};
use ledger::{Expect, Write};
use serde_json::{Value, json};
use url::{Host, Url};

use super::Service;
use super::runs::{named_resource, own_rules};

/// How long the look for a name's addresses may take.
const LOOK: Duration = Duration::from_secs(5);
/// The longest name that becomes the name of a file.
const LONGEST_NAME: usize = 255;
/// What a location looks like.
const EXAMPLE: &str = "give an address like https://example.com/images/disk.raw";
/// The longest address.
const LONGEST_SOURCE: usize = 8192;

/// An import that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewImport {
    /// Where the image is: `http`, `https`, or `file` for one on the agent's machine.
    pub source: String,
    /// What the image is called; by default the last part of the path.
    pub name: Option<String>,
    /// How the disk is written, in a word.
    pub format: Option<String>,
    /// How many bytes it must have.
    pub size: Option<u64>,
    /// The SHA-256 that it must have, in hexadecimal.
    pub sha256: Option<String>,
    /// What else clients shall find in the task's context, under one name.
    pub context: (String, Value),
}

impl Service {
    /// Imports an image: makes the resource that it becomes, and the task that fetches it.
    ///
    /// # Errors
    /// `forbidden` below admin; `invalid_field` for a place that it may not come from, a name, a size or a hash that cannot
    /// be; `missing_field` where there is not the one repository to store it in.
    pub async fn import_image(&self, caller: &Caller, new: NewImport) -> Result<Task> {
        let scope = caller.may(Right::Administer)?;
        let mut source = self.importable(&new.source).await?;
        let last = source.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
        let last = percent_decoded(last).unwrap_or_else(|| last.to_owned());
        let name = match new.name {
            Some(name) => name,
            None if last.is_empty() => "image".to_owned(),
            None => last.clone(),
        };
        check_name("image_properties.name", &name)?;
        let sha256 = new.sha256.map(|hash| hash.to_ascii_lowercase());
        if sha256.as_ref().is_some_and(|h| h.len() != 64 || !h.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err(Error::invalid("sha256", "'sha256' is no SHA-256").hint("it has 64 hexadecimal digits"));
        }
        let sealed_query = match source.query() {
            Some(query) => Some(self.seal(query)?),
            None => None,
        };
        source.set_query(None);
        let (id, now) = (Uuid::now_v7(), self.moment().now);
        let resource = Resource {
            id,
            tenant: caller.tenant(),
            instance_id: id.simple().to_string(),
            kind: ResourceKind::Image,
            name,
            agent: self.only_agent(scope).await?,
            sources: Sources::default(),
            enabled: true,
            active: true,
            external: false,
            live_recovery: false,
            registration: Registration::Registered,
            registration_details: Value::Null,
            last_backup_at: None,
            metadata: new.format.map_or(Value::Null, |format| json!({ "disk_format": format })),
            created_at: now,
            updated_at: now,
            deleted_at: None,
        };
        let work = ImportWork {
            archive: Uuid::now_v7(),
            repository: self.usual_repository(caller, None).await?,
            name: file_name(&last),
            source: source.into(),
            sealed_query,
            size: new.size,
            sha256,
            rules: ImportRules::default(),
        };
        let (key, context) = new.context;
        let spec = TaskSpec {
            argument: json!(work).into(),
            context: json!({
                "title": format!("Importing the image '{}'", resource.name),
                "run_mode": "manual",
                key: context,
            })
            .into(),
            resource: Some(named_resource(&resource)),
            issuer: Issuer { id: caller.issuer_id().into(), ..Issuer::default() },
            started_by: Some(caller.name.as_str().into()),
            affinity: Affinity::to(resource.agent),
            rules: own_rules(),
            ..TaskSpec::new(Uuid::now_v7(), kind::IMPORT, AGENT_QUEUE, caller.tenant())
        };
        let record = resource.into();
        let entry = self.audit(caller, "create", &record);
        let writes = vec![Write::Put(Box::new(record), Expect::New), Write::CreateTask(Box::new(spec)), entry];
        let committed = self.ledger.commit(scope, self.moment(), writes).await?;
        self.deliver(&committed);
        committed.task().cloned().ok_or_else(|| Error::new(Code::Internal, "the new task is not in the commit"))
    }

    /// What the agent is told of an import: the whole address, and what the operator allows now.
    pub(super) fn with_rules_of_now(&self, mut work: ImportWork) -> Result<ImportWork> {
        if let Some(sealed) = work.sealed_query.take() {
            work.source = format!("{}?{}", work.source, self.sealer.open(&sealed)?);
        }
        work.rules = self.cloud.imports.clone();
        Ok(work)
    }

    /// The address of an image, if it may be fetched.
    async fn importable(&self, text: &str) -> Result<Url> {
        let wrong = |message: String| Error::invalid("import_from", message);
        if text.len() > LONGEST_SOURCE {
            return Err(wrong(format!("the location is longer than {LONGEST_SOURCE} bytes")));
        }
        let mut source = Url::parse(text).map_err(|e| wrong(format!("invalid location: {e}")).hint(EXAMPLE))?;
        // Parsers of addresses are kind, and would take what comes next for the host.
        let host = text.split_once("://").map_or("", |(_, rest)| rest);
        if matches!(source.scheme(), "http" | "https") && (host.is_empty() || host.starts_with(['/', '\\'])) {
            return Err(wrong("invalid location: it names no host".into()).hint(EXAMPLE));
        }
        source.set_fragment(None);
        let rules = &self.cloud.imports;
        match source.scheme() {
            "http" | "https" => {}
            "file" => {
                let path = percent_decoded(source.path()).unwrap_or_default();
                let local = source.host_str().is_none_or(|host| host == "localhost");
                let root = rules.roots.iter().any(|root| root.trim_end_matches('/') == path.trim_end_matches('/'));
                return match local && rules.admit_file(&path) && !root {
                    true => Ok(source),
                    false if rules.roots.is_empty() => Err(wrong(
                        "file based imports are not allowed; please use a non-local source of image data".into(),
                    )
                    .hint("the operator can allow folders on the agent's machine")),
                    // Which folders there are is not for everybody to know.
                    false => Err(wrong(
                        "file based imports are not allowed from there: the file lies in no folder that the operator allows"
                            .into(),
                    )
                    .hint("move it into one of them, or use a non-local source of image data")),
                };
            }
            other => {
                return Err(wrong(format!("the scheme '{other}' is not supported; supported are http and https")));
            }
        }
        if !source.username().is_empty() || source.password().is_some() {
            return Err(wrong("the location has a name or a password in it, which would be kept with the task".into())
                .hint("use an address that is valid for some time and signed in its query"));
        }
        if let Some(is) = internal(&source, rules).await {
            return Err(
                wrong(format!("the location does not pass filtering: {is}")).hint("the operator can allow networks")
            );
        }
        Ok(source)
    }
}

/// What internal address a location leads to that the rules do not admit, in words; none if it may be reached.
pub(super) async fn internal(source: &Url, rules: &ImportRules) -> Option<String> {
    let addresses = addresses(source).await;
    let refused = addresses.iter().find(|address| !rules.admit(**address))?;
    Some(match source.host() {
        Some(Host::Domain(name)) if name.parse::<IpAddr>().is_err() => {
            format!("{name} is the internal address {refused}")
        }
        _ => format!("{refused} is an internal address"),
    })
}

/// The addresses that a location leads to from here. Where its name is not known there are none: the agent may know it,
/// and looks itself.
async fn addresses(source: &Url) -> Vec<IpAddr> {
    let port = source.port_or_known_default().unwrap_or(80);
    match source.host() {
        Some(Host::Ipv4(address)) => vec![address.into()],
        Some(Host::Ipv6(address)) => vec![address.into()],
        Some(Host::Domain(name)) => {
            let look = tokio::time::timeout(LOOK, tokio::net::lookup_host((name, port))).await;
            look.ok().and_then(Result::ok).map(|found| found.map(|a| a.ip()).collect()).unwrap_or_default()
        }
        None => Vec::new(),
    }
}

/// The text behind `%XX`; none if it is no UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(if byte == b'%' { u8::try_from(digit()? * 16 + digit()?).ok()? } else { byte });
    }
    String::from_utf8(bytes).ok()
}

/// A name that a file can have.
fn file_name(text: &str) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control() && *c != '/').collect();
    let mut end = clean.len().min(LONGEST_NAME);
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    match &clean[..end] {
        "" | "." | ".." => "image".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn names_of_files() {
        assert_eq!(file_name("disk.raw"), "disk.raw");
        for none in ["", ".", "..", "\u{7}"] {
            assert_eq!(file_name(none), "image");
        }
        assert_eq!(file_name("a/b\nc"), "abc");
        assert_eq!(file_name(&"\u{e4}".repeat(200)).len(), 254);
    }
}
