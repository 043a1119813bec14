//! Message Batches: batches that carry their requests inline.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use conversation::batch::{BatchModels, BatchOutputLine, LineAnswer, Named, SEVERAL};
use conversation::request::{Request, RequestPart};
use domain::{Fault, FaultClass, Grammar};
use json::fields::not_empty;
use json::refusal::{duplicate, missing, no_object, wrong_type, wrong_value};
use json::{Cursor, Kind, Span, Value};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::limits::{BATCH_REQUESTS_MAX, CUSTOM_ID_CHARS_MAX};

/// The endpoint that each request would be sent to on its own.
pub const MESSAGES: &str = "/v1/messages";

const REQUESTS: &str = "requests";
const ID_HOW: &str = "Give each request of the batch a unique id.";
const MODEL_HOW: &str = "Name a model, such as anthropic/claude-haiku-4-5.";

fn model_of(request: usize) -> String {
    format!("{REQUESTS}[{request}].params.model")
}

/// Where the results of a batch are read, by the id that Tidegate gave it.
pub fn results_address(id: &str) -> String {
    format!("{MESSAGES}/batches/{id}/results")
}

/// Reads what later stages need to know about a new batch.
pub(super) fn decode(body: &Bytes) -> Result<Request, Box<Fault>> {
    not_empty(body)?;
    let mut cursor = Cursor::new(body)?;
    let kind = cursor.kind()?;
    if kind != Kind::Object {
        return Err(no_object(kind));
    }
    let (mut bundle, mut ids, mut is_there) = (BatchModels::default(), HashSet::new(), false);
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
        cursor
            .array(|cursor, at| {
                if at < BATCH_REQUESTS_MAX {
                    read_batch_item(cursor, body, at)?.join(at, &mut bundle, &mut ids)
                } else {
                    Err(too_many())
                }
            })
            .map(drop)
    })?;
    cursor.end()?;
    let Some(first) = bundle.models.first() else {
        return Err(missing(REQUESTS.to_owned(), "Send a list of at least one {custom_id, params}."));
    };
    let model = first.name.clone();
    Ok(Request {
        max_output_tokens: Some(0),
        part: RequestPart::Batch(Box::new(bundle)),
        ..Request::of_model(&model)
    })
}

fn too_many() -> Box<Fault> {
    let message = format!("\"{REQUESTS}\" holds more than {BATCH_REQUESTS_MAX} requests.");
    let fault = Fault::new(FaultClass::BadRequest, "too_many_requests_in_batch", message);
    Box::new(fault.param(REQUESTS.to_owned()).fix(SEVERAL))
}

/// What is read of one request.
#[derive(Default)]
struct BatchItem<'b> {
    custom_id: Option<Cow<'b, str>>,
    has_params: bool,
    model: Option<(String, Span)>,
    output_tokens: Option<u64>,
}

fn request_path(at: usize, name: &str) -> String {
    format!("{REQUESTS}[{at}]{name}")
}

fn read_batch_item<'b>(
    cursor: &mut Cursor<'b>,
    body: &'b Bytes,
    at: usize,
) -> Result<BatchItem<'b>, Box<Fault>> {
    // Sent alone it would be a body: limits apply to each request by itself.
    cursor.begin_document();
    let kind = cursor.kind()?;
    if kind != Kind::Object {
        return Err(wrong_type(request_path(at, ""), "an object", kind));
    }
    let mut item = BatchItem::default();
    cursor.object(|cursor, member| {
        if member.key.is("params") {
            return item.read_params(cursor, body, at);
        }
        if !member.key.is("custom_id") {
            cursor.skip()?;
            return Ok(());
        }
        let kind = cursor.kind()?;
        let Value::String(text) = cursor.value()? else {
            return Err(wrong_type(request_path(at, ".custom_id"), "a string", kind));
        };
        match item.custom_id.replace(text.decode()) {
            Some(_) => Err(duplicate(request_path(at, ".custom_id"))),
            None => Ok(()),
        }
    })?;
    Ok(item)
}

impl<'b> BatchItem<'b> {
    fn read_params(&mut self, cursor: &mut Cursor<'b>, body: &'b Bytes, at: usize) -> Result<(), Box<Fault>> {
        let kind = cursor.kind()?;
        if kind != Kind::Object {
            return Err(wrong_type(request_path(at, ".params"), "an object", kind));
        }
        if std::mem::replace(&mut self.has_params, true) {
            return Err(duplicate(request_path(at, ".params")));
        }
        let read = cursor.object(|cursor, member| {
            if member.key.is("max_tokens") {
                self.output_tokens = cursor.value()?.as_count();
                return Ok::<(), Box<Fault>>(());
            }
            if !member.key.is("model") {
                cursor.skip()?;
                return Ok::<(), Box<Fault>>(());
            }
            let kind = cursor.kind()?;
            let span = cursor.skip()?;
            let Value::String(text) = Cursor::new(span.of(body))?.value()? else {
                return Err(wrong_type(model_of(at), "a string", kind));
            };
            match self.model.replace((text.decode().into_owned(), span)) {
                Some(_) => Err(duplicate(model_of(at))),
                None => Ok(()),
            }
        });
        read.map(drop)
    }

