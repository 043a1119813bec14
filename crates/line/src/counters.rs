//! The counters of one serving core: responses by status class and refusals by code, in plain cells, since
//! only that core writes them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use domain::{Fault, HookOutcome};

const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counters of one core.
#[derive(Debug, Default)]
pub struct Counters {
    answers: [Cell<u64>; CLASSES.len()],
    /// Fault codes are constants of the program, so the map is bounded.
    refusals: RefCell<BTreeMap<&'static str, u64>>,
    /// By the rule of the policy that refused.
    policy_refusals: RefCell<BTreeMap<&'static str, u64>>,
    /// By how the call of the hook ended.
    hook_calls: RefCell<BTreeMap<&'static str, u64>>,
    replays: Cell<u64>,
    cache_hits: Cell<u64>,
}

impl Counters {
    /// A response's head was sent.
    pub fn answered(&self, status: u16) {
        let class = usize::from(status / 100);
        let counter = self.answers.get(class).or(self.answers.first());
        if let Some(counter) = counter {
            counter.set(counter.get().saturating_add(1));
        }
    }

    /// A request was refused or failed, for this reason.
    pub fn refused(&self, code: &'static str) {
        let mut refusals = self.refusals.borrow_mut();
        let count = refusals.entry(code).or_default();
        *count = count.saturating_add(1);
    }

    /// A request was refused or failed after it was admitted, with this fault.
    pub fn failed(&self, code: &'static str, fault: Option<&Fault>) {
        self.refused(code);
        if let Some(rule) = fault.and_then(Fault::policy_rule) {
            let mut refusals = self.policy_refusals.borrow_mut();
            let count = refusals.entry(rule.as_str()).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// A hook of a policy was called, or would have been.
    pub fn hook_called(&self, outcome: HookOutcome) {
        let mut calls = self.hook_calls.borrow_mut();
        let count = calls.entry(outcome.as_str()).or_default();
        *count = count.saturating_add(1);
    }

    /// A stored answer was replayed under its idempotency key.
    pub fn replayed(&self) {
        self.replays.set(self.replays.get().saturating_add(1));
    }

    /// An answer of the response cache was given again.
    pub fn cache_hit(&self) {
        self.cache_hits.set(self.cache_hits.get().saturating_add(1));
    }

    /// Everything counted so far: name, label, count.
    pub fn snapshot(&self) -> Vec<(&'static str, &'static str, u64)> {
        let answers =
            CLASSES.iter().zip(&self.answers).map(|(class, count)| ("answers", *class, count.get()));
        let refusals = self.refusals.borrow();
        let refusals = refusals.iter().map(|(code, count)| ("refusals", *code, *count));
        let rules = self.policy_refusals.borrow();
        let rules = rules.iter().map(|(rule, count)| ("policy_refusals", *rule, *count));
        let hooks = self.hook_calls.borrow();
        let hooks = hooks.iter().map(|(outcome, count)| ("policy_hooks", *outcome, *count));
        let replays = [
            ("idempotent_replays", "", self.replays.get()),
            ("response_cache_hits", "", self.cache_hits.get()),
        ];
        answers
            .chain(replays)
            .filter(|(_, _, count)| *count > 0)
            .chain(refusals)
            .chain(rules)
            .chain(hooks)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_by_class_and_refusals_by_code() {
        let counters = Counters::default();
        [200, 204, 404, 999].into_iter().for_each(|status| counters.answered(status));
        counters.refused("invalid_api_key");
        counters.refused("invalid_api_key");
        assert_eq!(
            counters.snapshot(),
            [
                ("answers", "other", 1),
                ("answers", "2xx", 2),
                ("answers", "4xx", 1),
                ("refusals", "invalid_api_key", 2)
            ]
        );
    }
}
