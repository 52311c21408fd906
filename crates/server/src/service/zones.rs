//! What a plan needs to know beside policy and application: where clocks show its times, and whether the resource is
//! backed up at all.

use domain::agent::Agent;
use domain::plan::{self, Around};
use domain::policy::schedule::Zone;
use domain::policy::sets::AGENT_ZONE;
use domain::policy::{Application, Policy, Schedule};
use domain::resource::{Registration, Resource};
use domain::tenant::Tenant;
use domain::{Error, Moment, Result, Scope, if_found};
use jiff::tz::TimeZone;

use super::Service;

/// Where and when an application is planned.
pub(super) struct Planning {
    /// Now.
    pub(super) moment: Moment,
    /// Where clocks show the times of the schedule.
    pub(super) zone: TimeZone,
    /// Whether runs are made for the resource at all.
    active: bool,
    /// Whether a task that was made before is not done.
    pub(super) open: bool,
    /// Whether the resource's machine is there.
    reachable: bool,
    /// Whether the server has not looked before `moment.up_since` because its clock was set, and not because it did not run.
    pub(super) clock_was_set: bool,
}

impl Planning {
    pub(super) fn around(&self) -> Around<'_> {
        Around {
            now: self.moment.now,
            up_since: self.moment.up_since,
            zone: &self.zone,
            active: self.active,
            open: self.open,
            reachable: self.reachable,
        }
    }
}

impl Service {
    /// What planning an application of this policy to this resource needs to know.
    ///
    /// # Errors
    /// `invalid_field` for a zone that is not known any more, and those of the ledger.
    pub(super) async fn planning(
        &self,
        app: &Application,
        policy: &Policy,
        resource: &Resource,
        moment: Moment,
    ) -> Result<Planning> {
        let zone = self.zone_of(policy, resource).await?;
        let active = resource.enabled && resource.registration == Registration::Registered;
        let open = self.open_task(app).await?.is_some();
        let reachable = resource.agent.is_some_and(|agent| self.hub.online(agent));
        let clock_was_set = self.clock.since().was_set;
        Ok(Planning { moment, zone, active, open, reachable, clock_was_set })
    }

    /// An application with its next run found out anew, for the commit of whatever changed: policy, resource or the
    /// application itself.
    ///
    /// # Errors
    /// As `planning`.
    pub(super) async fn replanned(
        &self,
        app: &Application,
        policy: &Policy,
        resource: &Resource,
    ) -> Result<Application> {
        let planning = self.planning(app, policy, resource, self.moment()).await?;
        let mut app = app.clone();
        plan::reschedule(&mut app, policy, &planning.around());
        Ok(app)
    }

    /// Where clocks show the times of a policy's schedule for a resource.
    ///
    /// # Errors
    /// `invalid_field` for a zone that is not known, and those of the ledger.
    pub(super) async fn zone_of(&self, policy: &Policy, resource: &Resource) -> Result<TimeZone> {
        match policy.schedule.zone() {
            Zone::Named(name) => time_zone(name),
            Zone::Agent => self.agent_zone(resource).await,
            Zone::Tenant => {
                let tenant = self.ledger.get::<Tenant>(&Scope::everything(), policy.tenant).await?.value;
                match tenant.schedule_time_zone.as_deref() {
                    None => Ok(TimeZone::UTC),
                    Some(AGENT_ZONE) => self.agent_zone(resource).await,
                    Some(name) => time_zone(name),
                }
            }
        }
    }

    /// The zone that the resource's machine is set to; UTC while it has not said so, or says something unknown here.
    async fn agent_zone(&self, resource: &Resource) -> Result<TimeZone> {
        let Some(agent) = resource.agent else { return Ok(TimeZone::UTC) };
        let agent = if_found(self.ledger.get::<Agent>(&Scope::everything(), agent).await)?;
        let name = agent.and_then(|a| a.value.time_zone);
        Ok(name.and_then(|name| TimeZone::get(&name).ok()).unwrap_or(TimeZone::UTC))
    }
}

/// Refuses a schedule that makes no sense.
///
/// # Errors
/// `invalid_field`.
pub(super) fn check_schedule(schedule: &Schedule) -> Result<()> {
    schedule.validate()?;
    match schedule.zone() {
        Zone::Named(name) => time_zone(name).map(drop),
        Zone::Agent | Zone::Tenant => Ok(()),
    }
}

/// The time zone of this name.
pub(super) fn time_zone(name: &str) -> Result<TimeZone> {
    TimeZone::get(name).map_err(|_| {
        Error::invalid("schedule.time_zone", format!("there is no time zone '{name}'"))
            .hint("an IANA name, like Europe/Berlin or UTC")
    })
}
