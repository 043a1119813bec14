//! AVX-512 and AVX2 lanes for x86-64.
//!
//! Values of these types come only from `here`, which returns one only if the CPU was found to have the
//! required features. That makes all intrinsics below sound; those that access memory do so through a
//! reference to an array of that size.
#![allow(
    unsafe_code,
    reason = "intrinsics are unsafe outside of functions that are compiled for the processor that has them"
)]

use std::arch::x86_64::*;

use super::{LANES, Lanes, Line, Work};

/// 512-bit lanes, with VNNI byte dot products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx512(());

/// Two halves of 256 bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx512 {
    pub(super) fn here() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("fma");
        has.then_some(Self(()))
    }

    pub(super) fn go(self, work: impl Work) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma")]
        fn run(lanes: Avx512, work: impl Work) {
            work.with(lanes);
        }
        // SAFETY: `here` detected all of these features.
        unsafe { run(self, work) }
    }
}

impl Avx2 {
    pub(super) fn here() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c");
        has.then_some(Self(()))
    }

    pub(super) fn go(self, work: impl Work) {
        #[target_feature(enable = "avx2,f16c")]
        fn run(lanes: Avx2, work: impl Work) {
            work.with(lanes);
        }
        // SAFETY: `here` detected both features.
        unsafe { run(self, work) }
    }
}

/// Defines methods that wrap intrinsics. They are sound for the reason given at the top of the module.
macro_rules! intrinsics {
    ($(fn $name:ident $(<const $which:ident: i32>)? ($self:ident $(, $argument:ident: $kind:ty)*) -> $out:ty $body:block)*) => {$(
        #[inline(always)]
        fn $name $(<const $which: i32>)? ($self $(, $argument: $kind)*) -> $out {
            // SAFETY: a value of this type exists only if the CPU has the features.
            unsafe { $body }
        }
    )*};
}

impl Lanes for Avx512 {
    type Bytes = __m512i;
    type Ints = __m512i;
    type Floats = __m512;
    const MANY_REGISTERS: bool = true;

