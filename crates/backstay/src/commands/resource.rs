//! `backstay resource`: what is protected.

use std::process::ExitCode;

use anyhow::Result;
use api::{Agent, NewResource, Resource, Sources, Tenant};
use clap::{Args, Subcommand};
use domain::resource::{ResourceKind, ResourceStatus};

use super::{Context, done, joined};
use crate::cli::PageArgs;
use crate::output::{Cell, Output, Tone, short_ids};
use crate::resolve;

#[derive(Debug, Subcommand)]
pub(crate) enum ResourceCommand {
    /// Register a machine, a volume or another thing to protect
    #[command(after_help = "Example: backstay resource add web-1 --path /etc --path /srv --exclude '*.tmp'")]
    Add(AddArgs),
    /// List what is protected, and how it stands with each
    #[command(after_help = "Example: backstay resource list --contains web")]
    List(ListArgs),
    /// Show one resource
    #[command(after_help = "Example: backstay resource show web-1")]
    Show {
        /// The resource
        #[arg(value_name = "RESOURCE")]
        resource: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The name people know
    name: String,
    /// A folder or file to back up, as the agent's machine knows it; can be given several times. Of a volume, its block
    /// device or disk image
    #[arg(long = "path", value_name = "P", required = true)]
    paths: Vec<String>,
    /// A glob of what to leave out, beside those of the policy; can be given several times
    #[arg(long = "exclude", value_name = "G")]
    excludes: Vec<String>,
    /// What sort of thing it is
    #[arg(long, value_name = "KIND", default_value = "bare_metal", value_parser = kinds())]
    kind: ResourceKind,
    /// The agent that reaches it; may be left out where there is only one
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// The name that the machine or cloud gives it, at most 50 characters; made up where none is given
    #[arg(long, value_name = "ID")]
    instance_id: Option<String>,
    /// The owner; your own tenant where none is named
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those with this text in their name
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

fn kinds() -> impl clap::builder::TypedValueParser<Value = ResourceKind> {
    use clap::builder::TypedValueParser as _;
    let names = clap::builder::PossibleValuesParser::new(ResourceKind::NAMES);
    names.try_map(|name| ResourceKind::parse(&name).ok_or("no such kind"))
}

pub(crate) async fn run(command: ResourceCommand, ctx: &Context) -> Result<ExitCode> {
    match command {
        ResourceCommand::Add(args) => add(args, ctx).await,
        ResourceCommand::List(args) => list(args, ctx).await,
        ResourceCommand::Show { resource } => {
            let resource = resolve::one::<Resource>(&ctx.client, &resource).await?;
            show(&resource, ctx)
        }
    }
}

async fn add(args: AddArgs, ctx: &Context) -> Result<ExitCode> {
    let agent = resolve::maybe::<Agent>(&ctx.client, args.agent.as_deref()).await?;
    let tenant = resolve::maybe::<Tenant>(&ctx.client, args.tenant.as_deref()).await?;
    let paths = args.paths.iter().map(|p| ctx.path(p)).collect::<Result<_>>()?;
    let new = NewResource {
        name: args.name,
        kind: args.kind,
        tenant: tenant.map(|t| t.id),
        instance_id: args.instance_id,
        agent: agent.map(|a| a.id),
        sources: Sources { paths, excludes: args.excludes },
        metadata: serde_json::Value::Null,
    };
    let resource = ctx.client.add_resource(&new).await?;
    show(&resource, ctx)
}

async fn list(args: ListArgs, ctx: &Context) -> Result<ExitCode> {
    let list = ctx.client.resources(&args.page.query().maybe("contains", args.contains)).await?;
    let ids = short_ids(&list.items.iter().map(|r| r.id).collect::<Vec<_>>());
    let row = |(r, id): (&Resource, String)| {
        vec![
            Cell::from(&r.name),
            status(r),
            Cell::from(if r.online { "online" } else { "offline" }),
            Cell::from(ctx.out.stamp_or_dash(r.last_backup_at)),
            Cell::from(ctx.out.stamp_or_dash(r.next_backup_at)),
            Cell::from(r.sources.paths.join(" ")),
            Cell::toned(id, Tone::Faint),
        ]
    };
    let rows = list.items.iter().zip(ids).map(row).collect();
    let header = ["NAME", "STATUS", "AGENT", "LAST BACKUP", "NEXT BACKUP", "PATHS", "ID"];
    ctx.list(&list, ("resource", "resources"), &header, rows)
}

fn show(r: &Resource, ctx: &Context) -> Result<ExitCode> {
    let out: &Output = &ctx.out;
    if out.json {
        out.json(r)?;
        return done();
    }
    let agent = match (r.agent, r.online) {
        (None, _) => Cell::toned("none", Tone::Warn),
        (Some(id), true) => Cell::from(format!("{id} (online)")),
        (Some(id), false) => Cell::toned(format!("{id} (offline)"), Tone::Warn),
    };
    out.details(vec![
        ("name", Some((&r.name).into())),
        ("id", Some(r.id.to_string().into())),
        ("instance id", Some((&r.instance_id).into())),
        ("kind", Some(r.kind.name().into())),
        ("status", Some(status(r))),
        ("agent", Some(agent)),
        ("paths", joined(&r.sources.paths)),
        ("excludes", joined(&r.sources.excludes)),
        ("enabled", (!r.enabled).then(|| Cell::toned("no", Tone::Warn))),
        ("registration", Some(r.registration.name().into())),
        ("last backup", Some(r.last_backup_at.map_or_else(|| "none yet".to_owned(), |t| out.full_stamp(t)).into())),
        ("next backup", r.next_backup_at.map(|t| out.full_stamp(t).into())),
        ("tenant", Some(r.tenant.to_string().into())),
        ("created", Some(out.full_stamp(r.created_at).into())),
    ])?;
    done()
}

fn status(r: &Resource) -> Cell {
    let percent = r.status_progress.map(|p| format!(" {p} %")).unwrap_or_default();
    let tone = match r.status {
        ResourceStatus::Idle if r.last_backup_at.is_some() => Tone::Good,
        ResourceStatus::Idle => Tone::Plain,
        ResourceStatus::BackingUp | ResourceStatus::Recovering | ResourceStatus::Other => Tone::Live,
        ResourceStatus::Failed => Tone::Bad,
    };
    Cell::toned(format!("{}{percent}", r.status), tone)
}
