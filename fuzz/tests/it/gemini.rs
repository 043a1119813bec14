//! Fuzzes the Gemini format: paths, requests, streams and buffered responses.

use bolero::check;
use bytes::Bytes;
use conversation::losses::DroppedFields;
use conversation::request::{Addressed, upstream_body};
use conversation::target::TargetModel;
use dialects::{
    AnswerPath, AnswerStream, BufferedAnswer, buffered_answer, decode_request, read_batch_output,
    read_prompt, stored_objects, write_prompt,
};
use domain::{Abilities, Dialect, Grammar, Operation, StoredKind, StoredObjectKind, TraceId};
use gemini::{CONTENTS, GeminiBatchResults, read_address, read_gemini_batch_status};
use json::validate;

use crate::material::{Bends, ITERATIONS, bent, seeded};

const REQUESTS: &[&str] = &[
    r#"{"contents":[{"role":"user","parts":[{"text":"Hi"},{"inline_data":{"mime_type":"image/png","data":"-_8"}}]}],"generationConfig":{"topK":40.0,"stopSequences":["a"],"thinkingConfig":{"thinking_level":"LOW"}}}"#,
    r#"{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"S=="}]},{"parts":{"functionResponse":{"name":"f","response":{"output":"x"}}}}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}}}"#,
    r#"{"system_instruction":{"parts":[{"text":"x"}]},"contents":{"parts":{"text":"y"}},"tools":[{"function_declarations":[{"name":"f","parameters":{"type":"OBJECT","nullable":true,"properties":{"a":{"type":"ARRAY","items":{"enum":["x"]}}}}}]},{"googleSearch":{}}],"labels":{"a":"b"}}"#,
];

const STREAMS: &[&str] = &[
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"é\",\"thought\":true},{\"functionCall\":{\"name\":\"f\",\"args\":{}},\"thoughtSignature\":\"S\"}],\"role\":\"model\"}}],\"usageMetadata\":{\"promptTokenCount\":1}}\r\n\r\ndata: {\"candidates\":[{\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":1,\"candidatesTokenCount\":2}}\r\n\r\n",
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"partialArgs\":[{\"jsonPath\":\"$.a[0].b\",\"stringValue\":\"x\"},{\"jsonPath\":\"$.a[0].c\",\"numberValue\":1}],\"willContinue\":true}}]}}]}\n\ndata: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{}}]},\"finishReason\":\"STOP\"}]}\n\n",
    "data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"}}\r\n\r\n",
    "data: {\"error\":{\"code\":503,\"status\":\"UNAVAILABLE\",\"message\":\"m\"}}\r\n\r\n",
    "[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"x\"}]}}]},\n{\"candidates\":[{\"finishReason\":\"MAX_TOKENS\"}]}]",
    "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"x\"}]},\"finishReason\":\"STOP\",\"logprobsResult\":{\"chosenCandidates\":[{\"token\":\"x\"}]}}]}",
];

const BATCHES: &[&str] = &[
    r#"{"batch":{"display_name":"a","inputConfig":{"requests":{"requests":[{"request":{"model":"models/m","contents":[{"parts":[{"text":"x"}]}]},"metadata":{"key":"a"}},{"request":{}}]}}}}"#,
    r#"{"batch":{"model":"models/m","input_config":{"file_name":"files/a"}}}"#,
];

const TOLD: &[&str] = &[
    r#"{"name":"batches/a","metadata":{"name":"batches/a","state":"BATCH_STATE_SUCCEEDED","endTime":"2026-11-21T10:00:00Z","output":{"inlinedResponses":{"inlinedResponses":[{"error":{"code":3}}]}}},"done":true,"response":{"inlinedResponses":{"inlinedResponses":[{"response":{"candidates":[{"content":{"parts":[{"text":"\"]}"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1}},"metadata":{"key":"a"}},{"error":{"code":3,"message":"m"}}]}}}"#,
];

const ADDRESSES: &[&str] = &[
    "models/openai%2Fgpt-4o-mini:generateContent",
    "gemini/gemini-2.5-flash:streamGenerateContent",
    "projects/p/locations/l/publishers/google/models/m:countTokens",
];

fn answer_path(as_array: bool) -> AnswerPath {
    AnswerPath {
        as_array,
        ..AnswerPath::chat(Grammar::Gemini, Grammar::Gemini).with_labels("m", TraceId::new(1, [7; 10]), 1)
    }
}

#[test]
fn fuzz_gemini_address() {
    seeded(ADDRESSES, check!(), |input, ()| {
        let path = String::from_utf8_lossy(input).into_owned();
        match read_address(&path, &path) {
            Ok((addressed, _)) => {
                assert!(!addressed.model.is_empty());
                assert!(addressed.model.split('/').all(|part| part != ".." && part != "."), "{path}");
            }
            Err(fault) => assert!(fault.fix.is_some(), "{fault}"),
        }
    });
}

