//! The cross-entropy loss. The logits of a whole batch would be large (rows × vocabulary), so a few rows are
//! processed at a time and their logits are not stored.
#![expect(clippy::indexing_slicing, reason = "rows are cut by the widths that they were made with")]

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use crate::matrix::{By, Into, View, multiply};

/// About how many logits are held at once.
const SCORES: usize = 1 << 23;

/// The output head (`lm_head`): a row for each token of the vocabulary.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub weight: &'a [f32],
    pub width: usize,
}

/// What the backward pass computes.
pub(super) struct Back<'a> {
    /// Factor that each gradient is multiplied by.
    pub scale: f32,
    /// Receives the gradients of the rows.
    pub rows: &'a mut [f32],
    /// Gradient of the head's matrix, accumulated where the head is trained.
    pub weight: Option<&'a mut [f32]>,
}

impl Head<'_> {
    pub(super) fn scores(self, rows: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; rows.len() / self.width * self.vocabulary()];
        let weight = View::new(self.weight, self.width);
        multiply((&mut out, Into::Place), View::new(rows, self.width), weight.transposed(), 1.0, By::All);
        out
    }

    const fn vocabulary(self) -> usize {
        self.weight.len() / self.width
    }

    /// The summed loss of all rows; with `back`, also the gradients.
    pub(super) fn loss(self, rows: &[f32], targets: &[u32], mut back: Option<Back<'_>>) -> f64 {
        let vocabulary = self.vocabulary();
        let piece = (SCORES / vocabulary).clamp(1, 512);
        let mut sum = 0.0;
        for (index, (rows, targets)) in rows.chunks(piece * self.width).zip(targets.chunks(piece)).enumerate()
        {
            let mut scores = self.scores(rows);
            let scale = back.as_ref().map_or(0.0, |back| back.scale);
            let losses: Vec<f64> = scores
                .par_chunks_mut(vocabulary)
                .enumerate()
                .map(|(row, scores)| judge(scores, targets[row] as usize, scale))
                .collect();
            sum += losses.iter().sum::<f64>();
            let Some(back) = &mut back else { continue };
            let scores = View::new(&scores, vocabulary);
            let first = index * piece * self.width;
            let of_rows = &mut back.rows[first..first + rows.len()];
            multiply((of_rows, Into::Place), scores, View::new(self.weight, self.width), 1.0, By::All);
            if let Some(weight) = &mut back.weight {
                multiply((weight, Into::Sum), scores.transposed(), View::new(rows, self.width), 1.0, By::All);
            }
        }
        sum
    }
}

/// The loss of one row. Overwrites its logits with their gradients.
fn judge(scores: &mut [f32], target: usize, scale: f32) -> f64 {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let own = f64::from(scores[target] - top);
    let mut sum = 0.0f64;
    for score in &mut *scores {
        *score = (*score - top).exp();
        sum += f64::from(*score);
    }
    let scaled = scale / sum as f32;
    scores.iter_mut().for_each(|score| *score *= scaled);
    scores[target] -= scale;
    sum.ln() - own
}
