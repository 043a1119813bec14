//! The paged KV cache: keys and values of every layer, in blocks of a fixed number of tokens, so that
//! sequences of any length share the memory.

mod copies;
mod q8;

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use self::q8::Eights;
use crate::error::KernelError;
use crate::lanes::Lanes;
use crate::quantised::Q8Block;
use crate::shape::Architecture;

/// Tokens in a block.
pub const BLOCK: usize = 16;

/// The dtype of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvDtype {
    F16,
    /// 8-bit integers with a scale for each 32 values of a head: about half the size of `Half`.
    Q8,
    /// For comparisons: twice the size of `Half`.
    F32,
}

#[derive(Debug)]
enum Cells {
    /// The bits of f16 values: zeroed memory of an integer type is allocated without being written.
    Half(Vec<u16>),
    Single(Vec<f32>),
    Eight(Eights),
}

/// A KV cache of a number of blocks. Which sequence has which block is tracked by `BlockAllocator`.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<(Cells, Cells)>,
    heads: usize,
    head_dim: usize,
    blocks: usize,
    /// Buffers of the step in progress.
    pub(crate) scratch: Scratch,
}

/// The buffers of a step. They are reused, because allocating this much memory takes as long as filling it.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub normed: Vec<f32>,
    pub qkv: Vec<f32>,
    pub answers: Vec<f32>,
    pub projected: Vec<f32>,
    pub up: Vec<f32>,
    pub inner: Vec<f32>,
    pub eights: Vec<Q8Block>,
}

impl KvDtype {
    /// The bytes that one head takes for one token, keys or values.
    const fn head_bytes(self, head_dim: usize) -> usize {
        match self {
            Self::F16 => 2 * head_dim,
            Self::F32 => 4 * head_dim,
            Self::Q8 => q8::bytes(head_dim),
        }
    }
}

impl Cells {
    /// Allocates this many head-blocks.
    fn new(keeps: KvDtype, heads: usize, dim: usize) -> Self {
        let count = heads * BLOCK * dim;
        match keeps {
            KvDtype::F16 => Self::Half(vec![0; count]),
            KvDtype::F32 => Self::Single(vec![0.0; count]),
            KvDtype::Q8 => Self::Eight(Eights::new(heads, dim)),
        }
    }

    /// Stores a head's vector of one token: keys as a column, values as a row.
    fn keep(&mut self, side: Side, head: usize, position: usize, values: &[f32]) {
        let dim = values.len();
        let at = head * BLOCK * dim;
        match (self, side) {
            (Self::Half(cells), Side::Keys) => {
                let cells = cells.iter_mut().skip(at + position).step_by(BLOCK);
                cells.zip(values).for_each(|(cell, value)| *cell = f16::from_f32(*value).to_bits());
            }
            (Self::Half(cells), Side::Values) => {
                let at = at + position * dim;
                if let Some(cells) = cells.get_mut(at..at + dim) {
                    cells.reinterpret_cast_mut::<f16>().convert_from_f32_slice(values);
                }
            }
            (Self::Single(cells), Side::Keys) => {
                let cells = cells.iter_mut().skip(at + position).step_by(BLOCK);
                cells.zip(values).for_each(|(cell, value)| *cell = *value);
            }
            (Self::Single(cells), Side::Values) => {
                let at = at + position * dim;
                if let Some(cells) = cells.get_mut(at..at + dim) {
                    cells.copy_from_slice(values);
                }
            }
            (Self::Eight(eights), side) => eights.keep(side, head, position, values),
        }
    }

    fn wipe(&mut self, head: usize, dim: usize) {
        let cells = head * BLOCK * dim..(head + 1) * BLOCK * dim;
        match self {
            Self::Half(all) => all.get_mut(cells).unwrap_or_default().fill(0),
            Self::Single(all) => all.get_mut(cells).unwrap_or_default().fill(0.0),
            Self::Eight(eights) => eights.wipe(head, dim),
        }
    }

