//! Products of rows with a matrix whose numbers are not rounded in blocks. Each number of the answer is made by the same
//! additions in the same order however many rows there are: what is said of a text does not depend on its neighbours.

use std::borrow::Cow;
use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use serde::Deserialize;

use super::crew;
use super::lanes::fast;

/// A matrix as it was published: a row for each output.
#[derive(Debug)]
pub(crate) enum Matrix {
    Single(Vec<f32>),
    Half(Vec<f16>),
    Brain(Vec<bf16>),
}

/// The kinds of numbers that are not rounded in blocks, by the names that plain files have for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Plain {
    #[serde(rename = "F32")]
    Single,
    #[serde(rename = "F16")]
    Half,
    #[serde(rename = "BF16")]
    Brain,
}

/// The outputs that one task makes.
const OUTPUTS: usize = 32;
/// The sums that are carried on side by side.
const LANES: usize = 16;

impl Plain {
    pub(crate) const fn bytes(self) -> u64 {
        match self {
            Self::Single => 4,
            Self::Half | Self::Brain => 2,
        }
    }
}

impl Matrix {
    /// Pieces one below the other, in the kind that they have; in single precision where it is not one.
    pub(crate) fn of(pieces: impl IntoIterator<Item = (Plain, Vec<u8>)>) -> Self {
        pieces
            .into_iter()
            .map(|(kind, bytes)| Self::read(kind, &bytes))
            .reduce(Self::and)
            .unwrap_or(Self::Single(vec![]))
    }

    fn read(kind: Plain, bytes: &[u8]) -> Self {
        let halves = || bytes.as_chunks().0.iter();
        match kind {
            Plain::Single => {
                Self::Single(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
            }
            Plain::Half => Self::Half(halves().map(|bytes| f16::from_le_bytes(*bytes)).collect()),
            Plain::Brain => Self::Brain(halves().map(|bytes| bf16::from_le_bytes(*bytes)).collect()),
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

    /// All numbers in single precision.
    pub(crate) fn singles(&self) -> Cow<'_, [f32]> {
        match self {
            Self::Single(all) => Cow::Borrowed(all),
            Self::Half(all) => Cow::Owned(all.to_f32_vec()),
            Self::Brain(all) => Cow::Owned(all.to_f32_vec()),
        }
    }

    pub(crate) fn row<'a>(&'a self, row: usize, width: usize, held: &'a mut [f32]) -> &'a [f32] {
        let range = row * width..(row + 1) * width;
        match self {
            Self::Single(all) => return all.get(range).unwrap_or_default(),
            Self::Half(all) => {
                if let Some(row) = all.get(range) {
                    row.convert_to_f32_slice(held);
                }
            }
            Self::Brain(all) => {
                if let Some(row) = all.get(range) {
                    row.convert_to_f32_slice(held);
                }
            }
        }
        held
    }

    /// What this matrix makes of rows that lie one behind the other, into columns of `out`, whose rows are so long.
    pub(crate) fn apply(
        &self,
        rows: &[f32],
        width: usize,
        out: &mut [f32],
        (stride, columns): (usize, Range<usize>),
    ) {
        by_output(rows, width, out, (stride, columns), |output, held, with| {
            with(self.row(output, width, held));
        });
    }
}

/// Products with rows of weights that are had one by one: `weights` gives that of an output, and room to make it in.
pub(crate) fn by_output(
    rows: &[f32],
    width: usize,
    out: &mut [f32],
    (stride, columns): (usize, Range<usize>),
    weights: impl Fn(usize, &mut [f32], &mut dyn FnMut(&[f32])) + Sync,
) {
    let count = rows.len() / width;
    crew::bands(out, stride, columns, OUTPUTS, |task, band| {
        let (mut held, mut made) = (vec![0.0; width], vec![0.0; count]);
        for index in 0..band.width() {
            weights(task * OUTPUTS + index, &mut held, &mut |weights| {
                fast(
                    #[inline(always)]
                    || products(weights, rows, &mut made),
                );
            });
            for (row, made) in made.iter().enumerate() {
                if let Some(out) = band.row(row).get_mut(index) {
                    *out = *made;
                }
            }
        }
    });
}

/// One row of weights by all rows, four at a time so that it is read once for them.
#[inline(always)]
fn products(weights: &[f32], rows: &[f32], out: &mut [f32]) {
    let width = weights.len();
    let mut fours = rows.chunks_exact(4 * width);
    let mut outs = out.chunks_exact_mut(4);
    for (four, out) in fours.by_ref().zip(outs.by_ref()) {
        let (low, high) = four.split_at(2 * width);
        let ((one, two), (three, four)) = (low.split_at(width), high.split_at(width));
        let sums = sums(weights, [one, two, three, four]);
        out.copy_from_slice(&sums);
    }
    let rest = fours.remainder().chunks_exact(width);
    for (row, out) in rest.zip(outs.into_remainder()) {
        let [sum] = sums(weights, [row]);
        *out = sum;
    }
}

#[inline(always)]
pub(super) fn sums<const N: usize>(weights: &[f32], rows: [&[f32]; N]) -> [f32; N] {
    let mut lanes = [[0.0f32; LANES]; N];
    let whole = weights.len() / LANES;
    let (weights, tail) = weights.as_chunks::<LANES>();
    let rows = rows.map(|row| row.as_chunks::<LANES>());
    for index in 0..whole {
        let Some(weights) = weights.get(index) else { break };
        for (lanes, (row, _)) in lanes.iter_mut().zip(&rows) {
            let Some(row) = row.get(index) else { break };
            for ((lane, weight), value) in lanes.iter_mut().zip(weights).zip(row) {
                *lane += weight * value;
            }
        }
    }
    let mut out = [0.0; N];
    for ((out, lanes), (_, rest)) in out.iter_mut().zip(&lanes).zip(&rows) {
        let tail: f32 = tail.iter().zip(*rest).map(|(weight, value)| weight * value).sum();
        *out = lanes.iter().sum::<f32>() + tail;
    }
    out
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
                    for (row, said) in rows.chunks(width).zip(all.chunks(outputs)) {
                        assert_eq!(apply(row), said, "{width} {outputs} {count}");
                        for (output, said) in said.iter().enumerate() {
                            let mut held = vec![0.0; width];
                            let weights = matrix.row(output, width, &mut held);
                            let each = weights
                                .iter()
                                .zip(row)
                                .map(|(one, other)| f64::from(*one) * f64::from(*other));
                            assert!((each.sum::<f64>() - f64::from(*said)).abs() < 1e-4);
                        }
                    }
                }
            }
        }
    }
}
