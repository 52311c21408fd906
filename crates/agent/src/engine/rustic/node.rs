//! What the repository keeps about a file besides its content, to and from what the system says.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use nix::{
    libc,
    unistd::{Gid, Group, Uid, User},
};
use rustic_core::{
    jiff::Timestamp,
    repofile::{Metadata, Node, NodeType},
};
use serde_json::{Value, json};

use crate::engine::{FileKind, Reporter};

/// Permissions with setuid, setgid and sticky, as `chmod` takes them.
const PERMISSIONS: u32 = 0o7777;

// The repository format has file modes as Go's `io/fs.FileMode` has them: the permissions below, the
// type and the three special bits in places of their own.
const GO_DIR: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_FIFO: u32 = 1 << 25;
const GO_SOCKET: u32 = 1 << 24;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_CHAR_DEVICE: u32 = 1 << 21;
const GO_STICKY: u32 = 1 << 20;

const SPECIAL_BITS: [(u32, u32); 3] = [(0o4000, GO_SETUID), (0o2000, GO_SETGID), (0o1000, GO_STICKY)];

/// The mode as the repository has it.
pub(super) fn mode_to_go(mode: u32) -> u32 {
    let kind = match mode & libc::S_IFMT {
        libc::S_IFDIR => GO_DIR,
        libc::S_IFLNK => GO_SYMLINK,
        libc::S_IFBLK => GO_DEVICE,
        libc::S_IFCHR => GO_DEVICE | GO_CHAR_DEVICE,
        libc::S_IFIFO => GO_FIFO,
        libc::S_IFSOCK => GO_SOCKET,
        _ => 0,
    };
    let special = SPECIAL_BITS.iter().filter(|(unix, _)| mode & unix != 0);
    special.fold(kind | (mode & 0o777), |bits, (_, go)| bits | go)
}

/// The permissions in a mode that the repository has.
pub(super) fn permissions(go_mode: u32) -> u32 {
    let special = SPECIAL_BITS.iter().filter(|(_, go)| go_mode & go != 0);
    special.fold(go_mode & 0o777, |bits, (unix, _)| bits | unix) & PERMISSIONS
}

/// Makes nodes; remembers the names of users and groups, which are slow to ask for.
#[derive(Default)]
pub(super) struct NodeMaker {
    users: HashMap<u32, Option<String>>,
    groups: HashMap<u32, Option<String>>,
}

impl NodeMaker {
    /// The node of the file at `path`. What cannot be read but can be done without is a warning.
    /// `place` is where it is read, which may be a frozen copy.
    pub(super) fn node(
        &mut self,
        path: &Path,
        place: &Path,
        meta: &fs::Metadata,
        reporter: &Reporter,
    ) -> io::Result<Node> {
        let kind = node_type(place, meta)?;
        let is_dir = meta.is_dir();
        // The access time is left out on purpose: every backup would change it.
        let mtime = timestamp(meta.mtime(), meta.mtime_nsec());
        let details = Metadata {
            mode: Some(mode_to_go(meta.mode())),
            mtime,
            atime: mtime,
            ctime: timestamp(meta.ctime(), meta.ctime_nsec()),
            uid: Some(meta.uid()),
            gid: Some(meta.gid()),
            user: self.user(meta.uid()),
            group: self.group(meta.gid()),
            inode: meta.ino(),
            // Only hard links need it, and device numbers may change at every boot.
            device_id: if !is_dir && meta.nlink() > 1 { meta.dev() } else { 0 },
            // Only files have one, as with restic: the length of a link's target is no data.
            size: if meta.is_file() { meta.len() } else { 0 },
            links: if is_dir { 0 } else { meta.nlink() },
            ..Metadata::default()
        };
        let name = path.file_name().unwrap_or(path.as_os_str());
        let mut node = Node::new_node(name, kind, details);
        add_attributes(&mut node, path, place, reporter);
        Ok(node)
    }

    fn user(&mut self, uid: u32) -> Option<String> {
        let look_up = || User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
        self.users.entry(uid).or_insert_with(look_up).clone()
    }

