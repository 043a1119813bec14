//! Reasoning that a provider must get back with the results of its model's tool calls, and that most client
//! dialects have no field for: signed or encrypted reasoning, and the signatures of the calls themselves.

use domain::limits::KEPT_TURN_BYTES_MAX;
use domain::prompt::{Content, Part, Prompt, Signature, Thought, ToolCall};
use domain::{Event, Grammar, PartKind};
use serde::{Deserialize, Serialize};

/// The signatures of one answer that called tools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnSignatures {
    /// The provider that made them; no other can read them.
    pub provider: String,
    pub model: String,
    pub grammar: Grammar,
    thoughts: Vec<Thought>,
    /// Each call's id with its own signature.
    calls: Vec<(String, Option<String>)>,
}

impl TurnSignatures {
    /// The ids of the calls.
    pub fn calls(&self) -> impl Iterator<Item = &str> {
        self.calls.iter().map(|(id, _)| &**id)
    }

    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    fn seal_of(&self, call: &str) -> Option<&str> {
        self.calls.iter().find(|(id, _)| id == call)?.1.as_deref()
    }
}

/// Collects an answer's signatures from its events. The reasoning that it holds is bounded: longer reasoning
/// is dropped.
#[derive(Debug, Default)]
pub struct Gatherer {
    open: Vec<(u32, u32, Sealed)>,
    thoughts: Vec<Thought>,
    calls: Vec<(String, Option<String>)>,
    bytes: usize,
}

#[derive(Debug)]
enum Sealed {
    Thought(Thought),
    Call(String, Option<String>),
}

impl Gatherer {
    pub fn note(&mut self, event: &Event, grammar: Grammar) {
        match event {
            Event::Begin { choice: 0, part, kind } => {
                let sealed = match kind {
                    PartKind::Thought { is_summary, id } => Sealed::Thought(Thought {
                        is_summary: *is_summary,
                        id: id.clone(),
                        ..Thought::default()
                    }),
                    PartKind::Redacted => {
                        Sealed::Thought(Thought { is_redacted: true, ..Thought::default() })
                    }
                    PartKind::Call { id, .. } => Sealed::Call(id.clone(), None),
                    _ => return,
                };
                self.open.push((0, *part, sealed));
            }
            Event::Delta { choice, part, text } => {
                if let Some(Sealed::Thought(thought)) = self.find(*choice, *part) {
                    thought.text.push_str(text);
                    self.bytes += text.len();
                }
            }
            Event::Signature { choice, part, value } => {
                self.bytes += value.len();
                match self.find(*choice, *part) {
                    Some(Sealed::Thought(thought)) => {
                        thought.signature = Some(Signature { grammar, value: value.clone() });
                    }
                    Some(Sealed::Call(_, seal)) => *seal = Some(value.clone()),
                    None => {}
                }
            }
            Event::End { choice, part } => self.end(*choice, *part),
            _ => {}
        }
        if self.bytes > KEPT_TURN_BYTES_MAX {
            self.thoughts.clear();
            self.open.retain(|(_, _, sealed)| matches!(sealed, Sealed::Call(..)));
        }
    }

    fn find(&mut self, choice: u32, part: u32) -> Option<&mut Sealed> {
        self.open.iter_mut().find(|(c, p, _)| (*c, *p) == (choice, part)).map(|(_, _, sealed)| sealed)
    }

    fn end(&mut self, choice: u32, part: u32) {
        let Some(index) = self.open.iter().position(|(c, p, _)| (*c, *p) == (choice, part)) else { return };
        match self.open.remove(index).2 {
            Sealed::Thought(thought) if thought.signature.is_some() => self.thoughts.push(thought),
            Sealed::Thought(_) => {}
            Sealed::Call(id, seal) => self.calls.push((id, seal)),
        }
    }

    /// What to store; `None` where no tool was called, or nothing is signed.
    pub fn state(&self, grammar: Grammar) -> Option<TurnSignatures> {
        let is_sealed = !self.thoughts.is_empty() || self.calls.iter().any(|(_, seal)| seal.is_some());
        if self.calls.is_empty() || !is_sealed {
            return None;
        }
        Some(TurnSignatures {
            provider: String::new(),
            model: String::new(),
            grammar,
            thoughts: self.thoughts.clone(),
            calls: self.calls.clone(),
        })
    }
}

/// The ids of calls in a conversation for which the client sent no signature.
pub fn unsigned_calls(prompt: &Prompt) -> Vec<String> {
    let calls = prompt.turns.iter().flat_map(|turn| &turn.parts).filter_map(|part| match &part.content {
        Content::ToolCall(call) if call.signature.is_none() => Some(call.id.clone()),
        _ => None,
    });
    calls.collect()
}

/// Puts stored signatures back into the turns with these calls. Reasoning that the client sent without a
/// signature is replaced by the signed original.
pub fn restore_signatures(prompt: &mut Prompt, states: &[TurnSignatures]) {
    for turn in &mut prompt.turns {
        let first = turn.parts.iter().find_map(|part| match &part.content {
            Content::ToolCall(call) => states.iter().find(|state| state.calls().any(|id| id == call.id)),
            _ => None,
        });
        let Some(state) = first else { continue };
        for part in &mut turn.parts {
            if let Content::ToolCall(ToolCall { id, signature: signature @ None, .. }) = &mut part.content {
                let value = state.seal_of(id).map(str::to_owned);
                *signature = value.map(|value| Signature { grammar: state.grammar, value });
            }
        }
        let has_own = |part: &Part| matches!(&part.content, Content::Thought(Thought { signature: Some(seal), .. }) if seal.grammar == state.grammar && !seal.value.is_empty());
        if state.thoughts.is_empty() || turn.parts.iter().any(has_own) {
            continue;
        }
        turn.parts.retain(|part| !matches!(part.content, Content::Thought(_)));
        let thoughts = state.thoughts.iter().cloned().map(|thought| Part::of(Content::Thought(thought)));
        turn.parts.splice(..0, thoughts);
    }
}
