//! `backstay bench ledger`: the ledger itself, in this process: what it answers and how quickly, what it writes, what it
//! takes, and how others do beside it.

mod ask;
mod clock;
pub(crate) mod figures;
mod fsync;
mod measure;
mod pgserver;
mod pool;
mod postgres;
mod queries;
mod report;
mod rivals;
mod side;
mod sql;
mod sqlite;
mod writes;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::ledger::{Ledger, SqliteLedger};
use anyhow::{Context as _, Result, bail};
use server::config::DataFolder;
use tempfile::TempDir;

use crate::generate::{Manifest, Recipe};
use ask::{Ask, Oracle};
use figures::Figures;
use pgserver::PgServer;
use pool::Pool;
use postgres::Postgres;
use queries::{Shape, mix};
use side::{Loaded, Side, Tasks};
use sqlite::Sqlite;
use writes::Writer;

pub use clock::Spread;
pub use measure::{Effort, Line};
pub use report::{LedgerReport, SideReport, Table};
pub use rivals::Rival;
pub use writes::{Load, Writes};

/// Up to so many tasks, every answer is compared with what it must be by definition.
const CHECKED: u64 = 20_000;
/// How many tasks those that are written are like.
const LIKES: usize = 64;
/// How long work that was put off may take before questions are asked.
const SETTLE: Duration = Duration::from_secs(60);

/// The ledger that is measured.
#[derive(Debug, Clone)]
pub enum LedgerSource {
    /// One that is made up for this, and thrown away unless a folder is named to keep it in.
    New(Recipe, Option<PathBuf>),
    /// One that was made up before, in this data folder. Writing adds tasks to it.
    Folder(PathBuf),
}

/// Which PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostgresAt {
    /// One that runs, at this address. Tables `tasks` and `tenant_closure` in it are made anew.
    Url(String),
    /// One that is started for this and thrown away.
    Own,
}

/// What is measured.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// The ledger.
    pub source: LedgerSource,
    /// How long each kind of question is asked.
    pub effort: Effort,
    /// Only kinds of questions with this in their names.
    pub only: Option<String>,
    /// How much is written; nothing where there is none.
    pub load: Option<Load>,
    /// Ask PostgreSQL beside it.
    pub postgres: Option<PostgresAt>,
    /// Ask SQLite beside it, in this new file.
    pub sqlite: Option<PathBuf>,
    /// Ask side by side with a ledger of so many tasks, made up for this, instead of the whole one.
    pub side_rows: Option<u64>,
    /// Run others' task queues on that PostgreSQL.
    pub rivals: bool,
}

type Say<'s> = &'s (dyn Fn(String) + Send + Sync);

/// Measures, and says what it is doing.
///
/// # Errors
/// When the ledger cannot be made or opened, a question fails, or somebody beside it cannot be reached. Wrong answers are
/// findings of the report.
pub async fn run_ledger(options: LedgerOptions, say: impl Fn(String) + Send + Sync + 'static) -> Result<LedgerReport> {
    let say: Arc<dyn Fn(String) + Send + Sync> = Arc::new(say);
    if options.rivals && options.postgres.is_none() {
        bail!("rivals need a PostgreSQL: name one with --postgres or start one with --own-postgres");
    }
    let place = Place::of(options.source.clone(), &say).await?;
    let mut report = LedgerReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        optimised: !cfg!(debug_assertions),
        processor: figures::processor(),
        processors: std::thread::available_parallelism().map_or(0, Into::into),
        memory: figures::memory_bytes(),
        ledger: place.manifest.clone(),
        queries: Vec::new(),
        side: None,
        writes: None,
        rivals: Vec::new(),
        figures: Figures { resident_before: figures::resident_bytes(), ..Figures::default() },
        findings: Vec::new(),
    };
    let own = match options.postgres {
        Some(PostgresAt::Own) => Some(PgServer::start(place.beside()).await?),
        _ => None,
    };
    let url = match (&options.postgres, &own) {
        (Some(PostgresAt::Url(url)), _) => Some(url.clone()),
        (_, Some(server)) => Some(server.url()),
        _ => None,
    };
    let result = measure(&options, &place, url.as_deref(), &mut report, &*say).await;
    if let Some(server) = own {
        server.stop().await?;
    }
    result?;
    place.thrown_away.map(TempDir::close).transpose()?;
    Ok(report)
}

