//! Limits and budgets over sockets: what is refused and with which error, what is released again, and that
//! spending stays within the limits.

use std::time::Duration;

use harness::client::{Answer, Client};
use harness::pace::Pace;
use harness::postgres::Server;
use harness::sse;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::WITHIN;
use crate::ask::{CHAT, MINI, has, problem, question, refused, scripted, trace_of, trace_of_stream, with};
use crate::gateway::{Gateway, OWN, POOL, config, id_of, sums};
use crate::wait::{a_day_with_room, found_within, until};

/// An answer of twenty tokens: with its prompt some 14 micro-USD, of at most 50 that are reserved.
fn priced() -> Value {
    with(scripted(MINI, "chunks=20"), json!({"max_tokens": 50}))
}

/// A stream that continues until it is ended from outside.
fn endless() -> Value {
    with(scripted(MINI, "chunks=4000,interval=5"), json!({"stream": true, "max_tokens": 100}))
}

fn is_money_refusal(answer: &Answer, status: u16, code: &str) {
    let error = refused(answer, status, code);
    assert_eq!(error["type"], "insufficient_quota", "{error}");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.header("x-tidegate-limit-of"), Some("gateway"));
}

fn served_of(answers: &[Answer]) -> u64 {
    answers.iter().filter(|answer| answer.status == 200).count() as u64
}

fn percents(view: &Value) -> Vec<&Value> {
    view["alerts_crossed"].as_array().unwrap().iter().map(|alert| &alert["percent"]).collect()
}

/// A thousand requests, a quarter at a time.
async fn a_thousand(gateway: &Gateway) -> Vec<Answer> {
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.extend(ask_all(&[gateway.client()], 250, &priced()).await);
    }
    answers
}

async fn ask_all(clients: &[Client], count: usize, body: &Value) -> Vec<Answer> {
    let mut requests = JoinSet::new();
    for number in 0..count {
        let (client, body) = (clients[number % clients.len()].clone(), body.clone());
        requests.spawn(async move { client.post(CHAT, &body).await });
    }
    // A request that a killed process held has no answer.
    requests.join_all().await.into_iter().filter_map(Result::ok).collect()
}

/// The budget once nothing is reserved any more; its sums are checked on each read.
async fn at_rest(admin: &Client, id: &str) -> Value {
    found_within(Duration::from_secs(40), "nothing to be reserved", async || {
        let budget = admin.get(&format!("/v2/budgets/{id}")).await.unwrap().json();
        let micros = |name: &str| budget[name].as_i64().unwrap_or_else(|| panic!("{name}: {budget}"));
        if micros("spent_micros") <= micros("limit_micros") {
            let sum = micros("spent_micros") + micros("reserved_micros") + micros("free_micros");
            assert!((sum - micros("limit_micros")).abs() <= 2, "{budget}");
        }
        (micros("reserved_micros") == 0).then(|| budget.clone())
    })
    .await
}

/// Asks until it is served, which it is so soon after the money is there.
async fn served_within(gateway: &Gateway, body: &Value, bound: Duration) {
    let pace = Pace::start(&[gateway.serving(), gateway.control()]);
    loop {
        let status = gateway.chat(body).await.status;
        let took = pace.elapsed();
        assert!(took < bound, "{status} after {took:?}");
        if status == 200 {
            return;
        }
    }
}

async fn budget(gateway: &Gateway, more: Value) -> String {
    // A new month would reset what is spent.
    a_day_with_room().await;
    id_of(&gateway.make("/v2/budgets", with(json!({"period": "month"}), more)).await)
}

