//! Requests to a self-hosted runtime and its answers, in each dialect that a node speaks.

use chat::{StreamScanner, answer_text, read_answer};
use domain::runtime::{GenerateRequest, OutputConstraint, RawPrompt};
use domain::{Event, Fault, Finish, Grammar, Operation, PartKind, Reason, TraceId, Usage, UsageSource};
use operations::RequestSource;
use runtime::{AnswerWriter, RuntimeAnswerOptions, read_runtime};
use serde_json::{Value, json};

const CONVERSATION: &str = r#""model":"m","messages":[{"role":"user","content":"Hello"}]"#;

fn read(operation: Operation, text: &str, is_lenient: bool) -> Result<GenerateRequest, Box<Fault>> {
    let body = bytes::Bytes::copy_from_slice(text.as_bytes());
    let source = RequestSource { grammar: Grammar::Chat, body: &body, addressed: None };
    let request = operations::of(operation).read_request(source)?;
    read_runtime(Grammar::Chat, operation, &body, &request, is_lenient)
}

#[test]
fn words_of_such_servers_are_read() {
    let more = r#""min_p":0.05,"repetition_penalty":1.1,"ignore_eos":true,"cache_salt":"w",
        "chat_template_kwargs":{"enable_thinking":false},"structured_outputs":{"regex":"a+"},
        "metadata":{"hybrie":{"adapter_id":"law"},"k":"v"}"#;
    let request = read(Operation::Chat, &format!("{{{CONVERSATION},{more}}}"), false).unwrap();
    let words = request.parameters;
    assert_eq!((words.min_p, words.repetition_penalty, words.ignore_eos), (Some(0.05), Some(1.1), true));
    assert_eq!(words.template.unwrap().as_str(), r#"{"enable_thinking":false}"#);
    assert_eq!(words.constraint, Some(OutputConstraint::Regex("a+".to_owned())));
    assert_eq!((words.adapter.as_deref(), words.cache_scope.as_deref()), (Some("law"), Some("w")));
    assert_eq!(request.prompt.metadata, [("k".to_owned(), "v".to_owned())]);
    for (words, rule) in [
        (r#""guided_choice":["a","b"]"#, OutputConstraint::Choice(["a", "b"].map(str::to_owned).into())),
        (r#""guided_regex":"a+""#, OutputConstraint::Regex("a+".to_owned())),
        (r#""guided_grammar":"a+""#, OutputConstraint::Grammar("a+".to_owned())),
    ] {
        let request = read(Operation::Chat, &format!("{{{CONVERSATION},{words}}}"), false).unwrap();
        assert_eq!(request.parameters.constraint, Some(rule), "{words}");
    }
}

#[test]
fn what_nobody_knows_is_refused_by_name_unless_it_may_be_left_out() {
    let cases = [
        (r#""moon":1"#, "moon"),
        (r#""max_completion_tokens":0"#, "max_tokens"),
        (r#""min_p":2"#, "min_p"),
        (r#""repetition_penalty":0"#, "repetition_penalty"),
        (r#""structured_outputs":{"ebnf":"x"}"#, "structured_outputs.ebnf"),
        (r#""metadata":{"other":{"x":1}}"#, "metadata.other"),
    ];
    let check = |field: &str, param: &str| {
        let fault = read(Operation::Chat, &format!("{{{CONVERSATION},{field}}}"), false).expect_err(field);
        assert_eq!(fault.param.as_deref(), Some(param), "{fault}");
        assert!(fault.fix.is_some(), "{fault}");
    };
    cases.iter().for_each(|(field, param)| check(field, param));
    for (hybrie, param) in [
        (r#"{"moon":[]}"#, "moon"),
        (r#"{"adapter_timeline":{}}"#, "adapter_timeline"),
        (r#"{"adapter_timeline":[1]}"#, "adapter_timeline[0]"),
        (r#"{"adapter_timeline":[{"adapter_id":"a"}]}"#, "adapter_timeline[0]"),
        (r#"{"adapter_timeline":[{"start_step":-1}]}"#, "adapter_timeline[0]"),
        (r#"{"adapter_timeline":[{"start_step":2},{"start_step":2}]}"#, "adapter_timeline[1]"),
        (r#"{"adapter_id":"b","adapter_timeline":[{"start_step":0,"adapter_id":"a"}]}"#, "adapter_timeline"),
    ] {
        check(&format!(r#""metadata":{{"hybrie":{hybrie}}}"#), &format!("metadata.hybrie.{param}"));
    }
    assert!(read(Operation::Chat, &format!(r#"{{{CONVERSATION},"moon":1}}"#), true).is_ok());
}

#[test]
fn adapters_are_named_with_the_tokens_that_they_begin_with() {
    let named = |hybrie: &str| {
        let body = format!(r#"{{{CONVERSATION},"metadata":{{"hybrie":{hybrie}}}}}"#);
        let words = read(Operation::Chat, &body, false).unwrap().parameters;
        (words.adapter, words.adapter_switches)
    };
    let is = |name: &str| Some(name.to_owned());
    let timeline = r#"{"adapter_timeline":[{"start_step":0,"adapter_id":"a"},{"start_step":3,"adapter_id":"none"},
        {"adapter_id":"b","start_step":9}]}"#;
    assert_eq!(named(timeline), (is("a"), vec![(3, None), (9, is("b"))]));
    let later = r#"{"adapter_timeline":[{"start_step":3,"adapter_id":"b"}],"adapter_id":"a"}"#;
    assert_eq!(named(later), (is("a"), vec![(3, is("b"))]));
    for nothing in ["{}", r#"{"adapter_timeline":[]}"#, r#"{"adapter_timeline":[{"start_step":0}]}"#] {
        assert_eq!(named(nothing), (None, Vec::new()), "{nothing}");
    }
    let steps: Vec<String> = (0..33).map(|step| format!(r#"{{"start_step":{step}}}"#)).collect();
    let body =
        format!(r#"{{{CONVERSATION},"metadata":{{"hybrie":{{"adapter_timeline":[{}]}}}}}}"#, steps.join(","));
    let fault = read(Operation::Chat, &body, false).unwrap_err();
    assert_eq!(fault.param.as_deref(), Some("metadata.hybrie.adapter_timeline[32]"), "{fault}");
}

#[test]
fn texts_are_gone_on_with() {
    let continues = |prompt: &str| {
        read(Operation::Complete, &format!(r#"{{"model":"m","prompt":{prompt},"logprobs":2}}"#), false)
    };
    let text = |text: &str| Some(RawPrompt::Text(text.to_owned()));
    let request = continues(r#""Once""#).unwrap();
    assert_eq!((request.raw_prompt, request.prompt.output.tokens_max), (text("Once"), Some(16)));
    assert_eq!((request.prompt.sampling.logprobs, request.prompt.sampling.top_logprobs), (true, Some(2)));
    assert_eq!(continues(r#"["Once"]"#).unwrap().raw_prompt, text("Once"));
    assert_eq!(continues("[1,2]").unwrap().raw_prompt, Some(RawPrompt::Tokens(vec![1, 2])));
    for wrong in [r#"["a","b"]"#, r#"["a",1]"#, "[[1],[2]]", "[]", "[true]", "{}"] {
        assert!(continues(wrong).is_err(), "{wrong}");
    }
    for field in [r#""echo":true"#, r#""best_of":2"#, r#""suffix":"x""#] {
        let body = format!(r#"{{"model":"m","prompt":"a",{field}}}"#);
        assert_eq!(read(Operation::Complete, &body, false).unwrap_err().code, "unsupported_parameter");
    }
}

fn usage() -> Usage {
    let prompt = Usage { input: 4, cached_read: 2, source: UsageSource::Provider, ..Usage::default() };
    Usage { output: 3, reasoning: 1, ..prompt }
}

fn answer_events() -> Vec<Event> {
    let delta = |part, text: &str| Event::Delta { choice: 0, part, text: text.to_owned() };
    vec![
        Event::Begin { choice: 0, part: 0, kind: PartKind::Thought { is_summary: false, id: None } },
        delta(0, "hm"),
        Event::End { choice: 0, part: 0 },
        Event::Begin { choice: 0, part: 1, kind: PartKind::Text },
        delta(1, "Hi "),
        delta(1, "é\n\n😀"),
        Event::End { choice: 0, part: 1 },
        Event::Finish { choice: 0, finish: Finish::of(Reason::Stop) },
        Event::Usage(usage()),
        Event::Done,
    ]
}

fn writer(grammar: Grammar, operation: Operation, usage: bool) -> AnswerWriter {
    AnswerWriter::new(RuntimeAnswerOptions {
        grammar,
        operation,
        usage,
        model: "m".to_owned(),
        trace: TraceId::new(1, [7; 10]),
        created_unix_s: 5,
        constraints: conversation::constraints::AnswerConstraints::default(),
    })
}

#[test]
fn a_stream_reads_back_as_what_was_said() {
    for with_usage in [false, true] {
        let mut writing = writer(Grammar::Chat, Operation::Chat, with_usage);
        let sent: Vec<_> = answer_events().into_iter().map(|event| writing.event(event)).collect();
        let mut scanner = StreamScanner::new(false);
        let mut out = Vec::new();
        for chunk in sent.iter().filter(|chunk| !chunk.is_empty()) {
            scanner.push(chunk.clone(), &mut out).expect("a good stream");
        }
        scanner.finish(&mut out).expect("a good end");
        assert_eq!(out.concat(), sent.concat());
        let facts = scanner.facts();
        assert_eq!((facts.finished, facts.done, facts.usage), (true, true, with_usage.then(usage)));
        let text = String::from_utf8(sent.concat()).unwrap();
        assert!(text.contains(r#""reasoning_content":"hm""#), "{text}");
    }
}

#[test]
fn a_whole_answer_is_what_its_grammar_has() {
    let body = writer(Grammar::Chat, Operation::Chat, false).buffered(answer_events());
    assert_eq!(answer_text(&body).as_deref(), Some("Hi é\n\n😀"));
    assert_eq!(read_answer(&body).expect("an answer").usage, Some(usage()));
    let value: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(value["choices"][0]["message"]["reasoning_content"], "hm");
    let body = writer(Grammar::Anthropic, Operation::Chat, false).buffered(answer_events());
    let value: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(value["content"][0]["type"], "thinking");
    assert_eq!(value["content"][1]["text"], "Hi é\n\n😀");
}

#[test]
fn what_goes_on_with_a_text_has_an_object_of_its_own() {
    let events: Vec<Event> = answer_events().split_off(3);
    let body = writer(Grammar::Chat, Operation::Complete, false).buffered(events.clone());
    let value: Value = serde_json::from_slice(&body).unwrap();
    let choice = json!({"index": 0, "text": "Hi é\n\n😀", "logprobs": null, "finish_reason": "stop"});
    assert_eq!((&value["object"], &value["choices"][0]), (&json!("text_completion"), &choice));
    assert_eq!(value["usage"]["total_tokens"], 10);
    let mut writing = writer(Grammar::Chat, Operation::Complete, true);
    let sent: Vec<_> = events.into_iter().map(|event| writing.event(event)).collect();
    let text = String::from_utf8(sent.concat()).unwrap();
    assert!(text.contains(r#""text":"Hi ""#) && text.ends_with("data: [DONE]\n\n"), "{text}");
}
