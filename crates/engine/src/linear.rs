//! Products with a model's weights.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, Storage, Tensor};

use crate::EngineError;
use crate::kernels::{Eight, Matrix, Rounded, round};

/// A matrix of weights, as it lies in its file.
#[derive(Debug, Clone)]
pub(crate) enum Linear {
    Rounded(Arc<Rounded>),
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
            Self::Rounded(matrix) => matrix.outputs(),
            Self::Dense { outputs, .. } => *outputs,
            Self::Beside(matrices) => matrices.iter().map(Self::outputs).sum::<Result<_, _>>()?,
        })
    }

    /// All numbers of it, a row for each output, in single precision.
    pub(crate) fn singles(&self) -> Result<Cow<'_, [f32]>, EngineError> {
        Ok(match self {
            Self::Rounded(matrix) => Cow::Owned(matrix.singles()),
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

    /// One row of it, as numbers.
    pub(crate) fn row(&self, output: u32, width: usize) -> Result<Vec<f32>, EngineError> {
        if output as usize >= self.outputs()? {
            return Err(EngineError::Step("a row that a matrix does not have"));
        }
        let mut held = vec![0.0; width];
        Ok(match self {
            Self::Rounded(matrix) => {
                matrix.row(output as usize, &mut held);
                held
            }
            Self::Dense { matrix, .. } => matrix.row(output as usize, width, &mut held).to_vec(),
            Self::Beside(_) => return Err(EngineError::Step("a row of several matrices")),
        })
    }

    /// What this matrix makes of rows of this width, which lie one behind the other.
    pub(crate) fn apply(&self, rows: &[f32], width: usize) -> Result<Vec<f32>, EngineError> {
        let mut out = Vec::new();
        self.apply_into(rows, width, &mut out, &mut Vec::new())?;
        Ok(out)
    }

    /// The same, into what is there already; rows are rounded in `eights` where weights are.
    pub(crate) fn apply_into(
        &self,
        rows: &[f32],
        width: usize,
        out: &mut Vec<f32>,
        eights: &mut Vec<Eight>,
    ) -> Result<(), EngineError> {
        let outputs = self.outputs()?;
        let count = rows.len().checked_div(width).unwrap_or_default();
        out.resize(count * outputs, 0.0);
        if self.wants_rounded() {
            round(rows, eights);
        }
        self.product((rows, width), eights, out, (outputs, 0..outputs))
    }

    fn wants_rounded(&self) -> bool {
        match self {
            Self::Rounded(_) => true,
            Self::Dense { .. } => false,
            Self::Beside(matrices) => matrices.iter().any(Self::wants_rounded),
        }
    }

    /// Fills these columns of `out`, whose rows are so long.
    fn product(
        &self,
        (rows, width): (&[f32], usize),
        eights: &[Eight],
        out: &mut [f32],
        (stride, columns): (usize, Range<usize>),
    ) -> Result<(), EngineError> {
        match self {
            Self::Rounded(matrix) => matrix.apply(eights, out, stride, columns.start),
            Self::Dense { matrix, .. } => matrix.apply(rows, width, out, (stride, columns)),
            Self::Beside(matrices) => {
                let mut first = columns.start;
                for matrix in matrices {
                    let last = first + matrix.outputs()?;
                    matrix.product((rows, width), eights, out, (stride, first..last))?;
                    first = last;
                }
            }
        }
        Ok(())
    }
}

/// The numbers of a tensor.
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
