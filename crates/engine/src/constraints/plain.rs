//! Bare strings, written without quotes as in tagged calls: a string schema as an expression of a Lark
//! grammar.

use llguidance::regex_to_lark;
use serde_json::Value as Json;

/// String formats, as far as a regular expression can check them.
const FORMATS: [(&str, &str); 5] = [
    ("date", DATE),
    ("time", TIME),
    ("uuid", "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    ("email", r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"),
    (
        "ipv4",
        r"((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])",
    ),
];
const DATE: &str = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])";
const TIME: &str = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";

/// The conjunction of a schema's demands on a string; `None` if it has a keyword that can't be expressed this
/// way.
pub(super) fn text(schema: &Json) -> Option<String> {
    let keywords = schema.as_object()?;
    let mut all = Vec::new();
    let count = |keyword: &str| keywords.get(keyword).and_then(Json::as_u64);
    for (keyword, value) in keywords {
        match (keyword.as_str(), value.as_str()) {
            ("type" | "minLength" | "maxLength", _) => {}
            ("pattern", Some(pattern)) => all.push(search_pattern(pattern)),
            ("format", Some("date-time")) => all.push(format!("/{DATE}T{TIME}/")),
            ("format", Some(format)) => {
                let (_, expression) = FORMATS.iter().find(|(name, _)| *name == format)?;
                all.push(format!("/{expression}/"));
            }
            _ => return None,
        }
    }
    let most = count("maxLength").map_or(String::new(), |most| most.to_string());
    if count("minLength").is_some() || !most.is_empty() {
        all.push(format!("/(?s:.{{{},{most}}})/", count("minLength").unwrap_or_default()));
    }
    if all.is_empty() {
        all.push("/(?s:.*)/".to_owned());
    }
    Some(all.join(" & "))
}

/// JSON Schema patterns match anywhere in a string unless they are anchored.
fn search_pattern(pattern: &str) -> String {
    let each: Vec<String> = alternatives(pattern).into_iter().map(anchor).collect();
    format!("/{}/", regex_to_lark(&each.join("|"), "dw"))
}

fn anchor(pattern: &str) -> String {
    let (before, rest) = match pattern.strip_prefix('^') {
        Some(rest) => ("", rest),
        None => ("(?s:.*)", pattern),
    };
    let is_escaped = |rest: &str| rest.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
    match rest.strip_suffix('$').filter(|rest| !is_escaped(rest)) {
        Some(rest) => format!("{before}(?:{rest})"),
        None => format!("{before}(?:{rest})(?s:.*)"),
    }
}

/// The top-level alternatives of a pattern.
fn alternatives(pattern: &str) -> Vec<&str> {
    let (mut all, mut first, mut depth, mut in_class, mut is_escaped) = (Vec::new(), 0, 0usize, false, false);
    for (at, character) in pattern.char_indices() {
        if std::mem::take(&mut is_escaped) {
            continue;
        }
        match character {
            '\\' => is_escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => depth += 1,
            ')' if !in_class => depth = depth.saturating_sub(1),
            '|' if !in_class && depth == 0 => {
                all.push(pattern.get(first..at).unwrap_or_default());
                first = at + 1;
            }
            _ => {}
        }
    }
    all.push(pattern.get(first..).unwrap_or_default());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_looked_for_anywhere_but_where_it_says_otherwise() {
        for (pattern, wanted) in [
            ("ab", "/(?s:.*)(?:ab)(?s:.*)/"),
            ("^ab$", "/(?:ab)/"),
            ("^a|b\\$", "/(?:a)(?s:.*)|(?s:.*)(?:b\\$)(?s:.*)/"),
            ("^[a|b](c|d)$", "/(?:[a|b](c|d))/"),
            ("^a/\\d$", "/(?:a\\/[0-9])/"),
        ] {
            assert_eq!(search_pattern(pattern), wanted);
        }
    }
}
