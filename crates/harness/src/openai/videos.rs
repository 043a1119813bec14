//! `/v1/videos`: asynchronous video jobs that advance with each poll. A video is its prompt, repeated.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value, json};

use super::checks::{Shape, Shape::*};
use super::error::ApiError;
use super::files::page;
use super::flavour::Flavour;
use super::forms;
use super::media::{check, model};
use super::request::text;
use super::routes::OpenAiCall;
use crate::emulator::answering::{head, played, special_as};
use crate::emulator::service::{Answer, content_type, json_answer, unix_seconds};
use crate::emulator::state::lock;
use crate::emulator::{Kind, Part, PartRole};

const FIELDS: &[(&str, Shape)] = &[
    ("prompt", Text),
    ("model", Text),
    ("seconds", OneOf(&["4", "8", "12"])),
    ("size", OneOf(&["720x1280", "1280x720", "1024x1792", "1792x1024"])),
    ("input_reference", Object),
];
const REMIX: &[(&str, Shape)] = &[("prompt", Text)];
/// A video of this prompt fails.
const FORBIDDEN: &str = "what nobody may see";
/// Size of one second of video.
const SECOND_BYTES: usize = 64 * 1024;
const LISTED: usize = 20;
const LISTED_MAX: usize = 100;
const REFERENCES: &[&str] = &["image/png", "image/jpeg", "image/webp", "video/mp4"];

/// All stored videos, by id.
pub(crate) type Videos = BTreeMap<String, Video>;

/// One video job.
#[derive(Debug, Clone)]
pub(crate) struct Video {
    flavour: Flavour,
    key: String,
    id: String,
    model: String,
    prompt: String,
    seconds: String,
    size: String,
    remixed_from: Option<String>,
    created_at: u64,
    polls: u32,
}

/// An operation on a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Read,
    Content,
    Delete,
    Remix,
}

pub(crate) fn act(method: &Method, rest: &str) -> Option<Act> {
    match (method.as_str(), rest) {
        ("GET", "") => Some(Act::Read),
        ("DELETE", "") => Some(Act::Delete),
        ("GET", "content") => Some(Act::Content),
        ("POST", "remix") => Some(Act::Remix),
        _ => None,
    }
}

pub(crate) async fn create(call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
    let fields = fields(call)?;
    let model = model(call, &fields, Kind::Video)?;
    check(call, &fields, &[FIELDS], &["prompt"])?;
    let video = Video {
        flavour: call.flavour,
        key: call.key.to_owned(),
        id: format!("video_{:024}", call.number()),
        model: model.id.clone(),
        prompt: text(&fields, "prompt").unwrap_or_default(),
        seconds: text(&fields, "seconds").unwrap_or_else(|| "4".to_owned()),
        size: text(&fields, "size").unwrap_or_else(|| "720x1280".to_owned()),
        remixed_from: None,
        created_at: unix_seconds(),
        polls: 0,
    };
    start(call, video).await
}

async fn start(call: &OpenAiCall<'_>, video: Video) -> Result<Answer, ApiError> {
    let behaviour = call.begin(&video.model, false, None).await?;
    if let Some(answer) = special_as(call.flavour, call.guard, &behaviour)? {
        return Ok(answer);
    }
    let view = video.view();
    lock(&call.shared.videos).insert(video.id.clone(), video);
    Ok(json_answer(200, Vec::new(), &view))
}

/// The fields of a form, which can carry an image, or of a JSON document.
fn fields(call: &OpenAiCall<'_>) -> Result<Map<String, Value>, ApiError> {
    if !content_type(&call.head.headers).starts_with("multipart/form-data") {
        return call.fields();
    }
    let known: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
    let mut fields = Map::new();
    for part in forms::read(call, &known)? {
        let value = match part.name.as_str() {
            "input_reference" => {
                let media = part.media.as_deref().filter(|_| part.filename.is_some()).unwrap_or("text/plain");
                if !REFERENCES.contains(&media) || part.value.is_empty() {
                    let message =
                        format!("Invalid file 'input_reference': unsupported mimetype ('{media}').");
                    return Err(ApiError::bad(message).at("input_reference", "invalid_value"));
                }
                json!({"crc32": crc32fast::hash(&part.value)})
            }
            _ => String::from_utf8_lossy(&part.value).into_owned().into(),
        };
        // A video with an input image is distinguished by the image's checksum.
        if let Some(sum) = value.get("crc32") {
            let prompt = text(&fields, "prompt").unwrap_or_default();
            fields.insert("prompt".to_owned(), format!("{prompt} [{sum}]").into());
        } else {
            fields.insert(part.name, value);
        }
    }
    Ok(fields)
}

