//! Copies of blocks outside the KV cache, as bytes: what is copied back is what was there, bit by bit.

use std::ops::Range;

use super::{BLOCK, Cells, KvCache, KvDtype};
use crate::lanes::InstructionSet;
use crate::shape::Architecture;

/// Raised whenever the layout of a block changes, or the numbers that the kernels compute for the same tokens.
const VERSION: u32 = 1;

impl KvCache {
    /// Names everything beside the weights that the bytes of a block depend on. Copies under one name can be copied into
    /// any cache of that name. The instruction set is part of it: each rounds sums in its own order.
    pub fn format(shape: &Architecture, keeps: KvDtype) -> String {
        let Architecture { layers, kv_heads, head_dim, .. } = shape;
        let set = InstructionSet::best();
        format!(
            "{VERSION} {keeps:?} {BLOCK} {layers} {kv_heads} {head_dim} {set:?} {}",
            env!("CARGO_PKG_VERSION")
        )
    }

    /// Appends the bytes of a block: as many as `block_bytes`, or none if it does not exist.
    pub fn copy_block(&self, block: u32, into: &mut Vec<u8>) {
        let Some(heads) = self.heads_of(block) else { return };
        for cells in self.layers.iter().flat_map(|(keys, values)| [keys, values]) {
            cells.copy(heads.clone(), self.head_dim, into);
        }
    }

    /// Overwrites a block with a copy. `false` if it does not exist, or if the copy has another size.
    pub fn restore_block(&mut self, block: u32, mut copy: &[u8]) -> bool {
        let Some(heads) = self.heads_of(block) else { return false };
        let dim = self.head_dim;
        for cells in self.layers.iter_mut().flat_map(|(keys, values)| [keys, values]) {
            if !cells.restore(heads.clone(), dim, &mut copy) {
                return false;
            }
        }
        copy.is_empty()
    }

    fn heads_of(&self, block: u32) -> Option<Range<usize>> {
        let first = block as usize * self.heads;
        ((block as usize) < self.blocks).then(|| first..first + self.heads)
    }
}

impl Cells {
    fn copy(&self, heads: Range<usize>, dim: usize, into: &mut Vec<u8>) {
        let span = heads.start * BLOCK * dim..heads.end * BLOCK * dim;
        match self {
            Self::Half(cells) => append(cells.get(span).unwrap_or_default(), |cell| cell.to_le_bytes(), into),
            Self::Single(cells) => {
                append(cells.get(span).unwrap_or_default(), |cell| cell.to_le_bytes(), into)
            }
            Self::Eight(eights) => {
                let (numbers, scales) = eights.heads(heads, dim);
                append(numbers, |number| number.to_le_bytes(), into);
                append(scales, |scale| scale.to_le_bytes(), into);
            }
        }
    }

    fn restore(&mut self, heads: Range<usize>, dim: usize, copy: &mut &[u8]) -> bool {
        let span = heads.start * BLOCK * dim..heads.end * BLOCK * dim;
        match self {
            Self::Half(cells) => take(copy, cells.get_mut(span).unwrap_or_default(), u16::from_le_bytes),
            Self::Single(cells) => take(copy, cells.get_mut(span).unwrap_or_default(), f32::from_le_bytes),
            Self::Eight(eights) => {
                let (numbers, scales) = eights.heads_mut(heads, dim);
                take(copy, numbers, i8::from_le_bytes) && take(copy, scales, u16::from_le_bytes)
            }
        }
    }
}

fn append<T: Copy, const N: usize>(cells: &[T], bytes: impl Fn(T) -> [u8; N], into: &mut Vec<u8>) {
    let before = into.len();
    into.resize(before + cells.len() * N, 0);
    let (places, _) = into.get_mut(before..).unwrap_or_default().as_chunks_mut::<N>();
    places.iter_mut().zip(cells).for_each(|(place, cell)| *place = bytes(*cell));
}

/// Takes the values of these cells off the front of a copy; `false` if it is too short.
fn take<T, const N: usize>(copy: &mut &[u8], cells: &mut [T], value: impl Fn([u8; N]) -> T) -> bool {
    let Some((bytes, rest)) = copy.split_at_checked(cells.len() * N) else { return false };
    let (bytes, _) = bytes.as_chunks::<N>();
    cells.iter_mut().zip(bytes).for_each(|(cell, bytes)| *cell = value(*bytes));
    *copy = rest;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::{Pairs, Rope, RopeScaling};

    fn shape() -> Architecture {
        Architecture {
            vocabulary: 8,
            hidden: 8,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 40,
            inner: 8,
            norm_epsilon: 1e-6,
            rope: Rope { theta: 1e4, stretch: RopeScaling::None },
            context: 64,
            is_tied: true,
            norms_heads: false,
            pairs: Pairs::Halves,
            mixture: None,
        }
    }

    /// Fills a block with numbers that differ everywhere.
    fn fill(cache: &mut KvCache, block: u32) {
        for layer in 0..2 {
            for position in 0..BLOCK {
                let at = |index: usize| ((index + 80 * position + 1280 * layer) as f32 * 0.37).sin();
                let keys: Vec<f32> = (0..80).map(at).collect();
                let values: Vec<f32> = (0..80).map(|index| at(index) + 1.0).collect();
                cache.keep(layer, (block, position), &keys, &values).unwrap();
            }
        }
    }

    #[test]
    fn a_block_is_the_same_after_it_was_copied_out_and_back() {
        for keeps in [KvDtype::F16, KvDtype::Q8, KvDtype::F32] {
            let mut cache = KvCache::new(&shape(), keeps, 3);
            fill(&mut cache, 1);
            let mut copy = vec![7];
            cache.copy_block(1, &mut copy);
            let copy = copy.split_off(1);
            assert_eq!(copy.len(), KvCache::block_bytes(&shape(), keeps), "{keeps:?}");
            cache.wipe(&[1]);
            assert!(cache.is_blank());
            assert!(cache.restore_block(2, &copy));
            let mut again = Vec::new();
            cache.copy_block(2, &mut again);
            assert!(again == copy && copy.iter().any(|byte| *byte != 0), "{keeps:?}");
            cache.wipe(&[2]);
            assert!(cache.is_blank(), "only the block was written");
            assert!(!cache.restore_block(3, &copy) && !cache.restore_block(0, &copy[1..]));
            assert!(!cache.restore_block(0, &[copy.as_slice(), &[0]].concat()));
            again.clear();
            cache.copy_block(3, &mut again);
            assert!(again.is_empty());
        }
    }

    #[test]
    fn a_format_is_that_of_the_shape_and_the_numbers() {
        let usual = KvCache::format(&shape(), KvDtype::F16);
        assert_eq!(usual, KvCache::format(&Architecture { vocabulary: 9, ..shape() }, KvDtype::F16));
        for other in [Architecture { layers: 3, ..shape() }, Architecture { head_dim: 42, ..shape() }] {
            assert_ne!(usual, KvCache::format(&other, KvDtype::F16));
        }
        assert_ne!(usual, KvCache::format(&shape(), KvDtype::Q8));
    }
}
