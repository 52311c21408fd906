//! What can be asked of Backstay, once for every dialect: each function takes the caller first, checks the role, and
//! talks to the ledger within the caller's scope. Nothing here knows of HTTP, gRPC or any vendor.

mod agent_access;
mod agents;
mod applying;
mod archives;
mod asked;
mod assigning;
mod backups;
mod channels;
mod clock;
mod cloud;
mod deleting;
mod ends;
mod environments;
mod hub;
mod identity;
mod images;
mod imports;
mod joining;
mod known_tenants;
mod metrics;
mod moving;
mod named_ids;
mod not_run;
mod notices;
mod on_demand;
mod operations;
mod placed_restores;
mod places;
mod policies;
mod policy_tasks;
mod preview;
mod progress;
mod providers;
mod pruning;
mod queue;
mod rates;
mod recovering;
mod repositories;
mod resource_views;
mod resources;
mod restored_files;
mod retention;
mod runs;
mod server_tasks;
mod setup;
mod tasks;
mod tenant_tree;
mod tenants;
mod tokens;
mod units;
mod unregister;
mod verifying;
mod volumes;
mod windows;
mod zones;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use domain::agent::Agent;
use domain::audit::AuditEntry;
use domain::import::ImportRules;
use domain::query::{Cell, Field, Filter, Pattern, Query, RecordField, Slice, Test, Value};
use domain::record::{Entity, Record, RecordKind};
use domain::tenant::Tenant;
use domain::{Caller, Code, Error, Moment, Result, Right, Scope, Timestamp, Uuid};
use ledger::{Committed, Expect, Head, IndexProgress, Ledger, Stored, Write, Written};
use tokio::sync::{Notify, watch};

pub use agents::*;
pub use applying::ApplicationView;
pub use archives::ArchiveView;
pub use asked::Asked;
pub use assigning::Assignment;
pub use backups::RestoreRequest;
pub use channels::{ChannelChange, ChannelView, NewChannel, NewTarget};
pub(crate) use clock::Since;
pub use cloud::Cloud;
pub use environments::{Environment, environment_id};
pub use hub::{
    Command, DirectoryEntry, DirectoryKind, FileEntry, FileList, Hub, ListFiles, RepositoryAccess, RepositoryTest,
};
pub(crate) use identity::{AccessClaims, is_iam};
pub use identity::{Account, Credential, Grant, IamToken, NewClient, NewUser, Reach, Session, Shown, Who, Wish};
pub use imports::NewImport;
pub use joining::{Joined, Joining};
pub use moving::Refused;
pub use named_ids::named_id;
pub use on_demand::BackupWish;
pub use operations::{OperationView, right_of};
pub use placed_restores::{PlacedRestore, is_absolute};
pub use policies::{NewPolicy, PolicyChange};
pub use policy_tasks::{PolicyLock, PolicyView};
pub use preview::{ApplicationPreview, PolicyPreview, Previewed};
pub(crate) use progress::run as write_progress;
pub use queue::Take;
pub use rates::Rate;
pub use recovering::FilesRecovery;
pub use repositories::{LOCAL_REPOSITORY, NewRepository, RepositoryChange, RepositoryKey};
pub use resource_views::ResourceView;
pub use resources::{NewResource, ResourceChange};
pub use restored_files::FilesWish;
pub use setup::{Installer, SCRIPT_PATH, Script};
pub use tasks::{BlockerRef, View};
pub use tenant_tree::{Branch, TenantNode};
pub use tenants::{NewTenant, TenantChange};
pub use tokens::{NewToken, hash_secret};
pub use units::{UNIT, Unit, UnitChange, UnitTree};
pub use verifying::VerificationWish;
pub use volumes::{Around, StoredIn, VolumeView, Went};

use crate::authority::Authority;
use crate::downloads::Downloads;
use crate::secrets::Sealer;
use crate::telemetry::Telemetry;

/// How many records are asked for by their ids at once.
const AT_ONCE: usize = 500;

