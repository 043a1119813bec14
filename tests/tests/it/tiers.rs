//! Service tiers and provider-side tools: what they cost, and that an unpriced one is never sent on the
//! operator's account.

use harness::client::{Answer, Client};
use harness::{Behaviour, Entry};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, question, refused, trace_of, with};
use crate::gateway::{Gateway, OWN, POOL};

const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const CLAUDE: &str = "anthropic/claude-sonnet-4-6";
/// Catalogue prices: micro-USD per million input and output tokens, and per thousand searches.
const MINI_RATES: [i64; 2] = [150_000, 600_000];
const MINI_PRIORITY: [i64; 2] = [250_000, 1_000_000];
const SEARCHES: i64 = 10_000_000;

async fn credential(gateway: &Gateway, provider: &str, base_url: String) {
    let body = json!({"provider": provider, "secret": OWN, "base_url": base_url});
    gateway.make("/v2/provider-credentials", body).await;
}

async fn ask(client: &Client, path: &str, body: &Value) -> Answer {
    client.post(path, body).await.unwrap().must_be(200)
}

async fn row(gateway: &Gateway, answer: &Answer) -> Value {
    gateway.settled(&trace_of(answer)).await
}

/// The cost of a record's tokens at these rates, in nano-USD.
fn at(rates: [i64; 2], record: &Value) -> i64 {
    let count = |name: &str| record[name].as_i64().unwrap();
    (count("input_tokens") * rates[0] + count("output_tokens") * rates[1]) / 1_000
}

fn sent(gateway: &Gateway) -> Vec<Entry> {
    gateway.emulator.journal().into_iter().filter(|entry| entry.method == "POST").collect()
}

/// The booked tier, the provider's cost, and whether a part of it is unpriced.
fn cost(record: &Value) -> (Option<&str>, i64, bool) {
    let tier = record["service_tier"].as_str();
    (tier, record["provider_cost_nanos"].as_i64().unwrap(), record["unpriced"].as_bool().unwrap())
}

#[tokio::test]
async fn a_request_costs_what_the_tier_costs_that_its_answer_names() {
    let gateway = Gateway::with_own().await;
    let half = MINI_RATES.map(|rate| rate / 2);
    for stream in [false, true] {
        for (requested, answered, tier, rates) in [
            (None, "default", None, Some(MINI_RATES)),
            (Some("flex"), "flex", Some("flex"), Some(half)),
            (Some("priority"), "priority", Some("priority"), Some(MINI_PRIORITY)),
            // The request is billed at the tier that served it, not at the requested one.
            (Some("priority"), "default", None, Some(MINI_RATES)),
            // `auto` leaves the tier to the project's setting at the provider.
            (Some("auto"), "priority", Some("priority"), Some(MINI_PRIORITY)),
            (Some("scale"), "scale", Some("scale"), None),
            (None, "gold", Some("other"), None),
        ] {
            gateway.emulator.script(OWN, [Behaviour { tier: Some(answered.to_owned()), ..Behaviour::ok() }]);
            let body = with(question(MINI), json!({"stream": stream, "service_tier": requested}));
            let record = row(&gateway, &ask(&gateway.client(), CHAT, &body).await).await;
            let expected = (tier, rates.map_or(0, |rates| at(rates, &record)), rates.is_none());
            assert_eq!(cost(&record), expected, "{requested:?}, {answered}, {stream}: {record}");
            assert_eq!(record["attempts"][0]["service_tier"], record["service_tier"], "{record}");
        }
    }
    let body = json!({"model": MINI, "input": "hello", "service_tier": "flex"});
    let record = row(&gateway, &ask(&gateway.client(), RESPONSES, &body).await).await;
    assert_eq!(cost(&record), (Some("flex"), at(half, &record), false), "{record}");
    let summed = gateway.get("/v2/usage").await;
    assert_eq!(summed["data"][0]["unpriced_requests"], 4, "{summed}");
}

