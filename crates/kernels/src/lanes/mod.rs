//! SIMD over sixteen lanes, by the best instruction set of the CPU. Results are bit-identical for all of
//! them: integer arithmetic is exact, and floats are multiplied and added in two operations, never fused
//! (FMA).

#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

pub(crate) const LANES: usize = 16;

/// Four 8-bit numbers for each of sixteen outputs; those of one output are adjacent. A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [u8; 64]);

/// The operations on sixteen lanes.
pub(crate) trait Lanes: Copy {
    type Bytes: Copy;
    type Ints: Copy;
    type Floats: Copy;
    /// Whether some twenty vectors of floats fit in its registers.
    const MANY_REGISTERS: bool = false;

    fn bytes(self, line: &Line) -> Self::Bytes;
    /// Prefetches a line.
    fn soon(self, line: &Line);
    /// The low four bits of each byte.
    fn lower(self, bytes: Self::Bytes) -> Self::Bytes;
    /// The high four bits of each byte.
    fn upper(self, bytes: Self::Bytes) -> Self::Bytes;
    /// Combines the four bits of `fours` with two bits of `twos`, the first to fourth pair by `WHICH`, as
    /// bits 4 and 5.
    fn above<const WHICH: i32>(self, fours: Self::Bytes, twos: Self::Bytes) -> Self::Bytes;
    /// Combines the four bits of `fours` with one bit of `ones`, the first to eighth by `WHICH`, as bit 4.
    fn fifth<const WHICH: i32>(self, fours: Self::Bytes, ones: Self::Bytes) -> Self::Bytes;
    /// Two bits of each byte, the first to fourth pair by `WHICH`.
    fn two<const WHICH: i32>(self, twos: Self::Bytes) -> Self::Bytes;
    /// Combines the two bits of `twos` with one bit of `ones`, the first to eighth by `WHICH`, as bit 2.
    fn third<const WHICH: i32>(self, twos: Self::Bytes, ones: Self::Bytes) -> Self::Bytes;
    /// Signed bytes, in the representation that `signed_dot` takes.
    fn signed(self, line: &Line) -> Self::Bytes;

    fn int(self, value: i32) -> Self::Ints;
    fn ints(self, values: &[i8; LANES]) -> Self::Ints;
    /// The low four bits of each number, and the high four.
    fn fours(self, values: &[i8; LANES]) -> [Self::Ints; 2];
    fn ints_times(self, one: Self::Ints, other: Self::Ints) -> Self::Ints;
    fn ints_plus(self, one: Self::Ints, other: Self::Ints) -> Self::Ints;
    /// Adds to each lane the dot product of its four bytes with the four signed bytes in `four`. The bytes
    /// are below 64.
    fn dot(self, sums: Self::Ints, bytes: Self::Bytes, four: i32) -> Self::Ints;
    /// The start value for sums of `signed_dot`; `start` is -128 times the sum of all numbers that the bytes
    /// will be multiplied with.
    fn signed_start(self, start: i32) -> Self::Ints;
    fn signed_dot(self, sums: Self::Ints, bytes: Self::Bytes, four: i32) -> Self::Ints;

