//! A statement with its parameters, and the rows it returns, the same for either database.

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column as _, Decode, PgConnection, Postgres, Row as _, SqlSafeStr as _, SqlStr, Sqlite,
    SqliteConnection, Type,
};

use crate::connection::{Connection, within};
use crate::error::{StoreError, database};

/// A statement whose parameters are `$1`, `$2` and so on, which both databases understand.
pub const fn sql(text: &'static str) -> Statement {
    Statement { text: SqlStr::from_static(text), values: Vec::new() }
}

/// A statement compose of names in this program; no value is part of its text.
pub fn compose(text: String) -> Statement {
    Statement { text: AssertSqlSafe(text).into_sql_str(), values: Vec::new() }
}

pub struct Statement {
    text: SqlStr,
    values: Vec<Value>,
}

/// A parameter's value; `None` is NULL.
pub enum Value {
    Number(Option<i64>),
    /// An array on PostgreSQL, JSON on SQLite.
    Numbers(Vec<i64>),
    /// An array on PostgreSQL, JSON of hexadecimal strings on SQLite.
    Digests(Vec<[u8; 32]>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

macro_rules! values {
    ($($from:ty as $kind:ident: $value:ident => $made:expr),* $(,)?) => {
        $(impl From<$from> for Value {
            fn from($value: $from) -> Self {
                Self::$kind($made)
            }
        })*
    };
}

values!(
    i64 as Number: value => Some(value),
    Option<i64> as Number: value => value,
    Vec<i64> as Numbers: value => value,
    Vec<[u8; 32]> as Digests: value => value,
    String as Text: value => Some(value),
    &String as Text: value => Some(value.clone()),
    &str as Text: value => Some(value.to_owned()),
    Option<String> as Text: value => value,
    &Option<String> as Text: value => value.clone(),
    Option<&String> as Text: value => value.cloned(),
    Option<&str> as Text: value => value.map(str::to_owned),
    Vec<u8> as Bytes: value => Some(value),
    &Vec<u8> as Bytes: value => Some(value.clone()),
    &[u8] as Bytes: value => Some(value.to_vec()),
    Option<Vec<u8>> as Bytes: value => value,
    Option<&Vec<u8>> as Bytes: value => value.cloned(),
);

impl Statement {
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Executes it; returns the number of affected rows.
    pub async fn run(self, connection: &mut Connection) -> Result<u64, StoreError> {
        match connection {
            Connection::Sqlite(held) => {
                self.sqlite().execute(held.raw()).await.map(|done| done.rows_affected()).map_err(database)
            }
            Connection::Postgres(held) => {
                let query = self.postgres();
                let done = within(async { query.execute(held.raw()).await.map_err(database) }).await;
                held.settle(done).map(|done| done.rows_affected())
            }
        }
    }

    pub async fn rows(self, connection: &mut Connection) -> Result<Vec<Row>, StoreError> {
        let of_sqlite = |rows: Vec<SqliteRow>| rows.into_iter().map(Row::Sqlite).collect();
        match connection {
            Connection::Sqlite(held) => {
                self.sqlite().fetch_all(held.raw()).await.map(of_sqlite).map_err(database)
            }
            Connection::Postgres(held) => {
                let query = self.postgres();
                let rows = within(async { query.fetch_all(held.raw()).await.map_err(database) }).await;
                held.settle(rows).map(|rows| rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// The first row, if there is one.
    pub async fn row(self, connection: &mut Connection) -> Result<Option<Row>, StoreError> {
        self.rows(connection).await.map(|rows| rows.into_iter().next())
    }

    /// The row of a statement that always returns one.
    pub async fn one(self, connection: &mut Connection) -> Result<Row, StoreError> {
        let row = self.row(connection).await?;
        row.ok_or(StoreError::Unavailable(sqlx::Error::RowNotFound))
    }

    /// Executes it within a transaction of SQLite that its caller holds.
    pub async fn run_on_sqlite(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        self.sqlite().execute(connection).await.map(|_| ()).map_err(database)
    }

    /// Executes it within a transaction of PostgreSQL that its caller holds.
    pub async fn run_on_postgres(self, connection: &mut PgConnection) -> Result<(), StoreError> {
        self.postgres().execute(connection).await.map(|_| ()).map_err(database)
    }

    fn sqlite(self) -> Query<'static, Sqlite, SqliteArguments> {
        self.values.into_iter().fold(sqlx::query(self.text), |query, value| match value {
            Value::Number(number) => query.bind(number),
            Value::Numbers(numbers) => query.bind(format!("{numbers:?}")),
            Value::Digests(digests) => query.bind(json_of(&digests)),
            Value::Text(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }

    fn postgres(self) -> Query<'static, Postgres, PgArguments> {
        self.values.into_iter().fold(sqlx::query(self.text), |query, value| match value {
            Value::Number(number) => query.bind(number),
            Value::Numbers(numbers) => query.bind(numbers),
            Value::Digests(digests) => query.bind(digests),
            Value::Text(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }
}

fn json_of(digests: &[[u8; 32]]) -> String {
    let hex = |digest: &[u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let texts: Vec<_> = digests.iter().map(hex).collect();
    // Rust's debug form of a list of hexadecimal strings is valid JSON.
    format!("{texts:?}")
}

/// A row of either database.
pub enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A column's name and its value, if not NULL.
pub type Cell = (String, Option<Vec<u8>>);

/// A column is a number, a text or bytes; a number is rendered as text.
macro_rules! cells {
    ($row:expr) => {
        $row.columns()
            .iter()
            .map(|column| {
                let at = column.ordinal();
                let number =
                    $row.try_get::<Option<i64>, _>(at).map(|n| n.map(|n| n.to_string().into_bytes()));
                let text = || $row.try_get::<Option<String>, _>(at).map(|text| text.map(String::into_bytes));
                let value = number.or_else(|_| text()).or_else(|_| $row.try_get::<Option<Vec<u8>>, _>(at))?;
                Ok((column.name().to_owned(), value))
            })
            .collect::<Result<Vec<_>, sqlx::Error>>()
    };
}

/// The same, with each value as what it is; NULL is a value without a type.
macro_rules! values_of {
    ($row:expr) => {
        $row.columns()
            .iter()
            .map(|column| {
                let at = column.ordinal();
                let number = $row.try_get::<Option<i64>, _>(at).map(|number| number.map(Value::from));
                let text = || $row.try_get::<Option<String>, _>(at).map(|text| text.map(Value::from));
                let bytes = || $row.try_get::<Option<Vec<u8>>, _>(at).map(|bytes| bytes.map(Value::from));
                Ok((column.name().to_owned(), number.or_else(|_| text()).or_else(|_| bytes())?))
            })
            .collect::<Result<Vec<_>, sqlx::Error>>()
    };
}

impl Row {
    /// Every column with its value, if not NULL.
    pub fn values(&self) -> Result<Vec<(String, Option<Value>)>, StoreError> {
        let values = match self {
            Self::Sqlite(row) => values_of!(row),
            Self::Postgres(row) => values_of!(row),
        };
        values.map_err(|error| StoreError::corrupt("row", error))
    }

    /// Every column with its value, sorted by name.
    pub fn cells(&self) -> Result<Vec<Cell>, StoreError> {
        let cells = match self {
            Self::Sqlite(row) => cells!(row),
            Self::Postgres(row) => cells!(row),
        };
        let mut cells = cells.map_err(|error| StoreError::corrupt("row", error))?;
        cells.sort();
        Ok(cells)
    }
}

/// A type that a column of either database can be read as.
pub trait Column<'r>: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres> {}

impl<'r, T> Column<'r> for T where T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>
{}

/// A row whose columns are found by name.
pub trait Columns {
    fn column<'r, T: Column<'r>>(&'r self, name: &'static str) -> Result<T, sqlx::Error>;
}

impl Columns for SqliteRow {
    fn column<'r, T: Column<'r>>(&'r self, name: &'static str) -> Result<T, sqlx::Error> {
        self.try_get(name)
    }
}

impl Columns for PgRow {
    fn column<'r, T: Column<'r>>(&'r self, name: &'static str) -> Result<T, sqlx::Error> {
        self.try_get(name)
    }
}

impl Columns for Row {
    fn column<'r, T: Column<'r>>(&'r self, name: &'static str) -> Result<T, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(name),
            Self::Postgres(row) => row.try_get(name),
        }
    }
}
