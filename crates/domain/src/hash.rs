//! A fast hasher for maps keyed by our own ids: a few instructions, where the standard hasher defends against
//! hash flooding.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Multiply-and-fold, eight bytes at a time. Ids are random already, so nobody can aim at a bucket; don't use
/// it for text from clients.
#[derive(Debug, Clone, Copy, Default)]
pub struct IdHasher(u64);

/// A map keyed by our own ids.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

impl Hasher for IdHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((word, after)) = rest.split_first_chunk::<8>() {
            self.mix(u64::from_le_bytes(*word));
            rest = after;
        }
        if !rest.is_empty() {
            self.mix(rest.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte)));
        }
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.mix(u64::from(number));
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    /// Lengths and enum discriminants: they are mixed in by the write that follows.
    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.0 = self.0.rotate_left(5) ^ number as u64;
    }

    #[inline]
    fn write_isize(&mut self, number: isize) {
        self.write_usize(number.cast_unsigned());
    }
}

impl IdHasher {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "both halves of the product are used")]
    fn mix(&mut self, word: u64) {
        const ODD: u128 = 0x9E37_79B9_7F4A_7C15;
        // Without the addend, a word equal to the state would zero it.
        let product = u128::from(self.0.rotate_left(23) ^ word ^ 0xD6E8_FEB8_6659_FD93) * ODD;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}
