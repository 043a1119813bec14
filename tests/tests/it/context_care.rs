//! What becomes of conversations of `/v1/responses` that grow long, over providers that see to no context themselves: the oldest
//! turns are left out, or give way to a summary; and items that are deleted, or named by their id alone.

use harness::sse;
use serde_json::{Value, json};

use crate::ask::{posted, refused};
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, POOL, id_of};
use crate::own_batches::{HAIKU, pooled};
use crate::wait::until;

const PATH: &str = "/v1/responses";
const COMPACT: &str = "/v1/responses/compact";
const CONVERSATIONS: &str = "/v1/conversations";
const CANARY: &str = "canary-6160";
const SUMMARY: &str = "Summary of the earlier part";

/// What the provider was sent last, message by message.
fn sent_last(gateway: &Gateway) -> Vec<String> {
    let sent = gateway.calls(POOL).pop().unwrap().json();
    let text = |message: &Value| match &message["content"] {
        Value::String(text) => text.clone(),
        parts => {
            let parts =
                parts.as_array().unwrap().iter().map(|part| part["text"].as_str().unwrap_or_default());
            parts.collect::<Vec<_>>().join(" ")
        }
    };
    sent["messages"].as_array().unwrap().iter().map(text).collect()
}

fn user(words: &str) -> Value {
    json!({"role": "user", "content": words})
}

fn assistant(words: &str) -> Value {
    json!({"role": "assistant", "content": words})
}

/// The model takes 200,000 tokens, of which its answer gets 64,000. Nothing was measured yet, so that a token has four bytes.
#[tokio::test]
async fn a_conversation_that_is_too_long_loses_its_oldest_turns_where_its_client_wants_that() {
    const TURNS: usize = 12;
    let gateway = pooled().await;
    gateway.node("cellar", &[LOCAL_MODEL]).await;
    let client = gateway.client();
    let turn =
        |number: usize| [user(&format!("turn {number}{}", " word".repeat(20_000))), assistant("noted")];
    let mut input = vec![json!({"role": "developer", "content": "be brief"})];
    input.extend((0..TURNS).flat_map(turn));
    input.push(user("and now?"));
    let body = json!({"model": HAIKU, "input": input, "truncation": "auto"});
    let answer = posted(&client, PATH, &body).await;
    let document = answer.json();
    assert_eq!((&document["truncation"], &document["store"]), (&json!("auto"), &json!(true)));
    let dropped: usize = answer.header("agent-dropped-items").unwrap().parse().unwrap();
    assert!(dropped > 0 && dropped < 2 * TURNS && dropped.is_multiple_of(2), "{dropped}");
    assert_eq!(answer.header("agent-dropped-params"), None);
    let sent = sent_last(&gateway);
    assert_eq!(sent.len(), 2 * TURNS + 1 - dropped, "{dropped}");
    assert!(sent[0].starts_with(&format!("turn {} word", dropped / 2)), "{}", &sent[0][..16]);
    assert_eq!(sent.last().unwrap(), "and now?");
    assert!(gateway.calls(POOL).pop().unwrap().json()["system"].to_string().contains("be brief"));
    // What is kept of it is what the client sent, and what goes on from it is shortened again.
    let id = document["id"].as_str().unwrap();
    let items = client.get(&format!("{PATH}/{id}/input_items?limit=100")).await.unwrap().json();
    assert_eq!(items["data"].as_array().unwrap().len(), 2 * TURNS + 2);
    let onward = json!({"model": HAIKU, "input": "go on", "previous_response_id": id, "truncation": "auto", "stream": true});
    assert!(posted(&client, PATH, &onward).await.header("agent-dropped-items").is_some());
    assert_eq!(sent_last(&gateway).last().unwrap(), "go on");
    assert!(posted(&client, "/v2/responses", &body).await.header("agent-dropped-items").is_some());
    // Without it, the provider says that it is too long.
    for truncation in [json!("disabled"), Value::Null] {
        let whole = json!({"model": HAIKU, "input": body["input"], "truncation": truncation});
        refused(&client.post(PATH, &whole).await.unwrap(), 400, "context_length_exceeded");
    }
    // What fits stays whole, and so does what goes to a model of which nobody knows how much it takes.
    let short = |model: &str| json!({"model": model, "input": [user("a"), assistant("b"), user("c")], "truncation": "auto"});
    let fits = posted(&client, PATH, &short(HAIKU)).await;
    assert_eq!((fits.header("agent-dropped-items"), fits.header("agent-dropped-params")), (None, None));
    assert_eq!(sent_last(&gateway), ["a", "b", "c"]);
    let unknown = posted(&client, PATH, &short(LOCAL_MODEL)).await;
    assert_eq!(unknown.header("agent-dropped-items"), None);
    assert_eq!(unknown.header("agent-dropped-params"), Some("truncation"));
}

