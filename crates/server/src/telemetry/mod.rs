//! What the server counts while it works, for Prometheus: every family and every set of labels stands in this file. Labels
//! take few values - routes of the table, types that are known, tenants - and never the id of a task, a resource or an
//! agent, so that ten thousand machines make no more series than ten. What the ledger knows is not counted here but asked
//! when somebody looks (`service/metrics.rs`).

mod call;
mod exposition;

use std::time::Duration;

use domain::Timestamp;
use domain::task::{ResultCode, Task, kind};
use domain::work::BackupDone;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde::Deserialize as _;

pub(crate) use call::{answered_by, count_calls, this_is};
pub use exposition::Exposition;

/// The beginning of every name.
const PREFIX: &str = "backstay";

/// Bounds of what a request or a commit takes, in seconds.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Bounds of how many commits share a write to the disk.
const GROUPS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Request {
    /// Whose words it was in: `native`, `acronis`, `yandex`, `clumio`, `openstack`, `agents`, `other`.
    pub(crate) dialect: &'static str,
    /// The HTTP method; `other` for unusual ones.
    pub(crate) method: &'static str,
    /// The path with its variables by name, or the operation.
    pub(crate) route: String,
    /// `2xx`, `4xx` and so on; of gRPC what its own status means.
    pub(crate) status: &'static str,
}

/// What requests are timed by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    dialect: &'static str,
    route: String,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    r#type: &'static str,
    result: &'static str,
}

/// Tasks that are in the record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Tasks {
    /// The type; `other` for types that are not Backstay's own.
    pub(crate) r#type: &'static str,
    /// The state.
    pub(crate) state: &'static str,
}

/// The queue that tasks wait in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Queue {
    /// `agents` for Backstay's own agents, `others` for everybody else's workers.
    pub(crate) queue: &'static str,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfTenant {
    /// Its number, which never changes.
    pub(crate) tenant: i64,
    /// Its name.
    pub(crate) tenant_name: String,
}

/// A tenant's resources whose last good backup is so old.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Late {
    /// Whose.
    #[prometheus(flatten)]
    pub(crate) of: OfTenant,
    /// Older than so many hours.
    pub(crate) hours: i64,
}

/// A tenant's agents.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Agents {
    /// Whose.
    #[prometheus(flatten)]
    pub(crate) of: OfTenant,
    /// Whether they are connected now.
    pub(crate) connected: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Bytes {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Step {
    step: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    certificate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// A try to deliver a notification.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Told {
    /// `webhook` or `email`.
    kind: &'static str,
    /// `delivered` or `failed`.
    outcome: &'static str,
}

type Times<S> = Family<S, Histogram, fn() -> Histogram>;

/// What was counted since the server started.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    requests: Family<Request, Counter>,
    request_seconds: Times<Route>,
    commit_seconds: Histogram,
    commit_group: Histogram,
    completed: Family<Ended, Counter>,
    backup_bytes: Family<Bytes, Counter>,
    turn_seconds: Histogram,
    last_turn: Gauge,
    step_failures: Family<Step, Counter>,
    certificates: Family<Named, Gauge>,
    notifications: Family<Told, Counter>,
}

