//! What a shared account may send, dialect by dialect, and that every field a decoder reads is in a table.

use std::collections::BTreeSet;
use std::ptr;

use conversation::shared_fields::{FieldRule, Fields};
use dialects::{Reason, SharedAccount, check_shared, check_shared_event, face};
use domain::{Grammar, Operation};

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

/// Each case is a body without its outer braces.
fn check(grammar: Grammar, operation: Operation, cases: &[(&str, Option<(&str, Reason)>)]) {
    for (body, expected) in cases {
        let found = objection(grammar, operation, &format!("{{{body}}}"), true);
        let found = found.as_ref().map(|(path, reason)| (path.as_str(), *reason));
        assert_eq!(found, *expected, "{body}");
    }
}

use Reason::{Address, Deferred, Reference, Unknown, Unread};

#[test]
fn chat() {
    check(
        Grammar::Chat,
        Operation::Chat,
        &[
            (r#""model":"m","messages":[{"role":"user","content":"file-abc cntr_1"}],"temperature":1"#, None),
            (
                r#""messages":[{"content":[{"type":"image_url","image_url":{"url":"https://example.com/a"}}]}]"#,
                None,
            ),
            (
                r#""messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}]"#,
                None,
            ),
            (
                r#""messages":[{"content":[{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]}]"#,
                None,
            ),
            (
                r#""messages":[{"role":"assistant","audio":{"id":"audio_1"}}]"#,
                Some(("messages[0].audio.id", Reference)),
            ),
            (r#""messages":[{"role":"assistant","audio":null,"content":null}]"#, None),
            (
                r#""messages":[{"content":[{"type":"file","file":{"file_id":"file-abc"}}]}]"#,
                Some(("messages[0].content[0].file.file_id", Reference)),
            ),
            (
                r#""messages":[{"content":[{"type":"image_url","image_url":{"url":"gs://b/o"}}]}]"#,
                Some(("messages[0].content[0].image_url.url", Address)),
            ),
            (
                r#""messages":[{"content":[{"type":"image_url","image_url":"http://example.com/a"}]}]"#,
                Some(("messages[0].content[0].image_url", Address)),
            ),
            (
                r#""messages":[{"content":[{"type":"image_url","image_url":{"url":"https://store.example.com/a"}}]}]"#,
                Some(("messages[0].content[0].image_url.url", Address)),
            ),
            (
                r#""messages":[{"content":[{"type":"document_url","document_url":"s3://b/o"}]}]"#,
                Some(("messages[0].content[0].document_url", Address)),
            ),
            (
                r#""messages":[{"content":[{"type":"input_audio","input_audio":"gs://b/o"}]}]"#,
                Some(("messages[0].content[0].input_audio", Address)),
            ),
        ],
    );
}

#[test]
fn chat_tools_and_fields() {
    check(
        Grammar::Chat,
        Operation::Chat,
        &[
            (
                r#""tools":[{"type":"function","function":{"name":"f","parameters":{"file_id":"file-a"}}}]"#,
                None,
            ),
            (
                r#""tools":[{"type":"document_library","library_ids":["06"]}]"#,
                Some(("tools[0].library_ids", Reference)),
            ),
            (r#""tools":[{"type":"new","store_ids":["s"]}]"#, Some(("tools[0].store_ids", Unknown))),
            (
                r#""tools":[{"type":"new","function":{"store":{"id":"s"}}}]"#,
                Some(("tools[0].function.store", Unknown)),
            ),
            (
                r#""tools":[{"type":"mcp","connector_id":"connector_mail"}]"#,
                Some(("tools[0].connector_id", Reference)),
            ),
            (r#""audio":{"format":"wav","voice":{"id":"voice_1"}}"#, Some(("audio.voice.id", Reference))),
            (r#""audio":{"format":"wav","voice":"alloy"}"#, None),
            (r#""deferred":true"#, Some(("deferred", Deferred))),
            (r#""deferred":false"#, None),
            (r#""data_sources":[{"type":"search"}]"#, Some(("data_sources", Unknown))),
            (r#""brand_new":3,"brand_newer":null,"newest":true,"empty":"","none":[]"#, None),
            (r#""brand_new":"name""#, Some(("brand_new", Unknown))),
            (r#""br\u0061nd_new":"name""#, Some(("brand_new", Unknown))),
            (r#""Messages":[{"role":"user"}]"#, Some(("Messages", Unknown))),
            (r#""messages":[{"audio":{},"audio":{"id":"a"}}]"#, Some(("messages[0].audio.id", Reference))),
        ],
    );
    assert_eq!(objection(Grammar::Chat, Operation::Chat, "[]", true), Some((String::new(), Unread)));
}

#[test]
fn responses() {
    check(
        Grammar::Responses,
        Operation::Chat,
        &[
            (r#""input":"file-abc","instructions":"x","previous_response_id":"resp_1""#, None),
            (r#""conversation":"conv_1""#, Some(("conversation", Reference))),
            (r#""conversation":{"id":"conv_1"}"#, Some(("conversation", Reference))),
            (r#""conversation":null"#, None),
            (r#""prompt":{"id":"pmpt_1"}"#, Some(("prompt", Reference))),
            (r#""input":[{"type":"item_reference","id":"msg_1"}]"#, Some(("input[0]", Reference))),
            (r#""input":[{"id":"msg_1"}]"#, Some(("input[0]", Reference))),
            (
                r#""input":[{"type":"image_generation_call","id":"ig_1","status":"completed"}]"#,
                Some(("input[0]", Reference)),
            ),
            (r#""input":[{"type":"image_generation_call","id":"ig_1","result":"AA"}]"#, None),
            (r#""input":[{"type":"message","id":"msg_1","role":"user","content":"x"}]"#, None),
            (r#""instructions":[{"id":"msg_1"}]"#, Some(("instructions[0]", Reference))),
            (
                r#""input":[{"type":"code_interpreter_call","id":"ci","code":"1","container_id":"cntr_1"}]"#,
                Some(("input[0].container_id", Reference)),
            ),
            (
                r#""input":[{"type":"shell_call","call_id":"c","action":{},"environment":{"type":"container_reference","container_id":"cntr_1"}}]"#,
                Some(("input[0].environment.container_id", Reference)),
            ),
            (
                r#""input":[{"content":[{"type":"input_file","file_id":"file-a"}]}]"#,
                Some(("input[0].content[0].file_id", Reference)),
            ),
            (
                r#""input":[{"content":[{},{},{},{},{},{},{},{"type":"input_file","file_id":"file-a"}]}]"#,
                None,
            ),
            (
                r#""input":[{"content":[{"type":"input_file","file_url":"gs://b/o"}]}]"#,
                Some(("input[0].content[0].file_url", Address)),
            ),
            (r#""input":[{"content":[{"type":"input_image","image_url":"https://example.com/a"}]}]"#, None),
        ],
    );
}

#[test]
fn responses_tools() {
    check(
        Grammar::Responses,
        Operation::Chat,
        &[
            (
                r#""tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]"#,
                Some(("tools[0].vector_store_ids", Reference)),
            ),
            (
                r#""tools":[{"type":"collections_search","collection_ids":["c"]}]"#,
                Some(("tools[0].collection_ids", Reference)),
            ),
            (
                r#""tools":[{"type":"code_interpreter","container":"cntr_1"}]"#,
                Some(("tools[0].container", Reference)),
            ),
            (r#""tools":[{"type":"code_interpreter","container":{"type":"auto"}}]"#, None),
            (
                r#""tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["file-1"]}}]"#,
                Some(("tools[0].container.file_ids[0]", Reference)),
            ),
            (
                r#""tools":[{"type":"shell","environment":{"type":"container_reference","container_id":"cntr_1"}}]"#,
                Some(("tools[0].environment.container_id", Reference)),
            ),
            (
                r#""tools":[{"type":"shell","environment":{"type":"container_auto","skills":[{"type":"skill_reference","skill_id":"s"}]}}]"#,
                Some(("tools[0].environment.skills", Reference)),
            ),
            (r#""tools":[{"type":"computer_use_preview","environment":"browser","display_width":9}]"#, None),
            (
                r#""tools":[{"type":"mcp","server_label":"l","connector_id":"connector_mail"}]"#,
                Some(("tools[0].connector_id", Reference)),
            ),
            (
                r#""tools":[{"type":"mcp","server_label":"l","server_url":"https://mcp.example.com/a","headers":{"x":"y"}}]"#,
                None,
            ),
            (
                r#""tools":[{"type":"mcp","server_label":"l","server_url":"https://10.0.0.1/a"}]"#,
                Some(("tools[0].server_url", Address)),
            ),
            (
                r#""tools":[{"type":"mcp","server_label":"l","tunnel_id":"t"}]"#,
                Some(("tools[0].tunnel_id", Unknown)),
            ),
            (
                r#""tools":[{"type":"image_generation","input_image_mask":{"file_id":"file-1"}}]"#,
                Some(("tools[0].input_image_mask.file_id", Reference)),
            ),
            (
                r#""tools":[{"type":"namespace","tools":[{"type":"file_search","vector_store_ids":["v"]}]}]"#,
                Some(("tools[0].tools[0].vector_store_ids", Reference)),
            ),
            (r#""access_programs":{"id":"x"}"#, Some(("access_programs", Reference))),
        ],
    );
}

#[test]
fn messages() {
    check(
        Grammar::Anthropic,
        Operation::Chat,
        &[
            (
                r#""system":[{"type":"text","text":"x"}],"messages":[{"role":"user","content":"x"}],"metadata":{"user_id":"u"}"#,
                None,
            ),
            (r#""metadata":{"user_id":"u","store":"s"}"#, Some(("metadata.store", Unknown))),
            (r#""container":"container_1""#, Some(("container", Reference))),
            (r#""container":{"skills":[{"type":"custom","skill_id":"s"}]}"#, Some(("container", Reference))),
            (
                r#""messages":[{"content":[{"type":"document","source":{"type":"file","file_id":"file_1"}}]}]"#,
                Some(("messages[0].content[0].source.file_id", Reference)),
            ),
            (
                r#""messages":[{"content":[{"type":"container_upload","file_id":"file_1"}]}]"#,
                Some(("messages[0].content[0].file_id", Reference)),
            ),
            (
                r#""messages":[{"content":[{"type":"document","source":{"type":"content","content":[{"type":"image","source":{"type":"file","file_id":"file_1"}}]}}]}]"#,
                Some(("messages[0].content[0].source.content[0].source.file_id", Reference)),
            ),
            (
                r#""messages":[{"content":[{"type":"image","source":{"type":"url","url":"s3://b/o"}}]}]"#,
                Some(("messages[0].content[0].source.url", Address)),
            ),
            (
                r#""messages":[{"content":[{"type":"image","source":{"type":"url","url":"https://example.com/a"}}]}]"#,
                None,
            ),
            (
                r#""messages":[{"content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"image","source":{"type":"file","file_id":"f"}}]}]}]"#,
                Some(("messages[0].content[0].content[0].source.file_id", Reference)),
            ),
            (r#""mcp_servers":[{"type":"url","name":"n","url":"https://mcp.example.com"}]"#, None),
            (
                r#""mcp_servers":[{"type":"url","name":"n","url":"https://localhost"}]"#,
                Some(("mcp_servers[0].url", Address)),
            ),
            (r#""tools":[{"name":"f","input_schema":{"container":"x"}}]"#, None),
            (r#""tools":[{"type":"new_search","store":"kept"}]"#, Some(("tools[0].store", Unknown))),
            (r#""user_profile_id":"p""#, Some(("user_profile_id", Reference))),
            (r#""diagnostics":{"previous_message_id":"msg_1"}"#, Some(("diagnostics", Reference))),
            (r#""thread":{"type":"continue","previous_message_id":"msg_1"}"#, None),
            (r#""thread":{"type":"continue","id":"t"}"#, Some(("thread.id", Unknown))),
            (r#""thread":"t""#, Some(("thread", Reference))),
        ],
    );
}

#[test]
fn gemini() {
    let part = |part: &str| format!(r#""contents":[{{"parts":[{part}]}}]"#);
    let cases: &[(&str, Option<Reason>)] = &[
        (r#"{"text":"gs://b/o"}"#, None),
        (r#"{"fileData":{"mimeType":"application/pdf","fileUri":"https://example.com/a.pdf"}}"#, None),
        (r#"{"fileData":{"fileUri":"gs://operator-private/payroll.pdf"}}"#, Some(Address)),
        (r#"{"fileData":{"fileUri":"files/abc"}}"#, Some(Address)),
        (r#"{"file_data":{"file_uri":"https://store.example.com/v1beta/files/abc"}}"#, Some(Address)),
        (r#"{"functionResponse":{"name":"f","response":{"fileUri":"gs://b/o"}}}"#, None),
        (r#"{"functionResponse":{"name":"f","parts":[{"fileData":{"fileUri":"gs://b/o"}}]}}"#, Some(Address)),
        (r#"{"gcsData":{"uri":"gs://b/o"}}"#, Some(Unknown)),
    ];
    for (json, reason) in cases {
        let found = objection(Grammar::Gemini, Operation::Chat, &format!("{{{}}}", part(json)), true);
        assert_eq!(found.map(|(_, reason)| reason), *reason, "{json}");
        let counted = format!(r#"{{"generateContentRequest":{{{}}}}}"#, part(json));
        let found = objection(Grammar::Gemini, Operation::Count, &counted, true);
        assert_eq!(found.map(|(_, reason)| reason), *reason, "{json}");
        let embedded = format!(r#"{{"requests":[{{"content":{{"parts":{json}}}}}]}}"#);
        let found = objection(Grammar::Gemini, Operation::Embed, &embedded, true);
        assert_eq!(found.map(|(_, reason)| reason), *reason, "{json}");
    }
    check(
        Grammar::Gemini,
        Operation::Chat,
        &[
            (r#""cachedContent":"cachedContents/abc""#, Some(("cachedContent", Reference))),
            (r#""cached_content":"cachedContents/abc""#, Some(("cached_content", Reference))),
            (
                r#""systemInstruction":{"parts":{"fileData":{"fileUri":"gs://b/o"}}}"#,
                Some(("systemInstruction.parts.fileData.fileUri", Address)),
            ),
            (
                r#""tools":{"fileSearch":{"fileSearchStoreNames":["fileSearchStores/a"]}}"#,
                Some(("tools.fileSearch", Reference)),
            ),
            (
                r#""tools":[{"retrieval":{"vertexAiSearch":{"datastore":"projects/p"}}}]"#,
                Some(("tools[0].retrieval", Reference)),
            ),
            (
                r#""tools":[{"googleMaps":{"authConfig":{"apiKeyConfig":{}}}}]"#,
                Some(("tools[0].googleMaps.authConfig", Unknown)),
            ),
            (
                r#""tools":[{"googleMaps":{"authConfig":{"apiKey":"projects/p/secrets/s"}}}]"#,
                Some(("tools[0].googleMaps.authConfig", Unknown)),
            ),
            (r#""tools":[{"functionDeclarations":[{"name":"f"}]},{"googleSearch":{}}]"#, None),
            (
                r#""modelArmorConfig":{"promptTemplateName":"projects/p"}"#,
                Some(("modelArmorConfig", Unknown)),
            ),
            (
                r#""generationConfig":{"speechConfig":{"voiceConfig":{"customVoice":"v"}}}"#,
                Some(("generationConfig.speechConfig.voiceConfig.customVoice", Unknown)),
            ),
            (r#""generationConfig":{"responseSchema":{"type":"STRING"},"temperature":1}"#, None),
        ],
    );
}

#[test]
fn converse() {
    let content = |block: &str| format!(r#"{{"messages":[{{"role":"user","content":[{block}]}}]}}"#);
    for (block, reason) in [
        (r#"{"text":"s3://b/o"}"#, None),
        (r#"{"document":{"name":"d","format":"pdf","source":{"bytes":"AA"}}}"#, None),
        (
            r#"{"document":{"name":"d","source":{"s3Location":{"uri":"s3://b/o","bucketOwner":"1"}}}}"#,
            Some(Reference),
        ),
        (r#"{"video":{"format":"mp4","source":{"s3Location":{"uri":"s3://b/o"}}}}"#, Some(Reference)),
        (
            r#"{"toolResult":{"toolUseId":"t","content":[{"image":{"source":{"s3Location":{"uri":"s3://b/o"}}}}]}}"#,
            Some(Reference),
        ),
        (r#"{"guardContent":{"image":{"source":{"s3Location":{"uri":"s3://b/o"}}}}}"#, Some(Reference)),
        (r#"{"document":{"name":"d","source":{"content":[{"text":"x"}]}}}"#, None),
        (r#"{"toolUse":{"name":"f","input":{"s3Location":"x"}}}"#, None),
        (r#"{"kept":{"id":"x"}}"#, Some(Unknown)),
    ] {
        let found = objection(Grammar::Converse, Operation::Chat, &content(block), true);
        assert_eq!(found.map(|(_, reason)| reason), reason, "{block}");
        let counted = format!(r#"{{"input":{{"converse":{}}}}}"#, content(block));
        let found = objection(Grammar::Converse, Operation::Count, &counted, true);
        assert_eq!(found.map(|(_, reason)| reason), reason, "{block}");
    }
    check(
        Grammar::Converse,
        Operation::Chat,
        &[
            (r#""guardrailConfig":{"guardrailIdentifier":"abc"}"#, Some(("guardrailConfig", Reference))),
            (r#""promptVariables":{"a":{"text":"b"}}"#, Some(("promptVariables", Reference))),
            (r#""additionalModelRequestFields":{"thinking":{"type":"enabled"},"top_k":3}"#, None),
            (
                r#""additionalModelRequestFields":{"container":"c"}"#,
                Some(("additionalModelRequestFields.container", Unknown)),
            ),
            (r#""toolConfig":{"tools":[{"toolSpec":{"name":"f"}}],"toolChoice":{"auto":{}}}"#, None),
        ],
    );
}

#[test]
fn what_is_no_conversation() {
    for (operation, body, expected) in [
        (Operation::Speech, r#"{"input":"x","voice":"alloy"}"#, None),
        (Operation::Speech, r#"{"input":"x","voice":{"id":"voice_1"}}"#, Some(Reference)),
        (Operation::Speech, r#"{"input":"x","voice_id":"v"}"#, Some(Unknown)),
        (Operation::Embed, r#"{"input":["x"],"dimensions":3}"#, None),
        (Operation::Images, r#"{"prompt":"x","image_url":"https://example.com/a"}"#, None),
        (Operation::Images, r#"{"prompt":"x","image_url":"gs://b/o"}"#, Some(Address)),
        (Operation::Images, r#"{"prompt":"x","images":[{"file_id":"file-1"}]}"#, Some(Reference)),
        (Operation::Images, r#"{"prompt":"x","image_loras":[{"path":"p"}]}"#, Some(Unknown)),
        (
            Operation::Moderate,
            r#"{"input":[{"type":"image_url","image_url":{"url":"file-1"}}]}"#,
            Some(Address),
        ),
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
    for (event, expected) in [
        (r#"{"type":"response.create"}"#, None),
        (
            r#"{"type":"session.update","session":{"type":"realtime","prompt":{"id":"pmpt_1"}}}"#,
            Some(Reference),
        ),
        (
            r#"{"type":"session.update","session":{"tools":[{"type":"mcp","connector_id":"c"}]}}"#,
            Some(Reference),
        ),
        (
            r#"{"type":"session.update","session":{"audio":{"output":{"voice":{"id":"voice_1"}}}}}"#,
            Some(Reference),
        ),
        (r#"{"type":"session.update","session":{"audio":{"output":{"voice":"alloy"}}}}"#, None),
        (r#"{"type":"response.create","response":{"prompt":{"id":"pmpt_1"}}}"#, Some(Reference)),
        (
            r#"{"type":"response.create","response":{"input":[{"type":"item_reference","id":"item_1"}]}}"#,
            None,
        ),
        (
            r#"{"type":"conversation.item.create","item":{"type":"message","content":[{"type":"input_image","image_url":"gs://b/o"}]}}"#,
            Some(Address),
        ),
        (
            r#"{"type":"conversation.item.create","item":{"type":"message","content":[{"type":"input_file","file_id":"f"}]}}"#,
            Some(Reference),
        ),
        (r#"{"type":"new.event","store":"s"}"#, Some(Unknown)),
        (r#"{"Type":"response.create"}"#, Some(Unread)),
        ("\u{feff}{\"type\":\"response.create\"}", Some(Unread)),
    ] {
        let found = check_shared_event(event.as_bytes(), &seat).err().map(|objection| objection.reason);
        assert_eq!(found, expected, "{event}");
    }
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
    let side = [
        Operation::Chat,
        Operation::Embed,
        Operation::Moderate,
        Operation::Complete,
        Operation::Images,
        Operation::Speech,
        Operation::Rerank,
    ];
    for (grammar, operations, sources) in [
        (
            Grammar::Chat,
            &side[..],
            &[
                include_str!("../../../chat/src/request.rs"),
                include_str!("../../../chat/src/messages.rs"),
                include_str!("../../../chat/src/operations.rs"),
            ][..],
        ),
        (
            Grammar::Responses,
            &[Operation::Chat],
            &[
                include_str!("../../../responses/src/request.rs"),
                include_str!("../../../responses/src/named.rs"),
            ],
        ),
        (Grammar::Anthropic, &[Operation::Chat], &[include_str!("../../../anthropic/src/decode.rs")]),
        (
            Grammar::Gemini,
            &[Operation::Chat, Operation::Embed],
            &[include_str!("../../../gemini/src/request.rs"), include_str!("../../../gemini/src/embed.rs")],
        ),
        (Grammar::Converse, &[Operation::Chat], &[include_str!("../../../converse/src/decode.rs")]),
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
