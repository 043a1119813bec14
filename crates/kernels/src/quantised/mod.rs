//! Matrix products with block-quantised weights (the GGUF types Q2_K to Q8_0). The weights stay as small as
//! in the file but are repacked: sixteen outputs are interleaved, so that they are read as one stream and
//! multiplied at once. Each number of the result is made by the same additions in the same order however many
//! rows there are, and on every CPU: the logits of a sequence do not depend on the batch it runs in.

mod few;
mod kinds;
mod rows;
mod twos;

use std::ops::Range;

use candle_core::quantized::GgmlDType;

use self::few::{FiveBits, FourBits};
use self::kinds::{EightBits, Packed, SixBits};
pub(crate) use self::rows::{Q8Block, round};
use self::twos::{ThreeBits, TwoBits};
use crate::lanes::{InstructionSet, LANES, Lanes, Work};
use crate::thread_pool::{self, Band};

/// A quantised weight matrix, with a row for each output.
pub struct QuantisedMatrix {
    width: usize,
    outputs: usize,
    /// Bytes of a row in its file.
    row_bytes: usize,
    kind: Kind,
}

enum Kind {
    Eight(EightBits),
    Six(SixBits),
    Five(FiveBits),
    Four(FourBits),
    Three(ThreeBits),
    Two(TwoBits),
}

impl std::fmt::Debug for QuantisedMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {} rounded weights", self.outputs, self.width)
    }
}

/// The bytes of input rows that are meant to stay in the cache while the weights stream by.
const NEAR_BYTES: usize = 1 << 19;
/// How many blocks ahead weights are prefetched.
const AHEAD: usize = 8;
/// Input rows that share the unpacking of a block of weights.
const TOGETHER: usize = 8;

