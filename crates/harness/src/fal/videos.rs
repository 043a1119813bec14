//! fal's video apps: each has its own fields for duration and aspect ratio, and not all have more.

use serde_json::{Map, Value, json};

use super::files;
use crate::openai::checks::{Shape, Shape::*};

/// The fields of a Kling video.
pub(super) const KLING: &[(&str, Shape)] = &[
    ("prompt", Text),
    ("aspect_ratio", OneOf(&["16:9", "9:16", "1:1"])),
    ("cfg_scale", Decimal(0.0, 1.0)),
    ("duration", OneOf(&["5", "10"])),
    ("negative_prompt", Text),
];
/// The fields of a Veo video.
#[rustfmt::skip]
pub(super) const VEO: &[(&str, Shape)] = &[
    ("prompt", Text), ("aspect_ratio", OneOf(&["16:9", "9:16"])), ("auto_fix", Flag),
    ("duration", OneOf(&["4s", "6s", "8s"])), ("enhance_prompt", Flag), ("generate_audio", Flag),
    ("negative_prompt", Text), ("resolution", OneOf(&["720p", "1080p"])), ("seed", Integer(0, i64::MAX)),
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
