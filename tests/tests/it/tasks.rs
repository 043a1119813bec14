//! Tasks: runs that nobody waits for, made by a worker, followed, cancelled, made again, listed, rated, told of and deleted.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use harness::Behaviour;
use harness::client::{Client, Streaming};
use harness::postgres::Server;
use harness::setting::number;
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{LLAMA, MINI, problem, with};
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, config, id_of};
use crate::wait::{a_moment, found, until};
use crate::webhooks::Taker;

const RUN: &str = "/apps/run";

pub fn ask(prompt: &str) -> Value {
    json!({"app": MINI, "input": {"prompt": prompt}})
}

async fn gateway() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    gateway
}

pub async fn create(client: &Client, body: &Value) -> Value {
    let answer = client.post(RUN, body).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].clone()
}

pub async fn read(client: &Client, id: &str) -> Value {
    let answer = client.get(&format!("/tasks/{id}")).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].clone()
}

async fn until_status(client: &Client, id: &str, status: u64) -> Value {
    found(&format!("the task {id} is {status}"), async || {
        Some(read(client, id).await).filter(|task| task["status"] == status)
    })
    .await
}

pub async fn ended(client: &Client, id: &str) -> Value {
    found(&format!("the task {id} has ended"), async || {
        Some(read(client, id).await).filter(|task| task["status"].as_u64() >= Some(10))
    })
    .await
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
    let path = format!("/tasks/{id}/stream");
    client.open(Method::GET, &path, &accept, bytes::Bytes::new()).await.unwrap()
}

