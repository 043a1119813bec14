//! How long a statement waits, how much is queued, and what a dump may contain.

use std::time::Duration;

/// How long SQLite waits for another process's lock, such as that of a backup.
pub(crate) const SQLITE_BUSY_TIME_MAX: Duration = Duration::from_secs(10);
/// How long an operation waits for a connection to SQLite; as long as one may wait for the lock.
pub(crate) const SQLITE_CONNECTION_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long an operation waits for a connection to PostgreSQL before it fails.
pub(crate) const POSTGRES_CONNECTION_WAIT_MAX: Duration = Duration::from_secs(3);

/// Migrations that a schema may be ahead of the binary. In a rolling upgrade, replicas of the previous
/// version keep serving, and restart, on the newer schema, so a migration must not change what they use. A
/// count of migrations, not of version numbers, which have gaps.
pub(crate) const MIGRATIONS_AHEAD_MAX: i64 = 1;
/// One part of a dump: far longer than a row with the longest answer stored under an idempotency key.
pub(crate) const DUMP_PART_BYTES_MAX: usize = 1 << 30;

/// Keys of a member that are named to the person who removes them.
pub(crate) const KEYS_NAMED_MAX: usize = 10;
/// Objects at providers that are named to whoever deletes what they are charged to.
pub(crate) const UNBOOKED_NAMED_MAX: usize = 10;
/// People of one address who may sign in by password: each costs one hash comparison.
pub(crate) const PEOPLE_OF_ADDRESS_MAX: i64 = 8;