impl QuantisedMatrix {
    /// Whether this quantisation type is supported, for rows of this width: they must consist of whole
    /// blocks.
    pub fn knows(kind: GgmlDType, width: usize) -> bool {
        use GgmlDType::{Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
        let is_known = matches!(kind, Q8_0 | Q6K | Q5K | Q5_0 | Q5_1 | Q4K | Q4_0 | Q4_1 | Q3K | Q2K);
        is_known && width > 0 && width.is_multiple_of(kind.block_size())
    }

    /// An empty matrix, which `pack` fills; `None` for an unsupported type.
    pub fn new(kind: GgmlDType, width: usize, outputs: usize) -> Option<Self> {
        let tiles = outputs.div_ceil(LANES);
        let row_bytes = width / kind.block_size() * kind.type_size();
        let kind = match kind {
            _ if !Self::knows(kind, width) => return None,
            GgmlDType::Q8_0 => Kind::Eight(EightBits::new(width, tiles)),
            GgmlDType::Q6K => Kind::Six(SixBits::new(width, tiles)),
            GgmlDType::Q5K | GgmlDType::Q5_0 | GgmlDType::Q5_1 => {
                Kind::Five(FiveBits::new(kind, width, tiles))
            }
            GgmlDType::Q3K => Kind::Three(ThreeBits::new(width, tiles)),
            GgmlDType::Q2K => Kind::Two(TwoBits::new(width, tiles)),
            _ => Kind::Four(FourBits::new(kind, width, tiles)),
        };
        Some(Self { width, outputs, row_bytes, kind })
    }

    /// Repacks rows as they are in the file, starting at the output `first`.
    pub fn pack(&mut self, first: usize, bytes: &[u8]) {
        for (output, row) in (first..self.outputs).zip(bytes.chunks_exact(self.row_bytes)) {
            match &mut self.kind {
                Kind::Eight(packed) => packed.pack(output, row),
                Kind::Six(packed) => packed.pack(output, row),
                Kind::Five(packed) => packed.pack(output, row),
                Kind::Four(packed) => packed.pack(output, row),
                Kind::Three(packed) => packed.pack(output, row),
                Kind::Two(packed) => packed.pack(output, row),
            }
        }
    }

    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// The dequantised weights of one output.
    pub fn row(&self, output: usize, into: &mut [f32]) {
        if output >= self.outputs {
            return;
        }
        match &self.kind {
            Kind::Eight(packed) => packed.row(output, into),
            Kind::Six(packed) => packed.row(output, into),
            Kind::Five(packed) => packed.row(output, into),
            Kind::Four(packed) => packed.row(output, into),
            Kind::Three(packed) => packed.row(output, into),
            Kind::Two(packed) => packed.row(output, into),
        }
    }

    /// All weights, dequantised, a row for each output.
    pub fn singles(&self) -> Vec<f32> {
        let mut all = vec![0.0; self.outputs * self.width];
        for (output, row) in all.chunks_exact_mut(self.width).enumerate() {
            self.row(output, row);
        }
        all
    }

    /// The product of quantised rows with the transposed matrix, written to `out` from column `first` on,
    /// whose rows have `stride` numbers.
    pub(crate) fn apply(&self, rows: &[Q8Block], out: &mut [f32], stride: usize, first: usize) {
        self.apply_by(InstructionSet::best(), rows, out, stride, first);
    }

    fn apply_by(&self, isa: InstructionSet, rows: &[Q8Block], out: &mut [f32], stride: usize, first: usize) {
        let tiles = self.outputs.div_ceil(LANES);
        let each = tiles.div_ceil(thread_pool::threads() * 8).max(1);
        thread_pool::bands(out, stride, first..first + self.outputs, each * LANES, |index, band| {
            let tiles = index * each..((index + 1) * each).min(tiles);
            let blocks = self.width / rows::BLOCK;
            match &self.kind {
                Kind::Eight(packed) => isa.go(Product { packed, blocks, rows, first: 0, tiles, band }),
                Kind::Six(packed) => isa.go(Product { packed, blocks, rows, first: 0, tiles, band }),
                Kind::Five(packed) => isa.go(Product { packed, blocks, rows, first: 0, tiles, band }),
                Kind::Four(packed) => isa.go(Product { packed, blocks, rows, first: 0, tiles, band }),
                Kind::Three(packed) => isa.go(Product { packed, blocks, rows, first: 0, tiles, band }),
                Kind::Two(packed) => isa.go(Product { packed, blocks, rows, first: 0, tiles, band }),
            }
        });
    }
}

/// The products of some tiles (sixteen outputs each) with all input rows.
struct Product<'a, 'b, P> {
    packed: &'a P,
    /// Blocks in a row.
    blocks: usize,
    rows: &'a [Q8Block],
    /// The first of the input rows that are in the cache now.
    first: usize,
    tiles: Range<usize>,
    band: &'a mut Band<'b>,
}

impl<P: Packed> Work for Product<'_, '_, P> {
    #[inline(always)]
    fn with<L: Lanes>(mut self, lanes: L) {
        let row_bytes = self.blocks * size_of::<Q8Block>();
        let near = (NEAR_BYTES / row_bytes).next_multiple_of(TOGETHER);
        let count = self.rows.len() / self.blocks;
        for first in (0..count).step_by(near) {
            self.first = first;
            let last = count.min(first + near);
            for tile in self.tiles.clone() {
                let mut row = first;
                while row + TOGETHER <= last {
                    self.some::<L, TOGETHER>(lanes, tile, row);
                    row += TOGETHER;
                }
                if row + 4 <= last {
                    self.some::<L, 4>(lanes, tile, row);
                    row += 4;
                }
                if row + 2 <= last {
                    self.some::<L, 2>(lanes, tile, row);
                    row += 2;
                }
                if row < last {
                    self.some::<L, 1>(lanes, tile, row);
                }
            }
        }
    }
}

impl<P: Packed> Product<'_, '_, P> {
    /// The products of one tile with `ROWS` consecutive input rows.
    #[inline(always)]
    fn some<L: Lanes, const ROWS: usize>(&mut self, lanes: L, tile: usize, first: usize) {
        let blocks = self.blocks;
        let rows: [&[Q8Block]; ROWS] = std::array::from_fn(|row| {
            let start = (first + row) * blocks;
            self.rows.get(start..start + blocks).unwrap_or_default()
        });
        let mut totals = [lanes.float(0.0); ROWS];
        for index in 0..blocks {
            // Only the first input rows wait for the memory of a tile, so that only they prefetch.
            if first == self.first {
                self.packed.lines(tile * blocks + index + AHEAD).iter().for_each(|line| lanes.soon(line));
            }
            let held = self.packed.block(lanes, tile * blocks + index);
            // Unrolled by a macro, since in a loop the compiler keeps the totals in memory.
            macro_rules! add_to {
                ($($row:literal)*) => {$(
                    if let (Some(total), Some(row)) = (totals.get_mut($row), rows.get($row).and_then(|row| row.get(index))) {
                        *total = P::add(lanes, &held, *total, row);
                    }
                )*};
            }
            add_to!(0 1 2 3 4 5 6 7);
        }
        let column = (tile - self.tiles.start) * LANES;
        for (row, total) in totals.into_iter().enumerate() {
            let mut made = [0.0; LANES];
            lanes.store(total, &mut made);
            let into = self.band.row(first + row).iter_mut().skip(column);
            into.zip(made).for_each(|(into, made)| *into = made);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::QTensor;
    use candle_core::{Device, Tensor};

    use super::*;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let each = |index: u32| {
            let mixed = (index ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
            ((mixed ^ mixed >> 13).wrapping_mul(0xc2b2_ae35) >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..).take(count).map(each).collect()
    }

    /// A random quantised matrix, and its weights as candle dequantises them.
    fn made(kind: GgmlDType, width: usize, outputs: usize) -> (QuantisedMatrix, Vec<f32>) {
        let weights = Tensor::from_vec(numbers(width * outputs, 1), (outputs, width), &Device::Cpu).unwrap();
        let weights = QTensor::quantize(&weights, kind).unwrap();
        let mut matrix = QuantisedMatrix::new(kind, width, outputs).unwrap();
        let bytes = weights.data().unwrap();
        // In two calls, as files are read in pieces.
        let (row, first) = (bytes.len() / outputs, outputs / 3);
        matrix.pack(0, &bytes[..first * row]);
        matrix.pack(first, &bytes[first * row..]);
        let wanted = weights.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap();
        (matrix, wanted.to_vec1().unwrap())
    }

    fn multiply(matrix: &QuantisedMatrix, isa: InstructionSet, rows: &[f32]) -> Vec<f32> {
        let mut eights = Vec::new();
        round(rows, &mut eights);
        let stride = matrix.outputs + 5;
        let mut out = vec![7.0; rows.len() / matrix.width * stride];
        matrix.apply_by(isa, &eights, &mut out, stride, 2);
        let rows = out.chunks(stride).flat_map(|row| {
            assert!(row[..2].iter().chain(&row[2 + matrix.outputs..]).all(|number| *number == 7.0));
            row[2..2 + matrix.outputs].to_vec()
        });
        rows.collect()
    }

    const KINDS: [GgmlDType; 10] = [
        GgmlDType::Q8_0,
        GgmlDType::Q6K,
        GgmlDType::Q5K,
        GgmlDType::Q5_0,
        GgmlDType::Q5_1,
        GgmlDType::Q4K,
        GgmlDType::Q4_0,
        GgmlDType::Q4_1,
        GgmlDType::Q3K,
        GgmlDType::Q2K,
    ];

    #[test]
    fn weights_are_what_the_file_says() {
        for kind in KINDS {
            for (width, outputs) in [(256, 3), (512, 50), (768, 16)] {
                let (matrix, wanted) = made(kind, width, outputs);
                let mut row = vec![0.0; width];
                for (output, wanted) in wanted.chunks(width).enumerate() {
                    matrix.row(output, &mut row);
                    assert_eq!(row, wanted, "{kind:?} {width} {output}");
                }
            }
        }
    }

    #[test]
    fn products_are_what_they_should_be_but_for_the_rounding_of_rows() {
        for kind in KINDS {
            let (width, outputs, count) = (512, 70, 5);
            let (matrix, weights) = made(kind, width, outputs);
            let rows = numbers(width * count, 2);
            let result = multiply(&matrix, InstructionSet::best(), &rows);
            for (row, result) in rows.chunks(width).zip(result.chunks(outputs)) {
                for (weights, result) in weights.chunks(width).zip(result) {
                    let each =
                        weights.iter().zip(row).map(|(one, other)| f64::from(*one) * f64::from(*other));
                    // Each weight contributes half a quantisation step of the input at most; statistically,
                    // far less.
                    let step = 0.5 / 127.0;
                    let spread = weights.iter().map(|weight| f64::from(weight * weight)).sum::<f64>().sqrt();
                    assert!(
                        (each.sum::<f64>() - f64::from(*result)).abs() <= 4.0 * step * spread,
                        "{kind:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn products_are_exact_where_nothing_is_rounded_away() {
        // Inputs that are integers up to 127 are quantised exactly.
        let whole =
            |index: usize| if index.is_multiple_of(32) { 127.0 } else { (index * 29 % 255) as f32 - 127.0 };
        for kind in KINDS {
            let (width, outputs) = (512, 40);
            let (matrix, weights) = made(kind, width, outputs);
            let row: Vec<f32> = (0..width).map(whole).collect();
            for isa in InstructionSet::all() {
                for (weights, result) in weights.chunks(width).zip(multiply(&matrix, isa, &row)) {
                    let each =
                        weights.iter().zip(&row).map(|(one, other)| f64::from(*one) * f64::from(*other));
                    let size: f64 = weights.iter().zip(&row).map(|(w, x)| f64::from((w * x).abs())).sum();
                    let far = (each.sum::<f64>() - f64::from(result)).abs();
                    assert!(far <= 1e-6 * size, "{kind:?} {isa:?}: {far} of {size}");
                }
            }
        }
    }

    #[test]
    fn a_row_is_the_same_beside_others_and_by_every_way() {
        for kind in KINDS {
            for (width, outputs) in [(256, 33), (1024, 160)] {
                let (matrix, _) = made(kind, width, outputs);
                let rows = numbers(width * 27, 3);
                let alone: Vec<f32> = rows
                    .chunks(width)
                    .flat_map(|row| multiply(&matrix, InstructionSet::Portable, row))
                    .collect();
                for isa in InstructionSet::all() {
                    for count in [1, 2, 3, 4, 7, 8, 15, 27] {
                        let result = multiply(&matrix, isa, &rows[..width * count]);
                        assert!(result == alone[..outputs * count], "{kind:?} {isa:?} {width} {count}");
                    }
                }
            }
        }
    }
}
