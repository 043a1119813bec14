//! The embedding table, of which single rows are read.

use std::sync::Arc;

use crate::linear::Linear;
use crate::product::Matrix;
use crate::quantised::QuantisedMatrix;

/// Only the rows that are read are dequantised.
#[derive(Debug)]
pub enum Rows {
    Dense { matrix: Arc<Matrix>, width: usize, rows: usize },
    Rounded { matrix: Arc<QuantisedMatrix>, width: usize },
}

impl Rows {
    pub fn rows(&self, which: impl Iterator<Item = u32>) -> Vec<f32> {
        let mut rows = Vec::new();
        match self {
            Self::Dense { matrix, width, .. } => {
                let mut held = vec![0.0; *width];
                for row in which {
                    rows.extend_from_slice(matrix.row(row as usize, *width, &mut held));
                }
            }
            Self::Rounded { matrix, width } => {
                let mut held = vec![0.0; *width];
                for row in which {
                    matrix.row(row as usize, &mut held);
                    rows.extend_from_slice(&held);
                }
            }
        }
        rows
    }

    /// The same table as a tied output head, sharing its memory.
    pub fn as_linear(&self) -> Linear {
        match self {
            Self::Dense { matrix, width, rows } => {
                Linear::Dense { matrix: Arc::clone(matrix), width: *width, outputs: *rows }
            }
            Self::Rounded { matrix, .. } => Linear::Rounded(Arc::clone(matrix)),
        }
    }
}
