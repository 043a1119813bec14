//! Legal holds: what is held is neither deleted nor purged, by whatever path, until the hold is released.

use harness::Behaviour;
use harness::client::Client;
use http::Method;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, problem, scripted, until_status};
use crate::data_exports::made;
use crate::gateway::{Gateway, OWN, id_of};
use crate::wait::until;

const HOLDS: &str = "/v2/legal-holds";
const JOBS: &str = "/v2/purge-jobs";
const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=xyz");

/// Asks for a deletion that a hold must refuse by its name.
async fn is_refused(client: &Client, path: &str, hold: &str) {
    let refused = client.delete(path).await.unwrap();
    assert_eq!(refused.status, 409, "DELETE {path}: {}", refused.text());
    let text = refused.text();
    assert!(text.contains("legal_hold") && text.contains(hold), "{path}: {text}");
}

async fn purge_is_refused(gateway: &Gateway, scope: Value, hold: &str) {
    for path in [JOBS, "/v2/purge-jobs?dry_run=true"] {
        let refused = problem(&gateway.admin().post(path, &scope).await.unwrap(), 409, "legal_hold");
        assert!(refused["detail"].as_str().unwrap().contains(hold), "{scope}: {refused}");
    }
}

/// Holds that name nothing, too much, or what is not there.
async fn are_refused(admin: &Client, project: &str, gone: &str) {
    for (body, status, code) in [
        (json!({"reason": "r"}), 400, "missing_field"),
        (json!({"workspace": true}), 400, "missing_field"),
        (json!({"workspace": true, "project_id": project, "reason": "r"}), 400, "invalid_value"),
        (json!({"session_ids": [gone], "reason": "r"}), 404, "not_found"),
        (json!({"project_id": "prj_x", "reason": "r"}), 404, "not_found"),
        (json!({"workspace": true, "reason": "r".repeat(501)}), 400, "invalid_value"),
    ] {
        problem(&admin.post(HOLDS, &body).await.unwrap(), status, code);
    }
}

#[tokio::test]
async fn held_sessions_stay_with_their_artifacts_and_the_hold_tells_who_released_it() {
    let gateway = Gateway::start().await;
    let (client, admin) = (gateway.client(), gateway.admin());
    let document = json!({"type": "document", "content": "the contract"});
    let [listed, sent, other] = [
        made(&client, "/v2/artifacts", document.clone()).await,
        made(&client, "/v2/artifacts", document.clone()).await,
        made(&client, "/v2/artifacts", document).await,
    ];
    let bundle = id_of(&made(&client, "/v2/bundles", json!({"items": [listed["id"]]})).await);
    let session = made(&client, "/v2/sessions", json!({"base_bundle_ids": [bundle]})).await;
    let free = id_of(&made(&client, "/v2/sessions", json!({})).await);
    let (id, branch) = (id_of(&session), session["default_branch_id"].as_str().unwrap());
    let reason = "Heron v. Crane";
    let hold = id_of(&made(&admin, HOLDS, json!({"session_ids": [id], "reason": reason})).await);
    // What comes later is held, too.
    let events = format!("/v2/sessions/{id}/branches/{branch}/events");
    let event = json!({"event_type": "tool_result", "payload_ref": sent["id"]});
    made(&client, &events, json!({"expected_version": 0, "event": event})).await;
    let held = [
        format!("/v2/sessions/{id}"),
        format!("/v2/bundles/{bundle}"),
        format!("/v2/artifacts/{}", id_of(&listed)),
        format!("/v2/artifacts/{}", id_of(&sent)),
    ];
    for path in &held {
        is_refused(&client, path, &hold).await;
    }
    let project = &gateway.founded.project_id;
    for scope in [
        json!({"session_id": id}),
        json!({"artifact_ids": [id_of(&other), id_of(&sent)]}),
        json!({"project_id": project}),
        json!({"workspace": true}),
        json!({"from": "2020-01-01"}),
    ] {
        purge_is_refused(&gateway, scope, &hold).await;
    }
    made(&admin, JOBS, json!({"to": "2020-01-01"})).await;
    for free in [format!("/v2/sessions/{free}"), format!("/v2/artifacts/{}", id_of(&other))] {
        assert_eq!(client.delete(&free).await.unwrap().status, 204, "{free}");
    }
    let shown = gateway.get(&format!("{HOLDS}/{hold}")).await;
    has(&shown, json!({"status": "in_force", "reason": reason, "session_ids": [id], "released_by": null}));
    are_refused(&admin, project, &free).await;
    gateway.cli().run(&["hold", "release", &hold]).ok();
    let listed = gateway.get(HOLDS).await;
    let [released] = &listed["data"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&released["status"], &released["id"]), (&json!("released"), &json!(hold)));
    assert!(released["released_at"].is_string() && released["released_by"].is_string(), "{released}");
    for path in &held {
        assert_eq!(client.delete(path).await.unwrap().status, 204, "{path}");
    }
    let audit = gateway.get(&format!("/v2/audit?target={hold}")).await;
    let acts: Vec<_> = audit["data"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(acts, ["legal_hold.release", "legal_hold.create"], "{audit}");
}

