//! Synthetic LoRA adapters with random weights, in PEFT's format.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use kernels::Architecture;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value as Json, json};

use super::{Normal, merge};
use crate::error::WeightsError;

/// Standard deviation of the weights; large enough to change the output.
const SPREAD: f64 = 0.1;

/// An adapter in memory, with the tensor names of its file.
#[derive(Debug, Clone)]
pub struct SyntheticAdapter {
    /// The contents of `adapter_config.json`.
    pub config: Json,
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl SyntheticAdapter {
    /// An adapter of these matrices in each layer (such as `q_proj`), all at one rank.
    pub fn new(shape: &Architecture, targets: &[&str], rank: usize, seed: u64) -> Self {
        let is_meant = |name: &str| targets.iter().any(|target| name.ends_with(target)).then_some(rank);
        let mut made = Self::of(shape, seed, is_meant);
        merge(&mut made.config, json!({"target_modules": targets, "r": rank}));
        made
    }

    /// An adapter with a rank for each module name; `None` leaves a module out. The caller has to set
    /// `config` accordingly.
    #[expect(clippy::cast_possible_truncation, reason = "numbers are made in single precision")]
    pub fn of(shape: &Architecture, seed: u64, rank: impl Fn(&str) -> Option<usize>) -> Self {
        let (queries, kv) = (shape.query_width(), shape.kv_width());
        let modules = [
            ("self_attn.q_proj", queries, shape.hidden),
            ("self_attn.k_proj", kv, shape.hidden),
            ("self_attn.v_proj", kv, shape.hidden),
            ("self_attn.o_proj", shape.hidden, queries),
            ("mlp.gate_proj", shape.inner, shape.hidden),
            ("mlp.up_proj", shape.inner, shape.hidden),
            ("mlp.down_proj", shape.hidden, shape.inner),
        ];
        let mut normal = Normal(ChaCha8Rng::seed_from_u64(seed));
        let mut tensors = BTreeMap::new();
        for layer in 0..shape.layers {
            for (name, outputs, inputs) in modules {
                let name = format!("model.layers.{layer}.{name}");
                let Some(rank) = rank(&name) else { continue };
                for (matrix, rows, columns) in [("A", rank, inputs), ("B", outputs, rank)] {
                    let numbers = (0..rows * columns).map(|_| (normal.next() * SPREAD) as f32).collect();
                    let name = format!("base_model.model.{name}.lora_{matrix}.weight");
                    tensors.insert(name, (vec![rows, columns], numbers));
                }
            }
        }
        let config = json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16, "lora_dropout": 0.0,
            "target_modules": "all-linear", "bias": "none", "fan_in_fan_out": false, "use_rslora": false,
            "use_dora": false, "modules_to_save": null, "rank_pattern": {}, "alpha_pattern": {},
            "layers_to_transform": null, "layers_pattern": null, "layer_replication": null,
            "init_lora_weights": true, "inference_mode": true, "base_model_name_or_path": "made",
            "auto_mapping": null, "revision": null, "megatron_config": null, "megatron_core": "megatron.core",
            "loftq_config": {},
        });
        Self { config, tensors }
    }

    /// Writes its directory, with weights of this dtype.
    pub fn write(&self, directory: &Path, kind: DType) -> Result<(), WeightsError> {
        let at_file = |path: &Path| {
            let path = path.to_owned();
            move |source| WeightsError::File { path, source }
        };
        std::fs::create_dir_all(directory).map_err(at_file(directory))?;
        let path = directory.join("adapter_config.json");
        std::fs::write(&path, self.config.to_string()).map_err(at_file(&path))?;
        let mut tensors = HashMap::new();
        for (name, (shape, numbers)) in &self.tensors {
            let tensor = Tensor::from_slice(numbers, shape.as_slice(), &Device::Cpu)?.to_dtype(kind)?;
            tensors.insert(name.clone(), tensor);
        }
        Ok(candle_core::safetensors::save(&tensors, directory.join("adapter_model.safetensors"))?)
    }

    /// The adapter with its weights rounded to this dtype.
    ///
    /// # Errors
    /// Its weights can't be converted.
    pub fn rounded(&self, kind: DType) -> Result<Self, WeightsError> {
        let mut rounded = self.clone();
        for (shape, numbers) in rounded.tensors.values_mut() {
            let tensor = Tensor::from_slice(numbers, shape.as_slice(), &Device::Cpu)?.to_dtype(kind)?;
            *numbers = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        }
        Ok(rounded)
    }
}
