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
    #[must_use]
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
    #[must_use]
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

#[cfg(test)]
mod tests {
    use domain::prompt::{Tool, ToolKind};

    use super::*;

    fn prompt(tools: usize, choice: Option<ToolChoice>) -> Prompt {
        let tool =
            |at| ToolKind::Function { name: format!("f{at}"), description: None, schema: None, strict: None };
        let tools = (0..tools).map(|at| Tool { kind: tool(at), cache: None }).collect();
        Prompt { tools, tool_choice: choice, parallel_tools: Some(false), ..Prompt::default() }
    }

    #[test]
    fn one_call_at_a_time_is_a_hint_where_one_tool_can_be_called() {
        let named = Some(ToolChoice::Named { name: "f1".into(), is_custom: false });
        let allowed = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Some(ToolChoice::Allowed { names, is_required: true })
        };
        for (tools, choice, single) in [
            (0, None, Single::Unasked),
            (1, None, Single::Hint),
            (1, Some(ToolChoice::Required), Single::Hint),
            (2, named, Single::Hint),
            (2, allowed(&["f1"]), Single::Hint),
            (2, allowed(&["f0", "f1"]), Single::First),
            (2, Some(ToolChoice::None), Single::Unasked),
            (2, Some(ToolChoice::Required), Single::First),
            (2, None, Single::First),
        ] {
            assert_eq!(Single::of(&prompt(tools, choice.clone())), single, "{tools} {choice:?}");
        }
        let unasked = Prompt { parallel_tools: Some(true), ..prompt(2, None) };
        assert_eq!(Single::of(&unasked), Single::Unasked);
    }

    fn call(part: u32, name: &str, arguments: &str) -> [Event; 3] {
        let kind = PartKind::Call { id: format!("c{part}"), name: name.into(), is_custom: false };
        [
            Event::Begin { choice: 0, part, kind },
            Event::Delta { choice: 0, part, text: arguments.into() },
            Event::End { choice: 0, part },
        ]
    }

    #[test]
    fn the_first_call_of_each_choice_goes_on() {
        let mut fitting = AnswerFilter::new(&AnswerConstraints::one_call());
        let mut events = [call(0, "f", "{}"), call(1, "g", "{}")].concat();
        let other = Event::Begin {
            choice: 1,
            part: 0,
            kind: PartKind::Call { id: "d".into(), name: "g".into(), is_custom: false },
        };
        events.insert(4, Event::Signature { choice: 0, part: 1, value: "seal".into() });
        events.push(other.clone());
        fitting.apply(&mut events);
        assert_eq!(events, [call(0, "f", "{}").as_slice(), &[other]].concat());
    }

    #[test]
    fn a_function_that_stands_for_a_custom_tool_is_told_as_a_call_of_it() {
        let mut fitting = AnswerFilter::new(&AnswerConstraints {
            custom_tools: vec!["say".into()],
            ..AnswerConstraints::default()
        });
        let mut events = [call(0, "say", r#"{"input":"a\nb"}"#), call(1, "f", r#"{"input":"c"}"#)].concat();
        fitting.apply(&mut events);
        let kind = PartKind::Call { id: "c0".into(), name: "say".into(), is_custom: true };
        assert_eq!(events[0], Event::Begin { choice: 0, part: 0, kind });
        assert_eq!(events[1], Event::Delta { choice: 0, part: 0, text: "a\nb".into() });
        assert_eq!(events[3..], call(1, "f", r#"{"input":"c"}"#));
    }
}
