//! The decoder on CPU: its weights and the forward pass over a batch.

use crate::adapter::Site;
use crate::attend::{Attending, attend};
use crate::batch::{SequenceChunk, StepBatch};
use crate::batch_adapters::BatchAdapters;
use crate::elementwise::{add, gated};
use crate::embedding::Rows;
use crate::error::KernelError;
use crate::kv_cache::{BLOCK, KvCache, Scratch};
use crate::linear::Linear;
use crate::norm::norm_rows;
use crate::rope::RotaryEmbedding;
use crate::shape::Architecture;
use crate::turn::norm_and_turn;

/// What a step returns for a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StepOutput {
    /// Logits over the vocabulary.
    #[default]
    Logits,
    /// The hidden state after the final norm, `hidden` wide.
    HiddenState,
}

/// A model's weights. It has no state of a sequence; that is in the KV cache.
#[derive(Debug)]
pub struct Model {
    shape: Architecture,
    turning: RotaryEmbedding,
    embedding: Rows,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    head: Linear,
}

#[derive(Debug)]
pub struct Layer {
    pub before_attention: Vec<f32>,
    /// The fused projection of queries, keys and values.
    pub qkv: Linear,
    /// The norms of each query head and each key head (QK norm).
    pub head_norms: Option<(Vec<f32>, Vec<f32>)>,
    pub answers: Linear,
    pub before_dense: Vec<f32>,
    pub dense: Dense,
}

#[derive(Debug)]
pub enum Dense {
    One(Pair),
    Mixture { router: Linear, experts: Vec<Pair>, chosen: usize, is_normed: bool },
}

/// An MLP: `up` computes gate and up projection at once, `down` projects back.
#[derive(Debug)]
pub struct Pair {
    pub up: Linear,
    pub down: Linear,
    pub inner: usize,
}

impl Model {
    /// Its parts must have this shape.
    pub fn new(
        shape: Architecture,
        embedding: Rows,
        layers: Vec<Layer>,
        norm: Vec<f32>,
        head: Linear,
    ) -> Self {
        let turning = RotaryEmbedding::new(&shape.rope, shape.head_dim);
        Self { shape, turning, embedding, layers, norm, head }
    }

    pub const fn shape(&self) -> &Architecture {
        &self.shape
    }

    /// Runs one step. Returns a row of logits for each token from `output_from` of its part on, in order.
    ///
    /// # Errors
    /// The step names something that does not exist: a token, a block, a position beyond the context.
    pub fn step(&self, batch: &StepBatch, pool: &mut KvCache) -> Result<Vec<f32>, KernelError> {
        self.step_with_outputs(batch, &[], pool)
    }

    /// Like `step`, but `outputs` chooses what is returned for each part; parts without an entry return logits.
    pub fn step_with_outputs(
        &self,
        batch: &StepBatch,
        outputs: &[StepOutput],
        pool: &mut KvCache,
    ) -> Result<Vec<f32>, KernelError> {
        let rows = self.rows(batch, pool)?;
        let mut selected = Vec::new();
        for row in batch.output_rows() {
            let row = row * self.shape.hidden..(row + 1) * self.shape.hidden;
            selected.extend_from_slice(rows.get(row).unwrap_or_default());
        }
        if selected.is_empty() {
            return Ok(selected);
        }
        let mut normed = Vec::new();
        norm_rows(&selected, &self.norm, self.shape.norm_epsilon, &mut normed);
        if outputs.contains(&StepOutput::HiddenState) {
            let head = |rows: &[f32]| self.head.apply(rows, self.shape.hidden);
            return mixed(&normed, &self.shape, (batch, outputs), head);
        }
        self.head.apply(&normed, self.shape.hidden)
    }

    /// The row of the output head for a token.
    ///
    /// # Errors
    /// The head has no such row, or it can't be unpacked.
    pub fn head_row(&self, token: u32) -> Result<Vec<f32>, KernelError> {
        self.head.row(token, self.shape.hidden)
    }

