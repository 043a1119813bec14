//! The success path, refusals, and the endpoints beside the pipeline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::{Outcome, Profile, UsageSource};
use harness::{Behaviour, UsageMode};
use http::Method;
use serde_json::json;

use world::World;

use crate::bench::{Bench, CHAT, FailingDisk, OWN_KEYS, Setup, on_bench, on_core};

#[test]
fn a_buffered_answer_passes_with_its_headers_and_one_exact_record() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        let answer = bench.told(200, json!({})).await;
        let trace = answer.header("agent-trace-id").unwrap().to_owned();
        assert_eq!(answer.header("x-request-id"), Some(trace.as_str()));
        assert_eq!(answer.header("agent-execution-profile"), Some("byok"));
        assert_eq!(answer.header("agent-resolved-provider"), Some("openai"));
        assert_eq!(answer.header("agent-resolved-model"), Some("openai/gpt-4o-mini"));
        assert_eq!(answer.header("agent-execution-mode"), Some("live"));
        assert_eq!(answer.header("agent-fallback-used"), Some("false"));
        assert_eq!(answer.header("agent-attempts"), Some("1"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let credential = bench.workspace.credentials[0].id.to_string();
        assert_eq!(answer.header("agent-byok-credential-id"), Some(credential.as_str()));

        let record = bench.record().await;
        let sent = &bench.emulator.journal()[0];
        assert_eq!(record.trace.to_string(), trace);
        assert_eq!((record.outcome, record.usage.source), (Outcome::Completed, UsageSource::Provider));
        assert_eq!(record.usage.prompt_total(), sent.prompt_tokens);
        assert_eq!(record.usage.completion_total(), sent.said_tokens);
        assert_eq!(record.attempts.len(), 1);
        assert_eq!(record.attempts[0].upstream_request_id.as_deref(), Some(sent.request_id.as_str()));
        assert_eq!(record.bytes_out, answer.body.len() as u64);
        assert_eq!(record.profile(), Some(Profile::Byok));
        assert!(record.charge.provider_cost.0 > 0 && record.charge.cost.0 == 0, "{record:#?}");
        assert_eq!(bench.emulator.violations(), []);
        assert_eq!(sent.json()["model"], "gpt-4o-mini");
        let times = record.timeline;
        assert!(times.decoded_us <= times.admitted_us && times.admitted_us <= times.planned_us);
        assert!(times.planned_us <= times.intent_us && times.intent_us <= times.upstream_head_us);
        assert!(times.upstream_head_us <= times.first_byte_us && times.first_byte_us <= times.settled_us);
    });
}

/// The emulator counts its input: a few words are more than ten tokens, one word is not.
const TIERED: &str = r#"
[[model]]
name = "openai/gpt-4o-mini"
[[model.offer]]
provider = "openai"
upstream_model = "gpt-4o-mini"
rates = { input = 1_000_000, output = 0 }
long_prompt = { above_tokens = 30, rates = { input = 2_000_000, output = 0 } }
source = "a test"
checked = "2026-11-20"
"#;

#[test]
fn a_long_prompt_costs_what_its_seller_asks_for_it() {
    on_core(async {
        for (words, micros_per_token) in [("tide", 1), (&*"the tide ".repeat(60), 2)] {
            let bench = Bench::start(Setup { overlay: TIERED, ..Setup::own(&OWN_KEYS[..1]) }).await;
            bench.told(200, json!({"messages": [{"role": "user", "content": words}]})).await;
            let record = bench.record().await;
            let tokens = record.usage.prompt_total();
            assert_eq!(tokens > 30, micros_per_token == 2, "{tokens}");
            let cost = i64::try_from(tokens).unwrap() * 1_000 * micros_per_token;
            assert_eq!(record.charge.provider_cost.0, cost);
            assert_eq!(record.attempts[0].rates.unwrap().input.0, 1_000_000 * micros_per_token as u64);
        }
    });
}

#[test]
fn missing_usage_is_estimated_and_marked() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        bench.emulator.script_all([Behaviour::ok().usage(UsageMode::Missing)]);
        bench.told(200, json!({})).await;
        let usage = bench.record().await.usage;
        assert_eq!(usage.source, UsageSource::Estimate);
        assert!(usage.prompt_total() > 0 && usage.completion_total() > 0);
    });
}

#[test]
fn gzip_that_nobody_asked_for_is_undone() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        bench.emulator.script_all([Behaviour::ok().gzip()]);
        let answer = bench.told(200, json!({})).await;
        assert_eq!(answer.json()["object"], "chat.completion");
        assert!(answer.header("content-encoding").is_none());
    });
}

