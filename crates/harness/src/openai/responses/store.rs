//! The store of responses: to be retrieved, continued, cancelled and deleted.

use std::collections::BTreeMap;

use serde_json::Value;

use super::answer::Response;
use crate::openai::error::ApiError;
use crate::openai::flavour::Flavour;

/// Number of responses stored; the oldest are dropped first.
const KEPT_MAX: usize = 2_000;

/// The stage of a background response; each poll advances it by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Queued,
    InProgress,
    Done,
    Cancelled,
}

/// The owner whose responses are visible: a key sees only those of its own project.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) flavour: Flavour,
    pub(crate) key: &'a str,
}

/// A stored response with its request's input.
#[derive(Debug, Clone)]
pub(crate) struct StoredEntry {
    pub(crate) flavour: Flavour,
    pub(crate) key: String,
    pub(crate) response: Response,
    pub(crate) stage: Stage,
    /// Whether it was created as a stream, and if so with obfuscation padding; it can then be replayed.
    pub(crate) streamed: Option<bool>,
    /// The input items of this call, each with an id.
    pub(crate) input: Vec<Value>,
    pub(crate) previous: Option<String>,
}

impl StoredEntry {
    fn is_of(&self, owner: Owner<'_>) -> bool {
        self.flavour == owner.flavour && self.key == owner.key
    }
}

/// All stored responses by id; ids increase with time.
#[derive(Debug, Default)]
pub(crate) struct Store {
    kept: BTreeMap<String, StoredEntry>,
}

impl Store {
    pub(crate) fn keep(&mut self, kept: StoredEntry) {
        self.kept.insert(kept.response.id.clone(), kept);
        while self.kept.len() > KEPT_MAX {
            self.kept.pop_first();
        }
    }

    pub(crate) fn find(&self, owner: Owner<'_>, id: &str) -> Result<&StoredEntry, ApiError> {
        self.kept.get(id).filter(|kept| kept.is_of(owner)).ok_or_else(|| not_found(id))
    }

    /// Polls a response, which advances it; the second value says whether this poll completed it.
    pub(crate) fn poll(&mut self, owner: Owner<'_>, id: &str) -> Result<(&StoredEntry, bool), ApiError> {
        let kept = self.kept.get_mut(id).filter(|kept| kept.is_of(owner)).ok_or_else(|| not_found(id))?;
        let before = kept.stage;
        kept.stage = match before {
            Stage::Queued => Stage::InProgress,
            Stage::InProgress => Stage::Done,
            end => end,
        };
        let completed = before == Stage::InProgress;
        Ok((kept, completed))
    }

    /// Cancels a background response that is still running.
    pub(crate) fn cancel(&mut self, owner: Owner<'_>, id: &str) -> Result<&StoredEntry, ApiError> {
        let kept = self.kept.get_mut(id).filter(|kept| kept.is_of(owner)).ok_or_else(|| not_found(id))?;
        if !kept.response.background {
            return Err(ApiError::bad("Cannot cancel a synchronous response."));
        }
        match kept.stage {
            Stage::Queued | Stage::InProgress => kept.stage = Stage::Cancelled,
            Stage::Cancelled => {}
            Stage::Done => return Err(ApiError::bad("Cannot cancel a completed response.")),
        }
        Ok(kept)
    }

    pub(crate) fn delete(&mut self, owner: Owner<'_>, id: &str) -> Result<(), ApiError> {
        self.find(owner, id)?;
        self.kept.remove(id);
        Ok(())
    }

    /// All items up to and including a response, oldest first.
    pub(crate) fn conversation(&self, owner: Owner<'_>, id: &str) -> Result<Vec<Value>, ApiError> {
        let mut turns = Vec::new();
        let mut next = Some(id);
        while let Some(id) = next {
            let kept = self.find(owner, id).map_err(|_| no_previous(id))?;
            if !matches!(kept.stage, Stage::Done) {
                return Err(ApiError::bad(format!("Previous response with id '{id}' is not completed."))
                    .param("previous_response_id"));
            }
            turns.push(kept);
            next = kept.previous.as_deref();
        }
        let spoken = |kept: &&StoredEntry| [kept.input.clone(), kept.response.output()].concat();
        Ok(turns.iter().rev().flat_map(spoken).collect())
    }

    /// An input or output item of any stored response.
    pub(crate) fn item(&self, owner: Owner<'_>, id: &str) -> Option<Value> {
        let named = |item: &Value| item.get("id").and_then(Value::as_str) == Some(id);
        let owned = |kept: &StoredEntry| {
            let output = kept.response.output().into_iter().find(named);
            output.or_else(|| kept.input.iter().find(|item| named(item)).cloned())
        };
        self.kept.values().rev().filter(|kept| kept.is_of(owner)).find_map(owned)
    }
}

fn not_found(id: &str) -> ApiError {
    ApiError::new(404, "invalid_request_error", format!("Response with id '{id}' not found."))
}

fn no_previous(id: &str) -> ApiError {
    ApiError::bad(format!("Previous response with id '{id}' not found."))
        .at("previous_response_id", "previous_response_not_found")
}
