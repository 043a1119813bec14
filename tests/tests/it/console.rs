//! The console in a real browser, against the built program: its main path by keyboard, what can be done
//! on its pages, and how each of them is to everyone.

use harness::process::Process;

use crate::WITHIN;
use crate::command::workspace;
use crate::first_request::echo;
use crate::gateway::{Gateway, OWN, OWN_SECOND};

/// A browser on a busy machine: far longer than it takes.
const JOURNEYS: u32 = 17;

/// A gateway with an echo node, which lives as long as what is returned.
async fn with_echo() -> (Gateway, Process) {
    let gateway = Gateway::start().await;
    let (node, base_url) = echo().await;
    gateway.cli().run(&["nodes", "add", "echo", "--base-url", &base_url, "--json"]).json();
    (gateway, node)
}

async fn walk(journey: &str, gateway: &Gateway, more: &[&str]) -> Vec<String> {
    assert!(
        workspace().join("tests/node/node_modules/playwright-core").exists(),
        "run scripts/node-env.sh first"
    );
    let script = workspace().join("tests/node/console").join(journey);
    let mut command = tokio::process::Command::new("node");
    let keys = [gateway.founded.admin_key.as_str(), gateway.founded.api_key.as_str()];
    command.arg(script).arg(&gateway.origin).args(keys).args(more);
    command.env("NO_PROXY", "*").kill_on_drop(true);
    let output = tokio::time::timeout(WITHIN * JOURNEYS, command.output()).await.unwrap().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    stdout.lines().filter_map(|line| line.strip_prefix("ok ")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_path_is_walked_by_keyboard() {
    let (gateway, _node) = with_echo().await;
    let held = walk("main-path.mjs", &gateway, &[]).await;
    let expected = [
        "served",
        "sign_in_by_keyboard",
        "first_page_is_small",
        "first_request_arrives",
        "why_by_keyboard",
        "tail_is_live",
        "sums_are_the_servers",
        "palette_finds",
        "plot_by_keyboard",
        "sign_out",
    ];
    assert_eq!(held, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_done_is_done() {
    let (gateway, _node) = with_echo().await;
    let emulator = gateway.emulator.origin();
    let held = walk("actions.mjs", &gateway, &[&emulator, OWN, OWN_SECOND]).await;
    let expected = [
        "key_is_made_and_revoked",
        "credential_is_sealed_verified_rotated",
        "budget_is_set_changed_and_removed",
        "route_is_made_and_explained",
        "connect_sees_the_first_request",
        "playground_streams_text",
        "billing_is_the_servers",
        "nothing_harmed",
        "states_are_told",
    ];
    assert_eq!(held, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_is_text_wherever_it_is_shown() {
    let gateway = Gateway::start().await;
    let held = walk("xss.mjs", &gateway, &[]).await;
    let expected = [
        "names_of_keys",
        "every_list_and_object",
        "requests_and_what_providers_say",
        "what_an_address_says",
        "answers_and_errors_of_models",
        "nothing_ran",
    ];
    assert_eq!(held, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_and_who_is_told_is_shown() {
    let (gateway, _node) = with_echo().await;
    let held = walk("money.mjs", &gateway, &[]).await;
    assert_eq!(held, ["invoice_is_the_servers", "webhook_is_added_tested_rotated_resent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_page_is_for_everyone() {
    let (gateway, _node) = with_echo().await;
    let held = walk("pages.mjs", &gateway, &[]).await;
    assert_eq!(held, ["every_page_is_accessible", "every_page_fits"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_and_lets_others_in() {
    let mut gateway = Gateway::start().await;
    let printed = gateway.process().stdout();
    let line = printed.lines().find_map(|line| line.strip_prefix("  Console  ")).unwrap();
    let link = line.split_whitespace().next().unwrap().to_owned();
    let held = walk("people.mjs", &gateway, &[&link]).await;
    let expected = ["in_by_link", "sets_a_password", "out_and_in_again", "invites", "lets_a_command_line_in"];
    assert_eq!(held, expected);
}
