//! Synthetic test models with random weights, for tests and benchmarks where no published weights are
//! available. They are written in the published file formats, so that the loader can't tell the difference.
#![expect(
    clippy::cast_possible_truncation,
    reason = "weights are drawn in double precision and kept in single"
)]

mod adapter;
mod heads;
mod metadata;
mod shards;

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use kernels::{Architecture, Pairs, Rope, RopeScaling};
use prompts::synthetic_tokens::Tokens;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::{Value as Json, json};

pub use candle_core::quantized::GgmlDType as Packing;

pub use self::adapter::SyntheticAdapter;
pub use self::heads::SyntheticPurpose;
use self::metadata::metadata;
use crate::error::WeightsError;
use crate::families;

/// Standard deviations of the weights; large enough for outputs that vary.
const SPREAD: f64 = 0.07;
const EMBEDDING_SPREAD: f64 = 0.3;
const NORM_SPREAD: f64 = 0.1;

/// The embedding table's name in GGUF files.
const TABLE: &str = "token_embd.weight";

/// A minimal chat template.
pub const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}\
     {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// A model in memory, with the tensor names of safetensors.
#[derive(Debug, Clone)]
pub struct SyntheticModel {
    /// Its name in `config.json`.
    pub family: &'static str,
    pub shape: Architecture,
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// `None` for models that are only fed token ids.
    pub tokens: Option<Tokens>,
    pub makes: SyntheticPurpose,
}

/// Normally distributed random numbers, reproducible by seed.
struct Normal(ChaCha8Rng);

impl Normal {
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }
}

impl SyntheticModel {
    /// An unknown family is replaced by `qwen3`.
    #[expect(clippy::needless_pass_by_value, reason = "whoever makes one makes its shape for it")]
    pub fn new(family: &str, shape: Architecture, seed: u64) -> Self {
        let family = families::by_name(family).map_or("qwen3", |family| family.name);
        let mut made = Self {
            family,
            shape: shape.clone(),
            tensors: BTreeMap::new(),
            tokens: None,
            makes: SyntheticPurpose::Answers,
        };
        let mut normal = Normal(ChaCha8Rng::seed_from_u64(seed));
        let mut matrix = |name: String, rows: usize, columns: usize, spread: f64| {
            let numbers = (0..rows * columns).map(|_| (normal.next() * spread) as f32).collect();
            made.tensors.insert(format!("{name}.weight"), (vec![rows, columns], numbers));
        };
        matrix("model.embed_tokens".into(), shape.vocabulary, shape.hidden, EMBEDDING_SPREAD);
        if !shape.is_tied {
            matrix("lm_head".into(), shape.vocabulary, shape.hidden, SPREAD);
        }
        let mut norms = vec![("model.norm".to_owned(), shape.hidden)];
        for index in 0..shape.layers {
            let of = |name: &str| format!("model.layers.{index}.{name}");
            for name in ["input_layernorm", "post_attention_layernorm"] {
                norms.push((of(name), shape.hidden));
            }
            matrix(of("self_attn.q_proj"), shape.query_width(), shape.hidden, SPREAD);
            matrix(of("self_attn.k_proj"), shape.kv_width(), shape.hidden, SPREAD);
            matrix(of("self_attn.v_proj"), shape.kv_width(), shape.hidden, SPREAD);
            matrix(of("self_attn.o_proj"), shape.hidden, shape.query_width(), SPREAD);
            if shape.norms_heads {
                norms.extend(["self_attn.q_norm", "self_attn.k_norm"].map(|name| (of(name), shape.head_dim)));
            }
            let mut dense = |at: String, inner: usize| {
                matrix(format!("{at}.gate_proj"), inner, shape.hidden, SPREAD);
                matrix(format!("{at}.up_proj"), inner, shape.hidden, SPREAD);
                matrix(format!("{at}.down_proj"), shape.hidden, inner, SPREAD);
            };
            match shape.mixture_of(index) {
                None => dense(of("mlp"), shape.inner),
                Some(mixture) => {
                    for expert in 0..mixture.experts {
                        dense(of(&format!("mlp.experts.{expert}")), mixture.inner);
                    }
                    matrix(of("mlp.gate"), mixture.experts, shape.hidden, SPREAD);
                }
            }
        }
        for (name, length) in norms {
            let numbers = (0..length).map(|_| (1.0 + normal.next() * NORM_SPREAD) as f32).collect();
            made.tensors.insert(format!("{name}.weight"), (vec![length], numbers));
        }
        made
    }

