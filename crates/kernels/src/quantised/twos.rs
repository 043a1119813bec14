//! Weights of two or three bits (Q2_K, Q3_K). Each half of a block has an integer scale, which is relative to
//! a factor for the super-block of eight blocks.
#![expect(
    clippy::indexing_slicing,
    reason = "kernels: every vector is as long as the matrix is wide and high, and is made here"
)]

use super::kinds::{BLOCKS, Halves, Packed, Steps, ZEROS, half, lane_offset, single};
use super::rows::{BLOCK, Q8Block};
use crate::lanes::{LANES, Lanes, Line};

/// Two bits (Q2_K). Each half also has a minimum: the low four bits of a step are the scale, the high four
/// the minimum.
pub(super) struct TwoBits {
    blocks: usize,
    lines: Vec<Line>,
    steps: Vec<[Steps; 2]>,
    above: Vec<[Halves; 2]>,
}

/// Three bits with an offset of four (Q3_K). The low two bits are packed as in `TwoBits`; the third bits
/// follow in one more line, with a bit for each of the eight groups of four weights.
pub(super) struct ThreeBits {
    blocks: usize,
    lines: Vec<Line>,
    steps: Vec<[Steps; 2]>,
    above: Vec<Halves>,
}

/// Half a block takes a line: four groups of four weights, each in two bits of the bytes.
fn put_two(lines: &mut [Line], lane: usize, at: usize, two: u8) {
    lines[at / 16].0[lane_offset(lane) + at % 4] |= two << (2 * (at % 16 / 4));
}

fn two(lines: &[Line], lane: usize, at: usize) -> u8 {
    lines[at / 16].0[lane_offset(lane) + at % 4] >> (2 * (at % 16 / 4)) & 3
}

/// The low two bits of a weight; in the file, four blocks share the bytes.
fn two_of(bytes: &[u8], block: usize, at: usize) -> u8 {
    bytes[block / 4 * BLOCK + at] >> (2 * (block % 4)) & 3
}

/// The 6-bit scale of one of the sixteen halves: the low four bits of all come first, then the high two.
fn six(bytes: &[u8], at: usize) -> i8 {
    let four = bytes[at % 8] >> (4 * (at / 8)) & 15;
    let two = bytes[8 + at % 4] >> (2 * (at / 4)) & 3;
    (four | two << 4).cast_signed() - 32
}

impl TwoBits {
    pub(super) fn new(width: usize, tiles: usize) -> Self {
        let blocks = width / BLOCK;
        Self {
            blocks,
            lines: vec![ZEROS; tiles * blocks * 2],
            steps: vec![[[0; LANES]; 2]; tiles * blocks],
            above: vec![[[0; LANES]; 2]; tiles * blocks / BLOCKS],
        }
    }

    /// A super-block in the file: sixteen scales with their minima, 64 bytes of weights, and the factors of
    /// both.
    pub(super) fn pack(&mut self, output: usize, row: &[u8]) {
        let (tile, lane) = (output / LANES, output % LANES);
        for (above, bytes) in row.chunks_exact(84).enumerate() {
            let first = tile * self.blocks + above * BLOCKS;
            self.above[first / BLOCKS][0][lane] = half(bytes, 80);
            self.above[first / BLOCKS][1][lane] = half(bytes, 82);
            for block in 0..BLOCKS {
                for part in 0..2 {
                    self.steps[first + block][part][lane] = bytes[block * 2 + part].cast_signed();
                }
                let lines = &mut self.lines[(first + block) * 2..][..2];
                (0..BLOCK).for_each(|at| put_two(lines, lane, at, two_of(&bytes[16..80], block, at)));
            }
        }
    }

