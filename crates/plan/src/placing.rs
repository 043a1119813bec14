//! Where among the nodes a request goes: to the one with the least expected time to the first token.

use std::hash::{BuildHasher, BuildHasherDefault};

use board::AvailabilityView;
use domain::{IdHasher, Principal};
use placement::{CachedAt, Expected, NodeLoad, expected, mix, order, usual_us};

use crate::attempt::{Attempt, Seat};
use crate::limits::{NODE_FULL_US, PROMPT_BYTES_PER_TOKEN};
use crate::question::PlanInput;

/// What is expected of a node for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    pub expected: Expected,
    /// How much of the prompt it was sent before, in thousandths.
    pub cached_permille: u64,
    /// How much of its KV cache it said is in use, in thousandths.
    pub kv_permille: Option<u16>,
}

/// What is expected of each of these nodes, in their order.
pub fn placements(input: &PlanInput<'_>, board: &dyn AvailabilityView, nodes: &[Attempt]) -> Vec<Placement> {
    weigh(input, board, nodes).0
}

/// Puts nodes in the order of their expected times. Requests with the same beginning have the same order of those that are
/// about as soon; the others are spread.
pub fn arrange(input: &PlanInput<'_>, board: &dyn AvailabilityView, nodes: &mut Vec<Attempt>) {
    if nodes.len() < 2 {
        return;
    }
    let (placed, key) = weigh(input, board, nodes);
    let soonest_us = placed.iter().map(|one| one.expected.total_us()).min().unwrap_or(0);
    let mut keyed: Vec<_> = placed
        .iter()
        .zip(std::mem::take(nodes))
        .map(|(one, node)| (order(&one.expected, soonest_us, hour_nanos(&node), (key, hash_of(&node))), node))
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    nodes.extend(keyed.into_iter().map(|(_, node)| node));
}

/// Whether a request would wait there so long that what its route lists behind the nodes is better.
pub fn is_full(placement: &Placement) -> bool {
    placement.expected.queue_us > NODE_FULL_US
}

/// The same, and what requests with the same beginning share.
fn weigh(input: &PlanInput<'_>, board: &dyn AvailabilityView, nodes: &[Attempt]) -> (Vec<Placement>, u64) {
    let mut ends = (input.prefix_ends)();
    for (_, length) in &mut ends {
        *length /= PROMPT_BYTES_PER_TOKEN;
    }
    let table =
        if ends.is_empty() { None } else { board.prefix_table(input.query.workspace.id, input.now_us) };
    let now_s = input.now_us / 1_000_000;
    let cached = table.map_or_else(CachedAt::default, |table| CachedAt::of(&ends, table.at_nodes(), now_s));
    // Behind the model's name and a colon is that of an adapter.
    let names_adapter = nodes.first().is_some_and(|node| node.upstream_model().contains(':'));
    let is_measured = |node: &Attempt| {
        board.load(node.principal(), node.upstream_model(), input.now_us).first_byte_us.is_some()
    };
    let is_adapter_loaded = names_adapter && nodes.iter().any(is_measured);
    let load = |node: &Attempt| NodeLoad {
        cached_tokens: cached.length(hash_of(node)),
        lacks_adapter: is_adapter_loaded && !is_measured(node),
        ..load_of(board, node, input.now_us)
    };
    let loads: Vec<NodeLoad> = nodes.iter().map(load).collect();
    let usual_us = usual_us(loads.iter().copied());
    let prompt = input.query.prompt_tokens().max(1);
    let placed = loads.iter().map(|load| Placement {
        expected: expected(prompt, load, usual_us),
        cached_permille: load.cached_tokens.min(prompt) * 1_000 / prompt,
        kv_permille: load.report.and_then(|report| report.kv_permille),
    });
    let head = ends.first().map(|(fingerprint, _)| *fingerprint);
    (placed.collect(), input.query.session_key.or(head).unwrap_or_else(|| mix(input.random)))
}

/// What an hour of the node costs, which decides between those that are about as soon.
fn hour_nanos(node: &Attempt) -> u64 {
    match node.seat() {
        Seat::Byoc(entry) => entry.hour_nanos,
        _ => 0,
    }
}

fn load_of(board: &dyn AvailabilityView, node: &Attempt, now_us: u64) -> NodeLoad {
    match node.principal() {
        Principal::Node(id) => board.node_load(id, now_us),
        _ => NodeLoad::default(),
    }
}

/// A node with a model, as what is remembered of prefixes names it.
pub fn hash_of(node: &Attempt) -> u64 {
    BuildHasherDefault::<IdHasher>::default().hash_one((node.principal(), node.upstream_model()))
}

/// How the nodes of a plan compare, in a line of its record; `None` unless there were several to choose from.
pub fn in_words(input: &PlanInput<'_>, board: &dyn AvailabilityView, attempts: &[Attempt]) -> Option<String> {
    let count = attempts.iter().take_while(|attempt| attempt.is_node()).count();
    let nodes = attempts.get(..count.min(crate::limits::NAMES_LISTED_MAX)).filter(|nodes| nodes.len() > 1)?;
    let each = placements(input, board, nodes);
    let texts: Vec<String> = nodes.iter().zip(each).map(|(node, one)| text(node, &one)).collect();
    let more = count - nodes.len();
    Some(if more > 0 { format!("{}; and {more} more", texts.join("; ")) } else { texts.join("; ") })
}

fn text(node: &Attempt, one: &Placement) -> String {
    let ms = |us: u64| us.div_ceil(1_000);
    let Expected { queue_us, prefill_us, pressure_us, adapter_us } = one.expected;
    let (cached, total) = (one.cached_permille / 10, ms(one.expected.total_us()));
    let mut text = format!(
        "{}: {total} ms (queue {}, prefill {}, {cached} % cached",
        node.seat().display_name(),
        ms(queue_us),
        ms(prefill_us)
    );
    if let Some(kv) = one.kv_permille {
        text.push_str(&format!(", KV {} %", kv / 10));
    }
    if pressure_us > 0 {
        text.push_str(&format!(", pressure {}", ms(pressure_us)));
    }
    if adapter_us > 0 {
        text.push_str(&format!(", adapter {}", ms(adapter_us)));
    }
    text.push(')');
    text
}
