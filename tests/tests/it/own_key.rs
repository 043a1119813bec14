//! From a managed call to the same call on the customer's own key: counts the steps that a customer takes.
//! The application is the same file before and after.

use harness::bedrock::{REGION, access_keys};
use harness::{Config, Flavour, Model};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{MINI, has, with};
use crate::command::workspace;
use crate::gateway::{self, Gateway, OWN, POOL};

const GEMINI: &str = "google/gemini-2.5-pro";
const HAIKU: &str = "anthropic/claude-haiku-4-5";
const FLUX: &str = "fal-ai/flux-1/schnell";
/// The chat application, and the image application.
const TALKER: &str = "application.py";
const PAINTER: &str = "painter.py";
/// The complete change: one command, with the secret on standard input.
const COMMANDS: usize = 1;
/// The most options that a command needs besides the provider's name.
const OPTIONS_MAX: usize = 3;

struct Journey {
    application: &'static str,
    /// The pooled provider that serves before, with its base URL.
    pool: (&'static str, String),
    model: &'static str,
    provider: &'static str,
    /// The command's options besides the provider.
    options: Vec<String>,
    /// Options that only an emulator needs: its addresses.
    endpoint_options: Vec<String>,
    secret: String,
}

fn config() -> Config {
    // The second model is the one that verifies a Vertex AI credential.
    gateway::config().model(Model::chat("gemini-2.5-pro")).model(Model::chat("gemini-2.5-flash-lite"))
}

fn options(options: &[&str]) -> Vec<String> {
    options.iter().map(|option| (*option).to_owned()).collect()
}

fn journeys(gateway: &Gateway) -> Vec<Journey> {
    let emulator = &gateway.emulator;
    let base = |url: String| vec!["--base-url".to_owned(), url];
    let file = emulator.service_account(OWN);
    let token_url = file["token_uri"].as_str().unwrap();
    let openai = || Journey {
        application: TALKER,
        pool: ("openai", emulator.base_url()),
        model: MINI,
        provider: "openai",
        options: Vec::new(),
        endpoint_options: base(emulator.base_url()),
        secret: OWN.to_owned(),
    };
    // The address belongs to the customer's resource, so a real command states it, too.
    let azure = base(emulator.base_url_of(Flavour::Azure));
    let deployment = options(&["--deployment", "openai/gpt-4o-mini=my-gpt-4o-mini"]);
    let token = options(&["--config", &format!("token_url={token_url}")]);
    vec![
        openai(),
        Journey {
            provider: "azure_openai",
            options: [azure, deployment].concat(),
            endpoint_options: Vec::new(),
            ..openai()
        },
        Journey {
            pool: ("anthropic", emulator.anthropic_url()),
            model: HAIKU,
            provider: "aws_bedrock",
            options: options(&["--auth", "iam_static", "--region", REGION]),
            endpoint_options: base(emulator.bedrock_url()),
            secret: access_keys(OWN).to_string(),
            ..openai()
        },
        Journey {
            pool: ("gemini", emulator.origin()),
            model: GEMINI,
            provider: "vertex_ai",
            options: options(&["--auth", "service_account", "--config", "location=us-east5"]),
            endpoint_options: [base(emulator.origin()), token].concat(),
            secret: file.to_string(),
            ..openai()
        },
        Journey {
            application: PAINTER,
            pool: ("fal", emulator.fal_url()),
            model: FLUX,
            provider: "fal",
            endpoint_options: base(emulator.fal_url()),
            ..openai()
        },
    ]
}

/// What the application received.
async fn run_application(gateway: &Gateway, journey: &Journey) -> Value {
    let mut command = tokio::process::Command::new(workspace().join(".venv/bin/python"));
    command.arg(workspace().join("tests/sdk").join(journey.application));
    command.args([&format!("{}/v1", gateway.origin), &gateway.founded.api_key, journey.model]);
    command.env("NO_PROXY", "*").kill_on_drop(true);
    let output = tokio::time::timeout(WITHIN * 3, command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn one_command_takes_a_managed_call_to_ones_own_key() {
    for index in 0..5 {
        let gateway = Gateway::with(config(), &[]).await;
        let journey = journeys(&gateway).swap_remove(index);
        let provider = journey.provider;
        let (seller, url) = &journey.pool;
        gateway.make("/v2/accounts", json!({"provider": seller, "secret": POOL, "base_url": url})).await;
        let before = run_application(&gateway, &journey).await;
        has(&before, json!({"profile": "managed_provider", "provider": seller}));

        let arguments = journey.options.iter().chain(&journey.endpoint_options).map(String::as_str);
        let command: Vec<_> = ["credential", "add", provider].into_iter().chain(arguments).collect();
        let added = gateway.cli().run_with(&command, &journey.secret).ok();
        assert!(!added.contains(&journey.secret), "{added}");

        let after = run_application(&gateway, &journey).await;
        has(&after, json!({"profile": "byok", "provider": provider}));
        let unseen = json!({"profile": null, "provider": null, "request": null});
        let seen = |answer: &Value| with(answer.clone(), unseen.clone());
        assert_eq!(seen(&before), seen(&after), "{provider}: the application sees what it saw");
        // Before, the workspace owed the cost; now its provider bills it.
        let owed = async |answer: &Value| {
            gateway.settled(answer["request"].as_str().unwrap()).await["cost_micros"].as_i64().unwrap()
        };
        assert!(owed(&before).await > 0 && owed(&after).await == 0, "{provider}");
        let options = journey.options.len() / 2;
        println!("{provider}: {COMMANDS} command, {options} options, one secret, 0 lines of code");
        assert!(options <= OPTIONS_MAX, "{:?}", journey.options);
        assert_eq!(gateway.emulator.violations(), []);
    }
}
