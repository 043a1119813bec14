//! `truncation: "auto"`: leaves the oldest items of a conversation out until it fits into the model's context, where the model's
//! provider does not do that itself.

use bytes::Bytes;
use decode::Inbound;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use line::{ContextUse, Core};

use admit::Caller;

use crate::limits::TRUNCATION_ROUNDS_MAX;
use crate::state_fields::StateFields;
use conversation::item_order::oldest_first;

const DROPPED_PARAMS: HeaderName = HeaderName::from_static("agent-dropped-params");
const DROPPED_ITEMS: HeaderName = HeaderName::from_static("agent-dropped-items");

/// Shortens the input of a request that wants it. The number of items that were left out; `None` where nothing is done about
/// its length here: it does not want that, its provider does it, or nobody knows how much the model takes.
pub(crate) async fn truncate(core: &Core, inbound: &mut Inbound, caller: &Caller) -> Option<usize> {
    let fields = StateFields::read(&inbound.body).filter(|fields| fields.truncates)?;
    let measured =
        async |body: &Bytes| line::context_use(core, inbound.with_body(body.clone()), caller).await;
    let mut used = measured(&inbound.body).await.filter(|used| used.room_tokens.is_some())?;
    if used.fits() {
        return Some(0);
    }
    let items = fields.input_items(&inbound.body);
    let order = oldest_first(&items);
    let (mut steps, mut body) = (0, inbound.body.clone());
    for round in 1..=TRUNCATION_ROUNDS_MAX {
        if used.fits() || steps == order.len() {
            break;
        }
        // The last round leaves out what it can: an estimate that is so far off says nothing.
        steps = if round == TRUNCATION_ROUNDS_MAX {
            order.len()
        } else {
            further(&order, steps, &items, excess_bytes(used, body.len()))
        };
        body = fields.with_input(&inbound.body, &without(&items, &order, steps));
        match measured(&body).await {
            Some(shorter) => used = shorter,
            None => break,
        }
    }
    inbound.body = body;
    Some(order.iter().take(steps).map(Vec::len).sum())
}

/// The bytes of a body that are too many, if all of them make as many tokens.
fn excess_bytes(used: ContextUse, body_bytes: usize) -> u64 {
    let excess_tokens = used.prompt_tokens.saturating_sub(used.room_tokens.unwrap_or(u64::MAX));
    let bytes = u128::from(excess_tokens) * body_bytes as u128;
    u64::try_from(bytes.div_ceil(u128::from(used.prompt_tokens.max(1)))).unwrap_or(u64::MAX)
}

/// How many steps are left out in all, if those after the first `steps` make up for so many bytes: one more at least.
fn further(order: &[Vec<usize>], steps: usize, items: &[String], excess_bytes: u64) -> usize {
    let mut bytes = 0;
    for (at, step) in order.iter().enumerate().skip(steps) {
        bytes += step.iter().filter_map(|item| items.get(*item)).map(|item| item.len() as u64).sum::<u64>();
        if bytes >= excess_bytes {
            return at + 1;
        }
    }
    order.len()
}

fn without(items: &[String], order: &[Vec<usize>], steps: usize) -> Vec<String> {
    let gone: Vec<usize> = order.iter().take(steps).flatten().copied().collect();
    let mut stays = vec![true; items.len()];
    for at in gone {
        if let Some(stays) = stays.get_mut(at) {
            *stays = false;
        }
    }
    items.iter().zip(stays).filter(|(_, stays)| *stays).map(|(item, _)| item.clone()).collect()
}

/// Names what was done in the head of the answer: the field is not one that was dropped, since the gateway heeded it.
pub(crate) fn name_dropped(headers: &mut HeaderMap, dropped: Option<usize>) {
    let Some(dropped) = dropped else { return };
    name_as_heeded(headers, "truncation");
    if dropped > 0 {
        headers.insert(DROPPED_ITEMS, HeaderValue::from(dropped));
    }
}

/// Whether a provider was not sent a field of the request.
pub(crate) fn is_dropped(headers: &HeaderMap, param: &str) -> bool {
    let dropped = headers.get(DROPPED_PARAMS).and_then(|names| names.to_str().ok());
    dropped.is_some_and(|names| names.split(", ").any(|name| name == param))
}

/// The gateway heeds what the provider was not sent, so that nothing of it is dropped.
pub(crate) fn name_as_heeded(headers: &mut HeaderMap, param: &str) {
    let Some(dropped) = headers.get(DROPPED_PARAMS).and_then(|names| names.to_str().ok()) else { return };
    let names: Vec<&str> = dropped.split(", ").filter(|name| *name != param).collect();
    let names = names.join(", ");
    match HeaderValue::try_from(&names) {
        Ok(value) if !names.is_empty() => drop(headers.insert(DROPPED_PARAMS, value)),
        _ => drop(headers.remove(DROPPED_PARAMS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_left_out_as_is_too_much() {
        let used = |prompt_tokens, room_tokens| ContextUse { prompt_tokens, room_tokens: Some(room_tokens) };
        for (prompt, room, body, excess) in
            [(100, 60, 400, 160), (100, 100, 400, 0), (3, 2, 100, 34), (0, 0, 9, 0)]
        {
            assert_eq!(excess_bytes(used(prompt, room), body), excess, "{prompt} {room}");
        }
        let items: Vec<String> = ["aaaa", "bb", "cccc", "d"].map(str::to_owned).to_vec();
        let order = [vec![1, 0], vec![2]];
        for (steps, excess, expected) in [(0, 6, 1), (0, 7, 2), (0, 0, 1), (1, 1, 2), (1, 99, 2), (2, 1, 2)] {
            assert_eq!(further(&order, steps, &items, excess), expected, "{steps} {excess}");
        }
        assert_eq!(without(&items, &order, 1), ["cccc", "d"]);
        assert_eq!(without(&items, &order, 0), items);
    }

    #[test]
    fn what_the_gateway_heeds_is_not_named_as_dropped() {
        let named = |names: &'static str, param: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(DROPPED_PARAMS, HeaderValue::from_static(names));
            name_as_heeded(&mut headers, param);
            headers.get(DROPPED_PARAMS).map(|names| names.to_str().unwrap().to_owned())
        };
        assert_eq!(named("store", "store"), None);
        assert_eq!(named("metadata, store, user", "store").as_deref(), Some("metadata, user"));
        assert_eq!(named("metadata", "store").as_deref(), Some("metadata"));
        let mut headers = HeaderMap::new();
        name_dropped(&mut headers, None);
        name_dropped(&mut headers, Some(0));
        assert!(headers.is_empty());
        name_dropped(&mut headers, Some(3));
        assert_eq!(headers["agent-dropped-items"], "3");
    }
}
