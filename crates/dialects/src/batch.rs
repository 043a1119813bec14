//! Batch files, line by line: the requests in an input file and the results in an output file.

use std::borrow::Cow;

use crate::registry::face;
use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::batch::BatchOutputLine;
use domain::{Grammar, Operation, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer_path::AnswerPath;
use crate::buffered::BufferedAnswer;
use crate::embed::buffered_vectors;
use crate::media::{buffered_image_answer, buffered_object};
use crate::transcript::AnswerForm;
use crate::whole::buffered_answer;

/// One request of a batch, as far as accounting needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchInputLine {
    pub custom_id: String,
    pub model: String,
}

#[derive(Deserialize)]
struct RequestLine<'a> {
    #[serde(borrow)]
    custom_id: Cow<'a, str>,
    #[serde(borrow)]
    body: Named<'a>,
}

#[derive(Deserialize, Default)]
pub(crate) struct Named<'a> {
    #[serde(borrow)]
    pub(crate) model: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ItemLine<'a> {
    #[serde(borrow)]
    custom_id: Cow<'a, str>,
    #[serde(borrow)]
    response: Option<Answered<'a>>,
    #[serde(borrow)]
    error: Option<Failed<'a>>,
}

#[derive(Deserialize)]
struct Answered<'a> {
    status_code: u16,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Failed<'a> {
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
}

/// The operation and the dialect of a batch's requests, by the endpoint that they share.
#[must_use]
pub fn batch_operation(endpoint: &str) -> (Operation, Grammar) {
    file_batch_operation(endpoint)
        .unwrap_or_else(|| (Operation::Chat, own_grammar(endpoint).unwrap_or(Grammar::Chat)))
}

/// The same for the requests in a file; `None` for no such endpoint.
#[must_use]
pub fn file_batch_operation(endpoint: &str) -> Option<(Operation, Grammar)> {
    Grammar::ALL.into_iter().find_map(|grammar| {
        let endpoints = face(grammar).facts().batch_endpoints;
        let (_, operation) = endpoints.iter().find(|(known, _)| *known == endpoint)?;
        Some((*operation, grammar))
    })
}

/// Reads a line of an input file; `None` where it is not a request.
#[must_use]
pub fn read_batch_input(line: &[u8]) -> Option<BatchInputLine> {
    let read: RequestLine<'_> = serde_json::from_slice(line).ok()?;
    let model = read.body.model.unwrap_or_default().into_owned();
    Some(BatchInputLine { custom_id: read.custom_id.into_owned(), model })
}

/// A line of an input file under another name of its model; `None` where that has none there, or the line is no request.
pub fn rename_batch_input(line: &[u8], name_of: impl FnOnce(&str) -> Option<String>) -> Option<Vec<u8>> {
    let name = name_of(&read_batch_input(line)?.model)?;
    let body = json::find_member(line, "body").ok()??;
    let model = json::find_member(body.of(line), "model").ok()??;
    let (start, end) = (body.start + model.start, body.start + model.end);
    let quoted = serde_json::to_vec(&name).ok()?;
    Some([line.get(..start)?, &quoted, line.get(end..)?].concat())
}

