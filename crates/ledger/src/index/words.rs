//! Sets of bits, word by word: what most questions spend their time on. Each loop is compiled a second time for processors that
//! count bits and take four words at a time, and the one that fits is chosen when the program runs: it shall start on every
//! processor, and these loops take a third to two thirds of the time on those of the last ten years.
//!
//! They are loops and not chains of iterators, because closures in them are not always compiled as part of the function.

use multiversion::multiversion;

/// How many bits are set.
#[multiversion(targets("x86_64+avx2+bmi1+popcnt"))]
pub(super) fn count(a: &[u64]) -> usize {
    let mut count = 0;
    for a in a {
        count += a.count_ones() as usize;
    }
    count
}

/// How many are set in both.
#[multiversion(targets("x86_64+avx2+bmi1+popcnt"))]
pub(super) fn common(a: &[u64], b: &[u64]) -> usize {
    let mut count = 0;
    for (a, b) in a.iter().zip(b) {
        count += (a & b).count_ones() as usize;
    }
    count
}

/// How many are set in all three.
#[multiversion(targets("x86_64+avx2+bmi1+popcnt"))]
pub(super) fn common_of_three(a: &[u64], b: &[u64], c: &[u64]) -> usize {
    let mut count = 0;
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        count += (a & b & c).count_ones() as usize;
    }
    count
}

/// Adds the places, among the bits set in `all` and counted from `first`, of those that are wanted; `before[n]` are set before
/// word `n`.
#[multiversion(targets("x86_64+avx2+bmi1+popcnt"))]
pub(super) fn places(all: &[u64], wanted: &[u64], before: &[u16], found: &mut [u64], first: usize) {
    for ((all, wanted), before) in all.iter().zip(wanted).zip(before) {
        let mut hits = all & wanted;
        while hits != 0 {
            let below = all & ((hits & hits.wrapping_neg()) - 1);
            let place = first + usize::from(*before) + below.count_ones() as usize;
            found[place / 64] |= 1 << (place % 64);
            hits &= hits - 1;
        }
    }
}
