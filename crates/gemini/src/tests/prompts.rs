//! Requests read into the canonical prompt.

use conversation::losses::DroppedFields;
use conversation::request::Request;
use domain::prompt::{
    Content, Effort, OutputFormat, Part, Role, ServiceTier, Source, ThinkingVisibility, ToolChoice, ToolKind,
    Turn,
};
use domain::{Grammar, Json, Prompt};

use super::read;
use crate::read_prompt;

const HELLO: &str = r#""contents":[{"parts":[{"text":"Hello"}]}]"#;

fn with(fields: &str) -> Prompt {
    read(&format!("{{{HELLO},{fields}}}"))
}

fn contents(contents: &str) -> Vec<Turn> {
    read(&format!(r#"{{"contents":{contents}}}"#)).turns
}

fn check_refusal(body: &str, param: &str) {
    let fault = read_prompt(body.as_bytes(), &Request::default()).expect_err(body);
    assert_eq!(fault.param.as_deref(), Some(param), "{body}: {fault}");
}

/// The fields that the canonical form cannot represent: `name`, or `name!` if it changes the response.
fn extras(prompt: &Prompt) -> Vec<String> {
    prompt
        .extras
        .iter()
        .map(|extra| format!("{}{}", extra.name, if extra.affects_answer { "!" } else { "" }))
        .collect()
}

fn render_turns(turns: &[Turn]) -> Vec<String> {
    let part = |part: &Part| match &part.content {
        Content::Text { text, .. } => format!("text {text}"),
        Content::Thought(thought) => {
            let seal = thought.signature.as_ref().map_or("", |signature| signature.value.as_str());
            format!("{} {}:{seal}", if thought.is_redacted { "seal" } else { "thought" }, thought.text)
        }
        Content::ToolCall(call) => {
            let seal = call.signature.as_ref().map_or("", |signature| signature.value.as_str());
            format!("call {} {}{}:{seal}", call.id, call.name, call.arguments)
        }
        Content::ToolResult(result) => {
            let texts: Vec<String> = result
                .parts
                .iter()
                .map(|part| match &part.content {
                    Content::Text { text, .. } => text.clone(),
                    other => format!("{other:?}"),
                })
                .collect();
            let name = result.name.as_deref().unwrap_or_default();
            format!(
                "result {} {name}{}={}",
                result.id,
                if result.is_error { "!" } else { "" },
                texts.join("+")
            )
        }
        Content::Foreign { kind, json } => format!("{kind} {}", json.0),
        other => format!("{other:?}"),
    };
    turns
        .iter()
        .map(|turn| {
            format!("{:?}: {}", turn.role, turn.parts.iter().map(part).collect::<Vec<_>>().join(", "))
        })
        .collect()
}

#[test]
fn what_sdks_send_in_mixed_spelling_is_one_request() {
    let python = read(
        r#"{"contents":[{"parts":[{"text":"Hello"}],"role":"user"}],"systemInstruction":{"parts":[{"text":"Be kind."}],"role":"user"},
            "tools":[{"functionDeclarations":[{"name":"f","description":"D","parameters_json_schema":{"type":"object","properties":{"a":{"type":"string"}}}}]}],
            "toolConfig":{"functionCallingConfig":{"mode":"any","allowed_function_names":["f"]}},
            "generationConfig":{"topK":40.0,"temperature":0.70,"thinkingConfig":{"thinking_level":"low","include_thoughts":true},"max_output_tokens":9}}"#,
    );
    let camel = read(
        r#"{"contents":[{"parts":[{"text":"Hello"}]}],"system_instruction":"Be kind.",
            "tools":{"function_declarations":{"name":"f","description":"D","parametersJsonSchema":{"type":"object","properties":{"a":{"type":"string"}}}}},
            "tool_config":{"function_calling_config":{"mode":"ANY","allowedFunctionNames":["f"]}},
            "generation_config":{"top_k":40,"temperature":0.70,"thinking_config":{"thinkingLevel":"LOW","includeThoughts":true},"maxOutputTokens":"9"}}"#,
    );
    assert_eq!(python, camel);
    assert_eq!(python.instructions[0].text, "Be kind.");
    assert_eq!(python.tool_choice, Some(ToolChoice::Named { name: "f".to_owned(), is_custom: false }));
    assert_eq!(python.sampling.temperature, Some(Json("0.70".to_owned())));
    assert_eq!((python.sampling.top_k, python.output.tokens_max), (Some(40), Some(9)));
    assert_eq!(
        (python.reasoning.effort, python.reasoning.visibility),
        (Some(Effort::Low), Some(ThinkingVisibility::Summary))
    );
    assert!(python.extras.is_empty(), "{:?}", python.extras);
}

