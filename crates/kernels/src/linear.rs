//! Linear layers: matrix products with a model's weights.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::error::KernelError;
use crate::product::Matrix;
use crate::quantised::{Q8Block, QuantisedMatrix, round};

/// A weight matrix in the dtype of its file.
#[derive(Debug, Clone)]
pub enum Linear {
    Rounded(Arc<QuantisedMatrix>),
    Dense {
        matrix: Arc<Matrix>,
        width: usize,
        outputs: usize,
    },
    /// Matrices that share an input (for example Q, K and V), their outputs concatenated.
    Beside(Vec<Linear>),
}

impl Linear {
    pub fn outputs(&self) -> Result<usize, KernelError> {
        Ok(match self {
            Self::Rounded(matrix) => matrix.outputs(),
            Self::Dense { outputs, .. } => *outputs,
            Self::Beside(matrices) => matrices.iter().map(Self::outputs).sum::<Result<_, _>>()?,
        })
    }

    /// All weights in f32, a row for each output.
    pub fn singles(&self) -> Result<Cow<'_, [f32]>, KernelError> {
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

    /// One row of weights in f32.
    pub fn row(&self, output: u32, width: usize) -> Result<Vec<f32>, KernelError> {
        if output as usize >= self.outputs()? {
            return Err(KernelError::Step("a row that a matrix does not have"));
        }
        let mut held = vec![0.0; width];
        Ok(match self {
            Self::Rounded(matrix) => {
                matrix.row(output as usize, &mut held);
                held
            }
            Self::Dense { matrix, .. } => matrix.row(output as usize, width, &mut held).to_vec(),
            Self::Beside(_) => return Err(KernelError::Step("a row of several matrices")),
        })
    }

    /// Multiplies a contiguous batch of rows, each `width` wide, by this matrix.
    pub fn apply(&self, rows: &[f32], width: usize) -> Result<Vec<f32>, KernelError> {
        let mut out = Vec::new();
        self.apply_into(rows, width, &mut out, &mut Vec::new())?;
        Ok(out)
    }

    /// Like `apply`, into an existing buffer. For quantised weights the rows are quantised into `eights`
    /// first.
    pub(crate) fn apply_into(
        &self,
        rows: &[f32],
        width: usize,
        out: &mut Vec<f32>,
        eights: &mut Vec<Q8Block>,
    ) -> Result<(), KernelError> {
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

    /// Writes these columns of `out`, whose rows are `stride` wide.
    fn product(
        &self,
        (rows, width): (&[f32], usize),
        eights: &[Q8Block],
        out: &mut [f32],
        (stride, columns): (usize, Range<usize>),
    ) -> Result<(), KernelError> {
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