/// A time in a day, as clients write it.
pub fn in_a_day() -> String {
    let output =
        std::process::Command::new("date").args(["-u", "-d", "+1 day", "+%Y-%m-%dT%H:%M:%SZ"]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_task_is_queued_made_and_read_under_each_profile() {
    let gateway = gateway().await;
    gateway.node("cellar", &[LOCAL_MODEL]).await;
    gateway.account("together_ai", crate::gateway::POOL).await;
    let client = gateway.client();
    for app in [MINI, LOCAL_MODEL, LLAMA] {
        let task = create(&client, &json!({"app": app, "input": {"prompt": "hello there"}})).await;
        assert_eq!((&task["status"], &task["output"]), (&json!(2), &Value::Null), "{task}");
        let done = ended(&client, task["id"].as_str().unwrap()).await;
        assert_eq!((&done["status"], &done["error"]), (&json!(10), &Value::Null), "{done}");
        assert_eq!(done["output"]["response"], "You said: hello there", "{done}");
        let statuses: Vec<_> = done["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["status"].as_u64().unwrap())
            .collect();
        assert_eq!(statuses, [1, 2, 3, 7, 10], "{done}");
        assert!(done["usage_events"][0]["quantity"].as_u64() > Some(0), "{done}");
        let infra = if app == LOCAL_MODEL { "private" } else { "cloud" };
        assert_eq!((&done["infra"], &done["input"]["prompt"]), (&json!(infra), &json!("hello there")));
        // A task and its request share one id.
        let trace = done["id"].as_str().unwrap().replace("tsk_", "trc_");
        let record = gateway.settled(&trace).await;
        assert_eq!(
            (&record["operation"], &record["outcome"]),
            (&json!("run"), &json!("completed")),
            "{record}"
        );
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn who_follows_a_task_gets_its_words_as_they_come_and_who_comes_late_gets_all() {
    let gateway = gateway().await;
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
    assert_eq!((&last["status"], &last["output"]["response"]), (&json!(10), &json!("You said: five six")));
}

/// Follows a task whose first try breaks off once its follower is there, and whose second one says this. The text of the deltas, the
/// output of the last message, and whether the stream ended as it should: of this follower and of one that comes after it.
async fn followed_over_a_failed_try(second: &str) -> [(String, Value, bool); 2] {
    let gateway = gateway().await;
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
    let gateway = gateway().await;
    gateway.emulator.script(OWN, [Behaviour::held().always()]);
    let client = gateway.client();
    let running = create(&client, &ask("never")).await;
    let running = running["id"].as_str().unwrap();
    until("the provider has it", async || gateway.calls(OWN).len() == 1).await;
    until_status(&client, running, 7).await;
    // Rating it says where it is, as reading it does.
    let rated = client.post(&format!("/tasks/{running}/rating"), &json!({"rating": 3})).await.unwrap();
    let rated = rated.json()["data"].clone();
    assert_eq!((&rated["status"], &rated["rating"]), (&json!(7), &json!(3)), "{rated}");
    let later = json!({"run_at": "2099-01-01T00:00:00Z"});
    let refused = client.post(RUN, &with(ask("x"), later)).await.unwrap();
    problem(&refused, 400, "invalid_value");
    let at = in_a_day();
    let waiting = create(&client, &with(ask("later"), json!({"run_at": at}))).await;
    let waiting = waiting["id"].as_str().unwrap();
    problem(&act(&client, waiting, "retry").await, 409, "task_not_finished");
    problem(&client.delete(&format!("/tasks/{waiting}")).await.unwrap(), 409, "task_not_finished");
    for (id, expected) in [(running, 8), (waiting, 12)] {
        let answer = act(&client, id, "cancel").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let status = answer.json()["data"]["status"].as_u64().unwrap();
        assert!(status == expected || status == 12, "{}", answer.text());
        let task = ended(&client, id).await;
        assert_eq!((&task["status"], &task["output"]), (&json!(12), &Value::Null), "{task}");
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
    let last = lines(follow(&client, running).await).await.pop().unwrap();
    assert_eq!(last["status"], 12);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_task_that_fails_is_tried_again_and_tells_why() {
    let gateway = gateway().await;
    // What the pipeline can't mend by itself.
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(6).cut(4), Behaviour::ok()]);
    let client = gateway.client();
    let task = create(&client, &ask("hello there")).await;
    let done = ended(&client, task["id"].as_str().unwrap()).await;
    assert_eq!(
        (&done["status"], &done["output"]["response"]),
        (&json!(10), &json!("You said: hello there")),
        "{done}"
    );
    let log = done["logs"][0]["content"].as_str().unwrap();
    assert!(log.starts_with("try 1 failed: ") && log.contains("the next one is in 1000 ms"), "{done}");
    // For good.
    gateway.emulator.script(OWN, [Behaviour::status(401).always()]);
    let task = create(&client, &ask("hello there")).await;
    let id = task["id"].as_str().unwrap();
    let failed = ended(&client, id).await;
    assert_eq!(
        (&failed["status"], &failed["problem"]["code"]),
        (&json!(11), &json!("upstream_auth_failed")),
        "{failed}"
    );
    assert!(failed["error"].as_str().unwrap().contains("openai"), "{failed}");
    let last = lines(follow(&client, id).await).await.pop().unwrap();
    assert_eq!((&last["status"], &last["error"]), (&json!(11), &failed["error"]));
    // Made again once that is mended, which a verification finds, as a task of its own.
    gateway.emulator.clear_scripts();
    let credential = gateway.get("/v2/provider-credentials").await["data"][0]["id"].clone();
    let verify = format!("/v2/provider-credentials/{}/verify", credential.as_str().unwrap());
    let verified = gateway.admin().post(&verify, &json!({})).await.unwrap();
    assert_eq!(verified.status, 200, "{}", verified.text());
    let again = act(&client, id, "retry").await.json()["data"].clone();
    assert_eq!((&again["retry_of"], &again["status"]), (&json!(id), &json!(2)), "{again}");
    let done = ended(&client, again["id"].as_str().unwrap()).await;
    assert_eq!((&done["status"], &done["output"]["response"]), (&json!(10), &json!("You said: hello there")));
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn tasks_are_listed_rated_timed_and_deleted_in_their_project() {
    let gateway = gateway().await;
    let client = gateway.client();
    let mut ids = Vec::new();
    for number in 0..5 {
        let task = create(&client, &ask(&format!("ask {number}"))).await;
        ids.push(task["id"].as_str().unwrap().to_owned());
        ended(&client, &ids[number]).await;
    }
    ids.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let body = json!({"cursor": cursor, "limit": 2, "direction": "forward", "filters": [], "sort": []});
        let page = client.post("/tasks/list", &body).await.unwrap().json()["data"].clone();
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()),
        );
        cursor = page["next_cursor"].as_str().unwrap().to_owned();
        assert_eq!(page["has_next"], !cursor.is_empty());
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ids);
    let failed = client.get("/v1/tasks?status=failed&limit=3").await.unwrap().json();
    assert_eq!(failed["data"]["items"], json!([]));
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
    let rated = client.post(&format!("{path}/rating"), &json!({"rating": 4})).await.unwrap();
    assert_eq!((rated.status, &rated.json()["data"]["rating"]), (200, &json!(4)), "{}", rated.text());
    assert_eq!(read(&client, &ids[0]).await["rating"], 4);
    problem(
        &client.post(&format!("{path}/rating"), &json!({"rating": 9})).await.unwrap(),
        400,
        "invalid_value",
    );
    let timings = client.get(&format!("{path}/timings")).await.unwrap().json()["data"].clone();
    assert_eq!(
        (&timings["groups"][0]["label"], &timings["groups"][1]["label"]),
        (&json!("queue"), &json!("run"))
    );
    let logs = client.get(&format!("{path}/logs")).await.unwrap().json()["data"].clone();
    assert_eq!(logs["events"].as_array().unwrap().len(), 5, "{logs}");
    let other = id_of(&gateway.make("/v2/projects", json!({"name": "other"})).await);
    let (key, _) =
        gateway.key(json!({"name": "stranger", "scopes": ["inference"], "project_id": other})).await;
    let stranger = gateway.with_key(&key);
    for answer in [
        stranger.get(&path).await.unwrap(),
        act(&stranger, &ids[0], "cancel").await,
        act(&stranger, &ids[0], "retry").await,
        stranger.post(&format!("{path}/rating"), &json!({"rating": 1})).await.unwrap(),
        stranger.delete(&path).await.unwrap(),
    ] {
        problem(&answer, 404, "task_not_found");
    }
    assert_eq!(stranger.get("/tasks").await.unwrap().json()["data"]["items"], json!([]));
    assert_eq!(client.delete(&path).await.unwrap().status, 204);
    problem(&client.get(&path).await.unwrap(), 404, "task_not_found");
    assert_eq!(client.get("/tasks").await.unwrap().json()["data"]["items"].as_array().unwrap().len(), 4);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_task_that_nothing_can_serve_is_refused_before_it_waits() {
    let gateway = gateway().await;
    let client = gateway.client();
    let unknown =
        client.post(RUN, &json!({"app": "nobody/nothing", "input": {"prompt": "x"}})).await.unwrap();
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    // What a text model takes says nothing of a name that nothing has.
    for (path, input) in [(RUN, json!({"number": "1"})), ("/v1/run", json!({}))] {
        let answer = client.post(path, &json!({"app": "nobody/nothing", "input": input})).await.unwrap();
        problem(&answer, 404, "model_not_found");
    }
    let wrong = client.post(RUN, &json!({"app": MINI, "input": {}})).await.unwrap();
    assert_eq!((wrong.status, &wrong.json()["errors"][0]["pointer"]), (422, &json!("/input/prompt")));
    assert_eq!(client.get("/tasks").await.unwrap().json()["data"]["items"], json!([]));
    // Where nothing may be kept, nobody can make it later.
    let credential = gateway.get("/v2/provider-credentials").await["data"][0]["id"].clone();
    let stated = json!({"retention": "zero"});
    gateway
        .patch(&format!("/v2/provider-credentials/{}", credential.as_str().unwrap()), stated.clone())
        .await;
    gateway.make("/v2/policies", with(stated, json!({"project_id": gateway.founded.project_id}))).await;
    let refused = client.post(RUN, &ask("hello there")).await.unwrap();
    assert_eq!(refused.status, 403, "{}", refused.text());
    let waited = client.post(RUN, &with(ask("hello there"), json!({"wait": true}))).await.unwrap();
    assert_eq!((waited.status, &waited.json()["data"]["status"]), (200, &json!(10)), "{}", waited.text());
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn the_end_of_a_task_is_told_to_the_address_that_it_names() {
    let gateway = gateway().await;
    let mut taker = Taker::start().await;
    let task = create(&gateway.client(), &with(ask("hello there"), json!({"webhook": taker.url}))).await;
    let told: Value = serde_json::from_str(&taker.taken().await).unwrap();
    assert_eq!((&told["id"], &told["status"]), (&task["id"], &json!(10)), "{told}");
    assert_eq!(told["output"]["response"], "You said: hello there");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn the_first_of_a_queue_says_when_it_starts_and_a_higher_priority_goes_first() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_TASKS_AT_ONCE_OF_WORKSPACE", "1")]).await;
    gateway.credential("openai", OWN).await;
    let client = gateway.client();
    // One that tells how long they take.
    let first = create(&client, &ask("first")).await;
    ended(&client, first["id"].as_str().unwrap()).await;
    gateway.emulator.script(OWN, [Behaviour::held().times(1), Behaviour::ok().always()]);
    let running = create(&client, &ask("running")).await;
    until("the provider has it", async || gateway.calls(OWN).len() == 2).await;
    let low = create(&client, &with(ask("low"), json!({"priority": "low"}))).await;
    let normal = create(&client, &ask("normal")).await;
    let high = create(&client, &with(ask("high"), json!({"priority": "high"}))).await;
    let of = |task: &Value| task["id"].as_str().unwrap().to_owned();
    for (task, position) in [(&high, 1), (&normal, 2), (&low, 3)] {
        let task = read(&client, &of(task)).await;
        assert_eq!((&task["status"], &task["queue_position"]), (&json!(2), &json!(position)), "{task}");
        assert!(task["estimated_start_at"].is_string(), "{task}");
    }
    gateway.emulator.release();
    for task in [&running, &high, &normal, &low] {
        assert_eq!(ended(&client, &of(task)).await["status"], 10);
    }
    let calls = gateway.calls(OWN);
    let bodies: Vec<String> =
        calls.iter().map(|call| String::from_utf8(call.body.to_vec()).unwrap()).collect();
    let at = |word: &str| bodies.iter().position(|body| body.contains(&format!("\"{word}\""))).unwrap();
    assert!(at("high") < at("normal") && at("normal") < at("low"), "{bodies:?}");
}

/// The process is killed again and again while tasks run: each ends once with its own answer, and each exchange is booked once.
#[cfg(feature = "flows")]
#[tokio::test]
async fn a_kill_loses_no_task_and_ends_none_twice() {
    let (tasks, kills) = (number("TIDEGATE_TASKS").unwrap_or(40), number("TIDEGATE_KILLS").unwrap_or(3));
    let mut gateway = gateway().await;
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_millis(20)).always()]);
    let mut ids = HashSet::new();
    let each = tasks / (kills + 1);
    for round in 0..=kills {
        for number in 0..each {
            let task = create(&gateway.client(), &ask(&format!("ask {round} {number}"))).await;
            assert!(ids.insert((
                task["id"].as_str().unwrap().to_owned(),
                format!("You said: ask {round} {number}")
            )));
        }
        if round < kills {
            gateway.process().kill9().unwrap();
            gateway.start_again().await;
        }
    }
    let client = gateway.client();
    let deadline = Instant::now() + 4 * WITHIN + Duration::from_millis(50) * u32::try_from(tasks).unwrap();
    for (id, said) in &ids {
        let task = loop {
            let task = read(&client, id).await;
            if task["status"].as_u64() >= Some(10) {
                break task;
            }
            assert!(Instant::now() < deadline, "{task}");
            a_moment().await;
        };
        assert_eq!((&task["status"], &task["output"]["response"]), (&json!(10), &json!(said)), "{task}");
        let ends =
            task["events"].as_array().unwrap().iter().filter(|event| event["status"].as_u64() >= Some(10));
        assert_eq!(ends.count(), 1, "{task}");
    }
    // A try that was killed is booked under an id of its own; none is booked twice.
    until("what was answered is booked", async || {
        let rows = gateway.requests(200).await;
        rows.iter().filter(|row| row["outcome"] == "completed").count() >= ids.len()
    })
    .await;
    let rows = gateway.requests(200).await;
    let traces: HashSet<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(traces.len(), rows.len());
    assert!(gateway.calls(OWN).len() >= ids.len());
}

/// Two gateways share a queue. One is killed in the middle; the other does the rest.
#[cfg(feature = "flows")]
#[tokio::test]
async fn two_gateways_share_a_queue_and_one_that_dies_leaves_nothing_behind() {
    let tasks = usize::try_from(number("TIDEGATE_TASKS").unwrap_or(40)).unwrap();
    let server = Server::shared().await.unwrap();
    let url = server.database(&format!("t_{}", std::process::id())).await.unwrap();
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("master.key").display().to_string();
    let environment = [("TIDEGATE_DATABASE_URL", url.as_str()), ("TIDEGATE_MASTER_KEY_FILE", &key_file)];
    let mut gateway = Gateway::with(config(), &environment).await;
    gateway.credential("openai", OWN).await;
    let (mut other, origin) = gateway.replica().await;
    let there = Client::new(&origin).bearer(&gateway.founded.api_key).within(WITHIN);
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_millis(50)).always()]);
    let mut ids = Vec::new();
    for number in 0..tasks {
        let client = if number % 2 == 0 { gateway.client() } else { there.clone() };
        ids.push(create(&client, &ask(&format!("ask {number}"))).await["id"].as_str().unwrap().to_owned());
    }
    // Who follows at one gateway sees the end of what the other makes.
    let last = lines(follow(&there, &ids[0]).await).await.pop().unwrap();
    assert_eq!((&last["status"], &last["output"]["response"]), (&json!(10), &json!("You said: ask 0")));
    gateway.process().kill9().unwrap();
    let deadline = Instant::now() + 4 * WITHIN;
    for (number, id) in ids.iter().enumerate() {
        let task = loop {
            let task = read(&there, id).await;
            if task["status"].as_u64() >= Some(10) {
                break task;
            }
            assert!(Instant::now() < deadline, "{task}");
            a_moment().await;
        };
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
    let gateway = gateway().await;
    let client = gateway.client();
    let body = |levels: usize| with(ask("hello there"), json!({"metadata": nested(levels)}));
    let made = create(&client, &body(100)).await;
    let done = ended(&client, made["id"].as_str().unwrap()).await;
    assert_eq!((&done["status"], &done["metadata"]), (&json!(10), &nested(100)), "{done}");
    for wait in [false, true] {
        let answer = client.post(RUN, &with(body(101), json!({"wait": wait}))).await.unwrap();
        let pointer = &answer.json()["errors"][0]["pointer"];
        assert_eq!((answer.status, pointer), (422, &json!("/metadata")), "{}", answer.text());
    }
    let input = with(ask("hello there"), json!({"input": {"prompt": "x", "more": nested(100)}}));
    let answer = client.post(RUN, &input).await.unwrap();
    assert_eq!((answer.status, &answer.json()["errors"][0]["pointer"]), (422, &json!("/input")));
    let agent = json!({
        "agent_config": {"name": "a", "model": MINI, "instructions": "x"},
        "input": {"text": "hello there"}, "context": nested(101),
    });
    let answer = client.post("/agents/run", &agent).await.unwrap();
    assert_eq!((answer.status, &answer.json()["errors"][0]["pointer"]), (422, &json!("/context")));
}
