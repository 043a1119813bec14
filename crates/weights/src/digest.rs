//! Computes a model's identifier, which is part of the prefix cache's keys, from its metadata: independent of
//! the path of its files.
//!
//! It is cheap: the configuration, each tensor's name, dtype, shape and size, and the numbers of the final
//! norm, which any further training changes. The other weights are not read, so that it distinguishes models
//! but proves nothing about their contents.

/// FNV-1a, 128 bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Digest(u128);

const FIRST: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

impl Digest {
    pub(super) const fn new() -> Self {
        Self(FIRST)
    }

    /// Adds bytes with their length, so that differently split lists have different digests.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
    }

    /// Adds many bytes, eight at a time. When called repeatedly, each call but the last has to pass a
    /// multiple of eight bytes.
    pub(super) fn add_many(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.0 = (self.0 ^ u128::from(u64::from_le_bytes(*word))).wrapping_mul(PRIME);
        }
        if !rest.is_empty() {
            self.add(rest);
        }
    }

    pub(super) const fn end(self) -> u128 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_bytes_are_told_apart() {
        let of = |parts: &[&str]| {
            let mut digest = Digest::new();
            parts.iter().for_each(|part| digest.add(part.as_bytes()));
            digest.end()
        };
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ab", ""]));
    }

    #[test]
    fn any_byte_of_many_changes_it_and_pieces_do_not() {
        let of = |pieces: &[&[u8]]| {
            let mut digest = Digest::new();
            pieces.iter().for_each(|piece| digest.add_many(piece));
            digest.end()
        };
        let bytes: Vec<u8> = (0..=26).collect();
        let whole = of(&[&bytes]);
        assert_eq!(of(&[&bytes[..8], &bytes[8..]]), whole);
        assert_ne!(of(&[&bytes[..26]]), whole);
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 128;
            assert_ne!(of(&[&other]), whole, "{at}");
        }
    }
}
