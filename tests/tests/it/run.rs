//! `/v1/run`: a copied code snippet works with only its base URL and key changed.

use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::Behaviour;
use harness::client::Answer;
use serde_json::{Value, json};

use crate::ask::{LLAMA, MINI, has, problem, shape, trace_of, with};
use crate::command::workspace;
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, POOL, id_of};
use crate::sdk::drive;

const REPORT: &str = "Revenue rose by 4 %, costs fell.";

fn ask(app: &str, input: Value) -> Value {
    json!({"app": app, "input": input})
}

fn hello() -> Value {
    ask(MINI, json!({"prompt": "hello there"}))
}

async fn run(gateway: &Gateway, body: &Value) -> Answer {
    gateway.client().post("/v1/run", body).await.unwrap()
}

/// The task of a completed answer.
fn completed(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let task = answer.json()["data"].clone();
    assert_eq!(task["status"], 10, "{}", answer.text());
    task
}

/// Serves one document on loopback, one request per connection.
async fn serve_document(content_type: &'static str, body: &'static str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/report.txt", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let _ = socket.read(&mut buffer).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    url
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn the_seeds_snippet_answers() {
    let gateway = Gateway::with_own().await;
    let document = serve_document("text/plain", REPORT).await;
    let snippet = "
import requests, sys
base_url, key, document_url = sys.argv[1:]
response = requests.post(
    base_url + '/v1/run',
    headers={'Authorization': 'Bearer ' + key},
    json={
        'app': 'openai/gpt-4o-mini',
        'input': {
            'prompt': 'Summarize this quarterly report',
            'document': document_url
        }
    }
)
result = response.json()
assert response.status_code == 200, result
assert result['data']['status'] == 10, result
print(result['data']['output'])
";
    let python = workspace().join(".venv/bin/python");
    let arguments = [gateway.origin.clone(), gateway.founded.api_key.clone(), document];
    let snippet = tokio::task::spawn_blocking(move || {
        Command::new(python).args(["-c", snippet]).args(arguments).env("NO_PROXY", "*").output().unwrap()
    });
    let output = snippet.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("You said"), "{output:?}");
    let sent = String::from_utf8(gateway.calls(OWN)[0].body.to_vec()).unwrap();
    assert!(sent.contains("Summarize this quarterly report") && sent.contains("Revenue rose"), "{sent}");
}

#[tokio::test]
async fn every_path_and_envelope() {
    let gateway = Gateway::with_own().await;
    // The published clients' own addresses answer at once, unless they are told to wait.
    let body = with(hello(), json!({"wait": true}));
    for path in ["/v1/run", "/run", "/v1/apps/run", "/apps/run"] {
        let answer = gateway.client().post(path, &body).await.unwrap();
        let task = completed(&answer);
        assert!(answer.json()["messages"].is_array(), "{path}: {}", answer.text());
        assert_eq!(task["output"]["response"], "You said: hello there", "{path}");
        assert_eq!(answer.header("agent-execution-profile"), Some("byok"), "{path}");
        has(&gateway.settled(&trace_of(&answer)).await, json!({"operation": "run", "outcome": "completed"}));
    }
    let post = async |version: &str| {
        gateway.client().header("x-api-version", version).post("/v1/run", &body).await.unwrap().json()
    };
    has(&post("1").await, json!({"success": true, "/data/status": 10}));
    let second = post("2").await;
    assert_eq!(second["status"], 10, "a bare object: {second}");
}

