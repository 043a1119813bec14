//! `tidegate budget`: spending limits, and what is left of them.

use domain::limits::BUDGET_MICROS_MAX;

use crate::body::Body;
use crate::collection::Collection;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Adds a budget, by default for the workspace.
    Add(Box<Budget>),
    /// Lists budgets and what is left of them.
    List,
    /// Shows one budget.
    Show { id: String },
    /// Changes a budget.
    Set {
        id: String,
        /// The limit in USD, such as 25 or 0.50.
        #[arg(long, value_name = "USD", allow_negative_numbers = true)]
        limit: Option<String>,
        #[arg(long)]
        name: Option<String>,
        /// pause or allow.
        #[arg(long)]
        on_reached: Option<String>,
        /// Percentages of the limit that trigger an alert.
        #[arg(long = "alert", value_delimiter = ',')]
        alerts: Vec<u32>,
    },
    /// Removes a budget.
    Remove { id: String },
}

#[derive(Debug, clap::Args)]
pub struct Budget {
    /// The limit in USD, such as 25 or 0.50.
    #[arg(long, value_name = "USD", allow_negative_numbers = true)]
    limit: String,
    /// day, week or month (default).
    #[arg(long)]
    period: Option<String>,
    #[arg(long, group = "whose")]
    project: Option<String>,
    #[arg(long, group = "whose")]
    key: Option<String>,
    /// The end user, by the name that your application gives them.
    #[arg(long, group = "whose")]
    end_user: Option<String>,
    #[arg(long)]
    name: Option<String>,
    /// What happens when it is used up: pause (default) refuses requests, allow only counts and warns.
    #[arg(long)]
    on_reached: Option<String>,
    /// What counts towards it: all (default), including what providers bill to your own credentials, or owed, only what you owe
    /// the operator.
    #[arg(long)]
    counts: Option<String>,
    /// Percentages of the limit that trigger an alert; by default 50, 80, 100.
    #[arg(long = "alert", value_delimiter = ',')]
    alerts: Vec<u32>,
}

const PATH: &str = "/v2/budgets";

/// Parses an amount in dollars into micro-USD, without a float in between.
pub fn micros(text: &str) -> Result<u64, Failure> {
    let wrong =
        || Failure::new(output::USAGE, format!("\"{text}\" isn't an amount; write USD as 25 or 0.50"));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 6 || !is_digits(whole) || !is_digits(part) {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let part: u64 = format!("{part:0<6}").parse().map_err(|_| wrong())?;
    whole.checked_mul(1_000_000).and_then(|whole| whole.checked_add(part)).ok_or_else(wrong)
}

/// A budget's limit in micro-USD. The gateway would refuse it in its own unit, which nobody typed.
fn checked_limit(text: &str) -> Result<u64, Failure> {
    let limit = micros(text).ok().filter(|limit| (1..=BUDGET_MICROS_MAX).contains(limit));
    limit.ok_or_else(|| {
        let message = format!("\"{}\" can't be the limit of a budget.", output::printable(text));
        let max = BUDGET_MICROS_MAX / 1_000_000;
        Failure::new(output::USAGE, message).fix(format!("Give 0.000001 to {max} USD, such as 25 or 0.50."))
    })
}

/// Micro-USD, stated in dollars or, as older scripts do, as such.
pub fn micros_or(dollars: Option<&str>, exact: Option<u64>) -> Result<Option<u64>, Failure> {
    Ok(dollars.map(micros).transpose()?.or(exact))
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let budgets = Collection::connect(shared, PATH)?;
    match command {
        Command::Add(budget) => {
            let is_of_workspace =
                budget.project.is_none() && budget.key.is_none() && budget.end_user.is_none();
            let body = Body::new()
                .with("limit_micros", checked_limit(&budget.limit)?)
                .with_some("workspace", is_of_workspace.then_some(true))
                .with_some("project_id", budget.project)
                .with_some("key_id", budget.key)
                .with_some("end_user", budget.end_user)
                .with_some("period", budget.period)
                .with_some("name", budget.name)
                .with_some("on_reached", budget.on_reached)
                .with_some("counts", budget.counts)
                .with_some("alerts", Some(budget.alerts).filter(|alerts| !alerts.is_empty()));
            budgets.create(&body.build())?;
        }
        Command::List => budgets.list(
            &["id", "name", "limit_micros", "spent_micros", "free_micros", "period", "status"],
            "No budgets. `tidegate budget add --limit USD` makes one.",
        )?,
        Command::Show { id } => budgets.show(&id)?,
        Command::Set { id, limit, name, on_reached, alerts } => {
            let body = Body::new()
                .with_some("limit_micros", limit.as_deref().map(checked_limit).transpose()?)
                .with_some("name", name)
                .with_some("on_reached", on_reached)
                .with_some("alerts", Some(alerts).filter(|alerts| !alerts.is_empty()));
            budgets.change(&id, &body.build())?;
        }
        Command::Remove { id } => budgets.remove(&id)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_to_the_millionth() {
        for (text, expected) in [("25", 25_000_000), ("0.5", 500_000), ("1.000001", 1_000_001), ("0", 0)] {
            assert_eq!(micros(text).ok(), Some(expected), "{text}");
        }
        for wrong in ["", ".5", "-1", "1e3", "1.0000001", "99999999999999999999", "$5"] {
            assert!(micros(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_limit_is_in_the_range_of_budgets() {
        assert_eq!(checked_limit("0.000001").ok(), Some(1));
        assert_eq!(checked_limit("10000000").ok(), Some(BUDGET_MICROS_MAX));
        for wrong in ["0", "-5", "0.0000001", "10000000.000001", "1e30", "99999999999999999999"] {
            let failure = checked_limit(wrong).unwrap_err();
            let fix = failure.fix_text().unwrap_or_default();
            assert!(fix.contains("0.000001 to 10000000 USD"), "{wrong}: {fix}");
        }
    }
}
