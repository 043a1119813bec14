//! One body and three profiles, with only the configuration changed; the books agree with the emulator's own
//! count.

use harness::client::Answer;
use harness::emulator::Tally;
use harness::{At, Behaviour};
use serde_json::{Value, json};

use crate::ask::{
    CHAT, MINI, has, question, said, shape, streaming, streaming_usage, trace_of, trace_of_stream,
};
use crate::gateway::{Gateway, NODE, OWN, OWN_SECOND, POOL, config, row, sums};
use crate::replays::{GATES, put};

const MARKUP_BPS: u64 = 1_000;

/// gpt-4o-mini in the price book: 150 and 600 nano-USD per token.
fn price_nanos(tally: &Tally) -> u64 {
    (tally.prompt_tokens - tally.cached_tokens) * 150
        + tally.cached_tokens * 75
        + tally.completion_tokens * 600
}

/// Sends the same request buffered, streamed, and streamed with usage; returns the answers' shapes.
async fn ask_thrice(gateway: &Gateway, profile: &str, provider: &str) -> (Value, Vec<Vec<Value>>) {
    let whole = gateway.chat_ok(&question(MINI)).await;
    let mut streams = Vec::new();
    for body in [streaming(MINI), streaming_usage(MINI)] {
        let answer = gateway.chat_ok(&body).await;
        served_by(&answer, profile, provider);
        assert_eq!(said(&answer), "You said: hello there");
        let kind = answer.header("content-type").map(|kind| kind.split(';').next().unwrap());
        assert_eq!(kind, Some("text/event-stream"));
        let events = harness::sse::events(&answer.body);
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
        let chunks = events.iter().filter_map(|event| serde_json::from_str(event).ok());
        streams.push(chunks.map(|chunk: Value| shape(&chunk)).collect());
    }
    served_by(&whole, profile, provider);
    assert_eq!(said(&whole), "You said: hello there");
    let request = gateway.settled(&trace_of(&whole)).await;
    has(&request, json!({"profile": profile, "provider": provider, "outcome": "completed", "status": 200}));
    (shape(&whole.json()), streams)
}

