//! `backstay repository check`: whether what lies in a repository can be restored.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use api::client::{Error, ListQuery};
use api::{Backup, Repository, Task, Verify};
use clap::Args;
use domain::{Code, Uuid};

use super::backup::SampleArgs;
use super::policy::worst;
use super::{Context, done};
use crate::cli::WaitArgs;
use crate::{format, resolve};

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The repository
    repository: String,
    #[command(flatten)]
    sample: SampleArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(crate) async fn check(args: CheckArgs, ctx: &Context) -> Result<ExitCode> {
    let repository = resolve::one::<Repository>(&ctx.client, &args.repository).await?;
    let wish = Verify { files: args.sample.files.unwrap_or(0), seed: None };
    let mut tasks: Vec<Task> = Vec::new();
    for backup in newest(repository.id, ctx).await? {
        match ctx.client.verify_backup(backup.id, &wish).await {
            // Its resource is gone, and with it the agent that would read it. The others are read all the same.
            Err(Error::Api(refused)) if refused.code == Code::NotFound.name() => {
                let name = format::clean_line(&backup.resource_name);
                ctx.out.note(format!("backup {} of '{name}' is not checked: {refused}", backup.id));
            }
            started => tasks.push(started?),
        }
    }
    if !args.wait.wanted() || tasks.is_empty() {
        if ctx.out.json {
            ctx.out.json(&tasks)?;
        } else if tasks.is_empty() {
            ctx.out.note("there is no backup to check in this repository");
        }
        for task in tasks.iter().filter(|_| !ctx.out.json) {
            ctx.out.line(format!("{} was started", format::title(task)))?;
        }
        return done();
    }
    let (mut exits, mut completed) = (Vec::new(), Vec::new());
    for task in tasks {
        let (Some(task), exit) = ctx.wait_for(&task.id.to_string(), None).await? else {
            // The waiting was ended, and with it that for the others.
            return Ok(crate::problem::Exit::Interrupted.into());
        };
        if !ctx.out.json {
            ctx.out.line(format::finished_task(&task))?;
        }
        exits.push(exit);
        completed.push(task);
    }
    if ctx.out.json {
        ctx.out.json(&completed)?;
    }
    Ok(worst(&exits).into())
}

/// The newest backup of each resource and policy in a repository.
async fn newest(repository: Uuid, ctx: &Context) -> Result<Vec<Backup>> {
    let mut newest: BTreeMap<(Uuid, Option<Uuid>), Backup> = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let query = ListQuery::new().filter("repository", repository).order("-created_at").limit(500);
        let query = after.iter().fold(query, |query, after| query.cursor(after));
        let list = ctx.client.backups(&query).await?;
        for backup in list.items {
            newest.entry((backup.resource, backup.policy)).or_insert(backup);
        }
        after = list.next;
        if after.is_none() {
            return Ok(newest.into_values().collect());
        }
    }
}
