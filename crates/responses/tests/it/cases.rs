//! Tests of single cases: odd upstream answers, endings, and dropped request fields.

use conversation::answer::{AnswerOptions, ReadAnswer, StreamFault, WriteAnswer};
use conversation::constraints::AnswerConstraints;
use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use domain::prompt::{
    CacheLifetime, CacheMark, Content, Effort, Instruction, Part, Role, Signature, Source, Thought, Tool,
    ToolCall, ToolKind, ToolResult, Turn,
};
use domain::{Abilities, Event, FaultClass, Finish, Grammar, Json, PartKind, Prompt, Reason, Thinking};
use responses::{Reader, Writer, write_prompt};
use serde_json::{Value, json};

/// A short form of what these events are read as.
fn read(data: &[&str]) -> Result<Vec<String>, StreamFault> {
    let (mut reader, mut events) = (Reader::default(), Vec::new());
    for data in data {
        reader.event(b"", data.as_bytes(), &mut events)?;
    }
    reader.end(&mut events)?;
    Ok(short(&events))
}

fn short(events: &[Event]) -> Vec<String> {
    let kind = |kind: &PartKind| match kind {
        PartKind::Text => "text".to_owned(),
        PartKind::Thought { is_summary, .. } => if *is_summary { "summary" } else { "thought" }.to_owned(),
        PartKind::Redacted => "redacted".to_owned(),
        PartKind::Refusal => "refusal".to_owned(),
        PartKind::Call { id, name, is_custom } => {
            format!("{} {id} {name}", if *is_custom { "custom" } else { "call" })
        }
        PartKind::Image { media_type, .. } => format!("image {media_type}"),
        PartKind::Foreign { kind, .. } => format!("foreign {kind}"),
    };
    let one = |event: &Event| match event {
        Event::Start { .. } => "start".to_owned(),
        Event::Begin { part, kind: started, .. } => format!("{part}< {}", kind(started)),
        Event::Delta { part, text, .. } => format!("{part}: {text}"),
        Event::Signature { part, value, .. } => format!("{part}~ {value}"),
        Event::Citation { part, .. } => format!("{part}^"),
        Event::Logprobs { tokens, .. } => format!("logprobs {}", tokens.as_str()),
        Event::End { part, .. } => format!("{part}>"),
        Event::Finish { finish, .. } => {
            format!("finish {:?} {}", finish.reason, finish.raw.as_deref().unwrap_or("-"))
        }
        Event::Usage(usage) => format!("usage {}+{}", usage.prompt_total(), usage.completion_total()),
        Event::Done => "done".to_owned(),
    };
    events.iter().map(one).collect()
}

const COMPLETED: &str = r#"{"type":"response.completed","response":{"status":"completed","output":[]}}"#;

/// What upstreams send, and what it is read as.
const ODD: &[(&[&str], &str)] = &[
    // Only the last event carries anything.
    (
        &[
            r#"{"type":"response.completed","response":{"id":"r","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"x","annotations":[{}]}]}],"usage":{"input_tokens":1,"output_tokens":2}}}"#,
        ],
        "start | 0< text | 0: x | 0^ | 0> | finish Stop completed | usage 1+2 | done",
    ),
    // Items come complete, without deltas, and again at the end.
    (
        &[
            r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","call_id":"c","name":"f","namespace":"n","arguments":"{\"a\":1,\"a\":2}"}}"#,
            r#"{"type":"response.completed","response":{"status":"completed","output":[{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}]}}"#,
        ],
        "start | 0< call c n__f | 0: {\"a\":1,\"a\":2} | 0> | finish Calls completed | done",
    ),
    // The last deltas are missing: the complete text supplies the rest.
    (
        &[
            r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"Hé","logprobs":[{"token":"H"}]}"#,
            r#"{"type":"response.output_text.done","output_index":0,"content_index":0,"text":"Héllo"}"#,
            COMPLETED,
        ],
        "start | 0< text | 0: Hé | logprobs [{\"token\":\"H\"}] | 0: llo | 0> | finish Stop completed | done",
    ),
    // Reasoning with only encrypted content, and one with nothing at all.
    (
        &[
            r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"e"}}"#,
            r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"reasoning","id":"rs_2","summary":[]}}"#,
            COMPLETED,
        ],
        "start | 0< summary | 0~ e | 0> | finish Stop completed | done",
    ),
    // Full reasoning text, as open models send it.
    (
        &[
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"rs_1","summary":[]}}"#,
            r#"{"type":"response.content_part.added","output_index":0,"content_index":0,"part":{"type":"reasoning_text","text":""}}"#,
            r#"{"type":"response.reasoning_text.delta","output_index":0,"content_index":0,"delta":"hm"}"#,
            r#"{"type":"response.content_part.done","output_index":0,"content_index":0,"part":{"type":"reasoning_text","text":"hm"}}"#,
            r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"hm"}],"encrypted_content":"e"}}"#,
            COMPLETED,
        ],
        "start | 0< thought | 0: hm | 0~ e | 0> | finish Stop completed | done",
    ),
    // Unknown events, members of wrong types, an item without a type, a text that is resumed later.
    (
        &[
            r#"{"type":"response.later.thing","x":1}"#,
            r#"{"x":1}"#,
            r#"{"type":"response.output_item.added","output_index":"a","item":7}"#,
            r#"{"type":"response.output_item.done","output_index":5,"item":{}}"#,
            r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"a","logprobs":{}}"#,
            r#"{"type":"response.output_text.delta","output_index":0,"content_index":1,"delta":"b"}"#,
            r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"c"}"#,
            COMPLETED,
        ],
        "start | 0< text | 0: a | 0> | 1< text | 1: b | 1> | 2< text | 2: c | 2> | finish Stop completed | done",
    ),
    // Unknown reasons: the output decides.
    (
        &[
            r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"later"},"output":[]}}"#,
        ],
        "start | finish Error later | done",
    ),
    (
        &[
            r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"content_filter"},"output":[]}}"#,
        ],
        "start | finish ContentFilter content_filter | done",
    ),
];

