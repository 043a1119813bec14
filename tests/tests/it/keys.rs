//! API keys: what each may do, from which address, until when; shown once, and refused at once after
//! revocation.

use std::time::Instant;

use harness::canary::Canary;
use harness::client::Client;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, problem, question, refused};
use crate::gateway::Gateway;

#[tokio::test]
async fn a_scope_lets_in_and_keeps_out() {
    let gateway = Gateway::with_own().await;
    // scopes, may call models, may read, may administer
    let cases = [
        (json!(["inference"]), true, false, false),
        (json!(["read"]), false, true, false),
        (json!(["admin"]), false, true, true),
        (json!(["inference", "read"]), true, true, false),
        (json!([]), false, false, false),
    ];
    for (scopes, infers, reads, administers) in cases {
        let (key, _) = gateway.key(json!({"name": "scoped", "scopes": scopes})).await;
        let client = gateway.with_key(&key);
        let chat = client.post(CHAT, &question(MINI)).await.unwrap();
        assert_eq!(chat.status, if infers { 200 } else { 403 }, "{scopes}: {}", chat.text());
        let usage = client.get("/v2/usage").await.unwrap();
        assert_eq!(usage.status == 200, reads, "{scopes}: {}", usage.text());
        let made = client.post("/v2/projects", &json!({"name": format!("by {scopes}")})).await.unwrap();
        assert_eq!(made.status == 201, administers, "{scopes}: {}", made.text());
        problem(&client.get("/v2/accounts").await.unwrap(), 403, "insufficient_scope");
    }
    // An admin key can't create an operator key.
    let (admin, _) = gateway.key(json!({"name": "admin", "scopes": ["admin"]})).await;
    let body = json!({"name": "more", "scopes": ["operator"]});
    problem(&gateway.with_key(&admin).post("/v2/api-keys", &body).await.unwrap(), 403, "insufficient_scope");
    // Every write names its wrong field.
    const CREDENTIALS: &str = "/v2/provider-credentials";
    let cases = [
        ("/v2/api-keys", json!({}), "missing_field", "name"),
        (CREDENTIALS, json!({"secret": "x"}), "missing_field", "provider"),
        (CREDENTIALS, json!({"provider": "openai"}), "missing_field", "secret"),
        (CREDENTIALS, json!({"provider": "openai", "secret": "a b"}), "invalid_value", "secret"),
        ("/v2/byoc/nodes", json!({"name": "x"}), "missing_field", "base_url"),
        ("/v2/routes", json!({"profiles": ["byoc", "home"]}), "invalid_value", "profiles"),
        ("/v2/routes", json!({"scope": {"modle": "x"}}), "invalid_value", "scope.modle"),
    ];
    for (path, body, code, param) in cases {
        let document = problem(&gateway.admin().post(path, &body).await.unwrap(), 400, code);
        assert_eq!(document["param"], param, "{path} {body}: {document}");
    }
    // What is no id is a name.
    let body = json!({"name": "x", "project_id": "prj_none"});
    let document = problem(&gateway.admin().post("/v2/api-keys", &body).await.unwrap(), 404, "not_found");
    assert_eq!(document["param"], "project_id", "{document}");
    let untyped = gateway.admin().call(http::Method::POST, "/v2/projects", &[], r#"{"name":"x"}"#).await;
    problem(&untyped.unwrap(), 415, "unsupported_media_type");
    problem(&gateway.admin().delete("/v2/usage").await.unwrap(), 405, "method_not_allowed");
    problem(&gateway.admin().get("/v2/nowhere").await.unwrap(), 404, "not_found");
    problem(&Client::new(&gateway.origin).get("/v2/nowhere").await.unwrap(), 401, "missing_api_key");
}

#[tokio::test]
async fn a_key_is_shown_once_and_kept_as_a_digest() {
    let gateway = Gateway::with_own().await;
    let (key, id) =
        gateway.key(json!({"name": "once", "expires_in_days": 30, "ip_allowlist": ["127.0.0.0/8"]})).await;
    assert!(key.starts_with("tg_live_") && key.len() == 46, "{key}");
    assert!(id.starts_with("key_"), "{id}");
    assert_eq!(gateway.with_key(&key).post(CHAT, &question(MINI)).await.unwrap().status, 200);
    let one = gateway.get(&format!("/v2/api-keys/{id}")).await;
    let list = gateway.get("/v2/api-keys").await;
    let listed = list["data"].as_array().unwrap().iter().find(|row| row["id"] == id.as_str()).unwrap();
    assert_eq!(&one, listed);
    assert_eq!(one["last4"].as_str().unwrap(), &key[key.len() - 4..]);
    assert!(one["expires_at"].is_string() && one["ip_allowlist"] == json!(["127.0.0.0/8"]), "{one}");
    let canary = Canary::new().prefix_chars(16).plant("key", &key);
    assert_eq!(canary.scan("list", list.to_string().as_bytes()), []);
    assert_eq!(canary.scan_path(&gateway.data()).unwrap(), []);
    // It is changed by a merge patch.
    let (key, id) = gateway.key(json!({"name": "first", "scopes": ["inference"]})).await;
    let path = format!("/v2/api-keys/{id}");
    let changed = gateway.patch(&path, json!({"name": "second", "ip_allowlist": ["203.0.113.7"]})).await;
    has(&changed, json!({"name": "second", "scopes": ["inference"]}));
    refused(&gateway.with_key(&key).post(CHAT, &question(MINI)).await.unwrap(), 403, "ip_not_allowed");
    assert_eq!(gateway.patch(&path, json!({"priority": 40})).await["priority"], 40);
    gateway.patched(&path, json!({"priority": 256})).await.must_be(400);
    assert_eq!(gateway.patch(&path, json!({"priority": null})).await["priority"], Value::Null);
    gateway.patch(&path, json!({"ip_allowlist": [], "expires_at": "2021-03-04T05:06:07Z"})).await;
    refused(&gateway.with_key(&key).post(CHAT, &question(MINI)).await.unwrap(), 401, "expired_api_key");
    for wrong in [
        json!({"ip_allowlist": ["all"]}),
        json!({"scopes": ["root"]}),
        json!({"nmae": "x"}),
        json!({"expires_at": "soon"}),
    ] {
        let answer = gateway.patched(&path, wrong.clone()).await;
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.text());
    }
    // A write based on an old version is refused.
    let headers = [("content-type", "application/json"), ("if-match", "\"v1\"")];
    let late = gateway.admin().call(http::Method::PATCH, &path, &headers, r#"{"name":"third"}"#).await;
    problem(&late.unwrap(), 412, "version_mismatch");
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_under_load() {
    let gateway = Gateway::with_own().await;
    let (key, id) = gateway.key(json!({"name": "soon gone"})).await;
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let client = gateway.with_key(&key);
            tokio::spawn(async move {
                let mut last_served = None;
                loop {
                    let sent = Instant::now();
                    let answer = client.post(CHAT, &question(MINI)).await.unwrap();
                    if answer.status != 200 {
                        refused(&answer, 401, "revoked_api_key");
                        return last_served;
                    }
                    last_served = Some(sent);
                }
            })
        })
        .collect();
    gateway.emulator.wait_for(crate::WITHIN, |journal| journal.len() > 40).await.unwrap();
    gateway.remove(&format!("/v2/api-keys/{id}")).await;
    let answered = Instant::now();
    // Once the revocation is answered, it is in force: no later request is served.
    for client in clients {
        let last_served = client.await.unwrap().expect("it was served before");
        assert!(last_served < answered, "{:?} after it was revoked", last_served - answered);
    }
    let after = gateway.emulator.journal().len();
    refused(&gateway.with_key(&key).post(CHAT, &question(MINI)).await.unwrap(), 401, "revoked_api_key");
    assert_eq!(gateway.emulator.journal().len(), after);
    assert_eq!(gateway.get(&format!("/v2/api-keys/{id}")).await["status"], "revoked");
}
