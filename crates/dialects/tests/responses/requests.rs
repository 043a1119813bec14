//! Responses requests as clients send them: what is read, what is refused, and how they are written for other
//! dialects.

use bytes::Bytes;
use conversation::request::upstream_body;
use dialects::{decode_request, read_prompt};
use domain::prompt::{Content, Extra, Role, Source, Tool, ToolChoice, ToolKind};
use domain::{Grammar, Operation, Prompt};

use crate::cases::cases;

fn read(body: &str) -> Prompt {
    let bytes = Bytes::from(body.to_owned());
    let request = decode_request(Grammar::Responses, Operation::Chat, &bytes, None).expect("it is a request");
    read_prompt(Grammar::Responses, &bytes, &request).expect("it can be read")
}

fn with(fields: &str) -> Prompt {
    read(&format!("{{\"model\":\"m\",\"input\":\"x\",{fields}}}"))
}

/// The code of a refusal, and the field.
fn refused(body: &str) -> String {
    let bytes = Bytes::from(body.to_owned());
    let fault = match decode_request(Grammar::Responses, Operation::Chat, &bytes, None) {
        Ok(request) => read_prompt(Grammar::Responses, &bytes, &request).expect_err(body),
        Err(fault) => fault,
    };
    assert!(fault.fix.is_some(), "{fault}");
    format!("{} {}", fault.code, fault.param.as_deref().unwrap_or_default()).trim_end().to_owned()
}

/// The names of what has no place, each with an exclamation mark if the answer is another without it.
fn extras(prompt: &Prompt) -> String {
    let name = |extra: &Extra| extra.name.clone() + if extra.affects_answer { "!" } else { "" };
    let names: Vec<_> = prompt.extras.iter().map(name).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join("; ") }
}

/// A coding agent's request: leading developer messages, a namespace and a hosted tool, and items sent back
/// with all their members.
const AGENT: &str = r#"{"model":"m","stream":true,"store":false,"include":["reasoning.encrypted_content"],
  "prompt_cache_key":"k","client_metadata":{"session":"s"},"reasoning":{"summary":"auto"},"parallel_tool_calls":true,
  "tool_choice":"auto","instructions":"Base.",
  "input":[
    {"type":"message","role":"developer","content":[{"type":"input_text","text":"One."}]},
    {"type":"message","role":"developer","content":[{"type":"input_text","text":"Two."}]},
    {"role":"user","content":"List."},
    {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}],"encrypted_content":"seal","status":"completed"},
    {"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Listing.","annotations":[],"logprobs":[]}],"phase":"commentary"},
    {"type":"function_call","id":"fc_1","status":"completed","call_id":"c1","namespace":"shell","name":"run","arguments":"{\"n\":12345678901234567890}"},
    {"type":"custom_tool_call","id":"ctc_1","status":"completed","call_id":"c2","name":"patch","input":"*** Begin"},
    {"type":"function_call_output","call_id":"c1","output":"done"},
    {"type":"custom_tool_call_output","call_id":"c2","output":[{"type":"input_image","image_url":"data:image/png;base64,AA=="}]},
    {"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search"}}],
  "tools":[
    {"type":"function","name":"read","description":"Reads.","parameters":{"type":"object"},"strict":false},
    {"type":"namespace","name":"shell","description":"Runs.","tools":[{"type":"function","name":"run","parameters":null}]},
    {"type":"custom","name":"patch","format":{"type":"grammar","syntax":"lark","definition":"x"}},
    {"type":"web_search","external_web_access":false}]}"#;

