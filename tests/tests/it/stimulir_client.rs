//! The whole of Stimulir's published client: every command of it, as a page lists them, and what it must not be able to do.

use std::time::{SystemTime, UNIX_EPOCH};

use harness::client::Client as Raw;
use http::Method;
use serde_json::{Value, json};

use crate::ask::{MINI, has};
use crate::command::workspace;
use crate::gateway::{Gateway, OWN, id_of};
use crate::isolation::second_workspace;
use crate::runtimes::Attic;
use crate::stimulir::{Client, drive, of_every_kind, unboxed};

#[tokio::test]
async fn tenants_stay_apart() {
    let gateway = Gateway::with_own().await;
    let theirs = &second_workspace(&gateway).await.admin_key;
    let project = &gateway.founded.project_id;
    let own = gateway.make("/v2/api-keys", json!({"name": "of the first"})).await;
    let first = &gateway.founded.workspace_id;
    let raw = gateway.with_key(theirs);
    // Whichever way another workspace is named, it is answered like one that does not exist.
    for (name, value) in [("x-business-profile-id", first), ("x-project-id", project)] {
        let strange = gateway.with_key(theirs).header(name, value);
        let paths = "users/me workspace/api-keys/ usage/summary billing/hybrie/snapshot workspace/byok/";
        for path in paths.split(' ') {
            let answer = strange.get(&format!("/api/v1/{path}")).await.unwrap();
            let code = &answer.json()["error"]["code"];
            assert_eq!((answer.status, code), (404, &json!("not_found")), "{name} {path}");
        }
        let asking = Client::with(&gateway, &gateway.founded.api_key);
        let other = if name == "x-project-id" { "STIMULIR_PROJECT_ID" } else { "STIMULIR_WORKSPACE_ID" };
        let wrong = asking.env(other, "prj_00000000000000000000000000000000");
        if name == "x-project-id" {
            wrong.refused(&["infer", "chat", "hello", "--model", MINI], 404).await;
        }
        let admin = Client::with(&gateway, &gateway.founded.admin_key);
        admin.env(other, "prj_00000000000000000000000000000000").refused(&["workspace", "list"], 404).await;
    }
    let id = own["id"].as_str().unwrap();
    assert_eq!(raw.delete(&format!("/api/v1/workspace/api-keys/{id}")).await.unwrap().status, 404);
    let listed = raw.get("/api/v1/workspace/api-keys").await.unwrap().json()["api_keys"].to_string();
    assert!(!listed.contains(id), "{listed}");
    // Nobody finds out without a key which paths there are.
    let nobody = Raw::new(&gateway.origin);
    for path in ["users/me", "workspace/prompts/", "nothing/here", "lab/evals/runs"] {
        assert_eq!(nobody.get(&format!("/api/v1/{path}")).await.unwrap().status, 401, "{path}");
    }
}

