//! What each token takes from those before it: one pass over what the pool remembers, without ever holding all weights.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::dot;
use crate::Shape;
use crate::batch::Ragged;
use crate::pool::{BLOCK, Pool, Side};

pub(crate) struct Attending<'a> {
    pub shape: &'a Shape,
    pub pool: &'a Pool,
    pub layer: usize,
    pub batch: &'a Ragged,
    /// Each row's part and its place in that part's text.
    pub places: &'a [(usize, usize)],
}

/// The answers of all queries, a row of every head's for each token. `queries` lie as the answers do.
pub(crate) fn attend(at: &Attending<'_>, queries: &[f32]) -> Vec<f32> {
    let Shape { kv_heads, head_dim, .. } = *at.shape;
    let group = at.shape.query_width() / kv_heads;
    let mut out = vec![0.0; queries.len()];
    // A key's head serves a group of queries' heads, which lie side by side.
    out.par_chunks_exact_mut(group).zip_eq(rayon_chunks(queries, group)).enumerate().for_each(
        |(index, (out, queries))| {
            let Some((part, place)) = at.places.get(index / kv_heads) else { return };
            let Some(part) = at.batch.parts.get(*part) else { return };
            let blocks = part.blocks.get(..place / BLOCK + 1).unwrap_or(&part.blocks);
            one(at, index % kv_heads, (blocks, *place), queries, out, head_dim);
        },
    );
    out
}

fn rayon_chunks(rows: &[f32], size: usize) -> impl IndexedParallelIterator<Item = &[f32]> {
    use rayon::slice::ParallelSlice;
    rows.par_chunks_exact(size)
}

/// A token's queries of one group.
fn one(
    at: &Attending<'_>,
    head: usize,
    (blocks, place): (&[u32], usize),
    queries: &[f32],
    out: &mut [f32],
    head_dim: usize,
) {
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut held = vec![0.0; BLOCK * head_dim];
    // Of each query: the highest score so far, and the sum of all weights relative to it.
    let mut sums = vec![(f32::NEG_INFINITY, 0.0f32); queries.len() / head_dim];
    let mut weights = vec![[0.0f32; BLOCK]; sums.len()];
    for (index, block) in blocks.iter().enumerate() {
        // Later places of the last block are other texts', or none's.
        let seen = (place + 1 - index * BLOCK).min(BLOCK);
        at.pool.read((at.layer, Side::Keys), *block, head, &mut held);
        let each = queries.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim));
        for ((query, out), ((highest, sum), weights)) in each.zip(sums.iter_mut().zip(&mut weights)) {
            let mut top = *highest;
            for (weight, key) in weights.iter_mut().zip(held.chunks_exact(head_dim)).take(seen) {
                *weight = dot(query, key) * scale;
                top = top.max(*weight);
            }
            let shrink = (*highest - top).exp();
            if shrink < 1.0 {
                out.iter_mut().for_each(|value| *value *= shrink);
                *sum *= shrink;
            }
            *highest = top;
            for weight in weights.iter_mut().take(seen) {
                *weight = (*weight - top).exp();
                *sum += *weight;
            }
        }
        at.pool.read((at.layer, Side::Values), *block, head, &mut held);
        for (out, weights) in out.chunks_exact_mut(head_dim).zip(&weights) {
            for (weight, values) in weights.iter().zip(held.chunks_exact(head_dim)).take(seen) {
                for (out, value) in out.iter_mut().zip(values) {
                    *out += weight * value;
                }
            }
        }
    }
    for (out, (_, sum)) in out.chunks_exact_mut(head_dim).zip(&sums) {
        out.iter_mut().for_each(|value| *value /= sum);
    }
}
