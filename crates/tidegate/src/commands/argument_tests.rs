//! Which words of a command line call which command, and which are refused.

use std::ffi::OsString;

use arguments::{as_defined, secret};
use clap::Command;

/// The command that these words call, by its own name.
fn called(words: &str) -> String {
    let mut tree = super::tree();
    tree.build();
    let mut path = Vec::new();
    let mut command: &Command = &tree;
    for word in words.split(' ') {
        command = command.find_subcommand(word).unwrap_or_else(|| panic!("{words}: no {word}"));
        path.push(command.get_name());
    }
    path.join(" ")
}

#[test]
fn options_have_their_older_names_too() {
    for line in [
        "node --model echo --draft-tokens 4",
        "node --model echo --guesses 4",
        "policy add --workspace --seller openai",
        "flow run triage --max-cost 0.50",
        "flow run triage --budget 500000000",
        "replay escalation --cost-per-hour 1.90",
        "replay escalation --cost-per-hour-micros 1900000",
    ] {
        let words = std::iter::once("tidegate").chain(line.split(' '));
        let taken = super::tree().try_get_matches_from(words);
        assert!(taken.is_ok(), "{line}: {taken:?}");
    }
}

#[test]
fn nouns_take_verbs_that_their_definition_has_elsewhere() {
    for (line, expected) in [
        ("node list", "nodes list"),
        ("--json node ls --limit 3", "--json nodes ls --limit 3"),
        ("node add a --base-url b", "nodes add a --base-url b"),
        ("nodes join --token -", "node join --token -"),
        ("nodes key", "node key"),
        ("node --model echo", "node --model echo"),
        ("node key", "node key"),
        ("nodes list", "nodes list"),
        ("nodes", "nodes"),
        ("node nothing", "node nothing"),
        ("capabilities list openai", "capabilities openai"),
        ("job ls", "job"),
        ("jobs list", "jobs"),
        ("models pull a/b", "pull a/b"),
        ("--json model pull a/b", "--json pull a/b"),
        ("request list", "request list"),
        ("key list", "key list"),
        ("alias show node list", "alias show node list"),
        ("--json", "--json"),
    ] {
        let words = std::iter::once("tidegate").chain(line.split(' ')).map(OsString::from).collect();
        let taken = as_defined(&super::tree(), words);
        let taken: Vec<_> = taken.iter().skip(1).map(|word| word.to_string_lossy()).collect();
        assert_eq!(taken.join(" "), expected, "{line}");
    }
}

#[test]
fn a_noun_has_both_numbers_and_a_verb_its_usual_names() {
    for (words, expected) in [
        ("keys add", "key create"),
        ("key rm", "key revoke"),
        ("policies ls", "policy list"),
        ("aliases delete", "alias remove"),
        ("batches get", "batch show"),
        ("model remove", "models rm"),
        ("job", "jobs"),
        ("nodes create", "nodes add"),
        ("nodes revoke", "nodes revoke"),
        ("files upload", "file put"),
        ("files get", "file get"),
        ("agents show", "agent get"),
        ("agents set", "agent update"),
        ("members update", "member set-role"),
        ("requests", "request"),
        ("requests ls", "request list"),
        ("request get", "request show"),
        ("model list", "models list"),
        ("models show", "models show"),
        ("capabilities", "capabilities"),
        ("run", "chat"),
    ] {
        assert_eq!(called(words), expected, "{words}");
    }
}

fn refused(line: &str) -> String {
    let mut tree = super::tree();
    let words: Vec<OsString> =
        std::iter::once("tidegate").chain(line.split(' ')).map(OsString::from).collect();
    let error = tree.try_get_matches_from_mut(words.clone()).unwrap_err();
    secret(&mut tree, &words, error).to_string()
}

#[test]
fn a_secret_as_an_argument_is_refused_with_the_way_in() {
    for line in [
        "credential add openai --api-key sk-0123456789abcdef",
        "credential add openai --api-key=sk-0123456789abcdef",
        "credential add openai sk-0123456789abcdef",
        "credentials rotate ours --secret sk-0123456789abcdef",
        "account add openai --key sk-0123456789abcdef",
    ] {
        let text = refused(line);
        assert!(text.contains("Pipe it in") && text.contains("--from-env"), "{line}: {text}");
        assert!(!text.contains("0123456789") && !text.contains("--api-version"), "{line}: {text}");
    }
    assert!(refused("key create ci --expires-in-days soon").contains("tip: Give a whole number"));
    for line in ["credential add openai --nmae x", "key create ci --api-key sk-0123456789abcdef"] {
        assert!(!refused(line).contains("Pipe it in"), "{line}");
    }
}
