//! Files referenced in conversations: by Tidegate's ids here, by the provider's ids at the provider that
//! stores them, and nowhere else.

use harness::client::{Answer, Client};
use harness::{Behaviour, Entry};
use http::Method;
use serde_json::{Value, json};

use crate::ask::{MINI, refused, with};
use crate::command::workspace;
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, POOL_SECOND};
use crate::sdk::{drive, drive_at};

const RESPONSES: &str = "/v1/responses";
const CHAT: &str = "/v1/chat/completions";
const ABROAD: &str = "anthropic/claude-haiku-4-5";

async fn upload(client: &Client) -> String {
    let form = "--xyz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nopenai/gpt-4o-mini\r\n\
                --xyz\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n\
                --xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.pdf\"\r\n\r\nhigh\r\n--xyz--\r\n";
    let kind = ("content-type", "multipart/form-data; boundary=xyz");
    let answer = client.call(Method::POST, "/v1/files", &[kind], form.as_bytes().to_vec()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn responses(id: &str) -> Value {
    let parts = json!([{"type": "input_text", "text": "hello"}, {"type": "input_file", "file_id": id}]);
    json!({"model": MINI, "input": [{"role": "user", "content": parts}]})
}

fn chat(id: &str) -> Value {
    let parts = json!([{"type": "text", "text": "hello"}, {"type": "file", "file": {"file_id": id}}]);
    json!({"model": MINI, "messages": [{"role": "user", "content": parts}]})
}

/// A path, a body that references a file there, and the field's place.
type Named = (&'static str, fn(&str) -> Value, &'static str);

const PLACES: [Named; 2] = [
    (RESPONSES, responses, "input[0].content[1].file_id"),
    (CHAT, chat, "messages[0].content[1].file.file_id"),
];

/// Checks that the error names the field, and returns its message.
fn refusal_message(answer: &Answer, status: u16, code: &str, param: &str) -> String {
    let error = refused(answer, status, code);
    assert_eq!(error["param"], param, "{error}");
    error["message"].as_str().unwrap().to_owned()
}

fn all(gateway: &Gateway) -> Vec<Entry> {
    gateway.emulator.journal()
}

/// The key of the last call that reached the emulator.
fn last_key(gateway: &Gateway) -> String {
    all(gateway).pop().unwrap().key.unwrap()
}

async fn other_project(gateway: &Gateway, name: &str) -> Client {
    let project = gateway.make("/v2/projects", json!({"name": name})).await;
    let (key, _) = gateway.key(json!({"name": "other", "project_id": project["id"]})).await;
    gateway.with_key(&key)
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn the_official_sdk_names_files_at_the_provider_and_through_the_gateway() {
    let python = workspace().join(".venv/bin/python");
    let script = workspace().join("tests/sdk/named_files.py");
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    let direct = drive_at(python.clone(), script.clone(), &gateway.emulator.base_url(), OWN, OWN).await;
    let before = all(&gateway).len();
    let driven = drive(python, script, &gateway).await;
    assert_eq!((direct.held, driven.held), (3, 3));
    let sent = all(&gateway).split_off(before);
    let conversations = sent.iter().filter(|entry| entry.method == "POST" && entry.path != "/v1/files");
    let mut named = 0;
    for entry in conversations {
        let body = String::from_utf8_lossy(&entry.body).replace(r#""metadata":{"file_id":"file-tg_"#, "");
        assert!(!body.contains("file-tg_"), "{body}");
        named += body.matches(r#""file_id":"file-"#).count();
    }
    assert_eq!(named, 9);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_name_that_the_project_does_not_have_goes_nowhere() {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    let id = upload(&gateway.client()).await;
    let other = other_project(&gateway, "other").await;
    let before = all(&gateway).len();
    let unheard = format!("file-tg_{}", "0".repeat(32));
    for (path, body, param) in PLACES {
        for (client, id) in [(&other, &*id), (&gateway.client(), &*unheard), (&gateway.client(), "file-tg_x")]
        {
            for stream in [false, true] {
                let answer = client.post(path, &with(body(id), json!({"stream": stream}))).await.unwrap();
                let message = refusal_message(&answer, 404, "file_not_found", param);
                assert!(message.contains(id), "{message}");
            }
        }
    }
    assert_eq!(all(&gateway).len(), before, "nobody was asked");
    for (path, body, _) in PLACES {
        let answer = gateway.client().post(path, &body(&id)).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn nobody_but_its_keeper_is_asked() {
    let gateway = Gateway::start().await;
    let first = gateway.credential("openai", OWN).await;
    let kept = upload(&gateway.client()).await;
    let second = gateway.credential("openai", OWN_SECOND).await;
    gateway.credential("anthropic", OWN).await;
    gateway.account("openai", POOL).await;
    let (key, key_id) = gateway.key(json!({"name": "bound"})).await;
    gateway.route(json!({"scope": {"key_id": key_id}, "credential_ids": [second]})).await;
    let bound = gateway.with_key(&key);
    let theirs = upload(&bound).await;
    assert_eq!(last_key(&gateway), OWN_SECOND);
    for (path, body, param) in PLACES {
        for (id, key) in [(&kept, OWN), (&theirs, OWN_SECOND)] {
            let answer = gateway.client().post(path, &body(id)).await.unwrap();
            assert_eq!((answer.status, last_key(&gateway).as_str()), (200, key), "{}", answer.text());
        }
        let sent = all(&gateway).len();
        let elsewhere = with(body(&kept), json!({"model": ABROAD}));
        let answer = gateway.client().post(path, &elsewhere).await.unwrap();
        let message = refusal_message(&answer, 400, "file_kept_elsewhere", param);
        assert!(message.contains("kept by openai") && message.contains(ABROAD), "{message}");
        // A route to another provider stays in force.
        let message = refusal_message(
            &bound.post(path, &body(&kept)).await.unwrap(),
            400,
            "file_kept_elsewhere",
            param,
        );
        assert!(message.contains("openai"), "{message}");
        assert_eq!(all(&gateway).len(), sent, "nobody was asked");
    }
    // The provider that stores the file fails: no other is tried, not even once it is known to be failing.
    gateway.emulator.script(OWN, [Behaviour::status(401)]);
    let before = gateway.calls(OWN_SECOND).len();
    for (path, body, _) in PLACES {
        let failed = gateway.client().post(path, &body(&kept)).await.unwrap();
        assert_eq!(failed.status, 502, "{}", failed.text());
    }
    assert_eq!((gateway.calls(OWN_SECOND).len(), gateway.calls(POOL).len()), (before, 0));
    let sent = all(&gateway).len();
    let two = json!([{"type": "input_file", "file_id": kept}, {"type": "input_file", "file_id": theirs}]);
    let body = json!({"model": MINI, "input": [{"role": "user", "content": two}]});
    let answer = gateway.client().post(RESPONSES, &body).await.unwrap();
    refusal_message(&answer, 400, "files_kept_apart", "input[0].content[1].file_id");
    gateway.patch(&format!("/v2/provider-credentials/{first}"), json!({"status": "disabled"})).await;
    let answer = gateway.client().post(RESPONSES, &responses(&kept)).await.unwrap();
    let message = refusal_message(&answer, 400, "file_kept_elsewhere", PLACES[0].2);
    assert!(message.contains("switched off"), "{message}");
    assert_eq!(all(&gateway).len(), sent, "nobody was asked");
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_shared_account_reads_what_the_project_itself_uploaded_there() {
    let gateway = Gateway::start().await;
    for secret in [POOL, POOL_SECOND] {
        gateway.account("openai", secret).await;
    }
    let id = upload(&gateway.client()).await;
    let keeper = last_key(&gateway);
    for (path, body, param) in PLACES {
        for _ in 0..4 {
            let answer = gateway.client().post(path, &body(&id)).await.unwrap();
            assert_eq!((answer.status, &last_key(&gateway)), (200, &keeper), "{}", answer.text());
        }
        let theirs = all(&gateway).pop().unwrap().json().to_string();
        let start = theirs.find("\"file-").unwrap() + 1;
        let end = start + theirs[start..].find('"').unwrap();
        // A provider's own id could belong to another tenant.
        let sent = all(&gateway).len();
        refusal_message(
            &gateway.client().post(path, &body(&theirs[start..end])).await.unwrap(),
            400,
            "kept_elsewhere",
            param,
        );
        let other = other_project(&gateway, if path == CHAT { "one" } else { "two" }).await;
        refusal_message(&other.post(path, &body(&id)).await.unwrap(), 404, "file_not_found", param);
        assert_eq!(all(&gateway).len(), sent, "nobody was asked");
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn an_id_of_nobody_here_reaches_no_shared_account_in_any_grammar() {
    let gateway = Gateway::start().await;
    gateway.account("anthropic", POOL).await;
    let source = json!({"type": "document", "source": {"type": "file", "file_id": "file_011"}});
    let message =
        json!({"model": ABROAD, "max_tokens": 9, "messages": [{"role": "user", "content": [source]}]});
    let abroad = |body: Value| with(body, json!({"model": ABROAD}));
    for (path, body, param) in [
        ("/v1/messages", message, "messages[0].content[0].source.file_id"),
        (RESPONSES, abroad(responses("file_011")), PLACES[0].2),
        (CHAT, abroad(chat("file_011")), PLACES[1].2),
    ] {
        let answer = gateway.client().post(path, &body).await.unwrap();
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains(&format!("{param} refers to")), "{}", answer.text());
    }
    assert_eq!(all(&gateway).len(), 0, "nothing was sent");
}
