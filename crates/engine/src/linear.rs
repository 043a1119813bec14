//! Products with a model's weights.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::quantized::QMatMul;
use candle_core::{CpuStorage, DType, Device, Module, Storage, Tensor};

use crate::EngineError;
use crate::kernels::Matrix;

/// A matrix of weights, as it lies in its file.
#[derive(Debug, Clone)]
pub(crate) enum Linear {
    Rounded(QMatMul),
    Dense {
        matrix: Arc<Matrix>,
        width: usize,
        outputs: usize,
    },
    /// Matrices of one input, their outputs one behind the other.
    Beside(Vec<Linear>),
}

impl Linear {
    pub(crate) fn outputs(&self) -> Result<usize, EngineError> {
        Ok(match self {
            Self::Rounded(QMatMul::QTensor(matrix)) => matrix.shape().dims2()?.0,
            Self::Rounded(QMatMul::Tensor(matrix) | QMatMul::TensorF16(matrix)) => matrix.dim(0)?,
            Self::Dense { outputs, .. } => *outputs,
            Self::Beside(matrices) => matrices.iter().map(Self::outputs).sum::<Result<_, _>>()?,
        })
    }

    /// All numbers of it, a row for each output, in single precision.
    pub(crate) fn singles(&self) -> Result<Cow<'_, [f32]>, EngineError> {
        Ok(match self {
            Self::Rounded(QMatMul::QTensor(matrix)) => {
                Cow::Owned(numbers(&matrix.dequantize(&Device::Cpu)?)?)
            }
            Self::Rounded(QMatMul::Tensor(matrix) | QMatMul::TensorF16(matrix)) => {
                Cow::Owned(numbers(&matrix.to_dtype(DType::F32)?)?)
            }
            Self::Dense { matrix, .. } => matrix.singles(),
            Self::Beside(matrices) => {
                let mut all = Vec::new();
                for matrix in matrices {
                    all.extend_from_slice(&matrix.singles()?);
                }
                Cow::Owned(all)
            }
        })
    }

    /// What this matrix makes of rows of this width, which lie one behind the other.
    pub(crate) fn apply(&self, rows: &[f32], width: usize) -> Result<Vec<f32>, EngineError> {
        let count = rows.len() / width;
        match self {
            Self::Dense { matrix, width, outputs } => Ok(matrix.apply(rows, *width, *outputs)),
            Self::Rounded(matrix) => {
                let rows = Tensor::from_slice(rows, (count, width), &Device::Cpu)?;
                numbers(&matrix.forward(&rows)?)
            }
            Self::Beside(matrices) => {
                let all = self.outputs()?;
                let (mut out, mut first) = (vec![0.0; count * all], 0);
                for matrix in matrices {
                    let outputs = matrix.outputs()?;
                    let each = matrix.apply(rows, width)?;
                    for (out, said) in out.chunks_exact_mut(all).zip(each.chunks_exact(outputs)) {
                        out.iter_mut().skip(first).zip(said).for_each(|(out, said)| *out = *said);
                    }
                    first += outputs;
                }
                Ok(out)
            }
        }
    }
}

/// The numbers of what a product gave.
pub(crate) fn numbers(tensor: &Tensor) -> Result<Vec<f32>, EngineError> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(EngineError::Step("a product that is not in one piece"));
    };
    match &*storage {
        Storage::Cpu(CpuStorage::F32(numbers)) => {
            let numbers = numbers.get(start..end).map(<[f32]>::to_vec);
            numbers.ok_or(EngineError::Step("a product of another size"))
        }
        _ => Err(EngineError::Step("a product of another kind")),
    }
}
