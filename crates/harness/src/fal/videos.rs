//! fal's video apps: each has its own fields for duration and aspect ratio, and not all have more.

use serde_json::{Map, Value, json};

use super::files;
use crate::openai::checks::Shape;

/// The fields of a Kling video.
pub(super) const KLING: &[(&str, Shape)] = &[
    ("prompt", Shape::Text),
    ("aspect_ratio", Shape::OneOf(&["16:9", "9:16", "1:1"])),
    ("cfg_scale", Shape::Decimal(0.0, 1.0)),
    ("duration", Shape::OneOf(&["5", "10"])),
    ("negative_prompt", Shape::Text),
];
/// The fields of a Veo video.
pub(super) const VEO: &[(&str, Shape)] = &[
    ("prompt", Shape::Text),
    ("aspect_ratio", Shape::OneOf(&["16:9", "9:16"])),
    ("auto_fix", Shape::Flag),
    ("duration", Shape::OneOf(&["4s", "6s", "8s"])),
    ("enhance_prompt", Shape::Flag),
    ("generate_audio", Shape::Flag),
    ("negative_prompt", Shape::Text),
    ("resolution", Shape::OneOf(&["720p", "1080p"])),
    ("seed", Shape::Integer(0, i64::MAX)),
];

/// The requested video.
#[derive(Debug, Clone)]
pub(super) struct VideoOutput {
    pub(super) seconds: u32,
}

impl VideoOutput {
    pub(super) fn of(fields: &Map<String, Value>, usual: u32) -> Self {
        let duration = fields.get("duration").and_then(Value::as_str);
        let seconds = duration.and_then(|duration| duration.trim_end_matches('s').parse().ok());
        Self { seconds: seconds.unwrap_or(usual) }
    }

    pub(super) fn answer(&self, prompt: &str, base: &str) -> Value {
        let url = files::url(base, prompt, &format!("{}.mp4", self.seconds));
        let size = files::SECOND_BYTES * self.seconds as usize;
        json!({"video": {"url": url, "content_type": "video/mp4", "file_name": "output.mp4", "file_size": size}})
    }
}
