//! `backstay repository`: where backups lie, and what opens it.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use api::client::ListQuery;
use api::{Agent, NewRepository, Repository, RepositoryChange, RepositoryKey, Tenant};
use clap::{Args, Subcommand};

use super::repository_check::{CheckArgs, check};
use super::repository_test::{TestArgs, shell_word, test, test_added};
use super::{Context, done, joined};
use crate::cli::PageArgs;
use crate::output::{Cell, Tone, short_ids};
use crate::{format, resolve};

/// How many repositories are asked for at once.
const PART: u32 = 1000;

#[derive(Debug, Subcommand)]
pub(crate) enum RepositoryCommand {
    /// Add a place for backups, and see whether an agent reaches it; the first backup that goes there makes it
    #[command(after_help = "\
Examples:
  backstay repository add disk --url /mnt/backup
  backstay repository add cold --url s3:https://s3.example/backups --secret AWS_ACCESS_KEY_ID --secret AWS_SECRET_ACCESS_KEY
  backstay repository add off-site --url rest:https://backup.example:8000/ --secrets-file rest.env
  backstay repository add nas --url sftp:backup@nas:/srv/backup")]
    Add(AddArgs),
    /// List repositories
    #[command(after_help = "Example: backstay repository list")]
    List {
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show one repository; its password and secrets are not shown
    #[command(after_help = "Example: backstay repository show cold")]
    Show(RepositoryArg),
    /// Change the name of a repository, where it is reached, how fast, or its secrets
    #[command(after_help = "Example: backstay repository change cold --secrets-file new.env")]
    Change(ChangeArgs),
    /// Forget a repository that no policy and no backup uses; what is at its place stays there
    #[command(after_help = "Example: backstay repository remove cold")]
    Remove(RepositoryArg),
    /// See whether an agent reaches a repository and opens it; nothing there is changed
    #[command(after_help = "Example: backstay repository test cold --agent web-1")]
    Test(TestArgs),
    /// Verify the newest backup of each resource and policy in a repository, each on its own machine
    #[command(after_help = "Example: backstay repository check local --files 20")]
    Check(CheckArgs),
    /// Give out what opens a repository with `restic` alone; who did that is in the audit log
    #[command(after_help = "Example: backstay repository export-key cold --file cold.env")]
    ExportKey {
        #[command(flatten)]
        repository: RepositoryArg,
        /// Write it to this file, which must not be there yet (mode 0600), instead of showing it
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Give out what opens each repository, as a file for each in a new folder
    #[command(after_help = "Example: backstay repository export-all --to keys")]
    ExportAll {
        /// The folder, which must not be there yet (mode 0700)
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RepositoryArg {
    /// The repository, by name or id
    #[arg(value_name = "REPOSITORY")]
    repository: String,
}

#[derive(Debug, Args)]
pub(crate) struct SecretArgs {
    /// A secret, by the name that restic reads from its environment; the value is read from this command's environment,
    /// because command lines can be seen by others; can be given several times
    #[arg(long = "secret", value_name = "NAME", value_parser = secret_name)]
    secrets: Vec<String>,
    /// A file with secrets, one NAME=VALUE a line
    #[arg(long, value_name = "FILE")]
    secrets_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// The most that each job sends there in a second, like 500K or 2.5M (bytes; K, M, G of 1024); 0 = no limit
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    upload_limit: Option<u64>,
    /// The most that each job fetches from there in a second; 0 = no limit
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    download_limit: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The name, unique on the server
    name: String,
    /// Where: a path on the agent's machine, or s3:, rest:, sftp: or rclone: as restic writes them
    #[arg(long, value_name = "URL")]
    url: String,
    /// The owner, whose policies and those below it may store there; your own tenant where none is named
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    #[command(flatten)]
    secrets: SecretArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// A file with the password of a repository that is there already; without it a random one is made
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The agent that sees whether it reaches it; any that is connected where none is named
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Do not see whether an agent reaches it
    #[arg(long, conflicts_with = "agent")]
    no_test: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    #[command(flatten)]
    repository: RepositoryArg,
    /// Another name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where it is reached now, with everything that lies in it
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    secrets: SecretArgs,
    /// Take a secret away; can be given several times
    #[arg(long, value_name = "NAME", value_parser = secret_name)]
    no_secret: Vec<String>,
    #[command(flatten)]
    limits: LimitArgs,
}

pub(crate) async fn run(command: RepositoryCommand, ctx: &Context) -> Result<ExitCode> {
    match command {
        RepositoryCommand::Add(args) => add(args, ctx).await,
        RepositoryCommand::List { page } => list(&page, ctx).await,
        RepositoryCommand::Show(arg) => show(&arg.find(ctx).await?, ctx),
        RepositoryCommand::Change(args) => change(args, ctx).await,
        RepositoryCommand::Test(args) => test(args, ctx).await,
        RepositoryCommand::Check(args) => check(args, ctx).await,
        RepositoryCommand::Remove(arg) => {
            let repository = arg.find(ctx).await?;
            ctx.client.remove_repository(repository.id).await?;
            if !ctx.out.json {
                let told =
                    format!("the repository '{}' is forgotten; what is at {} stays", repository.name, repository.url);
                ctx.out.line(format::clean_line(&told))?;
            }
            done()
        }
        RepositoryCommand::ExportKey { repository, file } => {
            let id = repository.find(ctx).await?.id;
            // Before it is given out, which would be on record in vain if it had no place.
            let place = file.as_ref().map(|file| private(file)).transpose()?;
            let key = ctx.client.export_repository_key(id).await;
            if let (Err(_), Some(file)) = (&key, &file) {
                // It is empty, and would stand in the way of the next try.
                let _ = std::fs::remove_file(file);
            }
            let key = key?;
            match place {
                Some(mut place) => {
                    place.write_all(environment(&key).as_bytes())?;
                    place.sync_all()?;
                    ctx.out.note("keep it where you keep copies of keys: it opens the backups");
                }
                None if ctx.out.json => ctx.out.json(&key)?,
                None => ctx.out.line(environment(&key).trim_end())?,
            }
            done()
        }
        RepositoryCommand::ExportAll { to } => export_all(&to, ctx).await,
    }
}

impl RepositoryArg {
    async fn find(&self, ctx: &Context) -> Result<Repository> {
        resolve::one::<Repository>(&ctx.client, &self.repository).await
    }
}

impl SecretArgs {
    fn read(&self) -> Result<BTreeMap<String, String>> {
        let mut read = BTreeMap::new();
        if let Some(file) = &self.secrets_file {
            let text = std::fs::read_to_string(file);
            let text = text.with_context(|| format!("cannot read the secrets in {}", file.display()))?;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let line = line.strip_prefix("export ").unwrap_or(line);
                let Some((name, value)) = line.split_once('=') else {
                    bail!("line {} of {} is not NAME=VALUE", number + 1, file.display());
                };
                read.insert(name.trim().to_owned(), unquoted(value.trim()).to_owned());
            }
        }
        for name in &self.secrets {
            let Ok(value) = std::env::var(name) else {
                bail!("the environment has no '{name}'; set it, or give the secrets with --secrets-file");
            };
            read.insert(name.clone(), value);
        }
        Ok(read)
    }
}

/// Secrets are taken from the environment; one on the command line is a mistake that others have seen already.
fn secret_name(text: &str) -> Result<String, &'static str> {
    match text.contains('=') {
        true => Err("give only the name, and the value in the environment or with --secrets-file"),
        false => Ok(text.to_owned()),
    }
}

/// A value without the quotes that shells want around it.
fn unquoted(value: &str) -> &str {
    let within = |quote| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
    within('\'').or_else(|| within('"')).unwrap_or(value)
}

async fn add(args: AddArgs, ctx: &Context) -> Result<ExitCode> {
    let tenant = resolve::maybe::<Tenant>(&ctx.client, args.tenant.as_deref()).await?.map(|t| t.id);
    let password = match &args.password_file {
        Some(file) => {
            let text = std::fs::read_to_string(file);
            let text = text.with_context(|| format!("cannot read the password in {}", file.display()))?;
            Some(text.trim_end_matches(['\n', '\r']).to_owned())
        }
        None => None,
    };
    let new = NewRepository {
        name: args.name,
        url: args.url,
        tenant,
        secrets: args.secrets.read()?,
        password,
        upload_limit: args.limits.upload_limit.unwrap_or_default(),
        download_limit: args.limits.download_limit.unwrap_or_default(),
    };
    let agent = resolve::maybe::<Agent>(&ctx.client, args.agent.as_deref()).await?.map(|a| a.id);
    let repository = ctx.client.add_repository(&new).await?;
    show(&repository, ctx)?;
    if !args.no_test {
        test_added(&repository, agent, ctx).await?;
    }
    let name = shell_word(&repository.name);
    ctx.out.note(format!("store there with: backstay policy create .. --repository {name}"));
    ctx.out.note(format!("keep its key elsewhere: backstay repository export-key {name}"));
    done()
}

async fn change(args: ChangeArgs, ctx: &Context) -> Result<ExitCode> {
    let repository = args.repository.find(ctx).await?;
    let mut secrets: BTreeMap<_, _> =
        args.secrets.read()?.into_iter().map(|(name, value)| (name, Some(value))).collect();
    secrets.extend(args.no_secret.into_iter().map(|name| (name, None)));
    let LimitArgs { upload_limit, download_limit } = args.limits;
    let change = RepositoryChange { name: args.name, url: args.url, secrets, upload_limit, download_limit };
    show(&ctx.client.change_repository(repository.id, &change).await?, ctx)
}

async fn list(page: &PageArgs, ctx: &Context) -> Result<ExitCode> {
    let list = ctx.client.repositories(&page.query()).await?;
    let ids = short_ids(&list.items.iter().map(|r| r.id).collect::<Vec<_>>());
    let row = |(r, id): (&Repository, String)| {
        vec![
            Cell::from(&r.name),
            Cell::from(&r.url),
            Cell::from(access(r)),
            Cell::from(ctx.out.stamp(r.created_at)),
            Cell::toned(id, Tone::Faint),
        ]
    };
    let rows = list.items.iter().zip(ids).map(row).collect();
    ctx.list(&list, ("repository", "repositories"), &["NAME", "WHERE", "ACCESS", "CREATED", "ID"], rows)
}

fn show(repository: &Repository, ctx: &Context) -> Result<ExitCode> {
    if ctx.out.json {
        ctx.out.json(repository)?;
        return done();
    }
    ctx.out.details(vec![
        ("name", Some((&repository.name).into())),
        ("where", Some((&repository.url).into())),
        ("secrets", joined(&repository.secrets)),
        ("access", Some(access(repository).into())),
        ("upload limit", limit(repository.upload_limit)),
        ("download limit", limit(repository.download_limit)),
        ("tenant", Some(repository.tenant.to_string().into())),
        ("created", Some(ctx.out.stamp(repository.created_at).into())),
        ("id", Some(repository.id.to_string().into())),
    ])?;
    done()
}

fn limit(bytes: u64) -> Option<Cell> {
    (bytes > 0).then(|| format!("{} a second", format::size(bytes)).into())
}

/// A number of bytes, with a letter for how many of them.
fn rate(text: &str) -> Result<u64, &'static str> {
    const HOW: &str = "give a number like 500K, 2.5M or 1G, or 0 for no limit";
    let (number, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let number: f64 = number.parse().map_err(|_| HOW)?;
    let bytes = number * f64::from(factor);
    // Far below what a number of this kind cannot hold exactly.
    if bytes.is_finite() && (0.0..1e15).contains(&bytes) { Ok(bytes as u64) } else { Err(HOW) }
}

fn access(repository: &Repository) -> &'static str {
    if repository.append_only { "append only" } else { "read and write" }
}

async fn export_all(to: &Path, ctx: &Context) -> Result<ExitCode> {
    let mut all = Vec::new();
    for page in 1.. {
        let list = ctx.client.repositories(&ListQuery::new().limit(PART).page(page)).await?;
        let last = list.items.len() < PART as usize;
        all.extend(list.items);
        if last {
            break;
        }
    }
    let made = DirBuilder::new().mode(0o700).create(to);
    made.with_context(|| format!("cannot make the folder {}", to.display()))?;
    let mut written = Vec::new();
    for repository in &all {
        let plain = |c: char| if c.is_alphanumeric() || "-_".contains(c) { c } else { '-' };
        let name: String = repository.name.chars().map(plain).take(60).collect();
        let mut file = to.join(format!("{name}.env"));
        if file.exists() {
            file = to.join(format!("{name}-{}.env", repository.id));
        }
        let mut place = private(&file)?;
        let key = ctx.client.export_repository_key(repository.id).await?;
        place.write_all(environment(&key).as_bytes())?;
        place.sync_all()?;
        written.push(file);
    }
    if ctx.out.json {
        ctx.out.json(&serde_json::json!({ "files": written }))?;
    } else {
        ctx.out.table(&["FILE"], written.iter().map(|f| vec![Cell::from(f.display().to_string())]).collect(), "")?;
        ctx.out.note("keep them where you keep copies of keys: they open the backups");
    }
    done()
}

/// A new file that only its owner can read.
fn private(file: &Path) -> Result<std::fs::File> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    made.with_context(|| format!("cannot make the file {}", file.display()))
}

