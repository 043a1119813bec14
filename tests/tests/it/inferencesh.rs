//! The whole of inference.sh's published Node client: every call of it, as a page lists them, and what must not be possible by
//! the calls that manage things.

use std::process::Stdio;

use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::MINI;
use crate::command::workspace;
use crate::gateway::{Gateway, id_of};
use crate::isolation::second_workspace;

/// What journeys of their own say of calls that stay open, or run something: `agents::`, `tasks::` and `flows::`.
const ELSEWHERE: [(&str, &str); 13] = [
    ("agents.create", "works: it makes no request"),
    ("agents.submitToolResult", "works"),
    ("agents.resolveInterrupt", "works"),
    ("apps.get", "works"),
    ("artifacts.renderUrl", "works: it makes no request"),
    ("chats.cancelMessage", "works"),
    ("chats.stream", "works"),
    ("files.processInput", "works"),
    ("flowRuns.stream", "works"),
    ("tasks.stream", "works"),
    ("tasks.watch", "works"),
    ("tasks.watchPoll", "works"),
    ("tasks.watchStream", "works"),
];
/// Calls that make no request of their own, or a stream of what has no counterpart.
const LEFT_OUT: [&str; 4] = ["sockets.open", "flows.stream", "engines.stream", "flowRuns.streamTasks"];

const TABLE_HEAD: &str = "| call | here |\n|---|---|\n";

fn row_of(came: &Value) -> Result<String, String> {
    let (call, text) = (came["call"].as_str().unwrap(), came["text"].as_str().unwrap());
    let outcome = match came["status"].as_u64() {
        Some(200) => "works".to_owned(),
        Some(501) => match text.split_once(" asks for. ") {
            Some((_, instead)) => format!("501: {}", instead.trim_end_matches('.')),
            None => return Err(came.to_string()),
        },
        _ => return Err(came.to_string()),
    };
    Ok(format!("| `{call}` | {outcome} |"))
}

