//! What a shared account may send, dialect by dialect, and that every field a decoder reads is in a table.

use std::collections::BTreeSet;
use std::ptr;

use conversation::shared_fields::{FieldRule, Fields};
use dialects::{Reason, SharedAccount, check_shared, check_shared_event, face};
use domain::{Grammar, Operation};

use crate::cases::cases;

mod address;

type Table = &'static Fields;

const OWN: &str = "store.example.com";

fn objection(
    grammar: Grammar,
    operation: Operation,
    body: &str,
    is_forwarded: bool,
) -> Option<(String, Reason)> {
    let is_exchanged = |path: &str| path.ends_with("[7].file_id");
    let seat = SharedAccount { is_forwarded, is_exchanged: &is_exchanged, is_own_host: &|host| host == OWN };
    let checked = check_shared(grammar, operation, body.as_bytes(), &seat);
    checked.err().map(|objection| (objection.path, objection.reason))
}

fn word(reason: Option<Reason>) -> String {
    reason.map_or_else(|| "passes".to_owned(), |reason| format!("{reason:?}"))
}

/// Each body is without its outer braces.
fn check(grammar: Grammar, operation: Operation, table: &str) {
    for (body, expected) in cases(table) {
        let found = objection(grammar, operation, &format!("{{{body}}}"), true);
        let found = found.map_or_else(|| word(None), |(path, reason)| format!("{path} {reason:?}"));
        assert_eq!(found, expected, "{body}");
    }
}

use Reason::{Address, Reference, Unknown, Unread};

#[test]
fn chat() {
    let table = r#"
"model":"m","messages":[{"role":"user","content":"file-abc cntr_1"}],"temperature":1 => passes
"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://example.com/a"}}]}] => passes
"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}] => passes
"messages":[{"content":[{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]}] => passes
"messages":[{"role":"assistant","audio":{"id":"audio_1"}}] => messages[0].audio.id Reference
"messages":[{"role":"assistant","audio":null,"content":null}] => passes
"messages":[{"content":[{"type":"file","file":{"file_id":"file-abc"}}]}]
  => messages[0].content[0].file.file_id Reference
"messages":[{"content":[{"type":"image_url","image_url":{"url":"gs://b/o"}}]}]
  => messages[0].content[0].image_url.url Address
"messages":[{"content":[{"type":"image_url","image_url":"http://example.com/a"}]}]
  => messages[0].content[0].image_url Address
"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://store.example.com/a"}}]}]
  => messages[0].content[0].image_url.url Address
"messages":[{"content":[{"type":"document_url","document_url":"s3://b/o"}]}]
  => messages[0].content[0].document_url Address
"messages":[{"content":[{"type":"input_audio","input_audio":"gs://b/o"}]}]
  => messages[0].content[0].input_audio Address
"#;
    check(Grammar::Chat, Operation::Chat, table);
}

#[test]
fn chat_tools_and_fields() {
    let table = r#"
"tools":[{"type":"function","function":{"name":"f","parameters":{"file_id":"file-a"}}}] => passes
"tools":[{"type":"document_library","library_ids":["06"]}] => tools[0].library_ids Reference
"tools":[{"type":"new","store_ids":["s"]}] => tools[0].store_ids Unknown
"tools":[{"type":"new","function":{"store":{"id":"s"}}}] => tools[0].function.store Unknown
"tools":[{"type":"mcp","connector_id":"connector_mail"}] => tools[0].connector_id Reference
"audio":{"format":"wav","voice":{"id":"voice_1"}} => audio.voice.id Reference
"audio":{"format":"wav","voice":"alloy"} => passes
"deferred":true => deferred Deferred
"deferred":false => passes
"data_sources":[{"type":"search"}] => data_sources Unknown
"brand_new":3,"brand_newer":null,"newest":true,"empty":"","none":[] => passes
"brand_new":"name" => brand_new Unknown
"br\u0061nd_new":"name" => brand_new Unknown
"Messages":[{"role":"user"}] => Messages Unknown
"messages":[{"audio":{},"audio":{"id":"a"}}] => messages[0].audio.id Reference
"#;
    check(Grammar::Chat, Operation::Chat, table);
    assert_eq!(objection(Grammar::Chat, Operation::Chat, "[]", true), Some((String::new(), Unread)));
}

