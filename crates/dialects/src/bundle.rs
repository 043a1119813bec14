//! Batches whose requests come with them: the models that they name, and results that hold whole answers.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use domain::{Fault, FaultClass};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Request;
use crate::batch::{BatchItem, Named, usage_of};
use crate::json::{Cursor, Kind, Span, Value};
use crate::refusal::{duplicate, empty, missing, no_object, wrong_type, wrong_value};
use crate::request::rename_at;
use crate::splice::splice;

/// What each of the requests would have been sent to alone.
pub const MESSAGES: &str = "/v1/messages";

const REQUESTS: &str = "requests";
const CUSTOM_ID_CHARS_MAX: usize = 64;
/// Each of them is looked for among those who serve it.
const MODELS_MAX: usize = 64;
const MODEL_HOW: &str = "Name a model, such as anthropic/claude-haiku-4-5.";

/// Requests that come together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bundle {
    /// The models that they name, each once, in the order in which they come.
    pub models: Vec<BundledModel>,
    /// Where each request names which of them.
    places: Vec<(Span, usize)>,
}

/// A model that some of them name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundledModel {
    /// As the client wrote it.
    pub name: String,
    /// Which request names it first.
    pub request: usize,
    /// What it is called where they all go.
    pub at_maker: Option<String>,
}

impl BundledModel {
    /// Where in the body it is named first.
    #[must_use]
    pub fn param(&self) -> String {
        model_of(self.request)
    }
}

fn model_of(request: usize) -> String {
    format!("{REQUESTS}[{request}].params.model")
}

impl Bundle {
    /// Whether one model is to answer all of them.
    #[must_use]
    pub fn is_of_one_model(&self) -> bool {
        self.models.len() == 1
    }

    fn name(&mut self, model: String, span: Span, request: usize) -> Result<(), Box<Fault>> {
        let known = self.models.iter().position(|known| known.name == model);
        let at = known.unwrap_or(self.models.len());
        if at >= MODELS_MAX {
            let message = format!("The requests of a batch name more than {MODELS_MAX} models.");
            let fault = Fault::new(FaultClass::BadRequest, "too_many_models", message);
            return Err(Box::new(fault.param(model_of(request)).fix("Send several batches.")));
        }
        if known.is_none() {
            self.models.push(BundledModel { name: model, request, at_maker: None });
        }
        self.places.push((span, at));
        Ok(())
    }

    /// The client's bytes, with every model by the name that it has where they go.
    pub(crate) fn upstream_body(&self, body: &Bytes) -> Vec<Bytes> {
        let renamed = self.places.iter().filter_map(|(span, at)| {
            let model = self.models.get(*at)?;
            let name = model.at_maker.as_deref().filter(|name| *name != model.name)?;
            Some(rename_at(*span, name))
        });
        let mut out = Vec::with_capacity(1);
        splice(body, &mut renamed.collect::<Vec<_>>(), &mut out);
        // Thousands of them would be as many segments of each write.
        if out.len() > 1 { vec![out.concat().into()] } else { out }
    }
}

/// Where the results of a batch are read, by a name of ours.
pub(crate) fn results_address(id: &str) -> String {
    format!("{MESSAGES}/batches/{id}/results")
}

/// Reads what the rooms need of a new batch.
///
/// # Errors
/// What is wrong, where, and how to mend it.
pub(crate) fn decode(body: &Bytes) -> Result<Request, Box<Fault>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(empty());
    }
    let mut cursor = Cursor::new(body)?;
    let kind = cursor.kind()?;
    if kind != Kind::Object {
        return Err(no_object(kind));
    }
    let (mut bundle, mut ids, mut is_there) = (Bundle::default(), HashSet::new(), false);
    cursor.object(|cursor, member| {
        if !member.key.is(REQUESTS) {
            cursor.skip()?;
            return Ok::<(), Box<Fault>>(());
        }
        if std::mem::replace(&mut is_there, true) {
            return Err(duplicate(REQUESTS.to_owned()));
        }
        let kind = cursor.kind()?;
        if kind != Kind::Array {
            return Err(wrong_type(REQUESTS.to_owned(), "a list", kind));
        }
        cursor.array(|cursor, at| read_ask(cursor, body, at, &mut bundle, &mut ids)).map(drop)
    })?;
    cursor.end()?;
    let Some(first) = bundle.models.first() else {
        return Err(missing(REQUESTS.to_owned(), "Send a list of at least one {custom_id, params}."));
    };
    let model = first.name.clone();
    Ok(Request { max_output_tokens: Some(0), bundle: Some(Box::new(bundle)), ..Request::of_model(&model) })
}

