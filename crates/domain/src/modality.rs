//! The kinds of work that models do.

/// What kind of work a model does; a route's `modality` names one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Modality {
    Chat,
    Embedding,
    Image,
    Audio,
    Video,
    Rerank,
    Moderation,
    Realtime,
}

impl Modality {
    pub const ALL: [Self; 8] = [
        Self::Chat,
        Self::Embedding,
        Self::Image,
        Self::Audio,
        Self::Video,
        Self::Rerank,
        Self::Moderation,
        Self::Realtime,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embedding => "embedding",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Rerank => "rerank",
            Self::Moderation => "moderation",
            Self::Realtime => "realtime",
        }
    }

    /// The fault code for a request for this modality that names a model of another.
    #[must_use]
    pub const fn mismatch_code(self) -> &'static str {
        match self {
            Self::Realtime => "realtime_not_supported_for_model",
            _ => "model_modality",
        }
    }

    /// The modality that a word names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            // People say `text` for what `chat` serves.
            "text" => Some(Self::Chat),
            "embeddings" => Some(Self::Embedding),
            _ => Self::ALL.into_iter().find(|modality| modality.as_str() == word),
        }
    }
}
