//! Causal attention over a batch of concatenated sequences, forward and backward; no sequence attends to
//! another. Attention weights are held for a block of query rows at a time, never for a whole sequence.
#![expect(clippy::indexing_slicing, reason = "heads are cut by the widths that they were made with")]

use std::ops::Range;

use kernels::Architecture;
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use crate::matrix::{By, Into, View, multiply};

/// Query rows of one block.
const QUERIES: usize = 64;

/// Queries, keys and values, each ordered by head, then by row.
pub(super) struct Qkv<'a> {
    pub queries: &'a [f32],
    pub keys: &'a [f32],
    pub values: &'a [f32],
}

/// The attention output, laid out like the queries, and the log-sum-exp of each query's scores.
pub(super) struct Answered {
    pub rows: Vec<f32>,
    pub sums: Vec<f32>,
}

/// The gradients of queries, keys and values.
pub(super) struct Gradients {
    pub queries: Vec<f32>,
    pub keys: Vec<f32>,
    pub values: Vec<f32>,
}

/// A block of queries of one sequence, and the keys up to its last one.
struct Piece {
    /// Rows within the batch.
    queries: Range<usize>,
    keys: Range<usize>,
}

fn pieces(texts: &[Range<usize>]) -> impl Iterator<Item = Piece> {
    texts.iter().flat_map(|text| {
        let end = text.end;
        text.clone().step_by(QUERIES).map(move |first| {
            let last = (first + QUERIES).min(end);
            Piece { queries: first..last, keys: text.start..last }
        })
    })
}

impl Piece {
    /// How many keys each query of the block attends to: all up to its own.
    fn key_counts(&self) -> impl Iterator<Item = usize> {
        let first = self.keys.start;
        self.queries.clone().map(move |row| row + 1 - first)
    }

    /// Scaled dot products of all queries with all keys, those of later keys included; the caller masks them.
    fn scores(&self, out: &mut Vec<f32>, queries: &[f32], keys: &[f32], head_dim: usize) {
        let scale = 1.0 / (head_dim as f32).sqrt();
        out.clear();
        out.resize(self.queries.len() * self.keys.len(), 0.0);
        let queries = View::new(of(queries, &self.queries, head_dim), head_dim);
        let keys = View::new(of(keys, &self.keys, head_dim), head_dim);
        multiply((out, Into::Place), queries, keys.transposed(), scale, By::One);
    }
}

fn of<'a>(head: &'a [f32], rows: &Range<usize>, head_dim: usize) -> &'a [f32] {
    &head[rows.start * head_dim..rows.end * head_dim]
}

fn of_mut<'a>(head: &'a mut [f32], rows: &Range<usize>, head_dim: usize) -> &'a mut [f32] {
    &mut head[rows.start * head_dim..rows.end * head_dim]
}

pub(super) fn forward(shape: &Architecture, texts: &[Range<usize>], qkv: &Qkv<'_>) -> Answered {
    let head_dim = shape.head_dim;
    let (mut rows, mut sums) = (vec![0.0; qkv.queries.len()], vec![0.0; qkv.queries.len() / head_dim]);
    let head = qkv.keys.len() / shape.kv_heads;
    if head == 0 {
        return Answered { rows, sums };
    }
    let group = shape.heads / shape.kv_heads;
    let each = rows.par_chunks_mut(head).zip(sums.par_chunks_mut(head / head_dim));
    each.zip(qkv.queries.par_chunks(head)).enumerate().for_each(|(index, ((out, sums), queries))| {
        let from = index / group * head..(index / group + 1) * head;
        let (keys, values) = (&qkv.keys[from.clone()], &qkv.values[from]);
        let mut weights = Vec::new();
        for piece in pieces(texts) {
            piece.scores(&mut weights, queries, keys, head_dim);
            let sums = &mut sums[piece.queries.clone()];
            let each = weights.chunks_exact_mut(piece.keys.len()).zip(sums).zip(piece.key_counts());
            for ((weights, sum), seen) in each {
                let (weights, later) = weights.split_at_mut(seen);
                *sum = softmax(weights);
                later.fill(0.0);
            }
            let weights = View::new(&weights, piece.keys.len());
            let values = View::new(of(values, &piece.keys, head_dim), head_dim);
            let out = of_mut(out, &piece.queries, head_dim);
            multiply((out, Into::Place), weights, values, 1.0, By::One);
        }
    });
    Answered { rows, sums }
}

