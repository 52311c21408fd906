//! Partition tables: GPT, and MBR with its chain of logical partitions. Ours, because what is read here is anybody's disk:
//! nothing in a table may make the reader stop, ask for gigabytes or go in circles. Whatever does not add up is left out.

use std::{collections::HashSet, io};

use super::{Part, probe};

/// A partition: its number as the system counts, and the bytes that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) number: u32,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// The sector of tables of the old kind, and of nearly all of the new one.
const SECTOR: u64 = 512;

/// The sizes that a sector can have in a GPT.
const GPT_SECTORS: [u64; 2] = [512, 4096];

/// So many entries are looked at; tables have 128.
const MAX_ENTRIES: u32 = 1024;

/// So many logical partitions are looked at.
const MAX_LOGICAL: u32 = 256;

/// An entry of the old table that says that there is a new one.
const PROTECTIVE: u8 = 0xee;

/// The kinds of entries that hold logical partitions.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// The GUID of partitions that hold nothing but code for starting, in the order of bytes on the disk.
const BIOS_BOOT: [u8; 16] = *b"Hah!IdontNeedEFI";

/// The partitions of a disk in the order of their numbers; nothing if it has no table.
pub(super) fn partitions(disk: &Part) -> io::Result<Option<Vec<Partition>>> {
    let first = disk.start(SECTOR as usize)?;
    if first[510..] != [0x55, 0xaa] {
        return Ok(None);
    }
    let entries = entries(&first);
    if entries.iter().any(|entry| entry.kind == PROTECTIVE)
        && let Some(found) = gpt(disk)?
    {
        return Ok(Some(found));
    }
    // The first sector of a file system ends in the same two bytes.
    if !matches!(probe::probe(disk)?, probe::Found::Unknown | probe::Found::Nothing) || !plausible(&entries, disk.size)
    {
        return Ok(None);
    }
    let mut found = Vec::new();
    for (number, entry) in (1..).zip(&entries) {
        if EXTENDED.contains(&entry.kind) {
            logical(disk, u64::from(entry.start), &mut found)?;
        } else if entry.kind != 0 {
            found.extend(partition(number, u64::from(entry.start), u64::from(entry.length), SECTOR, disk.size));
        }
    }
    found.sort_by_key(|partition| partition.number);
    Ok(Some(found))
}

/// A partition, as far as it lies on the disk.
fn partition(number: u32, start: u64, length: u64, sector: u64, disk: u64) -> Option<Partition> {
    let offset = start.checked_mul(sector)?;
    let size = length.checked_mul(sector)?.min(disk.checked_sub(offset)?);
    (offset > 0 && size > 0).then_some(Partition { number, offset, size })
}

/// An entry of the old table; start and length in sectors.
#[derive(Clone, Copy)]
struct Entry {
    flag: u8,
    kind: u8,
    start: u32,
    length: u32,
}

fn entries(sector: &[u8]) -> [Entry; 4] {
    [446, 462, 478, 494].map(|at| Entry {
        flag: sector[at],
        kind: sector[at + 4],
        start: u32_at(sector, at + 8),
        length: u32_at(sector, at + 12),
    })
}

fn plausible(entries: &[Entry], disk: u64) -> bool {
    let used = |entry: &&Entry| entry.kind != 0;
    let fits = |entry: &Entry| entry.flag & 0x7f == 0 && entry.start > 0 && u64::from(entry.start) * SECTOR < disk;
    entries.iter().any(|entry| entry.kind != 0) && entries.iter().filter(used).all(fits)
}

/// Follow the chain of logical partitions that begins at sector `first`.
fn logical(disk: &Part, first: u64, found: &mut Vec<Partition>) -> io::Result<()> {
    let (mut at, mut seen) = (first, HashSet::new());
    for number in 5..5 + MAX_LOGICAL {
        let mut sector = [0; SECTOR as usize];
        let there = at.checked_mul(SECTOR).filter(|offset| *offset < disk.size);
        let Some(offset) = there.filter(|_| seen.insert(at)) else { return Ok(()) };
        if disk.read_at(&mut sector, offset)? < sector.len() || sector[510..] != [0x55, 0xaa] {
            return Ok(());
        }
        let [this, next, ..] = entries(&sector);
        if this.kind != 0 {
            found.extend(partition(number, at + u64::from(this.start), u64::from(this.length), SECTOR, disk.size));
        }
        if !EXTENDED.contains(&next.kind) {
            return Ok(());
        }
        at = first + u64::from(next.start);
    }
    Ok(())
}

