//! `backstay policy preview` and `change`: what a policy will do, what it would do after a change, and that change.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use api::{ApplicationPreview, Policy, PolicyChange, Resource};
use clap::Args;

use super::{Context, done};
use crate::output::{Cell, Tone, short_ids};
use crate::{format, resolve};

#[derive(Debug, Args)]
pub(crate) struct PreviewArgs {
    /// The policy
    policy: String,
    /// Only for this resource; otherwise for all it is applied to
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,
    /// So many of the next runs of each resource
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    count: u32,
    /// As if the policy were changed to what this file says; nothing is changed
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// The policy
    policy: String,
    /// JSON with what changes, or all of a policy as `policy show --json` writes it
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

pub(crate) async fn preview(args: PreviewArgs, ctx: &Context) -> Result<ExitCode> {
    let policy = resolve::one::<Policy>(&ctx.client, &args.policy).await?;
    let resource = resolve::maybe::<Resource>(&ctx.client, args.resource.as_deref()).await?.map(|r| r.id);
    let preview = match &args.file {
        None => ctx.client.policy_preview(policy.id, resource, Some(args.count)).await?,
        Some(file) => ctx.client.preview_policy(policy.id, &read_change(file)?, resource, Some(args.count)).await?,
    };
    if ctx.out.json {
        ctx.out.json(&preview)?;
        return done();
    }
    if preview.applications.is_empty() {
        let name = format::clean_line(&preview.name);
        ctx.out.line(format!("'{name}' is applied to nothing; `backstay policy apply {name} RESOURCE` does it"))?;
    }
    for (i, application) in preview.applications.iter().enumerate() {
        if i > 0 {
            ctx.out.line("")?;
        }
        show(application, ctx)?;
    }
    done()
}

fn show(a: &ApplicationPreview, ctx: &Context) -> Result<()> {
    let out = &ctx.out;
    let running = if a.running { "; a run is under way or waits" } else { "" };
    out.line(format!("{} ({}){running}", format::clean_line(&a.resource_name), format::clean_line(&a.time_zone)))?;
    let spread = a.runs.iter().any(|run| run.latest_start > run.at);
    let windows = a.runs.iter().any(|run| run.until.is_some());
    let mut header = vec!["NEXT RUNS", "KIND"];
    header.extend(spread.then_some("BEGINS"));
    header.extend(spread.then_some("AT THE LATEST"));
    header.extend(windows.then_some("STOPPED AT"));
    let row = |run: &api::RunPreview| {
        let kind = if run.repeats { "repeats a failed one" } else { "scheduled" };
        let kind = if run.full { format!("{kind}, full") } else { kind.to_owned() };
        let mut row = vec![Cell::from(&run.local), Cell::from(kind)];
        row.extend(spread.then(|| Cell::from(out.stamp(run.starts_at))));
        row.extend(spread.then(|| Cell::from(out.stamp(run.latest_start))));
        row.extend(windows.then(|| Cell::from(out.stamp_or_dash(run.until))));
        row
    };
    let nothing = format!("no run is to come: {}", a.nothing_because.as_deref().unwrap_or("nothing is due"));
    out.table(&header, a.runs.iter().map(row).collect(), &nothing)?;
    if let Some(from) = a.verifies_all_from {
        out.line(format!("all data is verified with the first backup from {} on", out.stamp(from)))?;
    }
    out.line("")?;
    let ids = short_ids(&a.backups.iter().map(|b| b.backup).collect::<Vec<_>>());
    let rows = a.backups.iter().zip(ids).map(|(b, id)| {
        let fate = if b.stays { Cell::toned("stays", Tone::Good) } else { Cell::toned("goes", Tone::Warn) };
        vec![Cell::from(id), Cell::from(out.stamp(b.created_at)), fate, Cell::from(b.because.join("; "))]
    });
    out.table(&["BACKUP", "CREATED", "RETENTION", "BECAUSE"], rows.collect(), "no backups yet")
}

pub(crate) async fn change(args: ChangeArgs, ctx: &Context) -> Result<Policy> {
    let policy = resolve::one::<Policy>(&ctx.client, &args.policy).await?;
    Ok(ctx.client.change_policy(policy.id, &read_change(&args.file)?).await?)
}

/// What a file says of a policy: what changes, or all of it as `policy show --json` writes it.
fn read_change(file: &Path) -> Result<PolicyChange> {
    let text = std::fs::read_to_string(file).with_context(|| format!("'{}' cannot be read", file.display()))?;
    change_of(&text).with_context(|| format!("'{}' does not say how a policy shall be", file.display()))
}

/// What a policy has that nobody changes.
const GIVEN: [&str; 5] = ["id", "tenant", "kind", "created_at", "updated_at"];

fn change_of(text: &str) -> serde_json::Result<PolicyChange> {
    let mut said: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)?;
    // Whole policies have an id; everything else is a change. Unknown fields are refused in both.
    if !said.contains_key("id") {
        return serde_json::from_str(text);
    }
    GIVEN.iter().for_each(|given| drop(said.remove(*given)));
    let mut change: PolicyChange = serde_json::from_value(said.into())?;
    // A whole policy that says nothing of retention keeps everything.
    change.retention.get_or_insert_default();
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_changes_or_all_of_a_policy() {
        let part = change_of(r#"{"schedule": {"kind": "interval", "every": "6h"}}"#).expect("a change");
        assert!(part.schedule.is_some() && part.retention.is_none() && part.name.is_none());
        let whole = r#"{"id": "00000000-0000-0000-0000-000000000001", "tenant": "00000000-0000-0000-0000-000000000000",
            "name": "nightly", "kind": "backup", "enabled": false, "schedule": {"kind": "manual"}, "settings": {},
            "repository": "00000000-0000-0000-0000-000000000002", "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z"}"#;
        let whole = change_of(whole).expect("a policy");
        assert_eq!((whole.name.as_deref(), whole.enabled), (Some("nightly"), Some(false)));
        assert!(whole.retention.is_some(), "what it does not say is what it says");
        let typo =
            r#"{"id": "00000000-0000-0000-0000-000000000001", "name": "nightly", "shedule": {"kind": "manual"}}"#;
        assert!(change_of(typo).expect_err("a typo").to_string().contains("unknown field `shedule`"));
        assert!(change_of(r#"{"retntion": {}}"#).expect_err("a typo").to_string().contains("retntion"));
    }
}
