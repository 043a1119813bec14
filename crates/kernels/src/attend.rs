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

/// How many tokens of a sequence share the reads of the cache.
const TOGETHER: usize = 8;
/// How many queries share the loads of what was read, where there are registers for it.
const SHARED: usize = 4;

/// The attention output, a row of all heads for each token. `qkv` has rows of `stride` numbers that begin
/// with the queries.
pub(crate) fn attend(at: &Attending<'_>, qkv: (&[f32], usize), out: &mut Vec<f32>) {
    attend_by(InstructionSet::best(), at, qkv, out);
}

fn attend_by(isa: InstructionSet, at: &Attending<'_>, (qkv, stride): (&[f32], usize), out: &mut Vec<f32>) {
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
        isa.go(Task {
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
    /// The positions of the current block that the query attends to.
    seen: usize,
    highest: f32,
    sums: [f32; BLOCK],
    /// The scores of the current block, and then their weights.
    weights: [f32; BLOCK],
}

impl Work for Task<'_, '_> {
    #[inline(always)]
    fn with<L: Lanes>(self, lanes: L) {
        let Self { at, head, positions, queries, head_dim: dim, band, .. } = self;
        let scale = 1.0 / (dim as f32).sqrt();
        let group = band.width() / dim;
        let mut held = vec![0.0; BLOCK * dim];
        let nothing = Sums { seen: 0, highest: f32::NEG_INFINITY, sums: [0.0; BLOCK], weights: [0.0; BLOCK] };
        let queries: Vec<&[f32]> = queries.iter().flat_map(|queries| queries.chunks_exact(dim)).collect();
        let mut sums = vec![nothing; queries.len()];
        let mut outs = vec![0.0; queries.len() * dim];
        let last = positions.iter().map(|(_, position)| *position).max().unwrap_or_default();
        for (index, block) in self.blocks.iter().enumerate().take(last / BLOCK + 1) {
            for (sums, (_, position)) in sums.chunks_mut(group).zip(positions) {
                // Later positions of the last block are not this sequence's, or not written yet.
                let seen = (position + 1).saturating_sub(index * BLOCK).min(BLOCK);
                sums.iter_mut().for_each(|sums| sums.seen = seen);
            }
            at.pool.read(lanes, (at.layer, Side::Keys), *block, head, &mut held);
            all_scores(lanes, &queries, &held, scale, &mut sums);
            for (sums, out) in sums.iter_mut().zip(outs.chunks_exact_mut(dim)) {
                if sums.seen > 0 {
                    update_softmax(lanes, sums, out);
                }
            }
            at.pool.read(lanes, (at.layer, Side::Values), *block, head, &mut held);
            take_all(lanes, &mut outs, &sums, &held, dim);
        }
        for (row, (outs, sums)) in outs.chunks(group * dim).zip(sums.chunks(group)).enumerate() {
            let each = outs.chunks_exact(dim).zip(band.row(row).chunks_exact_mut(dim)).zip(sums);
            for ((out, into), sums) in each {
                let sum: f32 = sums.sums.iter().sum();
                into.iter_mut().zip(out).for_each(|(into, value)| *into = value / sum);
            }
        }
    }
}

/// The scores of all queries for all keys of a block. What a query gets does not depend on those beside it.
#[inline(always)]
fn all_scores<L: Lanes>(lanes: L, queries: &[&[f32]], keys: &[f32], scale: f32, sums: &mut [Sums]) {
    let shared = if L::MANY_REGISTERS { queries.len() / SHARED * SHARED } else { 0 };
    let (some, rest) = queries.split_at_checked(shared).unwrap_or_default();
    let (some_sums, rest_sums) = sums.split_at_mut_checked(shared).unwrap_or_default();
    let scale = lanes.float(scale);
    for (queries, sums) in some.as_chunks().0.iter().zip(some_sums.chunks_exact_mut(SHARED)) {
        let scores: [L::Floats; SHARED] = scores(lanes, *queries, keys);
        for (sums, scores) in sums.iter_mut().zip(scores) {
            lanes.store(lanes.times(scores, scale), &mut sums.weights);
        }
    }
    for (query, sums) in rest.iter().zip(rest_sums) {
        let [scores] = scores(lanes, [*query], keys);
        lanes.store(lanes.times(scores, scale), &mut sums.weights);
    }
}

/// Scores of some queries for all keys of a block. Keys are stored transposed: all positions' numbers of one
/// dimension are adjacent.
#[inline(always)]
fn scores<L: Lanes, const N: usize>(lanes: L, queries: [&[f32]; N], keys: &[f32]) -> [L::Floats; N] {
    // Several accumulators, so that additions don't wait for each other.
    let mut sums = [[lanes.float(0.0); 4]; N];
    let add = |sum, query, keys| lanes.plus(sum, lanes.times(lanes.float(query), keys));
    let queries = queries.map(|query| query.as_chunks::<4>());
    let (keys, _) = keys.as_chunks::<BLOCK>();
    let (fours, rest_keys) = keys.as_chunks::<4>();
    for (index, keys) in fours.iter().enumerate() {
        let keys = keys.each_ref().map(|keys| lanes.load(keys));
        for ((query, _), sums) in queries.iter().zip(&mut sums) {
            let Some(query) = query.get(index) else { break };
            for ((sum, query), keys) in sums.iter_mut().zip(query).zip(keys) {
                *sum = add(*sum, *query, keys);
            }
        }
    }
    for ((_, rest), sums) in queries.iter().zip(&mut sums) {
        for (query, keys) in rest.iter().zip(rest_keys) {
            sums[0] = add(sums[0], *query, lanes.load(keys));
        }
    }
    sums.map(|[one, two, three, four]| lanes.plus(lanes.plus(one, two), lanes.plus(three, four)))
}

/// Turns scores into softmax weights, and rescales what was accumulated if there is a new highest score.
#[inline(always)]
fn update_softmax<L: Lanes>(lanes: L, sums: &mut Sums, out: &mut [f32]) {
    let scores = lanes.load(&sums.weights);
    let top = if sums.seen == BLOCK {
        highest(lanes, scores, sums.highest)
    } else {
        let larger = |top: f32, score: &f32| if *score > top { *score } else { top };
        sums.weights.iter().take(sums.seen).fold(sums.highest, larger)
    };
    if top > sums.highest {
        let shrink = exp(sums.highest - top);
        out.iter_mut().for_each(|value| *value *= shrink);
        sums.sums.iter_mut().for_each(|sum| *sum *= shrink);
        sums.highest = top;
    }
    lanes.store(exps(lanes, lanes.minus(scores, lanes.float(top))), &mut sums.weights);
    // Masked positions have no weight.
    sums.weights.iter_mut().skip(sums.seen).for_each(|weight| *weight = 0.0);
    lanes.store(lanes.plus(lanes.load(&sums.sums), lanes.load(&sums.weights)), &mut sums.sums);
}

/// The highest of a block's scores and of those before; a score that is no number is not the highest.
#[inline(always)]
fn highest<L: Lanes>(lanes: L, scores: L::Floats, before: f32) -> f32 {
    let mut tops = [0.0; LANES];
    lanes.store(lanes.larger(scores, lanes.float(before)), &mut tops);
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = tops.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, high)| *low = if *high > *low { *high } else { *low });
        half /= 2;
    }
    let [top, ..] = tops;
    top
}

