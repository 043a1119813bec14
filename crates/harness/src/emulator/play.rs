//! Turns a response's parts into the steps that the script demands: pauses, splits, and break points.

use std::time::Duration;

use bytes::Bytes;

use super::behaviour::{At, Behaviour};
use super::body::Step;

/// The role of a part in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartRole {
    Role,
    /// Opens or closes a section of the response and has no content itself.
    Frame,
    Content,
    Finish,
    Usage,
    Done,
    Error,
    /// One half of a buffered body.
    Half,
}

/// A run of bytes that a script can stop before, inside, or after.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) bytes: Bytes,
    pub(crate) tokens: u64,
    pub(crate) role: PartRole,
}

/// What a script does when it reaches a part.
enum PlayStep {
    Continue,
    Stop,
}

/// Splits a buffered body in two, so that scripts can break it in the middle.
pub(crate) fn halves(body: Bytes, tokens: u64) -> Vec<Part> {
    let mut first = body;
    let second = first.split_off(first.len() / 2);
    vec![
        Part { bytes: first, tokens: 0, role: PartRole::Half },
        Part { bytes: second, tokens, role: PartRole::Half },
    ]
}

pub(crate) fn steps(parts: &[Part], behaviour: &Behaviour, index: impl Fn(At) -> usize) -> Vec<Step> {
    let mut steps = Vec::with_capacity(parts.len() * 2);
    let mut stopped = false;
    for (at, part) in parts.iter().enumerate() {
        if let PlayStep::Stop = turn(&mut steps, at, Some(part), behaviour, &index) {
            stopped = true;
            break;
        }
        if behaviour.interval > 0 && part.role == PartRole::Content {
            steps.push(Step::Wait(Duration::from_millis(behaviour.interval)));
        }
        steps.push(Step::Write { bytes: part.bytes.clone(), tokens: part.tokens });
        if !behaviour.burst {
            steps.push(Step::Flush);
        }
    }
    if !stopped {
        turn(&mut steps, parts.len(), None, behaviour, &index);
    }
    let mut steps = split(steps, behaviour);
    // The body must know which write is its last.
    while steps.last() == Some(&Step::Flush) {
        steps.pop();
    }
    steps
}

fn turn(
    steps: &mut Vec<Step>,
    at: usize,
    part: Option<&Part>,
    behaviour: &Behaviour,
    index: &impl Fn(At) -> usize,
) -> PlayStep {
    let here = |position: Option<At>| position.is_some_and(|position| index(position) == at);
    if here(behaviour.stall) {
        match behaviour.stall_ms {
            Some(pause) => steps.push(Step::Wait(Duration::from_millis(pause))),
            None => {
                steps.push(Step::Stall);
                return PlayStep::Stop;
            }
        }
    }
    if here(behaviour.cut_inside) {
        let bytes = part.map(|part| part.bytes.slice(..part.bytes.len() / 2)).unwrap_or_default();
        steps.extend([Step::Write { bytes, tokens: 0 }, Step::Flush, Step::UntilRead, Step::Reset]);
        return PlayStep::Stop;
    }
    if here(behaviour.cut) {
        steps.extend([Step::UntilRead, Step::Reset]);
        return PlayStep::Stop;
    }
    if here(behaviour.close) {
        steps.extend([Step::UntilRead, Step::Break]);
        return PlayStep::Stop;
    }
    if here(behaviour.eof) { PlayStep::Stop } else { PlayStep::Continue }
}

/// Splits writes into pieces; the tokens count with the last piece.
fn split(steps: Vec<Step>, behaviour: &Behaviour) -> Vec<Step> {
    if behaviour.split == 0 {
        return steps;
    }
    let mut pieces = Vec::new();
    for step in steps {
        let Step::Write { mut bytes, tokens } = step else {
            pieces.push(step);
            continue;
        };
        while bytes.len() > behaviour.split {
            let piece = bytes.split_to(behaviour.split);
            pieces.push(Step::Write { bytes: piece, tokens: 0 });
            pieces.push(pause(behaviour));
        }
        pieces.push(Step::Write { bytes, tokens });
        pieces.push(pause(behaviour));
    }
    pieces
}

fn pause(behaviour: &Behaviour) -> Step {
    if behaviour.pause > 0 { Step::Wait(Duration::from_millis(behaviour.pause)) } else { Step::Flush }
}
