//! Findings of a workload, each provoked by real requests: its money, the rows that it opens, and the one change that mends it.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::Behaviour;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, scripted, trace_of, with, words};
use crate::gateway::{Gateway, OWN, OWN_SECOND, row};
use crate::wait::until;

/// Dear: 10 USD a million tokens of output.
const DEAR: &str = "openai/gpt-4o";
const KINDS: [&str; 4] = ["retries", "unstable_prefix", "idle_tail", "model_size"];
/// Longer than the ten seconds from which a silent stream is a finding.
const SILENCE: Duration = Duration::from_millis(12_500);

/// A workload whose requests are known by what they are for.
struct Workload {
    gateway: Gateway,
    credential: String,
    route: String,
}

async fn workload() -> Workload {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    let route = gateway.route(json!({"scope": {}})).await;
    Workload { gateway, credential, route }
}

/// The records of some requests, once they are answered and settled.
async fn records(gateway: &Gateway, requests: Vec<Value>) -> Vec<Value> {
    let (mut traces, mut records) = (Vec::new(), Vec::new());
    for request in requests {
        traces.push(trace_of(&gateway.chat_ok(&request).await));
    }
    for trace in traces {
        records.push(gateway.settled(&trace).await);
    }
    records
}

/// A provider that refuses for its limits, slowly; another credential answers.
async fn refused_attempts(of: &Workload) -> Vec<Value> {
    of.gateway.emulator.script(OWN, [Behaviour::rate_limited(1).latency(Duration::from_millis(1_100))]);
    records(&of.gateway, vec![scripted(MINI, "tokens=5")]).await
}

/// Long instructions behind a clock, or before it.
fn instructed(number: usize, is_stable: bool) -> Value {
    let instructions = "You know everything of the sea. ".repeat(500);
    let clock = format!("It is {number} minutes past the hour {}.", "of the tide".repeat(number % 3 + 1));
    let system = if is_stable { format!("{instructions}{clock}") } else { format!("{clock} {instructions}") };
    json!({
        "model": DEAR, "user": "emu:tokens=5",
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": "hello there"}],
    })
}

async fn long_prompts(gateway: &Gateway, is_stable: bool) -> Vec<Value> {
    records(gateway, (0..7).map(|number| instructed(number, is_stable)).collect()).await
}

/// A stream that falls silent, and whose client waits for the end.
async fn silent_stream(gateway: &Gateway) -> Value {
    let milliseconds = SILENCE.as_millis();
    let body =
        with(scripted(MINI, &format!("stall=3,stall_ms={milliseconds},tokens=6")), json!({"stream": true}));
    let mut stream = gateway.client().within(SILENCE * 4).stream(CHAT, &body).await.unwrap();
    let trace = stream.header("agent-trace-id").unwrap().to_owned();
    while let Ok(Some(_)) = stream.event().await {}
    gateway.settled(&trace).await
}

async fn short_answers(gateway: &Gateway, model: &str, count: usize) -> Vec<Value> {
    records(gateway, vec![scripted(model, "tokens=10"); count]).await
}

async fn report(gateway: &Gateway, since: &Value) -> Value {
    gateway.admin().post("/v2/diagnostics", &json!({"start": since})).await.unwrap().must_be(201).json()
}

fn kinds(report: &Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect()
}

/// The ids of the requests that a finding's filter lists.
async fn opened(gateway: &Gateway, finding: &Value) -> BTreeSet<String> {
    let filter = finding["filter"].as_str().unwrap();
    let listed = gateway.cli().run(&["requests", "--filter", filter, "--limit", "100", "--json"]).lines();
    listed.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

fn ids(records: &[Value]) -> BTreeSet<String> {
    records.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect()
}

/// A finding, whose examples are of these requests and whose filter opens exactly them.
async fn found<'r>(gateway: &Gateway, report: &'r Value, kind: &str, of: &[Value]) -> &'r Value {
    let finding = row(&report["findings"], "kind", kind);
    assert_eq!(opened(gateway, finding).await, ids(of), "{finding:#}");
    for id in finding["request_ids"].as_array().unwrap() {
        assert!(ids(of).contains(id.as_str().unwrap()), "{id} of {finding:#}");
    }
    finding
}