#[test]
fn an_agents_request_is_read_whole() {
    let prompt = read(AGENT);
    let instructions: Vec<_> =
        prompt.instructions.iter().map(|one| (one.is_developer, one.text.as_str())).collect();
    assert_eq!(instructions, [(false, "Base."), (true, "One."), (true, "Two.")]);
    let roles: Vec<_> = prompt.turns.iter().map(|turn| (turn.role, turn.parts.len())).collect();
    assert_eq!(roles, [(Role::User, 1), (Role::Assistant, 4), (Role::Tool, 2)]);
    let [thought, text, call, custom] = &prompt.turns[1].parts[..] else { panic!("four parts") };
    let Content::Thought(thought) = &thought.content else { panic!("a thought") };
    assert_eq!((thought.text.as_str(), thought.id.as_deref()), ("a\n\nb", Some("rs_1")));
    let seal = thought.signature.as_ref().expect("a seal");
    assert_eq!((seal.grammar, seal.value.as_str()), (Grammar::Responses, "seal"));
    assert!(matches!(&text.content, Content::Text { text, .. } if text == "Listing."));
    let Content::ToolCall(call) = &call.content else { panic!("a call") };
    assert_eq!((call.name.as_str(), call.arguments.as_str()), ("shell__run", "{\"n\":12345678901234567890}"));
    let Content::ToolCall(custom) = &custom.content else { panic!("a call") };
    assert!(custom.is_custom && custom.arguments == "*** Begin");
    let Content::ToolResult(result) = &prompt.turns[2].parts[1].content else { panic!("a result") };
    let Content::Image { source: Source::Inline { media_type, .. }, .. } = &result.parts[0].content else {
        panic!("an image")
    };
    assert_eq!(media_type, "image/png");
    let name = |tool: &Tool| match &tool.kind {
        ToolKind::Function { name, .. } | ToolKind::Custom { name, .. } => name.clone(),
        ToolKind::Hosted { kind, .. } => kind.clone(),
    };
    let names: Vec<_> = prompt.tools.iter().map(name).collect();
    assert_eq!(names, ["read", "shell__run", "patch", "web_search"]);
    assert_eq!(prompt.namespaces, ["shell"]);
    assert!(prompt.reasoning.wants_encrypted && prompt.store == Some(false));
    // None of it may stop the agent when it is translated.
    let expected =
        "input.status; input.id; input.phase; web_search_call; tools[1].description; client_metadata";
    assert_eq!(extras(&prompt), expected);
}

#[test]
fn what_has_no_place_is_told_by_name_and_sort() {
    let table = r#"
"background":true => background!
"background":false,"client_metadata":{},"truncation":"disabled","max_tool_calls":null => nothing
"truncation":"auto" => truncation
"previous_response_id":"resp_1" => previous_response_id!
"conversation":{"id":"c"} => conversation!
"prompt":{"id":"p"} => prompt!
"context_management":[{"type":"compaction"}] => context_management
"stream_options":{"include_obfuscation":false},"max_tool_calls":3 => stream_options; max_tool_calls
"seed":7,"later":false => seed!; later!
"text":{"format":{"type":"text","x":1},"y":2} => text.format.x!; text.y!
"reasoning":{"effort":"high","summary":"detailed","context":"auto"} => reasoning.summary; reasoning.context
"include":["web_search_call.results","later"] => include: web_search_call.results; include: later!
"service_tier":"scale","metadata":{"a":"b","n":1} => service_tier; metadata.n
"tools":[{"type":"web_search"}],"tool_choice":{"type":"web_search"} => tool_choice!
"tools":[{"type":"web_search"}],"tool_choice":"required" => tool_choice!
"tools":[{"type":"function","name":"f","defer_loading":true,"z":1}] => tools[0].defer_loading; tools[0].z!
"safety_identifier":"a","user":"b" => user
"#;
    for (fields, expected) in cases(table) {
        assert_eq!(extras(&with(&fields)), expected, "{fields}");
    }
    let items = read(
        r#"{"model":"m","input":[{"type":"item_reference","id":"msg_unknown"},{"type":"computer_call"},
        {"role":"user","content":[{"type":"input_audio"},{"type":"input_text","text":"x","foo":1}]}]}"#,
    );
    let expected = "input[0] (item_reference)!; input[1] (computer_call)!; input[2].content[0] (input_audio)!; \
                    input[2].content[1].foo!";
    assert_eq!(extras(&items), expected);
}

