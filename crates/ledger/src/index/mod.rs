//! The query index: what lists, totals and counts are answered from. It lies in memory beside the durable record,
//! follows it commit by commit, and is never the truth: it says which rows, and the record says what is in them.
//!
//! Rows stand in blocks of 65,536 by their ids. A block has a column for each field: numbers of dictionary values
//! (`codes.rs`) or times (`numbers.rs`), each with what finds rows by value. A filter becomes tests of columns
//! (`question.rs`) that are carried out block by block, on sets of bits (`rows.rs`); `page.rs` and `walk.rs` find a page
//! of them in any order. docs/decisions/query-index.md says why it is so.

mod answers;
#[cfg(test)]
mod at_scale;
mod bits;
mod block;
mod checkpoint;
mod codes;
mod dictionary;
mod follow;
mod hot;
mod joined;
mod marks;
mod numbers;
mod page;
mod question;
mod rows;
mod runs;
mod set;
mod sorted;
mod tree;
mod walk;
mod words;

use std::sync::Mutex;

use domain::query::{Field, FieldKind, Read};
use domain::task::{Task, TaskId};
use domain::{Scope, Uuid};

use self::answers::Counted;
use self::block::{BASE, Block};
use self::codes::{Codes, Ranking};
use self::dictionary::Dictionary;
use self::rows::split;
use self::tree::Tree;
use crate::Rev;

pub(crate) use self::answers::Found;
pub(crate) use self::follow::{Follower, Record, Shown};
pub use self::follow::{Progress, Report};
pub(crate) use self::hot::Hot;

/// What a commit did to the record, as far as the index must know.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A task is new or visibly different.
    Task(Task),
    /// A task differs in what nobody asks for: when its executor was heard of last.
    Reported(TaskId),
    /// A task is gone for ever.
    Gone(TaskId),
    /// A tenant is there, at this place in the tree.
    Tenant(Uuid, String),
}

/// Where the values of a field stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is the row's own number.
    Id,
    /// A column of dictionary numbers.
    Code(usize),
    /// A column of times or whole numbers.
    Number(usize),
    /// The record alone has it.
    Elsewhere,
}

/// Text fields that are asked for by single values of very many.
const LOOKED_UP: [&str; 4] = ["resource_id", "resource_name", "policy_id", "executor_id"];
/// The field that all other times lie near to.
const CREATED: &str = "created_at";
const TENANT: &str = "tenant";

/// Rows and the means to find them.
#[derive(Debug)]
pub(crate) struct Index<F: Field> {
    places: Vec<(F, Place)>,
    /// What order a code column keeps.
    rankings: Vec<Ranking>,
    tenant: Option<usize>,
    dictionaries: Vec<Dictionary>,
    tree: Tree,
    blocks: Vec<Option<Box<Block>>>,
    numbers: usize,
    /// Whether everything is put in at once, and in order at the end.
    pub(crate) loading: bool,
    rev: Rev,
    /// Counts the changes of blocks.
    versions: u64,
    counted: Mutex<Counted<F>>,
}

impl<F: Field> Index<F> {
    pub(crate) fn new() -> Index<F> {
        let (mut rankings, mut dictionaries) = (Vec::new(), Vec::new());
        let mut numbers = 1;
        let mut place = |field: F| match field.kind() {
            _ if field == F::ID => Place::Id,
            FieldKind::Uuid if field.name() != TENANT => Place::Elsewhere,
            FieldKind::Time if field.name() == CREATED => Place::Number(BASE),
            FieldKind::Time | FieldKind::Int => {
                numbers += 1;
                Place::Number(numbers - 1)
            }
            kind => {
                rankings.push(match field.name() {
                    TENANT => Ranking::Tree,
                    name if LOOKED_UP.contains(&name) => Ranking::Number,
                    _ => Ranking::None,
                });
                dictionaries.push(Dictionary::new(kind));
                Place::Code(rankings.len() - 1)
            }
        };
        let places: Vec<_> = F::ALL.iter().map(|f| (*f, place(*f))).collect();
        let tenant = rankings.iter().position(|r| *r == Ranking::Tree);
        Index {
            places,
            rankings,
            tenant,
            dictionaries,
            tree: Tree::default(),
            blocks: Vec::new(),
            numbers,
            loading: false,
            rev: Rev(0),
            versions: 0,
            counted: Mutex::default(),
        }
    }