fn read_ask<'b>(
    cursor: &mut Cursor<'b>,
    body: &'b Bytes,
    at: usize,
    bundle: &mut Bundle,
    ids: &mut HashSet<Cow<'b, str>>,
) -> Result<(), Box<Fault>> {
    let place = |name: &str| format!("{REQUESTS}[{at}]{name}");
    let kind = cursor.kind()?;
    if kind != Kind::Object {
        return Err(wrong_type(place(""), "an object", kind));
    }
    let (mut custom_id, mut model) = (None, None);
    cursor.object(|cursor, member| {
        let kind = cursor.kind()?;
        if member.key.is("custom_id") {
            let Value::String(text) = Cursor::new(cursor.skip()?.of(body))?.value()? else {
                return Err(wrong_type(place(".custom_id"), "a string", kind));
            };
            return match custom_id.replace(text.decode()) {
                Some(_) => Err(duplicate(place(".custom_id"))),
                None => Ok(()),
            };
        }
        if !member.key.is("params") {
            cursor.skip()?;
            return Ok(());
        }
        if kind != Kind::Object {
            return Err(wrong_type(place(".params"), "an object", kind));
        }
        cursor
            .object(|cursor, member| {
                if !member.key.is("model") {
                    cursor.skip()?;
                    return Ok::<(), Box<Fault>>(());
                }
                let kind = cursor.kind()?;
                let span = cursor.skip()?;
                let Value::String(text) = Cursor::new(span.of(body))?.value()? else {
                    return Err(wrong_type(model_of(at), "a string", kind));
                };
                match model.replace((text.decode().into_owned(), span)) {
                    Some(_) => Err(duplicate(model_of(at))),
                    None => Ok(()),
                }
            })
            .map(drop)
    })?;
    let custom_id: Cow<'b, str> = custom_id
        .ok_or_else(|| missing(place(".custom_id"), "Give each request an id of its own in its batch."))?;
    if !(1..=CUSTOM_ID_CHARS_MAX).contains(&custom_id.chars().count()) {
        let fix = format!("Send 1 to {CUSTOM_ID_CHARS_MAX} characters.");
        return Err(wrong_value(place(".custom_id"), "is empty or too long", fix));
    }
    // By it the books know a request from the others.
    if !ids.insert(custom_id) {
        let fix = "Give each request an id of its own in its batch.".to_owned();
        return Err(wrong_value(place(".custom_id"), "is that of another request, too", fix));
    }
    let (model, span) =
        model.filter(|(model, _)| !model.is_empty()).ok_or_else(|| missing(model_of(at), MODEL_HOW))?;
    bundle.name(model, span, at)
}

/// How far a batch is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BundleTold {
    #[serde(rename = "processing_status")]
    pub status: String,
    /// RFC 3339; set once all of its requests are done, well or not.
    pub ended_at: Option<String>,
}

/// Reads what a provider says of a batch; `None` where it is no batch.
#[must_use]
pub fn read_bundle(body: &[u8]) -> Option<BundleTold> {
    serde_json::from_slice(body).ok()
}

#[derive(Deserialize)]
struct ItemLine<'a> {
    #[serde(borrow)]
    custom_id: Cow<'a, str>,
    #[serde(borrow)]
    result: Became<'a>,
}

#[derive(Deserialize)]
struct Became<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<Refused<'a>>,
}

#[derive(Deserialize)]
struct Refused<'a> {
    #[serde(borrow)]
    error: Option<Why<'a>>,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Why<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

/// Reads a line of what became of the requests; `None` where it is none.
pub(crate) fn read_item(line: &[u8]) -> Option<BatchItem> {
    let ItemLine { custom_id, result } = serde_json::from_slice(line).ok()?;
    let nothing = BatchItem {
        custom_id: custom_id.into_owned(),
        model: None,
        status: 0,
        request_id: None,
        error_code: None,
        usage: None,
    };
    Some(match &*result.kind {
        "succeeded" => {
            let message = result.message?.get();
            let named = serde_json::from_str::<Named<'_>>(message).unwrap_or_default();
            let model = named.model.map(Cow::into_owned);
            BatchItem { model, status: 200, usage: usage_of(message, MESSAGES), ..nothing }
        }
        "errored" => {
            let (why, request_id) =
                result.error.map_or((None, None), |refused| (refused.error, refused.request_id));
            let status = why.as_ref().map_or(500, |why| status_of(&why.kind));
            let error_code = why.map(|why| why.kind.into_owned());
            BatchItem { status, error_code, request_id: request_id.map(Cow::into_owned), ..nothing }
        }
        never_tried => BatchItem { error_code: Some(format!("batch_{never_tried}")), ..nothing },
    })
}

