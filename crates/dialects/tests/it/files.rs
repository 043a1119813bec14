//! The tests of `dialects::files`.

use bytes::Bytes;
use conversation::request::{Addressed, Request};
use dialects::{decode_request, exchange_files};
use domain::{Grammar, Operation};

fn read(grammar: Grammar, body: &str) -> (Bytes, Request) {
    let body = Bytes::from(body.to_owned());
    let request = decode_request(grammar, Operation::Chat, &body, None).unwrap();
    (body, request)
}

fn paths(request: &Request) -> Vec<(&str, &str)> {
    request.files.iter().map(|file| (&*file.id, &*file.path)).collect()
}

const RESPONSES: &str = r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"file-tg_1"},
    {"type":"input_file","file_id": "file-t\u0067_1" },{"type":"input_image","file_id":"file-abc"}]},
    {"type":"function_call_output","call_id":"c","output":[{"type":"input_file","file_id":"file-tg_1"}]},
    {"type":"computer_call_output","call_id":"d","output":{"type":"computer_screenshot","file_id":"file-tg_2"}}],
    "tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["file-tg_1"]}},
    {"type":"image_generation","input_image_mask":{"file_id":"file-tg_2"}}],
    "metadata":{"file_id":"file-tg_1"},"stream":true}"#;

#[test]
fn files_are_found_where_a_conversation_names_them_and_nowhere_else() {
    let (_, request) = read(Grammar::Responses, RESPONSES);
    let expected = [
        ("file-tg_1", "input[0].content[1].file_id"),
        ("file-abc", "input[0].content[2].file_id"),
        ("file-tg_1", "input[1].output[0].file_id"),
        ("file-tg_2", "input[2].output.file_id"),
        ("file-tg_1", "tools[0].container.file_ids[0]"),
        ("file-tg_2", "tools[1].input_image_mask.file_id"),
    ];
    assert_eq!(paths(&request), expected);
    let (_, request) = read(
        Grammar::Chat,
        r#"{"model":"m","messages":[{"role":"system","content":"file-tg_1"},{"role":"user","content":[
            {"type":"file","file":{"filename":"a","file_id":"file-tg_1"}},{"file_id":"file-b","type":"file"},
            {"type":"file","file":{"file_id":null}}]}],"metadata":{"file_id":"file-tg_1"}}"#,
    );
    let expected =
        [("file-tg_1", "messages[1].content[0].file.file_id"), ("file-b", "messages[1].content[1].file_id")];
    assert_eq!(paths(&request), expected);
}

#[test]
fn files_of_blocks_are_found() {
    let (_, request) = read(
        Grammar::Anthropic,
        r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[
            {"type":"document","source":{"type":"file","file_id":"file_1"}},
            {"type":"container_upload","file_id":"file_2"},
            {"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"x"},
                {"type":"image","source":{"type":"file","file_id":"file_3"}}]}]}]}"#,
    );
    let expected = [
        ("file_1", "messages[0].content[0].source.file_id"),
        ("file_2", "messages[0].content[1].file_id"),
        ("file_3", "messages[0].content[2].content[1].source.file_id"),
    ];
    assert_eq!(paths(&request), expected);
}

#[test]
fn a_cached_prompt_is_named_by_the_end_of_its_resource() {
    let addressed = Addressed { model: "m".to_owned(), stream: true, ..Addressed::default() };
    let contents = r#""contents":[{"parts":[{"text":"cachedContents/cache_tg_1"}]}]"#;
    for (field, value, operation, is_named) in [
        ("cachedContent", "cachedContents/cache_tg_1", Operation::Chat, true),
        ("cached_content", "cachedContents\\/cache_tg_1", Operation::Chat, true),
        ("cachedContent", "cachedContents/cache_tg_\\u0031", Operation::Chat, false),
        ("cachedContent", "projects/p/locations/l/cachedContents/1", Operation::Chat, false),
    ] {
        let text = format!(r#"{{"{field}": "{value}",{contents}}}"#);
        let body = Bytes::from(text.clone());
        let request = decode_request(Grammar::Gemini, operation, &body, Some(&addressed)).unwrap();
        let named = request.files.iter().any(|file| file.is_our_cached_content() && file.path == field);
        assert_eq!(named, is_named, "{text}");
        let ours = |id: &str| (id == "cachedContents/cache_tg_1").then(|| "own-1".to_owned());
        let (sent, again) = exchange_files(Grammar::Gemini, operation, &body, &request, &ours).unwrap();
        let expected = if is_named { text.replacen("cache_tg_1", "own-1", 1) } else { text };
        assert_eq!(String::from_utf8(sent.to_vec()).unwrap(), expected);
        assert_eq!((&*again.model, again.stream), ("m", true));
    }
}

#[test]
fn ids_are_exchanged_by_their_spans_and_all_else_stays() {
    let (body, request) = read(Grammar::Responses, RESPONSES);
    let at_keeper = |id: &str| id.strip_prefix("file-tg_").map(|number| format!("file-own{number}"));
    let (sent, again) =
        exchange_files(Grammar::Responses, Operation::Chat, &body, &request, &at_keeper).unwrap();
    let expected = RESPONSES
        .replace(r#""file-t\u0067_1""#, r#""file-own1""#)
        .replace(r#""file_id":"file-tg_"#, r#""file_id":"file-own"#)
        .replace(r#"["file-tg_1"]"#, r#"["file-own1"]"#)
        .replace(r#""metadata":{"file_id":"file-own1"}"#, r#""metadata":{"file_id":"file-tg_1"}"#);
    assert_eq!(String::from_utf8(sent.to_vec()).unwrap(), expected);
    let unexchanged: Vec<_> = again.files.iter().filter(|file| !file.is_exchanged).collect();
    assert_eq!(unexchanged.len(), 1);
    assert_eq!(unexchanged[0].id, "file-abc");
    assert_eq!((again.prompt_bytes, again.stream), (request.prompt_bytes, true));
}
