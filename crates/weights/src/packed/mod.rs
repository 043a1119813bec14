//! GGUF: weights, configuration and tokenizer in one file or several shards; most matrices are block-quantised.

mod head;
mod shape;
mod shards;

use std::fs::File as Handle;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{CpuStorage, Device, Storage, Tensor};
use kernels::{FloatType, KernelError, Linear, Matrix, QuantisedMatrix, Rows};

pub(crate) use head::Value;
pub(crate) use shape::shape;

use self::head::{Head, Info};
use crate::digest::Digest;
use crate::error::WeightsError;
use crate::limits::SMALL_TENSOR_ROWS_MAX;
use crate::piece::{Piece, Raw, dense, wrong_shape};

/// Rows of a matrix per read.
const ROWS: usize = 1 << 10;

#[derive(Debug)]
pub(crate) struct File {
    /// The first shard, or the only file.
    path: PathBuf,
    shards: Vec<(PathBuf, Handle)>,
    head: Head,
}

impl File {
    /// The size of all tensors.
    pub(super) fn weight_bytes(&self) -> u64 {
        self.head.tensors.values().map(bytes_of_tensor).sum()
    }

    /// The size of a tensor, if it exists.
    pub(super) fn bytes_of_tensor(&self, name: &str) -> Option<u64> {
        self.head.tensors.get(name).map(bytes_of_tensor)
    }

    pub(super) fn is_rounded(&self, name: &str) -> bool {
        self.head.tensors.get(name).is_some_and(|info| plain(info.kind).is_none())
    }

    /// Opens a file and, if it is the first shard of several, the others beside it.
    pub(super) fn open(path: &Path) -> Result<Self, WeightsError> {
        let (handle, head) = open_one(path, 0)?;
        let mut file = Self { path: path.to_owned(), shards: vec![(path.to_owned(), handle)], head };
        shards::add_others(&mut file)?;
        Ok(file)
    }

    /// The open files, in order.
    pub(super) fn all(&self) -> Vec<(&Path, &Handle)> {
        self.shards.iter().map(|(path, handle)| (path.as_path(), handle)).collect()
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.head.values.get(name)
    }

    /// Adds the metadata to a digest.
    pub(super) fn add_to_digest(&self, digest: &mut Digest) {
        let mut values: Vec<_> = self.head.values.iter().collect();
        values.sort_unstable_by_key(|(name, _)| *name);
        for (name, value) in values {
            digest.add(name.as_bytes());
            match value {
                Value::List(list) => digest.add(&list.len().to_le_bytes()),
                value => digest.add(format!("{value:?}").as_bytes()),
            }
        }
        let mut tensors: Vec<_> = self.head.tensors.iter().collect();
        tensors.sort_unstable_by_key(|(name, _)| *name);
        for (name, info) in tensors {
            digest.add(name.as_bytes());
            digest.add(format!("{:?} {:?}", info.kind, info.shape).as_bytes());
        }
    }

    /// All rows of a small matrix, or the only row of a vector, dequantised; `None` if there is no such
    /// tensor.
    pub(super) fn rows_of(&self, name: &str, width: usize) -> Result<Option<Vec<Vec<f32>>>, WeightsError> {
        let Ok(info) = self.info(name) else { return Ok(None) };
        let rows = match info.shape.as_slice() {
            [columns] if *columns == width => 1,
            [rows, columns] if *columns == width && *rows <= SMALL_TENSOR_ROWS_MAX => *rows,
            _ => return Err(wrong_shape(name, &info.shape, &[1, width])),
        };
        if !width.is_multiple_of(info.kind.block_size()) {
            return Err(self.broken(format!("a row of the tensor \"{name}\" is not made of whole blocks")));
        }
        let bytes = self.bytes(info, width, 0, rows)?;
        let all = match plain(info.kind) {
            Some(kind) => Matrix::of([(kind, bytes)]).singles().into_owned(),
            None => numbers(&self.quantised_rows(info.kind, bytes, rows, width)?.dequantize(&Device::Cpu)?)?,
        };
        Ok(Some(all.chunks_exact(width).map(<[f32]>::to_vec).collect()))
    }

    pub(super) fn broken(&self, what: impl std::fmt::Display) -> WeightsError {
        WeightsError::Broken { path: self.path.clone(), what: what.to_string() }
    }

    fn info(&self, name: &str) -> Result<&Info, WeightsError> {
        self.head.tensors.get(name).ok_or_else(|| WeightsError::NoTensor(name.to_owned()))
    }

    /// Reads the bytes of some rows of a tensor.
    fn bytes(&self, info: &Info, columns: usize, first: usize, rows: usize) -> Result<Vec<u8>, WeightsError> {
        let row = columns / info.kind.block_size() * info.kind.type_size();
        let mut bytes = vec![0; rows * row];
        let (path, handle) =
            self.shards.get(info.shard).ok_or(KernelError::Step("a shard that is not there"))?;
        let read = handle.read_exact_at(&mut bytes, info.start + (first * row) as u64);
        read.map_err(|source| WeightsError::File { path: path.clone(), source })?;
        Ok(bytes)
    }

    pub(super) fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, WeightsError> {
        let info = self.info(name)?;
        if info.shape != [length] {
            return Err(wrong_shape(name, &info.shape, &[length]));
        }
        let bytes = self.bytes(info, length, 0, 1)?;
        match plain(info.kind) {
            Some(kind) => Ok(Matrix::of([(kind, bytes)]).row(0, length, &mut vec![0.0; length]).to_vec()),
            None => numbers(&self.quantised_rows(info.kind, bytes, 1, length)?.dequantize(&Device::Cpu)?),
        }
    }

