//! Reads a model's architecture from GGUF metadata.
#![expect(clippy::cast_possible_truncation, reason = "numbers are checked before they are taken as counts")]

use kernels::{Architecture, KernelError, Mixture, Rope, RopeScaling, stretched_context, usual_attention};

use super::File;
use super::head::Value;
use crate::error::WeightsError;
use crate::families;

const THETA: f64 = 10_000.0;

pub(crate) fn shape(file: &File) -> Result<Architecture, WeightsError> {
    let values = &file.head.values;
    let text = |name: &str| match values.get(name) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let architecture = text("general.architecture").unwrap_or_default();
    let family =
        families::by_packed(architecture).ok_or_else(|| WeightsError::Family(architecture.to_owned()))?;
    let number = |name: &str| match values.get(&format!("{architecture}.{name}")) {
        Some(Value::Number(number)) if number.is_finite() => Some(*number),
        _ => None,
    };
    let count = |name: &str| number(name).filter(|number| *number >= 0.0).map(|number| number as usize);
    let needed = |name: &'static str| {
        count(name).ok_or_else(|| {
            WeightsError::Kernel(KernelError::Shape { field: name, what: "is missing".to_owned() })
        })
    };
    let (hidden, heads) = (needed("embedding_length")?, needed("attention.head_count")?);
    let layers = needed("block_count")?;
    let vocabulary = file.info("token_embd.weight")?.shape.first().copied().unwrap_or_default();
    let context = needed("context_length")?;
    let mixture = mixture(count);
    let inner = match &mixture {
        Some(mixture) => count("feed_forward_length").filter(|inner| *inner > 0).unwrap_or(mixture.inner),
        None => needed("feed_forward_length")?,
    };
    let factor = number("rope.scaling.factor").unwrap_or(1.0);
    let head_dim = count("attention.key_length").or_else(|| hidden.checked_div(heads)).unwrap_or_default();
    let original = number("rope.scaling.original_context_length");
    let stretch = match text(&format!("{architecture}.rope.scaling.type")) {
        None | Some("none") => each(file, head_dim)?,
        Some("linear") => RopeScaling::Linear { factor },
        Some("yarn") => RopeScaling::Ramp {
            factor,
            original: original.unwrap_or(context as f64),
            fast: number("rope.scaling.yarn_beta_fast").unwrap_or(32.0),
            slow: number("rope.scaling.yarn_beta_slow").unwrap_or(1.0),
            // GGUF's factor multiplies YaRN's usual one; in `config.json` it replaces it.
            attention: number("rope.scaling.yarn_attn_factor")
                .or_else(|| number("rope.scaling.attn_factor"))
                .map(|attention| attention * usual_attention(factor)),
            truncates: true,
        },
        Some(other) => {
            let what = format!("is \"{other}\", which isn't supported");
            return Err(WeightsError::Kernel(KernelError::Shape { field: "rope.scaling.type", what }));
        }
    };
    let shape = Architecture {
        vocabulary,
        hidden,
        layers,
        heads,
        kv_heads: count("attention.head_count_kv").unwrap_or(heads),
        head_dim,
        inner,
        norm_epsilon: number("attention.layer_norm_rms_epsilon").unwrap_or(1e-6),
        context: stretched_context(&stretch, original, context),
        rope: Rope { theta: number("rope.freq_base").unwrap_or(THETA), stretch },
        is_tied: file.info("output.weight").is_err(),
        norms_heads: family.norms_heads,
        pairs: family.packed_pairs,
        mixture,
    };
    Ok(shape.checked()?)
}

fn mixture(count: impl Fn(&str) -> Option<usize>) -> Option<Mixture> {
    let experts = count("expert_count").filter(|experts| *experts > 0)?;
    Some(Mixture {
        experts,
        chosen: count("expert_used_count").unwrap_or_default(),
        inner: count("expert_feed_forward_length").unwrap_or_default(),
        // GGUF has no field for this. The supported families normalise the weights of the chosen experts.
        is_normed: true,
        dense_layers: Vec::new(),
    })
}

/// The RoPE frequency divisors, where the file has them as a tensor.
fn each(file: &File, head_dim: usize) -> Result<RopeScaling, WeightsError> {
    const FACTORS: &str = "rope_freqs.weight";
    if file.info(FACTORS).is_err() {
        return Ok(RopeScaling::None);
    }
    let factors = file.vector(FACTORS, head_dim / 2)?;
    if factors.iter().any(|factor| !factor.is_finite() || *factor <= 0.0) {
        return Err(
            file.broken(format!("the tensor \"{FACTORS}\" has a value that no frequency can be divided by"))
        );
    }
    Ok(RopeScaling::Each(factors.into_iter().map(f64::from).collect()))
}
