//! `backstay policy`: when backups run, of what, and to start one now.

use std::process::ExitCode;

use anyhow::Result;
use api::client::ListQuery;
use api::{Application, NewPolicy, Policy, Repository, Resource, Settings, Tenant};
use clap::{ArgGroup, Args, Subcommand};
use domain::policy::Schedule;
use domain::policy::calendar::Interval;
use domain::{SignedDuration, Uuid};
use jiff::civil::Time;

use super::policy_preview::{self, ChangeArgs, PreviewArgs};
use super::{Context, done, joined};
use crate::cli::{PageArgs, WaitArgs};
use crate::output::{Cell, Tone, short_ids};
use crate::problem::Exit;
use crate::{format, resolve, times};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Make a policy; it runs for nothing until it is applied
    #[command(
        after_help = "Example: backstay policy create nightly --daily 02:30 --time-zone Europe/Berlin --exclude '*.tmp'"
    )]
    Create(CreateArgs),
    /// List policies
    #[command(after_help = "Example: backstay policy list")]
    List {
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show one policy, and what it is applied to
    #[command(after_help = "Example: backstay policy show nightly")]
    Show {
        /// The policy
        policy: String,
    },
    /// Protect resources by a policy; doing it again changes nothing
    #[command(after_help = "Example: backstay policy apply nightly web-1 web-2")]
    Apply(OnResources),
    /// Stop protecting resources by a policy; their backups stay
    #[command(after_help = "Example: backstay policy revoke nightly web-1")]
    Revoke(OnResources),
    /// Change a policy; it counts from now on
    #[command(after_help = "Example: backstay policy show nightly --json > nightly.json; $EDITOR nightly.json; \
                      backstay policy preview nightly --file nightly.json; \
                      backstay policy change nightly --file nightly.json")]
    Change(ChangeArgs),
    /// Show the next runs of a policy, and what its retention keeps and removes; also as if it were changed
    #[command(after_help = "Example: backstay policy preview nightly --count 10 --file wanted.json")]
    Preview(PreviewArgs),
    /// Run a policy now, and wait for its tasks
    #[command(after_help = "Example: backstay policy run nightly --resource web-1")]
    Run(RunArgs),
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("schedule").required(true).args(["daily", "every", "manual"])))]
pub(crate) struct CreateArgs {
    /// The name people know
    name: String,
    /// Run once a day at this local time
    #[arg(long, value_name = "HH:MM", value_parser = times::time_of_day)]
    daily: Option<Time>,
    /// The time zone of --daily; this machine's where none is named
    #[arg(long, value_name = "ZONE", requires = "daily")]
    time_zone: Option<String>,
    /// Run again and again, this long after the former run was due
    #[arg(long, value_name = "DURATION", value_parser = times::duration)]
    every: Option<SignedDuration>,
    /// Run only when somebody asks
    #[arg(long)]
    manual: bool,
    /// A glob of what to leave out; can be given several times
    #[arg(long = "exclude", value_name = "G")]
    excludes: Vec<String>,
    /// A glob of what to keep, where not everything shall be kept; can be given several times
    #[arg(long = "include", value_name = "G")]
    includes: Vec<String>,
    /// Verify each good backup: restore so many of its files as a test; 0 = read all of its data
    #[arg(long, value_name = "N")]
    verify_files: Option<u32>,
    /// Read all data of a backup when that was last done so long ago, or never: 30d, 4w, 1mo
    #[arg(long, value_name = "SPAN", value_parser = times::interval)]
    verify_all_every: Option<Interval>,
    /// Where backups go; may be left out where there is only one repository
    #[arg(long, value_name = "REPOSITORY")]
    repository: Option<String>,
    /// The owner; your own tenant where none is named
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
}

