//! Secrets on the command line: refused with where they belong, and never repeated.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Nouns whose verbs take a secret.
const NOUNS: [&str; 4] = ["credential", "account", "subscription", "secret"];
/// Options that people expect there.
const OPTIONS: [&str; 6] = ["--api-key", "--key", "--password", "--secret", "--token", "--value"];
/// What no option or name of ours fits, and is at least this long, is taken for a secret.
const SECRET_CHARS_MIN: usize = 16;

const MESSAGE: &str = "a secret is never an argument: shells and lists of processes keep it\n\n  tip: Pipe it in, as in `printenv \
                       OPENAI_API_KEY | tidegate credential add openai`, or let `credential add` read the provider's usual variable \
                       with --from-env";

/// The error to show in place of this one, which guesses at another option or repeats the secret.
pub(super) fn secret(tree: &mut Command, words: &[OsString], error: clap::Error) -> clap::Error {
    let mut nouns = words.iter().filter_map(|word| tree.find_subcommand(word));
    let takes_secrets = nouns.any(|noun| NOUNS.contains(&noun.get_name()));
    let is_secret = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) if error.kind() == ErrorKind::UnknownArgument => {
            let is_value = !word.starts_with('-') && word.chars().count() >= SECRET_CHARS_MIN;
            is_value || OPTIONS.contains(&word.as_str())
        }
        _ => false,
    };
    if takes_secrets && is_secret { tree.error(ErrorKind::UnknownArgument, MESSAGE) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> String {
        let mut tree = super::super::tree();
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
        for line in ["credential add openai --nmae x", "key create ci --api-key sk-0123456789abcdef"] {
            assert!(!refused(line).contains("Pipe it in"), "{line}");
        }
    }
}
