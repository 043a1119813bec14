//! Matrix products with a model's weights, on tensors.

use candle_core::quantized::{QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module, Result, Tensor};
use kernels::{Architecture, FloatType, KernelError, Rows};
use weights::{Raw, Source, TensorName};

use crate::EngineError;

/// A weight matrix, with a row for each output.
#[derive(Debug)]
pub(super) enum Product {
    Dense(Tensor),
    /// Block-quantised, as in its file.
    Rounded(QMatMul),
    /// Matrices of one input whose dtypes differ: their outputs are concatenated.
    Beside(Vec<Product>),
}

/// The embedding table, of which single rows are read.
#[derive(Debug)]
pub(super) enum Table {
    Here(Tensor),
    /// A quantised table stays on the host: its rows are dequantised there and copied over.
    Host(Rows),
}

/// Where weights come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin<'a> {
    Files(&'a Source),
    /// Random, generated on the device: for benchmarks.
    Drawn(DType),
}

/// Loads weights onto a device.
#[derive(Debug)]
pub(super) struct Weights<'a> {
    pub origin: Origin<'a>,
    pub device: &'a Device,
    /// The dtype of the computation.
    pub work: DType,
}

/// Standard deviation of random weights.
const SPREAD: f32 = 0.07;

pub(super) const fn kind_of(kind: FloatType) -> DType {
    match kind {
        FloatType::Single => DType::F32,
        FloatType::Half => DType::F16,
        FloatType::Brain => DType::BF16,
    }
}

impl Product {
    /// The product of rows with the transposed matrix.
    pub(super) fn apply(&self, rows: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(weights) => {
                rows.to_dtype(weights.dtype())?.matmul(&weights.t()?)?.to_dtype(rows.dtype())
            }
            Self::Rounded(weights) => weights.forward(&rows.to_dtype(DType::F32)?)?.to_dtype(rows.dtype()),
            Self::Beside(matrices) => {
                let each = matrices.iter().map(|matrix| matrix.apply(rows)).collect::<Result<Vec<_>>>()?;
                Tensor::cat(&each, 1)
            }
        }
    }

    /// The bytes it takes on the device.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Dense(weights) | Self::Rounded(QMatMul::Tensor(weights) | QMatMul::TensorF16(weights)) => {
                (weights.elem_count() * weights.dtype().size_in_bytes()) as u64
            }
            Self::Rounded(QMatMul::QTensor(weights)) => weights.storage_size_in_bytes() as u64,
            Self::Beside(matrices) => matrices.iter().map(Self::bytes).sum(),
        }
    }
}

impl Table {
    /// The rows of these tokens, in the dtype of the computation.
    pub(super) fn rows(
        &self,
        which: &[u32],
        device: &Device,
        work: DType,
    ) -> std::result::Result<Tensor, EngineError> {
        Ok(match self {
            Self::Here(table) => table.index_select(&Tensor::new(which, device)?, 0)?.to_dtype(work)?,
            Self::Host(rows) => {
                let numbers = rows.rows(which.iter().copied());
                let width = numbers.len().checked_div(which.len()).unwrap_or_default();
                Tensor::from_vec(numbers, (which.len(), width), device)?.to_dtype(work)?
            }
        })
    }
}

impl Weights<'_> {
    /// Fuses matrices of one input into one product, where their dtypes are the same.
    pub(super) fn product(
        &self,
        pieces: &[(TensorName<'_>, usize)],
        columns: usize,
    ) -> std::result::Result<Product, EngineError> {
        let source = match self.origin {
            Origin::Files(source) => source,
            Origin::Drawn(kind) => {
                let rows: usize = pieces.iter().map(|(_, rows)| rows).sum();
                return Ok(Product::Dense(self.random_weights(rows, columns, kind)?));
            }
        };
        let read = pieces.iter().map(|(tensor, rows)| Ok((source.raw(tensor, *rows, columns)?, *rows)));
        let read = read.collect::<std::result::Result<Vec<_>, EngineError>>()?;
        let is_one =
            read.windows(2).all(|two| matches!(two, [(one, _), (other, _)] if one.kind() == other.kind()));
        if is_one {
            let rows = read.iter().map(|(_, rows)| rows).sum();
            let joined = read.into_iter().map(|(raw, _)| raw).reduce(Raw::and);
            let joined = joined.ok_or(KernelError::Step("a product of nothing"))?;
            return self.brought(&joined, rows, columns);
        }
        let each = read.iter().map(|(raw, rows)| self.brought(raw, *rows, columns));
        Ok(Product::Beside(each.collect::<std::result::Result<_, _>>()?))
    }

    fn brought(&self, raw: &Raw, rows: usize, columns: usize) -> std::result::Result<Product, EngineError> {
        Ok(match raw {
            Raw::Plain(kind, bytes) => {
                let weights = Tensor::from_raw_buffer(bytes, kind_of(*kind), &[rows, columns], self.device)?;
                Product::Dense(self.usable(weights)?)
            }
            Raw::Packed(kind, bytes) => {
                let storage = QStorage::from_data(bytes.as_slice().into(), self.device, *kind)?;
                Product::Rounded(QMatMul::from_qtensor(QTensor::new(storage, (rows, columns))?)?)
            }
        })
    }

    /// The CPU has no half-precision matrix product, so that weights are converted to single precision once.
    fn usable(&self, weights: Tensor) -> Result<Tensor> {
        if self.device.is_cpu() { weights.to_dtype(DType::F32) } else { Ok(weights) }
    }

    fn random_weights(&self, rows: usize, columns: usize, kind: DType) -> Result<Tensor> {
        let weights = Tensor::randn(0.0f32, SPREAD, (rows, columns), self.device)?.to_dtype(kind)?;
        self.usable(weights)
    }

    pub(super) fn numbers(
        &self,
        names: (&str, &str),
        length: usize,
    ) -> std::result::Result<Vec<f32>, EngineError> {
        match self.origin {
            Origin::Files(source) => Ok(source.single_vector(names, length)?),
            Origin::Drawn(_) => Ok(vec![1.0; length]),
        }
    }

    pub(super) fn vector(
        &self,
        names: (&str, &str),
        length: usize,
    ) -> std::result::Result<Tensor, EngineError> {
        let numbers = self.numbers(names, length)?;
        Ok(Tensor::from_vec(numbers, length, self.device)?.to_dtype(self.work)?)
    }

    /// The embedding table, and the output head in case it is tied to the table.
    pub(super) fn table(&self, shape: &Architecture) -> std::result::Result<(Table, Product), EngineError> {
        let tensor = TensorName { plain: "model.embed_tokens", packed: "token_embd", expert: None };
        let head = self.product(&[(tensor, shape.vocabulary)], shape.hidden)?;
        // The caller drops the head where it is not tied.
        Ok(match (&head, self.origin) {
            (Product::Dense(table), _) => (Table::Here(table.clone()), head),
            (_, Origin::Files(source)) => (Table::Host(source.embedding(shape)?), head),
            (_, Origin::Drawn(_)) => {
                return Err(KernelError::Step("a table that is drawn and rounded").into());
            }
        })
    }
}
