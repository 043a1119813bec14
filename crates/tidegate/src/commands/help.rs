//! What the help says beside the commands' own comments: groups, examples, headings, and words for options that
//! many commands share.

use clap::builder::Styles;
use clap::{Arg, ArgAction, Command};

use arguments::with_other_names;

/// Commands with examples of each, one a line. An example belongs to the command that it calls.
const EXAMPLES: &str = include_str!("examples.txt");
const EXAMPLES_PRINTED: usize = 2;

/// The top help's groups. A test holds each command to be in one.
const GROUPS: [(&str, &[&str]); 9] = [
    ("Start", &["up", "init", "serve", "login", "logout", "whoami", "context", "open", "chat", "connect"]),
    ("Keys and people", &["key", "project", "member", "workspace"]),
    (
        "Providers and models",
        &["credential", "account", "subscription", "models", "pull", "capabilities", "capability"],
    ),
    ("Routing", &["route", "policy", "alias", "hints", "plan", "cache", "health"]),
    (
        "Money",
        &["usage", "top", "budget", "alert", "billing", "commitments", "tariff", "ledger", "reconcile"],
    ),
    (
        "Requests and data",
        &[
            "request",
            "logs",
            "content",
            "replay",
            "diagnostics",
            "data-path",
            "audit",
            "receipt",
            "purge",
            "erase",
            "hold",
            "data-export",
        ],
    ),
    (
        "Agents and apps",
        &[
            "agent",
            "session",
            "tool",
            "mcp-server",
            "app",
            "secret",
            "flow",
            "task",
            "batch",
            "file",
            "artifact",
            "bundle",
        ],
    ),
    ("Your own nodes", &["node", "nodes", "adapters", "train", "endpoint-picker"]),
    (
        "Operate",
        &[
            "doctor",
            "config",
            "apply",
            "export",
            "backup",
            "restore",
            "vault",
            "webhook",
            "jobs",
            "gateway",
            "data-planes",
            "api",
            "completions",
            "man",
            "version",
        ],
    ),
];

const SINGULAR_OR_PLURAL: &str = "\
Nouns work in the singular and the plural (key, keys); `node` without a verb runs one. \
Verbs have the usual other names: list or ls, show or get, create or add, set or update, remove or delete or rm.

`tidegate COMMAND --help` has options and examples. `tidegate` alone shows where you are.";

/// Nouns whose objects have no name, so that their commands take ids alone.
const WITHOUT_NAME: [&str; 15] = [
    "batch",
    "billing",
    "content",
    "data-export",
    "diagnostics",
    "erase",
    "file",
    "hold",
    "purge",
    "reconcile",
    "replay",
    "request",
    "route",
    "task",
    "train",
];

const GLOBAL: &str = "Global options";

/// What an option or argument is, by its id, for those that the command leaves without a comment.
const WORDS: [(&str, &str); 47] = [
    ("alias", "Name or id"),
    ("artifacts", "The artifacts, by their ids"),
    ("base_url", "The provider's address, if it isn't the usual one"),
    ("comment", "The reason, for people who read the run later"),
    ("concurrent_streams", "The most concurrent streams"),
    ("credential_ids", "Your own credentials, by name or id, in order of preference"),
    ("description", "What it is for"),
    ("email", "The person's email"),
    ("end_user", "The end user, by the name that your application gives them"),
    ("environment", "The environment, such as production"),
    ("expires_in_days", "Days until it expires; by default it never does"),
    ("facts", "The names of facts"),
    ("file", "The file"),
    ("first_byte_p95_ms_max", "The highest p95 time to the first byte, in milliseconds"),
    ("id", "Name or id"),
    ("key", "The API key, by name or id"),
    ("latency_p95_ms_max", "The highest p95 latency, in milliseconds"),
    ("markup_bps", "The operator's markup on the price, in hundredths of a percent"),
    ("max_tokens", "The most output tokens"),
    ("media_type", "The type of its content, such as text/markdown"),
    ("message", "The message to send"),
    ("model", "The model"),
    ("name", "Its name"),
    ("node_labels", "Your own nodes with this label, in order of preference"),
    ("path", "The file"),
    ("project", "The project, by name or id"),
    ("prompt_tokens_max", "Prompts of at most this many tokens"),
    ("provider", "The provider, such as openai"),
    ("refuse", "Refuses the step"),
    ("region", "The provider's region, such as eu-central-1"),
    ("regions", "Regions, in order of preference"),
    ("requests_per_minute", "The most requests per minute"),
    ("revision", "The revision, by its id"),
    ("role", "owner, admin, developer, billing or viewer"),
    ("run", "The run, by its id"),
    ("secret", "Name or id"),
    ("shell", "The shell"),
    ("snapshot", "The snapshot to show, by its id"),
    ("step", "The step's name"),
    ("tariff", "The tariff, by name or id"),
    ("to", "Its new address"),
    ("tokens_per_minute", "The most tokens per minute"),
    ("tools", "The tools' names"),
    ("version", "The number of the version"),
    ("weight", "Its share of the traffic among the accounts that offer the same model"),
    ("workspace", "The workspace, by name or id"),
    ("help", "Prints help"),
];

