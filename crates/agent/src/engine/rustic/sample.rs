//! A restore test: files of a snapshot, picked at random, are read back whole and compared by hash - with what was stored, and
//! with the file on the machine where that has not changed since. Beside it, every folder's list is read, and every piece of
//! every file must be in the index.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256, digest};
use domain::work::{Live, Sample, Sampled, SampledFile, Unread};
use rustic_core::{
    BlobId, IndexedFull, Repository,
    repofile::{BlobType, Node, NodeType, SnapshotFile, Tree},
};

use super::{
    map_error,
    selection::Selection,
    stream,
    walk::{Visitor, walk},
};
use crate::engine::{EngineError, ErrorCode, RawPath, Reporter, Step, VerifySummary};
use crate::hex::hex;

/// Check the structure of `snapshot`, and restore a sample of its files to nowhere.
pub(super) fn verify<S: IndexedFull>(
    repository: &Repository<S>,
    snapshot: &SnapshotFile,
    sample: Sample,
    reporter: &Reporter,
) -> Result<VerifySummary, EngineError> {
    reporter.step(Step::Verify);
    let mut picking =
        Picking { repository, sample, picked: BTreeMap::new(), files: 0, found: VerifySummary::default() };
    walk(repository, snapshot.tree, &Selection::whole(), &mut picking)?;
    let Picking { picked, files, mut found, .. } = picking;
    let mut picked: Vec<(PathBuf, Node)> = picked.into_values().collect();
    picked.sort_by(|a, b| a.0.cmp(&b.0));
    let bytes: u64 = picked.iter().map(|(_, node)| node.meta.size).sum();
    reporter.progress(|progress| {
        progress.files_total = Some(picked.len() as u64);
        progress.bytes_total = Some(bytes);
    });
    // A stream is one file under a name of its own, not under a path of the machine.
    let of_files = !stream::is_stream(snapshot);
    let mut restored = Vec::with_capacity(picked.len());
    for (path, node) in picked {
        let file = restore(repository, &path, &node, &mut found, reporter, of_files);
        reporter.progress(|progress| progress.files_done += 1);
        found.files += 1;
        found.bytes += file.bytes;
        restored.push(file);
    }
    Ok(VerifySummary { sampled: Some(Sampled { sample, of: files, picked: restored }), ..found })
}

/// Reads one file back, piece by piece as a restore does, and compares it.
fn restore<S: IndexedFull>(
    repository: &Repository<S>,
    path: &Path,
    node: &Node,
    found: &mut VerifySummary,
    reporter: &Reporter,
    of_files: bool,
) -> SampledFile {
    let mut whole = Context::new(&SHA256);
    let mut bytes = 0;
    let damaged = found.damaged_total;
    for blob in node.content.iter().flatten() {
        match repository.get_blob_cached(&BlobId::from(*blob), BlobType::Data) {
            // A piece is named after the digest of its content.
            Ok(data) if blob.to_hex().as_str() == hex(digest(&SHA256, &data).as_ref()) => {
                whole.update(&data);
                let read = data.len() as u64;
                bytes += read;
                reporter.progress(|progress| progress.bytes_done += read);
            }
            Ok(_) => damage(found, path, "a piece of it is not what was stored".to_owned()),
            Err(error) => damage(found, path, map_error(&error, ErrorCode::RepositoryDamaged).message),
        }
    }
    if found.damaged_total == damaged && bytes != node.meta.size {
        damage(found, path, format!("{bytes} bytes of it came back, and it had {}", node.meta.size));
    }
    let path_text = RawPath::from(path).to_string();
    if found.damaged_total > damaged {
        return SampledFile { path: path_text, bytes, ..SampledFile::default() };
    }
    let sha256 = hex(whole.finish().as_ref());
    let live = match of_files.then(|| hash_if_unchanged(path, node)) {
        Some(Ok(Some(there))) if there == sha256 => Live::Same,
        Some(Ok(Some(_))) => Live::Different,
        // What cannot be read now says nothing of the backup.
        None | Some(Ok(None) | Err(_)) => Live::NotCompared,
    };
    SampledFile { path: path_text, bytes, sha256, live }
}

/// The digest of the file on the machine, if it has the size and time that were stored, before and after it was read.
fn hash_if_unchanged(path: &Path, node: &Node) -> io::Result<Option<String>> {
    let unchanged = |meta: &fs::Metadata| {
        let modified = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        let same_time = node.meta.mtime.is_some_and(|time| time.as_nanosecond() == modified);
        meta.is_file() && meta.len() == node.meta.size && same_time
    };
    if !unchanged(&fs::symlink_metadata(path)?) {
        return Ok(None);
    }
    let mut file = File::open(path)?;
    let mut whole = Context::new(&SHA256);
    let mut buffer = vec![0; 128 * 1024];
    // It may grow while it is read.
    let mut left = node.meta.size;
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = file.read(&mut buffer[..most])?;
        if read == 0 {
            return Ok(None);
        }
        whole.update(&buffer[..read]);
        left -= read as u64;
    }
    Ok(unchanged(&file.metadata()?).then(|| hex(whole.finish().as_ref())))
}

fn damage(found: &mut VerifySummary, path: &Path, message: String) {
    found.damaged_total += 1;
    Unread { path: RawPath::from(path).to_string(), message }.note(&mut found.damaged);
}

/// A number for the file of this place among all, that looks random and follows from the seed alone (splitmix64).
fn lot(seed: u64, place: u64) -> u64 {
    let mixed = seed.wrapping_add(place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Goes through a whole snapshot, sees that every piece is there, and keeps the files that draw the lowest numbers: each file
/// has the same chance, whatever their number, and only as many are in memory as are wanted.
struct Picking<'a, S> {
    repository: &'a Repository<S>,
    sample: Sample,
    picked: BTreeMap<(u64, u64), (PathBuf, Node)>,
    files: u64,
    found: VerifySummary,
}

impl<S: IndexedFull> Visitor for Picking<'_, S> {
    fn enter(&mut self, _path: &Path, _node: &Node, _whole: bool) -> Result<bool, EngineError> {
        Ok(true)
    }

    fn entry(&mut self, path: &Path, node: &Node) -> Result<(), EngineError> {
        if node.node_type != NodeType::File {
            return Ok(());
        }
        let path = Path::new("/").join(path);
        for blob in node.content.iter().flatten() {
            if let Err(error) = self.repository.get_index_entry(blob) {
                let message = map_error(&error, ErrorCode::RepositoryDamaged).message;
                damage(&mut self.found, &path, format!("a piece of it is missing: {message}"));
            }
        }
        self.picked.insert((lot(self.sample.seed, self.files), self.files), (path, node.clone()));
        self.files += 1;
        if self.picked.len() > usize::try_from(self.sample.files).unwrap_or(usize::MAX) {
            self.picked.pop_last();
        }
        Ok(())
    }

    fn leave(&mut self, _path: &Path, _node: &Node, _tree: &Tree, _whole: bool) -> Result<(), EngineError> {
        Ok(())
    }

    fn broken(&mut self, path: &Path, error: EngineError) -> Result<(), EngineError> {
        damage(&mut self.found, &Path::new("/").join(path), error.message);
        Ok(())
    }
}
