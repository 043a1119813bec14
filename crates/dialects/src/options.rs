//! What requests say that their translated answers don't repeat.

/// What the request says about a video, since the upstream's response does not repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VideoAsk {
    /// A new video, as far as the client specified it.
    New { model: String, seconds: Option<u64>, size: Option<&'static str>, created_unix_s: u64 },
    /// A video named by our id, which encodes the request, and the billed micro-units from the response's
    /// header.
    Known { id: String, billed: Option<u64> },
}

/// The form in which the client wants the transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranscriptOptions {
    pub(crate) form: TranscriptForm,
    pub(crate) is_translation: bool,
    pub(crate) language: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TranscriptForm {
    Json,
    Text,
    Segments,
    Words,
}
