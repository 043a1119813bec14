//! Whether a whole answer may be given again to the same request, and which requests are the same.

use domain::event::PartKind;
use domain::{Event, Grammar, Reason};
use framing::sse::skip_lead;

use crate::registry::face;
use crate::whole::read_stream;

/// Whether a client's answer is complete and has no effect beyond its text: every choice stopped of itself, none
/// was cut, refused or filtered, and none calls a tool or holds what only its provider can read.
pub fn is_repeatable_answer(grammar: Grammar, body: &[u8]) -> bool {
    let mut reader = face(grammar).reader();
    let mut events = Vec::new();
    let text = skip_lead(body);
    let read = match text.first() {
        Some(b'{' | b'[') => reader.read_buffered(text, &mut events),
        Some(_) => read_stream(reader.as_mut(), text, &mut events),
        None => return false,
    };
    read.is_ok() && has_only_text(&events)
}

/// Appends the body of a request in canonical form, in which the order of members and whitespace don't count; `None`
/// if it is not JSON.
pub fn canonical_body(body: &[u8], mut text: Vec<u8>) -> Option<String> {
    json::canonical(body, &mut text).ok()?;
    String::from_utf8(text).ok()
}

fn has_only_text(events: &[Event]) -> bool {
    let is_plain = |event: &Event| match event {
        Event::Begin { kind: PartKind::Text | PartKind::Thought { .. }, .. } => true,
        Event::Begin { .. } => false,
        Event::Finish { finish, .. } => matches!(finish.reason, Reason::Stop | Reason::StopSequence),
        _ => true,
    };
    let has = |wanted: fn(&Event) -> bool| events.iter().any(wanted);
    events.iter().all(is_plain)
        && has(|event| matches!(event, Event::Finish { .. }))
        && has(|event| *event == Event::Done)
}
