//! The index in a file, so that a restart need not read the whole record. Such a file is only ever believed when it is of
//! this layout, of this ledger, and whole; otherwise the index is built anew.
//!
//! It is written while the index goes on: each block is copied at a moment of its own. So a block may be newer than the
//! revision that the file names, never older, and what happened since that revision is applied once more after loading.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Deref;
use std::path::Path;

use crc32fast::Hasher;
use domain::Uuid;
use domain::query::Field;

use super::bits::{Bits, ROWS};
use super::block::{BASE, Block};
use super::codes::{Codes, Packed};
use super::dictionary::Dictionary;
use super::numbers::{Numeric, Values};
use super::sorted::Sorted;
use super::{Index, Place};
use crate::Rev;

const MAGIC: &[u8; 8] = b"BkStIdx\n";
/// To be counted up with each change of what is written, or of what a column holds.
const VERSION: u32 = 3;
/// The most that a length in the file can rightly be.
const MOST: u64 = 1 << 32;

/// Writes a checkpoint; the file is whole or the one before. `index` gives it for a moment at a time.
///
/// # Errors
/// Those of the file system.
pub(super) fn save<F: Field, I: Deref<Target = Index<F>>>(
    path: &Path,
    identity: &str,
    rev: Rev,
    index: impl Fn() -> I,
) -> io::Result<()> {
    let written = path.with_extension("index-new");
    let result = write(&written, identity, rev, index).and_then(|()| {
        fs::rename(&written, path)?;
        match path.parent().filter(|p| !p.as_os_str().is_empty()) {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    });
    if result.is_err() {
        // Half a file is of no use, and its room may be what others lack.
        let _ = fs::remove_file(&written);
    }
    result
}

fn write<F: Field, I: Deref<Target = Index<F>>>(
    path: &Path,
    identity: &str,
    rev: Rev,
    index: impl Fn() -> I,
) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(MAGIC)?;
    let mut part = Part::default();
    part.number(u64::from(VERSION));
    part.number(ROWS as u64);
    part.bytes(layout(&index()).as_bytes());
    part.bytes(identity.as_bytes());
    part.number(rev.0.unsigned_abs());
    part.end(&mut file)?;
    let blocks = index().blocks.len();
    for number in 0..blocks {
        let mut part = Part::default();
        match index().blocks.get(number).and_then(Option::as_ref) {
            Some(block) => part.block(block),
            None => part.number(0),
        }
        part.end(&mut file)?;
    }
    // Last: blocks that were copied late may name values that are new.
    let mut part = Part::default();
    part.number(u64::MAX);
    part.end(&mut file)?;
    let index = index();
    let mut part = Part::default();
    part.number(index.tree.tenants().count() as u64);
    for (id, locator) in index.tree.tenants() {
        part.bytes(id.as_bytes());
        part.bytes(locator.as_bytes());
    }
    part.end(&mut file)?;
    for dictionary in &index.dictionaries {
        let (bytes, ends) = dictionary.parts();
        let mut part = Part::default();
        part.words(ends.iter().map(|e| e.to_le_bytes()));
        part.bytes(bytes);
        part.end(&mut file)?;
    }
    drop(index);
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// The index of this ledger from a checkpoint; none if there is none.
///
/// # Errors
/// Why it cannot be used.
pub(super) fn load<F: Field>(path: &Path, identity: &str) -> Result<Option<Index<F>>, String> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| e.to_string())?,
    };
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut magic = [0; 8];
    file.read_exact(&mut magic).map_err(|e| e.to_string())?;
    if magic != *MAGIC {
        return Err("it is no checkpoint".to_owned());
    }
    read(&mut file, identity).map(Some)
}

