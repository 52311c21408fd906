//! Where restored files come to lie below the target: at their whole original path, or each chosen item under its own name
//! (contract for Yandex clients, Y72).

use std::{
    collections::HashSet,
    ffi::OsString,
    path::{Path, PathBuf},
};

use rustic_core::{IndexedTree, Repository, TreeId};

use super::{Found, find_node, map_error, node::safe_name, restore::relative};
use crate::engine::{EngineError, ErrorCode, RawPath, RestoreJob};

/// From paths in the snapshot to paths below the target, both relative.
#[derive(Debug)]
pub(super) enum Placing {
    /// The same.
    Whole,
    /// What lies in these directories, or these files themselves, without the path that leads there.
    Named(Vec<Item>),
}

/// A chosen item.
#[derive(Debug)]
pub(super) struct Item {
    path: PathBuf,
    /// What of its path is left out.
    left_out: PathBuf,
}

impl Placing {
    /// What `job` wishes for. `sources` are what was backed up: chosen as a whole, they have no name.
    pub(super) fn new<S: IndexedTree>(
        repository: &Repository<S>,
        top: TreeId,
        job: &RestoreJob,
        selected: &[RawPath],
        sources: &[PathBuf],
    ) -> Result<Self, EngineError> {
        if !job.by_name {
            return Ok(Self::Whole);
        }
        let mut paths: Vec<PathBuf> = selected.iter().map(|path| relative(path.as_path())).collect();
        paths.sort();
        // An item inside another comes with that.
        paths.dedup_by(|inner, outer| inner.starts_with(outer));
        let mut taken = HashSet::new();
        let mut items = Vec::new();
        for path in paths {
            // Snapshots have the paths of their sources as Unicode.
            let is_top =
                path.as_os_str().is_empty() || sources.contains(&PathBuf::from(path.to_string_lossy().into_owned()));
            let inside = if is_top { names_in(repository, top, &path)? } else { None };
            let parent = path.parent().unwrap_or(Path::new("")).to_path_buf();
            let names = match &inside {
                Some(names) => names.clone(),
                None => path.file_name().map(OsString::from).into_iter().collect(),
            };
            if names.into_iter().any(|name| !taken.insert(name)) {
                return Ok(Self::Whole);
            }
            let left_out = if inside.is_some() { path.clone() } else { parent };
            items.push(Item { path, left_out });
        }
        Ok(Self::Named(items))
    }

    /// Where something comes to lie; nothing if it only leads to what does.
    pub(super) fn place(&self, path: &Path) -> Option<PathBuf> {
        match self {
            Self::Whole => Some(path.to_path_buf()),
            Self::Named(items) => {
                let item = items.iter().find(|item| path.starts_with(&item.path))?;
                path.strip_prefix(&item.left_out).ok().map(Path::to_path_buf)
            }
        }
    }
}

/// The names in a directory of the snapshot; nothing if it is none.
fn names_in<S: IndexedTree>(
    repository: &Repository<S>,
    top: TreeId,
    path: &Path,
) -> Result<Option<Vec<OsString>>, EngineError> {
    let tree = match find_node(repository, top, &Path::new("/").join(path))? {
        Found::Top => top,
        Found::Node(node) => match node.subtree {
            Some(tree) => tree,
            None => return Ok(None),
        },
        Found::Nothing => return Ok(None),
    };
    let tree = repository.get_tree(&tree).map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
    Ok(Some(tree.nodes.iter().filter_map(safe_name).collect()))
}
