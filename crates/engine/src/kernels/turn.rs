//! Positions: pairs of numbers turned by angles.

use crate::shape::Pairs;

/// Turns one head in its place.
pub(crate) fn turn(head: &mut [f32], (cosines, sines): (&[f32], &[f32]), pairs: Pairs) {
    match pairs {
        Pairs::Halves => {
            let (firsts, seconds) = head.split_at_mut(cosines.len());
            for (((one, other), cosine), sine) in firsts.iter_mut().zip(seconds).zip(cosines).zip(sines) {
                (*one, *other) = (*one * cosine - *other * sine, *other * cosine + *one * sine);
            }
        }
        Pairs::Neighbours => {
            for ((pair, cosine), sine) in head.chunks_exact_mut(2).zip(cosines).zip(sines) {
                if let [one, other] = pair {
                    (*one, *other) = (*one * cosine - *other * sine, *other * cosine + *one * sine);
                }
            }
        }
    }
}
