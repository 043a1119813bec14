//! Tests that prefixes are equal as long as their bytes are, and that inserts change nothing else.

use bytes::Bytes;
use conversation::request::upstream_body_with;
use dialects::{Prefixes, decode_request, insert, read_prefixes};
use domain::limits::PREFIX_ENDS_MAX;
use domain::{Grammar, Operation};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn read(grammar: Grammar, body: &Json) -> Prefixes {
    read_prefixes(grammar, body.to_string().as_bytes()).expect("prefixes")
}

fn fingerprints(prefixes: &Prefixes) -> Vec<u64> {
    prefixes.ends().iter().map(|end| end.fingerprint).collect()
}

#[test]
fn a_conversation_that_goes_on_begins_as_it_did() {
    let turn = |role: &str, text: &str| json!({"role": role, "content": text});
    let mut turns = vec![turn("user", "one"), turn("assistant", "two")];
    for (grammar, turns_name, head) in [
        (Grammar::Anthropic, "messages", json!({"system": "Be brief.", "tools": [{"name": "a"}]})),
        (Grammar::Responses, "input", json!({"instructions": "Be brief.", "tools": [{"name": "a"}]})),
        (Grammar::Chat, "messages", json!({"tools": [{"name": "a"}]})),
    ] {
        let body = |turns: &[Json]| {
            let mut body = head.clone();
            body[turns_name] = json!(turns);
            body
        };
        let first = read(grammar, &body(&turns));
        turns.push(turn("user", "three"));
        let second = read(grammar, &body(&turns));
        let (short, long) = (fingerprints(&first), fingerprints(&second));
        assert_eq!(long.strip_prefix(&*short).map(<[u64]>::len), Some(1), "{grammar:?}");
        assert_eq!(first.head(), second.head(), "{grammar:?}");
        assert_eq!(first.conversation(), second.conversation(), "{grammar:?}");
        turns.pop();
        let other = read(grammar, &body(&[turn("user", "four")]));
        assert_eq!(first.head(), other.head());
        assert_ne!(first.conversation(), other.conversation());
    }
}

