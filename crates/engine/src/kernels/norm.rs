//! RMSNorm.
#![expect(
    clippy::cast_possible_truncation,
    reason = "a scale is worked out in double precision and used in single"
)]

use super::lanes::fast;
use super::{dot, share, thread_pool};

/// Normalises one row in place.
#[inline(always)]
pub(crate) fn norm(row: &mut [f32], weight: &[f32], epsilon: f64) {
    let scale = scale(row, epsilon);
    for (value, weight) in row.iter_mut().zip(weight) {
        *value *= scale * weight;
    }
}

/// Normalises rows of a row-major matrix.
pub(crate) fn norm_rows(rows: &[f32], weight: &[f32], epsilon: f64, out: &mut Vec<f32>) {
    let width = weight.len();
    out.resize(rows.len(), 0.0);
    let each = share(rows.len() / width) * width;
    thread_pool::pieces(out, each, |index, out| {
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
