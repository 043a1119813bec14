//! Whether a whole answer may be given again to the same request, and which requests are the same.

use domain::event::PartKind;
use domain::{Event, Grammar, Reason};
use framing::sse::skip_lead;

use crate::registry::face;
use crate::whole::read_stream;

/// Whether a client's answer is complete and has no effect beyond its text: every choice stopped of itself, none
/// was cut, refused or filtered, and none calls a tool or holds what only its provider can read.
#[must_use]
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
#[must_use]
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(grammar: Grammar, body: &str, expected: bool) {
        assert_eq!(is_repeatable_answer(grammar, body.as_bytes()), expected, "{body}");
    }

    #[test]
    fn whole_texts_alone_are_repeated() {
        let chat = |finish: &str, message: &str| {
            format!(
                r#"{{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"finish_reason":"{finish}","message":{message}}}]}}"#
            )
        };
        let text = r#"{"role":"assistant","content":"Hello."}"#;
        let call = r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}"#;
        check(Grammar::Chat, &chat("stop", text), true);
        check(Grammar::Chat, &chat("length", text), false);
        check(Grammar::Chat, &chat("content_filter", text), false);
        check(Grammar::Chat, &chat("tool_calls", call), false);
        check(Grammar::Chat, &chat("stop", call), false);
        check(Grammar::Chat, &chat("stop", text)[..60], false);
        check(Grammar::Chat, "", false);
        let chunk = |delta: &str, finish: &str| {
            format!(
                "data: {{\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
            )
        };
        let begun = chunk(r#"{"role":"assistant","content":"Hello"}"#, "null");
        check(Grammar::Chat, &format!("{begun}{}data: [DONE]\n\n", chunk("{}", "\"stop\"")), true);
        check(Grammar::Chat, &format!("{begun}{}data: [DONE]\n\n", chunk("{}", "\"length\"")), false);
        check(Grammar::Chat, &begun, false);
        let message = |stop: &str| {
            format!(
                r#"{{"id":"m","type":"message","role":"assistant","model":"m","content":[{{"type":"text","text":"Hello."}}],"stop_reason":"{stop}","stop_sequence":null,"usage":{{"input_tokens":1,"output_tokens":1}}}}"#
            )
        };
        check(Grammar::Anthropic, &message("end_turn"), true);
        check(Grammar::Anthropic, &message("max_tokens"), false);
    }
}
