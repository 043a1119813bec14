//! `tidegate connect` sets tools up, and `--jq` filters what commands print.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::gateway::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_set_up_and_one_call_verified() {
    let gateway = Gateway::start().await;
    gateway.node("rack", &["tide-1"]).await;
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().to_str().unwrap();
    let cli = || gateway.cli().env("HOME", folder).env("CODEX_HOME", folder);

    let tools = cli().run(&["connect", "--json"]).lines();
    assert!(tools.iter().any(|tool| tool["tool"] == "cursor" && tool["writes"].is_null()), "{tools:?}");

    // What is printed can be shown to others, and the call is made with the own key.
    let printed = cli().run(&["connect", "codex", "--model", "tide-1"]).ok();
    assert!(printed.contains(&format!("base_url = \"{}/v1\"", gateway.origin)), "{printed}");
    assert!(printed.contains("Verified: tide-1 answered in"), "{printed}");
    assert!(printed.contains("YOUR_API_KEY") && !printed.contains("tg_live_"), "{printed}");

    let file = home.path().join("config.toml");
    std::fs::write(&file, "# mine\napproval_policy = \"never\"\n").unwrap();
    let wrote = ["connect", "codex", "--model", "tide-1", "--write"];
    let rehearsed = cli().run(&[&wrote[..], &["--dry-run"]].concat()).ok();
    assert!(rehearsed.contains("would write") && !rehearsed.contains("Verified"), "{rehearsed}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "# mine\napproval_policy = \"never\"\n");
    let text = cli().run(&wrote).ok();
    assert!(text.contains("Set TIDEGATE_API_KEY=YOUR_API_KEY where the tool runs."), "{text}");
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.starts_with("# mine\napproval_policy = \"never\"\n"), "{written}");
    assert!(written.contains("model = \"tide-1\"") && written.contains("env_key = \"TIDEGATE_API_KEY\""));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    // A key that the tool alone has, and that only calls models.
    cli().run(&["connect", "claude-code", "--model", "tide-1", "--write", "--new-key"]).ok();
    let settings = std::fs::read(home.path().join(".claude/settings.json")).unwrap();
    let settings: Value = serde_json::from_slice(&settings).unwrap();
    let key = settings["env"]["ANTHROPIC_AUTH_TOKEN"].as_str().unwrap();
    assert_eq!(gateway.with_key(key).get("/v1/models").await.unwrap().status, 200);
    let made = cli().run(&["key", "list", "--jq", "select(.name == \"claude-code\") | .scopes"]).ok();
    assert_eq!(made, "[\"inference\"]\n");
    jq_filters_rows_and_objects(&gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_set_up_is_said_before_anything_is_written() {
    let gateway = Gateway::with_own().await;
    gateway.node("rack", &["tide-1"]).await;
    let home = tempfile::tempdir().unwrap();
    let cli = || gateway.cli().env("HOME", home.path().to_str().unwrap());

    let several = cli().run(&["connect", "claude-code", "--write"]).failed(2);
    assert!(several.contains("tidegate connect claude-code --model "), "{several}");
    // A model that refuses `max_tokens`.
    let reasons = cli().run(&["connect", "codex", "--model", "openai/gpt-5-mini"]).ok();
    assert!(reasons.contains("Verified: openai/gpt-5-mini answered in"), "{reasons}");
    let unknown = cli().run(&["connect", "claude"]).failed(3);
    assert!(unknown.contains("no tool \"claude\""), "{unknown}");
    let by_hand = cli().run(&["connect", "cursor", "--write", "--model", "tide-1"]).failed(2);
    assert!(by_hand.contains("no settings file"), "{by_hand}");
    let folder = home.path().join(".claude");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("settings.json"), "{ // mine\n}").unwrap();
    let broken = cli().run(&["connect", "claude-code", "--write", "--model", "tide-1"]).failed(1);
    assert!(broken.contains("line 1 is not JSON") && broken.contains("without --write"), "{broken}");
    assert_eq!(std::fs::read_to_string(folder.join("settings.json")).unwrap(), "{ // mine\n}");
    // The provider's own words, once the first call fails.
    let failed = cli().run(&["connect", "env", "--model", "openai/no-such-model"]);
    assert_ne!(failed.code, 0);
    let said = failed.stderr;
    assert!(said.contains("The first call failed.") && said.contains("no-such-model"), "{said}");
}

fn jq_filters_rows_and_objects(gateway: &Gateway) {
    let cli = gateway.cli();
    let names = cli.run(&["nodes", "list", "--jq", ".name"]).ok();
    assert!(names.lines().any(|name| name == "rack"), "{names}");
    let state = cli.run(&["nodes", "show", "rack", "--jq", "{name, models: (.models | length)}"]).ok();
    assert!(state.starts_with("{\"name\":\"rack\",\"models\":"), "{state}");
    let refused = cli.run(&["nodes", "list", "--jq", ".name |"]).failed(2);
    assert!(refused.contains("is not a jq filter"), "{refused}");
    let failed = cli.run(&["nodes", "list", "--jq", ".name.first"]).failed(2);
    assert!(failed.contains("--jq:"), "{failed}");
}