/// Softmax in place. Returns the log-sum-exp.
fn softmax(scores: &mut [f32]) -> f32 {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in &mut *scores {
        *score = (*score - top).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|weight| *weight /= sum);
    top + sum.ln()
}

/// The gradients, where `out` is the gradient of the attention output.
pub(super) fn backward(
    shape: &Architecture,
    texts: &[Range<usize>],
    qkv: &Qkv<'_>,
    answered: &Answered,
    out: &[f32],
) -> Gradients {
    let head_dim = shape.head_dim;
    let mut queries = vec![0.0; qkv.queries.len()];
    let (mut keys, mut values) = (vec![0.0; qkv.keys.len()], vec![0.0; qkv.values.len()]);
    let head = qkv.keys.len() / shape.kv_heads;
    if head == 0 {
        return Gradients { queries, keys, values };
    }
    let group = shape.heads / shape.kv_heads;
    // One task per KV head, with all query heads of its group, since all of them add to its gradients.
    let each = keys.par_chunks_mut(head).zip(values.par_chunks_mut(head));
    queries.par_chunks_mut(head * group).zip(each).enumerate().for_each(
        |(index, (queries, (keys, values)))| {
            let from = index * head..(index + 1) * head;
            let (of_keys, of_values) = (&qkv.keys[from.clone()], &qkv.values[from]);
            let mut held = (Vec::new(), Vec::new());
            for (at, queries) in queries.chunks_exact_mut(head).enumerate() {
                let at = index * group + at;
                let own = at * head..(at + 1) * head;
                let one = OneHead {
                    queries: &qkv.queries[own.clone()],
                    keys: of_keys,
                    values: of_values,
                    answers: &answered.rows[own.clone()],
                    sums: &answered.sums[at * head / head_dim..(at + 1) * head / head_dim],
                    out: &out[own],
                    head_dim,
                };
                for piece in pieces(texts) {
                    one.backward(&piece, (queries, keys, values), &mut held);
                }
            }
        },
    );
    Gradients { queries, keys, values }
}

struct OneHead<'a> {
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    answers: &'a [f32],
    sums: &'a [f32],
    out: &'a [f32],
    head_dim: usize,
}

impl OneHead<'_> {
    fn backward(
        &self,
        piece: &Piece,
        (queries, keys, values): (&mut [f32], &mut [f32], &mut [f32]),
        (weights, slopes): &mut (Vec<f32>, Vec<f32>),
    ) {
        let width = self.head_dim;
        let scale = 1.0 / (width as f32).sqrt();
        piece.scores(weights, self.queries, self.keys, width);
        let out = of(self.out, &piece.queries, width);
        slopes.clear();
        slopes.resize(weights.len(), 0.0);
        let seen_values = View::new(of(self.values, &piece.keys, width), width);
        multiply((slopes, Into::Place), View::new(out, width), seen_values.transposed(), 1.0, By::One);
        let sums = &self.sums[piece.queries.clone()];
        let answers = of(self.answers, &piece.queries, width).chunks_exact(width);
        let rows = answers.zip(out.chunks_exact(width)).zip(sums).zip(piece.key_counts());
        let each = weights.chunks_exact_mut(piece.keys.len()).zip(slopes.chunks_exact_mut(piece.keys.len()));
        for ((weights, slopes), (((answer, out), sum), seen)) in each.zip(rows) {
            let along: f32 = answer.iter().zip(out).map(|(answer, out)| answer * out).sum();
            let (weights, later) = weights.split_at_mut(seen);
            later.fill(0.0);
            let (slopes, later) = slopes.split_at_mut(seen);
            later.fill(0.0);
            for (weight, slope) in weights.iter_mut().zip(slopes) {
                *weight = (*weight - sum).exp();
                *slope = *weight * (*slope - along);
            }
        }
        let (weights, slopes) = (View::new(weights, piece.keys.len()), View::new(slopes, piece.keys.len()));
        let into = of_mut(values, &piece.keys, width);
        multiply((into, Into::Sum), weights.transposed(), View::new(out, width), 1.0, By::One);
        let seen_keys = View::new(of(self.keys, &piece.keys, width), width);
        multiply((of_mut(queries, &piece.queries, width), Into::Sum), slopes, seen_keys, scale, By::One);
        let own = View::new(of(self.queries, &piece.queries, width), width);
        multiply((of_mut(keys, &piece.keys, width), Into::Sum), slopes.transposed(), own, scale, By::One);
    }
}
