//! GGUF: one file with everything, its matrices mostly rounded in blocks.

mod head;
mod shape;

use std::fs::File as Handle;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};

pub(super) use head::Value;
pub(super) use shape::shape;

use self::head::{Head, Info};
use super::{Piece, Rows, dense, wrong_shape};
use crate::EngineError;
use crate::kernels::{Matrix, Plain};
use crate::linear::{Linear, numbers};

#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    handle: Handle,
    head: Head,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<Self, EngineError> {
        let at_file = |source| EngineError::File { path: path.to_owned(), source };
        let handle = Handle::open(path).map_err(at_file)?;
        let bytes = handle.metadata().map_err(at_file)?.len();
        let head = head::read(&handle, bytes);
        let head = head.map_err(|what| EngineError::Broken { path: path.to_owned(), what })?;
        Ok(Self { path: path.to_owned(), handle, head })
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.head.values.get(name)
    }

    pub(super) fn broken(&self, what: impl ToString) -> EngineError {
        EngineError::Broken { path: self.path.clone(), what: what.to_string() }
    }

    fn info(&self, name: &str) -> Result<&Info, EngineError> {
        self.head.tensors.get(name).ok_or_else(|| EngineError::NoTensor(name.to_owned()))
    }

    /// The bytes of some rows of a tensor.
    fn bytes(&self, info: &Info, columns: usize, first: usize, rows: usize) -> Result<Vec<u8>, EngineError> {
        let row = columns / info.kind.block_size() * info.kind.type_size();
        let mut bytes = vec![0; rows * row];
        let read = self.handle.read_exact_at(&mut bytes, info.start + (first * row) as u64);
        read.map_err(|source| EngineError::File { path: self.path.clone(), source })?;
        Ok(bytes)
    }

    pub(super) fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, EngineError> {
        let info = self.info(name)?;
        if info.shape != [length] {
            return Err(wrong_shape(name, &info.shape, &[length]));
        }
        let bytes = self.bytes(info, length, 0, 1)?;
        match plain(info.kind) {
            Some(kind) => Ok(Matrix::of([(kind, bytes)]).row(0, length, &mut vec![0.0; length]).to_vec()),
            None => numbers(&self.rounded(info.kind, bytes, 1, length)?.dequantize(&Device::Cpu)?),
        }
    }

    fn rounded(
        &self,
        kind: GgmlDType,
        bytes: Vec<u8>,
        rows: usize,
        columns: usize,
    ) -> Result<QTensor, EngineError> {
        let storage = QStorage::from_data(bytes.into(), &Device::Cpu, kind)?;
        Ok(QTensor::new(storage, (rows, columns))?)
    }

    /// A piece of a matrix, which the tensor is or a stack of.
    fn piece(&self, piece: &Piece, columns: usize) -> Result<(GgmlDType, Vec<u8>), EngineError> {
        let Piece { name, first, rows } = piece;
        let info = self.info(name)?;
        let Some((width, above)) = info.shape.split_last() else {
            return Err(wrong_shape(name, &info.shape, &[*rows, columns]));
        };
        let is_within = match above {
            [all] => *first == 0 && all == rows,
            [count, each] => each == rows && first + rows <= count * each,
            _ => false,
        };
        if *width != columns || !is_within {
            return Err(wrong_shape(name, &info.shape, &[*rows, columns]));
        }
        if columns % info.kind.block_size() != 0 {
            return Err(self.broken(format!("a row of the tensor \"{name}\" is not made of whole blocks")));
        }
        Ok((info.kind, self.bytes(info, columns, *first, *rows)?))
    }

    pub(super) fn linear(&self, pieces: &[Piece], columns: usize) -> Result<Linear, EngineError> {
        let read: Vec<_> = pieces.iter().map(|piece| self.piece(piece, columns)).collect::<Result<_, _>>()?;
        let is_one = read.windows(2).all(|two| matches!(two, [(one, _), (other, _)] if one == other));
        // Pieces that were rounded differently stay what they are: each is a product of its own.
        if !is_one {
            let each = read.into_iter().zip(pieces);
            let each =
                each.map(|(read, piece)| self.joined(vec![read], std::slice::from_ref(piece), columns));
            return Ok(Linear::Beside(each.collect::<Result<_, _>>()?));
        }
        self.joined(read, pieces, columns)
    }

    /// Pieces of one kind as one matrix.
    fn joined(
        &self,
        read: Vec<(GgmlDType, Vec<u8>)>,
        pieces: &[Piece],
        columns: usize,
    ) -> Result<Linear, EngineError> {
        let kind = read.first().map_or(GgmlDType::F32, |(kind, _)| *kind);
        if let Some(kind) = plain(kind) {
            let matrix = Matrix::of(read.into_iter().map(|(_, bytes)| (kind, bytes)));
            return Ok(dense(matrix, pieces, columns));
        }
        let bytes: Vec<u8> = read.into_iter().flat_map(|(_, bytes)| bytes).collect();
        let rows = pieces.iter().map(|piece| piece.rows).sum();
        Ok(Linear::Rounded(QMatMul::from_qtensor(self.rounded(kind, bytes, rows, columns)?)?))
    }

    pub(super) fn rows(&self, piece: &Piece, width: usize) -> Result<Rows, EngineError> {
        let (kind, bytes) = self.piece(piece, width)?;
        Ok(match plain(kind) {
            Some(kind) => {
                Rows::Dense { matrix: Arc::new(Matrix::of([(kind, bytes)])), width, rows: piece.rows }
            }
            None => Rows::Rounded(Arc::new(self.rounded(kind, bytes, piece.rows, width)?)),
        })
    }
}

/// The kinds that are not rounded in blocks.
const fn plain(kind: GgmlDType) -> Option<Plain> {
    match kind {
        GgmlDType::F32 => Some(Plain::Single),
        GgmlDType::F16 => Some(Plain::Half),
        GgmlDType::BF16 => Some(Plain::Brain),
        _ => None,
    }
}
