//! The wire formats: `Dialect` for a client's API surface, `Grammar` for requests and responses between the
//! gateway and a model.

use serde::{Deserialize, Serialize};

use crate::stored_object::{StoredKind, StoredObjectType};

/// Every type of object that providers store. Names are in the database and in the hashes that ids are made
/// of, and prefixes are in ids that clients have: neither ever changes.
pub(crate) static STORED_OBJECTS: [&StoredObjectType; 8] = [
    &FILES,
    &BATCHES,
    &VIDEOS,
    &MESSAGE_FILES,
    &MESSAGE_BATCHES,
    &INVOCATION_JOBS,
    &CONTENT_BATCHES,
    &CACHED_CONTENTS,
];

pub(crate) static FILES: StoredObjectType = StoredObjectType {
    dialect: Dialect::Chat,
    kind: StoredKind::File,
    name: "file",
    prefix: "file-tg_",
    has_short_ids: false,
};
pub(crate) static BATCHES: StoredObjectType = StoredObjectType {
    dialect: Dialect::Chat,
    kind: StoredKind::Batch,
    name: "batch",
    prefix: "batch_tg_",
    has_short_ids: false,
};
pub(crate) static VIDEOS: StoredObjectType = StoredObjectType {
    dialect: Dialect::Chat,
    kind: StoredKind::Video,
    name: "video",
    prefix: "video_tg_",
    has_short_ids: false,
};
static MESSAGE_FILES: StoredObjectType = StoredObjectType {
    dialect: Dialect::Anthropic,
    kind: StoredKind::File,
    name: "message_file",
    prefix: "file_tg_",
    has_short_ids: false,
};
static MESSAGE_BATCHES: StoredObjectType = StoredObjectType {
    dialect: Dialect::Anthropic,
    kind: StoredKind::Batch,
    name: "message_batch",
    prefix: "msgbatch_tg_",
    has_short_ids: false,
};
static INVOCATION_JOBS: StoredObjectType = StoredObjectType {
    dialect: Dialect::Converse,
    kind: StoredKind::Batch,
    name: "stored_batch",
    // AWS SDKs accept only ARNs, so the account and resource parts are made up.
    prefix: "arn:aws:bedrock:tidegate:000000000000:model-invocation-job/",
    has_short_ids: true,
};
static CONTENT_BATCHES: StoredObjectType = StoredObjectType {
    dialect: Dialect::Gemini,
    kind: StoredKind::Batch,
    name: "content_batch",
    prefix: "genbatch_tg_",
    has_short_ids: false,
};

pub(crate) static CACHED_CONTENTS: StoredObjectType = StoredObjectType {
    dialect: Dialect::Gemini,
    kind: StoredKind::CachedContent,
    name: "cached_content",
    // Ids are resource names, since requests name caches by those.
    prefix: "cachedContents/cache_tg_",
    has_short_ids: false,
};

crate::words! {
    /// The API surface that a client speaks. It decides how requests are parsed and how responses and errors are
    /// written. Records store the variant's number: append new ones at the end.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum Dialect {
        /// OpenAI chat completions, and everything in OpenAI's API without another streaming format.
        Chat = "chat",
        /// Our own `/v1/run`; its model steps use the chat format.
        Run = "run",
        /// The native `/v2` surface and everything without another dialect: RFC 9457 problem documents. The model steps
        /// of `/v2/responses` use the format of Responses.
        Native = "native",
        /// OpenAI Responses.
        Responses = "responses",
        /// Anthropic Messages.
        Anthropic = "anthropic",
        /// Gemini `generateContent`.
        Gemini = "gemini",
        /// Amazon Bedrock Converse.
        Converse = "converse",
        /// Amazon Bedrock's `InvokeModel` with messages as its body. Errors, and the frames of streams, are those of Bedrock.
        Invoke = "invoke",
    }
}

crate::words! {
    /// The wire format of a model request and its response. An upstream speaks one or more, a client exactly one.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum Grammar {
        Chat = "chat",
        Responses = "responses",
        Anthropic = "anthropic",
        Gemini = "gemini",
        /// Amazon Bedrock Converse.
        Converse = "converse",
    }
}

impl Dialect {
    /// The AWS service name that clients of this dialect sign their requests for (SigV4), if they sign.
    pub const fn signed_for(self) -> Option<&'static str> {
        match self {
            Self::Converse | Self::Invoke => Some("bedrock"),
            _ => None,
        }
    }

    /// The wire format of its model steps.
    pub const fn grammar(self) -> Grammar {
        match self {
            Self::Chat | Self::Run => Grammar::Chat,
            Self::Responses | Self::Native => Grammar::Responses,
            Self::Anthropic | Self::Invoke => Grammar::Anthropic,
            Self::Gemini => Grammar::Gemini,
            Self::Converse => Grammar::Converse,
        }
    }
}

impl Grammar {
    /// The client surface that uses this format.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Responses => Dialect::Responses,
            Self::Anthropic => Dialect::Anthropic,
            Self::Gemini => Dialect::Gemini,
            Self::Converse => Dialect::Converse,
            Self::Chat => Dialect::Chat,
        }
    }
}
