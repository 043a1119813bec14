//! The time to a request's first token that is expected at a node, and the order of the nodes by it.

use crate::hashing::rendezvous;
use crate::limits::{
    ADAPTER_LOAD_US, ALONE_US_MAX, DECODE_SHARE, EQUAL_SHARE, KV_ROOM_PERMILLE, LEAST_FRESH_SHARE,
    TOKEN_US_MAX, USUAL_ANSWER_TOKENS, USUAL_US, USUAL_WHOLE_US,
};

/// What is known of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeLoad {
    /// Requests of this gateway there.
    pub in_flight: u32,
    /// Those of them that wait for their first token.
    pub unanswered: u32,
    /// How long a first token takes there for each request that waits for one; `None` if that was not measured.
    pub alone_us: Option<u64>,
    /// How long a whole answer takes there.
    pub whole_us: Option<u64>,
    /// What it said of itself last; `None` if that is too old, or it says nothing.
    pub report: Option<LoadReport>,
    /// How much of the prompt it was sent before.
    pub cached_tokens: u64,
    /// The request names an adapter that others had in memory lately, and it did not.
    pub lacks_adapter: bool,
}

/// What a node said of its load, whoever its clients are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadReport {
    pub running: u32,
    /// Those that wait for memory or for their turn.
    pub waiting: u32,
    /// How much of its KV cache is in use, in thousandths.
    pub kv_permille: Option<u16>,
    /// How long a token of an answer takes there.
    pub token_us: Option<u32>,
    /// How many requests this gateway had there when it said so.
    pub in_flight_then: u32,
}

/// The parts of the time to the first token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    /// Waiting for those that are ahead, and beside those that are decoding.
    pub queue_us: u64,
    /// Computing the part of the prompt that is not cached.
    pub prefill_us: u64,
    /// What a full KV cache costs.
    pub pressure_us: u64,
    pub adapter_us: u64,
}

impl Expected {
    pub const fn total_us(&self) -> u64 {
        self.queue_us
            .saturating_add(self.prefill_us)
            .saturating_add(self.pressure_us)
            .saturating_add(self.adapter_us)
    }
}

/// What a node is taken to need that was not measured: as little as the fastest that was, so that it is tried.
pub fn usual_us(loads: impl Iterator<Item = NodeLoad>) -> u64 {
    loads.filter_map(|load| load.alone_us).min().unwrap_or(USUAL_US).max(1)
}

/// The time to the first token of a prompt of this length.
pub fn expected(prompt_tokens: u64, load: &NodeLoad, usual_us: u64) -> Expected {
    let alone_us = load.alone_us.unwrap_or(usual_us).min(ALONE_US_MAX);
    let Ahead { running, waiting } = ahead(load);
    let token_us = load.report.and_then(|report| report.token_us).map(|us| u64::from(us).min(TOKEN_US_MAX));
    let usual_whole_us = token_us.map_or(USUAL_WHOLE_US, |us| us * USUAL_ANSWER_TOKENS);
    let whole_us = load.whole_us.unwrap_or(usual_whole_us);
    // Where requests wait, one begins whenever a running one ends.
    let turn_us = if waiting > 0 { alone_us.max(whole_us / running.max(1)) } else { alone_us };
    let first = u64::from(load.unanswered).max(waiting);
    let decoding = running.saturating_sub(u64::from(load.unanswered));
    // A prompt is begun when the step of those that are decoding ends: a token of each.
    let step_us = if decoding > 0 { token_us.unwrap_or(0) } else { 0 };
    let queue_us = first
        .saturating_mul(turn_us)
        .saturating_add(decoding.saturating_mul(alone_us / DECODE_SHARE))
        .saturating_add(step_us);
    let prompt = prompt_tokens.max(1);
    let fresh = prompt.saturating_sub(load.cached_tokens).max(prompt / LEAST_FRESH_SHARE).max(1);
    let kv_permille = load.report.and_then(|report| report.kv_permille).map_or(0, u64::from).min(1_000);
    let over = kv_permille.saturating_sub(KV_ROOM_PERMILLE);
    Expected {
        queue_us,
        prefill_us: share(alone_us, fresh, prompt),
        pressure_us: share(2 * alone_us, over, 1_000 - KV_ROOM_PERMILLE),
        adapter_us: if load.lacks_adapter { ADAPTER_LOAD_US } else { 0 },
    }
}