    /// Adds this request to the batch.
    fn join(
        self,
        at: usize,
        bundle: &mut BatchModels,
        ids: &mut HashSet<Cow<'b, str>>,
    ) -> Result<(), Box<Fault>> {
        let custom_id = self.custom_id.ok_or_else(|| missing(request_path(at, ".custom_id"), ID_HOW))?;
        if !(1..=CUSTOM_ID_CHARS_MAX).contains(&custom_id.chars().count()) {
            let fix = format!("Send 1 to {CUSTOM_ID_CHARS_MAX} characters.");
            return Err(wrong_value(request_path(at, ".custom_id"), "is empty or too long", fix));
        }
        // Accounting tells the requests apart by this id.
        if !ids.insert(custom_id) {
            let what = "is also the id of another request";
            return Err(wrong_value(request_path(at, ".custom_id"), what, ID_HOW.to_owned()));
        }
        let (model, span) = self
            .model
            .filter(|(model, _)| !model.is_empty())
            .ok_or_else(|| missing(model_of(at), MODEL_HOW))?;
        bundle.bound(self.output_tokens, 1);
        bundle.name(model, span, || model_of(at))
    }
}

#[derive(Deserialize)]
struct ItemLine<'a> {
    #[serde(borrow)]
    custom_id: Cow<'a, str>,
    #[serde(borrow)]
    result: ItemResult<'a>,
}

#[derive(Deserialize)]
struct ItemResult<'a> {
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
    error: Option<ErrorType<'a>>,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ErrorType<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

/// Reads a line of a results file; `None` where it is not a result.
pub(super) fn read_item(line: &[u8]) -> Option<(BatchOutputLine, LineAnswer<'_>)> {
    let ItemLine { custom_id, result } = serde_json::from_slice(line).ok()?;
    let nothing = BatchOutputLine {
        custom_id: custom_id.into_owned(),
        model: None,
        status: 0,
        request_id: None,
        error_code: None,
        usage: None,
    };
    Some(match &*result.kind {
        "succeeded" => {
            let message = result.message.map_or("{}", RawValue::get);
            let named = serde_json::from_str::<Named<'_>>(message).unwrap_or_default();
            let model = named.model.map(Cow::into_owned);
            let line = BatchOutputLine { model, status: 200, ..nothing };
            (line, Some((message, Grammar::Anthropic)))
        }
        "errored" => {
            let (why, request_id) =
                result.error.map_or((None, None), |refused| (refused.error, refused.request_id));
            let status = why.as_ref().map_or(500, |why| status_of(&why.kind));
            let error_code = why.map(|why| why.kind.into_owned());
            let request_id = request_id.map(Cow::into_owned);
            (BatchOutputLine { status, error_code, request_id, ..nothing }, None)
        }
        never_tried => {
            (BatchOutputLine { error_code: Some(format!("batch_{never_tried}")), ..nothing }, None)
        }
    })
}

/// The status code that Anthropic sends with this error type.
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
    use conversation::limits::BATCH_MODELS_MAX;

    use super::*;

    #[test]
    fn each_model_is_found_once_and_every_place_is_renamed() {
        let body = Bytes::from_static(
            br#"{"requests":[{"custom_id":"a","params":{"messages":[{"model":"m"}],"model": "m"}},
                {"params":{"model":"n","max_tokens":1},"custom_id":"b"},{"custom_id":"c","params":{"model":"m"}}],"more":1}"#,
        );
        let mut request = decode(&body).unwrap();
        assert_eq!(request.model, "m");
        let bundle = request.batch_mut().unwrap();
        let found: Vec<_> = bundle.models.iter().map(|model| (&*model.name, &*model.path)).collect();
        assert_eq!(found, [("m", "requests[0].params.model"), ("n", "requests[1].params.model")]);
        assert_eq!((bundle.output_tokens, bundle.unbounded), (1, 2));
        assert_eq!(bundle.upstream_body(&body), std::slice::from_ref(&body));
        for (model, name) in bundle.models.iter_mut().zip(["claude-m", "n"]) {
            model.upstream_name = Some(name.to_owned());
        }
        let sent = conversation::request::upstream_body(&body, &request, "unread", true).concat();
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
        let batch = |requests: &[String]| format!(r#"{{"requests":[{}]}}"#, requests.join(","));
        let good = ask("a", r#"{"model":"m"}"#);
        let many: Vec<String> = (0..=BATCH_MODELS_MAX)
            .map(|at| ask(&at.to_string(), &format!(r#"{{"model":"m{at}"}}"#)))
            .collect();
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
            (batch(&[good, ask("b", "{}")]), "missing_required_parameter", Some("requests[1].params.model")),
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
            (
                r#"{"requests":[{"custom_id":"a","params":{"model":"m"},"params":{}}]}"#.to_owned(),
                "duplicate_field",
                Some("requests[0].params"),
            ),
            (batch(&many), "too_many_models", Some("requests[64].params.model")),
        ] {
            let fault = decode(&Bytes::from(body.clone())).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), (code, param), "{body}");
        }
    }

    /// Limits on object members apply to each request as if it came alone, and the requests are counted.
    #[test]
    fn the_members_of_one_request_do_not_count_for_the_others() {
        let batch = |number: usize| {
            let requests =
                (0..number).map(|at| format!(r#"{{"custom_id":"{at}","params":{{"model":"m"}}}}"#));
            decode(&Bytes::from(format!(r#"{{"requests":[{}]}}"#, requests.collect::<Vec<_>>().join(","))))
        };
        assert!(batch(BATCH_REQUESTS_MAX).is_ok());
        let fault = batch(BATCH_REQUESTS_MAX + 1).unwrap_err();
        assert_eq!((fault.code, fault.param.as_deref()), ("too_many_requests_in_batch", Some("requests")));
        let members =
            (0..=domain::limits::JSON_KEYS_MAX).map(|at| format!(r#""{at}":0"#)).collect::<Vec<_>>();
        let body = format!(r#"{{"requests":[{{"custom_id":"a","params":{{{}}}}}]}}"#, members.join(","));
        assert_eq!(decode(&Bytes::from(body)).unwrap_err().code, "json_too_many_keys");
    }
}
