//! The error that a client gets when a rate limit or budget refuses it: whose it is, the figure, when it
//! resets, how to raise it.

use domain::calendar::Civil;
use domain::{Budget, Charge, Fault, FaultClass, Nanos, OnReached, Period, Profile, Refuser, Subject};

use crate::local_budget::LocalBudget;

/// The retry delay for a client that has to wait for other requests.
const CROWDED_RETRY_MS: u64 = 1_000;
const UNKNOWN_RETRY_MS: u64 = 2_000;

static MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn whose(subject: &Subject) -> String {
    match subject {
        Subject::Workspace => "the workspace".to_owned(),
        Subject::Project(id) => format!("the project {id}"),
        Subject::Key(id) => format!("the API key {id}"),
        Subject::EndUser(name) => format!("the end user \"{name}\""),
    }
}

fn raise(subject: &Subject) -> String {
    match subject {
        Subject::Workspace => "PATCH /v2/workspaces/{id} with `limits`".to_owned(),
        Subject::Project(id) => format!("PATCH /v2/projects/{id} with `limits`"),
        Subject::Key(id) => format!("`tidegate key limits {id}`"),
        Subject::EndUser(_) => "PATCH /v2/workspaces/{id} with `end_user_limits`".to_owned(),
    }
}

pub(crate) fn limited(subject: &Subject, unit: &str, limit: u64, wait_ms: u64) -> Box<Fault> {
    let message = format!(
        "This gateway's limit for {} is {limit} {unit} a minute, and it is used up; try again in {} s.",
        whose(subject),
        wait_ms.div_ceil(1_000)
    );
    Box::new(
        Fault::new(FaultClass::Limited, "rate_limit_exceeded", message)
            .fix(format!("Send fewer, or raise it with {}.", raise(subject)))
            .retry_after_ms(wait_ms)
            .should_retry(true),
    )
}

pub(crate) fn crowded(subject: &Subject, limit: u64) -> Box<Fault> {
    let message = format!(
        "This gateway's limit for {} is {limit} requests at the same time, and so many are under way.",
        whose(subject)
    );
    Box::new(
        Fault::new(FaultClass::Limited, "rate_limit_exceeded", message)
            .fix(format!("Wait for one to end, or raise it with {}.", raise(subject)))
            .retry_after_ms(CROWDED_RETRY_MS)
            .should_retry(true),
    )
}

/// The refusal by a budget; recorded for its alert.
pub(crate) fn reached(budget: &Budget, pool: &LocalBudget, now_unix_ms: u64) -> Box<Fault> {
    pool.record_refusal();
    exhausted(budget, pool.ends_unix_ms, now_unix_ms)
}

/// The fault with which a budget would refuse a request that costs `charge` at least, with this much of the
/// budget left; nothing is taken of it, and nothing recorded.
pub fn over_budget(
    budget: &Budget,
    left: Nanos,
    profile: Profile,
    charge: &Charge,
    now_unix_ms: u64,
) -> Option<Box<Fault>> {
    let needed = budget.counts.of(profile, charge);
    if budget.on_reached == OnReached::Allow || needed <= Nanos::ZERO || needed <= left {
        return None;
    }
    Some(exhausted(budget, budget.period.end(budget.period.start(now_unix_ms)), now_unix_ms))
}

fn exhausted(budget: &Budget, ends_unix_ms: Option<u64>, now_unix_ms: u64) -> Box<Fault> {
    if budget.is_credit() {
        let message = "The workspace's credit is used up: the rest doesn't cover this request.";
        return Box::new(
            Fault::new(FaultClass::CreditsRequired, "credits_required", message)
                .fix("Ask the operator to add some: POST /v2/billing/account/credits. GET /v2/billing/account shows it.")
                .refused_by(refuser(budget))
                .should_retry(false),
        );
    }
    Box::new(stopped(budget, ends_unix_ms, now_unix_ms))
}

fn stopped(budget: &Budget, ends_unix_ms: Option<u64>, now_unix_ms: u64) -> Fault {
    let each = match budget.period {
        Period::Day => "a day",
        Period::Week => "a week",
        Period::Month => "a month",
        Period::Quarter => "a quarter",
        Period::Year => "a year",
        Period::Ever => "in all",
    };
    let resets = ends_unix_ms.map_or(String::new(), |end| {
        format!("; it resets {} (in {})", day_and_time(end), waiting(end.saturating_sub(now_unix_ms)))
    });
    let message = format!(
        "The budget \"{}\" ({}) of {} is {} {each}, and what is left does not cover this request{resets}.",
        budget.name,
        budget.id,
        whose(&budget.subject),
        budget.limit,
    );
    Fault::new(FaultClass::BudgetReached, "quota_exceeded", message)
        .fix(raise_budget(budget))
        .refused_by(refuser(budget))
        .should_retry(false)
}

fn day_and_time(unix_ms: u64) -> String {
    let civil = Civil::of(unix_ms / 1_000);
    let month = usize::try_from(civil.month).ok().and_then(|month| MONTHS.get(month.saturating_sub(1)));
    format!("{} {} {:02}:{:02} UTC", civil.day, month.unwrap_or(&"?"), civil.hour, civil.minute)
}

/// A time in its largest unit, rounded up: it is over then.
fn waiting(ms: u64) -> String {
    let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
    let (each, unit) = units.into_iter().find(|(each, _)| ms >= *each).unwrap_or((1_000, "second"));
    let count = ms.div_ceil(each);
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

fn raise_budget(budget: &Budget) -> String {
    format!("Raise it with `tidegate budget set {} --limit USD`, or ask for less output.", budget.id)
}

fn refuser(budget: &Budget) -> Refuser {
    if budget.is_credit() { Refuser::Credit(budget.id) } else { Refuser::Budget(budget.id) }
}

/// The fault recorded for a stream that was cut at a budget's end: the client sees a clean end with the
/// reason "length".
pub(crate) fn cut(budget: &Budget) -> Box<Fault> {
    let fault = if budget.is_credit() {
        let message = "The answer was cut where the workspace's credit ended.";
        Fault::new(FaultClass::CreditsRequired, "credits_required", message)
    } else {
        let message =
            format!("The answer was cut where the budget \"{}\" ({}) ended.", budget.name, budget.id);
        Fault::new(FaultClass::BudgetReached, "quota_exceeded", message).fix(raise_budget(budget))
    };
    Box::new(fault.refused_by(refuser(budget)))
}

/// Whether there is money can't be determined, which does not allow spending it.
pub(crate) fn unknown(budget: &Budget) -> Box<Fault> {
    let message = format!(
        "The budget \"{}\" ({}) can't be asked now: this gateway's share of it is used up, or too old, and it can't get another: its \
         database is away, or, where it is a data plane, its control plane.",
        budget.name, budget.id
    );
    Box::new(
        Fault::new(FaultClass::Unavailable, "budget_unavailable", message)
            .fix("Send it again in a moment. If it stays so, restore the connection to the database or the control plane.")
            .refused_by(refuser(budget))
            .retry_after_ms(UNKNOWN_RETRY_MS),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_words() {
        assert_eq!(day_and_time(1_764_547_200_000), "1 Dec 00:00 UTC");
        for (ms, shown) in
            [(500, "1 second"), (90_000, "2 minutes"), (3_600_000, "1 hour"), (259_200_000, "3 days")]
        {
            assert_eq!(waiting(ms), shown);
        }
    }
}