/// An agent, and whether it is connected.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentView {
    /// The agent.
    pub agent: Agent,
    /// Whether it is connected now.
    pub online: bool,
}

/// The one way in for dialects, scheduler and agents' sessions.
pub struct Service {
    ledger: Arc<dyn Ledger>,
    sealer: Sealer,
    hub: Hub,
    identity: identity::Identity,
    progress: progress::HeldBack,
    shown: operations::Shown,
    ends: ends::Ends,
    closings: windows::Closings,
    /// Held while tasks at the gate are judged and handed out.
    gate: tokio::sync::Mutex<()>,
    queues: queue::Queues,
    tenants: known_tenants::KnownTenants,
    rates: rates::Rates,
    /// What time it is.
    clock: clock::Clock,
    /// The time at which the server started or its clock was set, after which everything was put right that depends on it.
    followed: std::sync::Mutex<Option<Timestamp>>,
    /// Where programs elsewhere reach this server over TLS.
    public: String,
    /// What assertions of programs may be meant for, beside what follows from `public`.
    audiences: Vec<String>,
    /// What is handed out to machines that get an agent.
    installer: Option<Installer>,
    /// What signs the certificates of agents.
    authority: Option<Authority>,
    /// Files that agents handed over to be fetched.
    downloads: Option<Downloads>,
    /// What clients of clouds are told of this server.
    cloud: Cloud,
    /// What is known of what waits to be told.
    notices: notices::Notices,
    /// What is counted while the server works.
    telemetry: Arc<Telemetry>,
    /// Held while somebody gathers metrics.
    gathering: tokio::sync::Mutex<()>,
    /// The data folder, whose disk metrics tell of.
    data: Option<PathBuf>,
    /// Something changed that the scheduler should look at before its next turn.
    scheduler: Notify,
}

