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
    /// Let an agent in no longer: its session ends, and neither its token nor its certificate is accepted any more
    #[command(after_help = "Example: backstay agent revoke db-1")]
    Revoke {
        /// The agent: its name or id
        agent: String,
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
            match (a.revoked_at, a.online) {
                (Some(_), _) => Cell::toned("revoked", Tone::Faint),
                (None, true) => Cell::toned("online", Tone::Good),
                (None, false) => Cell::toned("offline", Tone::Bad),
            },
            Cell::from(ctx.out.stamp_or_dash(a.last_seen_at)),
            Cell::from(ctx.out.stamp_or_dash(a.certificate.map(|c| c.expires_at))),
            Cell::from(&a.os),
            Cell::from(&a.version),
            Cell::toned(id, Tone::Faint),
        ]
    };
    let rows = list.items.iter().zip(ids).map(row).collect();
    ctx.list(
        &list,
        ("agent", "agents"),
        &["NAME", "STATUS", "LAST SEEN", "CERTIFICATE UNTIL", "SYSTEM", "VERSION", "ID"],
        rows,
    )
}

pub(crate) async fn revoke(agent: &str, ctx: &Context) -> Result<ExitCode> {
    let agent = resolve::one::<Agent>(&ctx.client, agent).await?;
    let revoked = ctx.client.revoke_agent(agent.id).await?;
    if ctx.out.json {
        ctx.out.json(&revoked)?;
    } else {
        ctx.out.line(format!("{} is let in no longer; its machine can join anew", revoked.name))?;
    }
    Ok(ExitCode::SUCCESS)
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
