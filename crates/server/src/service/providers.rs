//! Providers: names that clients activate for a tenant before they use it. Nothing depends on them; the first one brings
//! the tenant policies to begin with (contract for Yandex clients, Y84 and Y85).

use domain::operation::{About, Idempotency, OperationKind};
use domain::policy::calendar::{Interval, Unit, Weekday};
use domain::policy::retention::{Keep, Rule};
use domain::policy::sets::{RunKind, RunSet, RunSets, Scheme, When};
use domain::policy::settings::Retry;
use domain::policy::timetable::{Period, Timetable};
use domain::policy::{Policy, Retention, Schedule, Settings};
use domain::query::{Filter, RecordField, Value};
use domain::tenant::Tenant;
use domain::{Caller, Code, Result, Right, Role, Scope, SignedDuration, Uuid};
use jiff::civil::Time;
use ledger::{Expect, Stored, Write};

use super::Service;
use super::operations::{Change, OperationView};
use super::policies::NewPolicy;

/// How many recovery points the policies to begin with keep.
const KEPT: u64 = 15;
/// Over how long their runs are spread.
const SPREAD: Interval = Interval::of(30, Unit::Minutes);
/// How many names are remembered of a tenant: the newest.
const MOST: usize = 100;

impl Service {
    /// Activates a provider for a tenant; again is success. With the first one come three policies, unless the caller wants
    /// none; a policy of the same name stays as it is.
    ///
    /// # Errors
    /// `forbidden` below operator, `not_found`.
    pub async fn activate_provider(
        &self,
        caller: &Caller,
        tenant: Uuid,
        name: &str,
        without_policies: bool,
        key: Option<Idempotency>,
    ) -> Result<OperationView> {
        let scope = caller.may(Right::Operate)?;
        // A tenant's record belongs to the one above it; that this one is within the scope is seen by reading it.
        let everything = Scope::everything();
        let done = self.operate(caller, &everything, key, || async {
            let Stored { rev, value: mut tenant } = self.ledger.get::<Tenant>(scope, tenant).await?;
            let first = tenant.providers.is_empty();
            let about = About::default();
            let object = (tenant.id, tenant.name.clone());
            let mut change = Change::new(OperationKind::ActivateProvider, tenant.id, about, object);
            if !tenant.providers.iter().any(|known| known == name) {
                if tenant.providers.len() >= MOST {
                    // Any name is accepted, and nothing depends on one.
                    tenant.providers.remove(0);
                }
                tenant.providers.push(name.to_owned());
                if first && !without_policies {
                    for policy in self.policies_to_begin_with(&tenant).await? {
                        change.writes.push(Write::Put(Box::new(policy.into()), Expect::New));
                    }
                }
                change.writes.insert(0, Write::Put(Box::new(tenant.into()), Expect::Rev(rev)));
            }
            Ok(change)
        });
        let done = done.await;
        self.tenants.changed();
        done
    }

    /// Those that the tenant does not have yet.
    async fn policies_to_begin_with(&self, tenant: &Tenant) -> Result<Vec<Policy>> {
        // Whoever may activate a provider may have them made, also without the right to make others.
        let within = Scope::subtree(tenant);
        let by = Caller::new(Caller::server().name, Caller::server().actor, vec![Role::Admin], within.clone());
        let filter = Filter::all().is(RecordField::Tenant, Value::Uuid(tenant.id))?;
        let known = self.ledger.all::<Policy>(&within, filter).await?;
        let mut made = Vec::new();
        for (name, times) in timetables() {
            if known.iter().any(|p| p.value.name == name) {
                continue;
            }
            let new = NewPolicy {
                tenant: Some(tenant.id),
                name: name.to_owned(),
                schedule: schedule(times),
                settings: settings(),
                retention: Retention {
                    rules: vec![Rule { keep: Keep::MaxCount(KEPT), periods: Vec::new(), first_of: None }],
                    before_backup: false,
                },
                as_written: None,
                repository: None,
                enabled: true,
            };
            match self.new_policy(&by, new).await {
                Ok(policy) => made.push(policy),
                // It is not clear where backups shall go; whoever makes policies then says it.
                Err(e) if e.code == Code::MissingField => {
                    tracing::warn!(tenant = tenant.name, reason = %e, "no policies to begin with are made");
                    return Ok(Vec::new());
                }
                Err(e) => return Err(e),
            }
        }
        Ok(made)
    }
}

/// Those of a policy of which nothing is said (contract for Yandex clients, Y93).
fn settings() -> Settings {
    let retry = |attempts, interval| Some(Retry { attempts, interval });
    Settings {
        retries: retry(30, SignedDuration::from_secs(30)),
        snapshot_retries: retry(3, SignedDuration::from_mins(5)),
        ..Settings::default()
    }
}

fn timetables() -> [(&'static str, Timetable); 3] {
    let weekly = Timetable { weekdays: vec![Weekday::Monday], ..Timetable::every(Period::Weekly) };
    let monthly = Timetable { monthdays: vec![1], ..Timetable::every(Period::Monthly) };
    [("Default daily", Timetable::every(Period::Daily)), ("Default weekly", weekly), ("Default monthly", monthly)]
}

fn schedule(times: Timetable) -> Schedule {
    let when = When::Times(Timetable { at: vec![Time::midnight()], ..times });
    let set = RunSet { kind: RunKind::Auto, when, run_later: false };
    Schedule::Sets(RunSets { scheme: Scheme::AlwaysIncremental, max_delay: Some(SPREAD), ..RunSets::of(vec![set]) })
}
