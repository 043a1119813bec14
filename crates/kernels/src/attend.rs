//! Attention over the paged KV cache on the CPU: one pass with an online softmax, without materialising the
//! attention weights. Consecutive tokens of one sequence share the reads of keys and values; their results do
//! not depend on it.

use crate::batch::StepBatch;
use crate::exponent::{exp, exps};
use crate::kv_cache::{BLOCK, KvCache, Side};
use crate::lanes::{InstructionSet, LANES, Lanes, Work};
use crate::shape::Architecture;
use crate::thread_pool::{self, Band};

pub(crate) struct Attending<'a> {
    pub shape: &'a Architecture,
    pub pool: &'a KvCache,
    pub layer: usize,
    pub batch: &'a StepBatch,
    /// Each row's part and its position in that part's sequence.
    pub positions: &'a [(usize, usize)],
}

/// How many tokens of a sequence share the reads.
const TOGETHER: usize = 8;

/// The attention output, a row of all heads for each token. `qkv` has rows of `stride` numbers that begin
/// with the queries.
pub(crate) fn attend(at: &Attending<'_>, (qkv, stride): (&[f32], usize), out: &mut Vec<f32>) {
    let width = at.shape.query_width();
    out.resize(at.positions.len() * width, 0.0);
    // Grouped-query attention: each KV head serves a group of consecutive query heads.
    let group = width / at.shape.kv_heads;
    let runs: Vec<&[(usize, usize)]> = at.positions.chunk_by(|one, other| one.0 == other.0).collect();
    let runs: Vec<&[(usize, usize)]> = runs.iter().flat_map(|run| run.chunks(TOGETHER)).collect();
    let heights: Vec<usize> = runs.iter().map(|run| run.len()).collect();
    thread_pool::grid(out, width, &heights, group, |(run, first), head, band| {
        let Some(positions) = runs.get(run) else { return };
        let rows = qkv.chunks(stride).skip(first).take(positions.len());
        let queries = rows.filter_map(|row| row.get(head * group..(head + 1) * group)).collect();
        let Some(part) = positions.first().and_then(|(part, _)| at.batch.chunks.get(*part)) else { return };
        InstructionSet::best().go(Task {
            at,
            head,
            blocks: &part.blocks,
            positions,
            queries,
            head_dim: at.shape.head_dim,
            band,
        });
    });
}

/// One KV head, for the queries of some tokens.
struct Task<'a, 'b> {
    at: &'a Attending<'a>,
    head: usize,
    blocks: &'a [u32],
    positions: &'a [(usize, usize)],
    /// For each token, the queries of the group.
    queries: Vec<&'a [f32]>,
    head_dim: usize,
    band: &'a mut Band<'b>,
}

/// The online softmax of a query: the highest score so far, and the sums of the weights relative to it, one
/// for each position within a block.
#[derive(Clone, Copy)]
struct Sums {
    highest: f32,
    sums: [f32; BLOCK],
    weights: [f32; BLOCK],
}

impl Work for Task<'_, '_> {
    #[inline(always)]
    fn with<L: Lanes>(self, lanes: L) {
        let Self { at, head, positions, queries, head_dim: dim, band, .. } = self;
        let scale = 1.0 / (dim as f32).sqrt();
        let group = band.width() / dim;
        let mut held = vec![0.0; BLOCK * dim];
        let nothing = Sums { highest: f32::NEG_INFINITY, sums: [0.0; BLOCK], weights: [0.0; BLOCK] };
        let mut sums = vec![nothing; queries.len() * group];
        for row in 0..queries.len() {
            band.row(row).fill(0.0);
        }
        let last = positions.iter().map(|(_, position)| *position).max().unwrap_or_default();
        for (index, block) in self.blocks.iter().enumerate().take(last / BLOCK + 1) {
            // Later positions of the last block are not this sequence's, or not written yet.
            let seen = |position: usize| (position + 1).saturating_sub(index * BLOCK).min(BLOCK);
            at.pool.read(lanes, (at.layer, Side::Keys), *block, head, &mut held);
            for (row, (queries, (_, position))) in queries.iter().zip(positions).enumerate() {
                let seen = seen(*position);
                if seen == 0 {
                    continue;
                }
                let sums = sums.iter_mut().skip(row * group);
                let each = queries.chunks_exact(dim).zip(band.row(row).chunks_exact_mut(dim));
                for ((query, out), sums) in each.zip(sums) {
                    let scores = lanes.times(scores(lanes, query, &held), lanes.float(scale));
                    update_softmax(lanes, scores, seen, sums, out);
                }
            }
            at.pool.read(lanes, (at.layer, Side::Values), *block, head, &mut held);
            for (row, (_, position)) in positions.iter().enumerate() {
                let sums = sums.iter().skip(row * group);
                for (out, sums) in band.row(row).chunks_exact_mut(dim).zip(sums) {
                    take(lanes, out, &sums.weights, &held, seen(*position));
                }
            }
        }
        for row in 0..queries.len() {
            let sums = sums.iter().skip(row * group);
            for (out, sums) in band.row(row).chunks_exact_mut(dim).zip(sums) {
                let sum: f32 = sums.sums.iter().sum();
                out.iter_mut().for_each(|value| *value /= sum);
            }
        }
    }
}

