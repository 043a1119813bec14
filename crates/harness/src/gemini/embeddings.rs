//! `:embedContent` and `:batchEmbedContents`: vectors that depend only on the text.

use serde::{Deserialize, Serialize};

use super::content::Content;
use super::error::ApiError;
use crate::openai::embeddings::vector;
use crate::openai::tokens;

const DIMENSIONS: usize = 3072;
const REQUESTS_MAX: usize = 100;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EmbedRequest {
    model: Option<String>,
    content: Option<Content>,
    task_type: Option<String>,
    title: Option<String>,
    output_dimensionality: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct BatchRequest {
    requests: Vec<EmbedRequest>,
}

#[derive(Serialize)]
pub(crate) struct Embedding {
    values: Vec<f32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct One {
    embedding: Embedding,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_metadata: Option<Usage>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Batch {
    embeddings: Vec<Embedding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_metadata: Option<Usage>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Usage {
    prompt_token_count: u64,
}

impl EmbedRequest {
    /// Refuses what the real provider refuses; `model` is the one in the path.
    pub(crate) fn check(&self, model: &str) -> Result<(), ApiError> {
        self.check_at("EmbedContentRequest", model)
    }

    pub(crate) fn tokens(&self) -> u64 {
        tokens::count(&self.text())
    }

    pub(crate) fn answer(&self, include_usage: bool) -> One {
        let usage_metadata = include_usage.then(|| Usage { prompt_token_count: self.tokens() });
        One { embedding: self.embedding(), usage_metadata }
    }

    fn check_at(&self, path: &str, model: &str) -> Result<(), ApiError> {
        let bad = |field: &str, why: &str| Err(ApiError::invalid(format!("* {path}.{field}: {why}\n")));
        let named = self.model.as_deref().map(|name| name.strip_prefix("models/").unwrap_or(name));
        if named.is_some_and(|named| named != model) {
            return bad("model", "the model must be the one in the path");
        }
        if self.text().is_empty() {
            return bad("content", "content is not specified, or has no text");
        }
        if self.title.is_some() && self.task_type.as_deref() != Some("RETRIEVAL_DOCUMENT") {
            return bad("title", "only allowed with task_type RETRIEVAL_DOCUMENT");
        }
        let most = i64::try_from(DIMENSIONS).unwrap_or(i64::MAX);
        if self.output_dimensionality.is_some_and(|wanted| !(1..=most).contains(&wanted)) {
            return bad("output_dimensionality", "must be in the range [1, 3072]");
        }
        Ok(())
    }

    fn text(&self) -> String {
        self.content.as_ref().map(Content::text).unwrap_or_default()
    }

    fn embedding(&self) -> Embedding {
        let wanted = self.output_dimensionality.and_then(|wanted| usize::try_from(wanted).ok());
        Embedding { values: vector(&self.text(), wanted.unwrap_or(DIMENSIONS)) }
    }
}

impl BatchRequest {
    pub(crate) fn check(&self, model: &str) -> Result<(), ApiError> {
        if self.requests.is_empty() || self.requests.len() > REQUESTS_MAX {
            return Err(ApiError::invalid(
                "* BatchEmbedContentsRequest.requests: at least one request is needed, and at most 100 can be in one \
                 batch\n",
            ));
        }
        for (at, request) in self.requests.iter().enumerate() {
            let path = format!("BatchEmbedContentsRequest.requests[{at}]");
            if request.model.is_none() {
                return Err(ApiError::invalid(format!("* {path}.model: model is not specified\n")));
            }
            request.check_at(&path, model)?;
        }
        Ok(())
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.requests.iter().map(EmbedRequest::tokens).sum()
    }

    pub(crate) fn answer(&self, include_usage: bool) -> Batch {
        Batch {
            embeddings: self.requests.iter().map(EmbedRequest::embedding).collect(),
            usage_metadata: include_usage.then(|| Usage { prompt_token_count: self.tokens() }),
        }
    }
}
