//! LoRA on the CPU: adds `scale * B * A * x` to a projection's output. A row's result is made by the same
//! additions in the same order whichever rows are computed along with it.

use std::borrow::Cow;
use std::ops::Range;

use crate::lanes::{LANES, Lanes};
use crate::numbers::{Dtype, Reader, sums};
use crate::product::{FloatType, Matrix};
use crate::thread_pool::pieces;

/// The outputs of a panel: one step of the product with B computes all of them at once.
const PANEL: usize = LANES;
/// Rows that share one read of the weights.
const ROWS: usize = 4;
/// Rows of A, or panels of B, that are computed at once, so that additions don't wait for each other.
const TOGETHER: usize = 4;
/// From this many multiplications per row on, a row's work is split between threads.
const SPLIT: usize = 1 << 18;
/// Panels of B, or rows of A, in one task of such split work.
const PIECE: usize = 16;

/// An adapter's LoRA matrices for a fused projection: one or several matrices of the same input.
#[derive(Debug)]
pub struct LoraProjection {
    inputs: usize,
    /// The A matrices, stacked by rows: they are one product.
    down: Matrix,
    ranks: usize,
    ups: Vec<Up>,
}

/// The B matrix of one of those.
#[derive(Debug)]
pub struct Up {
    /// B in panels: for each panel of outputs, a row for each rank.
    pub panels: Matrix,
    pub rank: usize,
    pub scale: f32,
    /// Offset of its outputs within the fused projection.
    pub first: usize,
    pub outputs: usize,
}

/// Rearranges a row-major B matrix into panels as `Up` has them. `from` maps each output to its row of the
/// matrix.
pub fn panels(bytes: &[u8], rank: usize, outputs: usize, from: impl Fn(usize) -> usize) -> Vec<u8> {
    let size = bytes.len() / (rank * outputs);
    let mut out = vec![0; outputs.next_multiple_of(PANEL) * rank * size];
    for output in 0..outputs {
        let row = from(output) * rank * size;
        let row = bytes.get(row..row + rank * size).unwrap_or_default();
        let (panel, lane) = (output / PANEL, output % PANEL);
        for (step, number) in row.chunks_exact(size).enumerate() {
            let at = ((panel * rank + step) * PANEL + lane) * size;
            if let Some(into) = out.get_mut(at..at + size) {
                into.copy_from_slice(number);
            }
        }
    }
    out
}

/// Whether all numbers are finite.
pub fn are_numbers(kind: FloatType, bytes: &[u8]) -> bool {
    let halves = |exponent: u16| {
        bytes.as_chunks().0.iter().all(|half| u16::from_le_bytes(*half) & exponent != exponent)
    };
    match kind {
        FloatType::Single => {
            const EXPONENT: u32 = 0x7f80_0000;
            bytes.as_chunks().0.iter().all(|one| u32::from_le_bytes(*one) & EXPONENT != EXPONENT)
        }
        FloatType::Half => halves(0x7c00),
        FloatType::Brain => halves(0x7f80),
    }
}

/// A row of inputs, and the row of outputs that is added to.
pub(crate) type Added<'a> = (&'a [f32], &'a mut [f32]);

impl LoraProjection {
    /// `ups` has to be in the order in which their A matrices are stacked in `down`.
    pub fn new(inputs: usize, down: Matrix, ups: Vec<Up>) -> Self {
        let ranks = ups.iter().map(|up| up.rank).sum();
        Self { inputs, down, ranks, ups }
    }

    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// The highest rank among its matrices.
    pub(crate) fn rank(&self) -> usize {
        self.ups.iter().map(|up| up.rank).max().unwrap_or_default()
    }

    /// The multiplications that a row costs.
    pub(crate) fn products(&self) -> usize {
        self.ranks * self.inputs + self.ups.iter().map(|up| up.rank * up.outputs).sum::<usize>()
    }

    pub fn bytes(&self) -> u64 {
        self.down.bytes() + self.ups.iter().map(|up| up.panels.bytes()).sum::<u64>()
    }

