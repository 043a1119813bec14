//! Requests without a conversation, in OpenAI's format and in those of fal, Vertex AI and Bedrock: images,
//! video, speech, transcription and reranking, with the units that they are billed in.

mod answer;
mod counts;
mod filmed_form;
mod hosted;
mod invoked;
mod listened;
mod operated;
mod predicted;
mod queued;
mod read_aloud;
mod sides;
mod stream;
mod words;

pub(crate) use answer::whole_answer;
pub use hosted::speak_pictures;
pub(crate) use hosted::whole_answer as hosted_answer;
pub use invoked::{InvokedPictures, InvokedRanking, speak_invoked_pictures, speak_invoked_ranking};
pub(crate) use listened::heard_answer;
pub use listened::{HeardAsk, ListenWords, speak_hosted_listening};
pub(crate) use operated::whole_answer as operated_answer;
pub use operated::{FilmAsk, operated_film, operation_of, speak_predicted_film};
pub use predicted::speak_predicted_pictures;
pub use queued::{FilmWords, QueuedFilm, speak_queued_film};
pub use read_aloud::{SpeechWords, speak_hosted_speech};
pub use sides::by_sides;
pub(crate) use stream::{MediaStream, whole_pictures};
