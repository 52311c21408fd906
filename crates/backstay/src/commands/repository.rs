//! `backstay repository`: where backups lie.

use std::process::ExitCode;

use anyhow::Result;
use api::Repository;
use clap::Subcommand;

use super::Context;
use crate::cli::PageArgs;
use crate::output::{Cell, Tone, short_ids};

#[derive(Debug, Subcommand)]
pub(crate) enum RepositoryCommand {
    /// List repositories
    #[command(after_help = "Example: backstay repository list")]
    List {
        #[command(flatten)]
        page: PageArgs,
    },
}

pub(crate) async fn run(command: RepositoryCommand, ctx: &Context) -> Result<ExitCode> {
    let RepositoryCommand::List { page } = command;
    let list = ctx.client.repositories(&page.query()).await?;
    let ids = short_ids(&list.items.iter().map(|r| r.id).collect::<Vec<_>>());
    let row = |(r, id): (&Repository, String)| {
        vec![
            Cell::from(&r.name),
            Cell::from(&r.url),
            Cell::from(if r.append_only { "append only" } else { "read and write" }),
            Cell::from(ctx.out.stamp(r.created_at)),
            Cell::toned(id, Tone::Faint),
        ]
    };
    let rows = list.items.iter().zip(ids).map(row).collect();
    ctx.list(&list, ("repository", "repositories"), &["NAME", "WHERE", "ACCESS", "CREATED", "ID"], rows)
}
