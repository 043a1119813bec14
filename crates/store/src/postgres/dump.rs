//! A dump of every table in Tidegate's own format, for where `pg_dump` is missing: one consistent snapshot of
//! a database, and its restore into an empty one.
//!
//! The schema is not included: migrations create it, and a restore applies the same ones. A file is a
//! sequence of length-prefixed parts: a header; then for each table a title, its rows in binary COPY format,
//! and an empty part; and at the end the values of the sequences.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use database::address::Address;
use database::error::{StoreError, database, unavailable};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

use crate::limits::DUMP_PART_BYTES_MAX;
use crate::postgres::migrations;

const FORMAT: u32 = 1;

const ONE_MOMENT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
const TABLES: &str = "SELECT relname::TEXT FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition \
    AND relnamespace = current_schema()::regnamespace AND relname <> '_sqlx_migrations' ORDER BY relname";
const NEEDS: &str = "SELECT DISTINCT of_row.relname::TEXT, of_key.relname::TEXT FROM pg_constraint \
    JOIN pg_class AS of_row ON of_row.oid = conrelid JOIN pg_class AS of_key ON of_key.oid = confrelid \
    WHERE contype = 'f' AND connamespace = current_schema()::regnamespace AND conrelid <> confrelid";
const COLUMNS: &str = "SELECT attname::TEXT FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 \
    AND NOT attisdropped AND attgenerated = '' ORDER BY attnum";
const PARTITIONS: &str = "SELECT relname::TEXT FROM pg_class WHERE relispartition AND relkind = 'r' \
    AND relnamespace = current_schema()::regnamespace ORDER BY relname";
const COUNTERS: &str = "SELECT table_name::TEXT, column_name::TEXT, \
    pg_sequence_last_value(pg_get_serial_sequence(quote_ident(table_name), column_name)::regclass) \
    FROM information_schema.columns WHERE is_identity = 'YES' AND table_schema = current_schema() ORDER BY 1, 2";
const HELD: &str = "SELECT COUNT(*) FROM pg_class WHERE relkind IN ('r', 'p') \
    AND relnamespace = current_schema()::regnamespace";
const SET_COUNTER: &str = "SELECT setval(pg_get_serial_sequence(quote_ident($1), $2), $3)";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    migrations: Vec<i64>,
    partitions: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum Title {
    Table { name: String, columns: Vec<String> },
    End { tables: usize, counters: Vec<(String, String, Option<i64>)> },
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quote_list(names: &[String]) -> String {
    names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ")
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    options.connect().await.map_err(unavailable)
}

/// Writes every row of one snapshot, while others write.
pub(crate) async fn dump(address: &Address, to: &Path) -> Result<(), StoreError> {
    let mut connection = connect(&address.for_migrations()).await?;
    let mut parts = Writer::begin(to)?;
    connection.execute(ONE_MOMENT).await.map_err(database)?;
    let migrations = migrations::applied(&mut connection).await?;
    let partitions = names(&mut connection, PARTITIONS).await?;
    parts.json(&Head { format: FORMAT, migrations, partitions })?;
    let tables = in_order(&mut connection).await?;
    for table in &tables {
        write_table(&mut connection, table, &mut parts).await?;
    }
    // Sequences are not part of the snapshot: read last, their values are past every dumped row.
    let counters = sqlx::query_as(COUNTERS).fetch_all(&mut connection).await.map_err(database)?;
    parts.json(&Title::End { tables: tables.len(), counters })?;
    connection.execute("COMMIT").await.map_err(database)?;
    connection.close().await.map_err(unavailable)?;
    parts.finish()
}

async fn names(connection: &mut PgConnection, question: &'static str) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar(question).fetch_all(connection).await.map_err(database)
}

/// Every table after those that its foreign keys reference.
async fn in_order(connection: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    let mut left = names(connection, TABLES).await?;
    let needs: Vec<(String, String)> = sqlx::query_as(NEEDS).fetch_all(connection).await.map_err(database)?;
    let mut ordered: Vec<String> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let lacks = |table: &String| needs.iter().any(|(of, key)| of == table && !ordered.contains(key));
        let (later, next): (Vec<_>, Vec<_>) = left.into_iter().partition(lacks);
        if next.is_empty() {
            return Err(StoreError::corrupt("pg_constraint", "tables depend on each other in a circle"));
        }
        ordered.extend(next);
        left = later;
    }
    Ok(ordered)
}

async fn write_table(
    connection: &mut PgConnection,
    table: &str,
    parts: &mut Writer,
) -> Result<(), StoreError> {
    let query = sqlx::query_scalar(COLUMNS).bind(quote(table));
    let columns: Vec<String> = query.fetch_all(&mut *connection).await.map_err(database)?;
    // A SELECT, since a partitioned table can't be copied by its own name.
    let rows =
        format!("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)", quote_list(&columns), quote(table));
    parts.json(&Title::Table { name: table.to_owned(), columns })?;
    let mut rows = connection.copy_out_raw(&rows).await.map_err(database)?;
    while let Some(some) = rows.next().await {
        parts.add(&some.map_err(database)?)?;
    }
    parts.add(&[])
}

