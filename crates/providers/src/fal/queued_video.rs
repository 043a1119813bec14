//! Videos made through fal's queue. A request is written with the parameters that fal's apps have in common,
//! and the queue's state becomes a video object of OpenAI's `/v1/videos`. The queue does not repeat the
//! request, so our id of the video encodes the queue's paths together with the requested values.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFault};
use conversation::target::TranslatedRequest;
use conversation::video::millis;
use dialects::{AnswerPath, BufferedAnswer, VendorAnswer, VendorStream};
use domain::Fault;
use json::members::Members;
use json::written::{json_object, json_string};
use operations::video::{
    COMPLETED, FAILED, IN_PROGRESS, QUEUED, RequestedVideo, VideoContent, VideoContentStream, VideoReply,
    VideoRequest, failure_message, no_content, not_ready,
};
use serde_json::Value as Json;

use crate::limits::QUEUE_PATH_BYTES_MAX;

/// The first word in our ids of such videos, before they are encoded.
const MARK: &str = "queued";
/// Separates the values in our id. No path of a queue contains it.
const SEPARATOR: char = '?';
/// The apps' parameters that are no texts.
pub(super) const LITERALS: [&str; 6] =
    ["seed", "generate_audio", "enhance_prompt", "prompt_optimizer", "auto_fix", "cfg_scale"];

/// The parameters of an app.
#[derive(Debug, Clone, Copy)]
pub(super) struct VideoParams {
    /// The unit that follows the number of seconds.
    pub seconds_unit: &'static str,
    pub has_ratio: bool,
    /// Whether it has a parameter for the resolution.
    pub has_resolution: bool,
    /// Further parameters, which pass through unchanged: none of them changes how many videos are generated.
    pub passthrough: &'static [&'static str],
}

/// Translates a video request for a fal app.
///
/// # Errors
/// The request needs something that the app lacks and that may not be dropped.
pub(super) fn write(
    mut request: VideoRequest<'_>,
    params: &VideoParams,
) -> Result<TranslatedRequest, Box<Fault>> {
    let mut fields = vec![("prompt", json_string(&request.prompt))];
    let length = request.seconds.map(|seconds| format!("{seconds}{}", params.seconds_unit));
    fields.extend(length.map(|length| ("duration", json_string(&length))));
    if let Some(size) = request.size(|size| params.has_ratio && (params.has_resolution || size.is_low()))? {
        fields.push(("aspect_ratio", json_string(size.ratio)));
        fields.extend(params.has_resolution.then(|| ("resolution", json_string(size.resolution))));
    }
    fields.extend(request.reference.map(|url| ("image_url", json_string(&url))));
    request.extra.pass_through(params.passthrough, &mut fields)?;
    Ok(TranslatedRequest { body: Bytes::from(json_object(&fields)), dropped: request.extra.finish()? })
}

/// The content of our id of such a video: its status, result and cancel paths in the queue, and the requested
/// values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueuedVideo {
    pub status: String,
    pub fetch: String,
    pub cancel: String,
    created_unix_s: u64,
    /// Empty if the client did not specify it, as is `size`.
    seconds: String,
    size: String,
    model: String,
}

impl QueuedVideo {
    /// Decodes our id. Returns `None` if it is not the id of such a video.
    pub(super) fn read(id: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(id).ok()?).ok()?;
        let mut parts = text.splitn(8, SEPARATOR);
        let mut next = || parts.next().map(str::to_owned);
        let mark = next()?;
        let video = Self {
            status: next()?,
            fetch: next()?,
            cancel: next()?,
            created_unix_s: next()?.parse().ok()?,
            seconds: next()?,
            size: next()?,
            model: next()?,
        };
        let are_paths =
            [&video.status, &video.fetch, &video.cancel].into_iter().all(|path| is_queue_path(path));
        (mark == MARK && are_paths).then_some(video)
    }

    fn id(&self) -> String {
        let Self { status: look, fetch, cancel, created_unix_s, seconds, size, model } = self;
        let created = created_unix_s.to_string();
        URL_SAFE_NO_PAD
            .encode([MARK, look, fetch, cancel, &created, seconds, size, model].join(&SEPARATOR.to_string()))
    }

    /// From the queue's response to a new request.
    fn from_queue(
        (model, seconds, size): (&str, Option<u64>, Option<&str>),
        created_unix_s: u64,
        answer: &Members<'_>,
    ) -> Option<Self> {
        let path = |name: &str| {
            let url = answer.find_text(name)?;
            let (_, behind) = url.split_once("://")?;
            let path = behind.get(behind.find('/')?..)?;
            is_queue_path(path).then(|| path.to_owned())
        };
        Some(Self {
            status: path("status_url")?,
            fetch: path("response_url")?,
            cancel: path("cancel_url")?,
            created_unix_s,
            seconds: seconds.map(|seconds| seconds.to_string()).unwrap_or_default(),
            size: size.unwrap_or_default().to_owned(),
            model: model.to_owned(),
        })
    }
}

