//! Remembers what was read of a disk a moment ago: readers of file systems ask for a few bytes at a time.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    io,
    rc::Rc,
};

use super::Disk;

/// What is read at a time.
const BLOCK: u64 = 64 << 10;

/// So many blocks are remembered: a few mebibytes.
const BLOCKS: usize = 128;

/// A disk with a memory.
pub(super) struct Cached {
    disk: Rc<dyn Disk>,
    known: RefCell<Known>,
}

#[derive(Default)]
struct Known {
    blocks: HashMap<u64, Rc<Vec<u8>>>,
    /// In the order in which they came.
    order: VecDeque<u64>,
}

impl Cached {
    pub(super) fn new(disk: Rc<dyn Disk>) -> Self {
        Self { disk, known: RefCell::default() }
    }

    fn block(&self, number: u64) -> io::Result<Rc<Vec<u8>>> {
        if let Some(block) = self.known.borrow().blocks.get(&number) {
            return Ok(Rc::clone(block));
        }
        let start = number * BLOCK;
        let length = BLOCK.min(self.disk.size().saturating_sub(start));
        let mut data = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        let mut read = 0;
        while read < data.len() {
            match self.disk.read_at(&mut data[read..], start + read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        data.truncate(read);
        let block = Rc::new(data);
        let mut known = self.known.borrow_mut();
        known.blocks.insert(number, Rc::clone(&block));
        known.order.push_back(number);
        if known.order.len() > BLOCKS
            && let Some(oldest) = known.order.pop_front()
        {
            known.blocks.remove(&oldest);
        }
        Ok(block)
    }
}

impl Disk for Cached {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if buffer.is_empty() || offset >= self.size() {
            return Ok(0);
        }
        let block = self.block(offset / BLOCK)?;
        let from = usize::try_from(offset % BLOCK).map_err(io::Error::other)?;
        let there = block.get(from..).unwrap_or_default();
        let read = there.len().min(buffer.len());
        buffer[..read].copy_from_slice(&there[..read]);
        Ok(read)
    }
}
