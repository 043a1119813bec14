//! Strategies: how a route orders the seats that it allows, and why, in words. None allows more than the route does.

use board::{AvailabilityView, Load, prefix_at};
use domain::money::with_markup;
use domain::{ByokFallback, Nanos, Profile, RouteSpec, Strategy, Usage};
use placement::mix;

use crate::attempt::{Attempt, Seat};
use crate::candidates::Candidates;
use crate::limits::{ANSWER_TOKENS_ASSUMED, EXPLORED_PER_MILLE, NAMES_LISTED_MAX, PROMPT_BYTES_PER_TOKEN};
use crate::order;
use crate::question::PlanInput;

/// What a request would cost at a seat: the unpriced come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    is_unknown: bool,
    nanos: Nanos,
}

/// Puts the seats of one profile, which are in the broker's own order, in that of the route's strategy. Equals keep
/// their order.
pub fn arrange(
    input: &PlanInput<'_>,
    spec: &RouteSpec,
    board: &dyn AvailabilityView,
    attempts: &mut Vec<Attempt>,
) {
    if attempts.len() < 2 {
        return;
    }
    match spec.strategy {
        Strategy::None | Strategy::LocalFirst | Strategy::ByokStrict => {}
        Strategy::CommittedFirst => attempts.sort_by_key(|attempt| !is_committed(attempt)),
        Strategy::Cheapest => attempts.sort_by_cached_key(|attempt| cost(input, board, attempt)),
        Strategy::Fastest => {
            attempts.sort_by_cached_key(|attempt| median(input, board, attempt).unwrap_or(u64::MAX));
            explore(input, board, attempts);
        }
        Strategy::Balanced => match input.query.session_key {
            Some(key) => order::by_session(key, attempts),
            None => balance(input, board, attempts),
        },
    }
    if let Some(seat) = input.query.session_seat {
        attempts.sort_by_key(|attempt| attempt.principal() != seat);
    }
}

/// The profile whose best open seat is the best of all, where the route compares profiles: it lists several, and lets
/// requests leave the workspace's own credentials and nodes. Otherwise managed accounts are not compared with those.
pub fn best_profile(
    input: &PlanInput<'_>,
    spec: &RouteSpec,
    found: &Candidates,
    board: &dyn AvailabilityView,
) -> Option<Profile> {
    if !spec.strategy.compares_profiles() || spec.profiles.len() < 2 {
        return None;
    }
    if let Some(seat) = input.query.session_seat {
        let all = [&found.byok, &found.byoc, &found.managed];
        let stays = all.into_iter().flatten().find(|attempt| attempt.principal() == seat);
        let stays = stays.map(Attempt::profile).filter(|profile| spec.profiles.contains(profile));
        if stays.is_some() {
            return stays;
        }
    }
    let has_own = !found.byok.is_empty() || !found.byoc.is_empty();
    let may_leave = spec.byok_fallback == ByokFallback::Managed || !has_own;
    let best = |attempts: &[Attempt]| {
        let open =
            attempts.iter().filter(|attempt| board.availability(&attempt.seat_key(), input.now_us).is_open());
        open.map(|attempt| match spec.strategy {
            Strategy::Cheapest => {
                let Cost { is_unknown, nanos } = cost(input, board, attempt);
                (is_unknown, nanos.0)
            }
            _ => {
                let median = median(input, board, attempt);
                (median.is_none(), median.and_then(|median| i64::try_from(median).ok()).unwrap_or(i64::MAX))
            }
        })
        .min()
    };
    let measured = spec.profiles.iter().filter_map(|profile| {
        let best = match profile {
            Profile::Byok => best(&found.byok),
            Profile::Byoc => best(&found.byoc),
            Profile::ManagedProvider if may_leave => best(&found.managed),
            Profile::ManagedProvider | Profile::Subscription => None,
        };
        Some((best?, *profile))
    });
    // The first of equals is the one that the route lists first.
    measured.min_by_key(|(best, _)| *best).map(|(_, profile)| profile)
}