#[tokio::test]
async fn a_thousand_requests_at_once_stay_within_a_budget() {
    let gateway = Gateway::with_own().await;
    let of = json!({"project_id": gateway.founded.project_id, "limit_micros": 5_000});
    let id = budget(&gateway, of).await;
    let answers = a_thousand(&gateway).await;
    let served = served_of(&answers);
    assert_eq!(answers.len(), 1_000);
    let refusal = answers.iter().find(|answer| answer.status != 200).unwrap();
    is_money_refusal(refusal, 429, "quota_exceeded");
    let message = refusal.json()["error"]["message"].as_str().unwrap().to_owned();
    for word in ["$0.005", &id, &gateway.founded.project_id, "tidegate budget set", "resets"] {
        assert!(message.contains(word), "{message}");
    }
    answers.iter().for_each(|answer| assert!([200, 429].contains(&answer.status), "{}", answer.status));
    let totals = gateway.wait_for_usage(served).await;
    assert_eq!(totals["requests"], served, "a refusal asked nobody");
    let view = at_rest(&gateway.admin(), &id).await;
    assert_eq!(view["spent_micros"], totals["provider_cost_micros"], "{view} {totals}");
    let spent = view["spent_micros"].as_i64().unwrap();
    assert!(spent <= 5_000 && spent > 4_750, "{view}");
    assert_eq!(percents(&view), [50, 80, 100], "{view}");
    // By what is left, which is too little for one of these requests.
    assert_eq!(view["status"], if spent == 5_000 { "reached" } else { "warning" }, "{view}");
    assert!(view["forecast_micros"].as_i64().unwrap() >= spent, "{view}");
    // A raised limit takes effect at once.
    gateway.patch(&format!("/v2/budgets/{id}"), json!({"limit_micros": 6_000})).await;
    served_within(&gateway, &priced(), Duration::from_secs(2)).await;
    // A removed budget no longer limits.
    gateway.remove(&format!("/v2/budgets/{id}")).await;
    assert!(ask_all(&[gateway.client()], 50, &priced()).await.iter().all(|answer| answer.status == 200));
    problem(&gateway.admin().get(&format!("/v2/budgets/{id}")).await.unwrap(), 404, "not_found");
}

/// Whatever computes there: leases, the books, revocations and changes to the configuration wait for none of it.
#[tokio::test]
async fn a_control_thread_that_is_held_up_delays_neither_leases_nor_books() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("held");
    let gateway = Gateway::with(config(), &[("TIDEGATE_HELD_CONTROL", &file.display().to_string())]).await;
    gateway.credential("openai", OWN).await;
    let (key, key_id) = gateway.key(json!({"name": "gone soon", "scopes": ["inference"]})).await;
    let id = budget(&gateway, json!({"project_id": gateway.founded.project_id, "limit_micros": 5_000})).await;
    let status = async || gateway.with_key(&key).get("/v1/models").await.unwrap().status;
    until("the key to be known", async || status().await == 200).await;
    std::fs::write(&file, "").unwrap();
    let page = async || gateway.client().get("/metrics").await.unwrap().text();
    let gauge = |page: &str, name: &str| {
        let values = page.lines().filter_map(|line| line.strip_prefix(name)?.rsplit(' ').next());
        values.filter_map(|value| value.parse::<u64>().ok()).sum::<u64>()
    };
    let holds =
        async || gauge(&page().await, "tidegate_runtime_delay_microseconds{runtime=\"control\"}") > 1_000_000;
    until("the control plane's thread to be held up", holds).await;
    let answers = a_thousand(&gateway).await;
    let served = served_of(&answers);
    // An answer costs some 14 micro-USD.
    assert!(served > 200, "{served}");
    is_money_refusal(answers.iter().find(|answer| answer.status != 200).unwrap(), 429, "quota_exceeded");
    let has_all = async || gauge(&page().await, "tidegate_requests_total{") >= served;
    until("the books to have all", has_all).await;
    let admin = gateway.admin();
    let waiting = tokio::spawn(async move { admin.get("/v2/projects").await });
    gateway.remove(&format!("/v2/api-keys/{key_id}")).await;
    until("the key to be unknown", async || status().await == 401).await;
    assert!(!waiting.is_finished());
    std::fs::remove_file(&file).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().status, 200);
    let view = at_rest(&gateway.admin(), &id).await;
    assert!(view["spent_micros"].as_i64().unwrap() > 4_000, "{view}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn what_a_request_does_not_use_is_there_again() {
    let gateway = Gateway::with_own().await;
    let id = budget(&gateway, json!({"workspace": true, "limit_micros": 120})).await;
    let slow = with(endless(), json!({"user": "emu:chunks=90,interval=60"}));
    let mut stream = gateway.client().stream(CHAT, &slow).await.unwrap();
    stream.event().await.unwrap();
    let reserved = gateway.get(&format!("/v2/budgets/{id}")).await;
    assert!(reserved["reserved_micros"].as_i64().unwrap() > 50, "{reserved}");
    // It needs more than all of it: nobody can leave that much.
    let too_big = with(question(MINI), json!({"max_tokens": 250}));
    is_money_refusal(&gateway.chat(&too_big).await, 429, "quota_exceeded");
    let big = with(question(MINI), json!({"max_tokens": 120}));
    let (client, waiting) = (gateway.client(), big.clone());
    let waiting = tokio::spawn(async move { client.post(CHAT, &waiting).await.unwrap() });
    let trace = trace_of_stream(&stream);
    stream.hang_up();
    gateway.settled(&trace).await;
    // What the cancelled stream did not use comes back to who waits for it.
    assert_eq!(waiting.await.unwrap().status, 200);
    let view = at_rest(&gateway.admin(), &id).await;
    assert_eq!(view["spent_micros"], gateway.wait_for_usage(2).await["provider_cost_micros"], "{view}");
    gateway.remove(&format!("/v2/budgets/{id}")).await;
    what_is_affordable_is_served(&gateway, 2).await;
}

