//! What removes something asks first: on a terminal by a question, elsewhere by demanding `--yes`.

use std::io::{BufRead, IsTerminal};

use clap::ArgMatches;
use cli::output::{self, Failure};
use cli::shared::Shared;

/// The commands that remove what can't be had back. Of two that belong to a noun alone, the noun is named, too.
const VERBS: [&str; 5] = ["remove", "delete", "rm", "revoke", "uninvite"];
const OF_A_NOUN: [(&str, &str); 2] = [("purge", "add"), ("erase", "add")];
/// How commands call what they remove.
const NAMES: [&str; 7] = ["id", "name", "project", "alias", "member", "secret", "node"];

/// A command that removes something: what it does, in words.
#[derive(Debug)]
pub(super) struct Removal(String);

/// What a command line removes, if it does.
pub(super) fn of(matches: &ArgMatches) -> Option<Removal> {
    let (noun, below) = matches.subcommand()?;
    let (verb, leaf) = below.subcommand()?;
    if OF_A_NOUN.contains(&(noun, verb)) {
        return Some(Removal(format!("{} what this names, for good", capital(noun))));
    }
    if !VERBS.contains(&verb) {
        return None;
    }
    let named = NAMES.iter().find_map(|name| leaf.try_get_raw(name).ok().flatten()?.next());
    let named = named.map(|value| format!(" {}", value.to_string_lossy())).unwrap_or_default();
    let verb = if verb == "rm" { "remove" } else { verb };
    Some(Removal(format!("{} the {}{named}", capital(verb), singular(noun).replace('-', " "))))
}

impl Removal {
    /// # Errors
    /// The person says no, or nobody is there to be asked and `--yes` is missing.
    pub(super) fn allowed(&self, shared: &Shared) -> Result<(), Failure> {
        if shared.yes || shared.dry_run {
            return Ok(());
        }
        if shared.no_input || !std::io::stdin().is_terminal() {
            let message = format!("{}? Add --yes to confirm where there is no terminal.", self.0);
            return Err(Failure::new(output::USAGE, message));
        }
        eprint!("{}? [y/N] ", output::printable(&self.0));
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(());
        }
        Err(Failure::new(output::CANCELLED, "Nothing was changed."))
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn singular(noun: &str) -> &str {
    match noun {
        "nodes" | "models" | "data-planes" => noun.trim_end_matches('s'),
        _ => noun,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_removes_says_what() {
        let said = |line: &str| {
            let words = std::iter::once("tidegate").chain(line.split(' '));
            of(&super::super::tree().get_matches_from(words)).map(|removal| removal.0)
        };
        for (line, expected) in [
            ("key revoke ci", Some("Revoke the key ci")),
            ("keys rm ci", Some("Revoke the key ci")),
            ("nodes remove attic", Some("Remove the node attic")),
            ("models rm qwen3:0.6b", Some("Remove the model qwen3:0.6b")),
            ("data-planes revoke far", Some("Revoke the data plane far")),
            ("alias remove fast", Some("Remove the alias fast")),
            ("member remove a@example.com", Some("Remove the member a@example.com")),
            ("erase add --end-user alice", Some("Erase what this names, for good")),
            ("key list", None),
            ("project create web", None),
        ] {
            assert_eq!(said(line).as_deref(), expected, "{line}");
        }
    }
}
