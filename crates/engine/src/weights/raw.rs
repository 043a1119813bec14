//! Weights as the raw bytes of their file, for backends with a layout of their own.

use candle_core::quantized::GgmlDType;

use super::{Source, Store, TensorName};
use crate::EngineError;
use crate::kernels::FloatType;

/// Rows of a matrix, consecutive.
#[derive(Debug)]
pub(crate) enum Raw {
    Plain(FloatType, Vec<u8>),
    /// Block-quantised.
    Packed(GgmlDType, Vec<u8>),
}

impl Raw {
    /// Two matrices can be fused if this is the same for both.
    pub(crate) const fn kind(&self) -> (Option<FloatType>, Option<GgmlDType>) {
        match self {
            Self::Plain(kind, _) => (Some(*kind), None),
            Self::Packed(kind, _) => (None, Some(*kind)),
        }
    }

    /// Appends the rows of another matrix of the same dtype.
    pub(crate) fn and(mut self, more: Self) -> Self {
        let (Self::Plain(_, more) | Self::Packed(_, more)) = more;
        let (Self::Plain(_, bytes) | Self::Packed(_, bytes)) = &mut self;
        bytes.extend_from_slice(&more);
        self
    }
}

impl Source {
    /// Reads one matrix as it is in the file.
    pub(crate) fn raw(&self, at: &TensorName<'_>, rows: usize, columns: usize) -> Result<Raw, EngineError> {
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
    pub(crate) fn taken_by_tensors(&self, is_processor: bool) -> (u64, u64) {
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
    pub(crate) fn plain_kind(&self) -> Option<FloatType> {
        match &self.store {
            Store::Plain(files) => files.kind_of(&self.name("model.embed_tokens", "token_embd")),
            Store::Packed(_) => None,
        }
    }
}