/// The new table, from its first place or, if that is damaged, from its last.
fn gpt(disk: &Part) -> io::Result<Option<Vec<Partition>>> {
    for sector in GPT_SECTORS {
        let last = (disk.size / sector).checked_sub(1).map(|last| last * sector);
        for place in [Some(sector), last].into_iter().flatten() {
            if let Some(found) = gpt_at(disk, place, sector)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn gpt_at(disk: &Part, place: u64, sector: u64) -> io::Result<Option<Vec<Partition>>> {
    let mut header = vec![0; SECTOR as usize];
    if disk.read_at(&mut header, place)? < header.len() || &header[..8] != b"EFI PART" {
        return Ok(None);
    }
    let length = u32_at(&header, 12) as usize;
    let (sum, table, count, size) =
        (u32_at(&header, 16), u64_at(&header, 72), u32_at(&header, 80), u32_at(&header, 84) as usize);
    let table_sum = u32_at(&header, 88);
    header[16..20].fill(0);
    let sound = (92..=header.len()).contains(&length) && crc32(&header[..length]) == sum;
    if !sound || !(128..=4096).contains(&size) || count > MAX_ENTRIES {
        return Ok(None);
    }
    let Some(table) = table.checked_mul(sector).filter(|table| *table < disk.size) else { return Ok(None) };
    let mut entries = vec![0; size * count as usize];
    if disk.read_at(&mut entries, table)? < entries.len() || crc32(&entries) != table_sum {
        return Ok(None);
    }
    let mut found = Vec::new();
    for (number, entry) in (1..).zip(entries.chunks_exact(size)) {
        let kind = &entry[..16];
        let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
        if kind == [0; 16] || kind == BIOS_BOOT {
            continue;
        }
        let length = last.checked_sub(first).and_then(|length| length.checked_add(1));
        found.extend(length.and_then(|length| partition(number, first, length, sector, disk.size)));
    }
    Ok(Some(found))
}

/// The checksum of a GPT.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(sum & 1)))
    };
    !bytes.iter().fold(!0, step)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::engine::volume::Disk;

    struct Bytes(Vec<u8>);

    impl Disk for Bytes {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let there = usize::try_from(offset).ok().and_then(|from| self.0.get(from..)).unwrap_or_default();
            let read = there.len().min(buffer.len());
            buffer[..read].copy_from_slice(&there[..read]);
            Ok(read)
        }
    }

    fn of(bytes: Vec<u8>) -> Option<Vec<Partition>> {
        let size = bytes.len() as u64;
        partitions(&Part { disk: Rc::new(Bytes(bytes)), offset: 0, size }).expect("readable")
    }

    fn entry(sector: &mut [u8], at: usize, kind: u8, start: u32, length: u32) {
        sector[at + 4] = kind;
        sector[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        sector[at + 12..at + 16].copy_from_slice(&length.to_le_bytes());
        sector[510..512].copy_from_slice(&[0x55, 0xaa]);
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_goes_in_circles_or_beyond_the_end_ends_nowhere() {
        let mut disk = vec![0; 64 * 512];
        assert_eq!(of(disk.clone()), None);
        entry(&mut disk[..512], 446, 0x83, 8, 4);
        entry(&mut disk[..512], 462, 0x05, 16, 32);
        // A logical partition, and a link back to where the chain begins.
        entry(&mut disk[16 * 512..17 * 512], 446, 0x83, 1, 1000);
        entry(&mut disk[16 * 512..17 * 512], 462, 0x05, 0, 8);
        let found = of(disk.clone()).expect("a table");
        let first = Partition { number: 1, offset: 8 * 512, size: 4 * 512 };
        assert_eq!(found, [first, Partition { number: 5, offset: 17 * 512, size: 47 * 512 }]);
        // An entry that begins behind the end makes it no table.
        entry(&mut disk[..512], 478, 0x83, 65, 1);
        assert_eq!(of(disk), None);
    }
}
