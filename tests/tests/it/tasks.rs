//! Tasks: runs that nobody waits for, made by a worker, followed, cancelled, made again, listed, rated, told of and deleted.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use harness::Behaviour;
use harness::client::{Client, Streaming};
use harness::setting::number;
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{LLAMA, MINI, has, problem, with};
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, config, id_of};
use crate::wait::{a_moment, found, until};
use crate::webhooks::Taker;

const RUN: &str = "/apps/run";

pub fn ask(prompt: &str) -> Value {
    json!({"app": MINI, "input": {"prompt": prompt}})
}

pub async fn create(client: &Client, body: &Value) -> Value {
    client.post(RUN, body).await.unwrap().must_be(200).json()["data"].clone()
}

pub async fn read(client: &Client, id: &str) -> Value {
    client.get(&format!("/tasks/{id}")).await.unwrap().must_be(200).json()["data"].clone()
}

async fn until_status(client: &Client, id: &str, status: u64) -> Value {
    found(&format!("the task {id} is {status}"), async || {
        Some(read(client, id).await).filter(|task| task["status"] == status)
    })
    .await
}

pub async fn ended(client: &Client, id: &str) -> Value {
    ended_before(client, id, Instant::now() + WITHIN).await
}

async fn ended_before(client: &Client, id: &str, deadline: Instant) -> Value {
    loop {
        let task = read(client, id).await;
        if task["status"].as_u64() >= Some(10) {
            return task;
        }
        assert!(Instant::now() < deadline, "{task}");
        a_moment().await;
    }
}

/// A task that is made, once it has ended.
pub async fn made(client: &Client, body: &Value) -> Value {
    ended(client, &queued(client, body).await).await
}

/// The id of a task that is made.
pub async fn queued(client: &Client, body: &Value) -> String {
    id_of(&create(client, body).await)
}

/// Waits until so many exchanges are booked as completed; none is booked twice. A try that was killed is booked under an id of its own.
pub async fn each_booked_once(gateway: &Gateway, completed: usize) {
    let rows = found("what was answered is booked", async || {
        let rows = gateway.requests(200).await;
        (rows.iter().filter(|row| row["outcome"] == "completed").count() >= completed).then_some(rows)
    });
    let rows = rows.await;
    assert_eq!(rows.iter().map(id_of).collect::<HashSet<_>>().len(), rows.len());
}

pub async fn act(client: &Client, id: &str, act: &str) -> harness::client::Answer {
    client.post(&format!("/tasks/{id}/{act}"), &json!({})).await.unwrap()
}

