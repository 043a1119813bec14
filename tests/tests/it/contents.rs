//! What projects keep of their requests: nothing beside the metadata unless their profile says so, and then sealed, as policies
//! left it, opened by few, replayed, and gone when its time or a purge says so.

use harness::Behaviour;
use harness::canary::Canary;
use harness::client::{Answer, Client};
use serde_json::{Value, json};

use crate::ask::{
    CHAT, MINI, posted, problem, question, refused, said, streaming, trace_of, until_status, with,
};
use crate::gateway::{Gateway, OWN, id_of};
use crate::isolation::second_workspace;
use crate::wait::found;

const PROFILE: &str = "/v2/retention-profile";
/// What is planted in requests and answers.
const SECRET: &str = "heron-canary-93b1c0d7e2aa";
const MAIL: &str = "ann.lee@mail.example.com";
const FULL: &str = "encrypted_full_fidelity";

async fn gateway() -> Gateway {
    let gateway = Gateway::start().await;
    let base_url = gateway.emulator.base_url();
    let credential = json!({"provider": "openai", "secret": OWN, "base_url": base_url, "retention": "zero"});
    gateway.make("/v2/provider-credentials", credential).await;
    gateway
}

async fn keep(gateway: &Gateway, profile: Value) -> Value {
    posted(&gateway.admin(), PROFILE, &profile).await.json()
}

fn asking(text: &str) -> Value {
    json!({"model": MINI, "max_tokens": 100, "messages": [{"role": "user", "content": text}]})
}

fn content_of(trace: &str) -> String {
    format!("/v2/requests/{trace}/content")
}

/// The content of a request, once it is kept.
async fn kept(gateway: &Gateway, answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let trace = trace_of(answer);
    gateway.settled(&trace).await;
    found("the content to be kept", async || {
        let shown = gateway.admin().get(&content_of(&trace)).await.unwrap();
        (shown.status == 200).then(|| shown.json())
    })
    .await
}

/// That no content of a request is kept, though one that came later is.
async fn is_not_kept(gateway: &Gateway, traces: &[String]) {
    kept(gateway, &gateway.client().post(CHAT, &asking("later")).await.unwrap()).await;
    for trace in traces {
        problem(&gateway.admin().get(&content_of(trace)).await.unwrap(), 404, "content_not_kept");
    }
}

/// Profiles that can't be, or not yet.
async fn are_refused(gateway: &Gateway) {
    let admin = gateway.admin();
    for (body, status, code) in [
        (json!({"trace_mode": "all"}), 400, "invalid_value"),
        (json!({"default_retention_days": 0}), 400, "invalid_value"),
        (json!({"sample_percent": 101}), 400, "invalid_value"),
        (json!({"cache_retention": 3}), 400, "invalid_value"),
        (json!({"project_id": "prj_x"}), 404, "not_found"),
    ] {
        problem(&admin.post(PROFILE, &body).await.unwrap(), status, code);
    }
    let stale = admin.clone().header("if-match", "\"v7\"");
    problem(&stale.post(PROFILE, &json!({"sample_percent": 1})).await.unwrap(), 412, "version_mismatch");
    problem(&gateway.client().post(PROFILE, &json!({})).await.unwrap(), 403, "insufficient_scope");
}