/// Scores of a query for all keys of a block. Keys are stored transposed: all positions' numbers of one
/// dimension are adjacent.
#[inline(always)]
fn scores<L: Lanes>(lanes: L, query: &[f32], keys: &[f32]) -> L::Floats {
    // Several accumulators, so that additions don't wait for each other.
    let none = lanes.float(0.0);
    let (mut one, mut two, mut three, mut four) = (none, none, none, none);
    let add = |sum, query, keys| lanes.plus(sum, lanes.times(lanes.float(query), lanes.load(keys)));
    let (queries, rest) = query.as_chunks::<4>();
    let (keys, _) = keys.as_chunks::<BLOCK>();
    let (fours, rest_keys) = keys.as_chunks::<4>();
    for (query, keys) in queries.iter().zip(fours) {
        one = add(one, query[0], &keys[0]);
        two = add(two, query[1], &keys[1]);
        three = add(three, query[2], &keys[2]);
        four = add(four, query[3], &keys[3]);
    }
    for (query, keys) in rest.iter().zip(rest_keys) {
        one = add(one, *query, keys);
    }
    lanes.plus(lanes.plus(one, two), lanes.plus(three, four))
}

/// Turns scores into softmax weights, and rescales what was accumulated if there is a new highest score.
#[inline(always)]
fn update_softmax<L: Lanes>(lanes: L, scores: L::Floats, seen: usize, sums: &mut Sums, out: &mut [f32]) {
    lanes.store(scores, &mut sums.weights);
    let mut top = sums.highest;
    for score in sums.weights.iter().take(seen) {
        top = if *score > top { *score } else { top };
    }
    if top > sums.highest {
        let shrink = exp(sums.highest - top);
        out.iter_mut().for_each(|value| *value *= shrink);
        sums.sums.iter_mut().for_each(|sum| *sum *= shrink);
        sums.highest = top;
    }
    lanes.store(exps(lanes, lanes.minus(scores, lanes.float(top))), &mut sums.weights);
    // Masked positions have no weight.
    sums.weights.iter_mut().skip(seen).for_each(|weight| *weight = 0.0);
    lanes.store(lanes.plus(lanes.load(&sums.sums), lanes.load(&sums.weights)), &mut sums.sums);
}

/// How many vectors of the output are accumulated at once.
const WIDE: usize = 4;