pub(crate) fn all(call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
    let query = call.head.uri.query().unwrap_or_default();
    let param = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let videos = lock(&call.shared.videos);
    let mut data: Vec<Value> = videos.values().filter(|video| video.is_of(call)).map(Video::view).collect();
    if param("order") != Some("asc") {
        data.reverse();
    }
    let limit = param("limit").map_or(Some(LISTED), |limit| limit.parse().ok());
    let limit = limit.filter(|limit| (1..=LISTED_MAX).contains(limit));
    let limit = limit.ok_or_else(|| ApiError::bad("Invalid limit.").param("limit"))?;
    Ok(json_answer(200, Vec::new(), &page(data, param("after"), limit)))
}

pub(crate) async fn look(call: &OpenAiCall<'_>, id: &str, act: Act) -> Result<Answer, ApiError> {
    let found = {
        let mut videos = lock(&call.shared.videos);
        let found = videos.get_mut(id).filter(|video| video.is_of(call));
        let found = found.ok_or_else(|| {
            ApiError::new(404, "invalid_request_error", format!("Video with id '{id}' not found."))
        })?;
        match act {
            Act::Read => found.polls += 1,
            Act::Delete => {
                found.needs_ending()?;
                return Ok(delete(&mut videos, id));
            }
            Act::Content | Act::Remix => {}
        }
        found.clone()
    };
    match act {
        Act::Content => found.content(call).await,
        Act::Remix => {
            let fields = call.fields()?;
            check(call, &fields, &[REMIX], &["prompt"])?;
            found.needs_end()?;
            let remix = Video {
                id: format!("video_{:024}", call.number()),
                prompt: text(&fields, "prompt").unwrap_or_default(),
                remixed_from: Some(found.id.clone()),
                polls: 0,
                ..found
            };
            start(call, remix).await
        }
        Act::Read | Act::Delete => Ok(json_answer(200, Vec::new(), &found.view())),
    }
}

fn delete(videos: &mut Videos, id: &str) -> Answer {
    videos.remove(id);
    json_answer(200, Vec::new(), &json!({"id": id, "object": "video.deleted", "deleted": true}))
}

impl Video {
    fn is_of(&self, call: &OpenAiCall<'_>) -> bool {
        self.flavour == call.flavour && self.key == call.key
    }

    fn status(&self) -> &'static str {
        match self.polls {
            0 => "queued",
            1 => "in_progress",
            _ if self.prompt == FORBIDDEN => "failed",
            _ => "completed",
        }
    }

    /// Only a finished video can be deleted.
    fn needs_ending(&self) -> Result<(), ApiError> {
        match self.status() {
            "completed" | "failed" => Ok(()),
            status => Err(ApiError::bad(format!("Video can't be deleted, its status is '{status}'."))),
        }
    }

    fn needs_end(&self) -> Result<(), ApiError> {
        match self.status() {
            "completed" => Ok(()),
            status => Err(ApiError::bad(format!("Video is not ready yet, its status is '{status}'."))),
        }
    }

    fn view(&self) -> Value {
        let status = self.status();
        let is_made = status == "completed";
        let error = (status == "failed")
            .then(|| json!({"code": "moderation_blocked", "message": "The request was blocked."}));
        json!({
            "id": self.id,
            "object": "video",
            "created_at": self.created_at,
            "completed_at": is_made.then_some(self.created_at + 1),
            "expires_at": is_made.then_some(self.created_at + 86_400),
            "status": status,
            "model": self.model,
            "progress": match status { "completed" => 100, "in_progress" => 50, _ => 0 },
            "prompt": self.prompt,
            "seconds": self.seconds,
            "size": self.size,
            "remixed_from_video_id": self.remixed_from,
            "error": error,
        })
    }

    async fn content(&self, call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
        self.needs_end()?;
        let query = call.head.uri.query().unwrap_or_default();
        let (media, seconds) = match query.strip_prefix("variant=").unwrap_or("video") {
            "video" if query.is_empty() || query == "variant=video" => ("video/mp4", &*self.seconds),
            "thumbnail" => ("image/webp", "1"),
            "spritesheet" => ("image/jpeg", "1"),
            other => {
                return Err(ApiError::wrong_value("variant", other, &["video", "thumbnail", "spritesheet"]));
            }
        };
        let behaviour = call.begin(&self.model, true, None).await?;
        if let Some(answer) = special_as(call.flavour, call.guard, &behaviour)? {
            return Ok(answer);
        }
        let bytes: Vec<u8> = self.prompt.bytes().cycle().take(SECOND_BYTES).collect();
        let one = Part { bytes: Bytes::from(bytes), tokens: 0, role: PartRole::Content };
        let parts = vec![one; seconds.parse().unwrap_or(1)];
        played(parts, head(media, &behaviour), &behaviour)
    }
}
