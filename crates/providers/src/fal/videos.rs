//! Video generation with fal's apps: each request is queued, polled, and its file fetched from where the
//! answer says.

use bytes::Bytes;
use conversation::request::{Stored, StoredAct};
use domain::{Fault, FaultClass, Hosting};
use http::Method;
use http::header::CONTENT_TYPE;
use operations::video::{RequestedVideo, VideoRequest, request_document};
use serde::Deserialize;

use super::address::{HOST, app_path};
use super::queued_video::{self, LITERALS, QueuedVideo, VideoAnswer, VideoParams};
use crate::compatible::{self, EncodedBody};
use crate::{FollowUp, IntermediateAnswer, ModelRequest, Outgoing, Target, fal::files};

const QUEUE: &str = "://queue.fal.run";
const NO_QUEUE_FIX: &str = "Give the credential config.queue_url, such as https://queue.fal.run.";

/// App parameters that are passed on unchanged: none affects the number of videos or where they are stored.
const OWN_WORDS: &[&str] = &[
    "aspect_ratio",
    "auto_fix",
    "cfg_scale",
    "enhance_prompt",
    "generate_audio",
    "negative_prompt",
    "prompt_optimizer",
    "resolution",
    "seed",
];
/// Apps by name prefix, each with the peculiarities of its parameters; the last entry applies to all others.
const APPS: &[(&str, VideoParams)] = &[
    (
        "fal-ai/veo",
        VideoParams { seconds_unit: "s", has_ratio: true, has_resolution: true, passthrough: OWN_WORDS },
    ),
    (
        "fal-ai/kling-video/",
        VideoParams { seconds_unit: "", has_ratio: true, has_resolution: false, passthrough: OWN_WORDS },
    ),
    (
        "fal-ai/minimax/",
        VideoParams { seconds_unit: "", has_ratio: false, has_resolution: false, passthrough: OWN_WORDS },
    ),
    ("", VideoParams { seconds_unit: "", has_ratio: true, has_resolution: true, passthrough: OWN_WORDS }),
];

pub(super) fn generate(target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
    let queue = queue_of(target.base_url, target.hosting).ok_or_else(no_queue)?;
    if let Some(video) = ask.request.stored.as_deref() {
        compatible::require_plain_video(video)?;
        let url =
            QueuedVideo::read(video.upstream_id()).and_then(|video| url_at_queue(&queue, &video.status));
        let mut outgoing = EncodedBody::empty(None).to(url.ok_or_else(compatible::video_not_found)?, ask);
        outgoing.headers.retain(|(name, _)| *name != CONTENT_TYPE);
        let answer = VideoAnswer(RequestedVideo::Known { id: video.upstream_id().to_owned() });
        return Ok(Outgoing { method: Method::GET, ..outgoing }.answered_by(answer));
    }
    let path = app_path(target.upstream_model)?;
    let params = APPS.iter().find(|(start, _)| target.upstream_model.starts_with(start));
    let (_, params) = params.ok_or_else(|| compatible::unsupported_operation(ask.operation))?;
    let document = request_document(ask.request.form(), ask.body, &LITERALS)?;
    let request = VideoRequest::read(ask.grammar, &document, ask.is_lenient)?;
    let answer = VideoAnswer(request.requested(target.upstream_model));
    let translated = queued_video::write(request, params)?;
    let outgoing = EncodedBody::own(translated).into_document(compatible::join(&queue, &path), ask);
    Ok(outgoing.answered_by(answer))
}

/// The queue's base URL: the configured one, or fal's own beside `fal.run`.
fn queue_of(base_url: &str, hosting: &Hosting) -> Option<String> {
    let own = hosting.queue_url.clone();
    own.or_else(|| base_url.contains(HOST).then(|| base_url.replacen(HOST, QUEUE, 1)))
}

fn no_queue() -> Box<Fault> {
    let message = "Videos are made through a queue, and none is known beside the credential's base URL.";
    Box::new(Fault::new(FaultClass::Unsupported, "unsupported_operation", message).fix(NO_QUEUE_FIX))
}

/// The URL of a path that the queue reported; `None` if it is not below the queue's own address.
fn url_at_queue(queue: &str, path: &str) -> Option<String> {
    let queue = queue.trim_end_matches('/');
    let host = queue.find("://")? + 3;
    let origin = queue.get(host..)?.find('/').map_or(queue.len(), |end| host + end);
    let (origin, base) = queue.split_at_checked(origin)?;
    let is_below = path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
    is_below.then(|| format!("{origin}{path}"))
}

/// A queue status, or a result.
#[derive(Deserialize)]
struct QueueAnswer {
    status: Option<String>,
    error: Option<serde_json::Value>,
    error_type: Option<String>,
    video: Option<files::File>,
    videos: Option<Vec<files::File>>,
}

/// The next step: from the status to the result, and from there to the file. Deleting an unfinished video
/// cancels it first.
pub(super) fn lead(leading: &IntermediateAnswer<'_>, video: &Stored) -> Result<FollowUp, &'static str> {
    let queued =
        QueuedVideo::read(video.upstream_id()).ok_or("the video has no identifier of a queued one")?;
    let queue = queue_of(leading.base_url, leading.hosting).ok_or("its queue is not known any more")?;
    let to = |method: Method, path: &str| {
        let url = url_at_queue(&queue, path).ok_or("its queue names no place of its own to look at")?;
        Ok(FollowUp::Request { method, url })
    };
    let Some(answer) = read(leading.body) else { return Ok(FollowUp::Final) };
    let is_failed = answer.error.is_some() || answer.error_type.is_some();
    let made = answer.video.as_ref().or_else(|| answer.videos.as_ref()?.first());
    match (answer.status.as_deref(), made) {
        (_, Some(file)) if video.act == StoredAct::Content => files::fetch(leading.base_url, file),
        (_, Some(_)) => Ok(FollowUp::Final),
        (Some("COMPLETED"), None) if !is_failed => to(Method::GET, &queued.fetch),
        (Some("IN_QUEUE" | "IN_PROGRESS"), None) if video.act == StoredAct::Delete && leading.step == 0 => {
            to(Method::PUT, &queued.cancel)
        }
        (Some("CANCELLATION_REQUESTED" | "ALREADY_COMPLETED"), None) => to(Method::GET, &queued.status),
        _ => Ok(FollowUp::Final),
    }
}

fn read(body: &Bytes) -> Option<QueueAnswer> {
    serde_json::from_slice(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_the_accounts_own_or_beside_the_apps() {
        let own = Hosting { queue_url: Some("https://queue.example".to_owned()), ..Hosting::default() };
        let queue = |base: &str, hosting: &Hosting| queue_of(base, hosting);
        assert_eq!(
            queue("https://fal.run", &domain::hosting::PLAIN).as_deref(),
            Some("https://queue.fal.run")
        );
        assert_eq!(queue("https://fal.run", &own).as_deref(), Some("https://queue.example"));
        assert_eq!(queue("https://proxy.example", &domain::hosting::PLAIN), None);
    }

    #[test]
    fn a_place_is_at_the_queues_own_address() {
        let at = |queue: &str, path: &str| url_at_queue(queue, path);
        assert_eq!(at("https://q.example", "/a/b").as_deref(), Some("https://q.example/a/b"));
        assert_eq!(at("http://q.example:1/base/", "/base/a").as_deref(), Some("http://q.example:1/base/a"));
        assert_eq!(at("http://q.example:1/base", "/other/a"), None);
        assert_eq!(at("http://q.example:1/base", "/basement/a"), None);
    }
}