#[tokio::test]
async fn wrong_requests_are_told_in_the_form_that_the_client_reads() {
    let gateway = Gateway::start().await;
    let admin = gateway.admin();
    let file = json!({"decision_runtime_url": "file:///etc"});
    let posts = [
        ("workspace/api-keys/", json!({}), 400),
        ("workspace/api-keys/", json!([]), 400),
        ("workspace/api-keys/", json!({"name": 7}), 400),
        ("workspace/api-keys/", json!({"name": "x", "env": "PROD UCTION"}), 400),
        ("workspace/api-keys/", json!({"name": "x", "expires_in_days": 0}), 400),
        ("workspace/byok/", json!({"provider": "openai", "label": ["x"], "secret": "x"}), 400),
        ("workspace/byok/", json!({"provider": "openai", "label": "x"}), 400),
        ("workspace/byok/", json!({"provider": "nobody's", "label": "x", "secret": "x"}), 400),
        ("cli/device/code", json!({}), 400),
        ("cli/device/token", json!({"device_code": "nonsense"}), 400),
        ("cli/inference/session-key", json!({"runtime_session_id": "x", "ttl_seconds": -1}), 400),
        ("devices/register", json!({"peer_id": "x", "business_profile_id": "ws_of_others"}), 404),
        ("devices/register", json!({"peer_id": "x", "capabilities": file}), 400),
        ("hybrie/adapters/..%2f..%2fme/load", json!({}), 404),
        ("users/me", json!({}), 405),
        ("nothing/here", json!({}), 404),
    ];
    for (path, body, status) in posts {
        let answer = admin.post(&format!("/api/v1/{path}"), &body).await.unwrap();
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text());
        let told = answer.json();
        assert!(told["error"]["message"].is_string(), "{told}");
        assert_eq!(told["detail"]["error"], told["error"]["code"], "{told}");
    }
    let usage =
        "usage/summary?window=99y usage/summary?group_by=mood usage/events?limit=0 usage/events?mode=x";
    for path in usage.split(' ').chain(["workspace/traces/export?format=xml"]) {
        assert_eq!(admin.get(&format!("/api/v1/{path}")).await.unwrap().status, 400, "{path}");
    }
    let name = "n".repeat(2 << 20);
    let long = admin.post("/api/v1/workspace/api-keys/", &json!({"name": name})).await.unwrap();
    assert_eq!(long.must_be(413).json()["error"]["code"], "body_too_large");
    let begun = admin.post("/api/v1/cli/device/code", &json!({"client_name": "a"})).await.unwrap().json();
    let pending = json!({"device_code": begun["device_code"]});
    for code in ["authorization_pending", "slow_down"] {
        let poll = admin.post("/api/v1/cli/device/token", &pending).await.unwrap();
        assert_eq!(poll.must_be(400).json()["detail"]["error"], code);
    }
}

/// Uploads a file as the client does; returns its id and its storage key.
async fn stored(gateway: &Gateway, name: &str) -> (String, String) {
    let made = json!({"filename": name, "business_profile_id": gateway.founded.workspace_id});
    let made = gateway.client().post("/api/v1/tenant-objects/upload-url", &made).await.unwrap().json();
    let path = made["upload_url"].as_str().unwrap().strip_prefix(&*gateway.origin).unwrap().to_owned();
    Raw::new(&gateway.origin).call(Method::PUT, &path, &[], name.to_owned()).await.unwrap().must_be(200);
    let key = made["storage_key"].as_str().unwrap().to_owned();
    (key.split_once('/').unwrap().1.to_owned(), key)
}

fn storing(gateway: &Gateway, key: &str) -> Client {
    Client::with(gateway, key).env("STIMULIR_WORKSPACE_ID", &gateway.founded.workspace_id)
}

/// The path of a link that the client makes of a file.
async fn linked(gateway: &Gateway, id: &str, seconds: &str) -> String {
    let client = storing(gateway, &gateway.founded.api_key);
    let done = client.run(&["storage", "link", id, "--expires-in", seconds]).await.ok();
    done.trim().strip_prefix(&*gateway.origin).unwrap_or_else(|| panic!("{}", done)).to_owned()
}

