//! Attention over the paged KV cache on a device. The keys and values of each sequence are gathered from its
//! blocks; where the build and the device have a fused kernel (FlashAttention, Metal SDPA) it computes the
//! attention, elsewhere a masked softmax of plain tensor operations.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use kernels::{Architecture, KernelError, SequenceChunk, StepBatch};

use super::pool::{DevicePool, slot};
use crate::EngineError;

/// The most attention scores computed at once: a quarter of a gigabyte.
const SCORES: usize = 1 << 26;
/// The most tokens of one sequence per unit.
const TOKENS: usize = 512;

/// How a step's attention is computed.
#[derive(Debug)]
pub(super) enum AttentionPlan {
    Groups(Vec<Group>),
    #[cfg(feature = "flash-attn")]
    Flash(Flash),
}

/// Sequences with the same number of new tokens in a step, computed as one batch.
#[derive(Debug)]
pub(super) struct Group {
    first: usize,
    texts: usize,
    /// New tokens of each sequence.
    tokens: usize,
    /// Positions gathered for each sequence: as many as the longest has.
    positions: usize,
    slots: Tensor,
    /// Added to the scores: zero, or minus infinity for positions that are masked. `None` where nothing is.
    mask: Option<Tensor>,
}

/// Consecutive new tokens of one sequence.
#[derive(Debug, Clone, Copy)]
struct Unit<'a> {
    part: &'a SequenceChunk,
    row: usize,
    tokens: usize,
    /// The positions that the last of them attends to.
    end: usize,
}

/// Splits parts into units whose scores stay within the bound.
fn units<'a>(batch: &'a StepBatch, heads: usize) -> Vec<Unit<'a>> {
    let (mut units, mut row) = (Vec::new(), 0);
    for part in &batch.chunks {
        let most = (SCORES / (heads * part.end().max(1))).clamp(1, TOKENS);
        let mut at = 0;
        while at < part.tokens.len() {
            let tokens = most.min(part.tokens.len() - at);
            units.push(Unit { part, row: row + at, tokens, end: part.start + at + tokens });
            at += tokens;
        }
        row += part.tokens.len();
    }
    units
}

/// Groups consecutive units with the same number of tokens, as long as the scores of a group stay within the
/// bound and padding to the longest at most doubles the work.
fn group_units<'a, 'b>(units: &'b [Unit<'a>], heads: usize) -> Vec<&'b [Unit<'a>]> {
    let (mut groups, mut rest) = (Vec::new(), units);
    while let Some(first) = rest.first() {
        let (mut count, mut longest, mut all) = (0, 0usize, 0);
        for unit in rest {
            longest = longest.max(unit.end);
            all += unit.end;
            let is_much = (count + 1) * heads * unit.tokens * longest > SCORES;
            let is_wasted = longest * (count + 1) > 2 * all;
            if count > 0 && (unit.tokens != first.tokens || is_much || is_wasted) {
                break;
            }
            count += 1;
        }
        let (group, more) = rest.split_at(count.max(1).min(rest.len()));
        groups.push(group);
        rest = more;
    }
    groups
}

impl AttentionPlan {
    pub(super) fn of(
        batch: &StepBatch,
        shape: &Architecture,
        pool: &DevicePool,
    ) -> std::result::Result<Self, EngineError> {
        #[cfg(feature = "flash-attn")]
        if let Some(flash) = Flash::of(batch, shape, pool)? {
            return Ok(Self::Flash(flash));
        }
        let units = units(batch, shape.heads);
        let groups = group_units(&units, shape.heads);
        Ok(Self::Groups(
            groups
                .into_iter()
                .map(|group| Group::of(group, pool.device()))
                .collect::<std::result::Result<_, _>>()?,
        ))
    }

    /// The attention output, a row of all heads for each token. `queries` is `[rows, heads, head_dim]` with
    /// RoPE applied, in single precision.
    pub(super) fn attend(
        &self,
        queries: &Tensor,
        kept: &(Tensor, Tensor),
        shape: &Architecture,
    ) -> Result<Tensor> {
        match self {
            Self::Groups(groups) => {
                let each = groups.iter().map(|group| group.attend(queries, kept, shape));
                let each = each.collect::<Result<Vec<_>>>()?;
                if let [one] = each.as_slice() { Ok(one.clone()) } else { Tensor::cat(&each, 0) }
            }
            #[cfg(feature = "flash-attn")]
            Self::Flash(flash) => flash.attend(queries, kept, shape),
        }
    }
}