impl Default for Telemetry {
    fn default() -> Telemetry {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let (requests, completed, backup_bytes) = (Family::default(), Family::default(), Family::default());
        let request_seconds = Times::new_with_constructor(seconds);
        let (commit_seconds, commit_group, turn_seconds) = (seconds(), Histogram::new(GROUPS), seconds());
        let (last_turn, step_failures, certificates) = (Gauge::default(), Family::default(), Family::default());
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register("http_requests", "Requests that were answered", Family::clone(&requests));
        registry.register(
            "http_request_seconds",
            "Time from a request to the head of its answer",
            Times::clone(&request_seconds),
        );
        registry.register(
            "ledger_write_seconds",
            "Time of one durable write of the ledger, which commits share that come together",
            commit_seconds.clone(),
        );
        registry.register("ledger_write_commits", "Commits that shared one durable write", commit_group.clone());
        registry.register("tasks_completed", "Tasks that ended since the server started", Family::clone(&completed));
        registry.register(
            "backup_bytes",
            "Bytes of good backups since the server started: read of files, and stored after deduplication and compression",
            Family::clone(&backup_bytes),
        );
        registry.register("scheduler_turn_seconds", "Time of one turn of the scheduler", turn_seconds.clone());
        registry.register(
            "scheduler_last_turn_timestamp_seconds",
            "When the scheduler last ended a turn; it begins one every half second",
            last_turn.clone(),
        );
        registry.register(
            "scheduler_failures",
            "Steps of the scheduler that failed; each is tried again in the next turn",
            Family::clone(&step_failures),
        );
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When a certificate of the server is no longer valid",
            Family::clone(&certificates),
        );
        let notifications = Family::<Told, Counter>::default();
        registry.register(
            "notifications",
            "Tries to deliver a notification; one that failed is made again",
            Family::clone(&notifications),
        );
        // From the beginning, because Prometheus sees no increase in what was not there before.
        for result in ResultCode::ALL {
            drop(completed.get_or_create(&Ended { r#type: kind::BACKUP, result: result.name() }));
        }
        for kind in ["webhook", "email"] {
            for outcome in ["delivered", "failed"] {
                drop(notifications.get_or_create(&Told { kind, outcome }));
            }
        }
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "Which program this is; always 1", build);
        Telemetry {
            registry,
            requests,
            request_seconds,
            commit_seconds,
            commit_group,
            completed,
            backup_bytes,
            turn_seconds,
            last_turn,
            step_failures,
            certificates,
            notifications,
        }
    }
}

impl Telemetry {
    /// A registry for what is asked when somebody looks; to be printed together with what was counted.
    pub(crate) fn gathered() -> Registry {
        Registry::with_prefix(PREFIX)
    }

    /// A request was answered.
    pub(crate) fn answered(&self, request: Request, took: Duration) {
        let route = Route { dialect: request.dialect, route: request.route.clone() };
        self.request_seconds.get_or_create(&route).observe(took.as_secs_f64());
        self.requests.get_or_create(&request).inc();
    }

    /// So many commits were made durable in one write.
    pub fn wrote(&self, commits: usize, took: Duration) {
        self.commit_seconds.observe(took.as_secs_f64());
        self.commit_group.observe(commits as f64);
    }

    /// A task ended.
    pub(crate) fn ended(&self, task: &Task) {
        let Some(result) = task.result() else { return };
        let r#type = type_name(&task.spec.kind);
        self.completed.get_or_create(&Ended { r#type, result: result.code.name() }).inc();
        if r#type == kind::BACKUP && result.error.is_none() {
            // Of workers that are not ours, the payload may be anything.
            let Ok(done) = BackupDone::deserialize(&*result.payload) else { return };
            for (stage, bytes) in [("read", done.size), ("stored", done.added)] {
                self.backup_bytes.get_or_create(&Bytes { stage }).inc_by(bytes);
            }
        }
    }

    /// It was tried to deliver a notification to a channel of this kind.
    pub(crate) fn told(&self, kind: &'static str, delivered: bool) {
        let outcome = if delivered { "delivered" } else { "failed" };
        self.notifications.get_or_create(&Told { kind, outcome }).inc();
    }

    /// The scheduler ended a turn.
    pub(crate) fn turned(&self, took: Duration, now: Timestamp) {
        self.turn_seconds.observe(took.as_secs_f64());
        self.last_turn.set(now.as_second());
    }

    /// A step of the scheduler failed.
    pub(crate) fn step_failed(&self, step: &'static str) {
        self.step_failures.get_or_create(&Step { step }).inc();
    }

    /// A certificate - `server`, which the server shows, or `authority`, which clients trust - is valid so long.
    pub(crate) fn certificate(&self, which: &'static str, until: Timestamp) {
        self.certificates.get_or_create(&Named { certificate: which }).set(until.as_second());
    }
}

/// The type of a task as a label: anybody may invent one, so what is not known is `other`.
pub(crate) fn type_name(text: &str) -> &'static str {
    kind::ALL.iter().copied().find(|known| *known == text).unwrap_or("other")
}
