//! The official SDKs, unmodified, against the emulator.

use std::path::PathBuf;
use std::process::Output;

use harness::bedrock::{EXTERNAL_ID, REGION, ROLE, access_keys};
use harness::process::workspace;
use harness::{Behaviour, Config, Emulator, Flavour, Model, Outcome};

use crate::{KEY, start};

#[tokio::test]
async fn python_sdk_sees_a_real_provider() {
    let emulator = start().await;
    ran(python(&emulator, &[]).await, 12);
    // The deliberate use of a wrong key is the only violation.
    assert_eq!(emulator.violations().len(), 1, "{:?}", emulator.violations());
}

#[tokio::test]
async fn python_sdk_retries_twice() {
    let emulator = start().await;
    script_retries(&emulator, &[429, 503]);
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
    script_retries(&emulator, &[500, 429]);
    ran(node(&emulator, &["retries"]).await, 1);
    statuses(&emulator, &[500, 429, 200]);
}

#[tokio::test]
async fn python_sdk_speaks_responses() {
    let emulator = start().await;
    ran(python_with("responses.py", &emulator, &[]).await, 16);
    assert_eq!(emulator.violations(), []);
}

#[tokio::test]
async fn node_sdk_speaks_responses() {
    let emulator = start().await;
    ran(node_with("responses.mjs", &emulator, &[]).await, 12);
    assert_eq!(emulator.violations(), []);
}

#[tokio::test]
async fn anthropics_python_sdk_sees_a_real_provider() {
    let emulator = start().await;
    ran(python_messages(&emulator, &[]).await, 14);
    assert_eq!(emulator.violations().len(), 1, "{:?}", emulator.violations());
    let journal = emulator.journal();
    assert!(journal.iter().all(|entry| entry.header("anthropic-version") == Some("2026-10-21")));
}

#[tokio::test]
async fn anthropics_python_sdk_retries_twice() {
    let emulator = start().await;
    script_retries(&emulator, &[529, 429]);
    ran(python_messages(&emulator, &["retries"]).await, 1);
    statuses(&emulator, &[529, 429, 200]);
}

#[tokio::test]
async fn anthropics_node_sdk_sees_a_real_provider() {
    let emulator = start().await;
    ran(node_messages(&emulator, &[]).await, 9);
    assert_eq!(emulator.violations().len(), 1, "{:?}", emulator.violations());
}

#[tokio::test]
async fn anthropics_node_sdk_retries_twice() {
    let emulator = start().await;
    script_retries(&emulator, &[500, 529]);
    ran(node_messages(&emulator, &["retries"]).await, 1);
    statuses(&emulator, &[500, 529, 200]);
}

#[tokio::test]
async fn googles_python_sdk_sees_a_real_provider() {
    let emulator = start().await;
    let arguments = [driver("gemini.py"), emulator.origin(), KEY.to_owned()];
    ran(run(interpreter(), &arguments, &[]).await, 19);
    assert_eq!(emulator.violations().len(), 1, "{:?}", emulator.violations());
}

#[tokio::test]
async fn googles_node_sdk_sees_a_real_provider() {
    let emulator = start().await;
    let arguments = [driver("gemini.mjs"), node_packages("@google/genai"), emulator.origin(), KEY.to_owned()];
    ran(run("node".into(), &arguments, &[]).await, 15);
    assert_eq!(emulator.violations().len(), 1, "{:?}", emulator.violations());
}

#[tokio::test]
async fn python_sdk_sees_a_resource_of_azure() {
    let emulator = start().await;
    let arguments = [
        driver("azure.py"),
        emulator.base_url_of(Flavour::Azure),
        KEY.to_owned(),
        "my-gpt-4o-mini".to_owned(),
        emulator.foundry_url(),
    ];
    ran(run(interpreter(), &arguments, &[]).await, 16);
    // One wrong key on the older paths, and one on the current ones.
    assert_eq!(emulator.violations().len(), 2, "{:?}", emulator.violations());
}

#[tokio::test]
async fn mistrals_python_sdk_sees_a_real_provider() {
    let emulator = start().await;
    let origin = emulator.base_url_of(Flavour::Mistral).trim_end_matches("/v1").to_owned();
    ran(run(interpreter(), &[driver("mistral.py"), origin, KEY.to_owned()], &[]).await, 11);
    assert_eq!(emulator.violations().len(), 1, "{:?}", emulator.violations());
}

#[tokio::test]
async fn togethers_python_sdk_sees_a_real_provider() {
    let emulator = start().await;
    let origin = emulator.base_url_of(Flavour::Together).trim_end_matches("/v1").to_owned();
    ran(run(interpreter(), &[driver("together_ai.py"), origin, KEY.to_owned()], &[]).await, 10);
    assert_eq!(emulator.violations().len(), 1, "{:?}", emulator.violations());
}

#[tokio::test]
async fn fireworks_python_sdk_sees_a_real_provider() {
    let emulator = start().await;
    let origin = emulator.base_url_of(Flavour::Fireworks).trim_end_matches("/v1").to_owned();
    ran(run(interpreter(), &[driver("fireworks_ai.py"), origin, KEY.to_owned()], &[]).await, 9);
    assert_eq!(emulator.violations().len(), 1, "{:?}", emulator.violations());
}

