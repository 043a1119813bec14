//! Weights of four or five bits, in all their GGUF types. They are packed alike; the types differ in how
//! blocks are scaled.
#![expect(
    clippy::indexing_slicing,
    reason = "kernels: every vector is as long as the matrix is wide and high, and is made here"
)]

use candle_core::quantized::GgmlDType;

use super::kinds::{BLOCKS, Halves, Packed, Steps, ZEROS, half, lane_offset, single};
use super::rows::{BLOCK, Q8Block};
use crate::lanes::{LANES, Lanes, Line};

pub(super) type FourBits = FewBits<4>;
pub(super) type FiveBits = FewBits<5>;

/// The low four bits of a block take four lines: the block's first half in the low nibbles, the second half
/// in the high ones. The fifth bits, if there are any, take one more line, with a bit for each of the eight
/// groups of four weights.
pub(super) struct FewBits<const LINES: usize> {
    blocks: usize,
    lines: Vec<Line>,
    scales: Scales,
}

/// How the integers of a block become weights: a factor, and an offset that is subtracted.
enum Scales {
    /// 6-bit scale and minimum of each block, and the factors of both for a super-block of eight (Q4_K,
    /// Q5_K).
    Stepped { steps: Vec<[Steps; 2]>, above: Vec<[Halves; 2]> },
    /// A scale for each block; integers are relative to `middle` (Q4_0, Q5_0).
    Around { scales: Vec<Halves>, middle: f32 },
    /// A scale and a minimum for each block (Q4_1, Q5_1).
    From(Vec<[Halves; 2]>),
}

/// Sizes of the parts of a block (for the K types a super-block) in the file, in this order, with no padding.
struct Layout {
    scales: usize,
    /// The packed 6-bit scales and minima.
    steps: usize,
    fifths: usize,
    fours: usize,
}

impl Scales {
    fn new(kind: GgmlDType, blocks: usize) -> Self {
        let around = |middle| Self::Around { scales: vec![[0; LANES]; blocks], middle };
        match kind {
            GgmlDType::Q4_0 => around(8.0),
            GgmlDType::Q5_0 => around(16.0),
            GgmlDType::Q4_1 | GgmlDType::Q5_1 => Self::From(vec![[[0; LANES]; 2]; blocks]),
            _ => Self::Stepped {
                steps: vec![[[0; LANES]; 2]; blocks],
                above: vec![[[0; LANES]; 2]; blocks / BLOCKS],
            },
        }
    }

    const fn layout(&self, has_fifths: bool) -> Layout {
        let few = if has_fifths { 4 } else { 0 };
        match self {
            Self::Around { .. } => Layout { scales: 2, steps: 0, fifths: few, fours: 16 },
            Self::From(_) => Layout { scales: 4, steps: 0, fifths: few, fours: 16 },
            Self::Stepped { .. } => Layout { scales: 4, steps: 12, fifths: few * BLOCKS, fours: 16 * BLOCKS },
        }
    }

    fn pack(&mut self, (first, lane): (usize, usize), scales: &[u8], sixes: &[u8]) {
        match self {
            Self::Around { scales: all, .. } => all[first][lane] = half(scales, 0),
            Self::From(all) => {
                all[first].iter_mut().enumerate().for_each(|(at, all)| all[lane] = half(scales, 2 * at))
            }
            Self::Stepped { steps, above } => {
                let above = &mut above[first / BLOCKS];
                above.iter_mut().enumerate().for_each(|(at, above)| above[lane] = half(scales, 2 * at));
                for (block, steps) in steps[first..first + BLOCKS].iter_mut().enumerate() {
                    let (scale, least) = self::sixes(sixes, block);
                    steps[0][lane] = scale.cast_signed();
                    steps[1][lane] = least.cast_signed();
                }
            }
        }
    }

    /// The weight that an integer of a block stands for.
    fn weight(&self, index: usize, lane: usize, whole: u8) -> f32 {
        let whole = f32::from(whole);
        match self {
            Self::Around { scales, middle } => (whole - middle) * single(scales[index][lane]),
            Self::From(scales) => {
                let [scale, least] = scales[index].map(|scales| single(scales[lane]));
                whole * scale + least
            }
            Self::Stepped { steps, above } => {
                let [scale, least] = above[index / BLOCKS].map(|scales| single(scales[lane]));
                let [scale_step, least_step] = steps[index].map(|steps| f32::from(steps[lane]));
                scale * scale_step * whole - least * least_step
            }
        }
    }

    #[inline(always)]
    fn of<L: Lanes>(&self, lanes: L, index: usize) -> [L::Floats; 2] {
        match self {
            Self::Stepped { steps, above } => {
                let (above, steps) = (&above[index / BLOCKS], &steps[index]);
                [
                    lanes.times(lanes.halves(&above[0]), lanes.floats(lanes.ints(&steps[0]))),
                    lanes.times(lanes.halves(&above[1]), lanes.floats(lanes.ints(&steps[1]))),
                ]
            }
            Self::Around { scales, middle } => {
                let scale = lanes.halves(&scales[index]);
                [scale, lanes.times(scale, lanes.float(*middle))]
            }
            Self::From(scales) => {
                let [scale, least] = &scales[index];
                [lanes.halves(scale), lanes.minus(lanes.float(0.0), lanes.halves(least))]
            }
        }
    }
}

/// The scale and minimum of a block; a super-block packs eight of each into twelve bytes.
const fn sixes(bytes: &[u8], block: usize) -> (u8, u8) {
    if block < 4 {
        return (bytes[block] & 63, bytes[block + 4] & 63);
    }
    let (low, scale, least) = (bytes[block + 4], bytes[block - 4] >> 6, bytes[block] >> 6);
    (low & 15 | scale << 4, low >> 4 | least << 4)
}

