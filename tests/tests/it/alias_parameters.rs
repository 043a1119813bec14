//! Parameters that a release of an alias sets and moves, in every dialect, and before the policies of the project; and aliases of
//! what is no conversation.

use harness::client::Answer;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, question, refused, streaming, with};
use crate::gateway::{Gateway, OWN};

const ALIASES: &str = "/v2/model-aliases";
const RELEASE: &str = "agent-alias-release";

/// A gateway with a credential, and an alias whose release has these rules.
async fn gateway(parameters: Value) -> Gateway {
    let gateway = Gateway::with_own().await;
    let body = json!({"name": "auto", "targets": [{"model": MINI}], "parameters": parameters});
    let made = gateway.make(ALIASES, body).await;
    assert_eq!(made["parameters"], parameters, "{made}");
    gateway
}

/// The bodies that the provider was sent.
fn sent(gateway: &Gateway) -> Vec<Value> {
    gateway.calls(OWN).into_iter().map(|call| serde_json::from_slice(&call.body).unwrap()).collect()
}

fn clamped() -> Value {
    let temperature = json!({"default": 0.7, "min": 0.0, "max": 1.0, "clamp": true});
    json!({"temperature": temperature, "top_p": {"max": 0.9, "clamp": false}})
}

async fn defaults_are_set_and_values_moved_in_every_dialect(gateway: &Gateway) {
    let post = async |path: &str, body: Value| {
        let answer = gateway.client().post(path, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(answer.header(RELEASE).is_some(), "{path}");
        sent(gateway).pop().unwrap()
    };
    let turn = json!([{"role": "user", "content": "hello"}]);
    let parts = json!([{"role": "user", "parts": [{"text": "hello"}]}]);
    for (given, expected) in [(None, 0.7), (Some(0.5), 0.5), (Some(2.0), 1.0)] {
        let more = given.map_or_else(|| json!({}), |value| json!({"temperature": value}));
        let config = json!({"contents": parts, "generationConfig": more});
        for (path, body) in [
            (CHAT, with(question("auto"), more.clone())),
            (CHAT, with(streaming("auto"), more.clone())),
            ("/v1/responses", with(json!({"model": "auto", "input": "hello"}), more.clone())),
            ("/v1/messages", with(json!({"model": "auto", "max_tokens": 9, "messages": turn}), more.clone())),
            ("/v1beta/models/auto:generateContent", config.clone()),
            ("/v1beta/models/auto:streamGenerateContent?alt=sse", config),
        ] {
            // The messages dialect knows no temperature above 1, so that none is moved there.
            if path == "/v1/messages" && given == Some(2.0) {
                continue;
            }
            let body = post(path, body).await;
            assert_eq!(body["temperature"].as_f64(), Some(expected), "{path} {given:?}: {body}");
        }
    }
    // The model itself is not the alias.
    gateway.chat_ok(&question(MINI)).await;
    assert_eq!(sent(gateway).pop().unwrap().get("temperature"), None);
}

#[tokio::test]
async fn a_value_outside_is_refused_by_name_and_the_plan_shows_the_rest() {
    let gateway = gateway(clamped()).await;
    let body = with(question("auto"), json!({"top_p": 1, "temperature": 3}));
    let error = refused(&gateway.chat(&body).await, 400, "invalid_value");
    assert_eq!(error["param"], "top_p", "{error}");
    assert!(error["message"].as_str().unwrap().contains("The alias auto"), "{error}");
    assert_eq!(gateway.plan(json!({"request": body})).await["error"]["field"], "top_p");
    assert!(gateway.calls(OWN).is_empty());
    let plan = gateway.plan(json!({"request": with(question("auto"), json!({"temperature": 3}))})).await;
    let moved = json!([{"name": "temperature", "before": "3", "after": "1"}]);
    assert_eq!(plan["alias_parameters"], moved, "{plan}");
    let plan = gateway.plan(json!({"request": question("auto")})).await;
    let set = json!([{"name": "temperature", "before": null, "after": "0.7"}]);
    assert_eq!(plan["alias_parameters"], set, "{plan}");
    defaults_are_set_and_values_moved_in_every_dialect(&gateway).await;
    the_policy_clamps_after_the_release(&gateway).await;
}

/// The project's policy has the last word, and a pinned release its own rules.
async fn the_policy_clamps_after_the_release(gateway: &Gateway) {
    let first = gateway.get(&format!("{ALIASES}/auto")).await;
    let policy = json!({"temperature": {"max": 0.4, "default": 0.1, "clamp": true}});
    let policy = json!({"project_id": gateway.founded.project_id, "parameters": policy});
    gateway.make("/v2/policies", policy).await;
    let temperature = async |model: &str| {
        gateway.chat_ok(&question(model)).await;
        sent(gateway).pop().unwrap()["temperature"].clone()
    };
    assert_eq!(temperature("auto").await, 0.4, "the release's default, moved");
    assert_eq!(temperature(MINI).await, 0.1, "the policy's own");
    let low = json!({"temperature": {"default": 0.2}});
    let release = json!({"targets": [{"model": MINI}], "parameters": low, "activate": true});
    gateway.make(&format!("{ALIASES}/auto/releases"), release).await;
    assert_eq!(temperature("auto").await, 0.2);
    assert_eq!(temperature(first["release_id"].as_str().unwrap()).await, 0.4);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_change_of_the_parameters_is_a_release_and_wrong_ones_are_refused() {
    let gateway = gateway(clamped()).await;
    let at = format!("{ALIASES}/auto");
    let before = gateway.get(&at).await;
    let same = gateway.patch(&at, json!({"parameters": clamped()})).await;
    assert_eq!(same["release_id"], before["release_id"], "nothing differs");
    let kept = gateway.patch(&at, json!({"targets": [{"model": MINI, "weight": 7}]})).await;
    assert_eq!(kept["parameters"], clamped(), "{kept}");
    has(&gateway.patch(&at, json!({"parameters": {}})).await, json!({"parameters": {}, "release_number": 3}));
    for wrong in [
        json!({"temperature": {"min": 2, "max": 1}}),
        json!({"temperature": {"max": 1, "default": 2}}),
        json!({"Temperature": {"max": 1}}),
    ] {
        let body = json!({"targets": [{"model": MINI}], "parameters": wrong});
        let answer = gateway.admin().post(&format!("{at}/releases"), &body).await.unwrap();
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.text());
        assert!(answer.json()["param"].as_str().unwrap().starts_with("parameters."), "{}", answer.text());
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn aliases_work_for_runs_and_embeddings() {
    let gateway = Gateway::with_own().await;
    let released = async |name: &str, model: &str| {
        let made = gateway.make(ALIASES, json!({"name": name, "targets": [{"model": model}]})).await;
        made["release_id"].as_str().unwrap().to_owned()
    };
    let post = async |path: &str, body: Value| -> Answer {
        let answer = gateway.client().post(path, &body).await.unwrap();
        assert!(answer.status < 300, "{path}: {}", answer.text());
        answer
    };
    let chat = released("auto", MINI).await;
    let run = post("/v1/run", json!({"app": "auto", "input": {"prompt": "hello"}})).await;
    assert_eq!(run.header(RELEASE), Some(&*chat), "{run:?}");
    let vectors = released("vectors", "openai/text-embedding-3-small").await;
    let embedded = post("/v1/embeddings", json!({"model": "vectors", "input": "hello"})).await;
    assert_eq!(embedded.header(RELEASE), Some(&*vectors), "{embedded:?}");
    let models: Vec<_> = gateway.calls(OWN).into_iter().filter_map(|call| call.model).collect();
    assert_eq!(models, ["gpt-4o-mini", "text-embedding-3-small"]);
}

/// The cached answer may have been made under an earlier release that means the same.
#[cfg(feature = "broker")]
#[tokio::test]
async fn an_answer_given_again_names_the_release_of_now() {
    let gateway = gateway(json!({})).await;
    let project = format!("/v2/projects/{}", gateway.founded.project_id);
    gateway.patch(&project, json!({"caching": {"responses": {"mode": "exact"}}})).await;
    let first = gateway.chat_ok(&question("auto")).await;
    assert_eq!(first.header("agent-cache"), Some("miss"));
    let release = json!({"targets": [{"model": MINI}], "note": "the same again", "activate": true});
    let second = gateway.make(&format!("{ALIASES}/auto/releases"), release).await;
    let again = gateway.chat_ok(&question("auto")).await;
    assert_eq!(again.header("agent-cache"), Some("hit"), "{again:?}");
    assert_eq!(again.header(RELEASE), second["id"].as_str());
    assert_ne!(again.header(RELEASE), first.header(RELEASE));
    assert_eq!(gateway.calls(OWN).len(), 1);
}
