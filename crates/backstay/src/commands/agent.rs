//! `backstay agent`: the processes that move the data. How one joins and runs stands in `agent_process`.

use std::process::ExitCode;

use anyhow::Result;
use api::Agent;
use clap::Subcommand;

use super::Context;
use crate::cli::PageArgs;
use crate::output::{Cell, Tone, short_ids};

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// List agents, and whether each is connected
    #[command(after_help = "Example: backstay agent list")]
    List {
        #[command(flatten)]
        page: PageArgs,
    },
    #[command(after_help = super::agent_process::JOIN_EXAMPLE)]
    Join(super::agent_process::JoinArgs),
    #[command(after_help = super::agent_process::RUN_EXAMPLE)]
    Run(super::agent_process::RunArgs),
}

pub(crate) async fn list(page: &PageArgs, ctx: &Context) -> Result<ExitCode> {
    let list = ctx.client.agents(&page.query()).await?;
    let ids = short_ids(&list.items.iter().map(|a| a.id).collect::<Vec<_>>());
    let row = |(a, id): (&Agent, String)| {
        vec![
            Cell::from(&a.name),
            if a.online { Cell::toned("online", Tone::Good) } else { Cell::toned("offline", Tone::Bad) },
            Cell::from(ctx.out.stamp_or_dash(a.last_seen_at)),
            Cell::from(&a.os),
            Cell::from(&a.version),
            Cell::toned(id, Tone::Faint),
        ]
    };
    let rows = list.items.iter().zip(ids).map(row).collect();
    ctx.list(&list, ("agent", "agents"), &["NAME", "STATUS", "LAST SEEN", "SYSTEM", "VERSION", "ID"], rows)
}
