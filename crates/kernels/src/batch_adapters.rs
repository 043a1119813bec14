//! Applies LoRA adapters in a step on the CPU: which row uses which adapter.

use crate::adapter::{Adapter, Site};
use crate::batch::StepBatch;
use crate::lora::{Added, LoraProjection};
use crate::thread_pool::{pieces, threads};

/// Rows of one task, which share one pass over an adapter's weights.
const ROWS_OF_TASK: usize = 4;

/// Below this many multiplications, splitting the work between threads doesn't pay.
const SPLIT: usize = 1 << 15;

/// The adapters of a step's sequences.
pub(crate) struct BatchAdapters<'a> {
    adapters: Vec<&'a Adapter>,
    /// For each row, the index of its adapter.
    rows: Vec<Option<usize>>,
}

impl<'a> BatchAdapters<'a> {
    pub(crate) fn of(batch: &'a StepBatch) -> Self {
        let mut adapters: Vec<&Adapter> = Vec::new();
        let mut rows = Vec::new();
        for part in &batch.chunks {
            let which = part.adapter.as_deref().map(|adapter| {
                adapters.iter().position(|known| *known == adapter).unwrap_or_else(|| {
                    adapters.push(adapter);
                    adapters.len() - 1
                })
            });
            rows.extend(std::iter::repeat_n(which, part.tokens.len()));
        }
        Self { adapters, rows }
    }

    /// Adds the LoRA update of each row's adapter to the output of a projection. Rows without an adapter are
    /// left as they are.
    pub(crate) fn add(&self, outputs: &mut [f32], inputs: &[f32], layer: usize, site: Site) {
        let lows: Vec<Option<&LoraProjection>> =
            self.adapters.iter().map(|adapter| adapter.low(layer, site)).collect();
        let Some(width) = lows.iter().flatten().map(|low| low.inputs()).next() else { return };
        let of = |which: &Option<usize>| lows.get((*which)?).copied().flatten();
        let all = outputs.len() / self.rows.len();
        let each = inputs.chunks_exact(width).zip(outputs.chunks_exact_mut(all)).zip(&self.rows);
        let rows = each.filter_map(|(rows, which)| Some((((*which)?, of(which)?), rows)));
        let mut work: Vec<((usize, &LoraProjection), Added<'_>)> = rows.collect();
        // Groups the rows of one adapter, so that its weights are read once for several rows.
        work.sort_by_key(|((which, _), _)| *which);
        let most = work.len().div_ceil(threads()).clamp(1, ROWS_OF_TASK);
        let (whose, mut rows): (Vec<_>, Vec<_>) = work.into_iter().unzip();
        let products: usize = whose.iter().map(|(_, low)| low.products()).sum();
        let each = if products < SPLIT { rows.len() } else { most };
        pieces(&mut rows, each, |piece, rows| {
            let whose = whose.get(piece * each..piece * each + rows.len());
            run(whose.unwrap_or_default(), rows);
        });
    }
}

/// Adds the updates for some rows, all rows of one adapter at a time.
fn run(whose: &[(usize, &LoraProjection)], mut rows: &mut [Added<'_>]) {
    for same in whose.chunk_by(|(one, _), (other, _)| one == other) {
        let (now, later) = rows.split_at_mut(same.len());
        rows = later;
        if let Some((_, low)) = same.first() {
            low.add(now);
        }
    }
}