/// Whether this is a plain absolute path, without empty or dot segments.
fn is_queue_path(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~%".contains(&byte);
    let parts = || path.split('/').skip(1);
    let leads = |part: &str| part.is_empty() || part.bytes().all(|byte| byte == b'.');
    path.len() <= QUEUE_PATH_BYTES_MAX
        && path.starts_with('/')
        && path.bytes().all(is_plain)
        && !parts().any(leads)
}

/// The state of a video, or its content.
#[derive(Debug)]
pub(super) struct VideoAnswer(pub RequestedVideo);

impl VendorAnswer for VideoAnswer {
    fn buffered(&self, answer_path: &AnswerPath, body: &Bytes) -> Result<BufferedAnswer, StreamFault> {
        let object = video_object(&self.0, answer_path, body)?;
        Ok(BufferedAnswer::plain(object, AnswerFacts::default()))
    }

    fn stream(&self, _answer_path: &AnswerPath) -> Option<Box<dyn VendorStream>> {
        Some(Box::new(VideoContentStream::new(VideoContent::Raw(why_no_content))))
    }
}

/// Writes the video object for the client, from the state of the queue or the result of the app.
fn video_object(
    request: &RequestedVideo,
    answer_path: &AnswerPath,
    body: &[u8],
) -> Result<Bytes, StreamFault> {
    let answer =
        Members::of_answer(chat::operations::document(body)?).ok_or(StreamFault::Broken("bad_json"))?;
    let (video, end, billed) = match request {
        RequestedVideo::New { model, seconds, size } => {
            let request = (&**model, *seconds, *size);
            (QueuedVideo::from_queue(request, answer_path.options.created_unix_s, &answer), End::Queued, None)
        }
        RequestedVideo::Known { id } => {
            (QueuedVideo::read(id), End::of(answer.bytes())?, answer_path.head_units)
        }
    };
    let video = video.ok_or(StreamFault::Broken("not_an_answer"))?;
    let mut seconds = video.seconds.clone();
    let (status, error) = match &end {
        End::Queued => (QUEUED, None),
        End::InProgress => (IN_PROGRESS, None),
        End::Made { seconds: made } => {
            made.iter().for_each(|made| seconds.clone_from(made));
            (COMPLETED, None)
        }
        End::Failed { code, message } => (FAILED, Some((*code, message.as_str()))),
    };
    let reply = VideoReply {
        id: video.id(),
        created_unix_s: video.created_unix_s,
        model: &video.model,
        status,
        seconds: Some(&*seconds).filter(|seconds| !seconds.is_empty()),
        size: Some(&*video.size).filter(|size| !size.is_empty()),
        billed: billed.filter(|_| status == COMPLETED),
        error,
    };
    Ok(reply.document())
}

/// The fault for a response that came in place of the video's bytes.
fn why_no_content(body: &[u8]) -> StreamFault {
    let end = chat::operations::document(body).and_then(End::of);
    match end {
        Ok(End::Queued | End::InProgress) => not_ready(),
        Ok(End::Failed { message, .. }) => no_content(&format!("There is no video: {message}")),
        Ok(End::Made { .. }) => StreamFault::Broken("not_a_film"),
        Err(fault) => fault,
    }
}

/// The state of a queued request.
enum End {
    Queued,
    InProgress,
    Made {
        /// The length, if the app reports it.
        seconds: Option<String>,
    },
    Failed {
        code: &'static str,
        message: String,
    },
}

