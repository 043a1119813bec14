//! The wall clock is set while requests are running: nothing waits for it, and nothing is booked twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::Outcome;
use harness::Behaviour;
use serde_json::json;
use world::{Clock, SystemClock, World};

use crate::bench::{Bench, OWN_KEYS, Setup, on_core};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Far longer than the test, and far shorter than a jump.
const SHORT_MS: u64 = 60_000;

/// The system's clocks, with a wall clock that can be set.
#[derive(Default)]
struct SetClock {
    system: SystemClock,
    set_by_ms: AtomicI64,
}

impl Clock for SetClock {
    fn unix_ms(&self) -> u64 {
        self.system.unix_ms().saturating_add_signed(self.set_by_ms.load(Ordering::SeqCst))
    }

    fn monotonic_us(&self) -> u64 {
        self.system.monotonic_us()
    }
}

#[test]
fn a_clock_that_is_set_by_an_hour_or_a_day_changes_no_request() {
    on_core(async {
        let clock = Arc::new(SetClock::default());
        let world = World { clock: Arc::<SetClock>::clone(&clock), ..World::system() };
        let bench = Bench::start_in(world, Setup::own(&OWN_KEYS[..2])).await;
        let jumps = [HOUR_MS, -HOUR_MS, DAY_MS, -DAY_MS, -HOUR_MS, 2 * DAY_MS];
        for (number, jump) in jumps.into_iter().enumerate() {
            // A stream across the jump, and a request that fails over.
            bench.emulator.script_all([Behaviour::ok().chunks(20).interval(Duration::from_millis(5))]);
            let mut stream = bench.stream().await;
            assert_eq!(stream.status, 200);
            assert!(stream.event().await.unwrap().is_some());
            clock.set_by_ms.fetch_add(jump, Ordering::SeqCst);
            let (events, end) = stream.events().await;
            end.unwrap();
            assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "set by {jump} ms");
            bench.emulator.script_all([Behaviour::status(500), Behaviour::ok()]);
            let answer = bench.ask(json!({})).await;
            assert_eq!(answer.status, 200, "set by {jump} ms: {}", answer.text());
            bench.settled(2 * (number + 1)).await;
        }
        let records = bench.settled(2 * jumps.len()).await;
        let traces: BTreeSet<_> = records.iter().map(|record| record.trace).collect();
        assert_eq!(traces.len(), records.len(), "ids are unique");
        for record in &records {
            assert_eq!(record.outcome, Outcome::Completed, "{record:#?}");
            let took_ms = record.finished_unix_ms.checked_sub(record.started_unix_ms);
            let is_short = took_ms.is_some_and(|took| took < SHORT_MS);
            assert!(is_short, "by the clock that nobody sets: {record:#?}");
            assert!(record.timeline.settled_us < SHORT_MS * 1_000, "{record:#?}");
            for attempt in &record.attempts {
                assert!(attempt.duration_us < SHORT_MS * 1_000, "{record:#?}");
            }
        }
    });
}
