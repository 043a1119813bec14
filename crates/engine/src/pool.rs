//! What models remember of texts: keys and values of every layer, in blocks of one size, so that texts of any length share
//! the room that there is.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::kernels::{Eight, Lanes};
use crate::{EngineError, Shape};

/// The tokens of a block.
pub const BLOCK: usize = 16;

/// The number of bits in which keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    Half,
    /// For comparisons: twice the room.
    Single,
}

#[derive(Debug)]
enum Cells {
    /// The bits of numbers of half precision: memory that is all nought is had without being written.
    Half(Vec<u16>),
    Single(Vec<f32>),
}

/// Room for a number of blocks. Who has which block is its owner's to know.
#[derive(Debug)]
pub struct Pool {
    layers: Vec<(Cells, Cells)>,
    heads: usize,
    head_dim: usize,
    blocks: usize,
    /// For the numbers of a step while it is made.
    pub(crate) scratch: Scratch,
}

/// What steps are worked out in: kept from one to the next, for to ask for so much memory anew takes as long as to fill it.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub normed: Vec<f32>,
    pub asked: Vec<f32>,
    pub answers: Vec<f32>,
    pub said: Vec<f32>,
    pub up: Vec<f32>,
    pub inner: Vec<f32>,
    pub eights: Vec<Eight>,
}

impl Keeps {
    const fn bytes(self) -> usize {
        match self {
            Self::Half => 2,
            Self::Single => 4,
        }
    }
}

impl Cells {
    fn new(keeps: Keeps, count: usize) -> Self {
        match keeps {
            Keeps::Half => Self::Half(vec![0; count]),
            Keeps::Single => Self::Single(vec![0.0; count]),
        }
    }

    /// Every so many cells one.
    fn scatter(&mut self, at: usize, apart: usize, values: &[f32]) {
        match self {
            Self::Half(cells) => {
                let cells = cells.iter_mut().skip(at).step_by(apart);
                cells.zip(values).for_each(|(cell, value)| *cell = f16::from_f32(*value).to_bits());
            }
            Self::Single(cells) => {
                let cells = cells.iter_mut().skip(at).step_by(apart);
                cells.zip(values).for_each(|(cell, value)| *cell = *value);
            }
        }
    }

    fn write(&mut self, at: usize, values: &[f32]) {
        match self {
            Self::Half(cells) => {
                if let Some(cells) = cells.get_mut(at..at + values.len()) {
                    cells.reinterpret_cast_mut::<f16>().convert_from_f32_slice(values);
                }
            }
            Self::Single(cells) => {
                if let Some(cells) = cells.get_mut(at..at + values.len()) {
                    cells.copy_from_slice(values);
                }
            }
        }
    }

    #[inline(always)]
    fn read<L: Lanes>(&self, lanes: L, at: usize, into: &mut [f32]) {
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
        }
    }
}

/// What of a block is looked at: its keys or its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Keys,
    Values,
}

impl Pool {
    /// What a block takes, over all layers.
    #[must_use]
    pub const fn block_bytes(shape: &Shape, keeps: Keeps) -> usize {
        2 * shape.layers * BLOCK * shape.kv_width() * keeps.bytes()
    }

    #[must_use]
    pub fn new(shape: &Shape, keeps: Keeps, blocks: usize) -> Self {
        let count = blocks * BLOCK * shape.kv_width();
        let layer = |_| (Cells::new(keeps, count), Cells::new(keeps, count));
        let layers = (0..shape.layers).map(layer).collect();
        Self { layers, heads: shape.kv_heads, head_dim: shape.head_dim, blocks, scratch: Scratch::default() }
    }

    #[must_use]
    pub const fn blocks(&self) -> usize {
        self.blocks
    }

    fn cells(&self, layer: usize, side: Side) -> Option<&Cells> {
        let (keys, values) = self.layers.get(layer)?;
        Some(if side == Side::Keys { keys } else { values })
    }

    /// Keeps the keys and values of one place of a text.
    pub(crate) fn keep(
        &mut self,
        layer: usize,
        (block, place): (u32, usize),
        keys: &[f32],
        values: &[f32],
    ) -> Result<(), EngineError> {
        let first = block as usize * self.heads;
        let Some((kept_keys, kept_values)) = self.layers.get_mut(layer) else {
            return Err(EngineError::Step("a layer that is not there"));
        };
        if block as usize >= self.blocks {
            return Err(EngineError::Step("a block that is not there"));
        }
        let each = keys.chunks_exact(self.head_dim).zip(values.chunks_exact(self.head_dim));
        for (head, (keys, values)) in each.enumerate() {
            let at = (first + head) * BLOCK * self.head_dim;
            kept_keys.scatter(at + place, BLOCK, keys);
            kept_values.write(at + place * self.head_dim, values);
        }
        Ok(())
    }

    /// Leaves nothing of what these blocks had.
    pub(crate) fn wipe(&mut self, blocks: &[u32]) {
        self.scratch = Scratch::default();
        let size = BLOCK * self.heads * self.head_dim;
        let nought = vec![0.0; size];
        for (keys, values) in &mut self.layers {
            for block in blocks {
                keys.write(*block as usize * size, &nought);
                values.write(*block as usize * size, &nought);
            }
        }
    }

    /// Whether no block has anything.
    #[cfg(test)]
    pub(crate) fn is_blank(&self) -> bool {
        let is_nought = |cells: &Cells| match cells {
            Cells::Half(cells) => cells.iter().all(|cell| *cell == 0),
            Cells::Single(cells) => cells.iter().all(|cell| *cell == 0.0),
        };
        self.layers.iter().all(|(keys, values)| is_nought(keys) && is_nought(values))
    }

    /// Copies what a block has of a head: of values a row of each of its places, of keys a row of each dimension, so that a
    /// query is weighed against all places at once.
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
            cells.read(lanes, (block as usize * self.heads + head) * BLOCK * self.head_dim, into);
        }
    }
}
