//! Committed spend: what is paid for ahead is filled first, and the request that meets its end goes on to the
//! overflow.

use std::time::{Duration, UNIX_EPOCH};

use domain::Period;
use harness::Behaviour;
use harness::client::{Answer, Client};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::WITHIN;
use crate::ask::{CHAT, MINI, has, problem, question, refused, scripted, trace_of, with};
use crate::batches;
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, config};
use crate::wait::{a_day_with_room, found_within, until};

/// Of 20 tokens: each costs the same.
fn priced() -> Value {
    with(scripted(MINI, "chunks=20"), json!({"max_tokens": 50}))
}

async fn committed(gateway: &Gateway, secret: &str, amount_micros: u64) -> String {
    // The commitment is monthly and its spend is reported by day, so neither may end during the test.
    a_day_with_room().await;
    let more = json!({"commitment": {"amount_micros": amount_micros, "period": "month"}});
    gateway.credential_with("openai", secret, more).await
}

async fn commitment(admin: &Client) -> Value {
    let list = admin.get("/v2/commitments").await.unwrap().json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "{list}");
    list["data"][0].clone()
}

/// The commitment once nothing is reserved any more.
async fn at_rest(admin: &Client) -> Value {
    found_within(Duration::from_secs(40), "nothing to be reserved", async || {
        Some(commitment(admin).await).filter(|view| view["reserved_micros"] == 0)
    })
    .await
}

fn micros(view: &Value, name: &str) -> i64 {
    view[name].as_i64().unwrap_or_else(|| panic!("{name}: {view}"))
}

/// Asks until an answer comes from the pool.
async fn until_it_overflows(gateway: &Gateway) -> (Answer, usize) {
    for count in 0..200 {
        let answer = gateway.chat_ok(&priced()).await;
        if answer.header("agent-execution-profile") == Some("managed_provider") {
            return (answer, count);
        }
        assert_eq!(answer.header("agent-overflow-reason"), None);
    }
    panic!("the commitment never ends");
}

#[tokio::test]
async fn the_request_that_meets_the_end_of_a_commitment_goes_on_to_the_overflow() {
    let gateway = Gateway::start().await;
    let credential = committed(&gateway, OWN, 300).await;
    gateway.account("openai", POOL).await;
    let route = gateway.route(json!({"scope": {}, "overflow": "managed"})).await;
    let plan = gateway.plan(json!({"model": MINI})).await;
    has(&plan["chosen"], json!({"principal": credential, "overflow": null}));
    assert_eq!(plan["attempts"][1]["overflow"], "rate_limited", "{plan}");
    let (answer, count) = until_it_overflows(&gateway).await;
    assert!((20..=24).contains(&count), "300 at some 13 each: {count}");
    assert_eq!(answer.header("agent-fallback-used"), Some("false"));
    assert_eq!(answer.header("agent-overflow-reason"), Some("committed_exhausted"));
    assert_eq!(answer.header("agent-attempts"), Some("1"), "what is known to be exceeded isn't sent");
    let request = gateway.settled(&trace_of(&answer)).await;
    let rejected = &request["plan"]["rejected"][0];
    has(rejected, json!({"principal": credential, "reason": "committed_exhausted"}));
    assert_eq!(request["profile"], "managed_provider", "{request}");
    let view = at_rest(&gateway.admin()).await;
    assert_eq!((micros(&view, "used_micros"), micros(&view, "left_micros")), (300, 0), "{view}");
    // The last request used more than was left.
    assert!((0..=20).contains(&micros(&view, "beyond_micros")), "{view}");
    assert_eq!((&view["status"], &view["credential_id"]), (&json!("exhausted"), &json!(credential)));
    let today = view["burn_down"].as_array().unwrap().last().unwrap();
    let seen = (micros(today, "spent_micros"), micros(today, "left_micros"));
    assert_eq!(seen, (300 + micros(&view, "beyond_micros"), 0));
    let mut percents: Vec<_> =
        view["alerts_crossed"].as_array().unwrap().iter().map(|one| one["percent"].clone()).collect();
    if is_month_nearly_over() {
        // There may also be an alert at 0 %, of before the requests: that the commitment won't be used up.
        percents.retain(|percent| *percent != 0);
    }
    assert_eq!(percents, [80, 100], "{view}");
    let plan = gateway.plan(json!({"model": MINI})).await;
    assert_eq!(plan["chosen"]["overflow"], "committed_exhausted", "{plan}");
    assert_eq!(plan["rejected"][0]["reason"], "committed_exhausted", "{plan}");
    let listed = gateway.cli().run(&["commitments", "--json"]).json();
    assert_eq!(listed["data"][0]["used_micros"], view["used_micros"], "{listed}");
    raised_and_lowered(&gateway, &credential, &route).await;
}

