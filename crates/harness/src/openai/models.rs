//! `GET /v1/models` and `GET /v1/models/{id}`.

use serde_json::{Value, json};

use super::error::ApiError;
use super::flavour::{Flavour, Served};
use crate::emulator::Model;
use crate::members::put;
use crate::together;

/// A fixed creation time keeps the list the same from run to run.
const CREATED: u64 = 1_715_367_049;

pub(crate) fn all(served: Served<'_>) -> Value {
    if served.flavour == Flavour::Together {
        return together::list(served.all(), CREATED);
    }
    json!({"object": "list", "data": served.all().map(|model| row(model, served.flavour)).collect::<Vec<_>>()})
}

pub(crate) fn one(served: Served<'_>, id: &str) -> Result<Value, ApiError> {
    served.find(id).map(|model| row(model, served.flavour)).map_err(|error| error.param("model"))
}

fn row(model: &Model, flavour: Flavour) -> Value {
    let mut row = json!({"id": model.id, "object": "model", "created": CREATED, "owned_by": "system"});
    if flavour == Flavour::Mistral {
        put(&mut row, "type", "base");
        put(&mut row, "capabilities", json!({"completion_chat": true, "function_calling": true}));
    }
    row
}
