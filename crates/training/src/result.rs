//! Writes the result of a training run: a LoRA adapter in PEFT's format, or a whole model in the usual
//! Hugging Face layout.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use kernels::{Architecture, Pairs};
use serde_json::{Value, json};
use weights::synthetic::{SyntheticModel, SyntheticPurpose};

use crate::error::TrainerError;
use crate::file::{self, Notes, Precision, Tensor};
use crate::network::Network;
use crate::settings::{LoraConfig, Trains};
use crate::weight::Slot;

/// Files of a model directory that training leaves as they are.
const BESIDE: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
];
const CONFIG: &str = "config.json";

impl Network {
    /// Writes the trained weights into a directory: an adapter, or the whole model. `base` is the path of the
    /// base model; `precision` is the dtype of a whole model, adapters are always written in single
    /// precision.
    pub fn write(
        &self,
        trains: &Trains,
        base: &Path,
        directory: &Path,
        precision: Precision,
    ) -> Result<(), TrainerError> {
        let at_file = |source| TrainerError::File { path: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(at_file)?;
        let notes = Notes::from([("format".to_owned(), "pt".to_owned())]);
        let (before, name, precision) = match trains {
            Trains::Adapter(_) => ("base_model.model.", "adapter_model.safetensors", Precision::Single),
            Trains::Whole => ("", "model.safetensors", precision),
        };
        let plain: Vec<_> = self.slots().iter().map(|slot| (slot, self.plain(slot))).collect();
        let names: Vec<String> = plain.iter().map(|(slot, _)| format!("{before}{}", slot.name)).collect();
        let each = names.into_iter().zip(&plain);
        let each = each.map(|(name, (slot, numbers))| Tensor { name, shape: &slot.shape, numbers });
        file::write(&directory.join(name), &each.collect::<Vec<_>>(), precision, &notes)?;
        match trains {
            Trains::Adapter(low) => write_json(&directory.join("adapter_config.json"), &config(low, base)),
            Trains::Whole => self.write_beside(base, directory, precision),
        }
    }

    /// A tensor in the row order of safetensors: GGUF files of some families permute the rows of queries and
    /// keys for RoPE.
    fn plain(&self, slot: &Slot) -> Cow<'_, [f32]> {
        let numbers = self.parameters().get(slot.range.clone()).unwrap_or_default();
        let Architecture { pairs, head_dim, .. } = *self.shape();
        let is_turned = ["q_proj.weight", "k_proj.weight", "q_proj.lora_B.weight", "k_proj.lora_B.weight"]
            .iter()
            .any(|name| slot.name.ends_with(name));
        let Some(width) = slot.shape.get(1).copied().filter(|_| is_turned && pairs == Pairs::Neighbours)
        else {
            return Cow::Borrowed(numbers);
        };
        let mut out = Vec::with_capacity(numbers.len());
        for head in numbers.chunks_exact(head_dim * width) {
            for first in [0, 1] {
                head.chunks_exact(width).skip(first).step_by(2).for_each(|row| out.extend_from_slice(row));
            }
        }
        Cow::Owned(out)
    }

    /// Writes the other files of a model directory: configuration, tokenizer, template.
    fn write_beside(&self, base: &Path, directory: &Path, precision: Precision) -> Result<(), TrainerError> {
        let mut config = match std::fs::read(base.join(CONFIG)) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| TrainerError::Broken { path: base.join(CONFIG), what: error.to_string() })?,
            Err(_) => self.config(),
        };
        if let Some(config) = config.as_object_mut() {
            config.insert("torch_dtype".to_owned(), json!(precision));
        }
        write_json(&directory.join(CONFIG), &config)?;
        for name in BESIDE {
            let (from, to) = (base.join(name), directory.join(name));
            // `base` and `directory` may be the same.
            if from.is_file() && from != to {
                std::fs::copy(&from, &to).map_err(|source| TrainerError::File { path: to, source })?;
            }
        }
        Ok(())
    }

    fn config(&self) -> Value {
        let shape = Architecture { pairs: Pairs::Halves, ..self.shape().clone() };
        let family = match (&shape.mixture, shape.norms_heads) {
            (Some(_), _) => "qwen3_moe",
            (None, true) => "qwen3",
            (None, false) => "llama",
        };
        SyntheticModel {
            family,
            shape,
            tensors: BTreeMap::new(),
            tokens: None,
            makes: SyntheticPurpose::Answers,
        }
        .config(false)
    }
}

/// `adapter_config.json`.
fn config(low: &LoraConfig, base: &Path) -> Value {
    json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base.to_string_lossy(),
        "r": low.rank, "lora_alpha": low.alpha, "lora_dropout": 0.0, "bias": "none",
        "target_modules": low.targets, "fan_in_fan_out": false, "use_rslora": low.is_rank_stable,
        "use_dora": false, "init_lora_weights": true, "inference_mode": true, "modules_to_save": null,
        "layers_to_transform": null, "layers_pattern": null, "rank_pattern": {}, "alpha_pattern": {},
    })
}

fn write_json(path: &Path, value: &Value) -> Result<(), TrainerError> {
    file::replace(path, |file| writeln!(file, "{value:#}"))
}
