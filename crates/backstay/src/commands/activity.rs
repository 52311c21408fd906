//! `backstay activity`: the steps inside tasks.

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::Result;
use api::Activity;
use clap::{Args, Subcommand};

use super::Context;
use super::task::{Filters, took};
use crate::cli::PageArgs;
use crate::output::{Cell, state_cell};
use crate::{format, resolve};

#[derive(Debug, Subcommand)]
pub(crate) enum ActivityCommand {
    /// List the steps of a task, or those of all tasks, newest first
    #[command(after_help = "Example: backstay activity list --task 12")]
    List(Box<ListArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those of this task, oldest first, each below the one it belongs to
    #[arg(long, value_name = "TASK", value_parser = resolve::task_id)]
    task: Option<String>,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    page: PageArgs,
}

pub(crate) async fn run(command: ActivityCommand, ctx: &Context) -> Result<ExitCode> {
    let ActivityCommand::List(args) = command;
    let order = if args.task.is_some() { "id" } else { "-id" };
    let query = args.filters.apply(ctx, args.page.query().order(order)).await?;
    let list = match &args.task {
        Some(task) => ctx.client.task_activities(task, &query).await?,
        None => ctx.client.activities(&query).await?,
    };
    let depths = if args.task.is_some() { depths(&list.items) } else { HashMap::new() };
    let row = |a: &Activity| {
        // Visible, because the table drops blanks at the start of a cell.
        let indent = "· ".repeat(depths.get(&a.id).copied().unwrap_or(0));
        let error = a.result.as_ref().and_then(|r| r.error.as_ref()).map(|e| e.message.clone());
        let far = a.progress.as_ref().filter(|_| a.result.is_none()).map(format::progress);
        vec![
            Cell::from(a.id.to_string()),
            Cell::from(a.task_id.to_string()),
            Cell::from(format!("{indent}{}", a.kind)),
            state_cell(a.state, a.result.as_ref(), false),
            Cell::from(ctx.out.stamp(a.created_at)),
            Cell::from(took(a.started_at, a.completed_at)),
            Cell::from(error.or(far).unwrap_or_default()),
        ]
    };
    let rows = list.items.iter().map(row).collect();
    let header = ["ID", "TASK", "STEP", "STATE", "CREATED", "TOOK", "NOTE"];
    ctx.list(&list, ("activity", "activities"), &header, rows)
}

/// How far below its root each step is; one whose parent is on another page counts from here.
fn depths(items: &[Activity]) -> HashMap<i64, usize> {
    let mut depths = HashMap::new();
    for a in items {
        let above = a.parent_id.and_then(|p| depths.get(&p).copied());
        depths.insert(a.id, above.map_or(0, |d: usize| d + 1));
    }
    depths
}
