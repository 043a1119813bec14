//! Checks every string of a JSON body, and writes the body without what was masked.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use domain::CheckAction;
use json::members::value_of;
use json::splice::{Edit, splice};
use json::written::json_string;
use json::{Span, Value};

use crate::checks::{Checks, Found, Tally};
use crate::limits::PLACEHOLDERS_MAX;

/// The ends of the names of members whose values look random and are no secrets: ids, signatures, encoded files.
const OPAQUE: [&str; 7] = ["id", "signature", "encrypted_content", "data", "url", "cache_key", "token_ids"];

/// What the checks did to a body.
#[derive(Debug, Default)]
pub struct Masked {
    /// `None` where nothing was masked.
    pub body: Option<Bytes>,
    pub tally: Tally,
    /// The name of the first thing found that must not be sent at all.
    pub blocked: Option<&'static str>,
    /// Placeholders with what they stand for, where the answer is to have it back.
    pub restores: Vec<(String, String)>,
}

/// Names the values that were masked: the same value gets the same placeholder.
#[derive(Default)]
struct Placeholders {
    /// Each value with its placeholder, its name, and whether it comes back.
    known: Vec<(String, String, &'static str, bool)>,
}

impl Placeholders {
    fn of(&mut self, found: &Found, value: &str) -> String {
        let same = self.known.iter().find(|(known, _, name, _)| known == value && *name == found.name);
        if let Some((_, placeholder, ..)) = same {
            return placeholder.clone();
        }
        let name = found.name.to_ascii_uppercase();
        if self.known.len() >= PLACEHOLDERS_MAX {
            return format!("[{name}]");
        }
        let number = self.known.iter().filter(|(_, _, known, _)| *known == found.name).count() + 1;
        let placeholder = format!("[{name}_{number}]");
        self.known.push((value.to_owned(), placeholder.clone(), found.name, found.restores));
        placeholder
    }
}

/// Checks a body. One that is not valid JSON is left as it is: nothing sends it.
#[must_use]
pub fn check_body(checks: &Checks, body: &Bytes) -> Masked {
    let mut masked = Masked::default();
    let mut placeholders = Placeholders::default();
    let mut edits = Vec::new();
    for (span, is_opaque) in strings(body) {
        let Ok(Value::String(written)) = value_of(span.of(body)) else { continue };
        let text = written.decode();
        let found = checks.find(&text, true, is_opaque);
        if found.is_empty() {
            continue;
        }
        found.iter().for_each(|one| masked.tally.add(one));
        let blocked = found.iter().find(|one| one.action == CheckAction::Block);
        masked.blocked = masked.blocked.or(blocked.map(|one| one.name));
        let replaced = replace(&text, &found, |one, value| placeholders.of(one, value));
        if let Some(replaced) = replaced {
            edits.push(Edit { span, text: Cow::Owned(json_string(&replaced)) });
        }
    }
    if !edits.is_empty() {
        let mut pieces = Vec::new();
        splice(body, &mut edits, &mut pieces);
        masked.body = Some(match pieces.len() {
            1 => pieces.swap_remove(0),
            _ => Bytes::from(pieces.concat()),
        });
    }
    let returned = placeholders.known.into_iter().filter(|(.., returns)| *returns);
    masked.restores = returned.map(|(value, placeholder, ..)| (placeholder, value)).collect();
    masked
}

/// A text as it is within a JSON string.
#[must_use]
pub fn escaped(text: &str) -> String {
    let quoted = json_string(text);
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

/// The text with what must not stay in it replaced; `None` if all of it stays.
pub(crate) fn replace(
    text: &str,
    found: &[Found],
    mut placeholder: impl FnMut(&Found, &str) -> String,
) -> Option<String> {
    let masked = || found.iter().filter(|one| one.action != CheckAction::Flag);
    masked().next()?;
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for one in masked() {
        out.push_str(text.get(from..one.range.start).unwrap_or_default());
        out.push_str(&placeholder(one, text.get(one.range.clone()).unwrap_or_default()));
        from = one.range.end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Some(out)
}

/// The strings of a document that are values, each with its quotation marks, and whether the name of its
/// member says that it is opaque.
fn strings(body: &[u8]) -> impl Iterator<Item = (Span, bool)> {
    let mut at = 0;
    let mut is_opaque = false;
    std::iter::from_fn(move || {
        loop {
            let start = at + body.get(at..)?.iter().position(|byte| *byte == b'"')?;
            let range = string_at(body, start)?;
            at = range.end;
            let after = body.get(at..)?.iter().find(|byte| !byte.is_ascii_whitespace());
            if after == Some(&b':') {
                let name = body.get(range.start + 1..range.end - 1)?.to_ascii_lowercase();
                is_opaque = OPAQUE.iter().any(|end| name.ends_with(end.as_bytes()));
                continue;
            }
            return Some((Span::new(range.start, range.end), is_opaque));
        }
    })
}

/// The string that starts at this quotation mark; `None` if it does not end.
fn string_at(body: &[u8], start: usize) -> Option<Range<usize>> {
    let mut at = start + 1;
    loop {
        at += body.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        match body.get(at)? {
            b'"' => return Some(start..at + 1),
            _ => at += 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{CheckedSide, ContentCheck, Detector};
    use proptest::prelude::*;

    use super::*;

    fn checks(detect: Detector, action: CheckAction) -> Checks {
        let check = ContentCheck { detect, action, side: CheckedSide::Both, restores: true };
        Checks::compile(&[check]).unwrap()
    }

    fn masked(body: &'static str) -> Masked {
        check_body(&checks(Detector::Email, CheckAction::Mask), &Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn the_same_value_gets_the_same_placeholder_everywhere() {
        let done = masked(
            r#"{"messages":[{"content":"ask ann@example.com or bob@example.org"},{"content":[{"text":"ann\u0040example.com\n"}]}]}"#,
        );
        assert_eq!(
            done.body.unwrap(),
            r#"{"messages":[{"content":"ask [EMAIL_1] or [EMAIL_2]"},{"content":[{"text":"[EMAIL_1]\n"}]}]}"#
        );
        assert_eq!(
            done.restores,
            [
                ("[EMAIL_1]".to_owned(), "ann@example.com".to_owned()),
                ("[EMAIL_2]".into(), "bob@example.org".into())
            ]
        );
        assert_eq!(done.tally.rows().map(|(_, _, count)| count).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn what_is_clean_or_broken_is_left_alone() {
        for body in [r#"{"a":"b","n":1}"#, r#"{"ann@example.com":1}"#, r#"{"a":"ann@example.com"#, "", "\"\\"]
        {
            assert!(masked(body).body.is_none(), "{body}");
        }
    }

    #[test]
    fn a_block_is_named_and_a_flag_changes_nothing() {
        let body = Bytes::from_static(br#"{"a":"ann@example.com"}"#);
        let blocked = check_body(&checks(Detector::Email, CheckAction::Block), &body);
        assert_eq!(blocked.blocked, Some("email"));
        let flagged = check_body(&checks(Detector::Email, CheckAction::Flag), &body);
        assert!(flagged.body.is_none() && flagged.blocked.is_none() && !flagged.tally.is_empty());
    }

    #[test]
    fn what_looks_random_by_its_place_is_no_secret() {
        let secrets = checks(Detector::Secrets, CheckAction::Mask);
        let body = |name: &str| Bytes::from(format!(r#"{{"{name}":"Zk3vQ9xT7bLm2RwYp8sHdJ4n"}}"#));
        assert!(check_body(&secrets, &body("content")).body.is_some());
        for name in ["tool_call_id", "callId", "signature", "thoughtSignature", "encrypted_content", "url"] {
            assert!(check_body(&secrets, &body(name)).body.is_none(), "{name}");
        }
    }

    proptest! {
        /// However a text is escaped, what is masked is gone from it, and the rest is as it was.
        #[test]
        fn a_body_stays_json_and_loses_the_address(before in ".{0,20}", after in ".{0,20}") {
            let text = format!("{before} ann@example.com {after}");
            let body = Bytes::from(serde_json::json!({"content": text, "n": [1, "x"]}).to_string());
            let done = check_body(&checks(Detector::Email, CheckAction::Mask), &body);
            let read: serde_json::Value = serde_json::from_slice(&done.body.unwrap()).unwrap();
            let content = read["content"].as_str().unwrap();
            prop_assert!(!content.contains("ann@example.com"));
            let back = done.restores.iter().fold(content.to_owned(), |text, (mark, value)| text.replace(mark.as_str(), value));
            prop_assert_eq!(back, text);
        }
    }
}