#[test]
fn calls_and_results_without_ids_are_paired_by_order_and_name() {
    let turns = contents(
        r#"[{"role":"user","parts":[{"text":"go"}]},
            {"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"S1"},{"functionCall":{"name":"f","args":{"a":2}}},
                {"functionCall":{"id":"own","name":"g"}}]},
            {"role":"user","parts":[{"functionResponse":{"name":"g","response":{"error":"no"}}},{"functionResponse":{"name":"f","response":{"output":"one"}}},
                {"functionResponse":{"id":"cli-7","name":"f","response":{"x":1,"x":9007199254740993}}},{"text":"and?"}]},
            {"role":"function","parts":[]},
            {"role":"model","parts":[{"functionCall":{"name":"f","args":{}}}]},
            {"role":"function","parts":[{"functionResponse":{"name":"f","response":{"output":[1,2]}}}]},
            {"role":"user","parts":[{"functionResponse":{"id":"stray","name":"f","response":{}}}]}]"#,
    );
    assert_eq!(
        render_turns(&turns),
        [
            "User: text go",
            "Assistant: call call_0 f{\"a\":1}:S1, call call_1 f{\"a\":2}:, call own g{}:",
            "Tool: result own g!=no, result call_0 f=one, result call_1 f={\"x\":1,\"x\":9007199254740993}",
            "User: text and?",
            "Assistant: call call_2 f{}:",
            "Tool: result call_2 f=[1,2], result stray f=",
        ]
    );
}

#[test]
fn a_result_that_answers_nothing_and_a_call_of_the_users_are_refused() {
    check_refusal(
        r#"{"contents":[{"parts":[{"functionResponse":{"name":"f","response":{}}}]}]}"#,
        "contents[0].parts[0]",
    );
    check_refusal(r#"{"contents":[{"parts":[{"functionCall":{"name":"f"}}]}]}"#, "contents[0].parts[0]");
    check_refusal(r#"{"contents":[{"role":"system","parts":[{"text":"x"}]}]}"#, "contents[0].role");
    check_refusal(
        &format!(r#"{{{HELLO},"toolConfig":{{"functionCallingConfig":{{"mode":"SOME"}}}}}}"#),
        "toolConfig.functionCallingConfig.mode",
    );
}

#[test]
fn thoughts_seals_and_what_the_vendor_ran_itself_are_kept() {
    let turns = contents(
        r#"[{"role":"model","parts":[{"text":"hm","thought":true},{"text":"so","thought":true,"thoughtSignature":"A"},{"text":"Yes","thoughtSignature":"B"},
            {"thoughtSignature":"C","text":""},{"executableCode":{"language":"PYTHON","code":"1"}},{"code_execution_result":{"outcome":"OUTCOME_OK"}},
            {"functionCall":{"name":"f"},"thought_signature":"skip_thought_signature_validator"},
            {"functionCall":{"name":"f"},"thoughtSignature":"c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="}]}]"#,
    );
    assert_eq!(
        render_turns(&turns),
        [concat!(
            "Assistant: thought hm:, thought so:A, seal :B, text Yes, seal :C, ",
            "executableCode {\"language\":\"PYTHON\",\"code\":\"1\"}, codeExecutionResult {\"outcome\":\"OUTCOME_OK\"}, ",
            "call call_0 f{}:, call call_1 f{}:"
        )]
    );
    let Content::Thought(thought) = &turns[0].parts[1].content else { panic!("{turns:?}") };
    assert_eq!(thought.signature.as_ref().map(|signature| signature.grammar), Some(Grammar::Gemini));
}

