//! The values that occur in one field, each with a number. A row holds the number; searching text looks at each value
//! once, however many rows have it.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use domain::query::{Cell, Clause, Field, FieldKind, Pattern, Read, Test, Value, fold};
use domain::{Text, Uuid};
use hashbrown::{DefaultHashBuilder, HashTable};

use super::joined::Joined;

/// The number that stands for "no value".
pub(super) const ABSENT: u32 = 0;

/// How many searches are remembered.
const REMEMBERED: usize = 64;

/// How many values were looked at, and those that were found.
type Search = (u32, Arc<[u32]>);

/// Values and their numbers, which count from 1 in the order in which they came and are never given to another value.
#[derive(Debug)]
pub(super) struct Dictionary {
    kind: FieldKind,
    values: Joined,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The folded forms of texts that differ from them, and the numbers of these texts.
    folded: Joined,
    of_folded: Vec<u32>,
    /// The numbers of texts that are uuids with capitals in them. Others are found by the letters of the uuid.
    capitals: HashMap<Uuid, Vec<u32>>,
    /// What was searched for.
    searches: Mutex<HashMap<Pattern, Search>>,
    /// The place of each value in the order of values, of as many as there were.
    places: Mutex<Arc<[u32]>>,
}

impl Dictionary {
    pub(super) fn new(kind: FieldKind) -> Dictionary {
        Dictionary {
            kind,
            values: Joined::default(),
            numbers: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            folded: Joined::default(),
            of_folded: Vec::new(),
            capitals: HashMap::new(),
            searches: Mutex::default(),
            places: Mutex::new(Arc::new([])),
        }
    }

    /// The largest number in use.
    pub(super) fn last(&self) -> u32 {
        match self.kind {
            FieldKind::Enum(names) => names.len() as u32,
            FieldKind::Bool => 2,
            _ => self.values.len() as u32,
        }
    }

    /// The number of a value, which is learnt if it is new.
    pub(super) fn learn(&mut self, read: Read<'_>) -> u32 {
        let mut buffer = Vec::new();
        let bytes = match self.encode(read, &mut buffer) {
            Encoded::Number(number) => return number,
            Encoded::Bytes(bytes) => bytes,
        };
        if let Some(number) = self.find(bytes) {
            return number;
        }
        let number = self.values.len() as u32 + 1;
        let hash = self.hasher.hash_one(bytes);
        self.values.push(bytes);
        if self.kind == FieldKind::Text {
            let text = text(bytes);
            let folded = fold(text);
            if folded != text {
                self.folded.push(folded.as_bytes());
                self.of_folded.push(number);
            }
            if let Some(id) = uuid_in_capitals(text) {
                self.capitals.entry(id).or_default().push(number);
            }
        }
        let Dictionary { values, hasher, .. } = self;
        self.numbers.insert_unique(hash, number, |n| hasher.hash_one(values.get(*n as usize - 1)));
        number
    }

    /// The number of a value, if it ever occurred.
    pub(super) fn number(&self, cell: Cell<'_>) -> Option<u32> {
        let mut buffer = Vec::new();
        match self.encode(Read::One(cell), &mut buffer) {
            Encoded::Number(number) => Some(number),
            Encoded::Bytes(bytes) => self.find(bytes),
        }
    }

    fn find(&self, bytes: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(bytes);
        self.numbers.find(hash, |n| self.raw(*n) == bytes).copied()
    }

    fn raw(&self, number: u32) -> &[u8] {
        self.values.get(number as usize - 1)
    }

    fn encode<'b>(&self, read: Read<'b>, buffer: &'b mut Vec<u8>) -> Encoded<'b> {
        match read {
            Read::Absent => Encoded::Number(ABSENT),
            Read::One(Cell::Enum(n)) => Encoded::Number(n as u32 + 1),
            Read::One(Cell::Bool(b)) => Encoded::Number(u32::from(b) + 1),
            Read::One(Cell::Text(t)) => Encoded::Bytes(t.as_bytes()),
            Read::One(Cell::Uuid(u)) => {
                buffer.extend_from_slice(u.as_bytes());
                Encoded::Bytes(buffer)
            }
            // These are held as they are, never here.
            Read::One(Cell::Int(_) | Cell::Time(_)) => Encoded::Number(ABSENT),
            Read::Many(texts) => {
                for text in texts {
                    buffer.extend_from_slice(&(text.len() as u32).to_be_bytes());
                    buffer.extend_from_slice(text.as_bytes());
                }
                Encoded::Bytes(buffer)
            }
        }
    }

