//! CPU kernels: matrix products, attention, RMSNorm, RoPE, SwiGLU and LoRA, with a thread pool of their own.

mod attend;
mod exponent;
mod lanes;
mod lora;
mod norm;
mod numbers;
mod product;
mod quantised;
mod scores;
mod thread_pool;
mod turn;

pub(crate) use attend::{Attending, attend};
pub(crate) use lanes::{Lanes, fast};
pub(crate) use lora::{Added, LoraProjection, Up, are_numbers, panels};
pub(crate) use norm::{norm, norm_rows};
pub(crate) use product::{FloatType, Matrix};
pub(crate) use quantised::{Q8Block, QuantisedMatrix, round};
pub(crate) use scores::{argmax, sum_exp};
pub(crate) use thread_pool::{made, pieces, threads};
pub(crate) use turn::{norm_and_turn, turn};

use self::lanes::{InstructionSet, Work};

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

/// How many of `rows` rows a task takes.
fn share(rows: usize) -> usize {
    rows.div_ceil(thread_pool::threads() * 4).max(1)
}

/// SwiGLU: `silu(gate) * up`, for rows that hold all gates and then all ups.
pub(crate) fn gated(rows: &[f32], inner: usize, out: &mut Vec<f32>) {
    out.resize(rows.len() / 2, 0.0);
    let each = share(out.len() / inner);
    thread_pool::pieces(out, each * inner, |index, out| {
        let rows = rows.chunks_exact(2 * inner).skip(index * each);
        for (row, out) in rows.zip(out.chunks_exact_mut(inner)) {
            let (gates, ups) = row.split_at(inner);
            InstructionSet::best().go(Gated { gates, ups, out });
        }
    });
}

struct Gated<'a> {
    gates: &'a [f32],
    ups: &'a [f32],
    out: &'a mut [f32],
}

impl Work for Gated<'_> {
    #[inline(always)]
    fn with<L: Lanes>(self, lanes: L) {
        let one = lanes.float(1.0);
        let ((gates, last_gates), (ups, last_ups)) = (self.gates.as_chunks(), self.ups.as_chunks());
        let (out, last) = self.out.as_chunks_mut();
        for ((out, gate), up) in out.iter_mut().zip(gates).zip(ups) {
            let gate = lanes.load(gate);
            let below = lanes.plus(one, exponent::exps(lanes, lanes.minus(lanes.float(0.0), gate)));
            lanes.store(lanes.times(lanes.over(gate, below), lanes.load(up)), out);
        }
        for ((out, gate), up) in last.iter_mut().zip(last_gates).zip(last_ups) {
            *out = gate / (1.0 + exponent::exp(0.0 - gate)) * up;
        }
    }
}

pub(crate) fn add(into: &mut [f32], what: &[f32]) {
    const PIECE: usize = 1 << 13;
    thread_pool::pieces(into, PIECE, |index, into| {
        let what = what.chunks(PIECE).nth(index).unwrap_or_default();
        into.iter_mut().zip(what).for_each(|(into, what)| *into += what);
    });
}
