//! How the hooks of policies answered lately, on this core: one that keeps failing is not called for a while, and never
//! has more than a bounded number of open calls.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use domain::PolicyId;
use domain::timeline::micros;

use crate::limits::{HOOK_CALLS_AT_ONCE_MAX, HOOK_PAUSE, HOOK_SILENCES_MAX, HOOKS_KNOWN_MAX};

#[derive(Debug, Default)]
struct State {
    open: Cell<u32>,
    /// Calls in a row without a decision.
    silences: Cell<u32>,
    paused_until_us: Cell<u64>,
}

/// The hooks of one core, by policy and address: a changed address is another hook.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    hooks: RefCell<HashMap<(PolicyId, String), Rc<State>>>,
}

/// An open call. Dropped with the request of a client that leaves, it counts as neither.
#[derive(Debug)]
pub(super) struct OpenCall(Rc<State>);

impl Gauge {
    /// `None` if it may not be called now.
    pub(super) fn begin(&self, policy: PolicyId, url: &str, now_us: u64) -> Option<OpenCall> {
        let mut hooks = self.hooks.borrow_mut();
        if hooks.len() >= HOOKS_KNOWN_MAX {
            hooks.retain(|_, state| state.open.get() > 0);
        }
        let state = Rc::clone(hooks.entry((policy, url.to_owned())).or_default());
        let is_probed = state.silences.get() >= HOOK_SILENCES_MAX;
        let most = if is_probed { 1 } else { HOOK_CALLS_AT_ONCE_MAX };
        if now_us < state.paused_until_us.get() || state.open.get() >= most {
            return None;
        }
        state.open.set(state.open.get() + 1);
        Some(OpenCall(state))
    }
}

impl OpenCall {
    pub(super) fn ended(self, is_silence: bool, now_us: u64) {
        let silences = if is_silence { self.0.silences.get().saturating_add(1) } else { 0 };
        self.0.silences.set(silences);
        if silences >= HOOK_SILENCES_MAX {
            self.0.paused_until_us.set(now_us.saturating_add(micros(HOOK_PAUSE)));
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://hooks.example/ask";

    fn id(number: u64) -> PolicyId {
        PolicyId::new(number, [1; 10])
    }

    #[test]
    fn a_hook_that_keeps_failing_rests_and_is_then_called_once() {
        let gauge = Gauge::default();
        for _ in 0..HOOK_SILENCES_MAX {
            gauge.begin(id(1), URL, 0).unwrap().ended(true, 0);
        }
        let rested = micros(HOOK_PAUSE);
        assert!(gauge.begin(id(1), URL, rested - 1).is_none());
        assert!(gauge.begin(id(2), URL, 0).is_some(), "the hook of another policy");
        assert!(gauge.begin(id(1), "https://hooks.example/other", 0).is_some(), "another address");
        let probe = gauge.begin(id(1), URL, rested).unwrap();
        assert!(gauge.begin(id(1), URL, rested).is_none(), "one at a time");
        probe.ended(false, rested);
        assert!(gauge.begin(id(1), URL, rested).is_some());
    }

    #[test]
    fn open_calls_are_bounded_and_one_that_is_dropped_is_over() {
        let gauge = Gauge::default();
        let mut open: Vec<_> =
            (0..HOOK_CALLS_AT_ONCE_MAX).map(|_| gauge.begin(id(1), URL, 0).unwrap()).collect();
        assert!(gauge.begin(id(1), URL, 0).is_none());
        drop(open.pop());
        assert!(gauge.begin(id(1), URL, 0).is_some());
    }
}
