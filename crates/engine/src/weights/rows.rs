//! A table of which single rows are taken: the embedding.

use std::sync::Arc;

use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{Device, Tensor};

use crate::EngineError;
use crate::kernels::Matrix;
use crate::linear::{Linear, numbers};

pub(crate) enum Rows {
    Dense {
        matrix: Arc<Matrix>,
        width: usize,
        rows: usize,
    },
    /// Only the rows that are taken are ever unpacked.
    Rounded(Arc<QTensor>),
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dense { .. } => "dense rows",
            Self::Rounded(_) => "rounded rows",
        })
    }
}

impl Rows {
    pub(crate) fn rows(&self, which: impl Iterator<Item = u32>) -> Result<Vec<f32>, EngineError> {
        match self {
            Self::Dense { matrix, width, .. } => {
                let (mut rows, mut held) = (Vec::new(), vec![0.0; *width]);
                for row in which {
                    rows.extend_from_slice(matrix.row(row as usize, *width, &mut held));
                }
                Ok(rows)
            }
            Self::Rounded(table) => {
                let which: Vec<u32> = which.collect();
                let count = which.len();
                numbers(&table.embedding(&Tensor::from_vec(which, count, &Device::Cpu)?)?)
            }
        }
    }

    /// The same table as a head.
    pub(crate) fn as_linear(&self) -> Result<Linear, EngineError> {
        Ok(match self {
            Self::Dense { matrix, width, rows } => {
                Linear::Dense { matrix: Arc::clone(matrix), width: *width, outputs: *rows }
            }
            Self::Rounded(table) => Linear::Rounded(QMatMul::from_arc(Arc::clone(table))?),
        })
    }
}
