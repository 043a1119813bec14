//! Tags of a model's output, found in text that arrives in pieces.

pub(super) const THINK: &str = "<think>";
pub(super) const THINK_END: &str = "</think>";
pub(super) const CALL: &str = "<tool_call>";
pub(super) const CALL_END: &str = "</tool_call>";
pub(super) const FUNCTION: &str = "<function=";
pub(super) const FUNCTION_END: &str = "</function>";
pub(super) const PARAMETER: &str = "<parameter=";
pub(super) const PARAMETER_END: &str = "</parameter>";

/// Whether it is a tag that models emit themselves, and that templates search for in assistant messages.
pub(crate) fn is_tag(text: &str) -> bool {
    [THINK, THINK_END, CALL, CALL_END].contains(&text)
}

/// Whether a text begins with a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Yes,
    No,
    /// It may, once more text has arrived.
    Perhaps,
}

/// `is_all` if no more text comes.
pub(super) fn begins(text: &str, tag: &str, is_all: bool) -> Found {
    if text.starts_with(tag) {
        Found::Yes
    } else if !is_all && tag.starts_with(text) {
        Found::Perhaps
    } else {
        Found::No
    }
}

/// Which of these tags a text begins with; `Perhaps` if it may become one.
pub(super) fn begins_any<'a>(text: &str, tags: &[&'a str], is_all: bool) -> (Found, &'a str) {
    let mut found = (Found::No, "");
    for tag in tags {
        match begins(text, tag, is_all) {
            Found::Yes => return (Found::Yes, tag),
            Found::Perhaps => found = (Found::Perhaps, ""),
            Found::No => {}
        }
    }
    found
}

/// The position of the first of these tags, or of what may become one.
pub(super) fn first<'a>(text: &str, tags: &[&'a str], is_all: bool) -> Option<(usize, Found, &'a str)> {
    text.match_indices('<').find_map(|(at, _)| {
        let (found, tag) = begins_any(text.get(at..)?, tags, is_all);
        (found != Found::No).then_some((at, found, tag))
    })
}