fn served_by(answer: &Answer, profile: &str, provider: &str) {
    let expected = [
        ("agent-execution-profile", profile),
        ("agent-resolved-provider", provider),
        ("agent-resolved-model", MINI),
        ("agent-execution-mode", "live"),
        ("agent-fallback-used", "false"),
        ("agent-attempts", "1"),
    ];
    for (name, value) in expected {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(answer.header("agent-byok-credential-id").is_some(), profile == "byok");
    assert_eq!(answer.header("agent-node-id").is_some(), profile == "byoc");
}

/// A node that is sent at once what accounts served before: without a report, since that is not what is tried here.
async fn node(gateway: &Gateway) -> String {
    put(&gateway.admin(), GATES, &json!({"byoc_activation": "open"})).await.must_be(200);
    gateway.node("rack", &[MINI]).await
}

#[tokio::test]
async fn the_same_request_through_three_modes() {
    let gateway = Gateway::start().await;
    let account = json!({"provider": "openai", "secret": POOL, "base_url": gateway.emulator.base_url(), "markup_bps": MARKUP_BPS});
    gateway.make("/v2/accounts", account).await;
    let managed = ask_thrice(&gateway, "managed_provider", "openai").await;

    let node = node(&gateway).await;
    let byoc = ask_thrice(&gateway, "byoc", "byoc").await;

    let credential = gateway.credential("openai", OWN).await;
    assert_eq!(managed, ask_thrice(&gateway, "byok", "openai").await);
    assert_eq!(managed, byoc);

    // The next request follows a new route; then the serving principals are disabled one by one, and the next
    // in order serves.
    let route = gateway.route(json!({"scope": {"model": MINI}, "profiles": ["managed_provider"]})).await;
    served_by(&gateway.chat_ok(&question(MINI)).await, "managed_provider", "openai");
    gateway.remove(&format!("/v2/routes/{route}")).await;
    gateway.patch(&format!("/v2/provider-credentials/{credential}"), json!({"status": "disabled"})).await;
    served_by(&gateway.chat_ok(&question(MINI)).await, "byoc", "byoc");
    gateway.patch(&format!("/v2/byoc/nodes/{node}"), json!({"status": "draining"})).await;
    served_by(&gateway.chat_ok(&question(MINI)).await, "managed_provider", "openai");

    books_agree(&gateway).await;
    assert_eq!(gateway.emulator.violations(), []);
}

/// Compares every figure of the billing snapshot and of usage with the emulator's count for each key.
async fn books_agree(gateway: &Gateway) {
    let totals = gateway.emulator.totals();
    gateway.wait_for_usage(totals.by_key.values().map(|tally| tally.calls).sum()).await;
    let snapshot = gateway.get("/v2/billing/snapshot").await;
    let usage = gateway.get("/v2/usage?window=month&group_by=mode").await;
    let modes = &snapshot["mtd"]["by_mode"];
    assert_eq!(modes.as_array().unwrap().len(), 3, "{snapshot}");
    for (mode, key) in [("mi", POOL), ("byok", OWN), ("byoc", NODE)] {
        let tally = &totals.by_key[key];
        let nanos = if mode == "byoc" { 0 } else { price_nanos(tally) };
        let owed = if mode == "mi" { nanos * (10_000 + MARKUP_BPS) / 10_000 } else { 0 };
        for found in [row(modes, "mode", mode), row(&usage["data"], "mode", mode)] {
            has(found, json!({"mode": mode, "requests": tally.calls, "cached_tokens": tally.cached_tokens}));
            has(
                found,
                json!({"input_tokens": tally.prompt_tokens, "output_tokens": tally.completion_tokens}),
            );
            close(&found["provider_cost_micros"], nanos);
            close(&found["cost_micros"], owed);
        }
    }
    has(&snapshot, json!({"unmetered_event_count": 0, "unpriced_event_count": 0}));
}

/// Micros are rounded from nanos once, half to even.
fn close(micros: &Value, nanos: u64) {
    let micros = micros.as_u64().unwrap();
    assert!((micros * 1_000).abs_diff(nanos) <= 500, "{micros} micros for {nanos} nanos");
}

/// What is told of a request in every profile alike: its figures and outcome, exactly, and the form of all the rest.
fn told(record: &Value) -> (Value, Value) {
    let names = "outcome status error_code input_tokens output_tokens cached_tokens estimated unpriced \
         stream operation dialect resolved_model fallback_used";
    // What no provider counted is estimated by what is known of the model there.
    let is_told = |name: &&str| record["estimated"] == false || !name.ends_with("put_tokens");
    let figures = names.split(' ').filter(is_told).map(|name| (name.to_owned(), record[name].clone()));
    let figures = figures.collect();
    let mut form = record.clone();
    // Who else might have served differs by what there is, and a node has no prices.
    form.as_object_mut().unwrap().remove("plan");
    // And so does who saw it, which lists don't tell.
    form.as_object_mut().unwrap().remove("data_path");
    for attempt in form["attempts"].as_array_mut().into_iter().flatten() {
        attempt.as_object_mut().unwrap().remove("receipt");
    }
    (Value::Object(figures), shape(&form))
}

/// The state, diagnostics and billing of one profile: whole, streamed and refused requests, as their records, their
/// rows and the sums tell them.
async fn suite(gateway: &Gateway, profile: &str, key: &str) -> Vec<Value> {
    let (mut seen, mut tokens) = (Vec::new(), [0, 0]);
    let before = gateway.get("/v2/usage?window=month").await;
    for (behaviour, body) in [
        (None, question(MINI)),
        (None, streaming(MINI)),
        (None, streaming_usage(MINI)),
        (Some(Behaviour::status(400)), question(MINI)),
        (Some(Behaviour::ok().chunks(20).cut(At::Middle)), streaming_usage(MINI)),
    ] {
        gateway.emulator.script(key, behaviour);
        let mut stream = gateway.client().stream(CHAT, &body).await.unwrap();
        assert_eq!(stream.header("agent-execution-profile"), Some(profile), "{body}");
        let (trace, status) = (trace_of_stream(&stream), stream.status);
        // One of them breaks off.
        drop(stream.rest().await);
        let record = gateway.settled(&trace).await;
        has(&record, json!({"profile": profile, "status": status}));
        let (figures, form) = told(&record);
        let list = gateway.get("/v2/records?limit=100").await;
        let whole = row(&list["data"], "id", &trace);
        for (sum, name) in tokens.iter_mut().zip(["input_tokens", "output_tokens"]) {
            assert_eq!(whole[name], record[name], "{whole}");
            *sum += record[name].as_u64().unwrap();
        }
        seen.extend([figures, form, told(whole).1]);
    }
    let after = gateway.get("/v2/usage?window=month").await;
    let count = |name: &str| {
        let of = |usage: &Value| sums(usage)[name].as_u64().unwrap_or_default();
        of(&after) - of(&before)
    };
    assert_eq!([count("requests"), count("input_tokens"), count("output_tokens")], [5, tokens[0], tokens[1]]);
    seen.push(json!(count("cached_tokens")));
    let usage = gateway.get("/v2/usage?window=month&group_by=profile").await;
    let of = row(&usage["data"], "profile", profile);
    assert_eq!(of["requests"], json!(5), "{usage}");
    seen.push(shape(of));
    seen
}

#[tokio::test]
async fn each_profile_tells_and_books_the_same_request_alike() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_SUBSCRIPTIONS", "1")]).await;
    gateway.account("openai", POOL).await;
    let managed = suite(&gateway, "managed_provider", POOL).await;
    node(&gateway).await;
    let byoc = suite(&gateway, "byoc", NODE).await;
    gateway.credential("openai", OWN).await;
    let byok = suite(&gateway, "byok", OWN).await;
    let body = json!({"provider": "codex", "token": OWN_SECOND, "base_url": gateway.emulator.base_url()});
    gateway.make("/v2/subscription-credentials", body).await;
    let subscription = suite(&gateway, "subscription", OWN_SECOND).await;
    for (profile, other) in [("byoc", byoc), ("byok", byok), ("subscription", subscription)] {
        for (mine, theirs) in managed.iter().zip(&other) {
            assert_eq!(mine, theirs, "managed and {profile}");
        }
        assert_eq!(managed.len(), other.len(), "{profile}");
    }
    assert_eq!(gateway.emulator.violations(), []);
}