#[tokio::test]
async fn stored_objects_are_the_files_of_the_project() {
    let gateway = Gateway::start().await;
    let client = storing(&gateway, &gateway.founded.api_key);
    let page = "<!doctype html><script>alert(1)</script>";
    std::fs::write(client.home.path().join("page.html"), page).unwrap();
    let uploaded = client.run(&["storage", "upload", "page.html"]).await.ok();
    let key = uploaded.lines().last().unwrap().trim();
    let listed = client.json(&["storage", "list"]).await;
    let ours = gateway.get("/v2/files").await["data"][0].clone();
    let id = id_of(&ours);
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    has(&listed[0], json!({"id": ours["id"], "storage_key": key}));
    has(&listed[0], json!({"filename": "page.html", "size_bytes": page.len()}));
    assert_eq!(listed[0]["content_type"], ours["content_type"], "{listed}");
    has(&client.json(&["storage", "folders"]).await[0], json!({"id": ours["project_id"], "object_count": 1}));
    client.run(&["storage", "get", "--key", key, "--output", "got.html"]).await.ok();
    assert_eq!(std::fs::read_to_string(client.home.path().join("got.html")).unwrap(), page);
    // Whoever has the address reads the file, which runs in no page of this origin.
    let path = linked(&gateway, &id, "600").await;
    let read = Raw::new(&gateway.origin).get(&path).await.unwrap().must_be(200);
    assert_eq!(read.text(), page);
    let guards = ["x-content-type-options", "content-security-policy", "cache-control"];
    let guards = guards.map(|name| read.header(name).unwrap_or_default().to_owned());
    assert_eq!(guards, ["nosniff", "default-src 'none'; sandbox", "no-store"]);
    assert!(read.header("content-disposition").unwrap().starts_with("attachment;"), "{:?}", read.headers);
    let head = Raw::new(&gateway.origin).call(Method::HEAD, &path, &[], "").await.unwrap();
    assert_eq!(head.must_be(200).body.len(), 0);
    // Who made an address is in the audit as who read the file.
    let audit = gateway.get("/v2/audit?limit=50").await;
    let is_read = |row: &Value| row["action"] == "file.read" && row["target"] == id.as_str();
    assert!(audit["data"].as_array().unwrap().iter().any(is_read), "{audit}");
    let of_task = client.refused(&["storage", "list", "--task-id", "x"], 501).await;
    assert!(of_task.contains("/tasks/{id}/files"), "{of_task}");
    assert_eq!(client.run(&["storage", "delete", &id]).await.code, 0);
    assert_eq!(client.json(&["storage", "list"]).await, json!([]));
    assert_eq!(gateway.get("/v2/files").await["data"], json!([]));
    let gone = Raw::new(&gateway.origin).get(&path).await.unwrap();
    assert!(gone.status == 404 && gone.text().contains("file_not_found"), "{}", gone.text());
}

#[tokio::test]
async fn a_link_is_of_one_file_for_its_time() {
    let mut gateway = Gateway::start().await;
    let ((id, key), (other, _)) = (stored(&gateway, "one").await, stored(&gateway, "two").await);
    let tenant = second_workspace(&gateway).await;
    let path = linked(&gateway, &id, "999999").await;
    let nobody = Raw::new(&gateway.origin);
    let status = async |path: &str| nobody.get(path).await.unwrap().status;
    assert_eq!(nobody.get(&path).await.unwrap().text(), "one");
    let parts: Vec<&str> = path.split('/').collect();
    let [_, root, workspace, file, until, signature] = parts[..] else { panic!("{path}") };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let ends: u128 = until.parse().unwrap();
    assert!(ends <= now + 3_600_000, "{ends} is more than an hour after {now}");
    let (later, theirs) = ((ends + 1).to_string(), &*tenant.workspace_id);
    let last = if signature.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{last}", &signature[..signature.len() - 1]);
    for wrong in [
        [theirs, file, until, signature],
        [workspace, &other, until, signature],
        [workspace, file, &later, signature],
        [workspace, file, "1000", signature],
        [workspace, file, until, &forged],
        [workspace, file, until, ""],
        [workspace, file, until, &format!("{signature}/x")],
    ] {
        let path = format!("/{root}/{}", wrong.join("/"));
        assert_eq!(status(&path).await, 404, "{path}");
    }
    assert_eq!(status(&format!("/{root}/{workspace}/{file}/{until}")).await, 404);
    assert_eq!(status(&linked(&gateway, &id, "0").await).await, 404, "it has ended");
    // Another project has neither the file nor a link to it, whoever names it, and neither has another workspace.
    let project = id_of(&gateway.make("/v2/projects", json!({"name": "another"})).await);
    let body = json!({"name": "of another", "scopes": ["inference"], "project_id": project});
    let (of_another, _) = gateway.key(body).await;
    let narrowed = storing(&gateway, &gateway.founded.admin_key).env("STIMULIR_PROJECT_ID", &project);
    for client in [storing(&gateway, &of_another), narrowed] {
        client.refused(&["storage", "link", &id], 404).await;
        client.refused(&["storage", "delete", &id], 404).await;
        assert_eq!(client.json(&["storage", "list"]).await, json!([]));
    }
    let strange = gateway.with_key(&tenant.admin_key);
    let objects = "/api/v1/tenant-objects";
    for (at, body) in [
        (format!("{objects}/{id}/access-url"), json!({})),
        (objects.to_owned(), json!({"storage_key": key})),
        (format!("{objects}/upload-url"), json!({"filename": "x", "business_profile_id": workspace})),
    ] {
        assert_eq!(strange.post(&at, &body).await.unwrap().status, 404, "{at}");
    }
    assert_eq!(strange.get(&format!("{objects}?business_profile_id={workspace}")).await.unwrap().status, 404);
    // A new key of the workspace ends links that were signed before.
    let rotated = gateway.admin().post("/v2/vault/workspace-key/rotate", &json!({})).await.unwrap();
    assert!(rotated.status < 300, "{}", rotated.text());
    crate::wait::until("the link to end", async || status(&path).await == 404).await;
    assert_eq!(status(&linked(&gateway, &id, "60").await).await, 200);
    let logged = format!("{}{}", gateway.process().stdout(), gateway.process().stderr());
    assert!(!logged.contains(signature), "{logged}");
}