    /// All A matrices, stacked: a row of inputs for each rank.
    pub fn down_matrix(&self) -> Cow<'_, [f32]> {
        self.down.singles()
    }

    /// All B matrices as one, with `scale` applied: for each of `outputs` outputs, a number for each rank.
    pub fn up_matrix(&self, outputs: usize) -> Vec<f32> {
        let mut out = vec![0.0; outputs * self.ranks];
        let mut first = 0;
        for up in &self.ups {
            let panels = up.panels.singles();
            for output in 0..up.outputs {
                let (panel, lane) = (output / PANEL, output % PANEL);
                let row = (up.first + output) * self.ranks + first;
                let into = out.get_mut(row..row + up.rank).unwrap_or_default();
                for (step, into) in into.iter_mut().enumerate() {
                    let at = (panel * up.rank + step) * PANEL + lane;
                    *into = panels.get(at).copied().unwrap_or_default() * up.scale;
                }
            }
            first += up.rank;
        }
        out
    }

    /// Adds each row's LoRA update to its outputs.
    pub(crate) fn add(&self, rows: &mut [Added<'_>]) {
        for rows in rows.chunks_mut(ROWS) {
            match rows {
                [one, two, three, four] => self.add_some([one, two, three, four]),
                [one, two, three] => self.add_some([one, two, three]),
                [one, two] => self.add_some([one, two]),
                [one] => self.add_some([one]),
                _ => {}
            }
        }
    }

    fn add_some<const N: usize>(&self, rows: [&mut Added<'_>; N]) {
        let lows = self.lows(rows.each_ref().map(|(inputs, _)| *inputs));
        let mut first = 0;
        let mut outs = rows.map(|(_, outputs)| &mut **outputs);
        for up in &self.ups {
            let lows = lows.get(first..first + up.rank).unwrap_or_default();
            first += up.rank;
            let mut outs =
                outs.each_mut().map(|out| out.get_mut(up.first..up.first + up.outputs).unwrap_or_default());
            if up.rank * up.outputs < SPLIT {
                up.add(lows, outs, 0);
                continue;
            }
            for (row, out) in outs.iter_mut().enumerate() {
                let lows: Vec<[f32; 1]> =
                    lows.iter().map(|lows| [lows.get(row).copied().unwrap_or_default()]).collect();
                pieces(out, PIECE * PANEL, |piece, out| up.add(&lows, [out], piece * PIECE));
            }
        }
    }

    /// The intermediate activations (`scale * A * x`) of each row.
    fn lows<const N: usize>(&self, rows: [&[f32]; N]) -> Vec<[f32; N]> {
        let mut lows = vec![[0.0; N]; self.ranks];
        let piece = |piece: usize, lows: &mut [[f32; N]]| {
            let from = piece * PIECE * self.inputs;
            let work = In { weights: from..from + lows.len() * self.inputs, width: self.inputs, rows, lows };
            self.down.go(work);
        };
        if self.ranks * self.inputs < SPLIT {
            piece(0, &mut lows);
        } else {
            pieces(&mut lows, PIECE, piece);
        }
        let scales = self.ups.iter().flat_map(|up| std::iter::repeat_n(up.scale, up.rank));
        for (low, scale) in lows.iter_mut().zip(scales) {
            low.iter_mut().for_each(|low| *low *= scale);
        }
        lows
    }
}

impl Up {
    /// Adds the product with B to outputs, from this panel on.
    fn add<const N: usize>(&self, lows: &[[f32; N]], outs: [&mut [f32]; N], first: usize) {
        self.panels.go(Out { from: first * self.rank * PANEL, lows, outs });
    }
}

/// Some rows of A, the input rows, and where their products go.
struct In<'a, const N: usize> {
    weights: Range<usize>,
    width: usize,
    rows: [&'a [f32]; N],
    lows: &'a mut [[f32; N]],
}

impl<const N: usize> Reader for In<'_, N> {
    #[inline(always)]
    fn of<K: Dtype, L: Lanes>(self, numbers: &[K::One], lanes: L) {
        let weights = numbers.get(self.weights).unwrap_or_default();
        let (some, rest) = self.lows.as_chunks_mut::<TOGETHER>();
        let (first, last) = weights.split_at_checked(some.len() * TOGETHER * self.width).unwrap_or_default();
        for (lows, weights) in some.iter_mut().zip(first.chunks_exact(TOGETHER * self.width)) {
            let mut each = weights.chunks_exact(self.width);
            let weights = [(); TOGETHER].map(|()| each.next().unwrap_or_default());
            *lows = sums::<K, L, _, _>(lanes, weights, self.rows);
        }
        for (low, weights) in rest.iter_mut().zip(last.chunks_exact(self.width)) {
            [*low] = sums::<K, L, _, _>(lanes, [weights], self.rows);
        }
    }
}

