//! Lanes filled from a matrix, whichever kind of numbers it has.

use std::marker::PhantomData;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::Matrix;
use super::lanes::{LANES, Lanes, Way, Work};

/// A kind of numbers that lanes can be filled with.
pub(super) trait Kind {
    type One: Copy;

    fn lanes<L: Lanes>(lanes: L, from: &[Self::One; LANES]) -> L::Floats;
    fn single(one: Self::One) -> f32;
}

struct Singles;
struct Halves;
struct Brains;

impl Kind for Singles {
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

impl Kind for Halves {
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

impl Kind for Brains {
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

/// What is done with the numbers of a matrix, whichever kind they are of.
pub(super) trait Reader {
    fn of<K: Kind, L: Lanes>(self, numbers: &[K::One], lanes: L);
}

struct Reading<'a, K: Kind, R> {
    numbers: &'a [K::One],
    reader: R,
    kind: PhantomData<K>,
}

impl<'a, K: Kind, R> Reading<'a, K, R> {
    const fn of(numbers: &'a [K::One], reader: R) -> Self {
        Self { numbers, reader, kind: PhantomData }
    }
}

impl<K: Kind, R: Reader> Work for Reading<'_, K, R> {
    #[inline(always)]
    fn with<L: Lanes>(self, lanes: L) {
        self.reader.of::<K, L>(self.numbers, lanes);
    }
}

impl Matrix {
    pub(super) fn go(&self, reader: impl Reader) {
        let way = Way::best();
        match self {
            Self::Single(all) => way.go(Reading::<Singles, _>::of(all, reader)),
            Self::Half(all) => way.go(Reading::<Halves, _>::of(all.reinterpret_cast(), reader)),
            Self::Brain(all) => way.go(Reading::<Brains, _>::of(all.reinterpret_cast(), reader)),
        }
    }
}
