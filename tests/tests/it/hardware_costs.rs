//! What own hardware costs: a stated cost, what nodes count of their hours and energy, and what providers would charge for the
//! same tokens. None of it is owed to anybody.

use std::fs;
use std::path::Path;

use domain::TraceId;
use harness::client::Client;
use harness::process::{Launch, free_address, tidegate};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{has, question, says, with};
use crate::command::Cli;
use crate::gateway::{Gateway, LOCAL_MODEL, config, row};
use crate::wait::{found, until};

const HOUR_MS: u64 = 3_600_000;
const COSTS: &str = "/v2/byoc/costs";

/// A cost of 1.20 USD for an hour.
fn hourly() -> Value {
    json!({"kind": "cloud", "nano_usd_per_hour": 1_200_000_000_u64})
}

async fn beat(node: &Client, counters: Value) {
    let beat = json!({"models": ["m"], "version": "1", "runtime": "engine", "counters": counters});
    node.post("/v2/byoc/nodes/heartbeat", &beat).await.unwrap().must_be(200);
}

fn now_ms() -> u64 {
    u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis())
        .unwrap()
}

/// A record of two million tokens in and one million out.
fn record(number: u8, model: &str, adapter: Option<&str>, took_ms: u64) -> Value {
    json!({
        "event_id": TraceId::new(now_ms(), [number; 10]).to_string(), "request_id": null, "model": model, "adapter": adapter,
        "operation": "chat", "end": "whole", "begun_unix_ms": now_ms(), "took_ms": took_ms, "input_tokens": 2_000_000,
        "cached_tokens": 0, "output_tokens": 1_000_000, "reasoning_tokens": 0, "is_measured": true,
    })
}

async fn report(node: &Client, records: &[Value]) -> Value {
    let records = json!({"records": records});
    node.post("/v2/byoc/nodes/records", &records).await.unwrap().must_be(200).json()["kept"].clone()
}

