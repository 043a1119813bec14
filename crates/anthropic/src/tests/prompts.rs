//! Requests: what is read from Anthropic's, and what is written for other dialects' prompts.

use conversation::losses::DroppedFields;
use conversation::prompt_text::each_text;
use conversation::target::TargetModel;
use domain::prompt::{
    CacheLifetime, CacheMark, Content, Effort, Extra, Instruction, Json, OutputFormat, Part, Prompt, Role,
    ServiceTier, Signature, Source, ThinkingVisibility, Thought, Tool, ToolCall, ToolChoice, ToolKind,
    ToolResult, Turn,
};
use domain::{Abilities, Fault, Grammar, Thinking};

use crate::{read_prompt, write_prompt};

fn read(fields: &str) -> Prompt {
    read_prompt(format!(r#"{{"model":"m","max_tokens":9,{fields}}}"#).as_bytes()).expect(fields)
}

fn read_messages(messages: &str) -> Prompt {
    read(&format!(r#""messages":[{messages}]"#))
}

fn extras(prompt: &Prompt) -> Vec<(&str, bool)> {
    prompt
        .extras
        .iter()
        .map(|Extra { name, affects_answer: is_meaning }| (name.as_str(), *is_meaning))
        .collect()
}

fn turn(role: Role, parts: Vec<Part>) -> Turn {
    Turn { role, name: None, parts }
}

fn text_turn(role: Role, text: &str) -> Turn {
    turn(role, vec![Part::text(text)])
}

fn call(id: &str, arguments: &str) -> Part {
    let (id, name) = (id.to_owned(), "f".to_owned());
    let arguments = arguments.to_owned();
    Part::of(Content::ToolCall(ToolCall { id, name, arguments, is_custom: false, signature: None }))
}

fn result(id: &str, text: &str) -> Part {
    let (id, parts) = (id.to_owned(), vec![Part::text(text)]);
    Part::of(Content::ToolResult(ToolResult { id, name: None, parts, is_error: false, is_custom: false }))
}

fn function(name: &str) -> Tool {
    let kind = ToolKind::Function { name: name.to_owned(), description: None, schema: None, strict: None };
    Tool { kind, cache: None }
}

fn question() -> Prompt {
    Prompt { turns: vec![text_turn(Role::User, "q")], ..Prompt::default() }
}

fn write_for(prompt: &Prompt, abilities: Abilities) -> Result<(String, Vec<String>), Box<Fault>> {
    let mut losses = DroppedFields::new(Grammar::Chat, Grammar::Anthropic, dialects::feature_names);
    let body = write_prompt(prompt, &TargetModel { model: "c", abilities }, &mut losses)?;
    Ok((String::from_utf8(body).expect("UTF-8"), losses.finish(true)?))
}

fn write(prompt: &Prompt) -> (String, Vec<String>) {
    write_for(prompt, Abilities::default()).expect("it can be said")
}

/// Checks the fields after the model, the limit and the messages of `asked`, and what was lost.
#[track_caller]
fn check_fields(abilities: Abilities, change: impl FnOnce(&mut Prompt), expected: &str, lost: &[&str]) {
    let mut prompt = question();
    change(&mut prompt);
    let (body, dropped) = write_for(&prompt, abilities).expect("it can be said");
    let messages = r#""messages":[{"role":"user","content":[{"type":"text","text":"q"}]}]"#;
    let (before, after) = body.split_once(messages).expect("the messages");
    let before = before.trim_start_matches(r#"{"model":"c",""#).trim_end_matches(',');
    assert_eq!(
        format!("\"{before}{}", after.trim_end_matches('}')),
        expected.trim_end_matches('}'),
        "{body}"
    );
    assert_eq!(dropped, lost);
}

#[track_caller]
fn check_messages(turns: Vec<Turn>, expected: &str) {
    let (body, _) = write(&Prompt { turns, ..Prompt::default() });
    let messages = body.split_once(r#""messages":"#).expect("messages").1;
    assert_eq!(messages.strip_suffix('}'), Some(expected));
}

#[test]
fn a_coding_agent_is_understood() {
    let prompt = read(
        r#""stream":true,"thinking":{"type":"enabled","budget_tokens":31999},
        "system":[{"type":"text","text":"x-billing: 1"},{"type":"text","text":"You code.",
        "cache_control":{"type":"ephemeral","ttl":"1h"}}],
        "metadata":{"user_id":"{\"device_id\":1}"},"temperature":1,
        "context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},
        "tools":[{"name":"Bash","description":"Runs.","input_schema":{"type":"object"},
        "eager_input_streaming":true,"cache_control":{"type":"ephemeral","scope":"global"}}],
        "messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]},
        {"role":"system","content":"Be brief."},
        {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},
        {"type":"tool_use","id":"toolu_1","name":"Bash","input":{"n":9007199254740993},"caller":{"type":"direct"}}]},
        {"role":"user","content":[{"type":"text","text":"look"},{"type":"tool_result","tool_use_id":"toolu_1",
        "content":"ok","is_error":false,"cache_control":{"type":"ephemeral"}}]}]"#,
    );
    assert_eq!(
        extras(&prompt),
        [
            ("tools[0].cache_control.scope", false),
            ("tools[0].eager_input_streaming", false),
            ("context_management", false)
        ]
    );
    let hour = Some(CacheMark { lifetime: Some(CacheLifetime::Hour1) });
    let mark = Some(CacheMark { lifetime: None });
    let instruction = |text: &str, cache| Instruction { is_developer: false, text: text.to_owned(), cache };
    assert_eq!(prompt.instructions, [instruction("x-billing: 1", None), instruction("You code.", hour)]);
    assert_eq!(prompt.end_user.as_deref(), Some("{\"device_id\":1}"));
    assert_eq!((prompt.reasoning.budget_tokens, prompt.output.tokens_max), (Some(31999), Some(9)));
    let roles: Vec<Role> = prompt.turns.iter().map(|turn| turn.role).collect();
    assert_eq!(roles, [Role::User, Role::System, Role::Assistant, Role::Tool, Role::User]);
    assert_eq!(prompt.turns[0].parts[0].cache, mark);
    let seal = Signature { grammar: Grammar::Anthropic, value: "s".to_owned() };
    let thought = Thought { text: "hm".to_owned(), signature: Some(seal), ..Thought::default() };
    assert_eq!(prompt.turns[2].parts[0].content, Content::Thought(thought));
    let Content::ToolCall(call) = &prompt.turns[2].parts[1].content else { panic!("{prompt:?}") };
    assert_eq!(call.arguments, r#"{"n":9007199254740993}"#);
    assert_eq!(prompt.turns[3].parts[0].cache, mark);
    assert_eq!(prompt.tools[0].cache, mark);
}

#[test]
fn instructions_before_the_first_turn_are_one_list() {
    let prompt = read(
        r#""system":"a","messages":[{"role":"system","content":"b"},{"role":"user","content":"q"},
        {"role":"system","content":[{"type":"text","text":"c"}]}]"#,
    );
    let texts: Vec<&str> = prompt.instructions.iter().map(|instruction| instruction.text.as_str()).collect();
    assert_eq!(texts, ["a", "b"]);
    assert_eq!(prompt.turns, [text_turn(Role::User, "q"), text_turn(Role::System, "c")]);
}

#[test]
fn every_source_and_kind_of_block_is_read() {
    let prompt = read_messages(
        r#"{"role":"user","content":[
        {"type":"image","source":{"type":"base64","media_type":"image/png","data":"eA=="}},
        {"type":"image","source":{"type":"file","file_id":"file_1"}},
        {"type":"document","source":{"type":"url","url":"u"},"title":"t","context":"c","citations":{"enabled":true}},
        {"type":"document","source":{"type":"text","media_type":"text/plain","data":"d"},"citations":null},
        {"type":"document","source":{"type":"content","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}},
        {"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"f"}]},
        {"type":"container_upload","file_id":"file_2"}]},
        {"role":"assistant","content":[{"type":"redacted_thinking","data":"r"},{"type":"thinking","thinking":"x"},
        {"type":"server_tool_use","id":"s","name":"web_search","input":{}},
        {"type":"text","text":"a","citations":[{"type":"char_location"}]}]}"#,
    );
    assert_eq!(extras(&prompt), [("messages[0].content[6]", true)]);
    let contents: Vec<&Content> =
        prompt.turns.iter().flat_map(|turn| &turn.parts).map(|p| &p.content).collect();
    let document = |source, name: Option<&str>, context: Option<&str>, cite| Content::Document {
        source,
        name: name.map(str::to_owned),
        context: context.map(str::to_owned),
        cite,
    };
    let seal = Signature { grammar: Grammar::Anthropic, value: "r".to_owned() };
    let expected = [
        Content::Image {
            source: Source::Inline { media_type: "image/png".to_owned(), base64: "eA==".to_owned() },
            detail: None,
        },
        Content::Image { source: Source::File { id: "file_1".to_owned(), media_type: None }, detail: None },
        document(Source::Url { url: "u".to_owned(), media_type: None }, Some("t"), Some("c"), true),
        document(Source::Text("d".to_owned()), None, None, false),
        document(Source::Text("a\n\nb".to_owned()), None, None, false),
        document(Source::Text("f".to_owned()), Some("t"), Some("s"), false),
        Content::Thought(Thought { is_redacted: true, signature: Some(seal), ..Thought::default() }),
        Content::Thought(Thought { text: "x".to_owned(), ..Thought::default() }),
        Content::Foreign {
            kind: "server_tool_use".to_owned(),
            json: Json(r#"{"type":"server_tool_use","id":"s","name":"web_search","input":{}}"#.to_owned()),
        },
        Content::Text {
            text: "a".to_owned(),
            citations: vec![Json(r#"{"type":"char_location"}"#.to_owned())],
        },
    ];
    assert_eq!(contents, expected.iter().collect::<Vec<_>>());
}

#[test]
fn results_hold_media_and_name_what_has_no_place() {
    let prompt = read_messages(
        r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","is_error":true,"content":[
        {"type":"text","text":"x"},{"type":"image","source":{"type":"url","url":"u"}},
        {"type":"tool_reference","tool_name":"f"},{"type":"later"}]},{"type":"tool_result","tool_use_id":"b"}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":""}]}"#,
    );
    let inside = "messages[0].content[0].content";
    assert_eq!(extras(&prompt), [(&*format!("{inside}[2]"), false), (&*format!("{inside}[3]"), true)]);
    assert_eq!(prompt.turns.len(), 1, "consecutive results are one turn");
    let [first, second, _] = prompt.turns[0].parts.as_slice() else { panic!("{prompt:?}") };
    let Content::ToolResult(first) = &first.content else { panic!("{first:?}") };
    assert_eq!((first.parts.len(), first.is_error), (2, true));
    let Content::ToolResult(second) = &second.content else { panic!("{second:?}") };
    assert_eq!((second.parts.len(), second.is_error), (0, false));
}

#[test]
fn settings_are_read() {
    let messages = r#""messages":[{"role":"user","content":"q"}]"#;
    let with = |fields: &str| read(&format!("{messages},{fields}"));
    assert_eq!(with(r#""thinking":{"type":"disabled"}"#).reasoning.effort, Some(Effort::None));
    let adaptive =
        with(r#""thinking":{"type":"adaptive","display":"omitted"},"output_config":{"effort":"xhigh"}"#);
    assert!(adaptive.reasoning.is_adaptive);
    assert_eq!(
        (adaptive.reasoning.effort, adaptive.reasoning.visibility),
        (Some(Effort::XHigh), Some(ThinkingVisibility::Nothing))
    );
    let between = with(r#""thinking":{"type":"between_tools"}"#);
    assert_eq!((between.reasoning.is_adaptive, extras(&between)), (true, vec![("thinking.type", false)]));
    let updates = with(r#""thinking":{"type":"enabled","budget_tokens":2000,"display":"updates"}"#);
    assert_eq!(
        (updates.reasoning.budget_tokens, updates.reasoning.visibility),
        (Some(2000), Some(ThinkingVisibility::Unasked))
    );
    assert_eq!(extras(&updates), [("thinking.display", false)]);
    let both =
        with(r#""output_config":{"effort":"low","task_budget":{"x":1}},"thinking":{"type":"disabled"}"#);
    assert_eq!(both.reasoning.effort, Some(Effort::None));
    assert_eq!(extras(&both), [("output_config.effort", false), ("output_config.task_budget", false)]);
    let format = with(r#""output_config":{"format":{"type":"json_schema","schema":{"a" :1}}}"#).output.format;
    let Some(OutputFormat::JsonSchema { schema, .. }) = format else { panic!("{format:?}") };
    assert_eq!(schema.as_str(), r#"{"a" :1}"#);
    let choice = with(r#""tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true}"#);
    let named = ToolChoice::Named { name: "f".to_owned(), is_custom: false };
    assert_eq!((choice.tool_choice, choice.parallel_tools), (Some(named), Some(false)));
    assert_eq!(with(r#""service_tier":"standard_only""#).service_tier, Some(ServiceTier::Default));
    let mark = with(r#""cache_control":{"type":"ephemeral","ttl":"5m"}"#).caching.automatic;
    assert_eq!(mark, Some(CacheMark { lifetime: Some(CacheLifetime::Minutes5) }));
    let warm =
        read_prompt(br#"{"model":"m","max_tokens":0,"messages":[{"role":"user","content":"q"}]}"#).unwrap();
    assert_eq!(warm.output.tokens_max, Some(0));
}

#[test]
fn what_has_no_place_is_meaning_or_hint() {
    let prompt = read(
        r#""messages":[{"role":"user","content":"q","later":1}],"container":"c","mcp_servers":[],"inference_geo":"eu",
        "speed":"fast","diagnostics":null,"metadata":{"x":"y"},"later":{"a":1},"betas":["b"],
        "tools":[{"type":"custom","name":"f","input_schema":{},"defer_loading":true,"later":1},
        {"type":"web_search_20250305","name":"web_search"}]"#,
    );
    assert_eq!(
        extras(&prompt),
        [
            ("messages[0].later", true),
            ("tools[0].defer_loading", false),
            ("tools[0].later", true),
            ("metadata.x", false),
            ("container", true),
            ("inference_geo", false),
            ("speed", false),
            ("later", true),
            ("betas", false)
        ]
    );
    assert!(matches!(&prompt.tools[1].kind, ToolKind::Hosted { kind, .. } if kind == "web_search_20250305"));
}

#[test]
fn what_is_wrong_is_named() {
    for (messages, code, param) in [
        (r#"{"role":"robot","content":""}"#, "invalid_value", "messages[0].role"),
        (r#"{"role":"user"}"#, "missing_required_parameter", "messages[0].content"),
        (r#"{"role":"user","content":7}"#, "invalid_type", "messages[0].content"),
        (
            r#"{"role":"user","content":[{"type":"tool_use"}]}"#,
            "invalid_value",
            "messages[0].content[0].type",
        ),
        (
            r#"{"role":"assistant","content":[{"type":"tool_result"}]}"#,
            "invalid_value",
            "messages[0].content[0].type",
        ),
        (
            r#"{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":"{}"}]}"#,
            "invalid_type",
            "messages[0].content[0].input",
        ),
        (
            r#"{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"2h"}}]}"#,
            "invalid_value",
            "messages[0].content[0].cache_control.ttl",
        ),
        (
            r#"{"role":"user","content":[{"type":"text","text":"a","text":"b"}]}"#,
            "duplicate_field",
            "messages[0].content[0].text",
        ),
    ] {
        let body = format!(r#"{{"model":"m","max_tokens":1,"messages":[{messages}]}}"#);
        let fault = read_prompt(body.as_bytes()).expect_err(messages);
        assert_eq!((fault.code, fault.param.as_deref()), (code, Some(param)), "{messages}");
    }
}

#[test]
fn the_length_is_always_said() {
    let none = Abilities::default();
    let known = Abilities { output_tokens_max: Some(64_000), ..none };
    check_fields(none, |_| {}, r#""max_tokens":4096"#, &[]);
    check_fields(known, |_| {}, r#""max_tokens":64000"#, &[]);
    check_fields(known, |prompt| prompt.output.tokens_max = Some(5), r#""max_tokens":5"#, &[]);
    check_fields(known, |prompt| prompt.output.tokens_max = Some(100_000), r#""max_tokens":64000"#, &[]);
    let thinks = Abilities { thinking: Thinking::Budget, ..none };
    check_fields(
        thinks,
        |prompt| prompt.reasoning.effort = Some(Effort::Medium),
        r#""max_tokens":12288,"thinking":{"type":"enabled","budget_tokens":8192}"#,
        &[],
    );
}

#[test]
fn sampling_keeps_to_what_the_provider_takes() {
    let none = Abilities::default();
    let number = |text: &str| Some(Json(text.to_owned()));
    check_fields(
        none,
        |p| p.sampling.temperature = number("0.70"),
        r#""max_tokens":4096,"temperature":0.70"#,
        &[],
    );
    check_fields(
        none,
        |p| p.sampling.temperature = number("1.7"),
        r#""max_tokens":4096,"temperature":1"#,
        &["temperature"],
    );
    check_fields(
        none,
        |p| p.sampling.temperature = number("-1"),
        r#""max_tokens":4096,"temperature":0"#,
        &["temperature"],
    );
    let all = |p: &mut Prompt| {
        p.sampling.temperature = number("1.0");
        p.sampling.top_p = number("0.5");
        p.sampling.top_k = Some(3);
    };
    // A temperature of 1 is the default: without it, both can be kept.
    check_fields(none, all, r#""max_tokens":4096,"top_p":0.5,"top_k":3"#, &[]);
    for (temperature, top_p, expected, lost) in [
        ("0.7", "0.9", r#""max_tokens":4096,"temperature":0.7"#, &["top_p"][..]),
        ("0.7", "1.0", r#""max_tokens":4096,"temperature":0.7"#, &[]),
        ("1", "1", r#""max_tokens":4096,"temperature":1"#, &[]),
    ] {
        let both = |p: &mut Prompt| {
            p.sampling.temperature = number(temperature);
            p.sampling.top_p = number(top_p);
        };
        check_fields(none, both, expected, lost);
    }
    let refuses = Abilities { refuses_sampling: true, ..none };
    check_fields(refuses, all, r#""max_tokens":4096"#, &["temperature", "top_p", "this"]);
    let thinking = |p: &mut Prompt| {
        all(p);
        p.reasoning.is_adaptive = true;
    };
    let expected = r#""max_tokens":4096,"temperature":1.0,"thinking":{"type":"adaptive"}"#;
    check_fields(none, thinking, expected, &["top_p", "this"]);
    let stop = |p: &mut Prompt| p.sampling.stop = vec!["\n\n".to_owned(), "END".to_owned()];
    check_fields(none, stop, r#""max_tokens":4096,"stop_sequences":["END"]"#, &["stop"]);
}

#[test]
fn thinking_is_said_as_the_model_takes_it() {
    let ability = |thinking| Abilities { thinking, ..Abilities::default() };
    let effort = |effort| move |prompt: &mut Prompt| prompt.reasoning.effort = Some(effort);
    let budget = |tokens| move |prompt: &mut Prompt| prompt.reasoning.budget_tokens = Some(tokens);
    let adaptive = |word: &str| {
        format!(r#""max_tokens":4096,"thinking":{{"type":"adaptive"}},"output_config":{{"effort":"{word}"}}"#)
    };
    let off = r#""max_tokens":4096,"thinking":{"type":"disabled"}"#;
    for thinking in [Thinking::Unknown, Thinking::Effort] {
        check_fields(ability(thinking), effort(Effort::High), &adaptive("high"), &[]);
        check_fields(ability(thinking), effort(Effort::Minimal), &adaptive("low"), &[]);
        check_fields(ability(thinking), effort(Effort::None), off, &[]);
    }
    check_fields(
        ability(Thinking::Never),
        effort(Effort::High),
        r#""max_tokens":4096"#,
        &["reasoning_effort"],
    );
    check_fields(ability(Thinking::Never), effort(Effort::None), r#""max_tokens":4096"#, &[]);
    check_fields(ability(Thinking::Effort), budget(9000), &adaptive("high"), &["this"]);
    check_fields(ability(Thinking::Budget), budget(0), off, &[]);
    let short = |prompt: &mut Prompt| {
        prompt.output.tokens_max = Some(3000);
        prompt.reasoning.effort = Some(Effort::High);
        prompt.reasoning.visibility = Some(ThinkingVisibility::Summary);
    };
    let fitted =
        r#""max_tokens":3000,"thinking":{"type":"enabled","budget_tokens":2999,"display":"summarized"}"#;
    check_fields(ability(Thinking::Budget), short, fitted, &[]);
    let too_short = |prompt: &mut Prompt| {
        prompt.output.tokens_max = Some(1024);
        prompt.reasoning.effort = Some(Effort::Low);
    };
    check_fields(ability(Thinking::Budget), too_short, r#""max_tokens":1024"#, &["reasoning_effort"]);
}

#[test]
fn thinking_gives_way_where_the_provider_would_refuse_it() {
    let mut prompt = question();
    prompt.reasoning.effort = Some(Effort::High);
    prompt.tools = vec![function("f")];
    prompt.tool_choice = Some(ToolChoice::Required);
    let (body, dropped) = write(&prompt);
    assert!(!body.contains("thinking") && body.contains(r#""tool_choice":{"type":"any"}"#), "{body}");
    assert_eq!(dropped, ["reasoning_effort"]);
    // A tool loop that began without thinking goes on without it.
    prompt.tool_choice = None;
    prompt.turns.push(turn(Role::Assistant, vec![call("a", "{}")]));
    prompt.turns.push(turn(Role::Tool, vec![result("a", "x")]));
    let by_budget = Abilities { thinking: Thinking::Budget, ..Abilities::default() };
    let (body, dropped) = write_for(&prompt, by_budget).unwrap();
    assert!(!body.contains("thinking"), "{body}");
    assert_eq!(dropped, ["reasoning_effort"]);
    let (body, _) = write(&prompt);
    assert!(body.contains(r#""thinking":{"type":"adaptive"}"#), "{body}");
}

#[test]
fn tools_and_the_choice_among_them() {
    let none = Abilities::default();
    let tool =
        |name: &str| format!(r#"{{"name":"{name}","input_schema":{{"type":"object","properties":{{}}}}}}"#);
    let both = format!(r#""max_tokens":4096,"tools":[{},{}]"#, tool("f"), tool("g"));
    let with = |choice: Option<ToolChoice>, parallel: Option<bool>| {
        move |prompt: &mut Prompt| {
            prompt.tools = vec![function("f"), function("g")];
            prompt.tool_choice = choice;
            prompt.parallel_tools = parallel;
        }
    };
    let named = Some(ToolChoice::Named { name: "g".to_owned(), is_custom: false });
    for (choice, parallel, expected) in [
        (None, None, ""),
        (None, Some(true), ""),
        (None, Some(false), r#","tool_choice":{"type":"auto","disable_parallel_tool_use":true}"#),
        (Some(ToolChoice::Auto), None, r#","tool_choice":{"type":"auto"}"#),
        (Some(ToolChoice::None), Some(false), r#","tool_choice":{"type":"none"}"#),
        (
            Some(ToolChoice::Required),
            Some(true),
            r#","tool_choice":{"type":"any","disable_parallel_tool_use":false}"#,
        ),
        (named, None, r#","tool_choice":{"type":"tool","name":"g"}"#),
    ] {
        check_fields(none, with(choice, parallel), &format!("{both}{expected}"), &[]);
    }
    let allowed = |is_required| Some(ToolChoice::Allowed { names: vec!["g".to_owned()], is_required });
    for (is_required, kind) in [(true, "any"), (false, "auto")] {
        let expected =
            format!(r#""max_tokens":4096,"tools":[{}],"tool_choice":{{"type":"{kind}"}}"#, tool("g"));
        check_fields(none, with(allowed(is_required), None), &expected, &[]);
    }
    check_fields(none, |prompt| prompt.tool_choice = Some(ToolChoice::Auto), r#""max_tokens":4096"#, &[]);
}

#[test]
fn schemas_say_that_they_are_of_objects() {
    let schema_of = |schema: &str| {
        let mut prompt = question();
        prompt.tools = vec![function("f")];
        if let ToolKind::Function { schema: slot, .. } = &mut prompt.tools[0].kind {
            *slot = Some(Json(schema.to_owned()));
        }
        let (body, _) = write(&prompt);
        body.split_once("\"input_schema\":")
            .and_then(|(_, rest)| rest.strip_suffix("}]}"))
            .unwrap()
            .to_owned()
    };
    assert_eq!(schema_of("{}"), r#"{"type":"object","properties":{}}"#);
    assert_eq!(schema_of(r#"{ "properties": {"a": 1}}"#), r#"{"type":"object","properties": {"a": 1}}"#);
    assert_eq!(schema_of(r#"{"x":1,"type":"object"}"#), r#"{"x":1,"type":"object"}"#);
}

#[test]
fn tools_of_other_grammars_are_named_as_lost() {
    let mut prompt = question();
    let hosted = |kind: &str| {
        let json = Json(format!(r#"{{"type":"{kind}","name":"x"}}"#));
        Tool { kind: ToolKind::Hosted { kind: kind.to_owned(), json }, cache: None }
    };
    let custom = ToolKind::Custom { name: "c".to_owned(), description: None, format: None };
    prompt.tools =
        vec![hosted("web_search"), hosted("web_search_20250305"), Tool { kind: custom, cache: None }];
    let (body, dropped) = write(&prompt);
    // A custom (free-text) tool becomes a function with one string parameter.
    assert!(
        body.contains(
            r#""tools":[{"type":"web_search_20250305","name":"x"},{"name":"c","input_schema":{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}}]"#
        ),
        "{body}"
    );
    assert_eq!(dropped, ["tools[0]"]);
    prompt.tools = vec![function("ns.f")];
    let fault = write_for(&prompt, Abilities::default()).unwrap_err();
    assert_eq!((fault.code, fault.param.as_deref()), ("unsupported_tool_name", Some("tools[0].name")));
    // A tool that is not declared can't be forced.
    prompt.tools = vec![function("other")];
    prompt.tool_choice = Some(ToolChoice::Named { name: "web_search".to_owned(), is_custom: false });
    let mut losses = DroppedFields::new(Grammar::Chat, Grammar::Anthropic, dialects::feature_names);
    write_prompt(&prompt, &TargetModel { model: "c", abilities: Abilities::default() }, &mut losses).unwrap();
    assert_eq!(losses.finish(false).unwrap_err().param.as_deref(), Some("tool_choice"));
}

#[test]
fn turns_follow_the_providers_rules() {
    let text = |role: &str, text: &str| {
        format!(r#"{{"role":"{role}","content":[{{"type":"text","text":"{text}"}}]}}"#)
    };
    let all = |messages: &[String]| format!("[{}]", messages.join(","));
    // The conversation must open with a user turn.
    check_messages(vec![], &all(&[text("user", "Begin.")]));
    check_messages(
        vec![text_turn(Role::Assistant, "a ")],
        &all(&[text("user", "Begin."), text("assistant", "a")]),
    );
    // Instructions stay in their place, in their own role where the model takes it; empty texts are dropped.
    let turns = vec![
        text_turn(Role::User, "q"),
        text_turn(Role::Developer, "d"),
        text_turn(Role::Assistant, " "),
        text_turn(Role::User, "r"),
    ];
    check_messages(turns.clone(), &all(&[text("user", "q"), text("user", "d"), text("user", "r")]));
    let newest = Abilities { system_turns: true, ..Abilities::default() };
    let (body, _) = write_for(&Prompt { turns, ..Prompt::default() }, newest).unwrap();
    assert!(body.contains(&all(&[text("user", "q"), text("system", "d"), text("user", "r")])), "{body}");
    // Trailing whitespace is refused at the end of the conversation only.
    check_messages(
        vec![text_turn(Role::User, "q "), text_turn(Role::Assistant, "a "), text_turn(Role::User, "r ")],
        &all(&[text("user", "q "), text("assistant", "a "), text("user", "r ")]),
    );
}

#[test]
fn results_stand_behind_their_calls_and_before_all_else() {
    let calls = r#"{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}},{"type":"tool_use","id":"b","name":"f","input":{"x":1}}]}"#;
    let answer = |id: &str| {
        format!(
            r#"{{"type":"tool_result","tool_use_id":"{id}","content":[{{"type":"text","text":"{id}"}}]}}"#
        )
    };
    let text = r#"{"type":"text","text":"r"}"#;
    let begin = r#"{"role":"user","content":[{"type":"text","text":"q"}]}"#;
    let expected =
        format!(r#"[{begin},{calls},{{"role":"user","content":[{},{},{text}]}}]"#, answer("b"), answer("a"));
    let called = || {
        vec![text_turn(Role::User, "q"), turn(Role::Assistant, vec![call("a", ""), call("b", r#"{"x":1}"#)])]
    };
    let after = |turns: Vec<Turn>| [called(), turns].concat();
    let (a, b) = (|| result("a", "a"), || result("b", "b"));
    check_messages(after(vec![turn(Role::Tool, vec![b(), a()]), text_turn(Role::User, "r")]), &expected);
    check_messages(
        after(vec![turn(Role::Tool, vec![b()]), turn(Role::Tool, vec![a()]), text_turn(Role::User, "r")]),
        &expected,
    );
    check_messages(after(vec![text_turn(Role::User, "r"), turn(Role::Tool, vec![b(), a()])]), &expected);
    check_messages(
        after(vec![turn(Role::Tool, vec![b()]), text_turn(Role::User, "r"), turn(Role::Tool, vec![a()])]),
        &expected,
    );
    for (turns, code, param) in [
        (
            after(vec![turn(Role::Tool, vec![a()]), text_turn(Role::User, "r")]),
            "tool_call_without_result",
            "messages[1]",
        ),
        (after(vec![turn(Role::Tool, vec![a(), b(), a()])]), "tool_result_without_call", "messages[2]"),
        (vec![turn(Role::Tool, vec![a()])], "tool_result_without_call", "messages[0]"),
        (
            vec![turn(Role::Assistant, vec![call("a", "{\"x")]), turn(Role::Tool, vec![a()])],
            "invalid_tool_arguments",
            "messages[0]",
        ),
        (
            vec![turn(Role::Assistant, vec![call("a", "[1]")]), turn(Role::Tool, vec![a()])],
            "invalid_tool_arguments",
            "messages[0]",
        ),
    ] {
        let fault = write_for(&Prompt { turns, ..Prompt::default() }, Abilities::default()).unwrap_err();
        assert_eq!((fault.code, fault.param.as_deref()), (code, Some(param)));
    }
}

#[test]
fn ids_of_other_providers_are_changed_alike() {
    let turns = vec![
        text_turn(Role::User, "q"),
        turn(Role::Assistant, vec![call("functions.f:0", "{}")]),
        turn(Role::Tool, vec![result("functions.f:0", "x")]),
    ];
    let (body, _) = write(&Prompt { turns, ..Prompt::default() });
    assert_eq!(body.matches("\"idfunctions_2ef_3a0\"").count(), 2, "{body}");
}

#[test]
fn thoughts_go_back_only_to_who_sealed_them() {
    let thought = |grammar: Option<Grammar>| {
        let signature = grammar.map(|grammar| Signature { grammar, value: "s".to_owned() });
        Part::of(Content::Thought(Thought { text: "hm".to_owned(), signature, ..Thought::default() }))
    };
    let turns = |part: Part| {
        vec![
            text_turn(Role::User, "q"),
            turn(Role::Assistant, vec![part, Part::text("a")]),
            text_turn(Role::User, "r"),
        ]
    };
    for (grammar, is_kept) in [
        (None, false),
        (Some(Grammar::Gemini), false),
        (Some(Grammar::Responses), false),
        (Some(Grammar::Anthropic), true),
    ] {
        let prompt = Prompt { turns: turns(thought(grammar)), ..Prompt::default() };
        let (body, dropped) = write(&prompt);
        assert_eq!(
            body.contains(r#"{"type":"thinking","thinking":"hm","signature":"s"}"#),
            is_kept,
            "{body}"
        );
        assert_eq!(dropped.is_empty(), is_kept);
    }
}

#[test]
fn marks_are_four_and_the_longer_ones_come_first() {
    let mark = |lifetime| Some(CacheMark { lifetime: Some(lifetime) });
    let instruction = |text: &str, cache| Instruction { is_developer: true, text: text.to_owned(), cache };
    let mut prompt = question();
    prompt.instructions = vec![
        instruction("1", mark(CacheLifetime::Minutes5)),
        instruction("2", mark(CacheLifetime::Minutes5)),
        instruction("3", mark(CacheLifetime::Minutes30)),
        instruction("4", Some(CacheMark { lifetime: None })),
    ];
    prompt.turns[0].parts[0].cache = mark(CacheLifetime::Minutes5);
    let (body, dropped) = write(&prompt);
    let hour = r#""cache_control":{"type":"ephemeral","ttl":"1h"}"#;
    assert!(body.contains(r#""system":[{"type":"text","text":"1"},{"type":"text","text":"2","#), "{body}");
    for marked in ["\"text\":\"2\"", "\"text\":\"3\""] {
        assert!(body.contains(&format!("{marked},{hour}")), "{body}");
    }
    assert!(body.contains(r#""text":"4","cache_control":{"type":"ephemeral"}"#), "{body}");
    assert!(body.contains(r#""text":"q","cache_control":{"type":"ephemeral","ttl":"5m"}"#), "{body}");
    assert_eq!(dropped, ["prompt_cache_breakpoint"]);
}

#[test]
fn formats_and_what_the_grammar_has_no_words_for() {
    let none = Abilities::default();
    let format = |schema: &str, description: Option<&str>| {
        let (schema, description) = (Json(schema.to_owned()), description.map(str::to_owned));
        let format =
            OutputFormat::JsonSchema { name: Some("n".to_owned()), description, schema, strict: Some(true) };
        move |prompt: &mut Prompt| prompt.output.format = Some(format)
    };
    let config = |schema: &str| {
        format!(
            r#""max_tokens":4096,"output_config":{{"format":{{"type":"json_schema","schema":{schema}}}}}"#
        )
    };
    let null = r#"{"type": "null"}"#;
    check_fields(none, format(null, None), &config(null), &[]);
    check_fields(none, format(null, Some("d\"")), &config(r#"{"description":"d\"","type": "null"}"#), &[]);
    check_fields(
        none,
        format(r#"{"type":"integer","minimum":1}"#, None),
        &config(r#"{"type":"integer","description":"{minimum: 1}"}"#),
        &["response_format"],
    );
    check_fields(none, format(r#"{"description":1}"#, Some("d")), &config(r#"{"description":1}"#), &[]);
    let lost = |prompt: &mut Prompt| {
        prompt.output.format = Some(OutputFormat::JsonObject);
        prompt.sampling.seed = Some(1);
        prompt.sampling.choices = Some(2);
        prompt.sampling.logprobs = true;
        prompt.caching.key = Some("k".to_owned());
        prompt.store = Some(true);
        prompt.metadata = vec![("a".to_owned(), "b".to_owned())];
        prompt.service_tier = Some(ServiceTier::Flex);
        prompt.turns[0].name = Some("anna".to_owned());
    };
    check_fields(
        none,
        lost,
        r#""max_tokens":4096,"system":[{"type":"text","text":"Answer with one valid JSON object and nothing else: no other text, no code fence."}]"#,
        &[
            "response_format",
            "service_tier",
            "n",
            "logprobs",
            "seed",
            "prompt_cache_key",
            "store",
            "metadata",
            "messages.name",
        ],
    );
    let kept = |prompt: &mut Prompt| {
        prompt.store = Some(false);
        prompt.sampling.choices = Some(1);
        prompt.end_user = Some("u".to_owned());
        prompt.stream = true;
    };
    check_fields(none, kept, r#""max_tokens":4096,"metadata":{"user_id":"u"},"stream":true"#, &[]);
}

#[test]
fn media_that_the_provider_does_not_take_is_named() {
    let lost_of = |role: Role, content: Content| {
        let turns = vec![text_turn(Role::User, "q"), turn(role, vec![Part::of(content), Part::text("a")])];
        write(&Prompt { turns, ..Prompt::default() }).1
    };
    let inline =
        |media_type: &str| Source::Inline { media_type: media_type.to_owned(), base64: "eA==".to_owned() };
    let document = |source| Content::Document { source, name: None, context: None, cite: false };
    assert_eq!(lost_of(Role::User, Content::Audio { source: inline("audio/wav") }), ["input_audio"]);
    assert_eq!(lost_of(Role::User, Content::Video { source: inline("video/mp4") }), ["this"]);
    assert_eq!(lost_of(Role::User, document(inline("application/pdf"))), Vec::<String>::new());
    assert_eq!(lost_of(Role::User, document(inline("text/csv"))), ["file"]);
    assert_eq!(lost_of(Role::Assistant, document(Source::Text("x".to_owned()))), ["file"]);
    let file = |id: &str| document(Source::File { id: id.to_owned(), media_type: None });
    assert_eq!(lost_of(Role::User, file("file-openai")), ["file_id"]);
    assert_eq!(lost_of(Role::User, file("file_own")), Vec::<String>::new());
    let foreign = Content::Foreign { kind: "web_search_call".to_owned(), json: Json("{}".to_owned()) };
    assert_eq!(lost_of(Role::Assistant, foreign), ["web_search_call"]);
}

#[test]
fn every_text_of_a_prompt_is_told() {
    let body = r#"{"model":"m","max_tokens":9,"system":"Be brief.",
        "tools":[{"name":"look","description":"Looks.","input_schema":{"type":"object"}}],
        "messages":[{"role":"user","content":[{"type":"text","text":"How"},{"type":"text","text":"high?"}]},
        {"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"look","input":{"a":1}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"2 m"}]}]}"#;
    let prompt = read_prompt(body.as_bytes()).unwrap();
    let mut texts = Vec::new();
    each_text(&prompt, &mut |text| texts.push(text.to_owned()));
    let wanted =
        ["Be brief.", "look", "Looks.", "{\"type\":\"object\"}", "How", "high?", "look", "{\"a\":1}", "2 m"];
    assert_eq!(texts, wanted);
}
