//! A mixture-of-experts MLP on tensors: each expert runs once, on all rows that were routed to it.

use candle_core::{DType, Result, Tensor};
use kernels::{Architecture, choose};
use weights::TensorName;

use super::layer::Pair;
use super::product::{Product, Weights};
use crate::EngineError;

#[derive(Debug)]
pub(super) struct Mixture {
    router: Product,
    experts: Vec<Pair>,
    chosen: usize,
    is_normed: bool,
}

impl Mixture {
    pub(super) fn load(
        weights: &Weights<'_>,
        shape: &Architecture,
        mixture: &kernels::Mixture,
        index: usize,
    ) -> std::result::Result<Self, EngineError> {
        let plain = |name: &str| format!("model.layers.{index}.mlp.{name}");
        let packed = |name: &str| format!("blk.{index}.{name}");
        let one = |plain: &str, packed: &str, expert, rows, columns| {
            weights.product(&[(TensorName { plain, packed, expert }, rows)], columns)
        };
        let expert = |expert: usize| {
            let of = |name: &str| plain(&format!("experts.{expert}.{name}"));
            let (gate, up) = (of("gate_proj"), of("up_proj"));
            let (packed_gate, packed_up) = (packed("ffn_gate_exps"), packed("ffn_up_exps"));
            let ups = [
                (TensorName { plain: &gate, packed: &packed_gate, expert: Some(expert) }, mixture.inner),
                (TensorName { plain: &up, packed: &packed_up, expert: Some(expert) }, mixture.inner),
            ];
            let up = weights.product(&ups, shape.hidden)?;
            let down =
                one(&of("down_proj"), &packed("ffn_down_exps"), Some(expert), shape.hidden, mixture.inner)?;
            Ok(Pair::new(up, down, mixture.inner))
        };
        Ok(Self {
            router: one(&plain("gate"), &packed("ffn_gate_inp"), None, mixture.experts, shape.hidden)?,
            experts: (0..mixture.experts).map(expert).collect::<std::result::Result<_, EngineError>>()?,
            chosen: mixture.chosen,
            is_normed: mixture.is_normed,
        })
    }

    /// The bytes of weights that are read for one token: the router and the experts chosen for it.
    pub(super) fn bytes(&self) -> u64 {
        let experts: u64 = self.experts.iter().take(self.chosen).map(Pair::bytes).sum();
        self.router.bytes() + experts
    }

    /// Adds the weighted outputs of the experts for the normed rows.
    pub(super) fn add_to(&self, rows: Tensor, normed: &Tensor) -> Result<Tensor> {
        let scores: Vec<f32> = self.router.apply(normed)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let work = choose(&scores, self.experts.len(), self.chosen, self.is_normed);
        let device = rows.device();
        let mut outputs = Vec::new();
        // For each row, where its experts' outputs are among all outputs, in the order of the experts.
        let mut indices: Vec<Vec<u32>> = vec![Vec::with_capacity(self.chosen); rows.dim(0)?];
        let (mut weights, mut count) = (Vec::new(), 0u32);
        for (expert, work) in self.experts.iter().zip(&work).filter(|(_, work)| !work.is_empty()) {
            let mut which = Vec::with_capacity(work.len());
            for (row, weight) in work {
                which.push(u32::try_from(*row).unwrap_or(u32::MAX));
                weights.push(*weight);
                if let Some(indices) = indices.get_mut(*row) {
                    indices.push(count);
                }
                count += 1;
            }
            outputs.push(expert.apply(&normed.index_select(&Tensor::new(which, device)?, 0)?, None)?);
        }
        let (all, width) = (weights.len(), normed.dim(1)?);
        let weights = Tensor::from_vec(weights, (all, 1), device)?.to_dtype(rows.dtype())?;
        let outputs = Tensor::cat(&outputs, 0)?.broadcast_mul(&weights)?;
        let indices: Vec<u32> = indices.into_iter().flatten().collect();
        let outputs = outputs.index_select(&Tensor::new(indices, device)?, 0)?;
        rows + outputs.reshape((all / self.chosen, self.chosen, width))?.sum(1)?
    }
}
