//! Requests in flight on one serving thread, by workspace, and whose are more than their fair share.
//!
//! Only a thread that is pressed refuses any: one that is behind, or has as many in flight as it may have. Its bound,
//! or what it has, is then split evenly among the workspaces that sent something lately.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use domain::{IdMap, WorkspaceId};

/// A workspace that was silent for longer than one to two of these has no share.
const WINDOW_US: u64 = 10_000_000;
/// A workspace may always have this many in flight: so few don't hold a thread up.
const BEHIND_SHARE_MIN: u32 = 4;

/// What is in flight on one thread. Plain cells: only that thread counts.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// The thread is pressed from here on; zero: only while it is behind.
    max: u32,
    total: Cell<u32>,
    refusals: Cell<u64>,
    /// Workspaces with something in flight.
    busy: Cell<u32>,
    window: Cell<u64>,
    /// Workspaces that sent something in the last whole window and not in this one, and those that did in this one.
    seen: Cell<(u32, u32)>,
    workspaces: RefCell<IdMap<WorkspaceId, Rc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    in_flight: Cell<u32>,
    /// The last window in which its workspace sent something; zero: none yet.
    window: Cell<u64>,
}

/// Counts one request as in flight until it is dropped, when the response has ended.
#[derive(Debug)]
pub(crate) struct Permit {
    in_flight: Rc<InFlight>,
    slot: Rc<Slot>,
}

impl InFlight {
    pub(crate) fn new(max: u32) -> Rc<Self> {
        Rc::new(Self { max, ..Self::default() })
    }

    pub(crate) fn total(&self) -> u32 {
        self.total.get()
    }

