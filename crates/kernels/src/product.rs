//! Matrix products with weights that are not quantised. Each number of the result is made by the same
//! additions in the same order however many rows there are: the logits of a sequence do not depend on the
//! batch it runs in.

use std::borrow::Cow;
use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use serde::Deserialize;

use crate::lanes::Lanes;
use crate::numbers::{Dtype, Reader, sums};
use crate::thread_pool::{self, Band};

/// A weight matrix in its published dtype, with a row for each output.
#[derive(Debug)]
pub enum Matrix {
    Single(Vec<f32>),
    Half(Vec<f16>),
    Brain(Vec<bf16>),
}

/// The dtypes that are not quantised, by their names in safetensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum FloatType {
    #[serde(rename = "F32")]
    Single,
    #[serde(rename = "F16")]
    Half,
    #[serde(rename = "BF16")]
    Brain,
}

/// Outputs of one task.
const OUTPUTS: usize = 32;
/// Rows of weights, and input rows, that are computed at once, so that additions don't wait for each other.
const TOGETHER: usize = 4;

impl FloatType {
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Single => 4,
            Self::Half | Self::Brain => 2,
        }
    }
}

impl Matrix {
    /// Stacks matrices by rows. Keeps their dtype if all have the same, and otherwise converts to single
    /// precision.
    pub fn of(pieces: impl IntoIterator<Item = (FloatType, Vec<u8>)>) -> Self {
        pieces
            .into_iter()
            .map(|(kind, bytes)| Self::read(kind, &bytes))
            .reduce(Self::and)
            .unwrap_or(Self::Single(vec![]))
    }

    fn read(kind: FloatType, bytes: &[u8]) -> Self {
        let halves = || bytes.as_chunks().0.iter();
        match kind {
            FloatType::Single => {
                Self::Single(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
            }
            FloatType::Half => Self::Half(halves().map(|bytes| f16::from_le_bytes(*bytes)).collect()),
            FloatType::Brain => Self::Brain(halves().map(|bytes| bf16::from_le_bytes(*bytes)).collect()),
        }
    }

    fn and(self, more: Self) -> Self {
        match (self, more) {
            (Self::Half(mut all), Self::Half(more)) => {
                all.extend(more);
                Self::Half(all)
            }
            (Self::Brain(mut all), Self::Brain(more)) => {
                all.extend(more);
                Self::Brain(all)
            }
            (all, more) => Self::Single([all.singles(), more.singles()].concat()),
        }
    }

    /// All numbers, in single precision.
    pub fn singles(&self) -> Cow<'_, [f32]> {
        match self {
            Self::Single(all) => Cow::Borrowed(all),
            Self::Half(all) => Cow::Owned(all.to_f32_vec()),
            Self::Brain(all) => Cow::Owned(all.to_f32_vec()),
        }
    }

    pub fn row<'a>(&'a self, row: usize, width: usize, held: &'a mut [f32]) -> &'a [f32] {
        let range = row * width..(row + 1) * width;
        if let Self::Single(all) = self {
            return all.get(range).unwrap_or_default();
        }
        self.go(Unpack { range, into: &mut *held });
        held
    }

    /// The product of rows with the transposed matrix, written to `columns` of `out`, whose rows have
    /// `stride` numbers.
    pub fn apply(
        &self,
        rows: &[f32],
        width: usize,
        out: &mut [f32],
        (stride, columns): (usize, Range<usize>),
    ) {
        thread_pool::bands(out, stride, columns, OUTPUTS, |task, band| {
            self.go(Products { first: task * OUTPUTS * width, width, rows, band });
        });
    }
}

/// The rows of weights for a band, from an offset on, and all input rows.
struct Products<'a, 'b> {
    first: usize,
    width: usize,
    rows: &'a [f32],
    band: &'a mut Band<'b>,
}

