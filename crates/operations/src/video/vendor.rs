//! Videos of vendors with a format of their own: the video object of OpenAI's API that reports a video's state,
//! and the relay of its content.

use bytes::Bytes;
use conversation::answer::{StreamFacts, StreamFault};
use conversation::video::BILLED;
use dialects::media::{JSON, is_document, is_media_type};
use dialects::{EventBuffer, VendorStream};
use domain::limits::ANSWER_BYTES_MAX;
use domain::{Fault, FaultClass, TraceId, UpstreamReport};
use serde_json::json;

/// The states of a video, in OpenAI's words.
pub const QUEUED: &str = "queued";
pub const IN_PROGRESS: &str = "in_progress";
pub const COMPLETED: &str = "completed";
pub const FAILED: &str = "failed";

/// What the request says about a video, since the upstream's response does not repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedVideo {
    /// A new video, as far as the client specified it.
    New { model: String, seconds: Option<u64>, size: Option<&'static str> },
    /// A video named by our id, which encodes the request.
    Known { id: String },
}

/// A video's state, to be written as a video object of OpenAI's `/v1/videos`.
pub struct VideoReply<'a> {
    pub id: String,
    pub created_unix_s: u64,
    pub model: &'a str,
    pub status: &'static str,
    pub seconds: Option<&'a str>,
    pub size: Option<&'a str>,
    pub billed: Option<u64>,
    /// The error's code and message, if the video failed.
    pub error: Option<(&'static str, &'a str)>,
}

impl VideoReply<'_> {
    pub fn document(&self) -> Bytes {
        let error = self.error.map(|(code, message)| json!({"code": code, "message": message}));
        let mut object = json!({
            "id": self.id,
            "object": "video",
            "created_at": self.created_unix_s,
            // The upstream does not report when it completed.
            "completed_at": null,
            "expires_at": null,
            "status": self.status,
            "model": self.model,
            "progress": if self.status == COMPLETED { 100 } else { 0 },
            "prompt": null,
            "seconds": self.seconds,
            "size": self.size,
            "remixed_from_video_id": null,
            "error": error,
        });
        if let (Some(object), Some(billed)) = (object.as_object_mut(), self.billed) {
            object.insert(BILLED.to_owned(), billed.into());
        }
        Bytes::from(object.to_string())
    }
}

/// The message of a failed video, limited in length and without what looks like a key.
pub fn failure_message(message: Option<&str>) -> String {
    let message =
        message.and_then(|message| conversation::upstream_error::read_error(message.as_bytes()).message);
    message.unwrap_or_else(|| "Its maker does not say why.".to_owned())
}

/// The fault of a request for content that there is not, or not yet.
pub fn no_content(message: &str) -> StreamFault {
    let report = UpstreamReport { message: Some(message.to_owned()), ..UpstreamReport::default() };
    StreamFault::Upstream(report, FaultClass::BadRequest)
}

pub fn not_ready() -> StreamFault {
    no_content("The video is not ready yet, its status is 'in_progress'.")
}

/// The body in which a video's content arrives.
#[derive(Debug, Clone, Copy)]
pub enum VideoContent {
    /// A document that contains it: reads its pieces.
    InDocument(fn(&[u8]) -> Result<Vec<Bytes>, StreamFault>),
    /// Raw bytes. A JSON document in their place says why there is no video: reads it.
    Raw(fn(&[u8]) -> StreamFault),
}

/// Relays the content of a video.
#[derive(Debug)]
pub struct VideoContentStream {
    content: VideoContent,
    /// The body is a document, which is held and read at the end.
    is_held: bool,
    held: EventBuffer,
    facts: StreamFacts,
}

impl VideoContentStream {
    pub fn new(content: VideoContent) -> Self {
        let is_held = matches!(content, VideoContent::InDocument(_));
        Self { content, is_held, held: EventBuffer::default(), facts: StreamFacts::default() }
    }
}

impl VendorStream for VideoContentStream {
    fn opened(&mut self, media_type: &[u8]) -> Result<(), StreamFault> {
        let is_json = is_media_type(media_type, JSON);
        match self.content {
            VideoContent::InDocument(_) if !is_json => Err(StreamFault::Broken("not_an_answer")),
            VideoContent::Raw(_) if !is_json && is_document(media_type) => {
                Err(StreamFault::Broken("not_a_film"))
            }
            _ => {
                self.is_held = is_json;
                Ok(())
            }
        }
    }

    fn media_type(&self) -> Option<&'static str> {
        matches!(self.content, VideoContent::InDocument(_)).then_some("video/mp4")
    }

    fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        if self.is_held {
            return self.held.hold(&chunk, ANSWER_BYTES_MAX);
        }
        if !chunk.is_empty() {
            self.facts.content_started = true;
            self.facts.events += 1;
            out.push(chunk);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        if self.is_held {
            let body = self.held.take();
            match self.content {
                VideoContent::InDocument(read) => out.extend(read(&body)?),
                VideoContent::Raw(refusal) => return Err(refusal(&body)),
            }
            self.facts.events += 1;
            self.facts.content_started = true;
        }
        (self.facts.done, self.facts.finished) = (true, true);
        Ok(())
    }

    fn facts(&self) -> &StreamFacts {
        &self.facts
    }

    /// Raw bytes can't carry an error, so the connection is closed instead.
    fn error_event(&self, _fault: &Fault, _trace: TraceId) -> Bytes {
        Bytes::new()
    }

    fn ping(&self) -> &'static [u8] {
        b""
    }
}
