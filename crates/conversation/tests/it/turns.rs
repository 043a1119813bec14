//! Signatures of earlier turns, kept and restored.

use conversation::turns::{Gatherer, TurnSignatures, restore_signatures, unsigned_calls};
use domain::prompt::{Content, Part, Prompt, Role, Thought, ToolCall, Turn};
use domain::{Event, Grammar, PartKind};

fn call(id: &str) -> Part {
    Part::of(Content::ToolCall(ToolCall {
        id: id.into(),
        name: "f".into(),
        arguments: "{}".into(),
        is_custom: false,
        signature: None,
    }))
}

fn gather(seal_of_call: Option<&str>) -> Option<TurnSignatures> {
    let mut gatherer = Gatherer::default();
    let thought = PartKind::Thought { is_summary: false, id: None };
    let kind = PartKind::Call { id: "c1".into(), name: "f".into(), is_custom: false };
    let mut events = vec![
        Event::Begin { choice: 0, part: 0, kind: thought },
        Event::Delta { choice: 0, part: 0, text: "why".into() },
        Event::Signature { choice: 0, part: 0, value: "seal".into() },
        Event::End { choice: 0, part: 0 },
        Event::Begin { choice: 0, part: 1, kind },
    ];
    events.extend(seal_of_call.map(|value| Event::Signature { choice: 0, part: 1, value: value.into() }));
    events.push(Event::End { choice: 0, part: 1 });
    events.iter().for_each(|event| gatherer.note(event, Grammar::Anthropic));
    gatherer.state(Grammar::Anthropic)
}

#[test]
fn what_was_sealed_comes_back_by_the_id_of_a_call() {
    let state = gather(Some("own")).unwrap();
    let state = TurnSignatures::decode(&state.encode()).unwrap();
    let unsealed = Part::of(Content::Thought(Thought { text: "why".into(), ..Thought::default() }));
    let turn = Turn { role: Role::Assistant, name: None, parts: vec![unsealed, call("c1")] };
    let other = Turn { role: Role::Assistant, name: None, parts: vec![call("c2")] };
    let mut prompt = Prompt { turns: vec![turn, other.clone()], ..Prompt::default() };
    assert_eq!(unsigned_calls(&prompt), ["c1", "c2"]);
    restore_signatures(&mut prompt, &[state]);
    let [Part { content: Content::Thought(thought), .. }, Part { content: Content::ToolCall(call), .. }] =
        &*prompt.turns[0].parts
    else {
        panic!("{:?}", prompt.turns[0]);
    };
    assert_eq!((&*thought.text, &*thought.signature.as_ref().unwrap().value), ("why", "seal"));
    assert_eq!(call.signature.as_ref().unwrap().value, "own");
    assert_eq!(prompt.turns[1], other);
    assert_eq!(unsigned_calls(&prompt), ["c2"]);
}

#[test]
fn an_answer_without_calls_or_without_seals_is_not_kept() {
    assert!(Gatherer::default().state(Grammar::Gemini).is_none());
    assert!(gather(None).is_some());
    let mut gatherer = Gatherer::default();
    let kind = PartKind::Call { id: "c1".into(), name: "f".into(), is_custom: false };
    for event in [Event::Begin { choice: 0, part: 0, kind }, Event::End { choice: 0, part: 0 }] {
        gatherer.note(&event, Grammar::Chat);
    }
    assert!(gatherer.state(Grammar::Chat).is_none());
}