#[test]
fn fuzz_gemini_batch() {
    let addressed = Addressed { model: "m".to_owned(), ..Addressed::default() };
    seeded(BATCHES, check!(), |input, ()| {
        let body = Bytes::copy_from_slice(input);
        match decode_request(Grammar::Gemini, Operation::Batch, &body, Some(&addressed)) {
            Ok(request) => {
                assert_eq!(validate(&body), Ok(()));
                let sent = upstream_body(&body, &request, "other", true).concat();
                assert_eq!(validate(&sent), Ok(()));
            }
            Err(fault) => assert!(fault.fix.is_some(), "{fault}"),
        }
    });
}

#[test]
fn fuzz_gemini_results() {
    check!().with_iterations(ITERATIONS).with_type::<(u8, u8, Bends)>().for_each(|(which, piece, bends)| {
        let content = Bytes::from(bent(TOLD, *which, bends));
        let apart = |piece: usize| {
            let mut results = GeminiBatchResults::default();
            let found: Result<Vec<_>, _> = content.chunks(piece).map(|bytes| results.push(bytes)).collect();
            Some((found.ok()?.concat(), results.rest()))
        };
        // The result does not depend on how the bytes are split.
        assert_eq!(apart(usize::from(*piece) + 1), apart(content.len().max(1)));
        let Some((found, rest)) = apart(7) else { return };
        if validate(&content).is_ok() {
            assert_eq!(validate(&rest), Ok(()));
            assert!(found.iter().all(|result| validate(result).is_ok()));
        }
        for result in found {
            drop(read_batch_output(&result, CONTENTS));
        }
        drop(read_gemini_batch_status(&rest));
        let mut ours = |_: StoredObjectKind, _: &str| "ours".to_owned();
        let batches = stored_objects(StoredObjectKind::of(Dialect::Gemini, StoredKind::Batch)).unwrap();
        if let Some((body, made)) = batches.rewrite_ids(&content, &mut ours) {
            assert_eq!(validate(&body), Ok(()));
            assert_eq!(validate(made.list_entry.as_bytes()), Ok(()));
        }
    });
}

#[test]
fn fuzz_gemini_request() {
    let addressed = Addressed { model: "m".to_owned(), stream: true, ..Addressed::default() };
    seeded(REQUESTS, check!(), |input, ()| {
        let body = Bytes::copy_from_slice(input);
        let request = match decode_request(Grammar::Gemini, Operation::Chat, &body, Some(&addressed)) {
            Ok(request) => request,
            Err(fault) => return assert!(fault.fix.is_some(), "{fault}"),
        };
        assert_eq!(validate(&body), Ok(()));
        let Ok(prompt) = read_prompt(Grammar::Gemini, &body, &request) else { return };
        let mut losses = DroppedFields::new(Grammar::Gemini, Grammar::Gemini, dialects::feature_names);
        let target = TargetModel { model: "m", abilities: Abilities::default() };
        if let Ok(written) = write_prompt(Grammar::Gemini, &prompt, &target, &mut losses) {
            assert_eq!(validate(&written), Ok(()), "{}", String::from_utf8_lossy(&written));
            // Tools that Google runs pass as they were written, and not by way of a prompt.
            let unsaid = losses.finish(false).err().and_then(|fault| fault.param.clone());
            let is_hosted = |name: &str| name.starts_with("tools[") || name == "web_search_options";
            assert!(
                unsaid.as_deref().is_none_or(is_hosted),
                "what was read here can be said here: {unsaid:?}"
            );
        }
    });
}

/// A stream's output when it arrives in chunks of this size.
fn pass(bytes: &[u8], size: usize, as_array: bool) -> (Vec<u8>, bool, String) {
    let mut stream = AnswerStream::new(answer_path(as_array));
    let mut out = Vec::new();
    let mut failed =
        bytes.chunks(size.max(1)).any(|chunk| stream.push(Bytes::copy_from_slice(chunk), &mut out).is_err());
    if !failed {
        failed = stream.finish(&mut out).is_err();
    }
    (out.concat(), failed, format!("{:?}", stream.facts()))
}

#[test]
fn fuzz_gemini_stream() {
    seeded(STREAMS, check!(), |input, (size, as_array): &(u8, bool)| {
        let bytes = input.to_vec();
        let (sent, failed, facts) = pass(&bytes, bytes.len(), *as_array);
        let pieces = pass(&bytes, usize::from(*size) % 9 + 1, *as_array);
        assert_eq!((&pieces.1, &pieces.2), (&failed, &facts));
        if !failed {
            assert_eq!(pieces.0, sent);
            assert!(!as_array || validate(&sent) == Ok(()), "{}", String::from_utf8_lossy(&sent));
        }
    });
}

#[test]
fn fuzz_gemini_answer() {
    seeded(STREAMS, check!(), |input, ()| {
        let body = Bytes::copy_from_slice(input);
        if let Ok(BufferedAnswer { body: answer, facts, .. }) = buffered_answer(&answer_path(false), body) {
            assert_eq!(validate(answer.trim_ascii()), Ok(()));
            let again =
                buffered_answer(&answer_path(false), answer).expect("what is put together is an answer");
            assert_eq!(again.facts.content_bytes, facts.content_bytes);
        }
    });
}
