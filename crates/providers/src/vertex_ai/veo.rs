//! Videos from Vertex AI's long-running `predictLongRunning` operations (Veo). A request becomes one instance
//! and parameters, and an operation's state becomes a video object of OpenAI's `/v1/videos`. The operation
//! does not repeat the request, so our id of the video encodes the operation's name together with the
//! requested length and size.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFault};
use conversation::target::TranslatedRequest;
use dialects::{AnswerPath, BufferedAnswer, VendorAnswer, VendorStream};
use domain::Fault;
use json::Value;
use json::members::{Members, value_of};
use json::written::{json_object, json_string};
use operations::video::{
    COMPLETED, FAILED, IN_PROGRESS, QUEUED, RequestedVideo, VideoContent, VideoContentStream, VideoReply,
    VideoRequest, VideoSize, failure_message, no_content, not_ready, unsupported_reference,
};

/// The default length in seconds. It is always sent upstream, because the requested length is what is billed.
const SECONDS: u64 = 8;
/// Veo's own parameters, which pass through unchanged: none of them changes how much is generated, or where
/// it is stored.
const OWN_WORDS: [&str; 5] = ["negativePrompt", "seed", "personGeneration", "generateAudio", "enhancePrompt"];
/// The parameters that are no texts.
pub(super) const LITERALS: [&str; 3] = ["seed", "generateAudio", "enhancePrompt"];
/// The collections in an operation's name, each followed by its id.
const WORDS: [&str; 5] = ["projects", "locations", "publishers", "models", "operations"];
/// Separates the operation's name and the request's values in our id. No operation's name contains it.
const SEPARATOR: char = '?';
/// The most that is sent of a video at once.
const PIECE_BYTES: usize = 1024 * 1024;

