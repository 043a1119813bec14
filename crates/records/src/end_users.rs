//! What the requests on behalf of each end user used and cost: a sum for each day, written in the transaction of the records
//! that it sums, so that each record is in it once. End users are too many to be a dimension of the sums by the minute.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use database::error::{StoreError, database};
use database::fields::{ColumnId, Fields, signed};
use database::handle::Database;
use database::statement::{Columns, Row, sql};
use domain::{EndUserId, MeterRecord, Nanos, WorkspaceId};
use sqlx::{PgConnection, SqliteConnection};

use crate::limits::USAGE_ROWS_MAX;
use crate::tally::{Tally, spend, sums_of};
use crate::usage::{Dimension, Interval, UsageQuery, UsageRow};

const TABLE: &str = "end_user_days";
const DAY_MS: u64 = Interval::Day.ms();
const ROWS_AT_ONCE: usize = 1_000;

const FIND: &str = "SELECT tally, spend_nanos FROM end_user_days \
    WHERE workspace = ?1 AND end_user = ?2 AND day = ?3 AND replica = ?4";
const PUT: &str = "INSERT INTO end_user_days (workspace, end_user, day, replica, tally, spend_nanos) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
     ON CONFLICT (workspace, end_user, day, replica) DO UPDATE SET tally = excluded.tally, spend_nanos = excluded.spend_nanos";
const FIND_ALL: &str = "SELECT kept.workspace, kept.end_user, kept.day, kept.tally, kept.spend_nanos \
    FROM end_user_days AS kept JOIN UNNEST($2::BYTEA[], $3::BYTEA[], $4::BIGINT[]) AS wanted (workspace, end_user, day) \
    USING (workspace, end_user, day) WHERE kept.replica = $1";
const PUT_ALL: &str = "INSERT INTO end_user_days (replica, workspace, end_user, day, tally, spend_nanos) \
    SELECT $1, * FROM UNNEST($2::BYTEA[], $3::BYTEA[], $4::BIGINT[], $5::BYTEA[], $6::BIGINT[]) \
    ON CONFLICT (workspace, end_user, day, replica) DO UPDATE SET tally = excluded.tally, spend_nanos = excluded.spend_nanos";
const ROWS: &str = "SELECT end_user, day, replica, tally, spend_nanos FROM end_user_days \
    WHERE workspace = $1 AND day >= $2 AND day < $3 AND (end_user, day, replica) > ($4, $5, $6) \
    ORDER BY end_user, day, replica LIMIT $7";

/// Whose sum it is, and the day since 1970.
type Key = (WorkspaceId, EndUserId, u64);

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Sum {
    tally: Tally,
    /// What the workspace pays, which depends on who served each request.
    spend: Nanos,
}

impl Sum {
    fn read(row: &Fields<'_, impl Columns>) -> Result<Self, StoreError> {
        Ok(Self { tally: Tally::decode(row.get("tally")?)?, spend: Nanos(row.get("spend_nanos")?) })
    }

    fn plus(&mut self, other: &Self) {
        self.tally.plus(&other.tally);
        self.spend = self.spend.plus(other.spend);
    }
}

/// What some records add to the sums of their end users, sorted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct EndUserDays(BTreeMap<Key, Sum>);

impl EndUserDays {
    /// Adds a record, if its request named an end user.
    pub(crate) fn add<Text>(&mut self, record: &MeterRecord<Text>) {
        let Some(end_user) = record.extras.end_user else { return };
        let key = (record.workspace, end_user, record.started_unix_ms / DAY_MS);
        let sum = self.0.entry(key).or_default();
        sum.tally.count(record);
        sum.spend = sum.spend.plus(spend(record.profile(), &sums_of(record)));
    }

    pub(crate) async fn write_to_sqlite(
        self,
        connection: &mut SqliteConnection,
        replica: i64,
    ) -> Result<(), StoreError> {
        for ((workspace, end_user, day), mut sum) in self.0 {
            let of = |query| sqlx::query(query).bind(workspace.bytes()).bind(end_user.bytes());
            let query = of(FIND).bind(signed(day)).bind(replica);
            if let Some(row) = query.fetch_optional(&mut *connection).await.map_err(database)? {
                sum.plus(&Sum::read(&Fields::new(TABLE, &row))?);
            }
            let query = of(PUT).bind(signed(day)).bind(replica).bind(sum.tally.encode()?).bind(sum.spend.0);
            query.execute(&mut *connection).await.map_err(database)?;
        }
        Ok(())
    }

    /// In two statements, however many end users there are.
    pub(crate) async fn write_to_postgres(
        mut self,
        connection: &mut PgConnection,
        replica: i64,
    ) -> Result<(), StoreError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let (mut workspaces, mut end_users, mut days) = (Vec::new(), Vec::new(), Vec::new());
        for (workspace, end_user, day) in self.0.keys() {
            workspaces.push(workspace.bytes());
            end_users.push(end_user.bytes());
            days.push(signed(*day));
        }
        let of = |query| sqlx::query(query).bind(replica).bind(&workspaces).bind(&end_users).bind(&days);
        for row in &of(FIND_ALL).fetch_all(&mut *connection).await.map_err(database)? {
            let fields = Fields::new(TABLE, row);
            let key = (fields.id("workspace")?, fields.id("end_user")?, fields.number("day")?);
            if let Some(sum) = self.0.get_mut(&key) {
                sum.plus(&Sum::read(&fields)?);
            }
        }
        let tallies: Vec<Vec<u8>> =
            self.0.values().map(|sum| sum.tally.encode()).collect::<Result<_, _>>()?;
        let spends: Vec<i64> = self.0.values().map(|sum| sum.spend.0).collect();
        of(PUT_ALL).bind(tallies).bind(spends).execute(&mut *connection).await.map_err(database)?;
        Ok(())
    }
}

