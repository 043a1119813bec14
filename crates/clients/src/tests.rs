//! The table holds together, and what is written from it is current.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::{Client, Clients, Place, clients};

const EXAMPLE: Place<'_> =
    Place { url: "http://127.0.0.1:8787", key: "tg_live_...", model: "openai/gpt-5-mini" };

fn workspace(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Compares a file with what the table makes of it; with `UPDATE_DOCS=1` it is written.
fn check_file(path: &str, made: &str) {
    let file = workspace(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, made).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept == made, "{path} is old: run the tests of this crate with UPDATE_DOCS=1");
}

fn page(table: &Clients) -> String {
    let mut page = String::from("# Clients\n\n");
    page += "<!-- Written from crates/clients/clients.toml by UPDATE_DOCS=1. -->\n\n";
    page += &table.intro;
    let mut groups: Vec<&str> = Vec::new();
    for client in &table.clients {
        if !groups.contains(&client.group.as_str()) {
            groups.push(&client.group);
        }
    }
    for group in groups {
        write!(page, "\n## {group}\n").unwrap();
        for client in table.clients.iter().filter(|client| client.group == group) {
            section(&mut page, client);
        }
    }
    page + "\n" + &table.outro
}

fn section(page: &mut String, client: &Client) {
    write!(page, "\n### {}\n", client.name).unwrap();
    for snippet in &client.snippets {
        write!(page, "\n{}:\n\n```{}\n{}```\n", snippet.label, snippet.language, EXAMPLE.fill(&snippet.text))
            .unwrap();
    }
    if !client.note.is_empty() {
        write!(page, "\n{}\n", client.note.trim()).unwrap();
    }
    if !client.tests.is_empty() {
        write!(page, "\nTested by `{}`.\n", client.tests.join("`, `")).unwrap();
    }
}

#[test]
fn the_page_is_current() {
    check_file("docs/clients.md", &page(&clients().unwrap()));
}

#[test]
fn the_console_has_the_same_table() {
    let made = serde_json::to_string_pretty(&clients().unwrap().clients).unwrap() + "\n";
    check_file("console/src/lib/clients.json", &made);
}

#[test]
fn each_row_can_be_used() {
    let table = clients().unwrap();
    let ids: BTreeSet<&str> = table.clients.iter().map(|client| client.id.as_str()).collect();
    assert_eq!(ids.len(), table.clients.len(), "an id is there twice");
    for client in &table.clients {
        let text: String = client.snippets.iter().map(|snippet| EXAMPLE.fill(&snippet.text)).collect();
        assert!(text.contains(EXAMPLE.url), "{}: no snippet has {{url}}", client.id);
        for test in &client.tests {
            assert!(workspace(test).is_file(), "{}: {test} is not there", client.id);
        }
        let says = client.note.contains("Not tested here") || client.id == "env";
        assert!(client.tests.is_empty() == says, "{}: `note` and `tests` disagree", client.id);
        let mut labels = BTreeSet::new();
        assert!(client.snippets.iter().all(|one| labels.insert(&one.label)), "{}: a label twice", client.id);
        assert!(client.settings.is_none() || client.command.is_some(), "{}: whose settings?", client.id);
    }
    assert!(table.find("codex").is_some() && table.find("none-such").is_none());
}

/// What a settings file gets is what its snippet shows.
#[test]
fn settings_are_those_of_the_snippet() {
    for client in &clients().unwrap().clients {
        let Some(settings) = &client.settings else { continue };
        let mut shown = client.snippets.iter().filter(|snippet| snippet.label == settings.path);
        let Some(snippet) = shown.next() else { continue };
        let text = EXAMPLE.fill(&snippet.text);
        let shown: toml::Value = match settings.format {
            crate::Format::Json => serde_json::from_str(&text).unwrap(),
            crate::Format::Toml => toml::from_str(&text).unwrap(),
        };
        let mut made = toml::Value::Table(toml::Table::new());
        for setting in &settings.set {
            let mut at = &mut made;
            for name in &setting.path {
                let table = at.as_table_mut().unwrap();
                at =
                    table.entry(EXAMPLE.fill(name)).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            }
            *at = match &setting.value {
                toml::Value::String(text) => toml::Value::String(EXAMPLE.fill(text)),
                other => other.clone(),
            };
        }
        assert_eq!(made, shown, "{}", client.id);
    }
}

/// Every client that `make test-clients` plays is in the table, with its test.
#[test]
fn what_is_played_is_in_the_table() {
    let read = |path: &str| std::fs::read_to_string(workspace(path)).unwrap();
    let (frameworks, tools) = (read("tests/clients/run.py"), read("tests/clients/command_lines.py"));
    let frameworks = frameworks.lines().filter_map(|line| line.strip_prefix("    (\""));
    let tools = tools.lines().filter_map(|line| line.trim().strip_prefix("name, tool, grammar = \""));
    let played: BTreeSet<&str> = frameworks.chain(tools).filter_map(|rest| rest.split('"').next()).collect();
    assert!(played.len() > 5, "{played:?}");
    let table = clients().unwrap();
    for name in played {
        let client = table.clients.iter().find(|client| client.name == name);
        assert!(client.is_some_and(|client| !client.tests.is_empty()), "{name} is not in clients.toml");
    }
}
