//! Weights as the bytes that their file has, for whoever lays them out otherwise than the kernels here.

use candle_core::quantized::GgmlDType;

use super::{Place, Source, Store};
use crate::EngineError;
use crate::kernels::Plain;

/// Rows of a matrix, one behind the other.
#[derive(Debug)]
pub(crate) enum Raw {
    Plain(Plain, Vec<u8>),
    /// Rounded in blocks.
    Packed(GgmlDType, Vec<u8>),
}

impl Raw {
    /// What tells whether two can be one matrix.
    pub(crate) const fn kind(&self) -> (Option<Plain>, Option<GgmlDType>) {
        match self {
            Self::Plain(kind, _) => (Some(*kind), None),
            Self::Packed(kind, _) => (None, Some(*kind)),
        }
    }

    /// Another one's rows below these, of the same kind.
    pub(crate) fn and(mut self, more: Self) -> Self {
        let (Self::Plain(_, more) | Self::Packed(_, more)) = more;
        let (Self::Plain(_, bytes) | Self::Packed(_, bytes)) = &mut self;
        bytes.extend_from_slice(&more);
        self
    }
}

impl Source {
    /// One matrix as its file has it.
    pub(crate) fn raw(&self, at: &Place<'_>, rows: usize, columns: usize) -> Result<Raw, EngineError> {
        let piece = self.piece(at, rows);
        match &self.store {
            Store::Plain(files) => {
                let (kind, bytes) = files.piece(&piece, columns)?;
                Ok(Raw::Plain(kind, bytes))
            }
            Store::Packed(file) => file.raw(&piece, columns),
        }
    }

    /// What the weights take where tensors compute them, and what of them stays with this machine's processor.
    pub(crate) fn taken_by_tensors(&self, is_processor: bool) -> (u64, u64) {
        match &self.store {
            // A processor multiplies singles alone.
            Store::Plain(files) if is_processor => (4 * files.numbers(), 0),
            Store::Plain(files) => (files.weight_bytes(), 0),
            Store::Packed(file) => {
                let table = self.name("model.embed_tokens", "token_embd");
                let head = self.name("lm_head", "output");
                let table =
                    file.bytes_of_tensor(&table).filter(|_| file.is_rounded(&table)).unwrap_or_default();
                // The table is the head, too, where there is no other one.
                let there = if file.bytes_of_tensor(&head).is_some() { 0 } else { table };
                (file.weight_bytes() - table + there, table)
            }
        }
    }

    /// The kind of numbers that most of a plain model's weights have; none where they are rounded.
    pub(crate) fn plain_kind(&self) -> Option<Plain> {
        match &self.store {
            Store::Plain(files) => files.kind_of(&self.name("model.embed_tokens", "token_embd")),
            Store::Packed(_) => None,
        }
    }
}
