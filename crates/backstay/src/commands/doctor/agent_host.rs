//! The machine of an agent: what it keeps, its certificate, whether it runs, and whether its server lets it in.

use std::path::Path;

use agent::OwnCertificate;
use domain::{SignedDuration, Timestamp};

use super::files::{self, Lock};
use super::{Findings, reach};
use crate::commands::agent_process::{self, Membership};

/// An agent renews its certificate 30 days before its end.
const CERTIFICATE_SOON: SignedDuration = SignedDuration::from_hours(24 * 15);
const JOIN: &str = "let the machine join anew: `backstay agent enroll` prints the line for it";

pub(super) async fn examine(folder: &Path, min_free: u64, findings: &mut Findings) {
    let (membership, certificate) = (Membership::path(folder), agent_process::certificate(folder));
    files::private(&[folder, &membership, &certificate], findings);
    files::room(&[("journal and files on their way", folder)], min_free, findings);
    match files::lock(&folder.join("lock")) {
        Lock::Held => findings.good("agent", "it runs"),
        Lock::Free => {
            let advice = "start it (`systemctl start backstay-agent`), and look at its log if it does not stay";
            findings.bad("agent", format!("no agent runs in {}", folder.display()), advice);
        }
        Lock::Unknown => {
            findings.bad("agent", "it cannot be told whether it runs", "look at the folder as its owner (sudo)")
        }
    }
    journal(&agent_process::journal(folder), findings);
    let usable = own(&certificate, findings);
    let membership = match Membership::read(folder) {
        Ok(Some(membership)) => membership,
        Ok(None) => return findings.bad("membership", "the machine has not joined a server", JOIN),
        Err(error) => return findings.bad("membership", format!("{error:#}"), JOIN),
    };
    let reached = reach::server(&membership.server, membership.ca_pem.as_deref(), findings).await;
    if reached && usable {
        match agent::knock(&membership.at_the_door(folder)).await {
            Ok(()) => findings.good("access", "the server lets this agent in"),
            Err(reason) => findings.bad("access", reason, "do as the server says, or look at its log"),
        }
    }
}

/// The certificate, and whether it can be shown.
fn own(file: &Path, findings: &mut Findings) -> bool {
    match OwnCertificate::read(file) {
        Ok(Some(own)) => {
            let advice = if own.expires_at <= Timestamp::now() {
                JOIN
            } else {
                "the agent renews it while it is connected; look at its log"
            };
            findings.certificate("agent's certificate", own.expires_at, CERTIFICATE_SOON, advice);
            true
        }
        Ok(None) => {
            let advice = "an agent of this version asks for one when it is connected";
            findings.warning("agent's certificate", "there is none", advice);
            true
        }
        Err(error) => {
            findings.bad("agent's certificate", format!("{error:#}"), JOIN);
            false
        }
    }
}

fn journal(folder: &Path, findings: &mut Findings) {
    let test = folder.join("doctor.new");
    let written = std::fs::write(&test, "x");
    let _ = std::fs::remove_file(&test);
    if let Err(error) = written
        && folder.exists()
    {
        let advice = "make room or mend the folder: a crash of the agent would cost finished work";
        findings.bad("journal", format!("{} cannot be written: {error}", folder.display()), advice);
    }
}
