//! Values one behind the other, so that one search goes through all of them.

use memchr::memmem;

/// Values, found by their places.
#[derive(Debug, Default)]
pub(super) struct Joined {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u64>,
}

impl Joined {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    pub(super) fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len() as u64);
    }

    pub(super) fn get(&self, place: usize) -> &[u8] {
        &self.bytes[self.begin(place)..self.ends[place] as usize]
    }

    fn begin(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(0, |before| self.ends[before] as usize)
    }

    /// Shows the places, from one on and in their order, of the values that have this part in them; it is not empty.
    pub(super) fn containing(&self, part: &[u8], from: usize, mut found: impl FnMut(usize)) {
        let (mut place, mut at) = (from, self.begin(from));
        let finder = memmem::Finder::new(part);
        while let Some(hit) = finder.find(&self.bytes[at..]) {
            let hit = at + hit;
            place = self.place(place, hit as u64);
            let end = self.ends[place] as usize;
            if hit + part.len() > end {
                // Across the border of two.
                at = hit + 1;
                continue;
            }
            found(place);
            at = end;
        }
    }

    /// The value in which a byte lies, at this place or behind it: mostly not far behind.
    fn place(&self, from: usize, byte: u64) -> usize {
        let mut step = 1;
        while self.ends.get(from + step).is_some_and(|end| *end <= byte) {
            step *= 2;
        }
        let near = &self.ends[from..self.ends.len().min(from + step + 1)];
        from + near.partition_point(|end| *end <= byte)
    }

    pub(super) fn parts(&self) -> (&[u8], &[u64]) {
        (&self.bytes, &self.ends)
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_finds_what_looking_at_each_finds() {
        let values: Vec<String> = (0..300_u32).map(|n| format!("{}", n * 7919 % 1000)).collect();
        let mut joined = Joined::default();
        values.iter().for_each(|value| joined.push(value.as_bytes()));
        for part in ["1", "9", "13", "99", "787", "1000", "0"] {
            for from in [0, 1, 17, 299] {
                let mut found = Vec::new();
                joined.containing(part.as_bytes(), from, |place| found.push(place));
                let right: Vec<_> = (from..values.len()).filter(|n| values[*n].contains(part)).collect();
                assert_eq!(found, right, "{part} from {from}");
            }
        }
        assert_eq!(joined.get(299), values[299].as_bytes());
    }
}