#[tokio::test]
async fn nothing_is_sent_on_a_pooled_account_at_a_tier_or_with_a_tool_that_has_no_price() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let tool = |tool: Value| json!({"tools": [tool]});
    let interpreter = json!({"type": "code_interpreter", "container": {"type": "auto"}});
    let (search, drawing) = ("web_search_preview", "image_generation");
    for (path, more, code, param, word) in [
        (CHAT, json!({"service_tier": "scale"}), "service_tier_unpriced", "service_tier", "scale"),
        (CHAT, json!({"service_tier": "fast"}), "service_tier_unpriced", "service_tier", "fast"),
        (CHAT, json!({"web_search_options": {}}), "hosted_tool_unpriced", "tools", search),
        (RESPONSES, json!({"service_tier": "scale"}), "service_tier_unpriced", "service_tier", "scale"),
        (RESPONSES, tool(interpreter), "hosted_tool_unpriced", "tools", "code_execution"),
        (RESPONSES, tool(json!({"type": drawing})), "hosted_tool_unpriced", "tools", drawing),
        (RESPONSES, tool(json!({"type": search})), "hosted_tool_unpriced", "tools", search),
    ] {
        let body = if path == CHAT { question(MINI) } else { json!({"model": MINI, "input": "hello"}) };
        let error = refused(&gateway.client().post(path, &with(body, more)).await.unwrap(), 400, code);
        assert!(error["param"] == param && error["message"].as_str().unwrap().contains(word), "{error}");
    }
    assert_eq!(sent(&gateway).len(), 0);
    // Priced tiers are served, and the workspace pays for them.
    for (requested, rates) in [("flex", MINI_RATES.map(|rate| rate / 2)), ("priority", MINI_PRIORITY)] {
        let body = with(question(MINI), json!({"service_tier": requested}));
        let record = row(&gateway, &ask(&gateway.client(), CHAT, &body).await).await;
        assert_eq!(cost(&record), (Some(requested), at(rates, &record), false), "{record}");
        assert_eq!(record["cost_nanos"], record["provider_cost_nanos"], "{record}");
    }
    gateway.emulator.script(POOL, [Behaviour { searches: Some(3), ..Behaviour::ok() }]);
    let body = json!({"model": MINI, "input": "hello", "tools": [{"type": "web_search"}]});
    let record = row(&gateway, &ask(&gateway.client(), RESPONSES, &body).await).await;
    assert_eq!(cost(&record), (None, at(MINI_RATES, &record) + 3 * SEARCHES, false), "{record}");
    assert_eq!(record["cost_nanos"], record["provider_cost_nanos"], "{record}");
    let receipt = record["attempts"][0]["receipt"].as_array().unwrap();
    let line = receipt.iter().find(|line| line["class"] == "web_searches").unwrap();
    has(line, json!({"units": 3, "nanos": 3 * SEARCHES}));
    // On its own credential the workspace may spend on any tier.
    gateway.credential("openai", OWN).await;
    let body = with(question(MINI), json!({"service_tier": "scale"}));
    let record = row(&gateway, &ask(&gateway.client(), CHAT, &body).await).await;
    assert_eq!((&record["mode"], cost(&record)), (&json!("byok"), (Some("scale"), 0, true)), "{record}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_budget_holds_the_tier_that_is_asked_for() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    // The budget covers an answer at the standard price, but not at the more expensive tier.
    let body = with(question(MINI), json!({"max_tokens": 1_000}));
    gateway.make("/v2/budgets", json!({"workspace": true, "period": "month", "limit_micros": 800})).await;
    let dear = with(body.clone(), json!({"service_tier": "priority"}));
    refused(&gateway.chat(&dear).await, 429, "quota_exceeded");
    ask(&gateway.client(), CHAT, &with(body, json!({"max_tokens": 1_000}))).await;
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn searches_of_messages_are_counted_and_priced() {
    let gateway = Gateway::start().await;
    credential(&gateway, "anthropic", gateway.emulator.anthropic_url()).await;
    let tool = json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 5});
    let body = json!({"model": CLAUDE, "max_tokens": 64, "tools": [tool], "messages": [{"role": "user", "content": "hello"}]});
    for stream in [false, true] {
        gateway.emulator.script(OWN, [Behaviour { searches: Some(2), ..Behaviour::ok() }]);
        let answer = ask(&gateway.client(), MESSAGES, &with(body.clone(), json!({"stream": stream}))).await;
        let record = row(&gateway, &answer).await;
        let expected = at([3_000_000, 15_000_000], &record) + 2 * SEARCHES;
        assert_eq!(cost(&record), (None, expected, false), "{record}");
        assert_eq!(record["units"]["web_searches"], 2, "{record}");
    }
    // Anthropic's priority capacity is prepaid, so it has no price per token.
    gateway.emulator.script(OWN, [Behaviour { tier: Some("priority".to_owned()), ..Behaviour::ok() }]);
    let plain = with(body, json!({"tools": null, "service_tier": "auto"}));
    let record = row(&gateway, &ask(&gateway.client(), MESSAGES, &plain).await).await;
    assert_eq!(cost(&record), (Some("priority"), 0, true), "{record}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_downgrade_that_a_header_tells_is_priced_as_one() {
    let gateway = Gateway::start().await;
    credential(&gateway, "gemini", gateway.emulator.origin()).await;
    let model = "google/gemini-2.5-flash";
    let path = format!("/v1beta/models/{model}:generateContent");
    let body = |tier: &str| json!({"contents": [{"parts": [{"text": "hello"}]}], "serviceTier": tier});
    let plain = row(&gateway, &ask(&gateway.client(), &path, &body("STANDARD")).await).await;
    let (none, standard, unpriced) = cost(&plain);
    assert!(none.is_none() && standard > 0 && !unpriced, "{plain}");
    let flex = row(&gateway, &ask(&gateway.client(), &path, &body("FLEX")).await).await;
    assert_eq!(cost(&flex).0, Some("flex"), "{flex}");
    let tokens = |record: &Value| (record["input_tokens"].clone(), record["output_tokens"].clone());
    assert_eq!((tokens(&flex), cost(&flex).1 * 2), (tokens(&plain), standard), "{flex}");
    let priority = row(&gateway, &ask(&gateway.client(), &path, &body("PRIORITY")).await).await;
    assert_eq!(cost(&priority), (Some("priority"), 0, true), "{priority}");
    gateway.emulator.script(OWN, [Behaviour::ok().header("x-gemini-service-tier", "standard")]);
    let downgraded = row(&gateway, &ask(&gateway.client(), &path, &body("PRIORITY")).await).await;
    assert_eq!((cost(&downgraded).0, cost(&downgraded).2), (None, false), "{downgraded}");
}