/// Placeholders whose last word says too little.
const PLACEHOLDERS: [(&str, &str); 49] = [
    ("activation", "MODE"),
    ("adapter_memory", "MIB"),
    ("adapters", "DIR"),
    ("adapters_known", "COUNT"),
    ("adapters_loaded", "COUNT"),
    ("by", "COLUMN"),
    ("byok_fallback", "WHEN"),
    ("checked", "DATE"),
    ("concurrency", "COUNT"),
    ("concurrent_streams", "COUNT"),
    ("config", "FILE"),
    ("control", "URL"),
    ("data_boundary", "BOUNDARY"),
    ("discount_pct", "PERCENT"),
    ("draft", "MODEL"),
    ("draft_memory", "MIB"),
    ("end", "TIME"),
    ("expect", "VERSION"),
    ("fallback_on", "FAILURE"),
    ("fallbacks", "COUNT"),
    ("gates", "FILE"),
    ("group_by", "COLUMN"),
    ("has_tools", "BOOL"),
    ("held_out", "COUNT"),
    ("held_out_every", "STEPS"),
    ("id", "NAME"),
    ("ip_allowlist", "CIDR"),
    ("kv_memory", "MIB"),
    ("kv_numbers", "FORMAT"),
    ("last", "COUNT"),
    ("limit", "COUNT"),
    ("listen", "ADDRESS"),
    ("metadata", "NAME=VALUE"),
    ("on_reached", "ACTION"),
    ("requests_per_minute", "COUNT"),
    ("required_metadata", "NAME"),
    ("sample", "PERCENT"),
    ("set", "FILE"),
    ("since", "TIME"),
    ("start", "TIME"),
    ("tokens_per_minute", "COUNT"),
    ("tokens_per_second", "COUNT"),
    ("tolerance", "PERCENT"),
    ("ttl", "SECONDS"),
    ("until", "TIME"),
    ("waiting", "COUNT"),
    ("watts_idle", "WATTS"),
    ("window_s", "SECONDS"),
    ("workers", "COUNT"),
];

/// The tree of commands as people see it.
pub(super) fn dress(tree: Command) -> Command {
    let examples: Vec<(String, &str)> =
        EXAMPLES.lines().filter_map(|line| Some((path_of(&tree, words(line)?), line))).collect();
    let tree = with_other_names(tree);
    let groups = groups(&tree);
    let tree = tree.arg(Arg::new("help").short('h').long("help").action(ArgAction::Help).global(true));
    described(tree, "", &examples)
        .help_template("{about}\n\n{usage-heading} {usage}\n{after-help}\n{options}")
        .after_help(format!("\n{groups}{SINGULAR_OR_PLURAL}\n"))
}