    fn float(self, value: f32) -> Self::Floats;
    fn floats(self, ints: Self::Ints) -> Self::Floats;
    /// From half precision (f16).
    fn halves(self, values: &[u16; LANES]) -> Self::Floats;
    /// From bfloat16.
    fn brains(self, values: &[u16; LANES]) -> Self::Floats;
    fn times(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    fn plus(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    fn minus(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    fn over(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    /// The larger of each; `other` where `one` is not larger (so if either is NaN).
    fn larger(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    /// The smaller of each; `other` where `one` is not smaller (so if either is NaN).
    fn smaller(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    /// Two to the power of the integer in the lowest bits of each (see `exponent`).
    fn two_to(self, powers: Self::Floats) -> Self::Floats;
    fn load(self, from: &[f32; LANES]) -> Self::Floats;
    fn store(self, floats: Self::Floats, into: &mut [f32; LANES]);
}

/// A computation that is generic over the lanes.
pub(super) trait Work {
    fn with<L: Lanes>(self, lanes: L);
}

/// An instruction set that this CPU has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InstructionSet {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(x86::Avx512),
}

impl InstructionSet {
    /// The fastest one.
    pub(super) fn best() -> Self {
        static BEST: OnceLock<InstructionSet> = OnceLock::new();
        *BEST.get_or_init(|| Self::all().pop().unwrap_or(Self::Portable))
    }

    /// All of them, the fastest last.
    pub(super) fn all() -> Vec<Self> {
        #[allow(unused_mut, reason = "other processors have but one way")]
        let mut sets = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            sets.extend(x86::Avx2::here().map(Self::Avx2));
            sets.extend(x86::Avx512::here().map(Self::Avx512));
        }
        sets
    }

    pub(super) fn go(self, work: impl Work) {
        match self {
            Self::Portable => work.with(Portable),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(lanes) => lanes.go(work),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(lanes) => lanes.go(work),
        }
    }
}

/// Runs plain code that the compiler vectorises, compiled for the best instruction set.
pub(crate) fn fast(work: impl FnOnce()) {
    struct Plain<F>(F);
    impl<F: FnOnce()> Work for Plain<F> {
        #[inline(always)]
        fn with<L: Lanes>(self, _lanes: L) {
            (self.0)();
        }
    }
    InstructionSet::best().go(Plain(work));
}

/// The fallback for other CPUs: plain arrays, vectorised by the compiler as far as it can.
#[derive(Debug, Clone, Copy)]
struct Portable;

fn each<T: Copy, U: Copy, V: Copy + Default, const N: usize>(
    one: [T; N],
    other: [U; N],
    with: impl Fn(T, U) -> V,
) -> [V; N] {
    let mut out = [V::default(); N];
    for ((out, one), other) in out.iter_mut().zip(one).zip(other) {
        *out = with(one, other);
    }
    out
}

impl Lanes for Portable {
    type Bytes = [u8; 64];
    type Ints = [i32; LANES];
    type Floats = [f32; LANES];

    #[inline(always)]
    fn bytes(self, line: &Line) -> [u8; 64] {
        line.0
    }

    #[inline(always)]
    fn soon(self, _line: &Line) {}

    #[inline(always)]
    fn lower(self, bytes: [u8; 64]) -> [u8; 64] {
        bytes.map(|byte| byte & 15)
    }

    #[inline(always)]
    fn upper(self, bytes: [u8; 64]) -> [u8; 64] {
        bytes.map(|byte| byte >> 4)
    }

    #[inline(always)]
    fn above<const WHICH: i32>(self, fours: [u8; 64], twos: [u8; 64]) -> [u8; 64] {
        each(fours, twos, |four, two| four | (two >> (2 * WHICH) & 3) << 4)
    }

    #[inline(always)]
    fn fifth<const WHICH: i32>(self, fours: [u8; 64], ones: [u8; 64]) -> [u8; 64] {
        each(fours, ones, |four, one| four | (one >> WHICH & 1) << 4)
    }

    #[inline(always)]
    fn two<const WHICH: i32>(self, twos: [u8; 64]) -> [u8; 64] {
        twos.map(|two| two >> (2 * WHICH) & 3)
    }

    #[inline(always)]
    fn third<const WHICH: i32>(self, twos: [u8; 64], ones: [u8; 64]) -> [u8; 64] {
        each(twos, ones, |two, one| two | (one >> WHICH & 1) << 2)
    }

    #[inline(always)]
    fn signed(self, line: &Line) -> [u8; 64] {
        line.0
    }

    #[inline(always)]
    fn int(self, value: i32) -> [i32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    fn ints(self, values: &[i8; LANES]) -> [i32; LANES] {
        values.map(i32::from)
    }

    #[inline(always)]
    fn fours(self, values: &[i8; LANES]) -> [[i32; LANES]; 2] {
        [values.map(|value| i32::from(value) & 15), values.map(|value| i32::from(value) >> 4 & 15)]
    }

    #[inline(always)]
    fn ints_times(self, one: [i32; LANES], other: [i32; LANES]) -> [i32; LANES] {
        each(one, other, i32::wrapping_mul)
    }

    #[inline(always)]
    fn ints_plus(self, one: [i32; LANES], other: [i32; LANES]) -> [i32; LANES] {
        each(one, other, i32::wrapping_add)
    }

    #[inline(always)]
    fn dot(self, sums: [i32; LANES], bytes: [u8; 64], four: i32) -> [i32; LANES] {
        self.signed_dot(sums, bytes, four)
    }

    #[inline(always)]
    fn signed_start(self, _start: i32) -> [i32; LANES] {
        [0; LANES]
    }

    #[inline(always)]
    fn signed_dot(self, mut sums: [i32; LANES], bytes: [u8; 64], four: i32) -> [i32; LANES] {
        let four = four.to_le_bytes();
        for (sum, bytes) in sums.iter_mut().zip(bytes.as_chunks::<4>().0) {
            for (byte, other) in bytes.iter().zip(four) {
                *sum += i32::from(byte.cast_signed()) * i32::from(other.cast_signed());
            }
        }
        sums
    }

    #[inline(always)]
    fn float(self, value: f32) -> [f32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    fn floats(self, ints: [i32; LANES]) -> [f32; LANES] {
        ints.map(|int| int as f32)
    }

    #[inline(always)]
    fn halves(self, values: &[u16; LANES]) -> [f32; LANES] {
        values.map(|value| half::f16::from_bits(value).to_f32())
    }

    #[inline(always)]
    fn brains(self, values: &[u16; LANES]) -> [f32; LANES] {
        values.map(|value| f32::from_bits(u32::from(value) << 16))
    }

    #[inline(always)]
    fn times(self, one: [f32; LANES], other: [f32; LANES]) -> [f32; LANES] {
        each(one, other, |one, other| one * other)
    }

    #[inline(always)]
    fn plus(self, one: [f32; LANES], other: [f32; LANES]) -> [f32; LANES] {
        each(one, other, |one, other| one + other)
    }

    #[inline(always)]
    fn minus(self, one: [f32; LANES], other: [f32; LANES]) -> [f32; LANES] {
        each(one, other, |one, other| one - other)
    }

    #[inline(always)]
    fn over(self, one: [f32; LANES], other: [f32; LANES]) -> [f32; LANES] {
        each(one, other, |one, other| one / other)
    }

    #[inline(always)]
    fn larger(self, one: [f32; LANES], other: [f32; LANES]) -> [f32; LANES] {
        each(one, other, |one, other| if one > other { one } else { other })
    }

    #[inline(always)]
    fn smaller(self, one: [f32; LANES], other: [f32; LANES]) -> [f32; LANES] {
        each(one, other, |one, other| if one < other { one } else { other })
    }

    #[inline(always)]
    fn two_to(self, powers: [f32; LANES]) -> [f32; LANES] {
        powers.map(|power| f32::from_bits(power.to_bits().wrapping_add(127) << 23))
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> [f32; LANES] {
        *from
    }

    #[inline(always)]
    fn store(self, floats: [f32; LANES], into: &mut [f32; LANES]) {
        *into = floats;
    }
}
