//! Files that providers store: streamed on while they are uploaded, known under Tidegate's ids, and reachable
//! only by their owner.

use bytes::Bytes;
use harness::Entry;
use harness::client::{Answer, Client};
use harness::raw::{RawConnection, exchange, status_of};
use http::Method;
use serde_json::json;

use crate::WITHIN;
use crate::ask::refused;
use crate::forms::{FORM, MIB, head};
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, driver, id_of};
use crate::own_batches::HAIKU;
use crate::sdk::{drive, drive_at};

const PATH: &str = "/v1/files";
const LINES: &[u8] = b"{\"custom_id\":\"a\"}\n";

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in parts {
        let file = if *name == "file" { "; filename=\"lines.jsonl\"" } else { "" };
        let head = format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend([head.as_bytes(), *value, b"\r\n"].concat());
    }
    [&body[..], b"--xyz--\r\n"].concat()
}

async fn post(client: &Client, path: &str, of: &[(&str, &[u8])]) -> Answer {
    client.call(Method::POST, path, &[FORM], form(of)).await.unwrap()
}

async fn upload(client: &Client, content: &[u8]) -> String {
    id_of(&post(client, PATH, &[("purpose", b"batch"), ("file", content)]).await.must_be(200).json())
}

/// Deletes a file, and returns what its client is told.
async fn delete(client: &Client, id: &str) -> Answer {
    client.delete(&format!("{PATH}/{id}")).await.unwrap()
}

/// The content of a file.
async fn content(client: &Client, id: &str) -> Bytes {
    get(client, &format!("/{id}/content")).await.must_be(200).body
}

async fn get(client: &Client, path: &str) -> Answer {
    client.get(&format!("{PATH}{path}")).await.unwrap()
}

