//! Bedrock's limits on cache points: how many a request may have, and in which order their lifetimes may
//! occur.

use conversation::features::Feature;
use conversation::losses::DroppedFields;

use super::wire::{Block, Body, CachePoint, Tool};
use crate::limits::CACHE_POINTS_MAX;

/// Enforces the limits. Only the last points stay, as they cover the prefixes of the earlier ones, and a
/// point before a longer-lived one gets the longer lifetime.
pub(super) fn keep_rules(body: &mut Body<'_>, losses: &mut DroppedFields) {
    let mut surplus = points(body).len().saturating_sub(CACHE_POINTS_MAX);
    if surplus > 0 {
        losses.drop_aspect(Feature::CacheMark);
    }
    let mut stays = |is_point: bool| {
        let goes = is_point && surplus > 0;
        surplus -= usize::from(goes);
        !goes
    };
    if let Some(config) = &mut body.tool_config {
        config.tools.retain(|tool| stays(matches!(tool, Tool::CachePoint(_))));
    }
    body.system.retain(|block| stays(matches!(block, Block::CachePoint(_))));
    for message in &mut body.messages {
        message.content.retain(|block| stays(matches!(block, Block::CachePoint(_))));
    }
    let mut is_long = false;
    for point in points(body).into_iter().rev() {
        is_long |= point.ttl == Some(CachePoint::HOUR);
        if is_long {
            point.ttl = Some(CachePoint::HOUR);
        }
    }
}

/// Every cache point, in the order in which the upstream reads them: tools, system prompt, messages.
fn points<'b>(body: &'b mut Body<'_>) -> Vec<&'b mut CachePoint> {
    let tools = body.tool_config.iter_mut().flat_map(|config| config.tools.iter_mut());
    let of_tools = tools.filter_map(|tool| match tool {
        Tool::CachePoint(point) => Some(point),
        Tool::ToolSpec(_) => None,
    });
    let messages = body.messages.iter_mut().flat_map(|message| message.content.iter_mut());
    let of_blocks = body.system.iter_mut().chain(messages).filter_map(|block| match block {
        Block::CachePoint(point) => Some(point),
        _ => None,
    });
    of_tools.chain(of_blocks).collect()
}
