//! Safetensors writer and reader for training output. A file is written under a temporary name and then
//! renamed over its target, so that a process killed at any moment leaves either the old file or the new one.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weights::limits::SAFETENSORS_HEAD_BYTES_MAX;

use crate::error::TrainerError;

domain::words! {
    /// The dtype that a file's weights are written in.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Precision {
        #[serde(rename = "float32")]
        Single = "F32",
        #[serde(rename = "float16")]
        Half = "F16",
        #[serde(rename = "bfloat16")]
        Brain = "BF16",
    }
}

pub(super) struct Tensor<'a> {
    pub name: String,
    pub shape: &'a [usize],
    pub numbers: &'a [f32],
}

/// A safetensors file's `__metadata__` map.
pub(super) type Notes = BTreeMap<String, String>;

const NOTES: &str = "__metadata__";

impl Precision {
    const fn bytes(self) -> usize {
        match self {
            Self::Single => 4,
            Self::Half | Self::Brain => 2,
        }
    }

    fn write(self, numbers: &[f32], file: &mut impl Write) -> std::io::Result<()> {
        /// How many numbers are converted and written at once.
        const PIECE: usize = 4_096;
        let mut bytes = Vec::with_capacity(PIECE * 4);
        for numbers in numbers.chunks(PIECE) {
            bytes.clear();
            match self {
                Self::Single => bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes())),
                Self::Half => {
                    let mut halves = vec![f16::ZERO; numbers.len()];
                    halves.convert_from_f32_slice(numbers);
                    bytes.extend(halves.iter().flat_map(|number| number.to_le_bytes()));
                }
                Self::Brain => {
                    let mut halves = vec![bf16::ZERO; numbers.len()];
                    halves.convert_from_f32_slice(numbers);
                    bytes.extend(halves.iter().flat_map(|number| number.to_le_bytes()));
                }
            }
            file.write_all(&bytes)?;
        }
        Ok(())
    }
}

/// Replaces a file atomically: temporary file, `fsync`, rename, `fsync` of the directory.
pub(super) fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), TrainerError> {
    let beside = path.with_extension("part");
    let written = || {
        let mut file = BufWriter::new(File::create(&beside)?);
        write(&mut file)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        std::fs::rename(&beside, path)?;
        // The rename has to be as durable as the contents.
        match path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    written().map_err(|source| TrainerError::File { path: path.to_owned(), source })
}

pub(super) fn write(
    path: &Path,
    tensors: &[Tensor<'_>],
    precision: Precision,
    notes: &Notes,
) -> Result<(), TrainerError> {
    let (mut head, mut at) = (serde_json::Map::new(), 0);
    if !notes.is_empty() {
        head.insert(NOTES.to_owned(), json!(notes));
    }
    for tensor in tensors {
        let end = at + tensor.numbers.len() * precision.bytes();
        let entry = json!({"dtype": precision.as_str(), "shape": tensor.shape, "data_offsets": [at, end]});
        head.insert(tensor.name.clone(), entry);
        at = end;
    }
    let mut head = Value::Object(head).to_string().into_bytes();
    // Pads the header so that the tensor data starts 8-byte aligned.
    head.resize(head.len().next_multiple_of(8), b' ');
    replace(path, |file| {
        file.write_all(&(head.len() as u64).to_le_bytes())?;
        file.write_all(&head)?;
        tensors.iter().try_for_each(|tensor| precision.write(tensor.numbers, file))
    })
}

/// Tensors by name: shape and data.
pub(super) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

#[derive(Deserialize)]
struct TensorHeader {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

/// The metadata of a file written by `write`.
pub(super) fn notes(path: &Path) -> Result<Notes, TrainerError> {
    head(path).map(|(_, notes, _)| notes)
}

/// Opens a file and reads its header: the file, positioned at the tensor data, its metadata, and the entries
/// of its tensors.
fn head(path: &Path) -> Result<(File, Notes, serde_json::Map<String, Value>), TrainerError> {
    let at_file = |source| TrainerError::File { path: path.to_owned(), source };
    let broken = |what: String| TrainerError::Broken { path: path.to_owned(), what };
    let mut file = File::open(path).map_err(at_file)?;
    let bytes = file.metadata().map_err(at_file)?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(at_file)?;
    let length = u64::from_le_bytes(length);
    if length > SAFETENSORS_HEAD_BYTES_MAX || length.saturating_add(8) > bytes {
        return Err(broken(format!("its header claims to have {length} bytes")));
    }
    let mut head = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact(&mut head).map_err(at_file)?;
    let mut entries: serde_json::Map<String, Value> =
        serde_json::from_slice(&head).map_err(|error| broken(error.to_string()))?;
    let notes = entries.remove(NOTES).map(serde_json::from_value).transpose();
    let notes = notes.map_err(|error| broken(format!("\"{NOTES}\": {error}")))?;
    Ok((file, notes.unwrap_or_default(), entries))
}

/// Reads a file that `write` wrote in single precision.
pub(super) fn read(path: &Path) -> Result<(Notes, Tensors), TrainerError> {
    let broken = |what: String| TrainerError::Broken { path: path.to_owned(), what };
    let (mut file, notes, entries) = head(path)?;
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).map_err(|source| TrainerError::File { path: path.to_owned(), source })?;
    let mut tensors = Tensors::new();
    for (name, value) in entries {
        let wrong = |what: &dyn fmt::Display| broken(format!("\"{name}\": {what}"));
        let TensorHeader { dtype, shape, data_offsets: (start, end) } =
            serde_json::from_value(value).map_err(|error| wrong(&error))?;
        let bytes = rest.get(start..end).ok_or_else(|| wrong(&"the file ends before the tensor does"))?;
        let count = shape.iter().try_fold(4usize, |count, size| count.checked_mul(*size));
        if dtype != Precision::Single.as_str() || count != Some(bytes.len()) {
            return Err(wrong(&"its data isn't four bytes for each number of its shape"));
        }
        let numbers = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        tensors.insert(name, (shape, numbers));
    }
    Ok((notes, tensors))
}
