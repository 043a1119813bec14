//! The commands that no other test runs, each at least once, with its output.

use serde_json::json;

use crate::ask::{MINI, question};
use crate::cli::{Session, golden};
use crate::gateway::{Gateway, NODE, OWN, OWN_SECOND, POOL};

#[tokio::test]
async fn the_rest_of_the_commands() {
    let gateway = Gateway::start().await;
    let mut session = Session { gateway: &gateway, transcript: String::new() };
    keys_and_members(&mut session);
    credentials_and_accounts(&mut session);
    rules(&mut session);
    nodes_and_workspaces(&mut session);
    session.run(&["vault", "status", "--json"], "").ok();
    golden("cli-rest.txt", &without_keys(&session.transcript));
}

/// Masks API keys and the ids of master keys, which differ in each run.
fn without_keys(transcript: &str) -> String {
    transcript.lines().map(|line| format!("{}\n", without_key(line))).collect()
}

fn without_key(line: &str) -> String {
    let mut line = line.to_owned();
    for (start, end) in [("\"last4\":\"", '"'), ("\"key\":\"", '"'), ("\"local:", '"'), ("last4  ", '\n')] {
        let mut from = 0;
        while let Some(at) = line[from..].find(start) {
            let value = from + at + start.len();
            let end = line[value..].find(end).map_or(line.len(), |end| value + end);
            line.replace_range(value..end, "…");
            from = value;
        }
    }
    line
}

fn keys_and_members(session: &mut Session<'_>) {
    let key = session.id(&["key", "create", "ci"], "");
    session.run(&["key", "show", &key], "").ok();
    session.run(&["key", "set", &key, "--name", "build", "--scope", "inference,read"], "").ok();
    session.run(&["key", "limits", &key], "").ok();
    let bounded = session.run(&["key", "limits", &key, "--requests-per-minute", "60", "--json"], "").json();
    assert_eq!(bounded["limits"]["requests_per_minute"], 60, "{bounded}");
    session.run(&["key", "limits", &key, "--clear"], "").ok();
    session.run(&["member", "invite", "dev@example.com", "--role", "developer", "--json"], "").ok();
    session.run(&["member", "show", "dev@example.com"], "").ok();
    session.run(&["member", "show", "nobody@example.com"], "").failed(3);
    session.run(&["member", "link", "dev@example.com"], "").ok();
}

fn credentials_and_accounts(session: &mut Session<'_>) {
    let base_url = session.gateway.emulator.base_url();
    let base = ["--base-url", base_url.as_str()];
    let credential = session.id(&["credential", "add", "acme", base[0], base[1]], OWN);
    session.run(&["credential", "set", &credential, "--name", "theirs", "--environment", "staging"], "").ok();
    session.run(&["credential", "probe", &credential, "--model", "gpt-4o-mini", "--json"], "").ok();
    session.run(&["credential", "remove", &credential, "--yes"], "").ok();
    session.run(&["credential", "show", &credential], "").failed(3);
    let account = session.id(&["account", "add", "openai", base[0], base[1]], POOL);
    session.run(&["account", "show", &account], "").ok();
    session.run(&["account", "set", &account, "--weight", "3", "--markup-bps", "250", "--json"], "").ok();
    session.run(&["account", "verify", &account, "--json"], "").ok();
    session.run(&["account", "rotate", &account, "--json"], OWN_SECOND).ok();
    session.run(&["account", "disable", &account, "--json"], "").ok();
    session.run(&["account", "enable", &account, "--json"], "").ok();
}

fn rules(session: &mut Session<'_>) {
    let route = session.id(&["route", "add", "--model", MINI, "--profile", "byok"], "");
    session.run(&["route", "set", &route, "--profile", "byok,managed_provider", "--json"], "").ok();
    let project = session.gateway.founded.project_id.clone();
    let policy = session.id(&["policy", "add", "--project", &project, "--provider", "openai"], "");
    session.run(&["policy", "list"], "").ok();
    session.run(&["policy", "show", &policy, "--json"], "").ok();
    session.run(&["policy", "set", &policy, "--model", "openai/", "--retention", "30", "--json"], "").ok();
    session.run(&["policy", "remove", &policy, "--yes"], "").ok();
    session.run(&["policy", "show", &policy], "").failed(3);
    let budget = session.id(&["budget", "add", "--limit", "25", "--name", "all"], "");
    session.run(&["budget", "list"], "").ok();
    session.run(&["budget", "show", &budget], "").ok();
    session.run(&["budget", "remove", &budget, "--yes"], "").ok();
    session.run(&["budget", "show", &budget], "").failed(3);
}

fn nodes_and_workspaces(session: &mut Session<'_>) {
    let base_url = session.gateway.emulator.base_url();
    let add = ["nodes", "add", "rack", "--model", "tide-1", "--with-key", "--base-url", &base_url];
    let node = session.id(&add, NODE);
    session.run(&["nodes", "rotate", &node, "--json"], NODE).ok();
    session.run(&["nodes", "drain", &node, "--json"], "").ok();
    session.run(&["nodes", "resume", &node, "--json"], "").ok();
    let made = session.gateway.cli().run(&["workspace", "create", "others", "--json"]).json();
    let id = made["workspace_id"].as_str().unwrap().to_owned();
    session.run(&["workspace", "show", &id], "").ok();
    session.run(&["workspace", "rename", &id, "elsewhere", "--json"], "").ok();
    session.run(&["workspace", "remove", &id, "--yes"], "").failed(6);
}

#[tokio::test]
async fn a_node_that_was_resumed_serves_again() {
    let gateway = Gateway::start().await;
    let node = gateway.node("rack", &["tide-1"]).await;
    gateway.cli().run(&["nodes", "drain", &node]).ok();
    assert_eq!(gateway.chat(&question("tide-1")).await.status, 404);
    gateway.cli().run(&["nodes", "resume", &node]).ok();
    assert_eq!(gateway.chat_ok(&question("tide-1")).await.header("agent-node-id"), json!(node).as_str());
}
