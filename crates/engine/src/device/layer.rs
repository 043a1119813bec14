//! A transformer layer on tensors: attention and a dense MLP.

use candle_core::{DType, Result, Tensor};
use candle_nn::ops::{rms_norm, silu};
use candle_nn::rotary_emb::{rope_i, rope_thd};
use kernels::{Architecture, Pairs, Site};
use weights::TensorName;

use super::mixture::Mixture;
use super::pool::DevicePool;
use super::product::{Product, Weights};
use super::{Step, Worn};
use crate::EngineError;

#[derive(Debug)]
pub(super) struct Layer {
    before_attention: Tensor,
    /// The fused query/key/value projection.
    qkv: Product,
    head_norms: Option<HeadNorms>,
    answers: Product,
    before_dense: Tensor,
    dense: Dense,
}

/// The RMSNorm weights of query and key heads, concatenated so that both are normed in one operation.
#[derive(Debug)]
struct HeadNorms {
    ones: Tensor,
    /// A row for each head.
    weights: Tensor,
}

#[derive(Debug)]
enum Dense {
    One(Pair),
    Mixture(Mixture),
}

/// A gated MLP: the fused gate/up projection and the down projection.
#[derive(Debug)]
pub(super) struct Pair {
    up: Product,
    down: Product,
    inner: usize,
}

/// The output head, where it is not tied to the embedding.
pub(super) fn head(weights: &Weights<'_>, shape: &Architecture) -> std::result::Result<Product, EngineError> {
    let tensor = TensorName { plain: "lm_head", packed: "output", expert: None };
    weights.product(&[(tensor, shape.vocabulary)], shape.hidden)
}

/// The names of a layer's tensor in safetensors and in GGUF.
fn names(index: usize, plain: &str, packed: &str) -> (String, String) {
    (format!("model.layers.{index}.{plain}"), format!("blk.{index}.{packed}"))
}

