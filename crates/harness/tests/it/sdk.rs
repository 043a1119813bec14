//! The official SDKs, unmodified, against the emulator.

use std::path::PathBuf;
use std::process::Output;

use harness::process::workspace;
use harness::{Behaviour, Emulator, Outcome};

use crate::{KEY, start};

#[tokio::test]
async fn python_sdk_sees_a_real_provider() {
    let emulator = start().await;
    ran(python(&emulator, &[]).await, 12);
    // The one deliberate use of a wrong key is the only thing out of order.
    assert_eq!(emulator.violations().len(), 1, "{:?}", emulator.violations());
}

#[tokio::test]
async fn python_sdk_retries_twice() {
    let emulator = start().await;
    retried(&emulator, &[429, 503]);
    ran(python(&emulator, &["retries"]).await, 1);
    statuses(&emulator, &[429, 503, 200]);
}

#[tokio::test]
async fn node_sdk_sees_a_real_provider() {
    let emulator = start().await;
    ran(node(&emulator, &[]).await, 8);
    assert_eq!(emulator.violations().len(), 1, "{:?}", emulator.violations());
}

#[tokio::test]
async fn node_sdk_retries_twice() {
    let emulator = start().await;
    retried(&emulator, &[500, 429]);
    ran(node(&emulator, &["retries"]).await, 1);
    statuses(&emulator, &[500, 429, 200]);
}

fn retried(emulator: &Emulator, statuses: &[u16]) {
    emulator.script(KEY, statuses.iter().map(|status| Behaviour::status(*status).retry_after_ms(1)));
}

fn statuses(emulator: &Emulator, expected: &[u16]) {
    let journal = emulator.journal();
    let seen: Vec<u16> = journal.iter().filter_map(|entry| entry.status).collect();
    assert_eq!(seen, expected);
    assert_eq!(journal.last().unwrap().outcome, Outcome::Answered);
}

async fn python(emulator: &Emulator, cases: &[&str]) -> Output {
    let interpreter = workspace().join(".venv/bin/python");
    assert!(interpreter.exists(), "run scripts/python-env.sh first");
    run(interpreter, &[driver("chat.py"), emulator.base_url(), KEY.to_owned()], cases).await
}

async fn node(emulator: &Emulator, cases: &[&str]) -> Output {
    let sdk = workspace().join("tests/node");
    assert!(sdk.join("node_modules/openai").exists(), "run scripts/node-env.sh first");
    let sdk = sdk.display().to_string();
    run("node".into(), &[driver("chat.mjs"), sdk, emulator.base_url(), KEY.to_owned()], cases).await
}

fn driver(name: &str) -> String {
    format!("{}/tests/sdk/{name}", env!("CARGO_MANIFEST_DIR"))
}

async fn run(program: PathBuf, arguments: &[String], cases: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).args(cases).env("NO_PROXY", "*").kill_on_drop(true);
    tokio::time::timeout(crate::WITHIN * 3, command.output()).await.unwrap().unwrap()
}

fn ran(output: Output, cases: usize) {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert_eq!(stdout.lines().filter(|line| line.starts_with("ok ")).count(), cases, "{stdout}");
}
