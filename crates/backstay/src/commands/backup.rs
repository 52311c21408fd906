//! `backstay backup`: recovery points, and the files in them.

use std::process::ExitCode;

use anyhow::Result;
use api::{Backup, FileList, Filesystem, Policy, Repository, Resource, Verify};
use clap::{Args, Subcommand};

use super::{Context, done, joined};
use crate::cli::{PageArgs, WaitArgs};
use crate::output::{Cell, Tone, short_ids};
use crate::{format, resolve};

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// List backups, newest first
    #[command(after_help = "Example: backstay backup list --resource web-1")]
    List(ListArgs),
    /// Show one backup
    #[command(after_help = "Example: backstay backup show latest:web-1")]
    Show {
        /// The backup: an id, the beginning of one, or latest:RESOURCE
        backup: String,
    },
    /// List the files in a folder of a backup
    #[command(after_help = "Example: backstay backup files latest:web-1 /etc")]
    Files(FilesArgs),
    /// Read a backup again: all of its data, or some files of it as a restore test
    #[command(after_help = "Example: backstay backup verify latest:web-1 --files 20")]
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The backup: an id, the beginning of one, or latest:RESOURCE
    backup: String,
    #[command(flatten)]
    sample: SampleArgs,
    /// What files are picked by: the seed of a former task picks its files again
    #[arg(long, value_name = "SEED", requires = "files")]
    seed: Option<u64>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// How much is read.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct SampleArgs {
    /// Restore only so many files, picked at random, to nowhere, and compare them; otherwise all data is read
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) files: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only of this resource
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,
    /// Only those made under this policy
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// Only those in this repository
    #[arg(long, value_name = "REPOSITORY")]
    repository: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// The backup: an id, the beginning of one, or latest:RESOURCE
    backup: String,
    /// The folder in it
    #[arg(default_value = "/")]
    path: String,
    /// Only the entries after the one of this name
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
    /// How many entries at most
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

pub(crate) async fn run(command: BackupCommand, ctx: &Context) -> Result<ExitCode> {
    match command {
        BackupCommand::List(args) => list(args, ctx).await,
        BackupCommand::Show { backup } => {
            let backup = resolve::backup(&ctx.client, &backup).await?;
            show(&backup, ctx)
        }
        BackupCommand::Files(args) => files(args, ctx).await,
        BackupCommand::Verify(args) => verify(args, ctx).await,
    }
}

async fn list(args: ListArgs, ctx: &Context) -> Result<ExitCode> {
    let client = &ctx.client;
    let resource = resolve::maybe::<Resource>(client, args.resource.as_deref()).await?.map(|r| r.id);
    let policy = resolve::maybe::<Policy>(client, args.policy.as_deref()).await?.map(|p| p.id);
    let repository = resolve::maybe::<Repository>(client, args.repository.as_deref()).await?.map(|r| r.id);
    let query = args.page.query().order("-created_at");
    let query = query.maybe("resource", resource).maybe("policy", policy).maybe("repository", repository);
    let list = client.backups(&query).await?;
    let ids = short_ids(&list.items.iter().map(|b| b.id).collect::<Vec<_>>());
    let row = |(b, id): (&Backup, String)| {
        vec![
            Cell::from(id),
            Cell::from(&b.resource_name),
            Cell::from(ctx.out.stamp(b.created_at)),
            Cell::from(b.kind.name()),
            Cell::from(format::size(b.size)),
            Cell::from(format::size(b.added)),
            Cell::from(format::count(b.files)),
            Cell::toned(b.task.to_string(), Tone::Faint),
            Cell::from(b.kept_because.join("; ")),
        ]
    };
    let rows = list.items.iter().zip(ids).map(row).collect();
    let header = ["ID", "RESOURCE", "CREATED", "KIND", "SIZE", "ADDED", "FILES", "TASK", "KEPT BECAUSE"];
    ctx.list(&list, ("backup", "backups"), &header, rows)
}

fn show(b: &Backup, ctx: &Context) -> Result<ExitCode> {
    let out = &ctx.out;
    if out.json {
        out.json(b)?;
        return done();
    }
    out.details(vec![
        ("id", Some(b.id.to_string().into())),
        ("resource", Some(format!("{} ({})", b.resource_name, b.resource).into())),
        ("created", Some(out.full_stamp(b.created_at).into())),
        ("kind", Some(b.kind.name().into())),
        ("paths", joined(&b.paths)),
        ("size", Some(format::size(b.size).into())),
        ("added", Some(format::size(b.added).into())),
        ("files", Some(format::count(b.files).into())),
        ("kept because", joined(&b.kept_because)),
        ("browsable", (!b.browsable).then(|| Cell::toned(unbrowsable(b), Tone::Warn))),
        ("file systems", joined(&b.filesystems.iter().map(filesystem).collect::<Vec<_>>())),
        ("repository", Some(b.repository.to_string().into())),
        ("snapshot", Some((&b.snapshot).into())),
        ("policy", b.policy.map(|p| p.to_string().into())),
        ("task", Some(b.task.to_string().into())),
        ("tenant", Some(b.tenant.to_string().into())),
    ])?;
    done()
}

async fn verify(args: VerifyArgs, ctx: &Context) -> Result<ExitCode> {
    let backup = resolve::backup(&ctx.client, &args.backup).await?;
    let wish = Verify { files: args.sample.files.unwrap_or(0), seed: args.seed };
    let task = ctx.client.verify_backup(backup.id, &wish).await?;
    if args.wait.wanted() {
        return ctx.wait_and_print(&task.id.to_string(), None).await;
    }
    if ctx.out.json {
        ctx.out.json(&task)?;
    } else {
        ctx.out.line(format!("{} was started; `backstay task watch {}`", format::title(&task), task.id))?;
    }
    done()
}

fn unbrowsable(b: &Backup) -> String {
    if b.browsing_failed.is_empty() { "no".to_owned() } else { format!("no: {}", b.browsing_failed) }
}

fn filesystem(f: &Filesystem) -> String {
    let files = f.files.map_or_else(|| "not readable".to_owned(), |n| format!("{} entries", format::count(n)));
    format!("{} ({}, {}, {files})", f.path, f.kind, format::size(f.size))
}

async fn files(args: FilesArgs, ctx: &Context) -> Result<ExitCode> {
    let backup = resolve::backup(&ctx.client, &args.backup).await?;
    let list: FileList =
        ctx.client.backup_files(backup.id, &args.path, args.after.as_deref(), Some(args.limit)).await?;
    if ctx.out.json {
        ctx.out.json(&list)?;
        return done();
    }
    let rows = list.items.iter().map(|f| {
        let name = match (f.kind.as_str(), &f.link_target) {
            ("dir", _) => Cell::toned(format!("{}/", f.name), Tone::Live),
            (_, Some(target)) => Cell::from(format!("{} -> {target}", f.name)),
            _ => Cell::from(&f.name),
        };
        let size = if f.kind == "file" { format::size(f.size) } else { "-".to_owned() };
        let mode = f.mode.map_or_else(|| "-".to_owned(), |m| format!("{:04o}", m & 0o7777));
        vec![Cell::from(mode), Cell::from(size), Cell::from(ctx.out.stamp_or_dash(f.modified_at)), name]
    });
    ctx.out.table(&["MODE", "SIZE", "MODIFIED", "NAME"], rows.collect(), "the folder is empty")?;
    if let Some(next) = &list.next {
        ctx.out.line(format!("there is more; --after '{}' for what follows", format::clean_line(next)))?;
    }
    done()
}
