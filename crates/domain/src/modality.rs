//! The kinds of work that models do.

crate::words! {
    /// What kind of work a model does; a route's `modality` names one of these.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Modality {
        Chat = "chat",
        Embedding = "embedding",
        Image = "image",
        Audio = "audio",
        Video = "video",
        Rerank = "rerank",
        Moderation = "moderation",
        Realtime = "realtime",
    }
}

impl Modality {
    /// The fault code for a request for this modality that names a model of another.
    pub const fn mismatch_code(self) -> &'static str {
        match self {
            Self::Realtime => "realtime_not_supported_for_model",
            _ => "model_modality",
        }
    }

    /// The modality that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            // People say `text` for what `chat` serves.
            "text" => Some(Self::Chat),
            "embeddings" => Some(Self::Embedding),
            _ => Self::ALL.into_iter().find(|modality| modality.as_str() == word),
        }
    }
}
