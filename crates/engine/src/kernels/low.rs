//! What an adapter adds to a product: through few numbers, and out again. A row's numbers are made by the same additions
//! in the same order whichever rows stand beside it.

use std::borrow::Cow;

use super::crew::pieces;
use super::product::sums;
use super::{Matrix, Plain};

/// The outputs that lie side by side: a step of the way out makes all of them at once.
const PANEL: usize = 16;
/// Rows that are read for together.
const ROWS: usize = 4;
/// From so many products for one row on, its work is split among threads.
const SPLIT: usize = 1 << 18;
/// Panels of one piece of such work, and rows of the way in.
const PIECE: usize = 16;

/// All that an adapter has for matrices of one input that lie one below the other.
#[derive(Debug)]
pub(crate) struct Low {
    inputs: usize,
    /// The ways in, one below the other: they are one product.
    down: Matrix,
    ranks: usize,
    ups: Vec<Up>,
}

/// The way out to one of those matrices' outputs.
#[derive(Debug)]
pub(crate) struct Up {
    /// Of each panel of outputs, what each of the few numbers adds to it.
    pub panels: Matrix,
    pub rank: usize,
    pub scale: f32,
    /// Where its outputs begin among those of all.
    pub first: usize,
    pub outputs: usize,
}

/// A matrix of a row for each output, as `Up` has it. `from` tells which row of the matrix each output is.
pub(crate) fn panels(bytes: &[u8], rank: usize, outputs: usize, from: impl Fn(usize) -> usize) -> Vec<u8> {
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

/// Whether bytes hold numbers alone: none is infinite, and none is none.
pub(crate) fn are_numbers(kind: Plain, bytes: &[u8]) -> bool {
    let halves = |exponent: u16| {
        bytes.as_chunks().0.iter().all(|half| u16::from_le_bytes(*half) & exponent != exponent)
    };
    match kind {
        Plain::Single => {
            const EXPONENT: u32 = 0x7f80_0000;
            bytes.as_chunks().0.iter().all(|one| u32::from_le_bytes(*one) & EXPONENT != EXPONENT)
        }
        Plain::Half => halves(0x7c00),
        Plain::Brain => halves(0x7f80),
    }
}

/// A row of inputs, and the outputs that are added to.
pub(crate) type Added<'a> = (&'a [f32], &'a mut [f32]);

impl Low {
    /// The ways out in the order in which `down` has their ways in.
    pub(crate) fn new(inputs: usize, down: Matrix, ups: Vec<Up>) -> Self {
        let ranks = ups.iter().map(|up| up.rank).sum();
        Self { inputs, down, ranks, ups }
    }

    pub(crate) const fn inputs(&self) -> usize {
        self.inputs
    }

    /// The products that a row costs.
    pub(crate) fn products(&self) -> usize {
        self.ranks * self.inputs + self.ups.iter().map(|up| up.rank * up.outputs).sum::<usize>()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.down.bytes() + self.ups.iter().map(|up| up.panels.bytes()).sum::<u64>()
    }

    /// All ways in, as they were read: a row of inputs for each of the few numbers.
    pub(crate) fn ways_in(&self) -> Cow<'_, [f32]> {
        self.down.singles()
    }

    /// All ways out to so many outputs, scaled: of each output what each of the few numbers adds to it.
    pub(crate) fn ways_out(&self, outputs: usize) -> Vec<f32> {
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

    /// Adds what it makes of each row of inputs to that row's outputs.
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

    /// The few numbers of each row, scaled.
    fn lows<const N: usize>(&self, rows: [&[f32]; N]) -> Vec<[f32; N]> {
        let mut lows = vec![[0.0; N]; self.ranks];
        let piece = |piece: usize, lows: &mut [[f32; N]]| {
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || {
                    let mut held = vec![0.0; self.inputs];
                    for (index, low) in lows.iter_mut().enumerate() {
                        *low = sums(self.down.row(piece * PIECE + index, self.inputs, &mut held), rows);
                    }
                },
            );
        };
        if self.ranks * self.inputs < SPLIT {
            lows.chunks_mut(PIECE).enumerate().for_each(|(index, lows)| piece(index, lows));
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
    /// Adds to outputs from a panel on.
    fn add<const N: usize>(&self, lows: &[[f32; N]], mut outs: [&mut [f32]; N], first: usize) {
        let length = outs.first().map_or(0, |out| out.len());
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let mut held = vec![0.0; self.rank * PANEL];
                for panel in 0..length.div_ceil(PANEL) {
                    let steps = self.panels.row(first + panel, self.rank * PANEL, &mut held);
                    let at = panel * PANEL..((panel + 1) * PANEL).min(length);
                    let mut sums = [[0.0f32; PANEL]; N];
                    for (step, lows) in steps.as_chunks::<PANEL>().0.iter().zip(lows) {
                        for (sums, low) in sums.iter_mut().zip(lows) {
                            for (sum, weight) in sums.iter_mut().zip(step) {
                                *sum += low * weight;
                            }
                        }
                    }
                    for (out, sums) in outs.iter_mut().zip(&sums) {
                        let out = out.get_mut(at.clone()).unwrap_or_default();
                        out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
                    }
                }
            },
        );
    }
}

impl Matrix {
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Single(all) => 4 * all.len() as u64,
            Self::Half(all) => 2 * all.len() as u64,
            Self::Brain(all) => 2 * all.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let each = |index: u32| ((index.wrapping_mul(2_654_435_761) ^ seed) % 2_001) as f32 / 1_000.0 - 1.0;
        (0..).take(count).map(each).collect()
    }

    fn bytes(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// Two ways of these ranks, to outputs of these numbers.
    fn low(inputs: usize, ways: [(usize, usize); 2]) -> (Low, Vec<f32>, [Vec<f32>; 2]) {
        let ranks = ways[0].0 + ways[1].0;
        let down = numbers(inputs * ranks, 3);
        let backs = ways.map(|(rank, outputs)| numbers(rank * outputs, 4));
        let up = |way: usize, scale| Up {
            panels: Matrix::of([(
                Plain::Single,
                panels(&bytes(&backs[way]), ways[way].0, ways[way].1, |output| output),
            )]),
            rank: ways[way].0,
            scale,
            // A gap before the second: another's outputs.
            first: way * (ways[0].1 + 5),
            outputs: ways[way].1,
        };
        let low = Low::new(inputs, Matrix::of([(Plain::Single, bytes(&down))]), vec![up(0, 0.5), up(1, 2.0)]);
        (low, down, backs)
    }

    #[test]
    fn it_adds_what_it_should_and_the_same_beside_others() {
        for (inputs, ways) in
            [(64, [(4, 40), (3, 16)]), (33, [(1, 1), (16, 100)]), (2_048, [(160, 2_000), (8, 7)])]
        {
            let (low, down, backs) = low(inputs, ways);
            let width = ways[0].1 + 5 + ways[1].1 + 1;
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
                    for (way, scale) in [(0, 0.5), (1, 2.0)] {
                        let (few, later) = rest.split_at(ways[way].0);
                        rest = later;
                        let wanted = wanted[way * (ways[0].1 + 5)..].iter_mut();
                        for (wanted, back) in wanted.zip(backs[way].chunks(few.len())) {
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