    /// Requests refused since the thread started.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.get()
    }

    /// Counts a request in; `None` if the thread is pressed and its workspace has its share in flight already.
    pub(crate) fn enter(
        self: &Rc<Self>,
        workspace: WorkspaceId,
        is_behind: bool,
        now_us: u64,
    ) -> Option<Permit> {
        let window = now_us / WINDOW_US + 1;
        if window != self.window.get() {
            self.turn(window);
        }
        let slot = Rc::clone(self.workspaces.borrow_mut().entry(workspace).or_default());
        let last = slot.window.replace(window);
        if last != window {
            let (before, now) = self.seen.get();
            let was_before = u32::from(last + 1 == window);
            self.seen.set((before.saturating_sub(was_before), now.saturating_add(1)));
        }
        let own = slot.in_flight.get();
        if own >= self.share_max(own, is_behind) {
            self.refusals.set(self.refusals.get().saturating_add(1));
            return None;
        }
        slot.in_flight.set(own.saturating_add(1));
        self.total.set(self.total.get().saturating_add(1));
        if own == 0 {
            self.busy.set(self.busy.get().saturating_add(1));
        }
        Some(Permit { in_flight: Rc::clone(self), slot })
    }

    /// How many a workspace may have in flight now that has so many.
    fn share_max(&self, own: u32, is_behind: bool) -> u32 {
        let total = self.total.get();
        let is_full = self.max > 0 && total >= self.max;
        if !is_full && !is_behind {
            return u32::MAX;
        }
        let (before, now) = self.seen.get();
        let busy = self.busy.get().saturating_add(u32::from(own == 0));
        let sharers = busy.max(before.saturating_add(now));
        if sharers < 2 {
            return u32::MAX;
        }
        if is_full {
            return self.max.div_ceil(sharers);
        }
        total.saturating_add(1).div_ceil(sharers).max(BEHIND_SHARE_MIN)
    }

    /// A window ended: workspaces that were silent for one whole are forgotten.
    fn turn(&self, window: u64) {
        let (_, now) = self.seen.get();
        let is_next = self.window.replace(window) + 1 == window;
        self.seen.set((if is_next { now } else { 0 }, 0));
        let is_known = |slot: &Slot| slot.in_flight.get() > 0 || slot.window.get() + 1 >= window;
        self.workspaces.borrow_mut().retain(|_, slot| is_known(slot));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (slot, shared) = (&self.slot, &self.in_flight);
        shared.total.set(shared.total.get().saturating_sub(1));
        let own = slot.in_flight.get().saturating_sub(1);
        slot.in_flight.set(own);
        if own == 0 {
            shared.busy.set(shared.busy.get().saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = 16;

    fn workspace(number: u8) -> WorkspaceId {
        WorkspaceId::new(1, [number; 10])
    }

    /// As many of these as come in, of so many that arrive.
    fn enter(shared: &Rc<InFlight>, number: u8, arrivals: u32, is_behind: bool, now_us: u64) -> Vec<Permit> {
        (0..arrivals).filter_map(|_| shared.enter(workspace(number), is_behind, now_us)).collect()
    }

    #[test]
    fn who_is_alone_may_use_all_of_a_thread_however_pressed() {
        let shared = InFlight::new(MAX);
        assert_eq!(enter(&shared, 1, 1_000, false, 0).len(), 1_000);
        assert_eq!(enter(&shared, 1, 1_000, true, 1).len(), 1_000);
        assert_eq!((shared.total(), shared.refusals()), (0, 0), "all have ended");
    }

    #[test]
    fn a_workspace_may_use_what_its_neighbours_leave_until_the_thread_is_full() {
        let shared = InFlight::new(MAX);
        let quiet = enter(&shared, 2, 1, false, 0);
        let noisy = enter(&shared, 1, 100, false, 1);
        assert_eq!((quiet.len(), noisy.len()), (1, 15), "all that was left");
        assert_eq!(shared.refusals(), 85);
        // The thread is full, and the neighbour gets its half all the same.
        let quiet_too = enter(&shared, 2, 100, false, 2);
        assert_eq!(quiet.len() + quiet_too.len(), 8);
        // Below its share, the noisy one is served again as soon as there is room.
        drop((noisy, quiet_too));
        assert_eq!(enter(&shared, 1, 100, false, 3).len(), 15);
        assert_eq!(shared.total(), 1);
    }

    #[test]
    fn a_neighbour_at_a_hundredth_of_the_load_is_never_refused() {
        let shared = InFlight::new(MAX);
        let (mut noisy, mut quiet) = (Vec::new(), Vec::new());
        for number in 0..10_000_u32 {
            let now_us = u64::from(number) * 1_000;
            noisy.extend(enter(&shared, 1, 1, number % 3 == 0, now_us));
            if number % 100 == 0 {
                quiet = enter(&shared, 2, 1, number % 200 == 0, now_us);
                assert_eq!(quiet.len(), 1, "{number}");
            }
            if number % 20 == 0 {
                noisy.pop();
            }
        }
        assert!(noisy.len() <= MAX as usize && shared.refusals() > 9_000, "{} refused", shared.refusals());
        drop((noisy, quiet));
        assert_eq!(shared.total(), 0);
    }

    #[test]
    fn a_thread_that_is_behind_refuses_who_has_more_in_flight_than_others() {
        let shared = InFlight::new(0);
        let noisy = enter(&shared, 1, 60, false, 0);
        assert_eq!(noisy.len(), 60, "nothing is pressed");
        let other = enter(&shared, 2, 20, true, 1);
        assert_eq!(other.len(), 20, "it has fewer than half");
        assert!(enter(&shared, 1, 1, true, 2).is_empty());
        assert_eq!(enter(&shared, 1, 1, false, 3).len(), 1, "it has caught up");
        drop((noisy, other));
        // Few in flight are not what it is behind with, whoever has them.
        assert_eq!(enter(&shared, 1, 100, true, 4).len(), BEHIND_SHARE_MIN as usize);
    }

    #[test]
    fn who_was_silent_for_two_windows_has_no_share_and_is_forgotten() {
        let shared = InFlight::new(MAX);
        drop(enter(&shared, 2, 1, false, 0));
        let first = enter(&shared, 1, 100, false, WINDOW_US);
        assert_eq!(first.len(), 16, "a neighbour that was here lately has a share");
        let later = enter(&shared, 1, 100, false, 2 * WINDOW_US);
        assert_eq!(later.len(), 100, "and one that was not has none");
        assert_eq!(shared.workspaces.borrow().len(), 1);
        drop((first, later));
        drop(enter(&shared, 3, 1, false, 9 * WINDOW_US));
        assert_eq!(shared.workspaces.borrow().len(), 1, "what ended is forgotten, too");
    }
}
