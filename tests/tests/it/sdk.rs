//! The official SDKs, unmodified, against the gateway.

use std::path::PathBuf;

use serde_json::json;

use crate::WITHIN;
use crate::command::workspace;
use crate::gateway::{CUSTOM, Gateway, OWN, OWN_SECOND};

/// A driver's output: the cases that passed, and the request ids that the SDK showed.
pub struct Driven {
    pub held: usize,
    ids: Vec<(String, String)>,
}

pub async fn drive(program: PathBuf, script: PathBuf, gateway: &Gateway) -> Driven {
    let (reader, _) = gateway.key(json!({"name": "reader", "scopes": ["read"]})).await;
    let base_url = format!("{}/v1", gateway.origin);
    drive_at(program, script, &base_url, &gateway.founded.api_key, &reader).await
}

/// The same against any server of this wire format, such as the provider itself.
pub async fn drive_at(program: PathBuf, script: PathBuf, base_url: &str, key: &str, reader: &str) -> Driven {
    let mut command = tokio::process::Command::new(program);
    command.arg(script).args([base_url, key, reader]);
    command.env("NO_PROXY", "*").kill_on_drop(true);
    let output = tokio::time::timeout(WITHIN * 3, command.output()).await.unwrap().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    let words = stdout.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut driven = Driven { held: 0, ids: Vec::new() };
    for line in words {
        match line.as_slice() {
            ["ok", _] => driven.held += 1,
            ["request_id", case, id] => driven.ids.push(((*case).to_owned(), (*id).to_owned())),
            other => panic!("{other:?}"),
        }
    }
    driven
}

async fn gateway() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    gateway.credential("limited", CUSTOM).await;
    gateway.credential("broken", OWN_SECOND).await;
    gateway
}

/// A request id that an SDK shows works with `tidegate request`, if the request was admitted.
async fn ids_work(gateway: &Gateway, driven: &Driven) {
    for (case, id) in &driven.ids {
        let admitted = !["authentication", "permission", "bad_request", "conflict"].contains(&case.as_str());
        if !admitted {
            gateway.cli().run(&["request", id]).failed(3);
            continue;
        }
        gateway.settled(id).await;
        let request = gateway.cli().run(&["request", id, "--json"]).json();
        assert_eq!(request["id"], id.as_str(), "{case}");
        assert!(gateway.cli().run(&["request", id]).ok().contains(id), "{case}");
    }
}

#[tokio::test]
async fn python() {
    let interpreter = workspace().join(".venv/bin/python");
    assert!(interpreter.exists(), "run scripts/python-env.sh first");
    let gateway = gateway().await;
    let driven = drive(interpreter, workspace().join("tests/sdk/chat.py"), &gateway).await;
    assert_eq!((driven.held, driven.ids.len()), (10, 9));
    ids_work(&gateway, &driven).await;
    // One client call to the broken server: three attempts by the gateway, and no retry by the SDK.
    assert_eq!(gateway.calls(OWN_SECOND).len(), 3);
    assert_eq!(gateway.emulator.violations(), []);
}

/// Clients of Azure OpenAI, OpenRouter, Vertex AI and others, whose users changed the address alone.
#[cfg(feature = "sdk")]
#[tokio::test]
async fn addresses_of_other_vendors() {
    let interpreter = workspace().join(".venv/bin/python");
    let gateway = gateway().await;
    let base_url = gateway.emulator.anthropic_url();
    let claude = json!({"provider": "anthropic", "secret": OWN, "base_url": base_url});
    gateway.make("/v2/provider-credentials", claude).await;
    let driven = drive(interpreter, workspace().join("tests/sdk/addresses.py"), &gateway).await;
    assert_eq!(driven.held, 10);
    // The result of a tool goes back, buffered and streamed: in the thread of a provider that has threads, and after the whole
    // conversation to one that has none.
    let told = |is_claude: bool, before: &str| {
        let calls = gateway.emulator.journal().into_iter();
        let calls = calls.filter(|call| call.path.contains("/v1/messages") == is_claude);
        let bodies = calls.map(|call| String::from_utf8_lossy(&call.body).into_owned());
        bodies.filter(|body| body.contains("sunny in value") && body.contains(before)).count()
    };
    assert_eq!((told(true, "previous_message_id"), told(false, "What does get_weather say?")), (2, 2));
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn node() {
    assert!(workspace().join("tests/node/node_modules/openai").exists(), "run scripts/node-env.sh first");
    let gateway = gateway().await;
    let driven = drive("node".into(), workspace().join("tests/node/chat.mjs"), &gateway).await;
    assert_eq!((driven.held, driven.ids.len()), (11, 8));
    ids_work(&gateway, &driven).await;
    assert_eq!(gateway.calls(OWN_SECOND).len(), 3);
    assert_eq!(gateway.emulator.violations(), []);
}
