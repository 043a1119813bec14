//! Secrets: API keys by the prefixes that their issuers give them, private keys, and tokens that look random.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::detect::{is_apart, pattern};
use crate::limits::TOKEN_BYTES_MAX;
use crate::needs::{Needs, has_run};

/// Bits per character above which a run of letters and digits is random: words and names have fewer.
const RANDOM_BITS: f64 = 4.0;
pub(crate) const TOKEN_BYTES_MIN: usize = 24;
/// Bytes of the shortest key that `KEYS` takes: `xoxb-` and ten more.
pub(crate) const KEY_BYTES_MIN: usize = 15;
/// Dashes around the words that begin a private key.
pub(crate) const PRIVATE_KEY_DASHES: usize = 10;

/// Prefixes with what follows them.
static KEYS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?x)
        \b(?:sk|pk|rk|gsk|hf|npm|fw|r8|dop_v1|shpat|tg_live|tg_test|sk_live|sk_test|rk_live|pypi|glpat|github_pat)
            [-_][A-Za-z0-9_\-]{20,}
        | \bgh[opusr]_[A-Za-z0-9]{30,}
        | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b
        | \bAIza[0-9A-Za-z_\-]{35,}
        | \bxox[abeprs]-[0-9A-Za-z\-]{10,}
        | \bSG\.[0-9A-Za-z_\-]{16,}\.[0-9A-Za-z_\-]{16,}
        | \beyJ[0-9A-Za-z_\-]{8,}\.[0-9A-Za-z_\-]{8,}\.[0-9A-Za-z_\-]{8,}
        ",
    )
});
/// A private key that goes on is one up to the end of the text.
static PRIVATE_KEYS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?s)-----BEGIN [A-Z ]{0,32}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]{0,32}PRIVATE KEY(?: BLOCK)?-----|\z)",
    )
});
static RUNS: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"[A-Za-z0-9+/_\-]{24,}={0,2}"));

pub(crate) fn find(text: &str, found: &mut Vec<Range<usize>>) {
    let has_dashes = Needs { dashes: PRIVATE_KEY_DASHES, ..Needs::NEVER };
    if has_dashes.are_met(text.as_bytes()) {
        collect(&PRIVATE_KEYS, text, found);
    }
    if has_run(text.as_bytes(), KEY_BYTES_MIN) {
        collect(&KEYS, text, found);
    }
}

fn collect(regex: &LazyLock<Option<Regex>>, text: &str, found: &mut Vec<Range<usize>>) {
    let Some(regex) = &**regex else { return };
    found.extend(regex.find_iter(text).map(|one| one.range()));
}

/// Tokens without a known prefix, for texts that are not opaque by their place.
pub(crate) fn find_random(text: &str, found: &mut Vec<Range<usize>>) {
    let Some(runs) = &*RUNS else { return };
    let is_random = |range: &Range<usize>| {
        text.get(range.clone()).is_some_and(is_random)
            && is_apart(text, range, |letter| letter.is_alphanumeric())
    };
    found.extend(runs.find_iter(text).map(|one| one.range()).filter(is_random));
}

fn is_random(run: &str) -> bool {
    let has = |is: fn(&u8) -> bool| run.as_bytes().iter().any(is);
    (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&run.len())
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && bits_per_character(run) >= RANDOM_BITS
}

fn bits_per_character(run: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in run.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let length = f64::from(u32::try_from(run.len()).unwrap_or(u32::MAX));
    let share = |count: u32| f64::from(count) / length;
    counts.into_iter().filter(|count| *count > 0).map(share).map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        let mut ranges = Vec::new();
        find(text, &mut ranges);
        ranges.into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn keys_are_known_by_their_prefixes() {
        for key in [
            "sk-proj-aaaaaaaaaaaaaaaaaaaaaaaa",
            "ghp_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "AKIAIOSFODNN7EXAMPLE",
            "AIzaSyA-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "xoxb-1234567890-abcdef",
            "xoxb-1234567890",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
        ] {
            let text = format!("use {key} please");
            assert_eq!(found(&text), [key], "{text}");
        }
        assert!(found("a sketch, an AKIA, and risk-averse people").is_empty());
    }

    #[test]
    fn a_private_key_is_one_whole_and_unfinished() {
        let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----";
        assert_eq!(found(&format!("see {key} there")), [key]);
        assert_eq!(found("-----BEGIN PRIVATE KEY-----\nMI"), ["-----BEGIN PRIVATE KEY-----\nMI"]);
        assert!(found("-----BEGIN PUBLIC KEY-----\nMI").is_empty());
    }

    #[test]
    fn what_is_random_is_told_from_words() {
        let random = |text: &str| {
            let mut ranges = Vec::new();
            find_random(text, &mut ranges);
            ranges.len()
        };
        assert_eq!(random("token Zk3vQ9xT7bLm2RwYp8sHdJ4n end"), 1);
        assert_eq!(random("internationalisation-and-localisation-of-everything"), 0);
        assert_eq!(random("0123456789abcdef0123456789abcdef01234567"), 0, "a hash of a file");
        assert_eq!(random(&"Zk3vQ9xT7bLm2RwYp8sHdJ4n".repeat(20)), 0, "an encoded file");
    }
}
