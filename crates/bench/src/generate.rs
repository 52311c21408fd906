//! Making up a ledger in a data folder, and what is worth knowing of it afterwards.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use domain::tenant::Tenant;
use domain::{Timestamp, Uuid};
use ledger::Rev;
use ledger::sqlite::Loader;
use serde::{Deserialize, Serialize};
use server::config::DataFolder;

use crate::history::{self, History, Item};
use crate::needles;
use crate::random::Random;
use crate::world::{Size, World};

/// What is made up.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// How many tasks.
    pub tasks: u64,
    /// The same seed and end give the same ledger.
    pub seed: u64,
    /// When it all ends.
    pub end: Timestamp,
}

/// What a benchmark must know of a ledger that was made up; it lies beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// How this is written; another number is not read.
    pub version: u32,
    /// How many tasks there are.
    pub tasks: u64,
    /// How many activities.
    pub activities: u64,
    /// What it was made from.
    pub seed: u64,
    /// When it ends: the newest change is not later.
    pub end: Timestamp,
    /// A tenant without others below it, with some hundred tasks where there are enough.
    pub leaf: Place,
    /// A tenant in the middle of the tree, with some hundredths of all tasks in it and below it.
    pub middle: Place,
    /// Some resources with a long history and some with a short one.
    pub resources: Vec<Uuid>,
    /// What questions to the ledger are made up from, so that no two are the same.
    pub samples: Samples,
    /// How long it took to make, in seconds.
    pub seconds: f64,
    /// The size of the ledger in bytes.
    pub bytes: u64,
}

/// A tenant, and how much work was done in it and below it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Which.
    pub tenant: Uuid,
    /// Tenants in and below it.
    pub tenants: u64,
    /// Tasks in and below it.
    pub tasks: u64,
}

/// Some of everything that can be asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    /// Tenants like [`Manifest::middle`], the best first.
    pub middles: Vec<Place>,
    /// Tenants like [`Manifest::leaf`], the best first.
    pub leaves: Vec<Place>,
    /// Resources as [`Manifest::resources`], more of them.
    pub resources: Vec<Uuid>,
    /// Parts of resources' names that about one in a thousand tasks has, the best first.
    pub rare: Vec<Needle>,
    /// Parts of resources' names that about one in ten tasks has, the best first.
    pub frequent: Vec<Needle>,
    /// Tasks from all over, by number and uuid.
    pub tasks: Vec<(i64, Uuid)>,
}

/// A part of names, and how many tasks are about resources that are called so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Needle {
    /// The part, in small letters.
    pub text: String,
    /// The tasks.
    pub tasks: u64,
}

const VERSION: u32 = 2;
const FILE: &str = "bench.json";
/// Rows that change hands at once, and how many such heaps may lie between.
const HEAP: usize = 1000;
const HEAPS: usize = 16;
/// How many resources are named, and how many of each kind the samples have.
const RESOURCES: usize = 32;
const SAMPLED_RESOURCES: usize = 256;
const SAMPLED_TASKS: u64 = 256;
const SAMPLED_MIDDLES: usize = 12;
const SAMPLED_LEAVES: usize = 64;
/// What a leaf and a middle tenant should have.
const LEAF_TASKS: f64 = 300.0;
const MIDDLE_SHARE: f64 = 0.03;

impl Manifest {
    /// That of the ledger in this data folder, if one was made up there.
    ///
    /// # Errors
    /// When it cannot be read, or was written by another version of this program.
    pub fn read(folder: &Path) -> Result<Option<Manifest>> {
        let path = folder.join(FILE);
        let text = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("cannot read {}", path.display()))?,
        };
        match serde_json::from_slice::<Manifest>(&text) {
            Ok(manifest) if manifest.version == VERSION => Ok(Some(manifest)),
            _ => bail!("{} was written by another version of this program; make the ledger anew", path.display()),
        }
    }
}

