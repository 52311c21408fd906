//! `backstay audit`: who did what.

use std::process::ExitCode;

use anyhow::Result;
use api::AuditEntry;
use clap::{Args, Subcommand};
use domain::{Timestamp, Uuid};

use super::Context;
use crate::cli::PageArgs;
use crate::output::{Cell, Tone};
use crate::times;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List what was done, newest first
    #[command(after_help = "Example: backstay audit list --since yesterday --action token.create,token.revoke")]
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only this: an object and a verb
    #[arg(long, value_name = "ACTION,..", value_delimiter = ',')]
    action: Vec<String>,
    /// Only by this user, client or token: its id, or the name it had then
    #[arg(long, value_name = "NAME|ID")]
    by: Option<String>,
    /// Only with what has this id; a task's number
    #[arg(long, value_name = "ID")]
    object: Option<String>,
    /// Only at or after this time: 2h (ago), 7d, yesterday, 2026-11-21, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = times::when)]
    since: Option<Timestamp>,
    /// Only before this time
    #[arg(long, value_name = "TIME", value_parser = times::when)]
    until: Option<Timestamp>,
    #[command(flatten)]
    page: PageArgs,
}

pub(crate) async fn run(command: AuditCommand, ctx: &Context) -> Result<ExitCode> {
    let AuditCommand::List(args) = command;
    let mut query = args.page.query().maybe("since", args.since).maybe("until", args.until);
    for action in &args.action {
        query = query.exact("action", action);
    }
    if let Some(by) = &args.by {
        let field = if by.parse::<Uuid>().is_ok() { "actor" } else { "actor_name" };
        query = query.exact(field, by);
    }
    if let Some(object) = &args.object {
        query = query.exact("object", object);
    }
    let list = ctx.client.audit_log(&query).await?;
    let row = |e: &AuditEntry| {
        vec![
            Cell::from(ctx.out.stamp(e.created_at)),
            Cell::from(&e.actor_name),
            Cell::from(e.actor_kind.name()),
            Cell::from(&e.action),
            Cell::from(&e.object_name),
            Cell::toned(&e.object, Tone::Faint),
        ]
    };
    let rows = list.items.iter().map(row).collect();
    ctx.list(&list, ("entry", "entries"), &["TIME", "BY", "KIND", "ACTION", "OBJECT", "ID"], rows)
}