/// The last request that reached the provider, whatever its method.
fn last(gateway: &Gateway) -> Entry {
    gateway.emulator.journal().pop().unwrap()
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn the_official_sdk_has_files_and_batches_of_them_at_the_provider_and_through_the_gateway() {
    let gateway = Gateway::with_own().await;
    for cases in ["files.py", "batches.py"] {
        let (python, script) = driver(cases);
        let direct = drive_at(python.clone(), script.clone(), &gateway.emulator.base_url(), OWN, OWN).await;
        assert_eq!((direct.held, drive(python, script, &gateway).await.held), (4, 4), "{cases}");
        assert_eq!(gateway.emulator.violations(), []);
    }
}

#[tokio::test]
async fn a_file_waits_for_the_credential_that_stores_it() {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    let id = upload(&gateway.client(), LINES).await;
    gateway.credential("openai", OWN_SECOND).await;
    let path = format!("/v2/provider-credentials/{credential}");
    gateway.patch(&path, json!({"status": "disabled"})).await;
    let before = gateway.emulator.journal().len();
    let error = refused(&get(&gateway.client(), &format!("/{id}")).await, 404, "keeper_unavailable");
    assert!(error["message"].as_str().unwrap().contains("is switched off"), "{error}");
    assert_eq!(gateway.emulator.journal().len(), before, "nobody was asked");
    gateway.patch(&path, json!({"status": "active"})).await;
    assert_eq!(content(&gateway.client(), &id).await, LINES);
}

#[tokio::test]
async fn a_file_is_known_by_our_name_alone_and_to_its_project_alone() {
    let mut gateway = Gateway::with_own().await;
    let id = upload(&gateway.client(), LINES).await;
    let sent = gateway.calls(OWN).pop().unwrap();
    assert_eq!(sent.body.as_ref(), form(&[("purpose", b"batch"), ("file", LINES)]), "as it came");
    let retrieved = get(&gateway.client(), &format!("/{id}")).await;
    assert!(id.starts_with("file-tg_") && retrieved.json()["id"] == *id, "{}", retrieved.text());
    assert_eq!(retrieved.json()["filename"], "lines.jsonl");
    assert_eq!(retrieved.header("agent-execution-profile"), Some("byok"));
    let theirs = last(&gateway).path.strip_prefix("/v1/files/").unwrap().to_owned();
    assert!(!theirs.contains("tg_"), "{theirs}");
    // The provider's own id is unknown here, and so is another project's file.
    let other = gateway.other_project().await;
    let before = gateway.emulator.journal().len();
    for (client, name) in [(&gateway.client(), &theirs), (&other, &id)] {
        for below in ["", "/content"] {
            refused(&get(client, &format!("/{name}{below}")).await, 404, "file_not_found");
        }
        refused(&delete(client, name).await, 404, "file_not_found");
    }
    assert_eq!(get(&other, "").await.json()["data"], json!([]));
    assert_eq!(gateway.emulator.journal().len(), before, "nobody was asked");
    // The file is known after a restart, and after another credential was added.
    gateway.stop().await;
    gateway.start_again().await;
    gateway.credential("openai", OWN_SECOND).await;
    let content = get(&gateway.client(), &format!("/{id}/content")).await;
    assert_eq!(content.body, LINES);
    assert_eq!(content.header("content-type"), Some("application/octet-stream"));
    let listed = get(&gateway.client(), "").await.json();
    assert_eq!((listed["data"][0]["id"].as_str(), listed["has_more"].as_bool()), (Some(&*id), Some(false)));
    let gone = delete(&gateway.client(), &id).await;
    assert_eq!(gone.json(), json!({"object": "file", "id": id, "deleted": true}));
    refused(&get(&gateway.client(), &format!("/{id}")).await, 404, "file_not_found");
    assert_eq!(get(&gateway.client(), "").await.json()["data"], json!([]));
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_file_goes_where_it_is_said_and_nothing_of_that_to_the_provider() {
    let gateway = Gateway::start().await;
    // A file that no credential takes is kept by the gateway itself.
    let rest: [(&str, &[u8]); 2] = [("purpose", b"user_data"), ("file", LINES)];
    let kept = post(&gateway.client(), PATH, &rest).await.must_be(200);
    assert_eq!(kept.header("agent-batch-execution"), Some("gateway"), "{}", kept.text());
    gateway.credential("openai", OWN).await;
    let first = gateway.credential("openai", OWN_SECOND).await;
    gateway.route(json!({"scope": {"model": "openai/gpt-4o-mini"}, "credential_ids": [first]})).await;
    for (part, key) in [
        (("model", &b"openai/gpt-4o-mini"[..]), OWN_SECOND),
        (("provider", b"openai"), OWN),
        (("custom_llm_provider", b"openai"), OWN),
    ] {
        post(&gateway.client(), PATH, &[part, rest[0], rest[1]]).await.must_be(200);
        assert_eq!(gateway.calls(key).pop().unwrap().body.as_ref(), form(&rest), "{part:?}");
    }
    post(&gateway.client(), &format!("{PATH}?model=openai/gpt-4o-mini"), &rest).await.must_be(200);
    assert_eq!(gateway.calls(OWN_SECOND).len(), 2);
    let before = gateway.emulator.journal().len();
    for (path, of, code, param) in [
        (PATH, vec![("provider", &b"anthropic"[..]), rest[0], rest[1]], "files_not_kept", "provider"),
        ("/v1/files?provider=nobody", rest.to_vec(), "files_not_kept", "provider"),
        (PATH, vec![rest[0], rest[1], ("provider", b"openai")], "field_behind_file", "provider"),
        (PATH, vec![rest[0]], "missing_required_parameter", "file"),
        (PATH, vec![("model", b"who/knows"), rest[0], rest[1]], "model_not_found", "model"),
    ] {
        let answer = post(&gateway.client(), path, &of).await;
        assert!((400..=404).contains(&answer.status), "{}", answer.text());
        let error = &answer.json()["error"];
        assert_eq!((error["code"].as_str(), error["param"].as_str()), (Some(code), Some(param)), "{error}");
    }
    assert_eq!(gateway.emulator.journal().len(), before);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_file_of_another_apis_client_goes_to_its_vendor_alone() {
    const THEIRS: &str = "file_011CNha8iCJcU1wXNR6q4V8w";
    const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");
    let unknown = |answer: &Answer| {
        let told = answer.json();
        assert_eq!((answer.status, &told["error"]["type"]), (404, &json!("not_found_error")), "{told}");
    };
    let named = |id: &str, model: &str| {
        let content = json!([{"type": "document", "source": {"type": "file", "file_id": id}}]);
        let messages = json!([{"role": "user", "content": content}]);
        json!({"model": model, "max_tokens": 9, "messages": messages})
    };
    let gateway = Gateway::with_own().await;
    let calls = gateway.emulator.journal().len();
    let client = gateway.client().header(VERSION.0, VERSION.1);
    unknown(&post(&client, PATH, &[("file", b"x")]).await);
    unknown(&get(&client, &format!("/{THEIRS}/content")).await);
    assert_eq!(get(&client, "").await.json()["data"], json!([]));
    // On an account, whoever shares it could name the file.
    gateway.account("anthropic", POOL).await;
    let shared = post(&client, &format!("{PATH}?model={HAIKU}"), &[("file", b"x")]).await.must_be(400).text();
    assert!(shared.contains("a credential of your own"), "{shared}");
    // Nor is one that Anthropic keeps named to another provider, even where losses may be dropped.
    let body = named(THEIRS, "openai/gpt-4o-mini");
    for client in [client.clone(), client.clone().header("agent-lenient", "true")] {
        let told = client.post("/v1/messages", &body).await.unwrap().must_be(400).text();
        assert!(told.contains("a file that its provider keeps"), "{told}");
    }
    assert_eq!(gateway.emulator.journal().len(), calls, "no other vendor gets it");
    gateway.at("/v2/provider-credentials", "anthropic", OWN_SECOND, &gateway.emulator.anthropic_url()).await;
    let made = post(&client, PATH, &[("file", LINES)]).await.must_be(200);
    assert_eq!(last(&gateway).key.as_deref(), Some(OWN_SECOND), "{}", made.text());
    let id = id_of(&made.json());
    assert!(id.starts_with("file_tg_"), "{id}");
    client.post("/v1/messages", &named(&id, HAIKU)).await.unwrap().must_be(200);
    let sent = String::from_utf8(last(&gateway).body.to_vec()).unwrap();
    assert!(!sent.contains(&id), "{sent}");
    assert_eq!(get(&client, "").await.json()["data"][0]["id"], *id);
    // Another project has no such file, and neither have clients of the other API.
    let other = gateway.other_project().await.header(VERSION.0, VERSION.1);
    let calls = gateway.emulator.journal().len();
    unknown(&get(&other, &format!("/{id}")).await);
    unknown(&delete(&other, &id).await);
    unknown(&other.post("/v1/messages", &named(&id, HAIKU)).await.unwrap());
    refused(&get(&gateway.client(), &format!("/{id}")).await, 404, "file_not_found");
    for client in [&other, &gateway.client()] {
        assert_eq!(get(client, "").await.json()["data"], json!([]));
    }
    assert_eq!(gateway.emulator.journal().len(), calls, "nobody was asked");
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn an_account_that_several_share_keeps_their_files_apart() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let part: [(&str, &[u8]); 3] =
        [("model", b"openai/gpt-4o-mini"), ("purpose", b"fine-tune"), ("file", LINES)];
    let answer = post(&gateway.client(), PATH, &part).await.must_be(200);
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    let id = id_of(&answer.json());
    refused(&get(&gateway.other_project().await, &format!("/{id}/content")).await, 404, "file_not_found");
    assert_eq!(content(&gateway.client(), &id).await, LINES);
    // File operations cost nothing, and none counts as unmetered.
    let sums = gateway.wait_for_usage(2).await;
    assert_eq!((&sums["requests"], &sums["input_tokens"]), (&json!(2), &json!(0)), "{sums}");
    assert_eq!((&sums["estimated_requests"], &sums["unpriced_requests"]), (&json!(0), &json!(0)), "{sums}");
    assert_eq!(delete(&gateway.client(), &id).await.json()["deleted"], true);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_long_file_is_sent_on_while_it_comes() {
    let gateway = Gateway::with_own().await;
    let address = gateway.address();
    let content = vec![b'a'; 40 * MIB];
    let whole = form(&[("purpose", b"fine-tune"), ("file", &content)]);
    let head =
        |length: usize| head(&gateway, PATH, &format!("content-length: {length}\r\nconnection: close"));
    let answer = exchange(address, [head(whole.len()).as_bytes(), &whole].concat(), WITHIN).await.unwrap();
    assert_eq!(status_of(&answer), Some(200), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(last(&gateway).body.len(), whole.len(), "longer than what is ever held");
    let answer = exchange(address, head(600 * MIB), WITHIN).await.unwrap();
    assert_eq!(status_of(&answer), Some(413), "{}", String::from_utf8_lossy(&answer));
    // The provider never receives the end of an upload that breaks off.
    let mut raw = RawConnection::open(address, WITHIN).await.unwrap();
    let started = whole.get(..3 * MIB).unwrap();
    raw.write([head(whole.len()).as_bytes(), started].concat()).await.unwrap();
    raw.finish_writing().await.unwrap();
    let answer = raw.read_to_end().await.unwrap();
    assert!(status_of(&answer).is_none_or(|status| status >= 400), "{}", String::from_utf8_lossy(&answer));
    let provider = Client::new(gateway.emulator.origin()).bearer(OWN).within(WITHIN);
    for listed in [get(&gateway.client(), "").await, get(&provider, "").await] {
        assert_eq!(listed.json()["data"].as_array().map(Vec::len), Some(1), "{}", listed.text());
    }
}
