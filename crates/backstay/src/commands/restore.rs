//! `backstay restore`: write a backup, or some of its files, back to a machine.

use std::process::ExitCode;

use anyhow::Result;
use api::{Resource, Restore};
use clap::Args;

use super::{Context, done};
use crate::cli::WaitArgs;
use crate::{format, resolve};

/// Write a backup, or some of its files, back to a machine.
#[derive(Debug, Args)]
#[command(after_help = "Example: backstay restore latest:web-1 --path /etc/nginx --to /tmp/restored")]
pub(crate) struct RestoreArgs {
    /// The backup: an id, the beginning of one, or latest:RESOURCE
    backup: String,
    /// The folder to write to, on the machine of the resource's agent; files lie below it under their whole path
    #[arg(long, value_name = "DIR")]
    to: String,
    /// Of a volume: --to is a block device that nobody uses, and is written over
    #[arg(long)]
    overwrite_device: bool,
    /// Only this path of the backup; can be given several times
    #[arg(long = "path", value_name = "P")]
    paths: Vec<String>,
    /// Write to the machine of this resource; the one that was backed up where none is named
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

pub(crate) async fn run(args: RestoreArgs, ctx: &Context) -> Result<ExitCode> {
    let backup = resolve::backup(&ctx.client, &args.backup).await?;
    let resource = resolve::maybe::<Resource>(&ctx.client, args.resource.as_deref()).await?;
    let restore = Restore {
        to: ctx.path(&args.to)?,
        overwrite_device: args.overwrite_device,
        paths: args.paths,
        resource: resource.map(|r| r.id),
    };
    let task = ctx.client.restore(backup.id, &restore).await?;
    if !args.wait.wanted() {
        if ctx.out.json {
            ctx.out.json(&task)?;
        } else {
            let to = format::clean_line(&restore.to);
            ctx.out.line(format!(
                "{} was started, to {to}; `backstay task watch {}`",
                format::title(&task),
                task.id
            ))?;
        }
        return done();
    }
    ctx.wait_and_print(&task.id.to_string(), None).await
}
