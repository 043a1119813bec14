//! Apps that are no models: HTTP servers of a project with their secrets, and its tools, agents and flows, by one call.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use harness::client::{Answer, Client};
use harness::mcp::{McpAnswer, McpServer, McpTool};
use serde_json::{Value, json};

use crate::ask::{MINI, has, problem, with};
use crate::command::workspace;
use crate::gateway::{Gateway, OWN, config, id_of};
use crate::isolation::second_workspace;
use crate::sdk::drive;
use crate::tasks::{create, ended};
use crate::tools::server;
use crate::wait;

const SECRET: &str = "sk-of-the-customer-71c5";

/// What the customer's server was sent.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    line: String,
    token: Option<String>,
    key: Option<String>,
    body: Value,
}

/// A customer's server: what it does is told by its path.
#[derive(Clone)]
struct Shop {
    host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    hung_up: Arc<Mutex<u32>>,
}

impl Shop {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let shop = Self { host, seen: Arc::default(), hung_up: Arc::default() };
        let serving = shop.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shop = serving.clone();
                std::thread::spawn(move || shop.serve(stream));
            }
        });
        shop
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn serve(&self, mut stream: TcpStream) {
        let Some(seen) = read(&mut stream) else { return };
        let path = seen.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let tries = {
            let mut all = self.seen.lock().unwrap();
            all.push(seen.clone());
            all.iter().filter(|one| one.line == seen.line).count()
        };
        let (status, more, body) = match path.as_str() {
            "/slow" => {
                // Nothing comes any more once the gateway has hung up.
                let _ = stream.read(&mut [0; 16]);
                *self.hung_up.lock().unwrap() += 1;
                return;
            }
            "/away" => ("302 Found", "location: http://169.254.169.254/latest\r\n", "{}".to_owned()),
            "/broken" => ("500 Internal Server Error", "", r#"{"oops": true}"#.to_owned()),
            "/once-broken" if tries == 1 => ("503 Service Unavailable", "", "{}".to_owned()),
            "/misfit" => ("200 OK", "", r#"{"total": "many"}"#.to_owned()),
            "/huge" => ("200 OK", "", format!("\"{}\"", "x".repeat(5 * 1024 * 1024))),
            _ => ("200 OK", "", json!({"total": 42, "path": path, "sent": seen.body}).to_string()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{more}content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
    }
}

/// A whole request.
fn read(stream: &mut TcpStream) -> Option<Seen> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let of = |name: &str| {
            let mut headers = head.lines().filter_map(|line| line.split_once(": "));
            headers.find_map(|(header, value)| header.eq_ignore_ascii_case(name).then(|| value.to_owned()))
        };
        let expected: usize = of("content-length").map_or(0, |length| length.parse().unwrap());
        if body.len() >= expected {
            let line = head.lines().next().unwrap_or_default().to_owned();
            let body = serde_json::from_str(body).unwrap_or_default();
            return Some(Seen { line, token: of("authorization"), key: of("idempotency-key"), body });
        }
    }
}

fn schema() -> Value {
    json!({
        "type": "object", "required": ["order"], "additionalProperties": false,
        "properties": {"order": {"type": "string"}, "lines": {"type": "array", "items": {"type": "integer"}}},
    })
}

fn app(shop: &Shop, name: &str, path: &str) -> Value {
    json!({
        "name": name, "description": "Counts an order.", "url": shop.url(path), "input_schema": schema(),
        "output_schema": {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]},
    })
}

fn with_secret(app: Value) -> Value {
    with(app, json!({"secrets": [{"name": "SHOP_KEY"}]}))
}

async fn keep_secret(gateway: &Gateway, shop: &Shop) -> Value {
    gateway.make("/v2/secrets", json!({"name": "SHOP_KEY", "value": SECRET, "hosts": [shop.host]})).await
}

async fn run(client: &Client, app: &str, input: Value) -> Answer {
    client.post("/v1/run", &json!({"app": app, "input": input})).await.unwrap()
}

