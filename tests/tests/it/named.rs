//! Names in place of ids: every route and field of `/v2` that takes an id takes an unambiguous name, within the caller's workspace.

use http::Method;
use serde_json::{Value, json};

use crate::ask::{MINI, has, problem, question, refused};
use crate::gateway::{Gateway, OWN, OWN_SECOND, id_of};
use crate::isolation::second_workspace;

const COMMANDS: [(&str, &str, &str); 13] = [
    ("api-keys", "key", "tidegate key list"),
    ("projects", "project", "tidegate project list"),
    ("provider-credentials", "credential", "tidegate credential list"),
    ("subscription-credentials", "subscription", "tidegate subscription list"),
    ("accounts", "account", "tidegate account list"),
    ("budgets", "budget", "tidegate budget list"),
    ("byoc/nodes", "node", "tidegate nodes list"),
    ("agent-hints", "stored hints", "tidegate hints list"),
    ("data-planes", "data plane", "tidegate data-planes list"),
    ("alert-rules", "alert rule", "tidegate alert list"),
    ("artifacts", "artifact", "tidegate artifact list"),
    ("bundles", "bundle", "tidegate bundle list"),
    ("sessions", "session", "tidegate session list"),
];

/// One object of each kind: the collection, the object's name and its id.
async fn objects(gateway: &Gateway) -> Vec<(&'static str, &'static str, String)> {
    let credential = gateway.credential("openai", OWN).await;
    let base_url = gateway.emulator.base_url();
    let token = json!({"provider": "codex", "token": OWN, "display_name": "a plan", "base_url": base_url});
    let pool = gateway.account_with("openai", OWN_SECOND, json!({"display_name": "pool"})).await;
    let month = json!({"name": "the month's", "workspace": true, "limit_micros": 5_000_000});
    let webhook = json!({"url": "https://example.com/hook", "description": "on call", "events": []});
    let node = gateway.node("attic", &["tide-1"]).await;
    let (_, key) = gateway.key(json!({"name": "ci"})).await;
    let mut found = vec![
        ("provider-credentials", "openai of ours", credential),
        ("byoc/nodes", "attic", node),
        ("accounts", "pool", pool),
        ("api-keys", "ci", key),
        ("projects", "default", gateway.founded.project_id.clone()),
    ];
    for (kind, name, body) in [
        ("subscription-credentials", "a plan", token),
        ("webhooks", "on call", webhook),
        ("budgets", "the month's", month),
        ("members", "ada@example.com", json!({"email": "ada@example.com", "role": "viewer"})),
        ("policies", "default", json!({"project_id": "default"})),
        ("alert-rules", "traffic", json!({"name": "traffic", "metric": "requests", "threshold": 1_000})),
        ("artifacts", "tides", json!({"type": "document", "name": "tides", "content": "The tide comes."})),
    ] {
        let made = gateway.make(&format!("/v2/{kind}"), body).await;
        let id = made.get("id").or_else(|| made.pointer("/member/id")).unwrap().as_str().unwrap().to_owned();
        found.push((kind, name, id));
    }
    let artifact = found.last().map(|(_, _, id)| id.clone());
    let bundle = gateway.make("/v2/bundles", json!({"name": "all of it", "items": [artifact]})).await;
    found.push(("bundles", "all of it", id_of(&bundle)));
    let session = gateway.make("/v2/sessions", json!({"name": "the voyage"})).await;
    found.push(("sessions", "the voyage", id_of(&session)));
    found
}

fn escaped(name: &str) -> String {
    name.replace(' ', "%20").replace('\'', "%27").replace('@', "%40")
}

#[tokio::test]
async fn an_object_is_addressed_by_its_name() {
    let gateway = Gateway::with_everything().await;
    let objects = objects(&gateway).await;
    for (kind, name, id) in &objects {
        let shown = gateway.get(&format!("/v2/{kind}/{}", escaped(name))).await;
        assert_eq!(shown["id"].as_str(), Some(id.as_str()), "{kind} {name}: {shown}");
    }
    // Fields of bodies and queries take names too.
    let (_, key) = gateway.key(json!({"name": "in it", "project_id": "default"})).await;
    let listed = gateway.get("/v2/api-keys?project_id=default").await;
    assert!(listed["data"].as_array().unwrap().iter().any(|row| row["id"] == key.as_str()), "{listed}");
    let scope = json!({"key_id": "in it"});
    let route =
        json!({"scope": scope, "credential_ids": ["openai of ours"], "profiles": ["byok", "managed"]});
    let made = gateway.make("/v2/routes", route).await;
    assert_eq!(made["scope"]["key_id"], key.as_str(), "{made}");
    has(&made, json!({"credential_ids": [objects[0].2], "profiles": ["byok", "managed_provider"]}));
    let session = gateway.make("/v2/sessions", json!({"base_bundle_ids": ["all of it"]})).await;
    assert!(session["id"].is_string(), "{session}");
    let plan = gateway.plan(json!({"model": MINI, "project_id": "default"})).await;
    assert!(plan["attempts"].is_array() || plan["candidates"].is_array(), "{plan}");
    // A change and a removal by name.
    gateway.patch("/v2/api-keys/ci", json!({"name": "cd"})).await;
    gateway.remove("/v2/api-keys/cd").await;
    problem(&gateway.admin().get("/v2/api-keys/cd").await.unwrap(), 404, "not_found");
}

