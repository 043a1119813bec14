//! The detectors of personal data, and of what a customer names.

use std::ops::Range;
use std::sync::LazyLock;

use domain::Detector;
use regex::{Regex, RegexBuilder};

use crate::identity::{digits_of, iban_length, is_card, is_national_id};
use crate::limits::PATTERN_COMPILED_BYTES_MAX;
use crate::needs::{Needs, has_run};
use crate::secrets::{self, KEY_BYTES_MIN, PRIVATE_KEY_DASHES, TOKEN_BYTES_MIN};

static EMAILS: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63}){1,8}"));
static PHONES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?x)
        \+[0-9](?:[\x20.()/\-]{0,2}[0-9]){7,14}
        | \(?\b[0-9]{3}\)?[\x20.\-][0-9]{3}[.\-\x20][0-9]{4}\b
        | \b0[0-9]{1,5}[\x20/\-][0-9]{3,}(?:[\x20\-][0-9]{2,}){0,4}
        ",
    )
});
static ACCOUNTS: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"\b[A-Z]{2}[0-9]{2}[\x20]?[A-Z0-9]"));
static CARDS: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"\b[2-6](?:[\x20\-]?[0-9]){12,18}\b"));
static PEOPLE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?x)
        \b(?:
            [0-9XYZ][0-9]{7}-?[A-Z]
            | [A-Z]{6}[0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]
            | [12][\x20]?[0-9]{2}[\x20]?[0-9]{2}[\x20]?(?:[0-9]{2}|2A|2B)[\x20]?[0-9]{3}[\x20]?[0-9]{3}[\x20]?[0-9]{2}
            | [0-9]{2}[\x20]?[0-9]{3}[\x20]?[0-9]{3}[\x20]?[0-9]{3}
            | [0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}
            | [0-9]{6}[+\-A-FU-Y][0-9]{3}[0-9A-Y]
            | [0-9]{17}[0-9X]
            | [0-9]{3}-[0-9]{2}-[0-9]{4}
        )\b",
    )
});

/// Digits of a phone number.
const PHONE_DIGITS: (usize, usize) = (8, 15);
/// Digits of the shortest card number that `CARDS` takes.
const CARD_DIGITS_MIN: usize = 13;

/// A detector, ready to be used.
#[derive(Debug, Clone)]
pub(crate) enum Matcher {
    Secrets,
    Email,
    Phone,
    Iban,
    Card,
    NationalId,
    /// A regular expression or a list of words of the customer's.
    Own(Regex),
}

/// A pattern of ours; all of them are tested to compile.
pub(crate) fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

/// A customer's pattern: it takes time that grows with the text alone, and bounded memory.
pub(crate) fn compile_own(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(PATTERN_COMPILED_BYTES_MAX).build();
    let regex = built.map_err(|error| error.to_string())?;
    if regex.is_match("") { Err("it matches the empty text".to_owned()) } else { Ok(regex) }
}

impl Matcher {
    pub(crate) fn of(detector: &Detector) -> Result<Self, String> {
        Ok(match detector {
            Detector::Secrets => Self::Secrets,
            Detector::Email => Self::Email,
            Detector::Phone => Self::Phone,
            Detector::Iban => Self::Iban,
            Detector::Card => Self::Card,
            Detector::NationalId => Self::NationalId,
            Detector::Pattern(text) => Self::Own(compile_own(text)?),
            Detector::Words(words) => Self::Own(words_of(words)?),
        })
    }

    /// The places where it matches. `is_opaque` says that the text is an id or a signature by its place, which
    /// looks random.
    pub(crate) fn find(&self, text: &str, is_opaque: bool) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if !self.needs().are_met(text.as_bytes()) {
            return found;
        }
        match self {
            Self::Secrets => {
                secrets::find(text, &mut found);
                if !is_opaque && has_run(text.as_bytes(), TOKEN_BYTES_MIN) {
                    secrets::find_random(text, &mut found);
                }
            }
            Self::Email => collect(&EMAILS, text, |_| true, &mut found),
            Self::Phone => collect(&PHONES, text, is_phone, &mut found),
            Self::Iban => accounts(text, &mut found),
            Self::Card => collect(&CARDS, text, is_card, &mut found),
            Self::NationalId => collect(&PEOPLE, text, is_national_id, &mut found),
            Self::Own(regex) => found.extend(regex.find_iter(text).map(|one| one.range())),
        }
        found
    }

    /// What a text has if this matches in it: the pattern is tried on such texts alone.
    pub(crate) const fn needs(&self) -> Needs {
        match self {
            Self::Secrets => Needs { run: KEY_BYTES_MIN, dashes: PRIVATE_KEY_DASHES, ..Needs::NEVER },
            Self::Email => Needs::AT,
            Self::Phone => Needs::digits(PHONE_DIGITS.0),
            Self::Iban => Needs::digits(2),
            Self::Card => Needs::digits(CARD_DIGITS_MIN),
            Self::NationalId => Needs::digits(1),
            Self::Own(_) => Needs::ALWAYS,
        }
    }
}

