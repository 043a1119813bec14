//! Safetensors: one file, or several with an index. Tensors are read one by one when needed, so that a file
//! is never in memory as a whole together with what was made of it.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kernels::{FloatType as Kind, KernelError, Matrix};
use serde::Deserialize;
use serde_json::Value;

use crate::digest::Digest;
use crate::error::WeightsError;
use crate::limits::SAFETENSORS_HEAD_BYTES_MAX;
use crate::piece::{Piece, wrong_shape};

const ONE: &str = "model.safetensors";
/// The header key of the file's metadata, which is not a tensor.
const METADATA: &str = "__metadata__";
const INDEX: &str = "model.safetensors.index.json";

#[derive(Debug)]
pub(crate) struct Files {
    files: Vec<(PathBuf, File)>,
    tensors: HashMap<String, TensorEntry>,
}

#[derive(Debug)]
struct TensorEntry {
    file: usize,
    kind: Kind,
    shape: Vec<usize>,
    start: u64,
    end: u64,
}

/// A tensor's entry in the header. Tensors that the model doesn't use are accepted, too.
#[derive(Deserialize)]
struct TensorHeader {
    dtype: Kind,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

fn broken(path: &Path, what: impl std::fmt::Display) -> WeightsError {
    WeightsError::Broken { path: path.to_owned(), what: what.to_string() }
}

/// Whether a directory has files such as `model-00001-of-00002.safetensors`.
fn has_shards(directory: &Path) -> bool {
    let is_shard = |name: &str| name.ends_with(".safetensors") && name.contains("-of-");
    let Ok(listed) = std::fs::read_dir(directory) else { return false };
    listed.filter_map(Result::ok).any(|file| file.file_name().to_str().is_some_and(is_shard))
}

impl Files {
    /// The size of all tensors.
    pub(super) fn weight_bytes(&self) -> u64 {
        self.tensors.values().map(|entry| entry.end - entry.start).sum()
    }

    /// The number of elements of all tensors.
    pub(super) fn numbers(&self) -> u64 {
        self.tensors.values().map(|entry| (entry.end - entry.start) / entry.kind.bytes()).sum()
    }