impl<const LINES: usize> FewBits<LINES> {
    pub(super) fn new(kind: GgmlDType, width: usize, tiles: usize) -> Self {
        let blocks = width / BLOCK;
        Self { blocks, lines: vec![ZEROS; tiles * blocks * LINES], scales: Scales::new(kind, tiles * blocks) }
    }

    pub(super) fn pack(&mut self, output: usize, row: &[u8]) {
        let (tile, lane) = (output / LANES, output % LANES);
        let Layout { scales, steps, fifths, fours } = self.scales.layout(LINES > 4);
        // Blocks that are stored together: one, or the eight of a super-block.
        let shared = fours / 16;
        for (index, bytes) in row.chunks_exact(scales + steps + fifths + fours).enumerate() {
            let first = tile * self.blocks + index * shared;
            let (scales, bytes) = bytes.split_at(scales);
            let (sixes, bytes) = bytes.split_at(steps);
            let (fifths, fours) = bytes.split_at(fifths);
            self.scales.pack((first, lane), scales, sixes);
            for block in 0..shared {
                let whole = |at: usize| match shared {
                    1 => {
                        let four = fours[at % 16] >> (4 * (at / 16)) & 15;
                        four | fifths.get(at / 8).map_or(0, |eight| (eight >> (at % 8) & 1) << 4)
                    }
                    // In a super-block, two blocks share the bytes of their low bits, and all eight those of
                    // the fifth bits.
                    _ => {
                        let four = fours[block / 2 * 32 + at] >> (4 * (block % 2)) & 15;
                        four | fifths.get(at).map_or(0, |all| (all >> block & 1) << 4)
                    }
                };
                self.put((first + block, lane), whole);
            }
        }
    }

    fn put(&mut self, (index, lane): (usize, usize), whole: impl Fn(usize) -> u8) {
        let lines = &mut self.lines[index * LINES..][..LINES];
        for at in 0..16 {
            lines[at / 4].0[lane_offset(lane) + at % 4] = whole(at) & 15 | whole(at + 16) << 4;
        }
        if let Some(fifths) = lines.get_mut(4) {
            for at in 0..BLOCK {
                fifths.0[lane_offset(lane) + at % 4] |= (whole(at) >> 4) << (at / 4);
            }
        }
    }

    pub(super) fn row(&self, output: usize, into: &mut [f32]) {
        let (tile, lane) = (output / LANES, output % LANES);
        for (index, into) in into.chunks_exact_mut(BLOCK).enumerate() {
            let index = tile * self.blocks + index;
            let lines = &self.lines[index * LINES..][..LINES];
            for (at, into) in into.iter_mut().enumerate() {
                let byte = |line: &Line| line.0[lane_offset(lane) + at % 4];
                let four = byte(&lines[at % 16 / 4]) >> (4 * (at / 16)) & 15;
                let fifth = lines.get(4).map_or(0, |fifths| (byte(fifths) >> (at / 4) & 1) << 4);
                *into = self.scales.weight(index, lane, four | fifth);
            }
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct FewBlock<L: Lanes> {
    bytes: [L::Bytes; 8],
    scale: L::Floats,
    least: L::Floats,
}

impl<const LINES: usize> Packed for FewBits<LINES> {
    type Block<L: Lanes> = FewBlock<L>;

    #[inline(always)]
    fn lines(&self, index: usize) -> &[Line] {
        self.lines.get(index * LINES..index * LINES + LINES).unwrap_or_default()
    }

    #[inline(always)]
    fn block<L: Lanes>(&self, lanes: L, index: usize) -> FewBlock<L> {
        let lines = &self.lines[index * LINES..index * LINES + LINES];
        let fours: [L::Bytes; 4] = std::array::from_fn(|line| lanes.bytes(&lines[line]));
        let [one, two, three, last] = fours;
        let mut bytes = [
            lanes.lower(one),
            lanes.lower(two),
            lanes.lower(three),
            lanes.lower(last),
            lanes.upper(one),
            lanes.upper(two),
            lanes.upper(three),
            lanes.upper(last),
        ];
        if let Some(fifths) = lines.get(4) {
            let fifths = lanes.bytes(fifths);
            bytes = [
                lanes.fifth::<0>(bytes[0], fifths),
                lanes.fifth::<1>(bytes[1], fifths),
                lanes.fifth::<2>(bytes[2], fifths),
                lanes.fifth::<3>(bytes[3], fifths),
                lanes.fifth::<4>(bytes[4], fifths),
                lanes.fifth::<5>(bytes[5], fifths),
                lanes.fifth::<6>(bytes[6], fifths),
                lanes.fifth::<7>(bytes[7], fifths),
            ];
        }
        let [scale, least] = self.scales.of(lanes, index);
        FewBlock { bytes, scale, least }
    }

    #[inline(always)]
    fn add<L: Lanes>(lanes: L, held: &FewBlock<L>, total: L::Floats, row: &Q8Block) -> L::Floats {
        let mut sums = lanes.int(0);
        for (bytes, four) in held.bytes.into_iter().zip(row.fours) {
            sums = lanes.dot(sums, bytes, four);
        }
        let sums = lanes.times(lanes.floats(sums), held.scale);
        let sums = lanes.minus(sums, lanes.times(held.least, lanes.float(row.sum)));
        lanes.plus(total, lanes.times(sums, lanes.float(row.scale)))
    }
}