#[tokio::test]
async fn python_sdks_of_two_makers_see_vertex() {
    let emulator = start().await;
    let arguments = [
        driver("vertex.py"),
        emulator.origin(),
        emulator.service_account(KEY).to_string(),
        harness::directory::google::PROJECT.to_owned(),
        "us-east5".to_owned(),
        emulator.identity_pool(Some(KEY)).to_string(),
        emulator.token_for_google(KEY),
    ];
    ran(run(interpreter(), &arguments, &[]).await, 16);
    // A token that was never issued.
    assert_eq!(emulator.violations().len(), 1, "{:?}", emulator.violations());
}

#[tokio::test]
async fn python_sdk_sees_bedrock() {
    let emulator = start().await;
    let keys = access_keys(KEY);
    let text = |name: &str| keys[name].as_str().unwrap().to_owned();
    let arguments = [
        driver("bedrock.py"),
        emulator.bedrock_url(),
        emulator.sts_url(),
        text("access_key_id"),
        text("secret_access_key"),
        REGION.to_owned(),
        ROLE.to_owned(),
        EXTERNAL_ID.to_owned(),
        emulator.token_for_amazon(KEY),
    ];
    ran(run(interpreter(), &arguments, &[]).await, 15);
    assert_eq!(emulator.violations(), []);
}

#[tokio::test]
async fn python_sdks_of_two_vendors_see_bedrocks_other_endpoint() {
    let models = ["openai.gpt-5.4", "openai.gpt-oss-120b"];
    let config =
        models.into_iter().fold(Config::default().keys([KEY]), |config, id| config.model(Model::chat(id)));
    let emulator = Emulator::start(config).await.unwrap();
    let keys = access_keys(KEY);
    let text = |name: &str| keys[name].as_str().unwrap().to_owned();
    let arguments = [
        driver("mantle.py"),
        emulator.mantle_url(),
        text("access_key_id"),
        text("secret_access_key"),
        REGION.to_owned(),
        KEY.to_owned(),
    ];
    ran(run(interpreter(), &arguments, &[]).await, 6);
    assert_eq!(emulator.violations(), []);
}

#[tokio::test]
async fn python_sdk_of_fal_sees_a_real_provider() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::default().keys([KEY]).tls_dir(directory.path());
    let emulator = Emulator::start(config).await.unwrap();
    let host = |url: String| url.trim_start_matches("https://").to_owned();
    let arguments = [
        driver("fal_ai.py"),
        host(emulator.fal_url()),
        host(emulator.fal_queue_url()),
        emulator.ca_file().unwrap().display().to_string(),
        KEY.to_owned(),
    ];
    ran(run(interpreter(), &arguments, &[]).await, 14);
    // The wrong key is the only violation.
    assert_eq!(emulator.violations().len(), 1, "{:?}", emulator.violations());
    assert_eq!(emulator.fal_cancelled(), 2);
}

fn script_retries(emulator: &Emulator, statuses: &[u16]) {
    emulator.script(KEY, statuses.iter().map(|status| Behaviour::status(*status).retry_after_ms(1)));
}

fn statuses(emulator: &Emulator, expected: &[u16]) {
    let journal = emulator.journal();
    let seen: Vec<u16> = journal.iter().filter_map(|entry| entry.status).collect();
    assert_eq!(seen, expected);
    assert_eq!(journal.last().unwrap().outcome, Outcome::Answered);
}

async fn python(emulator: &Emulator, cases: &[&str]) -> Output {
    python_with("chat.py", emulator, cases).await
}

async fn python_with(name: &str, emulator: &Emulator, cases: &[&str]) -> Output {
    run(interpreter(), &[driver(name), emulator.base_url(), KEY.to_owned()], cases).await
}

async fn python_messages(emulator: &Emulator, cases: &[&str]) -> Output {
    run(interpreter(), &[driver("messages.py"), emulator.anthropic_url(), KEY.to_owned()], cases).await
}

async fn node(emulator: &Emulator, cases: &[&str]) -> Output {
    node_with("chat.mjs", emulator, cases).await
}

async fn node_with(name: &str, emulator: &Emulator, cases: &[&str]) -> Output {
    let sdk = node_packages("openai");
    run("node".into(), &[driver(name), sdk, emulator.base_url(), KEY.to_owned()], cases).await
}

async fn node_messages(emulator: &Emulator, cases: &[&str]) -> Output {
    let sdk = node_packages("@anthropic-ai/sdk");
    run("node".into(), &[driver("messages.mjs"), sdk, emulator.anthropic_url(), KEY.to_owned()], cases).await
}

fn interpreter() -> PathBuf {
    let interpreter = workspace().join(".venv/bin/python");
    assert!(interpreter.exists(), "run scripts/python-env.sh first");
    interpreter
}

fn node_packages(needed: &str) -> String {
    let packages = workspace().join("tests/node");
    assert!(packages.join("node_modules").join(needed).exists(), "run scripts/node-env.sh first");
    packages.display().to_string()
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