#[test]
fn a_stream_that_answers_a_buffered_request_is_put_together() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        bench.emulator.script_all([Behaviour::ok().wrong_form().usage(UsageMode::Unasked)]);
        let answer = bench.told(200, json!({})).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let body = answer.json();
        assert_eq!(body["object"], "chat.completion", "{body}");
        assert!(!body["choices"][0]["message"]["content"].as_str().unwrap().is_empty(), "{body}");
        assert_eq!(body["choices"][0]["finish_reason"], "stop", "{body}");
        let record = bench.record().await;
        let sent = &bench.emulator.journal()[0];
        assert_eq!((record.outcome, record.usage.source), (Outcome::Completed, UsageSource::Provider));
        assert_eq!(record.usage.completion_total(), sent.said_tokens);
        assert_eq!(body["usage"]["completion_tokens"], sent.said_tokens);
    });
}

#[test]
fn refusals_reach_no_upstream_and_say_how_to_mend_them() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        let wrong = bench.client.post(CHAT, &json!({"model": "openai/gpt-4o-mini"})).await.unwrap();
        assert_eq!(wrong.status, 400, "{}", wrong.text());
        assert!(wrong.header("agent-trace-id").is_some());
        bench.told(404, json!({"model": "nobody/knows-it"})).await;
        assert!(bench.emulator.journal().is_empty());
        // An admitted request is booked even without an attempt.
        let record = bench.record().await;
        assert_eq!((record.outcome, record.status), (Outcome::Failed, 404));
        assert!(record.attempts.is_empty());
        let counted = bench.core.counters.snapshot();
        assert!(counted.contains(&("answers", "4xx", 2)), "{counted:?}");
    });
}

#[test]
fn every_error_says_its_id_once_and_what_was_tried() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        let stranger = harness::client::Client::new(bench.origin.clone());
        let wrong = json!({"model": "openai/gpt-4o-mini"});
        let unknown = bench.chat(json!({"model": "nobody/knows-it"}));
        bench.emulator.script_all([Behaviour::status(401)]);
        let answers = [
            (401, None, stranger.post(CHAT, &unknown).await.unwrap()),
            (400, None, bench.client.post(CHAT, &wrong).await.unwrap()),
            (404, Some("0"), bench.client.post(CHAT, &unknown).await.unwrap()),
            (502, Some("1"), bench.ask(json!({})).await),
        ];
        for (status, attempts, answer) in &answers {
            let text = answer.text();
            assert_eq!((answer.status, answer.header("agent-attempts")), (*status, *attempts), "{text}");
            let trace = answer.header("agent-trace-id").unwrap();
            let ids: Vec<_> = answer.headers.get_all("x-request-id").iter().collect();
            assert_eq!(ids, [trace], "{status}");
            assert!(answer.text().contains(trace));
        }
        let [.., (.., tried)] = &answers;
        assert_eq!(tried.header("agent-execution-profile"), Some("byok"));
        assert_eq!(tried.header("agent-resolved-provider"), Some("openai"));
        assert_eq!(tried.header("agent-resolved-model"), Some("openai/gpt-4o-mini"));
        assert_eq!(tried.header("agent-fallback-used"), Some("false"));
        let credential = bench.workspace.credentials[0].id.to_string();
        assert_eq!(tried.header("agent-byok-credential-id"), Some(credential.as_str()));
    });
}

#[test]
fn models_are_listed_and_shown_by_every_name_that_would_be_served() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        let list = bench.client.get("/v1/models").await.unwrap();
        assert_eq!(list.status, 200);
        let models = list.json()["data"].as_array().unwrap().clone();
        let ids: Vec<_> = models.iter().map(|m| m["id"].clone()).collect();
        assert!(ids.contains(&json!("openai/gpt-4o-mini")), "{ids:?}");
        assert!(ids.is_sorted_by_key(|id| id.as_str().unwrap().to_owned()), "{ids:?}");
        let since = 1_700_000_000;
        assert!(models.iter().all(|m| m["created"].as_u64().unwrap() > since), "{}", list.text());
        assert_eq!(bench.client.get("/v1/models/nobody/knows-it").await.unwrap().status, 404);
        let catalogued = bench.client.get("/v1/models/openai/gpt-4o-mini").await.unwrap();
        assert_eq!(catalogued.status, 200);
        let catalogued = catalogued.json();
        let dated = "gpt-4o-mini-2024-07-18";
        for name in ["gpt-4o-mini", "openai:gpt-4o-mini", dated, "text-embedding-3-small"] {
            let answer = bench.client.get(&format!("/v1/models/{name}")).await.unwrap();
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
            let shown = answer.json();
            assert_eq!((&shown["id"], &shown["owned_by"]), (&json!(name), &json!("openai")));
            if name.contains("4o-mini") {
                assert_eq!(shown["created"], catalogued["created"], "{name}");
            }
        }
        // Programs that choose models read what the catalogue knows of one.
        let window = catalogued["context_length"].as_u64();
        assert!(window.is_some_and(|tokens| tokens >= 128_000), "{catalogued}");
        assert_eq!(catalogued["top_provider"]["context_length"].as_u64(), window);
        assert_eq!(catalogued["architecture"]["input_modalities"][0], "text");
        assert!(catalogued["pricing"]["prompt"].as_str().is_some_and(|usd| usd.starts_with("0.000000")));
        // What would be passed on because nothing is known of it, and what this key has no credential for.
        for name in ["a-typing-error", "claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"] {
            let answer = bench.client.get(&format!("/v1/models/{name}")).await.unwrap();
            let code = answer.json()["error"]["code"].clone();
            assert_eq!((answer.status, code), (404, json!("model_not_found")), "{name}");
        }
    });
}

