//! Images, videos, speech, transcription and reranking in OpenAI's API, with the units that they are billed
//! in.

mod answer;
mod counts;
mod stream;

pub use answer::{buffered_object, buffered_ranking};
pub(crate) use stream::MediaStream;
pub use stream::{
    EVENTS, JSON, Media, buffered_image_answer, error_event, is_document, is_media_type, is_refusal,
};
