//! Images, videos, speech, transcription and reranking in OpenAI's API, with the units that they are billed
//! in; and what vendors with formats of their own have in common with it.

mod answer;
mod counts;
pub mod form;
pub mod images;
pub mod request;
mod stream;
pub mod transcription;
pub mod video;

pub use answer::buffered_ranking;
pub(crate) use stream::MediaStream;
pub use stream::{Media, buffered_image_answer};
