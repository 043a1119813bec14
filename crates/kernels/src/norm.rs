//! RMSNorm.
#![expect(
    clippy::cast_possible_truncation,
    reason = "a scale is worked out in double precision and used in single"
)]

use crate::lanes::fast;
use crate::thread_pool::{pieces, share};

/// Normalises one row in place.
#[inline(always)]
pub fn norm(row: &mut [f32], weight: &[f32], epsilon: f64) {
    let scale = scale(row, epsilon);
    for (value, weight) in row.iter_mut().zip(weight) {
        *value *= scale * weight;
    }
}

/// Normalises rows of a row-major matrix.
pub fn norm_rows(rows: &[f32], weight: &[f32], epsilon: f64, out: &mut Vec<f32>) {
    let width = weight.len();
    out.resize(rows.len(), 0.0);
    let each = share(rows.len() / width) * width;
    pieces(out, each, |index, out| {
        let rows = rows.chunks_exact(width).skip(index * each / width);
        fast(
            #[inline(always)]
            || {
                for (out, row) in out.chunks_exact_mut(width).zip(rows) {
                    let scale = scale(row, epsilon);
                    for ((out, value), weight) in out.iter_mut().zip(row).zip(weight) {
                        *out = value * (scale * weight);
                    }
                }
            },
        );
    });
}

#[inline(always)]
fn scale(row: &[f32], epsilon: f64) -> f32 {
    let mean = f64::from(dot(row, row)) / row.len() as f64;
    (1.0 / (mean + epsilon).sqrt()) as f32
}

/// Dot product, with several accumulators so that the compiler vectorises it.
#[inline(always)]
fn dot(one: &[f32], other: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (ones, others) = (one.chunks_exact(LANES), other.chunks_exact(LANES));
    let (rest, other_rest) = (ones.remainder(), others.remainder());
    for (one, other) in ones.zip(others) {
        for ((sum, one), other) in sums.iter_mut().zip(one).zip(other) {
            *sum += one * other;
        }
    }
    let tail: f32 = rest.iter().zip(other_rest).map(|(one, other)| one * other).sum();
    sums.iter().sum::<f32>() + tail
}
