//! What the semantic response cache did for an exchange, and what an exchange of our own was made for.

use domain::semantic::{SemanticOutcome, SemanticSearch};
use domain::{SideCall, SideCallPurpose};
use schemars::JsonSchema;
use serde::Serialize;

/// The search for an answer to a request of the same meaning.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SemanticSearch")]
pub struct SemanticSearchView {
    /// `guarded`: a text that is alike enough differs in a number, a negation or a literal. `not_allowed`: who made its
    /// answer may not be asked any more. `renewed`: the answer was to be made anew.
    #[schemars(extend("enum" = SemanticOutcome::WORDS))]
    outcome: &'static str,
    /// Of the text that is most alike, in basis points; `null` where there was none to compare with.
    similarity_bps: Option<u16>,
    /// The request by which the text was embedded.
    embedding_request_id: String,
}

/// The request for which Tidegate made this one.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MadeFor")]
pub struct SideCallView {
    #[schemars(extend("enum" = SideCallPurpose::WORDS))]
    purpose: &'static str,
    request_id: String,
}

pub fn search(search: SemanticSearch) -> SemanticSearchView {
    SemanticSearchView {
        outcome: search.outcome.as_str(),
        similarity_bps: search.similarity_bps,
        embedding_request_id: search.embedding.to_string(),
    }
}

pub fn side_call(call: SideCall) -> SideCallView {
    SideCallView { purpose: call.purpose.as_str(), request_id: call.parent.to_string() }
}