/// Why the attempts are in this order, in words. `None` without a strategy.
pub fn why(
    input: &PlanInput<'_>,
    spec: &RouteSpec,
    board: &dyn AvailabilityView,
    attempts: &[Attempt],
) -> Option<String> {
    let listed = |say: &dyn Fn(&Attempt) -> String| {
        let texts = attempts
            .iter()
            .take(NAMES_LISTED_MAX)
            .map(|attempt| format!("{} at {}", say(attempt), name(attempt)));
        texts.collect::<Vec<_>>().join(", ")
    };
    let load = |attempt: &Attempt| load(input, board, attempt);
    Some(match spec.strategy {
        Strategy::None => return None,
        _ if attempts.is_empty() => return None,
        _ if input
            .query
            .session_seat
            .is_some_and(|seat| attempts.iter().any(|one| one.principal() == seat)) =>
        {
            "the seat that the session began at comes first".to_owned()
        }
        Strategy::LocalFirst => "nodes come first, then own credentials, then managed accounts".to_owned(),
        Strategy::ByokStrict => "own credentials alone serve, whatever fails".to_owned(),
        Strategy::CommittedFirst => {
            let say = |attempt: &Attempt| {
                if is_committed(attempt) { "a commitment" } else { "no commitment" }.to_owned()
            };
            format!("committed capacity comes first: {}", listed(&say))
        }
        Strategy::Cheapest => {
            let usage = estimate(input, 0);
            let say = |attempt: &Attempt| match cost(input, board, attempt) {
                Cost { is_unknown: true, .. } => "no known price".to_owned(),
                Cost { nanos: Nanos(nanos), .. } => {
                    format!("${}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
                }
            };
            let (prompt, answer) = (usage.input, usage.output);
            format!(
                "the cheapest comes first, for about {prompt} prompt and {answer} answer tokens: {}",
                listed(&say)
            )
        }
        Strategy::Fastest => {
            let say = |attempt: &Attempt| match median(input, board, attempt) {
                Some(us) => format!("{} ms", us.div_ceil(1_000)),
                None => "not measured".to_owned(),
            };
            let until = if input.query.size.is_stream { "the first byte" } else { "the whole answer" };
            let explored = if is_exploring(input) { "; this request explores" } else { "" };
            format!("the fastest comes first, by the median time to {until}: {}{explored}", listed(&say))
        }
        Strategy::Balanced if input.query.session_key.is_some() => {
            let say = |attempt: &Attempt| format!("{} in flight", load(attempt).in_flight);
            format!("the seat that the session stays at comes first: {}", listed(&say))
        }
        Strategy::Balanced => {
            let say = |attempt: &Attempt| format!("{} in flight", load(attempt).in_flight);
            format!("the less busy of two that were drawn comes first: {}", listed(&say))
        }
    })
}

/// An own seat by its id; an account by its provider, since its name is the operator's.
fn name(attempt: &Attempt) -> String {
    match attempt.seat() {
        Seat::Managed(_) => attempt.provider().to_owned(),
        Seat::Byok(_) | Seat::Byoc(_) => attempt.principal().to_string(),
    }
}

/// Whether its capacity is owed for, used or not.
fn is_committed(attempt: &Attempt) -> bool {
    let agreement = match attempt.seat() {
        Seat::Byok(credential) => &credential.agreement,
        Seat::Managed(account) => &account.agreement,
        // A node's hardware is paid for.
        Seat::Byoc(_) => return true,
    };
    agreement.commitment.is_some() || agreement.limits.reserved_units.is_some_and(|units| units > 0)
}

/// What the request would use, of which `cached` tokens of the prompt are read from a cache.
fn estimate(input: &PlanInput<'_>, cached: u64) -> Usage {
    let size = &input.query.size;
    let prompt = input.query.prompt_tokens();
    let cached = cached.min(prompt);
    Usage {
        input: prompt - cached,
        cached_read: cached,
        output: size.answer_tokens.unwrap_or(ANSWER_TOKENS_ASSUMED),
        units: size.units,
        ..Usage::default()
    }
}

/// What the workspace would pay: nothing more for a node.
fn cost(input: &PlanInput<'_>, board: &dyn AvailabilityView, attempt: &Attempt) -> Cost {
    if attempt.is_node() {
        return Cost { is_unknown: false, nanos: Nanos::ZERO };
    }
    let usage = estimate(input, cached_tokens(input, board, attempt));
    let rates = attempt.rates_on(input.query.terms, usage.prompt_total());
    match rates.filter(|rates| rates.has_price_for(&usage)) {
        Some(rates) => {
            Cost { is_unknown: false, nanos: with_markup(rates.cost(&usage), attempt.markup_bps()) }
        }
        None => Cost { is_unknown: true, nanos: Nanos::ZERO },
    }
}

/// How much of the prompt the seat was sent lately, and its provider caches.
fn cached_tokens(input: &PlanInput<'_>, board: &dyn AvailabilityView, attempt: &Attempt) -> u64 {
    let is_cheaper =
        attempt.rates().is_some_and(|rates| rates.cached_read.is_some_and(|price| price.0 < rates.input.0));
    let ends = (input.prefix_ends)();
    if !is_cheaper || ends.is_empty() {
        return 0;
    }
    let Some(table) = board.prefix_table(input.query.workspace.id, input.now_us) else { return 0 };
    let facts = input.catalogue.capabilities().cache_facts(attempt.provider(), attempt.known_model());
    let held = ends.iter().rev().find(|(fingerprint, _)| {
        let at_seat = prefix_at(*fingerprint, attempt.principal(), attempt.upstream_model());
        table.count(at_seat, facts.lifetime, input.now_us) > 0
    });
    let tokens = held.map_or(0, |(_, bytes)| bytes / PROMPT_BYTES_PER_TOKEN);
    if tokens < facts.tokens_min.unwrap_or(0) { 0 } else { tokens }
}

fn load(input: &PlanInput<'_>, board: &dyn AvailabilityView, attempt: &Attempt) -> Load {
    board.load(attempt.principal(), attempt.upstream_model(), input.now_us)
}

/// The median time to what the client waits for.
fn median(input: &PlanInput<'_>, board: &dyn AvailabilityView, attempt: &Attempt) -> Option<u64> {
    let load = load(input, board, attempt);
    if input.query.size.is_stream { load.first_byte_us } else { load.whole_us }
}

/// A few requests measure what would not be called otherwise. None of a session: it would not meet its prompt's cache.
const fn is_exploring(input: &PlanInput<'_>) -> bool {
    input.query.session_key.is_none() && mix(input.random) % 1_000 < EXPLORED_PER_MILLE
}

/// Puts a seat before the fastest one: one that is not measured, if there is one.
fn explore(input: &PlanInput<'_>, board: &dyn AvailabilityView, attempts: &mut [Attempt]) {
    if !is_exploring(input) {
        return;
    }
    let measured = attempts.iter().take_while(|attempt| median(input, board, attempt).is_some()).count();
    let from = if measured < attempts.len() { measured } else { 1 };
    let at = from + draw(mix(mix(input.random)), attempts.len() - from);
    if let Some(slice) = attempts.get_mut(..=at) {
        slice.rotate_right(1);
    }
}

/// Power of two choices: of two that are drawn, the one with less in flight for its weight comes first, then the other; the rest
/// follow by what they have in flight.
fn balance(input: &PlanInput<'_>, board: &dyn AvailabilityView, attempts: &mut Vec<Attempt>) {
    let mut left: Vec<(u64, u64, Attempt)> = std::mem::take(attempts)
        .into_iter()
        .map(|attempt| (u64::from(load(input, board, &attempt).in_flight), weight(&attempt), attempt))
        .collect();
    let mut chance = mix(input.random);
    let mut drawn = Vec::with_capacity(2);
    while drawn.len() < 2 && !left.is_empty() {
        let total: u64 = left.iter().map(|(_, weight, _)| weight).sum();
        let mut rest = if total == 0 { 0 } else { chance % total };
        let at = left.iter().position(|(_, weight, _)| {
            let hit = total == 0 || rest < *weight;
            rest = rest.saturating_sub(*weight);
            hit
        });
        drawn.push(left.remove(at.unwrap_or(0)));
        chance = mix(chance);
    }
    // In flight for each unit of weight, without a division. The first drawn is the first of equals.
    let busy = |one: &(u64, u64, Attempt), other: &(u64, u64, Attempt)| {
        (one.0 * other.1.max(1)).cmp(&(other.0 * one.1.max(1)))
    };
    drawn.sort_by(busy);
    left.sort_by(busy);
    attempts.extend(drawn.into_iter().chain(left).map(|(_, _, attempt)| attempt));
}

fn weight(attempt: &Attempt) -> u64 {
    match attempt.seat() {
        Seat::Managed(account) => u64::from(account.weight),
        Seat::Byok(_) | Seat::Byoc(_) => 1,
    }
}

/// A number below `count`.
fn draw(chance: u64, count: usize) -> usize {
    usize::try_from(chance % (count as u64).max(1)).unwrap_or(0)
}