/// Reads a line of an output file; `None` where it is not a result.
#[must_use]
pub fn read_batch_output(line: &[u8], endpoint: &str) -> Option<BatchOutputLine> {
    if let Some(face) = own_grammar(endpoint).map(face) {
        let (line, answer) = face.read_batch_item(line)?;
        let usage = answer.and_then(|(answer, grammar)| usage_of(answer, grammar, buffered_answer));
        return Some(BatchOutputLine { usage, ..line });
    }
    let read: ItemLine<'_> = serde_json::from_slice(line).ok()?;
    let custom_id = read.custom_id.into_owned();
    let error_code = read.error.and_then(|error| error.code).map(Cow::into_owned);
    let Some(answered) = read.response else {
        return Some(BatchOutputLine {
            custom_id,
            model: None,
            status: 0,
            request_id: None,
            error_code,
            usage: None,
        });
    };
    let (operation, grammar) = batch_operation(endpoint);
    let is_well = (200..300).contains(&answered.status_code);
    let body = answered.body.map(RawValue::get).filter(|_| is_well);
    let named = body.and_then(|body| serde_json::from_str::<Named<'_>>(body).ok()).unwrap_or_default();
    Some(BatchOutputLine {
        custom_id,
        model: named.model.map(Cow::into_owned),
        status: answered.status_code,
        request_id: answered.request_id.map(Cow::into_owned),
        error_code,
        usage: body.and_then(|body| usage_of(body, grammar, answer_reader(operation))),
    })
}

/// The grammar whose own batches are booked under this endpoint.
fn own_grammar(endpoint: &str) -> Option<Grammar> {
    let is_own = |grammar: &Grammar| face(*grammar).facts().batches == Some(endpoint);
    Grammar::ALL.into_iter().find(is_own)
}

type ReadAnswerBody = fn(&AnswerPath, Bytes) -> Result<BufferedAnswer, StreamFault>;

/// What reads the answers to requests for an operation.
fn answer_reader(operation: Operation) -> ReadAnswerBody {
    match operation {
        Operation::Embed => buffered_vectors,
        Operation::Moderate => |_, body| buffered_object(body),
        Operation::Images => buffered_image_answer,
        _ => buffered_answer,
    }
}

/// The usage that an answer reports.
fn usage_of(body: &str, grammar: Grammar, read: ReadAnswerBody) -> Option<Usage> {
    let answer_path = AnswerPath { form: AnswerForm::Json, ..AnswerPath::chat(grammar, grammar) };
    read(&answer_path, Bytes::copy_from_slice(body.as_bytes())).ok()?.facts.usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_it_used_whatever_was_asked() {
        let chat = r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}"#;
        let response = r#"{"id":"r","object":"response","status":"completed","model":"m","output":[],"usage":{"input_tokens":9,"output_tokens":5,"total_tokens":14}}"#;
        let vectors = r#"{"object":"list","model":"m","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"usage":{"prompt_tokens":9,"total_tokens":9}}"#;
        for (endpoint, body, used) in [
            ("/v1/chat/completions", chat, (9, 5)),
            ("/v1/responses", response, (9, 5)),
            ("/v1/embeddings", vectors, (9, 0)),
        ] {
            let line = format!(
                r#"{{"id":"batch_req_1","custom_id":"a\u0062","response":{{"status_code":200,"request_id":"req_1","body":{body}}},"error":null}}"#
            );
            let item = read_batch_output(line.as_bytes(), endpoint).unwrap();
            let usage = item.usage.unwrap();
            assert_eq!((usage.prompt_total(), usage.completion_total()), used, "{endpoint}");
            assert_eq!(
                (&*item.custom_id, item.status, item.request_id.as_deref()),
                ("ab", 200, Some("req_1"))
            );
            assert!(item.model.is_some() && item.error_code.is_none());
        }
    }

    #[test]
    fn a_line_has_another_name_of_its_model_and_nothing_else_of_its_own() {
        let rename = |line: &str| {
            let name_of = |model: &str| (model == "a/m").then(|| "m".to_owned());
            rename_batch_input(line.as_bytes(), name_of).map(|line| String::from_utf8(line).unwrap())
        };
        for (line, renamed) in [
            (
                r#" {"model":"a/m","custom_id":"1","body": {"n":1e2,"x":"a/m", "model" : "a/m" },"y":[]}"#,
                r#" {"model":"a/m","custom_id":"1","body": {"n":1e2,"x":"a/m", "model" : "m" },"y":[]}"#,
            ),
            (
                "{\"custom_id\":\"1\",\"body\":{\"model\":\"a\\u002fm\"}}\r\n",
                "{\"custom_id\":\"1\",\"body\":{\"model\":\"m\"}}\r\n",
            ),
        ] {
            assert_eq!(rename(line).as_deref(), Some(renamed), "{line}");
        }
        for line in [
            "",
            "[]",
            r#"{"custom_id":"1","body":{"model":"other"}}"#,
            r#"{"custom_id":"1","body":{"messages":[]}}"#,
        ] {
            assert_eq!(rename(line), None, "{line}");
        }
    }

    #[test]
    fn what_failed_used_nothing() {
        let refused = br#"{"id":"b","custom_id":"a","response":{"status_code":400,"request_id":"r","body":{"error":{"message":"no"}}},"error":null}"#;
        let item = read_batch_output(refused, "/v1/chat/completions").unwrap();
        assert_eq!((item.status, item.usage, item.model), (400, None, None));
        let expired = br#"{"id":"b","custom_id":"a","response":null,"error":{"code":"batch_expired","message":"late"}}"#;
        let item = read_batch_output(expired, "/v1/chat/completions").unwrap();
        assert_eq!((item.status, item.error_code.as_deref()), (0, Some("batch_expired")));
        assert_eq!(read_batch_output(b"{}", "/v1/chat/completions"), None);
        assert_eq!(read_batch_output(b"", "/v1/chat/completions"), None);
    }

    #[test]
    fn what_was_asked_names_its_model() {
        let line = br#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"model":"x"}],"model":"gpt-4o-mini"}}"#;
        let ask = read_batch_input(line).unwrap();
        assert_eq!((&*ask.custom_id, &*ask.model), ("a", "gpt-4o-mini"));
        assert_eq!(read_batch_input(b"[]"), None);
    }

    #[test]
    fn a_result_of_contents_tells_what_it_used_and_only_an_answer_used_something() {
        let read_item = |line: &[u8]| read_batch_output(line, ":generateContent");
        let response = r#"{"candidates":[{"content":{"parts":[{"text":"x"}],"role":"model"},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"cachedContentTokenCount":3,"candidatesTokenCount":5,"thoughtsTokenCount":2,"totalTokenCount":16},"modelVersion":"gemini-2.5-flash","responseId":"r1"}"#;
        let good =
            read_item(format!(r#"{{"response":{response},"metadata":{{"key":"a\u0062"}}}}"#).as_bytes())
                .unwrap();
        let usage = good.usage.unwrap();
        assert_eq!((usage.prompt_total(), usage.completion_total()), (9, 7));
        assert_eq!((&*good.custom_id, good.status), (r#""a\u0062""#, 200));
        assert_eq!(
            (good.model.as_deref(), good.request_id.as_deref()),
            (Some("gemini-2.5-flash"), Some("r1"))
        );
        for (error, status, code) in [
            (r#"{"code":3,"message":"m"}"#, 400, "INVALID_ARGUMENT"),
            (r#"{"code":8}"#, 429, "RESOURCE_EXHAUSTED"),
            (r#"{"code":503,"status":"UNAVAILABLE"}"#, 503, "UNAVAILABLE"),
            (r#"{"code":1}"#, 499, "CANCELLED"),
            ("{}", 500, "UNKNOWN"),
        ] {
            let bad = read_item(format!(r#"{{"error":{error}}}"#).as_bytes()).unwrap();
            assert_eq!(
                (bad.status, bad.error_code.as_deref(), bad.usage),
                (status, Some(code), None),
                "{error}"
            );
            assert_eq!(bad.custom_id, "");
        }
        let nothing = read_item(b"{}").unwrap();
        assert_eq!((nothing.status, nothing.error_code, nothing.usage), (0, None, None));
        assert_eq!(read_item(b"[7]"), None);
        assert_eq!(read_item(b""), None);
    }

    #[test]
    fn a_result_of_messages_tells_what_it_used_and_only_an_answer_used_something() {
        let read_item = |line: &[u8]| read_batch_output(line, "/v1/messages");
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
    fn a_line_tells_what_it_used_in_the_form_of_its_vendor_or_not_at_all() {
        let read_item = |line: &[u8]| read_batch_output(line, "/model-invocation-job");
        let message = r#"{"id":"m","type":"message","role":"assistant","model":"claude-haiku-4-5-20251001","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":5}}"#;
        let converse = r#"{"output":{"message":{"role":"assistant","content":[{"text":"x"}]}},"stopReason":"end_turn","usage":{"inputTokens":9,"outputTokens":5,"totalTokens":14}}"#;
        let chat = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}"#;
        for output in [message, converse, chat] {
            let line = format!(r#"{{"modelInput":{{}},"modelOutput":{output},"recordId":"a\u0062"}}"#);
            let item = read_item(line.as_bytes()).unwrap();
            let usage = item.usage.unwrap();
            assert_eq!((usage.prompt_total(), usage.completion_total()), (9, 5), "{output}");
            assert_eq!((&*item.custom_id, item.status), ("ab", 200));
        }
        for unknown in
            [r#"{"generation":"x","prompt_token_count":9}"#, r#"{"usage":{"tokens":3}}"#, "[]", "7"]
        {
            let line = format!(r#"{{"recordId":"a","modelOutput":{unknown}}}"#);
            let item = read_item(line.as_bytes()).unwrap();
            assert_eq!((item.status, item.usage), (200, None), "{unknown}");
        }
    }

    #[test]
    fn what_failed_of_a_job_used_nothing() {
        let read_item = |line: &[u8]| read_batch_output(line, "/model-invocation-job");
        let read = |line: &str| {
            let item = read_item(line.as_bytes()).unwrap();
            assert_eq!(item.usage, None);
            (item.status, item.error_code)
        };
        let refused =
            r#"{"recordId":"a","modelInput":{},"error":{"errorCode":400,"errorMessage":"bad request"}}"#;
        assert_eq!(read(refused), (400, None));
        let named = r#"{"recordId":"a","error":{"errorCode":"Expired","errorMessage":"late"}}"#;
        assert_eq!(read(named), (500, Some("Expired".to_owned())));
        assert_eq!(read(r#"{"recordId":"a"}"#), (0, Some("batch_not_tried".to_owned())));
        assert_eq!(read_item(b"{}"), None);
        assert_eq!(read_item(b""), None);
    }
}
