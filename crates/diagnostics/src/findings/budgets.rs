//! Budgets that are used up before their period ends, if it goes on as in the last seven days.

use domain::Nanos;
use domain::forecast::Progress;

use crate::finding::{Finding, FindingKind, Mend};

/// A budget in its present period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetForecast {
    pub id: String,
    pub name: String,
    pub progress: Progress,
    /// The filter of the requests that it counts, if one finds them.
    pub filter: Option<String>,
}

/// What would be spent beyond each.
pub(super) fn at_risk(budgets: &[BudgetForecast]) -> Vec<Finding> {
    budgets.iter().filter_map(finding).collect()
}

fn finding(budget: &BudgetForecast) -> Option<Finding> {
    let forecast = budget.progress.forecast();
    let beyond = forecast.by_last_days.0.saturating_sub(budget.progress.amount.0);
    if beyond <= 0 {
        return None;
    }
    let state =
        if budget.progress.used >= budget.progress.amount { "is used up" } else { "will be used up early" };
    Some(Finding {
        kind: FindingKind::BudgetAtRisk,
        subject: budget.id.clone(),
        sentence: format!(
            "The budget \"{}\" {state}: {} of {} micro-USD are used, and at the rate of the last seven days it would be {}.",
            budget.name,
            budget.progress.used.micros(),
            budget.progress.amount.micros(),
            forecast.by_last_days.micros()
        ),
        money: Nanos(beyond),
        waited_ms: 0,
        requests: 0,
        examples: Vec::new(),
        filter: budget.filter.clone(),
        mend: Mend {
            sentence: "Raise it, or lower what is spent by the findings above it.".to_owned(),
            page: "/budgets".to_owned(),
            command: Some(format!("tidegate budget set {} --limit USD", budget.id)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    #[test]
    fn a_budget_that_will_not_last_is_found() {
        let budget = |used: i64, lately: i64| BudgetForecast {
            id: "bdg_1".into(),
            name: "team".into(),
            progress: Progress {
                amount: Nanos(1_000_000),
                used: Nanos(used),
                used_lately: Nanos(lately),
                start_unix_ms: 0,
                end_unix_ms: 30 * DAY_MS,
                now_unix_ms: 20 * DAY_MS,
            },
            filter: None,
        };
        let found = at_risk(&[budget(800_000, 350_000), budget(100_000, 35_000), budget(1_200_000, 0)]);
        // Ten days more at 50,000 a day.
        let money: Vec<_> = found.iter().map(|finding| finding.money).collect();
        assert_eq!(money, [Nanos(300_000), Nanos(200_000)]);
        assert!(
            found[0].sentence.contains("will be used up early") && found[1].sentence.contains("is used up")
        );
    }
}