/// A model of the catalogue that several providers sell by the token.
async fn sold_model(gateway: &Gateway) -> Value {
    let book = gateway.get("/v2/price-books").await;
    let models = book["data"].as_array().unwrap();
    let is_priced =
        |offer: &&Value| offer["price"]["output_micros_per_million"].as_u64().is_some_and(|price| price > 0);
    let sold = models.iter().find(|model| {
        let offers = model["offers"].as_array().unwrap();
        model["modality"] == "chat"
            && offers.len() > 1
            && offers.iter().filter(is_priced).count() == offers.len()
    });
    sold.unwrap_or_else(|| panic!("no model has two prices: {}", models[0])).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_costs_its_hours_and_its_tokens_stand_beside_providers_prices() {
    let gateway = Gateway::start().await;
    let model = sold_model(&gateway).await;
    let name = model["model"].as_str().unwrap();
    let (id, node) = gateway.played("rack", &gateway.emulator.base_url()).await;
    let free = gateway.get(COSTS).await;
    has(&free["total"], json!({"hardware_cost_micros": null}));
    has(&free["nodes"][0], json!({"cost": null}));

    gateway.patch(&format!("/v2/byoc/nodes/{id}"), json!({"cost": hourly()})).await;
    // It was up for an hour, a quarter of it busy, and took 200 Wh.
    let since = now_ms() - HOUR_MS;
    let counters = |up_ms: u64| json!({"since_unix_ms": since, "up_ms": up_ms, "busy_ms": up_ms / 4, "energy_mj": up_ms * 200});
    beat(&node, counters(HOUR_MS)).await;
    // The same counters again add nothing, nor does a second copy of a record.
    beat(&node, counters(HOUR_MS)).await;
    let records = [record(1, name, None, 3_000), record(2, name, Some("law"), 1_000)];
    assert_eq!(report(&node, &records).await, 2);
    assert_eq!(report(&node, &records).await, 0);

    let by_adapter = gateway.get("/v2/usage?group_by=adapter").await;
    has(row(&by_adapter["data"], "adapter", "law"), json!({"requests": 1, "output_tokens": 1_000_000}));

    let costs = gateway.get(COSTS).await;
    let shown = &costs["nodes"][0];
    assert_eq!(shown["hours_up"], 1.0, "{shown}");
    has(shown, json!({"utilisation": 0.25, "energy_wh": 200.0, "wh_per_million_tokens": 200.0 / 6.0}));
    // 1.20 USD for six million tokens.
    has(shown, json!({"hardware_cost_micros": 1_200_000, "micros_per_million_tokens": 200_000}));
    has(shown, json!({"requests": 2, "input_tokens": 4_000_000, "output_tokens": 2_000_000}));
    has(shown, json!({"tokens_per_busy_day": 6_000_000 * 24 * 4}));
    // Three quarters of the time were the plain model's.
    let models = shown["models"].as_array().unwrap();
    let share = |model: &Value| json!([model["adapter"], model["hardware_cost_micros"]]);
    assert!(models.iter().map(share).eq([json!([null, 900_000]), json!(["law", 300_000])]), "{shown}");
    assert_eq!(costs["models"], shown["models"], "one node is the fleet");

    stand_beside(&model, models, shown);
    let one = gateway.get(&format!("/v2/byoc/nodes/{id}/costs?window=24h")).await;
    has(&one["nodes"][0], json!({"hardware_cost_micros": 1_200_000}));

    owed_nothing(&gateway, &id).await;
}

/// Every provider of the model is listed with what it would have charged for each prompt of two million tokens.
fn stand_beside(model: &Value, models: &[Value], shown: &Value) {
    let providers = models[0]["providers"].as_array().unwrap();
    let offers = model["offers"].as_array().unwrap();
    assert_eq!(providers.len(), offers.len());
    for provider in providers {
        let offer = row(&model["offers"], "provider", provider["provider"].as_str().unwrap());
        let long = &offer["long_prompt"]["price"];
        let price =
            |field: &str| if long.is_null() { &offer["price"] } else { long }[field].as_u64().unwrap();
        let would = 2 * price("input_micros_per_million") + price("output_micros_per_million");
        assert_eq!(provider["would_cost_micros"], would, "{provider} at {offer}");
        let even = provider["break_even_tokens_per_day"].as_u64().unwrap() as f64;
        let day = shown["tokens_per_day"].as_u64().unwrap() as f64 / 2.0 * 900_000.0 / would as f64;
        assert!((even / day - 1.0).abs() < 0.001, "{even} and {day}");
    }
    let would_cost = |provider: &Value| provider["would_cost_micros"].as_u64();
    assert!(providers.is_sorted_by_key(would_cost), "the cheapest comes first");
}

/// Providers charge more for long prompts: what they would have cost is counted request by request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_prompts_stand_beside_what_providers_charge_for_long_ones() {
    let gateway = Gateway::start().await;
    let book = gateway.get("/v2/price-books").await;
    let models = book["data"].as_array().unwrap().iter().filter(|model| model["modality"] == "chat");
    let offers = models.flat_map(|model| {
        model["offers"].as_array().unwrap().iter().map(|offer| (model["model"].as_str().unwrap(), offer))
    });
    let (name, offer) = offers
        .clone()
        .find(|(_, offer)| offer["long_prompt"]["above_tokens"].as_u64() > Some(100_000))
        .unwrap_or_else(|| panic!("no price of long prompts: {book}"));
    let above = offer["long_prompt"]["above_tokens"].as_u64().unwrap();
    let (id, node) = gateway.played("rack", &gateway.emulator.base_url()).await;
    gateway.patch(&format!("/v2/byoc/nodes/{id}"), json!({"cost": hourly()})).await;
    let counters =
        json!({"since_unix_ms": now_ms() - HOUR_MS, "up_ms": HOUR_MS, "busy_ms": HOUR_MS, "energy_mj": null});
    beat(&node, counters).await;
    let of = |number: u8, input: u64| {
        with(record(number, name, None, 1_000), json!({"input_tokens": input, "output_tokens": 1_000_000}))
    };
    // One has just as many as the usual price is for.
    report(&node, &[of(1, above), of(2, above + 1_000_000), of(3, 10)]).await;
    let costs = gateway.get(COSTS).await;
    let price = |of: &Value, field: &str| of["price"][field].as_u64().unwrap();
    let (input, output) = ("input_micros_per_million", "output_micros_per_million");
    let (usual, long) = (offer, &offer["long_prompt"]);
    let would = ((above + 10) * price(usual, input)
        + 2_000_000 * price(usual, output)
        + (above + 1_000_000) * price(long, input)
        + 1_000_000 * price(long, output)) as f64
        / 1e6;
    for models in [&costs["models"], &costs["nodes"][0]["models"]] {
        let found = row(&models[0]["providers"], "provider", offer["provider"].as_str().unwrap());
        let cost = found["would_cost_micros"].as_u64().unwrap() as f64;
        assert!((cost - would).abs() < 2.0, "{cost} and {would}: {found}");
        let even = found["break_even_tokens_per_day"].as_u64().unwrap() as f64;
        let day = costs["nodes"][0]["tokens_per_day"].as_u64().unwrap() as f64 * 1_200_000.0 / would;
        assert!((even / day - 1.0).abs() < 0.001, "{even} and {day}");
    }
}