/// Restores into an empty database, in one transaction.
pub(crate) async fn bring_back(address: &Address, from: &Path) -> Result<(), StoreError> {
    let mut parts = Reader::begin(from)?;
    let head: Head = parts.json()?;
    if head.format != FORMAT {
        return Err(StoreError::corrupt("dump", format!("its format is {}", head.format)));
    }
    let mut connection = connect(&address.for_migrations()).await?;
    let held: i64 = sqlx::query_scalar(HELD).fetch_one(&mut connection).await.map_err(database)?;
    if held > 0 {
        return Err(StoreError::NotEmpty { database: address.to_string() });
    }
    // Rolls back if it is dropped before the commit.
    let mut whole = connection.begin().await.map_err(unavailable)?;
    migrations::make(&mut whole, &head.migrations).await?;
    let tables = names(&mut whole, TABLES).await?;
    run(&mut whole, format!("TRUNCATE {}", quote_list(&tables))).await?;
    for table in &tables {
        // Their effects are in the dumped rows already.
        run(&mut whole, format!("ALTER TABLE {} DISABLE TRIGGER USER", quote(table))).await?;
    }
    for partition in &head.partitions {
        make_partition(&mut whole, partition).await?;
    }
    let counters = read_tables(&mut whole, &mut parts, &tables).await?;
    for (table, column, reached) in counters {
        let Some(reached) = reached else { continue };
        let query = sqlx::query(SET_COUNTER).bind(table).bind(column).bind(reached);
        query.execute(&mut *whole).await.map_err(database)?;
    }
    for table in &tables {
        run(&mut whole, format!("ALTER TABLE {} ENABLE TRIGGER USER", quote(table))).await?;
    }
    run(&mut whole, "ANALYZE".to_owned()).await?;
    whole.commit().await.map_err(|_| StoreError::Uncertain)?;
    connection.close().await.map_err(unavailable)
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), StoreError> {
    connection.execute(AssertSqlSafe(statement)).await.map_err(database).map(|_| ())
}

async fn make_partition(connection: &mut PgConnection, name: &str) -> Result<(), StoreError> {
    let unknown = || StoreError::corrupt("dump", format!("it has the partition {name}"));
    let (table, week) = name.rsplit_once("_week_").ok_or_else(unknown)?;
    let week: i64 = week.parse().map_err(|_| unknown())?;
    let makes = match table {
        "records" => "SELECT make_record_partition($1)",
        "meter_records" => "SELECT make_meter_partition($1)",
        _ => return Err(unknown()),
    };
    sqlx::query(makes).bind(week).execute(connection).await.map_err(database).map(|_| ())
}

/// Restores every table's rows; returns the values of the sequences.
async fn read_tables(
    connection: &mut PgConnection,
    parts: &mut Reader,
    tables: &[String],
) -> Result<Vec<(String, String, Option<i64>)>, StoreError> {
    let mut read = Vec::new();
    loop {
        let (name, columns) = match parts.json()? {
            Title::Table { name, columns } => (name, columns),
            Title::End { tables: written, counters } if written == read.len() && written == tables.len() => {
                return Ok(counters);
            }
            Title::End { .. } => return Err(StoreError::corrupt("dump", "it lacks a table")),
        };
        if !tables.contains(&name) || read.contains(&name) {
            return Err(StoreError::corrupt("dump", format!("it has the table {name}")));
        }
        let statement =
            format!("COPY {} ({}) FROM STDIN (FORMAT binary)", quote(&name), quote_list(&columns));
        let mut copy = connection.copy_in_raw(&statement).await.map_err(database)?;
        loop {
            let some = parts.next()?;
            if some.is_empty() {
                break;
            }
            copy.send(some).await.map_err(database)?;
        }
        copy.finish().await.map_err(database)?;
        read.push(name);
    }
}

struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Writer {
    fn begin(path: &Path) -> Result<Self, StoreError> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = made.map_err(|source| StoreError::Disk { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    fn add(&mut self, part: &[u8]) -> Result<(), StoreError> {
        let length =
            u32::try_from(part.len()).map_err(|_| StoreError::corrupt("dump", "a row is too long"))?;
        let written = self.file.write_all(&length.to_be_bytes()).and_then(|()| self.file.write_all(part));
        written.map_err(|source| StoreError::Disk { path: self.path.clone(), source })
    }

    fn json(&mut self, part: &impl Serialize) -> Result<(), StoreError> {
        let text = serde_json::to_vec(part).map_err(|error| StoreError::corrupt("dump", error))?;
        self.add(&text)
    }

    fn finish(self) -> Result<(), StoreError> {
        let Self { path, file } = self;
        let whole = file.into_inner().map_err(std::io::IntoInnerError::into_error);
        whole.and_then(|file| file.sync_all()).map_err(|source| StoreError::Disk { path, source })
    }
}

struct Reader {
    path: PathBuf,
    file: BufReader<File>,
}

impl Reader {
    fn begin(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|source| StoreError::Disk { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file: BufReader::new(file) })
    }

    fn next(&mut self) -> Result<Vec<u8>, StoreError> {
        let mut length = [0; 4];
        let result = self.file.read_exact(&mut length);
        result.map_err(|source| StoreError::Disk { path: self.path.clone(), source })?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > DUMP_PART_BYTES_MAX {
            return Err(StoreError::corrupt("dump", "a part is too long"));
        }
        let mut part = vec![0; length];
        let read = self.file.read_exact(&mut part);
        read.map_err(|source| StoreError::Disk { path: self.path.clone(), source })?;
        Ok(part)
    }

    fn json<T: DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        let part = self.next()?;
        serde_json::from_slice(&part).map_err(|error| StoreError::corrupt("dump", error))
    }
}