    /// The smallest model that can chat: one layer, a token for every byte, and a chat template.
    pub fn smallest(seed: u64) -> Self {
        let shape = Architecture {
            vocabulary: 320,
            hidden: 32,
            layers: 1,
            heads: 2,
            kv_heads: 1,
            head_dim: 16,
            inner: 32,
            norm_epsilon: 1e-6,
            rope: Rope { theta: 10_000.0, stretch: RopeScaling::None },
            context: 128,
            is_tied: true,
            norms_heads: true,
            pairs: Pairs::Halves,
            mixture: None,
        };
        let tokens = Tokens::new("qwen2", TEMPLATE, shape.vocabulary);
        Self { tokens: Some(tokens), ..Self::new("qwen3", shape, seed) }
    }

    /// Makes the model predict, after each token, the next token of the vocabulary, whatever the context. It
    /// still computes as much as before.
    pub fn counting(mut self) -> Self {
        let width = self.shape.hidden;
        self.shape.is_tied = false;
        let embedding = self.tensors.get("model.embed_tokens.weight").cloned().unwrap_or_default();
        for (name, (_, numbers)) in &mut self.tensors {
            if name.contains("o_proj") || name.contains("down_proj") {
                numbers.fill(0.0);
            }
        }
        let (shape, mut numbers) = embedding;
        let width = width.min(numbers.len());
        numbers.rotate_right(width);
        self.tensors.insert("lm_head.weight".to_owned(), (shape, numbers));
        self
    }

