//! The examples that `--help` prints, run against a gateway: none is refused for how it is written.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::ask::{MINI, question, words};
use crate::command::{Cli, workspace};
use crate::gateway::{Gateway, NODE, OWN, POOL};

/// Commands that serve, act on this machine, open a browser, follow what happens, or call a provider at its own address.
const ELSEWHERE: &str = "account add, audit tail, audit verify, backup, chat, completions, config, \
    connect, context, credential add, doctor, endpoint-picker, gateway, init, ledger, login, logout, \
    logs tail, man, mcp-server authorize, models local, models rm, models show, node, nodes runtime, \
    open, pull, restore, serve, subscription add, task follow, top, train watch, up, vault";
/// Arguments that name a server, a file, a folder, or something to wait for.
const OUTSIDE: &str = " --detach| --follow| --set | --to | --wait| - |://|.csv|.json|.jsonl|.md|.pdf|.tar|\
    .toml|.yaml|webhook tail";
/// What lists the objects whose ids have a prefix.
const LISTS: [(&str, &str); 15] = [
    ("alr_…", "api GET /v2/model-aliases/fast/releases"),
    ("alt_…", "alert list"),
    ("art_…", "artifact list"),
    ("bnd_…", "bundle list"),
    ("exp_…", "data-export list"),
    ("fil_…", "file list"),
    ("hld_…", "hold list"),
    ("inv_…", "billing invoices"),
    ("pjb_…", "purge list"),
    ("pol_…", "policy list"),
    ("rte_…", "route list"),
    ("ses_…", "session list"),
    ("trc_…", "request"),
    ("whk_…", "webhook list"),
    ("ws_…", "workspace list"),
];
/// Done, not found, already so, and refused by the provider or receiver.
const WELL: [i32; 4] = [0, 3, 6, 9];

#[tokio::test]
async fn every_example_of_a_command_is_taken() {
    let gateway = Gateway::start().await;
    let cli = gateway.cli();
    prepare(&gateway, &cli).await;
    let examples =
        std::fs::read_to_string(workspace().join("crates/tidegate/src/commands/examples.txt")).unwrap();
    let mut refused = Vec::new();
    let mut codes = BTreeMap::<i32, usize>::new();
    for example in examples.lines().filter(|example| is_run(example)) {
        let example = with_ids(&cli, example);
        let words = shell_words(&example);
        let mut arguments: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        let asks = ["delete", "remove", "revoke", "uninvite"];
        if !arguments.contains(&"--yes") && asks.iter().any(|verb| arguments.contains(verb)) {
            arguments.push("--yes");
        }
        let done = cli.run_with(&arguments, OWN);
        *codes.entry(done.code).or_default() += 1;
        if !WELL.contains(&done.code) {
            refused.push(format!("{example}\n-> {}: {}{}", done.code, done.stdout, done.stderr));
        }
    }
    println!("{codes:?}");
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(codes.get(&0).is_some_and(|done| *done > 200), "{codes:?}");
}

/// What the examples speak of.
async fn prepare(gateway: &Gateway, cli: &Cli) {
    let base_url = gateway.emulator.base_url();
    let base = ["--base-url", base_url.as_str()];
    cli.run_with(&["credential", "add", "openai", base[0], base[1]], OWN).ok();
    cli.run_with(&["account", "add", "openai", "--name", "spare", base[0], base[1]], POOL).ok();
    cli.run_with(&["nodes", "add", "attic", "--model", "tide-1", "--with-key", base[0], base[1]], NODE).ok();
    for command in ["project create web", "workspace create research", "member invite dev@example.com"] {
        cli.run(&words(command)).ok();
    }
    gateway.make("/v2/artifacts", json!({"type": "document", "content": "The tide comes."})).await;
    gateway.make("/v2/webhooks", json!({"url": base_url})).await;
    gateway.chat_ok(&question(MINI)).await;
}

fn is_run(example: &str) -> bool {
    let called = example.trim_start_matches("tidegate ");
    let begins = |command: &str| {
        called.strip_prefix(command).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    !ELSEWHERE.split(", ").any(begins) && !OUTSIDE.split('|').any(|part| example.contains(part))
}

/// The example with ids of objects that there are.
fn with_ids(cli: &Cli, example: &str) -> String {
    let mut example = example.to_owned();
    for (short, list) in LISTS {
        if example.contains(short) {
            let listed = cli.run(&words(&format!("{list} --json")));
            // Rows are one a line; of the API itself comes one page.
            let first =
                listed.stdout.lines().next().and_then(|line| serde_json::from_str::<Value>(line).ok());
            let row = first.map(|row| row.pointer("/data/0").unwrap_or(&row).clone());
            let id = row.as_ref().and_then(|row| row["id"].as_str()).unwrap_or(short).to_owned();
            example = example.replace(short, &id);
        }
    }
    example
}

/// Splits at spaces outside single quotes, up to a redirection.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    let end = words.iter().position(|word| matches!(word.as_str(), "<" | ">" | "|"));
    words.truncate(end.unwrap_or(words.len()));
    words
}
