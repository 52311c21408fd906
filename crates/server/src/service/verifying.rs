//! Verifications, by hand and after a backup: all data of a recovery point is read, or some files of it are restored as a test.

use domain::agent::AGENT_QUEUE;
use domain::backup::Backup;
use domain::policy::Settings;
use domain::query::{Filter, MAX_LIMIT, Pattern, Query, TaskField, Test, Value};
use domain::task::{Named, State, Task, TaskSpec, kind};
use domain::work::{MOST_SAMPLED, Sample, VerificationWork, Work};
use domain::{Caller, Error, Result, Right, Scope, Timestamp, Uuid};
use serde_json::json;

use super::Service;

/// The largest seed that every program reads.
const LARGEST_SEED: u64 = (1 << 53) - 1;

/// What to verify of a recovery point.
#[derive(Debug, Clone, Copy, Default)]
pub struct VerificationWish {
    /// So many files, picked at random; 0 = all data.
    pub files: u32,
    /// What they are picked by; none = something new.
    pub seed: Option<u64>,
}

impl Service {
    /// Verifies a recovery point; answers with the task that does it, on the machine of its resource.
    ///
    /// # Errors
    /// `forbidden` below operator, `not_found`, `invalid_field`.
    pub async fn verify_backup(&self, caller: &Caller, backup: Uuid, wish: VerificationWish) -> Result<Task> {
        let scope = caller.may(Right::Operate)?;
        if wish.files > MOST_SAMPLED {
            return Err(Error::invalid("files", format!("a sample has at most {MOST_SAMPLED} files"))
                .hint("without it, all data is read"));
        }
        if wish.seed.is_some_and(|seed| seed > LARGEST_SEED) {
            return Err(Error::invalid("seed", format!("a seed is at most {LARGEST_SEED}")));
        }
        if wish.seed.is_some() && wish.files == 0 {
            return Err(
                Error::invalid("seed", "a seed picks files, and none are wished").hint("say how many in 'files'")
            );
        }
        let backup = self.backup(caller, backup).await?;
        let resource = self.live_resource(scope, backup.resource).await.map_err(|e| e.field("resource"))?;
        let mut spec = TaskSpec::new(Uuid::now_v7(), kind::VERIFICATION, AGENT_QUEUE, resource.tenant);
        spec.argument = json!(verification_of(&backup, wish.files, wish.seed)).into();
        let title = format!("Verifying the backup of '{}'", backup.resource_name);
        spec.context = json!({ "title": title, "run_mode": "manual" }).into();
        self.begin_for(caller, scope, spec, backup.policy, &resource).await
    }

    /// How many files of a backup of this time are verified after it; 0 = all data, none = nothing. While somebody reads all data
    /// of the same policy's and resource's, it is not read once more because it is time again.
    pub(super) async fn verified_after(
        &self,
        task: &Task,
        settings: &Settings,
        made_at: Timestamp,
        all_verified: Option<Timestamp>,
    ) -> Result<Option<u32>> {
        let usual = settings.verify.then_some(settings.verify_files);
        match settings.verifies(made_at, all_verified) {
            files if files == usual => Ok(files),
            _ if self.reads_all(task).await? => Ok(usual),
            files => Ok(files),
        }
    }

    /// Whether a verification of all data of the policy and resource of a task is not done.
    async fn reads_all(&self, task: &Task) -> Result<bool> {
        let id = |named: &Option<Named>| Value::Text(named.as_ref().map(|n| n.id.clone()).unwrap_or_default().into());
        let filter = Filter::all()
            .is(TaskField::Type, Value::Text(kind::VERIFICATION.to_owned()))?
            .is(TaskField::PolicyId, id(&task.spec.policy))?
            .is(TaskField::ResourceId, id(&task.spec.resource))?
            .and(TaskField::State, Test::NoneOf(vec![Pattern::Is(Value::Enum(State::Completed.ordinal()))]))?;
        let open = self.ledger.tasks(&Scope::everything(), &Query::newest(filter, MAX_LIMIT)).await?.items;
        Ok(open.iter().any(|t| matches!(Work::of(&t.spec), Ok(Work::Verification(work)) if work.sample.is_none())))
    }
}

/// The work of verifying a recovery point: all of it, or so many of its files.
pub(super) fn verification_of(backup: &Backup, files: u32, seed: Option<u64>) -> VerificationWork {
    // The lower half of an id is random.
    let seed = seed.unwrap_or_else(|| Uuid::now_v7().as_u64_pair().1 & LARGEST_SEED);
    VerificationWork {
        backup: backup.id,
        repository: backup.repository,
        snapshot: backup.snapshot.clone(),
        sample: (files > 0).then_some(Sample { files, seed }),
    }
}
