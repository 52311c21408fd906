//! Some rows of a block: few as a list, many as bits. Most questions find few rows in most blocks, and to make and to read
//! through bits for all rows takes longer than to find them.

use std::borrow::Cow;

use super::bits::{Bits, ROWS};

/// More rows than this are held as bits.
const MOST_LISTED: usize = if cfg!(all(test, debug_assertions)) { 8 } else { 1024 };

/// A set of rows.
#[derive(Debug, Clone)]
pub(super) enum Set {
    /// In order, each once.
    List(Vec<u16>),
    /// And how many they are: to count them takes as long as to use them.
    Bits(Bits, usize),
}

impl Set {
    /// Of rows in order, each once.
    pub(super) fn of(rows: Vec<u16>) -> Set {
        if rows.len() <= MOST_LISTED {
            return Set::List(rows);
        }
        Set::Bits(Bits::of(&rows), rows.len())
    }

    /// None if there are none.
    pub(super) fn some(bits: Bits) -> Option<Set> {
        let len = bits.len();
        (len > 0).then_some(Set::Bits(bits, len))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Set::List(rows) => rows.len(),
            Set::Bits(_, len) => *len,
        }
    }

    pub(super) fn has(&self, row: usize) -> bool {
        match self {
            Set::List(rows) => rows.binary_search(&(row as u16)).is_ok(),
            Set::Bits(bits, _) => bits.has(row),
        }
    }

    pub(super) fn insert(&mut self, row: usize) {
        match self {
            Set::List(rows) => {
                if let Err(at) = rows.binary_search(&(row as u16)) {
                    rows.insert(at, row as u16);
                }
                if rows.len() > MOST_LISTED {
                    *self = Set::of(std::mem::take(rows));
                }
            }
            Set::Bits(bits, len) => {
                *len += usize::from(!bits.has(row));
                bits.insert(row);
            }
        }
    }

    pub(super) fn remove(&mut self, row: usize) {
        match self {
            Set::List(rows) => {
                if let Ok(at) = rows.binary_search(&(row as u16)) {
                    rows.remove(at);
                }
            }
            Set::Bits(bits, len) => {
                *len -= usize::from(bits.has(row));
                bits.remove(row);
            }
        }
    }

    /// Those on one side of a row, which is not among them.
    pub(super) fn beside(&self, row: usize, before: bool) -> Set {
        match self {
            Set::List(rows) => {
                let (low, high) = rows.split_at(rows.partition_point(|r| usize::from(*r) < row));
                let high = high.strip_prefix(&[row as u16]).unwrap_or(high);
                Set::List(if before { low } else { high }.to_vec())
            }
            Set::Bits(bits, _) => {
                let mut bits = bits.clone();
                if before {
                    bits.keep(&Bits::before(row));
                } else {
                    bits.drop_all(&Bits::before(row + 1));
                }
                let len = bits.len();
                Set::Bits(bits, len)
            }
        }
    }

    /// Shows the rows, first to last.
    pub(super) fn each(&self, f: impl FnMut(usize)) {
        match self {
            Set::List(rows) => rows.iter().map(|r| usize::from(*r)).for_each(f),
            Set::Bits(bits, _) => bits.iter().for_each(f),
        }
    }

    /// Some rows in a direction, `skip` of them passed over.
    pub(super) fn page(&self, descending: bool, skip: usize, limit: usize, out: &mut Vec<usize>) {
        match self {
            Set::List(rows) if descending => {
                out.extend(rows.iter().rev().skip(skip).take(limit).map(|r| usize::from(*r)));
            }
            Set::List(rows) => out.extend(rows.iter().skip(skip).take(limit).map(|r| usize::from(*r))),
            Set::Bits(bits, _) => bits.page(descending, skip, limit, out),
        }
    }

    pub(super) fn add_to(&self, bits: &mut Bits) {
        match self {
            Set::List(rows) => rows.iter().for_each(|r| bits.insert(usize::from(*r))),
            Set::Bits(own, _) => bits.add(own),
        }
    }

    pub(super) fn drop_from(&self, bits: &mut Bits) {
        match self {
            Set::List(rows) => rows.iter().for_each(|r| bits.remove(usize::from(*r))),
            Set::Bits(own, _) => bits.drop_all(own),
        }
    }

    /// The same as bits, for those who ask about one row after the other.
    pub(super) fn bits(&self) -> Cow<'_, Bits> {
        match self {
            Set::List(rows) => Cow::Owned(Bits::of(rows)),
            Set::Bits(bits, _) => Cow::Borrowed(bits),
        }
    }

    /// How many rows both have.
    pub(super) fn common(&self, bits: &Bits) -> usize {
        match self {
            Set::List(rows) => rows.iter().filter(|r| bits.has(usize::from(**r))).count(),
            Set::Bits(own, _) => bits.common(own),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Set::List(rows) => rows.capacity() * 2,
            Set::Bits(..) => ROWS / 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_and_bits_are_the_same_set() {
        let rows: Vec<u16> = vec![1, 5, 6, 64, 100];
        let bits = Bits::of(&rows);
        let shown = |set: &Set| {
            let mut all = Vec::new();
            set.each(|row| all.push(row));
            all
        };
        let mut sets = [Set::List(rows), Set::Bits(bits, 5)];
        for set in &mut sets {
            assert_eq!((set.len(), set.has(6), set.has(7)), (5, true, false));
            assert_eq!(set.bits().iter().collect::<Vec<_>>(), shown(set));
            assert_eq!(shown(&set.beside(6, true)), [1, 5]);
            assert_eq!(shown(&set.beside(6, false)), [64, 100]);
            assert_eq!(shown(&set.beside(7, false)), [64, 100]);
            let page = |descending, skip, limit| {
                let mut out = vec![9];
                set.page(descending, skip, limit, &mut out);
                out
            };
            assert_eq!(page(false, 1, 2), [9, 5, 6]);
            assert_eq!(page(true, 3, 9), [9, 5, 1]);
            set.insert(2);
            set.remove(100);
            assert_eq!(shown(set), [1, 2, 5, 6, 64]);
            assert_eq!(set.common(&Bits::before(6)), 3);
        }
    }
}