#[tokio::test]
async fn a_name_of_several_or_of_none_is_refused_with_what_to_do() {
    let gateway = Gateway::with_everything().await;
    let (_, first) = gateway.key(json!({"name": "twin"})).await;
    let taken = gateway.admin().post("/v2/api-keys", &json!({"name": "twin"})).await.unwrap();
    let fault = problem(&taken, 409, "name_taken");
    assert!(fault["detail"].as_str().unwrap().contains("has the name \"twin\" already"), "{fault}");
    // Projects don't share names of keys.
    let project = id_of(&gateway.make("/v2/projects", json!({"name": "of the twin"})).await);
    let (_, second) = gateway.key(json!({"name": "twin", "project_id": project})).await;
    let (_, third) = gateway.key(json!({"name": "single"})).await;
    let renamed = gateway.patched(&format!("/v2/api-keys/{third}"), json!({"name": "twin"})).await;
    problem(&renamed, 409, "name_taken");
    gateway.remove(&format!("/v2/api-keys/{third}")).await;
    gateway.key(json!({"name": "single"})).await;
    // A credential that is given no name gets one that is free.
    let body = json!({"provider": "openai", "secret": OWN, "base_url": gateway.emulator.base_url()});
    for name in ["openai", "openai-2"] {
        assert_eq!(gateway.make("/v2/provider-credentials", body.clone()).await["display_name"], name);
    }
    let named = json!({"provider": "openai", "secret": OWN, "display_name": "openai-2"});
    problem(&gateway.admin().post("/v2/provider-credentials", &named).await.unwrap(), 409, "name_taken");
    let fault = problem(&gateway.admin().get("/v2/api-keys/twin").await.unwrap(), 409, "ambiguous_name");
    assert_eq!(fault["detail"], format!("2 keys are called \"twin\": {first}, {second}."));
    for (kind, what, command) in COMMANDS {
        let answer = gateway.admin().get(&format!("/v2/{kind}/nope")).await.unwrap();
        let fault = problem(&answer, 404, "not_found");
        assert_eq!(fault["detail"], format!("There is no {what} called \"nope\" in this workspace."));
        assert!(fault["fix"].as_str().unwrap().contains(command), "{fault}");
    }
    for (path, body, param) in [
        ("/v2/api-keys", json!({"name": "x", "project_id": "nope"}), "project_id"),
        ("/v2/routes", json!({"scope": {}, "credential_ids": ["nope"]}), "credential_ids[0]"),
    ] {
        let answer = gateway.admin().post(path, &body).await.unwrap();
        assert_eq!(problem(&answer, 404, "not_found")["param"], param);
    }
    // What has the form of an id is no name, nor is what no path can have in it.
    for name in [first.as_str(), ".", ".."] {
        let answer = gateway.admin().post("/v2/api-keys", &json!({"name": name})).await.unwrap();
        assert_eq!(problem(&answer, 400, "invalid_value")["param"], "name", "{name}");
    }
}

#[cfg(feature = "control")]
#[tokio::test]
async fn names_of_another_workspace_are_answered_like_names_of_none() {
    let gateway = Gateway::with_everything().await;
    let objects = objects(&gateway).await;
    let stranger = gateway.with_key(&second_workspace(&gateway).await.admin_key);
    let of_workspace = objects.iter().filter(|(kind, name, _)| *kind != "accounts" && *name != "default");
    for (kind, name, id) in of_workspace {
        // What is immutable takes no change, whoever asks.
        let is_immutable = ["artifacts", "bundles"].contains(kind);
        let methods = [Method::GET, Method::DELETE, Method::PATCH];
        for method in methods.into_iter().filter(|method| !is_immutable || method != Method::PATCH) {
            let ask = async |name: &str| {
                let path = format!("/v2/{kind}/{}", escaped(name));
                let body = if method == Method::PATCH { "{}" } else { "" };
                let json = [("content-type", "application/json")];
                stranger.call(method.clone(), &path, &json, body.to_owned()).await.unwrap()
            };
            let (theirs, none) = (ask(name).await, ask("nobody's").await);
            assert_eq!((theirs.status, none.status), (404, 404), "{method} {kind} {name}: {}", theirs.text());
            assert!(!theirs.text().contains(id.as_str()), "{}", theirs.text());
            let class = |answer: &harness::client::Answer, name: &str| {
                let mut document: Value = answer.json();
                document["request_id"] = Value::Null;
                document["instance"] = Value::Null;
                document.to_string().replace(name, "NAME")
            };
            assert_eq!(class(&theirs, name), class(&none, "nobody's"), "{kind}");
        }
    }
    // A key that only calls models sees its own project alone.
    let project = id_of(&gateway.make("/v2/projects", json!({"name": "hidden"})).await);
    let answer = gateway.client().get("/v2/agents?project_id=hidden").await.unwrap();
    assert!(!answer.text().contains(&project), "{}", answer.text());
    assert_ne!(answer.status, 200, "{}", answer.text());
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_mistyped_field_of_a_request_is_named_with_the_one_that_was_meant() {
    let gateway = Gateway::with_everything().await;
    gateway.node("attic", &["tide-1"]).await;
    let answer = gateway.chat(&crate::ask::with(question("tide-1"), json!({"tempreature": 0.5}))).await;
    let fault = refused(&answer, 400, "unsupported_parameter");
    assert_eq!(fault["param"], "tempreature");
    let message = fault["message"].as_str().unwrap();
    assert!(message.contains("Unknown field \"tempreature\"; did you mean \"temperature\"?"), "{message}");
}
