//! What stands still in a made-up ledger: a tree of tenants, their machines and mailboxes, and the policies over them.
//!
//! The proportions are those of a provider: for 10 million tasks some 20,000 tenants in a tree up to six deep, 300,000
//! resources and 50,000 policies. Few tenants have most of it, and many have little.

use domain::policy::{Policy, Retention, Schedule, Settings};
use domain::record::Record;
use domain::resource::{Registration, Resource, ResourceKind, Sources};
use domain::tenant::Tenant;
use domain::{Result, SignedDuration, Timestamp, Uuid};
use serde_json::json;

use crate::random::Random;
use crate::words::{COMPANIES, MACHINES, PLANS, TEAMS, TRADES};

/// The deepest tenant lies so many levels below nothing; the root is level 1.
const DEPTH: usize = 6;
/// How uneven the sizes of tenants are; see [`Random::skewed`].
const TENANT_SKEW: i32 = 3;
/// Resources that share a policy.
const PER_POLICY: usize = 6;

/// How much of everything there is for a number of tasks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    tenants: usize,
    resources: usize,
}

impl Size {
    pub(crate) fn of(tasks: u64) -> Size {
        let tasks = usize::try_from(tasks).unwrap_or(usize::MAX);
        Size { tenants: (tasks / 500).clamp(40, 20_000), resources: (tasks / 100 * 3).clamp(60, 300_000) }
    }
}

/// Something that is backed up.
pub(crate) struct Thing {
    pub(crate) id: Uuid,
    /// The owner's place among the tenants.
    pub(crate) tenant: usize,
    pub(crate) kind: ResourceKind,
    pub(crate) name: String,
    /// Its policy's place among the policies.
    pub(crate) policy: usize,
    pub(crate) agent: String,
}

/// A policy.
pub(crate) struct Plan {
    pub(crate) id: Uuid,
    pub(crate) tenant: usize,
    pub(crate) name: &'static str,
}

/// What stands still.
pub(crate) struct World {
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) things: Vec<Thing>,
    pub(crate) plans: Vec<Plan>,
    /// Where all backups go.
    pub(crate) repository: Uuid,
    /// When the first of it was made.
    since: Timestamp,
}

impl World {
    /// Makes it up; everything is there before `history` begins.
    pub(crate) fn new(size: Size, random: &mut Random, history: Timestamp) -> Result<World> {
        let since = history - SignedDuration::from_hours(24);
        let (tenants, owners) = tenants(size.tenants, random, since)?;
        let mut things: Vec<_> = (0..size.resources).map(|n| thing(n, &tenants, &owners, random, since)).collect();
        let plans = plans(tenants.len(), &mut things, random, since);
        Ok(World { tenants, things, plans, repository: random.uuid(since), since })
    }

    /// Everything as the ledger keeps it, owners first. Each has a later time than the one before it.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record> {
        let tenants = self.tenants.iter().map(|t| Record::from(t.clone()));
        let plans = self.plans.iter().map(|p| Record::from(self.policy(p)));
        let things = self.things.iter().map(|t| Record::from(self.resource(t)));
        let since = self.since;
        tenants.chain(plans).chain(things).zip(1..).map(move |(mut record, n)| {
            record.touch(since + SignedDuration::from_micros(100 * n));
            record
        })
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.tenants.len() + self.plans.len() + self.things.len()
    }

    fn policy(&self, plan: &Plan) -> Policy {
        Policy {
            id: plan.id,
            tenant: self.tenants[plan.tenant].id,
            name: plan.name.to_owned(),
            kind: "backup".to_owned(),
            enabled: true,
            // Nobody runs while we measure.
            schedule: Schedule::Manual {},
            settings: Settings { excludes: vec!["*.tmp".to_owned()], ..Settings::default() },
            retention: Retention::default(),
            as_written: None,
            repository: self.repository,
            created_at: self.since,
            updated_at: self.since,
        }
    }

    fn resource(&self, thing: &Thing) -> Resource {
        Resource {
            id: thing.id,
            tenant: self.tenants[thing.tenant].id,
            instance_id: format!("i-{}", thing.id.simple()),
            kind: thing.kind,
            name: thing.name.clone(),
            agent: Uuid::parse_str(&thing.agent).ok(),
            sources: Sources { paths: vec!["/".to_owned()], excludes: Vec::new() },
            enabled: true,
            active: true,
            external: false,
            live_recovery: false,
            registration: Registration::Registered,
            registration_details: serde_json::Value::Null,
            last_backup_at: None,
            metadata: json!({ "location": "rack 7", "encrypted": false }),
            created_at: self.since,
            updated_at: self.since,
            deleted_at: None,
        }
    }
}

