//! Requests written for Gemini upstreams.

use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use domain::prompt::{
    CacheMark, Content, Effort, Instruction, Part, Role, Signature, Source, Thought, Tool, ToolCall,
    ToolChoice, ToolKind, ToolResult, Turn,
};
use domain::{Abilities, Fault, Grammar, Json, Prompt, Thinking};

use crate::write_prompt;

fn write_body(prompt: &Prompt, abilities: Abilities) -> Result<(String, Vec<String>), Box<Fault>> {
    let mut losses = DroppedFields::new(Grammar::Chat, Grammar::Gemini, dialects::feature_names);
    let body = write_prompt(prompt, &TargetModel { model: "m", abilities }, &mut losses)?;
    Ok((String::from_utf8(body).expect("UTF-8"), losses.finish(false)?))
}

/// Checks what is written, and that nothing was lost.
fn check(prompt: &Prompt, expected: &str) {
    let (body, lost) = write_body(prompt, Abilities::default()).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!((body.as_str(), lost.as_slice()), (expected, &[][..]));
}

fn dropped_fields(prompt: &Prompt) -> Vec<String> {
    write_body(prompt, Abilities::default()).unwrap().1
}

fn refusal(prompt: &Prompt) -> Box<Fault> {
    write_body(prompt, Abilities::default()).unwrap_err()
}

fn turn(role: Role, parts: Vec<Content>) -> Turn {
    Turn { role, name: None, parts: parts.into_iter().map(Part::of).collect() }
}

fn text(text: &str) -> Content {
    Content::Text { text: text.to_owned(), citations: Vec::new() }
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    let (id, name, arguments) = (id.to_owned(), name.to_owned(), arguments.to_owned());
    ToolCall { id, name, arguments, is_custom: false, signature: None }
}

fn result(id: &str, output: &str) -> ToolResult {
    let parts = vec![Part::text(output)];
    ToolResult { id: id.to_owned(), name: None, parts, is_error: false, is_custom: false }
}

fn signature(grammar: Grammar, value: &str) -> Option<Signature> {
    Some(Signature { grammar, value: value.to_owned() })
}

fn talk(turns: Vec<Turn>) -> Prompt {
    Prompt { turns, ..Prompt::default() }
}

fn hello() -> Vec<Turn> {
    vec![turn(Role::User, vec![text("Hello")])]
}

#[test]
fn results_are_the_users_and_name_their_tool() {
    let error = ToolResult { is_error: true, ..result("b", "broke") };
    let prompt = talk(vec![
        turn(Role::User, vec![text("go")]),
        turn(
            Role::Assistant,
            vec![
                Content::ToolCall(call("a", "f", " {\"n\": 9007199254740993, \"n\": 1} ")),
                Content::ToolCall(call("b", "g", "")),
            ],
        ),
        turn(Role::Tool, vec![Content::ToolResult(result("a", "{\"x\":1}")), Content::ToolResult(error)]),
        turn(Role::User, vec![text("and?")]),
        turn(Role::Assistant, vec![Content::ToolCall(call("c", "f", "{}"))]),
        turn(Role::Tool, vec![Content::ToolResult(result("c", "[1]"))]),
        turn(Role::User, vec![text("done")]),
    ]);
    check(
        &prompt,
        concat!(
            r#"{"contents":[{"role":"user","parts":[{"text":"go"}]},"#,
            r#"{"role":"model","parts":[{"functionCall":{"id":"a","name":"f","args":{"n": 9007199254740993, "n": 1}}},{"functionCall":{"id":"b","name":"g","args":{}}}]},"#,
            r#"{"role":"user","parts":[{"functionResponse":{"id":"a","name":"f","response":{"x":1}}},{"functionResponse":{"id":"b","name":"g","response":{"error":"broke"}}}]},"#,
            r#"{"role":"user","parts":[{"text":"and?"}]},{"role":"model","parts":[{"functionCall":{"id":"c","name":"f","args":{}}}]},"#,
            r#"{"role":"user","parts":[{"functionResponse":{"id":"c","name":"f","response":{"output":"[1]"}}}]},{"role":"user","parts":[{"text":"done"}]}]}"#
        ),
    );
}

