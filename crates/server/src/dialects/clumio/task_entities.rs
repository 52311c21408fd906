//! What a task is about, and what that hangs below, as the vendor shows it (7.2), and how the ledger is asked for it.
//!
//! A task's resource and policy are its own fields. What else a task can be about - a restored file, an organizational unit,
//! a repository, an environment - is kept as its parent entity, with a type out of `domain::task::entity`, and shown as the
//! primary one: whoever makes such a task sets `TaskSpec::parent_entity` so.

use domain::Result;
use domain::query::{Clause, TaskField as F, Test};
use domain::resource::ResourceKind;
use domain::task::{Entity, Named, Task, entity as about, kind};
use serde::Serialize;

use super::filter::Condition;
use super::filter_ledger::Ways;
use super::task_types::{any_of, entity, none_of, texts, wanted};

/// A policy.
pub(super) const POLICY: &str = "policy";

/// The type of a resource whose kind is not known.
const RESOURCE: &str = "resource";
/// The type of a parent entity that came without one.
const ENTITY: &str = "entity";
/// The tasks that are about a policy and a resource at once.
const BETWEEN: [&str; 2] = [kind::APPLY_POLICY, kind::REVOKE_POLICY];

/// An entity as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ShownEntity<'t> {
    id: &'t str,
    #[serde(rename = "type")]
    kind: &'t str,
    value: &'t str,
}

impl<'t> ShownEntity<'t> {
    fn new(id: &'t str, kind: &'t str, value: &'t str) -> ShownEntity<'t> {
        ShownEntity { id, kind, value: if value.is_empty() { id } else { value } }
    }
}

fn resource(named: &Named) -> Option<ShownEntity<'_>> {
    let kind = match ResourceKind::parse(&named.kind) {
        Some(kind) => entity(kind),
        None if named.kind.is_empty() => RESOURCE,
        None => &named.kind,
    };
    (!named.id.is_empty()).then(|| ShownEntity::new(&named.id, kind, &named.name))
}

fn policy(named: &Named) -> Option<ShownEntity<'_>> {
    (!named.id.is_empty()).then(|| ShownEntity::new(&named.id, POLICY, &named.name))
}

fn other(entity: &Entity) -> Option<ShownEntity<'_>> {
    let kind = if entity.kind.is_empty() { ENTITY } else { &entity.kind };
    (!entity.id.is_empty()).then(|| ShownEntity::new(&entity.id, kind, &entity.value))
}

/// What the task is about.
pub(super) fn primary(task: &Task) -> Option<ShownEntity<'_>> {
    let spec = &task.spec;
    match &spec.parent_entity {
        Some(special) if about::ALL.contains(&special.kind.as_str()) => other(special),
        _ => {
            let named = spec.resource.as_ref().and_then(resource);
            named.or_else(|| spec.policy.as_ref().and_then(policy))
        }
    }
}

/// What that hangs below.
pub(super) fn parent(task: &Task) -> Option<ShownEntity<'_>> {
    let spec = &task.spec;
    match &spec.parent_entity {
        Some(file) if file.kind == about::RESTORED_FILE => spec.resource.as_ref().and_then(resource),
        Some(special) if about::ALL.contains(&special.kind.as_str()) => None,
        Some(entity) => other(entity),
        None if BETWEEN.contains(&spec.kind.as_str()) && spec.resource.as_ref().is_some_and(|r| !r.id.is_empty()) => {
            spec.policy.as_ref().and_then(policy)
        }
        None => None,
    }
}

/// A member of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    Id,
    Type,
    Value,
}

/// Where the members of an entity come from, and when they do.
struct Source {
    /// When: one of these ways.
    when: Ways<F>,
    id: F,
    value: F,
    kind: Types,
}

/// What the type of an entity follows from.
enum Types {
    Resource,
    Policy,
    Parent,
}

fn present(field: F) -> Result<Clause<F>> {
    Clause::new(field, Test::Present)
}

fn absent(field: F) -> Result<Clause<F>> {
    Clause::new(field, Test::Absent)
}

