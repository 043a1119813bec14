//! Colours, if the output is a terminal and they are not switched off.

use std::io::IsTerminal;

/// The meaning of a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Head,
    Good,
    Changed,
    Bad,
    Faint,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Head => "1",
            Self::Good => "32",
            Self::Changed => "33",
            Self::Bad => "31",
            Self::Faint => "2",
        }
    }
}

/// For standard output.
pub fn paint(style: Style, text: &str) -> String {
    painted(style, text, is_wanted(&|name| std::env::var(name).ok(), std::io::stdout().is_terminal()))
}

/// For standard error.
pub fn paint_error(style: Style, text: &str) -> String {
    painted(style, text, is_wanted_on_error())
}

/// Whether standard error is coloured; redirected output is not.
pub fn is_wanted_on_error() -> bool {
    is_wanted(&|name| std::env::var(name).ok(), std::io::stderr().is_terminal())
}

fn painted(style: Style, text: &str, wanted: bool) -> String {
    if wanted && !text.is_empty() {
        format!("\u{1b}[{}m{text}\u{1b}[0m", style.code())
    } else {
        text.to_owned()
    }
}

/// Follows no-color.org and bixense.com/clicolors: forced on, forced off, or on for terminals.
fn is_wanted(variable: &dyn Fn(&str) -> Option<String>, is_terminal: bool) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let is_on = |name: &str| variable(name).is_some_and(|value| !value.is_empty() && value != "0");
    if is_set("NO_COLOR") {
        return false;
    }
    if is_on("FORCE_COLOR") || is_on("CLICOLOR_FORCE") {
        return true;
    }
    is_terminal
        && variable("TERM").is_none_or(|term| term != "dumb")
        && variable("CLICOLOR").is_none_or(|on| on != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_and_for_who_wants_it() {
        for (set, terminal, expected) in [
            (vec![], true, true),
            (vec![], false, false),
            (vec![("NO_COLOR", "1")], true, false),
            (vec![("NO_COLOR", "")], true, true),
            (vec![("NO_COLOR", "1"), ("FORCE_COLOR", "1")], false, false),
            (vec![("FORCE_COLOR", "1")], false, true),
            (vec![("CLICOLOR_FORCE", "0")], false, false),
            (vec![("TERM", "dumb")], true, false),
            (vec![("CLICOLOR", "0")], true, false),
        ] {
            let variable = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(is_wanted(&variable, terminal), expected, "{set:?} {terminal}");
        }
        assert_eq!(painted(Style::Bad, "x", true), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(painted(Style::Bad, "x", false), "x");
    }
}
