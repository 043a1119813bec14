//! Module names in `adapter_config.json`: matched by suffix, or by a Python regular expression.

use fancy_regex::{Regex, RegexBuilder};

use crate::limits::{BACKTRACKS_MAX, EXPRESSION_BYTES_MAX, EXPRESSION_SIZE_MAX};

/// `target_modules` or `exclude_modules`.
#[derive(Debug)]
pub(super) enum Names {
    /// `all-linear`: every matrix except the head.
    All,
    Ends(Vec<String>),
    Expression(Regex),
}

/// A key of `rank_pattern` or `alpha_pattern`. Most are plain names, and are matched by suffix instead of as
/// expressions.
#[derive(Debug)]
pub(super) enum Key {
    End(String),
    Expression(Regex),
}

fn ends(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn expression(text: &str, wrapped: &str) -> Result<Regex, String> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(format!(
            "has an expression of {} bytes, and at most {EXPRESSION_BYTES_MAX} are allowed",
            text.len()
        ));
    }
    RegexBuilder::new(wrapped)
        .backtrack_limit(BACKTRACKS_MAX)
        .delegate_size_limit(EXPRESSION_SIZE_MAX)
        .build()
        .map_err(|error| format!("has an expression that can't be read: {error}"))
}

fn matches(expression: &Regex, name: &str) -> Result<bool, String> {
    expression.is_match(name).map_err(|error| format!("has an expression that can't be evaluated: {error}"))
}

impl Names {
    pub(super) fn expression(text: &str) -> Result<Self, String> {
        expression(text, &format!("^(?:{text})$")).map(Self::Expression)
    }

    /// Whether the full name of a module is listed.
    pub(super) fn name(&self, name: &str) -> bool {
        matches!(self, Self::Ends(all) if all.iter().any(|end| end == name))
    }

    pub(super) fn mean(&self, name: &str) -> Result<bool, String> {
        match self {
            Self::All => Ok(true),
            Self::Ends(all) => Ok(all.iter().any(|end| ends(name, end))),
            Self::Expression(expression) => matches(expression, name),
        }
    }
}

impl Key {
    pub(super) fn is_plain(text: &str) -> bool {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
    }

    pub(super) fn new(text: &str) -> Result<Self, String> {
        if Self::is_plain(text) {
            return Ok(Self::End(text.to_owned()));
        }
        expression(text, &format!("^(?:.*\\.)?(?:{text})$")).map(Self::Expression)
    }

    pub(super) fn means(&self, name: &str) -> Result<bool, String> {
        match self {
            Self::End(end) => Ok(ends(name, end)),
            Self::Expression(expression) => matches(expression, name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "model.layers.11.self_attn.q_proj";

    #[test]
    fn names_end_where_a_part_begins() {
        for (end, wanted) in
            [("q_proj", true), ("self_attn.q_proj", true), (NAME, true), ("proj", false), ("v_proj", false)]
        {
            assert_eq!(Names::Ends(vec![end.to_owned()]).mean(NAME), Ok(wanted), "{end}");
            assert_eq!(Key::new(end).unwrap().means(NAME), Ok(wanted), "{end}");
        }
    }

    #[test]
    fn expressions_are_of_the_whole_name_and_those_of_patterns_of_its_end() {
        for (text, of_all, of_end) in [
            (r".*\.(q|v)_proj", true, true),
            (r"(q|v)_proj", false, true),
            (r"^model\.layers\.1[0-9]\..*", true, true),
            (r"model\.layers\.(?!11\.)\d+\..*", false, false),
            (r"layers\.11\.self_attn", false, false),
        ] {
            assert_eq!(Names::expression(text).unwrap().mean(NAME), Ok(of_all), "{text}");
            assert_eq!(Key::new(text).unwrap().means(NAME), Ok(of_end), "{text}");
        }
    }

    #[test]
    fn what_leads_nowhere_ends() {
        assert!(Names::expression("(q_proj").is_err());
        assert!(Names::expression(&"a".repeat(5_000)).is_err());
        assert!(Names::expression(r"(?:\w{1000}){1000}").is_err());
        let hopeless = Names::expression(r"(?=.)((?:\w|\.)+)+\1!").unwrap();
        assert!(hopeless.mean(NAME).is_err());
    }
}
