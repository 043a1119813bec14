//! Files referenced in conversations: by Tidegate's ids here, by the provider's ids at the provider that
//! stores them, and nowhere else.

use harness::client::Client;
use harness::{Behaviour, Entry};
use http::Method;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, refused, with};
use crate::forms::FORM;
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, POOL_SECOND, driver, id_of};
use crate::own_batches::HAIKU;
use crate::sdk::{drive, drive_at};

const RESPONSES: &str = "/v1/responses";

async fn upload(client: &Client) -> String {
    let form = "--xyz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nopenai/gpt-4o-mini\r\n\
                --xyz\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n\
                --xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.pdf\"\r\n\r\nhigh\r\n--xyz--\r\n";
    id_of(&client.call(Method::POST, "/v1/files", &[FORM], form).await.unwrap().must_be(200).json())
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

/// Posts what must be refused with an error that names the field, and returns its message.
async fn refusal(client: &Client, sent: (&str, Value), status: u16, why: (&str, &str)) -> String {
    let error = refused(&client.post(sent.0, &sent.1).await.unwrap(), status, why.0);
    assert_eq!(error["param"], why.1, "{error}");
    error["message"].as_str().unwrap().to_owned()
}

fn all(gateway: &Gateway) -> Vec<Entry> {
    gateway.emulator.journal()
}

/// The key of the last call that reached the emulator.
fn last_key(gateway: &Gateway) -> String {
    all(gateway).pop().unwrap().key.unwrap()
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn the_official_sdk_names_files_at_the_provider_and_through_the_gateway() {
    let (python, script) = driver("named_files.py");
    let gateway = Gateway::with_own().await;
    let direct = drive_at(python.clone(), script.clone(), &gateway.emulator.base_url(), OWN, OWN).await;
    let before = all(&gateway).len();
    assert_eq!((direct.held, drive(python, script, &gateway).await.held), (3, 3));
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
    let gateway = Gateway::with_own().await;
    let id = upload(&gateway.client()).await;
    let other = gateway.other_project().await;
    let before = all(&gateway).len();
    let unheard = format!("file-tg_{}", "0".repeat(32));
    for (path, body, param) in PLACES {
        for (client, id) in [(&other, &*id), (&gateway.client(), &*unheard), (&gateway.client(), "file-tg_x")]
        {
            for stream in [false, true] {
                let sent = with(body(id), json!({"stream": stream}));
                let message = refusal(client, (path, sent), 404, ("file_not_found", param)).await;
                assert!(message.contains(id), "{message}");
            }
        }
    }
    assert_eq!(all(&gateway).len(), before, "nobody was asked");
    for (path, body, _) in PLACES {
        gateway.client().post(path, &body(&id)).await.unwrap().must_be(200);
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
            gateway.client().post(path, &body(id)).await.unwrap().must_be(200);
            assert_eq!(last_key(&gateway), key);
        }
        let sent = all(&gateway).len();
        let elsewhere = with(body(&kept), json!({"model": HAIKU}));
        let why = ("file_kept_elsewhere", param);
        let message = refusal(&gateway.client(), (path, elsewhere), 400, why).await;
        assert!(message.contains("kept by openai") && message.contains(HAIKU), "{message}");
        // A route to another provider stays in force.
        let message = refusal(&bound, (path, body(&kept)), 400, why).await;
        assert!(message.contains("openai"), "{message}");
        assert_eq!(all(&gateway).len(), sent, "nobody was asked");
    }
    // The provider that stores the file fails: no other is tried, not even once it is known to be failing.
    gateway.emulator.script(OWN, [Behaviour::status(401)]);
    let before = gateway.calls(OWN_SECOND).len();
    for (path, body, _) in PLACES {
        gateway.client().post(path, &body(&kept)).await.unwrap().must_be(502);
    }
    assert_eq!((gateway.calls(OWN_SECOND).len(), gateway.calls(POOL).len()), (before, 0));
    let sent = all(&gateway).len();
    let two = json!([{"type": "input_file", "file_id": kept}, {"type": "input_file", "file_id": theirs}]);
    let body = json!({"model": MINI, "input": [{"role": "user", "content": two}]});
    let param = PLACES[0].2;
    refusal(&gateway.client(), (RESPONSES, body), 400, ("files_kept_apart", param)).await;
    gateway.patch(&format!("/v2/provider-credentials/{first}"), json!({"status": "disabled"})).await;
    let why = ("file_kept_elsewhere", param);
    let message = refusal(&gateway.client(), (RESPONSES, responses(&kept)), 400, why).await;
    assert!(message.contains("switched off"), "{message}");
    assert_eq!(all(&gateway).len(), sent, "nobody was asked");
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_shared_account_reads_what_the_project_itself_uploaded_there() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    gateway.account("openai", POOL_SECOND).await;
    let id = upload(&gateway.client()).await;
    let keeper = last_key(&gateway);
    for (path, body, param) in PLACES {
        for _ in 0..4 {
            gateway.client().post(path, &body(&id)).await.unwrap().must_be(200);
            assert_eq!(last_key(&gateway), keeper);
        }
        let theirs = all(&gateway).pop().unwrap().json().to_string();
        let start = theirs.find("\"file-").unwrap() + 1;
        let end = start + theirs[start..].find('"').unwrap();
        // A provider's own id could belong to another tenant.
        let sent = all(&gateway).len();
        let theirs = body(&theirs[start..end]);
        refusal(&gateway.client(), (path, theirs), 400, ("kept_elsewhere", param)).await;
        refusal(&gateway.other_project().await, (path, body(&id)), 404, ("file_not_found", param)).await;
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
    let turn = json!({"role": "user", "content": [source]});
    let message = json!({"model": HAIKU, "max_tokens": 9, "messages": [turn]});
    let abroad = |body: Value| with(body, json!({"model": HAIKU}));
    for (path, body, param) in [
        ("/v1/messages", message, "messages[0].content[0].source.file_id"),
        (RESPONSES, abroad(responses("file_011")), PLACES[0].2),
        (CHAT, abroad(chat("file_011")), PLACES[1].2),
    ] {
        let answer = gateway.client().post(path, &body).await.unwrap().must_be(400);
        assert!(answer.text().contains(&format!("{param} refers to")), "{}", answer.text());
    }
    assert_eq!(all(&gateway).len(), 0, "nothing was sent");
}
