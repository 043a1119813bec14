//! Loads lanes from a matrix of any dtype (f32, f16, bf16).

use std::marker::PhantomData;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::lanes::{InstructionSet, LANES, Lanes, Work};
use crate::product::Matrix;

/// A dtype that lanes can be loaded from.
pub(super) trait Dtype {
    type One: Copy;

    fn lanes<L: Lanes>(lanes: L, from: &[Self::One; LANES]) -> L::Floats;
    fn single(one: Self::One) -> f32;
}

pub(super) struct Singles;
struct Halves;
struct Brains;

impl Dtype for Singles {
    type One = f32;

    #[inline(always)]
    fn lanes<L: Lanes>(lanes: L, from: &[f32; LANES]) -> L::Floats {
        lanes.load(from)
    }

    #[inline(always)]
    fn single(one: f32) -> f32 {
        one
    }
}

impl Dtype for Halves {
    type One = u16;

    #[inline(always)]
    fn lanes<L: Lanes>(lanes: L, from: &[u16; LANES]) -> L::Floats {
        lanes.halves(from)
    }

    #[inline(always)]
    fn single(one: u16) -> f32 {
        f16::from_bits(one).to_f32()
    }
}

impl Dtype for Brains {
    type One = u16;

    #[inline(always)]
    fn lanes<L: Lanes>(lanes: L, from: &[u16; LANES]) -> L::Floats {
        lanes.brains(from)
    }

    #[inline(always)]
    fn single(one: u16) -> f32 {
        bf16::from_bits(one).to_f32()
    }
}

/// A computation over a matrix's numbers that is generic over their dtype.
pub(super) trait Reader {
    fn of<K: Dtype, L: Lanes>(self, numbers: &[K::One], lanes: L);
}

struct Reading<'a, K: Dtype, R> {
    numbers: &'a [K::One],
    reader: R,
    kind: PhantomData<K>,
}

impl<'a, K: Dtype, R> Reading<'a, K, R> {
    const fn of(numbers: &'a [K::One], reader: R) -> Self {
        Self { numbers, reader, kind: PhantomData }
    }
}

impl<K: Dtype, R: Reader> Work for Reading<'_, K, R> {
    #[inline(always)]
    fn with<L: Lanes>(self, lanes: L) {
        self.reader.of::<K, L>(self.numbers, lanes);
    }
}

impl Matrix {
    pub(super) fn go(&self, reader: impl Reader) {
        let isa = InstructionSet::best();
        match self {
            Self::Single(all) => isa.go(Reading::<Singles, _>::of(all, reader)),
            Self::Half(all) => isa.go(Reading::<Halves, _>::of(all.reinterpret_cast(), reader)),
            Self::Brain(all) => isa.go(Reading::<Brains, _>::of(all.reinterpret_cast(), reader)),
        }
    }
}

/// Dot products of some rows with some rows of weights. Each is made by the same additions in the same order
/// whatever is computed along with it.
#[inline(always)]
pub(super) fn sums<K: Dtype, L: Lanes, const W: usize, const N: usize>(
    lanes: L,
    weights: [&[K::One]; W],
    rows: [&[f32]; N],
) -> [[f32; N]; W] {
    let mut sums = [[lanes.float(0.0); N]; W];
    let weights = weights.map(|weights| weights.as_chunks::<LANES>());
    let rows = rows.map(|row| row.as_chunks::<LANES>());
    let whole = weights.first().map_or(0, |(weights, _)| weights.len());
    for at in 0..whole {
        let values = rows.map(|(row, _)| row.get(at).map_or(lanes.float(0.0), |row| lanes.load(row)));
        for ((weights, _), sums) in weights.iter().zip(&mut sums) {
            let Some(weights) = weights.get(at) else { break };
            let weights = K::lanes(lanes, weights);
            for (sum, value) in sums.iter_mut().zip(&values) {
                *sum = lanes.plus(*sum, lanes.times(weights, *value));
            }
        }
    }
    let mut out = [[0.0; N]; W];
    for ((out, sums), (_, weights)) in out.iter_mut().zip(&sums).zip(&weights) {
        for ((out, sum), (_, row)) in out.iter_mut().zip(sums).zip(&rows) {
            let tail: f32 = weights.iter().zip(*row).map(|(weight, value)| K::single(*weight) * value).sum();
            let mut all = [0.0; LANES];
            lanes.store(*sum, &mut all);
            *out = total(all) + tail;
        }
    }
    out
}

/// The sum of all lanes, by halving.
#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = lanes.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        half /= 2;
    }
    let [all, ..] = lanes;
    all
}
