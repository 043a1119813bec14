//! A tool call written in tags: `<function=name><parameter=key>value</parameter></function>`. Values are bare
//! text that may contain tags, so a tag ends a value only if what follows confirms it.

use serde_json::Value;

use super::Step;
use super::offered::{Kinds, Offered};
use super::tags::{
    CALL, CALL_END, FUNCTION, FUNCTION_END, Found, PARAMETER, PARAMETER_END, begins, begins_any,
};
use crate::limits::TAGGED_NAME_BYTES_MAX;

/// What may follow a value.
const AFTER_VALUE: [&str; 5] = [PARAMETER, FUNCTION_END, CALL_END, CALL, FUNCTION];

#[derive(Debug)]
pub(super) struct TaggedCall {
    name: String,
    given: Vec<String>,
    parameter: Option<Parameter>,
}

#[derive(Debug)]
struct Parameter {
    kinds: Kinds,
    /// Text that is not emitted yet; for types other than string, the whole value.
    value: String,
    /// The optional line break after the tag was handled.
    has_started: bool,
    /// Some of the value was consumed.
    has_more: bool,
    /// A duplicate, which is dropped.
    is_again: bool,
}

/// The result of looking for the beginning of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    Yes { name: String, bytes: usize },
    No,
    Perhaps,
}

/// Parses `<function=name>`, which is a call only if what follows confirms it.
pub(super) fn head(text: &str, is_all: bool) -> Head {
    let Some(rest) = text.strip_prefix(FUNCTION) else { return Head::No };
    let Some((name, behind)) = rest.split_once('>') else {
        let may_be = !is_all && rest.len() <= TAGGED_NAME_BYTES_MAX && !rest.contains(['\n', '<']);
        return if may_be { Head::Perhaps } else { Head::No };
    };
    let bytes = FUNCTION.len() + name.len() + 1;
    if name.len() > TAGGED_NAME_BYTES_MAX || name.contains(['\n', '<']) || name.trim().is_empty() {
        return Head::No;
    }
    let name = name.trim();
    let behind = behind.trim_start();
    match begins_any(behind, &AFTER_VALUE, is_all).0 {
        Found::Yes => Head::Yes { name: name.to_owned(), bytes },
        Found::Perhaps => Head::Perhaps,
        Found::No if is_all && behind.is_empty() => Head::Yes { name: name.to_owned(), bytes },
        Found::No => Head::No,
    }
}

impl TaggedCall {
    pub(super) const fn new(name: String) -> Self {
        Self { name, given: Vec::new(), parameter: None }
    }

    pub(super) fn take(
        &mut self,
        held: &mut String,
        is_all: bool,
        offered: &Offered,
        out: &mut String,
    ) -> Step {
        loop {
            let step = match &mut self.parameter {
                Some(_) => self.value(held, is_all, offered, out),
                None => self.read_between(held, is_all, offered, out),
            };
            match step {
                Some(Step::Over) => {
                    out.push_str(if self.given.is_empty() { "{}" } else { "}" });
                    return Step::Over;
                }
                Some(step) => return step,
                None => {}
            }
        }
    }

    /// Reads between two parameters. `None` to continue at once.
    fn read_between(
        &mut self,
        held: &mut String,
        is_all: bool,
        offered: &Offered,
        out: &mut String,
    ) -> Option<Step> {
        let space = held.len() - held.trim_start().len();
        held.drain(..space);
        match begins_any(held, &AFTER_VALUE, is_all) {
            (Found::Perhaps, _) => Some(Step::More),
            (Found::Yes, PARAMETER) => {
                let Some(end) = held.find('>') else {
                    let may_be = !is_all
                        && held.len() <= PARAMETER.len() + TAGGED_NAME_BYTES_MAX
                        && !held.contains('\n');
                    return Some(if may_be { Step::More } else { Step::Broken });
                };
                let name = held.get(PARAMETER.len()..end).unwrap_or_default().to_owned();
                if name.len() > TAGGED_NAME_BYTES_MAX || name.contains('\n') || name.trim().is_empty() {
                    return Some(Step::Broken);
                }
                held.drain(..=end);
                self.begin(name.trim().to_owned(), offered, out);
                None
            }
            (Found::Yes, FUNCTION_END) => {
                held.drain(..FUNCTION_END.len());
                Some(Step::Over)
            }
            // `</function>` is missing.
            (Found::Yes, _) => Some(Step::Over),
            (Found::No, _) => Some(if is_all && held.is_empty() { Step::Over } else { Step::Broken }),
        }
    }