/// What a shell reads to have `restic` open the repository.
fn environment(key: &RepositoryKey) -> String {
    let mut secrets = key.secrets.clone();
    let mut url = key.url.clone();
    // Only newer versions of restic read these from the environment; all read them from the address.
    if let (Some(rest), Some(user)) = (url.strip_prefix("rest:"), secrets.get("RESTIC_REST_USERNAME")) {
        let password = secrets.get("RESTIC_REST_PASSWORD").map(String::as_str).unwrap_or_default();
        if let Some((scheme, rest)) = rest.split_once("://") {
            url = format!("rest:{scheme}://{}:{}@{rest}", percent_encoded(user), percent_encoded(password));
            secrets.retain(|name, _| !name.starts_with("RESTIC_REST_"));
        }
    }
    let mut text = format!(
        "# The repository '{}' of Backstay: read this with `.`, then run restic.\n",
        key.name.replace(char::is_control, " ")
    );
    let mut line = |name: &str, value: &str| text.push_str(&format!("export {name}={}\n", shell_word(value)));
    line("RESTIC_REPOSITORY", &url);
    line("RESTIC_PASSWORD", &key.password);
    for (name, value) in &secrets {
        line(name, value);
    }
    text
}

/// A text as a part of a URL.
fn percent_encoded(text: &str) -> String {
    let byte = |b: u8| match b {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_something_that_a_shell_reads() {
        let key = |url: &str, secrets: &[(&str, &str)]| RepositoryKey {
            id: api_id(),
            name: "it's\ncold".into(),
            url: url.into(),
            password: "a'b$c".into(),
            secrets: secrets.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        };
        let s3 = environment(&key("s3:https://host/b", &[("AWS_SECRET_ACCESS_KEY", "x y")]));
        let lines: Vec<_> = s3.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "export RESTIC_REPOSITORY='s3:https://host/b'",
                r"export RESTIC_PASSWORD='a'\''b$c'",
                "export AWS_SECRET_ACCESS_KEY='x y'",
            ]
        );
        let rest = [("RESTIC_REST_USERNAME", "ops"), ("RESTIC_REST_PASSWORD", "p@s/s")];
        let rest = environment(&key("rest:https://host:8000/a/", &rest));
        assert!(rest.contains("='rest:https://ops:p%40s%2Fs@host:8000/a/'\n"), "{rest}");
        assert!(!rest.contains("RESTIC_REST_"), "{rest}");
    }

    #[test]
    fn a_secret_on_the_command_line_is_refused() {
        assert!(secret_name("AWS_SECRET_ACCESS_KEY=tape").is_err());
        assert_eq!(secret_name("AWS_SECRET_ACCESS_KEY").as_deref(), Ok("AWS_SECRET_ACCESS_KEY"));
    }

    fn api_id() -> domain::Uuid {
        domain::Uuid::nil()
    }
}
