//! Sixteen numbers at once, by what the processor has. What is worked out is the same to the bit whichever way is taken:
//! whole numbers are exact, and numbers with a point are multiplied and added one after the other, never in one go.

#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

pub(crate) const LANES: usize = 16;

/// Four numbers of eight bits for each of sixteen outputs, those of an output beside each other.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [u8; 64]);

/// What is done to sixteen lanes.
pub(crate) trait Lanes: Copy {
    type Bytes: Copy;
    type Ints: Copy;
    type Floats: Copy;

    fn bytes(self, line: &Line) -> Self::Bytes;
    /// Says that a line will be wanted soon.
    fn soon(self, line: &Line);
    /// The lower four bits of each.
    fn lower(self, bytes: Self::Bytes) -> Self::Bytes;
    /// The upper four bits of each.
    fn upper(self, bytes: Self::Bytes) -> Self::Bytes;
    /// Two bits of each of `twos`, the first, second, third or fourth ones, above the four of `fours`.
    fn above<const WHICH: i32>(self, fours: Self::Bytes, twos: Self::Bytes) -> Self::Bytes;
    /// One bit of each of `ones`, the first to the eighth one, above the four of `fours`.
    fn fifth<const WHICH: i32>(self, fours: Self::Bytes, ones: Self::Bytes) -> Self::Bytes;
    /// Two bits of each, the first, second, third or fourth ones.
    fn two<const WHICH: i32>(self, twos: Self::Bytes) -> Self::Bytes;
    /// One bit of each of `ones`, the first to the eighth one, above the two of `twos`.
    fn third<const WHICH: i32>(self, twos: Self::Bytes, ones: Self::Bytes) -> Self::Bytes;
    /// Bytes with a sign, as `signed_dot` takes them.
    fn signed(self, line: &Line) -> Self::Bytes;

    fn int(self, value: i32) -> Self::Ints;
    fn ints(self, values: &[i8; LANES]) -> Self::Ints;
    /// The lower four bits of each, and the upper ones.
    fn fours(self, values: &[i8; LANES]) -> [Self::Ints; 2];
    fn ints_times(self, one: Self::Ints, other: Self::Ints) -> Self::Ints;
    fn ints_plus(self, one: Self::Ints, other: Self::Ints) -> Self::Ints;
    /// Adds to each lane its four bytes times the four of `four`. Bytes are below 64 here.
    fn dot(self, sums: Self::Ints, bytes: Self::Bytes, four: i32) -> Self::Ints;
    /// What sums of `signed_dot` begin with; `start` is -128 times the sum of all that they are multiplied with.
    fn signed_start(self, start: i32) -> Self::Ints;
    fn signed_dot(self, sums: Self::Ints, bytes: Self::Bytes, four: i32) -> Self::Ints;

    fn float(self, value: f32) -> Self::Floats;
    fn floats(self, ints: Self::Ints) -> Self::Floats;
    /// Of half precision.
    fn halves(self, values: &[u16; LANES]) -> Self::Floats;
    /// Of the upper half of single precision.
    fn brains(self, values: &[u16; LANES]) -> Self::Floats;
    fn times(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    fn plus(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    fn minus(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    fn over(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    /// The larger of each; `other` where there is no larger one.
    fn larger(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    /// The smaller of each; `other` where there is no smaller one.
    fn smaller(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    /// Two to the power of the whole number that stands in the lowest bits of each.
    fn two_to(self, powers: Self::Floats) -> Self::Floats;
    fn load(self, from: &[f32; LANES]) -> Self::Floats;
    fn store(self, floats: Self::Floats, into: &mut [f32; LANES]);
}

/// Work that is done in lanes.
pub(super) trait Work {
    fn with<L: Lanes>(self, lanes: L);
}

/// A way that this processor can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(x86::Avx512),
}

impl Way {
    /// The fastest one.
    pub(super) fn best() -> Self {
        static BEST: OnceLock<Way> = OnceLock::new();
        *BEST.get_or_init(|| Self::all().pop().unwrap_or(Self::Portable))
    }

    /// Every one, the fastest last.
    pub(super) fn all() -> Vec<Self> {
        #[allow(unused_mut, reason = "other processors have but one way")]
        let mut ways = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            ways.extend(x86::Avx2::here().map(Self::Avx2));
            ways.extend(x86::Avx512::here().map(Self::Avx512));
        }
        ways
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

/// Does what the compiler can do in lanes by itself, as wide as this processor has them.
pub(crate) fn fast(work: impl FnOnce()) {
    struct Plain<F>(F);
    impl<F: FnOnce()> Work for Plain<F> {
        #[inline(always)]
        fn with<L: Lanes>(self, _lanes: L) {
            (self.0)();
        }
    }
    Way::best().go(Plain(work));
}

/// For processors without a way of their own: what the compiler makes of plain arrays.
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
