//! What a synthetic model is for: generation, embeddings or reranking, and how its files express that.
#![expect(
    clippy::cast_possible_truncation,
    reason = "factors are worked out in double precision and kept in single"
)]

use candle_core::quantized::gguf_file::Value;
use kernels::{Rope, RopeScaling, frequencies};
use serde_json::{Value as Json, json};

use super::SyntheticModel;

/// What a synthetic model is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SyntheticPurpose {
    #[default]
    Answers,
    Vectors,
    /// With a classification head, which is the tensor `score.weight`.
    Ranks,
}

impl SyntheticPurpose {
    /// The files that mark it in a directory of safetensors.
    pub(super) fn files(self) -> Vec<(&'static str, Json)> {
        if self != Self::Vectors {
            return Vec::new();
        }
        let module = |index: usize, path: &str, kind: &str| json!({"idx": index, "name": index.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}")});
        let modules = json!([
            module(0, "", "Transformer"),
            module(1, "1_Pooling", "Pooling"),
            module(2, "2_Normalize", "Normalize")
        ]);
        let pooling = json!({"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": false, "pooling_mode_lasttoken": true, "include_prompt": true});
        let prompts = json!({"query": "Instruct: find it\nQuery:", "document": ""});
        let habits = json!({"prompts": prompts, "default_prompt_name": null, "similarity_fn_name": "cosine"});
        vec![
            ("modules.json", modules),
            ("1_Pooling/config.json", pooling),
            ("config_sentence_transformers.json", habits),
        ]
    }

    /// The metadata that marks it in a GGUF file.
    pub(super) fn values(self) -> Vec<(&'static str, Value)> {
        let label = |text: &str| Value::String(text.to_owned());
        match self {
            Self::Answers => Vec::new(),
            Self::Vectors => vec![("pooling_type", Value::U32(3))],
            Self::Ranks => vec![
                ("pooling_type", Value::U32(4)),
                ("classifier.output_labels", Value::Array(vec![label("yes"), label("no")])),
            ],
        }
    }
}

impl SyntheticModel {
    pub(super) fn architecture(&self) -> String {
        let family = match self.family {
            "qwen3_moe" => "Qwen3Moe",
            "llama" => "Llama",
            _ => "Qwen3",
        };
        let kind =
            if self.makes == SyntheticPurpose::Ranks { "ForSequenceClassification" } else { "ForCausalLM" };
        format!("{family}{kind}")
    }

    /// The RoPE frequency divisors, as GGUF files hold them for llama3 scaling.
    pub(super) fn factors(&self) -> Option<Vec<f32>> {
        let Rope { theta, stretch: RopeScaling::Bands { .. } } = &self.shape.rope else { return None };
        let plain = Rope { theta: *theta, stretch: RopeScaling::None };
        let (plain, _) = frequencies(&plain, self.shape.head_dim);
        let (banded, _) = frequencies(&self.shape.rope, self.shape.head_dim);
        Some(plain.iter().zip(banded).map(|(plain, banded)| (plain / banded) as f32).collect())
    }

    /// The same model as newer safetensors have it: the experts of a layer as two stacked tensors.
    pub fn stacked(&self) -> Self {
        let mut stacked = self.clone();
        let Some(mixture) = &self.shape.mixture else { return stacked };
        for layer in (0..self.shape.layers).filter(|layer| self.shape.mixture_of(*layer).is_some()) {
            let root = format!("model.layers.{layer}.mlp.experts");
            let (mut ups, mut downs) = (Vec::new(), Vec::new());
            for expert in 0..mixture.experts {
                let mut take = |name: &str| {
                    let taken = stacked.tensors.remove(&format!("{root}.{expert}.{name}.weight"));
                    taken.map(|(_, numbers)| numbers).unwrap_or_default()
                };
                ups.extend([take("gate_proj"), take("up_proj")].concat());
                downs.extend(take("down_proj"));
            }
            let (inner, hidden) = (mixture.inner, self.shape.hidden);
            let all = [
                ("gate_up_proj", vec![mixture.experts, 2 * inner, hidden], ups),
                ("down_proj", vec![mixture.experts, hidden, inner], downs),
            ];
            for (name, shape, numbers) in all {
                stacked.tensors.insert(format!("{root}.{name}"), (shape, numbers));
            }
        }
        stacked
    }

    /// The same model as if saved without an output head: without the prefix "model." in tensor names.
    pub fn bare(&self) -> Self {
        let mut bare = self.clone();
        bare.tensors = self
            .tensors
            .iter()
            .filter(|(name, _)| *name != "lm_head.weight")
            .map(|(name, tensor)| (name.trim_start_matches("model.").to_owned(), tensor.clone()))
            .collect();
        bare
    }
}
