//! What a finding is, and the requests of one while they are collected.

use domain::Nanos;

use crate::limits::EXAMPLES_MAX;
use crate::trace::Trace;

domain::words! {
    /// What was found.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum FindingKind {
        /// Prompt tokens that had been sent before, and were paid for as if they were new.
        MissedCache = "missed_cache",
        /// Prompts of one caller that begin differently each time.
        UnstablePrefix = "unstable_prefix",
        /// Attempts that failed and were paid or waited for.
        Retries = "retries",
        /// Streams that stayed open long after what their tokens need.
        IdleTail = "idle_tail",
        /// A dear model for short answers to short prompts: a hint, since nobody read the answers.
        ModelSize = "model_size",
        /// A budget that will not last.
        BudgetAtRisk = "budget_at_risk",
    }
}

impl FindingKind {
    /// What its money is: of the past, or of what may come.
    pub const fn money_meaning(self) -> &'static str {
        match self {
            Self::MissedCache | Self::Retries => "spent",
            Self::UnstablePrefix | Self::ModelSize => "at_most",
            Self::IdleTail => "none",
            Self::BudgetAtRisk => "at_risk",
        }
    }
}

/// The one change that mends a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mend {
    pub sentence: String,
    /// The page of the console where it is made.
    pub page: String,
    /// The command that makes it, with what is to be filled in in capitals; `None` where no command does.
    pub command: Option<String>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: FindingKind,
    /// What it is of: a model, a credential, a budget.
    pub subject: String,
    pub sentence: String,
    pub money: Nanos,
    pub waited_ms: u64,
    pub requests: u64,
    /// Ids of some of them, the dearest first.
    pub examples: Vec<String>,
    /// The filter of `/v2/requests` that lists them; `None` for traces that are not in our books.
    pub filter: Option<String>,
    pub mend: Mend,
}

/// The requests of one finding, while they are collected.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gathered {
    pub money: Nanos,
    pub waited_ms: u64,
    pub tokens: u64,
    pub requests: Vec<(Nanos, u64, String)>,
}

impl Gathered {
    pub(crate) fn add(&mut self, trace: &Trace, money: Nanos, waited_ms: u64, tokens: u64) {
        self.money = self.money.plus(money);
        self.waited_ms = self.waited_ms.saturating_add(waited_ms);
        self.tokens = self.tokens.saturating_add(tokens);
        self.requests.push((money, waited_ms.max(tokens), trace.id.clone()));
    }

    pub(crate) fn count(&self) -> u64 {
        self.requests.len() as u64
    }

    pub(crate) fn examples(mut self) -> Vec<String> {
        self.requests.sort_by(|one, other| (other.0, other.1, &one.2).cmp(&(one.0, one.1, &other.2)));
        self.requests.truncate(EXAMPLES_MAX);
        self.requests.into_iter().map(|(_, _, id)| id).collect()
    }
}

/// A term of the filter of requests.
pub(crate) fn term(field: &str, value: &str) -> String {
    let is_plain = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || "\"*<>=".contains(c));
    if is_plain {
        return format!("{field}:{value}");
    }
    format!("{field}:\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A project, of own records alone, and what served.
pub(crate) type Place<'t> = (Option<&'t str>, &'t str);

/// Whose requests are gathered together: of own records, a project's with a model; else a target's.
pub(crate) fn place(trace: &Trace) -> Place<'_> {
    (trace.booked.as_ref().map(|booked| booked.project.as_str()), &trace.target)
}

/// The filter of a place's requests.
pub(crate) fn filter_of((project, model): Place<'_>, more: &str) -> Option<String> {
    project.map(|project| {
        format!("{} {} {more}", term("model", model), term("project", project)).trim_end().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_of_a_filter_is_quoted_where_it_must_be() {
        for (value, expected) in [
            ("openai/gpt-4o", "model:openai/gpt-4o"),
            ("my model", "model:\"my model\""),
            ("a\"b\\c", "model:\"a\\\"b\\\\c\""),
            ("", "model:\"\""),
        ] {
            assert_eq!(term("model", value), expected);
        }
        assert!(filter::Filter::parse(&term("model", "a\"b\\c *")).is_ok());
    }

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> =
            FindingKind::ALL.into_iter().map(FindingKind::as_str).collect();
        assert_eq!(names.len(), FindingKind::ALL.len());
    }
}
