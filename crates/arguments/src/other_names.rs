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
pub fn as_defined(tree: &Command, mut words: Vec<OsString>) -> Vec<OsString> {
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

/// The tree, in which nouns and verbs have their other names too.
pub fn with_other_names(tree: Command) -> Command {
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