#[tokio::test]
async fn clients_delete_nothing_of_a_held_project_here_or_at_a_provider() {
    let gateway = Gateway::with_own().await;
    let (client, admin) = (gateway.client(), gateway.admin());
    let ran = made(&client, "/v1/run", json!({"app": MINI, "input": {"prompt": "text=one"}})).await;
    let asked = made(&client, "/v2/responses", json!({"model": MINI, "input": "text=two"})).await;
    let stored = json!({"model": MINI, "input": "text=three", "store": true});
    let stored = made(&client, "/v1/responses", stored).await;
    let part =
        |head: &str, body: &str| format!("--xyz\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n");
    let form = part("name=\"purpose\"", "user_data")
        + &part("name=\"file\"; filename=\"f.txt\"", "a file")
        + "--xyz--\r\n";
    let uploaded = client.call(Method::POST, "/v1/files", &[FORM], form).await.unwrap();
    let session = made(&client, "/v2/sessions", json!({})).await;
    let paths = [
        format!("/tasks/{}", ran["data"]["id"].as_str().unwrap()),
        format!("/v2/responses/{}", id_of(&asked)),
        format!("/v1/responses/{}", id_of(&stored)),
        format!("/v1/files/{}", id_of(&uploaded.json())),
        format!("/v2/sessions/{}", id_of(&session)),
    ];
    let project = gateway.founded.project_id.clone();
    let other = id_of(&gateway.make("/v2/projects", json!({"name": "heron"})).await);
    let hold = id_of(&made(&admin, HOLDS, json!({"project_id": project, "reason": "a case"})).await);
    let calls = gateway.calls(OWN).len();
    for path in &paths {
        is_refused(&client, path, &hold).await;
        assert_eq!(client.get(path).await.unwrap().status, 200, "{path}");
    }
    let deletes = gateway.calls(OWN)[calls..].iter().any(|call| call.method == "DELETE");
    assert!(!deletes, "no provider was asked to delete");
    for scope in [json!({"project_id": project}), json!({"workspace": true})] {
        purge_is_refused(&gateway, scope, &hold).await;
    }
    let purge_cache = admin.post(&format!("/v2/projects/{project}/purge-cache"), &json!({})).await.unwrap();
    problem(&purge_cache, 409, "legal_hold");
    made(&admin, JOBS, json!({"project_id": other})).await;
    // A hold of the whole workspace is on every project.
    let wide = id_of(&made(&admin, HOLDS, json!({"workspace": true, "reason": "another"})).await);
    is_refused(&admin, &format!("/v2/projects/{other}"), &wide).await;
    purge_is_refused(&gateway, json!({"project_id": other}), &wide).await;
    assert_eq!(gateway.chat(&scripted(MINI, "text=more")).await.status, 200, "requests are served as before");
    for hold in [&hold, &wide] {
        gateway.remove(&format!("{HOLDS}/{hold}")).await;
    }
    for path in &paths {
        let gone = client.delete(path).await.unwrap();
        assert!(gone.status < 300, "{path}: {}", gone.text());
    }
}

/// The hold comes while a provider is slow to delete: the purge ends there, and says why.
#[tokio::test]
async fn a_hold_stops_a_purge_that_runs() {
    let gateway = Gateway::with_own().await;
    let client = gateway.client();
    made(&client, "/v1/responses", json!({"model": MINI, "input": "text=one", "store": true})).await;
    let keyed = gateway.client().header("idempotency-key", "once");
    keyed.post(CHAT, &scripted(MINI, "text=two")).await.unwrap().must_be(200);
    until("the response to be known", async || gateway.requests(10).await.len() == 2).await;
    gateway.emulator.script_deletions(OWN, [Behaviour::held()]);
    let purge = id_of(&gateway.make(JOBS, json!({"project_id": gateway.founded.project_id})).await);
    let holds = async || gateway.emulator.journal().iter().any(|call| call.method == "DELETE");
    until("the provider to be asked to delete", holds).await;
    let hold = id_of(&gateway.make(HOLDS, json!({"workspace": true, "reason": "a case"})).await);
    gateway.emulator.release();
    let job = until_status(&gateway.admin(), &format!("{JOBS}/{purge}"), "failed").await;
    assert!(job["error"].as_str().unwrap().contains(&hold), "{job}");
    problem(&gateway.admin().get(&format!("{JOBS}/{purge}/receipt")).await.unwrap(), 409, "purge_not_over");
}