#[tokio::test]
async fn one_item_of_a_conversation_is_deleted_and_kept_items_are_named_by_their_id() {
    let (gateway, client) = pooled().await.and_client();
    let other = gateway.other_project().await;
    let items = json!({"items": [user("hi"), assistant(CANARY), user("and then?")]});
    let conversation = posted(&client, CONVERSATIONS, &items).await.json();
    let at = format!("{CONVERSATIONS}/{}", conversation["id"].as_str().unwrap());
    let listed = async || {
        let page = client.get(&format!("{at}/items?order=asc")).await.unwrap().json();
        let ids = page["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    let ids = listed().await;
    let item = format!("{at}/items/{}", ids[1]);
    refused(&other.delete(&item).await.unwrap(), 404, "conversation_not_found");
    let held = json!({"reason": "case 7", "project_id": gateway.founded.project_id});
    let hold = id_of(&gateway.make("/v2/legal-holds", held).await);
    until("the hold is in force", async || client.delete(&item).await.unwrap().status == 409).await;
    gateway.remove(&format!("/v2/legal-holds/{hold}")).await;
    until("the item is deleted", async || {
        let deleted = client.delete(&item).await.unwrap();
        assert!([200, 409].contains(&deleted.status), "{}", deleted.text());
        deleted.status == 200 && deleted.json()["id"] == conversation["id"]
    })
    .await;
    refused(&client.get(&item).await.unwrap(), 404, "conversation_item_not_found");
    refused(&client.delete(&item).await.unwrap(), 404, "conversation_item_not_found");
    assert_eq!(listed().await, [ids[0].clone(), ids[2].clone()]);
    let onward = json!({"model": HAIKU, "input": "go on", "conversation": conversation["id"]});
    posted(&client, PATH, &onward).await;
    let sent = sent_last(&gateway).join(" ");
    assert!(sent.contains("and then?") && !sent.contains(CANARY), "{sent}");

    let first = posted(&client, PATH, &json!({"model": HAIKU, "input": "my name is Ada"})).await.json();
    let output = first["output"][0]["id"].as_str().unwrap();
    let items = async |response: &Value| {
        client.get(&format!("{PATH}/{}/input_items", id_of(response))).await.unwrap().json()["data"].clone()
    };
    let page = items(&first).await;
    let named = |id: &str| json!({"type": "item_reference", "id": id});
    let input = [named(&id_of(&page[0])), json!({"id": output}), named(&ids[2])];
    let body = json!({"model": HAIKU, "input": input});
    let second = posted(&client, PATH, &body).await.json();
    assert_eq!(sent_last(&gateway), ["my name is Ada", "You said: my name is Ada", "and then?"]);
    let kept = items(&second).await;
    let roles: Vec<&Value> = kept.as_array().unwrap().iter().map(|item| &item["role"]).collect();
    assert_eq!(roles, ["user", "assistant", "user"], "the items are kept, and not their names");
    let before = gateway.calls(POOL).len();
    let gone = json!({"model": HAIKU, "input": [named(&ids[1]), user("x")]});
    let unknown = json!({"model": HAIKU, "input": [named(&output.replace("00", "ff")), user("x")]});
    for (from, named) in [(&other, &body), (&client, &gone), (&client, &unknown)] {
        let answer = from.post(PATH, named).await.unwrap();
        assert_eq!(refused(&answer, 404, "item_not_found")["param"], "input");
    }
    assert_eq!(gateway.calls(POOL).len(), before, "nothing was sent");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_summary_stands_for_a_conversation_over_every_model_of_its_project_alone() {
    let gateway = pooled().await;
    gateway.credential("openai", OWN).await;
    let client = gateway.client();
    let spoken = [user(&format!("{CANARY} is my word")), assistant("a fine word"), user("keep it")];
    let body = json!({"model": HAIKU, "instructions": "be brief", "input": spoken});
    let answer = posted(&client, COMPACT, &body).await;
    let compacted = answer.json();
    assert_eq!(compacted["object"], "response.compaction", "{compacted}");
    let output = compacted["output"].as_array().unwrap();
    let kinds: Vec<&Value> = output.iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["message", "message", "compaction"], "{compacted}");
    let sealed = output[2]["encrypted_content"].as_str().unwrap();
    assert!(compacted["usage"]["output_tokens"].as_u64() > Some(0), "{compacted}");
    assert!(!sealed.contains(CANARY), "{compacted}");
    let record = gateway.record(&answer).await;
    assert!(record["output_tokens"].as_u64() > Some(0) && record["status"] == 200, "{record}");
    assert!(sent_last(&gateway).join(" ").contains("[assistant]\na fine word"));
    let next = |encrypted: &str| {
        let mut input = output.clone();
        input[2]["encrypted_content"] = json!(encrypted);
        input.push(user("go on"));
        json!({"model": HAIKU, "input": input})
    };
    posted(&client, PATH, &next(sealed)).await;
    let sent = sent_last(&gateway);
    assert!(sent.iter().any(|text| text.contains(SUMMARY)) && !sent.join(" ").contains(sealed), "{sent:?}");
    let mut elsewhere = next(sealed);
    elsewhere["model"] = json!("openai/gpt-4o-mini");
    posted(&client, PATH, &elsewhere).await;
    assert!(gateway.calls(OWN).pop().unwrap().json()["input"].to_string().contains(SUMMARY));
    let changed = format!("{}{}", &sealed[..sealed.len() - 8], "AAAAAAAA");
    for answer in [
        gateway.other_project().await.post(PATH, &next(sealed)).await.unwrap(),
        client.post(PATH, &next(&changed)).await.unwrap(),
        client.post(COMPACT, &next("another provider's")).await.unwrap(),
    ] {
        assert_eq!(refused(&answer, 400, "compaction_unreadable")["param"], "input");
    }
    refused(&client.post(PATH, &next("another provider's")).await.unwrap(), 400, "unsupported_parameter");
    let bare = client.post(COMPACT, &json!({"model": HAIKU})).await.unwrap();
    refused(&bare, 400, "missing_required_parameter");
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_conversation_is_compacted_once_it_is_longer_than_its_client_wants() {
    let (gateway, client) = pooled().await.and_client();
    let long = format!("{CANARY}{}", " word".repeat(4_000));
    let managed = |words: &str, previous: &str, threshold: u64, stream: bool| {
        json!({"model": HAIKU, "input": words, "previous_response_id": previous, "stream": stream,
            "context_management": [{"type": "compaction", "compact_threshold": threshold}]})
    };
    let first = posted(&client, PATH, &json!({"model": HAIKU, "input": long})).await.json();
    let first = first["id"].as_str().unwrap();
    let whole = posted(&client, PATH, &managed("not yet", first, 1_000_000, false)).await;
    assert_eq!(whole.json()["output"][0]["type"], "message");
    assert_eq!(whole.header("agent-dropped-params"), None);
    let before = gateway.calls(POOL).len();
    let answer = posted(&client, PATH, &managed("go on", first, 1_000, false)).await;
    assert_eq!(gateway.calls(POOL).len(), before + 2, "one writes the summary");
    let document = answer.json();
    let kinds: Vec<_> = document["output"].as_array().unwrap().iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["compaction", "message"], "{document}");
    let is_short = |sent: &[String]| {
        let all = sent.join(" ");
        assert!(all.contains(SUMMARY) && all.contains(CANARY) && all.len() < 2_000, "{} bytes", all.len());
    };
    let sent = sent_last(&gateway);
    is_short(&sent);
    assert!(sent.last().unwrap().ends_with("go on"), "{sent:?}");
    // What goes on from it has the summary, and no more what came before it.
    let onward = json!({"model": HAIKU, "input": "more", "previous_response_id": document["id"]});
    posted(&client, PATH, &onward).await;
    let sent = sent_last(&gateway);
    is_short(&sent);
    assert!(sent.iter().any(|text| text.contains("go on")) && sent.last().unwrap() == "more", "{sent:?}");
    // A stream has the item before those of the answer.
    let streamed = posted(&client, PATH, &managed("and on", first, 1_000, true)).await;
    let events: Vec<Value> =
        sse::events(&streamed.body).iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
    let done = events.iter().filter(|event| event["type"] == "response.output_item.done");
    let done: Vec<_> = done.map(|event| (&event["output_index"], &event["item"]["type"])).collect();
    assert_eq!(done, [(&json!(0), &json!("compaction")), (&json!(1), &json!("message"))]);
    let ended = &events.last().unwrap()["response"];
    assert_eq!(ended["output"][0]["type"], "compaction", "{ended}");
    assert_eq!(ended["store"], true, "{ended}");
    // A conversation has the item as one of its own, which its later requests begin with.
    let conversation =
        posted(&client, CONVERSATIONS, &json!({"items": [user(&long), assistant("noted")]})).await.json();
    let mut body = managed("go on", first, 1_000, false);
    body["conversation"] = conversation["id"].clone();
    body.as_object_mut().unwrap().remove("previous_response_id");
    posted(&client, PATH, &body).await;
    let later = json!({"model": HAIKU, "input": "more", "conversation": conversation["id"]});
    posted(&client, PATH, &later).await;
    is_short(&sent_last(&gateway));
    assert_eq!(gateway.emulator.violations(), []);
}
