//! What is kept of tasks, and for how long: their content, and the files that they read and make.

use harness::client::Client;
use harness::{Behaviour, Config, Model};
use http::Method;
use serde_json::{Value, json};

use crate::ask::{MINI, has, problem, with};
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, config, id_of};
use crate::isolation::second_workspace;
use crate::tasks::{act, ask, ended, in_a_day, made, queued, read};

const PAINTER: &str = "openai/gpt-image-1-mini";
const VOICE: &str = "openai/gpt-4o-mini-tts";

fn painted() -> Config {
    config().model(Model::image("gpt-image-1-mini")).model(Model::speech("gpt-4o-mini-tts"))
}

fn unix_seconds(moment: &Value) -> i64 {
    let arguments = ["-u", "-d", moment.as_str().unwrap(), "+%s"];
    let output = std::process::Command::new("date").args(arguments).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().parse().unwrap()
}

/// How many seconds after its end a task is deleted.
fn kept_seconds(task: &Value) -> i64 {
    let end = task["events"].as_array().unwrap().last().unwrap();
    unix_seconds(&task["expires_at"]) - unix_seconds(&end["event_time"])
}

async fn with_times(client: &Client, more: Value) -> Value {
    made(client, &with(ask("hello"), more)).await
}

/// A run that its client waits for.
async fn ran(client: &Client, body: &Value) -> Value {
    client.post("/v1/run", body).await.unwrap().json()["data"].clone()
}

async fn a_client_says_how_long_its_tasks_are_kept(gateway: &Gateway) {
    gateway.credential("openai", OWN).await;
    let client = gateway.client();
    let task = with_times(&client, json!({"ttl_seconds": 60})).await;
    assert_eq!((&task["ttl_seconds"], kept_seconds(&task)), (&json!(60), 60), "{task}");
    let week = 7 * 24 * 3_600;
    let task = with_times(&client, json!({"ttl_seconds": week})).await;
    assert_eq!(kept_seconds(&task), week, "{task}");
    // Made again, it is kept as long.
    let again = act(&client, &id_of(&task), "retry").await.json()["data"].clone();
    let again = ended(&client, &id_of(&again)).await;
    assert_eq!((&again["ttl_seconds"], kept_seconds(&again)), (&json!(week), week), "{again}");
    // Waited for.
    let waited = ran(&client, &with(ask("hello"), json!({"ttl_seconds": 600}))).await;
    assert_eq!(kept_seconds(&waited), 600, "{waited}");
    // Cancelled before it began.
    let body = with(ask("hello"), json!({"ttl_seconds": 61, "run_at": in_a_day()}));
    let later = queued(&client, &body).await;
    let cancelled = act(&client, &later, "cancel").await.json()["data"].clone();
    assert_eq!((&cancelled["status"], kept_seconds(&cancelled)), (&json!(12), 61), "{cancelled}");
    let shown = gateway.get(&format!("/v2/tasks/{later}")).await;
    assert_eq!((&shown["ttl_seconds"], &shown["expires_at"].is_string()), (&json!(61), &true), "{shown}");
    let task = with_times(&client, json!({"ttl_seconds": null})).await;
    assert_eq!(task["ttl_seconds"], Value::Null, "{task}");
    assert!((24 * 3_600 - kept_seconds(&task)).abs() < 30, "{task}");
    wrong_times_are_refused(gateway, &client).await;
    // What the project may keep at all comes first.
    let policy = json!({"project_id": gateway.founded.project_id, "retention": {"days": 1}});
    gateway.make("/v2/policies", policy).await;
    let node = json!({"app": LOCAL_MODEL, "input": {"prompt": "x"}, "ttl_seconds": week});
    gateway.node("cellar", &[LOCAL_MODEL]).await;
    let task = made(&client, &node).await;
    assert_eq!((&task["ttl_seconds"], kept_seconds(&task)), (&json!(86_400), 86_400), "{task}");
}

