//! Which part of a snapshot is looked at.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use rustic_core::{IndexedTree, Repository, TreeId};

use super::{Found, find_node, path_not_in_backup, restore::relative};
use crate::engine::{EngineError, RawPath};

/// Which part of a tree to restore.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// This and everything below.
    pub(super) whole: bool,
    /// Only these, if not the whole.
    pub(super) parts: BTreeMap<OsString, Selection>,
}

impl Selection {
    /// Everything.
    pub(super) fn whole() -> Self {
        Self { whole: true, ..Self::default() }
    }

    pub(super) fn new<S: IndexedTree>(
        repository: &Repository<S>,
        top: TreeId,
        paths: &[RawPath],
    ) -> Result<Self, EngineError> {
        let mut selection = Self { whole: paths.is_empty(), ..Self::default() };
        for path in paths {
            let path = Path::new("/").join(path.as_path());
            if matches!(find_node(repository, top, &path)?, Found::Nothing) {
                return Err(path_not_in_backup(&path));
            }
            let mut part = &mut selection;
            for name in &relative(&path) {
                part = part.parts.entry(name.to_owned()).or_default();
            }
            part.whole = true;
        }
        Ok(selection)
    }
}