/// How many vectors of the output are accumulated at once.
const WIDE: usize = 4;

/// Adds the values of a block to the outputs of all queries, by their weights.
#[inline(always)]
fn take_all<L: Lanes>(lanes: L, outs: &mut [f32], sums: &[Sums], values: &[f32], dim: usize) {
    let is_shared = L::MANY_REGISTERS && dim.is_multiple_of(WIDE * LANES);
    for (outs, sums) in outs.chunks_mut(SHARED * dim).zip(sums.chunks(SHARED)) {
        let mut each = outs.chunks_exact_mut(dim);
        if let Some(sums) = sums.as_array::<SHARED>().filter(|_| is_shared)
            && sums.iter().all(|one| one.seen == sums[0].seen)
        {
            let outs = [(); SHARED].map(|()| each.next().unwrap_or_default());
            take_shared(lanes, outs, sums, values, dim);
            continue;
        }
        for (out, sums) in each.zip(sums) {
            take(lanes, out, &sums.weights, values, sums.seen);
        }
    }
}

/// Some vectors of a row, from this number on.
#[inline(always)]
fn vectors(row: &[f32], first: usize) -> Option<&[[f32; LANES]; WIDE]> {
    row.get(first..)?.as_chunks().0.first_chunk()
}

/// Like `take`, for queries that attend to the same positions of the block, which share the loads of its values.
#[inline(always)]
fn take_shared<L: Lanes, const N: usize>(
    lanes: L,
    outs: [&mut [f32]; N],
    sums: &[Sums; N],
    values: &[f32],
    dim: usize,
) {
    let seen = sums.first().map_or(0, |sums| sums.seen);
    let none = [lanes.float(0.0); WIDE];
    let mut outs = outs;
    for first in (0..dim).step_by(WIDE * LANES) {
        let load = |vectors: &[[f32; LANES]; WIDE]| vectors.each_ref().map(|vector| lanes.load(vector));
        let mut all = outs.each_ref().map(|out| vectors(out, first).map_or(none, load));
        for (position, row) in values.chunks_exact(dim).enumerate().take(seen) {
            let row = vectors(row, first).map_or(none, load);
            for (all, sums) in all.iter_mut().zip(sums) {
                let weight = lanes.float(sums.weights.get(position).copied().unwrap_or_default());
                for (sum, values) in all.iter_mut().zip(row) {
                    *sum = lanes.plus(*sum, lanes.times(weight, values));
                }
            }
        }
        for (out, all) in outs.iter_mut().zip(all) {
            let (into, _) = out.get_mut(first..).unwrap_or_default().as_chunks_mut();
            for (into, sum) in into.iter_mut().zip(all) {
                lanes.store(sum, into);
            }
        }
    }
}

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
    use crate::batch::SequenceChunk;
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

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let each = |index: u32| ((index.wrapping_mul(2_654_435_761) ^ seed) % 2_001) as f32 / 500.0 - 2.0;
        (0..).take(count).map(each).collect()
    }

    /// Attention by the definition, in double precision.
    fn attended(query: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>]) -> Vec<f64> {
        let dot = |key: &Vec<f32>| -> f64 {
            key.iter().zip(query).map(|(key, query)| f64::from(*key) * f64::from(*query)).sum()
        };
        let scores: Vec<f64> = keys.iter().map(|key| dot(key) / (query.len() as f64).sqrt()).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let of = |index: usize| -> f64 {
            weights.iter().zip(values).map(|(weight, values)| weight * f64::from(values[index])).sum()
        };
        (0..query.len()).map(|index| of(index) / sum).collect()
    }

    /// A sequence of 40 tokens, of which these are computed: all at once or each alone, and in every way.
    #[test]
    fn attention_is_what_it_should_be_and_the_same_to_the_bit_whichever_way() {
        const TOKENS: usize = 40;
        for (dim, heads) in [(128, 2), (128, 4), (64, 6), (80, 4), (16, 8)] {
            let shape = Architecture { head_dim: dim, heads, kv_heads: 2, ..shape() };
            let (kv, stride) = (shape.kv_width(), shape.query_width() + 2 * shape.kv_width());
            let mut pool = KvCache::new(&shape, KvDtype::F32, 4);
            let blocks = [2, 0, 3];
            let (keys, values) = (numbers(TOKENS * kv, 3), numbers(TOKENS * kv, 4));
            for (position, (keys, values)) in keys.chunks(kv).zip(values.chunks(kv)).enumerate() {
                pool.keep(0, (blocks[position / BLOCK], position % BLOCK), keys, values).unwrap();
            }
            let qkv = numbers(TOKENS * stride, 5);
            let attend = |isa, positions: &[usize]| {
                let tokens = vec![0; positions.len()];
                let chunk = SequenceChunk {
                    tokens,
                    start: positions[0],
                    blocks: blocks.to_vec(),
                    output_from: 0,
                    adapter: None,
                };
                let batch = StepBatch { chunks: vec![chunk] };
                let rows: Vec<f32> =
                    positions.iter().flat_map(|at| &qkv[at * stride..(at + 1) * stride]).copied().collect();
                let positions: Vec<(usize, usize)> = positions.iter().map(|at| (0, *at)).collect();
                let at =
                    Attending { shape: &shape, pool: &pool, layer: 0, batch: &batch, positions: &positions };
                let mut out = Vec::new();
                attend_by(isa, &at, (&rows, stride), &mut out);
                out
            };
            let all: Vec<usize> = (0..TOKENS).collect();
            let together = attend(InstructionSet::Portable, &all);
            for isa in InstructionSet::all() {
                assert_eq!(attend(isa, &all), together, "{isa:?} {dim} {heads}");
                for &at in &all {
                    let alone = &together[at * heads * dim..(at + 1) * heads * dim];
                    assert_eq!(attend(isa, &[at]), alone, "{isa:?} {dim} {heads} {at}");
                }
            }
            for (at, head) in [(0, 0), (15, 1), (16, 0), (39, heads - 1)] {
                let of = |all: &[f32]| -> Vec<Vec<f32>> {
                    let first = head / (heads / 2) * dim;
                    all.chunks(kv).take(at + 1).map(|row| row[first..first + dim].to_vec()).collect()
                };
                let query = &qkv[at * stride + head * dim..at * stride + (head + 1) * dim];
                let ours = &together[(at * heads + head) * dim..(at * heads + head + 1) * dim];
                for (wanted, ours) in attended(query, &of(&keys), &of(&values)).iter().zip(ours) {
                    assert!((wanted - f64::from(*ours)).abs() < 1e-5, "{wanted} {ours} at {at}");
                }
            }
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
