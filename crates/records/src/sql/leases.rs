//! The lease centre: grants, recalls and renews leases on budgets. The ledger's state machine decides each
//! call; this code reads the state, applies the decision and writes it back, under a lock of that budget's
//! period.

use std::sync::Arc;

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed, unsigned};
use database::handle::Database;
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::limits::REPLICA_SEEN_MAX;
use domain::ports::PortFuture;
use domain::{BudgetId, Nanos};
use ledger::lease::{CentralBudget, Lease, lease_ms, skew_ms};
use ledger::local_budget::LeaseOp;
use ledger::{LeaseAnswer, LeaseCall, LeaseCentre, Renewal, SinkError};

/// How long a recall stays in effect.
const RECALL_MS: u64 = 5_000;
const NOTIFY: &str = "SELECT pg_notify('tidegate_recalls', '')";

/// Records the thresholds that a budget has crossed, each once per period.
pub(crate) const ALERT: &str = "INSERT INTO budget_alerts
        (budget, period_unix_ms, percent, workspace, crossed_unix_ms, spent_nanos, limit_nanos)
    SELECT spent.budget, spent.period_unix_ms, threshold.percent, budgets.workspace, $3, spent.spent_nanos,
        budgets.limit_nanos
    FROM budget_periods AS spent
    JOIN budgets ON budgets.id = spent.budget
    JOIN budget_thresholds AS threshold ON threshold.budget = spent.budget
    WHERE spent.budget = $1 AND spent.period_unix_ms = $2
        AND spent.spent_nanos * 100 >= budgets.limit_nanos * threshold.percent
    ON CONFLICT DO NOTHING";
const REACHED: &str = "INSERT INTO budget_alerts
        (budget, period_unix_ms, percent, workspace, crossed_unix_ms, spent_nanos, limit_nanos)
    SELECT spent.budget, spent.period_unix_ms, threshold.percent, budgets.workspace, $3, spent.spent_nanos,
        budgets.limit_nanos
    FROM budget_periods AS spent
    JOIN budgets ON budgets.id = spent.budget
    JOIN budget_thresholds AS threshold ON threshold.budget = spent.budget AND threshold.percent = 100
    WHERE spent.budget = $1 AND spent.period_unix_ms = $2
    ON CONFLICT DO NOTHING";

/// A replica's client of the centre, or a data plane's.
pub struct Leases {
    pub database: Database,
    pub replica: i64,
}

/// The clock of a SQLite database.
pub(crate) const SQLITE_NOW: &str =
    "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AS now";

/// The database's own clock, which all replicas share.
async fn now_unix_ms(connection: &mut Connection) -> Result<u64, StoreError> {
    let query = match connection {
        Connection::Postgres(_) => {
            sql("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS now")
        }
        _ => sql(SQLITE_NOW),
    };
    let row = query.one(connection).await?;
    Fields::new("now", &row).number("now")
}

async fn replicas(connection: &mut Connection, now_unix_ms: u64) -> Result<u64, StoreError> {
    let seen_ms = u64::try_from(REPLICA_SEEN_MAX.as_millis()).unwrap_or(u64::MAX);
    let query = sql("SELECT COUNT(*) AS replicas FROM replica_lives WHERE seen_unix_ms > $1");
    let row = query.bind(signed(now_unix_ms.saturating_sub(seen_ms))).one(connection).await?;
    Ok(Fields::new("replica_lives", &row).number("replicas")?.max(1))
}

