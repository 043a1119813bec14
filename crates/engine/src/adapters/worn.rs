//! Which rows of a step have which adapter.

use super::{Adapter, Site};
use crate::batch::Ragged;
use crate::kernels::{Added, Low, pieces, threads};

/// Rows that one task takes at most; as many as are read for at once.
const ROWS_MAX: usize = 4;

/// Work of fewer products is done before other threads hear of it.
const SPLIT: usize = 1 << 15;

/// The adapters of a step.
pub(crate) struct Worn<'a> {
    adapters: Vec<&'a Adapter>,
    /// Of each row, which of them it has.
    rows: Vec<Option<usize>>,
}

impl<'a> Worn<'a> {
    pub(crate) fn of(batch: &'a Ragged) -> Self {
        let mut adapters: Vec<&Adapter> = Vec::new();
        let mut rows = Vec::new();
        for part in &batch.parts {
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

    /// Adds what each row's adapter has for a product of a layer. Rows without one are not touched.
    pub(crate) fn add(&self, outputs: &mut [f32], inputs: &[f32], layer: usize, site: Site) {
        let lows: Vec<Option<&Low>> = self.adapters.iter().map(|adapter| adapter.low(layer, site)).collect();
        let Some(width) = lows.iter().flatten().map(|low| low.inputs()).next() else { return };
        let of = |which: &Option<usize>| lows.get((*which)?).copied().flatten();
        let all = outputs.len() / self.rows.len();
        let each = inputs.chunks_exact(width).zip(outputs.chunks_exact_mut(all)).zip(&self.rows);
        let rows = each.filter_map(|(rows, which)| Some((((*which)?, of(which)?), rows)));
        let mut work: Vec<((usize, &Low), Added<'_>)> = rows.collect();
        // Rows of one adapter stand together, so that it is read once for several.
        work.sort_by_key(|((which, _), _)| *which);
        let most = work.len().div_ceil(threads()).clamp(1, ROWS_MAX);
        let (whose, mut rows): (Vec<_>, Vec<_>) = work.into_iter().unzip();
        let products: usize = whose.iter().map(|(_, low)| low.products()).sum();
        let each = if products < SPLIT { rows.len() } else { most };
        pieces(&mut rows, each, |piece, rows| {
            let whose = whose.get(piece * each..piece * each + rows.len());
            run(whose.unwrap_or_default(), rows);
        });
    }
}

/// Adds to some rows, to those of one adapter at once.
fn run(whose: &[(usize, &Low)], mut rows: &mut [Added<'_>]) {
    for same in whose.chunk_by(|(one, _), (other, _)| one == other) {
        let (now, later) = rows.split_at_mut(same.len());
        rows = later;
        if let Some((_, low)) = same.first() {
            low.add(now);
        }
    }
}
