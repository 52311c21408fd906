//! Identity against a ledger in memory: who gets in, how far, and for how long. Time is an argument; nothing waits.

mod access;
mod credentials;
mod iam;
mod keys;

use std::net::IpAddr;
use std::sync::Arc;

use domain::query::{Filter, Order, Page};
use domain::record::Record;
use domain::{Actor, ActorKind};
use ledger::{Expect, Ledger, MemoryLedger, Write};

use super::*;
use crate::secrets::Sealer;

const PASSWORD: &str = "tape under the desk";
const ROOT: Uuid = Uuid::nil();
const PARTNER: Uuid = Uuid::from_u128(2);
const CUSTOMER: Uuid = Uuid::from_u128(3);
const STRANGER: Uuid = Uuid::from_u128(4);

/// A root with a partner, its customer, and a stranger beside them.
struct World {
    service: Service,
    ledger: Arc<MemoryLedger>,
}

impl World {
    async fn new() -> World {
        let ledger = Arc::new(MemoryLedger::new());
        let world = World { service: service(ledger.clone()), ledger };
        let now = world.service.moment().now;
        let root = Tenant::root("root", "UTC", now);
        let partner = root.child(PARTNER, 2, "partner", now).expect("a name");
        let customer = partner.child(CUSTOMER, 3, "customer", now).expect("a name");
        let stranger = root.child(STRANGER, 4, "stranger", now).expect("a name");
        for tenant in [root, partner, customer, stranger] {
            world.put(tenant.into()).await;
        }
        world
    }

    async fn put(&self, record: Record) {
        let writes = vec![Write::Put(Box::new(record), Expect::New)];
        self.ledger.commit(&Scope::everything(), self.service.moment(), writes).await.expect("a new record");
    }

    /// Somebody with these roles in this tenant, who signed in elsewhere.
    async fn caller(&self, tenant: Uuid, roles: &[Role]) -> Caller {
        let ledger: &dyn Ledger = &*self.ledger;
        let tenant = ledger.get::<Tenant>(&Scope::everything(), tenant).await.expect("the tenant").value;
        let actor = Actor { kind: ActorKind::Token, id: Uuid::from_u128(99) };
        Caller::new("somebody".into(), actor, roles.to_vec(), Scope::subtree(&tenant))
    }

    async fn client(&self, tenant: Uuid, roles: &[Role]) -> (Uuid, Credential) {
        let new = NewClient { tenant: Some(tenant), name: "connector".into(), roles: roles.to_vec(), executor: None };
        let (client, secret) = self.service.create_client(&Caller::server(), new).await.expect("a client");
        (client.id, Credential::Client { id: client.id.to_string(), secret })
    }

    async fn user(&self, tenant: Uuid, roles: &[Role]) -> (Uuid, Credential) {
        let (user, _) = self.service.create_user(&Caller::server(), new_user(tenant, roles)).await.expect("a user");
        (user.id, Credential::User { login: user.login, password: PASSWORD.into() })
    }

    /// What the audit record says of this action, as (tenant, actor, object, name).
    async fn audited(&self, action: &str) -> Vec<(Uuid, Actor, String, String)> {
        let log = self.service.audit_log(&Caller::server(), &all()).await.expect("the audit record").items;
        let of_action = log.into_iter().filter(|e| e.action == action);
        of_action.map(|e| (e.tenant, Actor { kind: e.actor_kind, id: e.actor }, e.object, e.object_name)).collect()
    }
}

fn service(ledger: Arc<MemoryLedger>) -> Service {
    Service::new(ledger, Sealer::new(&[7; 32]).expect("32 bytes"))
}

fn new_user(tenant: Uuid, roles: &[Role]) -> NewUser {
    NewUser {
        tenant: Some(tenant),
        login: "Ops@example.com".into(),
        name: String::new(),
        roles: roles.to_vec(),
        password: Some(PASSWORD.into()),
    }
}

fn all() -> Query<RecordField> {
    Query { filter: Filter::all(), order: Order::oldest(), page: Page::first(1000), total: false }
}

fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().expect("an address"))
}
