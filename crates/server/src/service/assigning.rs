//! Policies are assigned: each resource has one at most, whatever it had before. Many at once, all or none of them, told by
//! one task.

use std::collections::HashSet;

use domain::policy::{Application, Policy};
use domain::query::{Filter, RecordField, Value};
use domain::resource::{Registration, Resource};
use domain::task::{Task, TaskSpec, kind};
use domain::{Caller, Error, Result, Right, Scope, Uuid};
use ledger::{Expect, Stored, Write};

use super::Service;
use super::applying::registration_failed;
use super::asked::Asked;
use super::moving::Refused;
use super::runs::named_resource;
use super::server_tasks::{named_policy, server_task, told_by, untold};

/// How often a commit is tried anew when somebody else came between.
const ATTEMPTS: usize = 10;

/// Which policy a resource shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// The resource.
    pub resource: Uuid,
    /// The policy; none = none at all.
    pub policy: Option<Uuid>,
}

/// One assignment as it is carried out.
struct Planned {
    resource: Resource,
    policy: Option<Policy>,
    /// One that was taken from it.
    former: Option<Policy>,
    writes: Vec<Write>,
}

impl Service {
    /// Gives each resource the policy that is named for it, takes all others from it, and tells of it by a task. `fits` says
    /// whether the wish at a place may be carried out for this resource and policy.
    ///
    /// # Errors
    /// `forbidden` below operator. For single resources `not_found`, also for a policy; `foreign_policy`,
    /// `registration_failed`, a resource that is named twice, and what `fits` says.
    pub async fn assign_policies(
        &self,
        caller: &Caller,
        wishes: &[Assignment],
        fits: impl Fn(usize, &Resource, Option<&Policy>) -> Result<()>,
        asked: &Asked,
    ) -> Result<Task, Refused> {
        let scope = caller.may(Right::Operate)?;
        let mut attempts = 0..ATTEMPTS;
        loop {
            let (mut planned, mut refused, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
            for (place, wish) in wishes.iter().enumerate() {
                if !seen.insert(wish.resource) {
                    let message = format!("'{}' is named twice", wish.resource);
                    refused.push((place, Error::invalid("entity.id", message)));
                    continue;
                }
                match self.planned(caller, scope, place, *wish, &fits).await {
                    Ok(one) => planned.push(one),
                    Err(e) if e.code.kind() == domain::error::Kind::Internal => return Err(e.into()),
                    Err(e) => refused.push((place, e)),
                }
            }
            Refused::of(refused)?;
            let spec = assignment_task(caller, &planned);
            let mut writes: Vec<Write> = planned.into_iter().flat_map(|one| one.writes).collect();
            writes.extend(told_by(spec, asked));
            match self.ledger.commit(scope, self.moment(), writes).await {
                Err(e) if super::operations::overtaken(e.code) && attempts.next().is_some() => {}
                Err(e) => return Err(e.into()),
                Ok(committed) => return Ok(self.told(&committed).ok_or_else(untold)?),
            }
        }
    }

    async fn planned(
        &self,
        caller: &Caller,
        scope: &Scope,
        place: usize,
        wish: Assignment,
        fits: impl Fn(usize, &Resource, Option<&Policy>) -> Result<()>,
    ) -> Result<Planned> {
        let resource = self.live_resource(scope, wish.resource).await.map_err(|e| e.field("entity.id"))?;
        let policy = match wish.policy {
            None => None,
            Some(id) => Some(self.ledger.get::<Policy>(scope, id).await.map_err(|e| e.field("policy_id"))?.value),
        };
        fits(place, &resource, policy.as_ref())?;
        if policy.is_some() && resource.registration == Registration::Failed {
            return Err(registration_failed(&resource));
        }
        let (mut writes, mut former, mut there) = (Vec::new(), None, false);
        let of_resource = Filter::all().is(RecordField::Resource, Value::Uuid(resource.id))?;
        let applications: Vec<Stored<Application>> = self.ledger.all(scope, of_resource).await?;
        for Stored { value: app, .. } in applications {
            if policy.as_ref().is_some_and(|p| p.id == app.policy) {
                there = true;
                continue;
            }
            former = Some(self.ledger.get::<Policy>(&Scope::everything(), app.policy).await?.value);
            writes.extend(self.taking_away(caller, &app).await?);
            writes.push(self.audit(caller, "delete", &app.into()));
        }
        if let Some(policy) = policy.as_ref().filter(|_| !there) {
            let app = self.new_application(policy, &resource).await.map_err(|e| e.field("policy_id"))?;
            writes.push(Write::Put(Box::new(app.clone().into()), Expect::New));
            writes.push(self.audit(caller, "create", &app.into()));
        }
        Ok(Planned { resource, policy, former, writes })
    }
}

/// The task that tells of assignments; it lies with its resource or policy.
fn assignment_task(caller: &Caller, planned: &[Planned]) -> TaskSpec {
    let assigns = planned.iter().any(|one| one.policy.is_some());
    let policy = planned.iter().find_map(|one| one.policy.as_ref());
    let policy = policy.or_else(|| planned.iter().find_map(|one| one.former.as_ref()));
    let single = match planned {
        [one] => Some(&one.resource),
        _ => None,
    };
    let seen = |policy: &&Policy| caller.tenant().is_nil() || assigns || policy.tenant == caller.tenant();
    let tenant = single.map(|r| r.tenant).or(policy.filter(seen).map(|p| p.tenant)).unwrap_or(caller.tenant());
    let kind = if assigns { kind::APPLY_POLICY } else { kind::REVOKE_POLICY };
    let what = match (single, planned.len()) {
        (Some(resource), _) => format!("'{}'", resource.name),
        (None, n) => format!("{n} resources"),
    };
    let title = match (assigns, policy) {
        (true, Some(policy)) => format!("Applying plan '{}' for {what}", policy.name),
        (false, Some(policy)) => format!("Revoking plan '{}' for {what}", policy.name),
        _ => format!("Revoking plans for {what}"),
    };
    let mut spec = server_task(caller, kind, tenant, &title);
    spec.policy = policy.map(named_policy);
    spec.resource = single.map(named_resource);
    spec
}
