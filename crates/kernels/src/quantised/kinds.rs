//! The packed formats of quantised weights, and how each is filled from GGUF: tiles of sixteen outputs, in
//! blocks of 32 weights. The formats for 8 and 6 bits are here.
#![expect(
    clippy::indexing_slicing,
    reason = "kernels: every vector is as long as the matrix is wide and high, and is made here"
)]

use half::f16;

use super::rows::{BLOCK, Q8Block};
use crate::lanes::{LANES, Lanes, Line};

pub(super) type Halves = [u16; LANES];
pub(super) type Steps = [i8; LANES];

/// The blocks of a super-block, whose scales share a factor.
pub(super) const BLOCKS: usize = 8;
pub(super) const ZEROS: Line = Line([0; 64]);

/// Weights that are unpacked block by block.
pub(super) trait Packed: Sync {
    type Block<L: Lanes>: Copy;

    /// The cache lines of a block, for prefetching; empty beyond the last block.
    fn lines(&self, index: usize) -> &[Line];

    /// Unpacks a block. The blocks of a tile are consecutive.
    fn block<L: Lanes>(&self, lanes: L, index: usize) -> Self::Block<L>;

    /// Adds the products of a block with a block of an input row to the total of each output.
    fn add<L: Lanes>(lanes: L, held: &Self::Block<L>, total: L::Floats, row: &Q8Block) -> L::Floats;
}

/// Eight bits, and a scale for each block (Q8_0).
pub(super) struct EightBits {
    blocks: usize,
    lines: Vec<Line>,
    scales: Vec<Halves>,
}

/// Six bits, a scale for each half of a block, and a factor for each super-block (Q6_K). The low four bits
/// come first, two groups of four weights to a line, and then the high two bits, four groups to a line.
pub(super) struct SixBits {
    blocks: usize,
    lines: Vec<Line>,
    steps: Vec<[Steps; 2]>,
    scales: Vec<Halves>,
}

/// Where an output's four bytes are in a line.
pub(super) const fn lane_offset(lane: usize) -> usize {
    lane * 4
}

pub(super) fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn single(half: u16) -> f32 {
    f16::from_bits(half).to_f32()
}

impl EightBits {
    pub(super) fn new(width: usize, tiles: usize) -> Self {
        let blocks = width / BLOCK;
        Self { blocks, lines: vec![ZEROS; tiles * blocks * 8], scales: vec![[0; LANES]; tiles * blocks] }
    }

    pub(super) fn pack(&mut self, output: usize, row: &[u8]) {
        let (tile, lane) = (output / LANES, output % LANES);
        for (index, block) in row.chunks_exact(34).enumerate() {
            let at = tile * self.blocks + index;
            self.scales[at][lane] = half(block, 0);
            for (line, four) in self.lines[at * 8..at * 8 + 8].iter_mut().zip(block[2..].chunks_exact(4)) {
                line.0[lane_offset(lane)..lane_offset(lane) + 4].copy_from_slice(four);
            }
        }
    }