fn described(command: Command, path: &str, examples: &[(String, &str)]) -> Command {
    let has_name = !path.split(' ').next().is_some_and(|noun| WITHOUT_NAME.contains(&noun));
    let command = command.mut_args(|arg| worded(arg, has_name));
    let of_this: Vec<&str> =
        examples.iter().filter(|(called, _)| is_at_or_below(called, path)).map(|(_, line)| *line).collect();
    let command =
        if path.is_empty() || of_this.is_empty() { command } else { command.after_help(listed(&of_this)) };
    command.mut_subcommands(|sub| {
        let below = format!("{path} {}", sub.get_name()).trim_start().to_owned();
        described(sub, &below, examples)
    })
}

fn is_at_or_below(called: &str, path: &str) -> bool {
    called.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

fn listed(examples: &[&str]) -> String {
    let header = Styles::styled();
    let header = header.get_header();
    let lines: Vec<String> =
        examples.iter().take(EXAMPLES_PRINTED).map(|line| format!("  $ {line}")).collect();
    format!("{header}Examples:{header:#}\n{}", lines.join("\n"))
}

/// Fills in what the command's own comments leave out.
fn worded(arg: Arg, has_name: bool) -> Arg {
    let id = arg.get_id().as_str().to_owned();
    if id == "id" && !has_name {
        return if arg.get_help().is_none() { arg.help("Its id") } else { arg };
    }
    let known = |table: &'static [(&str, &'static str)]| {
        table.iter().find(|(name, _)| *name == id).map(|(_, text)| *text)
    };
    let arg = match known(&WORDS) {
        Some(text) if arg.get_help().is_none() => arg.help(text),
        _ => arg,
    };
    let arg = if arg.is_global_set() { arg.help_heading(GLOBAL) } else { arg };
    let is_usual = arg
        .get_value_names()
        .is_some_and(|names| matches!(names, [name] if name.as_str() == id.to_uppercase()));
    if !is_usual {
        return arg;
    }
    let last = id.rsplit('_').next().unwrap_or(&id).to_uppercase();
    let is_list = matches!(arg.get_action(), ArgAction::Append) && !last.ends_with("SS");
    let name = match (known(&PLACEHOLDERS), is_list) {
        (Some(name), _) => name.to_owned(),
        (None, true) => last.strip_suffix('S').unwrap_or(&last).to_owned(),
        (None, false) => last,
    };
    arg.value_name(name)
}

fn groups(tree: &Command) -> String {
    let styles = Styles::styled();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let mut text = String::new();
    for (title, names) in GROUPS {
        text.push_str(&format!("{header}{title}:{header:#}\n"));
        for name in names {
            let about = tree.find_subcommand(name).and_then(Command::get_about).map(ToString::to_string);
            let about = about.unwrap_or_default();
            text.push_str(&format!("  {literal}{name:<16}{literal:#}{}\n", first_clause(&about)));
        }
        text.push('\n');
    }
    text
}

/// What comes before the first full stop, colon or comma: a line of the overview is short.
fn first_clause(about: &str) -> &str {
    about.split([':', '.', ',', ';']).next().unwrap_or(about)
}

/// The words of a line that calls `tidegate`, up to where a shell redirects it.
fn words(line: &str) -> Option<impl Iterator<Item = &str>> {
    Some(line.strip_prefix("tidegate ")?.split(' ').take_while(|word| !matches!(*word, "<" | ">" | "|")))
}

