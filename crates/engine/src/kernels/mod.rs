//! What is computed beside products with weights, on plain numbers.

mod attend;
mod crew;
mod exponent;
mod lanes;
mod low;
mod norm;
mod product;
mod rounded;
mod scores;
mod turn;

pub(crate) use attend::{Attending, attend};
pub(crate) use crew::made;
pub(crate) use low::{Added, Low, Up, are_numbers, panels};
pub(crate) use norm::{norm, norm_rows};
pub(crate) use product::{Matrix, Plain, by_output};
pub(crate) use rounded::{Eight, Rounded, round};
pub(crate) use scores::{likeliest, weight_of_all};
pub(crate) use turn::{norm_and_turn, turn};

/// A weighted sum of two rows, in several lanes at once.
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

/// How many of so many rows a task takes.
fn share(rows: usize) -> usize {
    rows.div_ceil(crew::threads() * 4).max(1)
}

/// `silu(gate) * up`, of rows that have the one behind the other.
pub(crate) fn gated(rows: &[f32], inner: usize, out: &mut Vec<f32>) {
    out.resize(rows.len() / 2, 0.0);
    // A single row is long enough to be shared.
    const PIECE: usize = 1 << 9;
    let piece = if inner % PIECE == 0 { PIECE } else { inner };
    let each = piece * share(out.len() / piece);
    crew::pieces(out, each, |index, out| {
        let first = index * each;
        lanes::fast(
            #[inline(always)]
            || {
                for (index, out) in out.chunks_exact_mut(piece).enumerate() {
                    let at = first + index * piece;
                    let (row, column) = (at / inner, at % inner);
                    let gates = rows.iter().skip(row * 2 * inner + column);
                    let ups = rows.iter().skip(row * 2 * inner + inner + column);
                    for ((out, gate), up) in out.iter_mut().zip(gates).zip(ups) {
                        *out = gate / (1.0 + exponent::exp(-gate)) * up;
                    }
                }
            },
        );
    });
}

pub(crate) fn add(into: &mut [f32], what: &[f32]) {
    const PIECE: usize = 1 << 13;
    crew::pieces(into, PIECE, |index, into| {
        let what = what.chunks(PIECE).nth(index).unwrap_or_default();
        into.iter_mut().zip(what).for_each(|(into, what)| *into += what);
    });
}