    pub(super) fn row(&self, output: usize, into: &mut [f32]) {
        let (tile, lane) = (output / LANES, output % LANES);
        for (index, into) in into.chunks_exact_mut(BLOCK).enumerate() {
            let at = tile * self.blocks + index;
            let scale = single(self.scales[at][lane]);
            for (line, into) in self.lines[at * 8..at * 8 + 8].iter().zip(into.chunks_exact_mut(4)) {
                for (byte, into) in line.0[lane_offset(lane)..].iter().zip(into) {
                    *into = f32::from(byte.cast_signed()) * scale;
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct EightBlock<L: Lanes> {
    bytes: [L::Bytes; 8],
    scale: L::Floats,
}

impl Packed for EightBits {
    type Block<L: Lanes> = EightBlock<L>;

    #[inline(always)]
    fn lines(&self, index: usize) -> &[Line] {
        self.lines.get(index * 8..index * 8 + 8).unwrap_or_default()
    }

    #[inline(always)]
    fn block<L: Lanes>(&self, lanes: L, index: usize) -> EightBlock<L> {
        let lines = &self.lines[index * 8..index * 8 + 8];
        EightBlock {
            bytes: std::array::from_fn(|line| lanes.signed(&lines[line])),
            scale: lanes.halves(&self.scales[index]),
        }
    }

    #[inline(always)]
    fn add<L: Lanes>(lanes: L, held: &EightBlock<L>, total: L::Floats, row: &Q8Block) -> L::Floats {
        let mut sums = lanes.signed_start(row.less_128);
        for (bytes, four) in held.bytes.into_iter().zip(row.fours) {
            sums = lanes.signed_dot(sums, bytes, four);
        }
        let sums = lanes.times(lanes.floats(sums), held.scale);
        lanes.plus(total, lanes.times(sums, lanes.float(row.scale)))
    }
}

impl SixBits {
    pub(super) fn new(width: usize, tiles: usize) -> Self {
        let blocks = width / BLOCK;
        Self {
            blocks,
            lines: vec![ZEROS; tiles * blocks * 6],
            steps: vec![[[0; LANES]; 2]; tiles * blocks],
            scales: vec![[0; LANES]; tiles * blocks / BLOCKS],
        }
    }

    /// A super-block in the file: 128 bytes of low bits, 64 of high bits, sixteen scales and their factor.
    /// Each half of 128 weights has four blocks, of which two share the bytes of the low bits, and all four
    /// those of the high bits.
    pub(super) fn pack(&mut self, output: usize, row: &[u8]) {
        let (tile, lane) = (output / LANES, output % LANES);
        for (above, bytes) in row.chunks_exact(210).enumerate() {
            let first = tile * self.blocks + above * BLOCKS;
            self.scales[first / BLOCKS][lane] = half(bytes, 208);
            for block in 0..BLOCKS {
                for part in 0..2 {
                    self.steps[first + block][part][lane] = bytes[192 + block * 2 + part].cast_signed();
                }
                let (whole, quarter) = (block / 4, block % 4);
                let lower = &bytes[whole * 64 + quarter % 2 * 32..][..32];
                let upper = &bytes[128 + whole * 32..][..32];
                let fours = |at: usize| if quarter < 2 { lower[at] & 15 } else { lower[at] >> 4 };
                let twos = |at: usize| upper[at] >> (2 * quarter) & 3;
                let lines = &mut self.lines[(first + block) * 6..][..6];
                for at in 0..16 {
                    lines[at / 4].0[lane_offset(lane) + at % 4] = fours(at) | fours(at + 16) << 4;
                }
                for at in 0..BLOCK {
                    let line = &mut lines[4 + at / 16];
                    line.0[lane_offset(lane) + at % 4] |= twos(at) << (2 * (at % 16 / 4));
                }
            }
        }
    }

    pub(super) fn row(&self, output: usize, into: &mut [f32]) {
        let (tile, lane) = (output / LANES, output % LANES);
        for (index, into) in into.chunks_exact_mut(BLOCK).enumerate() {
            let at = tile * self.blocks + index;
            let (scale, steps) = (single(self.scales[at / BLOCKS][lane]), &self.steps[at]);
            let lines = &self.lines[at * 6..][..6];
            for (at, into) in into.iter_mut().enumerate() {
                let byte = lines[at % 16 / 4].0[lane_offset(lane) + at % 4];
                let fours = if at < 16 { byte & 15 } else { byte >> 4 };
                let twos = lines[4 + at / 16].0[lane_offset(lane) + at % 4] >> (2 * (at % 16 / 4)) & 3;
                let weight = i16::from(fours | twos << 4) - 32;
                *into = scale * f32::from(steps[at / 16][lane]) * f32::from(weight);
            }
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct SixBlock<L: Lanes> {
    bytes: [L::Bytes; 8],
    steps: [L::Ints; 2],
    scale: L::Floats,
}

impl Packed for SixBits {
    type Block<L: Lanes> = SixBlock<L>;

    #[inline(always)]
    fn lines(&self, index: usize) -> &[Line] {
        self.lines.get(index * 6..index * 6 + 6).unwrap_or_default()
    }

    #[inline(always)]
    fn block<L: Lanes>(&self, lanes: L, index: usize) -> SixBlock<L> {
        let lines = &self.lines[index * 6..index * 6 + 6];
        let lines: [L::Bytes; 6] = std::array::from_fn(|line| lanes.bytes(&lines[line]));
        let [one, two, three, four, first, last] = lines;
        let bytes = [
            lanes.above::<0>(lanes.lower(one), first),
            lanes.above::<1>(lanes.lower(two), first),
            lanes.above::<2>(lanes.lower(three), first),
            lanes.above::<3>(lanes.lower(four), first),
            lanes.above::<0>(lanes.upper(one), last),
            lanes.above::<1>(lanes.upper(two), last),
            lanes.above::<2>(lanes.upper(three), last),
            lanes.above::<3>(lanes.upper(four), last),
        ];
        let steps = self.steps[index].each_ref().map(|steps| lanes.ints(steps));
        SixBlock { bytes, steps, scale: lanes.halves(&self.scales[index / BLOCKS]) }
    }

    #[inline(always)]
    fn add<L: Lanes>(lanes: L, held: &SixBlock<L>, total: L::Floats, row: &Q8Block) -> L::Floats {
        // Subtracts 32 from each weight: they are stored with that offset.
        let mut halves = row.less_32.map(|sum| lanes.int(sum));
        for (index, (bytes, four)) in held.bytes.into_iter().zip(row.fours).enumerate() {
            halves[index / 4] = lanes.dot(halves[index / 4], bytes, four);
        }
        let [first, last] = halves;
        let [first_step, last_step] = held.steps;
        let sums = lanes.ints_plus(lanes.ints_times(first, first_step), lanes.ints_times(last, last_step));
        let sums = lanes.times(lanes.floats(sums), held.scale);
        lanes.plus(total, lanes.times(sums, lanes.float(row.scale)))
    }
}
