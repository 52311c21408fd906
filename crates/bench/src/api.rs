//! `backstay bench api`: makes up a ledger or takes one that is there, starts a server on it, and asks.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use domain::import::{ImportRules, Network};
use domain::{SignedDuration, Uuid};
use server::config::DataFolder;
use server::scheduler::History;
use server::{Config, Running};
use tempfile::TempDir;

use crate::answer::Api;
use crate::drive::{Driver, Limits};
use crate::generate::{Manifest, Recipe, generate};
use crate::question::{Who, image_tasks, import, listings, pages, questions};
use crate::report::Report;

/// The ledger that is asked.
#[derive(Debug, Clone)]
pub enum Source {
    /// One that is made up for this, and thrown away unless a folder is named to keep it in.
    New(Recipe, Option<PathBuf>),
    /// One that was made up before, in this data folder.
    Folder(PathBuf),
    /// As `Folder`, and a server runs on it already, at this address.
    Server(PathBuf, String),
}

/// What is measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// The ledger.
    pub source: Source,
    /// Which APIs; the native one first.
    pub apis: Vec<Api>,
    /// How many ask at once: each question is asked with each of these.
    pub callers: Vec<usize>,
    /// How long each question is asked.
    pub limits: Limits,
}

/// Measures, and says what it is doing.
///
/// # Errors
/// When the ledger cannot be made or opened, a request fails, or the APIs answer the same question differently.
pub async fn run(options: Options, say: impl Fn(String) + Send + Sync + 'static) -> Result<Report> {
    let say = std::sync::Arc::new(say);
    let mut thrown_away = None;
    let (folder, url) = match options.source.clone() {
        Source::Folder(folder) => (folder, None),
        Source::Server(folder, url) => (folder, Some(url)),
        Source::New(recipe, kept) => {
            let folder = match kept {
                Some(folder) => folder,
                None => {
                    thrown_away.insert(tempfile::Builder::new().prefix("backstay-bench-").tempdir()?).path().to_owned()
                }
            };
            let (made, said) = (folder.clone(), say.clone());
            tokio::task::spawn_blocking(move || make(recipe, &made, &*said)).await??;
            (folder, None)
        }
    };
    let Some(ledger) = Manifest::read(&folder)? else {
        bail!("{} holds no ledger that `backstay bench` made", folder.display());
    };
    let data = DataFolder::new(folder);
    let clock = Instant::now();
    let running = match &url {
        Some(_) => None,
        None => Some(start(data.clone()).await?),
    };
    let open_seconds = running.as_ref().map(|_| clock.elapsed().as_secs_f64());
    if let Some(seconds) = open_seconds {
        say(format!("the server opened the ledger of {} tasks in {seconds:.1} s", ledger.tasks));
    }
    let url = url.or_else(|| Some(format!("http://{}", running.as_ref()?.http))).unwrap_or_default();
    let lines = ask(&url, &data, &ledger, &options, &*say).await;
    if let Some(running) = running {
        running.stop().await;
    }
    thrown_away.map(TempDir::close).transpose()?;
    Ok(Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        optimised: !cfg!(debug_assertions),
        processors: std::thread::available_parallelism().map_or(0, Into::into),
        ledger,
        open_seconds,
        lines: lines?,
    })
}

/// Makes a ledger, and says how far it is.
pub(crate) fn make(recipe: Recipe, folder: &std::path::Path, say: &dyn Fn(String)) -> Result<()> {
    let clock = Instant::now();
    let mut next = Duration::ZERO;
    let manifest = generate(folder, recipe, &mut |tasks| {
        if clock.elapsed() >= next {
            next = clock.elapsed() + Duration::from_secs(10);
            say(format!("{tasks} of {} tasks", recipe.tasks));
        }
    })?;
    let Manifest { tasks, activities, seconds, bytes, .. } = manifest;
    say(format!("{tasks} tasks and {activities} activities made in {seconds:.1} s: {} MB", bytes / 1_000_000));
    Ok(())
}

async fn start(data: DataFolder) -> Result<Running> {
    // History stays as it is while we measure.
    let long = SignedDuration::from_hours(24 * 365 * 50);
    let any = "127.0.0.1:0".parse()?;
    let config = Config {
        data,
        listen: any,
        listen_tls: any,
        host: "localhost".to_owned(),
        public: None,
        audiences: Vec::new(),
        rate: None,
        downloads: server::downloads::LIMIT,
        region: None,
        // Where the imports come from that are made here; nobody fetches them.
        notify_networks: Vec::new(),
        imports: ImportRules { networks: vec![Network::parse("127.0.0.0/8")?], roots: Vec::new() },
        history: History { shown: long, kept: long },
    };
    server::start(config).await
}

async fn ask(
    url: &str,
    data: &DataFolder,
    ledger: &Manifest,
    options: &Options,
    say: &dyn Fn(String),
) -> Result<Vec<crate::report::Line>> {
    let path = data.admin_token();
    let admin = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let tenants = Who::ALL.map(|who| {
        (
            who,
            match who {
                Who::Root => Uuid::nil(),
                Who::Middle => ledger.middle.tenant,
                Who::Leaf => ledger.leaf.tenant,
            },
        )
    });
    let driver = Driver::connect(url, admin.trim(), tenants).await?;
    driver.ready().await?;
    let mut all = questions(ledger);
    all.extend(pages(ledger));
    if let Some(machine) = ledger.resources.first() {
        say("looking for the longest lists".to_owned());
        all.extend(listings(&driver.busy(*machine).await?));
    }
    let Options { source, apis, callers, limits } = options;
    if apis.contains(&Api::OpenStack) {
        all.extend(image_tasks(&driver.marker(ledger.tasks).await?));
        // Nothing is made where others have a server running.
        if !matches!(source, Source::Server(..)) {
            all.push(import());
        }
    }
    let mut lines = Vec::new();
    for question in all.into_iter().filter(|q| q.is_for(apis)) {
        say(format!("{} ({})", question.name, question.who.name()));
        lines.extend(driver.ask(&question, apis, callers, *limits).await?);
    }
    driver.close().await?;
    Ok(lines)
}