    /// Runs all layers; returns the hidden state of each row before the final norm.
    fn rows(&self, batch: &StepBatch, pool: &mut KvCache) -> Result<Vec<f32>, KernelError> {
        batch.check(&self.shape)?;
        let positions = batch.positions();
        let angles = self.turning.angles(positions.iter().map(|(_, position)| *position));
        let tokens = batch.chunks.iter().flat_map(|part| &part.tokens);
        let mut rows = self.embedding.rows(tokens.copied());
        let worn = BatchAdapters::of(batch);
        // If a step fails, its buffers are lost, and the next step allocates new ones.
        let mut scratch = std::mem::take(&mut pool.scratch);
        let held = &mut scratch;
        for (index, layer) in self.layers.iter().enumerate() {
            norm_rows(&rows, &layer.before_attention, self.shape.norm_epsilon, &mut held.normed);
            layer.qkv.apply_into(&held.normed, self.shape.hidden, &mut held.qkv, &mut held.eights)?;
            worn.add(&mut held.qkv, &held.normed, index, Site::Asks);
            norm_and_turn(&mut held.qkv, &self.shape, layer.head_norms.as_ref(), &angles);
            self.keep(index, &positions, &held.qkv, batch, pool)?;
            let at = Attending { shape: &self.shape, pool, layer: index, batch, positions: &positions };
            attend(&at, (&held.qkv, self.shape.query_width() + 2 * self.shape.kv_width()), &mut held.answers);
            let width = self.shape.query_width();
            layer.answers.apply_into(&held.answers, width, &mut held.projected, &mut held.eights)?;
            worn.add(&mut held.projected, &held.answers, index, Site::Answers);
            add(&mut rows, &held.projected);
            norm_rows(&rows, &layer.before_dense, self.shape.norm_epsilon, &mut held.normed);
            layer.dense.add_to(&mut rows, held, self.shape.hidden, (&worn, index))?;
        }
        pool.scratch = scratch;
        Ok(rows)
    }

    /// Writes the keys and values, which follow the queries in each row, into the KV cache.
    fn keep(
        &self,
        index: usize,
        positions: &[(usize, usize)],
        qkv: &[f32],
        batch: &StepBatch,
        pool: &mut KvCache,
    ) -> Result<(), KernelError> {
        let (query_width, kv_width) = (self.shape.query_width(), self.shape.kv_width());
        for (qkv, (part, position)) in qkv.chunks_exact(query_width + 2 * kv_width).zip(positions) {
            let (keys, values) = qkv.split_at(query_width).1.split_at(kv_width);
            let block = batch.chunks.get(*part).and_then(|part| part.blocks.get(position / BLOCK));
            let block = block.ok_or(KernelError::Step("a text without room in the pool"))?;
            pool.keep(index, (*block, position % BLOCK), keys, values)?;
        }
        Ok(())
    }
}