#[test]
fn seals_of_others_are_left_out_and_the_open_loop_says_so() {
    let sealed = |grammar| ToolCall { signature: signature(grammar, "S"), ..call("a", "f", "{}") };
    let thought = Thought {
        text: "hm".to_owned(),
        signature: signature(Grammar::Anthropic, "A"),
        ..Thought::default()
    };
    let prompt = talk(vec![
        turn(Role::User, vec![text("go")]),
        turn(
            Role::Assistant,
            vec![
                Content::Thought(thought),
                Content::ToolCall(sealed(Grammar::Chat)),
                Content::ToolCall(call("b", "f", "{}")),
            ],
        ),
        turn(Role::Tool, vec![Content::ToolResult(result("a", "1")), Content::ToolResult(result("b", "2"))]),
        turn(Role::Assistant, vec![Content::ToolCall(sealed(Grammar::Gemini))]),
    ]);
    let (body, lost) = write_body(&prompt, Abilities::default()).unwrap();
    assert_eq!(lost, ["reasoning_content"]);
    assert_eq!(body.matches("c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=").count(), 1, "{body}");
    let first = r#"{"role":"model","parts":[{"functionCall":{"id":"a","name":"f","args":{}},"thoughtSignature":"c2tp"#;
    assert!(body.contains(first), "{body}");
    assert!(body.contains(r#"{"functionCall":{"id":"b","name":"f","args":{}}}"#), "{body}");
    assert!(
        body.ends_with(r#"{"functionCall":{"id":"a","name":"f","args":{}},"thoughtSignature":"S"}]}]}"#),
        "{body}"
    );
    // Models with a thinking budget validate no signatures.
    let budget = Abilities { thinking: Thinking::Budget, ..Abilities::default() };
    assert!(!write_body(&prompt, budget).unwrap().0.contains("c2tp"));
}

#[test]
fn instructions_in_the_middle_go_before_the_users_next_words() {
    let system = |words: &str| turn(Role::System, vec![text(words)]);
    let mut prompt = talk(vec![
        system("first"),
        turn(Role::User, vec![text("go")]),
        system("second"),
        turn(Role::Assistant, vec![text("ok")]),
        system("third"),
        turn(Role::User, vec![text("on")]),
        system("last"),
    ]);
    prompt.instructions.push(Instruction { is_developer: true, text: "zero".to_owned(), cache: None });
    check(
        &prompt,
        concat!(
            r#"{"systemInstruction":{"parts":[{"text":"zero"},{"text":"first"}]},"contents":["#,
            r#"{"role":"user","parts":[{"text":"go"}]},{"role":"user","parts":[{"text":"second"}]},{"role":"model","parts":[{"text":"ok"}]},"#,
            r#"{"role":"user","parts":[{"text":"third"},{"text":"on"}]},{"role":"user","parts":[{"text":"last"}]}]}"#
        ),
    );
}

#[test]
fn an_instruction_never_stands_between_a_call_and_its_result() {
    let prompt = talk(vec![
        turn(Role::User, vec![text("go")]),
        turn(Role::Assistant, vec![Content::ToolCall(call("a", "f", "{}"))]),
        turn(Role::System, vec![text("hurry")]),
        turn(Role::Tool, vec![Content::ToolResult(result("a", "x"))]),
    ]);
    let (body, _) = write_body(&prompt, Abilities::default()).unwrap();
    let end = r#"{"role":"user","parts":[{"functionResponse":{"id":"a","name":"f","response":{"output":"x"}}}]},{"role":"user","parts":[{"text":"hurry"}]}]}"#;
    assert!(body.ends_with(end), "{body}");
}

#[test]
fn instructions_alone_are_what_the_user_says() {
    let mut prompt = Prompt::default();
    prompt.instructions.push(Instruction { is_developer: false, text: "Say hi.".to_owned(), cache: None });
    check(&prompt, r#"{"contents":[{"role":"user","parts":[{"text":"Say hi."}]}]}"#);
}

#[test]
fn tools_keep_their_schema_and_go_without_an_empty_one() {
    let function = |name: &str, schema: &str| Tool {
        kind: ToolKind::Function {
            name: name.to_owned(),
            description: None,
            schema: Some(Json(schema.to_owned())),
            strict: None,
        },
        cache: None,
    };
    let mut prompt = talk(hello());
    prompt.tools = vec![
        function("a", r#"{"type":"object","properties":{"x":{"$ref":"y"}}}"#),
        function("b", r#"{"type":"object","properties":{},"additionalProperties":false,"required":[]}"#),
        function("c", r#"{"type":"object"}"#),
        function("d", r#"{"anyOf":[{}]}"#),
        Tool {
            kind: ToolKind::Hosted { kind: "googleSearch".to_owned(), json: Json("{}".to_owned()) },
            cache: None,
        },
    ];
    prompt.tool_choice = Some(ToolChoice::Allowed { names: vec!["a".to_owned()], is_required: false });
    check(
        &prompt,
        concat!(
            r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}],"tools":[{"functionDeclarations":["#,
            r#"{"name":"a","parametersJsonSchema":{"type":"object","properties":{"x":{"$ref":"y"}}}},{"name":"b"},{"name":"c"},"#,
            r#"{"name":"d","parametersJsonSchema":{"anyOf":[{}]}}]},{"googleSearch":{}}],"#,
            r#""toolConfig":{"functionCallingConfig":{"mode":"VALIDATED","allowedFunctionNames":["a"]}}}"#
        ),
    );
}

#[test]
fn effort_and_budget_are_said_as_the_model_takes_them() {
    let config = |effort, budget_tokens, is_adaptive, thinking| {
        let mut prompt = talk(hello());
        prompt.reasoning.effort = effort;
        prompt.reasoning.budget_tokens = budget_tokens;
        prompt.reasoning.is_adaptive = is_adaptive;
        let (body, lost) = write_body(&prompt, Abilities { thinking, ..Abilities::default() }).unwrap();
        let config = body.split_once("\"thinkingConfig\":").map_or("", |(_, config)| config);
        (config.trim_end_matches('}').to_owned(), lost)
    };
    let none: Vec<String> = Vec::new();
    let check = |written: (String, Vec<String>), expected: &str| {
        assert_eq!(written, (expected.to_owned(), none.clone()))
    };
    check(config(Some(Effort::High), None, false, Thinking::Effort), r#"{"thinkingLevel":"HIGH""#);
    check(config(Some(Effort::High), None, false, Thinking::Budget), r#"{"thinkingBudget":24576"#);
    check(config(Some(Effort::None), None, false, Thinking::Budget), r#"{"thinkingBudget":0"#);
    check(config(Some(Effort::None), None, false, Thinking::Effort), r#"{"thinkingLevel":"MINIMAL""#);
    check(config(None, Some(100), false, Thinking::Budget), r#"{"thinkingBudget":100"#);
    check(config(None, None, true, Thinking::Budget), r#"{"thinkingBudget":-1"#);
    check(config(Some(Effort::Low), None, true, Thinking::Unknown), r#"{"thinkingLevel":"LOW""#);
    check(config(None, Some(100), false, Thinking::Unknown), r#"{"thinkingBudget":100"#);
    check(config(Some(Effort::None), None, false, Thinking::Never), "");
    let (config_of_budget, lost) = config(None, Some(9_000), false, Thinking::Effort);
    assert_eq!((config_of_budget.as_str(), lost.len()), (r#"{"thinkingLevel":"HIGH""#, 1));
    assert_eq!(
        config(Some(Effort::Low), None, false, Thinking::Never),
        (String::new(), vec!["reasoning_effort".to_owned()])
    );
}

#[test]
fn a_budget_is_the_nearest_that_the_model_takes() {
    for (model, requested, expected, losses) in [
        ("gemini-2.5-flash", 32_000, 24_576, 0),
        ("gemini-2.5-flash", 0, 0, 0),
        ("gemini-2.5-flash-lite", 100, 512, 0),
        ("gemini-2.5-pro", 100, 128, 0),
        ("gemini-2.5-pro", 40_000, 32_768, 0),
        ("gemini-2.5-pro", 0, 128, 1),
    ] {
        let mut prompt = talk(hello());
        prompt.reasoning.budget_tokens = Some(requested);
        let abilities = Abilities { thinking: Thinking::Budget, ..Abilities::default() };
        let mut lost = DroppedFields::new(Grammar::Anthropic, Grammar::Gemini, dialects::feature_names);
        let body = write_prompt(&prompt, &TargetModel { model, abilities }, &mut lost).unwrap();
        let body = String::from_utf8(body).expect("UTF-8");
        assert!(body.contains(&format!(r#""thinkingBudget":{expected}}}"#)), "{model}: {body}");
        assert_eq!(lost.finish(false).unwrap().len(), losses, "{model}");
    }
}

#[test]
fn thoughts_are_shown_unless_a_client_that_sees_them_elsewhere_wants_none() {
    let thinking_config = |thinking: &str| {
        let body = format!(
            r#"{{"model":"m","max_tokens":9000,"messages":[{{"role":"user","content":"q"}}],"thinking":{thinking}}}"#
        );
        let prompt = anthropic::read_prompt(body.as_bytes()).unwrap();
        let (body, _) =
            write_body(&prompt, Abilities { thinking: Thinking::Budget, ..Abilities::default() }).unwrap();
        let config = body.split_once("\"thinkingConfig\":").map_or("", |(_, config)| config);
        config.trim_end_matches('}').to_owned()
    };
    let enabled = r#""type":"enabled","budget_tokens":2000"#;
    let visible = r#"{"includeThoughts":true,"thinkingBudget":2000"#;
    assert_eq!(thinking_config(&format!("{{{enabled}}}")), visible);
    assert_eq!(thinking_config(&format!(r#"{{{enabled},"display":"summarized"}}"#)), visible);
    let hidden = visible.replace("true", "false");
    assert_eq!(thinking_config(&format!(r#"{{{enabled},"display":"omitted"}}"#)), hidden);
    assert_eq!(thinking_config(r#"{"type":"adaptive"}"#), visible.replace("2000", "-1"));
    assert_eq!(thinking_config(r#"{"type":"disabled"}"#), r#"{"thinkingBudget":0"#);
}

#[test]
fn media_by_address_is_file_data() {
    let image = |url: &str| Content::Image {
        source: Source::Url { url: url.to_owned(), media_type: None },
        detail: Some("auto".to_owned()),
    };
    let pdf = Content::Document {
        source: Source::Inline { media_type: "application/pdf".to_owned(), base64: "AA==".to_owned() },
        name: Some("a.pdf".to_owned()),
        context: None,
        cite: false,
    };
    let prompt = talk(vec![turn(Role::User, vec![image("https://x/a.webp"), image("https://x/a"), pdf])]);
    check(
        &prompt,
        concat!(
            r#"{"contents":[{"role":"user","parts":[{"fileData":{"mimeType":"image/webp","fileUri":"https://x/a.webp"}},"#,
            r#"{"fileData":{"mimeType":"image/jpeg","fileUri":"https://x/a"}},"#,
            r#"{"inlineData":{"mimeType":"application/pdf","data":"AA==","displayName":"a.pdf"}}]}]}"#
        ),
    );
    let own = Source::File { id: "file-abc".to_owned(), media_type: None };
    let fault = refusal(&talk(vec![turn(Role::User, vec![Content::Image { source: own, detail: None }])]));
    assert_eq!(fault.param.as_deref(), Some("file_id"));
}

#[test]
fn what_has_no_words_is_told() {
    let mut prompt = talk(hello());
    prompt.turns[0].name = Some("Ann".to_owned());
    prompt.turns[0].parts[0].cache = Some(CacheMark { lifetime: None });
    prompt.caching.key = Some("k".to_owned());
    prompt.sampling.logit_bias = Some(Json("{}".to_owned()));
    prompt.end_user = Some("u".to_owned());
    prompt.output.verbosity = Some("low".to_owned());
    prompt.metadata = vec![("Bad Key".to_owned(), "v".to_owned()), ("good".to_owned(), "v".to_owned())];
    prompt.reasoning.wants_encrypted = true;
    assert_eq!(
        dropped_fields(&prompt),
        [
            "this",
            "metadata",
            "prompt_cache_breakpoint",
            "prompt_cache_key",
            "logit_bias",
            "verbosity",
            "user",
            "messages.name"
        ]
    );
    let mut single = talk(hello());
    single.parallel_tools = Some(false);
    assert_eq!(dropped_fields(&single), [""; 0]);
    let function = |name: &str| {
        let name = name.to_owned();
        Tool { kind: ToolKind::Function { name, description: None, schema: None, strict: None }, cache: None }
    };
    single.tools = vec![function("f")];
    assert_eq!(dropped_fields(&single), ["parallel_tool_calls"]);
    single.tools.push(function("g"));
    assert_eq!(dropped_fields(&single), [""; 0]);
    let mut stops = talk(hello());
    stops.sampling.stop = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    assert_eq!(dropped_fields(&stops), [""; 0]);
    stops.sampling.stop.push("f".to_owned());
    assert_eq!(refusal(&stops).code, "too_many_stop_sequences");
}

#[test]
fn arguments_that_are_no_object_and_results_of_nothing_are_refused() {
    for arguments in ["{", "[]", "1", "\"x\""] {
        let prompt = talk(vec![
            turn(Role::User, vec![text("go")]),
            turn(Role::Assistant, vec![Content::ToolCall(call("a", "f", arguments))]),
        ]);
        let fault = refusal(&prompt);
        assert_eq!(
            (fault.code, fault.param.as_deref()),
            ("invalid_tool_arguments", Some("messages[1]")),
            "{arguments}"
        );
    }
    let stray = talk(vec![turn(Role::Tool, vec![Content::ToolResult(result("a", "x"))])]);
    assert_eq!(refusal(&stray).code, "tool_result_without_call");
}