    intrinsics! {
        fn bytes(self, line: &Line) -> __m512i { _mm512_load_si512((&raw const line.0).cast()) }
        fn soon(self, line: &Line) -> () { _mm_prefetch::<_MM_HINT_T0>((&raw const line.0).cast()) }
        fn lower(self, bytes: __m512i) -> __m512i { _mm512_and_si512(bytes, _mm512_set1_epi8(15)) }
        fn upper(self, bytes: __m512i) -> __m512i {
            _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), _mm512_set1_epi8(15))
        }
        fn above<const WHICH: i32>(self, fours: __m512i, twos: __m512i) -> __m512i {
            let moved = match WHICH {
                0 => _mm512_slli_epi16::<4>(twos),
                1 => _mm512_slli_epi16::<2>(twos),
                2 => twos,
                _ => _mm512_srli_epi16::<2>(twos),
            };
            _mm512_or_si512(fours, _mm512_and_si512(moved, _mm512_set1_epi8(48)))
        }
        fn fifth<const WHICH: i32>(self, fours: __m512i, ones: __m512i) -> __m512i {
            let moved = match WHICH {
                0 => _mm512_slli_epi16::<4>(ones),
                1 => _mm512_slli_epi16::<3>(ones),
                2 => _mm512_slli_epi16::<2>(ones),
                3 => _mm512_slli_epi16::<1>(ones),
                4 => ones,
                5 => _mm512_srli_epi16::<1>(ones),
                6 => _mm512_srli_epi16::<2>(ones),
                _ => _mm512_srli_epi16::<3>(ones),
            };
            _mm512_or_si512(fours, _mm512_and_si512(moved, _mm512_set1_epi8(16)))
        }
        fn two<const WHICH: i32>(self, twos: __m512i) -> __m512i {
            let moved = match WHICH {
                0 => twos,
                1 => _mm512_srli_epi16::<2>(twos),
                2 => _mm512_srli_epi16::<4>(twos),
                _ => _mm512_srli_epi16::<6>(twos),
            };
            _mm512_and_si512(moved, _mm512_set1_epi8(3))
        }
        fn third<const WHICH: i32>(self, twos: __m512i, ones: __m512i) -> __m512i {
            let moved = match WHICH {
                0 => _mm512_slli_epi16::<2>(ones),
                1 => _mm512_slli_epi16::<1>(ones),
                2 => ones,
                3 => _mm512_srli_epi16::<1>(ones),
                4 => _mm512_srli_epi16::<2>(ones),
                5 => _mm512_srli_epi16::<3>(ones),
                6 => _mm512_srli_epi16::<4>(ones),
                _ => _mm512_srli_epi16::<5>(ones),
            };
            _mm512_or_si512(twos, _mm512_and_si512(moved, _mm512_set1_epi8(4)))
        }
        // The instruction takes unsigned bytes, so that 128 is added to each.
        fn signed(self, line: &Line) -> __m512i {
            _mm512_xor_si512(_mm512_load_si512((&raw const line.0).cast()), _mm512_set1_epi8(-128))
        }
        fn int(self, value: i32) -> __m512i { _mm512_set1_epi32(value) }
        fn ints(self, values: &[i8; LANES]) -> __m512i {
            _mm512_cvtepi8_epi32(_mm_loadu_si128(values.as_ptr().cast()))
        }
        fn fours(self, values: &[i8; LANES]) -> [__m512i; 2] {
            let all = _mm512_cvtepu8_epi32(_mm_loadu_si128(values.as_ptr().cast()));
            [_mm512_and_si512(all, _mm512_set1_epi32(15)), _mm512_srli_epi32::<4>(all)]
        }
        fn ints_times(self, one: __m512i, other: __m512i) -> __m512i { _mm512_mullo_epi32(one, other) }
        fn ints_plus(self, one: __m512i, other: __m512i) -> __m512i { _mm512_add_epi32(one, other) }
        fn dot(self, sums: __m512i, bytes: __m512i, four: i32) -> __m512i {
            _mm512_dpbusd_epi32(sums, bytes, _mm512_set1_epi32(four))
        }
        fn signed_start(self, start: i32) -> __m512i { _mm512_set1_epi32(start) }
        fn signed_dot(self, sums: __m512i, bytes: __m512i, four: i32) -> __m512i {
            _mm512_dpbusd_epi32(sums, bytes, _mm512_set1_epi32(four))
        }
        fn float(self, value: f32) -> __m512 { _mm512_set1_ps(value) }
        fn floats(self, ints: __m512i) -> __m512 { _mm512_cvtepi32_ps(ints) }
        fn halves(self, values: &[u16; LANES]) -> __m512 {
            _mm512_cvtph_ps(_mm256_loadu_si256(values.as_ptr().cast()))
        }
        fn brains(self, values: &[u16; LANES]) -> __m512 {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(values.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
        fn times(self, one: __m512, other: __m512) -> __m512 { _mm512_mul_ps(one, other) }
        fn plus(self, one: __m512, other: __m512) -> __m512 { _mm512_add_ps(one, other) }
        fn minus(self, one: __m512, other: __m512) -> __m512 { _mm512_sub_ps(one, other) }
        fn over(self, one: __m512, other: __m512) -> __m512 { _mm512_div_ps(one, other) }
        fn larger(self, one: __m512, other: __m512) -> __m512 { _mm512_max_ps(one, other) }
        fn smaller(self, one: __m512, other: __m512) -> __m512 { _mm512_min_ps(one, other) }
        fn two_to(self, powers: __m512) -> __m512 {
            let powers = _mm512_add_epi32(_mm512_castps_si512(powers), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(powers))
        }
        fn load(self, from: &[f32; LANES]) -> __m512 { _mm512_loadu_ps(from.as_ptr()) }
        fn store(self, floats: __m512, into: &mut [f32; LANES]) -> () {
            _mm512_storeu_ps(into.as_mut_ptr(), floats)
        }
    }
}

type Pair<T> = [T; 2];

#[inline(always)]
fn both<T: Copy, U: Copy, V>(one: Pair<T>, other: Pair<U>, with: impl Fn(T, U) -> V) -> Pair<V> {
    let ([one_low, one_high], [other_low, other_high]) = (one, other);
    [with(one_low, other_low), with(one_high, other_high)]
}

impl Lanes for Avx2 {
    type Bytes = Pair<__m256i>;
    type Ints = Pair<__m256i>;
    type Floats = Pair<__m256>;