#[test]
fn leading_instructions_of_a_chat_are_its_head() {
    let talk = |role: &str, last: &str| {
        let messages = [
            json!({"role": role, "content": "Be brief."}),
            json!({"role": "developer", "content": [{"type": "text", "text": "And kind."}]}),
            json!({"role": "user", "content": last}),
        ];
        read(Grammar::Chat, &json!({"model": "m", "messages": messages}))
    };
    let (one, other) = (talk("system", "x"), talk("system", "y"));
    assert_eq!(one.ends().iter().map(|end| end.is_head).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(one.head(), other.head());
    assert_ne!(one.head(), talk("user", "x").head());
}

#[test]
fn a_client_that_helps_itself_is_seen() {
    let marked = json!({"type": "ephemeral"});
    let user = |content: Json| json!([{"role": "user", "content": content}]);
    let inside = json!([{"type": "tool_result", "tool_use_id": "t",
        "content": [{"type": "text", "text": "x", "cache_control": marked}]}]);
    for (grammar, body, is_helped) in [
        (Grammar::Anthropic, json!({"messages": user(json!("x"))}), false),
        (Grammar::Anthropic, json!({"messages": user(json!("{\"cache_control\":1}"))}), false),
        (Grammar::Anthropic, json!({"cache_control": marked, "messages": user(json!("x"))}), true),
        (Grammar::Anthropic, json!({"messages": user(inside)}), true),
        (Grammar::Chat, json!({"prompt_cache_key": "k", "messages": [{"role": "user"}]}), true),
        (Grammar::Chat, json!({"prompt_cache_key": null, "messages": [{"role": "user"}]}), false),
        (Grammar::Responses, json!({"prompt_cache_key": "k", "input": "x"}), true),
    ] {
        assert_eq!(read(grammar, &body).has_client_caching(), is_helped, "{body}");
    }
    assert_eq!(read_prefixes(Grammar::Gemini, b"{}"), None);
    assert_eq!(read_prefixes(Grammar::Chat, b"{\"messages\":[]}"), None);
}

#[test]
fn a_long_conversation_keeps_its_first_and_last_turns() {
    let turn = |number: usize| json!({"role": "user", "content": number.to_string()});
    let turns: Vec<_> = (0..200).map(turn).collect();
    let all = read(Grammar::Anthropic, &json!({"system": "s", "messages": turns}));
    assert_eq!(all.ends().len(), PREFIX_ENDS_MAX);
    assert!(all.ends()[0].is_head && !all.ends()[1].is_head);
    let shorter = read(Grammar::Anthropic, &json!({"system": "s", "messages": turns[..199]}));
    assert_eq!(shorter.ends().last().unwrap().fingerprint, all.ends()[PREFIX_ENDS_MAX - 2].fingerprint);
}

/// The request without its breakpoints, and strings as blocks.
fn bare(value: &Json) -> (Json, usize) {
    match value {
        Json::Object(members) => {
            let mut marks = usize::from(members.contains_key("cache_control"));
            let mut kept = serde_json::Map::new();
            for (name, value) in members.iter().filter(|(name, _)| *name != "cache_control") {
                let (value, within) = bare(value);
                marks += within;
                let is_text = (name == "content" || name == "system") && value.is_string();
                let value = if is_text { json!([{"type": "text", "text": value}]) } else { value };
                kept.insert(name.clone(), value);
            }
            (Json::Object(kept), marks)
        }
        Json::Array(list) => {
            let (list, marks): (Vec<_>, Vec<_>) = list.iter().map(bare).unzip();
            (Json::Array(list), marks.iter().sum())
        }
        _ => (value.clone(), 0),
    }
}

fn block() -> impl Strategy<Value = Json> {
    let text = "[ -~é\"\\\\]{0,20}";
    prop_oneof![
        text.prop_map(|text| json!({"type": "text", "text": text})),
        text.prop_map(|text| json!({"type": "thinking", "thinking": text, "signature": "s"})),
        text.prop_map(|text| json!({"type": "thinking", "thinking": text})),
        text.prop_map(|text| json!({"type": "tool_result", "tool_use_id": "t", "content": text})),
    ]
}

fn content() -> impl Strategy<Value = Json> {
    prop_oneof![
        "[ -~é]{0,20}".prop_map(Json::from),
        prop::collection::vec(block(), 1..4).prop_map(Json::from)
    ]
}

fn request() -> impl Strategy<Value = Json> {
    let turns = prop::collection::vec(content(), 1..8);
    let system = prop::option::of(prop_oneof![
        "[a-z ]{0,20}".prop_map(Json::from),
        "[a-z]{1,9}".prop_map(|text| json!([{"type": "text", "text": text}]))
    ]);
    let tools = prop::option::of(prop::collection::vec("[a-z]{1,9}", 0..4));
    (turns, system, tools, any::<bool>()).prop_map(|(turns, system, tools, stream)| {
        let roles = ["user", "assistant"].into_iter().cycle();
        let messages: Vec<_> =
            roles.zip(turns).map(|(role, content)| json!({"role": role, "content": content})).collect();
        let mut body = json!({"model": "m", "max_tokens": 9, "stream": stream, "messages": messages});
        if let Some(system) = system {
            body["system"] = system;
        }
        if let Some(tools) = tools {
            body["tools"] =
                tools.iter().map(|name| json!({"name": name, "input_schema": {"type": "object"}})).collect();
        }
        body
    })
}

proptest! {
    /// Whatever ends are chosen, the request differs from the client's only in its breakpoints, each on a
    /// block or tool.
    #[test]
    fn marks_change_nothing_else(body in request(), pretty in any::<bool>(), choice in any::<u64>()) {
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
        let bytes = Bytes::from(text.unwrap());
        let request = decode_request(Grammar::Anthropic, Operation::Chat, &bytes, None).unwrap();
        let prefixes = read_prefixes(Grammar::Anthropic, &bytes).unwrap();
        prop_assert!(!prefixes.has_client_caching());
        let chosen: Vec<_> = (0..prefixes.ends().len()).filter(|at| choice >> (at % 64) & 1 == 1).collect();
        let takers = chosen.iter().filter(|at| prefixes.ends()[**at].takes_mark()).count();
        let plain = upstream_body_with(&bytes, &request, "other", true, &[]).concat();
        let marked = upstream_body_with(&bytes, &request, "other", true, &prefixes.marks(&chosen)).concat();
        let [plain, marked]: [Json; 2] = [plain, marked].map(|body| serde_json::from_slice(&body).unwrap());
        let ((plain, none), (marked, marks)) = (bare(&plain), bare(&marked));
        prop_assert_eq!((none, marks), (0, takers));
        prop_assert_eq!(plain, marked);
    }

    /// An added member is exactly one, whatever else is inserted at the same place.
    #[test]
    fn a_member_is_added(text in "[ -~]{0,20}", stream in any::<bool>()) {
        let body = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": text}]});
        let bytes = Bytes::from(body.to_string());
        let request = decode_request(Grammar::Chat, Operation::Chat, &bytes, None).unwrap();
        let member = read_prefixes(Grammar::Chat, &bytes).unwrap().member("prompt_cache_key", "tgc_0");
        let sent = upstream_body_with(&bytes, &request, "m", true, std::slice::from_ref(&member)).concat();
        let mut sent: Json = serde_json::from_slice(&sent).unwrap();
        prop_assert_eq!(sent.as_object_mut().unwrap().remove("prompt_cache_key"), Some(json!("tgc_0")));
        sent.as_object_mut().unwrap().remove("stream_options");
        prop_assert_eq!(&sent, &body);
        let own: Json = serde_json::from_slice(&insert(&bytes, &[member]).concat()).unwrap();
        prop_assert_eq!(&own["prompt_cache_key"], &json!("tgc_0"));
    }
}
