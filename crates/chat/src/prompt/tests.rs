//! Tests that read Chat Completions requests into `Prompt`.

use domain::Grammar;
use domain::prompt::*;

use super::read_prompt;

fn read(body: &str) -> Prompt {
    read_prompt(body.as_bytes()).unwrap()
}

/// The prompt of a plain message with these additional fields.
fn with(fields: &str) -> Prompt {
    read(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"Hi"}}],{fields}}}"#))
}

fn messages(messages: &str) -> Prompt {
    read(&format!(r#"{{"model":"m","messages":[{messages}]}}"#))
}

#[track_caller]
fn refused(body: &str, code: &str, param: &str) {
    let fault = read_prompt(body.as_bytes()).unwrap_err();
    assert_eq!((fault.code, fault.param.as_deref()), (code, Some(param)), "{fault}");
    assert!(fault.fix.is_some());
}

fn turn(role: Role, parts: Vec<Part>) -> Turn {
    Turn { role, name: None, parts }
}

fn json(text: &str) -> Json {
    Json(text.to_owned())
}

fn extras(prompt: &Prompt) -> Vec<(&str, bool)> {
    prompt.extras.iter().map(|extra| (extra.name.as_str(), extra.affects_answer)).collect()
}

#[test]
fn instructions_are_what_comes_before_the_first_turn() {
    let prompt = messages(
        r#"{"role":"system","content":"a"},
           {"role":"developer","content":[{"type":"text","text":"b"},{"type":"text","text":"c","prompt_cache_breakpoint":{"mode":"explicit","ttl":"12h"}}]},
           {"role":"system","content":""},
           {"role":"user","content":"Hi","name":"ann"},
           {"role":"system","content":"d"},{"role":"developer","content":"e"}"#,
    );
    let twelve = Some(CacheMark { lifetime: Some(CacheLifetime::Hours12) });
    let instruction =
        |is_developer, text: &str, cache| Instruction { is_developer, text: text.to_owned(), cache };
    assert_eq!(
        prompt.instructions,
        [instruction(false, "a", None), instruction(true, "b", None), instruction(true, "c", twelve)]
    );
    let user = Turn { name: Some("ann".to_owned()), ..turn(Role::User, vec![Part::text("Hi")]) };
    let rest = [turn(Role::System, vec![Part::text("d")]), turn(Role::Developer, vec![Part::text("e")])];
    assert_eq!(prompt.turns[0], user);
    assert_eq!(prompt.turns[1..], rest);
}

#[test]
fn every_part_of_a_user_has_its_content() {
    let prompt = messages(
        r#"{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AA==","detail":"low"}},
            {"type":"image_url","image_url":{"url":"https://a/b.png"}},
            {"type":"input_audio","input_audio":{"data":"BB==","format":"wav"}},
            {"type":"file","file":{"file_data":"data:application/pdf;base64,CC==","filename":"a.pdf"}},
            {"type":"file","file":{"file_id":"file-1"}},
            {"type":"video_url","video_url":{"url":"https://a/b.mp4"}}]}"#,
    );
    let inline = |media_type: &str, base64: &str| Source::Inline {
        media_type: media_type.to_owned(),
        base64: base64.to_owned(),
    };
    let url = |url: &str| Source::Url { url: url.to_owned(), media_type: None };
    let document = |source, name: Option<&str>| Content::Document {
        source,
        name: name.map(str::to_owned),
        context: None,
        cite: false,
    };
    let expected = [
        Content::Text { text: "x".to_owned(), citations: Vec::new() },
        Content::Image { source: inline("image/png", "AA=="), detail: Some("low".to_owned()) },
        Content::Image { source: url("https://a/b.png"), detail: None },
        Content::Audio { source: inline("audio/wav", "BB==") },
        document(inline("application/pdf", "CC=="), Some("a.pdf")),
        document(Source::File { id: "file-1".to_owned(), media_type: None }, None),
        Content::Video { source: url("https://a/b.mp4") },
    ];
    let parts = &prompt.turns[0].parts;
    assert_eq!(parts.iter().map(|part| part.content.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(parts[0].cache, Some(CacheMark { lifetime: Some(CacheLifetime::Hour1) }));
    assert_eq!(extras(&prompt), []);
}

#[test]
fn an_assistant_thinks_says_refuses_and_calls() {
    let prompt = messages(
        r#"{"role":"user","content":"Hi"},
           {"role":"assistant","reasoning_content":"hm","content":"a","refusal":"no","annotations":[],"audio":null,"function_call":null,"tool_calls":[
             {"id":"1","type":"function","function":{"name":"f","arguments":"{\"n\":12345678901234567890,\"n\":1}"},"extra_content":{"google":{"thought_signature":"sig"}}},
             {"id":"2","type":"custom","custom":{"name":"g","input":"free"}},
             {"id":"3","type":"function","function":{"name":"h","arguments":{"a" : 1}}}]},
           {"role":"tool","tool_call_id":"1","name":"f","content":"r1"},
           {"role":"tool","tool_call_id":"2","content":[{"type":"text","text":"r2"}]},
           {"role":"user","content":"go on"}"#,
    );
    let call = |id: &str, name: &str, arguments: &str, is_custom, signature: Option<&str>| {
        Part::of(Content::ToolCall(ToolCall {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            is_custom,
            signature: signature.map(|value| Signature { grammar: Grammar::Gemini, value: value.to_owned() }),
        }))
    };
    let assistant = vec![
        Part::of(Content::Thought(Thought { text: "hm".to_owned(), ..Thought::default() })),
        Part::text("a"),
        Part::of(Content::Refusal { text: "no".to_owned() }),
        call("1", "f", "{\"n\":12345678901234567890,\"n\":1}", false, Some("sig")),
        call("2", "g", "free", true, None),
        call("3", "h", "{\"a\" : 1}", false, None),
    ];
    let result = |id: &str, name: Option<&str>, text: &str, is_custom| {
        let name = name.map(str::to_owned);
        let parts = vec![Part::text(text)];
        Part::of(Content::ToolResult(ToolResult {
            id: id.to_owned(),
            name,
            parts,
            is_error: false,
            is_custom,
        }))
    };
    let results = vec![result("1", Some("f"), "r1", false), result("2", None, "r2", true)];
    assert_eq!(
        prompt.turns[1..],
        [
            turn(Role::Assistant, assistant),
            turn(Role::Tool, results),
            turn(Role::User, vec![Part::text("go on")]),
        ]
    );
    assert_eq!(extras(&prompt), []);
}

#[test]
fn a_call_of_the_old_form_is_paired_with_its_result() {
    let prompt = read(
        r#"{"model":"m","functions":[{"name":"f","parameters":{}}],"function_call":{"name":"f"},"messages":[{"role":"user","content":"Hi"},
            {"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},
            {"role":"function","name":"f","content":"r"}]}"#,
    );
    let Content::ToolCall(call) = &prompt.turns[1].parts[0].content else { panic!("{prompt:?}") };
    let Content::ToolResult(result) = &prompt.turns[2].parts[0].content else { panic!("{prompt:?}") };
    assert_eq!((&call.id, call.name.as_str()), (&result.id, "f"));
    assert_eq!(prompt.tool_choice, Some(ToolChoice::Named { name: "f".to_owned(), is_custom: false }));
    let kind = ToolKind::Function {
        name: "f".to_owned(),
        description: None,
        schema: Some(json("{}")),
        strict: None,
    };
    assert_eq!(prompt.tools, [Tool { kind, cache: None }]);
}

#[test]
fn tools_are_functions_custom_ones_and_those_of_the_provider() {
    let prompt = with(
        r#""tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},"strict":true}},
            {"type":"custom","custom":{"name":"g","format":{"type":"text"}}},{"type":"x_search","limit":1}],
           "web_search_options":{"search_context_size":"low"},"parallel_tool_calls":false"#,
    );
    let named = |name: &str| (name.to_owned(), None::<String>);
    let ((f, _), (g, _)) = (named("f"), named("g"));
    let kinds = [
        ToolKind::Function {
            name: f,
            description: Some("d".to_owned()),
            schema: Some(json(r#"{"type":"object"}"#)),
            strict: Some(true),
        },
        ToolKind::Custom { name: g, description: None, format: Some(json(r#"{"type":"text"}"#)) },
        ToolKind::Hosted { kind: "x_search".to_owned(), json: json(r#"{"type":"x_search","limit":1}"#) },
        ToolKind::Hosted {
            kind: "web_search_options".to_owned(),
            json: json(r#"{"search_context_size":"low"}"#),
        },
    ];
    assert_eq!(prompt.tools.iter().map(|tool| tool.kind.clone()).collect::<Vec<_>>(), kinds);
    assert_eq!((prompt.parallel_tools, extras(&prompt)), (Some(false), vec![]));
}

#[test]
fn tool_choices_are_read_in_all_their_forms() {
    let named = |is_custom| ToolChoice::Named { name: "f".to_owned(), is_custom };
    let allowed = ToolChoice::Allowed { names: vec!["f".to_owned(), "g".to_owned()], is_required: true };
    let cases = [
        (r#""auto""#, Some(ToolChoice::Auto)),
        (r#""none""#, Some(ToolChoice::None)),
        (r#""required""#, Some(ToolChoice::Required)),
        (r#""any""#, Some(ToolChoice::Required)),
        (r#"{"type":"function","function":{"name":"f"}}"#, Some(named(false))),
        (r#"{"type":"custom","custom":{"name":"f"}}"#, Some(named(true))),
        (
            r#"{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"g"}}]}}"#,
            Some(allowed),
        ),
        ("null", None),
    ];
    for (written, choice) in cases {
        let prompt = with(&format!(r#""tool_choice":{written}"#));
        assert_eq!((prompt.tool_choice.clone(), extras(&prompt)), (choice, vec![]), "{written}");
    }
    let prompt = with(r#""tool_choice":{"type":"mcp","server_label":"x"}"#);
    assert_eq!(prompt.tool_choice, None);
    assert!(extras(&prompt).contains(&("tool_choice", true)));
}

#[test]
fn settings_have_their_places_and_numbers_stay_as_written() {
    let prompt = with(
        r#""temperature":0.70,"top_p":1e0,"top_k":40,"seed":-3,"presence_penalty":1,"frequency_penalty":0.5,"logit_bias":{"50256":-100},
           "stop":"END","logprobs":true,"top_logprobs":3,"n":2,"max_tokens":5,"max_completion_tokens":6,"modalities":["text","audio"],
           "audio":{"voice":"v","format":"wav"},"prediction":{"type":"content","content":"x"},"verbosity":"low","reasoning_effort":"xhigh",
           "service_tier":"flex","store":true,"metadata":{"k":"v"},"user":"u","safety_identifier":"s","prompt_cache_key":"key",
           "prompt_cache_options":{"mode":"implicit","ttl":"30m"},"prompt_cache_retention":"24h","stream":true,
           "stream_options":{"include_usage":true,"include_obfuscation":false}"#,
    );
    let number = |text| Some(json(text));
    let expected = Sampling {
        temperature: number("0.70"),
        top_p: number("1e0"),
        top_k: Some(40),
        seed: Some(-3),
        presence_penalty: number("1"),
        frequency_penalty: number("0.5"),
        logit_bias: number(r#"{"50256":-100}"#),
        stop: vec!["END".to_owned()],
        logprobs: true,
        top_logprobs: Some(3),
        choices: Some(2),
    };
    assert_eq!(prompt.sampling, expected);
    let expected = Output {
        tokens_max: Some(6),
        format: None,
        modalities: vec!["audio".to_owned()],
        audio: number(r#"{"voice":"v","format":"wav"}"#),
        verbosity: Some("low".to_owned()),
        prediction: number(r#"{"type":"content","content":"x"}"#),
    };
    assert_eq!(prompt.output, expected);
    let caching = Caching {
        key: Some("key".to_owned()),
        automatic: Some(CacheMark { lifetime: Some(CacheLifetime::Minutes30) }),
        retention: Some("24h".to_owned()),
        content: None,
    };
    assert_eq!(prompt.caching, caching);
    assert_eq!(prompt.reasoning.effort, Some(Effort::XHigh));
    assert_eq!(
        (prompt.service_tier, prompt.store, prompt.stream),
        (Some(ServiceTier::Flex), Some(true), true)
    );
    assert_eq!(prompt.metadata, [("k".to_owned(), "v".to_owned())]);
    // Two names for the end user: the newer one counts, the other is reported as dropped.
    assert_eq!(prompt.end_user.as_deref(), Some("s"));
    assert_eq!(extras(&prompt), [("user", false)]);
    assert_eq!(with(r#""max_tokens":5,"n":1"#).output.tokens_max, Some(5));
}

#[test]
fn formats_of_answers_are_read() {
    let schema = |name: Option<&str>, strict| OutputFormat::JsonSchema {
        name: name.map(str::to_owned),
        description: None,
        schema: json(r#"{"a":1}"#),
        strict,
    };
    let cases = [
        (r#"{"type":"text"}"#, OutputFormat::Text),
        (r#"{"type":"json_object"}"#, OutputFormat::JsonObject),
        (r#"{"type":"json_object","schema":{"a":1}}"#, schema(None, None)),
        (
            r#"{"type":"json_schema","json_schema":{"name":"x","schema":{"a":1},"strict":true}}"#,
            schema(Some("x"), Some(true)),
        ),
    ];
    for (written, format) in cases {
        assert_eq!(with(&format!(r#""response_format":{written}"#)).output.format, Some(format), "{written}");
    }
    let prompt = with(r#""guided_json":{"a":1}"#);
    assert_eq!((prompt.output.format.as_ref(), extras(&prompt)), (Some(&schema(None, None)), vec![]));
    let prompt = with(r#""response_format":{"type":"grammar","grammar":"x"}"#);
    assert!(extras(&prompt).contains(&("response_format", true)));
}

#[test]
fn thinking_is_read_in_the_words_of_others() {
    let reasoning = |fields| with(fields).reasoning;
    // Reasoning that was asked for is shown, also by providers that show it on request alone.
    let visibility = Some(ThinkingVisibility::Unasked);
    let budget = Reasoning { budget_tokens: Some(2000), visibility, ..Reasoning::default() };
    assert_eq!(reasoning(r#""thinking":{"type":"enabled","budget_tokens":2000}"#), budget);
    assert_eq!(reasoning(r#""thinking":{"type":"disabled"}"#).effort, Some(Effort::None));
    let low = Reasoning { effort: Some(Effort::Low), visibility, ..Reasoning::default() };
    assert_eq!(reasoning(r#""reasoning":{"effort":"low"}"#), low);
    assert_eq!(reasoning(r#""reasoning_effort":"none""#).visibility, None);
}

#[test]
fn what_has_no_place_is_named_with_its_way_and_its_sort() {
    let cases = [
        (r#""min_p":0.1"#, "min_p", false),
        (r#""repetition_penalty":1.1"#, "repetition_penalty", false),
        (r#""chat_template_kwargs":{"a":1}"#, "chat_template_kwargs", false),
        (r#""reasoning_effort":"ultra""#, "reasoning_effort", false),
        (r#""service_tier":"scale""#, "service_tier", false),
        (r#""stream_options":{"include_obfuscation":true}"#, "stream_options.include_obfuscation", false),
        (r#""prompt_cache_options":{"mode":"explicit"}"#, "prompt_cache_options.mode", false),
        (r#""moderation":{"x":1}"#, "moderation", true),
        (r#""plugins":[{"id":"web"}]"#, "plugins", true),
        (r#""guided_json":"{}""#, "guided_json", true),
        (r#""metadata":{"tags":["a"],"k":"v"}"#, "metadata.tags", false),
        (r#""metadata":{"hybrie":{"a":1}}"#, "metadata.hybrie", true),
    ];
    for (fields, name, is_meaning) in cases {
        assert_eq!(extras(&with(fields)), [(name, is_meaning)]);
    }
    assert_eq!(extras(&with(r#""guided_json":null,"foo":[],"bar":false"#)), []);
    let cases = [
        (r#"{"role":"user","content":"x","foo":1}"#, "messages[0].foo", true),
        (
            r#"{"role":"user","content":[{"type":"text","text":"x","foo":1}]}"#,
            "messages[0].content[0].foo",
            true,
        ),
        (r#"{"role":"user","content":[{"type":"hologram","x":1}]}"#, "messages[0].content[0]", true),
        (
            r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://a","foo":1}}]}"#,
            "messages[0].content[0].image_url.foo",
            true,
        ),
        (
            r#"{"role":"assistant","content":"x","reasoning_details":[{"a":1}]}"#,
            "messages[0].reasoning_details",
            false,
        ),
        (
            r#"{"role":"assistant","content":"x","provider_specific_fields":{"refusal":null}}"#,
            "messages[0].provider_specific_fields",
            false,
        ),
        (
            r#"{"role":"assistant","tool_calls":[{"id":"1","type":"function","provider_specific_fields":{"a":1},"function":{"name":"f","arguments":"{}"}}]}"#,
            "messages[0].tool_calls[0].provider_specific_fields",
            false,
        ),
        (
            r#"{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}","provider_specific_fields":{"a":1}}}]}"#,
            "messages[0].tool_calls[0].function.provider_specific_fields",
            false,
        ),
        (r#"{"role":"assistant","audio":{"id":"a"}}"#, "messages[0].audio", true),
        (r#"{"role":"system","content":"x","name":"n"}"#, "messages[0].name", false),
    ];
    for (message, name, is_meaning) in cases {
        assert_eq!(extras(&messages(message)), [(name, is_meaning)], "{message}");
    }
    let prompt = with(r#""tools":[{"type":"function","function":{"name":"f","foo":1},"bar":2}]"#);
    assert_eq!(extras(&prompt), [("tools[0].function.foo", true), ("tools[0].bar", true)]);
}

#[test]
fn what_is_wrong_is_told_with_its_field() {
    let message = |message: &str| format!(r#"{{"messages":[{message}]}}"#);
    let beside = |fields: &str| format!(r#"{{"messages":[{{"role":"user","content":"x"}}],{fields}}}"#);
    let cases = [
        (r#"{"model":"m"}"#.to_owned(), "missing_required_parameter", "messages"),
        (r#"{"messages":[]}"#.to_owned(), "empty_array", "messages"),
        (message("7"), "invalid_type", "messages[0]"),
        (message(r#"{"content":"x"}"#), "missing_required_parameter", "messages[0].role"),
        (message(r#"{"role":"system"}"#), "missing_required_parameter", "messages[0].content"),
        (
            message(r#"{"role":"developer","content":[]}"#),
            "missing_required_parameter",
            "messages[0].content",
        ),
        (message(r#"{"role":"robot","content":"x"}"#), "invalid_value", "messages[0].role"),
        (message(r#"{"role":"user","content":7}"#), "invalid_type", "messages[0].content"),
        (
            message(r#"{"role":"user","content":[{"text":"x"}]}"#),
            "missing_required_parameter",
            "messages[0].content[0].type",
        ),
        (
            message(r#"{"role":"user","content":[{"type":"text"}]}"#),
            "missing_required_parameter",
            "messages[0].content[0].text",
        ),
        (
            message(
                r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png,x"}}]}"#,
            ),
            "invalid_value",
            "messages[0].content[0].image_url.url",
        ),
        (
            message(r#"{"role":"tool","content":"x"}"#),
            "missing_required_parameter",
            "messages[0].tool_call_id",
        ),
        (message(r#"{"role":"function","name":"f","content":"x"}"#), "invalid_value", "messages[0].name"),
        (
            message(r#"{"role":"assistant","tool_calls":[{"id":"1"}]}"#),
            "missing_required_parameter",
            "messages[0].tool_calls[0].function",
        ),
        (
            message(r#"{"role":"system","content":[{"type":"image_url","image_url":{"url":"https://a"}}]}"#),
            "invalid_value",
            "messages[0].content",
        ),
        (beside(r#""temperature":"hot""#), "invalid_type", "temperature"),
        (beside(r#""seed":1.5"#), "invalid_value", "seed"),
        (beside(r#""n":0"#), "integer_below_min_value", "n"),
        (beside(r#""stop":[1]"#), "invalid_type", "stop[0]"),
        (beside(r#""metadata":{"a":1}"#), "invalid_type", "metadata.a"),
        (beside(r#""tools":[{"type":"function"}]"#), "missing_required_parameter", "tools[0].function"),
        (
            beside(r#""response_format":{"type":"json_schema"}"#),
            "missing_required_parameter",
            "response_format.json_schema",
        ),
    ];
    for (body, code, param) in cases {
        refused(&body, code, param);
    }
}
