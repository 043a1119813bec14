//! Forward and backward pass of one transformer layer. The activations that the backward pass needs are kept
//! from the forward pass, or recomputed from the layer's input (gradient checkpointing).

use std::ops::Range;

use kernels::{Angles, Architecture, KernelError};

use crate::attention::{self, Answered, Qkv};
use crate::error::TrainerError;
use crate::mixture::{KeptMixture, Mixture};
use crate::rows::{Heads, add, gated, gated_backward, norm_backward, norms_of, side_by_side};
use crate::weight::{Product, Weight};

#[derive(Debug)]
pub(super) struct Layer {
    pub before_attention: Weight,
    pub queries: Product,
    pub keys: Product,
    pub values: Product,
    pub head_norms: Option<(Weight, Weight)>,
    pub answers: Product,
    pub before_dense: Weight,
    pub dense: Dense,
}

#[derive(Debug)]
pub(super) enum Dense {
    One(Mlp),
    Mixture(Mixture),
}

/// The three matrices of a gated MLP.
#[derive(Debug)]
pub(super) struct Mlp {
    pub gate: Product,
    pub up: Product,
    pub down: Product,
}

/// What all layers share for a batch.
pub(super) struct At<'a> {
    pub shape: &'a Architecture,
    pub parameters: &'a [f32],
    pub angles: &'a Angles,
    /// The rows of each sequence.
    pub texts: &'a [Range<usize>],
}

/// A product's output, and the intermediate activations of its LoRA matrices.
type Out = (Vec<f32>, Vec<f32>);

pub(super) struct LayerActivations {
    normed: Vec<f32>,
    projected: [Out; 3],
    heads: [Vec<f32>; 3],
    answered: Answered,
    attended: Vec<f32>,
    low_attended: Vec<f32>,
    /// Input of the MLP before and after its norm.
    middle: Vec<f32>,
    middle_normed: Vec<f32>,
    dense: KeptDense,
}

enum KeptDense {
    One(MlpActivations),
    Mixture(KeptMixture),
}

pub(super) struct MlpActivations {
    gates: Out,
    ups: Out,
    low_down: Vec<f32>,
}

impl Mlp {
    pub(super) fn forward(
        &self,
        parameters: &[f32],
        rows: &[f32],
    ) -> Result<(Vec<f32>, MlpActivations), TrainerError> {
        let (gates, ups) = (self.gate.forward(parameters, rows)?, self.up.forward(parameters, rows)?);
        let (out, low_down) = self.down.forward(parameters, &gated(&gates.0, &ups.0))?;
        Ok((out, MlpActivations { gates, ups, low_down }))
    }

    pub(super) fn backward(
        &self,
        (parameters, slopes): (&[f32], &mut [f32]),
        (rows, kept): (&[f32], MlpActivations),
        out: &[f32],
        back: &mut [f32],
    ) -> Result<(), TrainerError> {
        let MlpActivations { gates: (mut gates, low_gates), ups: (mut ups, low_ups), low_down } = kept;
        let inner = gated(&gates, &ups);
        let mut of_inner = vec![0.0; inner.len()];
        self.down.backward((parameters, slopes), (&inner, &low_down), out, &mut of_inner)?;
        gated_backward(&mut gates, &mut ups, &of_inner);
        self.gate.backward((parameters, slopes), (rows, &low_gates), &gates, back)?;
        self.up.backward((parameters, slopes), (rows, &low_ups), &ups, back)
    }
}

impl Layer {
    fn heads<'a>(&self, at: &At<'a>, norms: [Option<&'a [f32]>; 2]) -> [Heads<'a>; 3] {
        let Architecture { heads, kv_heads, .. } = *at.shape;
        let [queries, keys] = norms;
        let turned = |count, norm| Heads { count, shape: at.shape, norm, angles: Some(at.angles) };
        let values = Heads { count: kv_heads, shape: at.shape, norm: None, angles: None };
        [turned(heads, queries), turned(kv_heads, keys), values]
    }

