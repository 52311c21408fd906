//! What server and agent log, on standard error: as text for people, or as one JSON object a line for programs.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One object a line, with the ids of request and task in it
    Json,
}

/// How it is logged.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct LogArgs {
    /// How lines of the log are written, on standard error; RUST_LOG chooses which, warnings and errors by default
    #[arg(long, value_name = "FORMAT", env = "BACKSTAY_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// Begins to log.
pub(crate) fn to_stderr(args: LogArgs) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).init(),
    }
}
