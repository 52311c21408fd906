//! What the ledger knows, as metrics: asked when somebody looks, so that it is right after every restart and costs nothing
//! in between.

use std::collections::HashMap;
use std::path::Path;

use domain::agent::{AGENT_QUEUE, Agent, GATED_QUEUE};
use domain::policy::{Application, Policy, Schedule};
use domain::query::{Direction, Filter, Order, Page, Pattern, Query, RecordField, TaskField, Test, Value};
use domain::resource::{Registration, Resource};
use domain::task::State;
use domain::tenant::Tenant;
use domain::{Caller, Code, Error, Result, Right, Scope, SignedDuration, Timestamp, Uuid};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Service;
use crate::telemetry::{self, Exposition, Telemetry};

/// The ages of last good backups that are told apart, in hours: whoever is alerted chooses the one that fits the schedule.
const AGES: [i64; 5] = [26, 50, 7 * 24 + 2, 14 * 24, 31 * 24];

type Gauges<S> = Family<S, Gauge>;
/// How tenants are named in metrics.
type Labels = HashMap<Uuid, telemetry::OfTenant>;

impl Service {
    /// All metrics as text. They tell of every tenant, so only whoever may see the whole tree may see them.
    ///
    /// # Errors
    /// `forbidden` for everybody else, and those of the ledger.
    pub async fn metrics(&self, caller: &Caller, exposition: Exposition) -> Result<String> {
        let scope = caller.may(Right::View)?;
        if !scope.is_everything() {
            let message = "metrics tell of every tenant; this credential sees only a part of the tree";
            let hint = "make a token of the root tenant: backstay token create prometheus --role viewer";
            return Err(Error::new(Code::Forbidden, message).hint(hint));
        }
        // One at a time: whoever asks faster than the ledger answers waits instead of piling up work.
        let _one = self.gathering.lock().await;
        let mut registry = Telemetry::gathered();
        self.gather_tasks(scope, &mut registry).await?;
        let names = self.tenant_labels(scope).await?;
        self.gather_backups(scope, &names, &mut registry).await?;
        self.gather_agents(scope, &names, &mut registry).await?;
        self.gather_places(&mut registry);
        let defect = |_| Error::new(Code::Internal, "the metrics could not be written");
        self.telemetry.print(&registry, exposition).map_err(defect)
    }

