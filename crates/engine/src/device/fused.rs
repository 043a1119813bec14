//! Metal's fused attention kernel (SDPA), for one sequence.

use candle_core::{Device, Result, Tensor};
use kernels::Architecture;

/// The head dimensions that it supports.
const WIDTHS: [usize; 6] = [32, 64, 80, 96, 128, 256];

pub(super) fn takes(device: &Device, head_dim: usize) -> bool {
    device.is_metal() && WIDTHS.contains(&head_dim)
}

/// The attention output for one sequence's queries, a row of all heads for each token. The mask is added to
/// the scores.
pub(super) fn attend(
    queries: &Tensor,
    (keys, values): &(Tensor, Tensor),
    mask: Option<&Tensor>,
    architecture: &Architecture,
) -> Result<Tensor> {
    let Architecture { heads, kv_heads, head_dim: dim, .. } = *architecture;
    let (tokens, positions, kind) = (queries.dim(0)?, keys.dim(0)?, keys.dtype());
    let queries = queries.to_dtype(kind)?.transpose(0, 1)?.contiguous()?.unsqueeze(0)?;
    let side =
        |side: &Tensor| side.reshape((positions, kv_heads, dim))?.transpose(0, 1)?.contiguous()?.unsqueeze(0);
    let mask = match mask {
        Some(mask) => {
            let mask = mask.reshape((1, 1, tokens, positions))?.to_dtype(kind)?;
            Some(mask.broadcast_as((1, heads, tokens, positions))?)
        }
        None => None,
    };
    let scale = 1.0 / (dim as f32).sqrt();
    let answers =
        candle_nn::ops::sdpa(&queries, &side(keys)?, &side(values)?, mask.as_ref(), false, scale, 1.0)?;
    answers.squeeze(0)?.transpose(0, 1)?.contiguous()?.reshape((tokens, heads * dim))
}
