//! Anthropic's limits on cache breakpoints (`cache_control`): how many a request may have, and in which order
//! their lifetimes may occur.

use conversation::features::Feature;
use conversation::losses::DroppedFields;

use super::wire::{Block, BlockKind, Body, Mark, Tool};
use crate::limits::CACHE_BREAKPOINTS_MAX;

/// Enforces the limits. Only the last breakpoints stay, as they cover the prefixes of the earlier ones, and a
/// breakpoint before a longer-lived one gets the longer lifetime.
pub(super) fn keep_rules(body: &mut Body<'_>, losses: &mut DroppedFields) {
    let automatic = body.cache_control;
    let mut marks = all_marks(body);
    let most = CACHE_BREAKPOINTS_MAX - usize::from(automatic.is_some());
    let surplus = marks.len().saturating_sub(most);
    if surplus > 0 {
        losses.drop_aspect(Feature::CacheMark);
    }
    marks.drain(..surplus).for_each(|mark| *mark = None);
    // The automatic breakpoint comes after all others.
    let mut is_long = automatic.is_some_and(|mark| mark.ttl == Some(Mark::HOUR));
    for mark in marks.into_iter().rev().flatten() {
        is_long |= mark.ttl == Some(Mark::HOUR);
        if is_long {
            mark.ttl = Some(Mark::HOUR);
        }
    }
}

/// Every breakpoint, in the order in which the provider reads them: tools, system prompt, messages.
fn all_marks<'b, 'a>(body: &'b mut Body<'a>) -> Vec<&'b mut Option<Mark>> {
    let mut marks = Vec::new();
    for tool in &mut body.tools {
        if let Tool::Function(tool) = tool {
            marks.push(&mut tool.cache_control);
        }
    }
    let messages = body.messages.iter_mut().flat_map(|message| message.content.iter_mut());
    for block in body.system.iter_mut().chain(messages) {
        let Block::Own(block) = block else { continue };
        if let BlockKind::ToolResult { content, .. } = &mut block.kind {
            for inner in content {
                if let Block::Own(inner) = inner {
                    marks.push(&mut inner.cache_control);
                }
            }
        }
        marks.push(&mut block.cache_control);
    }
    marks.retain(|mark| mark.is_some());
    marks
}
