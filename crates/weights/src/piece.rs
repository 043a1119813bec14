//! Pieces of tensors: where a matrix is in the files, and its raw bytes.

use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use kernels::{FloatType, Linear, Matrix};

use crate::error::WeightsError;

/// Rows of a matrix: a whole tensor, or one matrix of a stack (for example of experts).
pub(crate) struct Piece {
    pub name: String,
    pub first: usize,
    pub rows: usize,
}

/// A matrix, by its names in either file format.
pub struct TensorName<'a> {
    pub plain: &'a str,
    pub packed: &'a str,
    /// The index of an expert, whose matrix is one of a stack in GGUF and newer safetensors; older ones have
    /// a tensor for each.
    pub expert: Option<usize>,
}

impl Piece {
    pub(crate) fn whole(name: String, rows: usize) -> Self {
        Self { name, first: 0, rows }
    }
}

/// Rows of a matrix, consecutive.
#[derive(Debug)]
pub enum Raw {
    Plain(FloatType, Vec<u8>),
    /// Block-quantised.
    Packed(GgmlDType, Vec<u8>),
}

impl Raw {
    /// Two matrices can be fused if this is the same for both.
    pub const fn kind(&self) -> (Option<FloatType>, Option<GgmlDType>) {
        match self {
            Self::Plain(kind, _) => (Some(*kind), None),
            Self::Packed(kind, _) => (None, Some(*kind)),
        }
    }

    /// Appends the rows of another matrix of the same dtype.
    pub fn and(mut self, more: Self) -> Self {
        let (Self::Plain(_, more) | Self::Packed(_, more)) = more;
        let (Self::Plain(_, bytes) | Self::Packed(_, bytes)) = &mut self;
        bytes.extend_from_slice(&more);
        self
    }
}

pub(crate) fn dense(matrix: Matrix, pieces: &[Piece], width: usize) -> Linear {
    let outputs = pieces.iter().map(|piece| piece.rows).sum();
    Linear::Dense { matrix: Arc::new(matrix), width, outputs }
}

pub(crate) fn wrong_shape(name: &str, found: &[usize], wanted: &[usize]) -> WeightsError {
    WeightsError::TensorShape { name: name.to_owned(), found: found.to_vec(), wanted: wanted.to_vec() }
}
