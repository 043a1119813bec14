//! The API document: it is what the gateway serves, and an independent validator accepts it.

use std::process::Command;

use harness::client::Client;
use http::Method;
use serde_json::{Value, json};

use crate::ask::{problem, trace_of};
use crate::command::workspace;
use crate::gateway::Gateway;

/// A list's query parameters are validated for every caller.
#[tokio::test]
async fn a_lists_query_is_read_for_every_scope() {
    let gateway = Gateway::start().await;
    let (reader, _) = gateway.key(json!({"name": "reader", "scopes": ["read"]})).await;
    for key in [&reader, &gateway.founded.admin_key] {
        gateway.with_key(key).get("/v2/workspaces?limit=AAA").await.unwrap().must_be(400);
        assert_eq!(gateway.with_key(key).get("/v2/workspaces?limit=1").await.unwrap().status, 200);
    }
    the_served_document_is_the_checked_in_one(&gateway).await;
}

async fn the_served_document_is_the_checked_in_one(gateway: &Gateway) {
    let served = gateway.client().get("/v2/openapi.json").await.unwrap().must_be(200);
    let kept = std::fs::read(workspace().join("docs/openapi.json")).unwrap();
    assert_eq!(served.json(), serde_json::from_slice::<Value>(&kept).unwrap());
}

#[test]
fn the_document_is_valid_by_another_program() {
    let directory = workspace().join("tests/node");
    let validator = directory.join("node_modules/@apidevtools/swagger-parser");
    assert!(validator.exists(), "run scripts/node-env.sh first");
    let mut command = Command::new("node");
    command.args(["document.mjs", "../../docs/openapi.json"]).current_dir(directory);
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.starts_with("ok Tidegate "), "{stdout}{stderr}");
}

/// Every answer carries a request id, whoever called which route.
async fn every_answer_has_a_request_id(gateway: &Gateway) {
    let stranger = Client::new(&gateway.origin);
    let paths = "/health/live /health/ready /metrics / /v1/models /v2/projects /v2/nowhere /nowhere";
    for path in paths.split(' ') {
        trace_of(&stranger.get(path).await.unwrap());
        trace_of(&gateway.admin().get(path).await.unwrap());
    }
}

