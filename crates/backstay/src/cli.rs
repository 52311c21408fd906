//! The command line as clap sees it: the options that all commands share, and the list of commands. What a command takes
//! and does stands in its file under `commands/`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    activity, agent, audit, backup, bench, client, completions, doctor, explain, key, ledger, notify, policy,
    repository, resource, restore, serve, task, tenant, token, up, user,
};

const AFTER: &str = "\
Without --server, commands find the `backstay up` of this machine by themselves.
Things are named by id, by the beginning of an id, or by name; tasks by number; a backup also as latest:RESOURCE.

Exit codes:
  0  done; a task that was waited for ended with ok or warning
  1  an error without a number of its own
  2  the command line is wrong
  3  the task that was waited for failed (error, abandoned or timedout)
  4  the task that was waited for was cancelled
  5  the time to wait for a task is over
  6  there is no such thing
  7  the token is missing, not accepted, or does not allow it
  8  the server cannot be reached
  130  the waiting was ended with Ctrl-C; the task goes on

Example: backstay up --protect ~/documents";

/// Self-hosted backups: policies, agents, tasks and restores in one program.
#[derive(Debug, Parser)]
#[command(name = "backstay", version, about, after_help = AFTER, max_term_width = 110, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of all commands. Without `--server` and `--data`, commands find the local `backstay up` by themselves.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of all commands")]
pub(crate) struct Global {
    /// The server to talk to, like https://backup.example:9281
    #[arg(long, global = true, value_name = "URL", env = "BACKSTAY_SERVER", hide_env_values = true)]
    pub(crate) server: Option<String>,
    /// The token to show; better given in the environment than on the command line
    #[arg(long, global = true, value_name = "TOKEN", env = "BACKSTAY_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Trust only certificates of this authority (PEM)
    #[arg(long, global = true, value_name = "FILE", env = "BACKSTAY_CA_FILE", hide_env_values = true)]
    pub(crate) ca_file: Option<PathBuf>,
    /// The data folder of a server on this machine
    #[arg(long, global = true, value_name = "DIR", env = "BACKSTAY_DATA", hide_env_values = true)]
    pub(crate) data: Option<PathBuf>,
    /// Print JSON as the API answers it, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(after_help = "Example: backstay up --protect ~/documents")]
    Up(up::UpArgs),
    #[command(after_help = serve::EXAMPLE)]
    Serve(serve::ServeArgs),
    /// What is protected: machines and their folders
    #[command(subcommand, arg_required_else_help = true)]
    Resource(resource::ResourceCommand),
    /// When backups run, and of what
    #[command(subcommand, arg_required_else_help = true)]
    Policy(policy::PolicyCommand),
    /// Work that was done, is done and waits
    #[command(subcommand, arg_required_else_help = true)]
    Task(task::TaskCommand),
    /// The steps inside tasks
    #[command(subcommand, arg_required_else_help = true)]
    Activity(activity::ActivityCommand),
    /// Recovery points, and the files in them
    #[command(subcommand, arg_required_else_help = true)]
    Backup(backup::BackupCommand),
    Restore(restore::RestoreArgs),
    /// Processes on machines that move the data
    #[command(subcommand, arg_required_else_help = true)]
    Agent(agent::AgentCommand),
    /// Where backups lie
    #[command(subcommand, arg_required_else_help = true)]
    Repository(repository::RepositoryCommand),
    /// Who is told when something fails, is missed, or goes well again
    #[command(subcommand, arg_required_else_help = true)]
    Notify(notify::NotifyCommand),
    /// What programs and people show to be let in
    #[command(subcommand, arg_required_else_help = true)]
    Token(token::TokenCommand),
    /// People who sign in with a login and a password
    #[command(subcommand, arg_required_else_help = true)]
    User(user::UserCommand),
    /// Programs that sign in with an id and a secret
    #[command(subcommand, arg_required_else_help = true)]
    Client(client::ClientCommand),
    /// What the access tokens of users and clients are signed with
    #[command(subcommand, arg_required_else_help = true)]
    Key(key::KeyCommand),
    /// Who did what
    #[command(subcommand, arg_required_else_help = true)]
    Audit(audit::AuditCommand),
    /// The owners of everything, in a tree
    #[command(subcommand, arg_required_else_help = true)]
    Tenant(tenant::TenantCommand),
    /// The durable record of a server on this machine
    #[command(subcommand, arg_required_else_help = true)]
    Ledger(ledger::LedgerCommand),
    /// How fast this program is on this machine
    #[command(subcommand, arg_required_else_help = true)]
    Bench(bench::BenchCommand),
    #[command(after_help = doctor::EXAMPLE)]
    Doctor(doctor::DoctorArgs),
    Explain(explain::ExplainArgs),
    Completions(completions::CompletionsArgs),
    /// Do one job, read from standard input: what an agent starts for each task
    #[command(hide = true)]
    RunJob,
}