#[tokio::test]
async fn sound_in_a_chat_costs_its_own_price_or_is_unpriced() {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    let heard = Behaviour { audio_in: 1_000, audio_out: 5, ..Behaviour::ok().counted(1_100, 0, 8) };
    let ask_both = async |expected: (i64, bool)| {
        for stream in [false, true] {
            gateway.emulator.script(OWN, [heard.clone()]);
            let body = with(question(MINI), json!({"stream": stream}));
            let record = row(&gateway, &ask(&gateway.client(), CHAT, &body).await).await;
            let (_, nanos, unpriced) = cost(&record);
            assert_eq!((nanos, unpriced), expected, "{stream}: {record}");
            has(&record["units"], json!({"audio_input_tokens": 1_000, "audio_output_tokens": 5}));
            has(&record, json!({"input_tokens": 1_100, "output_tokens": 8}));
        }
    };
    // The catalogue has no price of its sound: it is at the price of text, and the record says so.
    ask_both(((1_100 * MINI_RATES[0] + 8 * MINI_RATES[1]) / 1_000, true)).await;
    let rates = json!({"input": MINI_RATES[0], "output": MINI_RATES[1], "audio_input": 32_000_000, "audio_output": 64_000_000});
    gateway.patch(&format!("/v2/provider-credentials/{credential}"), json!({"pricing": {MINI: rates}})).await;
    let text = 100 * MINI_RATES[0] + 3 * MINI_RATES[1];
    ask_both(((text + 1_000 * 32_000_000 + 5 * 64_000_000) / 1_000, false)).await;
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn sound_and_pictures_of_gemini_cost_their_own_price_or_are_unpriced() {
    let gateway = Gateway::start().await;
    credential(&gateway, "gemini", gateway.emulator.origin()).await;
    let model = "google/gemini-2.5-flash";
    let contents = json!({"contents": [{"parts": [{"text": "hello"}]}]});
    let counted = || Behaviour::ok().counted(1_100, 100, 40);
    let cached = Behaviour { audio_in: 900, cached_audio: 100, ..counted() };
    // Of the cached tokens none is sound in the first, and all are in the last.
    for (scripted, audio_in, nanos, unpriced) in [
        (Behaviour { audio_in: 900, ..counted() }, 900, 100 * 300 + 100 * 30 + 900 * 1_000, false),
        (cached, 800, 200 * 300 + 100 * 30 + 800 * 1_000, false),
        (Behaviour { image_out: 9, ..counted() }, 0, 1_000 * 300 + 100 * 30, true),
    ] {
        for verb in ["generateContent", "streamGenerateContent?alt=sse"] {
            gateway.emulator.script(OWN, [scripted.clone()]);
            let answer = ask(&gateway.client(), &format!("/v1beta/models/{model}:{verb}"), &contents).await;
            let record = row(&gateway, &answer).await;
            assert_eq!(cost(&record), (None, nanos + 40 * 2_500, unpriced), "{verb}: {record}");
            assert_eq!(record["units"]["audio_input_tokens"].as_i64().unwrap(), audio_in, "{record}");
            assert_eq!(record["units"]["image_output_tokens"], scripted.image_out, "{record}");
        }
    }
    // Through a translation, the client is told, too.
    gateway.emulator.script(OWN, [Behaviour { audio_in: 900, ..counted() }]);
    let told = ask(&gateway.client(), CHAT, &question(model)).await.json();
    assert_eq!(told["usage"]["prompt_tokens_details"]["audio_tokens"], 900, "{told}");
}