    fn group(&mut self, gid: u32) -> Option<String> {
        let look_up = || Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name);
        self.groups.entry(gid).or_insert_with(look_up).clone()
    }
}

fn node_type(path: &Path, meta: &fs::Metadata) -> io::Result<NodeType> {
    let kind = meta.file_type();
    Ok(if kind.is_dir() {
        NodeType::Dir
    } else if kind.is_symlink() {
        NodeType::from_link(&fs::read_link(path)?)
    } else if kind.is_fifo() {
        NodeType::Fifo
    } else if kind.is_socket() {
        NodeType::Socket
    } else if kind.is_block_device() {
        NodeType::Dev { device: meta.rdev() }
    } else if kind.is_char_device() {
        NodeType::Chardev { device: meta.rdev() }
    } else {
        NodeType::File
    })
}

fn timestamp(seconds: i64, nanoseconds: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)).ok()
}

fn add_attributes(node: &mut Node, path: &Path, place: &Path, reporter: &Reporter) {
    let names = match xattr::list(place) {
        Ok(names) => names,
        Err(error) => {
            if error.raw_os_error() != Some(libc::ENOTSUP) {
                reporter.warn(Some(path), format!("cannot read the extended attributes: {error}"));
            }
            return;
        }
    };
    let mut attributes = Vec::new();
    for name in names {
        let Some(text) = name.to_str() else {
            reporter.warn(Some(path), format!("left out extended attribute {name:?}: its name is not UTF-8"));
            continue;
        };
        match xattr::get(place, &name) {
            Ok(Some(value)) => attributes.push((text.to_owned(), value)),
            Ok(None) => {}
            Err(error) => reporter.warn(Some(path), format!("cannot read extended attribute {text}: {error}")),
        }
    }
    // The system lists them in any order; equal files must have equal descriptions.
    attributes.sort_unstable();
    let encoded: Vec<Value> =
        attributes.iter().map(|(name, value)| json!({ "name": name, "value": STANDARD.encode(value) })).collect();
    // rustic_core does not export the type of an attribute, but it reads the repository's own form of it.
    match serde_json::from_value(Value::Array(encoded)) {
        Ok(attributes) => node.meta.extended_attributes = attributes,
        Err(error) => reporter.warn(Some(path), format!("cannot store the extended attributes: {error}")),
    }
}

/// What kind of file a node is.
pub(super) fn kind(node: &Node) -> FileKind {
    match node.node_type {
        NodeType::File => FileKind::File,
        NodeType::Dir => FileKind::Directory,
        NodeType::Symlink { .. } => FileKind::Symlink,
        NodeType::Fifo => FileKind::Fifo,
        NodeType::Socket => FileKind::Socket,
        NodeType::Dev { .. } => FileKind::BlockDevice,
        NodeType::Chardev { .. } => FileKind::CharDevice,
    }
}

/// The node's name, if it is one: a repository that was tampered with must not name `..` or `a/b`.
pub(super) fn safe_name(node: &Node) -> Option<OsString> {
    let name = node.name();
    let bytes = name.as_bytes();
    let harmless = !matches!(bytes, b"" | b"." | b"..") && !bytes.contains(&b'/') && !bytes.contains(&0);
    harmless.then(|| name.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_survive_the_way_through_the_repository() {
        for mode in 0..=PERMISSIONS {
            assert_eq!(permissions(mode_to_go(libc::S_IFREG | mode)), mode, "{mode:o}");
        }
        // As `os.FileMode` prints it in Go: a directory that is sticky and open to all.
        assert_eq!(mode_to_go(libc::S_IFDIR | 0o1777), 0x8010_01ff);
    }

    #[test]
    fn names_cannot_leave_their_directory() {
        let node = |name: &str| Node::new_node(name.as_ref(), NodeType::File, Metadata::default());
        for bad in ["", ".", "..", "../up", "a/b", "/etc"] {
            assert_eq!(safe_name(&node(bad)), None, "{bad}");
        }
        assert_eq!(safe_name(&node("...")), Some("...".into()));
    }
}