impl Layer {
    pub(super) fn load(
        weights: &Weights<'_>,
        shape: &Architecture,
        index: usize,
    ) -> std::result::Result<Self, EngineError> {
        let (queries, kv) = (shape.query_width(), shape.kv_width());
        let product = |parts: &[(&str, &str, usize)], columns| product_of(weights, index, parts, columns);
        let vector = |plain: &str, packed: &str| {
            let (plain, packed) = names(index, plain, packed);
            weights.vector((&plain, &packed), shape.hidden)
        };
        let qkv = [
            ("self_attn.q_proj", "attn_q", queries),
            ("self_attn.k_proj", "attn_k", kv),
            ("self_attn.v_proj", "attn_v", kv),
        ];
        let dense = match shape.mixture_of(index) {
            Some(mixture) => Dense::Mixture(Mixture::load(weights, shape, mixture, index)?),
            None => Dense::One(Pair {
                up: product(
                    &[("mlp.gate_proj", "ffn_gate", shape.inner), ("mlp.up_proj", "ffn_up", shape.inner)],
                    shape.hidden,
                )?,
                down: product(&[("mlp.down_proj", "ffn_down", shape.hidden)], shape.inner)?,
                inner: shape.inner,
            }),
        };
        Ok(Self {
            before_attention: vector("input_layernorm", "attn_norm")?,
            qkv: product(&qkv, shape.hidden)?,
            head_norms: shape.norms_heads.then(|| HeadNorms::load(weights, shape, index)).transpose()?,
            answers: product(&[("self_attn.o_proj", "attn_output", shape.hidden)], queries)?,
            before_dense: vector("post_attention_layernorm", "ffn_norm")?,
            dense,
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        let dense = match &self.dense {
            Dense::One(pair) => pair.bytes(),
            Dense::Mixture(mixture) => mixture.bytes(),
        };
        self.qkv.bytes() + self.answers.bytes() + dense
    }

    pub(super) fn apply(
        &self,
        rows: Tensor,
        index: usize,
        shape: &Architecture,
        step: &Step,
        pool: &DevicePool,
    ) -> std::result::Result<Tensor, EngineError> {
        let epsilon = shape.norm_epsilon as f32;
        let normed = rms_norm(&rows, &self.before_attention, epsilon)?;
        let qkv = step.worn.add(self.qkv.apply(&normed)?, &normed, index, Site::Asks)?;
        let kept = pool.layer(index)?;
        let (queries, kv) = (shape.query_width(), shape.kv_width());
        let (turned, keys) = self.rotate(&qkv, shape, step)?;
        step.keeping.keep(&keys, &kept.0)?;
        step.keeping.keep(&qkv.narrow(1, queries + kv, kv)?, &kept.1)?;
        let answers = step.seeing.attend(&turned, kept, shape)?.to_dtype(rows.dtype())?;
        let projected = step.worn.add(self.answers.apply(&answers)?, &answers, index, Site::Answers)?;
        let rows = (rows + projected)?;
        let normed = rms_norm(&rows, &self.before_dense, epsilon)?;
        Ok(match &self.dense {
            Dense::One(pair) => (rows + pair.apply(&normed, Some((&step.worn, index)))?)?,
            Dense::Mixture(mixture) => mixture.add_to(rows, &normed)?,
        })
    }

    /// Queries (`[rows, heads, head_dim]`) and keys, normed and with RoPE applied. Both are computed in
    /// single precision.
    fn rotate(&self, qkv: &Tensor, shape: &Architecture, step: &Step) -> Result<(Tensor, Tensor)> {
        let Architecture { heads, kv_heads, head_dim: dim, norm_epsilon, .. } = *shape;
        let (rows, all) = (qkv.dim(0)?, heads + kv_heads);
        let both = qkv.narrow(1, 0, all * dim)?.to_dtype(DType::F32)?.contiguous()?;
        let mut both = both.reshape((rows, all, dim))?;
        if let Some(norms) = &self.head_norms {
            both = rms_norm(&both, &norms.ones, norm_epsilon as f32)?.broadcast_mul(&norms.weights)?;
        }
        let both = match shape.pairs {
            Pairs::Halves => rope_thd(&both.unsqueeze(0)?, &step.cosines, &step.sines)?.squeeze(0)?,
            Pairs::Neighbours => {
                // Each row is treated as a sequence of one position, since the rows of a step are not in the
                // order of their positions.
                let (cosines, sines) = (step.cosines.unsqueeze(1)?, step.sines.unsqueeze(1)?);
                rope_i(&both.unsqueeze(2)?, &cosines, &sines)?.squeeze(2)?
            }
        };
        let keys = both.narrow(1, heads, kv_heads)?.contiguous()?.reshape((rows, kv_heads * dim))?;
        Ok((both.narrow(1, 0, heads)?, keys))
    }
}

fn product_of(
    weights: &Weights<'_>,
    index: usize,
    parts: &[(&str, &str, usize)],
    columns: usize,
) -> std::result::Result<Product, EngineError> {
    let owned: Vec<_> =
        parts.iter().map(|(plain, packed, rows)| (names(index, plain, packed), *rows)).collect();
    let pieces: Vec<_> = owned
        .iter()
        .map(|((plain, packed), rows)| (TensorName { plain, packed, expert: None }, *rows))
        .collect();
    weights.product(&pieces, columns)
}

impl HeadNorms {
    fn load(
        weights: &Weights<'_>,
        shape: &Architecture,
        index: usize,
    ) -> std::result::Result<Self, EngineError> {
        let Architecture { heads, kv_heads, head_dim: dim, .. } = *shape;
        let norm = |plain: &str, packed: &str| {
            let (plain, packed) = names(index, plain, packed);
            weights.numbers((&plain, &packed), dim)
        };
        let (queries, keys) =
            (norm("self_attn.q_norm", "attn_q_norm")?, norm("self_attn.k_norm", "attn_k_norm")?);
        let mut all = queries.repeat(heads);
        all.extend(keys.repeat(kv_heads));
        Ok(Self {
            ones: Tensor::ones(dim, DType::F32, weights.device)?,
            weights: Tensor::from_vec(all, (heads + kv_heads, dim), weights.device)?,
        })
    }
}

impl Pair {
    pub(super) const fn new(up: Product, down: Product, inner: usize) -> Self {
        Self { up, down, inner }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.up.bytes() + self.down.bytes()
    }

    /// The MLP's output for normed rows.
    pub(super) fn apply(&self, normed: &Tensor, worn: Option<(&Worn, usize)>) -> Result<Tensor> {
        let mut up = self.up.apply(normed)?;
        if let Some((worn, layer)) = worn {
            up = worn.add(up, normed, layer, Site::Up)?;
        }
        let gates = silu(&up.narrow(1, 0, self.inner)?)?;
        let inner = (gates * up.narrow(1, self.inner, self.inner)?)?;
        let down = self.down.apply(&inner)?;
        match worn {
            Some((worn, layer)) => worn.add(down, &inner, layer, Site::Down),
            None => Ok(down),
        }
    }
}
