//! What was used of each subscription in the windows that its owner caps.

use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::limits::SUBSCRIPTIONS_COUNTED_MAX;
use domain::{IdMap, SubscriptionId, UsageWindow, WindowUse};

/// The use within one span of a window.
#[derive(Debug, Clone, Copy)]
struct Span {
    hours: u32,
    start_unix_ms: u64,
    used: WindowUse,
}

impl Span {
    const fn is_of(&self, window: &UsageWindow, now_unix_ms: u64) -> bool {
        self.hours == window.hours && self.start_unix_ms == window.start(now_unix_ms)
    }
}

/// Only requests on a subscription take the lock.
#[derive(Debug, Default)]
pub(crate) struct Windows(Mutex<IdMap<SubscriptionId, Vec<Span>>>);

impl Windows {
    /// When the first window that is used up ends, if one is: the latest of them, where there are several.
    pub(crate) fn used_up_until(
        &self,
        id: SubscriptionId,
        windows: &[UsageWindow],
        now_unix_ms: u64,
    ) -> Option<u64> {
        let spans = self.spans();
        let spans = spans.get(&id).map_or(&[][..], Vec::as_slice);
        let is_used_up = |window: &&UsageWindow| window.is_used_up(used(spans, window, now_unix_ms));
        windows.iter().filter(is_used_up).map(|window| window.end(now_unix_ms)).max()
    }

    /// The use so far in each window.
    pub(crate) fn used(
        &self,
        id: SubscriptionId,
        windows: &[UsageWindow],
        now_unix_ms: u64,
    ) -> Vec<WindowUse> {
        let spans = self.spans();
        let spans = spans.get(&id).map_or(&[][..], Vec::as_slice);
        windows.iter().map(|window| used(spans, window, now_unix_ms)).collect()
    }

    pub(crate) fn count(
        &self,
        id: SubscriptionId,
        windows: &[UsageWindow],
        more: WindowUse,
        now_unix_ms: u64,
    ) {
        self.change(id, windows, now_unix_ms, |_, used| used.plus(more));
    }

    /// Learns what the books have of each window: they know of other gateways and of what was before a restart, but not
    /// yet of the last moment.
    pub(crate) fn learn(
        &self,
        id: SubscriptionId,
        windows: &[UsageWindow],
        booked: &[WindowUse],
        now_unix_ms: u64,
    ) {
        self.change(id, windows, now_unix_ms, |index, used| {
            booked.get(index).map_or(used, |booked| used.or_more(*booked))
        });
    }

    fn change(
        &self,
        id: SubscriptionId,
        windows: &[UsageWindow],
        now_unix_ms: u64,
        next: impl Fn(usize, WindowUse) -> WindowUse,
    ) {
        let mut all = self.spans();
        if all.len() >= SUBSCRIPTIONS_COUNTED_MAX && !all.contains_key(&id) {
            // The books still have what is forgotten here.
            all.clear();
        }
        let spans = all.entry(id).or_default();
        let counted = windows.iter().enumerate().map(|(index, window)| Span {
            hours: window.hours,
            start_unix_ms: window.start(now_unix_ms),
            used: next(index, used(spans, window, now_unix_ms)),
        });
        *spans = counted.collect();
    }

    fn spans(&self) -> MutexGuard<'_, IdMap<SubscriptionId, Vec<Span>>> {
        // Every change leaves the map whole, so a panic elsewhere does not corrupt it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn used(spans: &[Span], window: &UsageWindow, now_unix_ms: u64) -> WindowUse {
    let span = spans.iter().find(|span| span.is_of(window, now_unix_ms));
    span.map_or_else(WindowUse::default, |span| span.used)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn window(hours: u32, requests: Option<u64>, tokens: Option<u64>) -> UsageWindow {
        UsageWindow { hours, starts_unix_ms: 0, requests, tokens }
    }

    #[test]
    fn a_window_is_used_up_until_its_end_and_the_longest_one_counts() {
        let (windows, id) = (Windows::default(), SubscriptionId::new(1, [1; 10]));
        let caps = [window(5, Some(2), None), window(168, None, Some(100))];
        let one = WindowUse { requests: 1, tokens: 30 };
        windows.count(id, &caps, one, HOUR);
        assert_eq!(windows.used_up_until(id, &caps, HOUR), None);
        windows.count(id, &caps, one, HOUR);
        assert_eq!(windows.used_up_until(id, &caps, HOUR), Some(5 * HOUR));
        assert_eq!(windows.used_up_until(id, &caps, 6 * HOUR), None, "the next span starts at zero");
        windows.count(id, &caps, WindowUse { requests: 0, tokens: 40 }, 6 * HOUR);
        assert_eq!(windows.used_up_until(id, &caps, 6 * HOUR), Some(168 * HOUR), "the week's tokens are");
        assert_eq!(windows.used(id, &caps, 6 * HOUR)[1], WindowUse { requests: 2, tokens: 100 });
        assert_eq!(windows.used_up_until(SubscriptionId::new(2, [2; 10]), &caps, HOUR), None);
    }

    #[test]
    fn the_books_add_what_is_not_known_here_and_take_nothing_away() {
        let (windows, id) = (Windows::default(), SubscriptionId::new(1, [1; 10]));
        let caps = [window(1, Some(5), None)];
        let of = |requests| [WindowUse { requests, tokens: 0 }];
        windows.learn(id, &caps, &of(3), 1);
        windows.count(id, &caps, of(1)[0], 1);
        windows.learn(id, &caps, &of(2), 1);
        assert_eq!(windows.used(id, &caps, 1), of(4));
        windows.learn(id, &caps, &of(5), 1);
        assert_eq!(windows.used_up_until(id, &caps, 1), Some(HOUR));
    }
}
