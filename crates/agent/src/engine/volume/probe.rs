//! What a part of a disk holds, told by its first bytes.

use std::io;

use super::{Part, table::u16_at};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, or something that is not meant for files.
    Nothing,
    /// ext2, ext3 or ext4.
    Ext,
    /// A FAT of any width.
    Fat,
    /// Something that has a name and cannot be read here.
    Other(&'static str),
    /// Something.
    Unknown,
}

/// Where things are recognized, by what, and as what.
const MARKS: &[(usize, &[u8], Found)] = &[
    (1080, &[0x53, 0xef], Found::Ext),
    (0, b"LUKS\xba\xbe", Found::Other("luks")),
    (0, b"XFSB", Found::Other("xfs")),
    (3, b"NTFS    ", Found::Other("ntfs")),
    (3, b"EXFAT   ", Found::Other("exfat")),
    (3, b"-FVE-FS-", Found::Other("bitlocker")),
    (0x1_0040, b"_BHRfS_M", Found::Other("btrfs")),
    (0, b"hsqs", Found::Other("squashfs")),
    (1024, &[0x10, 0x20, 0xf5, 0xf2], Found::Other("f2fs")),
    (1024, &[0xe2, 0xe1, 0xf5, 0xe0], Found::Other("erofs")),
    (0x8001, b"CD001", Found::Other("iso9660")),
    (1024, b"H+", Found::Other("hfsplus")),
    (32, b"NXSB", Found::Other("apfs")),
    (536, b"LVM2 001", Found::Other("lvm2")),
    (4096, &[0xfc, 0x4e, 0x2b, 0xa9], Found::Other("md")),
    (0, &[0xfc, 0x4e, 0x2b, 0xa9], Found::Other("md")),
    (4086, b"SWAPSPACE2", Found::Nothing),
    (4086, b"SWAP-SPACE", Found::Nothing),
];

/// How much is looked at.
const LOOKED_AT: usize = 128 << 10;

/// Look at the beginning of a part.
pub(super) fn probe(part: &Part) -> io::Result<Found> {
    let start = part.start(LOOKED_AT)?;
    let mark = MARKS.iter().find(|(at, mark, _)| start[*at..].starts_with(mark));
    Ok(match mark {
        Some((_, _, found)) => *found,
        None if is_fat(&start) => Found::Fat,
        None if start.iter().all(|byte| *byte == 0) => Found::Nothing,
        None => Found::Unknown,
    })
}

/// FAT has no mark that can be trusted; what it says of its own measures must make sense.
fn is_fat(start: &[u8]) -> bool {
    let jump = matches!(start[0], 0xeb | 0xe9);
    let sector = matches!(u16_at(start, 11), 512 | 1024 | 2048 | 4096);
    let cluster = start[13].is_power_of_two();
    let (reserved, copies, media) = (u16_at(start, 14), start[16], start[21]);
    let signed = start[510..512] == [0x55, 0xaa];
    jump && sector && cluster && signed && reserved > 0 && matches!(copies, 1 | 2) && (media == 0xf0 || media >= 0xf8)
}
