//! `GET /v1/models` and `GET /v1/models/{id}`.

use serde_json::{Value, json};

use super::error::ApiError;
use super::flavour::Served;
use crate::emulator::Model;

/// A fixed creation time keeps the list the same from run to run.
const CREATED: u64 = 1_715_367_049;

pub(crate) fn all(served: Served<'_>) -> Value {
    json!({"object": "list", "data": served.all().map(row).collect::<Vec<_>>()})
}

pub(crate) fn one(served: Served<'_>, id: &str) -> Result<Value, ApiError> {
    served.find(id).map(row).map_err(|error| error.param("model"))
}

fn row(model: &Model) -> Value {
    json!({"id": model.id, "object": "model", "created": CREATED, "owned_by": "system"})
}
