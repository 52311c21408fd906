//! `backstay repository test`: whether an agent reaches a repository, before the first backup has to.

use std::process::ExitCode;

use anyhow::Result;
use api::client::Error;
use api::{Agent, Repository, RepositoryTest};
use clap::Args;
use domain::{Code, Uuid};

use super::{Context, done};
use crate::problem::{Exit, Problem};
use crate::{format, resolve};

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The repository
    repository: String,
    /// The agent that looks; any that is connected where none is named
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
}

pub(crate) async fn test(args: TestArgs, ctx: &Context) -> Result<ExitCode> {
    let repository = resolve::one::<Repository>(&ctx.client, &args.repository).await?;
    let agent = resolve::maybe::<Agent>(&ctx.client, args.agent.as_deref()).await?.map(|a| a.id);
    let test = ctx.client.test_repository(repository.id, agent).await?;
    if ctx.out.json {
        ctx.out.json(&test)?;
        return Ok(if test.error.is_none() { Exit::Ok } else { Exit::Failure }.into());
    }
    ctx.out.line(told(&repository, &test)?)?;
    done()
}

/// Tells of a repository that was just added. It stays, whatever was found; so does that it was added where nobody could look.
pub(super) async fn test_added(repository: &Repository, agent: Option<Uuid>, ctx: &Context) -> Result<()> {
    match ctx.client.test_repository(repository.id, agent).await {
        Err(Error::Api(refused))
            if [Code::AgentOffline, Code::AgentSilent].iter().any(|c| c.name() == refused.code) =>
        {
            let name = shell_word(&repository.name);
            ctx.out.note(format::clean_line(&format!("whether it is reached is not known: {refused}")));
            ctx.out.note(format::clean_line(&format!("see later with: backstay repository test {name}")));
        }
        test => ctx.out.note(told(repository, &test?)?),
    }
    Ok(())
}

/// What was found, in a line; that a backup would fail is a problem.
fn told(repository: &Repository, test: &RepositoryTest) -> Result<String> {
    let (agent, name) = (&test.agent_name, &repository.name);
    let Some(error) = &test.error else {
        let found = if test.found { "it opens" } else { "there is none yet, the first backup makes it" };
        return Ok(format::clean_line(&format!("'{agent}' reaches the repository '{name}': {found}")));
    };
    let word = shell_word(name);
    let hint = match error.code.as_str() {
        "wrongPassword" => format!(
            "it was made with another password: `backstay repository remove {word}`, then add it anew with --password-file"
        ),
        _ => format!("`backstay repository change {word} ..` mends it, `backstay repository test {word}` looks again"),
    };
    let message = format!("'{agent}' cannot use the repository '{name}': {}", error.message);
    Err(Problem::new(Exit::Failure, format::clean_line(&message)).hint(format::clean_line(&hint)).into())
}

/// A text as one word of a shell, whatever is in it.
pub(super) fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
