//! The 8-bit KV cache, with a scale for each 32 values of a head. Each token is quantised by itself when it
//! is stored, so the result does not depend on its neighbours in the block.

use std::ops::Range;

use half::f16;

use super::{BLOCK, Side};
use crate::lanes::{Lanes, fast};

/// Values that share a scale; a head's last group may be smaller.
pub(super) const GROUP: usize = 32;
/// How many groups' scales are unpacked at once.
const WIDE: usize = 4;

#[derive(Debug)]
pub(super) struct Eights {
    /// Keys: a row of sixteen tokens for each dimension. Values: a row of a head for each token.
    numbers: Vec<i8>,
    /// The bits of f16 scales: sixteen tokens for each group, for keys and values alike.
    scales: Vec<u16>,
}

/// The bytes that one head takes for one token.
pub(super) const fn bytes(head_dim: usize) -> usize {
    head_dim + 2 * head_dim.div_ceil(GROUP)
}

impl Eights {
    /// Allocates this many head-blocks.
    pub(super) fn new(heads: usize, dim: usize) -> Self {
        let scales = vec![0; heads * BLOCK * dim.div_ceil(GROUP)];
        Self { numbers: vec![0; heads * BLOCK * dim], scales }
    }

    /// The numbers and the scales of consecutive heads.
    pub(super) fn heads(&self, heads: Range<usize>, dim: usize) -> (&[i8], &[u16]) {
        let (numbers, scales) = spans(&heads, dim);
        (self.numbers.get(numbers).unwrap_or_default(), self.scales.get(scales).unwrap_or_default())
    }

    pub(super) fn heads_mut(&mut self, heads: Range<usize>, dim: usize) -> (&mut [i8], &mut [u16]) {
        let (numbers, scales) = spans(&heads, dim);
        (self.numbers.get_mut(numbers).unwrap_or_default(), self.scales.get_mut(scales).unwrap_or_default())
    }

    fn of_mut(&mut self, head: usize, dim: usize) -> (&mut [i8], &mut [[u16; BLOCK]]) {
        let (size, groups) = (BLOCK * dim, dim.div_ceil(GROUP));
        let numbers = self.numbers.get_mut(head * size..(head + 1) * size).unwrap_or_default();
        let (scales, _) = self.scales.as_chunks_mut();
        (numbers, scales.get_mut(head * groups..(head + 1) * groups).unwrap_or_default())
    }

    /// Quantises and stores a head's vector of one token.
    pub(super) fn keep(&mut self, side: Side, head: usize, position: usize, values: &[f32]) {
        let dim = values.len();
        let (numbers, scales) = self.of_mut(head, dim);
        // The layout of `numbers`: index of the first value, and the distance between the next ones.
        let (at, apart) = if side == Side::Keys { (position, BLOCK) } else { (position * dim, 1) };
        fast(
            #[inline(always)]
            || {
                let groups = values.chunks(GROUP).zip(scales).enumerate();
                for (index, (values, scales)) in groups {
                    let (scale, rounded) = round(values);
                    if let Some(kept) = scales.get_mut(position) {
                        *kept = scale;
                    }
                    let numbers = numbers.iter_mut().skip(at + index * GROUP * apart).step_by(apart);
                    numbers.zip(&rounded).take(values.len()).for_each(|(kept, number)| *kept = *number);
                }
            },
        );
    }

    pub(super) fn wipe(&mut self, head: usize, dim: usize) {
        let (numbers, scales) = self.of_mut(head, dim);
        numbers.fill(0);
        scales.fill([0; BLOCK]);
    }

    pub(super) fn is_zero(&self) -> bool {
        self.numbers.iter().all(|number| *number == 0) && self.scales.iter().all(|scale| *scale == 0)
    }

    /// Dequantises a head's part of a block. An 8-bit integer times an f16 scale (11 significant bits) is
    /// exact in f32, so every instruction set gives the same result.
    #[inline(always)]
    pub(super) fn read<L: Lanes>(&self, lanes: L, side: Side, head: usize, into: &mut [f32]) {
        let dim = into.len() / BLOCK;
        let (size, groups) = (BLOCK * dim, dim.div_ceil(GROUP));
        let numbers = self.numbers.get(head * size..(head + 1) * size).unwrap_or_default();
        let scales = self.scales.as_chunks().0.get(head * groups..(head + 1) * groups).unwrap_or_default();
        if side == Side::Keys {
            columns(lanes, numbers, scales, into);
        } else {
            rows(lanes, numbers, scales, dim, into);
        }
    }
}

/// Where the numbers and the scales of consecutive heads are.
const fn spans(heads: &Range<usize>, dim: usize) -> (Range<usize>, Range<usize>) {
    let (size, scales) = (BLOCK * dim, BLOCK * dim.div_ceil(GROUP));
    (heads.start * size..heads.end * size, heads.start * scales..heads.end * scales)
}

