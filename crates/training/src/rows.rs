//! Row-wise operations between the matrix products, forward and backward: RMSNorm, RoPE and SwiGLU gates.
//! Sums over rows are made from chunks of a fixed size in a fixed order, whatever the number of threads.
#![expect(clippy::indexing_slicing, reason = "rows are cut by the widths that they were made with")]

use kernels::{Angles, Architecture, norm, norm_rows, turn};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

/// Rows of one task.
const PIECE: usize = 64;

/// RMSNorm of rows.
pub(super) fn norms_of(rows: &[f32], weight: &[f32], epsilon: f64) -> Vec<f32> {
    let mut out = Vec::new();
    norm_rows(rows, weight, epsilon, &mut out);
    out
}

/// Backward pass of the norm: adds the gradient of its input to `back`, and the gradient of its weights to
/// `slopes`.
pub(super) fn norm_backward(
    (rows, weight, epsilon): (&[f32], &[f32], f64),
    out: &[f32],
    back: &mut [f32],
    slopes: Option<&mut [f32]>,
) {
    let width = weight.len();
    let piece = PIECE * width;
    let of_weights: Vec<Vec<f32>> = back
        .par_chunks_mut(piece)
        .zip(rows.par_chunks(piece).zip(out.par_chunks(piece)))
        .map(|(back, (rows, out))| {
            let mut slopes = vec![0.0; width];
            let each = rows.chunks_exact(width).zip(out.chunks_exact(width));
            for (back, (row, out)) in back.chunks_exact_mut(width).zip(each) {
                one_norm_backward((row, weight, epsilon), out, back, &mut slopes);
            }
            slopes
        })
        .collect();
    add_up(slopes, &of_weights);
}

fn one_norm_backward(
    (row, weight, epsilon): (&[f32], &[f32], f64),
    out: &[f32],
    back: &mut [f32],
    slopes: &mut [f32],
) {
    let mean = row.iter().map(|value| f64::from(value * value)).sum::<f64>() / row.len() as f64;
    let scale = 1.0 / (mean + epsilon).sqrt();
    let along: f64 =
        row.iter().zip(weight).zip(out).map(|((value, weight), out)| f64::from(value * weight * out)).sum();
    let (shrink, scale) = ((along * scale * scale * scale / row.len() as f64) as f32, scale as f32);
    for index in 0..row.len() {
        back[index] += scale * out[index] * weight[index] - shrink * row[index];
        slopes[index] += scale * out[index] * row[index];
    }
}

fn add_up(into: Option<&mut [f32]>, pieces: &[Vec<f32>]) {
    let Some(into) = into else { return };
    for piece in pieces {
        into.iter_mut().zip(piece).for_each(|(into, number)| *into += number);
    }
}

/// How heads are made of a projection's rows: split, normed, RoPE applied.
pub(super) struct Heads<'a> {
    pub count: usize,
    pub shape: &'a Architecture,
    /// `None` for values, like `angles`: they are neither normed nor rotated.
    pub norm: Option<&'a [f32]>,
    pub angles: Option<&'a Angles>,
}

