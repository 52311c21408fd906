//! Whether a backup would find its way to a repository: it is opened, and where there is none, what is there instead is looked
//! at. Nothing is made, locked or changed, so whether a place elsewhere lets itself be written to stays open.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

use rustix::fs::{Access, access};

use super::{Place, RusticEngine};
use crate::engine::{EngineError, ErrorCode, ReachSummary, Reporter};

impl RusticEngine {
    /// Open the repository, or see that one could be made.
    pub(super) fn look(&self, reporter: &Reporter) -> Result<ReachSummary, EngineError> {
        let found = match self.open(reporter) {
            Ok(_) => true,
            Err(error) if error.code == ErrorCode::RepositoryMissing => {
                self.check_empty("config file or key")?;
                false
            }
            Err(error) => return Err(error),
        };
        if let Place::Folder(path) = &self.place {
            // Where the last file of each backup goes.
            check_writable(&Path::new(path).join("snapshots"))?;
        }
        Ok(ReachSummary { found })
    }
}

/// Refuse a folder that the agent may not write to; of one that is not there, the nearest above it counts.
fn check_writable(folder: &Path) -> Result<(), EngineError> {
    for place in folder.ancestors() {
        let usable = match fs::metadata(place) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Ok(found) if !found.is_dir() => Err(Error::from(ErrorKind::NotADirectory)),
            Ok(_) => access(place, Access::WRITE_OK | Access::EXEC_OK).map_err(Error::from),
            Err(error) => Err(error),
        };
        return usable.map_err(|error| EngineError::io(&format!("cannot write to {}", place.display()), &error));
    }
    Ok(())
}
