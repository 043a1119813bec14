//! The store's errors, distinguished so that the caller knows whose fault it is and whether to retry.

use std::path::PathBuf;

use domain::ports::{PortFuture, PurgeError};

/// The return type of every store method.
pub type StoreFuture<'a, T> = PortFuture<'a, Result<T, StoreError>>;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such object in this workspace; an object of another workspace gives the same error.
    #[error("no such {what}")]
    NotFound { what: &'static str },
    /// Conflicts with another object.
    #[error("{what}: {detail}")]
    Conflict {
        /// A stable code, for example `name_taken` or `route_scope_taken`.
        what: &'static str,
        detail: String,
        /// The id of the conflicting object.
        existing: Option<String>,
    },
    /// The object is at another version than the caller expected.
    #[error("the {what} is at version {current}, not at the expected one")]
    Precondition { what: &'static str, current: u64 },
    /// The database can't be reached or is too busy; the same call may succeed later. The cause is in the
    /// message, not in `source`, so that a log line with only the message shows it too.
    #[error("the database is unavailable: {0}")]
    Unavailable(sqlx::Error),
    /// The disk under the database is full or failing, and nothing was written. The same call may succeed
    /// once that is fixed.
    #[error("the disk under the database takes no write: {0}")]
    DiskRefuses(sqlx::Error),
    /// The commit was sent and its reply was lost: the write may or may not be there.
    #[error("whether the write was kept is not known; read before writing again")]
    Uncertain,
    /// A row can't be decoded.
    #[error("a row of {table} can't be read: {detail}")]
    Corrupt { table: &'static str, detail: String },
    #[error(
        "the database {database} was written by a newer Tidegate (schema {found}, this one knows {known}); start that \
         version, or restore a backup that was made before the upgrade"
    )]
    Newer { database: String, found: i64, known: i64 },
    #[error("{path} exists already; nothing was changed")]
    AlreadyMade { path: PathBuf },
    #[error("there is no database at {path}; `tidegate init` makes one")]
    NotMade { path: PathBuf },
    #[error(
        "the making of {path} was interrupted, so it is not complete and can't be used; it holds nothing of value \
         yet: remove the directory and run `tidegate init` again"
    )]
    HalfMade { path: PathBuf },
    #[error("the database {database} is Tidegate's already; nothing was changed")]
    AlreadyFounded { database: String },
    #[error(
        "the database {database} holds nothing of Tidegate's yet; `tidegate init` or `tidegate serve` founds it"
    )]
    NotFounded { database: String },
    #[error("the database {database} is not empty: a backup is restored into an empty one")]
    NotEmpty { database: String },
    #[error(
        "its schema is {found}, and this Tidegate makes those up to {known}: restore it with the version that its \
         manifest names"
    )]
    OtherSchema { found: i64, known: i64 },
    #[error("it must be like postgres://user:password@host:5432/database")]
    Address,
    #[error("{path} is not empty and holds no Tidegate data; choose an empty directory")]
    Foreign { path: PathBuf },
    #[error("{path}: {}", refusal(.source))]
    Disk {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the schema could not be brought up to date")]
    Migration(#[source] sqlx::migrate::MigrateError),
}

/// Why a directory or file can't be used: not every refusal is the disk's.
fn refusal(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "permission denied",
        std::io::ErrorKind::NotADirectory => "isn't a directory",
        _ => "the disk refused",
    }
}

impl From<StoreError> for PurgeError {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

impl StoreError {
    pub fn conflict(what: &'static str, detail: impl Into<String>, existing: Option<String>) -> Self {
        Self::Conflict { what, detail: detail.into(), existing }
    }

    pub fn corrupt(table: &'static str, detail: impl std::fmt::Display) -> Self {
        Self::Corrupt { table, detail: detail.to_string() }
    }

    /// Whether the same call may succeed later without any change by the caller.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::DiskRefuses(_) | Self::Uncertain)
    }

    /// The whole chain of causes, for a caller that stores only a string.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }
}

/// The database can't be reached, or its disk takes no write.
pub fn unavailable(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(db_error) if is_of_the_disk(db_error.code().as_deref()) => {
            StoreError::DiskRefuses(error)
        }
        _ => StoreError::Unavailable(error),
    }
}

/// SQLite's codes for a full disk, a failed write, and shared memory that could not grow; PostgreSQL's for a
/// full disk.
fn is_of_the_disk(code: Option<&str>) -> bool {
    matches!(code, Some("13" | "778" | "4874" | "53100"))
}

/// PostgreSQL's code for a NUL in a text.
const NUL_IN_TEXT: &str = "22021";

/// Classifies a statement's error: a mistake of the caller, or a failure of the database.
pub fn database(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(db_error) if db_error.is_unique_violation() => {
            StoreError::conflict("already_exists", "an object with this id or name exists already", None)
        }
        sqlx::Error::Database(db_error) if db_error.is_foreign_key_violation() => StoreError::conflict(
            "referenced",
            "another object refers to this one, or what it refers to is gone",
            None,
        ),
        sqlx::Error::Database(db_error) if db_error.code().as_deref() == Some(NUL_IN_TEXT) => {
            StoreError::conflict(
                "text_has_nul",
                "a text holds the character U+0000, which can't be kept",
                None,
            )
        }
        _ => unavailable(error),
    }
}
