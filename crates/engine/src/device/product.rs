//! Products with a model's weights, as tensors on a device.

use candle_core::quantized::{QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module, Result, Tensor};

use crate::EngineError;
use crate::kernels::Plain;
use crate::shape::Shape;
use crate::weights::{Place, Raw, Rows, Source};

/// A matrix of weights: a row for each output.
#[derive(Debug)]
pub(super) enum Product {
    Dense(Tensor),
    /// Rounded in blocks, as its file has it.
    Rounded(QMatMul),
    /// Matrices of one input, their outputs one behind the other.
    Beside(Vec<Product>),
}

/// A table of which single rows are taken.
#[derive(Debug)]
pub(super) enum Table {
    Here(Tensor),
    /// Rounded ones are unpacked where the processor is, and their rows brought over.
    Host(Rows),
}

/// Where weights come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin<'a> {
    Files(&'a Source),
    /// Nowhere: they are drawn on the device, for measurements.
    Drawn(DType),
}

/// Brings weights onto a device.
#[derive(Debug)]
pub(super) struct Weights<'a> {
    pub origin: Origin<'a>,
    pub device: &'a Device,
    /// The kind of numbers that is computed in.
    pub work: DType,
}

/// How far drawn weights are from nought.
const SPREAD: f32 = 0.07;

pub(super) const fn kind_of(kind: Plain) -> DType {
    match kind {
        Plain::Single => DType::F32,
        Plain::Half => DType::F16,
        Plain::Brain => DType::BF16,
    }
}

impl Product {
    /// What this matrix makes of rows.
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

    /// What it takes on the device.
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
    /// Rows, in the kind of numbers that is computed in.
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
    /// Matrices of one input as one product, where they are of one kind.
    pub(super) fn product(
        &self,
        pieces: &[(Place<'_>, usize)],
        columns: usize,
    ) -> std::result::Result<Product, EngineError> {
        let source = match self.origin {
            Origin::Files(source) => source,
            Origin::Drawn(kind) => {
                let rows: usize = pieces.iter().map(|(_, rows)| rows).sum();
                return Ok(Product::Dense(self.drawn(rows, columns, kind)?));
            }
        };
        let read = pieces.iter().map(|(place, rows)| Ok((source.raw(place, *rows, columns)?, *rows)));
        let read = read.collect::<std::result::Result<Vec<_>, EngineError>>()?;
        let is_one =
            read.windows(2).all(|two| matches!(two, [(one, _), (other, _)] if one.kind() == other.kind()));
        if is_one {
            let rows = read.iter().map(|(_, rows)| rows).sum();
            let joined = read.into_iter().map(|(raw, _)| raw).reduce(Raw::and);
            let joined = joined.ok_or(EngineError::Step("a product of nothing"))?;
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

    /// A processor multiplies no halves by itself: there they are made singles once.
    fn usable(&self, weights: Tensor) -> Result<Tensor> {
        if self.device.is_cpu() { weights.to_dtype(DType::F32) } else { Ok(weights) }
    }

    fn drawn(&self, rows: usize, columns: usize, kind: DType) -> Result<Tensor> {
        let weights = Tensor::randn(0.0f32, SPREAD, (rows, columns), self.device)?.to_dtype(kind)?;
        self.usable(weights)
    }

    pub(super) fn numbers(
        &self,
        names: (&str, &str),
        length: usize,
    ) -> std::result::Result<Vec<f32>, EngineError> {
        match self.origin {
            Origin::Files(source) => source.single_vector(names, length),
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

    /// The table of tokens, and what the head is where that is the table.
    pub(super) fn table(&self, shape: &Shape) -> std::result::Result<(Table, Product), EngineError> {
        let place = Place { plain: "model.embed_tokens", packed: "token_embd", expert: None };
        let head = self.product(&[(place, shape.vocabulary)], shape.hidden)?;
        // Where the head is another, this is dropped again.
        Ok(match (&head, self.origin) {
            (Product::Dense(table), _) => (Table::Here(table.clone()), head),
            (_, Origin::Files(source)) => (Table::Host(source.embedding(shape)?), head),
            (_, Origin::Drawn(_)) => return Err(EngineError::Step("a table that is drawn and rounded")),
        })
    }
}