/// Whether this is the last tenth of the month, in which a commitment that won't be used up has an alert.
fn is_month_nearly_over() -> bool {
    let now = u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let start = Period::Month.start(now);
    let end = Period::Month.end(start).unwrap();
    (end - now) * 10 <= end - start
}

/// What a commitment's amount decides while it changes, with and without an overflow.
async fn raised_and_lowered(gateway: &Gateway, credential: &str, route: &str) {
    // A raised amount is there at once.
    let one = format!("/v2/provider-credentials/{credential}");
    gateway.patch(&one, json!({"commitment": {"amount_micros": 5_000, "period": "month"}})).await;
    let answer = gateway.chat_ok(&priced()).await;
    assert_eq!(answer.header("agent-byok-credential-id"), Some(credential), "{}", answer.text());
    let request = gateway.settled(&trace_of(&answer)).await;
    has(&request["commitment"], json!({"beyond": false, "credential_id": credential}));

    // Without an overflow it goes on at the credential's prices, beyond its commitment.
    gateway.remove(&format!("/v2/routes/{route}")).await;
    gateway.patch(&one, json!({"commitment": {"amount_micros": 300, "period": "month"}})).await;
    // What was leased of the larger amount may still be used.
    let mut request = Value::Null;
    for _ in 0..20 {
        let answer = gateway.chat_ok(&priced()).await;
        assert_eq!(answer.header("agent-byok-credential-id"), Some(credential));
        assert_eq!(answer.header("agent-overflow-reason"), None);
        request = gateway.settled(&trace_of(&answer)).await;
        if request["commitment"]["beyond"] == true {
            break;
        }
    }
    has(&request["commitment"], json!({"beyond": true, "amount_micros": request["provider_cost_micros"]}));
    let view = at_rest(&gateway.admin()).await;
    let spent = view["burn_down"].as_array().unwrap().last().unwrap()["spent_micros"].as_i64().unwrap();
    assert_eq!((micros(&view, "used_micros"), micros(&view, "beyond_micros")), (300, spent - 300), "{view}");
    assert!(spent - 300 >= micros(&request, "provider_cost_micros"), "{view}");
    gateway.patch(&one, json!({"commitment": null})).await;
    assert_eq!(gateway.get("/v2/commitments").await["data"], json!([]));
    assert_eq!(gateway.get("/v2/budgets").await["data"], json!([]), "a commitment isn't a budget of theirs");
}

#[tokio::test]
async fn lack_of_capacity_overflows_in_the_same_request_and_failure_never() {
    let gateway = Gateway::start().await;
    let more = json!({"display_name": "ours", "limits": {"requests_per_minute": 100}});
    gateway.credential_with("openai", OWN, more).await;
    gateway.account("openai", POOL).await;
    gateway.route(json!({"scope": {}, "overflow": "managed"})).await;
    for behaviour in [Behaviour::rate_limited(40), Behaviour::out_of_quota()] {
        gateway.emulator.script(OWN, [behaviour]);
        let answer = gateway.chat_ok(&priced()).await;
        assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
        assert_eq!(answer.header("agent-overflow-reason"), Some("rate_limited"));
        assert_eq!(answer.header("agent-fallback-used"), Some("false"));
        has(&gateway.settled(&trace_of(&answer)).await, json!({"mode": "mi", "fallback_used": false}));
        // Verified again, it is not rested any more.
        let credentials = gateway.get("/v2/provider-credentials").await;
        let id = credentials["data"][0]["id"].as_str().unwrap();
        gateway.emulator.script(OWN, []);
        let verified = format!("/v2/provider-credentials/{id}/verify");
        gateway.admin().post(&verified, &json!({})).await.unwrap().must_be(200);
    }
    gateway.emulator.script(OWN, [Behaviour::status(500).always()]);
    let pooled = gateway.calls(POOL).len();
    refused(&gateway.chat(&priced()).await, 502, "upstream_error");
    assert_eq!(gateway.calls(POOL).len(), pooled, "a failure isn't a lack of capacity");
}