/// The hardware is beside the bill, not on it.
async fn owed_nothing(gateway: &Gateway, id: &str) {
    gateway.wait_for_usage(2).await;
    let usage = gateway.get("/v2/usage?group_by=node").await;
    let sums = row(&usage["data"], "node", id);
    has(sums, json!({"hardware_cost_micros": 1_200_000, "cost_micros": 0, "spend_micros": 0}));
    let usage = gateway.get("/v2/usage?group_by=mode").await;
    assert_eq!(row(&usage["data"], "mode", "byoc")["hardware_cost_micros"], 1_200_000);
    let usage = gateway.get("/v2/usage?group_by=node&model=other").await;
    assert!(usage["data"].as_array().unwrap().iter().all(|row| row.get("hardware_cost_micros").is_none()));
    let snapshot = gateway.get("/v2/billing/snapshot").await;
    assert_eq!(row(&snapshot["mtd"]["by_mode"], "mode", "byok")["hardware_cost_micros"], Value::Null);
    // Hours are spread over the hour before: at the start of a month some lie in the last one.
    let byoc = row(&snapshot["mtd"]["by_mode"], "mode", "byoc")["hardware_cost_micros"].as_i64().unwrap();
    assert!((0..=1_200_000).contains(&byoc), "{byoc}");
    assert_eq!(snapshot["owed_micros"], 0);
}

#[cfg(feature = "control")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cost_is_stated_changed_of_kind_and_refused_with_the_field_at_fault() {
    let gateway = Gateway::start().await;
    let id = gateway.node("rack", &["m"]).await;
    let path = format!("/v2/byoc/nodes/{id}");
    let set = |options: &[&str]| gateway.cli().run(&[&["nodes", "set", &id], options].concat());
    set(&["--cost-per-hour", "1.20"]).ok();
    has(&gateway.get(&path).await, json!({"cost": hourly()}));
    set(&["--price", "2400", "--months", "36", "--watts", "350", "--kwh-price", "0.30"]).ok();
    let owned = json!({
        "kind": "owned", "price_nano_usd": 2_400_000_000_000_u64, "months": 36, "watts_busy": 350, "nano_usd_per_kwh": 300_000_000,
    });
    has(&gateway.get(&path).await, json!({"cost": owned}));
    set(&["--watts-idle", "60"]).ok();
    set(&["--name", "shelf"]).ok();
    // What is left out stays.
    has(&gateway.get(&path).await["cost"], json!({"watts_idle": 60, "months": 36}));
    says(&gateway.cli().run(&["export"]).ok(), &["price_nano_usd = 2400000000000"]);

    for (cost, param) in [
        (json!({"months": 0}), "cost.months"),
        (json!({"watts_busy": 9_000_000}), "cost.watts_busy"),
        (json!({"nano_usd_per_kwh": u64::MAX}), "cost.nano_usd_per_kwh"),
    ] {
        has(
            &gateway.patched(&path, json!({"cost": cost})).await.must_be(400).json(),
            json!({"param": param}),
        );
    }
    gateway.patched(&path, json!({"cost": {"kind": "borrowed"}})).await.must_be(400);
    let refused = gateway.admin().get(&format!("{COSTS}?compare=nobody/nothing")).await.unwrap();
    has(&refused.must_be(400).json(), json!({"param": "compare"}));

    set(&["--no-cost"]).ok();
    has(&gateway.get(&path).await, json!({"cost": null}));
    says(&gateway.cli().run(&["nodes", "costs"]).ok(), &["shelf"]);
    says(&set(&["--cost-per-hour", "1", "--price", "2"]).failed(2), &["--price"]);
}

