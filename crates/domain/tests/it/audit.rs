//! Every action of the audit is a sentence.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use domain::audit::sentence;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The first literal of this form after each place that writes an entry.
fn actions(source: &str) -> Vec<&str> {
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let is_action =
        |text: &&str| text.split_once('.').is_some_and(|(kind, verb)| is_word(kind) && is_word(verb));
    let writers = [".audit(", "record_act(", "note_act(", "action: \"", "(action, ", "audit_refusal("];
    let places = writers.iter().flat_map(|writer| source.match_indices(writer));
    let action = |(at, _)| {
        let end = source.char_indices().map(|(end, _)| end).find(|end| *end >= at + 160);
        let behind = source.get(at..end.unwrap_or(source.len())).unwrap_or_default();
        behind.split('"').skip(1).step_by(2).find(is_action)
    };
    places.filter_map(action).collect()
}

#[test]
fn every_action_of_the_sources_is_a_sentence() {
    let mut files = Vec::new();
    for folder in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap() {
        let source = folder.unwrap().path().join("src");
        if source.is_dir() {
            sources(&source, &mut files);
        }
    }
    let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let found: BTreeSet<&str> = texts.iter().flat_map(|text| actions(text)).collect();
    assert!(found.len() > 80, "{found:?}");
    let unknown: Vec<_> = found.iter().filter(|action| sentence(action, "").is_none()).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn an_entry_is_a_sentence_with_its_detail() {
    for (action, detail, expected) in [
        ("api_key.create", "name ci, scopes inference", "API key created: name ci, scopes inference."),
        ("credential.open_refused", "", "Credential could not be opened."),
        ("sign_in.start", "by password", "Sign-in started: by password."),
        ("mcp_server.authorize", "", "MCP server authorized."),
        ("request.refuse", "3 times.", "Request refused: 3 times."),
    ] {
        assert_eq!(sentence(action, detail).as_deref(), Some(expected));
    }
    assert_eq!(sentence("route.sing", ""), None);
}