async fn measure(
    options: &LedgerOptions,
    place: &Place,
    url: Option<&str>,
    report: &mut LedgerReport,
    say: Say<'_>,
) -> Result<()> {
    let (ledger, cost) = figures::open(&place.file).await?;
    let ledger = Arc::new(ledger);
    say(format!("the ledger of {} tasks was there after {:.1} s", place.manifest.tasks, cost.wall.as_secs_f64()));
    figures::settle(SETTLE).await;
    let beside = (url.is_some() || options.sqlite.is_some()) && options.side_rows.is_none();
    let sides = if beside { Sides::load(&*ledger, url, options, say).await? } else { Sides::default() };
    let Sides { mut sides, loaded } = sides;
    let only = options.only.as_deref();
    report.queries = ask_all(&*ledger, place, &mut sides, options.effort, only, &mut report.findings, say).await?;
    if beside {
        report.side = Some(SideReport { ledger: place.manifest.clone(), loaded, queries: Vec::new() });
    }
    drop(sides);
    report.figures.sizes(&ledger, &place.file).await?;
    if let Some(load) = options.load {
        say(format!("writing: {} callers", load.callers));
        report.writes = Some(write(&ledger, place, load).await?);
    }
    let mut ledger = Arc::into_inner(ledger).context("somebody still uses the ledger")?;
    // Whoever asks for some kinds of questions waits for these only.
    if only.is_none() {
        say("restarting".to_owned());
        ledger = figures::restart(ledger, &place.file, &mut report.figures).await?;
    }
    ledger.close().await.map_err(|e| anyhow::anyhow!(e.message))?;
    drop(ledger);
    if let Some(rows) = options.side_rows
        && (url.is_some() || options.sqlite.is_some())
    {
        // What was measured before shall not be lost.
        match aside(options, place, rows, url, &mut report.findings, say).await {
            Ok(side) => report.side = Some(side),
            Err(e) => report.findings.push(format!("side by side could not be measured: {e:#}")),
        }
    }
    if let (true, Some(url)) = (options.rivals, url) {
        let load = options.load.unwrap_or(Load { callers: 64, tasks: 20_000, time: Duration::from_secs(60) });
        let (ours, bytes) = report.writes.as_ref().map_or((0.0, 900), |w| (w.tasks_per_second, w.spec_bytes));
        match rivals::run(place.beside(), url, load, bytes, ours, say) {
            Ok(rivals) => report.rivals = rivals,
            Err(e) => report.findings.push(format!("the rivals could not be measured: {e:#}")),
        }
    }
    Ok(())
}

/// The questions to a smaller ledger of its own, and to those beside it.
async fn aside(
    options: &LedgerOptions,
    place: &Place,
    rows: u64,
    url: Option<&str>,
    findings: &mut Vec<String>,
    say: Say<'_>,
) -> Result<SideReport> {
    let folder = tempfile::Builder::new().prefix("backstay-bench-side-").tempdir_in(place.beside())?;
    let recipe = Recipe { tasks: rows, seed: place.manifest.seed, end: place.manifest.end };
    let path = folder.path().join("data");
    let manifest = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || crate::generate::generate(&path, recipe, &mut |_| {})).await??
    };
    let small = Place { file: DataFolder::new(path.clone()).ledger(), folder: path, manifest, thrown_away: None };
    let (ledger, _) = figures::open(&small.file).await?;
    let Sides { mut sides, loaded } = Sides::load(&ledger, url, options, say).await?;
    figures::settle(SETTLE).await;
    let only = options.only.as_deref();
    let queries = ask_all(&ledger, &small, &mut sides, options.effort, only, findings, say).await?;
    ledger.close().await.map_err(|e| anyhow::anyhow!(e.message))?;
    Ok(SideReport { ledger: small.manifest, loaded, queries })
}

/// Where the ledger is, and what it was made from.
struct Place {
    folder: PathBuf,
    file: PathBuf,
    manifest: Manifest,
    thrown_away: Option<TempDir>,
}

impl Place {
    async fn of(source: LedgerSource, say: &Arc<dyn Fn(String) + Send + Sync>) -> Result<Place> {
        let mut thrown_away = None;
        let folder = match source {
            LedgerSource::Folder(folder) => folder,
            LedgerSource::New(recipe, kept) => {
                let folder = match kept {
                    Some(folder) => folder,
                    None => {
                        let new = tempfile::Builder::new().prefix("backstay-bench-").tempdir()?;
                        thrown_away.insert(new).path().join("data")
                    }
                };
                let (made, said) = (folder.clone(), say.clone());
                tokio::task::spawn_blocking(move || crate::api::make(recipe, &made, &*said)).await??;
                folder
            }
        };
        let Some(manifest) = Manifest::read(&folder)? else {
            bail!("{} holds no ledger that `backstay bench` made", folder.display());
        };
        Ok(Place { file: DataFolder::new(folder.clone()).ledger(), folder, manifest, thrown_away })
    }