/// Whether a query is answered by the sums of days here.
pub(crate) fn is_by_end_user(query: &UsageQuery) -> bool {
    query.group_by.contains(&Dimension::EndUser)
}

/// The sums of the whole days that the window touches, those who spent most first.
pub(crate) async fn usage(database: &Database, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
    let (first, end) = (query.window.start_unix_ms / DAY_MS, query.window.end_unix_ms.div_ceil(DAY_MS));
    let by_day = query.interval == Some(Interval::Day);
    let mut reading = database.moment_in_order().await?;
    let mut found = Ranking::default();
    let mut after = (Vec::new(), i64::MIN, i64::MIN);
    loop {
        let page = sql(ROWS).bind(query.workspace.bytes()).bind(signed(first)).bind(signed(end));
        let page = page.bind(after.0.clone()).bind(after.1).bind(after.2);
        let rows = page.bind(signed(ROWS_AT_ONCE as u64)).rows(&mut reading).await?;
        for row in &rows {
            let (end_user, day, sum) = read(row)?;
            found.add((end_user, by_day.then_some(day)), &sum);
        }
        let Some(last) = rows.last().filter(|_| rows.len() == ROWS_AT_ONCE) else { break };
        let last = Fields::new(TABLE, last);
        after = (last.id::<EndUserId>("end_user")?.bytes(), last.get("day")?, last.get("replica")?);
    }
    reading.roll_back().await;
    Ok(found.into_rows())
}

/// Whether any request ever named this end user.
pub(crate) async fn is_known(
    database: &Database,
    workspace: WorkspaceId,
    end_user: EndUserId,
) -> Result<bool, StoreError> {
    let query = sql("SELECT day FROM end_user_days WHERE workspace = $1 AND end_user = $2 LIMIT 1");
    let query = query.bind(workspace.bytes()).bind(end_user.bytes());
    Ok(query.row(&mut database.read().await?).await?.is_some())
}

fn read(row: &Row) -> Result<(EndUserId, u64, Sum), StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok((fields.id("end_user")?, fields.number("day")?, Sum::read(&fields)?))
}

/// The end user of a row, and its day where rows are by the day.
type RowKey = (EndUserId, Option<u64>);

/// The rows with the highest spend, of sums that come ordered by their key.
#[derive(Default)]
struct Ranking {
    open: Option<(RowKey, Sum)>,
    rows: Vec<UsageRow>,
}

impl Ranking {
    fn add(&mut self, key: RowKey, sum: &Sum) {
        match &mut self.open {
            Some((open, total)) if *open == key => total.plus(sum),
            _ => {
                self.close();
                self.open = Some((key, sum.clone()));
            }
        }
    }

    fn close(&mut self) {
        let Some(((end_user, day), Sum { tally, spend })) = self.open.take() else { return };
        let tally = tally.with_known_reuse();
        self.rows.push(UsageRow {
            bucket_unix_ms: day.map(|day| day.saturating_mul(DAY_MS)),
            groups: vec![(Dimension::EndUser, Some(end_user.to_string()))],
            spend,
            latency: tally.latency(),
            first_byte: tally.first_byte(),
            sums: tally.sums,
        });
        if self.rows.len() as u64 >= 2 * USAGE_ROWS_MAX {
            self.cut();
        }
    }

    fn cut(&mut self) {
        // A stable sort: among equals the order of the keys stays.
        self.rows.sort_by_key(|row| (row.bucket_unix_ms, Reverse((row.spend, row.sums.requests))));
        self.rows.truncate(usize::try_from(USAGE_ROWS_MAX).unwrap_or(usize::MAX));
    }

    fn into_rows(mut self) -> Vec<UsageRow> {
        self.close();
        self.cut();
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(requests: u64, spend: i64) -> Sum {
        let mut tally = Tally::default();
        tally.sums.requests = requests;
        Sum { tally, spend: Nanos(spend) }
    }

    fn user(number: u128) -> EndUserId {
        EndUserId::of_hash(number)
    }

    #[test]
    fn sums_of_a_user_are_one_row_and_the_highest_spend_comes_first() {
        let mut ranking = Ranking::default();
        for (key, sum) in [(1, sum(2, 5)), (2, sum(1, 9)), (2, sum(1, 1)), (3, sum(7, 5))] {
            ranking.add((user(key), None), &sum);
        }
        let rows = ranking.into_rows();
        let shown: Vec<_> = rows.iter().map(|row| (row.spend.0, row.sums.requests)).collect();
        assert_eq!(shown, [(10, 2), (5, 7), (5, 2)]);
        assert_eq!(rows[0].groups, [(Dimension::EndUser, Some(user(2).to_string()))]);
    }

    #[test]
    fn rows_by_the_day_stand_day_after_day() {
        let mut ranking = Ranking::default();
        for (key, day, spend) in [(1, 4, 1), (1, 5, 9), (2, 4, 2)] {
            ranking.add((user(key), Some(day)), &sum(1, spend));
        }
        let rows = ranking.into_rows();
        let shown: Vec<_> = rows.iter().map(|row| (row.bucket_unix_ms, row.spend.0)).collect();
        assert_eq!(shown, [(Some(4 * DAY_MS), 2), (Some(4 * DAY_MS), 1), (Some(5 * DAY_MS), 9)]);
    }
}
