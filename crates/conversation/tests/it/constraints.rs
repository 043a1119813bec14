//! What a request allows of its answer, and the events that pass.

use conversation::constraints::{AnswerConstraints, AnswerFilter, Single};
use domain::prompt::{Prompt, Tool, ToolChoice, ToolKind};
use domain::{Event, PartKind};

fn prompt(tools: usize, choice: Option<ToolChoice>) -> Prompt {
    let tool =
        |at| ToolKind::Function { name: format!("f{at}"), description: None, schema: None, strict: None };
    let tools = (0..tools).map(|at| Tool { kind: tool(at), cache: None }).collect();
    Prompt { tools, tool_choice: choice, parallel_tools: Some(false), ..Prompt::default() }
}

/// Of a request with one custom tool, which takes free text.
pub fn of_custom_tool(name: &str) -> AnswerConstraints {
    let kind = ToolKind::Custom { name: name.into(), description: None, format: None };
    AnswerConstraints::of(&Prompt { tools: vec![Tool { kind, cache: None }], ..Prompt::default() })
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
    let kind = PartKind::Call { id: "d".into(), name: "g".into(), is_custom: false };
    let other = Event::Begin { choice: 1, part: 0, kind };
    events.insert(4, Event::Signature { choice: 0, part: 1, value: "seal".into() });
    events.push(other.clone());
    fitting.apply(&mut events);
    assert_eq!(events, [call(0, "f", "{}").as_slice(), &[other]].concat());
}

#[test]
fn a_function_that_stands_for_a_custom_tool_is_told_as_a_call_of_it() {
    let mut fitting = AnswerFilter::new(&of_custom_tool("say"));
    let mut events = [call(0, "say", r#"{"input":"a\nb"}"#), call(1, "f", r#"{"input":"c"}"#)].concat();
    fitting.apply(&mut events);
    let kind = PartKind::Call { id: "c0".into(), name: "say".into(), is_custom: true };
    assert_eq!(events[0], Event::Begin { choice: 0, part: 0, kind });
    assert_eq!(events[1], Event::Delta { choice: 0, part: 0, text: "a\nb".into() });
    assert_eq!(events[3..], call(1, "f", r#"{"input":"c"}"#));
}
