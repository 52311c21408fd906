//! A tree of files to back up, the same for the same seed: text, noise, many small files, a few large ones.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::random::Random;

/// How many different words the texts have.
const WORDS: usize = 5000;
/// Files in a folder.
const IN_A_FOLDER: usize = 200;
/// Bytes made at once.
const BLOCK: usize = 64 << 10;
/// Percent of the bytes in each kind of file; the rest is in the large ones.
const SHARES: [(Kind, u64); 3] = [(Kind::Small, 10), (Kind::Text, 30), (Kind::Noise, 25)];
/// How many large files there are: half of them text, half of them noise.
const LARGE: u64 = 4;

/// A kind of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// 1 to 16 KiB; every other one is text.
    Small,
    /// Words, 20 KB to 2 MB.
    Text,
    /// What cannot be compressed, 100 KB to 5 MB.
    Noise,
    /// As large as they must be.
    Large,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Small => "small",
            Kind::Text => "text",
            Kind::Noise => "noise",
            Kind::Large => "large",
        }
    }
}

/// The tree.
#[derive(Debug, Clone, Serialize)]
pub struct SourceTree {
    /// How many files it has.
    pub files: usize,
    /// The bytes in them.
    pub bytes: u64,
    #[serde(skip)]
    places: Vec<(Kind, PathBuf, u64)>,
    #[serde(skip)]
    random: Random,
    #[serde(skip)]
    words: Vec<Vec<u8>>,
}

impl SourceTree {
    /// Makes one of about so many bytes in this new folder.
    pub(crate) fn make(folder: &Path, bytes: u64, seed: u64) -> Result<SourceTree> {
        let mut random = Random::new(seed);
        let words = (0..WORDS).map(|_| word(&mut random)).collect();
        let mut tree = SourceTree { files: 0, bytes: 0, places: Vec::new(), random, words };
        for (kind, percent) in SHARES {
            let end = tree.bytes + bytes * percent / 100;
            let mut n = 0;
            while tree.bytes < end {
                let size = match kind {
                    Kind::Small => 1024 + tree.random.below(15 << 10),
                    Kind::Text => between(&mut tree.random, 20e3, 2e6),
                    Kind::Noise | Kind::Large => between(&mut tree.random, 100e3, 5e6),
                };
                tree.add(folder, kind, n, (size as u64).min(end - tree.bytes).max(1))?;
                n += 1;
            }
        }
        let each = bytes.saturating_sub(tree.bytes) / LARGE;
        for n in 0..LARGE as usize {
            tree.add(folder, Kind::Large, n, each.max(1))?;
        }
        Ok(tree)
    }

    /// Changes about one percent of the bytes: every hundredth file is another one, and of each large one a part.
    pub(crate) fn change(&mut self) -> Result<()> {
        let (files, words) = (&self.places, &self.words);
        for (n, (kind, path, size)) in files.iter().enumerate() {
            let text = is_text(*kind, n);
            if *kind == Kind::Large {
                let part = size / 100;
                let at = self.random.next() % (size - part).max(1);
                let file = OpenOptions::new().write(true).open(path);
                let file = file.with_context(|| format!("cannot open {}", path.display()))?;
                let mut bytes = Vec::new();
                let mut done = 0;
                while done < part {
                    let length = (part - done).min(BLOCK as u64);
                    fill(&mut self.random, words, text, &mut bytes, length as usize);
                    file.write_all_at(&bytes, at + done)?;
                    done += length;
                }
            } else if self.random.below(100) == 0 {
                write(&mut self.random, words, text, path, *size)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, folder: &Path, kind: Kind, n: usize, size: u64) -> Result<()> {
        let folder = folder.join(kind.name()).join(format!("{:03}", n / IN_A_FOLDER));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(format!("{n:06}"));
        write(&mut self.random, &self.words, is_text(kind, self.files), &path, size)?;
        self.places.push((kind, path, size));
        self.files += 1;
        self.bytes += size;
        Ok(())
    }
}

fn is_text(kind: Kind, n: usize) -> bool {
    match kind {
        Kind::Text => true,
        Kind::Noise => false,
        Kind::Small | Kind::Large => n.is_multiple_of(2),
    }
}

/// A size; each order of magnitude is as frequent as the next.
fn between(random: &mut Random, least: f64, most: f64) -> usize {
    (least.ln() + random.unit() * (most / least).ln()).exp() as usize
}

fn word(random: &mut Random) -> Vec<u8> {
    let letters = 2 + random.below(9);
    let mut word: Vec<u8> = (0..letters).map(|_| *random.pick(b"aaabcdeeeefghiiijklmnnoooprrssttuuvwyz")).collect();
    word.push(if random.permille(100) { b'\n' } else { b' ' });
    word
}

fn write(random: &mut Random, words: &[Vec<u8>], text: bool, path: &Path, size: u64) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut file = BufWriter::new(file);
    let mut bytes = Vec::new();
    let mut left = size;
    while left > 0 {
        let length = left.min(BLOCK as u64);
        fill(random, words, text, &mut bytes, length as usize);
        file.write_all(&bytes)?;
        left -= length;
    }
    file.flush().with_context(|| format!("cannot write {}", path.display()))
}

/// Puts so many bytes there instead of what there was.
fn fill(random: &mut Random, words: &[Vec<u8>], text: bool, bytes: &mut Vec<u8>, length: usize) {
    bytes.clear();
    while bytes.len() < length {
        if text {
            bytes.extend_from_slice(&words[random.skewed(words.len(), 2)]);
        } else {
            bytes.extend_from_slice(&random.next().to_le_bytes());
        }
    }
    bytes.truncate(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All bytes of the files, in the order of their names.
    fn read(tree: &SourceTree) -> Vec<Vec<u8>> {
        tree.places.iter().map(|(_, path, _)| fs::read(path).expect("readable")).collect()
    }

    #[test]
    fn a_seed_gives_the_same_tree_and_little_of_it_changes() {
        let folders = [(), ()].map(|()| tempfile::tempdir().expect("a folder"));
        let mut trees = folders.each_ref().map(|f| SourceTree::make(f.path(), 20 << 20, 5).expect("a tree"));
        assert!(trees[0].bytes.abs_diff(20 << 20) < 1 << 10, "{} bytes", trees[0].bytes);
        let before = read(&trees[0]);
        assert!(before == read(&trees[1]));
        for tree in &mut trees {
            tree.change().expect("changed");
        }
        let after = read(&trees[0]);
        assert!(after == read(&trees[1]));
        let changed: usize =
            before.iter().flatten().zip(after.iter().flatten()).map(|(a, b)| usize::from(a != b)).sum();
        assert!((20_000..2 << 20).contains(&changed), "{changed} bytes changed");
    }
}
