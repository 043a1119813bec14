//! The tests of `dialects::batch`.

use bytes::Bytes;
use dialects::{batch_input_body, face, read_batch_input, read_batch_output, rename_batch_input};
use domain::Grammar;

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
        assert_eq!((&*item.custom_id, item.status, item.request_id.as_deref()), ("ab", 200, Some("req_1")));
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
    let expired =
        br#"{"id":"b","custom_id":"a","response":null,"error":{"code":"batch_expired","message":"late"}}"#;
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
    let body = batch_input_body(&Bytes::from_static(line)).unwrap();
    assert_eq!(body, r#"{"messages":[{"model":"x"}],"model":"gpt-4o-mini"}"#);
    assert_eq!(batch_input_body(&Bytes::from_static(b"{}\n")), None);
}

#[test]
fn what_was_asked_of_a_job_is_bounded_in_each_form_whose_usage_is_read() {
    let bound = |input: &str| {
        let line = format!("{{\"recordId\":\"a\",\"modelInput\":{input}}}\n");
        let request = face(Grammar::Converse).read_batch_request(line.as_bytes())?;
        assert_eq!((request.prompt_bytes, request.choices), (input.len() as u64, 1));
        Some(request.max_output_tokens)
    };
    for (input, most) in [
        (r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":64,"messages":[]}"#, Some(64)),
        (r#"{"messages":[],"inferenceConfig":{"maxTokens":32}}"#, Some(32)),
        (r#"{"messages":[],"max_completion_tokens":16}"#, Some(16)),
        (r#"{"messages":[]}"#, None),
    ] {
        assert_eq!(bound(input), Some(most), "{input}");
    }
    assert_eq!(bound(r#"{"prompt":"x","max_gen_len":9}"#), None);
    assert_eq!(face(Grammar::Converse).read_batch_request(b"{}"), None);
}

#[test]
fn a_result_of_contents_tells_what_it_used_and_only_an_answer_used_something() {
    let read_item = |line: &[u8]| read_batch_output(line, ":generateContent");
    let response = r#"{"candidates":[{"content":{"parts":[{"text":"x"}],"role":"model"},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"cachedContentTokenCount":3,"candidatesTokenCount":5,"thoughtsTokenCount":2,"totalTokenCount":16},"modelVersion":"gemini-2.5-flash","responseId":"r1"}"#;
    let good =
        read_item(format!(r#"{{"response":{response},"metadata":{{"key":"a\u0062"}}}}"#).as_bytes()).unwrap();
    let usage = good.usage.unwrap();
    assert_eq!((usage.prompt_total(), usage.completion_total()), (9, 7));
    assert_eq!((&*good.custom_id, good.status), (r#""a\u0062""#, 200));
    assert_eq!((good.model.as_deref(), good.request_id.as_deref()), (Some("gemini-2.5-flash"), Some("r1")));
    for (error, status, code) in [
        (r#"{"code":3,"message":"m"}"#, 400, "INVALID_ARGUMENT"),
        (r#"{"code":8}"#, 429, "RESOURCE_EXHAUSTED"),
        (r#"{"code":503,"status":"UNAVAILABLE"}"#, 503, "UNAVAILABLE"),
        (r#"{"code":1}"#, 499, "CANCELLED"),
        ("{}", 500, "UNKNOWN"),
    ] {
        let bad = read_item(format!(r#"{{"error":{error}}}"#).as_bytes()).unwrap();
        assert_eq!((bad.status, bad.error_code.as_deref(), bad.usage), (status, Some(code), None), "{error}");
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
    for unknown in [r#"{"generation":"x","prompt_token_count":9}"#, r#"{"usage":{"tokens":3}}"#, "[]", "7"] {
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
