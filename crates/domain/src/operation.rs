//! The kinds of request that a client can make: the registry of operations.

use serde::{Deserialize, Serialize};

use crate::modality::Modality;

/// Passes every operation to a macro, one line each: the variant, its name in records and lists, the modality of the models
/// that serve it, and its folder in the crate `operations`: `mod` where the folder's first operation is, `in` for those
/// that share it. Records store a line's position: add new ones at the end.
#[macro_export]
macro_rules! for_each_operation {
    ($then:ident) => {
        $then! {
            /// A model's answer to a conversation, in any wire format.
            Chat, "chat", Chat, mod chat;
            /// A model step of `/v1/run`.
            Run, "run", Chat, in chat;
            /// The cheapest real call with a credential, account or node, to check that it works.
            Verify, "verify", Chat, in chat;
            /// The number of tokens of a request, without an answer.
            Count, "count", Chat, mod count;
            /// Embeddings of texts.
            Embed, "embed", Embedding, mod embed;
            /// Moderation: whether texts violate a content policy.
            Moderate, "moderate", Moderation, mod moderate;
            /// Text completion: the continuation of a prompt that is not a conversation.
            Complete, "complete", Chat, mod complete;
            /// An operation on a response that its provider stores: retrieve, resume the stream, cancel, delete.
            Stored, "stored", Chat, mod stored_response;
            /// Images generated from a text.
            Images, "images", Image, mod images;
            /// Speech synthesis: a text read aloud.
            Speech, "speech", Audio, mod speech;
            /// Documents ranked by their relevance to a query.
            Rerank, "rerank", Rerank, mod rerank;
            /// Transcription of a recording in its own language.
            Transcribe, "transcribe", Audio, mod transcription;
            /// Transcription of a recording in English translation.
            Translate, "translate", Audio, in transcription;
            /// Images edited according to a text.
            ImageEdits, "image_edits", Image, in images;
            /// Variations of an image.
            ImageVariations, "image_variations", Image, in images;
            /// A response within a realtime session.
            Realtime, "realtime", Realtime, mod realtime;
            /// An operation on a file that its provider stores: upload, retrieve, delete.
            File, "file", Chat, mod file;
            /// An operation on an asynchronous batch of requests.
            Batch, "batch", Chat, mod batch;
            /// An operation on a generated video: create, retrieve, download, delete; and the record that bills its
            /// seconds once it is finished.
            Video, "video", Video, mod video;
            /// An operation on a prompt that its provider caches by name: create, retrieve, extend, delete.
            CachedContent, "cached_content", Chat, mod cached_content;
            /// A text translated to Morse code: an example for CONTRIBUTING, in no release.
            Morse, "morse", Audio, mod morse, if feature = "morse";
        }
    };
}

macro_rules! operations {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $modality:ident, $place:tt $folder:ident
        $(, if $condition:meta)?;)*) => {
        /// The operation that one request performs. No other crate can match all of them, so that none has to know of a new one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Operation {
            $($(#[$doc])* $(#[cfg($condition)])? $variant,)*
        }

        impl Operation {
            pub const ALL: &'static [Self] = &[$($(#[cfg($condition)])? Self::$variant,)*];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $($(#[cfg($condition)])? Self::$variant => $name,)*
                }
            }

            /// What it is about, in a sentence.
            pub fn noun(self) -> std::borrow::Cow<'static, str> {
                match self.as_str() {
                    name if name.contains('_') => name.replace('_', " ").into(),
                    name => name.into(),
                }
            }

            /// The modality of the models that serve it.
            pub const fn modality(self) -> Modality {
                match self {
                    $($(#[cfg($condition)])? Self::$variant => Modality::$modality,)*
                }
            }
        }
    };
}

for_each_operation!(operations);