/// The task of a run that comes to its end.
async fn ran(gateway: &Gateway, app: &str, input: Value) -> Value {
    let task = run(&gateway.client(), app, input).await.must_be(200).json()["data"].clone();
    assert_eq!(task["status"], 10, "{task}");
    task
}

/// The id of a task that nobody waits for.
async fn queued(gateway: &Gateway, app: &str, input: Value) -> String {
    id_of(&create(&gateway.client(), &json!({"app": app, "input": input})).await)
}

/// A task that nobody waited for, once it has ended.
async fn ran_later(gateway: &Gateway, app: &str, input: Value) -> Value {
    ended(&gateway.client(), &queued(gateway, app, input).await).await
}

/// What a client of the project reads there.
async fn shown(gateway: &Gateway, path: &str) -> Value {
    gateway.client().get(path).await.unwrap().json()["data"].clone()
}

async fn cancel(gateway: &Gateway, task: &str) {
    let path = format!("/v1/tasks/{task}/cancel");
    gateway.client().post(&path, &json!({})).await.unwrap().must_be(200);
}

async fn patched(client: &Client, path: &str) -> Answer {
    let json = [("content-type", "application/merge-patch+json")];
    let body = json!({"description": "x"}).to_string();
    client.call(http::Method::PATCH, path, &json, body).await.unwrap()
}

async fn an_app_is_run(gateway: &Gateway) {
    let shop = Shop::open();
    keep_secret(gateway, &shop).await;
    gateway.make("/v2/apps", with_secret(app(&shop, "acme/count", "/count"))).await;
    let task = ran(gateway, "acme/count", json!({"order": "a", "lines": [1]})).await;
    let output = json!({"order": "a", "lines": [1]});
    has(&task, json!({"/output/total": 42, "/output/sent": output, "/usage_events/0/type": "app"}));
    let later = ran_later(gateway, "acme/count", json!({"order": "b"})).await;
    has(&later, json!({"status": 10, "/output/total": 42}));
    let seen = shop.seen();
    assert_eq!(seen.len(), 2);
    for (seen, task) in seen.iter().zip([&task, &later]) {
        assert_eq!(seen.line, "POST /count HTTP/1.1");
        assert_eq!(seen.token.as_deref(), Some(format!("Bearer {SECRET}").as_str()));
        assert_eq!(seen.key.as_deref(), task["id"].as_str());
        assert!(!task.to_string().contains(SECRET));
    }
}

#[tokio::test]
async fn a_server_of_the_project_is_an_app_as_any_other() {
    an_app_is_run(&Gateway::start().await).await;
}

#[tokio::test]
async fn it_is_the_same_over_postgresql() {
    an_app_is_run(&Gateway::over_postgres("own_apps", config(), &[]).await).await;
}