/// A JSON array is not accepted in place of an object, at any depth, and errors name no Rust type.
#[cfg(feature = "control")]
#[tokio::test]
async fn a_list_is_no_object() {
    let gateway = Gateway::start().await;
    let admin = gateway.admin();
    let json = [("content-type", "application/json")];
    for (method, path, body, param) in [
        (Method::PUT, "/v2/tariff", r#"["arr", null, 7000000]"#, Value::Null),
        (Method::POST, "/v2/projects", r#"["x"]"#, Value::Null),
        (Method::POST, "/v2/projects", r#"{"name": "x", "limits": [5, 6]}"#, json!("limits")),
    ] {
        let problem = problem(&admin.call(method, path, &json, body).await.unwrap(), 400, "invalid_value");
        assert_eq!(problem["param"], param, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("expected an object, not an array"), "{detail}");
    }
    // An integer may be written with a zero fraction.
    let whole = r#"{"name": "whole", "limits": {"requests_per_minute": 5.0}}"#;
    admin.call(Method::POST, "/v2/projects", &json, whole).await.unwrap().must_be(201);
}

/// A route of an alias that nobody made is refused like any wrong field, a token that nobody made by a code of
/// its own.
async fn an_unknown_alias_and_an_unknown_join_token_are_refused(gateway: &Gateway) {
    let admin = gateway.admin();
    let route = json!({"scope": {"alias": "fast"}});
    let refused = problem(&admin.post("/v2/routes", &route).await.unwrap(), 400, "invalid_value");
    assert_eq!(refused["param"], "scope.alias", "{refused}");
    let joining = json!({"token": "tgj_of_another_control_plane"});
    let joined = admin.post("/v2/byoc/nodes/join", &joining).await.unwrap();
    assert_eq!(problem(&joined, 401, "unknown_join_token")["param"], "token");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn methods_and_forms_are_negotiated() {
    let gateway = Gateway::start().await;
    let admin = gateway.admin();
    let json = ("content-type", "application/json");
    let call = async |method: Method, path: &str, headers: &[(&str, &str)], body: &'static str| {
        admin.call(method, path, headers, body).await.unwrap()
    };
    let head = call(Method::HEAD, "/v2/projects", &[], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let options = call(Method::OPTIONS, "/v2/projects", &[], "").await;
    assert_eq!((options.status, options.header("allow")), (204, Some("POST, GET, HEAD, OPTIONS")));
    call(Method::OPTIONS, "/v2/nowhere", &[], "").await.must_be(404);
    // An unknown path: a browser gets the console's error page, and a program gets a problem document.
    let page = call(Method::GET, "/nope", &[("accept", "text/html,*/*;q=0.8")], "").await;
    assert_eq!((page.status, page.header("content-type")), (404, Some("text/html; charset=utf-8")));
    assert!(page.header("content-security-policy").is_some(), "{}", page.text());
    problem(&call(Method::GET, "/nope", &[("accept", "*/*")], "").await, 404, "unknown_path");
    let other = call(Method::PUT, "/v2/projects", &[json], "{}").await;
    problem(&other, 405, "method_not_allowed");
    assert_eq!(other.header("allow"), Some("POST, GET, HEAD, OPTIONS"));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    problem(&call(Method::POST, "/v2/projects", &form, "name=p").await, 415, "unsupported_media_type");
    problem(&call(Method::GET, "/v2/projects", &[("accept", "text/html")], "").await, 406, "not_acceptable");
    let csv = call(Method::GET, "/v2/usage?format=csv", &[("accept", "text/csv")], "").await;
    assert_eq!((csv.status, csv.header("content-type")), (200, Some("text/csv; charset=utf-8")));
    let wrong = call(Method::POST, "/v2/routes", &[json], r#"{"scope": {"tag": 4}}"#).await;
    let wrong = problem(&wrong, 400, "invalid_value");
    assert_eq!(wrong["errors"][0]["pointer"], "#/scope/tag", "{wrong}");
    let window = problem(&admin.get("/v2/usage?window=x").await.unwrap(), 400, "invalid_value");
    assert!(window.get("errors").is_none(), "{window}");
    every_answer_has_a_request_id(&gateway).await;
    an_unknown_alias_and_an_unknown_join_token_are_refused(&gateway).await;
    a_version_is_answered_and_an_unknown_one_refused(&gateway).await;
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_cursor_is_good_for_one_list() {
    let gateway = Gateway::start().await;
    for name in ["a", "b", "c"] {
        gateway.make("/v2/api-keys", json!({"name": name})).await;
    }
    let cursor = gateway.get("/v2/api-keys?limit=1").await["next_cursor"].as_str().unwrap().to_owned();
    let next = gateway.get(&format!("/v2/api-keys?limit=2&cursor={cursor}")).await;
    assert_eq!(next["data"].as_array().unwrap().len(), 2);
    let project = &gateway.founded.project_id;
    let other = gateway.make("/v2/workspaces", json!({"name": "other"})).await;
    let theirs = gateway.with_key(other["admin_key"].as_str().unwrap());
    let mut foreign = vec![
        gateway.admin().get(&format!("/v2/projects?cursor={cursor}")).await.unwrap(),
        gateway.admin().get(&format!("/v2/api-keys?project_id={project}&cursor={cursor}")).await.unwrap(),
        theirs.get(&format!("/v2/api-keys?cursor={cursor}")).await.unwrap(),
    ];
    for at in 0..cursor.len() {
        let mut touched = cursor.clone().into_bytes();
        touched[at] = if touched[at] == b'A' { b'B' } else { b'A' };
        let touched = String::from_utf8(touched).unwrap();
        foreign.push(gateway.admin().get(&format!("/v2/api-keys?cursor={touched}")).await.unwrap());
    }
    for refused in foreign {
        problem(&refused, 400, "invalid_cursor");
    }
}

/// A supported dated version is echoed, and an unsupported one is refused before anything is done.
async fn a_version_is_answered_and_an_unknown_one_refused(gateway: &Gateway) {
    let (admin, stranger) = (gateway.admin(), Client::new(&gateway.origin));
    let version = admin.get("/v2/projects").await.unwrap().header("tidegate-version").unwrap().to_owned();
    let is_of_a_date = |at, c: char| if [4, 7].contains(&at) { c == '-' } else { c.is_ascii_digit() };
    assert_eq!(version.len(), 10, "{version}");
    assert!(version.char_indices().all(|(at, c)| is_of_a_date(at, c)), "{version}");
    // Refused requests carry the version, too.
    for answer in [stranger.get("/v2/me").await, admin.get("/v2/nowhere").await, admin.delete("/v2/me").await]
    {
        assert_eq!(answer.unwrap().header("tidegate-version"), Some(version.as_str()));
    }
    let make = async |version: &str| {
        let headers = [("content-type", "application/json"), ("tidegate-version", version)];
        admin.call(Method::POST, "/v2/projects", &headers, r#"{"name": "p"}"#).await.unwrap()
    };
    let refused = problem(&make("2026-01-01").await, 400, "unknown_version");
    assert_eq!(refused["param"], "Tidegate-Version");
    assert!(refused["fix"].as_str().unwrap().contains(&version), "{refused}");
    assert_eq!(make(&version).await.status, 201, "the one before made nothing");
    let document = gateway.get("/v2/openapi.json").await;
    let parameter = &document["components"]["parameters"]["version"];
    assert_eq!(parameter["schema"]["enum"], json!([version]), "{parameter}");
}
