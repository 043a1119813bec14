//! Reductions over the logits of the whole vocabulary: argmax and the softmax denominator, without copying
//! them.

use crate::exponent::exp;
use crate::lanes::fast;

/// Logits that are summed in single precision; the sums are added in double precision.
const PIECE: usize = 256;
const LANES: usize = 16;

/// Maps a float to an integer of the same order as `f32::total_cmp`, NaN included.
#[inline(always)]
const fn order_key(score: f32) -> i32 {
    let bits = score.to_bits().cast_signed();
    bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()
}

/// The argmax: the first of the largest logits, in the order of `f32::total_cmp`.
pub fn argmax(scores: &[f32]) -> Option<(usize, f32)> {
    let mut highest = i32::MIN;
    fast(
        #[inline(always)]
        || {
            let mut lanes = [i32::MIN; LANES];
            let (whole, rest) = scores.as_chunks::<LANES>();
            for scores in whole {
                for (lane, score) in lanes.iter_mut().zip(scores) {
                    *lane = order_key(*score).max(*lane);
                }
            }
            highest = rest.iter().map(|score| order_key(*score)).chain(lanes).fold(highest, i32::max);
        },
    );
    let at = scores.iter().position(|score| order_key(*score) == highest)?;
    Some((at, *scores.get(at)?))
}

/// The sum of `exp(score - top)` over all logits.
pub fn sum_exp(scores: &[f32], top: f32) -> f64 {
    let mut all = 0.0;
    fast(
        #[inline(always)]
        || {
            for piece in scores.chunks(PIECE) {
                let mut lanes = [0.0f32; LANES];
                let (whole, rest) = piece.as_chunks::<LANES>();
                for scores in whole {
                    for (lane, score) in lanes.iter_mut().zip(scores) {
                        *lane += exp(score - top);
                    }
                }
                let rest = rest.iter().map(|score| exp(score - top));
                all += rest.chain(lanes).map(f64::from).sum::<f64>();
            }
        },
    );
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_largest_is_the_likeliest() {
        for length in [1, 15, 16, 17, 300] {
            for at in [0, length / 2, length - 1] {
                for top in [-1.0, 0.0, 3.0, f32::INFINITY, f32::NAN] {
                    let mut scores: Vec<f32> = (0..length).map(|index| -2.0 - index as f32).collect();
                    scores[at] = top;
                    scores[length - 1] = top;
                    let (found, score) = argmax(&scores).unwrap();
                    assert_eq!((found, score.to_bits()), (at, top.to_bits()));
                }
            }
        }
        assert_eq!(argmax(&[]), None);
    }

    #[test]
    fn weights_are_summed() {
        let scores: Vec<f32> = (0..5_003).map(|index| (index * 37 % 101) as f32 * 0.1 - 7.0).collect();
        let wanted: f64 = scores.iter().map(|score| f64::from(score - 3.0).exp()).sum();
        assert!((sum_exp(&scores, 3.0) - wanted).abs() < 1e-6 * wanted);
    }
}