/// The messages of a stream of lines, to its end.
async fn lines(mut stream: Streaming) -> Vec<Value> {
    let text = String::from_utf8(stream.rest().await.unwrap().to_vec()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The text of the deltas among the messages of a stream.
fn text_of(messages: &[Value]) -> String {
    let deltas = messages.iter().filter(|message| message["event"] == "delta");
    deltas.map(|delta| delta["data"]["delta"]["response"].as_str().unwrap()).collect()
}

async fn follow(client: &Client, id: &str) -> Streaming {
    let accept = [("accept", "application/x-ndjson")];
    client.open(Method::GET, &format!("/tasks/{id}/stream"), &accept, bytes::Bytes::new()).await.unwrap()
}

/// A time in a day, as clients write it.
pub fn in_a_day() -> String {
    let output = std::process::Command::new("date").args(["-u", "-d", "+1 day", "+%FT%TZ"]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_task_is_queued_made_and_read_under_each_profile() {
    let gateway = Gateway::with_own().await;
    gateway.node("cellar", &[LOCAL_MODEL]).await;
    gateway.account("together_ai", crate::gateway::POOL).await;
    let client = gateway.client();
    for app in [MINI, LOCAL_MODEL, LLAMA] {
        let task = create(&client, &json!({"app": app, "input": {"prompt": "hello there"}})).await;
        has(&task, json!({"status": 2, "output": null}));
        let done = ended(&client, &id_of(&task)).await;
        has(&done, json!({"status": 10, "error": null, "/output/response": "You said: hello there"}));
        let statuses = done["events"].as_array().unwrap().iter().map(|event| event["status"].as_u64());
        assert_eq!(statuses.collect::<Vec<_>>(), [1, 2, 3, 7, 10].map(Some), "{done}");
        assert!(done["usage_events"][0]["quantity"].as_u64() > Some(0), "{done}");
        let infra = if app == LOCAL_MODEL { "private" } else { "cloud" };
        has(&done, json!({"infra": infra, "/input/prompt": "hello there"}));
        // A task and its request share one id.
        let record = gateway.settled(&id_of(&done).replace("tsk_", "trc_")).await;
        has(&record, json!({"operation": "run", "outcome": "completed"}));
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn who_follows_a_task_gets_its_words_as_they_come_and_who_comes_late_gets_all() {
    let gateway = Gateway::with_own().await;
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(6).stall_for(3, Duration::from_millis(400))]);
    let client = gateway.client();
    let task = create(&client, &ask("one two three four")).await;
    let id = task["id"].as_str().unwrap();
    let messages = lines(follow(&client, id).await).await;
    let (first, last) = (messages.first().unwrap(), messages.last().unwrap());
    assert_eq!((&first["id"], &last["id"], &last["status"]), (&task["id"], &task["id"], &json!(10)));
    let deltas: Vec<&Value> = messages.iter().filter(|message| message["event"] == "delta").collect();
    assert!(deltas.len() > 1, "{messages:?}");
    // The deltas have all of it, whenever their reader came.
    assert_eq!(first["output"], Value::Null);
    assert_eq!(text_of(&messages), last["output"]["response"].as_str().unwrap());
    let numbers: Vec<_> = deltas.iter().map(|delta| delta["data"]["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=deltas.len() as u64).collect::<Vec<_>>());
    let late = lines(follow(&client, id).await).await;
    assert_eq!(late, std::slice::from_ref(last), "who comes late gets the whole state once");
    // The same by one request, as server-sent events.
    let accept = [("accept", "text/event-stream"), ("content-type", "application/json")];
    let body = ask("five six").to_string();
    let mut stream = client.open(Method::POST, "/v1/run", &accept, body.into()).await.unwrap();
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let (events, end) = stream.events().await;
    end.unwrap();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    has(&last, json!({"status": 10, "/output/response": "You said: five six"}));
}

/// Follows a task whose first try breaks off once its follower is there, and whose second one says this. The text of the deltas, the
/// output of the last message, and whether the stream ended as it should: of this follower and of one that comes after it.
async fn followed_over_a_failed_try(second: &str) -> [(String, Value, bool); 2] {
    let gateway = Gateway::with_own().await;
    let broken = Behaviour::held().text("one two three four").chunks(4).cut(3);
    gateway.emulator.script(OWN, [broken, Behaviour::ok().text(second)]);
    let client = gateway.client();
    let task = create(&client, &ask("x")).await;
    until("the provider has it", async || gateway.calls(OWN).len() == 1).await;
    let read = async || {
        let mut stream = follow(&client, task["id"].as_str().unwrap()).await;
        let mut read = stream.chunk().await.unwrap().unwrap().to_vec();
        gateway.emulator.release();
        let is_whole = loop {
            match stream.chunk().await {
                Ok(Some(chunk)) => read.extend_from_slice(&chunk),
                end => break end.is_ok(),
            }
        };
        let text = String::from_utf8(read).unwrap();
        let messages: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (text_of(&messages), messages.last().unwrap()["output"]["response"].clone(), is_whole)
    };
    [read().await, read().await]
}

#[tokio::test]
async fn a_stream_breaks_off_where_a_further_try_says_something_else() {
    let [(text, _, is_whole), again] = followed_over_a_failed_try("five six").await;
    assert!("one two three four".starts_with(&text) && !text.is_empty() && !is_whole, "{text}");
    let (text, last, is_whole) = again;
    assert!(text.is_empty() || text == "five six", "{text}");
    assert_eq!((last, is_whole), (json!("five six"), true));
    // A try that says the same goes on where the one before broke off.
    let same = "one two three four";
    let [first, (_, last, is_whole)] = followed_over_a_failed_try(same).await;
    assert_eq!(first, (same.to_owned(), json!(same), true));
    assert_eq!((last, is_whole), (json!(same), true));
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_cancellation_reaches_the_upstream_and_a_task_that_waits_never_begins() {
    let gateway = Gateway::with_own().await;
    gateway.emulator.script(OWN, [Behaviour::held().always()]);
    let client = gateway.client();
    let running = &*queued(&client, &ask("never")).await;
    until("the provider has it", async || gateway.calls(OWN).len() == 1).await;
    until_status(&client, running, 7).await;
    // Rating it says where it is, as reading it does.
    let rated = client.post(&format!("/tasks/{running}/rating"), &json!({"rating": 3})).await.unwrap();
    has(&rated.json()["data"], json!({"status": 7, "rating": 3}));
    let refused = client.post(RUN, &with(ask("x"), json!({"run_at": "2099-01-01T00:00:00Z"}))).await.unwrap();
    problem(&refused, 400, "invalid_value");
    let waiting = &*queued(&client, &with(ask("later"), json!({"run_at": in_a_day()}))).await;
    problem(&act(&client, waiting, "retry").await, 409, "task_not_finished");
    problem(&client.delete(&format!("/tasks/{waiting}")).await.unwrap(), 409, "task_not_finished");
    for (id, expected) in [(running, 8), (waiting, 12)] {
        let answer = act(&client, id, "cancel").await.must_be(200);
        let status = answer.json()["data"]["status"].as_u64().unwrap();
        assert!(status == expected || status == 12, "{}", answer.text());
        has(&ended(&client, id).await, json!({"status": 12, "output": null}));
        problem(&act(&client, id, "cancel").await, 409, "task_finished");
    }
    until("the provider sees that it is gone", async || {
        gateway.calls(OWN)[0].outcome == harness::Outcome::Cancelled
    })
    .await;
    let record = gateway.settled(&running.replace("tsk_", "trc_")).await;
    assert_eq!(record["outcome"], "client_cancelled", "{record}");
    assert_eq!(gateway.calls(OWN).len(), 1, "what waited never began");
    // Who follows a cancelled task learns it.
    assert_eq!(lines(follow(&client, running).await).await.pop().unwrap()["status"], 12);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_task_that_fails_is_tried_again_and_tells_why() {
    let gateway = Gateway::with_own().await;
    // What the pipeline can't mend by itself.
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(6).cut(4), Behaviour::ok()]);
    let client = gateway.client();
    let done = made(&client, &ask("hello there")).await;
    has(&done, json!({"status": 10, "/output/response": "You said: hello there"}));
    let log = done["logs"][0]["content"].as_str().unwrap();
    assert!(log.starts_with("try 1 failed: ") && log.contains("the next one is in 1000 ms"), "{done}");
    // For good.
    gateway.emulator.script(OWN, [Behaviour::status(401).always()]);
    let failed = made(&client, &ask("hello there")).await;
    let id = failed["id"].as_str().unwrap();
    has(&failed, json!({"status": 11, "/problem/code": "upstream_auth_failed"}));
    assert!(failed["error"].as_str().unwrap().contains("openai"), "{failed}");
    let last = lines(follow(&client, id).await).await.pop().unwrap();
    has(&last, json!({"status": 11, "error": failed["error"]}));
    // Made again once that is mended, which a verification finds, as a task of its own.
    gateway.emulator.clear_scripts();
    let credential = id_of(&gateway.get("/v2/provider-credentials").await["data"][0]);
    let verify = format!("/v2/provider-credentials/{credential}/verify");
    gateway.admin().post(&verify, &json!({})).await.unwrap().must_be(200);
    let again = act(&client, id, "retry").await.json()["data"].clone();
    has(&again, json!({"retry_of": id, "status": 2}));
    let done = ended(&client, &id_of(&again)).await;
    has(&done, json!({"status": 10, "/output/response": "You said: hello there"}));
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn tasks_are_listed_rated_timed_and_deleted_in_their_project() {
    let gateway = Gateway::with_own().await;
    let client = gateway.client();
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(id_of(&made(&client, &ask(&format!("ask {number}"))).await));
    }
    ids.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let body = json!({"cursor": cursor, "limit": 2, "direction": "forward", "filters": [], "sort": []});
        let page = client.post("/tasks/list", &body).await.unwrap().json()["data"].clone();
        seen.extend(page["items"].as_array().unwrap().iter().map(id_of));
        cursor = page["next_cursor"].as_str().unwrap().to_owned();
        assert_eq!(page["has_next"], !cursor.is_empty());
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ids);
    let listed = async |client: &Client, path: &str| {
        client.get(path).await.unwrap().json()["data"]["items"].as_array().unwrap().len()
    };
    assert_eq!(listed(&client, "/v1/tasks?status=failed&limit=3").await, 0);
    for filters in [
        json!([{"field": "status", "operator": "neq", "value": 10}]),
        json!([{"field": "app", "operator": "eq", "value": {"a": 1}}]),
    ] {
        let answer = client.post("/tasks/list", &json!({"filters": filters, "limit": 100})).await.unwrap();
        problem(&answer, 400, "invalid_value");
    }
    let either = json!({"filters": [{"field": "status", "operator": "in", "value": [10, 11]}]});
    let either = client.post("/tasks/list", &either).await.unwrap().json()["data"].clone();
    assert_eq!(either["items"].as_array().unwrap().len(), 5);
    let path = format!("/tasks/{}", ids[0]);
    let rate = async |client: &Client, rating: u32| {
        client.post(&format!("{path}/rating"), &json!({"rating": rating})).await.unwrap()
    };
    assert_eq!(rate(&client, 4).await.must_be(200).json()["data"]["rating"], 4);
    assert_eq!(read(&client, &ids[0]).await["rating"], 4);
    problem(&rate(&client, 9).await, 400, "invalid_value");
    let timings = client.get(&format!("{path}/timings")).await.unwrap().json()["data"].clone();
    has(&timings["groups"], json!({"/0/label": "queue", "/1/label": "run"}));
    let logs = client.get(&format!("{path}/logs")).await.unwrap().json()["data"].clone();
    assert_eq!(logs["events"].as_array().unwrap().len(), 5, "{logs}");
    let stranger = gateway.other_project().await;
    for answer in [
        stranger.get(&path).await.unwrap(),
        act(&stranger, &ids[0], "cancel").await,
        act(&stranger, &ids[0], "retry").await,
        rate(&stranger, 1).await,
        stranger.delete(&path).await.unwrap(),
    ] {
        problem(&answer, 404, "task_not_found");
    }
    assert_eq!(listed(&stranger, "/tasks").await, 0);
    assert_eq!(client.delete(&path).await.unwrap().status, 204);
    problem(&client.get(&path).await.unwrap(), 404, "task_not_found");
    assert_eq!(listed(&client, "/tasks").await, 4);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_task_that_nothing_can_serve_is_refused_before_it_waits() {
    let gateway = Gateway::with_own().await;
    let client = gateway.client();
    client.post(RUN, &json!({"app": "nobody/nothing", "input": {"prompt": "x"}})).await.unwrap().must_be(404);
    // What a text model takes says nothing of a name that nothing has.
    for (path, input) in [(RUN, json!({"number": "1"})), ("/v1/run", json!({}))] {
        let answer = client.post(path, &json!({"app": "nobody/nothing", "input": input})).await.unwrap();
        problem(&answer, 404, "model_not_found");
    }
    let wrong = client.post(RUN, &json!({"app": MINI, "input": {}})).await.unwrap().must_be(422).json();
    assert_eq!(wrong["errors"][0]["pointer"], "/input/prompt");
    assert_eq!(client.get("/tasks").await.unwrap().json()["data"]["items"], json!([]));
    // Where nothing may be kept, nobody can make it later.
    gateway.keeps_nothing().await;
    client.post(RUN, &ask("hello there")).await.unwrap().must_be(403);
    assert_eq!(create(&client, &with(ask("hello there"), json!({"wait": true}))).await["status"], 10);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn the_end_of_a_task_is_told_to_the_address_that_it_names() {
    let gateway = Gateway::with_own().await;
    let mut taker = Taker::start().await;
    let task = create(&gateway.client(), &with(ask("hello there"), json!({"webhook": taker.url}))).await;
    let told: Value = serde_json::from_str(&taker.taken().await).unwrap();
    has(&told, json!({"id": task["id"], "status": 10, "/output/response": "You said: hello there"}));
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn the_first_of_a_queue_says_when_it_starts_and_a_higher_priority_goes_first() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_TASKS_AT_ONCE_OF_WORKSPACE", "1")]).await;
    gateway.credential("openai", OWN).await;
    let client = gateway.client();
    // One that tells how long they take.
    made(&client, &ask("first")).await;
    gateway.emulator.script(OWN, [Behaviour::held().times(1), Behaviour::ok().always()]);
    let running = queued(&client, &ask("running")).await;
    until("the provider has it", async || gateway.calls(OWN).len() == 2).await;
    let low = queued(&client, &with(ask("low"), json!({"priority": "low"}))).await;
    let normal = queued(&client, &ask("normal")).await;
    let high = queued(&client, &with(ask("high"), json!({"priority": "high"}))).await;
    for (id, position) in [(&high, 1), (&normal, 2), (&low, 3)] {
        let task = read(&client, id).await;
        has(&task, json!({"status": 2, "queue_position": position}));
        assert!(task["estimated_start_at"].is_string(), "{task}");
    }
    gateway.emulator.release();
    for id in [&running, &high, &normal, &low] {
        assert_eq!(ended(&client, id).await["status"], 10);
    }
    let bodies: Vec<String> = gateway.sent(OWN).iter().map(Value::to_string).collect();
    let at = |word: &str| bodies.iter().position(|body| body.contains(&format!("\"{word}\""))).unwrap();
    assert!(at("high") < at("normal") && at("normal") < at("low"), "{bodies:?}");
}

/// The process is killed again and again while tasks run: each ends once with its own answer, and each exchange is booked once.
#[cfg(feature = "flows")]
#[tokio::test]
async fn a_kill_loses_no_task_and_ends_none_twice() {
    let (tasks, kills) = (number("TIDEGATE_TASKS").unwrap_or(40), number("TIDEGATE_KILLS").unwrap_or(3));
    let mut gateway = Gateway::with_own().await;
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_millis(20)).always()]);
    let mut ids = HashSet::new();
    let each = tasks / (kills + 1);
    for round in 0..=kills {
        for number in 0..each {
            let prompt = format!("ask {round} {number}");
            let id = queued(&gateway.client(), &ask(&prompt)).await;
            assert!(ids.insert((id, format!("You said: {prompt}"))));
        }
        if round < kills {
            gateway.process().kill9().unwrap();
            gateway.start_again().await;
        }
    }
    let client = gateway.client();
    let deadline = Instant::now() + 4 * WITHIN + Duration::from_millis(50) * u32::try_from(tasks).unwrap();
    for (id, said) in &ids {
        let task = ended_before(&client, id, deadline).await;
        has(&task, json!({"status": 10, "/output/response": said}));
        let is_end = |event: &&Value| event["status"].as_u64() >= Some(10);
        assert_eq!(task["events"].as_array().unwrap().iter().filter(is_end).count(), 1, "{task}");
    }
    each_booked_once(&gateway, ids.len()).await;
    assert!(gateway.calls(OWN).len() >= ids.len());
}

/// Two gateways share a queue. One is killed in the middle; the other does the rest.
#[cfg(feature = "flows")]
#[tokio::test]
async fn two_gateways_share_a_queue_and_one_that_dies_leaves_nothing_behind() {
    let tasks = usize::try_from(number("TIDEGATE_TASKS").unwrap_or(40)).unwrap();
    let mut gateway = Gateway::over_postgres("t", config(), &[]).await;
    gateway.credential("openai", OWN).await;
    let (mut other, origin) = gateway.replica().await;
    let there = gateway.client_at(&origin);
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_millis(50)).always()]);
    let mut ids = Vec::new();
    for number in 0..tasks {
        let client = if number % 2 == 0 { gateway.client() } else { there.clone() };
        ids.push(queued(&client, &ask(&format!("ask {number}"))).await);
    }
    // Who follows at one gateway sees the end of what the other makes.
    let last = lines(follow(&there, &ids[0]).await).await.pop().unwrap();
    has(&last, json!({"status": 10, "/output/response": "You said: ask 0"}));
    gateway.process().kill9().unwrap();
    let deadline = Instant::now() + 4 * WITHIN;
    for (number, id) in ids.iter().enumerate() {
        let task = ended_before(&there, id, deadline).await;
        assert_eq!(task["output"]["response"], format!("You said: ask {number}"), "{task}");
    }
    other.stop(WITHIN).await.unwrap();
    gateway.start_again().await;
}

/// A value with so many brackets within each other, the outermost an object's.
fn nested(levels: usize) -> Value {
    json!({"a": (1..levels).fold(json!("deep"), |inner, _| json!([inner]))})
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn what_is_nested_too_deep_to_be_read_again_is_refused_at_the_door() {
    let gateway = Gateway::with_own().await;
    let client = gateway.client();
    let body = |levels: usize| with(ask("hello there"), json!({"metadata": nested(levels)}));
    has(&made(&client, &body(100)).await, json!({"status": 10, "metadata": nested(100)}));
    let config = json!({"name": "a", "model": MINI, "instructions": "x"});
    let agent = json!({"agent_config": config, "input": {"text": "hello there"}, "context": nested(101)});
    let input = with(ask("hello there"), json!({"input": {"prompt": "x", "more": nested(100)}}));
    for (path, body, pointer) in [
        (RUN, with(body(101), json!({"wait": false})), "/metadata"),
        (RUN, with(body(101), json!({"wait": true})), "/metadata"),
        (RUN, input, "/input"),
        ("/agents/run", agent, "/context"),
    ] {
        let refused = client.post(path, &body).await.unwrap().must_be(422).json();
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{path}");
    }
}