#[tokio::test]
async fn apps_are_declared_changed_and_listed_with_their_schemas() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    let made = gateway.make("/v2/apps", with_secret(app(&shop, "acme/count", "/count"))).await;
    let secret = json!({"name": "SHOP_KEY", "header": "authorization", "prefix": "Bearer "});
    assert_eq!(made["secrets"], json!([secret]));
    let listed = shown(&gateway, "/apps/acme%2Fcount").await;
    has(&listed, json!({"input_schema": schema(), "category": "app"}));
    assert_eq!(listed["version"]["required_secrets"][0]["key"], "SHOP_KEY", "{listed}");
    let term = json!({"search": {"term": "acme/"}});
    let all = gateway.client().post("/apps/list", &term).await.unwrap().json();
    assert_eq!(all["data"]["total_items"], 1, "{all}");
    let path = format!("/v2/apps/{}", id_of(&made));
    let changed = gateway.patch(&path, json!({"url": shop.url("/other")})).await;
    has(&changed, json!({"url": shop.url("/other"), "secrets": made["secrets"]}));
    problem(&patched(&gateway.admin().header("if-match", "\"v1\""), &path).await, 412, "version_mismatch");
    for (wrong, param) in [
        (json!({"name": "openai/mine"}), "name"),
        (json!({"name": "tools/mine"}), "name"),
        (json!({"name": "mine"}), "name"),
        (json!({"input_schema": {"type": "array"}}), "input_schema"),
        (json!({"output_schema": {"type": "nothing"}}), "output_schema"),
        (json!({"secrets": [{"name": "a b"}]}), "secrets[0].name"),
        (json!({"url": "ftp://a.example/"}), "url"),
    ] {
        let body = with(json!({"name": "acme/x", "url": shop.url("/")}), wrong);
        let refused = gateway.admin().post("/v2/apps", &body).await.unwrap();
        assert_eq!((refused.status, &refused.json()["param"]), (400, &json!(param)), "{}", refused.text());
    }
    gateway.patch(&path, json!({"enabled": false})).await;
    assert_eq!(gateway.client().get("/apps/acme%2Fcount").await.unwrap().status, 404);
    gateway.remove(&path).await;
    assert_eq!(run(&gateway.client(), "acme/count", json!({"prompt": "a"})).await.status, 404);
    assert_eq!(shop.seen(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn apps_are_imported_from_a_document() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    let answer =
        json!({"content": {"application/json": {"schema": {"type": "object", "required": ["path"]}}}});
    let document = json!({
        "openapi": "3.1.0", "servers": [{"url": shop.url("/v3")}],
        "paths": {"/orders/{order}": {"get": {
            "operationId": "readOrder", "summary": "Reads an order.", "responses": {"200": answer},
            "parameters": [{"name": "order", "in": "path", "required": true, "schema": {"type": "string"}}],
        }}},
    });
    let body = json!({"namespace": "acme", "document": document});
    let made = gateway.admin().post("/v2/apps/import", &body).await.unwrap().must_be(200);
    assert_eq!(made.json()["data"][0]["output_schema"]["required"], json!(["path"]), "{}", made.text());
    let task = ran(&gateway, "acme/readOrder", json!({"order": "a/b"})).await;
    assert_eq!(task["output"]["path"], "/v3/orders/a%2Fb", "{task}");
    let refused = run(&gateway.client(), "acme/readOrder", json!({"order": ".."})).await;
    assert_eq!(refused.must_be(400).json()["code"], "app_input_refused");
    problem(&gateway.admin().post("/v2/apps/import", &body).await.unwrap(), 409, "name_taken");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn an_input_that_does_not_fit_is_told_by_pointers() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    gateway.make("/v2/apps", app(&shop, "acme/count", "/count")).await;
    for path in ["/v1/run", "/apps/run"] {
        let body = json!({"app": "acme/count", "input": {"lines": [1, "two"]}});
        let refused = gateway.client().post(path, &body).await.unwrap().must_be(422);
        assert_eq!(refused.json()["code"], "validation_error");
        let errors = refused.json()["errors"].as_array().unwrap().clone();
        let mut pointers: Vec<_> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/input/lines/1", "/input/order"]);
    }
    assert_eq!(shop.seen(), []);
    assert_eq!(shown(&gateway, "/v1/tasks").await["items"], json!([]));
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn what_is_missing_is_told_before_anything_runs() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    let connected = json!({"type": "integration", "provider": "openai"});
    let wanted = json!({"requirements": [connected, {"type": "scope", "scope": "operator"}]});
    let app = with(with_secret(app(&shop, "acme/count", "/count")), wanted);
    let made = gateway.make("/v2/apps", app).await;
    let input = json!({"order": "a"});
    for path in ["/v1/run", "/apps/run"] {
        let body = json!({"app": "acme/count", "input": input});
        let refused = gateway.client().post(path, &body).await.unwrap().must_be(412);
        assert_eq!(refused.json()["code"], "requirements_not_met");
        let errors = refused.json()["errors"].as_array().unwrap().clone();
        let missing =
            errors.iter().map(|error| json!([error["type"], error["key"], error["action"]["type"]]));
        let secret = json!(["secret", "SHOP_KEY", "add_secret"]);
        let integration = json!(["integration", "openai", "connect"]);
        let scope = json!(["scope", "operator", "add_scopes"]);
        assert_eq!(missing.collect::<Vec<_>>(), [secret, integration, scope]);
    }
    gateway.patch(&format!("/v2/apps/{}", id_of(&made)), json!({"requirements": [connected]})).await;
    gateway.credential("openai", OWN).await;
    // A secret is sent to its hosts alone, and another host needs its value again.
    let elsewhere = json!({"name": "SHOP_KEY", "value": SECRET, "hosts": ["api.example.com"]});
    let secret = gateway.make("/v2/secrets", elsewhere).await;
    let path = format!("/v2/secrets/{}", id_of(&secret));
    let refused = run(&gateway.client(), "acme/count", input.clone()).await.must_be(412).json();
    let message = refused["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains(&format!("--host {}", shop.host)), "{message}");
    assert_eq!(shop.seen(), []);
    problem(&gateway.patched(&path, json!({"hosts": [shop.host]})).await, 400, "base_url_needs_secret");
    let changed = gateway.patch(&path, json!({"hosts": [shop.host], "value": SECRET})).await;
    for shown in [changed, gateway.get("/v2/secrets").await] {
        assert!(!shown.to_string().contains(SECRET));
    }
    ran(&gateway, "acme/count", input).await;
    // No file of the gateway has it.
    gateway.remove(&path).await;
    run(&gateway.client(), "acme/count", json!({"order": "a"})).await.must_be(412);
    assert_eq!(shop.seen().len(), 1);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_server_that_misbehaves_fails_the_run_with_its_reason() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    for (path, code) in [
        ("/away", "app_refused"),
        ("/broken", "app_failed"),
        ("/misfit", "app_output_invalid"),
        ("/huge", "app_unreachable"),
    ] {
        let name = format!("acme{path}");
        gateway.make("/v2/apps", app(&shop, &name, path)).await;
        let refused = run(&gateway.client(), &name, json!({"order": "a"})).await;
        assert_eq!((refused.status, &refused.json()["code"]), (502, &json!(code)), "{}", refused.text());
    }
    assert_eq!(shop.seen().len(), 4);
    // A task is tried again where that may help, under one key.
    gateway.make("/v2/apps", app(&shop, "acme/flaky", "/once-broken")).await;
    let task = ran_later(&gateway, "acme/flaky", json!({"order": "a"})).await;
    assert_eq!(task["status"], 10, "{task}");
    let again = shop.seen().into_iter().filter(|seen| seen.line.contains("once"));
    let keys: Vec<_> = again.map(|seen| seen.key.unwrap()).collect();
    assert_eq!(keys, [id_of(&task), id_of(&task)]);
    let failed = ran_later(&gateway, "acme/misfit", json!({"order": "a"})).await;
    has(&failed, json!({"status": 11, "/problem/code": "app_output_invalid"}));
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_cancelled_run_hangs_up() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    gateway.make("/v2/apps", app(&shop, "acme/slow", "/slow")).await;
    let task = queued(&gateway, "acme/slow", json!({"order": "a"})).await;
    wait::until("the server to be called", async || shop.seen().len() == 1).await;
    cancel(&gateway, &task).await;
    assert_eq!(ended(&gateway.client(), &task).await["status"], 12);
    wait::until("the gateway to hang up", async || *shop.hung_up.lock().unwrap() == 1).await;
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn tenants_and_projects_have_apps_and_secrets_of_their_own() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    let secret = keep_secret(&gateway, &shop).await;
    let made = gateway.make("/v2/apps", with_secret(app(&shop, "acme/count", "/count"))).await;
    let other = second_workspace(&gateway).await;
    let (admin, client) = (gateway.with_key(&other.admin_key), gateway.with_key(&other.api_key));
    for path in [format!("/v2/apps/{}", id_of(&made)), format!("/v2/secrets/{}", id_of(&secret))] {
        assert_eq!(admin.get(&path).await.unwrap().status, 404, "{path}");
        assert_eq!(patched(&admin, &path).await.status, 404, "{path}");
        assert_eq!(admin.delete(&path).await.unwrap().status, 404, "{path}");
    }
    for path in ["/v2/apps", "/v2/secrets"] {
        assert_eq!(admin.get(path).await.unwrap().json()["data"], json!([]), "{path}");
    }
    assert_eq!(run(&client, "acme/count", json!({"prompt": "a"})).await.status, 404);
    // An app of the same name with the same secret's name finds neither the other's server nor its secret.
    let theirs = Shop::open();
    admin.post("/v2/apps", &with_secret(app(&theirs, "acme/count", "/count"))).await.unwrap().must_be(201);
    assert_eq!(run(&client, "acme/count", json!({"order": "a"})).await.status, 412);
    let project = id_of(&gateway.make("/v2/projects", json!({"name": "second"})).await);
    let (key, _) = gateway.key(json!({"name": "second", "project_id": project})).await;
    assert_eq!(run(&gateway.with_key(&key), "acme/count", json!({"prompt": "a"})).await.status, 404);
    assert_eq!((shop.seen(), theirs.seen()), (Vec::new(), Vec::new()));
}

/// Runs of a version find what the app said then, wherever the database is.
async fn older_versions_run(gateway: &Gateway) {
    let shop = Shop::open();
    let made = gateway.make("/v2/apps", app(&shop, "acme/count", "/first")).await;
    assert_eq!(made["version"], 1, "{made}");
    let path = format!("/v2/apps/{}", id_of(&made));
    gateway.patch(&path, json!({"url": shop.url("/second")})).await;
    let changed = gateway.patch(&path, json!({"description": "Counts an order anew."})).await;
    assert_eq!(changed["version"], 3, "{changed}");
    let input = json!({"order": "a"});
    for (name, called) in [
        ("acme/count@1", "/first"),
        ("acme/count@2", "/second"),
        ("acme/count@3", "/second"),
        ("acme/count", "/second"),
    ] {
        for task in [ran(gateway, name, input.clone()).await, ran_later(gateway, name, input.clone()).await] {
            assert_eq!(task["output"]["path"], called, "{name}: {task}");
        }
    }
    for unknown in ["acme/count@4", "acme/count@0", "acme/count@x", "acme/count@"] {
        assert_eq!(run(&gateway.client(), unknown, input.clone()).await.status, 404, "{unknown}");
    }
    let listed = gateway.get(&format!("{path}/versions")).await["data"].as_array().unwrap().clone();
    let seen = listed.iter().map(|one| json!([one["version"], one["url"], one["replaced_at"].is_null()]));
    let (first, second) = (shop.url("/first"), shop.url("/second"));
    let expected = [json!([3, second, true]), json!([2, second, false]), json!([1, first, false])];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    let first = shown(gateway, "/v1/apps/acme%2Fcount%401").await;
    assert_eq!(first["description"], "Counts an order.", "{first}");
    gateway.remove(&path).await;
    assert_eq!(run(&gateway.client(), "acme/count@1", json!({"prompt": "a"})).await.status, 404);
    // Another app of the name begins with versions of its own.
    gateway.make("/v2/apps", app(&shop, "acme/count", "/third")).await;
    let task = ran(gateway, "acme/count@1", input).await;
    assert_eq!(task["output"]["path"], "/third", "{task}");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn an_older_version_is_run_by_its_number() {
    older_versions_run(&Gateway::start().await).await;
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn versions_are_the_same_over_postgresql() {
    older_versions_run(&Gateway::over_postgres("app_versions", config(), &[]).await).await;
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_run_is_planned_without_calling_anybody() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    gateway.make("/v2/apps", with_secret(app(&shop, "acme/count", "/count"))).await;
    let asked = json!({"app": "acme/count", "input": {"order": "a"}});
    let lacking = gateway.plan(asked.clone()).await;
    let call = &lacking["app"]["calls"][0];
    has(call, json!({"kind": "server", "host": shop.host}));
    assert_eq!(call["secrets"], json!([{"name": "SHOP_KEY", "header": "authorization", "state": "missing"}]));
    has(&lacking["error"], json!({"code": "requirements_not_met", "status": 412}));
    assert_eq!(lacking["app"]["missing"][0]["key"], "SHOP_KEY", "{lacking}");
    keep_secret(&gateway, &shop).await;
    let ready = gateway.plan(asked).await;
    has(&ready, json!({"error": null, "/app/price_max_nanos": 0, "/app/version": 1}));
    assert_eq!(ready["app"]["calls"][0]["secrets"][0]["state"], "there", "{ready}");
    assert!(!ready.to_string().contains(SECRET));
    // The same as a request to run it, with what is wrong with its input.
    let request = json!({"app": "acme/count", "input": {"lines": ["two"]}});
    let wrong = gateway.plan(json!({"path": "/v1/run", "request": request})).await;
    has(&wrong["error"], json!({"code": "validation_error", "status": 422}));
    gateway.admin().post("/v2/plan", &json!({"app": "tools/nothing"})).await.unwrap().must_be(404);
    assert_eq!(shop.seen(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn tools_agents_and_flows_are_planned() {
    let gateway = Gateway::with_own().await;
    let shop = Shop::open();
    let tool = json!({"name": "weather", "kind": "http", "method": "GET", "url": shop.url("/weather")});
    gateway.make("/v2/tools", with(tool, json!({"require_approval": true}))).await;
    let planned = gateway.plan(json!({"app": "tools/weather"})).await["app"].clone();
    has(&planned, json!({"category": "tool", "version": null}));
    has(&planned["calls"][0], json!({"host": shop.host, "needs_approval": true}));

    let tools = json!([{"type": "project", "name": "weather"}, {"type": "project", "name": "gone"}]);
    let definition = json!({"model": MINI, "tools": tools});
    gateway.make("/v2/agents", json!({"name": "helper", "definition": definition})).await;
    let planned = gateway.plan(json!({"app": "agents/helper"})).await;
    let calls = planned["app"]["calls"].as_array().unwrap().iter();
    let calls: Vec<_> = calls.map(|call| json!([call["kind"], call["name"], call["exists"]])).collect();
    let gone = json!(["server", "gone", false]);
    assert_eq!(calls, [json!(["model", MINI, true]), json!(["server", "weather", true]), gone], "{planned}");
    // The rest of the plan is of the agent's model, whose tokens decide what it costs.
    has(&planned, json!({"/chosen/provider": "openai", "/app/price_max_nanos": null}));

    let steps = json!({
        "ask": {"kind": "model", "model": MINI, "input": {"prompt": "hello"}},
        "look": {"kind": "tool", "tool": "weather"},
    });
    let document = json!({"name": "both", "budget_nano_usd": 7_000_000, "steps": steps});
    gateway.make("/v2/flows", json!({"document": document})).await;
    let planned = gateway.plan(json!({"app": "flows/both@1"})).await["app"].clone();
    assert_eq!(planned["price_max_nanos"], 7_000_000, "{planned}");
    let mut calls = planned["calls"].as_array().unwrap().clone();
    calls.sort_by_key(|call| call["step"].to_string());
    assert_eq!(calls.len(), 2, "{planned}");
    has(&calls[0], json!({"step": "ask", "kind": "model", "host": null}));
    has(&calls[1], json!({"step": "look", "kind": "server", "host": shop.host}));
    assert_eq!(shop.seen(), []);
    // A model is planned as ever.
    assert_eq!(gateway.plan(json!({"app": MINI})).await["app"], Value::Null);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn tools_are_apps() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    let tool = json!({"name": "count", "kind": "http", "method": "POST", "url": shop.url("/count")});
    gateway.make("/v2/tools", with(tool, json!({"parameters": schema()}))).await;
    let mcp = McpServer::start([McpTool::new("add", "Adds two numbers.", McpAnswer::Echo)]).unwrap();
    server(&gateway, "maths", &mcp).await;
    let task = ran(&gateway, "tools/count", json!({"order": "a"})).await;
    assert_eq!(task["output"]["result"]["total"], 42, "{task}");
    let task = ran_later(&gateway, "tools/maths__add", json!({"a": "1"})).await;
    has(&task, json!({"status": 10, "/output/result": {"a": "1"}}));
    let refused = run(&gateway.client(), "tools/count", json!({})).await.must_be(422).json();
    assert_eq!(refused["errors"][0]["pointer"], "/input/order");
    let unknown = run(&gateway.client(), "tools/nothing", json!({})).await;
    assert_eq!(unknown.must_be(404).json()["code"], "app_not_found");
    let all = shown(&gateway, "/apps?category=tool").await;
    let names: Vec<_> = all["items"].as_array().unwrap().iter().map(id_of).collect();
    assert_eq!(names, ["tools/count", "tools/maths__add"], "{all}");
}

/// The apps of a category that a key of the project may run. Another tenant's has none of them.
async fn listed_as(gateway: &Gateway, category: &str) -> Vec<String> {
    let path = format!("/apps?category={category}");
    let stranger = gateway.with_key(&second_workspace(gateway).await.api_key);
    assert_eq!(stranger.get(&path).await.unwrap().json()["data"]["items"], json!([]));
    shown(gateway, &path).await["items"].as_array().unwrap().iter().map(id_of).collect()
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn agents_are_apps() {
    let gateway = Gateway::with_own().await;
    gateway.make("/v2/agents", json!({"name": "helper", "definition": {"model": MINI}})).await;
    let task = ran(&gateway, "agents/helper", json!({"text": "hello there"})).await;
    assert_eq!(task["output"]["response"], "You said: hello there", "{task}");
    let chat = task["output"]["chat_id"].as_str().unwrap();
    assert_eq!(gateway.client().get(&format!("/chats/{chat}")).await.unwrap().status, 200);
    assert_eq!(listed_as(&gateway, "agent").await, ["agents/helper"]);
    let list = gateway.client().post("/apps/list", &json!({"search": {"term": "agents/"}})).await.unwrap();
    let listed = list.json()["data"]["items"][0].clone();
    assert_eq!(listed, shown(&gateway, "/apps/agents%2Fhelper").await);
    assert_eq!(listed["version_id"], "1");
    run(&gateway.client(), "agents/helper", json!({"prompt": "hello"})).await.must_be(422);
    let unknown = run(&gateway.client(), "agents/nobody", json!({"text": "hello"})).await;
    assert_eq!(unknown.must_be(404).json()["code"], "agent_not_found");
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn the_published_client_runs_them() {
    let interpreter = workspace().join(".venv/bin/python");
    assert!(interpreter.exists(), "run scripts/python-env.sh first");
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    gateway.make("/v2/apps", app(&shop, "acme/count", "/count")).await;
    gateway.make("/v2/apps", with_secret(app(&shop, "acme/locked", "/locked"))).await;
    assert_eq!(drive(interpreter, workspace().join("tests/sdk/own_apps.py"), &gateway).await.held, 5);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn the_command_line_declares_apps_and_keeps_secrets() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    let cli = gateway.cli();
    let url = shop.url("/count");
    let made = cli.run(&["app", "add", "acme/count", "--to", &url, "--secret", "SHOP_KEY", "--json"]).json();
    let id = made["id"].as_str().unwrap();
    let kept = cli.run_with(&["secret", "set", "SHOP_KEY", "--host", &shop.host, "--json"], SECRET).json();
    assert!(!kept.to_string().contains(SECRET), "{kept}");
    ran(&gateway, "acme/count", json!({})).await;
    let again = cli.run_with(&["secret", "set", "SHOP_KEY", "--json"], "another").json();
    has(&again, json!({"id": kept["id"], "hosts": kept["hosts"]}));
    ran(&gateway, "acme/count", json!({})).await;
    let tokens: Vec<_> = shop.seen().into_iter().map(|seen| seen.token.unwrap()).collect();
    assert_eq!(tokens, [format!("Bearer {SECRET}"), "Bearer another".to_owned()]);
    assert!(cli.run(&["app", "list"]).ok().contains("acme/count"));
    assert!(cli.run(&["secret", "list"]).ok().contains("SHOP_KEY"));
    assert_eq!(cli.run(&["app", "show", id, "--json"]).json()["url"], json!(url));
    cli.run(&["secret", "remove", "SHOP_KEY", "--yes"]).ok();
    assert_eq!(run(&gateway.client(), "acme/count", json!({})).await.status, 412);
    cli.run(&["app", "remove", id, "--yes"]).ok();
    assert_eq!(gateway.get("/v2/apps").await["data"], json!([]));
}

fn greeting(steps: Value) -> Value {
    let input = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}});
    json!({"document": {"name": "greet", "input": input, "steps": steps}})
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn flows_are_apps() {
    let gateway = Gateway::with_own().await;
    let hello = json!({"kind": "model", "model": MINI, "input": {"prompt": "{{input.name}}"}});
    gateway.make("/v2/flows", greeting(json!({"hello": hello}))).await;
    let task = ran(&gateway, "flows/greet", json!({"name": "Ann"})).await;
    assert_eq!(task["output"]["hello"]["response"], "You said: Ann", "{task}");
    let refused = run(&gateway.client(), "flows/greet", json!({"name": 3})).await.must_be(422).json();
    assert_eq!(refused["errors"][0]["pointer"], "/input/name");
    for unknown in ["flows/nothing", "flows/greet@9", "flows/greet@x"] {
        let answer = run(&gateway.client(), unknown, json!({"name": "Ann"})).await;
        assert_eq!(answer.must_be(404).json()["code"], "app_not_found");
    }
    assert_eq!(listed_as(&gateway, "flow").await, ["flows/greet"]);
    let greet = shown(&gateway, "/apps/flows%2Fgreet").await;
    assert_eq!(greet["input_schema"]["required"], json!(["name"]), "{greet}");
    let task = ran(&gateway, "flows/greet@1", json!({"name": "Bob"})).await;
    assert_eq!(task["output"]["hello"]["response"], "You said: Bob", "{task}");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_cancelled_task_cancels_its_flow_and_a_failed_flow_fails_it() {
    let gateway = Gateway::start().await;
    gateway.make("/v2/flows", greeting(json!({"wait": {"kind": "wait", "event": "never"}}))).await;
    let task = queued(&gateway, "flows/greet", json!({"name": "Ann"})).await;
    let run_is = async |status: &str| {
        let runs = gateway.client().get("/v2/flow-runs").await.unwrap().json();
        runs["data"][0]["status"] == status
    };
    wait::until("the run to begin", async || run_is("running").await).await;
    cancel(&gateway, &task).await;
    assert_eq!(ended(&gateway.client(), &task).await["status"], 12);
    wait::until("the run to be cancelled", async || run_is("cancelled").await).await;
    let failing = greeting(json!({"fail": {"kind": "expression", "expression": "input.nothing.at"}}));
    let flows = gateway.get("/v2/flows").await;
    gateway.remove(&format!("/v2/flows/{}", id_of(&flows["data"][0]))).await;
    gateway.make("/v2/flows", failing).await;
    let task = ran_later(&gateway, "flows/greet", json!({"name": "Ann"})).await;
    has(&task, json!({"status": 11, "/problem/code": "app_failed"}));
}