/// The panels from an offset on, the intermediate activations, and the outputs that their products are added
/// to.
struct Out<'a, 'b, const N: usize> {
    from: usize,
    lows: &'a [[f32; N]],
    outs: [&'b mut [f32]; N],
}

impl<const N: usize> Reader for Out<'_, '_, N> {
    #[inline(always)]
    fn of<K: Dtype, L: Lanes>(self, numbers: &[K::One], lanes: L) {
        let Self { from, lows, mut outs } = self;
        let (length, size) = (outs.first().map_or(0, |out| out.len()), (lows.len() * PANEL).max(1));
        let mut panels = numbers.get(from..).unwrap_or_default().chunks_exact(size);
        let mut at = 0;
        while at < length {
            if at + TOGETHER * PANEL <= length {
                let some = [(); TOGETHER].map(|()| panels.next().unwrap_or_default());
                add::<K, L, _, _>(lanes, some, lows, &mut outs, at);
                at += TOGETHER * PANEL;
            } else {
                add::<K, L, 1, _>(lanes, [panels.next().unwrap_or_default()], lows, &mut outs, at);
                at += PANEL;
            }
        }
    }
}

/// Adds the products of some panels to the outputs from `at` on.
#[inline(always)]
fn add<K: Dtype, L: Lanes, const P: usize, const N: usize>(
    lanes: L,
    panels: [&[K::One]; P],
    lows: &[[f32; N]],
    outs: &mut [&mut [f32]; N],
    at: usize,
) {
    let mut sums = [[lanes.float(0.0); N]; P];
    let panels = panels.map(|panel| panel.as_chunks::<PANEL>().0);
    for (step, lows) in lows.iter().enumerate() {
        let lows = lows.map(|low| lanes.float(low));
        for (panel, sums) in panels.iter().zip(&mut sums) {
            let Some(weights) = panel.get(step) else { break };
            let weights = K::lanes(lanes, weights);
            for (sum, low) in sums.iter_mut().zip(lows) {
                *sum = lanes.plus(*sum, lanes.times(low, weights));
            }
        }
    }
    for (row, out) in outs.iter_mut().enumerate() {
        let out = out.get_mut(at..).unwrap_or_default();
        for (out, sums) in out.chunks_mut(PANEL).zip(&sums) {
            let Some(sum) = sums.get(row) else { break };
            if let Ok(out) = <&mut [f32; PANEL]>::try_from(&mut *out) {
                lanes.store(lanes.plus(lanes.load(out), *sum), out);
                continue;
            }
            let mut all = [0.0; PANEL];
            lanes.store(*sum, &mut all);
            out.iter_mut().zip(all).for_each(|(out, sum)| *out += sum);
        }
    }
}

impl Matrix {
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Single(all) => 4 * all.len() as u64,
            Self::Half(all) => 2 * all.len() as u64,
            Self::Brain(all) => 2 * all.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let each = |index: u32| ((index.wrapping_mul(2_654_435_761) ^ seed) % 2_001) as f32 / 1_000.0 - 1.0;
        (0..).take(count).map(each).collect()
    }

