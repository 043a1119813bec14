//! Apps that are no models: HTTP servers of a project with their secrets, and its tools, agents and flows, by one call.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use harness::client::{Answer, Client};
use harness::mcp::{McpAnswer, McpServer, McpTool};
use harness::postgres::Server;
use serde_json::{Value, json};

use crate::ask::MINI;
use crate::command::workspace;
use crate::gateway::{Founded, Gateway, OWN, config, id_of};
use crate::sdk::drive;
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
            let found = head.lines().filter_map(|line| line.split_once(": "));
            found
                .into_iter()
                .find(|(header, _)| header.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
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

fn with_secret(mut app: Value) -> Value {
    app["secrets"] = json!([{"name": "SHOP_KEY"}]);
    app
}

async fn keep_secret(gateway: &Gateway, shop: &Shop) -> Value {
    gateway.make("/v2/secrets", json!({"name": "SHOP_KEY", "value": SECRET, "hosts": [shop.host]})).await
}

async fn run(client: &Client, app: &str, input: Value) -> Answer {
    client.post("/v1/run", &json!({"app": app, "input": input})).await.unwrap()
}

/// The task, which was made.
fn done(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let task = answer.json()["data"].clone();
    assert_eq!(task["status"], 10, "{task}");
    task
}

async fn ended(client: &Client, task: &Value) -> Value {
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    wait::found("the task to end", async || {
        let task = client.get(&path).await.unwrap().json()["data"].clone();
        (task["status"].as_u64() >= Some(10)).then_some(task)
    })
    .await
}

async fn patched(client: &Client, path: &str) -> Answer {
    let json = [("content-type", "application/merge-patch+json")];
    let body = json!({"description": "x"}).to_string();
    client.call(http::Method::PATCH, path, &json, body).await.unwrap()
}

async fn queue(client: &Client, app: &str, input: Value) -> Value {
    let answer = client.post("/apps/run", &json!({"app": app, "input": input})).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].clone()
}

