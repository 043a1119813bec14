//! The drainer's sink on SQLite: applies settled records from the journal, each exactly once.
//!
//! Records, their sums and the journal's position are written in one transaction. The drainer continues after
//! the last acknowledged position, so a batch that follows the position this process wrote last has no
//! duplicates and needs no check. Every possible repetition is checked trace by trace: recovery of an epoch
//! of which something was applied before, a batch after a commit whose reply was lost, a batch that is not
//! ahead of the position, and requests of batches, which are made again under their ids after a crash.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use database::error::{StoreError, database};
use database::fields::Fields;
use domain::ports::PortFuture;
use ledger::lease::lease_ms;
use ledger::{DrainBatch, JournalPosition, RecordSink, SettledBatch, SinkError};
use sqlx::SqliteConnection;

use crate::audit_notes;
use crate::batch::Prepared;
use crate::groups::{Group, Groups, NewGroups};
use crate::packed::{Packed, Packing};
use crate::sql::leases::{ALERT, Draws, OWE, SPEND, SQLITE_NOW, UNHOLD};
use crate::sqlite::{SqliteRecords, batches, usage};

const TABLE: &str = "journal_positions";
/// More than the cores of any process, whose numbers are of 32 bits.
const CORES_OF_REPLICA: i64 = 1 << 32;

/// This process's state of the journals that it drains.
#[derive(Default)]
pub(crate) struct Draining {
    followed: Mutex<HashMap<i64, Followed>>,
    pub(crate) groups: Groups,
}

/// A core's epoch of which nothing was applied when this process first saw it: all that is applied came
/// through here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Followed {
    epoch: u64,
    /// The position after the last acknowledged commit.
    upto: Option<JournalPosition>,
}

impl Draining {
    fn of_epoch(&self, core: i64, epoch: u64) -> Option<Followed> {
        self.lock().get(&core).copied().filter(|followed| followed.epoch == epoch)
    }

    fn begins(&self, core: i64, epoch: u64) {
        self.lock().insert(core, Followed { epoch, upto: None });
    }

    fn applied(&self, core: i64, upto: JournalPosition) {
        if let Some(followed) = self.lock().get_mut(&core).filter(|followed| followed.epoch == upto.epoch) {
            followed.upto = Some(upto);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecordSink for SqliteRecords {
    fn apply<'a>(&'a self, batch: DrainBatch) -> PortFuture<'a, Result<(), SinkError>> {
        Box::pin(async move { take(self, batch).await.map_err(|error| SinkError(error.with_causes())) })
    }

    fn position<'a>(&'a self, core: u32) -> PortFuture<'a, Result<Option<JournalPosition>, SinkError>> {
        Box::pin(async move {
            let mut reader =
                self.readers().acquire().await.map_err(|error| SinkError(database(error).with_causes()))?;
            position(&mut reader, core_of(self.replica, core))
                .await
                .map_err(|error| SinkError(error.with_causes()))
        })
    }
}

/// The number under which the positions of a replica's core are kept: data planes are numbered beside this process.
fn core_of(replica: i64, core: u32) -> i64 {
    replica.saturating_mul(CORES_OF_REPLICA).saturating_add(i64::from(core))
}

async fn take(store: &SqliteRecords, batch: DrainBatch) -> Result<(), StoreError> {
    let (replica, core) = (store.replica, core_of(store.replica, batch.core));
    let mut prepared = Prepared::of(&batch.records, |_| true)?;
    let remarks = std::mem::take(&mut prepared.remarks);
    let draining = Arc::clone(&store.draining);
    let written =
        store.write(move |connection| Box::pin(apply(connection, draining, (replica, batch), prepared)));
    let (upto, new_groups, settled) = written.await?;
    store.settled.add(settled);
    store.draining.applied(core, upto);
    store.draining.groups.remember(new_groups);
    audit_notes::write(&store.database, &store.notes, remarks).await;
    Ok(())
}

/// Writes a batch; returns the stored position, the groups that this process did not know, and the sums of the new records.
async fn apply(
    connection: &mut SqliteConnection,
    draining: Arc<Draining>,
    (replica, batch): (i64, DrainBatch),
    mut prepared: Prepared,
) -> Result<(JournalPosition, NewGroups, SettledBatch), StoreError> {
    let core = core_of(replica, batch.core);
    let kept = position(connection, core).await?;
    let follows = follows(connection, &draining, (core, batch.upto), kept).await?;
    if !follows || prepared.may_repeat {
        let mut known = batches::known(connection, &batch.records).await?;
        prepared = Prepared::of(&batch.records, |trace| known.insert(trace))?;
    }
    let (groups, new_groups) = usage::groups(connection, &draining.groups, &prepared.tallies).await?;
    for row in pack(&prepared, &groups)? {
        batches::add(connection, row).await?;
    }
    usage::add(connection, &groups, &prepared.tallies).await?;
    spend(connection, &prepared.draws, batch.is_leased().then_some(replica)).await?;
    for statement in prepared.sums() {
        statement.run_on_sqlite(connection).await?;
    }
    prepared.end_user_days.write_to_sqlite(connection, replica).await?;
    let upto = kept.filter(|kept| is_ahead(*kept, batch.upto)).unwrap_or(batch.upto);
    set_position(connection, core, upto).await?;
    Ok((upto, new_groups, prepared.settled))
}

