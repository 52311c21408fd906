//! `backstay`: the one program. Server and agent on one machine (`up`), and the commands that talk to a server.

mod cli;
mod commands;
mod connection;
mod format;
mod log;
mod output;
mod problem;
mod progress;
#[cfg(test)]
mod reference;
mod resolve;
mod times;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use cli::{Cli, Command, Global};
use commands::Context;
use commands::agent::AgentCommand;
use connection::Wanted;
use output::Output;

/// Rows of the ledger become some hundred small allocations each; see `docs/decisions/ledger-bench.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything else: a child that does a job needs no runtime, no logging and no terminal, and starts often.
    if is_job() {
        return agent::child::run_job_main();
    }
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.format(&mut Cli::command()).exit(),
    };
    match run(cli, &matches) {
        Ok(code) => code,
        Err(error) => {
            let (text, exit) = problem::explain(&error);
            if let Some(text) = text {
                // When standard error is closed too, the exit code still tells.
                let _ = writeln!(std::io::stderr(), "{text}");
            }
            exit.into()
        }
    }
}

fn is_job() -> bool {
    let mut args = std::env::args_os().skip(1);
    args.next().is_some_and(|a| a == "run-job") && args.next().is_none()
}

fn run(cli: Cli, matches: &ArgMatches) -> Result<ExitCode> {
    let Cli { global, command } = cli;
    let json = global.json;
    let wanted = wanted(global, matches);
    // These two need neither a server nor a runtime.
    match &command {
        Command::Explain(args) => return commands::explain::run(args, &Output::new(json)),
        Command::Completions(args) => return commands::completions::run(args),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(dispatch(command, wanted, json))
}

async fn dispatch(command: Command, wanted: Wanted, json: bool) -> Result<ExitCode> {
    let connect = || Context::connect(&wanted, json);
    let data = || wanted.data.clone().unwrap_or_else(|| connection::DEFAULT_DATA.into());
    match command {
        Command::Up(args) => {
            log::to_stderr(args.log());
            commands::up::run(args, data()).await
        }
        Command::Serve(args) => {
            log::to_stderr(args.log());
            commands::serve::run(args, data()).await
        }
        Command::Resource(c) => commands::resource::run(c, &connect()?).await,
        Command::Policy(c) => commands::policy::run(c, &connect()?).await,
        Command::Task(c) => commands::task::run(c, &connect()?).await,
        Command::Activity(c) => commands::activity::run(c, &connect()?).await,
        Command::Backup(c) => commands::backup::run(c, &connect()?).await,
        Command::Restore(args) => commands::restore::run(args, &connect()?).await,
        Command::Agent(AgentCommand::List { page }) => commands::agent::list(&page, &connect()?).await,
        Command::Agent(AgentCommand::Revoke { agent }) => commands::agent::revoke(&agent, &connect()?).await,
        Command::Agent(AgentCommand::Enroll { policies, tenant }) => {
            commands::agent::enroll(&policies, tenant.as_deref(), &connect()?).await
        }
        Command::Agent(AgentCommand::Join(args)) => commands::agent_process::join(args, &wanted).await,
        Command::Agent(AgentCommand::Run(args)) => {
            log::to_stderr(args.log());
            commands::agent_process::run(args, &wanted).await
        }
        Command::Repository(c) => commands::repository::run(c, &connect()?).await,
        Command::Notify(c) => commands::notify::run(c, &connect()?).await,
        Command::Token(c) => commands::token::run(c, &connect()?).await,
        Command::User(c) => commands::user::run(c, &connect()?).await,
        Command::Client(c) => commands::client::run(c, &connect()?).await,
        Command::Key(c) => commands::key::run(c, &connect()?).await,
        Command::Audit(c) => commands::audit::run(c, &connect()?).await,
        Command::Tenant(c) => commands::tenant::run(c, &connect()?).await,
        Command::Ledger(c) => commands::ledger::run(c, &wanted, &Output::new(json)).await,
        Command::Bench(c) => commands::bench::run(c, &Output::new(json)).await,
        Command::Doctor(args) => commands::doctor::run(args, &wanted, &Output::new(json)).await,
        Command::Explain(args) => commands::explain::run(&args, &Output::new(json)),
        Command::Completions(args) => commands::completions::run(&args),
        Command::RunJob => Ok(agent::child::run_job_main()),
    }
}

fn wanted(global: Global, matches: &ArgMatches) -> Wanted {
    let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let data_first = typed("data") && !typed("server");
    let Global { server, token, ca_file, data, json: _ } = global;
    Wanted { server, token, ca_file, data, data_first }
}
