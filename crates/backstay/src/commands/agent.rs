//! `backstay agent`: the processes that move the data. How one joins and runs stands in `agent_process`.

use std::process::ExitCode;

use anyhow::Result;
use api::{Agent, NewEnrolment, Policy, Tenant};
use clap::Subcommand;

use super::Context;
use crate::cli::PageArgs;
use crate::output::{Cell, Tone, short_ids};
use crate::resolve;

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// List agents, and whether each is connected
    #[command(after_help = "Example: backstay agent list")]
    List {
        #[command(flatten)]
        page: PageArgs,
    },
    /// Print the one line that installs an agent on another machine and lets it join; it is good for a day
    #[command(after_help = "Example: backstay agent enroll --policy daily")]
    Enroll {
        /// Apply this policy to the machine; can be given several times
        #[arg(long = "policy", value_name = "POLICY")]
        policies: Vec<String>,
        /// The tenant that it joins; your own by default
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
    },
    #[command(after_help = super::agent_process::JOIN_EXAMPLE)]
    Join(super::agent_process::JoinArgs),
    #[command(after_help = super::agent_process::RUN_EXAMPLE)]
    Run(super::agent_process::RunArgs),
}

pub(crate) async fn list(page: &PageArgs, ctx: &Context) -> Result<ExitCode> {
    let list = ctx.client.agents(&page.query()).await?;
    let ids = short_ids(&list.items.iter().map(|a| a.id).collect::<Vec<_>>());
    let row = |(a, id): (&Agent, String)| {
        vec![
            Cell::from(&a.name),
            if a.online { Cell::toned("online", Tone::Good) } else { Cell::toned("offline", Tone::Bad) },
            Cell::from(ctx.out.stamp_or_dash(a.last_seen_at)),
            Cell::from(&a.os),
            Cell::from(&a.version),
            Cell::toned(id, Tone::Faint),
        ]
    };
    let rows = list.items.iter().zip(ids).map(row).collect();
    ctx.list(&list, ("agent", "agents"), &["NAME", "STATUS", "LAST SEEN", "SYSTEM", "VERSION", "ID"], rows)
}

pub(crate) async fn enroll(policies: &[String], tenant: Option<&str>, ctx: &Context) -> Result<ExitCode> {
    let tenant = resolve::maybe::<Tenant>(&ctx.client, tenant).await?.map(|t| t.id);
    let mut enrolment = NewEnrolment { tenant, ..Default::default() };
    for policy in policies {
        enrolment.policies.push(resolve::one::<Policy>(&ctx.client, policy).await?.id);
    }
    let made = ctx.client.enrol(&enrolment).await?;
    if ctx.out.json {
        ctx.out.json(&made)?;
    } else {
        ctx.out.line(&made.command)?;
        ctx.out.note("to be typed on the machine; good for a day and for any number of machines");
    }
    Ok(ExitCode::SUCCESS)
}
