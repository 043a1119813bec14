//! Device sign-in: a person approves a key for the command line. Runs the real program, with the failures on
//! the way.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use harness::canary::Canary;
use harness::client::Client;
use serde_json::{Value, json};

use crate::ask::problem;
use crate::command::Cli;
use crate::gateway::Gateway;

/// A running `tidegate login`, and the code that it shows.
struct Login {
    child: Child,
    code: String,
}

fn login(gateway: &Gateway, home: &std::path::Path) -> Login {
    let mut child = Command::new(harness::process::tidegate().unwrap())
        .args(["login", "--json", "--url", &gateway.origin])
        .env_clear()
        .env("XDG_CONFIG_HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains(&format!("{}/device", gateway.origin)), "{line}");
    let code = line.trim().rsplit(' ').next().unwrap().to_owned();
    Login { child, code }
}

impl Login {
    fn end(self) -> (i32, Value) {
        let output = self.child.wait_with_output().unwrap();
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or_default())
    }
}

#[tokio::test]
async fn a_person_says_yes_and_the_command_line_has_a_key() {
    let gateway = Gateway::start().await;
    let owner = gateway.owner().await;
    let home = tempfile::tempdir().unwrap();
    let login = login(&gateway, home.path());
    let seen = owner.post("/v2/device/approve", json!({"user_code": login.code})).await.json();
    assert_eq!((&seen["status"], &seen["address"]), (&json!("pending"), &json!("127.0.0.1")), "{seen}");
    assert!(seen["client_name"].as_str().unwrap().starts_with("tidegate on "), "{seen}");
    let typed = login.code.to_lowercase().replace('-', " ");
    let reply = owner.post("/v2/device/approve", json!({"user_code": typed, "approve": true})).await;
    assert_eq!(reply.json()["status"], "approved", "{}", reply.text());
    let (code, output) = login.end();
    assert_eq!((code, &output["workspace_id"]), (0, &json!(gateway.founded.workspace_id)), "{output}");

    let file = home.path().join("tidegate/contexts.toml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let key = text.split('"').find(|part| part.starts_with("tg_")).unwrap().to_owned();
    assert!(!output.to_string().contains(&key));
    assert_eq!(Canary::new().prefix_chars(16).plant("key", &key).scan_path(&gateway.data()).unwrap(), []);

    let cli = Cli::new().env("XDG_CONFIG_HOME", &home.path().display().to_string());
    let me = cli.run(&["whoami", "--json"]).json();
    assert_eq!(me["key"]["scopes"], json!(["inference", "read", "admin", "operator"]), "{me}");
    assert!(cli.run(&["member", "list"]).ok().contains("owner@localhost"));
    // The key is sent only to the gateway that issued it.
    cli.run(&["whoami", "--url", "http://127.0.0.1:9"]).failed(4);
    cli.run(&["whoami", "--context", "other"]).failed(2);
    assert!(cli.run(&["logout"]).ok().contains(&gateway.origin));
    cli.run(&["whoami"]).failed(4);
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&key));
    problem(&gateway.with_key(&key).get("/v2/me").await.unwrap(), 401, "revoked_api_key");
    // A key that was not issued by a sign-in can't be ended by signing out.
    problem(&gateway.admin().post("/v2/sign-out", &json!({})).await.unwrap(), 409, "not_a_sign_in");
}

#[tokio::test]
async fn a_no_a_removal_and_a_lower_role_count() {
    let gateway = Gateway::start().await;
    let owner = gateway.owner().await;
    let viewer = gateway.member(&owner.client(), "look@example.com", "viewer").await;
    let home = tempfile::tempdir().unwrap();
    let refused = login(&gateway, home.path());
    let reply = viewer.post("/v2/device/approve", json!({"user_code": refused.code, "approve": false})).await;
    assert_eq!(reply.json()["status"], "denied", "{}", reply.text());
    let (code, document) = refused.end();
    assert_eq!((code, &document["code"]), (5, &json!("access_denied")), "{document}");

    let granted = login(&gateway, home.path());
    viewer.post("/v2/device/approve", json!({"user_code": granted.code, "approve": true})).await;
    assert_eq!(granted.end().0, 0);
    let cli = Cli::new().env("XDG_CONFIG_HOME", &home.path().display().to_string());
    let me = cli.run(&["whoami", "--json"]).json();
    assert_eq!(me["key"]["scopes"], json!(["read"]), "a key may do what its person may: {me}");
    cli.run(&["key", "create", "more"]).failed(5);
    assert_eq!(owner.client().delete(&format!("/v2/members/{}", viewer.id)).await.unwrap().status, 204);
    cli.run(&["whoami"]).failed(4);
}

/// A key belongs to a project.
#[cfg(feature = "control")]
#[tokio::test]
async fn a_workspace_without_a_project_gives_a_device_no_key() {
    let gateway = Gateway::start().await;
    let owner = gateway.owner().await;
    let device = Client::new(&gateway.origin);
    let authorization = device.post("/v2/device", &json!({"client_name": "a test"})).await.unwrap().json();
    let yes = json!({"user_code": authorization["user_code"], "approve": true});
    assert_eq!(owner.post("/v2/device/approve", yes).await.json()["status"], "approved");
    let project = format!("/v2/projects/{}", gateway.founded.project_id);
    problem(&owner.client().delete(&project).await.unwrap(), 409, "project_not_empty");
    let keys = owner.get("/v2/api-keys").await.json();
    for key in keys["data"].as_array().unwrap() {
        let path = format!("/v2/api-keys/{}", key["id"].as_str().unwrap());
        assert_eq!(owner.client().delete(&path).await.unwrap().status, 204, "{key}");
    }
    assert_eq!(owner.client().delete(&project).await.unwrap().status, 204);
    let code = json!({"device_code": authorization["device_code"]});
    problem(&device.post("/v2/device/token", &code).await.unwrap(), 400, "no_project");
    assert_eq!(owner.post("/v2/projects", json!({"name": "first"})).await.status, 201);
    assert_eq!(owner.get("/v2/api-keys").await.json()["data"], json!([]), "none was given");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn codes_are_asked_for_in_order() {
    let gateway = Gateway::start().await;
    let device = Client::new(&gateway.origin);
    let authorization = device.post("/v2/device", &json!({"client_name": "a test"})).await.unwrap();
    let authorization = authorization.json();
    assert_eq!(authorization["verification_url"], format!("{}/device", gateway.origin));
    assert_eq!(authorization["expires_in_s"], domain::limits::DEVICE_TIME_MAX.as_secs());
    let code = json!({"device_code": authorization["device_code"]});
    let poll = || async { device.post("/v2/device/token", &code).await.unwrap() };
    problem(&poll().await, 400, "authorization_pending");
    problem(&poll().await, 400, "slow_down");
    let unknown = json!({"device_code": "nonsense"});
    problem(&device.post("/v2/device/token", &unknown).await.unwrap(), 400, "expired_token");
    problem(&device.post("/v2/device", &json!({})).await.unwrap(), 400, "missing_field");
    // Only a person can approve, and codes can't be guessed by trial.
    let yes = json!({"user_code": authorization["user_code"], "approve": true});
    problem(&gateway.admin().post("/v2/device/approve", &yes).await.unwrap(), 403, "person_needed");
    let owner = gateway.owner().await;
    let guess = json!({"user_code": "BBBB-BBBB", "approve": true});
    for _ in 0..10 {
        problem(&owner.post("/v2/device/approve", guess.clone()).await, 404, "not_found");
    }
    problem(&owner.post("/v2/device/approve", yes).await, 429, "too_many_attempts");
}