#[tokio::test]
async fn a_second_credential_takes_what_exceeds_the_first() {
    let gateway = Gateway::start().await;
    let spare = gateway.credential_with("openai", OWN_SECOND, json!({"display_name": "spare"})).await;
    committed(&gateway, OWN, 100).await;
    let wrong = json!({"scope": {}, "overflow": "elsewhere"});
    problem(&gateway.admin().post("/v2/routes", &wrong).await.unwrap(), 400, "invalid_value");
    let route = gateway.route(json!({"scope": {}, "overflow": format!("own:{spare}")})).await;
    let shown = gateway.get(&format!("/v2/routes/{route}")).await;
    assert_eq!(shown["overflow"], format!("own:{spare}"), "{shown}");
    let mut overflowed = 0;
    for _ in 0..12 {
        let answer = gateway.chat_ok(&priced()).await;
        if answer.header("agent-byok-credential-id") == Some(&*spare) {
            assert_eq!(answer.header("agent-overflow-reason"), Some("committed_exhausted"));
            overflowed += 1;
        }
    }
    assert!((3..=5).contains(&overflowed), "{overflowed}");
}

/// What the provider bills draws on the commitment: cached tokens, a service tier and a batch at their own prices.
#[cfg(feature = "broker")]
#[tokio::test]
async fn cached_tokens_service_tiers_and_batches_draw_at_their_own_prices() {
    const BATCHED: usize = 4;
    let gateway = Gateway::start().await;
    committed(&gateway, OWN, 1_000_000).await;
    let cached = Behaviour { prompt_tokens: Some(2_000), cached_tokens: Some(1_024), ..Behaviour::ok() };
    let flex = Behaviour { tier: Some("flex".to_owned()), ..Behaviour::ok() };
    let mut drawn = 0;
    // Of gpt-4o-mini, in nano-USD a token: what isn't cached, what is, and the answer.
    for (behaviour, more, rates) in [
        (Behaviour::ok(), json!({}), [150, 75, 600]),
        (cached, json!({}), [150, 75, 600]),
        (flex, json!({"service_tier": "flex"}), [75, 38, 300]),
    ] {
        gateway.emulator.script(OWN, [behaviour]);
        let record = gateway.settled(&trace_of(&gateway.chat_ok(&with(question(MINI), more)).await)).await;
        let count = |name: &str| record[name].as_i64().unwrap();
        let (input, cached) = (count("input_tokens"), count("cached_tokens"));
        let nanos = (input - cached) * rates[0] + cached * rates[1] + count("output_tokens") * rates[2];
        assert_eq!(count("provider_cost_nanos"), nanos, "{record}");
        assert_eq!(record["commitment"]["amount_micros"], record["provider_cost_micros"], "{record}");
        drawn += nanos;
    }
    batches::ended(&gateway.client(), &batches::made(&gateway.client(), &batches::asks(BATCHED)).await).await;
    for record in batches::until_booked(&gateway.admin(), BATCHED).await {
        let count = |name: &str| record[name].as_i64().unwrap();
        // Half of the price.
        let nanos = count("input_tokens") * 75 + count("output_tokens") * 300;
        assert!((count("provider_cost_micros") * 1_000 - nanos).abs() <= 500, "{record}");
        drawn += nanos;
    }
    let view = at_rest(&gateway.admin()).await;
    assert!((micros(&view, "used_micros") * 1_000 - drawn).abs() <= 1_000, "{drawn} drawn: {view}");
}

