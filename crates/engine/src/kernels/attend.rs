//! What each token takes from those before it: one pass over what the pool remembers, without ever holding all weights.
//! Tokens of one text that stand behind each other share what is read; what each takes does not depend on it.

use super::crew::{self, Band};
use super::exponent::exp;
use super::lanes::fast;
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

/// The tokens of a text that share what is read.
const TOGETHER: usize = 8;
const LANES: usize = 16;

/// The answers of all queries, a row of every head's for each token. Queries come first in rows that are so long.
pub(crate) fn attend(at: &Attending<'_>, (asked, stride): (&[f32], usize), out: &mut Vec<f32>) {
    let width = at.shape.query_width();
    out.resize(at.places.len() * width, 0.0);
    // A key's head serves a group of queries' heads, which lie side by side.
    let group = width / at.shape.kv_heads;
    let runs: Vec<&[(usize, usize)]> = at.places.chunk_by(|one, other| one.0 == other.0).collect();
    let runs: Vec<&[(usize, usize)]> = runs.iter().flat_map(|run| run.chunks(TOGETHER)).collect();
    let heights: Vec<usize> = runs.iter().map(|run| run.len()).collect();
    crew::grid(out, width, &heights, group, |(run, first), head, band| {
        let Some(places) = runs.get(run) else { return };
        let rows = asked.chunks(stride).skip(first).take(places.len());
        let queries = rows.filter_map(|row| row.get(head * group..(head + 1) * group)).collect();
        let Some(part) = places.first().and_then(|(part, _)| at.batch.parts.get(*part)) else { return };
        let task = Task { at, head, blocks: &part.blocks, places, queries, head_dim: at.shape.head_dim };
        fast(
            #[inline(always)]
            || task.work(band),
        );
    });
}

/// One head's keys and values, for some tokens' queries.
struct Task<'a> {
    at: &'a Attending<'a>,
    head: usize,
    blocks: &'a [u32],
    places: &'a [(usize, usize)],
    /// Of each token those of the group.
    queries: Vec<&'a [f32]>,
    head_dim: usize,
}

/// What is known of a query's weights so far: the highest score, and the sum of all weights relative to it.
#[derive(Clone, Copy)]
struct Sums {
    highest: f32,
    sum: f32,
    weights: [f32; BLOCK],
}

impl Task<'_> {
    #[inline(always)]
    fn work(&self, band: &mut Band<'_>) {
        let dim = self.head_dim;
        let scale = 1.0 / (dim as f32).sqrt();
        let group = band.width() / dim;
        let mut held = vec![0.0; BLOCK * dim];
        let nothing = Sums { highest: f32::NEG_INFINITY, sum: 0.0, weights: [0.0; BLOCK] };
        let mut sums = vec![nothing; self.queries.len() * group];
        for row in 0..self.queries.len() {
            band.row(row).fill(0.0);
        }
        let last = self.places.iter().map(|(_, place)| *place).max().unwrap_or_default();
        for (index, block) in self.blocks.iter().enumerate().take(last / BLOCK + 1) {
            // Later places of the last block are other texts', or none's.
            let seen = |place: usize| (place + 1).saturating_sub(index * BLOCK).min(BLOCK);
            self.at.pool.read((self.at.layer, Side::Keys), *block, self.head, &mut held);
            for (row, (queries, (_, place))) in self.queries.iter().zip(self.places).enumerate() {
                let seen = seen(*place);
                if seen == 0 {
                    continue;
                }
                let sums = sums.iter_mut().skip(row * group);
                let each = queries.chunks_exact(dim).zip(band.row(row).chunks_exact_mut(dim));
                for ((query, out), sums) in each.zip(sums) {
                    weigh(&scores(query, &held), scale, seen, sums, out);
                }
            }
            self.at.pool.read((self.at.layer, Side::Values), *block, self.head, &mut held);
            for (row, (_, place)) in self.places.iter().enumerate() {
                let sums = sums.iter().skip(row * group);
                for (out, sums) in band.row(row).chunks_exact_mut(dim).zip(sums) {
                    take(out, &sums.weights, &held, seen(*place));
                }
            }
        }
        for row in 0..self.queries.len() {
            let sums = sums.iter().skip(row * group);
            for (out, sums) in band.row(row).chunks_exact_mut(dim).zip(sums) {
                out.iter_mut().for_each(|value| *value /= sums.sum);
            }
        }
    }
}

/// A query by all keys of a block, of which the numbers of the same dimension lie beside each other.
#[inline(always)]
fn scores(query: &[f32], keys: &[f32]) -> [f32; BLOCK] {
    // Several sums, so that none waits for another.
    let mut sums = [[0.0f32; BLOCK]; 4];
    let (queries, rest) = query.as_chunks::<4>();
    let (keys, _) = keys.as_chunks::<BLOCK>();
    let (fours, rest_keys) = keys.as_chunks::<4>();
    for (query, keys) in queries.iter().zip(fours) {
        for ((sums, query), keys) in sums.iter_mut().zip(query).zip(keys) {
            add_scaled(sums, *query, keys);
        }
    }
    for ((sums, query), keys) in sums.iter_mut().zip(rest).zip(rest_keys) {
        add_scaled(sums, *query, keys);
    }
    let [mut one, two, three, last] = sums;
    for (((one, two), three), last) in one.iter_mut().zip(two).zip(three).zip(last) {
        *one = (*one + two) + (three + last);
    }
    one
}

#[inline(always)]
fn add_scaled(sums: &mut [f32; LANES], by: f32, what: &[f32; LANES]) {
    for (sum, what) in sums.iter_mut().zip(what) {
        *sum += by * what;
    }
}

/// Makes weights of scores, and what was taken so far relative to the highest of them.
#[inline(always)]
fn weigh(scores: &[f32; BLOCK], scale: f32, seen: usize, sums: &mut Sums, out: &mut [f32]) {
    let scores = scores.map(|score| score * scale);
    let top = scores.iter().take(seen).fold(sums.highest, |top, score| top.max(*score));
    let shrink = exp(sums.highest - top);
    if shrink < 1.0 {
        out.iter_mut().for_each(|value| *value *= shrink);
        sums.sum *= shrink;
    }
    sums.highest = top;
    for (weight, score) in sums.weights.iter_mut().zip(scores) {
        *weight = exp(score - top);
    }
    sums.sum += sums.weights.iter().take(seen).sum::<f32>();
}

#[inline(always)]
fn take(out: &mut [f32], weights: &[f32; BLOCK], values: &[f32], seen: usize) {
    let dim = out.len();
    let (lanes, rest) = out.as_chunks_mut::<LANES>();
    let first = lanes.len() * LANES;
    for (index, lanes) in lanes.iter_mut().enumerate() {
        let mut sums = *lanes;
        for (weight, values) in weights.iter().zip(values.chunks_exact(dim)).take(seen) {
            if let Some(values) = values.get(index * LANES..).and_then(<[f32]>::first_chunk) {
                add_scaled(&mut sums, *weight, values);
            }
        }
        *lanes = sums;
    }
    for (index, out) in rest.iter_mut().enumerate() {
        for (weight, values) in weights.iter().zip(values.chunks_exact(dim)).take(seen) {
            *out += weight * values.get(first + index).copied().unwrap_or_default();
        }
    }
}