/// The status that the vendor sends with an error of this name.
fn status_of(kind: &str) -> u16 {
    match kind {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "conflict_error" => 409,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_is_found_once_and_every_place_is_renamed() {
        let body = Bytes::from_static(
            br#"{"requests":[{"custom_id":"a","params":{"messages":[{"model":"m"}],"model": "m"}},
                {"params":{"model":"n","max_tokens":1},"custom_id":"b"},{"custom_id":"c","params":{"model":"m"}}],"more":1}"#,
        );
        let mut request = decode(&body).unwrap();
        assert_eq!(request.model, "m");
        let bundle = request.bundle.as_mut().unwrap();
        let found: Vec<_> = bundle.models.iter().map(|model| (&*model.name, model.request)).collect();
        assert_eq!(found, [("m", 0), ("n", 1)]);
        assert_eq!(bundle.upstream_body(&body), std::slice::from_ref(&body));
        for (model, name) in bundle.models.iter_mut().zip(["claude-m", "n"]) {
            model.at_maker = Some(name.to_owned());
        }
        let sent = crate::upstream_body(&body, &request, "unread", true).concat();
        let sent = String::from_utf8(sent).unwrap();
        let expected = String::from_utf8(body.to_vec()).unwrap();
        let expected = expected
            .replace(r#""model": "m""#, r#""model": "claude-m""#)
            .replace(r#"c","params":{"model":"m"#, r#"c","params":{"model":"claude-m"#);
        assert_eq!(sent, expected);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let ask = |id: &str, params: &str| format!(r#"{{"custom_id":"{id}","params":{params}}}"#);
        let batch = |asks: &[String]| format!(r#"{{"requests":[{}]}}"#, asks.join(","));
        let good = ask("a", r#"{"model":"m"}"#);
        let many: Vec<String> =
            (0..=MODELS_MAX).map(|at| ask(&at.to_string(), &format!(r#"{{"model":"m{at}"}}"#))).collect();
        for (body, code, param) in [
            (String::new(), "empty_body", None),
            ("[]".to_owned(), "invalid_type", None),
            ("{".to_owned(), "invalid_json", None),
            ("{}".to_owned(), "missing_required_parameter", Some("requests")),
            (batch(&[]), "missing_required_parameter", Some("requests")),
            (r#"{"requests":{}}"#.to_owned(), "invalid_type", Some("requests")),
            (r#"{"requests":[7]}"#.to_owned(), "invalid_type", Some("requests[0]")),
            (
                r#"{"requests":[{"params":{"model":"m"}}]}"#.to_owned(),
                "missing_required_parameter",
                Some("requests[0].custom_id"),
            ),
            (batch(&[good.clone(), good.clone()]), "invalid_value", Some("requests[1].custom_id")),
            (batch(&[ask("", r#"{"model":"m"}"#)]), "invalid_value", Some("requests[0].custom_id")),
            (
                batch(&[ask(&"x".repeat(65), r#"{"model":"m"}"#)]),
                "invalid_value",
                Some("requests[0].custom_id"),
            ),
            (
                batch(&[good.clone(), ask("b", "{}")]),
                "missing_required_parameter",
                Some("requests[1].params.model"),
            ),
            (
                batch(&[ask("b", r#"{"model":""}"#)]),
                "missing_required_parameter",
                Some("requests[0].params.model"),
            ),
            (batch(&[ask("b", r#"{"model":7}"#)]), "invalid_type", Some("requests[0].params.model")),
            (
                batch(&[ask("b", r#"{"model":"m","model":"n"}"#)]),
                "duplicate_field",
                Some("requests[0].params.model"),
            ),
            (batch(&[ask("b", "[]")]), "invalid_type", Some("requests[0].params")),
            (batch(&many), "too_many_models", Some("requests[64].params.model")),
        ] {
            let fault = decode(&Bytes::from(body.clone())).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), (code, param), "{body}");
        }
    }

    #[test]
    fn a_result_tells_what_it_used_and_only_an_answer_used_something() {
        let message = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-4-5-20251001","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"cache_read_input_tokens":3,"output_tokens":5}}"#;
        let item = |result: &str| {
            read_item(format!(r#"{{"custom_id":"a\u0062","result":{result}}}"#).as_bytes()).unwrap()
        };
        let good = item(&format!(r#"{{"type":"succeeded","message":{message}}}"#));
        let usage = good.usage.unwrap();
        assert_eq!((usage.prompt_total(), usage.completion_total()), (12, 5));
        assert_eq!((&*good.custom_id, good.status), ("ab", 200));
        assert_eq!(good.model.as_deref(), Some("claude-haiku-4-5-20251001"));
        let bad = item(
            r#"{"type":"errored","error":{"type":"error","error":{"type":"overloaded_error","message":"m"},"request_id":"req_1"}}"#,
        );
        assert_eq!((bad.status, bad.error_code.as_deref(), bad.usage), (529, Some("overloaded_error"), None));
        assert_eq!(bad.request_id.as_deref(), Some("req_1"));
        for (kind, code) in [("canceled", "batch_canceled"), ("expired", "batch_expired")] {
            let item = item(&format!(r#"{{"type":"{kind}"}}"#));
            assert_eq!((item.status, item.error_code.as_deref(), item.usage), (0, Some(code), None));
        }
        assert_eq!(read_item(b"{}"), None);
        assert_eq!(read_item(b""), None);
    }

    #[test]
    fn a_batch_says_when_it_ended() {
        let going = br#"{"id":"b","processing_status":"in_progress","ended_at":null}"#;
        assert_eq!(read_bundle(going).unwrap().ended_at, None);
        let ended = br#"{"id":"b","processing_status":"ended","ended_at":"2026-11-21T10:00:00Z"}"#;
        assert_eq!(read_bundle(ended).unwrap().ended_at.as_deref(), Some("2026-11-21T10:00:00Z"));
        assert_eq!(read_bundle(b"{}"), None);
    }
}
