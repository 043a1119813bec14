//! Usage that no provider reported: estimated with the model's own tokenizer if it is public, otherwise from
//! earlier ratios, reported to clients whose wire format expects usage, and marked.

use domain::Vocabulary;
use estimates::{Observation, Ratios, Tally};
use harness::client::Answer;
use harness::{At, Behaviour, Model, UsageMode};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, question, scripted, streaming, text_of, trace_of, trace_of_stream, with};
use crate::gateway::{CUSTOM, Gateway, OWN, POOL, config};
use crate::wait::until;

/// Has no public tokenizer; the emulator serves it.
const UNKNOWN: &str = "openai/gpt-unknown";
/// A model on the workspace's custom server.
const LOCAL: &str = "limited/acme-large";
/// Template tokens around one message, and before the answer.
const AROUND: u64 = 4 + 3;

async fn gateway() -> Gateway {
    let gateway = Gateway::with(config().model(Model::chat("claude-haiku-4-5")), &[]).await;
    gateway.credential("openai", OWN).await;
    gateway.credential("limited", CUSTOM).await;
    gateway
}

fn counted(text: &str) -> u64 {
    estimates::load(Vocabulary::O200k);
    let mut tally = Tally::new(Vocabulary::O200k).unwrap();
    tally.add(text);
    tally.tokens().unwrap()
}

/// A token count that the gateway estimates without an upstream call, through the Messages API.
async fn count(gateway: &Gateway, model: &str) -> u64 {
    let messages = json!([{"role": "user", "content": "お誕生日おめでとう"}]);
    let body = json!({"model": model, "system": "Be brief.", "messages": messages});
    let answer = gateway.client().post("/v1/messages/count_tokens", &body).await.unwrap();
    assert_eq!((answer.status, answer.header("x-tidegate-estimate")), (200, Some("1")), "{}", answer.text());
    answer.json()["input_tokens"].as_u64().unwrap()
}

/// The tokenizer's table is unpacked in the background at its first use: until then another estimate is used.
async fn until_unpacked(gateway: &Gateway) {
    let wanted = counted("Be brief.") + counted("お誕生日おめでとう") + AROUND + 4;
    let is_unpacked = async || count(gateway, "limited/gpt-oss-20b").await == wanted;
    until("the table to be unpacked", is_unpacked).await;
}

fn chat_stream(model: &str, text: &str) -> Value {
    with(streaming(model), json!({"messages": [{"role": "user", "content": text}]}))
}

/// Reads a stream to its end, clean or not; returns its text and its row in the books.
async fn read_stream(gateway: &Gateway, body: &Value) -> (String, Value) {
    let mut stream = gateway.client().stream(CHAT, body).await.unwrap();
    assert_eq!(stream.status, 200);
    let trace = trace_of_stream(&stream);
    let (events, _) = stream.events().await;
    (text_of(&events), gateway.settled(&trace).await)
}

fn tokens(row: &Value) -> [u64; 2] {
    [row["input_tokens"].as_u64().unwrap(), row["output_tokens"].as_u64().unwrap()]
}

#[tokio::test]
async fn a_cut_stream_is_booked_by_the_models_own_tokenizer() {
    let gateway = gateway().await;
    until_unpacked(&gateway).await;
    let prompt = "Antidisestablishmentarianism, \u{1F30A} and お誕生日: what do they share?";
    let text = "The tide\u{2019}s\nrange is 3.5 m; \"spring\" tides reach 4.2 m. ".repeat(40);
    for behaviour in [Behaviour::ok().text(&text), Behaviour::ok().text(&text).split(7)] {
        gateway.emulator.script(OWN, [behaviour.eof(At::Middle)]);
        let (reply, row) = read_stream(&gateway, &chat_stream(MINI, prompt)).await;
        assert!(reply.len() > 100 && reply.len() < text.len(), "{reply}");
        assert_eq!(tokens(&row), [counted(prompt) + AROUND, counted(&reply)], "{row}");
        has(&row, json!({"estimated": true, "outcome": "failed"}));
        assert_ne!(counted(&reply), (reply.len() as u64).div_ceil(4), "the test tells the two apart");
    }
    // Buffered answers without usage, too.
    gateway.emulator.script(OWN, [Behaviour::ok().text(&text).usage(UsageMode::Missing)]);
    let whole = gateway.chat_ok(&with(chat_stream(MINI, prompt), json!({"stream": false}))).await;
    let row = gateway.settled(&trace_of(&whole)).await;
    assert_eq!(tokens(&row), [counted(prompt) + AROUND, counted(&text)], "{row}");
    assert_eq!(whole.header("x-tidegate-estimate"), None, "nothing of it is told");
}

