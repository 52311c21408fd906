//! `backstay tenant`: the owners of everything, in a tree.

use std::process::ExitCode;

use anyhow::Result;
use api::{NewTenant, Tenant, TenantChange};
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
    /// Change the name or the description of a tenant
    #[command(after_help = "Example: backstay tenant change sales --name sales-eu")]
    Change(ChangeArgs),
    /// Delete a tenant that has nothing below it, no resources and no policies
    #[command(after_help = "Example: backstay tenant delete sales")]
    Delete {
        /// The tenant: its name, id, or the beginning of it
        tenant: String,
    },
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

#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// The tenant: its name, id, or the beginning of it
    tenant: String,
    /// Another name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Another description
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

pub(crate) async fn run(command: TenantCommand, ctx: &Context) -> Result<ExitCode> {
    match command {
        TenantCommand::Create(args) => create(args, ctx).await,
        TenantCommand::Change(args) => change(args, ctx).await,
        TenantCommand::Delete { tenant } => delete(&tenant, ctx).await,
        TenantCommand::List { page } => list(&page, ctx).await,
    }
}

async fn create(args: CreateArgs, ctx: &Context) -> Result<ExitCode> {
    let parent = resolve::maybe::<Tenant>(&ctx.client, args.parent.as_deref()).await?;
    let new = NewTenant { name: args.name, parent: parent.map(|t| t.id), description: args.description };
    show(&ctx.client.create_tenant(&new).await?, ctx)
}

async fn change(args: ChangeArgs, ctx: &Context) -> Result<ExitCode> {
    let tenant = resolve::one::<Tenant>(&ctx.client, &args.tenant).await?;
    let change = TenantChange { name: args.name, description: args.description, ..TenantChange::default() };
    show(&ctx.client.change_tenant(tenant.id, &change).await?, ctx)
}

async fn delete(tenant: &str, ctx: &Context) -> Result<ExitCode> {
    let tenant = resolve::one::<Tenant>(&ctx.client, tenant).await?;
    ctx.client.delete_tenant(tenant.id).await?;
    ctx.out.note(format!("Deleted tenant '{}'.", tenant.name));
    done()
}

fn show(t: &Tenant, ctx: &Context) -> Result<ExitCode> {
    if ctx.out.json {
        ctx.out.json(t)?;
        return done();
    }
    ctx.out.details(vec![
        ("name", Some((&t.name).into())),
        ("id", Some(t.id.to_string().into())),
        ("number", Some(t.number.to_string().into())),
        ("locator", Some((&t.locator).into())),
        ("description", (!t.description.is_empty()).then(|| (&t.description).into())),
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
