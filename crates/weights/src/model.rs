//! Loads a model's weights into the decoder.

use std::sync::OnceLock;

use kernels::{KernelError, Model, made};

use crate::error::WeightsError;
use crate::source::Source;

/// # Errors
/// A tensor is missing or has another shape than the architecture requires.
pub fn load_model(source: &Source) -> Result<Model, WeightsError> {
    let shape = source.shape().clone();
    let embedding = OnceLock::new();
    // The embedding is the largest tensor, so its loading starts first.
    let layers = made(shape.layers + 1, |index| match index.checked_sub(1) {
        Some(index) => source.layer(&shape, index).map(Some),
        None => source.embedding(&shape).map(|table| embedding.set(table).err().and(None)),
    });
    let layers = layers.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
    let embedding = embedding.into_inner().ok_or(KernelError::Step("a table that was not read"))?;
    let head = source.head(&shape, &embedding)?;
    let norm = source.last_norm(&shape)?;
    Ok(Model::new(shape, embedding, layers, norm, head))
}