/// A prompt of 4,000 bytes has some 930 tokens, so that the bytes of twenty would cost four times what is there.
#[cfg(feature = "broker")]
async fn what_is_affordable_is_served(gateway: &Gateway, before: u64) {
    let text = "the tide comes in twice a day ".repeat(133);
    let script = json!({"user": "emu:chunks=20,latency=300", "max_tokens": 20});
    let request = with(json!({"model": MINI, "messages": [{"role": "user", "content": text}]}), script);
    let spent = gateway.wait_for_usage(before).await["provider_cost_micros"].as_i64().unwrap();
    gateway.chat_ok(&request).await;
    let so_far = gateway.wait_for_usage(before + 1).await["provider_cost_micros"].as_i64().unwrap();
    let each = so_far - spent;
    // Twenty, and half of one for the margin of the last.
    let limit = so_far + 20 * each + each / 2;
    let id = budget(gateway, json!({"workspace": true, "limit_micros": limit})).await;
    let answers = ask_all(&[gateway.client()], 40, &request).await;
    assert_eq!((served_of(&answers), answers.len()), (20, 40), "{each} each");
    let refusals = answers.iter().filter(|answer| answer.status != 200);
    refusals.for_each(|answer| is_money_refusal(answer, 429, "quota_exceeded"));
    gateway.wait_for_usage(before + 21).await;
    let view = at_rest(&gateway.admin(), &id).await;
    assert!(view["spent_micros"].as_i64().unwrap() <= limit, "{view}");
}