    pub(super) fn forward(
        &self,
        at: &At<'_>,
        rows: &[f32],
    ) -> Result<(Vec<f32>, LayerActivations), TrainerError> {
        let (parameters, epsilon) = (at.parameters, at.shape.norm_epsilon);
        let normed = norms_of(rows, &self.before_attention.numbers(parameters)?, epsilon);
        let projected = [
            self.queries.forward(parameters, &normed)?,
            self.keys.forward(parameters, &normed)?,
            self.values.forward(parameters, &normed)?,
        ];
        let norms = match &self.head_norms {
            Some((queries, keys)) => Some((queries.numbers(parameters)?, keys.numbers(parameters)?)),
            None => None,
        };
        let norms = [norms.as_ref().map(|norms| &*norms.0), norms.as_ref().map(|norms| &*norms.1)];
        let [of_queries, of_keys, of_values] = self.heads(at, norms);
        let [(queries, _), (keys, _), (values, _)] = &projected;
        let heads = [of_queries.forward(queries), of_keys.forward(keys), of_values.forward(values)];
        let [queries, keys, values] = &heads;
        let answered = attention::forward(at.shape, at.texts, &Qkv { queries, keys, values });
        let attended = side_by_side(&answered.rows, at.shape.heads, at.shape.head_dim);
        let (mut middle, low_attended) = self.answers.forward(parameters, &attended)?;
        add(&mut middle, rows);
        let middle_normed = norms_of(&middle, &self.before_dense.numbers(parameters)?, epsilon);
        let (mut out, dense) = match &self.dense {
            Dense::One(three) => {
                let (out, kept) = three.forward(parameters, &middle_normed)?;
                (out, KeptDense::One(kept))
            }
            Dense::Mixture(mixture) => {
                let (out, kept) = mixture.forward(parameters, &middle_normed)?;
                (out, KeptDense::Mixture(kept))
            }
        };
        add(&mut out, &middle);
        Ok((
            out,
            LayerActivations {
                normed,
                projected,
                heads,
                answered,
                attended,
                low_attended,
                middle,
                middle_normed,
                dense,
            },
        ))
    }

    /// The gradient of the input (`rows`), from the gradient of the output (`out`). Adds the gradients of the
    /// weights to `slopes`.
    pub(super) fn backward(
        &self,
        at: &At<'_>,
        slopes: &mut [f32],
        (rows, kept): (&[f32], LayerActivations),
        out: Vec<f32>,
    ) -> Result<Vec<f32>, TrainerError> {
        let (parameters, epsilon) = (at.parameters, at.shape.norm_epsilon);
        let mut of_normed = vec![0.0; rows.len()];
        match (&self.dense, kept.dense) {
            (Dense::One(three), KeptDense::One(dense)) => {
                three.backward((parameters, slopes), (&kept.middle_normed, dense), &out, &mut of_normed)?;
            }
            (Dense::Mixture(mixture), KeptDense::Mixture(dense)) => {
                mixture.backward((parameters, slopes), (&kept.middle_normed, dense), &out, &mut of_normed)?;
            }
            _ => return Err(KernelError::Step("a layer's way back that is another layer's").into()),
        }
        let mut of_middle = out;
        let weight = self.before_dense.numbers(parameters)?;
        let norm = (kept.middle.as_slice(), &*weight, epsilon);
        norm_backward(norm, &of_normed, &mut of_middle, self.before_dense.slopes(slopes));
        let mut of_attended = vec![0.0; kept.attended.len()];
        let attended = (kept.attended.as_slice(), kept.low_attended.as_slice());
        self.answers.backward((parameters, slopes), attended, &of_middle, &mut of_attended)?;
        let [queries, keys, values] = &kept.heads;
        let of_attended =
            Heads { count: at.shape.heads, shape: at.shape, norm: None, angles: None }.forward(&of_attended);
        let qkv = Qkv { queries, keys, values };
        let of_heads = attention::backward(at.shape, at.texts, &qkv, &kept.answered, &of_attended);
        let mut of_normed = vec![0.0; rows.len()];
        self.qkv_backward(at, slopes, (&kept.normed, &kept.projected), &of_heads, &mut of_normed)?;
        let weight = self.before_attention.numbers(parameters)?;
        let norm = (rows, &*weight, epsilon);
        let mut back = of_middle;
        norm_backward(norm, &of_normed, &mut back, self.before_attention.slopes(slopes));
        Ok(back)
    }

    fn qkv_backward(
        &self,
        at: &At<'_>,
        slopes: &mut [f32],
        (normed, projected): (&[f32], &[Out; 3]),
        heads: &attention::Gradients,
        back: &mut [f32],
    ) -> Result<(), TrainerError> {
        let parameters = at.parameters;
        let norms = match &self.head_norms {
            Some((queries, keys)) => Some((queries.numbers(parameters)?, keys.numbers(parameters)?)),
            None => None,
        };
        let numbers = [norms.as_ref().map(|norms| &*norms.0), norms.as_ref().map(|norms| &*norms.1)];
        let weights = self.head_norms.as_ref();
        let weights = [weights.map(|norms| &norms.0), weights.map(|norms| &norms.1), None];
        let products = [&self.queries, &self.keys, &self.values];
        let each = self.heads(at, numbers).into_iter().zip(weights).zip(products).zip(projected);
        let of_heads = [&heads.queries, &heads.keys, &heads.values];
        for ((((heads, weight), product), (projected, low)), of_heads) in each.zip(of_heads) {
            let of_weight = weight.and_then(|weight| weight.slopes(slopes));
            let of_projected = heads.backward(projected, of_heads, of_weight);
            product.backward((parameters, slopes), (normed, low), &of_projected, back)?;
        }
        Ok(())
    }
}
