//! Wrong words on the command line: secrets are refused with where they belong, and never repeated; numbers with advice.

use std::error::Error as _;
use std::ffi::OsString;
use std::num::ParseIntError;

use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Nouns whose verbs take a secret.
const NOUNS: [&str; 4] = ["credential", "account", "subscription", "secret"];
/// Options that people expect there.
const OPTIONS: [&str; 6] = ["--api-key", "--key", "--password", "--secret", "--token", "--value"];
/// A word that is no option or name of ours, and is at least this long, is taken for a secret.
const SECRET_CHARS_MIN: usize = 16;

const MESSAGE: &str = "a secret is never an argument: shells and lists of processes keep it\n\n  tip: Pipe it in, as in `printenv \
                       API_KEY | tidegate credential add PROVIDER`, or let `credential add` read the provider's usual variable \
                       with --from-env";

/// The error with advice where the parser has only Rust's words for a number.
fn advised(mut error: clap::Error) -> clap::Error {
    if error.source().is_some_and(|source| source.is::<ParseIntError>()) {
        let advice = StyledStr::from("Give a whole number");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice]));
    }
    error
}

/// The error to show instead of this one, which guesses at another option or repeats the secret.
pub fn secret(tree: &mut Command, words: &[OsString], error: clap::Error) -> clap::Error {
    let mut nouns = words.iter().filter_map(|word| tree.find_subcommand(word));
    let takes_secrets = nouns.any(|noun| NOUNS.contains(&noun.get_name()));
    let is_secret = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) if error.kind() == ErrorKind::UnknownArgument => {
            let is_value = !word.starts_with('-') && word.chars().count() >= SECRET_CHARS_MIN;
            is_value || OPTIONS.contains(&word.as_str())
        }
        _ => false,
    };
    if takes_secrets && is_secret { tree.error(ErrorKind::UnknownArgument, MESSAGE) } else { advised(error) }
}
