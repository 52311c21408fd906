//! Goes through what a snapshot holds, for whoever restores, packs or verifies it.

use std::path::{Path, PathBuf};

use rustic_core::{
    IndexedTree, Repository, TreeId,
    repofile::{Node, Tree},
};

use super::{map_error, node::safe_name, selection::Selection};
use crate::engine::{EngineError, ErrorCode};

/// What to do at the stations of a [`walk`]. Paths are relative to the top of the snapshot.
pub(super) trait Visitor {
    /// Before what is in a directory; false keeps out of it.
    fn enter(&mut self, path: &Path, node: &Node, whole: bool) -> Result<bool, EngineError>;
    /// Anything but a directory.
    fn entry(&mut self, path: &Path, node: &Node) -> Result<(), EngineError>;
    /// After what is in a directory.
    fn leave(&mut self, path: &Path, node: &Node, tree: &Tree, whole: bool) -> Result<(), EngineError>;
    /// Something in the repository is broken.
    fn broken(&mut self, path: &Path, error: EngineError) -> Result<(), EngineError>;
}

/// Go through the selected part of a tree, depth first, one directory's list in memory per level. Not by recursion: how deep a
/// tree is, was decided elsewhere.
pub(super) fn walk<S: IndexedTree>(
    repository: &Repository<S>,
    top: TreeId,
    selection: &Selection,
    visitor: &mut dyn Visitor,
) -> Result<(), EngineError> {
    let everything = Selection::whole();
    let mut path = PathBuf::new();
    let Some(tree) = read_tree(repository, top, &path, visitor)? else { return Ok(()) };
    let mut levels = vec![Level { tree, next: 0, part: selection, whole: selection.whole }];
    while let Some(level) = levels.last_mut() {
        let Some(node) = level.tree.nodes.get(level.next) else {
            let Some(Level { tree, whole, .. }) = levels.pop() else { break };
            if let Some(node) = levels.last().and_then(Level::entered) {
                visitor.leave(&path, node, &tree, whole)?;
                path.pop();
            }
            continue;
        };
        level.next += 1;
        let Some(name) = safe_name(node) else {
            let error = EngineError::new(ErrorCode::RepositoryDamaged, format!("unsafe file name {:?}", node.name));
            visitor.broken(&path, error)?;
            continue;
        };
        let part = if level.part.whole { Some(&everything) } else { level.part.parts.get(&name) };
        let Some(part) = part else { continue };
        path.push(name);
        if node.is_dir() && visitor.enter(&path, node, part.whole)? {
            let below = match node.subtree {
                Some(subtree) => read_tree(repository, subtree, &path, visitor)?,
                None => None,
            };
            // A directory whose list is broken still gets its attributes, but nothing is removed from it.
            let (tree, whole) = below.map_or((Tree::default(), false), |tree| (tree, part.whole));
            levels.push(Level { tree, next: 0, part, whole });
            continue;
        }
        if !node.is_dir() {
            visitor.entry(&path, node)?;
        }
        path.pop();
    }
    Ok(())
}

/// A directory that a [`walk`] is in.
struct Level<'a> {
    tree: Tree,
    /// The place of the node that comes next.
    next: usize,
    /// What of it is wanted.
    part: &'a Selection,
    /// Whether all of it is wanted and known.
    whole: bool,
}

impl Level<'_> {
    /// The directory in it that the walk has gone into.
    fn entered(&self) -> Option<&Node> {
        self.tree.nodes.get(self.next.checked_sub(1)?)
    }
}

/// The list of a directory; nothing if the repository does not give it, which the visitor is told.
fn read_tree<S: IndexedTree>(
    repository: &Repository<S>,
    tree: TreeId,
    directory: &Path,
    visitor: &mut dyn Visitor,
) -> Result<Option<Tree>, EngineError> {
    match repository.get_tree(&tree) {
        Ok(tree) => Ok(Some(tree)),
        Err(error) => {
            visitor.broken(directory, map_error(&error, ErrorCode::RepositoryDamaged))?;
            Ok(None)
        }
    }
}