    pub(super) fn row(&self, output: usize, into: &mut [f32]) {
        let (tile, lane) = (output / LANES, output % LANES);
        for (index, into) in into.chunks_exact_mut(BLOCK).enumerate() {
            let index = tile * self.blocks + index;
            let [scale, least] = self.above[index / BLOCKS].map(|above| single(above[lane]));
            let lines = &self.lines[index * 2..][..2];
            for (at, into) in into.iter_mut().enumerate() {
                let step = self.steps[index][at / 16][lane].cast_unsigned();
                let (scale, least) = (scale * f32::from(step & 15), least * f32::from(step >> 4));
                *into = scale * f32::from(two(lines, lane, at)) - least;
            }
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct TwoBlock<L: Lanes> {
    bytes: [L::Bytes; 8],
    scales: [L::Floats; 2],
    /// Divided by 32, since `less_32` is multiplied by it.
    leasts: [L::Floats; 2],
}

/// Unpacks the eight groups of a block from its two lines.
#[inline(always)]
fn quarters<L: Lanes>(lanes: L, lines: &[Line]) -> [L::Bytes; 8] {
    let (first, last) = (lanes.bytes(&lines[0]), lanes.bytes(&lines[1]));
    [
        lanes.two::<0>(first),
        lanes.two::<1>(first),
        lanes.two::<2>(first),
        lanes.two::<3>(first),
        lanes.two::<0>(last),
        lanes.two::<1>(last),
        lanes.two::<2>(last),
        lanes.two::<3>(last),
    ]
}

impl Packed for TwoBits {
    type Block<L: Lanes> = TwoBlock<L>;

    #[inline(always)]
    fn lines(&self, index: usize) -> &[Line] {
        self.lines.get(index * 2..index * 2 + 2).unwrap_or_default()
    }

    #[inline(always)]
    fn block<L: Lanes>(&self, lanes: L, index: usize) -> TwoBlock<L> {
        let bytes = quarters(lanes, &self.lines[index * 2..index * 2 + 2]);
        let [scale, least] = self.above[index / BLOCKS].each_ref().map(|above| lanes.halves(above));
        let least = lanes.times(least, lanes.float(1.0 / 32.0));
        let steps = self.steps[index].each_ref().map(|steps| lanes.fours(steps));
        let scales = steps.map(|[step, _]| lanes.times(scale, lanes.floats(step)));
        let leasts = steps.map(|[_, step]| lanes.times(least, lanes.floats(step)));
        TwoBlock { bytes, scales, leasts }
    }

    #[inline(always)]
    fn add<L: Lanes>(lanes: L, held: &TwoBlock<L>, total: L::Floats, row: &Q8Block) -> L::Floats {
        let mut halves = [lanes.int(0); 2];
        for (index, (bytes, four)) in held.bytes.into_iter().zip(row.fours).enumerate() {
            halves[index / 4] = lanes.dot(halves[index / 4], bytes, four);
        }
        let [first, last] = scaled(lanes, halves, held.scales);
        let less = row.less_32.map(|sum| lanes.int(sum));
        let [first_less, last_less] = scaled(lanes, less, held.leasts);
        let sums = lanes.plus(lanes.plus(first, first_less), lanes.plus(last, last_less));
        lanes.plus(total, lanes.times(sums, lanes.float(row.scale)))
    }
}

#[inline(always)]
fn scaled<L: Lanes>(lanes: L, halves: [L::Ints; 2], scales: [L::Floats; 2]) -> [L::Floats; 2] {
    let ([first, last], [first_scale, last_scale]) = (halves, scales);
    [lanes.times(lanes.floats(first), first_scale), lanes.times(lanes.floats(last), last_scale)]
}

impl ThreeBits {
    pub(super) fn new(width: usize, tiles: usize) -> Self {
        let blocks = width / BLOCK;
        Self {
            blocks,
            lines: vec![ZEROS; tiles * blocks * 3],
            steps: vec![[[0; LANES]; 2]; tiles * blocks],
            above: vec![[0; LANES]; tiles * blocks / BLOCKS],
        }
    }

    /// A super-block in the file: 32 bytes of third bits, 64 of low bits, sixteen scales and their factor.
    /// All blocks share the bytes of the third bits.
    pub(super) fn pack(&mut self, output: usize, row: &[u8]) {
        let (tile, lane) = (output / LANES, output % LANES);
        for (above, bytes) in row.chunks_exact(110).enumerate() {
            let first = tile * self.blocks + above * BLOCKS;
            self.above[first / BLOCKS][lane] = half(bytes, 108);
            for block in 0..BLOCKS {
                for part in 0..2 {
                    self.steps[first + block][part][lane] = six(&bytes[96..108], block * 2 + part);
                }
                let lines = &mut self.lines[(first + block) * 3..][..3];
                for at in 0..BLOCK {
                    put_two(lines, lane, at, two_of(&bytes[32..96], block, at));
                    lines[2].0[lane_offset(lane) + at % 4] |= (bytes[at] >> block & 1) << (at / 4);
                }
            }
        }
    }

    pub(super) fn row(&self, output: usize, into: &mut [f32]) {
        let (tile, lane) = (output / LANES, output % LANES);
        for (index, into) in into.chunks_exact_mut(BLOCK).enumerate() {
            let index = tile * self.blocks + index;
            let above = single(self.above[index / BLOCKS][lane]);
            let lines = &self.lines[index * 3..][..3];
            for (at, into) in into.iter_mut().enumerate() {
                let third = lines[2].0[lane_offset(lane) + at % 4] >> (at / 4) & 1;
                let weight = i16::from(two(lines, lane, at) | third << 2) - 4;
                *into = above * f32::from(self.steps[index][at / 16][lane]) * f32::from(weight);
            }
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct ThreeBlock<L: Lanes> {
    bytes: [L::Bytes; 8],
    scales: [L::Floats; 2],
}

impl Packed for ThreeBits {
    type Block<L: Lanes> = ThreeBlock<L>;

    #[inline(always)]
    fn lines(&self, index: usize) -> &[Line] {
        self.lines.get(index * 3..index * 3 + 3).unwrap_or_default()
    }

    #[inline(always)]
    fn block<L: Lanes>(&self, lanes: L, index: usize) -> ThreeBlock<L> {
        let lines = &self.lines[index * 3..index * 3 + 3];
        let [one, two, three, four, five, six, seven, last] = quarters(lanes, lines);
        let thirds = lanes.bytes(&lines[2]);
        let bytes = [
            lanes.third::<0>(one, thirds),
            lanes.third::<1>(two, thirds),
            lanes.third::<2>(three, thirds),
            lanes.third::<3>(four, thirds),
            lanes.third::<4>(five, thirds),
            lanes.third::<5>(six, thirds),
            lanes.third::<6>(seven, thirds),
            lanes.third::<7>(last, thirds),
        ];
        let above = lanes.halves(&self.above[index / BLOCKS]);
        let steps = self.steps[index].each_ref().map(|steps| lanes.floats(lanes.ints(steps)));
        ThreeBlock { bytes, scales: steps.map(|step| lanes.times(above, step)) }
    }

    #[inline(always)]
    fn add<L: Lanes>(lanes: L, held: &ThreeBlock<L>, total: L::Floats, row: &Q8Block) -> L::Floats {
        // Weights are stored with an offset of four, an eighth of the offset that `less_32` is for.
        let mut halves = row.less_32.map(|sum| lanes.int(sum / 8));
        for (index, (bytes, four)) in held.bytes.into_iter().zip(row.fours).enumerate() {
            halves[index / 4] = lanes.dot(halves[index / 4], bytes, four);
        }
        let [first, last] = scaled(lanes, halves, held.scales);
        lanes.plus(total, lanes.times(lanes.plus(first, last), lanes.float(row.scale)))
    }
}
