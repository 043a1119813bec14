//! One body and three profiles, with only the configuration changed; the books agree with the emulator's own
//! count.

use harness::client::Answer;
use harness::emulator::Tally;
use serde_json::{Value, json};

use crate::ask::{MINI, question, said, shape, streaming, streaming_usage, trace_of};
use crate::gateway::{Gateway, NODE, OWN, POOL, row};

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
        assert_eq!(
            answer.header("content-type").map(|kind| kind.split(';').next().unwrap()),
            Some("text/event-stream")
        );
        let events = harness::sse::events(&answer.body);
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
        let chunks = events.iter().filter_map(|event| serde_json::from_str(event).ok());
        streams.push(chunks.map(|chunk: Value| shape(&chunk)).collect());
    }
    served_by(&whole, profile, provider);
    assert_eq!(said(&whole), "You said: hello there");
    let request = gateway.settled(&trace_of(&whole)).await;
    assert_eq!((&request["profile"], &request["provider"]), (&json!(profile), &json!(provider)), "{request}");
    assert_eq!((&request["outcome"], &request["status"]), (&json!("completed"), &json!(200)), "{request}");
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

#[tokio::test]
async fn the_same_request_through_three_modes() {
    let gateway = Gateway::start().await;
    let account = json!({"provider": "openai", "secret": POOL, "base_url": gateway.emulator.base_url(), "markup_bps": MARKUP_BPS});
    gateway.make("/v2/accounts", account).await;
    let managed = ask_thrice(&gateway, "managed_provider", "openai").await;

    let node = gateway.node("rack", &[MINI]).await;
    let byoc = ask_thrice(&gateway, "byoc", "byoc").await;

    let credential = gateway.credential("openai", OWN).await;
    let byok = ask_thrice(&gateway, "byok", "openai").await;
    assert_eq!(managed, byok);
    assert_eq!(managed, byoc);

    // The next request follows a new route; then the serving principals are disabled one by one, and the next
    // in order serves.
    let route = gateway.route(json!({"scope": {"model": MINI}, "profiles": ["managed_provider"]})).await;
    let answer = gateway.chat_ok(&question(MINI)).await;
    served_by(&answer, "managed_provider", "openai");
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
            assert_eq!(found["requests"], tally.calls, "{mode}: {found}");
            assert_eq!(found["input_tokens"], tally.prompt_tokens, "{mode}: {found}");
            assert_eq!(found["output_tokens"], tally.completion_tokens, "{mode}: {found}");
            assert_eq!(found["cached_tokens"], tally.cached_tokens, "{mode}: {found}");
            close(&found["provider_cost_micros"], nanos);
            close(&found["cost_micros"], owed);
        }
    }
    assert_eq!(snapshot["unmetered_event_count"], 0);
    assert_eq!(snapshot["unpriced_event_count"], 0);
}

/// Micros are rounded from nanos once, half to even.
fn close(micros: &Value, nanos: u64) {
    let micros = micros.as_u64().unwrap();
    assert!((micros * 1_000).abs_diff(nanos) <= 500, "{micros} micros for {nanos} nanos");
}