    /// Shows a value.
    pub(super) fn with<T>(&self, number: u32, f: impl FnOnce(Read<'_>) -> T) -> T {
        if number == ABSENT {
            return f(Read::Absent);
        }
        let n = i64::from(number) - 1;
        match self.kind {
            FieldKind::Enum(_) => f(Read::One(Cell::Enum(n))),
            FieldKind::Bool => f(Read::One(Cell::Bool(n == 1))),
            FieldKind::Texts => f(Read::Many(&texts(self.raw(number)))),
            FieldKind::Uuid => f(Read::One(Cell::Uuid(Uuid::from_slice(self.raw(number)).unwrap_or_default()))),
            FieldKind::Text | FieldKind::Int | FieldKind::Time => f(Read::One(Cell::Text(text(self.raw(number))))),
        }
    }

    /// A value, as questions name it.
    pub(super) fn value(&self, number: u32) -> Option<Value> {
        self.with(number, |read| read.single().map(|c| c.to_value()))
    }

    /// What values are sorted by, absent last: their first bytes, and the rest for those that begin alike. Numbers of the same
    /// are sorted by themselves.
    pub(super) fn sorted_by(&self, number: u32) -> (bool, u64, &[u8]) {
        match self.kind {
            _ if number == ABSENT => (true, 0, &[]),
            FieldKind::Text | FieldKind::Uuid => {
                let raw = self.raw(number);
                let mut first = [0; 8];
                let len = raw.len().min(first.len());
                first[..len].copy_from_slice(&raw[..len]);
                (false, u64::from_be_bytes(first), raw)
            }
            _ => (false, 0, &[]),
        }
    }

    /// The place of each number in the order of values; absent last.
    pub(super) fn places(&self) -> Arc<[u32]> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let count = self.last() as usize;
        if places.len() != count + 1 {
            let mut order: Vec<u32> = (1..=self.last()).collect();
            if matches!(self.kind, FieldKind::Text | FieldKind::Uuid) {
                order.sort_unstable_by(|a, b| self.raw(*a).cmp(self.raw(*b)));
            }
            let mut of = vec![u32::MAX; count + 1];
            for (place, number) in (0..).zip(order) {
                of[number as usize] = place;
            }
            *places = of.into();
        }
        places.clone()
    }

    /// The numbers of the values that pass.
    pub(super) fn matching<F: Field>(&self, clause: &Clause<F>) -> Numbers {
        match clause.test() {
            Test::Absent => return Numbers::of(vec![ABSENT]),
            Test::AnyOf(patterns) if self.kind == FieldKind::Text => return self.any_of(patterns),
            Test::NoneOf(patterns) if self.kind == FieldKind::Text => {
                let none = self.any_of(patterns);
                return Numbers::of((1..=self.last()).filter(|n| !none.has(*n)).collect());
            }
            Test::AnyOf(patterns) if self.kind == FieldKind::Uuid => {
                let is = |p: &Pattern| match p {
                    Pattern::Is(value) => self.number(value.cell()),
                    _ => None,
                };
                return Numbers::of(patterns.iter().filter_map(is).collect());
            }
            _ => {}
        }
        let passes = |n: &u32| self.with(*n, |read| clause.admits(read));
        Numbers::of((1..=self.last()).filter(passes).collect())
    }

    fn any_of(&self, patterns: &[Pattern]) -> Numbers {
        let mut all = Vec::new();
        for pattern in patterns {
            match pattern {
                Pattern::Is(value) => all.extend(self.number(value.cell())),
                Pattern::IsUuid(id) => all.extend(self.written(*id)),
                searched => all.extend_from_slice(&self.search(searched)),
            }
        }
        Numbers::of(all)
    }