struct Ahead {
    running: u64,
    waiting: u64,
}

/// What runs and waits there now: what it said, and what this gateway sent and got back since.
fn ahead(load: &NodeLoad) -> Ahead {
    let ours = u64::from(load.in_flight);
    let Some(report) = load.report else { return Ahead { running: ours, waiting: 0 } };
    let (then, waiting) = (u64::from(report.in_flight_then), u64::from(report.waiting));
    let all = u64::from(report.running).saturating_add(waiting);
    let all_now = all.saturating_add(ours).saturating_sub(then).max(ours);
    // Those that were running make room for those that wait.
    let waiting_now = if waiting == 0 { 0 } else { all_now.saturating_sub(u64::from(report.running)) };
    Ahead { running: all_now - waiting_now, waiting: waiting_now }
}

fn share(of: u64, part: u64, whole: u64) -> u64 {
    let product = u128::from(of) * u128::from(part);
    u64::try_from(product / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}

/// How a node sorts: the soonest first. Of those that are about as soon, the ones whose hour costs least come first, and of
/// these in the order of `key`, which requests with the same prefix share, so that gateways that know nothing of each other
/// choose the same node.
pub fn order(
    expected: &Expected,
    soonest_us: u64,
    hour_nanos: u64,
    (key, node): (u64, u64),
) -> (bool, u64, u64) {
    let total_us = expected.total_us();
    let is_about_as_soon = total_us <= soonest_us.saturating_add(soonest_us / EQUAL_SHARE);
    if is_about_as_soon { (false, hour_nanos, rendezvous(key, node)) } else { (true, total_us, hour_nanos) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn total(load: NodeLoad) -> u64 {
        expected(1_000, &load, 100_000).total_us()
    }

    fn reporting(running: u32, waiting: u32, kv_permille: u16) -> NodeLoad {
        let kv_permille = Some(kv_permille);
        let report = LoadReport { running, waiting, kv_permille, token_us: None, in_flight_then: 0 };
        NodeLoad { report: Some(report), ..NodeLoad::default() }
    }

    #[test]
    fn each_thing_that_costs_time_counts() {
        let idle = NodeLoad { alone_us: Some(200_000), ..NodeLoad::default() };
        assert_eq!(total(idle), 200_000);
        for (later, why) in [
            (NodeLoad { in_flight: 1, unanswered: 1, ..idle }, "a request ahead"),
            (NodeLoad { in_flight: 1, ..idle }, "a request that decodes"),
            (NodeLoad { lacks_adapter: true, ..idle }, "an adapter to load"),
            (NodeLoad { alone_us: Some(300_000), ..idle }, "a slower node"),
            (NodeLoad { alone_us: Some(200_000), ..reporting(0, 0, 950) }, "a full KV cache"),
            (NodeLoad { alone_us: Some(200_000), ..reporting(4, 0, 0) }, "requests of others"),
        ] {
            assert!(total(later) > total(idle), "{why}");
        }
        assert_eq!(total(NodeLoad { cached_tokens: 500, ..idle }), 100_000);
        assert_eq!(total(NodeLoad { cached_tokens: 5_000, ..idle }), 12_400, "something is always computed");
        let sent = NodeLoad { in_flight: 1, unanswered: 1, ..idle };
        let queue = NodeLoad { alone_us: Some(200_000), ..reporting(4, 3, 0) };
        assert!(total(queue) > 3 * total(sent), "each of those that wait needs a running one to end");
    }

    #[test]
    fn what_was_sent_and_answered_since_a_report_counts() {
        let then =
            LoadReport { running: 4, waiting: 2, kv_permille: None, token_us: None, in_flight_then: 6 };
        let now = |in_flight| NodeLoad { in_flight, report: Some(then), ..NodeLoad::default() };
        let waits = |in_flight| ahead(&now(in_flight)).waiting;
        assert_eq!([8, 6, 5, 4, 0].map(waits), [4, 2, 1, 0, 0]);
        assert_eq!(ahead(&now(0)).running, 0);
    }

    #[test]
    fn a_node_that_was_not_measured_is_as_good_as_the_best() {
        let measured = |alone_us| NodeLoad { alone_us, ..NodeLoad::default() };
        let usual = usual_us([measured(None), measured(Some(9_000)), measured(Some(4_000))].into_iter());
        assert_eq!(usual, 4_000);
        assert_eq!(expected(100, &measured(None), usual), expected(100, &measured(Some(4_000)), usual));
        assert_eq!(usual_us(std::iter::empty()), USUAL_US);
    }

    #[test]
    fn equals_are_ordered_by_the_key_and_the_rest_by_time() {
        let at = |queue_us| Expected { queue_us, ..Expected::default() };
        let (soon, near, late) = (at(800), at(900), at(901));
        assert!(order(&near, 800, 9, (1, 1)) < order(&late, 800, 0, (1, 1)), "later, and cheaper");
        let first = |key| order(&soon, 800, 5, (key, 1)) < order(&near, 800, 5, (key, 2));
        let firsts = (0..1_000).filter(|key| first(*key)).count();
        assert!((400..600).contains(&firsts), "{firsts} of a thousand keys");
        let is_cheaper_first = |key| order(&near, 800, 4, (key, 2)) < order(&soon, 800, 5, (key, 1));
        assert!((0..1_000).all(is_cheaper_first), "of equals, whose hour costs less");
    }

    #[test]
    fn known_times_of_tokens_count() {
        let slow = |running, waiting, token_us| {
            let report = LoadReport { running, waiting, kv_permille: None, token_us, in_flight_then: 0 };
            total(NodeLoad { alone_us: Some(200_000), report: Some(report), ..NodeLoad::default() })
        };
        assert_eq!(slow(1, 0, Some(90_000)), slow(1, 0, None) + 90_000, "the step in progress");
        assert_eq!(slow(0, 0, Some(90_000)), slow(0, 0, None), "an idle node begins at once");
        assert!(slow(4, 2, Some(90_000)) > slow(4, 2, Some(10_000)), "slots are free later");
    }

    prop_compose! {
        fn any_load()(
            in_flight in 0_u32..200, unanswered in 0_u32..200, alone in proptest::option::of(0_u64..10_000_000),
            whole in proptest::option::of(0_u64..100_000_000), running in 0_u32..100, waiting in 0_u32..100,
            kv in proptest::option::of(0_u16..2_000), token in proptest::option::of(any::<u32>()), then in 0_u32..100, cached in 0_u64..10_000, lacks in any::<bool>(),
            reports in any::<bool>(),
        ) -> NodeLoad {
            let report = LoadReport { running, waiting, kv_permille: kv, token_us: token, in_flight_then: then };
            NodeLoad {
                in_flight, unanswered, alone_us: alone, whole_us: whole, report: reports.then_some(report),
                cached_tokens: cached, lacks_adapter: lacks,
            }
        }
    }

    proptest! {
        #[test]
        fn more_load_is_never_sooner_and_more_cache_never_later(load in any_load(), prompt in 0_u64..20_000, usual in 1_u64..1_000_000) {
            let at = |load: NodeLoad| expected(prompt, &load, usual).total_us();
            let now = at(load);
            let busier = NodeLoad { in_flight: load.in_flight + 1, unanswered: load.unanswered + 1, ..load };
            let warmer = NodeLoad { cached_tokens: load.cached_tokens + 100, ..load };
            let without = NodeLoad { lacks_adapter: true, ..load };
            prop_assert!(at(busier) >= now && at(warmer) <= now && at(without) >= now);
        }

        #[test]
        fn nothing_overflows(load in any_load(), prompt in any::<u64>(), usual in any::<u64>()) {
            let _ = expected(prompt, &load, usual.max(1)).total_us();
        }

        #[test]
        fn a_node_that_goes_moves_only_its_own_keys(keys in proptest::collection::vec(any::<u64>(), 200), gone in 0_u64..20) {
            let first = |key: u64, nodes: &mut dyn Iterator<Item = u64>| nodes.min_by_key(|node| rendezvous(key, *node));
            for key in keys {
                let before = first(key, &mut (0..20));
                let after = first(key, &mut (0..20).filter(|node| *node != gone));
                prop_assert!(before == after || before == Some(gone));
            }
        }
    }
}