#[tokio::test]
async fn a_model_without_a_public_tokenizer_is_booked_by_what_its_texts_took() {
    let gateway = gateway().await;
    let (prompt_text, text) = ("How high is it? ".repeat(30), "Water rises and falls. ".repeat(30));
    let observed = |bytes: usize, tokens| Observation { bytes: bytes as u64, tokens };
    let learned = Ratios::default();
    for _ in 0..5 {
        gateway.emulator.script(OWN, [Behaviour::ok().text(&text).counted(240, 0, 115)]);
        let (reply, row) = read_stream(&gateway, &chat_stream(UNKNOWN, &prompt_text)).await;
        assert_eq!((reply.as_str(), tokens(&row)), (text.as_str(), [240, 115]), "{row}");
        assert_eq!(row["estimated"], false, "{row}");
        learned.record("a", "m", observed(prompt_text.len(), 240), observed(reply.len(), 115));
    }
    gateway.emulator.script(OWN, [Behaviour::ok().text(&text).eof(At::Middle)]);
    let (reply, row) = read_stream(&gateway, &chat_stream(UNKNOWN, &prompt_text)).await;
    let (ratio, prompt, answer) = (learned.of("a", "m"), prompt_text.len() as u64, reply.len() as u64);
    assert_eq!(tokens(&row), [ratio.prompt_tokens(prompt), ratio.answer_tokens(answer)], "{row}");
    assert_eq!(row["estimated"], true, "{row}");
    assert!(ratio.prompt_tokens(prompt) > prompt.div_ceil(4));
    assert!(ratio.answer_tokens(answer) < answer.div_ceil(4));
}

/// Prompt and completion tokens of an answer, in any wire format.
fn usage(body: &Value) -> [u64; 2] {
    let (usage, names) = match (body.get("usageMetadata"), body.get("usage")) {
        (Some(usage), _) => (usage, ["promptTokenCount", "candidatesTokenCount"]),
        (None, Some(usage)) => (usage, ["input_tokens", "output_tokens"]),
        (None, None) => panic!("no usage: {body}"),
    };
    names.map(|name| usage[name].as_u64().unwrap_or_else(|| panic!("no {name}: {body}")))
}

/// The last event of a stream that carries usage.
fn last_usage(answer: &Answer) -> Value {
    let documents = harness::sse::events(&answer.body).into_iter();
    let documents = documents.filter_map(|event| serde_json::from_str::<Value>(&event).ok());
    let documents = documents.map(|document| document.get("response").cloned().unwrap_or(document));
    let usages: Vec<Value> = documents
        .filter(|document| document["usage"].is_object() || document["usageMetadata"].is_object())
        .collect();
    usages.last().unwrap_or_else(|| panic!("no usage: {}", answer.text())).clone()
}

