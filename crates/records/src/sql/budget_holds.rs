//! Parts of budgets that are held for something that costs once it has ended, such as a video. They are leases of a holder that is
//! no replica, has a negative number, and lives as long as what it stands for.

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::statement::{Row, sql};
use domain::{BudgetClaim, Drawn};

/// Whoever changes a lease of a budget locks its period first.
const LOCK: &str =
    "UPDATE budget_periods SET spent_nanos = spent_nanos WHERE budget = $1 AND period_unix_ms = $2";
const TAKE: &str = "UPDATE budget_leases SET held_nanos = held_nanos - $4
     WHERE budget = $1 AND period_unix_ms = $2 AND replica = $3";
const HOLD: &str = "INSERT INTO budget_leases
        (budget, period_unix_ms, replica, held_nanos, until_unix_ms, sequence, moved_nanos)
     SELECT id, $2, $3, $4, $5, 0, 0 FROM budgets WHERE id = $1 ON CONFLICT DO NOTHING";
const OF: &str = "SELECT held.budget, held.period_unix_ms, budgets.counts FROM budget_leases AS held
     JOIN budgets ON budgets.id = held.budget WHERE held.replica = $1 ORDER BY held.budget";
const FILL: &str = "UPDATE budget_leases SET held_nanos = $4
     WHERE budget = $1 AND period_unix_ms = $2 AND replica = $3 AND held_nanos = 0";
const RELEASE: &str = "DELETE FROM budget_leases WHERE replica = $1";
/// Longer than anybody looks whether it has ended.
const HELD_MS: u64 = 31 * 24 * 3_600_000;

/// What a replica has reserved of budgets, and somebody else is to hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BudgetHolds {
    pub replica: i64,
    pub parts: Vec<Drawn>,
}

/// Moves what a replica reserved to the holder. A part of nothing has its budget count what the holder costs.
pub async fn add(
    connection: &mut Connection,
    holder: i64,
    holds: BudgetHolds,
    since_unix_ms: u64,
) -> Result<(), StoreError> {
    let until = signed(since_unix_ms.saturating_add(HELD_MS));
    for part in take(connection, holds).await? {
        let (budget, period) = (part.budget.bytes(), signed(part.period_unix_ms));
        let hold = sql(HOLD).bind(budget).bind(period).bind(holder).bind(part.amount.0);
        hold.bind(until).run(connection).await?;
    }
    Ok(())
}

/// Moves more to a holder that has a part of each; where it was released meanwhile, the replica gives it up all the same.
pub async fn raise(connection: &mut Connection, holder: i64, holds: BudgetHolds) -> Result<(), StoreError> {
    for part in take(connection, holds).await? {
        let raise = sql(TAKE).bind(part.budget.bytes()).bind(signed(part.period_unix_ms)).bind(holder);
        raise.bind(-part.amount.0).run(connection).await?;
    }
    Ok(())
}

/// Has a holder of parts of nothing hold these, which no replica reserved. Another holder stays as it is.
pub async fn fill(connection: &mut Connection, holder: i64, mut parts: Vec<Drawn>) -> Result<(), StoreError> {
    parts.sort_by_key(|part| (part.budget, part.period_unix_ms));
    for part in &parts {
        let (budget, period) = (part.budget.bytes(), signed(part.period_unix_ms));
        sql(LOCK).bind(budget.clone()).bind(period).run(connection).await?;
        sql(FILL).bind(budget).bind(period).bind(holder).bind(part.amount.0).run(connection).await?;
    }
    Ok(())
}

/// The amounts that the replica gives up.
async fn take(connection: &mut Connection, holds: BudgetHolds) -> Result<Vec<Drawn>, StoreError> {
    let BudgetHolds { replica, mut parts } = holds;
    // Sorted, so that transactions that lock several periods don't deadlock.
    parts.sort_by_key(|part| (part.budget, part.period_unix_ms));
    for part in &parts {
        let (budget, period) = (part.budget.bytes(), signed(part.period_unix_ms));
        sql(LOCK).bind(budget.clone()).bind(period).run(connection).await?;
        sql(TAKE).bind(budget).bind(period).bind(replica).bind(part.amount.0).run(connection).await?;
    }
    Ok(parts)
}

/// The budgets that a holder has a part of.
pub async fn of(connection: &mut Connection, holder: i64) -> Result<Vec<BudgetClaim>, StoreError> {
    let claim = |row: &Row| {
        let fields = Fields::new("budget_leases", row);
        let word = fields.text("counts")?;
        let counts =
            word.parse().map_err(|()| StoreError::corrupt("budgets", format!("counts is {word}")))?;
        let (budget, period_unix_ms) = (fields.id("budget")?, fields.number("period_unix_ms")?);
        Ok(BudgetClaim { budget, period_unix_ms, counts })
    };
    sql(OF).bind(holder).rows(connection).await?.iter().map(claim).collect()
}

pub async fn release(connection: &mut Connection, holder: i64) -> Result<(), StoreError> {
    sql(RELEASE).bind(holder).run(connection).await.map(drop)
}