#[tokio::test]
async fn a_project_keeps_nothing_until_it_says_so_and_then_what_policies_left() {
    let (gateway, client) = gateway().await.and_client();
    let wishing = |mode: &str| client.clone().header("agent-trace-mode", mode);
    // By default: nothing, and a wish for more is refused or dropped.
    let plain = trace_of(&gateway.chat_ok(&asking(SECRET)).await);
    refused(&wishing(FULL).post(CHAT, &asking("x")).await.unwrap(), 400, "unsupported_header");
    refused(&wishing("all").post(CHAT, &asking("x")).await.unwrap(), 400, "unsupported_header");
    let lenient = wishing(FULL).header("agent-lenient", "true").post(CHAT, &asking("x")).await.unwrap();
    assert_eq!(lenient.header("agent-dropped-params"), Some("Agent-Trace-Mode"));
    let profile = gateway.get(PROFILE).await;
    assert_eq!((&profile["trace_mode"], &profile["changed_by"]), (&json!("metadata"), &Value::Null));
    are_refused(&gateway).await;

    let check = json!({"detect": "email", "action": "mask", "direction": "input", "restore": true});
    let policy = gateway.policy(json!({"checks": [check]})).await;
    let set = keep(&gateway, json!({"trace_mode": FULL, "default_retention_days": 2})).await;
    assert_eq!((&set["effective_trace_mode"], &set["sample_percent"]), (&json!(FULL), &json!(100)));

    // In three dialects, as a stream and not: what was sent, masked, and what was answered.
    gateway.emulator.script(OWN, [Behaviour::ok().text(format!("{SECRET} for [EMAIL_1]")).times(6)]);
    let text = format!("{SECRET} to {MAIL}");
    for path in [CHAT, "/v1/messages", "/v1/responses"] {
        for stream in [false, true] {
            let body = match path {
                "/v1/responses" => json!({"model": MINI, "input": text, "stream": stream, "store": false}),
                _ => with(asking(&text), json!({"stream": stream})),
            };
            let content = kept(&gateway, &client.post(path, &body).await.unwrap()).await;
            let messages = content["messages"].as_array().unwrap();
            assert_eq!(messages[0]["content"], format!("{SECRET} to [EMAIL_1]"), "{path}: {content}");
            // The answer as its client got it.
            assert_eq!(messages[1]["content"], format!("{SECRET} for {MAIL}"), "{path} {stream}: {content}");
            assert_eq!((&content["complete"], &content["status"]), (&json!(true), &json!(200)), "{content}");
            assert!(!content["request"].to_string().contains(MAIL), "{content}");
        }
    }
    // A failure is kept with its error, and a client's wish and `no-store` are heeded.
    gateway.emulator.script(OWN, [Behaviour::status(400)]);
    let failed = trace_of(&client.post(CHAT, &asking("fails")).await.unwrap().must_be(400));
    let less = trace_of(&wishing("metadata").post(CHAT, &asking(SECRET)).await.unwrap());
    let silent = client.clone().header("cache-control", "no-store");
    let unstored = silent.post(CHAT, &asking(SECRET)).await.unwrap();
    is_not_kept(&gateway, &[plain, trace_of(&lenient), less, trace_of(&unstored)]).await;
    let failed = gateway.get(&content_of(&failed)).await;
    assert_eq!((&failed["status"], &failed["messages"].as_array().unwrap().len()), (&json!(400), &1));
    assert!(failed["answer"]["content"]["error"]["message"].is_string(), "{failed}");

    // It is sealed, and in no log.
    let canary = Canary::new().plant("content", SECRET);
    assert_eq!(canary.scan_path(&gateway.data()).unwrap(), []);
    // A policy that lets nothing be retained overrules the profile.
    gateway.patch(&policy, json!({"retention": "zero"})).await;
    assert_eq!(gateway.get(PROFILE).await["effective_trace_mode"], "metadata");
    let again = gateway.admin().post(PROFILE, &json!({"trace_mode": FULL})).await.unwrap();
    problem(&again, 403, "policy_forbids");
    let zero = trace_of(&gateway.chat_ok(&asking(SECRET)).await);
    gateway.patch(&policy, json!({"retention": null})).await;
    is_not_kept(&gateway, &[zero]).await;
}

