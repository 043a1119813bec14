//! Whether a data plane may serve, and the source of snapshots that says so.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use domain::WorkspaceId;
use domain::ports::PortFuture;
use snapshot::{Change, Closed, DataPlaneFacts, Source, SourceError};
use tokio::sync::watch;
use world::{Clock, World};

use crate::apply::Applied;

/// Until when a data plane may serve with what it has.
pub struct Standing {
    clock: Arc<dyn Clock>,
    until_us: AtomicU64,
    is_revoked: AtomicBool,
}

impl Standing {
    pub(crate) fn new(world: &World, applied: &Applied) -> Arc<Self> {
        let standing = Self {
            clock: Arc::clone(&world.clock),
            until_us: AtomicU64::new(0),
            is_revoked: AtomicBool::new(applied.is_revoked),
        };
        standing.confirm(applied);
        Arc::new(standing)
    }

    /// Counts the life of what is applied from when it was asked for. A clock that was set back since then adds nothing to it.
    pub(crate) fn confirm(&self, applied: &Applied) {
        let (now_us, now_unix_ms) = (self.clock.monotonic_us(), self.clock.unix_ms());
        let passed_ms = now_unix_ms.saturating_sub(applied.requested_unix_ms);
        let left_ms = applied.version.map_or(0, |_| applied.life_ms.saturating_sub(passed_ms));
        self.until_us.store(now_us.saturating_add(left_ms.saturating_mul(1_000)), Ordering::Release);
        self.is_revoked.store(applied.is_revoked, Ordering::Release);
    }

    /// Why nothing may be served now.
    pub fn closed(&self) -> Option<Closed> {
        if self.is_revoked.load(Ordering::Acquire) {
            return Some(Closed::Revoked);
        }
        let is_over = self.clock.monotonic_us() >= self.until_us.load(Ordering::Acquire);
        is_over.then_some(Closed::Expired)
    }

    /// The milliseconds that are left of its configuration's life.
    pub fn left_ms(&self) -> u64 {
        self.until_us.load(Ordering::Acquire).saturating_sub(self.clock.monotonic_us()) / 1_000
    }
}

domain::brief_debug!(Standing, |it| closed = it.closed());

/// The standings of all workspaces that a data plane has joined.
#[derive(Debug)]
pub struct Standings {
    /// The address of its control plane.
    pub control: String,
    pub by_workspace: Vec<(WorkspaceId, Arc<Standing>)>,
}

impl Standings {
    /// As they are now.
    pub fn facts(&self) -> Arc<DataPlaneFacts> {
        let closed =
            |(workspace, standing): &(WorkspaceId, Arc<Standing>)| Some((*workspace, standing.closed()?));
        let closed = self.by_workspace.iter().filter_map(closed).collect();
        Arc::new(DataPlaneFacts { control: self.control.clone(), closed })
    }
}

/// The store's configuration, with the workspaces that the data plane may not serve with it.
pub struct ClosingSource {
    inner: Arc<dyn Source>,
    standings: Arc<Standings>,
    /// As they were given last: the hot path reads them from the snapshot, and looks at no clock.
    given: Mutex<Option<Arc<DataPlaneFacts>>>,
}

impl ClosingSource {
    pub fn new(inner: Arc<dyn Source>, standings: Arc<Standings>) -> Arc<Self> {
        Arc::new(Self { inner, standings, given: Mutex::default() })
    }

    /// Gives a change, with the standings now.
    fn give(&self, change: Change, facts: Arc<DataPlaneFacts>) -> Change {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&facts));
        Change { plane: Some(facts), ..change }
    }

    fn is_news(&self, facts: &DataPlaneFacts) -> bool {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.as_deref() != Some(facts)
    }
}

impl Source for ClosingSource {
    fn load(&self) -> PortFuture<'_, Result<Change, SourceError>> {
        Box::pin(async move {
            let facts = self.standings.facts();
            Ok(self.give(self.inner.load().await?, facts))
        })
    }

    fn changes_since(&self, version: u64) -> PortFuture<'_, Result<Change, SourceError>> {
        Box::pin(async move {
            let facts = self.standings.facts();
            match self.inner.changes_since(version).await {
                Ok(change) => Ok(self.give(change, facts)),
                // While the database is away, nothing is served beyond its configuration's life.
                Err(_) if self.is_news(&facts) => {
                    Ok(self.give(Change { version, ..Change::default() }, facts))
                }
                Err(error) => Err(error),
            }
        })
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_over_after_its_life_whatever_the_clock_says() {
        let clock = Arc::new(world::ManualClock::at(1_000_000));
        let world = World { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..World::system() };
        let nothing = Standing::new(&world, &Applied::default());
        assert_eq!(nothing.closed(), Some(Closed::Expired));
        let requested_unix_ms = world.clock.unix_ms() - 400;
        let applied = Applied { version: Some(1), requested_unix_ms, life_ms: 1_000, ..Applied::default() };
        let standing = Standing::new(&world, &applied);
        assert_eq!((standing.closed(), standing.left_ms()), (None, 600));
        clock.advance_us(599_000);
        assert_eq!(standing.closed(), None);
        clock.advance_us(1_000);
        assert_eq!(standing.closed(), Some(Closed::Expired));
        // The clock was set back by a day: the life is not longer for it.
        let later = Applied { requested_unix_ms: requested_unix_ms + 86_400_000, ..applied };
        standing.confirm(&later);
        assert_eq!((standing.closed(), standing.left_ms()), (None, 1_000));
        standing.confirm(&Applied { is_revoked: true, ..later });
        assert_eq!(standing.closed(), Some(Closed::Revoked));
    }

    /// Its hours are counted by the clock that nobody sets, however often the other one is.
    #[test]
    fn a_day_has_its_hours_while_the_clock_is_set() {
        const HOUR_MS: u64 = 3_600_000;
        let clock = Arc::new(world::ManualClock::at(1_000 * HOUR_MS));
        let world = World { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..World::system() };
        let requested_unix_ms = clock.unix_ms();
        let applied =
            Applied { version: Some(1), requested_unix_ms, life_ms: 24 * HOUR_MS, ..Applied::default() };
        let standing = Standing::new(&world, &applied);
        for hour in 0..24 {
            assert_eq!((standing.closed(), standing.left_ms()), (None, (24 - hour) * HOUR_MS));
            clock.set_unix_ms(if hour % 2 == 0 { HOUR_MS } else { 9_000 * HOUR_MS });
            clock.advance_us(HOUR_MS * 1_000);
        }
        assert_eq!((standing.closed(), standing.left_ms()), (Some(Closed::Expired), 0));
        // A process that starts then, with the clock as it should be, has nothing left either.
        clock.set_unix_ms(requested_unix_ms + 24 * HOUR_MS);
        assert_eq!(Standing::new(&world, &applied).closed(), Some(Closed::Expired));
        // Where the clock was set back over the restart, it has a life at most, and one that ends.
        clock.set_unix_ms(HOUR_MS);
        let again = Standing::new(&world, &applied);
        assert_eq!((again.closed(), again.left_ms()), (None, 24 * HOUR_MS));
        clock.advance_us(24 * HOUR_MS * 1_000);
        assert_eq!(again.closed(), Some(Closed::Expired));
    }
}