const LOOP: &str = "501: call an app with `POST /v1/run`, or run the loop in your application";
const BYOK: &str = "works for providers that need a secret alone; add others, which have an address of yours, with `POST \
                    /v2/provider-credentials`";
const FUSION: &str = "works with a model alias called `stimulir/fusion`, as any alias does: `POST /v2/model-aliases`; a panel \
                      of models has no counterpart";
const REALTIME: &str = "400 that says to name the model in the address: set `STIMULIR_REALTIME_URL` to \
                        `wss://…/api/v1/inference/realtime?model=…`; frames go to the provider as they are";

/// What a journey of its own says of a command that waits for a person, or changes what others need.
const ELSEWHERE: [(&str, &str); 14] = [
    ("agent", LOOP),
    ("attach", LOOP),
    ("byok add", BYOK),
    ("codex configure", "works: it writes files of its own machine"),
    ("codex restore", "works: it writes files of its own machine"),
    ("codex sync-models", "works: it writes files of its own machine, from what an installed Codex says"),
    ("codex token", "works"),
    ("compute pair", "works: the machine becomes a node, which the gateway itself looks after"),
    ("launch codex-app", "works: it starts a program of its own machine"),
    ("login", "works: a signed-in person approves it at `/device`"),
    ("logout", "works"),
    ("setup", "works"),
    ("workspace use", "works: it writes files of its own machine"),
    ("tunnel start", "works: it starts a program of its own machine"),
];

/// Commands whose result depends on what is not there in this journey, with why they count as they do.
const NOTED: [(&str, &str); 6] = [
    ("codex model", "works: it reads files of its own machine"),
    ("fusion", FUSION),
    ("tunnel stop", "works: it stops a program of its own machine"),
    ("voice realtime-say", REALTIME),
    ("voice sts", REALTIME),
    ("tunnel configure", "works: it writes files of its own machine"),
];

/// What the page's generated part begins with.
const TABLE_HEAD: &str = "## Every command\n\n| command | here |\n|---|---|\n";