async fn wrong_times_are_refused(gateway: &Gateway, client: &Client) {
    let calls = gateway.calls(OWN).len();
    for seconds in [json!(0), json!(59), json!(30 * 24 * 3_600 + 1), json!(u64::MAX)] {
        for path in ["/apps/run", "/v1/run"] {
            let body = with(ask("hello"), json!({"ttl_seconds": seconds}));
            let problem = problem(&client.post(path, &body).await.unwrap(), 422, "validation_error");
            assert_eq!(problem["errors"][0]["pointer"], "/ttl_seconds", "{problem}");
        }
    }
    for seconds in [json!(-1), json!(60.5), json!("60"), json!([60]), json!({}), json!(true), json!(1e99)] {
        let body = with(ask("hello"), json!({"ttl_seconds": seconds}));
        let answer = client.post("/apps/run", &body).await.unwrap();
        assert_eq!(problem(&answer, 400, "invalid_type")["param"], "ttl_seconds", "{seconds}");
    }
    let twice =
        format!(r#"{{"app": "{MINI}", "input": {{"prompt": "x"}}, "ttl_seconds": 60, "ttl_seconds": 61}}"#);
    let content = [("content-type", "application/json")];
    problem(&client.call(Method::POST, "/apps/run", &content, twice).await.unwrap(), 400, "duplicate_field");
    assert_eq!(gateway.calls(OWN).len(), calls);
}

#[tokio::test]
async fn tasks_are_kept_as_long_as_their_client_says() {
    a_client_says_how_long_its_tasks_are_kept(&Gateway::start().await).await;
}

#[tokio::test]
async fn they_are_kept_as_long_over_postgresql() {
    let gateway = Gateway::over_postgres("kept_tasks", painted(), &[]).await;
    a_client_says_how_long_its_tasks_are_kept(&gateway).await;
}

/// A small file that its project uploaded.
async fn uploaded(client: &Client) -> String {
    let body = json!({"files": [{"filename": "note.txt", "content_type": "text/plain", "size": 5}]});
    let made = client.post("/files", &body).await.unwrap().json()["data"][0].clone();
    let (_, path) = made["upload_url"].as_str().unwrap().split_once("/files/").unwrap();
    client.call(Method::PUT, &format!("/files/{path}"), &[], "hello").await.unwrap().must_be(200);
    id_of(&made)
}

fn path_of(uri: &Value) -> String {
    let (_, path) = uri.as_str().unwrap().split_once("/files/").unwrap_or_else(|| panic!("{uri}"));
    format!("/files/{path}")
}

async fn files(client: &Client, task: &str, query: &str) -> Value {
    client.get(&format!("/tasks/{task}/files{query}")).await.unwrap().must_be(200).json()["data"].clone()
}

async fn delete_files(client: &Client, task: &str, query: &str) -> Value {
    client.delete(&format!("/tasks/{task}/files{query}")).await.unwrap().must_be(200).json()["data"].clone()
}

async fn what_tasks_make_are_files(gateway: &Gateway) {
    gateway.credential("openai", OWN).await;
    let client = gateway.client();
    let picture = json!({"app": PAINTER, "input": {"prompt": "a lighthouse"}, "ttl_seconds": 3_600});
    let task = made(&client, &picture).await;
    let id = task["id"].as_str().unwrap();
    let image = task["output"]["images"][0].clone();
    has(&image, json!({"content_type": "image/png", "filename": "images-1.png"}));
    assert!(image["uri"].as_str().unwrap().starts_with(&gateway.origin), "{image}");
    let path = path_of(&image["uri"]);
    let content = client.get(&path).await.unwrap();
    assert!(content.body.starts_with(b"\x89PNG"));
    assert_eq!(image["size"], content.body.len(), "{image}");
    // It ends with its task.
    let shown = client.get(path.trim_end_matches("/content")).await.unwrap().json()["data"].clone();
    let apart = unix_seconds(&shown["expires_at"]) - unix_seconds(&task["expires_at"]);
    assert!(apart.abs() < 30 && shown["category"] == "task_output", "{shown}");
    // Waited for, it is in the answer unless its client says otherwise.
    let body = json!({"app": VOICE, "input": {"text": "hello", "voice": "alloy"}});
    let inline = ran(&client, &body).await;
    assert!(inline["output"]["audio"]["uri"].as_str().unwrap().starts_with("data:audio/"), "{inline}");
    let stored = ran(&client, &with(body.clone(), json!({"output_files": "stored"}))).await;
    let stored = &stored["output"]["audio"];
    let audio = client.get(&path_of(&stored["uri"])).await.unwrap().must_be(200);
    assert_eq!(audio.header("content-type"), stored["content_type"].as_str());
    let queued = made(&client, &with(body, json!({"output_files": "inline"}))).await;
    assert!(queued["output"]["audio"]["uri"].as_str().unwrap().starts_with("data:audio/"), "{queued}");
    let wrong = with(picture, json!({"output_files": ["stored"]}));
    problem(&client.post("/apps/run", &wrong).await.unwrap(), 400, "invalid_value");
    strangers_learn_nothing(gateway, id, &path).await;
    files_are_deleted_apart_from_their_task(&client, id, &path).await;
    inputs_are_deleted_by_their_role(gateway, &client).await;
}

async fn strangers_learn_nothing(gateway: &Gateway, task: &str, file: &str) {
    let tenant = second_workspace(gateway).await;
    for stranger in [gateway.other_project().await, gateway.with_key(&tenant.admin_key)] {
        for path in [format!("/tasks/{task}/files"), file.to_owned()] {
            let found = stranger.get(&path).await.unwrap().status;
            assert!(found == 404 || found == 403, "{path}: {found}");
        }
        let gone = stranger.delete(&format!("/tasks/{task}/files")).await.unwrap().status;
        assert!(gone == 404 || gone == 403, "{gone}");
    }
    let nobody = Client::new(&gateway.origin);
    assert_eq!(nobody.get(file).await.unwrap().status, 401);
    assert_eq!(nobody.delete(&format!("/tasks/{task}/files")).await.unwrap().status, 401);
}

async fn files_are_deleted_apart_from_their_task(client: &Client, id: &str, path: &str) {
    for query in ["?role=all", "?role=input%20"] {
        problem(&client.delete(&format!("/tasks/{id}/files{query}")).await.unwrap(), 400, "invalid_value");
    }
    let listed = files(client, id, "").await;
    assert_eq!((&listed[0]["role"], listed.as_array().unwrap().len()), (&json!("output"), 1), "{listed}");
    assert_eq!(files(client, id, "?role=input").await, json!([]));
    assert_eq!(delete_files(client, id, "?role=input").await, json!({"deleted": [], "skipped": []}));
    assert_eq!(delete_files(client, id, "").await, json!({"deleted": [listed[0]["id"]], "skipped": []}));
    problem(&client.get(path).await.unwrap(), 404, "file_not_found");
    let task = read(client, id).await;
    assert!(task["output"]["images"][0]["deleted_at"].is_string(), "{task}");
    assert_eq!((files(client, id, "").await, &task["status"]), (json!([]), &json!(10)));
    assert_eq!(delete_files(client, id, "").await["deleted"], json!([]));
}

async fn inputs_are_deleted_by_their_role(gateway: &Gateway, client: &Client) {
    let ask_about = |file: &str| json!({"app": MINI, "input": {"prompt": "Read.", "document": file}});
    let (first, second) = (uploaded(client).await, uploaded(client).await);
    let task = made(client, &ask_about(&first)).await;
    let id = task["id"].as_str().unwrap();
    assert_eq!(files(client, id, "?role=input").await[0]["id"], first);
    assert_eq!(delete_files(client, id, "?role=output").await["deleted"], json!([]));
    assert_eq!(delete_files(client, id, "").await["deleted"], json!([first]));
    problem(&client.get(&format!("/files/{first}")).await.unwrap(), 404, "file_not_found");
    // A task goes with what it made; with what it read where its client says so.
    let image = "data:image/png;base64,iVBORw0KGgo=";
    let picture = json!({"app": PAINTER, "input": {"prompt": "a", "image": image}});
    let painted = made(client, &picture).await;
    let path = path_of(&painted["output"]["images"][0]["uri"]);
    for (query, status) in [("", 200), ("?files=true", 404)] {
        let id = id_of(&made(client, &ask_about(&second)).await);
        assert_eq!(client.delete(&format!("/tasks/{id}{query}")).await.unwrap().status, 204);
        assert_eq!(client.get(&format!("/files/{second}")).await.unwrap().status, status, "{query}");
    }
    assert_eq!(client.delete(&format!("/tasks/{}", id_of(&painted))).await.unwrap().status, 204);
    problem(&client.get(&path).await.unwrap(), 404, "file_not_found");
    // One that runs keeps them.
    gateway.emulator.script(OWN, [Behaviour::held()]);
    let running = queued(client, &ask("never")).await;
    let path = format!("/tasks/{running}/files");
    problem(&client.delete(&path).await.unwrap(), 409, "task_not_finished");
    act(client, &running, "cancel").await;
    // What may not be kept at all is not stored, and who wants it stored learns that.
    let policy = json!({"project_id": gateway.founded.project_id, "retention": "zero"});
    gateway.make("/v2/policies", policy).await;
    let body = json!({"app": VOICE, "input": {"text": "hello", "voice": "alloy"}, "output_files": "stored"});
    problem(&client.post("/v1/run", &body).await.unwrap(), 403, "policy_forbids");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn what_an_app_makes_is_a_file_until_it_is_deleted() {
    what_tasks_make_are_files(&Gateway::with(painted(), &[]).await).await;
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn it_is_a_file_over_postgresql() {
    let gateway = Gateway::over_postgres("task_files", painted(), &[]).await;
    what_tasks_make_are_files(&gateway).await;
}
