//! Model names as production code pins them: dated, family or vendor-only names, sent to the vendor
//! unchanged; and plans for models of every modality.

use harness::client::{Answer, Client};
use harness::{ClaudeModel, Flavour, Model};
use serde_json::{Value, json};

use crate::ask::{MINI, problem, question, refused, trace_of, with};
use crate::gateway::{Gateway, LOCAL_MODEL, NODE, OWN, OWN_SECOND, POOL, config, row};

/// OpenAI's names, and whether a price is known.
const OF_CHAT: [(&str, bool); 8] = [
    ("gpt-4o-2024-08-06", true),
    ("gpt-4o-mini-2024-07-18", true),
    ("openai/gpt-4o-2024-08-06", true),
    ("ft:gpt-4o-mini-2024-07-18:acme::id", true),
    ("gpt-5-codex", false),
    ("gpt-5.1-codex", false),
    ("o3-deep-research", false),
    ("brand-new", false),
];
const OF_MESSAGES: [(&str, bool); 5] = [
    ("claude-haiku-4-5-20251001", true),
    ("claude-sonnet-4-5-20250929", true),
    ("claude-opus-4-5-20251101", true),
    ("claude-sonnet-4-20250514", false),
    ("brand-new", false),
];

fn bare(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, bare)| bare)
}

async fn gateway() -> Gateway {
    let chat = OF_CHAT.iter().fold(config(), |config, (name, _)| config.model(Model::chat(bare(name))));
    let both =
        OF_MESSAGES.iter().fold(chat, |config, (name, _)| config.claude_model(ClaudeModel::new(*name)));
    let gateway = Gateway::with(both.model(Model::chat("grok-4")), &[]).await;
    gateway.credential("openai", OWN).await;
    let xai = json!({"base_url": gateway.emulator.base_url_of(Flavour::Xai)});
    gateway.credential_with("xai", OWN_SECOND, xai).await;
    gateway.credential_with("anthropic", OWN, json!({"base_url": gateway.emulator.anthropic_url()})).await;
    gateway
}

/// Checks that the vendor served this name, and that it is booked with a price if one is known.
async fn served(gateway: &Gateway, answer: &Answer, name: &str, provider: &str, is_priced: bool) {
    assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    assert_eq!(answer.header("agent-resolved-provider"), Some(provider), "{name}");
    assert_eq!(gateway.emulator.journal().pop().unwrap().model.as_deref(), Some(bare(name)), "{name}");
    let record = gateway.settled(&trace_of(answer)).await;
    assert_eq!(record["unpriced"], !is_priced, "{name}: {record}");
}