fn read<F: Field>(file: &mut impl Read, identity: &str) -> Result<Index<F>, String> {
    let damaged = || "it is damaged".to_owned();
    let mut index = Index::<F>::new();
    let mut part = Source::next(file)?;
    if part.number() != Some(u64::from(VERSION)) || part.number() != Some(ROWS as u64) {
        return Err("it was written by another version".to_owned());
    }
    if part.bytes() != Some(layout(&index).as_bytes()) {
        return Err("it was written by another version".to_owned());
    }
    if part.bytes() != Some(identity.as_bytes()) {
        return Err("it belongs to another ledger".to_owned());
    }
    index.rev = Rev(part.number().and_then(|n| i64::try_from(n).ok()).ok_or_else(damaged)?);
    loop {
        let mut part = Source::next(file)?;
        match part.number().ok_or_else(damaged)? {
            u64::MAX => break,
            0 => index.blocks.push(None),
            len => {
                index.versions += 1;
                let block = part.block(&index, usize::try_from(len).map_err(|_| damaged())?).ok_or_else(damaged)?;
                index.blocks.push(Some(Box::new(block)));
            }
        }
    }
    let mut part = Source::next(file)?;
    for _ in 0..part.number().ok_or_else(damaged)? {
        let id = part.bytes().and_then(|b| Uuid::from_slice(b).ok()).ok_or_else(damaged)?;
        let locator = part.bytes().and_then(|b| std::str::from_utf8(b).ok()).ok_or_else(damaged)?;
        index.tree.put(id, locator.to_owned());
    }
    let kinds = F::ALL.iter().filter(|f| matches!(index.place(**f), Place::Code(_))).map(|f| f.kind());
    let kinds: Vec<_> = kinds.collect();
    for (column, kind) in kinds.into_iter().enumerate() {
        let mut part = Source::next(file)?;
        let ends: Vec<u64> = part.words().ok_or_else(damaged)?.map(u64::from_le_bytes).collect();
        let bytes = part.bytes().ok_or_else(damaged)?;
        index.dictionaries[column] = Dictionary::from_parts(kind, bytes, &ends).ok_or_else(damaged)?;
    }
    let unknown = |block: &Block| {
        (block.codes.iter().zip(&index.dictionaries)).any(|(column, dictionary)| column.largest() > dictionary.last())
    };
    if index.blocks.iter().flatten().any(|b| unknown(b)) {
        return Err(damaged());
    }
    index.settle();
    Ok(index)
}

/// What stands in which column: a file that was written for other columns is not read.
fn layout<F: Field>(index: &Index<F>) -> String {
    index.places.iter().map(|(field, place)| format!("{} {:?} {place:?}\n", field.name(), field.kind())).collect()
}

/// A part of the file, which ends with its checksum.
#[derive(Default)]
struct Part(Vec<u8>);

impl Part {
    fn number(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn words<const N: usize>(&mut self, words: impl ExactSizeIterator<Item = [u8; N]>) {
        self.number((words.len() * N) as u64);
        words.for_each(|w| self.0.extend_from_slice(&w));
    }

    fn order(&mut self, order: Option<&[u16]>) {
        self.number(order.map_or(0, |_| 1));
        self.words(order.unwrap_or_default().iter().map(|r| r.to_le_bytes()));
    }

    fn listed<'a>(&mut self, rows: impl ExactSizeIterator<Item = (&'a u16, &'a i64)>) {
        self.number(rows.len() as u64);
        for (row, value) in rows {
            self.number(u64::from(*row));
            self.number(value.cast_unsigned());
        }
    }

