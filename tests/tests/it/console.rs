//! The console in a real browser, against the built program: its main path by keyboard, the actions on its
//! pages, and the accessibility of each.

use harness::process::{Process, free_address, tidegate};
use serde_json::json;

use crate::WITHIN;
use crate::command::workspace;
use crate::first_request::echo;
use crate::gateway::{Gateway, NODE, OWN, OWN_SECOND, POOL, config};
#[cfg(feature = "engine")]
use crate::runtimes::Attic;

/// The factor on `WITHIN` for a browser on a busy machine: far longer than it takes.
const JOURNEYS: u32 = 40;

/// A gateway with an echo node, which runs until the returned process is dropped.
async fn with_echo() -> (Gateway, Process) {
    let gateway = Gateway::start().await;
    let (node, base_url) = echo().await;
    gateway.cli().run(&["nodes", "add", "echo", "--base-url", &base_url, "--json"]).json();
    (gateway, node)
}

/// Walks a journey, which prints a line for each of what holds, in this order.
async fn walk(journey: &str, gateway: &Gateway, more: &[&str], expected: &str) {
    let scripts = workspace().join("tests/node");
    assert!(scripts.join("node_modules/playwright-core").exists(), "run scripts/node-env.sh first");
    let script = scripts.join("console").join(journey);
    let mut command = tokio::process::Command::new("node");
    let keys = [gateway.founded.admin_key.as_str(), gateway.founded.api_key.as_str()];
    command.arg(script).arg(&gateway.origin).args(keys).args(more);
    command.env("NO_PROXY", "*").kill_on_drop(true);
    let output = tokio::time::timeout(WITHIN * JOURNEYS, command.output()).await.unwrap().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    // What the journey measured: `--no-capture` shows it.
    eprint!("{stderr}");
    let held: Vec<_> = stdout.lines().filter_map(|line| line.strip_prefix("ok ")).collect();
    assert_eq!(held, expected.split(' ').collect::<Vec<_>>());
}