#[tokio::test]
async fn names_as_vendors_have_them_are_served_by_their_vendors() {
    let gateway = gateway().await;
    for (name, is_priced) in OF_CHAT {
        served(&gateway, &gateway.chat_ok(&question(name)).await, name, "openai", is_priced).await;
    }
    served(&gateway, &gateway.chat_ok(&question("grok-4")).await, "grok-4", "xai", false).await;
    for (name, is_priced) in OF_MESSAGES {
        let request = with(question(name), json!({"max_tokens": 16}));
        let answer = gateway.client().post("/v1/messages", &request).await.unwrap();
        served(&gateway, &answer, name, "anthropic", is_priced).await;
    }
    // The price equals that of the undated name, also through chat.
    let dated = gateway.plan(json!({"model": "claude-haiku-4-5-20251001"})).await;
    let undated = gateway.plan(json!({"model": "claude-haiku-4-5"})).await;
    assert_eq!(dated["chosen"]["pricing"], undated["chosen"]["pricing"]);
    assert_eq!(dated["chosen"]["upstream_model"], "claude-haiku-4-5-20251001");
    assert_eq!(dated["resolution"], "release", "{dated}");
    let haiku = "claude-haiku-4-5-20251001";
    served(&gateway, &gateway.chat_ok(&question(haiku)).await, haiku, "anthropic", true).await;
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_name_of_nobody_is_refused_where_its_vendor_is_not() {
    let gateway = Gateway::start().await;
    gateway.node("rack", &[LOCAL_MODEL]).await;
    refused(&gateway.chat(&question("brand-new")).await, 404, "model_not_found");
    let error = refused(&gateway.chat(&question("grok-4")).await, 404, "model_not_served");
    assert!(error["message"].as_str().unwrap().contains("tidegate credential add xai"), "{error}");
    // A customer's fine-tuned model is never served by the pool.
    gateway.account("openai", POOL).await;
    refused(&gateway.chat(&question("ft:gpt-4o-mini:acme::id")).await, 404, "model_not_served");
    assert_eq!(gateway.calls(POOL).len() + gateway.calls(NODE).len(), 0, "nothing was sent");
}

/// A route's model matches exactly; a trailing `*` or `/` makes it a pattern, in the API, the command line
/// and the document.
#[cfg(feature = "control")]
#[tokio::test]
async fn a_routes_model_is_exact_unless_it_says_otherwise() {
    let gateway = Gateway::with_own().await;
    gateway.account("openai", POOL).await;
    let profile = async |model: &str| {
        gateway.plan(json!({"model": model})).await["chosen"]["profile"].as_str().unwrap().to_owned()
    };
    let cli = gateway.cli();
    let output = cli.run(&["route", "add", "--model", "openai/gpt-4o", "--profile", "managed_provider"]).ok();
    assert!(!output.contains("covers"), "{output}");
    assert_eq!(profile("openai/gpt-4o").await, "managed_provider");
    assert_eq!(profile("gpt-4o-2024-08-06").await, "managed_provider", "a release of the model");
    assert_eq!(profile(MINI).await, "byok");
    let output = cli.run(&["route", "add", "--model", "gpt-4o*", "--profile", "managed_provider"]).ok();
    assert!(output.contains("gpt-4o* covers ") && output.contains("openai/gpt-4o-mini"), "{output}");
    assert_eq!(profile(MINI).await, "managed_provider");
    assert_eq!(profile("openai/gpt-4.1").await, "byok");
    let kept = gateway.get("/v2/routes").await;
    let models = kept["data"].as_array().unwrap().iter().map(|route| &route["scope"]["model"]);
    assert_eq!(models.collect::<Vec<_>>(), ["openai/gpt-4o", "gpt-4o*"]);
    let document = cli.run(&["export"]).ok();
    assert!(document.contains("\"openai/gpt-4o\"") && document.contains("\"gpt-4o*\""), "{document}");
    // Two spellings of one pattern are the same scope; an exact name is another.
    let post = async |model: &str| {
        gateway.admin().post("/v2/routes", &json!({"scope": {"model": model}})).await.unwrap()
    };
    problem(&post("gpt-4o**").await, 409, "route_scope_taken");
    gateway.route(json!({"scope": {"model": "gpt-4o"}})).await;
    // What would be read as a name is refused, and what nothing known here is called is taken, and said.
    assert_eq!(problem(&post("openai/*-mini").await, 400, "invalid_value")["param"], "scope.model");
    let of = |model: &str| json!({"scope": {"model": model, "environment": "staging"}});
    for known in ["openai/", "gpt-4.1", "openai/gpt-4o-2024-08-06", "openai/gpt-4*"] {
        let made = gateway.make("/v2/routes", of(known)).await;
        assert_eq!(made.get("warning"), None, "{made}");
    }
    for unknown in ["openai/gpt-9-ultra", "gpt-9*"] {
        let made = gateway.make("/v2/routes", of(unknown)).await;
        assert!(made["warning"].as_str().is_some_and(|text| text.contains(unknown)), "{made}");
    }
    let alias = |model: &str| json!({"name": format!("a{}", model.len()), "targets": [{"model": model}]});
    let made = gateway.make("/v2/model-aliases", alias("openai/gpt-nope")).await;
    assert!(made["warning"].is_string(), "{made}");
    let made = gateway.make("/v2/model-aliases", alias(MINI)).await;
    assert_eq!(made.get("warning"), None, "{made}");
    let sold_by = json!({"scope": {"environment": "development"}, "providers": ["openai", "opneai"]});
    let made = gateway.make("/v2/routes", sold_by).await;
    assert!(made["warning"].as_str().is_some_and(|text| text.contains("opneai")), "{made}");
    // The audit says it in words.
    let all = json!({"workspace": true, "limit_micros": 25_000_000, "name": "all"});
    gateway.make("/v2/budgets", all).await;
    let audit = gateway.get("/v2/audit?limit=100").await;
    let newest = |action: &str| &row(&audit["data"], "action", action)["detail"];
    assert_eq!(newest("route.create"), "for environment development", "{audit}");
    assert_eq!(newest("budget.create"), "\"all\": $25.00 a month, then pause", "{audit}");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_plan_is_for_what_the_model_does_and_takes_nothing_that_it_does_not_read() {
    let gateway = Gateway::with_own().await;
    for (model, modality) in [
        (MINI, "chat"),
        ("text-embedding-3-small", "embedding"),
        ("gpt-image-1-mini", "image"),
        ("whisper-1", "audio"),
        ("omni-moderation-latest", "moderation"),
        ("gpt-realtime-2", "realtime"),
    ] {
        for body in [json!({"model": model}), json!({"model": model, "modality": modality})] {
            let plan = gateway.plan(body).await;
            assert_eq!((&plan["modality"], &plan["error"]), (&json!(modality), &Value::Null), "{plan}");
            assert_eq!(plan["chosen"]["profile"], "byok", "{plan}");
        }
    }
    let plan = gateway.plan(json!({"model": MINI, "modality": "image"})).await;
    assert_eq!(plan["error"]["code"], "model_modality", "{plan}");
    for (body, param) in [
        (json!({"model": MINI, "modality": "smell"}), "modality"),
        (json!({"model": MINI, "dialect": "smoke"}), "dialect"),
        (json!({"model": MINI, "messages": []}), "messages"),
    ] {
        let answer = gateway.admin().post("/v2/plan", &body).await.unwrap().must_be(400);
        assert!(answer.text().contains(param), "{}", answer.text());
    }
    let output = gateway.cli().run(&["plan", "gpt-image-1-mini", "--modality", "image"]).ok();
    assert!(output.contains("for       image") && output.contains("would serve"), "{output}");
    // Images go to one principal, texts to another: each plan names the route that decided.
    let other = gateway.account("openai", POOL).await;
    let images = json!({"scope": {"modality": "image"}, "profiles": ["managed_provider"]});
    let route = gateway.route(images).await;
    let plan = gateway.plan(json!({"model": "gpt-image-1-mini"})).await;
    let seen = (&plan["chosen"]["principal"], &plan["route"]["id"]);
    assert_eq!(seen, (&json!(other), &json!(route)), "{plan}");
    assert_eq!(gateway.plan(json!({"model": MINI})).await["chosen"]["profile"], "byok");
}

/// Tidegate headers without an effect here are reported as dropped; one that the answer depends on is
/// refused.
#[cfg(feature = "control")]
#[tokio::test]
async fn headers_that_are_not_honoured_are_refused_or_named() {
    let gateway = Gateway::with_own().await;
    let send = async |headers: &[(&str, &str)]| {
        let with = |client: Client, (name, value): &(&str, &str)| client.header(*name, *value);
        let client = headers.iter().fold(gateway.client(), with);
        client.post(crate::ask::CHAT, &question(MINI)).await.unwrap()
    };
    for quiet in [&[][..], &[("agent-trace-mode", "metadata")]] {
        let answer = send(quiet).await;
        assert_eq!((answer.status, answer.header("agent-dropped-params")), (200, None), "{}", answer.text());
    }
    let (reference, mode) = (("agent-hints-ref", "ah_1"), ("agent-trace-mode", "tokenized"));
    for (header, code, param) in [
        (reference, "unknown_hints", "Agent-Hints-Ref"),
        (mode, "unsupported_header", "Agent-Trace-Mode"),
        (("agent-trace-mode", "full"), "unsupported_header", "Agent-Trace-Mode"),
    ] {
        assert_eq!(refused(&send(&[header]).await, 400, code)["param"], param);
    }
    let answer = send(&[reference, mode, ("agent-lenient", "true")]).await;
    let seen = answer.header("agent-dropped-params");
    assert_eq!(seen, Some("Agent-Trace-Mode, Agent-Hints-Ref"), "{}", answer.text());
}