impl Reader for Products<'_, '_> {
    #[inline(always)]
    fn of<K: Dtype, L: Lanes>(self, numbers: &[K::One], lanes: L) {
        let Self { first, width, rows, band } = self;
        let last = first + band.width() * width;
        let weights = numbers.get(first..last).unwrap_or_default();
        let whole = band.width() / TOGETHER * TOGETHER;
        for (index, some) in weights.chunks(TOGETHER * width).enumerate() {
            let mut each = some.chunks_exact(width);
            if index * TOGETHER < whole {
                let some = [(); TOGETHER].map(|()| each.next().unwrap_or_default());
                by_rows::<K, L, _>(lanes, some, rows, band, index * TOGETHER);
            } else {
                for (rest, weights) in each.enumerate() {
                    by_rows::<K, L, _>(lanes, [weights], rows, band, index * TOGETHER + rest);
                }
            }
        }
    }
}

/// The products of some rows of weights with all input rows, into a band from `column` on. Several input rows
/// share each read of the weights.
#[inline(always)]
fn by_rows<K: Dtype, L: Lanes, const W: usize>(
    lanes: L,
    weights: [&[K::One]; W],
    rows: &[f32],
    band: &mut Band<'_>,
    column: usize,
) {
    let width = weights.first().map_or(0, |weights| weights.len()).max(1);
    let mut put = |row: usize, which: usize, sums: &[[f32; TOGETHER]; W]| {
        let into = band.row(row).get_mut(column..column + W).unwrap_or_default();
        for (into, sums) in into.iter_mut().zip(sums) {
            *into = sums.get(which).copied().unwrap_or_default();
        }
    };
    for (index, some) in rows.chunks(TOGETHER * width).enumerate() {
        let mut each = some.chunks_exact(width);
        let count = each.len();
        if count == TOGETHER {
            let some = [(); TOGETHER].map(|()| each.next().unwrap_or_default());
            let sums = sums::<K, L, W, TOGETHER>(lanes, weights, some);
            (0..count).for_each(|which| put(index * TOGETHER + which, which, &sums));
        } else {
            for (rest, row) in each.enumerate() {
                let sums = sums::<K, L, W, 1>(lanes, weights, [row]);
                put(index * TOGETHER + rest, 0, &sums.map(|[sum]| [sum; TOGETHER]));
            }
        }
    }
}

/// Converts a range of numbers to single precision.
struct Unpack<'a> {
    range: Range<usize>,
    into: &'a mut [f32],
}

impl Reader for Unpack<'_> {
    #[inline(always)]
    fn of<K: Dtype, L: Lanes>(self, numbers: &[K::One], lanes: L) {
        let (numbers, last) = numbers.get(self.range).unwrap_or_default().as_chunks();
        let (into, rest) = self.into.as_chunks_mut();
        for (numbers, into) in numbers.iter().zip(into) {
            lanes.store(K::lanes(lanes, numbers), into);
        }
        for (one, into) in last.iter().zip(rest) {
            *into = K::single(*one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let each = |index: u32| ((index.wrapping_mul(2_654_435_761) ^ seed) % 2_001) as f32 / 1_000.0 - 1.0;
        (0..).take(count).map(each).collect()
    }

    #[test]
    fn products_are_what_they_should_be_and_the_same_beside_others() {
        for (width, outputs) in [(64, 70), (33, 5), (128, 32), (1, 1)] {
            let weights = numbers(width * outputs, 1);
            let halves = Matrix::Half(weights.iter().map(|weight| f16::from_f32(*weight)).collect());
            let brains = Matrix::Brain(weights.iter().map(|weight| bf16::from_f32(*weight)).collect());
            for matrix in [Matrix::Single(weights.clone()), halves, brains] {
                let apply = |rows: &[f32]| {
                    let mut out = vec![0.0; rows.len() / width * outputs];
                    matrix.apply(rows, width, &mut out, (outputs, 0..outputs));
                    out
                };
                for count in [1, 2, 4, 5, 9] {
                    let rows = numbers(width * count, 2);
                    let all = apply(&rows);
                    for (row, result) in rows.chunks(width).zip(all.chunks(outputs)) {
                        assert_eq!(apply(row), result, "{width} {outputs} {count}");
                        for (output, result) in result.iter().enumerate() {
                            let mut held = vec![0.0; width];
                            let weights = matrix.row(output, width, &mut held);
                            let each = weights
                                .iter()
                                .zip(row)
                                .map(|(one, other)| f64::from(*one) * f64::from(*other));
                            assert!((each.sum::<f64>() - f64::from(*result)).abs() < 1e-4);
                        }
                    }
                }
            }
        }
    }
}