#[test]
fn a_choice_of_tools_has_many_forms() {
    let named = |name: &str, is_custom| ToolChoice::Named { name: name.to_owned(), is_custom };
    let allowed = |name: &str, is_required| ToolChoice::Allowed { names: vec![name.to_owned()], is_required };
    let required = r#"{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"},{"type":"web_search"}]}"#;
    let auto = r#"{"type":"allowed_tools","mode":"auto","tools":[{"type":"custom","name":"c"}]}"#;
    for (choice, expected) in [
        (r#""auto""#, ToolChoice::Auto),
        (r#""none""#, ToolChoice::None),
        (r#""required""#, ToolChoice::Required),
        (r#"{"type":"function","name":"f"}"#, named("f", false)),
        (r#"{"type":"function","namespace":"n","name":"f"}"#, named("n__f", false)),
        (r#"{"type":"custom","name":"c"}"#, named("c", true)),
        (required, allowed("f", true)),
        (auto, allowed("c", false)),
    ] {
        assert_eq!(with(&format!("\"tool_choice\":{choice}")).tool_choice, Some(expected), "{choice}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    assert_eq!(refused(""), "empty_body");
    let table = r#"
[] => invalid_type
{"input":"x"} => missing_required_parameter model
{"model":"m"} => missing_required_parameter input
{"model":"m","input":null} => missing_required_parameter input
{"model":"m","input":"x","input":"y"} => duplicate_field input
{"model":"m","input":"x","stream":null,"stream":true} => duplicate_field stream
{"model":"m","input":"x","stream":1} => invalid_type stream
{"model":"m","input":"x","max_output_tokens":-1} => integer_below_min_value max_output_tokens
{"model":"m","input":["x"]} => invalid_type input[0]
{"model":"m","input":5} => invalid_type input
{"model":"m","input":[{"role":"tool","content":"x"}]} => invalid_value input[0].role
{"model":"m","input":[{"content":"x"}]} => missing_required_parameter input[0].role
{"model":"m","input":[{"role":"user"}]} => missing_required_parameter input[0].content
{"model":"m","input":[{"type":"function_call","name":"f"}]} => missing_required_parameter input[0].call_id
{"model":"m","input":[{"role":"user","role":"user","content":"x"}]} => duplicate_field input[0].role
{"model":"m","input":"x","tools":[{"name":"f"}]} => missing_required_parameter tools[0].type
{"model":"m","input":"x","tool_choice":"most"} => invalid_value tool_choice
{"model":"m","input":"x","reasoning":{"effort":"huge"}} => invalid_value reasoning.effort
{"model":"m","input":"x","temperature":"hot"} => invalid_type temperature
{"model":"m","input":"\ud800"} => invalid_json
"#;
    for (body, expected) in cases(table) {
        assert_eq!(refused(&body), expected, "{body}");
    }
    // The fields that may replace `input`.
    for field in ["previous_response_id", "conversation", "prompt"] {
        read(&format!("{{\"model\":\"m\",\"{field}\":\"x\"}}"));
    }
}

#[test]
fn a_wish_for_sealed_thoughts_can_be_taken_out() {
    let decode =
        |body: &Bytes| decode_request(Grammar::Responses, Operation::Chat, body, None).expect("a request");
    for (include, left) in [
        (r#"["reasoning.encrypted_content"]"#, "[]"),
        (r#"[ "reasoning.encrypted_content" , "a" ]"#, r#"[ "a" ]"#),
        (r#"["a", "reasoning.encrypted_content"]"#, r#"["a"]"#),
        (r#"["a","reasoning.encrypted_content","b"]"#, r#"["a","b"]"#),
    ] {
        let body = |include: &str| Bytes::from(format!(r#"{{"model":"m","include":{include},"input":"x"}}"#));
        let request_body = body(include);
        let request = decode(&request_body);
        let (without, name) = request.without_encrypted_reasoning().expect("it wishes for them");
        assert_eq!(name, "include");
        assert_eq!(upstream_body(&request_body, &without, "m", true).concat(), body(left), "{include}");
        assert_eq!(upstream_body(&request_body, &request, "m", true).concat(), request_body);
    }
    for other in [r#"["message.output_text.logprobs"]"#, "[]", "null", r#"{"a":1}"#] {
        let request_body = Bytes::from(format!(r#"{{"model":"m","include":{other},"input":"x"}}"#));
        let request = decode(&request_body);
        assert!(request.without_encrypted_reasoning().is_none(), "{other}");
    }
}