#[tokio::test]
async fn a_stream_is_cut_where_the_money_ends() {
    let gateway = Gateway::with_own().await;
    let id = budget(&gateway, json!({"workspace": true, "limit_micros": 200})).await;
    let more = json!({"max_tokens": null, "stream_options": {"include_usage": true}});
    let answer = gateway.chat(&with(endless(), more)).await.must_be(200);
    let events = sse::events(&answer.body);
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{events:?}");
    let chunks: Vec<Value> = events.iter().filter_map(|event| serde_json::from_str(event).ok()).collect();
    let finish = chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str());
    assert_eq!(finish.collect::<Vec<_>>(), ["length"]);
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]), "one answer has one id");
    let usage = chunks.last().unwrap();
    assert!(usage["usage"]["completion_tokens"].as_u64().unwrap() > 100, "{usage}");
    let request = gateway.settled(&trace_of(&answer)).await;
    // Only the budget ended it: the request is not completed, and its attempt is not a failure.
    has(&request, json!({"outcome": "cut", "status": 200, "error_code": "quota_exceeded"}));
    assert_eq!(request["error"]["refused_by"], json!({"object": "budget", "id": id}), "{request}");
    assert_eq!(request["attempts"][0]["fault"], Value::Null, "{request}");
    for (query, rows) in [("outcome=cut", 1), ("filter=outcome:cut", 1), ("outcome=completed", 0)] {
        let page = gateway.get(&format!("/v2/requests?{query}")).await;
        assert_eq!(page["data"].as_array().unwrap().len(), rows, "{query}: {page}");
    }
    let usage = gateway.get("/v2/usage?group_by=outcome").await;
    has(&usage["data"][0], json!({"outcome": "cut", "failed_requests": 1}));
    let view = at_rest(&gateway.admin(), &id).await;
    let spent = view["spent_micros"].as_i64().unwrap();
    assert!(spent <= 200 && spent > 60, "{view}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_workspace_that_paid_ahead_stops_at_the_end_of_its_credit() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let account = gateway.get("/v2/billing/account").await;
    assert_eq!((&account["mode"], &account["credit_micros"]), (&json!("postpaid"), &Value::Null));
    gateway.chat_ok(&priced()).await;
    gateway.wait_for_usage(1).await;
    let add = async |amount: i64| {
        let body = json!({"amount_micros": amount, "note": "a transfer"});
        gateway.make("/v2/billing/account/credits", body).await
    };
    assert_eq!(add(100).await["credit_micros"], 100);
    let mut served = 1;
    let refusal = loop {
        let answer = gateway.chat(&priced()).await;
        if answer.status != 200 {
            break answer;
        }
        served += 1;
        assert!(served < 20);
    };
    is_money_refusal(&refusal, 402, "credits_required");
    let cost = gateway.wait_for_usage(served).await["cost_micros"].as_i64().unwrap();
    add(1_000).await;
    served_within(&gateway, &priced(), Duration::from_secs(2)).await;
    let all = gateway.wait_for_usage(served + 1).await["cost_micros"].as_i64().unwrap();
    let account = gateway.get("/v2/billing/account").await;
    // The first request came before any credit was added: it is owed, and not taken from the credit.
    let of_first = all - account["spent_micros"].as_i64().unwrap();
    assert!(cost > 0 && of_first > 0 && of_first < 25, "{account} {all}");
    assert_eq!(account["credit_micros"].as_i64().unwrap(), 1_100 - account["spent_micros"].as_i64().unwrap());
    assert_eq!((&account["mode"], account["credits"].as_array().unwrap().len()), (&json!("prepaid"), 2));
}

