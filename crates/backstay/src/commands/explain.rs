//! `backstay explain`: the page of an error code, without a network.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use domain::Code;

use super::done;
use crate::output::Output;
use crate::problem::{Exit, Problem};

/// Explain an error code: what it means and what to do.
#[derive(Debug, Args)]
#[command(after_help = "Example: backstay explain not_found")]
pub(crate) struct ExplainArgs {
    /// The code; without it, all codes are listed
    code: Option<String>,
}

macro_rules! pages {
    ($($code:literal)+) => {
        /// The pages, in the order of the table of codes.
        const PAGES: &[(&str, &str)] =
            &[$(($code, include_str!(concat!("../../../../docs/errors/", $code, ".md")))),+];
    };
}

pages! {
    "invalid_field" "missing_field" "unknown_field" "invalid_body" "invalid_cursor" "unauthenticated" "forbidden"
    "not_found" "unknown_route" "method_not_allowed" "already_exists" "revision_conflict" "in_use" "state_conflict"
    "already_completed" "lease_lost" "not_cancellable" "agent_offline" "path_unusable" "not_applied" "processing" "disabled"
    "registration_failed" "live_system" "system_mismatch" "foreign_policy" "no_installer" "body_too_large"
    "unsupported_media_type" "too_many_attempts" "unavailable" "agent_silent" "storage_full" "ledger_damaged" "internal"
}

pub(crate) fn run(args: &ExplainArgs, out: &Output) -> Result<ExitCode> {
    let Some(code) = &args.code else {
        for code in Code::ALL {
            out.line(code.name())?;
        }
        return done();
    };
    // As it may stand in a log or an address: `NOT-FOUND` is meant well too.
    let wanted = code.trim().to_lowercase().replace('-', "_");
    match PAGES.iter().find(|(code, _)| *code == wanted) {
        Some((_, page)) => {
            out.line(page.trim_end())?;
            done()
        }
        None => Err(Problem::new(Exit::NotFound, format!("there is no error code '{code}'"))
            .hint("`backstay explain` lists them all")
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page() {
        let pages: Vec<_> = PAGES.iter().map(|(code, _)| *code).collect();
        let codes: Vec<_> = Code::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(pages, codes, "add the code's page to the list in this file");
        for (code, page) in PAGES {
            assert!(page.starts_with(&format!("# {code}\n")), "docs/errors/{code}.md must open with its code");
        }
    }
}
