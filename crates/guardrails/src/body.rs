//! Checks every string of a JSON body, and writes the body without what was masked.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use domain::CheckAction;
use json::members::value_of;
use json::splice::{Edit, splice};
use json::written::json_string;
use json::{Span, Value};
use memchr::{memchr, memchr2};

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
pub fn check_body(checks: &Checks, body: &Bytes) -> Masked {
    let mut masked = Masked::default();
    let mut placeholders = Placeholders::default();
    let mut edits = Vec::new();
    for string in strings(body) {
        if !string.has_escapes && !checks.may_find(string.written(body), true) {
            continue;
        }
        let span = string.span;
        let Ok(Value::String(written)) = value_of(span.of(body)) else { continue };
        let text = written.decode();
        let found = checks.find(&text, true, string.is_opaque(body));
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

/// Whether the checks of answers find nothing in any string of a body, and none has this sign.
pub fn is_clear(checks: &Checks, body: &[u8], sign: Option<char>) -> bool {
    strings(body).all(|string| {
        let may_find = string.has_escapes || checks.may_find(string.written(body), false);
        if !may_find && sign.is_none() {
            return true;
        }
        let Ok(Value::String(written)) = value_of(string.span.of(body)) else { return false };
        let text = written.decode();
        let has_sign = sign.is_some_and(|sign| text.contains(sign));
        !has_sign && (!may_find || checks.find(&text, false, string.is_opaque(body)).is_empty())
    })
}

/// A text as it is within a JSON string.
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

/// A string of a document that is a value.
struct StringValue {
    /// With its quotation marks.
    span: Span,
    /// The name of its member, or of the one that its list is in.
    name: Range<usize>,
    /// Its text is not what is written.
    has_escapes: bool,
}

impl StringValue {
    /// What is between its quotation marks.
    fn written<'b>(&self, body: &'b [u8]) -> &'b [u8] {
        body.get(self.span.start + 1..self.span.end - 1).unwrap_or_default()
    }

    /// Whether the name of its member says that it looks random and is no secret.
    fn is_opaque(&self, body: &[u8]) -> bool {
        let name = body.get(self.name.clone()).unwrap_or_default();
        OPAQUE.iter().any(|end| {
            let of_name = name.len().checked_sub(end.len()).and_then(|from| name.get(from..));
            of_name.is_some_and(|of_name| of_name.eq_ignore_ascii_case(end.as_bytes()))
        })
    }
}

fn strings(body: &[u8]) -> impl Iterator<Item = StringValue> {
    let (mut at, mut name) = (0, 0..0);
    std::iter::from_fn(move || {
        loop {
            let start = at + memchr(b'"', body.get(at..)?)?;
            let (range, has_escapes) = string_at(body, start)?;
            at = range.end;
            let after = body.get(at..)?.iter().find(|byte| !byte.is_ascii_whitespace());
            if after == Some(&b':') {
                name = range.start + 1..range.end - 1;
                continue;
            }
            let span = Span::new(range.start, range.end);
            return Some(StringValue { span, name: name.clone(), has_escapes });
        }
    })
}

/// The string that starts at this quotation mark, and whether it has escapes; `None` if it does not end.
fn string_at(body: &[u8], start: usize) -> Option<(Range<usize>, bool)> {
    let (mut at, mut has_escapes) = (start + 1, false);
    loop {
        at += memchr2(b'"', b'\\', body.get(at..)?)?;
        match body.get(at)? {
            b'"' => return Some((start..at + 1, has_escapes)),
            _ => (at, has_escapes) = (at + 2, true),
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

    #[test]
    fn a_body_is_clear_if_no_string_of_it_has_what_is_looked_for() {
        let email = checks(Detector::Email, CheckAction::Mask);
        for (body, expected) in [
            (r#"{"a":"x","b":["y"],"n":1}"#, true),
            (r#"{"a":"x","b":["y",{"c":"ann@example.com"}]}"#, false),
            (r#"{"a":"ann\u0040example.com"}"#, false),
            (r#"{"a":"line\nline"}"#, true),
            (r#"{"a":"ann\q@"}"#, false),
        ] {
            assert_eq!(is_clear(&email, body.as_bytes(), None), expected, "{body}");
        }
        let has_sign = |body: &str| !is_clear(&email, body.as_bytes(), Some('['));
        assert!(has_sign(r#"{"a":"[EMAIL_1]"}"#) && has_sign(r#"{"a":"\u005bEMAIL_1]"}"#));
        assert!(!has_sign(r#"{"a":["b"]}"#));
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
