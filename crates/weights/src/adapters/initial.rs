//! An existing adapter as the start of a training run: its LoRA matrices in single precision, and the
//! hyperparameters they were trained with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kernels::{Architecture, Matrix, are_numbers};

use super::config::refusal;
use super::limits::Limits;
use super::read::{CONFIG, Found, find};
use crate::error::WeightsError;

/// The prefix of tensor names in PEFT's files.
const BEFORE: &str = "base_model.model.";

#[derive(Debug)]
pub struct InitialAdapter {
    pub rank: usize,
    pub alpha: f64,
    pub is_rank_stable: bool,
    /// The target modules, the same in every layer, by the last part of their names.
    pub targets: Vec<String>,
    /// By the tensor names that training uses, in single precision, in the row order of the base model.
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl InitialAdapter {
    /// Reads a directory in PEFT's format.
    ///
    /// # Errors
    /// It is not an adapter for such a model, or not one that can be trained further; the file and the field
    /// or the tensor are named.
    pub fn open(directory: &Path, shape: &Architecture, limits: &Limits) -> Result<Self, WeightsError> {
        let Found { config, changed, path, files, .. } = find(directory, shape, limits)?;
        let (rank, alpha, is_rank_stable) = config.alike()?;
        let mut of_layers = vec![BTreeSet::new(); shape.layers];
        let mut started = Self { rank, alpha, is_rank_stable, targets: Vec::new(), tensors: BTreeMap::new() };
        for (module, part) in &changed {
            let end = module.name.rsplit('.').next().unwrap_or_default();
            if let Some(ends) = of_layers.get_mut(module.layer) {
                ends.insert(end.to_owned());
            }
            let [first, second] = module.tensors(*part);
            for (is_second, (name, wanted)) in [(false, first), (true, second)] {
                let (kind, bytes) = files.read(&name, &wanted)?;
                if !are_numbers(kind, &bytes) {
                    return Err(refusal(&path, &name, "has a value that isn't a number"));
                }
                let numbers = Matrix::of([(kind, bytes)]).singles().into_owned();
                let [rows, width] = wanted;
                let numbers = if is_second {
                    (0..rows)
                        .map(|row| module.row(row, shape.head_dim) * width)
                        .flat_map(|at| numbers.get(at..at + width).unwrap_or_default())
                        .copied()
                        .collect()
                } else {
                    numbers
                };
                started
                    .tensors
                    .insert(name.trim_start_matches(BEFORE).to_owned(), (wanted.to_vec(), numbers));
            }
        }
        let Some((first, others)) = of_layers.split_first() else { return Ok(started) };
        if others.iter().any(|other| other != first) {
            let what = "selects different matrices in different layers, but training continues only with the same ones in each";
            return Err(refusal(&directory.join(CONFIG), "target_modules", what));
        }
        started.targets = first.iter().cloned().collect();
        Ok(started)
    }

    /// The LoRA matrix of this name, if it has this shape.
    pub fn numbers(&self, name: &str, wanted: &[usize]) -> Option<&[f32]> {
        let found = self.tensors.get(name).filter(|(shape, _)| shape == wanted);
        found.map(|(_, numbers)| numbers.as_slice())
    }
}