/// The period's row, on PostgreSQL locked until the transaction ends.
async fn period_row(
    connection: &mut Connection,
    budget: BudgetId,
    period: u64,
) -> Result<Option<Row>, StoreError> {
    let query = match connection {
        Connection::Postgres(_) => {
            sql("SELECT budgets.limit_nanos, period.spent_nanos, period.recalled_unix_ms
             FROM budget_periods AS period JOIN budgets ON budgets.id = period.budget
             WHERE period.budget = $1 AND period.period_unix_ms = $2 FOR UPDATE OF period")
        }
        _ => sql("SELECT budgets.limit_nanos, period.spent_nanos, period.recalled_unix_ms
             FROM budget_periods AS period JOIN budgets ON budgets.id = period.budget
             WHERE period.budget = $1 AND period.period_unix_ms = $2"),
    };
    query.bind(budget.bytes()).bind(signed(period)).row(connection).await
}

/// The budget's central balance, locked until the transaction ends; `None` if the budget is gone.
async fn purse(
    connection: &mut Connection,
    budget: BudgetId,
    period: u64,
) -> Result<Option<CentralBudget>, StoreError> {
    let mut row = period_row(connection, budget, period).await?;
    if row.is_none() {
        // Only the first call of a period finds no row.
        let query = sql("INSERT INTO budget_periods (budget, period_unix_ms, spent_nanos, recalled_unix_ms)
             SELECT id, $2, 0, 0 FROM budgets WHERE id = $1 ON CONFLICT DO NOTHING");
        query.bind(budget.bytes()).bind(signed(period)).run(connection).await?;
        row = period_row(connection, budget, period).await?;
    }
    let Some(row) = row else { return Ok(None) };
    let fields = Fields::new("budget_periods", &row);
    let mut purse = CentralBudget {
        limit: fields.get("limit_nanos")?,
        spent: fields.get("spent_nanos")?,
        recalled_unix_ms: fields.number("recalled_unix_ms")?,
        ..CentralBudget::default()
    };
    let query = sql("SELECT * FROM budget_leases WHERE budget = $1 AND period_unix_ms = $2");
    for row in &query.bind(budget.bytes()).bind(signed(period)).rows(connection).await? {
        let fields = Fields::new("budget_leases", row);
        let lease = Lease {
            held: fields.get("held_nanos")?,
            until_unix_ms: fields.number("until_unix_ms")?,
            sequence: unsigned(fields.get("sequence")?),
            last_amount: fields.get("moved_nanos")?,
        };
        purse.leases.insert(fields.get("replica")?, lease);
    }
    Ok(Some(purse))
}

async fn write(
    connection: &mut Connection,
    budget: BudgetId,
    period: u64,
    replica: i64,
    purse: &CentralBudget,
) -> Result<(), StoreError> {
    let Some(lease) = purse.leases.get(&replica) else { return Ok(()) };
    let query = sql(
        "INSERT INTO budget_leases (budget, period_unix_ms, replica, held_nanos, until_unix_ms, sequence, moved_nanos)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (budget, period_unix_ms, replica) DO UPDATE SET held_nanos = excluded.held_nanos,
             until_unix_ms = excluded.until_unix_ms, sequence = excluded.sequence, moved_nanos = excluded.moved_nanos",
    );
    query
        .bind(budget.bytes())
        .bind(signed(period))
        .bind(replica)
        .bind(lease.held)
        .bind(signed(lease.until_unix_ms))
        .bind(signed(lease.sequence))
        .bind(lease.last_amount)
        .run(connection)
        .await?;
    Ok(())
}

async fn carry_out(
    writing: &mut Writing,
    replica: i64,
    calls: Vec<LeaseCall>,
) -> Result<(Vec<LeaseAnswer>, bool), StoreError> {
    let connection = writing.connection();
    let now = now_unix_ms(connection).await?;
    let replicas = replicas(connection, now).await?;
    let mut order: Vec<usize> = (0..calls.len()).collect();
    // Sorted, so that transactions that lock several periods don't deadlock.
    order.sort_by_key(|at| calls.get(*at).map(|call| (call.budget, call.period_unix_ms)));
    let mut answers = vec![LeaseAnswer::Returned { sequence: 0 }; calls.len()];
    let mut recalled = false;
    for at in order {
        let (Some(call), Some(answer)) = (calls.get(at), answers.get_mut(at)) else { continue };
        let (budget, period) = (call.budget, call.period_unix_ms);
        let mut purse = purse(connection, budget, period).await?.unwrap_or_default();
        let before = purse.clone();
        *answer = match call.call {
            LeaseOp::Ask(ask) => LeaseAnswer::Granted(purse.grant(replica, replicas, &ask, now)),
            LeaseOp::Return { sequence, amount } => {
                purse.take_back(replica, sequence, amount);
                LeaseAnswer::Returned { sequence }
            }
        };
        if purse.leases.get(&replica) != before.leases.get(&replica) {
            write(connection, budget, period, replica, &purse).await?;
        }
        if purse.recalled_unix_ms != before.recalled_unix_ms {
            recalled = true;
            let query = sql("UPDATE budget_periods SET recalled_unix_ms = $3
                 WHERE budget = $1 AND period_unix_ms = $2");
            let query = query.bind(budget.bytes()).bind(signed(period));
            query.bind(signed(purse.recalled_unix_ms)).run(connection).await?;
        }
    }
    if recalled && matches!(connection, Connection::Postgres(_)) {
        sql(NOTIFY).run(connection).await?;
    }
    Ok((answers, recalled))
}

async fn renew(writing: &mut Writing, replica: i64) -> Result<Renewal, StoreError> {
    let connection = writing.connection();
    let now = now_unix_ms(connection).await?;
    sql("INSERT INTO replica_lives (replica, seen_unix_ms) VALUES ($1, $2)
         ON CONFLICT (replica) DO UPDATE SET seen_unix_ms = excluded.seen_unix_ms")
    .bind(replica)
    .bind(signed(now))
    .run(connection)
    .await?;
    sql("UPDATE budget_leases SET until_unix_ms = $2 WHERE replica = $1 AND held_nanos <> 0")
        .bind(replica)
        .bind(signed(now + lease_ms()))
        .run(connection)
        .await?;
    sql("DELETE FROM budget_leases WHERE until_unix_ms <= $1")
        .bind(signed(now.saturating_sub(skew_ms())))
        .run(connection)
        .await?;
    let query =
        sql("SELECT budget, period_unix_ms FROM budget_leases WHERE replica = $1 AND held_nanos <> 0");
    let leases = lease_keys(&query.bind(replica).rows(connection).await?)?;
    Ok(Renewal { replicas: replicas(connection, now).await?, leases })
}

fn lease_keys(rows: &[Row]) -> Result<Vec<(BudgetId, u64)>, StoreError> {
    let key = |row| {
        let fields = Fields::new("budget_leases", row);
        Ok((fields.id("budget")?, fields.number("period_unix_ms")?))
    };
    rows.iter().map(key).collect()
}

fn sink_error(error: &StoreError) -> SinkError {
    SinkError(error.with_causes())
}

impl LeaseCentre for Leases {
    fn apply_calls(&self, calls: Vec<LeaseCall>) -> PortFuture<'_, Result<Vec<LeaseAnswer>, SinkError>> {
        let replica = self.replica;
        Box::pin(async move {
            let done = self.database.note(move |writing| Box::pin(carry_out(writing, replica, calls)));
            let (answers, recalled) = done.await.map_err(|error| sink_error(&error))?;
            // On SQLite the process that holds a lease is this one, or a data plane, which asks by itself.
            if recalled && self.database.is_sqlite() {
                self.database.notifier().recalls().notify_one();
            }
            Ok(answers)
        })
    }

    fn renew(&self) -> PortFuture<'_, Result<Renewal, SinkError>> {
        let replica = self.replica;
        Box::pin(async move {
            let done = self.database.note(move |writing| Box::pin(renew(writing, replica)));
            done.await.map_err(|error| sink_error(&error))
        })
    }

    fn release(&self) -> PortFuture<'_, Result<(), SinkError>> {
        let replica = self.replica;
        Box::pin(async move {
            let done = self.database.note(move |writing| {
                Box::pin(async move {
                    for statement in [
                        "DELETE FROM budget_leases WHERE replica = $1",
                        "DELETE FROM replica_lives WHERE replica = $1",
                    ] {
                        sql(statement).bind(replica).run(writing.connection()).await?;
                    }
                    Ok(())
                })
            });
            done.await.map_err(|error| sink_error(&error))
        })
    }

    fn recalls(&self) -> PortFuture<'_, Result<Vec<(BudgetId, u64)>, SinkError>> {
        Box::pin(async move {
            let read = async {
                let mut connection = self.database.read().await?;
                let now = now_unix_ms(&mut connection).await?;
                let query = sql("SELECT held.budget, held.period_unix_ms FROM budget_leases AS held
                     JOIN budget_periods AS period
                         ON period.budget = held.budget AND period.period_unix_ms = held.period_unix_ms
                     WHERE held.replica = $1 AND held.held_nanos > 0 AND period.recalled_unix_ms > $2");
                let query = query.bind(self.replica).bind(signed(now.saturating_sub(RECALL_MS)));
                lease_keys(&query.rows(&mut connection).await?)
            };
            read.await.map_err(|error| sink_error(&error))
        })
    }

    fn report_exhausted(
        &self,
        budget: BudgetId,
        period_unix_ms: u64,
    ) -> PortFuture<'_, Result<(), SinkError>> {
        Box::pin(async move {
            let done = self.database.note(move |writing| {
                Box::pin(async move {
                    let connection = writing.connection();
                    let now = now_unix_ms(connection).await?;
                    let query = sql(REACHED).bind(budget.bytes()).bind(signed(period_unix_ms));
                    query.bind(signed(now)).run(connection).await.map(|_| ())
                })
            });
            done.await.map_err(|error| sink_error(&error))
        })
    }

    fn await_recall(&self) -> PortFuture<'_, ()> {
        let recalls = Arc::clone(self.database.notifier().recalls());
        Box::pin(async move { recalls.notified().await })
    }
}

