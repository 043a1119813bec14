//! What a client asks for.

use serde::{Deserialize, Serialize};

/// What one trip down the line does. Records number them: new ones come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// An answer of a model to a conversation, in whichever grammar.
    Chat,
    /// A model step of `/v1/run`.
    Run,
    /// The cheapest real call with a credential, account or node, to learn whether it works.
    Verify,
    /// The tokens of a request, counted and not answered.
    Count,
    /// Vectors of texts.
    Embed,
    /// Whether texts are such as should not be there.
    Moderate,
    /// The continuation of a text.
    Complete,
    /// Something about an answer that its provider keeps: read, watched, cancelled, deleted.
    Stored,
    /// Pictures of what a text says.
    Images,
    /// A text read aloud.
    Speech,
    /// Texts in the order of what they say to a question.
    Rerank,
    /// What was said in a recording, in its own language.
    Transcribe,
    /// What was said in a recording, in English.
    Translate,
    /// Pictures made of others, as a text says.
    ImageEdits,
    /// Pictures like another.
    ImageVariations,
    /// A response within a realtime session.
    Realtime,
    /// Something about a file that its provider keeps: uploaded, read, deleted.
    File,
    /// Something about a batch of requests, which its provider works through by and by.
    Batch,
    /// Something about a film: asked for, looked at, downloaded, deleted; and its seconds, once it is made.
    Video,
}

impl Operation {
    /// Whether its answer is no text that could be counted or cut.
    #[must_use]
    pub const fn is_media(self) -> bool {
        self.makes_pictures() || self.is_kept() || matches!(self, Self::Speech | Self::Rerank)
    }

    /// Whether its answer is pictures.
    #[must_use]
    pub const fn makes_pictures(self) -> bool {
        matches!(self, Self::Images | Self::ImageEdits | Self::ImageVariations)
    }

    /// Whether it listens to a recording.
    #[must_use]
    pub const fn listens(self) -> bool {
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

    /// Whether its request is a form with files in it.
    #[must_use]
    pub const fn is_form(self) -> bool {
        self.listens() || matches!(self, Self::ImageEdits | Self::ImageVariations)
    }

    /// Whether it is about something that its provider keeps under a name of ours.
    #[must_use]
    pub const fn is_kept(self) -> bool {
        matches!(self, Self::File | Self::Batch | Self::Video)
    }

    /// Whether its answer comes in a form that only the upstream's word for it tells.
    #[must_use]
    pub const fn is_told_by_type(self) -> bool {
        self.is_form() || matches!(self, Self::Speech) || self.is_kept()
    }
}
