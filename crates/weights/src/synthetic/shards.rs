//! Writes synthetic models in several files, as large published ones are.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::{Device, Tensor};
use serde_json::json;

use super::{Packing, SyntheticModel};
use crate::error::WeightsError;

impl SyntheticModel {
    /// Like `write_plain`, with the weights in shards and an index.
    pub fn write_plain_in(&self, directory: &Path, shards: usize) -> Result<(), WeightsError> {
        self.write_plain(directory, false)?;
        let at_file = |path: PathBuf| move |source| WeightsError::File { path, source };
        let whole = directory.join("model.safetensors");
        std::fs::remove_file(&whole).map_err(at_file(whole))?;
        let mut placed = BTreeMap::new();
        let tensors: Vec<_> = self.tensors.iter().collect();
        for (index, tensors) in tensors.chunks(tensors.len().div_ceil(shards.max(1))).enumerate() {
            let file = format!("model-{:05}-of-{shards:05}.safetensors", index + 1);
            let mut written = HashMap::new();
            for (name, (shape, numbers)) in tensors {
                placed.insert(name, file.clone());
                written.insert(name.as_str(), Tensor::from_slice(numbers, shape.as_slice(), &Device::Cpu)?);
            }
            candle_core::safetensors::save(&written, directory.join(file))?;
        }
        let index = directory.join("model.safetensors.index.json");
        let map = json!({"metadata": {}, "weight_map": placed});
        std::fs::write(&index, map.to_string()).map_err(at_file(index))
    }

    /// Like `write_packed`, in shards named `STEM-00001-of-00003.gguf`. Returns their paths.
    pub fn write_packed_in(
        &self,
        (directory, stem): (&Path, &str),
        kind: Packing,
        shards: u16,
    ) -> Result<Vec<PathBuf>, WeightsError> {
        let tensors = self.packed_tensors(kind, kind)?;
        let counts = [("split.tensors.count", Value::I32(i32::try_from(tensors.len()).unwrap_or(i32::MAX)))];
        let each = tensors.len().div_ceil(usize::from(shards.max(1)));
        let mut paths = Vec::new();
        for (index, tensors) in (0u16..).zip(tensors.chunks(each)) {
            let path = directory.join(format!("{stem}-{:05}-of-{shards:05}.gguf", index + 1));
            let at_file = |source| WeightsError::File { path: path.clone(), source };
            // The first shard has the metadata of the model, the others only say which ones they are.
            let mut values = if index == 0 { self.packed_values() } else { Vec::new() };
            let own = [("split.no", Value::U16(index)), ("split.count", Value::U16(shards))];
            values
                .extend(own.into_iter().chain(counts.clone()).map(|(name, value)| (name.to_owned(), value)));
            let values: Vec<(&str, &Value)> =
                values.iter().map(|(name, value)| (name.as_str(), value)).collect();
            let tensors: Vec<(&str, &QTensor)> =
                tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
            let mut file = std::io::BufWriter::new(std::fs::File::create(&path).map_err(at_file)?);
            gguf_file::write(&mut file, &values, &tensors)?;
            std::io::Write::flush(&mut file).map_err(at_file)?;
            paths.push(path);
        }
        Ok(paths)
    }
}