/// The slots of a sequence's first `end` positions, padded to `positions` with its first slot, which the mask
/// hides.
fn slots(part: &SequenceChunk, end: usize, positions: usize) -> std::result::Result<Vec<u32>, EngineError> {
    let each = (0..positions).map(|position| {
        let slot = slot(&part.blocks, if position < end { position } else { 0 });
        slot.and_then(|slot| u32::try_from(slot).ok())
            .ok_or(EngineError::Kernel(KernelError::Step("a text without room in the pool")))
    });
    each.collect()
}

impl Group {
    fn of(units: &[Unit<'_>], device: &Device) -> std::result::Result<Self, EngineError> {
        let (first, tokens) = units.first().map_or((0, 0), |unit| (unit.row, unit.tokens));
        let positions = units.iter().map(|unit| unit.end).max().unwrap_or_default();
        let mut all = Vec::with_capacity(units.len() * positions);
        for unit in units {
            all.extend(slots(unit.part, unit.end, positions)?);
        }
        let sees_all = tokens == 1 && units.iter().all(|unit| unit.end == positions);
        let mask = if sees_all {
            None
        } else {
            let mut mask = Vec::with_capacity(units.len() * tokens * positions);
            for unit in units {
                for token in 0..tokens {
                    let seen = unit.end - tokens + token + 1;
                    mask.extend(
                        (0..positions)
                            .map(|position| if position < seen { 0.0f32 } else { f32::NEG_INFINITY }),
                    );
                }
            }
            Some(Tensor::from_vec(mask, (units.len(), 1, 1, tokens, positions), device)?)
        };
        let slots = Tensor::new(all, device)?;
        Ok(Self { first, texts: units.len(), tokens, positions, slots, mask })
    }

    fn attend(
        &self,
        queries: &Tensor,
        (keys, values): &(Tensor, Tensor),
        shape: &Architecture,
    ) -> Result<Tensor> {
        let Architecture { heads, kv_heads, head_dim: dim, .. } = *shape;
        let (texts, tokens, positions, group) = (self.texts, self.tokens, self.positions, heads / kv_heads);
        let queries = queries.narrow(0, self.first, texts * tokens)?;
        #[cfg(feature = "metal")]
        if texts == 1 && super::fused::takes(queries.device(), dim) {
            let kept = (keys.index_select(&self.slots, 0)?, values.index_select(&self.slots, 0)?);
            return super::fused::attend(&queries, &kept, self.mask.as_ref(), shape);
        }
        // The CPU has no half-precision matrix product.
        let kind = if queries.device().is_cpu() { DType::F32 } else { keys.dtype() };
        let queries = (queries * (1.0 / (dim as f64).sqrt()))?.to_dtype(kind)?;
        let queries = queries.reshape((texts, tokens, kv_heads, group, dim))?.permute((0, 2, 3, 1, 4))?;
        let queries = queries.contiguous()?.reshape((texts, kv_heads, group * tokens, dim))?;
        let gathered = |side: &Tensor| {
            let side = side.index_select(&self.slots, 0)?.to_dtype(kind)?;
            side.reshape((texts, positions, kv_heads, dim))?.transpose(1, 2)?.contiguous()
        };
        let scores = queries.matmul(&gathered(keys)?.t()?)?.to_dtype(DType::F32)?;
        let scores = match &self.mask {
            Some(mask) => scores.reshape((texts, kv_heads, group, tokens, positions))?.broadcast_add(mask)?,
            None => scores,
        };
        let weights = softmax_last_dim(&scores)?.reshape((texts, kv_heads, group * tokens, positions))?;
        let answers = weights.to_dtype(kind)?.matmul(&gathered(values)?)?;
        let answers = answers.reshape((texts, kv_heads, group, tokens, dim))?.permute((0, 3, 1, 2, 4))?;
        answers.contiguous()?.reshape((texts * tokens, heads * dim))
    }
}

/// FlashAttention: one call for all sequences of a step, whatever their lengths.
#[cfg(feature = "flash-attn")]
#[derive(Debug)]
pub(super) struct Flash {
    slots: Tensor,
    /// Cumulative lengths: where each sequence's new tokens end, and its positions.
    token_ends: Tensor,
    position_ends: Tensor,
    tokens: usize,
    positions: usize,
}

#[cfg(feature = "flash-attn")]
impl Flash {
    /// The widest heads that its kernels support.
    const WIDEST: usize = 256;

