//! RoPE: rotates pairs of numbers by angles that depend on the position.

use crate::lanes::fast;
use crate::norm::norm;
use crate::rope::Angles;
use crate::shape::{Architecture, Pairs};
use crate::thread_pool::{pieces, share};

/// Norms (where the family does) and rotates, in place, the queries and keys at the start of each row.
pub(crate) fn norm_and_turn(
    qkv: &mut [f32],
    shape: &Architecture,
    norms: Option<&(Vec<f32>, Vec<f32>)>,
    angles: &Angles,
) {
    let Architecture { head_dim, pairs, norm_epsilon, .. } = *shape;
    let (queries, keys) = (shape.query_width(), shape.kv_width());
    let width = queries + 2 * keys;
    let each = share(qkv.len() / width);
    pieces(qkv, each * width, |index, qkv| {
        fast(
            #[inline(always)]
            || {
                for (row, qkv) in qkv.chunks_exact_mut(width).enumerate() {
                    let angles = angles.of(index * each + row);
                    let (queries, rest) = qkv.split_at_mut(queries);
                    let (keys, _) = rest.split_at_mut(keys);
                    let of = [(queries, norms.map(|norms| &norms.0)), (keys, norms.map(|norms| &norms.1))];
                    for (heads, weight) in of {
                        for head in heads.chunks_exact_mut(head_dim) {
                            if let Some(weight) = weight {
                                norm(head, weight, norm_epsilon);
                            }
                            turn(head, angles, pairs);
                        }
                    }
                }
            },
        );
    });
}

/// Applies RoPE to one head, in place.
#[inline(always)]
pub fn turn(head: &mut [f32], (cosines, sines): (&[f32], &[f32]), pairs: Pairs) {
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
