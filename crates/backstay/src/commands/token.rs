//! `backstay token`: what programs and people show to be let in.

use std::process::ExitCode;

use anyhow::Result;
use api::{NewToken, Tenant, Token};
use clap::{Args, Subcommand};
use domain::{Role, Timestamp};

use super::{Context, done, roles};
use crate::cli::PageArgs;
use crate::output::{Cell, Tone, short_ids};
use crate::{format, resolve, times};

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; its secret is shown this once
    #[command(after_help = "Example: backstay token create dashboard --role viewer --expires 90d")]
    Create(CreateArgs),
    /// List tokens, without their secrets
    #[command(after_help = "Example: backstay token list")]
    List {
        #[command(flatten)]
        page: PageArgs,
    },
    /// Revoke a token: from now on it is not accepted
    #[command(after_help = "Example: backstay token revoke dashboard")]
    Revoke {
        /// The token
        // Not `token`: that is the option which all commands have.
        #[arg(id = "revoked", value_name = "TOKEN")]
        token: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// What it is for; shown as "started by"
    name: String,
    /// What it allows: viewer sees, operator also runs, cancels and restores, admin also changes everything; issuer only
    /// creates and cancels tasks, consumer only takes and reports on them
    #[arg(long, value_name = "ROLE", value_parser = roles())]
    role: Role,
    /// The tenant that it opens, with all below; your own where none is named
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// How long it is accepted, like 90d, or until when; until it is revoked where this is not given
    #[arg(long, value_name = "TIME", value_parser = times::until)]
    expires: Option<Timestamp>,
}

pub(crate) async fn run(command: TokenCommand, ctx: &Context) -> Result<ExitCode> {
    match command {
        TokenCommand::Create(args) => create(args, ctx).await,
        TokenCommand::List { page } => list(&page, ctx).await,
        TokenCommand::Revoke { token } => {
            let token = resolve::one::<Token>(&ctx.client, &token).await?;
            let token = ctx.client.revoke_token(token.id).await?;
            if ctx.out.json {
                ctx.out.json(&token)?;
            } else {
                ctx.out.line(format::clean_line(&format!("the token '{}' is no longer accepted", token.name)))?;
            }
            done()
        }
    }
}

async fn create(args: CreateArgs, ctx: &Context) -> Result<ExitCode> {
    let tenant = resolve::maybe::<Tenant>(&ctx.client, args.tenant.as_deref()).await?;
    let new = NewToken { name: args.name, role: args.role, tenant: tenant.map(|t| t.id), expires_at: args.expires };
    let created = ctx.client.create_token(&new).await?;
    if ctx.out.json {
        ctx.out.json(&created)?;
        return done();
    }
    // Alone on standard output, so that `TOKEN=$(backstay token create ..)` holds the secret and nothing else.
    ctx.out.line(&created.secret)?;
    let until = created.token.expires_at.map(|t| format!(" until {}", ctx.out.stamp(t))).unwrap_or_default();
    ctx.out.note(format!("accepted as {}{until}; this is the only time it is shown", created.token.role));
    done()
}

async fn list(page: &PageArgs, ctx: &Context) -> Result<ExitCode> {
    let list = ctx.client.tokens(&page.query()).await?;
    let ids = short_ids(&list.items.iter().map(|t| t.id).collect::<Vec<_>>());
    let now = Timestamp::now();
    let row = |(t, id): (&Token, String)| {
        let tone = if state(t, now) == "valid" { Tone::Good } else { Tone::Faint };
        vec![
            Cell::from(&t.name),
            Cell::from(t.kind.name()),
            Cell::from(t.role.name()),
            Cell::toned(state(t, now), tone),
            Cell::from(ctx.out.stamp(t.created_at)),
            Cell::from(ctx.out.stamp_or_dash(t.expires_at)),
            Cell::toned(id, Tone::Faint),
        ]
    };
    let rows = list.items.iter().zip(ids).map(row).collect();
    ctx.list(&list, ("token", "tokens"), &["NAME", "KIND", "ROLE", "STATE", "CREATED", "EXPIRES", "ID"], rows)
}

/// Whether a token is accepted at this time.
fn state(token: &Token, now: Timestamp) -> &'static str {
    match (token.revoked_at, token.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(end)) if end <= now => "expired",
        _ => "valid",
    }
}