    fn of(
        batch: &StepBatch,
        shape: &Architecture,
        pool: &DevicePool,
    ) -> std::result::Result<Option<Self>, EngineError> {
        let is_half = matches!(pool.kind(), DType::F16 | DType::BF16);
        let is_known = shape.head_dim.is_multiple_of(8) && shape.head_dim <= Self::WIDEST;
        if !pool.device().is_cuda() || !is_half || !is_known {
            return Ok(None);
        }
        let (mut all, mut token_ends, mut position_ends) = (Vec::new(), vec![0u32], vec![0u32]);
        let (mut tokens, mut positions, mut rows) = (0, 0, 0);
        let number = |number: usize| {
            u32::try_from(number)
                .map_err(|_| EngineError::Kernel(KernelError::Step("a step beyond all bounds")))
        };
        for part in batch.chunks.iter().filter(|part| !part.tokens.is_empty()) {
            all.extend(slots(part, part.end(), part.end())?);
            rows += part.tokens.len();
            token_ends.push(number(rows)?);
            position_ends.push(number(all.len())?);
            tokens = tokens.max(part.tokens.len());
            positions = positions.max(part.end());
        }
        let device = pool.device();
        Ok(Some(Self {
            slots: Tensor::new(all, device)?,
            token_ends: Tensor::new(token_ends, device)?,
            position_ends: Tensor::new(position_ends, device)?,
            tokens,
            positions,
        }))
    }

    fn attend(
        &self,
        queries: &Tensor,
        (keys, values): &(Tensor, Tensor),
        shape: &Architecture,
    ) -> Result<Tensor> {
        let rows = queries.dim(0)?;
        let gathered = |side: &Tensor| {
            let side = side.index_select(&self.slots, 0)?;
            let positions = side.dim(0)?;
            side.reshape((positions, shape.kv_heads, shape.head_dim))
        };
        let scale = 1.0 / (shape.head_dim as f32).sqrt();
        let queries = queries.to_dtype(keys.dtype())?.contiguous()?;
        // The causal mask is aligned to the end: the new tokens are the last positions of each sequence.
        let answers = candle_flash_attn::flash_attn_varlen(
            &queries,
            &gathered(keys)?,
            &gathered(values)?,
            &self.token_ends,
            &self.position_ends,
            self.tokens,
            self.positions,
            scale,
            true,
        )?;
        answers.reshape((rows, shape.query_width()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(tokens: usize, start: usize) -> SequenceChunk {
        let blocks = (0..(start + tokens).div_ceil(16) as u32).collect();
        SequenceChunk { tokens: vec![0; tokens], start, blocks, output_from: 0, adapter: None }
    }

    #[test]
    fn every_row_is_in_one_group_in_its_order() {
        let parts =
            vec![part(1, 40), part(1, 39), part(1, 2_000), part(700, 10), part(5, 0), part(0, 3), part(5, 1)];
        let batch = StepBatch { chunks: parts };
        for heads in [4, 1 << 20] {
            let units = units(&batch, heads);
            let groups = group_units(&units, heads);
            let rows: usize = units.iter().map(|unit| unit.tokens).sum();
            assert_eq!(rows, batch.rows());
            let mut row = 0;
            for group in &groups {
                for unit in *group {
                    assert_eq!((unit.row, unit.tokens), (row, group[0].tokens));
                    row += unit.tokens;
                }
                let longest = group.iter().map(|unit| unit.end).max().unwrap();
                let is_bounded = group.len() * heads * group[0].tokens * longest <= SCORES;
                assert!(is_bounded || (group.len(), group[0].tokens) == (1, 1), "{} of them", group.len());
            }
            assert_eq!(row, rows);
            // Long sequences are not grouped with short ones.
            assert!(groups.iter().all(|group| group.len() == 1 || group[0].end < 1_000));
        }
    }
}