/// The tree, parents first, and the places of those who own something: customers and their units, not the partners above
/// them.
fn tenants(count: usize, random: &mut Random, since: Timestamp) -> Result<(Vec<Tenant>, Vec<usize>)> {
    let mut tenants = vec![Tenant::root("root", "UTC", since)];
    let partners = 1 + (count / 250).max(3);
    let resellers = partners + count / 25;
    let mut owners: Vec<usize> = Vec::new();
    for n in 1..count {
        let parent = match n {
            _ if n < partners => 0,
            _ if n < resellers => 1 + random.skewed(partners - 1, 2),
            // A unit of a customer, or a customer of a partner or reseller.
            _ if !owners.is_empty() && random.permille(300) => {
                let customer = owners[random.skewed(owners.len(), TENANT_SKEW)];
                let levels = tenants[customer].locator.matches('/').count() - 1;
                if levels < DEPTH { customer } else { 1 + random.below(partners - 1) }
            }
            _ => 1 + random.skewed(resellers - 1, 2),
        };
        if n >= resellers {
            owners.push(n);
        }
        let name = format!("{} {} {n}", random.pick(COMPANIES), random.pick(TRADES));
        let id = random.uuid(since);
        let tenant = tenants[parent].child(id, n as i64 + 1, &name, since)?;
        tenants.push(tenant);
    }
    Ok((tenants, owners))
}

fn thing(n: usize, tenants: &[Tenant], owners: &[usize], random: &mut Random, since: Timestamp) -> Thing {
    use ResourceKind as K;
    const KINDS: &[(ResourceKind, usize)] =
        &[(K::ComputeVm, 60), (K::BareMetal, 20), (K::Mailbox, 10), (K::Volume, 7), (K::Image, 3)];
    let tenant = owners[random.skewed(owners.len(), TENANT_SKEW)];
    let kind = random.weighted(KINDS);
    let domain = tenants[tenant].name.split(' ').next().unwrap_or_default().to_lowercase();
    let name = match kind {
        K::Mailbox => format!("{}.{}{n}@{domain}.example", random.pick(TEAMS), random.pick(TEAMS)),
        K::BareMetal if random.permille(500) => format!("{}-laptop-{n}", random.pick(TEAMS)),
        _ => format!("{}-{n:03}.{domain}.example", random.pick(MACHINES)),
    };
    // A few agents a tenant.
    let mut agents = Random::new(tenant as u64 * 8 + random.below(4) as u64);
    let agent = uuid::Builder::from_random_bytes(
        [agents.next().to_be_bytes(), agents.next().to_be_bytes()].concat()[..].try_into().expect("twice eight bytes"),
    );
    Thing { id: random.uuid(since), tenant, kind, name, policy: 0, agent: agent.into_uuid().to_string() }
}

/// Policies for tenants that own something, a handful of resources each.
fn plans(tenants: usize, things: &mut [Thing], random: &mut Random, since: Timestamp) -> Vec<Plan> {
    let mut owned = vec![Vec::new(); tenants];
    for (n, thing) in things.iter().enumerate() {
        owned[thing.tenant].push(n);
    }
    let mut plans = Vec::new();
    for (tenant, owned) in owned.into_iter().enumerate() {
        for some in owned.chunks(PER_POLICY) {
            some.iter().for_each(|n| things[*n].policy = plans.len());
            plans.push(Plan { id: random.uuid(since), tenant, name: random.pick::<&str>(PLANS) });
        }
    }
    plans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proportions_are_those_of_a_provider() {
        let size = Size::of(10_000_000);
        assert_eq!((size.tenants, size.resources), (20_000, 300_000));
        let world = World::new(Size::of(200_000), &mut Random::new(1), Timestamp::UNIX_EPOCH).expect("a world");
        assert_eq!(world.tenants.len(), 400);
        let depths: Vec<_> = world.tenants.iter().map(|t| t.locator.matches('/').count() - 1).collect();
        assert_eq!((depths.iter().min(), depths.iter().max()), (Some(&1), Some(&DEPTH)));
        assert_eq!(world.things.len(), 6000);
        assert!((1000..1400).contains(&world.plans.len()), "{}", world.plans.len());
        assert!(world.things.iter().all(|t| world.plans[t.policy].tenant == t.tenant));
        assert_eq!(world.records().count(), world.len());
    }
}