impl Heads<'_> {
    /// From row-major (all heads of a row together) to head-major (all rows of a head together).
    pub(super) fn forward(&self, rows: &[f32]) -> Vec<f32> {
        let Architecture { head_dim, norm_epsilon, pairs, .. } = *self.shape;
        let width = self.count * head_dim;
        let count = rows.len() / width;
        let mut out = vec![0.0; rows.len()];
        if count == 0 {
            return out;
        }
        out.par_chunks_mut(count * head_dim).enumerate().for_each(|(head, out)| {
            for (row, out) in out.chunks_exact_mut(head_dim).enumerate() {
                let first = row * width + head * head_dim;
                out.copy_from_slice(&rows[first..first + head_dim]);
                if let Some(weight) = self.norm {
                    norm(out, weight, norm_epsilon);
                }
                if let Some(angles) = self.angles {
                    turn(out, angles.of(row), pairs);
                }
            }
        });
        out
    }

    /// The gradient of the rows, from the gradient of the heads.
    pub(super) fn backward(&self, rows: &[f32], heads: &[f32], slopes: Option<&mut [f32]>) -> Vec<f32> {
        let Architecture { head_dim, norm_epsilon, pairs, .. } = *self.shape;
        let width = self.count * head_dim;
        let count = rows.len() / width;
        let mut back = vec![0.0; rows.len()];
        let of_weights: Vec<Vec<f32>> = back
            .par_chunks_mut(PIECE * width)
            .enumerate()
            .map(|(piece, back)| {
                let mut slopes = vec![0.0; head_dim];
                let (mut turned, mut against) = (vec![0.0; head_dim], vec![0.0; head_dim / 2]);
                for (row, back) in back.chunks_exact_mut(width).enumerate() {
                    let row = piece * PIECE + row;
                    for (head, back) in back.chunks_exact_mut(head_dim).enumerate() {
                        let first = (head * count + row) * head_dim;
                        turned.copy_from_slice(&heads[first..first + head_dim]);
                        if let Some(angles) = self.angles {
                            let (cosines, sines) = angles.of(row);
                            against.iter_mut().zip(sines).for_each(|(into, sine)| *into = -sine);
                            turn(&mut turned, (cosines, &against), pairs);
                        }
                        let first = row * width + head * head_dim;
                        let of = &rows[first..first + head_dim];
                        match self.norm {
                            Some(weight) => {
                                let norm = (of, weight, norm_epsilon);
                                one_norm_backward(norm, &turned, back, &mut slopes);
                            }
                            None => back.copy_from_slice(&turned),
                        }
                    }
                }
                slopes
            })
            .collect();
        add_up(slopes, &of_weights);
        back
    }
}

/// From head-major back to row-major, as a projection takes it.
pub(super) fn side_by_side(heads: &[f32], count: usize, head_dim: usize) -> Vec<f32> {
    let width = count * head_dim;
    let rows = heads.len() / width;
    let mut out = vec![0.0; heads.len()];
    out.par_chunks_mut(PIECE * width).enumerate().for_each(|(piece, out)| {
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
                let first = (head * rows + piece * PIECE + row) * head_dim;
                out.copy_from_slice(&heads[first..first + head_dim]);
            }
        }
    });
    out
}

/// Numbers of one task of an element-wise operation.
const NUMBERS: usize = 8_192;

/// `silu(gate) * up`.
pub(super) fn gated(gates: &[f32], ups: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; gates.len()];
    let each = gates.par_chunks(NUMBERS).zip(ups.par_chunks(NUMBERS));
    out.par_chunks_mut(NUMBERS).zip(each).for_each(|(out, (gates, ups))| {
        for ((out, gate), up) in out.iter_mut().zip(gates).zip(ups) {
            *out = gate / (1.0 + (-gate).exp()) * up;
        }
    });
    out
}

/// Overwrites gates and ups with their gradients.
pub(super) fn gated_backward(gates: &mut [f32], ups: &mut [f32], out: &[f32]) {
    let each = ups.par_chunks_mut(NUMBERS).zip(out.par_chunks(NUMBERS));
    gates.par_chunks_mut(NUMBERS).zip(each).for_each(|(gates, (ups, out))| {
        for ((gate, up), out) in gates.iter_mut().zip(ups).zip(out) {
            let open = 1.0 / (1.0 + (-*gate).exp());
            let through = *gate * open;
            let slope = open * (1.0 + *gate * (1.0 - open));
            (*gate, *up) = (out * *up * slope, out * through);
        }
    });
}

pub(super) fn add(into: &mut [f32], what: &[f32]) {
    into.par_chunks_mut(NUMBERS).zip(what.par_chunks(NUMBERS)).for_each(|(into, what)| {
        into.iter_mut().zip(what).for_each(|(into, what)| *into += what);
    });
}