fn pack(prepared: &Prepared, groups: &[Arc<Group>]) -> Result<Vec<Packed>, StoreError> {
    // Delta encoding leaves about a third of a record.
    let mut packing = Packing::of(prepared.len(), prepared.bytes() / 3);
    for (row, tail) in prepared.rows() {
        let group = groups.get(row.tally).ok_or_else(|| StoreError::corrupt(TABLE, "a group is missing"))?;
        packing.add(row.named, group.number, &group.template.difference(tail))?;
    }
    Ok(packing.into_rows())
}

/// Moves what was drawn on budgets to the spent amounts, from the leases of the replica if it had leased it.
async fn spend(
    connection: &mut SqliteConnection,
    draws: &Draws,
    replica: Option<i64>,
) -> Result<(), StoreError> {
    if draws.is_empty() {
        return Ok(());
    }
    let now = sqlx::query_scalar::<_, i64>(SQLITE_NOW);
    let now = now.fetch_one(&mut *connection).await.map_err(database)?;
    for (budget, period, amount) in draws.iter() {
        let query = sqlx::query(SPEND).bind(&budget).bind(period).bind(amount);
        query.execute(&mut *connection).await.map_err(database)?;
        if let Some(replica) = replica {
            let query = sqlx::query(UNHOLD).bind(&budget).bind(period).bind(amount).bind(replica);
            let unheld = query.execute(&mut *connection).await.map_err(database)?;
            if unheld.rows_affected() == 0 {
                let until = now.saturating_add_unsigned(lease_ms());
                let query =
                    sqlx::query(OWE).bind(&budget).bind(period).bind(amount).bind(replica).bind(until);
                query.execute(&mut *connection).await.map_err(database)?;
            }
        }
        let query = sqlx::query(ALERT).bind(&budget).bind(period).bind(now);
        query.execute(&mut *connection).await.map_err(database)?;
    }
    Ok(())
}

/// Whether nothing of this batch can have been applied before.
async fn follows(
    connection: &mut SqliteConnection,
    draining: &Draining,
    (core, at): (i64, JournalPosition),
    kept: Option<JournalPosition>,
) -> Result<bool, StoreError> {
    let epoch = at.epoch;
    let followed = draining.of_epoch(core, epoch);
    if let Some(upto) = followed.and_then(|followed| followed.upto) {
        return Ok(kept == Some(upto) && is_ahead(at, upto));
    }
    let query = sqlx::query("INSERT OR IGNORE INTO journal_epochs (core, epoch) VALUES (?1, ?2)");
    let query = query.bind(core).bind(epoch.cast_signed());
    let is_first = query.execute(connection).await.map_err(database)?.rows_affected() > 0;
    if is_first && followed.is_none() {
        draining.begins(core, epoch);
    }
    Ok(is_first)
}

/// Whether `one` is later than `other` in the same epoch of the journal.
fn is_ahead(one: JournalPosition, other: JournalPosition) -> bool {
    one.epoch == other.epoch && (one.segment, one.offset) > (other.segment, other.offset)
}

async fn set_position(
    connection: &mut SqliteConnection,
    core: i64,
    upto: JournalPosition,
) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO journal_positions (core, epoch, segment, position) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (core) DO UPDATE SET epoch = ?2, segment = ?3, position = ?4",
    );
    query
        .bind(core)
        .bind(upto.epoch.cast_signed())
        .bind(upto.segment.cast_signed())
        .bind(upto.offset.cast_signed())
        .execute(connection)
        .await
        .map_err(database)?;
    Ok(())
}

async fn position(
    connection: &mut SqliteConnection,
    core: i64,
) -> Result<Option<JournalPosition>, StoreError> {
    let query = sqlx::query("SELECT epoch, segment, position FROM journal_positions WHERE core = ?1");
    let row = query.bind(core).fetch_optional(connection).await.map_err(database)?;
    let Some(row) = row else { return Ok(None) };
    let fields = Fields::new(TABLE, &row);
    Ok(Some(JournalPosition {
        epoch: fields.get::<i64>("epoch")?.cast_unsigned(),
        segment: fields.get::<i64>("segment")?.cast_unsigned(),
        offset: fields.get::<i64>("position")?.cast_unsigned(),
    }))
}
