//! The wire grammars: of a client's surface, and of what travels to and from a model.

use serde::{Deserialize, Serialize};

use crate::kept::KeptKind;

/// What names of batches in a customer's own storage begin with: their clients take no other form, of which the part that
/// says where is ours.
pub(crate) const STORED_BATCH: &str = "arn:aws:bedrock:tidegate:000000000000:model-invocation-job/";

/// The client's surface: it decides how requests are read and how answers and errors are written. Records number them:
/// new ones come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dialect {
    /// OpenAI chat completions, and what else of its API has no stream of its own kind.
    Chat,
    /// Our own `/v1/run`; its model steps travel as chat.
    Run,
    /// The native `/v2` surface and everything that has no dialect of its own: RFC 9457 problem documents.
    Native,
    /// OpenAI responses.
    Responses,
    /// Anthropic messages.
    Anthropic,
    /// Gemini generateContent.
    Gemini,
    /// Amazon Bedrock's Converse.
    Converse,
}

/// How a request to a model and its answer are written. An upstream speaks one or more, a client one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Grammar {
    Chat,
    Responses,
    Anthropic,
    Gemini,
    /// Amazon Bedrock's Converse.
    Converse,
    /// What clouds ask models that they host for vectors in, each in a form of its maker's. No client speaks it.
    Hosted,
}

impl Dialect {
    pub const ALL: [Self; 7] =
        [Self::Chat, Self::Run, Self::Native, Self::Responses, Self::Anthropic, Self::Gemini, Self::Converse];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Run => "run",
            Self::Native => "native",
            Self::Responses => "responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Converse => "converse",
        }
    }

    /// The service for which its clients sign what they send, where they do.
    #[must_use]
    pub const fn signed_for(self) -> Option<&'static str> {
        match self {
            Self::Converse => Some("bedrock"),
            _ => None,
        }
    }

    /// The grammar of its model steps.
    #[must_use]
    pub const fn grammar(self) -> Grammar {
        match self {
            Self::Chat | Self::Run | Self::Native => Grammar::Chat,
            Self::Responses => Grammar::Responses,
            Self::Anthropic => Grammar::Anthropic,
            Self::Gemini => Grammar::Gemini,
            Self::Converse => Grammar::Converse,
        }
    }

    /// The kind of batches that are made and looked at in it.
    #[must_use]
    pub const fn batches(self) -> KeptKind {
        match self {
            Self::Anthropic => KeptKind::MessageBatch,
            Self::Gemini => KeptKind::ContentBatch,
            Self::Converse => KeptKind::StoredBatch,
            Self::Chat | Self::Run | Self::Native | Self::Responses => KeptKind::Batch,
        }
    }
}

impl Grammar {
    /// Those in which conversations are had.
    pub const ALL: [Self; 5] = [Self::Chat, Self::Responses, Self::Anthropic, Self::Gemini, Self::Converse];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Converse => "converse",
            Self::Hosted => "hosted",
        }
    }

    /// The surface whose clients speak it.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Responses => Dialect::Responses,
            Self::Anthropic => Dialect::Anthropic,
            Self::Gemini => Dialect::Gemini,
            Self::Converse => Dialect::Converse,
            Self::Chat | Self::Hosted => Dialect::Chat,
        }
    }
}