impl End {
    fn of(body: &[u8]) -> Result<Self, StreamFault> {
        let answer: Json = serde_json::from_slice(body).map_err(|_| StreamFault::Broken("bad_json"))?;
        let text = |name: &str| answer.get(name).and_then(Json::as_str);
        if let Some(video) = video_of(&answer) {
            let length = video.get("duration").or_else(|| answer.get("duration")).and_then(Json::as_f64);
            let seconds = length.map(|length| length.to_string());
            return Ok(Self::Made { seconds: seconds.filter(|seconds| millis(seconds).is_some()) });
        }
        let kind = text("error_type");
        match (answer.get("detail"), text("error"), text("status")) {
            (Some(detail), ..) => {
                let first = detail.get(0);
                let word = |name: &str| first.and_then(|first| first.get(name)).and_then(Json::as_str);
                Ok(Self::failed(kind.or(word("type")), word("msg").or(detail.as_str())))
            }
            (None, Some(error), _) => Ok(Self::failed(kind, Some(error))),
            (None, None, _) if kind.is_some() => Ok(Self::failed(kind, None)),
            (None, None, Some("IN_QUEUE")) => Ok(Self::Queued),
            (None, None, Some(_)) => Ok(Self::InProgress),
            (None, None, None) => Ok(Self::failed(None, Some("The app made no video."))),
        }
    }

    fn failed(kind: Option<&str>, message: Option<&str>) -> Self {
        let code = match kind {
            Some("content_policy_violation") => "moderation_blocked",
            Some("client_cancelled") => "cancelled",
            _ => "unknown",
        };
        Self::Failed { code, message: failure_message(message) }
    }
}

/// The video in a result: an object with its URL.
fn video_of(answer: &Json) -> Option<&Json> {
    let video = answer.get("video").or_else(|| answer.get("videos")?.get(0));
    video.filter(|video| video.get("url").is_some_and(Json::is_string))
}

#[cfg(test)]
mod tests {
    use domain::{FaultClass, Grammar};
    use serde_json::json;

    use super::*;

    const PLAIN: VideoParams = VideoParams {
        seconds_unit: "",
        has_ratio: true,
        has_resolution: false,
        passthrough: &["negative_prompt", "cfg_scale"],
    };
    const TALL: VideoParams =
        VideoParams { seconds_unit: "s", has_ratio: true, has_resolution: true, passthrough: &["seed"] };

    fn translate(
        words: &VideoParams,
        body: &str,
        is_lenient: bool,
    ) -> Result<(Json, Vec<String>), Box<Fault>> {
        let translated = write(VideoRequest::read(Grammar::Chat, body.as_bytes(), is_lenient)?, words)?;
        Ok((serde_json::from_slice(&translated.body).unwrap(), translated.dropped))
    }

