//! Quantises the input rows (activations) of products with quantised weights: to eight bits, in blocks of 32
//! with a scale each. A row is quantised by itself, so that the result does not depend on the batch.

use crate::lanes::fast;
use crate::thread_pool;

/// The numbers that share a scale.
pub(super) const BLOCK: usize = 32;

/// A quantised block of a row.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(crate) struct Q8Block {
    /// The 32 signed bytes, four to an integer, the first in the lowest bits.
    pub fours: [i32; BLOCK / 4],
    pub scale: f32,
    /// The sum of all bytes.
    pub sum: f32,
    /// -32 times the sums of both halves: corrects for weights that are stored with an offset of 32.
    pub less_32: [i32; 2],
    /// -128 times the sum of all bytes: the start value of `signed_dot`.
    pub less_128: i32,
}

/// Quantises rows of whole blocks.
pub(crate) fn round(rows: &[f32], into: &mut Vec<Q8Block>) {
    let blocks = rows.len() / BLOCK;
    // All blocks are overwritten below.
    into.resize(blocks, Q8Block::default());
    const PIECE: usize = 1 << 7;
    thread_pool::pieces(into, PIECE, |index, into| {
        let rows = rows.chunks_exact(BLOCK).skip(index * PIECE);
        fast(
            #[inline(always)]
            || {
                for (row, into) in rows.zip(into) {
                    if let Ok(row) = row.try_into() {
                        *into = block(row);
                    }
                }
            },
        );
    });
}

#[inline(always)]
fn block(row: &[f32; BLOCK]) -> Q8Block {
    /// Adding this to a number rounds it to an integer, which is then in the lowest mantissa bits.
    const WHOLE: f32 = 12_582_912.0;
    // Compared as integers, NaN is larger than every number, so that it reaches the scale instead of being
    // dropped.
    let highest = row.iter().fold(0, |highest, value| highest.max(value.to_bits() & 0x7fff_ffff));
    let highest = f32::from_bits(highest);
    let by = if highest > 0.0 { 127.0 / highest } else { 0.0 };
    let mut wholes = [0i32; BLOCK];
    for (whole, value) in wholes.iter_mut().zip(row) {
        *whole = (value * by + WHOLE).to_bits().wrapping_sub(WHOLE.to_bits()).cast_signed();
    }
    let (first, second) = wholes.split_at(BLOCK / 2);
    let sums = [first, second].map(|half| half.iter().fold(0i32, |sum, whole| sum.wrapping_add(*whole)));
    let mut fours = [0; BLOCK / 4];
    for (four, wholes) in fours.iter_mut().zip(wholes.as_chunks::<4>().0) {
        let [one, two, three, last] = wholes.map(|whole| whole & 0xff);
        *four = one | two << 8 | three << 16 | last << 24;
    }
    let [one, other] = sums;
    let sum = one.wrapping_add(other);
    let less_32 = sums.map(|sum| sum.wrapping_mul(-32));
    Q8Block { fours, scale: highest / 127.0, sum: sum as f32, less_32, less_128: sum.wrapping_mul(-128) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_rounded_to_the_nearest() {
        let row: Vec<f32> = (0..96).map(|index| ((index * 37 % 96) as f32 - 40.0) * 0.013).collect();
        let mut eights = Vec::new();
        round(&row, &mut eights);
        assert_eq!(eights.len(), 3);
        for (row, eight) in row.chunks(BLOCK).zip(&eights) {
            let numbers = eight.fours.iter().flat_map(|four| four.to_le_bytes()).map(u8::cast_signed);
            let wholes: Vec<i32> = numbers.map(i32::from).collect();
            for (value, whole) in row.iter().zip(&wholes) {
                assert!((value - *whole as f32 * eight.scale).abs() <= 0.5001 * eight.scale);
            }
            assert!(wholes.iter().any(|whole| whole.abs() == 127));
            let half = |wholes: &[i32]| -32 * wholes.iter().sum::<i32>();
            assert_eq!(eight.less_32, [half(&wholes[..16]), half(&wholes[16..])]);
            assert_eq!(eight.less_128, -128 * wholes.iter().sum::<i32>());
            assert_eq!(eight.sum, wholes.iter().sum::<i32>() as f32);
        }
    }

    #[test]
    fn what_is_no_number_is_not_lost() {
        let mut eights = Vec::new();
        for what in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut row = [1.0; BLOCK];
            row[7] = what;
            round(&row, &mut eights);
            assert!(!eights[0].scale.is_finite());
        }
        round(&[0.0; BLOCK], &mut eights);
        assert!(eights[0].scale == 0.0 && eights[0].fours == [0; 8]);
    }
}