/// A group's f16 scale, as bits, and its values as multiples of it.
#[inline(always)]
fn round(values: &[f32]) -> (u16, [i8; GROUP]) {
    /// Added to a float, it leaves the nearest integer in the lowest bits.
    const WHOLE: f32 = 12_582_912.0;
    let mut rounded = [0; GROUP];
    // Compared as integers, a NaN is larger than every number, so it is not lost but makes the scale NaN.
    let highest = values.iter().fold(0, |highest, value| highest.max(value.to_bits() & 0x7fff_ffff));
    let exact = f32::from_bits(highest) / 127.0;
    let near = f16::from_f32(exact);
    // The scale is rounded up if necessary, so that the largest value is at most 127 steps.
    let scale = if near.to_f32() < exact { f16::from_bits(near.to_bits() + 1) } else { near };
    if highest > 0 {
        let step = scale.to_f32();
        for (rounded, value) in rounded.iter_mut().zip(values) {
            let [lowest, ..] = (value / step + WHOLE).to_bits().wrapping_sub(WHOLE.to_bits()).to_le_bytes();
            *rounded = lowest.cast_signed();
        }
    }
    (scale.to_bits(), rounded)
}

#[inline(always)]
fn columns<L: Lanes>(lanes: L, numbers: &[i8], scales: &[[u16; BLOCK]], into: &mut [f32]) {
    let ((numbers, _), (into, _)) = (numbers.as_chunks(), into.as_chunks_mut());
    for ((numbers, into), scales) in numbers.chunks(GROUP).zip(into.chunks_mut(GROUP)).zip(scales) {
        let scales = lanes.halves(scales);
        for (into, numbers) in into.iter_mut().zip(numbers) {
            lanes.store(lanes.times(lanes.floats(lanes.ints(numbers)), scales), into);
        }
    }
}

#[inline(always)]
fn rows<L: Lanes>(lanes: L, numbers: &[i8], scales: &[[u16; BLOCK]], dim: usize, into: &mut [f32]) {
    for (index, scales) in scales.chunks(WIDE).enumerate() {
        let mut singles = [[0.0; BLOCK]; WIDE];
        for (singles, scales) in singles.iter_mut().zip(scales) {
            lanes.store(lanes.halves(scales), singles);
        }
        let (first, end) = (index * WIDE * GROUP, dim.min((index + 1) * WIDE * GROUP));
        for (position, (numbers, into)) in
            numbers.chunks_exact(dim).zip(into.chunks_exact_mut(dim)).enumerate()
        {
            let numbers = numbers.get(first..end).unwrap_or_default().chunks(GROUP);
            let into = into.get_mut(first..end).unwrap_or_default().chunks_mut(GROUP);
            for ((numbers, into), singles) in numbers.zip(into).zip(&singles) {
                row(lanes, numbers, singles.get(position).copied().unwrap_or_default(), into);
            }
        }
    }
}

/// Dequantises one group of a token.
#[inline(always)]
fn row<L: Lanes>(lanes: L, numbers: &[i8], scale: f32, into: &mut [f32]) {
    let ((numbers, rest), (into, rest_into)) = (numbers.as_chunks(), into.as_chunks_mut());
    let scales = lanes.float(scale);
    for (into, numbers) in into.iter_mut().zip(numbers) {
        lanes.store(lanes.times(lanes.floats(lanes.ints(numbers)), scales), into);
    }
    for (into, number) in rest_into.iter_mut().zip(rest) {
        *into = f32::from(*number) * scale;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_off_by_half_a_step_at_most(
            values in proptest::collection::vec(-1.0f32..1.0, 1..=GROUP),
            power in -40..22,
        ) {
            let values: Vec<f32> = values.iter().map(|value| value * 2.0f32.powi(power)).collect();
            let (scale, rounded) = round(&values);
            let step = f64::from(f16::from_bits(scale).to_f32());
            let highest = values.iter().fold(0.0f32, |highest, value| highest.max(value.abs()));
            // Rounded up to eleven bits, or to the smallest subnormal.
            prop_assert!(step <= f64::from(highest) / 127.0 * (1.0 + 1.0 / 1024.0) + 6e-8);
            for (value, number) in values.iter().zip(rounded) {
                let off = (f64::from(*value) - f64::from(number) * step).abs();
                prop_assert!(off <= 0.5001 * step && number > i8::MIN, "{value}: {number} of {step}");
            }
        }
    }

    #[test]
    fn what_is_no_number_is_not_lost() {
        for what in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let mut values = [1.0; GROUP];
            values[7] = what;
            let (scale, rounded) = round(&values);
            let scale = f16::from_bits(scale).to_f32();
            assert!(rounded.iter().all(|number| !(f32::from(*number) * scale).is_finite()), "{what}");
        }
        assert_eq!(round(&[0.0; GROUP]), (0, [0; GROUP]));
    }
}