    async fn gather_tasks(&self, scope: &Scope, registry: &mut Registry) -> Result<()> {
        let counts = Gauges::default();
        let by = [TaskField::Type, TaskField::State];
        for group in self.ledger.task_counts(scope, &Filter::all(), &by).await? {
            let [Some(Value::Text(kind)), Some(Value::Enum(state))] = group.values.as_slice() else { continue };
            let Some(state) = usize::try_from(*state).ok().and_then(|n| State::NAMES.get(n)) else { continue };
            let labels = telemetry::Tasks { r#type: telemetry::type_name(kind), state };
            counts.get_or_create(&labels).inc_by(clamped(group.count));
        }
        registry.register("tasks", "Tasks in the record; completed ones leave it when history is cleaned up", counts);

        let waits = Gauges::default();
        let ours = vec![Pattern::Is(Value::Text(AGENT_QUEUE.into())), Pattern::Is(Value::Text(GATED_QUEUE.into()))];
        for (queue, test) in [("agents", Test::AnyOf(ours.clone())), ("others", Test::NoneOf(ours))] {
            let waiting = Value::Enum(State::Enqueued.ordinal());
            let filter = Filter::all().is(TaskField::State, waiting)?.and(TaskField::Queue, test)?;
            let order = Order::by(vec![(TaskField::EnqueuedAt, Direction::Asc)])?;
            let query = Query { filter, order, page: Page::first(1), total: false };
            let oldest = self.ledger.tasks(scope, &query).await?.items.into_iter().next();
            let since = oldest.map(|task| task.status.enqueued_at);
            let age = since.map_or(0, |since| self.moment().now.duration_since(since).as_secs().max(0));
            waits.get_or_create(&telemetry::Queue { queue }).set(age);
        }
        let about = "How long the oldest task has waited that nobody has taken yet; 0 when none waits";
        registry.register("queue_oldest_seconds", about, waits);
        Ok(())
    }

    /// Resources with a policy that runs by itself, by the age of their last good backup.
    async fn gather_backups(&self, scope: &Scope, names: &Labels, registry: &mut Registry) -> Result<()> {
        let now = self.moment().now;
        let policies = self.ledger.all::<Policy>(scope, Filter::all()).await?.into_iter();
        let enabled: HashMap<Uuid, Schedule> =
            policies.filter(|p| p.value.enabled).map(|p| (p.value.id, p.value.schedule)).collect();
        // Since when each is protected, by the policy that was applied first.
        let mut since: HashMap<Uuid, Timestamp> = HashMap::new();
        for app in self.ledger.all::<Application>(scope, Filter::all()).await? {
            let Application { policy, resource, next_run_at, created_at, .. } = app.value;
            // Where runs follow each other, none is to come while one is under way.
            let protects = |schedule: &Schedule| next_run_at.is_some() || schedule.recurs();
            if enabled.get(&policy).is_some_and(protects) {
                let first = since.entry(resource).or_insert(created_at);
                *first = created_at.min(*first);
            }
        }
        let (protected, worst, late) = (Gauges::default(), Gauges::default(), Gauges::default());
        let living = Filter::all().and(RecordField::EndedAt, Test::Absent)?;
        for resource in self.ledger.all::<Resource>(scope, living).await? {
            let Resource { id, tenant, last_backup_at, enabled, registration, .. } = resource.value;
            if !enabled || registration != Registration::Registered {
                continue;
            }
            let (Some(since), Some(of)) = (since.get(&id), names.get(&tenant)) else { continue };
            protected.get_or_create(of).inc();
            // One that has none is as old as its protection.
            let good = last_backup_at.unwrap_or(*since);
            let oldest = worst.get_or_create_owned(of);
            let before: i64 = oldest.get();
            oldest.set(if before == 0 { good.as_second() } else { before.min(good.as_second()) });
            for hours in AGES {
                let count = late.get_or_create_owned(&telemetry::Late { of: of.clone(), hours });
                if now.duration_since(good) > SignedDuration::from_hours(hours) {
                    count.inc();
                }
            }
        }
        registry.register("resources_protected", "Resources with a policy that runs by itself", protected);
        registry.register(
            "oldest_good_backup_timestamp_seconds",
            "The last good backup of the protected resource that was left alone longest; of one that never had any, when its protection began",
            worst,
        );
        registry.register(
            "resources_without_good_backup",
            "Protected resources whose last good backup, or the begin of their protection, is longer ago than so many hours",
            late,
        );
        Ok(())
    }

    /// Agents that are let in, connected or not.
    async fn gather_agents(&self, scope: &Scope, names: &Labels, registry: &mut Registry) -> Result<()> {
        let agents = Gauges::default();
        for Agent { id, tenant, revoked_at, .. } in
            self.ledger.all::<Agent>(scope, Filter::all()).await?.into_iter().map(|a| a.value)
        {
            let Some(of) = names.get(&tenant).filter(|_| revoked_at.is_none()) else { continue };
            for connected in [true, false] {
                let count = agents.get_or_create_owned(&telemetry::Agents { of: of.clone(), connected });
                if self.hub.online(id) == connected {
                    count.inc();
                }
            }
        }
        registry.register("agents", "Agents that are let in, connected or not", agents);
        Ok(())
    }

    /// What the server itself takes.
    fn gather_places(&self, registry: &mut Registry) {
        if let Some(report) = self.ledger.index_report() {
            gauge(registry, "index_bytes", "Memory that the index of tasks takes", report.bytes);
            gauge(registry, "index_tasks", "Tasks in that index", report.tasks);
        }
        let Some(data) = &self.data else { return };
        if let Some((free, size)) = room(data) {
            gauge(registry, "data_free_bytes", "Room that is left on the disk of the data folder", free);
            gauge(registry, "data_size_bytes", "The size of the disk of the data folder", size);
        }
    }

    /// How each living tenant is named in metrics.
    async fn tenant_labels(&self, scope: &Scope) -> Result<Labels> {
        let living = Filter::all().and(RecordField::EndedAt, Test::Absent)?;
        let tenants = self.ledger.all::<Tenant>(scope, living).await?.into_iter();
        let labels =
            tenants.map(|t| (t.value.id, telemetry::OfTenant { tenant: t.value.number, tenant_name: t.value.name }));
        Ok(labels.collect())
    }
}

/// The free room and the size of the disk that a folder lies on, in bytes.
fn room(folder: &Path) -> Option<(u64, u64)> {
    let about = rustix::fs::statvfs(folder).ok()?;
    Some((about.f_bavail.saturating_mul(about.f_frsize), about.f_blocks.saturating_mul(about.f_frsize)))
}

fn gauge(registry: &mut Registry, name: &str, about: &str, value: u64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(clamped(value));
    registry.register(name, about, gauge);
}

fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
