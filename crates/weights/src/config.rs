//! Reads `config.json`, the architecture of a model in safetensors.

use std::path::Path;

use kernels::{
    Architecture, KernelError, Mixture, Pairs, Rope, RopeScaling, stretched_context, usual_attention,
};
use serde::Deserialize;

use crate::error::WeightsError;
use crate::families;

#[derive(Deserialize)]
struct Config {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rms_norm_eps: f64,
    max_position_embeddings: usize,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    use_sliding_window: bool,
    hidden_act: Option<String>,
    rope_theta: Option<f64>,
    /// The older format, next to `rope_theta`.
    rope_scaling: Option<Scaling>,
    /// The newer format, which contains `rope_theta`.
    rope_parameters: Option<Scaling>,
    num_experts: Option<usize>,
    num_experts_per_tok: Option<usize>,
    moe_intermediate_size: Option<usize>,
    #[serde(default)]
    norm_topk_prob: bool,
    decoder_sparse_step: Option<usize>,
    #[serde(default)]
    mlp_only_layers: Vec<usize>,
}

#[derive(Deserialize)]
struct Scaling {
    rope_theta: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
    factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    attention_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
}

/// The RoPE base where the file has none.
const THETA: f64 = 10_000.0;

pub(super) fn read(path: &Path) -> Result<Architecture, WeightsError> {
    let at_file = |source| WeightsError::File { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(at_file)?;
    let config: Config = serde_json::from_slice(&bytes)
        .map_err(|error| WeightsError::Broken { path: path.to_owned(), what: error.to_string() })?;
    Ok(shape(config)?.checked()?)
}

fn shape(config: Config) -> Result<Architecture, WeightsError> {
    let Some(family) = families::by_name(&config.model_type) else {
        return Err(WeightsError::Family(config.model_type));
    };
    let wrong =
        |field, what: &str| Err(WeightsError::Kernel(KernelError::Shape { field, what: what.to_owned() }));
    if config.attention_bias {
        return wrong("attention_bias", "is true, and no supported family has such weights");
    }
    if config.use_sliding_window {
        return wrong(
            "use_sliding_window",
            "is true, but every layer of a supported family sees the whole text",
        );
    }
    if config.hidden_act.is_some_and(|act| act != "silu") {
        return wrong("hidden_act", "is not silu");
    }
    if config.num_attention_heads == 0 {
        return wrong("num_attention_heads", "is 0");
    }
    let mixture = config.num_experts.filter(|experts| *experts > 0).map(|experts| {
        let step = config.decoder_sparse_step.unwrap_or(1).max(1);
        let is_dense =
            |layer: &usize| config.mlp_only_layers.contains(layer) || !(layer + 1).is_multiple_of(step);
        Mixture {
            experts,
            chosen: config.num_experts_per_tok.unwrap_or_default(),
            inner: config.moe_intermediate_size.unwrap_or_default(),
            is_normed: config.norm_topk_prob,
            dense_layers: (0..config.num_hidden_layers).filter(is_dense).collect(),
        }
    });
    let scaling = config.rope_parameters.or(config.rope_scaling);
    let theta = scaling.as_ref().and_then(|scaling| scaling.rope_theta).or(config.rope_theta);
    let stretch = stretch(scaling.as_ref(), config.max_position_embeddings as f64)?;
    let original = scaling.as_ref().and_then(|scaling| scaling.original_max_position_embeddings);
    Ok(Architecture {
        vocabulary: config.vocab_size,
        hidden: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads.unwrap_or(config.num_attention_heads),
        head_dim: config.head_dim.unwrap_or(config.hidden_size / config.num_attention_heads),
        inner: config.intermediate_size,
        norm_epsilon: config.rms_norm_eps,
        context: stretched_context(&stretch, original, config.max_position_embeddings),
        rope: Rope { theta: theta.unwrap_or(THETA), stretch },
        is_tied: config.tie_word_embeddings,
        norms_heads: family.norms_heads,
        pairs: Pairs::Halves,
        mixture,
    })
}

fn stretch(scaling: Option<&Scaling>, context: f64) -> Result<RopeScaling, WeightsError> {
    let wrong = |field, what: &str| WeightsError::Kernel(KernelError::Shape { field, what: what.to_owned() });
    let Some(scaling) = scaling else { return Ok(RopeScaling::None) };
    let kind = scaling.rope_type.as_deref().unwrap_or("default");
    if kind == "default" {
        return Ok(RopeScaling::None);
    }
    let original = scaling.original_max_position_embeddings.unwrap_or(context);
    // For YaRN, the ratio of the two context lengths implies the factor.
    let implied = (kind == "yarn").then_some(context / original);
    let factor = scaling.factor.or(implied).filter(|factor| factor.is_finite() && *factor >= 1.0);
    let factor = factor.ok_or_else(|| wrong("factor", "isn't a number of at least 1"))?;
    if !(original.is_finite() && original >= 1.0) {
        return Err(wrong("original_max_position_embeddings", "isn't a number of at least 1"));
    }
    // A value of 0 means that it is not set.
    let nonzero = |number: Option<f64>| number.filter(|number| *number != 0.0);
    match kind {
        "linear" => Ok(RopeScaling::Linear { factor }),
        "llama3" => Ok(RopeScaling::Bands {
            factor,
            low: scaling.low_freq_factor.unwrap_or(1.0),
            high: scaling.high_freq_factor.unwrap_or(4.0),
            original,
        }),
        "yarn" => Ok(RopeScaling::Ramp {
            factor,
            original,
            fast: nonzero(scaling.beta_fast).unwrap_or(32.0),
            slow: nonzero(scaling.beta_slow).unwrap_or(1.0),
            attention: scaling.attention_factor.or_else(|| {
                let (scale, all) = (nonzero(scaling.mscale)?, nonzero(scaling.mscale_all_dim)?);
                let of = |scale: f64| 1.0 + scale * (usual_attention(factor) - 1.0);
                Some(of(scale) / of(all))
            }),
            truncates: scaling.truncate.unwrap_or(true),
        }),
        other => Err(wrong("rope_type", &format!("is \"{other}\", which isn't supported"))),
    }
}