/// Which part of a list to show.
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// How many on a page
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// The number of the page
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) page: u64,
}

impl PageArgs {
    /// The question to a list for this page.
    pub(crate) fn query(&self) -> api::client::ListQuery {
        api::client::ListQuery::new().limit(self.limit).page(self.page)
    }
}

/// Whether to wait for a task that was started.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Wait until it is completed, with a progress bar (the default)
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Return as soon as the task is recorded
    #[arg(long)]
    no_wait: bool,
}

impl WaitArgs {
    pub(crate) fn wanted(&self) -> bool {
        self.wait || !self.no_wait
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_sentence_and_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "`{path}` has no sentence");
            if command.get_subcommands().next().is_none() {
                let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(example.contains("Example"), "`{path}` has no example");
            }
            command.get_subcommands().filter(|c| !c.is_hide_set()).for_each(|c| walk(c, &path));
        }
        walk(&Cli::command(), "");
    }

    #[test]
    fn no_argument_takes_the_id_of_a_common_option() {
        // clap would hand the argument's value to the option without a word.
        fn walk(command: &clap::Command, common: &[&str]) {
            for arg in command.get_arguments().filter(|a| !a.is_global_set()) {
                assert!(!common.contains(&arg.get_id().as_str()), "`{}` takes '{}'", command.get_name(), arg.get_id());
            }
            command.get_subcommands().for_each(|c| walk(c, common));
        }
        let root = Cli::command();
        let common: Vec<_> = root.get_arguments().filter(|a| a.is_global_set()).map(|a| a.get_id().as_str()).collect();
        assert_eq!(common.len(), 5);
        walk(&root, &common);
    }

    #[test]
    fn examples_are_understood() {
        fn walk(command: &clap::Command) {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if let Some((_, example)) = text.split_once("Example: ") {
                // Up to where the shell would take over.
                let words = example.split_whitespace().take_while(|w| !matches!(*w, ">" | "|"));
                let parsed = Cli::try_parse_from(words.map(|w| w.trim_matches('\'')));
                assert!(
                    parsed.is_ok(),
                    "refused: {example}\n{}",
                    parsed.err().map(|e| e.to_string()).unwrap_or_default()
                );
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }

    #[test]
    fn samples_of_services_name_options_that_there_are() {
        let samples = [
            (include_str!("../../../packaging/default/backstay"), &["serve"][..]),
            (include_str!("../../../packaging/default/backstay-agent"), &["agent", "run"]),
        ];
        for (sample, command) in samples {
            let options = sample.lines().find_map(|line| line.strip_prefix("#BACKSTAY_OPTIONS="));
            let options = options.expect("a sample of options").trim_matches('"');
            let line = ["backstay"].iter().chain(command).copied().chain(options.split(' '));
            if let Err(refused) = Cli::try_parse_from(line) {
                panic!("{refused}");
            }
            let wrong = ["backstay"].iter().chain(command).copied().chain(["--lisen", "x"]);
            assert!(Cli::try_parse_from(wrong).expect_err("no such option").to_string().contains("'--lisen'"));
        }
    }

    #[test]
    fn to_wait_or_not() {
        let waits = |args: &[&str]| {
            let cli =
                Cli::try_parse_from(["backstay", "restore", "b", "--to", "/x"].iter().chain(args)).expect("parses");
            matches!(cli.command, Command::Restore(a) if a.wait.wanted())
        };
        assert!(waits(&[]) && waits(&["--wait"]) && !waits(&["--no-wait"]));
        assert!(waits(&["--no-wait", "--wait"]) && !waits(&["--wait", "--no-wait"]));
    }
}
