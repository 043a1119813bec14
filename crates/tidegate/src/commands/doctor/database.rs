//! The checks of `tidegate doctor` on a PostgreSQL database.

use store::Address;
use store::inspect::{CONNECTIONS_OF_A_GATEWAY, Inspection, SERVER_MAJOR_MIN};

use super::Check;
use crate::limits::CLOCK_APART_MS_MAX;

const NAME: &str = "database";
const WEEK_MS: u64 = 7 * 86_400_000;

pub fn check_database(address: &Address, now_unix_ms: u64, keep_days: Option<u64>, checks: &mut Vec<Check>) {
    let inspected = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map(|runtime| runtime.block_on(store::inspect(address)));
    match inspected {
        Ok(Ok(inspection)) => judge(address, &inspection, now_unix_ms, keep_days, checks),
        Ok(Err(error)) => checks.push(Check::error(
            NAME,
            format!("{address} can't be asked: {}", with_cause(&error)),
            "Start the server, or correct TIDEGATE_DATABASE_URL. Gateways that run go on serving meanwhile.",
        )),
        Err(error) => checks.push(Check::error(NAME, error.to_string(), "Run doctor again.")),
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn judge(
    address: &Address,
    found: &Inspection,
    now_unix_ms: u64,
    keep_days: Option<u64>,
    checks: &mut Vec<Check>,
) {
    let mib = found.size_bytes / (1024 * 1024);
    checks.push(Check::fine(
        NAME,
        format!("{address} answers within {} ms and holds {mib} MiB", found.round_trip_ms),
    ));
    checks.push(version(found));
    checks.push(schema(found));
    checks.push(clock(found));
    checks.push(connections(found));
    checks.push(notices(found));
    checks.push(partitions(found, now_unix_ms, keep_days));
}

fn version(found: &Inspection) -> Check {
    let detail = format!("PostgreSQL {}", found.server_version);
    if found.server_major >= SERVER_MAJOR_MIN {
        return Check::fine("database version", detail);
    }
    let fix = format!("Upgrade the server to {SERVER_MAJOR_MIN} or newer.");
    Check::error("database version", detail, fix)
}

fn schema(found: &Inspection) -> Check {
    const NAME: &str = "database schema";
    let Inspection { schema, schema_known, schema_ahead, .. } = found;
    match (*schema, *schema_ahead) {
        (0, _) => Check::warning(
            NAME,
            "holds nothing of Tidegate's yet",
            "`tidegate init` or `tidegate serve` founds it.",
        ),
        (_, 0) if schema == schema_known => Check::fine(NAME, format!("{schema}, as this version brings it")),
        (_, 0) => Check::warning(
            NAME,
            format!("{schema}; this version brings {schema_known}"),
            "The next gateway of this version to start brings it up to date; others serve on meanwhile.",
        ),
        (_, 1) => Check::warning(
            NAME,
            format!("{schema} is one migration newer than this version, which knows {schema_known}"),
            "Finish the upgrade: start the newer version here too.",
        ),
        (_, ahead) => Check::error(
            NAME,
            format!("{schema} is {ahead} migrations newer than this version, which knows {schema_known}"),
            "Start the newer version; this one refuses.",
        ),
    }
}

fn clock(found: &Inspection) -> Check {
    let apart = found.clock_ahead_ms.unsigned_abs().saturating_sub(found.round_trip_ms);
    let side = if found.clock_ahead_ms < 0 { "behind" } else { "ahead of" };
    let detail = format!("{} ms {side} this machine's", found.clock_ahead_ms.unsigned_abs());
    if apart <= CLOCK_APART_MS_MAX {
        return Check::fine("database clock", detail);
    }
    Check::error("database clock", detail, "Let both follow the same time servers (NTP).")
}

fn connections(found: &Inspection) -> Check {
    let Inspection { connections, connections_max, .. } = found;
    let detail = format!(
        "{connections} of {connections_max} in use; a gateway takes up to {CONNECTIONS_OF_A_GATEWAY}"
    );
    if connections + CONNECTIONS_OF_A_GATEWAY <= *connections_max {
        return Check::fine("database connections", detail);
    }
    Check::warning("database connections", detail, "Raise max_connections, or end what else is connected.")
}

fn notices(found: &Inspection) -> Check {
    match found.heard_after {
        Some(after) => Check::fine("database notices", format!("heard after {} ms", after.as_millis())),
        None => Check::warning(
            "database notices",
            "LISTEN hears nothing: changes of other gateways are only found by asking, within a second",
            "Connect to the server itself; a pooler that shares connections between transactions swallows notices.",
        ),
    }
}

fn partitions(found: &Inspection, now_unix_ms: u64, keep_days: Option<u64>) -> Check {
    const NAME: &str = "database partitions";
    let this_week = now_unix_ms / WEEK_MS;
    let detail = format!("{} weeks of records", found.weeks);
    if found.weeks > 0 && found.week_newest > this_week + 1 {
        return Check::error(
            NAME,
            format!("{detail}, the newest {} weeks from now", found.week_newest - this_week),
            "A gateway's clock is or was far ahead: correct it. What it wrote is kept under that time.",
        );
    }
    // The upkeep task runs every hour and deletes whole weeks.
    let oldest_kept = keep_days.map(|days| (now_unix_ms / 86_400_000).saturating_sub(days + 1) / 7);
    match oldest_kept.filter(|oldest| found.weeks > 0 && found.week_oldest < *oldest) {
        Some(oldest) => Check::warning(
            NAME,
            format!("{detail}, {} of them older than records.keep_days", oldest - found.week_oldest),
            "A running gateway drops them within the hour; its log says what hinders it.",
        ),
        None => Check::fine(NAME, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Level;

    const NOW: u64 = 3_000 * WEEK_MS + 1;

    fn healthy() -> Inspection {
        Inspection {
            server_version: "17.2".into(),
            server_major: 17,
            schema: 8,
            schema_known: 8,
            schema_ahead: 0,
            clock_ahead_ms: -20,
            round_trip_ms: 3,
            connections: 5,
            connections_max: 100,
            heard_after: Some(std::time::Duration::from_millis(1)),
            size_bytes: 50 << 20,
            weeks: 3,
            week_oldest: 2_998,
            week_newest: 3_000,
        }
    }

    fn levels(found: &Inspection, keep_days: Option<u64>) -> Vec<Level> {
        let mut checks = Vec::new();
        let address = "postgres://u:secret@h/d".parse().unwrap();
        judge(&address, found, NOW, keep_days, &mut checks);
        assert!(checks.iter().all(|check| !check.found.contains("secret")));
        assert!(checks.iter().all(|check| (check.level == Level::Fine) == check.fix.is_empty()));
        checks.iter().map(|check| check.level).collect()
    }

    #[test]
    fn each_trouble_is_told_by_its_check() {
        use Level::{Error, Fine, Warning};
        assert_eq!(levels(&healthy(), Some(20)), [Fine; 7]);
        let cases: [(usize, Level, Inspection, Option<u64>); 9] = [
            (1, Error, Inspection { server_major: 12, ..healthy() }, None),
            (2, Warning, Inspection { schema: 0, ..healthy() }, None),
            (2, Warning, Inspection { schema: 2, ..healthy() }, None),
            (2, Warning, Inspection { schema: 9, schema_ahead: 1, ..healthy() }, None),
            (2, Error, Inspection { schema: 10, schema_ahead: 2, ..healthy() }, None),
            (3, Error, Inspection { clock_ahead_ms: 2_000, ..healthy() }, None),
            (4, Warning, Inspection { connections: 95, ..healthy() }, None),
            (5, Warning, Inspection { heard_after: None, ..healthy() }, None),
            (6, Error, Inspection { week_newest: 3_002, ..healthy() }, None),
        ];
        for (index, level, found, keep_days) in cases {
            let mut expected = [Fine; 7];
            expected[index] = level;
            assert_eq!(levels(&found, keep_days), expected, "{found:?}");
        }
        assert_eq!(levels(&healthy(), Some(3))[6], Warning, "a week is too old");
    }
}
