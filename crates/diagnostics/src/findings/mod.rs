//! Findings: what a workload costs more than it must, each with its money, its requests, and the one change that mends it.

mod budgets;
mod caches;
mod models;
mod retries;
mod tails;

pub use budgets::BudgetForecast;

use crate::finding::Finding;
use crate::limits::FINDINGS_MAX;
use crate::trace::Trace;

/// All findings of these traces and budgets, those of the most money first.
pub fn findings(traces: &[Trace], budgets: &[BudgetForecast]) -> Vec<Finding> {
    let mut found = [
        caches::missed(traces),
        caches::unstable(traces),
        retries::retries(traces),
        tails::tails(traces),
        models::dear(traces),
        budgets::at_risk(budgets),
    ]
    .concat();
    found.sort_by(|one, other| {
        let rank = |finding: &Finding| {
            (std::cmp::Reverse((finding.money, finding.waited_ms, finding.requests)), finding.kind)
        };
        rank(one).cmp(&rank(other)).then_with(|| one.subject.cmp(&other.subject))
    });
    found.truncate(FINDINGS_MAX);
    found
}