/// Makes up a ledger in this data folder, and says how many tasks are done from time to time.
///
/// # Errors
/// When there is a ledger already, or the disk is full.
pub fn generate(folder: &Path, recipe: Recipe, progress: &mut dyn FnMut(u64)) -> Result<Manifest> {
    let clock = Instant::now();
    let Recipe { tasks, seed, end } = recipe;
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let path = DataFolder::new(folder.to_owned()).ledger();
    let mut random = Random::new(seed);
    let world = World::new(Size::of(tasks), &mut random, history::begin(end)).map_err(plain)?;
    let mut loader = Loader::create(&path).map_err(plain)?;
    for (record, rev) in world.records().zip(1..) {
        loader.put_record(&record, Rev(rev)).map_err(plain)?;
    }
    let mut history = History::new(&world, tasks, random, end);
    let mut sums = Sums { every: (tasks / SAMPLED_TASKS).max(1), ..Sums::default() };
    // One thread thinks of what happened, this one writes it down.
    let (heaps, taken) = sync_channel::<domain::Result<Vec<Item>>>(HEAPS);
    let written = std::thread::scope(|scope| {
        scope.spawn(move || {
            loop {
                let heap = heap(&mut history);
                let last = !matches!(&heap, Ok((_, true)));
                // Nobody takes it when writing failed.
                if heaps.send(heap.map(|(items, _)| items)).is_err() || last {
                    return;
                }
            }
        });
        for heap in taken {
            for item in heap? {
                sums.add(&item);
                match item {
                    Item::Task(task, rev) => loader.put_task(&task, rev)?,
                    Item::Activity(activity) => loader.put_activity(&activity)?,
                }
            }
            progress(sums.tasks);
        }
        loader.finish()
    });
    written.map_err(plain)?;
    let (leaves, middles) = (sums.leaves(&world.tenants), sums.middles(&world.tenants));
    let needle = |share: f64| needles::nearest(share, seed, sums.names(&world));
    let manifest = Manifest {
        version: VERSION,
        tasks: sums.tasks,
        activities: sums.activities,
        seed,
        end,
        leaf: first(&leaves),
        middle: first(&middles),
        resources: sums.resources(RESOURCES),
        samples: Samples {
            middles: middles.into_iter().take(SAMPLED_MIDDLES).collect(),
            leaves: leaves.into_iter().take(SAMPLED_LEAVES).collect(),
            resources: sums.resources(SAMPLED_RESOURCES),
            rare: needle(0.001),
            frequent: needle(0.1),
            tasks: std::mem::take(&mut sums.sampled),
        },
        seconds: clock.elapsed().as_secs_f64(),
        bytes: fs::metadata(&path)?.len(),
    };
    let path = folder.join(FILE);
    fs::write(&path, serde_json::to_vec_pretty(&manifest)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(manifest)
}

/// The next rows, and whether there are more.
fn heap(history: &mut History<'_>) -> domain::Result<(Vec<Item>, bool)> {
    let mut items = Vec::with_capacity(2 * HEAP);
    while items.len() < HEAP {
        if !history.next(&mut items)? {
            return Ok((items, false));
        }
    }
    Ok((items, true))
}

fn plain(error: domain::Error) -> anyhow::Error {
    anyhow::anyhow!(error.message)
}

/// How much went where.
#[derive(Default)]
struct Sums {
    tasks: u64,
    activities: u64,
    by_tenant: HashMap<Uuid, u64>,
    by_resource: HashMap<Uuid, u64>,
    /// One in so many tasks is sampled.
    every: u64,
    sampled: Vec<(i64, Uuid)>,
}

impl Sums {
    fn add(&mut self, item: &Item) {
        let Item::Task(task, _) = item else {
            self.activities += 1;
            return;
        };
        self.tasks += 1;
        if self.tasks.is_multiple_of(self.every) {
            self.sampled.push((task.id.0, task.spec.uuid));
        }
        *self.by_tenant.entry(task.spec.tenant).or_default() += 1;
        if let Some(id) = task.spec.resource.as_ref().and_then(|r| Uuid::parse_str(&r.id).ok()) {
            *self.by_resource.entry(id).or_default() += 1;
        }
    }

    /// Each tenant with what lies in and below it.
    fn places<'t>(&self, tenants: &'t [Tenant]) -> Vec<(&'t Tenant, Place)> {
        let index: HashMap<_, _> = tenants.iter().enumerate().map(|(n, t)| (t.id, n)).collect();
        let place = |t: &Tenant| Place { tenant: t.id, tenants: 0, tasks: 0 };
        let mut places: Vec<_> = tenants.iter().map(|t| (t, place(t))).collect();
        for tenant in tenants {
            let tasks = self.by_tenant.get(&tenant.id).copied().unwrap_or_default();
            let mut at = Some(tenant.id);
            while let Some(n) = at.and_then(|id| index.get(&id).copied()) {
                places[n].1.tenants += 1;
                places[n].1.tasks += tasks;
                at = tenants[n].parent;
            }
        }
        places
    }

    /// Tenants with nobody below them, those that fit best first.
    fn leaves(&self, tenants: &[Tenant]) -> Vec<Place> {
        let leaves = self.places(tenants).into_iter().filter(|(t, p)| t.parent.is_some() && p.tenants == 1);
        sorted(leaves.map(|(_, p)| p), |p| p.tasks as f64 / LEAF_TASKS)
    }

    /// Tenants with others below them, those that fit best first.
    fn middles(&self, tenants: &[Tenant]) -> Vec<Place> {
        let some = self.places(tenants).into_iter().filter(|(t, p)| t.parent.is_some() && p.tenants > 1);
        let wanted = self.tasks.max(1) as f64 * MIDDLE_SHARE;
        sorted(some.map(|(_, p)| p), |p| p.tasks as f64 / wanted)
    }

    /// The names of resources, and how many tasks each has.
    fn names<'w>(&self, world: &'w World) -> Vec<(&'w str, u64)> {
        let tasks = |id| self.by_resource.get(id).copied().unwrap_or_default();
        world.things.iter().map(|t| (t.name.as_str(), tasks(&t.id))).collect()
    }

    /// Those with the most work, and some from all over the rest.
    fn resources(&self, count: usize) -> Vec<Uuid> {
        let mut all: Vec<_> = self.by_resource.iter().map(|(id, n)| (*n, *id)).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        let top = all.len().min(count / 4);
        let (first, rest) = all.split_at(top);
        let step = (rest.len() / (count - top).max(1)).max(1);
        first.iter().chain(rest.iter().step_by(step)).take(count).map(|(_, id)| *id).collect()
    }
}

/// The places, those whose measure is nearest to 1 first.
fn sorted(places: impl Iterator<Item = Place>, measure: impl Fn(&Place) -> f64) -> Vec<Place> {
    let distance = |p: &Place| measure(p).max(1e-9).ln().abs();
    let mut places: Vec<_> = places.collect();
    places.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
    places
}

/// The best place; the root if there is none.
fn first(places: &[Place]) -> Place {
    places.first().cloned().unwrap_or(Place { tenant: Uuid::nil(), tenants: 1, tasks: 0 })
}