/// What a batch of records draws on budgets: one sum per budget and period, sorted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Draws(std::collections::BTreeMap<(BudgetId, u64), Nanos>);

impl Draws {
    pub(crate) fn add(&mut self, drawn: &[domain::Drawn]) {
        for drawn in drawn {
            let sum = self.0.entry((drawn.budget, drawn.period_unix_ms)).or_default();
            *sum = sum.plus(drawn.amount);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Vec<u8>, i64, i64)> {
        self.0.iter().map(|((budget, period), sum)| (budget.bytes(), signed(*period), sum.0))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Moves a spent amount from a lease to the budget's period.
pub(crate) const SPEND: &str =
    "INSERT INTO budget_periods (budget, period_unix_ms, spent_nanos, recalled_unix_ms)
    SELECT id, $2, $3, 0 FROM budgets WHERE id = $1
    ON CONFLICT (budget, period_unix_ms) DO UPDATE
        SET spent_nanos = budget_periods.spent_nanos + excluded.spent_nanos";
pub(crate) const UNHOLD: &str = "UPDATE budget_leases SET held_nanos = held_nanos - $3
    WHERE budget = $1 AND period_unix_ms = $2 AND replica = $4";
/// What a replica drew on a commitment without a lease, as it does where the database is silent, is its debt. What goes
/// beyond a commitment is no debt: its period is of no day.
pub(crate) const OWE: &str = "INSERT INTO budget_leases
        (budget, period_unix_ms, replica, held_nanos, until_unix_ms, sequence, moved_nanos)
    SELECT id, $2, $4, -$3, $5, 0, 0 FROM budgets
    WHERE id = $1 AND commitment IS NOT NULL AND $2 % 86400000 = 0
    ON CONFLICT DO NOTHING";
