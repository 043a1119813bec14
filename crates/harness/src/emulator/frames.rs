//! Serialises events: applies the script's faults, then writes lines and bytes.

use bytes::Bytes;

use super::behaviour::{At, Behaviour, LineEnd};
use super::play::{Part, PartRole};

/// One event before it is serialised.
pub(crate) struct Event {
    /// The value of its `event:` line, where the provider sends one.
    pub(crate) name: Option<&'static str>,
    pub(crate) data: String,
    pub(crate) tokens: u64,
    pub(crate) role: PartRole,
}

/// The events as bytes; `error` creates the error event of a stream that breaks off.
pub(crate) fn parts(
    mut events: Vec<Event>,
    behaviour: &Behaviour,
    error: impl FnOnce() -> Event,
) -> Vec<Part> {
    damage(&mut events, behaviour, error);
    let last = events.len().saturating_sub(1);
    events
        .into_iter()
        .enumerate()
        .map(|(at, event)| Part {
            bytes: encode(&event, at, at == last, behaviour),
            tokens: event.tokens,
            role: event.role,
        })
        .collect()
}

/// The event index of a place.
pub(crate) fn index(roles: &[PartRole], at: At) -> usize {
    let first = |wanted: PartRole| roles.iter().position(|role| *role == wanted);
    let end = roles.len();
    let found = match at {
        At::Event(event) => Some(event.min(end)),
        At::Middle => {
            let content = || (0..end).filter(|at| roles.get(*at) == Some(&PartRole::Content));
            content().nth(content().count() / 2)
        }
        At::Finish => first(PartRole::Finish),
        At::Usage => first(PartRole::Usage).or_else(|| first(PartRole::Done)),
        At::Done => first(PartRole::Done),
    };
    found.unwrap_or(end)
}

/// Applies the script's faults to the events.
pub(crate) fn damage(events: &mut Vec<Event>, behaviour: &Behaviour, error: impl FnOnce() -> Event) {
    let at = |events: &[Event], at: At| {
        let roles: Vec<PartRole> = events.iter().map(|event| event.role).collect();
        index(&roles, at)
    };
    if let Some(event) =
        behaviour.malformed.map(|position| at(events, position)).and_then(|at| events.get_mut(at))
    {
        let half = event.data.floor_char_boundary(event.data.len() / 2);
        event.data.truncate(half);
    }
    if let Some(position) = behaviour.joined_line {
        let at = at(events, position);
        if at + 1 < events.len() {
            let next = events.remove(at + 1);
            if let Some(event) = events.get_mut(at) {
                event.data.push_str(&next.data);
                event.tokens += next.tokens;
            }
        }
    }
    if let Some(position) = behaviour.error_event {
        events.truncate(at(events, position));
        events.push(error());
    }
}

fn encode(event: &Event, at: usize, last: bool, behaviour: &Behaviour) -> Bytes {
    let data = &event.data;
    let end = match behaviour.line_end.unwrap_or_default() {
        LineEnd::Lf => "\n",
        LineEnd::Crlf => "\r\n",
        LineEnd::Cr => "\r",
    };
    let (name, field) = if behaviour.no_space { ("event:", "data:") } else { ("event: ", "data: ") };
    let mut text = String::with_capacity(data.len() + 64);
    if at == 0 && behaviour.bom {
        text.push('\u{feff}');
    }
    if behaviour.comments {
        text.push_str(&format!(": ping {at}{end}{end}"));
    }
    match event.name {
        Some(own) => text.push_str(&format!("{name}{own}{end}")),
        None if behaviour.extra_lines => text.push_str(&format!("{name}message{end}")),
        None => {}
    }
    if behaviour.extra_lines {
        text.push_str(&format!("id: {at}{end}retry: 1000{end}"));
    }
    // A line break is harmless after the opening brace, where JSON allows white space.
    match data.strip_prefix('{').filter(|_| behaviour.multiline) {
        Some(rest) => text.push_str(&format!("{field}{{{end}{field}{rest}{end}")),
        None => text.push_str(&format!("{field}{data}{end}")),
    }
    if !(last && behaviour.unterminated) {
        text.push_str(end);
    }
    Bytes::from(text)
}
