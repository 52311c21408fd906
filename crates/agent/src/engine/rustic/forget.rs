//! Removes snapshots, and gives back the space of what no snapshot needs any more.

use std::collections::HashSet;

use domain::SignedDuration;
use rustic_core::{OpenStatus, PruneOptions, Repository, RusticError, repofile::SnapshotId};

use super::{full, map_error};
use crate::engine::{EngineError, ErrorCode, ForgetJob, ForgetSummary, PruneSummary, Reporter, Step};

/// Remove the snapshots of `job`. Their data stays until [`prune`].
pub(super) fn forget(
    repository: &Repository<OpenStatus>,
    job: &ForgetJob,
    reporter: &Reporter,
) -> Result<ForgetSummary, EngineError> {
    reporter.step(Step::Forget);
    let wanted: HashSet<&str> = job.snapshots.iter().map(String::as_str).collect();
    reporter.progress(|progress| progress.files_total = Some(wanted.len() as u64));
    let mut missing = wanted.len();
    for id in present(repository, &wanted)? {
        missing -= 1;
        if let Err(error) = repository.delete_snapshots(&[id]) {
            // Somebody else may have been quicker.
            let still_there = present(repository, &HashSet::from([full(&id).as_str()]))?;
            if !still_there.is_empty() {
                return Err(map_error(&error, ErrorCode::Io).with("snapshot", full(&id)));
            }
        }
        reporter.progress(|progress| progress.files_done += 1);
    }
    Ok(ForgetSummary { removed: wanted.len() as u64, missing: missing as u64 })
}

fn present(repository: &Repository<OpenStatus>, wanted: &HashSet<&str>) -> Result<Vec<SnapshotId>, EngineError> {
    let ids = repository.list::<SnapshotId>().map_err(|error| map_error(&error, ErrorCode::Io))?;
    Ok(ids.filter(|id| wanted.contains(full(id).as_str())).collect())
}

/// Mark what no snapshot needs, and remove what was marked long enough ago. The repository is held alone.
pub(super) fn prune(
    repository: &Repository<OpenStatus>,
    keep_marked: SignedDuration,
    reporter: &Reporter,
) -> Result<PruneSummary, EngineError> {
    reporter.step(Step::Prune);
    let failed = |error: Box<RusticError>| map_error(&error, ErrorCode::RepositoryDamaged);
    let mut options = PruneOptions::default();
    options.keep_delete = jiff::Span::new().seconds(keep_marked.as_secs());
    let plan = repository.prune_plan(&options).map_err(failed)?;
    let stats = &plan.stats;
    let summary = PruneSummary {
        bytes_removed: stats.size_to_delete.remove,
        bytes_marked: stats.size_to_delete.keep
            + stats.size_sum().remove
            + stats.size_sum().repackrm
            + stats.size_unref,
        busy: false,
    };
    repository.prune(&options, plan).map_err(failed)?;
    Ok(summary)
}