#[test]
fn odd_streams_are_read_all_the_same() {
    for (data, expected) in ODD {
        assert_eq!(read(data).unwrap().join(" | "), *expected, "{data:?}");
    }
}

#[test]
fn failures_are_told_by_whose_they_are() {
    let broken = |data: &[&str], word| assert_eq!(read(data), Err(StreamFault::Broken(word)), "{data:?}");
    broken(&[], "ended_early");
    broken(&["{"], "bad_json");
    broken(&[r#"{"type":"response.completed"}"#], "not_a_response");
    let late = r#"{"type":"response.function_call_arguments.delta","output_index":3,"delta":"{"}"#;
    broken(&[late], "out_of_order");
    let failed = |response: &str| format!(r#"{{"type":"response.failed","response":{response}}}"#);
    let of_code =
        |code: &str| failed(&format!(r#"{{"status":"failed","error":{{"code":"{code}","message":"m"}}}}"#));
    for (data, class) in [
        (of_code("server_error"), FaultClass::Upstream),
        (of_code("invalid_prompt"), FaultClass::ContentPolicy),
        (of_code("invalid_image_url"), FaultClass::BadRequest),
        (failed(r#"{"status":"failed"}"#), FaultClass::Upstream),
        (r#"{"type":"error","code":"rate_limit_exceeded","message":"m"}"#.into(), FaultClass::RateLimit),
        (
            r#"{"type":"error","error":{"type":"insufficient_quota","message":"m"}}"#.into(),
            FaultClass::UpstreamQuota,
        ),
        (r#"{"error":{"message":"m","code":"server_is_overloaded"}}"#.into(), FaultClass::Overloaded),
    ] {
        match read(&[&data]) {
            Err(StreamFault::Upstream(_, found)) => assert_eq!(found, class, "{data}"),
            other => panic!("{data}: {other:?}"),
        }
    }
}

fn wish() -> AnswerOptions {
    let namespaces = vec!["a".to_owned(), "a__b".to_owned()];
    let constraints = AnswerConstraints::of(&Prompt { namespaces, ..Prompt::default() });
    AnswerOptions { model: "asked".to_owned(), constraints, ..AnswerOptions::default() }
}

fn whole(events: Vec<Event>) -> Value {
    serde_json::from_slice(&Writer::new(wish()).write_buffered(events)).expect("JSON")
}

fn begin(part: u32, kind: PartKind) -> Event {
    Event::Begin { choice: 0, part, kind }
}

fn end(part: u32) -> Event {
    Event::End { choice: 0, part }
}

fn ended(reason: Reason, explanation: Option<&str>) -> Vec<Event> {
    let finish = Finish { explanation: explanation.map(str::to_owned), ..Finish::of(reason) };
    vec![Event::Finish { choice: 0, finish }, Event::Done]
}

#[test]
fn every_ending_has_its_status() {
    for (reason, status, detail) in [
        (Reason::Stop, "completed", json!(null)),
        (Reason::StopSequence, "completed", json!(null)),
        (Reason::Calls, "completed", json!(null)),
        (Reason::Pause, "completed", json!(null)),
        (Reason::Length, "incomplete", json!({"reason": "max_output_tokens"})),
        (Reason::ContextLength, "incomplete", json!({"reason": "max_output_tokens"})),
        (Reason::ContentFilter, "incomplete", json!({"reason": "content_filter"})),
        (Reason::Refusal, "incomplete", json!({"reason": "content_filter"})),
        (Reason::MalformedCall, "failed", json!(null)),
        (Reason::Error, "failed", json!(null)),
    ] {
        let response = whole(ended(reason, None));
        assert_eq!(response["status"], status, "{reason:?}");
        assert_eq!(response["incomplete_details"], detail, "{reason:?}");
        assert_eq!(response["error"].is_object(), status == "failed", "{reason:?}");
    }
    let refused = whole(ended(Reason::Refusal, Some("Not this.")));
    assert_eq!(refused["status"], "completed");
    assert_eq!(refused["output"][0]["content"], json!([{"type": "refusal", "refusal": "Not this."}]));
}

#[test]
fn what_other_grammars_tell_is_written_or_passed_over() {
    let call =
        |name: &str, id: &str| PartKind::Call { id: id.to_owned(), name: name.to_owned(), is_custom: false };
    let cites = |json: &str| Event::Citation { choice: 0, part: 1, json: Json(json.to_owned()) };
    let mut events = vec![
        begin(0, PartKind::Redacted),
        Event::Signature { choice: 0, part: 0, value: "seal".to_owned() },
        end(0),
        begin(1, PartKind::Text),
        Event::Delta { choice: 0, part: 1, text: "Hi".to_owned() },
        cites(r#"{"type":"char_location","cited_text":"x"}"#),
        cites(r#"{"type":"url_citation","url_citation":{"url":"u"}}"#),
        end(1),
        Event::Delta { choice: 1, part: 0, text: "of another choice".to_owned() },
        begin(2, PartKind::Foreign { kind: "server_tool_use".to_owned(), json: Json("{}".to_owned()) }),
        end(2),
        begin(3, call("a__b__c", "1")),
        begin(4, call("a__x", "2")),
        begin(5, call("plain__x", "3")),
        Event::Delta { choice: 0, part: 4, text: "{\"n\":1".to_owned() },
        Event::Delta { choice: 0, part: 4, text: "}".to_owned() },
        end(5),
        end(3),
        end(4),
    ];
    events.extend(ended(Reason::Calls, None));
    let response = whole(events);
    let output = response["output"].as_array().unwrap();
    assert_eq!(output[0]["encrypted_content"], "seal");
    assert_eq!(output[1]["content"][0]["annotations"], json!([{"type": "url_citation", "url": "u"}]));
    let fields =
        |call: &Value| ["namespace", "name", "arguments", "call_id"].map(|field| call[field].clone());
    let calls = json!(output[2..].iter().map(fields).collect::<Vec<_>>());
    let expected =
        json!([["a__b", "c", "{}", "1"], ["a", "x", "{\"n\":1}", "2"], [null, "plain__x", "{}", "3"]]);
    assert_eq!(calls, expected);
    assert_eq!((&response["usage"], &response["model"]), (&json!(null), &json!("asked")));
}

fn prompt_of(role: Role, content: Content) -> Prompt {
    let cache = Some(CacheMark { lifetime: Some(CacheLifetime::Hour1) });
    let part = Part { cache, ..Part::of(content) };
    Prompt { turns: vec![Turn { role, name: None, parts: vec![part] }], ..Prompt::default() }
}

fn write(prompt: &Prompt, abilities: Abilities) -> (Value, Result<Vec<String>, String>) {
    let mut losses = DroppedFields::new(Grammar::Anthropic, Grammar::Responses, dialects::feature_names);
    let body = write_prompt(prompt, &TargetModel { model: "m", abilities }, &mut losses).unwrap();
    let settled = losses.finish(false).map_err(|fault| fault.param.unwrap_or_default().into_string());
    (serde_json::from_slice(&body).expect("JSON"), settled)
}

fn marks() -> Abilities {
    Abilities { cache_marks: true, ..Abilities::default() }
}

#[test]
fn a_request_of_another_grammar_leaves_nothing_behind() {
    let prompt = Prompt {
        instructions: vec![Instruction { is_developer: false, text: "Be kind.".to_owned(), cache: None }],
        ..prompt_of(Role::User, Content::Text { text: "Hi".to_owned(), citations: Vec::new() })
    };
    let (body, lost) = write(&prompt, Abilities::default());
    assert_eq!(
        body,
        json!({"model": "m", "instructions": "Be kind.", "store": false,
            "input": [{"type": "message", "role": "user", "content": "Hi"}]})
    );
    assert_eq!(lost.unwrap(), ["cache_control"]);
    let (body, lost) = write(&prompt, marks());
    let mark = json!({"mode": "explicit", "ttl": "30m"});
    assert_eq!(body["input"][0]["content"][0]["prompt_cache_breakpoint"], mark);
    assert_eq!(lost.unwrap(), [""; 0]);
}

#[test]
fn thinking_is_asked_for_so_that_it_can_come_back() {
    let mut prompt = Prompt::default();
    prompt.reasoning.budget_tokens = Some(9_000);
    let (body, lost) = write(&prompt, Abilities::default());
    assert_eq!(body["reasoning"], json!({"effort": "high"}));
    assert_eq!(body["include"], json!(["reasoning.encrypted_content"]));
    assert_eq!(lost.unwrap(), ["thinking.budget_tokens"]);
    prompt.store = Some(true);
    assert_eq!(write(&prompt, Abilities::default()).0["include"], json!(null));
    let never = Abilities { thinking: Thinking::Never, ..Abilities::default() };
    let (body, lost) = write(&prompt, never);
    assert_eq!(body["reasoning"], json!(null));
    assert_eq!(lost.unwrap(), ["thinking.budget_tokens", "thinking"]);
    prompt.reasoning = domain::prompt::Reasoning { effort: Some(Effort::None), ..Default::default() };
    prompt.store = None;
    let (body, _) = write(&prompt, Abilities::default());
    assert_eq!((&body["reasoning"], &body["include"]), (&json!({"effort": "none"}), &json!(null)));
}

#[test]
fn no_longer_answer_is_asked_for_than_the_model_gives() {
    let mut prompt = Prompt::default();
    prompt.output.tokens_max = Some(32_000);
    for (most, expected) in [(None, 32_000), (Some(16_384), 16_384), (Some(64_000), 32_000)] {
        let (body, lost) = write(&prompt, Abilities { output_tokens_max: most, ..Abilities::default() });
        assert_eq!((&body["max_output_tokens"], lost.unwrap().len()), (&json!(expected), 0));
    }
}

#[test]
fn what_has_no_words_here_is_told() {
    let mut prompt = Prompt::default();
    prompt.sampling.top_k = Some(4);
    prompt.sampling.seed = Some(4);
    let (kind, json) = ("web_search_20260318".to_owned(), Json("{}".to_owned()));
    prompt.tools = vec![Tool { kind: ToolKind::Hosted { kind, json }, cache: None }];
    prompt.sampling.temperature = Some(Json("0.5".to_owned()));
    let refuses = Abilities { refuses_sampling: true, ..Abilities::default() };
    let (body, lost) = write(&prompt, refuses);
    assert_eq!((&body["tools"], &body["temperature"]), (&json!(null), &json!(null)));
    assert_eq!(lost.unwrap_err(), "tools[0]", "an answer without its search would look like one");
    prompt.tools.clear();
    assert_eq!(write(&prompt, refuses).1.unwrap(), ["this", "top_k", "temperature"]);

    let thought =
        |signature| Content::Thought(Thought { text: "hm".to_owned(), signature, ..Thought::default() });
    let foreign = Signature { grammar: Grammar::Anthropic, value: "s".to_owned() };
    let (body, lost) = write(&prompt_of(Role::Assistant, thought(Some(foreign))), marks());
    assert_eq!(body["input"], json!([]));
    assert_eq!(lost.unwrap(), ["cache_control", "thinking"]);

    let mut prompt = Prompt::default();
    prompt.sampling.stop.push("x".to_owned());
    assert_eq!(write(&prompt, marks()).1.unwrap_err(), "stop_sequences");
    let source = Source::Url { url: "https://a.example/v.mp4".to_owned(), media_type: None };
    assert!(write(&prompt_of(Role::User, Content::Video { source }), marks()).1.is_err());
}

#[test]
fn results_and_calls_keep_their_words() {
    let result = |is_error| {
        let parts = vec![Part::text("no such file")];
        Content::ToolResult(ToolResult { id: "c".to_owned(), name: None, parts, is_error, is_custom: false })
    };
    let plain = Turn { role: Role::Tool, name: None, parts: vec![Part::of(result(false))] };
    let (body, _) = write(&Prompt { turns: vec![plain], ..Prompt::default() }, marks());
    let expected = json!({"type": "function_call_output", "call_id": "c", "output": "no such file"});
    assert_eq!(body["input"], json!([expected]));
    let (body, _) = write(&prompt_of(Role::Tool, result(true)), marks());
    let output = &body["input"][0]["output"];
    assert_eq!((&output[0]["text"], &output[1]["text"]), (&json!("Error: "), &json!("no such file")));
    assert_eq!(output[1]["prompt_cache_breakpoint"]["ttl"], "30m");
    let [id, name, arguments] = ["c", "f", "not JSON"].map(str::to_owned);
    let call = ToolCall { id, name, arguments, is_custom: false, signature: None };
    let (body, _) = write(&prompt_of(Role::Assistant, Content::ToolCall(call)), Abilities::default());
    let expected = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "not JSON"});
    assert_eq!(body["input"][0], expected);
}