#[cfg(feature = "control")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_reports_nothing_itself_is_known_by_the_gateways_records() {
    let gateway = Gateway::start().await;
    let id = gateway.node("rack", &[LOCAL_MODEL]).await;
    let cost = json!({"kind": "owned", "price_nano_usd": 1_000_000_000_000_000_u64, "months": 1});
    gateway.patch(&format!("/v2/byoc/nodes/{id}"), json!({"cost": cost})).await;
    gateway.chat_ok(&question(LOCAL_MODEL)).await;
    gateway.wait_for_usage(1).await;
    let model = sold_model(&gateway).await;
    let costs = gateway.get(&format!("{COSTS}?compare={}", model["model"].as_str().unwrap())).await;
    let shown = &costs["nodes"][0];
    let tokens = shown["input_tokens"].as_u64().unwrap() + shown["output_tokens"].as_u64().unwrap();
    assert!(tokens > 0, "{shown}");
    let cost = shown["hardware_cost_micros"].as_i64().unwrap();
    assert!(cost > 0, "a million USD a month is something within seconds: {shown}");
    has(shown, json!({"power_by": "not_counted", "utilisation": null, "energy_wh": null}));
    has(&shown["models"][0], json!({"hardware_cost_micros": cost}));
    assert!(!shown["models"][0]["providers"].as_array().unwrap().is_empty(), "{shown}");
    says(&gateway.cli().run(&["nodes", "costs", "rack"]).ok(), &["rack"]);
}

/// A tree as the kernel shows it, with one package.
fn powercap(root: &Path, energy_uj: u64) {
    let zone = root.join("intel-rapl:0");
    fs::create_dir_all(&zone).unwrap();
    fs::write(zone.join("name"), "package-0\n").unwrap();
    fs::write(zone.join("max_energy_range_uj"), "9999999999\n").unwrap();
    fs::write(zone.join("energy_uj"), format!("{energy_uj}\n")).unwrap();
}

#[cfg(feature = "control")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_reports_the_energy_that_it_can_read_and_none_that_it_can_not() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_NODE_HEARTBEAT_MS", "300")]).await;
    let root = tempfile::tempdir().unwrap();
    let tree = root.path().join("powercap");
    powercap(&tree, 8_000_000_000);
    let mut nodes = Vec::new();
    for (name, tree) in [("rack", tree.clone()), ("attic", root.path().join("none"))] {
        let address = free_address().unwrap().to_string();
        let (data, url) = (root.path().join(name).display().to_string(), format!("http://{address}"));
        let token = gateway.invite(name);
        let of = ["--control", &gateway.origin, "--token", &token, "--data-dir", &data, "--address", &url];
        let id = Cli::new().run(&[&["node", "join"], &of[..]].concat()).ok().trim().to_owned();
        let launch = Launch::new(tidegate().unwrap()).args(["node", "--model", "echo", "--data-dir", &data]);
        let launch = launch.args(["--listen", &address, "--powercap", &tree.display().to_string()]);
        let mut process = launch.start().unwrap();
        process.wait_text("listens on", WITHIN).await.unwrap();
        nodes.push((id, process));
    }
    let counters = async |id: &str| gateway.shown_node(id).await["joined"]["said"]["counters"].clone();
    let (rack, attic) = (nodes[0].0.clone(), nodes[1].0.clone());
    until("the energy of the rack", async || counters(&rack).await["energy_mj"] == 0).await;
    // The counter goes round: two thousand million up to its end, and six hundred million after it.
    powercap(&tree, 1_600_000_000);
    until("1 Wh", async || counters(&rack).await["energy_mj"] == 3_600_000).await;
    let silent = found("the attic", async || Some(counters(&attic).await).filter(Value::is_object)).await;
    assert!(silent["up_ms"].is_u64() && silent["energy_mj"].is_null(), "{silent}");
    let is_there = |costs: &Value| row(&costs["nodes"], "name", "rack")["energy_wh"] == 1.0;
    let costs = found("the energy", async || Some(gateway.get(COSTS).await).filter(is_there)).await;
    has(row(&costs["nodes"], "name", "attic"), json!({"energy_wh": null}));
    assert!(row(&costs["nodes"], "name", "rack")["hours_up"].as_f64().unwrap() > 0.0);
}
