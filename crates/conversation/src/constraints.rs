//! What a request determines about its answer (namespaces, custom tools, `parallel_tool_calls`), and the
//! filter that makes the answer's events comply.

use domain::prompt::{Echo, Prompt, ThinkingVisibility, ToolChoice, ToolKind};
use domain::{Event, PartKind};

use crate::one_text::OneText;

/// What the answer's writer must know about its request.
#[derive(Debug, Clone, Default)]
pub struct AnswerConstraints {
    /// Namespaces in which the client declared its functions; the flattened function names start with them.
    pub namespaces: Vec<String>,
    /// Custom tools, which take free text: an upstream without this kind was sent functions instead.
    custom_tools: Vec<String>,
    /// The client wants one tool call at a time.
    one_call: bool,
    /// The client reads reasoning summaries.
    pub summaries: bool,
    /// Request fields that the answer repeats.
    pub echo: Echo,
}

/// Whether the client disabled parallel tool calls, and what happens where the upstream's dialect can't say
/// so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Single {
    Unasked,
    /// Only one tool can be called, and models seldom call it twice: the parameter is dropped and reported as
    /// dropped.
    Hint,
    /// Only the first call of the answer is forwarded.
    First,
}

impl Single {
    pub fn of(prompt: &Prompt) -> Self {
        let is_callable = |kind: &ToolKind| !matches!(kind, ToolKind::Hosted { .. });
        let count = prompt.tools.iter().filter(|tool| is_callable(&tool.kind)).count();
        if prompt.parallel_tools != Some(false) || count == 0 {
            return Self::Unasked;
        }
        match &prompt.tool_choice {
            Some(ToolChoice::None) => Self::Unasked,
            Some(ToolChoice::Named { .. }) => Self::Hint,
            Some(ToolChoice::Allowed { names, .. }) if names.len() == 1 => Self::Hint,
            _ if count == 1 => Self::Hint,
            _ => Self::First,
        }
    }
}

impl AnswerConstraints {
    pub fn of(prompt: &Prompt) -> Self {
        let custom = |kind: &ToolKind| match kind {
            ToolKind::Custom { name, .. } => Some(name.clone()),
            _ => None,
        };
        Self {
            namespaces: prompt.namespaces.clone(),
            custom_tools: prompt.tools.iter().filter_map(|tool| custom(&tool.kind)).collect(),
            one_call: Single::of(prompt) == Single::First,
            summaries: prompt.reasoning.visibility == Some(ThinkingVisibility::Summary),
            echo: prompt.echo.clone(),
        }
    }

    /// For a request that is forwarded as it is, to a server that is not sent `parallel_tool_calls: false`.
    pub fn one_call() -> Self {
        Self { one_call: true, ..Self::default() }
    }

    /// The answer must be rewritten even where the upstream speaks the client's dialect.
    pub const fn is_first_call_alone(&self) -> bool {
        self.one_call
    }
}

/// Makes an answer's events comply with the request: drops all calls but the first where parallel calls are
/// disabled, and turns calls of functions that stand for custom tools back into custom tool calls.
#[derive(Debug, Default)]
pub struct AnswerFilter {
    one_call: bool,
    custom_tools: Vec<String>,
    /// Choices that have made a call.
    callers: Vec<u32>,
    /// Calls that are dropped.
    hidden: Vec<(u32, u32)>,
    /// Open calls of custom tools.
    texts: Vec<((u32, u32), OneText)>,
}

impl AnswerFilter {
    pub fn new(constraints: &AnswerConstraints) -> Self {
        Self {
            one_call: constraints.one_call,
            custom_tools: constraints.custom_tools.clone(),
            ..Self::default()
        }
    }

    pub fn apply(&mut self, events: &mut Vec<Event>) {
        if !self.one_call && self.custom_tools.is_empty() {
            return;
        }
        let filtered: Vec<Event> = events.drain(..).filter_map(|event| self.take(event)).collect();
        *events = filtered;
    }

    /// `None` where the event is dropped.
    fn take(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Begin { choice, part, kind: PartKind::Call { id, name, is_custom } } => {
                if self.one_call && self.callers.contains(&choice) {
                    self.hidden.push((choice, part));
                    return None;
                }
                self.callers.push(choice);
                let is_text = !is_custom && self.custom_tools.contains(&name);
                if is_text {
                    self.texts.push(((choice, part), OneText::default()));
                }
                let kind = PartKind::Call { id, name, is_custom: is_custom || is_text };
                Some(Event::Begin { choice, part, kind })
            }
            Event::Delta { choice, part, text } => {
                let open = self.texts.iter_mut().find(|(key, _)| *key == (choice, part));
                let text = match open {
                    Some((_, one)) => one.push(&text),
                    None if self.hidden.contains(&(choice, part)) => return None,
                    None => text,
                };
                (!text.is_empty()).then_some(Event::Delta { choice, part, text })
            }
            Event::End { choice, part } => {
                self.texts.retain(|(key, _)| *key != (choice, part));
                let before = self.hidden.len();
                self.hidden.retain(|key| *key != (choice, part));
                (before == self.hidden.len()).then_some(Event::End { choice, part })
            }
            Event::Signature { choice, part, .. } if self.hidden.contains(&(choice, part)) => None,
            other => Some(other),
        }
    }
}