impl Service {
    /// The services over a ledger.
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>, sealer: Sealer) -> Service {
        Service {
            ledger,
            sealer,
            hub: Hub::default(),
            identity: identity::Identity::default(),
            progress: progress::HeldBack::default(),
            shown: operations::Shown::default(),
            ends: ends::Ends::default(),
            closings: windows::Closings::default(),
            gate: tokio::sync::Mutex::default(),
            queues: queue::Queues::default(),
            tenants: known_tenants::KnownTenants::default(),
            rates: rates::Rates::new(Some(Rate::default())),
            clock: clock::Clock::of_the_machine(),
            followed: std::sync::Mutex::default(),
            public: "localhost:8443".to_owned(),
            audiences: Vec::new(),
            installer: None,
            authority: None,
            downloads: None,
            cloud: Cloud::default(),
            notices: notices::Notices::default(),
            telemetry: Arc::default(),
            gathering: tokio::sync::Mutex::default(),
            data: None,
            scheduler: Notify::new(),
        }
    }

    /// The same services, started now by this clock and going by it.
    #[must_use]
    pub fn by_clock(self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Service {
        Service { clock: clock::Clock::by_hand(clock), ..self }
    }

    /// The same services, reached over TLS at this `host:port`.
    #[must_use]
    pub fn reached_at(self, public: String) -> Service {
        Service { public, ..self }
    }

    /// The same services, which take what programs signed for these audiences too.
    #[must_use]
    pub fn accepting(self, audiences: Vec<String>) -> Service {
        Service { audiences, ..self }
    }

    /// The same services, which let each tenant's clients ask so often where an API limits that; none = as often as they
    /// like.
    #[must_use]
    pub fn limiting(self, rate: Option<Rate>) -> Service {
        Service { rates: rates::Rates::new(rate), ..self }
    }

    /// The same services, which tell clients of clouds this.
    #[must_use]
    pub fn as_cloud(self, cloud: Cloud) -> Service {
        Service { cloud, ..self }
    }

    /// The same services, which deliver notifications to these addresses beside those of the world.
    #[must_use]
    pub fn notifying(self, rules: ImportRules) -> Service {
        Service { notices: notices::Notices::within(rules), ..self }
    }

    /// The same services, whose metrics tell of the disk of this folder.
    #[must_use]
    pub fn in_folder(self, data: PathBuf) -> Service {
        Service { data: Some(data), ..self }
    }

    /// What is counted while the server works.
    #[must_use]
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// What clients of clouds are told of this server.
    #[must_use]
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// What assertions of programs may be meant for: this server by the names that clients make of its address, the
    /// vendor's own service, which some clients always name, and what is configured (contract for Yandex clients, Y20).
    pub(crate) fn audiences(&self) -> Vec<String> {
        let host = self.public.rsplit_once(':').map_or(self.public.as_str(), |(host, _)| host);
        let hosts = ["iam.api.cloud.yandex.net".to_owned(), format!("iam.{}", self.public), format!("iam.{host}")];
        let urls = hosts.into_iter().chain([self.public.clone()]).map(|h| format!("https://{h}/iam/v1/tokens"));
        urls.chain(self.audiences.iter().cloned()).collect()
    }

    /// Where programs elsewhere reach this server over TLS: `host:port`.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }

    /// Whether the ledger answers.
    pub async fn is_reachable(&self) -> bool {
        self.ledger.get::<Tenant>(&Scope::everything(), Uuid::nil()).await.is_ok()
    }

    /// The time now.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.clock.moment()
    }

    /// The agents that are connected.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// How much of the index that lists of tasks are answered from is there, in percent.
    #[must_use]
    pub fn index_percent(&self) -> u8 {
        match self.ledger.index_progress() {
            IndexProgress::Ready => 100,
            IndexProgress::Building(share) => (share * 100.0).clamp(0.0, 99.0) as u8,
            IndexProgress::Failed(_) => 0,
        }
    }

    /// How far the ledger has come, as it goes on.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Head> {
        self.ledger.head()
    }

    /// Waits until somebody nudges the scheduler.
    pub async fn nudged(&self) {
        self.scheduler.notified().await;
    }

    pub(crate) fn nudge(&self) {
        self.scheduler.notify_one();
    }

    /// Seals a secret that the ledger shall keep.
    ///
    /// # Errors
    /// `internal` when the system gives no randomness.
    pub fn seal(&self, plain: &str) -> Result<String> {
        self.sealer.seal(plain)
    }

    /// A key for authenticating texts of one purpose, the same after every restart.
    #[must_use]
    pub fn mac_key(&self, purpose: &str) -> aws_lc_rs::hmac::Key {
        self.sealer.mac_key(purpose)
    }

    pub(crate) fn ledger(&self) -> &dyn Ledger {
        &*self.ledger
    }

    /// Agents that match, and whether each is connected.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn agents(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<AgentView>> {
        let slice = self.ledger.list::<Agent>(caller.may(Right::View)?, query).await?;
        Ok(slice.map(|s| AgentView { online: self.hub.online(s.value.id), agent: s.value }))
    }

    /// The records of these ids, as far as they are there.
    pub(crate) async fn by_id<E: Entity>(
        &self,
        scope: &Scope,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Result<HashMap<Uuid, E>> {
        let ids: HashSet<Uuid> = ids.into_iter().collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let mut found = HashMap::new();
        for some in ids.chunks(AT_ONCE) {
            let some = some.iter().map(|id| Pattern::Is(Value::Uuid(*id))).collect();
            let filter = Filter::all().and(RecordField::Id, Test::AnyOf(some))?;
            for stored in self.ledger.all::<E>(scope, filter).await? {
                let record: Record = stored.value.clone().into();
                found.insert(record.id(), stored.value);
            }
        }
        Ok(found)
    }

    /// Writes a new record with its audit entry, and gives it as the ledger stamped it.
    pub(crate) async fn create<E: Entity>(&self, by: &Caller, scope: &Scope, value: E) -> Result<E> {
        let record: Record = value.into();
        let entry = self.audit(by, "create", &record);
        let writes = vec![Write::Put(Box::new(record), Expect::New), entry];
        stamped(self.ledger.commit(scope, self.moment(), writes).await?)
    }

    /// Reads a record, changes it and writes it back with an audit entry that says `verb`, again until nobody came
    /// between.
    pub(crate) async fn edit<E: Entity>(
        &self,
        by: &Caller,
        verb: &str,
        scope: &Scope,
        id: Uuid,
        change: impl FnMut(&mut E) -> Result<()>,
    ) -> Result<E> {
        self.write_back(Some((by, verb)), scope, id, change).await
    }

    /// As `edit`, for what the server notes by itself: without an audit entry.
    pub(crate) async fn note<E: Entity>(
        &self,
        scope: &Scope,
        id: Uuid,
        change: impl FnMut(&mut E) -> Result<()>,
    ) -> Result<E> {
        self.write_back(None, scope, id, change).await
    }

    async fn write_back<E: Entity>(
        &self,
        by: Option<(&Caller, &str)>,
        scope: &Scope,
        id: Uuid,
        mut change: impl FnMut(&mut E) -> Result<()>,
    ) -> Result<E> {
        loop {
            let Stored { rev, mut value } = self.ledger.get::<E>(scope, id).await?;
            change(&mut value)?;
            let record: Record = value.into();
            let entry = by.map(|(by, verb)| self.audit(by, verb, &record));
            let writes = [Write::Put(Box::new(record), Expect::Rev(rev))].into_iter().chain(entry).collect();
            let committed = self.ledger.commit(scope, self.moment(), writes).await;
            if E::KIND == RecordKind::Tenant {
                self.tenants.changed();
            }
            match committed {
                Err(e) if e.code == Code::RevisionConflict => {}
                Err(e) => return Err(e),
                Ok(committed) => return stamped(committed),
            }
        }
    }

    /// The audit entry that tells what somebody did with a record, for the commit that does it.
    pub(crate) fn audit(&self, by: &Caller, verb: &str, record: &Record) -> Write {
        // A tenant is made and seen from above; everything else belongs to its owner.
        let tenant = match record {
            // What lies above the caller's own it does not see.
            Record::Tenant(t) if t.id == by.tenant() => t.id,
            Record::Tenant(t) => t.parent.unwrap_or(t.id),
            other => other.tenant(),
        };
        let name = match RecordField::Name.read(record).single() {
            Some(Cell::Text(name)) => name.to_owned(),
            _ => String::new(),
        };
        self.audit_entry(by, &format!("{}.{verb}", record.kind()), tenant, record.id().to_string(), name)
    }

    /// The audit entry that tells what somebody did.
    pub(crate) fn audit_entry(
        &self,
        by: &Caller,
        action: &str,
        tenant: Uuid,
        object: String,
        object_name: String,
    ) -> Write {
        self.audit_entry_of(by, action, tenant, object, object_name, serde_json::Value::Null)
    }

    /// As `audit_entry`, with what changed.
    pub(crate) fn audit_entry_of(
        &self,
        by: &Caller,
        action: &str,
        tenant: Uuid,
        object: String,
        object_name: String,
        detail: serde_json::Value,
    ) -> Write {
        let now = self.moment().now;
        let entry = AuditEntry {
            id: Uuid::now_v7(),
            tenant,
            actor_kind: by.actor.kind,
            actor: by.actor.id,
            actor_name: by.name.clone(),
            action: action.to_owned(),
            object,
            object_name,
            detail,
            created_at: now,
            updated_at: now,
        };
        Write::Put(Box::new(entry.into()), Expect::New)
    }
}

/// The record that a commit wrote first.
fn stamped<E: Entity>(committed: Committed) -> Result<E> {
    let record = committed.written.into_iter().find_map(|w| match w {
        Written::Record(stored) => Some(*stored),
        _ => None,
    });
    let record = record.ok_or_else(|| Error::new(Code::Internal, "the record is not in the commit"))?;
    Ok(ledger::typed::<E>(record)?.value)
}
