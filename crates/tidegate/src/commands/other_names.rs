//! The other names that commands take: nouns in singular and plural, and the verbs that other programs use.

use std::collections::HashSet;
use std::ffi::OsString;

use clap::Command;

/// Verbs and what else they may be called, unless the noun has a command of that name. Where two verbs of a noun
/// share another name, the first one here has it.
const VERBS: [(&str, &[&str]); 19] = [
    ("list", &["ls"]),
    ("show", &["get", "view"]),
    ("get", &["show", "view"]),
    ("create", &["add", "new"]),
    ("add", &["create", "new"]),
    ("register", &["add", "create"]),
    ("open", &["create", "add"]),
    ("put", &["add", "create", "upload"]),
    ("start", &["create", "add"]),
    ("invite", &["add", "create"]),
    ("set", &["update", "edit"]),
    ("update", &["set", "edit"]),
    ("set-role", &["set", "update"]),
    ("rename", &["update"]),
    ("remove", &["delete", "rm"]),
    ("delete", &["remove", "rm"]),
    ("rm", &["remove", "delete"]),
    ("revoke", &["remove", "delete", "rm"]),
    ("release", &["remove", "delete", "rm"]),
];

/// Nouns whose singular and plural are two commands.
const TWO_COMMANDS: [&str; 4] = ["node", "nodes", "capability", "capabilities"];
/// What is no noun, or has one number only.
const NO_NOUNS: [&str; 33] = [
    "up",
    "init",
    "serve",
    "gateway",
    "login",
    "logout",
    "whoami",
    "open",
    "chat",
    "connect",
    "plan",
    "usage",
    "logs",
    "top",
    "billing",
    "pull",
    "apply",
    "export",
    "backup",
    "restore",
    "config",
    "doctor",
    "api",
    "completions",
    "man",
    "version",
    "health",
    "train",
    "purge",
    "erase",
    "audit",
    "diagnostics",
    "content",
];

/// Nouns that only list, and take `list` as the others do.
const LISTS: [&str; 3] = ["capabilities", "commitments", "jobs"];

/// The words of a command line as its commands are defined. `node`, which runs one, and `nodes`, which manages them, have no
/// verb in common, so that each takes those of the other; a noun that only lists may be asked to.
pub(super) fn as_defined(tree: &Command, mut words: Vec<OsString>) -> Vec<OsString> {
    let found = words.iter().skip(1).position(|word| tree.find_subcommand(word).is_some());
    let at = found.map_or(words.len(), |before| before + 1);
    let noun = words.get(at).and_then(|word| tree.find_subcommand(word)).map(Command::get_name);
    let (Some(noun), Some(verb)) = (noun, words.get(at + 1)) else { return words };
    let has =
        |noun: &str| tree.find_subcommand(noun).is_some_and(|noun| noun.find_subcommand(verb).is_some());
    let lists = verb == "list" || verb == "ls";
    let other = match noun {
        "node" => Some("nodes"),
        "nodes" => Some("node"),
        _ => None,
    };
    if let Some(other) = other.filter(|other| !has(noun) && has(other)) {
        if let Some(noun) = words.get_mut(at) {
            *noun = other.into();
        }
    } else if LISTS.contains(&noun) && lists {
        words.remove(at + 1);
    } else if noun == "models" && verb == "pull" {
        words.remove(at);
    }
    words
}

pub(super) fn with_other_names(tree: Command) -> Command {
    tree.mut_subcommands(|noun| with_verbs(with_number(noun)))
}

fn with_number(noun: Command) -> Command {
    let name = noun.get_name().to_owned();
    if NO_NOUNS.contains(&name.as_str()) || TWO_COMMANDS.contains(&name.as_str()) {
        return noun;
    }
    let other = other_number(&name);
    if noun.get_all_aliases().any(|alias| alias == other) { noun } else { noun.alias(other) }
}

fn other_number(name: &str) -> String {
    match name {
        "alias" | "batch" => format!("{name}es"),
        _ => match (name.strip_suffix('s'), name.strip_suffix('y')) {
            (Some(singular), _) => singular.to_owned(),
            (None, Some(stem)) if !name.ends_with("ey") => format!("{stem}ies"),
            (None, _) => format!("{name}s"),
        },
    }
}

fn with_verbs(mut noun: Command) -> Command {
    let mut taken: HashSet<String> = noun
        .get_subcommands()
        .flat_map(|verb| std::iter::once(verb.get_name()).chain(verb.get_all_aliases()))
        .map(str::to_owned)
        .collect();
    for (verb, others) in VERBS {
        if noun.find_subcommand(verb).is_none_or(|found| found.get_name() != verb) {
            continue;
        }
        let free: Vec<&str> =
            others.iter().copied().filter(|other| taken.insert((*other).to_owned())).collect();
        noun = noun.mut_subcommand(verb, |command| command.aliases(free));
    }
    noun
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command that these words call, by its own name.
    fn called(words: &str) -> String {
        let mut tree = super::super::tree();
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
            let taken = super::super::tree().try_get_matches_from(words);
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
            let taken = as_defined(&super::super::tree(), words);
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
}