fn count(record: &Value, pointer: &str) -> i64 {
    record.pointer(pointer).and_then(Value::as_i64).unwrap_or_else(|| panic!("{pointer} of {record:#}"))
}

/// A price of a million tokens in micro-USD, from the price book.
async fn price(gateway: &Gateway, model: &str, class: &str) -> i64 {
    let book = gateway.get("/v2/price-books").await;
    let offers = row(&book["data"], "model", model)["offers"].clone();
    count(row(&offers, "provider", "openai"), &format!("/price/{class}"))
}

/// So many tokens at a price, in nano-USD.
fn nanos(tokens: i64, price: i64) -> i64 {
    (tokens * price + 500) / 1_000
}

fn micros(nanos: i64) -> i64 {
    (nanos + 500) / 1_000
}

/// Runs the command that a finding names, with what is to be filled in.
fn mend(gateway: &Gateway, finding: &Value, fill: &[(&str, &str)]) {
    let command = finding["mend"]["command"].as_str().unwrap();
    let command = fill.iter().fold(command.to_owned(), |command, (name, value)| command.replace(name, value));
    gateway.cli().run(&words(&command)[1..]).ok();
}

#[tokio::test]
async fn each_finding_has_its_money_its_rows_and_a_change_that_mends_it() {
    let of = workload().await;
    let gateway = &of.gateway;
    let second = gateway.credential("openai", OWN_SECOND).await;
    let start = report(gateway, &json!("2020-01-01")).await;
    assert_eq!(kinds(&start), BTreeSet::new(), "nothing was asked yet: {start:#}");
    let refused = refused_attempts(&of).await;
    let (unstable, silent) = tokio::join!(long_prompts(gateway, false), silent_stream(gateway));
    let short = short_answers(gateway, DEAR, 10).await;
    gateway.wait_for_usage(19).await;

    let told = report(gateway, &start["created_at"]).await;
    assert_eq!(kinds(&told), KINDS.map(str::to_owned).into(), "{told:#}");
    retries(&of, &told, &refused).await;
    prefixes(gateway, &told, &unstable).await;
    tails(&of, &told, &[silent]).await;
    sizes(gateway, &told, &short).await;
    gateway.remove(&format!("/v2/provider-credentials/{second}")).await;
}

/// Nothing of it is in a workload that asks plainly, though it uses the same models.
#[tokio::test]
async fn a_plain_workload_has_none_of_these_findings() {
    let of = workload().await;
    let gateway = &of.gateway;
    let mut all = long_prompts(gateway, true).await;
    all.extend(short_answers(gateway, DEAR, 9).await);
    all.extend(short_answers(gateway, MINI, 3).await);
    gateway.wait_for_usage(all.len() as u64).await;
    let told = report(gateway, &json!("2020-01-01")).await;
    assert_eq!(told["sample"]["traces"], all.len(), "{told:#}");
    for kind in KINDS {
        assert!(!kinds(&told).contains(kind), "{kind}: {told:#}");
    }
}

/// What failed attempts cost, and the limit that keeps them from being sent.
async fn retries(of: &Workload, told: &Value, refused: &[Value]) {
    let gateway = &of.gateway;
    let finding = found(gateway, told, "retries", refused).await;
    let attempts = refused[0]["attempts"].as_array().unwrap();
    let [first, .., _] = attempts.as_slice() else { panic!("{attempts:#?}") };
    assert_eq!(finding["subject"], of.credential, "{finding:#}");
    assert_eq!(finding["money_micros"], micros(count(first, "/provider_cost_nanos")), "{finding:#}");
    assert!((1_100..10_000).contains(&count(finding, "/waited_ms")), "{finding:#}");
    assert_eq!(finding["mend"]["page"], format!("/credentials/{}", of.credential));
    mend(gateway, finding, &[("NUMBER", "1")]);
    // It would refuse again; but what it is known to refuse isn't sent.
    let since = report(gateway, &told["created_at"]).await["created_at"].clone();
    let before = gateway.calls(OWN).len();
    gateway.emulator.script(OWN, [Behaviour::rate_limited(1).latency(Duration::from_millis(600)).always()]);
    let later = short_answers(gateway, MINI, 4).await;
    gateway.emulator.clear_scripts();
    assert!(gateway.calls(OWN).len() <= before + 1, "{later:#?}");
    assert!(!kinds(&report(gateway, &since).await).contains("retries"));
}