/// Translates a video request into an instance and parameters. `names_low` is set if the model has a parameter
/// for the lower resolution.
///
/// # Errors
/// The request needs something that the model lacks and that may not be dropped.
pub(super) fn write(mut request: VideoRequest<'_>, names_low: bool) -> Result<TranslatedRequest, Box<Fault>> {
    let mut instance = vec![("prompt", json_string(&request.prompt))];
    let frame = request.reference.as_deref().map(inline_image).transpose()?;
    instance.extend(frame.map(|frame| ("image", frame)));
    let length = request.seconds.unwrap_or(SECONDS).to_string();
    let mut parameters = vec![("sampleCount", "1".to_owned()), ("durationSeconds", length)];
    if let Some(size) = request.size(|_| true)? {
        parameters.push(("aspectRatio", json_string(size.ratio)));
        let is_named = names_low || !size.is_low();
        parameters.extend(is_named.then(|| ("resolution", json_string(size.resolution))));
    }
    request.extra.pass_through(&OWN_WORDS, &mut parameters)?;
    let (instance, parameters) = (json_object(&instance), json_object(&parameters));
    let body = format!(r#"{{"instances":[{instance}],"parameters":{parameters}}}"#);
    Ok(TranslatedRequest { body: Bytes::from(body), dropped: request.extra.finish()? })
}

/// The first frame, if its bytes are in its URL.
fn inline_image(url: &str) -> Result<String, Box<Fault>> {
    let inline = url.strip_prefix("data:").and_then(|data| data.split_once(";base64,"));
    let (media_type, base64) = inline.ok_or_else(unsupported_reference)?;
    let (base64, media_type) = (json_string(base64), json_string(media_type));
    Ok(format!(r#"{{"bytesBase64Encoded":{base64},"mimeType":{media_type}}}"#))
}

/// The content of our id of a video: the operation's name, and the requested values. It is encoded so that it
/// is valid wherever a provider's id is.
struct Named {
    /// The ids in the operation's name, in the order of `WORDS`.
    values: [String; WORDS.len()],
    created_unix_s: u64,
    seconds: String,
    size: String,
}

impl Named {
    fn new(name: &str, created_unix_s: u64, seconds: u64, size: &str) -> Option<Self> {
        let mut parts = name.split('/');
        let mut values: [String; WORDS.len()] = Default::default();
        for (word, value) in WORDS.iter().zip(&mut values) {
            let (collection, named) = (parts.next()?, parts.next()?);
            if collection != *word || named.is_empty() || named.contains(SEPARATOR) {
                return None;
            }
            named.clone_into(value);
        }
        let is_whole = parts.next().is_none();
        is_whole.then(|| Self { values, created_unix_s, seconds: seconds.to_string(), size: size.to_owned() })
    }

    fn id(&self) -> String {
        let Self { values, created_unix_s, seconds, size } = self;
        URL_SAFE_NO_PAD.encode(format!(
            "{}{SEPARATOR}{created_unix_s}{SEPARATOR}{seconds}{SEPARATOR}{size}",
            values.join("/")
        ))
    }

    fn read(id: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(id).ok()?).ok()?;
        let mut parts = text.split(SEPARATOR);
        let named: Vec<String> = parts.next()?.split('/').map(str::to_owned).collect();
        Some(Self {
            values: named.try_into().ok()?,
            created_unix_s: parts.next()?.parse().ok()?,
            seconds: parts.next()?.to_owned(),
            size: parts.next()?.to_owned(),
        })
    }

    fn operation(&self) -> String {
        let parts = WORDS.iter().zip(&self.values).flat_map(|(word, value)| [*word, value.as_str()]);
        parts.collect::<Vec<_>>().join("/")
    }

    fn model(&self) -> &str {
        let [_, _, _, model, _] = &self.values;
        model
    }
}

/// Decodes the operation's name from our id of its video. Returns `None` if the id is not ours.
pub(super) fn operation_of(id: &str) -> Option<String> {
    Named::read(id).map(|named| named.operation())
}

/// The state of a video, or its content.
#[derive(Debug)]
pub(super) struct OperationAnswer(pub RequestedVideo);

impl VendorAnswer for OperationAnswer {
    fn buffered(&self, answer_path: &AnswerPath, body: &Bytes) -> Result<BufferedAnswer, StreamFault> {
        let object = video_object(&self.0, answer_path.options.created_unix_s, body)?;
        Ok(BufferedAnswer::plain(object, AnswerFacts::default()))
    }

    fn stream(&self, _answer_path: &AnswerPath) -> Option<Box<dyn VendorStream>> {
        Some(Box::new(VideoContentStream::new(VideoContent::InDocument(video_content))))
    }
}

/// Writes the video object for the client, from the state of the operation.
fn video_object(request: &RequestedVideo, created_unix_s: u64, body: &[u8]) -> Result<Bytes, StreamFault> {
    let answer =
        Members::of_answer(chat::operations::document(body)?).ok_or(StreamFault::Broken("bad_json"))?;
    let (named, end) = match request {
        RequestedVideo::New { seconds, size, .. } => {
            let name = answer.find_text("name").ok_or(StreamFault::Broken("not_an_answer"))?;
            let (seconds, size) = (seconds.unwrap_or(SECONDS), size.unwrap_or(VideoSize::DEFAULT.name));
            (Named::new(&name, created_unix_s, seconds, size), End::Queued)
        }
        RequestedVideo::Known { id } => (Named::read(id), End::of(&answer)),
    };
    let named = named.ok_or(StreamFault::Broken("not_an_answer"))?;
    let (status, error) = match &end {
        End::Queued => (QUEUED, None),
        End::InProgress => (IN_PROGRESS, None),
        End::Made(_) => (COMPLETED, None),
        End::Failed { code, message } => (FAILED, Some((*code, message.as_str()))),
    };
    let reply = VideoReply {
        id: named.id(),
        created_unix_s: named.created_unix_s,
        model: named.model(),
        status,
        seconds: Some(&named.seconds),
        size: Some(&named.size),
        billed: None,
        error,
    };
    Ok(reply.document())
}

/// The video itself, in pieces.
fn video_content(body: &[u8]) -> Result<Vec<Bytes>, StreamFault> {
    let operation =
        Members::of_answer(chat::operations::document(body)?).ok_or(StreamFault::Broken("bad_json"))?;
    let base64 = match End::of(&operation) {
        End::Made(Some(base64)) => base64,
        End::Made(None) => {
            return Err(no_content("It was written to a bucket, and can't be fetched from there."));
        }
        End::Failed { message, .. } => return Err(no_content(&format!("There is no video: {message}"))),
        End::Queued | End::InProgress => {
            return Err(not_ready());
        }
    };
    let bytes = STANDARD.decode(base64.as_bytes()).map_err(|_| StreamFault::Broken("bad_base64"))?;
    let mut video = Bytes::from(bytes);
    let mut pieces = Vec::new();
    while !video.is_empty() {
        pieces.push(video.split_to(video.len().min(PIECE_BYTES)));
    }
    Ok(pieces)
}

/// The state of an operation.
enum End<'a> {
    Queued,
    InProgress,
    /// With the video's bytes, unless it was stored elsewhere.
    Made(Option<std::borrow::Cow<'a, str>>),
    Failed {
        code: &'static str,
        message: String,
    },
}

impl<'a> End<'a> {
    fn of(operation: &Members<'a>) -> Self {
        if let Some(error) = operation.find_members("error") {
            let code = code_of(error.find_count("code").unwrap_or_default());
            return Self::failed(code, error.find_text("message").as_deref());
        }
        if !operation.is_true("done") {
            return Self::InProgress;
        }
        let Some(response) = operation.find_members("response") else { return Self::failed("unknown", None) };
        // Only one video was requested.
        match response.find_elements("videos").first().and_then(|video| Members::of_answer(video)) {
            Some(video) => Self::Made(video.find_text("bytesBase64Encoded")),
            None => {
                let reasons = response.find_elements("raiMediaFilteredReasons");
                let reason = reasons.first().and_then(|reason| match value_of(reason) {
                    Ok(Value::String(text)) => Some(text.decode()),
                    _ => None,
                });
                let is_filtered = reason.is_some() || response.find_count("raiMediaFilteredCount") > Some(0);
                Self::failed(if is_filtered { "moderation_blocked" } else { "unknown" }, reason.as_deref())
            }
        }
    }

    fn failed(code: &'static str, message: Option<&str>) -> Self {
        Self::Failed { code, message: failure_message(message) }
    }
}

/// The name of the `google.rpc.Code` that an operation failed with.
const fn code_of(code: u64) -> &'static str {
    match code {
        1 => "cancelled",
        3 => "invalid_argument",
        4 => "deadline_exceeded",
        5 => "not_found",
        7 => "permission_denied",
        8 => "resource_exhausted",
        9 => "failed_precondition",
        13 => "internal",
        14 => "unavailable",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use domain::{FaultClass, Grammar};
    use serde_json::{Value as Json, json};

    use super::*;

    fn read(body: &str, is_lenient: bool) -> Result<VideoRequest<'_>, Box<Fault>> {
        VideoRequest::read(Grammar::Chat, body.as_bytes(), is_lenient)
    }

    fn translate(body: &str, is_lenient: bool) -> Result<(String, Vec<String>), Box<Fault>> {
        let translated = write(read(body, is_lenient)?, true)?;
        Ok((String::from_utf8(translated.body.to_vec()).unwrap(), translated.dropped))
    }

    #[test]
    fn common_words_become_an_instance_and_parameters() {
        let (body, dropped) = translate(
            r#"{"model":"m","prompt":"a \"tide\"","seconds":"6","size":"1080x1920","user":"u","seed":18446744073709551615,
            "generateAudio":false,"negativePrompt":"rain","input_reference":{"image_url":"data:image/png;base64,AA=="}}"#,
            false,
        )
        .unwrap();
        let expected = r#"{"instances":[{"prompt":"a \"tide\"","image":{"bytesBase64Encoded":"AA==","mimeType":"image/png"}}],"parameters":{"sampleCount":1,"durationSeconds":6,"aspectRatio":"9:16","resolution":"1080p","negativePrompt":"rain","seed":18446744073709551615,"generateAudio":false}}"#;
        assert_eq!((body.as_str(), dropped), (expected, vec!["user".to_owned()]));
        let bare = translate(r#"{"prompt":"a"}"#, false).unwrap().0;
        assert_eq!(
            bare,
            r#"{"instances":[{"prompt":"a"}],"parameters":{"sampleCount":1,"durationSeconds":8}}"#
        );
        let older = |size: &str| {
            let body = format!(r#"{{"prompt":"a","seconds":5,"size":"{size}"}}"#);
            let translated = write(read(&body, false).unwrap(), false).unwrap();
            String::from_utf8(translated.body.to_vec()).unwrap()
        };
        assert!(older("1280x720").ends_with(r#""durationSeconds":5,"aspectRatio":"16:9"}}"#));
        assert!(older("1920x1080").ends_with(r#""aspectRatio":"16:9","resolution":"1080p"}}"#));
    }

    #[test]
    fn what_there_are_no_words_for_is_refused_or_dropped_by_name() {
        for (more, name, code) in [
            (r#""size":"1792x1024""#, "size", "unsupported_value"),
            (r#""quality":"high""#, "quality", "unsupported_parameter"),
            (r#""storageUri":"gs://b/c""#, "storageUri", "unsupported_parameter"),
            (r#""sampleCount":2"#, "sampleCount", "unsupported_parameter"),
        ] {
            let body = format!(r#"{{"prompt":"a",{more}}}"#);
            let fault = translate(&body, false).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), (code, Some(name)), "{more}");
            let (written, dropped) = translate(&body, true).unwrap();
            assert!(written.ends_with(r#""parameters":{"sampleCount":1,"durationSeconds":8}}"#), "{written}");
            assert_eq!(dropped, [name]);
        }
        for (more, name, code) in [
            (r#""seconds":"4.5""#, "seconds", "invalid_value"),
            (r#""seconds":0"#, "seconds", "invalid_value"),
            (r#""seconds":[8]"#, "seconds", "invalid_value"),
            (
                r#""input_reference":{"image_url":"https://a.test/b.png"}"#,
                "input_reference",
                "unsupported_value",
            ),
            (r#""input_reference":{"file_id":"file-tg_1"}"#, "input_reference", "unsupported_value"),
        ] {
            let fault = translate(&format!(r#"{{"prompt":"a",{more}}}"#), true).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), (code, Some(name)), "{more}");
        }
        assert_eq!(translate(r#"{"seconds":"8"}"#, true).unwrap_err().param.as_deref(), Some("prompt"));
    }

    const NAME: &str = "projects/p/locations/l/publishers/a/models/veo-x/operations/o-1";

    #[test]
    fn an_operation_is_a_film_by_what_was_asked_of_it() {
        let ask =
            read(r#"{"prompt":"a","seconds":"4","size":"720x1280"}"#, false).unwrap().requested("veo-x");
        let made = video_object(&ask, 17, format!(r#"{{"name":"{NAME}"}}"#).as_bytes()).unwrap();
        let made: Json = serde_json::from_slice(&made).unwrap();
        let id = made["id"].as_str().unwrap();
        assert_eq!((operation_of(id).as_deref(), &made["status"]), (Some(NAME), &json!("queued")));
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{id}");
        assert_eq!((&made["seconds"], &made["size"]), (&json!("4"), &json!("720x1280")));
        assert_eq!((&made["model"], &made["created_at"]), (&json!("veo-x"), &json!(17)));
        let look = |body: &str| -> Json {
            let known = RequestedVideo::Known { id: id.to_owned() };
            let video = video_object(&known, 18, body.as_bytes()).unwrap();
            serde_json::from_slice(&video).unwrap()
        };
        for (body, status, code) in [
            (r#"{"name":"n"}"#, "in_progress", Json::Null),
            (r#"{"name":"n","done":false}"#, "in_progress", Json::Null),
            (
                r#"{"done":true,"response":{"videos":[{"bytesBase64Encoded":"AA=="}]}}"#,
                "completed",
                Json::Null,
            ),
            (r#"{"done":true,"response":{"videos":[{"gcsUri":"gs://a/b"}]}}"#, "completed", Json::Null),
            (r#"{"done":true,"error":{"code":8,"message":"full"}}"#, "failed", json!("resource_exhausted")),
            (
                r#"{"done":true,"response":{"raiMediaFilteredCount":1,"raiMediaFilteredReasons":["no"]}}"#,
                "failed",
                json!("moderation_blocked"),
            ),
            (
                r#"{"done":true,"response":{"raiMediaFilteredCount":1}}"#,
                "failed",
                json!("moderation_blocked"),
            ),
            (r#"{"done":true,"response":{}}"#, "failed", json!("unknown")),
            (r#"{"done":true}"#, "failed", json!("unknown")),
        ] {
            let video = look(body);
            assert_eq!((&video["status"], &video["error"]["code"]), (&json!(status), &code), "{body}");
            assert_eq!((&video["id"], &video["seconds"]), (&json!(id), &json!("4")), "{body}");
        }
        for wrong in ["", "<html>", "[]", "{}", r#"{"name":"operations/o-1"}"#] {
            assert!(video_object(&ask, 17, wrong.as_bytes()).is_err(), "{wrong}");
        }
        for unknown in ["", "video_1", NAME] {
            assert_eq!(operation_of(unknown), None, "{unknown}");
        }
        let bare = read(r#"{"prompt":"a","size":"1x1"}"#, false).unwrap().requested("veo-x");
        let made = video_object(&bare, 17, format!(r#"{{"name":"{NAME}"}}"#).as_bytes()).unwrap();
        let made: Json = serde_json::from_slice(&made).unwrap();
        assert_eq!((&made["seconds"], &made["size"]), (&json!("8"), &json!("1280x720")));
    }

    #[test]
    fn a_film_is_the_bytes_of_its_operation() {
        let bytes = vec![7; PIECE_BYTES + 1];
        let body =
            json!({"done": true, "response": {"videos": [{"bytesBase64Encoded": STANDARD.encode(&bytes)}]}});
        let pieces = video_content(body.to_string().as_bytes()).unwrap();
        assert_eq!((pieces.len(), pieces.concat()), (2, bytes));
        for (body, words) in [
            (r#"{"name":"n"}"#, "not ready"),
            (r#"{"done":true,"error":{"code":13,"message":"broken"}}"#, "broken"),
            (r#"{"done":true,"response":{"videos":[{"gcsUri":"gs://a/b"}]}}"#, "bucket"),
        ] {
            let Err(StreamFault::Upstream(report, FaultClass::BadRequest)) = video_content(body.as_bytes())
            else {
                panic!("{body}")
            };
            assert!(report.message.as_deref().is_some_and(|message| message.contains(words)), "{report:?}");
        }
        let broken = br#"{"done":true,"response":{"videos":[{"bytesBase64Encoded":"!"}]}}"#;
        assert_eq!(video_content(broken).unwrap_err(), StreamFault::Broken("bad_base64"));
    }
}
