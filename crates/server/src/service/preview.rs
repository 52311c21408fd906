//! What a policy will do: its next runs for each resource, and what retention would keep and remove now. All of it is said by
//! the functions that the scheduler and the retention themselves ask, also of a change that is not made.

use std::collections::HashSet;

use domain::archive::Archive;
use domain::backup::Backup;
use domain::foresee::{Foreseen, foresee, why_nothing_comes};
use domain::plan;
use domain::policy::retention::Verdict;
use domain::policy::{Application, Policy};
use domain::resource::Resource;
use domain::{Caller, Code, Error, Result, Right, Timestamp, Uuid};
use jiff::tz::TimeZone;

use super::policies::{check_change, moves_runs};
use super::zones::Planning;
use super::{PolicyChange, Service};

/// How many runs are foreseen at most for each resource.
const MOST_RUNS: usize = 100;
/// For how many resources at once.
const MOST_APPLICATIONS: usize = 100;

/// What is asked about a policy.
#[derive(Debug, Clone, Default)]
pub struct Previewed {
    /// As if it were changed so.
    pub change: PolicyChange,
    /// Only for this resource.
    pub resource: Option<Uuid>,
    /// How many runs of each resource, from 1 to 100.
    pub count: usize,
}

/// What a policy will do.
#[derive(Debug)]
pub struct PolicyPreview {
    /// The policy, with the change that was asked about.
    pub policy: Policy,
    /// For each resource it is applied to.
    pub applications: Vec<ApplicationPreview>,
}

/// The same for one resource.
#[derive(Debug)]
pub struct ApplicationPreview {
    /// The resource.
    pub resource: Resource,
    /// Where clocks show the times of the schedule.
    pub zone: TimeZone,
    /// The next runs.
    pub runs: Vec<Foreseen>,
    /// Why there are none.
    pub nothing_because: Option<&'static str>,
    /// Whether a run is under way or waits.
    pub open: bool,
    /// From when on all data of a backup is verified because it is time again; now = with the next one.
    pub verifies_all_from: Option<Timestamp>,
    /// Its recovery points that are the policy's to keep or to remove, the newest first.
    pub backups: Vec<(Backup, Verdict)>,
}

impl Service {
    /// What a policy will do, or would do if it were changed.
    ///
    /// # Errors
    /// `not_found` for a policy that the caller cannot see or that is not applied to the resource, `invalid_field`.
    pub async fn preview_policy(&self, caller: &Caller, id: Uuid, asked: Previewed) -> Result<PolicyPreview> {
        let scope = caller.may(Right::View)?;
        if !(1..=MOST_RUNS).contains(&asked.count) {
            return Err(Error::invalid("count", format!("the number of runs must be from 1 to {MOST_RUNS}")));
        }
        check_change(&asked.change)?;
        let before = self.visible_policy(caller, id).await?;
        self.check_new_repository(&asked.change, &before).await?;
        let mut policy = before.clone();
        asked.change.make(&mut policy);
        let moves = moves_runs(&before, &policy);
        let mut apps: Vec<Application> =
            self.applications_of(scope, policy.id).await?.into_iter().map(|app| app.value).collect();
        if let Some(resource) = asked.resource {
            apps.retain(|app| app.resource == resource);
            if apps.is_empty() {
                return Err(Error::new(Code::NotFound, "the policy is applied to no such resource").field("resource"));
            }
        }
        if apps.len() > MOST_APPLICATIONS {
            let message =
                format!("the policy is applied to {} resources; at most {MOST_APPLICATIONS} are shown", apps.len());
            return Err(Error::invalid("resource", message).hint("name the one that you want to see"));
        }
        let in_use = self.points_in_use().await?;
        let mut applications = Vec::with_capacity(apps.len());
        for app in apps {
            applications.push(self.preview_application(app, &policy, moves, asked.count, &in_use).await?);
        }
        Ok(PolicyPreview { policy, applications })
    }

    async fn preview_application(
        &self,
        mut app: Application,
        policy: &Policy,
        moves: bool,
        count: usize,
        in_use: &HashSet<Uuid>,
    ) -> Result<ApplicationPreview> {
        let resource = self.ledger.get::<Resource>(&domain::Scope::everything(), app.resource).await?.value;
        let planning = self.planning(&app, policy, &resource, self.moment()).await?;
        if moves {
            plan::reschedule(&mut app, policy, &planning.around());
        }
        let runs = foresee(&app, policy, &planning.around(), count);
        let nothing_because = runs.is_empty().then(|| why_nothing_comes(policy, &planning.around()));
        let key = Archive::key_of(policy.id, resource.id);
        let archive = self.ledger.find::<Archive>(&domain::Scope::everything(), &key).await?.map(|a| a.value);
        let verifies_all_from = policy.settings.verifies_all_from(archive.and_then(|a| a.all_verified));
        let (judged, _) =
            self.judged(policy, app.archive_id(), None, &planning.zone, planning.moment, Some(in_use)).await?;
        let mut backups: Vec<_> = judged.into_iter().map(|(stored, verdict)| (stored.value, verdict)).collect();
        backups.sort_by_key(|(backup, _)| std::cmp::Reverse((backup.created_at, backup.id)));
        let Planning { open, zone, moment, .. } = planning;
        let verifies_all_from = verifies_all_from.map(|from| from.max(moment.now));
        Ok(ApplicationPreview { resource, open, verifies_all_from, zone, runs, nothing_because, backups })
    }
}