/// What a cache could save at most, and prompts that begin alike.
async fn prefixes(gateway: &Gateway, told: &Value, unstable: &[Value]) {
    let finding = found(gateway, told, "unstable_prefix", unstable).await;
    // The first is compared with none.
    assert_eq!((&finding["requests"], &finding["subject"]), (&json!(6), &json!(DEAR)), "{finding:#}");
    let input = price(gateway, DEAR, "input_micros_per_million").await;
    let cached = price(gateway, DEAR, "cached_input_micros_per_million").await;
    let could = |record: &Value| {
        let [eligible, candidate] = ["eligible_reuse_tokens", "candidate_reuse_tokens"]
            .map(|field| count(&record["reuse"], &format!("/{field}")));
        nanos(eligible - candidate, input) - nanos(eligible - candidate, cached)
    };
    let sum: i64 = unstable.iter().skip(1).map(could).sum();
    assert!(sum > 0, "{unstable:#?}");
    has(finding, json!({"money_micros": micros(sum), "money_meaning": "at_most"}));
    assert!(finding["mend"]["sentence"].as_str().unwrap().contains("put what changes"), "{finding:#}");
    let since = report(gateway, &told["created_at"]).await["created_at"].clone();
    long_prompts(gateway, true).await;
    let after = report(gateway, &since).await;
    assert_eq!(after["sample"]["traces"], 7, "{after:#}");
    assert!(!kinds(&after).contains("unstable_prefix"), "{after:#}");
}

/// How long streams were silent, and a route that ends them.
async fn tails(of: &Workload, told: &Value, silent: &[Value]) {
    let gateway = &of.gateway;
    let finding = found(gateway, told, "idle_tail", silent).await;
    let (waited, silence) = (count(finding, "/waited_ms"), i64::try_from(SILENCE.as_millis()).unwrap());
    assert!((10_000..=silence + 5_000).contains(&waited), "{finding:#}");
    assert_eq!((&finding["money_micros"], &finding["money_meaning"]), (&json!(0), &json!("none")));
    let file = gateway.directory().join("patience.json");
    std::fs::write(&file, json!({"idle_timeout_ms": 300}).to_string()).unwrap();
    mend(gateway, finding, &[("ROUTE", &of.route), ("FILE", &file.display().to_string())]);
    let since = report(gateway, &told["created_at"]).await["created_at"].clone();
    let ended = silent_stream(gateway).await;
    assert!(count(&ended, "/timeline/settled_us") / 1_000 < silence, "{ended:#}");
    assert!(!kinds(&report(gateway, &since).await).contains("idle_tail"));
}

/// What a smaller model would save, and an alias that tries it.
async fn sizes(gateway: &Gateway, told: &Value, short: &[Value]) {
    let finding = found(gateway, told, "model_size", short).await;
    let mut prices = Vec::new();
    for model in [DEAR, MINI] {
        for class in ["input", "output"] {
            prices.push(price(gateway, model, &format!("{class}_micros_per_million")).await);
        }
    }
    let cost = |record: &Value, at: usize| {
        let (input, output) = (count(record, "/input_tokens"), count(record, "/output_tokens"));
        // In pico-USD, rounded once.
        (input * prices[at] + output * prices[at + 1] + 500) / 1_000
    };
    let saved: i64 = short.iter().map(|record| cost(record, 0) - cost(record, 2)).sum();
    has(finding, json!({"money_micros": micros(saved), "requests": 10}));
    mend(gateway, finding, &[("NAME", "quick")]);
    let (mut seen, mut users) = (BTreeSet::new(), 0);
    until("the alias to send some users to the smaller model", async || {
        users += 1;
        let answer = gateway.chat_ok(&scripted("quick", &format!("tokens=10,args_bytes={users}"))).await;
        seen.insert(gateway.settled(&trace_of(&answer)).await["resolved_model"].as_str().unwrap().to_owned());
        seen.contains(MINI)
    })
    .await;
    assert!(seen.iter().all(|model| [DEAR, MINI].contains(&model.as_str())), "{seen:?}");
}