    fn begin(&mut self, name: String, offered: &Offered, out: &mut String) {
        let is_again = self.given.contains(&name);
        if !is_again {
            out.push_str(if self.given.is_empty() { "{" } else { ", " });
            out.push_str(&Value::from(name.as_str()).to_string());
            out.push_str(": ");
        }
        let kinds = offered.kinds(&self.name, &name);
        if kinds.is_text() && !is_again {
            out.push('"');
        }
        self.given.push(name);
        self.parameter =
            Some(Parameter { kinds, value: String::new(), has_started: false, has_more: false, is_again });
    }

    fn value(
        &mut self,
        held: &mut String,
        is_all: bool,
        offered: &Offered,
        out: &mut String,
    ) -> Option<Step> {
        let (name, given) = (&self.name, &self.given);
        let parameter = self.parameter.as_mut()?;
        if !parameter.has_started {
            if held.is_empty() && !is_all {
                return Some(Step::More);
            }
            parameter.has_started = true;
            if held.starts_with('\n') {
                held.drain(..1);
            }
        }
        let is_missed =
            |key: &str| offered.has_parameter(name, key) && !given.iter().any(|given| given == key);
        let (end, found, tag_length) = end_of_value(held, !parameter.has_more, is_all, is_missed);
        let value = held.get(..end).unwrap_or_default();
        // The line break before the tag belongs to the format.
        let value = value.strip_suffix('\n').unwrap_or(value);
        let length = value.len();
        parameter.has_more |= length > 0;
        parameter.value.push_str(value);
        parameter.emit(found == Found::Yes, out);
        if found == Found::Yes {
            held.drain(..end + tag_length);
            self.parameter = None;
            return None;
        }
        held.drain(..length);
        Some(Step::More)
    }
}

impl Parameter {
    fn emit(&mut self, is_over: bool, out: &mut String) {
        if self.is_again {
            return self.value.clear();
        }
        if self.kinds.is_text() {
            let quoted = Value::from(std::mem::take(&mut self.value)).to_string();
            out.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
            if is_over {
                out.push('"');
            }
        } else if is_over {
            out.push_str(&self.kinds.read(&self.value));
        }
    }
}

/// Where a value ends, whether that is certain, and the length of its closing tag (0 if that is missing).
fn end_of_value(
    text: &str,
    is_start: bool,
    is_all: bool,
    is_missed: impl Fn(&str) -> bool,
) -> (usize, Found, usize) {
    for (at, _) in text.match_indices('<') {
        let rest = text.get(at..).unwrap_or_default();
        let before = text.get(..at).unwrap_or_default();
        let is_on_line = before.ends_with('\n') || (before.is_empty() && is_start);
        let (found, tag_length) = match begins(rest, PARAMETER_END, is_all) {
            Found::Yes => {
                (is_end(rest.get(PARAMETER_END.len()..).unwrap_or_default(), is_all), PARAMETER_END.len())
            }
            found => (found, 0),
        };
        let next = if is_on_line { is_next(rest, is_all, &is_missed) } else { Found::No };
        for (found, tag_length) in [(found, tag_length), (next, 0), (is_missing(rest, is_all), 0)] {
            if found != Found::No {
                return (at, found, tag_length);
            }
        }
    }
    (text.len(), if is_all { Found::Yes } else { Found::No }, 0)
}

/// Whether what comes after `</parameter>` may follow a parameter.
fn is_end(behind: &str, is_all: bool) -> Found {
    let behind = behind.trim_start();
    match begins_any(behind, &AFTER_VALUE, is_all).0 {
        Found::No if is_all && behind.is_empty() => Found::Yes,
        found => found,
    }
}

/// Whether the next parameter begins here, without the end of this one.
fn is_next(text: &str, is_all: bool, is_missed: impl Fn(&str) -> bool) -> Found {
    let Some(rest) = text.strip_prefix(PARAMETER) else { return begins(text, PARAMETER, is_all) };
    let (name, has_end) = rest.split_once('>').map_or((rest, false), |(name, _)| (name, true));
    match (name.len() <= TAGGED_NAME_BYTES_MAX && !name.contains('\n'), has_end) {
        (true, true) if is_missed(name.trim()) => Found::Yes,
        (true, false) if !is_all => Found::Perhaps,
        _ => Found::No,
    }
}

/// Whether the call ends here without the end of its last value: closing tags, and then another call or
/// nothing.
fn is_missing(text: &str, is_all: bool) -> Found {
    let mut rest = text;
    for tag in [FUNCTION_END, CALL_END] {
        match begins(rest, tag, is_all) {
            Found::Yes => rest = rest.get(tag.len()..).unwrap_or_default().trim_start(),
            Found::Perhaps => return Found::Perhaps,
            Found::No => {}
        }
    }
    if rest.len() == text.len() {
        return Found::No;
    }
    match begins_any(rest, &[CALL, FUNCTION], is_all).0 {
        Found::No if is_all && rest.is_empty() => Found::Yes,
        found => found,
    }
}
