//! Load on a server that may die at any time, and the book in which stands what it has acknowledged: who writes, what was
//! answered, what may therefore be found afterwards, and whether lists and totals say the same as reading task by task.
//!
//! Nothing here knows how the server stores anything. What a task may look like after a crash follows from the rules of
//! the task machine alone, and what a list must answer from `Filter::matches` and `Order::compare`.

mod book;
mod calls;
mod oracle;
mod shape;
mod verify;
mod writers;

pub use book::{Book, Known};
pub use calls::{Answer, Calls};
pub use oracle::{Asker, Oracle, Owners, Question};
pub use shape::{Acknowledged, Act, Said, Shape, may_become};
pub use verify::{Checked, Look, verify};
pub use writers::{Round, Worker, write_until};

/// Random numbers that are the same for the same seed: SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From this seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Another generator, for somebody who draws beside this one.
    #[must_use]
    pub fn split(&mut self) -> Random {
        Random(self.draw())
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to but without `n`; 0 where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let product = u128::from(self.draw()) * n as u128;
        usize::try_from(product >> 64).expect("it is less than n")
    }

    /// True so often out of a hundred.
    pub fn percent(&mut self, n: usize) -> bool {
        self.below(100) < n
    }

    /// One of these.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A uuid.
    pub fn uuid(&mut self) -> domain::Uuid {
        domain::Uuid::from_u64_pair((self.draw() & !0xf000) | 0x4000, (self.draw() >> 2) | (1 << 63))
    }
}