#[test]
fn a_node_without_a_secret_is_sent_no_authorisation() {
    on_core(async {
        let node = Bench::start(Setup::own(&[])).await;
        let setup = Setup { node: Some(("local-model", node.emulator.base_url())), ..Setup::default() };
        let bench = Bench::start(setup).await;
        let answer = bench.ask(json!({"model": "local-model"})).await;
        // The emulator requires a key, so it refuses; only what it received matters.
        let sent = &node.emulator.journal()[0];
        assert_eq!(sent.header("authorization"), None);
        assert_eq!(answer.header("agent-resolved-provider"), Some("byoc"));
        assert_eq!(answer.header("agent-node-id"), Some(bench.workspace.nodes[0].id.to_string().as_str()));
        assert_eq!(bench.record().await.profile(), Some(Profile::Byoc));
    });
}

#[test]
fn an_unknown_key_is_refused_before_anything_is_booked() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        let headers = [("authorization", "Bearer tg_live_wrong"), ("content-type", "application/json")];
        let stranger = harness::client::Client::new(bench.origin.clone());
        let answer = stranger.call(Method::POST, CHAT, &headers, "{}").await.unwrap();
        assert_eq!(answer.status, 401);
        assert!(bench.records().await.is_empty());
    });
}

#[test]
fn verify_makes_the_cheapest_real_call_and_tells_a_refused_secret() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        let seat = plan::Seat::Byok(bench.workspace.credentials[0].clone());
        let target = line::VerifyTarget::of(seat, &bench.core.snapshot.current()).unwrap();
        let report = line::verify(&bench.core, target.clone()).await;
        assert!(report.is_well(), "{report:?}");
        assert!(report.models.unwrap().contains(&"gpt-4o-mini".to_owned()));
        bench.emulator.set_key(OWN_KEYS[0], harness::KeyState::Revoked);
        let report = line::verify(&bench.core, target).await;
        assert!(report.is_refused(), "{report:?}");
        assert!(bench.emulator.journal().iter().all(|sent| sent.method == "GET"));
        assert!(bench.records().await.is_empty(), "nothing was generated, nothing is metered");
    });
}

#[test]
fn what_can_not_be_booked_is_not_sent() {
    on_core(async {
        let fails = Arc::new(AtomicBool::new(false));
        let world = World { disk: Arc::new(FailingDisk { fails: fails.clone() }), ..World::system() };
        let bench = Bench::start_in(world, Setup::own(&OWN_KEYS[..1])).await;
        fails.store(true, Ordering::SeqCst);
        let answer = bench.told(503, json!({})).await;
        assert!(answer.text().contains("storage_full"), "{}", answer.text());
        assert!(answer.header("retry-after").is_some());
        assert!(bench.emulator.journal().is_empty());
    });
}

#[test]
fn a_node_may_say_that_its_counts_are_estimates_and_nobody_else() {
    on_core(async {
        let behaviour = Behaviour::ok().header("x-tidegate-usage", "estimated").always();
        let node = Bench::start(Setup::own(&[])).await;
        let address = Some(("gpt-4o-mini", node.emulator.base_url()));
        let setup = Setup { node: address, node_key: Some(OWN_KEYS[2]), ..Setup::own(&OWN_KEYS[..1]) };
        let bench = Bench::start(setup).await;
        node.emulator.script_all([behaviour.clone()]);
        bench.emulator.script_all([behaviour]);
        let mine = bench.ask(json!({"model": "gpt-4o-mini"})).await;
        let profile = mine.header("agent-execution-profile");
        assert_eq!((mine.status, profile), (200, Some("byoc")), "{}", mine.text());
        assert_eq!(bench.settled(1).await[0].usage.source, UsageSource::Estimate);
        let model = json!({"model": "openai:openai/gpt-4o-mini"});
        let theirs = bench.ask(model).await;
        assert_eq!((theirs.status, theirs.header("agent-execution-profile")), (200, Some("byok")));
        assert_eq!(bench.settled(2).await[1].usage.source, UsageSource::Provider);
    });
}