async fn an_app_is_run(gateway: &Gateway) {
    let shop = Shop::open();
    keep_secret(gateway, &shop).await;
    gateway.make("/v2/apps", with_secret(app(&shop, "acme/count", "/count"))).await;
    let task = done(&run(&gateway.client(), "acme/count", json!({"order": "a", "lines": [1]})).await);
    assert_eq!(task["output"]["total"], 42, "{task}");
    assert_eq!(task["output"]["sent"], json!({"order": "a", "lines": [1]}), "{task}");
    assert_eq!(task["usage_events"][0]["type"], "app", "{task}");
    let queued = queue(&gateway.client(), "acme/count", json!({"order": "b"})).await;
    let ended = ended(&gateway.client(), &queued).await;
    assert_eq!((&ended["status"], &ended["output"]["total"]), (&json!(10), &json!(42)), "{ended}");
    let seen = shop.seen();
    assert_eq!(seen.len(), 2);
    for (seen, task) in seen.iter().zip([&task, &ended]) {
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
    let server = Server::shared().await.unwrap();
    let url = server.database(&format!("own_apps_{}", std::process::id())).await.unwrap();
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("master.key").display().to_string();
    let environment = [("TIDEGATE_DATABASE_URL", url.as_str()), ("TIDEGATE_MASTER_KEY_FILE", &key_file)];
    an_app_is_run(&Gateway::with(config(), &environment).await).await;
}

#[tokio::test]
async fn apps_are_declared_changed_and_listed_with_their_schemas() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    let made = gateway.make("/v2/apps", with_secret(app(&shop, "acme/count", "/count"))).await;
    assert_eq!(
        made["secrets"],
        json!([{"name": "SHOP_KEY", "header": "authorization", "prefix": "Bearer "}])
    );
    let listed = gateway.client().get("/apps/acme%2Fcount").await.unwrap().json()["data"].clone();
    assert_eq!((&listed["input_schema"], &listed["category"]), (&schema(), &json!("app")), "{listed}");
    assert_eq!(listed["version"]["required_secrets"][0]["key"], "SHOP_KEY", "{listed}");
    let all =
        gateway.client().post("/apps/list", &json!({"search": {"term": "acme/"}})).await.unwrap().json();
    assert_eq!(all["data"]["total_items"], 1, "{all}");
    let path = format!("/v2/apps/{}", id_of(&made));
    let changed = gateway.patch(&path, json!({"url": shop.url("/other")})).await;
    assert_eq!((&changed["url"], &changed["secrets"]), (&json!(shop.url("/other")), &made["secrets"]));
    let stale = patched(&gateway.admin().header("if-match", "\"v1\""), &path).await;
    assert_eq!((stale.status, &stale.json()["code"]), (412, &json!("version_mismatch")), "{}", stale.text());
    for (body, param) in [
        (json!({"name": "openai/mine", "url": shop.url("/")}), "name"),
        (json!({"name": "tools/mine", "url": shop.url("/")}), "name"),
        (json!({"name": "mine", "url": shop.url("/")}), "name"),
        (json!({"name": "acme/x", "url": shop.url("/"), "input_schema": {"type": "array"}}), "input_schema"),
        (
            json!({"name": "acme/x", "url": shop.url("/"), "output_schema": {"type": "nothing"}}),
            "output_schema",
        ),
        (json!({"name": "acme/x", "url": shop.url("/"), "secrets": [{"name": "a b"}]}), "secrets[0].name"),
        (json!({"name": "acme/x", "url": "ftp://a.example/"}), "url"),
    ] {
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
    let made = gateway.admin().post("/v2/apps/import", &body).await.unwrap();
    assert_eq!(made.status, 200, "{}", made.text());
    assert_eq!(made.json()["data"][0]["output_schema"]["required"], json!(["path"]), "{}", made.text());
    let task = done(&run(&gateway.client(), "acme/readOrder", json!({"order": "a/b"})).await);
    assert_eq!(task["output"]["path"], "/v3/orders/a%2Fb", "{task}");
    let refused = run(&gateway.client(), "acme/readOrder", json!({"order": ".."})).await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (400, &json!("app_input_refused")),
        "{}",
        refused.text()
    );
    let again = gateway.admin().post("/v2/apps/import", &body).await.unwrap();
    assert_eq!((again.status, &again.json()["code"]), (409, &json!("name_taken")), "{}", again.text());
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn an_input_that_does_not_fit_is_told_by_pointers() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    gateway.make("/v2/apps", app(&shop, "acme/count", "/count")).await;
    for path in ["/v1/run", "/apps/run"] {
        let body = json!({"app": "acme/count", "input": {"lines": [1, "two"]}});
        let refused = gateway.client().post(path, &body).await.unwrap();
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (422, &json!("validation_error")),
            "{}",
            refused.text()
        );
        let errors = refused.json()["errors"].as_array().unwrap().clone();
        let mut pointers: Vec<_> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/input/lines/1", "/input/order"]);
    }
    assert_eq!(shop.seen(), []);
    let tasks = gateway.client().get("/v1/tasks").await.unwrap().json();
    assert_eq!(tasks["data"]["items"], json!([]), "{tasks}");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn what_is_missing_is_told_before_anything_runs() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    let mut wanted = with_secret(app(&shop, "acme/count", "/count"));
    wanted["requirements"] =
        json!([{"type": "integration", "provider": "openai"}, {"type": "scope", "scope": "operator"}]);
    let made = gateway.make("/v2/apps", wanted).await;
    let input = json!({"order": "a"});
    for path in ["/v1/run", "/apps/run"] {
        let body = json!({"app": "acme/count", "input": input});
        let refused = gateway.client().post(path, &body).await.unwrap();
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (412, &json!("requirements_not_met")),
            "{}",
            refused.text()
        );
        let missing: Vec<_> = refused.json()["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| (error["type"].clone(), error["key"].clone(), error["action"]["type"].clone()))
            .collect();
        let expected = [
            ("secret", "SHOP_KEY", "add_secret"),
            ("integration", "openai", "connect"),
            ("scope", "operator", "add_scopes"),
        ];
        assert_eq!(missing, expected.map(|(kind, key, action)| (json!(kind), json!(key), json!(action))));
    }
    gateway
        .patch(
            &format!("/v2/apps/{}", id_of(&made)),
            json!({"requirements": [{"type": "integration", "provider": "openai"}]}),
        )
        .await;
    gateway.credential("openai", OWN).await;
    // A secret is sent to its hosts alone, and another host needs its value again.
    let elsewhere = json!({"name": "SHOP_KEY", "value": SECRET, "hosts": ["api.example.com"]});
    let secret = gateway.make("/v2/secrets", elsewhere).await;
    let path = format!("/v2/secrets/{}", id_of(&secret));
    let refused = run(&gateway.client(), "acme/count", input.clone()).await;
    assert_eq!(refused.status, 412, "{}", refused.text());
    let message = refused.json()["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&format!("--host {}", shop.host)), "{message}");
    assert_eq!(shop.seen(), []);
    let moved = gateway.patched(&path, json!({"hosts": [shop.host]})).await;
    assert_eq!(
        (moved.status, &moved.json()["code"]),
        (400, &json!("base_url_needs_secret")),
        "{}",
        moved.text()
    );
    let shown = gateway.patch(&path, json!({"hosts": [shop.host], "value": SECRET})).await;
    assert!(
        !shown.to_string().contains(SECRET) && !gateway.get("/v2/secrets").await.to_string().contains(SECRET)
    );
    done(&run(&gateway.client(), "acme/count", input).await);
    // No file of the gateway has it.
    gateway.remove(&path).await;
    let refused = run(&gateway.client(), "acme/count", json!({"order": "a"})).await;
    assert_eq!(refused.status, 412, "{}", refused.text());
    assert_eq!(shop.seen().len(), 1);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_server_that_misbehaves_fails_the_run_with_its_reason() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    for (path, status, code) in [
        ("/away", 502, "app_refused"),
        ("/broken", 502, "app_failed"),
        ("/misfit", 502, "app_output_invalid"),
        ("/huge", 502, "app_unreachable"),
    ] {
        let name = format!("acme{path}");
        gateway.make("/v2/apps", app(&shop, &name, path)).await;
        let refused = run(&gateway.client(), &name, json!({"order": "a"})).await;
        assert_eq!((refused.status, &refused.json()["code"]), (status, &json!(code)), "{}", refused.text());
    }
    assert_eq!(shop.seen().len(), 4);
    // A task is tried again where that may help, under one key.
    gateway.make("/v2/apps", app(&shop, "acme/flaky", "/once-broken")).await;
    let task =
        ended(&gateway.client(), &queue(&gateway.client(), "acme/flaky", json!({"order": "a"})).await).await;
    assert_eq!(task["status"], 10, "{task}");
    let keys: Vec<_> =
        shop.seen().into_iter().filter(|seen| seen.line.contains("once")).map(|seen| seen.key).collect();
    assert_eq!(keys, [task["id"].as_str().map(str::to_owned), task["id"].as_str().map(str::to_owned)]);
    let failed =
        ended(&gateway.client(), &queue(&gateway.client(), "acme/misfit", json!({"order": "a"})).await).await;
    assert_eq!(
        (&failed["status"], &failed["problem"]["code"]),
        (&json!(11), &json!("app_output_invalid")),
        "{failed}"
    );
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_cancelled_run_hangs_up() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    gateway.make("/v2/apps", app(&shop, "acme/slow", "/slow")).await;
    let task = queue(&gateway.client(), "acme/slow", json!({"order": "a"})).await;
    wait::until("the server to be called", async || shop.seen().len() == 1).await;
    let path = format!("/v1/tasks/{}/cancel", task["id"].as_str().unwrap());
    assert_eq!(gateway.client().post(&path, &json!({})).await.unwrap().status, 200);
    let task = ended(&gateway.client(), &task).await;
    assert_eq!(task["status"], 12, "{task}");
    wait::until("the gateway to hang up", async || *shop.hung_up.lock().unwrap() == 1).await;
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn tenants_and_projects_have_apps_and_secrets_of_their_own() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    let secret = keep_secret(&gateway, &shop).await;
    let made = gateway.make("/v2/apps", with_secret(app(&shop, "acme/count", "/count"))).await;
    let founded = gateway.make("/v2/workspaces", json!({"name": "other"})).await;
    let other: Founded = serde_json::from_value(founded).unwrap();
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
    let made = admin.post("/v2/apps", &with_secret(app(&theirs, "acme/count", "/count"))).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.text());
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
        let task = done(&run(&gateway.client(), name, input.clone()).await);
        assert_eq!(task["output"]["path"], called, "{name}: {task}");
        let queued = queue(&gateway.client(), name, input.clone()).await;
        assert_eq!(ended(&gateway.client(), &queued).await["output"]["path"], called, "{name}");
    }
    for unknown in ["acme/count@4", "acme/count@0", "acme/count@x", "acme/count@"] {
        assert_eq!(run(&gateway.client(), unknown, input.clone()).await.status, 404, "{unknown}");
    }
    let listed = gateway.get(&format!("{path}/versions")).await["data"].clone();
    let seen: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["version"].as_u64().unwrap(), one["url"].clone(), one["replaced_at"].is_null()))
        .collect();
    let (first, second) = (json!(shop.url("/first")), json!(shop.url("/second")));
    assert_eq!(seen, [(3, second.clone(), true), (2, second, false), (1, first, false)]);
    let shown = gateway.client().get("/v1/apps/acme%2Fcount%401").await.unwrap().json()["data"].clone();
    assert_eq!(shown["description"], "Counts an order.", "{shown}");
    gateway.remove(&path).await;
    assert_eq!(run(&gateway.client(), "acme/count@1", json!({"prompt": "a"})).await.status, 404);
    // Another app of the name begins with versions of its own.
    gateway.make("/v2/apps", app(&shop, "acme/count", "/third")).await;
    let task = done(&run(&gateway.client(), "acme/count@1", input).await);
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
    let server = Server::shared().await.unwrap();
    let url = server.database(&format!("app_versions_{}", std::process::id())).await.unwrap();
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("master.key").display().to_string();
    let environment = [("TIDEGATE_DATABASE_URL", url.as_str()), ("TIDEGATE_MASTER_KEY_FILE", &key_file)];
    older_versions_run(&Gateway::with(config(), &environment).await).await;
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
    assert_eq!((&call["kind"], &call["host"]), (&json!("server"), &json!(shop.host)), "{lacking}");
    assert_eq!(call["secrets"], json!([{"name": "SHOP_KEY", "header": "authorization", "state": "missing"}]));
    assert_eq!(
        (&lacking["error"]["code"], &lacking["error"]["status"], &lacking["app"]["missing"][0]["key"]),
        (&json!("requirements_not_met"), &json!(412), &json!("SHOP_KEY")),
        "{lacking}"
    );
    keep_secret(&gateway, &shop).await;
    let ready = gateway.plan(asked).await;
    assert_eq!(
        (&ready["error"], &ready["app"]["price_max_nanos"], &ready["app"]["version"]),
        (&Value::Null, &json!(0), &json!(1)),
        "{ready}"
    );
    assert_eq!(ready["app"]["calls"][0]["secrets"][0]["state"], "there", "{ready}");
    assert!(!ready.to_string().contains(SECRET));
    // The same as a request to run it, with what is wrong with its input.
    let request = json!({"app": "acme/count", "input": {"lines": ["two"]}});
    let wrong = gateway.plan(json!({"path": "/v1/run", "request": request})).await;
    assert_eq!(
        (&wrong["error"]["code"], &wrong["error"]["status"]),
        (&json!("validation_error"), &json!(422)),
        "{wrong}"
    );
    let nobody = gateway.admin().post("/v2/plan", &json!({"app": "tools/nothing"})).await.unwrap();
    assert_eq!(nobody.status, 404, "{}", nobody.text());
    assert_eq!(shop.seen(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn tools_agents_and_flows_are_planned() {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    let shop = Shop::open();
    let tool = json!({
        "name": "weather", "kind": "http", "method": "GET", "url": shop.url("/weather"),
        "require_approval": true,
    });
    gateway.make("/v2/tools", tool).await;
    let planned = gateway.plan(json!({"app": "tools/weather"})).await["app"].clone();
    assert_eq!((&planned["category"], &planned["version"]), (&json!("tool"), &Value::Null), "{planned}");
    let call = &planned["calls"][0];
    assert_eq!((&call["host"], &call["needs_approval"]), (&json!(shop.host), &json!(true)), "{planned}");

    let tools = json!([{"type": "project", "name": "weather"}, {"type": "project", "name": "gone"}]);
    let definition = json!({"model": MINI, "tools": tools});
    gateway.make("/v2/agents", json!({"name": "helper", "definition": definition})).await;
    let planned = gateway.plan(json!({"app": "agents/helper"})).await;
    let calls: Vec<_> = planned["app"]["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| json!([call["kind"], call["name"], call["exists"]]))
        .collect();
    let expected =
        [json!(["model", MINI, true]), json!(["server", "weather", true]), json!(["server", "gone", false])];
    assert_eq!(calls, expected, "{planned}");
    // The rest of the plan is of the agent's model, whose tokens decide what it costs.
    assert_eq!(planned["chosen"]["provider"], "openai", "{planned}");
    assert_eq!(planned["app"]["price_max_nanos"], Value::Null, "{planned}");

    let steps = json!({
        "ask": {"kind": "model", "model": MINI, "input": {"prompt": "hello"}},
        "look": {"kind": "tool", "tool": "weather"},
    });
    let document = json!({"name": "both", "budget_nano_usd": 7_000_000, "steps": steps});
    gateway.make("/v2/flows", json!({"document": document})).await;
    let planned = gateway.plan(json!({"app": "flows/both@1"})).await["app"].clone();
    assert_eq!(planned["price_max_nanos"], 7_000_000, "{planned}");
    let mut calls: Vec<_> = planned["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| (call["step"].as_str().unwrap(), call["kind"].as_str().unwrap(), call["host"].clone()))
        .collect();
    calls.sort_by_key(|(step, ..)| *step);
    assert_eq!(calls, [("ask", "model", Value::Null), ("look", "server", json!(shop.host))]);
    assert_eq!(shop.seen(), []);
    // A model is planned as ever.
    assert_eq!(gateway.plan(json!({"app": MINI})).await["app"], Value::Null);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn tools_are_apps() {
    let gateway = Gateway::start().await;
    let shop = Shop::open();
    let tool = json!({"name": "count", "kind": "http", "method": "POST", "url": shop.url("/count"), "parameters": schema()});
    gateway.make("/v2/tools", tool).await;
    let mcp = McpServer::start([McpTool::new("add", "Adds two numbers.", McpAnswer::Echo)]).unwrap();
    let server = gateway.make("/v2/mcp-servers", json!({"name": "maths", "url": mcp.url()})).await;
    let path = format!("/v2/mcp-servers/{}/refresh", id_of(&server));
    assert_eq!(gateway.admin().post(&path, &json!({})).await.unwrap().status, 200);
    let task = done(&run(&gateway.client(), "tools/count", json!({"order": "a"})).await);
    assert_eq!(task["output"]["result"]["total"], 42, "{task}");
    let task = queue(&gateway.client(), "tools/maths__add", json!({"a": "1"})).await;
    let task = ended(&gateway.client(), &task).await;
    assert_eq!((&task["status"], &task["output"]["result"]), (&json!(10), &json!({"a": "1"})), "{task}");
    let refused = run(&gateway.client(), "tools/count", json!({})).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (422, &json!("/input/order")));
    let unknown = run(&gateway.client(), "tools/nothing", json!({})).await;
    assert_eq!(
        (unknown.status, &unknown.json()["code"]),
        (404, &json!("app_not_found")),
        "{}",
        unknown.text()
    );
    let all = gateway.client().get("/apps?category=tool").await.unwrap().json()["data"].clone();
    let names: Vec<_> = all["items"].as_array().unwrap().iter().map(|app| app["id"].clone()).collect();
    assert_eq!(names, ["tools/count", "tools/maths__add"], "{all}");
}

/// The apps of a category that a key of the project may run. Another tenant's has none of them.
async fn listed_as(gateway: &Gateway, category: &str) -> Vec<String> {
    let path = format!("/apps?category={category}");
    let tenant = gateway.make("/v2/workspaces", json!({"name": "tenant"})).await;
    let theirs = gateway.with_key(tenant["admin_key"].as_str().unwrap());
    let made =
        theirs.post("/v2/api-keys", &json!({"name": "k", "scopes": ["inference"]})).await.unwrap().json();
    let stranger = gateway.with_key(made["key"].as_str().unwrap());
    assert_eq!(stranger.get(&path).await.unwrap().json()["data"]["items"], json!([]));
    let all = gateway.client().get(&path).await.unwrap().json()["data"]["items"].clone();
    all.as_array().unwrap().iter().map(|app| app["id"].as_str().unwrap().to_owned()).collect()
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn agents_are_apps() {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    gateway.make("/v2/agents", json!({"name": "helper", "definition": {"model": MINI}})).await;
    let task = done(&run(&gateway.client(), "agents/helper", json!({"text": "hello there"})).await);
    assert_eq!(task["output"]["response"], "You said: hello there", "{task}");
    let chat = task["output"]["chat_id"].as_str().unwrap();
    assert_eq!(gateway.client().get(&format!("/chats/{chat}")).await.unwrap().status, 200);
    assert_eq!(listed_as(&gateway, "agent").await, ["agents/helper"]);
    let list = gateway.client().post("/apps/list", &json!({"search": {"term": "agents/"}})).await.unwrap();
    let listed = list.json()["data"]["items"][0].clone();
    let shown = gateway.client().get("/apps/agents%2Fhelper").await.unwrap().json()["data"].clone();
    assert_eq!((&listed, &listed["version_id"]), (&shown, &json!("1")));
    let refused = run(&gateway.client(), "agents/helper", json!({"prompt": "hello"})).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    let unknown = run(&gateway.client(), "agents/nobody", json!({"text": "hello"})).await;
    assert_eq!(
        (unknown.status, &unknown.json()["code"]),
        (404, &json!("agent_not_found")),
        "{}",
        unknown.text()
    );
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
    let driven = drive(interpreter, workspace().join("tests/sdk/own_apps.py"), &gateway).await;
    assert_eq!(driven.held, 5);
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
    done(&run(&gateway.client(), "acme/count", json!({})).await);
    let again = cli.run_with(&["secret", "set", "SHOP_KEY", "--json"], "another").json();
    assert_eq!((&again["id"], &again["hosts"]), (&kept["id"], &kept["hosts"]));
    done(&run(&gateway.client(), "acme/count", json!({})).await);
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
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    let hello = json!({"kind": "model", "model": MINI, "input": {"prompt": "{{input.name}}"}});
    gateway.make("/v2/flows", greeting(json!({"hello": hello}))).await;
    let task = done(&run(&gateway.client(), "flows/greet", json!({"name": "Ann"})).await);
    assert_eq!(task["output"]["hello"]["response"], "You said: Ann", "{task}");
    let refused = run(&gateway.client(), "flows/greet", json!({"name": 3})).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (422, &json!("/input/name")));
    for unknown in ["flows/nothing", "flows/greet@9", "flows/greet@x"] {
        let answer = run(&gateway.client(), unknown, json!({"name": "Ann"})).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (404, &json!("app_not_found")),
            "{}",
            answer.text()
        );
    }
    assert_eq!(listed_as(&gateway, "flow").await, ["flows/greet"]);
    let shown = gateway.client().get("/apps/flows%2Fgreet").await.unwrap().json()["data"].clone();
    assert_eq!(shown["input_schema"]["required"], json!(["name"]), "{shown}");
    let task = done(&run(&gateway.client(), "flows/greet@1", json!({"name": "Bob"})).await);
    assert_eq!(task["output"]["hello"]["response"], "You said: Bob", "{task}");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_cancelled_task_cancels_its_flow_and_a_failed_flow_fails_it() {
    let gateway = Gateway::start().await;
    gateway.make("/v2/flows", greeting(json!({"wait": {"kind": "wait", "event": "never"}}))).await;
    let task = queue(&gateway.client(), "flows/greet", json!({"name": "Ann"})).await;
    let run_of = async |status: &str| {
        let runs = gateway.client().get("/v2/flow-runs").await.unwrap().json();
        let run = runs["data"][0].clone();
        (run["status"] == status).then_some(run)
    };
    wait::found("the run to begin", async || run_of("running").await).await;
    let path = format!("/v1/tasks/{}/cancel", task["id"].as_str().unwrap());
    assert_eq!(gateway.client().post(&path, &json!({})).await.unwrap().status, 200);
    assert_eq!(ended(&gateway.client(), &task).await["status"], 12);
    wait::found("the run to be cancelled", async || run_of("cancelled").await).await;
    let failing = greeting(json!({"fail": {"kind": "expression", "expression": "input.nothing.at"}}));
    let flows = gateway.get("/v2/flows").await;
    gateway.remove(&format!("/v2/flows/{}", id_of(&flows["data"][0]))).await;
    gateway.make("/v2/flows", failing).await;
    let task = queue(&gateway.client(), "flows/greet", json!({"name": "Ann"})).await;
    let task = ended(&gateway.client(), &task).await;
    assert_eq!((&task["status"], &task["problem"]["code"]), (&json!(11), &json!("app_failed")), "{task}");
}