/// The row of a command: it works, it says what to use, or one of the lists above knows why not here.
fn row_of(came: &Value) -> Result<String, String> {
    let (command, text) = (came["command"].as_str().unwrap(), unboxed(came["text"].as_str().unwrap()));
    let noted = ELSEWHERE.iter().chain(&NOTED).find(|(known, _)| *known == command);
    let outcome = match (noted, came["code"].as_i64()) {
        (Some((_, note)), _) => (*note).to_owned(),
        (None, Some(0)) => "works".to_owned(),
        (None, Some(1)) if text.contains("501") => match text.split_once(" asks for. ") {
            Some((_, instead)) => format!("501: {}", instead.trim_end_matches('.')),
            // The client does not print what this family of calls is answered.
            None if text.contains("Managed rooms request failed") => {
                "501: open a realtime session at `/v1/realtime`".to_owned()
            }
            None => return Err(came.to_string()),
        },
        _ => return Err(came.to_string()),
    };
    Ok(format!("| `stimulir {command}` | {outcome} |"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_client_works_or_says_what_does() {
    let (gateway, _) = of_every_kind().await;
    let attic = Attic::new();
    attic.write("law", 1);
    let (_node, base_url) = attic.start().await;
    gateway.make("/v2/byoc/nodes", json!({"name": "attic", "base_url": base_url})).await;
    let spare = json!({"name": "spare", "base_url": gateway.emulator.base_url()});
    let spare = id_of(&gateway.make("/v2/byoc/nodes", spare).await);
    let lines = std::fs::read_to_string(attic.lines("lines.jsonl", 40)).unwrap();
    let order = json!({"data": lines, "model": "tidegate-demo", "adapter": "tides", "epochs": 200});
    let job = id_of(&gateway.admin().post("/v2/train/jobs", &order).await.unwrap().json());
    let key = id_of(&gateway.make("/v2/api-keys", json!({"name": "to be revoked"})).await);
    let credential = gateway.credential("nebius", OWN).await;
    let gone = gateway.credential("together_ai", OWN).await;
    let ((kept, storage_key), (dropped, _)) = (stored(&gateway, "a").await, stored(&gateway, "b").await);
    let (own, _) = gateway.key(json!({"name": "everything", "scopes": ["inference", "read", "admin"]})).await;
    let client = Client::with(&gateway, &own)
        .env("STIMULIR_WORKSPACE_ID", &gateway.founded.workspace_id)
        .env("COLUMNS", "1000")
        .env("STIMULIR_PROJECT_ID", &gateway.founded.project_id);
    let mut known = json!({
        "billing export-events": ["--output", "events.json"],
        "byok remove": [gone, "--yes"], "byok verify": [credential],
        "compute peers add": ["--name", "added", "--realtime", gateway.emulator.origin()],
        "compute peers remove": [spare, "--yes"],
        "infer chat": ["hello", "--model", MINI], "keys create": ["--name", "new"], "keys revoke": [key, "--yes"],
        "lab adapters get": ["law"], "lab adapters load": ["law"], "lab adapters unload": ["law"],
        "lab jobs cancel": [job, "--yes"], "lab jobs get": [job],
        "lab train d2l": ["--family", "qwen3-4b"], "lab train rl": ["--family", "qwen3-4b"], "lab train sft": ["--family", "qwen3-4b"],
        "storage delete": [dropped], "storage get": ["--key", storage_key, "--output", "got.txt"], "storage link": [kept],
        "project use": [gateway.founded.project_id], "voice stt": ["heard.wav", "--model", "openai/whisper-1"],
        "voice tts": ["--output", "said.mp3", "--voice", "alloy"],
    });
    for (command, _) in ELSEWHERE {
        known[command] = Value::Null;
    }
    let came = drive(&client, "stimulir_commands.py", &[&known.to_string()]).await;
    let came: Vec<Value> = came.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(came.len() > 140, "{}", came.len());
    let (rows, wrong): (Vec<_>, Vec<_>) = came.iter().map(row_of).partition(Result::is_ok);
    assert_eq!(wrong, []);
    let rows: Vec<_> = rows.into_iter().flatten().collect();
    let path = workspace().join("docs/stimulir.md");
    let present = std::fs::read_to_string(&path).unwrap();
    let (by_hand, _) = present.split_once(TABLE_HEAD).unwrap();
    let page = format!("{by_hand}{TABLE_HEAD}{}\n", rows.join("\n"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), page, "run this test with UPDATE_DOCS=1");
}
