//! The official SDKs, unmodified, against the emulator.

use std::process::Output;

use harness::bedrock::{EXTERNAL_ID, REGION, ROLE, access_keys};
use harness::process::workspace;
use harness::{Behaviour, Config, Emulator, Flavour, Model, Outcome};

use crate::{KEY, start};

// One violation, where there is one, is the deliberate use of a wrong key.

#[tokio::test]
async fn python_sdk_sees_a_real_provider() {
    let emulator = start().await;
    ran(&emulator, "chat.py", &[&emulator.base_url(), KEY], 12, 1).await;
}

#[tokio::test]
async fn python_sdk_retries_twice() {
    retried("chat.py", Emulator::base_url, [429, 503]).await;
}

#[tokio::test]
async fn node_sdk_sees_a_real_provider() {
    let emulator = start().await;
    ran(&emulator, "chat.mjs", &[&emulator.base_url(), KEY], 8, 1).await;
}

#[tokio::test]
async fn node_sdk_retries_twice() {
    retried("chat.mjs", Emulator::base_url, [500, 429]).await;
}

#[tokio::test]
async fn python_sdk_speaks_responses() {
    let emulator = start().await;
    ran(&emulator, "responses.py", &[&emulator.base_url(), KEY], 16, 0).await;
}

#[tokio::test]
async fn node_sdk_speaks_responses() {
    let emulator = start().await;
    ran(&emulator, "responses.mjs", &[&emulator.base_url(), KEY], 12, 0).await;
}

#[tokio::test]
async fn anthropics_python_sdk_sees_a_real_provider() {
    let emulator = start().await;
    ran(&emulator, "messages.py", &[&emulator.anthropic_url(), KEY], 14, 1).await;
    let journal = emulator.journal();
    assert!(journal.iter().all(|entry| entry.header("anthropic-version") == Some("2026-10-21")));
}

#[tokio::test]
async fn anthropics_python_sdk_retries_twice() {
    retried("messages.py", Emulator::anthropic_url, [529, 429]).await;
}

#[tokio::test]
async fn anthropics_node_sdk_sees_a_real_provider() {
    let emulator = start().await;
    ran(&emulator, "messages.mjs", &[&emulator.anthropic_url(), KEY], 9, 1).await;
}

#[tokio::test]
async fn anthropics_node_sdk_retries_twice() {
    retried("messages.mjs", Emulator::anthropic_url, [500, 529]).await;
}

#[tokio::test]
async fn googles_python_sdk_sees_a_real_provider() {
    let emulator = start().await;
    ran(&emulator, "gemini.py", &[&emulator.origin(), KEY], 19, 1).await;
}

#[tokio::test]
async fn googles_node_sdk_sees_a_real_provider() {
    let emulator = start().await;
    ran(&emulator, "gemini.mjs", &[&emulator.origin(), KEY], 15, 1).await;
}

#[tokio::test]
async fn python_sdk_sees_a_resource_of_azure() {
    let emulator = start().await;
    let (older, current) = (emulator.base_url_of(Flavour::Azure), emulator.foundry_url());
    // One wrong key on the older paths, and one on the current ones.
    ran(&emulator, "azure.py", &[&older, KEY, "my-gpt-4o-mini", &current], 16, 2).await;
}

#[tokio::test]
async fn mistrals_python_sdk_sees_a_real_provider() {
    of_kin("mistral.py", Flavour::Mistral, 11).await;
}

#[tokio::test]
async fn togethers_python_sdk_sees_a_real_provider() {
    of_kin("together_ai.py", Flavour::Together, 10).await;
}

#[tokio::test]
async fn fireworks_python_sdk_sees_a_real_provider() {
    of_kin("fireworks_ai.py", Flavour::Fireworks, 9).await;
}

#[tokio::test]
async fn python_sdks_of_two_makers_see_vertex() {
    let emulator = start().await;
    let arguments: [&str; 6] = [
        &emulator.origin(),
        &emulator.service_account(KEY).to_string(),
        harness::directory::google::PROJECT,
        "us-east5",
        &emulator.identity_pool(Some(KEY)).to_string(),
        &emulator.token_for_google(KEY),
    ];
    // A token that was never issued.
    ran(&emulator, "vertex.py", &arguments, 16, 1).await;
}