/// What a reserved unit is worth is stated: it is filled at that pace, and what exceeds it goes on to the pool at once.
#[cfg(feature = "broker")]
#[tokio::test]
async fn reserved_units_are_filled_at_what_they_are_worth_and_the_rest_overflows() {
    let gateway = Gateway::start().await;
    let limits = json!({"reserved_units": 2, "tokens_per_minute_per_unit": 200});
    let more = json!({"display_name": "reserved", "limits": limits});
    let credential = gateway.credential_with("openai", OWN, more).await;
    gateway.account("openai", POOL).await;
    gateway.route(json!({"scope": {}, "overflow": "managed"})).await;
    let (answer, count) = until_it_overflows(&gateway).await;
    assert!((3..40).contains(&count), "{count} of 400 tokens a minute");
    assert_eq!(answer.header("agent-overflow-reason"), Some("rate_limited"));
    assert_eq!(answer.header("agent-attempts"), Some("1"), "what is known to be exceeded isn't sent");
    assert_eq!(gateway.calls(OWN).len(), count);
    let health = gateway.get("/v2/health/upstreams").await;
    let pacing = &crate::gateway::row(&health["data"], "id", &credential)["pacing"];
    assert_eq!(pacing["tokens_per_minute"]["limit"], json!(400), "{health}");
    let one = format!("/v2/provider-credentials/{credential}");
    problem(&gateway.patched(&one, json!({"limits": {"reserved_units": null}})).await, 400, "invalid_value");
}

/// Two gateways on one PostgreSQL and 64 clients; one gateway is killed on the way.
#[cfg(feature = "broker")]
#[tokio::test]
async fn two_gateways_fill_a_commitment_before_anything_overflows() {
    let mut gateway = Gateway::over_postgres("cm", config(), &[]).await;
    let amount = 16_000;
    committed(&gateway, OWN, amount).await;
    gateway.account("openai", POOL).await;
    gateway.route(json!({"scope": {}, "overflow": "managed"})).await;
    let one = gateway.settled(&trace_of(&gateway.chat_ok(&priced()).await)).await;
    let each = micros(&one, "provider_cost_nanos");
    let (_second_process, second) = gateway.replica_in("second").await;
    let at = |origin: &str, key: &str| Client::new(origin).bearer(key).within(WITHIN);
    let second_client = at(&second, &gateway.founded.api_key);
    let admin = at(&second, &gateway.founded.admin_key);
    let sent = gateway.emulator.journal().len();
    let early = tokio::spawn(run_clients([gateway.client(), second_client.clone()], 10));
    until("the gateways serve", async || gateway.emulator.journal().len() > sent + 200).await;
    gateway.process().kill9().unwrap();
    early.await.unwrap();
    gateway.start_again().await;
    for _ in 0..10 {
        run_clients([gateway.client(), second_client.clone()], 8).await;
        if !gateway.calls(POOL).is_empty() {
            break;
        }
    }
    let calls = gateway.emulator.journal();
    let first_burst = calls.iter().position(|call| call.key.as_deref() == Some(POOL)).expect("it overflows");
    let before = calls[..first_burst].iter().filter(|call| call.key.as_deref() == Some(OWN)).count() as i64;
    let view = at_rest(&admin).await;
    let used = micros(&view, "used_micros");
    println!("{before} calls of {each} nano-USD before the first elsewhere; {used} of {amount} in the end");
    let filled = before * each / 1_000;
    assert!(filled * 1_000 >= i64::try_from(amount).unwrap() * 995, "{filled} of {amount}: {view}");
    let in_flight = 64 * each / 1_000;
    assert!(used - i64::try_from(amount).unwrap() <= in_flight, "{used} of {amount}: {view}");
}

/// 64 clients, half of them at each gateway; a killed one's requests have no answer.
async fn run_clients(clients: [Client; 2], requests: usize) {
    let mut running = JoinSet::new();
    for number in 0..64 {
        let client = clients[number % 2].clone();
        running.spawn(async move {
            for _ in 0..requests {
                drop(client.post(CHAT, &priced()).await);
            }
        });
    }
    running.join_all().await;
}
