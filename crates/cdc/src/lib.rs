//! The rolling hash that cuts files into blobs, with the interface that rustic_core knows as `rustic_cdc`.
//!
//! restic's format cuts a file where the hash of the last 64 bytes ends in so many zero bits. Bytes are the coefficients of a
//! polynomial over GF(2), first byte first, and the hash is the remainder after division by the repository's own irreducible
//! polynomial (restic's documentation "References / Repository format / Chunker polynomial", Rabin 1981). Hashes have to be the
//! same to the bit as restic's, or nothing that either stored would be found again by the other.
//!
//! The crate of the registry works its two tables out for every file, which takes 0.09 ms, longer than a small file takes to
//! read, hash and encrypt. Here they are worked out once for a polynomial, and a byte costs a fifth less
//! (docs/decisions/backup-speed.md). Only what rustic_core calls is here.

use std::sync::{Mutex, PoisonError};

/// Polynomials over GF(2): bit `n` is the coefficient of `x^n`.
pub type Polynom64 = u64;

/// Arithmetic of polynomials over GF(2).
pub trait Polynom {
    /// The highest power with a coefficient that is not zero; -1 for the zero polynomial.
    fn degree(&self) -> i32;

    /// The remainder after division by `m`, which must not be zero.
    #[must_use]
    fn modulo(&self, m: &Self) -> Self;
}

impl Polynom for Polynom64 {
    fn degree(&self) -> i32 {
        63 - self.leading_zeros().cast_signed()
    }

    fn modulo(&self, m: &Self) -> Self {
        debug_assert_ne!(*m, 0);
        let mut rest = *self;
        while rest != 0 && rest.leading_zeros() <= m.leading_zeros() {
            rest ^= m << (m.leading_zeros() - rest.leading_zeros());
        }
        rest
    }
}

/// A hash of the last bytes, carried on from byte to byte.
pub trait RollingHash64 {
    /// Forgets all bytes, then takes in as many as the window holds but one, or all that there are. Returns how many.
    fn reset_and_prefill_window<I: Iterator<Item = u8>>(&mut self, bytes: &mut I) -> usize;

    /// Takes in a byte; the one that came as many bytes ago as the window is long drops out.
    fn slide(&mut self, byte: u8);
}

/// Bytes in the window: restic's, and the only number that rustic_core asks for.
const WINDOW: usize = 64;

/// Rabin's fingerprint of the last 64 bytes.
#[derive(Debug, Clone)]
pub struct Rabin64 {
    /// The hash as it is now.
    pub hash: Polynom64,
    /// The last bytes, the oldest at `next % WINDOW`.
    window: [u8; WINDOW],
    /// Where the next byte goes, counted on and on.
    next: usize,
    /// How far the hash is shifted down for its eight highest bits.
    shift: u32,
    /// What a byte that drops out has come to be: `byte * x^(8 * WINDOW)`, reduced.
    out: [Polynom64; 256],
    /// What brings a hash that was shifted up by a byte back below the polynomial's degree, by the bits that stand above it.
    reduce: [Polynom64; 256],
}

impl Rabin64 {
    /// A hash of nothing, for the polynomial of a repository.
    ///
    /// # Panics
    ///
    /// With another window than of 2^6 bytes, or a polynomial whose degree is not 16 to 56: neither is in restic's format.
    #[must_use]
    pub fn new_with_polynom(window_size_nb_bits: u32, polynom: &Polynom64) -> Self {
        /// The last polynomial asked for: a process works on one repository, or on two when it copies.
        static LAST: Mutex<Option<(Polynom64, Rabin64)>> = Mutex::new(None);

        assert_eq!(1 << window_size_nb_bits, WINDOW, "the window has 64 bytes");
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((known, fresh)) if known == polynom => fresh.clone(),
            _ => {
                let fresh = Self::work_out(*polynom);
                *last = Some((*polynom, fresh.clone()));
                fresh
            }
        }
    }

    fn work_out(polynom: Polynom64) -> Self {
        let degree = 63 - polynom.leading_zeros();
        assert!((16..=56).contains(&degree), "a polynomial of degree {degree} is not one of restic's format");
        let mut fresh =
            Self { hash: 0, window: [0; WINDOW], next: 0, shift: degree - 8, out: [0; 256], reduce: [0; 256] };
        for (byte, (out, reduce)) in (0..).zip(fresh.out.iter_mut().zip(&mut fresh.reduce)) {
            *out = (0..WINDOW).fold(byte, |hash, _| (hash << 8).modulo(&polynom));
            let above = byte << degree;
            *reduce = above.modulo(&polynom) ^ above;
        }
        fresh
    }
}