impl Pair {
    /// Applies the MLP to `held.normed`; the result is in `held.projected`.
    fn apply(
        &self,
        held: &mut Scratch,
        width: usize,
        worn: Option<(&BatchAdapters<'_>, usize)>,
    ) -> Result<(), KernelError> {
        self.up.apply_into(&held.normed, width, &mut held.up, &mut held.eights)?;
        if let Some((worn, layer)) = worn {
            worn.add(&mut held.up, &held.normed, layer, Site::Up);
        }
        gated(&held.up, self.inner, &mut held.inner);
        self.down.apply_into(&held.inner, self.inner, &mut held.projected, &mut held.eights)?;
        if let Some((worn, layer)) = worn {
            worn.add(&mut held.projected, &held.inner, layer, Site::Down);
        }
        Ok(())
    }
}

impl Dense {
    /// Adds the MLP's output to the residual rows. Adapters apply to dense layers only, not to experts.
    fn add_to(
        &self,
        rows: &mut [f32],
        held: &mut Scratch,
        width: usize,
        worn: (&BatchAdapters<'_>, usize),
    ) -> Result<(), KernelError> {
        match self {
            Self::One(pair) => {
                pair.apply(held, width, Some(worn))?;
                add(rows, &held.projected);
            }
            Self::Mixture { router, experts, chosen, is_normed } => {
                let scores = router.apply(&held.normed, width)?;
                let work = choose(&scores, experts.len(), *chosen, *is_normed);
                mix(experts, &work, rows, held, width)?;
            }
        }
        Ok(())
    }
}

/// Computes the outputs of a step whose parts differ: logits for some rows, hidden states for others.
pub fn mixed<E>(
    normed: &[f32],
    shape: &Architecture,
    (batch, outputs): (&StepBatch, &[StepOutput]),
    head: impl FnOnce(&[f32]) -> Result<Vec<f32>, E>,
) -> Result<Vec<f32>, E> {
    let each = |(index, part): (usize, &SequenceChunk)| {
        let output = outputs.get(index).copied().unwrap_or_default();
        std::iter::repeat_n(output, part.tokens.len().saturating_sub(part.output_from))
    };
    let outputs: Vec<StepOutput> = batch.chunks.iter().enumerate().flat_map(each).collect();
    let rows = || normed.chunks_exact(shape.hidden).zip(&outputs);
    let scored: Vec<f32> = rows()
        .filter(|(_, output)| **output == StepOutput::Logits)
        .flat_map(|(row, _)| row)
        .copied()
        .collect();
    let scores = if scored.is_empty() { Vec::new() } else { head(&scored)? };
    let mut scores = scores.chunks_exact(shape.vocabulary);
    let mut out = Vec::new();
    for (row, output) in rows() {
        out.extend_from_slice(match output {
            StepOutput::Logits => scores.next().unwrap_or_default(),
            StepOutput::HiddenState => row,
        });
    }
    Ok(out)
}

/// The router: for each expert, its rows and the weight of its output for each.
pub fn choose(scores: &[f32], experts: usize, chosen: usize, is_normed: bool) -> Vec<Vec<(usize, f32)>> {
    let mut work = vec![Vec::new(); experts];
    for (row, scores) in scores.chunks_exact(experts).enumerate() {
        let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut weights: Vec<(usize, f32)> =
            scores.iter().map(|score| (score - top).exp()).enumerate().collect();
        let all: f32 = weights.iter().map(|(_, weight)| weight).sum();
        // Ties go to the expert with the lower index, in every row.
        weights.sort_by(|(one, weight), (other, more)| more.total_cmp(weight).then(one.cmp(other)));
        weights.truncate(chosen);
        let sum = if is_normed { weights.iter().map(|(_, weight)| weight).sum() } else { all };
        for (expert, weight) in weights {
            if let Some(work) = work.get_mut(expert) {
                work.push((row, weight / sum));
            }
        }
    }
    work
}

/// Each expert that was chosen runs once, for all its rows.
fn mix(
    experts: &[Pair],
    work: &[Vec<(usize, f32)>],
    rows: &mut [f32],
    held: &mut Scratch,
    width: usize,
) -> Result<(), KernelError> {
    let normed = std::mem::take(&mut held.normed);
    for (expert, work) in experts.iter().zip(work).filter(|(_, work)| !work.is_empty()) {
        let of = |(row, _): &(usize, f32)| normed.get(row * width..(row + 1) * width);
        held.normed.clear();
        work.iter().filter_map(of).for_each(|row| held.normed.extend_from_slice(row));
        expert.apply(held, width, None)?;
        for ((row, weight), output) in work.iter().zip(held.projected.chunks_exact(width)) {
            let into = rows.get_mut(row * width..(row + 1) * width).unwrap_or_default();
            into.iter_mut().zip(output).for_each(|(into, output)| *into += weight * output);
        }
    }
    Ok(())
}