    fn block(&mut self, block: &Block) {
        self.number(block.len as u64);
        self.words(block.live.words().iter().map(|w| w.to_le_bytes()));
        for column in &block.codes {
            match column.packed() {
                Packed::Bytes(v) => {
                    self.number(1);
                    self.bytes(v);
                }
                Packed::Shorts(v) => {
                    self.number(2);
                    self.words(v.iter().map(|n| n.to_le_bytes()));
                }
                Packed::Threes(v) => {
                    self.number(3);
                    self.words(v.iter().copied());
                }
                Packed::Words(v) => {
                    self.number(4);
                    self.words(v.iter().map(|n| n.to_le_bytes()));
                }
            }
            self.order(column.order());
        }
        for column in &block.numbers {
            let (values, order) = column.parts();
            match values {
                Values::Few(rows) => {
                    self.number(1);
                    self.listed(rows.iter());
                }
                Values::Near { low, high, far } => {
                    self.number(2);
                    self.words(low.iter().map(|n| n.to_le_bytes()));
                    self.words(high.iter().map(|n| n.to_le_bytes()));
                    self.listed(far.iter());
                }
                Values::Wide(rows) => {
                    self.number(3);
                    self.words(rows.iter().map(|n| n.to_le_bytes()));
                }
                Values::Same { rows, far } => {
                    self.number(4);
                    self.number(*rows as u64);
                    self.listed(far.iter());
                }
                Values::Small(rows) => {
                    self.number(5);
                    self.words(rows.iter().map(|n| n.to_le_bytes()));
                }
            }
            self.order(order);
        }
    }

