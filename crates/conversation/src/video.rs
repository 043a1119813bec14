//! Video objects of OpenAI's `/videos` API: forwarded as they are, and read for state and length.

use domain::Fault;
use json::refusal::wrong_type;
use json::{Cursor, JsonError, Value};

use crate::limits::VIDEO_SECONDS_MAX;

/// The member that states the billed millionths of the provider's units, where the provider reports them
/// separately.
pub const BILLED: &str = "billed_micro_units";

/// What a video object reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VideoObject {
    pub state: VideoState,
    /// `None` where it is not reported.
    pub video_ms: Option<u64>,
    /// Millionths of the provider's billing units, where they are reported.
    pub billed: Option<u64>,
    pub created_unix_s: u64,
    pub completed_unix_s: Option<u64>,
}

/// The state of a video job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VideoState {
    /// In progress. Unknown statuses count as this.
    #[default]
    InProgress,
    Completed,
    Failed,
}

/// Reads a video object; `None` where the body is not an object.
pub fn read_video(body: &[u8]) -> Option<VideoObject> {
    let mut video = VideoObject::default();
    let mut cursor = Cursor::new(body).ok()?;
    let read = cursor.object(|cursor, member| {
        let span = cursor.skip()?;
        let value = Cursor::new(span.of(body))?.value()?;
        let number = || std::str::from_utf8(span.of(body)).ok()?.parse::<u64>().ok();
        match (&*member.key.decode(), value) {
            ("status", Value::String(word)) => video.state = state(&word.decode()),
            ("seconds", Value::String(text)) => video.video_ms = millis(&text.decode()),
            ("seconds", _) => video.video_ms = std::str::from_utf8(span.of(body)).ok().and_then(millis),
            ("created_at", _) => video.created_unix_s = number().unwrap_or(0),
            (BILLED, _) => video.billed = number(),
            ("completed_at", _) => video.completed_unix_s = number(),
            _ => {}
        }
        Ok::<(), JsonError>(())
    });
    read.ok().map(|_| video)
}

fn state(word: &str) -> VideoState {
    match word {
        "completed" => VideoState::Completed,
        "failed" | "cancelled" => VideoState::Failed,
        _ => VideoState::InProgress,
    }
}

/// The requested length of a video: a string, as OpenAI's SDK sends it, or a number. A string that is not a
/// length is for the upstream to refuse.
pub fn read_seconds(cursor: &mut Cursor<'_>, name: &str) -> Result<u64, Box<Fault>> {
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::Null => Ok(0),
        Value::String(text) => Ok(millis(&text.decode()).unwrap_or(0)),
        value => match value.as_count() {
            Some(count) => Ok(count.saturating_mul(1_000)),
            None => Err(wrong_type(name.to_owned(), "a number of seconds", kind)),
        },
    }
}

/// Milliseconds of a decimal number of seconds, to the nearest; `None` where it is zero or not a length.
pub fn millis(seconds: &str) -> Option<u64> {
    let seconds: f64 = seconds.trim().parse().ok()?;
    let is_some_length = seconds.is_finite() && (0.0..VIDEO_SECONDS_MAX).contains(&seconds);
    let digits = is_some_length.then(|| format!("{seconds:.3}").replace('.', ""))?;
    digits.parse().ok().filter(|ms| *ms > 0)
}
