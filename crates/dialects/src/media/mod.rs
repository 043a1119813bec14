//! Requests without a conversation, in OpenAI's format and in those of fal, Vertex AI and Bedrock: images,
//! video, speech, transcription and reranking, with the units that they are billed in.

mod answer;
mod counts;
mod fal_images;
mod fal_speech;
mod fal_transcription;
mod fal_video;
mod imagen;
mod invoke_model;
mod sides;
mod stream;
mod veo;
mod video_form;
mod words;

pub(crate) use answer::buffered_answer;
pub(crate) use fal_images::buffered_answer as image_answer;
pub use fal_images::write_fal_images;
pub use fal_speech::{FalSpeechParams, write_fal_speech};
pub(crate) use fal_transcription::transcript_answer;
pub use fal_transcription::{FalTranscriptionParams, write_fal_transcription};
pub use fal_video::{FalVideoParams, QueuedVideo, write_fal_video};
pub use imagen::write_imagen;
pub use invoke_model::{
    InvokeModelImages, InvokeModelRerank, write_invoke_model_images, write_invoke_model_rerank,
};
pub use sides::with_width_and_height;
pub(crate) use stream::{MediaStream, whole_pictures};
pub(crate) use veo::buffered_answer as video_answer;
pub use veo::{operation_of, video_object, write_veo};