#[test]
fn responses() {
    let table = r#"
"input":"file-abc","instructions":"x","previous_response_id":"resp_1" => passes
"conversation":"conv_1" => conversation Reference
"conversation":{"id":"conv_1"} => conversation Reference
"conversation":null => passes
"prompt":{"id":"pmpt_1"} => prompt Reference
"input":[{"type":"item_reference","id":"msg_1"}] => input[0] Reference
"input":[{"id":"msg_1"}] => input[0] Reference
"input":[{"type":"image_generation_call","id":"ig_1","status":"completed"}] => input[0] Reference
"input":[{"type":"image_generation_call","id":"ig_1","result":"AA"}] => passes
"input":[{"type":"message","id":"msg_1","role":"user","content":"x"}] => passes
"instructions":[{"id":"msg_1"}] => instructions[0] Reference
"input":[{"type":"code_interpreter_call","id":"ci","code":"1","container_id":"cntr_1"}]
  => input[0].container_id Reference
"input":[{"type":"shell_call","call_id":"c","action":{},"environment":{"type":"container_reference","container_id":"cntr_1"}}]
  => input[0].environment.container_id Reference
"input":[{"content":[{"type":"input_file","file_id":"file-a"}]}] => input[0].content[0].file_id Reference
"input":[{"content":[{},{},{},{},{},{},{},{"type":"input_file","file_id":"file-a"}]}] => passes
"input":[{"content":[{"type":"input_file","file_url":"gs://b/o"}]}] => input[0].content[0].file_url Address
"input":[{"content":[{"type":"input_image","image_url":"https://example.com/a"}]}] => passes
"#;
    check(Grammar::Responses, Operation::Chat, table);
}

#[test]
fn responses_tools() {
    let table = r#"
"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}] => tools[0].vector_store_ids Reference
"tools":[{"type":"collections_search","collection_ids":["c"]}] => tools[0].collection_ids Reference
"tools":[{"type":"code_interpreter","container":"cntr_1"}] => tools[0].container Reference
"tools":[{"type":"code_interpreter","container":{"type":"auto"}}] => passes
"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["file-1"]}}]
  => tools[0].container.file_ids[0] Reference
"tools":[{"type":"shell","environment":{"type":"container_reference","container_id":"cntr_1"}}]
  => tools[0].environment.container_id Reference
"tools":[{"type":"shell","environment":{"type":"container_auto","skills":[{"type":"skill_reference","skill_id":"s"}]}}]
  => tools[0].environment.skills Reference
"tools":[{"type":"computer_use_preview","environment":"browser","display_width":9}] => passes
"tools":[{"type":"mcp","server_label":"l","connector_id":"connector_mail"}] => tools[0].connector_id Reference
"tools":[{"type":"mcp","server_label":"l","server_url":"https://mcp.example.com/a","headers":{"x":"y"}}]
  => passes
"tools":[{"type":"mcp","server_label":"l","server_url":"https://10.0.0.1/a"}] => tools[0].server_url Address
"tools":[{"type":"mcp","server_label":"l","tunnel_id":"t"}] => tools[0].tunnel_id Unknown
"tools":[{"type":"image_generation","input_image_mask":{"file_id":"file-1"}}]
  => tools[0].input_image_mask.file_id Reference
"tools":[{"type":"namespace","tools":[{"type":"file_search","vector_store_ids":["v"]}]}]
  => tools[0].tools[0].vector_store_ids Reference
"access_programs":{"id":"x"} => access_programs Reference
"#;
    check(Grammar::Responses, Operation::Chat, table);
}

