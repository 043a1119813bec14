//! `/v1/run`: the snippet that people copied from elsewhere, with only its base URL and key changed.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::client::Answer;
use serde_json::{Value, json};

use crate::ask::{LLAMA, MINI, shape};
use crate::command::workspace;
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, POOL};

const PATHS: [&str; 4] = ["/v1/run", "/run", "/v1/apps/run", "/apps/run"];
const REPORT: &str = "Revenue rose by 4 %, costs fell.";

fn ask(app: &str, input: Value) -> Value {
    json!({"app": app, "input": input})
}

async fn run(gateway: &Gateway, body: &Value) -> Answer {
    gateway.client().post("/v1/run", body).await.unwrap()
}

/// The task of an answer that completed.
fn completed(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let task = answer.json()["data"].clone();
    assert_eq!(task["status"], 10, "{}", answer.text());
    task
}

/// The one text among the values of an output.
fn text_of(task: &Value) -> String {
    let texts: Vec<&str> = task["output"].as_object().unwrap().values().filter_map(Value::as_str).collect();
    let longest = texts.iter().max_by_key(|text| text.len());
    (*longest.unwrap_or_else(|| panic!("no text: {task}"))).to_owned()
}

/// Serves one document on the loopback, once for each connection.
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

#[tokio::test]
async fn the_seeds_snippet_answers() {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
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
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    let body = ask(MINI, json!({"prompt": "hello there"}));
    for path in PATHS {
        let answer = gateway.client().post(path, &body).await.unwrap();
        let task = completed(&answer);
        assert!(answer.json()["messages"].is_array(), "{path}: {}", answer.text());
        assert_eq!(text_of(&task), "You said: hello there", "{path}");
        assert_eq!(answer.header("agent-execution-profile"), Some("byok"), "{path}");
        let trace = crate::ask::trace_of(&answer);
        let request = gateway.settled(&trace).await;
        assert_eq!(
            (&request["operation"], &request["outcome"]),
            (&json!("run"), &json!("completed")),
            "{request}"
        );
    }
    let post = async |version: &str| {
        let client = gateway.client().header("x-api-version", version);
        client.post("/v1/run", &body).await.unwrap().json()
    };
    let first = post("1").await;
    assert_eq!((&first["success"], &first["data"]["status"]), (&json!(true), &json!(10)), "{first}");
    let second = post("2").await;
    assert_eq!(second["status"], 10, "a bare object: {second}");
}

#[tokio::test]
async fn one_shape_whatever_served() {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    gateway.account("together_ai", POOL).await;
    gateway.node("rack", &[LOCAL_MODEL]).await;
    let mut shapes = Vec::new();
    for (app, profile) in [(MINI, "byok"), (LLAMA, "managed_provider"), (LOCAL_MODEL, "byoc")] {
        let answer = run(&gateway, &ask(app, json!({"prompt": "hello there"}))).await;
        assert_eq!(answer.header("agent-execution-profile"), Some(profile));
        let task = completed(&answer);
        assert_eq!(text_of(&task), "You said: hello there");
        shapes.push(shape(&answer.json()));
    }
    assert_eq!(shapes[0], shapes[1]);
    assert_eq!(shapes[0], shapes[2]);
    let usage = gateway.booked(3).await;
    assert_eq!(usage["output_tokens"], gateway.emulator.totals().all.completion_tokens);
}

#[tokio::test]
async fn documents_go_along() {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    let served = serve_document("text/plain; charset=utf-8", REPORT).await;
    let data = format!("data:text/plain;base64,{}", STANDARD.encode(REPORT));
    for document in [served, data] {
        let input = json!({"prompt": "Summarize", "document": document});
        completed(&run(&gateway, &ask(MINI, input)).await);
        let sent = String::from_utf8(gateway.calls(OWN).pop().unwrap().body.to_vec()).unwrap();
        assert!(sent.contains("Revenue rose by 4 %"), "{sent}");
    }
    // Where private addresses are not allowed, no document is fetched from one.
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

#[tokio::test]
async fn wrong_inputs_are_told_by_their_place() {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
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
    for (body, place) in cases {
        let answer = run(&gateway, &body).await;
        assert!(matches!(answer.status, 400 | 422), "{body}: {} {}", answer.status, answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let document = answer.json();
        let told = document.to_string();
        assert!(document["param"].as_str().unwrap_or(&told).contains(place), "{body}: {document}");
        assert!(document["fix"].is_string() && document["request_id"].is_string(), "{document}");
    }
    let answer = run(&gateway, &ask("nobody/nothing", json!({"prompt": "x"}))).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert_eq!(gateway.emulator.journal().len(), 0);
    // A provider's failure is a failure of the run, in the run's own grammar.
    gateway.emulator.script(OWN, [harness::Behaviour::status(401)]);
    let answer = run(&gateway, &ask(MINI, json!({"prompt": "x"}))).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (502, Some("application/problem+json")),
        "{}",
        answer.text()
    );
    assert_eq!(answer.json()["code"], "upstream_auth_failed", "{}", answer.text());
}