    /// The numbers of the texts that are this uuid.
    pub(super) fn written(&self, id: Uuid) -> impl Iterator<Item = u32> + '_ {
        let mut buffer = Uuid::encode_buffer();
        let plain = self.find(id.hyphenated().encode_lower(&mut buffer).as_bytes());
        plain.into_iter().chain(self.capitals.get(&id).into_iter().flatten().copied())
    }

    /// The numbers of the texts in which a pattern is found. What was found before is remembered: only texts that came
    /// since are looked at.
    fn search(&self, pattern: &Pattern) -> Arc<[u32]> {
        let mut searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        let (seen, before) = searches.get(pattern).cloned().unwrap_or_default();
        if seen == self.last() {
            return before;
        }
        let mut found = before.to_vec();
        self.look(pattern, seen, &mut found);
        let found: Arc<[u32]> = found.into();
        if searches.len() >= REMEMBERED {
            searches.clear();
        }
        searches.insert(pattern.clone(), (self.last(), found.clone()));
        found
    }

    /// Looks at the values behind `seen`.
    fn look(&self, pattern: &Pattern, seen: u32, found: &mut Vec<u32>) {
        let part = match pattern {
            Pattern::Contains(part) | Pattern::Same(part) => part,
            Pattern::StartsWith(part) | Pattern::EndsWith(part) => part,
            // These are found without looking at others.
            Pattern::Is(_) | Pattern::IsUuid(_) => return,
        };
        // Of values that have it somewhere.
        let holds = |value: &[u8]| match pattern {
            Pattern::StartsWith(_) => value.starts_with(part.as_bytes()),
            Pattern::EndsWith(_) => value.ends_with(part.as_bytes()),
            Pattern::Same(_) => value == part.as_bytes(),
            _ => true,
        };
        if part.is_empty() && matches!(pattern, Pattern::Same(_)) {
            return;
        }
        if part.is_empty() {
            found.extend(seen + 1..=self.last());
            return;
        }
        let mut folded = self.of_folded.partition_point(|n| *n <= seen);
        let behind = folded;
        self.values.containing(part.as_bytes(), seen as usize, |place| {
            let number = place as u32 + 1;
            while self.of_folded.get(folded).is_some_and(|n| *n < number) {
                folded += 1;
            }
            if self.of_folded.get(folded) != Some(&number) && holds(self.raw(number)) {
                found.push(number);
            }
        });
        self.folded.containing(part.as_bytes(), behind, |place| {
            if holds(self.folded.get(place)) {
                found.push(self.of_folded[place]);
            }
        });
    }

    /// Bytes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let folded = self.folded.bytes() + self.of_folded.capacity() * 4;
        self.values.bytes() + self.numbers.capacity() * 6 + folded + self.capitals.capacity() * 48
    }

    /// The values as they are written to a checkpoint.
    pub(super) fn parts(&self) -> (&[u8], &[u64]) {
        self.values.parts()
    }

    /// A dictionary from those parts; none if they do not fit together.
    pub(super) fn from_parts(kind: FieldKind, bytes: &[u8], ends: &[u64]) -> Option<Dictionary> {
        let mut dictionary = Dictionary::new(kind);
        let mut begin = 0;
        dictionary.values.reserve(bytes.len());
        for (number, end) in (1..).zip(ends) {
            let end = usize::try_from(*end).ok()?;
            let value = bytes.get(begin..end)?;
            begin = end;
            let known = match kind {
                FieldKind::Text => dictionary.learn(Read::One(Cell::Text(std::str::from_utf8(value).ok()?))),
                FieldKind::Uuid => dictionary.learn(Read::One(Cell::Uuid(Uuid::from_slice(value).ok()?))),
                FieldKind::Texts => dictionary.learn(Read::Many(&texts(value))),
                _ => return None,
            };
            if known != number {
                return None;
            }
        }
        (begin == bytes.len()).then_some(dictionary)
    }
}

enum Encoded<'a> {
    Number(u32),
    Bytes(&'a [u8]),
}

/// The uuid that a text is, if it is one as uuids are written but for its letters' case.
fn uuid_in_capitals(text: &str) -> Option<Uuid> {
    // With this length there are hyphens.
    let written = text.len() == 36 && text.bytes().any(|b| b.is_ascii_uppercase());
    written.then(|| Uuid::try_parse(text).ok()).flatten()
}

/// What was text when it was learnt.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn texts(mut bytes: &[u8]) -> Vec<Text> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = (u32::from_be_bytes(*length) as usize).min(rest.len());
        texts.push(text(&rest[..length]).into());
        bytes = &rest[length..];
    }
    texts
}

/// A set of numbers.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    /// In order, each once.
    list: Vec<u32>,
    bits: Vec<u64>,
}

impl Numbers {
    pub(super) fn of(mut list: Vec<u32>) -> Numbers {
        list.sort_unstable();
        list.dedup();
        let mut bits = vec![0; list.last().map_or(0, |last| *last as usize / 64 + 1)];
        for n in &list {
            bits[*n as usize / 64] |= 1 << (n % 64);
        }
        Numbers { list, bits }
    }

    /// Only this one.
    pub(super) fn only(number: u32) -> Numbers {
        Numbers::of(vec![number])
    }

    pub(super) fn has(&self, number: u32) -> bool {
        self.bits.get(number as usize / 64).is_some_and(|w| w >> (number % 64) & 1 == 1)
    }

    /// The words in which up to so many times 64 numbers stand as bits; those behind the last are not there.
    pub(super) fn words(&self, from: usize, len: usize) -> &[u64] {
        let end = self.bits.len().min(from + len);
        &self.bits[from.min(end)..end]
    }

    pub(super) fn list(&self) -> &[u32] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use domain::query::TaskField;

    use super::*;

    #[test]
    fn a_uuid_is_found_in_any_letter_case_and_as_nothing_else() {
        let id = Uuid::from_u128(0xabcd_ef00_1122_3344_5566_7788_99aa_bbcc);
        let (lower, simple) = (id.to_string(), id.simple().to_string());
        let (upper, mixed) = (lower.to_uppercase(), lower.replacen('a', "A", 1));
        let other = Uuid::from_u128(7).to_string();
        let mut dictionary = Dictionary::new(FieldKind::Text);
        let mut found = |texts: &[&str]| {
            texts.iter().for_each(|text| {
                dictionary.learn(Read::One(Cell::Text(text)));
            });
            let ids = [id, Uuid::from_u128(9)].map(Pattern::IsUuid).into();
            let clause = Clause::new(TaskField::ResourceId, Test::AnyOf(ids)).expect("a clause");
            dictionary.matching(&clause).list().to_vec()
        };
        assert_eq!(found(&[&other, &simple, &format!("{{{lower}}}")]), Vec::<u32>::new());
        assert_eq!(found(&[&upper]), [4]);
        assert_eq!(found(&[&other.to_uppercase(), &lower, &mixed]), [4, 5, 6]);
    }
}