    /// The revision of the record that it shows.
    pub(crate) fn rev(&self) -> Rev {
        self.rev
    }

    pub(crate) fn set_rev(&mut self, rev: Rev) {
        self.rev = rev;
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> u64 {
        self.blocks.iter().flatten().map(|b| b.count as u64).sum()
    }

    fn place(&self, field: F) -> Place {
        self.places.iter().find(|(f, _)| *f == field).map_or(Place::Elsewhere, |(_, place)| *place)
    }

    fn is_ordered(&self, column: usize) -> bool {
        self.rankings[column] != Ranking::None
    }

    /// Puts a row in, or puts it in again as it is now. Of a row that is there, only fields that change are looked at.
    pub(crate) fn put<'a>(&mut self, id: i64, read: impl Fn(F) -> Read<'a>) {
        let Some((number, row)) = split(id) else { return };
        self.versions += 1;
        if !self.change(number, row, &read) {
            self.insert(number, row, &read);
        }
        if let Some(block) = self.blocks[number].as_mut().filter(|_| !self.loading)
            && let Some(column) = block.overdue()
        {
            self.tree.refresh(&self.dictionaries[self.tenant.unwrap_or_default()]);
            block.put_in(column, self.tree.ranks());
        }
    }

    /// Brings a row up to date; false if it is not there.
    fn change<'a>(&mut self, number: usize, row: usize, read: impl Fn(F) -> Read<'a>) -> bool {
        let block = self.blocks.get_mut(number).and_then(Option::as_mut).filter(|block| block.live.has(row));
        let Some(block) = block else { return false };
        block.version = self.versions;
        block.untidy = true;
        for (field, place) in self.places.iter().filter(|(field, _)| field.changes()) {
            match place {
                Place::Code(column) => block.set_code(*column, row, self.dictionaries[*column].learn(read(*field))),
                Place::Number(column) => block.set_number(*column, row, question::shown(read(*field))),
                Place::Id | Place::Elsewhere => {}
            }
        }
        true
    }

    fn insert<'a>(&mut self, number: usize, row: usize, read: impl Fn(F) -> Read<'a>) {
        let mut codes = vec![dictionary::ABSENT; self.dictionaries.len()];
        let mut numbers = vec![numbers::ABSENT; self.numbers];
        for (field, place) in &self.places {
            match place {
                Place::Code(column) => codes[*column] = self.dictionaries[*column].learn(read(*field)),
                Place::Number(column) => numbers[*column] = question::shown(read(*field)),
                Place::Id | Place::Elsewhere => {}
            }
        }
        if number >= self.blocks.len() {
            self.blocks.resize_with(number + 1, || None);
        }
        let (rankings, count) = (&self.rankings, self.numbers);
        let block = self.blocks[number]
            .get_or_insert_with(|| Box::new(Block::new(rankings.iter().map(|r| Codes::new(*r)).collect(), count)));
        block.version = self.versions;
        block.set(row, &codes, &numbers);
    }

    /// Takes a row out.
    pub(crate) fn remove(&mut self, id: i64) {
        let Some((number, row)) = split(id) else { return };
        let Some(slot) = self.blocks.get_mut(number) else { return };
        if let Some(block) = slot {
            self.versions += 1;
            block.version = self.versions;
            block.remove(row);
            // The last block is going to be filled.
            if block.count == 0 && number + 1 < self.blocks.len() {
                self.blocks[number] = None;
            }
        }
    }

    /// Tells where a tenant stands.
    pub(crate) fn put_tenant(&mut self, tenant: Uuid, locator: String) {
        if let Some(column) = self.tenant {
            self.dictionaries[column].learn(Read::One(domain::query::Cell::Uuid(tenant)));
        }
        self.tree.put(tenant, locator);
    }

    /// To be called when all changes of a revision are in, before anybody asks.
    pub(crate) fn settle(&mut self) {
        if let Some(column) = self.tenant {
            self.tree.refresh(&self.dictionaries[column]);
        }
    }

    /// Puts something that lies loose in order, in a block that has not changed since a version; false if there is
    /// nothing to do.
    pub(crate) fn tidy(&mut self, since: u64) -> bool {
        self.settle();
        let quiet = self.blocks.iter_mut().flatten().filter(|b| b.untidy && b.version <= since);
        let ranks = self.tree.ranks();
        quiet.into_iter().any(|block| block.tidy(ranks))
    }

    /// Counts up with each change.
    pub(crate) fn version(&self) -> u64 {
        self.versions
    }

    fn part(&self, scope: &Scope) -> Option<(usize, std::ops::Range<u32>)> {
        let column = self.tenant?;
        Some((column, self.tree.part(scope, &self.dictionaries[column])?))
    }

    fn code(&self, id: i64, column: usize) -> u32 {
        let block = split(id).and_then(|(number, row)| Some((self.blocks.get(number)?.as_ref()?, row)));
        block.map_or(dictionary::ABSENT, |(block, row)| block.codes[column].get(row))
    }

    fn number(&self, id: i64, column: usize) -> i64 {
        let block = split(id).and_then(|(number, row)| Some((self.blocks.get(number)?.as_ref()?, row)));
        block.map_or(numbers::ABSENT, |(block, row)| block.number(column, row))
    }

    /// The first field in which a row differs from what the record shows, if there is one; "id" when the row is not there.
    pub(crate) fn difference<'a>(&self, id: i64, read: impl Fn(F) -> Read<'a>) -> Option<&'static str> {
        let Some((number, row)) = split(id) else { return Some(F::ID.name()) };
        let block = self.blocks.get(number).and_then(Option::as_ref).filter(|b| b.live.has(row));
        let Some(block) = block else { return Some(F::ID.name()) };
        let differs = |(field, place): &&(F, Place)| match place {
            Place::Code(column) => {
                self.dictionaries[*column].with(block.codes[*column].get(row), |shown| shown != read(*field))
            }
            Place::Number(column) => block.number(*column, row) != question::shown(read(*field)),
            Place::Id | Place::Elsewhere => false,
        };
        self.places.iter().find(differs).map(|(field, _)| field.name())
    }

    /// The rows behind one up to another.
    pub(crate) fn between(&self, after: i64, until: i64) -> Vec<i64> {
        let ids = self.blocks.iter().enumerate().filter_map(|(number, block)| Some((number, block.as_ref()?)));
        let near = ids.filter(|(number, _)| rows::id(number + 1, 0) > after && rows::id(*number, 0) <= until);
        near.flat_map(|(number, block)| block.live.iter().map(move |row| rows::id(number, row)))
            .filter(|id| (after + 1..=until).contains(id))
            .collect()
    }

    /// Bytes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().flatten().map(|b| b.bytes()).sum();
        let dictionaries: usize = self.dictionaries.iter().map(Dictionary::bytes).sum();
        let counted = self.counted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).bytes();
        blocks + dictionaries + self.tree.bytes() + counted
    }

    /// Itself, once through a checkpoint.
    #[cfg(test)]
    pub(crate) fn stored_and_loaded(&self, path: &std::path::Path) -> Index<F> {
        checkpoint::save(path, "test", self.rev, || self).expect("it can be stored");
        checkpoint::load(path, "test").expect("it is whole").expect("it is there")
    }
}