    pub(super) fn open(directory: &Path) -> Result<Self, WeightsError> {
        let index = directory.join(INDEX);
        let placed = match std::fs::read(&index) {
            Ok(bytes) => {
                let index_of: Index =
                    serde_json::from_slice(&bytes).map_err(|error| broken(&index, error))?;
                index_of.weight_map
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Self::unindexed(directory),
            Err(source) => return Err(WeightsError::File { path: index, source }),
        };
        let names: BTreeSet<&String> = placed.values().collect();
        let mut files = Self { files: Vec::new(), tensors: HashMap::new() };
        for name in names {
            // An index must not lead out of its directory.
            if Path::new(name).file_name() != Some(name.as_ref()) {
                return Err(broken(&index, format!("\"{name}\" isn't a file name")));
            }
            let path = directory.join(name);
            if !path.exists() {
                return Err(broken(
                    &index,
                    format!("it names the shard {name}, which isn't in the same directory"),
                ));
            }
            files.add(path)?;
        }
        files.check_places(&index, &placed)?;
        Ok(files)
    }

    /// Opens a model without an index, which is in one file.
    fn unindexed(directory: &Path) -> Result<Self, WeightsError> {
        let path = directory.join(ONE);
        if !path.exists() && has_shards(directory) {
            let what = "it is missing: it says which shard has which tensor; copy it beside the shards";
            return Err(broken(&directory.join(INDEX), what));
        }
        Self::one(path)
    }

    /// Checks that each tensor of the index is in the file that it names: shards of another model, or under each
    /// other's names, are not taken for this one's.
    fn check_places(&self, index: &Path, placed: &HashMap<String, String>) -> Result<(), WeightsError> {
        let is_there = |(tensor, name): &(&String, &String)| {
            let entry = self.tensors.get(*tensor);
            let file = entry.and_then(|entry| self.files.get(entry.file));
            file.is_some_and(|(path, _)| path.ends_with(name))
        };
        match placed.iter().filter(|placed| !is_there(placed)).min() {
            Some((tensor, name)) => Err(broken(
                index,
                format!("it has the tensor \"{tensor}\" in {name}, which does not have it"),
            )),
            None => Ok(()),
        }
    }

    /// Opens a single file.
    pub(crate) fn one(path: PathBuf) -> Result<Self, WeightsError> {
        let mut files = Self { files: Vec::new(), tensors: HashMap::new() };
        files.add(path)?;
        Ok(files)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The dtype of a tensor.
    pub(super) fn kind_of(&self, name: &str) -> Option<Kind> {
        self.tensors.get(name).map(|entry| entry.kind)
    }

    /// The shape of a tensor, and its size in bytes.
    pub(crate) fn shape_and_size(&self, name: &str) -> Option<(&[usize], u64)> {
        self.tensors.get(name).map(|entry| (entry.shape.as_slice(), entry.end - entry.start))
    }

    fn add(&mut self, path: PathBuf) -> Result<(), WeightsError> {
        let at_file = |source| WeightsError::File { path: path.clone(), source };
        let mut file = File::open(&path).map_err(at_file)?;
        let bytes = file.metadata().map_err(at_file)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(at_file)?;
        let length = u64::from_le_bytes(length);
        if length > SAFETENSORS_HEAD_BYTES_MAX || length.saturating_add(8) > bytes {
            return Err(broken(&path, format!("its header claims to have {length} bytes")));
        }
        let mut head = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact(&mut head).map_err(at_file)?;
        let entries: HashMap<String, Value> =
            serde_json::from_slice(&head).map_err(|error| broken(&path, error))?;
        for (name, tensor) in entries.into_iter().filter(|(name, _)| name != METADATA) {
            let wrong =
                |what: &dyn std::fmt::Display| broken(&path, format!("the tensor \"{name}\": {what}"));
            let tensor: TensorHeader = serde_json::from_value(tensor).map_err(|error| wrong(&error))?;
            let (start, end) = tensor.data_offsets;
            let count = tensor.shape.iter().try_fold(1u64, |count, size| count.checked_mul(*size as u64));
            if count.and_then(|count| count.checked_mul(tensor.dtype.bytes())) != end.checked_sub(start) {
                return Err(wrong(&"its offsets don't match its size"));
            }
            let first = 8 + length;
            if first.checked_add(end).is_none_or(|end| end > bytes) {
                return Err(wrong(&"the file ends before the tensor does"));
            }
            let (start, end) = (first + start, first + end);
            let TensorHeader { dtype: kind, shape, .. } = tensor;
            if let Some((other, _)) = self.tensors.get(&name).and_then(|other| self.files.get(other.file)) {
                return Err(wrong(&format!("it is also in {}", other.display())));
            }
            self.tensors.insert(name, TensorEntry { file: self.files.len(), kind, shape, start, end });
        }
        self.files.push((path, file));
        Ok(())
    }

    /// The open files, in order.
    pub(super) fn all(&self) -> Vec<(&Path, &File)> {
        self.files.iter().map(|(path, file)| (path.as_path(), file)).collect()
    }

    /// Adds the metadata to a digest.
    pub(super) fn add_to_digest(&self, digest: &mut Digest) {
        let mut names: Vec<_> = self.tensors.iter().collect();
        names.sort_unstable_by_key(|(name, _)| *name);
        for (name, TensorEntry { kind, shape, start, end, .. }) in names {
            digest.add(name.as_bytes());
            digest.add(format!("{kind:?} {shape:?} {}", end - start).as_bytes());
        }
    }

    fn entry(&self, name: &str) -> Result<&TensorEntry, WeightsError> {
        self.tensors.get(name).ok_or_else(|| WeightsError::NoTensor(name.to_owned()))
    }

    /// Reads a tensor, which must have this shape.
    pub(crate) fn read(&self, name: &str, wanted: &[usize]) -> Result<(Kind, Vec<u8>), WeightsError> {
        let entry = self.entry(name)?;
        if entry.shape != wanted {
            return Err(wrong_shape(name, &entry.shape, wanted));
        }
        self.bytes(entry, entry.start, entry.end)
    }

    fn bytes(&self, entry: &TensorEntry, start: u64, end: u64) -> Result<(Kind, Vec<u8>), WeightsError> {
        let (path, file) = self.files.get(entry.file).ok_or(KernelError::Step("a file that is not there"))?;
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or_default()];
        let read = file.read_exact_at(&mut bytes, start);
        read.map_err(|source| WeightsError::File { path: path.clone(), source })?;
        Ok((entry.kind, bytes))
    }

    /// Reads rows of a matrix: a whole tensor, or part of a stack.
    pub(super) fn piece(&self, piece: &Piece, columns: usize) -> Result<(Kind, Vec<u8>), WeightsError> {
        let Piece { name, first, rows } = piece;
        let entry = self.entry(name)?;
        let [count, each, width] = entry.shape.as_slice() else {
            return self.read(name, &[*rows, columns]);
        };
        if *width != columns || first + rows > count * each {
            return Err(wrong_shape(name, &entry.shape, &[*count, *each, columns]));
        }
        let row = columns as u64 * entry.kind.bytes();
        let start = entry.start + *first as u64 * row;
        self.bytes(entry, start, start + *rows as u64 * row)
    }

    /// Reads a matrix of one row.
    pub(super) fn row(&self, name: &str, length: usize) -> Result<Vec<f32>, WeightsError> {
        let (kind, bytes) = self.read(name, &[1, length])?;
        Ok(Matrix::of([(kind, bytes)]).row(0, length, &mut vec![0.0; length]).to_vec())
    }

    pub(super) fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, WeightsError> {
        let (kind, bytes) = self.read(name, &[length])?;
        Ok(Matrix::of([(kind, bytes)]).row(0, length, &mut vec![0.0; length]).to_vec())
    }

    pub(super) fn matrix(&self, pieces: &[Piece], columns: usize) -> Result<Matrix, WeightsError> {
        let read = pieces.iter().map(|piece| self.piece(piece, columns));
        Ok(Matrix::of(read.collect::<Result<Vec<_>, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read_or_absent_and_names_files_beside_it() {
        let refusal = |write: fn(&Path)| {
            let directory = tempfile::tempdir().unwrap();
            write(&directory.path().join(INDEX));
            Files::open(directory.path()).unwrap_err()
        };
        let unreadable = refusal(|index| std::fs::create_dir(index).unwrap());
        assert!(
            matches!(&unreadable, WeightsError::File { path, .. } if path.ends_with(INDEX)),
            "{unreadable}"
        );
        let outside = refusal(|index| std::fs::write(index, r#"{"weight_map":{"a":"../a"}}"#).unwrap());
        assert!(outside.to_string().contains("\"../a\" isn't a file name"), "{outside}");
        let absent = refusal(|_| ());
        assert!(matches!(&absent, WeightsError::File { path, .. } if path.ends_with(ONE)), "{absent}");
    }
}
