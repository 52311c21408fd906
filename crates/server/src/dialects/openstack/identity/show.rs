//! What Keystone says of tokens, projects and services.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::tenant::Tenant;
use domain::{Role, Uuid};
use serde_json::{Value, json};

use super::super::base::Base;
use super::super::{Asked, hex, time};
use super::DOMAIN;
use crate::service::Session;

/// The version that is spoken.
const VERSION: &str = "v3.14";
/// Since when it has been as it is.
const UPDATED: &str = "2020-04-07T00:00:00Z";
/// What ids of things are made from that are no records: they stay the same on every server.
const NAMESPACE: Uuid = Uuid::from_u128(0x8f1a_06f2_5d0b_4a37_9a3e_0f6b_4d1c_7e55);

/// The version, with a link that begins as the request's path did.
pub(super) fn version(base: &Base, prefix: &str) -> Value {
    json!({
        "id": VERSION,
        "status": "stable",
        "updated": UPDATED,
        "links": [{ "rel": "self", "href": base.at(&format!("{prefix}/v3/")) }],
        "media-types": [{ "base": "application/json", "type": "application/vnd.openstack.identity-v3+json" }],
    })
}

/// What a token says.
pub(super) fn token(asked: &Asked<'_>, session: &Session, with_catalog: bool) -> Value {
    let domain = json!({ "id": DOMAIN.0, "name": DOMAIN.1 });
    let mut token = json!({
        "methods": [session.method],
        "user": {
            "id": hex(session.caller.actor.id),
            "name": session.login,
            "domain": domain,
            "password_expires_at": null,
        },
        "audit_ids": [URL_SAFE_NO_PAD.encode(session.id.as_bytes())],
        "issued_at": time::micros(session.issued_at),
        "expires_at": time::micros(session.expires_at),
    });
    let scoped = session.tenant.is_some() || session.system;
    if let Some(tenant) = &session.tenant {
        token["project"] = json!({ "id": hex(tenant.id), "name": tenant.name, "domain": domain });
        token["is_domain"] = json!(false);
    }
    if session.system {
        token["system"] = json!({ "all": true });
    }
    if scoped {
        token["roles"] = roles(session.caller.roles());
        if with_catalog {
            token["catalog"] = catalog(asked);
        }
    }
    json!({ "token": token })
}

/// The roles as clients know them, the highest first; who has one has those below it.
fn roles(roles: &[Role]) -> Value {
    let known = [(Role::Admin, "admin"), (Role::Operator, "member"), (Role::Viewer, "reader")];
    let held = known.iter().filter(|(role, _)| role.within(roles));
    held.map(|(_, name)| json!({ "id": made_up(name), "name": name })).collect()
}

/// Where the services are.
pub(super) fn catalog(asked: &Asked<'_>) -> Value {
    let region = asked.service.cloud().region.as_str();
    let service = |kind: &str, name: &str| {
        let url = asked.base.at(&format!("/{kind}"));
        let endpoint = |interface: &&str| {
            json!({
                "id": made_up(&format!("{kind} {interface}")),
                "interface": interface,
                "region": region,
                "region_id": region,
                "url": url,
            })
        };
        let endpoints: Vec<_> = ["public", "internal", "admin"].iter().map(endpoint).collect();
        json!({ "id": made_up(kind), "type": kind, "name": name, "endpoints": endpoints })
    };
    json!([service("identity", "keystone"), service("image", "glance")])
}

/// Where a thing is, with a link that begins as the request's path did.
pub(super) fn at(asked: &Asked<'_>, things: &str, id: &str) -> String {
    asked.base.at(&format!("{}/v3/{things}/{id}", asked.prefix))
}

/// What a project lies in: another one, or the domain.
pub(super) fn parent(tenant: &Tenant) -> String {
    tenant.parent.map_or_else(|| DOMAIN.0.to_owned(), hex)
}

/// A project.
pub(super) fn project(asked: &Asked<'_>, tenant: &Tenant) -> Value {
    json!({
        "id": hex(tenant.id),
        "name": tenant.name,
        "description": tenant.description,
        "domain_id": DOMAIN.0,
        "parent_id": parent(tenant),
        "enabled": true,
        "is_domain": false,
        "tags": [],
        "options": {},
        "links": { "self": at(asked, "projects", &hex(tenant.id)) },
    })
}

/// The domain.
pub(super) fn domain(asked: &Asked<'_>) -> Value {
    json!({
        "id": DOMAIN.0,
        "name": DOMAIN.1,
        "description": "",
        "enabled": true,
        "tags": [],
        "options": {},
        "links": { "self": at(asked, "domains", DOMAIN.0) },
    })
}

fn made_up(name: &str) -> String {
    // Not a hash of anything secret: only so that the same name always has the same id.
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[NAMESPACE.as_bytes(), name.as_bytes()].concat());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    hex(Uuid::from_bytes(bytes))
}