impl RollingHash64 for Rabin64 {
    fn reset_and_prefill_window<I: Iterator<Item = u8>>(&mut self, bytes: &mut I) -> usize {
        self.hash = 0;
        self.window = [0; WINDOW];
        bytes.take(WINDOW - 1).map(|byte| self.slide(byte)).count()
    }

    #[inline]
    fn slide(&mut self, byte: u8) {
        let place = &mut self.window[self.next % WINDOW];
        let oldest = std::mem::replace(place, byte);
        self.next = self.next.wrapping_add(1);
        // Shifted first and reduced with the byte that drops out in one go: everything here is a sum over GF(2), so the order
        // is free, and only one table is looked into by the hash before.
        let above = (self.hash >> self.shift) as u8;
        self.hash =
            (self.hash << 8 | u64::from(byte)) ^ self.out[usize::from(oldest)] ^ self.reduce[usize::from(above)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Irreducible and of degree 53: the one that restic's own tests use.
    const POLYNOM: Polynom64 = 0x003D_A335_8B4D_C173;

    /// The definition: all bytes one polynomial, reduced.
    fn remainder(bytes: &[u8], polynom: Polynom64) -> Polynom64 {
        bytes.iter().fold(0, |hash, byte| ((hash << 8) | u64::from(*byte)).modulo(&polynom))
    }

    #[test]
    fn arithmetic() {
        assert_eq!([0_u64, 1, 7, 8, 1 << 63].map(|p| p.degree()), [-1, 0, 2, 3, 63]);
        assert_eq!([7_u64, 8, 16, 19].map(|p| p.modulo(&3)), [1, 1, 1, 1]);
        assert_eq!([7_u64, 8, 16, 19].map(|p| p.modulo(&4)), [3, 0, 0, 3]);
    }

    #[test]
    #[should_panic(expected = "64 bytes")]
    fn another_window_is_refused() {
        let _ = Rabin64::new_with_polynom(5, &POLYNOM);
    }

    proptest! {
        #[test]
        fn the_hash_is_that_of_the_last_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            again in prop::collection::vec(any::<u8>(), 0..400),
            low in any::<u64>(),
            degree in 16_u32..=56,
        ) {
            let polynom = (low & ((1 << degree) - 1)) | 1 << degree;
            let mut hash = Rabin64::new_with_polynom(6, &polynom);
            for (n, byte) in bytes.iter().enumerate() {
                hash.slide(*byte);
                prop_assert_eq!(hash.hash, remainder(&bytes[(n + 1).saturating_sub(WINDOW)..=n], polynom));
            }

            // Another file with the same one, and another with a fresh one.
            for mut hash in [hash, Rabin64::new_with_polynom(6, &polynom)] {
                let mut rest = again.iter().copied();
                let taken = hash.reset_and_prefill_window(&mut rest);
                prop_assert_eq!(taken, again.len().min(WINDOW - 1));
                prop_assert_eq!(hash.hash, remainder(&again[..taken], polynom));
                for (n, byte) in again.iter().enumerate().skip(taken) {
                    hash.slide(*byte);
                    prop_assert_eq!(hash.hash, remainder(&again[(n + 1).saturating_sub(WINDOW)..=n], polynom));
                }
            }
        }
    }
}