/// Without a parent entity that is shown as the primary one, and with this.
fn ordinary(with: &[Clause<F>]) -> Result<Ways<F>> {
    let ways = [absent(F::ParentType)?, none_of(F::ParentType, texts(about::ALL))?];
    Ok(ways.into_iter().map(|way| [way].into_iter().chain(with.iter().cloned()).collect()).collect())
}

fn primaries() -> Result<Vec<Source>> {
    let special = vec![vec![any_of(F::ParentType, texts(about::ALL))?]];
    let of_resource = ordinary(&[present(F::ResourceId)?])?;
    let of_policy = ordinary(&[absent(F::ResourceId)?, present(F::PolicyId)?])?;
    Ok(vec![
        Source { when: special, id: F::ParentId, value: F::ParentValue, kind: Types::Parent },
        Source { when: of_resource, id: F::ResourceId, value: F::ResourceName, kind: Types::Resource },
        Source { when: of_policy, id: F::PolicyId, value: F::PolicyName, kind: Types::Policy },
    ])
}

fn parents() -> Result<Vec<Source>> {
    let of_file = vec![vec![any_of(F::ParentType, texts([about::RESTORED_FILE]))?, present(F::ResourceId)?]];
    let other = ordinary(&[present(F::ParentId)?])?;
    let between = vec![vec![
        absent(F::ParentId)?,
        absent(F::ParentType)?,
        absent(F::ParentValue)?,
        any_of(F::Type, texts(BETWEEN))?,
        present(F::ResourceId)?,
        present(F::PolicyId)?,
    ]];
    Ok(vec![
        Source { when: of_file, id: F::ResourceId, value: F::ResourceName, kind: Types::Resource },
        Source { when: other, id: F::ParentId, value: F::ParentValue, kind: Types::Parent },
        Source { when: between, id: F::PolicyId, value: F::PolicyName, kind: Types::Policy },
    ])
}

/// In which ways the primary entity of a task passes.
pub(super) fn of_primary<K>(condition: &Condition<K>, member: Member) -> Result<Ways<F>> {
    ways(condition, member, primaries()?)
}

/// In which ways the parent entity of a task passes.
pub(super) fn of_parent<K>(condition: &Condition<K>, member: Member) -> Result<Ways<F>> {
    ways(condition, member, parents()?)
}

fn ways<K>(condition: &Condition<K>, member: Member, sources: Vec<Source>) -> Result<Ways<F>> {
    let mut all = Vec::new();
    for source in sources {
        let then = match member {
            Member::Id => condition.ways(source.id)?,
            Member::Value => {
                let mut then = condition.ways(source.value)?;
                // What has no name is shown by its id.
                for mut way in condition.ways(source.id)? {
                    way.push(absent(source.value)?);
                    then.push(way);
                }
                then
            }
            Member::Type => of_type(condition, &source.kind)?,
        };
        for way in &then {
            all.extend(source.when.iter().map(|when| when.iter().chain(way).cloned().collect::<Vec<_>>()));
        }
    }
    Ok(all)
}

fn of_type<K>(condition: &Condition<K>, types: &Types) -> Result<Ways<F>> {
    let is = wanted(condition)?;
    let always = |yes: bool| if yes { vec![Vec::new()] } else { Vec::new() };
    match types {
        Types::Policy => Ok(always(is(POLICY))),
        Types::Parent => {
            let mut ways = condition.ways(F::ParentType)?;
            if is(ENTITY) {
                ways.push(vec![absent(F::ParentType)?]);
            }
            Ok(ways)
        }
        Types::Resource => {
            let kinds = ResourceKind::ALL.iter().filter(|k| is(entity(**k))).map(|k| k.name());
            let kinds: Vec<_> = kinds.collect();
            let mut ways = Vec::new();
            if !kinds.is_empty() {
                ways.push(vec![any_of(F::ResourceType, texts(kinds))?]);
            }
            for mut way in condition.ways(F::ResourceType)? {
                way.push(none_of(F::ResourceType, texts(ResourceKind::NAMES.iter().copied()))?);
                ways.push(way);
            }
            if is(RESOURCE) {
                ways.push(vec![absent(F::ResourceType)?]);
            }
            Ok(ways)
        }
    }
}