    fn kept(kind: FloatType, numbers: &[f32]) -> Vec<u8> {
        let bits = |number: &f32| match kind {
            FloatType::Single => number.to_le_bytes().to_vec(),
            FloatType::Half => f16::from_f32(*number).to_le_bytes().to_vec(),
            FloatType::Brain => bf16::from_f32(*number).to_le_bytes().to_vec(),
        };
        numbers.iter().flat_map(bits).collect()
    }

    /// Two LoRA updates of these ranks and numbers of outputs, and their numbers after rounding to `kind`.
    fn low(
        kind: FloatType,
        inputs: usize,
        shapes: [(usize, usize); 2],
    ) -> (LoraProjection, Vec<f32>, [Vec<f32>; 2]) {
        let ranks = shapes[0].0 + shapes[1].0;
        let down = kept(kind, &numbers(inputs * ranks, 3));
        let backs = shapes.map(|(rank, outputs)| kept(kind, &numbers(rank * outputs, 4)));
        let up = |index: usize, scale| Up {
            panels: Matrix::of([(
                kind,
                panels(&backs[index], shapes[index].0, shapes[index].1, |output| output),
            )]),
            rank: shapes[index].0,
            scale,
            // Leaves a gap before the second, as if other outputs were there.
            first: index * (shapes[0].1 + 5),
            outputs: shapes[index].1,
        };
        let ups = vec![up(0, 0.5), up(1, 2.0)];
        let read = |bytes: &[u8]| Matrix::of([(kind, bytes.to_vec())]).singles().into_owned();
        let (read_down, read_backs) = (read(&down), backs.each_ref().map(|back| read(back)));
        (LoraProjection::new(inputs, Matrix::of([(kind, down)]), ups), read_down, read_backs)
    }

    #[test]
    fn it_adds_what_it_should_and_the_same_beside_others() {
        let sizes = [(64, [(4, 40), (3, 16)]), (33, [(1, 1), (16, 100)]), (2_048, [(160, 2_000), (8, 7)])];
        let kinds = [FloatType::Single, FloatType::Half, FloatType::Brain];
        for (kind, (inputs, shapes)) in kinds.into_iter().flat_map(|kind| sizes.map(|size| (kind, size))) {
            let (low, down, backs) = low(kind, inputs, shapes);
            let width = shapes[0].1 + 5 + shapes[1].1 + 1;
            for count in [1, 2, 3, 4, 7] {
                let (rows, before) = (numbers(inputs * count, 1), numbers(width * count, 2));
                let mut after = before.clone();
                let mut pairs: Vec<Added<'_>> = rows.chunks(inputs).zip(after.chunks_mut(width)).collect();
                low.add(&mut pairs);
                let each = rows.chunks(inputs).zip(before.chunks(width)).zip(after.chunks(width));
                for ((row, before), after) in each {
                    let mut alone = before.to_vec();
                    low.add(&mut [(row, &mut alone)]);
                    assert_eq!(alone, after);
                    let few = |down: &[f32]| -> f64 {
                        down.iter().zip(row).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum()
                    };
                    let few: Vec<f64> = down.chunks(inputs).map(few).collect();
                    let mut wanted: Vec<f64> = before.iter().map(|x| f64::from(*x)).collect();
                    let mut rest = few.as_slice();
                    for (index, scale) in [(0, 0.5), (1, 2.0)] {
                        let (few, later) = rest.split_at(shapes[index].0);
                        rest = later;
                        let wanted = wanted[index * (shapes[0].1 + 5)..].iter_mut();
                        for (wanted, back) in wanted.zip(backs[index].chunks(few.len())) {
                            let each = few.iter().zip(back).map(|(few, back)| few * f64::from(*back));
                            *wanted += scale * each.sum::<f64>();
                        }
                    }
                    let size = few.iter().map(|few| few.abs()).sum::<f64>();
                    for (wanted, after) in wanted.iter().zip(after) {
                        assert!((wanted - f64::from(*after)).abs() < 1e-5 * (1.0 + size), "{wanted} {after}");
                    }
                }
            }
        }
    }
}