#[tokio::test]
async fn one_shape_whatever_served() {
    let gateway = Gateway::with_own().await;
    gateway.account("together_ai", POOL).await;
    gateway.node("rack", &[LOCAL_MODEL]).await;
    let mut shapes = Vec::new();
    for (app, profile) in [(MINI, "byok"), (LLAMA, "managed_provider"), (LOCAL_MODEL, "byoc")] {
        let answer = run(&gateway, &ask(app, json!({"prompt": "hello there"}))).await;
        assert_eq!(answer.header("agent-execution-profile"), Some(profile));
        assert_eq!(completed(&answer)["output"]["response"], "You said: hello there");
        shapes.push(shape(&answer.json()));
    }
    assert_eq!(shapes[..2], shapes[1..]);
    let usage = gateway.wait_for_usage(3).await;
    assert_eq!(usage["output_tokens"], gateway.emulator.totals().all.completion_tokens);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn documents_go_along() {
    let gateway = Gateway::with_own().await;
    let served = serve_document("text/plain; charset=utf-8", REPORT).await;
    let data = format!("data:text/plain;base64,{}", STANDARD.encode(REPORT));
    for document in [served, data] {
        completed(&run(&gateway, &ask(MINI, json!({"prompt": "Summarize", "document": document}))).await);
        let sent = String::from_utf8(gateway.calls(OWN).pop().unwrap().body.to_vec()).unwrap();
        assert!(sent.contains("Revenue rose by 4 %"), "{sent}");
    }
    // If private addresses are not allowed, no document is fetched from one.
    let strict = Gateway::with(crate::gateway::config(), &[("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS", "0")]).await;
    let (echo, touched) = (tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(), "/x.txt");
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let url = format!("http://{host}:{}{touched}", echo.local_addr().unwrap().port());
        let answer = run(&strict, &ask(MINI, json!({"prompt": "Summarize", "document": url}))).await;
        assert!((400..=404).contains(&answer.status), "{host}: {} {}", answer.status, answer.text());
    }
    let accepted = tokio::time::timeout(std::time::Duration::from_millis(50), echo.accept()).await;
    assert!(accepted.is_err(), "the address was connected to");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn wrong_inputs_are_told_by_their_place() {
    let gateway = Gateway::with_own().await;
    let cases = [
        (json!({"input": {"prompt": "x"}}), "app"),
        (json!({"app": MINI}), "input"),
        (ask(MINI, json!({})), "prompt"),
        (ask(MINI, json!({"prompt": 3})), "prompt"),
        (ask(MINI, json!({"prompt": "x", "document": 4})), "document"),
        (ask(MINI, json!("x")), "input"),
        (ask(MINI, json!({"prompt": "x", "document": "data:text/plain;base64,%%%"})), "document"),
        (ask(MINI, json!({"prompt": "x", "document": "ftp://somewhere/x"})), "document"),
    ];
    for (body, param) in cases {
        let answer = run(&gateway, &body).await;
        assert!(matches!(answer.status, 400 | 422), "{body}: {} {}", answer.status, answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let document = answer.json();
        let text = document.to_string();
        assert!(document["param"].as_str().unwrap_or(&text).contains(param), "{body}: {document}");
        assert!(document["fix"].is_string() && document["request_id"].is_string(), "{document}");
    }
    run(&gateway, &ask("nobody/nothing", json!({"prompt": "x"}))).await.must_be(404);
    assert_eq!(gateway.emulator.journal().len(), 0);
    // A provider's failure is a failure of the run, in the wire format of runs.
    gateway.emulator.script(OWN, [Behaviour::status(401)]);
    problem(&run(&gateway, &ask(MINI, json!({"prompt": "x"}))).await, 502, "upstream_auth_failed");
}

/// The vendor's own clients, unmodified: the first call in their documentation, and the ones that follow it.
#[cfg(feature = "sdk")]
#[tokio::test]
async fn the_vendors_clients_run_wait_stream_and_poll() {
    let gateway = Gateway::with_own().await;
    let python = workspace().join(".venv/bin/python");
    // The second call is followed, and some of its text is there before its follower is.
    let slow = Behaviour::ok().stall_for(2, Duration::from_millis(400));
    gateway.emulator.script(OWN, [Behaviour::ok(), slow]);
    assert_eq!(drive(python, workspace().join("tests/sdk/tasks.py"), &gateway).await.held, 13);
    assert_eq!(drive("node".into(), workspace().join("tests/node/tasks.mjs"), &gateway).await.held, 18);
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_finished_task_is_read_followed_and_forgotten_in_its_project() {
    let gateway = Gateway::with_own().await;
    let task = completed(&run(&gateway, &hello()).await);
    let id = task["id"].as_str().unwrap();
    let client = gateway.client();
    for root in ["/tasks", "/v1/tasks"] {
        assert_eq!(client.get(&format!("{root}/{id}")).await.unwrap().must_be(200).json()["data"], task);
        let state = client.get(&format!("{root}/{id}/status")).await.unwrap().json();
        has(&state["data"], json!({"status": 10, "id": task["id"]}));
        let stream = client.get(&format!("{root}/{id}/stream")).await.unwrap();
        assert_eq!(stream.header("content-type"), Some("application/x-ndjson"));
        let text = stream.text();
        assert_eq!((stream.json(), text.lines().count()), (task.clone(), 1), "{text}");
    }
    let events = gateway.client().header("accept", "text/event-stream");
    let events = events.get(&format!("/tasks/{id}/stream")).await.unwrap();
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    assert!(events.text().starts_with("data: {"), "{}", events.text());
    // The body asks for a stream, too, as of every other dialect.
    let wanted = with(hello(), json!({"stream": true}));
    let streamed = gateway.client().post("/v1/run", &wanted).await.unwrap();
    assert_eq!(streamed.header("content-type"), Some("text/event-stream"));
    let text = streamed.text();
    let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
    assert_eq!(serde_json::from_str::<Value>(last).unwrap()["status"], 10, "{text}");
    let bare = gateway.client().header("x-api-version", "2");
    assert_eq!(bare.get(&format!("/tasks/{id}")).await.unwrap().json(), task);
    // A task is visible only to its project.
    let stranger = gateway.other_project().await;
    for (who, at, code) in [
        (&stranger, id, "task_not_found"),
        (&stranger, &format!("{id}/stream"), "task_not_found"),
        (&client, "tsk_01900000000070008000000000000000", "task_not_found"),
        (&client, &format!("{id}/files/x"), "unknown_path"),
        (&client, "list", "unknown_path"),
    ] {
        problem(&who.get(&format!("/tasks/{at}")).await.unwrap(), 404, code);
    }
    let path = format!("/tasks/{id}");
    problem(&client.post(&format!("{path}/cancel"), &json!({})).await.unwrap(), 409, "task_finished");
    assert_eq!(stranger.delete(&path).await.unwrap().status, 404);
    assert_eq!(client.delete(&path).await.unwrap().status, 204);
    assert_eq!(client.get(&path).await.unwrap().status, 404);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_task_outlives_its_process_and_a_policy_may_forbid_to_keep_it() {
    let mut gateway = Gateway::with_own().await;
    let task = completed(&run(&gateway, &hello()).await);
    gateway.stop().await;
    gateway.start_again().await;
    let path = format!("/tasks/{}", id_of(&task));
    assert_eq!(gateway.client().get(&path).await.unwrap().json()["data"], task);
    gateway.keeps_nothing().await;
    let answer = run(&gateway, &hello()).await;
    assert_eq!(answer.json()["messages"][0]["code"], "task_not_kept", "{}", answer.text());
    let path = format!("/tasks/{}", id_of(&completed(&answer)));
    assert_eq!(gateway.client().get(&path).await.unwrap().status, 404);
}

/// What was answered a moment before a kill is there after the next start, once.
#[cfg(feature = "flows")]
#[tokio::test]
async fn a_kill_right_after_the_answer_loses_no_task() {
    let mut gateway = Gateway::with_own().await;
    let mut answered = Vec::new();
    for _ in 0..5 {
        for _ in 0..3 {
            answered.push(completed(&run(&gateway, &hello()).await));
        }
        gateway.crash().await;
    }
    for task in &answered {
        let path = format!("/tasks/{}", id_of(task));
        assert_eq!(&gateway.client().get(&path).await.unwrap().json()["data"], task);
    }
    let listed = gateway.client().get("/tasks?limit=100").await.unwrap().json();
    assert_eq!(listed["data"]["items"].as_array().map(Vec::len), Some(answered.len()), "{listed}");
}

/// A fetched PDF or image is passed to a model that supports it; a model that doesn't is refused with an
/// error about the document.
#[cfg(feature = "flows")]
#[tokio::test]
async fn what_models_look_at_themselves_goes_to_them_as_it_is() {
    let gateway = Gateway::with_own().await;
    let pdf = json!({"filename": "report.txt", "file_data": "data:application/pdf;base64,JVBERi0xLjQ="});
    let image = json!({"url": "data:image/gif;base64,R0lGODlh"});
    for (kind, body, expected) in [
        ("application/pdf", "%PDF-1.4", json!({"type": "file", "file": pdf})),
        ("image/gif", "GIF89a", json!({"type": "image_url", "image_url": image})),
    ] {
        let document = serve_document(kind, body).await;
        completed(&run(&gateway, &ask(MINI, json!({"prompt": "Summarize", "document": document}))).await);
        let sent = gateway.sent(OWN).pop().unwrap();
        has(&sent["messages"][0]["content"], json!({"/0": expected, "/1/text": "Summarize"}));
    }
    assert_eq!(gateway.emulator.violations(), []);
}
