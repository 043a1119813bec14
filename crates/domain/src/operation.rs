//! The kinds of request that a client can make.

use serde::{Deserialize, Serialize};

/// The operation that one request performs. Records store the variant's number: append new ones at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// A model's answer to a conversation, in any wire format.
    Chat,
    /// A model step of `/v1/run`.
    Run,
    /// The cheapest real call with a credential, account or node, to check that it works.
    Verify,
    /// The number of tokens of a request, without an answer.
    Count,
    /// Embeddings of texts.
    Embed,
    /// Moderation: whether texts violate a content policy.
    Moderate,
    /// Text completion: the continuation of a prompt that is not a conversation.
    Complete,
    /// An operation on a response that its provider stores: retrieve, resume the stream, cancel, delete.
    Stored,
    /// Images generated from a text.
    Images,
    /// Speech synthesis: a text read aloud.
    Speech,
    /// Documents ranked by their relevance to a query.
    Rerank,
    /// Transcription of a recording in its own language.
    Transcribe,
    /// Transcription of a recording in English translation.
    Translate,
    /// Images edited according to a text.
    ImageEdits,
    /// Variations of an image.
    ImageVariations,
    /// A response within a realtime session.
    Realtime,
    /// An operation on a file that its provider stores: upload, retrieve, delete.
    File,
    /// An operation on an asynchronous batch of requests.
    Batch,
    /// An operation on a generated video: create, retrieve, download, delete; and the record that bills its
    /// seconds once it is finished.
    Video,
}

impl Operation {
    /// Whether its answer is not a text whose tokens could be counted or that could be cut short.
    #[must_use]
    pub const fn is_media(self) -> bool {
        self.makes_pictures() || self.is_kept() || matches!(self, Self::Speech | Self::Rerank)
    }

    /// Whether its answer is images.
    #[must_use]
    pub const fn makes_pictures(self) -> bool {
        matches!(self, Self::Images | Self::ImageEdits | Self::ImageVariations)
    }

    /// Whether it transcribes a recording.
    #[must_use]
    pub const fn is_transcription(self) -> bool {
        matches!(self, Self::Transcribe | Self::Translate)
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Run => "run",
            Self::Verify => "verify",
            Self::Count => "count",
            Self::Embed => "embed",
            Self::Moderate => "moderate",
            Self::Complete => "complete",
            Self::Stored => "stored",
            Self::Images => "images",
            Self::Speech => "speech",
            Self::Rerank => "rerank",
            Self::Transcribe => "transcribe",
            Self::Translate => "translate",
            Self::ImageEdits => "image_edits",
            Self::ImageVariations => "image_variations",
            Self::Realtime => "realtime",
            Self::File => "file",
            Self::Batch => "batch",
            Self::Video => "video",
        }
    }

    /// Whether its request is a multipart form with files.
    #[must_use]
    pub const fn is_form(self) -> bool {
        self.is_transcription() || matches!(self, Self::ImageEdits | Self::ImageVariations)
    }

    /// Whether it is about an object that its provider stores and that has an id of ours.
    #[must_use]
    pub const fn is_kept(self) -> bool {
        matches!(self, Self::File | Self::Batch | Self::Video)
    }

    /// Whether only the upstream's `content-type` says which form the answer has.
    #[must_use]
    pub const fn needs_content_type(self) -> bool {
        self.is_form() || matches!(self, Self::Speech) || self.is_kept()
    }
}