impl CreateArgs {
    fn schedule(&self) -> Schedule {
        match (self.daily, self.every) {
            (Some(at), _) => {
                Schedule::Daily { at, time_zone: self.time_zone.clone().unwrap_or_else(times::local_zone_name) }
            }
            (None, Some(every)) => Schedule::Interval { every },
            (None, None) => Schedule::Manual {},
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct OnResources {
    /// The policy
    policy: String,
    /// The resources
    #[arg(value_name = "RESOURCE", required = true)]
    resources: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The policy
    policy: String,
    /// Only for this resource; otherwise for all it is applied to
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(crate) async fn run(command: PolicyCommand, ctx: &Context) -> Result<ExitCode> {
    match command {
        PolicyCommand::Create(args) => create(args, ctx).await,
        PolicyCommand::List { page } => list(&page, ctx).await,
        PolicyCommand::Show { policy } => {
            let policy = resolve::one::<Policy>(&ctx.client, &policy).await?;
            show(&policy, ctx).await
        }
        PolicyCommand::Apply(args) => apply(&args, ctx).await,
        PolicyCommand::Revoke(args) => revoke(&args, ctx).await,
        PolicyCommand::Change(args) => show(&policy_preview::change(args, ctx).await?, ctx).await,
        PolicyCommand::Preview(args) => policy_preview::preview(args, ctx).await,
        PolicyCommand::Run(args) => run_now(args, ctx).await,
    }
}

async fn create(args: CreateArgs, ctx: &Context) -> Result<ExitCode> {
    let schedule = args.schedule();
    let repository = resolve::maybe::<Repository>(&ctx.client, args.repository.as_deref()).await?;
    let tenant = resolve::maybe::<Tenant>(&ctx.client, args.tenant.as_deref()).await?;
    let new = NewPolicy {
        name: args.name,
        schedule,
        tenant: tenant.map(|t| t.id),
        retention: Default::default(),
        settings: Settings {
            includes: args.includes,
            excludes: args.excludes,
            verify: args.verify_files.is_some(),
            verify_files: args.verify_files.unwrap_or_default(),
            verify_all_every: args.verify_all_every,
            ..Settings::default()
        },
        repository: repository.map(|r| r.id),
        enabled: true,
    };
    let policy = ctx.client.create_policy(&new).await?;
    show(&policy, ctx).await
}

async fn list(page: &PageArgs, ctx: &Context) -> Result<ExitCode> {
    let list = ctx.client.policies(&page.query()).await?;
    let ids = short_ids(&list.items.iter().map(|p| p.id).collect::<Vec<_>>());
    let row = |(p, id): (&Policy, String)| {
        vec![
            Cell::from(&p.name),
            Cell::from(schedule_text(&p.schedule)),
            if p.enabled { Cell::toned("yes", Tone::Good) } else { Cell::toned("no", Tone::Warn) },
            Cell::from(p.settings.excludes.join(" ")),
            Cell::toned(id, Tone::Faint),
        ]
    };
    let rows = list.items.iter().zip(ids).map(row).collect();
    ctx.list(&list, ("policy", "policies"), &["NAME", "RUNS", "ENABLED", "EXCLUDES", "ID"], rows)
}

async fn show(p: &Policy, ctx: &Context) -> Result<ExitCode> {
    let out = &ctx.out;
    if out.json {
        out.json(p)?;
        return done();
    }
    out.details(vec![
        ("name", Some((&p.name).into())),
        ("id", Some(p.id.to_string().into())),
        ("runs", Some(schedule_text(&p.schedule).into())),
        ("enabled", Some(if p.enabled { "yes".into() } else { Cell::toned("no", Tone::Warn) })),
        ("includes", joined(&p.settings.includes)),
        ("excludes", joined(&p.settings.excludes)),
        ("verifies", verified(&p.settings).map(Into::into)),
        ("repository", Some(p.repository.to_string().into())),
        ("tenant", Some(p.tenant.to_string().into())),
        ("created", Some(out.full_stamp(p.created_at).into())),
    ])?;
    let applied = ctx.client.policy_applications(p.id, &ListQuery::new().limit(50).page(1)).await?;
    let mut rows = Vec::new();
    for a in &applied.items {
        rows.push(vec![
            Cell::from(resource_name(ctx, a.resource).await),
            Cell::from(out.stamp_or_dash(a.last_run_at)),
            Cell::from(out.stamp_or_dash(a.next_run_at)),
            Cell::from(a.last_task.map_or_else(|| "-".to_owned(), |t| t.to_string())),
        ]);
    }
    out.line("")?;
    let nothing = format!("not applied yet; `backstay policy apply {} RESOURCE` does it", format::clean_line(&p.name));
    out.table(&["APPLIED TO", "LAST RUN", "NEXT RUN", "LAST TASK"], rows, &nothing)?;
    if let Some(total) = applied.total.filter(|t| *t > applied.items.len() as u64) {
        out.line(format!("and {} more", format::counted(total - applied.items.len() as u64, "resource", "resources")))?;
    }
    done()
}

/// What of its backups a policy verifies; nothing where that is nothing.
fn verified(settings: &Settings) -> Option<String> {
    let usual = settings.verify.then(|| match settings.verify_files {
        0 => "all data of each backup".to_owned(),
        n => format!("{} of each backup", format::counted(n.into(), "file", "files")),
    });
    let all = settings.verify_all_every.map(|every| format!("all data of a backup every {every}"));
    let parts: Vec<String> = usual.into_iter().chain(all).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The name of a resource, or its id when it cannot be read: a table of many must not fail for one.
async fn resource_name(ctx: &Context, id: Uuid) -> String {
    ctx.client.resource(id).await.map_or_else(|_| id.to_string(), |r| r.name)
}

async fn apply(args: &OnResources, ctx: &Context) -> Result<ExitCode> {
    let policy = resolve::one::<Policy>(&ctx.client, &args.policy).await?;
    let mut applied = Vec::new();
    for resource in &args.resources {
        let resource = resolve::one::<Resource>(&ctx.client, resource).await?;
        let a: Application = ctx.client.apply_policy(policy.id, resource.id).await?;
        if !ctx.out.json {
            let next = a.next_run_at.map(|t| format!("; runs next at {}", ctx.out.stamp(t))).unwrap_or_default();
            ctx.out.line(format::clean_line(&format!("'{}' protects '{}'{next}", policy.name, resource.name)))?;
        }
        applied.push(a);
    }
    if ctx.out.json {
        ctx.out.json(&items(applied))?;
    }
    done()
}

async fn revoke(args: &OnResources, ctx: &Context) -> Result<ExitCode> {
    let policy = resolve::one::<Policy>(&ctx.client, &args.policy).await?;
    for resource in &args.resources {
        let resource = resolve::one::<Resource>(&ctx.client, resource).await?;
        ctx.client.revoke_policy(policy.id, resource.id).await?;
        if !ctx.out.json {
            let text = format!("'{}' no longer protects '{}'; its backups stay", policy.name, resource.name);
            ctx.out.line(format::clean_line(&text))?;
        }
    }
    done()
}

async fn run_now(args: RunArgs, ctx: &Context) -> Result<ExitCode> {
    let policy = resolve::one::<Policy>(&ctx.client, &args.policy).await?;
    let resource = resolve::maybe::<Resource>(&ctx.client, args.resource.as_deref()).await?;
    let mut started = ctx.client.run_policy(policy.id, resource.map(|r| r.id)).await?;
    if !args.wait.wanted() || started.items.is_empty() {
        if ctx.out.json {
            ctx.out.json(&started)?;
        } else if started.items.is_empty() {
            ctx.out.note("nothing was started: the former runs are not done yet");
        } else {
            for task in &started.items {
                ctx.out.line(format!("{} was started", format::title(task)))?;
            }
        }
        return done();
    }
    let mut exits = Vec::new();
    let mut completed = Vec::new();
    for task in started.items {
        match ctx.wait_for(&task.id.to_string(), None).await? {
            (Some(task), exit) => {
                if !ctx.out.json {
                    ctx.out.line(format::finished_task(&task))?;
                }
                exits.push(exit);
                completed.push(task);
            }
            // The waiting was ended, and with it that for the others.
            (None, exit) => return Ok(exit.into()),
        }
    }
    if ctx.out.json {
        started.items = completed;
        ctx.out.json(&started)?;
    }
    Ok(worst(&exits).into())
}

/// One exit code for several tasks: a failure outweighs a cancellation, and that a success.
pub(super) fn worst(exits: &[Exit]) -> Exit {
    [Exit::TaskFailed, Exit::TaskCancelled].into_iter().find(|e| exits.contains(e)).unwrap_or(Exit::Ok)
}

/// A list of our own making in the shape of the API's.
fn items<T>(items: Vec<T>) -> api::List<T> {
    api::List { items, next: None, total: None, page: None, pages: None }
}

fn schedule_text(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Daily { at, time_zone } => {
            let at = if at.second() == 0 { at.strftime("%H:%M").to_string() } else { at.to_string() };
            format!("daily at {at} ({time_zone})")
        }
        Schedule::Interval { every } => format!("every {every:#}"),
        Schedule::Manual {} => "when asked".to_owned(),
        Schedule::Sets(sets) if !sets.enabled => "when asked (its sets are switched off)".to_owned(),
        Schedule::Sets(sets) => match sets.sets.len() {
            1 => "as its set of runs says".to_owned(),
            n => format!("as its {n} sets of runs say"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_in_words() {
        let daily = Schedule::Daily { at: jiff::civil::time(2, 30, 0, 0), time_zone: "Europe/Berlin".into() };
        assert_eq!(schedule_text(&daily), "daily at 02:30 (Europe/Berlin)");
        assert_eq!(schedule_text(&Schedule::Interval { every: SignedDuration::from_hours(6) }), "every 6h");
    }

    #[test]
    fn verifications_in_words() {
        let words = |files: Option<u32>, every| {
            let files = (files.is_some(), files.unwrap_or_default());
            let settings =
                Settings { verify: files.0, verify_files: files.1, verify_all_every: every, ..Settings::default() };
            verified(&settings)
        };
        let monthly = Some(Interval::of(1, domain::policy::calendar::Unit::Months));
        assert_eq!(words(None, None), None);
        assert_eq!(words(Some(0), None).as_deref(), Some("all data of each backup"));
        let both = words(Some(20), monthly);
        assert_eq!(both.as_deref(), Some("20 files of each backup, all data of a backup every 1 month"));
    }

    #[test]
    fn the_worst_end_counts() {
        use Exit::{Ok, TaskCancelled, TaskFailed};
        assert_eq!(worst(&[Ok, TaskCancelled, TaskFailed]), TaskFailed);
        assert_eq!(worst(&[TaskCancelled, Ok]), TaskCancelled);
        assert_eq!(worst(&[]), Ok);
    }
}
