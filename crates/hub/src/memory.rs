//! Estimates how much memory a model takes: its weights, and its KV cache per thousand tokens, from the files
//! on disk.

use serde::Deserialize;

use crate::choice::is_weights;
use crate::gguf;
use crate::shelf::{Entry, read_bounded};

/// The memory that a runtime will need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub weights_bytes: u64,
    /// KV cache in 16 bits; `None` if the model's configuration does not determine its shape.
    pub thousand_tokens_bytes: Option<u64>,
    /// The longest context that the model was trained for.
    pub context_tokens: Option<u64>,
}

/// The parameters that determine the size of the KV cache.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Shape {
    #[serde(rename = "num_hidden_layers")]
    pub layers: Option<u64>,
    #[serde(rename = "num_attention_heads")]
    pub heads: Option<u64>,
    #[serde(rename = "num_key_value_heads")]
    pub key_value_heads: Option<u64>,
    #[serde(rename = "head_dim")]
    pub head_size: Option<u64>,
    #[serde(rename = "hidden_size")]
    pub width: Option<u64>,
    #[serde(rename = "max_position_embeddings")]
    pub context: Option<u64>,
}

/// The size of one KV cache element in the engine.
const CELL_BYTES: u64 = 2;

/// The memory that a downloaded model will take.
pub fn memory_of(entry: &Entry) -> Memory {
    let weights = entry.manifest.files.iter().filter(|file| is_weights(&file.name));
    let config = read_bounded(&entry.directory.join("config.json"));
    let shape: Option<Shape> = config.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    // Of several shards, the first has the metadata.
    let first_packed = || gguf::shape(&entry.directory.join(entry.packed().min()?));
    let shape = shape.filter(|shape| shape.layers.is_some()).or_else(first_packed).unwrap_or_default();
    Memory {
        weights_bytes: weights.map(|file| file.bytes).sum(),
        thousand_tokens_bytes: shape.token_bytes().and_then(|bytes| bytes.checked_mul(1_000)),
        context_tokens: shape.context,
    }
}

impl Shape {
    /// A key and a value for each KV head of each layer.
    fn token_bytes(&self) -> Option<u64> {
        let heads = self.key_value_heads.or(self.heads)?;
        let head_size = match self.head_size {
            Some(size) => size,
            None => self.width?.checked_div(self.heads?)?,
        };
        [self.layers?, heads, head_size].into_iter().try_fold(2 * CELL_BYTES, u64::checked_mul)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_counted_from_the_shape() {
        for (config, bytes) in [
            // Qwen3-0.6B: 28 layers, 8 heads of 128, 2 bytes, a key and a value.
            (r#"{"num_hidden_layers":28,"num_key_value_heads":8,"head_dim":128}"#, Some(114_688)),
            (r#"{"num_hidden_layers":2,"num_attention_heads":4,"hidden_size":64}"#, Some(512)),
            (r#"{"num_hidden_layers":2,"num_attention_heads":0,"hidden_size":64}"#, None),
            (r#"{"num_hidden_layers":18446744073709551615,"num_key_value_heads":8,"head_dim":128}"#, None),
            ("{}", None),
        ] {
            let shape: Shape = serde_json::from_str(config).unwrap();
            assert_eq!(shape.token_bytes(), bytes, "{config}");
        }
    }
}
