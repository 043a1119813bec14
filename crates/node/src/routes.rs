//! What a node serves: the paths, and the methods that each takes.

use domain::{Dialect, Operation};
use http::Method;

/// The grammars that are spoken here.
pub(crate) const DIALECTS: [Dialect; 3] = [Dialect::Chat, Dialect::Responses, Dialect::Anthropic];

/// What a path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does<'p> {
    /// A model answers.
    Generate(Dialect, Operation),
    /// The tokens of a prompt are counted.
    Count(Dialect),
    /// Vectors are made of texts.
    Embed,
    /// Documents are put in the order of a question.
    Rank,
    Models,
    Model(&'p str),
    Health,
    Capabilities,
    Metrics,
    Usage,
    /// The path is known and takes this method instead.
    Other(&'static str),
    Nothing,
}

impl Does<'_> {
    /// The grammar that what is wrong there is told in.
    pub(crate) const fn dialect(self) -> Dialect {
        match self {
            Self::Generate(dialect, _) | Self::Count(dialect) => dialect,
            _ => Dialect::Chat,
        }
    }
}

pub(crate) fn find<'p>(method: &Method, path: &'p str) -> Does<'p> {
    let asks = match path {
        "/v1/chat/completions" => Some(Does::Generate(Dialect::Chat, Operation::Chat)),
        "/v1/completions" => Some(Does::Generate(Dialect::Chat, Operation::Complete)),
        "/v1/responses" => Some(Does::Generate(Dialect::Responses, Operation::Chat)),
        "/v1/messages" => Some(Does::Generate(Dialect::Anthropic, Operation::Chat)),
        "/v1/embeddings" => Some(Does::Embed),
        "/v1/rerank" => Some(Does::Rank),
        "/v1/responses/input_tokens" => Some(Does::Count(Dialect::Responses)),
        "/v1/messages/count_tokens" => Some(Does::Count(Dialect::Anthropic)),
        _ => None,
    };
    if let Some(asks) = asks {
        return if *method == Method::POST { asks } else { Does::Other("POST") };
    }
    let found = match path {
        "/v1/models" => Does::Models,
        "/v1/health" => Does::Health,
        "/v1/capabilities" => Does::Capabilities,
        "/metrics" => Does::Metrics,
        "/v1/usage" => Does::Usage,
        _ => match path.strip_prefix("/v1/models/").filter(|id| !id.is_empty()) {
            Some(id) => Does::Model(id),
            None => return Does::Nothing,
        },
    };
    let reads = *method == Method::GET || *method == Method::HEAD;
    if reads { found } else { Does::Other("GET, HEAD") }
}
