//! What changes from day to day in the tests: what they draw by chance, and whose turn it is where not everything is tried in each run. The
//! same day (UTC) is the same run, and any other can be named.

use time::OffsetDateTime;

use crate::setting::number;

/// What chance is drawn from: `TIDEGATE_SEED`, or the date as a number, such as 20261130. Printed, so that a failure says how it is met again.
#[must_use]
pub fn seed() -> u64 {
    let seed = number("TIDEGATE_SEED").unwrap_or_else(|| {
        let (year, month, day) = OffsetDateTime::now_utc().to_calendar_date();
        (u64::try_from(year).unwrap_or(0) * 100 + u64::from(u8::from(month))) * 100 + u64::from(day)
    });
    println!("TIDEGATE_SEED={seed}");
    seed
}

/// Whose turn it is: `TIDEGATE_TURN`, or the number of the day. Who takes every n-th, from this modulo n on, has had all after n days. Printed,
/// so that a failure says how it is met again.
#[must_use]
pub fn turn() -> usize {
    let turn = number("TIDEGATE_TURN")
        .unwrap_or_else(|| usize::try_from(OffsetDateTime::now_utc().unix_timestamp() / 86_400).unwrap_or(0));
    println!("TIDEGATE_TURN={turn}");
    turn
}
