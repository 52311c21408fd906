//! What an error of SQLite means for a caller.

use std::path::Path;

use domain::{Code, Error, Result};
use rusqlite::ErrorCode;

/// Turns errors of SQLite into those of the domain.
pub(super) trait Sql<T> {
    /// The same result with the domain's error.
    fn sql(self) -> Result<T>;
}

impl<T> Sql<T> for rusqlite::Result<T> {
    fn sql(self) -> Result<T> {
        self.map_err(|e| meaning(&e))
    }
}

/// `SQLITE_IOERR_SHMSIZE`: the index of the write-ahead log cannot grow, which is how a full disk looks there.
const SHM_CANNOT_GROW: i32 = 4874;

fn meaning(e: &rusqlite::Error) -> Error {
    use rusqlite::Error as E;
    match e {
        E::SqliteFailure(failure, _) if failure.extended_code == SHM_CANNOT_GROW => full(),
        E::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DiskFull => full(),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => damaged(e),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                Error::new(Code::Unavailable, "the ledger is in use by another program")
                    .hint("try again in a moment; if it stays so, look for a second server or an open sqlite3 shell")
            }
            _ => internal(e),
        },
        // A stored value that cannot be what it was written as.
        E::FromSqlConversionFailure(..) | E::InvalidColumnType(..) | E::IntegralValueOutOfRange(..) => damaged(e),
        _ => internal(e),
    }
}

fn full() -> Error {
    Error::new(Code::StorageFull, "the disk of the ledger is full; nothing was written")
        .hint("free some space on the disk that holds the ledger; reading goes on, and writing will by itself")
}

fn internal(e: &rusqlite::Error) -> Error {
    tracing::error!(error = %e, "the ledger failed");
    Error::new(Code::Internal, format!("the ledger failed: {e}"))
}

/// Stored data that cannot be read.
pub(super) fn damaged(e: impl std::fmt::Display) -> Error {
    tracing::error!(error = %e, "the ledger is damaged");
    Error::new(Code::LedgerDamaged, format!("the ledger is damaged: {e}"))
        .hint("`backstay ledger check` lists what is damaged; stop the server and restore the file from a copy")
}

/// The ledger is closed, or its writer broke down over this call.
pub(super) fn unavailable() -> Error {
    Error::new(Code::Unavailable, "the ledger is not available").hint("the server is stopping or restarting; try again")
}

/// A file that is not ours to open.
pub(super) fn refused(path: &Path, why: &str) -> Error {
    Error::invalid("ledger", format!("'{}' {why}", path.display()))
}
