//! The folder of its own that something is restored to: below a restore root of this machine, new or empty. Whoever asks
//! names a place; what the machine permits is decided here, where the machine is.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use domain::task::TaskError;
use domain::work::Place;

use crate::engine::RawPath;
use crate::host::Host;
use crate::runner::agent_error;

/// Makes the folder for the task with this number.
///
/// An attempt of the task that was cut off may have been there before: its folder with the task's number is gone on with.
pub(crate) fn make(host: &Host, place: &Place, task: i64) -> Result<PathBuf, Box<TaskError>> {
    let root = root(host, place)?;
    let name = RawPath::from(place.name.as_str());
    let mut parts = name.as_path().components();
    let (Some(Component::Normal(_)), None) = (parts.next(), parts.next()) else {
        return Err(refused(format!("'{name}' is no name of a folder")));
    };
    let plain = root.join(name.as_path());
    let mut numbered = plain.clone().into_os_string();
    numbered.push(format!("-{task}"));
    let numbered = PathBuf::from(numbered);
    if !place.numbered && claimed(&plain).map_err(|error| unusable(&plain, &error))? {
        return Ok(plain);
    }
    match claimed(&numbered) {
        Ok(true) => Ok(numbered),
        // Nobody else makes folders with this number.
        Ok(false) if fs::symlink_metadata(&numbered).is_ok_and(|meta| meta.is_dir()) => Ok(numbered),
        Ok(false) => Err(unusable(&numbered, &io::Error::other("something else stands there"))),
        Err(error) => Err(unusable(&numbered, &error)),
    }
}

/// The folder that the new one is made in.
fn root(host: &Host, place: &Place) -> Result<PathBuf, Box<TaskError>> {
    let Some(first) = host.restore_roots.first() else {
        return Err(refused("this machine permits no folder to restore to".to_owned()));
    };
    let wanted = if place.root.is_empty() { first.clone() } else { RawPath::from(place.root.as_str()).into_path_buf() };
    let climbs = wanted.components().any(|part| part == Component::ParentDir);
    let below = |root: &PathBuf| wanted.starts_with(root);
    if climbs || !host.restore_roots.iter().any(below) {
        return Err(refused(format!("'{}' lies below no folder that may be restored to", wanted.display())));
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&wanted);
    let real = made.and_then(|()| fs::canonicalize(&wanted)).map_err(|error| unusable(&wanted, &error))?;
    // A link on the way must not lead out of what is permitted.
    let permitted = host.restore_roots.iter().filter_map(|root| fs::canonicalize(root).ok());
    if !permitted.into_iter().any(|root| real.starts_with(root)) {
        return Err(refused(format!("'{}' leads out of the folders that may be restored to", wanted.display())));
    }
    Ok(real)
}

/// Whether the folder is ours: made just now, or empty.
fn claimed(folder: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let is_folder = fs::symlink_metadata(folder)?.is_dir();
            Ok(is_folder && fs::read_dir(folder)?.next().is_none())
        }
        Err(error) => Err(error),
    }
}

fn refused(message: String) -> Box<TaskError> {
    Box::new(agent_error("placeNotPermitted", message))
}

fn unusable(folder: &Path, error: &io::Error) -> Box<TaskError> {
    Box::new(agent_error("placeUnusable", format!("'{}' cannot be restored to: {error}", folder.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn place(root: &Path, name: &str) -> Place {
        Place { root: root.to_str().expect("text").to_owned(), name: name.to_owned(), numbered: false }
    }

    #[test]
    fn a_folder_that_holds_something_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("it is there").join("restored");
        let host = Host { restore_roots: vec![root.clone()], ..Host::default() };
        let made = |name| make(&host, &place(Path::new(""), name), 7);
        assert_eq!(made("db"), Ok(root.join("db")));
        // Empty still.
        assert_eq!(made("db"), Ok(root.join("db")));
        fs::write(root.join("db/file"), "x").expect("it can be written");
        assert_eq!(made("db"), Ok(root.join("db-7")));
        fs::write(root.join("db-7/file"), "of an attempt before").expect("it can be written");
        assert_eq!(made("db"), Ok(root.join("db-7")));
        let numbered = Place { numbered: true, ..place(Path::new(""), "web") };
        assert_eq!(make(&host, &numbered, 8), Ok(root.join("web-8")));
        fs::write(root.join("file"), "x").expect("it can be written");
        assert_eq!(made("file"), Ok(root.join("file-7")));
    }

    #[test]
    fn nothing_is_made_outside_of_the_roots() {
        let dir = tempfile::tempdir().expect("a folder");
        let top = dir.path().canonicalize().expect("it is there");
        let (root, other) = (top.join("restored"), top.join("other"));
        let host = Host { restore_roots: vec![root.clone(), top.join("more")], ..Host::default() };
        let code = |place: Place| make(&host, &place, 1).map_err(|error| error.code);
        let refused = Err("placeNotPermitted".to_owned());
        assert_eq!(code(place(&other, "a")), refused);
        assert_eq!(code(place(&root.join("../other"), "a")), refused);
        assert_eq!(code(place(&root, "..")), refused);
        assert_eq!(code(place(&root, "a/b")), refused);
        assert_eq!(code(place(&root, "")), refused);
        assert_eq!(code(place(&top.join("more/deep"), "a")), Ok(top.join("more/deep/a")));
        fs::create_dir_all(&root).and_then(|()| fs::create_dir(&other)).expect("they can be made");
        symlink(&other, root.join("out")).expect("it can be made");
        assert_eq!(code(place(&root.join("out"), "a")), refused);
        assert_eq!(make(&Host::default(), &place(Path::new(""), "a"), 1).map_err(|e| e.code), refused);
    }
}