#[tokio::test]
async fn rates_are_held_and_told() {
    let gateway = Gateway::with_own().await;
    let unbounded = gateway.chat_ok(&question(MINI)).await;
    let plain = Gateway::start().await;
    plain.account("openai", POOL).await;
    let none = plain.chat_ok(&question(MINI)).await;
    assert_eq!(none.header("x-ratelimit-limit-requests"), None, "nothing is told where nothing applies");
    let limits = json!({"limits": {"requests_per_minute": 3, "tokens_per_minute": 100_000}});
    let (key, id) = gateway.key(json!({"name": "bounded"})).await;
    let changed = gateway.patch(&format!("/v2/api-keys/{id}"), limits.clone()).await;
    assert_eq!(changed["limits"], limits["limits"]);
    assert_eq!(gateway.get(&format!("/v2/api-keys/{id}")).await["limits"], limits["limits"]);
    let client = gateway.with_key(&key);
    for left in ["2", "1", "0"] {
        let answer = client.post(CHAT, &question(MINI)).await.unwrap().must_be(200);
        assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("3"));
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(left));
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), Some("100000"));
        assert!(answer.header("x-ratelimit-reset-requests").unwrap().ends_with('s'));
    }
    let answer = client.post(CHAT, &question(MINI)).await.unwrap();
    let error = refused(&answer, 429, "rate_limit_exceeded");
    assert_eq!(error["type"], "rate_limit_error");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&id) && message.contains("3 requests a minute"), "{message}");
    assert_eq!(answer.header("x-tidegate-limit-of"), Some("gateway"));
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("0"));
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    // `/v1/run` is held to the same limit, and other keys are not.
    let run = json!({"app": MINI, "input": {"prompt": "hello"}});
    let answer = client.post("/v1/run", &run).await.unwrap();
    assert_eq!((answer.status, answer.header("x-ratelimit-limit-requests")), (429, Some("3")));
    assert_eq!(unbounded.status, gateway.chat_ok(&question(MINI)).await.status);
    gateway.patch(&format!("/v2/api-keys/{id}"), json!({"limits": null})).await;
    assert_eq!(client.post(CHAT, &question(MINI)).await.unwrap().status, 200);
    let nothing = json!({"limits": {"requests_per_minute": 0}});
    problem(&gateway.patched(&format!("/v2/api-keys/{id}"), nothing).await, 400, "invalid_value");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn so_many_at_the_same_time_and_each_end_user_by_itself() {
    let gateway = Gateway::with_own().await;
    let project = format!("/v2/projects/{}", gateway.founded.project_id);
    gateway.patch(&project, json!({"limits": {"concurrent_streams": 1}})).await;
    let mut stream = gateway.client().stream(CHAT, &endless()).await.unwrap();
    stream.event().await.unwrap();
    let error = refused(&gateway.chat(&question(MINI)).await, 429, "rate_limit_exceeded");
    assert!(error["message"].as_str().unwrap().contains("at the same time"), "{error}");
    let trace = trace_of_stream(&stream);
    stream.hang_up();
    gateway.settled(&trace).await;
    gateway.chat_ok(&question(MINI)).await;
    gateway.patch(&project, json!({"limits": null})).await;
    let workspace = format!("/v2/workspaces/{}", gateway.founded.workspace_id);
    let limits = json!({"requests_per_minute": 1});
    let changed = gateway.patch(&workspace, json!({"end_user_limits": limits})).await;
    assert_eq!(changed["end_user_limits"], limits, "{changed}");
    let of = |user: &str| with(question(MINI), json!({"user": user}));
    gateway.chat_ok(&of("ada")).await;
    let error = refused(&gateway.chat(&of("ada")).await, 429, "rate_limit_exceeded");
    assert!(error["message"].as_str().unwrap().contains("\"ada\""), "{error}");
    gateway.chat_ok(&of("bob")).await;
    gateway.chat_ok(&question(MINI)).await;
    // A new workspace has what it was created with.
    let set = json!({"limits": limits, "caching": {"managed": "off"}});
    let made = gateway.make("/v2/workspaces", with(json!({"name": "tenant"}), set.clone())).await;
    let path = format!("/v2/workspaces/{}", made["workspace_id"].as_str().unwrap());
    has(&gateway.get(&path).await, set);
    let wrong = json!({"name": "x", "caching": {"responses": {"ttl_s": 0}}});
    problem(&gateway.admin().post("/v2/workspaces", &wrong).await.unwrap(), 400, "invalid_value");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_budget_that_allows_overage_counts_and_warns() {
    let gateway = Gateway::with_own().await;
    // The spend before the budget must be in the same month.
    a_day_with_room().await;
    let before = gateway.chat_ok(&priced()).await;
    gateway.settled(&trace_of(&before)).await;
    gateway.wait_for_usage(1).await;
    let id = budget(&gateway, json!({"workspace": true, "limit_micros": 20, "on_reached": "allow"})).await;
    // Two exhausted budgets that don't apply: nothing is owed to the operator under an own credential, and
    // the other limits another end user.
    let owed = budget(&gateway, json!({"workspace": true, "limit_micros": 1, "counts": "owed"})).await;
    let user = budget(&gateway, json!({"end_user": "nobody", "limit_micros": 1})).await;
    for _ in 0..4 {
        gateway.chat_ok(&priced()).await;
    }
    let totals = gateway.wait_for_usage(5).await;
    let view = at_rest(&gateway.admin(), &id).await;
    assert_eq!(view["spent_micros"], totals["provider_cost_micros"], "what was spent before it counts too");
    assert_eq!((&view["status"], &view["free_micros"]), (&json!("reached"), &json!(0)), "{view}");
    assert_eq!(view["alerts_crossed"].as_array().unwrap().len(), 3, "{view}");
    for other in [owed, user] {
        assert_eq!(at_rest(&gateway.admin(), &other).await["spent_micros"], 0);
    }
    let wrong = json!({"workspace": true, "end_user": "x", "limit_micros": 5});
    problem(&gateway.admin().post("/v2/budgets", &wrong).await.unwrap(), 400, "invalid_value");
}

/// Three gateways on one PostgreSQL, one of which is killed: no gateway spends what another has leased.
#[tokio::test]
async fn three_gateways_share_a_budget_and_one_is_killed() {
    let mut gateway = Gateway::over_postgres("b", config(), &[]).await;
    gateway.credential("openai", OWN).await;
    let limit = 8_000;
    let id = budget(&gateway, json!({"workspace": true, "limit_micros": limit})).await;
    // Gateways that start later know the budget from their first request on.
    let (_second_process, second) = gateway.replica_in("second").await;
    let (_third_process, third) = gateway.replica_in("third").await;
    let at = |origin: &str, key: &str| Client::new(origin).bearer(key).within(WITHIN);
    let key = &gateway.founded.api_key;
    let everywhere = [gateway.client(), at(&second, key), at(&third, key)];
    let body = with(priced(), json!({"user": "emu:chunks=20,interval=10"}));
    let sent = gateway.emulator.journal().len();
    let early = tokio::spawn({
        let (everywhere, body) = (everywhere.clone(), body.clone());
        async move { ask_all(&everywhere, 300, &body).await }
    });
    until("the gateways serve", async || gateway.emulator.journal().len() > sent + 20).await;
    gateway.process().kill9().unwrap();
    early.await.unwrap();
    // The others spend the rest; what the killed gateway leased is unavailable until it is back.
    for _ in 0..6 {
        ask_all(&everywhere[1..], 200, &priced()).await;
    }
    let admin = at(&second, &gateway.founded.admin_key);
    let held = admin.get(&format!("/v2/budgets/{id}")).await.unwrap().json();
    println!("with one dead: {held}");
    gateway.start_again().await;
    // How many requests use up the rest depends on how much the killed gateway held.
    let both = [gateway.client(), everywhere[1].clone()];
    for _ in 0..10 {
        if ask_all(&both, 100, &priced()).await.iter().all(|answer| answer.status != 200) {
            break;
        }
    }
    let view = at_rest(&admin, &id).await;
    let totals = sums(&admin.get("/v2/usage").await.unwrap().json());
    println!("at the end: {view}");
    assert_eq!(view["spent_micros"], totals["provider_cost_micros"], "{view} {totals}");
    let spent = view["spent_micros"].as_i64().unwrap();
    assert!(spent <= limit && spent * 100 >= limit * 90, "{view}");
    assert_eq!(percents(&view), [50, 80, 100], "each once, however many see it");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn without_its_database_a_budget_does_not_open() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::own(directory.path()).await.unwrap();
    let url = server.database(&format!("o_{}", std::process::id())).await.unwrap();
    let key_file = directory.path().join("master.key").display().to_string();
    let environment = [("TIDEGATE_DATABASE_URL", url.as_str()), ("TIDEGATE_MASTER_KEY_FILE", &key_file)];
    let gateway = Gateway::with(config(), &environment).await;
    gateway.credential("openai", OWN).await;
    let id = budget(&gateway, json!({"workspace": true, "limit_micros": 10_000})).await;
    ask_all(&[gateway.client()], 20, &priced()).await;
    server.stop().await.unwrap();
    // The leased amount is spent, and after that no request can be authorised.
    let mut served = 0;
    let refusal = loop {
        let answer = gateway.chat(&priced()).await;
        if answer.status != 200 {
            break answer;
        }
        served += 1;
        assert!(served < 500, "it never stops");
    };
    assert!(served > 0, "a lease lasts without its database");
    refused(&refusal, 503, "budget_unavailable");
    server.start().await.unwrap();
    until("it to come back", async || gateway.chat(&priced()).await.status == 200).await;
    let view = at_rest(&gateway.admin(), &id).await;
    assert_eq!(view["spent_micros"], sums(&gateway.get("/v2/usage").await)["provider_cost_micros"], "{view}");
}