#[test]
fn messages() {
    let table = r#"
"system":[{"type":"text","text":"x"}],"messages":[{"role":"user","content":"x"}],"metadata":{"user_id":"u"}
  => passes
"metadata":{"user_id":"u","store":"s"} => metadata.store Unknown
"container":"container_1" => container Reference
"container":{"skills":[{"type":"custom","skill_id":"s"}]} => container Reference
"messages":[{"content":[{"type":"document","source":{"type":"file","file_id":"file_1"}}]}]
  => messages[0].content[0].source.file_id Reference
"messages":[{"content":[{"type":"container_upload","file_id":"file_1"}]}]
  => messages[0].content[0].file_id Reference
"messages":[{"content":[{"type":"document","source":{"type":"content","content":[{"type":"image","source":{"type":"file","file_id":"file_1"}}]}}]}]
  => messages[0].content[0].source.content[0].source.file_id Reference
"messages":[{"content":[{"type":"image","source":{"type":"url","url":"s3://b/o"}}]}]
  => messages[0].content[0].source.url Address
"messages":[{"content":[{"type":"image","source":{"type":"url","url":"https://example.com/a"}}]}] => passes
"messages":[{"content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"image","source":{"type":"file","file_id":"f"}}]}]}]
  => messages[0].content[0].content[0].source.file_id Reference
"mcp_servers":[{"type":"url","name":"n","url":"https://mcp.example.com"}] => passes
"mcp_servers":[{"type":"url","name":"n","url":"https://localhost"}] => mcp_servers[0].url Address
"tools":[{"name":"f","input_schema":{"container":"x"}}] => passes
"tools":[{"type":"new_search","store":"kept"}] => tools[0].store Unknown
"user_profile_id":"p" => user_profile_id Reference
"diagnostics":{"previous_message_id":"msg_1"} => diagnostics Reference
"thread":{"type":"continue","previous_message_id":"msg_1"} => passes
"thread":{"type":"continue","id":"t"} => thread.id Unknown
"thread":"t" => thread Reference
"#;
    check(Grammar::Anthropic, Operation::Chat, table);
}

#[test]
fn gemini() {
    let part = |part: &str| format!(r#""contents":[{{"parts":[{part}]}}]"#);
    let table = r#"
{"text":"gs://b/o"} => passes
{"fileData":{"mimeType":"application/pdf","fileUri":"https://example.com/a.pdf"}} => passes
{"fileData":{"fileUri":"gs://operator-private/payroll.pdf"}} => Address
{"fileData":{"fileUri":"files/abc"}} => Address
{"file_data":{"file_uri":"https://store.example.com/v1beta/files/abc"}} => Address
{"functionResponse":{"name":"f","response":{"fileUri":"gs://b/o"}}} => passes
{"functionResponse":{"name":"f","parts":[{"fileData":{"fileUri":"gs://b/o"}}]}} => Address
{"gcsData":{"uri":"gs://b/o"}} => Unknown
"#;
    for (json, expected) in cases(table) {
        let found = objection(Grammar::Gemini, Operation::Chat, &format!("{{{}}}", part(&json)), true);
        assert_eq!(word(found.map(|(_, reason)| reason)), expected, "{json}");
        let counted = format!(r#"{{"generateContentRequest":{{{}}}}}"#, part(&json));
        let found = objection(Grammar::Gemini, Operation::Count, &counted, true);
        assert_eq!(word(found.map(|(_, reason)| reason)), expected, "{json}");
        let embedded = format!(r#"{{"requests":[{{"content":{{"parts":{json}}}}}]}}"#);
        let found = objection(Grammar::Gemini, Operation::Embed, &embedded, true);
        assert_eq!(word(found.map(|(_, reason)| reason)), expected, "{json}");
    }
    let table = r#"
"cachedContent":"cachedContents/abc" => cachedContent Reference
"cached_content":"cachedContents/abc" => cached_content Reference
"systemInstruction":{"parts":{"fileData":{"fileUri":"gs://b/o"}}}
  => systemInstruction.parts.fileData.fileUri Address
"tools":{"fileSearch":{"fileSearchStoreNames":["fileSearchStores/a"]}} => tools.fileSearch Reference
"tools":[{"retrieval":{"vertexAiSearch":{"datastore":"projects/p"}}}] => tools[0].retrieval Reference
"tools":[{"googleMaps":{"authConfig":{"apiKeyConfig":{}}}}] => tools[0].googleMaps.authConfig Unknown
"tools":[{"googleMaps":{"authConfig":{"apiKey":"projects/p/secrets/s"}}}]
  => tools[0].googleMaps.authConfig Unknown
"tools":[{"functionDeclarations":[{"name":"f"}]},{"googleSearch":{}}] => passes
"modelArmorConfig":{"promptTemplateName":"projects/p"} => modelArmorConfig Unknown
"generationConfig":{"speechConfig":{"voiceConfig":{"customVoice":"v"}}}
  => generationConfig.speechConfig.voiceConfig.customVoice Unknown
"generationConfig":{"responseSchema":{"type":"STRING"},"temperature":1} => passes
"#;
    check(Grammar::Gemini, Operation::Chat, table);
}

#[test]
fn converse() {
    let content = |block: &str| format!(r#"{{"messages":[{{"role":"user","content":[{block}]}}]}}"#);
    let table = r#"
{"text":"s3://b/o"} => passes
{"document":{"name":"d","format":"pdf","source":{"bytes":"AA"}}} => passes
{"document":{"name":"d","source":{"s3Location":{"uri":"s3://b/o","bucketOwner":"1"}}}} => Reference
{"video":{"format":"mp4","source":{"s3Location":{"uri":"s3://b/o"}}}} => Reference
{"toolResult":{"toolUseId":"t","content":[{"image":{"source":{"s3Location":{"uri":"s3://b/o"}}}}]}}
  => Reference
{"guardContent":{"image":{"source":{"s3Location":{"uri":"s3://b/o"}}}}} => Reference
{"document":{"name":"d","source":{"content":[{"text":"x"}]}}} => passes
{"toolUse":{"name":"f","input":{"s3Location":"x"}}} => passes
{"kept":{"id":"x"}} => Unknown
"#;
    for (block, expected) in cases(table) {
        let found = objection(Grammar::Converse, Operation::Chat, &content(&block), true);
        assert_eq!(word(found.map(|(_, reason)| reason)), expected, "{block}");
        let counted = format!(r#"{{"input":{{"converse":{}}}}}"#, content(&block));
        let found = objection(Grammar::Converse, Operation::Count, &counted, true);
        assert_eq!(word(found.map(|(_, reason)| reason)), expected, "{block}");
    }
    let table = r#"
"guardrailConfig":{"guardrailIdentifier":"abc"} => guardrailConfig Reference
"promptVariables":{"a":{"text":"b"}} => promptVariables Reference
"additionalModelRequestFields":{"thinking":{"type":"enabled"},"top_k":3} => passes
"additionalModelRequestFields":{"container":"c"} => additionalModelRequestFields.container Unknown
"toolConfig":{"tools":[{"toolSpec":{"name":"f"}}],"toolChoice":{"auto":{}}} => passes
"#;
    check(Grammar::Converse, Operation::Chat, table);
}

#[test]
fn what_is_no_conversation() {
    let linked = r#"{"input":[{"type":"image_url","image_url":{"url":"file-1"}}]}"#;
    for (operation, body, expected) in [
        (Operation::Speech, r#"{"input":"x","voice":"alloy"}"#, None),
        (Operation::Speech, r#"{"input":"x","voice":{"id":"voice_1"}}"#, Some(Reference)),
        (Operation::Speech, r#"{"input":"x","voice_id":"v"}"#, Some(Unknown)),
        (Operation::Embed, r#"{"input":["x"],"dimensions":3}"#, None),
        (Operation::Images, r#"{"prompt":"x","image_url":"https://example.com/a"}"#, None),
        (Operation::Images, r#"{"prompt":"x","image_url":"gs://b/o"}"#, Some(Address)),
        (Operation::Images, r#"{"prompt":"x","images":[{"file_id":"file-1"}]}"#, Some(Reference)),
        (Operation::Images, r#"{"prompt":"x","image_loras":[{"path":"p"}]}"#, Some(Unknown)),
        (Operation::Moderate, linked, Some(Address)),
        (Operation::Rerank, r#"{"query":"q","documents":[{"id":"x"}],"top_n":1}"#, None),
        (Operation::Complete, r#"{"prompt":"x","suffix":"y"}"#, None),
    ] {
        let found = objection(Grammar::Chat, operation, body, true);
        assert_eq!(found.map(|(_, reason)| reason), expected, "{body}");
    }
}

#[test]
fn events() {
    let seat =
        SharedAccount { is_forwarded: true, is_exchanged: &|_| false, is_own_host: &|host| host == OWN };
    let found =
        |event: &str| check_shared_event(event.as_bytes(), &seat).err().map(|objection| objection.reason);
    let table = r#"
{"type":"response.create"} => passes
{"type":"session.update","session":{"type":"realtime","prompt":{"id":"pmpt_1"}}} => Reference
{"type":"session.update","session":{"tools":[{"type":"mcp","connector_id":"c"}]}} => Reference
{"type":"session.update","session":{"audio":{"output":{"voice":{"id":"voice_1"}}}}} => Reference
{"type":"session.update","session":{"audio":{"output":{"voice":"alloy"}}}} => passes
{"type":"response.create","response":{"prompt":{"id":"pmpt_1"}}} => Reference
{"type":"response.create","response":{"input":[{"type":"item_reference","id":"item_1"}]}} => passes
{"type":"conversation.item.create","item":{"type":"message","content":[{"type":"input_image","image_url":"gs://b/o"}]}}
  => Address
{"type":"conversation.item.create","item":{"type":"message","content":[{"type":"input_file","file_id":"f"}]}}
  => Reference
{"type":"new.event","store":"s"} => Unknown
{"Type":"response.create"} => Unread
"#;
    for (event, expected) in cases(table) {
        assert_eq!(word(found(&event)), expected, "{event}");
    }
    assert_eq!(found("\u{feff}{\"type\":\"response.create\"}"), Some(Unread));
}

#[test]
fn what_is_said_anew_is_looked_at_for_files_and_addresses_alone() {
    for (body, expected) in [
        (r#"{"brand_new":"x","conversation":"c","tools":[{"vector_store_ids":["v"]}]}"#, None),
        (r#"{"input":[{"content":[{"file_id":"f"}]}]}"#, Some(Reference)),
        (r#"{"input":[{"content":[{"file_url":"gs://b/o"}]}]}"#, Some(Address)),
    ] {
        let found = objection(Grammar::Responses, Operation::Chat, body, false);
        assert_eq!(found.map(|(_, reason)| reason), expected, "{body}");
    }
}

/// Every name in a table and in the tables it refers to.
fn names(table: Table, seen: &mut Vec<Table>, into: &mut BTreeSet<&'static str>) {
    if seen.iter().any(|known| ptr::eq(*known, table)) {
        return;
    }
    seen.push(table);
    for (name, holds) in table.0 {
        into.insert(name);
        if let FieldRule::Object(_, inner) | FieldRule::Items(inner) = holds {
            names(inner, seen, into);
        }
    }
}

/// The names that a decoder compares members with, extracted from its source code.
fn decoded_names(source: &'static str) -> impl Iterator<Item = &'static str> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| {
        let arm = line.split_once("=>").map_or("", |(arm, _)| arm);
        let is_arm = arm.trim_start().starts_with('"');
        let compared = line.split_once("key.is(").map_or("", |(_, rest)| rest);
        let named = if is_arm { arm } else { compared };
        let words = named.split('"').skip(1).step_by(2);
        words.take(if is_arm { usize::MAX } else { 1 })
    })
}

#[test]
fn every_field_that_a_decoder_reads_is_in_its_grammars_table() {
    let of = |grammar, operations: &[Operation]| {
        let (mut seen, mut found) = (Vec::new(), BTreeSet::new());
        for operation in operations {
            names(face(grammar).shared_fields(*operation), &mut seen, &mut found);
        }
        found
    };
    use Operation::{Chat, Complete, Embed, Images, Moderate, Rerank, Speech};
    let side = [Chat, Embed, Moderate, Complete, Images, Speech, Rerank];
    macro_rules! sources {
        ($($path:literal),*) => { &[$(include_str!(concat!("../../../", $path))),*][..] };
    }
    let (chat, embed) = (&[Chat][..], &[Chat, Embed][..]);
    for (grammar, operations, sources) in [
        (
            Grammar::Chat,
            &side[..],
            sources!["chat/src/request.rs", "chat/src/messages.rs", "chat/src/operations.rs"],
        ),
        (Grammar::Responses, chat, sources!["responses/src/request.rs", "responses/src/named.rs"]),
        (Grammar::Anthropic, chat, sources!["anthropic/src/decode.rs"]),
        (Grammar::Gemini, embed, sources!["gemini/src/request.rs", "gemini/src/embed.rs"]),
        (Grammar::Converse, chat, sources!["converse/src/decode.rs"]),
    ] {
        let sorted = of(grammar, operations);
        let read: BTreeSet<&str> = sources.iter().flat_map(|source| decoded_names(source)).collect();
        assert!(read.len() > 3, "{grammar:?}: the decoder's fields are not found");
        // The first is an option of a stream, among others that refer to nothing; videos are never made on a shared account.
        let apart = BTreeSet::from(["include_usage", "seconds"]);
        let unsorted: Vec<_> = read.difference(&sorted).filter(|name| !apart.contains(*name)).collect();
        assert!(unsorted.is_empty(), "{grammar:?}: {unsorted:?} are in no table");
    }
}

/// Bedrock's models take Claude's tools in a field of their own.
#[test]
fn claudes_tools_have_the_same_fields_wherever_it_is_served() {
    let object = |fields: &'static Fields, name: &str| match fields.0.iter().find(|(field, _)| *field == name)
    {
        Some((_, FieldRule::Object(_, fields))) => *fields,
        other => panic!("{name}: {other:?}"),
    };
    let request = |grammar| face(grammar).shared_fields(Operation::Chat);
    let messages = object(request(Grammar::Anthropic), "tools");
    let bedrock = object(object(request(Grammar::Converse), "additionalModelRequestFields"), "tools");
    assert_eq!(format!("{messages:?}"), format!("{bedrock:?}"));
}
