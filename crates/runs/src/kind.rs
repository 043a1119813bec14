//! The kinds of apps: what an input asks for and what comes out, by what its model does.

use domain::{Modality, Operation};
use serde_json::Value;

/// What an app does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Embedding,
    Image,
    Speech,
    Transcription,
    Rerank,
    Moderation,
    Video,
}

/// Fields that only inputs of one kind have, for a model of which nothing is known.
const TELLING_FIELDS: &[(&str, Kind)] = &[
    ("query", Kind::Rerank),
    ("audio", Kind::Transcription),
    ("voice", Kind::Speech),
    ("texts", Kind::Embedding),
    ("size", Kind::Image),
    ("seconds", Kind::Video),
];

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Text,
        Self::Embedding,
        Self::Image,
        Self::Speech,
        Self::Transcription,
        Self::Rerank,
        Self::Moderation,
        Self::Video,
    ];

    /// The word for it in lists, which the clients of this API know as a category.
    pub const fn category(self) -> &'static str {
        match self {
            Self::Text => "chat",
            Self::Image => "image",
            Self::Speech | Self::Transcription => "audio",
            Self::Video => "video",
            Self::Embedding | Self::Rerank | Self::Moderation => "text",
        }
    }

    /// What it does, as the rest of a sentence about a model.
    pub const fn does(self) -> &'static str {
        match self {
            Self::Text => "answers a prompt, with documents and pictures where the model takes them",
            Self::Embedding => "makes vectors of texts",
            Self::Image => "makes pictures of a text, or edits pictures",
            Self::Speech => "reads a text aloud",
            Self::Transcription => "writes down what is said in a recording",
            Self::Rerank => "puts texts in the order of a question",
            Self::Moderation => "tells whether texts violate a content policy",
            Self::Video => "makes a video of a text",
        }
    }

    /// What models of a modality do; several where the modality does not tell.
    const fn of_modality(modality: Modality) -> &'static [Self] {
        match modality {
            Modality::Chat => &[Self::Text],
            Modality::Embedding => &[Self::Embedding],
            Modality::Image => &[Self::Image],
            Modality::Audio => &[Self::Speech, Self::Transcription],
            Modality::Video => &[Self::Video],
            Modality::Rerank => &[Self::Rerank],
            Modality::Moderation => &[Self::Moderation],
            // A session in both directions, which no single input begins.
            Modality::Realtime => &[],
        }
    }

    /// What a model may do, by what is known of it or is `usual` at its provider. Nobody knows what a model does that
    /// only its node names.
    pub const fn of_model(
        modality: Option<Modality>,
        usual: Option<Modality>,
        operation: Option<Operation>,
    ) -> &'static [Self] {
        match (modality, usual) {
            (Some(modality), _) => Self::of(modality, operation),
            // Sellers of pictures have apps for videos and sound, too, and none for a conversation.
            (None, Some(Modality::Image)) => &[Self::Image, Self::Video, Self::Speech, Self::Transcription],
            (None, _) => &[
                Self::Text,
                Self::Embedding,
                Self::Video,
                Self::Image,
                Self::Speech,
                Self::Transcription,
                Self::Rerank,
            ],
        }
    }

    /// What models of a modality do; one of them, where it is known which.
    pub const fn of(modality: Modality, operation: Option<Operation>) -> &'static [Self] {
        match operation {
            Some(Operation::Speech) => &[Self::Speech],
            Some(Operation::Transcribe) => &[Self::Transcription],
            _ => Self::of_modality(modality),
        }
    }

    /// The one of these that an input is of: the one that it has a field of, else the first.
    pub fn of_input(kinds: &[Self], input: &Value) -> Option<Self> {
        let has_its_field =
            |kind: &&Self| TELLING_FIELDS.iter().any(|(field, of)| of == *kind && input.get(field).is_some());
        kinds.iter().find(has_its_field).or(kinds.first()).copied()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_input_tells_what_an_unknown_model_is_to_do() {
        let (unknown, audio) = ((None, None), (Some(Modality::Audio), None));
        let of_pictures = (None, Some(Modality::Image));
        for ((modality, usual), input, kind) in [
            (unknown, json!({"prompt": "a"}), Kind::Text),
            (unknown, json!({"text": "a"}), Kind::Text),
            (unknown, json!({"text": "a", "voice": "b"}), Kind::Speech),
            (unknown, json!({"texts": ["a"]}), Kind::Embedding),
            (unknown, json!({"query": "a", "documents": ["b"]}), Kind::Rerank),
            (unknown, json!({"audio": "https://h/a.mp3"}), Kind::Transcription),
            (unknown, json!({"prompt": "a", "size": "1024x1024"}), Kind::Image),
            (unknown, json!({"prompt": "a", "size": "1280x720", "seconds": 8}), Kind::Video),
            (unknown, json!(null), Kind::Text),
            (of_pictures, json!({"prompt": "a"}), Kind::Image),
            (of_pictures, json!({"prompt": "a", "seconds": 8}), Kind::Video),
            (of_pictures, json!({"audio": "https://h/a.mp3"}), Kind::Transcription),
            (audio, json!({"text": "a"}), Kind::Speech),
            (audio, json!({"audio": "a"}), Kind::Transcription),
        ] {
            assert_eq!(Kind::of_input(Kind::of_model(modality, usual, None), &input), Some(kind), "{input}");
        }
        assert_eq!(Kind::of_input(Kind::of_modality(Modality::Realtime), &json!({})), None);
    }
}