    #[test]
    fn a_film_is_said_in_the_words_of_its_app() {
        let body = r#"{"model":"m","prompt":"a","seconds":"5","size":"720x1280","cfg_scale":0.5,"user":"u","input_reference":{"image_url":"https://a.test/b.png"}}"#;
        let (fields, dropped) = translate(&PLAIN, body, false).unwrap();
        let expected = json!({"prompt": "a", "duration": "5", "aspect_ratio": "9:16", "cfg_scale": 0.5, "image_url": "https://a.test/b.png"});
        assert_eq!((fields, dropped), (expected, vec!["user".to_owned()]));
        let body = r#"{"prompt":"a","seconds":8,"size":"1920x1080","seed":7}"#;
        let expected = json!({"prompt": "a", "duration": "8s", "aspect_ratio": "16:9", "resolution": "1080p", "seed": 7});
        assert_eq!(translate(&TALL, body, false).unwrap().0, expected);
        assert_eq!(translate(&PLAIN, r#"{"prompt":"a"}"#, false).unwrap().0, json!({"prompt": "a"}));
        for (more, name, code) in [
            (r#""size":"1920x1080""#, "size", "unsupported_value"),
            (r#""size":"1x1""#, "size", "unsupported_value"),
            (r#""seed":7"#, "seed", "unsupported_parameter"),
        ] {
            let body = format!(r#"{{"prompt":"a",{more}}}"#);
            let fault = translate(&PLAIN, &body, false).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), (code, Some(name)), "{more}");
            assert_eq!(
                translate(&PLAIN, &body, true).unwrap(),
                (json!({"prompt": "a"}), vec![name.to_owned()])
            );
        }
        for more in [r#""seconds":"long""#, r#""input_reference":{"file_id":"f"}"#] {
            assert!(translate(&PLAIN, &format!(r#"{{"prompt":"a",{more}}}"#), true).is_err(), "{more}");
        }
    }

    fn new_video(body: &str, model: &str) -> RequestedVideo {
        VideoRequest::read(Grammar::Chat, body.as_bytes(), false).unwrap().requested(model)
    }

    fn queued(base: &str) -> String {
        let url = format!("{base}/me/app/requests/r-1");
        let urls = json!({"status_url": format!("{url}/status"), "response_url": url, "cancel_url": format!("{url}/cancel")});
        let mut answer = json!({"status": "IN_QUEUE", "request_id": "r-1"});
        answer.as_object_mut().unwrap().extend(urls.as_object().unwrap().clone());
        answer.to_string()
    }

    fn reply_of(request: &RequestedVideo, head_units: Option<u64>, body: &str) -> Result<Json, StreamFault> {
        let mut path = AnswerPath { head_units, ..AnswerPath::chat(Grammar::Chat, Grammar::Chat) };
        path.options.created_unix_s = 17;
        let object = video_object(request, &path, body.as_bytes())?;
        Ok(serde_json::from_slice(&object).unwrap())
    }

    #[test]
    fn what_a_queue_tells_is_a_film_by_what_was_asked_of_it() {
        let ask = new_video(r#"{"prompt":"a","seconds":"5","size":"720x1280"}"#, "me/app/v1");
        let made = reply_of(&ask, None, &queued("https://queue.example/base")).unwrap();
        let id = made["id"].as_str().unwrap();
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{id}");
        let video = QueuedVideo::read(id).unwrap();
        assert_eq!(video.fetch, "/base/me/app/requests/r-1");
        assert_eq!(
            (&*video.status, &*video.cancel),
            (&*format!("{}/status", video.fetch), &*format!("{}/cancel", video.fetch))
        );
        assert_eq!((&made["model"], &made["created_at"]), (&json!("me/app/v1"), &json!(17)));
        let known = RequestedVideo::Known { id: id.to_owned() };
        for (body, status, seconds, code) in [
            (r#"{"status":"IN_QUEUE","queue_position":1}"#, "queued", "5", Json::Null),
            (r#"{"status":"IN_PROGRESS"}"#, "in_progress", "5", Json::Null),
            (r#"{"video":{"url":"https://a/b.mp4"}}"#, "completed", "5", Json::Null),
            (r#"{"video":{"url":"https://a/b.mp4","duration":5.5}}"#, "completed", "5.5", Json::Null),
            (r#"{"videos":[{"url":"https://a/b.mp4"}],"duration":6.0}"#, "completed", "6", Json::Null),
            (
                r#"{"status":"COMPLETED","error":"no","error_type":"client_cancelled"}"#,
                "failed",
                "5",
                json!("cancelled"),
            ),
            (
                r#"{"detail":[{"loc":[],"msg":"no","type":"content_policy_violation"}]}"#,
                "failed",
                "5",
                json!("moderation_blocked"),
            ),
            (r#"{"detail":"Internal Server Error"}"#, "failed", "5", json!("unknown")),
            (r#"{"images":[]}"#, "failed", "5", json!("unknown")),
        ] {
            let video = reply_of(&known, Some(5_000_000), body).unwrap();
            assert_eq!(
                (&video["status"], &video["seconds"], &video["error"]["code"]),
                (&json!(status), &json!(seconds), &code),
                "{body}"
            );
            assert_eq!(video["id"], id);
            let billed = if status == "completed" { json!(5_000_000) } else { Json::Null };
            assert_eq!(video["billed_micro_units"], billed, "{body}");
        }
        let bare = new_video(r#"{"prompt":"a"}"#, "me/app");
        let made = reply_of(&bare, None, &queued("https://queue.example")).unwrap();
        assert_eq!((&made["seconds"], &made["size"]), (&Json::Null, &Json::Null));
    }

    #[test]
    fn a_place_leads_nowhere_else() {
        for wrong in
            ["", "a", "/", "//a", "/a//b", "/a/../b", "/a/./b", "/a?b", "/a#b", "/a@b", "/a b", "/a\\b"]
        {
            assert!(!is_queue_path(wrong), "{wrong}");
        }
        let ask = new_video(r#"{"prompt":"a"}"#, "me/app");
        assert!(reply_of(&ask, None, &queued("https://queue.example/a/..")).is_err());
        assert_eq!(QueuedVideo::read("video_1"), None);
        assert_eq!(QueuedVideo::read(&URL_SAFE_NO_PAD.encode("queued?/../a?/b?/c?1???m")), None);
    }

    #[test]
    fn why_there_is_no_film_is_told() {
        for (body, words) in [
            (r#"{"status":"IN_PROGRESS"}"#, "not ready"),
            (r#"{"detail":[{"msg":"flagged","type":"content_policy_violation"}]}"#, "flagged"),
        ] {
            let StreamFault::Upstream(report, FaultClass::BadRequest) = why_no_content(body.as_bytes())
            else {
                panic!("{body}")
            };
            assert!(report.message.as_deref().is_some_and(|message| message.contains(words)), "{report:?}");
        }
    }
}
