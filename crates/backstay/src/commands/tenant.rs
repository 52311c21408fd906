//! `backstay tenant`: the owners of everything, in a tree.

use std::process::ExitCode;

use anyhow::Result;
use api::{NewTenant, Tenant};
use clap::{Args, Subcommand};

use super::{Context, done};
use crate::cli::PageArgs;
use crate::output::{Cell, Tone, short_ids};
use crate::resolve;

#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Make a tenant below your own or another one
    #[command(after_help = "Example: backstay tenant create sales --parent acme")]
    Create(CreateArgs),
    /// List tenants
    #[command(after_help = "Example: backstay tenant list")]
    List {
        #[command(flatten)]
        page: PageArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The name
    name: String,
    /// The tenant above; your own where none is named
    #[arg(long, value_name = "TENANT")]
    parent: Option<String>,
    /// Free text
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
}

pub(crate) async fn run(command: TenantCommand, ctx: &Context) -> Result<ExitCode> {
    match command {
        TenantCommand::Create(args) => create(args, ctx).await,
        TenantCommand::List { page } => list(&page, ctx).await,
    }
}

async fn create(args: CreateArgs, ctx: &Context) -> Result<ExitCode> {
    let parent = resolve::maybe::<Tenant>(&ctx.client, args.parent.as_deref()).await?;
    let new = NewTenant { name: args.name, parent: parent.map(|t| t.id), description: args.description };
    let t = ctx.client.create_tenant(&new).await?;
    if ctx.out.json {
        ctx.out.json(&t)?;
        return done();
    }
    ctx.out.details(vec![
        ("name", Some((&t.name).into())),
        ("id", Some(t.id.to_string().into())),
        ("number", Some(t.number.to_string().into())),
        ("locator", Some((&t.locator).into())),
        ("time zone", Some((&t.time_zone).into())),
    ])?;
    done()
}

async fn list(page: &PageArgs, ctx: &Context) -> Result<ExitCode> {
    let list = ctx.client.tenants(&page.query().order("number")).await?;
    let ids = short_ids(&list.items.iter().map(|t| t.id).collect::<Vec<_>>());
    let row = |(t, id): (&Tenant, String)| {
        vec![
            Cell::from(t.number.to_string()),
            Cell::from(&t.name),
            Cell::from(&t.locator),
            Cell::from(&t.description),
            Cell::toned(id, Tone::Faint),
        ]
    };
    let rows = list.items.iter().zip(ids).map(row).collect();
    ctx.list(&list, ("tenant", "tenants"), &["NUMBER", "NAME", "LOCATOR", "DESCRIPTION", "ID"], rows)
}