    /// A folder on the same disk where others may have folders of their own.
    fn beside(&self) -> &Path {
        let system = std::env::temp_dir();
        match (&self.thrown_away, self.folder.parent()) {
            // Our own temporary folder lies there, and other users may not enter it.
            (Some(folder), _) => folder.path().parent().unwrap_or(Path::new("/tmp")),
            (None, Some(parent)) if !parent.as_os_str().is_empty() && parent != system => parent,
            _ => Path::new("/var/tmp"),
        }
    }
}

/// Those who are asked beside the ledger.
#[derive(Default)]
struct Sides {
    sides: Vec<Side>,
    loaded: Vec<Loaded>,
}

impl Sides {
    async fn load(ledger: &dyn Ledger, url: Option<&str>, options: &LedgerOptions, say: Say<'_>) -> Result<Sides> {
        let mut all = Sides::default();
        if let Some(url) = url {
            say("PostgreSQL: loading".to_owned());
            let (side, loaded) = Postgres::load(url, ledger, say).await?;
            all.sides.push(Side::Postgres(Box::new(side)));
            all.loaded.push(loaded);
        }
        if let Some(file) = &options.sqlite {
            say("SQLite: loading".to_owned());
            let (side, loaded) = Sqlite::load(file, ledger, say).await?;
            all.sides.push(Side::Sqlite(Box::new(side)));
            all.loaded.push(loaded);
        }
        Ok(all)
    }
}

/// All questions to the ledger and those beside it.
async fn ask_all(
    ledger: &dyn Ledger,
    place: &Place,
    sides: &mut [Side],
    effort: Effort,
    only: Option<&str>,
    findings: &mut Vec<String>,
    say: Say<'_>,
) -> Result<Vec<Line>> {
    let oracle = if place.manifest.tasks <= CHECKED { Some(oracle(ledger).await?) } else { None };
    let mut pool = Pool::of(ledger, &place.manifest).await?;
    let mut lines = Vec::new();
    for shape in mix(&mut pool) {
        let Shape { name, whose, .. } = &shape;
        if only.is_some_and(|o| !format!("{name} {whose}").contains(o)) {
            continue;
        }
        say(format!("{name} ({whose})"));
        for run in measure::run(ledger, &shape, effort).await? {
            if let Some(oracle) = &oracle {
                run.check(oracle, findings);
            }
            let mut line = run.line();
            for side in &mut *sides {
                let spread = run.replay(side, effort, findings).await?;
                let ratio = Some(spread.p50_ms / line.wall.p50_ms.max(1e-9));
                match side {
                    Side::Postgres(_) => (line.postgres, line.ratio_postgres) = (Some(spread), ratio),
                    Side::Sqlite(_) => (line.sqlite, line.ratio_sqlite) = (Some(spread), ratio),
                }
            }
            lines.push(line);
        }
    }
    Ok(lines)
}

async fn oracle(ledger: &dyn Ledger) -> Result<Oracle> {
    let mut all = Vec::new();
    let mut tasks = Tasks::of(ledger);
    loop {
        let some = tasks.next().await?;
        if some.is_empty() {
            break;
        }
        all.extend(some);
    }
    let locators: HashMap<_, _> = side::tenants(ledger).await?.into_iter().map(|t| (t.id, t.locator)).collect();
    Ok(Oracle::new(all, locators))
}

async fn write(ledger: &Arc<SqliteLedger>, place: &Place, load: Load) -> Result<Writes> {
    let mut pool = Pool::of(&**ledger, &place.manifest).await?;
    // What consoles show all the time; one of each kind is enough to see who is held up.
    let lists: Vec<Ask> = mix(&mut pool)
        .into_iter()
        .filter(|s| LISTS.contains(&(s.name.as_str(), s.whose)))
        .filter_map(|s| s.variants.into_iter().next())
        .collect();
    let likes: Vec<_> = (0..LIKES).map(|_| pool.task(false)).collect();
    let writer = Writer::like(ledger.clone(), likes).await?;
    let transactions = || ledger.transactions();
    writer.measure(load, lists, &place.folder, &transactions).await
}

/// The lists that are read beside the writers.
const LISTS: [(&str, &str); 6] = [
    ("newest", "all"),
    ("newest", "middle"),
    ("newest", "leaf"),
    ("of one resource", "all"),
    ("failed since a day", "all"),
    ("counts by state", "middle"),
];