/// The sign-in link for the owner, which the server prints once.
fn sign_in_link(gateway: &mut Gateway) -> String {
    let printed = gateway.process().stdout();
    let line = printed.lines().find_map(|line| line.strip_prefix("  Console  ")).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_path_is_walked_by_keyboard() {
    let (gateway, _node) = with_echo().await;
    let expected = "served sign_in_by_keyboard first_page_is_small first_request_arrives why_by_keyboard \
         tail_is_live sums_are_the_servers palette_finds plot_by_keyboard sign_out";
    walk("main-path.mjs", &gateway, &[], expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_done_is_done() {
    let (gateway, _node) = with_echo().await;
    let expected = "key_is_made_and_revoked credential_is_sealed_verified_rotated \
         budget_is_set_changed_and_removed route_is_made_and_explained connect_sees_the_first_request \
         playground_streams_text billing_is_the_servers nothing_harmed states_are_told";
    walk("actions.mjs", &gateway, &[&gateway.emulator.origin(), OWN, OWN_SECOND], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_managed_holds_on_the_wire() {
    let (gateway, _node) = with_echo().await;
    let (_attic, attic) = echo().await;
    let expected = "key_is_bounded node_is_added_drained_removed credential_is_switched_and_deleted \
         credential_states_its_agreement account_states_its_prices credential_signs_in_by_its_directory \
         route_is_changed_and_deleted audit_tells_all_of_it rows_are_taken_along";
    walk("manage.mjs", &gateway, &[&gateway.emulator.origin(), OWN, &attic], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn every_number_is_the_servers() {
    let (gateway, _node) = with_echo().await;
    let expected = "home_is_the_servers tiles_lead_to_their_rows requests_are_the_servers \
         each_request_is_the_servers usage_is_the_servers keys_and_credentials_are_the_servers \
         money_is_the_servers";
    walk("numbers.mjs", &gateway, &[&gateway.emulator.origin(), OWN, POOL], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_at_is_in_the_address() {
    let (gateway, _node) = with_echo().await;
    let expected = "usage_is_in_the_address requests_are_in_the_address questions_are_in_the_address \
         places_are_kept";
    walk("address.mjs", &gateway, &[], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_reaches_everything() {
    let (gateway, _node) = with_echo().await;
    let expected = "every_control_is_reached every_control_is_reached_in_another_font \
         every_dialog_gives_the_keyboard_back letters_lead_and_can_be_turned_off";
    walk("keyboard.mjs", &gateway, &[], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn models_are_told_with_prices_and_facts() {
    let (gateway, _node) = with_echo().await;
    let expected = "catalogue_is_the_servers catalogue_is_searched_and_sorted \
         model_tells_its_offers_and_facts model_leads_to_its_trial manifest_is_the_servers nothing_is_known";
    walk("models.mjs", &gateway, &[], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn models_are_compared_side_by_side() {
    let (mut gateway, _node) = with_echo().await;
    let link = sign_in_link(&mut gateway);
    let expected = "key_is_made_by_the_first_message models_answer_side_by_side \
         each_answer_tells_what_served_it what_is_left_out_is_named what_is_set_is_sent \
         conversation_goes_on_for_each answers_are_stopped it_fits_a_phone key_ends_with_the_visit";
    walk("compare.mjs", &gateway, &[&link], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_understood_and_tried_again() {
    let (gateway, _node) = with_echo().await;
    let expected = "reason_comes_first providers_words_are_told similar_failures_are_found \
         request_is_tried_again copied_call_runs requests_are_compared";
    walk("why.mjs", &gateway, &[], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn every_provider_has_its_form() {
    let gateway = Gateway::start().await;
    let expected = "every_kind_is_offered each_provider_is_added_by_its_form forms_follow_their_schema";
    walk("forms.mjs", &gateway, &[], expected).await;
}

/// Runs without a node: a page is empty only while there is no data.
#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn each_page_is_told_in_each_state() {
    let gateway = Gateway::start().await;
    walk("states.mjs", &gateway, &[], "new loading error unstarted stale filtered refused").await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_is_text_wherever_it_is_shown() {
    let gateway = Gateway::start().await;
    let expected = "names_of_keys every_list_and_object requests_and_what_providers_say \
         what_an_address_says answers_and_errors_of_models nothing_ran";
    walk("xss.mjs", &gateway, &[], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_and_who_is_told_is_shown() {
    let (gateway, _node) = with_echo().await;
    walk("money.mjs", &gateway, &[], "invoice_is_the_servers webhook_is_added_tested_rotated_resent").await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn what_serves_and_what_caches_save_is_told() {
    let (gateway, _node) = with_echo().await;
    let expected = "calm_is_told breakers_are_told others_see_their_own savings_are_the_servers \
         answers_are_purged";
    walk("health.mjs", &gateway, &[&gateway.emulator.origin(), OWN, OWN_SECOND], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn projects_are_managed_with_what_belongs_to_them() {
    let (gateway, _node) = with_echo().await;
    let expected = "project_is_made_and_renamed what_belongs_to_it_is_shown origins_are_kept \
         project_is_deleted_once_empty";
    walk("projects.mjs", &gateway, &[], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_decides_is_planned_and_ruled_by_hand() {
    let (gateway, _node) = with_echo().await;
    // Its aliases move requests onto a node, which needs a replay otherwise.
    let open = json!({"byoc_activation": "open"});
    assert_eq!(gateway.admin().put("/v2/replay-gates", &open).await.unwrap().status, 200);
    let expected = "request_is_pasted_and_planned request_is_planned_again \
         route_is_tried_and_its_versions_compared policy_for_the_eu_is_filled_in \
         policy_is_made_changed_and_deleted alias_is_split_promoted_and_rolled_back commitment_is_forecast";
    walk("broker.mjs", &gateway, &[&gateway.emulator.origin(), OWN], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_are_managed() {
    let gateway = Gateway::with_everything().await;
    let expected = "wrong_window_is_told subscription_is_sealed token_is_rotated \
         subscription_is_switched_and_deleted";
    walk("subscriptions.mjs", &gateway, &[&gateway.emulator.base_url(), OWN, OWN_SECOND], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn each_page_is_for_everyone() {
    let (gateway, _node) = with_echo().await;
    let expected = "every_page_is_accessible every_page_fits telling_pages_read_the_same";
    walk("pages.mjs", &gateway, &[], expected).await;
}

#[cfg(feature = "engine")]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_runs_and_learns_is_shown_and_managed() {
    let gateway = Gateway::start().await;
    let attic = Attic::new();
    attic.write("law", 1);
    let (_node, base_url) = attic.start().await;
    gateway.cli().run(&["nodes", "add", "attic", "--base-url", &base_url, "--json"]).json();
    let (lines, bad) = (attic.lines("tides.jsonl", 8), attic.bad_lines("bad.jsonl"));
    let expected = "node_tells_what_it_runs adapters_come_and_go bad_lines_are_named \
         job_is_begun_by_the_form losses_are_the_servers job_waits_and_goes_on job_is_called_off \
         node_is_away";
    walk("training.mjs", &gateway, &[&lines, &bad], expected).await;
}

/// The test starts the node itself, with the command that the console shows.
#[cfg(feature = "engine")]
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_invited_joins_and_is_revoked() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_NODE_HEARTBEAT_MS", "300")]).await;
    let root = tempfile::tempdir().unwrap();
    let (program, model) = (tidegate().unwrap(), workspace().join("builtin/model"));
    let [program, model, folder] = [&*program, &*model, root.path()].map(|path| path.display().to_string());
    let address = free_address().unwrap().to_string();
    let expected = "command_is_shown_once node_says_how_it_is answers_are_the_reported credential_ends \
         another_takes_its_place";
    walk("joining.mjs", &gateway, &[&program, &model, &folder, &address], expected).await;
}

/// The test starts its nodes itself: two that are each other's peers.
#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn own_hardware_is_seen_and_managed() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_NODE_HEARTBEAT_MS", "300")]).await;
    let root = tempfile::tempdir().unwrap();
    let (program, folder) = (tidegate().unwrap().display().to_string(), root.path().display().to_string());
    let addresses = [(); 4].map(|()| free_address().unwrap().to_string());
    let upstream = gateway.emulator.base_url();
    let [near, far, near_peer, far_peer] = addresses.each_ref();
    let more = [&*program, &folder, near, far, near_peer, far_peer, &upstream, OWN, NODE];
    let expected = "map_is_the_nodes node_is_held_and_let_go peers_are_the_nodes chunks_are_followed \
         cost_is_stated placement_is_explained hardware_is_the_servers workers_are_followed_and_destroyed \
         move_needs_a_reason alias_moves_need_a_reason switching_off_needs_no_reason replay_is_the_servers \
         data_plane_is_invited_and_revoked data_plane_is_ahead";
    walk("fleet.mjs", &gateway, &more, expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_and_lets_others_in() {
    let mut gateway = Gateway::start().await;
    let link = sign_in_link(&mut gateway);
    let expected = "in_by_link sets_a_password out_and_in_again invites roles_are_given_and_taken \
         lets_a_command_line_in";
    walk("people.mjs", &gateway, &[&link], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn batches_are_followed_and_cancelled() {
    let (gateway, _node) = with_echo().await;
    walk("batches.mjs", &gateway, &[], "progress_is_live what_has_not_begun_is_cancelled").await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn an_own_app_is_declared_with_its_secret() {
    let gateway = Gateway::start().await;
    let expected = "an_app_is_declared a_secret_is_sealed an_app_and_its_secret_are_changed \
         a_document_is_imported both_are_deleted_after_a_question";
    walk("apps.mjs", &gateway, &[], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn files_come_and_go() {
    let gateway = Gateway::start().await;
    let expected = "files_are_uploaded_over_a_break what_is_refused_is_told_beside_it files_are_found \
         a_file_is_downloaded_as_it_was files_are_deleted_after_a_question";
    walk("files.mjs", &gateway, &[], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_followed_and_cancelled() {
    let (gateway, _node) = with_echo().await;
    let expected = "tasks_are_followed one_that_waits_is_cancelled a_result_is_followed_and_saved \
         a_log_is_found_in_and_copied";
    walk("tasks.mjs", &gateway, &[], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn a_flow_is_edited() {
    let gateway = Gateway::start().await;
    let expected = "each_problem_is_at_its_line a_version_is_compared_and_saved \
         a_version_of_somebody_else_is_not_overwritten";
    walk("flows.mjs", &gateway, &[], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_defined_and_answers() {
    let (gateway, _node) = with_echo().await;
    walk("agents.mjs", &gateway, &[], "an_agent_is_defined it_answers_in_a_chat").await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn content_is_kept_opened_and_compared() {
    let (gateway, _node) = with_echo().await;
    let expected = "a_project_says_what_it_keeps content_is_opened_and_compared a_session_is_a_conversation";
    walk("contents.mjs", &gateway, &[], expected).await;
}

#[cfg(feature = "console")]
#[tokio::test(flavor = "multi_thread")]
async fn content_is_held_exported_and_erased() {
    let (gateway, _node) = with_echo().await;
    let expected = "holds_are_added_and_released exports_are_made_saved_and_deleted \
         people_are_erased_after_a_count who_may_not_is_offered_nothing";
    walk("privacy.mjs", &gateway, &[], expected).await;
}