#[test]
fn media_is_told_by_its_type_and_its_place() {
    let kind = |part: &str| {
        let turns = contents(&format!(r#"[{{"parts":[{part}]}}]"#));
        let [part] = &turns[0].parts[..] else { panic!("{turns:?}") };
        match &part.content {
            Content::Image { source, .. } => ("image", source.clone()),
            Content::Audio { source } => ("audio", source.clone()),
            Content::Video { source } => ("video", source.clone()),
            Content::Document { source, .. } => ("document", source.clone()),
            other => panic!("{other:?}"),
        }
    };
    let inline = |media_type: &str, base64: &str| Source::Inline {
        media_type: media_type.to_owned(),
        base64: base64.to_owned(),
    };
    assert_eq!(
        kind(r#"{"inline_data":{"mime_type":"image/png","data":"-_8"}}"#),
        ("image", inline("image/png", "+/8="))
    );
    assert_eq!(
        kind(r#"{"inlineData":{"mimeType":"audio/mp3","data":"AA=="}}"#),
        ("audio", inline("audio/mp3", "AA=="))
    );
    assert_eq!(
        kind(r#"{"inlineData":{"mimeType":"application/pdf","data":"AA=="}}"#),
        ("document", inline("application/pdf", "AA=="))
    );
    let file = "https://generativelanguage.googleapis.com/v1beta/files/x";
    assert_eq!(
        kind(&format!(r#"{{"fileData":{{"fileUri":"{file}","mimeType":"video/mp4"}}}}"#)),
        ("video", Source::File { id: file.to_owned(), media_type: Some("video/mp4".to_owned()) })
    );
    assert_eq!(
        kind(r#"{"file_data":{"file_uri":"https://example.com/a.PNG?x"}}"#),
        ("image", Source::Url { url: "https://example.com/a.PNG?x".to_owned(), media_type: None })
    );
    assert_eq!(kind(r#"{"fileData":{"fileUri":"https://www.youtube.com/watch?v=x"}}"#).0, "video");
}

#[test]
fn tools_are_read_in_both_kinds_of_schema() {
    let prompt = with(
        r#""tools":[{"functionDeclarations":[{"name":"a","parameters":{"type":"OBJECT","properties":{"x":{"type":"STRING","nullable":true}}},"response":{"type":"STRING"}},
            {"name":"b"}]},{"googleSearch":{}},{"code_execution":{}}]"#,
    );
    let kinds: Vec<&ToolKind> = prompt.tools.iter().map(|tool| &tool.kind).collect();
    let function = |name: &str, schema: Option<&str>| ToolKind::Function {
        name: name.to_owned(),
        description: None,
        schema: schema.map(|schema| Json(schema.to_owned())),
        strict: None,
    };
    let hosted = |kind: &str| ToolKind::Hosted { kind: kind.to_owned(), json: Json("{}".to_owned()) };
    let schema = r#"{"type":"object","properties":{"x":{"type":["string","null"]}}}"#;
    assert_eq!(
        kinds,
        [
            &function("a", Some(schema)),
            &function("b", None),
            &hosted("googleSearch"),
            &hosted("codeExecution")
        ]
    );
    assert_eq!(extras(&prompt), ["tools[0].functionDeclarations[0].response"]);
}

#[test]
fn every_mode_of_calling_functions() {
    let choice = |config: &str| {
        let prompt = with(&format!(r#""toolConfig":{{"functionCallingConfig":{config}}}"#));
        (prompt.tool_choice.clone(), extras(&prompt))
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let none: Vec<String> = Vec::new();
    assert_eq!(choice("{}"), (None, none.clone()));
    assert_eq!(choice(r#"{"mode":"MODE_UNSPECIFIED"}"#), (None, none.clone()));
    assert_eq!(choice(r#"{"mode":"auto"}"#), (Some(ToolChoice::Auto), none.clone()));
    assert_eq!(choice(r#"{"mode":"NONE"}"#), (Some(ToolChoice::None), none.clone()));
    assert_eq!(choice(r#"{"mode":"ANY"}"#), (Some(ToolChoice::Required), none.clone()));
    assert_eq!(
        choice(r#"{"mode":"ANY","allowedFunctionNames":["a","b"],"streamFunctionCallArguments":true}"#),
        (
            Some(ToolChoice::Allowed { names: names(&["a", "b"]), is_required: true }),
            names(&["toolConfig.functionCallingConfig.streamFunctionCallArguments"])
        )
    );
    assert_eq!(
        choice(r#"{"mode":"VALIDATED","allowedFunctionNames":["a"]}"#),
        (Some(ToolChoice::Allowed { names: names(&["a"]), is_required: false }), none)
    );
    assert_eq!(
        choice(r#"{"mode":"VALIDATED"}"#),
        (Some(ToolChoice::Auto), names(&["toolConfig.functionCallingConfig.mode"]))
    );
}

#[test]
fn the_form_of_the_answer_and_of_the_thinking() {
    let generation = |fields: &str| with(&format!(r#""generationConfig":{{{fields}}}"#));
    let format = |fields: &str| generation(fields).output.format;
    assert_eq!(format(r#""responseMimeType":"application/json""#), Some(OutputFormat::JsonObject));
    assert_eq!(format(r#""responseMimeType":"text/plain""#), Some(OutputFormat::Text));
    let schema = |schema: &str| {
        Some(OutputFormat::JsonSchema {
            name: None,
            description: None,
            schema: Json(schema.to_owned()),
            strict: None,
        })
    };
    assert_eq!(
        format(
            r#""response_mime_type":"application/json","response_schema":{"type":"ARRAY","items":{"type":"STRING"}}"#
        ),
        schema(r#"{"type":"array","items":{"type":"string"}}"#)
    );
    assert_eq!(format(r#""responseJsonSchema":{"type": "OBJECT"}"#), schema(r#"{"type": "OBJECT"}"#));
    let word =
        generation(r#""responseMimeType":"text/x.enum","responseSchema":{"type":"STRING","enum":["a"]}"#);
    assert_eq!(extras(&word), ["generationConfig.responseMimeType!"]);
    let thinking = |config: &str| generation(&format!(r#""thinkingConfig":{config}"#)).reasoning;
    assert!(thinking(r#"{"thinkingBudget":-1}"#).is_adaptive);
    assert_eq!(thinking(r#"{"thinkingBudget":0}"#).effort, Some(Effort::None));
    assert_eq!(thinking(r#"{"thinkingBudget":128,"includeThoughts":false}"#).budget_tokens, Some(128));
    assert_eq!(thinking(r#"{"includeThoughts":false}"#).visibility, Some(ThinkingVisibility::Nothing));
    assert_eq!(thinking(r#"{"thinkingLevel":"XHIGH"}"#).effort, Some(Effort::XHigh));
    check_refusal(
        &format!(r#"{{{HELLO},"generationConfig":{{"thinkingConfig":{{"thinkingBudget":-2}}}}}}"#),
        "generationConfig.thinkingConfig.thinkingBudget",
    );
}

#[test]
fn every_other_field_is_read_or_told() {
    let prompt = with(
        r#""cachedContent":"cachedContents/x","serviceTier":"FLEX","store":false,"labels":{"team_a":"b"},"safetySettings":[{"category":"x"}],"unheard_of":1,"nothing":null,
            "generationConfig":{"topP":1e-1,"seed":-5,"candidateCount":2,"stopSequences":["a","b"],"presencePenalty":0,"frequencyPenalty":-1.5,"responseLogprobs":true,"logprobs":3,
            "responseModalities":["TEXT","Image"],"speechConfig":{"voiceConfig":{"prebuiltVoiceConfig":{"voiceName":"Kore"}},"languageCode":"en"},
            "mediaResolution":"LOW","imageConfig":{"aspectRatio":"1:1"}}"#,
    );
    assert_eq!(prompt.caching.content.as_deref(), Some("cachedContents/x"));
    assert_eq!((prompt.service_tier, prompt.store), (Some(ServiceTier::Flex), Some(false)));
    assert_eq!(prompt.metadata, [("team_a".to_owned(), "b".to_owned())]);
    let sampling = &prompt.sampling;
    assert_eq!((sampling.seed, sampling.choices, sampling.top_logprobs), (Some(-5), Some(2), Some(3)));
    assert_eq!(sampling.stop, ["a", "b"]);
    assert_eq!(sampling.top_p, Some(Json("1e-1".to_owned())));
    assert!(sampling.logprobs);
    assert_eq!(prompt.output.modalities, ["image"]);
    assert_eq!(prompt.output.audio, Some(Json(r#"{"voice":"Kore"}"#.to_owned())));
    assert_eq!(
        extras(&prompt),
        [
            "safetySettings",
            "unheard_of!",
            "generationConfig.speechConfig.languageCode!",
            "generationConfig.mediaResolution",
            "generationConfig.imageConfig!",
        ]
    );
    assert_eq!(prompt.turns[0].role, Role::User);
    // A hint is dropped and reported; a field that changes the response is refused, whatever the target.
    let mut losses = DroppedFields::new(Grammar::Gemini, Grammar::Chat, dialects::feature_names);
    losses.drop_unknown("safetySettings", false);
    assert_eq!(losses.finish(false).unwrap(), ["safetySettings"]);
}