#[tokio::test]
async fn clients_that_expect_usage_are_told_the_estimate() {
    let gateway = gateway().await;
    gateway.emulator.script(CUSTOM, [Behaviour::ok().usage(UsageMode::Missing).always()]);
    let content = json!({"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]});
    let messages = with(question(LOCAL), json!({"max_tokens": 50}));
    let response = json!({"model": LOCAL, "input": "hello there"});
    let gemini = |verb| format!("/v1beta/models/{LOCAL}:{verb}");
    let streams = json!({"stream": true});
    for (path, body) in [
        ("/v1/messages".to_owned(), messages.clone()),
        ("/v1/responses".to_owned(), response.clone()),
        (gemini("generateContent"), content.clone()),
        ("/v1/messages".to_owned(), with(messages, streams.clone())),
        ("/v1/responses".to_owned(), with(response, streams)),
        (gemini("streamGenerateContent?alt=sse"), content),
    ] {
        let answer = gateway.client().post(&path, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let kind = answer.header("content-type").unwrap_or_default();
        let is_stream = kind.starts_with("text/event-stream");
        let reported = usage(&if is_stream { last_usage(&answer) } else { answer.json() });
        assert!(reported.iter().all(|tokens| *tokens > 0), "{path}: {}", answer.text());
        assert_eq!(answer.header("x-tidegate-estimate"), (!is_stream).then_some("1"), "{path}");
        let row = gateway.settled(&trace_of(&answer)).await;
        assert_eq!((tokens(&row), &row["estimated"]), (reported, &json!(true)), "{path}: {row}");
    }
}

async fn a_chat_client_is_told_what_the_upstream_counted_and_no_guess(gateway: &Gateway) {
    gateway.emulator.script(CUSTOM, [Behaviour::ok().counted(31, 0, 17).always()]);
    let messages = with(question(LOCAL), json!({"max_tokens": 50}));
    let answer = gateway.client().post("/v1/messages", &messages).await.unwrap();
    assert_eq!((usage(&answer.json()), answer.header("x-tidegate-estimate")), ([31, 17], None));
    let plain = gateway.chat_ok(&question(LOCAL)).await;
    assert_eq!(plain.json()["usage"]["prompt_tokens"], 31);
    assert_eq!(plain.header("x-tidegate-estimate"), None);
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_count_that_nobody_offers_is_the_tokenizers_where_there_is_one() {
    let gateway = gateway().await;
    until_unpacked(&gateway).await;
    assert_eq!(count(&gateway, LOCAL).await, "Be brief.お誕生日おめでとう".len().div_ceil(4) as u64);
    a_chat_stream_that_is_left_is_counted_up_to_there(&gateway).await;
    a_response_that_broke_tells_no_provisional_usage(&gateway).await;
    // What is learned of the model's texts comes last.
    a_chat_client_is_told_what_the_upstream_counted_and_no_guess(&gateway).await;
}

async fn a_response_that_broke_tells_no_provisional_usage(gateway: &Gateway) {
    let base_url = gateway.emulator.anthropic_url();
    let credential = json!({"provider": "anthropic", "secret": POOL, "base_url": base_url});
    gateway.make("/v2/provider-credentials", credential).await;
    gateway.emulator.script(POOL, [Behaviour::ok().tokens(40).chunks(20).eof(At::Middle)]);
    let body = json!({"model": "anthropic/claude-haiku-4-5", "input": "hello there", "stream": true});
    let mut stream = gateway.client().stream("/v1/responses", &body).await.unwrap();
    let (events, _) = stream.events().await;
    let failed: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    has(&failed, json!({"type": "response.failed", "/response/usage": null}));
}

async fn a_chat_stream_that_is_left_is_counted_up_to_there(gateway: &Gateway) {
    let body = with(scripted(MINI, "tokens=400,chunks=40,stall=20"), json!({"stream": true}));
    let mut stream = gateway.client().stream(CHAT, &body).await.unwrap();
    let trace = trace_of_stream(&stream);
    let mut received = String::new();
    while received.len() < 200 {
        received.push_str(&text_of(&[stream.event().await.unwrap().unwrap()]));
    }
    drop(stream);
    let row = gateway.settled(&trace).await;
    has(&row, json!({"outcome": "client_cancelled", "estimated": true}));
    let [input, output] = tokens(&row);
    assert_eq!(input, counted("hello there") + AROUND, "{row}");
    assert!(output >= counted(&received), "{row}");
}
