//! What is computed beside products with weights, on plain numbers.

mod attend;
mod low;
mod norm;
mod product;
mod turn;

pub(crate) use attend::{Attending, attend};
pub(crate) use low::{Added, Low, Up, are_numbers, panels};
pub(crate) use norm::{norm, norm_rows};
pub(crate) use product::{Matrix, Plain};
pub(crate) use turn::turn;

/// A weighted sum of two rows, in several lanes at once.
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

/// `silu(gate) * up`, of rows that have the one behind the other.
pub(crate) fn gated(rows: &[f32], inner: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows.len() / 2);
    for row in rows.chunks_exact(2 * inner) {
        let (gates, ups) = row.split_at(inner);
        out.extend(gates.iter().zip(ups).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up));
    }
    out
}

pub(crate) fn add(into: &mut [f32], what: &[f32]) {
    for (into, what) in into.iter_mut().zip(what) {
        *into += what;
    }
}