/// What the calls are about: one of each, besides those that calls remove.
async fn of_every_kind(gateway: &Gateway) -> Value {
    let definition = json!({"model": MINI, "instructions": "Help."});
    let agent = gateway.make("/v2/agents", json!({"name": "helper", "definition": definition})).await;
    let document = json!({"name": "greet", "steps": {"later": {"kind": "wait", "seconds": 600}}});
    let flow = gateway.make("/v2/flows", json!({"document": document})).await;
    let client = gateway.client();
    let run = client.post("/v2/flow-runs", &json!({"flow": "greet", "input": {}})).await.unwrap().json();
    let body = json!({"app": MINI, "input": {"prompt": "hello"}, "wait": true});
    let task = client.post("/v1/run", &body).await.unwrap().json()["data"]["id"].clone();
    let body = json!({"app": MINI, "input": {"prompt": "hello"}, "run_at": crate::tasks::in_a_day()});
    let later = client.post("/v1/run", &body).await.unwrap().json();
    let body = json!({"agent": "helper", "input": {"text": "hello"}});
    let sent = client.post("/agents/run", &body).await.unwrap().json();
    let node = json!({"name": "attic", "base_url": gateway.emulator.base_url()});
    let server = json!({"name": "docs", "url": format!("{}/mcp", gateway.emulator.origin())});
    let body = json!({"files": [{"filename": "a.txt", "content_type": "text/plain", "size": 1}]});
    let file = client.post("/files", &body).await.unwrap().json();
    let body = json!({"app": MINI, "input": {"prompt": "hello"}, "session": "new"});
    let warm = client.post("/v1/run", &body).await.unwrap().json()["data"]["session_id"].clone();
    let secret = json!({"name": "A_SECRET", "value": "hidden", "hosts": ["a.example.com"]});
    gateway.make("/v2/secrets", secret).await;
    json!({
        "agents": agent["id"], "flows": flow["id"], "flowRuns": run["id"], "tasks": task, "apps": MINI,
        "chats": sent["data"]["assistant_message"]["chat_id"], "files": file["data"][0]["id"],
        "engines": id_of(&gateway.make("/v2/byoc/nodes", node).await),
        "mcpServers": id_of(&gateway.make("/v2/mcp-servers", server).await),
        "apiKeys": id_of(&gateway.make("/v2/api-keys", json!({"name": "spare"})).await),
        "projects": id_of(&gateway.make("/v2/projects", json!({"name": "spare"})).await),
        "later": later["data"]["id"], "teams": gateway.founded.workspace_id, "sessions": warm, "secrets": "A_SECRET",
        "member": id_of(&gateway.make("/v2/members", json!({"email": "a@example.com", "role": "developer"})).await),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_of_the_client_works_or_says_what_does() {
    let gateway = Gateway::with_own().await;
    let ids = of_every_kind(&gateway).await;
    let config = json!({"system_prompt": "Beep.", "core_app": {"ref": MINI}});
    let (team, member) = (&ids["teams"], &ids["member"]);
    let url = format!("{}/other", gateway.emulator.origin());
    let mut calls = json!({
        "agents.createAgent": [{"name": "beeper", "version": config}],
        "agents.update": [ids["agents"], {"version": config}],
        "agents.getByName": ["mine", "helper"], "agents.getVersion": [ids["agents"], "1"],
        "secrets.create": [{"key": "ANOTHER", "value": "hidden"}],
        "secrets.update": ["A_SECRET", {"value": "hidden too"}], "apiKeys.create": [{"name": "new"}], "projects.create": [{"name": "new"}],
        "projects.update": [ids["projects"], {"name": "renamed"}],
        "mcpServers.create": [{"slug": "more", "server_url": url}],
        "mcpServers.update": [ids["mcpServers"], {"description": "Of the product."}],
        "teams.addMember": [team, {"email": "b@example.com", "role": "member"}],
        "teams.createInvite": [team, {"email": "c@example.com", "role": "admin"}],
        "teams.updateMemberRole": [team, member, "admin"], "teams.removeMember": [team, member],
        "teams.revokeInvite": [team, Value::Null], "teams.list": [],
        "tasks.create": [{"app": MINI, "input": {"prompt": "hello"}}],
        "tasks.run": [{"app": MINI, "input": {"prompt": "hello"}}, {"prompt": "hello"}, {"wait": false}],
        "files.upload": ["data:text/plain;base64,aGVsbG8=", {}], "flowRuns.create": [ids["flows"], {}],
        "sessions.list": [], "tasks.cancel": [ids["later"]], "mcpServers.listOwned": [{"limit": 10}],
        "artifacts.publish": [{"name": "x", "content": "hello"}],
        "artifacts.publishVersion": ["x", {"content": "hello"}],
    });
    for call in ELSEWHERE.map(|(call, _)| call).into_iter().chain(LEFT_OUT) {
        calls[call] = Value::Null;
    }
    let invited = json!({"email": "d@example.com", "role": "developer"});
    calls["teams.revokeInvite"] = json!([team, id_of(&gateway.make("/v2/members", invited).await)]);
    let (key, _) = gateway.key(json!({"name": "everything", "scopes": ["inference", "read", "admin"]})).await;
    let known = json!({"ids": ids, "calls": calls}).to_string();
    let mut command = tokio::process::Command::new("node");
    command.arg(workspace().join("tests/node/management.mjs"));
    command.args([&format!("{}/v1", gateway.origin), &key, &known]).env("NO_PROXY", "*").kill_on_drop(true);
    let driven = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap().wait_with_output();
    let output = tokio::time::timeout(WITHIN * 3, driven).await.unwrap().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    let came: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(came.len() > 130, "{}", came.len());
    let (rows, wrong): (Vec<_>, Vec<_>) = came.iter().map(row_of).partition(Result::is_ok);
    assert_eq!(wrong, []);
    let mut rows: Vec<String> = rows.into_iter().flatten().collect();
    rows.extend(ELSEWHERE.map(|(call, here)| format!("| `{call}` | {here} |")));
    rows.sort();
    let path = workspace().join("docs/inferencesh.md");
    let present = std::fs::read_to_string(&path).unwrap();
    let (by_hand, _) = present.split_once(TABLE_HEAD).unwrap();
    let page = format!("{by_hand}{TABLE_HEAD}{}\n", rows.join("\n"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), page, "run this test with UPDATE_DOCS=1");
}

#[tokio::test]
async fn what_is_managed_is_that_of_its_caller_alone() {
    let gateway = Gateway::with_own().await;
    let ids = of_every_kind(&gateway).await;
    let stranger = gateway.with_key(&second_workspace(&gateway).await.admin_key);
    for name in ["agents", "flows", "engines", "mcpServers", "projects", "teams"] {
        let kind = if name == "mcpServers" { "mcp-servers" } else { name };
        let path = format!("/v1/{kind}/{}", ids[name].as_str().unwrap());
        let found = stranger.get(&path).await.unwrap();
        assert_eq!((found.status, &found.json()["code"]), (404, &json!("not_found")), "{path}");
    }
    for name in ["apiKeys", "agents", "chats", "projects"] {
        let path = format!("/v1/{}/{}", name.to_lowercase(), ids[name].as_str().unwrap());
        assert_eq!(stranger.delete(&path).await.unwrap().status, 404, "{path}");
    }
    for kind in ["agents", "flows", "flowruns", "engines", "mcp-servers", "chats"] {
        let listed = stranger.post(&format!("/{kind}/list"), &json!({})).await.unwrap();
        assert_eq!((listed.status, &listed.json()["data"]["items"]), (200, &json!([])), "{kind}");
    }
    // A key that calls models alone manages nothing.
    assert_eq!(gateway.client().post("/apikeys", &json!({"name": "more"})).await.unwrap().status, 403);
    // Who shows no key doesn't learn what there is.
    let nobody = harness::client::Client::new(&gateway.origin);
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let calls = [(get.clone(), "/skills/x"), (get, "/me"), (post, "/apikeys"), (put, "/mcp-servers/x")];
    for (method, path) in calls {
        let answer = nobody.call(method, path, &[], "{}".to_owned()).await.unwrap();
        assert_eq!(answer.status, 401, "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn wrong_calls_are_answered_as_the_client_reads_it() {
    let gateway = Gateway::start().await;
    let admin = gateway.admin();
    let oauth = json!({"slug": "x", "server_url": "http://x", "auth_type": "oauth"});
    for (path, body, status, code) in [
        ("agents", json!({"name": "x"}), 400, "missing_field"),
        ("agents", json!({"name": "x", "version": {"tools": []}}), 400, "invalid_value"),
        ("apikeys", json!({}), 400, "missing_field"),
        ("mcp-servers", json!({"slug": "x", "server_url": "file:///etc"}), 400, "base_url_refused"),
        ("mcp-servers", oauth, 501, "no_counterpart"),
        ("projects/..%2f..%2fme", json!({"name": "x"}), 404, "not_found"),
        ("chats/list", json!({"cursor": "nonsense"}), 400, "invalid_cursor"),
        ("skills", json!({"name": "x"}), 501, "no_counterpart"),
        ("projects", json!([]), 400, "invalid_json"),
    ] {
        let answer = admin.post(&format!("/{path}"), &body).await.unwrap();
        let problem = answer.json();
        assert_eq!((answer.status, &problem["code"]), (status, &json!(code)), "{path} {body}: {problem}");
        assert!(problem["detail"].is_string() && problem["request_id"].is_string(), "{problem}");
    }
    // The console's pages at the same addresses are for browsers.
    let accept = [("accept", "text/html")];
    let page = admin.call(Method::GET, "/projects/x", &accept, String::new()).await.unwrap();
    assert!(page.status == 200 && page.text().contains("<html"), "{}", page.text());
    let put = admin.call(Method::PUT, "/agents/x", &[], "{}".to_owned()).await.unwrap();
    assert_eq!(put.must_be(405).json()["code"], "method_not_allowed");
    // Each client has the envelope that it knows.
    let of = async |version| {
        admin.call(Method::GET, "/me", &[("x-api-version", version)], String::new()).await.unwrap().json()
    };
    let team = &gateway.founded.workspace_id;
    assert_eq!(of("1").await["data"]["team"]["id"], **team);
    assert_eq!(of("2").await["team"]["id"], **team);
    assert_eq!(of("3").await["data"]["user"]["default_team_id"], **team);
}
