//! `backstay key`: what the access tokens of users and clients are signed with.

use std::process::ExitCode;

use anyhow::Result;
use api::SigningKey;
use clap::{Args, Subcommand};

use super::{Context, access_cell, done};
use crate::cli::PageArgs;
use crate::output::{Cell, Tone, short_ids};
use crate::resolve;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// List keys, newest first; the newest that is valid signs
    #[command(after_help = "Example: backstay key list")]
    List {
        #[command(flatten)]
        page: PageArgs,
    },
    /// Make a key that signs from now on; what was signed before is still accepted
    #[command(after_help = "Example: backstay key rotate")]
    Rotate,
    /// Revoke a key: from now on nothing that was signed under it is accepted
    #[command(after_help = "Example: backstay key revoke 0193a4b2-7c11")]
    Revoke(KeyArg),
}

#[derive(Debug, Args)]
pub(crate) struct KeyArg {
    /// The key, by id
    #[arg(value_name = "KEY")]
    key: String,
}

pub(crate) async fn run(command: KeyCommand, ctx: &Context) -> Result<ExitCode> {
    match command {
        KeyCommand::List { page } => list(&page, ctx).await,
        KeyCommand::Rotate => {
            let key = ctx.client.rotate_signing_key().await?;
            tell(&key, &format!("access tokens are signed under the key {} from now on", key.id), ctx)
        }
        KeyCommand::Revoke(arg) => {
            let key = resolve::one::<SigningKey>(&ctx.client, &arg.key).await?;
            let key = ctx.client.revoke_signing_key(key.id).await?;
            tell(&key, &format!("what was signed under the key {} is no longer accepted", key.id), ctx)
        }
    }
}

fn tell(key: &SigningKey, told: &str, ctx: &Context) -> Result<ExitCode> {
    if ctx.out.json {
        ctx.out.json(key)?;
    } else {
        ctx.out.line(told)?;
    }
    done()
}

async fn list(page: &PageArgs, ctx: &Context) -> Result<ExitCode> {
    let list = ctx.client.signing_keys(&page.query()).await?;
    let ids = short_ids(&list.items.iter().map(|k| k.id).collect::<Vec<_>>());
    let row = |(k, id): (&SigningKey, String)| {
        vec![
            Cell::from(id),
            Cell::from(&k.algorithm),
            access_cell(k.revoked_at),
            Cell::from(ctx.out.stamp(k.created_at)),
            Cell::toned(ctx.out.stamp_or_dash(k.revoked_at), Tone::Faint),
        ]
    };
    let rows = list.items.iter().zip(ids).map(row).collect();
    ctx.list(&list, ("key", "keys"), &["ID", "ALGORITHM", "STATE", "CREATED", "REVOKED"], rows)
}