    #[inline(always)]
    fn read<L: Lanes>(&self, lanes: L, side: Side, head: usize, into: &mut [f32]) {
        let at = head * into.len();
        match self {
            Self::Half(cells) => {
                let (whole, rest) = cells.get(at..at + into.len()).unwrap_or_default().as_chunks();
                let (into, rest_into) = into.as_chunks_mut();
                for (into, cells) in into.iter_mut().zip(whole) {
                    lanes.store(lanes.halves(cells), into);
                }
                for (into, cell) in rest_into.iter_mut().zip(rest) {
                    *into = f16::from_bits(*cell).to_f32();
                }
            }
            Self::Single(cells) => {
                if let Some(cells) = cells.get(at..at + into.len()) {
                    into.copy_from_slice(cells);
                }
            }
            Self::Eight(eights) => eights.read(lanes, side, head, into),
        }
    }
}

/// Keys or values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Keys,
    Values,
}

impl KvCache {
    /// The bytes of a block, over all layers.
    pub const fn block_bytes(shape: &Architecture, keeps: KvDtype) -> usize {
        2 * shape.layers * BLOCK * shape.kv_heads * keeps.head_bytes(shape.head_dim)
    }

    pub fn new(shape: &Architecture, keeps: KvDtype, blocks: usize) -> Self {
        let cells = || Cells::new(keeps, blocks * shape.kv_heads, shape.head_dim);
        let layer = |_| (cells(), cells());
        let layers = (0..shape.layers).map(layer).collect();
        Self { layers, heads: shape.kv_heads, head_dim: shape.head_dim, blocks, scratch: Scratch::default() }
    }

    pub const fn blocks(&self) -> usize {
        self.blocks
    }

    fn cells(&self, layer: usize, side: Side) -> Option<&Cells> {
        let (keys, values) = self.layers.get(layer)?;
        Some(if side == Side::Keys { keys } else { values })
    }

    /// Stores the keys and values of one token.
    pub(crate) fn keep(
        &mut self,
        layer: usize,
        (block, position): (u32, usize),
        keys: &[f32],
        values: &[f32],
    ) -> Result<(), KernelError> {
        let first = block as usize * self.heads;
        let Some((kept_keys, kept_values)) = self.layers.get_mut(layer) else {
            return Err(KernelError::Step("a layer that is not there"));
        };
        if block as usize >= self.blocks {
            return Err(KernelError::Step("a block that is not there"));
        }
        let each = keys.chunks_exact(self.head_dim).zip(values.chunks_exact(self.head_dim));
        for (head, (keys, values)) in each.enumerate() {
            kept_keys.keep(Side::Keys, first + head, position, keys);
            kept_values.keep(Side::Values, first + head, position, values);
        }
        Ok(())
    }

    /// Zeroes these blocks, and drops the step buffers.
    pub fn wipe(&mut self, blocks: &[u32]) {
        self.scratch = Scratch::default();
        let heads = blocks.iter().flat_map(|block| {
            let first = *block as usize * self.heads;
            first..first + self.heads
        });
        for (keys, values) in &mut self.layers {
            for head in heads.clone() {
                keys.wipe(head, self.head_dim);
                values.wipe(head, self.head_dim);
            }
        }
    }

    /// Whether all blocks are zero.
    pub fn is_blank(&self) -> bool {
        let is_zero = |cells: &Cells| match cells {
            Cells::Half(cells) => cells.iter().all(|cell| *cell == 0),
            Cells::Single(cells) => cells.iter().all(|cell| *cell == 0.0),
            Cells::Eight(eights) => eights.is_zero(),
        };
        self.layers.iter().all(|(keys, values)| is_zero(keys) && is_zero(values))
    }

    /// Copies a head's part of a block: values as a row for each token, keys as a row for each dimension, so
    /// that a query is multiplied with all tokens of the block at once.
    #[inline(always)]
    pub(crate) fn read<L: Lanes>(
        &self,
        lanes: L,
        (layer, side): (usize, Side),
        block: u32,
        head: usize,
        into: &mut [f32],
    ) {
        if let Some(cells) = self.cells(layer, side) {
            cells.read(lanes, side, block as usize * self.heads + head, into);
        }
    }
}
