//! Weights as the raw bytes of their file, for backends with a layout of their own.

use kernels::FloatType;

use crate::error::WeightsError;
use crate::piece::{Raw, TensorName};
use crate::source::{Source, Store};

impl Source {
    /// Reads one matrix as it is in the file.
    pub fn raw(&self, at: &TensorName<'_>, rows: usize, columns: usize) -> Result<Raw, WeightsError> {
        let piece = self.piece(at, rows);
        match &self.store {
            Store::Plain(files) => {
                let (kind, bytes) = files.piece(&piece, columns)?;
                Ok(Raw::Plain(kind, bytes))
            }
            Store::Packed(file) => file.raw(&piece, columns),
        }
    }

    /// The bytes of weights on the device that computes with tensors, and the bytes that stay in host memory.
    pub fn taken_by_tensors(&self, is_processor: bool) -> (u64, u64) {
        match &self.store {
            // On the CPU, tensors are converted to single precision.
            Store::Plain(files) if is_processor => (4 * files.numbers(), 0),
            Store::Plain(files) => (files.weight_bytes(), 0),
            Store::Packed(file) => {
                let table = self.name("model.embed_tokens", "token_embd");
                let head = self.name("lm_head", "output");
                let table =
                    file.bytes_of_tensor(&table).filter(|_| file.is_rounded(&table)).unwrap_or_default();
                // A tied table is the output head, too, and then is on the device as well.
                let there = if file.bytes_of_tensor(&head).is_some() { 0 } else { table };
                (file.weight_bytes() - table + there, table)
            }
        }
    }

    /// The dtype of a model in safetensors, taken from its embedding; `None` for GGUF.
    pub fn plain_kind(&self) -> Option<FloatType> {
        match &self.store {
            Store::Plain(files) => files.kind_of(&self.name("model.embed_tokens", "token_embd")),
            Store::Packed(_) => None,
        }
    }
}