    /// `config.json`, in the newer or the older format of RoPE settings.
    pub fn config(&self, is_older: bool) -> Json {
        let shape = &self.shape;
        let mut config = json!({
            "model_type": self.family, "vocab_size": shape.vocabulary, "hidden_size": shape.hidden,
            "intermediate_size": shape.inner, "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head_dim, "rms_norm_eps": shape.norm_epsilon, "hidden_act": "silu",
            "max_position_embeddings": shape.context, "tie_word_embeddings": shape.is_tied,
            "architectures": [self.architecture()],
        });
        let mut more = match &shape.mixture {
            Some(mixture) => json!({
                "num_experts": mixture.experts, "num_experts_per_tok": mixture.chosen,
                "moe_intermediate_size": mixture.inner, "norm_topk_prob": mixture.is_normed,
                "mlp_only_layers": mixture.dense_layers, "decoder_sparse_step": 1,
            }),
            None => json!({}),
        };
        let mut rope = match &shape.rope.stretch {
            RopeScaling::None => json!({"rope_type": "default"}),
            RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            RopeScaling::Bands { factor, low, high, original } => json!({
                "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }),
            RopeScaling::Ramp { factor, original, fast, slow, attention, truncates } => json!({
                "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original,
                "beta_fast": fast, "beta_slow": slow, "attention_factor": attention, "truncate": truncates,
            }),
            // `config.json` can't express it.
            RopeScaling::Each(_) => json!({"rope_type": "default"}),
        };
        if is_older {
            merge(&mut more, json!({"rope_theta": shape.rope.theta, "rope_scaling": rope}));
        } else {
            merge(&mut rope, json!({"rope_theta": shape.rope.theta}));
            merge(&mut more, json!({"rope_parameters": rope}));
        }
        merge(&mut config, more);
        if self.makes == SyntheticPurpose::Ranks {
            merge(&mut config, json!({"id2label": {"0": "relevance"}, "label2id": {"relevance": 0}}));
        }
        config
    }

    /// Writes `config.json`, `model.safetensors` and the tokenizer's files.
    pub fn write_plain(&self, directory: &Path, is_older: bool) -> Result<(), WeightsError> {
        let at_file = |path: &Path| {
            let path = path.to_owned();
            move |source| WeightsError::File { path, source }
        };
        std::fs::create_dir_all(directory).map_err(at_file(directory))?;
        let path = directory.join("config.json");
        std::fs::write(&path, self.config(is_older).to_string()).map_err(at_file(&path))?;
        for (name, file) in self.tokens.iter().flat_map(Tokens::files).chain(self.makes.files()) {
            let path = directory.join(name);
            let within = path.parent().unwrap_or(directory);
            std::fs::create_dir_all(within).map_err(at_file(within))?;
            std::fs::write(&path, file.to_string()).map_err(at_file(&path))?;
        }
        let mut tensors = std::collections::HashMap::new();
        for (name, (shape, numbers)) in &self.tensors {
            tensors.insert(name.clone(), Tensor::from_slice(numbers, shape.as_slice(), &Device::Cpu)?);
        }
        Ok(candle_core::safetensors::save(&tensors, directory.join("model.safetensors"))?)
    }

    /// Writes a GGUF file with matrices quantised to `kind`; norms and rows that are not whole blocks are not
    /// quantised.
    pub fn write_packed(&self, path: &Path, kind: GgmlDType) -> Result<(), WeightsError> {
        self.write_packed_beside(path, kind, kind)
    }

    /// Like `write_packed`, with another type for the embedding table.
    pub fn write_packed_beside(
        &self,
        path: &Path,
        kind: GgmlDType,
        table: GgmlDType,
    ) -> Result<(), WeightsError> {
        let at_file = |source| WeightsError::File { path: path.to_owned(), source };
        let values = self.packed_values();
        let values: Vec<(&str, &Value)> = values.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let tensors = self.packed_tensors(kind, table)?;
        let tensors: Vec<(&str, &QTensor)> =
            tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut file = std::io::BufWriter::new(std::fs::File::create(path).map_err(at_file)?);
        gguf_file::write(&mut file, &values, &tensors)?;
        std::io::Write::flush(&mut file).map_err(at_file)
    }

    /// The model with its weights rounded as quantisation to `kind` does.
    ///
    /// # Errors
    /// Its matrices can't be quantised.
    pub fn rounded(&self, kind: GgmlDType) -> Result<Self, WeightsError> {
        let mut rounded = self.clone();
        for (shape, numbers) in rounded.tensors.values_mut() {
            let tensor = Tensor::from_slice(numbers, shape.as_slice(), &Device::Cpu)?;
            let tensor = QTensor::quantize(&tensor, kind_of(kind, shape))?.dequantize(&Device::Cpu)?;
            *numbers = tensor.flatten_all()?.to_vec1()?;
        }
        Ok(rounded)
    }

    fn packed_values(&self) -> Vec<(String, Value)> {
        let shape = &self.shape;
        let family = families::by_name(self.family).map_or("qwen3", |family| family.packed);
        let of = |name: &str| format!("{family}.{name}");
        let count =
            |name: &str, value: usize| (of(name), Value::U32(u32::try_from(value).unwrap_or(u32::MAX)));
        let mut values = vec![
            ("general.architecture".to_owned(), Value::String(family.to_owned())),
            count("vocab_size", shape.vocabulary),
            count("embedding_length", shape.hidden),
            count("block_count", shape.layers),
            count("context_length", shape.context),
            count("feed_forward_length", shape.inner),
            count("attention.head_count", shape.heads),
            count("attention.head_count_kv", shape.kv_heads),
            count("attention.key_length", shape.head_dim),
            count("attention.value_length", shape.head_dim),
            (of("attention.layer_norm_rms_epsilon"), Value::F32(shape.norm_epsilon as f32)),
            (of("rope.freq_base"), Value::F32(shape.rope.theta as f32)),
        ];
        if let Some(mixture) = &shape.mixture {
            values.extend([
                count("expert_count", mixture.experts),
                count("expert_used_count", mixture.chosen),
                count("expert_feed_forward_length", mixture.inner),
            ]);
        }
        if let RopeScaling::Ramp { factor, original, .. } = &shape.rope.stretch {
            values.extend([
                (of("rope.scaling.type"), Value::String("yarn".into())),
                (of("rope.scaling.factor"), Value::F32(*factor as f32)),
                (of("rope.scaling.original_context_length"), Value::U32(*original as u32)),
            ]);
        }
        values.extend(self.makes.values().into_iter().map(|(name, value)| (of(name), value)));
        // A key that is there twice is refused by llama.cpp.
        match &self.tokens {
            Some(tokens) => values.extend(metadata(tokens)),
            None => values.push(("tokenizer.ggml.model".to_owned(), Value::String("no_vocab".to_owned()))),
        }
        values
    }

    fn packed_tensors(
        &self,
        kind: GgmlDType,
        table: GgmlDType,
    ) -> Result<Vec<(String, QTensor)>, WeightsError> {
        let mut stacks: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
        if let Some(factors) = self.factors() {
            stacks.insert("rope_freqs.weight".to_owned(), (vec![factors.len()], factors));
        }
        // GGUF stacks experts by index, which is not the order of their names.
        let mut names: Vec<&String> = self.tensors.keys().collect();
        names.sort_by_key(|name| (expert_of(name), (*name).clone()));
        for name in names {
            let Some((shape, numbers)) = self.tensors.get(name) else { continue };
            let packed = packed_name(name);
            let numbers = self.neighbours(name, shape, numbers);
            match expert_of(name) {
                None => {
                    stacks.insert(packed, (shape.clone(), numbers));
                }
                Some(_) => {
                    let stacked = || ([0].into_iter().chain(shape.iter().copied()).collect(), Vec::new());
                    let (stack, all) = stacks.entry(packed).or_insert_with(stacked);
                    if let Some(count) = stack.first_mut() {
                        *count += 1;
                    }
                    all.extend(numbers);
                }
            }
        }
        let rounded = |(name, (shape, numbers)): (String, (Vec<usize>, Vec<f32>))| {
            let kind = kind_of(if name == TABLE { table } else { kind }, &shape);
            let tensor = Tensor::from_vec(numbers, shape, &Device::Cpu)?;
            Ok((name, QTensor::quantize(&tensor, kind)?))
        };
        stacks.into_iter().map(rounded).collect()
    }

    /// For families whose GGUF files rotate neighbouring pairs: permutes the rows of queries and keys
    /// accordingly.
    fn neighbours(&self, name: &str, shape: &[usize], numbers: &[f32]) -> Vec<f32> {
        let pairs = families::by_name(self.family).map(|family| family.packed_pairs);
        let turns = name.contains("q_proj") || name.contains("k_proj");
        let (Some(Pairs::Neighbours), true, Some(width)) = (pairs, turns, shape.last()) else {
            return numbers.to_vec();
        };
        let half = self.shape.head_dim / 2;
        let mut out = Vec::with_capacity(numbers.len());
        for head in numbers.chunks_exact(self.shape.head_dim * width) {
            let (firsts, seconds) = head.split_at(half * width);
            for (first, second) in firsts.chunks_exact(*width).zip(seconds.chunks_exact(*width)) {
                out.extend_from_slice(first);
                out.extend_from_slice(second);
            }
        }
        out
    }
}

fn merge(into: &mut Json, more: Json) {
    if let (Some(into), Json::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

/// Vectors, and rows that are not whole blocks, are not quantised.
fn kind_of(kind: GgmlDType, shape: &[usize]) -> GgmlDType {
    let is_whole = shape.last().is_some_and(|width| width % kind.block_size() == 0);
    if shape.len() > 1 && is_whole { kind } else { GgmlDType::F32 }
}

fn expert_of(name: &str) -> Option<usize> {
    name.split_once(".experts.")?.1.split('.').next()?.parse().ok()
}

/// Translates a tensor name from safetensors to GGUF.
fn packed_name(name: &str) -> String {
    const NAMES: [(&str, &str); 16] = [
        ("score", "cls.output"),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("mlp.gate", "ffn_gate_inp"),
    ];
    let bare = name.trim_end_matches(".weight");
    let (layer, inner) = match bare.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')) {
        Some((layer, inner)) => (format!("blk.{layer}."), inner),
        None => (String::new(), bare),
    };
    let known = |plain: &str| NAMES.iter().find(|(name, _)| *name == plain).map(|(_, packed)| *packed);
    let packed = match inner.strip_prefix("mlp.experts.").and_then(|rest| rest.split_once('.')) {
        Some((_, plain)) => known(&format!("mlp.{plain}")).map(|packed| format!("{packed}_exps")),
        None => known(inner).map(str::to_owned),
    };
    format!("{layer}{}.weight", packed.unwrap_or_else(|| inner.to_owned()))
}