/// The path of the command that these words call.
fn path_of<'a>(tree: &Command, words: impl Iterator<Item = &'a str>) -> String {
    let mut command = tree;
    let mut path: Vec<&str> = Vec::new();
    for word in words {
        let Some(sub) = command.find_subcommand(word) else { break };
        path.push(sub.get_name());
        command = sub;
    }
    path.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits at spaces outside single quotes, as a shell does.
    fn shell_words(line: &str) -> Vec<String> {
        let mut found = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => found.push(String::new()),
                c => found.last_mut().unwrap().push(c),
            }
        }
        let end = found.iter().position(|word| matches!(word.as_str(), "<" | ">" | "|"));
        found.truncate(end.unwrap_or(found.len()));
        found
    }

    fn leaves<'a>(command: &'a Command, path: &str, found: &mut Vec<(String, &'a Command)>) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let below = format!("{path} {}", sub.get_name()).trim_start().to_owned();
            if !sub.is_subcommand_required_set() {
                found.push((below.clone(), sub));
            }
            leaves(sub, &below, found);
        }
    }

    fn built() -> Command {
        let mut tree = super::super::tree();
        tree.build();
        tree
    }

    #[test]
    fn every_option_is_described_and_has_a_readable_placeholder() {
        let tree = built();
        let mut found = vec![(String::new(), &tree)];
        leaves(&tree, "", &mut found);
        let mut wrong = Vec::new();
        for (path, command) in found {
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let names = arg.get_value_names().unwrap_or_default();
                if arg.get_help().is_none_or(|help| help.to_string().is_empty()) {
                    wrong.push(format!("{path}: {} has no description", arg.get_id()));
                }
                if arg.get_action().takes_values() && names.iter().any(|name| name.contains('_')) {
                    wrong.push(format!("{path}: {names:?}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn every_command_has_examples_that_it_takes() {
        let tree = built();
        let refused = |line: &str| tree.clone().try_get_matches_from(shell_words(line)).err();
        // A build without the mesh of peers lacks its commands.
        let is_of_peers = |line: &str| {
            !cfg!(feature = "peers")
                && refused(line).is_some_and(|why| why.kind() == clap::error::ErrorKind::InvalidSubcommand)
        };
        let examples: Vec<&str> = EXAMPLES.lines().filter(|line| !is_of_peers(line)).collect();
        let wrong: Vec<String> =
            examples.iter().filter_map(|line| refused(line).map(|why| format!("{line}: {why}"))).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let called: Vec<String> = examples.iter().map(|line| path_of(&tree, words(line).unwrap())).collect();
        let mut found = Vec::new();
        leaves(&tree, "", &mut found);
        let few: Vec<_> = found
            .iter()
            .filter(|(path, command)| {
                let is_own =
                    |arg: &Arg| !arg.is_global_set() && arg.get_id() != "help" && arg.get_id() != "version";
                let takes_some = command.get_arguments().any(is_own);
                let least = if takes_some { EXAMPLES_PRINTED } else { 1 };
                called.iter().filter(|one| *one == path).count() < least
            })
            .map(|(path, _)| path)
            .collect();
        assert!(few.is_empty(), "too few examples of: {few:#?}");
    }

    #[test]
    fn ids_in_examples_have_a_prefix_that_ids_have() {
        let prefixes = [
            domain::AlertRuleId::PREFIX,
            domain::AliasReleaseId::PREFIX,
            domain::ArtifactId::PREFIX,
            domain::BundleId::PREFIX,
            domain::DataExportId::PREFIX,
            domain::DiagnosticsId::PREFIX,
            domain::EventId::PREFIX,
            domain::FileId::PREFIX,
            domain::FlowRunId::PREFIX,
            domain::InvoiceId::PREFIX,
            domain::LegalHoldId::PREFIX,
            domain::PolicyId::PREFIX,
            domain::PurgeJobId::PREFIX,
            domain::ReconciliationId::PREFIX,
            domain::ReplayRunId::PREFIX,
            domain::RouteId::PREFIX,
            domain::SessionId::PREFIX,
            domain::SnapshotId::PREFIX,
            domain::TaskId::PREFIX,
            domain::TraceId::PREFIX,
            domain::WebhookId::PREFIX,
            domain::WorkspaceId::PREFIX,
            // A batch of OpenAI's API, a revision of a manifest, an erasure and a token to join with have no type of their own.
            "batch",
            "cap",
            "del",
            "tgj",
        ];
        let wrong: Vec<_> = EXAMPLES
            .split_whitespace()
            .filter_map(|word| word.strip_suffix("_…"))
            .filter(|prefix| !prefixes.contains(prefix))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn every_command_is_in_one_group() {
        let tree = built();
        let mut listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let mut there: Vec<&str> =
            tree.get_subcommands().map(Command::get_name).filter(|name| *name != "help").collect();
        listed.sort_unstable();
        there.sort_unstable();
        assert_eq!(listed, there);
    }
}