fn words_of(words: &[String]) -> Result<Regex, String> {
    let escaped: Vec<String> = words.iter().map(|word| regex::escape(word)).collect();
    // A word's ends are where letters end, also for words that end in a sign.
    compile_own(&format!(r"(?i)(?:\b{{start-half}}(?:{})\b{{end-half}})", escaped.join("|")))
}

fn is_phone(text: &str) -> bool {
    let (least, most) = PHONE_DIGITS;
    (least..=most).contains(&digits_of(text).len())
}

fn collect(
    regex: &LazyLock<Option<Regex>>,
    text: &str,
    is_valid: fn(&str) -> bool,
    found: &mut Vec<Range<usize>>,
) {
    let Some(regex) = &**regex else { return };
    let ranges = regex.find_iter(text).filter(|one| is_valid(one.as_str())).map(|one| one.range());
    found.extend(ranges.filter(|range| is_apart(text, range, |letter| letter.is_alphanumeric())));
}

fn accounts(text: &str, found: &mut Vec<Range<usize>>) {
    let Some(regex) = &*ACCOUNTS else { return };
    for start in regex.find_iter(text).map(|one| one.start()) {
        let length = text.get(start..).and_then(iban_length);
        let range = start..start + length.unwrap_or_default();
        if length.is_some() && is_apart(text, &range, |letter| letter.is_alphanumeric()) {
            found.push(range);
        }
    }
}

/// Whether neither neighbour of a range is of this kind.
pub(crate) fn is_apart(text: &str, range: &Range<usize>, is_of_it: fn(char) -> bool) -> bool {
    let before = text.get(..range.start).and_then(|before| before.chars().next_back());
    let after = text.get(range.end..).and_then(|after| after.chars().next());
    !before.is_some_and(is_of_it) && !after.is_some_and(is_of_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'t>(detector: &Detector, text: &'t str) -> Vec<&'t str> {
        let ranges = Matcher::of(detector).unwrap().find(text, false);
        ranges.into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn every_detector_finds_its_own_and_leaves_the_rest() {
        let words = Detector::Words(vec!["Project Tide".into(), "c++".into()]);
        let own = Detector::Pattern(r"EMP-\d{4}".into());
        for (detector, text, expected) in [
            (
                &Detector::Email,
                "write to ann.lee+x@mail.example.com, or b@c",
                &["ann.lee+x@mail.example.com"][..],
            ),
            (
                &Detector::Phone,
                "call +49 (0)30 1234567 or 212-555-0123",
                &["+49 (0)30 1234567", "212-555-0123"],
            ),
            (&Detector::Phone, "in 2024-05-06 there were 12345678 of them", &[]),
            (&Detector::Iban, "to DE89 3704 0044 0532 0130 00 today", &["DE89 3704 0044 0532 0130 00"]),
            (&Detector::Iban, "to DE88 3704 0044 0532 0130 00 today", &[]),
            (&Detector::Card, "pay 4111 1111 1111 1111.", &["4111 1111 1111 1111"]),
            (&Detector::Card, "order 4111111111111112 and a4111111111111111b", &[]),
            (&Detector::NationalId, "dni 12345678Z, ssn 123-45-6789", &["12345678Z", "123-45-6789"]),
            (&Detector::Secrets, "key sk-aaaaaaaaaaaaaaaaaaaaaaaa", &["sk-aaaaaaaaaaaaaaaaaaaaaaaa"]),
            (&words, "the project tide uses C++.", &["project tide", "C++"]),
            (&words, "projecttide, c+", &[]),
            (&own, "EMP-1234 and EMP-12", &["EMP-1234"]),
        ] {
            assert_eq!(found(detector, text), expected, "{detector:?} {text}");
        }
    }

    #[test]
    fn our_patterns_compile_and_bad_ones_of_customers_are_refused() {
        for regex in [&EMAILS, &PHONES, &ACCOUNTS, &CARDS, &PEOPLE] {
            assert!(regex.is_some());
        }
        assert!(compile_own("(").is_err());
        assert!(compile_own("a*").is_err());
        assert!(compile_own(r"\w{1000}{1000}").is_err());
        assert!(compile_own("a+").is_ok());
    }
}
