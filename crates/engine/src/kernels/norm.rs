//! Root mean square norms.

use super::dot;

/// Norms one row in its place.
pub(crate) fn norm(row: &mut [f32], weight: &[f32], epsilon: f64) {
    let scale = scale(row, epsilon);
    for (value, weight) in row.iter_mut().zip(weight) {
        *value *= scale * weight;
    }
}

/// The norms of rows that lie one behind the other.
pub(crate) fn norm_rows(rows: &[f32], weight: &[f32], epsilon: f64) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(weight.len()) {
        let scale = scale(row, epsilon);
        out.extend(row.iter().zip(weight).map(|(value, weight)| value * (scale * weight)));
    }
    out
}

fn scale(row: &[f32], epsilon: f64) -> f32 {
    let mean = f64::from(dot(row, row)) / row.len() as f64;
    (1.0 / (mean + epsilon).sqrt()) as f32
}