#[tokio::test]
async fn content_is_opened_by_few_told_in_the_audit_and_purged() {
    let gateway = gateway().await;
    keep(&gateway, json!({"trace_mode": FULL})).await;
    gateway.emulator.script(OWN, [Behaviour::ok().text(SECRET).always()]);
    let answer = gateway.chat_ok(&asking(SECRET)).await;
    let other = gateway.chat_ok(&asking("other")).await;
    kept(&gateway, &answer).await;
    kept(&gateway, &other).await;
    let (trace, path) = (trace_of(&answer), content_of(&trace_of(&answer)));
    // Its record says where it is and until when.
    let record = gateway.get(&format!("/v2/requests/{trace}")).await;
    let lines = record["data_path"].as_array().unwrap();
    let line = lines.iter().find(|line| line["purpose"] == "request_contents").unwrap();
    assert!(line["retention"].to_string().contains("retention profile"), "{line}");
    // Keys that call models or only read, another workspace, and a viewer.
    problem(&gateway.client().get(&path).await.unwrap(), 403, "insufficient_scope");
    let (reading, _) = gateway.key(json!({"name": "r", "scopes": ["read"]})).await;
    problem(&gateway.with_key(&reading).get(&path).await.unwrap(), 403, "insufficient_scope");
    let viewer = gateway.member(&gateway.admin(), "viewer@contents.example", "viewer").await;
    problem(&viewer.client().get(&path).await.unwrap(), 403, "insufficient_role");
    let neighbour = gateway.with_key(&second_workspace(&gateway).await.admin_key);
    problem(&neighbour.get(&path).await.unwrap(), 404, "not_found");
    // Whoever opens it is told, and nothing of it.
    let opened = gateway.cli().run(&["content", "show", &trace, "--json"]).json();
    assert_eq!(opened["messages"][1]["content"], SECRET);
    let audit = gateway.get(&format!("/v2/audit?target={trace}")).await;
    let acts: Vec<_> = audit["data"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(acts, ["content.open", "content.open"], "{audit}");
    assert!(!audit.to_string().contains(SECRET));

    // Its shape alone has no text.
    keep(&gateway, json!({"trace_mode": "tokenized"})).await;
    let shaped = kept(&gateway, &gateway.chat_ok(&asking(SECRET)).await).await;
    assert_eq!((&shaped["answer"], &shaped["messages"]), (&Value::Null, &Value::Null));
    let message = &shaped["request"]["content"]["messages"][0];
    assert_eq!((&message["role"], &message["content"]["bytes"]), (&json!("user"), &json!(SECRET.len())));
    assert!(!shaped.to_string().contains(SECRET), "{shaped}");

    // A purge of the request takes its content, and not the other's.
    let job = gateway.make("/v2/purge-jobs", json!({"request_ids": [trace]})).await;
    let job = format!("/v2/purge-jobs/{}", id_of(&job));
    until_status(&gateway.admin(), &job, "completed").await;
    let receipt = gateway.get(&format!("{job}/receipt")).await;
    let lines = receipt["processors"].as_array().unwrap();
    let line = lines.iter().find(|line| line["place"] == "request_contents").unwrap();
    assert_eq!((&line["before"], &line["status"]), (&json!(1), &json!("cleared")), "{line}");
    problem(&gateway.admin().get(&path).await.unwrap(), 404, "content_not_kept");
    assert_eq!(gateway.admin().get(&content_of(&trace_of(&other))).await.unwrap().status, 200);
}

fn replay_path(answer: &Answer) -> String {
    format!("/v2/requests/{}/replay", trace_of(answer))
}

async fn replayed(client: &Client, path: &str, model: &str) -> Value {
    posted(client, path, &json!({"model": model})).await.json()
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn kept_requests_are_replayed_against_another_model_and_become_examples() {
    let gateway = gateway().await;
    keep(&gateway, json!({"trace_mode": FULL})).await;
    let session = id_of(&gateway.client().post("/v2/sessions", &json!({})).await.unwrap().json());
    let client = gateway.client().header("agent-session-ref", &session);
    let cat = Behaviour::ok().text("the cat sat").times(3);
    gateway.emulator.script(OWN, [cat, Behaviour::ok().text("the dog sat").always()]);
    let streamed = client.post(CHAT, &streaming(MINI)).await.unwrap();
    assert_eq!(said(&streamed), "the cat sat");
    kept(&gateway, &streamed).await;
    let generate = "/v1beta/models/openai%2Fgpt-4o-mini:generateContent";
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "Who sat?"}]}]});
    let generated = client.post(generate, &contents).await.unwrap();
    let content = kept(&gateway, &generated).await;
    assert_eq!(content["messages"][1]["content"], "the cat sat", "{content}");

    // The same words, and other ones, from another model.
    let same = replayed(&gateway.admin(), &replay_path(&streamed), "openai/gpt-4o").await;
    assert_eq!((&same["same"], &same["candidate"]["text"]), (&json!(true), &json!("the cat sat")), "{same}");
    assert_eq!(same["candidate"]["model"], "openai/gpt-4o");
    let other = replayed(&gateway.admin(), &replay_path(&generated), "openai/gpt-4o").await;
    let changes = other["diff"].as_array().unwrap().iter().map(|one| json!([one["change"], one["text"]]));
    let expected = json!([["same", "the "], ["removed", "cat"], ["added", "dog"], ["same", " sat"]]);
    assert_eq!(changes.collect::<Value>(), expected, "{other}");
    assert!(other["candidate"]["cost_nanos"].as_i64().unwrap() > 0, "{other}");
    // It is an exchange of its own, made for the first.
    let made = gateway.settled(other["candidate"]["request_id"].as_str().unwrap()).await;
    assert_eq!(made["made_for"]["purpose"], "replay", "{made}");
    assert_eq!(made["made_for"]["request_id"], trace_of(&generated), "{made}");
    let unknown = replayed(&gateway.admin(), &replay_path(&streamed), "openai/none").await;
    assert_eq!(unknown["candidate"]["text"], Value::Null, "{unknown}");
    let listing = gateway.cli().run(&["session", "replay", &session, "--model", "openai/gpt-4o"]).ok();
    assert!(listing.contains("[-cat-]{+dog+}") && listing.contains("0 the same, 0 not kept"), "{listing}");

    // What was found good becomes examples.
    let score = json!({"request_id": trace_of(&streamed), "name": "helpful", "value": 1});
    gateway.make("/v2/scores", score).await;
    let good = gateway.get("/v2/datasets?score=helpful&score_min=0.5").await;
    let [example] = &good["data"].as_array().unwrap()[..] else { panic!("{good}") };
    assert_eq!((&example["request_id"], &example["score"]), (&json!(trace_of(&streamed)), &json!(1.0)));
    let lines = gateway.cli().run(&["content", "dataset", "--model", "openai/gpt-4o-mini"]).ok();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        let expected = json!({"role": "assistant", "content": "the cat sat"});
        assert_eq!(line["messages"].as_array().unwrap().last(), Some(&expected), "{line}");
    }
    let audit = gateway.get("/v2/audit?limit=100").await.to_string();
    assert!(audit.contains("content.replay") && audit.contains("dataset.read"), "{audit}");
    let question = question(MINI).to_string();
    assert!(!audit.contains("cat") && !audit.contains(&question));
}
