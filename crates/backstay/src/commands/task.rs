//! `backstay task`: find tasks, look at one, watch them change, cancel them, wait for them.

use std::process::ExitCode;

use anyhow::Result;
use api::client::ListQuery;
use api::{Policy, Resource, Task};
use clap::{Args, Subcommand};
use domain::task::{ResultCode, State};
use domain::{SignedDuration, Timestamp};
use futures::StreamExt as _;

use super::{Context, done, joined};
use crate::cli::PageArgs;
use crate::format;
use crate::output::{Cell, Output, Tone, state_cell};
use crate::{resolve, times};

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// List tasks, newest first
    #[command(after_help = "Example: backstay task list --result error,abandoned,timedout --since yesterday")]
    List(Box<ListArgs>),
    /// Show one task with its result
    #[command(after_help = "Example: backstay task show 12")]
    Show(TaskArg),
    /// Follow one task with a progress bar until it is completed, or all tasks with a line for each change
    #[command(after_help = "Example: backstay task watch 12")]
    Watch(WatchArgs),
    /// Cancel a task: at once if it waits, else its agent is asked to stop
    #[command(after_help = "Example: backstay task cancel 12")]
    Cancel(TaskArg),
    /// Wait until a task is completed; the exit code tells how it ended
    #[command(after_help = "Example: backstay task wait 12 --timeout 2h")]
    Wait(WaitForArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TaskArg {
    /// The task's number or uuid
    #[arg(value_name = "TASK", value_parser = resolve::task_id)]
    task: String,
}

/// What tasks and activities are both filtered by. Several values of one option mean: any of them.
#[derive(Debug, Args)]
pub(crate) struct Filters {
    /// Only in these states: enqueued, assigned, started, paused, completed
    #[arg(long, value_name = "STATE,..", value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(State::NAMES), hide_possible_values = true)]
    state: Vec<String>,
    /// Only with these results: ok, error, warning, cancelled, abandoned, timedout
    #[arg(long, value_name = "RESULT,..", value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(ResultCode::NAMES), hide_possible_values = true)]
    result: Vec<String>,
    /// Only of these types, like backup or recovery
    #[arg(long = "type", value_name = "TYPE,..", value_delimiter = ',')]
    kind: Vec<String>,
    /// Only of this resource; can be given several times
    #[arg(long, value_name = "RESOURCE")]
    resource: Vec<String>,
    /// Only under this policy; can be given several times
    #[arg(long, value_name = "POLICY")]
    policy: Vec<String>,
    /// Only created at or after this time: 2h (ago), 7d, yesterday, 2026-11-21, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = times::when)]
    since: Option<Timestamp>,
    /// Only created before this time
    #[arg(long, value_name = "TIME", value_parser = times::when)]
    until: Option<Timestamp>,
    /// Only with this label
    #[arg(long, value_name = "TAG,..", value_delimiter = ',')]
    tag: Vec<String>,
}

impl Filters {
    /// The question with these filters.
    pub(super) async fn apply(&self, ctx: &Context, mut query: ListQuery) -> Result<ListQuery> {
        for (field, values) in
            [("state", &self.state), ("result", &self.result), ("type", &self.kind), ("tag", &self.tag)]
        {
            for value in values {
                query = query.exact(field, value);
            }
        }
        for text in &self.resource {
            query = query.exact("resource", &resolve::filter_value::<Resource>(&ctx.client, text).await?);
        }
        for text in &self.policy {
            query = query.exact("policy", &resolve::filter_value::<Policy>(&ctx.client, text).await?);
        }
        Ok(query.maybe("since", self.since).maybe("until", self.until))
    }
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filters: Filters,
    /// Only with this text in the name of the resource
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// In the order of these fields, with a minus for the largest first
    #[arg(long, value_name = "FIELD,..", default_value = "-id", allow_hyphen_values = true)]
    order: String,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The task's number or uuid; without it, all tasks
    #[arg(value_name = "TASK", value_parser = resolve::task_id)]
    task: Option<String>,
    #[command(flatten)]
    filters: Filters,
}

#[derive(Debug, Args)]
pub(crate) struct WaitForArgs {
    #[command(flatten)]
    task: TaskArg,
    /// How long to wait at most; then the exit code is 5
    #[arg(long, value_name = "DURATION", value_parser = times::duration)]
    timeout: Option<SignedDuration>,
}

pub(crate) async fn run(command: TaskCommand, ctx: &Context) -> Result<ExitCode> {
    match command {
        TaskCommand::List(args) => list(*args, ctx).await,
        TaskCommand::Show(arg) => {
            let task = ctx.client.task(&arg.task).await?;
            show(&task, ctx)
        }
        TaskCommand::Watch(WatchArgs { task: Some(task), .. }) => ctx.wait_and_print(&task, None).await,
        TaskCommand::Watch(args) => watch(&args.filters, ctx).await,
        TaskCommand::Cancel(arg) => cancel(&arg.task, ctx).await,
        TaskCommand::Wait(args) => {
            ctx.wait_and_print(&args.task.task, args.timeout.map(SignedDuration::unsigned_abs)).await
        }
    }
}

async fn list(args: ListArgs, ctx: &Context) -> Result<ExitCode> {
    let query = args.page.query().order(&args.order).maybe("contains", args.contains);
    let list = ctx.client.tasks(&args.filters.apply(ctx, query).await?).await?;
    let rows = list.items.iter().map(|t| row(t, &ctx.out)).collect();
    let header = ["ID", "TYPE", "STATE", "RESOURCE", "POLICY", "CREATED", "TOOK", "NOTE"];
    ctx.list(&list, ("task", "tasks"), &header, rows)
}

fn row(t: &Task, out: &Output) -> Vec<Cell> {
    vec![
        Cell::from(t.id.to_string()),
        Cell::from(&t.kind),
        state_cell(t.state, t.result.as_ref(), t.cancel_requested),
        named(&t.resource),
        named(&t.policy),
        Cell::from(out.stamp(t.created_at)),
        Cell::from(took(t.started_at, t.completed_at)),
        Cell::from(note(t)),
    ]
}

fn named(named: &Option<api::Named>) -> Cell {
    named.as_ref().map_or("-", |n| n.name.as_deref().unwrap_or(&n.id)).into()
}

/// How long it worked, or works until now.
pub(super) fn took(started: Option<Timestamp>, completed: Option<Timestamp>) -> String {
    match (started, completed) {
        (Some(from), Some(to)) => format::duration(to.duration_since(from)),
        (Some(from), None) => format::duration(Timestamp::now().duration_since(from)),
        _ => "-".to_owned(),
    }
}

/// The one thing worth knowing of a task in a list: how far it is, or what went wrong.
fn note(t: &Task) -> String {
    if let Some(result) = &t.result {
        let error = result.error.as_ref().or(result.warnings.first());
        return error
            .map(|e| if e.message.is_empty() { e.code.clone() } else { e.message.clone() })
            .unwrap_or_default();
    }
    t.progress.as_ref().and_then(format::fraction).map(|f| format!("{:.0} %", f * 100.0)).unwrap_or_default()
}

fn show(t: &Task, ctx: &Context) -> Result<ExitCode> {
    let out = &ctx.out;
    if out.json {
        out.json(t)?;
        return done();
    }
    let person = |n: &Option<api::Named>| {
        let n = n.as_ref()?;
        Some(Cell::from(n.name.as_ref().map_or_else(|| n.id.clone(), |name| format!("{name} ({})", n.id).into())))
    };
    let times = |at: Option<Timestamp>| at.map(|t| Cell::from(out.full_stamp(t)));
    let progress = t.progress.as_ref().filter(|_| t.state != State::Completed);
    let attempts = (t.assign_count > 1).then(|| format!("{} of {}", t.assign_count, t.rules.max_assign_count).into());
    out.details(vec![
        ("task", Some(t.id.to_string().into())),
        ("uuid", Some(t.uuid.to_string().into())),
        ("type", Some((&t.kind).into())),
        ("title", t.context.get("title").and_then(|v| v.as_str()).map(Cell::from)),
        ("state", Some(state_cell(t.state, t.result.as_ref(), t.cancel_requested))),
        ("progress", progress.map(format::progress).filter(|p| !p.is_empty()).map(Cell::from)),
        ("resource", person(&t.resource)),
        ("policy", person(&t.policy)),
        ("started by", t.started_by.as_ref().map(Cell::from)),
        ("agent", t.executor.as_ref().map(|e| Cell::from(&e.id))),
        ("queue", Some(format!("{} ({} priority)", t.queue, t.priority).into())),
        ("tags", joined(&t.tags)),
        ("attempts", attempts),
        ("tenant", Some(t.tenant.to_string().into())),
        ("created", times(Some(t.created_at))),
        ("started", times(t.started_at)),
        ("completed", times(t.completed_at)),
        ("took", t.started_at.map(|_| took(t.started_at, t.completed_at).into())),
        ("did", format::payload(t).map(Cell::from)),
    ])?;
    for blocker in &t.blockers {
        out.line(format!("  blocked: {}", format::clean_line(&blocker.issue.key)))?;
    }
    if let Some(result) = &t.result {
        let warnings = result.warnings.iter().map(|w| format!("  warning: {}", format::clean(&w.message)));
        let (listed, total) = format::left_out(t);
        let more = total.saturating_sub(listed.len() as u64);
        for line in result.error.iter().flat_map(format::reasons).chain(warnings).chain(listed) {
            out.line(line)?;
        }
        if more > 0 {
            out.line(format!(
                "  and {}",
                format::counted(more, "other that is not listed", "others that are not listed")
            ))?;
        }
    }
    done()
}

async fn cancel(id: &str, ctx: &Context) -> Result<ExitCode> {
    let task = ctx.client.cancel_task(id).await?;
    if ctx.out.json {
        ctx.out.json(&task)?;
    } else if task.state == State::Completed {
        ctx.out.line(format!("{} is cancelled", format::title(&task)))?;
    } else {
        let wait = format!("`backstay task wait {}` waits for it", task.id);
        ctx.out.line(format!("{} was asked to stop; {wait}", format::title(&task)))?;
    }
    done()
}

/// A line for each change, until Ctrl-C.
async fn watch(filters: &Filters, ctx: &Context) -> Result<ExitCode> {
    let query = filters.apply(ctx, ListQuery::new()).await?;
    // The stream tells only of what happens from now on; a wrong token or address shall show before that.
    ctx.client.me().await?;
    let mut events = ctx.client.task_events(&query, None);
    if !ctx.out.json {
        ctx.out.note("watching; Ctrl-C ends it");
    }
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = tokio::signal::ctrl_c() => return done(),
        };
        let Some(event) = event else { return done() };
        let event = event?;
        if ctx.out.json {
            ctx.out.json_line(&event)?;
        } else {
            ctx.out.coloured(&change(&event.task, &ctx.out.clock()))?;
        }
    }
}

/// A change in a line: when, which task, where it is now.
fn change(t: &Task, clock: &str) -> [Cell; 3] {
    let mut state = state_cell(t.state, t.result.as_ref(), t.cancel_requested);
    state.pad(10);
    let far = t.progress.as_ref().filter(|_| t.state == State::Started);
    let percent = far.and_then(format::fraction).map(|f| format!("{:.0} %", f * 100.0));
    let reason = t.result.as_ref().map(|_| note(t));
    let more = percent.into_iter().chain(far.map(format::progress)).chain(reason).filter(|w| !w.is_empty());
    let more = more.collect::<Vec<_>>().join(", ");
    let title = format::title(t);
    let words = if more.is_empty() { title } else { format!("{title}: {more}") };
    [Cell::toned(clock, Tone::Faint), state, Cell::from(words)]
}