    #[inline(always)]
    fn signed(self, line: &Line) -> Pair<__m256i> {
        self.bytes(line)
    }

    intrinsics! {
        fn bytes(self, line: &Line) -> Pair<__m256i> {
            let low: *const __m256i = (&raw const line.0).cast();
            [_mm256_load_si256(low), _mm256_load_si256(low.add(1))]
        }
        fn soon(self, line: &Line) -> () { _mm_prefetch::<_MM_HINT_T0>((&raw const line.0).cast()) }
        fn lower(self, bytes: Pair<__m256i>) -> Pair<__m256i> {
            bytes.map(|bytes| _mm256_and_si256(bytes, _mm256_set1_epi8(15)))
        }
        fn upper(self, bytes: Pair<__m256i>) -> Pair<__m256i> {
            bytes.map(|bytes| _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), _mm256_set1_epi8(15)))
        }
        fn above<const WHICH: i32>(self, fours: Pair<__m256i>, twos: Pair<__m256i>) -> Pair<__m256i> {
            both(fours, twos, |fours, twos| {
                let moved = match WHICH {
                    0 => _mm256_slli_epi16::<4>(twos),
                    1 => _mm256_slli_epi16::<2>(twos),
                    2 => twos,
                    _ => _mm256_srli_epi16::<2>(twos),
                };
                _mm256_or_si256(fours, _mm256_and_si256(moved, _mm256_set1_epi8(48)))
            })
        }
        fn fifth<const WHICH: i32>(self, fours: Pair<__m256i>, ones: Pair<__m256i>) -> Pair<__m256i> {
            both(fours, ones, |fours, ones| {
                let moved = match WHICH {
                    0 => _mm256_slli_epi16::<4>(ones),
                    1 => _mm256_slli_epi16::<3>(ones),
                    2 => _mm256_slli_epi16::<2>(ones),
                    3 => _mm256_slli_epi16::<1>(ones),
                    4 => ones,
                    5 => _mm256_srli_epi16::<1>(ones),
                    6 => _mm256_srli_epi16::<2>(ones),
                    _ => _mm256_srli_epi16::<3>(ones),
                };
                _mm256_or_si256(fours, _mm256_and_si256(moved, _mm256_set1_epi8(16)))
            })
        }
        fn two<const WHICH: i32>(self, twos: Pair<__m256i>) -> Pair<__m256i> {
            twos.map(|twos| {
                let moved = match WHICH {
                    0 => twos,
                    1 => _mm256_srli_epi16::<2>(twos),
                    2 => _mm256_srli_epi16::<4>(twos),
                    _ => _mm256_srli_epi16::<6>(twos),
                };
                _mm256_and_si256(moved, _mm256_set1_epi8(3))
            })
        }
        fn third<const WHICH: i32>(self, twos: Pair<__m256i>, ones: Pair<__m256i>) -> Pair<__m256i> {
            both(twos, ones, |twos, ones| {
                let moved = match WHICH {
                    0 => _mm256_slli_epi16::<2>(ones),
                    1 => _mm256_slli_epi16::<1>(ones),
                    2 => ones,
                    3 => _mm256_srli_epi16::<1>(ones),
                    4 => _mm256_srli_epi16::<2>(ones),
                    5 => _mm256_srli_epi16::<3>(ones),
                    6 => _mm256_srli_epi16::<4>(ones),
                    _ => _mm256_srli_epi16::<5>(ones),
                };
                _mm256_or_si256(twos, _mm256_and_si256(moved, _mm256_set1_epi8(4)))
            })
        }
        fn int(self, value: i32) -> Pair<__m256i> { [_mm256_set1_epi32(value); 2] }
        fn ints(self, values: &[i8; LANES]) -> Pair<__m256i> {
            let all = _mm_loadu_si128(values.as_ptr().cast());
            [_mm256_cvtepi8_epi32(all), _mm256_cvtepi8_epi32(_mm_srli_si128::<8>(all))]
        }
        fn fours(self, values: &[i8; LANES]) -> Pair<Pair<__m256i>> {
            let all = _mm_loadu_si128(values.as_ptr().cast());
            let all = [_mm256_cvtepu8_epi32(all), _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(all))];
            let lower = all.map(|ints| _mm256_and_si256(ints, _mm256_set1_epi32(15)));
            [lower, all.map(|ints| _mm256_srli_epi32::<4>(ints))]
        }
        fn ints_times(self, one: Pair<__m256i>, other: Pair<__m256i>) -> Pair<__m256i> {
            both(one, other, |one, other| _mm256_mullo_epi32(one, other))
        }
        fn ints_plus(self, one: Pair<__m256i>, other: Pair<__m256i>) -> Pair<__m256i> {
            both(one, other, |one, other| _mm256_add_epi32(one, other))
        }
        fn dot(self, sums: Pair<__m256i>, bytes: Pair<__m256i>, four: i32) -> Pair<__m256i> {
            let (four, ones) = (_mm256_set1_epi32(four), _mm256_set1_epi16(1));
            both(sums, bytes, |sums, bytes| {
                // Sums of two products of less than 64 times 127 each, which are far from overflowing 16
                // bits.
                let twos = _mm256_maddubs_epi16(bytes, four);
                _mm256_add_epi32(sums, _mm256_madd_epi16(twos, ones))
            })
        }
        fn signed_start(self, _start: i32) -> Pair<__m256i> { [_mm256_setzero_si256(); 2] }
        fn signed_dot(self, sums: Pair<__m256i>, bytes: Pair<__m256i>, four: i32) -> Pair<__m256i> {
            let (four, ones) = (_mm256_set1_epi32(four), _mm256_set1_epi16(1));
            both(sums, bytes, |sums, bytes| {
                // Moves the sign to the other factor, which is never -128: the sum of two products is at most
                // 32,512.
                let twos = _mm256_maddubs_epi16(_mm256_abs_epi8(bytes), _mm256_sign_epi8(four, bytes));
                _mm256_add_epi32(sums, _mm256_madd_epi16(twos, ones))
            })
        }
        fn float(self, value: f32) -> Pair<__m256> { [_mm256_set1_ps(value); 2] }
        fn floats(self, ints: Pair<__m256i>) -> Pair<__m256> { ints.map(|ints| _mm256_cvtepi32_ps(ints)) }
        fn halves(self, values: &[u16; LANES]) -> Pair<__m256> {
            let low: *const __m128i = values.as_ptr().cast();
            [_mm256_cvtph_ps(_mm_loadu_si128(low)), _mm256_cvtph_ps(_mm_loadu_si128(low.add(1)))]
        }
        fn brains(self, values: &[u16; LANES]) -> Pair<__m256> {
            let low: *const __m128i = values.as_ptr().cast();
            [_mm_loadu_si128(low), _mm_loadu_si128(low.add(1))].map(|half| {
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half)))
            })
        }
        fn times(self, one: Pair<__m256>, other: Pair<__m256>) -> Pair<__m256> {
            both(one, other, |one, other| _mm256_mul_ps(one, other))
        }
        fn plus(self, one: Pair<__m256>, other: Pair<__m256>) -> Pair<__m256> {
            both(one, other, |one, other| _mm256_add_ps(one, other))
        }
        fn minus(self, one: Pair<__m256>, other: Pair<__m256>) -> Pair<__m256> {
            both(one, other, |one, other| _mm256_sub_ps(one, other))
        }
        fn over(self, one: Pair<__m256>, other: Pair<__m256>) -> Pair<__m256> {
            both(one, other, |one, other| _mm256_div_ps(one, other))
        }
        fn larger(self, one: Pair<__m256>, other: Pair<__m256>) -> Pair<__m256> {
            both(one, other, |one, other| _mm256_max_ps(one, other))
        }
        fn smaller(self, one: Pair<__m256>, other: Pair<__m256>) -> Pair<__m256> {
            both(one, other, |one, other| _mm256_min_ps(one, other))
        }
        fn two_to(self, powers: Pair<__m256>) -> Pair<__m256> {
            powers.map(|powers| {
                let powers = _mm256_add_epi32(_mm256_castps_si256(powers), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(powers))
            })
        }
        fn load(self, from: &[f32; LANES]) -> Pair<__m256> {
            [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))]
        }
        fn store(self, floats: Pair<__m256>, into: &mut [f32; LANES]) -> () {
            _mm256_storeu_ps(into.as_mut_ptr(), floats[0]);
            _mm256_storeu_ps(into.as_mut_ptr().add(8), floats[1])
        }
    }
}
