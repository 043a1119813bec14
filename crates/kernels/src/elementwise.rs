//! Elementwise operations on rows: SwiGLU and addition.

use crate::exponent::{exp, exps};
use crate::lanes::{InstructionSet, Lanes, Work};
use crate::thread_pool::{pieces, share};

/// SwiGLU: `silu(gate) * up`, for rows that hold all gates and then all ups.
pub(crate) fn gated(rows: &[f32], inner: usize, out: &mut Vec<f32>) {
    out.resize(rows.len() / 2, 0.0);
    let each = share(out.len() / inner);
    pieces(out, each * inner, |index, out| {
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
            let below = lanes.plus(one, exps(lanes, lanes.minus(lanes.float(0.0), gate)));
            lanes.store(lanes.times(lanes.over(gate, below), lanes.load(up)), out);
        }
        for ((out, gate), up) in last.iter_mut().zip(last_gates).zip(last_ups) {
            *out = gate / (1.0 + exp(0.0 - gate)) * up;
        }
    }
}

pub(crate) fn add(into: &mut [f32], what: &[f32]) {
    const PIECE: usize = 1 << 13;
    pieces(into, PIECE, |index, into| {
        let what = what.chunks(PIECE).nth(index).unwrap_or_default();
        into.iter_mut().zip(what).for_each(|(into, what)| *into += what);
    });
}