    fn end(self, file: &mut impl Write) -> io::Result<()> {
        file.write_all(&(self.0.len() as u64).to_le_bytes())?;
        file.write_all(&self.0)?;
        file.write_all(&checksum(&self.0).to_le_bytes())
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// A part that is read: everything in it was written by this program, and yet nothing is taken for granted.
struct Source {
    bytes: Vec<u8>,
    at: usize,
}

impl Source {
    fn next(file: &mut impl Read) -> Result<Source, String> {
        let fail = |e: io::Error| format!("it cannot be read: {e}");
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(fail)?;
        let length = u64::from_le_bytes(length);
        let mut bytes = Vec::new();
        if length > MOST || file.take(length).read_to_end(&mut bytes).map_err(fail)? as u64 != length {
            return Err("it is cut off".to_owned());
        }
        let mut sum = [0; 4];
        file.read_exact(&mut sum).map_err(fail)?;
        if u32::from_le_bytes(sum) != checksum(&bytes) {
            return Err("it is damaged".to_owned());
        }
        Ok(Source { bytes, at: 0 })
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&[u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    fn words<const N: usize>(&mut self) -> Option<impl Iterator<Item = [u8; N]>> {
        let bytes = self.bytes()?;
        bytes.len().is_multiple_of(N).then(|| bytes.as_chunks::<N>().0.iter().copied())
    }

    fn order(&mut self, len: usize) -> Option<Option<Sorted>> {
        let kept = self.number()?;
        let rows: Vec<u16> = self.words()?.map(u16::from_le_bytes).collect();
        Some(match kept {
            0 => None,
            _ => Some(Sorted::from_rows(rows, len)?),
        })
    }

    fn listed<B: FromIterator<(u16, i64)>>(&mut self) -> Option<B> {
        let count = self.number()?;
        (0..count)
            .map(|_| Some((u16::try_from(self.number()?).ok()?, self.number()?.cast_signed())))
            .collect::<Option<B>>()
    }

    /// The block after its length.
    fn block<F: Field>(&mut self, index: &Index<F>, len: usize) -> Option<Block> {
        let fits = |n: usize| (n <= len).then_some(());
        (len <= ROWS).then_some(())?;
        let live: Vec<u64> = self.words()?.map(u64::from_le_bytes).collect();
        let live = Bits::from_words(&live)?;
        let mut codes = Vec::new();
        for ranking in &index.rankings {
            let packed = match self.number()? {
                1 => Packed::Bytes(self.bytes()?.to_vec()),
                2 => Packed::Shorts(self.words()?.map(u16::from_le_bytes).collect()),
                3 => Packed::Threes(self.words()?.collect()),
                4 => Packed::Words(self.words()?.map(u32::from_le_bytes).collect()),
                _ => return None,
            };
            fits(packed.len())?;
            let order = self.order(len)?;
            codes.push(Codes::from_packed(packed, *ranking, order));
        }
        let mut numbers = Vec::new();
        for _ in 0..index.numbers {
            let values = match self.number()? {
                1 => Values::Few(self.listed()?),
                2 => {
                    let low: Vec<u32> = self.words()?.map(u32::from_le_bytes).collect();
                    let high: Vec<u16> = self.words()?.map(u16::from_le_bytes).collect();
                    (low.len() == high.len()).then_some(())?;
                    Values::Near { low, high, far: self.listed()? }
                }
                3 => Values::Wide(self.words()?.map(i64::from_le_bytes).collect()),
                4 => Values::Same { rows: usize::try_from(self.number()?).ok()?, far: self.listed()? },
                5 => Values::Small(self.words()?.map(u32::from_le_bytes).collect()),
                _ => return None,
            };
            fits(values.len())?;
            let order = self.order(len)?;
            numbers.push(Numeric::from_parts(values, order));
        }
        // Whatever lies near to the base needs one.
        (numbers.get(BASE)?.wide().len() == len).then_some(())?;
        let count = live.len();
        let version = index.versions;
        Some(Block { len, live, count, codes, numbers, version, untidy: true })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::Timestamp;
    use domain::query::TaskField;
    use domain::task::{Task, TaskId, TaskSpec};

    use super::*;

    /// More rows than a block has, with words that differ.
    fn stored(path: &Path) -> Index<TaskField> {
        let mut index = Index::new();
        for n in 1..ROWS + 20 {
            let tenant = Uuid::from_u128(n as u128 % 9 + 1);
            index.put_tenant(tenant, format!("/1/{}/", n % 9 + 2));
            let spec = TaskSpec::new(Uuid::from_u128(n as u128), &format!("type-{}", n % 12), "agents", tenant);
            let task = Task::create(TaskId(n as i64), Arc::new(spec), Timestamp::UNIX_EPOCH).expect("a task");
            index.put(task.id.0, |field: TaskField| field.read(&task));
        }
        index.set_rev(Rev(7));
        index.settle();
        save(path, "this", Rev(7), || &index).expect("it can be written");
        index
    }

    #[test]
    fn only_a_whole_checkpoint_of_this_ledger_and_version_is_believed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ledger.index");
        let load = |identity: &str| load::<TaskField>(&path, identity);
        assert!(load("this").expect("nothing is wrong").is_none(), "there is none");
        let index = stored(&path);
        let loaded = load("this").expect("it is whole").expect("it is there");
        assert_eq!((loaded.len(), loaded.rev()), (index.len(), Rev(7)));
        assert_eq!(load("another").expect_err("of another ledger"), "it belongs to another ledger");

        let whole = fs::read(&path).expect("it can be read");
        // The version stands behind the magic number and the length of the first part, and has a checksum of its own.
        let first = MAGIC.len() + 8;
        let length = u64::from_le_bytes(whole[MAGIC.len()..first].try_into().expect("eight bytes")) as usize;
        let mut other = whole.clone();
        other[first] += 1;
        let sum = checksum(&other[first..first + length]);
        other[first + length..first + length + 4].copy_from_slice(&sum.to_le_bytes());
        fs::write(&path, other).expect("written");
        assert_eq!(load("this").expect_err("of another version"), "it was written by another version");

        for at in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            fs::write(&path, damaged).expect("written");
            assert!(load("this").is_err(), "byte {at} is wrong");
            fs::write(&path, &whole[..at]).expect("written");
            assert!(load("this").is_err(), "cut off at {at}");
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_the_one_before() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ledger.index");
        let index = stored(&path);
        let whole = fs::read(&path).expect("it can be read");
        // Where the new one would be written there is a folder.
        fs::create_dir(path.with_extension("index-new")).expect("made");
        assert!(save(&path, "this", Rev(8), || &index).is_err());
        assert_eq!(fs::read(&path).expect("it can be read"), whole);
    }
}
