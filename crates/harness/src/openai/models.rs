//! `GET /v1/models` and `GET /v1/models/{id}`.

use serde_json::{Value, json};

use super::error::ApiError;
use crate::emulator::Model;

/// A fixed creation time keeps the list the same from run to run.
const CREATED: u64 = 1_715_367_049;

pub(crate) fn all(models: &[Model]) -> Value {
    json!({"object": "list", "data": models.iter().map(row).collect::<Vec<_>>()})
}

pub(crate) fn one(models: &[Model], id: &str) -> Result<Value, ApiError> {
    models
        .iter()
        .find(|model| model.id == id)
        .map(row)
        .ok_or_else(|| ApiError::model_not_found(id).param("model"))
}

fn row(model: &Model) -> Value {
    json!({"id": model.id, "object": "model", "created": CREATED, "owned_by": "system"})
}
