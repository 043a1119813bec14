//! A mixture-of-experts MLP, forward and backward: each expert works on the rows that were routed to it. The
//! choice of experts has no gradient; the routing weights have.
#![expect(clippy::indexing_slicing, reason = "rows are cut by the widths that they were made with")]

use crate::error::TrainerError;
use crate::layer::{Mlp, MlpActivations};
use crate::weight::Product;

#[derive(Debug)]
pub(super) struct Mixture {
    pub router: Product,
    pub experts: Vec<Mlp>,
    pub chosen: usize,
    pub is_normed: bool,
}

pub(super) struct KeptMixture {
    /// The router's softmax, a probability for each row and expert.
    likely: Vec<f32>,
    low_router: Vec<f32>,
    experts: Vec<KeptExpert>,
}

#[derive(Default)]
struct KeptExpert {
    /// The rows routed to this expert, with their routing weights.
    work: Vec<(usize, f32)>,
    inputs: Vec<f32>,
    outputs: Vec<f32>,
    inner: Option<MlpActivations>,
}

fn soften(row: &mut [f32]) {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|score| *score = (*score - top).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|weight| *weight /= sum);
}

impl Mixture {
    fn choose(&self, likely: &[f32]) -> Vec<KeptExpert> {
        let count = self.experts.len();
        let mut experts: Vec<KeptExpert> = self.experts.iter().map(|_| KeptExpert::default()).collect();
        for (row, likely) in likely.chunks_exact(count).enumerate() {
            let mut order: Vec<usize> = (0..count).collect();
            // Ties go to the lower index, as when serving.
            order.sort_by(|one, other| likely[*other].total_cmp(&likely[*one]).then(one.cmp(other)));
            order.truncate(self.chosen);
            let all = if self.is_normed { order.iter().map(|expert| likely[*expert]).sum() } else { 1.0 };
            for expert in order {
                experts[expert].work.push((row, likely[expert] / all));
            }
        }
        experts
    }

    pub(super) fn forward(
        &self,
        parameters: &[f32],
        rows: &[f32],
    ) -> Result<(Vec<f32>, KeptMixture), TrainerError> {
        let width = self.router.width;
        let (mut likely, low_router) = self.router.forward(parameters, rows)?;
        likely.chunks_exact_mut(self.experts.len()).for_each(soften);
        let mut experts = self.choose(&likely);
        let mut out = vec![0.0; rows.len()];
        for (expert, kept) in self.experts.iter().zip(&mut experts).filter(|(_, kept)| !kept.work.is_empty())
        {
            kept.inputs = kept
                .work
                .iter()
                .flat_map(|(row, _)| &rows[row * width..(row + 1) * width])
                .copied()
                .collect();
            let (outputs, inner) = expert.forward(parameters, &kept.inputs)?;
            for ((row, weight), outputs) in kept.work.iter().zip(outputs.chunks_exact(width)) {
                let out = &mut out[row * width..(row + 1) * width];
                out.iter_mut().zip(outputs).for_each(|(out, outputs)| *out += weight * outputs);
            }
            (kept.outputs, kept.inner) = (outputs, Some(inner));
        }
        Ok((out, KeptMixture { likely, low_router, experts }))
    }

    pub(super) fn backward(
        &self,
        (parameters, slopes): (&[f32], &mut [f32]),
        (rows, kept): (&[f32], KeptMixture),
        out: &[f32],
        back: &mut [f32],
    ) -> Result<(), TrainerError> {
        let (width, count) = (self.router.width, self.experts.len());
        // For each row and expert: the routing weight, where the expert was chosen, and its gradient.
        let mut counted = vec![(0.0f32, 0.0f32); kept.likely.len()];
        for (index, (expert, kept)) in self.experts.iter().zip(kept.experts).enumerate() {
            let Some(inner) = kept.inner else { continue };
            let mut of_outputs = Vec::with_capacity(kept.outputs.len());
            for ((row, weight), outputs) in kept.work.iter().zip(kept.outputs.chunks_exact(width)) {
                let out = &out[row * width..(row + 1) * width];
                let slope = outputs.iter().zip(out).map(|(outputs, out)| outputs * out).sum();
                counted[row * count + index] = (*weight, slope);
                of_outputs.extend(out.iter().map(|out| out * weight));
            }
            let mut of_inputs = vec![0.0; kept.inputs.len()];
            expert.backward((parameters, slopes), (&kept.inputs, inner), &of_outputs, &mut of_inputs)?;
            for ((row, _), of_inputs) in kept.work.iter().zip(of_inputs.chunks_exact(width)) {
                let back = &mut back[row * width..(row + 1) * width];
                back.iter_mut().zip(of_inputs).for_each(|(back, slope)| *back += slope);
            }
        }
        let of_scores: Vec<f32> = counted
            .chunks_exact(count)
            .zip(kept.likely.chunks_exact(count))
            .flat_map(|(counted, likely)| {
                let mean: f32 = counted.iter().map(|(weight, slope)| weight * slope).sum();
                let each = counted.iter().zip(likely);
                // Where the weights of the chosen experts are normalised to sum to one, the other experts get
                // no gradient.
                each.map(
                    move |((weight, slope), likely)| {
                        if self.is_normed { weight * (slope - mean) } else { likely * (slope - mean) }
                    },
                )
            })
            .collect();
        self.router.backward((parameters, slopes), (rows, &kept.low_router), &of_scores, back)
    }
}
