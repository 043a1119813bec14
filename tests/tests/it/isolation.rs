//! Two workspaces: neither can reach the other's objects, and a foreign id is answered exactly like a missing
//! one.

use http::Method;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, problem, question, refused, trace_of};
use crate::gateway::{Founded, Gateway, OWN, id_of};

const METHODS: [Method; 4] = [Method::GET, Method::PATCH, Method::PUT, Method::DELETE];

pub async fn second_workspace(gateway: &Gateway) -> Founded {
    gateway.workspace("the others").await
}

/// One of each kind of object in the first workspace: the collection's path and an id.
async fn objects(gateway: &Gateway) -> Vec<(&'static str, String)> {
    let credential = gateway.credential("openai", OWN).await;
    gateway.credential("acme", OWN).await;
    let token = json!({"provider": "codex", "token": OWN, "base_url": gateway.emulator.base_url()});
    let subscription = id_of(&gateway.make("/v2/subscription-credentials", token).await);
    let node = gateway.node("rack", &["tide-1"]).await;
    let route = gateway.route(json!({"scope": {"environment": "staging"}, "profiles": ["byok"]})).await;
    let (_, key) = gateway.key(json!({"name": "a key"})).await;
    let project = id_of(&gateway.make("/v2/projects", json!({"name": "a project"})).await);
    let request = trace_of(&gateway.chat_ok(&question(MINI)).await);
    gateway.settled(&request).await;
    vec![
        ("provider-credentials", credential),
        ("subscription-credentials", subscription),
        ("byoc/nodes", node),
        ("routes", route),
        ("api-keys", key),
        ("projects", project),
        ("requests", request),
        ("workspaces", gateway.founded.workspace_id.clone()),
    ]
}

/// A well-formed id of the same kind that does not exist.
fn missing(id: &str) -> String {
    format!("{}_01900000000070008000000000000000", id.split_once('_').unwrap().0)
}

/// A problem document without what identifies the one request.
fn class_of(document: &Value, id: &str) -> Value {
    let mut document = document.clone();
    document["request_id"] = Value::Null;
    serde_json::from_str(&document.to_string().replace(id, "ID")).unwrap()
}

/// An object without the gateway's own counters: a credential's opening count shows up to a second late.
async fn untouched(gateway: &Gateway, kind: &str, id: &str) -> Value {
    let mut object = gateway.get(&format!("/v2/{kind}/{id}")).await;
    if let Some(fields) = object.as_object_mut() {
        fields.remove("openings");
    }
    object
}

#[tokio::test]
async fn a_foreign_id_is_a_missing_id() {
    let gateway = Gateway::with_everything().await;
    let objects = objects(&gateway).await;
    let stranger = gateway.with_key(&second_workspace(&gateway).await.admin_key);
    let json = [("content-type", "application/json")];
    for (kind, id) in &objects {
        let own = untouched(&gateway, kind, id).await;
        for method in METHODS.iter().filter(|method| *kind != "requests" || **method == Method::GET) {
            // A subscription is changed by field, and only the operator can delete workspaces.
            if [("subscription-credentials", Method::PUT), ("workspaces", Method::DELETE)]
                .contains(&(*kind, method.clone()))
            {
                continue;
            }
            let is_bare = [Method::GET, Method::DELETE].contains(method);
            let body = if is_bare { "" } else { r#"{"name":"mine now"}"# };
            let mut answers = Vec::new();
            for requested in [id.clone(), missing(id)] {
                let path = format!("/v2/{kind}/{requested}");
                let answer = stranger.call(method.clone(), &path, &json, body).await.unwrap();
                let document = problem(&answer, 404, "not_found");
                answers.push((class_of(&document, &requested), answer.headers.len()));
            }
            assert_eq!(answers[0], answers[1], "{method} {kind}");
        }
        assert_eq!(untouched(&gateway, kind, id).await, own, "{kind} was touched");
    }
    for (path, body) in [("verify", json!({})), ("rotate", json!({"secret": "sk-mine"}))] {
        let path = format!("/v2/provider-credentials/{}/{path}", objects[0].1);
        problem(&stranger.post(&path, &body).await.unwrap(), 404, "not_found");
    }
    // Nor is it a part of one's own objects.
    let id = |kind: &str| objects.iter().find(|(found, _)| *found == kind).unwrap().1.clone();
    let scope = json!({"project_id": id("projects")});
    let wrong = [
        ("/v2/routes", json!({"scope": {"project_id": id("projects")}})),
        ("/v2/routes", json!({"scope": {"key_id": id("api-keys")}})),
        ("/v2/routes", json!({"scope": {}, "credential_ids": [id("provider-credentials")]})),
        ("/v2/api-keys", json!({"name": "x", "project_id": id("projects")})),
        ("/v2/provider-credentials", json!({"provider": "openai", "secret": "sk-x", "scope": scope})),
        ("/v2/plan", json!({"model": MINI, "project_id": id("projects")})),
        ("/v2/plan", json!({"model": MINI, "key_id": id("api-keys")})),
    ];
    for (path, body) in wrong {
        problem(&stranger.post(path, &body).await.unwrap(), 404, "not_found");
    }
}

#[tokio::test]
async fn nothing_of_one_serves_or_shows_in_the_other() {
    let gateway = Gateway::with_everything().await;
    objects(&gateway).await;
    let calls = gateway.emulator.journal().len();
    let others = second_workspace(&gateway).await;
    let (stranger, caller) = (gateway.with_key(&others.admin_key), gateway.with_key(&others.api_key));
    // Neither credentials, custom servers nor nodes are reachable.
    refused(&caller.post(CHAT, &question(MINI)).await.unwrap(), 404, "model_not_served");
    refused(&caller.post(CHAT, &question("acme/acme-large")).await.unwrap(), 404, "model_not_found");
    refused(&caller.post(CHAT, &question("tide-1")).await.unwrap(), 404, "model_not_found");
    assert_eq!(gateway.emulator.journal().len(), calls);
    assert_eq!(caller.get("/v1/models").await.unwrap().json()["data"], json!([]));
    for (kind, count) in [
        ("provider-credentials", 0),
        ("byoc/nodes", 0),
        ("routes", 0),
        ("projects", 1),
        ("api-keys", 2),
        ("workspaces", 1),
    ] {
        let list = stranger.get(&format!("/v2/{kind}")).await.unwrap().json();
        assert_eq!(list["data"].as_array().unwrap().len(), count, "{kind}: {list}");
    }
    let audit = stranger.get("/v2/audit").await.unwrap().text();
    assert!(!audit.contains(&gateway.founded.workspace_id) && !audit.contains("pcr_"), "{audit}");
    has(&stranger.post("/v2/plan", &json!({"model": MINI})).await.unwrap().json(), json!({"rejected": []}));
    has(&stranger.get("/v2/billing/snapshot").await.unwrap().json()["mtd"], json!({"requests": 0}));
    for row in stranger.get("/v2/requests").await.unwrap().json()["data"].as_array().unwrap() {
        assert_eq!(row["status"], 404, "{row}");
    }
    // The pool belongs to the operator, not to a workspace.
    problem(&stranger.get("/v2/accounts").await.unwrap(), 403, "insufficient_scope");
    let third = stranger.post("/v2/workspaces", &json!({"name": "a third"})).await.unwrap();
    problem(&third, 403, "insufficient_scope");
}