    fn quantised_rows(
        &self,
        kind: GgmlDType,
        bytes: Vec<u8>,
        rows: usize,
        columns: usize,
    ) -> Result<QTensor, WeightsError> {
        let storage = QStorage::from_data(bytes.into(), &Device::Cpu, kind)?;
        Ok(QTensor::new(storage, (rows, columns))?)
    }

    /// The tensor that a piece is, or is a part of; checks shape and range.
    fn piece(&self, piece: &Piece, columns: usize) -> Result<&Info, WeightsError> {
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
        if !columns.is_multiple_of(info.kind.block_size()) {
            return Err(self.broken(format!("a row of the tensor \"{name}\" is not made of whole blocks")));
        }
        Ok(info)
    }

    pub(super) fn linear(&self, pieces: &[Piece], columns: usize) -> Result<Linear, WeightsError> {
        let found: Vec<_> =
            pieces.iter().map(|piece| self.piece(piece, columns)).collect::<Result<_, _>>()?;
        let is_one = found.windows(2).all(|two| matches!(two, [one, other] if one.kind == other.kind));
        // Pieces of different quantisation types can't be fused: each becomes a product of its own.
        if !is_one {
            let each = found.into_iter().zip(pieces);
            let each = each.map(|(info, piece)| self.join(info.kind, std::slice::from_ref(piece), columns));
            return Ok(Linear::Beside(each.collect::<Result<_, _>>()?));
        }
        let kind = found.first().map_or(GgmlDType::F32, |info| info.kind);
        self.join(kind, pieces, columns)
    }

    /// Fuses pieces of one type into one matrix.
    fn join(&self, kind: GgmlDType, pieces: &[Piece], columns: usize) -> Result<Linear, WeightsError> {
        if let Some(plain) = plain(kind) {
            let read = pieces.iter().map(|piece| Ok((plain, self.bytes_of(piece, columns)?)));
            let matrix = Matrix::of(read.collect::<Result<Vec<_>, WeightsError>>()?);
            return Ok(dense(matrix, pieces, columns));
        }
        Ok(Linear::Rounded(Arc::new(self.pack_rows(kind, pieces, columns)?)))
    }

    /// Reads a piece as it is in the file.
    pub(super) fn raw(&self, piece: &Piece, columns: usize) -> Result<Raw, WeightsError> {
        let kind = self.piece(piece, columns)?.kind;
        let bytes = self.bytes_of(piece, columns)?;
        Ok(match plain(kind) {
            Some(plain) => Raw::Plain(plain, bytes),
            None => Raw::Packed(kind, bytes),
        })
    }

    fn bytes_of(&self, piece: &Piece, columns: usize) -> Result<Vec<u8>, WeightsError> {
        self.bytes(self.info(&piece.name)?, columns, piece.first, piece.rows)
    }

    /// Reads pieces into the repacked layout of the kernels, a few rows at a time, so that the original is
    /// never in memory as a whole.
    fn pack_rows(
        &self,
        kind: GgmlDType,
        pieces: &[Piece],
        columns: usize,
    ) -> Result<QuantisedMatrix, WeightsError> {
        let outputs = pieces.iter().map(|piece| piece.rows).sum();
        let matrix = QuantisedMatrix::new(kind, columns, outputs);
        let mut matrix =
            matrix.ok_or(KernelError::Step("a way of rounding that there are no products for"))?;
        let mut output = 0;
        for piece in pieces {
            let info = self.info(&piece.name)?;
            for first in (0..piece.rows).step_by(ROWS) {
                let rows = ROWS.min(piece.rows - first);
                matrix.pack(output, &self.bytes(info, columns, piece.first + first, rows)?);
                output += rows;
            }
        }
        Ok(matrix)
    }

    pub(super) fn rows(&self, piece: &Piece, width: usize) -> Result<Rows, WeightsError> {
        let kind = self.piece(piece, width)?.kind;
        Ok(match self.join(kind, std::slice::from_ref(piece), width)? {
            Linear::Rounded(matrix) => Rows::Rounded { matrix, width },
            Linear::Dense { matrix, width, outputs } => Rows::Dense { matrix, width, rows: outputs },
            Linear::Beside(_) => return Err(KernelError::Step("a table of several kinds").into()),
        })
    }
}

/// Opens a file and reads its header.
fn open_one(path: &Path, shard: usize) -> Result<(Handle, Head), WeightsError> {
    let at_file = |source| WeightsError::File { path: path.to_owned(), source };
    let handle = Handle::open(path).map_err(at_file)?;
    let bytes = handle.metadata().map_err(at_file)?.len();
    let head = head::read(&handle, bytes, shard);
    let head = head.map_err(|what| WeightsError::Broken { path: path.to_owned(), what })?;
    Ok((handle, head))
}

fn bytes_of_tensor(info: &Info) -> u64 {
    let numbers: u64 = info.shape.iter().map(|size| *size as u64).product();
    numbers / info.kind.block_size() as u64 * info.kind.type_size() as u64
}

/// The dtype, where it is not block-quantised.
const fn plain(kind: GgmlDType) -> Option<FloatType> {
    match kind {
        GgmlDType::F32 => Some(FloatType::Single),
        GgmlDType::F16 => Some(FloatType::Half),
        GgmlDType::BF16 => Some(FloatType::Brain),
        _ => None,
    }
}

/// The values of a CPU tensor in f32.
fn numbers(tensor: &Tensor) -> Result<Vec<f32>, WeightsError> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(KernelError::Step("a product that is not in one piece").into());
    };
    match &*storage {
        Storage::Cpu(CpuStorage::F32(numbers)) => {
            let numbers = numbers.get(start..end).map(<[f32]>::to_vec);
            Ok(numbers.ok_or(KernelError::Step("a product of another size"))?)
        }
        _ => Err(KernelError::Step("a product of another kind").into()),
    }
}