#[inline(always)]
fn take<L: Lanes>(lanes: L, out: &mut [f32], weights: &[f32; BLOCK], values: &[f32], seen: usize) {
    let dim = out.len();
    let (whole, rest) = out.as_chunks_mut::<LANES>();
    let first = whole.len() * LANES;
    for (index, out) in whole.chunks_mut(WIDE).enumerate() {
        let values = |position: usize| {
            let values = values.get(position * dim + index * WIDE * LANES..(position + 1) * dim);
            values.unwrap_or_default().as_chunks::<LANES>().0
        };
        if let [one, two, three, four] = out {
            let mut sums = [lanes.load(one), lanes.load(two), lanes.load(three), lanes.load(four)];
            for (position, weight) in weights.iter().enumerate().take(seen) {
                if let [one, two, three, four, ..] = values(position) {
                    let weight = lanes.float(*weight);
                    let more = |sum, values| lanes.plus(sum, lanes.times(weight, lanes.load(values)));
                    sums =
                        [more(sums[0], one), more(sums[1], two), more(sums[2], three), more(sums[3], four)];
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                lanes.store(sum, out);
            }
            continue;
        }
        for (lane, out) in out.iter_mut().enumerate() {
            let mut sum = lanes.load(out);
            for (position, weight) in weights.iter().enumerate().take(seen) {
                if let Some(values) = values(position).get(lane) {
                    sum = lanes.plus(sum, lanes.times(lanes.float(*weight), lanes.load(values)));
                }
            }
            lanes.store(sum, out);
        }
    }
    for (index, out) in rest.iter_mut().enumerate() {
        for (weight, values) in weights.iter().zip(values.chunks_exact(dim)).take(seen) {
            *out += weight * values.get(first + index).copied().unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv_cache::KvDtype;
    use crate::shape::{Pairs, Rope, RopeScaling};

    fn shape() -> Architecture {
        Architecture {
            vocabulary: 320,
            hidden: 32,
            layers: 1,
            heads: 2,
            kv_heads: 2,
            head_dim: 16,
            inner: 32,
            norm_epsilon: 1e-6,
            rope: Rope { theta: 10_000.0, stretch: RopeScaling::None },
            context: 128,
            is_tied: true,
            norms_heads: true,
            pairs: Pairs::Halves,
            mixture: None,
        }
    }

    struct Reading<'a>(&'a KvCache, Side, &'a mut [f32]);

    impl Work for Reading<'_> {
        fn with<L: Lanes>(self, lanes: L) {
            let Self(pool, side, into) = self;
            pool.read(lanes, (0, side), 1, 1, into);
        }
    }

    /// A block's keys or values of one head, after two positions were written: a row for each position.
    fn read(pool: &KvCache, isa: InstructionSet, side: Side, dim: usize) -> Vec<Vec<f32>> {
        let mut held = vec![0.0; BLOCK * dim];
        isa.go(Reading(pool, side, &mut held));
        let at = |position: usize, index: usize| match side {
            Side::Keys => held[index * BLOCK + position],
            Side::Values => held[position * dim + index],
        };
        (0..BLOCK).map(|position| (0..dim).map(|index| at(position, index)).collect()).collect()
    }

    #[test]
    fn what_is_kept_is_read_the_same_to_the_bit_whichever_way() {
        for keeps in [KvDtype::F16, KvDtype::Q8, KvDtype::F32] {
            // Whole groups of 32, partial ones, and more than are dequantised at once.
            for dim in [128, 64, 32, 16, 8, 40, 80, 160, 200, 256] {
                let shape = Architecture { head_dim: dim, ..shape() };
                let number = |index: usize| ((index * 37 + dim) % 101) as f32 * 0.07 - 3.3;
                let [keys, values] =
                    [0, 5].map(|first| (first..2 * dim + first).map(number).collect::<Vec<f32>>());
                let mut pool = KvCache::new(&shape, keeps, 2);
                for position in [3, 15] {
                    pool.keep(0, (1, position), &keys, &values).unwrap();
                }
                for (side, kept) in [(Side::Keys, &keys), (Side::Values, &values)] {
                    let rows = read(&pool, InstructionSet::Portable, side, dim);
                    for (position, row) in rows.iter().enumerate() {
                        if ![3, 15].contains(&position) {
                            assert_eq!(row, &vec![0.0; dim], "{keeps:?} {dim}");
                            continue;
                        }
                        // No number is larger than 3.8, so that a quantisation step is at most 0.03.
                        let off = row.iter().zip(&kept[dim..]).map(|(read, kept)| (read - kept).abs());
                        assert!(off.fold(0.0, f32::max) <= 0.0151, "{keeps:?} {dim}");
                    }
                    for isa in InstructionSet::all() {
                        assert_eq!(read(&pool, isa, side, dim), rows, "{isa:?} {keeps:?} {dim}");
                    }
                }
            }
        }
    }
}
