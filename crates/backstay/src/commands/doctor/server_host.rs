//! The machine of a server: its folders, certificates and ledger, whether it answers, and whether its agents are there.

use std::path::{Path, PathBuf};

use api::client::{Client, ListQuery};
use domain::{SignedDuration, Timestamp};
use ledger::SqliteLedger;
use server::config::DataFolder;
use server::tls::CertFiles;

use super::files::{self, Lock};
use super::{Findings, connection_time, reach};
use crate::connection::{self, Wanted};
use crate::format;

/// A running server renews its certificate 97 days before its end.
const CERTIFICATE_SOON: SignedDuration = SignedDuration::from_hours(24 * 60);
/// The authority is made once; a year is enough to think about the next.
const AUTHORITY_SOON: SignedDuration = SignedDuration::from_hours(24 * 365);
/// An agent renews its certificate 30 days before its end.
const AGENT_SOON: SignedDuration = SignedDuration::from_hours(24 * 15);

pub(super) async fn examine(folder: &Path, min_free: u64, findings: &mut Findings) {
    let data = DataFolder::new(folder.to_owned());
    let keys = data.keys();
    let named = ["ca-key.pem", "server-key.pem"].map(|name| keys.join(name));
    let tokens = [data.server_key(), data.admin_token(), data.agent_token()];
    let private: Vec<&Path> =
        [folder, &keys].into_iter().chain(named.iter().chain(&tokens).map(PathBuf::as_path)).collect();
    files::private(&private, findings);
    let (repository, downloads) = (data.repository(), data.downloads());
    let folders = [("ledger", folder), ("repository", &*repository), ("downloads", &*downloads)];
    files::room(&folders, min_free, findings);
    certificates(&keys, findings);
    match files::lock(&data.lock()) {
        Lock::Held => running(folder, findings).await,
        Lock::Free => {
            findings.bad(
                "server",
                format!("no server runs in {}", folder.display()),
                "start it (`systemctl start backstay`), and look at its log if it does not stay",
            );
            ledger(&data, findings).await;
        }
        Lock::Unknown => {
            findings.bad("server", "it cannot be told whether it runs", "look at the folder as its owner (sudo)")
        }
    }
}

fn certificates(keys: &Path, findings: &mut Findings) {
    let dates = match CertFiles::in_folder(keys).dates() {
        Ok(dates) => dates,
        Err(error) => {
            let advice =
                "put the right file back from a copy; a server's certificate can also be deleted, it is made anew";
            return findings.bad("certificates", format!("{error:#}"), advice);
        }
    };
    let advice = [
        "make a new one in time: stop the server, delete keys/ca.pem, start it, and let all machines join anew",
        "a server that runs renews it: start it, or look at its log",
    ];
    let about = [("authority", AUTHORITY_SOON), ("server's certificate in its folder", CERTIFICATE_SOON)];
    for ((dates, advice), (subject, soon)) in dates.into_iter().zip(advice).zip(about) {
        match dates {
            Some(dates) => findings.certificate(subject, dates.expires_at, soon, advice),
            None => findings.warning(subject, "there is none", "the next start of the server makes it"),
        }
    }
}

/// The quick look that each start takes too, which changes nothing and stands in nobody's way.
async fn ledger(data: &DataFolder, findings: &mut Findings) {
    let path = data.ledger();
    if !path.exists() {
        return findings.warning("ledger", "there is none", "the first start of the server makes it");
    }
    let advice = "keep a copy of the folder before anything else, then see `backstay ledger check`";
    match tokio::task::spawn_blocking(move || SqliteLedger::look(&path)).await {
        Ok(Ok(0)) => {
            findings.good("ledger", "no damage is seen at a quick look; `backstay ledger check` looks everywhere")
        }
        Ok(Ok(steps)) => {
            let message =
                format!("no damage is seen at a quick look; it is {steps} steps of the schema behind this program");
            findings.good("ledger", format!("{message}, which its next start makes up for"));
        }
        Ok(Err(error)) => findings.bad("ledger", error.message, error.hint.unwrap_or_else(|| advice.to_owned())),
        Err(error) => findings.bad("ledger", error.to_string(), advice),
    }
}

async fn running(folder: &Path, findings: &mut Findings) {
    let wanted = Wanted { data: Some(folder.to_owned()), ..Wanted::default() };
    let Ok(Some(found)) = connection::read(folder) else {
        let advice = "wait until it has started, or look at its log";
        return findings.bad("server", "it runs and does not say where it is reached", advice);
    };
    let ca = std::fs::read_to_string(&found.ca_file).ok();
    if !reach::server(&found.tls, ca.as_deref(), findings).await {
        return;
    }
    let agents = async {
        let endpoint = connection::find(&wanted)?;
        let client = Client::new(&endpoint.url, &endpoint.token, None)?;
        anyhow::Ok(client.agents(&ListQuery::new().limit(1000)).await?.items)
    };
    match agents.await {
        Ok(list) => agents_of(&list, findings),
        Err(error) => {
            findings.bad("agents", format!("they cannot be asked for: {error:#}"), "look at the server's log")
        }
    }
}

fn agents_of(list: &[api::Agent], findings: &mut Findings) {
    let present: Vec<_> = list.iter().filter(|agent| agent.revoked_at.is_none()).collect();
    if present.is_empty() {
        let advice = "`backstay agent enroll` prints the line that installs one on a machine";
        return findings.warning("agents", "there are none", advice);
    }
    let online = present.iter().filter(|agent| agent.online).count();
    if online == present.len() {
        findings.good("agents", format!("{online} connected"));
    }
    for agent in present {
        let subject = format!("agent {}", format::clean_line(&agent.name));
        if !agent.online {
            let since = agent
                .last_seen_at
                .map_or_else(|| "never was".to_owned(), |at| format!("was last at {}", connection_time(at)));
            let advice = "look at its service there, or run `backstay doctor` there";
            findings.warning(&subject, format!("is not connected, and {since}"), advice);
        }
        let soon = agent.certificate.filter(|c| Timestamp::now().duration_until(c.expires_at) < AGENT_SOON);
        if let Some(certificate) = soon {
            let advice = "an agent that is connected renews it by itself; one that comes too late must join anew";
            findings.certificate(&format!("certificate of {subject}"), certificate.expires_at, AGENT_SOON, advice);
        }
    }
}