#[tokio::test]
async fn python_sdk_sees_bedrock() {
    let emulator = start().await;
    let keys = access_keys(KEY);
    let [id, secret] = ["access_key_id", "secret_access_key"].map(|name| keys[name].as_str().unwrap());
    let (bedrock, sts, token) = (emulator.bedrock_url(), emulator.sts_url(), emulator.token_for_amazon(KEY));
    let arguments: [&str; 8] = [&bedrock, &sts, id, secret, REGION, ROLE, EXTERNAL_ID, &token];
    ran(&emulator, "bedrock.py", &arguments, 15, 0).await;
}

#[tokio::test]
async fn python_sdks_of_two_vendors_see_bedrocks_other_endpoint() {
    let models = ["openai.gpt-5.4", "openai.gpt-oss-120b"];
    let config =
        models.into_iter().fold(Config::default().keys([KEY]), |config, id| config.model(Model::chat(id)));
    let emulator = Emulator::start(config).await.unwrap();
    let keys = access_keys(KEY);
    let [id, secret] = ["access_key_id", "secret_access_key"].map(|name| keys[name].as_str().unwrap());
    ran(&emulator, "mantle.py", &[&emulator.mantle_url(), id, secret, REGION, KEY], 6, 0).await;
}

#[tokio::test]
async fn python_sdk_of_fal_sees_a_real_provider() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::default().keys([KEY]).tls_dir(directory.path());
    let emulator = Emulator::start(config).await.unwrap();
    let [runs, queue] = [emulator.fal_url(), emulator.fal_queue_url()]
        .map(|url| url.trim_start_matches("https://").to_owned());
    let authority = emulator.ca_file().unwrap().display().to_string();
    ran(&emulator, "fal_ai.py", &[&runs, &queue, &authority, KEY], 14, 1).await;
    assert_eq!(emulator.fal_cancelled(), 2);
}

/// The official client of a provider whose API is like OpenAI's.
async fn of_kin(driver: &str, flavour: Flavour, cases: usize) {
    let emulator = start().await;
    let url = emulator.base_url_of(flavour);
    ran(&emulator, driver, &[url.trim_end_matches("/v1"), KEY], cases, 1).await;
}

/// Has a client refused twice, and sees it come back each time.
async fn retried(driver: &str, url: fn(&Emulator) -> String, [first, second]: [u16; 2]) {
    let emulator = start().await;
    emulator.script(KEY, [first, second].map(|status| Behaviour::status(status).retry_after_ms(1)));
    went_well(run(driver, &[&url(&emulator), KEY, "retries"]).await, 1);
    let journal = emulator.journal();
    let seen: Vec<u16> = journal.iter().filter_map(|entry| entry.status).collect();
    assert_eq!(seen, [first, second, 200]);
    assert_eq!(journal.last().unwrap().outcome, Outcome::Answered);
}

/// Runs all cases of a driver, and sees how many there were and how often it broke the rules.
async fn ran(emulator: &Emulator, driver: &str, arguments: &[&str], cases: usize, violations: usize) {
    went_well(run(driver, arguments).await, cases);
    assert_eq!(emulator.violations().len(), violations, "{:?}", emulator.violations());
}

async fn run(driver: &str, arguments: &[&str]) -> Output {
    let path = format!("{}/tests/sdk/{driver}", env!("CARGO_MANIFEST_DIR"));
    let mut command = if driver.ends_with(".py") {
        let interpreter = workspace().join(".venv/bin/python");
        assert!(interpreter.exists(), "run scripts/python-env.sh first");
        let mut command = tokio::process::Command::new(interpreter);
        command.arg(path);
        command
    } else {
        let needed = match driver {
            "messages.mjs" => "@anthropic-ai/sdk",
            "gemini.mjs" => "@google/genai",
            _ => "openai",
        };
        let packages = workspace().join("tests/node");
        assert!(packages.join("node_modules").join(needed).exists(), "run scripts/node-env.sh first");
        let mut command = tokio::process::Command::new("node");
        command.arg(path).arg(packages);
        command
    };
    command.args(arguments).env("NO_PROXY", "*").kill_on_drop(true);
    tokio::time::timeout(crate::WITHIN * 3, command.output()).await.unwrap().unwrap()
}

fn went_well(output: Output, cases: usize) {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert_eq!(stdout.lines().filter(|line| line.starts_with("ok ")).count(), cases, "{stdout}");
}
